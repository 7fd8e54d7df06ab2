"""CKA against explicit HSIC matrices, invariances and what is known in closed form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.explanation import similarity as sim
from heschl.types import HeschlError


def _explicit(k: np.ndarray, m: np.ndarray) -> float:
    n = len(k)
    h = np.eye(n) - 1 / n
    return float(np.trace(k @ h @ m @ h) / (n - 1) ** 2)


def _grams(x: np.ndarray, kernel: str, sigma: float = 0.5) -> np.ndarray:
    n = len(x)
    if kernel == "linear":
        return np.array([[x[i] @ x[j] for j in range(n)] for i in range(n)])
    far = np.array([[((x[i] - x[j]) ** 2).sum() for j in range(n)] for i in range(n)])
    median = np.median([far[i, j] for i, j in itertools.permutations(range(n), 2)])
    return np.exp(-far / (2 * sigma**2 * median))


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("units", [3, 30])
def test_cka_is_that_of_explicit_matrices(kernel, units):
    rng = np.random.default_rng(units)
    x, y = rng.standard_normal((15, units)) + 4, rng.standard_normal((15, 5))
    k, m = _grams(x, kernel), _grams(y, kernel)
    expected = _explicit(k, m) / np.sqrt(_explicit(k, k) * _explicit(m, m))
    assert sim.cka(x, y, kernel) == pytest.approx(expected, abs=1e-10)


def test_hsic1_is_the_mean_over_quadruples():
    """Song et al. 2012: HSIC_1 is the mean, over ordered quadruples of different samples, of a product of kernels."""
    rng = np.random.default_rng(0)
    n = 7
    k, m = (_grams(rng.standard_normal((n, 3)), "rbf") for _ in range(2))
    terms = [
        k[i, j] * m[i, j] + k[i, j] * m[q, r] - 2 * k[i, j] * m[i, q]
        for i, j, q, r in itertools.permutations(range(n), 4)
    ]
    assert sim.hsic1(k, m) == pytest.approx(np.mean(terms), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["linear", "rbf"]), st.booleans())
def test_turning_scaling_and_moving_change_nothing(seed, kernel, debiased):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((12, 4)), rng.standard_normal((12, 6))
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    value = sim.cka(x, y, kernel, debiased)
    assert sim.cka(3 * x @ turn + 5, y, kernel, debiased) == pytest.approx(value, abs=1e-9)
    assert sim.cka(y, x, kernel, debiased) == pytest.approx(value, abs=1e-12)
    assert sim.cka(x, 2 * x @ turn, kernel, debiased) == pytest.approx(1.0, abs=1e-9)


def test_layers_that_share_nothing_are_at_zero_without_bias_only():
    rng = np.random.default_rng(1)
    pairs = [(rng.standard_normal((20, 40)), rng.standard_normal((20, 40))) for _ in range(60)]
    assert np.mean([sim.cka(x, y) for x, y in pairs]) > 0.5
    assert abs(np.mean([sim.cka(x, y, debiased=True) for x, y in pairs])) < 0.03


def test_one_batch_is_the_debiased_value_and_many_come_near():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((800, 6))
    y = np.c_[x[:, :3] + 0.5 * rng.standard_normal((800, 3)), rng.standard_normal((800, 2))]
    whole = sim.cka(x, y, debiased=True)
    assert sim.minibatch_cka([(x, y)]) == pytest.approx(whole, abs=1e-12)
    for size in (10, 50):
        parts = [(x[k : k + size], y[k : k + size]) for k in range(0, 800, size)]
        assert sim.minibatch_cka(parts) == pytest.approx(whole, abs=0.03)


def test_a_table_of_layers():
    rng = np.random.default_rng(3)
    one = {"a": rng.standard_normal((30, 3)), "b": rng.standard_normal((30, 4))}
    table = sim.cka_table(one, one)
    assert table.shape == (2, 2) and np.allclose(np.diag(table), 1) and np.allclose(table, table.T)
    assert table[0, 1] == pytest.approx(sim.cka(one["a"], one["b"], debiased=True))


def test_bad_input_and_constant_layers():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((10, 3))
    assert np.isnan(sim.cka(x, np.ones((10, 2))))
    for call, said in [
        (lambda: sim.cka(x, x[:5]), "10 samples"),
        (lambda: sim.cka(x[:3], x[:3], debiased=True), "4 samples"),
        (lambda: sim.cka(x[0], x), "shape"),
        (lambda: sim.cka(x, np.full((10, 2), np.nan)), "finite"),
        (lambda: sim.cka(x, x, "cosine"), "kernel"),
        (lambda: sim.cka(x, x, "rbf", sigma=0.0), "sigma"),
        (lambda: sim.minibatch_cka([(x, x[:5])]), "batch"),
    ]:
        with pytest.raises(HeschlError, match=said):
            call()
