"""Which clips are explained, and which of them are drawn and heard."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from heschl.files import audio_info, read_audio, read_csv
from heschl.run import Run
from heschl.steps.evaluate import part_of
from heschl.steps.telling import telling
from heschl.types import Clip, HeschlError, Skipped

SHOW = 12  # clips that are drawn and heard, of a whole part


def find_clips(run: Run, named: Sequence[Clip | str | Path]) -> list[Clip]:
    """Clips, ids of the run's corpus and recordings as clips.

    Raises
    ------
    HeschlError: something is neither (the nearest id is offered).
    """
    from difflib import get_close_matches

    found, corpus, find = [], None, run.speech()
    for one in named:
        if isinstance(one, Clip):
            found.append(one)
            continue
        if isinstance(one, str):
            try:
                corpus = corpus or run.corpus()
            except HeschlError:  # a recording can be explained where the corpus is not
                if not Path(one).expanduser().is_file():
                    raise
            if corpus and one in corpus.by_id:
                found.append(corpus.by_id[one])
                continue
        path = Path(one).expanduser()
        if path.is_file() or isinstance(one, Path):
            info = audio_info(path)
            seconds = info.frames / info.rate
            low, high = (find and find.whole(*read_audio(path))) or (0.0, seconds)
            found.append(Clip(path.name, path, info.rate, {}, start=low, stop=high))
            continue
        near = get_close_matches(str(one), list(corpus.by_id) if corpus else [], n=1)
        hint = f": did you mean '{near[0]}'?" if near else ": name clips of its corpus, or recordings"
        raise HeschlError(f"'{one}' is neither a clip of {run} nor a recording{hint}")
    if not found:
        raise HeschlError("no clip is named: name ids of the run's corpus, or recordings")
    return found


def picked_clips(
    run: Run, part: str, clips: Sequence[str], files: Sequence[Path | str]
) -> tuple[list[Clip], list[Skipped]]:
    """What is asked for, each clip once, and what of it is missing; recordings of one name are told apart by their paths."""
    if clips or files:
        return told_apart(find_clips(run, [*clips, *map(Path, files)])), []
    found, missing = part_of(run, run.corpus(), part)
    if not found:
        raise HeschlError(f"the {part} part of {run} holds no clip: choose another part, or name clips")
    return found, missing


def told_apart(clips: Sequence[Clip]) -> list[Clip]:
    """Each clip once; recordings of one name are told apart by their paths."""
    named = {(one.id, one.signal): one for one in clips}
    names = Counter(one for one, _ in named)
    return [replace(one, id=str(one.signal)) if names[one.id] > 1 else one for one in named.values()]


def shown_clips(run: Run, part: str, clips: Sequence[Clip], n: int | None, seed: int) -> set[str]:
    """Ids of n clips: those that tell most of what was scored, by turns of their groups, then others."""
    n = SHOW if n is None else n
    spread = [clip.id for clip in spread_clips(run, clips, n, seed)]
    scored = run.folder / "evaluate" / part / "predictions.csv"
    rows = read_csv(scored) if scored.exists() else []
    if not rows or "said" not in rows[0]:  # not scored, or an answer for every frame
        return set(spread)
    there = {clip.id for clip in clips}
    turns = itertools.zip_longest(*(group for _, group in telling(rows, -(-n // 3) or 1)))
    first = [row["id"] for turn in turns for row in turn if row is not None and row["id"] in there]
    return set([*dict.fromkeys([*first, *spread])][:n])


def spread_clips(run: Run, clips: Sequence[Clip], n: int | None, seed: int) -> list[Clip]:
    """n clips: by turns of every class (or, over frames, speaker), drawn by the seed."""
    n = SHOW if n is None else n
    if n < 0:
        raise HeschlError(f"--show is {n}: how many clips are drawn cannot be below zero")
    label = run.recipe.task.args.get("label", "")
    order = np.random.default_rng(seed).permutation(len(clips))
    kinds: dict[str, list[Clip]] = {}
    for k in order:
        clip = clips[int(k)]
        kinds.setdefault(clip.labels.get(label) or run.split.groups.get(clip.id, ""), []).append(clip)
    turns = itertools.zip_longest(*(kinds[kind] for kind in sorted(kinds)))
    mixed = [clip for turn in turns for clip in turn if clip is not None]
    if n < len(kinds):  # not the first of the alphabet
        first = mixed[: len(kinds)]
        mixed = [first[int(k)] for k in np.linspace(0, len(first) - 1, n).round()]
    return mixed[:n]
