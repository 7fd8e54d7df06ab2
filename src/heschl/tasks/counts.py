"""How often each class was said, understood and answered, and the numbers that follow from it. Pure numpy.

Each number can be recomputed from the confusion matrix in a run's folder.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from heschl.types import HeschlError


class Counts(NamedTuple):
    """How often each class was said and understood, said at all, and answered: (class,) each.

    They are the diagonal and the margins of the confusion matrix, which for thousands of classes is never made.
    """

    right: np.ndarray
    said: np.ndarray
    answered: np.ndarray


def count(truth: np.ndarray, guess: np.ndarray, n_classes: int, weights: np.ndarray | None = None) -> Counts:
    """From two (n,) arrays of class numbers; ``weights`` (n,) says how often each pair occurred."""
    truth, guess = class_numbers(truth, guess, n_classes)
    weights = np.ones(len(truth), np.int64) if weights is None else weights
    alike = truth == guess
    pairs = ((truth[alike], weights[alike]), (truth, weights), (guess, weights))
    return Counts(*(np.bincount(which, times, minlength=n_classes) for which, times in pairs))


def confusion(truth: np.ndarray, guess: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts (class said, class answered) from two (n,) arrays of class numbers."""
    truth, guess = class_numbers(truth, guess, n_classes)
    matrix: np.ndarray = np.bincount(truth * n_classes + guess, minlength=n_classes**2)
    return matrix.reshape(n_classes, n_classes)


def class_numbers(truth: np.ndarray, guess: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    truth, guess = np.asarray(truth, np.int64), np.asarray(guess, np.int64)
    if truth.shape != guess.shape or truth.ndim != 1:
        raise HeschlError(
            f"truth {truth.shape} and answers {guess.shape} must be two lists of the same length"
        )
    for name, values in (("truth", truth), ("answer", guess)):
        if len(values) and not (values.min() >= 0 and values.max() < n_classes):
            wrong = values.min() if values.min() < 0 else values.max()
            raise HeschlError(
                f"there is a {name} of class {wrong}, and the classes run from 0 to {n_classes - 1}"
            )
    return truth, guess


def accuracy(counts: Counts) -> float:
    """Share of right answers; not a number where there are none."""
    return float(ratio(counts.right.sum(), counts.said.sum()))


def balanced_accuracy(counts: Counts) -> float:
    """Mean over the classes that were said of the share of them that was understood."""
    there = counts.said > 0
    return float(ratio(ratio(counts.right, counts.said)[there].sum(), there.sum()))


def macro_f1(counts: Counts) -> float:
    """Mean F1 over the classes that were said or answered."""
    seen = counts.said + counts.answered
    there = seen > 0
    return float(ratio(ratio(2 * counts.right, seen)[there].sum(), there.sum()))


def ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> np.ndarray:
    """part / whole, not a number where the whole is zero."""
    above, below = np.asarray(part, float), np.asarray(whole, float)
    found = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=found, where=below > 0)
    return found


def number(value: Any) -> float | None:
    """A plain number for JSON; None where there is none."""
    value = float(value)
    return value if np.isfinite(value) else None


STATISTICS = {"balanced_accuracy": balanced_accuracy, "accuracy": accuracy, "macro_f1": macro_f1}
