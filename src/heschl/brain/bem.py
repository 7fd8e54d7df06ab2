"""The template head's three layers: brain, skull and scalp as seen from within, 642 points each.

From one point inside, 642 directions of an icosphere are followed to the inner skull and to the scalp, both of which
ship with mne. The outer skull, which does not, is put between them: inner skull + 0.45 of the gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.types import HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTER_SKULL = 0.45  # of the gap from inner skull to scalp
CONDUCTIVITY = (0.3, 0.006, 0.3)  # brain, skull, scalp: S/m (MNE's own values)


def icosphere(levels: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Unit directions (10 * 4 ** levels + 2, 3) and triangles (20 * 4 ** levels, 3), turned outwards."""
    golden = (1 + 5**0.5) / 2
    points = [(a, b * golden, 0) for a in (-1, 1) for b in (-1, 1)]
    corners = np.array([np.roll(p, k) for k in range(3) for p in points], dtype=float)
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    from scipy.spatial import ConvexHull

    faces = outward(corners, ConvexHull(corners).simplices.astype(np.int64))
    for _ in range(levels):
        edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        unique, where = np.unique(edges, axis=0, return_inverse=True)
        a, b, c = (len(corners) + where.reshape(3, -1)).astype(np.int64)
        middles = corners[unique].mean(1)
        corners = np.concatenate([corners, middles / np.linalg.norm(middles, axis=1, keepdims=True)])
        i, j, k = faces.T
        faces = np.concatenate([np.stack(t, 1) for t in ((i, a, c), (a, j, b), (c, b, k), (a, b, c))])
    return corners, faces


def outward(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Triangles whose corners run counter-clockwise, seen from outside a surface round the origin."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), a) < 0
    turned = faces.copy()
    turned[inward] = turned[inward][:, ::-1]
    return turned


def ray_distances(
    centre: NDArray[np.float64],
    directions: NDArray[np.float64],
    points: NDArray[np.float64],
    faces: NDArray[np.int64],
) -> NDArray[np.float64]:
    """How far from ``centre`` each unit direction leaves a surface for the last time, (direction,); NaN where it
    never meets it. (Moeller & Trumbore 1997.)"""
    a = points[faces[:, 0]] - centre
    one, two = points[faces[:, 1]] - centre - a, points[faces[:, 2]] - centre - a
    across = np.cross(-a, one)  # (s x e1), the same for every direction
    height = np.einsum("ij,ij->i", across, two)
    found = np.full(len(directions), np.nan)
    for k, direction in enumerate(directions):
        p = np.cross(direction, two)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1 / np.einsum("ij,ij->i", one, p)
            u = -np.einsum("ij,ij->i", a, p) * scale
            v = across @ direction * scale
            distance = height * scale
            hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (distance > 0)
        if hit.any():
            found[k] = distance[hit].max()
    return found


def inside(
    points: NDArray[np.float64], corners: NDArray[np.float64], faces: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each point lies within a closed surface: its solid angle there is 4 pi, not 0
    (van Oosterom & Strackee 1983)."""
    within = np.zeros(len(points), dtype=bool)
    for first in range(0, len(points), 64):
        part = points[first : first + 64, None]
        a, b, c = (corners[faces[:, k]][None] - part for k in range(3))
        la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
        triple = np.einsum("pfi,pfi->pf", a, np.cross(b, c))
        below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
        within[first : first + 64] = np.abs(2 * np.arctan2(triple, below).sum(1)) > 2 * np.pi
    return within


def layers(
    skull: tuple[NDArray[np.float64], NDArray[np.int64]], scalp: tuple[NDArray[np.float64], NDArray[np.int64]]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    """The three surfaces by name, (642, 3) each in the unit and frame given, and the triangles that they share."""
    directions, faces = icosphere(3)
    centre = (skull[0].min(0) + skull[0].max(0)) / 2
    inner = ray_distances(centre, directions, *skull)
    skin = ray_distances(centre, directions, *scalp)
    if not (np.isfinite(inner) & np.isfinite(skin) & (skin > inner)).all():
        raise HeschlError("the inner skull does not lie within the scalp: the anatomy's surfaces do not fit")
    distances = {
        "inner_skull": inner,
        "outer_skull": inner + OUTER_SKULL * (skin - inner),
        "outer_skin": skin,
    }
    return {name: centre + far[:, None] * directions for name, far in distances.items()}, faces


def bem_model(surfaces: dict[str, NDArray[np.float64]], faces: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The three surfaces of `layers`, metres in the MRI's frame, as `mne.make_bem_solution` takes them.

    `mne.make_bem_model` gives the same, and imports scikit-learn (seconds) to tell how thick the layers are.
    """
    from mne.surface import complete_surface_info

    ids = {"outer_skin": 4, "outer_skull": 3, "inner_skull": 1}  # FIFFV_BEM_SURF_ID_*, outermost first
    sigma = dict(zip(("inner_skull", "outer_skull", "outer_skin"), CONDUCTIVITY))
    return [
        complete_surface_info(
            {
                "id": ids[name],
                "sigma": sigma[name],
                "coord_frame": 5,  # FIFFV_COORD_MRI
                "rr": surfaces[name],
                "tris": faces,
                "np": len(surfaces[name]),
                "ntri": len(faces),
            }
        )
        for name in ids
    ]


def coarser(faces: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """The triangles (face, 3) of which ``faces`` are the quarters: corners from ``n`` on are middles of their edges."""
    corner = faces[(faces < n).any(1)]  # of each quarter with one old corner: that, and the middles beside it
    turn = np.argmax(corner < n, axis=1)
    old, one, two = (corner[np.arange(len(corner)), (turn + k) % 3] for k in range(3))
    beside = {frozenset(pair): int(k) for k, *pair in zip(old.tolist(), one.tolist(), two.tolist())}
    middle = faces[(faces >= n).all(1)]
    return np.array(
        [
            [beside[frozenset((a, c))], beside[frozenset((a, b))], beside[frozenset((b, c))]]
            for a, b, c in middle.tolist()
        ]
    )
