"""A table from file names: `{speaker}_{label}_{n}.wav` says what the pieces of a name mean."""

from __future__ import annotations

import os
import re
from pathlib import Path

from heschl.corpora import _headers
from heschl.files import text_of
from heschl.types import HeschlError

_FIELD = re.compile(r"\{([^{}]*)\}")


def from_pattern(folder: Path | str, pattern: str) -> list[dict[str, str]]:
    """Rows (path, then the pattern's fields) for the recordings of a folder whose names fit a pattern.

    A field `{name}` stands for one or more characters except `/`; what is written twice must be the same
    twice; `{}` stands for something that is not kept. A pattern without `/` is held against the file name
    in whatever subfolder, one with n `/` against the last n + 1 pieces of the path. Without a suffix it
    takes any kind of audio. Names that can be read in two ways are left out: see `unmatched`.

    Returns
    -------
    Rows in order of path; ``path`` is relative to the folder, with forward slashes.

    Raises
    ------
    HeschlError: no field, a field's name that is no word, or nothing in the folder fits.
    """
    fits, others = _held(Path(folder), pattern)
    if not fits:
        example = f"of {others[0][0]}, {others[0][1]}" if others else "it holds no recordings"
        raise HeschlError(f"no recording in {folder} fits the pattern {pattern!r} ({example}): change it")
    return fits


def unmatched(folder: Path | str, pattern: str) -> list[tuple[str, str]]:
    """Recordings of a folder that `from_pattern` leaves out: (path, why)."""
    return _held(Path(folder), pattern)[1]


def _held(folder: Path, pattern: str) -> tuple[list[dict[str, str]], list[tuple[str, str]]]:
    fields, short, long = _fields(pattern), _compiled(pattern, "+?"), _compiled(pattern, "+")
    depth = pattern.count("/") + 1
    rows, others = [], []
    for path in _recordings(folder):
        tail = "/".join(path.split("/")[-depth:])
        if not pattern.lower().endswith(_headers.LOOKED_AT):
            tail = _headers.without_suffix(tail)
        match, other = short.fullmatch(tail), long.fullmatch(tail)
        if path != text_of(path):
            others.append((text_of(path), "its name is no UTF-8 text: rename it"))
        elif match is None:
            others.append((path, "its name does not fit the pattern"))
        elif other is None or match.groups() != other.groups():
            others.append((path, "its name can be read in two ways: write more of the pattern out"))
        else:
            rows.append({"path": path, **{field: match[field] for field in fields}})
    return rows, others


def _fields(pattern: str) -> list[str]:
    fields = [name for name in dict.fromkeys(_FIELD.findall(pattern)) if name]
    if not fields:
        raise HeschlError(
            f"the pattern {pattern!r} has no field: write it like '{{speaker}}_{{label}}_{{n}}.wav'"
        )
    if set(_FIELD.sub("", pattern)) & {"{", "}"}:
        raise HeschlError(f"the pattern {pattern!r} has a brace without its other one: write {{name}}")
    for name in fields:
        if not name.isidentifier() or name == "path":
            raise HeschlError(f"the pattern's field {{{name}}} must be a word, and not `path`: rename it")
    return fields


def _compiled(pattern: str, some: str) -> re.Pattern[str]:
    """A regular expression in which fields take as little ("+?") or as much ("+") as they can."""
    text, end, seen = "", 0, set()
    for found in _FIELD.finditer(pattern):
        text += re.escape(pattern[end : found.start()])
        name = found[1]
        if name in seen:
            text += f"(?P={name})"
        else:
            text += f"(?P<{name}>[^/]{some})" if name else f"([^/]{some})"
        seen |= {name} - {""}
        end = found.end()
    return re.compile(text + re.escape(pattern[end:]))


def _recordings(folder: Path) -> list[str]:
    """All that may be audio under a folder, relative with forward slashes, without hidden files."""
    _headers.entries(folder)  # which says what is wrong with a folder that cannot be listed
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if _headers.looks_like_audio(name) and not name.startswith("."):
                found.append((Path(parent) / name).relative_to(folder).as_posix())
    return sorted(found)
