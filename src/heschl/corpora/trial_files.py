"""The files that keep trials: written whole or not at all, and made once from what a reader reads.

The layout is that of `heschl.corpora.trials`. What holds no numbers goes, and the rest stays: a channel that never changes,
or that is not finite (NaN) in more than half of the trials, is left out as one that is marked bad would be, and the
montage is smaller by it; then a trial that is not finite anywhere gives no trial. Each is listed in ``left_out``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heschl.files import ROOM, cache_folder, replacing, reserve
from heschl.types import HeschlError
from heschl.wording import counted

FORMAT = 4
# A change no larger than so much of a channel's largest value, or of the trial's largest change, is rounding.
STILL = (3e-7, 1e-12)


class Known(NamedTuple):
    """What is known of each trial: its word; what a person calls it; block; the very sound; and the seconds of the
    recording that went into it, what a filter saw of it too."""

    words: Sequence[str]
    names: Sequence[str] | None = None
    blocks: Sequence[str] | None = None
    clips: Sequence[str] | None = None
    windows: Sequence[tuple[float, float]] | None = None

    def only(self, rows: np.ndarray) -> Known:
        """The same of some trials."""
        columns = {name: column for name, column in self._asdict().items() if column is not None}
        return self._replace(**{name: [column[k] for k in rows] for name, column in columns.items()})


def write_trials(
    path: Path,
    values: Iterable[np.ndarray],
    known: Known,
    rate: float,
    channels: Sequence[str],
    positions: np.ndarray | None = None,
    left_out: Sequence[tuple[str, str]] = (),
    **attributes: str,
) -> None:
    """Writes what can be used of the trials, one at a time.

    Parameters
    ----------
    values: (channel, time) or (channel, freq, time), one a trial, all of one shape.
    left_out: events that give no trial: where, and why; what is left out here is added.
    attributes: kind, space, subject.

    Raises
    ------
    HeschlError: the numbers of trials, words, blocks, channels or names differ; no trial or channel can be used; the disk
        is full.
    """
    import h5py

    for name, column in zip(Known._fields[1:], known[1:], strict=True):
        if column is not None and len(column) != len(known.words):
            raise HeschlError(f"{path}: {len(known.words)} trials come with {len(column)} {name}: one each")
    if known.names is None:
        known = known._replace(names=[f"trial {number}" for number in range(len(known.words))])
    with replacing(path) as temporary:
        with _room(temporary, values, len(known.words)) as (file, given):
            finite, changes = _filled(path, file, given, len(known.words), channels)
            rows, kept, lost = usable(finite, changes, known.names or (), channels)
            if not lost:
                _described(file, known, rate, channels, positions, left_out, attributes)
        if lost:
            whole = temporary.with_name(
                f"{temporary.name}.whole"
            )  # Windows puts no file in the place of an open one
            temporary.replace(whole)
            try:
                with h5py.File(whole, "r") as all_of:
                    write_trials(
                        temporary,
                        (all_of["x_data"][row][kept] for row in rows),
                        known.only(rows),
                        rate,
                        [channels[k] for k in kept],
                        None if positions is None else np.asarray(positions)[kept],
                        [*left_out, *lost],
                        **attributes,
                    )
            finally:
                whole.unlink()


def usable(
    finite: np.ndarray, changes: np.ndarray, names: Sequence[str], channels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]:
    """Rows and channels that can be used together, and what cannot: where, and why.

    Parameters
    ----------
    finite, changes: (trial, channel) truth values. names: of the trials.

    Raises
    ------
    HeschlError: none can.
    """
    trials, size = finite.shape
    there = np.asarray(finite.any(1))  # else it is the trial, and not its channels
    bad, still = (~finite[there]).sum(0), (finite & ~changes)[there].sum(0)
    gone = (2 * bad > there.sum()) | (bad + still == there.sum())
    rows = np.flatnonzero(there & (finite | gone).all(1))
    kept = np.flatnonzero(~gone)
    lost: list[tuple[str, str]] = []
    for k in map(int, np.flatnonzero(gone & there.any())):
        found = [(bad[k], "is not finite (NaN)"), (still[k], "never changes")]
        what = " and ".join(f"{told} in {count}" for count, told in found if count)
        why = f"it {what} of {counted(int(there.sum()), 'trial')}, and is left out like a channel that is marked bad"
        lost.append((f"channel {channels[k]}", why))
    for row in map(int, np.setdiff1d(np.arange(trials), rows)):
        own = [channels[k] for k in map(int, np.flatnonzero(~finite[row] & ~gone))]
        shown = ", ".join(own[:3]) + " and others" * (len(own) > 3)
        why = f"{shown} {'is' if len(own) == 1 else 'are'} not finite there (NaN)"
        lost.append((names[row], why if there[row] else "no channel is finite there (NaN)"))
    if not len(rows) or not len(kept):
        where, why = lost[0]
        raise HeschlError(
            f"none of {counted(trials, 'trial')} of {counted(size, 'channel')} can be used: {where}: {why}"
        )
    return rows, kept, lost


@contextlib.contextmanager
def _room(path: Path, values: Iterable[np.ndarray], count: int) -> Any:
    """An HDF5 file with room for so many trials like the first, and the trials."""
    import h5py

    values = iter(values)
    first = list(islice(values, 1))
    each = sum(4 * one.size for one in first) + 256  # float32, and its words
    reserve(path, count * each + ROOM)
    with h5py.File(path, "w") as file:
        yield file, chain(first, values)


def _filled(
    path: Path, file: Any, values: Iterable[np.ndarray], trials: int, channels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Writes x_data. Gives (trial, channel) whether all of it is finite, and whether it changes."""
    data: Any = None
    finite: list[np.ndarray] = []
    changes: list[np.ndarray] = []
    for value in values:
        if data is None:
            if len(value) != len(channels):
                raise HeschlError(
                    f"{path}: trials have {len(value)} channels and there are {len(channels)} names"
                )
            data = file.create_dataset(
                "x_data", (trials, *value.shape), "f4", chunks=(1, *value.shape), track_times=False
            )
        if len(finite) >= trials or value.shape != data.shape[1:]:
            raise HeschlError(
                f"{path}: trial {len(finite)} has shape {value.shape}, and there are {trials} words for trials of "
                f"{data.shape[1:]}: give trials of one shape, each with its word"
            )
        with np.errstate(over="ignore"):  # what float32 cannot hold is not finite, and is told
            row = np.asarray(value, np.float32)
        data[len(finite)] = row
        row = row.reshape(len(row), -1)
        finite.append(np.asarray(np.isfinite(row).all(1)))
        row = np.where(finite[-1][:, None], row, 0).astype(np.float64)
        change = np.ptp(row, axis=1)
        least = np.maximum(STILL[0] * np.abs(row).max(1), STILL[1] * change.max())
        changes.append((change > least) | (row.shape[1] == 1))
    if len(finite) != trials or not finite:
        raise HeschlError(f"{path}: {len(finite)} trials come with {trials} words: one each")
    return np.array(finite), np.array(changes)


def _described(
    file: Any,
    known: Known,
    rate: float,
    channels: Sequence[str],
    positions: np.ndarray | None,
    left_out: Sequence[tuple[str, str]],
    attributes: Mapping[str, str],
) -> None:
    """Writes all but x_data."""
    import h5py

    text = h5py.string_dtype()
    columns = {"words": known.words, "blocks": known.blocks, "clips": known.clips, "channels": channels}
    for name, column in columns.items():
        if column is not None:
            file.create_dataset(name, data=[str(one) for one in column], dtype=text, track_times=False)
    for name, table in (("windows", known.windows), ("positions", positions)):
        if table is not None:
            file.create_dataset(name, data=np.asarray(table, float), track_times=False)
    if left_out:
        file.create_dataset("left_out", data=[list(one) for one in left_out], dtype=text, track_times=False)
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
