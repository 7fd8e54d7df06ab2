"""The command that serves the page on which anybody speaks to a network: app."""

from __future__ import annotations

from typing import Annotated

import typer

from heschl.cli_talk import border, say


@border
def app(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|MODEL]...", help="Runs or models to ask; by default those that come along."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0 lets other computers in.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port; by default the first free from 7860."),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = False,
) -> None:
    """Serves a web page: speak, and see and hear what a network relied on. On this computer only, unless told.

    Example: heschl app runs/kws-small-0123456789
    """
    from heschl.app.answering import open_models
    from heschl.app.web import launch

    models = open_models(runs or [])
    if host not in ("127.0.0.1", "localhost", "::1"):
        say(f"Anybody who reaches this computer at {host} can use the page.")
    served, address, _ = launch(models, host, port, inbrowser=browser, quiet=True, prevent_thread_lock=True)
    say(f"Open this page in a browser: {address}")
    say("Stop it with Ctrl-C.")
    served.blocks.block_thread()
