"""The picture of a faithfulness test: every method that says something is named."""

from __future__ import annotations

import itertools

from heschl.explanation.segments import KINDS
from heschl.figures.faithful import faithful_figure, named

SCORE = {"value": 0.1, "low": 0.05, "high": 0.2}


def row(method: str, cells: str, control: bool = False) -> dict:
    over = {} if control else {f"deletion_over_{one}": SCORE for one in ("random", "energy")}
    curve = {"deletion": [1.0, 0.5, 0.1], "insertion": [0.1, 0.5, 1.0]}
    return {"method": method, "cells": cells, "control": control, "curve": curve, **over}


def test_a_method_that_says_nothing_of_moments_is_in_the_legend_too():
    rows = [
        row("lrp:epsilon", "time"),
        row("random", "time", True),
        row("energy", "time", True),
        row("lrp:epsilon", "frequency"),
        row("occlusion_frequency", "frequency"),
        row("random", "frequency", True),
    ]
    figure = faithful_figure({"rows": rows, "fractions": [0.0, 0.5, 1.0], "chance": 0.1})
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["LRP epsilon", "occlusion in frequency", "random order", "loudest first", "guessing"]


def test_stretches_are_called_stretches_where_nobody_knows_the_phones():
    rows = [row("aligned:phone", "stretches"), row("random", "stretches", True)]
    figure = faithful_figure({"rows": rows, "fractions": [0.0, 0.5, 1.0], "chance": 0.1})
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["stretches of sound taken out", "random order", "guessing"]
    assert named("aligned:phone") == "phones taken out" and named("aligned:word", ["phone"]) == named(
        "aligned:energy"
    )
    assert all(named(f"aligned:{kind}").endswith(" taken out") for kind in KINDS)


def test_where_nothing_beats_chance_and_loudness_the_title_says_only_that():
    poor = {**SCORE, "low": -0.1}
    rows = [{**row("lrp:epsilon", kind), "deletion_over_energy": poor} for kind in ("time", "frequency")]
    figure = faithful_figure({"rows": rows, "fractions": [0.0, 0.5, 1.0], "chance": 0.1})
    title = figure._suptitle.get_text().replace("\n", " ")
    assert title == "Taken out, 2 of 2 explanations cost more than chance, none more than loudness too"
    rows = [{**one, "deletion_over_random": poor} for one in rows]
    figure = faithful_figure({"rows": rows, "fractions": [0.0, 0.5, 1.0], "chance": 0.1})
    title = figure._suptitle.get_text().replace("\n", " ")
    assert title == "No explanation finds what matters better than chance and loudness do"


def test_numbers_of_neighbouring_columns_stand_apart():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kinds = ("time", "frequency", "time_frequency", "segments")
    rows = [row(name, kind, name == "random") for kind in kinds for name in ("lrp:epsilon", "random")]
    figure = faithful_figure({"rows": rows, "fractions": [0.0, 0.5, 1.0], "chance": 0.1})
    FigureCanvasAgg(figure).draw()
    below = [
        label.get_window_extent() for axis in figure.axes[len(kinds) :] for label in axis.get_xticklabels()
    ]
    assert min(b.x0 - a.x1 for a, b in itertools.pairwise(below)) > 16


def test_curves_that_coincide_are_all_seen():
    rows = [row(name, "time") for name in ("lrp:epsilon", "gradient_x_input", "integrated_gradients")]
    rows[2]["curve"] = {"deletion": [1.0, 0.2, 0.1], "insertion": [0.1, 0.5, 1.0]}
    figure = faithful_figure({"rows": rows, "fractions": [0.0, 0.5, 1.0], "chance": 0.1})
    gaps = [[line.is_dashed() for line in axis.lines[:3]] for axis in figure.axes]
    assert gaps == [[False, True, False], [False, True, True]]
    assert not any(line.is_dashed() for line in figure.legends[0].get_lines()[:3])
