"""Which areas a decoder's retrieval rests on, beside what the inverse that says so can tell apart."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.brain import area_hues, sequential
from heschl.figures.style import INK, SOFT, WIDE, contrast, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def areas_figure(
    rows: Sequence[dict[str, Any]],
    names: Sequence[str],
    talk: np.ndarray,
    title: str,
    width: float = WIDE,
    over: str = "trials",
) -> Figure:
    """Left (above, on a phone): reciprocal rank that is lost without each area, its interval, and what as much of the signal elsewhere
    would lose. Right: the cross-talk.

    Parameters
    ----------
    rows: as `heschl.steps.decode_areas.areas_that_drive` gives them. talk: (read in, active) of ``names``. over: what the
        rows' intervals are over.
    """
    with styled():
        if width < WIDE:
            figure = new_figure(width, 1.3 + len(rows) + 0.33 * len(names), title)
            left, right = figure.subplots(2, 1, height_ratios=(len(rows) + 0.6, 0.33 * len(names)))
        else:
            figure = new_figure(width, max(3.4, 0.9 + 0.3 * len(names)), title)
            left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        _lost(left, rows, area_hues(dict.fromkeys(names)), 14 if width < WIDE else 60)
        left.set_xlabel(f"reciprocal rank lost, 95\u202f% over {over}")
        _talk(right, names, talk, 28 if width < WIDE else 60)
    return figure


def _lost(
    axis: Axes,
    rows: Sequence[dict[str, Any]],
    hues: dict[str, str],
    letters: int,
) -> None:
    """``letters``: of a name before it goes on in the next line."""
    from matplotlib.ticker import MaxNLocator

    axis.axvline(0, color=SOFT, linewidth=0.8)
    for place, row in enumerate(rows[::-1]):
        hue = hues[row["areas"].split(" + ")[0]]
        low, high = row["expected_low"], row["expected_high"]
        axis.plot([low, high], [place, place], color=SOFT, alpha=0.3, linewidth=11, solid_capstyle="butt")
        axis.plot([row["low"], row["high"]], [place, place], color=hue, linewidth=2)
        axis.plot(row["lost"], place, "o", color=hue, markersize=5)
    told = [
        f"{textwrap.fill(row['areas'], letters)}\n{100 * row['signal']:.0f}\u202f% of the signal"
        for row in rows[::-1]
    ]
    axis.set_yticks(range(len(rows)), told)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.tick_params(axis="y", length=0, labelcolor=INK)
    axis.spines["left"].set_visible(False)
    axis.set_ylim(-0.7, len(rows) - 0.3)
    axis.set_title(
        textwrap.fill("grey: what as much of the signal elsewhere would cost", 2 * letters),
        loc="left",
        color=SOFT,
    )


def _talk(axis: Axes, names: Sequence[str], talk: np.ndarray, letters: int) -> None:
    from matplotlib.colors import to_hex

    colours = sequential()
    axis.imshow(np.minimum(talk, 1), cmap=colours, vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(talk):
        axis.text(
            j,
            i,
            f"{value:.1f}" if value >= 0.05 else "·",
            ha="center",
            va="center",
            fontsize=8,
            # the cells keep their colours on a dark page, and so does what is read on them
            color=max("#fefefe", "#101010", key=lambda ink: contrast(ink, to_hex(colours(min(value, 1.0))))),
        )
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(length=0, labelcolor=INK)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set(xlabel="really active", ylabel="read in")
    axis.set_title(textwrap.fill("cross-talk: above 0.5 areas are one", letters), loc="left", color=SOFT)
