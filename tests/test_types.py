"""The frozen things check themselves when made, and travel between processes."""

from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from heschl.types import Clip, Corpus, HeschlError, Span


def clip(name: str = "a/b", **changes: object) -> Clip:
    return Clip(**{"id": name, "signal": Path("x.wav"), "rate": 16000, "labels": {"word": "yes"}} | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"id": ""}, "no id"),
        ({"rate": 0}, "rate of 0"),
        ({"rate": math.nan}, "rate of nan"),
        ({"start": -1.0}, "stop must come after"),
        ({"start": 1.0, "stop": 1.0}, "stop must come after"),
    ],
)
def test_a_clip_that_cannot_be_is_refused_in_a_sentence(changes: dict[str, object], word: str) -> None:
    with pytest.raises(HeschlError, match=word):
        clip(**changes)


@pytest.mark.parametrize(("start", "stop"), [(1.0, 0.5), (-0.1, 0.5), (0.0, math.inf), (math.nan, 1.0)])
def test_a_span_that_cannot_be_is_refused(start: float, stop: float) -> None:
    with pytest.raises(HeschlError, match="phone 'AH'"):
        Span("AH", start, stop)


def test_two_clips_may_not_share_a_name() -> None:
    with pytest.raises(HeschlError, match="called a/b"):
        Corpus("tiny", (clip(), clip()), "nowhere", "CC0")


def test_frozen_and_unchanged_by_what_it_was_made_from() -> None:
    labels = {"word": "yes"}
    one = clip(labels=labels)
    labels["word"] = "no"
    assert one.labels["word"] == "yes"
    with pytest.raises(FrozenInstanceError):
        one.id = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        one.labels["word"] = "no"  # type: ignore[index]


def test_corpora_travel_between_processes() -> None:
    corpus = Corpus(
        "tiny", (clip("a"), clip("b", spans=(Span("AH", 0, 1),))), "nowhere", "CC0", notes=("a note",)
    )
    again = pickle.loads(pickle.dumps(corpus))
    assert again == corpus
    assert again.by_id["b"].spans[0].stop == 1
