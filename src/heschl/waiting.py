"""Waiting: a bar with what is done, how far and how long; the command line and training show the same."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Told = Callable[[int, int | None], None]  # how much is done, of how much
QUIET = 2.0  # seconds after which progress is shown
LINE_EVERY = 10.0  # seconds between lines where there is no terminal


@contextmanager
def progress(what: str, unit: str = "") -> Iterator[Told]:
    """A bar with what is done, how far and how long; plain lines where there is no terminal; on stderr.

    It appears only where the work takes more than two seconds.
    """
    bar: Any = None
    task: Any = None
    start = last = time.monotonic()
    first: tuple[float, int] | None = None  # when, and how far: what lay before is not counted

    def told(done: int, of: int | None = None) -> None:
        nonlocal bar, task, last, first
        now = time.monotonic()
        began, before = first = first or (now, done)
        if now - start < QUIET or (bar is None and of and done >= of):
            return
        if sys.stderr.isatty():
            if bar is None:
                bar = _bar(unit)
                bar.start()
                task = bar.add_task(what, total=of)
            bar.update(task, completed=done, total=of)
        elif now - last > LINE_EVERY or last == start:
            last = now
            far = f"{done:,} of {of:,}" if of else f"{done:,}"
            pace = (now - began) / (done - before) if done > before else None
            left = f", about {_span((of - done) * pace)} left" if of and pace is not None else ""
            print(f"{what}: {far} {unit}".rstrip() + left, file=sys.stderr, flush=True)

    try:
        yield told
    finally:
        if bar is not None:
            bar.stop()


def _bar(unit: str) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("·"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
