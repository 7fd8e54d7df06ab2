"""Recorded activity: shapes, true times by impulses, nothing left behind in the network."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn

import heschl
from heschl.models.crnn import CRNN
from heschl.models.frame_lstm import FrameLSTM
from heschl.models.kws import KWS
from heschl.types import HeschlError


class Smooth(nn.Module):
    """Two strided convolutions with flat kernels: an impulse's answer lies round its own time."""

    areas: ClassVar[dict[str, str]] = {"first": "one", "second": "two", "whole": "dense"}

    def __init__(self, time: int = 400) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(1, 2, 7, 2, 3, bias=False), nn.Conv1d(2, 3, 5, 2, 1, bias=False)
        self.dropout, self.flatten = nn.Dropout(0.5), nn.Flatten()
        steps = self.two(self.one(torch.zeros(1, 1, time))).shape[-1]
        self.dense = nn.Linear(3 * steps, 4)
        with torch.no_grad():
            self.one.weight.fill_(0.3)
            self.two.weight.fill_(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.dense(self.flatten(self.dropout(self.two(self.one(x)))))
        return y


@pytest.mark.filterwarnings("ignore:Smooth's area whole")
@pytest.mark.parametrize("at", [151, 200, 202])
def test_the_answer_to_an_impulse_lies_round_its_own_time(at: int) -> None:
    rate, start = 200.0, 1.5
    x = torch.zeros(1, 1, 400)
    x[..., at] = 1.0
    found = heschl.record(Smooth(), x, rate, start=start)
    for area, stride in (("first", 2), ("second", 4)):
        activity = found[area]
        weight = activity.values[0].sum(-1).double()
        centre = float((weight * activity.times).sum() / weight.sum())
        assert abs(centre - (start + at / rate)) <= stride / 2 / rate
        assert torch.allclose(activity.times.diff(), torch.tensor(stride / rate, dtype=torch.float64))


def test_the_three_stages_of_the_crnn() -> None:
    torch.manual_seed(0)
    model = CRNN((40, 30), 5, hidden_1=8, hidden_2=6)
    found = heschl.record(model, torch.randn(3, 40, 30), rate=100, start=0.0125)
    assert {area: tuple(one.values.shape) for area, one in found.items()} == {
        "STG": (3, 30, 31),
        "TP": (3, 30, 8),
        "IFG": (3, 30, 6),
    }
    for activity in found.values():
        assert torch.allclose(activity.times, 0.0125 + torch.arange(30, dtype=torch.float64) / 100)


def test_an_area_without_time_says_so_and_is_held_for_the_clip() -> None:
    model = Smooth().eval()
    x = torch.randn(2, 1, 400)
    with pytest.warns(UserWarning, match="whole has no time axis"):
        held = heschl.record(model, x, 200.0, "whole", start=1.0)["whole"]
    assert torch.equal(held.values[:, 0], held.values[:, 1])
    assert torch.allclose(held.values[:, 0], model(x))
    assert held.times.tolist() == [1.0, 1.0 + 399 / 200]


@pytest.mark.filterwarnings("ignore:.*has no time axis")
def test_the_network_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = KWS((40, 30), 5, width=8, stem=4, depth=2).train()
    model.branches[0].norm.eval()  # type: ignore[union-attr,operator]
    before = {name: module.training for name, module in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    heschl.record(model, torch.randn(2, 40, 30), 100)
    assert before == {name: module.training for name, module in model.named_modules()}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with pytest.raises(HeschlError):
        heschl.record(model, torch.randn(2, 41, 30), 100)
    assert before == {name: module.training for name, module in model.named_modules()}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.filterwarnings("ignore:.*has no time axis")
def test_a_batch_is_its_clips_whatever_their_number_and_precision() -> None:
    torch.manual_seed(0)
    model = KWS((40, 30), 5, width=8, stem=4, depth=2).double()
    x = torch.randn(70, 40, 30)
    together = heschl.record(model, x, 100)
    single = heschl.record(model, x[66:67].double(), 100)
    for area, activity in together.items():
        assert torch.allclose(activity.values[66], single[area].values[0], atol=1e-10)


def test_padding_beyond_a_clip_is_not_heard() -> None:
    torch.manual_seed(0)
    model = FrameLSTM((16, 40), 4, branches=1, stem=2, width=6)
    x = torch.randn(2, 16, 40)
    padded = heschl.record(model, x, 100, ["late"], lengths=torch.tensor([40, 24]))["late"]
    alone = heschl.record(model, x[1:, :, :24], 100, ["late"])["late"]
    assert torch.allclose(padded.values[1, :12], alone.values[0], atol=1e-5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, x: heschl.record(m, x, 100, ["Wernicke"]), "no area Wernicke"),
        (lambda m, x: heschl.record(m, x, 0), "rate is 0"),
        (lambda m, x: heschl.record(m, x / 0, 100), "clip 0"),
        (lambda m, x: heschl.record("crnn", x, 100), "torch.nn.Module"),
        (lambda m, x: heschl.record(CRNN((40, 30), 5, sweep="frequency"), x, 100), "not moments in time"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(HeschlError, match=said):
        call(CRNN((40, 30), 5), torch.randn(2, 40, 30))
