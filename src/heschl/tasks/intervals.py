"""95 % intervals of scores: over whole speakers, because clips of one speaker resemble each other. Pure numpy.

They are percentile intervals by bootstrap over *groups* (speakers): whole ones are drawn with replacement, since an
interval over clips would be too narrow (Efron and Tibshirani 1993, chapter 8.5; Field and Welsh 2007).
A bootstrap of fewer than `FEW` groups has no tails: of three to seven it holds the truth 72 to 88 times in 100. There the interval
is the value and Student's t times the jackknife's standard error over groups, and never narrower than that over clips, since
four groups may be alike by luck; so it holds the truth 94 to 99 times in 100 (tests/tasks/test_coverage.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from heschl.tasks.counts import STATISTICS, class_numbers, count, number

DRAWS = 1000
FEW = 8  # groups: below it a bootstrap is replaced


def intervals(
    truth: np.ndarray,
    guess: np.ndarray,
    groups: Sequence[Any] | np.ndarray,
    n_classes: int,
    *,
    units: Sequence[Any] | np.ndarray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of `STATISTICS` by bootstrap over groups; with fewer than `FEW` of them by t, as told above.

    Parameters
    ----------
    truth, guess: (n,) class numbers.
    groups: (n,) who or what each belongs to; whole groups are drawn with replacement, as many as there are.
    units: (n,) what few groups are made of, for the interval that theirs is not narrower than; None: each is one of its own.
    draws: number of bootstrap samples. seed: of the draws.

    Returns
    -------
    name of the statistic -> (low, high); (nan, nan) with fewer than two groups.
    """
    truth, guess = class_numbers(truth, guess, n_classes)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return dict.fromkeys(STATISTICS, (float("nan"), float("nan")))
    if len(names) < FEW:
        inner: dict[str, tuple[float, float]] = {}
        parts = np.arange(len(truth)) if units is None else np.asarray(units)
        if len(np.unique(parts)) > len(names):
            inner = intervals(truth, guess, parts, n_classes, draws=draws, seed=seed)
        return _of_few(truth, guess, group, n_classes, inner)
    # equal answers of a group are one entry: millions of frames become thousands
    entries, times = np.unique((group * n_classes + truth) * n_classes + guess, return_counts=True)
    pairs, guess = np.divmod(entries, n_classes)
    group, truth = np.divmod(pairs, n_classes)
    generator = np.random.default_rng(seed)
    samples: dict[str, list[float]] = {name: [] for name in STATISTICS}
    for _ in range(draws):
        drawn = np.bincount(generator.integers(len(names), size=len(names)), minlength=len(names))
        counts = count(truth, guess, n_classes, times * drawn[group])
        for name, statistic in STATISTICS.items():
            samples[name].append(statistic(counts))
    return {name: _percentiles(np.array(values)) for name, values in samples.items()}


def _of_few(
    truth: np.ndarray,
    guess: np.ndarray,
    group: np.ndarray,
    n_classes: int,
    inner: dict[str, tuple[float, float]],
) -> dict[str, tuple[float, float]]:
    whole = count(truth, guess, n_classes)
    without = [count(truth[group != k], guess[group != k], n_classes) for k in np.unique(group)]
    return {
        name: few_groups(statistic(whole), [statistic(one) for one in without], inner.get(name), (0.0, 1.0))
        for name, statistic in STATISTICS.items()
    }


def mean_over(
    values: Sequence[float] | np.ndarray,
    groups: Sequence[Any] | None,
    draws: int = DRAWS,
    seed: int = 0,
    ends: tuple[float, float] = (-np.inf, np.inf),
) -> dict[str, Any]:
    """The mean of one number a clip, with its 95 % percentile interval by bootstrap over groups; over few of them by t.

    Parameters
    ----------
    values: (n,); those that are not a number are left out, and ``n`` says how many were not.
    groups: (n,) the speaker of each; None draws clips.
    ends: what the mean cannot pass, nor an interval by t.

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
        total, times = np.bincount(own, weights=array), np.bincount(own)
        if len(known) >= FEW:
            low, high = _of_means(total, times, draws, seed)
        else:
            inner = _of_means(array, np.ones(len(array)), draws, seed) if len(array) > len(known) else None
            without = (total.sum() - total) / (times.sum() - times)
            low, high = few_groups(array.mean(), without, inner, ends)
        found |= {"low": low, "high": high}
    return found


def _of_means(total: np.ndarray, times: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    drawn = np.random.default_rng(seed).integers(len(total), size=(draws, len(total)))
    low, high = np.percentile(total[drawn].sum(1) / times[drawn].sum(1), [2.5, 97.5])
    return float(low), float(high)


def weighed(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[Any] | np.ndarray,
    *,
    units: Sequence[Any] | np.ndarray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    ends: tuple[float, float] = (-np.inf, np.inf),
) -> dict[str, float | None]:
    """Any statistic of weighted samples, with its 95 % interval: by bootstrap over groups, over few of them by t.

    Parameters
    ----------
    statistic: weights (sample,), how often each is drawn, -> the number.
    groups: (sample,) whose each is. units: (sample,) of which clip each is; None: each is one of its own.
    ends: what the statistic cannot pass.

    Returns
    -------
    value, low, high (None with fewer than two groups).
    """
    names, whose = np.unique(np.asarray(groups), return_inverse=True)
    own = np.arange(len(whose)) if units is None else np.unique(np.asarray(units), return_inverse=True)[1]
    value = statistic(np.ones(len(whose)))
    if len(names) < 2:
        return {"value": value, "low": None, "high": None}
    if len(names) >= FEW:
        low, high = _drawn(statistic, whose, draws, seed)
    else:
        inner = _drawn(statistic, own, draws, seed) if len(np.unique(own)) > len(names) else None
        without = [statistic((whose != k).astype(float)) for k in range(len(names))]
        low, high = few_groups(value, without, inner, ends)
    return {"value": value, "low": low, "high": high}


def _drawn(
    statistic: Callable[[np.ndarray], float], whose: np.ndarray, draws: int, seed: int
) -> tuple[float, float]:
    n = int(whose.max()) + 1
    generator, even = np.random.default_rng(seed), np.full(n, 1 / n)
    values = [statistic(generator.multinomial(n, even)[whose].astype(float)) for _ in range(draws)]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def few_groups(
    value: float,
    without: Sequence[float] | np.ndarray,
    inner: tuple[float, float] | None = None,
    ends: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float]:
    """A 95 % interval where groups are few: Student's t times the jackknife's standard error (Tukey 1958).

    Parameters
    ----------
    value: of all groups. without: (group,) the same with each left out.
    inner: the interval over what the groups are made of, which the result holds. ends: of the statistic's range.
    """
    from scipy.special import stdtrit

    left = np.asarray(without, float)
    n = len(left)
    error = np.sqrt((n - 1) / n * np.square(left - left.mean()).sum())
    wide = float(stdtrit(n - 1, 0.975) * error)
    low, high = value - wide, value + wide
    if inner is not None:
        low, high = np.fmin(low, inner[0]), np.fmax(high, inner[1])
    return float(np.clip(low, *ends)), float(np.clip(high, *ends))


def by_t(n_groups: int | None) -> str:
    """What is said beside intervals over few groups; empty where they are by bootstrap."""
    return " (few, so by Student's t)" if n_groups is not None and n_groups < FEW else ""


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, right out of n."""
    if n == 0:
        return 0.0, 1.0
    z2 = 1.959963984540054**2
    middle = (right + z2 / 2) / (n + z2)
    half = np.sqrt(z2) / (n + z2) * np.sqrt(right * (n - right) / n + z2 / 4)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
