"""What was heard, of BIDS: recordings, their events with `stim_file`, and stimuli/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from heschl.corpora._brain_files import SUFFIXES, tsv
from heschl.corpora._headers import seconds_of
from heschl.files import AUDIO_SUFFIXES, audio_info
from heschl.types import HeschlError


class Row(NamedTuple):
    """A stretch of sound: from and to, seconds of the recording (stop None: the sound's end), the file and its start."""

    start: float
    stop: float | None
    audio: Path
    audio_start: float = 0.0


class Source(NamedTuple):
    """A recording to be read: its name, subject, file, what was heard (or why that is not known)."""

    id: str
    subject: str
    path: Path
    rows: Callable[[], list[Row]]
    kind: str | None = None
    electrodes: Path | None = None


def bids_sources(
    root: Path, task: str | None, derivative: str | None, audio: str | None, event: str | None
) -> list[Source]:
    base = root if derivative is None else root / "derivatives" / derivative
    if not base.is_dir():
        there = sorted(p.name for p in (root / "derivatives").glob("*") if p.is_dir())
        raise HeschlError(f"{base} is not there: the derivatives are {', '.join(there) or 'none'}")
    paths = [
        path
        for path in sorted(base.glob("sub-*/**/*"))
        if path.parent.name in ("eeg", "meg", "ieeg")
        and path.name.endswith(
            tuple(f"_{kind}{suffix}" for kind in ("eeg", "meg", "ieeg") for suffix in SUFFIXES)
        )
        and "_split-" not in path.name.replace("_split-01", "")
    ]
    tasks = sorted({entity(path, "task") for path in paths})
    if task is not None:
        paths = [path for path in paths if entity(path, "task") == task]
        if not paths:
            raise HeschlError(
                f"{base} has no recording of task '{task}': it has {', '.join(tasks) or 'none'}"
            )
    return [
        Source(
            path.relative_to(base).as_posix(),
            entity(path, "sub"),
            path,
            lambda path=path: _events(path, root, audio, event),  # type: ignore[misc]
        )
        for path in paths
    ]


def entity(path: Path, key: str) -> str:
    """The value of a BIDS entity in a file's name, or ""."""
    return next((part[len(key) + 1 :] for part in path.name.split("_") if part.startswith(f"{key}-")), "")


def _events(path: Path, root: Path, audio: str | None, event: str | None) -> list[Row]:
    table = _events_file(path, root)
    rows = [] if table is None else tsv(table)
    if audio is not None:
        file = _stimulus(root, audio)
        if event is None:
            return [Row(0.0, None, file)]
        onsets = [row["onset"] for row in rows if event in (row.get("trial_type"), row.get("value"))]
        if not onsets:
            kinds = sorted({row.get("trial_type", "") for row in rows} - {""})
            raise HeschlError(
                f"{table or path} has no event '{event}' at which {audio} begins: it has {', '.join(kinds[:8]) or 'none'}"
            )
        return [Row(seconds_of(onset, f"{table}: onset"), None, file) for onset in onsets]
    found: list[Row] = []
    for row in rows:
        name = row.get("stim_file", "n/a").strip()
        if name in ("", "n/a"):
            continue
        if not name.lower().endswith(AUDIO_SUFFIXES):
            continue  # a picture or a video
        file = _stimulus(root, name)
        onset = seconds_of(row.get("onset", ""), f"{table}: onset")
        info = audio_info(file)
        length = info.frames / info.rate
        if found and found[-1].audio == file and onset < found[-1].start + length - 0.5:
            found[-1] = found[-1]._replace(stop=None)  # words of one story, which goes on
            continue
        text = row.get("duration", "n/a")
        duration = 0.0 if text in ("", "n/a") else seconds_of(text, f"{table}: duration")
        found.append(Row(onset, onset + min(duration, length) if duration > 0 else None, file))
    return found


def _events_file(path: Path, root: Path) -> Path | None:
    stem = path.name.rsplit("_", 1)[0]
    beside = path.with_name(f"{stem}_events.tsv")
    if beside.is_file():
        return beside
    kept = [p for p in stem.split("_") if p.split("-")[0] in ("sub", "ses", "task", "acq", "run")]
    inside = path.parts[next(k for k, part in enumerate(path.parts) if part.startswith("sub-")) : -1]
    raw = root.joinpath(*inside, "_".join(kept) + "_events.tsv")
    return raw if raw.is_file() else None


def _stimulus(root: Path, name: str) -> Path:
    for file in (root / "stimuli" / name, root / name):
        if file.is_file():
            return file
    raise HeschlError(f"{root / 'stimuli' / name} is not there: put the sound that was heard into stimuli/")
