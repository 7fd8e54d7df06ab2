"""Tables of phone times, of labels and of quality: one row a phone or a recording, joined by the column of files."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from heschl.files import read_csv
from heschl.types import HeschlError, Span

COLUMNS = {
    "file": ("file", "path", "filename", "audio"),
    "start": ("start_s", "start", "begin", "onset", "t0"),
    "stop": ("end_s", "stop_s", "end", "stop", "offset", "t1"),
    "phone": ("phone", "phoneme", "symbol", "label"),
    "word": ("word",),
    "word_index": ("word_index",),
}
NEEDED = ("file", "start", "stop", "phone")


def _named(header: list[str], columns: Mapping[str, str] | None, table: Path) -> dict[str, str]:
    """The table's column for each meaning."""
    asked = _asked(columns)
    for meaning, name in asked.items():
        if name not in header:
            raise HeschlError(
                f"{table} has no column '{name}' for {meaning} (it has {', '.join(header)}): correct `columns`"
            )
    found = {m: next((n for n in usual if n in header), None) for m, usual in COLUMNS.items()}
    return {meaning: name for meaning, name in (found | asked).items() if name is not None}


def _asked(columns: Mapping[str, str] | None) -> dict[str, str]:
    asked = dict(columns or {})
    if unknown := asked.keys() - COLUMNS.keys():
        raise HeschlError(f"columns: '{min(unknown)}' is not among {', '.join(COLUMNS)}")
    return asked


def find(folder: Path, columns: Mapping[str, str] | None) -> Path:
    """The one CSV in a folder that has the columns of phone times."""
    _asked(columns)
    fitting = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = [name.strip().strip('"') for name in file.readline().split(",")]
        try:
            if not set(NEEDED) - _named(header, columns, path).keys():
                fitting.append(path)
        except HeschlError:
            continue
    if len(fitting) != 1:
        found = ", ".join(path.name for path in fitting) or "none"
        raise HeschlError(
            f"{folder} must hold one CSV with columns for file, start, end and phone ({found} found): name it as root"
        )
    return fitting[0]


def below(folder: Path, path: Path) -> str:
    """A file's path from a folder on, with forward slashes; of one that lies elsewhere, by way of the folders above."""
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return Path(os.path.relpath(path, folder)).as_posix()


def _file(cell: str) -> str:
    return PurePosixPath(cell.replace("\\", "/")).as_posix()


def spans_by_file(table: Path, columns: Mapping[str, str] | None) -> dict[str, list[Span]]:
    """Phones and words of each file, in the table's order; seconds."""
    rows = read_csv(table)
    if not rows:
        raise HeschlError(f"{table} holds no rows: it needs one a phone")
    names = _named(list(rows[0]), columns, table)
    if missing := [meaning for meaning in NEEDED if meaning not in names]:
        raise HeschlError(f"{table} has no column for {', '.join(missing)}: name it under `columns`")
    phones: dict[str, list[Span]] = {}
    words: dict[str, list[tuple[tuple[str, str], Span]]] = {}
    for number, row in enumerate(rows, 2):
        file = _file(row[names["file"]])
        try:
            span = Span(row[names["phone"]], float(row[names["start"]]), float(row[names["stop"]]))
        except ValueError as error:
            raise HeschlError(f"{table}, line {number}: {error}: mend that line") from None
        phones.setdefault(file, []).append(span)
        word = row.get(names.get("word", ""), "")
        if word:
            key = (word, row.get(names.get("word_index", ""), ""))
            said = words.setdefault(file, [])
            if said and said[-1][0] == key and said[-1][1].stop == span.start:
                said[-1] = (key, Span(word, said[-1][1].start, span.stop, "word"))
            else:
                said.append((key, Span(word, span.start, span.stop, "word")))
    return {file: [*spans, *(span for _, span in words.get(file, []))] for file, spans in phones.items()}


def labels_by_file(folder: Path, name: str | None, usual: Sequence[str]) -> dict[str, dict[str, str]]:
    """Every column of the table of labels, by file; {} where there is none and none is named.

    Raises
    ------
    HeschlError: the table cannot be read, has no column of files, or says two things of one file.
    """
    table = folder / name if name else next((folder / n for n in usual if (folder / n).exists()), None)
    if table is None:
        return {}
    rows = read_csv(table)
    column = next((n for n in COLUMNS["file"] if rows and n in rows[0]), None)
    if column is None:
        if name is None:
            return {}
        raise HeschlError(f"{table} has no column 'file', by which labels are joined: rename one")
    labels: dict[str, dict[str, str]] = {}
    for row in rows:
        file, own = _file(row[column]), {key: value for key, value in row.items() if key != column}
        before = labels.setdefault(file, own)
        if other := next((key for key in own if own[key] != before[key]), None):
            raise HeschlError(
                f"{table} has two rows for {file}, whose {other} is '{before[other]}' and '{own[other]}': keep one of them"
            )
    return labels


def limits(
    keep: Mapping[str, Mapping[str, Any]] | None, quality: str | None
) -> dict[str, tuple[float, float, bool]]:
    """The option ``keep`` as (least, most, whether an empty value is kept) by column."""
    if keep and not quality:
        raise HeschlError(
            "keep: limits were given without the table that they are about: name it as `quality`"
        )
    out = {}
    for column, rule in (keep or {}).items():
        if not isinstance(rule, Mapping) or (rule.keys() - {"min", "max", "or_empty"}) or not rule:
            raise HeschlError(
                f"keep: '{column}' needs limits such as {{min: 0.9, or_empty: true}}, not {rule}"
            )
        try:
            least, most = float(rule.get("min", -math.inf)), float(rule.get("max", math.inf))
        except (TypeError, ValueError):
            raise HeschlError(f"keep: the limits of '{column}' must be numbers, not {dict(rule)}") from None
        out[column] = (least, most, bool(rule.get("or_empty", False)))
    return out


def kept(
    paths: dict[str, Path], table: Path, wanted: dict[str, tuple[float, float, bool]]
) -> tuple[dict[str, Path], list[str]]:
    """The recordings whose quality is within the limits, and a note on how many are not, and why."""
    rows = labels_by_file(table.parent, table.name, ())
    header = next(iter(rows.values()), {})
    if missing := [column for column in wanted if column not in header]:
        raise HeschlError(
            f"{table} has no column {', '.join(missing)} (it has {', '.join(header)}): correct `keep`"
        )
    out: dict[str, Path] = {}
    why: Counter[str] = Counter()
    for name, path in paths.items():
        row = rows.get(name, rows.get(below(table.parent, path)))
        failed = (
            ["no row"]
            if row is None
            else [c for c, rule in wanted.items() if not _within(table, c, row[c], rule)]
        )
        if failed:
            why[failed[0]] += 1
        else:
            out[name] = path
    told = ", ".join(f"{column}: {count}" for column, count in sorted(why.items()))
    note = f"{sum(why.values())} of {len(paths)} recordings are left out by their quality in {table.name}"
    return out, [f"{note} ({told})." if told else f"{note}."]


def _within(table: Path, column: str, text: str, rule: tuple[float, float, bool]) -> bool:
    least, most, or_empty = rule
    if not text.strip():
        return or_empty
    try:
        return least <= float(text) <= most
    except ValueError:
        raise HeschlError(f"{table}: '{text}' in column {column} is not a number: mend it") from None
