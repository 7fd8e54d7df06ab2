"""A table of your own recordings: one row a clip, a column with its path, and whatever you know about it.

What it is: how any corpus comes to heschl without code. `heschl corpora table FOLDER --pattern ...` writes
such a table from file names, `heschl corpora check FILE` says what is wrong with one.
Layout: a CSV (UTF-8, commas, a header line) or Parquet file; paths relative to the table's own folder. The
columns are found by name, or named: path (path, file, filename, audio), speaker (speaker, speaker_id,
subject), split (train / validation / test), start and stop in seconds (for parts of long recordings). Every
other column is a label of that name.
Licence and citation: those of the recordings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from heschl.corpora import _headers, _tiny
from heschl.corpora._table_check import findings, first_class
from heschl.corpora._table_pattern import from_pattern, unmatched
from heschl.corpora._table_rows import clips_of, find_columns, find_table, read_rows
from heschl.files import audio_info, read_audio, write_csv
from heschl.types import Clip, Corpus, HeschlError, Skipped
from heschl.wording import counted

__all__ = ["check", "find_table", "first_class", "from_pattern", "read", "unmatched", "write_tiny"]

NO_SPEAKER = "the table has no column of speakers (name it with `speaker:` if there is one)"


def read(
    root: Path,
    *,
    path: str | None = None,
    speaker: str | None = None,
    split: str | None = None,
    start: str | None = None,
    stop: str | None = None,
    title: str | None = None,
    licence: str = "that of the recordings' maker",
) -> Corpus:
    """Reads a table.

    Parameters
    ----------
    root: the table, or a folder with one table in it.
    path, speaker, split, start, stop: the columns' names, where they are not the usual ones (see the module).
    title: what the corpus is called; by default as the table's folder.
    licence: kept in every run.

    Raises
    ------
    HeschlError: no table, no rows, no such column, a time that is no number, or no recording can be read.
    """
    file = find_table(Path(root))
    rows = read_rows(file)
    columns = find_columns(
        file, list(rows[0]), {"path": path, "speaker": speaker, "split": split, "start": start, "stop": stop}
    )
    clips, skipped = clips_of(file, rows, columns)
    if not clips:
        _headers.refuse_nothing_left(file, "a table of recordings", skipped)
    return Corpus(
        name=title or file.resolve().parent.name or "table",
        clips=tuple(clips),
        source=f"the table {file.name}",
        licence=licence,
        skipped=tuple(skipped),
        notes=tuple(_notes(clips)),
    )


def _notes(clips: Sequence[Clip]) -> list[str]:
    without = sum(not clip.labels.get("speaker") for clip in clips)
    if without == len(clips):
        return [NO_SPEAKER]
    return [f"{counted(without, 'row has', 'rows have')} no speaker"] if without else []


def check(path: Path | str, **options: str | None) -> list[str]:
    """What is in a table and what is wrong with it, one screen of lines.

    A line that begins with "! " must be mended; one with "? " is worth a look and may be meant so. Takes the
    options of `read`. Never raises for what a table's maker can mend: that is a line too. Recordings of floating-point
    numbers, which alone can hold some that are none, are read whole.
    """
    try:
        file = find_table(Path(path))
        rows = read_rows(file)
        columns = find_columns(file, list(rows[0]), options)
        clips, skipped = clips_of(file, rows, columns)
    except HeschlError as error:
        return [f"! {error}"]
    broken = dict(_unreadable(clips))
    skipped = [*skipped, *(Skipped(f"clip {name}", why) for name, why in broken.items())]
    return findings(file, len(rows), columns, [clip for clip in clips if clip.id not in broken], skipped)


def _unreadable(clips: Sequence[Clip]) -> Iterator[tuple[str, str]]:
    """(clip, what is wrong) of recordings whose header is well and whose samples are not."""
    for clip in clips:
        try:
            if audio_info(clip.signal).subtype in ("FLOAT", "DOUBLE"):
                read_audio(clip.signal, clip.start, clip.stop)
        except HeschlError as error:
            yield clip.id, str(error)


def write_tiny(root: Path, seed: int = 0) -> None:
    """Twenty-four recordings: four words by six speakers, in FLAC, with the table `index.csv`."""
    rows = []
    for speaker in range(6):
        for label, word in enumerate(("one", "two", "three", "four")):
            file = f"s{speaker}/{word}.flac"
            wave = _tiny.utterance(speaker, label, seed)
            _tiny.write(Path(root) / file, wave, 16000)
            rows.append({"file": file, "word": word, "speaker": f"s{speaker}", "room": "ab"[speaker % 2]})
    write_csv(Path(root) / "index.csv", rows, ["file", "word", "speaker", "room"])
