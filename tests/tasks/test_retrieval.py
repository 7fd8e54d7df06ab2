"""Retrieval against brute force: every order of ties, every permutation by hand; memory in blocks."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from heschl.tasks.retrieval import (
    Ranks,
    best,
    by_group,
    curve,
    hits,
    ranks,
    reciprocal,
    retrieval_scores,
    scorer,
)
from heschl.types import HeschlError


def test_ties_are_the_mean_over_all_orders() -> None:
    scores = np.array([[3.0, 1.0, 3.0, 3.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    truth = np.array([2, 0, 4])
    found = ranks(scores, truth, block=2)
    for i, row in enumerate(scores):
        places = []
        for order in itertools.permutations(range(5)):
            by = sorted(range(5), key=lambda c: (-row[c], order[c]))
            places.append(by.index(truth[i]) + 1)
        assert hits(found, 2)[i] == pytest.approx(np.mean(np.array(places) <= 2))
        assert reciprocal(found)[i] == pytest.approx(np.mean(1 / np.array(places)))


def test_scores_by_brute_force() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 12, 40)
    z, candidates = random.normal(size=(40, 3, 2)), random.normal(size=(12, 3, 2))
    z += candidates[truth]
    s = np.array([[(a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()) for b in candidates] for a in z])
    subjects = [f"s{k % 4}" for k in range(40)]
    held = retrieval_scores(scorer(z, candidates), truth, 12, subjects, permutations=300, block=7)
    place = np.array([1 + (row > row[t]).sum() for row, t in zip(s, truth)])
    for k in (1, 5, 10):
        assert held[f"top_{k}"]["value"] == pytest.approx((place <= k).mean())
        assert held[f"top_{k}"]["chance"] == pytest.approx(k / 12)
    assert held["mrr"]["value"] == pytest.approx((1 / place).mean())
    assert held["median_rank"] == np.median(place) and held["candidates"] == 12 and held["groups"] == 4
    assert held["top_1"]["low"] <= held["top_1"]["value"] <= held["top_1"]["high"]
    assert held["p"] == pytest.approx(1 / 301)
    rows = {row["group"]: row for row in by_group(ranks(s, truth), subjects, 12)}
    assert rows["s1"]["top_5"] == pytest.approx((place[1::4] <= 5).mean()) and rows["s1"]["trials"] == 10


def test_p_is_uniform_under_the_null_and_keeps_to_blocks() -> None:
    random = np.random.default_rng(1)
    found = [
        retrieval_scores(random.normal(size=(30, 5)), random.integers(0, 5, 30), 5, permutations=60, seed=k)[
            "p_mrr"
        ]
        for k in range(80)
    ]
    assert 0.35 < np.mean(found) < 0.65 and np.mean(np.array(found) < 0.1) < 0.25
    truth = np.repeat([0, 1], 10)  # labels designed by block: within blocks there is nothing to permute
    scores = np.zeros((20, 4))
    scores[np.arange(20), truth] = 1
    blocks = ["a"] * 10 + ["b"] * 10
    assert retrieval_scores(scores, truth, 4, permutations=50)["p"] < 0.05
    assert retrieval_scores(scores, truth, 4, blocks=blocks, permutations=50)["p"] == 1


def test_saying_the_same_of_everything_is_chance() -> None:
    held = retrieval_scores(np.zeros((9, 20)), np.arange(9), 20, permutations=20)
    assert held["top_1"]["value"] == pytest.approx(1 / 20) and held["p"] == 1
    assert held["mrr"]["value"] == pytest.approx(held["mrr"]["chance"])


def test_many_candidates_do_not_fill_memory() -> None:
    random = np.random.default_rng(2)
    candidates = random.normal(size=(20_000, 8)).astype(np.float32)
    truth = random.integers(0, 20_000, 40)
    z = candidates[truth] + 0.3 * random.normal(size=(40, 8)).astype(np.float32)
    score = scorer(z, candidates)
    tracemalloc.start()
    held = retrieval_scores(score, truth, len(candidates), permutations=20, block=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 20_000 * 4 and held["top_10"]["value"] > 0.3


def test_bad_input() -> None:
    assert hits(Ranks(np.array([0]), np.array([1])), 1) == 1
    for truth, n in (([], 3), ([0], 1), ([3], 3), ([-1], 3)):
        with pytest.raises(HeschlError):
            retrieval_scores(np.zeros((len(truth), n)), truth, n)
    with pytest.raises(HeschlError, match="NaN"):
        ranks(np.full((1, 3), np.nan), np.array([0]))
    with pytest.raises(HeschlError, match="groups"):
        retrieval_scores(np.zeros((2, 3)), [0, 1], 3, groups=["a"])
    with pytest.raises(HeschlError, match="shape"):
        scorer(np.zeros((2, 3)), np.zeros((2, 4)))


def test_block_by_block_as_all_at_once() -> None:
    random = np.random.default_rng(3)
    z, candidates = random.standard_normal((7, 2, 3)), random.standard_normal((9, 2, 3)).astype(np.float32)
    truth = random.integers(9, size=(7, 4))
    a, b = z.reshape(7, 6), candidates.reshape(9, 6)
    whole = (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
    whole[2] = 0.5  # all alike
    parts = scorer(z, candidates)
    scores = lambda first, last: np.where(np.arange(first, last)[:, None] == 2, 0.5, parts(first, last))  # noqa: E731
    assert np.allclose(scores(0, 7), whole, atol=1e-6)
    assert np.array_equal(best(scores, 7, block=3), whole.argmax(1))
    for column in range(4):  # counted for one truth, sorted for several: the same
        one, several = ranks(scores, truth[:, column], block=2), ranks(scores, truth, block=3)
        assert np.array_equal(one.better, several.better[:, column])
        assert np.array_equal(one.alike, several.alike[:, column])
    shares = curve(one, 9)
    assert np.allclose(shares, [hits(one, k).mean() for k in range(1, 10)]) and shares[-1] == pytest.approx(1)
