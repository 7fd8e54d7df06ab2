"""One answer for each step of a clip: which phone (or word, or tone) is being said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from heschl.tasks.classify import weights_like
from heschl.tasks.loss import (
    NO_LABEL,
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
class ClassifyFrames:
    """Names the symbol at every step.

    A step belongs to the span that contains its centre (start <= centre < stop; of two that overlap, the one
    that starts later). Where no span covers it, it is silence.

    Parameters
    ----------
    tier: which spans: "phone", "word", ...
    silence: the symbol of steps that no span covers; None leaves them without a label.
    labels: symbols in the order of the network's outputs; None for all of the corpus, sorted, silence first.
    weights: of symbols in the loss: "balanced" (inverse to their seconds in training), symbol -> weight, or None.
    smoothing: share of each target that is spread over all symbols, from 0 to below 1.

    Raises
    ------
    HeschlError: fewer than two symbols, one named twice, or an option out of range.
    """

    tier: str = "phone"
    silence: str | None = "SIL"
    labels: tuple[str, ...] | None = None
    weights: Literal["balanced"] | dict[str, float] | None = None
    smoothing: float = 0.0
    resolved: tuple[float, ...] | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        if self.labels is not None:
            object.__setattr__(self, "labels", check_labels([str(label) for label in self.labels]))
            if self.silence is not None and self.silence not in self.classes:
                raise HeschlError(
                    f"task.labels does not name the silence '{self.silence}': add it, or set task.silence to null"
                )
            if not isinstance(self.weights, str):
                object.__setattr__(self, "resolved", class_weights(self.weights, self.classes, {}))
        if not 0 <= self.smoothing < 1:
            raise HeschlError(f"task.smoothing is {self.smoothing}: it must be at least 0 and below 1")
        check_weights(self.weights)

    @property
    def classes(self) -> tuple[str, ...]:
        """The symbols, once they are known."""
        if self.labels is None:
            raise HeschlError("the task has no labels yet: bind it to a corpus, or set task.labels")
        return self.labels

    def bind(
        self, corpus: Corpus, train: Collection[str] | None = None, allow_missing: bool = False
    ) -> ClassifyFrames:
        """The same task with its symbols, and the weights that need a corpus, filled in.

        Parameters
        ----------
        train: ids of the training part, for balanced weights; None for the whole corpus.
        allow_missing: symbols of ``labels`` may never occur (a network that was trained elsewhere).

        Raises
        ------
        HeschlError: no clip has spans of this tier, there is one symbol only, or the corpus and ``labels``
            name different symbols.
        """
        seconds = self._seconds(corpus.clips)
        if not any(self._spans(clip) for clip in corpus.clips):
            tiers = sorted({span.tier for clip in corpus.clips for span in clip.spans})
            raise HeschlError(
                f"corpus {corpus.name}: no clip has a span of tier '{self.tier}': its tiers are {quoted(tiers) or 'none'}"
            )
        first = [] if self.silence is None else [self.silence]
        labels = (
            check_labels([*first, *sorted(set(seconds) - set(first))]) if self.labels is None else self.labels
        )
        check_known(list(seconds), labels, f"corpus {corpus.name}", "symbol", f" of tier '{self.tier}'")
        missing = [label for label in labels if label not in seconds and label != self.silence]
        if missing and not allow_missing:
            raise HeschlError(
                f"task.labels asks for {counted(len(missing), 'symbol')} that corpus {corpus.name} never says: "
                f"{quoted(missing)}: take {'it' if len(missing) == 1 else 'them'} out"
            )
        if train is not None:
            ids = set(train)
            seconds = self._seconds([clip for clip in corpus.clips if clip.id in ids])
        bound = replace(self, labels=labels)
        object.__setattr__(bound, "resolved", class_weights(self.weights, labels, seconds))
        return bound

    def select(self, corpus: Corpus) -> Corpus:
        """The corpus without the clips that have no span of this tier, which are listed in its ``skipped``."""
        kept = tuple(clip for clip in corpus.clips if self._spans(clip))
        left = tuple(
            Skipped(clip.id, f"it has no span of tier '{self.tier}'")
            for clip in corpus.clips
            if not self._spans(clip)
        )
        return replace(corpus, clips=kept, skipped=corpus.skipped + left) if left else corpus

    def unknown(self, corpus: Corpus) -> dict[str, int]:
        """Symbols that are not among the classes, and how many spans have them."""
        counts: dict[str, int] = defaultdict(int)
        for clip in corpus.clips:
            for span in self._spans(clip):
                counts[span.symbol] += span.symbol not in self.classes
        return {symbol: n for symbol, n in sorted(counts.items()) if n}

    def n_outputs(self, corpus: Corpus) -> int:
        return len(self.labels or self.bind(corpus).classes)

    def target(self, clip: Clip, times: torch.Tensor | None = None, strict: bool = True) -> torch.Tensor:
        """The class number at each step.

        Parameters
        ----------
        times: (time,) centres of the steps, ascending, seconds from the clip's start.
        strict: refuse symbols that are not among the classes; else their steps have no label.

        Returns
        -------
        (time,) int64; -100 where there is no label.

        Raises
        ------
        HeschlError: no times, no span of this tier, or an unknown symbol.
        """
        spans = self._spans(clip)
        if times is None:
            raise HeschlError(
                "frames are named at times, and none were given: use a feature with a frame rate"
            )
        if not spans:
            raise HeschlError(f"clip {clip.id} has no span of tier '{self.tier}': leave it out")
        if strict:
            symbols = [span.symbol for span in spans]
            check_known(symbols, self.classes, f"clip {clip.id}", "symbol", f" of tier '{self.tier}'")
        rest = NO_LABEL if self.silence is None else self.classes.index(self.silence)
        target = torch.full((len(times),), rest, dtype=torch.int64)
        number = {symbol: k for k, symbol in enumerate(self.classes)}
        edges = torch.tensor([[span.start, span.stop] for span in spans], dtype=torch.float64)
        places = torch.searchsorted(times.double().contiguous(), edges)
        for span, (first, last) in zip(spans, places.tolist()):
            target[first:last] = number.get(span.symbol, NO_LABEL)
        return target

    def loss(self, out: Any, batch: Batch) -> torch.Tensor:
        """Cross entropy of (batch, time, class) logits with (batch, time) classes, over the steps that have one;
        or of windows, (batch, class) with (batch,)."""
        heads = judged(out)
        weights = weights_like(self, heads[0])
        return torch.stack(
            [cross_entropy(logits, batch.y, weights, self.smoothing) for logits in heads]
        ).mean()

    def scores(self, out: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Of one batch: accuracy over the steps that have a label, with and without silence (0 where none has)."""
        right = (logits_of(out).argmax(-1) == batch.y).double()
        known = batch.y != NO_LABEL
        found = {"accuracy": right[known].sum() / known.sum().clamp_min(1)}
        if self.silence is not None:
            said = known & (batch.y != self.classes.index(self.silence))
            found["accuracy_without_silence"] = right[said].sum() / said.sum().clamp_min(1)
        return found

    def _spans(self, clip: Clip) -> list[Any]:
        return sorted((span for span in clip.spans if span.tier == self.tier), key=lambda span: span.start)

    def _seconds(self, clips: Sequence[Clip]) -> dict[str, float]:
        """How long each symbol is said; silence also where nothing is."""
        seconds: dict[str, float] = defaultdict(float)
        for clip in clips:
            covered = 0.0
            for span in self._spans(clip):
                seconds[span.symbol] += span.stop - span.start
                covered += span.stop - span.start
            if self.silence is not None and covered and clip.stop is not None:
                seconds[self.silence] += max(0.0, clip.stop - clip.start - covered)
        return dict(seconds)


def pad_targets(targets: Sequence[torch.Tensor]) -> torch.Tensor:
    """Targets of clips of different length as (batch, time), -100 after each clip's end."""
    return torch.nn.utils.rnn.pad_sequence(list(targets), batch_first=True, padding_value=NO_LABEL)
