"""What training costs beside the arithmetic: reading, lightning, and memory.

    python bench/training.py [--out TABLE.md] [--steps 40] [--clips 100000] [--threads 1]

The peer is a loop of plain torch over one batch that stays in memory: the same feature, network, loss and
optimiser, no reading, no lightning, no saving. Beside it, steps of heschl's own training that are given a batch from memory
instead of reading one: what the data cost. These take turns step by step, those of plain torch round by round; times are
medians over all rounds.
Memory is the largest resident size of a process that trains on so many clips of a quarter second, less that of
one that trains on a hundredth of them. Under two minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.files import write_text, write_wav

RATE, BATCH, ROUNDS = 16000, 32, 5
NETWORKS = {
    "kws": {"feature": {"use": "mel.LogMel"}, "model": {"use": "kws.KWS"}},
    "CRNN": {
        "feature": {"use": "spectrogram.LogSpectrogram", "standardise": True},
        "model": {"use": "crnn.CRNN"},
    },
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)  # the process whose memory is measured
    chosen = parser.parse_args(arguments)
    if chosen.peak:
        print(json.dumps(peak(Path(chosen.peak[0]), int(chosen.peak[1]))))
        return 0
    import torch

    torch.set_num_threads(chosen.threads)
    lines = [
        f"Batches of {BATCH} clips of 1 s, torch {torch.__version__}, {chosen.threads} thread(s), {time.strftime('%Y-%m-%d')}. "
        "Target: 90 % of plain torch's speed, 95 % of that with a batch held in memory.",
        "",
        "| what | plain torch, ms a step | batch held, ms | heschl train, ms | of plain torch's speed | of the held batch's speed |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HESCHL_CACHE"] = folder + "/cache"
        table = make_clips(Path(folder), 640, 1.0)
        for name, parts in NETWORKS.items():
            plain, held, ours = speeds(table, parts, chosen.steps, chosen.threads, Path(folder))
            lines.append(
                f"| {name} | {plain:.1f} | {held:.1f} | {ours:.1f} | {100 * plain / ours:.0f} % | {100 * held / ours:.0f} % |"
            )
        many = make_clips(Path(folder), chosen.clips, 0.25)
        large, small = (measured_peak(many, count) for count in (chosen.clips, chosen.clips // 100))
    lines += [
        "",
        "| what | MiB | target |",
        "|---|---|---|",
        f"| memory of {chosen.clips:,} clips beyond {chosen.clips // 100:,} | {large - small:.0f} | under 2048 |",
        f"| all of that process | {large:.0f} | |",
    ]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if chosen.out:
        write_text(chosen.out, text)
    return 0


def make_clips(folder: Path, count: int, seconds: float) -> Path:
    """A table of so many parts of one long recording, ten classes, a hundred speakers."""
    random = np.random.default_rng(0)
    write_wav(folder / "long.wav", np.clip(0.1 * random.normal(size=RATE * 300), -1, 1), RATE)
    starts = random.uniform(0, 300 - seconds, count).round(4)
    rows = ["path,start,stop,label,speaker"]
    rows += [
        f"long.wav,{at},{round(at + seconds, 4)},c{k % 10},s{k // 10 % 100}" for k, at in enumerate(starts)
    ]
    path = folder / f"clips{count}.csv"
    write_text(path, "\n".join(rows) + "\n")
    return path


def recipe(table: Path, parts: dict[str, Any], steps: int, seconds: float, threads: int) -> dict[str, Any]:
    return {
        "format": 1,
        "name": "bench",
        "corpus": {"use": "table", "root": str(table)},
        "split": {"use": "fractions", "validation": 0.02, "test": 0.02},
        "clip": {"seconds": seconds},
        **parts,
        "task": {"use": "classify.Classify", "label": "label"},
        "train": {"steps": steps, "batch": BATCH},
        "machine": {"device": "cpu", "threads": threads, "save_seconds": 1e9},
    }


def speeds(
    table: Path, parts: dict[str, Any], steps: int, threads: int, folder: Path
) -> tuple[float, float, float]:
    """Median milliseconds a step of plain torch, of `heschl train` with its batch held in memory, and of `heschl train`."""
    plain, held, ours = [], [], []
    for number in range(ROUNDS):
        made = recipe(table, parts, steps, 1.0, threads)
        times = trained({**made, "seed": number}, folder)
        ours += times[0::2]
        held += times[1::2]
        plain += looped(made, steps)
    return statistics.median(plain), statistics.median(held), statistics.median(ours)


def trained(made: dict[str, Any], folder: Path) -> list[float]:
    """Milliseconds of each step, of which every other one, from the second on, is given a batch that was read before: the two
    are compared within the same moments."""
    from unittest.mock import patch

    from heschl.training import fit

    times: list[float] = []

    class Clock(fit.Pace):
        def on_train_batch_end(self, *arguments: Any) -> None:
            times.append(time.perf_counter())

    class Held(fit.TrainBatches):
        held: Any = None

        def __getitem__(self, step: int) -> Any:
            if self.held is None:
                self.held = super().__getitem__(step)
            return super().__getitem__(step) if step % 2 == 0 else self.held

    with patch.object(fit, "Pace", Clock), patch.object(fit, "TrainBatches", Held):
        fit.train(made, runs=folder / "runs", quiet=True)
    return [1000 * float(one) for one in np.diff(times[5:])]  # the first of these is of step 6, which reads


def looped(made: dict[str, Any], steps: int) -> list[float]:
    import torch

    from heschl.recipe import load
    from heschl.training.survey import survey
    from heschl.types import Batch

    known = survey(load(made))
    model, feature = known.model().train(), known.feature
    wave, y = 0.1 * torch.randn(BATCH, RATE), torch.arange(BATCH) % 10
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    times = []
    for _ in range(steps):
        x = feature(wave)
        loss = known.task.loss(model(x), Batch(x, y, None, ()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        times.append(time.perf_counter())
    return [1000 * float(one) for one in np.diff(times[5:])]


def measured_peak(table: Path, count: int) -> float:
    command = [sys.executable, __file__, "--peak", str(table), str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def peak(table: Path, count: int) -> float:
    """MiB of the largest resident size while training on the first so many clips of a table."""
    import resource

    from heschl.training.fit import train

    lines = table.read_text(encoding="utf-8").splitlines()[: count + 1]
    own = table.with_name(f"first{count}.csv")
    write_text(own, "\n".join(lines) + "\n")
    small = {"feature": {"use": "mel.LogMel"}, "model": {"use": "crnn.CRNN", "hidden_1": 8, "hidden_2": 8}}
    made = recipe(own, small, 300, 0.25, 1)
    with tempfile.TemporaryDirectory() as folder:
        train({**made, "train": {"steps": 300, "batch": 256}}, runs=folder, quiet=True)
    status = Path("/proc/self/status")
    if status.exists():  # the system's own count begins before this program does
        (line,) = (
            line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM")
        )
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    sys.exit(main())
