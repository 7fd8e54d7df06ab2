"""What `heschl corpora check` tells of a table: what is in it, and what is wrong, on one screen."""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from heschl.types import Clip, Skipped
from heschl.wording import counted, listed

# A column with more values than this, or than half the clips, or with another one for each, is no class (text).
MOST_CLASSES = 200
SHORTEST, LONGEST = 0.05, 60.0  # seconds; outside, a single utterance is worth a look


def findings(
    file: Path, n_rows: int, columns: Mapping[str, str], clips: Sequence[Clip], skipped: Sequence[Skipped]
) -> list[str]:
    """Lines for a person: facts, then what may be meant so ("? "), then what must be mended ("! ")."""
    lines = [f"{file}: {counted(n_rows, 'row')}, {counted(len(clips), 'clip')}, {len(skipped):,} left out"]
    lines.append("columns: " + ", ".join(f"{role} is `{column}`" for role, column in columns.items()))
    problems, doubts = _left_out(skipped), []
    if clips:
        lines.append(_sound(clips))
        classes = _class_columns(clips, columns)
        lines += [_class_line(column, counts) for column, counts in classes.items()]
        lines += _speakers(clips)
        doubts += _sound_doubts(clips)
        for column, counts in classes.items():
            doubts += _class_doubts(column, counts, clips)
        problems += _crossing(clips)
        lines.append(f"in a recipe: corpus: {{use: table, root: {file}}}")
    return [*lines, *(f"? {doubt}" for doubt in doubts), *(f"! {problem}" for problem in problems)]


def first_class(lines: Sequence[str]) -> str | None:
    """The column that can be learned, the first where there are several, of the lines of `findings`; None where there is none."""
    found = (re.match(r"label `(.+)`: (?!1 class:)", line) for line in lines)
    return next((one[1] for one in found if one), None)


def _left_out(skipped: Sequence[Skipped]) -> list[str]:
    shown = [f"{where}: {why}" for where, why in skipped[:5]]
    return (
        [*shown, f"and {counted(len(skipped) - 5, 'other row', 'other rows')} left out"]
        if len(skipped) > 5
        else shown
    )


def _seconds(clip: Clip) -> float:
    return (clip.stop or 0.0) - clip.start


def _sound(clips: Sequence[Clip]) -> str:
    seconds = sorted(_seconds(clip) for clip in clips)
    rates = sorted({clip.rate for clip in clips})
    shortest, longest = f"{seconds[0]:.2f}", f"{seconds[-1]:.2f}"
    half = f" to {longest} s (half are shorter than {statistics.median(seconds):.2f} s)"
    return (
        f"sound: {sum(seconds) / 60:.1f} min in all, clips of {shortest}{half if shortest != longest else ' s'}, at "
        f"{listed(f'{rate:g}' for rate in rates)} Hz"
    )


def _sound_doubts(clips: Sequence[Clip]) -> list[str]:
    short = [clip.id for clip in clips if _seconds(clip) < SHORTEST]
    long = [clip.id for clip in clips if _seconds(clip) > LONGEST]
    doubts = []
    if short:
        doubts.append(f"{counted(len(short), 'clip')} under {SHORTEST} s: {listed(short, 3)}")
    if long:
        doubts.append(
            f"{counted(len(long), 'clip')} over {LONGEST:g} s, long for one utterance: {listed(long, 3)}"
        )
    return doubts


def _class_columns(clips: Sequence[Clip], columns: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Columns that could be a class: few values, each for several clips."""
    taken = {"speaker", "split", columns.get("speaker"), columns.get("split")}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        for column, value in clip.labels.items():
            if column not in taken:
                counts[column][value] += 1
    most = min(MOST_CLASSES, max(10, len(clips) // 2), len(clips) - 1)
    return {column: c for column, c in counts.items() if len(c) <= most and not _measured(c)}


def _measured(values: Counter[str]) -> bool:
    """Whether a column holds decimals (seconds, scores) rather than names."""
    return all(re.fullmatch(r"-?\d+\.\d*|", value) for value in values)


def _class_line(column: str, counts: Counter[str]) -> str:
    ordered = counts.most_common()
    named = listed(f"{value or '(empty)'} {number}" for value, number in ordered)
    return f"label `{column}`: {counted(len(counts), 'class', 'classes')}: {named}"


def _class_doubts(column: str, counts: Counter[str], clips: Sequence[Clip]) -> list[str]:
    doubts = []
    if counts[""]:
        doubts.append(f"`{column}` is empty in {counted(counts[''], 'row')}")
    folded: dict[str, list[str]] = defaultdict(list)
    for value in counts:
        folded[value.casefold()].append(value)
    for same in folded.values():
        if len(same) > 1:
            doubts.append(f"`{column}` holds {' and '.join(sorted(same))}: one class, or two?")
    speakers: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.labels.get("speaker"):
            speakers[clip.labels.get(column, "")].add(clip.labels["speaker"])
    alone = sorted(value for value, who in speakers.items() if len(who) == 1)
    if alone and len(alone) < len(speakers):
        doubts.append(
            f"`{column}` {listed(alone)}: one speaker each, so no speaker is left to test the class on"
        )
    return doubts


def _speakers(clips: Sequence[Clip]) -> list[str]:
    counts = Counter(clip.labels["speaker"] for clip in clips if clip.labels.get("speaker"))
    if not counts:
        return ["speakers: unknown, so clips are split by recording and the same voice may be in two parts"]
    numbers = sorted(counts.values())
    without = len(clips) - sum(numbers)
    more = f", {counted(without, 'clip')} without" if without else ""
    least, most = numbers[0], numbers[-1]
    each = counted(most, "clip") if least == most else f"{least} to {most} clips"
    return [f"speakers: {len(counts):,}, {each} each{more}"]


def _crossing(clips: Sequence[Clip]) -> list[str]:
    parts: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.labels.get("speaker") and clip.labels.get("split"):
            parts[clip.labels["speaker"]].add(clip.labels["split"])
    crossing = sorted(speaker for speaker, where in parts.items() if len(where) > 1)
    if not crossing:
        return []
    return [
        f"{counted(len(crossing), 'speaker')} in two parts of the column of splits: {listed(crossing, 3)}"
    ]
