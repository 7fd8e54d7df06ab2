"""Channels last: the same numbers, weights and gradients as the usual order, kept from layer to layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from heschl.models.audionet import AudioNet
from heschl.models.audionet_v1 import AudioNetV1
from heschl.training.channels_last import channels_last

LAYERS = [
    nn.Conv1d(4, 6, 5),
    nn.Conv1d(1, 6, 3, padding=1),
    nn.Conv1d(4, 6, 5, stride=3, padding=2, dilation=2, groups=2, bias=False),
    nn.Conv1d(4, 6, 5, padding="same"),
    nn.Conv1d(4, 6, 3, padding=1, padding_mode="circular"),
    nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.GELU(), nn.AvgPool1d(2)),
    nn.Sequential(
        nn.Conv1d(4, 6, 3), nn.ReLU(), nn.MaxPool1d(3, 2, ceil_mode=True), nn.Flatten(), nn.LazyLinear(3)
    ),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_answers_and_gradients_are_those_of_the_usual_order(layer: nn.Module) -> None:
    channels = layer.in_channels if isinstance(layer, nn.Conv1d) else 4
    torch.manual_seed(0)
    x = torch.randn(3, channels, 40, dtype=torch.float64)
    plain = copy.deepcopy(layer).double().eval()
    plain(x)  # the lazy layer takes its size
    last = channels_last(copy.deepcopy(plain))
    results = []
    for network in (plain, last):
        heard = x.clone().requires_grad_()
        answer = network(heard)
        answer.sin().sum().backward()
        results.append([answer, heard.grad, *(one.grad for one in network.parameters())])
    for expected, found in zip(*results):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert list(last.state_dict()) == list(plain.state_dict())


def test_one_clip_without_a_batch_passes_too() -> None:
    plain = nn.Conv1d(4, 6, 5)
    last = channels_last(copy.deepcopy(plain))
    x = torch.randn(4, 20)
    torch.testing.assert_close(last(x), plain(x))


@pytest.mark.parametrize(
    "network", [AudioNet((1, 1000), 10), AudioNetV1((1, 15500), 10)], ids=["AudioNet", "V1"]
)
def test_the_order_lasts_through_the_convolutions_of_a_network(network: nn.Module) -> None:
    seen = []
    channels_last(network)
    for layer in network.modules():
        if isinstance(layer, nn.Conv1d | nn.ReLU | nn.MaxPool1d):
            layer.register_forward_hook(lambda layer, given, made: seen.append((type(layer).__name__, made)))
    network.eval()(torch.randn(2, *network.in_shape))
    maps = [(name, made) for name, made in seen if made.ndim == 3]
    assert len(maps) >= 10
    for name, made in maps:
        assert made.stride(1) == 1 and made.stride(2) == made.shape[1], name


def test_clips_in_the_usual_order_and_two_dimensional_weights_are_turned() -> None:
    made = channels_last(nn.Conv1d(4, 6, 5))(torch.randn(3, 4, 40))
    assert made.stride(1) == 1 and made.stride(2) == 6
    flat = channels_last(nn.Conv2d(3, 4, (3, 2)))
    assert flat.weight.stride(1) == 1 and flat(torch.randn(2, 3, 6, 5)).stride(1) == 1
