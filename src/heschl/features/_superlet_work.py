"""How superlets are computed: transforms, bins around a frequency, folding, products and sums of logarithms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heschl.features._superlet_finer import finer, ratio
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
# Powers that are multiplied before one logarithm, and the binary exponent within which each then stays.
_PRODUCT = {torch.float32: (3, 42), torch.float64: (8, 127)}
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
        # A channel's root mean square is one and a wavelet's sum is one: power is at most ``time``.
        self.together, half = _PRODUCT[dtype]
        self.floor = 2.0**-half
        self.log_scale = half * math.log(2) - math.log(time)
        self.gain = math.exp(self.log_scale / 2) / self.long  # the transforms do not divide by N
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

    def place(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """The same, or new memory."""
        found = self.take(name, shape, like)
        return like.new_empty(shape) if found is None else found

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
    # Interpolation is exact to float32's rounding, where matrix products are.
    exact = torch.get_float32_matmul_precision() == "highest" and spectrum.device.type == "cpu"
    narrow = room.kept and not phase and plan.dtype == torch.float32 and exact
    for first, last, times in _groups(one, len(spectrum), plan, spectrum.device, narrow):
        size = plan.width(one, first)
        start = round(one.freq / plan.hertz) - size // 2
        bins = torch.arange(start, start + size, device=spectrum.device, dtype=torch.float64)
        offsets = (bins * plan.hertz - one.freq).to(plan.dtype)
        shape = gaussian_spectrum(one, first, last, offsets, plan.rate).mul_(plan.gain)
        kept = spectrum[:, start % plan.long : start % plan.long + size]
        points = plan.short // times
        parts = _placed(kept, shape.to(spectrum.dtype)[:, None], points, times > 1, room)
        back = torch.fft.ifft(parts, norm="forward")  # with out= it would copy
        if times > 1:
            for number, each in enumerate(back, first):
                real, imaginary = finer(each[None], times, plan.steps, plan.tail, room.place)
                total.multiply(real.square_().addcmul_(imaginary, imaginary), number)
            continue
        if phase:  # the bins were moved to the start: an oscillation, which power does not see
            turns = torch.arange(points, device=spectrum.device) * (start % points) % points
            angle = (2 * math.pi / points) * turns.to(plan.dtype)
            back = back * torch.polar(torch.ones_like(angle), angle)
        total.add(back, first, last)
    return total.done()


def _placed(kept: Tensor, shape: Tensor, points: int, centred: bool, room: _Room) -> Tensor:
    """Weighted bins (wavelet, channel, point): from the first on, or about it; folded where there are too many."""
    size = kept.shape[1]
    each = (len(shape), len(kept))
    if size > points:
        wide = torch.mul(kept, shape, out=room.take("wide", (*each, size), kept))
        return torch.sum(wide.view(*each, -1, points), 2, out=room.take("parts", (*each, points), kept))
    parts = room.take("parts", (*each, points), kept)
    if parts is None:
        return F.pad(kept * shape, (0, points - size))
    half = size // 2 if centred else 0
    torch.mul(kept[:, half:], shape[..., half:], out=parts[..., : size - half])
    parts[..., size - half : points - half] = 0
    if half:
        torch.mul(kept[:, :half], shape[..., :half], out=parts[..., points - half :])
    return parts


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
        weighted = spectrum * torch.fft.fft(around).mul_(plan.gain)
        parts = weighted.view(len(spectrum), -1, plan.short).sum(1)
        total.add(torch.fft.ifft(parts, norm="forward")[None], number, number + 1)
    return total.done()


class _Sum:
    """Adds up one frequency's wavelets: the logarithm of power, and the unit phasor where it is wanted."""

    def __init__(self, spectrum: Tensor, one: Wavelets, plan: Plan, phase: bool, room: _Room) -> None:
        self.plan, self.room, self.weights = plan, room, one.weights
        # Log-power is of twice the squared coefficient, which the wavelets' gain has made larger.
        constant = math.log(2) - plan.log_scale
        shape = (len(spectrum), plan.steps)
        self.logs = spectrum.real.new_full(shape, constant)
        self.mean = spectrum.new_zeros(shape) if phase else None
        # Powers of wavelets that weigh alike are multiplied before one logarithm; one by one on the way back.
        self.product = room.take("product", shape, self.logs)
        self.count, self.weight = 0, 0.0

    def add(self, back: Tensor, first: int, last: int) -> None:
        """Takes in coefficients (wavelet, channel, M)."""
        back = back[..., : self.plan.steps]
        if self.mean is not None:
            weights = back.real.new_tensor(self.weights[first:last])  # not by way of float32
            unit = torch.view_as_real(torch.sgn(back))
            self.mean = self.mean + torch.view_as_complex(torch.tensordot(weights, unit, 1))
        parts = torch.view_as_real(back)
        squares = torch.square(parts, out=self.room.over(parts))
        power = torch.add(
            squares[..., 0], squares[..., 1], out=self.room.take("power", back.shape, self.logs)
        )
        for number, each in enumerate(power, first):
            self.multiply(each, number)

    def multiply(self, power: Tensor, number: int) -> None:
        """Takes in the power of one wavelet (channel, n), n at least as many as the steps."""
        power, weight = power[..., : self.plan.steps].view(self.logs.shape), self.weights[number]
        if self.product is None:
            self.logs = self.logs + weight * torch.log(torch.clamp_min(power, self.plan.floor))
            return
        power.clamp_min_(self.plan.floor)
        if self.count and (weight != self.weight or self.count == self.plan.together):
            self._log()
        if self.count:
            self.product *= power
        else:
            self.product.copy_(power)
        self.count, self.weight = self.count + 1, weight

    def _log(self) -> None:
        if self.product is not None and self.count:
            self.logs.add_(self.product.log_(), alpha=self.weight)
        self.count = 0

    def done(self) -> tuple[Tensor, Tensor | None]:
        self._log()
        return self.logs, self.mean


def _groups(
    one: Wavelets, channels: int, plan: Plan, device: torch.device, narrow: bool
) -> Iterator[tuple[int, int, int]]:
    """Wavelets that are worked on together, and how many times fewer samples they are worked on at.

    They are of nearly one width in frequency, and no more than memory allows.
    """
    first, count = 0, len(one.cycles)
    while first < count:
        times = ratio(plan.width(one, first), plan.short) if narrow else 1
        most = max(1, plan.budget(device) * times // (channels * plan.short))
        last = first + 1
        while last < count and last - first < most and one.cycles[last] <= 1.7 * one.cycles[first]:
            last += 1
        yield first, last, times
        first = last
