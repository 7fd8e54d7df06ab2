"""Controls of a decoder of brains in one picture: what must be at chance, when words are told apart, and from how much data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import BLUE, INK, SOFT, WIDE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def controls_figure(
    rows: Sequence[dict[str, Any]],
    learning: Sequence[dict[str, Any]],
    time: dict[str, Any] | None,
    chance: float,
    simulated: bool = False,
    width: float = WIDE,
) -> Figure:
    """Two or three panels (one under the other on a phone), top-1 in percent, with the chance level in each.

    Parameters
    ----------
    rows, learning, time: as `heschl.steps.decode_controls.control_decoding` gives them. The grey bar behind a row is where 95 in
        100 of its score lie when words are permuted; without permutations there is none.
    """
    with styled():
        of = "simulated brains" if simulated else "brains"
        panels = 2 if time is None else 3
        stacked = width < WIDE
        figure = new_figure(width, 2.7 * panels if stacked else 3.4, f"Controls of the decoder of these {of}")
        axes = figure.subplots(panels, 1) if stacked else figure.subplots(1, panels)
        _rows(axes[0], rows, chance)
        _learning(axes[1], learning, chance)
        if time is not None:
            _time(axes[2], time, chance)
    return figure


def _rows(axis: Axes, rows: Sequence[dict[str, Any]], chance: float) -> None:
    places, half = np.arange(len(rows))[::-1], 0.04 * (len(rows) + 0.4)
    for place, row in zip(places, rows):
        if row.get("top_1_null_low") is not None:
            axis.fill_between(
                [row["top_1_null_low"], row["top_1_null_high"]],
                place - half,
                place + half,
                color=SOFT,
                alpha=0.3,
                linewidth=0,
            )
        axis.plot([row["top_1_low"], row["top_1_high"]], [place, place], color=BLUE, linewidth=2)
        axis.plot(row["top_1"], place, "o", color=BLUE, markersize=5)
        axis.annotate(
            f"{row['control']}: {row['decoder']}",
            (chance, place),  # beside the dashed line: nothing hides it on light and dark pages alike
            (4, 8),
            textcoords="offset points",
            fontsize=8,
            color=INK,
        )
    axis.axvline(chance, color=SOFT, linestyle="--", linewidth=1)
    axis.set(
        ylim=(-0.6, len(rows) - 0.2),
        yticks=[],
        xlim=(
            0,
            max(4 * chance, *(1.1 * max(r["top_1_high"], r.get("top_1_null_high") or 0.0) for r in rows)),
        ),
    )
    axis.set_title("must be at chance (dashed): top-1, 95\u202f%", loc="left", fontsize=9, color=INK)
    if any(row.get("top_1_null_low") is not None for row in rows):
        axis.set_xlabel("grey: 95\u202f% of permuted words")
    _percent(axis.xaxis)


def _learning(axis: Axes, learning: Sequence[dict[str, Any]], chance: float) -> None:
    from matplotlib.ticker import MaxNLocator

    hours, unit = [row["hours"] for row in learning], "hours"
    if max(hours) < 1:
        hours, unit = [60 * one for one in hours], "minutes"
    axis.fill_between(
        hours,
        [row["low"] for row in learning],
        [row["high"] for row in learning],
        color=BLUE,
        alpha=0.2,
        linewidth=0,
    )
    axis.plot(hours, [row["value"] for row in learning], "o-", color=BLUE, markersize=4)
    axis.axhline(chance, color=SOFT, linestyle="--", linewidth=1)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.set(ylim=(0, None), xlabel=f"{unit} of training data, each subject")
    axis.set_title("linear decoder, top-1 by data", loc="left", fontsize=9, color=INK)
    _percent(axis.yaxis)


def _time(axis: Axes, time: dict[str, Any], chance: float) -> None:
    seconds, each = time["seconds"], np.asarray(time["each"])
    for course in each:
        axis.plot(seconds, course, color=SOFT, linewidth=0.6, alpha=0.6)
    axis.plot(seconds, time["top_1"], "o-", color=BLUE, markersize=4)
    axis.axhline(chance, color=SOFT, linestyle="--", linewidth=1)
    for cluster in time["clusters"]:
        if cluster["p"] < 0.05:
            axis.axvspan(cluster["start"], cluster["stop"], color=BLUE, alpha=0.12, linewidth=0)
            axis.annotate(
                f"p {cluster['p']:.2g}",
                ((cluster["start"] + cluster["stop"]) / 2, 0.98),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="top",
                fontsize=8,
                color=INK,
            )
    axis.set(ylim=(0, None), xlabel="seconds in the trial")
    told = "shaded: clusters" if time["clusters"] else "thin: subjects"
    axis.set_title(f"linear decoder by time ({told})", loc="left", fontsize=9, color=INK)
    _percent(axis.yaxis)


def _percent(axis: Any) -> None:
    """Few ticks in percent: scores near chance would be a line at the bottom of 0 to 100 %."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}\u202f%"))
