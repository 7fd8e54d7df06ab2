"""Relevance, heard: the parts of a sound that spoke for an answer, against it, and for neither.

Relevance becomes a mask on the complex short-time Fourier transform of the sound, whose own phase is kept. The masks
of the three parts add up to one everywhere, so that the parts, before they are brought to one level, add up to the
sound. Samples' relevance is first carried to times and frequencies, see `heschl.explanation.dft`.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from heschl import signal
from heschl.explanation.dft import time_frequency_relevance
from heschl.types import HeschlError

Part = Literal["positive", "negative", "rest"]
PARTS: tuple[Part, ...] = get_args(Part)
WINDOW = 0.032  # seconds of the transform in which the sound is taken apart
FADE = 0.005  # seconds over which every part begins and ends
FULL = 0.99  # of full scale: the highest sample of the loudest part
# A part that lies 35 dB under the sound is silence: at the sound's own level it would be clicks and hiss that nobody
# hears in the clip, and would make all parts quieter.
SILENT = 10 ** (-35 / 20)


def audible(
    relevance: Tensor,
    wave: Tensor,
    rate: float,
    part: Part = "positive",
    *,
    frequencies: Tensor | None = None,
    times: Tensor | None = None,
    whole: float = 0.5,
    blur: float = 1.0,
    match: bool = True,
) -> Tensor:
    """One part of a sound, as relevance divides it.

    Parameters
    ----------
    relevance: of a waveform network, the shape of wave (or (batch, 1, time)); of a spectrogram or mel network,
        (frequency, frame), (batch, frequency, frame) or (batch, 1, frequency, frame).
    wave: (time,) or (batch, time), full scale 1. rate: its samples a second, Hz.
    part: "positive", what spoke for the answer; "negative", against it; "rest", what neither did.
    frequencies: (frequency,) middle of each row, Hz, ascending (by default even from 0 to rate / 2).
    times: (frame,) middle of each frame, seconds from the wave's start (by default even over the wave). The sound
        outside of the rows and frames belongs to the rest.
    whole: the cells with the highest magnitudes, which hold this share of all relevance, pass whole; weaker ones in
        proportion.
    blur: standard deviation in cells of the transform, by which waves' relevance, which swings, is smoothed.
    match: bring each clip's parts to the level of its sound (RMS, within 0.1 dB), all of them alike lower where one
        would exceed full scale. Silent parts, and those 35 dB under the sound, are silent.

    Returns
    -------
    the shape of wave, faded in and out over 5 ms.

    Raises
    ------
    HeschlError: an unknown part, shapes that do not fit, or numbers that are not finite.
    """
    if part not in PARTS:
        raise HeschlError(f"part is {part!r}: choose positive, negative or rest")
    given = audible_parts(
        relevance, wave, rate, frequencies=frequencies, times=times, whole=whole, blur=blur, match=match
    )
    return given[part]


def audible_parts(
    relevance: Tensor,
    wave: Tensor,
    rate: float,
    *,
    frequencies: Tensor | None = None,
    times: Tensor | None = None,
    whole: float = 0.5,
    blur: float = 1.0,
    match: bool = True,
) -> dict[str, Tensor]:
    """All parts and the "original", at one level: see `audible`."""
    sound, r = _checked(relevance, wave, rate, whole)
    n = max(8, 2 * round(WINDOW * rate / 2))
    hop = n // 4
    window = signal.hann(n, sound.dtype, sound.device)
    padded = torch.nn.functional.pad(sound, (0, n))  # so that frames cover the last sample as fully as others
    spectrum = signal.stft(padded, n, hop, window)
    if r.ndim == 2:
        cells = smoothed(time_frequency_relevance(sound, r, n), blur)
        missing = spectrum.shape[-1] - cells.shape[-1]
        cells = torch.nn.functional.pad(cells, (0, max(0, missing)))[..., : spectrum.shape[-1]]
    else:
        bins = torch.arange(spectrum.shape[-2], dtype=torch.float64) * rate / n
        frames = torch.arange(spectrum.shape[-1], dtype=torch.float64) * hop / rate
        rows = _middles("frequencies", frequencies, r.shape[-2], rate / 2)
        steps = _middles("times", times, r.shape[-1], sound.shape[-1] / rate, edge=True)
        cells = _between(rows, bins).to(r) @ r @ _between(steps, frames).to(r).T
    positive, negative = masks(cells, whole)
    shares = {"positive": positive, "negative": negative, "rest": 1 - positive - negative}
    parts = {
        name: signal.istft(spectrum * share, n, hop, window, sound.shape[-1])
        for name, share in shares.items()
    }
    faded = _fade(sound.shape[-1], rate).to(sound)
    parts = {name: heard * faded for name, heard in {"original": sound, **parts}.items()}
    if match:
        parts = levelled(parts, signal.rms(sound))
    return {name: heard.reshape(wave.shape).to(wave.dtype) for name, heard in parts.items()}


def masks(cells: Tensor, whole: float = 0.5) -> tuple[Tensor, Tensor]:
    """Relevance of cells (batch, bin, frame) as two masks in [0, 1], for and against, which never overlap.

    The strongest cells, by magnitude, that hold the share ``whole`` of each clip's relevance are 1 in theirs.
    """
    size = cells.abs().flatten(1).double()
    ordered = size.sort(dim=1, descending=True).values
    total = ordered.sum(1, keepdim=True)
    place = (ordered.cumsum(1) < whole * total).sum(1, keepdim=True).clamp_max(ordered.shape[1] - 1)
    least = ordered.gather(1, place).reshape(-1, 1, 1).to(cells)
    share = torch.where(least > 0, cells / torch.where(least > 0, least, 1.0), 0.0)
    return share.clamp(0, 1), (-share).clamp(0, 1)


def levelled(parts: dict[str, Tensor], level: Tensor) -> dict[str, Tensor]:
    """Sounds (batch, time) at the RMS ``level`` (batch, 1), or all alike lower, so that none exceeds full scale.

    Silence, and what lies 35 dB under the original, becomes silence.
    """
    own = signal.rms(parts["original"])
    heard = {}
    for name, sound in parts.items():
        rms, peak = signal.rms(sound), sound.abs().amax(-1, keepdim=True)
        heard[name] = (rms > SILENT * own) & (rms > 0)
        highest = torch.where(heard[name], FULL * rms / torch.where(peak > 0, peak, 1.0), torch.inf)
        level = torch.minimum(level, highest)
    return {
        name: torch.where(
            heard[name], sound * (level / torch.where(heard[name], signal.rms(sound), 1.0)), 0.0
        )
        for name, sound in parts.items()
    }


# --- inside ------------------------------------------------------------------------------------------------


def _checked(relevance: Tensor, wave: Tensor, rate: float, whole: float) -> tuple[Tensor, Tensor]:
    """The sound (batch, time) and its relevance (batch, time) or (batch, frequency, frame), in one precision."""
    if wave.ndim not in (1, 2) or not wave.is_floating_point() or not wave.shape[-1]:
        raise HeschlError(f"the wave is {tuple(wave.shape)} of {wave.dtype}: give samples (batch, time)")
    if not rate > 0:
        raise HeschlError(f"rate is {rate}: it is samples a second and must be above zero")
    if not 0 < whole <= 1:
        raise HeschlError(f"whole is {whole}: it is a share of all relevance, above 0 and at most 1")
    sound = wave.detach().reshape(-1, wave.shape[-1])
    sound = sound if sound.dtype == torch.float64 else sound.float()
    r = relevance.detach().to(sound)
    batch, time = sound.shape
    if r.shape == wave.shape or tuple(r.shape) == (batch, 1, time):
        r = r.reshape(batch, time)
    elif r.ndim in (2, 3, 4) and r.numel() == batch * r.shape[-1] * r.shape[-2]:
        r = r.reshape(batch, *r.shape[-2:])
    else:
        raise HeschlError(
            f"relevance is {tuple(relevance.shape)} and the wave {tuple(wave.shape)}: give the wave's own shape, or "
            "(batch, frequency, frame)"
        )
    for name, tensor in (("relevance", r), ("wave", sound)):
        if not bool(torch.isfinite(tensor).all()):
            raise HeschlError(f"the {name} holds numbers that are not finite: nothing can be heard of it")
    return sound, r


def _middles(name: str, given: Tensor | None, n: int, stop: float, edge: bool = False) -> Tensor:
    """Middle of each row or frame; by default even from 0 to stop, the first and last on the ends or inside them."""
    if given is None:
        if edge:
            return (torch.arange(n, dtype=torch.float64) + 0.5) * stop / n
        return torch.linspace(0, stop, n, dtype=torch.float64)
    middles = torch.as_tensor(given, dtype=torch.float64).cpu()
    if middles.shape != (n,) or bool((middles.diff() <= 0).any()):
        raise HeschlError(
            f"{name} are of shape {tuple(middles.shape)}: give the middle of each of {n}, ascending"
        )
    return middles


def _between(middles: Tensor, at: Tensor) -> Tensor:
    """Weights of linear interpolation (at, middle); none farther out than half a step beyond the first and last."""
    if len(middles) == 1:
        return torch.ones(len(at), 1, dtype=torch.float64)
    right = torch.searchsorted(middles, at).clamp(1, len(middles) - 1)
    low, high = middles[right - 1], middles[right]
    share = ((at - low) / (high - low)).clamp(0, 1)
    weights = torch.zeros(len(at), len(middles), dtype=torch.float64)
    rows = torch.arange(len(at))
    weights[rows, right - 1] = 1 - share
    weights[rows, right] = share
    first = middles[0] - (middles[1] - middles[0]) / 2
    last = middles[-1] + (middles[-1] - middles[-2]) / 2
    weights[(at < first - 1e-9) | (at > last + 1e-9)] = 0
    return weights


def smoothed(cells: Tensor, deviation: float) -> Tensor:
    """(batch, bin, frame), smoothed by a Gaussian along both axes; zeros beyond the edges, so that no sum grows."""
    if deviation <= 0:
        return cells
    reach = int(np.ceil(3 * deviation))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=cells.dtype) / deviation) ** 2)
    kernel = (kernel / kernel.sum()).to(cells)
    out = torch.nn.functional.conv2d(cells[:, None], kernel[None, None, :, None], padding=(reach, 0))
    return torch.nn.functional.conv2d(out, kernel[None, None, None, :], padding=(0, reach))[:, 0]


def _fade(samples: int, rate: float) -> Tensor:
    """(time,) from 0 to 1 and back in raised cosines, so that nothing clicks."""
    n = min(round(FADE * rate), samples // 2)
    slope = 0.5 - 0.5 * torch.cos(torch.pi * torch.arange(n, dtype=torch.float64) / max(1, n))
    out = torch.ones(samples, dtype=torch.float64)
    out[:n], out[samples - n :] = slope, slope.flip(0)
    return out
