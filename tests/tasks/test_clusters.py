"""Clusters over subjects against explicit loops over all flips of signs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from heschl.tasks.clusters import HAT, cluster_test
from heschl.types import HeschlError


def by_loops(values: np.ndarray, chance: float) -> list[tuple[int, int, float, float]]:
    above = values - chance
    n = len(above)
    limit = stats.t.ppf(0.95, n - 1)

    def clusters(x: np.ndarray) -> list[tuple[int, int, float]]:
        variance = x.var(0, ddof=1)
        t = x.mean(0) / np.sqrt((variance + HAT * variance.max()) / n)
        found, first = [], None
        for k in range(len(t) + 1):
            inside = k < len(t) and t[k] > limit
            if inside and first is None:
                first = k
            if not inside and first is not None:
                found.append((first, k - 1, float(t[first:k].sum())))
                first = None
        return found

    flips = itertools.product([1, -1], repeat=n)
    largest = [
        max((size for *_, size in clusters(np.array(flip)[:, None] * above)), default=0.0) for flip in flips
    ]
    return [(a, b, s, float(np.mean([one >= s - 1e-9 for one in largest]))) for a, b, s in clusters(above)]


def test_against_every_flip_by_loops() -> None:
    random = np.random.default_rng(0)
    values = 0.1 + 0.05 * random.standard_normal((7, 12))
    values[:, 4:8] += 0.08
    found, wanted = cluster_test(values, 0.1), by_loops(values, 0.1)
    assert len(found) == len(wanted) >= 1
    for one, other in zip(found, wanted):
        assert (one.first, one.last) == other[:2]
        assert one.size == pytest.approx(other[2]) and one.p == pytest.approx(other[3], abs=1e-9)
    best = min(found, key=lambda one: one.p)
    assert 4 <= best.first <= best.last <= 8 and best.p < 0.05


def test_against_mne() -> None:
    """More subjects than are flipped exactly: the same clusters, and p by other draws."""
    from functools import partial

    stats_of = pytest.importorskip("mne.stats")
    random = np.random.default_rng(2)
    values = random.standard_normal((14, 20))
    values[:, 5:9] += 0.6
    ours = cluster_test(values, 0.0, permutations=2000)
    _, theirs, p, _ = stats_of.permutation_cluster_1samp_test(
        values,
        threshold=float(stats.t.ppf(0.95, 13)),
        n_permutations=2000,
        tail=1,
        stat_fun=partial(stats_of.ttest_1samp_no_p, sigma=HAT),
        out_type="indices",
        seed=1,
        verbose="error",
    )
    assert [(one.first, one.last) for one in ours] == [(k.min(), k.max()) for (k,) in theirs] and len(
        ours
    ) >= 2
    assert [one.p for one in ours] == pytest.approx(list(p), abs=0.04)


def test_chance_is_seldom_a_cluster() -> None:
    random = np.random.default_rng(1)
    wrong = sum(
        any(one.p < 0.05 for one in cluster_test(random.standard_normal((6, 10)), 0.0)) for _ in range(60)
    )
    assert wrong <= stats.binom.ppf(0.999, 60, 0.05)


def test_below_chance_is_no_cluster_and_agreement_is_finite() -> None:
    assert cluster_test(np.full((6, 4), 0.1), 0.1) == []
    assert cluster_test(np.random.default_rng(0).normal(-1, 0.1, (6, 4)), 0.1) == []
    values = np.full((6, 4), 0.1)
    values[:, 1:3] = [0.5, 0.6]
    values += 1e-3 * np.random.default_rng(0).standard_normal(values.shape)
    (one,) = cluster_test(values, 0.1)
    assert (one.first, one.last) == (1, 2) and np.isfinite(one.size) and one.p == pytest.approx(1 / 64)


def test_refusals() -> None:
    with pytest.raises(HeschlError, match="takes 5 subjects or more, and there are 4"):
        cluster_test(np.zeros((4, 3)), 0.1)
    with pytest.raises(HeschlError, match="subject number 2 are not finite"):
        cluster_test(np.array([[0.1, 0.2], [np.nan, 0.2], [0.1, 0.1], [0.1, 0.3], [0, 0]]), 0.1)
