"""The pictures of a placement: areas, course, sensors, the story of one clip, film, and the surface to turn.

Nothing here needs torch: `heschl.steps.place_pen` draws in a process that does without.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heschl.brain.anatomy import template
from heschl.figures.brain import Borders, Drawn, borders_of, brain_course, brain_strip
from heschl.figures.film import Look, film_pictures, moving
from heschl.figures.sensors import Seen, called, moments, sensors_figure
from heschl.figures.story import story_figure
from heschl.figures.style import new_figure, save
from heschl.figures.surface import strongest, surface_element, surface_page
from heschl.files import cache_folder, replacing, write_text
from heschl.steps.placement import CAVEAT, Placement
from heschl.steps.views import drawn_brain

ROWS = 3  # moments of the course that is drawn
LOOKED = 4  # moments of the story
FRAMES = 40  # of the film and of the surface to turn
_MADE = 1  # raise it when the picture of the areas changes
UNIT = "nA\u202fm at each source"


class Pictured(NamedTuple):
    """A picture of sensors of one kind: the file's name, what end of the story they are, and what they see."""

    name: str
    end: str
    seen: Seen
    title: str


def pictured(seen: Mapping[str, Any], heard: str) -> list[Pictured]:
    """The pictures that sensors of each name, `mne.Evoked`, ask for: one of each kind of channel."""
    found = []
    for label, evoked in seen.items():
        kinds = evoked.get_channel_types(unique=True)
        for kind in kinds:
            name = label if len(kinds) == 1 else f"{label}-{kind}"
            end = "the scalp" if kind == "eeg" else "MEG sensors"
            found.append(Pictured(name, end, channels_of(evoked, kind), sensors_title(evoked, kind, heard)))
    return found


def make_ready() -> None:
    """Brings what the pictures need, fonts and all, so that the first comes as fast as the next."""
    with tempfile.TemporaryDirectory() as folder:
        figure = new_figure(1, 1, "0")
        figure.add_subplot().set_xlabel("0")
        save(figure, Path(folder) / "none", svg=False)
    if (cache_folder() / "brain").exists():  # else the head is being made, which one process does
        drawn_brain()


def draw_cortex(folder: Path, placement: Placement, film: bool, svg: bool) -> None:
    """What needs no sensors: areas, course, the surface to turn, and the film."""
    drawn, found, map_ = drawn_brain(), placement.courses, placement.map
    values, areas, heard = map_.values * 1e9, _areas_of(placement), placement.shown.heard
    n, limit, borders = len(map_.times), float(np.abs(values).max()), borders_of(drawn, areas)
    _areas(folder / "areas", drawn, areas, borders, svg)
    at = [int(np.abs(map_.times - time).argmin()) for time in moments(values, map_.times, ROWS)]
    title = f"Where this network's layers are active while it hears {heard} (illustrative)"
    course = brain_course(drawn, values[:, at], map_.times[at].tolist(), areas, title, UNIT, limit, borders)
    save(course, folder / "course", svg)
    some = even(n, FRAMES)
    each = {
        name: 1e9 * course[some] / (len(one.sources) * one.kept)
        for (name, course), one in zip(_courses_of(placement).items(), found.patches)
    }
    element = surface_element(drawn, areas, each, map_.times[some], UNIT)
    title = f"This network's layers while it hears {heard}"
    write_text(folder / "surface.html", surface_page(element, title, CAVEAT, len(some), strongest(each)))
    if film:
        _film(folder / "film.gif", moving(drawn, values[:, some], areas, limit, borders), map_.times[some])


def draw_sensors(folder: Path, placement: Placement, one: Pictured, svg: bool) -> None:
    """What sensors of one kind see, with the areas' courses above."""
    save(sensors_figure(one.seen, _courses_of(placement), one.title), folder / one.name, svg)


def story_title(heard: str, end: str) -> str:
    return f"From the sound of {heard} to {end}, by way of this network (illustrative)"


def draw_story(folder: Path, placement: Placement, one: Pictured, svg: bool) -> None:
    """From the clip's sound by way of the cortex to these sensors."""
    shown, values, areas = placement.shown, placement.map.values * 1e9, _areas_of(placement)
    sound = None if shown.wave is None else (shown.wave, shown.rate)
    at = moments(one.seen.data, one.seen.times, LOOKED)
    title, courses = story_title(shown.heard, one.end), _courses_of(placement)
    story = story_figure(drawn_brain(), values, courses, areas, one.seen, at, title, UNIT, sound)
    save(story, folder / "story", svg)


def _areas_of(placement: Placement) -> dict[str, np.ndarray]:
    """Area -> indices of its sources."""
    return {one.area.name: one.sources for one in placement.courses.patches}


def _courses_of(placement: Placement) -> dict[str, np.ndarray]:
    """Area -> (time,) net moment of the shown clip, A m."""
    found, n = placement.courses, len(placement.map.times)
    return {name: course[:n] for name, course in zip(found.names, found.values[placement.which])}


def _areas(path: Path, drawn: Drawn, areas: Mapping[str, np.ndarray], borders: Borders, svg: bool) -> None:
    """The areas alone, which no clip changes: drawn once for a table and kept in the cache."""
    title = "Where the table puts this network's layers (illustrative)"
    held = repr((_MADE, template().key, title, {name: one.tolist() for name, one in areas.items()}))
    kept = cache_folder() / "brain" / f"areas-{hashlib.sha256(held.encode()).hexdigest()[:16]}"
    suffixes = (".png", ".svg") if svg else (".png",)
    if not all(_whole(kept.with_suffix(suffix)) for suffix in suffixes):
        save(brain_strip(drawn, None, areas, title, borders=borders), kept, svg)
    for suffix in suffixes:
        with replacing(path.with_suffix(suffix)) as temporary:
            shutil.copyfile(kept.with_suffix(suffix), temporary)


def _whole(path: Path) -> bool:
    """Whether a kept picture is there and is whole."""
    from PIL import Image

    try:
        if path.suffix == ".svg":
            return path.read_text(encoding="utf-8").rstrip().endswith("</svg>")
        with Image.open(path) as picture:
            picture.verify()
    except (
        OSError,
        SyntaxError,
        UnicodeDecodeError,
    ):  # a PNG whose checksum is wrong is a syntax error to PIL
        return False
    return True


def channels_of(evoked: Any, kind: str) -> Seen:
    """The channels of one kind of an `mne.Evoked`."""
    picked = evoked.copy().pick(kind)
    return Seen(kind, picked.data, picked.times, picked.info)


def sensors_title(evoked: Any, kind: str, heard: str) -> str:
    what = called(kind, evoked.info)
    n = evoked.get_channel_types().count(kind)
    of = f"the mean of {evoked.nave} noisy trials" if evoked.nave > 1 else "no noise"
    return f"What {n} {what}s would see while the network hears {heard} (illustrative, {of})"


def even(n: int, most: int) -> np.ndarray:
    """Indices of at most so many of n moments, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _film(path: Path, looks: Sequence[Look], times: np.ndarray) -> None:
    from PIL import Image

    images = [Image.fromarray(one) for one in film_pictures(looks, times.tolist())]
    palette = _palette(images[len(images) // 2], looks)
    images = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in images]
    seconds = float(times[-1] - times[0]) or 1.0
    each = max(20, round(3000 * seconds / len(images)))  # a third of real time, so that it can be followed
    with replacing(path) as temporary:
        images[0].save(temporary, "GIF", save_all=True, append_images=images[1:], duration=each, loop=0)


def _palette(image: Any, looks: Sequence[Look]) -> Any:
    """256 colours for a film: half for all that is seen, half for what moves, which is small and bright."""
    from PIL import Image

    parts = [Image.fromarray(part).convert("RGB") for look in looks for part in look.moments[::4]]
    moves = Image.new(
        "RGB", (max((one.width for one in parts), default=1), sum(one.height for one in parts) or 1)
    )
    top = 0
    for one in parts:
        moves.paste(one, (0, top))
        top += one.height
    colours = [(one.quantize(128).getpalette() or [])[: 3 * 128] for one in (image, moves)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*colours[0], *colours[1]])
    return palette
