"""One clip from sound to scalp in one picture: what is heard, what the areas do, where, and what sensors see of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.brain import (
    GAP,
    LOOKS,
    NAMES,
    Borders,
    Drawn,
    area_hues,
    bar_of,
    borders_of,
    mosaic,
    on_mesh,
    tallest,
)
from heschl.figures.explanation import place, titled
from heschl.figures.heads import ROOM
from heschl.figures.sensors import Seen, align_labels, called, draw_areas, draw_heads
from heschl.figures.spectrogram import FLOOR, sound_map
from heschl.figures.style import DPI, INK, LINE, PAPER, SOFT, WIDE, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[Any]]
TOP = 8000.0  # Hz


def story_figure(
    drawn: Drawn,
    values: Array,
    courses: Mapping[str, Array],
    areas: Mapping[str, Array],
    seen: Seen,
    at: Sequence[float],
    title: str,
    unit: str,
    sound: tuple[Array, float] | None = None,
    limit: float | None = None,
    borders: Borders | None = None,
) -> Figure:
    """Sound and areas over the same seconds; at some of its moments the cortex, and what sensors see.

    Parameters
    ----------
    values: (source, time) at ``seen.times``, in ``unit``. courses: area -> (time,) net moment, A m.
    at: network times, seconds. sound: wave (time,) and rate in Hz; None for stored frames.
    """
    borders = borders or borders_of(drawn, areas)
    hues, limit = area_hues(areas), limit or float(np.abs(values).max()) or 1.0
    steps = [int(np.abs(seen.times - time).argmin()) for time in at]
    k = best_look(borders)
    mesh = (on_mesh(drawn, values[:, steps]) or {})[LOOKS[k][0]]
    cells = [[(k, mesh[:, column]) for column in range(len(steps))]]
    left, right, head = 0.52, 1.0, 0.36
    pixels = int((WIDE - left - right) * DPI / len(at)) - GAP
    each = (pixels + GAP) / DPI
    inner, brain = each * len(at), tallest(drawn, cells, pixels) / DPI
    round_head = min(each, 1.75)
    top = head + (1.06 if sound is not None else 0)
    with styled():
        figure = titled(WIDE, top + 1.5 + 0.72 + brain + 0.14 + round_head + 0.06, title)
        course = place(figure, left, top + 0.18, inner, 1.3)
        draw_areas(course, seen.times, courses, at)
        course.set_xlabel("network time, s: when each layer hears it, not when a brain would answer")
        if sound is not None:
            heard = place(figure, left, head, inner, 0.92, sharex=course)
            _sound(heard, *sound)
            heard.tick_params(labelbottom=False, bottom=False)
            align_labels(course, heard, x=-0.34)
        cortex = place(figure, left, top + 2.2, inner, brain)
        corners = mosaic(cortex, drawn, cells, borders, hues, limit, pixels)[0]
        for step, (x, _) in zip(steps, corners):
            text = f"{1000 * seen.times[step]:.0f}\u202fms"
            cortex.text(x + pixels / 2, -8, text, ha="center", va="bottom", color=INK, fontweight="bold")
        _led(
            figure, course, cortex, [seen.times[step] for step in steps], [x + pixels / 2 for x, _ in corners]
        )
        bar = place(figure, WIDE - right + 0.16, top + 2.2 + 0.16 * brain, 0.1, 0.68 * brain)
        bar_of(figure, bar, limit, unit)
        low = top + 2.2 + brain + 0.14
        scalp = place(figure, left, low, inner, round_head)
        bar = place(figure, WIDE - right + 0.16, low + 0.2 * round_head, 0.1, 0.66 * round_head)
        draw_heads(scalp, bar, seen, at, timed=False, side=2 * ROOM * each / round_head)
        heads = f"{len(seen.data)} {called(seen.kind, seen.info)}s, seen from above"
        if seen.kind == "grad":
            heads += ", root mean square of each pair"
        figure.text(0.04 / WIDE, 0.01, f"Cortex: {NAMES[k]}. Heads: {heads}.", color=SOFT)
    return figure


def best_look(borders: Borders) -> int:
    """The look in which most areas are seen best."""
    return int(np.argmax([sum(named for _, named in one.values()) for one in borders]))


def _led(
    figure: Figure, course: Axes, cortex: Axes, times: Sequence[float], middles: Sequence[float]
) -> None:
    """Lines from the moments on the courses' axis down to the brains that show them."""
    import matplotlib.patheffects as effects
    from matplotlib.collections import LineCollection

    for words in (course.xaxis.label, *course.get_xticklabels()):  # the lines pass behind them
        words.set_path_effects([effects.withStroke(linewidth=3, foreground=PAPER)])
    back = figure.transFigure.inverted()
    bottom = course.get_ylim()[0]
    lines = []
    for time, middle in zip(times, middles):
        start = back.transform(course.transData.transform((time, bottom)))
        stop = back.transform(cortex.transData.transform((middle, 0)))
        gap = (start[1] - stop[1]) * np.array(
            [0.0, 0.62, 0.72]
        )  # straight down past the axis' words, then across
        lines.append(
            [(start[0], start[1] - gap[0]), (start[0], start[1] - gap[1]), (stop[0], start[1] - gap[2])]
        )
    figure.add_artist(
        LineCollection(
            lines, colors=LINE, linewidths=0.8, transform=figure.transFigure, zorder=-1, joinstyle="round"
        )
    )


def _sound(axes: Axes, wave: Array, rate: float) -> None:
    """Levels of 25 ms windows, every 5 ms."""
    window = max(2, round(0.025 * rate))
    padded = np.pad(np.asarray(wave, float), (0, max(0, window - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: max(1, window // 5)]
    n = max(512, window)
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(window + 1)[:-1], n))).T
    keep = np.fft.rfftfreq(n, 1 / rate) <= TOP
    level = 10 * np.log10(power[keep] + 1e-20)
    level = np.maximum(level, level.max() - FLOOR)
    step = max(1, window // 5) / rate
    first = (window / 2 - 0.5) / rate - step / 2
    top = (keep.sum() - 1) * rate / n / 1000
    extent = (first, first + step * level.shape[1], 0, top)
    axes.imshow(
        level, origin="lower", aspect="auto", cmap=sound_map(), extent=extent, interpolation="bilinear"
    )
    axes.set_yticks([0, round(top)])
    axes.set_ylabel("kHz")
    for spine in axes.spines.values():
        spine.set_visible(False)
