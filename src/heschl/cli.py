"""The command line: `heschl COMMAND --help`. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from heschl import (
    cli_align,
    cli_app,
    cli_brain,
    cli_data,
    cli_decode,
    cli_explain,
    cli_export,
    cli_faithful,
    cli_models,
    cli_probe,
    cli_runs,
    cli_sweep,
)

app = typer.Typer(
    name="heschl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Trains networks on speech, scores them honestly, and shows and plays what they do.\n\n"
        "Begin with `heschl demo`: it trains a small network on the recordings that come along and writes a page."
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"heschl {version('heschl')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version and stop.")
    ] = False,
) -> None:
    pass


app.command(short_help="Train, score and show a small network: begin here.")(cli_runs.demo)
app.add_typer(
    cli_data.corpora, name="corpora", short_help="List, fetch, check, describe and speak recordings."
)
app.add_typer(
    cli_models.models, name="models", short_help="List the models that come along, or train the large ones."
)
app.add_typer(cli_data.recipes, name="recipes", short_help="List the recipes that come along, or copy one.")
app.command(short_help="Check all of a recipe, without training.")(cli_data.check)
app.command(short_help="Write the network's inputs as HDF5.")(cli_data.features)
app.command(short_help="Train a network, or go on where it stopped.")(cli_runs.train)
app.command(short_help="Train and score every fold, here or on a cluster.")(cli_runs.crossval)
app.command(short_help="Try variants of a recipe, ranked by validation.")(cli_sweep.sweep)
app.command(short_help="Score a run, with intervals and chance level.")(cli_runs.evaluate)
app.command(short_help="Say what a network hears in any recordings.")(cli_runs.predict)
app.command(short_help="Look inside a network: what each layer holds.")(cli_probe.probe)
app.command(short_help="Set two runs side by side.")(cli_probe.compare)
app.command(short_help="Test whether explanations are true.")(cli_faithful.faithful)
app.command(short_help="Zero samples, scale voices: AudioMNIST's experiments.")(cli_faithful.manipulate)
app.command(short_help="Accuracy and explanations in noise, rooms and bands.")(cli_faithful.robust)
app.command(
    short_help="Show and play what a network relied on.", context_settings={"allow_extra_args": True}
)(cli_explain.explain)
app.command(short_help="Lay a network's layers in a brain (illustrative).")(cli_brain.place)
app.command(short_help="Ask whether brain recordings agree with a network.")(cli_align.align)
app.command(short_help="Score a decoder of brains, with controls.")(cli_decode.decode)
app.command(short_help="Write the page of a run.")(cli_runs.report)
app.command(short_help="Write a network or its run in other tools' forms.")(cli_export.export)
app.command(short_help="Find words in a long recording.")(cli_export.listen)
app.command(name="app", short_help="Serve a page to speak to a network.")(cli_app.app)


def main() -> None:
    """The entry point `heschl`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a character shows "?" and goes on
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
