"""The wavelets that a superlet is made of: their cycles and weights, their width, their two kernels.

A wavelet of c cycles at f Hz is a Gaussian of standard deviation c / (5 f) seconds times exp(i 2 pi f t), divided
by the sum of the Gaussian, without a correction of its mean: amplitude A gives 2 |x * psi|^2 = A^2 / 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from heschl.types import HeschlError

Kind = Literal["multiplicative", "additive"]
OrderAxis = Literal["index", "frequency"]
Kernel = Literal["gaussian", "reference"]
Order = float | Sequence[float]

HALF_WIDTH = 3.0  # standard deviations to either side that the reference kernel keeps
_REST = 1e-9  # a fraction of an order below this is rounding


class Wavelets(NamedTuple):
    """The wavelets of one frequency.

    freq: Hz. cycles: of each wavelet. weights: of each logarithm of power; they add up to one.
    """

    freq: float
    cycles: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def longest(self) -> float:
        """Standard deviation of the longest wavelet, seconds."""
        return deviation(self.freq, max(self.cycles))


def deviation(freq: float, cycles: float) -> float:
    """Standard deviation in time of a wavelet, seconds: its cycles span five of them.

    >>> deviation(10.0, 5.0)
    0.1
    """
    return cycles / (5 * freq)


def choose(name: str, value: Any, among: Any) -> None:
    if value not in get_args(among):
        raise HeschlError(f"superlet: {name} is '{value}': choose {' or '.join(get_args(among))}")


def numbers(name: str, given: Any) -> list[float]:
    """A number, or several in any array, as a list.

    Raises
    ------
    HeschlError: it is of another type.
    """
    try:
        values = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
        if values.dtype.kind not in "iuf":
            raise TypeError
        return [float(value) for value in np.atleast_1d(values).ravel()]
    except (TypeError, ValueError):  # ragged lists, too
        raise HeschlError(f"superlet: {name} is {given!r}: give numbers") from None


def number(name: str, given: Any) -> float:
    """One number, see `numbers`."""
    found = numbers(name, given)
    if len(found) != 1:
        raise HeschlError(f"superlet: {name} is {given!r}: give one number")
    return found[0]


def frequencies(freqs: Any, rate: float) -> list[float]:
    """The frequencies as a list of numbers, checked against the rate.

    Raises
    ------
    HeschlError: none is given, or one is not above zero and at most half the rate.
    """
    rate = number("rate", rate)
    if not (math.isfinite(rate) and rate > 0):
        raise HeschlError(f"superlet: the rate is {rate} Hz: it must be above zero")
    given = numbers("freqs", freqs)
    if not given:
        raise HeschlError("superlet: freqs is empty: give at least one frequency in hertz")
    for freq in given:
        if not (math.isfinite(freq) and 0 < freq <= rate / 2):
            raise HeschlError(
                f"superlet: a frequency of {freq:g} Hz cannot be seen at {rate:g} samples a second: "
                f"take frequencies above 0 and at most {rate / 2:g} Hz"
            )
    return given


def orders(freqs: Sequence[float], order: Order, axis: OrderAxis = "index") -> list[float]:
    """The order at each frequency: a number for all, or a pair, linear from the first to the last.

    Parameters
    ----------
    axis: "index" goes by the place in the list, "frequency" by the frequency between the lowest and highest.

    Raises
    ------
    HeschlError: an order below 1, or neither a number nor a pair.

    >>> orders([10.0, 20.0, 40.0], (1, 4)), orders([10.0, 20.0, 40.0], (1, 4), "frequency")
    ([1.0, 2.5, 4.0], [1.0, 2.0, 4.0])
    """
    ends = numbers("order", order)
    if len(ends) not in (1, 2) or not all(math.isfinite(end) and end >= 1 for end in ends):
        raise HeschlError(
            f"superlet: order is {order}: give a number of at least 1, or a pair such as (1, 30)"
        )
    first, last = ends[0], ends[-1]
    if axis == "index":
        return [float(value) for value in np.linspace(first, last, len(freqs))]
    low, span = min(freqs), (max(freqs) - min(freqs)) or 1.0
    return [first + (last - first) * (freq - low) / span for freq in freqs]


def wavelets(
    freqs: Sequence[float],
    base_cycles: float = 3,
    order: Order = (1, 30),
    kind: Kind = "multiplicative",
    order_axis: OrderAxis = "index",
) -> list[Wavelets]:
    """The wavelets at each frequency.

    Of order o = n + a, with n whole and 0 <= a < 1, the first n wavelets weigh 1 / o and the next a / o. Wavelet k
    has k base_cycles ("multiplicative") or base_cycles + k - 1 cycles ("additive").

    Source: Moca et al., Nature Communications 12, 337 (2021); fractional orders: Barzan et al., 2021.
    """
    choose("kind", kind, Kind)
    choose("order_axis", order_axis, OrderAxis)
    base_cycles = number("base_cycles", base_cycles)
    if not (math.isfinite(base_cycles) and base_cycles > 0):
        raise HeschlError(f"superlet: base_cycles is {base_cycles}: it must be above zero")
    sets = []
    for freq, value in zip(freqs, orders(freqs, order, order_axis), strict=True):
        whole = math.floor(value + _REST)
        rest = max(0.0, value - whole)
        numbers = range(1, whole + 1 + (rest > _REST))
        cycles = tuple(
            base_cycles * k if kind == "multiplicative" else base_cycles + k - 1.0 for k in numbers
        )
        shares = [1.0] * whole + [rest] * (rest > _REST)
        sets.append(Wavelets(freq, cycles, tuple(share / sum(shares) for share in shares)))
    return sets


# --- kernels -----------------------------------------------------------------------------------------


def gaussian_spectrum(one: Wavelets, first: int, last: int, offsets: Tensor, rate: float) -> Tensor:
    """Spectra of wavelets ``first`` to ``last`` of a frequency, sampled and not cut, in closed form.

    Parameters
    ----------
    offsets: (bin,) Hz from the frequency.

    Returns
    -------
    (wavelet, bin): ``exp(-offset^2 / 2 s^2)`` with ``s = 5 f / (2 pi c)``, divided by the sum of what sampling
    folds onto the centre, so that the samples of the Gaussian add up to one.
    """
    inverse = 2 * math.pi * np.asarray(one.cycles[first:last]) / (5 * one.freq)
    onto = np.exp(-0.5 * (inverse[:, None] * rate * np.arange(-4, 5)) ** 2).sum(1)
    slope, height = torch.as_tensor(np.stack([math.sqrt(0.5) * inverse, np.log(onto)])[:, :, None]).to(
        offsets
    )
    return torch.exp(-((slope * offsets).square() + height))


def reference_kernel(freq: float, cycles: float, rate: float) -> np.ndarray:
    """The kernel of the published Python code, (sample,) complex128, of odd length.

    ``2 floor(round(6 s rate) / 2) + 1`` samples, s the standard deviation, and a Gaussian stretched so that its
    last sample lies at exactly three standard deviations.

    >>> [len(reference_kernel(f, c, 1000.0)) for f, c in ((40, 3), (40, 15), (10, 3))]
    [91, 451, 361]
    """
    half = round(2 * HALF_WIDTH * deviation(freq, cycles) * rate) // 2
    sample = np.arange(-half, half + 1)
    shape = np.exp(-0.5 * (HALF_WIDTH * sample / max(half, 1)) ** 2)
    return np.asarray(shape / shape.sum() * np.exp(2j * np.pi * freq * sample / rate))


def fast_length(least: int) -> int:
    """The least 2^a, 3 2^a or 9 2^a that is not below ``least``: lengths at which the Fourier transform is fast.

    >>> [fast_length(n) for n in (1, 5, 6042, 6145)]
    [1, 6, 6144, 8192]
    """
    return min(odd << max(0, math.ceil(math.log2(least / odd))) for odd in (1, 3, 9))
