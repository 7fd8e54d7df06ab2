"""Does an explanation find a shortcut that is known to be there? A table over methods, with the shortcut and without.

    python bench/shortcut.py [--out TABLE.md] [--runs FOLDER] [--clips 60]

A small network learns ten digits of synthetic speech, once with a tone that gives the digit away and once without
(`heschl.corpora.shortcut`). The share of positive relevance that lies in the tone's cells should be high with the tone,
and in the same cells without it near the share of all cells that these are. In the input, log(1 + power of a mel
band), silence is 0, which is every method's baseline. About a minute on one core.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

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
HELD_TO_IT = ("LRP epsilon_plus", "occlusion, aligned segments")
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
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    begin = time.process_time()
    with TemporaryDirectory() as scratch:
        found = [measured(tone, given.runs or Path(scratch), given.clips) for tone in (True, False)]
    text = table(*found, seconds=time.process_time() - begin)
    print(text)
    if given.out:
        write_text(given.out, text + "\n")
    return int(bool(missed(*found)))


def measured(tone: bool, runs: Path, clips: int) -> dict:
    """Shares by method on one of the twins, over clips of test speakers that the network gets right."""
    recipe = RECIPE | {
        "name": "shortcut" if tone else "shortcut-without",
        "corpus": {"use": "shortcut", "tone": tone},
    }
    run = heschl.train(recipe, runs=runs, quiet=True)
    score = heschl.evaluate(run)
    model, x, target, cells, speakers = examples(run, clips)
    with torch.no_grad():
        right = model(x)[0].argmax(-1) == target
    x, target, cells = x[right], target[right], cells[right]
    shares = {name: share(method(model, x, target, cells), cells) for name, method in methods().items()}
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


def methods() -> dict[str, Method]:
    rows: dict[str, Method] = {
        f"LRP {preset}": lambda m, x, t, _, preset=preset: lrp(m, x, t, preset) for preset in PRESETS
    }
    rows["gradient x input"] = lambda m, x, t, _: gradient.gradient_x_input(m, x, t)
    rows["integrated gradients"] = lambda m, x, t, _: gradient.integrated_gradients(m, x, t, steps=32)
    rows["SmoothGrad x input"] = lambda m, x, t, _: gradient.smoothgrad(m, x, t, times_input=True)
    rows["occlusion, 50 ms x 2 mel"] = lambda m, x, t, _: windows(m, x, t, 2, 5)
    rows["occlusion, 100 ms x 4 mel"] = lambda m, x, t, _: windows(m, x, t, 4, 10)
    rows["occlusion, aligned segments"] = lambda m, x, t, c: aligned_occlusion(m, x, t, aligned(x, c), 0.0)
    return rows


def grid(x: Tensor, mels: int, frames: int) -> Tensor:
    """Numbers of windows side by side, the shape of x."""
    rows, columns = torch.arange(x.shape[1]) // mels, torch.arange(x.shape[2]) // frames
    return (rows[:, None] * (int(columns.max()) + 1) + columns).expand(x.shape)


def windows(model: nn.Module, x: Tensor, target: Tensor, mels: int, frames: int) -> Tensor:
    return aligned_occlusion(model, x, target, grid(x, mels, frames), 0.0)


def aligned(x: Tensor, cells: Tensor) -> Tensor:
    """Windows of 100 ms by 4 mel bands that know the tone's edges, as those of phones are known: it is one segment."""
    numbers = grid(x, 4, 10)
    return torch.where(cells, int(numbers.max()) + 1, numbers)


def share(relevance: Tensor, cells: Tensor) -> float:
    """The mean over clips of the share of positive relevance that lies in the tone's cells."""
    positive = relevance.double().clamp_min(0)
    inside = (positive * cells).flatten(1).sum(1)
    return float((inside / positive.flatten(1).sum(1).clamp_min(1e-12)).mean())


def missed(tone: dict, plain: dict) -> list[str]:
    """What does not hold, in words."""
    out = [f"{name} {tone['shares'][name]:.2f}" for name in HELD_TO_IT if tone["shares"][name] < AT_LEAST]
    for name in HELD_TO_IT:
        times = plain["shares"][name] / plain["area"]
        if not 1 / NEAR <= times <= NEAR:
            out.append(f"{name} {times:.1f} times the area without the tone")
    return out


def table(tone: dict, plain: dict, seconds: float) -> str:
    def accuracy(found: dict) -> str:
        one = found["score"]["scores"]["accuracy"]
        return f"{100 * one['value']:.0f} % ({100 * one['low']:.0f} to {100 * one['high']:.0f} %)"

    lines = [
        f"Synthetic speech; ten digits, chance 10 %. Right on {tone['score']['scores']['n_groups']} unheard speakers (95 % "
        f"interval over speakers): {accuracy(tone)} with the tone, {accuracy(plain)} without. Explained are the clips that are right: {tone['clips']} with the tone "
        f"({tone['speakers']} speakers), {plain['clips']} without ({plain['speakers']}). One training each, seed 0; "
        f"{seconds:.0f} s of one core in all.",
        "",
        "| share of positive relevance in the tone's cells | with the tone | without |",
        "|---|---:|---:|",
        f"| (these cells, of all) | {100 * tone['area']:.1f} % | {100 * plain['area']:.1f} % |",
    ]
    for name, value in tone["shares"].items():
        lines.append(f"| {name} | {100 * value:.1f} % | {100 * plain['shares'][name]:.1f} % |")
    lost = missed(tone, plain)
    lines += [
        "",
        f"LRP by its default preset and occlusion of aligned segments are held to at least {100 * AT_LEAST:.0f} % with "
        f"the tone, and without it to {1 / NEAR:g} to {NEAR:g} times the cells' own share: "
        + (f"missed by {', '.join(lost)}." if lost else "both hold."),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
