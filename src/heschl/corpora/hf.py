"""Data sets of Hugging Face, from a folder on this machine (extra ``heschl[hf]``).

What it is: the three forms in which such data sets lie on a disk. A folder written by `save_to_disk`; Parquet files with
a column of audio (``data/train-00000-of-00001.parquet``); an `audiofolder`: recordings with ``metadata.csv`` or
``metadata.jsonl`` (a column ``file_name``) beside them, or one folder a class, below folders ``train`` and ``test`` where
there are parts. The last needs no extra.
Layout: any column that is a name, a number or a class becomes a label; a column ``speaker``, ``speaker_id`` or
``client_id`` tells the speaker. Sounds that lie inside the data set are copied, as they are, into heschl's cache; no
codec but libsndfile is asked. Nothing is fetched: `datasets.load_dataset(NAME).save_to_disk(FOLDER)` brings a data set
here first.
Licence: that of the data set, which its card tells; give it as ``licence``.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heschl.corpora import _headers, _tiny
from heschl.corpora._table_rows import PART_NAMES, _text
from heschl.files import AudioInfo, cache_folder, read_csv, read_text, write_bytes, write_csv
from heschl.types import Clip, Corpus, HeschlError, Skipped
from heschl.wording import listed, nearest

AUDIO = ("audio", "file", "path", "speech", "wav", "file_name")
SPEAKERS = ("speaker", "speaker_id", "client_id", "spk_id", "subject")
METADATA = ("metadata.csv", "metadata.jsonl")
PARTS = ("train", "validation", "test")
_AT_ONCE = 32  # rows, whose sounds are held together
NO_SPEAKER = "the data set has no column of speakers (name it with `speaker:` if there is one)"


class Row(NamedTuple):
    """One example: where its sound lies (or why nowhere), its id, labels, and the names of columns left out."""

    signal: Path | str
    id: str
    labels: dict[str, str]
    left_out: tuple[str, ...] = ()


def read(
    root: Path,
    *,
    audio: str | None = None,
    speaker: str | None = None,
    title: str | None = None,
    licence: str = "that of the data set's card",
) -> Corpus:
    """Reads a data set.

    Parameters
    ----------
    root: the folder, or one Parquet file.
    audio, speaker: the columns' names, where they are not the usual ones.
    title: what the corpus is called; by default as the folder. licence: kept in every run.

    Raises
    ------
    HeschlError: no data set, no column of audio, or no recording can be read; `datasets` is not installed.
    """
    root = Path(root)
    rows = list(_rows(root, audio))
    signals = list(dict.fromkeys(row.signal for row in rows if isinstance(row.signal, Path)))
    infos = dict(zip(signals, _headers.headers(signals), strict=True))
    clips, skipped = [], []
    for row in rows:
        info = infos[row.signal] if isinstance(row.signal, Path) else HeschlError(row.signal)
        if isinstance(info, HeschlError):
            skipped.append(Skipped(row.id, str(info)))
        else:
            clips.append(_clip(row, info, speaker))
    if not clips:
        _headers.refuse_nothing_left(root, "a data set of Hugging Face", skipped)
    return Corpus(
        name=title or root.resolve().stem or "data set",
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        source=f"a data set of Hugging Face in {root.name}",
        licence=licence,
        skipped=tuple(skipped),
        notes=tuple(_notes(clips, rows)),
    )


def _clip(row: Row, info: AudioInfo, speaker: str | None) -> Clip:
    labels = dict(row.labels)
    if speaker is not None and speaker not in labels:
        raise HeschlError(
            f"the data set has no column '{speaker}' for speaker{nearest(speaker, labels)}: "
            f"it has {', '.join(labels)}"
        )
    whose = speaker or next((name for name in SPEAKERS if labels.get(name)), None)
    if whose:
        labels["speaker"] = labels[whose]
    assert isinstance(row.signal, Path)
    return Clip(row.id, row.signal, info.rate, labels, stop=info.frames / info.rate)


def _notes(clips: Sequence[Clip], rows: Sequence[Row]) -> Iterator[str]:
    if not any(clip.labels.get("speaker") for clip in clips):
        yield NO_SPEAKER
    left_out = sorted({name for row in rows for name in row.left_out})
    if left_out:
        yield f"columns that hold lists or tables are no labels and were left out: {listed(left_out)}"


def _rows(root: Path, audio: str | None) -> Iterator[Row]:
    if root.is_file() and root.suffix.lower() != ".parquet":
        raise HeschlError(f"{root} is no data set: name its folder, or a Parquet file")
    if not root.exists():
        raise HeschlError(
            f"the folder {root} is not there: bring the data set here first, by `load_dataset(NAME).save_to_disk(FOLDER)`"
        )
    if (root / "dataset_dict.json").exists() or (root / "state.json").exists():
        yield from _tables(root, _from_disk(root), audio)
    elif parquet := ([root] if root.is_file() else sorted(root.rglob("*.parquet"))):
        yield from _tables(root, _from_parquet(root, parquet), audio)
    else:
        yield from _audiofolder(root)


# --- tables of `datasets` ----------------------------------------------------------------------------------


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise HeschlError(
            "data sets of Hugging Face need datasets: pip install 'heschl[hf]', or save the data set as an audiofolder"
        ) from None
    return datasets


def _from_disk(root: Path) -> dict[str, Any]:
    try:
        held = _datasets().load_from_disk(str(root))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HeschlError(
            f"{root} is not whole ({str(error).splitlines()[0][:80]}): save the data set again"
        ) from None
    return dict(held) if isinstance(held, dict) else {"": held}


def _from_parquet(root: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Part -> its table."""
    datasets, parts = _datasets(), dict[str, list[Path]]()
    for path in files:
        parts.setdefault(_part_of_file(root, path), []).append(path)
    for own in parts.values():
        _refuse_unlike(own)
    kept, before = str(cache_folder() / "hf" / "tables"), datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        # to `datasets` each name is a pattern
        named = {part: [glob.escape(str(path)) for path in own] for part, own in parts.items()}
        return {part: datasets.Dataset.from_parquet(own, cache_dir=kept) for part, own in named.items()}
    except Exception as error:
        raise HeschlError(
            f"{files[0]} is not a Parquet file that can be read ({str(error).splitlines()[0][:80]})"
        ) from None
    finally:
        if not before:
            datasets.enable_progress_bars()


def _part_of_file(root: Path, path: Path) -> str:
    """The part that a Parquet file is called after, or a folder it lies in, as on the hub; else "".

    train-00000-of-00002.parquet, train.clean.100-00000-of-00001.parquet, train/0000.parquet
    """
    folders = path.relative_to(root).parts[-2::-1]
    return next(filter(None, map(part_of, (re.split(r"[-._ 0-9]", path.stem)[0], *folders))), "")


def _refuse_unlike(files: Sequence[Path]) -> None:
    """Refuses files of one part that have not the same columns, or no table at all."""
    from pyarrow.parquet import read_schema

    columns: list[set[str]] = []
    for path in files:
        try:
            columns.append(set(read_schema(path).names))
        except (OSError, ValueError) as error:
            raise HeschlError(
                f"{path} is not a Parquet file that can be read ({str(error).splitlines()[0][:80]}): copy it again"
            ) from None
        if lone := columns[-1] ^ columns[0]:
            raise HeschlError(
                f"{path} and {files[0]} are not of one table ({listed(sorted(lone))} in one alone): name the folder or "
                "file of one"
            )


def part_of(name: str) -> str:
    """ "train", "validation" or "test" by one of its usual names, else ""."""
    name = PART_NAMES.get(name.lower(), name.lower())
    return name if name in PARTS else ""


def _tables(root: Path, tables: dict[str, Any], audio: str | None) -> Iterator[Row]:
    several = len(tables) > 1
    for name, table in tables.items():
        column = _audio_column(root, table, audio)
        part = part_of(name) or name
        for k, example in enumerate(_examples(table)):
            own, left_out = _labels(example, table.features, column)
            if several:
                own["split"] = part
            yield Row(
                _signal(root, example[column]), f"{part}/{k:06d}" if part else f"{k:06d}", own, left_out
            )


def _examples(table: Any) -> Iterator[dict[str, Any]]:
    """Rows as they are stored: no decoder of theirs is asked of any column, and no format that they were saved with."""
    for rows in table.with_format("arrow").iter(_AT_ONCE):
        yield from rows.to_pylist()


def _audio_column(root: Path, table: Any, wanted: str | None) -> str:
    columns = list(table.features)
    if wanted is not None:
        if wanted not in columns:
            raise HeschlError(
                f"{root} has no column '{wanted}' for audio{nearest(wanted, columns)}: it has {', '.join(columns)}"
            )
        return wanted
    for name, kind in table.features.items():
        if type(kind).__name__ == "Audio":
            return str(name)
    for name in AUDIO:
        if name in columns:
            return name
    raise HeschlError(
        f"{root} has no column of audio: name yours with `audio: COLUMN`; it has {', '.join(columns)}"
    )


def _labels(example: dict[str, Any], features: Any, audio: str) -> tuple[dict[str, str], tuple[str, ...]]:
    own, left_out = {}, []
    for name, value in example.items():
        if name == audio:
            continue
        if isinstance(value, bytes | list | dict):
            left_out.append(name)
        elif hasattr(features[name], "int2str"):
            own[name] = "" if value is None or value < 0 else str(features[name].int2str(value))
        else:
            own[name] = _text(value)
    return own, tuple(left_out)


def _signal(root: Path, value: Any) -> Path | str:
    """The file of a sound: where it lies, or its copy in the cache; else why there is none."""
    held: dict[str, Any] = value if isinstance(value, dict) else {}
    if not held:
        held = {"bytes": value} if isinstance(value, bytes) else {"path": value}
    if held.get("bytes"):
        return _cached(held["bytes"])
    if isinstance(held.get("path"), str) and held["path"]:
        folder = root.parent if root.is_file() else root
        return Path(folder, held["path"])
    return "it holds no sound: give bytes of a sound file, or its path"


def _cached(data: bytes) -> Path | str:
    """Bytes of a sound file, as they are, in the cache under their SHA-256."""
    import soundfile

    try:
        kind = str(soundfile.info(io.BytesIO(data)).format).lower()
    except (soundfile.LibsndfileError, RuntimeError):
        return f"its {len(data)} bytes are no sound that libsndfile reads"
    name = hashlib.sha256(data).hexdigest()
    path = (
        cache_folder()
        / "hf"
        / "sounds"
        / name[:2]
        / f"{name}.{ {'mpeg': 'mp3', 'wavex': 'wav'}.get(kind, kind) }"
    )
    if not path.exists():
        write_bytes(path, data)
    return path


# --- folders of recordings ---------------------------------------------------------------------------------


class _Told(NamedTuple):
    """What a table says of a recording: labels, and the names of columns that are none."""

    labels: dict[str, str]
    left_out: tuple[str, ...]


def _audiofolder(root: Path) -> Iterator[Row]:
    parts = {entry.name: part_of(entry.name) for entry in _headers.entries(root) if entry.is_dir()}
    named = {name: part for name, part in parts.items() if part}
    tables = sorted(path for name in METADATA for path in root.rglob(name))
    known: dict[Path, _Told] = {}
    for table in tables:
        for line, (path, told) in enumerate(_metadata(table), 1):
            if known.setdefault(path, told) != told:
                raise HeschlError(
                    f"{table}, row {line}: {path.name} is listed before, with other labels: keep one of the rows"
                )
    for path in sorted({*known, *(p for p in root.rglob("*") if _headers.looks_like_audio(p.name))}):
        inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
        part = named.get(inside.parts[0], "") if len(inside.parts) > 1 else ""
        labels: dict[str, str] = {}
        left_out: tuple[str, ...] = ()
        signal: Path | str = path
        if path in known:
            told = known[path]
            labels, left_out = dict(told.labels), told.left_out
        elif tables:
            signal = f"it is not in {tables[0]}: add a line, or remove it"
        else:
            classes = inside.parts[bool(part) : -1]
            labels = {"label": "/".join(classes)} if classes else {}
        if part:
            labels["split"] = part
        yield Row(signal, _headers.without_suffix(inside.as_posix()), labels, left_out)


def _metadata(table: Path) -> Iterator[tuple[Path, _Told]]:
    """The recordings that a table lists, row by row."""
    if table.suffix == ".csv":
        rows = read_csv(table)
    else:
        lines = [line for line in read_text(table).splitlines() if line.strip()]
        try:
            rows = [json.loads(line) for line in lines]
        except (ValueError, RecursionError) as error:
            raise HeschlError(f"{table} is no JSON, line by line ({error}): mend the line") from None
    for line, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not row.get("file_name"):
            raise HeschlError(f"{table}, row {line} has no file_name: write the recording's path there")
        left_out = tuple(key for key, value in row.items() if isinstance(value, list | dict))
        own = {key: _text(value) for key, value in row.items() if key not in ("file_name", *left_out)}
        yield table.parent / str(row["file_name"]), _Told(own, left_out)


def write_tiny(root: Path, seed: int = 0) -> None:
    """An audiofolder of twenty-four recordings: four words by six speakers, in FLAC, with `metadata.csv`."""
    rows = []
    for speaker in range(6):
        for label, word in enumerate(("one", "two", "three", "four")):
            file = f"s{speaker}/{word}.flac"
            _tiny.write(Path(root) / file, _tiny.utterance(speaker, label, seed), 16000)
            rows.append({"file_name": file, "word": word, "speaker_id": f"s{speaker}"})
    write_csv(Path(root) / "metadata.csv", rows, ["file_name", "word", "speaker_id"])
