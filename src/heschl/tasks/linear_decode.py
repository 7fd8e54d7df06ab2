"""Linear decoders, always run beside a deep one: without them its score means nothing.

Shrinkage LDA on band power for words, ridge regression from recordings to mel spectra for segments. All in closed
form, float64; fitted on training trials alone, standardised by those alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from heschl.types import HeschlError


def band_power(maps: np.ndarray, bands: int = 4, steps: int = 4) -> np.ndarray:
    """Log-power maps (trial, sensor, frequency, time) -> (trial, sensor * bands * steps): means over equal parts."""
    parts = [
        np.stack([p.mean(3) for p in np.array_split(part, min(steps, maps.shape[3]), axis=3)], -1).mean(2)
        for part in np.array_split(np.asarray(maps, np.float64), min(bands, maps.shape[2]), axis=2)
    ]
    return np.stack(parts, 2).reshape(len(maps), -1)


# --- linear discriminants ----------------------------------------------------------------------------------


def ledoit_wolf(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Shrunk covariance of x (example, feature), taken as centred, and the shrinkage in [0, 1].

    (1 - a) S + a mu I with mu = tr S / p and a = min(b^2, d^2) / d^2, where d^2 = |S - mu I|^2 / p and b^2 =
    sum_n |x_n x_n' - S|^2 / (n^2 p), Frobenius norms (Ledoit and Wolf 2004, J. Multivariate Analysis 88:365).
    """
    n, p = x.shape
    covariance = x.T @ x / n
    mu = np.trace(covariance) / p
    distance = (np.square(covariance).sum() - p * mu**2) / p
    spread = (np.square(np.square(x).sum(1)).sum() / n - np.square(covariance).sum()) / (n * p)
    shrinkage = 0.0 if distance <= 0 else float(min(max(spread, 0.0), distance) / distance)
    shrunk = (1 - shrinkage) * covariance
    shrunk.flat[:: p + 1] += shrinkage * mu
    return shrunk, shrinkage


class Discriminants(NamedTuple):
    """weights (class, feature) and intercept (class,) on standardised features; patterns (class, feature): what each
    class looks like in them (Haufe et al. 2014: covariance times weights), shrinkage of the covariance."""

    weights: np.ndarray
    intercept: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    patterns: np.ndarray
    shrinkage: float

    def scores(self, x: np.ndarray) -> np.ndarray:
        """(example, feature) -> (example, class) log posterior up to a constant of each example."""
        found: np.ndarray = ((x - self.mean) / self.scale) @ self.weights.T + self.intercept
        return found


def fit_lda(x: np.ndarray, y: np.ndarray, n_classes: int) -> Discriminants:
    """Linear discriminants with the shrunk covariance within classes.

    delta_c(x) = m_c' C^-1 x - m_c' C^-1 m_c / 2 + log prior_c, on features standardised by their deviation in x.

    Parameters
    ----------
    x: (example, feature). y: (example,) classes from 0. n_classes: a class without examples is never answered.

    Raises
    ------
    HeschlError: a value that is not finite, or fewer than two classes with examples.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.int64)
    if not np.isfinite(x).all():
        raise HeschlError("a feature of the linear decoder is not finite: leave that trial or channel out")
    counts = np.bincount(y, minlength=n_classes)
    if (counts > 0).sum() < 2:
        raise HeschlError("the linear decoder was given one class only: telling apart takes two")
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    z = (x - mean) / scale
    means = np.zeros((n_classes, x.shape[1]))
    np.add.at(means, y, z)
    means /= np.maximum(counts, 1)[:, None]
    covariance, shrinkage = ledoit_wolf(z - means[y])
    covariance.flat[:: len(covariance) + 1] += 1e-10  # a flat channel has no variance at all
    weights = np.linalg.solve(covariance, means.T).T
    with np.errstate(divide="ignore"):
        intercept = -0.5 * (weights * means).sum(1) + np.log(counts / counts.sum())
    patterns = weights @ covariance
    return Discriminants(weights, intercept, mean, scale, patterns, shrinkage)


# --- ridge regression ----------------------------------------------------------------------------------------


class Ridge(NamedTuple):
    """weights (feature, target) and intercept (target,); alpha that was chosen; patterns (target, feature), Haufe's."""

    weights: np.ndarray
    intercept: np.ndarray
    alpha: float
    patterns: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(example, feature) -> (example, target)."""
        return np.asarray(x @ self.weights + self.intercept)


def fit_ridge(
    x: np.ndarray,
    y: np.ndarray,
    alphas: Sequence[float] = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5),
    groups: Sequence[str] | None = None,
) -> Ridge:
    """Ridge regression with an unpenalised intercept, alpha on the raw Gram matrix (scikit-learn's convention).

    min |y - x w - b|^2 + alpha |w|^2; alpha by the least squared error on groups left out, one after the other
    (five contiguous blocks where no groups are given); with one alpha nothing is left out.

    Parameters
    ----------
    x: (example, feature). y: (example, target). groups: (example,) what is left out together.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    alphas = [float(alpha) for alpha in alphas]
    if not alphas or min(alphas) <= 0 or len(x) != len(y):
        raise HeschlError(
            f"ridge regression of {len(x)} on {len(y)} examples with alphas {alphas}: they must fit and be above zero"
        )
    best = alphas[0]
    if len(alphas) > 1:
        names = np.asarray(groups) if groups is not None else np.arange(len(x)) * 5 // len(x)
        errors = np.zeros(len(alphas))
        for name in np.unique(names):
            out = names == name
            if out.all():
                raise HeschlError(
                    "ridge regression has one group only and cannot leave it out: give one alpha"
                )
            for k, (weights, intercept) in enumerate(_solutions(x[~out], y[~out], alphas)):
                errors[k] += np.square(y[out] - x[out] @ weights - intercept).sum()
        best = alphas[int(errors.argmin())]
    weights, intercept = _solutions(x, y, [best])[0]
    guess = x @ weights
    guess -= guess.mean(0)
    patterns = np.linalg.lstsq(guess.T @ guess, guess.T @ (x - x.mean(0)), rcond=None)[0]
    return Ridge(weights, intercept, best, patterns)


def _solutions(x: np.ndarray, y: np.ndarray, alphas: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and intercept for each alpha, from one singular value decomposition."""
    mx, my = x.mean(0), y.mean(0)
    left, size, right = np.linalg.svd(x - mx, full_matrices=False)
    turned = left.T @ (y - my)
    found = []
    for alpha in alphas:
        weights = right.T @ ((size / (size**2 + alpha))[:, None] * turned)
        found.append((weights, my - mx @ weights))
    return found
