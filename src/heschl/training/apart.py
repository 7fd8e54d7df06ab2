"""Trials that share samples of a recording never stand on two sides of a split.

Windows around words that follow one another overlap, and at the border of two blocks they would be in two parts. Where a corpus
knows which seconds of its recording went into a trial (`Recording.heard` names the trial), training trials that share a
sample with a tested or validated one are left out, and so are validation trials that share one with a tested one.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from heschl.corpora.manifest import Split, check_disjoint
from heschl.features.neural import purged
from heschl.types import Corpus, Skipped
from heschl.wording import counted


def kept_apart(corpus: Corpus, split: Split) -> tuple[Split, list[Skipped]]:
    """The split without what overlaps, proved again, and what was left out; as it is where nothing overlaps."""
    part_of = {one: part for part in ("train", "validation", "test") for one in getattr(split, part)}
    lost: list[Skipped] = []
    for recording in corpus.recordings:
        own = [one for one in recording.heard if one.clip in part_of]
        if not own:
            continue
        start, stop = (np.array([getattr(one, end) for one in own]) for end in ("start", "stop"))
        parts = np.array([part_of[str(one.clip)] for one in own])
        for part, above in (("validation", ["test"]), ("train", ["validation", "test"])):
            mine = parts == part
            kept = purged(start, stop, mine, np.isin(parts, above), 0.0)
            for k in np.flatnonzero(mine & ~kept):
                why = f"{part} trial {own[k].clip} shares samples with a trial of {' or '.join(above)}"
                lost.append(Skipped(str(own[k].clip), why))
            parts[mine & ~kept] = "none"  # what is left out holds nothing else back
    notes = _heard_in_both(corpus, split)
    if not lost:
        return dataclasses.replace(split, notes=(*split.notes, *notes)) if notes else split, []
    gone = {one.where for one in lost}
    note = f"{counted(len(gone), 'trial that shares', 'trials that share')} samples with a tested or validated one {'is' if len(gone) == 1 else 'are'} left out"
    apart = dataclasses.replace(
        split,
        train=tuple(one for one in split.train if one not in gone),
        validation=tuple(one for one in split.validation if one not in gone),
        groups={one: name for one, name in split.groups.items() if one not in gone},
        notes=(*split.notes, note, *notes),
    )
    check_disjoint(apart)
    return apart, lost


def _heard_in_both(corpus: Corpus, split: Split) -> list[str]:
    """A sentence where stretches of speech of the test part were heard in training too, as when subjects are left out."""
    taught, tested = (
        {corpus.by_id[one].labels.get("heard", "") for one in part} - {""}
        for part in (split.train, split.test)
    )
    both = taught & tested
    if not both:
        return []
    which = f"all {len(both)}" if both == tested else f"{len(both)} of {len(tested)}"
    return [
        f"{which} stretches of speech of the test part were heard in training too: a score says nothing of speech "
        "that was new"
    ]
