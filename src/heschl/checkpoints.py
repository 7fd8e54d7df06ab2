"""Weights and checkpoints of a run: written whole or not at all, and opened without running anything in them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from heschl.files import write_bytes
from heschl.types import HeschlError

if TYPE_CHECKING:
    import torch


def save_weights(path: Path, state: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
    """Writes a state dict as safetensors, with what they are beside them, whole or not at all."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    # one key, as safetensors writes several in any order: the same weights give the same bytes
    write_bytes(path, save(tensors, {"heschl": json.dumps(about, sort_keys=True)}))


def about_weights(path: Path) -> dict[str, Any]:
    """What `save_weights` wrote beside the weights; empty for other files."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        held = json.loads((file.metadata() or {}).get("heschl", "{}"))
    return held if isinstance(held, dict) else {}


def last_weights(path: Path, name: str) -> dict[str, torch.Tensor]:
    """The network's weights out of last.ckpt, which must belong to the run ``name``; their running mean where it is kept
    (`train.ema`), as in every other file of weights."""
    held = read_checkpoint(path, name)["state_dict"]
    prefix = "mean." if any(key.startswith("mean.") for key in held) else "model."
    return {key.removeprefix(prefix): value for key, value in held.items() if key.startswith(prefix)}


def read_checkpoint(path: Path, name: str) -> dict[str, Any]:
    """last.ckpt, opened without running anything in it.

    Raises
    ------
    HeschlError: it is missing, damaged, a pickle that would run code, or another run's.
    """
    import torch

    if not path.exists():
        raise HeschlError(f"{path} is not there: the run has no checkpoint yet")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise HeschlError(
            f"{path} holds more than tensors (a pickle that could run code), so it is not opened"
        ) from None
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise HeschlError(
            f"{path} is damaged ({str(error).splitlines()[0][:80]}): remove it to train anew"
        ) from None
    owner = held.get("run") if isinstance(held, dict) else None
    if owner != name:
        raise HeschlError(f"{path} is a checkpoint of {owner or 'something else'}, not of {name}: remove it")
    return cast("dict[str, Any]", held)
