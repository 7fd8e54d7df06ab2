"""Clips as their network's input, with what is to be explained of them: what every test of explanations begins with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from heschl.explanation.cells import KEPT, segments_of
from heschl.explanation.segments import energy_segments
from heschl.explanation.target import NO_LABEL, logits_of
from heschl.features.context import context_windows
from heschl.features.stored import Stored
from heschl.features.waveform import fit_length, placement
from heschl.run import Run, hear
from heschl.steps.networks import Network, refuse_brain
from heschl.types import Clip, HeschlError, Skipped, Span

TOGETHER = 16  # clips at once
SILENT = frozenset({"", "sil", "sp", "spn", "pau", "epi", "h#", "#", "_", "<sil>", "silence"})


class Inputs(NamedTuple):
    """Some clips as their network takes them.

    Attributes
    ----------
    waves: (batch, time) at the network's rate, cut or padded as it hears them; of stored frames (batch, feature, time).
    samples: (batch,) valid samples of networks that hear clips of any length, else None.
    own: where each clip itself lies in its wave, (first, end) samples: around it are the zeros that made it long enough.
    x: (batch, ...), the network's input. lengths: (batch,) its valid steps, else None.
    energy: the shape of x, growing with the sound's energy in every row: x before rows were normalised.
    said: the true class, (batch,) or (batch, time); answered: the network's own. -100 where there is none.
    times: (time,) middle of each step of x, seconds from the beginning of the wave as it was fitted.
    spans: of each clip, in the same seconds.
    rate: samples a second of the waves, Hz.
    """

    clips: tuple[Clip, ...]
    waves: Tensor
    samples: Tensor | None
    own: tuple[tuple[int, int], ...]
    x: Tensor
    lengths: Tensor | None
    energy: Tensor
    said: Tensor
    answered: Tensor
    times: Tensor
    spans: tuple[tuple[Span, ...], ...]
    rate: float

    def segments(self, tier: str = "phone") -> Tensor:
        """(batch, time): which of its spans each step of a clip lies in, -1 outside."""
        own = [[span for span in spans if span.tier == tier] for spans in self.spans]
        return segments_of(own, self.times, self.lengths)

    def stretches(self) -> Tensor:
        """(batch, time): which stretch of sound or pause, found by energy, each step lies in; of frames, none."""
        if self.waves.ndim != 2:
            return torch.full((len(self.x), self.x.shape[-1]), KEPT)
        ends = [self.waves.shape[-1]] * len(self.waves) if self.samples is None else self.samples.tolist()
        own = []
        for wave, end in zip(self.waves, ends, strict=True):
            edges = [
                (tile.start, tile.stop)
                for part in energy_segments(wave[:end], self.rate)
                for tile in part.tiles
            ]
            edges[-1] = (edges[-1][0], edges[-1][1] + 1.0)  # a frame may be centred on the very end
            own.append([Span("stretch", start, stop, "energy") for start, stop in edges])
        return segments_of(own, self.times, self.lengths)

    def spoken(self, tier: str = "phone") -> Tensor:
        """(batch, time): whether a span other than silence covers a step."""
        own = [
            [s for s in spans if s.tier == tier and s.symbol.lower() not in SILENT] for spans in self.spans
        ]
        return segments_of(own, self.times, self.lengths) >= 0


class Windows(nn.Module):
    """A network that hears windows, as one that hears whole clips: (batch, feature, time) -> (batch, time, class)."""

    def __init__(self, model: nn.Module, context: int) -> None:
        super().__init__()
        self.model, self.context = model, context

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        windows = context_windows(x.transpose(1, 2), self.context)
        assert isinstance(windows, Tensor)
        logits = logits_of(self.model(windows.reshape(-1, *windows.shape[2:])))
        return logits.reshape(*windows.shape[:2], -1)


class Hearing(nn.Module):
    """A network with its feature: waves (batch, time) -> logits. ``lengths`` are samples."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.feature, self.model = network.feature, network.model

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        return logits_of(hear(self.feature, self.model, wave, lengths))


def explained(network: Network) -> nn.Module:
    """The network that takes `Inputs.x`, in eval mode."""
    if getattr(network.feature, "per_frame", False):
        return Windows(network.model, int(network.feature.context)).eval()  # type: ignore[arg-type]
    return network.model


def inputs(
    network: Network,
    task: Any,
    clips: Sequence[Clip],
    skipped: list[Skipped] | None = None,
    together: int = TOGETHER,
) -> Iterator[Inputs]:
    """The clips as the network takes them, in order, some at a time.

    skipped: clips that cannot be read are added to it; without it the first one is an error.
    """
    for first in range(0, len(clips), together):
        kept, waves = [], []
        for clip in clips[first : first + together]:
            try:
                refuse_brain(clip)
                waves.append(network.read(clip))
                kept.append(clip)
            except HeschlError as error:
                if skipped is None:
                    raise
                skipped.append(Skipped(clip.id, str(error)))
        if kept:
            yield _together(network, task, kept, waves)


def _together(network: Network, task: Any, clips: Sequence[Clip], waves: Sequence[np.ndarray]) -> Inputs:
    padded, samples, starts = fitted(network, waves)
    feature, model = network.feature, explained(network)
    with torch.no_grad():
        x, energy = heard(feature, padded, samples)
        lengths = None
        if samples is not None:
            lengths = feature.steps(samples).clamp_max(x.shape[-1])  # type: ignore[operator]
        logits = logits_of(model(x) if lengths is None else model(x, lengths))
    start, rate = float(getattr(feature, "start", 0.0)), float(feature.rate)  # type: ignore[arg-type]
    times = torch.from_numpy(start + np.arange(x.shape[-1]) / rate)
    answered = logits.argmax(-1)
    if network.frames:
        assert lengths is not None
        after = torch.arange(logits.shape[1]) >= lengths[:, None]
        answered = answered.masked_fill(after, NO_LABEL)
        rows = [task.target(clip, times[: logits.shape[1]], strict=False) for clip in clips]
        said = torch.stack([torch.as_tensor(row) for row in rows]).masked_fill(after, NO_LABEL)
    else:
        said = torch.tensor([task.target(clip) for clip in clips])
    spans = tuple(_moved(clip, begin) for clip, begin in zip(clips, starts))
    firsts = [-round(begin * network.sample_rate) for begin in starts]
    own = tuple(
        (max(0, first), min(padded.shape[-1], first + wave.shape[-1]))
        for first, wave in zip(firsts, waves, strict=True)
    )
    return Inputs(
        tuple(clips),
        padded,
        samples,
        own,
        x,
        lengths,
        energy,
        said,
        answered,
        times,
        spans,
        network.sample_rate,
    )


def fitted(network: Network, waves: Sequence[np.ndarray]) -> tuple[Tensor, Tensor | None, list[float]]:
    """Waves as the network hears them: (batch, time); valid samples, or None where all clips have one length; and
    where in the clip each begins, seconds (negative: silence before it)."""
    lengths = torch.tensor([wave.shape[-1] for wave in waves])
    padded = torch.zeros(len(waves), *waves[0].shape[:-1], int(lengths.max()))
    for row, wave in zip(padded, waves, strict=True):
        row[..., : wave.shape[-1]] = torch.from_numpy(np.ascontiguousarray(wave))
    if network.seconds is None or network.frames:
        return padded, lengths, [0.0] * len(waves)
    n = round(network.seconds * network.sample_rate)
    long: Any = "centre" if network.long == "random" else network.long
    short: Any = network.short
    starts = placement(lengths, n, long, short)
    padded, _ = fit_length(padded, lengths, n, long, short)
    return padded, None, (starts.double() / network.sample_rate).tolist()


def heard(feature: nn.Module, wave: Tensor, samples: Tensor | None) -> tuple[Tensor, Tensor]:
    """The network's input and, in its shape, the same without the normalisation of each row."""
    if isinstance(feature, Stored):
        return wave, wave
    front = getattr(feature, "frame", feature) if getattr(feature, "per_frame", False) else feature
    given = (wave,) if samples is None else (wave, samples)
    x = front(*given)
    energy = x
    if getattr(front, "normalise", "none") != "none":
        plain = copy.copy(front)
        plain.normalise = "none"
        energy = plain(*given)
    if samples is not None and getattr(
        feature, "per_frame", False
    ):  # as the windows see it: zeros after the end
        inside = torch.arange(x.shape[-1]) < front.steps(samples)[:, None]  # type: ignore[operator]
        x = torch.where(inside[:, None], x, 0.0)
    return x, energy


def _moved(clip: Clip, begin: float) -> tuple[Span, ...]:
    """The clip's spans in seconds of the fitted wave; what was cut off before its beginning is left out."""
    return tuple(
        replace(span, start=max(0.0, span.start - begin), stop=span.stop - begin)
        for span in clip.spans
        if span.stop - begin > 0
    )


def each_clip(measure: Callable[..., Tensor], lengths: Tensor | None, *relevance: Tensor) -> list[float]:
    """A measure of relevance (batch, ..., time), one number a clip, of its own steps: the zeros after a clip's end are the
    batch's, and two explanations would agree on them.

    measure: relevance (1, ..., time), one or several -> (1,). lengths: (batch,) valid steps, or None where all are.
    """
    ends = [None] * len(relevance[0]) if lengths is None else lengths.tolist()
    return [
        float(measure(*(one[k : k + 1, ..., :end] for one in relevance))[0]) for k, end in enumerate(ends)
    ]


def chosen(
    run: Run, part: str, n: int | None, seed: int = 0
) -> tuple[list[Clip], dict[str, str] | None, str]:
    """Clips of a part, by turns from every speaker (at random among each one's own), at most n of them; where there are
    more speakers than that, of some at random.

    Returns
    -------
    the clips; clip id -> speaker, or None where nobody is known; what the split keeps apart ("speaker").
    """
    if part not in ("train", "validation", "test"):
        raise HeschlError(f"there is no part '{part}': choose train, validation or test")
    ids = getattr(run.split, part)
    corpus = run.corpus()
    clips = [corpus.by_id[one] for one in ids if one in corpus.by_id]
    task = run.task()
    known = set(task.unknown(corpus))
    kept = [
        clip
        for clip in task.select(replace(corpus, clips=tuple(clips))).clips
        if not hasattr(task, "label") or clip.labels.get(task.label) not in known
    ]
    if not kept:
        raise HeschlError(
            f"the {part} part of {run} holds no clip that the network knows: choose another with --part"
        )
    by = run.split.by
    groups = None if by == "clip" else {clip.id: run.split.groups[clip.id] for clip in kept}
    if n is None or n >= len(kept):
        return kept, groups, by
    random = np.random.default_rng(seed)
    piles: dict[str, list[Clip]] = {}
    for k in random.permutation(len(kept)):
        piles.setdefault(groups[kept[k].id] if groups else "", []).append(kept[k])
    order = sorted(piles)
    if n < len(order):  # not the first of the alphabet, who may be all of one sex
        order = [order[k] for k in random.permutation(len(order))]
    picked: list[Clip] = []
    while len(picked) < n:
        for name in order:
            if piles[name] and len(picked) < n:
                picked.append(piles[name].pop())
    return sorted(picked, key=lambda clip: clip.id), groups, by
