"""Schoffelen et al. 2019 (MOUS): MEG of people who read, or listened to, Dutch sentences and lists of their words.

    sub-V1001/meg/sub-V1001_task-visual_meg.ds       CTF, 273 sensors, 1200 Hz (sub-A2002, task-auditory: who listened)
    sourcedata/meg_task/MEG-MOUS-VisV1001.log        Presentation's log (MEG-MOUS-AudA2002.log): Event Type, Code, Time in 0.1 ms
    stimuli/audio_files/EQ_Ramp_Int2_Int1LPF186.wav  what was heard, where matching wants sounds

204 people, half of whom listened; about 2 TB. Licence: by agreement with the Donders Institute. Where from:
data.donders.ru.nl/collections/di/dccn/DSC_3011020.09_236. A split by "block", the sentence, keeps every sentence in one part.

The log's clock is brought to the recording's at every trigger that both have: 20 where the log says FIX, 10 where it says ZINNEN
or WOORDEN. Who read has a trial a word, its picture's onset. Of who listened the log knows when a sound file began, and the
collection holds no times of words: a trial is then a sound file, unless TextGrids of an aligner are given.

Checked against public code that reads this collection (the names of folders, logs, events and triggers, the log's unit, the sensors);
the recordings themselves were not seen by us.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from heschl.corpora._aligned_formats import textgrid
from heschl.corpora._listening import FIR, Heard, Long, Source, gathered, slower
from heschl.files import read_text, write_wav
from heschl.types import Corpus, HeschlError

UNIT = 1e-4  # seconds of the log's clock
NEAR = 0.25  # seconds within which a trigger is that of the log; they come seconds apart
KEY = 45  # letters that tell sentences apart: some trials lack their last word
_NO_WORD = re.compile(r"(FIX|ZINNEN|WOORDEN|QUESTION|ISI|Response|blank|pause|PULSE MODE)\b")
_SOUND = re.compile(r"Start File (\S+)\.wav")
SOUND = "EQ_Ramp_Int2_Int1LPF"  # and its number


class Row(NamedTuple):
    """A line of the log: its type and code, and seconds of the log's clock."""

    kind: str
    code: str
    time: float


def read(
    root: Path,
    rate: float = 120.0,
    start: float = -0.5,
    stop: float = 2.5,
    aligned: str | None = None,
    tier: str = "ORT-MAU",
    modality: Literal["auditory", "visual"] | None = None,
) -> Corpus:
    """A trial a word, or a sound file. Labels: word (of sound files their number), subject, block, heard, recording.

    Parameters
    ----------
    rate: Hz to which recordings are brought; it must divide theirs. start, stop: seconds around an onset.
    aligned: a folder of TextGrids, one a sound file, whose names end with its number (``...186.TextGrid``); tier: of their words.
    modality: who listened ("auditory") or who read ("visual") alone; None for both.

    Raises
    ------
    HeschlError: mne is not there, no recording with a log is there, or none can be read.
    """
    try:
        import mne  # noqa: F401
    except ImportError:
        raise HeschlError("recordings of brains are read by mne: pip install 'heschl[brain]'") from None
    if modality not in ("auditory", "visual", None):
        raise HeschlError(f"mous.modality is '{modality}': choose auditory or visual, or leave it out")
    root = Path(root)
    sources = []
    for folder in sorted(root.glob("sub-*/meg")):
        subject = folder.parent.name.removeprefix("sub-")
        found = [
            path
            for path in sorted(folder.iterdir())
            if path.suffix in (".ds", ".fif") and "rest" not in path.name
        ]
        logs = sorted((root / "sourcedata" / "meg_task").glob(f"*{subject}*.log"))
        if found and logs and modality in (None, "auditory" if "-Aud" in logs[-1].name else "visual"):
            load = partial(_load, found, logs[-1], rate, None if aligned is None else Path(aligned), tier)
            grids = () if aligned is None else sorted(Path(aligned).glob("*.TextGrid"))
            sources.append(Source(subject, subject, found[0], load, (logs[-1], *grids)))
    if not sources:
        raise HeschlError(
            f"{root} holds no sub-A2002/meg/*.ds with its sourcedata/meg_task/*A2002.log: check the folder"
        )
    options = {"mous": 2, "rate": rate, "aligned": aligned, "tier": tier}
    about = "Schoffelen et al. 2019, Scientific Data 6:17"
    return gathered(
        root, sources, "meg", (start, stop), options, "MOUS", about, "Donders Institute, by agreement"
    )


def _load(paths: Sequence[Path], log: Path, rate: float, aligned: Path | None, tier: str) -> Long:
    import mne

    if len(paths) > 1:
        raise HeschlError(
            f"{paths[0].parent} holds {len(paths)} recordings of one log, {log.name}: leave one, with the part of the log that it has"
        )
    try:
        with mne.utils.use_log_level("error"):
            raw = mne.io.read_raw(paths[0], preload=False)
            triggers = mne.find_events(raw, shortest_event=1)
            triggers[:, 0] -= raw.first_samp
    except Exception as error:  # whatever a damaged file makes of MNE's readers
        said = (str(error).splitlines() or [""])[0][:150]
        raise HeschlError(f"{paths[0]} cannot be read by MNE ({said}): copy it again") from None
    rows = read_log(log)
    at = aligned_times(rows, triggers[:, [0, 2]] / [raw.info["sfreq"], 1], log)
    heard = _listened(rows, at, aligned, tier) if "-Aud" in log.name else _read(rows, at)
    raw.pick("data", exclude="bads")
    places = np.array([channel["loc"][:3] for channel in raw.info["chs"]], float)
    to_head = raw.info["dev_head_t"]
    if to_head is not None:
        places = mne.transforms.apply_trans(to_head, places)
    slower = _Slower(raw, rate, paths[0])
    return Long(
        slower, rate, list(raw.ch_names), places, heard, reach=FIR / rate if slower.every > 1 else 0.0
    )


class _Slower:
    """A recording (channel, time) at a lower rate, read and filtered where it is asked for."""

    def __init__(self, raw: Any, rate: float, path: Path) -> None:
        self.raw, self.every = raw, round(raw.info["sfreq"] / rate)
        if self.every < 1 or abs(self.every * rate - raw.info["sfreq"]) > 1e-6 * rate:
            raise HeschlError(
                f"{path} has {raw.info['sfreq']:g} samples a second, and mous.rate {rate:g} does not divide them"
            )
        self.shape = (len(raw.ch_names), raw.n_times // self.every)

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        first, last = index[1].start, index[1].stop
        before = min(first, 32)  # what the filter sees beyond the ends
        samples = self.raw[:, (first - before) * self.every : (last + 32) * self.every][0]
        return slower(samples, self.every)[:, before : before + last - first]


def read_log(path: Path) -> list[Row]:
    """The first table of Presentation's log, in order.

    Raises
    ------
    HeschlError: it has no such table, or a time is no number.
    """
    text = (
        read_text(path).replace("\r\n", "\n").replace(".\n", ".")
    )  # a full stop of a sentence breaks its line
    scenarios = text.split("Scenario -")
    table = (scenarios[1] if len(scenarios) > 1 else text).split("\n\n\n")[0].split("\n")
    head = next((k for k, line in enumerate(table) if "Uncertainty" in line), None)
    columns = table[head].split("\t") if head is not None else []
    absent = [name for name in ("Event Type", "Code", "Time") if name not in columns]
    if head is None or absent:
        raise HeschlError(
            f"{path} is no log of Presentation: it has no column {absent[0] if absent else 'Time'}"
        )
    kind, code, time = (columns.index(name) for name in ("Event Type", "Code", "Time"))
    rows = []
    for number, line in enumerate(table[head + 1 :], start=head + 2):
        cells = line.split("\t")
        if len(cells) <= time or not cells[time]:
            continue
        try:
            rows.append(Row(cells[kind], cells[code], UNIT * float(cells[time])))
        except ValueError:
            raise HeschlError(
                f"{path}, line {number}: Time is '{cells[time]}', not a number: mend it"
            ) from None
    return rows


def aligned_times(rows: Sequence[Row], triggers: np.ndarray, log: Path) -> np.ndarray:
    """(row,) seconds of the recording at which the lines of a log happened; NaN before the first common trigger.

    Parameters
    ----------
    triggers: (trigger, 2) seconds and codes.

    Raises
    ------
    HeschlError: fewer than two in three of the log's marks, or of the triggers, have their counterpart.
    """
    marks = np.array([(row.time, code) for row in rows if (code := _trigger(row)) is not None]).reshape(-1, 2)
    known = triggers[np.isin(triggers[:, 1], (10, 20))]
    apart = known[:, None, 0] - marks[None, :, 0]
    apart = apart[known[:, None, 1] == marks[None, :, 1]]
    if not len(apart):
        raise HeschlError(
            f"{log} and its recording have no trigger 10 or 20 in common: they are not of one session"
        )
    bins = np.round(apart / NEAR).astype(int)  # the offset on which most agree
    counts = np.bincount(bins - bins.min())
    offset = float(np.median(apart[np.abs(bins - bins.min() - counts.argmax()) <= 1]))
    found: dict[float, float] = {}
    for time, code in marks:
        own = known[known[:, 1] == code, 0]
        near = own[np.abs(own - time - offset).argmin()] if len(own) else np.inf
        if abs(near - time - offset) < NEAR:
            found[time] = float(near)
            offset = near - time  # clocks drift
    if 3 * len(found) < 2 * min(len(marks), len(known)) or len(found) < 2:
        raise HeschlError(
            f"{log}: {len(found)} of {len(marks)} marks FIX, ZINNEN and WOORDEN have a trigger in the recording, which has "
            f"{len(known)}: they are not of one session"
        )
    times = np.array([row.time for row in rows])
    anchors = np.array(sorted(found))
    last = np.searchsorted(anchors, times, side="right") - 1
    there = np.array([found[one] for one in anchors])
    return np.where(last < 0, np.nan, times - anchors[last] + there[last])


def _trigger(row: Row) -> int | None:
    if row.kind != "Picture":
        return None
    return 20 if "FIX" in row.code else 10 if "ZINNEN" in row.code or "WOORDEN" in row.code else None


def _read(rows: Sequence[Row], at: np.ndarray) -> list[Heard]:
    """Words of pictures; what stands between two fixations is one sentence or list."""
    sequences: list[list[tuple[float, str]]] = [[]]
    for row, time in zip(rows, at, strict=True):
        if _trigger(row) is not None:
            sequences.append([])
        word = row.code.strip("0123456789 .,;:?!")  # the last of a sentence is the same word
        if row.kind == "Picture" and word and not _NO_WORD.match(row.code) and np.isfinite(time):
            sequences[-1].append((time, word))
    heard = []
    for words in sequences:
        name = " ".join(word for _, word in words).lower()[:KEY]
        heard += [Heard(time, word, name, f"{name}/{k:02d}") for k, (time, word) in enumerate(words)]
    return heard


def _listened(rows: Sequence[Row], at: np.ndarray, aligned: Path | None, tier: str) -> list[Heard]:
    """Sound files at their onsets, or their words."""
    heard, number = [], ""
    for row, time in zip(rows, at, strict=True):
        if begun := _SOUND.search(row.code):
            number = begun[1]
        elif "Audio onset" in row.code and number and np.isfinite(time):
            name = f"{SOUND}{int(number):03d}" if number.isdigit() else f"{SOUND}{number}"
            words = [(0.0, number)] if aligned is None else _words(aligned, number, tier)
            heard += [Heard(time + begin, word, name, f"{name}@{begin:.3f}") for begin, word in words]
            number = ""
    return heard


def _words(folder: Path, number: str, tier: str) -> list[tuple[float, str]]:
    ends = re.compile(rf"(?<!\d)0*{re.escape(number.lstrip('0'))}\.TextGrid$")
    there = [path for path in sorted(folder.glob("*.TextGrid")) if ends.search(path.name)]
    if len(there) != 1:
        raise HeschlError(
            f"{folder} holds {len(there)} TextGrids whose name ends with {number}: one is needed"
        )
    spans = textgrid(there[0], 1.0, {"phone": tier, "word": tier})
    return [
        (span.start, span.symbol.strip()) for span in spans if span.tier == "word" and span.symbol.strip()
    ]


def write_tiny(root: Path, seed: int = 0) -> None:
    """One who read and one who listened, six sentences of two words each, 3 sensors at 240 Hz; clocks 3 s apart; sounds
    are noise."""
    import mne

    (root / "sourcedata" / "meg_task").mkdir(parents=True, exist_ok=True)
    for k in (7, 8, 9):
        wave = 0.1 * np.random.default_rng((seed, 7, k)).standard_normal(8000 * 4).clip(-3, 3)
        write_wav(root / "stimuli" / "audio_files" / f"{SOUND}{k:03d}.wav", wave, 8000)
    head = (
        "Scenario - \n\nSubject\tTrial\tEvent Type\tCode\tTime\tTTime\tUncertainty\tDuration\tUncertainty\n\n"
    )
    for number, (subject, task, short) in enumerate(
        (("V1001", "visual", "Vis"), ("A2002", "auditory", "Aud"))
    ):
        random = np.random.default_rng((seed, number))
        rows, stim = [("Picture", "ZINNEN", 1.0)], np.zeros(240 * 60)
        for k in range(6):
            at = 2.0 + 9 * k
            rows.append(("Picture", f"FIX {k}", at))
            if short == "Vis":
                rows += [
                    ("Picture", f"{k + 1} {w}", at + 1 + 3 * j) for j, w in enumerate(("het", "huis")[:2])
                ]
            else:
                rows += [
                    ("Sound", f"14 Start File {k % 3 + 7}.wav", at + 1),
                    ("Nothing", "1 Audio onset", at + 1.05),
                ]
                rows.append(("Nothing", "15 End of file", at + 4))
        for kind, code, at in rows:
            value = {"ZIN": 10, "FIX": 20}.get(code[:3], 0) if kind == "Picture" else 0
            stim[round(240 * (at + 3)) : round(240 * (at + 3)) + 5] += value
        info = mne.create_info(["M1", "M2", "M3", "UPPT001"], 240.0, ["mag"] * 3 + ["stim"])
        for k, channel in enumerate(info["chs"][:3]):
            channel["loc"][:3] = (0.05 * k, 0.02, 0.1)
        folder = root / f"sub-{subject}" / "meg"
        folder.mkdir(parents=True, exist_ok=True)
        with mne.utils.use_log_level("error"):
            data = np.vstack([1e-13 * random.standard_normal((3, 240 * 60)), stim])
            raw = mne.io.RawArray(data, info)
            raw.save(folder / f"sub-{subject}_task-{task}_meg.fif", overwrite=True)
        lines = [f"{subject}\t1\t{kind}\t{code}\t{round(at / UNIT)}\t0\t2\t\t" for kind, code, at in rows]
        name = root / "sourcedata" / "meg_task" / f"MEG-MOUS-{short}{subject}.log"
        name.write_text(head + "\n".join(lines) + "\n\n\nEvent Type\tCode\n", encoding="utf-8")
