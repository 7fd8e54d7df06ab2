"""Synthetic speakers: each one fixed combination of espeak-ng's voice variant, accent, pace, pitch and melody."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from heschl.types import HeschlError

# espeak's accents of English, the commonest of recorded corpora more often.
ACCENTS = (
    "en-us",
    "en",
    "en-gb-scotland",
    "en-029",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-us-nyc",
)
WEIGHTS = (6, 3, 2, 2, 2, 1, 1, 1)
# Whispering, robots and jokes: drawn only when the other variants are used up.
ODD = frozenset(
    {"Demonic", "UniRobot", "anikaRobot", "whisper", "whisperf", "zac", "fast", "Tweaky", "caleb"}
    | {"robosoft", *(f"robosoft{n}" for n in range(2, 9))}
)
WORDS_A_MINUTE, PITCH, SWING = (125, 190), (35, 65), (30, 75)


class Speaker(NamedTuple):
    """One synthetic speaker.

    id: "s007". variant: the file of espeak's voice variant. gender: "female" or "male" where that file states it,
    else "". pace: words a minute. pitch, swing: base and range of the voice's pitch, 0 to 100, espeak's 50 being usual.
    """

    id: str
    variant: str
    gender: str
    accent: str
    pace: int
    pitch: int
    swing: int

    @property
    def voice(self) -> str:
        """espeak's name of it."""
        return f"{self.accent}+{self.variant}"


def stated_gender(text: str) -> str:
    """The sex of the voice that a variant's file states ("female", "male"), or ""."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "gender" and words[1].lower() in ("female", "male"):
            return words[1].lower()
    return ""


def variants(data: Path) -> dict[str, str]:
    """espeak's voice variants and the sex that their files state; a variant that says what another says is left out.

    Parameters
    ----------
    data: espeak's folder espeak-ng-data.
    """
    found: dict[str, str] = {}
    known: set[str] = set()
    for path in sorted((data / "voices" / "!v").iterdir(), key=lambda path: path.name):
        text = path.read_text(encoding="utf-8", errors="replace")
        told = (" ".join(line.split()) for line in text.splitlines())
        content = "\n".join(line for line in told if line and not line.startswith(("name", "language", "//")))
        if content not in known:
            known.add(content)
            found[path.name] = stated_gender(text)
    if not found:
        raise HeschlError(f"{data} holds no voice variants: install the package espeakng-loader again")
    return found


def speakers(data: Path, count: int, seed: int = 0) -> list[Speaker]:
    """Draws speakers, female, male and one with no sex stated by turns; the first n do not depend on count.

    No variant comes twice before all have come once; later rounds meet it with another accent and pitch.
    """
    if count < 1:
        raise HeschlError(f"voices: {count} speakers were asked for, and at least 1 is needed")
    order = _by_turns(variants(data), seed)
    drawn = []
    for number in range(count):
        variant, gender = next(order)
        rng = random.Random(f"speaker {seed} {number}")
        accent = rng.choices(ACCENTS, WEIGHTS)[0]
        pace, pitch, swing = (rng.randint(*limits) for limits in (WORDS_A_MINUTE, PITCH, SWING))
        drawn.append(Speaker(f"s{number:03d}", variant, gender, accent, pace, pitch, swing))
    return drawn


def _by_turns(known: dict[str, str], seed: int) -> Iterator[tuple[str, str]]:
    """Endless (variant, gender): female, male, unstated, as long as they last; the odd ones last in a round."""
    while True:
        rng = random.Random(f"variants {seed}")
        usual = {
            gender: sorted(v for v, g in known.items() if g == gender and v not in ODD)
            for gender in sorted(set(known.values()))
        }
        for names in usual.values():
            rng.shuffle(names)
        left = sum(map(len, usual.values()))
        for gender in cycle(("female", "male", "")):
            if not left:
                break
            if usual.get(gender):
                yield usual[gender].pop(), gender
                left -= 1
        yield from ((variant, known[variant]) for variant in sorted(ODD & known.keys()))
