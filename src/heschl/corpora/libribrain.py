"""LibriBrain: 52 hours of MEG of one person who listened to Sherlock Holmes (Ozdogan et al. 2025).

    Sherlock1/derivatives/serialised/sub-0_ses-1_task-Sherlock1_run-1_proc-..._meg.h5     data (306, time) in tesla, times;
                                                          attribute channel_names: MEG0113, MEG0112, ...
    Sherlock1/derivatives/events/sub-0_ses-1_task-Sherlock1_run-1_events.tsv              timemeg, kind, segment, ...
    sensor_xyz.json, or metadata/sensor_xyz.json          (306, 3) metres in the helmet's frame; may be absent

306 channels (Elekta), 250 Hz; about 90 GB. Licence: CC BY-NC 4.0. Where from: huggingface.co/datasets/pnpl/LibriBrain. Tables
and recordings are matched by subject, session, task and run, wherever they lie. A split by "block", task and session, keeps
every chapter in one part. Where no file says where the sensors lie, it is MNE's drawing of that helmet, by the channels' names.

Folders, variables and names were checked against the authors' library (pnpl), which writes and opens these files; the files
themselves were not seen by us.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from heschl.corpora._headers import seconds_of
from heschl.corpora._listening import Heard, Long, Source, gathered
from heschl.corpora.trials import opened
from heschl.files import read_text
from heschl.types import Corpus, HeschlError

_NAME = re.compile(r"sub-([^_]+)_ses-([^_]+)_task-([^_]+)_run-([^_]+)")


def read(root: Path, kind: str = "word", start: float = -0.5, stop: float = 2.5) -> Corpus:
    """A trial a word or phoneme. Labels: word, subject, block (task and session), heard, recording.

    Parameters
    ----------
    kind: rows of the tables: "word", or "phoneme" ("sil" and what is out of vocabulary are left out; positions in the word,
        "_B", "_I", "_E", "_S", are taken off).
    start, stop: seconds around an onset; 0 to 0.5 for phonemes, as the publication has it.

    Raises
    ------
    HeschlError: no recording with a table is there, or none can be read.
    """
    root = Path(root)
    if kind not in ("word", "phoneme"):
        raise HeschlError(f"libribrain.kind is '{kind}': choose word or phoneme")
    tables = {}
    for path in sorted(root.rglob("*_events.tsv")):
        if named := _NAME.match(path.name):
            tables[named[0]] = path
    sources = []
    for path in sorted(root.rglob("*.h5")):
        named = _NAME.match(path.name)
        if named and named[0] in tables:
            load = partial(_load, path, tables[named[0]], kind, f"{named[3]}-{named[2]}", _drawing(root))
            beside = (tables[named[0]], *filter(None, [_drawing(root)]))
            sources.append(Source(named[0], named[1], path, load, beside))
    if not sources:
        raise HeschlError(f"{root} holds no sub-0_ses-..._meg.h5 with its _events.tsv: check the folder")
    return gathered(
        root,
        sources,
        "meg",
        (start, stop),
        {"libribrain": 2, "kind": kind},
        "LibriBrain",
        "LibriBrain (Ozdogan et al. 2025, arXiv:2506.02098)",
        "CC BY-NC 4.0",
    )


def _drawing(root: Path) -> Path | None:
    """The file that says where the sensors lie."""
    found = (root / "sensor_xyz.json", root / "metadata" / "sensor_xyz.json")
    return next((one for one in found if one.is_file()), None)


def _load(path: Path, table: Path, kind: str, block: str, drawing: Path | None) -> Long:
    rows = list(csv.DictReader(io.StringIO(read_text(table)), delimiter="\t", restval=""))
    absent = [name for name in ("timemeg", "kind", "segment") if not rows or name not in rows[0]]
    if absent:
        raise HeschlError(f"{table} has no column {absent[0]}: download it again")
    heard, run = [], _NAME.match(path.name)[4]  # type: ignore[index]
    for number, row in enumerate(rows):
        text = row["segment"]
        if row["kind"] != kind or text in ("", "sil", "oov_S"):
            continue
        onset = seconds_of(row["timemeg"], f"{table}, line {number + 2}: timemeg")
        heard.append(
            Heard(
                onset,
                text.split("_")[0] if kind == "phoneme" else text,
                block,
                f"{block}-{run}/{number:05d}",
            )
        )
    with opened(path) as file:
        if "data" not in file or "times" not in file or file["data"].ndim != 2:
            raise HeschlError(
                f"{path} needs data (channel, time) and times, and holds {', '.join(file) or 'nothing'}"
            )
        x, times = np.asarray(file["data"][:], np.float32), np.asarray(file["times"][:2], float)
        told = file.attrs.get("channel_names")
    rate = round(float(1 / (times[1] - times[0])), 3)
    shifted = [one._replace(onset=one.onset - float(times[0])) for one in heard]
    names = [f"MEG{k + 1:03d}" for k in range(len(x))]
    if told is not None:
        names = [
            one.strip().replace(" ", "")
            for one in (told.split(",") if isinstance(told, str) else map(str, told))
        ]
    if len(names) != len(x):
        raise HeschlError(f"{path} has {len(x)} channels and names {len(names)}: download it again")
    return Long(x, rate, names, _places(names, drawing), shifted, space="device")


def _places(names: Sequence[str], drawing: Path | None) -> np.ndarray | None:
    """(channel, 3) metres in the helmet's frame, NaN for a channel that is not in it; None where nobody knows."""
    if drawing is not None:
        try:
            there = np.asarray(json.loads(read_text(drawing)), float)
        except ValueError:
            there = np.zeros(0)
        if there.shape != (len(names), 3):
            raise HeschlError(
                f"{drawing} must be a list of {len(names)} places of three numbers, one a channel: download it again, or "
                "take it away, and MNE's drawing of the helmet is taken"
            )
        return there
    try:
        import mne
    except ImportError:
        return None
    helmet = mne.channels.read_meg_canonical_info("neuromag")["chs"]
    known = {channel["ch_name"].replace(" ", ""): channel["loc"][:3] for channel in helmet}
    if not any(name in known for name in names):
        return None
    return np.array([known.get(name, np.full(3, np.nan)) for name in names], float)


def write_tiny(root: Path, seed: int = 0) -> None:
    """Two people (there is one), six words with their phonemes in 20 s at 50 Hz, 4 channels."""
    import h5py

    for subject in ("0", "1"):
        random = np.random.default_rng((seed, int(subject)))
        name = f"sub-{subject}_ses-1_task-Sherlock1_run-1"
        top = root / "Sherlock1" / "derivatives"
        for folder in ("serialised", "events"):
            (top / folder).mkdir(parents=True, exist_ok=True)
        with h5py.File(top / "serialised" / f"{name}_proc-bads+ds_meg.h5", "w") as file:
            data = (1e-13 * random.standard_normal((4, 1000))).astype(np.float32)
            file.create_dataset("data", data=data, track_times=False)
            file.create_dataset("times", data=np.arange(1000) / 50, track_times=False)
            file.attrs["channel_names"] = "MEG0113, MEG0112, MEG0111, MEG0122"
        lines = ["idx\tkind\tsegment\ttimemeg\tduration"]
        for k, word in enumerate(["to", "sherlock", "holmes"] * 2):
            lines += [
                f"{k}\tword\t{word}\t{1 + 2.5 * k}\t0.3",
                f"{k}\tphoneme\t{word[0]}_B\t{1 + 2.5 * k}\t0.1",
            ]
        lines.append("6\tphoneme\tsil\t17.0\t1.0")
        (top / "events" / f"{name}_events.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
