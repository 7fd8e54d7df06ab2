"""Two networks side by side: every speaker's score by the one and by the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import BLUE, INK, LINE, ORANGE, PAPER, SOFT, TEXT, new_figure, percent, styled

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
    names = (_called(held, "one", "other"), _called(held, "other", "one"))
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
            axis.set_ylabel(f"{len(rows)} speakers")
        axis.set_xlim(0, 1)
        percent(axis, "x")
        axis.set_xlabel(f"{held['kind']} understood")
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
                color=colour if colour == BLUE else INK,
            )
        if held.get("synthetic"):
            axis.annotate(
                "synthetic speech",
                (0, 1),
                (0, 3),
                xycoords="axes fraction",
                textcoords="offset points",
                color=SOFT,
            )
    return figure


def _called(held: Mapping[str, Any], which: str, beside: str) -> str:
    """A side by its recipe's name; two of one recipe by where they stand."""
    name = str(held[which]["name"])
    if name != held[beside]["name"]:
        return name
    return f"{name}, {'first' if which == 'one' else 'second'}"


def _title(held: Mapping[str, Any], names: tuple[str, str]) -> str:
    found = held["difference"]
    value = 100 * found["value"]
    if found["low"] is None:
        return f"{names[1]} understands {value:+.1f} points of {names[0]}, for one speaker"
    said = f"{value:+.1f} points [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]".replace("-", "−")
    if found["low"] <= 0 <= found["high"]:
        return f"{names[1]} and {names[0]} cannot be told apart: {said}, {held['n_speakers']} speakers"
    better = "more" if value > 0 else "less"
    return f"{names[1]} understands {better} than {names[0]}: {said}, {held['n_speakers']} speakers"
