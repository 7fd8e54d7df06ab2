"""Learning rates against torch's own schedulers, and by hand where it has none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as torchs

from heschl.training import schedules
from heschl.types import HeschlError


def torch_factors(make: Callable[[Any], Any], count: int) -> list[float]:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimiser)
    factors = []
    for _ in range(count):
        factors.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            lambda k: schedules.cosine(k, 50, 5, floor=0.1),
            lambda o: torchs.CosineAnnealingLR(o, 50, eta_min=0.1),
        ),
        (lambda k: schedules.linear(k, 50, 5, floor=0.2), lambda o: torchs.LinearLR(o, 1.0, 0.2, 50)),
        (lambda k: schedules.step(k, 50, 5, epochs=3), lambda o: torchs.StepLR(o, 15, 0.1)),
        (
            lambda k: schedules.step(k, 50, 5, epochs=[2, 7], gamma=0.5),
            lambda o: torchs.MultiStepLR(o, [10, 35], 0.5),
        ),
        (lambda k: schedules.exponential(k, 50, 1, gamma=0.9), lambda o: torchs.ExponentialLR(o, 0.9)),
        (lambda k: schedules.constant(k, 50, 5), lambda o: torchs.ConstantLR(o, 1.0)),
        (
            lambda k: schedules.one_cycle(k, 50, 5),
            lambda o: torchs.OneCycleLR(o, 1.0, total_steps=50, cycle_momentum=False),
        ),
    ],
)
def test_against_torch(ours: Callable[[int], float], theirs: Callable[[Any], Any]) -> None:
    expected = torch_factors(theirs, 50)
    assert [ours(k) for k in range(50)] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_warm_up_climbs_evenly_and_then_follows() -> None:
    factors = [schedules.cosine(k, 100, 10, warmup=0.1) for k in range(100)]
    assert factors[:10] == pytest.approx([(k + 1) / 11 for k in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5 * (1 + math.cos(math.pi * 45 / 90)))
    with pytest.raises(HeschlError, match="warmup"):
        schedules.cosine(0, 10, 1, warmup=1.5)
    with pytest.raises(HeschlError, match="epochs"):
        schedules.step(0, 10, 1, epochs=0)
