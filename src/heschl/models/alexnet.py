"""AlexNet for spectrograms, as AudioMNIST trains it: two groups, no response normalisation, small dense layers.

After Becker et al., "AudioMNIST: Exploring explainable artificial intelligence for audio analysis on a simple
benchmark" (J. Franklin Inst. 361, 2024) and the network definition published with it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Literal

import torch
from torch import nn

from heschl.models.inputs import check_input, check_shape
from heschl.types import HeschlError


class AlexNet(nn.Module):
    """Spectrogram (batch, 1, frequency, time) -> logits (batch, class).

    Parameters
    ----------
    in_shape: (1, frequency, time), published (1, 227, 227); or (frequency, time), to which the axis is added.
    n_outputs: classes.
    groups: of the second, fourth and fifth convolution. Becker et al.: 2 each; audioM: (2, 1, 2).
    dropout: after each hidden dense layer, in training.
    width: factor on every hidden layer's channels; 1 as published, less for small machines.
    init: "caffe": Gaussians of 0.01 (0.005 before the dense layers) and biases of 0 or 0.1, as published;
        "he": variance kept from layer to layer (He et al. 2015), which narrower networks need to learn at all;
        "torch": torch's own, as audioM has it.

    Areas: the five convolutions and two dense layers, after their rectification.

    Raises
    ------
    HeschlError: the input has another shape, clips differ in length, or it is too small for the strides.
    """

    areas: ClassVar[dict[str, str]] = {
        **{f"conv{k}": f"features.relu{k}" for k in (1, 2, 3, 4, 5)},
        **{f"fc{k}": f"classifier.relu{k}" for k in (6, 7)},
    }
    # The published weights begin too small for inputs of size one: they are made for decibels.
    example: ClassVar[tuple[tuple[int, ...], int, dict[str, float | str]]] = (
        (1, 99, 99),
        10,
        {"width": 0.25, "init": "he"},
    )

    def __init__(
        self,
        in_shape: tuple[int, ...],
        n_outputs: int,
        groups: tuple[int, int, int] = (2, 2, 2),
        dropout: float = 0.5,
        width: float = 1.0,
        init: Literal["caffe", "he", "torch"] = "caffe",
    ) -> None:
        super().__init__()
        axes = ("frequency", "time") if len(in_shape) == 2 else ("channel", "frequency", "time")
        self.in_shape = check_shape("AlexNet", in_shape, axes, n_outputs)
        channels = self.in_shape[0] if len(in_shape) == 3 else 1
        frequency, time = (_size_after_pools(size) for size in self.in_shape[-2:])
        if frequency < 1 or time < 1:
            raise HeschlError(
                f"AlexNet strides over at least 67 x 67 values and its input is {self.in_shape}: "
                "choose a larger spectrogram or another network"
            )
        # Channel counts stay multiples of 4, so that groups of 2 divide them at any width.
        c1, c2, c3, c4, c5, dense = (max(4, 4 * round(n * width / 4)) for n in (96, 256, 384, 384, 256, 1024))
        g2, g4, g5 = groups
        self.features = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, c1, 11, stride=4),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(3, stride=2),
                conv2=nn.Conv2d(c1, c2, 5, padding=2, groups=g2),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(3, stride=2),
                conv3=nn.Conv2d(c2, c3, 3, padding=1),
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(c3, c4, 3, padding=1, groups=g4),
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(c4, c5, 3, padding=1, groups=g5),
                relu5=nn.ReLU(),
                pool5=nn.MaxPool2d(3, stride=2),
            )
        )
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            OrderedDict(
                fc6=nn.Linear(c5 * frequency * time, dense),
                relu6=nn.ReLU(),
                drop6=nn.Dropout(dropout),
                fc7=nn.Linear(dense, dense),
                relu7=nn.ReLU(),
                drop7=nn.Dropout(dropout),
                fc8=nn.Linear(dense, n_outputs),
            )
        )
        initialise(self, init)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        check_input("AlexNet", x, self.in_shape, lengths)
        image = x.unsqueeze(1) if x.ndim == 3 else x
        logits: torch.Tensor = self.classifier(self.flatten(self.features(image)))
        return logits


def _size_after_pools(size: int) -> int:
    """Steps left of an axis after conv1 (11, stride 4) and three pools (3, stride 2); other layers keep it."""
    size = (size - 11) // 4 + 1
    for _ in range(3):
        size = (size - 3) // 2 + 1
    return size


def initialise(model: AlexNet, init: str) -> None:
    """Draws the weights: "caffe" as published, "he" after He et al. (2015)."""
    deviation = {"fc6": 0.005, "fc7": 0.005}
    bias = {"conv2": 0.1, "conv4": 0.1, "conv5": 0.1, "fc6": 0.1, "fc7": 0.1}
    for name, layer in [*model.features.named_children(), *model.classifier.named_children()]:
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        assert layer.bias is not None
        if init == "caffe":
            nn.init.normal_(layer.weight, std=deviation.get(name, 0.01))
            nn.init.constant_(layer.bias, bias.get(name, 0.0))
        elif init == "he":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        elif init != "torch":
            raise HeschlError(f"AlexNet's init is '{init}': choose 'caffe', 'he' or 'torch'")
