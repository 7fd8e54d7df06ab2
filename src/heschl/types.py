"""The few things that travel through heschl: spans, clips, corpora and batches.

All are frozen, checked when made, and without behaviour. Times are in seconds, rates in hertz.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import torch


class HeschlError(ValueError):
    """Bad input, told to a person: one sentence that says what was found, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a clip that carries a symbol, half-open: [start, stop), in seconds from the clip's start."""

    symbol: str
    start: float
    stop: float
    tier: str = "phone"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.stop) and 0 <= self.start <= self.stop):
            raise HeschlError(
                f"the {self.tier} '{self.symbol}' runs from {self.start} s to {self.stop} s: "
                "its times must be finite, not negative and in order"
            )


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance: where its signal lies and what is known about it.

    Attributes
    ----------
    id: unique within the corpus, with forward slashes, the same on every machine.
    signal: the file; several clips may share one.
    rate: samples (``form="wave"``) or frames (``form="frames"``) per second in that file, Hz.
    labels: every column of metadata, as text ("word", "speaker", "gender", ...).
    spans: what is said when, seconds from the clip's own start.
    start, stop: the part of the file that is the clip, seconds; ``stop=None`` means to the end.
    form: "wave" for audio, "frames" for stored features (frame, feature).
    key: the dataset or row inside the file, for ``form="frames"``.
    """

    id: str
    signal: Path
    rate: float
    labels: Mapping[str, str]
    spans: tuple[Span, ...] = ()
    start: float = 0.0
    stop: float | None = None
    form: Literal["wave", "frames"] = "wave"
    key: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise HeschlError(f"a clip of {self.signal} has no id: give it a name")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise HeschlError(f"clip {self.id} has a rate of {self.rate} Hz: it must be above zero")
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise HeschlError(
                f"clip {self.id} runs from {self.start} s to {self.stop} s: its stop must come after its start"
            )
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))

    def __reduce__(self) -> tuple[object, ...]:  # a mapping proxy does not pickle, and workers need clips
        return (
            Clip,
            (
                self.id,
                self.signal,
                self.rate,
                dict(self.labels),
                self.spans,
                self.start,
                self.stop,
                self.form,
                self.key,
            ),
        )


class Skipped(NamedTuple):
    """Something that a reader left out, and why: nothing is dropped in silence."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """What was heard: clips, where they come from and under which licence.

    Attributes
    ----------
    name, source, licence: for origin files, pages and model cards.
    clips: in a fixed order, by id.
    noise: background recordings, for augmentation and silence; never examples of a class.
    skipped: what the reader left out, and why.
    notes: sentences that a person must know about this corpus (said once, and kept in the run).
    synthetic: True where a machine speaks; every score on it says so.
    """

    name: str
    clips: tuple[Clip, ...]
    source: str
    licence: str
    noise: tuple[Clip, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    synthetic: bool = False
    by_id: Mapping[str, Clip] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_id: dict[str, Clip] = {}
        for clip in self.clips:
            if clip.id in by_id:
                raise HeschlError(
                    f"two clips of corpus {self.name} are called {clip.id} "
                    f"({by_id[clip.id].signal} and {clip.signal}): ids must differ"
                )
            by_id[clip.id] = clip
        object.__setattr__(self, "by_id", MappingProxyType(by_id))

    def __reduce__(self) -> tuple[object, ...]:
        return (
            Corpus,
            (
                self.name,
                self.clips,
                self.source,
                self.licence,
                self.noise,
                self.skipped,
                self.notes,
                self.synthetic,
            ),
        )


class Batch(NamedTuple):
    """What a network is given at once, batch first.

    x: (batch, *in_shape), or (batch, ..., time) with ``lengths`` for clips of different length.
    y: (batch,) class indices; (batch, time) for frames, -100 where there is no label;
        or (batch, class) weights where clips are mixed.
    lengths: (batch,) valid steps of x's time axis, or None where all are valid.
    ids: the clips, in order.
    """

    x: torch.Tensor
    y: torch.Tensor
    lengths: torch.Tensor | None
    ids: tuple[str, ...]
