"""Encoding models: what a recording owes to features of the sound, by ridge regression on lagged features.

Within each run ``recording[t, channel] = intercept + sum over feature, lag of weights[feature, lag, channel]
features[t - lag, feature]``, with zeros outside a run, an intercept without penalty, and alpha on the raw Gram matrix
(scikit-learn's convention). mtrf's lambda is ``alpha / (rate * runs)`` and its weights are ``rate`` times these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np

from heschl.brain import ridge, series
from heschl.brain.blocks import Blocks, cut
from heschl.brain.gram import Moments, lag_steps, padded
from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]
Direction = Literal["forward", "backward"]
Measure = Literal["r", "r2"]

_AT_ONCE = 2**24  # numbers of a lagged matrix held while predicting


@dataclass(frozen=True, eq=False)
class Encoding:
    """A fitted encoding (forward) or decoding (backward) model.

    An output is a channel in a forward model, a feature in a backward one; an input is the other.

    Attributes
    ----------
    weights: (feature, lag, channel), in units of the output per unit of the input, fitted on all runs.
    intercept: (output,).
    lags: (lag,) seconds by which the recording follows the sound, in both directions.
    alpha: (output,) the penalty of those weights; (output, group) with groups.
    r: (output,) correlation on blocks that were used neither for weights nor for alpha, mean over blocks.
    r_blocks: (block, output) the same, block by block. alpha_blocks: (block, output[, group]) chosen without it.
    patterns: (feature, lag, channel) Haufe's patterns of a backward model (see `ridge.haufe`), else None: these may be
        interpreted, its weights may not.
    direction: "forward" or "backward". rate: Hz.
    """

    weights: Array
    intercept: Array
    lags: Array
    alpha: Array
    r: Array
    r_blocks: Array = field(repr=False)
    alpha_blocks: Array = field(repr=False)
    patterns: Array | None = field(repr=False)
    direction: Direction
    rate: float


def fit_encoding(
    features: Any,
    recording: Any,
    rate: float,
    lags: tuple[float, float] = (0.0, 0.4),
    alphas: Any = None,
    groups: Any = None,
    folds: int | Sequence[int] = 5,
    direction: Direction = "forward",
) -> Encoding:
    """Fits a ridge regression between lagged features and a recording.

    Parameters
    ----------
    features: (time, feature), or a list of such, one per run: lags never cross runs.
    recording: (time, channel), likewise. Bring each channel or run to one scale first if they differ.
    rate: samples per second of both, Hz.
    lags: first and last, seconds by which the recording follows the sound (every sample from floor to ceil).
    alphas: penalties to choose from, for each output apart, by cross-validation within the training blocks; one number
        is taken as it is, without that inner loop. None: ten powers of ten about the mean of the Gram matrix's diagonal.
    groups: banded ridge: the group of every input (labels, sizes in order, or lists of inputs); each has a penalty of its own out of
        ``alphas``, which may then also be rows (candidate, group).
    folds: blocks that are held out in turn: whole runs where there are as many, else equal parts of every run; or the
        fold of every run, so that a sound that was heard twice is not learned and tested. Training rows that share
        samples with a tested block through the lags are purged.
    direction: "forward" predicts the recording, "backward" the features, from the recording that follows.

    Returns
    -------
    `Encoding`, in the inputs' precision (float32 if both are).

    Raises
    ------
    HeschlError: numbers that are not finite, runs of different lengths, columns that never change, blocks that are too
        short for the lags, groups or alphas that do not fit.
    """
    if direction not in ("forward", "backward"):
        raise HeschlError(f"direction is {direction!r}: choose 'forward' or 'backward'")
    x, y = series.paired(features, recording)
    steps = lag_steps(lags, rate)
    if direction == "backward":
        x, y, steps = y, x, -steps[::-1]
    blocks = cut(x, y, steps, folds)
    band = np.zeros(x[0].shape[1], dtype=int) if groups is None else ridge.bands(groups, x[0].shape[1])
    penalties = grid(blocks, alphas, band)
    result = nested(blocks, penalties, band)
    whole = blocks.all()
    chosen = np.zeros(y[0].shape[1], dtype=int)
    if len(penalties) > 1:
        chosen = best(cross_validate(blocks, penalties, band).mean(1))
    weights, means = weights_of(whole, penalties, band, len(steps), chosen)
    intercept = blocks.shift_y + means - np.tile(blocks.shift_x, len(steps)) @ weights
    patterns = ridge.haufe(whole.centred().xx, weights) if direction == "backward" else None

    def shaped(columns: Array) -> Array:
        cube = columns.reshape(len(steps), x[0].shape[1], -1)  # (lag, input, output)
        return cube.transpose(1, 0, 2) if direction == "forward" else cube[::-1].transpose(2, 0, 1)

    return Encoding(
        weights=np.ascontiguousarray(shaped(weights)),
        intercept=intercept,
        lags=(steps if direction == "forward" else -steps[::-1]) / rate,
        alpha=penalties[chosen],
        r=result.r.mean(0),
        r_blocks=result.r,
        alpha_blocks=penalties[result.chosen],
        patterns=None if patterns is None else np.ascontiguousarray(shaped(patterns)),
        direction=direction,
        rate=float(rate),
    )


def predict(encoding: Encoding, inputs: Any) -> Any:
    """What a model predicts: the recording (time, channel) from features, or features from a recording.

    Parameters
    ----------
    inputs: (time, input) at the model's rate, or a list of runs, which gives a list.
    """
    forward = encoding.direction == "forward"
    runs = series.as_runs(inputs, "features" if forward else "recording")
    weights = encoding.weights if forward else encoding.weights.transpose(2, 1, 0)
    steps = np.round(encoding.lags * encoding.rate).astype(int) * (1 if forward else -1)
    if runs[0].shape[1] != len(weights):
        raise HeschlError(f"the model takes {len(weights)} inputs and is given {runs[0].shape[1]}")
    flat = weights.reshape(-1, weights.shape[-1])
    found = [filtered(run, steps, flat) + encoding.intercept for run in runs]
    return found if isinstance(inputs, list | tuple) and np.ndim(inputs[0]) else found[0]


def filtered(x: Array, steps: Array, flat: Array) -> Array:
    """The lagged matrix times weights (input * lag, output), in stretches that fit in memory: (time, output)."""
    size = max(1, _AT_ONCE // (len(steps) * x.shape[1]))
    low, high = int(steps.min()), int(steps.max())
    none = np.zeros(x.shape[1], dtype=x.dtype)
    found = []
    for start in range(0, len(x), size):
        stop = min(len(x), start + size)
        held = padded(x, start - high, stop - low, none)
        rows = np.stack([held[high - step : high - step + stop - start] for step in steps], 2)
        found.append(rows.reshape(stop - start, -1) @ flat)
    return np.concatenate(found)


# --- cross-validation --------------------------------------------------------------------------------


class Nested(NamedTuple):
    """r (or R2) (block, channel) on outer blocks, and the candidate that was chosen without each, (block, channel)."""

    r: Array
    chosen: Array


def grid(blocks: Blocks, alphas: Any, band: Array) -> Array:
    """The penalties to choose from (see `ridge.candidates`), the default ones about the data's own scale."""
    scale = float(np.mean(np.diagonal(blocks.all().centred().xx)))
    return ridge.candidates(alphas, int(band.max()) + 1, scale)


def cross_validate(blocks: Blocks, penalties: Array, band: Array, measure: Measure = "r") -> Array:
    """r or R2 (candidate, fold, channel) of every candidate on every fold.

    Single-level: the best of these is no unbiased score; `nested` gives one.
    """
    folds = len(blocks.parts)
    columns = ridge.per_column(penalties, band, len(blocks.steps))
    found = np.empty((len(penalties), folds, blocks.y[0].shape[1]))
    for fold in range(folds):
        train, test = blocks.train({fold}).centred(), blocks.tests(fold)
        for candidate, weights in enumerate(ridge.solve(train, columns)):
            found[candidate, fold] = _measured(weights, train, test, measure)
    return found


def nested(blocks: Blocks, penalties: Array, band: Array, measure: Measure = "r") -> Nested:
    """Cross-validation within cross-validation: the penalty for a block is chosen on the other blocks alone.

    What is trained without blocks a and b scores b while a is out, and a while b is: each pair is fitted once.

    Raises
    ------
    HeschlError: there are several penalties and only two blocks.
    """
    folds, channels = len(blocks.parts), blocks.y[0].shape[1]
    columns = ridge.per_column(penalties, band, len(blocks.steps))
    inner = np.zeros((folds, len(penalties), channels))  # of each block that is out: sums over those tested
    if len(penalties) > 1:
        if folds < 3:
            raise HeschlError(
                "folds is 2, which leaves one block to choose alpha in: give 3 or more, or one alpha"
            )
        for a, b in combinations(range(folds), 2):
            train, tests = blocks.train({a, b}).centred(), (blocks.tests(a), blocks.tests(b))
            for candidate, weights in enumerate(ridge.solve(train, columns)):
                inner[b, candidate] += _measured(weights, train, tests[0], measure)
                inner[a, candidate] += _measured(weights, train, tests[1], measure)
    chosen = np.stack([best(one) for one in inner])
    r = np.empty((folds, channels))
    for fold in range(folds):
        train, test = blocks.train({fold}).centred(), blocks.tests(fold)
        for candidate in np.unique(chosen[fold]):
            own = np.flatnonzero(chosen[fold] == candidate)
            some = train.outputs(own)
            (weights,) = ridge.solve(some, columns[[candidate]])
            r[fold, own] = _measured(weights, some, test.outputs(own), measure)
    return Nested(r, chosen)


def _measured(weights: Array, train: Moments, test: Moments, measure: Measure) -> Array:
    return ridge.score(weights, test) if measure == "r" else ridge.explained(weights, train, test)


def best(scores: Array) -> Array:
    """The candidate (channel,) with the highest of scores (candidate, channel); of equals the last, the most penalised."""
    return np.asarray(len(scores) - 1 - scores[::-1].argmax(0))


def weights_of(
    whole: Moments, penalties: Array, band: Array, n_lags: int, chosen: Array
) -> tuple[Array, Array]:
    """Weights (column, channel) with each channel's own penalty, and the mean that they leave (channel,)."""
    centred = whole.centred()
    used = np.unique(chosen)
    weights = np.empty_like(centred.xy)
    columns = ridge.per_column(penalties[used], band, n_lags)
    for index, found in zip(used, ridge.solve(centred, columns)):
        weights[:, chosen == index] = found[:, chosen == index]
    return weights, whole.y / whole.n - (whole.x / whole.n) @ weights
