"""Words as vectors of a codebook that is learned together with the network: data-driven representation embeddings.

With cosines s_bj between clip b and word j, s_yj between two words, y_b the word of clip b and weights w:

    align     -s_by / T
    uniform   log sum_{j != y} exp(s_bj / T)
    codebook  log sum_{j != y} exp(s_yj / T)
    loss      mean_b  w_{y_b} (align + uniform + codebook)

As published (system 5): T is 1, the positive stands in no denominator, w is class-balanced (Cui et al. 2019,
arXiv:1901.05555, eq. 4: w_c ~ (1 - beta) / (1 - beta^n_c), beta .999), scaled to sum to the number of words, and
in the first epochs the words do not feel this loss but only their mean |cosine| (`spread`). The published code drops a
constant from the codebook term: values differ by it, gradients do not. The corrected options are those of Wang and
Isola 2020 and of InfoNCE: a temperature, the positive in the denominators, and both directions.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heschl.tasks.classify import Classify
from heschl.tasks.loss import check_labels, logits_of
from heschl.tasks.match import gathered
from heschl.tasks.spaces import fitted, phonology, read_vectors, sound_mels
from heschl.types import Batch, Clip, Corpus, HeschlError


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """(n, dim), (m, dim) -> (n, m) cosines; 0 with a vector of zeros."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T


def balanced(counts: Sequence[int], beta: float = 0.999) -> tuple[float, ...]:
    """Class-balanced weights (1 - beta) / (1 - beta^n), scaled to sum to the number of classes; beta 0: all one.

    A class of which there is nothing weighs as one of which there is one example.
    """
    if not 0 <= beta < 1:
        raise HeschlError(f"task.beta is {beta}: it must be at least 0 and below 1")
    raw = [(1 - beta) / (1 - beta ** max(1, n)) for n in counts]
    return tuple(weight * len(raw) / sum(raw) for weight in raw)


def spread(codebook: Tensor) -> Tensor:
    """Mean |cosine| between words (word, dim), the diagonal counted as zero, over all word^2 entries."""
    between = cosines(codebook, codebook)
    return (between - torch.diag(between.diagonal())).abs().mean()


def representation_loss(
    clips: Tensor,
    y: Tensor,
    weights: Tensor | None = None,
    words: Tensor | None = None,
    temperature: float = 1.0,
    positive: bool = False,
    symmetric: bool = False,
) -> Tensor:
    """The loss above.

    Parameters
    ----------
    clips: (batch, word) cosines between clips and words. y: (batch,) each clip's word.
    weights: (word,), or None for one each.
    words: (word, word) cosines between words, or None: the codebook term is left out.
    positive: each clip's own word stands in the denominators too (of the codebook term never: it is the word itself).
    symmetric: the mean of this and of the same with clips as each word's candidates; a clip of the same word is
        never a negative.
    """
    own = F.one_hot(y, clips.shape[1]).bool()
    each = _contrast(clips / temperature, own, own, positive)
    if symmetric:
        towards = clips.T[y] / temperature  # (batch, batch): each clip's word with every clip
        mine = torch.eye(len(y), dtype=torch.bool, device=y.device)
        each = (each + _contrast(towards, mine, y[:, None] == y[None], positive)) / 2
    if words is not None:
        each = each + _others(words[y] / temperature, own)
    if weights is not None:
        each = each * weights[y]
    return each.mean()


def _contrast(scores: Tensor, own: Tensor, same: Tensor, positive: bool) -> Tensor:
    """-scores of ``own`` + log sum exp of the candidates that are not ``same`` (and of own, with ``positive``)."""
    aligned = -(scores * own).sum(1)
    return aligned + _others(scores, same & ~own if positive else same)


def _others(scores: Tensor, left_out: Tensor) -> Tensor:
    """log sum exp along the last axis without what is left out; 0 where nothing stays (a batch of one word)."""
    alone = left_out.all(1, keepdim=True)
    # Where nothing stays, scores are taken whole and thrown away after, so that no gradient is NaN.
    total = scores.masked_fill(left_out & ~alone, -torch.inf).logsumexp(1)
    return torch.where(alone[:, 0], 0.0, total)


def moved_labels(
    corpus: Corpus, label: str, within: str, seed: int = 0, train: Collection[str] = ()
) -> dict[str, str]:
    """Clip id -> label of another clip of the same subject and the same value of ``within``, permuted by the seed; what is of
    ``train`` changes places with what is of it too, so that nothing is taught that training does not hold."""
    groups: dict[tuple[str, str, bool], list[Clip]] = {}
    for clip in corpus.clips:
        if within not in clip.labels:
            raise HeschlError(f"task.shuffled is '{within}', and clip {clip.id} has no such label")
        key = (clip.labels.get("subject", ""), clip.labels[within], clip.id in train)
        groups.setdefault(key, []).append(clip)
    moved: dict[str, str] = {}
    for number, key in enumerate(sorted(groups)):
        own = groups[key]
        order = torch.randperm(
            len(own), generator=torch.Generator().manual_seed(seed + 7919 * number)
        ).tolist()
        moved |= {clip.id: own[k].labels[label] for clip, k in zip(own, order)}
    return moved


@dataclass(frozen=True)
class Codebook:
    """Tells a label's values (words, ...) apart by a codebook, for networks that give (logits, embedding, codebook).

    Parameters
    ----------
    label, labels: as in `heschl.tasks.classify.Classify`.
    beta: of the class-balanced weights; 0 weighs all alike.
    warm_up: epochs in which the codebook feels its spread only (published: 10).
    temperature, positive, symmetric: the corrected options; the defaults are as published.
    fixed: a file of vectors that the codebook is filled with and kept at: "word number number ..." a line (.txt, or
        .csv with commas), a pronouncing dictionary in cmudict's format (.dict, .gz) for phonological features, or a corpus of
        sounds, {use: spoken, voices: 24}, for the words' mean mel spectra. Words may then be tested that training never
        heard (a split by word): in training they are no candidates.
    shuffled: a label ("block") within whose values, subject by subject, words are permuted among clips before training: a
        control, which must decode at chance. Scores of the run are against the true words.

    Of a network that gives logits alone, they are taken as the cosines, and the codebook's terms are left out.

    Raises
    ------
    HeschlError: an option out of range, fewer than two classes, or a word that the file does not have.
    """

    label: str = "word"
    labels: tuple[str, ...] | None = None
    beta: float = 0.999
    warm_up: int = 10
    temperature: float = 1.0
    positive: bool = False
    symmetric: bool = False
    fixed: str | Mapping[str, Any] | None = None
    shuffled: str | None = None
    warm: bool = field(default=False, init=False, compare=False)
    resolved: tuple[float, ...] | None = field(default=None, init=False, compare=False)
    moved: Mapping[str, str] | None = field(default=None, init=False, compare=False)
    taught: tuple[int, ...] | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        if self.labels is not None:
            object.__setattr__(self, "labels", check_labels([str(label) for label in self.labels]))
        balanced([1], self.beta)
        if not self.temperature > 0:
            raise HeschlError(f"task.temperature is {self.temperature}: it must be above zero")
        if self.warm_up < 0:
            raise HeschlError(f"task.warm_up is {self.warm_up} epochs: it must not be negative")

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, once they are known."""
        return self._names.classes

    @property
    def _names(self) -> Classify:
        return Classify(self.label, self.labels)

    def bind(
        self, corpus: Corpus, train: Collection[str] | None = None, allow_missing: bool = False
    ) -> Codebook:
        """The same task with its classes and their weights filled in; see `Classify.bind`."""
        names = self._names.bind(corpus, train, allow_missing)
        kept = set(train) if train is not None else None
        counts = Counter(
            clip.labels.get(self.label, "") for clip in corpus.clips if kept is None or clip.id in kept
        )
        bound = replace(self, labels=names.classes)
        object.__setattr__(bound, "resolved", balanced([counts[name] for name in names.classes], self.beta))
        if self.fixed is not None and kept is not None:
            taught = tuple(k for k, name in enumerate(names.classes) if counts[name])
            if 1 < len(taught) < len(names.classes):
                weights = iter(balanced([counts[names.classes[k]] for k in taught], self.beta))
                own = tuple(next(weights) if k in taught else 1.0 for k in range(len(names.classes)))
                object.__setattr__(bound, "resolved", own)
                object.__setattr__(bound, "taught", taught)
        if self.shuffled is not None:
            moved = moved_labels(corpus, self.label, self.shuffled, train=kept or ())
            object.__setattr__(bound, "moved", moved)
        return bound

    def select(self, corpus: Corpus) -> Corpus:
        """The corpus without the clips that do not have the label, which are listed in its ``skipped``."""
        return self._names.select(corpus)

    def unknown(self, corpus: Corpus) -> dict[str, int]:
        """Values of the label that are not among the classes, and how many clips have them."""
        return self._names.unknown(corpus)

    def n_outputs(self, corpus: Corpus) -> int:
        return self._names.n_outputs(corpus)

    def target(self, clip: Clip, times: Tensor | None = None) -> int:
        """The clip's class number; that of another clip of its block, where words are shuffled in training."""
        if self.moved is not None and clip.id in self.moved:
            return self.classes.index(self.moved[clip.id])
        return self._names.target(clip)

    def in_epoch(self, epoch: int) -> Codebook:
        """The task as it is in an epoch, counted from 0: in the first ``warm_up`` ones the codebook is held back."""
        warm = epoch < self.warm_up and self.fixed is None
        if warm == self.warm:
            return self
        other = copy.copy(self)  # with what `bind` found, which `replace` would forget
        object.__setattr__(other, "warm", warm)
        return other

    def fill(self, model: nn.Module) -> str | None:
        """Puts the fixed vectors into the network's codebook and keeps them there; says so, None where there are none."""
        if self.fixed is None:
            return None
        codebook: Any = getattr(model, "codebook", None)
        if not isinstance(codebook, nn.Parameter):
            raise HeschlError(
                "task.fixed fills a network's codebook, and this network has none: take another"
            )
        vectors, what = self._vectors(self.fixed)
        with torch.no_grad():
            codebook.copy_(torch.from_numpy(fitted(vectors, codebook.shape[1])))
        codebook.requires_grad_(False)
        return f"the codebook is fixed: {vectors.shape[1]} {what}"

    def _vectors(self, fixed: str | Mapping[str, Any]) -> tuple[np.ndarray, str]:
        """(word, number) of each word, and what they are."""
        if isinstance(fixed, str):
            path = Path(fixed).expanduser()
            if path.suffix in (".dict", ".gz"):
                return phonology(path, self.classes), f"phonological features a word, out of {path.name}"
            return read_vectors(path, self.classes), f"vectors a word, out of {path.name}"
        from heschl.corpora import read_corpus

        options = dict(fixed)
        use = options.pop("use", None)
        if not isinstance(use, str):
            raise HeschlError("task.fixed names no corpus: write {use: spoken}, or the name of a file")
        corpus = read_corpus(use, **options)
        sounds: dict[str, list[Clip]] = {}
        for clip in corpus.clips:
            sounds.setdefault(clip.labels.get(self.label, ""), []).append(clip)
        return sound_mels(sounds, self.classes), f"numbers of mean mel spectra a word, out of {corpus.name}"

    def loss(self, out: Any, batch: Batch) -> Tensor:
        """The loss of a batch, one class a clip."""
        y, logits = batch.y, logits_of(out)
        if y.is_floating_point():
            raise HeschlError(
                "task: a codebook takes one word a clip: leave out augmentations that mix clips"
            )
        if logits.shape[-1] != len(self.classes):
            raise HeschlError(
                f"the network gives {logits.shape[-1]} classes and the task has {len(self.classes)}: "
                "task.labels must name one for each output"
            )
        weights = None if self.resolved is None else logits.new_tensor(self.resolved)
        options = {"temperature": self.temperature, "positive": self.positive, "symmetric": self.symmetric}
        codebook = getattr(out, "codebook", None)
        if codebook is None:
            return representation_loss(logits, y, weights, None, **options)  # type: ignore[arg-type]
        with torch.autocast(logits.device.type, enabled=False):  # cosines in half precision are too coarse
            book = codebook.float() if codebook.dtype in (torch.float16, torch.bfloat16) else codebook
            held = book.detach() if self.warm else book
            between = None if self.fixed is not None else cosines(held, held)
            z = out.embedding.to(book.dtype)
            if z.requires_grad:  # the batch is that of all processes, which all come here in training
                z, y = gathered(z), gathered(y)
            clips = cosines(z, held)
            if (
                self.taught is not None and z.requires_grad
            ):  # words to be tested are not what others are told from
                columns = torch.tensor(self.taught, device=y.device)
                clips, y = clips[:, columns], torch.searchsorted(columns, y)
                weights = None if weights is None else weights[columns]
            loss = representation_loss(clips, y, weights, between, **options)  # type: ignore[arg-type]
            return loss + spread(book) if self.warm else loss

    def scores(self, out: Any, batch: Batch) -> Mapping[str, Tensor]:
        """Of one batch: accuracy, the nearest word being the answer."""
        return {"accuracy": (logits_of(out).argmax(-1) == batch.y).double().mean()}
