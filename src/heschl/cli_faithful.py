"""Commands that put explanations and networks to the test: faithful, manipulate, robust."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from heschl.cli_data import Json, seed_of
from heschl.cli_talk import border, give, next_line, progress, say, show_table
from heschl.wording import counted

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, or a model of `heschl models`.")
]
Part = Annotated[str, typer.Option("--part", help="test, validation or train.")]
Seed = Annotated[int, seed_of("Of chosen clips and of chance.")]
Clips = Annotated[int, typer.Option("--clips", min=0, help="At most so many, from every speaker; 0 for all.")]


def _list(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


@border
def faithful(
    run: RunFolder,
    part: Part = "test",
    clips: Clips = 40,
    compare: Annotated[
        str | None, typer.Option("--compare", help="Methods, with commas: lrp:epsilon,occlusion_time,...")
    ] = None,
    cells: Annotated[
        str | None, typer.Option("--cells", help="time,frequency,time_frequency,segments: some of them.")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", help="Explain the answer: predicted, or true.")
    ] = "predicted",
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline", help="What replaces what is taken out: auto, mean, silence, noise or zero."
        ),
    ] = "auto",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Tests whether explanations are true: takes out what they call important, beside random and loudest first.

    Example: heschl faithful runs/kws-small-0123456789 --compare lrp:epsilon_plus,occlusion_time
    """
    from heschl.figures.faithful import CELLS as NAMES_OF_CELLS
    from heschl.figures.faithful import TIERS, named
    from heschl.steps.faithful import CELLS
    from heschl.steps.faithful import faithful as tested
    from heschl.steps.methods import COMPARED
    from heschl.tasks.scores import told as in_words

    with progress("taking clips apart", "clips") as told:
        held = tested(
            run,
            part,
            clips or None,
            _list(compare) if compare else COMPARED,
            _list(cells) if cells else CELLS,
            target,
            baseline,
            seed=seed,
            progress=told,
        )
    if json:
        give(held)
        return
    say(
        _about(held)
        + ", explained: "
        + ("the network's answer" if target == "predicted" else "the true class")
    )
    tiers = () if any(row["cells"] == "stretches" for row in held["rows"]) else TIERS
    rows = [
        {
            "cells": NAMES_OF_CELLS.get(row["cells"], row["cells"]),
            "method": named(row["method"], tiers),
            "fall": in_words(row["deletion_aopc"], percent=False),
            "random": _difference(row.get("deletion_over_random")),
            "energy": _difference(row.get("deletion_over_energy")),
            "area": in_words(row["insertion_area"], percent=False),
        }
        for row in held["rows"]
    ]
    names = {
        "cells": "taken out",
        "method": "in the order of",
        "fall": "probability falls by",
        "random": "more than random",
    }
    show_table(rows, {**names, "energy": "more than loudest first", "area": "area when put back"})
    say(f"  {_interval(held)}; falls are means over the whole curve")
    for name, why in held["refused"].items():
        say(f"  {name} was left out: {why}")
    if held["skipped"]:
        say(f"  {counted(held['skipped'], 'clip')} could not be used: skipped.csv says why")
    say(f"Tables and the picture are in {held['folder']}")
    say(next_line("heschl", "robust", run))


@border
def manipulate(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders; several folds of one recipe give mean and sd."),
    ],
    part: Part = "test",
    clips: Clips = 200,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """AudioMNIST's experiments: zeroes samples by chance, amplitude and relevance; stretches spectra of sexed voices.

    Example: heschl manipulate runs/gender-kws-0123456789 runs/gender-kws-abcdef0123
    """
    from heschl.steps.manipulate import manipulate as manipulated

    with progress("changing clips", "clips") as told:
        held = manipulated(runs, part, clips or None, seed=seed, progress=told)
    if json:
        give(held)
        return
    say(_about(held) + (f", {len(held['runs'])} folds" if len(held["runs"]) > 1 else ""))
    shares = held["fractions"]
    rows = [
        {
            "by": {"random": "by chance", "amplitude": "loudest first", "relevance": "most relevant first"}[
                by
            ],
            **{f"{share:g}": _share(cell) for share, cell in zip(shares, cells, strict=True)},
        }
        for by, cells in held["zeroing"].items()
    ]
    show_table(rows, {"by": "samples zeroed", **{f"{share:g}": f"{100 * share:g} %" for share in shares}})
    if held["scaling"]:
        for row in held["scaling"]:
            say(
                f"  {row['voices']} voices, frequencies x {row['factor']:g}: {_share(row['accuracy'])} right, "
                f"{_share(row['plain'])} before"
            )
    elif held["why_no_scaling"]:
        say(f"  frequencies were not scaled: {held['why_no_scaling']}")
    say(f"  Guessing would reach {100 * held['chance']:.3g} %. {held['note']}")
    say(f"Tables and the picture are in {held['folder']}")
    say(next_line("heschl", "faithful", runs[0]))


@border
def robust(
    run: RunFolder,
    part: Part = "test",
    clips: Clips = 60,
    method: Annotated[
        str, typer.Option("--method", help="Whose explanations are watched.")
    ] = "lrp:epsilon_plus",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Tells how accuracy and explanations hold in noise, rooms, narrow bands and at other levels.

    Example: heschl robust runs/kws-small-0123456789
    """
    from heschl.steps.robust import robust as disturbed
    from heschl.tasks.scores import told as in_words

    with progress("disturbing clips", "clips") as told:
        held = disturbed(run, part, clips or None, method, seed=seed, progress=told)
    if json:
        give(held)
        return
    say(_about(held))
    rows = [
        {
            "what": row["words"],
            "accuracy": in_words(row["accuracy"]),
            "stability": in_words(row["stability"], percent=False),
        }
        for row in held["rows"]
    ]
    show_table(
        rows,
        {"what": "heard", "accuracy": "right", "stability": "explanation as in quiet (rank correlation)"},
    )
    say(f"  {_interval(held)}; guessing {100 * held['chance']:.3g} %; explained by {held['method']}")
    say(f"Tables and the picture are in {held['folder']}")
    say(next_line("heschl", "faithful", run))


def _about(held: dict[str, Any]) -> str:
    speech = " of synthetic speech" if held["synthetic"] else ""
    who = f", {counted(held['speakers'], held['group'])}" if held["speakers"] else ""
    return f"{held['corpus']}, {held['part']}: {counted(held['clips'], 'clip')}{speech}{who}"


def _interval(held: dict[str, Any]) -> str:
    from heschl.tasks.intervals import by_t

    if held["speakers"] and held["speakers"] > 1:
        return f"95 % intervals over {held['speakers']} {held['group']}s{by_t(held['speakers'])}"
    return "95 % intervals over clips; they say nothing about other speakers"


def _difference(score: dict[str, Any] | None) -> str | None:
    from heschl.tasks.scores import told

    if score is None or score["value"] is None:
        return None
    return ("+" if score["value"] >= 0 else "") + told(score, percent=False)


def _share(cell: dict[str, Any]) -> str:
    from heschl.tasks.scores import told

    if cell.get("sd") is not None:
        return f"{100 * cell['value']:.1f} ± {100 * cell['sd']:.1f} %"
    return told(cell)
