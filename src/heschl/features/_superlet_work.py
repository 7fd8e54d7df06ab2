"""How superlets are computed: transforms, bins around a frequency, folding, and sums of logarithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heschl.features._superlet_kernels import (
    HALF_WIDTH,
    Kernel,
    Wavelets,
    fast_length,
    gaussian_spectrum,
    reference_kernel,
)

TAIL = {
    torch.float32: 6.0,
    torch.float64: 8.5,
}  # standard deviations beyond which nothing is left in that dtype
_BLOCK = {"cpu": 2**20, "cuda": 2**28}  # bytes that one step of the work may take


class Plan:
    """Sizes that all channels share: N points of the transform, of which M = N / decim come back."""

    def __init__(
        self, sets: list[Wavelets], rate: float, time: int, decim: int, kernel: Kernel, dtype: torch.dtype
    ) -> None:
        self.sets, self.rate, self.kernel, self.dtype = sets, rate, kernel, dtype
        self.tail = TAIL[dtype]
        self.complex = dtype.to_complex()
        self.steps = -(-time // decim)
        widths = HALF_WIDTH if kernel == "reference" else self.tail
        margin = math.ceil(widths * max(one.longest for one in sets) * rate) + 1  # wrapping round finds zeros
        self.short = fast_length(math.ceil((time + margin) / decim))
        self.long = self.short * decim
        self.hertz = rate / self.long  # a bin
        self.copies = 1 + max(-(-self.width(one, 0) // self.long) for one in sets)

    def width(self, one: Wavelets, number: int) -> int:
        """Bins around its frequency in which a wavelet has weight: odd, or a multiple of M where more than M."""
        half = self.tail * 5 * one.freq / (2 * math.pi * one.cycles[number])
        size = 2 * math.ceil(half / self.hertz) + 3
        return size if size <= self.short else -(-size // self.short) * self.short

    def spectrum(self, x: Tensor) -> Tensor:
        """Of (channel, time); repeated where any stretch of bins is to be a slice of it."""
        spectrum = torch.fft.fft(x, n=self.long)
        return torch.cat([spectrum] * self.copies, 1) if self.kernel == "gaussian" else spectrum

    def channels(self, device: torch.device) -> int:
        """How many channels are worked on together."""
        return max(1, self.budget(device) // self.long)

    def budget(self, device: torch.device) -> int:
        """Complex numbers that one step may hold."""
        size = 2 * torch.finfo(self.dtype).bits // 8
        return _BLOCK.get(device.type, _BLOCK["cpu"]) // size


class _Room:
    """Memory that is used again from step to step; none where gradients must find what was there."""

    def __init__(self, kept: bool) -> None:
        self.kept = kept
        self.held: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor | None:
        if not self.kept:
            return None
        count = math.prod(shape)
        if name not in self.held or self.held[name].numel() < count:
            self.held[name] = like.new_empty(count)
        return self.held[name][:count].view(shape)

    def over(self, values: Tensor) -> Tensor | None:
        """The values' own memory."""
        return values if self.kept else None


def transform(x: Tensor, plan: Plan, phase: bool) -> tuple[Tensor, Tensor | None]:
    """Log-power (channel, freq, step) of (channel, time), and the mean phasor where it is wanted."""
    back = torch.is_grad_enabled() and x.requires_grad
    room = _Room(not back)
    work = partial(_reference if plan.kernel == "reference" else _gaussian, plan=plan, phase=phase, room=room)
    blocks = torch.split(x, plan.channels(x.device))
    with torch.set_grad_enabled(back):
        spectra = (plan.spectrum(part) for part in blocks)
        if back:  # the wavelets of a frequency are computed again on the way back: memory holds those of one
            rows = [
                [checkpoint(work, part, one, use_reentrant=False) for one in plan.sets] for part in spectra
            ]
            logs, means = zip(*(zip(*row, strict=True) for row in rows), strict=True)
            stacked = torch.cat([torch.stack(part, 1) for part in logs])
            return stacked, torch.cat([torch.stack(part, 1) for part in means]) if phase else None
        shape = (len(x), len(plan.sets), plan.steps)
        power = x.new_empty(shape)
        mean = x.new_empty(shape, dtype=plan.complex) if phase else None
        first = 0
        for spectrum in spectra:
            last = first + len(spectrum)
            for number, one in enumerate(plan.sets):
                power[first:last, number], own = work(spectrum, one)
                if mean is not None and own is not None:
                    mean[first:last, number] = own
            first = last
    return power, mean


def _gaussian(
    spectrum: Tensor, one: Wavelets, plan: Plan, phase: bool, room: _Room
) -> tuple[Tensor, Tensor | None]:
    """One frequency: (channel, bin) to (channel, step)."""
    total = _Sum(spectrum, one, plan, phase, room)
    short = plan.short
    for first, last in _groups(one, len(spectrum) * short, plan.budget(spectrum.device)):
        size = plan.width(one, first)
        start = round(one.freq / plan.hertz) - size // 2
        bins = torch.arange(start, start + size, device=spectrum.device, dtype=torch.float64)
        offsets = (bins * plan.hertz - one.freq).to(plan.dtype)
        shape = gaussian_spectrum(one, first, last, offsets, plan.rate).to(spectrum.dtype)[:, None]
        kept = spectrum[:, start % plan.long : start % plan.long + size]
        each = (last - first, len(spectrum))
        if size <= short:
            filled = room.take("parts", (*each, short), spectrum)
            if filled is None:
                parts = F.pad(kept * shape, (0, short - size))
            else:
                parts = filled
                torch.mul(kept, shape, out=parts[..., :size])
                parts[..., size:] = 0
        else:
            wide = torch.mul(kept, shape, out=room.take("wide", (*each, size), spectrum))
            wide = wide.view(*each, -1, short)
            parts = torch.sum(wide, 2, out=room.take("parts", (*each, short), spectrum))
        back = torch.fft.ifft(parts, norm="forward")  # with out= it would copy
        if phase:  # the bins were moved to the start: an oscillation, which power does not see
            turns = torch.arange(short, device=spectrum.device) * (start % short) % short
            angle = (2 * math.pi / short) * turns.to(plan.dtype)
            back = back * torch.polar(torch.ones_like(angle), angle)
        total.add(back, first, last)
    return total.logs, total.mean


def _reference(
    spectrum: Tensor, one: Wavelets, plan: Plan, phase: bool, room: _Room
) -> tuple[Tensor, Tensor | None]:
    """The same with the reference's kernels, which have no closed form: each is transformed."""
    total = _Sum(spectrum, one, plan, phase, room)
    for number, cycles in enumerate(one.cycles):
        kernel = reference_kernel(one.freq, cycles, plan.rate)
        half = len(kernel) // 2
        places = torch.arange(-half, half + 1) % plan.long  # what wraps round meets the zeros
        values = torch.as_tensor(kernel).to(spectrum.dtype)
        around = torch.zeros(plan.long, dtype=spectrum.dtype).index_add_(0, places, values)
        around = around.to(spectrum.device)
        parts = (spectrum * torch.fft.fft(around)).view(len(spectrum), -1, plan.short).sum(1)
        total.add(torch.fft.ifft(parts, norm="forward")[None], number, number + 1)
    return total.logs, total.mean


class _Sum:
    """Adds up one frequency's wavelets: the logarithm of power, and the unit phasor where it is wanted."""

    def __init__(self, spectrum: Tensor, one: Wavelets, plan: Plan, phase: bool, room: _Room) -> None:
        self.plan, self.phase, self.room = plan, phase, room
        self.weights = torch.as_tensor(np.array(one.weights)).to(spectrum.real)
        # Log-power is of twice the squared coefficient, and the transforms did not divide by N.
        constant = math.log(2) - 2 * math.log(plan.long)
        self.logs = spectrum.real.new_full((len(spectrum), plan.steps), constant)
        self.mean = spectrum.new_zeros(len(spectrum), plan.steps) if phase else None

    def add(self, back: Tensor, first: int, last: int) -> None:
        """Takes in coefficients (wavelet, channel, M)."""
        steps, over = self.plan.steps, self.room.over
        weights = self.weights[first:last]
        if self.mean is not None:
            unit = torch.view_as_real(torch.sgn(back[..., :steps]))
            self.mean = self.mean + torch.view_as_complex(torch.tensordot(weights, unit, 1))
        parts = torch.view_as_real(back)
        squares = torch.square(parts, out=over(parts))[..., :steps, :]
        shape = (*back.shape[:2], steps)
        power = torch.add(squares[..., 0], squares[..., 1], out=self.room.take("power", shape, weights))
        power = torch.clamp_min(power, torch.finfo(power.dtype).tiny, out=over(power))
        logs = torch.log(power, out=over(power)).flatten(1).T
        self.logs = torch.addmv(self.logs.flatten(), logs, weights, out=over(self.logs.view(-1))).view(
            shape[1:]
        )


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
