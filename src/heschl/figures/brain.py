"""Brains: four looks in a row, areas outlined in their hue and named in place, values over lit cortex, one bar with units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heschl.figures.cortex import Ground, View, ground, inside, look, paint, spread
from heschl.figures.explanation import place, titled
from heschl.figures.style import AREAS, DPI, INK, PAPER, SOFT, WIDE, short, styled, to_hex

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[Any]]

# Left lateral, left medial, right lateral, right medial: (hemisphere, from the brain to the eye).
LOOKS = (("left", (-1, 0, 0.08)), ("left", (1, 0, 0.08)), ("right", (1, 0, 0.08)), ("right", (-1, 0, 0.08)))
NAMES = ("left", "left, from the middle", "right", "right, from the middle")
PIXELS = 540  # of one look
GAP = 18  # pixels between looks
SMALLEST = 60  # pixels of an area that are worth an outline
NAMED = 0.25  # of an area's largest look: where less is seen, it is not named
Borders = list[
    dict[str, tuple[Array, bool]]
]  # of each look: area -> its share of each pixel, whether it is named
FADED = 0.12  # of the largest value: below it the cortex stays bare


class Hemisphere(NamedTuple):
    """What is drawn of one hemisphere: points (vertex, 3), faces (face, 3), sulci (vertex,) 0 to 1, sources (source,)."""

    points: Array
    faces: Array
    sulci: Array
    sources: Array


class Drawn(NamedTuple):
    """A brain that has been looked at four times; painting it is quick."""

    left: Hemisphere
    right: Hemisphere
    views: tuple[View, ...]
    grounds: tuple[Ground, ...]

    def of(self, side: str) -> Hemisphere:
        return self.left if side == "left" else self.right


def draw(left: Hemisphere, right: Hemisphere, pixels: int = PIXELS) -> Drawn:
    """Looks at both hemispheres from the side and from the middle; keep what it gives."""
    both = {"left": left, "right": right}
    views = tuple(look(both[side].points, both[side].faces, eye, (0, 0, 1), pixels) for side, eye in LOOKS)
    grounds = tuple(ground(view, both[side].sulci) for (side, _), view in zip(LOOKS, views))
    return Drawn(left, right, views, grounds)


@lru_cache(maxsize=1)
def sequential() -> Any:
    """The one map of magnitudes on the cortex: even steps of lightness (OKLab) from pale yellow to dark red, which grey
    cortex never has, and which darkens evenly in grey."""
    from matplotlib.colors import LinearSegmentedColormap

    at = np.linspace(0, 1, 64)
    lightness = np.interp(at, [0, 1], [0.90, 0.36])
    chroma = np.interp(at, [0, 0.45, 1], [0.10, 0.17, 0.13])
    hue = np.radians(np.interp(at, [0, 0.45, 1], [95, 58, 22]))
    colours = [
        to_hex(np.array([light, c * np.cos(h), c * np.sin(h)])) for light, c, h in zip(lightness, chroma, hue)
    ]
    return LinearSegmentedColormap.from_list("heat", colours)


def stops(n: int = 9) -> list[str]:
    """n even steps of `sequential`, #rrggbb: a page's own bar."""
    from matplotlib.colors import to_hex as named

    return [named(colour) for colour in sequential()(np.linspace(0, 1, n))]


def brain_strip(
    drawn: Drawn,
    values: Array | None,
    areas: Mapping[str, Array],
    title: str,
    unit: str = "",
    limit: float | None = None,
    borders: Borders | None = None,
) -> Figure:
    """One row of four looks with areas and, where given, values.

    Parameters
    ----------
    values: (source,) of left then right hemisphere, or None for the areas alone.
    areas: name -> indices of its sources, left then right.
    limit: value of the strongest colour; None takes the largest.
    borders: of the areas, where `borders_of` was asked already.
    """
    return brain_course(
        drawn, None if values is None else values[:, None], [], areas, title, unit, limit, borders
    )


def brain_course(
    drawn: Drawn,
    values: Array | None,
    times: Sequence[float],
    areas: Mapping[str, Array],
    title: str,
    unit: str = "",
    limit: float | None = None,
    borders: Borders | None = None,
) -> Figure:
    """Activity at chosen times: a row of four looks for each, one bar.

    Parameters
    ----------
    values: (source, moment). times: network time of each moment, seconds; empty leaves the rows unnamed.
    """
    rows = 1 if values is None else values.shape[1]
    limit = limit_of(values, limit)
    mesh, borders = on_mesh(drawn, values), borders or borders_of(drawn, areas)
    cells = [
        [(k, None if mesh is None else mesh[side][:, row]) for k, (side, _) in enumerate(LOOKS)]
        for row in range(rows)
    ]
    pixels = drawn.grounds[0].picture.shape[1]
    wide, tall = (pixels + GAP) * len(LOOKS) / DPI, tallest(drawn, cells) / DPI
    head, foot = 0.52, 0.1 if values is None else 0.62
    with styled():
        figure = titled(WIDE, head + rows * tall + foot, title)
        axes = place(figure, (WIDE - wide) / 2, head, wide, rows * tall)
        corners = mosaic(axes, drawn, cells, borders, area_hues(areas), limit)
        for name, (x, _) in zip(NAMES, corners[0]):
            axes.text(x + pixels / 2, -12, name, color=SOFT, ha="center", va="bottom")
        for time, row in zip(times, corners):
            axes.text(
                row[0][0] + 4,
                row[0][1] + 6,
                f"{1000 * time:.0f}\u202fms",
                color=INK,
                fontweight="bold",
                va="top",
            )
        if values is not None:
            said = f"{unit}; network time, not a brain’s latency" if len(times) else unit
            bar = place(figure, WIDE / 2 - 2.2, head + rows * tall + 0.04, 4.4, 0.11)
            bar_of(figure, bar, limit, said, upright=False)
    return figure


def tallest(drawn: Drawn, cells: Sequence[Sequence[tuple[int, Any]]], pixels: int | None = None) -> int:
    """Pixels that a row of looks needs, each so wide (None: as it was drawn)."""
    high, wide = max(drawn.grounds[k].picture.shape[:2] for row in cells for k, _ in row)
    return round(float(high * (pixels or wide) / wide)) + GAP


def smaller(picture: Array, size: float) -> Array:
    """A picture (row, column, 4) uint8 made smaller."""
    from PIL import Image

    if size == 1:
        return picture
    whole = Image.fromarray(picture)
    return np.asarray(
        whole.resize((round(whole.width * size), round(whole.height * size)), Image.Resampling.LANCZOS)
    )


def mosaic(
    axes: Axes,
    drawn: Drawn,
    cells: Sequence[Sequence[tuple[int, Array | None]]],
    borders: Borders,
    hues: Mapping[str, str],
    limit: float,
    pixels: int | None = None,
) -> list[list[tuple[int, int]]]:
    """Looks in rows, as one picture in axes that are its alone, with outlines; areas are named in the first of each look.

    Parameters
    ----------
    cells: rows of (which of the four looks, its values (vertex,) or None). borders: as `borders_of` gives them.
    pixels: width of a look; None leaves it as it was drawn. Axes are `tallest` pixels high for each row, and so wide that
        each look has GAP more than its own: then no pixel is moved at `DPI`.

    Returns
    -------
    the upper left corner (x, y) of every cell, in the axes' own units, which are pixels.
    """
    from matplotlib.collections import LineCollection

    from heschl.figures.sheet import Sheet

    whole = drawn.grounds[0].picture.shape[1]
    pixels = pixels or whole
    size = pixels / whole
    tall, wide = tallest(drawn, cells, pixels), pixels + GAP
    sheet = np.zeros((tall * len(cells), wide * len(cells[0]), 4), np.uint8)
    sheet[..., :3] = 255
    lines, colours, corners = [], [], []
    named: set[int] = set()
    axes.set(xlim=(0, sheet.shape[1]), ylim=(sheet.shape[0], 0))
    axes.set_axis_off()
    for i, row in enumerate(cells):
        corners.append([(j * wide + GAP // 2, i * tall) for j in range(len(row))])
        for (k, values), (x, y) in zip(row, corners[-1]):
            picture = smaller(painted(drawn, k, values, limit), size)
            top = y + (tall - picture.shape[0]) // 2
            sheet[top : top + picture.shape[0], x : x + picture.shape[1]] = picture
            for name, (share, _) in borders[k].items():
                for line in edges(share):
                    lines.append(size * line + np.array([x, top]))
                    colours.append(hues[name])
            if k not in named:
                name_areas(axes, borders[k], (x, top), size)
            named.add(k)
    Sheet(axes, sheet)
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.6, capstyle="round"))
    return corners


def edges(share: Array) -> list[Array]:
    """Lines (point, 2), x and y in pixels, round what belongs to an area."""
    import contourpy

    rows, columns = (np.arange(n) + 0.5 for n in share.shape)
    found: list[Array] = contourpy.contour_generator(columns, rows, share).lines(0.5)  # type: ignore[assignment]
    return found


def painted(drawn: Drawn, k: int, values: Array | None, limit: float) -> Array:
    """(row, column, 4) uint8 of one look: ``values`` (vertex,) over lit cortex."""
    half = drawn.of(LOOKS[k][0])
    return paint(
        drawn.views[k], half.sulci, values, sequential(), (0.0, limit), FADED * limit, drawn.grounds[k]
    )


def name_areas(
    axes: Axes,
    borders: Mapping[str, tuple[Array, bool]],
    at: tuple[float, float] = (0, 0),
    size: float = 1.0,
) -> None:
    """Names of the areas that are best seen in this look, each above its area, so that what it does is seen; moved where
    another name stands already. ``at``: the look's upper left corner. ``size``: of the look, 1 as it was drawn."""
    import matplotlib.patheffects as effects

    taken: list[tuple[float, float]] = []
    for name, (share, best) in borders.items():
        if not best:
            continue
        step = 32.0 / size  # a line of type
        rows, columns = np.nonzero(share > 0.5)
        x, y = float(columns.mean()), float(rows.min()) - 0.6 * step
        while any(
            abs(x - other) < 0.14 * share.shape[1] / size and abs(y - height) < step
            for other, height in taken
        ):
            y -= step
        taken.append((x, y))
        axes.text(
            at[0] + size * x,
            at[1] + size * y,
            name,
            color=INK,
            ha="center",
            va="center",
            fontweight="bold",
            fontsize=9,
            path_effects=[effects.withStroke(linewidth=2.5, foreground=PAPER)],
        )


def area_hues(areas: Mapping[str, Any]) -> dict[str, str]:
    """One hue an area, Okabe and Ito's order; an area and its mirror share it."""
    hues: dict[str, str] = {}
    for name in areas:
        plain = name.removesuffix("-R")
        hues[plain] = hues.get(plain, AREAS[len({one.removesuffix("-R") for one in hues}) % len(AREAS)])
        hues[name] = hues[plain]
    return hues


def bar_of(figure: Figure, axes: Axes, limit: float, unit: str, upright: bool = True) -> None:
    """The bar of magnitudes, from zero, with its unit."""
    import matplotlib as mpl

    scaled = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, limit), sequential())
    bar = figure.colorbar(scaled, cax=axes, orientation="vertical" if upright else "horizontal")
    bar.outline.set_visible(False)
    bar.set_ticks([0, limit / 2, limit])
    bar.set_ticklabels(["0", short(limit / 2), short(limit)])
    bar.set_label(unit)


def limit_of(values: Array | None, limit: float | None) -> float:
    if limit is not None:
        return limit
    largest = 0.0 if values is None else float(np.abs(values).max())
    return largest or 1.0


def on_mesh(drawn: Drawn, values: Array | None) -> dict[str, Array] | None:
    """Hemisphere -> (vertex, moment) absolute values."""
    if values is None:
        return None
    n = len(drawn.left.sources)
    parts = {"left": values[:n], "right": values[n:]}
    return {
        side: spread(np.abs(part), drawn.of(side).sources, drawn.of(side).faces, len(drawn.of(side).points))
        for side, part in parts.items()
    }


def borders_of(drawn: Drawn, areas: Mapping[str, Array]) -> Borders:
    """For each look: area -> (how much of each pixel belongs to it, whether it is to be named there)."""
    if not areas:
        return [{} for _ in LOOKS]
    masks = np.zeros((len(drawn.left.sources) + len(drawn.right.sources), len(areas)))
    for k, sources in enumerate(areas.values()):
        masks[sources, k] = 1
    mesh = on_mesh(drawn, masks) or {}
    shares = [
        {name: inside(view, mesh[side][:, k] > 0.5) for k, name in enumerate(areas)}
        for (side, _), view in zip(LOOKS, drawn.views)
    ]
    sizes = [{name: int((share > 0.5).sum()) for name, share in one.items()} for one in shares]
    largest = {name: max(one[name] for one in sizes) for name in areas}
    return [
        {
            name: (share, size[name] >= NAMED * largest[name])
            for name, share in one.items()
            if size[name] >= SMALLEST  # else it lies on the other face, or in a fold
        }
        for one, size in zip(shares, sizes)
    ]
