"""LibriBrain: 52 hours of MEG of one person who listened to Sherlock Holmes (Ozdogan et al. 2025).

    Sherlock1/derivatives/serialised/sub-0_ses-1_task-Sherlock1_run-1_proc-..._meg.h5     data (306, time) in tesla, times
    Sherlock1/derivatives/events/sub-0_ses-1_task-Sherlock1_run-1_events.tsv              timemeg, kind, segment, ...

306 channels (Elekta), 250 Hz; about 90 GB. Licence: CC BY-NC 4.0. Where from: huggingface.co/datasets/pnpl/LibriBrain. Tables
and recordings are matched by subject, session, task and run, wherever they lie. A split by "block", task and session, keeps
every chapter in one part. The layout is as the authors' library (pnpl) describes it in its documentation; neither its code that
opens the files nor the files themselves were seen by us.
"""

from __future__ import annotations

import csv
import io
import re
from functools import partial
from pathlib import Path

import numpy as np

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
            load = partial(_load, path, tables[named[0]], kind, f"{named[3]}-{named[2]}")
            sources.append(Source(named[0], named[1], path, load, (tables[named[0]],)))
    if not sources:
        raise HeschlError(f"{root} holds no sub-0_ses-..._meg.h5 with its _events.tsv: check the folder")
    return gathered(
        root,
        sources,
        "meg",
        (start, stop),
        {"libribrain": 1, "kind": kind},
        "LibriBrain",
        "LibriBrain (Ozdogan et al. 2025, arXiv:2506.02098)",
        "CC BY-NC 4.0",
    )


def _load(path: Path, table: Path, kind: str, block: str) -> Long:
    rows = list(csv.DictReader(io.StringIO(read_text(table)), delimiter="\t"))
    absent = [name for name in ("timemeg", "kind", "segment") if not rows or name not in rows[0]]
    if absent:
        raise HeschlError(f"{table} has no column {absent[0]}: download it again")
    heard = []
    for number, row in enumerate(rows):
        text = row["segment"]
        if row["kind"] != kind or text in ("", "sil", "oov_S"):
            continue
        try:
            onset = float(row["timemeg"])
        except ValueError:
            raise HeschlError(
                f"{table}, line {number + 2}: timemeg is '{row['timemeg']}', not seconds: mend it"
            ) from None
        heard.append(
            Heard(
                onset, text.split("_")[0] if kind == "phoneme" else text, block, f"{table.stem}/{number:05d}"
            )
        )
    with opened(path) as file:
        if "data" not in file or "times" not in file or file["data"].ndim != 2:
            raise HeschlError(
                f"{path} needs data (channel, time) and times, and holds {', '.join(file) or 'nothing'}"
            )
        x, times = np.asarray(file["data"][:], np.float32), np.asarray(file["times"][:2], float)
    rate = round(float(1 / (times[1] - times[0])), 3)
    shifted = [one._replace(onset=one.onset - float(times[0])) for one in heard]
    return Long(x, rate, [f"MEG{k + 1:03d}" for k in range(len(x))], None, shifted)


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
        lines = ["idx\tkind\tsegment\ttimemeg\tduration"]
        for k, word in enumerate(["to", "sherlock", "holmes"] * 2):
            lines += [
                f"{k}\tword\t{word}\t{1 + 2.5 * k}\t0.3",
                f"{k}\tphoneme\t{word[0]}_B\t{1 + 2.5 * k}\t0.1",
            ]
        lines.append("6\tphoneme\tsil\t17.0\t1.0")
        (top / "events" / f"{name}_events.tsv").write_text("\n".join(lines) + "\n")
