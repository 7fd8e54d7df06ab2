"""The keys of a recipe, their types and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    model_serializer,
    model_validator,
)

from heschl.types import Resampler

FORMAT = 1
Precision = Literal["32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _parted(value: Any, own: tuple[str, ...]) -> Any:
    """`{use: x, ...}` with what is not a key of heschl's own under `args`."""
    if isinstance(value, str):
        return {"use": value}
    if isinstance(value, Mapping) and "use" in value:
        kept = {key: value[key] for key in ("use", *own) if key in value}
        return {**kept, "args": {key: item for key, item in value.items() if key not in kept}}
    return value


class Part(_Section):
    """Something named by an import path, with its arguments: `{use: crnn.CRNN, hidden: 128}`."""

    use: str = Field(min_length=1, description="import path, tried under heschl.<kind> and then as written")
    args: dict[str, Any] = Field(default_factory=dict, description="arguments, checked against its signature")

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return _parted(value, ())

    @model_serializer
    def _joined(self) -> dict[str, Any]:
        return {"use": self.use, **self.args}


class SpeechPart(_Section):
    """What tells speech from silence, and from when on its probability is taken for speech."""

    use: str = Field(min_length=1, description="energy, Wav2Vec2Speech, or a detector of your own")
    args: dict[str, Any] = Field(default_factory=dict, description="arguments, checked against its signature")
    on: float = Field(
        default=0.6, gt=0, lt=1, description="speech begins where its probability rises to this"
    )
    off: float = Field(default=0.4, gt=0, lt=1, description="and ends where it falls below this")
    least: float = Field(default=0.10, ge=0, description="seconds; shorter speech is none")
    gap: float = Field(default=0.20, ge=0, description="seconds; shorter silence does not part speech")
    pad: float = Field(default=0.03, ge=0, description="seconds that are added to both ends")

    _OWN: ClassVar = ("on", "off", "least", "gap", "pad")

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return _parted(value, cls._OWN)

    @model_validator(mode="after")
    def _in_order(self) -> SpeechPart:
        if self.off > self.on:
            raise ValueError(f"has `off` {self.off:g} above `on` {self.on:g}")
        return self

    @property
    def thresholds(self) -> dict[str, float]:
        return {key: getattr(self, key) for key in self._OWN}

    @model_serializer
    def _joined(self) -> dict[str, Any]:
        default = {key: type(self).model_fields[key].default for key in self._OWN}
        moved = {key: item for key, item in self.thresholds.items() if item != default[key]}
        return {"use": self.use, **self.args, **moved}


class CorpusPart(_Section):
    """A corpus: use, root, its reader's options, and what heschl does to its labels."""

    use: str = Field(min_length=1, description="a module of heschl.corpora, or one of your own with `read`")
    args: dict[str, Any] = Field(default_factory=dict, description="root and the reader's options")
    relabel: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="new labels: {new: {from: column, map: {old: new}, else: other}}"
    )
    share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="under `also`: its share of all draws; null: as many as its clips",
    )
    speech: SpeechPart | None = Field(
        default=None,
        description="cuts the silence before and after what is said; lays a brain's windows in speech (`listening`)",
    )

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return _parted(value, ("relabel", "share", "speech"))

    @model_serializer
    def _joined(self) -> dict[str, Any]:
        speech = self.speech and self.speech.model_dump()
        own = {"relabel": self.relabel, "share": self.share, "speech": speech}
        return {"use": self.use, **self.args, **{key: item for key, item in own.items() if item}}


class About(BaseModel):
    """For people: what `heschl recipes` shows. Never part of the run's name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    what: str = Field(default="", description="one sentence")
    data: str = Field(default="", description="the recordings that it needs")
    download: str = Field(default="", description="how much there is to download")
    minutes: float | str = Field(default="", description="minutes on two cores")
    small: str = Field(default="", description="the recipe to take instead where time is short")
    source: str = Field(default="", description="the publication that it follows")


class ClipLength(_Section):
    """How long the network's input is."""

    seconds: float | None = Field(
        default=None, gt=0, le=3600, description="seconds; null: whole clips, padded to the batch's longest"
    )
    long: Literal["centre", "start", "random", "refuse"] = Field(
        default="centre", description="which part of longer clips"
    )
    short: Literal["centre", "end", "random", "refuse"] = Field(
        default="centre", description="where shorter clips are padded"
    )
    resample: Resampler = Field(
        default="soxr",
        description="how recordings of another rate are brought to the feature's: soxr's filter, or the whole wave's spectrum",
    )


class EarlyStopping(_Section):
    patience: int = Field(ge=1, description="epochs without a better validation score before training stops")
    min_delta: float = Field(
        default=0.0,
        ge=0,
        description="how much better counts as better for it; the best weights are kept all the same",
    )


def _early(value: Any) -> Any:
    return {"patience": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Train(_Section):
    """How the network is trained. All of it is part of the run's name."""

    epochs: int | None = Field(
        default=None, ge=0, description="passes over the training part; 0: only keeps `init` as a run"
    )
    steps: int | None = Field(default=None, ge=1, description="instead of epochs: optimiser steps")
    batch: int = Field(
        default=32,
        ge=1,
        description="clips (frames, for per-frame features) a step, over all devices together",
    )
    precision: Precision = Field(default="32-true", description="arithmetic, as lightning names it")
    channels_last: bool = Field(
        default=False,
        description="convolutions with the channels last in memory: faster in half precision, equal but for rounding",
    )
    optimiser: Part = Field(
        default=Part.model_validate({"use": "AdamW", "lr": 1e-3}),
        description="torch.optim, and its arguments",
    )
    schedule: Part | None = Field(default=None, description="how the learning rate moves, one of those below")
    clip_gradient: float | None = Field(default=None, gt=0, description="largest norm of the gradient")
    early_stopping: Annotated[EarlyStopping | None, BeforeValidator(_early)] = Field(
        default=None, description="patience in epochs, or {patience, min_delta}"
    )
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="also keep the weights of every n-th epoch"
    )
    init: str | None = Field(
        default=None,
        description="start from these weights: a run, a .safetensors, a plain state dict, or phones-8k or phones-16k, which come along",
    )
    freeze: list[str] = Field(
        default_factory=list, description="parameters that stay as they are, by leading name"
    )
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="decay a step of a running mean of the weights"
    )
    draws: Literal["natural", "sqrt", "balanced"] = Field(
        default="natural",
        description="each clip once; classes by the root of their size; classes equally often",
    )
    epoch_clips: int | None = Field(
        default=None, ge=1, description="clips (or frames) that make an epoch; null: all of them"
    )
    monitor: str = Field(
        default="balanced_accuracy", description="the validation score that chooses the best weights"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("needs either `epochs` or `steps`")
        if self.epochs == 0 and self.init is None:
            raise ValueError(
                "has `epochs` 0 and no weights to keep: name them as `train.init`, or train for an epoch"
            )
        return self


class Machine(_Section):
    """Where and how fast. Never part of the run's name."""

    device: str = Field(
        default="auto", description="auto, cpu, cuda, mps: handed to lightning as its accelerator"
    )
    devices: int | str | list[int] = Field(default=1, description="how many, or which")
    nodes: int = Field(default=1, ge=1, description="machines")
    strategy: str = Field(default="auto", description="lightning's strategy: ddp, fsdp, ...")
    workers: int = Field(
        default=0, ge=0, description="processes that read clips ahead; 0: none, the cache is fast enough"
    )
    threads: int | None = Field(
        default=None, ge=1, description="processor threads of the arithmetic; null: torch decides"
    )
    save_seconds: float = Field(
        default=20.0, ge=0, description="seconds of work that a kill may cost; 0: saves every step"
    )
    tensorboard: bool = Field(
        default=False, description="also write TensorBoard files, where it is installed"
    )


class Brain(_Section):
    """Where the layers lie, if nobody says otherwise. Never part of the run's name."""

    areas: str | dict[str, str | list[str]] | None = Field(
        default=None,
        description="a table of areas like the shipped one, or {layer: area}; null: the shipped table",
    )


class Recipe(_Section):
    """A whole recipe. See `load`."""

    format: int = Field(default=1, description="the recipe's format; this heschl reads 1")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100, description="the run's name begins with it"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="of everything random")
    about: About = Field(default=About(), description="for people")
    corpus: CorpusPart = Field(description="what was heard: use, root and its options")
    also: list[CorpusPart] = Field(
        default_factory=list, description="further corpora, for the training part only"
    )
    split: Part = Field(description="what is trained on, validated on and tested on")
    clip: ClipLength = Field(default=ClipLength(), description="how long the network's input is")
    feature: Part = Field(description="wave -> the network's input")
    augment: list[Part] = Field(
        default_factory=list, description="changes to clips of the training part, in order"
    )
    model: Part = Field(description="the network")
    task: Part = Field(description="target, loss and scores")
    train: Train = Field(description="how the network is trained")
    explain: list[Part] = Field(default_factory=list, description="what `heschl explain` does by default")
    brain: Brain = Field(default=Brain(), description="what `heschl place` does by default")
    machine: Machine = Field(default=Machine(), description="where it runs; never part of the run's name")

    _folder: Path | None = PrivateAttr(None)

    @property
    def folder(self) -> Path | None:
        """The folder of the recipe's file, importable for the user's own parts."""
        return self._folder

    def parts(self) -> Iterator[tuple[str, str, Part | CorpusPart | SpeechPart]]:
        """Every part that training needs, as (where in the recipe, kind, part)."""
        also = ((f"also.{i}", part) for i, part in enumerate(self.also))
        for at, corpus in (("corpus", self.corpus), *also):
            yield at, "corpus", corpus
            if corpus.speech is not None:
                yield f"{at}.speech", "speech", corpus.speech
        yield "split", "split", self.split
        yield "feature", "feature", self.feature
        for i, part in enumerate(self.augment):
            yield f"augment.{i}", "augment", part
        yield "model", "model", self.model
        yield "task", "task", self.task
        yield "train.optimiser", "optimiser", self.train.optimiser
        if self.train.schedule is not None:
            yield "train.schedule", "schedule", self.train.schedule
