"""Imagined words as superlet maps: the HDF5 files of the data-driven neural representation's authors.

    sub_1_ImaginedSpeech_samples.h5      one a subject (any .h5 or .hdf5)
        x_data  (trial, channel, freq, time), published as (3000, 127, 64, 512) of 2 s at 256 Hz; or (trial, channel, time)
        y_data  (trial,) or (trial, 1) numbers of words, (trial, word) one-hot, or text

A file of `heschl.features.superlet_store.store_maps` is read as well, with ``beside={"y_data": words, "channels": names,
"positions": metres in the head's frame, "blocks": names}``: what it holds of these need not be given, and its rate is its
own. Recipes then say ``feature: {use: brain_maps.BrainMaps, stored: true}``, and train from the file a batch at a time.

Each file is read once, some trials at a time, for values that are not finite (``progress`` counts trials), and what was found is kept
in heschl's cache: such a trial is left out, by name. A channel that is so in more than half of the trials must be taken out of the file.

The authors' files do not name words or channels: give them. Only three trials of one subject are public, without a licence;
the whole set has been promised on OSF (about 50 GB a subject). Licence: none is stated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from heschl.corpora.sensors import places
from heschl.corpora.trial_files import kept, usable
from heschl.corpora.trials import Kind, clips_of, lone_words, numbered, opened, runs
from heschl.files import read_text, replacing
from heschl.types import Clip, Corpus, Heard, HeschlError, Recording, Skipped
from heschl.wording import counted

Names = Sequence[str] | str | Path | None
Progress = Callable[[int, int], None]
AT_ONCE = 2**26  # bytes of trials that are looked through together


def read(
    root: Path,
    words: Names = None,
    channels: Names = None,
    montage: str | None = None,
    rate: float = 256.0,
    kind: Kind = "eeg",
    blocks: int = 10,
    progress: Progress | None = None,
) -> Corpus:
    """Trials as clips, one recording a file; of the maps, nothing is kept in memory.

    Parameters
    ----------
    root: a folder of such files, or one file.
    words: what the numbers in y_data mean, in order, or a text file with one a line; None keeps the numbers.
    channels: names in order, or such a file. montage: of MNE, which then gives their positions.
    rate: steps a second of x_data's time axis, Hz, where the file does not say it.
    blocks: where the file knows none, so many stretches of neighbouring trials are the label "block".
    progress: is given how many trials were looked through for what is not finite, and of how many.

    Raises
    ------
    HeschlError: no file can be read, labels that do not fit, or unknown channels.
    """
    root = Path(root)
    paths = (
        sorted(path for path in root.glob("*") if path.suffix in (".h5", ".hdf5"))
        if root.is_dir()
        else [root]
    )
    if not root.exists() or not paths:
        raise HeschlError(f"{root} holds no .h5 file with x_data and y_data: check the folder")
    spoken, names = _names(words), _names(channels)
    clips: list[Clip] = []
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    found: list[tuple[Recording, list[Clip]]] = []
    for path in paths:
        try:
            found.append(_subject(path, spoken, names, montage, rate, kind, blocks))
        except HeschlError as error:
            skipped.append(Skipped(path.name, str(error)))
    before, of = 0, sum(len(own) for _, own in found)
    for recording, own in found:

        def told(done: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, of)

        before += len(own)
        try:
            rows, lost = _finite(recording, told)
        except HeschlError as error:
            skipped.append(Skipped(recording.signal.name, str(error)))
            continue
        recordings.append(recording)
        clips += [own[k] for k in rows]
        skipped += [Skipped(f"{recording.id}, {where}", why) for where, why in lost]
    if not clips:
        raise HeschlError(f"nothing in {root} can be read: {skipped[0].why}")
    return Corpus(
        name="imagined words",
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        source=f"{root.name} (x_data, y_data)",
        licence="not stated",
        skipped=tuple(skipped),
        notes=lone_words(clips),
        recordings=tuple(recordings),
    )


def _names(given: Names) -> list[str] | None:
    if given is None:
        return None
    if isinstance(given, str | Path):
        return [line.strip() for line in read_text(given).splitlines() if line.strip()]
    return [str(one) for one in given]


def _subject(
    path: Path,
    words: list[str] | None,
    channels: list[str] | None,
    montage: str | None,
    rate: float,
    kind: Kind,
    blocks: int,
) -> tuple[Recording, list[Clip]]:
    with opened(path) as file:
        arrays = [getattr(file.get(name), "ndim", 0) for name in ("x_data", "y_data")]  # a group has no axes
        if arrays[0] not in (3, 4) or not arrays[1]:
            raise HeschlError(
                f"{path} needs x_data (trial, channel, freq, time) and y_data (trial,), and holds {', '.join(file) or 'nothing'}"
            )
        shape, kept_as = file["x_data"].shape, file["x_data"].dtype
        if 0 in shape or kept_as.kind not in "fiu":
            raise HeschlError(
                f"{path}: x_data is {shape} of {kept_as}: give real numbers, (trial, channel, freq, time) with one trial at least"
            )
        told = file["y_data"]
        labels = _labels(path, told.asstr()[:] if told.dtype.kind == "O" else told[:], words)
        rate = float(file.attrs.get("rate", rate))
        if not 0 < rate < float("inf"):
            raise HeschlError(
                f"{path}: the rate is {rate:g} Hz: give the steps of x_data a second, above zero"
            )
        if channels is None and "channels" in file:
            channels = _texts(file["channels"])
        own = np.asarray(file["positions"], float) if montage is None and "positions" in file else None
        known = _texts(file["blocks"]) if "blocks" in file else None
    if len(labels) != shape[0]:
        raise HeschlError(f"{path}: x_data has {shape[0]} trials and y_data {len(labels)}: one label each")
    if channels is not None and len(channels) != shape[1]:
        raise HeschlError(
            f"{path}: x_data has {shape[1]} channels and {len(channels)} are named: give each its name"
        )
    if known is not None and len(known) != shape[0]:
        raise HeschlError(f"{path}: x_data has {shape[0]} trials and blocks {len(known)}: one block each")
    named = tuple(channels) if channels is not None else numbered(shape[1])
    positions = own if montage is None else places(named, montage)
    subject = re.sub(r"_?ImaginedSpeech.*$", "", path.stem, flags=re.IGNORECASE) or path.stem
    seconds = shape[-1] / rate  # trials are laid end to end: their times in the session are not known
    heard = tuple(Heard(row * seconds, (row + 1) * seconds, None, word) for row, word in enumerate(labels))
    space = None if positions is None else "head"
    recording = Recording(path.stem, subject, path, rate, kind, named, positions, space, heard)
    columns = {"word": labels, "block": known or runs(len(labels), min(blocks, len(labels)))}
    return recording, clips_of(recording, seconds, columns)


def _texts(dataset: Any) -> list[str]:
    """Names, which may be numbers too."""
    values = dataset[:] if dataset.dtype.kind in "iufb" else dataset.asstr()[:]
    return [str(one) for one in np.ravel(values)]


def _finite(recording: Recording, told: Callable[[int], None]) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Rows of trials whose values are all finite, and of the others where and why; ``told`` how many were looked through."""
    path, channels = recording.signal, recording.channels
    with opened(kept(path, {"of": "finite"}, partial(_surveyed, path, told))) as file:
        finite = file["finite"][:]
    if finite.all():
        return np.arange(len(finite)), []
    bad = (~finite).sum(0)
    if 2 * bad.max() > len(finite):
        worst = int(bad.argmax())
        raise HeschlError(
            f"{path}: channel {channels[worst]} of x_data is not finite (NaN) in {bad[worst]} of {counted(len(finite), 'trial')}: "
            "take it out of the file, or interpolate it"
        )
    rows, _, lost = usable(finite, np.ones_like(finite), [f"trial {k}" for k in range(len(finite))], channels)
    return rows, lost


def _surveyed(source: Path, told: Callable[[int], None], path: Path) -> None:
    """Writes which channels of which trials (trial, channel) of x_data are finite; as many trials at a time as `AT_ONCE` holds."""
    import h5py

    with opened(source) as file:
        data = file["x_data"]
        size = max(1, AT_ONCE // max(1, int(np.prod(data.shape[1:])) * data.dtype.itemsize))
        finite = np.ones(data.shape[:2], bool)
        for first in range(0, len(data), size):
            values = data[first : first + size]
            finite[first : first + size] = np.isfinite(values).reshape(*values.shape[:2], -1).all(2)
            told(first + len(values))
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("finite", data=finite, track_times=False)


def _labels(path: Path, told: Any, words: list[str] | None) -> list[str]:
    values = np.asarray(told)
    if values.dtype.kind in "OUS":
        return [one.decode() if isinstance(one, bytes) else str(one) for one in values.ravel()]
    if values.ndim == 2 and values.shape[1] > 1:
        if not (np.isin(values, (0, 1)).all() and (values.sum(1) == 1).all()):
            raise HeschlError(f"{path}: y_data {values.shape} is not one-hot: give one number a trial")
        values = values.argmax(1)
    values = values.ravel()
    if not np.isfinite(values).all() or (values != values.astype(np.int64)).any():
        raise HeschlError(
            f"{path}: y_data holds values that are not whole numbers: give the number of each word"
        )
    numbers = values.astype(np.int64)
    if words is None:
        return [str(number) for number in numbers]
    if numbers.min() < 0 or numbers.max() >= len(words):
        raise HeschlError(
            f"{path}: y_data goes from {numbers.min()} to {numbers.max()}, and {len(words)} words are named (from 0 on): "
            "name them all"
        )
    return [words[number] for number in numbers]


def write_tiny(root: Path, seed: int = 0) -> None:
    """Two subjects, twelve trials of three words each, as maps of 4 channels, 5 frequencies and 16 steps."""
    import h5py

    root.mkdir(parents=True, exist_ok=True)
    for subject in (1, 2):
        random = np.random.default_rng((seed, subject))
        y = np.tile(np.arange(3), 4)
        x = random.standard_normal((12, 4, 5, 16)) + y[:, None, None, None] * np.eye(4)[1][:, None, None]
        with h5py.File(root / f"sub_{subject}_ImaginedSpeech_samples.h5", "w") as file:
            file.create_dataset("x_data", data=x.astype(np.float32), track_times=False)
            file.create_dataset("y_data", data=y, track_times=False)
