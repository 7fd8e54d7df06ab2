"""A multilayer perceptron that names the phoneme in the middle of a window of frames.

After the HW1P2 homework solutions of CMU's 11-785 course: a window of 51 frames of 40 mel bands, laid flat.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import nn

from heschl.models.inputs import check_input, check_shape
from heschl.types import HeschlError


class FrameMLP(nn.Module):
    """Window (batch, frame, feature) -> logits (batch, class) of the window's middle frame.

    Parameters
    ----------
    in_shape: (frame, feature); the published network sees (51, 40), 25 frames on either side.
    n_outputs: classes.
    widths: units of each hidden layer, in order; empty for a linear classifier.
    norm: "batch" (published), "layer" (each window on its own) or "none".
    dropout: after each hidden layer, in training.

    Each hidden layer is linear, norm, rectifier, dropout. Initialisation is torch's own, as published.

    Areas: "hidden1", "hidden2", ... the hidden layers after their rectification, one for each width. The time of
    a window is its middle.

    Raises
    ------
    HeschlError: the input has another shape, or a width or the norm is not one.
    """

    areas: ClassVar[dict[str, str]] = {}
    time_axis: ClassVar[int] = -2
    example: ClassVar[tuple[tuple[int, ...], int]] = ((51, 40), 71)

    def __init__(
        self,
        in_shape: tuple[int, int],
        n_outputs: int,
        widths: Sequence[int] = (1024, 1024, 1024, 512),
        norm: Literal["batch", "layer", "none"] = "batch",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.in_shape = check_shape("FrameMLP", in_shape, ("frame", "feature"), n_outputs)
        if any(width < 1 for width in widths):
            raise HeschlError(f"FrameMLP's widths are {tuple(widths)}: each must be above zero")
        if norm not in ("batch", "layer", "none"):
            raise HeschlError(f"FrameMLP's norm is '{norm}': choose 'batch', 'layer' or 'none'")
        self.areas = {f"hidden{k}": f"hidden.{k - 1}.relu" for k in range(1, len(widths) + 1)}  # type: ignore[misc]
        self.flatten = nn.Flatten()
        sizes = [math.prod(self.in_shape), *widths]
        self.hidden = nn.Sequential(*(_layer(*pair, norm, dropout) for pair in itertools.pairwise(sizes)))
        self.out = nn.Linear(sizes[-1], n_outputs)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        # A window is whole by construction, so lengths have nothing to say here.
        check_input("FrameMLP", x, self.in_shape)
        logits: torch.Tensor = self.out(self.hidden(self.flatten(x)))
        return logits


def _layer(inputs: int, outputs: int, norm: str, dropout: float) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(linear=nn.Linear(inputs, outputs))
    if norm != "none":
        parts["norm"] = nn.BatchNorm1d(outputs) if norm == "batch" else nn.LayerNorm(outputs)
    parts["relu"] = nn.ReLU()
    parts["dropout"] = nn.Dropout(dropout)
    return nn.Sequential(parts)
