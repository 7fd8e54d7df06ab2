"""Speaks what the packaged corpus lacks into the cache: a speaker at a time, resumable, every file hashed."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.corpora.speak import RATE, Utterance, draw_speakers, speak
from heschl.corpora.spoken import COLUMNS, DIGITS, GAP, WORDS, sentences_shipped, tidy
from heschl.corpora.voices import Speaker
from heschl.files import cache_folder, read_json, replacing, write_csv, write_json
from heschl.types import HeschlError, Span

_FORMAT = 1  # of the cache: part of the name of its folders
VOICES = 40


def made(
    asked: dict[str, Any], folder: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Path:
    """The folder with what is asked for, spoken where it is not there yet; a broken-off one is continued.

    Each speaker's file is finished before its description (with the SHA-256 of the file) is written, so a kill loses
    one speaker at most; a file that does not match its description any more is spoken again.
    """
    words = WORDS if asked["words"] is None else tuple(tidy(word) for word in asked["words"])
    count = VOICES if asked["voices"] is None else asked["voices"]
    shipped = sentences_shipped()
    speakers = draw_speakers(count, asked["seed"])
    plan: list[tuple[Speaker, list[tuple[str, str]]]] = []
    for number, speaker in enumerate(speakers):
        turn = range(number * asked["each"], (number + 1) * asked["each"])
        said = [shipped[k % len(shipped)] for k in turn] if asked["sentences"] is None else asked["sentences"]
        texts = [("word", word) for word in words] + [("sentence", tidy(text)) for text in said]
        plan.append((speaker, list(dict.fromkeys(texts))))
    if folder is None:
        key = hashlib.sha256(
            json.dumps([_FORMAT, _espeak_version(), plan, asked["seed"]]).encode()
        ).hexdigest()[:16]
        folder = cache_folder() / "spoken" / key
    parts = []
    for number, (speaker, texts) in enumerate(plan):
        if progress:
            progress(number, len(plan))
        parts.append(_part(folder, speaker, texts, asked["seed"]))
    if progress:
        progress(len(plan), len(plan))
    write_csv(folder / "skipped.csv", [row for part in parts for row in part["skipped"]], ("where", "why"))
    write_csv(folder / "index.csv", [row for part in parts for row in part["rows"]], COLUMNS)
    return folder


def _espeak_version() -> str:
    from importlib.metadata import version

    return version("espeakng-loader")


def _part(folder: Path, speaker: Speaker, texts: list[tuple[str, str]], seed: int) -> dict[str, Any]:
    """One speaker's rows, spoken unless the finished file is there."""
    import soundfile

    audio, told = folder / "audio" / f"{speaker.id}.flac", folder / "parts" / f"{speaker.id}.json"
    if told.exists() and audio.exists():
        part = read_json(told)
        if part["sha256"] == hashlib.sha256(audio.read_bytes()).hexdigest():
            return dict(part)
    rows: list[dict[str, str]] = []
    used: set[str] = set()
    skipped: list[dict[str, str]] = []
    waves: list[np.ndarray] = []
    at = 0
    for (kind, text), said in zip(texts, speak((text, speaker) for _, text in texts)):
        if isinstance(said, HeschlError):
            skipped.append({"where": f"{speaker.id}/{text}", "why": str(said)})
            continue
        wave, before = placed(said.wave, kind, random.Random(f"place {seed} {speaker.id} {text}"), RATE)
        row = _row(said, kind, audio.name, at, len(wave), before)
        while row["id"] in used:  # "co-op" and "co op" give one name
            row["id"] += "-"
        used.add(row["id"])
        rows.append(row)
        waves.append(wave)
        at += len(wave)
    if not waves:
        raise HeschlError(
            f"{speaker.voice} could say none of the texts: {skipped[0]['why'] if skipped else 'give some'}"
        )
    with replacing(audio) as temporary:
        soundfile.write(str(temporary), np.concatenate(waves), RATE, subtype="PCM_16", format="FLAC")
    part = {"sha256": hashlib.sha256(audio.read_bytes()).hexdigest(), "rows": rows, "skipped": skipped}
    write_json(told, part)
    return part


def placed(wave: np.ndarray, kind: str, draw: random.Random, rate: int) -> tuple[np.ndarray, int]:
    """An utterance in silence, and how many samples of it come before.

    A word lies somewhere within one second (a longer one gets 20 ms on either side), as people's recordings of words
    do; a sentence gets 100 to 300 ms on either side.
    """
    if kind == "word":
        spare = max(rate - len(wave), 2 * (rate // 50))
        before = draw.randint(rate // 50, spare - rate // 50)
    else:
        before, after = (draw.randint(rate // 10, 3 * rate // 10) for _ in range(2))
        spare = before + after
    return np.pad(wave, (before, spare - before)), before


def _row(said: Utterance, kind: str, file: str, at: int, length: int, before: int) -> dict[str, str]:
    edges = _edges(said.phones, before / RATE, RATE).split()
    # The silence around joins that of the utterance, so that the phones run from the clip's start to its end.
    edges = ["0", *edges[1:]] if edges[1] == "SIL" else ["0", "SIL", *edges]
    edges = [*edges[:-1], str(length)] if edges[-2] == "SIL" else [*edges, "SIL", str(length)]
    speaker = said.speaker
    name = re.sub(r"[^\w]+", "_", said.text.lower()).strip("_") or "text"
    name = name if kind == "word" else f"sentence-{name}"
    return {
        "id": f"{speaker.id}/{name}",
        "file": f"audio/{file}",
        "start": f"{at / RATE:.7f}",
        "stop": f"{(at + length) / RATE:.7f}",
        "kind": kind,
        "word": said.text if kind == "word" else "",
        "digit": str(DIGITS.index(said.text)) if said.text in DIGITS else "",
        "text": said.text,
        "speaker": speaker.id,
        "gender": speaker.gender,
        "accent": speaker.accent,
        "voice": speaker.variant,
        "pace": str(speaker.pace),
        "pitch": str(speaker.pitch),
        "swing": str(speaker.swing),
        "phones": " ".join(edges),
        "words": _edges(said.words, before / RATE, RATE),
    }


def _edges(spans: Sequence[Span], before: float, rate: float) -> str:
    """The inverse of `_spans`, for spans that start ``before`` seconds after the clip does."""
    items: list[str] = []
    for span in spans:
        start, stop = (str(round((before + time) * rate)) for time in (span.start, span.stop))
        if items and items[-1] != start:
            items.append(GAP)
        if not items or items[-1] != start:
            items.append(start)
        items += [span.symbol.replace(" ", "+"), stop]
    return " ".join(items)
