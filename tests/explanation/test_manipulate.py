"""AudioMNIST's experiments against loops and tones of known frequency."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from heschl.explanation.manipulate import right, scale_frequency, scale_wave, zeroed, zeroing_curve
from heschl.types import HeschlError


class Loudest(nn.Module):
    """Answers with the half of the clip that holds more."""

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        half = x.shape[-1] // 2
        return torch.stack([x[..., :half].abs().sum(-1), x[..., half:].abs().sum(-1)], 1)


@pytest.fixture
def x() -> torch.Tensor:
    x = torch.randn(4, 20, generator=torch.Generator().manual_seed(0))
    x[:, ::3] = 0
    return x


@pytest.mark.parametrize("by", ["random", "amplitude", "relevance"])
def test_a_fraction_of_the_samples_that_are_not_zero(x, by):
    relevance = x.roll(1, 1)
    for fraction in (0.0, 0.3, 1.0):
        found = zeroed(x, fraction, by, relevance, seed=2)
        for k in range(len(x)):
            there = np.flatnonzero(x[k].numpy())
            n = round(fraction * len(there))
            gone = np.flatnonzero((x[k] != 0) & (found[k] == 0))
            assert len(gone) == n and bool(((found[k] == x[k]) | (found[k] == 0)).all())
            worth = {"amplitude": x[k].abs(), "relevance": relevance[k]}.get(by)
            if worth is not None:
                expected = sorted(there, key=lambda i: -worth[i].item())[:n]
                assert sorted(gone) == sorted(expected)
        assert torch.equal(zeroed(x[1:2], fraction, by, relevance[1:2], seed=2), found[1:2])
    assert not torch.equal(zeroed(x, 0.5, seed=1), zeroed(x, 0.5, seed=2))


def test_relevance_breaks_the_network_sooner_than_chance():
    draws = torch.Generator().manual_seed(1)
    x = 0.5 * torch.rand(40, 100, generator=draws) + 0.1
    target = torch.randint(0, 2, (40,), generator=draws)
    x[torch.arange(40), target * 50 + 7] += 6.0
    model = Loudest().eval()
    sign = torch.where((torch.arange(100) >= 50)[None] == (target == 1)[:, None], 1.0, -1.0)
    curves = {
        by: zeroing_curve(model, x, target, [0.0, 0.05, 0.3], by, x * sign).mean(0)
        for by in ("random", "amplitude", "relevance")
    }
    assert all(curve[0] == 1 for curve in curves.values())
    assert curves["relevance"][2] < 0.1 < 0.8 < curves["random"][1]
    assert torch.equal(right(model, x, target), torch.ones(40, dtype=torch.float64))


@pytest.mark.parametrize("factor", [1.5, 0.66, 1.0])
def test_what_lay_at_f_lies_at_factor_times_f(factor):
    at = torch.tensor([0.0, 100.0, 250.0, 500.0, 900.0, 1500.0, 2500.0, 4000.0], dtype=torch.float64)
    x = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = scale_frequency(x, factor, at)
    for clip in range(2):
        for t in range(3):
            expected = np.interp(at / factor, at, x[clip, :, t])
            expected[(at / factor).numpy() > at[-1].item()] = x[clip].min().item()
            assert np.allclose(found[clip, :, t], expected, atol=1e-12)
    if factor == 1.0:
        assert torch.allclose(found, x)
    both = scale_frequency(x, torch.tensor([factor, 2.0], dtype=torch.float64), at)
    assert torch.equal(both[0], found[0]) and torch.equal(both[1], scale_frequency(x[1:], 2.0, at)[0])
    picture = scale_frequency(x[:, None], factor, at)
    assert torch.equal(picture[:, 0], found)


@pytest.mark.parametrize("factor", [1.5, 0.66])
def test_a_tones_pitch_is_scaled(factor):
    n = torch.arange(8000) / 8000
    tone = torch.sin(2 * torch.pi * 500 * n)[None, None]
    found = scale_wave(tone, factor)
    assert found.shape == tone.shape
    assert np.abs(np.fft.rfft(found[0, 0, :4000].numpy())).argmax() * 2 == pytest.approx(500 * factor, abs=4)


def test_bad_input_is_one_sentence(x):
    for call, words in (
        (lambda: zeroed(x, 1.5), "from 0 to 1"),
        (lambda: zeroed(x, 0.5, "relevance"), "relevance is none"),
        (lambda: zeroed(x, 0.5, "size"), "choose random"),
        (
            lambda: zeroing_curve(nn.Flatten(), x, torch.zeros(len(x), dtype=torch.long), ()),
            "fractions are none",
        ),
        (
            lambda: zeroing_curve(nn.Flatten(), x, torch.zeros(len(x), dtype=torch.long), (0.5,), draws=0),
            "draws is 0",
        ),
        (lambda: scale_frequency(x.reshape(4, 4, 5), 0.0), "above zero"),
        (lambda: scale_frequency(x[:, None], 2.0), "two frequencies or more"),
        (lambda: scale_frequency(x.reshape(4, 4, 5), 1.0, torch.zeros(4)), "ascending"),
        (lambda: scale_wave(x, -1.0), "above zero"),
    ):
        with pytest.raises(HeschlError, match=words):
            call()
