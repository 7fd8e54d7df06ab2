"""The few things that travel through heschl: clips and recordings, corpora, batches, and what is found in them.

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
    import numpy as np
    import torch


Resampler = Literal["soxr", "fft"]  # soxr's filter, or the spectrum of the whole wave


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


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard, spoken or imagined during a stretch of a recording, half-open, in the recording's seconds.

    Attributes
    ----------
    clip: id of a clip of the same corpus, or None where only a name is known.
    label: what it was ("word", a phoneme, ...), or None.
    """

    start: float
    stop: float
    clip: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.stop) and self.start <= self.stop):
            raise HeschlError(
                f"something was heard from {self.start} s to {self.stop} s: "
                "its times must be finite and in order"
            )


@dataclass(frozen=True, eq=False, slots=True)
class Recording:
    """A brain, recorded while it heard, spoke or imagined.

    Attributes
    ----------
    id: unique within the corpus. subject: whose brain.
    signal: the file, of any kind that its reader knows. rate: samples a second, Hz.
    channels: their names, in the file's order.
    positions: (channel, 3) metres in ``space``, NaN for a channel without a place; None where none is known.
    space: of the positions ("head", "MNI152", ...), or None.
    heard: what was going on when.
    """

    id: str
    subject: str
    signal: Path
    rate: float
    kind: Literal["eeg", "meg", "ecog", "seeg"]
    channels: tuple[str, ...]
    positions: np.ndarray | None = None
    space: str | None = None
    heard: tuple[Heard, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise HeschlError(f"recording {self.id} has a rate of {self.rate} Hz: it must be above zero")
        if self.positions is not None and self.positions.shape != (len(self.channels), 3):
            raise HeschlError(
                f"recording {self.id} has {len(self.channels)} channels and positions of shape "
                f"{self.positions.shape}: they must be (channel, 3)"
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
    recordings: of brains that listened, spoke or imagined; a corpus may hold these alone.
    """

    name: str
    clips: tuple[Clip, ...]
    source: str
    licence: str
    noise: tuple[Clip, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    synthetic: bool = False
    recordings: tuple[Recording, ...] = ()
    by_id: Mapping[str, Clip] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for key in ("name", "source", "licence"):
            if not isinstance(getattr(self, key), str):
                raise HeschlError(
                    f"a corpus' {key} is {getattr(self, key)!r:.60}: it must be text (Corpus takes name, clips, source and "
                    "licence in this order, and all else by name)"
                )
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
                self.recordings,
            ),
        )


class Batch(NamedTuple):
    """What a network is given at once, batch first.

    x: (batch, *in_shape), or (batch, ..., time) with ``lengths`` for clips of different length.
    y: (batch,) class indices; (batch, time) for frames, -100 where there is no label;
        or (batch, class) weights where clips are mixed.
    lengths: (batch,) valid steps of x's time axis, or None where all are valid.
    ids: the clips, in order.
    subject: (batch,) whose brain, as an index; None for sound.
    positions: (batch, sensor, 2 or 3) where the sensors lie, NaN for one that is missing; None for sound.
    """

    x: torch.Tensor
    y: torch.Tensor
    lengths: torch.Tensor | None
    ids: tuple[str, ...]
    subject: torch.Tensor | None = None
    positions: torch.Tensor | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Activity:
    """What the units of one area of a network do over time.

    Attributes
    ----------
    area: its public name ("STG").
    values: (batch, time, unit), in the network's own units.
    times: (time,) seconds from the start of the sound: the middle of what each step hears. Network time, not a
        brain's latency.
    """

    area: str
    values: torch.Tensor
    times: torch.Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.times.ndim != 1 or self.values.shape[1] != len(self.times):
            raise HeschlError(
                f"the activity of {self.area} has values {tuple(self.values.shape)} and times "
                f"{tuple(self.times.shape)}: they must be (batch, time, unit) and (time,)"
            )


@dataclass(frozen=True, eq=False, slots=True)
class Explanation:
    """What a network's answer to one clip rested on.

    Attributes
    ----------
    clip: the clip's id.
    target: the class that is explained, by its label.
    method: how ("lrp:epsilon_plus", "occlusion_time", ...).
    relevance: the shape of x: for the target above zero, against it below.
    x: the network's input, without the batch axis; time on the axis that the network says (last, mostly).
    rate: steps of x's time axis per second, Hz.
    """

    clip: str
    target: str
    method: str
    relevance: torch.Tensor
    x: torch.Tensor
    rate: float

    def __post_init__(self) -> None:
        if self.relevance.shape != self.x.shape:
            raise HeschlError(
                f"the relevance of {self.clip} is {tuple(self.relevance.shape)} and its input "
                f"{tuple(self.x.shape)}: they must have one shape"
            )


@dataclass(frozen=True, eq=False, slots=True)
class BrainMap:
    """Values at places of a brain over time.

    Attributes
    ----------
    values: (place, time).
    positions: (place, 3) metres, in ``space``.
    times: (time,) seconds.
    unit: of the values ("A m" for source moments, "V", "T", "r", ...).
    space: of the positions ("MNI305", "MNI152", "head").
    status: "illustrative" where a table put a layer there, "fitted" where recordings did, "fitted to simulated
        data" where simulated ones did.
    """

    values: np.ndarray
    positions: np.ndarray
    times: np.ndarray
    unit: str
    space: str
    status: Literal["illustrative", "fitted", "fitted to simulated data"] = "illustrative"

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.positions), len(self.times)) or self.positions.shape[1:] != (3,):
            raise HeschlError(
                f"a brain map has values {self.values.shape}, positions {self.positions.shape} and "
                f"{len(self.times)} times: they must be (place, time), (place, 3) and (time,)"
            )
