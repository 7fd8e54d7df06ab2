"""Trials of brain recordings, read lazily: what decoders ask of every corpus of brains, and the file that keeps them.

    corpus = read_corpus("feis", root)
    for recording in corpus.recordings:
        x, labels, rate, channels, positions = trials(recording)
        x.shape                 # (trial, channel, time), or (trial, channel, freq, time) for stored maps
        x[3], x[:16], x[rows]   # read from the file now, float32; the file is never in memory as a whole
        labels["word"]          # one text a trial, in the order of x; also "block" and "heard" where they are known

Each trial is a clip of the corpus as well (``form="frames"``), so that splits and training see trials as they see
sounds: labels word, subject, block, recording; key ``x_data/ROW`` in the recording's file (see `corpora.sensors`).

The file, HDF5: x_data (trial, channel, time) or (trial, channel, freq, time); words, and where known blocks and clips
(trial,) text; windows (trial, 2), the seconds of the recording that went into a trial; left_out (event, 2) text, where an event
that gave no trial lies and why; channels (channel,) text; positions (channel, 3) metres, NaN for none; attributes rate (Hz), kind,
space, subject. Readers of other layouts write it once into heschl's cache (`trial_files`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from heschl.types import Clip, Heard, HeschlError, Recording, Skipped

Kind = Literal["eeg", "meg", "ecog", "seeg"]
_COLUMNS = {"word": "words", "block": "blocks", "heard": "clips"}  # label of a clip: dataset of the file


@dataclass(frozen=True)
class LazyTrials:
    """The trials of one file, read when they are asked for; small, and pickles for workers.

    shape: (trial, channel, time) or (trial, channel, freq, time). x[index] gives float32 for a number, a slice or an
    array of rows; rows may repeat and be in any order.
    """

    path: Path
    shape: tuple[int, ...]
    name: str = "x_data"

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """Raises HeschlError where the file is damaged or a channel holds values that are not finite."""
        rows = np.arange(len(self))[index]
        order, back = np.unique(rows, return_inverse=True)
        with opened(self.path) as file:
            try:
                values = np.asarray(file[self.name][order], np.float32)
            except (OSError, KeyError) as error:
                raise HeschlError(
                    f"{self.path} cannot be read at trial {order[0]} ({error}): copy it again"
                ) from None
        finite = np.isfinite(values).reshape(*values.shape[:2], -1).all(2)
        if not finite.all():
            trial, channel = (int(one) for one in np.argwhere(~finite)[0])
            raise HeschlError(
                f"{self.path}: channel {channel + 1} of trial {order[trial]} holds values that are not finite (NaN): "
                "leave out that channel or trial, or interpolate it"
            )
        return np.asarray(values[back.reshape(-1)].reshape(*rows.shape, *self.shape[1:]))

    def batches(self, size: int = 32) -> Iterator[np.ndarray]:
        """All trials in order, (at most ``size``, channel, ..., time) at a time."""
        for first in range(0, len(self), size):
            yield self[first : first + size]


class Trials(NamedTuple):
    """What `trials` gives; see this module."""

    x: LazyTrials
    labels: Mapping[str, tuple[str, ...]]
    rate: float
    channels: tuple[str, ...]
    positions: np.ndarray | None


def trials(recording: Recording) -> Trials:
    """The trials of a recording of a corpus of brains.

    Raises
    ------
    HeschlError: its file is damaged, has changed, or is not of the layout above.
    """
    with opened(recording.signal) as file:
        shape, columns = _table(recording.signal, file, len(recording.channels))
    if "word" not in columns:
        columns["word"] = tuple(one.label or "" for one in recording.heard)
    return Trials(
        LazyTrials(recording.signal, shape), columns, recording.rate, recording.channels, recording.positions
    )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An HDF5 file, for a ``with``.

    Raises
    ------
    HeschlError: it is missing, truncated, not HDF5, or damaged where it is read.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError:
        raise HeschlError(f"{path} is not there: check the path") from None
    except (OSError, RuntimeError) as error:  # h5py has either for what it cannot make out
        why = "is truncated" if "truncated" in str(error) else "is no HDF5 file, or damaged"
        raise HeschlError(f"{path} {why}: copy or download it again") from None
    except KeyError as error:  # a part that is damaged, or is not there
        raise HeschlError(f"{path} cannot be read ({error.args[0]}): copy or download it again") from None


def _table(path: Path, file: Any, channels: int | None) -> tuple[tuple[int, ...], dict[str, tuple[str, ...]]]:
    if "x_data" not in file or file["x_data"].ndim not in (3, 4) or 0 in file["x_data"].shape:
        raise HeschlError(
            f"{path} has no x_data (trial, channel, time) or (trial, channel, freq, time): it holds "
            f"{', '.join(file) or 'nothing'}"
        )
    shape = tuple(int(one) for one in file["x_data"].shape)
    if channels is not None and shape[1] != channels:
        raise HeschlError(f"{path} has {shape[1]} channels and its names are {channels}: give each its name")
    columns = {}
    for label, name in _COLUMNS.items():
        if name in file:
            columns[label] = tuple(str(one) for one in file[name].asstr()[:])
            if len(columns[label]) != shape[0]:
                raise HeschlError(
                    f"{path}: {shape[0]} trials come with {len(columns[label])} {name}: one each"
                )
    return shape, columns


# --- from files to a corpus ----------------------------------------------------------------------------


def corpus_parts(path: Path, name: str, subject: str | None = None) -> tuple[Recording, list[Clip]]:
    """The recording and the clips, one a trial, of a file of the layout above.

    Raises
    ------
    HeschlError: the file is damaged or not of the layout.
    """
    with opened(path) as file:
        channels = tuple(str(one) for one in file["channels"].asstr()[:]) if "channels" in file else ()
        shape, columns = _table(path, file, len(channels) if channels else None)
        rate = float(file.attrs.get("rate", 0.0))
        positions = np.asarray(file["positions"], float) if "positions" in file else None
        kind: Any = str(file.attrs.get("kind", "eeg"))
        space = str(file.attrs.get("space", "")) or None
        whose = subject or str(file.attrs.get("subject", name))
        windows = np.asarray(file["windows"], float) if "windows" in file else None
    if "word" not in columns:
        raise HeschlError(f"{path} does not say what each trial is: it has no `words`")
    recording = Recording(
        name,
        whose,
        path,
        rate,
        kind,
        channels or numbered(shape[1]),
        positions,
        space,
    )
    clips = clips_of(recording, shape[-1] / rate, columns)
    if windows is not None:
        if windows.shape != (len(clips), 2):
            raise HeschlError(
                f"{path}: {len(clips)} trials come with windows of shape {windows.shape}: (trial, 2)"
            )
        heard = [
            Heard(float(a), float(b), clip.id, clip.labels["word"])
            for clip, (a, b) in zip(clips, windows, strict=True)
        ]
        recording = replace(recording, heard=tuple(heard))
    return recording, clips


def left_out(path: Path, name: str) -> list[Skipped]:
    """What a reader left out when it wrote this file, each by the recording's name and its own."""
    with opened(path) as file:
        told = file["left_out"].asstr()[:].tolist() if "left_out" in file else []
    return [Skipped(f"{name}, {where}", why) for where, why in told]


def numbered(count: int) -> tuple[str, ...]:
    """Names for channels that have none."""
    return tuple(f"E{number + 1}" for number in range(count))


def clips_of(recording: Recording, seconds: float, columns: Mapping[str, Sequence[str]]) -> list[Clip]:
    """One clip a trial, with the label of each column."""
    rows = len(next(iter(columns.values())))
    own = {"subject": recording.subject, "recording": recording.id}
    return [
        Clip(
            f"{recording.id}/{row:05d}",
            recording.signal,
            recording.rate,
            {**{label: str(values[row]) for label, values in columns.items()}, **own},
            (),
            0.0,
            seconds,
            "frames",
            f"x_data/{row}",
        )
        for row in range(rows)
    ]


def lone_words(clips: Iterable[Clip]) -> tuple[str, ...]:
    """A note where words have one trial only, which cannot be both learnt and tested."""
    counts: dict[str, int] = {}
    for clip in clips:
        counts[clip.labels["word"]] = counts.get(clip.labels["word"], 0) + 1
    lone = sorted(word for word, count in counts.items() if count == 1)
    if not lone:
        return ()
    shown = ", ".join(lone[:5]) + (" and others" if len(lone) > 5 else "")
    return (
        f"{len(lone)} of {len(counts)} words have one trial only ({shown}): no split can test what it learnt of them",
    )


def runs(trials: int, blocks: int) -> list[str]:
    """Names of blocks of neighbouring trials, for recordings that have none: neighbours in time stay together."""
    return [f"{row * blocks // trials:02d}" for row in range(trials)]
