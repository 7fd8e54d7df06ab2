"""The frozen things check themselves when made, and travel between processes."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch

from heschl.types import Activity, BrainMap, Clip, Corpus, Explanation, Heard, HeschlError, Recording, Span


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


def recording(**changes: object) -> Recording:
    given = {
        "id": "s1",
        "subject": "1",
        "signal": Path("x.fif"),
        "rate": 100.0,
        "kind": "eeg",
        "channels": ("Cz", "Pz"),
    }
    return Recording(**given | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: recording(rate=0.0), "rate of 0"),
        (lambda: recording(positions=np.zeros((3, 3))), r"2 channels and positions of shape \(3, 3\)"),
        (lambda: Heard(2.0, 1.0), "in order"),
        (lambda: Heard(math.nan, 1.0), "finite"),
        (lambda: Activity("STG", torch.zeros(1, 3, 2), torch.zeros(2)), "activity of STG"),
        (lambda: Explanation("a", "yes", "lrp", torch.zeros(3), torch.zeros(4), 1.0), "one shape"),
        (lambda: BrainMap(np.zeros((2, 3)), np.zeros((2, 2)), np.zeros(3), "V", "head"), "a brain map"),
    ],
)
def test_findings_and_recordings_that_cannot_be_are_refused(make: Callable[[], object], word: str) -> None:
    with pytest.raises(HeschlError, match=word):
        make()


def test_a_corpus_may_hold_recordings_and_travel_with_them() -> None:
    corpus = Corpus(
        "brains", (), "nowhere", "CC0", recordings=(recording(heard=(Heard(0, 1, label="yes"),)),)
    )
    again = pickle.loads(pickle.dumps(corpus))
    assert again.recordings[0].heard == corpus.recordings[0].heard


def test_a_corpus_of_fields_in_another_order_is_refused() -> None:
    with pytest.raises(HeschlError, match=r"a corpus' source is \(\): it must be text"):
        Corpus("mine", (), (), "me", "mine")  # type: ignore[arg-type]
