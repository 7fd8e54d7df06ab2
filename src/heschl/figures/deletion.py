"""Is one picture of relevance true? Curves of the answer's probability while the picture is taken out, beside it.

A picture's own curve is warm; grey are those of the same cells taken out at random, and the loudest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.marks import inches, words_width
from heschl.figures.style import LINE, SOFT, VERMILION, apart, legible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Curves = Mapping[
        str, tuple[np.ndarray, np.ndarray]
    ]  # name -> (shares taken out, probability); its own first

STYLES: tuple[dict[str, Any], ...] = (
    {"color": VERMILION, "linewidth": 1.8, "zorder": 3},
    {"color": SOFT, "linewidth": 1.2},
    {"color": SOFT, "linewidth": 1.2, "linestyle": (0, (3, 2))},
)


def verdict(curves: Curves) -> str:
    """What the curves say of the first in a few words: how far its mean lies below the others', in points of probability.

    >>> line = lambda end: (np.array([0.0, 1.0]), np.array([1.0, end]))
    >>> verdict({"most relevant first": line(0.0), "at random": line(0.5), "loudest first": line(0.0)})
    'mean 25 points below random, level with loudest'
    """
    if len(curves) > 1 and np.ptp([scores for _, scores in curves.values()], axis=0).max() < 1e-6:
        return "no order to test: all are the same"
    (_, own), *others = [(name, _mean(*curve)) for name, curve in curves.items()]
    told: list[str] = []
    for name, mean in others:
        points = round(100 * (mean - own))
        side = "below" if points > 0 else "above"
        unit = "" if any("point" in words for words in told) else f" point{'s' * (abs(points) != 1)}"
        far = f"{abs(points)}{unit} {side}" if points else "level with"
        told.append(f"{far} {name.removeprefix('at ').removesuffix(' first')}")
    return f"mean {', '.join(told)}" if told else ""


def _mean(shares: np.ndarray, scores: np.ndarray) -> float:
    return float(np.trapezoid(scores, shares) / (shares[-1] - shares[0]))


def curves_with_names(axis: Axes, curves: Curves, target: str, parts: str = "picture") -> None:
    """The curves with a name at each one's end; the title says what they say."""
    for (shares, scores), style in zip(curves.values(), _styles(curves), strict=True):
        axis.plot(shares, scores, **style)
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    axis.set_xticks([0, 0.5, 1], ["0", "50", "100 %"])
    axis.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
    axis.set_xlabel(f"of the {parts} taken out", labelpad=1, loc="left")
    title, said = f"Probability of {target}", verdict(curves)
    if said:
        title += f", {next(iter(curves))}:\n{said}"
    axis.set_title(title)
    _line_names(axis, curves)


def small_curves(axis: Axes, curves: Curves) -> None:
    """The curves alone, from 0 to 100 % both ways, for a figure of many; `key` says what they are."""
    for (shares, scores), style in zip(curves.values(), _styles(curves), strict=True):
        axis.plot(shares, scores, clip_on=False, **style | {"linewidth": 0.75 * style["linewidth"]})
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.set_xticks([])
    axis.set_yticks([])
    for side in ("left", "bottom"):
        axis.spines[side].set(color=LINE, zorder=0)  # under a curve that falls along it


def key(figure: Figure, names: Sequence[str], left: float, top: float) -> None:
    """Names of the curves in one line, each after a piece of its own; left, top: inches from the upper left."""
    from matplotlib.lines import Line2D

    whole, tall = figure.get_size_inches()
    at, y = left, 1 - top / tall
    for name, style in zip(names, _styles(names), strict=True):
        figure.add_artist(Line2D([at / whole, (at + 0.22) / whole], [y, y], **style))
        figure.text((at + 0.28) / whole, y, name, va="center", fontsize=9, color=legible(style["color"]))
        at += 0.28 + words_width(name, 9) / 72 + 0.22


def _styles(curves: Mapping[str, Any] | Sequence[str]) -> list[dict[str, Any]]:
    return [STYLES[min(k, len(STYLES) - 1)] for k in range(len(curves))]


def _line_names(axis: Axes, curves: Curves) -> None:
    """The names beside the right end, apart from each other."""
    ends = [float(np.asarray(scores)[-1]) for _, scores in curves.values()]
    middle = [float(np.mean(scores)) for _, scores in curves.values()]
    # all curves end in the same blank clip: what tells them apart is their height on the way
    order = np.argsort(middle, kind="stable")
    wanted = np.asarray(ends, float)
    for place, k in enumerate(order):
        wanted[k] += 1e-3 * place
    placed = apart(wanted.tolist(), 0.13)
    lift = max(0.0, 0.07 - min(placed)) - max(0.0, max(placed) - 1.0)
    point = 1 / 72 / inches(axis)  # of the axis' width
    for name, style, at in zip(curves, _styles(curves), placed, strict=True):
        # the curves meet where they end, so each name brings a piece of its own line
        axis.plot([1 + 6 * point, 1 + 20 * point], [at + lift] * 2, clip_on=False, **style)
        axis.annotate(
            name,
            (1, at + lift),
            xytext=(24, 0),
            textcoords="offset points",
            va="center",
            color=legible(style["color"]),
            fontsize=9,
            annotation_clip=False,
        )
