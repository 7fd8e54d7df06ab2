"""Who trains and who is tested: splits by group (speaker), which never cross, and the proof of it.

Every strategy is a function `(corpus, *, seed, group="speaker", limit=None, ...) -> Split`. The order in which
groups are drawn comes from SHA-256 of (seed, name), so a split is the same on every machine and every version
of every library. Clips without the group's label are a group each (all parts of one recording together);
where no clip has a speaker, the split goes by recording and says so; `group="clip"` asks for that.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from heschl.corpora.audiomnist import fold_speakers
from heschl.corpora.manifest import (
    PARTS,
    Split,
    check_disjoint,
    extend_training,
    manifest_hash,
    read_split,
    recording_of,
    write_split,
)
from heschl.types import Corpus, HeschlError
from heschl.wording import counted, listed, nearest

__all__ = [
    "PARTS",
    "Split",
    "audiomnist_folds",
    "check_disjoint",
    "extend_training",
    "fractions",
    "given",
    "kfold",
    "leave_one_out",
    "manifest_hash",
    "n_folds",
    "read_split",
    "write_split",
]

# --- strategies ----------------------------------------------------------------------------------------


def fractions(
    corpus: Corpus,
    *,
    seed: int,
    group: str = "speaker",
    validation: float = 0.1,
    test: float = 0.1,
    label: str | None = None,
    limit: int | None = None,
) -> Split:
    """Whole groups drawn at random for test, then validation, each closest to its fraction of the clips.

    A part that is asked for gets at least one group. With ``label`` given, of up to 200 draws the first is
    taken that leaves every class of that label in training; where none does, a note names what is missing.

    Raises
    ------
    HeschlError: fractions out of range, or fewer groups than parts.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise HeschlError(
            f"split: validation {validation} and test {test} must not be negative and must leave something to train on"
        )
    groups, by, notes = _groups(corpus, group)
    sizes = Counter(groups.values())
    shares = {"test": test, "validation": validation}
    _enough(
        corpus, sizes, 1 + sum(share > 0 for share in shares.values()), by, "train and the parts asked for"
    )
    classes = _classes(corpus, label)

    def draw(attempt: int) -> dict[str, str]:
        order = _shuffled(sizes, f"{seed}/{attempt}")
        wanted = [(part, share * len(groups)) for part, share in shares.items() if share > 0]
        part_of, done = {}, 0
        for i, (part, target) in enumerate(wanted):
            spare = (
                len(order) - 1 - (len(wanted) - 1 - i)
            )  # leaves a group to each part that follows, and to train
            taken, first = 0, done
            while done < spare and (
                done == first or abs(taken + sizes[order[done]] - target) < abs(taken - target)
            ):
                taken += sizes[order[done]]
                part_of[order[done]] = part
                done += 1
        return part_of

    best, fewest = draw(0), _untaught(classes, groups, draw(0))
    for attempt in range(1, 200 if fewest else 0):
        part_of = draw(attempt)
        untaught = _untaught(classes, groups, part_of)
        if len(untaught) < len(fewest):
            best, fewest = part_of, untaught
        if not fewest:
            break
    if fewest:
        notes.append(f"no draw puts every {label} in training; only outside it: {listed(sorted(fewest))}")
    return _made({clip: best.get(g, "train") for clip, g in groups.items()}, groups, by, notes, seed, limit)


def kfold(
    corpus: Corpus,
    *,
    seed: int,
    fold: int | None = 0,
    folds: int = 5,
    group: str = "speaker",
    validation: float | None = None,
    limit: int | None = None,
) -> Split:
    """Groups dealt to ``folds`` folds of nearly equal clips; fold ``fold`` is test, the next is validation.

    With ``validation`` given, that fraction of the groups that are not test is validation instead (0: none).
    ``fold=None`` tests on nobody: for the network that is used in the end, once the folds have said how good
    its recipe is. Every group then trains, but for the fraction ``validation``.

    Raises
    ------
    HeschlError: ``fold`` outside 0..folds-1, too few folds or groups.
    """
    if fold is None:
        return _nobody_tested(corpus, group, validation or 0.0, seed, limit)
    needed = 3 if validation is None else 2
    if folds < needed or not 0 <= fold < folds:
        raise HeschlError(
            f"split: fold {fold} of {folds} does not exist: folds count from 0, and there must be {needed} at least"
        )
    groups, by, notes = _groups(corpus, group)
    sizes = Counter(groups.values())
    _enough(corpus, sizes, folds, by, f"{folds} folds")
    fold_of, loads = {}, [0] * folds
    for name in sorted(_shuffled(sizes, str(seed)), key=lambda g: -sizes[g]):  # largest first, ties at random
        fold_of[name] = loads.index(min(loads))
        loads[fold_of[name]] += sizes[name]
    part_of = {name: "test" for name, k in fold_of.items() if k == fold}
    if validation is None:
        part_of |= {name: "validation" for name, k in fold_of.items() if k == (fold + 1) % folds}
    else:
        part_of |= _some([g for g in sizes if g not in part_of], validation, seed)
    return _made(
        {clip: part_of.get(g, "train") for clip, g in groups.items()}, groups, by, notes, seed, limit
    )


def leave_one_out(
    corpus: Corpus,
    *,
    seed: int,
    fold: int | None = 0,
    group: str = "speaker",
    validation: float = 0.1,
    limit: int | None = None,
) -> Split:
    """Tests on one group (the ``fold``-th by name), trains on the others but for a fraction for validation.

    ``validation`` is a fraction of the other groups, at least one of them; 0 gives no validation part.
    ``fold=None`` tests on nobody, as in `kfold`.

    Raises
    ------
    HeschlError: ``fold`` is not below the number of groups, or there are too few groups.
    """
    if fold is None:
        return _nobody_tested(corpus, group, validation, seed, limit)
    groups, by, notes = _groups(corpus, group)
    names = sorted(set(groups.values()))
    _enough(corpus, names, 2 + (validation > 0), by, "leave-one-out")
    if not 0 <= fold < len(names):
        raise HeschlError(f"split: fold {fold} does not exist: the {by}s number {len(names)}, counted from 0")
    part_of = {names[fold]: "test"} | _some([g for g in names if g != names[fold]], validation, seed)
    return _made(
        {clip: part_of.get(g, "train") for clip, g in groups.items()}, groups, by, notes, seed, limit
    )


def given(corpus: Corpus, *, seed: int = 0, group: str = "speaker", limit: int | None = None) -> Split:
    """The parts that the corpus itself gives, in its label "split" (official lists, a column of a table).

    Raises
    ------
    HeschlError: a clip has no part or an unknown one; a group lies in two parts.
    """
    groups, by, notes = _groups(corpus, group)
    parts: dict[str, str] = {}
    for clip in corpus.clips:
        part = clip.labels.get("split", "")
        if part not in PARTS:
            found = f"'{part}' as its split" if part else "no split"
            raise HeschlError(
                f"corpus {corpus.name}: clip {clip.id} has {found}, and `given` needs train, validation or test "
                "for each: mend that column, or use another split (fractions, kfold)"
            )
        parts[clip.id] = part
    notes += [f"the corpus gives no {part} part" for part in PARTS if part not in parts.values()]
    return _made(parts, groups, by, notes, seed, limit)


def audiomnist_folds(
    corpus: Corpus,
    *,
    seed: int = 0,
    task: str = "digit",
    fold: int = 0,
    limit: int | None = None,
) -> Split:
    """AudioMNIST's published speakers of each part (Becker et al., arXiv:1807.03418, and its preprocessing).

    task "digit": five folds of 36 / 12 / 12 of the sixty speakers; "gender": four folds of 12 / 6 / 6 of the
    24 speakers that balance men and women; clips of the other 36 are in no part.

    Raises
    ------
    HeschlError: unknown task or fold; none of a part's speakers is in the corpus.
    """
    wanted = fold_speakers(task, fold)
    groups, by, notes = _groups(corpus, "speaker")
    there = set(groups.values())
    for part, speakers in wanted.items():
        if not there & speakers:
            raise HeschlError(
                f"corpus {corpus.name} has none of the {part} speakers of AudioMNIST's {task} fold {fold} "
                f"({', '.join(sorted(speakers)[:4])} ...): use this split with the whole AudioMNIST"
            )
    if missing := sorted(set().union(*wanted.values()) - there):
        notes.append(
            f"{len(missing)} of the {len(set().union(*wanted.values()))} published speakers have no recordings here: "
            + listed(missing)
        )
    part_of = {speaker: part for part, speakers in wanted.items() for speaker in speakers}
    parts = {clip: part_of[g] for clip, g in groups.items() if g in part_of}
    if len(parts) < len(groups):
        notes.append(
            counted(len(groups) - len(parts), "clip is", "clips are")
            + " in no part, of speakers outside the published sets"
        )
    return _made(parts, groups, by, notes, seed, limit)


def n_folds(use: str, corpus: Corpus, options: Mapping[str, object] | None = None) -> int:
    """How many folds a split has with these options: 1 where it has none."""
    options, name = options or {}, use.rpartition(".")[2]
    if name == "kfold":
        return int(str(options.get("folds", 5)))
    if name == "leave_one_out":
        return len(set(_groups(corpus, str(options.get("group", "speaker")))[0].values()))
    if name == "audiomnist_folds":
        return 4 if options.get("task", "digit") == "gender" else 5
    return 1


# --- inside --------------------------------------------------------------------------------------------


def _groups(corpus: Corpus, group: str) -> tuple[dict[str, str], str, list[str]]:
    """Clip id -> group, the label that does not cross, and notes."""
    if not corpus.clips:
        raise HeschlError(f"corpus {corpus.name} has no clips to split: check its root")
    lacking = 0 if group == "clip" else sum(not clip.labels.get(group) for clip in corpus.clips)
    if group != "clip" and lacking == len(corpus.clips):
        columns = sorted({column for clip in corpus.clips for column in clip.labels})
        if group != "speaker":
            raise HeschlError(
                f"split.group: corpus {corpus.name} has no label '{group}'{nearest(group, columns)}: "
                f"it has {', '.join(columns) or 'none'}"
            )
    if group == "clip" or lacking == len(corpus.clips):
        note = "split by recording: the same speaker may be in two parts, and intervals are over clips"
        return {clip.id: recording_of(clip) for clip in corpus.clips}, "clip", [note]
    notes = (
        [
            f"{counted(lacking, 'clip has', 'clips have')} no {group}: each recording among them is a group of its own"
        ]
        if lacking
        else []
    )
    return (
        {clip.id: clip.labels.get(group) or f"({recording_of(clip)})" for clip in corpus.clips},
        group,
        notes,
    )


def _shuffled(names: Iterable[str], salt: str) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(f"{salt}/{name}".encode()).digest())


def _some(names: Sequence[str], fraction: float, seed: int) -> dict[str, str]:
    """A fraction of the groups (by number, at least one unless 0, never all) as validation."""
    if not 0 <= fraction < 1:
        raise HeschlError(f"split.validation is {fraction}: it must be at least 0 and below 1")
    number = min(max(1, round(fraction * len(names))), len(names) - 1) if fraction else 0
    return dict.fromkeys(_shuffled(names, f"{seed}/validation")[:number], "validation")


def _nobody_tested(corpus: Corpus, group: str, validation: float, seed: int, limit: int | None) -> Split:
    groups, by, notes = _groups(corpus, group)
    part_of = _some(sorted(set(groups.values())), validation, seed)
    notes.append(f"every {by} trains and none is tested on: score this network on others (evaluate --on)")
    return _made(
        {clip: part_of.get(g, "train") for clip, g in groups.items()}, groups, by, notes, seed, limit
    )


def _enough(corpus: Corpus, names: Iterable[str], needed: int, by: str, what: str) -> None:
    there = len(set(names))
    if there < needed:
        raise HeschlError(
            f"corpus {corpus.name} has {there} {by}{'' if there == 1 else 's'}, and {what} need {needed} at least: "
            "ask for fewer parts or folds, or split by another label (split.group)"
        )


def _classes(corpus: Corpus, label: str | None) -> dict[str, str]:
    """Clip id -> class, for clips that have one; empty where no label is named."""
    if label is None:
        return {}
    classes = {clip.id: clip.labels[label] for clip in corpus.clips if clip.labels.get(label)}
    if not classes:
        columns = {column for clip in corpus.clips for column in clip.labels}
        raise HeschlError(
            f"split.label: corpus {corpus.name} has no label '{label}'{nearest(label, columns)}"
        )
    return classes


def _untaught(classes: Mapping[str, str], groups: Mapping[str, str], part_of: Mapping[str, str]) -> set[str]:
    return set(classes.values()) - {c for clip, c in classes.items() if groups[clip] not in part_of}


def _made(
    parts: Mapping[str, str],
    groups: Mapping[str, str],
    by: str,
    notes: Sequence[str],
    seed: int,
    limit: int | None,
) -> Split:
    """The Split of clip id -> part, each part cut to ``limit`` clips drawn by seed, with the proof."""
    if limit is not None and limit < 1:
        raise HeschlError(f"split.limit is {limit}: it must be 1 or more, or null for all clips")
    ids: dict[str, list[str]] = {part: [] for part in PARTS}
    for clip, part in parts.items():
        ids[part].append(clip)
    if limit is not None:
        ids = {part: _shuffled(clips, f"{seed}/limit")[:limit] for part, clips in ids.items()}
        notes = [*notes, f"each part is a fixed subset of {limit:,} clips at most (split.limit)"]
    kept = {clip: groups[clip] for clips in ids.values() for clip in clips}
    train, validation, test = (tuple(sorted(ids[part])) for part in PARTS)
    split = Split(train, validation, test, kept, by, tuple(notes))
    check_disjoint(split)
    return split
