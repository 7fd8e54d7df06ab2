"""Stored frames with a label each: the layout of CMU's 11-785 homework HW1P2, and a safe HDF5 of it.

What it is: features that were computed elsewhere (40 mel or 13 cepstra, 100 frames a second), one phone state a frame.
Layout on disk: ``train.npy``, ``dev.npy``, ``test.npy``, object arrays of (frame, feature) arrays, one an utterance; and
``train_labels.npy``, ``dev_labels.npy``, object arrays of (frame,) integers; the test part has labels or none. Or
``frames.h5``, which `to_hdf5` makes of them once: it is read part by part, and holds no pickle.

The .npy files are pickles; they are read without running anything that they name (see `_frames_unpickle`).
Licence and citation: the class's data may not be passed on; other data of this layout has its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from heschl.corpora._frames_unpickle import load
from heschl.files import ROOM, replacing, reserve
from heschl.types import Clip, Corpus, HeschlError, Skipped, Span

RATE = 100.0
# Names of a part's files, and the part.
PARTS = {"train": "train", "dev": "validation", "val": "validation", "valid": "validation", "test": "test"}
HDF5 = "frames.h5"
_CHUNK, _LABELS_CHUNK = 1024, 4096  # frames that lie together in it


def read(
    root: Path, *, rate: float = RATE, phones: Sequence[str] | None = None, licence: str = "unknown"
) -> Corpus:
    """Reads stored frames; each utterance is a clip of ``form="frames"``, its labels are spans.

    Parameters
    ----------
    root: the folder, or the HDF5 file.
    rate: frames a second, Hz.
    phones: the symbol of each label's number; None takes the numbers themselves as symbols.
    licence: kept in every run.

    Raises
    ------
    HeschlError: nothing of this layout is there, a file cannot be read, or no utterance is usable.
    """
    root = Path(root)
    file = root if root.suffix in (".h5", ".hdf5") else root / HDF5
    if not root.exists():
        raise HeschlError(f"{root} is not there: check the path of the corpus")
    notes: tuple[str, ...] = ()
    if file.exists():
        parts = _hdf5_parts(file)
    else:
        parts = _npy_parts(root)
        notes = (
            "These .npy files are read whole each time: `heschl.corpora.frames.to_hdf5` makes a file that is read in parts.",
        )
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    width: int | None = None
    for part, signal, rows in parts:
        for number, (features, labels) in enumerate(rows):
            key = f"{part}/{number}"
            try:
                _check(signal, key, features, labels, width)
                width = features.shape[1]
                spans = (
                    ()
                    if labels is None
                    else tuple(_runs(labels, rate, phones, f"{signal}, utterance {number}"))
                )
                told = {"split": PARTS[part]}
                stop = len(features) / rate
                clips.append(
                    Clip(f"{part}/{number:05d}", signal, rate, told, spans, 0.0, stop, "frames", key)
                )
            except HeschlError as error:
                skipped.append(Skipped(key, str(error)))
    if not clips:
        raise HeschlError(
            f"{root} holds no usable utterance" + (f" (the first: {skipped[0].why})" if skipped else "")
        )
    return Corpus(
        name=root.resolve().stem,
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        source="stored frames",
        licence=licence,
        skipped=tuple(skipped),
        notes=notes,
    )


def load_frames(clip: Clip) -> np.ndarray:
    """The frames of one clip, (frame, feature) float32; of a trial of a brain (time, sensor, ...), see `corpora.sensors`.

    Raises
    ------
    HeschlError: the clip is not of frames, or its file has changed since it was read.
    """
    if clip.form != "frames":
        raise HeschlError(f"clip {clip.id} is a recording, not stored frames: read it as audio")
    part, _, row = clip.key.partition("/")
    try:
        stamp = clip.signal.stat().st_mtime_ns
        if clip.signal.suffix in (".h5", ".hdf5"):
            import h5py

            with h5py.File(clip.signal, "r") as file:
                if isinstance(file[part], h5py.Dataset):  # (trial, sensor, ..., time)
                    return np.moveaxis(np.asarray(file[part][int(row)], np.float32), -1, 0)
                first, last = _edges(clip.signal, part, stamp)[int(row) : int(row) + 2]
                return np.asarray(file[part]["features"][first:last], np.float32)
        return np.asarray(_array(clip.signal, stamp)[int(row)], np.float32)
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise HeschlError(
            f"{clip.signal} does not hold {clip.key} any more ({error}): read the corpus again"
        ) from None


def to_hdf5(folder: Path, out: Path | None = None) -> Path:
    """Writes the .npy files of a folder as one HDF5 file: features (all frames of a part, feature) float32, labels, lengths.

    Parameters
    ----------
    out: the file to write; None writes ``frames.h5`` in the folder, which `read` then prefers.

    Raises
    ------
    HeschlError: as `read`; an utterance that `read` would skip stops the conversion; the disk is too full.
    """
    folder = Path(folder)
    out = Path(out) if out is not None else folder / HDF5
    parts = [(part, signal, list(rows)) for part, signal, rows in _npy_parts(folder)]
    with replacing(out) as temporary, _new_hdf5(temporary, _room(parts)) as file:
        width = None
        for part, signal, rows in parts:
            lengths: list[int] = []
            features = labels = None
            for number, (values, told) in enumerate(rows):
                _check(signal, f"{part}/{number}", values, told, width)
                width = values.shape[1]
                if features is None:
                    group = file.create_group(part)
                    features = group.create_dataset(
                        "features", (0, width), "f4", maxshape=(None, width), chunks=(_CHUNK, width)
                    )
                    labels = (
                        None
                        if told is None
                        else group.create_dataset(
                            "labels", (0,), "i4", maxshape=(None,), chunks=(_LABELS_CHUNK,)
                        )
                    )
                for data, new in ((features, values), (labels, told)):
                    if data is not None and new is not None:
                        data.resize(data.shape[0] + len(new), axis=0)
                        data[data.shape[0] - len(new) :] = new
                lengths.append(len(values))
            if features is not None:
                group.create_dataset("lengths", data=np.array(lengths, np.int64))
    return out


def _new_hdf5(path: Path, size: int) -> Any:
    """A file to write so many bytes to, where the disk has them: it is asked before HDF5 meets its end."""
    import h5py

    reserve(path, size)
    return h5py.File(path, "w")


def _room(parts: Sequence[tuple[str, Path, Sequence[Any]]]) -> int:
    """Bytes that the parts take at most: their numbers, what is left empty of their last chunks, HDF5's own account."""
    size = 0
    for _, _, rows in parts:
        width = max((np.shape(features)[-1] for features, _ in rows if np.ndim(features)), default=0)
        size += 4 * sum(np.size(features) + np.size(labels) for features, labels in rows)
        size += 4 * (_CHUNK * width + _LABELS_CHUNK) + 8 * len(rows)
    return size + size // 100 + ROOM


# --- files -------------------------------------------------------------------------------------------

Rows = Iterator[tuple[np.ndarray, np.ndarray | None]]


def _npy_parts(folder: Path) -> list[tuple[str, Path, Rows]]:
    """(part, its file, its rows of features and labels) of a folder of .npy files."""
    found = [part for part in PARTS if (folder / f"{part}.npy").exists()]
    if not found:
        raise HeschlError(f"{folder} holds neither train.npy nor {HDF5}: check the folder")
    parts: list[tuple[str, Path, Rows]] = []
    for part in found:
        path, told = folder / f"{part}.npy", folder / f"{part}_labels.npy"
        if part != "test" and not told.exists():
            raise HeschlError(f"{told} is not there: only the test part may lack labels")
        features = _several(path)
        labels = _several(told) if told.exists() else None
        if labels is not None and len(labels) != len(features):
            raise HeschlError(
                f"{path} holds {len(features)} utterances, and {told.name} labels of {len(labels)}: they must match"
            )
        parts.append((part, path, zip(features, [None] * len(features) if labels is None else labels)))
    return parts


def _several(path: Path) -> np.ndarray:
    held = load(path)
    if not held.ndim:
        raise HeschlError(f"{path} holds a single value, not an array of utterances: save one array of each")
    return held


def _hdf5_parts(path: Path) -> list[tuple[str, Path, Rows]]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found = [part for part in PARTS if part in file]
            if not found or any(
                "lengths" not in file[part] or "features" not in file[part] for part in found
            ):
                raise HeschlError(
                    f"{path} is not a file of stored frames (train/features, lengths, labels): make it with to_hdf5"
                )
            for part in found:
                if not _whole(file[part]["lengths"]) or not file[part]["features"].ndim:
                    raise HeschlError(
                        f"{path}: the lengths of {part} are not whole numbers of frames, one an utterance: make it again"
                    )
                total, frames = int(file[part]["lengths"][:].sum()), file[part]["features"].shape[0]
                if total != frames or ("labels" in file[part] and file[part]["labels"].shape != (frames,)):
                    raise HeschlError(
                        f"{path}: the lengths of {part} add up to {total}, and {frames} frames are there: make it again"
                    )
    except OSError as error:
        raise HeschlError(
            f"{path} is truncated or not HDF5 ({str(error)[:60]}): make it again with to_hdf5"
        ) from None
    return [(part, path, _hdf5_rows(path, part)) for part in found]


def _whole(lengths: Any) -> bool:
    return lengths.ndim == 1 and lengths.dtype.kind in "iu" and bool((lengths[:] >= 0).all())


def _hdf5_rows(path: Path, part: str) -> Rows:
    """Rows whose features are read a stretch at a time, so that memory does not grow with the corpus."""
    import h5py

    with h5py.File(path, "r") as file:
        group = file[part]
        labels = group["labels"][:] if "labels" in group else None
        edges = np.concatenate([[0], np.cumsum(group["lengths"][:])])
        for first, last in pairwise(edges):
            yield group["features"][first:last], None if labels is None else labels[first:last]


@lru_cache(maxsize=8)
def _edges(path: Path, part: str, stamp: int) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        return np.concatenate([[0], np.cumsum(file[part]["lengths"][:])])


@lru_cache(maxsize=3)
def _array(path: Path, stamp: int) -> np.ndarray:
    return load(path)


# --- checks and labels -------------------------------------------------------------------------------


def _check(path: Path, key: str, features: Any, labels: Any, width: int | None) -> None:
    """Raises HeschlError where one utterance's arrays are not (frame, feature) numbers and (frame,) integers."""
    where = f"{path}, utterance {key}"
    features = np.asarray(features)
    if features.ndim != 2 or not features.size:
        raise HeschlError(
            f"{where}: features of shape {features.shape} are not (frame, feature) numbers: mend or drop it"
        )
    if features.dtype.kind not in "fiub":
        raise HeschlError(f"{where}: features of type {features.dtype} are not real numbers: mend or drop it")
    if width is not None and features.shape[1] != width:
        raise HeschlError(
            f"{where} has {features.shape[1]} features a frame, and those before it {width}: mend or drop it"
        )
    if not np.isfinite(features).all():
        raise HeschlError(f"{where} holds numbers that are not finite: mend or drop it")
    if labels is None:
        return
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise HeschlError(
            f"{where}: labels of shape {labels.shape} and type {labels.dtype} are not one integer a frame"
        )
    if len(labels) != len(features):
        raise HeschlError(f"{where} has {len(features)} frames and {len(labels)} labels: they must match")


def _runs(labels: np.ndarray, rate: float, phones: Sequence[str] | None, where: str) -> Iterator[Span]:
    """Runs of equal labels as spans: frame n lasts from n / rate to (n + 1) / rate seconds."""
    if phones is not None and not (labels.min() >= 0 and labels.max() < len(phones)):
        raise HeschlError(
            f"{where} has labels from {labels.min()} to {labels.max()}, and phones names {len(phones)}: name all"
        )
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    for first, last in pairwise(edges):
        number = int(labels[first])
        yield Span(str(number) if phones is None else str(phones[number]), first / rate, last / rate)


def write_tiny(root: Path, seed: int = 0) -> None:
    """A small folder of this layout: 8, 4 and 3 utterances, 13 features, 5 classes in runs of 4 to 12 frames."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    means = 2 * random.standard_normal((5, 13))
    for part, count in (("train", 8), ("dev", 4), ("test", 3)):
        features, labels = np.empty(count, object), np.empty(count, object)
        for number in range(count):
            classes = random.permutation(np.tile(np.arange(5), 2))
            labels[number] = np.repeat(classes, random.integers(4, 13, len(classes)))
            noise = random.standard_normal((len(labels[number]), 13))
            features[number] = (means[labels[number]] + 0.5 * noise).astype(np.float32)
        np.save(root / f"{part}.npy", features, allow_pickle=True)
        if part != "test":
            np.save(root / f"{part}_labels.npy", labels, allow_pickle=True)
