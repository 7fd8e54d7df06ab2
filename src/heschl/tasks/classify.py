"""One answer for each clip: which value of a label it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Literal

import torch

from heschl.tasks.loss import (
    check_known,
    check_labels,
    check_weights,
    class_weights,
    cross_entropy,
    judged,
    logits_of,
)
from heschl.types import Batch, Clip, Corpus, HeschlError, Skipped
from heschl.wording import counted, quoted


@dataclass(frozen=True)
class Classify:
    """Tells clips apart by one of their labels.

    Parameters
    ----------
    label: the column of metadata: "word", "digit", "gender", ...
    labels: its classes in the order of the network's outputs; None for all of the corpus, sorted (see `bind`).
    weights: of classes in the loss: "balanced" (inverse to how often they occur in training), class -> weight,
        or None.
    smoothing: share of each target that is spread over all classes, from 0 to below 1.
    robust: from 0 to 1; above 0 for labels of which some may be wrong, 0.7 is usual (see `heschl.tasks.loss`).

    Raises
    ------
    HeschlError: fewer than two classes, one named twice, or an option out of range.
    """

    label: str
    labels: tuple[str, ...] | None = None
    weights: Literal["balanced"] | dict[str, float] | None = None
    smoothing: float = 0.0
    robust: float = 0.0
    resolved: tuple[float, ...] | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        if self.labels is not None:
            object.__setattr__(self, "labels", check_labels([str(label) for label in self.labels]))
            if not isinstance(self.weights, str):
                object.__setattr__(self, "resolved", class_weights(self.weights, self.classes, {}))
        if not 0 <= self.smoothing < 1:
            raise HeschlError(f"task.smoothing is {self.smoothing}: it must be at least 0 and below 1")
        if not 0 <= self.robust <= 1:
            raise HeschlError(f"task.robust is {self.robust}: it must be from 0 to 1")
        check_weights(self.weights)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, once they are known."""
        if self.labels is None:
            raise HeschlError("the task has no labels yet: bind it to a corpus, or set task.labels")
        return self.labels

    def bind(
        self, corpus: Corpus, train: Collection[str] | None = None, allow_missing: bool = False
    ) -> Classify:
        """The same task with its classes, and the weights that need a corpus, filled in.

        Parameters
        ----------
        train: ids of the training part, for balanced weights; None for the whole corpus.
        allow_missing: classes of ``labels`` may be without a clip (a network that was trained elsewhere).

        Raises
        ------
        HeschlError: no clip has the label, there is one class only, or the corpus and ``labels`` name
            different classes.
        """
        counts = Counter(clip.labels.get(self.label, "") for clip in corpus.clips)
        del counts[""]
        if not counts:
            raise HeschlError(
                f"corpus {corpus.name}: no clip has the label '{self.label}'{_others(self.label, corpus)}"
            )
        labels = check_labels(sorted(counts)) if self.labels is None else self.labels
        check_known(list(counts), labels, f"corpus {corpus.name}", "value", f" of '{self.label}'")
        missing = [label for label in labels if label not in counts]
        if missing and not allow_missing:
            raise HeschlError(
                f"task.labels asks for {counted(len(missing), 'class', 'classes')} of which corpus {corpus.name} has no clip: "
                f"{quoted(missing)}: take {'it' if len(missing) == 1 else 'them'} out"
            )
        if train is not None:
            ids = set(train)
            counts = Counter(clip.labels.get(self.label, "") for clip in corpus.clips if clip.id in ids)
        bound = replace(self, labels=labels)
        object.__setattr__(bound, "resolved", class_weights(self.weights, labels, counts))
        return bound

    def select(self, corpus: Corpus) -> Corpus:
        """The corpus without the clips that do not have the label, which are listed in its ``skipped``."""
        kept = tuple(clip for clip in corpus.clips if clip.labels.get(self.label))
        left = tuple(
            Skipped(clip.id, f"it has no label '{self.label}'")
            for clip in corpus.clips
            if not clip.labels.get(self.label)
        )
        return replace(corpus, clips=kept, skipped=corpus.skipped + left) if left else corpus

    def unknown(self, corpus: Corpus) -> dict[str, int]:
        """Values of the label that are not among the classes, and how many clips have them."""
        counts = Counter(clip.labels.get(self.label, "") for clip in corpus.clips)
        classes = set(self.classes)
        return {label: n for label, n in sorted(counts.items()) if label and label not in classes}

    def n_outputs(self, corpus: Corpus) -> int:
        return len(self.labels or self.bind(corpus).classes)

    def target(self, clip: Clip, times: torch.Tensor | None = None) -> int:
        """The clip's class number. ``times`` are of no concern here.

        Raises
        ------
        HeschlError: the clip does not have the label, or its value is not among the classes.
        """
        value = clip.labels.get(self.label)
        if not value:
            raise HeschlError(
                f"clip {clip.id} has no label '{self.label}': it has {quoted(sorted(clip.labels)) or 'none'}"
            )
        check_known([value], self.classes, f"clip {clip.id}", "value", f" of '{self.label}'")
        return self.classes.index(value)

    def loss(self, out: Any, batch: Batch) -> torch.Tensor:
        """Cross entropy of (batch, class) logits with classes (batch,) or mixtures (batch, class)."""
        heads = judged(out)
        weights = weights_like(self, heads[0])
        return torch.stack(
            [cross_entropy(logits, batch.y, weights, self.smoothing, self.robust) for logits in heads]
        ).mean()

    def scores(self, out: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Of one batch: accuracy; of mixed clips, that of their largest part."""
        y = batch.y.argmax(-1) if batch.y.is_floating_point() else batch.y
        return {"accuracy": (logits_of(out).argmax(-1) == y).double().mean()}


def weights_like(task: Any, logits: torch.Tensor) -> torch.Tensor | None:
    """The task's class weights beside its logits.

    Raises
    ------
    HeschlError: the network gives another number of classes than the task has, or balanced weights were
        never counted.
    """
    if logits.shape[-1] != len(task.classes):
        raise HeschlError(
            f"the network gives {logits.shape[-1]} classes and the task has {len(task.classes)}: "
            "task.labels must name one for each output"
        )
    if task.weights is not None and task.resolved is None:
        raise HeschlError("balanced weights need a corpus to count in: bind the task first")
    return (
        None
        if task.resolved is None
        else torch.tensor(task.resolved, device=logits.device, dtype=logits.dtype)
    )


def _others(label: str, corpus: Corpus) -> str:
    known = sorted({key for clip in corpus.clips for key in clip.labels})
    near = get_close_matches(label, known, n=1)
    return f": did you mean '{near[0]}'?" if near else f": its labels are {quoted(known) or 'none'}"
