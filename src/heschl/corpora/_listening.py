"""What the readers of people listening to stories share: words cut out of long recordings, once, into the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heschl.corpora.trial_files import Known, inside, kept, write_trials
from heschl.corpora.trials import Kind, corpus_parts, left_out, lone_words
from heschl.files import disk_full
from heschl.types import Clip, Corpus, HeschlError, Recording, Skipped

FIR = 10  # samples of the lower rate that scipy's FIR decimation sees to either side


class Heard(NamedTuple):
    """A word: onset in seconds of the recording, its text, the block that it belongs to in every listener's recording,
    and a name that is the same for all who heard this very word."""

    onset: float
    word: str
    block: str
    name: str


class Long(NamedTuple):
    """A long recording: x (channel, time) in volts or tesla, an array or an HDF5 dataset; ``unit`` is multiplied in.
    ``space`` is that of the positions, ``reach`` the seconds to either side that a filter saw for each sample, ``marked`` the
    channels that are left out of x because somebody marked them."""

    x: Any
    rate: float
    channels: Sequence[str]
    positions: np.ndarray | None
    heard: Sequence[Heard]
    unit: float = 1.0
    space: str = "head"
    reach: float = 0.0
    marked: Sequence[str] = ()


class Source(NamedTuple):
    """A recording's name, subject, main file, what reads it when its trials are cut, and the files that it reads besides."""

    name: str
    subject: str
    path: Path
    load: Callable[[], Long]
    beside: tuple[Path, ...] = ()


def gathered(
    root: Path,
    sources: Sequence[Source],
    kind: Kind,
    window: tuple[float, float],
    options: dict[str, Any],
    name: str,
    source: str,
    licence: str,
) -> Corpus:
    """A corpus of the sources' words; those that cannot be read are skipped and named.

    Raises
    ------
    HeschlError: none can be read.
    """
    clips: list[Clip] = []
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    for one in sources:
        try:
            stamps = [path.stat().st_mtime_ns if path.exists() else None for path in one.beside]
            told = {**options, "window": window, "name": one.name, "beside": stamps}
            made = kept(one.path, told, _writer(one, kind, window))
            recording, own = corpus_parts(made, one.name, one.subject)
        except HeschlError as error:
            if disk_full(error):
                raise
            skipped.append(Skipped(one.path.relative_to(root).as_posix(), str(error)))
            continue
        skipped += left_out(made, one.path.relative_to(root).as_posix())
        recordings.append(recording)
        clips += own
    if not clips:
        raise HeschlError(f"nothing in {root} can be read: {skipped[0].why}")
    return Corpus(
        name=name,
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        source=source,
        licence=licence,
        skipped=tuple(skipped),
        notes=lone_words(clips),
        recordings=tuple(recordings),
    )


def _writer(one: Source, kind: Kind, window: tuple[float, float]) -> Callable[[Path], None]:
    def write(out: Path) -> None:
        long = one.load()
        named = [(heard.onset, heard.word) for heard in long.heard]
        rows, lost = inside(one.path, named, window, long.rate, long.x.shape[1])
        size = round((window[1] - window[0]) * long.rate)
        first = [round((long.heard[k].onset + window[0]) * long.rate) for k in rows]

        def values() -> Iterator[np.ndarray]:
            for begin in first:
                yield long.unit * np.asarray(long.x[:, begin : begin + size], np.float64)

        marked = [(f"channel {name}", "it is marked bad, and is left out") for name in long.marked]
        there = [long.heard[k] for k in rows]
        known = Known(
            [heard.word for heard in there],
            [f"{heard.word} at {heard.onset:.3f} s" for heard in there],
            [heard.block for heard in there],
            [heard.name for heard in there],
            [(begin / long.rate - long.reach, (begin + size) / long.rate + long.reach) for begin in first],
        )
        write_trials(
            out,
            values(),
            known,
            long.rate,
            long.channels,
            long.positions,
            [*marked, *lost],
            kind=kind,
            subject=one.subject,
            **({} if long.positions is None else {"space": long.space}),
        )

    return write


def slower(x: np.ndarray, every: int) -> np.ndarray:
    """(channel, time) -> one sample of ``every``, through a linear-phase FIR filter that sees `FIR` of them to either side.

    What is not finite is filled before, and what the filter saw of it is NaN after: a filter would spread it further, by the
    zeros that it is padded with.
    """
    from scipy.signal import decimate

    if every == 1:
        return x
    bad = ~np.isfinite(x)
    found = np.asarray(decimate(np.where(bad, 0, x), every, ftype="fir", axis=1))
    if bad.any():
        count = np.cumsum(np.pad(bad, ((0, 0), (1, 0))), axis=1)
        middle = every * np.arange(found.shape[1])
        first = np.clip(middle - FIR * every, 0, x.shape[1])
        last = np.clip(middle + FIR * every + 1, 0, x.shape[1])
        found[count[:, last] > count[:, first]] = np.nan
    return found
