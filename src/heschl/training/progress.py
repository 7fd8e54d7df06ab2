"""What a person sees of a training: a bar on a terminal, plain lines elsewhere, the same lines in train.log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from heschl.provenance import now
from heschl.waiting import Told, progress

_FIRST, _MEASURED = 5, 20  # steps: the first are slow, the rest tell the pace
_LONG = 3600.0


class Voice:
    """Says lines on stderr and, once the run folder is there, in its train.log."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self.log: Path | None = None
        self.held: list[str] = []

    def __call__(self, text: str, aloud: bool = True) -> None:
        if aloud:
            self.console.print(text, markup=False)
        self.held.append(f"{now()} {text}\n")
        if self.log is not None:
            with self.log.open("a", encoding="utf-8") as file:
                file.writelines(self.held)
            self.held.clear()

    def counting(self, what: str, unit: str = "") -> AbstractContextManager[Told | None]:
        """For a ``with``: a progress function (done, of) for what comes before the first step; None of a quiet voice."""
        return nullcontext() if self.console.quiet else progress(what, unit)


def span(seconds: float) -> str:
    """A time for people: "40 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * _LONG else f"{seconds / _LONG:.1f} h"


def told(row: dict[str, float], steps: int, scores: Sequence[str] = ("balanced_accuracy", "accuracy")) -> str:
    """A row of the history as a line."""
    parts = [f"epoch {row['epoch']:g}, step {row['step']:g} of {steps}"]
    for part, name in (("train", "training"), ("validation", "validation")):
        if f"{part}_loss" in row:
            values = [f"loss {row[f'{part}_loss']:.4f}"]
            values += [f"{one.replace('_', ' ')} {100 * row[f'{part}_{one}']:.1f} %" for one in scores]
            parts.append(f"{name} {', '.join(values)}")
    return "; ".join(parts)


class Pace(Callback):
    """Tells the time to the end after 20 steps, and draws a bar where there is a terminal.

    Parameters
    ----------
    steps: of the whole training. begin: the step to begin at. small: the recipe to name where an hour is exceeded.
    """

    def __init__(self, voice: Voice, steps: int, begin: int, small: str) -> None:
        self.voice, self.steps, self.begin, self.small = voice, steps, begin, small
        self.taken = 0
        self.bar: Progress | None = None
        self._drawn = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self.voice.console.is_terminal and not self.voice.console.quiet:
            columns = [
                TextColumn("{task.completed:,} of {task.total:,} steps"),
                BarColumn(),
                TimeRemainingColumn(),
            ]
            self.bar = Progress(*columns, console=self.voice.console, auto_refresh=False, transient=True)
            self.line = self.bar.add_task("", total=self.steps, completed=self.begin)
            self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.taken += 1
        if self.taken == _FIRST:
            self._since = time.monotonic()
        if self.taken == _MEASURED and trainer.is_global_zero:
            self._tell((time.monotonic() - self._since) / (_MEASURED - _FIRST))
        if self.bar is not None and (now := time.monotonic()) - self._drawn > 0.25:
            self._drawn = now
            self.bar.update(self.line, completed=self.begin + self.taken, refresh=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.bar is not None:
            self.bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.bar is not None:
            self.bar.stop()

    def _tell(self, seconds: float) -> None:
        left = seconds * (self.steps - self.begin - self.taken)
        text = f"about {span(left)} to the end ({1 / max(seconds, 1e-9):.1f} steps a second)"
        if left > _LONG and self.small:
            text += f"; {self.small} takes minutes: stop this with Ctrl-C, and it can be resumed"
        self.voice(text)


def is_terminal() -> bool:
    return sys.stderr.isatty()
