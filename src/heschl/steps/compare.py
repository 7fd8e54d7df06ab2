"""Two networks, side by side: scores, answers, explanations and layers on the clips that both were asked about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.explanation.similarity import cka_table
from heschl.files import write_csv, write_json
from heschl.run import Run
from heschl.steps.alike import explained_alike
from heschl.steps.inside import check_areas, inside
from heschl.steps.networks import Progress, open_network
from heschl.steps.samples import chosen_clips, gather
from heschl.steps.sides import Side, find_runs, paired, side, spread
from heschl.types import Clip, HeschlError, Skipped

CLIPS = 48  # of which explanations and layers are compared


def compare(
    one: Run | Path | str | Sequence[Run | Path | str],
    other: Run | Path | str | Sequence[Run | Path | str],
    part: str = "test",
    *,
    method: str = "lrp",
    clips: int = CLIPS,
    out: Path | str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compares two runs, or two sets of runs of one recipe each (seeds, folds), and writes what it finds.

    The difference is that of the second less the first, on the clips that both were asked about, with a 95 %
    interval by paired bootstrap over speakers (of fewer than eight by Student's t). Where a side has several runs, a
    clip counts as the share of its runs (seeds) that were right; how much scores vary over seeds and over folds stands
    beside, each on its own.

    Written are compare.json, clips.csv, per_speaker.csv, similarity.csv, and figures, to ``out`` or to
    RUN/compare/NAME/, where RUN is the first run and NAME the other's.

    Parameters
    ----------
    one, other: a run folder, several, or a folder that holds some.
    part: "train", "validation" or "test"; runs that are not scored on it yet are scored first.
    method: of explanations: "lrp", "gradient_x_input", ..., or "none" for no explanations.
    clips: at most so many, for explanations and layers.

    Raises
    ------
    HeschlError: no shared clips, other classes, a side of different recipes, or one run on both sides.
    """
    left, right = (find_runs(given) for given in (one, other))
    if {Path(str(run)).resolve() for run in left} & {Path(str(run)).resolve() for run in right}:
        raise HeschlError(f"{left[0]} stands on both sides: name two different runs")
    a, b = side(left, part), side(right, part)
    if a.kind != b.kind:
        raise HeschlError(
            f"{a.name} answers for {a.kind} and {b.name} for {b.kind}: compare two that answer for the same"
        )
    if a.kind == "clips" and set(a.labels) != set(b.labels):
        odd = sorted(set(a.labels) ^ set(b.labels))[:6]
        raise HeschlError(f"{a.name} and {b.name} know other classes (not both know {', '.join(odd)})")
    shared = sorted(set(a.clips) & set(b.clips))
    if not shared:
        raise HeschlError(
            f"no clip of the {part} part of {a.name} is in that of {b.name}: train both with one split"
        )
    held: dict[str, Any] = {
        "one": _about(a, shared),
        "other": _about(b, shared),
        "part": part,
        "kind": a.kind,
        "clips": len(shared),
        "only_one": len(a.clips) - len(shared),
        "only_other": len(b.clips) - len(shared),
        "synthetic": a.synthetic,
        **paired(a, b, shared, seed=seed),
    }
    chosen = chosen_clips(_heard(left[0], shared), clips, seed)
    held["explanations"] = (
        None if method == "none" else explained_alike(left[0], right[0], chosen, method, seed)
    )
    held["similarity"] = _layers(left[0], right[0], chosen, seed, progress)
    folder = Path(out) if out is not None else left[0].folder / "compare" / _plain(right)
    speakers = held.pop("speakers")
    write_csv(folder / "per_speaker.csv", speakers, list(speakers[0]))
    rows = [{"id": name, **_row(a, b, name)} for name in shared]
    write_csv(folder / "clips.csv", rows, list(rows[0]))
    if held["similarity"]["table"]:
        columns = held["similarity"]["other"]
        table = [
            {"area": area, **dict(zip(columns, line, strict=True))}
            for area, line in zip(held["similarity"]["one"], held["similarity"]["table"], strict=True)
        ]
        write_csv(folder / "similarity.csv", table, ["area", *columns])
    _draw(folder, held, speakers)
    held["folder"] = str(folder)
    write_json(folder / "compare.json", held)
    return held


def _about(own: Side, shared: Sequence[str]) -> dict[str, Any]:
    return {
        "name": own.name,
        "runs": [str(run.folder) for run in own.runs],
        "accuracy": float(np.average(own.right(shared), weights=own.weight(shared))),
        **spread(own),
    }


def _plain(runs: Sequence[Run]) -> str:
    name = runs[0].name if len(runs) == 1 else f"{runs[0].recipe.name}-{len(runs)}-runs"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _row(a: Side, b: Side, name: str) -> dict[str, Any]:
    row: dict[str, Any] = {"speaker": a.clips[name].speaker, "said": a.clips[name].truth}
    for which, own in (("one", a), ("other", b)):
        row[f"answered_{which}"] = " | ".join(own.clips[name].answers)
        row[f"right_{which}"] = round(float(np.mean(own.clips[name].right)), 6)
    return row


def _heard(run: Run, shared: Sequence[str]) -> list[Clip]:
    known = run.corpus().by_id
    return [known[name] for name in shared if name in known]


def _layers(
    one: Run, other: Run, clips: Sequence[Clip], seed: int, progress: Progress | None
) -> dict[str, Any]:
    """CKA (without bias) of every area of one with every area of the other, or why there is none."""
    networks = [open_network(run) for run in (one, other)]
    try:
        for network in networks:
            check_areas(network.model)
    except HeschlError as error:
        return {"one": [], "other": [], "table": [], "why_not": str(error)}
    skipped: list[Skipped] = []
    a, b = (gather(inside(network, clips, skipped, progress=progress), seed) for network in networks)
    if skipped or len(a.clips) * 4 < 8:
        return {"one": [], "other": [], "table": [], "why_not": "too few clips could be heard by both"}
    table = cka_table(a.moments, b.moments)
    values = [[float(v) if np.isfinite(v) else None for v in row] for row in table]
    return {"one": list(a.units), "other": list(b.units), "table": values, "why_not": ""}


def _draw(folder: Path, held: dict[str, Any], speakers: Sequence[dict[str, Any]]) -> None:
    from heschl.figures.compare import called, compared_figure
    from heschl.figures.probe import similarity_figure
    from heschl.figures.style import save

    save(compared_figure(held, speakers), folder / "speakers")
    layers = held["similarity"]
    if layers["table"]:
        one, other = called(held)
        title = f"How alike the layers of {one} (rows) and {other} (columns) are"
        tables = {"CKA without bias; 1: the same up to rotation": layers["table"]}
        save(similarity_figure(tables, layers["one"], layers["other"], title=title), folder / "similarity")
