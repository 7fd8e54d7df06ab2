"""What a run's page shows of a placement: frames for its slider, the sensors' picture, the cortex to turn.

Drawn when a page first asks, from the files that `heschl place` wrote, and kept beside them under page/.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.brain.anatomy import quiet
from heschl.brain.convert import read_map
from heschl.figures.brain import borders_of
from heschl.figures.film import Look, moving
from heschl.figures.sensors import sensors_figure
from heschl.figures.style import PHONE, TEXT, inline
from heschl.figures.surface import surface_element
from heschl.files import read_json, write_json, write_text
from heschl.steps.place_show import UNIT, channels_of, even, sensors_title
from heschl.steps.views import drawn_brain
from heschl.types import BrainMap, HeschlError

FRAMES = 40  # of the slider


def page_parts(folder: Path) -> dict[str, Any]:
    """Draws them where they are not there yet; gives what page/page.json holds: frames, and the picture of sensors.

    folder: RUN/place/NAME. Frames lie in page/LOOK.webp and page/LOOK-MOMENT.webp, the picture in page/NAME.wide.html and
    NAME.phone.html, the cortex in page/surface.html.
    """
    import h5py

    made, page = folder / "page" / "page.json", folder / "page"
    if made.exists():
        held: dict[str, Any] = read_json(made)
        return held
    summary, map_ = read_json(folder / "summary.json"), read_map(folder / "map.h5")
    with h5py.File(folder / "courses.h5") as file:
        if "sources" not in file:
            raise HeschlError(f"{folder} was written by an earlier heschl: run `heschl place` again")
        names = [name.decode() for name in file["areas"]]
        which = [name.decode() for name in file["clips"]].index(summary["shown"])
        moments = np.array(file["moments"][which])[:, : len(map_.times)]
        areas = {name: np.array(file["sources"][name]) for name in names}
        kept = {name: float(file["sources"][name].attrs["kept"]) for name in names}
    courses = dict(zip(names, moments))
    shutil.rmtree(page, ignore_errors=True)
    frames = _frames(page, map_, areas, float(np.abs(map_.values).max() * 1e9))
    at = even(len(map_.times), FRAMES)
    each = {name: 1e9 * course[at] / (len(areas[name]) * kept[name]) for name, course in courses.items()}
    write_text(page / "surface.html", surface_element(drawn_brain(), areas, each, map_.times[at], UNIT))
    held = {"frames": frames, "seen": _sensors(folder, summary, courses)}
    write_json(made, held)
    return held


def _frames(page: Path, map_: BrainMap, areas: dict[str, np.ndarray], limit: float) -> dict[str, Any]:
    drawn, at = drawn_brain(), even(len(map_.times), FRAMES)
    values = map_.values[:, at] * 1e9
    looks = moving(drawn, values, areas, limit, borders_of(drawn, areas))
    return {
        "times": map_.times[at].round(4).tolist(),
        "strongest": int(np.square(values).sum(0).argmax()),
        "looks": _pictures(page, looks),
        "limit": limit,
        "unit": UNIT,
    }


def _pictures(folder: Path, looks: Sequence[Look]) -> list[dict[str, Any]]:
    """LOOK.webp, and LOOK-MOMENT.webp of what changes of it; gives where that lies, as shares of the look."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    told = []
    for k, look in enumerate(looks):
        Image.fromarray(look.still).save(folder / f"{k}.webp", quality=88, method=3)
        for n, part in enumerate(look.moments):
            Image.fromarray(part).save(folder / f"{k}-{n:03d}.webp", quality=88, method=3)
        high, wide = look.still.shape[:2]
        top, left = look.at
        box = [left / wide, top / high, look.moments.shape[2] / wide, look.moments.shape[1] / high]
        told.append({"moments": len(look.moments), "box": [round(v, 5) for v in box], "shape": [high, wide]})
    return told


def _sensors(folder: Path, summary: dict[str, Any], courses: dict[str, np.ndarray]) -> dict[str, str] | None:
    """The first sensors' picture, for a desk and for a phone."""
    import mne

    for label in summary["sensors"]:
        with quiet():
            evoked = mne.read_evokeds(folder / f"{label}-ave.fif", condition=0, proj=False)
        kind = evoked.get_channel_types(unique=True)[0]
        title = sensors_title(evoked, kind, summary["heard"])
        for part, width in (("wide", TEXT), ("phone", PHONE)):
            figure = sensors_figure(channels_of(evoked, kind), courses, "", width=width)  # the page says it
            write_text(folder / "page" / f"{label}.{part}.html", inline(figure, f"brain-{part}", title))
        return {"name": label, "title": title}
    return None
