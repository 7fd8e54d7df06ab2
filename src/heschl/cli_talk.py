"""How the command line talks: results, next lines, progress and errors."""

from __future__ import annotations

import _thread
import functools
import gc
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer

from heschl.waiting import progress as progress

P = ParamSpec("P")
R = TypeVar("R")
INTERRUPTED = 130


def border(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose bad input ends as one sentence on stderr and status 1, without a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        from heschl.types import HeschlError

        try:
            with warned(), heard_stop():
                return command(*args, **kwargs)
        except HeschlError as error:
            fail(str(error))
        except KeyboardInterrupt as error:
            fail(str(error) or "stopped; the same command goes on where it was", INTERRUPTED)
        except BrokenPipeError:  # `heschl ... | head`: the reader has seen enough
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
            raise typer.Exit(0) from None
        except OSError as error:
            from heschl.files import told

            fail(str(told(error, error.filename or "a file")))

    return run


@contextmanager
def warned() -> Iterator[None]:
    """What heschl warns of is one sentence on stderr, said once, without the line of code it comes from."""
    before, said = warnings.showwarning, set()

    def show(message: Any, category: Any, filename: str, *place: Any, **options: Any) -> None:
        if category is not UserWarning or "heschl" not in Path(filename).parts:
            before(message, category, filename, *place, **options)
        elif str(message) not in said:
            said.add(str(message))
            typer.echo(f"heschl: {message}", err=True)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def heard_stop() -> Iterator[None]:
    """Ctrl-C that falls into what Python cleans up is ignored there, and the command would go on: it is said again."""
    before, over = sys.unraisablehook, threading.Event()

    def again() -> None:
        if over.wait(0.05):
            return
        if os.name == "posix":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            _thread.interrupt_main()

    def lost(what: Any) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            threading.Thread(target=again, daemon=True).start()
        else:
            before(what)

    sys.unraisablehook = lost
    try:
        yield
    finally:
        over.set()
        sys.unraisablehook = before


def fail(sentence: str, status: int = 1) -> NoReturn:
    """One sentence on stderr, and out."""
    typer.echo(f"heschl: {' '.join(sentence.split())}", err=True)
    raise typer.Exit(status)


def say(text: str = "", *, json_wanted: bool = False) -> None:
    """A line for a person: on stdout, or on stderr where stdout is for a machine."""
    typer.echo(text.replace("\u202f", " "), err=json_wanted)


def give(value: Any) -> None:
    """The result for a machine: one JSON object on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str))


def next_line(*words: object) -> str:
    """What to type next, as a line that works as typed."""
    texts = [str(word) for word in words]
    joined = subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)
    return f"next: {joined}"


@contextmanager
def importing() -> Iterator[None]:
    """For torch and what comes with it: half a million objects that stay to the end. The collector of garbage looks through
    them neither while they come nor later, which takes it half a second."""
    fresh = "torch" not in sys.modules
    if fresh:
        gc.disable()
    try:
        yield
    finally:
        if fresh:
            gc.freeze()
            gc.enable()


def show_blocks(rows: list[tuple[str, str, list[str]]]) -> None:
    """A list for a person: each a name with a short fact beside it, and sentences under it."""
    import shutil
    import textwrap

    fold = max(30, min(96, shutil.get_terminal_size((96, 24)).columns))
    width = max((len(name) for name, _, _ in rows), default=0) + 3
    for name, fact, sentences in rows:
        say(f"{name:<{width}}{fact}".rstrip())
        for text in sentences:
            if text:
                say(textwrap.fill(text, fold, initial_indent="    ", subsequent_indent="    "))


def show_table(rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
    """Rows as a table without boxes; ``columns`` are key -> heading."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*[_plain(row.get(key)) for key in columns])
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
