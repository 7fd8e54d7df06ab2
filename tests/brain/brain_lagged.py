"""The lagged matrix, written out by loops: what the fast sums must equal."""

from __future__ import annotations

import numpy as np


def lagged(x: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(time, lag * feature), column lag * features + feature, zeros outside."""
    rows = np.zeros((len(x), len(steps), x.shape[1]))
    for j, step in enumerate(steps):
        for t in range(len(x)):
            if 0 <= t - step < len(x):
                rows[t, j] = x[t - step]
    return rows.reshape(len(x), -1)


def simulated(
    length: int, features: int, channels: int, lags: int, noise: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth features (time, feature), a recording (time, channel) that they drive, and the weights (feature, lag, channel)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((length, features))
    x[1:] += 0.5 * x[:-1]
    weights = rng.standard_normal((features, lags, channels))
    y = lagged(x, np.arange(lags)) @ weights.transpose(1, 0, 2).reshape(-1, channels)
    return x, y + noise * rng.standard_normal(y.shape), weights
