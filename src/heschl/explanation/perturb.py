"""What a network makes of a clip without one of its parts: phones, words, bands, harmonics, stretches of time.

Segments are taken out of the sound itself and not of what a network computes from it, so one method serves every
network. In their place comes silence, noise, or the clip's mean spectrum, cross-faded at the edges so that no click
tells where something was. All of these are linear in the part that is taken out, so the sound without several segments
is the sound less the sum of what each alone takes away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heschl import signal
from heschl.explanation.cells import KEPT, fill, look, uniform
from heschl.explanation.gradient import model_and_x_checked
from heschl.explanation.segments import Segment, Tile, membership, overlap
from heschl.explanation.shapley import kernel_shapley
from heschl.explanation.target import check_target, each_target, logits_of
from heschl.types import HeschlError, Span

Replacement = Literal["silence", "noise", "mean"]
Method = Literal["alone", "shapley"]
Answer = Callable[[Tensor], Tensor]  # waves (n, time) -> scores (n,)
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
    _check(wave, rate, kind)
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
    _check(wave, rate, kind)
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


def _check(wave: Tensor, rate: float, kind: str) -> None:
    if not isinstance(wave, Tensor) or not wave.is_floating_point() or wave.ndim < 1 or not wave.shape[-1]:
        found = tuple(wave.shape) if isinstance(wave, Tensor) else type(wave).__name__
        raise HeschlError(f"the wave is {found}: give a floating tensor (time,) or (batch, time)")
    if not rate > 0:
        raise HeschlError(f"rate is {rate}: give the wave's samples per second")
    if kind not in get_args(Replacement):
        raise HeschlError(f"what comes instead is {kind!r}: choose {', '.join(get_args(Replacement))}")


# --- relevance of segments ---------------------------------------------------------------------------------------


class Aligned(NamedTuple):
    """Relevance of a clip's segments.

    values: (segment,) float64. "alone": how far the score falls when this segment is taken out; "shapley": its mean
        fall over all orders of taking segments out, which add up to whole - without.
    error: (segment,) standard error: over the coalitions that were drawn ("shapley"), or over draws of noise
        ("alone"); 0 where nothing is drawn, NaN where noise was drawn once.
    whole, without: the score of the clip, and of what is left when all segments are taken out.
    names: of the segments. asked: how many different sounds the network heard.
    """

    values: np.ndarray
    error: np.ndarray
    whole: float
    without: float
    names: tuple[str, ...]
    asked: int


def aligned_relevance(
    answer: Answer,
    wave: Tensor,
    segments: Sequence[Segment],
    rate: float,
    method: Method = "alone",
    kind: Replacement = "silence",
    *,
    fade: float = FADE,
    window: float = WINDOW,
    samples: int | None = None,
    draws: int = 1,
    seed: int = 0,
    batch: int = 64,
) -> Aligned:
    """How much each segment of a clip speaks for an answer.

    Parameters
    ----------
    answer: waves (n, time) -> scores (n,), such as a class's logit after the feature and the network.
    wave: (time,). segments: of the wave, as `heschl.explanation.segments.segments_of` finds them. rate: Hz.
    method: "alone" takes out one segment at a time; "shapley" takes out coalitions of them, all for up to ten
        segments, ``samples`` for more (None: 2048 + 2 * segments).
    kind, fade, window: what comes instead, as `remove` and `remove_bands` say.
    draws: how many noises are tried, of which the mean score counts (for kind "noise").
    seed: of the noise and of the coalitions.
    batch: waves that are answered at once.

    Raises
    ------
    HeschlError: no segments, segments that overlap, or an answer that is not one finite number a wave.
    """
    _check(wave, rate, kind)
    if wave.ndim != 1:
        raise HeschlError(f"the wave is {tuple(wave.shape)}: segments belong to one clip, so give (time,)")
    if not segments:
        raise HeschlError("there are no segments to take out: give at least one")
    if draws < 1:
        raise HeschlError(f"draws is {draws}: one noise is the least")
    wave, draws = wave.detach(), draws if kind == "noise" else 1
    parts = [changes(wave, segments, rate, kind, fade, seed + k, window) for k in range(draws)]
    names, n = tuple(segment.name for segment in segments), len(segments)

    def scores(present: np.ndarray) -> np.ndarray:
        """(draw, coalition) of the sound in which these segments are left."""
        gone = torch.from_numpy(~present).to(wave)
        out = np.empty((draws, len(gone)))
        for k, part in enumerate(parts):
            for first in range(0, len(gone), batch):
                waves = wave - gone[first : first + batch] @ part
                out[k, first : first + batch] = _answered(answer, waves)
        return out

    if method == "shapley":
        found = kernel_shapley(lambda present: scores(present).mean(0), n, samples, seed)
        return Aligned(found.values, found.error, found.whole, found.nobody, names, found.asked * draws)
    if method != "alone":
        raise HeschlError(f"method is {method!r}: choose {', '.join(get_args(Method))}")
    heard = scores(np.concatenate([np.ones((1, n), bool), np.zeros((1, n), bool), ~np.eye(n, dtype=bool)]))
    falls = heard[:, :1] - heard[:, 2:]
    if kind != "noise":
        error = np.zeros(n)
    elif draws == 1:
        error = np.full(n, np.nan)
    else:
        error = falls.std(0, ddof=1) / math.sqrt(draws)
    whole, without = heard[:, 0].mean(), heard[:, 1].mean()
    return Aligned(falls.mean(0), error, float(whole), float(without), names, draws * (n + 1) + 1)


def _answered(answer: Answer, waves: Tensor) -> np.ndarray:
    with torch.no_grad():
        given = answer(waves)
    if not isinstance(given, Tensor) or given.shape != (len(waves),):
        found = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise HeschlError(f"the answer to {len(waves)} waves is {found}: one score a wave is needed")
    if not bool(torch.isfinite(given).all()):
        raise HeschlError("the answer holds scores that are not finite: look at the network's weights")
    return np.asarray(given.detach().cpu().double())


# --- segments of a network's input --------------------------------------------------------------------------------


def aligned_occlusion(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    segments: Tensor,
    baseline: float | str | Tensor = "silence",
    method: Method = "alone",
    samples: int | None = None,
    seed: int = 0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Occlusion by aligned segments of the network's own input: how far the target's logit falls without each.

    Parameters
    ----------
    segments: LongTensor (batch, time), or of the shape of x: the number of the segment of each step or value, -1 for
        what stays (`segments.numbers`, `cells.segments_of`).
    baseline: as `heschl.explanation.cells.fill` says: "silence", "mean", "noise", a number, a tensor.
    method, samples, seed: as `aligned_relevance`.

    Returns
    -------
    The shape of x; each segment's relevance shared equally among its values, 0 outside of all segments.

    Raises
    ------
    HeschlError: one sentence for bad input.
    """
    model_and_x_checked(model, x)
    target, x = check_target(target, x), x.detach()
    if method not in get_args(Method):
        raise HeschlError(f"method is {method!r}: choose {', '.join(get_args(Method))}")
    if not isinstance(segments, Tensor):
        raise HeschlError("segments are missing: give a LongTensor (batch, time), -1 for what stays")
    view = look(x, segments, lengths=lengths)
    blank = fill(view, baseline, seed, lengths)
    out = torch.zeros_like(x)
    for k in range(len(x)):
        n = int(view.n[k])
        if not n:
            continue
        own = slice(k, k + 1)
        length = None if lengths is None else lengths[own]

        def scores(present: np.ndarray, own: slice = own, length: Tensor | None = length) -> np.ndarray:
            kept = torch.from_numpy(np.append(present, np.ones((len(present), 1), bool), 1)).to(x.device)
            parts = []
            for some in torch.split(kept, 64):
                ids = view.ids[own][0]
                mixed = torch.where(
                    some[:, torch.where(ids == KEPT, some.shape[1] - 1, ids)], x[own], blank[own]
                )
                many = None if length is None else length.expand(len(some))
                parts.append(_logit(model, mixed, target[own].expand(len(some), *target.shape[1:]), many))
            return np.concatenate(parts)

        if method == "shapley":
            values = kernel_shapley(scores, n, samples, seed).values
        else:
            heard = scores(np.concatenate([np.ones((1, n), bool), ~np.eye(n, dtype=bool)]))
            values = heard[0] - heard[1:]
        ids = view.ids[k]
        count = torch.bincount(ids[ids != KEPT].flatten(), minlength=n)
        each = torch.from_numpy(values).to(x) / count
        out[k] = torch.where(ids == KEPT, 0.0, each[ids.clamp_min(0)])
    return out


def _logit(model: nn.Module, x: Tensor, target: Tensor, lengths: Tensor | None) -> Any:
    with torch.no_grad():
        logits = logits_of(model(x) if lengths is None else model(x, lengths))
    wanted = each_target(logits, target)
    picked = logits.gather(-1, wanted.clamp(min=0)[..., None])[..., 0] * (wanted >= 0)
    return (picked if picked.ndim == 1 else picked.sum(1)).cpu().double().numpy()
