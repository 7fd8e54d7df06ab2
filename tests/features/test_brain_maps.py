"""Maps of brains: a tone is found at its frequency, levels are of each trial alone, silent sensors stay silent."""

from __future__ import annotations

import math

import pytest
import torch

from heschl.features.brain_maps import BrainMaps
from heschl.types import HeschlError


def trials() -> torch.Tensor:
    time = torch.arange(256) / 128.0
    noise = 0.1 * torch.randn(3, 4, 256, generator=torch.Generator().manual_seed(0))
    noise[:, 1] += torch.cos(2 * math.pi * 20 * time)
    noise[:, 3] = 0.0
    return noise


def test_a_tone_is_found_and_silence_stays() -> None:
    feature, x = BrainMaps(), trials()
    maps = feature(x)
    assert maps.shape == (3, 4, 16, 128) and feature.rate == 64 and feature.steps(256) == 128
    where = maps[:, 1, :, 40:80].mean((0, 2)).argmax()
    assert abs(float(feature.frequencies[where]) - 20) < 3
    assert not maps[:, 3].any()
    heard = maps[:, :3]
    assert torch.allclose(heard.mean((1, 3)), torch.zeros(3, 16), atol=1e-5)
    assert torch.allclose(heard.square().mean((1, 3)), torch.ones(3, 16), atol=1e-4)
    torch.testing.assert_close(
        feature(1e-6 * x), maps, atol=1e-4, rtol=1e-4
    )  # volts, or the amplifier's steps
    torch.testing.assert_close(feature(x[:1]), maps[:1], atol=1e-5, rtol=1e-5)


def test_stored_maps() -> None:
    maps = torch.randn(2, 3, 4, 8) - 30
    feature = BrainMaps(sample_rate=256.0, stored=True)
    assert (
        feature.rate == 256 and feature(maps).shape == maps.shape and abs(float(feature(maps).mean())) < 1e-5
    )
    assert torch.equal(BrainMaps(stored=True, level="none")(maps), maps)
    assert feature.frequencies is None  # nobody said them
    said = BrainMaps(stored=True, low=10.0, high=25.0, n_freqs=4).frequencies
    assert said is not None and said.tolist() == [10, 15, 20, 25] and len(BrainMaps().frequencies) == 16
    with pytest.raises(HeschlError, match="stored"):
        feature(maps[:, 0])
    with pytest.raises(HeschlError, match="level"):
        BrainMaps(level="run")  # type: ignore[arg-type]
