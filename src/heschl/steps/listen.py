"""Words found in a long recording as it goes by: events with times and scores, and how many alarms are false."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heschl.files import audio_info, read_audio
from heschl.run import Run
from heschl.signal import resample_recording
from heschl.steps.networks import Network, Progress, logits_of, open_network
from heschl.tasks.scores import softmax
from heschl.types import HeschlError

BLOCK = 60.0  # seconds of the file in memory at once
QUIET = ("silence", "_silence_", "unknown", "_unknown_", "SIL")  # classes that are no event


class Event(NamedTuple):
    """A word that was heard: half-open, seconds; score is the highest mean probability of its windows."""

    label: str
    start: float
    stop: float
    score: float


def listen(
    run: Run | Path | str,
    file: Path | str,
    threshold: float = 0.8,
    hop: float = 0.1,
    smooth: int = 3,
    gap: float = 0.5,
    labels: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> list[Event]:
    """Slides a clip network over a recording of any length, a minute in memory at a time.

    A class is heard while its probability, averaged over ``smooth`` windows, is above ``threshold``; windows of the same class
    closer than ``gap`` are one event. Near-silent windows (60 dB under full scale) say nothing.

    Parameters
    ----------
    run: of a network that answers once a clip, with a fixed length of clip.
    threshold: of the mean probability, in (0, 1).
    hop: seconds from one window to the next. smooth: windows that are averaged.
    gap: seconds.
    labels: classes to listen for; None for all but silence and unknown.
    progress: told how many seconds are done, of how many.

    Raises
    ------
    HeschlError: the network answers for frames or takes clips of any length, a label that it does not know, a threshold or
        hop that cannot be, or a file that cannot be read.
    """
    network = open_network(run)
    wanted = _wanted(network, labels)
    _checked(threshold, hop, smooth)
    if network.frames or network.seconds is None:
        raise HeschlError(
            "listening needs a network that answers once for clips of one length: "
            "`heschl predict` finds what is heard when by networks over frames"
        )
    times, shares = [], []
    for start, answer in _windows(network, Path(file), hop, progress):
        times.append(start)
        shares.append(answer)
    if not shares:
        return []
    found = _events(np.array(times), _mean(np.stack(shares), smooth), network, wanted, threshold, gap)
    info = audio_info(file)  # the last window may reach beyond the end, and no word does
    return [event._replace(stop=min(event.stop, info.frames / info.rate)) for event in found]


def false_alarms(events: Iterable[Event], seconds: float) -> float:
    """Events an hour, in a recording that holds none of the words."""
    return 3600 * len(list(events)) / seconds


def _wanted(network: Network, labels: Sequence[str] | None) -> list[int]:
    if labels is None:
        return [k for k, label in enumerate(network.labels) if label not in QUIET]
    for label in labels:
        if label not in network.labels:
            raise HeschlError(f"the network does not know '{label}': it knows {', '.join(network.labels)}")
    return [network.labels.index(label) for label in labels]


def _checked(threshold: float, hop: float, smooth: int) -> None:
    if not 0 < threshold < 1:
        raise HeschlError(f"threshold is {threshold}: it is a probability between 0 and 1")
    if not 0 < hop < math.inf or smooth < 1:
        raise HeschlError(f"hop is {hop:g} s over {smooth} windows: both must be above zero")


def _windows(network: Network, file: Path, hop: float, progress: Progress | None) -> Any:
    """(start in seconds, probabilities (class,)) of every window, block by block."""
    info, rate = audio_info(file), network.sample_rate
    seconds = network.seconds or 0.0
    n, step = round(seconds * rate), max(1, round(hop * rate))
    per_block = max(1, int((BLOCK - seconds) * rate) // step)  # windows that begin in one block
    total = info.frames / info.rate
    first = 0
    while first == 0 or first * step < total * rate - n + step:
        start = first * step / rate
        if round(start * info.rate) >= info.frames:  # windows farther apart than they are long
            break
        stop = min(total, (first * step + (per_block - 1) * step + n) / rate)
        wave = resample_recording(*read_audio(file, start, stop), round(rate), network.resample)
        wave = np.pad(wave, (0, max(0, n - len(wave))))
        starts = range(0, len(wave) - n + 1, step)
        cut = np.stack([wave[at : at + n] for at in starts])
        logits, _ = logits_of(network, list(cut))
        shares = softmax(logits)
        shares[np.sqrt((cut**2).mean(1)) < 1e-3] = 0.0
        for at, share in zip(starts, shares):
            yield start + at / rate, share
        first += len(starts)
        if progress:
            progress(round(min(stop, total)), round(total))


def _mean(shares: np.ndarray, smooth: int) -> np.ndarray:
    """Running mean over windows (window, class), of those that there are at the ends."""
    kernel, first = np.ones(smooth), (smooth - 1) // 2
    own = slice(
        first, first + len(shares)
    )  # numpy's "same" is as long as the kernel where that is the longer one
    counts = np.convolve(np.ones(len(shares)), kernel)[own]
    return np.stack([np.convolve(column, kernel)[own] / counts for column in shares.T], 1)


def _events(
    times: np.ndarray, shares: np.ndarray, network: Network, wanted: list[int], threshold: float, gap: float
) -> list[Event]:
    found: list[Event] = []
    seconds = float(network.seconds or 0.0)
    for k in wanted:
        at = np.flatnonzero((shares[:, k] >= threshold) & (shares.argmax(1) == k))
        if not len(at):
            continue
        for group in np.split(at, np.flatnonzero(np.diff(times[at]) > gap) + 1):
            best = group[shares[group, k].argmax()]
            start = float(times[best])  # the word lies where the network is surest
            found.append(Event(network.labels[k], start, start + seconds, float(shares[best, k])))
    return sorted(found, key=lambda event: (event.start, event.label))
