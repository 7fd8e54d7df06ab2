"""AudioNet of AudioMNIST: six small convolutions and pools over the waveform, then three dense layers.

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

CHANNELS = (100, 64, 128, 128, 128, 128)


class AudioNet(nn.Module):
    """Waveform (batch, 1, time) -> logits (batch, class).

    Parameters
    ----------
    in_shape: (1, time); the published network hears (1, 8000), one second at 8 kHz.
    n_outputs: classes.
    pool1: width of the first pool; 3 in the published definition, 2 in its Keras version. Its last window may
        hang over the end (Caffe rounds up), so that 8,000 samples give 4,000 steps.
    dense_relu: rectify the two hidden dense layers; the published network does not, so that its dense part is linear.
    dropout: after each hidden dense layer, in training.
    width: factor on every hidden layer's size; 1 as published, less for small machines.
    init: "caffe": Gaussians of 0.1 and zero biases, as published; "he": variance kept from layer to layer;
        "torch": torch's own.

    Areas: the six convolutions after their rectification, and the two hidden dense layers.

    Raises
    ------
    HeschlError: the input has another shape, clips differ in length, or it is too short for six pools.
    """

    areas: ClassVar[dict[str, str]] = {
        **{f"conv{k}": f"features.relu{k}" for k in (1, 2, 3, 4, 5, 6)},
        **{f"fc{k}": f"classifier.fc{k}" for k in (7, 8)},
    }
    example: ClassVar[tuple[tuple[int, ...], int]] = ((1, 1000), 10)

    def __init__(
        self,
        in_shape: tuple[int, int],
        n_outputs: int,
        pool1: int = 3,
        dense_relu: bool = False,
        dropout: float = 0.5,
        width: float = 1.0,
        init: Literal["caffe", "he", "torch"] = "caffe",
    ) -> None:
        super().__init__()
        self.in_shape = check_shape("AudioNet", in_shape, ("channel", "time"), n_outputs)
        before, time = self.in_shape
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for k, channels in enumerate((max(1, round(n * width)) for n in CHANNELS), start=1):
            layers[f"conv{k}"] = nn.Conv1d(before, channels, 3, padding=1)
            layers[f"relu{k}"] = nn.ReLU()
            pool = pool1 if k == 1 else 2
            layers[f"pool{k}"] = nn.MaxPool1d(pool, stride=2, ceil_mode=k == 1)
            # ceil: the last window may hang over the end, but must begin inside (Caffe and torch agree).
            time = min(-(-(time - pool) // 2) + 1, -(-time // 2)) if k == 1 else (time - pool) // 2 + 1
            before = channels
        if time < 1:
            raise HeschlError(
                f"AudioNet halves the time six times and hears {self.in_shape[1]} samples: give it at least 64"
            )
        self.features = nn.Sequential(layers)
        self.flatten = nn.Flatten()
        wide, narrow = (max(1, round(n * width)) for n in (1024, 512))
        hidden = OrderedDict[str, nn.Module]()
        for k, (size, units) in enumerate([(before * time, wide), (wide, narrow)], start=7):
            hidden[f"fc{k}"] = nn.Linear(size, units)
            if dense_relu:
                hidden[f"relu{k}"] = nn.ReLU()
            hidden[f"drop{k}"] = nn.Dropout(dropout)
        self.classifier = nn.Sequential(OrderedDict(**hidden, fc9=nn.Linear(narrow, n_outputs)))
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d | nn.Linear):
                _initialise(layer, init)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        check_input("AudioNet", x, self.in_shape, lengths)
        logits: torch.Tensor = self.classifier(self.flatten(self.features(x)))
        return logits


def _initialise(layer: nn.Conv1d | nn.Linear, init: str) -> None:
    if init == "torch":
        return
    if init == "caffe":
        nn.init.normal_(layer.weight, std=0.1)
    elif init == "he":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    else:
        raise HeschlError(f"AudioNet's init is '{init}': choose 'caffe', 'he' or 'torch'")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
