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
space, subject. Readers of other layouts write it once into heschl's cache, a trial at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from heschl.files import ROOM, cache_folder, replacing, reserve
from heschl.types import Clip, Heard, HeschlError, Recording, Skipped

FORMAT = 3
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


def inside(
    path: Path,
    events: Sequence[tuple[float, str]],
    window: tuple[float, float],
    rate: float,
    samples: int,
) -> tuple[list[int], list[tuple[str, str]]]:
    """Numbers of the events whose window lies inside a recording; and of every other, where it is and why it gives no trial.

    Parameters
    ----------
    events: onset in seconds, and name. window: seconds around an onset. rate, samples: of the recording.

    Raises
    ------
    HeschlError: no window lies inside, or more than half of the onsets do not: then the events are of another recording.
    """
    length, size = samples / rate, round((window[1] - window[0]) * rate)
    kept: list[int] = []
    lost: list[tuple[str, str]] = []
    strange = 0
    for number, (onset, name) in enumerate(events):
        away = not 0 <= onset <= length  # NaN is nowhere
        first = -1 if away else round((onset + window[0]) * rate)
        if first >= 0 and first + size <= samples:
            kept.append(number)
            continue
        strange += away
        why = f"lies outside the recording of {length:.2f} s"
        if not away:
            why = f"{window[0]:g} to {window[1]:g} s around it reach outside the recording of {length:.2f} s"
        lost.append((f"{name} at {onset:.3f} s", why))
    if not kept or 2 * strange > len(events):
        raise HeschlError(
            f"{path}: {len(lost)} of {len(events)} trials, the first {lost[0][0]}, reach outside the recording of {length:.2f} s: "
            "these events belong to another recording, or the window is too long"
        )
    return kept, lost


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


# --- writing -----------------------------------------------------------------------------------------


def write_trials(
    path: Path,
    values: Iterable[np.ndarray],
    words: Sequence[str],
    rate: float,
    channels: Sequence[str],
    positions: np.ndarray | None = None,
    blocks: Sequence[str] | None = None,
    clips: Sequence[str] | None = None,
    windows: Sequence[tuple[float, float]] | None = None,
    left_out: Sequence[tuple[str, str]] = (),
    **attributes: str,
) -> None:
    """Writes the layout above, a trial at a time, whole or not at all.

    Parameters
    ----------
    values: (channel, time) or (channel, freq, time), one a trial, all of one shape.
    windows: seconds of the recording that went into each trial, what a filter saw of it too.
    left_out: events that give no trial: where, and why; see the function of that name.
    attributes: kind, space, subject.

    Raises
    ------
    HeschlError: the numbers of trials, words, blocks, channels or names differ; the disk is full.
    """
    import h5py

    values = iter(values)
    first = list(islice(values, 1))
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(replacing(path))
        each = sum(4 * one.size for one in first) + 256  # float32, and its words
        reserve(temporary, len(words) * each + ROOM)
        file = stack.enter_context(h5py.File(temporary, "w"))
        data, count = None, 0
        for value in chain(first, values):
            if data is None:
                if len(value) != len(channels):
                    raise HeschlError(
                        f"{path}: trials have {len(value)} channels and there are {len(channels)} names"
                    )
                data = file.create_dataset(
                    "x_data", (len(words), *value.shape), "f4", chunks=(1, *value.shape), track_times=False
                )
            if count >= len(words) or value.shape != data.shape[1:]:
                raise HeschlError(
                    f"{path}: trial {count} has shape {value.shape}, and there are {len(words)} words for trials of "
                    f"{data.shape[1:]}: give trials of one shape, each with its word"
                )
            data[count] = value
            count += 1
        if count != len(words) or not count:
            raise HeschlError(f"{path}: {count} trials come with {len(words)} words: one each")
        text = h5py.string_dtype()
        for name, column in (("words", words), ("blocks", blocks), ("clips", clips), ("channels", channels)):
            if column is not None:
                if name != "channels" and len(column) != count:
                    raise HeschlError(f"{path}: {count} trials come with {len(column)} {name}: one each")
                file.create_dataset(name, data=[str(one) for one in column], dtype=text, track_times=False)
        if windows is not None:
            if len(windows) != count:
                raise HeschlError(f"{path}: {count} trials come with {len(windows)} windows: one each")
            file.create_dataset("windows", data=np.asarray(windows, float), track_times=False)
        if left_out:
            file.create_dataset(
                "left_out", data=[list(one) for one in left_out], dtype=text, track_times=False
            )
        if positions is not None:
            file.create_dataset("positions", data=np.asarray(positions, float), track_times=False)
        file.attrs["rate"] = float(rate)
        for name, attribute in attributes.items():
            file.attrs[name] = attribute


def kept(source: Path, options: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """A file of the layout above in the cache, made from ``source`` where it is absent or the source has changed."""
    stat = source.stat()
    told = [FORMAT, source.absolute().as_posix(), stat.st_size, stat.st_mtime_ns, dict(options)]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]
    path = cache_folder() / "trials" / f"{source.stem}-{digest}.h5"
    if not path.exists():
        make(path)
    return path


# --- positions ---------------------------------------------------------------------------------------


def places(channels: Sequence[str], montage: str) -> np.ndarray:
    """Positions by the names of electrodes, (channel, 3) metres in the head's frame, NaN for a name not in it.

    Parameters
    ----------
    montage: one that MNE knows ("fsaverage_1005", "biosemi128", ...).

    Raises
    ------
    HeschlError: MNE is not there, does not know the montage, or the montage knows none of the names.
    """
    try:
        import mne
    except ImportError:
        raise HeschlError("the positions of electrodes need mne: pip install 'heschl[brain]'") from None
    known = mne.channels.get_builtin_montages()
    if montage not in known:
        raise HeschlError(f"montage '{montage}' is not known: choose one of {', '.join(known)}")
    standard = mne.channels.make_standard_montage(montage)
    to_head = mne.channels.compute_native_head_t(standard, on_missing="ignore")
    there = {
        name.lower(): mne.transforms.apply_trans(to_head, place)
        for name, place in standard.get_positions()["ch_pos"].items()
    }
    found = np.array([there.get(name.lower(), np.full(3, np.nan)) for name in channels], float)
    if np.isnan(found).any(1).all():
        raise HeschlError(
            f"montage {montage} has none of the channels {', '.join(channels[:4])}, ...: choose the montage of the cap"
        )
    return found
