"""What intervals are over: speakers, whole ones drawn, as `heschl.tasks.scores` does for accuracy; of trials, subjects or blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from heschl.corpora._headers import counted
from heschl.tasks.scores import DRAWS, FEW, by_t, few_groups, number
from heschl.types import Clip


def mean_over(
    values: Sequence[float] | np.ndarray, groups: Sequence[Any] | None, draws: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """The mean of one number a clip, with its 95 % percentile interval by bootstrap over groups; over few of them by t, as
    `heschl.tasks.scores.few_groups` has it.

    Parameters
    ----------
    values: (n,); those that are not a number are left out, and ``n`` says how many were not.
    groups: (n,) the speaker of each; None draws clips.

    Returns
    -------
    value, low, high (None with fewer than two groups), n, n_groups.
    """
    array = np.asarray(values, float)
    names = np.arange(len(array)) if groups is None else np.asarray(list(groups))
    there = np.isfinite(array)
    array, names = array[there], names[there]
    known, own = np.unique(names, return_inverse=True)
    found: dict[str, Any] = {
        "value": number(array.mean()) if len(array) else None,
        "low": None,
        "high": None,
        "n": len(array),
        "n_groups": None if groups is None else len(known),
    }
    if len(known) >= 2:
        total, count = np.bincount(own, weights=array), np.bincount(own)
        if len(known) >= FEW:
            low, high = _percentiles(total, count, draws, seed)
        else:
            inner = _percentiles(array, np.ones(len(array)), draws, seed) if len(array) > len(known) else None
            without = (total.sum() - total) / (count.sum() - count)
            low, high = few_groups(array.mean(), without, inner)
        found |= {"low": low, "high": high}
    return found


def _percentiles(total: np.ndarray, count: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    drawn = np.random.default_rng(seed).integers(len(total), size=(draws, len(total)))
    low, high = np.percentile(total[drawn].sum(1) / count[drawn].sum(1), [2.5, 97.5])
    return float(low), float(high)


class Over(NamedTuple):
    """What intervals of trials are over: the name of each trial's (None: trials), what these are, and both as words."""

    names: list[str] | None
    by: str
    told: str


def over_trials(trials: Sequence[Clip]) -> Over:
    """Subjects where there are several, else blocks, else each subject's blocks, else trials; for `evaluate` and `decode` alike."""
    for column in ("subject", "block"):
        names = [clip.labels.get(column, "") for clip in trials]
        if len(set(names)) > 4:
            return Over(names, column, f"{len(set(names))} {column}s{by_t(len(set(names)))}")
    names = [block_of(clip) for clip in trials]
    if len(set(names)) > 2:
        subjects = len({clip.labels.get("subject", "") for clip in trials})
        of = f"{len(set(names))} blocks of {counted(subjects, 'subject')}"
        return Over(names, "block", f"{of}{by_t(len(set(names)))}")
    return Over(None, "clip", "trials")


def block_of(clip: Clip) -> str:
    """A trial's subject and block: what labels are permuted within."""
    return f"{clip.labels.get('subject', '')}/{clip.labels.get('block', '')}"
