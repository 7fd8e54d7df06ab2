"""Features and recordings as an encoding model takes them: runs of one precision, finite, of one length, in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]

_ROWS = 2**16  # looked at once, so that a recording on disk stays there


def as_runs(given: Any, name: str) -> list[Array]:
    """One array (time, column) or a list of them, one per run, as a list of float arrays."""
    runs = list(given) if isinstance(given, list | tuple) else [given]
    if not runs:
        raise HeschlError(f"{name} is an empty list: give an array (time, column), or one per run")
    if isinstance(given, list | tuple) and all(np.ndim(run) == 0 for run in runs):
        runs = [given]
    arrays = [_as_array(run, name, index if len(runs) > 1 else None) for index, run in enumerate(runs)]
    widths = {array.shape[1] for array in arrays}
    if len(widths) > 1:
        raise HeschlError(f"the runs of {name} have {sorted(widths)} columns: every run needs the same ones")
    return arrays


def _as_array(run: Any, name: str, index: int | None) -> Array:
    where = name if index is None else f"run {index} of {name}"
    if hasattr(run, "detach"):
        run = run.detach().cpu().numpy()
    try:
        array = run if isinstance(run, np.ndarray) else np.asarray(run)
    except ValueError:
        raise HeschlError(f"{where} is ragged: give an array (time, column)") from None
    if array.dtype.kind not in "fiub":
        raise HeschlError(f"{where} is of type {array.dtype}: give real numbers")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] < 1:
        raise HeschlError(f"{where} is of shape {array.shape}: give (time, column)")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    for start in range(0, len(array), _ROWS):
        bad = ~np.isfinite(array[start : start + _ROWS])
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            raise HeschlError(
                f"{where} holds a number that is not finite at sample {start + row}, column {column}: "
                "mend it, or cut the run there"
            )
    return array


def paired(features: Any, recording: Any) -> tuple[list[Array], list[Array]]:
    """Runs of features and of the recording: as many, as long, of one precision (the finer of the two)."""
    x, y = as_runs(features, "features"), as_runs(recording, "recording")
    if len(x) != len(y):
        raise HeschlError(f"there are {len(x)} runs of features and {len(y)} of the recording: give as many")
    for index, (a, b) in enumerate(zip(x, y)):
        if len(a) != len(b):
            raise HeschlError(
                f"run {index} has {len(a)} samples of features and {len(b)} of the recording: "
                "bring both to one rate and cut both to one length"
            )
    for runs, name in ((x, "features"), (y, "recording")):
        flat = np.ones(runs[0].shape[1], dtype=bool)
        for run in runs:
            for start in range(0, len(run), _ROWS):
                flat &= (run[start : start + _ROWS] == runs[0][:1]).all(0)
        if flat.any():
            raise HeschlError(
                f"column {int(flat.argmax())} of {name} never changes: leave it out (the intercept stands for it)"
            )
    kind = np.result_type(*(run.dtype for run in (*x, *y)))
    return [run.astype(kind, copy=False) for run in x], [run.astype(kind, copy=False) for run in y]


def column_means(runs: Sequence[Array]) -> Array:
    """(column,) means over the samples of all runs, in their precision."""
    total = sum(
        run[start : start + _ROWS].sum(0, dtype=np.float64)
        for run in runs
        for start in range(0, len(run), _ROWS)
    )
    return np.asarray(total / sum(len(run) for run in runs)).astype(runs[0].dtype)


def blocks(lengths: Sequence[int], folds: int | Sequence[int]) -> list[list[tuple[int, int, int]]]:
    """For each fold the stretches (run, start, stop) that it tests.

    With at least as many runs as folds, whole runs in their order; with fewer, the k-th of ``folds`` equal parts of
    every run. Never single samples: neighbours in time are nearly the same.

    folds: how many; or the fold of every run, numbered from 0.
    """
    if isinstance(folds, list | tuple):
        if len(folds) != len(lengths) or sorted(set(folds)) != list(range(max(2, len(set(folds))))):
            raise HeschlError(
                f"folds are {list(folds)} for {len(lengths)} runs: give each run one, from 0 on without a gap, two at least"
            )
        return [
            [(run, 0, lengths[run]) for run, own in enumerate(folds) if own == fold]
            for fold in range(max(folds) + 1)
        ]
    if not isinstance(folds, int | np.integer) or isinstance(folds, bool) or folds < 2:
        raise HeschlError(f"folds is {folds!r}: give a whole number of blocks, 2 or more")
    if len(lengths) >= folds:
        return [
            [(int(run), 0, lengths[run]) for run in part]
            for part in np.array_split(np.arange(len(lengths)), folds)
        ]
    cuts = [np.linspace(0, length, folds + 1).round().astype(int) for length in lengths]
    return [
        [(run, int(cut[fold]), int(cut[fold + 1])) for run, cut in enumerate(cuts)] for fold in range(folds)
    ]
