"""Pictures of decoding at a desk's and a phone's width: what is drawn is what was given, and every word is inside."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from heschl.figures.decode import decode_figure, heads_figure
from heschl.figures.decode_areas import areas_figure
from heschl.figures.decode_controls import controls_figure
from heschl.figures.decode_scores import codebook_figure, ranks_figure
from heschl.figures.style import PHONE, TEXT, WIDE, save_both, styled

RANDOM = np.random.default_rng(0)
N = 20
AREAS = ["STG", "TP", "TPJ", "IFG", "HG", "STG-R", "TP-R"]


def score(name: str, lost: float) -> dict[str, Any]:
    expected = {"signal": lost, "expected": 0.1, "expected_low": -0.02, "expected_high": 0.22}
    return {"areas": name, "lost": lost, "low": lost - 0.05, "high": lost + 0.05, **expected}


def control(name: str) -> dict[str, Any]:
    return {"control": name, "decoder": "network", "top_1": 0.06, "top_1_low": 0.04, "top_1_high": 0.08}


PATCHES = [
    {"low": 5.0 + 10 * i, "high": 15.0 + 10 * i, "start": 0.1 * j, "stop": 0.1 * j + 0.2, "attention": 0.1}
    for i in range(3)
    for j in range(8)
]
LEARNING = [{"hours": 0.1 * k, "value": 0.2 + k / 20, "low": 0.2, "high": 0.4} for k in (1, 2, 4)]
TIME = {"seconds": [0.1, 0.3, 0.5], "top_1": [0.1, 0.3, 0.2], "each": [[0.1, 0.3, 0.2]] * 6, "clusters": []}
PLACES = 0.09 * np.array([[0, 1, 0.3], [1, 0, 0.3], [0, -1, 0.3], [-1, 0, 0.3], [0, 0, 1], [0.5, 0.5, 0.8]])
CURVES = {
    name: np.linspace(low, 1, N)
    for name, low in (("network", 0.6), ("linear decoder", 0.4), ("network, shuffled", 0.05))
}
DRAWN: dict[str, Callable[[float], Figure]] = {
    "ranks": partial(ranks_figure, CURVES, "How often the word is among the first k"),
    "codebook": partial(
        codebook_figure, np.corrcoef(RANDOM.standard_normal((N, 9))), [f"word{k}" for k in range(N)], "Alike"
    ),
    "explained": partial(
        decode_figure,
        RANDOM.random((6, 40)),
        np.linspace(5, 40, 6),
        np.arange(40) / 40,
        PATCHES,
        np.linspace(1, 3, 6),
        "What it reads",
    ),
    "sensors": partial(
        heads_figure, {name: (PLACES, RANDOM.random(6)) for name in ("a", "b", "c")}, "Which sensors"
    ),
    "areas": partial(
        areas_figure,
        [score(" + ".join(AREAS[5:]), 0.3), score(" + ".join(AREAS[:5]), 0.1)],
        AREAS,
        RANDOM.random((7, 7)),
        "Which areas drive retrieval",
    ),
    "controls": partial(
        controls_figure,
        [control("baseline"), control("words shuffled in training")],
        LEARNING,
        TIME,
        0.05,
        True,
    ),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("width", [None, PHONE])
def test_every_word_is_inside(name: str, width: float | None) -> None:
    wide = TEXT if name == "ranks" else WIDE
    figure = DRAWN[name](width or wide)
    with styled():
        FigureCanvasAgg(figure).draw()
    size = figure.bbox
    for one in figure.findobj(lambda artist: hasattr(artist, "get_text") and artist.get_visible()):
        box = one.get_window_extent() if one.get_text() else None
        if (
            box is not None
            and one.axes is not None
            and one not in (*one.axes.get_xticklabels(), *one.axes.get_yticklabels())
        ):
            assert box.x0 > -2 and box.y0 > -2, one.get_text()
            assert box.x1 < size.x1 + 2 and box.y1 < size.y1 + 2, one.get_text()
    if width is not None:
        assert figure.get_figwidth() == pytest.approx(PHONE)


def test_lines_are_what_was_given() -> None:
    for width in (TEXT, PHONE):
        (axis,) = DRAWN["ranks"](width).axes
        held = {tuple(np.round(line.get_ydata(), 6)) for line in axis.lines}
        assert {tuple(np.round(shares, 6)) for shares in CURVES.values()} <= held
        assert tuple(np.round(np.arange(1, N + 1) / N, 6)) in held  # chance
    figure = DRAWN["controls"](PHONE)
    assert [len(axis.lines) for axis in figure.axes][1] == 2 and len(figure.axes) == 3


def test_both_widths_are_written(tmp_path: Path) -> None:
    save_both(DRAWN["ranks"], tmp_path / "ranks", TEXT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ranks-phone.svg", "ranks.png", "ranks.svg"]
