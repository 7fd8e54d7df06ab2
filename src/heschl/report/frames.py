"""Recordings of a network over frames: heard, with what was said over what the network heard, a line of seconds each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.files import read_audio, read_csv
from heschl.report.disguise import Names
from heschl.report.pictures import seconds_of
from heschl.report.sounds import SECONDS, sound
from heschl.types import HeschlError, Span

EACH = 2  # recordings of a kind
LINE = {"wide": 3.0, "phone": 1.5}  # seconds, so that a symbol of 60 ms has room


def heard_lines(folder: Path, names: Names, audio: bool = True) -> list[dict[str, Any]]:
    """The best, the middling and the worst recordings of an evaluation over frames, as cards.

    Parameters
    ----------
    folder: RUN/evaluate/NAME with per_clip.csv, said.csv and predictions.csv. audio: embed the sounds.

    Empty where an older version scored the run, and where frames are stored without a sound.
    """
    if not (folder / "said.csv").exists():
        return []
    rows = [row for row in read_csv(folder / "per_clip.csv") if row["file"] and row["accuracy"]]
    rows.sort(key=lambda row: -float(row["accuracy"]))
    chosen = _chosen(rows)
    said, heard = (
        _spans(folder / name, column, {row["id"] for _, row in chosen})
        for name, column in (("said.csv", "said"), ("predictions.csv", "answered"))
    )
    made = [
        _card(kind, row, said.get(row["id"], ()), heard.get(row["id"], ()), f"f{k}")
        for k, (kind, row) in enumerate(chosen)
    ]
    return [
        {**card, "who": names.speaker(card["who"]), "sound": card["sound"] if audio else ""}
        for card in made
        if card
    ]


def _chosen(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, Mapping[str, str]]]:
    middle, found = len(rows) // 2, dict[str, tuple[str, Mapping[str, str]]]()
    for kind, some in (
        ("Among the best", rows[:EACH]),
        ("Middling", rows[max(0, middle - EACH // 2) :][:EACH]),
        ("Among the worst", rows[-EACH:]),
    ):
        for row in some:
            found.setdefault(row["id"], (kind, row))
    return list(found.values())


def _spans(path: Path, column: str, ids: set[str]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {}
    for row in read_csv(path):
        if row["id"] in ids:
            span = Span(row[column], float(row["start"]), float(row["stop"]), "phone")
            found.setdefault(row["id"], []).append(span)
    return found


def _card(
    kind: str, row: Mapping[str, str], said: Sequence[Span], heard: Sequence[Span], name: str
) -> dict[str, Any] | None:
    try:
        stop = float(row["stop"]) if row["stop"] else None
        wave, rate = read_audio(row["file"], float(row["start"] or 0.0), stop)
    except HeschlError:
        return None  # the recordings have moved: the page goes without them
    cut = len(wave) > SECONDS * rate
    wave = wave[: round(SECONDS * rate)]
    share = f"{100 * float(row['accuracy']):.0f}\u202f%"
    return {
        "title": f"{kind}: {share} of {int(row['frames']):,} moments named rightly",
        "words": row["words"],
        "who": row["speaker"],
        "sound": sound(wave, rate),
        "cut": f"{SECONDS:g}" if cut else "",
        "lines": {key: list(_lines(wave, rate, said, heard, key, name)) for key in LINE},
    }


def _lines(
    wave: np.ndarray, rate: int, said: Sequence[Span], heard: Sequence[Span], key: str, name: str
) -> Iterator[dict[str, Any]]:
    """The pictures of a recording's lines, each with the seconds that lie on it."""
    import markupsafe

    from heschl.figures.frames import frames_figure
    from heschl.figures.style import PHONE, TEXT, inline

    width, seconds = {"wide": TEXT, "phone": PHONE}[key], len(wave) / rate
    n = max(
        1, round(seconds / LINE[key] + 0.3)
    )  # up to a fifth longer than wanted, rather than a rest of its own
    line = max(LINE[key], seconds / n)
    for k in range(n):
        shown = (k * line, (k + 1) * line)
        figure = frames_figure(wave, rate, said, heard, shown=shown, width=width)
        alt = f"what was said and what was heard from {shown[0]:g} to {shown[1]:g} s: " + "; ".join(
            f"{what} {' '.join(one.symbol for one in spans if one.stop > shown[0] and one.start < shown[1])}"
            for what, spans in (("said", said), ("heard", heard))
        )
        yield {
            "svg": markupsafe.Markup(inline(figure, f"{name}{key[0]}{k}", alt)),
            "time": seconds_of(figure),
        }
