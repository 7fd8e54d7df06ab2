"""Linear probes against scikit-learn, closed forms and simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import linear_model, metrics

from heschl.explanation import probe as pr
from heschl.types import HeschlError


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 20)
    y = rng.integers(3, size=240)
    x = rng.standard_normal((240, 8)) * [1, 5, 0.1, 1, 1, 1, 1, 1] + 3
    x[:, 2] += 0.2 * (y == 1)
    x[:, 4] += 2.0 * (y == 2)
    return x, y, groups


# --- fitting, against scikit-learn -------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(60, 7), (20, 45)])
def test_ridge_is_scikit_learns(shape):
    rng = np.random.default_rng(1)
    x, y, s = (
        rng.standard_normal(shape) + 2,
        rng.standard_normal((shape[0], 2)),
        rng.uniform(0.2, 3, shape[0]),
    )
    for penalty, (w, b) in zip((0.1, 30.0), pr.fit_ridge(x, y, (0.1, 30.0), s), strict=True):
        oracle = linear_model.Ridge(alpha=penalty).fit(x, y, sample_weight=s)
        assert np.allclose(w, oracle.coef_.T, atol=1e-9)
        assert np.allclose(b, oracle.intercept_, atol=1e-9)


def test_ridge_solves_its_normal_equations():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((30, 5)), rng.standard_normal((30, 1))
    ((w, b),) = pr.fit_ridge(x, y, [3.0])
    assert np.allclose(x.T @ (y - x @ w - b), 3.0 * w)
    assert np.allclose((y - x @ w - b).sum(0), 0)


def test_classes_are_weighed_as_scikit_learn_balances_them(data):
    x, y, _ = data
    y = np.where(np.arange(240) < 150, 0, y)
    weights = pr.class_weights(y, 3)
    signs = 2.0 * (y[:, None] == np.arange(3)) - 1
    ((w, b),) = pr.fit_ridge(x, signs, [2.0], weights)
    oracle = linear_model.RidgeClassifier(alpha=2.0, class_weight="balanced").fit(x, y)
    assert np.allclose(x @ w + b, oracle.decision_function(x), atol=1e-8)


def test_logistic_is_scikit_learns(data):
    x, y, _ = data
    weights = pr.class_weights(y, 3)
    w, b = pr.fit_logistic(x, y, 3, 2.0, weights)
    oracle = linear_model.LogisticRegression(C=0.5, tol=1e-10, max_iter=5000, class_weight="balanced").fit(
        x, y
    )
    ours, theirs = x @ w + b, x @ oracle.coef_.T + oracle.intercept_
    assert np.allclose(w, oracle.coef_.T, atol=2e-4)
    assert np.allclose(ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True), atol=1e-3)


# --- folds and scores --------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=4, max_size=60), st.integers(2, 6), st.integers(0, 99))
def test_folds_keep_units_whole_and_hold_out_each_once(units, folds, seed):
    if len(set(units)) < 2:
        return
    fold = pr.fold_of(units, folds, seed)
    for unit in set(units):
        assert len({int(f) for f, u in zip(fold, units, strict=True) if u == unit}) == 1
    assert set(fold) == set(range(min(folds, len(set(units)))))


def test_a_planted_unit_is_found_and_scores_are_those_of_scikit_learn(data):
    x, y, groups = data
    found = pr.probe(x, y, groups)
    value = pr.score(found)
    assert value == pytest.approx(metrics.balanced_accuracy_score(found.truth, found.answers))
    assert value > 0.7
    without = pr.probe(np.delete(x, [2, 4], 1), y, groups)
    assert pr.difference(found, without) == pytest.approx(value - pr.score(without))
    assert pr.difference(found, without) > 0.3
    often = np.random.default_rng(1).integers(0, 4, 240).astype(float)
    wanted = metrics.balanced_accuracy_score(found.truth, found.answers, sample_weight=often)
    assert pr.score(found, often) == pytest.approx(wanted)


def test_each_answer_comes_from_a_probe_that_never_heard_its_group(data):
    x, _, groups = data
    # the label is the group: speaker-disjoint probes cannot know a group that they never heard
    found = pr.probe(np.c_[x, np.eye(12)[groups]], groups % 4, groups)
    assert pr.score(found) < 0.55
    apart = pr.probe(np.c_[x, np.eye(12)[groups]], groups % 4, groups, apart=np.arange(240) % 20)
    assert pr.score(apart) == 1.0
    for method in ("ridge", "logistic"):
        one = pr.probe(x, groups % 3, groups, folds=3, penalties=[1.0], method=method)
        held = pr.fold_of(groups, 3) == 1
        other = x.copy()
        other[held] += 100  # the held-out part does not reach what was fitted
        two = pr.probe(other, groups % 3, groups, folds=3, penalties=[1.0], method=method)
        mean, sd = x[~held].mean(0), x[~held].std(0)
        y = (groups % 3)[~held]
        if method == "ridge":
            oracle = linear_model.RidgeClassifier(alpha=1.0, class_weight="balanced")
        else:
            oracle = linear_model.LogisticRegression(C=1.0, class_weight="balanced", tol=1e-9, max_iter=999)
        oracle.fit((x[~held] - mean) / sd, y)
        assert (one.answers[held] == oracle.predict((x[held] - mean) / sd)).all()
        assert (two.answers[held] == oracle.predict((other[held] - mean) / sd)).all()


def test_random_labels_give_chance(data):
    x, _, groups = data
    rng = np.random.default_rng(5)
    values = [pr.score(pr.probe(x, rng.integers(3, size=240), groups)) for _ in range(12)]
    assert abs(np.mean(values) - 1 / 3) < 0.05


def test_numbers(data):
    x, _, groups = data
    y = 2 * x[:, 0] - x[:, 5] + 0.5 * np.random.default_rng(3).standard_normal(240) + 100
    found = pr.probe(x, y, groups, kind="number")
    assert 0.9 < pr.score(found) <= 1
    assert pr.score(found) == pytest.approx(metrics.r2_score(found.truth, found.answers), abs=0.01)
    doubled = pr.Probed(*(np.tile(v, 2) if isinstance(v, np.ndarray) else v for v in vars(found).values()))
    once = np.repeat([1.0, 0.0], 240)
    once[240:][groups == 3] = 1.0  # a group that is drawn twice counts as one that is there twice
    assert pr.score(doubled, once) == pytest.approx(pr.score(found, 1.0 + (groups == 3)))
    assert abs(pr.score(pr.probe(x[:, 6:7], y, groups, kind="number"))) < 0.1


# --- control labels ----------------------------------------------------------------------------------------


def test_control_labels_hang_on_the_type_alone_and_are_as_common():
    types = np.repeat(np.arange(3000), 2)
    y = np.array(["a"] * 4500 + ["b"] * 1500)
    drawn = pr.control_labels(types, y, seed=1)
    assert (drawn[::2] == drawn[1::2]).all()
    assert np.mean(drawn == "b") == pytest.approx(0.25, abs=0.03)
    assert (pr.control_labels(types, y, seed=1) == drawn).all()
    assert (pr.control_labels(types, y, seed=2) != drawn).any()


def test_selectivity_tells_reading_from_learning_by_heart():
    """A layer that holds only the word lets a probe learn any labels of words: high score, low selectivity."""
    rng = np.random.default_rng(4)
    word = np.tile(np.arange(24), 10)
    groups = np.repeat(np.arange(10), 24)
    sort = word % 2
    names_word = np.eye(24)[word] + 0.05 * rng.standard_normal((240, 24))
    names_sort = np.c_[sort + 0.2 * rng.standard_normal(240), rng.standard_normal((240, 23))]
    control = pr.control_labels(word, sort, seed=0)
    selective = []
    for x in (names_word, names_sort):
        task, memory = pr.probe(x, sort, groups), pr.probe(x, control, groups)
        assert pr.score(task) > 0.9
        selective.append(pr.difference(task, memory))
    assert abs(selective[0]) < 0.05
    assert selective[1] > 0.3


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"groups": np.arange(240) % 2}, "needs three"),
        ({"y": np.zeros(240)}, "only label"),
        ({"y": np.zeros(3)}, "labels"),
        ({"x": np.full((240, 8), np.nan)}, "not finite"),
        ({"penalties": [0.0]}, "penalties"),
        ({"kind": "number", "method": "logistic"}, "ridge"),
        ({"kind": "number", "y": np.full(240, np.inf)}, "not finite"),
        ({"folds": 1}, "folds"),
    ],
)
def test_bad_input_is_told(data, change, said):
    x, y, groups = data
    given_all = {"x": x, "y": y, "groups": groups, **change}
    with pytest.raises(HeschlError, match=said):
        pr.probe(given_all.pop("x"), given_all.pop("y"), given_all.pop("groups"), **given_all)


def test_units_that_never_change_and_other_samples(data):
    x, y, groups = data
    dead = np.c_[x, np.zeros(240), np.full(240, 7.0)]
    assert (pr.probe(dead, y, groups).answers == pr.probe(x, y, groups).answers).all()
    with pytest.raises(HeschlError, match="same samples"):
        pr.difference(pr.probe(x, y, groups), pr.probe(x[:200], y[:200], groups[:200]))
