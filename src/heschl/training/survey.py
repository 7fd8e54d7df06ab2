"""What a recipe means before it is trained: its corpus read, its parts made, counted and tried on two clips.

`survey` is the first half of every training, and all of `heschl check`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from heschl.corpora import Progress, merge
from heschl.corpora.frames import load_frames
from heschl.corpora.sensors import Sensors, flat_sensors, sensors_of
from heschl.corpora.split import PARTS, Split, check_disjoint, extend_training
from heschl.features.store import read_sound
from heschl.recipe import Recipe
from heschl.recipe.parts import build
from heschl.recipe.plain import nearest
from heschl.run import hear, read_heard
from heschl.signal import resample_recording
from heschl.tasks.loss import logits_of
from heschl.training.apart import kept_apart
from heschl.training.scaling import scaled
from heschl.types import Clip, Corpus, HeschlError, Skipped
from heschl.wording import counted

MONITORS = ("loss", "accuracy", "balanced_accuracy")


@dataclass
class Survey:
    """A recipe with its corpus and parts.

    Attributes
    ----------
    corpus, split: as the recipe asks. origins: clip id -> which entry of `also` it is of, counted from 1.
    feature, task: made, the task with its labels. in_shape: of the network, without the batch axis.
    parts: part -> its clips that the task knows; "train" has the further clips at its end.
    sensors: where they lie, for trials of brains.
    skipped: what was left out, and why. notes: what a person must know.
    """

    recipe: Recipe
    corpus: Corpus
    split: Split
    feature: Any
    task: Any
    parts: dict[str, list[Clip]]
    origins: dict[str, int]
    sensors: Sensors | None = None
    also: list[Corpus] = field(default_factory=list)
    in_shape: tuple[int, ...] = ()
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.task.classes)

    @property
    def per_frame(self) -> bool:
        """Every time step of the feature is one example."""
        return bool(getattr(self.feature, "per_frame", False))

    @property
    def frames(self) -> bool:
        """The targets are those of time steps, not of clips."""
        return hasattr(self.task, "tier")

    def speaker(self, clip: Clip) -> str:
        """The group of a clip that the split keeps apart."""
        return self.split.groups.get(clip.id) or clip.labels.get(self.split.by) or clip.id

    def model(self, more: int = 0) -> nn.Module:
        """A new network, its first weights drawn by the recipe's seed. more: classes than the task has."""
        fill = {"in_shape": self.in_shape, "n_outputs": len(self.labels) + more}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            made: nn.Module = build(self.recipe.model, "model", fill=fill, folder=self.recipe.folder)
        return made

    def head(self) -> frozenset[str]:
        """Names of the network's weights that its classes decide: those of another shape were there one more."""
        wider = self.model(more=1).state_dict()
        return frozenset(n for n, own in self.model().state_dict().items() if own.shape != wider[n].shape)

    def augment(self) -> list[Any]:
        """The recipe's augmentations, in order."""
        fill = {
            "sample_rate": self.feature.sample_rate,
            "frequencies": getattr(self.feature, "frequencies", None),
        }
        made = [build(part, "augment", fill=fill, folder=self.recipe.folder) for part in self.recipe.augment]
        for part, one in zip(self.recipe.augment, made):
            if self.per_frame and one.on == "wave":
                raise HeschlError(
                    f"augment: {part.use} changes the sound, and {self.recipe.feature.use} is computed before training: "
                    "use augmentations of the feature"
                )
            if self.frames and one.on == "batch":
                raise HeschlError(
                    f"augment: {part.use} mixes clips, and the task asks for each frame: remove it"
                )
            # a window's middle frame stays where it is
            if self.frames and not self.per_frame and getattr(one, "moves", False):
                raise HeschlError(
                    f"augment: {part.use} moves sounds in time, and the task asks for each frame: remove it"
                )
            if getattr(one, "needs_noise", False) and not self.corpus.noise:
                raise HeschlError(
                    f"augment: {part.use} needs recordings of noise, and corpus {self.corpus.name} has none: remove it"
                )
        return made


def survey(recipe: Recipe, *, strict: bool = False, progress: Progress | None = None) -> Survey:
    """Reads the corpus, splits it, makes feature and task, and counts; ``progress`` is the corpus' reader's.

    Raises
    ------
    HeschlError: anything that would stop the training, in one sentence.
    """
    corpus = read_heard(recipe.corpus, recipe.folder, progress=progress)
    split: Split = build(
        recipe.split, "split", fill={"corpus": corpus, "seed": recipe.seed}, folder=recipe.folder
    )
    check_disjoint(split)
    split, overlapping = kept_apart(corpus, split)
    monitor = recipe.train.monitor
    if monitor not in MONITORS:
        raise HeschlError(f"`train.monitor` is '{monitor}'{nearest(monitor, MONITORS)}")
    trial = {
        "params": [torch.zeros(1, requires_grad=True)]
    }  # a rate that cannot be is told before anything is written
    build(recipe.train.optimiser, "optimiser", fill=trial, folder=recipe.folder)
    feature = build(recipe.feature, "feature", folder=recipe.folder)
    feature.eval()
    if not 1 <= (hertz := float(getattr(feature, "sample_rate", 1))) <= 1e6:
        raise HeschlError(f"feature.sample_rate is {hertz:g}: give samples a second, between 1 and 1,000,000")
    also = [read_heard(part, recipe.folder, progress=progress) for part in recipe.also]
    ids = {*split.train, *split.validation, *split.test}
    task = build(recipe.task, "task", folder=recipe.folder)
    used = dataclasses.replace(corpus, clips=tuple(clip for clip in corpus.clips if clip.id in ids))
    chosen = task.select(used)
    used = chosen if chosen.clips else used  # none at all: `bind` says what the labels are
    task = task.bind(used, train=split.train, allow_missing=recipe.train.epochs == 0)
    skipped = [*used.skipped, *overlapping]
    parts = {part: [used.by_id[one] for one in getattr(split, part) if one in used.by_id] for part in PARTS}
    guests, origins = _guests(corpus, split, also, task, skipped)
    parts["train"] += guests
    notes = [*corpus.notes, *split.notes]
    notes += [
        f"{counted(len(one.clips), 'clip')} of {one.name} help{'s' * (len(one.clips) == 1)} in training"
        f"{', spoken by a machine' * one.synthetic}"
        for one in also
    ]
    sensors = sensors_of(corpus)
    if sensors is not None:
        rate = None if getattr(feature, "stored", False) else float(feature.sample_rate)
        notes += flat_sensors(corpus, sensors, rate)
    if sensors is not None and getattr(feature, "scale", None) == "recording":
        sensors, said = scaled(sensors, parts)
        notes += said
    if sensors is not None and also:
        raise HeschlError("also: trials of brains cannot be joined by further corpora: leave it out")
    made = Survey(recipe, corpus, split, feature, task, parts, origins, sensors, also, (), skipped, notes)
    if skipped and strict:
        first = skipped[0]
        raise HeschlError(
            f"--strict: {counted(len(skipped), 'thing is', 'things are')} left out, the first {first.where}: {first.why}"
        )
    _check_classes(made)
    made.in_shape = _in_shape(made)
    made.augment()
    return made


def _guests(
    corpus: Corpus, split: Split, also: Sequence[Corpus], task: Any, skipped: list[Skipped]
) -> tuple[list[Clip], dict[str, int]]:
    """Clips of further corpora that the task knows, and which of those corpora each is of, counted from 1."""
    if not also:
        return [], {}
    merged = merge(corpus, also)
    extend_training(split, merged)  # proves that no speaker of theirs is in validation or test
    guests = merged.clips[len(corpus.clips) :]
    places = [place for place, one in enumerate(also, start=1) for _ in one.clips]
    kept, origins = [], {}
    for clip, place in zip(guests, places, strict=True):
        try:
            task.target(clip, torch.zeros(0))
        except HeschlError as error:
            skipped.append(Skipped(clip.id, f"also: {error}"))
            continue
        kept.append(clip)
        origins[clip.id] = place
    for one in also:
        skipped += one.skipped
    return kept, origins


def _check_classes(made: Survey) -> None:
    task, labels = made.task, made.labels
    if not made.parts["train"]:
        raise HeschlError(
            f"corpus {made.corpus.name}: no clip is left to train on: check split and task.label"
        )
    if len(labels) < 2:
        raise HeschlError(
            f"corpus {made.corpus.name} has one class only ({labels[0] if labels else 'none'}): "
            "choose another task.label, or more data"
        )
    fixed = getattr(task, "fixed", None) is not None
    if (
        made.frames or fixed or getattr(task, "open_set", False)
    ):  # what has a vector of its own need not be in training
        return
    taught = Counter(task.target(clip) for clip in made.parts["train"])
    missing = [label for k, label in enumerate(labels) if k not in taught]
    if not missing or made.recipe.train.epochs == 0:
        return
    named = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
    raise HeschlError(
        f"split: no clip of the training part is of class {named} ({len(missing)} of {len(labels)} classes): "
        "choose another split or seed, or leave those clips out (corpus.relabel, with '' for such a class)"
    )


def _check_lengths(made: Survey, model: nn.Module) -> None:
    """Whole clips differ in length: feature and network must ask how much of each is sound."""
    if made.recipe.clip.seconds is not None or made.sensors is not None:
        return
    asked: list[tuple[str, Any]] = [(f"feature {made.recipe.feature.use}", made.feature)]
    if not made.per_frame:
        asked.append((f"model {made.recipe.model.use}", model))
    for named, part in asked:
        takes = inspect.signature(part.forward).parameters
        if "lengths" not in takes and not any(one.kind is one.VAR_KEYWORD for one in takes.values()):
            raise HeschlError(
                f"clip.seconds: it is null, so that clips differ in length, and {named} takes no `lengths`: say how many "
                "seconds it hears"
            )


def _in_shape(made: Survey) -> tuple[int, ...]:
    """The network's input, tried on two real clips through feature and network."""
    own = made.parts["train"]
    tried = [_first_read(made, own), _first_read(made, own[::-1])]
    clips, waves = [clip for clip, _ in tried], [wave for _, wave in tried]
    samples = sample_count(made)
    fixed = torch.zeros(2, *waves[0].shape[:-1], samples)
    for row, wave in zip(fixed, waves):
        count = min(wave.shape[-1], samples)
        row[..., :count] = wave[..., :count]
    with torch.no_grad():
        x = made.feature(fixed)
    if not bool(torch.isfinite(x).all()):
        raise HeschlError(
            f"feature {made.recipe.feature.use} gives values that are not finite for {clips[0].id}"
        )
    shape = tuple(int(size) for size in x.shape[1:])
    made.in_shape = shape[:-1] if made.per_frame else shape
    model = made.model().eval()
    _check_lengths(made, model)
    with torch.no_grad():
        logits = logits_of(hear(made.feature, model, fixed))
    wanted = (2, x.shape[-1], len(made.labels)) if made.frames else (2, len(made.labels))
    if tuple(logits.shape) != wanted:
        raise HeschlError(
            f"model {made.recipe.model.use} answers {tuple(logits.shape)} for two clips, and task "
            f"{made.recipe.task.use} needs {wanted}: choose a network {'over frames' if made.frames else 'over clips'}"
        )
    return made.in_shape


def _first_read(made: Survey, clips: Sequence[Clip]) -> tuple[Clip, Tensor]:
    """The first clip that can be read, and its wave: those that cannot are left out when all are packed, and told of then.

    Raises
    ------
    HeschlError: none can; what is wrong with the first.
    """
    wrong: HeschlError | None = None
    for clip in clips:
        try:
            return clip, _read_wave(made, clip)
        except HeschlError as error:
            wrong = wrong or error
    assert wrong is not None
    raise wrong


def sample_count(made: Survey) -> int:
    """Samples of the network's input: those of `clip.seconds`, else of the longest clip."""
    rate, seconds = made.feature.sample_rate, made.recipe.clip.seconds
    if seconds is None:
        known = [
            clip.stop - clip.start for clips in made.parts.values() for clip in clips if clip.stop is not None
        ]
        seconds = max(known, default=1.0)
    return max(1, round(float(seconds) * float(rate)))


def _read_wave(made: Survey, clip: Clip) -> Tensor:
    """One clip (time,) at the feature's rate; of stored frames (feature, time), of a brain's trial (sensor, ..., time)."""
    if clip.form == "frames":
        frames = load_frames(clip) if made.sensors is None else made.sensors.load(clip)
        return torch.tensor(frames).movedim(0, -1)
    wave, found = read_sound(clip)
    return torch.from_numpy(
        resample_recording(wave, found, int(made.feature.sample_rate), made.recipe.clip.resample)
    )
