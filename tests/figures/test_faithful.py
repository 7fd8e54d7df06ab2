"""The picture of a faithfulness test: every method that says something is named."""

from __future__ import annotations

from heschl.figures.faithful import faithful_figure

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
    assert named == ["LRP epsilon", "occlusion, frequency", "random order", "loudest first"]
