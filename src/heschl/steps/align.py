"""Do recordings agree with a network? Written to RUN/align/NAME/.

First the envelope's response without any network, the sanity check; then every layer as a difference over acoustics and
over the same architecture untrained, channel by channel (or area by area), per subject and over subjects.

    align.json      everything below in short, with the label "fitted" or "fitted to simulated data"
    response.csv    subject, channel: r of the envelope, chance, p, r of all acoustics; where a sound was heard more than
                    once, the noise ceiling                                                  response.svg
    trf.csv         lag, channel: the envelope's response, mean over subjects
    layers.csv      subject, layer, place: both differences with their p                     layers.svg
    partition.csv   subject, layer, place: variance of acoustics alone, of the layer alone, shared   partition.svg
    group.csv       layer, place: means over subjects with corrected p                       clusters.csv
    areas.csv       area: means over subjects of the envelope's r and of what layers gain, where areas are asked for
    sync.csv        where an audio channel was recorded: offset and drift
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.brain.areas import assign, read_areas
from heschl.brain.inverse import CrossTalk, joined
from heschl.brain.layers import LEAST_SEEDS, LayerGain
from heschl.brain.patch import patch
from heschl.brain.readout import Readout, electrodes_by_area, readout
from heschl.corpora.brain import read
from heschl.files import write_csv, write_json
from heschl.run import Run, open_run
from heschl.steps import align_files as files
from heschl.steps import align_group as over
from heschl.steps.align_fit import (
    Listener,
    Response,
    Settings,
    check_length,
    in_areas,
    layer,
    listener,
    response,
)
from heschl.steps.heard import Layers, layers, sounds
from heschl.steps.workers import backend
from heschl.types import Corpus, HeschlError

Array = np.ndarray[Any, np.dtype[Any]]
Say = Callable[[str], None]
Told = Callable[[int, int], None]
ACOUSTICS = "acoustics"


def align(
    run: Run | Path | str,
    recordings: Corpus | Path | str,
    settings: Settings | None = None,
    *,
    areas: Any = None,
    name: str | None = None,
    workers: int = 1,
    runs: Path | str = "runs",
    inner: Layers | None = None,
    say: Say | None = None,
    progress: Told | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Fits a run's layers, or acoustics alone, to recordings.

    Parameters
    ----------
    run: a run folder, or "acoustics", which writes to RUNS/acoustics/align.
    recordings: what `heschl.corpora.brain.read` reads, with its ``options`` (task, subjects, derivative, kind, ...).
    areas: None for sensors; "default" or a table of areas: EEG and MEG are read in areas of the template head, and
        electrodes in the brain are named by area.
    name: of the folder; None makes one of the corpus' name. workers: processes.
    inner: layers that `heschl.steps.heard.layers` recorded before, over the same sounds; None records them.
    say: told sentences on the way, the expected time among them. progress: told how many fits are done, of how many.

    Returns
    -------
    what align.json holds.

    Raises
    ------
    HeschlError: nothing can be read, or no subject can be fitted.
    """
    settings = settings or Settings()
    say = say or (lambda _: None)
    trained = None if str(run) == ACOUSTICS else open_run(run)
    if trained is not None and settings.seeds < LEAST_SEEDS:
        raise HeschlError(
            f"{settings.seeds} untrained networks: a claim about a layer needs {LEAST_SEEDS} seeds or more"
        )
    corpus = recordings if isinstance(recordings, Corpus) else read(Path(recordings), **options)
    listeners, left = _listeners(corpus, settings)
    spots, read_as = _places(listeners, areas, trained)
    notes = [*corpus.notes, *(n for one in listeners for n in one.notes), *left]
    heard = {s.clip for one in listeners for s in one.stretches}
    clips = [clip for clip in corpus.clips if clip.id in heard]
    sound, features = sounds(clips, settings.rate, settings.mels)
    status = "fitted to simulated data" if corpus.synthetic else "fitted"
    home = Path(runs) / ACOUSTICS if trained is None else trained.folder
    folder = home / "align" / (name or _slug(corpus.name))

    responses = dict(_each(response, [(one, sound, settings) for one in listeners], workers, None))
    answers: list[Response] = [responses[k] for k in range(len(listeners))]
    result: dict[str, Any] = {
        "run": ACOUSTICS if trained is None else trained.name,
        "weights": None if trained is None else trained.weights_id,
        "recordings": corpus.name,
        "status": status,
        "subjects": [one.subject for one in listeners],
        "kind": listeners[0].kind,
        "minutes": {one.subject: round(one.minutes, 3) for one in listeners},
        "acoustics": list(features),
        "settings": settings.plain(),
        "envelope": files.envelope(listeners, answers, settings.level),
        "folder": str(folder),
    }
    say(files.sentence(result["envelope"], len(listeners)))
    files.write_response(folder, listeners, answers)
    notes += files.unfinished(answers, settings.lags)
    result["ceiling"] = files.ceilings(listeners, answers)
    if not result["ceiling"]:
        notes.append("no sound was heard twice by one subject: there is no noise ceiling")

    if read_as is not None:
        result["areas"] = read_as
        notes += read_as.get("notes", [])
    found: dict[tuple[int, str], LayerGain] = {}
    parts: dict[tuple[int, str], dict[str, Array]] = {}
    if trained is not None:
        inner = inner or layers(trained, clips, settings.rate, settings.components, settings.seeds, say)
        notes += inner.notes
        fitted = _fits(spots, sound, inner, settings, workers, say, progress)
        found = {key: gain for key, (gain, _) in fitted.items()}
        parts = {key: part for key, (_, part) in fitted.items()}
        result |= files.write_layers(folder, spots, found, list(inner.trained), settings)
        result["variance"] = files.write_partition(folder, spots, parts)
        if result["group"] and not corpus.synthetic:
            notes.append(
                "a layer that gains over both controls carries what the recording follows; it need not be how the brain does it"
            )
    if read_as is not None:
        result["by_area"] = _by_area(spots, answers, found, read_as, sound, settings, workers)
        if rows := result["by_area"]:
            write_csv(folder / "areas.csv", rows, list(rows[0]))
    result["notes"] = list(dict.fromkeys(notes))
    sync = [row for one in listeners for row in one.syncs]
    result["verified"] = sum(row["verified"] for row in sync)
    write_csv(
        folder / "sync.csv",
        sync,
        ["subject", "recording", "audio", "verified", "offset_s", "drift_ppm", "residual_s", "r"],
    )
    tested = result.get("group", []) if over.can_tell(len(over.alike(spots)), settings.level) else []
    result["pictures"] = files.draw(folder, listeners, answers, spots, found, parts, status, tested)
    write_json(folder / "align.json", result)
    return result


# --- the parts -------------------------------------------------------------------------------------------


def _listeners(corpus: Corpus, settings: Settings) -> tuple[list[Listener], list[str]]:
    by_subject: dict[str, list[Any]] = {}
    for recording in corpus.recordings:
        by_subject.setdefault(recording.subject, []).append(recording)
    found, left = [], [f"{item.where}: {item.why}" for item in corpus.skipped]
    for subject, own in by_subject.items():
        try:
            one = listener(own, corpus, settings)
            check_length(one, settings)
            found.append(one)
        except HeschlError as error:
            left.append(f"subject {subject} is left out: {error}")
    if not found:
        raise HeschlError(f"no subject can be aligned; the first reason: {left[0]}")
    return found, left


def _each(work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], workers: int, told: Told | None) -> Any:
    """(number, result) of every job, in any order, here or in other processes."""
    import joblib

    with backend(workers, units=len(jobs)) as parallel:
        for done, pair in enumerate(
            parallel(joblib.delayed(_numbered)(k, work, job) for k, job in enumerate(jobs)), 1
        ):
            if told:
                told(done, len(jobs))
            yield pair


def _numbered(k: int, work: Callable[..., Any], job: tuple[Any, ...]) -> tuple[int, Any]:
    return k, work(*job)


def _fits(
    spots: list[Listener],
    sound: dict[str, Array],
    inner: Layers,
    settings: Settings,
    workers: int,
    say: Say,
    progress: Told | None,
) -> dict[tuple[int, str], tuple[LayerGain, dict[str, Array]]]:
    """Every subject's every layer; the first by itself, so that the time of all can be told."""
    keys = [(k, name) for k in range(len(spots)) for name in inner.trained]
    jobs = [
        (spots[k], sound, inner.trained[name], [one[name] for one in inner.untrained], settings)
        for k, name in keys
    ]
    begun = time.perf_counter()
    first = layer(*jobs[0])
    each = time.perf_counter() - begun
    left = each * (len(jobs) - 1) / workers
    say(
        f"about {left:.0f} s more for {len(jobs) - 1} fits, each with {settings.seeds} untrained networks and "
        f"{settings.shifts} shifts"
    )
    found = {keys[0]: first}
    for k, one in _each(layer, jobs[1:], workers, progress):
        found[keys[k + 1]] = one
    return {key: found[key] for key in keys}


def _places(
    listeners: list[Listener], areas: Any, run: Run | None
) -> tuple[list[Listener], dict[str, Any] | None]:
    """Subjects with areas for columns where areas are asked for and sensors lie outside the head."""
    if areas is None:
        return listeners, None
    table_of = read_areas(areas)
    if run is not None:
        model = run.model()
        table_of, chosen = assign(list(getattr(model, "areas", {})), areas)
        names = list(dict.fromkeys(["HG", *(a for many in chosen.values() for a in many)]))
    else:
        names = list(dict.fromkeys(["HG", *table_of.stream]))
    names = [n for name in names for n in (name, f"{name}-R") if n in table_of.areas]
    inside = listeners[0].kind in ("ecog", "seeg")
    for one in listeners:
        if inside and (one.positions is None or one.space not in ("MNI152", "MNI305")):
            raise HeschlError(
                f"the electrodes of subject {one.subject} lie in the space '{one.space}': areas need MNI152 or MNI305"
            )
    patches = [patch(table_of.area(one)) for one in names]
    if inside:
        by = {}
        for one in listeners:
            assert one.positions is not None and one.space is not None  # looked at above
            where = electrodes_by_area(one.positions, one.space, patches)
            by[one.subject] = dict(zip(one.channels, where))
        return listeners, {"electrodes": by, "names": names}
    reads: list[Readout] = []
    for one in listeners:
        if one.info is None:
            raise HeschlError(
                f"the sensors of subject {one.subject} have no positions, which areas need: set a montage"
            )
        reads.append(readout(patches, one.info))
    talk = np.max([one.talk for one in reads], axis=0)
    groups = joined(names, talk)
    told = [
        f"{' and '.join(g)} cannot be told apart by these sensors and are read as one"
        for g in groups
        if len(g) > 1
    ]
    told.append("sensors are taken to lie on the template head")
    return [in_areas(one, reads[k], groups) for k, one in enumerate(listeners)], {
        "names": names,
        "cross_talk": talk.round(3).tolist(),
        "groups": [list(group) for group in groups],
        "text": str(CrossTalk(tuple(names), talk, groups)),
        "notes": told,
    }


def _by_area(
    spots: list[Listener],
    answers: list[Response],
    found: dict[tuple[int, str], LayerGain],
    read_as: dict[str, Any],
    sound: dict[str, Array],
    settings: Settings,
    workers: int,
) -> list[dict[str, Any]]:
    """Means over subjects, area by area: of the electrodes in it, or of what sensors outside the head read in it."""
    names = list(dict.fromkeys(name for _, name in found))
    if "electrodes" in read_as:
        return over.by_area(spots, answers, found, names, read_as["electrodes"])
    own = dict(_each(response, [(one, sound, settings) for one in spots], workers, None))
    whole = {one.subject: {place: place for place in one.channels} for one in spots}
    rows = over.by_area(spots, [own[k] for k in range(len(spots))], found, names, whole)
    return [{key: value for key, value in row.items() if key != "electrodes"} for row in rows]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "recordings"
