"""Writes the measured tables into README: what stands between <!-- NAME --> and <!-- /NAME --> is made here.

python bench/readme.py
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from heschl.files import read_json, read_text, write_text
from heschl.recipe.plain import read_yaml

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


class Speed(NamedTuple):
    """A line of README's table of speed, and where in bench/results it stands."""

    what: str
    table: str
    row: str  # how its line begins
    column: str
    unit: str
    error: str = ""  # the column of the error, if there is one


SPEED = (
    Speed(
        "packed clips, read as float32",
        "1-features",
        "packed, sorted batches of 256, as float32",
        "times the peer",
        "times soundfile, file by file",
        "largest error",
    ),
    Speed(
        "log-mel spectra",
        "1-features",
        "LogMel, batch of 256",
        "times the peer",
        "times librosa, clip by clip",
        "largest error",
    ),
    Speed("training `kws`", "2-training", "kws", "of plain torch's speed", "of plain torch, batch in memory"),
    Speed(
        "training the CRNN", "2-training", "CRNN", "of plain torch's speed", "of plain torch, batch in memory"
    ),
    Speed("LRP epsilon of AlexNet", "3-relevance", "epsilon", "forward passes", "forward passes"),
    Speed("the same by captum", "3-relevance", "captum epsilon", "forward passes", "forward passes"),
    Speed(
        "encoding model, 128 channels x 10 min",
        "8-encode",
        "heschl, float64",
        "times faster than mtrf",
        "times mtrf",
        "error of weights, relative",
    ),
    Speed(
        "superlets, every sample kept",
        "10-superlet",
        'heschl, kernel="gaussian", float32 | 1',
        "times the plain algorithm",
        "times plain FFT convolution",
        "error against its own kernel",
    ),
    Speed(
        "superlets, every 8th sample kept",
        "10-superlet",
        'heschl, kernel="gaussian", float32 | 8',
        "times the plain algorithm",
        "times plain FFT convolution",
        "error against its own kernel",
    ),
)


def main() -> None:
    path = HERE.parent / "README.md"
    text = read_text(path)
    tables = {"real": real(), "speed": speed()}
    for name, table in tables.items():
        text, found = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m, t=table: m[1] + t + m[2], text, flags=re.S
        )
        if not found:
            raise SystemExit(
                f"README.md has no <!-- {name} --> ... <!-- /{name} -->: put them where the table belongs"
            )
    write_text(path, text)


def real() -> str:
    """One row a network and set: mean over seeds, the interval over speakers, chance, speakers, seeds."""
    sets = read_yaml(HERE / "real.yaml")
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in read_json(RESULTS / "real.json"):
        rows[row["set"], row["network"]].append(row)
    lines = [
        "| recordings | recipe | balanced accuracy, % | accuracy, % | chance | speakers | seeds | parameters | changed for time |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in sets.items():
        for network in one["networks"]:
            if seeds := rows.get((name, network)):
                lines.append(line(one["about"], network, seeds))
    return "\n".join(lines) + "\n"


def line(about: str, network: str, seeds: list[dict[str, Any]]) -> str:
    scores = [row["scores"] for row in seeds]
    cut = {key: value for key, value in seeds[0]["changed"].items() if key.startswith("train.")}
    short = [f"`{key}={value}`" for key, value in cut.items()]
    if isinstance(seeds[0]["folds"], str):
        short.append(f"fold {seeds[0]['folds'].removeprefix('only ').strip('[]')} alone")
    cells = [
        about,
        f"`{network}`",
        told(scores, "balanced_accuracy"),
        told(scores, "accuracy"),
        f"{100 * seeds[0]['chance']:.3g}",
        str(scores[0]["n_groups"]),
        str(len(seeds)),
        f"{seeds[0]['parameters']:,}",
        ", ".join(short),
    ]
    return "| " + " | ".join(cells) + " |"


def told(scores: list[dict[str, Any]], name: str) -> str:
    """Mean over seeds, of values and of intervals; of frames also without silence."""
    text = spread([one[name] for one in scores])
    quiet = f"{name}_without_silence"
    return f"{text}; without silence {spread([one[quiet] for one in scores])}" if quiet in scores[0] else text


def spread(values: list[dict[str, float]]) -> str:
    """87.5 [80.8, 93.3], or the standard deviation over folds where there is no interval."""
    first, middle = (
        values[0],
        {  # the same share by two sums is told as one number
            key: round(100 * mean(one[key] for one in values), 6)
            for key in values[0]
            if values[0][key] is not None
        },
    )
    if "low" in first:
        return f"{middle['value']:.1f} [{middle['low']:.1f}, {middle['high']:.1f}]"
    return (
        f"{middle['value']:.1f} ± {middle['sd']:.1f} over folds"
        if "sd" in middle
        else f"{middle['value']:.1f}"
    )


def speed() -> str:
    """One line a claim, out of the tables that the benches wrote; the site shows those whole."""
    lines = ["| what | heschl | largest error |", "|---|---:|---:|"]
    for one in SPEED:
        error = cell(one, one.error) if one.error else ""
        lines.append(f"| {one.what} | {cell(one, one.column)} {one.unit} | {error} |")
    return "\n".join(lines) + "\n"


def cell(one: Speed, column: str) -> str:
    """What a table of bench/results says in one row and column."""
    path = RESULTS / f"{one.table}.md"
    header: list[str] = []
    for text in read_text(path).splitlines():
        cells = [part.strip() for part in text.strip("|").split("|")]
        if column in cells:
            header = cells
        if header and text.startswith(f"| {one.row} |"):
            return cells[header.index(column)]
    raise SystemExit(f"{path} has no row '{one.row}' with a column '{column}': its bench writes it")


if __name__ == "__main__":
    main()
