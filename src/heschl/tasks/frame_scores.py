"""Scores of networks that answer for every frame: with and without silence, and as segments in time. Pure numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from heschl.tasks.counts import number, ratio
from heschl.tasks.scores import counted_scores
from heschl.types import HeschlError

TOLERANCE = 0.02  # seconds within which a segment's edges count as found


def frame_scores(
    truth: Sequence[np.ndarray],
    guess: Sequence[np.ndarray],
    labels: Sequence[str],
    *,
    rate: float | Sequence[float],
    silence: str | None = None,
    groups: Sequence[str] | None = None,
    by: str = "speaker",
    seed: int = 0,
) -> dict[str, Any]:
    """Scores of frame networks, with and without silence, ready for JSON.

    Parameters
    ----------
    truth, guess: for each clip (time,) class numbers; truth is -100 where a frame has no label.
    rate: frames per second, Hz, of all or of each clip. silence: the symbol that is silence, if there is one.
    groups: each clip's speaker, where known.

    Returns
    -------
    ``all`` and, with a silence, ``without_silence`` (frames that are silence in truth are left out; answering
    silence elsewhere stays a mistake) as `counted_scores`; ``segments`` and ``boundaries``: precision, recall and F1
    at a tolerance of 20 ms. Both are counted on the frames: an edge lies where its first frame does, in truth as in the
    answer. Labels finer than a frame, held against TextGrids, whose edges lie half-way between frames, give a little more or less.
    """
    n_classes = len(labels)
    rates = [float(rate)] * len(truth) if isinstance(rate, int | float) else list(rate)
    known = [np.asarray(t) >= 0 for t in truth]
    sizes = [int(k.sum()) for k in known]
    if not sum(sizes):
        raise HeschlError(
            "there is nothing to score: no frame of this part has a label that the network knows"
        )
    flat_truth = np.concatenate([np.asarray(t)[k] for t, k in zip(truth, known, strict=True)])
    flat_guess = np.concatenate([np.asarray(g)[k] for g, k in zip(guess, known, strict=True)])
    whose = np.repeat(np.arange(len(truth)), sizes)
    group = None if groups is None else np.unique(np.asarray(list(groups)), return_inverse=True)[1]

    def scored(keep: np.ndarray) -> dict[str, Any]:
        own = whose[keep]
        chosen = None if group is None else group[own]
        return counted_scores(
            flat_truth[keep], flat_guess[keep], chosen, n_classes, by=by, unit="frame", clips=own, seed=seed
        )

    result: dict[str, Any] = {"all": scored(np.ones(len(flat_truth), bool))}
    quiet = labels.index(silence) if silence is not None and silence in labels else None
    if quiet is not None and (flat_truth != quiet).any():
        result["without_silence"] = scored(flat_truth != quiet)
    pairs = [
        (segments(t, r, quiet), segments(np.where(k, g, -100), r, quiet))
        for t, g, k, r in zip(truth, guess, known, rates, strict=True)
    ]
    result["segments"] = _found(pairs, segments_found)
    result["boundaries"] = _found([(_edges(a), _edges(b)) for a, b in pairs], edges_found)
    return result


def segments(frames: np.ndarray, rate: float, silence: int | None = None) -> list[tuple[int, float, float]]:
    """Runs of one class in (time,) frames as (class, start, stop) in seconds; silence and -100 are left out."""
    frames = np.asarray(frames)
    if not len(frames):
        return []
    cuts = np.flatnonzero(np.diff(frames)) + 1
    starts, stops = np.r_[0, cuts], np.r_[cuts, len(frames)]
    return [
        (int(frames[a]), float(a / rate), float(b / rate))
        for a, b in zip(starts, stops, strict=True)
        if frames[a] >= 0 and frames[a] != silence
    ]


def segments_found(
    truth: Sequence[tuple[int, float, float]],
    guess: Sequence[tuple[int, float, float]],
    tolerance: float = TOLERANCE,
) -> int:
    """How many segments are found: the same class, both edges within the tolerance, each counted once.

    Both lists run forward in time, so taking the first that fits gives the largest matching.
    """
    hits = 0
    slack = tolerance + 1e-9  # an edge two 10 ms frames away is 20 ms away, whatever floating point says
    for symbol in {s for s, _, _ in truth}:
        others = [(a, b) for s, a, b in guess if s == symbol]
        place = 0
        for _, start, stop in (segment for segment in truth if segment[0] == symbol):
            while place < len(others) and (
                others[place][0] < start - slack or others[place][1] < stop - slack
            ):
                place += 1
            if place < len(others) and others[place][0] <= start + slack and others[place][1] <= stop + slack:
                hits += 1
                place += 1
    return hits


def edges_found(truth: Sequence[float], guess: Sequence[float], tolerance: float = TOLERANCE) -> int:
    """How many of the sorted times (seconds) in one list have a partner in the other, each used once."""
    hits = place = 0
    slack = tolerance + 1e-9
    for time in truth:
        while place < len(guess) and guess[place] < time - slack:
            place += 1
        if place < len(guess) and guess[place] <= time + slack:
            hits += 1
            place += 1
    return hits


def _edges(parts: Sequence[tuple[int, float, float]]) -> list[float]:
    return sorted({edge for _, start, stop in parts for edge in (start, stop)})


def _found(pairs: Sequence[tuple[Any, Any]], count: Callable[[Any, Any, float], int]) -> dict[str, Any]:
    hits = sum(count(a, b, TOLERANCE) for a, b in pairs)
    said, answered = sum(len(a) for a, _ in pairs), sum(len(b) for _, b in pairs)
    return {
        "precision": number(ratio(hits, answered)),
        "recall": number(ratio(hits, said)),
        "f1": number(ratio(2 * hits, said + answered)),
        "n": said,
        "answered": answered,
        "tolerance": TOLERANCE,
    }
