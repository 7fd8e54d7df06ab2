"""AudioNet-V1: five wide strided convolutions over the raw waveform, then four dense layers.

After the AudioNet-V1 repository (vj-1988, Keras 2.0.8), which trained it on Speech Commands v0.01.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch
from torch import nn

from heschl.models.inputs import check_input, check_shape
from heschl.types import HeschlError

CONVOLUTIONS, KERNEL, STRIDE = 5, 32, 4


class AudioNetV1(nn.Module):
    """Waveform (batch, 1, time) -> logits (batch, class).

    Parameters
    ----------
    in_shape: (1, time); the published network hears (1, 16000), one second at 16 kHz.
    n_outputs: classes.
    channels: of each convolution.
    dense: units of each of the four hidden dense layers.
    dropout: after the first three of them, in training.

    Each convolution spans 32 steps and strides over 4, without padding: 16,000 samples become 3993, 991, 240, 53
    and 6 steps. Initialisation as published (Keras): Glorot uniform in the first convolution and the dense layers,
    Glorot normal, cut off at two deviations, in the other convolutions; zero biases.

    Areas: the five convolutions and the four hidden dense layers, after their rectification.

    Raises
    ------
    HeschlError: the input has another shape, clips differ in length, or it is too short for five convolutions.
    """

    areas: ClassVar[dict[str, str]] = {
        **{f"conv{k}": f"features.relu{k}" for k in (1, 2, 3, 4, 5)},
        **{f"fc{k}": f"classifier.relu{k}" for k in (6, 7, 8, 9)},
    }
    example: ClassVar[tuple[tuple[int, ...], int, dict[str, int]]] = (
        (1, 11000),
        10,
        {"channels": 16, "dense": 32},
    )

    def __init__(
        self,
        in_shape: tuple[int, int],
        n_outputs: int,
        channels: int = 256,
        dense: int = 512,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.in_shape = check_shape("AudioNetV1", in_shape, ("channel", "time"), n_outputs)
        before, time = self.in_shape
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for k in range(1, CONVOLUTIONS + 1):
            layers[f"conv{k}"] = nn.Conv1d(before, channels, KERNEL, stride=STRIDE)
            layers[f"relu{k}"] = nn.ReLU()
            before, time = channels, (time - KERNEL) // STRIDE + 1
        if time < 1:
            raise HeschlError(
                f"AudioNetV1 strides over at least {shortest()} samples and hears {self.in_shape[1]}: "
                "lengthen clip.seconds or raise the rate"
            )
        self.features = nn.Sequential(layers)
        self.flatten = nn.Flatten()
        size = before * time
        hidden: OrderedDict[str, nn.Module] = OrderedDict()
        for k in (6, 7, 8, 9):
            hidden[f"fc{k}"] = nn.Linear(size, dense)
            hidden[f"relu{k}"] = nn.ReLU()
            if k < 9:
                hidden[f"drop{k}"] = nn.Dropout(dropout)
            size = dense
        hidden["fc10"] = nn.Linear(size, n_outputs)
        self.classifier = nn.Sequential(hidden)
        _initialise(self)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        check_input("AudioNetV1", x, self.in_shape, lengths)
        logits: torch.Tensor = self.classifier(self.flatten(self.features(x)))
        return logits


def shortest() -> int:
    """Samples that leave one step after the last convolution."""
    time = 1
    for _ in range(CONVOLUTIONS):
        time = (time - 1) * STRIDE + KERNEL
    return time


def _initialise(model: AudioNetV1) -> None:
    for name, layer in [*model.features.named_children(), *model.classifier.named_children()]:
        if not isinstance(layer, nn.Conv1d | nn.Linear):
            continue
        if isinstance(layer, nn.Conv1d) and name != "conv1":
            _glorot_normal(layer.weight)
        else:
            nn.init.xavier_uniform_(layer.weight)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


def _glorot_normal(weight: torch.Tensor) -> None:
    """Normal draws of variance 2 / (fan in + fan out), none beyond two deviations (Keras 2.0's, not widened)."""
    outputs, inputs, kernel = weight.shape
    deviation = (2.0 / (kernel * (inputs + outputs))) ** 0.5
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)
