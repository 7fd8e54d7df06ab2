"""What every reader of recordings needs: headers read once, many at a time, and files that break off found."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from heschl.files import AUDIO_SUFFIXES, AudioInfo, audio_info
from heschl.types import HeschlError, Skipped

# Containers that people have and libsndfile does not read: they are looked at, so that they are told of.
LOOKED_AT = (*AUDIO_SUFFIXES, ".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr", ".3gp")
_THREADS = 4
# The size in a WAV header that a program writes where it cannot know it (a pipe): not a sign of damage.
_STREAMED = 0xFFFFFF00
_WAV_DATA = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)


def header(path: Path) -> AudioInfo:
    """The header of one recording; unlike `audio_info` it also refuses a file that breaks off.

    A WAV file shows it by the size in its header; of a FLAC file the last sample is decoded.

    Raises
    ------
    HeschlError: as `audio_info`, or the file is truncated.
    """
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            info = AudioInfo(file.frames, file.samplerate, file.channels, file.subtype)
            cut = _WAV_DATA.search(file.extra_info) if file.format in ("WAV", "WAVEX") else None
            whole = cut is None or int(cut[1]) >= _STREAMED or int(cut[1]) <= int(cut[2])
            if info.frames <= 0 or info.channels > 2:
                return audio_info(path)  # which says what is wrong
            if file.format == "FLAC":
                whole = _last_sample_is_there(file)
    except (soundfile.LibsndfileError, RuntimeError, OSError, UnicodeEncodeError):
        return audio_info(path)
    if not whole:
        raise HeschlError(
            f"{path} is truncated: its header promises more samples than are there: copy or download it again"
        )
    return info


def _last_sample_is_there(file: object) -> bool:
    import soundfile

    assert isinstance(file, soundfile.SoundFile)
    try:
        file.seek(file.frames - 1)
        return len(file.read(1)) == 1
    except (soundfile.LibsndfileError, RuntimeError):
        return False


def headers(paths: Sequence[Path]) -> list[AudioInfo | HeschlError]:
    """Headers of many recordings, in order; in place of a bad one stands its error."""

    def one(path: Path) -> AudioInfo | HeschlError:
        try:
            return header(path)
        except HeschlError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(one, paths, chunksize=64))


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name, without hidden files. Raises HeschlError where it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if not e.name.startswith(".")), key=lambda entry: entry.name)
    except FileNotFoundError:
        what = "file" if folder.suffix else "folder"
        raise HeschlError(f"the {what} {folder} is not there: check the path of the corpus") from None
    except NotADirectoryError:
        raise HeschlError(
            f"{folder} is a file, not a folder: name the folder that holds the recordings"
        ) from None
    except OSError as error:
        raise HeschlError(
            f"the folder {folder} cannot be read ({error.strerror}): change its permissions, or name another"
        ) from error


def looks_like_audio(name: str) -> bool:
    return name.lower().endswith(LOOKED_AT)


def without_suffix(relative: str) -> str:
    """`bed/a_nohash_0.wav` -> `bed/a_nohash_0`; the doubled `.wav.wav` of the official test archives goes too."""
    stem, dot, suffix = relative.rpartition(".")
    while dot and f".{suffix.lower()}" in LOOKED_AT:
        relative = stem
        stem, dot, suffix = relative.rpartition(".")
    return relative


def refuse_nothing_left(root: Path, what: str, skipped: Iterable[Skipped]) -> None:
    """Raises the error of a corpus of which nothing could be read, with the first reason."""
    skipped = tuple(skipped)
    if skipped:
        raise HeschlError(
            f"{root} holds no recording that can be read as {what}: {len(skipped)} left out, "
            f"the first because {skipped[0].why}"
        )
    raise HeschlError(
        f"{root} holds no recordings laid out as {what}: check the path, or name another corpus"
    )


def seconds_of(text: str, what: str) -> float:
    """A cell of a table as seconds. Raises HeschlError where it is no number, or none that is finite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise HeschlError(f"{what} is '{text}': give seconds as a number")
    return value
