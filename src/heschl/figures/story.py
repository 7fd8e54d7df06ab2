"""One clip from sound to scalp in one picture: what is heard, what the areas do, where, and what sensors see of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.brain import (
    LOOKS,
    NAMES,
    Borders,
    Drawn,
    area_hues,
    bar_of,
    borders_of,
    draw_look,
    on_mesh,
)
from heschl.figures.sensors import Seen, draw_areas, draw_heads
from heschl.figures.spectrogram import FLOOR, sound_map
from heschl.figures.style import INK, SOFT, WIDE, new_figure, styled

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
    each = (WIDE - 1.25) / len(at)
    brain = each * drawn.grounds[k].picture.shape[0] / drawn.grounds[k].picture.shape[1]
    rows = [0.95] * (sound is not None) + [1.35, brain + 0.1, min(each, 1.5)]
    with styled():
        figure = new_figure(WIDE, sum(rows) + 1.35, title)
        figure.get_layout_engine().set(hspace=0.03, wspace=0.01)  # type: ignore[union-attr, call-arg]
        grid = figure.add_gridspec(
            len(rows), len(at) + 1, height_ratios=rows, width_ratios=[1.0] * len(at) + [0.035]
        )
        course = figure.add_subplot(grid[len(rows) - 3, : len(at)])
        if sound is not None:
            heard = figure.add_subplot(grid[0, : len(at)], sharex=course)
            _sound(heard, *sound)
            heard.tick_params(labelbottom=False)
        draw_areas(course, seen.times, courses, at)
        course.set_xlabel("network time, s: when each layer hears it, not when a brain would answer")
        for column, step in enumerate(steps):
            axes = figure.add_subplot(grid[-2, column])
            draw_look(axes, drawn, k, mesh[:, column], borders[k], hues, limit, named=column == 0)
            axes.set_title(
                f"{1000 * seen.times[step]:.0f}\u202fms", loc="center", color=INK, fontweight="bold"
            )
        bar_of(figure, figure.add_subplot(grid[-2, -1]), limit, unit)
        heads = [figure.add_subplot(grid[-1, column]) for column in range(len(at) + 1)]
        draw_heads(figure, heads, seen, at, timed=False)
        figure.text(0.005, 0.004, f"Cortex: {NAMES[k]}.", color=SOFT)
    return figure


def best_look(borders: Borders) -> int:
    """The look in which most areas are seen best."""
    return int(np.argmax([sum(named for _, named in one.values()) for one in borders]))


def _sound(axes: Axes, wave: Array, rate: float) -> None:
    from scipy.signal import spectrogram

    window = max(2, round(0.025 * rate))
    frequencies, times, power = spectrogram(
        wave, rate, "hann", window, window - window // 5, nfft=max(512, window)
    )
    keep = frequencies <= TOP
    level = 10 * np.log10(power[keep] + 1e-20)
    level = np.maximum(level, level.max() - FLOOR)
    half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.0
    extent = (times[0] - half, times[-1] + half, 0, float(frequencies[keep][-1]) / 1000)
    axes.imshow(
        level, origin="lower", aspect="auto", cmap=sound_map(), extent=extent, interpolation="bilinear"
    )
    axes.set_yticks([0, round(extent[3])])
    axes.set_ylabel("kHz")
    for spine in axes.spines.values():
        spine.set_visible(False)
