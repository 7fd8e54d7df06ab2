"""What does a network hold to? Accuracy while samples are zeroed, and when voices are given another pitch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import (
    BLUE,
    INK,
    LINE,
    ORANGE,
    PAPER,
    SOFT,
    TEXT,
    legible,
    new_figure,
    percent,
    styled,
)
from heschl.tasks.intervals import by_t

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WAYS = {
    "random": ("by chance", SOFT),
    "amplitude": ("loudest first", ORANGE),
    "relevance": ("most relevant first", BLUE),
}


def manipulate_figure(held: Mapping[str, Any], *, width: float = TEXT) -> Figure:
    """Accuracy against the share of samples zeroed; beside it, where there are sexed voices, before and after scaling.

    held: as `heschl.steps.manipulate.manipulate` gives it.
    """
    scaled = bool(held["scaling"])
    with styled():
        figure = new_figure(width, 3.3, _title(held))
        axes = figure.subplots(
            1, 2 if scaled else 1, squeeze=False, width_ratios=(2.2, 1) if scaled else (1,)
        )[0]
        _zeroing(axes[0], held)
        if scaled:
            _scaling(axes[1], held)
        for axis in axes:
            axis.set_ylim(0, 1.03)
            axis.axhline(held["chance"], color=LINE, linewidth=0.8, zorder=1)
            axis.spines["left"].set_visible(False)
            axis.spines["bottom"].set_color(LINE)
            axis.tick_params(length=0)
            percent(axis)
            axis.yaxis.grid(True)
            axis.set_axisbelow(True)
        axes[0].set_ylabel("clips understood")
    return figure


def _zeroing(axis: Axes, held: Mapping[str, Any]) -> None:
    shares = np.array(held["fractions"], float)
    at = np.sqrt(shares)  # the first few per cent are where it happens
    ends = []
    for way, cells in held["zeroing"].items():
        name, hue = _WAYS[way]
        value = np.array([cell["value"] for cell in cells], float)
        low, high = _bounds(cells, value)
        axis.fill_between(at, low, high, color=hue, alpha=0.15, linewidth=0)
        axis.plot(at, value, color=hue, marker="o", markersize=3)
        ends.append((name, hue))
    for k, (name, hue) in enumerate(
        ends
    ):  # the upper right is free: nothing is understood better with more of it gone
        axis.annotate(
            name, (0.99, 0.95 - 0.09 * k), xycoords="axes fraction", ha="right", va="top", color=legible(hue),
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
        )  # fmt: skip
    ticks = [0, 0.01, 0.05, 0.2, 0.5, 0.95]
    axis.set_xticks(np.sqrt(ticks), [f"{100 * v:g}" if v != 0.95 else "95 %" for v in ticks])
    spread = ""
    if len(held["runs"]) > 1:
        spread = "; bands: one standard deviation over folds"
    elif any(cell.get("low") is not None for cells in held["zeroing"].values() for cell in cells):
        spread = f"; bands: 95\u202f% intervals over speakers{by_t(held.get('speakers'))}"
    axis.set_xlabel(f"share of the samples set to zero{spread}", loc="left")
    axis.annotate(
        "guessing", (0, held["chance"]), (2, -2), textcoords="offset points", va="top", color=SOFT, fontsize=8
    )


def _scaling(axis: Axes, held: Mapping[str, Any]) -> None:
    names = []
    for k, row in enumerate(held["scaling"]):
        for place, key in ((2 * k, "plain"), (2 * k + 0.7, "accuracy")):
            value = np.array([row[key]["value"]], float)
            low, high = _bounds([row[key]], value)
            hue = INK if key == "plain" else BLUE
            axis.vlines(place, low, high, color=LINE, linewidth=3)
            axis.plot(place, value, "o", color=hue, markersize=5, zorder=3, clip_on=False)
            word = row["voices"] if key == "plain" else f"\n×\u202f{row['factor']:g}"
            names.append((place, word))
    axis.set_xticks([place for place, _ in names], [word for _, word in names])
    axis.set_xlim(-0.5, names[-1][0] + 0.5)
    axis.set_title("frequencies multiplied")


def _bounds(cells: Any, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = [], []
    for cell, mean in zip(cells, value, strict=True):
        if cell.get("sd") is not None:
            low.append(max(0.0, mean - cell["sd"]))
            high.append(min(1.0, mean + cell["sd"]))
        else:
            low.append(mean if cell.get("low") is None else cell["low"])
            high.append(mean if cell.get("high") is None else cell["high"])
    return np.array(low), np.array(high)


def _title(held: Mapping[str, Any]) -> str:
    shares = held["fractions"]
    k = next((k for k, share in enumerate(shares) if share >= 0.1), len(shares) - 1)
    whole = held["zeroing"]["random"][0]
    low = whole.get("low")
    if (whole["value"] if low is None else low) <= held["chance"]:
        return (
            f"Unchanged, {100 * whole['value']:.0f}\u202f% of the clips are understood (guessing {100 * held['chance']:.0f}\u202f%): "
            "there is nothing to lose"
        )
    told = {way: 100 * cells[k]["value"] for way, cells in held["zeroing"].items()}
    first = (
        f"With {100 * shares[k]:g}\u202f% of the samples gone, {told['relevance']:.0f}\u202f% of the clips are understood if "
        f"the most relevant go, {told['random']:.0f}\u202f% if chance chooses"
    )
    return first
