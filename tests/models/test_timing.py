from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as scipy_signal
from torch import nn
from torch.nn import functional as F

from heschl.models.alexnet import AlexNet
from heschl.models.audionet import AudioNet
from heschl.models.audionet_v1 import AudioNetV1
from heschl.models.crnn import CRNN
from heschl.models.frame_mlp import FrameMLP
from heschl.models.timing import as_series, compose, measure, times
from heschl.types import HeschlError

NETWORKS = {
    "crnn": (lambda: CRNN((20, 13), 4, 6, 5, kernel=4), (20, 13)),
    "alexnet": (lambda: AlexNet((80, 131), 4, width=0.05, init="he"), (80, 131)),
    "audionet": (lambda: AudioNet((1, 640), 4, width=0.1, init="he"), (1, 640)),
    "audionet_v1": (lambda: AudioNetV1((1, 12000), 4, channels=4, dense=8), (1, 12000)),
    "frame_mlp": (lambda: FrameMLP((7, 5), 4, widths=(6, 5)), (7, 5)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_fields_are_what_the_gradient_reaches(name: str) -> None:
    torch.manual_seed(0)
    make, in_shape = NETWORKS[name]
    model = make().double()
    x = torch.randn(6, *in_shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for area, timing in compose(model, in_shape).items():
        steps = sorted({0, 1, timing.steps // 2, timing.steps - 1} & set(range(timing.steps)))
        assert measure(model, x, area, timing, steps) == {step: timing.field(step) for step in steps}, area


def impulses(model: nn.Module, in_shape: tuple[int, ...], area: str, at: int) -> list[int]:
    """Steps of an area that a click at one moment of the input changes."""
    kept = []
    model.eval()
    handle = model.get_submodule(model.areas[area]).register_forward_hook(
        lambda _m, _i, out: kept.append(out)
    )
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, *in_shape, generator=generator, dtype=torch.float64)
    clicked = x.clone()
    clicked[..., at] += torch.randn(x[..., at].shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        model(x), model(clicked)
    handle.remove()
    timing = compose(model, in_shape)[area]
    before, after = (as_series(out, timing, len(x)) for out in kept)
    return (before != after).any(-1).any(0).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("name", "area", "at"),
    [
        ("crnn", "STG", 6),
        ("crnn", "TP", 6),
        ("crnn", "IFG", 12),
        ("audionet", "conv3", 101),
        ("audionet_v1", "conv3", 3000),
        ("alexnet", "conv2", 50),
        ("alexnet", "conv5", 0),
    ],
)
def test_a_click_is_heard_by_the_steps_that_say_so(name: str, area: str, at: int) -> None:
    torch.manual_seed(0)
    make, in_shape = NETWORKS[name]
    model = make().double()
    timing = compose(model, in_shape)[area]
    expected = [step for step in range(timing.steps) if timing.field(step)[0] <= at <= timing.field(step)[1]]
    assert impulses(model, in_shape, area, at) == expected


def test_the_crnn_s_steps_are_the_spectrogram_s() -> None:
    """Against scipy: the published spectrogram's own times."""
    _, seconds, _ = scipy_signal.spectrogram(np.zeros(16000), 16000)
    found = times(CRNN((129, 71), 31), (129, 71), rate=16000 / 224, start=0.008)
    assert list(found) == ["STG", "TP", "IFG"]
    for area in found:
        np.testing.assert_allclose(found[area], seconds, atol=1e-12)


def test_times_by_hand() -> None:
    # AudioNet-V1, first convolution: 32 samples from 0, from 4, ... : centres 15.5, 19.5, ...; second: 32 of those.
    found = times(AudioNetV1((1, 16000), 2, channels=2), (1, 16000), rate=16000, areas=["conv1", "conv2"])
    np.testing.assert_allclose(found["conv1"], (15.5 + 4 * np.arange(3993)) / 16000, atol=1e-12)
    np.testing.assert_allclose(found["conv2"], (15.5 + 4 * 15.5 + 16 * np.arange(991)) / 16000, atol=1e-12)
    # A window of frames happens at its middle.
    (middle,) = times(FrameMLP((51, 40), 71, widths=(4,)), (51, 40), rate=100, start=0.5)["hidden1"]
    assert middle == 0.5 + 0.25


@given(
    kernels=st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.booleans()),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=25, deadline=None)
def test_any_stack_of_convolutions_and_pools(kernels: list[tuple[int, int, int, int, bool]]) -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for kernel, stride, padding, dilation, pool in kernels:
        padding = min(padding, kernel // 2)
        if pool:
            layers.append(nn.AvgPool1d(kernel, stride, padding))
        else:
            layers.append(nn.Conv1d(2, 2, kernel, stride, padding, dilation))
    model = nn.Sequential(*layers).double()
    model.areas = {"last": str(len(layers) - 1)}
    timing = compose(model, (2, 60))["last"]
    x = torch.randn(1, 2, 60, dtype=torch.float64)
    fields = measure(model, x, "last", timing, range(timing.steps))
    for step, (first, last) in fields.items():
        claimed = timing.field(step)
        assert claimed[0] <= first and last <= claimed[1]
    middle = timing.steps // 2  # far from the padding, to the sample
    if timing.field(middle)[0] > 10 and timing.field(middle)[1] < 49:
        assert fields[middle] == timing.field(middle)


class Branched(nn.Module):
    """A shortcut, a gate over the whole clip, a transposition, a recurrent layer both ways, and a mean."""

    areas: ClassVar = {"block": "second", "gated": "after", "both": "gru", "out": "out"}

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 4, 3, stride=2, padding=1)
        self.second = nn.Conv1d(4, 4, 5, padding="same")
        self.skip = nn.Conv1d(4, 4, 1)
        self.gate = nn.Linear(4, 4)
        self.after = nn.Conv1d(4, 4, 1)
        self.gru = nn.GRU(4, 3, batch_first=True, bidirectional=True)
        self.out = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.first(x))
        x = self.second(x) + self.skip(x)
        x = self.after(x * torch.sigmoid(self.gate(x.mean(-1)))[..., None])
        steps, _ = self.gru(x.transpose(1, 2))
        return self.out(steps.mean(1))


def test_branches_gates_and_both_ways() -> None:
    torch.manual_seed(0)
    model = Branched().double()
    timings = compose(model, (2, 30))
    assert (timings["block"].start, timings["block"].size, timings["block"].stride) == (-5, 11, 2)
    assert timings["gated"].past and timings["gated"].future and timings["gated"].steps == 15
    assert timings["both"].axis == 1
    assert timings["out"].steps == 1
    assert timings["out"].field(0) == (0, 29)
    x = torch.randn(2, 2, 30, dtype=torch.float64)
    for area, timing in timings.items():
        fields = measure(model, x, area, timing, range(timing.steps))
        assert fields == {step: timing.field(step) for step in range(timing.steps)}, area


class Functional(nn.Module):
    areas: ClassVar = {"out": "out"}

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2, 3))
        self.out = nn.Conv1d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(F.conv1d(x, self.weight))


class Unknown(nn.Module):
    areas: ClassVar = {"out": "own"}

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Upsample(scale_factor=2)
        self.line = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.own(self.line(x) if x.shape[-1] == 4 else x)


def test_refuses_loudly_rather_than_guess() -> None:
    with pytest.raises(HeschlError, match="not moments in time"):
        times(CRNN((129, 71), 31, sweep="frequency"), (129, 71), rate=1.0)
    with pytest.raises(HeschlError, match="conv1d as a function"):
        compose(Functional(), (2, 9))
    with pytest.raises(HeschlError, match="layer own is of type Upsample"):
        compose(Unknown(), (2, 9))
    with pytest.raises(HeschlError, match="mixes the steps"):
        compose(Unknown(), (2, 4))
    with pytest.raises(HeschlError, match="has no area V1"):
        times(CRNN((129, 71), 31), (129, 71), rate=1.0, areas=["V1"])


def test_leaves_the_network_as_it_was() -> None:
    model = FrameMLP((5, 3), 4)
    compose(model, (5, 3))
    assert model.training and not any(module._forward_hooks for module in model.modules())
