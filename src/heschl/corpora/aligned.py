"""Recordings with phone times: TIMIT, Praat TextGrids, ESPS and HTS label files, CSV tables, pocketsphinx's JSON.

What it is: any folder of recordings with a label file beside each, or with one table of times for all.
Layout, found by looking (or named by ``format``):

- "timit": ``TRAIN/DR1/FCJF0/SA1.WAV`` (NIST SPHERE or RIFF) with .PHN and .WRD in samples; speaker, sex, dialect and
  split are taken from the path. TIMIT (LDC93S1, Garofolo et al. 1993) is sold by the LDC under its own licence.
- "textgrid": ``name.TextGrid`` beside ``name.wav``.
- "json": ``name.phone.json`` as pocketsphinx's aligner writes it.
- "lab": ``name.lab`` (or ``name_phone.lab``), ESPS/xlabel in seconds or HTS in units of 100 ns.
- "csv": one table with a row a phone: file, start, end, phone, and word where known; seconds.

Tables beside (``index.csv``, ``utterances.csv``) with a column ``file`` give further labels: speaker, gender, ...
Licence and citation: those of the recordings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from heschl.corpora import _aligned_csv, _tiny
from heschl.corpora._aligned_formats import FORMATS, TAILS, labels_of_context
from heschl.corpora._headers import LOOKED_AT, headers
from heschl.corpora.arpabet import SILENCE, SILENCES, arpabet, timit39
from heschl.files import read_text, write_csv
from heschl.types import Clip, Corpus, HeschlError, Skipped, Span

# Labels that end later than this after their recording does are of another recording, seconds.
OVERRUN = 0.05
# Known tables of labels, in the order in which they are looked for.
LABEL_TABLES = ("index.csv", "utterances.csv")


def read(
    root: Path,
    *,
    format: str | None = None,
    symbols: str | Mapping[str, str] | None = None,
    tiers: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    labels: str | None = None,
    quality: str | None = None,
    keep: Mapping[str, Mapping[str, Any]] | None = None,
    licence: str = "that of the recordings",
) -> Corpus:
    """Reads recordings with phone times.

    Parameters
    ----------
    root: the folder; for "csv" it may be the table itself.
    format: "timit", "textgrid", "json", "lab" or "csv"; None looks what is there.
    symbols: None keeps them, but for the names of silence, which become SIL; "arpabet" takes stress digits off, folds
        finer symbols (ax, el), writes capitals, and skips recordings with other symbols; "timit39" folds TIMIT's 61; or a table of its own
        (symbol: symbol, "" leaves a phone out).
    tiers: names of a TextGrid's tiers, {phone: Phonetic, word: Text}.
    columns: names of a CSV's columns, where unusual: {file: path, start: t0, stop: t1, phone: p, word: w}.
    labels: another CSV beside with a column "file"; None takes index.csv or utterances.csv where there is one.
    quality: a CSV beside with a column "file" and numbers, for ``keep``.
    keep: limits on quality, {longest_phone_s: {max: 0.5}, auc: {min: 0.9, or_empty: true}}; the rest is counted.
    licence: kept in every run.

    Raises
    ------
    HeschlError: no such folder or format, a table that cannot be read, or nothing usable.
    """
    root = Path(root)
    renamed = _renamer(symbols)
    limits = _aligned_csv.limits(keep, quality)
    if not root.exists():
        raise HeschlError(f"{root} is not there: check the path of the corpus")
    kind = format or _found_format(root, columns)
    folder = root.parent if root.is_file() else root
    notes: list[str] = []
    if kind == "csv":
        table = root if root.is_file() else _aligned_csv.find(root, columns)
        sources = _aligned_csv.spans_by_file(table, columns)
        paths = {name: folder / name for name in sources}

        def parse(name: str, rate: float) -> list[Span]:
            return sources[name]

    elif kind in FORMATS:
        files, more = _label_files(folder, kind)
        notes += more
        paths = {_id(folder, audio): audio for audio in files}
        parser = FORMATS[kind][1]
        by_name = {_id(folder, audio): told for audio, told in files.items()}

        def parse(name: str, rate: float) -> list[Span]:
            return parser(by_name[name], rate, dict(tiers or {}))

    else:
        raise HeschlError(f"format: '{kind}' is not among {', '.join([*FORMATS, 'csv'])}")
    if limits:
        paths, said = _aligned_csv.kept(paths, folder / str(quality), limits)
        notes += said
    usual = [name for name in LABEL_TABLES if kind != "csv" or folder / name != table]
    beside = _aligned_csv.labels_by_file(folder, labels, usual)
    if kind == "csv" and beside and (absent := len(beside.keys() - sources.keys())):
        notes.append(
            f"{absent} of {len(beside)} recordings {'has' if absent == 1 else 'have'} no phone times: left out."
        )
    clips, skipped = [], []
    for (name, path), info in zip(paths.items(), headers(list(paths.values()))):
        try:
            if isinstance(info, HeschlError):
                raise info
            seconds = info.frames / info.rate
            spans = _checked(path, renamed(path, parse(name, info.rate)), seconds)
            given = {**_context(path), **beside.get(name, beside.get(_id(folder, path), {}))}
            if words := " ".join(span.symbol for span in spans if span.tier == "word"):
                given.setdefault("text", words)
            clips.append(Clip(_id(folder, path), path, info.rate, given, spans, 0.0, seconds))
        except HeschlError as error:
            skipped.append(Skipped(name, str(error)))
    if not clips:
        raise HeschlError(
            f"{root} holds no recording with phone times that can be read"
            + (
                f" ({len(skipped)} were tried; the first: {skipped[0].why})"
                if skipped
                else ": look at `keep` and `quality`"
            )
        )
    return Corpus(
        name=folder.resolve().name,
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        source=str(kind),
        licence=licence,
        skipped=tuple(skipped),
        notes=tuple(notes),
    )


# --- files -------------------------------------------------------------------------------------------


def _id(folder: Path, path: Path) -> str:
    return PurePosixPath(_aligned_csv.below(folder, path)).with_suffix("").as_posix()


def _found_format(root: Path, columns: Mapping[str, str] | None) -> str:
    if root.is_file():
        return "csv"
    names = [path.name.lower() for path in root.rglob("*") if path.is_file()]
    there = [kind for kind, (suffixes, _) in FORMATS.items() if any(n.endswith(suffixes) for n in names)]
    there += ["csv"] * any(name.endswith(".csv") for name in names)
    for kind in there:
        with contextlib.suppress(HeschlError):  # a .json may hold anything: times lie beside a recording
            if kind == "csv":
                _aligned_csv.find(root, columns)
            else:
                _label_files(root, kind)
            return kind
    if there:
        return there[0]  # reading it says what is wrong
    told = ", ".join(suffix for suffixes, _ in FORMATS.values() for suffix in suffixes)
    raise HeschlError(
        f"{root} holds no phone times ({told} or a CSV): check the folder, or name the `format`"
    )


def _label_files(folder: Path, kind: str) -> tuple[dict[Path, Path], list[str]]:
    """The label file of each recording, and notes on what has no partner."""
    suffixes = FORMATS[kind][0]
    told: dict[tuple[Path, str], Path] = {}
    audio: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        if suffix := next((s for s in suffixes if path.name.lower().endswith(s)), None):
            told.setdefault((path.parent, path.name[: -len(suffix)]), path)
        elif path.suffix.lower() in LOOKED_AT:
            audio.append(path)
    files: dict[Path, Path] = {}
    for path in audio:
        names = [(path.parent, path.stem + tail) for tail in TAILS]
        if found := next((told[name] for name in names if name in told), None):
            files[path] = found
    notes = []
    if alone := len(audio) - len(files):
        notes.append(f"{alone} of {len(audio)} recordings have no {suffixes[0]} file: left out.")
    if unread := len(told) - len(set(files.values())):
        notes.append(
            f"{unread} of {len(told)} label files are not read: no recording, or a second file of one."
        )
    if not files:
        raise HeschlError(
            f"{folder} holds no recording with a {suffixes[0]} file of its name beside it: check the names"
        )
    return files, notes


def _context(path: Path) -> dict[str, str]:
    """Labels from the path and the transcript beside it, where the folder is TIMIT's."""
    path = path.absolute()  # a corpus may be named from inside TIMIT's folders
    labels = labels_of_context(path, "")
    for suffix in (".TXT", ".txt"):
        if labels and path.with_suffix(suffix).exists():
            return labels_of_context(path, read_text(path.with_suffix(suffix)))
    return labels


# --- symbols and times -------------------------------------------------------------------------------


def _renamer(symbols: str | Mapping[str, str] | None) -> Callable[[Path, list[Span]], list[Span]]:
    """A function that gives the spans their symbols by the option of that name."""
    if isinstance(symbols, str) and symbols not in ("arpabet", "timit39"):
        raise HeschlError(f"symbols: '{symbols}' is not known: give arpabet, timit39 or a table of symbols")

    def name(symbol: str) -> str | None:
        if isinstance(symbols, Mapping) and symbol in symbols:
            return str(symbols[symbol]) or None
        if symbols == "timit39":
            return timit39(symbol)
        if symbols == "arpabet":
            return arpabet(symbol)
        return SILENCE if symbol.strip().lower() in SILENCES else symbol

    def rename(path: Path, spans: list[Span]) -> list[Span]:
        out: list[Span] = []
        for span in sorted(spans, key=lambda span: span.tier != "phone"):  # phones, then words
            if span.tier != "phone":
                if span.symbol.strip().lower() not in SILENCES:
                    out.append(span)
                continue
            try:
                symbol = name(span.symbol)
            except KeyError:
                raise HeschlError(
                    f"{path}: the phone '{span.symbol}' is not of {symbols}: give a table as `symbols`"
                ) from None
            if symbol is None:
                continue
            last = out[-1] if out else None
            if last and last.tier == "phone" and last.symbol == symbol == SILENCE and last.stop == span.start:
                out[-1] = Span(SILENCE, last.start, span.stop)
            else:
                out.append(Span(symbol, span.start, span.stop))
        return out

    return rename


def _checked(path: Path, spans: list[Span], seconds: float) -> tuple[Span, ...]:
    """Spans within the recording and in order, ends that stick out a little drawn in."""
    if not any(span.tier == "phone" for span in spans):
        raise HeschlError(f"{path} has no phones in its label file: take it out or label it")
    end = max(span.stop for span in spans)
    if end > seconds + OVERRUN:
        raise HeschlError(
            f"{path} is {seconds:.3f} s long, and its labels run to {end:.3f} s: they are of another recording"
        )
    before: dict[str, Span] = {}
    out = []
    for span in spans:
        last = before.get(span.tier)
        if last is not None and span.start < last.stop - 1e-6:
            raise HeschlError(
                f"{path}: the {span.tier} '{span.symbol}' at {span.start:.3f} s begins before '{last.symbol}' ends "
                f"({last.stop:.3f} s): mend the labels"
            )
        before[span.tier] = span
        if span.start < seconds and span.stop > span.start:
            out.append(Span(span.symbol, span.start, min(span.stop, seconds), span.tier))
    return tuple(out)


def write_tiny(root: Path, seed: int = 0) -> None:
    """A small tree as CSV: 4 speakers, 6 recordings each, made of 4 sounds with their times, words and sexes."""
    root = Path(root)
    sounds = ("AA", "IY", "S", "M")
    random = np.random.default_rng(seed)
    phones, index = [], []
    rate = 16000
    for speaker in range(4):
        for take in range(6):
            order = [sounds[k] for k in random.permutation(4)]
            pieces, at = [np.zeros(rate // 10)], 0.1
            file = f"s{speaker}/{take}.wav"
            phones.append({"file": file, "start_s": 0.0, "end_s": 0.1, "phone": SILENCE, "word": ""})
            for symbol in order:
                length = 0.01 * int(random.integers(8, 16))
                pieces.append(_tiny.utterance(speaker, sounds.index(symbol), seed + take, length, rate))
                row = {"file": file, "start_s": round(at, 2), "end_s": round(at + length, 2), "phone": symbol}
                phones.append(row | {"word": "".join(order).lower()})
                at += length
            _tiny.write(root / file, np.concatenate(pieces), rate)
            index.append({"file": file, "speaker": f"s{speaker}", "gender": ("female", "male")[speaker % 2]})
    write_csv(root / "phones.csv", phones, ("file", "start_s", "end_s", "phone", "word"))
    write_csv(root / "index.csv", index, ("file", "speaker", "gender"))
