"""Lengths and levels of waves, against loops and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.preprocessing
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.features.draws import Draws
from heschl.features.waveform import Waveform, batch_lengths, fit_length, placement
from heschl.types import HeschlError

few = settings(max_examples=40, deadline=None)


def batch(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return batch_lengths([torch.from_numpy(rng.standard_normal(length)) for length in lengths])


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.integers(1, 30),
    st.sampled_from(["centre", "start"]),
    st.sampled_from(["centre", "end", "random"]),
)
@few
def test_fit_length_puts_each_clip_where_its_policy_says(lengths, n, long, short):
    wave, count = batch(lengths)
    draws = Draws(0, 0, torch.arange(len(lengths)))
    fitted, counts = fit_length(wave, count, n, long, short, draws)
    assert fitted.shape == (len(lengths), n)
    assert counts == {"cropped": sum(k > n for k in lengths), "padded": sum(k < n for k in lengths)}
    starts = placement(count, n, long, short, draws).tolist()
    for clip, length, one, start in zip(wave, lengths, fitted, starts):
        expected = torch.zeros(n, dtype=torch.float64)
        for i in range(n):
            if 0 <= start + i < length:
                expected[i] = clip[start + i]
        assert torch.equal(one, expected)
        if length >= n:
            assert start == ((length - n) // 2 if long == "centre" else 0)
        elif short == "random":
            assert 0 <= -start < n - length
        else:
            assert -start == ((n - length) // 2 if short == "centre" else 0)


def test_a_clip_lies_at_its_own_random_place_in_every_batch():
    lengths = torch.tensor([100, 200, 300])
    together = placement(lengths, 8000, "start", "random", Draws(1, 0, torch.tensor([7, 8, 9])))
    alone = placement(lengths[1:2], 8000, "start", "random", Draws(1, 0, torch.tensor([8])))
    assert together[1] == alone[0]
    assert len(set(together.tolist())) == 3
    many = placement(torch.full((2000,), 7000), 8000, "start", "random", Draws(1, 0, torch.arange(2000)))
    assert -1000 < many.min() < -980 and -20 < many.max() <= 0


def test_refusals_say_which_field_to_change():
    wave, lengths = batch([10, 20])
    with pytest.raises(HeschlError, match="20 samples.*clip.long"):
        fit_length(wave, lengths, 15, "refuse", "end")
    with pytest.raises(HeschlError, match="10 samples.*clip.short"):
        fit_length(wave, lengths, 15, "centre", "refuse")
    with pytest.raises(HeschlError, match="'middle'"):
        fit_length(wave, lengths, 15, "middle", "end")


LEVELS = {
    "none": lambda x: x,
    "peak": lambda x: x / np.abs(x).max(),
    "rms": lambda x: x / np.sqrt(np.mean(x**2)),
    "percentile95": lambda x: x / (np.percentile(x, 95) + 0.001),
    "standardise": sklearn.preprocessing.scale,
}


@pytest.mark.parametrize("level", LEVELS)
def test_levels_are_numpys_for_each_clip_alone(level):
    wave, lengths = batch([500, 321, 77])
    wave[1] *= 1e-3
    feature = Waveform(level=level)
    together = feature(wave, lengths)
    assert together.shape == (3, 1, 500)
    for clip, length, one in zip(wave, lengths.tolist(), together[:, 0]):
        expected = LEVELS[level](clip[:length].numpy())
        assert np.allclose(one[:length], expected, atol=1e-12)
        assert (one[length:] == 0).all()
        assert torch.allclose(feature(clip[None, :length])[0, 0], one[:length], atol=1e-12)
    assert torch.allclose(feature.invert(feature(wave), wave), wave)
    assert feature(wave.float()).dtype == torch.float32
    assert feature.steps(500) == 500 and feature.steps(lengths).tolist() == [500, 321, 77]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_silence_and_constants_stay_finite_and_gradients_reach_the_wave(level, value):
    wave = torch.full((2, 400), value)
    assert torch.isfinite(Waveform(level=level)(wave)).all()
    if level == "standardise":
        assert Waveform(level=level)(wave).abs().max() < 1e-5
    rng = torch.Generator().manual_seed(0)
    wave[1] = torch.randn(400, generator=rng)
    wave.requires_grad_()
    (Waveform(level=level)(wave) * torch.randn(400, generator=rng)).sum().backward()
    assert torch.isfinite(wave.grad).all() and wave.grad[1].abs().max() > 0


def test_audionet_v1_reads_15500_samples_and_pads_them():
    wave, lengths = batch([16000, 9000])
    feature = Waveform(16000, read=15500, samples=16000, level="standardise")
    ours = feature(wave[:, :16000], lengths)[:, 0]
    for clip, length, one in zip(wave.numpy(), (16000, 9000), ours.numpy()):
        padded = np.zeros(16000)
        padded[: min(length, 15500)] = clip[: min(length, 15500)]
        assert np.allclose(one, sklearn.preprocessing.scale(padded))
    assert feature.steps(9000) == 16000 and feature.steps(lengths).tolist() == [16000, 16000]
    assert torch.allclose(feature(wave[1:, :9000])[0, 0], ours[1])


def test_audiomnist_divides_by_the_percentile_of_the_padded_16_bit_signal():
    wave, _ = batch([5000])
    ours = Waveform(8000, samples=8000, level="percentile95", scale=32768)(wave / 10)[0, 0].numpy()
    padded = np.concatenate([wave[0].numpy() / 10 * 32768, np.zeros(3000)])
    assert np.allclose(ours, padded / (np.percentile(padded, 95) + 0.001))


def test_unknown_levels_and_sizes_are_refused():
    with pytest.raises(HeschlError, match="choose none, peak"):
        Waveform(level="loud")
    with pytest.raises(HeschlError, match=r"Waveform.samples is 0"):
        Waveform(samples=0)
