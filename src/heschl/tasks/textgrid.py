"""Answers for frames as spans of time, and as a TextGrid that Praat opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path

from heschl.files import write_text
from heschl.types import HeschlError, Span


def spans_of(
    classes: Sequence[int],
    times: Sequence[float],
    labels: Sequence[str],
    duration: float,
    silence: str | None = None,
    tier: str = "phone",
) -> list[Span]:
    """Runs of the same class as spans.

    A run begins halfway between the last step before it and its own first; the first begins at 0 and the last
    ends at ``duration``.

    Parameters
    ----------
    classes: (time,) class numbers; negative ones (no label) make no span.
    times: (time,) centres of the steps, seconds, ascending.
    labels: symbols by class number.
    silence: a symbol that makes no span, if any.
    """
    if len(classes) != len(times):
        raise HeschlError(f"there are {len(classes)} answers and {len(times)} times: each step needs both")
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(float(time) for time in times)), float(duration)]
    spans = []
    for number, run in groupby(range(len(classes)), key=lambda k: int(classes[k])):
        steps = list(run)
        if number >= 0 and labels[number] != silence:
            spans.append(
                Span(labels[number], edges[steps[0]], max(edges[steps[0]], edges[steps[-1] + 1]), tier)
            )
    return spans


def textgrid(tiers: Mapping[str, Sequence[Span]], duration: float) -> str:
    """A TextGrid in Praat's long text form, with an interval tier for each name.

    Parameters
    ----------
    tiers: name -> spans, in order and without overlap; gaps become intervals without text.
    duration: of the recording, seconds.

    Raises
    ------
    HeschlError: spans overlap or run past the end.
    """
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {duration!r}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for k, (name, spans) in enumerate(tiers.items(), start=1):
        intervals = _filled(name, spans, duration)
        lines += [f"    item [{k}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        lines += [
            "        xmin = 0",
            f"        xmax = {duration!r}",
            f"        intervals: size = {len(intervals)}",
        ]
        for j, (start, stop, text) in enumerate(intervals, start=1):
            lines += [
                f"        intervals [{j}]:",
                f"            xmin = {start!r}",
                f"            xmax = {stop!r}",
            ]
            lines += [f"            text = {_quoted(text)}"]
    return "\n".join(lines) + "\n"


def write_textgrid(path: Path | str, tiers: Mapping[str, Sequence[Span]], duration: float) -> None:
    """Writes `textgrid` to a file."""
    write_text(path, textgrid(tiers, duration))


def _filled(name: str, spans: Sequence[Span], duration: float) -> list[tuple[float, float, str]]:
    """Intervals that cover 0 to ``duration`` without a gap."""
    duration, end = float(duration), 0.0
    intervals: list[tuple[float, float, str]] = []
    for span in sorted(spans, key=lambda span: span.start):
        if span.start < end or span.stop > duration:
            raise HeschlError(
                f"tier '{name}': '{span.symbol}' from {span.start} s to {span.stop} s overlaps another span or the "
                f"recording's end at {duration} s: a TextGrid has one symbol at a time"
            )
        if span.start > end:
            intervals.append((end, span.start, ""))
        if span.stop > span.start:
            intervals.append((span.start, span.stop, span.symbol))
        end = span.stop
    if end < duration or not intervals:
        intervals.append((end, duration, ""))
    return intervals


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""').replace("\n", " ") + '"'
