"""What a placement holds: for the step that makes it, and for the one that draws it, which needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from heschl.brain.anatomy import Anatomy, template
from heschl.brain.place import ClipCourses
from heschl.files import write_wav
from heschl.types import BrainMap, Clip

STATUS: Literal["illustrative"] = "illustrative"
CAVEAT = "Illustrative: a table puts this network's layers at these areas; no recording of a brain does."


class Shown(NamedTuple):
    """The clip that is drawn.

    heard: what it is, for a title. wave: (sample,) at ``rate`` Hz as the network hears it, or None for stored frames.
    """

    clip: Clip
    heard: str
    wave: np.ndarray | None
    rate: float


class Placement(NamedTuple):
    """All that was placed: of every clip, and of the shown one (``which``)."""

    courses: ClipCourses
    which: int
    shown: Shown
    map: BrainMap
    layers: dict[str, tuple[str, ...]]


def map_of(found: ClipCourses, clip: int, anatomy: Anatomy | None = None, end: int | None = None) -> BrainMap:
    """One clip's moments at every source, as `heschl.place` gives them; ``end`` cuts its steps."""
    anatomy = anatomy or template()
    times = found.times[:end]
    values = np.zeros((len(anatomy.positions), len(times)))
    for one, course in zip(found.patches, found.values[clip]):
        values[one.sources] += course[: len(times)] / (len(one.sources) * one.kept)
    return BrainMap(values, anatomy.positions, times, "A m", "MNI305", STATUS)


def write_sound(folder: Path, shown: Shown) -> str | None:
    """The clip as the network hears it, as a file; None for stored frames."""
    if shown.wave is None or not np.abs(shown.wave).max(initial=0) > 0:
        return None
    write_wav(folder / "sound.wav", np.clip(shown.wave, -1, 1), round(shown.rate))
    return "sound.wav"
