"""Two networks side by side: every speaker's score by the one and by the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import BLUE, INK, LINE, ORANGE, PAPER, TEXT, legible, new_figure, percent, styled
from heschl.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 30  # up to so many speakers each has a line and its name


def compared_figure(
    held: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, width: float = TEXT
) -> Figure:
    """One line a speaker, from the first network's score to the second's; those that lose most stand above.

    Parameters
    ----------
    held: as `heschl.steps.compare.compare` makes it (one, other, difference, kind, n_speakers).
    rows: speaker, one, other, difference.
    """
    rows = sorted(rows, key=lambda row: float(row["difference"]))
    a, b = (np.array([float(row[key]) for row in rows]) for key in ("one", "other"))
    named = len(rows) <= NAMED
    line = 0.22 if named else max(0.03, 6.0 / len(rows))
    names = called(held)
    with styled():
        figure = new_figure(width, line * len(rows) + 1.15, _title(held, names))
        axis = figure.subplots()
        place = np.arange(len(rows))
        axis.hlines(place, a, b, color=LINE, linewidth=2.4 if named else 1.2)
        size = 5.5 if named else 3.0
        for value, colour, larger in ((a, ORANGE, 2.5), (b, BLUE, 0.0)):  # seen also where both are the same
            axis.plot(
                value,
                place,
                "o",
                color=colour,
                markersize=size + larger,
                markeredgecolor=PAPER,
                clip_on=False,
                zorder=4,
            )
        axis.set_ylim(len(rows) - 0.4, -0.6)
        if named:
            axis.set_yticks(place, [str(row["speaker"]) for row in rows])
        else:
            axis.set_yticks([])
            axis.set_ylabel(counted(len(rows), "speaker"))
        axis.set_xlim(0, 1)
        percent(axis, "x")
        spoken = " (synthetic speech)" if held.get("synthetic") else ""
        axis.set_xlabel(f"{held['kind']} understood{spoken}")
        axis.xaxis.grid(True)
        axis.set_axisbelow(True)
        axis.tick_params(length=0)
        axis.tick_params(axis="y", labelcolor=INK)
        axis.spines["left"].set_visible(False)
        axis.spines["bottom"].set_color(LINE)
        means = (held["one"]["accuracy"], held["other"]["accuracy"])
        near = abs(means[0] - means[1]) * width < 4.5  # inches that two labels need side by side
        for k, (mean, name, colour) in enumerate(zip(means, names, (ORANGE, BLUE), strict=True)):
            axis.axvline(mean, color=colour, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
            axis.annotate(
                f"{name} {100 * mean:.1f}\u202f%",
                (mean, 1),
                (0, 17 if near and k == 1 else 3),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="right" if mean > 0.5 else "left",
                color=legible(colour),
            )
    return figure


def called(held: Mapping[str, Any]) -> tuple[str, str]:
    """Both sides by their recipes' names; two of one recipe by where they stand."""
    one, other = str(held["one"]["name"]), str(held["other"]["name"])
    return (one, other) if one != other else (f"{one}, first", f"{other}, second")


def _title(held: Mapping[str, Any], names: tuple[str, str]) -> str:
    found = held["difference"]
    value = 100 * found["value"]
    if found["low"] is None:
        points = f"{value:+.1f}".replace("-", "−")
        return f"{names[1]} against {names[0]}: {points} points, of one speaker"
    said = f"{value:+.1f} points [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]".replace("-", "−")
    if found["low"] <= 0 <= found["high"]:
        return f"{names[1]} and {names[0]} cannot be told apart: {said}, {counted(held['n_speakers'], 'speaker')}"
    better = "more" if value > 0 else "less"
    return (
        f"{names[1]} understands {better} than {names[0]}: {said}, {counted(held['n_speakers'], 'speaker')}"
    )
