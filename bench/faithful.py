"""How true are explanations? A table over networks and methods, out of run folders, with what it says in plain words.

    python bench/faithful.py RUN [RUN ...] [--out TABLE.md] [--clips 40]

A run without explain/faithful/test is tested first (`heschl faithful RUN`), about a minute for a small network; of
runs that were also given to `heschl manipulate` and `heschl robust` those results stand beside. Every number comes
from the files in the run folders.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import heschl.models
from heschl.figures.faithful import CELLS, named
from heschl.files import read_csv, read_json, write_text
from heschl.run import open_run
from heschl.steps.faithful import faithful
from heschl.steps.faithful_files import CONTROLS
from heschl.tasks.intervals import FEW, mean_over
from heschl.tasks.scores import told

Held = dict[str, Any]
BRAINS = {"neural", "segment", "matcher", "spectral"}  # in the names of networks of brain recordings
INTRODUCTION = (
    "Are the explanations true? Cells of the network's input are taken out, most important first, and the probability of "
    "the network's own answer is watched; the mean fall over the whole curve (AOPC) is high where an explanation finds what "
    "matters. Clips are of test speakers. All methods explain the answer's logit, before the softmax. A good control is "
    "hard to beat: where speech is loud, it also matters. What is taken out is replaced by each row's mean over the clip "
    "(spectrograms) or by silence (waves), and a method that hides cells in the same way knows that; others do not."
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument(
        "--also",
        nargs="*",
        type=Path,
        default=[],
        metavar="RUN",
        help="runs of which only manipulate and robust are shown",
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found: dict[str, tuple[Path, Held]] = {}
    for run in given.runs:
        folder = run / "explain" / "faithful" / "test"
        if not (folder / "scores.json").exists():
            faithful(run, clips=given.clips)
        held = read_json(folder / "scores.json")
        found[held["run"].rsplit("-", 1)[0]] = (run, held)
    lines = _page(found)
    beside = {name: run for name, (run, _) in found.items()}
    for run in given.also:
        beside[read_json(run / "origin.json")["run"].rsplit("-", 1)[0]] = run
    text = "\n".join([*lines, *_beside(beside)]) + "\n"
    print(text)
    if given.out:
        write_text(given.out, text)
    return 0


def _page(found: dict[str, tuple[Path, Held]]) -> list[str]:
    lines = [
        INTRODUCTION,
        "",
        "Networks and the clips that were taken apart (test speakers, the network's own answer explained):",
        "",
    ]
    lines += [
        "| run | network | speech | clips | speakers | classes | replaced by |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    shown = set()
    for name, (run, held) in found.items():
        network = open_run(run).recipe.model.use
        shown.add(network.split(".")[0])
        speech = f"{held['corpus']}, {'synthetic' if held['synthetic'] else 'real'}"
        lines.append(
            f"| {name} | {network} | {speech} | {held['clips']} | {held['speakers'] or 'unknown'} | {held['classes']} | {held['baseline']} |"
        )
    lines += ["", _absent(shown)]
    few = [name for name, (_, held) in found.items() if held["speakers"] and 1 < held["speakers"] < FEW]
    if few:
        lines[-1] += f" Few speakers were heard of {', '.join(few)}: intervals are by Student's t there."
    for cells in CELLS:
        if any(row["cells"] == cells for _, held in found.values() for row in held["rows"]):
            lines += ["", *_table(found, cells)]
    lines += ["", *_trust(found), "", "### In plain words", ""]
    lines += [f"- {sentence}" for sentence in _words(found)]
    return lines


def _absent(shown: set[str]) -> str:
    """The networks that come along and are not in these tables."""
    every = {module.name for module in pkgutil.iter_modules(heschl.models.__path__)}
    brains = {name for name in every if BRAINS & set(name.split("_"))}
    parts = every - brains - shown - {"inputs", "timing", "timing_rules", "spatial"}
    missing = (
        f" Not here: {', '.join(sorted(parts))}." if parts else " Every network that hears speech is here."
    )
    return (
        f"Networks of brain recordings ({', '.join(sorted(brains))}) are asked by `heschl decode RUN --explain`, "
        f"not by this test.{missing}"
    )


def _table(found: dict[str, tuple[Path, Held]], cells: str) -> list[str]:
    lines = [
        f"### Taking out {CELLS[cells]}: mean fall of the answer's probability [95 % interval over speakers]",
        "",
        "In brackets how much more than in random order, and than loudest first. **Bold**: both intervals lie above zero.",
        "",
        "| in the order of | " + " | ".join(found) + " |",
        "|---|" + "---|" * len(found),
    ]
    methods = list(dict.fromkeys(row["method"] for _, held in found.values() for row in held["rows"]))
    for method in [*(m for m in methods if m not in CONTROLS), *CONTROLS]:
        shown = []
        for _, held in found.values():
            row = _row(held, cells, method)
            if row is None:
                shown.append("")
                continue
            text = told(row["deletion_aopc"], percent=False)
            if method not in CONTROLS:
                over = [row[f"deletion_over_{control}"] for control in CONTROLS]
                text += " (" + ", ".join(f"{one['value']:+.2f}" for one in over) + ")"
                text = f"**{text}**" if all(_above(one) for one in over) else text
            shown.append(text)
        if any(shown):
            lines.append(f"| {named(method)} | " + " | ".join(shown) + " |")
    return lines


def _trust(found: dict[str, tuple[Path, Held]]) -> list[str]:
    lines = [
        "### With random weights, and how spread out",
        "",
        "Rank correlation of an explanation with that of the same network with random weights (0: it shows what was "
        "learned; 1: it shows the clip), and sparseness (Gini index; 0 spread evenly, 1 one value alone).",
        "",
        "| method | " + " | ".join(found) + " |",
        "|---|" + "---|" * len(found),
    ]
    methods = list(dict.fromkeys(row["method"] for _, held in found.values() for row in held["trust"]))
    for method in methods:
        shown = []
        for _, held in found.values():
            own = next((row for row in held["trust"] if row["method"] == method), None)
            alike = None if own is None else own["randomised"]["value"]
            shown.append(
                "" if own is None or alike is None else f"{alike:.2f}, {own['sparseness']['value']:.2f}"
            )
        lines.append(f"| {named(method)} | " + " | ".join(shown) + " |")
    return lines


def _words(found: dict[str, tuple[Path, Held]]) -> list[str]:
    """What the tables say, computed from the clips: wins over both controls, and where LRP loses to another method."""
    wins: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    lost: dict[str, dict[str, list[tuple[str, float]]]] = defaultdict(lambda: defaultdict(list))
    won = 0
    for name, (run, held) in found.items():
        clips = read_csv(run / "explain" / "faithful" / "test" / "clips.csv")
        for cells in dict.fromkeys(row["cells"] for row in held["rows"]):
            own = [row for row in held["rows"] if row["cells"] == cells and not row["control"]]
            for row in own:
                if row[f"deletion_over_{CONTROLS[0]}"]["low"] is None:
                    continue  # one speaker: no interval, and no claim
                wins[row["method"]][1] += 1
                wins[row["method"]][0] += all(_above(row[f"deletion_over_{one}"]) for one in CONTROLS)
            ours = [row for row in own if row["method"].startswith("lrp")]
            if not ours or len(ours) == len(own):
                continue
            best = max(ours, key=lambda row: row["deletion_aopc"]["value"])
            for row in own:
                if row in ours:
                    continue
                apart = _paired(clips, cells, row["method"], best["method"])
                if _above(apart):
                    lost[name][named(row["method"])].append((CELLS[cells], float(apart["value"])))
                elif apart["high"] is not None and apart["high"] < 0:
                    won += 1
    lines = [
        "Finds what matters better than both chance and loudness (interval over speakers above zero), of all networks and "
        "kinds of cells where it was tried: "
        + ", ".join(
            f"{named(method)} {n} of {of}"
            for method, (n, of) in sorted(wins.items(), key=lambda item: -item[1][0] / item[1][1])
        )
        + "."
    ]
    alone = [name for name, (_, held) in found.items() if held["speakers"] == 1]
    if alone:
        lines.append(
            f"Of {', '.join(alone)} one speaker was heard: no interval, and not counted in these sentences."
        )
    times = sum(len(cells) for methods in lost.values() for cells in methods.values())
    lines.append(
        f"Against LRP's better preset (chosen after the fact, which favours LRP), another method is better in {times} cases, "
        f"and worse in {won}; elsewhere the interval over speakers holds zero."
    )
    lines.append(
        "Where LRP loses, by how much of the probability's fall"
        + (":" if lost else ": nowhere in this table.")
    )
    for name, methods in lost.items():
        each = []
        for method, cells in methods.items():
            least, most = (f"{end(value for _, value in cells):.2f}" for end in (min, max))
            by = least if least == most else f"{least} to {most}"
            each.append(f"{method} by {by} ({', '.join(cell for cell, _ in cells)})")
        lines.append(f"{name}: to {'; to '.join(each)}.")
    return lines


def _beside(runs: dict[str, Path]) -> list[str]:
    lines: list[str] = []
    for name, run in runs.items():
        path = run / "explain" / "robust" / "test" / "scores.json"
        if path.exists():
            rows = {row["words"]: row for row in read_json(path)["rows"]}
            few = [
                w for w in rows if w == "as recorded" or w.endswith(" 0 dB") or "rings" in w or "4000" in w
            ]
            lines += [
                "",
                f"### {name}, disturbed",
                "",
                "| heard | right | explanation as in quiet (rank correlation) |",
            ]
            lines += ["|---|---|---|"]
            lines += [
                f"| {w} | {told(rows[w]['accuracy'])} | {told(rows[w]['stability'], percent=False)} |"
                for w in few
            ]
        path = run / "explain" / "manipulate" / "test" / "scores.json"
        if path.exists():
            lines += ["", *_manipulated(name, read_json(path))]
    return lines


def _manipulated(name: str, held: Held) -> list[str]:
    of = f"{len(held['runs'])} folds, mean ± standard deviation" if len(held["runs"]) > 1 else "one run"
    lines = [f"### {name}, manipulated ({of}; {held['clips']} clips)", "", held["note"], ""]
    lines += ["| share of samples zeroed | " + " | ".join(f"{100 * f:g} %" for f in held["fractions"]) + " |"]
    lines += ["|---|" + "---:|" * len(held["fractions"])]
    for way, cells in held["zeroing"].items():
        words = {"random": "by chance", "amplitude": "loudest first", "relevance": "most relevant first"}[way]
        lines.append(f"| {words} | " + " | ".join(_share(cell) for cell in cells) + " |")
    k = min(range(len(held["fractions"])), key=lambda k: abs(held["fractions"][k] - 0.1))
    at = {way: 100 * cells[k]["value"] for way, cells in held["zeroing"].items()}
    lines += [
        "",
        f"With {100 * held['fractions'][k]:g} % zeroed, taking the most relevant costs {at['random'] - at['relevance']:+.0f} "
        f"points against chance and {at['amplitude'] - at['relevance']:+.0f} against the loudest "
        "(above zero: relevance harms more).",
    ]
    for row in held["scaling"]:
        lines += [
            "",
            f"{row['voices'].capitalize()} voices with all frequencies times {row['factor']:g}: {_share(row['accuracy'])} "
            f"right instead of {_share(row['plain'])} ({row['clips']} clips).",
        ]
    return lines


def _share(cell: Held) -> str:
    if cell.get("sd") is not None:
        return f"{100 * cell['value']:.0f} ± {100 * cell['sd']:.0f} %"
    return told(cell)


def _paired(clips: list[dict[str, str]], cells: str, one: str, other: str) -> Held:
    by = {
        method: {row["id"]: row for row in clips if (row["cells"], row["method"]) == (cells, method)}
        for method in (one, other)
    }
    values = [float(by[one][k]["deletion_aopc"]) - float(by[other][k]["deletion_aopc"]) for k in by[one]]
    speakers = [by[one][k]["speaker"] for k in by[one]]
    return mean_over(values, speakers if all(speakers) else None)


def _row(held: Held, cells: str, method: str) -> Held | None:
    return next((row for row in held["rows"] if (row["cells"], row["method"]) == (cells, method)), None)


def _above(score: Held) -> bool:
    return score["low"] is not None and score["low"] > 0


if __name__ == "__main__":
    sys.exit(main())
