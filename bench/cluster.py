"""Units of work on a dask cluster of this machine: seconds with one and with two workers, and whether the answers agree.

    python bench/cluster.py [--small] [--out bench/results/15-cluster.md]

Eight folds of a small recipe are trained and scored, its training part is explained, and AudioMNIST's inputs are computed, each
on a fresh cluster of one worker and of two, every worker with one thread. Starting the cluster is not counted; what a worker
imports is, as it is for whoever runs such a job. Workers keep the memory that they free, as docs/slurm.md advises.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from heschl.corpora import audiomnist
from heschl.files import write_text
from heschl.steps.crossval import crossval
from heschl.steps.explain import explain_run
from heschl.steps.features import write_features
from heschl.training.fit import train

RECIPE: dict[str, Any] = {
    "format": 1,
    "name": "cluster",
    "corpus": {"use": "spoken", "kind": "digit"},
    "split": {"use": "kfold", "folds": 8, "fold": 0},
    "clip": {"seconds": 1.0},
    "feature": {"use": "mel.LogMel"},
    "model": {"use": "kws.KWS", "width": 32, "depth": 2},
    "task": {"use": "classify.Classify", "label": "digit"},
    "machine": {"threads": 1},  # sums of several threads round otherwise, and then so do the weights
    "train": {"epochs": 12, "batch": 32, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}
# dask's own setting trims at 64 KiB, and its workers compute in threads, whose arenas are given back whole
KEPT_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}
REPETITIONS = 40  # of each digit by each of nine speakers, for AudioMNIST's inputs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a minute instead of four: shows that it runs")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", **KEPT_MEMORY}  # of the workers, which inherit it
    with tempfile.TemporaryDirectory() as folder:
        text = table(Path(folder), given.small)
    print(text)
    if given.out:
        write_text(given.out, text + "\n")


def table(folder: Path, small: bool) -> str:
    recipe = {**RECIPE, "train": {**RECIPE["train"], "epochs": 1}} if small else RECIPE
    run = train({**recipe, "name": "explained"}, runs=folder / "runs", quiet=True)
    audiomnist.write_tiny(folder / "data")
    for spoken in [] if small else sorted((folder / "data" / "data").rglob("*_0.wav")):
        for k in range(1, REPETITIONS):
            shutil.copyfile(spoken, spoken.with_name(spoken.name.replace("_0.wav", f"_{k}.wav")))
    inputs = {
        **recipe,
        "corpus": {"use": "audiomnist", "root": str(folder / "data")},
        "feature": {"use": "spectrogram.AudioMnistSpectrogram"},
        "model": {"use": "alexnet.AlexNet"},
        "split": {"use": "kfold", "folds": 3, "fold": 0},
    }

    def folds(dask: str, out: Path) -> Any:
        return [row["accuracy"] for row in crossval(recipe, train=train, runs=out, dask=dask)["folds"]]

    def explained(dask: str, out: Path) -> Any:
        shutil.rmtree(run.folder / "explain", ignore_errors=True)  # else it would find all of it done
        held = explain_run(run, part="train", show=0, dask=dask)
        return [row["share"] for row in held["summary"] if "share" in row] or held["clips"]

    def features(dask: str, out: Path) -> Any:
        return write_features(inputs, None, out, dask=dask)["clips"]

    lines = [
        f"Local dask workers of one thread each, {os.cpu_count()} cores{', a small trial' if small else ''}.",
        "",
        "| what | 1 worker, s | 2 workers, s | times | same answer |",
        "|---|---:|---:|---:|---|",
    ]
    for name, work in (
        ("8 folds, trained and scored", folds),
        ("a training part, explained", explained),
        ("AudioMNIST's inputs", features),
    ):
        (one, first), (two, second) = (timed(work, n, folder / f"{work.__name__}-{n}") for n in (1, 2))
        same = "yes" if np.allclose(first, second) else "NO"
        lines.append(f"| {name} | {one:.1f} | {two:.1f} | {one / two:.2f} | {same} |")
    return "\n".join(lines)


def timed(work: Callable[[str, Path], Any], workers: int, out: Path) -> tuple[float, Any]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        start = time.perf_counter()
        found = work(cluster.scheduler_address, out)
        return time.perf_counter() - start, found


if __name__ == "__main__":
    main()
