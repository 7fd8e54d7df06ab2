"""How long it takes to lay a network in a brain: a clip cold and with the cache, 400 clips, 1,000 clips as one product.

    python bench/place.py [--out TABLE.md]

The network is the reference CRNN after one epoch on the embedded words. Each `heschl place` is a process of its own,
imports and all, unless a session is said; cold begins with an empty cache, so that the head, its lead fields and the drawn views are made anew.
The product is checked against clips projected one by one. A minute or two on two cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.brain.forward import gain_product, leadfield
from heschl.brain.place import clip_courses, topographies
from heschl.files import write_text
from heschl.steps.place import map_of, place_run
from heschl.training.fit import train
from heschl.types import Activity

CLIPS, STEPS = 1000, 100
BLOCK = 20  # clips whose 5,124 sources are in memory at once


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here as well")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        run = train("crnn-small", {"train.epochs": 1}, runs=Path(folder) / "runs", quiet=True)
        clip = str(run.corpus().clips[0].signal)
        cache = {"HESCHL_CACHE": f"{folder}/cache"}
        rows = [
            ("one recording to files and pictures, empty cache", *command(run.folder, cache, "--file", clip)),
            ("the same with the cache", *command(run.folder, cache, "--file", clip)),
            ("the same in a session that has placed one before", *session(run.folder, cache, clip)),
            ("400 clips", *command(run.folder, cache, "--part", "train", "--clips", "400")),
            ("the same, EEG and MEG", *command(run.folder, cache, "--part", "train", "--clips", "400", "--sensors", "biosemi64", "--sensors", "neuromag")),
        ]  # fmt: skip
        (through_sources, product), error, peak = thousand()
    rows += [
        (
            f"{CLIPS:,} clips x 5,124 sources x {STEPS} steps to 306 channels, source by source",
            *through_sources,
        ),
        ("the same as one product of areas' gains and courses", *product),
    ]
    lines = [
        f"`heschl place` of the CRNN on {os.cpu_count()} cores, imports and all. The product differs from the sources' way by "
        f"{error:.0e} of the largest value; the process held {peak:.0f} MB at most.",
        "",
        "| what | wall, s | processor, s |",
        "|---|---:|---:|",
        *(f"| {name} | {wall:.1f} | {cpu:.1f} |" for name, wall, cpu in rows),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        write_text(given.out, text)
    return 0


def command(run: Path, cache: dict[str, str], *words: str) -> tuple[float, float]:
    """Wall and processor seconds of one `heschl place`."""
    before, begun = _children(), time.perf_counter()
    program = [sys.executable, "-m", "heschl.cli", "place", str(run), "--json", *words]
    subprocess.run(program, env={**os.environ, **cache}, check=True, capture_output=True)
    return time.perf_counter() - begun, _children() - before


def session(run: Path, cache: dict[str, str], clip: str) -> tuple[float, float]:
    """Wall and processor seconds of one placement without any import: from the clip to files and pictures."""
    os.environ |= cache
    place_run(run, [Path(clip)])
    return _timed(lambda: place_run(run, [Path(clip)]))


def thousand() -> tuple[list[tuple[float, float]], float, float]:
    """Seconds of both ways, how far they differ, and the most memory held, MB."""
    generator = np.random.default_rng(0)
    import torch

    times = torch.arange(STEPS, dtype=torch.float64) / STEPS
    activity = {
        area: Activity(area, torch.from_numpy(generator.random((CLIPS, STEPS, 8))), times)
        for area in ("STG", "TP", "IFG")
    }
    found = clip_courses(activity)
    gain, gains = leadfield("neuromag"), topographies(found.patches, "neuromag")
    seen = np.empty((CLIPS, len(gain), STEPS))

    def through_sources() -> None:
        for first in range(0, CLIPS, BLOCK):
            maps = np.concatenate([map_of(found, k).values for k in range(first, first + BLOCK)], axis=1)
            seen[first : first + BLOCK] = (
                gain_product(gain, maps).reshape(len(gain), BLOCK, STEPS).swapaxes(0, 1)
            )

    slow = _timed(through_sources)
    there: list[Any] = []
    quick = _timed(lambda: there.append(gains @ found.values))
    error = float(np.abs(there[0] - seen).max() / np.abs(seen).max())
    return [slow, quick], error, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    raise SystemExit(main())
