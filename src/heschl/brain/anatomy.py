"""Whose head: cortex, sources, skull and scalp, of the template that ships with mne and nilearn or of one's own subject.

The template is fsaverage with fsaverage5's surfaces, laid out once as a FreeSurfer subject in the cache, from the files
of the two wheels alone: no download. Its 10,242 corners a hemisphere are the first of fsaverage's own, and their first
2,562 are its ico4: 5,124 sources, numbered as everybody's fsaverage numbers them. Its surface coordinates are MNI305.
A subject of one's own (a FreeSurfer folder, its BEM, its trans) is the same thing with other files.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shutil
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heschl.brain.bem import CONDUCTIVITY, bem_model, coarser, layers
from heschl.files import cache_folder
from heschl.types import HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEMISPHERES = ("left", "right")
SPACE = "MNI305"
# MNI305 to MNI152, both in mm (FreeSurfer's CoordinateSystems page, "8b").
MNI305_TO_152 = np.array(
    [
        [0.9975, -0.0073, 0.0176, -0.0429],
        [0.0146, 1.0009, -0.0024, 1.5496],
        [-0.0130, -0.0093, 0.9971, 1.1840],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
_SPACES = ("MNI305", "MNI152")
_HEAD = 4  # FIFFV_COORD_HEAD
_ICO4 = 2562  # corners of a hemisphere, the first of the mesh, that are sources
_LAYOUT = 2  # raise it when what is written to the cache changes


class Mesh(NamedTuple):
    """One hemisphere's surface: corners (vertex, 3) in metres, surface coordinates, and triangles (face, 3)."""

    points: NDArray[np.float64]
    faces: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A head: a FreeSurfer subject with a BEM and the transform between head and MRI.

    Attributes
    ----------
    subject, subjects_dir: the FreeSurfer folder.
    trans: head -> MRI, an `mne.Transform`.
    src: an `mne.SourceSpaces` on the white surface, left and right hemisphere, MRI frame.
    bem: file of a BEM solution.
    key: hash of all this, by which lead fields are cached.
    scale: of the subject's surfaces in ``src`` and ``bem``, 1 unless it was fitted to another head.
    """

    subject: str
    subjects_dir: Path
    trans: Any
    src: Any
    bem: Path
    key: str
    scale: float = 1.0

    @functools.cached_property
    def vertices(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which corners of the left and right mesh are sources."""
        return tuple(np.asarray(one["vertno"], dtype=np.int64) for one in self.src)  # type: ignore[return-value]

    @functools.cached_property
    def sources(self) -> NDArray[np.float64]:
        """(source, 3) metres in surface coordinates: left hemisphere first."""
        return np.concatenate([one["rr"][one["vertno"]] for one in self.src])

    @functools.cached_property
    def normals(self) -> NDArray[np.float64]:
        """(source, 3) unit vectors out of the cortex, at the sources."""
        return np.concatenate([one["nn"][one["vertno"]] for one in self.src])

    @functools.cached_property
    def positions(self) -> NDArray[np.float64]:
        """(source, 3) metres in MNI305."""
        return _apply(_to_mni305(self), self.sources / self.scale)

    def mesh(self, hemisphere: str, kind: str = "white") -> Mesh:
        """One surface ("white", "pial", "inflated", "sphere", "sphere.reg") of the "left" or "right" hemisphere."""
        return _mesh(self.subjects_dir / self.subject / "surf" / f"{hemisphere[0]}h.{kind}")


def template() -> Anatomy:
    """The template head, made once (seconds) and kept in the cache.

    Raises
    ------
    HeschlError: mne or nilearn is missing.
    """
    return _opened_template(str(cache_folder()))


@functools.lru_cache(maxsize=2)
def _opened_template(cache: str) -> Anatomy:
    need_mne("the template brain")
    files = _wheel_files()
    digest = hashlib.sha256(repr((_LAYOUT, CONDUCTIVITY)).encode())
    for name in sorted(files):
        digest.update(name.encode() + files[name].read_bytes())
    folder = Path(cache) / "brain" / f"fsaverage-{digest.hexdigest()[:16]}"
    if not folder.is_dir():
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            _write_template(temporary / "fsaverage", files)
            with contextlib.suppress(OSError):  # another process was first
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    bem = folder / "fsaverage" / "bem"
    head = subject_anatomy(
        folder,
        "fsaverage",
        bem=bem / "fsaverage-bem-sol.fif",
        trans=bem / "fsaverage-trans.fif",
        src=bem / "fsaverage-ico-4-src.fif",
    )
    return replace(head, key=digest.hexdigest()[:16])  # the same wherever and whenever it was laid out


def subject_anatomy(
    subjects_dir: Path | str,
    subject: str,
    bem: Path | str,
    trans: Path | str,
    src: Path | str | None = None,
) -> Anatomy:
    """A subject of one's own.

    Parameters
    ----------
    subjects_dir, subject: the FreeSurfer folder, with surf/?h.white, ?h.sphere and ?h.sphere.reg.
    bem: a BEM solution (mne.write_bem_solution), three layers for EEG.
    trans: the transform between head and MRI (a -trans.fif).
    src: a surface source space; None makes ico4 on the white surface.

    Raises
    ------
    HeschlError: a file is missing or holds something else.
    """
    mne = need_mne("a subject's anatomy")
    subjects_dir, bem, trans = (
        Path(subjects_dir).expanduser(),
        Path(bem).expanduser(),
        Path(trans).expanduser(),
    )
    for path, what in (
        (subjects_dir / subject / "surf" / "lh.white", "the subject's white surface"),
        (bem, "its BEM solution"),
        (trans, "its transform between head and MRI"),
    ):
        if not path.exists():
            raise HeschlError(f"{path}, {what}, is not there: check the subject's folder and name")
    with quiet():
        try:
            transform = mne.read_trans(trans)
            if transform["from"] != _HEAD:  # either direction is found in the wild
                transform = mne.transforms.invert_transform(transform)
            if src is None:
                space = mne.setup_source_space(
                    subject, spacing="ico4", surface="white", subjects_dir=subjects_dir, add_dist=False
                )
            else:
                space = mne.read_source_spaces(src)
        except (ValueError, OSError, RuntimeError) as error:
            raise HeschlError(f"the anatomy of {subject} could not be read: {error}") from None
    if len(space) != 2 or any(one["type"] != "surf" for one in space):
        raise HeschlError(f"the source space of {subject} is not of two cortical surfaces: make one with mne")
    digest = hashlib.sha256(bem.read_bytes())
    for part in (transform["trans"], *(one[key] for one in space for key in ("rr", "nn", "vertno"))):
        digest.update(np.ascontiguousarray(part).tobytes())
    return Anatomy(subject, subjects_dir, transform, space, bem, digest.hexdigest()[:16])


def to_mni305(points: NDArray[np.float64], space: str) -> NDArray[np.float64]:
    """(..., 3) metres in "MNI305" or "MNI152" -> metres in MNI305."""
    if space not in _SPACES:
        raise HeschlError(f"the space '{space}' is not known: choose MNI305 or MNI152")
    return np.asarray(points, float) if space == SPACE else _apply(np.linalg.inv(_METRES), points)


def to_mni152(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) metres in MNI305 -> metres in MNI152."""
    return _apply(_METRES, points)


def need_mne(what: str) -> Any:
    """mne, or one sentence that says how to get it."""
    for name in ("mne", "nilearn", "nibabel"):
        if find_spec(name) is None:
            raise HeschlError(f"{what} needs {name}: pip install 'heschl[brain]'")
    import mne

    return mne


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """mne keeps its log to itself, and its warnings about names of files."""
    import mne

    with mne.utils.use_log_level("error"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This filename")
        yield


# --- the template, file by file --------------------------------------------------------------------------

_METRES = MNI305_TO_152.copy()
_METRES[:3, 3] /= 1000


def _wheel_files() -> dict[str, Path]:
    """The files of the two wheels that the template is made of."""

    def home(package: str) -> Path:
        spec = find_spec(package)
        assert spec is not None and spec.submodule_search_locations
        return Path(next(iter(spec.submodule_search_locations)))

    meshes = home("nilearn") / "datasets" / "data" / "fsaverage5"
    kinds = {
        "white": "white",
        "pial": "pial",
        "inflated": "infl",
        "sphere": "sphere",
        "sulc": "sulc",
        "curv": "curv",
    }
    files = {
        f"{side[0]}h.{kind}": meshes / f"{name}_{side}.gii.gz"
        for kind, name in kinds.items()
        for side in HEMISPHERES
    }
    head = home("mne") / "data" / "fsaverage"
    for name in ("head", "inner_skull-bem", "fiducials", "trans"):
        files[name] = head / f"fsaverage-{name}.fif"
    for path in files.values():
        if not path.exists():
            raise HeschlError(
                f"{path} is not there: this version of mne or nilearn does not bring the template brain; "
                "install those of constraints.txt"
            )
    return files


def _write_template(folder: Path, files: dict[str, Path]) -> None:
    """A FreeSurfer subject with BEM, source space, fiducials and trans."""
    import mne
    from nibabel.freesurfer.io import write_morph_data
    from nibabel.gifti.gifti import GiftiImage

    write_curv: Any = write_morph_data  # nibabel is not typed
    read_gifti: Any = GiftiImage.from_filename

    (folder / "surf").mkdir(parents=True)
    (folder / "bem").mkdir()
    with quiet():
        for name, path in files.items():
            if "h." not in name[:3]:
                continue
            arrays = [part.data for part in read_gifti(path).darrays]
            if len(arrays) == 2:
                mne.write_surface(folder / "surf" / name, *arrays)
                if name.endswith(".sphere"):
                    mne.write_surface(folder / "surf" / f"{name}.reg", *arrays)
            else:
                write_curv(folder / "surf" / name, arrays[0])
        for name in ("head", "fiducials", "trans"):
            shutil.copy(files[name], folder / "bem" / f"fsaverage-{name}.fif")
        skull, scalp = (mne.read_bem_surfaces(files[name])[0] for name in ("inner_skull-bem", "head"))
        surfaces, faces = layers((skull["rr"], skull["tris"]), (scalp["rr"], scalp["tris"]))
        for name, points in surfaces.items():
            mne.write_surface(folder / "bem" / f"{name}.surf", points * 1000, faces)
        model = bem_model(surfaces, faces)
        mne.write_bem_surfaces(folder / "bem" / "fsaverage-bem.fif", model)
        mne.write_bem_solution(folder / "bem" / "fsaverage-bem-sol.fif", mne.make_bem_solution(model))
        src = mne.setup_source_space(
            "fsaverage", spacing="all", surface="white", subjects_dir=folder.parent, add_dist=False
        )
        for one in src:
            one["vertno"], one["nuse"] = np.arange(_ICO4), _ICO4
            one["inuse"][_ICO4:] = 0
            one["use_tris"] = coarser(one["tris"], _ICO4)
            one["nuse_tri"] = len(one["use_tris"])
        mne.write_source_spaces(folder / "bem" / "fsaverage-ico-4-src.fif", src)


@functools.lru_cache(maxsize=32)
def _mesh(path: Path) -> Mesh:
    import mne

    if not path.exists():
        raise HeschlError(f"{path} is not there: the subject's FreeSurfer folder lacks this surface")
    points, faces = mne.read_surface(path)
    points = points / 1000
    for part in (points, faces):
        part.flags.writeable = False
    return Mesh(points, faces.astype(np.int64))


def _to_mni305(anatomy: Anatomy) -> NDArray[np.float64]:
    """Surface coordinates -> MNI305, (4, 4) in metres. On fsaverage they are one."""
    if anatomy.subject == "fsaverage":
        return np.eye(4)
    import mne

    folder = anatomy.subjects_dir / anatomy.subject
    if not (folder / "mri" / "transforms" / "talairach.xfm").exists():
        raise HeschlError(
            f"{folder} has no mri/transforms/talairach.xfm: it tells where the subject lies in MNI305"
        )
    with quiet():
        points = np.concatenate([np.zeros((1, 3)), np.eye(3)])  # metres
        trans = mne.Transform("mri", "head", np.eye(4))
        there = mne.head_to_mni(points, anatomy.subject, trans, subjects_dir=anatomy.subjects_dir) / 1000
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (there[1:] - there[0]).T, there[0]
    return matrix


def _apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    points = np.asarray(points, dtype=float)
    return points @ matrix[:3, :3].T + matrix[:3, 3]
