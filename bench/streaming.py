"""Training from the HDF5 store against training from memory, and retrieval among 100,000 candidates in bounded memory.

    python bench/streaming.py [--out TABLE.md] [--trials 128] [--threads 2] [--workers 0] [--small]

(1) Maps of made-up trials in the published shape (127 sensors, 64 frequencies, 512 steps, float16 log-power) lie in a file as
`heschl.features.superlet_store` writes them, one chunk a trial. The published encoder takes training steps of the recipe
imagined-words (codebook loss, AdamW) on batches that are read from it by the training's own loader, and on the same batches
held in memory as float32. Rounds take turns; each figure is the best round. What the system's page cache holds is warm in both.
The processor time of loading alone (a batch read, checked and brought to float32) stands beside, best of its rounds.
(2) Scores of trials among N candidates of 256 numbers, ranks, intervals and permutations, block by block: the most resident memory
that the process adds while it works, beside what all scores at once would take. (3) The same through `heschl evaluate` and
`heschl decode` of a match run on simulated listeners, whose file of candidates holds made-up numbers: the largest resident
size of the process. ``--small`` shrinks all to see that they run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.files import write_text

SHAPE, SMALL = (127, 64, 512), (16, 16, 64)
BATCH, STEPS, ROUNDS = 8, 6, 3
WORDS = 88
TRIALS, DIM = 2000, 256


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the tables here as well")
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", choices=("training", "candidates", "verbs"))
    parser.add_argument(
        "--verb", nargs=2, help=argparse.SUPPRESS
    )  # a run's folder and a verb: the process that is measured
    parser.add_argument("--ranked", nargs=2, type=int, help=argparse.SUPPRESS)  # the process that is measured
    given = parser.parse_args(arguments)
    if given.ranked:
        print(json.dumps(ranked(*given.ranked)))
        return 0
    if given.verb:
        print(json.dumps(measured(*given.verb)))
        return 0
    lines: list[str] = []
    if given.only in (None, "training"):
        lines += training(SMALL if given.small else SHAPE, given.trials, given.threads, given.workers)
    if given.only in (None, "candidates"):
        lines += [*candidates((1000, 10_000) if given.small else (1000, 100_000)), ""]
    if given.only in (None, "verbs"):
        lines += verbs((1000, 10_000) if given.small else (1000, 100_000), 8 if given.small else 32)
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if given.out:
        write_text(given.out, text)
    return 0


# --- training ------------------------------------------------------------------------------------------------


def training(shape: tuple[int, int, int], trials: int, threads: int, workers: int) -> list[str]:
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        write_maps(Path(folder) / "sub-01.h5", (trials, *shape))
        seconds = rounds(Path(folder), shape, workers)
    lines = [
        f"Encoder on {' x '.join(map(str, shape))} maps, batches of {BATCH} from {trials} trials, {threads} thread(s), {workers} "
        f"worker(s), torch {torch.__version__}, {time.strftime('%Y-%m-%d')}.",
        "",
        "| batches | ms a step | of memory's speed | target |",
        "|---|---:|---:|---|",
        f"| in memory | {1000 * seconds['memory']:.0f} | 100 % | |",
        f"| from the store | {1000 * seconds['store']:.0f} | {100 * seconds['memory'] / seconds['store']:.0f} % | at least 90 % |",
        "",
        f"Loading a batch alone takes {1000 * seconds['loading']:.0f} ms of one processor.",
        "",
    ]
    return lines


def write_maps(path: Path, shape: tuple[int, ...]) -> None:
    import h5py

    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x_data", shape, np.float16, chunks=(1, *shape[1:]))
        for k in range(shape[0]):
            data[k] = random.standard_normal(shape[1:], np.float32)
        file.create_dataset(
            "y_data", data=[f"w{k % WORDS:02d}" for k in range(shape[0])], dtype=h5py.string_dtype()
        )
        file["positions"] = random.uniform(-0.09, 0.09, (shape[1], 3))
        file.attrs["rate"] = 256.0


def rounds(folder: Path, shape: tuple[int, int, int], workers: int) -> dict[str, float]:
    """Seconds a step, of the best round; and seconds of one processor that loading a batch takes."""
    import torch

    from heschl.corpora import imagined
    from heschl.corpora.sensors import sensors_of
    from heschl.features.brain_maps import BrainMaps
    from heschl.models.neural_encoder import NeuralEncoder
    from heschl.tasks.codebook import Codebook
    from heschl.training.data import loader
    from heschl.training.streamed import StreamedTrials
    from heschl.types import Batch

    corpus = imagined.read(folder)
    sensors = sensors_of(corpus)
    assert sensors is not None
    task: Any = Codebook(warm_up=0).bind(corpus)
    streamed = StreamedTrials(corpus.clips, sensors)
    targets = torch.tensor([task.target(clip) for clip in corpus.clips])
    patch = (8, 16) if shape == SHAPE else (4, 4)
    torch.manual_seed(0)
    model = NeuralEncoder(shape, len(task.classes), patch=patch).train()
    feature = BrainMaps(256.0, n_freqs=shape[1], stored=True)
    optimiser = torch.optim.AdamW(model.parameter_groups(), lr=1e-4)
    positions = torch.from_numpy(sensors.positions[0])

    class Batches(torch.utils.data.Dataset[Any]):
        def __getitem__(self, step: int) -> Any:
            rows = np.random.default_rng(step).permutation(len(streamed))[:BATCH]
            return (*streamed.read(rows), targets[torch.from_numpy(rows)])

    def work(x: Any, y: Any) -> None:
        out = model(feature(x), positions)
        optimiser.zero_grad()
        task.loss(out, Batch(x, y, None, ())).backward()
        optimiser.step()

    held, loading = [], np.inf
    for step in range(STEPS):
        began = time.process_time()
        x, lengths, y = Batches()[step]
        held.append((x.float(), lengths, y))
        loading = min(loading, time.process_time() - began)
    best = {"memory": np.inf, "store": np.inf}
    for _ in range(ROUNDS):
        for name in best:
            source = held if name == "memory" else loader(Batches(), range(STEPS + 1), workers, pinned=False)
            began = 0.0
            for k, (x, _, y) in enumerate(source):
                if name == "store" and k == 0:  # starting the workers is no step
                    began = time.perf_counter()
                    continue
                began = began or time.perf_counter()
                work(x, y)
            best[name] = min(best[name], (time.perf_counter() - began) / STEPS)
    return {**best, "loading": loading}


# --- candidates ----------------------------------------------------------------------------------------------


def candidates(counts: Sequence[int]) -> list[str]:
    lines = [
        f"Retrieval of {TRIALS:,} trials by {DIM} numbers, 200 permutations, scored 64 trials at a time.",
        "",
        "| candidates | top-10 | chance | all scores at once, MiB | embeddings, MiB | memory added while scoring, MiB |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for count in counts:
        command = [sys.executable, __file__, "--ranked", str(TRIALS), str(count)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        whole, held = TRIALS * count * 4 / 2**20, (TRIALS + count) * DIM * 4 / 2**20
        lines.append(
            f"| {count:,} | {100 * found['top_10']:.1f} % | {1000 / count:g} % | {whole:.0f} | {held:.0f} | {found['added'] / 2**20:.0f} |"
        )
    return lines


def ranked(trials: int, count: int) -> dict[str, float]:
    """Scores trials that resemble their candidate, and the growth of the process' largest resident size, bytes."""
    from heschl.tasks.retrieval import retrieval_scores, scorer

    random = np.random.default_rng(0)
    book = random.standard_normal((count, DIM), np.float32)
    truth = random.integers(count, size=trials)
    z = book[truth] + 4 * random.standard_normal((trials, DIM), np.float32)
    retrieval_scores(scorer(z[:64], book[:1000]), np.arange(64), 1000, permutations=10)  # what is loaded once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = retrieval_scores(scorer(z, book), truth, count, permutations=200)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "top_10": found["top_10"]["value"],
        "added": unit * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before),
    }


# --- through the verbs ---------------------------------------------------------------------------------------


def verbs(counts: Sequence[int], blocks: int) -> list[str]:
    from heschl.corpora import simulated_listener
    from heschl.training.fit import train

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "brains"
        simulated_listener.simulate(root, words=20, subjects=5, blocks=blocks, voices=1, response="evoked")
        heard = sorted({clip.labels["heard"] for clip in simulated_listener.read(root).clips})
        lines = [
            "",
            "| candidates | trials | verb | all scores of a decoder at once, MiB | embeddings, MiB | most resident memory, MiB |",
            "|---:|---:|---|---:|---:|---:|",
        ]
        for count in counts:
            names = [*heard, *(f"made up {k}" for k in range(count - len(heard)))]
            values = np.random.default_rng(0).standard_normal((count, 32, DIM // 32), np.float32)
            np.savez(Path(folder) / f"{count}.npz", ids=np.array(names), embeddings=values)
            run = train(
                verb_recipe(root, Path(folder) / f"{count}.npz"), runs=Path(folder) / "runs", quiet=True
            )
            for verb in ("evaluate", "decode"):
                command = [sys.executable, __file__, "--verb", str(run.folder), verb]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                lines.append(
                    f"| {count:,} | {found['trials']:,} | {verb} | {found['trials'] * count * 4 / 2**20:.0f} | "
                    f"{count * DIM * 4 / 2**20:.0f} | {found['most'] / 2**20:.0f} |"
                )
    return lines


def verb_recipe(root: Path, candidates: Path) -> dict[str, Any]:
    model = {"bands": DIM // 32, "steps": 32, "subjects": 5, "virtual": 8, "hidden": 8, "depth": 2}
    return {
        "format": 1,
        "name": "matched",
        "corpus": {"use": "simulated_listener", "root": str(root)},
        "split": {"use": "kfold", "group": "block", "folds": 8},
        "feature": {"use": "brain_wave.BrainWave"},
        "model": {"use": "segment_matcher.SegmentMatcher", **model},
        "task": {"use": "segments.Match", "candidates": str(candidates)},
        "train": {"steps": 2, "batch": 16, "monitor": "loss"},
        "machine": {"device": "cpu", "threads": 1},
    }


def measured(run: str, verb: str) -> dict[str, float]:
    """Scores a run's training part, its largest, and the largest resident size of this process, bytes."""
    import torch

    from heschl.steps.decode import decode
    from heschl.steps.evaluate import evaluate

    torch.set_num_threads(1)
    trials = (
        evaluate(run, "train")["clips"]
        if verb == "evaluate"
        else decode(run, "train", permutations=200)["trials"]
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return {"trials": trials, "most": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


if __name__ == "__main__":
    sys.exit(main())
