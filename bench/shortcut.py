"""Does an explanation find a shortcut that is known to be there? A table over methods, with the shortcut and without.

    python bench/shortcut.py [--out TABLE.md] [--runs FOLDER] [--clips 60] [--seeds 3]

A small network learns ten digits of synthetic speech, once with a tone that gives the digit away and once without
(`heschl.corpora.shortcut`). The share of positive relevance that lies in the tone's cells should be high with the tone,
and in the same cells without it near the share of all cells that these are. In the input, log(1 + power of a mel
band), silence is 0, which is every method's baseline. A second table has networks whose input is another: in decibels, or
with each row's mean taken off, zero is not silence. About twelve minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import heschl
from heschl.corpora import shortcut
from heschl.explanation import gradient
from heschl.explanation.lrp import PRESETS, lrp
from heschl.explanation.perturb import aligned_occlusion
from heschl.files import read_audio, write_text
from heschl.run import Run
from heschl.signal import hz_to_mel, mel_to_hz

AT_LEAST = 0.8  # of positive relevance, for LRP (its default preset) and for occlusion of aligned segments
IN_TIME, IN_FREQUENCY = "occlusion in time, 50 ms by halves", "occlusion in frequency, 4 mel by halves"
ONE, TWO = "occlusion, 50 ms x 1 mel, out and back", "occlusion, 50 ms x 2 mel, out and back"
HELD_TO_IT = ("LRP epsilon_plus", IN_TIME, IN_FREQUENCY, ONE, TWO, "occlusion, aligned segments")
NEAR = 2.0  # without the tone: at most so many times the area's share, or as little of it
RECIPE = {
    "format": 1,
    "split": {"use": "fractions", "validation": 0.15, "test": 0.25, "label": "digit"},
    "clip": {"seconds": 1.0},
    "feature": {"use": "spectrogram.LogMel", "n_mels": 40, "floor": 1.0},
    "model": {"use": "kws.KWS", "branches": 1, "stem": 8, "width": 32, "depth": 2},
    "task": {"use": "classify.Classify", "label": "digit"},
    "train": {
        "epochs": 15,
        "batch": 32,
        "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003, "weight_decay": 0.02},
        "schedule": {"use": "cosine", "warmup": 0.1},
    },
    "machine": {"device": "cpu", "workers": 0, "threads": 1},
}
INPUTS = {  # where zero is not silence
    "log power (silence far below zero)": {"floor": 1e-6},
    "log power less each row's mean": {"floor": 1e-6, "normalise": "mean"},
}
Method = Callable[
    [nn.Module, Tensor, Tensor, Tensor], Tensor
]  # (model, x, target, cells of the tone) -> relevance


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--runs", type=Path, help="keep the two run folders here")
    parser.add_argument("--clips", type=int, default=60, help="of the test part, spread over it")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as scratch:
        runs = given.runs or Path(scratch)
        tone, plain = (
            [measured(tone, runs, given.clips, seed) for seed in range(given.seeds)] for tone in (True, False)
        )
        others = {name: measured(True, runs, given.clips, 0, feature) for name, feature in INPUTS.items()}
    text = table(tone, plain) + "\n\n" + zeros(tone[0], others)
    print(text)
    if given.out:
        write_text(given.out, text + "\n")
    return int(bool(missed(tone, plain)))


def measured(tone: bool, runs: Path, clips: int, seed: int = 0, feature: dict | None = None) -> dict:
    """Shares by method on one of the twins, over clips of test speakers that the network gets right."""
    recipe = RECIPE | {
        "name": "shortcut" if tone else "shortcut-without",
        "corpus": {"use": "shortcut", "tone": tone},
        "feature": RECIPE["feature"] | (feature or {}),
        "seed": seed,
    }
    run = heschl.train(recipe, runs=runs, quiet=True)
    score = heschl.evaluate(run)
    model, x, target, cells, speakers = examples(run, clips)
    with torch.no_grad():
        right = model(x)[0].argmax(-1) == target
    x, target, cells = x[right], target[right], cells[right]
    quiet = x.flatten(1).amin(1)[:, None, None].expand(x.shape)  # silence, as `heschl explain` takes it
    found = methods(quiet).items()
    shares = {name: share(method(model, x, target, cells), cells) for name, method in found}
    return {
        "shares": shares,
        "area": float(cells.double().mean()),
        "score": score,
        "clips": int(right.sum()),
        "speakers": len({s for s, keep in zip(speakers, right.tolist(), strict=True) if keep}),
    }


def examples(run: Run, clips: int) -> tuple[nn.Module, Tensor, Tensor, Tensor, list[str]]:
    """The network, what it is given, its targets, the tone's cells (clip, mel, frame), and who speaks."""
    corpus, model, feature = run.corpus(), run.model().eval(), run.feature().eval()
    ids = sorted(run.split.test)
    chosen = [
        corpus.by_id[ids[k]] for k in np.linspace(0, len(ids) - 1, min(clips, len(ids))).round().astype(int)
    ]
    wave = torch.from_numpy(np.stack([read_audio(c.signal, c.start, c.stop)[0] for c in chosen]))
    with torch.no_grad():
        x = feature(wave)
    edges = mel_to_hz(np.linspace(0, hz_to_mel(feature.sample_rate / 2), x.shape[1] + 2))
    times = np.arange(x.shape[2]) / feature.rate
    window = feature.window_length / feature.sample_rate
    cells = np.stack([shortcut.cells(c, times, edges[:-2], edges[2:], window) for c in chosen])
    target = torch.tensor([run.labels.index(c.labels["digit"]) for c in chosen])
    return model, x, target, torch.from_numpy(cells), [c.labels["speaker"] for c in chosen]


def methods(quiet: Tensor) -> dict[str, Method]:
    """quiet: what stands for silence, the shape of x: the baseline of those that have one."""

    def occluded(x: Tensor, segments: Tensor, m: nn.Module, t: Tensor, how: Any = "alone") -> Tensor:
        return aligned_occlusion(m, x, t, segments, quiet, how)

    rows: dict[str, Method] = {
        f"LRP {preset}": lambda m, x, t, _, preset=preset: lrp(m, x, t, preset) for preset in PRESETS
    }
    rows["gradient x input"] = lambda m, x, t, _: gradient.gradient_x_input(m, x, t)
    rows["integrated gradients"] = lambda m, x, t, _: gradient.integrated_gradients(m, x, t, 32, quiet)
    rows["SmoothGrad x input"] = lambda m, x, t, _: gradient.smoothgrad(m, x, t, times_input=True)
    rows[IN_TIME] = lambda m, x, t, _: gradient.occlusion_time(m, x, t, 5, 2, quiet)
    rows[IN_FREQUENCY] = lambda m, x, t, _: gradient.occlusion_frequency(m, x, t, 4, 2, quiet)
    rows["occlusion, 50 ms x 1 mel"] = lambda m, x, t, _: occluded(x, grid(x, 1, 5), m, t)
    rows["occlusion, 50 ms x 2 mel"] = lambda m, x, t, _: occluded(x, grid(x, 2, 5), m, t)
    rows[ONE] = lambda m, x, t, _: occluded(x, grid(x, 1, 5), m, t, "both")
    rows[TWO] = lambda m, x, t, _: occluded(x, grid(x, 2, 5), m, t, "both")
    rows["occlusion, 100 ms x 4 mel"] = lambda m, x, t, _: occluded(x, grid(x, 4, 10), m, t)
    rows["occlusion, aligned segments"] = lambda m, x, t, c: occluded(x, aligned(x, c), m, t)
    rows["(no method: how loud a cell is, squared)"] = lambda m, x, t, _: (x - quiet).square()
    return rows


def grid(x: Tensor, mels: int, frames: int) -> Tensor:
    """Numbers of windows side by side, the shape of x."""
    rows, columns = torch.arange(x.shape[1]) // mels, torch.arange(x.shape[2]) // frames
    return (rows[:, None] * (int(columns.max()) + 1) + columns).expand(x.shape)


def aligned(x: Tensor, cells: Tensor) -> Tensor:
    """Windows of 100 ms by 4 mel bands that know the tone's edges, as those of phones are known: it is one segment."""
    numbers = grid(x, 4, 10)
    return torch.where(cells, int(numbers.max()) + 1, numbers)


def share(relevance: Tensor, cells: Tensor) -> float:
    """The mean over clips of the share of positive relevance that lies in the tone's cells."""
    positive = relevance.double().clamp_min(0)
    inside = (positive * cells).flatten(1).sum(1)
    return float((inside / positive.flatten(1).sum(1).clamp_min(1e-12)).mean())


def values(found: Sequence[dict], name: str) -> list[float]:
    return [one["shares"][name] for one in found]


def missed(tone: Sequence[dict], plain: Sequence[dict]) -> list[str]:
    """What does not hold, in words: of every training with the tone, and on the mean over those without."""
    out = []
    for name in HELD_TO_IT:
        if (least := min(values(tone, name))) < AT_LEAST:
            out.append(f"{name} {100 * least:.0f} %")
        times = np.mean(values(plain, name)) / np.mean([one["area"] for one in plain])
        if not 1 / NEAR <= times <= NEAR:
            out.append(f"{name} {times:.1f} times the area without the tone")
    return out


def table(tone: Sequence[dict], plain: Sequence[dict]) -> str:
    def accuracy(found: Sequence[dict]) -> str:
        all_ = [one["score"]["scores"]["accuracy"] for one in found]
        value, low, high = (
            100 * float(np.mean([one[key] for one in all_])) for key in ("value", "low", "high")
        )
        return f"{value:.0f} % ({low:.0f} to {high:.0f} %)"

    def percent(numbers: Sequence[float]) -> str:
        mean = f"{100 * np.mean(numbers):.1f} %"
        return mean + (f" ({100 * min(numbers):.0f} to {100 * max(numbers):.0f})" if len(numbers) > 1 else "")

    def clips(found: Sequence[dict]) -> str:
        counts = sorted(one["clips"] for one in found)
        return " to ".join(str(n) for n in sorted({counts[0], counts[-1]}))

    speakers = tone[0]["score"]["scores"]["n_groups"]
    lines = [
        f"Synthetic speech; ten digits, chance 10 %; {len(tone)} trainings of each network, on a split of its own. Right "
        f"on {speakers} unheard speakers (mean over trainings; 95 % interval over speakers): {accuracy(tone)} with the "
        f"tone, {accuracy(plain)} without. Explained are the clips that are right, {clips(tone)} a training with the "
        f"tone, {clips(plain)} without. Means over trainings, lowest and highest beside.",
        "",
        "| share of positive relevance in the tone's cells | with the tone | without |",
        "|---|---:|---:|",
        "| (these cells, of all) | "
        + " | ".join(f"{100 * np.mean([one['area'] for one in found]):.1f} %" for found in (tone, plain))
        + " |",
    ]
    for name in tone[0]["shares"]:
        lines.append(f"| {name} | {percent(values(tone, name))} | {percent(values(plain, name))} |")
    lost = missed(tone, plain)
    lines += [
        "",
        f"In every training, LRP by its default preset and occlusion in time, in frequency, of patches out and back, and of "
        f"aligned segments are held to at least "
        f"{100 * AT_LEAST:.0f} % with the tone; without it, on the mean, to {1 / NEAR:g} to {NEAR:g} times the cells' own "
        f"share: {'missed by ' + ', '.join(lost) if lost else 'all hold'}.",
        "",
        "A patch that is taken out leaves the rest of the tone, which tells the digit as well, so that its fall is small beside "
        "the noise of all others. Out and back: the mean of that fall and of the rise when the patch alone is put back into "
        "silence (method='both').",
    ]
    return "\n".join(lines)


def zeros(zero: dict, others: dict[str, dict]) -> str:
    """What becomes of the shares where zero is not silence: one training each."""
    named = {"log(1 + power) (silence is zero)": zero} | others
    least = min(one["score"]["scores"]["accuracy"]["value"] for one in named.values())
    lines = [
        "Which zero? Some methods count from zero, whatever it stands for, others from a baseline that they are given, here "
        "the lowest value of the clip. Networks on the same clips with another input, one training each; all are right on "
        f"{'every clip' if least == 1 else f'at least {100 * least:.0f} %'}.",
        "",
        "| share of positive relevance in the tone's cells | " + " | ".join(named) + " |",
        "|---|" + "---:|" * len(named),
    ]
    for name in zero["shares"]:
        shown = " | ".join(f"{100 * one['shares'][name]:.1f} %" for one in named.values())
        lines.append(f"| {name} | {shown} |")
    lines += [
        "",
        "In a plain logarithm silence is the number farthest from zero, and LRP, gradient x input and SmoothGrad x input point at "
        "it. Where each row's mean is taken off, the tone lowers its whole row beside it, so that its cells are no longer all that tells it.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
