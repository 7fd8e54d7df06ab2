"""Are the audible explanations fit to be heard? The sounds in run folders, measured.

    python bench/sounds.py RUN [RUN ...] [--out TABLE.md]

Every WAV that `heschl explain` wrote is read back: its format, its rate and length beside the recording's, its level
beside the original's, its highest sample, how loud it begins and ends, and its largest click. A click is a step from
sample to sample that stands out from the steps shortly before and after it. Where the recording itself clicks, its own
step, as loud as the recording stands in the sound, is taken off first: what counts is what the explanation added. Exit 1
where one sound misses a limit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.lib.stride_tricks import sliding_window_view

from heschl.files import read_audio, read_json, write_text
from heschl.run import open_run
from heschl.types import Clip

DECIBELS = 0.1  # two parts of a clip may differ in level by so much
EDGE = 0.01  # of full scale, the most of a first or last sample
# A cell of the transform comes and goes with its window, over 32 ms: a part made of few cells may well be brighter than
# its clip, and so have larger steps, but no step of its own may stand out from the steps beside it.
CLICK = 6.0  # times the largest step 1 to 5 ms before and after
BESIDE = (0.001, 0.005)  # seconds
OWN = 3.0  # times those beside it: a step of the recording that is a click of its own (a switch, a mouse, a clipped peak)
SPREAD = 0.0005  # seconds: a filtered click is a little longer than it was
QUIET = 0.01  # of the highest sample: smaller steps count for nothing
ENDS = 0.02  # seconds at either end where nothing is the recording's own: a sound that begins at once is our fault


class Measured(NamedTuple):
    """One sound of one clip, beside its original; levels in dB, samples of full scale 1."""

    name: str
    silent: bool
    sixteen_bit: bool
    own_rate: bool
    decibels: float
    peak: float
    edge: float
    step: float
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
        clips = {clip.id: clip for clip in run.corpus().clips}
        for kind in sorted((folder / "explain").glob("*/clips")):
            sounds = [one for path in sorted(kind.glob("*/answer.json")) for one in measured(path, clips)]
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


def measured(answer: Path, clips: Mapping[str, Clip]) -> list[Measured]:
    """The sounds that stand beside one answer.json, and the recording of which they are."""
    held = read_json(answer)
    if not held["sounds"]:
        return []
    clip = clips[held["clip"]]
    recording, rate = read_audio(clip.signal, clip.start, clip.stop)
    paths = {name: answer.parent / sound["file"] for name, sound in held["sounds"].items()}
    waves = {name: soundfile.read(path)[0] for name, path in paths.items()}
    own = own_clicks(recording, rate)
    loud = gains(waves, recording, round(ENDS * rate))
    out = []
    for name, path in paths.items():
        form, wave = soundfile.info(path), waves[name]
        silent = not wave.any()
        out.append(
            Measured(
                f"{held['clip']} {path.name}",
                silent,
                form.format == "WAV" and form.subtype == "PCM_16" and form.channels == 1,
                form.samplerate == rate and len(wave) == len(recording),
                0.0 if silent else 20 * float(np.log10(rms(wave) / rms(waves["original"]))),
                float(np.abs(wave).max()),
                float(max(abs(wave[0]), abs(wave[-1]))),
                float(clicks(wave, rate).max()),
                0.0 if silent else float(clicks(wave, rate, loud[name] * own).max()),
            )
        )
    return out


def gains(waves: Mapping[str, np.ndarray], recording: np.ndarray, ends: int) -> dict[str, float]:
    """How much louder the recording stands in each sound than it was: the parts, each as it was, add up to the recording."""
    out = {}
    heard = [name for name in waves if name != "original" and waves[name].any()]
    for names in (["original"], heard):
        parts = np.stack([waves[name][ends:-ends] for name in names], 1) if names else np.zeros((0, 0))
        shares = np.linalg.lstsq(parts, recording[ends:-ends], rcond=None)[0] if names else []
        out.update({name: 1 / share if share > 0 else 0.0 for name, share in zip(names, shares)})
    return out


def rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave))))


def steps_of(wave: np.ndarray) -> np.ndarray:
    """(step,) from sample to sample, from the silence before and to the silence after."""
    return np.diff(wave, prepend=0.0, append=0.0)


def beside(steps: np.ndarray, rate: int) -> np.ndarray:
    """(step,) the largest size of a step `BESIDE` before or after each."""
    near, far = (max(1, round(seconds * rate)) for seconds in BESIDE)
    most = sliding_window_view(np.pad(np.abs(steps), far), far - near).max(-1)
    return np.maximum(most[: len(steps)], most[far + near :][: len(steps)])


def own_clicks(recording: np.ndarray, rate: int) -> np.ndarray:
    """(step,) the largest step of a recording at most `SPREAD` away that stands out from those beside it; else zero."""
    steps = np.abs(steps_of(recording))
    out = np.where(steps > OWN * beside(steps, rate), steps, 0.0)
    out[: round(ENDS * rate)] = out[-round(ENDS * rate) :] = 0.0
    reach = round(SPREAD * rate)
    return sliding_window_view(np.pad(out, reach), 2 * reach + 1).max(-1)


def clicks(wave: np.ndarray, rate: int, own: np.ndarray | float = 0.0) -> np.ndarray:
    """(step,) each step without the recording's own part of it, in units of the largest step beside it: 1 to 3 in speech,
    hundreds where a sound is cut. own: `own_clicks`, as loud as the recording stands in the sound."""
    steps = np.abs(steps_of(wave))
    added = np.maximum(0.0, steps - own)
    others = beside(added, rate)  # a click of the recording hides no other beside it
    others = np.where(np.asarray(own) > 0, np.maximum(others, beside(steps, rate)), others)
    counts = steps >= QUIET * max(1e-9, float(np.abs(wave).max()))
    return np.where(counts, added / np.maximum(1 / 32768, others), 0.0)


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
        f"{max(one.step for one in heard):.1f}",
        f"{max(one.click for one in heard):.1f}",
        str(sum(not one.fit for one in sounds)),
    ]
    return "| " + " | ".join(cells) + " |"


def table(rows: Sequence[str]) -> str:
    head = (
        "| run | explained by | sounds | silent | 16 bit | clip's rate and length | level off, dB | highest sample | "
        "first or last sample | largest step | largest click | unfit |"
    )
    return "\n".join(
        [
            f"Levels beside the original's, at most {DECIBELS:g} dB off. A click is the largest step between samples over the "
            f"largest step {1000 * BESIDE[0]:g} to {1000 * BESIDE[1]:g} ms beside it, at most {CLICK:g}. Where a step of the "
            f"recording is a click of its own ({OWN:g} times those beside it or more), that step, as loud as the recording "
            f"stands in the sound (by least squares), is taken off the sound's steps within {1000 * SPREAD:g} ms first: what "
            'counts is what the explanation added. "Largest step" is the same with nothing taken off. What holds nothing '
            "that can be heard is silent and said so.",
            "",
            head,
            "|---|---|" + "---:|" * 10,
            *rows,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
