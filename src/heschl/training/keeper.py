"""What is kept of a training, and when: validation, history, best and last weights, early stopping.

All that is needed to go on lies in one file, last.ckpt, which is replaced in one instant. Everything else
(history.csv, best weights, curves) is written from it or recomputed alike, so that a training that was killed
anywhere ends with the same files.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

from heschl.checkpoints import read_checkpoint, save_weights
from heschl.files import write_bytes, write_csv
from heschl.run import Run
from heschl.training.learner import Learner
from heschl.types import HeschlError

_DRAWING = 30.0  # seconds between two drawings of the curves, which take a good part of one
_SAVING = 0.02  # at most this share of the time goes into saving


class SafeCheckpoints(CheckpointIO):
    """Lightning's checkpoints as tensors and plain values, replaced in one instant, opened without a pickle's code."""

    def __init__(self, name: str) -> None:
        self.name = name

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        kept = {key: value for key, value in checkpoint.items() if key != "loops"}
        buffer = io.BytesIO()
        torch.save({"run": self.name, **plain(kept)}, buffer)
        write_bytes(Path(path), buffer.getvalue())

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        # without "loops": where training stands is counted in steps by the learner alone
        return read_checkpoint(Path(path), self.name)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """The same value made of tensors, numbers, text, lists and dicts; anything else is refused."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, str):  # a subclass, as versions are
        return str(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [plain(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    raise HeschlError(f"a checkpoint cannot keep a {type(value).__name__}: only tensors and plain values")


class Keeper(Callback):
    """Ends epochs (validation, a row of the history, the best weights, early stopping), and saves.

    Parameters
    ----------
    run: where.
    epoch_steps, steps: steps of an epoch, and of the whole training.
    validate: scores of the validation part ("loss", "accuracy", ...), empty where there is none.
    reports: called with each new row of the history.
    """

    def __init__(
        self,
        run: Run,
        epoch_steps: int,
        steps: int,
        validate: Callable[[Trainer, Learner], dict[str, float]],
        reports: Callable[[dict[str, float]], None] = lambda row: None,
    ) -> None:
        self.run, self.folder, self.recipe = run, run.folder / "checkpoints", run.recipe
        self.epoch_steps, self.steps = epoch_steps, steps
        self.validate, self.reports = validate, reports
        self.rows: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.mark: float | None = None  # the score that patience counts from
        self.waited = 0  # epochs without a better score
        self.ended = False
        self.seconds = 0.0  # of work, over all resumptions

    state_key = "keeper"  # of its state in the checkpoint

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("rows", "best", "mark", "waited", "ended", "seconds")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in state_dict.items():
            setattr(self, name, value)

    # --- lightning's hooks ---

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        learner = cast(Learner, pl_module)
        self._clock = self._drawn = time.monotonic()
        self._cost, self._planned = 0.0, (learner.step, self.seconds)
        if learner.step == 0:  # a full disk, or a folder that may not be written to, shows before the work
            self._save(trainer)
        if trainer.is_global_zero:
            write_history(self.run.folder, self.rows, draw=False)
        self._plan(trainer, learner)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        learner = cast(Learner, pl_module)
        learner.finish_step()
        ends = learner.step % self.epoch_steps == 0 or learner.step == self.steps
        if ends:
            self._end_epoch(trainer, learner)
        if ends or learner.step >= self._next:
            self._check_finite(learner)
            self._save(trainer)
            if ends and trainer.is_global_zero:
                draw = time.monotonic() - self._drawn > _DRAWING
                write_history(self.run.folder, self.rows, draw)
                self._drawn = time.monotonic() if draw else self._drawn
            self._plan(trainer, learner)

    # --- inside ---

    def _end_epoch(self, trainer: Trainer, learner: Learner) -> None:
        def total(values: torch.Tensor) -> torch.Tensor:
            return cast(torch.Tensor, trainer.strategy.reduce(values, reduce_op="sum"))

        trained = learner.sums.scores(total, learner.device)
        learner.sums.clear()
        self._check_number(trained.get("loss", 0.0), learner.step)
        validated = self.validate(trainer, learner)
        self._check_number(validated.get("loss", 0.0), learner.step)
        self._count_work()
        epoch = len(self.rows) + 1
        row: dict[str, float] = {"epoch": epoch, "step": learner.step, "seconds": round(self.seconds, 2)}
        row["learning_rate"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        row |= {f"train_{name}": value for name, value in trained.items()}
        row |= {f"validation_{name}": value for name, value in validated.items()}
        self.rows.append(row)
        better = self._better(row)
        if better:
            self.best = row
            self._keep(trainer, learner, "best", row)
        self.waited = 0 if self._moves_on(row, better) else self.waited + 1
        every = self.recipe.train.checkpoint_every
        if every and epoch % every == 0:
            self._keep(trainer, learner, f"epoch-{epoch:04d}", row)
        patience = self.recipe.train.early_stopping
        self.ended = learner.step >= self.steps or (patience is not None and self.waited >= patience.patience)
        if self.ended:
            trainer.should_stop = True
        for logger in trainer.loggers:
            logger.log_metrics({name: value for name, value in row.items() if name != "step"}, learner.step)
        self.reports(row)

    def _better(self, row: dict[str, float]) -> bool:
        monitor = "validation_" + self.recipe.train.monitor
        if self.best is None or monitor not in row:  # without a validation part the latest weights are kept
            return True
        gain = self._sign * (row[monitor] - self.best[monitor])
        if gain == 0:  # few speakers make coarse scores: of equal ones, the surer network
            return row["validation_loss"] < self.best["validation_loss"]
        return gain > 0

    def _moves_on(self, row: dict[str, float], better: bool) -> bool:
        """Whether patience begins anew: with a better score or, where `min_delta` is asked for, with one that is that much
        better than the one before which began it."""
        score, stopping = row.get("validation_" + self.recipe.train.monitor), self.recipe.train.early_stopping
        if score is None or stopping is None or not stopping.min_delta:
            return better
        if self.mark is not None and self._sign * (score - self.mark) <= stopping.min_delta:
            return False
        self.mark = score
        return True

    @property
    def _sign(self) -> int:
        return -1 if self.recipe.train.monitor == "loss" else 1

    def _keep(self, trainer: Trainer, learner: Learner, which: str, row: dict[str, float]) -> None:
        if trainer.is_global_zero:
            about = {
                "run": self.run.name,
                "epoch": row["epoch"],
                "step": row["step"],
                "labels": self.run.labels,
            }
            save_weights(self.folder / f"{which}.safetensors", learner.chosen.state_dict(), about)

    def _save(self, trainer: Trainer) -> None:
        began = time.monotonic()
        self._count_work()
        trainer.save_checkpoint(self.folder / "last.ckpt")
        self._cost = time.monotonic() - began

    def _plan(self, trainer: Trainer, learner: Learner) -> None:
        """After how many steps to save again: decided on one device, so that all agree."""
        self._count_work()
        if learner.step > self._planned[0]:
            pace = (self.seconds - self._planned[1]) / (learner.step - self._planned[0])
            wait = self.recipe.machine.save_seconds
            wait = max(wait, self._cost / _SAVING) if wait else 0.0
            ahead = max(1, int(wait / max(pace, 1e-9)))
        else:
            ahead = 1  # times the first step
        if trainer.world_size > 1:
            ahead = trainer.strategy.broadcast(ahead)
        self._planned, self._next = (learner.step, self.seconds), learner.step + ahead

    def _count_work(self) -> None:
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now

    def _check_finite(self, learner: Learner) -> None:
        if learner.sums.held is not None:
            self._check_number(float(learner.sums.held[0]), learner.step)

    def _check_number(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise HeschlError(
                f"the loss is no number any more by step {step}: lower train.optimiser.lr, "
                "or set train.clip_gradient, and train again"
            )


def write_history(folder: Path, rows: Sequence[Mapping[str, float]], draw: bool = True) -> None:
    """history.csv and, where ``draw``, curves.png, from the rows that the checkpoint keeps."""
    if not rows:
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(folder / "history.csv", rows, columns)
    if not draw:
        return
    from heschl.figures.curves import curves

    figure = curves(rows)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150)
    write_bytes(folder / "curves.png", drawn.getvalue())
