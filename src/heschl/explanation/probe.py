"""What can be read off a layer by a straight line? Linear probes, and what keeps them honest.

A probe is a linear map from a layer's units to a label, fitted on some speakers and judged on others. What it reads
is there to be read; it need not be used. Three things stand beside each score:

    chance      what guessing reaches: balanced accuracy of guessing, or R² = 0
    control     the same probe on labels that mean nothing but are fixed for each type of input (each word, say):
                what it can learn by heart. Selectivity is the score minus that (Hewitt and Liang 2019, section 2)
    untrained   the same probe on the same architecture before training (`steps.probe`)

Ridge: W minimises sum_i s_i |y_i - x_i W - b|² + penalty |W|², with one column of y a class (+1 where it is the class,
-1 elsewhere); the answer is the highest. Logistic: sum_i s_i (-log softmax(x_i W + b)[y_i]) + penalty / 2 |W|². The
intercept b is free. s_i = n / (classes * n of i's class), so that rare classes count as much as common ones; 1 for
numbers. Units are standardised by what the probe is fitted on. These are scikit-learn's conventions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from heschl.types import HeschlError

PENALTIES = tuple(
    10.0**k for k in range(-2, 6)
)  # what a probe may choose from, on speakers that it is not fitted on
FOLDS = 5
Kind = Literal["class", "number"]
Method = Literal["ridge", "logistic"]


@dataclass(frozen=True, eq=False)
class Probed:
    """What a probe answered, each sample by a probe that never heard its group.

    Attributes
    ----------
    kind: "class" or "number".
    truth: (sample,) class numbers, or numbers. answers: (sample,) likewise.
    base: (sample,) the mean of what the sample's probe was fitted on: what guessing answers, for numbers.
    groups: (sample,) numbers of the groups (speakers). classes: names, empty for numbers.
    penalties: chosen in each fold.
    """

    kind: Kind
    truth: np.ndarray
    answers: np.ndarray
    base: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    penalties: tuple[float, ...]

    @property
    def chance(self) -> float:
        return 1 / len(self.classes) if self.kind == "class" else 0.0


def probe(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    apart: npt.ArrayLike | None = None,
    kind: Kind = "class",
    method: Method = "ridge",
    folds: int = FOLDS,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
) -> Probed:
    """Fits a probe in each fold and answers what it was not fitted on.

    Parameters
    ----------
    x: (sample, unit). y: (sample,) labels, or numbers where ``kind`` is "number".
    groups: (sample,) who spoke: intervals are over them.
    apart: (sample,) what never stands on both sides of a fold; ``groups`` where it is not given. A speaker cannot be
        named by a probe that never heard them: keep words apart there.
    method: "ridge" (closed form) or "logistic" (for classes; many times slower).
    penalties: of which one is chosen in each fold, on groups that are held out of the fold's own fitting part.

    Raises
    ------
    HeschlError: fewer than three groups to keep apart, fewer than two classes, or numbers that are not finite.
    """
    x, groups = np.asarray(x, np.float64), np.asarray(groups)
    units = np.asarray(groups if apart is None else apart)
    _check(x, y, groups, units, penalties)
    n_units = len(np.unique(units))
    if n_units < 3 or folds < 3:
        raise HeschlError(
            f"there are {n_units} speakers (or other groups) to keep apart and {folds} folds: a probe needs three of "
            "each, to be fitted on one, tuned on one and judged on one"
        )
    whose = np.unique(groups, return_inverse=True)[1].reshape(-1)
    fold = fold_of(units, folds, seed)
    if kind == "class":
        names, truth = np.unique(np.asarray(y).astype(str), return_inverse=True)
        truth = truth.reshape(-1)
        if len(names) < 2:
            raise HeschlError(f"the only label is {names[0]}: a probe needs two classes at least")
    else:
        names, truth = np.zeros(0, dtype=str), np.asarray(y, np.float64)
        if not np.isfinite(truth).all():
            raise HeschlError("some numbers to be probed are not finite: leave those samples out")
        if method == "logistic":
            raise HeschlError("a logistic probe names classes: take method 'ridge' for numbers")
    answers, base = np.zeros(len(x)), np.zeros(len(x))
    chosen = []
    for k in range(int(fold.max()) + 1):
        held, fitted = fold == k, fold != k
        inner = fold_of(units[fitted], min(4, len(np.unique(units[fitted]))), seed + 1) == 0
        own, own_truth = x[fitted], truth[fitted]
        # each penalty answers the inner part; the best is then fitted on all of the fold
        found = _answers(own[~inner], own_truth[~inner], own[inner], penalties, len(names), method)
        values = [_value(kind, own_truth[inner], one, own_truth[~inner], len(names)) for one in found]
        best = penalties[int(np.argmax(values))]
        answers[held] = _answers(own, own_truth, x[held], [best], len(names), method)[0]
        base[held] = own_truth.mean() if kind == "number" else 0.0
        chosen.append(float(best))
    if kind == "class":
        answers = answers.astype(np.int64)
    return Probed(kind, truth, answers, base, whose, tuple(map(str, names)), tuple(chosen))


def _check(x: np.ndarray, y: Any, groups: np.ndarray, units: np.ndarray, penalties: Sequence[float]) -> None:
    n = len(x)
    if x.ndim != 2 or not n or np.shape(y) != (n,) or groups.shape != (n,) or units.shape != (n,):
        raise HeschlError(
            f"a probe got units {x.shape}, labels {np.shape(y)} and groups {groups.shape}: they must be "
            "(sample, unit), (sample,) and (sample,)"
        )
    if not np.isfinite(x).all():
        raise HeschlError("a probe got activity that is not finite: look at the network's weights and inputs")
    if not penalties or min(penalties) <= 0:
        raise HeschlError(f"the penalties are {list(penalties)}: give some above zero")


def fold_of(units: npt.ArrayLike, folds: int, seed: int = 0) -> np.ndarray:
    """(sample,) which fold each sample is held out in: whole units (speakers), dealt out evenly after a shuffle.

    Raises
    ------
    HeschlError: fewer than two different units, or fewer than two folds.
    """
    names, place = np.unique(np.asarray(units), return_inverse=True)
    if len(names) < 2 or folds < 2:
        raise HeschlError(
            f"{len(names)} groups cannot be dealt out to {folds} folds: give two of each at least"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    fold = np.empty(len(names), np.int64)
    fold[order] = np.arange(len(names)) % min(folds, len(names))
    return fold[place.reshape(-1)]


# --- fitting -------------------------------------------------------------------------------------------------


def _answers(
    x: np.ndarray, y: np.ndarray, new: np.ndarray, penalties: Sequence[float], n_classes: int, method: Method
) -> list[np.ndarray]:
    """For each penalty the answers to ``new``, after units are standardised by x."""
    mean, scale = x.mean(0), x.std(0)
    keep = scale > 1e-12 * (np.abs(mean) + 1e-300)  # a unit that never changes says nothing
    scale = np.where(keep, scale, 1.0)
    x, new = ((part - mean) / scale * keep for part in (x, new))
    if not n_classes:
        return [new @ w[:, 0] + b[0] for w, b in fit_ridge(x, y[:, None], penalties)]
    weights = class_weights(y, n_classes)
    if method == "ridge":
        fitted = fit_ridge(x, 2.0 * (y[:, None] == np.arange(n_classes)) - 1, penalties, weights)
    else:
        fitted = [fit_logistic(x, y, n_classes, penalty, weights) for penalty in penalties]
    return [(new @ w + b).argmax(1) for w, b in fitted]


def class_weights(y: np.ndarray, n_classes: int) -> np.ndarray:
    """(sample,) n / (classes that occur * n of the sample's class): every class weighs the same."""
    count = np.bincount(y, minlength=n_classes)
    return np.asarray(len(y) / ((count > 0).sum() * count[y]))


def fit_ridge(
    x: np.ndarray, y: np.ndarray, penalties: Sequence[float], weights: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ridge regression for several penalties out of one eigendecomposition.

    Parameters
    ----------
    x: (sample, unit). y: (sample, column). weights: (sample,) of the squared errors; None for 1.

    Returns
    -------
    for each penalty (W (unit, column), b (column,)), which minimise sum_i s_i |y_i - x_i W - b|² + penalty |W|².
    """
    s = np.ones(len(x)) if weights is None else weights
    x_mean, y_mean = s @ x / s.sum(), s @ y / s.sum()
    root = np.sqrt(s)[:, None]
    xc, yc = (x - x_mean) * root, (y - y_mean) * root
    if x.shape[1] <= len(x):
        values, vectors = np.linalg.eigh(xc.T @ xc)
        turned = vectors.T @ (xc.T @ yc)
        solved = [vectors @ (turned / (values.clip(0) + penalty)[:, None]) for penalty in penalties]
    else:  # fewer samples than units: the same W through the samples
        values, vectors = np.linalg.eigh(xc @ xc.T)
        turned = vectors.T @ yc
        solved = [xc.T @ (vectors @ (turned / (values.clip(0) + penalty)[:, None])) for penalty in penalties]
    return [(w, y_mean - x_mean @ w) for w in solved]


def fit_logistic(
    x: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    penalty: float,
    weights: np.ndarray | None = None,
    tolerance: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression by L-BFGS: (W (unit, class), b (class,)); the module's text says of what."""
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    s = np.ones(len(x)) if weights is None else weights
    truth = (y[:, None] == np.arange(n_classes)).astype(float)
    shape = (x.shape[1] + 1, n_classes)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        both = flat.reshape(shape)
        logits = x @ both[:-1] + both[-1]
        logs = logits - logsumexp(logits, 1, keepdims=True)
        value = -(s * (logs * truth).sum(1)).sum() + penalty / 2 * (both[:-1] ** 2).sum()
        error = (np.exp(logs) - truth) * s[:, None]
        slope = np.concatenate([x.T @ error + penalty * both[:-1], error.sum(0, keepdims=True)])
        return float(value), slope.ravel()

    options = {"maxiter": 2000, "maxfun": 4000, "ftol": tolerance * 1e-4, "gtol": tolerance * len(x)}
    found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=options)
    both = found.x.reshape(shape)
    return both[:-1], both[-1]


# --- scores --------------------------------------------------------------------------------------------------


def _value(kind: Kind, truth: np.ndarray, answers: np.ndarray, fitted: np.ndarray, n_classes: int) -> float:
    if kind == "class":
        return balanced(truth, answers, n_classes)
    return 1 - float(((truth - answers) ** 2).sum() / max(((truth - fitted.mean()) ** 2).sum(), 1e-300))


def balanced(
    truth: np.ndarray, answers: np.ndarray, n_classes: int, weights: np.ndarray | None = None
) -> float:
    """Balanced accuracy of (sample,) class numbers: the mean, over classes that occur, of the share right."""
    weights = np.ones(len(truth)) if weights is None else weights
    said = np.bincount(truth, weights, n_classes)
    right = np.bincount(truth, weights * (truth == answers), n_classes)
    return float((right[said > 0] / said[said > 0]).mean())


def score(found: Probed, weights: np.ndarray | None = None) -> float:
    """Balanced accuracy, or R² against the mean of the fitting part; weights (sample,), 1 each if not given.

    `heschl.tasks.intervals.weighed` draws weights and gives the interval.
    """
    if found.kind == "class":
        return balanced(found.truth, found.answers, len(found.classes), weights)
    weights = np.ones(len(found.truth)) if weights is None else weights
    error, spread = ((found.truth - one) ** 2 for one in (found.answers, found.base))
    return float(1 - weights @ error / max(weights @ spread, 1e-300))


def difference(one: Probed, other: Probed, weights: np.ndarray | None = None) -> float:
    """How much better one probe is than another on the same samples.

    Selectivity is `difference(task, control)`; what training gave is `difference(trained, untrained)`.

    Raises
    ------
    HeschlError: they were not asked about the same samples of the same groups.
    """
    if one.kind != other.kind or not np.array_equal(one.groups, other.groups):
        raise HeschlError("two probes are compared on the same samples, and these were asked about others")
    return score(one, weights) - score(other, weights)


# --- labels that mean nothing --------------------------------------------------------------------------------


def control_labels(types: npt.ArrayLike, y: npt.ArrayLike, seed: int = 0) -> np.ndarray:
    """A label for each sample that hangs on its type alone, and on that by chance (Hewitt and Liang 2019, eq. 1).

    Parameters
    ----------
    types: (sample,) what a probe could learn by heart: the word, or the word and the place of a phone in it.
    y: (sample,) the true labels or numbers. Each type takes the label of a sample that is drawn from all, so that
        labels are as common as in the task, up to chance.
    """
    values = np.asarray(y)
    names, place = np.unique(np.asarray(types).astype(str), return_inverse=True)
    if values.shape != place.shape:
        raise HeschlError(f"there are {place.shape} types for {values.shape} labels: give one to a sample")
    generator = np.random.default_rng(seed)
    drawn = values[generator.integers(len(values), size=len(names))]
    if len(names) > 1 and len(np.unique(drawn)) < 2 <= len(np.unique(values)):  # a task needs two classes
        drawn[generator.integers(len(names))] = values[values != drawn[0]][0]
    return np.asarray(drawn[place])
