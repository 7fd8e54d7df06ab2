"""The pictures of a placement: areas, course, sensors, film, the surface to turn, and the page's frames."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heschl.figures.brain import LOOKS, Drawn, brain_course, brain_strip
from heschl.figures.film import film_pictures, look_pictures
from heschl.figures.sensors import KINDS, Seen, moments, sensors_figure
from heschl.figures.style import save
from heschl.figures.surface import surface_element, surface_page
from heschl.files import replacing, write_bytes, write_text
from heschl.steps.place import CAVEAT, Placement, write_sound
from heschl.steps.views import drawn_brain

ROWS = 3  # moments of the course that is drawn
FRAMES = 30  # of the page's slider
FILM = 48  # pictures of the film, at most
UNIT = "nA\u202fm at each source"


def show(folder: Path, placement: Placement, seen: Mapping[str, Any], film: bool) -> dict[str, Any]:
    """Draws everything; gives what was drawn, for summary.json."""
    drawn = drawn_brain()
    found, map_ = placement.courses, placement.map
    areas = {one.area.name: one.sources for one in found.patches}
    n = len(map_.times)
    courses = {name: course[:n] for name, course in zip(found.names, found.values[placement.index])}
    values = map_.values * 1e9
    heard = placement.shown.heard
    limit = float(np.abs(values).max())
    figures: dict[str, Any] = {}
    save(
        brain_strip(drawn, None, areas, "Where the table puts this network's layers (illustrative)"),
        folder / "areas",
    )
    at = [int(np.abs(map_.times - time).argmin()) for time in moments(values, map_.times, ROWS)]
    course = brain_course(
        drawn,
        values[:, at],
        map_.times[at].tolist(),
        areas,
        f"Where this network's layers are active while it hears {heard} (illustrative)",
        UNIT,
        limit,
    )
    save(course, folder / "course")
    for label, evoked in seen.items():
        for kind in evoked.get_channel_types(unique=True):
            figure = sensors_figure(_seen(evoked, kind), courses, sensors_title(evoked, kind, heard))
            name = label if len(evoked.get_channel_types(unique=True)) == 1 else f"{label}-{kind}"
            save(figure, folder / name)
            figures[name] = sensors_title(evoked, kind, heard)
    each = {
        name: 1e9 * course / (len(one.sources) * one.kept)
        for (name, course), one in zip(courses.items(), found.patches)
    }
    moments_ = _even(n, FRAMES)
    element = surface_element(
        drawn, areas, {name: one[moments_] for name, one in each.items()}, map_.times[moments_], UNIT
    )
    write_text(folder / "surface.part.html", element)
    title = f"This network's layers while it hears {heard}"
    write_text(folder / "surface.html", surface_page(element, title, CAVEAT, len(moments_)))
    looks = _frames(folder / "frames", drawn, values[:, moments_], areas, limit)
    if film:
        _film(folder / "film.gif", drawn, map_, values, areas, limit)
    return {
        "figures": {"areas": "areas", "course": "course", **figures},
        "frames": {
            "times": map_.times[moments_].round(4).tolist(),
            "looks": looks,
            "limit": limit,
            "unit": UNIT,
        },
        "sound": write_sound(folder, placement.shown),
        "film": "film.gif" if film else None,
    }


def _seen(evoked: Any, kind: str) -> Seen:
    picked = evoked.copy().pick(kind)
    return Seen(kind, picked.data, picked.times, picked.info)


def sensors_title(evoked: Any, kind: str, heard: str) -> str:
    what = KINDS[kind][0]
    n = evoked.get_channel_types().count(kind)
    of = f"the mean of {evoked.nave} noisy trials" if evoked.nave > 1 else "no noise"
    return f"What {n} {what}s would see of it while the network hears {heard} (illustrative, {of})"


def _even(n: int, most: int) -> np.ndarray:
    """Indices of at most so many of n moments, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _frames(
    folder: Path, drawn: Drawn, values: np.ndarray, areas: Mapping[str, Any], limit: float
) -> list[int]:
    """LOOK-MOMENT.webp of looks that change, LOOK-000.webp of the others; gives how many each look has."""
    from PIL import Image

    counts = []
    for old in folder.glob("*.webp"):
        old.unlink()
    for k in range(len(LOOKS)):
        count = 0
        for picture in look_pictures(drawn, k, values, areas, limit):
            out = io.BytesIO()
            Image.fromarray(picture).save(out, "WEBP", quality=82, method=2)
            write_bytes(folder / f"{k}-{count:03d}.webp", out.getvalue())
            count += 1
        counts.append(count)
    return counts


def _film(
    path: Path, drawn: Drawn, map_: Any, values: np.ndarray, areas: Mapping[str, Any], limit: float
) -> None:
    from PIL import Image

    chosen = _even(len(map_.times), FILM)
    pictures = film_pictures(drawn, values[:, chosen], map_.times[chosen].tolist(), areas, limit)
    images = [Image.fromarray(one) for one in pictures]
    colours = images[len(images) // 2].quantize(192)
    images = [one.quantize(palette=colours, dither=Image.Dither.NONE) for one in images]
    seconds = float(map_.times[-1] - map_.times[0]) or 1.0
    each = max(20, round(3000 * seconds / len(images)))  # a third of real time, so that it can be followed
    with replacing(path) as temporary:
        images[0].save(temporary, "GIF", save_all=True, append_images=images[1:], duration=each, loop=0)
