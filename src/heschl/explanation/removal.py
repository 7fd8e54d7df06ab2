"""A sound without one of its parts: a phone, a word, a band, a harmonic, a stretch of time.

Segments are taken out of the sound itself and not of what a network computes from it, so one method serves every
network. In their place comes silence, noise, or the clip's mean spectrum, cross-faded at the edges so that no click
tells where something was. All of these are linear in the part that is taken out, so the sound without several segments
is the sound less the sum of what each alone takes away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from heschl import signal
from heschl.explanation.cells import uniform
from heschl.explanation.segments import Segment, Tile, membership, overlap
from heschl.types import HeschlError, Span

Replacement = Literal["silence", "noise", "mean"]
FADE, WINDOW = 0.005, 0.032  # seconds
_SMOOTH = 150.0  # Hz to either side: noise has the clip's spectrum, but not its harmonics
_TWICE = 0.02  # share of the segments that may lie in two of them (aligners' edges overlap by a frame)


def remove(
    wave: Tensor,
    spans: Sequence[Span | Sequence[float]],
    rate: float,
    kind: Replacement = "silence",
    fade: float = FADE,
    seed: int = 0,
) -> Tensor:
    """The wave without some stretches of time.

    Parameters
    ----------
    wave: (time,) or (batch, time), of which every clip loses the same stretches.
    spans: (start, stop) in seconds, or `Span`s; they may overlap.
    kind: what comes instead: "silence"; "noise" with the clip's own mean spectrum (smoothed, so that pitch is gone) and
        the level that each stretch had; "mean", the clip's mean spectrum over time, at the phases that were there.
    fade: seconds of the cross-fade, half of it to either side of each edge; there is none at the clip's own ends.
    seed: of the noise, which is the same for every clip.

    Returns
    -------
    The shape of wave.

    Raises
    ------
    HeschlError: an unknown kind, a wave of another shape, or a stretch whose stop is not after its start.
    """
    edges = _united([_edges(span) for span in spans])
    tiles = tuple(Tile(start, stop) for start, stop in edges)
    return _without(wave, tiles, rate, kind, fade, seed, WINDOW)


def remove_bands(
    wave: Tensor,
    rate: float,
    bands: Sequence[Sequence[float]],
    spans: Sequence[Span | Sequence[float]] | None = None,
    kind: Replacement = "silence",
    fade: float = FADE,
    seed: int = 0,
    window: float = WINDOW,
) -> Tensor:
    """The wave without some bands, everywhere or during some stretches; the rest as `remove`.

    Parameters
    ----------
    bands: (low, high) in Hz; high may be infinite. They may overlap.
    window: seconds of the STFT in which bands are taken out; its bins are 1 / window apart, and about two of them on
        either side of an edge are in between.
    """
    times = [(0.0, math.inf)] if spans is None else _united([_edges(span) for span in spans])
    wanted = _united([(float(low), float(high)) for low, high in bands])
    tiles = tuple(Tile(start, stop, low, high) for start, stop in times for low, high in wanted)
    return _without(wave, tiles, rate, kind, fade, seed, window)


def remove_segments(
    wave: Tensor,
    segments: Sequence[Segment],
    rate: float,
    kind: Replacement = "silence",
    fade: float = FADE,
    seed: int = 0,
    window: float = WINDOW,
) -> Tensor:
    """The wave without all of these segments; as `remove`, and `remove_bands` for those of some frequencies."""
    if not segments:
        return wave.clone()
    return wave - changes(wave, segments, rate, kind, fade, seed, window).sum(-2)


def changes(
    wave: Tensor,
    segments: Sequence[Segment],
    rate: float,
    kind: Replacement = "silence",
    fade: float = FADE,
    seed: int = 0,
    window: float = WINDOW,
) -> Tensor:
    """What taking out each segment takes away: wave - changes[..., k, :] is the wave without segment k, and the wave
    less the sum of several is the wave without these.

    Parameters
    ----------
    wave: (..., time).

    Returns
    -------
    (..., segment, time).

    Raises
    ------
    HeschlError: as `remove`, or segments overlap, so that their sum would take something out twice.
    """
    check_wave(wave, rate, kind)
    in_time = [k for k, segment in enumerate(segments) if segment.all_frequencies]
    if len(in_time) == len(segments):
        return _in_time(wave, segments, rate, kind, fade, seed)
    return _in_bands(wave, segments, rate, kind, fade, seed, window)


def _without(
    wave: Tensor,
    tiles: tuple[Tile, ...],
    rate: float,
    kind: Replacement,
    fade: float,
    seed: int,
    window: float,
) -> Tensor:
    check_wave(wave, rate, kind)
    if wave.ndim > 2:
        raise HeschlError(f"the wave is {tuple(wave.shape)}: give (time,) or (batch, time)")
    if not tiles:
        return wave.clone()
    segment = Segment("what is taken out", "parts", tiles)
    return wave - changes(wave, [segment], rate, kind, fade, seed, window)[..., 0, :]


def _in_time(
    wave: Tensor, segments: Sequence[Segment], rate: float, kind: Replacement, fade: float, seed: int
) -> Tensor:
    n = wave.shape[-1]
    times = torch.arange(n, dtype=torch.float64, device=wave.device) / rate
    weights = _disjoint(membership(segments, times, seconds=n / rate, fade=fade)).to(wave)
    if kind == "silence":
        return weights * wave[..., None, :]
    if kind == "mean":
        length, hop, hann = _analysis(wave, rate, WINDOW)
        spectrum = signal.stft(wave, length, hop, hann)
        instead = signal.istft(_mean_level(spectrum), length, hop, hann, n)
        return weights * (wave - instead)[..., None, :]
    noise, out = matched_noise(wave, rate, seed), []
    for segment in segments:
        parts = [Segment(segment.name, segment.kind, (tile,)) for tile in segment.tiles]
        own = _disjoint(membership(parts, times, seconds=n / rate, fade=fade)).to(wave)
        gain = _gain(own * wave[..., None, :].square(), own * noise[..., None, :].square(), (-1,))
        out.append((own * (wave[..., None, :] - gain * noise[..., None, :])).sum(-2))
    return torch.stack(out, -2)


def _in_bands(
    wave: Tensor,
    segments: Sequence[Segment],
    rate: float,
    kind: Replacement,
    fade: float,
    seed: int,
    window: float,
) -> Tensor:
    n = wave.shape[-1]
    length, hop, hann = _analysis(wave, rate, window)
    spectrum = signal.stft(wave, length, hop, hann)
    times = torch.arange(spectrum.shape[-1], dtype=torch.float64, device=wave.device) * hop / rate
    frequencies = torch.arange(spectrum.shape[-2], dtype=torch.float64, device=wave.device) * rate / length
    weights = membership(
        segments, times, frequencies, seconds=n / rate, fade=max(fade, hop / rate), slope=rate / length
    )
    weights = _disjoint(weights).to(wave)
    here = spectrum[..., None, :, :]
    if kind == "silence":
        lost = weights * here
    elif kind == "mean":
        lost = weights * (here - _mean_level(spectrum)[..., None, :, :])
    else:
        noise = signal.stft(matched_noise(wave, rate, seed), length, hop, hann)[..., None, :, :]
        gain = _gain(weights * signal.power(here), weights * signal.power(noise), (-2, -1))
        lost = weights * (here - gain * noise)
    return signal.istft(lost, length, hop, hann, n)


def matched_noise(wave: Tensor, rate: float, seed: int = 0) -> Tensor:
    """Noise with the mean power spectrum of each wave, smoothed by 150 Hz to either side: (..., time)."""
    n = wave.shape[-1]
    power = signal.power(torch.fft.rfft(wave))
    reach = round(_SMOOTH * n / rate)
    window = signal.hann(2 * reach + 2, wave.dtype, wave.device)[1:]
    flat = F.pad(power.reshape(-1, 1, power.shape[-1]), (reach, reach), mode="replicate")
    smooth = F.conv1d(flat, (window / window.sum())[None, None]).reshape(power.shape)
    phase = (2 * math.pi * uniform((power.shape[-1],), seed)).to(wave)
    phase[0] = 0.0
    if n % 2 == 0:
        phase[-1] = 0.0
    noise: Tensor = torch.fft.irfft(torch.polar(smooth.clamp_min(0).sqrt(), phase.expand(smooth.shape)), n=n)
    return noise


def _gain(wanted: Tensor, found: Tensor, dims: tuple[int, ...]) -> Tensor:
    """What makes the energy of noise that of the sound in its place."""
    sound, noise = wanted.sum(dims, keepdim=True), found.sum(dims, keepdim=True)
    return torch.where(noise > 0, sound / torch.where(noise > 0, noise, 1.0), 0.0).sqrt()


def _mean_level(spectrum: Tensor) -> Tensor:
    """Each bin at its mean magnitude over time, with the phases that are there."""
    mean: Tensor = spectrum.abs().mean(-1, keepdim=True) * torch.sgn(spectrum)
    return mean


def _analysis(wave: Tensor, rate: float, window: float) -> tuple[int, int, Tensor]:
    length = max(16, 4 * round(window * rate / 4))
    return length, length // 4, signal.hann(length, wave.dtype, wave.device)


def _disjoint(weights: Tensor) -> Tensor:
    """Weights (segment, ...) that add up to at most one; refuses segments that overlap by more than their edges."""
    if overlap(weights) > _TWICE:
        raise HeschlError(
            f"{100 * overlap(weights):.0f} % of what these segments take up lies in two of them: give segments that "
            "do not overlap, such as one tier of spans"
        )
    return weights / weights.sum(0).clamp_min(1)


def _edges(span: Span | Sequence[float]) -> tuple[float, float]:
    start, stop = (span.start, span.stop) if isinstance(span, Span) else (float(span[0]), float(span[1]))
    if not start < stop:
        raise HeschlError(f"a stretch from {start} s to {stop} s is empty: its stop must lie after its start")
    return start, stop


def _united(edges: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    out: list[tuple[float, float]] = []
    for start, stop in sorted(edges):
        if not start < stop:
            raise HeschlError(
                f"a band from {start} Hz to {stop} Hz is empty: its top must lie above its bottom"
            )
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(stop, out[-1][1]))
        else:
            out.append((start, stop))
    return out


def check_wave(wave: Tensor, rate: float, kind: str) -> None:
    """A floating tensor (..., time), a rate above zero, and a kind of replacement that there is."""
    if not isinstance(wave, Tensor) or not wave.is_floating_point() or wave.ndim < 1 or not wave.shape[-1]:
        found = tuple(wave.shape) if isinstance(wave, Tensor) else type(wave).__name__
        raise HeschlError(f"the wave is {found}: give a floating tensor (time,) or (batch, time)")
    if not rate > 0:
        raise HeschlError(f"rate is {rate}: give the wave's samples per second")
    if kind not in get_args(Replacement):
        raise HeschlError(f"what comes instead is {kind!r}: choose {', '.join(get_args(Replacement))}")
