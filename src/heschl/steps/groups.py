"""What intervals of trials are over: subjects, blocks or the trials themselves; and what labels are permuted within."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from heschl.tasks.intervals import by_t
from heschl.types import Clip
from heschl.wording import counted


class Over(NamedTuple):
    """What intervals of trials are over: the name of each trial's (None: trials), what these are, and both as words."""

    names: list[str] | None
    by: str
    told: str


def over_trials(trials: Sequence[Clip]) -> Over:
    """Subjects where there are several, else blocks, else each subject's blocks, else trials; for `evaluate` and `decode` alike."""
    for column in ("subject", "block"):
        names = [clip.labels.get(column, "") for clip in trials]
        if len(set(names)) > 4:
            return Over(names, column, f"{len(set(names))} {column}s{by_t(len(set(names)))}")
    names = [block_of(clip) for clip in trials]
    if len(set(names)) > 2:
        subjects = len({clip.labels.get("subject", "") for clip in trials})
        of = f"{counted(len(set(names)), 'block')} of {counted(subjects, 'subject')}"
        return Over(names, "block", f"{of}{by_t(len(set(names)))}")
    return Over(None, "clip", "trials")


def block_of(clip: Clip) -> str:
    """A trial's subject and block: what labels are permuted within."""
    return f"{clip.labels.get('subject', '')}/{clip.labels.get('block', '')}"
