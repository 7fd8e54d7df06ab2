"""Many variants of one recipe: train each, here or on a cluster, and say which the validation part likes best.

The test part is never looked at: whoever chooses by it has no honest score left. The best validation score of many is
itself too good to be true, the more so the more were tried; score the chosen run with `heschl evaluate`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heschl.files import write_csv, write_json
from heschl.recipe import load
from heschl.recipe.plain import parse_argument
from heschl.run import Run
from heschl.steps.evaluate import scores_of
from heschl.steps.workers import backend
from heschl.types import HeschlError

Train = Callable[..., Run]


@dataclass(frozen=True)
class Between:
    """Any number from low to high; even on a logarithmic scale where both are above zero, whole where both are."""

    low: float
    high: float

    def draw(self, generator: np.random.Generator) -> float:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return int(generator.integers(self.low, self.high + 1))
        if self.low > 0:
            return float(f"{np.exp(generator.uniform(np.log(self.low), np.log(self.high))):.4g}")
        return float(f"{generator.uniform(self.low, self.high):.4g}")


Choices = Mapping[str, Sequence[Any] | Between]


def parse_choices(texts: Sequence[str]) -> dict[str, list[Any] | Between]:
    """`["model.width=16,32", "train.optimiser.lr=1e-4..1e-2"]` -> dotted keys with the values to try.

    Values are YAML, parted by commas that stand in no bracket; ``a..b`` is a range to draw from.

    Raises
    ------
    HeschlError: a text is no key=values, a key is named twice, or a range is not one.
    """
    found: dict[str, list[Any] | Between] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not key or not values:
            raise HeschlError(
                f"'{text}' names nothing to try: write key=a,b,c, for example model.width=16,32"
            )
        if key in found:
            raise HeschlError(f"{key} is named twice: give all of its values at once, {key}=a,b,c")
        where = f"the values of {key}"
        parts = [parse_argument(part, where) for part in _parted(values)]
        low, dots, high = values.partition("..")
        if dots and len(parts) == 1 and not {"/", "\\"} & set(values):  # nor a folder, ../data
            ends = [parse_argument(end, where) for end in (low, high)]
            if (
                not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
                or not ends[0] < ends[1]
            ):
                raise HeschlError(
                    f"{key}={values} is no range: write two numbers in order, for example 1e-4..1e-2"
                )
            found[key] = Between(*ends)
        else:
            found[key] = parts
    return found


def _parted(text: str) -> list[str]:
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "[{(") - (sign in "]})")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def variants(choices: Choices, random: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """What to override in each variant: all combinations, or so many different ones at random.

    Raises
    ------
    HeschlError: a range without ``random``, or nothing to try.
    """
    ranges = [key for key, values in choices.items() if isinstance(values, Between)]
    if not choices:
        raise HeschlError("there is nothing to try: write key=a,b,c, for example model.width=16,32")
    if random is None and ranges:
        raise HeschlError(
            f"{ranges[0]} is a range, of which there is no grid: say how many to draw, --random 20"
        )
    if random is not None and random < 1:
        raise HeschlError(f"--random is {random}: draw one variant at least")
    names = list(choices)
    if not ranges:
        grid = [dict(zip(names, one, strict=True)) for one in itertools.product(*(choices[n] for n in names))]  # type: ignore[arg-type]
        grid = list({_key(one): one for one in grid}.values())
        if random is None or random >= len(grid):
            return grid
        chosen = np.random.default_rng(seed).choice(len(grid), random, replace=False)
        return [grid[int(k)] for k in chosen]
    generator = np.random.default_rng(seed)
    found: dict[str, dict[str, Any]] = {}
    for _ in range(100 * (random or 0)):
        one = {
            key: values.draw(generator)
            if isinstance(values, Between)
            else values[int(generator.integers(len(values)))]
            for key, values in choices.items()
        }
        found.setdefault(_key(one), one)
        if len(found) == random:
            break
    return list(found.values())


def _key(one: Mapping[str, Any]) -> str:
    return json.dumps(one, sort_keys=True, default=str)


def sweep(
    recipe: str | Path | Mapping[str, Any],
    choices: Choices,
    overrides: Mapping[str, Any] | None = None,
    *,
    train: Train,
    runs: Path | str = "runs",
    random: int | None = None,
    seed: int = 0,
    workers: int = 1,
    dask: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Trains every variant and scores it on its validation part; finished ones are kept, so the same command goes on.

    Parameters
    ----------
    recipe: as for training. choices: dotted key -> values to try, or a `Between` to draw from.
    train: `heschl.training.fit.train`.
    runs: folder of the runs; the result is written to RUNS/sweep-NAME/ (results.csv, sweep.json and a picture) after
        each variant, so that a killed sweep leaves what it has found.
    random: so many variants at random, by ``seed``; None for all combinations.
    workers: processes on this machine. dask: address of a dask scheduler, which then does the work.
    progress: told after each variant how many are done, of how many.

    Returns
    -------
    what sweep.json holds: ``variants``, best first, each with what was set, its run, its validation score with the
    interval over speakers, or its error.

    Raises
    ------
    HeschlError: a variant is no recipe (before any is trained), the recipe keeps nobody for validation, every variant
        fails, or a worker is lost.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    tried = variants(choices, random, seed)
    checked = [load(recipe, {**(overrides or {}), **one}) for one in tried]
    folder = Path(runs) / f"sweep-{checked[0].name}"
    source = recipe if isinstance(recipe, Mapping) else str(recipe)
    quiet = bool(dask) or workers > 1
    where = str(Path(runs).absolute())
    jobs = (
        joblib.delayed(one_variant)(train, source, dict(overrides or {}), one, where, quiet) for one in tried
    )
    rows: list[dict[str, Any]] = []
    held: dict[str, Any] = {}
    try:
        with backend(workers, dask, len(tried)) as parallel:
            for row in parallel(jobs):
                rows.append(row)
                held = _written(folder, checked[0].name, list(choices), rows, len(tried))
                if progress:
                    progress(len(rows), len(tried))
    except TerminatedWorkerError:
        raise HeschlError(
            f"a process was killed after {len(rows)} of {len(tried)} variants (too little memory?): the finished ones "
            "are kept, run the same command again, with fewer --workers"
        ) from None
    if all(row["error"] for row in rows):
        raise HeschlError(f"every variant failed; the first: {held['variants'][0]['error']}")
    _draw(folder, held)
    return held


def one_variant(
    train: Train,
    recipe: str | Mapping[str, Any],
    overrides: Mapping[str, Any],
    one: Mapping[str, Any],
    runs: str,
    quiet: bool,
) -> dict[str, Any]:
    """Trains one variant and scores its validation part, in whatever process; an error becomes a row."""
    row: dict[str, Any] = {"set": dict(one), "run": "", "error": ""}
    try:
        run = train(recipe, {**overrides, **one}, runs=runs, quiet=quiet)
        held = scores_of(run, "validation")
    except HeschlError as error:
        return {**row, "error": str(error)}
    main = held["scores"] if held["kind"] == "clips" else held["scores"]["all"]
    facts = {key: main[key] for key in ("n", "n_groups", "group", "chance", "interval_over")}
    scores = {name: main[name] for name in ("balanced_accuracy", "accuracy")}
    facts |= {"synthetic": held["synthetic"], "brains": held.get("brains", False)}
    return {**row, "run": str(run.folder), **facts, **scores}


def _written(
    folder: Path, name: str, keys: Sequence[str], rows: Sequence[dict[str, Any]], of: int
) -> dict[str, Any]:
    """Writes what is known so far, best first; variants that failed come last."""
    ranked = sorted(
        rows,
        key=lambda row: (
            bool(row["error"]),
            -(row["balanced_accuracy"]["value"] or 0.0) if not row["error"] else 0,
            _key(row["set"]),
        ),
    )
    best = None if ranked[0]["error"] else ranked[0]
    held: dict[str, Any] = {
        "name": name,
        "keys": list(keys),
        "part": "validation",
        "score": "balanced_accuracy",
        "done": len(rows),
        "of": of,
        "failed": sum(1 for row in rows if row["error"]),
        "best": best,
        "as_good": _as_good(ranked, best),
        "variants": ranked,
        "folder": str(folder),
    }
    columns = [*keys, "balanced_accuracy", "low", "high", "accuracy", "speakers", "run", "error"]
    table = []
    for row in ranked:
        line = {key: row["set"][key] for key in keys}
        if not row["error"]:
            own = row["balanced_accuracy"]
            line |= {"balanced_accuracy": own["value"], "low": own["low"], "high": own["high"]}
            line |= {"accuracy": row["accuracy"]["value"], "speakers": row["n_groups"], "run": row["run"]}
        table.append(
            {column: line.get(column, row.get("error") if column == "error" else "") for column in columns}
        )
    write_csv(folder / "results.csv", table, columns)
    write_json(folder / "sweep.json", held)
    return held


def _as_good(ranked: Sequence[dict[str, Any]], best: dict[str, Any] | None) -> int:
    """Other variants whose score lies within the interval of the best one's."""
    if best is None or best["balanced_accuracy"]["low"] is None:
        return 0
    low = best["balanced_accuracy"]["low"]
    return sum(
        1 for row in ranked[1:] if not row["error"] and (row["balanced_accuracy"]["value"] or 0.0) >= low
    )


def _draw(folder: Path, held: dict[str, Any]) -> None:
    from heschl.figures.style import save
    from heschl.figures.sweep import sweep_figure

    save(sweep_figure(held), folder / "sweep")
