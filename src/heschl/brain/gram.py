"""Sums of products of lagged signals, exactly, without the lagged matrix.

Row t of the lagged matrix X holds, for every lag and feature, ``x[t - lag, feature]``, with zeros outside the run. Its
Gram matrix is nearly block Toeplitz: the first block row comes from short Fourier transforms (overlap-save, summed
over pieces as small matrix products), and every other block from its upper left neighbour by two outer products,
``G[i + 1, j + 1] = G[i, j] + u[a - 1 - i] u[a - 1 - j]' - u[b - 1 - i] u[b - 1 - j]'`` over rows a to b, where ``u[t]``
is the feature at the first lag. Columns run over lags first and features within: column ``lag * features + feature``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.fft

from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]

_CHUNK = 2**22  # complex numbers at once: 64 MiB


class Moments(NamedTuple):
    """Sums over rows of a lagged matrix X (row, column) and of Y (row, channel).

    n: rows. x: (column,) sums. y: (channel,) sums. xx: (column, column). xy: (column, channel).
    yy: (channel,) sums of squares.
    """

    n: int
    x: Array
    y: Array
    xx: Array
    xy: Array
    yy: Array

    def __add__(self, other: Moments) -> Moments:  # type: ignore[override]
        return Moments(*(a + b for a, b in zip(self, other)))  # type: ignore[operator]

    def __sub__(self, other: Moments) -> Moments:
        return Moments(*(a - b for a, b in zip(self, other)))  # type: ignore[operator]

    def take(self, columns: Array) -> Moments:
        """The moments of some columns of X alone."""
        return self._replace(x=self.x[columns], xx=self.xx[np.ix_(columns, columns)], xy=self.xy[columns])

    def outputs(self, channels: Array) -> Moments:
        """The moments of some channels of Y alone."""
        return self._replace(y=self.y[channels], xy=self.xy[:, channels], yy=self.yy[channels])

    def centred(self) -> Moments:
        """The same about the means: what an unpenalised intercept leaves."""
        xx = self.xx - np.outer(self.x, self.x / self.n)
        return self._replace(
            xx=xx, xy=self.xy - np.outer(self.x, self.y / self.n), yy=self.yy - self.y**2 / self.n
        )


def lag_steps(lags: tuple[float, float], rate: float) -> Array:
    """Lags in samples: every one from floor(first * rate) to ceil(last * rate), as the mTRF toolboxes take them.

    >>> lag_steps((-0.06, 0.06), 64).tolist()
    [-4, -3, -2, -1, 0, 1, 2, 3, 4]
    """
    if not (math.isfinite(rate) and rate > 0):
        raise HeschlError(f"rate is {rate} Hz: give the samples per second, above zero")
    try:
        first, last = (float(lag) for lag in lags)
    except (TypeError, ValueError):
        raise HeschlError(
            f"lags are {lags!r}: give the first and the last in seconds, as (0.0, 0.4)"
        ) from None
    if not (math.isfinite(first) and math.isfinite(last) and first <= last):
        raise HeschlError(f"lags are {first} to {last} s: give two finite numbers, in order")
    near = 1e-6  # 0.29 * 100 is 28.999999999999996
    return np.arange(math.floor(first * rate + near), math.ceil(last * rate - near) + 1)


def moments(
    x: Array, y: Array, steps: Array, rows: tuple[int, int], shift_x: Array, shift_y: Array
) -> Moments:
    """The moments of rows a to b (half-open) of one run's lagged matrix.

    Parameters
    ----------
    x: (time, feature), y: (time, channel), of one precision; they may lie on disk (numpy.memmap).
    steps: (lag,) consecutive whole numbers, samples.
    shift_x, shift_y: taken off every entry of the padded x, and of y: their means, so that no digits are lost.
        Constant columns are what an intercept takes up, so no model changes.
    """
    a, b = rows
    n_lags, first = len(steps), int(steps[0])
    width, channels = x.shape[1], y.shape[1]
    n_fft = 2 ** math.ceil(math.log2(max(4 * n_lags, 256)))
    n_fft = min(n_fft, 2 ** math.ceil(math.log2(b - a + n_lags)))
    size = n_fft - n_lags + 1  # rows of a piece
    pieces = max(1, _CHUNK // (n_fft * (2 * width + channels)))
    spectrum = np.zeros((n_fft // 2 + 1, width, width + channels), dtype=np.complex128)
    y_sum, yy = np.zeros(channels), np.zeros(channels)
    x_sum = np.zeros(width)
    for start in range(a, b, size * pieces):
        stop = min(b, start + size * pieces)
        count = -(-(stop - start) // size)
        held = np.zeros((count * size, width + channels), dtype=x.dtype)
        before = padded(x, start - first - n_lags + 1, start - first + count * size, shift_x)
        held[: stop - start, :width] = before[n_lags - 1 : n_lags - 1 + stop - start]
        held[: stop - start, width:] = y[start:stop] - shift_y
        x_sum += held[:, :width].sum(0, dtype=np.float64)
        y_sum += held[:, width:].sum(0, dtype=np.float64)
        yy += np.einsum("tc,tc->c", held[:, width:], held[:, width:], dtype=np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(before, n_fft, axis=0)[::size]
        earlier = scipy.fft.rfft(windows, axis=-1).transpose(2, 1, 0)  # (frequency, feature, piece)
        now = scipy.fft.rfft(held.reshape(count, size, -1), n_fft, axis=1).transpose(1, 0, 2)
        spectrum += np.ascontiguousarray(earlier) @ np.conj(now)
    products = scipy.fft.irfft(spectrum, n_fft, axis=0)[n_lags - 1 :: -1]  # (lag, feature, feature + channel)
    left = padded(x, a - first - n_lags + 1, a - first, shift_x)[::-1].astype(np.float64)
    right = padded(x, b - first - n_lags + 1, b - first, shift_x)[::-1].astype(np.float64)
    sums = x_sum + np.concatenate([np.zeros((1, width)), np.cumsum(left - right, 0)])
    return Moments(
        b - a,
        sums.reshape(-1).astype(x.dtype),
        y_sum.astype(x.dtype),
        _gram(products[:, :, :width].astype(x.dtype), left.astype(x.dtype), right.astype(x.dtype)),
        products[:, :, width:].reshape(-1, channels).astype(x.dtype),
        yy.astype(x.dtype),
    )


def _gram(first: Array, left: Array, right: Array) -> Array:
    """(column, column) from the blocks of the first lag (lag, feature, feature) and the samples at both edges."""
    n_lags, width, _ = first.shape
    gram = np.empty((n_lags, width, n_lags * width), dtype=first.dtype)
    gram[0] = first.transpose(2, 0, 1).reshape(width, -1)
    edges = np.stack([left.reshape(-1), -right.reshape(-1)])
    for i in range(n_lags - 1):
        ends = np.stack([left[i], right[i]], 1)
        gram[i + 1, :, :width] = first[i + 1]
        np.matmul(ends, edges, out=gram[i + 1, :, width:])
        gram[i + 1, :, width:] += gram[i, :, :-width]
    return gram.reshape(n_lags * width, -1)


def padded(x: Array, start: int, stop: int, shift: Array) -> Array:
    """Rows start to stop of x (time, feature), zero outside it, less ``shift`` everywhere: a copy."""
    held = np.zeros((stop - start, x.shape[1]), dtype=x.dtype)
    a, b = max(start, 0), min(stop, len(x))
    if a < b:
        held[a - start : b - start] = x[a:b]
    held -= shift
    return held


def lagged_rows(x: Array, steps: Array, rows: Array, shift: Array) -> Array:
    """Some rows of the lagged matrix, as they are: (row, column). For the few that are purged."""
    if not len(rows):
        return np.zeros((0, len(steps) * x.shape[1]), dtype=x.dtype)
    where = np.asarray(rows)[:, None] - steps[None]
    inside = (where >= 0) & (where < len(x))
    held = np.where(inside[..., None], x[np.where(inside, where, 0)], 0) - shift
    return held.reshape(len(rows), -1).astype(x.dtype)


def rows_moments(lagged: Array, y: Array) -> Moments:
    """The moments of explicit rows: lagged (row, column), y (row, channel)."""
    return Moments(len(lagged), lagged.sum(0), y.sum(0), lagged.T @ lagged, lagged.T @ y, (y**2).sum(0))
