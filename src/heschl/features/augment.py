"""Augmentation: what a voice, a room or a microphone might have changed, for whole batches at once.

Each is a small callable with ``on``, where it acts: "wave" on (batch, time) before the feature, "feature" on
(batch, mel, frame) after it, "batch" on features and class weights together; ``moves`` where sounds come to lie at other
moments, so that labels of frames would no longer fit. All chance comes from `draws`
(`heschl.features.draws.Draws`), a pure function of seed, epoch and clip, so that a clip is changed alike in
whatever batch it sits (noise and `Tilt` also depend on the batch's padded length). Ranges are [low, high]; levels in dB are relative to the clip's own RMS level.
Augmentations act on training clips alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from heschl.features.augment_shared import Range, checked, column, rms, valid_steps
from heschl.features.augment_spectra import MixStyle, Mixup, SpecAugment, Tempo, VocalTract
from heschl.types import HeschlError

if TYPE_CHECKING:
    from heschl.features.draws import Draws

__all__ = [
    "Background",
    "Crop",
    "Gain",
    "IntegerNoise",
    "MixStyle",
    "Mixup",
    "Noise",
    "Roll",
    "Shift",
    "SpecAugment",
    "Speed",
    "Tempo",
    "Tilt",
    "Trim",
    "VocalTract",
]


class Shift:
    """Moves the wave by up to ``seconds`` either way; what leaves is lost, zeros follow."""

    on = "wave"
    moves = True

    def __init__(self, seconds: float, sample_rate: int) -> None:
        self.samples = round(seconds * sample_rate)

    def __call__(self, wave: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        move = draws.integers("shift", -self.samples, self.samples + 1)
        out = moved(wave, move.to(wave.device), wrap=False)
        return out if lengths is None else out * valid_steps(wave, lengths)


class Roll:
    """AudioNet-V1's shift: a circular move by a whole number of samples drawn from [-samples, samples)."""

    on = "wave"
    moves = True

    def __init__(self, samples: int = 250) -> None:
        self.samples = samples

    def __call__(self, wave: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        move = draws.integers("roll", -self.samples, self.samples).to(wave.device)
        return moved(wave, move, wrap=True, lengths=lengths)


def moved(wave: Tensor, move: Tensor, wrap: bool, lengths: Tensor | None = None) -> Tensor:
    """wave (batch, time) delayed by move (batch,) samples, with zeros, or circularly within lengths (batch,)."""
    source = torch.arange(wave.shape[1], device=wave.device) - move[:, None]
    if wrap:
        if lengths is None:
            return wave.gather(1, source.remainder(wave.shape[1]))
        inside = valid_steps(wave, lengths)
        return wave.gather(1, source.remainder(lengths.to(wave.device)[:, None])) * inside
    inside = (source >= 0) & (source < wave.shape[1])
    return wave.gather(1, source.clamp(0, wave.shape[1] - 1)) * inside


class Crop:
    """A random stretch of ``seconds``; a shorter clip is kept whole and padded with zeros."""

    on = "wave"
    moves = True

    def __init__(self, seconds: float, sample_rate: int) -> None:
        self.samples = round(seconds * sample_rate)

    def __call__(self, wave: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        n = wave.shape[1]
        length = torch.full((len(wave),), n) if lengths is None else lengths.cpu()
        start = (draws.uniform("crop", 0.0, 1.0) * (length - self.samples + 1).clamp_min(1)).long()
        source = start.to(wave.device)[:, None] + torch.arange(self.samples, device=wave.device)
        return wave.gather(1, source.clamp_max(n - 1)) * (source < n)


class Trim:
    """Silences the weak beginning and end of a clip, and puts what is left in the middle, as endpointers do.

    Collections whose clips were cut by level lack weak sounds at the edges of some speakers' words: "six" may have
    lost every [s]. What is cut begins and ends where the level, over 20 ms, first and last rises above a threshold:
    as many dB below the clip's loudest moment as are drawn from ``below``, for either end by itself.
    A share ``p`` of the clips is trimmed.
    """

    on = "wave"
    moves = True

    def __init__(self, sample_rate: int, below: Range = (15.0, 60.0), p: float = 1.0) -> None:
        self.hop = round(0.01 * sample_rate)
        self.below, self.p = checked(below, "Trim", "below"), p

    def __call__(self, wave: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        wave = wave * valid_steps(wave, lengths)
        power = F.pad(wave.square(), (self.hop, 2 * self.hop - wave.shape[1] % self.hop))
        power = power.unfold(1, 2 * self.hop, self.hop).mean(2)  # frame k lies about sample k * hop
        depth = 10 * torch.log10(power.amax(1, keepdim=True) / power.clamp_min(1e-20))  # dB below the loudest
        take = draws.uniform("trim", 0.0, 1.0) < self.p
        frame = torch.arange(power.shape[1], device=wave.device)
        begin, end = (
            depth <= column(torch.where(take, draws.uniform(name, *self.below), torch.inf), depth)
            for name in ("trim begin", "trim end")
        )
        start = (torch.where(begin, frame, len(frame)).amin(1) - 1).clamp_min(0) * self.hop
        whole = torch.full_like(start, wave.shape[1]) if lengths is None else lengths.to(start)
        stop = torch.minimum((torch.where(end, frame, -1).amax(1) + 1) * self.hop, whole)
        at = torch.arange(wave.shape[1], device=wave.device)
        kept = wave * ((at >= start[:, None]) & (at < stop[:, None]))
        return moved(kept, (whole - start - stop) // 2, wrap=False)


class Gain:
    """Louder or softer by a number of dB drawn from ``decibels``."""

    on = "wave"

    def __init__(self, decibels: Range = (-6.0, 6.0)) -> None:
        self.decibels = checked(decibels, "Gain", "decibels")

    def __call__(self, wave: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        return wave * 10 ** (column(draws.uniform("gain", *self.decibels), wave) / 20)


class Speed:
    """Plays the clip faster (above 1) or slower about its centre: time, pitch and formants scale together.

    Cubic interpolation (Catmull and Rom 1974); the length stays, so a slower clip loses its ends.
    """

    on = "wave"
    moves = True

    def __init__(self, factor: Range = (0.9, 1.1)) -> None:
        self.factor = checked(factor, "Speed", "factor", positive=True)

    def __call__(self, wave: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        factor = column(draws.uniform("speed", *self.factor), wave)
        n = wave.shape[1]
        length = torch.full_like(factor, n) if lengths is None else lengths[:, None].to(factor)
        middle = (length - 1) / 2
        out = interpolated(wave, middle + (torch.arange(n, device=wave.device) - middle) * factor)
        return out if lengths is None else out * valid_steps(wave, lengths)


def interpolated(wave: Tensor, position: Tensor) -> Tensor:
    """wave (batch, time) at fractional positions (batch, time), cubic, zero outside."""
    low = position.floor()
    t = (position - low).to(wave.dtype)
    padded = F.pad(wave, (3, 4))
    # what lies further out lands among the zeros on either side
    index = low.long().clamp(-3, wave.shape[1] + 1) + 3
    a, b, c, d = (padded.gather(1, (index + k).clamp(0, padded.shape[1] - 1)) for k in (-1, 0, 1, 2))
    cubic: Tensor = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return cubic


class Noise:
    """Noise of power ~ 1 / frequency ** colour at a signal-to-noise ratio in dB (0 white, 1 pink, 2 red).

    A share ``p`` of the clips gets it.
    """

    on = "wave"

    def __init__(self, snr: Range = (5.0, 40.0), colour: Range = (0.0, 0.0), p: float = 1.0) -> None:
        self.snr, self.colour = checked(snr, "Noise", "snr"), checked(colour, "Noise", "colour")
        self.p = p

    def __call__(self, wave: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        noise = draws.normal("noise", (wave.shape[1],)).to(wave)
        if self.colour != (0.0, 0.0):
            noise = coloured(noise, column(draws.uniform("colour", *self.colour), wave))
        return with_noise(wave, noise, draws, self.snr, self.p, lengths)


def coloured(noise: Tensor, exponent: Tensor) -> Tensor:
    """White noise (batch, time) with its power divided by frequency ** exponent (batch, 1)."""
    spectrum = torch.fft.rfft(noise)
    k = torch.arange(spectrum.shape[1], device=noise.device, dtype=noise.dtype).clamp_min(1)
    shaped: Tensor = torch.fft.irfft(spectrum * k ** (-exponent / 2), n=noise.shape[1])
    return shaped


class Background:
    """Recordings of noise, a random stretch of a random one, at a signal-to-noise ratio in dB.

    ``noise``: 1-D tensors at the feature's sample rate, handed over by training from the corpus.
    """

    on = "wave"
    needs_noise = True

    def __init__(self, snr: Range = (5.0, 30.0), p: float = 0.8) -> None:
        self.snr, self.p = checked(snr, "Background", "snr"), p
        self.noise: list[Tensor] = []

    def __call__(self, wave: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        if not self.noise:
            raise HeschlError(
                "augment.Background has no recordings of noise: choose a corpus that has some "
                "(`_background_noise_`), or use augment.Noise"
            )
        which = draws.integers("recording", 0, len(self.noise)).tolist()
        place = draws.uniform("place", 0.0, 1.0).tolist()
        rows = [stretch(self.noise[w], q, wave.shape[1]) for w, q in zip(which, place, strict=True)]
        return with_noise(wave, torch.stack(rows).to(wave), draws, self.snr, self.p, lengths)


def stretch(noise: Tensor, place: float, n: int) -> Tensor:
    """n samples of noise (time,), starting at the share ``place`` of what is there; a shorter one repeats."""
    if len(noise) < n:
        noise = noise.repeat(-(-n // len(noise)))
    start = int(place * (len(noise) - n + 1))
    return noise[start : start + n]


def with_noise(
    wave: Tensor, noise: Tensor, draws: Draws, snr: tuple[float, float], p: float, lengths: Tensor | None
) -> Tensor:
    """wave + noise (batch, time), scaled to the SNR between RMS levels over the valid samples."""
    valid = valid_steps(wave, lengths)
    ratio = column(draws.uniform("snr", *snr), wave)
    take = column(draws.uniform("take", 0.0, 1.0) < p, wave)
    level = rms(wave, valid) / rms(noise, valid).clamp_min(1e-12) * 10 ** (-ratio / 20)
    return wave + take * level * noise * valid


class IntegerNoise:
    """AudioNet-V1's noise: each sample gets an integer from [-amplitude, amplitude) at int16 scale."""

    on = "wave"

    def __init__(self, amplitude: int = 200) -> None:
        self.amplitude = amplitude

    def __call__(self, wave: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        values = draws.integers("integer noise", -self.amplitude, self.amplitude, (wave.shape[1],))
        return wave + values.to(wave) / 32768


class Tilt:
    """A random equaliser: a straight slope in dB per octave, and a smooth curve over log frequency.

    slope: dB per octave. curve: dB, the size of four random half-cosines from 60 Hz to the top.
    """

    on = "wave"

    def __init__(self, sample_rate: int, slope: Range = (-3.0, 3.0), curve: float = 3.0) -> None:
        self.rate, self.slope, self.curve = sample_rate, checked(slope, "Tilt", "slope"), curve

    def __call__(self, wave: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        n = wave.shape[1]
        spectrum = torch.fft.rfft(wave)
        hertz = torch.fft.rfftfreq(n, 1 / self.rate, device=wave.device).clamp_min(60.0)
        gain = self.decibels(hertz, draws).to(wave)
        heard: Tensor = torch.fft.irfft(spectrum * 10 ** (gain / 20), n=n)
        return heard

    def decibels(self, hertz: Tensor, draws: Draws) -> Tensor:
        """(batch, frequency) gain in dB, 0 dB at 1 kHz for the slope."""
        octave = torch.log2(hertz / 1000)
        place = torch.log2(hertz / 60) / torch.log2(hertz[-1] / 60)
        weights = draws.uniform("curve", -self.curve, self.curve, (4,)).to(hertz)
        gain = draws.uniform("slope", *self.slope).to(hertz)[:, None] * octave
        for k in range(4):  # one by one, so that a clip's rounding is the same in every batch
            gain = gain + weights[:, k : k + 1] * torch.cos(torch.pi * (k + 1) * place)
        return gain
