"""One folder a word: Google Speech Commands v0.01 and v0.02, and any tree laid out like them.

What it is: short recordings of single words by thousands of volunteers (v0.01: 64,727 clips of 30 words,
v0.02: 105,829 of 35), 16 kHz, one second at most.
Layout: `ROOT/<word>/<speaker>_nohash_<take>.wav` (WAV, FLAC or what else libsndfile reads), beside them
`_background_noise_/` (minutes of noise), `validation_list.txt` and `testing_list.txt`. The official test
archives of the twelve-class task (`_silence_/`, `_unknown_/` and ten words) are read too.
Licence: CC BY 4.0 (Google) for Speech Commands; a tree of your own has its own.
Citation: P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv:1804.03209.

Labels of a clip: word, speaker and take (where the name tells them), split (train, validation or test).
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from heschl.corpora import _headers, _tiny, _word_tasks
from heschl.files import AudioInfo, read_text, write_text
from heschl.types import Clip, Corpus, HeschlError, Skipped
from heschl.wording import counted

NOISE = "_background_noise_"
ARCHIVE_CLASSES = {"_silence_": _word_tasks.SILENCE, "_unknown_": _word_tasks.UNKNOWN}
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_MAX_PER_CLASS = 2**27 - 1


def part_by_name(file_name: str, validation: float = 10.0, test: float = 10.0) -> str:
    """The part that a recording belongs to by Speech Commands' published rule (arXiv:1804.03209, section 7).

    The SHA-1 of the file name up to `_nohash_` (the whole name where it has none), taken as a number modulo
    2^27, is stretched to 0..100 %; the first ``validation`` per cent are validation, the next ``test`` per
    cent are test, and the rest is train. So all clips of one speaker fall into one part, for ever.
    """
    speaker = file_name.rpartition("/")[2].partition("_nohash_")[0]
    number = int(hashlib.sha1(speaker.encode("utf-8"), usedforsecurity=False).hexdigest(), 16)
    percent = (number % (_MAX_PER_CLASS + 1)) * (100.0 / _MAX_PER_CLASS)
    if percent < validation:
        return "validation"
    return "test" if percent < validation + test else "train"


def read(root: Path, *, task: str | None = None, test_root: Path | str | None = None) -> Corpus:
    """Reads a tree of word folders.

    Parameters
    ----------
    root: the folder that holds the word folders (or the `train` folder of Kaggle's copy).
    task: None for every folder as a class, or one of the written rules "v1-30", "v1-31", "v1-12", "v2-12",
        "v2-35" (see `_word_tasks`): which words, how much silence, which unknown words. The corpus' notes
        then give the hash of the resulting manifest, so that a score means one thing.
    test_root: the unpacked official test archive, which then is the test part (twelve-class tasks only).

    Raises
    ------
    HeschlError: no recording can be read; a word of the task is missing; the official lists contradict
        each other; there is no background noise to cut silence from.
    """
    if task is not None:
        _word_tasks.check_name(task)
    root = _tree(Path(root))
    archive = _is_archive(root)
    if (archive or test_root) and task not in (None, *_word_tasks.WITH_UNKNOWN):
        raise HeschlError(
            f"the official test archive has twelve classes and does not fit task {task}: use v1-12 or v2-12"
        )
    tree = _scan(root, prefix="", archive=archive)
    if not tree.clips:
        _headers.refuse_nothing_left(root, "one folder a word", tree.skipped)
    clips, noise, skipped, notes = tree.clips, tree.noise, tree.skipped, tree.notes
    if task is not None and not archive:
        clips, noise, more = _word_tasks.apply(task, root, clips, noise, silent_test=test_root is None)
        notes += more
    if test_root is not None:
        if task is None or archive:
            raise HeschlError(
                "test_root belongs to a tree of words with task: v1-12 or v2-12; set the task, or leave it out"
            )
        test = _scan(Path(test_root), prefix="test/", archive=True)
        if not test.clips:
            _headers.refuse_nothing_left(Path(test_root), "an official test archive", test.skipped)
        clips = [clip for clip in clips if clip.labels["split"] != "test"] + test.clips
        skipped, notes = skipped + test.skipped, notes + test.notes
    clips.sort(key=lambda clip: clip.id)
    if task is not None:
        notes.append(_word_tasks.describe(task, clips))
    return Corpus(
        name="words" if task is None else f"words-{task}",
        clips=tuple(clips),
        source="a tree of one folder a word, laid out as Speech Commands (arXiv:1804.03209)",
        licence="CC BY 4.0 if it is Google's Speech Commands, else that of its maker",
        noise=tuple(noise),
        skipped=tuple(skipped),
        notes=tuple(notes),
    )


@dataclass
class _Found:
    clips: list[Clip]
    noise: list[Clip]
    skipped: list[Skipped]
    notes: list[str]


def _tree(root: Path) -> Path:
    """The folder that holds the words; Kaggle's copy has them one or two levels down, in `train/audio`."""
    for inner in (root / "train" / "audio", root / "audio"):
        if inner.is_dir() and (inner / NOISE).is_dir():
            return inner
    return root


def _is_archive(root: Path) -> bool:
    return all((root / name).is_dir() for name in ARCHIVE_CLASSES)


def _scan(root: Path, prefix: str, archive: bool) -> _Found:
    """All recordings of a tree as clips, each with word, speaker, take and split."""
    if archive and not _is_archive(root):
        raise HeschlError(
            f"{root} is not an official test archive: it has no folders `_silence_` and `_unknown_`"
        )
    names, skipped, notes = _recordings(root, archive)
    official = {} if archive else _official_parts(root, notes)
    infos = _headers.headers([root / name for name in names])
    clips, noise, ids, missing = [], [], set(), set(official)
    for name, info in zip(names, infos, strict=True):
        stem = _headers.without_suffix(name)
        missing.discard(stem)
        if isinstance(info, HeschlError):
            skipped.append(Skipped(name, str(info)))
        elif stem in ids:
            skipped.append(
                Skipped(name, f"{root / name} lies beside a recording of the same name and another suffix")
            )
        elif name.startswith(NOISE + "/"):
            ids.add(stem)
            noise.append(_clip(prefix + stem, root / name, info, {}))
        else:
            ids.add(stem)
            labels = _labels(stem, archive)
            labels["split"] = "test" if archive else _part(name, stem, official)
            clips.append(_clip(prefix + stem, root / name, info, labels))
    if missing:
        notes.append(
            f"the official lists name {counted(len(missing), 'recording')} that this copy does not have"
        )
    unnamed = sum("speaker" not in clip.labels for clip in clips)
    if unnamed:
        notes.append(
            f"{counted(unnamed, 'clip has', 'clips have')} no speaker in the name (`<speaker>_nohash_<take>`): "
            "each counts as a speaker of its own, and the same voice may be on both sides of a split"
        )
    return _Found(clips, noise, skipped, notes)


def _recordings(root: Path, archive: bool) -> tuple[list[str], list[Skipped], list[str]]:
    """Paths of what may be recordings, relative with forward slashes, in order; what was left out; notes."""
    names: list[str] = []
    skipped: list[Skipped] = []
    others: Counter[str] = Counter()
    known = {NOISE, *(ARCHIVE_CLASSES if archive else ())}
    for folder in _headers.entries(root):
        if not folder.is_dir():
            if _headers.looks_like_audio(folder.name):
                skipped.append(
                    Skipped(folder.name, f"{folder.path} lies outside the word folders: move it into one")
                )
            continue
        if folder.name.startswith("_") and folder.name not in known:
            skipped.append(
                Skipped(
                    folder.name, f"{folder.path} begins with an underscore, so it is not taken for a word"
                )
            )
            continue
        before = len(names)
        for file in _headers.entries(Path(folder.path)):
            if file.is_dir():
                skipped.append(
                    Skipped(f"{folder.name}/{file.name}", f"{file.path} is a folder inside a word's folder")
                )
            elif _headers.looks_like_audio(file.name):
                names.append(f"{folder.name}/{file.name}")
            elif folder.name != NOISE or not file.name.lower().startswith("readme"):
                others[Path(file.name).suffix.lower() or "no suffix"] += 1
        if len(names) == before:
            skipped.append(Skipped(folder.name, f"{folder.path} holds no recordings"))
    notes = [
        f"{counted(n, 'file')} among the recordings not read, since {suffix} is not audio"
        for suffix, n in sorted(others.items())
    ]
    return names, skipped, notes


def _official_parts(root: Path, notes: list[str]) -> dict[str, str]:
    """Relative path without suffix -> part, from the two official lists; empty where they are not there."""
    beside = [root, root.parent] if root.name == "audio" else [root]
    folder = next((f for f in beside if any((f / name).exists() for name in LISTS.values())), None)
    if folder is None:
        return {}
    parts: dict[str, str] = {}
    for part, name in LISTS.items():
        if not (folder / name).exists():
            raise HeschlError(
                f"{folder} has one of {' and '.join(LISTS.values())} without the other: put {name} there too"
            )
        for line in read_text(folder / name).splitlines():
            stem = _headers.without_suffix(line.strip().replace("\\", "/").removeprefix("./"))
            if stem and parts.setdefault(stem, part) != part:
                raise HeschlError(f"{folder}: {line.strip()} is in both official lists: take it out of one")
    notes.append("train, validation and test are those of the official lists")
    return parts


def _part(name: str, stem: str, official: Mapping[str, str]) -> str:
    return official.get(stem, "train") if official else part_by_name(name)


def _labels(stem: str, archive: bool) -> dict[str, str]:
    """Word, speaker and take from `<word>/<speaker>_nohash_<take>`; interned, since they repeat."""
    word, _, name = stem.rpartition("/")
    speaker, found, take = name.partition("_nohash_")
    labels = {"word": sys.intern(ARCHIVE_CLASSES.get(word, word) if archive else word)}
    if (
        archive and word == "_unknown_" and found and "_" in speaker
    ):  # bed_3ff840aa_nohash_0: the word said goes first
        labels["spoken"], _, speaker = speaker.partition("_")
    if found and speaker:
        labels["speaker"], labels["take"] = sys.intern(speaker), sys.intern(take)
    elif archive and word == "_silence_":
        labels["speaker"] = f"noise-{name}"
    return labels


def _clip(name: str, path: Path, info: AudioInfo, labels: Mapping[str, str]) -> Clip:
    return Clip(name, path, info.rate, labels, stop=info.frames / info.rate)


def write_tiny(root: Path, seed: int = 0) -> None:
    """A tree of all 35 words by six made-up speakers (four train, one validation, one test), and two noises."""
    import numpy as np

    rate = 16000
    wanted = ["train", "train", "train", "train", "validation", "test"]
    speakers: list[str] = []
    number = 0
    while wanted:
        name = hashlib.sha1(f"{seed}/{number}".encode(), usedforsecurity=False).hexdigest()[:8]
        number += 1
        if (part := part_by_name(f"{name}_nohash_0.wav")) in wanted:
            wanted.remove(part)
            speakers.append(name)
    for label, word in enumerate(_word_tasks.WORDS_V2):
        for speaker, name in enumerate(speakers):
            wave = _tiny.utterance(speaker, label, seed, seconds=1.0, rate=rate)
            _tiny.write(Path(root) / word / f"{name}_nohash_0.wav", wave, rate)
    random = np.random.default_rng(seed)
    for name in ("hiss", "rumble"):
        noise = random.standard_normal(12 * rate)
        noise = noise if name == "hiss" else np.convolve(noise, np.ones(64) / 8, mode="same")
        _tiny.write(Path(root) / NOISE / f"{name}.wav", 0.1 * noise / np.abs(noise).max(), rate)
    write_text(Path(root) / NOISE / "README.md", "Made-up noise for tests.\n")
