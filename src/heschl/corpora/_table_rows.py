"""Inside a table of recordings: finding it, its columns, and turning its rows into clips."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from heschl.corpora import _headers
from heschl.files import AudioInfo, read_csv
from heschl.types import Clip, HeschlError, Skipped
from heschl.wording import nearest

TABLES = (".csv", ".parquet")
# The names under which a column is found where the recipe does not name it, best first.
KNOWN = {
    "path": ("path", "file", "filename", "audio"),
    "speaker": ("speaker", "speaker_id", "subject"),
    "split": ("split",),
    "start": ("start", "start_s"),
    "stop": ("stop", "end", "stop_s", "end_s"),
}
PART_NAMES = {
    "training": "train",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "testing": "test",
}
# A part may end this much after its recording (rounding in the table), and is then cut to it, seconds.
SLACK = 0.02


def clips_of(
    file: Path, rows: Sequence[Mapping[str, str]], columns: Mapping[str, str]
) -> tuple[list[Clip], list[Skipped]]:
    """Clips of a table's rows, by id, and the rows left out. Reads each recording's header once.

    Raises
    ------
    HeschlError: a time is no number.
    """
    places = [_place(file, row, columns, line) for line, row in enumerate(rows, 2)]
    unique = list(dict.fromkeys(place.signal for place in places if place.signal is not None))
    infos = dict(zip(unique, _headers.headers(unique), strict=True))
    skipped: list[Skipped] = []
    clips: list[Clip] = []
    seen: dict[tuple[str, float, float | None], int] = {}
    for line, (row, place, clip_id) in enumerate(zip(rows, places, _ids(places, columns), strict=True), 2):
        made = _clip(clip_id, row, place, columns, infos)
        if isinstance(made, str):
            skipped.append(Skipped(f"{file.name}, line {line}", made))
            continue
        # `a.wav` and `../here/a.wav` are one recording; Path.absolute keeps `..`, Path.resolve asks the disk
        first = seen.setdefault((os.path.abspath(made.signal), made.start, made.stop), line)  # noqa: PTH100
        if first == line:
            clips.append(made)
        else:
            why = f"{place.written} is in line {first} already: keep one of the two"
            skipped.append(Skipped(f"{file.name}, line {line}", why))
    clips.sort(key=lambda clip: clip.id)
    return clips, skipped


def find_table(root: Path) -> Path:
    """The table itself, or the one table of a folder.

    Raises
    ------
    HeschlError: nothing there, or several tables (then it names them).
    """
    if root.is_file():
        if root.suffix.lower() not in TABLES:
            raise HeschlError(
                f"{root} is no table that heschl reads: save it as CSV (UTF-8, commas) or Parquet"
            )
        return root
    found = [Path(e.path) for e in _headers.entries(root) if Path(e.name).suffix.lower() in TABLES]
    if len(found) == 1:
        return found[0]
    preferred = [file for file in found if file.stem == "index"]
    if len(preferred) == 1:
        return preferred[0]
    if found:
        raise HeschlError(
            f"{root} holds {len(found)} tables ({', '.join(f.name for f in found)}): name one as root"
        )
    raise HeschlError(
        f"{root} holds no table: name a CSV or Parquet file, or write one with `heschl corpora table {root} --pattern ...`"
    )


def read_rows(file: Path) -> list[dict[str, str]]:
    """All rows as text by column, empty cells as "". Raises HeschlError for an empty or unreadable table."""
    rows = _parquet(file) if file.suffix.lower() == ".parquet" else read_csv(file)
    if not rows:
        raise HeschlError(f"{file} has a header and no rows: add one row a clip")
    names = Counter(column.strip() for column in rows[0])
    for name, times in names.items():
        if times > 1:
            raise HeschlError(f"{file} has two columns called '{name}', but for spaces around it: rename one")
    return [{column.strip(): value.strip() for column, value in row.items()} for row in rows]


def _parquet(file: Path) -> list[dict[str, str]]:
    import pandas

    try:
        frame = pandas.read_parquet(file)
    except ImportError:
        raise HeschlError(
            f"{file} needs pyarrow to be read: pip install 'heschl[parquet]', or save it as CSV"
        ) from None
    except (OSError, ValueError) as error:
        raise HeschlError(
            f"{file} is not a Parquet file that can be read ({str(error).splitlines()[0][:80]}): write it "
            "again, or save it as CSV"
        ) from None
    if not frame.columns.is_unique:
        raise HeschlError(f"{file} has two columns of one name: rename one")
    columns = {str(name): [_text(value) for value in frame[name]] for name in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _text(value: Any) -> str:
    """A cell as text: missing is "", and a whole number that a gap in its column made a float stays whole."""
    import pandas

    if pandas.api.types.is_scalar(value) and pandas.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def find_columns(file: Path, header: Sequence[str], named: Mapping[str, str | None]) -> dict[str, str]:
    """What each of path, speaker, split, start, stop is called in a table; absent where there is none.

    Raises
    ------
    HeschlError: a named column is not there (the nearest is offered), or no path can be found.
    """
    columns = {}
    for role, usual in KNOWN.items():
        wanted = named.get(role)
        if wanted is not None:
            if wanted not in header:
                raise HeschlError(
                    f"{file} has no column '{wanted}' for {role}{nearest(wanted, header)}: "
                    f"it has {', '.join(header)}"
                )
            columns[role] = wanted
        else:
            lower = {column.lower(): column for column in reversed(header)}
            found = next((lower[name] for name in usual if name in lower), None)
            if found is not None:
                columns[role] = found
    if "path" not in columns:
        raise HeschlError(
            f"{file} has no column of paths (path, file, filename or audio): name yours with `path: COLUMN`; "
            f"it has {', '.join(header)}"
        )
    return columns


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row's clip lies: the path as written, the file (None where the cell is empty), seconds."""

    written: str
    signal: Path | None
    start: float
    stop: float | None


def _place(file: Path, row: Mapping[str, str], columns: Mapping[str, str], line: int) -> _Place:
    written = row[columns["path"]]
    times: dict[str, float | None] = {}
    for role in ("start", "stop"):
        cell = row[columns[role]] if role in columns else ""
        try:
            times[role] = float(cell) if cell else None
        except ValueError:
            raise HeschlError(
                f"{file}, line {line}: {columns[role]} is '{cell}', not a number of seconds: "
                "write it like 0.25, or leave it empty"
            ) from None
    if not written:
        return _Place("", None, 0.0, None)
    signal = file.parent / written
    if "\\" in written and not signal.exists():
        written = written.replace("\\", "/")
        signal = file.parent / written
    return _Place(written, signal, times["start"] or 0.0, times["stop"])


def _ids(places: Sequence[_Place], columns: Mapping[str, str]) -> list[str]:
    """The path as written without its suffix; with it where two files differ in it alone; `#n` for parts."""
    names = [str(PurePosixPath(place.written)) for place in places]
    stems = {name: _headers.without_suffix(name) for name in set(names)}
    shared = Counter(stems.values())
    times = Counter(names)
    parted = "start" in columns or "stop" in columns
    count: Counter[str] = Counter()
    ids = []
    for name in names:
        stem = stems[name] if shared[stems[name]] == 1 else name
        count[name] += 1
        ids.append(f"{stem}#{count[name]}" if times[name] > 1 and (parted or count[name] > 1) else stem)
    return ids


def _clip(
    clip_id: str,
    row: Mapping[str, str],
    place: _Place,
    columns: Mapping[str, str],
    infos: Mapping[Path, AudioInfo | HeschlError],
) -> Clip | str:
    """The clip of a row, or why there is none."""
    if place.signal is None:
        return f"the column {columns['path']} is empty: write the recording's path"
    info = infos[place.signal]
    if isinstance(info, HeschlError):
        return str(info)
    seconds = info.frames / info.rate
    stop = seconds if place.stop is None else min(place.stop, seconds)
    if not 0 <= place.start < stop or (place.stop is not None and place.stop > seconds + SLACK):
        return (
            f"the part from {place.start} s to {place.stop if place.stop is not None else 'the end'} "
            f"{'s ' if place.stop is not None else ''}does not lie in {place.signal}, which is {seconds:.3f} s long"
        )
    taken = {columns[role] for role in ("path", "start", "stop") if role in columns}
    labels = {sys.intern(column): sys.intern(value) for column, value in row.items() if column not in taken}
    for role in ("speaker", "split"):
        if role in columns:
            labels[role] = row[columns[role]]
    if "split" in labels:
        part = labels["split"].lower()
        labels["split"] = sys.intern(PART_NAMES.get(part, part))
        if not part:
            del labels["split"]
    return Clip(clip_id, place.signal, info.rate, labels, start=place.start, stop=stop)
