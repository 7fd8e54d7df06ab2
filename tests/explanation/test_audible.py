"""Relevance, heard: against dense Fourier matrices, loops over frames, and sounds whose parts are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.explanation.audible import PARTS, audible, audible_parts, masks
from heschl.explanation.dft import frequency_relevance, time_frequency_relevance
from heschl.types import HeschlError

RATE = 16000


def db(wave: torch.Tensor) -> float:
    return 10 * float(torch.log10(wave.double().square().mean()))


def noise(*shape: int, seed: int = 0, size: float = 0.05) -> torch.Tensor:
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- DFT-LRP -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [12, 15])
def test_frequencies_get_what_the_dense_inverse_transform_hands_them(time):
    x, r = noise(2, time), noise(2, time, seed=1)
    found = frequency_relevance(x, r)
    for wave, relevance, own in zip(x.numpy(), r.numpy(), found.numpy(), strict=True):
        n = np.arange(time)
        inverse = np.exp(2j * np.pi * np.outer(n, n) / time) / time  # x = inverse @ X, all frequencies
        message = (inverse * np.fft.fft(wave)[None]).real * (relevance / wave)[:, None]  # sample <- frequency
        assert np.allclose(message.sum(1), relevance)
        whole = message.sum(0)
        folded = np.array(
            [whole[k] + (whole[time - k] if 0 < k < time - k else 0) for k in range(time // 2 + 1)]
        )
        assert np.allclose(own, folded, atol=1e-12)


def test_times_and_frequencies_get_what_a_dense_inverse_stft_hands_them():
    time, window = 40, 8
    hop = window // 4
    x, r = noise(time), noise(time, seed=1)
    found = time_frequency_relevance(x, r, window).numpy()
    hann = np.hanning(window + 1)[:-1]
    padded = np.concatenate([np.zeros(window // 2), x.numpy(), np.zeros(2 * window)])
    weight = np.zeros(len(padded))
    for frame in range(found.shape[1]):
        weight[frame * hop : frame * hop + window] += hann**2
    dense = np.zeros_like(found)
    n = np.arange(window)
    for frame in range(found.shape[1]):
        at = slice(frame * hop, frame * hop + window)
        spectrum = np.fft.fft(padded[at] * hann)
        for k in range(window):  # what frequency k of this frame gives to each of its samples
            gives = (spectrum[k] * np.exp(2j * np.pi * k * n / window) / window).real * hann
            for j in range(window):
                sample = frame * hop + j - window // 2
                if 0 <= sample < time:
                    share = gives[j] / weight[frame * hop + j] / float(x[sample])
                    dense[min(k, window - k), frame] += share * float(r[sample])
    assert np.allclose(found, dense, atol=1e-10)


@settings(max_examples=15, deadline=None)
@given(st.integers(30, 300), st.sampled_from([8, 16, 30]), st.integers(0, 99))
def test_no_relevance_is_lost_on_the_way(time, window, seed):
    x, r = noise(2, 1, time, seed=seed), noise(2, 1, time, seed=seed + 1)
    for carried in (frequency_relevance(x, r), time_frequency_relevance(x, r, window)):
        assert torch.allclose(carried.sum((-1,) if carried.ndim == 3 else (-2, -1)), r.sum(-1), atol=1e-9)


def test_a_tones_relevance_lies_at_its_frequency():
    t = torch.arange(RATE // 4, dtype=torch.float64) / RATE
    wave = torch.sin(2 * np.pi * 1000 * t) + 0.5 * torch.sin(2 * np.pi * 3000 * t)
    relevance = wave * torch.sin(2 * np.pi * 1000 * t)  # a linear network that listens to 1 kHz alone
    carried = time_frequency_relevance(wave, relevance, 512)
    near = torch.zeros(257, dtype=torch.bool)
    near[30:35] = True  # 1000 Hz is bin 32
    assert float(carried[near].sum() / carried.sum()) > 0.99


# --- parts -------------------------------------------------------------------------------------------------


def test_a_mask_is_linear_below_the_cells_that_hold_half():
    cells = torch.tensor([[[4.0, -2.0, 1.0, 0.5, -0.5]]])
    positive, negative = masks(cells, 0.5)  # of 8, the first cell holds half
    assert positive.tolist() == [[[1.0, 0.0, 0.25, 0.125, 0.0]]]
    assert negative.tolist() == [[[0.0, 0.5, 0.0, 0.0, 0.125]]]


@pytest.mark.parametrize("shape", [(2, 40, 50), (2, 1, 129, 71), (2, 4000)])
def test_parts_add_up_to_the_sound_before_they_are_levelled(shape):
    wave = noise(2, 4000)
    parts = audible_parts(noise(*shape, seed=3), wave, RATE, match=False)
    assert torch.allclose(sum(parts[name] for name in PARTS), parts["original"], atol=1e-12)
    middle = slice(80, -80)
    assert torch.allclose(parts["original"][:, middle], wave[:, middle])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_part_has_the_level_of_the_sound_and_begins_and_ends_at_nothing(dtype):
    wave = noise(3, 8000).to(dtype)
    relevance = noise(3, 40, 51, seed=2).to(dtype)
    parts = audible_parts(relevance, wave, RATE)
    for heard in parts.values():
        assert heard.shape == wave.shape and heard.dtype == dtype
        for own, original in zip(heard, parts["original"], strict=True):
            assert db(own) == pytest.approx(db(original), abs=0.02)
            assert float(own.abs().max()) <= 1
        assert float(heard[:, [0, 1, -2, -1]].abs().max()) < 0.005 * float(heard.abs().max())
    for name in PARTS:
        assert torch.equal(audible(relevance, wave, RATE, name), parts[name])
        alone = audible(relevance[1], wave[1], RATE, name)  # one clip never changes another
        assert torch.allclose(alone, parts[name][1], atol=1e-6)


def test_a_part_that_would_exceed_full_scale_lowers_all():
    wave = noise(1, 8000, size=0.25)
    relevance = torch.zeros(1, 60, 60, dtype=torch.float64)
    relevance[0, 20:40, 30] = 1.0  # one short moment
    relevance[0, 5, 3:50] = -0.2
    parts = audible_parts(relevance, wave, RATE)
    levels = [db(heard) for heard in parts.values()]
    assert max(levels) - min(levels) < 0.1 and max(levels) < db(wave) - 1
    assert max(float(heard.abs().max()) for heard in parts.values()) == pytest.approx(0.99, abs=1e-6)


def test_a_faint_click_is_not_brought_to_the_level_of_speech():
    wave = torch.randn(RATE, generator=torch.Generator().manual_seed(0)) * 0.05
    wave[:4000] *= 1e-4
    wave[1000] = 0.005  # that a microphone makes, 40 dB under the noise that stands for speech
    relevance = torch.ones(20, 40)
    relevance[:, :8] = -1.0
    parts = audible_parts(relevance, wave, RATE)
    assert not parts["negative"].any()
    assert parts["original"].abs().max() == pytest.approx(float(wave.abs().max()), rel=1e-2)
    louder = wave.clone()
    louder[1000] = 0.5  # 14 dB above the rest of the sound: that is a part of it
    assert audible_parts(relevance, louder, RATE)["negative"].any()


def test_of_two_tones_the_relevant_one_is_heard_with_its_own_phase():
    t = torch.arange(RATE, dtype=torch.float64) / RATE
    low, high = 0.1 * torch.sin(2 * np.pi * 500 * t), 0.1 * torch.sin(2 * np.pi * 3000 * t + 1)
    frequencies = torch.linspace(0, 8000, 81, dtype=torch.float64)
    relevance = torch.zeros(81, 100, dtype=torch.float64)
    relevance[(frequencies - 500).abs() < 300] = 1.0
    relevance[(frequencies - 3000).abs() < 300] = -1.0
    parts = audible_parts(relevance, low + high, RATE, frequencies=frequencies, match=False)
    inside = slice(1000, -1000)
    assert torch.allclose(parts["positive"][inside], low[inside], atol=2e-3)
    assert torch.allclose(parts["negative"][inside], high[inside], atol=2e-3)
    wave = audible((low * (low + high) - high * (low + high)), low + high, RATE, match=False, blur=0)
    assert float((wave * low)[inside].sum()) > 20 * abs(float((wave * high)[inside].sum()))


def test_what_the_network_cannot_hear_belongs_to_the_rest():
    wave = noise(12000)
    rows = torch.linspace(0, 4000, 60)  # a network that hears up to 4 kHz, of sound at 48 kHz
    parts = audible_parts(torch.ones(60, 20), wave, 48000, frequencies=rows, match=False)
    spectrum = torch.fft.rfft(parts["positive"]).abs()
    cut = round(4100 * 12000 / 48000)
    assert float(spectrum[cut:].square().sum() / spectrum.square().sum()) < 0.01


def test_silence_and_nothing_relevant_stay_silent():
    zero = torch.zeros(2, 4000)
    for part in PARTS:
        assert not audible(torch.ones(2, 40, 50), zero, RATE, part).any()
        assert not audible(zero, zero, RATE, part).any()
    wave = noise(4000)
    parts = audible_parts(torch.zeros(40, 50), wave, RATE)
    assert not parts["positive"].any() and not parts["negative"].any()
    assert torch.allclose(parts["rest"], parts["original"], atol=1e-9)


def test_short_clips_are_heard_too():
    for time in (1, 5, 100, 600):
        heard = audible(torch.ones(time), noise(time), RATE)
        assert heard.shape == (time,) and bool(torch.isfinite(heard).all())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"part": "loud"}, "choose positive, negative or rest"),
        ({"relevance": torch.ones(3, 3, 3)}, "give the wave's own shape"),
        ({"relevance": torch.full((100,), torch.nan)}, "not finite"),
        ({"rate": 0}, "above zero"),
        ({"whole": 0}, "share of all relevance"),
        ({"relevance": torch.ones(4, 5), "frequencies": torch.ones(3)}, "frequencies are"),
        ({"wave": torch.ones(100, dtype=torch.int64)}, "give samples"),
    ],
)
def test_bad_input_is_one_sentence(given, says):
    with pytest.raises(HeschlError, match=says):
        audible(**{"relevance": torch.ones(100), "wave": noise(100), "rate": RATE, **given})
