"""What a clip is made of, in pieces with names: phones, words, stretches of time, bands, harmonics, formants.

A `Segment` is a set of tiles of time and frequency. Its edges may be soft, so that pieces which touch add up to one
everywhere: what is taken out of a clip piece by piece is, in the end, all of it and nothing twice.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from heschl.features.voice import formants, pitch
from heschl.signal import hz_to_mel, mel_to_hz
from heschl.types import HeschlError, Span

Kind = Literal["phone", "word", "energy", "time", "hertz", "mel", "harmonic", "formant"]
KINDS: tuple[str, ...] = get_args(Kind)


class Tile(NamedTuple):
    """Half-open [start, stop) in seconds and [low, high) in hertz; by default all of either."""

    start: float = 0.0
    stop: float = math.inf
    low: float = 0.0
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a clip by its name.

    Attributes
    ----------
    name: unique among a clip's segments ("AH", "AH (2)", "0-500 Hz", "harmonic 3", ...).
    kind: what sort of part it is: "phone", "word", "sound" or "pause" (by energy), "time", "band", "harmonic",
        "formant".
    tiles: where it lies; they do not overlap.
    """

    name: str
    kind: str
    tiles: tuple[Tile, ...]

    def __post_init__(self) -> None:
        for tile in self.tiles:
            if not (tile.start < tile.stop and tile.low < tile.high):
                raise HeschlError(
                    f"segment '{self.name}' has a part from {tile.start} s to {tile.stop} s and {tile.low} Hz to "
                    f"{tile.high} Hz: stop and high must lie above start and low"
                )
        if not self.tiles:
            raise HeschlError(f"segment '{self.name}' is empty: give it at least one part of the clip")

    @property
    def all_frequencies(self) -> bool:
        return all(tile.low <= 0 and tile.high == math.inf for tile in self.tiles)


def segments_of(
    kind: Kind, wave: Tensor, rate: float, spans: Sequence[Span] = (), n: int | None = None
) -> list[Segment]:
    """The segments of one clip.

    Parameters
    ----------
    kind: "phone" or "word", the spans of that tier, or where there are none, stretches found by energy; "energy",
        these; "time", n equal stretches (10); "hertz" or "mel", n equal bands on that scale (8); "harmonic", the
        first n (8) harmonics of the voice's pitch; "formant", bands around the first n (3) formants.
    wave: (time,). rate: Hz. spans: seconds from the wave's start.

    Raises
    ------
    HeschlError: an unknown kind, a wave that is not (time,), or no voice in it ("harmonic", "formant").
    """
    _check_wave(wave)
    seconds = wave.shape[0] / rate
    if kind in ("phone", "word"):
        return from_spans(spans, kind, seconds) or energy_segments(wave, rate)
    if kind == "energy":
        return energy_segments(wave, rate)
    if kind == "time":
        return time_segments(seconds, 10 if n is None else n)
    if kind in ("hertz", "mel"):
        return bands(rate, 8 if n is None else n, kind)
    if kind == "harmonic":
        return harmonic_bands(wave, rate, 8 if n is None else n)
    if kind == "formant":
        return formant_bands(wave, rate, 3 if n is None else n)
    raise HeschlError(f"segments of kind {kind!r}: choose {', '.join(KINDS)}")


# --- time ------------------------------------------------------------------------------------------------------


def from_spans(
    spans: Iterable[Span], tier: str | None = "phone", seconds: float = math.inf, shift: float = 0.0
) -> list[Segment]:
    """One segment for each span of a tier (None: of all), by time; what lies outside of [0, seconds) is left away.

    shift: seconds added to each, where the wave begins before (or, below zero, after) the clip.
    """
    found = []
    for span in sorted(spans, key=lambda span: (span.start, span.stop)):
        start, stop = max(0.0, span.start + shift), min(seconds, span.stop + shift)
        if tier in (None, span.tier) and start < stop:
            found.append(Segment(span.symbol, span.tier, (Tile(start, stop),)))
    return _named_apart(found)


def time_segments(seconds: float, n: int) -> list[Segment]:
    """n equal stretches of [0, seconds)."""
    _at_least_one("n", n)
    edges = [seconds * k / n for k in range(n + 1)]
    return [
        Segment(f"{1000 * a:.0f}-{1000 * b:.0f} ms", "time", (Tile(a, b),))
        for a, b in itertools.pairwise(edges)
    ]


def energy_segments(
    wave: Tensor, rate: float, dip: float = 6.0, quiet: float = 35.0, shortest: float = 0.04
) -> list[Segment]:
    """Stretches of sound and pauses, for clips whose phones are not known; together they are the whole clip.

    The level over 25 ms, smoothed over 50 ms, is cut where it crosses ``quiet`` decibels below its highest, and in
    its dips of at least ``dip`` decibels. No stretch is shorter than ``shortest`` seconds.
    """
    from scipy.signal import find_peaks

    _check_wave(wave)
    hop = max(1, round(0.005 * rate))
    level = _levels(wave, hop, round(0.025 * rate), round(0.05 * rate / hop))
    seconds = wave.shape[0] / rate
    loud = level > level.max() - quiet if np.isfinite(level.max()) else np.zeros(len(level), bool)
    dips = [int(k) for k in find_peaks(-level, prominence=dip)[0] if loud[k]]
    cuts = {*(np.flatnonzero(np.diff(loud)) + 1).tolist(), *dips}
    edges = [0.0]
    for cut in sorted(cuts):
        at = cut * hop / rate
        if at - edges[-1] >= shortest and seconds - at >= shortest:
            edges.append(at)
    edges.append(seconds)
    counts: Counter[str] = Counter()
    found = []
    for start, stop in itertools.pairwise(edges):
        own = loud[
            math.ceil(start * rate / hop) : max(math.ceil(start * rate / hop) + 1, int(stop * rate / hop))
        ]
        kind = "sound" if own.mean() >= 0.5 else "pause"
        counts[kind] += 1
        found.append(Segment(f"{kind} {counts[kind]}", kind, (Tile(start, stop),)))
    return found


def _levels(wave: Tensor, hop: int, length: int, smooth: int) -> np.ndarray:
    """Decibels of frames centred on k * hop, -inf throughout in silence."""
    x = np.pad(np.asarray(wave.detach().cpu().double()), length // 2 + 1)
    total = np.concatenate([[0.0], np.cumsum(x**2)])
    at = np.arange(0, wave.shape[0], hop)
    energy = (total[at + length] - total[at]) / length
    window = np.hanning(smooth + 2)[1:-1]
    energy = np.convolve(np.pad(energy, len(window) // 2, mode="edge"), window / window.sum(), "valid")
    energy = energy[: len(at)]
    if energy.max(initial=0.0) <= 0:
        return np.full(len(at), -np.inf)
    return np.asarray(10 * np.log10(np.maximum(energy, 1e-10 * energy.max())))


# --- frequency --------------------------------------------------------------------------------------------------


def bands(rate: float, n: int, scale: Literal["hertz", "mel"] = "mel") -> list[Segment]:
    """n bands from 0 to half the rate, equally wide in hertz or mel; the last goes on to the top."""
    _at_least_one("n", n)
    if scale == "mel":
        edges = mel_to_hz(np.linspace(0, hz_to_mel(rate / 2), n + 1))
    elif scale == "hertz":
        edges = np.linspace(0, rate / 2, n + 1)
    else:
        raise HeschlError(f"scale is {scale!r}: choose hertz or mel")
    tops = [*edges[1:-1].tolist(), math.inf]
    return [
        Segment(f"{low:.0f}-{high:.0f} Hz", "band", (Tile(low=low, high=top),))
        for low, high, top in zip(edges[:-1].tolist(), edges[1:].tolist(), tops)
    ]


def harmonic_bands(wave: Tensor, rate: float, n: int = 8, hop: float = 0.01) -> list[Segment]:
    """The first n harmonics of the voice, each half a pitch to either side, wherever there is a pitch.

    Voiced frames are found by `heschl.features.voice.pitch`; unvoiced ones belong to no segment.
    """
    _check_wave(wave)
    _at_least_one("n", n)
    found = pitch(wave, rate, hop=hop)
    frames = [(t, f0) for t, f0 in zip(found.times.tolist(), found.f0.tolist()) if math.isfinite(f0)]
    if not frames:
        raise HeschlError("there is no pitch in this clip: no segments can follow its harmonics")
    segments = []
    for k in range(1, n + 1):
        tiles = [
            _around(t, hop, (k - 0.5) * f0, (k + 0.5) * f0) for t, f0 in frames if (k - 0.5) * f0 < rate / 2
        ]
        if tiles:
            segments.append(Segment(f"harmonic {k}", "harmonic", tuple(tiles)))
    return segments


def formant_bands(
    wave: Tensor, rate: float, n: int = 3, hop: float = 0.01, width: float = 150.0
) -> list[Segment]:
    """Bands around the first n formants, wherever there is a pitch: ``width`` Hz to either side, or up to the middle
    between two formants where these lie closer.

    Formants are found by `heschl.features.voice.formants`, and are estimates: they err, most where the pitch is high.
    """
    _check_wave(wave)
    _at_least_one("n", n)
    voice, found = pitch(wave, rate, hop=hop), formants(wave, rate, n=n + 1, hop=hop)
    tiles: list[list[Tile]] = [[] for _ in range(n)]
    for t, f0, centres in zip(voice.times.tolist(), voice.f0.tolist(), found.frequencies.tolist()):
        if not math.isfinite(f0):
            continue
        known = [f for f in centres if math.isfinite(f)]
        for k, centre in enumerate(known[:n]):
            low, high = max(0.0, centre - width), centre + width
            if k > 0:
                low = max(low, (known[k - 1] + centre) / 2)
            if k + 1 < len(known):
                high = min(high, (known[k + 1] + centre) / 2)
            tiles[k].append(_around(t, hop, low, high))
    segments = [Segment(f"F{k + 1}", "formant", tuple(own)) for k, own in enumerate(tiles) if own]
    if not segments:
        raise HeschlError("there is no voice in this clip: no segments can follow its formants")
    return segments


def _around(time: float, hop: float, low: float, high: float) -> Tile:
    return Tile(max(0.0, time - hop / 2), time + hop / 2, low, high)


# --- where segments lie in samples, steps and cells ---------------------------------------------------------------


def membership(
    segments: Sequence[Segment],
    times: Tensor,
    frequencies: Tensor | None = None,
    *,
    seconds: float = math.inf,
    fade: float = 0.0,
    slope: float = 0.0,
) -> Tensor:
    """How much each moment (and frequency) belongs to each segment, from 0 to 1.

    Each edge is half a cosine of ``fade`` seconds (``slope`` Hz), half of it to either side, so that pieces that
    touch add up to one across it. There is no slope at the ends of the clip, which lies in [0, seconds).

    Parameters
    ----------
    times: (time,) seconds. frequencies: (frequency,) Hz, or None where segments are of all frequencies.

    Returns
    -------
    (segment, time), or (segment, frequency, time); float64.

    Raises
    ------
    HeschlError: a segment of some frequencies, and none are given.
    """
    out = []
    for segment in segments:
        edges = torch.tensor(segment.tiles, dtype=torch.float64, device=times.device)
        start = torch.where(edges[:, 0] <= 0, -math.inf, edges[:, 0])
        stop = torch.where(edges[:, 1] >= seconds - 1e-9, math.inf, edges[:, 1])
        when = _inside(times, start, stop, fade)
        if frequencies is None:
            if not segment.all_frequencies:
                raise HeschlError(
                    f"segment '{segment.name}' is a band of frequencies: it does not lie in time alone"
                )
            out.append(when.sum(0))
            continue
        low = torch.where(edges[:, 2] <= 0, -math.inf, edges[:, 2])
        out.append(_inside(frequencies, low, edges[:, 3], slope).mT @ when)
    shape = (len(times),) if frequencies is None else (len(frequencies), len(times))
    # tiles of one segment touch at most, so their sum exceeds one by rounding alone
    return torch.stack(out).clamp(0, 1) if out else torch.zeros(0, *shape, dtype=torch.float64)


def numbers(
    segments: Sequence[Segment], times: Tensor, frequencies: Tensor | None = None, seconds: float = math.inf
) -> Tensor:
    """The number of the segment of each step, -1 outside of all: (time,) or (frequency, time), as `cells.look` takes.

    Where two overlap, the later one counts.
    """
    inside = membership(segments, times, frequencies, seconds=seconds) > 0.5
    out = torch.full(inside.shape[1:], -1, dtype=torch.int64, device=times.device)
    for k, own in enumerate(inside):
        out[own] = k
    return out


def overlap(weights: Tensor) -> float:
    """The share of all that segments take up which is taken up twice; weights (segment, ...) as of `membership`."""
    total = weights.sum(0)
    return float((total - 1).clamp_min(0).sum() / total.sum().clamp_min(1e-12))


def _inside(at: Tensor, first: Tensor, last: Tensor, width: float) -> Tensor:
    """(tile, place)."""
    at = at.double()
    return _step(at - first[:, None], width) - _step(at - last[:, None], width)


def _step(x: Tensor, width: float) -> Tensor:
    if width <= 0:
        return (x >= 0).double()
    return 0.5 - 0.5 * torch.cos(math.pi * (x / width + 0.5).clamp(0, 1))


def _named_apart(segments: Sequence[Segment]) -> list[Segment]:
    seen: Counter[str] = Counter()
    apart = []
    for segment in segments:
        seen[segment.name] += 1
        name = segment.name if seen[segment.name] == 1 else f"{segment.name} ({seen[segment.name]})"
        apart.append(Segment(name, segment.kind, segment.tiles))
    return apart


def _check_wave(wave: Tensor) -> None:
    if not isinstance(wave, Tensor) or wave.ndim != 1 or not wave.is_floating_point() or not len(wave):
        found = tuple(wave.shape) if isinstance(wave, Tensor) else type(wave).__name__
        raise HeschlError(f"the wave is {found}: give the samples of one clip, a floating tensor (time,)")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise HeschlError(f"{name} is {value}: at least one segment is needed")
