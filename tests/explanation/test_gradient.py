"""Gradient methods against closed forms, finite differences, completeness, captum, and brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from lrp_networks import OTHERS, STACKED, build
from torch import nn

from heschl.explanation import gradient as methods
from heschl.explanation.perturb import aligned_occlusion
from heschl.types import HeschlError

ALL = {
    "gradient": methods.gradient,
    "gradient_x_input": methods.gradient_x_input,
    "integrated_gradients": methods.integrated_gradients,
    "smoothgrad": methods.smoothgrad,
    "occlusion_time": methods.occlusion_time,
}
TARGET = torch.tensor([2, 0, 1])


def smooth(clips=3):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)).double().eval()
    return network, torch.randn(clips, 2, 6).double()


def logit(network, x, target):
    return network(x).gather(1, target[:, None])[:, 0]


def test_gradient_is_the_slope():
    network, x = smooth()
    given, step = methods.gradient(network, x, TARGET), 1e-6
    for c, t in itertools.product(range(2), range(6)):
        move = torch.zeros_like(x)
        move[:, c, t] = step
        slope = (logit(network, x + move, TARGET) - logit(network, x - move, TARGET)) / (2 * step)
        assert torch.allclose(given[:, c, t], slope, rtol=1e-6, atol=1e-9)
    assert torch.allclose(methods.gradient_x_input(network, x, TARGET), x * given)


def test_a_linear_network_is_explained_by_its_weights():
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 3)).double().eval()
    x = torch.randn(3, 2, 4).double()
    w = network[1].weight[TARGET].reshape(3, 2, 4)
    for name in ("gradient", "smoothgrad"):
        assert torch.allclose(ALL[name](network, x, TARGET), w)
    assert torch.allclose(methods.smoothgrad(network, x, TARGET, times_input=True), w * x)
    assert torch.allclose(methods.integrated_gradients(network, x, TARGET), w * x)
    assert torch.allclose(methods.integrated_gradients(network, x, TARGET, baseline=2.0), w * (x - 2))
    assert torch.allclose(methods.occlusion_time(network, x, TARGET).sum(1), (w * x).sum(1))


def test_integrated_gradients_are_complete_and_captums():
    network, x = smooth()
    baseline = torch.randn(2, 6).double()
    given = methods.integrated_gradients(network, x, TARGET, steps=40, baseline=baseline)
    whole = logit(network, x, TARGET) - logit(network, baseline.expand_as(x), TARGET)
    assert torch.allclose(given.sum((1, 2)), whole, rtol=1e-8)
    captum = pytest.importorskip("captum.attr")
    theirs = captum.IntegratedGradients(network).attribute(
        x, baseline[None].expand_as(x), target=TARGET, n_steps=40, method="gausslegendre"
    )
    assert torch.allclose(given, theirs, rtol=1e-6, atol=1e-8)


def test_smoothgrad_is_the_slope_of_the_smoothed_network():
    """For f = sum x^2 the expected slope is 2x exactly; its error falls as 1 / sqrt(samples)."""

    class Square(nn.Module):
        def forward(self, x):
            return torch.stack([x.square().sum(1), x.sum(1)], 1)

    x, target = torch.linspace(-1, 1, 50).double()[None], torch.tensor([0])
    given = methods.smoothgrad(Square().eval(), x, target, samples=400, noise=0.1, seed=3)
    assert (given - 2 * x).std() == pytest.approx(2 * 0.1 * 2 / 20, rel=0.35)
    again = methods.smoothgrad(Square().eval(), x, target, samples=400, noise=0.1, seed=3)
    other = methods.smoothgrad(Square().eval(), x, target, samples=400, noise=0.1, seed=4)
    assert torch.equal(given, again) and not torch.equal(given, other)


def test_a_clip_in_a_padded_batch_is_smoothed_as_alone():
    """Its noise and its range are its own: they hang neither on zeros after its end nor on how long the batch is."""

    class Frames(nn.Module):
        def forward(self, x, lengths):
            y = x.square().sum(1)
            return torch.stack([y, -y], -1)

    x = torch.rand(2, 3, 9, generator=torch.Generator().manual_seed(0)).double() + 5
    x[1, :, 4:] = 0
    target, lengths = torch.zeros(2, 9, dtype=torch.long), torch.tensor([9, 4])
    target[1, 4:] = -100
    together = methods.smoothgrad(Frames().eval(), x, target, samples=3, lengths=lengths)
    alone = methods.smoothgrad(Frames().eval(), x[1:, :, :4], target[1:, :4], samples=3, lengths=lengths[1:])
    assert torch.allclose(together[1:, :, :4], alone)


@pytest.mark.parametrize(
    ("width", "step", "axis"), [(1, None, -1), (2, None, -1), (4, None, 2), (3, 1, -1), (1, None, 1)]
)
def test_occlusion_by_brute_force(width, step, axis):
    network, x = smooth()
    given = methods.occlusion(network, x, TARGET, axis, width, step, baseline=0.5)
    length, step = x.shape[axis], step or width
    wanted = torch.zeros_like(x)
    seen = torch.zeros_like(x)
    firsts = [f for f in range(0, length, step) if f == 0 or f - step + width < length]
    for k, first in itertools.product(range(3), firsts):
        hidden, place = x[k : k + 1].clone(), torch.zeros_like(x[k], dtype=torch.bool)
        place.narrow(axis if axis < 0 else axis - 1, first, min(width, length - first)).fill_(True)
        hidden[0][place] = 0.5
        fall = logit(network, x[k : k + 1], TARGET[k : k + 1]) - logit(network, hidden, TARGET[k : k + 1])
        far = (x[k][place] - 0.5) ** 2
        wanted[k][place] += fall * far / far.sum()
        seen[k][place] += 1
    assert torch.allclose(given, wanted / seen)


def test_occlusion_of_frequencies():
    network, x = build(STACKED["spectrogram network"], clips=3)
    given = methods.occlusion_frequency(network, x, TARGET, width=4)
    assert torch.allclose(given, methods.occlusion(network, x, TARGET, -2, 4))
    assert (given[:, :, :4] / x[:, :, :4].square()).flatten(1).std(1).max() < 1e-9


def test_occlusion_gives_nothing_to_what_it_does_not_move():
    """Silent values beside the one sound in a window; the sum of the window is the fall all the same."""
    network, x = smooth()
    x[:, :, 1:4] = 0.25
    for given in (
        methods.occlusion(network, x, TARGET, width=4, baseline=0.25),
        aligned_occlusion(network, x, TARGET, (torch.arange(x.shape[-1]) // 4).expand(3, -1), 0.25),
    ):
        assert (given[:, :, 1:4] == 0).all() and (given[:, :, 0] != 0).any()
        hidden = torch.cat([torch.full_like(x[..., :4], 0.25), x[..., 4:]], -1)
        fall = logit(network, x, TARGET) - logit(network, hidden, TARGET)
        assert torch.allclose(given[..., :4].flatten(1).sum(1), fall)
    assert not methods.occlusion(network, x, TARGET, width=4, baseline=x).any()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("network", ["GRU", "attention", "log-mel"])
def test_a_batch_equals_its_clips(name, network):
    network, x = build(OTHERS[network], clips=3)
    x[1] *= 50
    both = ALL[name](network, x, TARGET)
    assert both.shape == x.shape
    for k in range(3):
        assert torch.allclose(
            both[k], ALL[name](network, x[k : k + 1], TARGET[k : k + 1])[0], rtol=1e-8, atol=1e-10
        )


@pytest.mark.parametrize("name", ALL)
def test_bad_input_is_refused(name):
    network, x = smooth()
    for bad, match in (
        ((network, x, None), "there is no target"),
        ((network, x, torch.tensor([0, 1, 3])), "there is no target 3"),
        ((network, x * torch.nan, TARGET), "not finite"),
        ((smooth()[0].train(), x, TARGET), "train mode"),
    ):
        with pytest.raises(HeschlError, match=match):
            ALL[name](*bad)


def test_bad_options_are_refused():
    network, x = smooth()
    for call, match in (
        (lambda: methods.integrated_gradients(network, x, TARGET, steps=0), "steps is 0"),
        (
            lambda: methods.integrated_gradients(network, x, TARGET, baseline=torch.zeros(5)),
            "baseline is of shape",
        ),
        (lambda: methods.smoothgrad(network, x, TARGET, noise=-1), "noise is -1"),
        (lambda: methods.occlusion(network, x, TARGET, 0), "axis is 0"),
        (lambda: methods.occlusion(network, x, TARGET, -1, 2, 3), "step 3 is wider"),
        (lambda: methods.occlusion_frequency(network, x[:, 0], TARGET), "no frequency axis"),
    ):
        with pytest.raises(HeschlError, match=match):
            call()
