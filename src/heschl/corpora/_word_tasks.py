"""What "the 12-class task" means: the classes of Speech Commands, by written rules, so that a score means one thing.

Every rule starts from the parts train / validation / test that the tree's official lists or the published
hash give, and never moves a clip from one part to another.

v1-30   the thirty words of v0.01, nothing else.
v1-31   the same and "silence", in each part as much as the average word has there (words / 30, rounded up).
v1-12   ten words (yes no up down left right on off stop go), "unknown", "silence"; v0.01's other twenty words
        are unknown. In each part, unknown and silence are each a tenth of the clips of the ten words, rounded
        up (the 10 % of Google's own training script).
v2-12   the same over v0.02: its other twenty-five words are unknown.
v2-35   the thirty-five words of v0.02, nothing else.

Unknown clips of a part: those whose id has the smallest SHA-1 (all of them where there are fewer than asked).
Silence clips of a part: one second each, cut from the background recordings. Of each recording the first
80 % of its time serve train, the next 10 % validation, the last 10 % test; within a part's stretches laid end
to end, n clips start at (i + 1/2) / n of the places where a clip can start. As "speaker" such a clip carries
its stretch, so that stretches never cross a split either, and the corpus' noise for augmentation is the
stretch of train alone.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from heschl.corpora.manifest import sha256_of_manifest
from heschl.types import Clip, HeschlError
from heschl.wording import counted, nearest

SILENCE, UNKNOWN = "silence", "unknown"
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_OTHERS = ("bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow")
WORDS_V1 = COMMANDS + _DIGITS + _OTHERS
WORDS_V2 = (*WORDS_V1, "backward", "follow", "forward", "learn", "visual")
TASKS = ("v1-30", "v1-31", "v1-12", "v2-12", "v2-35")
WITH_UNKNOWN = ("v1-12", "v2-12")
STRETCHES = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
SILENCE_SECONDS = 1.0


def check_name(task: str) -> None:
    if task not in TASKS:
        raise HeschlError(
            f"there is no word task {task!r}{nearest(str(task), TASKS)}: use one of {', '.join(TASKS)}"
        )


def apply(
    task: str, root: Path, clips: Sequence[Clip], noise: Sequence[Clip], silent_test: bool = True
) -> tuple[list[Clip], list[Clip], list[str]]:
    """The clips of a task by its rule (see the module), the noise left for augmentation, and notes.

    Raises
    ------
    HeschlError: a word of the task has no clip, or silence cannot be cut.
    """
    words = WORDS_V1 if task.startswith("v1") else WORDS_V2
    wanted = COMMANDS if task in WITH_UNKNOWN else words
    there = {clip.labels["word"] for clip in clips}
    if missing := sorted(set(words) - there):
        raise HeschlError(
            f"{root} has no recordings of {', '.join(missing[:6])}{' ...' if len(missing) > 6 else ''}, "
            f"which task {task} needs: fetch the whole corpus, or leave `task` out"
        )
    kept = [clip for clip in clips if clip.labels["word"] in set(wanted)]
    known = Counter(clip.labels["split"] for clip in kept)
    notes = []
    if outside := sorted(there - set(words)):
        notes.append(f"task {task} leaves out {counted(len(outside), 'word')}: {', '.join(outside)}")
    if task in WITH_UNKNOWN:
        kept += unknown_clips(
            [clip for clip in clips if clip.labels["word"] in set(words) - set(wanted)], known
        )
    if task in WITH_UNKNOWN or task == "v1-31":
        share = 10 if task in WITH_UNKNOWN else len(words)
        need = {part: math.ceil(known[part] / share) for part in STRETCHES if silent_test or part != "test"}
        kept += silence_clips(root, noise, need)
        noise = [_stretch(clip, "train") for clip in noise]
    return kept, list(noise), notes


def unknown_clips(clips: Iterable[Clip], known: Counter[str]) -> list[Clip]:
    """Of other words' clips a tenth of ``known`` in each part, smallest SHA-1 of the id first."""
    ordered = sorted(clips, key=lambda clip: hashlib.sha1(clip.id.encode(), usedforsecurity=False).digest())
    left = {part: math.ceil(n / 10) for part, n in known.items()}
    chosen = []
    for clip in ordered:
        part, word = clip.labels["split"], clip.labels["word"]
        if left.get(part, 0) > 0:
            left[part] -= 1
            chosen.append(replace(clip, labels={**clip.labels, "word": UNKNOWN, "spoken": word}))
    return chosen


def silence_clips(root: Path, noise: Sequence[Clip], need: dict[str, int]) -> list[Clip]:
    """``need[part]`` clips of one second from each part's stretches of the background recordings."""
    clips = []
    for part, number in need.items():
        stretches = [_stretch(clip, part) for clip in noise]
        room = [max(0.0, (s.stop or 0.0) - s.start - SILENCE_SECONDS) for s in stretches]
        if number and not any(room):
            raise HeschlError(
                f"{root / '_background_noise_'} has no {part} stretch longer than {SILENCE_SECONDS} s to cut silence from "
                f"({counted(len(noise), 'recording')}): put recordings of 20 s or more there, "
                "or choose a task without silence"
            )
        starts: Counter[str] = Counter()
        for i in range(number):
            place = (i + 0.5) / number * sum(room)
            index = 0
            while place >= room[index] and index + 1 < len(room):
                place -= room[index]
                index += 1
            source = stretches[index]
            first = math.floor(
                (source.start + place) * source.rate + 1e-6
            )  # on a sample, so that a clip is exact
            starts[source.id] += 1
            clips.append(
                replace(
                    source,
                    id=f"{source.id}#{part}-{starts[source.id]}",
                    labels={
                        "word": SILENCE,
                        "speaker": f"noise-{source.id.rpartition('/')[2]}-{part}",
                        "split": part,
                    },
                    start=first / source.rate,
                    stop=first / source.rate + SILENCE_SECONDS,
                )
            )
    return clips


def _stretch(clip: Clip, part: str) -> Clip:
    """The share of a background recording that serves a part, cut on samples."""
    seconds = clip.stop or 0.0
    first, last = (math.floor(share * seconds * clip.rate) / clip.rate for share in STRETCHES[part])
    return replace(clip, start=first, stop=last) if last > first else clip


def describe(task: str, clips: Sequence[Clip]) -> str:
    """The sentence that fixes what a score on a task means: counts and the manifest's hash."""
    parts = Counter(clip.labels["split"] for clip in clips)
    return (
        f"task {task} by its written rule: {len({clip.labels['word'] for clip in clips})} classes, "
        + ", ".join(f"{parts[part]:,} {part}" for part in STRETCHES)
        + f" clips, manifest {sha256_of_manifest((clip, clip.labels['split']) for clip in clips)}"
    )
