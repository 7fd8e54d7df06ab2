"""Distance along a folded surface.

Shortest ways over a triangle mesh run along its edges and, where two triangles meet, straight across both, unfolded
flat. With these diagonals a way is at most 3.5 % too long on an even mesh (15 % along edges alone).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def surface_graph(points: NDArray[np.float64], faces: NDArray[np.int64]) -> Any:
    """Ways from corner to corner, a sparse symmetric (vertex, vertex) matrix in the unit of the points."""
    from scipy.sparse import coo_array

    corner, a, b = (np.concatenate([faces[:, (k + j) % 3] for j in range(3)]) for k in range(3))
    edges = np.sort(np.stack([a, b], 1), axis=1)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    edges, corner = edges[order], corner[order]
    shared = np.flatnonzero((edges[1:] == edges[:-1]).all(1))
    across = _unfolded(points, edges[shared], corner[shared], corner[shared + 1])
    first = np.r_[True, (edges[1:] != edges[:-1]).any(1)]
    pairs = np.sort(np.concatenate([edges[first], np.stack(across[:2], 1)]), axis=1)
    straight = np.linalg.norm(points[edges[first, 0]] - points[edges[first, 1]], axis=1)
    lengths = np.concatenate([straight, across[2]])
    # about a corner of three or four triangles two ways join one pair: the shorter is it, and a sparse matrix would add them
    order = np.lexsort((lengths, pairs[:, 1], pairs[:, 0]))
    pairs, lengths = pairs[order], lengths[order]
    shortest = np.r_[True, (pairs[1:] != pairs[:-1]).any(1)]
    (i, j), lengths = pairs[shortest].T, lengths[shortest]
    n = len(points)
    return coo_array((np.r_[lengths, lengths], (np.r_[i, j], np.r_[j, i])), shape=(n, n)).tocsr()


def geodesic(graph: Any, start: int, limit: float = np.inf) -> NDArray[np.float64]:
    """(vertex,) distance from one corner; infinite beyond ``limit``."""
    from scipy.sparse.csgraph import dijkstra

    return np.asarray(dijkstra(graph, indices=start, limit=limit))


def _unfolded(
    points: NDArray[np.float64], edge: NDArray[np.int64], one: NDArray[np.int64], two: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The diagonals between the far corners of two triangles that share an edge, where they cross that edge."""
    a, b = points[edge[:, 0]], points[edge[:, 1]]
    length = np.linalg.norm(b - a, axis=1)
    along = (b - a) / length[:, None]

    def flat(corner: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x = np.einsum("ij,ij->i", corner - a, along)
        return x, np.linalg.norm(corner - a - x[:, None] * along, axis=1)

    (x1, y1), (x2, y2) = flat(points[one]), flat(points[two])
    cross = x1 + (x2 - x1) * y1 / (y1 + y2)
    fit = (cross > 0) & (cross < length)
    return one[fit], two[fit], np.hypot(x2 - x1, y1 + y2)[fit]
