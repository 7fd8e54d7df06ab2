"""Where a run's layers would lie in a brain, what sensors would see of them: files that other tools open, and pictures.

Illustrative throughout: a table puts the layers at areas. Written are, under RUN/place/NAME/:

    activity.h5    each area's matrix (clip, time, neuron): h5py.File("activity.h5")["STG"][:]
    courses.h5     the areas' net moments (clip, area, time), and what sensors see of each, (sensor, area)
    NAME.h5, -lh.stc, -rh.stc, SENSORS-ave.fif    of the clip that is shown (-epo.fif with noise): plain MNE opens them
    areas, course, story, SENSORS pictures (PNG; SVG), film.gif, surface.html, sound.wav (page/ once the run's page asked)
    summary.json   all this in numbers, with its status
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heschl.brain.activity_file import growing_activity
from heschl.brain.anatomy import need_mne
from heschl.brain.areas import assign
from heschl.brain.convert import write_fif, write_map, write_stc
from heschl.brain.forward import project
from heschl.brain.inverse import cross_talk, estimate, inverse_operator, peak
from heschl.brain.noise import covariance_at, trials
from heschl.brain.place import MOMENT, ClipCourses, Rate, clip_courses, population_rate, topographies
from heschl.brain.sensors import sensors_info
from heschl.corpora.manifest import PARTS
from heschl.files import replacing, write_csv, write_json
from heschl.run import Run, open_run
from heschl.steps.explain_clips import find_clips, told_apart
from heschl.steps.inputs import chosen
from heschl.steps.networks import Network, Progress, answers, open_network
from heschl.steps.place_pen import Pen
from heschl.steps.place_show import draw_cortex, draw_sensors, draw_story, pictured, story_title
from heschl.steps.placement import CAVEAT, STATUS, Placement, Shown, map_of, write_sound
from heschl.steps.placing import Part, check_placeable, padded, recorded
from heschl.types import Clip, HeschlError, Skipped

CLIPS = 40
ASKED = 16  # clips among which the one that is shown is looked for
TRIALS = 100
LOUDEST = 200.0  # dB: beyond it noise or signal is lost in rounding


def place_run(
    run: Run | Path | str,
    clips: int | Sequence[Clip | str | Path] = CLIPS,
    *,
    part: str = "test",
    show: str | None = None,
    sensors: Any = "biosemi64",
    areas: Any = None,
    noise: float | None = None,
    film: bool = False,
    svg: bool = False,
    rate: Rate = "norm",
    moment: float = MOMENT,
    name: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    pen: Pen | None = None,
) -> dict[str, Any]:
    """Records, places, projects and draws; writes RUN/place/NAME/.

    Parameters
    ----------
    run: a run folder, or the name of a model that comes along.
    clips: at most so many of the part, evenly over speakers; or ids of the corpus, clips, and recordings of any kind.
    show: id of the clip that is drawn; None is the surest right one of the first.
    sensors: one or several of `heschl.brain.forward.leadfield`'s.
    areas: a table, see `heschl.brain.areas.assign`; None is the recipe's (`brain.areas`), else the shipped one.
    noise: signal-to-noise ratio of one trial, decibels; then 100 trials are simulated and their mean is drawn, and an
        inverse (dSPM) is told with what it can tell apart.
    film: also write film.gif. svg: also write each picture as SVG.
    rate: of a layer's units, "norm" or "mean". moment: highest net moment of each area, A m.
    name: of the folder; None is the part, or the first recording's.
    pen: draws some of the pictures in a process of its own (None: all of them here).

    Returns
    -------
    what summary.json holds.

    Raises
    ------
    HeschlError: the network has no areas with times or hears no sound; a clip, area or sensor is not known; mne lacks.
    """
    need_mne("placing")
    run = open_run(run)
    if rate not in ("norm", "mean"):
        raise HeschlError(f"rate is '{rate}': choose 'norm' or 'mean'")
    if part not in PARTS:
        raise HeschlError(f"there is no part '{part}': choose train, validation or test")
    if noise is not None and not abs(noise) <= LOUDEST:
        raise HeschlError(
            f"noise is {noise:g} dB: give a signal-to-noise ratio between -{LOUDEST:g} and {LOUDEST:g} dB"
        )
    kinds = _named(list(sensors) if isinstance(sensors, list | tuple) else [sensors])
    infos = {
        label: sensors_info(one) for label, one in kinds.items()
    }  # before anything is heard: a slip costs nothing
    weights = run.weights_id
    network = open_network(run)
    check_placeable(network)
    areas = run.recipe.brain.areas if areas is None else areas
    if not isinstance(areas, dict):
        assign(list(network.model.areas), areas)  # type: ignore[arg-type]
    picked, named = _picked(run, clips, part, seed)
    wanted = next((clip for clip in picked if clip.id == show), None)
    if show is not None and wanted is None:
        picked = told_apart([*find_clips(run, [show]), *picked])
        wanted = picked[0]
    folder = run.folder / "place" / (name or named)
    shown = wanted or _shown(network, picked)
    skipped: list[Skipped] = []
    placement, facts = _placed(network, picked, shown, folder, areas, rate, moment, skipped, progress)
    if wanted is not None and placement.shown.clip.id != wanted.id:
        raise HeschlError(
            next(f"{one.where} cannot be shown: {one.why}" for one in skipped if one.where == wanted.id)
        )
    if skipped:
        write_csv(folder / "skipped.csv", [one._asdict() for one in skipped], Skipped._fields)
    summary = {
        "run": run.name,
        "weights": weights,
        "folder": str(folder),
        "status": STATUS,
        "caveat": CAVEAT,
        "time": "network time: the middle of what each step hears, no brain's latency",
        "synthetic": bool(run.origin.get("corpus", {}).get("synthetic")) and isinstance(clips, int),
        "skipped": len(skipped),
        **facts,
        "sensors": {},
    }
    shutil.rmtree(folder / "page", ignore_errors=True)  # of a placement before this one
    for old in folder.glob("*.svg"):
        old.unlink()
    aside = pen or _here
    aside(draw_cortex, folder, placement, film, svg)
    write_map(folder / "map.h5", placement.map)
    write_stc(folder / "map", placement.map)
    seen = {}
    for label, info in infos.items():
        seen[label], summary["sensors"][label] = _sensed(placement, label, info, folder, noise, seed)
    heard = placement.shown.heard
    pictures = pictured(seen, heard)
    aside(draw_story, folder, placement, pictures[0], svg)
    for one in pictures:
        draw_sensors(folder, placement, one, svg)
    if pen is not None:
        pen.wait()
    first, *others = ((one.name, one.title) for one in pictures)
    story = ("story", story_title(heard, pictures[0].end))
    summary |= {
        "figures": dict([("areas", "areas"), ("course", "course"), first, story, *others]),
        "sound": write_sound(folder, placement.shown),
        "film": "film.gif" if film else None,
    }
    write_json(folder / "summary.json", summary)
    return summary


def _here(draw: Callable[..., None], *arguments: Any) -> None:
    """Draws in this process, at once."""
    draw(*arguments)


# --- what is heard -----------------------------------------------------------------------------------------


def _picked(
    run: Run, clips: int | Sequence[Clip | str | Path], part: str, seed: int
) -> tuple[list[Clip], str]:
    if isinstance(clips, int):
        if clips < 1:
            raise HeschlError(f"{clips} clips are asked for: one is the least")
        return chosen(run, part, clips, seed)[0], part
    found = told_apart(find_clips(run, clips))
    stem = Path(found[0].id).stem
    return found, "".join(c if c.isalnum() or c in "-_" else "-" for c in stem) or "clips"


def _shown(network: Network, clips: Sequence[Clip]) -> Clip:
    """Of the first clips the one that the network is surest of and right; else the first that can be read."""
    if len(clips) == 1 or network.frames:
        return clips[0]
    best, most = clips[0], -1.0
    for answer in answers(network, clips[:ASKED], skipped=[]):
        share = np.exp(answer.logits - answer.logits.max())
        k = int(share.argmax())
        right = network.labels[k] in answer.clip.labels.values()
        if right and float(share[k] / share.sum()) > most:
            best, most = answer.clip, float(share[k] / share.sum())
    return best


def _called(clip: Clip, network: Network) -> str:
    """What the clip is, in a title."""
    for name, label in clip.labels.items():
        if label in network.labels:
            return f"a {label} voice" if name in ("gender", "sex") else f"“{label}”"
    words = [span.symbol for span in clip.spans if span.tier == "word"]
    if words:
        return "“" + " ".join(words[:4]) + (" …”" if len(words) > 4 else "”")
    return Path(clip.id).name if len(Path(clip.id).name) < 30 else "a recording"


def _placed(
    network: Network,
    clips: Sequence[Clip],
    wanted: Clip,
    folder: Path,
    areas: Any,
    rate: Rate,
    moment: float,
    skipped: list[Skipped],
    progress: Progress | None,
) -> tuple[Placement, dict[str, Any]]:
    """Writes activity.h5 as it is recorded, and keeps of each layer one number a step."""
    rates: dict[str, list[np.ndarray]] = {}
    times: dict[str, torch.Tensor] = {}
    units: dict[str, int] = {}
    ids: list[str] = []
    seconds: list[float] = []
    shown: Shown | None = None
    with growing_activity(folder / "activity.h5") as add:
        for one in recorded(network, clips, skipped, progress):
            add(one.activity, [clip.id for clip in one.clips], one.seconds)
            ids += [clip.id for clip in one.clips]
            seconds += one.seconds
            for area, activity in one.activity.items():
                rates.setdefault(area, []).extend(population_rate(activity, rate))
                units[area] = activity.values.shape[-1]
                if area not in times or activity.times[-1] > times[area][-1]:
                    times[area] = activity.times
            if shown is None or wanted.id in {clip.id for clip in one.clips}:
                shown = _heard(network, one, wanted)
        if not ids:
            raise HeschlError(
                f"no clip of {len(clips):,} could be read, the first because: {skipped[0].why}"
                if skipped
                else "there is no clip to place"
            )
    assert shown is not None
    kept = padded({area: [row[:, None] for row in rows] for area, rows in rates.items()}, times, seconds)
    # of one unit, norm is its size and mean itself: the rates stay what they are
    found = clip_courses(kept, areas, rate, moment)
    index = ids.index(shown.clip.id)
    late = max(0.0, *(one.area.delay for one in found.patches))
    end = np.searchsorted(found.times, seconds[index] + late + 1e-9)
    layers = _layers(list(kept), areas, found)
    placement = Placement(found, index, shown, map_of(found, index, end=int(end)), layers)
    _write_courses(folder / "courses.h5", found, ids, seconds)
    facts = {
        "clips": len(ids),
        "shown": shown.clip.id,
        "heard": shown.heard,
        "seconds": seconds[index],
        "rate": rate,
        "moment_nAm": 1e9 * moment,
        "layers": {
            area: {
                "units": units[area],
                "steps": len(times[area]),
                "areas": [name for name, own in layers.items() if area in own],
            }
            for area in kept
        },
        "areas": {
            one.area.name: {
                "hemisphere": one.area.hemisphere,
                "centre_mm": [round(1000 * v, 1) for v in one.area.centre],
                "space": one.area.space,
                "radius_mm": round(1000 * one.area.radius, 1),
                "delay_s": one.area.delay,
                "sources": len(one.sources),
                "kept_in_folds": round(one.kept, 3),
                "source": one.area.source,
                "note": one.area.note,
                "layers": list(layers[one.area.name]),
            }
            for one in found.patches
        },
    }
    return placement, facts


def _heard(network: Network, part: Part, wanted: Clip) -> Shown:
    """The wanted clip of this part; its first where that is not there (it may be one that cannot be read)."""
    ids = [clip.id for clip in part.clips]
    k = ids.index(wanted.id) if wanted.id in ids else 0
    wave = np.asarray(part.waves[k]) if part.waves.ndim == 2 else None
    return Shown(part.clips[k], _called(part.clips[k], network), wave, network.sample_rate)


def _layers(names: Sequence[str], areas: Any, found: ClipCourses) -> dict[str, tuple[str, ...]]:
    _, chosen_areas = assign(names, areas)
    return {area: tuple(layer for layer in names if area in chosen_areas[layer]) for area in found.names}


def _write_courses(path: Path, found: ClipCourses, ids: Sequence[str], seconds: Sequence[float]) -> None:
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["about"] = (
            "Net moments of areas, A m, axes (clip, area, time); times in s of network time."
        )
        file.attrs["status"] = STATUS
        file["moments"], file["times"], file["seconds"] = found.values, found.times, list(seconds)
        file["areas"], file["clips"] = list(found.names), list(ids)
        for name, one in zip(found.names, found.patches):
            file[f"sources/{name}"] = one.sources
            file[f"sources/{name}"].attrs["kept"] = one.kept


# --- what is seen ------------------------------------------------------------------------------------------


def _named(sensors: Sequence[Any]) -> dict[str, Any]:
    """Each of the sensors once, by the name of its files."""
    found: dict[str, Any] = {}
    for one in sensors:
        label = _sensors_name(one)
        same = isinstance(one, str | Path) and str(one) == str(found.get(label))
        if label in found and not same:
            raise HeschlError(f"two of the sensors are called {label}, as their files would be: rename one")
        found[label] = one
    return found


def _sensors_name(sensors: Any) -> str:
    if isinstance(sensors, str | Path):
        return (
            Path(sensors).name.removesuffix(".gz").removesuffix(".fif")
            if Path(sensors).suffix
            else str(sensors)
        )
    return "sensors"


def _sensed(
    placement: Placement, label: str, info: Any, folder: Path, noise: float | None, seed: int
) -> tuple[Any, dict[str, Any]]:
    """What these sensors see of the shown clip, and of every clip; gives the evoked answer that is drawn."""
    import h5py

    found = placement.courses
    evoked = project(placement.map, info)
    facts: dict[str, Any] = {
        "channels": {
            kind: evoked.get_channel_types().count(kind) for kind in evoked.get_channel_types(unique=True)
        }
    }
    gains = topographies(found.patches, info)
    with h5py.File(folder / "courses.h5", "a") as file:
        for key, value in ((f"{label}/gain", gains), (f"{label}/channels", list(evoked.ch_names))):
            file[key] = value
        file[label].attrs["about"] = (
            "gain @ moments is what the sensors see of a clip: (sensor, area), V or T per A m"
        )
    covariance = None
    if noise is not None:
        covariance = covariance_at(evoked, noise)
        epochs = trials(evoked, TRIALS, covariance, seed=seed)
        write_fif(folder / f"{label}-epo.fif", epochs)
        comment = evoked.comment
        evoked = epochs.average()
        evoked.comment = comment
        facts |= {"noise_db": noise, "trials": TRIALS}
    write_fif(folder / f"{label}-ave.fif", evoked)
    peaks = {}
    for kind in evoked.get_channel_types(unique=True):
        peaks[kind] = float(np.abs(evoked.copy().pick(kind).data).max())
    facts["peak"] = peaks
    if noise is not None:
        facts["inverse"] = _inverse(placement, evoked, covariance)
    return evoked, facts


def _inverse(placement: Placement, evoked: Any, covariance: Any) -> dict[str, Any]:
    """What dSPM reads in each area at the signal's strongest moment, in units of the trials' own noise, fitted to
    simulated data; and beside it what it can tell apart."""
    operator = inverse_operator(evoked.info, covariance=covariance)
    found = estimate(evoked, operator, "dSPM")
    talk = cross_talk(placement.courses.patches, evoked.info, operator, "dSPM")
    k = int(np.square(found.values).mean(0).argmax())
    best, where = peak(found)
    return {
        "status": found.status,
        "method": "dSPM",
        "time_s": float(found.times[k]),
        "read": {
            one.area.name: float(found.values[one.sources, k].mean()) for one in placement.courses.patches
        },
        "cross_talk": {
            "names": list(talk.names),
            "matrix": np.round(talk.matrix, 3).tolist(),
            "groups": [list(group) for group in talk.groups],
            "text": str(talk),
        },
        "peak_mm": [round(1000 * float(v), 1) for v in where],
        "peak_in": [one.area.name for one in placement.courses.patches if best in one.sources],
    }
