"""Are the audible explanations fit to be heard? The sounds in run folders, measured.

    python bench/sounds.py RUN [RUN ...] [--out TABLE.md]

Every WAV that `heschl explain` wrote is read back: its format, its rate beside its clip's, its level beside the
original's, its highest sample, how loud it begins and ends, and its largest step from sample to sample beside the
original's at the same level (a click is a step that the original does not have). Exit 1 where one misses a limit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from heschl.files import read_json, write_text
from heschl.run import open_run

DECIBELS = 0.1  # two parts of a clip may differ in level by so much
EDGE = 0.01  # of full scale, the most of a first or last sample
# A cell of the transform comes and goes with its window, over 32 ms: a part made of few cells may well be brighter than
# its clip, and so have larger steps, but no step of its own may stand out from the steps beside it.
CLICK = 12.0  # times the largest step 1 to 5 ms before and after
BESIDE = (0.001, 0.005)  # seconds
OWN = 3.0  # from here on a step of the recording is its own click (a mouse, a switch), and not counted against its parts
ENDS = 0.02  # seconds at either end that are never excused


class Measured(NamedTuple):
    """One sound of one clip, beside its original; levels in dB, samples of full scale 1."""

    name: str
    silent: bool
    sixteen_bit: bool
    own_rate: bool
    decibels: float
    peak: float
    edge: float
    click: float

    @property
    def fit(self) -> bool:
        level = self.silent or abs(self.decibels) <= DECIBELS
        return (
            self.sixteen_bit
            and self.own_rate
            and level
            and self.peak < 1
            and self.edge <= EDGE
            and self.click <= CLICK
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    given = parser.parse_args(arguments)
    rows, unfit = [], 0
    for folder in given.runs:
        run = open_run(folder)
        rates = {clip.id: clip.rate for clip in run.corpus().clips}
        for kind in sorted((folder / "explain").glob("*/clips")):
            sounds = [one for path in sorted(kind.glob("*/answer.json")) for one in measured(path, rates)]
            if sounds:
                rows.append(row(run.name, kind.parent.name, sounds))
                for one in sounds:
                    if not one.fit:
                        unfit += 1
                        print(f"unfit: {folder.name} {kind.parent.name} {one}", file=sys.stderr)
    text = table(rows)
    print(text)
    if given.out:
        write_text(given.out, text + "\n")
    return int(unfit > 0)


def measured(answer: Path, rates: dict[str, int]) -> list[Measured]:
    """The sounds that stand beside one answer.json."""
    held = read_json(answer)
    if not held["sounds"]:
        return []
    original, rate = soundfile.read(answer.parent / held["sounds"]["original"]["file"])
    own = clicks(original, rate) > OWN
    own[: round(ENDS * rate)] = own[-round(ENDS * rate) :] = False  # there it would be of our fades
    own = np.convolve(own, np.ones(2 * max(1, round(BESIDE[0] * rate)) + 1), "same") > 0
    out = []
    for sound in held["sounds"].values():
        path = answer.parent / sound["file"]
        form = soundfile.info(path)
        wave, rate = soundfile.read(path)
        silent = not wave.any()
        out.append(
            Measured(
                f"{held['clip']} {path.name}",
                silent,
                form.format == "WAV" and form.subtype == "PCM_16" and form.channels == 1,
                rate == rates.get(held["clip"], rate) and len(wave) == len(original),
                0.0 if silent else 20 * float(np.log10(rms(wave) / rms(original))),
                float(np.abs(wave).max()),
                float(max(abs(wave[0]), abs(wave[-1]))),
                float(np.where(own, 0.0, clicks(wave, rate)).max()),
            )
        )
    return out


def rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave))))


def clicks(wave: np.ndarray, rate: int) -> np.ndarray:
    """(step,) each step from sample to sample in units of the largest step shortly before or after it, zero where it is less
    than a twentieth of the peak: about 1 in speech, hundreds where a sound is cut."""
    steps = np.abs(np.diff(wave, prepend=0.0, append=0.0))  # silence before and after
    near, far = (max(1, round(seconds * rate)) for seconds in BESIDE)
    out = np.zeros(len(steps))
    for at in np.flatnonzero(steps >= 0.05 * max(1e-9, float(np.abs(wave).max()))):
        beside = np.concatenate([steps[max(0, at - far) : max(0, at - near)], steps[at + near : at + far]])
        out[at] = steps[at] / max(1 / 32768, beside.max(initial=0.0))
    return out


def row(run: str, method: str, sounds: Sequence[Measured]) -> str:
    heard = [one for one in sounds if not one.silent]
    cells = [
        run.rsplit("-", 1)[0],
        method,
        str(len(sounds)),
        str(len(sounds) - len(heard)),
        str(sum(one.sixteen_bit for one in sounds)),
        str(sum(one.own_rate for one in sounds)),
        f"{max(abs(one.decibels) for one in heard):.3f}",
        f"{max(one.peak for one in heard):.3f}",
        f"{max(one.edge for one in heard):.5f}",
        f"{max(one.click for one in heard):.1f}",
        str(sum(not one.fit for one in sounds)),
    ]
    return "| " + " | ".join(cells) + " |"


def table(rows: Sequence[str]) -> str:
    head = (
        "| run | explained by | sounds | silent | 16 bit | clip's rate and length | level off, dB | highest sample | "
        "first or last sample | largest click | unfit |"
    )
    return "\n".join(
        [
            f"Levels beside the original's, at most {DECIBELS:g} dB off; a click is the largest step between samples over "
            f"the largest step {1000 * BESIDE[0]:g} to {1000 * BESIDE[1]:g} ms beside it, at most {CLICK:g}, where the recording "
            f"has no click of its own ({OWN:g} times or more; within 1 ms of it, nothing counts). What holds "
            "nothing that can be heard is silent and said so.",
            "",
            head,
            "|---|---|" + "---:|" * 9,
            *rows,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
