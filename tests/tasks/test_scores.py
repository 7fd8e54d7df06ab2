"""The numbers, against scikit-learn, torchmetrics and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torchmetrics.functional.classification import multiclass_calibration_error

from heschl.tasks import scores
from heschl.tasks.counts import accuracy, balanced_accuracy, confusion, count, macro_f1
from heschl.tasks.intervals import intervals, wilson
from heschl.types import HeschlError


def answers(n: int = 400, classes: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Uneven classes, answers that are right more often than not, 12 speakers of different quality."""
    random = np.random.default_rng(seed)
    truth = random.choice(classes, size=n, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    speaker = random.integers(12, size=n)
    logits = random.normal(size=(n, classes)) * 1.5
    logits[np.arange(n), truth] += 0.3 * speaker
    return logits, truth, np.array([f"s{k}" for k in speaker])


@pytest.mark.filterwarnings("ignore:.*")
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30),
)
def test_counted_scores_agree_with_scikit_learn(pairs):
    truth, guess = (np.array(side) for side in zip(*pairs, strict=True))
    matrix = confusion(truth, guess, 5)
    assert (matrix == metrics.confusion_matrix(truth, guess, labels=range(5))).all()
    counts = count(truth, guess, 5)
    assert (counts.right == np.diag(matrix)).all()
    assert (counts.said == matrix.sum(1)).all() and (counts.answered == matrix.sum(0)).all()
    assert accuracy(counts) == pytest.approx(metrics.accuracy_score(truth, guess))
    assert balanced_accuracy(counts) == pytest.approx(metrics.balanced_accuracy_score(truth, guess))
    assert macro_f1(counts) == pytest.approx(metrics.f1_score(truth, guess, average="macro", zero_division=0))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k_agrees_with_scikit_learn(k):
    logits, truth, _ = answers()
    assert scores.top_k(logits, truth, k) == pytest.approx(
        metrics.top_k_accuracy_score(truth, logits, k=k, labels=range(7))
    )


def test_ties_in_top_k_do_not_help():
    flat = np.zeros((5, 5))
    assert scores.top_k(flat, np.arange(5), 1) == pytest.approx(1 / 5)


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_agrees_with_torchmetrics(seed):
    logits, truth, _ = answers(seed=seed)
    expected = multiclass_calibration_error(
        torch.tensor(scores.softmax(logits)), torch.tensor(truth), num_classes=7, n_bins=15, norm="l1"
    )
    assert scores.calibration_error(scores.softmax(logits), truth) == pytest.approx(float(expected), abs=1e-6)


def test_softmax_agrees_with_torch():
    logits = np.random.default_rng(0).normal(size=(4, 9)) * 300
    assert np.allclose(scores.softmax(logits), torch.tensor(logits).softmax(-1).numpy(), atol=1e-12)


def test_intervals_agree_with_a_bootstrap_that_really_draws_the_clips():
    logits, truth, groups = answers(150, 4)
    guess = logits.argmax(1)
    ours = intervals(truth, guess, list(groups), 4, draws=200, seed=3)
    names = np.unique(groups)
    generator = np.random.default_rng(3)
    drawn = []
    for _ in range(200):
        chosen = [names[k] for k in generator.integers(len(names), size=len(names))]
        index = np.concatenate([np.flatnonzero(groups == name) for name in chosen])
        drawn.append(metrics.balanced_accuracy_score(truth[index], guess[index]))
    assert ours["balanced_accuracy"] == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=1e-12)


def test_speakers_make_a_wider_interval_than_clips():
    logits, truth, groups = answers(1200)
    guess = logits.argmax(1)
    by_speaker = intervals(truth, guess, list(groups), 7)["accuracy"]
    by_clip = intervals(truth, guess, np.arange(len(truth)), 7)["accuracy"]
    assert by_speaker[1] - by_speaker[0] > 1.5 * (by_clip[1] - by_clip[0])


def test_an_interval_over_clips_is_the_binomial_one():
    truth = np.zeros(1000, int)
    guess = (np.arange(1000) < 300).astype(int)
    low, high = intervals(truth, guess, np.arange(1000), 2)["accuracy"]
    half = 1.96 * math.sqrt(0.7 * 0.3 / 1000)
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half), abs=0.004)


def test_wilson_solves_its_own_equation():
    for right, n in [(0, 5), (3, 7), (50, 50), (999, 1000)]:
        for edge in wilson(right, n):  # (share - edge)^2 = z^2 edge (1 - edge) / n
            assert (right / n - edge) ** 2 == pytest.approx(
                1.959963984540054**2 * edge * (1 - edge) / n, abs=1e-9
            )


def test_classes_of_few_speakers_are_counted_and_told():
    truth = np.array([0] * 9 + [1] * 9 + [2] * 9)
    groups = [f"s{k % 5}" for k in range(9)] + [f"s{k % 4}" for k in range(9)] + ["s0"] * 9
    held = scores.counted_scores(truth, truth, groups, 4)
    assert held["thin_classes"] == 2  # the last class is not said at all
    assert scores.loose(held) == (
        "2 of 3 classes come from fewer than five speakers: the interval of balanced accuracy is loose"
    )
    assert scores.loose(scores.counted_scores(truth[:9], truth[:9], groups[:9], 2)) == ""
    everybody = scores.counted_scores(truth[9:18], truth[9:18], groups[9:18], 2)
    assert everybody["n_groups"] == 4 and everybody["thin_classes"] == 0  # no sample can lack the class


def test_what_is_said_about_intervals():
    logits, truth, groups = answers()
    many = scores.classification_scores(logits, truth, list(groups))
    assert (many["interval_over"], many["interval_note"], many["n_groups"]) == ("speaker", "", 12)
    unknown = scores.classification_scores(logits, truth, None)
    assert unknown["interval_over"] == "clip" and unknown["n_groups"] is None
    assert unknown["interval_note"] == "interval over clips; speakers may cross"
    one = scores.classification_scores(logits, truth, ["jo"] * len(truth))
    assert one["interval_over"] == "clip" and "one speaker" in one["interval_note"]
    assert many["chance"] == pytest.approx(1 / 7)
    assert many["majority"] == pytest.approx(np.bincount(truth).max() / len(truth))
    assert set(many["top_k"]) == {"3", "5"}


def test_one_clip_has_scores_and_no_interval():
    only = scores.classification_scores(np.array([[1.0, 2.0]]), np.array([1]), ["jo"])
    assert only["accuracy"] == {"value": 1.0, "low": None, "high": None}


def test_tables_agree_with_scikit_learn():
    logits, truth, groups = answers()
    guess = logits.argmax(1)
    matrix = confusion(truth, guess, 7)
    precision, recall, f1, n = metrics.precision_recall_fscore_support(
        truth, guess, labels=range(7), zero_division=0
    )
    rows = scores.class_table(matrix, list("abcdefg"))
    assert [row["n"] for row in rows] == list(n)
    assert [row["recall"] for row in rows] == pytest.approx(list(recall))
    assert [row["precision"] for row in rows] == pytest.approx(list(precision))
    assert [row["f1"] for row in rows] == pytest.approx(list(f1))
    speakers = scores.group_table(truth, guess, list(groups), 7)
    assert [row["accuracy"] for row in speakers] == sorted(row["accuracy"] for row in speakers)
    for row in speakers:
        own = groups == row["group"]
        assert row["accuracy"] == pytest.approx((truth[own] == guess[own]).mean())
        assert row["low"] <= row["accuracy"] <= row["high"]


def test_top_confusions_are_the_largest_cells_beside_the_diagonal():
    matrix = np.array([[5, 3, 0], [1, 9, 2], [0, 0, 4]])
    rows = scores.top_confusions(matrix, ["a", "b", "c"])
    assert [(row["said"], row["answered"], row["n"]) for row in rows] == [
        ("a", "b", 3),
        ("b", "c", 2),
        ("b", "a", 1),
    ]
    assert rows[0]["share"] == 3 / 8


def test_nothing_to_score_and_classes_outside_are_refused():
    with pytest.raises(HeschlError, match="nothing to score"):
        scores.classification_scores(np.zeros((0, 3)), np.zeros(0, int), None)
    with pytest.raises(HeschlError, match="class 3"):
        confusion(np.array([0, 3]), np.array([0, 1]), 3)


def test_mean_and_sd():
    assert scores.mean_and_sd([1.0, 2.0, 4.0]) == pytest.approx((7 / 3, np.std([1, 2, 4], ddof=1)))
    assert scores.mean_and_sd([1.0]) == (1.0, None)


def test_estimates_are_told_with_two_digits_of_their_interval():
    assert scores.told({"value": 0.93217, "low": 0.9012, "high": 0.9544}) == "93.2\u202f% [90.1, 95.4]"
    assert scores.told({"value": 0.5, "low": 0.31, "high": 0.68}) == "50\u202f% [31, 68]"
    assert scores.told({"value": 1.0, "low": 1.0, "high": 1.0}) == "100.0\u202f% [100.0, 100.0]"
    assert scores.told({"value": 0.5, "low": None, "high": None}) == "50.0\u202f%"
    assert scores.told({"value": None}) == "not known"
