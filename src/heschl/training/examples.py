"""A recipe's clips as examples: packed once, then read by the batch, for training and for validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from heschl.corpora.frames import load_frames
from heschl.features.store import pack_features, pack_frames, pack_waves
from heschl.recipe import ClipLength
from heschl.training.beside import Beside, beside
from heschl.training.data import FrameTargets, FrameWindows, Source, Waves, check_lengths
from heschl.training.order import Integers, Order, strata_of
from heschl.training.progress import Voice
from heschl.training.streamed import StreamedTrials
from heschl.training.survey import Survey
from heschl.types import Clip, HeschlError, Skipped
from heschl.wording import counted

NAMED = 3  # things left out that are told one by one


class Examples:
    """The training part as a source with its order, and the validation part.

    Attributes
    ----------
    source: of the training part; order: which of its examples each step takes.
    validation: whole clips (cut to `clip.seconds` where the task asks for one answer a clip), sorted by length.
    clips: part -> the clips that can be read. skipped: what is left out. counts: clips cut, padded, resampled.
    """

    def __init__(self, made: Survey, voice: Voice, strict: bool = False) -> None:
        self.made, self.recipe, self.voice = made, made.recipe, voice
        self.store = self._packed(strict)
        self.clips = {
            part: [clip for clip in own if clip.id in self.store.places] for part, own in made.parts.items()
        }
        if not self.clips["train"]:
            raise HeschlError(
                f"corpus {made.corpus.name}: none of the training clips can be read: see their errors"
            )
        self.rows = {part: self._rows(own) for part, own in self.clips.items()}
        resampled = getattr(self.store, "resampled", {})
        self.counts = {f"resampled from {rate} Hz": count for rate, count in resampled.items()}
        self.source: Source
        self.validation: Waves
        if made.frames:
            self._over_frames()
        else:
            self._over_clips()
        differ = self.recipe.clip.seconds is None and not made.per_frame
        self.order = Order(
            self.recipe.seed,
            self.size,
            self.recipe.train.epoch_clips or self.size,
            self.recipe.train.batch,
            strata_of(
                self.classes, self.recipe.train.draws, self.origins, [also.share for also in self.recipe.also]
            ),
            self.store.lengths[self.rows["train"]].numpy() if differ else None,
        )

    def _packed(self, strict: bool) -> Any:
        """Every clip of the split (the test part too: the same cache then serves evaluation)."""
        made, voice = self.made, self.voice
        clips = [clip for part in made.parts.values() for clip in part]
        store: Any
        if made.sensors is not None and getattr(made.feature, "stored", False):
            store = StreamedTrials(clips, made.sensors)
        elif clips[0].form == "frames":
            load = load_frames if made.sensors is None else made.sensors.load
            key = None if made.sensors is None else made.sensors.key()
            with voice.counting("packing", "clips") as told:
                store = pack_frames(clips, load, progress=told, say=voice, key=key)
        else:
            with voice.counting("packing", "clips") as told:
                rate, by = int(made.feature.sample_rate), self.recipe.clip.resample
                store = pack_waves(clips, rate, progress=told, say=voice, by=by)
        self.skipped = [*made.skipped, *(Skipped(*one) for one in store.skipped)]
        if strict and store.skipped:
            where, why = store.skipped[0]
            raise HeschlError(
                f"--strict: {counted(len(store.skipped), 'clip')} cannot be used, the first {where}: {why}"
            )
        for one in self.skipped[:NAMED]:  # a whole recording may be among them
            named = Path(one.where).name in one.why
            voice(f"left out: {one.why if named else f'{one.where}: {one.why}'}")
        more = len(self.skipped) - NAMED
        if more > 0:
            voice(f"{counted(more, 'more thing is', 'more things are')} left out: see skipped.csv in the run")
        return store

    def beside(self, model: Any) -> Beside | None:
        """What travels beside the trials of brains into this network; None for sound."""
        return None if self.made.sensors is None else beside(self.made, self.store.ids, model)

    def _over_clips(self) -> None:
        """One target a clip."""
        made, lengths = self.made, self.store.lengths
        used = np.concatenate([self.rows["train"], self.rows["validation"]])
        ids = [self.store.ids[row] for row in used]
        self.counts |= check_lengths(self.recipe.clip, lengths[used].numpy(), int(self.store.rate), ids)
        targets = np.full(len(self.store), -1, np.int64)
        for part in ("train", "validation"):
            targets[self.rows[part]] = [made.task.target(clip) for clip in self.clips[part]]
        self.source = Waves(self.store, self.rows["train"], targets, self.recipe.clip)
        self.classes, self.size = targets[self.rows["train"]], len(self.rows["train"])
        self.origins = np.array([made.origins.get(clip.id, 0) for clip in self.clips["train"]])
        self.validation = Waves(self.store, self._by_length("validation")[0], targets, self.recipe.clip)

    def _over_frames(self) -> None:
        """A target for each step: windows of packed features, or waves with the targets of their steps."""
        made, feature, lengths = self.made, self.made.feature, self.store.lengths
        whole = ClipLength(seconds=None)
        held_out, clips = self._by_length("validation")
        targets = FrameTargets(made.task, feature, clips, held_out, lengths)
        self.validation = Waves(self.store, held_out, targets, whole, feature)
        train = FrameTargets(made.task, feature, self.clips["train"], self.rows["train"], lengths)
        origins = np.array([made.origins.get(clip.id, 0) for clip in self.clips["train"]])
        if made.per_frame:
            store = self.store
            if self.clips["train"][0].form == "wave":
                with self.voice.counting("computing frames", "clips") as told:
                    store = pack_features(self.store, feature.frame, progress=told, say=self.voice)
            self.source = FrameWindows(store, self.rows["train"], train, feature.context)
            self.classes, self.size = train.held.astype(np.int64), len(train.held)
            self.origins = np.repeat(origins, np.diff(train.first))
            return
        if self.recipe.train.draws != "natural":
            raise HeschlError(
                "train.draws: whole clips hold many classes of frames: use natural, or task.weights"
            )
        self.source = Waves(self.store, self.rows["train"], train, self.recipe.clip, feature)
        self.classes, self.size, self.origins = np.zeros(len(origins), np.int64), len(origins), origins

    def _rows(self, clips: list[Clip]) -> Integers:
        return np.array([self.store.places[clip.id] for clip in clips], np.int64)

    def _by_length(self, part: str) -> tuple[Integers, list[Clip]]:
        """A part's rows and clips, shortest first, so that batches hold little padding."""
        order = torch.argsort(self.store.lengths[self.rows[part]], stable=True).tolist()
        return self.rows[part][order], [self.clips[part][k] for k in order]
