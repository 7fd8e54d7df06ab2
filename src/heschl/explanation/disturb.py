"""Disturbances of known size: noise of a kind at a level, a band of frequencies, loudness. Waves (batch, time).

Each clip is treated by itself, over its own samples; what lies after its end stays zero.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from heschl.explanation.cells import normal, uniform
from heschl.types import HeschlError

Noise = Literal["white", "pink", "speech"]
NOISES: tuple[str, ...] = ("white", "pink", "speech")


def noise_like(wave: Tensor, kind: Noise, seed: int = 0, lengths: Tensor | None = None) -> Tensor:
    """Noise of the shape of waves (batch, time), of no particular level.

    kind: "white"; "pink", power falling with frequency; "speech", with each clip's own long-term spectrum.
    seed: of the draw, the same for every clip.
    """
    if kind not in NOISES:
        raise HeschlError(f"there is no noise '{kind}': choose {', '.join(NOISES)}")
    out = torch.zeros_like(wave)
    for row, own, n in zip(out, wave, _lengths(wave, lengths)):
        if kind == "speech":
            magnitude = torch.fft.rfft(own[:n]).abs()
            phase = (2 * torch.pi * uniform(magnitude.shape, seed)).to(magnitude)
            row[:n] = torch.fft.irfft(torch.polar(magnitude, phase), n=n)
        else:
            drawn = normal((n,), seed).to(wave)
            if kind == "pink":
                spectrum = torch.fft.rfft(drawn)
                spectrum /= torch.arange(len(spectrum), device=wave.device).clamp_min(1).sqrt()
                drawn = torch.fft.irfft(spectrum, n=n)
            row[:n] = drawn
    return out


def with_noise(wave: Tensor, noise: Tensor, snr: float, lengths: Tensor | None = None) -> Tensor:
    """wave + noise, scaled so that the clip's energy is ``snr`` dB above the noise's, over the clip's samples.

    Silence gets no noise, nor does a clip whose noise is silent.
    """
    if noise.shape != wave.shape:
        raise HeschlError(
            f"noise is {tuple(noise.shape)} and the waves are {tuple(wave.shape)}: they must agree"
        )
    valid = (
        torch.arange(wave.shape[-1], device=wave.device)
        < torch.tensor(_lengths(wave, lengths), device=wave.device)[:, None]
    )
    noise = noise * valid
    below = noise.square().sum(-1, keepdim=True)
    share = (wave * valid).square().sum(-1, keepdim=True) / torch.where(below > 0, below, 1.0)
    return wave + noise * (share * 10 ** (-snr / 10)).sqrt()


def band_limited(wave: Tensor, rate: float, low: float = 0.0, high: float | None = None) -> Tensor:
    """Waves without what lies below ``low`` and above ``high`` Hz, by their whole spectrum (no phase shift)."""
    top = rate / 2 if high is None else high
    if not 0 <= low < top <= rate / 2:
        raise HeschlError(f"a band of {low} to {top} Hz: it must lie within 0 and {rate / 2} Hz, in order")
    n = wave.shape[-1]
    size = 2 * n  # zeros behind the clip, so that its end does not ring into its beginning
    spectrum = torch.fft.rfft(wave, size)
    at = torch.fft.rfftfreq(size, 1 / rate, device=wave.device)
    limited: Tensor = torch.fft.irfft(spectrum * ((at >= low) & (at <= top)), size)[..., :n]
    return limited


def louder(wave: Tensor, decibels: float) -> Tensor:
    """Waves at another level; samples beyond full scale are cut, as a recorder does."""
    return (wave * 10 ** (decibels / 20)).clamp(-1.0, 1.0)


def _lengths(wave: Tensor, lengths: Tensor | None) -> list[int]:
    return [wave.shape[-1]] * len(wave) if lengths is None else [int(n) for n in lengths]
