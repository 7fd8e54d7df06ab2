"""Commands that look into networks and set them side by side: probe."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from heschl.cli_data import Json
from heschl.cli_runs import RunFolder
from heschl.cli_talk import border, give, next_line, progress, say, show_table


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
    seed: Annotated[int, typer.Option("--seed", help="Of folds, control labels and untrained networks.")] = 0,
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
    who = f"{held['speakers']} speakers" if held["speakers_known"] else "speakers not known"
    say(
        f"{held['corpus']}, {held['part']}: {held['clips']:,} clips{speech}, {who}, {held['phones']:,} phones"
    )
    show_table(
        [_row(row) for row in held["probes"]],
        {name: name for name in _row(held["probes"][0])} if held["probes"] else {},
    )
    if held["probes"]:
        say(
            "Balanced accuracy, or R² for numbers; 95 % intervals over speakers. What can be read off need not be used."
        )
    for name, rare in held["left_out"].items():
        say(
            f"  {name}: {sum(rare.values()):,} samples of {len(rare)} rare classes were left out ({', '.join(list(rare)[:8])})"
        )
    if held["skipped"]:
        say(f"  {held['skipped']:,} clips could not be heard: skipped.csv says why")
    say(f"Tables and pictures are in {held['folder']}")
    say(next_line("heschl", "report", run))


def _row(row: dict[str, Any]) -> dict[str, str]:
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
        "speakers": str(row["n_speakers"]),
    }
    return {key: text.replace("\u202f", " ") for key, text in words.items()}


def _signed(score: dict[str, float | None], percent: bool) -> str:
    """A difference with its sign, and those of its bounds."""
    factor, digits = (100.0, 0) if percent else (1.0, 2)
    numbers = [
        f"{factor * v:+.{digits}f}" for v in (score["value"], score["low"], score["high"]) if v is not None
    ]
    return numbers[0] + (f" [{numbers[1]}, {numbers[2]}]" if len(numbers) == 3 else "")
