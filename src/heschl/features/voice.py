"""The voice in a wave: its pitch by YIN and its formants by linear prediction.

Sources: de Cheveigné & Kawahara 2002, JASA 111(4) 1917-1930 (YIN, steps 1 to 5); Markel & Gray 1976, Linear
Prediction of Speech (autocorrelation method, formants from the roots of the predictor).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from heschl import signal
from heschl.types import HeschlError


class Pitch(NamedTuple):
    """A voice's pitch over time.

    times: (frame,) centre of each frame, seconds. f0: (..., frame) Hz, NaN where there is none.
    aperiodicity: (..., frame) from 0, periodic, to about 1: the cumulative mean normalised difference (eq. 8) at the
        chosen lag.
    """

    times: Tensor
    f0: Tensor
    aperiodicity: Tensor


class Formants(NamedTuple):
    """Resonances of a voice over time, lowest first, NaN where there are fewer.

    times: (frame,) seconds. frequencies, bandwidths: (..., frame, formant) Hz.
    """

    times: Tensor
    frequencies: Tensor
    bandwidths: Tensor


def pitch(
    wave: Tensor,
    rate: float,
    f_min: float = 60.0,
    f_max: float = 500.0,
    hop: float = 0.01,
    threshold: float = 0.1,
) -> Pitch:
    """Pitch by YIN: the first lag at which a frame resembles itself.

    Parameters
    ----------
    wave: (..., time). rate: Hz.
    f_min, f_max: where pitch is looked for, Hz; a frame sees two of the longest periods. A voice below has no pitch, and
        one above is taken for half of it or less, since twice its period is a period too.
    hop: seconds between frames; frame k is centred on sample k * round(hop * rate), in zeros outside the wave.
    threshold: of aperiodicity (0.1 as in the paper); a frame without a dip below it has no pitch (nor has silence).

    Raises
    ------
    HeschlError: f_min and f_max are not in order within half the rate, or the hop is no sample long.
    """
    _check(wave, rate, hop)
    if not 0 < f_min < f_max <= rate / 2:
        raise HeschlError(
            f"pitch from {f_min} to {f_max} Hz: give limits above zero, in order, up to half the rate ({rate / 2} Hz)"
        )
    longest, shortest = math.ceil(rate / f_min) + 1, max(2, math.floor(rate / f_max))
    step = round(hop * rate)
    padded = F.pad(wave.detach().double(), (longest, longest))
    frames = signal.frames(padded, 2 * longest, step)  # (..., frame, 2 longest), frame k centred on k * step
    lags = _difference(frames, longest)
    tau = torch.arange(1, longest + 1, dtype=lags.dtype, device=lags.device)
    total = lags[..., 1:].cumsum(-1)
    loud = total[..., -1:] > 0
    # eq. 8: the difference at a lag over its mean up to that lag; 1 at lag zero, and in silence
    normal = torch.where(loud & (total > 0), lags[..., 1:] * tau / torch.where(total > 0, total, 1.0), 1.0)
    normal = F.pad(normal, (1, 0), value=1.0)
    inside = slice(shortest, longest)
    here, before, after = (
        normal[..., inside],
        normal[..., shortest - 1 : longest - 1],
        normal[..., shortest + 1 :],
    )
    dips = (here < before) & (here <= after[..., : here.shape[-1]]) & (here < threshold)
    voiced = dips.any(-1)
    place = torch.where(voiced, _deepest(here, dips, shortest), here.argmin(-1))[..., None]
    low, mid, high = (side.gather(-1, place)[..., 0] for side in (before, here, after))
    bend = low - 2 * mid + high  # a parabola through the dip and its neighbours (step 5)
    shift = torch.where(bend > 0, 0.5 * (low - high) / torch.where(bend > 0, bend, 1.0), 0.0).clamp(-0.5, 0.5)
    f0 = torch.where(voiced, rate / (place[..., 0] + shortest + shift), math.nan)
    times = torch.arange(frames.shape[-2], dtype=torch.float64, device=wave.device) * step / rate
    return Pitch(times, f0.to(wave.dtype), mid.to(wave.dtype))


def _deepest(here: Tensor, dips: Tensor, shortest: int) -> Tensor:
    """Of the lags from the first dip to a quarter beyond it, the one that lies deepest.

    A strong formant ripples the way down to the period: its first small dip is not yet the period. Twice the period,
    which lies as deep, is out of reach.
    """
    index = torch.arange(here.shape[-1], device=here.device)
    first = dips.to(torch.uint8).argmax(-1, keepdim=True)
    near = (index >= first) & (index + shortest <= 1.25 * (first + shortest))
    return torch.where(near, here, math.inf).argmin(-1)


def _difference(frames: Tensor, longest: int) -> Tensor:
    """sum_j (x_j - x_{j + lag})^2 for j below, and lags up to, half the frame (eq. 6): (..., frame, lag)."""
    size = 2 ** math.ceil(math.log2(frames.shape[-1] + longest))
    head = torch.fft.rfft(frames[..., :longest], n=size)
    cross = torch.fft.irfft(torch.fft.rfft(frames, n=size) * head.conj(), n=size)[..., : longest + 1]
    energy = F.pad(frames.square().cumsum(-1), (1, 0))
    own = energy[..., longest:] - energy[..., : longest + 1]
    difference = own[..., :1] + own - 2 * cross
    # rounding leaves a little where the wave is exactly periodic; below zero it would make a dip of its own
    return torch.where(difference > 1e-12 * own[..., :1], difference, 0.0)


def formants(
    wave: Tensor,
    rate: int | float,
    n: int = 3,
    ceiling: float = 5500.0,
    window: float = 0.05,
    hop: float = 0.01,
    widest: float = 700.0,
) -> Formants:
    """Formants as the resonances of a linear predictor, two poles for each 1000 Hz up to the ceiling.

    Parameters
    ----------
    wave: (..., time). rate: Hz, a whole number.
    ceiling: Hz; about 5000 for male and 5500 for female voices. The wave is resampled to twice that.
    window, hop: seconds; frames are as `pitch`'s, under a Hann window.
    widest: Hz; poles of a larger bandwidth shape the slope of the spectrum and are no formants.

    Raises
    ------
    HeschlError: as `pitch`, or n is below one.
    """
    _check(wave, rate, hop)
    if n < 1:
        raise HeschlError(f"n is {n}: ask for at least one formant")
    times = torch.arange(1 + wave.shape[-1] // round(hop * rate), dtype=torch.float64, device=wave.device)
    times = times * round(hop * rate) / rate
    x, low_rate = wave.detach().double(), float(rate)
    if rate > 2 * ceiling:
        x, low_rate = signal.resample(x, round(rate), round(2 * ceiling)), float(round(2 * ceiling))
    x = (
        x - math.exp(-2 * math.pi * 50 / low_rate) * F.pad(x, (1, 0))[..., :-1]
    )  # the voice's slope, taken off
    size = 2 * round(window * low_rate / 2)
    order = 2 * round(low_rate / 2000)
    if size <= order:
        raise HeschlError(
            f"window is {window} s: a frame needs more than {order} samples at {low_rate:.0f} Hz"
        )
    at = (times * low_rate).round().long()
    padded = F.pad(x, (size // 2, size))
    frames = padded[..., at[:, None] + torch.arange(size, device=x.device)] * signal.hann(
        size, x.dtype, x.device
    )
    roots, loud = _poles(frames, order)
    angle, radius = roots.angle(), roots.abs().clamp_min(1e-12)
    frequency, bandwidth = angle * low_rate / (2 * math.pi), -radius.log() * low_rate / math.pi
    real = loud & (frequency > 90) & (frequency < low_rate / 2 - 50) & (bandwidth > 0) & (bandwidth < widest)
    frequency = torch.where(real, frequency, math.inf)
    frequency, place = frequency.sort(-1)
    bandwidth = bandwidth.gather(-1, place)
    missing = ~frequency.isfinite()
    frequency, bandwidth = (value.masked_fill(missing, math.nan) for value in (frequency, bandwidth))
    if frequency.shape[-1] < n:
        more = (0, n - frequency.shape[-1])
        frequency, bandwidth = F.pad(frequency, more, value=math.nan), F.pad(bandwidth, more, value=math.nan)
    return Formants(times, frequency[..., :n].to(wave.dtype), bandwidth[..., :n].to(wave.dtype))


def _poles(frames: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Roots of the predictor of each frame (..., frame, order), complex; which frames are not silent (..., 1)."""
    power = signal.power(torch.fft.rfft(frames, n=2 * frames.shape[-1]))
    r = torch.fft.irfft(power)[..., : order + 1]
    loud = r[..., :1] > 1e-16
    r = torch.where(
        loud, r / torch.where(loud, r[..., :1], 1.0), F.pad(torch.ones_like(loud), (0, order)).to(r)
    )
    lag = torch.arange(order, device=r.device)
    toeplitz = r[..., (lag[:, None] - lag).abs()] + 1e-9 * torch.eye(order, dtype=r.dtype, device=r.device)
    a = torch.linalg.solve(toeplitz, r[..., 1:])
    companion = (
        torch.diag(torch.ones(order - 1, dtype=r.dtype, device=r.device), -1).expand(toeplitz.shape).clone()
    )
    companion[..., 0, :] = a
    return torch.linalg.eigvals(companion), loud


def _check(wave: Tensor, rate: float, hop: float) -> None:
    if not isinstance(wave, Tensor) or not wave.is_floating_point() or wave.ndim < 1 or wave.shape[-1] < 1:
        found = tuple(wave.shape) if isinstance(wave, Tensor) else type(wave).__name__
        raise HeschlError(f"the wave is {found}: give a floating tensor (..., time)")
    if not bool(torch.isfinite(wave).all()):
        raise HeschlError("the wave holds samples that are not finite: mend it or leave it out")
    if round(hop * rate) < 1:
        raise HeschlError(f"hop is {hop} s: that is less than one sample at {rate} Hz")
