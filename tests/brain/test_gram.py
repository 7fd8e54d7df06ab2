"""Sums of lagged signals against the lagged matrix itself."""

from __future__ import annotations

import numpy as np
import pytest
from brain_lagged import lagged
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.brain import gram
from heschl.types import HeschlError


@settings(max_examples=25, deadline=None)
@given(
    first=st.integers(-12, 12),
    n_lags=st.integers(1, 14),
    rows=st.tuples(st.integers(0, 150), st.integers(151, 300)),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_moments_are_those_of_the_lagged_matrix(
    first: int, n_lags: int, rows: tuple[int, int], offset: float
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 3)) + offset, rng.standard_normal((300, 2)) - offset
    steps = np.arange(first, first + n_lags)
    found = gram.moments(x, y, steps, rows, x.mean(0), y.mean(0))
    matrix = (lagged(x, steps) - np.tile(x.mean(0), n_lags))[slice(*rows)]
    target = (y - y.mean(0))[slice(*rows)]
    assert found.n == rows[1] - rows[0]
    for ours, right in zip(
        found[1:],
        (matrix.sum(0), target.sum(0), matrix.T @ matrix, matrix.T @ target, (target**2).sum(0)),
    ):
        np.testing.assert_allclose(ours, right, rtol=0, atol=1e-11 * max(1, np.abs(right).max()))


def test_many_pieces_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, y, steps = rng.standard_normal((9000, 2)), rng.standard_normal((9000, 3)), np.arange(-2, 30)
    none = (np.zeros(2), np.zeros(3))
    whole = gram.moments(x, y, steps, (5, 8990), *none)
    monkeypatch.setattr(gram, "_CHUNK", 1)
    for a, b in zip(whole, gram.moments(x, y, steps, (5, 8990), *none)):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


def test_parts_add_up_and_columns_can_be_taken() -> None:
    rng = np.random.default_rng(2)
    x, y, steps = rng.standard_normal((200, 3)), rng.standard_normal((200, 1)), np.arange(4)
    none = (np.zeros(3), np.zeros(1))
    whole = gram.moments(x, y, steps, (0, 200), *none)
    parts = gram.moments(x, y, steps, (0, 77), *none) + gram.moments(x, y, steps, (77, 200), *none)
    for a, b in zip(whole, parts):
        np.testing.assert_allclose(a, b, atol=1e-10)
    columns = np.array([1, 4, 7, 10])
    alone = gram.moments(x[:, [1]], y, steps, (0, 200), none[0][:1], none[1])
    for a, b in zip(whole.take(columns), alone):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_float32_stays_and_is_near() -> None:
    rng = np.random.default_rng(3)
    x, y, steps = rng.standard_normal((3000, 4)), rng.standard_normal((3000, 2)), np.arange(20)
    none = (np.zeros(4), np.zeros(2))
    fine = gram.moments(x, y, steps, (0, 3000), *none)
    coarse = gram.moments(*(a.astype("float32") for a in (x, y)), steps, (0, 3000), *none)
    assert coarse.xx.dtype == np.float32
    np.testing.assert_allclose(coarse.xx, fine.xx, atol=1e-5 * np.abs(fine.xx).max())


def test_lags_are_whole_samples_from_floor_to_ceil() -> None:
    assert gram.lag_steps((-0.06, 0.06), 64).tolist() == list(range(-4, 5))
    assert gram.lag_steps((0.0, 0.29), 100).tolist() == list(range(30))
    assert gram.lag_steps((0.1, 0.1), 10).tolist() == [1]
    for wrong in ((0.2, 0.1), (0.0, float("nan")), (0.0,), 3):
        with pytest.raises(HeschlError, match="lags are"):
            gram.lag_steps(wrong, 100)
    with pytest.raises(HeschlError, match="rate is 0"):
        gram.lag_steps((0.0, 0.1), 0)


def test_explicit_rows_are_the_matrix_rows() -> None:
    x = np.random.default_rng(4).standard_normal((40, 2))
    steps, rows = np.arange(-3, 6), np.array([0, 2, 39, 20])
    np.testing.assert_array_equal(gram.lagged_rows(x, steps, rows, np.zeros(2)), lagged(x, steps)[rows])
