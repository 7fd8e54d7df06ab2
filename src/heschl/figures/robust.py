"""How well does a network understand, and how steady is its explanation, when clips are disturbed?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import (
    BLUE,
    GREEN,
    INK,
    LINE,
    ORANGE,
    PAPER,
    SOFT,
    TEXT,
    VERMILION,
    legible,
    new_figure,
    percent,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = {
    "white": ("white", SOFT),
    "pink": ("pink", ORANGE),
    "speech": ("like the clip", BLUE),
    "babble": ("other voices", VERMILION),
    "room": ("", BLUE),
    "lowpass": ("only below", BLUE),
    "highpass": ("only above", GREEN),
    "level": ("", BLUE),
}
_AXES = {
    "noise": "noise, dB below the voice",
    "room": "room, s of ringing",
    "band": "band edge, Hz",
    "level": "level, dB",
}


def robust_figure(held: Mapping[str, Any], *, width: float = TEXT) -> Figure:
    """Accuracy over stability, one column for each kind of disturbance; the quiet clip is a dashed line.

    held: as `heschl.steps.robust.robust` gives it.
    """
    quiet = held["rows"][0]
    kinds = [kind for kind in _AXES if any(row["kind"] == kind for row in held["rows"])]
    # explanations may even turn round
    ends = [row["stability"][side] for row in held["rows"] for side in ("value", "low")]
    lowest = min([0.0, *(end - 0.03 for end in ends if end is not None and end < 0)])
    with styled():
        figure = new_figure(width, 4.4, _title(held))
        axes = figure.subplots(
            2, len(kinds), sharey="row", sharex="col", squeeze=False, width_ratios=[1.7, 1, 1.5, 1]
        )
        for column, kind in enumerate(kinds):
            own = [row for row in held["rows"] if row["kind"] == kind]
            for line, key in enumerate(("accuracy", "stability")):
                axis = axes[line, column]
                _lines(axis, own, key, kind, named=line == 1)
                axis.axhline(quiet[key]["value"], color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
                axis.set_ylim(0 if key == "accuracy" else lowest, 1.03)
                axis.spines["left"].set_visible(False)
                axis.spines["bottom"].set_color(LINE)
                axis.tick_params(length=0)
                axis.yaxis.grid(True)
                axis.set_axisbelow(True)
            axes[0, column].axhline(held["chance"], color=SOFT, linewidth=0.8, zorder=1)
            axes[1, column].set_xlabel(_AXES[kind], loc="left")
        percent(axes[0, 0])
        if (engine := figure.get_layout_engine()) is not None:
            # the numbers of neighbouring panels stand apart
            engine.set(wspace=0.06)  # type: ignore[call-arg]
        axes[1, 0].set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        unit = "frames" if held["kind"] == "frames" else "clips"
        axes[0, 0].set_ylabel(f"{unit} understood")
        axes[1, 0].set_ylabel("explanation as in quiet\n(rank correlation)")
        axes[0, 1].annotate(
            "quiet", (1, quiet["accuracy"]["value"]), (0, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", fontsize=8, color=INK,
        )  # fmt: skip
        axes[0, 0].annotate(
            "guessing", (0, held["chance"]), (0, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", fontsize=8, color=SOFT,
        )  # fmt: skip
    return figure


def _lines(axis: Axes, rows: list[Mapping[str, Any]], key: str, kind: str, named: bool) -> None:
    ends = []
    sizes = sorted({row["size"] for row in rows})
    for name in dict.fromkeys(row["name"] for row in rows):
        own = sorted((row for row in rows if row["name"] == name), key=lambda row: row["size"])
        words, hue = _LINES[name]
        at = np.array([row["size"] for row in own], float)
        if kind == "noise":
            at = -at  # more noise to the right
        if kind == "band":
            at = np.log2(at)
        value = np.array([np.nan if row[key]["value"] is None else row[key]["value"] for row in own])
        low, high = (
            np.array(
                [v if row[key][side] is None else row[key][side] for row, v in zip(own, value, strict=True)],
                float,
            )
            for side in ("low", "high")
        )
        axis.fill_between(at, low, high, color=hue, alpha=0.12, linewidth=0)
        axis.plot(at, value, color=hue, marker="o", markersize=3)
        if words:
            ends.append((words, hue))
    if kind == "noise":
        axis.set_xticks([-s for s in sizes], [f"{s:g}".replace("-", "\u2212") for s in sizes])
    elif kind == "band":
        ticks = [500, 1000, 4000]
        axis.set_xticks(np.log2(ticks), [f"{t:g}" for t in ticks])
    elif kind == "room":
        axis.set_xlim(0, None)
        axis.set_xticks(sizes, [f"{s:.1g}" for s in sizes])
    else:
        axis.set_xticks([-40, -20, 0, 20], ["\u221240", "\u221220", "0", "+20"])
    where, side = (0.98, "right") if kind == "noise" else (0.5, "center")  # where the lines below leave room
    for k, (words, hue) in enumerate(reversed(ends) if named else ()):
        axis.annotate(
            words, (where, 0.93 - 0.1 * (len(ends) - 1 - k)), xycoords="axes fraction", ha=side, va="top", fontsize=8,
            color=legible(hue), bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
        )  # fmt: skip


def _title(held: Mapping[str, Any]) -> str:
    rows = [row for row in held["rows"][1:] if row["stability"]["value"] is not None]
    quiet, low = held["rows"][0]["accuracy"]["value"], held["rows"][0]["accuracy"]["low"]
    if (quiet if low is None else low) <= held["chance"]:
        return (
            f"In quiet the network understands {100 * quiet:.0f}\u202f% (guessing {100 * held['chance']:.0f}\u202f%): "
            "there is nothing to lose"
        )
    worst = min(rows, key=lambda row: row["accuracy"]["value"])
    words = {id(row): str(row["words"]).replace(" -", " \u2212") for row in rows}
    mild = [row for row in rows if row["accuracy"]["value"] >= quiet - 0.05]
    named = words[id(worst)][0].upper() + words[id(worst)][1:] + ("," if "," in words[id(worst)] else "")
    first = f"{named} harms most: {100 * quiet:.0f} to {100 * worst['accuracy']['value']:.0f}\u202f%"
    if mild:
        shaky = min(mild, key=lambda row: row["stability"]["value"])
        first += (
            f"; {words[id(shaky)]}{',' if ',' in words[id(shaky)] else ''} hardly touches the answers, yet explanations keep a rank correlation of only "
            f"{shaky['stability']['value']:.2f}"
        )
    return first
