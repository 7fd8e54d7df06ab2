"""Commands that look into networks and set them side by side: probe, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from heschl.cli_data import Json, seed_of
from heschl.cli_runs import RunFolder
from heschl.cli_talk import border, give, next_line, progress, say, show_table
from heschl.wording import counted


@border
def probe(
    run: RunFolder,
    part: Annotated[
        str, typer.Option("--part", help="unheard (validation and test), train, validation, test or all.")
    ] = "unheard",
    targets: Annotated[
        str,
        typer.Option(
            "--targets", help="What to read off, with commas: phone,gender,word,speaker. All by default."
        ),
    ] = "",
    method: Annotated[str, typer.Option("--method", help="ridge, or logistic (slower).")] = "ridge",
    clips: Annotated[
        int, typer.Option("--clips", min=1, help="At most so many, evenly over speakers.")
    ] = 400,
    nets: Annotated[int, typer.Option("--nets", min=1, help="Untrained networks that stand beside.")] = 1,
    seed: Annotated[int, seed_of("Of folds, control labels and untrained networks.")] = 0,
    json: Json = False,
) -> None:
    """Looks inside a network: what can be read off each layer, how alike layers are, what their units prefer.

    Example: heschl probe runs/kws-small-0123456789 --targets phone,speaker
    """
    from heschl.steps.probe import probe as probed
    from heschl.types import HeschlError

    if method not in ("ridge", "logistic"):
        raise HeschlError(f"there is no method '{method}': choose ridge or logistic")
    names = [name.strip() for name in targets.split(",") if name.strip()] or None
    with progress("listening inside", "clips") as told:
        held = probed(
            run,
            part,
            targets=names,
            method=method,  # type: ignore[arg-type]
            clips=clips,
            nets=nets,
            seed=seed,
            progress=told,
        )
    if json:
        give(held)
        return
    speech = " of synthetic speech" if held["synthetic"] else ""
    who = counted(held["speakers"], "speaker") if held["speakers_known"] else "speakers not known"
    say(
        f"{held['corpus']}, {held['part']}: {counted(held['clips'], 'clip')}{speech}, {who}, {counted(held['phones'], 'phone')}"
    )
    show_table(
        [_row(row, held["speakers_known"]) for row in held["probes"]],
        {name: name for name in _row(held["probes"][0], True)} if held["probes"] else {},
    )
    if held["probes"]:
        from heschl.tasks.intervals import by_t

        over = "speakers" if held["speakers_known"] else "clips"
        over += by_t(min(row["n_speakers"] for row in held["probes"]))
        say(
            f"Balanced accuracy, or R² for numbers; 95 % intervals over {over}. What can be read off need not be used."
        )
    for name, rare in held["left_out"].items():
        say(
            f"  {name}: {sum(rare.values()):,} samples of {len(rare)} rare class{'es' * (len(rare) > 1)} were left out ({', '.join(list(rare)[:8])})"
        )
    if held["skipped"]:
        say(f"  {counted(held['skipped'], 'clip')} could not be heard: skipped.csv says why")
    say(f"Tables and pictures are in {held['folder']}")
    say(next_line("heschl", "report", run))


def _row(row: dict[str, Any], known: bool) -> dict[str, str]:
    from heschl.tasks.scores import told

    percent = row["measure"] != "R²"
    words = {
        "read": row["target"],
        "off": row["area"],
        "score": told(row["score"], percent),
        "guessing": told({"value": row["chance"]}, percent),
        "control": told({"value": row["control"]["value"]}, percent),
        "untrained": told({"value": row["untrained"]["value"]}, percent),
        "trained - untrained": _signed(row["gain"], percent),
        "speakers": str(row["n_speakers"]) if known else "",
    }
    return {key: text.replace("\u202f", " ") for key, text in words.items()}


def _signed(score: dict[str, float | None], percent: bool, digits: int | None = None) -> str:
    """A difference with its sign, and those of its bounds."""
    factor = 100.0 if percent else 1.0
    digits = (0 if percent else 2) if digits is None else digits
    numbers = [
        f"{factor * v:+.{digits}f}" for v in (score["value"], score["low"], score["high"]) if v is not None
    ]
    return numbers[0] + (f" [{numbers[1]}, {numbers[2]}]" if len(numbers) == 3 else "")


@border
def compare(
    one: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or a folder of runs of one recipe.")
    ],
    other: Annotated[Path, typer.Argument(metavar="RUN", help="The other one.")],
    part: Annotated[str, typer.Option("--part", help="test, validation or train.")] = "test",
    method: Annotated[
        str,
        typer.Option(
            "--method", help="Of explanations: lrp, gradient_x_input, ...; none for no explanations."
        ),
    ] = "lrp",
    clips: Annotated[
        int, typer.Option("--clips", min=4, help="At most so many, for explanations and layers.")
    ] = 48,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the result.")] = None,
    seed: Annotated[int, seed_of("Of the bootstrap and the choice of clips.")] = 0,
    json: Json = False,
) -> None:
    """Sets two runs side by side: scores, answers, explanations and layers on the clips that both were asked about.

    Example: heschl compare runs/crnn-small-0123456789 runs/kws-small-0123456789
    """
    from heschl.steps.compare import compare as compared
    from heschl.tasks.intervals import by_t

    with progress("comparing", "clips") as told:
        held = compared(one, other, part, method=method, clips=clips, out=out, seed=seed, progress=told)
    if json:
        give(held)
        return
    speech = " of synthetic speech" if held["synthetic"] else ""
    say(
        f"{held['part']}: {counted(held['clips'], 'shared clip')}{speech}, {counted(held['n_speakers'], 'speaker')}"
    )
    from heschl.figures.compare import called

    names = dict(zip(("one", "other"), called(held)))
    for which, name in names.items():
        if alone := held[f"only_{which}"]:
            asked = counted(alone, "clip was", "clips were")
            say(f"  {asked} asked of {name} alone, and {'takes' if alone == 1 else 'take'} no part")
    for which, name in names.items():
        say(f"  {name:<20} {100 * held[which]['accuracy']:.1f} % {_spread(held[which])}".rstrip())
    few = by_t(held["n_speakers"])
    over = "of one speaker" if held["difference"]["low"] is None else f"95 % interval over speakers{few}"
    say(f"  {'difference':<20} {_signed(held['difference'], True, 1)} points, {over}")
    shares = held["agreement"]
    if shares["same_answer"] is not None:
        say(f"  They give the same answer to {100 * shares['same_answer']:.0f} % of the clips.")
    alike = held["explanations"]
    if alike and alike["why_not"]:
        say(f"  Explanations are not compared: {alike['why_not']}")
    elif alike and alike["alike"]["value"] is not None:
        say(
            f"  Over time their relevance ({alike['method']}) correlates at {_signed(alike['alike'], False)}, "
            f"and with another clip's at {_signed(alike['control'], False)}."
        )
    if held["similarity"]["why_not"]:
        say(f"  Layers are not compared: {held['similarity']['why_not']}")
    say(f"Tables and pictures are in {held['folder']}")
    say(next_line("heschl", "report", held["one"]["runs"][0]))


def _spread(side: dict[str, Any]) -> str:
    """How much a side's score varies over its seeds and over its folds, each on its own."""
    if side["mixed"]:
        return f"± {100 * side['sd_over_both']:.1f} over {len(side['runs'])} runs, each with a seed and a test part of its own"
    parts = [
        f"± {100 * side[f'sd_over_{what}']:.1f} over {side[f'n_{what}']} {what}"
        for what in ("seeds", "folds")
        if side[f"sd_over_{what}"] is not None
    ]
    return ", ".join(parts)
