"""What is taken out of a clip at once: its cells, in the input itself, in time, in frequency, or in both.

A *view* of x has values that can be replaced, a way back to x, and a number for each value that says which cell it
belongs to. Spectrograms are looked at as they are; a wave is looked at through its Fourier transform (frequency) or
its short-time Fourier transform (time and frequency), and relevance of its samples is carried there by the
transposed inverse transform (Vielhaben et al. 2024, "Explainable AI for time series via virtual inspection layers",
eq. 7 ff.), by FFT, so that the sum stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from heschl import signal
from heschl.types import HeschlError, Span

Kind = Literal["values", "time", "frequency", "time_frequency"]
KINDS: tuple[str, ...] = ("values", "time", "frequency", "time_frequency")
KEPT = -1  # the number of values that belong to no cell: padding, and what lies between segments
WINDOW = 256  # samples of the STFT through which waves are looked at


class View(NamedTuple):
    """x, looked at in cells.

    values: (batch, ...), real or complex. ids: the shape of values, which cell each belongs to, or KEPT.
    n: (batch,) how many cells each clip has; they are numbered from 0.
    back: values -> x. carry: relevance of x -> relevance of the values.
    wave: values are samples or coefficients of sound, whose energy is their square; else they grow with energy.
    """

    values: Tensor
    ids: Tensor
    n: Tensor
    back: Callable[[Tensor], Tensor]
    carry: Callable[[Tensor], Tensor]
    wave: bool


def is_wave(x: Tensor) -> bool:
    """Whether x is sound itself: (batch, time) or (batch, 1, time)."""
    return x.ndim == 2 or (x.ndim == 3 and x.shape[1] == 1)


def look(
    x: Tensor,
    cells: Kind | Tensor = "values",
    width: int = 1,
    window: int = WINDOW,
    lengths: Tensor | None = None,
) -> View:
    """x in cells.

    Parameters
    ----------
    cells: "values", each value of x by itself; "time", all values of a step together (the last axis); "frequency",
        all values of a row (the axis before the last; of a wave: its Fourier transform's bins);
        "time_frequency", of a spectrogram its values, of a wave the cells of its STFT; or segments, a LongTensor
        (batch, time) or of the shape of x, with the number of the segment of each step and -1 for what stays.
    width: neighbouring steps ("time") or bins ("frequency") that make one cell.
    window: samples of the STFT; its hop is a quarter.
    lengths: (batch,) valid steps; what lies after them is never touched.

    Raises
    ------
    HeschlError: unknown cells, segments of another shape, or a width below one.
    """
    if width < 1:
        raise HeschlError(f"width is {width}: a cell is at least one step wide")
    if isinstance(cells, Tensor):
        return _segments(x, cells, lengths)
    if cells not in KINDS:
        raise HeschlError(
            f"cells are {cells!r}: choose {', '.join(KINDS)}, or give segments, a LongTensor (batch, time)"
        )
    time = x.shape[-1]
    if cells == "time":
        return _plain(x, (torch.arange(time) // width).expand(x.shape[1:]), lengths)
    if is_wave(x) and cells != "values":
        if lengths is not None and bool((lengths != time).any()):
            raise HeschlError(
                f"waves of {int(lengths.min())} to {time} samples have no frequencies in common: "
                "give clips of one length, or one clip at a time"
            )
        return _fourier(x, width) if cells == "frequency" else _short_time(x, window)
    if cells == "frequency":
        rows = torch.arange(x.shape[-2]) // width
        return _plain(x, rows[:, None].expand(x.shape[1:]), lengths)
    # numbered time first, so that padding at the end does not change the numbers of what comes before
    ids = torch.arange(x[0].numel()).reshape(time, *x.shape[1:-1]).movedim(0, -1)
    return _plain(x, ids, lengths)


def segments_of(spans: Sequence[Sequence[Span]], times: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Numbers of the segments in which the steps of each clip lie, for `look`: (batch, time), -1 outside of all.

    Parameters
    ----------
    spans: of each clip. times: (time,) centre of each step, seconds from the clip's start.
    lengths: (batch,) valid steps.
    """
    ids = torch.full((len(spans), len(times)), KEPT, dtype=torch.int64)
    at = times.double().contiguous()
    for row, own in zip(ids, spans, strict=True):
        number = 0
        for span in sorted(own, key=lambda span: span.start):
            edges = torch.tensor([span.start, span.stop], dtype=torch.float64)
            first, last = torch.searchsorted(at, edges).tolist()
            if last > first:  # a span between two steps holds none
                row[first:last] = number
                number += 1
    if lengths is not None:
        ids[torch.arange(len(times)) >= lengths[:, None]] = KEPT
    return _renumbered(ids)


def _renumbered(ids: Tensor) -> Tensor:
    """The same numbers without gaps (a later span may have covered an earlier one whole)."""
    out = ids.clone()
    for row, new in zip(ids, out):
        known, place = row.unique(return_inverse=True)
        new.copy_((place - int((known == KEPT).any())).reshape(row.shape))
    return out


# --- the ways to look ------------------------------------------------------------------------------------------


def _plain(x: Tensor, ids: Tensor, lengths: Tensor | None) -> View:
    """ids: the shape of one clip."""
    all_ids = ids.to(x.device).expand(x.shape)
    if lengths is not None:
        all_ids = torch.where(before_the_end(x, lengths), all_ids, KEPT)
    n = all_ids.flatten(1).amax(1) + 1
    return View(x, all_ids, n, lambda v: v, lambda r: r, is_wave(x))


def _segments(x: Tensor, ids: Tensor, lengths: Tensor | None) -> View:
    if ids.dtype.is_floating_point or len(ids) != len(x) or ids.shape[-1] != x.shape[-1]:
        raise HeschlError(
            f"segments are {tuple(ids.shape)} of {ids.dtype}: give the number of the segment of each step, a "
            f"LongTensor ({len(x)}, {x.shape[-1]}), -1 for none"
        )
    ids = ids.to(x.device)
    if ids.shape != x.shape:
        if ids.ndim != 2:
            raise HeschlError(
                f"segments are of shape {tuple(ids.shape)}: give (batch, time) or {tuple(x.shape)}"
            )
        ids = ids.reshape(len(x), *(1,) * (x.ndim - 2), -1).expand(x.shape)
    if lengths is not None:
        ids = torch.where(before_the_end(x, lengths), ids, KEPT)
    ids = _renumbered(ids.contiguous())
    return View(x, ids, ids.flatten(1).amax(1) + 1, lambda v: v, lambda r: r, is_wave(x))


def _fourier(x: Tensor, width: int) -> View:
    """A wave through its Fourier transform: values (batch, ..., bin), complex."""
    time = x.shape[-1]
    values = torch.fft.rfft(x)
    ids = (torch.arange(values.shape[-1], device=x.device) // width).expand(values.shape)
    twice = _sides(time, values.shape[-1], x)

    def carry(relevance: Tensor) -> Tensor:
        slope = torch.fft.rfft(_per_value(relevance, x))
        shared: Tensor = twice / time * (values * slope.conj()).real
        return shared

    n = ids.flatten(1).amax(1) + 1
    return View(values, ids, n, lambda v: torch.fft.irfft(v, n=time), carry, True)


def _short_time(x: Tensor, length: int) -> View:
    """A wave through its STFT: values (batch, ..., bin, frame), complex."""
    time, hop = x.shape[-1], max(1, length // 4)
    window = signal.hann(length, x.dtype, x.device)
    # one hop more than the wave's own frames, so that every sample is covered
    padded = time + hop

    def forward(wave: Tensor) -> Tensor:
        return signal.stft(torch.nn.functional.pad(wave, (0, padded - time)), length, hop, window)

    values = forward(x)
    ids = torch.arange(values[0].numel(), device=x.device).reshape(values.shape[1:]).expand(values.shape)
    twice = _sides(length, values.shape[-2], x)[:, None]
    # each sample is what the frames over it say, weighted by the window, over the sum of its squares
    whole = signal.overlap_add(window.square().expand(values.shape[-1], length), hop)
    weight = whole[length // 2 : length // 2 + time]

    def carry(relevance: Tensor) -> Tensor:
        slope = forward(_per_value(relevance, x) / weight)
        shared: Tensor = twice / length * (values * slope.conj()).real
        return shared

    def back(v: Tensor) -> Tensor:
        return signal.istft(v, length, hop, window, time)

    return View(values, ids, ids.flatten(1).amax(1) + 1, back, carry, True)


def _sides(n: int, bins: int, like: Tensor) -> Tensor:
    """2 for the bins that stand for two frequencies, 1 for the first and (n even) the last."""
    twice = torch.full((bins,), 2.0, dtype=like.dtype, device=like.device)
    twice[0] = 1.0
    if n % 2 == 0:
        twice[-1] = 1.0
    return twice


def _per_value(relevance: Tensor, x: Tensor) -> Tensor:
    """relevance / x, zero where x is."""
    return torch.where(x != 0, relevance / torch.where(x != 0, x, 1.0), 0.0)


# --- what stands in the place of what was taken out --------------------------------------------------------------


def fill(view: View, baseline: float | str | Tensor, seed: int = 0, lengths: Tensor | None = None) -> Tensor:
    """What replaces each value of a view, their shape.

    Parameters
    ----------
    baseline: a number; a tensor that broadcasts to x; "zero"; "silence", 0 in a wave and the clip's own lowest value
        in a spectrogram; "mean", each row's mean over time (of a wave's STFT, each bin's mean level at the phase
        that was there); or "noise", random values with each row's mean and standard deviation over time (of a wave:
        noise with the clip's own spectrum, of its STFT: with each bin's own level).
    seed: of the noise, which is the same for every clip.

    Raises
    ------
    HeschlError: an unknown baseline, a tensor that does not fit, or "mean" in a wave's frequencies.
    """
    v = view.values
    if isinstance(baseline, str):
        if baseline not in ("zero", "silence", "mean", "noise"):
            raise HeschlError(
                f"baseline is {baseline!r}: choose zero, silence, mean, noise, a number or a tensor"
            )
        if baseline == "zero" or (baseline == "silence" and view.wave):
            return torch.zeros_like(v)
        inside = (
            torch.ones_like(view.ids, dtype=torch.bool) if lengths is None else before_the_end(v, lengths)
        )
        if baseline == "silence":
            lowest = torch.where(inside, v, torch.inf).flatten(1).amin(1)
            return lowest.reshape(-1, *(1,) * (v.ndim - 1)).expand(v.shape)
        if v.is_complex():
            return _complex_fill(v, baseline, seed)
        if baseline == "noise" and view.wave:
            return _noise_like(v, seed, lengths)
        count = inside.sum(-1, keepdim=True).clamp_min(1)
        mean = torch.where(inside, v, 0.0).sum(-1, keepdim=True) / count
        if baseline == "mean":
            return mean.expand(v.shape)
        spread = (torch.where(inside, v - mean, 0.0).square().sum(-1, keepdim=True) / count).sqrt()
        return mean + spread * normal(v.shape[1:], seed).to(v)
    value = torch.as_tensor(baseline, dtype=v.dtype, device=v.device)  # a number in full precision
    if v.is_complex():
        if value.ndim:
            raise HeschlError(
                "frequencies of a wave are replaced by a number, 'zero', 'mean' or 'noise', not by a tensor"
            )
        return torch.full_like(v, complex(value.item()))
    try:
        return value.expand(v.shape)
    except RuntimeError as error:
        raise HeschlError(
            f"baseline is of shape {tuple(value.shape)}: give a number, or a tensor that broadcasts to {tuple(v.shape)}"
        ) from error


def before_the_end(v: Tensor, lengths: Tensor) -> Tensor:
    """Which values (batch, ..., step) lie before the end of their clip, of lengths (batch,) steps: the shape of v."""
    valid = torch.arange(v.shape[-1], device=v.device) < lengths.to(v.device)[:, None]
    return valid.reshape(len(v), *(1,) * (v.ndim - 2), -1).expand(v.shape)


def _complex_fill(v: Tensor, baseline: str, seed: int) -> Tensor:
    if v.ndim < 3 or v.shape[-2] == 1:  # (batch, bin): no time over which to take a mean
        if baseline == "mean":
            raise HeschlError(
                "a wave's frequencies have no mean over time: choose zero or noise, or time_frequency"
            )
        level = v.abs()
    else:
        level = v.abs().square().mean(-1, keepdim=True).sqrt().expand(v.shape)
    if baseline == "mean":
        return level * torch.sgn(v)
    return torch.polar(level, (2 * np.pi * uniform(v.shape[1:], seed)).to(level).expand(v.shape))


def _noise_like(x: Tensor, seed: int, lengths: Tensor | None) -> Tensor:
    """Noise with each wave's own spectrum: its magnitudes, random phases; clip by clip where lengths differ."""
    if lengths is not None and bool((lengths != x.shape[-1]).any()):
        out = torch.zeros_like(x)
        for row, wave, n in zip(out, x, lengths.tolist()):
            row[..., :n] = _noise_like(wave[None, ..., :n], seed, None)[0]
        return out
    spectrum = torch.fft.rfft(x)
    phases = (2 * np.pi * uniform((spectrum.shape[-1],), seed)).to(x)
    phases[0] = 0.0  # the mean has no phase
    if x.shape[-1] % 2 == 0:
        phases[-1] = 0.0
    magnitude = spectrum.abs()
    noise: Tensor = torch.fft.irfft(torch.polar(magnitude, phases.expand(magnitude.shape)), n=x.shape[-1])
    return noise


def uniform(shape: Sequence[int], seed: int | Sequence[int]) -> Tensor:
    """Numbers in [0, 1), float64, drawn time first: a longer last axis begins with the same numbers."""
    return _drawn(np.random.default_rng(seed).random, shape)


def normal(shape: Sequence[int], seed: int | Sequence[int]) -> Tensor:
    """As `uniform`, from the standard normal distribution."""
    return _drawn(np.random.default_rng(seed).standard_normal, shape)


def _drawn(draw: Callable[[tuple[int, ...]], np.ndarray], shape: Sequence[int]) -> Tensor:
    *front, last = shape
    return torch.from_numpy(np.asarray(draw((last, *front)))).movedim(0, -1)
