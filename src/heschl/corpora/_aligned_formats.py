"""Readers of phone and word times, one a format: a label file in, spans with the file's own symbols out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heschl.files import read_json, read_text
from heschl.types import HeschlError, Span

# Names of TextGrid tiers, in the order of preference, lower case.
PHONE_TIERS = ("phones", "phone", "phonetic", "phoneme", "phonemes", "segments", "mau")
WORD_TIERS = ("words", "word", "text", "orthographic", "ort-mau", "ort")


def timit(path: Path, rate: float, tiers: dict[str, str] | None = None) -> list[Span]:
    """TIMIT's .phn, with the .wrd beside it: "first_sample last_sample symbol" a line."""
    spans = _samples(path, rate, "phone")
    for suffix in (".wrd", ".WRD"):
        words = path.with_suffix(suffix)
        if words.exists():
            return spans + _samples(words, rate, "word")
    return spans


def _samples(path: Path, rate: float, tier: str) -> list[Span]:
    spans = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            start, stop, *symbol = _fields(path, number, line, 3, whole="samples")
            spans.append(_span(path, number, " ".join(symbol), float(start) / rate, float(stop) / rate, tier))
    return spans


def lab(path: Path, rate: float, tiers: dict[str, str] | None = None) -> list[Span]:
    """A .lab file: ESPS (a header up to "#", then "end colour symbol" in seconds) or HTS (100 ns units)."""
    lines = read_text(path).splitlines()
    if "#" in (line.strip() for line in lines):
        return _esps(path, lines)
    spans: list[Span] = []
    states: list[int] = []  # of the last span; -1 where it has none
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        start, stop, label = _fields(path, number, line, 3, whole="units of 100 ns")[:3]
        symbol, state = _hts_symbol(label)
        span = _span(path, number, symbol, float(start) * 1e-7, float(stop) * 1e-7, "phone")
        if (
            spans and state > states[-1] >= 0 and spans[-1].symbol == symbol
        ):  # the next state of the same phone
            spans[-1] = Span(symbol, spans[-1].start, span.stop)
            states[-1] = state
        else:
            spans.append(span)
            states.append(state)
    return spans


def _esps(path: Path, lines: list[str]) -> list[Span]:
    first = next(number for number, line in enumerate(lines) if line.strip() == "#") + 1
    spans: list[Span] = []
    for number, line in enumerate(lines[first:], first + 1):
        if line.strip():
            stop, _, *symbol = _fields(path, number, line, 2)
            name = " ".join(symbol).split(";")[0].strip()
            spans.append(_span(path, number, name, spans[-1].stop if spans else 0.0, float(stop), "phone"))
    return spans


def _hts_symbol(label: str) -> tuple[str, int]:
    """The phone in an HTS label, which may hold its context ("x^sil-hh+iy=t@...") and its state ("...[2]")."""
    state = re.search(r"\[(\d+)\]$", label)
    middle = re.search(r"-([^-+]+)\+", label)
    symbol = middle[1] if middle else re.sub(r"\[\d+\]$", "", label)
    return symbol, int(state[1]) if state else -1


def textgrid(path: Path, rate: float, tiers: dict[str, str] | None = None) -> list[Span]:
    """A Praat TextGrid (long or short, UTF-8 or UTF-16).

    tiers: the names of the tiers "phone" and "word"; by default the usual names are looked for.
    """
    from praatio import textgrid as praat

    try:
        grid = praat.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="silence")
    except Exception as error:  # praatio raises many kinds, some of them plain Exception
        raise HeschlError(
            f"{path} is not a TextGrid that can be read ({_first_line(error)}): save it again in Praat"
        ) from None
    asked = tiers or {}
    phone = _tier(path, grid.tierNames, asked.get("phone"), PHONE_TIERS)
    word = _tier(path, grid.tierNames, asked.get("word"), WORD_TIERS)
    if phone is None:
        raise HeschlError(
            f"{path} has no tier of phones by a usual name (it has {', '.join(grid.tierNames)}): "
            "name it, for example tiers: {phone: Phonetic}"
        )
    spans = []
    for name, kind in ((phone, "phone"), (word, "word")):
        if name is not None:
            tier = grid.getTier(name)
            if not isinstance(tier, praat.IntervalTier):
                raise HeschlError(
                    f"{path}: tier {name} holds points, not intervals: name another tier of {kind}s"
                )
            spans += [_span(path, 0, e.label, e.start, e.end, kind) for e in tier.entries]
    return spans


def _tier(path: Path, names: Sequence[str], asked: str | None, usual: tuple[str, ...]) -> str | None:
    if asked is not None:
        if asked not in names:
            raise HeschlError(f"{path} has no tier '{asked}' (it has {', '.join(names)}): correct `tiers`")
        return asked
    by_lower = {name.lower(): name for name in names}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def pocketsphinx(path: Path, rate: float, tiers: dict[str, str] | None = None) -> list[Span]:
    """pocketsphinx's alignment as JSON: words {b, d, t, w}, whose w are phones {b, d, t}; seconds."""
    try:
        spans = []
        for word in read_json(path)["w"]:
            if not word["t"].startswith(("<", "[")):
                name = re.sub(r"\(\d+\)$", "", word["t"])
                spans.append(_span(path, 0, name, word["b"], round(word["b"] + word["d"], 6), "word"))
            for phone in word.get("w", ()):
                spans.append(
                    _span(path, 0, phone["t"], phone["b"], round(phone["b"] + phone["d"], 6), "phone")
                )
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
        raise HeschlError(
            f"{path} is not an alignment as pocketsphinx writes it (w: [b, d, t, w]): take it out"
        ) from None
    return spans


def _fields(path: Path, number: int, line: str, least: int, whole: str = "") -> list[str]:
    """A line's fields, ``least`` at least, all but the last of those numbers; whole ones where a unit is named."""
    fields = line.split()
    numbers = fields[: least - 1]
    if len(fields) < least or not all(
        re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", field) for field in numbers
    ):
        raise HeschlError(
            f"{path}, line {number}: '{line.strip()[:40]}' is not times and a symbol: mend that line"
        )
    if whole and not all(re.fullmatch(r"[-+]?\d+", field) for field in numbers):
        raise HeschlError(
            f"{path}, line {number}: '{line.strip()[:40]}' has times that are no whole numbers, and this format counts in "
            f"{whole}: write them so, or give seconds in a CSV"
        )
    return fields


def _span(path: Path, number: int, symbol: str, start: float, stop: float, tier: str) -> Span:
    try:
        return Span(str(symbol), float(start), float(stop), tier)
    except (HeschlError, TypeError, ValueError) as error:
        where = f"{path}, line {number}" if number else str(path)
        raise HeschlError(f"{where}: {error}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:80]


Reader = Callable[[Path, float, dict[str, str] | None], list[Span]]
# Suffixes of label files, lower case, in the order in which they are looked for.
FORMATS: dict[str, tuple[tuple[str, ...], Reader]] = {
    "timit": ((".phn",), timit),
    "textgrid": ((".textgrid",), textgrid),
    "json": ((".json",), pocketsphinx),
    "lab": ((".lab",), lab),
}
# What the name of a label file may have beyond the recording's; phones are preferred to states.
TAILS = (".phone", "_phone", "_phones", "", "_state")


def labels_of_context(path: Path, text: str) -> dict[str, Any]:
    """Speaker, sex, dialect, sentence kind, text and split from where TIMIT keeps a file; {} elsewhere."""
    parts = path.parts[-4:]
    if len(parts) < 4 or parts[0].lower() not in ("train", "test") or not re.fullmatch(r"(?i)dr\d", parts[1]):
        return {}
    speaker = parts[2].upper()
    return {
        "speaker": speaker,
        "gender": {"F": "female", "M": "male"}.get(speaker[:1], ""),
        "dialect": parts[1].upper(),
        "sentence": path.stem.upper(),
        "kind": path.stem[:2].upper(),
        "split": parts[0].lower(),
        **({"text": re.sub(r"^\d+ \d+ ", "", text.strip())} if text.strip() else {}),
    }
