"""Superlets: power over time and frequency, sharp in both, by geometric means of wavelets of growing length.

Power of order o at f: the geometric mean of 2 |x * psi_k|^2 over wavelets psi_1 .. psi_o, which all oscillate at
f and last ever more cycles. Order 1 is the plain wavelet transform.

How it is computed: one Fourier transform a channel. Of it, each wavelet keeps the bins around its frequency, which
are folded onto as many as the wanted (decimated) samples are, and transformed back: the exact samples of the
coefficients at full rate. In float32 a narrow band is transformed back to few samples, and the others are interpolated
to within rounding. Logarithms of products of a few powers are added up, so that none underflows; each channel is divided
by its root mean square first, and has it back at the end, so that volts and tesla come out as well as numbers
around one do.

Source: Moca, Barzan, Nagy-Dabacan, Muresan, Nature Communications 12, 337 (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from heschl.features._superlet_kernels import (
    HALF_WIDTH,
    Kernel,
    Kind,
    Order,
    OrderAxis,
    choose,
    frequencies,
    number,
    wavelets,
)
from heschl.features._superlet_work import TAIL, Plan, transform
from heschl.features.mel import Count
from heschl.types import HeschlError

Output = Literal["power", "log-power", "complex"]

SILENT = -150.0  # natural logarithm of power that stands for a channel of zeros (7e-66)


class Superlets(NamedTuple):
    """What ``output="complex"`` gives, each (..., freq, time).

    power: as ``output="power"`` gives it. phase: complex, of length one, the angle of the weighted mean of the
    wavelets' unit phasors: that of the oscillation at this time (0 for ``cos`` at its peak). resultant: the length
    of that mean, in [0, 1]: how far the wavelets agree on the phase; a channel of zeros has resultant 0 and phase 1.
    """

    power: Tensor
    phase: Tensor
    resultant: Tensor


def superlet(
    x: Tensor,
    rate: float,
    freqs: Any,
    base_cycles: float = 3,
    order: Order = (1, 30),
    kind: Kind = "multiplicative",
    order_axis: OrderAxis = "index",
    kernel: Kernel = "gaussian",
    decim: int = 1,
    output: Output = "power",
) -> Any:
    """Superlet transform; differentiable, in float32 or float64, on any device.

    Parameters
    ----------
    x: (..., time), real, in any unit; zeros are taken before its start and after its end.
    rate: samples a second, Hz.
    freqs: (freq,) Hz, above 0 and at most half the rate.
    base_cycles: cycles of the shortest wavelet, c1.
    order: number of wavelets, at least 1, fractions allowed; a pair goes from the first frequency to the last.
    kind: wavelet k has ``k c1`` cycles ("multiplicative") or ``c1 + k - 1`` ("additive").
    order_axis: whether a pair goes linearly by "index" of ``freqs`` or by "frequency".
    kernel: "gaussian" is the whole Gaussian; "reference" repeats the published code, which cuts it at three
        standard deviations and stretches it to whole samples.
    decim: gives every ``decim``-th sample of the full-rate result, and is faster by it.
    output: "power"; "log-power", its natural logarithm, `SILENT` for a channel of zeros; "complex", a `Superlets`.

    Returns
    -------
    (..., freq, ceil(time / decim)) in x's dtype, power in squared units of x: a sine of amplitude A gives A^2 / 2.

    Raises
    ------
    HeschlError: x is empty, complex or not finite; a frequency, order or name that cannot be.

    >>> t = torch.arange(1000, dtype=torch.float64) / 500
    >>> x = 2 * torch.cos(2 * torch.pi * 40 * t)
    >>> [round(float(value), 3) for value in superlet(x, 500, [20, 40], order=3)[:, 500]]
    [0.0, 2.0]
    """
    choose("kernel", kernel, Kernel)
    choose("output", output, Output)
    if number("decim", decim) % 1 or decim < 1:
        raise HeschlError(f"superlet: decim is {decim}: it must be a whole number of at least 1")
    x = _checked(x)
    sets = wavelets(frequencies(freqs, rate), base_cycles, order, kind, order_axis)
    *leading, time = x.shape
    scale = _level(x.detach())
    heard = scale > 0
    scale = torch.where(heard, scale, 1.0)
    flat = (x / scale).reshape(-1, time)
    plan = Plan(sets, float(rate), time, int(decim), kernel, flat.dtype)
    logs, mean = transform(flat, plan, output == "complex")
    logs = logs.reshape(*leading, len(sets), plan.steps)
    shift, heard = 2 * scale.log()[..., None, :], heard[..., None, :]
    logs = logs + shift if logs.requires_grad else logs.add_(shift)
    if output == "log-power":
        return logs if bool(heard.all()) else torch.where(heard, logs, SILENT)
    power = logs.exp() if logs.requires_grad else logs.exp_()
    power = power if bool(heard.all()) else torch.where(heard, power, 0.0)
    if mean is None:
        return power
    mean = mean.reshape(logs.shape)
    resultant = mean.abs()
    phase = torch.where(resultant > 0, torch.sgn(mean), 1.0)
    return Superlets(power, phase, resultant.clamp_max(1.0))  # by rounding it may be a little more


def reach(
    freqs: Sequence[float],
    base_cycles: float = 3,
    order: Order = (1, 30),
    kind: Kind = "multiplicative",
    order_axis: OrderAxis = "index",
) -> Tensor:
    """How far to either side the longest wavelet sees, (freq,) seconds: three standard deviations, 99.7 % of it."""
    sets = wavelets([float(freq) for freq in freqs], base_cycles, order, kind, order_axis)
    return torch.tensor([HALF_WIDTH * one.longest for one in sets], dtype=torch.float64)


def edge_mask(
    time: int,
    rate: float,
    freqs: Sequence[float],
    base_cycles: float = 3,
    order: Order = (1, 30),
    kind: Kind = "multiplicative",
    order_axis: OrderAxis = "index",
    decim: int = 1,
) -> Tensor:
    """Where a superlet sees data only (the inside of the cone of influence), (freq, step) of truth values.

    False where the longest wavelet of that frequency reaches (see `reach`) before the first or beyond the last of
    ``time`` samples, into the zeros that stand there.
    """
    half = reach(freqs, base_cycles, order, kind, order_axis)[:, None] * rate
    sample = torch.arange(0, time, decim, dtype=torch.float64)
    return (sample >= half) & (time - 1 - sample >= half)


class Superlet(nn.Module):
    """Superlets as a feature: (batch, ..., time) to (batch, ..., freq, step).

    Parameters
    ----------
    sample_rate: Hz of the signal.
    low, high, n_freqs: the frequencies, evenly spaced, Hz.
    decim: samples a step.
    output: "log-power" or "power".
    The others are those of `superlet`.

    Attributes
    ----------
    rate: steps a second. frequencies: (freq,) Hz.
    """

    def __init__(
        self,
        sample_rate: float = 256.0,
        low: float = 2.0,
        high: float = 100.0,
        n_freqs: int = 64,
        base_cycles: float = 3,
        order: tuple[float, float] = (1, 30),
        kind: Kind = "multiplicative",
        order_axis: OrderAxis = "index",
        kernel: Kernel = "gaussian",
        decim: int = 1,
        output: Literal["power", "log-power"] = "log-power",
    ) -> None:
        super().__init__()
        if output not in ("power", "log-power"):
            raise HeschlError(
                f"Superlet.output is '{output}': choose power or log-power (the function `superlet` gives the phase)"
            )
        if n_freqs < 1 or not 0 < low <= high:
            raise HeschlError(
                f"Superlet: {n_freqs} frequencies from {low:g} to {high:g} Hz: give at least one, above zero, in order"
            )
        self.sample_rate = sample_rate
        self.rate = sample_rate / decim
        self.start = 0.0
        self.decim = decim
        self.options: dict[str, Any] = {
            "base_cycles": base_cycles,
            "order": tuple(order) if isinstance(order, Sequence) else order,
            "kind": kind,
            "order_axis": order_axis,
            "kernel": kernel,
            "output": output,
        }
        freqs = np.linspace(low, high, n_freqs)
        wavelets(
            frequencies(freqs, sample_rate), base_cycles, order, kind, order_axis
        )  # refused here, not later
        self.register_buffer("frequencies", torch.as_tensor(freqs), persistent=False)

    def steps(self, samples: Count) -> Count:
        """Steps of a signal of so many samples."""
        return -(-samples // self.decim)

    def forward(self, wave: Tensor) -> Tensor:
        x: Tensor = superlet(wave, self.sample_rate, self.frequencies, decim=self.decim, **self.options)
        return x


# --- on the way in -----------------------------------------------------------------------------------


def _checked(given: Any) -> Tensor:
    try:
        x: Tensor = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise HeschlError(
            f"superlet: x is {type(given).__name__}: give an array or a tensor (..., time) of numbers"
        ) from None
    if x.is_complex():
        raise HeschlError("superlet: x is complex: give its real part, or the two parts one by one")
    if x.ndim == 0 or 0 in x.shape:
        raise HeschlError(
            f"superlet: x has shape {tuple(x.shape)}: it must be (..., time) with at least one sample"
        )
    if x.dtype not in TAIL:
        x = x.float()
    if not bool(x.detach().isfinite().all()):
        bad = int((~x.detach().isfinite()).any(-1).sum())
        raise HeschlError(
            f"superlet: {bad} of {x[..., 0].numel()} channels hold values that are not finite (NaN or infinite): "
            "interpolate or leave them out first"
        )
    return x


def _level(x: Tensor) -> Tensor:
    """Root mean square, (..., 1), by way of the peak, whose square may be too small for a float."""
    peak = x.abs().amax(-1, keepdim=True)
    level: Tensor = peak * (x / torch.where(peak > 0, peak, 1.0)).square().mean(-1, keepdim=True).sqrt()
    return level
