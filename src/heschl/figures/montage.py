"""Many explanations at a glance: one small picture a class, or one a method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from heschl.figures.explanation import Seen, heard, picture, place, titled
from heschl.figures.marks import cut_to, frequency_ticks, seconds_below, words_width
from heschl.figures.style import INK, SOFT, TEXT, WIDE, styled, wrapped
from heschl.types import HeschlError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL, TALL, GAP, NAME = 1.75, 1.0, 0.12, 0.24  # inches: least width, height, between, for the name above


def montage(pictures: Mapping[str, Seen], title: str = "", width: float = WIDE) -> Figure:
    """Small pictures side by side, each with its name above and its own full colour.

    Raises
    ------
    HeschlError: there is nothing to show.
    """
    if not pictures:
        raise HeschlError("there is no explanation to show: explain a clip first")
    columns = min(len(pictures), max(2, int((width - 0.1) / (CELL + GAP))))
    lines = -(-len(pictures) // columns)
    head = 0.3 + 0.2 * (len(wrapped(title, width)) - 1) if title else 0.04
    wide = (width - 0.04) / columns - GAP
    tall = max(TALL, min(2 * TALL, 0.45 * wide))  # few pictures are large
    height = head + lines * (tall + NAME + GAP)
    with styled():
        figure = titled(width, height, title)
        for k, (name, seen) in enumerate(pictures.items()):
            row, column = divmod(k, columns)
            left = 0.04 + column * (wide + GAP)
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
    return figure


def bare(seen: Seen, width: float = 7.5, height: float = 3.0) -> Figure:
    """One picture and nothing else: no names, ticks or title, for listeners who must not know."""
    with styled():
        figure = titled(width, height, "")
        axis = place(figure, 0, 0, width, height)
        picture(axis, seen)
        axis.set_axis_off()
    return figure


def compared(
    pictures: Mapping[str, Seen], notes: Mapping[str, str], title: str = "", width: float = TEXT
) -> Figure:
    """One clip by several methods, under each other, with a note (how it did) after each name."""
    if not pictures:
        raise HeschlError("there is no method to compare: name at least one")
    head = 0.3 + 0.2 * (len(wrapped(title, width)) - 1) if title else 0.04
    tall = 1.35
    height = head + len(pictures) * (tall + NAME + GAP) + 0.3
    with styled():
        figure = titled(width, height, title)
        for k, (name, seen) in enumerate(pictures.items()):
            top = head + NAME + k * (tall + NAME + GAP)
            axis = place(figure, 0.55, top, width - 0.7, tall)
            picture(axis, seen)
            frequency_ticks(axis, seen)
            said = f"{name}: {notes[name]}" if notes.get(name) else name
            axis.set_title(said, fontsize=9, color=INK, pad=3)
            if k < len(pictures) - 1:
                axis.set_xticks([])
            else:
                seconds_below(axis, *axis.get_xlim())
    return figure
