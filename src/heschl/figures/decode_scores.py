"""How well a decoder of brains finds the words, and how its words lie to each other: two pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.sensors import diverging
from heschl.figures.style import (
    BLUE,
    INK,
    LINE,
    ORANGE,
    SOFT,
    TEXT,
    WIDE,
    apart,
    new_figure,
    percent,
    short,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINEAR = 50  # candidates above which the axis of places is logarithmic
LETTER = 0.125  # inches that a name takes along the matrix
# name of a curve -> its colour and line
CURVES = {
    "network": (BLUE, "-"),
    "linear decoder": (ORANGE, "-"),
    "network, shuffled": (BLUE, ":"),
    "linear, shuffled": (ORANGE, ":"),
}


def ranks_figure(curves: Mapping[str, np.ndarray], title: str, width: float = TEXT) -> Figure:
    """Share of trials whose word is among the first k, for k from 1 to N, beside chance (k / N).

    Parameters
    ----------
    curves: name, one of `CURVES` -> (N,) shares.
    """
    n = len(next(iter(curves.values())))
    k = np.arange(1, n + 1)
    from matplotlib.ticker import MaxNLocator

    with styled():
        figure = new_figure(width, 3.6 if width == TEXT else 4.6, title)
        axis = figure.subplots()
        axis.plot(k, k / n, color=SOFT, linestyle="--", linewidth=1, label="chance")
        for name, shares in curves.items():
            colour, line = CURVES[name]
            axis.plot(
                k, shares, color=colour, linestyle=line, linewidth=1.6 if line == "-" else 1.2, label=name
            )
        if n > LINEAR:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:,.0f}")  # no powers of ten
        if width < TEXT:  # beside the lines there is no room for their names
            figure.legend(loc="outside lower left", frameon=False, ncols=1, fontsize=8.5, labelcolor=INK)
        else:
            _named(axis, curves, n)
        axis.set(xlim=(1, n), ylim=(0, 1), xlabel=f"among the first k of {n:,}", ylabel="share of trials")
        percent(axis)
        if n <= LINEAR:
            axis.xaxis.set_major_locator(MaxNLocator(8 if width == TEXT else 4, integer=True))
    return figure


def _named(axis: Axes, curves: Mapping[str, np.ndarray], n: int) -> None:
    """Names right of the axis, each led to its line."""
    at = max(1, round(n**0.5 if n > LINEAR else n / 2.5))
    ends = {"chance": at / n, **{name: float(shares[at - 1]) for name, shares in curves.items()}}
    for (name, value), place in zip(ends.items(), apart(list(ends.values()), 0.065), strict=True):
        colour = CURVES[name][0] if name in CURVES else SOFT
        axis.annotate(
            name,
            (at, value),
            (1.02, place),
            textcoords="axes fraction",
            color=INK,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6},
        )


def alike_first(cosines: np.ndarray) -> np.ndarray:
    """An order of words in which alike ones stand side by side: leaves of average linkage on 1 - cosine."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(cosines) < 3:
        return np.arange(len(cosines))
    distances = np.clip(1 - (cosines + cosines.T) / 2, 0, None)
    np.fill_diagonal(distances, 0)
    return np.asarray(
        leaves_list(linkage(squareform(distances, checks=False), "average", optimal_ordering=True))
    )


def codebook_figure(cosines: np.ndarray, words: Sequence[str], title: str, width: float = WIDE) -> Figure:
    """Cosines between words (word, word) about their mean, alike ones side by side; the diagonal is one by definition, and
    left blank. Training pushes all words apart, so that most cosines are alike and below zero: what is left is shown."""
    order = alike_first(cosines)
    off = cosines[~np.eye(len(cosines), dtype=bool)]
    mean = float(off.mean())
    shown = cosines[np.ix_(order, order)] - mean
    limit = float(np.abs(off - mean).max()) or 1.0
    np.fill_diagonal(shown, np.nan)
    with styled():
        narrow = width < WIDE
        side = min(width - 0.9 if narrow else WIDE - 1.6, max(2.4 if narrow else 3.4, LETTER * len(words)))
        named = [words[k] for k in order] if LETTER * len(words) <= side + 1e-9 else []
        figure = new_figure(
            width if narrow else max(TEXT, side + 1.6), side + (1.9 if narrow else 1.0), title
        )
        axis = figure.subplots()
        drawn = axis.imshow(shown, cmap=diverging(), vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set_xticks(range(len(named)), named, rotation=90, fontsize=8)
        axis.set_yticks(range(len(named)), named, fontsize=8)
        axis.tick_params(length=0, labelcolor=INK)
        for spine in axis.spines.values():
            spine.set_visible(False)
        axis.set_anchor("W")
        place = (0.0, -0.42, 0.6, 0.03) if narrow else (1.03, 0.1, 0.025, 0.6)  # beneath the names, or beside
        across: Any = {"orientation": "horizontal"} if narrow else {}
        bar = figure.colorbar(drawn, cax=axis.inset_axes(place), **across)
        bar.outline.set_visible(False)
        bar.set_ticks([-limit, 0, limit], labels=[f"\u2212{short(limit)}", "0", f"+{short(limit)}"])
        bar.ax.set_title(
            f"cosine, less\nits mean {mean:+.2f}".replace("-", "\u2212"), loc="left", color=SOFT, pad=9
        )
        bar.ax.tick_params(color=LINE)
    return figure
