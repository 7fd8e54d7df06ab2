"""The spectrograms against scipy and librosa, and what every feature owes: own clips only, gradients, steps."""

from __future__ import annotations

import itertools
import math

import librosa
import numpy as np
import pytest
import scipy.signal
import torch

from heschl.features.spectrogram import AudioMnistSpectrogram, LogMel, LogSpectrogram, WaveGradMel
from heschl.types import HeschlError

FEATURES = {
    "log mel": (LogMel, 16000),
    "log mel, energy": (lambda: LogMel(normalise="energy"), 16000),
    "log mel, level": (lambda: LogMel(normalise="level"), 16000),
    "log mel, mean": (lambda: LogMel(normalise="mean"), 16000),
    "log mel, mean and variance": (lambda: LogMel(normalise="mean_variance"), 16000),
    "log mel, standard": (lambda: LogMel(normalise="standard"), 16000),
    "crnn": (LogSpectrogram, 16000),
    "crnn, standardised": (lambda: LogSpectrogram(standardise=True), 16000),
    "audiomnist": (AudioMnistSpectrogram, 8000),
    "wavegrad": (WaveGradMel, 22050),
}


def speechlike(batch, samples, rate, seed=0):
    """Noise and gliding tones of very different loudness, with silence: (batch, samples) float64."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / rate
    waves = []
    for i in range(batch):
        tone = np.sin(2 * np.pi * (200 + 300 * i) * time * (1 + time)) + 0.1 * rng.standard_normal(samples)
        tone *= np.exp(-((time - 0.5) ** 2) / 0.02) * 0.5 * 10.0 ** (-2 * (i % 3))
        tone[: samples // 10] = 0
        waves.append(tone)
    return torch.from_numpy(np.stack(waves))


@pytest.mark.parametrize("name", FEATURES)
def test_one_clip_never_changes_another(name):
    make, rate = FEATURES[name]
    feature = make()
    waves = speechlike(7, rate if name != "audiomnist" else 8000, rate).float()
    together = feature(waves)
    for i in range(7):
        assert torch.allclose(feature(waves[i : i + 1])[0], together[i], atol=1e-2, rtol=1e-5)
        exact = feature(waves.double())[i]
        assert torch.allclose(feature(waves[i : i + 1].double())[0], exact, atol=1e-9)
    assert together.dtype == torch.float32
    assert feature(waves.double()).dtype == torch.float64
    assert together.shape[-1] == feature.steps(waves.shape[1])
    assert together.shape[-2] == len(feature.frequencies)


@pytest.mark.parametrize("name", [name for name in FEATURES if name != "audiomnist"])
def test_the_padding_of_a_batch_changes_nothing(name):
    make, rate = FEATURES[name]
    feature = make()
    waves = speechlike(3, rate, rate)
    lengths = torch.tensor([rate, rate * 3 // 4 + 11, rate // 2])
    padded = torch.where(torch.arange(rate) < lengths[:, None], waves, 0.0)
    together = feature(padded, lengths)
    steps = feature.steps(lengths)
    for i, (length, step) in enumerate(zip(lengths.tolist(), steps.tolist())):
        alone = feature(waves[i : i + 1, :length])[0]
        assert alone.shape[-1] == step == feature.steps(length)
        assert torch.allclose(together[i, :, :step], alone, atol=1e-9)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("silent", [False, True])
def test_a_finite_gradient_reaches_the_wave(name, silent):
    make, rate = FEATURES[name]
    feature = make()
    wave = speechlike(2, rate, rate).float()
    if silent:
        wave.zero_()
    wave.requires_grad_()
    x = feature(wave)
    assert torch.isfinite(x).all()
    (x * torch.linspace(-1, 2, x.numel()).reshape(x.shape)).sum().backward()
    assert torch.isfinite(wave.grad).all()
    if not silent:
        assert (wave.grad.abs().amax(1) > 0).all()


@pytest.mark.parametrize("name", ["log mel", "crnn"])
def test_the_gradient_is_the_derivative(name):
    make, rate = FEATURES[name]
    feature = make()
    wave, step = (
        speechlike(1, 2000, rate, seed=3),
        torch.randn(1, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    wave = (wave + 0.01 * step).requires_grad_()
    feature(wave).sum().backward()
    with torch.no_grad():
        change = (feature(wave + 1e-7 * step).sum() - feature(wave - 1e-7 * step).sum()) / 2e-7
    assert math.isclose((wave.grad * step).sum(), change, rel_tol=1e-4)


# --- log mel -----------------------------------------------------------------------------------------

SETTINGS = [
    {},
    {"n_mels": 64, "n_fft": 1024, "window": 0.064, "f_min": 60.0, "f_max": 7600.0},
    {"sample_rate": 8000, "n_mels": 23, "mel": "htk", "window": 0.032, "hop": 0.016},
]


@pytest.mark.parametrize("options", SETTINGS)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-4), (torch.float64, 1e-8)])
def test_log_mel_equals_librosa(options, dtype, error):
    feature = LogMel(**options)
    rate = feature.sample_rate
    waves = speechlike(5, rate + 37, rate).to(dtype)
    ours = feature(waves).numpy()
    for wave, one in zip(waves.numpy(), ours):
        theirs = librosa.feature.melspectrogram(
            y=wave,
            sr=rate,
            n_fft=feature.n_fft,
            win_length=feature.window_length,
            hop_length=feature.hop_length,
            n_mels=feature.n_mels,
            fmin=options.get("f_min", 0.0),
            fmax=options.get("f_max"),
            htk=options.get("mel") == "htk",
            pad_mode="constant",
            dtype=np.float64,
        )
        # librosa keeps its filters in float32 unless told: 1e-7 relative
        assert np.abs(one - np.log(theirs + feature.floor)).max() < max(error, 3e-7)


def test_log_mel_of_a_tone_peaks_in_its_row():
    feature = LogMel(n_mels=40)
    for row in (12, 25, 38):
        hertz = float(feature.frequencies[row])
        tone = torch.sin(2 * math.pi * hertz * torch.arange(16000) / 16000)[None]
        assert (feature(tone)[0].argmax(0)[5:-5] == row).all()


def test_normalisations_do_what_they_say():
    waves = speechlike(3, 16000, 16000)
    plain = LogMel()(waves)
    assert torch.allclose(LogMel(normalise="mean")(waves), plain - plain.mean(2, keepdim=True))
    both = LogMel(normalise="mean_variance")(waves)
    assert torch.allclose(both.mean(2), torch.zeros_like(both.mean(2)), atol=1e-9)
    # (the third clip lies below the floor: its rows are constant, and stay so)
    assert torch.allclose(both[:2].var(2, correction=0), torch.ones_like(both[:2, :, 0]), atol=1e-3)
    whole = LogMel(normalise="standard")(waves)
    assert torch.allclose(whole.var((1, 2), correction=0), torch.ones(3, dtype=torch.float64), atol=0.05)
    mel = plain.exp() - 1e-6
    weight = (mel.sum(1, keepdim=True) + 1e-6).sqrt()
    mean = (plain * weight).sum(2, keepdim=True) / weight.sum(2, keepdim=True)
    assert torch.allclose(LogMel(normalise="energy")(waves), plain - mean, atol=1e-6)
    level = LogMel(normalise="level")
    assert torch.allclose(level(waves), plain - mean.mean(1, keepdim=True), atol=1e-6)
    loud = waves[:1] + 1e-2 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(level(8 * loud), level(loud), atol=0.1)  # but for the floor


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"normalise": "cmvn"}, "choose none, mean"),
        ({"hop": 0.0101}, "LogMel.hop"),
        ({"n_mels": 200}, "fall between the bins"),
        ({"n_fft": 256}, "raise n_fft"),
        ({"floor": 0.0}, "floor above zero"),
        ({"f_max": 9000.0}, "8000"),
    ],
)
def test_impossible_log_mels_are_refused_in_a_sentence(options, words):
    with pytest.raises(HeschlError, match=words):
        LogMel(**options)


# --- the CRNN's --------------------------------------------------------------------------------------


def crnn_oracle(wave, rate=16000):
    _, _, density = scipy.signal.spectrogram(wave, rate)
    density[density == 0] = 1
    return 10 * np.log10(density)


@pytest.mark.parametrize("int16", [True, False])
def test_log_spectrogram_equals_scipys_defaults(int16):
    waves = speechlike(4, 16000, 16000)
    waves[0, :4000] = 0.25  # constants become zeros, and zeros become ones
    ours = LogSpectrogram(int16=int16)(waves)
    assert ours.shape == (4, 129, 71)
    theirs = np.stack([crnn_oracle(wave * (32768 if int16 else 1)) for wave in waves.numpy()])
    assert np.abs(ours.numpy() - theirs).max() < 1e-6
    assert (ours[0, :, :17] == 0).all()
    frequencies, times, _ = scipy.signal.spectrogram(waves[0].numpy(), 16000)
    feature = LogSpectrogram()
    assert np.allclose(feature.frequencies, frequencies)
    assert np.allclose(feature.start + np.arange(71) / feature.rate, times)
    single = LogSpectrogram(int16=int16)(waves.float()).numpy()
    assert np.abs(single - theirs)[theirs > theirs.max() - 60].max() < 1e-2


def test_71_frames_come_from_exactly_the_lengths_that_the_crnn_kept():
    assert [n for n in range(15900, 16200) if LogSpectrogram().steps(n) == 71] == list(range(15936, 16160))
    assert LogSpectrogram().steps(100) == 0
    assert LogSpectrogram().steps(torch.tensor([100, 16000])).tolist() == [0, 71]


@pytest.mark.parametrize("standardise", [False, True])
def test_log_spectrogram_is_undone_by_its_inverse(standardise):
    feature = LogSpectrogram(standardise=standardise)
    waves = speechlike(3, 16000, 16000)
    waves[0, :4000] = 0.25
    x = feature(waves)
    assert torch.allclose(feature.invert(x, waves), waves, atol=1e-9)
    if standardise:
        mean, variance = x.mean((1, 2)), x.var((1, 2), correction=0)
        assert mean.abs().max() < 1e-9 and (variance - 1).abs().max() < 1e-6
    else:  # 6 dB more everywhere is twice the amplitude, but for the frames' means
        louder = feature.invert(x + 20 * math.log10(2), waves)
        assert torch.allclose(louder[1, 300:15000], 2 * waves[1, 300:15000], atol=2e-3)


# --- AudioMNIST's ------------------------------------------------------------------------------------


def audiomnist_oracle(wave):
    _, _, z = scipy.signal.stft(wave, 8000, nperseg=455, noverlap=420, window="hann")
    assert z.shape == (228, 230)
    return librosa.amplitude_to_db(np.abs(z[0:227, 2:-1]), ref=np.max)


@pytest.mark.parametrize("loudness", [32768.0, 1.0, 1e-2])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-9), (torch.float32, 1e-2)])
def test_audiomnist_spectrogram_equals_scipy_and_librosa(loudness, dtype, error):
    waves = torch.cat(
        [
            speechlike(3, 8000, 8000),
            torch.randn(2, 8000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        ]
    )
    waves[4, 3000:] = 0
    waves = waves * loudness
    ours = AudioMnistSpectrogram()(waves.to(dtype))
    assert ours.shape == (5, 1, 227, 227) and ours.dtype == dtype
    for wave, one in zip(waves.numpy(), ours[:, 0].numpy()):
        assert np.abs(one - audiomnist_oracle(wave)).max() < error
    scaled = AudioMnistSpectrogram(scale=loudness)(waves / loudness)
    assert np.abs(scaled[0, 0].numpy() - audiomnist_oracle(waves[0].numpy())).max() < 1e-9


def test_audiomnist_spectrogram_of_silence_and_of_a_tone():
    feature = AudioMnistSpectrogram()
    assert (feature(torch.zeros(1, 8000)) == 0).all()  # as librosa: everything is at its peak
    tone = torch.sin(2 * math.pi * 80 * 8000 / 455 * torch.arange(8000) / 8000)[None]
    x = feature(tone)
    assert (x[0, 0].argmax(0) == 80).all() and x.max() == 0 and x.min() >= -80


def test_audioms_unit_interval_is_the_decibels_over_their_range():
    waves = speechlike(2, 8000, 8000)
    unit = AudioMnistSpectrogram(unit=True)(waves)
    for wave, one in zip(waves.numpy(), unit[:, 0].numpy()):
        assert np.abs(one - (audiomnist_oracle(wave) + 80) / 80).max() < 1e-10
    assert unit.min() == 0 and unit.max() == 1


@pytest.mark.parametrize("unit", [False, True])
def test_audiomnist_spectrogram_is_undone_by_its_inverse(unit):
    feature = AudioMnistSpectrogram(unit=unit)
    waves = speechlike(3, 8000, 8000)
    back = feature.invert(feature(waves), waves)
    assert torch.allclose(back, waves, atol=1e-12)
    assert torch.allclose(feature.invert(feature(waves.float()), waves.float()), waves.float(), atol=1e-6)
    halved = feature.invert(feature(waves) - 20 * math.log10(2) / (80 if unit else 1), waves)
    assert torch.allclose(halved[0, 1000:7000], waves[0, 1000:7000] / 2, atol=2e-3)
    quiet = torch.full((3, 1, 227, 227), -200.0, dtype=torch.float64)
    assert feature.invert(quiet, waves)[:, 1000:-1000].abs().max() < 5e-3


@pytest.mark.parametrize(
    ("make", "words"),
    [(lambda: AudioMnistSpectrogram(16000), "8000 Hz"), (lambda: WaveGradMel(16000), "22050")],
)
def test_other_rates_are_refused(make, words):
    with pytest.raises(HeschlError, match=words):
        make()


def test_other_lengths_are_refused():
    with pytest.raises(HeschlError, match=r"clip.seconds"):
        AudioMnistSpectrogram()(torch.zeros(1, 8001))
    with pytest.raises(HeschlError, match="more than 1024"):
        WaveGradMel()(torch.zeros(1, 1000))


# --- WaveGrad's --------------------------------------------------------------------------------------


def wavegrad_oracle(wave):
    window = scipy.signal.get_window("hann", 1200)
    spectrum = librosa.stft(
        np.clip(wave, -1, 1), n_fft=2048, hop_length=300, win_length=1200, pad_mode="reflect"
    )
    magnitude = np.abs(spectrum) / np.sqrt((window**2).sum())
    bank = librosa.filters.mel(
        sr=22050, n_fft=2048, n_mels=128, fmin=20, fmax=11025, htk=True, norm=None, dtype=np.float64
    )
    level = 20 * np.log10(np.maximum(bank @ magnitude, 1e-5)) - 20
    return np.clip((level + 100) / 100, 0, 1)


def test_wavegrad_mel_equals_its_definition():
    waves = speechlike(5, 22050, 22050)
    waves[0] *= 4  # is cut at full scale
    ours = WaveGradMel()(waves)
    assert ours.shape == (5, 128, 74)
    theirs = np.stack([wavegrad_oracle(wave) for wave in waves.numpy()])
    assert np.abs(ours.numpy() - theirs).max() < 1e-9
    assert np.abs(WaveGradMel()(waves.float()).numpy() - theirs).max() < 1e-4
    assert theirs.max() > 0.8 and theirs.min() == 0


def test_frequencies_are_the_centres_of_the_rows():
    feature = WaveGradMel()
    assert np.allclose(
        feature.frequencies, librosa.mel_frequencies(130, fmin=20, fmax=11025, htk=True)[1:-1], atol=1e-2
    )
    assert all(a < b for a, b in itertools.pairwise(LogMel().frequencies.tolist()))
