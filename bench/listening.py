"""Networks taught on real recordings, simulated brains that hear real speech: is the layer found, and the network?

    python bench/listening.py RUN [RUN ...] --speech TABLE.csv --work FOLDER [--out TABLE.md] [--subjects 6] [--seeds 2]

TABLE.csv lists real recordings (column ``file``; ``speaker``); the story is four minutes of those whose speakers no run was
taught on. Brains are simulated, as no recording of people who hear continuous speech comes along: everything is *fitted to
simulated data*. For every run two of its layers drive left STG and left IFG, the envelope right STG, in heads whose skulls,
sources and sensors are not those of the head that reads them (bench/align.py says how); all runs are then aligned with the
brains of all. Beneath, brains that follow acoustics alone. A claim needs corrected p of .05 over acoustics and over nineteen
untrained networks. What was written lies in WORK, and is taken up again. Some forty minutes of one core for three runs.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import binomtest

from heschl.brain import listener
from heschl.brain.acoustics import acoustics
from heschl.brain.continuous import record_long
from heschl.corpora import read_corpus
from heschl.files import read_audio, read_json, write_json, write_text, write_wav
from heschl.run import Run, open_run
from heschl.steps.align import align
from heschl.steps.align_fit import Settings
from heschl.steps.heard import WINDOW, Layers, grid_of, layers
from heschl.steps.networks import open_network
from heschl.types import Clip

SECONDS, SNR = 240.0, -10.0
DRIVEN, PLAIN = ("STG", "IFG"), "STG-R"
# the brains' response goes on for a second: lags that end before it, and lags that hold most of it
SHORT = (0.0, 0.3)
ALL_LAGS = (SHORT, (0.0, 0.8), (0.0, 1.2))  # seconds; of the null
SETTINGS = Settings(
    rate=32, lags=SHORT, band=(1.0, 12.0), components=4, shifts=19, folds=4, alphas=(100.0, 3000.0)
)


class Taught(NamedTuple):
    """A run, called as its recipe; layer -> (time, unit) at the listeners' rate; its layers as `align` takes them."""

    name: str
    run: Run
    drives: dict[str, np.ndarray]
    inner: Layers


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--speech", type=Path, required=True, help="a table of real recordings")
    parser.add_argument("--work", type=Path, required=True, help="the brains are written here, and kept")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    opened = [open_run(path) for path in given.runs]
    wave, told = story(opened, given.speech, given.work)
    sound = acoustics(torch.from_numpy(wave), listener.SAMPLE_RATE, int(listener.RATE))[0].numpy()
    clip = Clip(
        "story.wav", given.work / "story.wav", listener.SAMPLE_RATE, {}, stop=len(wave) / listener.SAMPLE_RATE
    )
    taught = [hear(run, wave, clip) for run in opened]
    rows = []
    for seed in range(given.seeds):
        for one in taught:
            folder, drawn = brains(one, wave, sound, seed, given)
            for other in taught:
                rows.append(fitted(other, folder, given) | {"brain": one.name, "drawn": drawn, "seed": seed})
                print(rows[-1]["brain"], rows[-1]["network"], f"{time.process_time():.0f} s of one core", flush=True)  # fmt: skip
    # what is in the control set itself; and what is finer than it in time (128 Hz) and frequency (16 bands)
    own = acoustics(torch.from_numpy(wave), listener.SAMPLE_RATE, SETTINGS.rate, SETTINGS.mels)[0].numpy()
    at = np.arange(len(sound)) / listener.RATE
    within = np.stack([np.interp(at, np.arange(len(own)) / SETTINGS.rate, column) for column in own.T], 1)
    null = []
    for folder, x in ((given.work / "inside", within), (given.work / "acoustics", sound)):
        simulate(folder, wave, {area: x[:, k] for k, area in enumerate((*DRIVEN, PLAIN))}, given, seed=99)
        for lags in ALL_LAGS:
            null.append([fitted(one, folder, given, replace(SETTINGS, lags=lags)) for one in taught])
    text = "\n".join([told, "", *tables(taught, rows, null, given)])
    print(text)
    if given.out:
        write_text(given.out, text + "\n")
    return 0


def story(runs: Sequence[Run], speech: Path, work: Path) -> tuple[np.ndarray, str]:
    """The story, kept in WORK, and a sentence about whose voices it is made of."""
    taught = {
        run.split.groups.get(one, one) for run in runs for one in (*run.split.train, *run.split.validation)
    }
    clips = [
        clip
        for clip in read_corpus("table", speech).clips
        if clip.labels["speaker"] not in taught and clip.id not in taught
    ]
    wave = listener.story(SECONDS, clips=clips)
    path = work / "story.wav"
    write_wav(path, wave * min(1.0, 0.9 / float(np.abs(wave).max())), listener.SAMPLE_RATE)
    people = len({clip.labels["speaker"] for clip in clips})
    said = (
        f"{SECONDS / 60:.0f} minutes of real speech ({speech.parent.name}, drawn from {people} speakers whom no network here was "
        "taught on), and simulated brains: all of this is *fitted to simulated data*, tells how well the method works, and says nothing "
        "about people (bench/listening.py)."
    )
    return read_audio(path)[0], said


def hear(run: Run, wave: np.ndarray, clip: Clip) -> Taught:
    """What a network does while it hears the story, trained and untrained; kept in WORK beside it."""
    held = clip.signal.with_name(f"heard-{run.folder.name}.npz")
    if held.exists():
        with np.load(held) as file:
            parts = {name: file[name] for name in file.files}
        names = [name[6:] for name in parts if name.startswith("drive/")]
        others = [
            {name: {clip.id: parts[f"{k}/{name}"]} for name in parts["layers"]}
            for k in range(-1, SETTINGS.seeds)
        ]
        inner = Layers(others[0], others[1:], tuple(parts["notes"]), 0.0)
        return Taught(run.recipe.name, run, {name: parts[f"drive/{name}"] for name in names}, inner)
    network = open_network(run)
    seconds = network.seconds if network.seconds is not None and not network.frames else WINDOW
    found = record_long(
        network.model, torch.from_numpy(wave), network.sample_rate, network.feature, window=float(seconds)
    )
    drives = {
        name: grid_of(one, listener.RATE)
        for name, one in found.activity.items()
        if float(one.times[1] - one.times[0]) < 0.1  # one answer a window moves too slowly to drive a brain
    }
    inner = layers(run, [clip], SETTINGS.rate, SETTINGS.components, SETTINGS.seeds)
    parts = {f"drive/{name}": one for name, one in drives.items()}
    for k, one in enumerate([inner.trained, *inner.untrained], -1):
        parts |= {f"{k}/{name}": by_clip[clip.id] for name, by_clip in one.items()}
    np.savez(held, layers=list(inner.trained), notes=list(inner.notes), **parts)
    return Taught(run.recipe.name, run, drives, inner)


def brains(
    one: Taught, wave: np.ndarray, sound: np.ndarray, seed: int, given: Any
) -> tuple[Path, dict[str, str]]:
    """Listeners whom two layers of a network drive."""
    drawn = dict(
        zip(DRIVEN, np.random.default_rng(seed).choice(list(one.drives), len(DRIVEN), replace=False))
    )
    drives = {area: listener.mixture(one.drives[name], 4, seed) for area, name in drawn.items()}
    folder = given.work / f"{one.name}-{seed}"
    said = {area: f"{one.name}, {name}" for area, name in drawn.items()}
    simulate(folder, wave, drives | {PLAIN: sound[:, 0]}, given, seed, said)
    return folder, {area: str(name) for area, name in drawn.items()}


def simulate(
    folder: Path, wave: np.ndarray, drives: dict[str, np.ndarray], given: Any, seed: int, said: Any = None
) -> None:
    truth = folder / "truth.json"
    if not truth.exists() or read_json(truth)["subjects"] != given.subjects:
        listener.write(folder, wave, drives, SNR, given.subjects, said=said, seed=seed)


def fitted(one: Taught, folder: Path, given: Any, settings: Settings = SETTINGS) -> dict[str, Any]:
    """What a network's alignment with some brains says of the driven areas."""
    path = given.work / f"{folder.name}-by-{one.name}-{given.subjects}-{settings.lags[1]:g}.json"
    if path.exists():
        return dict(read_json(path))
    held = align(one.run, folder, settings, areas="default", name=folder.name, inner=one.inner)
    found = {}
    for area in (*DRIVEN, PLAIN):
        place = next((p for p in held["strongest"] if area in p.split(" and ")), None)
        if place is not None:
            best = held["strongest"][place]
            claimed = [row["layer"] for row in held["group"] if row["place"] == place and row["beyond_both"]]
            found[area] = {
                "layer": best["layer"],
                "gain": best["gain"],
                "claimed": claimed,
                "read_as": place,
            }
    row = {
        "network": one.name,
        "areas": found,
        "claims": sum(r["beyond_both"] for r in held["group"]),
        "tests": len(held["group"]),
        "groups": [g for g in held["areas"]["groups"] if len(g) > 1],
        "envelope": held["envelope"]["best_r_mean"],
    }
    write_json(path, row)
    return row


def tables(
    taught: Sequence[Taught],
    rows: Sequence[dict[str, Any]],
    null: Sequence[Sequence[dict[str, Any]]],
    given: Any,
) -> list[str]:
    own = [row for row in rows if row["brain"] == row["network"]]
    hits = [row["areas"][area]["layer"] == row["drawn"][area] for row in own for area in DRIVEN]
    chance = float(np.mean([1 / len(one.inner.trained) for one in taught]))
    low, high = binomtest(sum(hits), len(hits)).proportion_ci()
    claimed = sum(row["drawn"][area] in row["areas"][area]["claimed"] for row in own for area in DRIVEN)
    lines = [
        f"{given.subjects} listeners a simulation, signal {SNR:+.0f} dB over all 64 electrodes, {SETTINGS.seeds} untrained "
        f"networks, {SETTINGS.shifts} shifts, acoustics of envelope, onsets and {SETTINGS.mels} mel bands.",
        "",
        "**Is the layer found that drives an area?** Gain in r over acoustics, mean over listeners; \\* a claim: beyond acoustics "
        "and beyond untrained networks.",
        "",
        "| brain driven by | left STG is driven by | left IFG is driven by |",
        "|---|---|---|",
    ]
    for row in own:
        cells = []
        for area in DRIVEN:
            found = row["areas"][area]
            star = "\\*" if found["layer"] in found["claimed"] else ""
            cells.append(f"{row['drawn'][area]}; found {found['layer']}, {found['gain']:+.3f}{star}")
        lines.append(f"| `{row['brain']}`, draw {row['seed'] + 1} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        f"The driving layer gains most in {sum(hits)} of {len(hits)} areas (95 % interval {100 * low:.0f} to {100 * high:.0f} %, "
        f"by chance {100 * chance:.0f} %), and in {claimed} of them it is claimed.",
        "",
        "**Is the network found?** Highest gain of any layer in left STG / left IFG, mean over draws; \\* where a layer is claimed "
        "in every draw.",
        "",
        "| brain driven by | " + " | ".join(f"`{one.name}`" for one in taught) + " |",
        "|---|" + "---:|" * len(taught),
    ]
    right, asked = 0, 0
    for one in taught:
        cells, best = [], []
        for other in taught:
            some = [row for row in rows if row["brain"] == one.name and row["network"] == other.name]
            gains = [np.mean([row["areas"][area]["gain"] for row in some]) for area in DRIVEN]
            stars = ["\\*" if all(row["areas"][area]["claimed"] for row in some) else "" for area in DRIVEN]
            best.append(gains)
            cells.append(" / ".join(f"{gain:+.3f}{star}" for gain, star in zip(gains, stars)))
        for k in range(len(DRIVEN)):
            right += taught[int(np.argmax([gains[k] for gains in best]))] is one
            asked += 1
        lines.append(f"| `{one.name}` | " + " | ".join(cells) + " |")
    strange = [row for row in rows if row["brain"] != row["network"]]
    wrong = sum(bool(row["areas"][area]["claimed"]) for row in strange for area in DRIVEN)
    beside = sum(bool(row["areas"][PLAIN]["claimed"]) for row in own if PLAIN in row["areas"])
    lines += [
        "",
        f"The network that drives the brain gains most in {right} of {asked} areas (by chance one in {len(taught)}). Another network than that is claimed in {wrong} of "
        f"{len(strange) * len(DRIVEN)}: networks of speech have much in common, so a claim says that a layer carries what the "
        "brain follows, not that the brain computes as this network does.",
        "",
        f"Where only the envelope drives (right STG), a layer of the driving network is claimed in {beside} of {len(own)}: electrodes "
        "over one area see the others.",
        "",
        "**The null.** Layers and areas that are claimed where acoustics alone drive all three areas; one in twenty of such "
        "simulations may have a claim.",
        "",
        "| the brains follow | " + " | ".join(f"lags to {last:g} s" for _, last in ALL_LAGS) + " |",
        "|---|" + "---|" * len(ALL_LAGS),
        *(
            f"| {what} | " + " | ".join(map(claims, null[k * len(ALL_LAGS) :][: len(ALL_LAGS)])) + " |"
            for k, what in enumerate(("acoustics of the control set", "finer ones (128 Hz, 16 bands)"))
        ),
        "",
        "The listeners' response goes on for a second (in IFG it stands at "
        f"{100 * listener.kernel(0.18)[round(SHORT[1] * listener.RATE)]:.0f} % of its highest at {SHORT[1]:g} s). Where lags end before it, "
        "acoustics cannot say all that they drive, and a layer with a memory says the rest, a taught one better than a random one: "
        "whoever aligns should fit lags as long as the envelope's response is (`--lags`; `align` warns where it goes on at the last one). "
        "A claim is held against this table before it is believed.",
    ]
    groups = {" and ".join(group) for row in rows for group in row["groups"]}
    if groups:
        lines += ["", f"Areas that these electrodes cannot tell apart are read as one: {'; '.join(sorted(groups))}."]  # fmt: skip
    notes = list(dict.fromkeys(note for one in taught for note in one.inner.notes))
    return [*lines, *(["", *(f"- {note}." for note in notes)] if notes else [])]


def claims(rows: Sequence[dict[str, Any]]) -> str:
    each = ", ".join(f"`{row['network']}` {row['claims']} of {row['tests']}" for row in rows)
    some = sum(row["claims"] > 0 for row in rows)
    return f"{sum(row['claims'] for row in rows)} of {sum(row['tests'] for row in rows)} ({each}), in {some} of {len(rows)} simulations"


if __name__ == "__main__":
    raise SystemExit(main())
