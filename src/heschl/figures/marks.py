"""What stands beside and under a picture of sound: frequencies, seconds, phones and words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from heschl.figures.style import LINE
from heschl.types import Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from heschl.figures.explanation import Seen

LINE_HEIGHT = 0.15  # inches, of a number on an axis with its neighbours apart


def inches(axis: Axes, side: str = "width") -> float:
    """How wide an axis is, or its height."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    whole = figure.get_figwidth() if side == "width" else figure.get_figheight()
    return float(getattr(axis.get_position(), side) * whole)


def seconds_below(axis: Axes, first: float, last: float, end: float | None = None) -> None:
    """At most nine ticks over these seconds, as many as there is room for, the last with its unit, inside the figure; none
    after the end, where the clip has one."""
    most = min(8.0, 2 * inches(axis))
    steps = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 600)
    step = next((s for s in steps if (last - first) / s <= most), steps[-1])
    ticks = np.arange(0, (last if end is None else end) + 1e-9, step)
    axis.set_xticks(ticks, [f"{t:g}" if t < ticks[-1] else f"{t:g} s" for t in ticks])
    if (last - ticks[-1]) / (last - first) * inches(axis) < 0.1:  # no room for half of the words
        axis.get_xticklabels()[-1].set_horizontalalignment("right")
    axis.set_xlim(first, last)


def frequency_ticks(axis: Axes, seen: Seen) -> None:
    axis.tick_params(color=LINE)
    if seen.frequencies is None:
        axis.set_yticks([0, len(seen.level) - 1], ["1", f"{len(seen.level)}"])
        axis.set_ylabel("feature")
        return
    top = seen.frequencies[-1]
    linear = np.allclose(np.diff(seen.frequencies), np.diff(seen.frequencies)[:1], rtol=0.01)
    wanted = [0, 1000, 2000, 3000, 4000, 6000, 8000] if linear else [250, 500, 1000, 2000, 4000, 8000]
    wanted = [f for f in wanted if seen.frequencies[0] - 1 <= f <= top * 1.02]
    if not linear and wanted and wanted[-1] * 1.5 <= top:  # a third of the picture would have no number
        wanted.append(wanted[-1] * 3 // 2)
    if linear and len(wanted) > 5:
        wanted = [f for f in wanted if f % 2000 == 0]
    places = np.interp(wanted, seen.frequencies, np.arange(len(seen.frequencies)))
    least = len(seen.level) * LINE_HEIGHT / inches(axis, "height")  # rows that a number takes up
    kept: list[int] = []
    for k in range(len(places))[::-1]:  # octaves lie closest below, where every second one does
        if not kept or places[kept[0]] - places[k] >= least:
            kept.insert(0, k)
    wanted, places = [wanted[k] for k in kept], places[kept]
    axis.set_yticks(places, [f"{f / 1000:g}" for f in wanted])
    # beside the longest number that there may be, not beside the longest that there is, which drives it off the figure
    axis.set_ylabel("kHz")
    axis.yaxis.set_label_coords(-0.4 / inches(axis), 0.5)


@cache
def words_width(words: str, size: float) -> float:
    """How wide words are in the type of figures, points; the reader's own on a page is hardly wider."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), words, size=size).get_extents().width) if words.strip() else 0.0


def cut_to(words: str, room: float, size: float = 9) -> str:
    """As much of the words as has room, points; an ellipsis stands for the rest."""
    whole = words
    while words and words_width(words if words == whole else f"{words}…", size) > room:
        words = words[:-1].rstrip()
    return whole if words == whole else f"{words}…"


def symbols(axis: Axes, spans: Sequence[Span], tier: str, points: float, colour: str) -> None:
    """Symbols under lines as long as what they name; where there is no room for all, the longest have theirs.

    points: of one second.
    """
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.spines["bottom"].set_visible(False)
    size = 9 if tier == "word" else 8.5
    apart = 1.0 / points  # seconds between two lines, which tell where one ends and the next begins
    first, last = axis.get_xlim()
    taken: list[tuple[float, float]] = []
    for span in sorted(spans, key=lambda span: span.start - span.stop):
        ends = (span.start + apart, span.stop - apart)
        if ends[0] < ends[1]:
            axis.plot(ends, [0.96, 0.96], color=LINE, linewidth=1.6, solid_capstyle="butt", clip_on=True)
        name = span.symbol.lower() if tier == "phone" and span.symbol.isupper() else span.symbol
        middle, half = (span.start + span.stop) / 2, (words_width(name, size) / 2 + 2) / points
        left, right = middle - half, middle + half
        inside = first <= left and right <= last
        if inside and all(right <= low or high <= left for low, high in taken):
            taken.append((left, right))
            axis.text(middle, 0.4, name, ha="center", va="center", fontsize=size, color=colour, clip_on=True)
