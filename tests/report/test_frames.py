"""Recordings of a network over frames, on the page: what was said over what was heard, with its sound."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from heschl.figures.frames import differing
from heschl.files import write_csv
from heschl.report.frames import heard_lines
from heschl.types import Span


class Disguised:
    def speaker(self, name: str) -> str:
        return f"not {name}"


def spans(seed: int) -> list[Span]:
    draw = random.Random(seed)
    edges = [0, *sorted(draw.sample(range(1, 100), 9)), 100]
    return [Span(draw.choice("abc"), a / 50, b / 50) for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("seed", range(5))
def test_where_two_rows_of_symbols_differ(seed: int) -> None:
    """Against the symbols at every hundredth of a second, looked up one by one."""
    one, other = spans(seed), spans(seed + 100)
    found = differing(one, other)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(found))
    for time in np.arange(0.005, 2, 0.01):
        here = [next(span.symbol for span in row if span.start <= time < span.stop) for row in (one, other)]
        assert any(start <= time < stop for start, stop in found) == (here[0] != here[1])


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """Nine recordings of four seconds, named worse and worse."""
    wave = np.random.default_rng(0).normal(size=4 * 8000) * 0.1
    soundfile.write(tmp_path / "a.wav", wave, 8000)
    clips = [
        {"id": f"c{k}", "speaker": f"s{k}", "frames": 400, "accuracy": f"{1 - k / 10:.2f}", "words": f"word {k}",
         "file": str(tmp_path / "a.wav"), "start": 0.0, "stop": ""}
        for k in range(9)
    ]  # fmt: skip
    clips.append({**clips[0], "id": "stored", "file": ""})
    write_csv(tmp_path / "per_clip.csv", clips, list(clips[0]))
    said = [{"id": one["id"], "start": 0, "stop": 4, "said": "<ah>"} for one in clips]
    heard = [
        {"id": one["id"], "start": 0, "stop": 4, "answered": "IY", "probability": "0.5"} for one in clips
    ]
    write_csv(tmp_path / "said.csv", said, list(said[0]))
    write_csv(tmp_path / "predictions.csv", heard, list(heard[0]))
    return tmp_path


@pytest.mark.slow
def test_the_best_the_middling_and_the_worst_are_heard_and_seen(scored: Path) -> None:
    cards = heard_lines(scored, Disguised())  # type: ignore[arg-type]
    assert [card["words"] for card in cards] == [f"word {k}" for k in (0, 1, 3, 4, 7, 8)]
    first = cards[0]
    assert first["title"].startswith("Among the best: 100") and first["who"] == "not s0"
    assert first["sound"].startswith("data:audio/wav")
    wide, phone = (first["lines"][key] for key in ("wide", "phone"))
    assert (len(wide), len(phone)) == (2, 3)  # four seconds, in lines of up to a fifth more than 3 and 1.5
    assert all("said &lt;ah>; heard IY" in line["svg"] for line in (*wide, *phone))
    ends = [[float(v) for v in line["time"].split()][2:] for line in wide]
    assert ends[0][0] == 0 and ends[0][1] == ends[1][0]


@pytest.mark.slow
def test_without_sounds_and_without_what_was_said(scored: Path) -> None:
    assert [card["sound"] for card in heard_lines(scored, Disguised(), audio=False)] == [""] * 6  # type: ignore[arg-type]
    (scored / "a.wav").unlink()
    assert heard_lines(scored, Disguised()) == []  # type: ignore[arg-type]
    (scored / "said.csv").unlink()
    assert heard_lines(scored, Disguised()) == []  # type: ignore[arg-type]
