"""The template head fitted to a person whose own MRI is not there: moved, turned and scaled alike in all directions.

Fiducials come first, then the digitised points of the head's shape, by iterated closest points (Besl & McKay 1992), each
time with the best similarity in closed form (Umeyama 1991).
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from heschl.brain.anatomy import Anatomy, need_mne, quiet, template
from heschl.brain.bem import CONDUCTIVITY
from heschl.files import cache_folder
from heschl.types import HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDS = 200
_FIDUCIALS = 5.0  # weight of each, a digitised point's being 1
_LEAST = 10  # points of the head's shape
_SIZES = (0.5, 1.5)  # of the template: a newborn's head is 0.6 of it
_FAR = 0.010  # m: points so far off the scalp after a first fit are not of the head's shape


class Fit(NamedTuple):
    """How the template was fitted.

    anatomy: the head as fitted. scale: of the template, uniform. error: root mean square distance of the points from
    the scalp, metres. points: digitised points used. left_out: those further than 10 mm from the scalp.
    """

    anatomy: Anatomy
    scale: float
    error: float
    points: int
    left_out: int


def fit_template(info: Any, scaled: bool = True) -> Fit:
    """The template head for a person's sensors.

    Parameters
    ----------
    info: an `mne.Info` with three fiducials and digitised points in the head's frame.
    scaled: one factor for all directions; False keeps fsaverage's size.

    Raises
    ------
    HeschlError: the info has no fiducials or no points of the head, or the template would have to be of no head's size.
    """
    mne = need_mne("coregistration")
    known = {1: "LPA", 2: "nasion", 3: "RPA"}
    dig = [point for point in info["dig"] or [] if int(point["coord_frame"]) == 4]  # FIFFV_COORD_HEAD
    cardinal = {int(point["ident"]): point["r"] for point in dig if int(point["kind"]) == 1}
    if set(cardinal) != set(known):
        raise HeschlError("the sensors come without nasion and ear points: the head cannot be fitted")
    shape = np.array([point["r"] for point in dig if int(point["kind"]) != 1], dtype=float).reshape(-1, 3)
    if len(shape) < _LEAST:
        raise HeschlError(f"{len(shape)} points of the head are digitised: ten at least are needed to fit it")
    head = template()
    with quiet():
        folder = head.subjects_dir / head.subject / "bem"
        fiducials, _ = mne.io.read_fiducials(folder / "fsaverage-fiducials.fif")
        scalp = mne.read_bem_surfaces(folder / "fsaverage-head.fif")[0]
    there = {int(point["ident"]): point["r"] for point in fiducials}
    ends = np.array([cardinal[k] for k in known], dtype=float)
    targets = np.array([there[k] for k in known], dtype=float)
    tree = cKDTree(_dense(scalp["rr"], scalp["tris"]))
    way = similarity(ends, targets, scaled=scaled)
    used = np.ones(len(shape), dtype=bool)
    for drop in (False, True):
        if drop:
            used = tree.query(_through(way, shape))[0] <= _FAR
        way = _closest(way, shape[used], ends, targets, tree, scaled)
    scale, turn, shift = way
    if used.sum() < _LEAST or not _SIZES[0] <= 1 / scale <= _SIZES[1]:
        raise HeschlError(
            f"the template fits {int(used.sum())} of {len(shape)} points when it is {1 / scale:.3g} times as large: these "
            "are of no head in metres; mend the digitised points or the fiducials"
        )
    error = float(np.sqrt(np.square(tree.query(_through(way, shape[used]))[0]).mean()))
    # q = scale turn p + shift leads to the template; in a template 1 / scale as large, nobody is stretched
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = turn, shift / scale
    trans = mne.Transform("head", "mri", rigid)
    size = 1 / scale
    return Fit(scaled_template(size, trans), size, error * size, int(used.sum()), int((~used).sum()))


def similarity(
    points: NDArray[np.float64],
    targets: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    scaled: bool = True,
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """(scale, turn (3, 3), shift (3,)) that bring points (n, 3) nearest to their targets: scale turn p + shift."""
    w = np.ones(len(points)) if weights is None else weights
    w = w / w.sum()
    middle, there = w @ points, w @ targets
    p, q = points - middle, targets - there
    u, d, vt = np.linalg.svd((q * w[:, None]).T @ p)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])  # a turn, never a mirror
    turn = (u * flip) @ vt
    scale = float((d * flip).sum() / (w @ np.square(p).sum(1))) if scaled else 1.0
    return scale, turn, there - scale * turn @ middle


def _closest(
    way: tuple[float, NDArray[np.float64], NDArray[np.float64]],
    shape: NDArray[np.float64],
    ends: NDArray[np.float64],
    targets: NDArray[np.float64],
    tree: Any,
    scaled: bool,
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """The similarity after iterated closest points on the scalp, with the fiducials as anchors."""
    points = np.concatenate([ends, shape])
    weights = np.r_[np.full(len(ends), _FIDUCIALS), np.ones(len(shape))]
    for _ in range(_ROUNDS):
        nearest = tree.data[tree.query(_through(way, shape))[1]]
        after = similarity(points, np.concatenate([targets, nearest]), weights, scaled)
        step = np.abs(_through(after, points) - _through(way, points)).max()
        way = after
        if step < 1e-6:
            break
    return way


def _through(
    way: tuple[float, NDArray[np.float64], NDArray[np.float64]], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    scale, turn, shift = way
    return scale * points @ turn.T + shift


def _dense(points: NDArray[np.float64], faces: NDArray[np.int64], n: int = 6) -> NDArray[np.float64]:
    """Points on a surface, about 1 mm apart where its edges are 6 mm."""
    weights = np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]) / n
    return np.asarray(np.einsum("wk,fki->fwi", weights, points[faces]).reshape(-1, 3))


def scaled_template(
    scale: float = 1.0,
    trans: Any = None,
    conductivity: tuple[float, float, float] = CONDUCTIVITY,
    spacing: str = "ico4",
) -> Anatomy:
    """The template, larger or smaller, turned, with other conductivities, or with sources elsewhere.

    Parameters
    ----------
    scale: 1 is fsaverage's own size.
    trans: head -> MRI; None is the template's own.
    conductivity: brain, skull and scalp, S/m.
    spacing: "ico4" (5,124), "oct6" (8,196, elsewhere) or another of mne's.

    Its positions are MNI305 still: those of the template before it was scaled.
    """
    mne = need_mne("a head of another size")
    head = template()
    trans = head.trans if trans is None else trans
    facts = repr((head.key, round(scale, 9), conductivity, spacing)).encode()
    folder = cache_folder() / "brain" / f"scaled-{hashlib.sha256(facts).hexdigest()[:16]}"
    if not folder.is_dir():
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        temporary.mkdir(parents=True)
        try:
            _write_scaled(temporary, head, scale, conductivity, spacing)
            temporary.replace(folder)
        except OSError:
            if not folder.is_dir():  # not another process that was first
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    with quiet():
        src = mne.read_source_spaces(folder / "fsaverage-src.fif")
    key = hashlib.sha256(facts + np.ascontiguousarray(trans["trans"]).tobytes()).hexdigest()[:16]
    return Anatomy(head.subject, head.subjects_dir, trans, src, folder / "bem-sol.fif", key, scale)


def _write_scaled(
    folder: Path, head: Anatomy, scale: float, conductivity: tuple[float, float, float], spacing: str
) -> None:
    import mne

    with quiet():
        model = mne.make_bem_model(
            head.subject, ico=None, conductivity=conductivity, subjects_dir=head.subjects_dir
        )
        for surface in model:
            for key, power in (("rr", 1), ("tri_cent", 1), ("tri_area", 2)):  # as far as mne has them yet
                if key in surface:
                    surface[key] = surface[key] * scale**power
        mne.write_bem_solution(folder / "bem-sol.fif", mne.make_bem_solution(model))
        src = mne.setup_source_space(
            head.subject, spacing=spacing, surface="white", subjects_dir=head.subjects_dir, add_dist=False
        )
        for one in src:
            one["rr"] = one["rr"] * scale
        mne.write_source_spaces(folder / "fsaverage-src.fif", src)


def moved(trans: Any, shift: NDArray[np.float64], turn: NDArray[np.float64]) -> Any:
    """A head -> MRI transform with an error of coregistration: shifted (3,) metres and turned about (3,) radians,
    in the head's frame."""
    import mne
    from scipy.spatial.transform import Rotation

    step = np.eye(4)
    step[:3, :3], step[:3, 3] = Rotation.from_rotvec(turn).as_matrix(), shift
    return mne.Transform("head", "mri", np.asarray(trans["trans"]) @ step)
