"""The triplet test against its formulas and against codebooks built one way or the other."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from heschl.tasks.triplets import TRIPLETS, triplet_table, triplet_tests
from heschl.types import HeschlError

WORDS = sorted({word for one in TRIPLETS for word in one})


def codebook(near: int, seed: int = 0) -> np.ndarray:
    """Random vectors, the control beside its neighbour number ``near``."""
    random = np.random.default_rng(seed)
    book = random.normal(size=(len(WORDS), 20))
    for one in TRIPLETS:
        book[WORDS.index(one[near])] = book[WORDS.index(one[0])] + 0.7 * random.normal(size=20)
    return book


@pytest.mark.parametrize(("near", "sign"), [(1, 1), (2, -1)])
def test_the_built_order_is_found(near: int, sign: int) -> None:
    rows = triplet_table(codebook(near), WORDS)
    assert len(rows) == len(TRIPLETS) == 12
    first = triplet_tests(rows)[0]
    assert np.sign(first["d_z"]) == sign and first["p_t"] < 0.001 and first["p_wilcoxon"] < 0.01
    a, b = (np.array([row[key] for row in rows]) for key in ("cosine_semantic", "cosine_phonological"))
    d = a - b
    assert first["t"] == pytest.approx(d.mean() / (d.std(ddof=1) / math.sqrt(12)))
    assert first["d_z"] == pytest.approx(first["t"] / math.sqrt(12))
    ranks = np.abs(d).argsort().argsort() + 1
    own = ranks[d > 0].sum()
    sums = np.array([np.dot(signs, ranks) for signs in itertools.product((0, 1), repeat=12)])
    exact = min(1.0, 2 * min((sums <= own).mean(), (sums >= own).mean()))
    assert first["p_wilcoxon"] == pytest.approx(exact)


def test_words_that_are_not_there_leave_triplets_out() -> None:
    book, names = codebook(1)[:20], WORDS[:20]
    rows = triplet_table(book, names)
    assert len(rows) == sum(all(word in names for word in one) for one in TRIPLETS)
    assert triplet_tests(rows[:2]) == []
    assert triplet_tests(triplet_table(np.eye(len(WORDS)), WORDS)) == []  # equally alike: nothing to test
    with pytest.raises(HeschlError):
        triplet_table(book, WORDS)
    with pytest.raises(HeschlError, match="zero"):
        triplet_table(np.zeros((2, 3)), ["a", "b"])
