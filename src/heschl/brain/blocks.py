"""A lagged regression cut into blocks: moments of every block, and of all rows that may train when some are tested."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from heschl.brain import gram, series
from heschl.brain.gram import Moments
from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Blocks:
    """Runs of x (time, input) and y (time, channel), cut into folds, with the moments of each.

    Attributes
    ----------
    x, y: the runs. steps: (lag,) samples. cuts: for each fold its stretches (run, start, stop).
    shift_x, shift_y: (input,) and (channel,) means, off which all moments are taken.
    parts: the moments of each fold's rows.
    columns: those columns (lag * input) of the lagged matrix that are used, or None for all.
    """

    x: list[Array]
    y: list[Array]
    steps: Array
    cuts: list[list[tuple[int, int, int]]]
    shift_x: Array
    shift_y: Array
    parts: list[Moments]
    columns: Array | None = None

    def take(self, inputs: Array) -> Blocks:
        """The same with some of the inputs alone."""
        width = self.x[0].shape[1]
        columns = (np.arange(len(self.steps))[:, None] * width + np.asarray(inputs)).reshape(-1)
        return replace(self, parts=[part.take(columns) for part in self.parts], columns=columns)

    def all(self) -> Moments:
        """Moments of every row."""
        return reduce(Moments.__add__, self.parts)

    def train(self, tested: Collection[int]) -> Moments:
        """Moments of the rows that may train while the folds ``tested`` are tested.

        Rows within the span of the lags (last less first) of a tested stretch share samples of x with it: they are
        purged. Lags never cross runs, so whole runs need no purging.
        """
        kept = [part for fold, part in enumerate(self.parts) if fold not in tested]
        found = reduce(Moments.__add__, kept) if len(kept) > 1 else kept[0]
        purged = [self._purged(run, tested) for run in range(len(self.x))]
        if (left := found.n - sum(len(rows) for rows in purged)) < 3:
            raise HeschlError(
                f"{left} samples are left to train on, as the lags span {int(self.steps[-1] - self.steps[0])} round every "
                "tested block: give a longer recording or fewer lags"
            )
        if any(len(rows) for rows in purged):  # few: out of the sums again, one by one
            lagged = [gram.lagged_rows(x, self.steps, rows, self.shift_x) for x, rows in zip(self.x, purged)]
            y = [y[rows] - self.shift_y for y, rows in zip(self.y, purged)]
            rows = np.concatenate(lagged)
            found -= gram.rows_moments(
                rows if self.columns is None else rows[:, self.columns], np.concatenate(y)
            )
        return found

    def _purged(self, run: int, tested: Collection[int]) -> Array:
        span = int(self.steps[-1] - self.steps[0])
        near = np.zeros(len(self.x[run]), dtype=bool)
        test = np.zeros_like(near)
        for fold in tested:
            for of, start, stop in self.cuts[fold]:
                if of == run:
                    near[max(0, start - span) : stop + span] = True
                    test[start:stop] = True
        return np.flatnonzero(near & ~test)

    def tests(self, fold: int) -> Moments:
        """Centred moments of a fold's own rows, to score on."""
        return self.parts[fold].centred()


def cut(x: list[Array], y: list[Array], steps: Array, folds: int | Sequence[int]) -> Blocks:
    """Cuts runs into blocks and sums up each.

    Raises
    ------
    HeschlError: a block has fewer than three samples, or a channel never changes in one.
    """
    cuts = series.blocks([len(run) for run in x], folds)
    for fold, stretches in enumerate(cuts):
        rows = min(stop - start for _, start, stop in stretches)
        if rows <= 2:
            raise HeschlError(
                f"block {fold} of {len(cuts)} has {rows} samples: give a longer recording or fewer folds"
            )
    shift_x, shift_y = series.column_means(x), series.column_means(y)
    parts = []
    for fold, stretches in enumerate(cuts):
        sums = (gram.moments(x[run], y[run], steps, (a, b), shift_x, shift_y) for run, a, b in stretches)
        parts.append(reduce(Moments.__add__, sums))
        about = parts[-1].centred().yy
        flat = about <= len(y) * np.finfo(about.dtype).eps * parts[-1].yy
        if flat.any():
            raise HeschlError(
                f"channel {int(flat.argmax())} never changes within block {fold} of {len(cuts)}: "
                "leave that stretch or that channel out, or take fewer folds"
            )
    return Blocks(x, y, steps, cuts, shift_x, shift_y, parts)
