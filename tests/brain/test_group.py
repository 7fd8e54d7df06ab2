"""Cluster permutation over subjects: an effect where it was put, and none in noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from heschl.brain.group import cluster_test
from heschl.types import HeschlError


@pytest.mark.slow
def test_a_cluster_is_found_where_it_was_put() -> None:
    pytest.importorskip("mne")
    rng = np.random.default_rng(0)
    values = rng.standard_normal((12, 30))
    values[:, 10:16] += 1.5
    found = cluster_test(values, permutations=200)
    assert found.p[0] < 0.05 and found.clusters[0][11:15].all() and not found.clusters[0][:9].any()
    t = values.mean(0) / (values.std(0, ddof=1) / 12**0.5)
    np.testing.assert_allclose(found.t, t)
    nothing = cluster_test(rng.standard_normal((12, 30)), permutations=200)
    assert not (nothing.p < 0.05).any()
    # a ring of places, over time: neighbours by the matrix
    ring = sparse.coo_array(np.eye(30, k=1) + np.eye(30, k=-1) + np.eye(30))
    both = cluster_test(np.stack([values, values], 1), ring, permutations=100)
    assert both.clusters[0].shape == (2, 30) and both.clusters[0][:, 11:15].all()


def test_few_subjects_are_refused() -> None:
    with pytest.raises(HeschlError, match="5 subjects"):
        cluster_test(np.zeros((5, 3)))
    with pytest.raises(HeschlError, match="not finite"):
        cluster_test(np.full((8, 3), np.nan))
    with pytest.raises(HeschlError, match="subject, time, place"):
        cluster_test(np.zeros(8))
