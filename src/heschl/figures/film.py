"""Pictures of a brain that moves: each look apart, for a page's slider, or four in a row, for a film.

Outlines and names are drawn once; each moment is painted under them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from heschl.figures.brain import (
    FADED,
    LOOKS,
    Borders,
    Drawn,
    area_hues,
    borders_of,
    edges,
    limit_of,
    name_areas,
    on_mesh,
    sequential,
)
from heschl.figures.cortex import in_bytes, painted_part, smaller, where
from heschl.figures.style import INK, PAPER, new_figure, styled

Array = np.ndarray[Any, np.dtype[Any]]
_DPI = 192
_PAPER = np.array([int(PAPER[k : k + 2], 16) for k in (1, 3, 5)], float)


class Look(NamedTuple):
    """One look that moves: ``still`` (row, column, 4) uint8, and what changes of it, ``moments`` (moment, row, column, 4),
    which lies with its upper left corner at ``at`` (row, column). Where nothing ever changes, there are no moments.
    """

    still: Array
    at: tuple[int, int]
    moments: Array

    def picture(self, moment: int) -> Array:
        """(row, column, 4) uint8, whole."""
        whole = self.still.copy()
        if len(self.moments):
            part = self.moments[moment]
            whole[self.at[0] : self.at[0] + part.shape[0], self.at[1] : self.at[1] + part.shape[1]] = part
        return whole


def moving(
    drawn: Drawn,
    values: Array,
    areas: Mapping[str, Array],
    limit: float | None = None,
    borders: Borders | None = None,
) -> list[Look]:
    """The four looks over time; only the rectangle in which something is active is painted for each moment.

    Parameters
    ----------
    values: (source, moment). areas: name -> indices of sources. limit: value of the strongest colour.
    """
    limit = limit_of(values, limit)
    mesh = on_mesh(drawn, values) or {}
    borders = borders or borders_of(drawn, areas)
    made = []
    for k, (side, _) in enumerate(LOOKS):
        view, on, ours = drawn.views[k], drawn.grounds[k], mesh[side]
        over = _overlay(on.picture.shape, borders[k], area_hues(areas))
        still = in_bytes(_laid(on.picture / 255, over))
        box = where(view, np.asarray((ours > FADED * limit).any(1)))
        if box is None:
            made.append(Look(still, (0, 0), np.zeros((0, 0, 0, 4), np.uint8)))
            continue
        part = smaller(box)
        painted = (
            painted_part(view, on, box, moment, sequential(), (0.0, limit), FADED * limit)
            for moment in ours.T
        )
        moments = np.stack([in_bytes(_laid(one, over[part])) for one in painted])
        made.append(Look(still, (part[0].start, part[1].start), moments))
    return made


def film_pictures(looks: Sequence[Look], times: Sequence[float], pixels: int = 1120) -> list[Array]:
    """(row, column, 3) uint8, for each moment: the looks in a row on paper, the time written above."""
    from PIL import Image

    wide, head = pixels // len(looks), 30
    size = [(wide - 8, round(look.still.shape[0] * (wide - 8) / look.still.shape[1])) for look in looks]
    sheet = np.tile(_PAPER, (head + max(high for _, high in size) + 4, wide * len(looks), 1))
    made = []
    for k, time in enumerate(times):
        for column, look in enumerate(looks):
            if k and not len(look.moments):
                continue
            one = (
                np.asarray(
                    Image.fromarray(look.picture(k)).resize(
                        size[column], Image.Resampling.BILINEAR, reducing_gap=2
                    )
                )
                / 255
            )
            place = sheet[head : head + one.shape[0], column * wide + 4 : column * wide + 4 + one.shape[1]]
            place[:] = one[..., :3] * 255 * one[..., 3:] + _PAPER * (1 - one[..., 3:])
        words = _words(f"{1000 * time:.0f} ms of network time", wide * len(looks), head)
        sheet[:head] = words[..., :3] * 255 * words[..., 3:] + _PAPER * (1 - words[..., 3:])
        made.append(np.round(sheet).astype(np.uint8))
    return made


def _overlay(shape: tuple[int, ...], borders: Any, hues: Mapping[str, str]) -> Array:
    """(row, column, 4) 0 to 1: the outlines and names alone, as large as the look."""
    from matplotlib.collections import LineCollection

    rows, columns = shape[:2]
    lines = [(line, hues[name]) for name, (share, _) in borders.items() for line in edges(share)]
    with styled():
        figure = new_figure(columns / _DPI, rows / _DPI)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, columns), ylim=(rows, 0))
        axes.set_axis_off()
        axes.add_collection(
            LineCollection([line for line, _ in lines], colors=[hue for _, hue in lines], linewidths=1.6)
        )
        name_areas(axes, borders)
        return _drawn(figure, columns, rows)


def _words(text: str, columns: int, rows: int) -> Array:
    with styled():
        figure = new_figure(columns / _DPI, rows / _DPI)
        figure.set_layout_engine("none")
        figure.text(4 / columns, 0.5, text, color=INK, va="center", fontsize=5.5, fontweight="bold")
        return _drawn(figure, columns, rows)


def _drawn(figure: Any, columns: int, rows: int) -> Array:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.patch.set_alpha(0)
    figure.set_dpi(_DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[:rows, :columns] / 255.0
    return np.pad(picture, ((0, rows - picture.shape[0]), (0, columns - picture.shape[1]), (0, 0)))


def _laid(under: Array, over: Array) -> Array:
    """One picture with alpha over another."""
    top, below = over[..., 3:], under[..., 3:] * (1 - over[..., 3:])
    alpha = top + below
    rgb = (over[..., :3] * top + under[..., :3] * below) / np.where(alpha > 0, alpha, 1)
    return np.concatenate([np.clip(rgb, 0, 1), np.clip(alpha, 0, 1)], -1)
