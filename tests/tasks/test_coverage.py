"""Intervals over few groups are held against simulated truths: 95 in 100 of them must hold the share that was planted."""

from __future__ import annotations

import numpy as np
import pytest

from heschl.tasks.intervals import intervals, mean_over
from heschl.tasks.retrieval import retrieval_scores

TRIALS, TIMES = 40, 300


def blocks_of(count: int, share: float, apart: float, seed: int) -> np.ndarray:
    """(time, block, trial) right answers; blocks' own shares have this correlation within a block (beta-binomial)."""
    random = np.random.default_rng((seed, count))
    shares = np.full((TIMES, count), share)
    if apart:
        size = (1 - apart) / apart
        shares = random.beta(share * size, (1 - share) * size, (TIMES, count))
    return random.random((TIMES, count, TRIALS)) < shares[..., None]


@pytest.mark.parametrize(
    ("count", "share", "apart"), [(4, 0.05, 0.0), (4, 0.5, 0.05), (7, 0.5, 0.05), (3, 0.8, 0.0)]
)
def test_intervals_over_few_blocks_hold_the_truth_as_often_as_they_say(
    count: int, share: float, apart: float
) -> None:
    groups = np.repeat(np.arange(count), TRIALS)
    inside, narrower = [], []
    for right in blocks_of(count, share, apart, 0):
        found = mean_over(right.ravel(), groups, draws=200)
        drawn = right.mean(1)[np.random.default_rng(0).integers(count, size=(400, count))].mean(1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        inside.append(found["low"] <= share <= found["high"])
        narrower.append(low <= share <= high)
    assert 0.92 <= np.mean(inside) <= 0.995
    assert np.mean(narrower) < 0.9  # what a bootstrap of so few would have held


def test_every_score_over_few_blocks_has_the_one_interval() -> None:
    """A t interval written out, of blocks of unequal sizes that differ more than their trials; and the wider one where they do not."""
    random, groups = np.random.default_rng(3), np.repeat(["a", "b", "c", "d"], [30, 40, 50, 40])
    shares = dict(zip("abcd", (0.4, 0.5, 0.7, 0.6), strict=True))
    for apart in (True, False):
        right = (
            np.array([random.random() < shares[name] for name in groups])
            if apart
            else np.concatenate([np.arange(n) % 5 == 0 for n in (30, 40, 50, 40)])
        )
        truth, names = np.zeros(len(groups), int), list(groups)
        found = intervals(truth, 1 - right, names, 2)["accuracy"]
        table = np.eye(4)[0] - np.outer(~right, [1.0, -1.0, 0.0, 0.0])  # where it is wrong the second is best
        retrieved = retrieval_scores(table, truth, 4, names, permutations=50)["top_1"]
        told = mean_over(right, names)
        without = np.array([right[groups != name].mean() for name in "abcd"])
        half = 3.1824463 * np.sqrt(0.75 * np.square(without - without.mean()).sum())
        wanted = (max(0.0, right.mean() - half), right.mean() + half)
        binomial = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / len(right))
        for low, high in (found, (retrieved["low"], retrieved["high"]), (told["low"], told["high"])):
            if apart:
                assert (max(low, 0.0), high) == pytest.approx(wanted, abs=1e-6)
            else:
                assert half < 0.01 < high - low
                assert (low, high) == pytest.approx(
                    (right.mean() - binomial, right.mean() + binomial), abs=0.02
                )


def test_the_null_band_is_where_permuted_scores_lie() -> None:
    random = np.random.default_rng(0)
    found = retrieval_scores(random.normal(size=(400, 10)), random.integers(0, 10, 400), 10, permutations=400)
    low, high = found["top_1"]["null_low"], found["top_1"]["null_high"]
    assert (low, high) == pytest.approx((0.1 - 1.96 * 0.015, 0.1 + 1.96 * 0.015), abs=0.006)
    assert retrieval_scores(np.eye(3), [0, 1, 2], 3, permutations=0)["mrr"]["null_low"] is None
