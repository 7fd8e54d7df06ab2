"""Linear decoders against scikit-learn and against the truth that was simulated."""

from __future__ import annotations

import numpy as np
import pytest

from heschl.tasks.linear_decode import band_power, fit_lda, fit_ridge, ledoit_wolf
from heschl.types import HeschlError


def test_shrinkage_is_scikit_learns() -> None:
    from sklearn.covariance import LedoitWolf

    for n, p in ((30, 12), (10, 40)):
        x = np.random.default_rng(n).normal(size=(n, p)) @ np.random.default_rng(p).normal(size=(p, p))
        oracle = LedoitWolf(assume_centered=True).fit(x)
        covariance, shrinkage = ledoit_wolf(x)
        assert shrinkage == pytest.approx(oracle.shrinkage_) and np.allclose(covariance, oracle.covariance_)


def gaussians(n: int, seed: int, p: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    mix, means = random.normal(size=(p, p)), 2.5 * random.normal(size=(4, p))
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 4, n)
    return means[y] + draw.normal(size=(n, p)) @ mix, y, means, mix


def test_discriminants_are_the_formula_and_near_the_oracle() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, y, means, mix = gaussians(600, 1)
    lda = fit_lda(x, y, 4)
    test, truth, *_ = gaussians(2000, 2)
    guess = lda.scores(test).argmax(1)
    inverse = np.linalg.inv(mix.T @ mix)
    best = np.stack([test @ inverse @ m - m @ inverse @ m / 2 for m in means], 1).argmax(1)
    assert (guess == truth).mean() > (best == truth).mean() - 0.02
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(x, y)
    assert (theirs.predict(test) == guess).mean() > 0.97
    # a pattern is what a class looks like, whatever the weights had to undo
    z = (x - lda.mean) / lda.scale
    assert np.allclose(lda.patterns, [z[y == c].mean(0) for c in range(4)], atol=1e-6)


def test_a_flat_channel_and_a_class_without_trials() -> None:
    x, y, *_ = gaussians(60, 3)
    x[:, 2] = 1.0
    scores = fit_lda(x, y, 6).scores(x)
    assert np.isfinite(scores[:, :4]).all() and scores.argmax(1).max() < 4
    with pytest.raises(HeschlError, match="one class"):
        fit_lda(x, np.zeros(60, int), 2)
    x[0, 0] = np.nan
    with pytest.raises(HeschlError, match="finite"):
        fit_lda(x, y, 4)


def test_ridge_is_scikit_learns() -> None:
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(0)
    x, w = random.normal(size=(50, 7)), random.normal(size=(7, 3))
    y = x @ w + 2 + 0.5 * random.normal(size=(50, 3))
    found, oracle = fit_ridge(x, y, [3.0]), Ridge(3.0).fit(x, y)
    assert np.allclose(found.weights, oracle.coef_.T) and np.allclose(found.intercept, oracle.intercept_)
    assert np.allclose(found.predict(x), oracle.predict(x))
    assert fit_ridge(x, y).alpha == 1.0 and fit_ridge(x, random.normal(size=(50, 3))).alpha >= 100
    groups = [f"b{k // 10}" for k in range(50)]
    errors = [
        sum(
            np.square(
                y[10 * b : 10 * b + 10]
                - Ridge(a)
                .fit(
                    np.delete(x, np.s_[10 * b : 10 * b + 10], 0), np.delete(y, np.s_[10 * b : 10 * b + 10], 0)
                )
                .predict(x[10 * b : 10 * b + 10])
            ).sum()
            for b in range(5)
        )
        for a in (0.1, 5.0, 50.0)
    ]
    assert fit_ridge(x, y, (0.1, 5.0, 50.0), groups).alpha == (0.1, 5.0, 50.0)[int(np.argmin(errors))]


def test_patterns_show_the_source_where_weights_show_the_noise() -> None:
    random = np.random.default_rng(0)
    source, noise = random.normal(size=(2, 4000))
    x = np.stack([source + noise, noise, random.normal(size=4000)], 1)
    found = fit_ridge(x, source[:, None], [1.0])
    assert abs(found.weights[1, 0]) > 0.9
    assert abs(found.patterns[0, 1]) < 0.05 and abs(found.patterns[0, 0]) > 0.9


def test_band_power() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, 8, 12))
    found = band_power(maps, 2, 3).reshape(2, 3, 2, 3)
    assert found[1, 2, 1, 0] == pytest.approx(maps[1, 2, 4:, :4].mean())
