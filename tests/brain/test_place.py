"""The rule from units to moments, and the noise of sensors, without a head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heschl.brain import place as rule
from heschl.brain.areas import assign
from heschl.brain.inverse import joined
from heschl.brain.noise import coloured
from heschl.types import Activity, HeschlError


def activity(values: np.ndarray, rate: float = 100.0, start: float = 0.0, area: str = "STG") -> Activity:
    times = start + torch.arange(values.shape[1], dtype=torch.float64) / rate
    return Activity(area, torch.from_numpy(values), times)


def test_population_rates_by_loops_and_a_decomposition() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 20, 5))
    one = activity(values)
    norm = [[np.sqrt(sum(u**2 for u in units) / 5) for units in clip] for clip in values]
    assert np.allclose(rule.population_rate(one, "norm"), norm)
    assert np.allclose(
        rule.population_rate(one, "mean"), [[sum(units) / 5 for units in clip] for clip in values]
    )
    hidden = np.sin(np.arange(60) / 5).reshape(3, 20)
    mixed = hidden[..., None] * np.array([1.0, 2.0, -0.5]) + 7
    found = rule.population_rate(activity(mixed), "component")
    assert np.corrcoef(found.ravel(), hidden.ravel())[0, 1] == pytest.approx(1)
    wide = rule.population_rate(activity(np.concatenate([mixed, np.zeros((3, 20, 90))], -1)), "component")
    assert np.allclose(wide, found)
    assert np.allclose(rule.population_rate(one, clip=1), np.array(norm)[1:2])
    for bad, said in (
        (lambda: rule.population_rate(one, "max"), "rate is 'max'"),  # type: ignore[arg-type]
        (lambda: rule.population_rate(one, clip=3), "no clip 3"),
        (lambda: rule.population_rate(activity(values / 0)), "not finite"),
    ):
        with np.errstate(all="ignore"), pytest.raises(HeschlError, match=said):
            bad()


def test_layers_of_different_steps_on_one_axis() -> None:
    fast = activity(np.ones((1, 4000, 1)), 4000.0)  # averaged down to 500 Hz
    slow = activity(np.arange(10.0).reshape(1, 10, 1), 10.0, 0.05, "TP")
    held = activity(np.full((1, 2, 1), 3.0), 1 / 0.999, 0.0, "IFG")
    table, chosen = assign(["STG", "TP", "IFG"])
    layers = {"STG": fast, "TP": slow, "IFG": held}
    times = rule.time_axis(layers, table, chosen)
    assert np.allclose(np.diff(times), 0.002)
    assert times[0] == 0
    assert 0.99 < times[-1] <= 1.0

    def on_axis(one: Activity) -> np.ndarray:
        return rule._on_axis(rule.population_rate(one)[0], one.times.numpy(), times)

    assert np.allclose(on_axis(fast), 1)
    assert np.allclose(on_axis(held)[1:-1], 3)
    laid = on_axis(slow)
    assert np.allclose(laid[times < 0.049], 0)  # held for half a step
    inside = (times > 0.05) & (times < 0.95)
    assert np.allclose(laid[inside], (times[inside] - 0.05) * 10)


def test_bands_keep_what_they_say() -> None:
    times = np.arange(0, 4, 0.005)
    low, high = np.sin(2 * np.pi * 2 * times), np.sin(2 * np.pi * 30 * times)
    middle = slice(200, -200)
    kept = rule._limited(low + high + 5, times, (None, 8))
    assert np.abs(kept - low - 5)[middle].max() < 0.05
    kept = rule._limited(low + high + 5, times, (0.5, 8))
    assert np.corrcoef(kept[middle], low[middle])[0, 1] > 0.99
    assert abs(kept[middle].mean()) < 0.2
    kept = rule._limited(low + high + 5, times, (10, None))
    assert np.abs(kept - high)[middle].max() < 0.05
    for band in ((8, 2), (0, 5), (1, 200)):
        with pytest.raises(HeschlError, match="band"):
            rule._limited(low, times, band)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_has_its_colour_and_unit_variance(exponent: float) -> None:
    found = coloured((400, 512), exponent, np.random.default_rng(0))
    assert np.square(found).mean() == pytest.approx(1, rel=0.1)
    power = np.square(np.abs(np.fft.rfft(found * np.hanning(512), axis=-1))).mean(0)
    bins = np.arange(4, 200)
    slope = np.polyfit(np.log(bins), np.log(power[bins]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)


def test_areas_that_cannot_be_told_apart_are_one() -> None:
    matrix = np.eye(4)
    matrix[0, 1], matrix[2, 1], matrix[3, 0] = 0.6, 0.4, 0.51
    assert joined(["a", "b", "c", "d"], matrix) == (("a", "b", "d"), ("c",))
    assert joined(["a", "b", "c", "d"], np.eye(4)) == (("a",), ("b",), ("c",), ("d",))
