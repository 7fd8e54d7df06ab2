"""Cross-validated distances between conditions, in channels whitened by their noise.

A squared distance between noisy patterns is never below zero, and the larger the noise the larger it is. Multiplying
the difference in one fold by the same difference in the others has no such bias: zero means no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]


class Whitener(NamedTuple):
    """patterns (condition, channel) times ``matrix`` (channel, rank) have noise of covariance one.

    shrinkage: how far the covariance was drawn towards equal variances, 0 to 1. rank: independent directions.
    """

    matrix: Array
    shrinkage: float
    rank: int


def whitener(residuals: Any, shrinkage: float | None = None, rank: int | None = None) -> Whitener:
    """Whitens by the covariance of what the conditions leave, in the directions that are there.

    Parameters
    ----------
    residuals: (sample, channel): single trials less their condition's mean. Their mean is taken off.
    shrinkage: 0 to 1; None by Ledoit and Wolf's formula (J. Multivariate Anal. 2004, lemma 3.1-3.3).
    rank: None counts the eigenvalues above 1e-10 of the largest: an average reference takes one away, each projection
        or ICA component that was removed another. Shrinking without this would fill up empty directions with noise
        that was never there, and blow them up.
    """
    x = np.asarray(residuals, dtype=np.float64)
    if x.ndim != 2 or len(x) < 3 or not np.isfinite(x).all():
        raise HeschlError(
            f"residuals are of shape {x.shape}: give (sample, channel), three or more of finite numbers"
        )
    x = x - x.mean(0)
    n = len(x)
    _, singular, vectors = np.linalg.svd(x, full_matrices=False)
    values = singular**2 / n
    found = int((values > 1e-10 * values[0]).sum()) if values[0] > 0 else 0
    if found == 0:
        raise HeschlError("residuals never change: there is no noise to whiten by")
    if rank is not None and not 1 <= rank <= found:
        raise HeschlError(f"rank is {rank}: the residuals have {found} independent directions")
    rank = rank or found
    values, vectors = values[:rank], vectors[:rank]
    mean = values.mean()
    if shrinkage is None:
        apart = ((values - mean) ** 2).sum()
        lengths = ((x @ vectors.T) ** 2).sum(1)
        spread = (lengths @ lengths / n - (values**2).sum()) / n
        shrinkage = 1.0 if apart == 0 else float(np.clip(spread / apart, 0, 1))
    if not 0 <= shrinkage <= 1:
        raise HeschlError(f"shrinkage is {shrinkage}: give a number from 0 to 1")
    shrunk = (1 - shrinkage) * values + shrinkage * mean
    return Whitener(vectors.T / np.sqrt(shrunk), shrinkage, rank)


def residuals(trials: Any, conditions: Sequence[Any]) -> Array:
    """Trials (trial, channel) less the mean of their condition."""
    x, labels = np.asarray(trials, dtype=np.float64), np.asarray(conditions)
    left = x.copy()
    for name in np.unique(labels):
        left[labels == name] -= x[labels == name].mean(0)
    return left


def crossnobis(
    trials: Any,
    conditions: Sequence[Any],
    folds: Sequence[Any],
    whiten: Whitener | None = None,
    spans: Any = None,
) -> tuple[Array, list[Any]]:
    """Cross-validated squared Mahalanobis distances between conditions, per (whitened) channel.

    For each fold, ``d(a, b) = (mean_a - mean_b)_fold (mean_a - mean_b)_others' / channels``, averaged over folds
    (Walther et al., NeuroImage 2016, eq. 9). May come out below zero where there is no difference.

    Parameters
    ----------
    trials: (trial, channel). conditions, folds: (trial,) of what, and in which independent part (a run, a block).
    whiten: from `whitener`, of noise that was estimated on other data or on residuals; None leaves channels as they are.
    spans: (trial, 2) start and stop of each trial's samples in seconds: trials of different folds may not overlap.

    Returns
    -------
    (condition, condition), and the conditions in order.

    Raises
    ------
    HeschlError: one fold alone, a condition that a fold lacks, the same trial in two folds, trials of two folds that
        overlap in time: folds that share noise are not independent, and the bias comes back.
    """
    x, of, fold = np.asarray(trials, dtype=np.float64), np.asarray(conditions), np.asarray(folds)
    if x.ndim != 2 or not len(x) == len(of) == len(fold):
        raise HeschlError(
            f"trials are of shape {x.shape} with {len(of)} conditions and {len(fold)} folds: give one of each a trial"
        )
    if not np.isfinite(x).all():
        raise HeschlError(
            f"trial {int(np.argwhere(~np.isfinite(x))[0, 0])} holds numbers that are not finite: leave it out"
        )
    names, parts = np.unique(of), np.unique(fold)
    if len(parts) < 2:
        raise HeschlError(
            "all trials are in one fold: cross-validated distances need two independent ones or more"
        )
    if len(names) < 2:
        raise HeschlError("all trials are of one condition: there is no distance to measure")
    for part in parts:
        missing = [name for name in names if not ((of == name) & (fold == part)).any()]
        if missing:
            raise HeschlError(
                f"fold {part} has no trial of {missing[0]}: every fold needs every condition, so merge folds or leave it out"
            )
    _refuse_overlap(x, fold, spans)
    if whiten is not None:
        x = x @ whiten.matrix

    def means(rows: Array) -> Array:
        return np.stack([x[rows & (of == name)].mean(0) for name in names])

    total = np.zeros((len(names), len(names)))
    for part in parts:
        kernel = means(fold == part) @ means(fold != part).T
        own = np.diagonal(kernel)
        total += own[:, None] + own[None] - kernel - kernel.T
    return total / (len(parts) * x.shape[1]), names.tolist()


def _refuse_overlap(x: Array, fold: Array, spans: Any) -> None:
    seen: dict[bytes, int] = {}
    for index, row in enumerate(np.ascontiguousarray(x)):
        twin = seen.setdefault(row.tobytes(), index)
        if fold[twin] != fold[index]:
            raise HeschlError(
                f"trials {twin} and {index} are the same numbers and lie in folds {fold[twin]} and {fold[index]}: "
                "folds must not share data"
            )
    if spans is None:
        return
    times = np.asarray(spans, dtype=np.float64)
    if times.shape != (len(x), 2) or not (times[:, 0] <= times[:, 1]).all():
        raise HeschlError(
            f"spans are of shape {times.shape}: give (trial, 2), start and stop in seconds, in order"
        )
    order = np.argsort(times[:, 0], kind="stable")
    last: dict[Any, int] = {}  # per fold, the trial that ends last so far
    for index in order:
        for part, other in last.items():
            if part != fold[index] and times[other, 1] > times[index, 0]:
                raise HeschlError(
                    f"trials {other} and {index} overlap in time and lie in folds {part} and {fold[index]}: "
                    "folds must not share data"
                )
        held = last.get(fold[index])
        if held is None or times[index, 1] > times[held, 1]:
            last[fold[index]] = int(index)
