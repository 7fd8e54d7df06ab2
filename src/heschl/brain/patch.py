"""The patches of sources that areas are on a head, by distance along the cortex or by a label."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.brain.anatomy import HEMISPHERES, Anatomy, template, to_mni305
from heschl.brain.areas import Area
from heschl.brain.geodesic import geodesic, surface_graph
from heschl.files import cache_folder, replacing
from heschl.types import HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTSIDE = 0.015  # m: a centre so far from its hemisphere's cortex lies outside the brain
_MADE = 1  # raise it when patches change
_FLAT = 0.05  # a patch that keeps less than this of its moment has no direction


@dataclass(frozen=True, eq=False)
class Patch:
    """An area on a head.

    Attributes
    ----------
    sources: indices into the anatomy's sources.
    kept: share of the moment that is left when all point out of the cortex together (the rest cancels in its folds).
    direction: (3,) of what is left, unit, surface coordinates.
    """

    area: Area
    sources: NDArray[np.int64]
    kept: float
    direction: NDArray[np.float64]


def patch(area: Area, anatomy: Anatomy | None = None) -> Patch:
    """An area's sources on a head.

    Raises
    ------
    HeschlError: the centre lies outside the brain, or no source lies in the patch: the area is named.
    """
    anatomy = anatomy or template()
    sources = _label_sources(area, anatomy) if area.label is not None else _round_sources(area, anatomy)
    if not len(sources):
        spacing = 1000 * float(np.median(_spacing(anatomy)))
        raise HeschlError(
            f"area {area.name} holds none of {anatomy.subject}'s sources, which lie {spacing:.0f} mm apart: "
            "widen its radius"
        )
    total = anatomy.normals[sources].sum(0)
    kept = float(np.linalg.norm(total) / len(sources))
    if kept < _FLAT:
        raise HeschlError(
            f"area {area.name} folds so that {1 - kept:.0%} of its moment cancels: it has no direction; "
            "choose another radius"
        )
    return Patch(area, sources, kept, total / np.linalg.norm(total))


@functools.lru_cache(maxsize=8)
def _graph(subjects_dir: Path, subject: str, hemisphere: str) -> Any:
    from heschl.brain.anatomy import _mesh

    mesh = _mesh(subjects_dir / subject / "surf" / f"{hemisphere[0]}h.white")
    return surface_graph(mesh.points, mesh.faces)


def centre_vertex(area: Area) -> int:
    """The corner of the template's white mesh next to an area's centre."""
    head = template()
    points = head.mesh(area.hemisphere).points
    far = np.linalg.norm(points - to_mni305(np.array(area.centre), area.space), axis=1)
    vertex = int(far.argmin())
    if far[vertex] > OUTSIDE:
        raise HeschlError(
            f"the centre of area {area.name} lies {far[vertex] * 1000:.0f} mm from the {area.hemisphere} cortex, "
            "outside the brain: give mm in its space, left negative"
        )
    return vertex


def _round_sources(area: Area, anatomy: Anatomy) -> NDArray[np.int64]:
    """Sources of the head that lie within the area's radius on the template; those of the template itself are kept."""
    head = template()
    if anatomy is head:
        facts = repr((_MADE, head.key, area.centre, area.space, area.radius, area.hemisphere))
        kept = cache_folder() / "brain" / f"patch-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.npy"
        with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or damaged: it is made anew
            return np.asarray(np.load(kept))
        sources = _measured_sources(area, head)
        with replacing(kept) as temporary, temporary.open("wb") as file:
            np.save(file, sources)
        return sources
    return _measured_sources(area, anatomy)


def _measured_sources(area: Area, anatomy: Anatomy) -> NDArray[np.int64]:
    head = template()
    side = HEMISPHERES.index(area.hemisphere)
    graph = _graph(head.subjects_dir, head.subject, area.hemisphere)
    within = geodesic(graph, centre_vertex(area), area.radius * (1 + 1e-9)) <= area.radius * (1 + 1e-9)
    return _offset(anatomy, side) + np.flatnonzero(within[_on_template(anatomy, side)])


def _on_template(anatomy: Anatomy, side: int) -> NDArray[np.int64]:
    """The template's corner for each source of one hemisphere of a head, by their registered spheres."""
    if anatomy is template():
        return anatomy.vertices[side]
    from scipy.spatial import cKDTree

    own = anatomy.mesh(HEMISPHERES[side], "sphere.reg").points[anatomy.vertices[side]]
    there = template().mesh(HEMISPHERES[side], "sphere.reg").points
    unit = [points / np.linalg.norm(points, axis=1, keepdims=True) for points in (there, own)]
    return np.asarray(cKDTree(unit[0]).query(unit[1])[1])


def _label_sources(area: Area, anatomy: Anatomy) -> NDArray[np.int64]:
    label = area.label
    if getattr(label, "hemi", None) not in ("lh", "rh"):
        raise HeschlError(
            f"the label of area {area.name} is not of one hemisphere: give an mne.Label of lh or rh"
        )
    side = ("lh", "rh").index(label.hemi)
    if label.subject in (None, anatomy.subject):
        within = np.isin(anatomy.vertices[side], label.vertices)
    elif label.subject == "fsaverage":
        within = np.isin(_on_template(anatomy, side), label.vertices)
    else:
        raise HeschlError(
            f"the label of area {area.name} is of subject {label.subject}, and the head is {anatomy.subject}'s: "
            "morph it first"
        )
    return _offset(anatomy, side) + np.flatnonzero(within)


def _offset(anatomy: Anatomy, side: int) -> int:
    return len(anatomy.vertices[0]) if side else 0


def _spacing(anatomy: Anatomy) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(anatomy.sources).query(anatomy.sources[::20], k=2)[0][:, 1])
