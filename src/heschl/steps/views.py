"""The template's cortex, drawn once and kept in the cache: what every picture of a brain begins with."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from heschl.brain.anatomy import HEMISPHERES, Anatomy, template
from heschl.figures.brain import LOOKS, PIXELS, Drawn, Hemisphere, draw
from heschl.figures.cortex import LIGHT, SAMPLES, Ground, View
from heschl.files import cache_folder, replacing

_MADE = 5  # raise it when what is drawn changes


def drawn_brain(anatomy: Anatomy | None = None, pixels: int = PIXELS) -> Drawn:
    """Both hemispheres, half way between pial and inflated, so that what lies in a sulcus is seen, looked at four times."""
    anatomy = anatomy or template()
    return _drawn(anatomy, pixels, str(cache_folder()))


@functools.lru_cache(maxsize=2)
def _drawn(anatomy: Anatomy, pixels: int, cache: str) -> Drawn:
    files = [
        anatomy.subjects_dir / anatomy.subject / "surf" / f"{side[0]}h.{kind}"
        for side in HEMISPHERES
        for kind in ("pial", "inflated", "sulc")
    ]
    digest = hashlib.sha256(repr((_MADE, LOOKS, SAMPLES, LIGHT.tolist(), pixels)).encode())
    for path in files:
        digest.update(path.read_bytes())
    for vertices in anatomy.vertices:
        digest.update(vertices.tobytes())
    path = Path(cache) / "brain" / f"views-{digest.hexdigest()[:16]}.npz"
    # not there, or damaged: drawn anew
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return _read(path)
    left, right = (_half(anatomy, side) for side in HEMISPHERES)
    _write(path, draw(left, right, pixels))
    return _read(path)  # as it is kept, so that the first picture is as the next


def _half(anatomy: Anatomy, side: str) -> Hemisphere:
    from nibabel.freesurfer import io

    pial, inflated = (anatomy.mesh(side, kind).points for kind in ("pial", "inflated"))
    pial, inflated = pial - pial.mean(0), inflated - inflated.mean(0)
    size = [float(np.linalg.norm(points, axis=1).mean()) for points in (pial, inflated)]
    read: Any = io.read_morph_data
    sulci = read(str(anatomy.subjects_dir / anatomy.subject / "surf" / f"{side[0]}h.sulc"))
    return Hemisphere(
        0.5 * pial + 0.5 * inflated * size[0] / size[1],
        anatomy.mesh(side, "pial").faces,
        np.clip((np.asarray(sulci) + 2) / 6, 0, 1),
        anatomy.vertices[HEMISPHERES.index(side)],
    )


def _write(path: Path, drawn: Drawn) -> None:
    """Corners as the smallest integers; weights, light and sampled cortex in half precision, a step of which is a tenth of
    a grey level."""
    held: dict[str, Any] = {}
    for side, half in (("left", drawn.left), ("right", drawn.right)):
        held |= {f"{side}-{name}": part for name, part in half._asdict().items()}
    for k, (view, ground) in enumerate(zip(drawn.views, drawn.grounds)):
        kind = np.min_scalar_type(int(view.corners.max()))
        held |= {f"corners{k}": view.corners.astype(kind), f"seen{k}": view.seen}
        held |= {f"reach{k}": view.reach.astype(np.int16)}
        held |= {f"{name}{k}": getattr(view, name).astype(np.float16) for name in ("weights", "light")}
        held |= {f"sampled{k}": ground.sampled.astype(np.float16), f"picture{k}": ground.picture}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **held)


def _read(path: Path) -> Drawn:
    with np.load(path, allow_pickle=False) as held:
        left, right = (
            Hemisphere(*(held[f"{side}-{name}"] for name in Hemisphere._fields)) for side in HEMISPHERES
        )
        looks = range(len(LOOKS))
        views = tuple(View(*(held[f"{name}{k}"] for name in View._fields)) for k in looks)
        grounds = tuple(Ground(*(held[f"{name}{k}"] for name in Ground._fields)) for k in looks)
    return Drawn(left, right, views, grounds)
