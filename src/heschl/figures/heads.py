"""Heads from above: what sensors see, laid out smoothly between them by spherical splines.

Sensors lie on a sphere that is fitted to them; an azimuthal projection keeps their angle from the top. Between them the
signal is a spherical spline (Perrin et al., Electroenceph. Clin. Neurophysiol. 1989, eqs 1-4, order 4). All of it is one
matrix from sensors to pixels, made once for a layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heschl.figures.style import INK, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray[Any, np.dtype[Any]]

PIXELS = 150  # of a head
EDGE = 1.03  # of the outermost sensor's angle: the head ends a little beyond it
ROOM = 1.17  # half the side of the square that holds a head, its nose and ears, in radii of the head
_ORDER, _TERMS, _SMOOTH = 4, 40, 1e-6


class Scalp(NamedTuple):
    """matrix: (pixel, sensor), rows from above, PIXELS a side. share: (row, column) of each pixel inside the head."""

    matrix: Array
    share: Array


def scalp(positions: Array) -> Scalp:
    """From the sensors' places (sensor, 3), metres, x to the right, y to the front, z up."""
    held = np.ascontiguousarray(positions, float)
    return _scalp(held.tobytes(), len(held))


@lru_cache(maxsize=8)
def _scalp(held: bytes, n: int) -> Scalp:
    places = np.frombuffer(held).reshape(n, 3)
    centre, radius = _sphere(places)
    units = (places - centre) / np.linalg.norm(places - centre, axis=1, keepdims=True)
    ears = np.arccos(np.clip(-centre[2] / radius, -1, 1))  # where the sphere meets the plane of nose and ears
    angle = max(EDGE * float(np.arccos(np.clip(units[:, 2], -1, 1)).max()), float(ears))
    side = (np.arange(PIXELS) + 0.5) / PIXELS * 2 - 1
    x, y = np.meshgrid(side, -side)
    away = np.hypot(x, y)
    turn = np.minimum(away, 1.1) * angle
    there = np.stack([np.sin(turn) * x / (away + 1e-12), np.sin(turn) * y / (away + 1e-12), np.cos(turn)], -1)
    cosines = np.linspace(-1, 1, 4001)
    spline = _spline(cosines)
    whole = np.ones((n + 1, n + 1))
    whole[:n, :n] = np.interp(units @ units.T, cosines, spline) + _SMOOTH * np.eye(n)
    whole[n, n] = 0
    share = np.clip((1 - away) * PIXELS / 2 + 0.5, 0, 1)
    head = share.ravel() > 0
    seen = np.interp(there.reshape(-1, 3)[head] @ units.T, cosines, spline)
    matrix = np.zeros((PIXELS**2, n))  # what lies outside the head is not shown
    matrix[head] = np.c_[seen, np.ones(len(seen))] @ np.linalg.pinv(whole)[:, :n]
    return Scalp(matrix, share)


def draw(
    axes: Axes,
    rows: Array,
    positions: Array,
    colours: Any,
    limits: tuple[float, float],
    steps: Sequence[float],
    side: float = 2 * ROOM,
) -> None:
    """Heads side by side in axes that are theirs alone.

    Parameters
    ----------
    rows: (head, sensor). positions: (sensor, 3) metres. colours: a matplotlib colour map over ``limits``.
    steps: values at which a line is drawn, the same on every head.
    side: from the middle of one head to the next, in radii of a head; axes are as many times this wide and 2 ROOM high.
    """
    import contourpy
    from matplotlib.collections import LineCollection

    where = scalp(positions)
    low, high = limits
    pictures: list[Array] = []
    lines: list[Any] = []
    above, beside = (round(PIXELS * (half - 1) / 2) for half in (ROOM, side / 2))
    for k, row in enumerate(rows):
        values = (where.matrix @ row).reshape(PIXELS, PIXELS)
        picture = np.asarray(colours((values - low) / (high - low)))
        picture[..., 3] = where.share
        pictures.append(np.pad(picture, ((above, above), (beside, beside), (0, 0))))
        grid = (np.arange(PIXELS) + 0.5) / PIXELS * 2 - 1
        inside = np.ma.masked_array(values, where.share < 0.5)
        found = contourpy.contour_generator(grid + side * k, -grid, inside)
        lines += [line for step in steps for line in found.lines(float(step))]
    axes.imshow(
        np.round(255 * np.concatenate(pictures, 1)).astype(np.uint8),
        extent=(-side / 2, side * (len(rows) - 0.5), -ROOM, ROOM),
        interpolation="bilinear",
        aspect="auto",
    )
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=0.35))
    ends = [line + np.array([side * k, 0]) for k in range(len(rows)) for line in _outline()]
    axes.add_collection(LineCollection(ends, colors=SOFT, linewidths=0.9))
    axes.set(xlim=(-side / 2, side * (len(rows) - 0.5)), ylim=(-ROOM, ROOM))
    axes.set_axis_off()


def _outline() -> list[Array]:
    """Head, nose and ears."""
    turn = np.linspace(0, 2 * np.pi, 121)
    ring = np.stack([np.cos(turn), np.sin(turn)], 1)
    tip = np.array([[-0.17, 0.985], [0, ROOM - 0.02], [0.17, 0.985]])
    half = np.linspace(-np.pi / 2, np.pi / 2, 25)
    ear = np.stack([1 + 0.08 * np.cos(half), 0.22 * np.sin(half)], 1)
    return [ring, tip, ear, ear * [-1, 1]]


def _sphere(places: Array) -> tuple[Array, float]:
    """Centre and radius of the sphere that lies nearest to places."""
    # |p|^2 = 2 c p + (r^2 - |c|^2) is linear in the centre c and one more number
    fit, *_ = np.linalg.lstsq(np.c_[2 * places, np.ones(len(places))], (places**2).sum(1), rcond=None)
    return fit[:3], float(np.sqrt(fit[3] + fit[:3] @ fit[:3]))


def _spline(cosines: Array) -> Array:
    """Perrin's g: sum of (2 n + 1) / (n (n + 1))^order times Legendre's P_n, over 4 pi."""
    n = np.arange(1, _TERMS + 1)
    terms = np.r_[0, (2 * n + 1) / (n * (n + 1.0)) ** _ORDER]
    return np.asarray(np.polynomial.legendre.legval(cosines, terms) / (4 * np.pi))
