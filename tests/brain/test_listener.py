"""Listeners that are made up, and areas read back from what their sensors saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heschl.brain import listener
from heschl.files import write_wav
from heschl.types import Clip, HeschlError


def test_an_answer_is_highest_after_its_delay() -> None:
    for delay in (0.05, 0.1, 0.18):
        answer = listener.kernel(delay)
        assert answer.argmax() / listener.RATE == pytest.approx(delay, abs=0.5 / listener.RATE + 1e-9)
        assert answer.max() == pytest.approx(1, abs=0.02) and answer[0] == 0


def test_a_mixture_lies_in_the_components_and_has_unit_variance() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((500, 6)) @ np.diag([9, 5, 3, 1, 0.5, 0.2]) @ rng.standard_normal((6, 6))
    drive = listener.mixture(values, 2, seed=1)
    assert drive.std() == pytest.approx(1) and drive.mean() == pytest.approx(0, abs=1e-9)
    standard = (values - values.mean(0)) / values.std(0)
    _, vectors = np.linalg.eigh(standard.T @ standard)
    parts = standard @ vectors[:, -2:]
    fitted = parts @ np.linalg.lstsq(parts, drive, rcond=None)[0]
    np.testing.assert_allclose(fitted, drive, atol=1e-9)


def test_what_is_left_follows_no_lag_of_the_control() -> None:
    rng = np.random.default_rng(0)
    control = rng.standard_normal((2000, 1))
    drive = np.roll(control[:, 0], 5) + rng.standard_normal(2000)
    left = listener.without(drive, control, 8)
    assert max(abs(np.corrcoef(left[8:], np.roll(control[:, 0], k)[8:])[0, 1]) for k in range(8)) < 0.01
    assert left.std() == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_a_story_is_as_long_as_asked_and_no_longer_than_there_is() -> None:
    assert len(listener.story(20.0)) == 20 * 16000
    assert not np.array_equal(listener.story(20.0), listener.story(20.0, seed=1))
    with pytest.raises(HeschlError, match="ask for less"):
        listener.story(5000.0)


def test_a_story_of_recordings_is_theirs_each_once_at_one_rate(tmp_path: Path) -> None:
    clips = []
    for k, rate in enumerate((8000, 16000, 22050)):
        tone = 0.5 * np.sin(2 * np.pi * 100 * (k + 1) * np.arange(2 * rate) / rate)
        write_wav(tmp_path / f"{k}.wav", tone.astype(np.float32), rate)
        clips.append(Clip(f"{k}", tmp_path / f"{k}.wav", rate, {}))
    wave = listener.story(6.0, clips=clips)
    assert len(wave) == 6 * 16000
    size = np.abs(np.fft.rfft(wave))
    tall = [float(size[round(6 * f) - 3 : round(6 * f) + 4].max()) for f in (100, 200, 300, 400)]
    assert min(tall[:3]) > 50 * tall[3]  # every tone is there, at its own frequency
    with pytest.raises(HeschlError, match="the sentences are 7 s: ask for less"):
        listener.story(60.0, clips=clips)


def test_areas_that_read_each_other_upside_down_are_seen_as_one() -> None:
    """Two that face each other, and a third alone: by weights from patterns, against what they must read."""
    from heschl.brain.readout import Readout

    rng = np.random.default_rng(0)
    patterns = rng.standard_normal((8, 3))
    patterns[:, 1] = -0.9 * patterns[:, 0] + 0.3 * patterns[:, 1]
    weights = (patterns / (patterns**2).sum(0)).T  # each reads its own as one
    signed = weights @ patterns
    assert signed[0, 1] < -0.5 and signed[1, 0] < -0.5
    read = Readout(("a", "b", "c"), weights, np.abs(signed), (("a", "b"), ("c",)), signed)
    seen = read.of(("a", "b")) @ patterns[:, :2]
    assert seen[0] > 0.9 and seen[1] < -0.9
    assert np.abs(weights[:2].mean(0) @ patterns[:, :2]).max() < 0.35  # the mean is nearly blind to both
    np.testing.assert_allclose(read.of(("c",)), weights[2])


@pytest.mark.slow
def test_areas_are_read_from_sensors_of_another_head(tmp_path: Path) -> None:
    from heschl.brain.areas import read_areas
    from heschl.brain.patch import patch
    from heschl.brain.readout import electrodes_by_area, readout
    from heschl.corpora._brain_runs import load_runs
    from heschl.corpora.brain import facts_of, read

    rng = np.random.default_rng(0)
    wave = listener.story(40.0)
    n = round(40 * listener.RATE)
    slow = np.array([np.convolve(one, np.ones(12) / 12, "same") for one in rng.standard_normal((2, n))])
    listener.write(tmp_path, wave, {"STG": slow[0], "STG-R": slow[1]}, snr=20.0, subjects=1)
    corpus = read(tmp_path)
    (recording,) = corpus.recordings
    assert corpus.synthetic and recording.kind == "eeg"
    (stretch,) = load_runs(recording, corpus, 64, (1, 15)).stretches
    table = read_areas()
    patches = [patch(table.area(name)) for name in ("STG", "STG-R")]
    found = readout(patches, facts_of(recording))
    np.testing.assert_allclose(np.diag(found.talk), 1)
    courses = stretch.x @ found.weights.T
    for k in range(2):
        answer = np.convolve(slow[k], listener.kernel(listener.DELAYS["STG"]))[:n]
        truth = np.interp(np.arange(len(courses)) / 64, np.arange(n) / listener.RATE, answer)
        r = [np.corrcoef(courses[200:-200, a], truth[200:-200])[0, 1] for a in range(2)]
        assert r[k] > 0.8 and r[k] > abs(r[1 - k]) + 0.2  # signs too: out of the cortex
    middle = np.array(table.area("STG").centre)
    where = electrodes_by_area(
        np.stack([middle, middle + np.array([0, 0, 0.2]), [np.nan] * 3]), "MNI152", patches
    )
    assert where == ("STG", "", "")
