"""Noise ceilings and acoustic features against definitions and simulations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heschl.brain.acoustics import acoustics
from heschl.brain.ceiling import noise_ceiling
from heschl.types import HeschlError


def test_signal_is_the_mean_covariance_of_pairs() -> None:
    given = np.random.default_rng(0).standard_normal((4, 50, 3)) + np.sin(np.arange(50) / 5)[:, None]
    found = noise_ceiling(given)
    for c in range(3):
        pairs = [np.cov(given[a, :, c], given[b, :, c])[0, 1] for a in range(4) for b in range(4) if a != b]
        assert found.signal[c] == pytest.approx(np.mean(pairs))
        assert found.noise[c] == pytest.approx(given[:, :, c].var(1, ddof=1).mean() - np.mean(pairs))


def test_a_perfect_model_reaches_the_ceiling_and_no_more() -> None:
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((20000, 2)) * [1.0, 0.3]
    given = truth + rng.standard_normal((5, 20000, 2))
    found = noise_ceiling(given)
    for c in range(2):
        single = np.mean([np.corrcoef(truth[:, c], one[:, c])[0, 1] for one in given])
        assert found.r_single[c] == pytest.approx(single, abs=0.02)
        assert found.r_mean[c] == pytest.approx(np.corrcoef(truth[:, c], given.mean(0)[:, c])[0, 1], abs=0.02)
    nothing = noise_ceiling(rng.standard_normal((3, 5000, 1)))
    assert abs(nothing.signal[0]) < 0.05 and nothing.r_mean[0] < 0.3


def test_ceilings_refuse_what_are_no_repeats() -> None:
    one = np.random.default_rng(0).standard_normal((1, 50, 2))
    for wrong, says in [
        (one, "two repeats or more"),
        (np.concatenate([one, one]), "repeats 0 and 1 are the same numbers"),
        (np.concatenate([one, one * np.nan]), "not finite"),
    ]:
        with pytest.raises(HeschlError, match=says):
            noise_ceiling(wrong)


def test_envelope_follows_amplitude_and_onsets_its_rise() -> None:
    time = torch.arange(3 * 16000) / 16000
    wave = torch.sin(2 * torch.pi * 1000 * time) * ((time >= 1) & (time < 2))
    found, names = acoustics(wave, 16000, 100)
    assert found.shape == (300, 18) and names[:3] == ("envelope", "onsets", "mel 0")
    envelope, onsets = found[:, 0], found[:, 1]
    assert float(envelope[:97].max()) < 1e-3 and float(envelope[103:197].std()) < 0.01 * float(envelope[150])
    assert abs(int(onsets.argmax()) - 100) <= 1 and float(onsets[110:].max()) < 0.01 * float(onsets.max())
    # the tone lies in the band whose centre is nearest; half the amplitude is half to the power of .6
    half, _ = acoustics(wave / 2, 16000, 100)
    assert float(half[150, 0] / found[150, 0]) == pytest.approx(0.5**0.6, rel=1e-4)
    # the whole rise of the envelope up to its plateau is the onsets' sum
    assert float(onsets[:150].sum() / 100) == pytest.approx(float(envelope[150]), rel=0.02)
    # a tone of 1 kHz is in the band that holds 1 kHz: 15 mel of 0.9 to 45.25 (Slaney), in 17 steps
    assert int(found[150, 2:].argmax()) == round((15 - 0.9) / (45.25 - 0.9) * 17) - 1


def test_acoustics_refuse_rates_that_do_not_divide() -> None:
    with pytest.raises(HeschlError, match="16000 Hz divided by 90 Hz"):
        acoustics(torch.zeros(16000), 16000, 90)
    with pytest.raises(HeschlError, match="finite"):
        acoustics(torch.full((16000,), torch.nan), 16000, 100)
    with pytest.raises(HeschlError, match="torch.int16"):
        acoustics(torch.zeros(16000, dtype=torch.int16), 16000, 100)
