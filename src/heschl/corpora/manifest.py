"""A split as data: three lists of clip ids, the proof that no group crosses, its manifest hash and its file."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from heschl.files import read_json, write_json
from heschl.types import Clip, Corpus, HeschlError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """Clip ids of the three parts.

    Attributes
    ----------
    train, validation, test: clip ids, sorted.
    groups: clip id -> group, for the clips of the three parts.
    by: the label that does not cross ("speaker"), or "clip" where only recordings are kept apart.
    notes: sentences that a person must know about this split.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    groups: Mapping[str, str]
    by: str
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", MappingProxyType(dict(self.groups)))

    def __reduce__(self) -> tuple[object, ...]:
        return Split, (self.train, self.validation, self.test, dict(self.groups), self.by, self.notes)


def check_disjoint(split: Split) -> dict[str, int]:
    """Proves that no clip and no group is in two parts; returns the number of groups in each part.

    Raises
    ------
    HeschlError: naming the clip or the group, and its two parts.
    """
    clip_part: dict[str, str] = {}
    group_part: dict[str, tuple[str, str]] = {}
    counts: dict[str, int] = {}
    for part in PARTS:
        seen = set()
        for clip in getattr(split, part):
            if clip_part.setdefault(clip, part) != part or clip not in split.groups:
                where = f"is in {clip_part[clip]} and {part}" if clip_part[clip] != part else "has no group"
                raise HeschlError(f"clip {clip} {where}: a clip belongs to one part and one group")
            name = split.groups[clip]
            seen.add(name)
            other, example = group_part.setdefault(name, (part, clip))
            if other != part:
                raise HeschlError(
                    f"{split.by} {name} is in {other} ({example}) and in {part} ({clip}): put all its clips into one "
                    "part, or ask for `group: clip` if the same voice may be on both sides"
                )
        counts[part] = len(seen)
    return counts


def extend_training(split: Split, corpus: Corpus) -> Split:
    """Adds to training the clips that `merge` brought in from other corpora (label "also"), and proves it again."""
    extra = [clip for clip in corpus.clips if clip.labels.get("also")]
    groups = dict(split.groups) | {clip.id: clip.labels.get(split.by) or recording_of(clip) for clip in extra}
    train = tuple(sorted({*split.train, *(clip.id for clip in extra)}))
    longer = Split(train, split.validation, split.test, groups, split.by, split.notes)
    check_disjoint(longer)
    return longer


def manifest_hash(corpus: Corpus, split: Split) -> str:
    """SHA-256 over the sorted (id, labels, part) of a split's clips: two runs with one hash saw the same data."""
    return sha256_of_manifest((corpus.by_id[clip], part) for part in PARTS for clip in getattr(split, part))


def sha256_of_manifest(rows: Iterable[tuple[Clip, str]]) -> str:
    """Of (clip, part) in any order; lines `id <tab> labels as JSON with sorted keys <tab> part`, sorted, UTF-8."""
    lines = sorted(
        f"{c.id}\t{json.dumps(dict(c.labels), sort_keys=True, ensure_ascii=False)}\t{p}\n" for c, p in rows
    )
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def write_split(path: Path | str, split: Split) -> None:
    """One JSON file: for each part, group -> its clip ids."""
    parts: dict[str, dict[str, list[str]]] = {}
    for part in PARTS:
        members = defaultdict(list)
        for clip in getattr(split, part):
            members[split.groups[clip]].append(clip)
        parts[part] = dict(sorted(members.items()))
    write_json(path, {"format": 1, "by": split.by, "notes": list(split.notes), **parts})


def read_split(path: Path | str) -> Split:
    """What `write_split` wrote, with the proof again. Raises HeschlError where the file is not that."""
    value = read_json(path)
    try:
        if value["format"] != 1:
            raise HeschlError(
                f"{path} has format {value['format']}, and this heschl reads 1: use a newer heschl"
            )
        ids = {part: tuple(sorted(c for members in value[part].values() for c in members)) for part in PARTS}
        groups = {c: name for part in PARTS for name, members in value[part].items() for c in members}
        split = Split(
            ids["train"], ids["validation"], ids["test"], groups, value["by"], tuple(value["notes"])
        )
        if not isinstance(split.by, str):
            raise TypeError(f"by: {split.by!r}")
    except (KeyError, TypeError, AttributeError) as error:
        raise HeschlError(
            f"{path} is not a split of heschl ({error!r}): train again, or restore the file"
        ) from None
    check_disjoint(split)
    return split


def recording_of(clip: Clip) -> str:
    """The name of a clip's own recording: the parts `a#1`, `a#2` of one file share it; a file may be named `take #2`."""
    folder, slash, name = clip.id.rpartition("/")
    whole = name in (clip.signal.name, clip.signal.stem) or "#" not in name
    return clip.id if whole else f"{folder}{slash}{name.rpartition('#')[0]}"
