"""Curves beside a picture of relevance: what they say, and that they are the ones that were handed over."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.lines import Line2D

from heschl.figures.deletion import curves_with_names, key, small_curves, verdict
from heschl.figures.style import new_figure, styled

SHARES = np.linspace(0, 1, 11)


def curves_of(own: float, random: float, loud: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Straight lines from 0.9 to these ends: their means differ by half of what the ends do."""
    ends = {"most relevant first": own, "at random": random, "loudest first": loud}
    return {name: (SHARES, np.linspace(0.9, end, 11)) for name, end in ends.items()}


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.1, 0.5, 0.3), "mean 20 points below random, 10 below loudest"),
        ((0.1, 0.5, 0.08), "mean 20 points below random, 1 above loudest"),
        ((0.4, 0.4, 0.42), "mean level with random, 1 point below loudest"),
        ((0.5, 0.3, 0.1), "mean 10 points above random, 20 above loudest"),
    ],
)
def test_the_verdict_compares_the_means_of_the_curves(ends, said):
    assert verdict(curves_of(*ends)) == said


def test_shares_need_not_be_evenly_spaced():
    """Nine points at the beginning, where both are high, must not outweigh the rest of the curve."""
    shares = np.concatenate([np.linspace(0, 0.08, 9), [1.0]])
    own = np.concatenate([np.full(9, 1.0), [0.0]])
    others = np.concatenate([np.full(9, 0.8), [0.8]])
    assert verdict({"a": (shares, own), "b": (shares, others)}) == "mean 26 points below b"


def test_equal_curves_are_no_finding():
    """A clip of one segment has no order that could be tested."""
    assert verdict(curves_of(0.2, 0.2, 0.2)) == "no order to test: all are the same"


def test_one_curve_alone_is_no_verdict():
    assert verdict({"a": (SHARES, SHARES)}) == ""


def test_what_is_drawn_are_the_curves_and_their_verdict():
    held = curves_of(0.1, 0.5, 0.12)
    with styled():
        figure = new_figure(6, 3)
        large, small = figure.subplots(1, 2)
        curves_with_names(large, held, "“six”")
        small_curves(small, held)
    assert large.get_title(loc="left") == "Probability of “six”, most relevant first:\n" + verdict(held)
    for axis in (large, small):
        for line, (shares, scores) in zip(axis.lines, held.values(), strict=False):
            assert np.array_equal(line.get_xdata(), shares) and np.array_equal(line.get_ydata(), scores)
        assert axis.get_ylim()[0] == 0 and 1 <= axis.get_ylim()[1] < 1.05  # shares of the whole, both
    assert len(small.lines) == 3 and not small.get_xticks().size


def test_the_key_names_each_curve_after_a_piece_of_its_own_line():
    held = curves_of(0.1, 0.5, 0.12)
    with styled():
        figure = new_figure(6, 3)
        figure.set_layout_engine("none")
        axis = figure.subplots()
        small_curves(axis, held)
        key(figure, list(held), 0.1, 0.2)
    assert [text.get_text() for text in figure.texts] == list(held)
    ends = [text.get_position()[0] for text in figure.texts]
    pieces = [child for child in figure.get_children() if isinstance(child, Line2D)]
    for piece, line, start in zip(pieces, axis.lines, ends, strict=True):
        assert piece.get_color() == line.get_color() and piece.get_linestyle() == line.get_linestyle()
        assert max(piece.get_xdata()) < start
    assert ends == sorted(ends)
