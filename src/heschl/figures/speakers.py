"""Is it as good for everyone? One dot a speaker, with the interval of that speaker's own clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import BLUE, INK, LINE, PAPER, SOFT, TEXT, new_figure, percent, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 24  # up to so many speakers each has a line and its name
GUESSING = "guessing"


def speakers(
    rows: Sequence[Mapping[str, Any]],
    *,
    overall: float,
    chance: float | None = None,
    by: str = "speaker",
    unit: str = "clip",
    width: float = TEXT,
) -> Figure:
    """Accuracy of each speaker, worst first.

    Parameters
    ----------
    rows: as `heschl.tasks.scores.group_table` gives them: group, n, accuracy, low, high.
    overall: accuracy over all clips. chance: level of guessing, drawn as a line where given.
    by: what the groups are. unit: what is counted, "clip" or "frame".
    """
    rows = sorted(rows, key=lambda row: float(row["accuracy"]))
    value = np.array([float(row["accuracy"]) for row in rows])
    low, high = (np.array([float(row[side]) for row in rows]) for side in ("low", "high"))
    named = len(rows) <= NAMED
    with styled():
        height = 0.24 * len(rows) + 0.9 if named else 2.8
        figure = new_figure(width, height, _title(rows, by))
        axis = figure.subplots()
        place = np.arange(len(rows))
        if named:
            axis.hlines(place, low, high, color=LINE, linewidth=3.0)
            axis.plot(
                value, place, "o", color=BLUE, markersize=5.5, clip_on=False, zorder=4, markeredgecolor=PAPER
            )
            axis.set_yticks(place, [str(row["group"]) for row in rows])
            axis.set_ylim(len(rows) - 0.4, -0.6)
            axis.tick_params(axis="y", length=0, labelcolor=INK)
            axis.set_xlim(0, 1)
            percent(axis, "x")
            axis.set_xlabel(f"{unit}s understood")
        else:
            axis.vlines(
                place, low, high, color=LINE, linewidth=max(0.7, min(3.0, 160 * width / 7.5 / len(rows)))
            )
            axis.plot(
                place,
                value,
                "o",
                color=BLUE,
                markersize=4.5 if len(rows) < 120 else 2.5,
                clip_on=False,
                zorder=4,
            )
            axis.set_ylim(0, 1.02)
            axis.set_xlim(-1, len(rows))
            axis.set_xticks([])
            percent(axis)
            axis.yaxis.grid(True)
            axis.set_axisbelow(True)
            axis.set_xlabel(f"{len(rows)} {by}s, worst first", loc="left")
            axis.set_title(f"{unit.capitalize()}s understood, with the 95 % interval of each")
        axis.spines["left"].set_visible(False)
        axis.spines["bottom"].set_color(LINE)
        axis.tick_params(length=0)
        _level(axis, overall, "all together", INK, named)
        if chance is not None:
            near = abs(overall - chance) * width < 3.2  # inches that two labels need side by side
            _level(axis, chance, GUESSING, SOFT, named, lift=14 if near and named else 0)
    return figure


def _level(axis: Axes, value: float, name: str, colour: str, upright: bool, lift: int = 0) -> None:
    if upright:
        axis.axvline(value, color=colour, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axis.annotate(
            f"{name} {100 * value:{'.3g' if name == GUESSING else '.1f'}}\u202f%",  # scores as the page tells them
            (value, 1),
            (0, 3 + lift),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if value > 0.5 else "left",
            color=colour,
        )
    else:
        axis.axhline(value, color=colour, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axis.annotate(
            f"{name} {_percent(value)}",
            (1, value),
            (0, -4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="top",
            color=colour,
        )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u202f%" if share >= 0.1 else f"{100 * share:.2g}\u202f%"


def _title(rows: Sequence[Mapping[str, Any]], by: str) -> str:
    worst, best = rows[0], rows[-1]
    if len(rows) == 1:
        return f"One {by}: {worst['group']}"
    low, high = (f"{100 * float(row['accuracy']):.0f}\u202f%" for row in (worst, best))
    if low == high:
        return f"All {len(rows)} {by}s are understood equally well: {low}"
    alone = f" ({worst['group']})" if float(rows[1]["accuracy"]) > float(worst["accuracy"]) else ""
    return f"From {low}{alone} to {high}: how well each of {len(rows)} {by}s is understood"
