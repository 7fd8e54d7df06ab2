from __future__ import annotations

import io
import os
import pickle
import pickletools
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.corpora import frames
from heschl.corpora._frames_unpickle import load
from heschl.types import HeschlError


def objects(items) -> np.ndarray:
    out = np.empty(len(items), object)
    for number, item in enumerate(items):
        out[number] = item
    return out


def npy(path: Path, array: np.ndarray, protocol: int | None = None) -> Path:
    """As numpy saves it, but with any pickle protocol."""
    if protocol is None:
        np.save(path, array, allow_pickle=True)
    else:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            pickle.dump(array, file, protocol)
    return path


def tree(root: Path, features, labels) -> Path:
    npy(root / "train.npy", objects(features))
    npy(root / "train_labels.npy", objects(labels))
    return root


# --- the layout --------------------------------------------------------------------------------------


def test_labels_become_runs_counted_by_hand(tmp_path):
    tree(tmp_path, [np.arange(14.0).reshape(7, 2)], [np.array([3, 3, 0, 0, 0, 3, 1])])
    (clip,) = frames.read(tmp_path).clips
    assert [(s.symbol, s.start, s.stop) for s in clip.spans] == [
        ("3", 0, 0.02), ("0", 0.02, 0.05), ("3", 0.05, 0.06), ("1", 0.06, 0.07)
    ]  # fmt: skip
    assert (clip.form, clip.rate, clip.id, clip.labels["split"]) == ("frames", 100, "train/00000", "train")
    assert clip.stop == pytest.approx(0.07)
    assert np.array_equal(frames.load_frames(clip), np.arange(14, dtype=np.float32).reshape(7, 2))
    (named,) = frames.read(tmp_path, phones=["AA", "B", "C", "SIL"], rate=50).clips
    assert named.spans[1].symbol == "AA" and named.spans[1].stop == 0.1
    with pytest.raises(HeschlError, match="labels from 0 to 3, and phones names 2"):
        frames.read(tmp_path, phones=["AA", "B"])


def test_tiny_tree_and_its_hdf5_are_the_same(tmp_path):
    frames.write_tiny(tmp_path / "a", seed=2)
    frames.write_tiny(tmp_path / "b", seed=2)
    assert (tmp_path / "a" / "train.npy").read_bytes() == (tmp_path / "b" / "train.npy").read_bytes()
    plain = frames.read(tmp_path / "a")
    assert [
        sum(c.labels["split"] == part for c in plain.clips) for part in ("train", "validation", "test")
    ] == [8, 4, 3]
    assert all(bool(clip.spans) == (clip.labels["split"] != "test") for clip in plain.clips)
    safe = frames.read(frames.to_hdf5(tmp_path / "a", tmp_path / "frames.h5"))
    assert not safe.notes and "to_hdf5" in plain.notes[0]
    original = np.load(tmp_path / "a" / "train.npy", allow_pickle=True)
    for a, b in zip(plain.clips, safe.clips):
        assert (a.id, a.spans, a.stop, dict(a.labels)) == (b.id, b.spans, b.stop, dict(b.labels))
        assert np.array_equal(frames.load_frames(a), frames.load_frames(b))
        if a.labels["split"] == "train":
            assert np.array_equal(frames.load_frames(a), original[int(a.id[-5:])])


def test_hdf5_in_the_folder_is_preferred(tmp_path):
    frames.write_tiny(tmp_path)
    frames.to_hdf5(tmp_path)
    (tmp_path / "train.npy").unlink()
    assert len(frames.read(tmp_path).clips) == 15


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.sampled_from([np.int8, np.int32, np.int64, np.uint8]),
    st.sampled_from([0, 1, 2, 3, 4, 5, None]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_restricted_reading_equals_numpys(lengths, kind, whole, protocol, fortran):
    random = np.random.default_rng(sum(lengths))
    rows = [random.standard_normal((n, 3)).astype(kind, order="F" if fortran else "C") for n in lengths]
    told = [random.integers(0, 100, n).astype(whole) for n in lengths]
    folder = Path(os.environ["HESCHL_CACHE"])
    folder.mkdir(parents=True, exist_ok=True)
    for items in (rows, told):
        path = npy(folder / "x.npy", objects(items), protocol)
        ours, numpys = load(path), np.load(path, allow_pickle=True)
        assert ours.shape == numpys.shape and ours.dtype == object
        for a, b in zip(ours, numpys):
            assert np.array_equal(a, b) and a.dtype == b.dtype


def test_arrays_of_one_length_and_plain_arrays(tmp_path):
    same = np.array([[[1.5, 2], [3, 4]], [[5, 6], [7, 8]]], dtype=object)  # numpy makes this of equal lengths
    assert np.array_equal(load(npy(tmp_path / "x.npy", same)), same.astype(float))
    assert np.array_equal(load(npy(tmp_path / "y.npy", np.ones((2, 3, 4)))), np.ones((2, 3, 4)))
    big_endian = objects([np.arange(3, dtype=">f4")])
    assert np.array_equal(load(npy(tmp_path / "z.npy", big_endian))[0], [0, 1, 2])
    lists = load(npy(tmp_path / "l.npy", objects([[1, 2], [3]])))
    assert lists[0].tolist() == [1, 2]


# --- pickles that would run code ---------------------------------------------------------------------


class Runs:
    """Pickles as a call of anything."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def malicious(path: Path, payload: object) -> Path:
    array = objects([np.zeros(3), payload])
    npy(path, array)
    return path


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, protocol):
    witness = tmp_path / "ran"
    array = objects([np.zeros((4, 2)), Runs(os.mkdir, str(witness))])
    with pytest.raises(HeschlError, match="could run code: it is not opened"):
        load(npy(tmp_path / "x.npy", array, protocol))
    assert not witness.exists()
    np.load(tmp_path / "x.npy", allow_pickle=True)  # the payload is real: numpy's own reader runs it
    assert witness.exists()


@pytest.mark.parametrize(
    "call",
    [
        (eval, "1"), (getattr, "", "upper"), (np.load, "x.npy"), (np.frombuffer, b"1234"), (np.ndarray, (2,)),
        (print, "x"), (io.open, "x"), (np.dtype, "V8"), (np.dtype, "O,O"),
    ],
)  # fmt: skip
def test_every_other_name_is_refused(tmp_path, call):
    with pytest.raises(HeschlError, match=r"it is not opened|truncated or not"):
        load(malicious(tmp_path / "x.npy", Runs(*call)))


def test_the_whole_corpus_is_refused_too(tmp_path):
    frames.write_tiny(tmp_path)
    malicious(tmp_path / "dev.npy", Runs(os.mkdir, str(tmp_path / "ran")))
    with pytest.raises(HeschlError, match=r"dev\.npy holds more than arrays"):
        frames.read(tmp_path)
    with pytest.raises(HeschlError, match=r"dev\.npy holds more than arrays"):
        frames.to_hdf5(tmp_path)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "frames.h5").exists()
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


def test_hand_written_pickles(tmp_path):
    def with_pickle(body: bytes) -> Path:
        with (tmp_path / "x.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
            file.write(body)
        return tmp_path / "x.npy"

    for body in (
        b"cos\nsystem\n(S'true'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"i__main__\nx\n.",
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x8c\x04true\x94\x85\x94R.",
        b"I1\n.",
        b"P1\n.",
        b"cnumpy\ndtype\n(S'f4'\nI00\nI01\ntR.",
        b"cnumpy\nndarray\n(I5\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
    ):
        with pytest.raises(HeschlError):
            load(with_pickle(body))
    good = pickle.dumps(objects([np.arange(4.0)]), 4)
    names = {text for _, text, _ in pickletools.genops(good) if isinstance(text, str)}
    assert "_reconstruct" in names  # so that the next line is about numpy's pickles
    with pytest.raises(HeschlError, match="do not fit its shape"):
        load(with_pickle(good.replace(b"K\x04\x85", b"K\x05\x85")))  # five items said, four there


# --- what is wrong -----------------------------------------------------------------------------------

X, Y = np.ones((5, 2)), np.array([0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("features", "labels", "sentence"),
    [
        (np.ones((4, 2)), Y, "has 4 frames and 5 labels"),
        (np.ones(5), Y, r"features of shape \(5,\) are not \(frame, feature\)"),
        (np.ones((0, 2)), Y[:0], r"features of shape \(0, 2\)"),
        (np.ones((5, 3)), Y, "has 3 features a frame, and those before it 2"),
        (np.where(X, np.nan, X), Y, "not finite"),
        (X, Y.astype(float), "are not one integer a frame"),
        (X, Y[None], "are not one integer a frame"),
    ],
)
def test_bad_utterances_are_skipped_with_their_sentence(tmp_path, features, labels, sentence):
    corpus = frames.read(tree(tmp_path, [X, features, X], [Y, labels, Y]))
    assert [clip.key for clip in corpus.clips] == ["train/0", "train/2"] and len(corpus.skipped) == 1
    assert re.search(sentence, corpus.skipped[0].why)
    with pytest.raises(HeschlError, match=sentence):
        frames.to_hdf5(tmp_path)


def test_files_that_do_not_fit(tmp_path):
    with pytest.raises(HeschlError, match="is not there"):
        frames.read(tmp_path / "none")
    with pytest.raises(HeschlError, match=r"holds neither train\.npy"):
        frames.read(tmp_path)
    npy(tmp_path / "train.npy", objects([X]))
    with pytest.raises(HeschlError, match=r"train_labels\.npy is not there"):
        frames.read(tmp_path)
    npy(tmp_path / "train_labels.npy", objects([Y, Y]))
    with pytest.raises(HeschlError, match="1 utterances, and train_labels.npy labels of 2"):
        frames.read(tmp_path)
    npy(tmp_path / "train_labels.npy", objects([Y[:3]]))
    with pytest.raises(HeschlError, match="no usable utterance .the first: .*5 frames and 3 labels"):
        frames.read(tmp_path)


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (np.array(5.0), "holds a single value"),
        (np.array([[["a", "b"]] * 5]), "type <U1 are not real numbers"),
        (np.zeros((1, 5, 2), [("a", "f4")]), "are not real numbers"),
        (np.zeros((1, 5, 2), "M8[s]"), "type datetime64"),
        (np.ones((1, 5, 2), complex), "type complex128"),
    ],
)
def test_plain_arrays_of_something_else(tmp_path, features, sentence):
    npy(tmp_path / "train.npy", features)
    npy(tmp_path / "train_labels.npy", objects([Y]))
    with pytest.raises(HeschlError, match=sentence):
        frames.read(tmp_path)


@pytest.mark.parametrize(
    ("lengths", "labels", "sentence"),
    [
        (np.array([5, 5.5]), np.zeros(10, int), "not whole numbers of frames"),
        (np.array([15, -5]), np.zeros(10, int), "not whole numbers of frames"),
        (10, np.zeros(10, int), "not whole numbers of frames"),
        (np.array([5, 5]), 0, "10 frames are there"),
    ],
)
def test_hdf5_that_somebody_else_wrote(tmp_path, lengths, labels, sentence):
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["train/features"], file["train/lengths"] = np.ones((10, 2)), lengths
        file["train/labels"] = labels
    with pytest.raises(HeschlError, match=sentence):
        frames.read(tmp_path)


@pytest.mark.parametrize("left", [0, 5, 60, 200, -1])
def test_truncated_files(tmp_path, left):
    frames.write_tiny(tmp_path)
    whole = (tmp_path / "train.npy").read_bytes()
    (tmp_path / "train.npy").write_bytes(whole[:left])
    with pytest.raises(HeschlError, match="is truncated or not a .npy file"):
        frames.read(tmp_path)
    file = tmp_path / "frames.h5"
    (tmp_path / "train.npy").write_bytes(whole)
    frames.to_hdf5(tmp_path)
    file.write_bytes(file.read_bytes()[: left if left >= 0 else 2000])
    with pytest.raises(HeschlError, match="is truncated or not HDF5"):
        frames.read(file)


def test_other_hdf5_and_changed_files(tmp_path):
    frames.write_tiny(tmp_path)
    file = frames.to_hdf5(tmp_path)
    clip = frames.read(file).by_id["train/00007"]
    with h5py.File(file, "a") as data:
        del data["train/lengths"]
        data["train/lengths"] = np.array([3])
    with pytest.raises(HeschlError, match="lengths of train add up to 3"):
        frames.read(file)
    with pytest.raises(HeschlError, match="any more"):
        frames.load_frames(clip)
    with h5py.File(tmp_path / "other.h5", "w") as data:
        data["x"] = 1
    with pytest.raises(HeschlError, match="not a file of stored frames"):
        frames.read(tmp_path / "other.h5")


def test_a_full_disk_is_told_before_anything_is_converted(tmp_path):
    """HDF5 cannot close a file that grew until the disk was full, and ends the process."""
    resource = pytest.importorskip("resource")
    frames.write_tiny(tmp_path)
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, soft[1]))
    try:
        with pytest.raises(HeschlError, match=r"frames\.h5 is larger than may be written here"):
            frames.to_hdf5(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".npy"]
    assert frames.to_hdf5(tmp_path).stat().st_size < frames._room(
        [(part, path, list(rows)) for part, path, rows in frames._npy_parts(tmp_path)]
    )
