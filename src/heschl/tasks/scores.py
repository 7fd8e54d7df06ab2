"""How good a network's answers are: everything about one part of the data, with interval and chance level beside. Pure numpy.

The numbers are those of `heschl.tasks.counts` and of the network's probabilities, the intervals those of
`heschl.tasks.intervals`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from heschl.tasks.counts import STATISTICS, accuracy, balanced_accuracy, count, number, ratio
from heschl.tasks.intervals import intervals, wilson
from heschl.types import HeschlError

BINS = 15  # of the calibration error, as in Guo et al. 2017
THIN = 5  # groups: a class of fewer (and not of all) is often missing from a bootstrap sample


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
