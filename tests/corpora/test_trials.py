from __future__ import annotations

import importlib
import inspect
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from heschl.corpora import available, feis, imagined, read_corpus
from heschl.corpora.frames import load_frames
from heschl.corpora.sensors import places
from heschl.corpora.trial_files import Known, usable, write_trials
from heschl.corpora.trials import corpus_parts, left_out, lone_words, runs, trials
from heschl.recipe import load
from heschl.types import HeschlError


def tiny_file(path: Path, **options: Any) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((6, 3, 20)).astype(np.float32)
    given: dict[str, Any] = {"words": list("ababab"), "channels": ["C3", "Cz", "C4"], **options}
    channels = given.pop("channels")
    write_trials(path, x, Known(**given), 100.0, channels)
    return x


# --- the interface ----------------------------------------------------------------------------------------


def test_trials_of_every_reader_agree_with_its_clips(tmp_path: Path) -> None:
    for module in (imagined, feis):
        root = tmp_path / module.__name__
        module.write_tiny(root)
        corpus = module.read(root)
        assert len(corpus.recordings) == 2
        for recording in corpus.recordings:
            x, labels, rate, channels, positions = trials(recording)
            assert len(x) == x.shape[0] == len(labels["word"]) and len(channels) == x.shape[1]
            assert rate == recording.rate and (positions is None or positions.shape == (len(channels), 3))
            own = [clip for clip in corpus.clips if clip.labels["recording"] == recording.id]
            assert tuple(clip.labels["word"] for clip in own) == labels["word"]
            for row in (0, len(x) - 1):
                assert np.array_equal(np.moveaxis(x[row], -1, 0), load_frames(own[row]))


def test_rows_in_any_order_and_batches(tmp_path: Path) -> None:
    values = tiny_file(tmp_path / "a.h5", blocks=list("001122"))
    recording, _ = corpus_parts(tmp_path / "a.h5", "a")
    found = pickle.loads(pickle.dumps(trials(recording)))
    assert found.labels["block"] == tuple("001122")
    for index in (2, slice(1, 4), [5, 0, 0], np.array([3, 1]), slice(None, None, -2), -1):
        assert np.array_equal(found.x[index], values[index])
    assert np.array_equal(np.concatenate(list(found.x.batches(4))), values)
    with pytest.raises(IndexError):
        found.x[6]


def test_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    tiny_file(path)
    recording, _ = corpus_parts(path, "a")
    with h5py.File(path, "r+") as file:
        file["x_data"][4, 1, 3] = np.nan
    with pytest.raises(HeschlError, match=r"channel 2 of trial 4 holds values that are not finite"):
        trials(recording).x[:]
    assert trials(recording).x[:4].shape == (4, 3, 20)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(HeschlError, match="truncated"):
        trials(recording)
    path.unlink()
    with pytest.raises(HeschlError, match="not there"):
        trials(recording)


def test_what_is_written_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for options, said in (
        ({"words": ["a"]}, "there are 1 words"),
        ({"words": list("abababa")}, "6 trials come with 7"),
        ({"channels": ["C3"]}, "3 channels and there are 1"),
        ({"blocks": ["1"]}, "6 trials come with 1 blocks"),
    ):
        with pytest.raises(HeschlError, match=said):
            tiny_file(path, **options)
        assert not list(tmp_path.iterdir())  # nothing half-written


def test_what_is_not_finite_costs_its_trial_or_its_channel_and_nothing_else(tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((8, 4, 20))
    x[2, 1, 7] = np.nan  # a trial
    x[5] = np.inf  # all channels: the trial, too
    x[[0, 1, 3, 4, 6], 3, 0] = np.nan  # in most trials: the channel
    x[7, 0] = 3.0  # flat for a trial only: that is the trial's business
    names = [f"w{k} at {k}.0 s" for k in range(8)]
    windows = [(float(k), k + 0.2) for k in range(8)]
    known = Known([f"w{k}" for k in range(8)], names, list("00001111"), [f"s{k}" for k in range(8)], windows)
    places = np.arange(12.0).reshape(4, 3)
    path = tmp_path / "a.h5"
    write_trials(path, x, known, 100.0, list("ABCD"), places, [("w9 at 99 s", "lies outside")], subject="me")
    recording, clips = corpus_parts(path, "a")
    found = trials(recording)
    rows = [0, 1, 3, 4, 6, 7]
    assert np.array_equal(found.x[:], x[rows][:, :3].astype(np.float32)) and recording.channels == tuple(
        "ABC"
    )
    assert found.labels["word"] == tuple(f"w{k}" for k in rows) and found.labels["heard"][-1] == "s7"
    assert found.labels["block"] == tuple("000111") and recording.subject == "me"
    assert np.array_equal(recording.positions, places[:3])  # type: ignore[arg-type]
    assert [one.start for one in recording.heard] == rows and len(clips) == 6
    assert [tuple(one) for one in left_out(path, "a")] == [
        ("a, w9 at 99 s", "lies outside"),
        (
            "a, channel D",
            "it is not finite (NaN) in 5 of 7 trials, and is left out like a channel that is marked bad",
        ),
        ("a, w2 at 2.0 s", "B is not finite there (NaN)"),
        ("a, w5 at 5.0 s", "no channel is finite there (NaN)"),
    ]
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]
    with pytest.raises(
        HeschlError,
        match=r"none of 8 trials of 4 channels can be used: channel A: it never changes in 8 of 8",
    ):
        write_trials(path, np.ones((8, 4, 20)), known, 100.0, list("ABCD"))
    with pytest.raises(HeschlError, match=r"none of 8 trials .*: w0 at 0.0 s: no channel is finite"):
        write_trials(path, np.full((8, 4, 20), np.nan), known, 100.0, list("ABCD"))
    assert len(corpus_parts(path, "a")[1]) == 6  # what stood there stands


def test_rounding_is_no_change_and_a_small_unit_is() -> None:
    """Tesla beside volts change; a flat channel with an offset does not, whatever rounding makes of it."""
    from heschl.corpora.trial_files import _filled

    with h5py.File("never", "w", driver="core", backing_store=False) as file:
        noise = np.random.default_rng(0).standard_normal(64)
        flat = 4187.69 - np.full(64, 4187.69).mean() + 1e-13 * noise
        x = np.stack([1e-5 * noise, 1e-13 * noise, 1e-6 * flat, 5.0 + 1e-8 * noise])
        finite, changes = _filled(Path("never"), file, [x], 1, list("ABCD"))
    assert finite.all() and changes.tolist() == [[True, True, False, False]]
    rows, kept, lost = usable(
        np.ones((3, 2), bool), np.array([[True, True], [True, False], [True, False]]), list("abc"), "XY"
    )
    assert len(rows) == 3 and len(kept) == 2 and not lost  # it changes in one


def test_the_survey_of_stored_maps_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the very bar of the command line, over both files; of what was looked through before, nothing is read and told."""
    from heschl import waiting
    from heschl.recipe import CorpusPart
    from heschl.run import read_heard
    from heschl.training.progress import Voice

    monkeypatch.setenv("HESCHL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(imagined, "AT_ONCE", 5 * 4 * 5 * 16 * 4)  # five trials at a time
    imagined.write_tiny(tmp_path / "maps")
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(waiting.time, "monotonic", lambda: float(next(clock)))
    with waiting.progress("reading the corpus", "trials") as told:
        read_corpus("imagined", tmp_path / "maps", progress=told)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" trials")[0] for line in said] == [
        f"reading the corpus: {done} of 24" for done in (5, 10, 12, 17, 22)
    ]  # the last would come with the end
    assert said[1].endswith("about 56 s left")  # 5 trials in 20 s, and 14 are left
    counted: list[tuple[int, int]] = []
    read_corpus("imagined", tmp_path / "maps", progress=lambda done, of: counted.append((done, of)))
    assert not counted
    (tmp_path / "cache" / "trials").rename(tmp_path / "gone")
    part = CorpusPart(use="imagined", root=str(tmp_path / "maps"))
    with Voice().counting("reading the corpus") as reading:  # as `train` reads it
        read_heard(part, progress=reading)
    assert capsys.readouterr().err.splitlines() == [line.replace(" trials", "") for line in said]
    with Voice(quiet=True).counting("reading the corpus") as reading:
        assert reading is None


def test_places_and_blocks() -> None:
    pytest.importorskip("mne")
    left, vertex, right, none = places(["C3", "cz", "C4", "EOG"], "fsaverage_1005")
    assert np.isnan(none).all()
    assert left[0] < -0.04 and right[0] > 0.04 and vertex[2] > max(left[2], right[2]) > 0.05
    with pytest.raises(HeschlError, match="none of the channels"):
        places(["E1"], "fsaverage_1005")
    with pytest.raises(HeschlError, match="not known"):
        places(["Cz"], "cap")
    assert runs(5, 2) == ["00", "00", "00", "01", "01"]


# --- the reference's files -----------------------------------------------------------------------------------


def test_imagined_words(tmp_path: Path) -> None:
    imagined.write_tiny(tmp_path)
    words = tmp_path / "words.txt"
    words.write_text("sea\nocean\nkey\n")
    corpus = read_corpus(
        "imagined", tmp_path, words=words, channels=["Fz", "Cz", "Pz", "Oz"], montage="fsaverage_1005"
    )
    assert {clip.labels["word"] for clip in corpus.clips} == {"sea", "ocean", "key"}
    assert [one.subject for one in corpus.recordings] == ["sub_1", "sub_2"]
    assert trials(corpus.recordings[0]).x.shape == (12, 4, 5, 16)
    assert corpus.recordings[0].positions is not None


def test_labels_in_every_form(tmp_path: Path) -> None:
    def with_labels(y: Any, **options: Any) -> list[str]:
        with h5py.File(tmp_path / "s.h5", "w") as file:
            file["x_data"] = np.zeros((3, 2, 4, 8), np.float32)
            file["y_data"] = y
        return [clip.labels["word"] for clip in imagined.read(tmp_path / "s.h5", **options).clips]

    assert with_labels(np.array([2, 0, 1])) == ["2", "0", "1"]
    assert with_labels(np.array([[2.0], [0.0], [1.0]]), words=list("abc")) == ["c", "a", "b"]
    assert with_labels(np.eye(4)[[3, 1, 1]]) == ["3", "1", "1"]
    assert with_labels(["x", "y", "z"]) == ["x", "y", "z"]
    for y, options, said in (
        (np.array([0.5, 1, 2]), {}, "whole numbers"),
        (np.array([0, 1]), {}, "3 trials and y_data 2"),
        (np.array([0, 1, 9]), {"words": ["a", "b"]}, "0 to 9"),
        (np.ones((3, 2)), {}, "one-hot"),
        (np.arange(3), {"channels": ["a"]}, "1 are named"),
    ):
        with pytest.raises(HeschlError, match=said):
            with_labels(y, **options)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(HeschlError, match="holds data"):
        imagined.read(tmp_path / "s.h5")


def test_a_truncated_file_is_skipped_and_named_and_lone_words_are_told(tmp_path: Path) -> None:
    imagined.write_tiny(tmp_path)
    second = tmp_path / "sub_2_ImaginedSpeech_samples.h5"
    second.write_bytes(second.read_bytes()[:3000])
    corpus = imagined.read(tmp_path)
    assert len(corpus.recordings) == 1 and "truncated" in corpus.skipped[0].why
    assert not corpus.notes
    (note,) = lone_words(corpus.clips[:4])
    assert note.startswith("2 of 3 words have one trial only (1, 2)")


def test_a_stored_trial_that_is_not_finite_is_left_out_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagined, "AT_ONCE", 3 * 4 * 5 * 16 * 4)  # three trials at a time
    imagined.write_tiny(tmp_path)
    with h5py.File(tmp_path / "sub_1_ImaginedSpeech_samples.h5", "r+") as file:
        file["x_data"][4, 2, 1, 7] = np.nan
        file["x_data"][11, 0] = np.inf
    corpus = imagined.read(tmp_path)
    (first, second), own = corpus.skipped, [one for one in corpus.clips if one.labels["subject"] == "sub_1"]
    assert (first.where, first.why) == (
        "sub_1_ImaginedSpeech_samples, trial 4",
        "E3 is not finite there (NaN)",
    )
    assert second.where.endswith("trial 11") and len(corpus.clips) == 22
    x = trials(corpus.recordings[0]).x
    rows = [int(str(one.key).rsplit("/", 1)[1]) for one in own]
    assert rows == [k for k in range(12) if k not in (4, 11)] and np.isfinite(x[rows]).all()
    with h5py.File(tmp_path / "sub_1_ImaginedSpeech_samples.h5", "r+") as file:
        file["x_data"][:7, 3] = np.nan
    assert (
        "channel E4 of x_data is not finite (NaN) in 7 of 12 trials" in imagined.read(tmp_path).skipped[0].why
    )


# --- FEIS ------------------------------------------------------------------------------------------------------


def feis_tree(root: Path, epochs: int = 4) -> np.ndarray:
    """The published layout: a zipped table a phase."""
    x = np.random.default_rng(0).standard_normal((epochs, 64, 14)).round(3) + 4200
    lines = ["Time:256Hz,Epoch," + ",".join(feis.CHANNELS) + ",Label,Stage,Flag"]
    for epoch in range(epochs):
        for sample in range(20 if epoch == 4 else 64 - (epoch == 1)):  # one broke off; one sample is missing
            values = ",".join(f"{value:.3f}" for value in x[epoch, sample])
            lines.append(f"{sample / 256:.4f},{epoch},{values},{'fk'[epoch % 2]},thinking,")
    folder = root / "experiments" / "01"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "thinking.zip", "w") as archive:
        archive.writestr("thinking.csv", "\n".join(lines))
    return x[:, :63].transpose(0, 2, 1)


def test_the_published_tree_of_feis(tmp_path: Path) -> None:
    values = feis_tree(tmp_path)
    corpus = read_corpus("feis", tmp_path)
    x, labels, rate, channels, positions = trials(corpus.recordings[0])
    assert labels["word"] == ("f", "k", "f", "k") and rate == 256.0 and channels == feis.CHANNELS
    expected = 1e-6 * (values - values.mean(2, keepdims=True))
    assert np.allclose(x[:], expected, atol=1e-12)
    assert positions is not None and not np.isnan(positions).any()
    (tmp_path / "experiments" / "01").rename(tmp_path / "experiments" / "chinese-1")
    with pytest.raises(HeschlError, match="neither"):
        feis.read(tmp_path)
    assert [one.subject for one in feis.read(tmp_path, language="chinese").recordings] == ["chinese-1"]
    (tmp_path / "experiments" / "chinese-1").rename(tmp_path / "experiments" / "01")
    with pytest.raises(HeschlError, match="choose stimuli"):
        feis.read(tmp_path, phase="dreaming")
    with pytest.raises(HeschlError, match="neither"):
        feis.read(tmp_path, phase="speaking")


def test_only_readers_that_lay_windows_have_an_option_that_recipes_keep_for_themselves() -> None:
    """`corpus.relabel`, `share` and `speech` are heschl's own keys: a reader's option of that name could not be given."""
    kept = {"relabel", "share", "speech"}
    readers = {name: importlib.import_module(f"heschl.corpora.{name}").read for name in available()}
    taken = {name for name, read in readers.items() if kept & set(inspect.signature(read).parameters)}
    assert taken == {"listening"}
    recipe = load("feis-thinking", {"corpus.language": "chinese"})
    assert recipe.corpus.args["language"] == "chinese" and recipe.corpus.speech is None


def test_an_epoch_of_feis_that_broke_off_is_left_out_and_told(tmp_path: Path) -> None:
    feis_tree(tmp_path, epochs=6)
    corpus = feis.read(tmp_path)
    assert len(corpus.clips) == 5
    ((where, why),) = corpus.skipped
    assert where == "experiments/01/thinking.zip, epoch 4" and "broke off after" in why


def test_an_epoch_of_feis_that_is_not_finite_or_has_no_label_is_left_out_alone(tmp_path: Path) -> None:
    """In the published tables: a cell that is no number, an empty label, rows of no epoch; in .npz files a NaN."""
    values = feis_tree(tmp_path)
    path = tmp_path / "experiments" / "01" / "thinking.zip"
    with zipfile.ZipFile(path) as archive:
        rows = archive.read("thinking.csv").decode().splitlines()
    rows[1 + 64 + 9] = rows[1 + 64 + 9].replace(
        rows[1 + 64 + 9].split(",")[5], "x", 1
    )  # T7 is the sixth of them
    rows[1 + 127 :] = [
        row.replace(",f,", ",,") if row.split(",")[1] == "2" else row for row in rows[1 + 127 :]
    ]
    rows.append("0.5,," + ",".join(["4200"] * 14) + ",f,thinking,")
    (path.parent / "thinking.csv").write_text("\n".join(rows))
    path.unlink()
    corpus = feis.read(tmp_path)
    name = "experiments/01/thinking.csv, "
    assert {(one.where.removeprefix(name), one.why) for one in corpus.skipped} == {
        ("1 row", "it is not said of which epoch they are"),
        ("epoch 2", "its label is empty: one is needed"),
        ("epoch 1", "F7 is not finite there (NaN)"),
    }
    x, labels, *_ = trials(corpus.recordings[0])
    assert labels["word"] == ("f", "k")
    expected = 1e-6 * (values - values.mean(2, keepdims=True))
    assert np.allclose(x[:], expected[[0, 3]], atol=1e-12)
    feis.write_tiny(tmp_path / "npz")
    held = dict(np.load(tmp_path / "npz" / "01.npz"))
    held["eeg"][5, 3, 7] = np.inf
    held["eeg"][:, 11] = 4187.3  # AF4 is flat throughout
    np.savez(tmp_path / "npz" / "01.npz", **held)
    corpus = feis.read(tmp_path / "npz")
    assert [one.where for one in corpus.skipped] == ["01.npz, channel AF4", "01.npz, epoch 5"]
    assert "never changes in 8 of 8 trials, and is left out" in corpus.skipped[0].why
    first, other = corpus.recordings
    assert first.channels == tuple(one for one in feis.CHANNELS if one != "AF4") and len(other.channels) == 14
    assert trials(first).x.shape == (7, 13, 64)
    assert np.allclose(first.positions[10], other.positions[10]) and np.allclose(
        first.positions[11:], other.positions[12:]
    )  # type: ignore[index]


@pytest.mark.slow
def test_fixation_epochs_of_feis(shared: Path) -> None:
    corpus = feis.read(shared / "data" / "feis" / "eeg_fixation")
    assert len(corpus.recordings) == 16 and len(corpus.clips) == 16 * 160 and not corpus.skipped
    assert "carry no speech" in corpus.notes[0]
    x, labels, rate, _, _ = trials(corpus.recordings[3])
    source = np.load(shared / "data" / "feis" / "eeg_fixation" / "06.npz")
    assert x.shape == (160, 14, 256) and rate == 256.0 and labels["word"] == tuple(source["label"])
    eeg = source["eeg"][7].astype(float)
    assert np.allclose(x[7], 1e-6 * (eeg - eeg.mean(1, keepdims=True)), atol=1e-9)


def test_damaged_tables_are_named(tmp_path: Path) -> None:
    feis.write_tiny(tmp_path)
    (tmp_path / "01.npz").write_bytes(b"PK\x03\x04 no archive")
    eeg = np.zeros((2, 14, 64), np.float32)
    np.savez(tmp_path / "03.npz", eeg=eeg, label=["f", "k"], sfreq=256.0, ch_names=feis.CHANNELS[1:])
    corpus = feis.read(tmp_path)
    assert [one.where for one in corpus.skipped] == ["01.npz", "03.npz"]
    assert "damaged" in corpus.skipped[0].why and "there are 13 ch_names" in corpus.skipped[1].why


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    """HDF5 cannot close a file that the disk has no room for, and ends the process: its room is taken first."""
    resource = pytest.importorskip("resource")
    x = np.random.default_rng(0).standard_normal((50, 3, 100)).astype(np.float32)
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, soft[1]))
    try:
        with pytest.raises(HeschlError, match=r"a\.h5 is larger than may be written here \(File too large\)"):
            write_trials(tmp_path / "a.h5", iter(x), Known(["a", "b"] * 25), 100.0, ["E1", "E2", "E3"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    assert not list(tmp_path.iterdir())
    feis.write_tiny(tmp_path / "feis")
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, soft[1]))
    try:
        with pytest.raises(
            HeschlError, match=r"^.*01-.*\.h5 is larger than may be written"
        ):  # and not that it cannot be read
            feis.read(tmp_path / "feis")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    write_trials(tmp_path / "a.h5", iter(x), Known(["a", "b"] * 25), 100.0, ["E1", "E2", "E3"])
    recording, clips = corpus_parts(tmp_path / "a.h5", "a")
    assert len(clips) == 50 and np.array_equal(trials(recording).x[:], x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"x_data": np.zeros((0, 2, 3, 4)), "y_data": np.zeros(0, int)},
            r"x_data is \(0, 2, 3, 4\) of float64",
        ),
        ({"x_data": np.zeros((4, 2, 3, 4), "c8")}, "of complex64: give real numbers"),
        ({"rate": 0.0}, "the rate is 0 Hz"),
    ],
)
def test_what_is_no_map_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    given = {"x_data": np.ones((4, 2, 3, 4)), "y_data": np.arange(4) % 2} | change
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["rate"] = given.pop("rate", 64.0)
        for name, values in given.items():
            file[name] = values
    with pytest.raises(HeschlError, match=said):
        imagined.read(tmp_path, words=["a", "b"])


def test_names_may_be_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x_data"], file["y_data"] = np.ones((4, 2, 3, 4)), np.arange(4) % 2
        file["channels"], file["blocks"] = np.array([7, 9]), np.array([1, 1, 2, 2])
    corpus = imagined.read(tmp_path)
    assert corpus.recordings[0].channels == ("7", "9")
    assert [clip.labels["block"] for clip in corpus.clips] == ["1", "1", "2", "2"]
