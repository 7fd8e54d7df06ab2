"""The cortex as a picture: a mesh is drawn once a view, and anything on its corners is then painted in an instant.

A view keeps, for every pixel, the three corners of the triangle that is seen there and their weights, and how the light
falls. Painting values, outlines or a film frame is one weighted sum; nothing is projected again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

# Warm grey, gyri and sulci; the light comes from the upper left, in front.
GYRUS, SULCUS = np.array([0.90, 0.875, 0.845]), np.array([0.70, 0.675, 0.65])
LIGHT = np.array([-0.45, 0.60, 0.66])
SAMPLES = 2  # pixels along each axis that become one: smooth edges

Array = np.ndarray[Any, np.dtype[Any]]


class View(NamedTuple):
    """One look at one hemisphere.

    corners, weights: (row, column, 3) of the triangle seen; corner 0 and weight 0 where there is none.
    seen: (row, column) whether there is cortex. light: (row, column) 0 to 1.
    reach: (vertex, 4) the first and last row and the first and last column in which a corner has part; of one that is not
        seen, a first beyond the last.
    """

    corners: Array
    weights: Array
    seen: Array
    light: Array
    reach: Array

    def part(self, box: tuple[slice, slice]) -> View:
        """A rectangle of samples alone."""
        corners, weights, seen, light = (one[box] for one in self[:-1])
        return View(corners, weights, seen, light, self.reach)


def look(points: Array, faces: Array, to_viewer: Sequence[float], up: Sequence[float], width: int) -> View:
    """Draws a mesh once.

    Parameters
    ----------
    points: (vertex, 3) metres. faces: (face, 3).
    to_viewer: from the mesh to the eye, far away. up: which way is up in the picture.
    width: pixels of the picture; its height follows from the mesh.
    """
    right, upward, eye = _axes(to_viewer, up)
    flat = points @ np.stack([right, upward, eye], 1)
    low, high = flat.min(0), flat.max(0)
    size = width * SAMPLES
    scale = (size - 2 * SAMPLES) / (high[0] - low[0])
    height = SAMPLES * int(np.ceil(((high[1] - low[1]) * scale + 2 * SAMPLES) / SAMPLES))
    x = (flat[:, 0] - low[0]) * scale + SAMPLES
    y = (high[1] - flat[:, 1]) * scale + SAMPLES
    front = faces[_face_normals(points, faces) @ eye > 0]
    shape = (height, size)
    pixels, triangles, weights = _seen(np.stack([x, y], 1), flat[:, 2], front, shape)
    corners = front[triangles]
    bent = _at(corners, weights, corner_normals(points, faces))
    bent /= np.linalg.norm(bent, axis=1, keepdims=True) + 1e-12
    direction = LIGHT[0] * right + LIGHT[1] * upward + LIGHT[2] * eye
    light = np.clip(bent @ (direction / np.linalg.norm(direction)), 0, 1)
    view = View(
        np.zeros((*shape, 3), np.int64),
        np.zeros((*shape, 3)),
        np.zeros(shape, bool),
        np.zeros(shape),
        _reach(pixels, corners, shape, len(points)),
    )
    for picture, held in zip(view, (corners, weights, True, light)):
        picture.reshape(height * size, *picture.shape[2:])[pixels] = held
    return view


class Ground(NamedTuple):
    """Bare cortex of one view: sampled (row, column, 3) 0 to 1, and as a picture (row, column, 4) uint8."""

    sampled: Array
    picture: Array


def ground(view: View, sulci: Array) -> Ground:
    """Bare lit cortex, to be painted on. sulci: (vertex,) 0 on gyri to 1 in sulci."""
    base = GYRUS + (SULCUS - GYRUS) * _at(view.corners, view.weights, sulci)[..., None]
    rgb = np.clip(base * (0.42 + 0.66 * view.light)[..., None], 0, 1)
    return Ground(rgb, in_bytes(_smaller(rgb, view.seen)))


def in_bytes(picture: Array) -> Array:
    """0 to 1 as 0 to 255."""
    return np.round(255 * picture).astype(np.uint8)


def paint(
    view: View,
    sulci: Array,
    values: Array | None = None,
    colours: Any = None,
    limits: tuple[float, float] = (0.0, 1.0),
    threshold: float = 0.0,
    on: Ground | None = None,
) -> Array:
    """(row, column, 4) red, green, blue, alpha, uint8: lit cortex, with values over it where they are large enough.

    Parameters
    ----------
    sulci: (vertex,) 0 on gyri to 1 in sulci.
    values: (vertex,) or None for bare cortex. colours: a matplotlib colour map over ``limits``.
    threshold: smaller absolute values leave the cortex bare; they fade in above it.
    on: the view's `ground`, where it is kept.
    """
    on = on or ground(view, sulci)
    picture = on.picture.copy()
    box = None if values is None else where(view, np.abs(values) > threshold)
    if values is not None and box is not None:  # only the rectangle that holds something is painted
        picture[smaller(box)] = in_bytes(painted_part(view, on, box, values, colours, limits, threshold))
    return picture


def painted_part(
    view: View,
    on: Ground,
    box: tuple[slice, slice],
    values: Array,
    colours: Any,
    limits: tuple[float, float],
    threshold: float,
) -> Array:
    """As `paint`, of one rectangle (see `where`): (row, column, 4) 0 to 1."""
    part = view.part(box)
    height = _at(part.corners, part.weights, values)
    low, high = limits
    tint = np.asarray(colours((height - low) / (high - low)))[..., :3]
    fade = np.clip((np.abs(height) - threshold) / (0.15 * max(abs(low), abs(high))), 0, 1)[..., None]
    lit = np.clip(tint * (0.62 + 0.46 * part.light.astype(float))[..., None], 0, 1)
    rgb = np.asarray(on.sampled[box], float)
    return _smaller(rgb + fade * 0.94 * (lit - rgb), part.seen)


def _span(first: int, last: int) -> slice:
    """From the first sample to the last, in whole pixels of the picture."""
    return slice(first // SAMPLES * SAMPLES, -(-(last + 1) // SAMPLES) * SAMPLES)


def _smaller(rgb: Array, seen: Array) -> Array:
    """(row, column, 4) of samples (row, column, 3): the mean of each pixel's, alpha their share."""
    share = _means(seen.astype(float))
    summed = _means(rgb * seen[..., None])
    safe = np.where(share > 0, share, 1)[..., None]
    return np.concatenate([summed / safe, share[..., None]], -1)


def inside(view: View, members: Array) -> Array:
    """(row, column) how much of each pixel's triangle belongs to a set of corners (vertex,) bool: 0 to 1."""
    rows, columns = view.seen.shape
    found = np.zeros((rows // SAMPLES, columns // SAMPLES))
    box = where(view, members)
    if box is None:
        return found
    part = view.part(box)
    found[smaller(box)] = _means(_at(part.corners, part.weights, members.astype(float)) * part.seen)
    return found


def where(view: View, members: Array) -> tuple[slice, slice] | None:
    """The rectangle of samples, whole pixels, in which some corners (vertex,) bool are seen; None where none is."""
    reach = view.reach[members]
    reach = reach[reach[:, 0] <= reach[:, 1]]
    if not len(reach):
        return None
    low, high = reach.min(0).tolist(), reach.max(0).tolist()
    return _span(low[0], high[1]), _span(low[2], high[3])


def smaller(box: tuple[slice, slice]) -> tuple[slice, slice]:
    """A rectangle of samples as one of pixels."""
    rows, columns = (slice(one.start // SAMPLES, one.stop // SAMPLES) for one in box)
    return rows, columns


def spread(values: Array, sources: Array, faces: Array, n: int, smooth: int = 2) -> Array:
    """Values at some corners of a mesh, given to all: (n,) or (n, time).

    Each corner without one takes the mean of its neighbours that have one, outwards from the sources; then all are
    smoothed over their neighbours.

    Parameters
    ----------
    values: (source,) or (source, time). sources: their corners. faces: (face, 3). n: corners of the mesh.
    smooth: rounds of smoothing.
    """
    links = _links(faces.tobytes(), n)
    table = np.zeros((n, *values.shape[1:]))
    table[sources] = values
    known = np.zeros(n)
    known[sources] = 1
    while not known.all():
        count = links @ known
        fresh = (known == 0) & (count > 0)
        if not fresh.any():
            break
        table[fresh] = ((links @ table)[fresh].T / count[fresh]).T
        known[fresh] = 1
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    for _ in range(smooth):
        table = 0.5 * table + 0.5 * ((links @ table).T / degree).T
    return table


def corner_normals(points: Array, faces: Array) -> Array:
    """(vertex, 3) unit normals, the mean of the faces' that meet there, by area."""
    own = np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
    found = np.zeros_like(points)
    for k in range(3):
        np.add.at(found, faces[:, k], own)
    return np.asarray(found / (np.linalg.norm(found, axis=1, keepdims=True) + 1e-30))


def _face_normals(points: Array, faces: Array) -> Array:
    return np.asarray(
        np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
    )


def _axes(to_viewer: Sequence[float], up: Sequence[float]) -> tuple[Array, Array, Array]:
    eye = np.asarray(to_viewer, float) / np.linalg.norm(to_viewer)
    right = np.cross(up, eye)
    right /= np.linalg.norm(right)
    return right, np.cross(eye, right), eye


def _seen(flat: Array, depth: Array, faces: Array, shape: tuple[int, int]) -> tuple[Array, Array, Array]:
    """What is nearest to the eye: pixels that show something, the triangle seen there, and the weights of its corners.

    Every triangle becomes points closer than a pixel.

    Parameters
    ----------
    flat: (vertex, 2) in pixels. depth: (vertex,) towards the eye.
    """
    spans = np.ptp(flat[faces], axis=1).max(1)
    steps = np.maximum(2, np.ceil(spans * 1.5).astype(int) + 1)
    near = (depth - depth.min()) * (65535 / np.ptp(depth))  # 16 bits: a few micrometres, and sorted by radix
    grids, found = [], []
    before = 0
    for n in np.unique(steps):
        own = np.flatnonzero(steps == n)
        a, b = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n), indexing="ij")
        keep = a + b <= 1 + 1e-9
        grid = np.stack([1 - a[keep] - b[keep], a[keep], b[keep]], 1)
        corners = faces[own]
        x, y = (np.floor(grid @ flat[corners, k].T).astype(np.int64) for k in (0, 1))
        rows = np.arange(before, before + len(grid))
        parts = (y * shape[1] + x, (grid @ near[corners].T).astype(np.uint16), rows[:, None], own)
        found.append([part.ravel() for part in np.broadcast_arrays(*parts)])
        grids.append(grid)
        before += len(grid)
    pixel, close, row, triangle = (np.concatenate(part) for part in zip(*found))
    order = np.argsort(close, kind="stable")
    nearest = np.full(shape[0] * shape[1], -1)
    nearest[pixel[order]] = order  # of several, the last stays: the nearest to the eye
    pixels = np.flatnonzero(nearest >= 0)
    best = nearest[pixels]
    return pixels, triangle[best], np.concatenate(grids)[row[best]]


def _reach(pixels: Array, corners: Array, shape: tuple[int, int], n: int) -> Array:
    """`View.reach` of n corners, from the pixels that show something and the corners (pixel, 3) of what they show."""
    found = np.tile(np.array([shape[0], -1, shape[1], -1]), (n, 1))
    for k, at in enumerate(np.divmod(pixels, shape[1])):
        for own in corners.T:
            np.minimum.at(found[:, 2 * k], own, at)
            np.maximum.at(found[:, 2 * k + 1], own, at)
    return found


def _means(picture: Array) -> Array:
    """Samples (row, column, ...) as pixels: the mean of each one's."""
    parts = (picture[i::SAMPLES, j::SAMPLES] for i in range(SAMPLES) for j in range(SAMPLES))
    return np.asarray(sum(parts) / SAMPLES**2)


def _at(corners: Array, weights: Array, values: Array) -> Array:
    """Values (vertex, ...) where triangles with these corners (..., 3) are seen, by the corners' weights."""
    parts = ((values[corners[..., k]].T * weights[..., k].T).T for k in range(3))
    return np.asarray(sum(parts))


@lru_cache(maxsize=8)
def _links(faces: bytes, n: int) -> Any:
    triangles = np.frombuffer(faces, np.int64).reshape(-1, 3)
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    links = sparse.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (n, n))
    links.data[:] = 1
    return links
