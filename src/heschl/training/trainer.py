"""Lightning's trainer as heschl asks for it: its refusals in a sentence, its chatter left out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from heschl.recipe.schema import Machine
from heschl.types import HeschlError


def make_trainer(**options: Any) -> Trainer:
    """Lightning's trainer; what it refuses of `machine` is told in a sentence."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        return Trainer(**options)
    except (MisconfigurationException, ValueError, RuntimeError, ImportError) as error:
        if "accelerator is not available" in str(error):
            raise HeschlError(
                f"machine.device is {options['accelerator']}, and torch finds none here: set it to auto, "
                "or install the build of torch for it"
            ) from None
        first = (str(error).splitlines() or ["refused"])[0].rstrip(". ")
        raise HeschlError(f"machine: {first}: change machine.device, devices, nodes or strategy") from None


def machine_lacks(machine: Machine) -> str:
    """What this computer refuses of a recipe's `machine`, or "": another computer may have it."""
    try:
        make_trainer(
            accelerator=machine.device,
            devices=machine.devices,
            num_nodes=machine.nodes,
            strategy=machine.strategy,
            logger=False,
        )
    except HeschlError as error:
        return str(error)
    return ""


def rank() -> int:
    """This process among those of a training on several devices: all train, the one with 0 speaks and writes."""
    from lightning.pytorch.utilities import rank_zero_only

    return int(getattr(rank_zero_only, "rank", 0))


def device_name(trainer: Trainer) -> str:
    """What the weights lie on, and how many of it there are."""
    device = trainer.strategy.root_device
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return f"{trainer.world_size} x {kind}" if trainer.world_size > 1 else kind


def tensorboard(folder: Path) -> Any:
    """Lightning's logger, writing into this folder."""
    try:
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(str(folder), name="", version="tensorboard")
    except ModuleNotFoundError:
        raise HeschlError(
            "machine.tensorboard needs the package tensorboard: `pip install heschl[tensorboard]`"
        ) from None


@contextmanager
def hushed() -> Iterator[None]:
    """Without lightning's own lines and warnings, which are about choices that are made here on purpose."""
    names = ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings(
            "ignore", message=r".*(does not have many workers|in eval mode|isinstance\(treespec).*"
        )
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
