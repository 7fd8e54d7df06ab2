"""A run's simulated brain recordings, as a folder of MNE's files or as a BIDS data set; illustrative, without noise.

What each layer does with some clips of the test part is placed by the shipped table and projected to 64 electrodes, clip
by clip; `heschl place` does the same for one clip, with other sensors, with noise, and with pictures.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heschl.brain.anatomy import need_mne, quiet
from heschl.brain.convert import NAME, raw_of, write_bids, write_stc
from heschl.brain.forward import project
from heschl.brain.place import clip_courses
from heschl.files import read_json, replacing, write_csv, write_json, write_text
from heschl.run import Run
from heschl.steps.inputs import chosen
from heschl.steps.networks import Progress, open_network
from heschl.steps.placement import CAVEAT, map_of
from heschl.steps.placing import Part, padded, recorded
from heschl.types import Activity, BrainMap, Clip, HeschlError, Skipped

CLIPS = 16  # of the test part, evenly over speakers
SENSORS = "biosemi64"
GAP = 0.5  # seconds of zeros between two clips of the BIDS recording
OWN = ("number", "clip")  # columns of ours; a label that is called so gets a line after its name
ABOUT = (
    f"{CAVEAT} Simulated EEG (biosemi64, average reference, volts, no noise) of what the run {{run}} does with "
    "{clips} clips; times are network time in seconds from a clip's start, no brain's latency.\n"
)


class Simulated(NamedTuple):
    """One clip, its moments in the cortex and what the electrodes see of them (`mne.EvokedArray`)."""

    clip: Clip
    map: BrainMap
    evoked: Any


def simulated(run: Run, progress: Progress | None = None) -> Iterator[Simulated]:
    """Clip by clip.

    Raises
    ------
    HeschlError: mne lacks, no clip can be read, or the network has no areas with times, or hears no sound.
    """
    need_mne("an export of brain recordings")
    network, skipped = open_network(run), list[Skipped]()
    clips, *_ = chosen(run, "test" if run.split.test else "train", CLIPS, 0)
    parts = list(recorded(network, clips, skipped, progress))
    if not parts:
        raise HeschlError(f"no clip of {len(clips):,} could be read, the first because: {skipped[0].why}")
    courses = clip_courses(_joined(parts))  # all at once: an area's moments are to one scale
    seconds = [one for part in parts for one in part.seconds]
    for k, clip in enumerate(clip for part in parts for clip in part.clips):
        placed = map_of(courses, k, end=int(np.searchsorted(courses.times, seconds[k] + 1e-9)))
        with quiet():
            evoked = project(placed, SENSORS)
        evoked.comment = f"{clip.id}; {evoked.comment}"
        yield Simulated(clip, placed, evoked)


def _joined(parts: Sequence[Part]) -> dict[str, Activity]:
    """The activity of all clips, silent after each one's end."""
    areas = list(parts[0].activity)
    values = {area: [one.numpy() for part in parts for one in part.activity[area].values] for area in areas}
    times = {area: max((p.activity[area].times for p in parts), key=lambda own: own[-1]) for area in areas}
    return padded(values, times, [one for part in parts for one in part.seconds])


def export_mne(run: Run, path: Path, progress: Progress | None) -> dict[str, Any]:
    """biosemi64-ave.fif with an evoked response a clip, NNN-lh.stc and NNN-rh.stc of each, and clips.csv."""
    mne, rows, seen = need_mne("an export to MNE"), [], []
    for k, one in enumerate(simulated(run, progress)):
        write_stc(path / f"{k:03d}", one.map)
        rows.append({"number": f"{k:03d}", **_row(one.clip)})
        seen.append(one.evoked)
    with replacing(path / f"{SENSORS}-ave.fif") as temporary, quiet():
        mne.write_evokeds(temporary, seen, overwrite=True)
    _finish(run, path, rows)
    return {"clips": len(rows)}


def export_bids(run: Run, path: Path, progress: Progress | None) -> dict[str, Any]:
    """One simulated listener, sub-01, who hears the clips one after another: BrainVision, and which clip when in events.tsv.

    The folder is made anew: an earlier export in it is replaced when all is written, and nothing else is.
    """
    path = path.absolute()
    _check_free(path)
    mne, held = need_mne("an export to BIDS"), list(simulated(run, progress))
    longest = max(len(one.evoked.times) for one in held)
    data = np.stack([np.pad(o.evoked.data, ((0, 0), (0, longest - len(o.evoked.times)))) for o in held])
    with quiet():
        info = held[0].evoked.info
        raw = raw_of(mne.EpochsArray(data, info, tmin=float(held[0].evoked.times[0])), GAP)
    fresh = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    written = write_bids(fresh, raw)
    rows = [_row(one.clip) for one in held]
    events = written.with_name(written.name.replace("_eeg.vhdr", "_events.tsv"))
    _add_columns(events, rows)
    _finish(run, fresh, rows, table=False)
    shutil.rmtree(path, ignore_errors=True)
    fresh.replace(path)
    return {"clips": len(held)}


def _check_free(path: Path) -> None:
    """Refuses to write over what is no export of ours."""
    about = path / "dataset_description.json"
    earlier = about.is_file() and read_json(about).get("Name") == NAME
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not earlier):
        raise HeschlError(
            f"{path} is there and was not written by this export, which would replace it: name another --out"
        )


def _row(clip: Clip) -> dict[str, str]:
    labels = {f"{name}_" if name in OWN else name: value for name, value in clip.labels.items()}
    return {"clip": clip.id, **labels}


def _add_columns(events: Path, rows: list[dict[str, str]]) -> None:
    """Which clip each event is, in columns beside those that mne-bids writes, and what the columns are."""
    lines = events.read_text(encoding="utf-8-sig").splitlines()
    if len(lines) != len(rows) + 1:
        raise HeschlError(
            f"{events.name} holds {len(lines) - 1} events of {len(rows)} clips: nothing is kept"
        )
    names = list(dict.fromkeys(name for row in rows for name in row))
    own = set(lines[0].split("\t"))
    called = {name: " ".join(name.split()) + "_" * (name in own) for name in names}
    told = [lines[0] + "".join(f"\t{called[name]}" for name in names)]
    told += [
        line + "".join(f"\t{' '.join(row.get(name, '').split()) or 'n/a'}" for name in names)
        for line, row in zip(lines[1:], rows, strict=True)
    ]
    write_text(events, "\n".join(told) + "\n")
    sidecar = events.with_suffix(".json")
    known = read_json(sidecar) if sidecar.exists() else {}
    about = {called[name]: {"Description": f"the clip's {name}, as its corpus says"} for name in names}
    write_json(sidecar, {**known, **about, "clip": {"Description": "id of the clip that is heard"}})


def _finish(run: Run, path: Path, rows: list[dict[str, str]], table: bool = True) -> None:
    if table:
        write_csv(path / "clips.csv", rows, list(dict.fromkeys(name for row in rows for name in row)))
    write_text(path / ("README.txt" if table else "README"), ABOUT.format(run=run.name, clips=len(rows)))
