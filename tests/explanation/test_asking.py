"""How networks are asked, by every method: half precision, clips that are too short, memory that runs out."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from heschl.explanation import gradient as methods
from heschl.explanation.faithful import deletion_curve
from heschl.explanation.manipulate import zeroing_curve
from heschl.explanation.perturb import aligned_occlusion
from heschl.types import HeschlError

X = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
TARGET = torch.tensor([0, 2, 1])
SEGMENTS = (torch.arange(8) // 2).expand(3, 8)
ALL = {
    "gradient": methods.gradient,
    "gradient_x_input": methods.gradient_x_input,
    "integrated_gradients": methods.integrated_gradients,
    "smoothgrad": methods.smoothgrad,
    "occlusion_time": methods.occlusion_time,
    "aligned_occlusion": lambda model, x, target: aligned_occlusion(model, x, target, SEGMENTS),
    "deletion_curve": lambda model, x, target: deletion_curve(model, x, target, X).scores,
    "zeroing_curve": lambda model, x, target: zeroing_curve(model, x, target, [0.1, 0.5]),
}


class Small(nn.Module):
    """Runs out of memory above so many clips."""

    def __init__(self, most: int = 10**6, kernel: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.most = most
        self.conv, self.out = nn.Conv1d(2, 4, kernel), nn.Linear(4 * max(1, 9 - kernel), 3)

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.out(torch.tanh(self.conv(x)).flatten(1))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_full_and_said_once(name, kind):
    model = Small().to(kind).eval()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        given = ALL[name](model, X.to(kind), TARGET)
    assert sum("half precision" in str(word.message) for word in said) == 1
    wanted = ALL[name](Small().to(kind).float().eval(), X.to(kind).float(), TARGET)
    assert torch.equal(given, wanted) and model.out.weight.dtype == kind


@pytest.mark.parametrize("name", ALL)
def test_where_memory_runs_out_fewer_clips_go_on(name):
    wanted = ALL[name](Small().eval(), X, TARGET)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        given = ALL[name](Small(most=2).eval(), X, TARGET)
    assert torch.allclose(given, wanted, atol=1e-6)
    assert any("memory ran out: went on with" in str(word.message) for word in said)
    with pytest.raises(torch.OutOfMemoryError):
        ALL[name](Small(most=0).eval(), X, TARGET)


@pytest.mark.parametrize("name", ALL)
def test_a_clip_shorter_than_the_receptive_field_is_told_in_a_sentence(name):
    with pytest.raises(HeschlError, match="shorter than the network's receptive field") as caught:
        ALL[name](Small(kernel=9).eval(), X, TARGET)
    assert "\n" not in str(caught.value)


def test_clips_and_network_meet_in_one_precision():
    for model, x in ((Small().double(), X), (Small(), X.double())):
        given = methods.gradient(model.eval(), x, TARGET)
        assert given.dtype == model.out.weight.dtype
        assert torch.allclose(given.float(), methods.gradient(Small().eval(), X, TARGET), atol=1e-6)


class Overwrites(Small):
    """Changes the clips that it is given, in place."""

    def forward(self, x):
        x.mul_(2).sub_(0.5)
        return super().forward(x)


@pytest.mark.parametrize("name", ALL)
def test_a_network_that_overwrites_its_input_changes_no_clip(name):
    apart = Small().eval()
    conv, given = apart.conv.forward, X.clone()
    apart.conv.forward = lambda x: conv(2 * x - 0.5)
    assert torch.allclose(ALL[name](Overwrites().eval(), given, TARGET), ALL[name](apart, X, TARGET))
    assert torch.equal(given, X)


class Undoes(Small):
    """Overwrites what its own derivative needs."""

    def forward(self, x):
        return super().forward(torch.relu(x * 2).square().relu_().mul_(2).exp_().add_(1).exp().mul_(0.1))


def test_a_network_without_a_derivative_is_told_in_a_sentence():
    with pytest.raises(HeschlError, match="cannot be differentiated") as told:
        methods.gradient(Undoes().eval(), X, TARGET)
    assert "\n" not in str(told.value)
