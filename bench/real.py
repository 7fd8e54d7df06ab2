"""Trains and scores networks on five sets of real recordings, speakers apart; README's table comes from here.

    python bench/real.py DATA --sets words digits --seeds 0 1 2

DATA holds the five sets as bench/real.yaml names them. Each network is scored by its recipe's folds of speakers, and
each fold's answers are pooled, so that every speaker is judged once by a network that never heard that speaker.
Finished folds are kept in --runs, and the results in bench/results/real.json: the same command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from heschl.files import read_json, write_json
from heschl.recipe.plain import read_yaml
from heschl.steps.crossval import crossval, one_fold
from heschl.tasks.scores import mean_and_sd
from heschl.training.fit import train

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--networks", nargs="*", help="only these recipes")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/real"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "real.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for name, one in read_yaml(HERE / "real.yaml").items():
        for network, more in one["networks"].items():
            if (given.sets and name not in given.sets) or (given.networks and network not in given.networks):
                continue
            for seed in [seed for seed in given.seeds if seed < more.get("seeds", 99)]:
                row = measure(
                    given, name, network, {**one["all"], **more.get("set", {})}, seed, more.get("folds")
                )
                keep(given.out, row)
                print(
                    f"{name:9} {network:18} seed {seed}  {row['pooled']}  {row['minutes']:.1f} min",
                    flush=True,
                )


def measure(
    given: Any, name: str, network: str, keys: dict[str, Any], seed: int, some: list[int] | None
) -> dict[str, Any]:
    """All folds of one recipe with one seed, or only ``some`` where all would take too long."""
    overrides = {
        key: str(given.data / value) if key.endswith(".root") else value for key, value in keys.items()
    }
    overrides |= {"seed": seed, "machine.threads": given.threads}
    runs = given.runs / name / f"seed-{seed}"
    if some is None:
        result = crossval(network, overrides, train=train, runs=runs)
    else:
        folds = [
            one_fold(train, network, {**overrides, "split.fold": k}, str(runs), k, False, False) for k in some
        ]
        result = {"folds": folds, "n_folds": len(folds), "chance": folds[0]["chance"]}
        for score in [key for key in folds[0] if key.startswith(("accuracy", "balanced"))]:
            value, sd = mean_and_sd([row[score] for row in folds])
            result[score] = {"mean": value, "sd": sd}
    origins = [read_json(Path(row["run"]) / "origin.json") for row in result["folds"]]
    return {
        "set": name,
        "network": network,
        "seed": seed,
        "minutes": round(sum(told["seconds"] for told in origins) / 60, 1),  # of training, all folds
        "threads": given.threads,
        "folds": result["n_folds"] if some is None else f"only {some}",
        "parameters": origins[0]["parameters"],
        "chance": result["chance"],
        "pooled": "pooled" in result,
        "scores": result["pooled"] if "pooled" in result else means(result),
        "changed": {key: value for key, value in keys.items() if not key.endswith((".root", "corpus"))},
    }


def means(result: dict[str, Any]) -> dict[str, Any]:
    """Means over folds, of networks over frames, whose answers are not pooled; the speakers of all folds."""
    names = [name for name, value in result.items() if isinstance(value, dict) and "mean" in value]
    found = {name: {"value": result[name]["mean"], "sd": result[name]["sd"]} for name in names}
    if len(result["folds"]) == 1:  # then the interval over its speakers is known
        held = read_json(Path(result["folds"][0]["run"]) / "evaluate" / "test" / "scores.json")["scores"]
        for name, value in found.items():
            kind = "without_silence" if name.endswith("_without_silence") else "all"
            of = held.get(kind, held)  # of clips there is one kind
            value |= of[name.removesuffix("_without_silence")]
    return {**found, "n_groups": sum(row["n_groups"] for row in result["folds"])}


def keep(path: Path, row: dict[str, Any]) -> None:
    """Puts a row into the results, in place of an older one of the same set, network and seed."""
    key = ("set", "network", "seed")
    rows = read_json(path) if path.exists() else []
    rows = [old for old in rows if [old[k] for k in key] != [row[k] for k in key]]
    write_json(path, sorted([*rows, row], key=lambda r: [str(r[k]) for k in key]))


if __name__ == "__main__":
    main()
