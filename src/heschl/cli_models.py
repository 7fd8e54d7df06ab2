"""Commands on the models that come with heschl: list them, show a card, train the ones that do not come along."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heschl.cli_data import Json, Overrides
from heschl.cli_talk import border, give, next_line, say, show_blocks

models = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="The models to start from: list them, read a card, train the large ones.\n\nExample: heschl models list",
)

# Networks that are too large to come along: name -> the recipe that makes them.
LARGE = {
    "alexnet": "digits-alexnet",
    "alexnet-gender": "gender-alexnet",
    "audionet": "digits-audionet",
    "audionet-gender": "gender-audionet",
    "audionet-v1": "words-audionet-v1",
}


@models.callback(invoke_without_command=True)
def default(context: typer.Context, json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_models(json)


@models.command("list", short_help="List the models that come along, and the ones to train.")
@border
def list_models(json: Json = False) -> None:
    """Lists the models that come with heschl, and those that `heschl models train` makes.

    Example: heschl models list
    """
    from heschl.files import read_json, read_text
    from heschl.recipe import load
    from heschl.run import packaged_runs

    rows = []
    for name, folder in packaged_runs().items():
        lines = [line for line in read_text(folder / "README.md").splitlines() if line]
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        scores = next((line.strip() for line in lines if line.startswith("  ")), "")
        rows.append(
            {
                "name": name,
                "what": lines[1],
                "megabytes": round(size / 1e6, 2),
                "parameters": read_json(folder / "origin.json").get("parameters"),
                "scores": scores,
            }
        )
    if json:
        give({"models": rows, "to_train": LARGE})
        return
    show_blocks([(row["name"], f"{row['megabytes']} MB", [row["what"], row["scores"]]) for row in rows])
    told = [
        (name, "not shipped", [f"{load(recipe).about.what}: heschl models train {name}"])
        for name, recipe in LARGE.items()
    ]
    show_blocks(told)
    if rows:
        say(next_line("heschl", "models", "card", rows[0]["name"]))


@models.command(short_help="Show a model's card.")
@border
def card(name: Annotated[str, typer.Argument(help="A model that comes along.")], json: Json = False) -> None:
    """Shows what a model heard, how good it is on speakers that it never heard, and what it must not be used for.

    Example: heschl models card words
    """
    from heschl.files import read_text
    from heschl.recipe.plain import nearest
    from heschl.run import packaged_runs
    from heschl.types import HeschlError

    ours = packaged_runs()
    if name not in ours:
        raise HeschlError(f"no model is called {name}{nearest(name, ours)}: see `heschl models list`")
    text = read_text(ours[name] / "README.md")
    if json:
        give({"name": name, "card": text})
        return
    say(text)


@models.command(short_help="Train a model that does not come along.")
@border
def train(
    name: Annotated[
        str, typer.Argument(help="alexnet, audionet, audionet-v1, ...: see `heschl models list`.")
    ],
    overrides: Overrides = None,
    runs: Annotated[Path, typer.Option("--runs", help="The folder that holds the run folders.")] = Path(
        "runs"
    ),
    json: Json = False,
) -> None:
    """Trains one of the large reference networks by its published recipe; goes on where it stopped.

    Example: heschl models train alexnet corpus.root=data/AudioMNIST
    """
    from heschl.recipe import parse_overrides
    from heschl.recipe.plain import nearest
    from heschl.training.fit import train as trained
    from heschl.types import HeschlError

    if name not in LARGE:
        raise HeschlError(f"no model is called {name}{nearest(name, LARGE)}: see `heschl models list`")
    run = trained(LARGE[name], parse_overrides(overrides or []), runs=runs)
    if json:
        give({"run": str(run.folder), "name": run.name, "finished": run.finished})
        return
    say(f"The run is {run.folder}")
    say(next_line("heschl", "evaluate", run.folder))
