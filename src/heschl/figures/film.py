"""Pictures of a brain that moves: each look apart, for a page's slider, or four in a row, for a film.

Outlines and names are drawn once; each moment is painted under them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from heschl.figures.brain import (
    FADED,
    LOOKS,
    Drawn,
    area_hues,
    borders_of,
    limit_of,
    on_mesh,
    outline,
    painted,
)
from heschl.figures.style import INK, PAPER, new_figure, styled

Array = np.ndarray[Any, np.dtype[Any]]
_DPI = 192


def look_pictures(
    drawn: Drawn, k: int, values: Array, areas: Mapping[str, Array], limit: float | None = None
) -> Iterator[Array]:
    """(row, column, 4) uint8 of one look at each moment; one picture alone where nothing of it ever changes.

    Parameters
    ----------
    k: which look of `heschl.figures.brain.LOOKS`. values: (source, moment). areas: name -> indices of sources.
    """
    limit = limit_of(values, limit)
    mesh = (on_mesh(drawn, values) or {})[LOOKS[k][0]]
    borders = borders_of(drawn, areas)[k]
    over = _overlay(drawn.grounds[k].picture.shape, borders, area_hues(areas))
    view = drawn.views[k]
    corners = np.unique(view.corners[view.seen])
    changes = bool((mesh[corners] > FADED * limit).any())
    for moment in mesh.T if changes else mesh.T[:1]:
        yield np.round(255 * _laid(painted(drawn, k, moment, limit), over)).astype(np.uint8)


def film_pictures(
    drawn: Drawn,
    values: Array,
    times: Sequence[float],
    areas: Mapping[str, Array],
    limit: float | None = None,
    pixels: int = 1120,
) -> list[Array]:
    """(row, column, 3) uint8, for each moment: four looks in a row on paper, the time written above."""
    from PIL import Image

    limit = limit_of(values, limit)
    wide, head = pixels // len(LOOKS), 30
    columns: list[list[Array]] = []
    for k in range(len(LOOKS)):
        own = []
        for picture in look_pictures(drawn, k, values, areas, limit):
            high = round(picture.shape[0] * (wide - 8) / picture.shape[1])
            own.append(
                np.asarray(Image.fromarray(picture).resize((wide - 8, high), Image.Resampling.LANCZOS))
            )
        columns.append(own if len(own) > 1 else own * len(times))
    tall = head + max(own[0].shape[0] for own in columns) + 4
    paper = np.array([int(PAPER[k : k + 2], 16) for k in (1, 3, 5)], float)
    made = []
    for k, time in enumerate(times):
        sheet = np.tile(paper, (tall, wide * len(LOOKS), 1))
        for column, own in enumerate(columns):
            one = own[k] / 255.0
            place = sheet[head : head + one.shape[0], column * wide + 4 : column * wide + 4 + one.shape[1]]
            place[:] = one[..., :3] * 255 * one[..., 3:] + place * (1 - one[..., 3:])
        words = _words(f"{1000 * time:.0f} ms of network time", wide * len(LOOKS), head)
        sheet[:head] = words[..., :3] * 255 * words[..., 3:] + sheet[:head] * (1 - words[..., 3:])
        made.append(np.round(sheet).astype(np.uint8))
    return made


def _overlay(shape: tuple[int, ...], borders: Any, hues: Mapping[str, str]) -> Array:
    """(row, column, 4) 0 to 1: the outlines and names alone, as large as the look."""
    rows, columns = shape[:2]
    with styled():
        figure = new_figure(columns / _DPI, rows / _DPI)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
        axes.set_axis_off()
        outline(axes, shape, borders, hues)
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
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[:rows, :columns] / 255.0
    return np.pad(picture, ((0, rows - picture.shape[0]), (0, columns - picture.shape[1]), (0, 0)))


def _laid(under: Array, over: Array) -> Array:
    """One picture with alpha over another."""
    top, below = over[..., 3:], under[..., 3:] * (1 - over[..., 3:])
    alpha = top + below
    rgb = (over[..., :3] * top + under[..., :3] * below) / np.where(alpha > 0, alpha, 1)
    return np.concatenate([np.clip(rgb, 0, 1), np.clip(alpha, 0, 1)], -1)
