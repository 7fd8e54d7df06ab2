"""AudioMNIST: sixty speakers say the ten digits fifty times each.

What it is: 30,000 recordings at 48 kHz, 48 men and 12 women, with accent, age, origin and room.
Layout: `ROOT/[data/]<speaker>/<digit>_<speaker>_<repetition>.wav`, speaker as two digits, and
`audioMNIST_meta.txt` (JSON by speaker) beside or inside.
Licence: MIT.
Citation: S. Becker, J. Vielhaben, M. Ackermann, K.-R. Müller, S. Lapuschkin, W. Samek, "AudioMNIST: Exploring
Explainable Artificial Intelligence for audio analysis on a simple benchmark", Journal of the Franklin
Institute 361 (2024) 418-428, arXiv:1807.03418.

Labels of a clip: digit, speaker, repetition, and every column of the metadata (accent, age, gender, native
speaker, origin, recordingdate, recordingroom) as text, "" where unknown. Known faults of the metadata are
mended, and each mend is a note of the corpus.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heschl.corpora import _headers, _tiny
from heschl.files import read_json, write_text
from heschl.types import Clip, Corpus, HeschlError, Skipped
from heschl.wording import counted, listed

META = "audioMNIST_meta.txt"
COLUMNS = ("accent", "age", "gender", "native speaker", "origin", "recordingdate", "recordingroom")
SPEAKERS = tuple(f"{number:02d}" for number in range(1, 61))
OLDEST = 120  # years; a larger age is a slip of the keyboard (speaker 45: 1234)
ROOMS = {"vr-romm": "vr-room", "VR-room": "vr-room"}
_FILE = re.compile(r"(?P<digit>\d)_(?P<speaker>\d{2})_(?P<repetition>\d+)")

# The published splits: fold k trains on blocks k, k+1 (, k+2), validates on the next, tests on the one after.
DIGIT_BLOCKS = (
    (28, 56, 7, 19, 35, 1, 6, 16, 23, 34, 46, 53),
    (36, 57, 9, 24, 37, 2, 8, 17, 29, 39, 48, 54),
    (43, 58, 14, 25, 38, 3, 10, 20, 30, 40, 49, 55),
    (12, 47, 59, 15, 27, 41, 4, 11, 21, 31, 44, 50),
    (26, 52, 60, 18, 32, 42, 5, 13, 22, 33, 45, 51),
)
GENDER_BLOCKS = (  # three women, three men each
    (36, 47, 56, 2, 44, 50),
    (26, 12, 57, 25, 37, 45),
    (43, 28, 52, 48, 53, 41),
    (58, 59, 60, 7, 23, 38),
)


def fold_speakers(task: str, fold: int) -> dict[str, set[str]]:
    """The published speakers ("01".."60") of train, validation and test.

    Raises
    ------
    HeschlError: task is neither "digit" nor "gender", or the fold does not exist (five for digits, four for
        gender, counted from 0).
    """
    blocks: Mapping[str, tuple[tuple[int, ...], ...]] = {"digit": DIGIT_BLOCKS, "gender": GENDER_BLOCKS}
    if task not in blocks:
        raise HeschlError(f"split.task is {task!r}: AudioMNIST publishes splits for digit and gender")
    chosen = blocks[task]
    if not (isinstance(fold, int) and 0 <= fold < len(chosen)):
        raise HeschlError(
            f"split.fold is {fold}: AudioMNIST's {task} splits are numbered 0 to {len(chosen) - 1}"
        )
    turn = [{f"{number:02d}" for number in chosen[(fold + i) % len(chosen)]} for i in range(len(chosen))]
    return {"train": set().union(*turn[:-2]), "validation": turn[-2], "test": turn[-1]}


def read(root: Path) -> Corpus:
    """Reads the tree; clip ids are `<speaker>/<digit>_<speaker>_<repetition>` whatever lies above them.

    Raises
    ------
    HeschlError: no recording can be read, or the metadata is not JSON.
    """
    root = Path(root)
    data = root / "data" if (root / "data").is_dir() else root
    names, skipped = _recordings(data)
    people, notes = _metadata(root, data)
    labels_of = {speaker: {c: sys.intern(v) for c, v in row.items()} for speaker, row in people.items()}
    clips = []
    for name, info in zip(names, _headers.headers([data / name for name in names]), strict=True):
        if isinstance(info, HeschlError):
            skipped.append(Skipped(name, str(info)))
            continue
        stem = _headers.without_suffix(name)
        digit, speaker, repetition = stem.rpartition("/")[2].split("_")
        unknown = dict.fromkeys(COLUMNS, "") if people else {}
        labels = {"digit": digit, "speaker": sys.intern(speaker), "repetition": sys.intern(repetition)}
        labels |= labels_of.get(speaker, unknown)
        clips.append(Clip(stem, data / name, info.rate, labels, stop=info.frames / info.rate))
    if not clips:
        _headers.refuse_nothing_left(
            data, "AudioMNIST (<speaker>/<digit>_<speaker>_<repetition>.wav)", skipped
        )
    there = {clip.labels["speaker"] for clip in clips}
    if missing := [speaker for speaker in SPEAKERS if speaker not in there]:
        notes.append(
            f"{len(missing)} of the 60 speakers {'has' if len(missing) == 1 else 'have'} no recordings: {listed(missing)}"
        )
    if people and (without := sorted(there - set(people))):
        notes.append(
            f"{META} says nothing of {counted(len(without), 'speaker')} ({listed(without)}): their labels are unknown"
        )
    return Corpus(
        name="audiomnist",
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        source="AudioMNIST (arXiv:1807.03418)",
        licence="MIT",
        skipped=tuple(skipped),
        notes=tuple(notes),
    )


def _recordings(data: Path) -> tuple[list[str], list[Skipped]]:
    names, skipped = [], []
    for folder in _headers.entries(data):
        if not folder.is_dir() or not folder.name.isdecimal():
            continue  # readme, metadata, code: the corpus' own repository holds more than recordings
        if not re.fullmatch(r"\d{2}", folder.name):
            why = f"{folder.path} is not called by two digits, as speakers are (01 to 60): rename it"
            skipped.append(Skipped(folder.name, why))
            continue
        for file in _headers.entries(Path(folder.path)):
            name = f"{folder.name}/{file.name}"
            if not _headers.looks_like_audio(file.name):
                skipped.append(Skipped(name, f"{file.path} is not audio by its name"))
                continue
            match = _FILE.fullmatch(_headers.without_suffix(file.name))
            if match is None or match["speaker"] != folder.name:
                skipped.append(
                    Skipped(
                        name,
                        f"{file.path} is not called <digit>_{folder.name}_<repetition>: rename or remove it",
                    )
                )
            else:
                names.append(name)
    return names, skipped


def _metadata(root: Path, data: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Speaker -> column -> text, mended, and a note for each mend."""
    places = dict.fromkeys(
        (root / META, data / META, data.parent / META if data.name == "data" else root / META)
    )
    path = next((place for place in places if place.exists()), None)
    if path is None:
        return {}, [f"{META} is not there: clips have no gender, age, accent or origin"]
    value = read_json(path)
    if not isinstance(value, dict) or not all(isinstance(row, dict) for row in value.values()):
        raise HeschlError(f"{path} is not AudioMNIST's metadata (an object of speakers): fetch it again")
    people, mends = {}, []
    for key, row in value.items():
        speaker = f"{int(key):02d}" if str(key).strip().isdecimal() else str(key).strip()
        people[speaker], found = mended(row)
        mends += [(column, old, new, speaker) for column, old, new in found]
    notes = [
        f"{META}: {c} {old!r} of speaker {speaker} read as {new!r}"
        for c, old, new, speaker in mends
        if old.strip() != new
    ]
    if trimmed := sorted({speaker for _, old, new, speaker in mends if old.strip() == new}):
        notes.append(f"{META}: spaces around values taken off for {counted(len(trimmed), 'speaker')}")
    return people, notes


def mended(row: Mapping[str, Any]) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """One speaker's metadata as text, with its faults mended, and each mend as (column, found, read as).

    Ages may be numbers or text; an age that is no number from 1 to 120 is unknown (""). Spaces around a value
    go, known misspellings of a room are put right, and an accent begins with a capital. That an age is a
    number in one entry and text in another is no mend.
    """
    labels, mends = dict.fromkeys(COLUMNS, ""), []
    for column, raw in row.items():
        found = "" if raw is None else str(raw)
        name, value = column.strip(), found.strip()
        if name == "age" and value:
            years = re.fullmatch(r"(\d{1,9})(?:\.0)?", value)
            value = years[1] if years and 1 <= int(years[1]) <= OLDEST else ""
        elif name == "recordingroom":
            value = ROOMS.get(value, value)
        elif name == "accent":
            value = value[:1].upper() + value[1:]
        if value != found:
            mends.append((name, found, value))
        labels[name] = value
    return labels, mends


def write_tiny(root: Path, seed: int = 0) -> None:
    """Nine speakers, who between them fill every part of every published fold, each digit once, 0.3 s at 48 kHz.

    The metadata have the real one's kinds of faults.
    """
    root = Path(root)
    women = {12, 26, 36, 43, 58}
    people: dict[str, dict[str, Any]] = {}
    for number in (2, 7, 12, 25, 26, 36, 43, 48, 58):
        speaker = f"{number:02d}"
        for digit in range(10):
            wave = _tiny.utterance(number, digit, seed, seconds=0.3, rate=48000)
            _tiny.write(root / "data" / speaker / f"{digit}_{speaker}_0.wav", wave, 48000)
        people[speaker] = {
            "accent": "German",
            "age": {2: 30, 7: "1234"}.get(number, "27"),
            "gender": "female" if number in women else "male",
            "native speaker": "no",
            "origin": "Europe, Germany, Berlin ",
            "recordingdate": f"17-06-{number:02d}-11-04-28",
            "recordingroom": "vr-romm" if number == 58 else "Kino",
        }
    write_text(root / "data" / META, json.dumps(people, indent=1) + "\n")
