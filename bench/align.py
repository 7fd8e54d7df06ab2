"""Does alignment find which layer drove which area? Simulated listeners, not fitted with the heads that made them.

    python bench/align.py [--out TABLE.md] [--seeds 4] [--subjects 6]

A small recurrent network learns phones of the embedded synthetic speech (twelve seconds of training). For each seed two
of its layers are drawn and drive left STG and left IFG of simulated listeners to three minutes of that speech, by random
weights of the layer's four principal components (what is fitted); the envelope drives right STG. The listeners' heads have skulls of half the
conductivity, sources on another grid (oct6) and sensors shifted by 4 mm and turned by 2 degrees against the template
head, by which 64 electrodes are read in areas. SNR is the power of all areas' signal over that of 1/f noise of the
brain and the sensors, over all electrodes. An area's layer is found where it gains most over acoustics, mean over
subjects; a claim also needs corrected p of .05 over acoustics and over nineteen untrained networks. Four layers: by chance
one in four is found. Where only the envelope drives, a claim is cross-talk: electrodes over one area see the others, and
a gain there says that what is read there follows the layer. Beneath: listeners that follow acoustics alone. About three
minutes of one core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest

from heschl.brain import listener
from heschl.brain.acoustics import acoustics
from heschl.brain.continuous import record_long
from heschl.files import write_text, write_wav
from heschl.steps.align import align
from heschl.steps.align_fit import Settings
from heschl.steps.heard import Layers, grid_of
from heschl.steps.heard import layers as recorded
from heschl.steps.networks import open_network
from heschl.training.fit import train
from heschl.types import Clip

SECONDS = 180.0
DRIVEN, PLAIN = ("STG", "IFG"), "STG-R"
RECIPE: dict[str, Any] = {
    "format": 1,
    "name": "phones",
    "corpus": {"use": "spoken", "kind": "sentence"},
    "split": {"use": "fractions", "validation": 0.1, "test": 0.1},
    "clip": {"seconds": None},
    "feature": {"use": "mel.LogMel", "normalise": "energy"},
    "model": {"use": "frame_lstm.FrameLSTM", "stem": 8, "width": 32, "depth": 1},
    "task": {"use": "frames.ClassifyFrames"},
    "train": {"epochs": 6, "batch": 8, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}
SETTINGS = Settings(
    rate=32,
    lags=(0.0, 0.3),
    band=(1.0, 12.0),
    mels=2,
    components=4,
    shifts=19,
    folds=4,
    alphas=(80.0, 800.0, 8000.0),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--snr", type=float, nargs="+", default=[-10.0, -20.0])
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        run = train(RECIPE, {}, runs=Path(scratch) / "runs", quiet=True)
        wave = listener.story(SECONDS)
        layers = heard(run, wave)
        sound = acoustics(torch.from_numpy(wave), listener.SAMPLE_RATE, int(listener.RATE))[0].numpy()
        inner = recorded(
            run, [story_clip(Path(scratch), wave)], SETTINGS.rate, SETTINGS.components, SETTINGS.seeds
        )
        lines = [
            f"{given.subjects} simulated listeners to {SECONDS / 60:.0f} minutes, {given.seeds} seeds, layers "
            f"{', '.join(layers)}; two layers drive left STG and left IFG, the envelope right STG (bench/align.py).",
            "",
            "| SNR, dB | layer found | area's drive found (chance 25 %) | 95 % interval | claimed beyond both, of these "
            "| claimed where the envelope drives |",
            "|---:|---|---:|---:|---:|---:|",
        ]
        for snr in given.snr:
            rows = [
                one_seed(run, wave, layers, inner, sound, snr, seed, given.subjects, Path(scratch))
                for seed in range(given.seeds)
            ]
            hits = [hit for row in rows for hit in row["hits"]]
            test = binomtest(sum(hits), len(hits), 0.25).proportion_ci()
            claimed = sum(c for row in rows for c in row["claims"])
            plain = sum(row["plain"] for row in rows)
            each = "; ".join(
                f"{a}: {sum(r['hits'][k] for r in rows)} of {len(rows)}" for k, a in enumerate(DRIVEN)
            )
            lines.append(
                f"| {snr:+.0f} | {each} | {sum(hits)} of {len(hits)} | {test.low:.2f} to {test.high:.2f} | {claimed} | "
                f"{plain} of {len(rows)} |"
            )
            print(
                lines[-1],
                f"{time.perf_counter() - begun:.0f} s, {time.process_time():.0f} s of one core",
                flush=True,
            )
        null = acoustics_alone(run, wave, inner, sound, given, Path(scratch))
        lines += [
            "",
            null,
            "",
            "A claim where the envelope drives is cross-talk: electrodes over one area see the others, and a gain there says "
            "that what is read there follows the layer, not that the area does.",
            "",
            f"Areas that these electrodes cannot tell apart are read as one: {rows[0]['groups']}.",
        ]
    text = "\n".join(lines)
    print(text)
    if given.out:
        write_text(given.out, text + "\n")
    return 0


def story_clip(scratch: Path, wave: np.ndarray) -> Clip:
    """The story as the listeners' table names it: layers over it are recorded once for all simulations."""
    write_wav(scratch / "story.wav", wave * min(1.0, 0.9 / float(np.abs(wave).max())), listener.SAMPLE_RATE)
    return Clip("story.wav", scratch / "story.wav", listener.SAMPLE_RATE, {}, stop=SECONDS)


def heard(run: Any, wave: np.ndarray) -> dict[str, np.ndarray]:
    """layer -> (time, unit) of the trained network, at the listeners' rate."""
    network = open_network(run)
    found = record_long(network.model, torch.from_numpy(wave), network.sample_rate, network.feature)
    return {name: grid_of(one, listener.RATE) for name, one in found.activity.items()}


def one_seed(
    run: Any,
    wave: np.ndarray,
    layers: dict[str, np.ndarray],
    inner: Layers,
    sound: np.ndarray,
    snr: float,
    seed: int,
    subjects: int,
    scratch: Path,
) -> dict[str, Any]:
    """Draws two layers, simulates, fits, and compares."""
    rng = np.random.default_rng(seed)
    drawn = dict(zip(DRIVEN, rng.choice(list(layers), len(DRIVEN), replace=False)))
    drives = {area: listener.mixture(layers[name], 4, seed) for area, name in drawn.items()}
    folder = scratch / f"listeners-{snr:g}-{seed}"
    listener.write(folder, wave, drives | {PLAIN: sound[:, 0]}, snr, subjects, said=drawn, seed=seed)
    held = align(run, folder, SETTINGS, areas="default", name=folder.name, inner=inner)
    where = {
        area: next(p for p in held["strongest"] if area in p.split(" and ")) for area in (*DRIVEN, PLAIN)
    }
    found = {area: held["strongest"][where[area]] for area in where}
    return {
        "hits": [found[area]["layer"] == drawn[area] for area in DRIVEN],
        "plain": bool(found[PLAIN]["beyond_both"]),
        "groups": "; ".join(" and ".join(g) for g in held["areas"]["groups"] if len(g) > 1) or "none",
        "claims": [found[a]["layer"] == drawn[a] and found[a]["beyond_both"] for a in DRIVEN],
    }


def acoustics_alone(
    run: Any, wave: np.ndarray, inner: Layers, sound: np.ndarray, given: Any, scratch: Path
) -> str:
    """Listeners in whom acoustics drive all three areas."""
    drives = {area: sound[:, k] for k, area in enumerate((*DRIVEN, PLAIN))}
    folder = scratch / "acoustics"
    listener.write(folder, wave, drives, given.snr[0], given.subjects, seed=99)
    held = align(run, folder, SETTINGS, areas="default", name=folder.name, inner=inner)
    claimed = sum(row["beyond_both"] for row in held["group"])
    return (
        f"Where acoustics drive all three areas ({given.snr[0]:+.0f} dB), {claimed} of {len(held['group'])} layers and areas "
        "are claimed beyond both."
    )


if __name__ == "__main__":
    raise SystemExit(main())
