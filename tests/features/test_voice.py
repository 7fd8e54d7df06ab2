"""Pitch and formants of vowels made here, whose truth is known, and pitch against librosa's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from heschl.features.voice import formants, pitch
from heschl.signal import resample
from heschl.types import HeschlError

RATE = 16000
VOWELS = {"i": (280, 2250, 2900), "a": (730, 1100, 2450), "u": (310, 870, 2250), "e": (530, 1850, 2500)}
WIDTHS = (60, 90, 120, 150, 200)


def vowel(name="a", f0=120.0, seconds=0.6, rate=RATE):
    """Pulses at f0 (a number, or a function of time) through resonators in a row (Klatt 1980)."""
    time = np.arange(round(seconds * rate)) / rate
    phase = np.cumsum((f0(time) if callable(f0) else np.full(len(time), f0)) / rate)
    wave = np.diff(np.floor(phase), prepend=0.0)
    wave = lfilter([1.0], [1.0, -0.96], wave)  # the voice's slope
    for centre, width in zip((*VOWELS[name], 3500, 4500), WIDTHS):
        r = math.exp(-math.pi * width / rate)
        a = [1.0, -2 * r * math.cos(2 * math.pi * centre / rate), r * r]
        wave = lfilter([sum(a)], a, wave)
    return torch.from_numpy(0.5 * wave / np.abs(wave).max())


@settings(max_examples=12, deadline=None)
@given(f0=st.floats(70, 400), name=st.sampled_from(sorted(VOWELS)))
@example(f0=203.0, name="i")  # whose first formant ripples the way down to the period
def test_pitch_of_vowels(f0, name):
    found = pitch(vowel(name, f0), RATE)
    inner = (found.times > 0.05) & (found.times < 0.55)
    assert torch.allclose(found.f0[inner], torch.tensor(f0, dtype=torch.float64), rtol=0.01)


def test_pitch_follows_a_glide():
    found = pitch(vowel("e", lambda t: 110 + 100 * t, 0.8), RATE)
    inner = (found.times > 0.1) & (found.times < 0.7)
    assert torch.allclose(found.f0[inner], 110 + 100 * found.times[inner], rtol=0.02)


def test_difference_function_is_the_explicit_sum():
    """Aperiodicity at a frame, by the loops of eq. 6 and 8."""
    wave, longest = vowel("i", 150.0, 0.2), math.ceil(RATE / 60) + 1
    found = pitch(wave, RATE)
    k = 10
    frame = wave[k * 160 - longest : k * 160 + longest].numpy()
    d = np.array([((frame[:longest] - frame[lag : lag + longest]) ** 2).sum() for lag in range(longest + 1)])
    normal = np.concatenate([[1.0], d[1:] * np.arange(1, longest + 1) / np.cumsum(d[1:])])
    lags = [t for t in range(32, longest) if normal[t] < 0.15 and normal[t - 1] > normal[t] <= normal[t + 1]]
    assert float(found.aperiodicity[k]) == pytest.approx(normal[lags[0]], abs=1e-9)
    assert RATE / float(found.f0[k]) == pytest.approx(lags[0], abs=0.51)


@pytest.mark.slow  # librosa compiles itself first
def test_pitch_agrees_with_librosas():
    librosa = pytest.importorskip("librosa")
    wave = torch.cat(
        [vowel("a", lambda t: 180 - 60 * t, 0.6), torch.zeros(4000, dtype=torch.float64), vowel("u", 95)]
    )
    ours = pitch(wave, RATE)
    args = {"fmin": 60, "fmax": 500, "sr": RATE, "frame_length": 1024, "hop_length": 160}
    theirs, voiced, _ = librosa.pyin(wave.numpy(), **args)
    n = min(len(theirs), len(ours.f0))
    mine = ours.f0[:n].numpy()
    both = voiced[:n] & np.isfinite(mine)
    assert both.mean() > 0.7 and (voiced[:n] == np.isfinite(mine)).mean() > 0.93
    assert np.quantile(np.abs(mine[both] / theirs[:n][both] - 1), 0.95) < 0.02
    yin = librosa.yin(wave.numpy(), **args, trough_threshold=0.15)[:n]
    assert np.quantile(np.abs(mine[both] / yin[both] - 1), 0.95) < 0.01


def test_no_pitch_in_noise_and_silence():
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert pitch(noise, RATE).f0.isfinite().double().mean() < 0.05
    silent = pitch(torch.zeros(RATE), RATE)
    assert silent.f0.isnan().all() and (silent.aperiodicity == 1).all()


@pytest.mark.parametrize("name", sorted(VOWELS))
@pytest.mark.parametrize("f0", [100.0, 140.0])
def test_formants_of_vowels(name, f0):
    found = formants(vowel(name, f0), RATE)
    inner = (found.times > 0.1) & (found.times < 0.5)
    middle = found.frequencies[inner].nanmedian(0).values.numpy()
    assert np.allclose(
        middle, VOWELS[name], rtol=0.06, atol=45
    )  # harmonics lie f0 apart: a formant is known to half


def test_predictor_is_the_one_that_makes_the_wave():
    """Noise through two resonances: the predictor finds them (scipy's filter is the oracle)."""
    noise = np.random.default_rng(0).standard_normal(44000)
    a = np.array([1.0, -math.exp(-2 * math.pi * 50 / 11000)])  # the slope that is taken off again
    for centre, width in ((700, 80), (1900, 110)):
        r = math.exp(-math.pi * width / 11000)
        a = np.convolve(a, [1.0, -2 * r * math.cos(2 * math.pi * centre / 11000), r * r])
    found = formants(torch.from_numpy(lfilter([1.0], a, noise)), 11000, n=2, window=2.0, hop=0.1, widest=300)
    assert np.allclose(found.frequencies[10:30].nanmedian(0).values, (700, 1900), rtol=0.02)
    assert np.allclose(found.bandwidths[10:30].nanmedian(0).values, (80, 110), rtol=0.2)


def test_batch_equals_single_and_dtype_stays():
    waves = torch.stack(
        [vowel("a", 110.0), vowel("i", 220.0), torch.zeros(9600, dtype=torch.float64)]
    ).float()
    p, f = pitch(waves[:, None], RATE), formants(waves, RATE, n=8)
    assert (
        p.f0.shape == (3, 1, 61)
        and f.frequencies.shape == (3, 61, 8)
        and p.times.shape == f.times.shape == (61,)
    )
    assert p.f0.dtype == f.frequencies.dtype == torch.float32
    for k, wave in enumerate(waves):
        assert torch.allclose(pitch(wave, RATE).f0, p.f0[k, 0], equal_nan=True)
        assert torch.allclose(
            formants(wave, RATE, n=8).frequencies, f.frequencies[k], equal_nan=True, rtol=1e-4
        )
    assert f.frequencies[2].isnan().all()
    known = f.frequencies[0].nan_to_num(math.inf)
    assert (known.diff(dim=-1).nan_to_num(1.0) >= 0).all()


def test_other_rates():
    wave = resample(vowel("a", 130.0), RATE, 8000)
    found = pitch(wave, 8000)
    assert torch.allclose(found.f0[5:-5], torch.tensor(130.0, dtype=torch.float64), rtol=0.015)
    assert formants(wave, 8000).frequencies[10:50, 0].nanmedian() == pytest.approx(730, rel=0.08)
    assert (
        pitch(torch.zeros(3), 8000).f0.isnan().all()
        and formants(torch.zeros(3), 8000).frequencies.isnan().all()
    )


def test_bad_input_is_one_sentence():
    wave = vowel()
    with pytest.raises(HeschlError, match="in order"):
        pitch(wave, RATE, f_min=400, f_max=100)
    with pytest.raises(HeschlError, match="not finite"):
        pitch(torch.full((100,), math.nan), RATE)
    with pytest.raises(HeschlError, match="less than one sample"):
        pitch(wave, RATE, hop=1e-6)
    with pytest.raises(HeschlError, match="at least one formant"):
        formants(wave, RATE, n=0)
    with pytest.raises(HeschlError, match="a frame needs"):
        formants(wave, RATE, window=0.001)
    with pytest.raises(HeschlError, match="floating tensor"):
        pitch(torch.zeros(100, dtype=torch.int16), RATE)
