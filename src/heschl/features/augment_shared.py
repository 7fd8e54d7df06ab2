"""What the augmentations share: ranges, columns, and which steps lie inside a clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from heschl.types import HeschlError

Range = Sequence[float]


def checked(values: Range, part: str, field: str, positive: bool = False) -> tuple[float, float]:
    """A range as (low, high), or one sentence that says what is wrong with it."""
    if len(values) != 2 or not values[0] <= values[1] or (positive and values[0] <= 0):
        what = "two positive numbers" if positive else "two numbers"
        raise HeschlError(
            f"augment.{part}: {field} is {list(values)}, and it must be {what}, the smaller first"
        )
    return float(values[0]), float(values[1])


def column(values: Tensor, like: Tensor) -> Tensor:
    """(batch,) values as (batch, 1) on the device and in the precision of ``like``."""
    return values.to(device=like.device, dtype=like.dtype)[:, None]


def valid_steps(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(batch, time) 1 where x (batch, time) is within lengths, else 0."""
    if lengths is None:
        return torch.ones_like(x)
    return (torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]).to(x)


def rms(x: Tensor, valid: Tensor) -> Tensor:
    """(batch, 1) root mean square over valid steps."""
    return ((x.square() * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True)).sqrt()
