"""The command that tries many variants of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heschl.cli_data import Json, RecipeName, seed_of
from heschl.cli_runs import Runs
from heschl.cli_talk import border, give, next_line, progress, say, show_table


@border
def sweep(
    recipe: RecipeName,
    settings: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=A,B,C...", help="Values to try, YAML; 1e-4..1e-2 is a range; one value is kept."
        ),
    ],
    runs: Runs = Path("runs"),
    random: Annotated[
        int | None, typer.Option("--random", min=1, help="So many variants at random, not all of them.")
    ] = None,
    seed: Annotated[int, seed_of("Of the random choice.")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes on this machine.")] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask", help="A dask scheduler (tcp://host:8786), or a YAML file of jobs for a queue."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Trains variants of a recipe and ranks them by their validation part; the test part is never looked at.

    Finished variants are kept: the same command goes on where it stopped.

    Example: heschl sweep kws-small model.width=16,32,64 train.optimiser.lr=0.001,0.003 train.epochs=4
    """
    from heschl.steps.sweep import Between, parse_choices
    from heschl.steps.sweep import sweep as swept
    from heschl.tasks.scores import told as in_words
    from heschl.training.fit import train as trained

    choices = parse_choices(settings)
    single = {
        key: values[0]
        for key, values in choices.items()
        if not isinstance(values, Between) and len(values) == 1
    }
    tried = {key: values for key, values in choices.items() if key not in single}
    with progress("variants", "variants") as told:
        held = swept(
            recipe, tried, single, train=trained, runs=runs, random=random, seed=seed, workers=workers, dask=dask,
            progress=told,
        )  # fmt: skip
    if json:
        give(held)
        return
    rows = [
        {
            **{key: str(row["set"][key]) for key in held["keys"]},
            "score": "" if row["error"] else in_words(row["balanced_accuracy"]).replace("\u202f", " "),
            "run": row["error"] or row["run"],
        }
        for row in held["variants"]
    ]
    names = {key: key for key in held["keys"]}
    show_table(rows, {**names, "score": "balanced accuracy, validation", "run": "run"})
    best = held["best"]
    made_up = " The brains are simulated." if best.get("brains") else " The speech is synthetic."
    say(
        f"{best['n_groups'] or 'Unknown'} {best['group']}s, 95 % interval over {best['interval_over']}s; "
        f"guessing would reach {100 * best['chance']:.3g} %.{made_up * best['synthetic']}"
    )
    if held["as_good"]:
        say(f"{held['as_good']} more lie within the best one's interval: it may be best by luck.")
    say(
        "These are validation scores, by which the best was chosen, so they flatter it; the test part was not looked at."
    )
    if held["failed"]:
        say(f"{held['failed']} of {held['of']} variants failed.")
    say(f"The table and a picture are in {held['folder']}")
    say(next_line("heschl", "evaluate", best["run"]))
