"""Recordings that MNE reads, as trials: epochs, raw files with annotations, and BIDS trees with their events.

    NAME-epo.fif                                          epochs: each event's name is the trial's word
    sub-01_task-words_eeg.vhdr + ..._events.tsv           raw (any suffix that MNE reads) with BIDS events beside it
    NAME_raw.fif, NAME.edf, ...                           raw: its annotations are the events

A recording that was saved in parts is read from its first. Trials hold channels of one kind; those that are marked bad, that a
BIDS table of channels (..._channels.tsv) calls bad or no sensor of a brain, or that recorded the sound, by their name, are left out.

BIDS trees are one's own, or published; `masc` reads that of Gwilliams et al. Licence: that of the recordings; said in ``licence``.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from heschl.corpora._brain_channels import beside, chosen, is_later_part
from heschl.corpora._brain_files import KINDS
from heschl.corpora._brain_runs import bad_stretches
from heschl.corpora._headers import seconds_of
from heschl.corpora.sensors import places
from heschl.corpora.trial_files import Known, inside, kept, write_trials
from heschl.corpora.trials import corpus_parts, left_out, lone_words, runs
from heschl.files import disk_full, read_text
from heschl.types import Clip, Corpus, HeschlError, Recording, Skipped

RAW = (".fif", ".edf", ".bdf", ".vhdr", ".set", ".con", ".sqd", ".ds", ".gdf", ".cnt")


class Cut(NamedTuple):
    """Trials, what each is and when, their rate, MNE's info of their channels, their kind, the seconds around an event that they
    span; and what gives none: where, and why."""

    values: Iterator[np.ndarray]
    events: list[Event]
    rate: float
    info: Any
    kind: str
    around: tuple[float, float]
    lost: list[tuple[str, str]]


class Event(NamedTuple):
    """onset in seconds of the recording, and the word; where the table says of which sound, a name that is the same for all
    who heard this very word, and the sound."""

    onset: float
    word: str
    heard: str = ""
    block: str = ""


def read(
    root: Path,
    column: str = "trial_type",
    kind: str | None = None,
    start: float = -0.5,
    stop: float = 2.5,
    rate: float | None = None,
    montage: str | None = None,
    blocks: int = 10,
    licence: str = "not stated",
    sensors: Literal["meg", "eeg", "ecog", "seeg"] | None = None,
) -> Corpus:
    """Trials as clips, one recording a file; each file is cut once, into heschl's cache, a trial at a time.

    An event whose window reaches outside its recording, or touches what is marked BAD or is not finite, gives no trial and is
    listed by name. Labels: word, subject (of BIDS names, else the file's name), block (so many stretches of neighbouring
    trials; the sound, where the events name it), heard (there, sound and second), recording. Values are volts or tesla.

    Parameters
    ----------
    root: a file or a folder, searched through.
    column: of events.tsv, whose text is the word; a text that is a dictionary gives its entry "word".
    kind: of such dictionaries, only this ("word", "phoneme"); None takes all.
    start, stop: seconds around an event (raw files only: epochs are cut already).
    rate: Hz to which recordings are brought, below their own by whole trials; None keeps it, and then all must agree.
    montage: of MNE, for recordings that know no places.
    sensors: where a file holds several kinds of channel, "meg", "eeg", "ecog" or "seeg"; None takes the first of these.

    Raises
    ------
    HeschlError: nothing can be read, or the recordings' rates differ.
    """
    try:
        import mne  # noqa: F401
    except ImportError:
        raise HeschlError("recordings of brains are read by mne: pip install 'heschl[brain]'") from None
    if sensors is not None and sensors not in KINDS:
        raise HeschlError(f"sensors is '{sensors}': choose {', '.join(KINDS)}")
    root = Path(root)
    paths = [root] if root.is_file() else list(_recordings(root)) if root.is_dir() else []
    if not paths:
        raise HeschlError(f"{root} holds no recording that MNE reads ({', '.join(RAW)}): check the folder")
    options = {
        "column": column,
        "kind": kind,
        "sensors": sensors,
        "start": start,
        "stop": stop,
        "rate": rate,
        "montage": montage,
        "blocks": blocks,
    }
    clips: list[Clip] = []
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    for path in paths:
        where = path.relative_to(root).as_posix() if path != root else path.name
        try:
            tables = [beside(path, what) for what in ("events", "channels")]
            stamps = [table.stat().st_mtime_ns if table.exists() else None for table in tables]
            made = kept(path, {**options, "tables": stamps, "epochs": 6}, partial(_convert, path, options))
            recording, own = corpus_parts(made, re.sub(r"\.[^.]+$", "", where))
        except HeschlError as error:
            if disk_full(error):
                raise
            skipped.append(Skipped(where, str(error)))
            continue
        skipped += left_out(made, where)
        recordings.append(recording)
        clips += own
    if not clips:
        raise HeschlError(f"nothing in {root} can be read: {skipped[0].why}")
    rates = sorted({recording.rate for recording in recordings})
    if len(rates) > 1:
        raise HeschlError(
            f"the recordings of {root} have rates of {', '.join(f'{one:g}' for one in rates)} Hz: name the `rate` to bring them to"
        )
    return Corpus(
        name=root.resolve().stem,
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        source=f"{root.name}, read by MNE",
        licence=licence,
        skipped=tuple(skipped),
        notes=lone_words(clips),
        recordings=tuple(recordings),
    )


def _recordings(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        inside = any(part.endswith(".ds") for part in path.relative_to(root).parts[:-1])
        if path.suffix not in RAW or inside or "derivatives" in path.relative_to(root).parts:
            continue
        if not is_later_part(path):
            yield path


def _convert(path: Path, options: dict[str, Any], out: Path) -> None:
    with _read_by_mne(path):
        epochs = path.stem.endswith(("-epo", "_epo"))
        values, events, rate, info, kind, around, lost = (_epochs if epochs else _raw)(path, options)
    names = list(info["ch_names"])
    positions = _positions(info, names, options["montage"])
    subject = next(iter(re.findall(r"sub-([A-Za-z0-9]+)", path.name)), path.stem)
    sounds = all(event.heard for event in events)
    more = {} if positions is None else {"space": "head" if kind != "meg" else "device"}
    known = Known(
        [event.word for event in events],
        [f"{event.word} at {event.onset:.3f} s" for event in events],
        [event.block for event in events]
        if sounds
        else runs(len(events), min(options["blocks"], len(events))),
        [event.heard for event in events] if sounds else None,
        [(event.onset + around[0], event.onset + around[1]) for event in events],
    )
    write_trials(
        out,
        _read(path, values),
        known,
        rate,
        names,
        positions,
        lost,
        kind=kind,
        subject=subject,
        **more,
    )


@contextlib.contextmanager
def _read_by_mne(path: Path) -> Iterator[None]:
    import mne

    try:
        with mne.utils.use_log_level("error"):
            yield
    except HeschlError:
        raise
    except Exception as error:  # whatever a damaged file makes of MNE's many readers
        said = (str(error).splitlines() or [""])[0][:150]
        raise HeschlError(
            f"{path} cannot be read by MNE ({said}): copy it again, or convert it to .fif"
        ) from None


def _read(path: Path, values: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    with _read_by_mne(path):  # trials are read as they are asked for
        yield from values


def _epochs(path: Path, options: dict[str, Any]) -> Cut:
    import mne

    epochs, rate = mne.read_epochs(path, preload=False), options["rate"]
    picks, kind, lost = chosen(path, epochs.info, options["sensors"])
    info = mne.pick_info(epochs.info, [epochs.ch_names.index(name) for name in picks])
    at = epochs.events[:, 0] / epochs.info["sfreq"]
    around = (float(epochs.times[0]), float(epochs.times[-1] + 1 / epochs.info["sfreq"]))
    if rate is not None and rate != epochs.info["sfreq"]:
        epochs.load_data().resample(rate)
    names = {number: name for name, number in epochs.event_id.items()}
    words = [
        Event(float(onset), names[number]) for onset, number in zip(at, epochs.events[:, 2], strict=True)
    ]
    values = (epochs[k].get_data(picks=picks)[0] for k in range(len(words)))
    return Cut(values, words, epochs.info["sfreq"], info, kind, around, lost)


def _raw(path: Path, options: dict[str, Any]) -> Cut:
    import mne

    raw, outside = _opened(path)
    picks, kind, lost = chosen(path, raw.info, options["sensors"])
    raw.pick(picks)
    table = beside(path, "events")
    known = table.exists()
    events = read_events(table, options["column"], options["kind"]) if known else _annotated(raw)
    if not events and known:
        what = f" of kind '{options['kind']}'" if options["kind"] else ""
        raise HeschlError(f"{table} has no event{what} in its column {options['column']}: choose another")
    if not events:
        raise HeschlError(f"{path} has neither events.tsv beside it nor annotations: say what was heard when")
    own, start, stop = raw.info["sfreq"], options["start"], options["stop"]
    named = [(event.onset, event.word) for event in events]
    there, more = inside(path, named, (start, stop), own, raw.n_times)
    lost += [*more, *([] if known else outside)]
    events, marked = _unmarked([events[k] for k in there], (start, stop), bad_stretches(raw))
    if not events:
        raise HeschlError(f"{path}: {marked[0][0]} and every other trial: {marked[0][1]}")
    lost += marked
    samples = round((stop - start) * own)
    rate = own if options["rate"] is None else float(options["rate"])

    def cut() -> Iterator[np.ndarray]:
        for event in events:
            first = round((event.onset + start) * own)
            value = raw[:, first : first + samples][0]
            yield value if rate == own else mne.filter.resample(value, up=rate, down=own, verbose="error")

    return Cut(cut(), events, rate, raw.info, kind, (start, stop), lost)


def _unmarked(
    events: Sequence[Event], window: tuple[float, float], bad: Sequence[tuple[float, float]]
) -> tuple[list[Event], list[tuple[str, str]]]:
    """The events whose windows touch nothing that is marked BAD; and of every other, where it is and why it gives no trial."""
    kept, lost = [], []
    for event in events:
        begin, end = event.onset + window[0], event.onset + window[1]
        touched = next(((a, b) for a, b in bad if a < end and b > begin), None)
        if touched is None:
            kept.append(event)
        else:
            why = f"the recording is marked BAD from {touched[0]:.3f} to {touched[1]:.3f} s"
            lost.append((f"{event.word} at {event.onset:.3f} s", why))
    return kept, lost


def _opened(path: Path) -> tuple[Any, list[tuple[str, str]]]:
    """The recording, and what MNE says of annotations that lie outside it, which it drops and does not name."""
    import mne

    with mne.utils.use_log_level("warning"), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        raw = mne.io.read_raw(path, preload=False)
    dropped = [re.search(r"Omitted (\d+) annotation", str(one.message)) for one in told]
    return raw, [(f"{one[1]} annotations", "they lie outside the recording") for one in dropped if one]


def _annotated(raw: Any) -> list[Event]:
    """The annotations of a raw file, but those that mark bad stretches."""
    import mne

    events, numbers = mne.events_from_annotations(raw, verbose="error")
    names = {number: name for name, number in numbers.items()}
    return [
        Event((sample - raw.first_samp) / raw.info["sfreq"], str(names[number]))
        for sample, _, number in events
    ]


def read_events(path: Path, column: str = "trial_type", kind: str | None = None) -> list[Event]:
    """The events of a BIDS table; cells may be dictionaries (see `heschl.corpora.masc`): {'kind': 'word', 'word': 'once', ...}.

    Raises
    ------
    HeschlError: a column is missing, or an onset is not a number.
    """
    rows = list(csv.DictReader(io.StringIO(read_text(path)), delimiter="\t", restval=""))
    found = []
    for number, row in enumerate(rows, start=2):
        if "onset" not in row or column not in row:
            raise HeschlError(
                f"{path} has no column {'onset' if 'onset' not in row else column}: it has {', '.join(row)}"
            )
        text, heard, block = (row[column] or "").strip(), "", ""
        if text.startswith("{"):
            try:
                cell = dict(ast.literal_eval(text))
            except (ValueError, SyntaxError, TypeError):
                raise HeschlError(
                    f"{path}, line {number}: {column} is no dictionary: mend that line"
                ) from None
            if kind is not None and cell.get("kind") != kind:
                continue
            if not float(cell.get("pronounced", 1)):  # written in MEG-MASC's text, and never said
                continue
            text = str(cell.get(str(cell.get("kind")), cell.get("word", "")))
            if cell.get("sound") and "start" in cell:
                block = re.sub(
                    r"(\.0)?\.[^.]+$", "", str(cell["sound"]).rsplit("/", 1)[-1]
                )  # lw1_0.0.wav is lw1_0.wav
                heard = f"{block}@{float(cell['start']):.3f}"
        if not text or text == "n/a":
            continue
        onset = seconds_of(row["onset"], f"{path}, line {number}: the onset")
        found.append(Event(onset, text, heard, block))
    return found


def _positions(info: Any, names: Sequence[str], montage: str | None) -> np.ndarray | None:
    if montage is not None:
        return places(names, montage)
    found = np.array([channel["loc"][:3] for channel in info["chs"]], float)
    unknown = ~np.isfinite(found).all(1) | (found == 0).all(1)
    found[unknown] = np.nan
    return None if unknown.all() else found


def write_tiny(root: Path, seed: int = 0) -> None:
    """Two people of two runs in a BIDS tree: raw .fif of 3 channels at 64 Hz, eight words each."""
    import mne

    for subject in ("01", "02"):
        folder = root / f"sub-{subject}" / "eeg"
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng((seed, int(subject)))
        info = mne.create_info(["C3", "Cz", "C4"], 64.0, "eeg")
        with mne.utils.use_log_level("error"):
            raw = mne.io.RawArray(1e-5 * random.standard_normal((3, 64 * 30)), info)
            raw.set_montage("fsaverage_1005")
            raw.save(folder / f"sub-{subject}_task-words_eeg.fif", overwrite=True)
        words = ["once", "upon", "a", "time"] * 2
        lines = ["onset\tduration\ttrial_type"] + [
            f"{1 + 3 * k}\t0.3\t{word}" for k, word in enumerate(words)
        ]
        (folder / f"sub-{subject}_task-words_events.tsv").write_text(
            "\n".join(lines) + "\n", encoding="utf-8"
        )
