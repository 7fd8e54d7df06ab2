"""Is training ever held up by data or by the trainer? Clips per second, in the same run, on the embedded speech.

    python bench/training.py --threads 2 --out bench/results/training.json

For each network: heschl's training as it is (packed cache, augmentation, lightning, checkpoints); the same steps in a
bare loop with the batches read anew; and the bare loop with one batch held in memory, which is what the arithmetic
alone takes. `fed` is the second over the third, `trainer` the first over the second, in time added.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from heschl.files import read_json, write_json
from heschl.recipe import load
from heschl.training.data import Item, TrainBatches, loader
from heschl.training.fit import _Training, train
from heschl.training.progress import Voice
from heschl.training.survey import survey

NETWORKS = {"kws": "kws-small", "CRNN": "crnn-small"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "training.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = []
    for name, recipe in NETWORKS.items():
        # ways take turns, and the best of each counts: what else the machine does must not decide
        best = {"heschl": 0.0, "bare": 0.0, "held": 0.0}
        for _ in range(given.rounds):
            for way, clips in measured(recipe, given.steps, given.threads):
                best[way] = max(best[way], clips)
        row = {"network": name, "threads": given.threads, **{k: round(v) for k, v in best.items()}}
        row |= {"fed": best["bare"] / best["held"], "trainer": best["bare"] / best["heschl"] - 1}
        rows.append(row)
        print(row, flush=True)
    write_json(given.out, rows)


def measured(recipe: str, steps: int, threads: int) -> Iterator[tuple[str, float]]:
    keys = {"train.epochs": None, "train.steps": steps, "machine.threads": threads, "machine.save_seconds": 1e9}
    with tempfile.TemporaryDirectory() as folder:
        run = train(recipe, keys, runs=folder, quiet=True)
        batch = run.recipe.train.batch
        yield "heschl", steps * batch / read_json(run.folder / "origin.json")["seconds"]
    yield "bare", batch * bare(recipe, keys, held=False)
    yield "held", batch * bare(recipe, keys, held=True)


def bare(recipe: str, keys: dict[str, Any], held: bool) -> float:
    """Steps per second of feature, augmentation, network, loss and optimiser in a plain loop."""
    made = survey(load(recipe, keys))
    with tempfile.TemporaryDirectory() as folder:
        training = _Training(made, None, Path(folder), "bench", "", Voice(True), False)
    learner, steps = training._learner(), training.steps
    optimiser = learner.configure_optimizers()
    learner.train()
    data = TrainBatches(training.examples.source, training.order)
    items: Iterator[Item] = iter(loader(data, range(steps), 0, False)) if not held else iter([data[0]] * steps)
    begun = time.perf_counter()
    for item in items:
        x, y, lengths = learner.prepared(item)
        out = learner.model(x) if lengths is None else learner.model(x, lengths=lengths)
        loss = learner.task.loss(out, item._replace(x=x, y=y, lengths=lengths))
        optimiser.zero_grad()
        loss.backward()
        if made.recipe.train.clip_gradient:
            torch.nn.utils.clip_grad_norm_(learner.model.parameters(), made.recipe.train.clip_gradient)
        optimiser.step()
        learner.finish_step()
    return steps / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
