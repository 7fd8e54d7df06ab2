"""signal.py against scipy, librosa, closed forms and its own inverses."""

from __future__ import annotations

import doctest
import math

import librosa
import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl import signal
from heschl.types import HeschlError

few = settings(max_examples=25, deadline=None)


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def test_examples_in_docstrings():
    assert doctest.testmod(signal).failed == 0


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12))
@few
def test_frames_cut_what_a_loop_cuts_and_share_memory(time, length, hop):
    wave = torch.arange(float(time))
    expected = [wave[i : i + length].tolist() for i in range(0, time - length + 1, hop)]
    assert signal.n_frames(time, length, hop) == len(expected)
    if not expected:
        with pytest.raises(HeschlError, match="one frame needs"):
            signal.frames(wave, length, hop)
        return
    cut = signal.frames(wave, length, hop)
    assert cut.tolist() == expected
    assert cut.data_ptr() == wave.data_ptr()


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
@few
def test_overlap_add_is_the_adjoint_of_frames(count, length, hop, seed):
    pieces = noise(2, 3, count, length, seed=seed)
    wave = noise(2, 3, (count - 1) * hop + length, seed=seed + 1)
    left = (signal.overlap_add(pieces, hop) * wave).sum()
    right = (pieces * signal.frames(wave, length, hop)).sum()
    assert torch.allclose(left, right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_windows_equal_scipys(dtype):
    for length in (7, 256, 455):
        assert np.allclose(signal.hann(length, dtype), scipy.signal.get_window("hann", length), atol=1e-7)
        assert np.allclose(
            signal.tukey(length, 0.25, dtype), scipy.signal.get_window(("tukey", 0.25), length), atol=1e-7
        )


@pytest.mark.parametrize(("n_fft", "hop", "length"), [(64, 16, 64), (64, 20, 48), (35, 7, 35)])
def test_stft_equals_librosas_with_constant_padding_and_istft_undoes_it(n_fft, hop, length):
    wave = noise(2, 500)
    window = signal.hann(length, torch.float64)
    ours = signal.stft(wave, n_fft, hop, window)
    theirs = librosa.stft(wave.numpy(), n_fft=n_fft, hop_length=hop, win_length=length, pad_mode="constant")
    assert ours.shape[-1] == signal.n_frames(500, n_fft, hop, centre=True)
    assert np.allclose(ours, theirs)
    back = signal.istft(ours, n_fft, hop, window, 500)
    covered = (ours.shape[-1] - 1) * hop
    assert torch.allclose(back[:, :covered], wave[:, :covered])


def test_stft_of_a_pure_tone_is_where_it_should_be():
    tone = torch.cos(2 * math.pi * 1000 * torch.arange(8000) / 8000)
    window = signal.hann(400)
    spectrum = signal.stft(tone, 400, 100, window, centre=False)
    assert (spectrum.abs().argmax(-2) == 50).all()
    assert torch.allclose(spectrum.abs().amax(-2), window.sum() / 2, rtol=1e-4)


@pytest.mark.parametrize("htk", [True, False])
@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "f_min", "f_max"), [(16000, 512, 40, 0, None), (22050, 2048, 128, 20, 9000)]
)
def test_mel_filters_equal_librosas(htk, rate, n_fft, n_mels, f_min, f_max):
    scale = "htk" if htk else "slaney"
    for unit_area, norm in ((True, "slaney"), (False, None)):
        theirs = librosa.filters.mel(
            sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=f_min, fmax=f_max, htk=htk, norm=norm, dtype=np.float64
        )
        ours = signal.mel_filterbank(rate, n_fft, n_mels, f_min, f_max, scale, unit_area)
        assert np.allclose(ours, theirs, atol=1e-12)
    hertz = np.linspace(0, 8000, 50)
    assert np.allclose(signal.hz_to_mel(hertz, scale), librosa.hz_to_mel(hertz, htk=htk))
    assert np.allclose(signal.mel_to_hz(signal.hz_to_mel(hertz, scale), scale), hertz)


def test_a_mel_band_outside_the_spectrum_is_refused():
    with pytest.raises(HeschlError, match="within 0 and 4000"):
        signal.mel_filterbank(8000, 256, 10, 0, 5000)


def test_power_and_decibels_have_finite_gradients_at_zero():
    x = torch.zeros(64, requires_grad=True)
    signal.decibels(signal.power(signal.stft(x, 16, 8, signal.hann(16))), 1e-10).sum().backward()
    assert torch.isfinite(x.grad).all()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
@few
def test_resample_fft_equals_scipys(time, samples, seed):
    wave = noise(2, time, seed=seed)
    assert np.allclose(
        signal.resample_fft(wave, samples), scipy.signal.resample(wave.numpy(), samples, axis=1)
    )


@pytest.mark.parametrize(
    ("rate_in", "rate_out"), [(48000, 16000), (44100, 16000), (8000, 16000), (16000, 22050)]
)
def test_resample_keeps_tones_and_constants_and_removes_what_would_alias(rate_in, rate_out):
    def tone(rate, hertz, seconds=0.2):
        return torch.sin(
            2 * math.pi * hertz * torch.arange(round(seconds * rate), dtype=torch.float64) / rate
        )

    nyquist = min(rate_in, rate_out) / 2
    inside = slice(rate_out // 25, -rate_out // 25)
    for share in (0.1, 0.5, 0.85):
        ours = signal.resample(tone(rate_in, share * nyquist)[None], rate_in, rate_out)[0]
        assert len(ours) == round(0.2 * rate_out)
        assert (ours - tone(rate_out, share * nyquist))[inside].abs().max() < 1e-3
    ones = torch.ones(rate_in // 5, dtype=torch.float64)
    assert (signal.resample(ones, rate_in, rate_out)[inside] - 1).abs().max() < 1e-9
    if rate_in > rate_out:
        assert signal.resample(tone(rate_in, 1.05 * nyquist), rate_in, rate_out)[inside].abs().max() < 1e-3


def test_resample_agrees_with_soxr_and_lets_gradients_through():
    soft = torch.from_numpy(
        np.convolve(np.random.default_rng(0).standard_normal(4800), np.hanning(40), "same")
    )
    theirs = signal.resample_recording(soft.numpy().astype(np.float32), 48000, 16000)
    ours = signal.resample(soft.requires_grad_(), 48000, 16000)
    assert np.abs(ours.detach().numpy() - theirs)[100:-100].max() < 2e-3 * np.abs(theirs).max()
    ours.square().sum().backward()
    assert soft.grad.abs().min() > 0
    assert signal.resample_recording(theirs, 16000, 16000) is theirs


def test_rms_of_a_sine():
    sine = torch.sin(2 * math.pi * torch.arange(1000) / 100)
    assert torch.allclose(signal.rms(sine), torch.tensor([0.5**0.5]))
