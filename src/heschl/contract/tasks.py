"""The contract of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from heschl.contract.finding import Finding, name_of, refused, require, tried
from heschl.types import Batch, Clip, Corpus, Span

STEPS = 20


def made_up_corpus() -> Corpus:
    """Clips that no task can complain of: words, speakers, and phones from start to end. There are no files."""
    clips = []
    for k in range(9):
        word = ("left", "right", "stop")[k % 3]
        spans = tuple(Span(symbol, 0.1 + 0.2 * j, 0.3 + 0.2 * j) for j, symbol in enumerate(word[:3].upper()))
        labels = {"word": word, "speaker": f"s{k // 3}", "gender": ("female", "male")[k % 2]}
        clips.append(Clip(f"{word}/{k}", Path("none.wav"), 16000.0, labels, spans, stop=1.0))
    return Corpus("made up", tuple(sorted(clips, key=lambda clip: clip.id)), "the contract", "CC0")


def check_task(factory: Callable[[], Any], corpus: Corpus | None = None) -> list[Finding]:
    """Holds a task to the contract.

    Parameters
    ----------
    factory: gives the task, not yet bound to a corpus.
    corpus: whose clips it can name; None for a made-up one with words, speakers and phones.
    """
    corpus = corpus or made_up_corpus()
    made: list[Any] = []
    name = name_of(factory)
    findings = tried(name, [("is made and bound to a corpus", lambda: made.append(factory().bind(corpus)))])
    if not made:
        return findings
    task = made[0]
    return findings + tried(
        name,
        [
            ("has labels in a fixed order", lambda: _labels(task, factory, corpus)),
            ("every clip has a target among them", lambda: _targets(task, corpus)),
            ("the loss is finite, falls towards the truth, and has a gradient", lambda: _loss(task, corpus)),
            ("right answers score one", lambda: _scores(task, corpus)),
            ("refuses a corpus without its labels", lambda: _nothing(factory, corpus)),
        ],
    )


def _labels(task: Any, factory: Any, corpus: Corpus) -> None:
    labels = task.labels
    require(isinstance(labels, tuple) and len(set(labels)) == len(labels) >= 2, f"labels are {labels!r}")
    require(task.n_outputs(corpus) == len(labels), "n_outputs is not the number of labels")
    backwards = replace(corpus, clips=corpus.clips[::-1])
    require(
        factory().bind(backwards).labels == labels, "another order of clips gives another order of labels"
    )
    require(task.bind(corpus).labels == labels, "binding again changes the labels")


def _batch(task: Any, corpus: Corpus) -> Batch:
    times = (torch.arange(STEPS) + 0.5) / STEPS
    y = torch.stack([torch.as_tensor(task.target(clip, times)) for clip in corpus.clips])
    return Batch(torch.zeros(len(y), 1), y, None, tuple(clip.id for clip in corpus.clips))


def _right(task: Any, batch: Batch, certainty: float) -> torch.Tensor:
    return certainty * torch.nn.functional.one_hot(batch.y.clamp_min(0), len(task.labels)).double()


def _targets(task: Any, corpus: Corpus) -> None:
    y = _batch(task, corpus).y
    require(y.dtype == torch.int64, f"targets are {y.dtype}, not int64")
    require(
        bool(((y >= 0) & (y < len(task.labels)) | (y == -100)).all()), "a target is not a class, nor -100"
    )
    require(bool((y >= 0).any()), "no clip has a target")


def _loss(task: Any, corpus: Corpus) -> None:
    batch = _batch(task, corpus)
    unsure = _right(task, batch, 0.0).requires_grad_()
    loss = task.loss(unsure, batch)
    loss.backward()
    require(loss.shape == () and bool(loss.isfinite()), f"the loss is {loss!r}")
    require(unsure.grad is not None and bool(unsure.grad.any()), "the loss has no gradient")
    better = task.loss(_right(task, batch, 3.0), batch)
    require(bool(better < loss), "right answers lose as much as none")


def _scores(task: Any, corpus: Corpus) -> None:
    batch = _batch(task, corpus)
    scores = task.scores(_right(task, batch, 3.0), batch)
    require(bool(scores), "there are no scores")
    for key, value in scores.items():
        require(abs(float(value) - 1) < 1e-6, f"{key} of right answers is {float(value):.3f}")


def _nothing(factory: Any, corpus: Corpus) -> None:
    bare = replace(corpus, clips=tuple(replace(clip, labels={}, spans=()) for clip in corpus.clips))
    refused(lambda: factory().bind(bare), "a corpus without labels")
