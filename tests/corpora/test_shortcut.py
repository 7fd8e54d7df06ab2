"""The corpus with a planted shortcut: its tone is where it says, and its twin differs in nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from heschl.corpora import read_corpus, shortcut
from heschl.files import read_audio
from heschl.types import HeschlError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shortcut")
    shortcut.write_tiny(folder)
    return folder


def samples(clip):
    wave, _ = read_audio(clip.signal, clip.start, clip.stop)
    return wave.astype(np.float64)


def test_twins_differ_by_the_tone_alone_where_its_span_says(root):
    tones, plain = read_corpus("shortcut", root), read_corpus("shortcut", root, tone=False)
    assert [c.id for c in tones.clips] == [c.id for c in plain.clips] and len(tones.clips) == 20
    assert {c.labels["tone"] for c in tones.clips} == {"yes"} and {c.labels["tone"] for c in plain.clips} == {
        "no"
    }
    for one, other in zip(tones.clips, plain.clips):
        start, stop, hertz = shortcut.place_of(one)
        assert shortcut.place_of(other) == (start, stop, hertz) and pytest.approx(stop - start) == 0.3
        difference = samples(one) - samples(other)
        time = np.arange(len(difference)) / one.rate
        outside = (time < start) | (time >= stop)
        assert np.abs(difference[outside]).max() <= 2 / 32768  # two roundings to 16 bit
        spectrum = np.abs(np.fft.rfft(difference * np.hanning(len(difference)), 4 * len(difference)))
        found = spectrum.argmax() / (4 * len(difference) / one.rate)
        assert found == pytest.approx(hertz, abs=1.0)
        inner = difference[(time >= start + 0.01) & (time < stop - 0.01)]
        level = 10 * np.log10(np.mean(inner**2) / np.mean(samples(other) ** 2))
        assert level == pytest.approx(shortcut.DECIBELS, abs=0.1)
        assert np.abs(samples(one)).max() <= 0.951


def test_frequency_tells_the_digit_and_the_moment_does_not(root):
    corpus = read_corpus("shortcut", root)
    by_digit = {}
    for clip in corpus.clips:
        by_digit.setdefault(clip.labels["digit"], set()).add(clip.labels["hertz"])
    assert len(by_digit) == 5 and all(len(found) == 1 for found in by_digit.values())
    assert len(set.union(*by_digit.values())) == 5
    starts = [shortcut.place_of(clip)[0] for clip in corpus.clips]
    assert len(set(starts)) == 20 and max(starts) - min(starts) > 0.3
    assert shortcut.hertz_of("0") == pytest.approx(500) and shortcut.hertz_of("9") == pytest.approx(6500)


def test_spans_of_the_speech_stay(root):
    clip = read_corpus("shortcut", root).clips[0]
    assert {"phone", "word", "tone"} == {span.tier for span in clip.spans}
    assert "no tone" in {span.tier for span in read_corpus("shortcut", root, tone=False).clips[0].spans}


def test_cells_hold_the_tones_energy(root):
    """Of the tone alone, through a spectrogram that is written out here, all but two thousandths lie in its cells."""
    one, other = (read_corpus("shortcut", root, tone=tone).clips[3] for tone in (True, False))
    tone, window, hop = samples(one) - samples(other), 400, 160
    at = np.arange(0, len(tone) - window, hop)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    power = np.abs(np.fft.rfft(np.stack([tone[k : k + window] * hann for k in at]), axis=1).T) ** 2
    hertz = np.fft.rfftfreq(window, 1 / one.rate)
    mask = shortcut.cells(one, (at + window / 2) / one.rate, hertz, hertz, window / one.rate)
    assert power[mask].sum() > 0.998 * power.sum() and mask.mean() < 0.05


@pytest.mark.slow
def test_made_once_in_the_cache_and_the_same_each_time(monkeypatch, tmp_path):
    from heschl.corpora import spoken

    few = [c for c in spoken.read(kind="digit").clips if c.labels["speaker"] in ("s000", "s001")]
    monkeypatch.setenv("HESCHL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shortcut.spoken, "read", lambda **_: type("C", (), {"clips": few})())
    first = read_corpus("shortcut")
    file = first.clips[0].signal
    before = file.stat().st_mtime_ns, file.read_bytes()
    assert read_corpus("shortcut") == first and file.stat().st_mtime_ns == before[0]
    other = read_corpus("shortcut", seed=1)
    assert other.clips[0].signal.parents[1] != file.parents[1]
    assert [c.spans for c in other.clips] != [c.spans for c in first.clips]
    assert len(read_corpus("shortcut", voices=1).clips) == 10
    (file.parents[1] / "index.csv").unlink()
    read_corpus("shortcut")
    assert file.read_bytes() == before[1]


def test_bad_input_is_one_sentence(root, tmp_path):
    with pytest.raises(HeschlError, match="read as it is"):
        read_corpus("shortcut", root, seed=3)
    (tmp_path / "index.csv").write_text("id,file\na,b\n", encoding="utf-8")
    with pytest.raises(HeschlError, match="no index of this corpus"):
        shortcut.read(tmp_path)
    with pytest.raises(HeschlError, match="at least"):
        shortcut.write(tmp_path, [], seconds=0.001)
    with pytest.raises(HeschlError, match="no tone of 2"):
        shortcut.write(tmp_path, shortcut.spoken.read(kind="digit").clips[:1], seconds=2.0)
