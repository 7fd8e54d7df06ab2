"""Many explanations at a glance: one small picture a class, or one a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from heschl.figures.deletion import key, small_curves
from heschl.figures.explanation import Seen, heard, picture, place, titled
from heschl.figures.marks import cut_to, frequency_ticks, seconds_below, words_width
from heschl.figures.style import INK, SOFT, TEXT, WIDE, styled, wrapped
from heschl.types import HeschlError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from heschl.figures.deletion import Curves

CELL, TALL, GAP, NAME = 1.55, 1.0, 0.14, 0.24  # inches: least width, height, between, for the name above
CURVE, MARGIN, LINE = 0.62, 0.04, 0.19  # inches: of the curve beside a picture, the edges, a line of words
NOTE = 14  # letters on an inch of a line
WHAT = (
    "Each picture has its own full colour. Beside it: the answer’s probability (0 to 100 %) as ever "
    "more parts are taken out:"
)


def montage(
    pictures: Mapping[str, Seen],
    title: str = "",
    width: float = WIDE,
    curves: Mapping[str, Curves] | None = None,
) -> Figure:
    """Small pictures side by side, each with its name above, its curves beside it and its own full colour.

    Parameters
    ----------
    curves: name -> its curves, as `heschl.figures.deletion` draws them.

    Raises
    ------
    HeschlError: there is nothing to show.
    """
    if not pictures:
        raise HeschlError("there is no explanation to show: explain a clip first")
    beside = CURVE if curves else 0.0
    columns = min(len(pictures), max(2, int((width - 2 * MARGIN + GAP) / (CELL + beside + GAP))))
    lines = -(-len(pictures) // columns)
    cell = (width - 2 * MARGIN + GAP) / columns - GAP
    beside = max(beside, min(2 * CURVE, 0.2 * cell)) if curves else 0.0  # few pictures are wide
    wide = cell - beside
    tall = max(TALL, min(2 * TALL, 0.45 * wide))  # few pictures are large
    note = _lines(WHAT, width) if curves else []
    head = _head(title, width) + LINE * (len(note) + 1 if curves else 0)
    with styled():
        figure = titled(width, head + lines * (tall + NAME + GAP), title)
        _say(figure, note, curves, _head(title, width))
        for k, (name, seen) in enumerate(pictures.items()):
            row, column = divmod(k, columns)
            left = MARGIN + column * (cell + GAP)
            top = head + NAME + row * (tall + NAME + GAP)
            axis = place(figure, left, top, wide, tall)
            picture(axis, seen)
            axis.set_xticks([])
            axis.set_yticks([])
            first, last = heard(seen)  # no two pictures need be of one length
            axis.set_xlim(first, last)
            long = f"{last - first:.1f} s"
            axis.set_title(long, fontsize=9, color=SOFT, pad=3, loc="right")
            axis.set_title(cut_to(name, wide * 72 - words_width(long, 9) - 8), fontsize=9, color=INK, pad=3)
            if curves and name in curves:
                small_curves(place(figure, left + wide + 0.09, top, beside - 0.14, tall), curves[name])
    return figure


def _head(title: str, width: float) -> float:
    """Inches that a title takes up."""
    return 0.3 + 0.2 * (len(wrapped(title, width)) - 1) if title else 0.04


def _lines(note: str, width: float) -> list[str]:
    import textwrap

    return textwrap.wrap(note, int(NOTE * width), break_on_hyphens=False)


def _say(figure: Figure, note: Sequence[str], curves: Mapping[str, Curves] | None, top: float) -> None:
    """What is drawn beside the pictures, in words and lines, from so many inches down."""
    if not curves:
        return
    tall = figure.get_figheight()
    for k, line in enumerate(note):
        y = 1 - (top + (k + 0.5) * LINE) / tall
        figure.text(MARGIN / figure.get_figwidth(), y, line, fontsize=9, color=SOFT, va="center")
    key(figure, list(next(iter(curves.values()))), MARGIN, top + (len(note) + 0.5) * LINE)


def bare(seen: Seen, width: float = 7.5, height: float = 3.0) -> Figure:
    """One picture and nothing else: no names, ticks or title, for listeners who must not know."""
    with styled():
        figure = titled(width, height, "")
        axis = place(figure, 0, 0, width, height)
        picture(axis, seen)
        axis.set_axis_off()
    return figure


def compared(
    pictures: Mapping[str, Seen],
    notes: Mapping[str, str],
    title: str = "",
    width: float = TEXT,
    curves: Mapping[str, Curves] | None = None,
) -> Figure:
    """One clip by several methods, under each other, each with a note (how it did) after its name and its curves beside it."""
    if not pictures:
        raise HeschlError("there is no method to compare: name at least one")
    tall, left = 1.35, 0.55
    beside = min(1.35, 0.22 * width) if curves else 0.0
    note = _lines(WHAT, width) if curves else []
    head = _head(title, width) + LINE * (len(note) + 1 if curves else 0)
    height = head + len(pictures) * (tall + NAME + GAP) + 0.3
    wide = width - left - 0.15 - beside
    with styled():
        figure = titled(width, height, title)
        _say(figure, note, curves, _head(title, width))
        for k, (name, seen) in enumerate(pictures.items()):
            top = head + NAME + k * (tall + NAME + GAP)
            axis = place(figure, left, top, wide, tall)
            picture(axis, seen)
            frequency_ticks(axis, seen)
            said = f"{name}: {notes[name]}" if notes.get(name) else name
            axis.set_title(said, fontsize=9, color=INK, pad=4)
            if k < len(pictures) - 1:
                axis.set_xticks([])
            else:
                seconds_below(axis, *axis.get_xlim(), heard(seen)[1])
            if curves and name in curves:
                small_curves(place(figure, left + wide + 0.15, top, beside - 0.15, tall), curves[name])
    return figure
