"""What is trained: feature, augmentation, network and loss as lightning runs them, one step at a time.

Everything random in a step comes from (seed, step): torch's generator is set before each, augmentation draws
by (seed, epoch, clip). Nothing is logged within an epoch: sums stay on the device until it ends.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from heschl.features.draws import Draws
from heschl.tasks.loss import logits_of
from heschl.training.beside import Beside
from heschl.training.data import Item
from heschl.training.order import key_of
from heschl.types import Batch, HeschlError


class Learner(LightningModule):
    """A network, how its input is made, and its loss.

    Parameters
    ----------
    feature, model, task: the recipe's parts.
    augment: the recipe's augmentations, in order.
    optimiser: parameters -> torch optimiser.
    schedule: step -> factor on the learning rate.
    seed: of the run. ema: decay of the running mean of the weights, or None.
    """

    def __init__(
        self,
        feature: Any,
        model: nn.Module,
        task: Any,
        augment: Sequence[Any],
        optimiser: Callable[[Any], torch.optim.Optimizer],
        schedule: Callable[[int], float],
        seed: int,
        ema: float | None = None,
    ) -> None:
        super().__init__()
        self.feature, self.model, self.task = feature, model, task
        self.make_optimiser, self.schedule, self.seed, self.decay = optimiser, schedule, seed, ema
        self.on_wave = [one for one in augment if one.on == "wave"]
        self.on_feature = [one for one in augment if one.on == "feature"]
        self.on_batch = [one for one in augment if one.on == "batch"]
        self.mean = copy.deepcopy(model).requires_grad_(False).eval() if ema is not None else None
        self.make_loader: Callable[[Any], Any] | None = None  # trainer -> training batches
        self.step = 0  # steps taken in the whole training, over all resumptions
        self.sums = Sums(len(task.classes))
        self.beside: Beside | None = None  # what travels beside the trials of brains

    @property
    def chosen(self) -> nn.Module:
        """The network that is validated and kept: the running mean of the weights where there is one."""
        return self.model if self.mean is None else self.mean

    def train(self, mode: bool = True) -> Learner:
        super().train(mode)
        self.feature.eval()
        if self.mean is not None:
            self.mean.eval()
        return self

    # --- lightning's hooks ---

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = getattr(self.model, "parameter_groups", None)  # a network may say what does not decay
        if groups is not None:
            return self.make_optimiser(groups())
        return self.make_optimiser([one for one in self.model.parameters() if one.requires_grad])

    def train_dataloader(self) -> Any:
        assert self.make_loader is not None
        return self.make_loader(self.trainer)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device)  # clip numbers stay on the CPU, where draws are computed

    def on_train_batch_start(self, batch: Item, batch_idx: int) -> None:
        key = key_of(self.seed, "step", self.step, self.global_rank) >> 1
        # torch.manual_seed does this for every kind of device, and formats the stack for those that are not there
        torch.default_generator.manual_seed(key)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(key)
        factor = self.schedule(self.step)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group.setdefault("base_lr", group["lr"]) * factor

    def training_step(self, batch: Item, batch_idx: int) -> Tensor:
        x, y, steps = self.prepared(batch)
        given = {} if self.beside is None else self.beside.of(batch.clips, x.device)
        out = self.model(x, **given) if steps is None else self.model(x, lengths=steps, **given)
        # a task may ask for something else in its first epochs
        task = self.task.in_epoch(batch.epoch) if hasattr(self.task, "in_epoch") else self.task
        loss: Tensor = task.loss(out, Batch(x, y, steps, (), **given))
        self.sums.add(loss.detach(), logits_of(out).detach(), y)
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        own = self.sums.vector(self.device)
        gathered = self.all_gather(own)  # every process has its own share of the epoch
        assert isinstance(gathered, Tensor)
        checkpoint["learner"] = {"step": self.step, "sums": gathered.reshape(-1, len(own)).cpu()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.step, sums = checkpoint["learner"]["step"], checkpoint["learner"]["sums"]
        if len(sums) == self.trainer.world_size:
            self.sums.held = sums[self.global_rank]
        else:  # goes on with another number of processes
            self.sums.held = sums.sum(0) if self.global_rank == 0 else None

    def finish_step(self) -> None:
        """Counts the step that was taken, and lets the running mean follow."""
        self.step += 1
        if self.mean is not None:
            self._average()

    # --- inside ---

    def prepared(self, batch: Item) -> tuple[Tensor, Tensor, Tensor | None]:
        """The network's input, targets, and valid steps, augmented by the batch's own draws."""
        draws = Draws(self.seed, batch.epoch, batch.clips, batch.repeats, batch.x.device)
        x, lengths = batch.x, batch.lengths
        if not batch.featured:
            with _full_precision(x):
                for augment in self.on_wave:
                    x = augment(x, draws, lengths)
                if lengths is not None:
                    lengths = lengths.clamp_max(x.shape[-1])
                x = self.feature(x) if lengths is None else self.feature(x, lengths)
                lengths = None if lengths is None else self.feature.steps(lengths).clamp_max(x.shape[-1])
        with _full_precision(x):
            for augment in self.on_feature:  # windows are (batch, frame, mel)
                x = augment(x.mT, draws).mT if batch.featured else augment(x, draws, lengths)
            y = batch.y
            if self.on_batch:
                y = nn.functional.one_hot(y, len(self.task.classes)).to(x.dtype)
                for augment in self.on_batch:
                    x, y = augment(x, y, draws)
        return x, y, lengths

    @torch.no_grad()
    def _average(self) -> None:
        assert self.mean is not None and self.decay is not None
        # early on the mean follows quickly, so that it does not remember the first random weights
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        mine: list[Tensor] = list(self.mean.parameters())
        theirs: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        for own, other in zip(self.mean.buffers(), self.model.buffers()):
            own.copy_(other)


class Sums:
    """Loss and hits of an epoch, summed where they are computed and read once at its end.

    Attributes
    ----------
    held: (2 + 2 class,): the loss, labels seen; hits and labels seen of each class. None where nothing was added.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.held: Tensor | None = None

    def clear(self) -> None:
        self.held = None

    def add(self, loss: Tensor, logits: Tensor, y: Tensor) -> None:
        """loss () of a batch; logits (..., class); y (...) classes, -100 for none, or (batch, class) weights."""
        if y.is_floating_point():
            y = y.argmax(-1)
        logits, y = logits.reshape(-1, self.classes), y.reshape(-1)
        known = y >= 0
        right = known & (logits.argmax(-1) == y)
        kept = torch.where(known, y, 0)
        new = self.vector(y.device, empty=True)
        total, count, hits, seen = self._parts(new)
        count += known.sum()
        total += torch.where(count > 0, loss.to(total.dtype) * count, 0.0)  # without a label there is no loss
        hits.index_add_(0, kept, right.to(hits.dtype))
        seen.index_add_(0, kept, known.to(seen.dtype))
        self.held = new if self.held is None else self.held.to(new.device) + new

    def vector(self, device: torch.device, empty: bool = False) -> Tensor:
        """What is held, zeros where that is nothing."""
        if self.held is not None and not empty:
            return self.held.to(device)
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return torch.zeros(2 + 2 * self.classes, dtype=dtype, device=device)

    def scores(self, reduce: Callable[[Tensor], Tensor], device: torch.device) -> dict[str, float]:
        """Mean loss, accuracy, balanced accuracy; ``reduce`` sums over devices, of which some may have had nothing."""
        total, count, hits, seen = self._parts(reduce(self.vector(device)).cpu())
        if count == 0:
            raise HeschlError(
                "task: no example has a label that the task knows: check task.label or task.tier"
            )
        there = seen > 0
        return {
            "loss": float(total / count),
            "accuracy": float(hits.sum() / seen.sum()),
            "balanced_accuracy": float((hits[there] / seen[there]).mean()),
        }

    def _parts(self, held: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return held[0], held[1], held[2 : 2 + self.classes], held[2 + self.classes :]


def _full_precision(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Spectra and augmentation are never computed in half precision."""
    return torch.autocast(x.device.type, enabled=False)
