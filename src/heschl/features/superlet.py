"""Superlets: power over time and frequency, sharp in both, by geometric means of wavelets of growing length.

Power of order o at f: the geometric mean of 2 |x * psi_k|^2 over wavelets psi_1 .. psi_o, which all oscillate at
f and last ever more cycles. Order 1 is the plain wavelet transform.

How it is computed: one Fourier transform a channel. Of it, each wavelet keeps the bins around its frequency, which
are folded onto as many as the wanted (decimated) samples are, and transformed back: the exact samples of the
coefficients at full rate. Logarithms of power are added up, so that no product underflows; each channel is divided
by its root mean square first, and has it back at the end, so that volts and tesla come out as well as numbers
around one do.

Source: Moca, Barzan, Nagy-Dabacan, Muresan, Nature Communications 12, 337 (2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from heschl.features._superlet_kernels import (
    HALF_WIDTH,
    Kernel,
    Kind,
    Order,
    OrderAxis,
    Wavelets,
    choose,
    fast_length,
    frequencies,
    gaussian_spectrum,
    reference_kernel,
    wavelets,
)
from heschl.features.mel import Count
from heschl.types import HeschlError

Output = Literal["power", "log-power", "complex"]

SILENT = -150.0  # natural logarithm of power that stands for a channel of zeros (7e-66)
_TAIL = {
    torch.float32: 6.0,
    torch.float64: 8.5,
}  # standard deviations beyond which nothing is left in that dtype
_BLOCK = {"cpu": 2**21, "cuda": 2**28}  # bytes that one step of the work may take


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
    [0.001, 2.0]
    """
    choose("kernel", kernel, Kernel)
    choose("output", output, Output)
    if isinstance(decim, bool) or int(decim) != decim or decim < 1:
        raise HeschlError(f"superlet: decim is {decim}: it must be a whole number of at least 1")
    x = _checked(x)
    sets = wavelets(frequencies(freqs, float(rate)), base_cycles, order, kind, order_axis)
    *leading, time = x.shape
    scale = _level(x.detach())
    heard = scale > 0
    scale = torch.where(heard, scale, 1.0)
    flat = (x / scale).reshape(-1, time)
    plan = _Plan(sets, float(rate), time, int(decim), kernel, flat.dtype)
    blocks = [_block(part, plan, output == "complex") for part in flat.split(plan.channels(flat.device))]
    logs, mean = (torch.cat(parts) if parts[0] is not None else None for parts in zip(*blocks, strict=True))
    shape = (*leading, len(sets), plan.steps)
    logs = logs.reshape(shape) + 2 * scale.log()[..., None, :]
    heard = heard[..., None, :]
    if output == "log-power":
        return torch.where(heard, logs, SILENT)
    power = torch.where(heard, logs.exp(), 0.0)
    if mean is None:
        return power
    mean = mean.reshape(shape)
    resultant = mean.abs()
    return Superlets(power, torch.where(resultant > 0, torch.sgn(mean), 1.0), resultant)


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
        self.options = {
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


# --- how ---------------------------------------------------------------------------------------------


def _checked(x: Any) -> Tensor:
    x = torch.as_tensor(x)
    if x.is_complex():
        raise HeschlError("superlet: x is complex: give its real part, or the two parts one by one")
    if x.ndim == 0 or 0 in x.shape:
        raise HeschlError(
            f"superlet: x has shape {tuple(x.shape)}: it must be (..., time) with at least one sample"
        )
    if x.dtype not in _TAIL:
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
    return peak * (x / torch.where(peak > 0, peak, 1.0)).square().mean(-1, keepdim=True).sqrt()


class _Plan:
    """Sizes that all channels share: N points of the transform, of which M = N / decim come back."""

    def __init__(
        self, sets: list[Wavelets], rate: float, time: int, decim: int, kernel: Kernel, dtype: torch.dtype
    ) -> None:
        self.sets, self.rate, self.kernel, self.dtype = sets, rate, kernel, dtype
        self.tail = _TAIL[dtype]
        self.steps = -(-time // decim)
        widths = HALF_WIDTH if kernel == "reference" else self.tail
        margin = math.ceil(widths * max(one.longest for one in sets) * rate) + 1  # wrapping round finds zeros
        self.short = fast_length(math.ceil((time + margin) / decim))
        self.long = self.short * decim

    def channels(self, device: torch.device) -> int:
        """How many channels are worked on together."""
        return max(1, self.budget(device) // self.long)

    def budget(self, device: torch.device) -> int:
        """Complex numbers that one step may hold."""
        size = 2 * torch.finfo(self.dtype).bits // 8
        return _BLOCK.get(device.type, _BLOCK["cpu"]) // size


def _block(x: Tensor, plan: _Plan, phase: bool) -> tuple[Tensor, Tensor | None]:
    """Log-power (channel, freq, step) of (channel, time), and the mean phasor where it is wanted."""
    spectrum = torch.fft.fft(x, n=plan.long)
    work = partial(_reference if plan.kernel == "reference" else _gaussian, plan=plan, phase=phase)
    if (
        torch.is_grad_enabled() and x.requires_grad
    ):  # the wavelets of a frequency are computed again going back
        rows = [checkpoint(work, spectrum, one, use_reentrant=False) for one in plan.sets]
    else:
        rows = [work(spectrum, one) for one in plan.sets]
    logs, means = zip(*rows, strict=True)
    return torch.stack(logs, 1), torch.stack(means, 1) if phase else None


def _gaussian(spectrum: Tensor, one: Wavelets, plan: _Plan, phase: bool) -> tuple[Tensor, Tensor | None]:
    """One frequency: (channel, N) to (channel, step)."""
    step = plan.rate / plan.long  # Hz a bin
    total = _Sum(one, phase)
    for first, last in _groups(one, len(spectrum) * plan.short, plan.budget(spectrum.device)):
        width = 5 * one.freq / (2 * math.pi * one.cycles[first])
        size = 2 * math.ceil(plan.tail * width / step) + 3
        folds = -(-size // plan.short)
        if folds > 1:
            size = folds * plan.short
        start = round(one.freq / step) - size // 2
        bins = torch.arange(start, start + size, device=spectrum.device)
        offsets = (bins.double() * step - one.freq).to(plan.dtype)
        cycles = torch.tensor(one.cycles[first:last], device=spectrum.device, dtype=plan.dtype)
        shape = gaussian_spectrum(one.freq, cycles, offsets, plan.rate)
        kept = spectrum[:, bins % plan.long]
        parts = torch.view_as_real(kept) * shape[:, None, :, None]
        if folds > 1:
            parts = parts.unflatten(2, (folds, plan.short)).sum(2)
        back = torch.fft.ifft(torch.view_as_complex(parts), n=plan.short)[..., : plan.steps]
        if phase:  # the bins were moved to the start: an oscillation, which power does not see
            turns = torch.arange(plan.steps, device=spectrum.device) * (start % plan.short) % plan.short
            angle = (2 * math.pi / plan.short) * turns.to(plan.dtype)
            back = back * torch.polar(torch.ones_like(angle), angle)
        total.add(back, first, last)
    return total.logs(plan), total.mean


def _reference(spectrum: Tensor, one: Wavelets, plan: _Plan, phase: bool) -> tuple[Tensor, Tensor | None]:
    """The same with the reference's kernels, which have no closed form: each is transformed."""
    total = _Sum(one, phase)
    for number, cycles in enumerate(one.cycles):
        kernel = reference_kernel(one.freq, cycles, plan.rate)
        half = len(kernel) // 2
        around = torch.zeros(plan.long, dtype=spectrum.dtype)
        places = torch.arange(-half, half + 1) % plan.long
        around.index_add_(0, places, torch.as_tensor(kernel).to(spectrum.dtype))
        parts = spectrum * torch.fft.fft(around).to(spectrum.device)
        parts = parts.unflatten(1, (-1, plan.short)).sum(1)
        total.add(torch.fft.ifft(parts)[None, :, : plan.steps], number, number + 1)
    return total.logs(plan), total.mean


class _Sum:
    """Adds up one frequency's wavelets."""

    def __init__(self, one: Wavelets, phase: bool) -> None:
        self.one, self.phase = one, phase
        self.total: Tensor | None = None
        self.mean: Tensor | None = None

    def add(self, back: Tensor, first: int, last: int) -> None:
        """Takes in coefficients (wavelet, channel, step)."""
        squares = torch.view_as_real(back).square()
        power = squares[..., 0] + squares[..., 1]
        logs = power.clamp_min(torch.finfo(power.dtype).tiny).log()
        weights = torch.tensor(self.one.weights[first:last], dtype=logs.dtype, device=logs.device)
        self.total = _plus(self.total, torch.tensordot(weights, logs, 1))
        if self.phase:
            unit = torch.view_as_real(torch.sgn(back))
            self.mean = _plus(self.mean, torch.view_as_complex(torch.tensordot(weights, unit, 1)))

    def logs(self, plan: _Plan) -> Tensor:
        """Log-power of twice the squared coefficients; the inverse transform divided by M instead of N."""
        assert self.total is not None
        return self.total + (math.log(2) + 2 * math.log(plan.short / plan.long))


def _plus(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total + part


def _groups(one: Wavelets, each: int, budget: int) -> Iterator[tuple[int, int]]:
    """Wavelets that are worked on together: of nearly one width in frequency, and no more than memory allows."""
    first, count = 0, len(one.cycles)
    most = max(1, budget // each)
    while first < count:
        last = first + 1
        while last < count and last - first < most and one.cycles[last] <= 1.7 * one.cycles[first]:
            last += 1
        yield first, last
        first = last
