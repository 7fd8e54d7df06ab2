"""Recordings of people who listen: tables, BIDS, arrays; where the sound was; and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heschl.corpora._brain_files import electrodes, facts, open_raw
from heschl.corpora._brain_runs import bad_stretches, load_runs
from heschl.corpora._brain_sync import measure
from heschl.corpora.brain import check, is_recordings, read, write_tiny
from heschl.files import write_csv, write_text, write_wav
from heschl.types import HeschlError

RATE = 200.0


def noise(seconds: float, rate: int = 8000, seed: int = 0) -> np.ndarray:
    """A sound whose loudness wanders, as speech does."""
    rng = np.random.default_rng(seed)
    slow = np.interp(
        np.arange(round(seconds * rate)) / rate,
        np.arange(0, seconds + 1, 0.12),
        rng.random(int(seconds / 0.12) + 10)[: len(np.arange(0, seconds + 1, 0.12))],
    )
    return 0.3 * slow**2 * rng.standard_normal(len(slow)).clip(-3, 3)


def one(folder: Path, rows: list[dict[str, Any]] | None = None, seconds: float = 40.0, **held: Any) -> Path:
    """A table of one .npz recording with sines in two channels, that heard 30 s from second 5 on."""
    folder.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * RATE)) / RATE
    data = 1e-6 * np.stack([np.sin(2 * np.pi * 4 * t), np.cos(2 * np.pi * 3 * t)])
    facts = {"data": data, "rate": RATE, "channels": np.array(["A", "B"]), "kind": "eeg", **held}
    np.savez(folder / "sub-07_run.npz", **facts)
    write_wav(folder / "story.wav", noise(30), 8000)
    rows = rows or [{"recording": "sub-07_run.npz", "start": 5, "stop": 35, "audio": "story.wav"}]
    write_csv(folder / "recordings.csv", rows, list(rows[0]))
    return folder


def test_a_table_says_who_heard_what_when(tmp_path: Path) -> None:
    corpus = read(one(tmp_path))
    (recording,) = corpus.recordings
    assert (recording.subject, recording.kind, recording.channels) == ("07", "eeg", ("A", "B"))
    (heard,) = recording.heard
    assert (heard.start, heard.stop, heard.clip) == (5, 35, "story.wav")
    assert corpus.by_id["story.wav"].stop == 30 and not corpus.synthetic


def test_rows_stand_on_the_sounds_own_clock(tmp_path: Path) -> None:
    corpus = read(one(tmp_path))
    loaded = load_runs(corpus.recordings[0], corpus, 64, (0.5, 20), reference=None)
    (stretch,) = loaded.stretches
    t = (stretch.first + np.arange(len(stretch.x))) / 64
    inner = slice(200, -200)
    expected = np.stack([np.sin(2 * np.pi * 4 * (t + 5)), np.cos(2 * np.pi * 3 * (t + 5))], 1)
    np.testing.assert_allclose(stretch.x[inner] * 1e6, expected[inner], atol=0.02)
    assert len(t) == 30 * 64 and any("not verified" in note for note in loaded.notes)


def test_the_average_reference_is_taken_off(tmp_path: Path) -> None:
    corpus = read(one(tmp_path))
    (stretch,) = load_runs(corpus.recordings[0], corpus, 64, (0.5, 20)).stretches
    np.testing.assert_allclose(stretch.x.sum(1), 0, atol=1e-15)


def test_bad_stretches_are_borders_and_nothing_crosses_them(tmp_path: Path) -> None:
    t = np.arange(round(80 * RATE)) / RATE
    data = 1e-6 * np.random.default_rng(0).standard_normal((2, len(t)))
    data[:, (t > 30) & (t < 33)] += 1.0  # an artefact a million times as large
    folder = one(tmp_path, seconds=80, data=data, bad=np.array([[30.0, 33.0]]))
    write_wav(folder / "story.wav", noise(70), 8000)
    rows = [{"recording": "sub-07_run.npz", "start": 5, "stop": "", "audio": "story.wav"}]
    write_csv(folder / "recordings.csv", rows, list(rows[0]))
    corpus = read(folder)
    loaded = load_runs(corpus.recordings[0], corpus, 64, (1, 20), reference=None)
    first, second = loaded.stretches
    assert len(first.x) / 64 == pytest.approx(25, abs=0.1) and second.first / 64 == pytest.approx(28, abs=0.1)
    assert max(np.abs(first.x).max(), np.abs(second.x).max()) < 1e-5
    assert loaded.left_out == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("dated", [False, True])
def test_bad_stretches_lie_where_mne_cuts_them(tmp_path: Path, dated: bool) -> None:
    """Of a recording that was cut at its beginning, with and without a date."""
    mne = pytest.importorskip("mne")
    raw = mne.io.RawArray(
        np.arange(6000.0)[None], mne.create_info(["a"], 100.0, "eeg"), 1000, verbose="error"
    )
    raw.set_meas_date(1.6e9 if dated else None)
    raw.set_annotations(mne.Annotations([5.0], [2.0], ["BAD_x"]))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    held = open_raw(tmp_path / "a_raw.fif")
    kept = held.get_data(reject_by_annotation="omit", verbose="error")[0]
    gone = np.setdiff1d(np.arange(6000), kept.round()) / 100
    ((start, stop),) = bad_stretches(held)
    assert (start, stop) == (pytest.approx(gone[0]), pytest.approx(gone[-1] + 0.01))


@pytest.mark.parametrize(("offset", "drift"), [(0.0, 0.0), (0.123, 150e-6), (-0.2, -80e-6)])
def test_offset_and_drift_are_measured(offset: float, drift: float) -> None:
    wave = noise(120, 8000)
    lead = 0.5
    # the recording's clock: sample k stands at k / 500 s; the file's moment s is heard at offset + (1 + drift) s
    own = (np.arange(122 * 500) / 500 - lead - offset) / (1 + drift)
    inside = (own >= 0) & (own < 119.9)
    fine = np.interp(own, np.arange(len(wave)) / 8000, np.abs(wave)) * inside
    found = measure(fine, 500, wave, 8000, lead)
    assert found is not None
    assert found.offset == pytest.approx(offset, abs=0.002)
    assert found.drift == pytest.approx(drift, abs=3e-5)
    assert "ppm" in found.sentence()


@pytest.mark.parametrize("rate", [100, 125, 1000])
def test_half_a_sample_of_a_slow_recording_is_no_offset(rate: int) -> None:
    """A sound that was recorded as exactly as a rate allows: no part of one sample (up to 10 ms here) is left over."""
    from scipy.signal import resample_poly

    loud = np.abs(noise(60, 8000))
    found = measure(resample_poly(loud, 1, 8000 // rate), rate, loud, 8000)
    assert found is not None and abs(found.offset) < 2e-4 and abs(found.drift) < 1e-5


def test_another_sound_is_not_verified() -> None:
    assert measure(noise(60, 500, seed=3), 500, noise(60, 8000, seed=4), 8000) is None


def test_a_recorded_sound_corrects_the_rows(tmp_path: Path) -> None:
    wave = noise(30)
    heard = np.interp(
        np.arange(round(40 * RATE)) / RATE - 5.15, np.arange(len(wave)) / 8000, np.abs(wave), 0, 0
    )
    corpus = read(one(tmp_path, audio=heard))
    assert corpus.recordings[0].channels == ("A", "B")
    loaded = load_runs(corpus.recordings[0], corpus, 64, (0.5, 20), reference=None)
    assert loaded.sync[0] is not None and loaded.sync[0].offset == pytest.approx(0.15, abs=0.005)
    (stretch,) = loaded.stretches
    t = (stretch.first + np.arange(len(stretch.x))) / 64
    np.testing.assert_allclose(
        stretch.x[200:-200, 0] * 1e6, np.sin(2 * np.pi * 4 * (t + 5.15))[200:-200], atol=0.15
    )


def test_a_sound_too_short_for_the_clock_is_told_as_such(tmp_path: Path) -> None:
    """Nothing is said against a channel that holds a sound of 12 s, and something is against one of 30 s that does not."""
    heard = np.interp(
        np.arange(round(40 * RATE)) / RATE - 5, np.arange(240_000) / 8000, np.abs(noise(30)), 0, 0
    )
    rows = [{"recording": "sub-07_run.npz", "start": 5, "stop": 17, "audio": "story.wav"}]
    for more, channel, told in (
        (
            rows,
            heard,
            "story.wav: this sound lasts less than 15 s, too short to be found in the channel audio",
        ),
        (None, 0 * heard, "story.wav: this sound is not found in the channel audio"),
    ):
        corpus = read(one(tmp_path, more, audio=channel))
        loaded = load_runs(corpus.recordings[0], corpus, 64, (4, 20), reference=None)
        assert loaded.sync == (None,) and told in loaded.notes[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"start": 20, "stop": 50}, "outside the recording"),
        ({"start": 1, "stop": 39}, "another rate of sound"),
        ({"audio": ""}, "no audio"),
        ({"audio": "gone.wav"}, "gone.wav"),
        ({"start": "x"}, "line 2: start"),
        ({"recording": "gone.npz"}, "gone.npz is not there"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    row = {"recording": "sub-07_run.npz", "start": 5, "stop": 35, "audio": "story.wav"} | change
    one(tmp_path, [row])
    with pytest.raises(HeschlError, match=told):
        read(tmp_path)


def test_every_channel_that_recorded_the_sound_is_no_sensor(tmp_path: Path) -> None:
    """A second one would be the best of all sensors; and a contact in the brain may be called as a microphone is."""
    t = np.arange(round(40 * RATE)) / RATE
    data = 1e-6 * np.stack([np.sin(2 * np.pi * (3 + k) * t) for k in range(4)])
    names = np.array(["Audio_L", "A", "Audio_R", "B"])
    corpus = read(one(tmp_path / "eeg", data=data, channels=names))
    assert corpus.recordings[0].channels == ("A", "B")
    assert any("Audio_L, Audio_R recorded the sound" in note for note in corpus.notes)
    inside = read(one(tmp_path / "seeg", data=data[:2], channels=np.array(["Mic1", "B"]), kind="seeg"))
    assert inside.recordings[0].channels == ("Mic1", "B") and not inside.notes


def test_what_is_no_table_of_what_was_heard_is_refused(tmp_path: Path) -> None:
    one(tmp_path)
    with pytest.raises(
        HeschlError, match="npz is no table, and a recording alone does not say what was heard"
    ):
        read(tmp_path / "sub-07_run.npz")
    row = {"recording": "sub-07_run.npz", "start": 5, "stop": 20, "audio": "story.wav"}
    write_csv(tmp_path / "recordings.csv", [row, {**row, "start": 21, "stop": 30, "audio": ""}], list(row))
    with pytest.raises(HeschlError, match="line 3: audio is empty"):
        read(tmp_path)


def test_a_stretch_outside_the_recording_is_left_out_alone(tmp_path: Path) -> None:
    row = {"recording": "sub-07_run.npz", "start": 5, "stop": 35, "audio": "story.wav"}
    one(tmp_path, [row, row | {"start": 36, "stop": 66}, row | {"start": -40, "stop": -10}])
    corpus = read(tmp_path)
    assert [(heard.start, heard.stop) for heard in corpus.recordings[0].heard] == [(5, 35)]
    assert [one.where for one in corpus.skipped] == ["sub-07_run.npz, story.wav"] * 2
    assert "from -40.00 to -10.00 s, outside" in corpus.skipped[0].why


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.nan, "channel B is not finite .NaN. for more than half of story.wav: mark"),
        (0.0, "channel B is flat"),
    ],
)
def test_broken_channels_are_refused_by_name(tmp_path: Path, value: float, told: str) -> None:
    data = np.random.default_rng(0).standard_normal((2, round(40 * RATE)))
    data[1] = value
    corpus = read(one(tmp_path, data=data))
    with pytest.raises(HeschlError, match=told):
        load_runs(corpus.recordings[0], corpus)
    marked = read(one(tmp_path, data=data, bads=np.array(["B"])))
    assert marked.recordings[0].channels == ("A",) and "marked bad" in marked.notes[0]


def test_samples_that_are_not_finite_cost_the_time_around_them(tmp_path: Path) -> None:
    """A NaN is a border as what is marked BAD is: the same rows come out, and the filter sees to neither side of it."""
    data = 1e-6 * np.random.default_rng(0).standard_normal((2, round(40 * RATE)))
    marked = read(
        one(tmp_path / "marked", data=data, bad=np.array([[19.9975, 20.0025]]))
    )  # the sample at 20 s
    data[1, round(20 * RATE)] = np.nan
    corpus = read(one(tmp_path, data=data))
    loaded, expected = (load_runs(held.recordings[0], held, 64, (1, 20)) for held in (corpus, marked))
    for mine, theirs in zip(loaded.stretches, expected.stretches, strict=True):
        assert mine.first == theirs.first and np.array_equal(mine.x, theirs.x) and np.isfinite(mine.x).all()
    assert len(loaded.stretches) == 2 and loaded.seconds > 29.9
    assert loaded.broken == (
        "sub-07_run.npz, story.wav: channel B is not finite (NaN) for 0.005 s, first at 20.00 s: left out for all channels",
    )
    assert loaded.broken[0] in loaded.notes and not expected.broken


def test_a_recorded_sound_that_is_not_finite_for_a_moment_still_tells_the_clock(tmp_path: Path) -> None:
    wave = np.interp(np.arange(round(40 * RATE)) / RATE, 5 + np.arange(30 * 8000) / 8000, np.abs(noise(30)))
    held = []
    for hole in (0.0, np.nan):
        wave[2000:2010] = hole
        corpus = read(one(tmp_path, audio=wave))
        held.append(load_runs(corpus.recordings[0], corpus, 64, (1, 20)).sync[0])
    assert held[0] is not None and held[0] == held[1]


def test_rates_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    corpus = read(one(tmp_path))
    with pytest.raises(HeschlError, match="choose a lower"):
        load_runs(corpus.recordings[0], corpus, 256)
    with pytest.raises(HeschlError, match="band"):
        load_runs(corpus.recordings[0], corpus, 64, (1, 30))
    with pytest.raises(HeschlError, match="amplitude of 70"):
        load_runs(corpus.recordings[0], corpus, 64, power=(70, 150))


def test_the_amplitude_of_a_band(tmp_path: Path) -> None:
    mne = pytest.importorskip("mne")
    rate, t = 500.0, np.arange(40 * 500) / 500
    loud = 1 + 0.5 * np.sin(2 * np.pi * 2 * t)
    data = np.stack([loud * np.sin(2 * np.pi * 100 * t), np.random.default_rng(0).standard_normal(len(t))])
    corpus = read(one(tmp_path, data=data, rate=rate, kind="ecog"))
    loaded = load_runs(corpus.recordings[0], corpus, 64, (0.5, 15), power=(70, 150))
    (stretch,) = loaded.stretches
    sizes = [
        len(mne.filter.create_filter(None, rate, *band, verbose="error")) for band in ((0.5, 15), (70, 150))
    ]
    assert loaded.reach == math.ceil(
        sum(size - 1 for size in sizes) / 2 / rate * 64
    )  # two filters, one after the other
    at = (stretch.first + np.arange(len(stretch.x))) / 64 + 5
    np.testing.assert_allclose(stretch.x[200:-200, 0], 0.5 * np.sin(2 * np.pi * 2 * at)[200:-200], atol=0.03)


def test_check_tells_minutes_and_what_is_missing(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    assert is_recordings(tmp_path) and is_recordings(tmp_path / "recordings.csv")
    lines = check(tmp_path)
    assert "2 recordings of 2 subjects, 0.5 minutes" in lines[0] and not any(x.startswith("!") for x in lines)
    lines = check(one(tmp_path / "bare"))
    assert any(x.startswith("! sub-07_run.npz: no channel has a position") for x in lines)


@pytest.mark.slow
def test_bids_with_stim_files(tmp_path: Path) -> None:
    mne = pytest.importorskip("mne")
    from heschl.brain.convert import write_bids
    from heschl.corpora._brain_files import quiet

    info = mne.create_info(["Fz", "Cz", "Pz", "Oz"], 200.0, "eeg").set_montage("biosemi64")
    with quiet():
        raw = mne.io.RawArray(1e-6 * np.random.default_rng(0).standard_normal((4, 200 * 40)), info)
    path = write_bids(tmp_path, raw, "03")
    (tmp_path / "stimuli").mkdir()
    write_wav(tmp_path / "stimuli" / "tale.wav", noise(30), 8000)
    table = path.with_name(path.name.replace("_eeg.vhdr", "_events.tsv"))
    words = "".join(f"{5 + k}\t0.3\tword\ttale.wav\n" for k in range(10))
    write_text(table, "onset\tduration\ttrial_type\tstim_file\n20.0\t1.0\tBAD_movement\tn/a\n" + words)
    corpus = read(tmp_path)
    (recording,) = corpus.recordings
    (heard,) = recording.heard  # ten words of one tale that goes on, and not ten tales
    assert (recording.subject, recording.kind, heard.start, heard.stop) == ("03", "eeg", 5, 35)
    assert recording.positions is not None and corpus.synthetic
    assert len(load_runs(recording, corpus).stretches) == 2
    for options, told in (
        ({"task": "rest"}, "no recording of task 'rest'"),
        ({"subjects": ["9"]}, "no subject '9'"),
        ({"derivative": "clean"}, "clean is not there: the derivatives are none"),
        ({"audio": "none.wav"}, "none.wav is not there"),
        ({"audio": "tale.wav", "event": "go"}, "no event 'go'"),
        ({"audio": "tale.wav", "event": "word"}, "before stimuli/tale.wav ends"),
    ):
        with pytest.raises(HeschlError, match=told):
            read(tmp_path, **options)

    import shutil

    shutil.copytree(tmp_path / "sub-03", tmp_path / "derivatives" / "clean" / "sub-03")
    next((tmp_path / "derivatives").rglob("*_events.tsv")).unlink()  # the raw ones hold
    (derived,) = read(tmp_path, derivative="clean").recordings
    assert "derivatives" in derived.signal.parts and derived.heard == recording.heard
    assert read(tmp_path).recordings[0].signal == recording.signal


def test_real_tables_of_electrodes(shared: Path, tmp_path: Path) -> None:
    places, space = electrodes(
        shared / "data/podcast_ecog_meta/sub-01/ieeg/sub-01_space-MNI152NLin2009aSym_electrodes.tsv"
    )
    assert space == "MNI152" and places["G2"] == pytest.approx((0.060, -0.001333333, -0.029333333))
    assert max(np.abs(place).max() for place in places.values()) < 0.12
    with pytest.raises(HeschlError, match="in which unit"):
        electrodes(shared / "data/podcast_ecog_meta/sub-01/ieeg/sub-01_space-Other_electrodes.tsv")


def test_a_table_of_electrodes_gives_places(shared: Path, tmp_path: Path) -> None:
    import shutil

    for file in (shared / "data/podcast_ecog_meta/sub-01/ieeg").glob("*MNI*"):
        shutil.copy(file, tmp_path)
    row = {
        "recording": "sub-07_run.npz",
        "start": 5,
        "stop": 35,
        "audio": "story.wav",
        "electrodes": "sub-01_space-MNI152NLin2009aSym_electrodes.tsv",
    }
    one(tmp_path, [row], channels=np.array(["G2", "G1"]), kind="ecog")
    (recording,) = read(tmp_path).recordings
    assert recording.space == "MNI152" and recording.positions is not None
    assert np.isfinite(recording.positions[0]).all() and np.isnan(recording.positions[1]).all()


def test_files_of_mne_are_read_with_their_facts(tmp_path: Path) -> None:
    mne = pytest.importorskip("mne")
    from heschl.corpora._brain_files import quiet

    info = mne.create_info(["Fz", "Cz", "EOG", "Audio"], 200.0, ["eeg", "eeg", "eog", "eeg"])
    with quiet():
        raw = mne.io.RawArray(np.random.default_rng(0).standard_normal((4, 2000)), info)
        raw.save(tmp_path / "a_raw.fif")
    found = facts(open_raw(tmp_path / "a_raw.fif"), tmp_path / "a_raw.fif")
    assert (found.kind, found.channels, found.audio, found.positions) == ("eeg", ("Fz", "Cz"), "Audio", None)
    (tmp_path / "b.edf").write_bytes(b"nonsense")
    with pytest.raises(HeschlError, match="cannot be read by MNE"):
        open_raw(tmp_path / "b.edf")
    np.save(tmp_path / "c.npy", np.zeros(3))
    with pytest.raises(HeschlError, match="neither rate nor channels"):
        open_raw(tmp_path / "c.npy")
