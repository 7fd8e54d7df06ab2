"""From the few samples that a narrow band needs to the many that are wanted, as matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

TAPS = 10  # samples that each new one is made of: the error is 2e-8 of the band's strongest, below float32's rounding
SPARE = 2  # samples a period for each bin of the band
Take = Callable[[str, tuple[int, ...], Tensor], Tensor]

_LEAST, _MOST = 4, 64  # ratios at which this is faster than the longer transform


def ratio(size: int, points: int) -> int:
    """How many times fewer than ``points`` samples hold ``size`` bins with room to spare; 1 where it does not pay.

    >>> ratio(100, 6144), ratio(3000, 6144)
    (16, 1)
    """
    found = 1
    while (
        found < _MOST and points % (2 * found) == 0 and points // (2 * found) >= max(SPARE * size, 2 * TAPS)
    ):
        found *= 2
    return found if found >= _LEAST else 1


def finer(coarse: Tensor, times: int, steps: int, tail: float, take: Take) -> Tensor:
    """Interpolates periodic series whose band, a Gaussian cut at ``tail`` deviations, is at most half of theirs.

    Parameters
    ----------
    coarse: (wavelet, channel, m), complex; the band lies about frequency 0.
    take: gives memory by name, shape and a tensor of its kind.

    Returns
    -------
    (2, wavelet, channel, n): real and imaginary parts at ``times`` the rate from the first sample on, n >= ``steps``.
    """
    matrix = torch.as_tensor(_matrix(times, tail)).to(coarse.real)
    rows, columns = matrix.shape
    block = columns // times
    count = -(-steps // columns)
    length, before, points = count * block + TAPS - 1, TAPS // 2 - 1, coarse.shape[-1]
    parts = torch.view_as_real(coarse).movedim(-1, 0)
    held = take("held", (*parts.shape[:-1], length), parts)
    held[..., :before] = parts[..., points - before :]
    for start in range(before, length, points):  # round and round
        stop = min(length, start + points)
        held[..., start:stop] = parts[..., : stop - start]
    windows = held.unfold(-1, rows, block)
    flat = take("windows", tuple(windows.shape), parts).copy_(windows).view(-1, rows)
    found = torch.mm(flat, matrix, out=take("fine", (len(flat), columns), parts))
    return found.view(*parts.shape[:-1], count * columns)


@lru_cache(maxsize=32)
def _matrix(times: int, tail: float) -> np.ndarray:
    """Taps that turn a window into a block of new samples, (window, block * times).

    For each place between two samples they are the least squares over the frequencies of the widest band, weighted by
    the Gaussian that has shaped it.
    """
    nu = np.linspace(-0.5, 0.5, 801) / SPARE
    shape = np.exp(-0.5 * (2 * SPARE * tail * nu) ** 2)[:, None]
    taps = np.arange(TAPS) - (TAPS // 2 - 1)
    places = np.arange(times) / times

    def waves(at: np.ndarray) -> np.ndarray:
        turned = np.exp(2j * math.pi * nu[:, None] * at) * shape
        return np.concatenate([turned.real, turned.imag])

    found = np.linalg.lstsq(waves(taps), waves(places), rcond=1e-13)[0]
    block = max(4, 32 // times)
    matrix = np.zeros((block + TAPS - 1, block, times))
    for place in range(block):
        matrix[place : place + TAPS, place] = found
    return matrix.reshape(len(matrix), -1)
