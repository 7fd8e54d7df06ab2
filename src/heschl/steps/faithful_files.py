"""What `heschl.steps.faithful` gathers, as numbers with intervals, and as files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.files import write_csv
from heschl.tasks.intervals import mean_over
from heschl.types import Skipped

CONTROLS = ("random", "energy")


class Found:
    """What is gathered over the batches: lists that grow with the clips."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.fractions: list[float] = []
        # (cells, method) -> (clip, 2, point): deletion and insertion
        self.curves: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
        self.which: dict[tuple[str, str], list[str]] = defaultdict(list)  # the clips of each
        self.trust: dict[tuple[str, str], list[float]] = defaultdict(list)  # (method, number)
        self.pairs: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self.random_layers: dict[str, list[float]] = defaultdict(list)

    def forget(self, method: str) -> None:
        """All that was gathered of a method."""
        gathered: tuple[dict[Any, Any], ...] = (self.curves, self.which, self.trust, self.pairs)
        for table in gathered:
            for key in [key for key in table if method in key]:
                del table[key]
        self.random_layers.pop(method, None)


# --- numbers ---------------------------------------------------------------------------------------------------


def summed(found: Found, groups: dict[str, str] | None) -> dict[str, Any]:
    shares = np.array(found.fractions)
    rows: list[dict[str, Any]] = []
    for (cells, key), curves in found.curves.items():
        numbers = _numbers(np.stack(curves), shares)
        whose = _whose(found.which[cells, key], groups)
        row: dict[str, Any] = {"cells": cells, "method": key, "control": key in CONTROLS}
        for name, each in numbers.items():
            row[name] = mean_over(each, whose, ends=(0.0 if name.endswith("area") else -1.0, 1.0))
        for control in CONTROLS:
            if key not in CONTROLS:
                other = _numbers(np.stack(found.curves[cells, control]), shares)
                row[f"deletion_over_{control}"] = mean_over(
                    numbers["deletion_aopc"] - other["deletion_aopc"], whose
                )
                row[f"insertion_over_{control}"] = mean_over(
                    numbers["insertion_area"] - other["insertion_area"], whose
                )
        row["curve"] = {
            side: [float(v) for v in np.stack(curves)[:, k].mean(0)]
            for k, side in enumerate(("deletion", "insertion"))
        }
        rows.append(row)
    whose = _whose(found.ids, groups)
    methods = list(dict.fromkeys(key for key, _ in found.trust))
    trust = []
    for key in methods:
        names = [name for method, name in found.trust if method == key]
        line: dict[str, Any] = {"method": key}
        for name in names:
            values = found.trust[key, name]
            line[name] = mean_over(values, whose if len(values) == len(found.ids) else None, ends=(0.0, 1.0))
        alike = np.array(found.random_layers[key], float)
        line["randomised"] = {
            "value": float(np.nanmean(alike)) if np.isfinite(alike).any() else None,
            "n": int(np.isfinite(alike).sum()),
        }
        trust.append(line)
    pairs = [
        {
            "method": one,
            "other": other,
            "measure": measure,
            "value": float(np.nanmean(values)),
            "n": len(values),
        }
        for (one, other, measure), values in found.pairs.items()
        if np.isfinite(values).any()
    ]
    return {"fractions": found.fractions, "rows": rows, "trust": trust, "agreement": pairs}


def _numbers(curves: np.ndarray, shares: np.ndarray) -> dict[str, np.ndarray]:
    """Of each clip, from (clip, 2, point): areas under the curves and over them."""
    delete, insert = curves[:, 0], curves[:, 1]
    return {
        "deletion_aopc": (delete[:, :1] - delete).mean(1),
        "deletion_area": np.trapezoid(delete, shares, axis=1),
        "insertion_area": np.trapezoid(insert, shares, axis=1),
        "insertion_aopc": (insert - insert[:, :1]).mean(1),
    }


def _whose(ids: Sequence[str], groups: dict[str, str] | None) -> list[str] | None:
    return None if groups is None else [groups[one] for one in ids]


# --- files -------------------------------------------------------------------------------------------------------


def write(
    folder: Path,
    held: dict[str, Any],
    found: Found,
    groups: dict[str, str] | None,
    skipped: Sequence[Skipped],
) -> None:
    from heschl.figures.faithful import faithful_figure
    from heschl.figures.style import save

    names = ["deletion_aopc", "deletion_area", "insertion_area", "insertion_aopc"]
    names += [f"{side}_over_{control}" for side in ("deletion", "insertion") for control in CONTROLS]
    columns = ["cells", "method", "clips", "speakers"]
    columns += [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    table = []
    for row in held["rows"]:
        line: dict[str, Any] = {
            "cells": row["cells"],
            "method": row["method"],
            "clips": row["deletion_aopc"]["n"],
            "speakers": row["deletion_aopc"]["n_groups"],
        }
        for name in names:
            for end, key in (("", "value"), ("_low", "low"), ("_high", "high")):
                value = row.get(name, {}).get(key)
                line[name + end] = "" if value is None else f"{value:.6f}"
        table.append(line)
    write_csv(folder / "methods.csv", table, columns)
    shares = np.array(found.fractions)
    lines, points = [], []
    for (cells, key), curves in found.curves.items():
        for one, numbers in zip(found.which[cells, key], _each(curves, shares), strict=True):
            speaker = "" if groups is None else groups[one]
            lines.append({"id": one, "speaker": speaker, "cells": cells, "method": key, **numbers})
        for k, side in enumerate(("deletion", "insertion")):
            mean = np.stack(curves)[:, k].mean(0)
            points += [
                {
                    "cells": cells,
                    "method": key,
                    "curve": side,
                    "fraction": f"{f:.4f}",
                    "probability": f"{v:.6f}",
                }
                for f, v in zip(shares, mean, strict=True)
            ]
    write_csv(folder / "clips.csv", lines, ["id", "speaker", "cells", "method", *names[:4]])
    write_csv(folder / "curves.csv", points, ["cells", "method", "curve", "fraction", "probability"])
    write_csv(folder / "agreement.csv", held["agreement"], ["method", "other", "measure", "value", "n"])
    write_csv(folder / "skipped.csv", [item._asdict() for item in skipped], ["where", "why"])
    save(faithful_figure(held), folder / "faithful")


def _each(curves: Sequence[np.ndarray], shares: np.ndarray) -> list[dict[str, str]]:
    numbers = _numbers(np.stack(curves), shares)
    return [{name: f"{values[k]:.6f}" for name, values in numbers.items()} for k in range(len(curves))]
