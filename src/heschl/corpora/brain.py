"""Brains recorded while people listened: any format that MNE reads, a BIDS tree, or a table of what was heard when.

    recordings.csv            recording,start,stop,audio[,subject,audio_start,kind,electrodes]
    a BIDS tree               sub-*/[ses-*/]{eeg,meg,ieeg}/*, *_events.tsv with `stim_file`, stimuli/

TABLE: a row a stretch of sound: the recording's file, seconds in it from which (start) to which (stop; empty for the end
of the sound) the file ``audio`` was heard, from its second ``audio_start`` on (0). Paths are relative to the table.
Recordings are .fif, .edf, .bdf, .vhdr, .set and whatever else MNE reads, or .npz of NumPy arrays: data (channel, time)
in volts or tesla, rate, channels, kind ("eeg", "meg", "ecog", "seeg"), and if wanted positions (channel, 3) in metres,
space, bads, audio (time,) as recorded, bad (stretch, 2) seconds. ``electrodes`` names a table of places, as BIDS has.

BIDS: what was heard is `stim_file` of *_events.tsv, under stimuli/. Where events name none, give the option ``audio``,
one file that all heard, and ``event``, the trial_type at which it begins (else it begins with the recording).

Clips are what was heard (label audio); recordings say when. Channels marked bad are left out and told.

Licence: of the recordings that it reads; those that `write_tiny` makes are synthetic (CC0).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from heschl.corpora import _tiny
from heschl.corpora._brain_bids import Row, Source, bids_sources
from heschl.corpora._brain_files import KINDS, facts, open_raw
from heschl.corpora._headers import seconds_of
from heschl.files import audio_info, read_csv, read_json, write_csv
from heschl.types import Clip, Corpus, Heard, HeschlError, Recording, Skipped

TABLE = "recordings.csv"
COLUMNS = ("recording", "start", "stop", "audio")
_MORE = ("subject", "audio_start", "kind", "electrodes")


def read(
    root: Path,
    *,
    kind: str | None = None,
    task: str | None = None,
    subjects: Sequence[str] | None = None,
    derivative: str | None = None,
    audio: str | None = None,
    event: str | None = None,
) -> Corpus:
    """Recordings with what was heard.

    Parameters
    ----------
    root: a BIDS tree, a table, or a folder with `recordings.csv`.
    kind: "meg", "eeg", "ecog" or "seeg" where a file holds several. subjects: those alone.
    task: of BIDS. derivative: folder under derivatives/ whose recordings are taken instead.
    audio, event: see above.

    Raises
    ------
    HeschlError: the layout is none of these, an option does not fit it, or nothing can be read.
    """
    root = Path(root).expanduser()
    if kind is not None and kind not in KINDS:
        raise HeschlError(f"kind is '{kind}': choose {', '.join(KINDS)}")
    listed = _sources(root, task, derivative, audio, event)
    if subjects is not None:
        wanted = {str(one).removeprefix("sub-") for one in subjects}
        if strange := sorted(wanted - {one.subject for one in listed}):
            there = ", ".join(sorted({one.subject for one in listed}))
            raise HeschlError(f"{root} has no subject '{strange[0]}': it has {there or 'none'}")
        listed = [one for one in listed if one.subject in wanted]
    clips: dict[str, Clip] = {}
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    notes: list[str] = []
    base = root if root.is_dir() else root.parent
    for one in listed:
        try:
            recording, heard, told, lost = _recording(one, base, kind)
        except HeschlError as error:
            skipped.append(Skipped(one.id, str(error)))
            continue
        recordings.append(recording)
        clips |= {clip.id: clip for clip in heard}
        notes += told
        skipped += lost
    if not recordings:
        why = f": {skipped[0].why}" if skipped else ": it has no recording"
        raise HeschlError(f"nothing in {root} can be read{why}")
    described = base / "dataset_description.json"
    about = read_json(described) if described.is_file() else {}
    simulated = (base / "truth.json").is_file() or "simulated by heschl" in str(about.get("Name", "")).lower()
    called = str(about.get("Name") or "").strip("[] ")
    return Corpus(
        name=called if called.lower() not in ("", "unspecified") else base.name or "recordings",
        clips=tuple(sorted(clips.values(), key=lambda clip: clip.id)),
        source=str(root.name),
        licence=str(about.get("License") or "the owner's"),
        skipped=tuple(skipped),
        notes=(*(("these brains are simulated",) if simulated else ()), *notes),
        synthetic=simulated,
        recordings=tuple(recordings),
    )


def is_recordings(path: Path) -> bool:
    """Whether a path is a BIDS tree, a table as above, or a folder with one."""
    if path.is_dir():
        return (path / TABLE).is_file() or (
            (path / "dataset_description.json").is_file() and any(path.glob("sub-*"))
        )
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return {"recording", "audio"} <= {name.strip() for name in file.readline().split(",")}


def check(path: Path) -> list[str]:
    """What `heschl corpora check` tells of recordings: minutes heard per run, and, after "! ", what is missing."""
    corpus = read(path)
    heard = sum(one.stop - one.start for recording in corpus.recordings for one in recording.heard)
    people = len({recording.subject for recording in corpus.recordings})
    files = len(corpus.recordings)
    lines = [
        f"{corpus.name}: {files} recording{'s' * (files != 1)} of {people} subject{'s' * (people != 1)}, "
        f"{heard / 60:.1f} minutes heard"
    ]
    for one in corpus.recordings:
        minutes = sum(h.stop - h.start for h in one.heard) / 60
        what = sorted({str(h.clip) for h in one.heard})
        shown = ", ".join(what[:3]) + (" ..." if len(what) > 3 else "")
        lines.append(
            f"  {one.id}: {minutes:.1f} min heard ({shown}); {len(one.channels)} {one.kind} channels at {one.rate:g} Hz"
        )
        if facts(open_raw(one.signal), one.signal, one.kind).audio is None:
            lines.append(f"  {one.id}: no audio channel was recorded, so onset and clock are not verified")
        if one.positions is None:
            lines.append(f"! {one.id}: no channel has a position: areas and maps of sensors need a montage")
        elif missing := int(np.isnan(one.positions).any(1).sum()):
            lines.append(f"  {missing} channels of {one.id} have no position")
    lines += [f"  {note}" for note in corpus.notes]
    return lines + [f"! {item.where}: {item.why}" for item in corpus.skipped]


# --- what there is ---------------------------------------------------------------------------------------


def _sources(
    root: Path, task: str | None, derivative: str | None, audio: str | None, event: str | None
) -> list[Source]:
    if not root.exists():
        raise HeschlError(f"{root} is not there: check the path of the recordings")
    if root.is_dir() and not (root / TABLE).is_file():
        if not (root / "dataset_description.json").is_file():
            raise HeschlError(
                f"{root} has neither {TABLE} nor dataset_description.json (BIDS): give one of them"
            )
        return bids_sources(root, task, derivative, audio, event)
    if root.is_file() and root.suffix.lower() not in (".csv", ".tsv", ".txt", ""):
        raise HeschlError(
            f"{root} is no table, and a recording alone does not say what was heard: give a table with {', '.join(COLUMNS)}, or a BIDS tree"
        )
    for name, value in (("task", task), ("derivative", derivative), ("audio", audio), ("event", event)):
        if value is not None:
            raise HeschlError(f"`{name}` belongs to BIDS, and {root} is a table: leave it out")
    return _table(root / TABLE if root.is_dir() else root)


def _table(path: Path) -> list[Source]:
    rows = read_csv(path)
    if not rows:
        raise HeschlError(
            f"{path} has no rows: give one for every stretch of sound, under {','.join(COLUMNS)}"
        )
    for column in COLUMNS:
        if column not in rows[0]:
            raise HeschlError(f"{path} has no column `{column}`: it needs {', '.join(COLUMNS)}")
    if strange := [name for name in rows[0] if name not in (*COLUMNS, *_MORE)]:
        raise HeschlError(f"{path} has a column `{strange[0]}`: it may have {', '.join((*COLUMNS, *_MORE))}")
    found: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in enumerate(rows, 2):
        if not row["recording"]:
            raise HeschlError(f"{path}, line {line}: recording is empty: name its file")
        found.setdefault(row["recording"], []).append((line, row))
    return [_table_source(path, name, own) for name, own in found.items()]


def _table_source(path: Path, name: str, own: list[tuple[int, dict[str, str]]]) -> Source:
    first = own[0][1]
    stem = Path(name).name.split(".")[0]
    subject = first.get("subject") or next(
        (part[4:] for part in stem.split("_") if part.startswith("sub-")), stem
    )
    places = path.parent / first["electrodes"] if first.get("electrodes") else None

    blank = next((line for line, row in own if not row["audio"].strip()), None)

    def rows() -> list[Row]:
        if blank is not None and any(row["audio"].strip() for _, row in own):
            raise HeschlError(f"{path}, line {blank}: audio is empty: name the sound, or take the row away")
        return [
            Row(
                seconds_of(row["start"], f"{path}, line {line}: start"),
                seconds_of(row["stop"], f"{path}, line {line}: stop") if row["stop"].strip() else None,
                path.parent / row["audio"],
                seconds_of(row.get("audio_start") or "0", f"{path}, line {line}: audio_start"),
            )
            for line, row in own
            if row["audio"].strip()
        ]

    return Source(
        Path(name).as_posix(),
        subject.removeprefix("sub-"),
        path.parent / name,
        rows,
        first.get("kind") or None,
        places,
    )


# --- a recording -----------------------------------------------------------------------------------------


def _recording(
    one: Source, base: Path, kind: str | None
) -> tuple[Recording, list[Clip], list[str], list[Skipped]]:
    """A recording, what was heard in it, notes, and what is said to be heard outside it."""
    raw = open_raw(one.path)
    found = facts(raw, one.path, one.kind or kind, one.electrodes)
    rows = one.rows()
    if not rows:
        raise HeschlError(
            f"{one.path} has no audio: nothing says what was heard; name it in the table, or in stim_file of the events"
        )
    heard: list[Heard] = []
    clips: list[Clip] = []
    lost: list[Skipped] = []
    for row in sorted(rows, key=lambda row: row.start):
        clip, length = _clip(row, base)
        stop = row.start + length if row.stop is None else row.stop
        if stop - row.start > length + 0.5:
            raise HeschlError(
                f"{one.path}: {row.audio.name} is said to be heard for {stop - row.start:.2f} s and lasts {length:.2f} s: "
                "another file or another rate of sound was played, or the times are wrong"
            )
        stop = min(stop, row.start + length)
        if row.start < 0 or stop > found.seconds + 0.5 or stop <= row.start:
            why = f"it is heard from {row.start:.2f} to {stop:.2f} s, outside the recording of {found.seconds:.2f} s: mend the events"
            lost.append(Skipped(f"{one.id}, {row.audio.name}", why))
            continue
        heard.append(Heard(row.start, min(stop, found.seconds), clip.id))
        clips.append(clip)
    if not heard:
        raise HeschlError(f"{one.path}: nothing was heard inside it: {lost[0].where}: {lost[0].why}")
    for a, b in pairwise(heard):
        if b.start < a.stop - 1e-6:
            raise HeschlError(
                f"{one.path}: {b.clip} begins at {b.start:.2f} s, before {a.clip} ends at {a.stop:.2f} s: mend the events"
            )
    told = [f"{one.id}: channels marked bad are left out ({', '.join(found.bad)})"] if found.bad else []
    if len(found.sounds) > 1:
        told.append(
            f"{one.id}: {', '.join(found.sounds)} recorded the sound, by their names, and are no sensors"
        )
    recording = Recording(
        one.id,
        one.subject,
        one.path,
        found.rate,
        found.kind,  # type: ignore[arg-type]
        found.channels,
        found.positions,
        found.space,
        tuple(heard),
    )
    return recording, clips, told, lost


def _clip(row: Row, base: Path) -> tuple[Clip, float]:
    """What was heard, from its start to the file's end, and how long that is."""
    info = audio_info(row.audio)
    end = info.frames / info.rate
    if not 0 <= row.audio_start < end:
        raise HeschlError(
            f"{row.audio} is {end:.2f} s long and audio_start is {row.audio_start:g} s: mend it"
        )
    try:
        name = row.audio.resolve().relative_to(base.resolve()).as_posix()
    except ValueError:
        name = row.audio.name
    if row.audio_start:
        name += f"#{row.audio_start:g}"
    clip = Clip(name, row.audio, info.rate, {"audio": row.audio.stem}, start=row.audio_start, stop=end)
    return clip, end - row.audio_start


def write_tiny(root: Path, seed: int = 0) -> None:
    """Two subjects of four channels hear four short sounds; what their channels hold is the sounds' envelopes and noise."""
    random = np.random.default_rng(seed)
    rate, rows = 64, []
    (root / "audio").mkdir(parents=True, exist_ok=True)
    waves = [_tiny.utterance(k % 2, k, seed, 4.0) for k in range(4)]
    for k, wave in enumerate(waves):
        _tiny.write(root / "audio" / f"story-{k}.wav", wave, 16000)
    positions = np.array([[-0.07, 0, 0.04], [0.07, 0, 0.04], [0, 0.08, 0.05], [0, -0.08, 0.05]])
    for subject in ("01", "02"):
        data = 1e-6 * random.standard_normal((4, rate * 22))
        for k, wave in enumerate(waves):
            loud = np.abs(wave[: 4 * 16000]).reshape(4 * rate, -1).mean(1)
            start = 1 + 5 * k
            data[:, start * rate : (start + 4) * rate] += 5e-6 * np.outer([1, 0.5, 0.2, 0], loud)
            rows.append(
                {
                    "recording": f"sub-{subject}.npz",
                    "start": start,
                    "stop": start + 4,
                    "audio": f"audio/story-{k}.wav",
                }
            )
        np.savez(
            root / f"sub-{subject}.npz",
            data=data,
            rate=rate,
            channels=np.array(["L", "R", "F", "O"]),
            kind="eeg",
            positions=positions,
            space="head",
        )
    write_csv(root / TABLE, rows, COLUMNS)


def facts_of(recording: Recording) -> Any:
    """An `mne.Info` of a recording's channels, in its order."""
    import mne

    raw = open_raw(recording.signal)
    return mne.pick_info(raw.info, [raw.ch_names.index(name) for name in recording.channels])
