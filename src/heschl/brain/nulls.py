"""How well an encoding model does where there is nothing to find: circular shifts, and the largest over channels.

A shift keeps the smoothness of features and recording, and breaks the tie between them. Every step of the real analysis
is done again on the shifted recording, the choice of alpha too; as only the recording moves, all shifts share the Gram
matrices and their factors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heschl.brain import ridge, series
from heschl.brain.blocks import Blocks, cut
from heschl.brain.encode import best, cross_validate, filtered, grid, nested, weights_of
from heschl.brain.gram import lag_steps
from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]

_PLACES = 20  # that a run can be shifted to, at least
_AT_ONCE = 2**25  # numbers of shifted recordings held at once
_PUT_BACK = 10.0 ** np.arange(-6, 3)  # penalties of the control's part, of columns of variance 1, per sample


@dataclass(frozen=True, eq=False)
class Null:
    """A statistic per channel, and what it is where there is nothing to find.

    Attributes
    ----------
    observed: (channel,). null: (shift, channel).
    p: (channel,) share of shifts, the observation among them, that do as well: each channel by itself.
    p_max: (channel,) the same against the largest over channels, which holds the error over all of them.
    """

    observed: Array
    null: Array
    p: Array
    p_max: Array


def shift_null(
    features: Any,
    recording: Any,
    rate: float,
    lags: tuple[float, float] = (0.0, 0.4),
    alphas: Any = None,
    folds: int | Sequence[int] = 5,
    shifts: int = 199,
    seed: int = 0,
) -> Null:
    """r of an encoding model per channel, and its null by circular shifts of the recording within each run.

    Parameters
    ----------
    features, recording, rate, lags, alphas, folds: as in `heschl.brain.encode.fit_encoding`.
    shifts: how many; p is never below 1 / (shifts + 1).

    Raises
    ------
    HeschlError: a run too short to be shifted beyond the lags, or what `fit_encoding` refuses.
    """
    x, y = series.paired(features, recording)
    steps = lag_steps(lags, rate)
    band = np.zeros(x[0].shape[1], dtype=int)

    def r(shifted: list[Array]) -> Array:
        made = cut(x, shifted, steps, folds)
        return np.asarray(nested(made, grid(made, alphas, band), band).r.mean(0))

    moves = draw_shifts([len(run) for run in y], least_shift(steps, rate), shifts, seed)
    return against_shifts(r, y, y, moves)


def least_shift(steps: Array, rate: float) -> int:
    """The least shift in samples: twice what the lags reach, and one second at least."""
    return max(int(np.ceil(rate)), 2 * int(np.abs(steps).max()) + 1)


def fewest_rows(steps: Array, rate: float) -> int:
    """The shortest run that can be shifted: by the least shift either way, and to twenty places between."""
    return 2 * least_shift(steps, rate) + _PLACES - 1


def draw_shifts(lengths: Sequence[int], least: int, shifts: int, seed: int) -> Array:
    """(shift, run) samples, evenly from ``least`` to the run's length less ``least``; each shift once while they last."""
    if shifts < 19:
        raise HeschlError(f"{shifts} shifts cannot give a p of .05: take 19 or more")
    rng = np.random.default_rng(seed)
    moves = []
    for run, length in enumerate(lengths):
        free = length - 2 * least + 1
        if free < _PLACES:
            raise HeschlError(
                f"run {run} has {length} samples, and its null shifts it by {least} or more: "
                "leave it out, or give longer runs or fewer lags"
            )
        moves.append(least + rng.choice(free, shifts, replace=shifts > free))
    return np.stack(moves, 1)


def against_shifts(
    statistic: Callable[[list[Array]], Array],
    recording: list[Array],
    moved: list[Array],
    moves: Array,
    fixed: list[Array] | None = None,
) -> Null:
    """A statistic of the recording against that of ``fixed`` (or nothing) plus ``moved``, shifted.

    Parameters
    ----------
    statistic: runs (time, column) to (column,), each column by itself.
    recording, moved, fixed: runs (time, channel). moves: (shift, run) samples.
    """
    channels = recording[0].shape[1]
    size = max(1, _AT_ONCE // sum(run.size for run in recording))
    observed = statistic(recording)
    null = []
    for start in range(0, len(moves), size):
        part = moves[start : start + size]
        shifted = [
            np.concatenate([np.roll(run, by, 0) for by in part[:, index]], 1)
            for index, run in enumerate(moved)
        ]
        if fixed is not None:
            shifted = [a + np.tile(b, (1, len(part))) for a, b in zip(shifted, fixed)]
        null.append(statistic(shifted).reshape(len(part), channels))
    return judged(observed, np.concatenate(null))


def judged(observed: Array, null: Array) -> Null:
    """One-sided p of observed (channel,) against null (shift, channel), the observation counted among the draws."""
    count = len(null) + 1
    alone = (1 + (null >= observed).sum(0)) / count
    largest = (1 + (null.max(1)[:, None] >= observed).sum(0)) / count
    return Null(observed, null, alone, largest)


def gain_null(
    control: list[Array], added: list[Array], recording: list[Array], made: Gain, moves: Array
) -> Null:
    """What ``added`` features gain in r over ``control`` alone, against shifts of what control leaves unexplained.

    Freedman and Lane's way (Winkler et al., NeuroImage 2014): the recording is taken apart into what the control
    features explain and the rest; the rest is shifted and put back, so that the null brain still follows the control.
    """
    explained = control_part(control, recording, made)
    rest = [a - b for a, b in zip(recording, explained)]
    return against_shifts(lambda y: made(control, added, y)[0], recording, rest, moves, explained)


def control_part(control: list[Array], recording: list[Array], made: Gain) -> list[Array]:
    """What the control features explain of a recording, runs (time, channel).

    The penalty is the one with the least squared error on unseen blocks, out of a grid from next to none to next to
    all: a brain that follows the control has it put back whole, and one that does not has next to nothing put back,
    for a fit follows noise as well and would be a stronger drive than the real one. r, by which models are scored,
    sees neither, as it does not see the size of a prediction.
    """
    whole = made.blocks(control, recording)
    band = np.zeros(control[0].shape[1], dtype=int)
    rows = sum(len(run) for run in recording)
    penalties = ridge.candidates(rows * _PUT_BACK, 1, 1.0)
    chosen = best(cross_validate(whole, penalties, band, measure="r2").mean(1))
    columns, _ = weights_of(whole.all(), penalties, band, len(made.steps), chosen)
    cube = columns.reshape(
        len(made.steps), len(band), -1
    )  # moments go lag by lag, filters feature by feature
    weights = cube.transpose(1, 0, 2).reshape(columns.shape)
    return [filtered(run, made.steps, weights) for run in control]


@dataclass(frozen=True, eq=False)
class Gain:
    """The gain in r of features over control features, each group with a penalty of its own.

    Attributes
    ----------
    steps: (lag,) samples. folds: as in `fit_encoding`. alphas: (alpha,).
    """

    steps: Array
    folds: int | Sequence[int]
    alphas: Array

    def __call__(self, control: list[Array], added: list[Array], recording: list[Array]) -> tuple[Array, ...]:
        """(channel,) gain, mean over blocks; (block, channel) r with the added features; (block, channel) without."""
        width, more = control[0].shape[1], added[0].shape[1]
        both = self.blocks([np.concatenate(pair, 1) for pair in zip(control, added)], recording)
        full = nested(both, self.penalties(2), np.repeat([0, 1], [width, more])).r
        alone = nested(both.take(np.arange(width)), self.penalties(1), np.zeros(width, dtype=int)).r
        return (full - alone).mean(0), full, alone

    def blocks(self, x: list[Array], y: list[Array]) -> Blocks:
        return cut(x, y, self.steps, self.folds)

    def penalties(self, groups: int) -> Array:
        return ridge.candidates(self.alphas, groups, 1.0)
