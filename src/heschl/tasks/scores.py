"""How good a network's answers are: numbers with their interval, chance level and tables. Pure numpy.

Everything starts from how often each class was said, understood and answered, so that each number can be recomputed
from the confusion matrix in a run's folder. Intervals are 95 % percentile intervals by bootstrap over
*groups* (speakers): whole speakers are drawn with replacement, because clips of one speaker resemble each other
and an interval over clips would be too narrow (Efron and Tibshirani 1993, chapter 8.5; Field and Welsh 2007).
A bootstrap of fewer than `FEW` groups has no tails: of four it holds the truth 80 times in 100. There the interval is the
value and Student's t times the jackknife's standard error over groups, and never narrower than that over clips, since
four groups may be alike by luck; so it holds the truth 93 to 98 times in 100 (tests/tasks/test_coverage.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from heschl.types import HeschlError

BINS = 15  # of the calibration error, as in Guo et al. 2017
DRAWS = 1000
FEW = 8  # groups: below it a bootstrap is replaced
THIN = 5  # groups: a class of fewer (and not of all) is often missing from a bootstrap sample


# --- numbers from counts -----------------------------------------------------------------------------------


class Counts(NamedTuple):
    """How often each class was said and understood, said at all, and answered: (class,) each.

    They are the diagonal and the margins of the confusion matrix, which for thousands of classes is never made.
    """

    right: np.ndarray
    said: np.ndarray
    answered: np.ndarray


def count(truth: np.ndarray, guess: np.ndarray, n_classes: int, weights: np.ndarray | None = None) -> Counts:
    """From two (n,) arrays of class numbers; ``weights`` (n,) says how often each pair occurred."""
    truth, guess = _classes(truth, guess, n_classes)
    weights = np.ones(len(truth), np.int64) if weights is None else weights
    alike = truth == guess
    pairs = ((truth[alike], weights[alike]), (truth, weights), (guess, weights))
    return Counts(*(np.bincount(which, times, minlength=n_classes) for which, times in pairs))


def confusion(truth: np.ndarray, guess: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts (class said, class answered) from two (n,) arrays of class numbers."""
    truth, guess = _classes(truth, guess, n_classes)
    matrix: np.ndarray = np.bincount(truth * n_classes + guess, minlength=n_classes**2)
    return matrix.reshape(n_classes, n_classes)


def _classes(truth: np.ndarray, guess: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
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


STATISTICS = {"balanced_accuracy": balanced_accuracy, "accuracy": accuracy, "macro_f1": macro_f1}


# --- numbers from the network's probabilities --------------------------------------------------------------


def top_k(scores: np.ndarray, truth: np.ndarray, k: int) -> float:
    """Share of clips (n,) whose class is among the k highest scores (n, class); ties go to the lower class."""
    scores, truth = np.asarray(scores, float), np.asarray(truth, np.int64)
    own = np.take_along_axis(scores, truth[:, None], 1)
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < truth[:, None]))
    return float((before.sum(1) < k).mean()) if len(truth) else float("nan")


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: how far confidence lies from accuracy, weighted over bins of confidence.

    sum over bins of |mean confidence - share right| * share of clips (Guo et al. 2017, equation 3), bins of
    equal width, the upper edge belonging to the bin.
    """
    probabilities = np.asarray(probabilities, float)
    if not len(probabilities):
        return float("nan")
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == np.asarray(truth)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=confidence - right, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, in float64."""
    logits = np.asarray(logits, float)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    total: np.ndarray = powers.sum(-1, keepdims=True)
    return np.asarray(powers / total)


# --- intervals ---------------------------------------------------------------------------------------------


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
    truth, guess = _classes(truth, guess, n_classes)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return dict.fromkeys(STATISTICS, (float("nan"), float("nan")))
    if len(names) < FEW:
        whole = count(truth, guess, n_classes)
        without = [count(truth[group != k], guess[group != k], n_classes) for k in range(len(names))]
        of_units = (
            np.arange(len(truth)) if units is None else np.unique(np.asarray(units), return_inverse=True)[1]
        )
        inner: dict[str, tuple[float, float]] = {}
        if len(np.unique(of_units)) > len(names):
            inner = intervals(truth, guess, of_units, n_classes, draws=draws, seed=seed)
        return {
            name: few_groups(
                statistic(whole), [statistic(one) for one in without], inner.get(name), (0.0, 1.0)
            )
            for name, statistic in STATISTICS.items()
        }
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


# --- everything about a part -------------------------------------------------------------------------------


def classification_scores(
    logits: np.ndarray,
    truth: np.ndarray,
    groups: Sequence[Any] | np.ndarray | None,
    *,
    by: str = "speaker",
    seed: int = 0,
) -> dict[str, Any]:
    """All scores of one part, ready for JSON.

    Parameters
    ----------
    logits: (clip, class). truth: (clip,) class numbers.
    groups: (clip,) the speaker of each, or None where they are unknown.
    by: what the groups are ("speaker").

    Returns
    -------
    n, n_groups, classes (that the network knows), classes_said (that occur), chance (1 / classes), majority (always
    answering the commonest class here), interval_over, interval_note, thin_classes (how many come from fewer than five
    groups, so that the interval of balanced accuracy is loose), calibration_error, top_k, and for each of `STATISTICS`
    {"value", "low", "high"}; what cannot be computed is None.
    """
    logits, truth = np.asarray(logits, float), np.asarray(truth, np.int64)
    if len(truth) == 0:
        raise HeschlError(
            "there is nothing to score: no clip of this part has a label that the network knows"
        )
    n_classes = logits.shape[1]
    probabilities = softmax(logits)
    return {
        **counted_scores(truth, logits.argmax(1), groups, n_classes, by=by, unit="clip", seed=seed),
        "calibration_error": number(calibration_error(probabilities, truth)),
        "top_k": {str(k): number(top_k(logits, truth, k)) for k in (3, 5) if k < n_classes},
    }


def counted_scores(
    truth: np.ndarray,
    guess: np.ndarray,
    groups: Sequence[Any] | np.ndarray | None,
    n_classes: int,
    *,
    by: str = "speaker",
    unit: str = "clip",
    clips: Sequence[Any] | np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The part of the scores that needs answers alone; ``clips`` names each frame's clip where the unit is a frame."""
    counts = count(truth, guess, n_classes)
    n_groups = None if groups is None or by == "clip" else len(np.unique(np.asarray(groups)))
    over, note = by, ""
    if n_groups is None:
        over, note = "clip", "interval over clips; speakers may cross"
    elif n_groups < 2:
        over, note = "clip", f"interval over clips of one {by}: it says nothing about others"
    units = clips if clips is not None else np.arange(len(truth))
    drawn = groups if over != "clip" and groups is not None else units
    bounds = intervals(truth, guess, drawn, n_classes, units=units, seed=seed)
    names, group = np.unique(np.asarray(drawn), return_inverse=True)
    pairs = np.unique(np.asarray(truth, np.int64) * len(names) + group)
    per_class = np.bincount(pairs // len(names))
    return {
        "n": len(truth),
        "unit": unit,
        "group": by,
        "n_groups": n_groups,
        "classes": n_classes,
        "classes_said": int((counts.said > 0).sum()),
        "chance": 1 / n_classes,
        "majority": float(counts.said.max() / counts.said.sum()),
        "interval_over": over,
        "interval_note": note,
        "thin_classes": int(((per_class > 0) & (per_class < min(THIN, len(names)))).sum()),
        **{
            name: {
                "value": number(statistic(counts)),
                "low": number(bounds[name][0]),
                "high": number(bounds[name][1]),
            }
            for name, statistic in STATISTICS.items()
        },
    }


def loose(main: Mapping[str, Any]) -> str:
    """A sentence where an interval of balanced accuracy is not to be leaned on; empty where it is."""
    thin, over = main.get("thin_classes", 0), main["interval_over"]
    if not thin:
        return ""
    return f"{thin} of {main['classes_said']} classes come from fewer than five {over}s: the interval of balanced accuracy is loose"


def class_table(matrix: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """One row a class: how often it was said, understood (recall), rightly answered (precision), F1, taken for what."""
    rows = []
    for k, label in enumerate(labels):
        said, answered, right = int(matrix[k].sum()), int(matrix[:, k].sum()), int(matrix[k, k])
        wrong = matrix[k].copy()
        wrong[k] = 0
        rows.append(
            {
                "label": label,
                "n": said,
                "answered": answered,
                "right": right,
                "recall": number(ratio(right, said)),
                "precision": number(ratio(right, answered)),
                "f1": number(ratio(2 * right, said + answered)),
                "most_taken_for": labels[int(wrong.argmax())] if wrong.any() else "",
            }
        )
    return rows


def group_table(
    truth: np.ndarray,
    guess: np.ndarray,
    groups: Sequence[Any] | np.ndarray,
    n_classes: int,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row a group (speaker): n, accuracy with a 95 % interval over its own clips, balanced accuracy; worst first.

    The interval is Wilson's (1927), which stays inside [0, 1] and has a width where all answers are right.
    """
    truth, guess, groups = np.asarray(truth), np.asarray(guess), np.asarray(groups)
    rows = []
    for group in np.unique(groups):
        own = groups == group
        counts = count(truth[own], guess[own], n_classes)
        low, high = wilson(int(counts.right.sum()), int(own.sum()))
        rows.append(
            {
                "group": str(group),
                "n": int(own.sum()),
                "accuracy": number(accuracy(counts)),
                "low": low,
                "high": high,
                "balanced_accuracy": number(balanced_accuracy(counts)),
            }
        )
    return sorted(rows, key=lambda row: (row["accuracy"], row["group"]))


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, right out of n."""
    if n == 0:
        return 0.0, 1.0
    z2 = 1.959963984540054**2
    middle = (right + z2 / 2) / (n + z2)
    half = np.sqrt(z2) / (n + z2) * np.sqrt(right * (n - right) / n + z2 / 4)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def top_confusions(matrix: np.ndarray, labels: Sequence[str], n: int = 20) -> list[dict[str, Any]]:
    """The n commonest mistakes: said, answered, how often, and which share of what was said."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    rows = []
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:n]:
        said, answered = divmod(int(flat), len(labels))
        if wrong[said, answered] == 0:
            break
        count = int(wrong[said, answered])
        share = count / int(matrix[said].sum())
        rows.append({"said": labels[said], "answered": labels[answered], "n": count, "share": share})
    return rows


def number(value: Any) -> float | None:
    """A plain number for JSON; None where there is none."""
    value = float(value)
    return value if np.isfinite(value) else None


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (n - 1) over folds or seeds; no deviation of one value."""
    array = np.asarray(values, float)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def told(score: dict[str, float | None], percent: bool = True) -> str:
    """An estimate for a person: `93.2 % [90.1, 95.4]`, with two significant digits of the interval's width."""
    value, low, high = score["value"], score.get("low"), score.get("high")
    if value is None:
        return "not known"
    factor, unit = (100.0, "\u202f%") if percent else (1.0, "")
    if low is None or high is None:
        return f"{factor * value:.{1 if percent else 3}f}{unit}"
    width = factor * (high - low)
    digits = int(np.clip(1 - np.floor(np.log10(width)), 0, 4)) if width > 0 else 1
    return f"{factor * value:.{digits}f}{unit} [{factor * low:.{digits}f}, {factor * high:.{digits}f}]"
