"""Captum's methods by our interface: against closed forms, clip by clip, and without captum."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from heschl.explanation.baselines import deeplift, gradient_shap
from heschl.explanation.gradient import gradient_x_input
from heschl.types import HeschlError

captum = pytest.importorskip("captum")
METHODS = [deeplift, gradient_shap]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8, 5)).double().eval()


@pytest.fixture
def x():
    return torch.randn(4, 3, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


TARGET = torch.tensor([0, 3, 2, 4])


@pytest.mark.parametrize("method", METHODS)
def test_a_line_is_its_weights_times_the_difference(method, x):
    torch.manual_seed(0)
    line = nn.Sequential(nn.Flatten(), nn.Linear(30, 5)).double().eval()
    begin = torch.full((1, 3, 10), 0.3, dtype=torch.float64)
    expected = line[1].weight[TARGET].reshape(x.shape) * (x - 0.3)
    assert torch.allclose(method(line, x, TARGET, baseline=begin), expected)
    assert torch.allclose(method(line, x, TARGET), gradient_x_input(line, x, TARGET))


def test_deeplift_adds_up_to_the_difference(network, x):
    with torch.no_grad():
        fall = (network(x) - network(torch.full_like(x, 0.2))).gather(1, TARGET[:, None])[:, 0]
    assert torch.allclose(deeplift(network, x, TARGET, baseline=0.2).sum((1, 2)), fall)


def test_gradient_shap_comes_near_the_difference(network, x):
    with torch.no_grad():
        fall = (network(x) - network(torch.zeros_like(x))).gather(1, TARGET[:, None])[:, 0]
    assert torch.allclose(gradient_shap(network, x, TARGET, samples=2000).sum((1, 2)), fall, atol=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_a_clip_never_changes_another_and_seeds_are_its_own(method, network, x):
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    whole = method(network, x, TARGET)
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numbers).all()
    assert torch.equal(whole[2:3], method(network, x[2:3], TARGET[2:3])) and whole.dtype == x.dtype
    assert torch.equal(whole, method(network, x, TARGET))
    if method is gradient_shap:
        assert not torch.equal(whole, method(network, x, TARGET, seed=1))
        noisy = []
        for elsewhere in (1, 2):  # what the global generator does means nothing
            torch.manual_seed(elsewhere)
            noisy.append(method(network, x, TARGET, noise=0.2))
        assert torch.equal(*noisy) and not torch.equal(noisy[0], whole)


@pytest.mark.parametrize("method", METHODS)
def test_networks_over_frames_and_with_lengths(method):
    class Frames(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(3, 4)

        def forward(self, x, lengths):
            inside = torch.arange(x.shape[-1]) < lengths[:, None]
            return self.line(x.mT) * inside[..., None], None

    torch.manual_seed(0)
    net = Frames().eval()
    x, target = torch.randn(2, 3, 6), torch.tensor([[1, 1, 2, 3, -100, 0], [0, 0, 0, 1, 2, 3]])
    lengths = torch.tensor([4, 6])
    expected = net.line.weight[target.clamp(min=0)].mT * x
    expected[0, :, 4:] = 0
    assert torch.allclose(method(net, x, target, lengths=lengths), expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_bad_input_is_one_sentence(method, network, x, monkeypatch):
    with pytest.raises(HeschlError, match="train mode"):
        method(network.train(), x, TARGET)
    network.eval()
    with pytest.raises(HeschlError, match="no target 9"):
        method(network, x, torch.full((4,), 9))
    with pytest.raises(HeschlError, match="baseline is of shape"):
        method(network, x, TARGET, baseline=torch.zeros(2, 7, dtype=torch.float64))
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(HeschlError, match=r"need captum: pip install 'heschl\[baselines\]'"):
        method(network, x, TARGET)


def test_what_captum_refuses_is_told(x):
    relu = nn.ReLU()
    twice = nn.Sequential(nn.Flatten(), relu, nn.Linear(30, 30), relu, nn.Linear(30, 5)).double().eval()
    with pytest.raises(HeschlError, match="captum's DeepLift cannot explain this network"):
        deeplift(twice, x, TARGET)
