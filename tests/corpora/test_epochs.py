from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heschl.corpora import epochs as reader
from heschl.corpora import masc
from heschl.corpora.trials import trials
from heschl.types import HeschlError

mne = pytest.importorskip("mne")


def made_up(seconds: float = 20.0, rate: float = 100.0, kind: str = "eeg") -> Any:
    x = 1e-5 * np.random.default_rng(0).standard_normal((3, round(seconds * rate)))
    return mne.io.RawArray(x, mne.create_info(["C3", "Cz", "C4"], rate, kind), verbose="error")


def annotated(raw: Any, onsets: list[float], words: list[str]) -> Any:
    return raw.set_annotations(mne.Annotations(onsets, 0.1, words))


def test_raw_with_annotations_is_cut_as_mne_cuts_it(tmp_path: Path) -> None:
    raw = annotated(made_up(), [2.0, 6.003, 11.0], ["sea", "key", "sea"]).crop(
        1.0
    )  # it no longer begins at sample 0
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    corpus = reader.read(tmp_path, montage="fsaverage_1005")
    x, labels, rate, channels, positions = trials(corpus.recordings[0])
    events, numbers = mne.events_from_annotations(raw, verbose="error")
    theirs = mne.Epochs(
        raw, events, numbers, -0.5, 2.5, baseline=None, preload=True, verbose="error"
    ).get_data()
    assert labels["word"] == ("sea", "key", "sea") and rate == 100.0 and channels == ("C3", "Cz", "C4")
    assert x.shape == (3, 3, 300)
    assert np.allclose(x[:], theirs[..., :300], atol=1e-10)
    assert positions is not None and positions[0, 0] < -0.04
    assert "1 of 2 words" in corpus.notes[0]


def test_epochs(tmp_path: Path) -> None:
    raw = annotated(made_up(), [2.0, 6.0, 11.0, 15.0], ["sea", "key", "sea", "key"])
    raw.info["bads"] = ["Cz"]
    events, numbers = mne.events_from_annotations(raw, verbose="error")
    cut = mne.Epochs(raw, events, numbers, -0.2, 0.5, baseline=None, preload=True, verbose="error")
    cut.save(tmp_path / "a-epo.fif", verbose="error")
    x, labels, _, channels, positions = trials(reader.read(tmp_path).recordings[0])
    assert labels["word"] == ("sea", "key", "sea", "key") and channels == ("C3", "C4") and positions is None
    assert np.allclose(x[:], cut.get_data(picks=["C3", "C4"]), atol=1e-10)
    assert trials(reader.read(tmp_path, rate=50.0).recordings[0]).rate == 50.0


def test_the_layout_of_meg_masc(tmp_path: Path) -> None:
    masc.write_tiny(tmp_path)
    corpus = masc.read(tmp_path)
    assert corpus.licence == "CC0 1.0" and not corpus.skipped
    recording = corpus.recordings[1]
    assert recording.kind == "meg" and recording.subject == "01" and recording.space == "device"
    x, labels, rate, _, positions = trials(recording)
    assert labels["word"] == ("once", "upon", "a") * 2 and rate == 120.0 and x.shape == (6, 3, 360)
    assert positions is not None and np.allclose(positions[2], (0.1, 0.02, 0.1))
    assert labels["heard"][1] == "Story_1@2.500" and set(labels["block"]) == {"Story_1"}
    assert (
        trials(corpus.recordings[3]).labels["heard"] == labels["heard"]
    )  # the same sounds for both listeners
    phones = masc.read(tmp_path, kind="phoneme", start=0.0, stop=0.5).recordings[0]
    assert trials(phones).labels["word"][:3] == ("o_B", "u_B", "a_B")
    everything = trials(reader.read(tmp_path).recordings[0]).labels["word"]
    assert everything[:2] == ("once", "o_B")
    table = next(tmp_path.rglob("sub-02*task-0_events.tsv"))
    table.write_text(table.read_text().replace("'word': 'upon'", "'word': 'upon', 'pronounced': 0.0"))
    assert trials(masc.read(tmp_path).recordings[2]).labels["word"] == ("once", "a") * 2
    table.write_text(table.read_text().replace("'word'", "'sound'"))
    (told,) = masc.read(tmp_path).skipped
    assert "has no event of kind 'word' in its column trial_type" in told.why
    with pytest.raises(HeschlError, match="choose word or phoneme"):
        masc.read(tmp_path, kind="letter")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    annotated(made_up(), [2.0], ["sea"]).save(tmp_path / "good_raw.fif", verbose="error")
    (tmp_path / "bad_raw.fif").write_bytes(b"no fif")
    annotated(made_up(), [19.0], ["sea"]).save(tmp_path / "late_raw.fif", verbose="error")
    made_up().save(tmp_path / "quiet_raw.fif", verbose="error")
    broken = made_up()
    broken._data[1, 230] = np.nan
    annotated(broken, [2.0], ["sea"]).save(tmp_path / "nan_raw.fif", verbose="error")
    corpus = reader.read(tmp_path)
    said = {one.where: one.why for one in corpus.skipped}
    assert [len(one.channels) for one in corpus.recordings] == [3, 2]
    assert "cannot be read by MNE" in said["bad_raw.fif"]
    assert "1 of 1 trials, the first sea at 19.000 s" in said["late_raw.fif"]
    assert "neither events.tsv" in said["quiet_raw.fif"]
    assert "not finite" in said["nan_raw.fif, channel Cz"]
    annotated(made_up(rate=64.0), [2.0], ["sea"]).save(tmp_path / "slow_raw.fif", verbose="error")
    with pytest.raises(HeschlError, match="rates of 64, 100 Hz"):
        reader.read(tmp_path)
    assert {one.rate for one in reader.read(tmp_path, rate=32.0).recordings} == {32.0}


def test_events_outside_the_recording_are_left_out_one_by_one(tmp_path: Path) -> None:
    """Of 20 s and windows of -0.5 to 2.5 s: one that reaches over the end, one after it, one before the beginning."""
    folder = tmp_path / "sub-01" / "eeg"
    folder.mkdir(parents=True)
    raw = made_up()
    raw.save(folder / "sub-01_task-a_eeg.fif", verbose="error")
    table = folder / "sub-01_task-a_events.tsv"
    onsets = {2.0: "sea", 6.0: "key", -3.0: "cat", 11.0: "sea", 17.5: "key", 17.6: "dog", 21.0: "sun"}
    table.write_text("onset\ttrial_type\n" + "".join(f"{at}\t{word}\n" for at, word in onsets.items()))
    corpus = reader.read(tmp_path)
    x, labels, *_ = trials(corpus.recordings[0])
    assert labels["word"] == ("sea", "key", "sea", "key")
    for value, at in zip(x[:], (2.0, 6.0, 11.0, 17.5), strict=True):  # each word kept its own window
        assert np.allclose(value, raw[:, round(100 * at) - 50 :][0][:, :300], atol=1e-10)
    name = "sub-01/eeg/sub-01_task-a_eeg.fif"
    assert [one.where for one in corpus.skipped] == [
        f"{name}, cat at -3.000 s",
        f"{name}, dog at 17.600 s",
        f"{name}, sun at 21.000 s",
    ]
    assert "-0.5 to 2.5 s around it reach outside" in corpus.skipped[1].why
    assert corpus.skipped[0].why == corpus.skipped[2].why == "lies outside the recording of 20.00 s"
    assert [one.where for one in reader.read(tmp_path).skipped] == [one.where for one in corpus.skipped]
    table.write_text("onset\ttrial_type\n2\tsea\n50\tkey\n60\tkey\n")
    with pytest.raises(HeschlError, match="2 of 3 trials, the first key at 50.000 s"):
        reader.read(tmp_path)


@pytest.mark.parametrize("rate", [None, 50.0])
def test_a_sample_that_is_not_finite_costs_the_trials_that_touch_it(
    tmp_path: Path, rate: float | None
) -> None:
    """Windows of -0.5 to 2.5 s at 100 Hz; bringing them to 50 Hz sees nothing outside of them, and spreads nothing."""
    raw = annotated(made_up(40.0), [2.0, 5.0, 9.0, 20.0, 30.0], ["sea", "key", "sun", "sea", "key"])
    whole = raw.get_data().copy()
    raw._data[1, 850] = np.nan  # the first sample of "sun"'s window, and the one after "key"'s
    raw._data[0, 1149:1160] = np.nan  # its last one, and on
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    corpus = reader.read(tmp_path, rate=rate)
    assert [tuple(one) for one in corpus.skipped] == [
        ("a_raw.fif, sun at 9.000 s", "C3, Cz are not finite there (NaN)")
    ]
    x, labels, *_ = trials(corpus.recordings[0])
    assert labels["word"] == ("sea", "key", "sea", "key")
    for value, at in zip(x[:], (2.0, 5.0, 20.0, 30.0), strict=True):
        own = whole[:, round(100 * at) - 50 :][:, :300]
        if rate is not None:
            own = mne.filter.resample(own, up=rate, down=100.0, verbose="error")
        assert np.allclose(value, own, atol=1e-10)


def test_trials_that_touch_what_is_marked_bad_are_left_out(tmp_path: Path) -> None:
    raw = made_up(40.0).crop(3.0)  # annotations count from the first sample of all
    marks = mne.Annotations([5.0, 9.0, 20.0, 11.2], [0.1, 0.1, 0.1, 0.2], ["sea", "key", "sea", "BAD_jump"])
    raw.set_annotations(marks).save(tmp_path / "a_raw.fif", verbose="error")
    corpus = reader.read(tmp_path, start=0.0, stop=2.6)
    assert [clip.labels["word"] for clip in corpus.clips] == ["sea", "sea"]
    assert [tuple(one) for one in corpus.skipped] == [
        ("a_raw.fif, key at 9.000 s", "the recording is marked BAD from 11.200 to 11.400 s")
    ]
    assert len(reader.read(tmp_path, start=0.0, stop=2.2).clips) == 3


def test_annotations_that_mne_drops_are_counted(tmp_path: Path) -> None:
    """The markers of BrainVision files are text, and may name samples after the end."""
    pytest.importorskip("pybv")
    raw = annotated(made_up(), [2.0, 6.0, 11.0], ["sea", "key", "sea"])
    mne.export.export_raw(tmp_path / "a.vhdr", raw, verbose="error")
    marks = (tmp_path / "a.vmrk").read_text()
    (tmp_path / "a.vmrk").write_text(marks.replace(",1101,", ",9901,"))
    corpus = reader.read(tmp_path)
    assert len(corpus.clips) == 2
    assert ("a.vhdr, 1 annotations", "they lie outside the recording") in [
        tuple(one) for one in corpus.skipped
    ]


def test_events_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a_events.tsv"
    for text, said in (
        ("onset\tduration\n1\t2\n", "no column trial_type"),
        ("onset\ttrial_type\nsoon\tsea\n", "line 2: the onset is 'soon'"),
        ("onset\ttrial_type\nnan\tsea\n", "line 2: the onset is 'nan'"),
        ("trial_type\tonset\nsea\n", "line 2: the onset is ''"),
        ("onset\ttrial_type\n1\t{'kind'}\n", "line 2: trial_type is no dictionary"),
        ("onset\ttrial_type\n1\t{'kind': \n", "line 2: trial_type is no dictionary"),
    ):
        path.write_text(text)
        with pytest.raises(HeschlError, match=said):
            reader.read_events(path)
    path.write_text("onset\ttrial_type\n1.5\tsea\n2\tn/a\n")
    assert reader.read_events(path) == [(1.5, "sea", "", "")]


def test_trials_hold_one_kind_of_channel(tmp_path: Path) -> None:
    """Places and units of magnetometers and electrodes do not mix: what is not asked for is named."""
    x = np.random.default_rng(0).standard_normal((5, 2000))
    info = mne.create_info(["M1", "M2", "C3", "Cz", "P1"], 100.0, ["mag", "mag", "eeg", "eeg", "misc"])
    for k, channel in enumerate(info["chs"]):
        channel["loc"][:3] = (0.05 * k, 0.02, 0.1)
    raw = annotated(mne.io.RawArray(x, info, verbose="error"), [2.0, 6.0], ["sea", "key"])
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    events, numbers = mne.events_from_annotations(raw, verbose="error")
    cut = mne.Epochs(raw, events, numbers, -0.5, 2.49, baseline=None, preload=True, verbose="error")
    (tmp_path / "cut").mkdir()
    cut.save(tmp_path / "cut" / "a-epo.fif", verbose="error")
    for root in (tmp_path / "a_raw.fif", tmp_path / "cut"):
        for sensors, kind, space, own, other in (
            (None, "meg", "device", ("M1", "M2"), "2 eeg channels"),
            ("eeg", "eeg", "head", ("C3", "Cz"), "2 meg channels"),
        ):
            corpus = reader.read(root, sensors=sensors)  # type: ignore[arg-type]
            (recording,) = corpus.recordings
            assert (recording.kind, recording.space, recording.channels) == (kind, space, own)
            (told,) = corpus.skipped
            assert told.where.endswith(f", {other}") and "choose these by `sensors: " in told.why
            rows = [raw.ch_names.index(name) for name in own]
            assert np.allclose(trials(recording).x[0], x[rows, 150:450], rtol=1e-6)
            assert recording.positions is not None
            assert recording.positions[:, 0] == pytest.approx([0.05 * row for row in rows])
    with pytest.raises(HeschlError, match="no channel of seeg to use: it holds meg, eeg"):
        reader.read(tmp_path / "cut", sensors="seeg")
    with pytest.raises(HeschlError, match="sensors is 'ear'"):
        reader.read(tmp_path, sensors="ear")  # type: ignore[arg-type]
    made_up(kind="csd").save(tmp_path / "b_raw.fif", verbose="error")
    with pytest.raises(HeschlError, match="it holds csd"):
        reader.read(tmp_path / "b_raw.fif")


@pytest.mark.parametrize("naming", ["neuromag", "bids"])
def test_a_recording_in_parts_is_read_once(tmp_path: Path, naming: str) -> None:
    """By themselves its later parts would be recordings too, and their trials stand on two sides of a split."""
    x = 1e-5 * np.random.default_rng(0).standard_normal((3, 1_500_000))
    raw = mne.io.RawArray(x, mne.create_info(["C3", "Cz", "C4"], 1000.0, "eeg"), verbose="error")
    raw = annotated(raw, [2.0, 600.0, 1200.0, 1400.0], ["sea", "key", "sea", "key"])
    name = "sub-01_task-a_eeg.fif" if naming == "bids" else "a_raw.fif"
    raw.save(tmp_path / name, split_size="10MB", split_naming=naming, verbose="error")
    assert len(list(tmp_path.glob("*.fif"))) > 1
    if naming == "bids":
        lines = ["onset\ttrial_type", *(f"{at}\t{word}" for at, word in ((2, "sea"), (1400, "key")))]
        (tmp_path / "sub-01_task-a_events.tsv").write_text("\n".join(lines) + "\n")
    corpus = reader.read(tmp_path, rate=100.0)
    assert len(corpus.recordings) == 1 and not corpus.skipped
    found, labels, *_ = trials(corpus.recordings[0])
    assert labels["word"] == (("sea", "key") if naming == "bids" else ("sea", "key", "sea", "key"))
    own = mne.filter.resample(x[:, 1_399_500:1_402_500], up=100.0, down=1000.0, verbose="error")
    assert np.allclose(found[-1], own, atol=1e-9)
    made_up().save(tmp_path / "b_raw.fif", verbose="error")  # a file that is called as a part, and is none
    annotated(made_up(), [2.0], ["sea"]).save(tmp_path / "b_raw-1.fif", verbose="error")
    assert "b_raw-1" in [one.id for one in reader.read(tmp_path, rate=50.0).recordings]


def test_what_is_no_sensor_of_a_brain_is_left_out_by_name(tmp_path: Path) -> None:
    """Formats that call every channel EEG: a BIDS table says otherwise, and the sound is known by its name."""
    names = ["C3", "Cz", "C4", "VEOG", "Audio", "AUX1"]
    x = 1e-5 * np.random.default_rng(0).standard_normal((6, 2000))
    raw = annotated(
        mne.io.RawArray(x, mne.create_info(names, 100.0, "eeg"), verbose="error"), [2.0, 6.0], ["sea", "key"]
    )
    raw.save(tmp_path / "sub-01_task-a_eeg.fif", verbose="error")
    corpus = reader.read(tmp_path)
    assert corpus.recordings[0].channels == ("C3", "Cz", "C4", "VEOG", "AUX1")
    assert [tuple(one) for one in corpus.skipped] == [
        ("sub-01_task-a_eeg.fif, channel Audio", "by its name it recorded the sound, and is left out")
    ]
    table = tmp_path / "sub-01_task-a_channels.tsv"
    rows = [("C3", "EEG", "good"), ("Cz", "EEG", "bad"), ("C4", "EEG", "n/a"), ("VEOG", "EOG", "good")]
    rows += [("AUX1", "TRIG", "good"), ("gone", "EEG", "bad")]
    table.write_text("name\ttype\tstatus\n" + "".join("\t".join(row) + "\n" for row in rows))
    corpus = reader.read(tmp_path)
    assert corpus.recordings[0].channels == ("C3", "C4")
    told = {one.where.rsplit(" ", 1)[-1]: one.why for one in corpus.skipped}
    assert set(told) == {"Cz", "VEOG", "Audio", "AUX1"}
    assert told["Cz"] == "it is marked bad, and is left out"
    assert told["AUX1"].startswith("sub-01_task-a_channels.tsv says that it is TRIG")
    table.write_text("name\ttype\tstatus\n" + "".join(f"{name}\tEEG\tbad\n" for name in names))
    with pytest.raises(HeschlError, match="it holds eeg; channel C3: it is marked bad"):
        reader.read(tmp_path)
    inside = made_up(kind="seeg").rename_channels({"C3": "Mic1"})
    (tmp_path / "inside").mkdir()
    annotated(inside, [2.0], ["sea"]).save(tmp_path / "inside" / "a_raw.fif", verbose="error")
    assert reader.read(tmp_path / "inside").recordings[0].channels == ("Mic1", "Cz", "C4")
