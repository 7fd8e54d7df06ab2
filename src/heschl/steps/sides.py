"""One side of a comparison: what runs of one recipe answered to each clip; and two sides, paired by clip."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from heschl.files import read_csv
from heschl.run import Run, open_run
from heschl.steps.evaluate import PARTS, scores_of
from heschl.tasks.intervals import weighed
from heschl.tasks.scores import mean_and_sd
from heschl.types import HeschlError

DRAWS = 2000


@dataclass
class Answered:
    """What the runs of a side made of one clip: for each run whether it was right (of frames: which share of them),
    and what it answered; weight: 1, or the number of frames."""

    truth: str
    speaker: str
    weight: float
    right: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


@dataclass
class Side:
    """name: the recipe's. kind: "clips" or "frames". scores: (seed, fold, accuracy) of each run."""

    name: str
    runs: list[Run]
    kind: str
    labels: tuple[str, ...]
    synthetic: bool
    clips: dict[str, Answered]
    scores: list[tuple[int, int, float]]

    def right(self, names: Sequence[str]) -> np.ndarray:
        return np.array([np.mean(self.clips[name].right) for name in names])

    def weight(self, names: Sequence[str]) -> np.ndarray:
        return np.array([self.clips[name].weight for name in names])


def find_runs(given: Run | Path | str | Sequence[Run | Path | str]) -> list[Run]:
    """Runs that are named, or that lie in a folder that is named.

    Raises
    ------
    HeschlError: there are none, or they are of several recipes.
    """
    if isinstance(given, Sequence) and not isinstance(given, str):
        runs = [run for one in given for run in find_runs(one)]
    elif isinstance(given, Run) or (Path(given) / "recipe.yaml").is_file() or not Path(given).is_dir():
        runs = [open_run(given)]
    else:
        runs = [open_run(path.parent) for path in sorted(Path(given).glob("*/recipe.yaml"))]
    runs = list({Path(str(run)).resolve(): run for run in runs}.values())
    if not runs:
        raise HeschlError(
            f"{given} holds no runs: give the folder that `heschl train` named, or one that holds some"
        )
    names = sorted({run.recipe.name for run in runs})
    if len(names) > 1:
        raise HeschlError(f"one side holds runs of several recipes ({', '.join(names)}): name those of one")
    return runs


def side(runs: Sequence[Run], part: str) -> Side:
    """The answers of all runs of one recipe; a run that is not scored on the part yet is scored first."""
    if part not in PARTS:
        raise HeschlError(f"there is no part '{part}': choose {', '.join(PARTS[:-1])} or {PARTS[-1]}")
    clips: dict[str, Answered] = {}
    tests: dict[frozenset[str], int] = {}
    scores: list[tuple[int, int, float]] = []
    held: dict[str, Any] = {}
    for run in runs:
        folder = run.folder / "evaluate" / part
        held = scores_of(run, part)
        of_frames = held["kind"] == "frames"
        rows = read_csv(folder / ("per_clip.csv" if of_frames else "predictions.csv"))
        rows = [row for row in rows if not of_frames or row["accuracy"] != ""]
        total = got = 0.0
        for row in rows:
            right, weight = (
                (float(row["accuracy"]), float(row["frames"])) if of_frames else (float(row["right"]), 1.0)
            )
            who = row["speaker"] or row["id"]
            answered = clips.setdefault(row["id"], Answered("" if of_frames else row["said"], who, weight))
            answered.right.append(right)
            answered.answers.append("" if of_frames else row["answered"])
            total, got = total + weight, got + right * weight
        fold = tests.setdefault(frozenset(row["id"] for row in rows), len(tests))
        scores.append((run.recipe.seed, fold, got / total))
    return Side(
        runs[0].recipe.name, list(runs), held["kind"], tuple(held["labels"]), held["synthetic"], clips, scores
    )


def spread(own: Side) -> dict[str, Any]:
    """How much accuracy varies over seeds (each over all folds) and over folds (each the mean of its seeds), apart.

    Where every fold has a seed of its own, the two cannot be told apart, and ``mixed`` says so.
    """
    seeds: dict[int, list[float]] = defaultdict(list)
    folds: dict[int, list[float]] = defaultdict(list)
    for seed, fold, accuracy in own.scores:
        seeds[seed].append(accuracy)
        folds[fold].append(accuracy)
    mixed = (
        len(seeds) > 1
        and len(folds) > 1
        and all(n == 1 for n in Counter(f for _, f, _ in own.scores).values())
    )
    return {
        "n_seeds": len(seeds),
        "n_folds": len(folds),
        "sd_over_seeds": None if mixed else mean_and_sd([float(np.mean(v)) for v in seeds.values()])[1],
        "sd_over_folds": None if mixed else mean_and_sd([float(np.mean(v)) for v in folds.values()])[1],
        "sd_over_both": mean_and_sd([accuracy for _, _, accuracy in own.scores])[1] if mixed else None,
        "mixed": mixed,
    }


def paired(a: Side, b: Side, names: Sequence[str], *, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """The second side less the first on the same clips.

    Returns
    -------
    difference: {"value", "low", "high"} of accuracy, the interval over speakers (`weighed`), who are drawn, or
    left out, with all of their clips and both sides' answers; balanced_difference likewise, of the mean over classes (None for frames);
    n_speakers; agreement: shares of clips that both, one, the other or neither got right (a clip that half of the runs
    got right counts half), and same_answer, the share of clips on which the runs of the two sides say the same.
    """
    right = np.array([a.right(names), b.right(names)])
    weight = a.weight(names)
    speakers, whose = np.unique([a.clips[name].speaker for name in names], return_inverse=True)
    truth, classes = np.unique([a.clips[name].truth for name in names], return_inverse=True)
    gain = weight * (right[1] - right[0])

    def plain(times: np.ndarray) -> float:
        return float(times @ gain / (times @ weight))

    def each(times: np.ndarray) -> float:
        total = np.bincount(classes, times * weight, len(truth))
        return float((np.bincount(classes, times * gain, len(truth))[total > 0] / total[total > 0]).mean())

    how: dict[str, Any] = {"draws": draws, "seed": seed, "ends": (-1.0, 1.0)}
    share = weight / weight.sum()
    held: dict[str, Any] = {
        "n_speakers": len(speakers),
        "difference": weighed(plain, whose, **how),
        "balanced_difference": weighed(each, whose, **how) if a.kind == "clips" else None,
        "agreement": {
            "both": float(share @ (right[0] * right[1])),
            "only_one": float(share @ (right[0] * (1 - right[1]))),
            "only_other": float(share @ ((1 - right[0]) * right[1])),
            "neither": float(share @ ((1 - right[0]) * (1 - right[1]))),
            "same_answer": _same(a, b, names) if a.kind == "clips" else None,
        },
    }
    rows = []
    for k, speaker in enumerate(speakers):
        own = [float(np.average(one[whose == k], weights=weight[whose == k])) for one in right]
        rows.append(
            {
                "speaker": str(speaker),
                "clips": int((whose == k).sum()),
                "one": own[0],
                "other": own[1],
                "difference": own[1] - own[0],
            }
        )
    held["speakers"] = sorted(rows, key=lambda row: (row["difference"], row["speaker"]))
    return held


def _same(a: Side, b: Side, names: Sequence[str]) -> float:
    """Over clips, the mean share of pairs of a run of one side and a run of the other that say the same."""
    return float(
        np.mean(
            [
                np.mean([x == y for x in a.clips[name].answers for y in b.clips[name].answers])
                for name in names
            ]
        )
    )
