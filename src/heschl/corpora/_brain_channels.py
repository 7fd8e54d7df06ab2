"""Which channels of a recording trials hold, and which files are parts of another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from heschl.corpora._brain_files import AUDIO_NAME, KINDS, quiet, tsv
from heschl.types import HeschlError
from heschl.wording import counted

_MODALITY = re.compile(r"(_split-\d+)?_(eeg|meg|ieeg)$")
_LATER = (
    re.compile(r"_split-(?!0*1_)\d+(?=_)"),
    re.compile(r"-\d+(?=\.fif$)"),
)  # BIDS' name for a part, and MNE's
# Of BIDS: what sees no brain, whatever a file's own format calls it.
_NO_BRAIN = re.compile(
    r"[HV]?EOG|ECG|EMG|MISC|TRIG|AUDIO|EYEGAZE|GSR|PUPIL|RESP|SYSCLOCK|TEMP|REF|OTHER", re.IGNORECASE
)


def beside(path: Path, what: str) -> Path:
    """The BIDS table ("events", "channels") of a raw file, which need not be there; of all its parts it is one."""
    return path.with_name(f"{_MODALITY.sub('', path.stem)}_{what}.tsv")


def chosen(path: Path, info: Any, wanted: str | None) -> tuple[list[str], str, list[tuple[str, str]]]:
    """Names of the channels that trials hold, their kind, and of what is left out where it is, and why.

    They are of one kind: units and places of two do not mix. wanted: "meg", "eeg", "ecog" or "seeg"; None takes the first
    of these that the file holds.

    Raises
    ------
    HeschlError: no channel is of such a kind.
    """
    table = beside(path, "channels")
    told = {row.get("name", ""): row for row in tsv(table)} if table.is_file() else {}
    types = ["meg" if one in ("mag", "grad") else one for one in info.get_channel_types()]
    of = {name: kind for name, kind in zip(info["ch_names"], types) if kind in KINDS}
    lost: list[tuple[str, str]] = []
    for name in list(of):
        row = told.get(name, {})
        why = None
        if name in info["bads"] or row.get("status", "").strip().lower() == "bad":
            why = "it is marked bad, and is left out"
        elif _NO_BRAIN.fullmatch(row.get("type", "").strip()):
            why = f"{table.name} says that it is {row['type'].strip()}, and no sensor of a brain: it is left out"
        elif of[name] == "eeg" and AUDIO_NAME.match(name):  # a contact in the brain may be called Mic1
            why = "by its name it recorded the sound, and is left out"
        if why is not None:
            lost.append((f"channel {name}", why))
            del of[name]
    there = [kind for kind in KINDS if kind in of.values()]
    if not there or (wanted is not None and wanted not in there):
        what = ", ".join(there or sorted(set(types)))
        more = f"; {lost[0][0]}: {lost[0][1]}" if lost else ""
        raise HeschlError(
            f"{path} holds no channel of {wanted or ', '.join(KINDS)} to use: it holds {what}{more}"
        )
    kind = wanted or there[0]
    for other in there:
        if other != kind:
            count = sum(one == other for one in of.values())
            why = f"trials hold one kind of channel, here {kind}: choose these by `sensors: {other}`"
            lost.append((counted(count, f"{other} channel"), why))
    return [name for name, one in of.items() if one == kind], kind, lost


def is_later_part(path: Path) -> bool:
    """Whether a file holds a later part of a recording that was split, all of which is read from the first."""
    for number, mark in enumerate(_LATER):
        first = path.with_name(mark.sub("" if number else "_split-01", path.name))
        if first != path and first.exists():
            import mne

            try:
                with quiet():
                    parts = mne.io.read_raw(first, preload=False).filenames
            except Exception:  # a damaged first part is told where it is read
                return False
            return path.resolve() in [Path(one).resolve() for one in parts]
    return False
