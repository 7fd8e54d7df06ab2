"""Which stretch of speech did a brain hear? The task of `heschl.tasks.match` as a part of recipes.

Candidates are all stretches that the corpus' trials name, heard in training or not, or all of a file: a network that points at mel spectra
can point at one that it never met. In training a trial is told from the others of its batch; two trials that heard the
same stretch (or, with ``same: word``, the same word) are no negatives of one another. Scores are among all candidates.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heschl.features.mel import LogMel
from heschl.files import read_audio
from heschl.signal import resample_recording
from heschl.tasks.classify import Classify
from heschl.tasks.loss import check_labels, logits_of
from heschl.tasks.match import COLDEST, candidate_names, gathered, match_loss, read_candidates
from heschl.types import Batch, Clip, Corpus, HeschlError, Span

RATE = 16000  # Hz, at which mel spectra are computed


@dataclass(frozen=True)
class Match:
    """Tells stretches of speech apart, for networks that give (logits, embedding, candidates).

    Parameters
    ----------
    label: of a trial, which names the stretch that was heard: the id of a clip of ``sounds``, or of a candidate.
    labels: the candidates in the order of the network's outputs; None for all that the corpus and the file
        ``candidates`` name, sorted.
    sounds: the corpus that has them, as in a recipe: {use: spoken, voices: 48}. Their log-mel spectra, from ``before``
        seconds before the first word on for ``seconds``, are the candidates; each band has mean 0 and variance 1 over those of training.
        A stretch that is called NAME@SECOND is the sound NAME (a clip's id, or its last part) from that second on.
    candidates: a file of them instead, see `heschl.tasks.match.read_candidates`: (candidate, step, band). It may hold
        any number that no trial heard; they are candidates too, and count in N.
    same: a label whose equal values are no negatives of one another; None: the stretch itself only.
    temperature, symmetric: of `heschl.tasks.match.match_loss`. learnt: the temperature begins there and is learnt with the
        network, as in CLIP; it never falls below 0.01.

    A batch is that of all processes of a training on several devices: how many there are does not change what is learned.

    Of a network that gives logits alone, a trial is told from all candidates; so is a batch that holds one only.

    Raises
    ------
    HeschlError: an option out of range, sounds that are not there or not of the network's shape.
    """

    label: str = "heard"
    labels: tuple[str, ...] | None = None
    sounds: Mapping[str, Any] | None = None
    candidates: str | None = None
    before: float = 0.0
    seconds: float = 1.0
    same: str | None = None
    temperature: float = 1.0
    symmetric: bool = False
    learnt: bool = False
    groups: tuple[int, ...] | None = field(default=None, init=False, compare=False)
    taught: frozenset[str] | None = field(default=None, init=False, compare=False)
    places: Mapping[str, int] = field(default_factory=dict, init=False, compare=False, repr=False)

    open_set = True  # candidates need not be in training

    def __post_init__(self) -> None:
        if self.labels is not None:
            object.__setattr__(self, "labels", check_labels([str(label) for label in self.labels]))
            object.__setattr__(self, "places", {label: k for k, label in enumerate(self.labels)})
        if self.sounds is not None and self.candidates is not None:
            raise HeschlError("task names both sounds and a file of candidates: choose one")
        if not (self.temperature > 0 and self.seconds > 0 and self.before >= 0):
            raise HeschlError(
                f"task: temperature {self.temperature}, seconds {self.seconds} and before {self.before} cannot be: "
                "the first two are above zero, the last is not below"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The candidates, once they are known."""
        return self.labels if self.labels is not None else self._names.classes

    @property
    def _names(self) -> Classify:
        return Classify(self.label, self.labels)

    def bind(
        self, corpus: Corpus, train: Collection[str] | None = None, allow_missing: bool = False
    ) -> Match:
        """The same task with its candidates filled in; see `Classify.bind`."""
        named = self._names.bind(corpus, None, allow_missing or self.candidates is not None).classes
        if self.candidates is not None and self.labels is None:  # those that no trial heard, too
            named = tuple(sorted({*named, *candidate_names(Path(self.candidates).expanduser())}))
        bound = replace(self, labels=named)
        kept = set(train) if train is not None else None
        mine = [clip for clip in corpus.clips if clip.labels.get(self.label)]
        taught = frozenset(clip.labels[self.label] for clip in mine if kept is None or clip.id in kept)
        object.__setattr__(bound, "taught", taught)
        if self.same is not None:
            values = {clip.labels[self.label]: clip.labels.get(self.same, "") for clip in mine}
            if not all(values.values()):
                raise HeschlError(
                    f"task.same is '{self.same}', and corpus {corpus.name} has trials without it"
                )
            order = sorted(set(values.values()))
            groups = tuple(order.index(values[name]) if name in values else -1 for name in bound.classes)
            object.__setattr__(bound, "groups", groups)
        return bound

    def select(self, corpus: Corpus) -> Corpus:
        """The corpus without the clips that do not have the label, which are listed in its ``skipped``."""
        return self._names.select(corpus)

    def unknown(self, corpus: Corpus) -> dict[str, int]:
        """Values of the label that are no candidates, and how many clips have them."""
        return self._names.unknown(corpus)

    def n_outputs(self, corpus: Corpus) -> int:
        return self._names.n_outputs(corpus)

    def target(self, clip: Clip, times: Tensor | None = None) -> int:
        """The number of the candidate that the trial heard."""
        place = self.places.get(clip.labels.get(self.label, ""))
        return self._names.target(clip) if place is None else place  # which says what is wrong

    def fill(self, model: nn.Module) -> str:
        """Puts the candidates into a network; gives a sentence on it, or "" where the recipe names none."""
        held: Any = getattr(model, "candidates", None)
        if not isinstance(held, Tensor) or held.ndim != 3:
            raise HeschlError(
                "task: matching needs a network with candidates, such as segment_matcher.SegmentMatcher"
            )
        _, steps, bands = held.shape
        if self.candidates is not None:
            names, found = read_candidates(Path(self.candidates).expanduser())
            at = {name: k for k, name in enumerate(names)}
            missing = [name for name in self.classes if name not in at]
            if missing:
                raise HeschlError(
                    f"{self.candidates} lacks '{missing[0]}' ({len(missing)} such): add it to the file"
                )
            values = found[[at[name] for name in self.classes]]
            what = f"out of {Path(self.candidates).name}"
        elif self.sounds is not None:
            values, what = self._mels(steps, bands), f"log-mel spectra of {self.sounds.get('use')}"
        else:
            raise HeschlError(
                "task: matching needs sounds (a corpus) or candidates (a file), and neither is named"
            )
        if values.shape[1:] != (steps, bands):
            raise HeschlError(
                f"candidates are {values.shape[1:]} and the network takes {(steps, bands)}: set model.steps and model.bands"
            )
        with torch.no_grad():
            held.copy_(torch.from_numpy(values))
        if self.learnt:
            heat: Any = getattr(model, "log_heat", None)
            if not isinstance(heat, nn.Parameter):
                raise HeschlError(
                    "task.learnt asks for a temperature that is learnt, and this network has none: take "
                    "segment_matcher.SegmentMatcher, or leave it out"
                )
            heat.requires_grad_(True)
        return f"{len(values)} candidates of {steps} steps and {bands} bands: {what}"

    def _mels(self, steps: int, bands: int) -> np.ndarray:
        from heschl.corpora import read_corpus

        options = dict(self.sounds or {})
        use = options.pop("use", None)
        if not isinstance(use, str):
            raise HeschlError("task.sounds names no corpus: write {use: spoken}")
        corpus = read_corpus(use, **options)
        at = {plain(clip.id.rsplit("/", 1)[-1]): clip for clip in corpus.clips}
        found = [stretch(name, corpus.by_id, at, self.before, self.seconds) for name in self.classes]
        missing = [name for name, clip in zip(self.classes, found, strict=True) if clip is None]
        if missing:
            raise HeschlError(
                f"task.sounds: corpus {corpus.name} does not have '{missing[0]}' ({len(missing)} of {len(self.classes)} "
                "stretches): choose the corpus that was heard"
            )
        mel = LogMel(RATE, bands)
        values = np.stack(
            [segment_mel(clip, mel, steps, self.before, self.seconds) for clip in found if clip is not None]
        )
        own = [k for k, name in enumerate(self.classes) if self.taught is None or name in self.taught]
        mean, deviation = values[own].mean((0, 1)), values[own].std((0, 1))
        return np.asarray((values - mean) / np.where(deviation > 0, deviation, 1.0), np.float32)

    def loss(self, out: Any, batch: Batch) -> Tensor:
        """The loss of a batch, one stretch a trial."""
        y, logits = batch.y, logits_of(out)
        if y.is_floating_point():
            raise HeschlError("task: a trial heard one stretch: leave out augmentations that mix trials")
        if logits.shape[-1] != len(self.classes):
            raise HeschlError(
                f"the network gives {logits.shape[-1]} candidates and the task has {len(self.classes)}: train it anew"
            )
        if not hasattr(out, "candidates"):
            return F.cross_entropy(logits / self.temperature, y)
        with torch.autocast(logits.device.type, enabled=False):
            z, logits = (
                one if one.dtype == torch.float64 else one.float() for one in (out.embedding, logits)
            )
            if z.requires_grad:  # in training all processes come here together, in validation they need not
                z, logits, y = gathered(z), gathered(logits), gathered(y)
            same = y if self.groups is None else torch.tensor(self.groups, device=y.device)[y]
            temperature = (self.temperature * out.heat.to(z.dtype)).clamp_min(COLDEST)
            if bool((same == same[0]).all()):
                return F.cross_entropy(logits / temperature, y)
            candidates = out.candidates.to(z.dtype)[y]
            return match_loss(z, candidates, same, temperature, "candidate", self.symmetric)

    def scores(self, out: Any, batch: Batch) -> dict[str, Tensor]:
        """Of one batch: how often the true candidate is the first among all."""
        return {"accuracy": (logits_of(out).argmax(-1) == batch.y).double().mean()}


def stretch(
    name: str, known: Mapping[str, Clip], at: Mapping[str, Clip], before: float, seconds: float
) -> Clip | None:
    """The clip of a stretch, or what is needed of NAME in NAME@SECOND, where its word begins; None where there is none.

    Parameters
    ----------
    known: clips by id. at: by the last part of it, see `plain`.
    """
    if name in known:
        return known[name]
    sound, mark, second = name.rpartition("@")
    clip = known.get(sound) or at.get(plain(sound))
    try:
        onset = float(second)
    except ValueError:
        return None
    if clip is None or not mark:
        return None
    first = max(0.0, onset - before)
    stop = clip.start + onset - before + seconds
    if clip.stop is not None and clip.start + first >= clip.stop:
        raise HeschlError(
            f"task.sounds: '{name}' begins after the end of {clip.signal}: mend the times, or its name"
        )
    word = Span(name, onset - first, onset - first + seconds, "word")
    return replace(clip, spans=(word,), start=clip.start + first, stop=min(stop, clip.stop or stop))


def plain(sound: str) -> str:
    """A sound's name, which a table and its files may write otherwise: in small letters, story_0.0 as story_0, LPF086 as lpf86."""
    return re.sub(r"(\D)0*(\d+)(\.0)?$", r"\1\2", sound.lower())


def segment_mel(clip: Clip, mel: LogMel, steps: int, before: float, seconds: float) -> np.ndarray:
    """(step, band) log-mel of a stretch from ``before`` seconds before its first word (or its start), means over equal parts."""
    wave, rate = read_audio(clip.signal, clip.start, clip.stop)
    if rate != mel.sample_rate:
        wave = resample_recording(wave, rate, mel.sample_rate)
    onset = next((span.start for span in clip.spans if span.tier == "word"), 0.0)
    first, count = round((onset - before) * mel.sample_rate), round(seconds * mel.sample_rate)
    padded = np.pad(wave, (max(0, -first), max(0, first + count - len(wave))))
    cut = padded[max(0, first) : max(0, first) + count]
    with torch.no_grad():
        values = mel(torch.from_numpy(np.ascontiguousarray(cut, np.float32))[None])
        return np.asarray(F.adaptive_avg_pool1d(values, steps)[0].T)
