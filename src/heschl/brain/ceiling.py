"""How well any model could predict a recording, from answers to the same sound heard several times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Ceiling:
    """What repeats have in common, per channel.

    Attributes
    ----------
    signal: (channel,) variance that repeats share (may come out below zero where there is none).
    noise: (channel,) variance of a single repeat that others do not share.
    r_single, r_mean: (channel,) the highest r that a perfect model reaches with one repeat, and with their mean;
        0 where signal is not above zero. A model's r divided by it is its r without noise (unstable where it is small).
    repeats: how many.
    """

    signal: Array
    noise: Array
    r_single: Array
    r_mean: Array
    repeats: int


def noise_ceiling(repeats: Any) -> Ceiling:
    """The noise ceiling of a recording.

    Parameters
    ----------
    repeats: (repeat, time, channel), two or more answers to the same sound, sample by sample.

    Notes
    -----
    Signal power is ``(n^2 var(mean) - sum of var) / (n (n - 1))``, the mean covariance of all pairs of repeats (Sahani
    and Linden, NIPS 2002; Schoppe et al., Front. Comput. Neurosci. 2016, eqs 2-5): unbiased where noise is independent
    from repeat to repeat.

    Raises
    ------
    HeschlError: fewer than two repeats, numbers that are not finite, or repeats that are copies of each other.
    """
    given = np.asarray(repeats)
    if given.ndim != 3 or given.shape[0] < 2 or given.shape[1] < 3:
        raise HeschlError(
            f"repeats are of shape {given.shape}: give (repeat, time, channel), two repeats or more"
        )
    if not np.isfinite(given).all():
        raise HeschlError("repeats hold numbers that are not finite: cut those stretches out of all repeats")
    n = len(given)
    for a in range(n):
        for b in range(a):
            if np.array_equal(given[a], given[b]):
                raise HeschlError(f"repeats {b} and {a} are the same numbers: a copy is no repeat")
    single = given.var(1, ddof=1).mean(0)
    mean = given.mean(0).var(0, ddof=1)
    signal = (n * mean - single) / (n - 1)
    kept = np.maximum(signal, 0)

    def ratio(total: Array) -> Array:
        return np.asarray(np.sqrt(np.minimum(1, kept / np.where(total > 0, total, 1))))

    return Ceiling(signal, single - signal, ratio(single), ratio(mean), n)
