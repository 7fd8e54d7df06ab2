"""Public numerical functions of sound against scipy, librosa and loops, as a user would call them."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import pytest
import torch
from scipy import signal as scipy_signal

from heschl.explanation.audible import audible
from heschl.explanation.faithful import deletion_curve, insertion_curve
from heschl.features.context import context_windows
from heschl.features.spectrogram import AudioMnistSpectrogram, LogMel, WaveGradMel
from heschl.features.superlet import superlet
from heschl.types import HeschlError

pytestmark = pytest.mark.slow  # `make check` leaves these to `make test`


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


# --- superlets ---------------------------------------------------------------------------------------------


def wavelet(x: np.ndarray, rate: float, freq: float, cycles: float, kernel: str) -> np.ndarray:
    sd = cycles / (5 * freq)
    if kernel == "reference":
        half = round(6 * sd * rate) // 2
        shape = np.exp(-0.5 * (3 * np.arange(-half, half + 1) / max(half, 1)) ** 2)
    else:
        half = int(10 * sd * rate) + 2
        shape = np.exp(-((np.arange(-half, half + 1) / rate) ** 2) / (2 * sd**2))
    turns = np.exp(2j * np.pi * freq * np.arange(-half, half + 1) / rate)
    return np.convolve(x, shape / shape.sum() * turns)[half : half + len(x)]


def superlets(x: np.ndarray, rate: float, freqs: list[float], order: Any, **o: Any) -> tuple[Any, Any]:
    """Power, and the weighted mean of the phasors, wavelet by wavelet."""
    first, last = (order, order) if np.isscalar(order) else (order[0], order[-1])
    power, phase = [], []
    for index, freq in enumerate(freqs):
        place = index / (len(freqs) - 1)
        if o["order_axis"] == "frequency":
            place = (freq - min(freqs)) / (max(freqs) - min(freqs))
        value = first + (last - first) * place
        logs, mean = np.zeros(len(x)), np.zeros(len(x), dtype=complex)
        for k in range(1, int(np.ceil(value - 1e-9)) + 1):
            share = min(1.0, value - (k - 1))
            cycles = 3 * k if o["kind"] == "multiplicative" else 3 + k - 1
            held = wavelet(x, rate, freq, cycles, o["kernel"])
            logs += share * np.log(2 * np.abs(held) ** 2)
            mean += share * held / np.abs(held)
        power.append(np.exp(logs / value))
        phase.append(mean / value)
    return np.array(power), np.array(phase)


@pytest.mark.parametrize("order", [1, (2.5,), (1, 5), (2, 7.3), (5, 1)])
@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
def test_superlets_by_definition(order, kind):
    freqs = [7.0, 20.0, 31.0, 60.0, 125.0]  # uneven, up to half the rate
    x = noise(500)
    for axis, kernel in (("index", "gaussian"), ("frequency", "reference")):
        power, phase = superlets(x, 250.0, freqs, order, kind=kind, order_axis=axis, kernel=kernel)
        found = superlet(torch.tensor(x), 250.0, freqs, 3, order, kind, axis, kernel)
        assert np.abs(found.numpy() - power).max() < 1e-9 * power.max()
        whole = superlet(
            torch.tensor(x), 250.0, torch.tensor(freqs), 3, order, kind, axis, kernel, 1, "complex"
        )
        assert np.abs((whole.phase * whole.resultant).numpy() - phase).max() < 1e-9
        single = superlet(
            torch.tensor(np.stack([x, -3 * x])).float()[:, None], 250.0, freqs, 3, order, kind, axis, kernel, 7
        )  # fmt: skip
        assert single.shape == (2, 1, 5, 72) and single.dtype == torch.float32
        assert np.abs(single[0, 0].numpy() - power[:, ::7]).max() < 1e-5 * power.max()
        assert np.abs(single[1, 0].numpy() / 9 - power[:, ::7]).max() < 1e-5 * power.max()


# --- spectrograms ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_audiomnist_picture_is_scipys_and_librosas(dtype, tolerance):
    waves = torch.tensor(noise(2, 8000) * np.hanning(8000) * [[1.0], [1e-3]], dtype=dtype)
    waves[1, :3000] = 0
    found = AudioMnistSpectrogram()(waves)
    assert found.shape == (2, 1, 227, 227) and found.dtype == dtype
    for wave, picture in zip(waves.double().numpy(), found[:, 0].double().numpy(), strict=True):
        spectrum = scipy_signal.stft(wave, 8000, nperseg=455, noverlap=420, window="hann")[2]
        wanted = librosa.amplitude_to_db(np.abs(spectrum[:227, 2:-1]), ref=np.max)
        assert np.abs(picture - wanted).max() < tolerance


def test_log_mel_is_librosas_log():
    waves = noise(2, 8000) * 0.1
    found = LogMel(n_mels=64, n_fft=1024, f_min=20.0, f_max=7600.0)(torch.tensor(waves))
    wanted = librosa.feature.melspectrogram(
        y=waves, sr=16000, n_fft=1024, hop_length=160, win_length=400, n_mels=64, fmin=20, fmax=7600, pad_mode="constant"
    )  # fmt: skip
    assert np.abs(found.numpy() - np.log(wanted + 1e-6)).max() < 1e-6


def test_wavegrads_formula():
    waves = np.random.default_rng(0).uniform(-1.2, 1.2, (2, 9000))
    spectrum = np.abs(librosa.stft(np.clip(waves, -1, 1), n_fft=2048, hop_length=300, win_length=1200, pad_mode="reflect"))  # fmt: skip
    spectrum /= np.sqrt((scipy_signal.get_window("hann", 1200) ** 2).sum())
    bank = librosa.filters.mel(
        sr=22050, n_fft=2048, n_mels=128, fmin=20, htk=True, norm=None, dtype=np.float64
    )
    level = 20 * np.log10(np.maximum(bank @ spectrum, 1e-5)) - 20
    found = WaveGradMel()(torch.tensor(waves))
    assert np.abs(found.numpy() - np.clip((level + 100) / 100, 0, 1)).max() < 1e-6


def test_context_windows_by_loops_and_what_they_refuse():
    for frames in (
        noise(7, 3),
        noise(2, 7, 3).astype(np.float32),
        torch.randn(7, 3),
        torch.randn(2, 2, 7, 3),
    ):
        found = context_windows(frames, 2)
        assert type(found) is type(frames) and found.dtype == frames.dtype
        held, given = np.asarray(found), np.asarray(frames)
        for t in range(7):
            for j in range(5):
                inside = 0 <= t + j - 2 < 7
                assert np.array_equal(
                    held[..., t, j, :], given[..., t + j - 2, :] if inside else 0 * given[..., 0, :]
                )
    assert context_windows(np.zeros((1, 40))).shape == (1, 51, 40)
    for bad in (np.zeros(5), np.zeros((0, 40)), torch.zeros(0, 40)):
        with pytest.raises(HeschlError, match=r"give \(\.\.\., time, feature\)"):
            context_windows(bad)
    for context in (-1, 1.5, True):
        with pytest.raises(HeschlError, match="number of neighbours"):
            context_windows(np.zeros((4, 2)), context)  # type: ignore[arg-type]


# --- explanations, put to the test and heard -----------------------------------------------------------------


@pytest.mark.parametrize("baseline", ["zero", 0.7])
@pytest.mark.parametrize("fractions", [21, [0.0, 0.1, 0.5, 1.0]])
def test_deletion_and_insertion_cell_by_cell(baseline, fractions):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(12, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)
    )
    model.double().eval()
    x, target, relevance = (
        torch.tensor(noise(3, 3, 4)),
        torch.tensor([0, 2, 1]),
        torch.randn(3, 3, 4).double(),
    )
    relevance[0, 0, 0] = relevance[0, 1, 1]  # of equals, the earlier one first
    gone = deletion_curve(model, x, target, relevance, baseline=baseline, fractions=fractions)
    back = insertion_curve(model, x, target, relevance, baseline=baseline, fractions=fractions)
    shares = np.linspace(0, 1, fractions) if isinstance(fractions, int) else np.array(fractions)
    fill = 0.0 if baseline == "zero" else baseline
    for clip in range(3):
        order = np.argsort(-relevance[clip].numpy().ravel(), kind="stable")
        whole = x[clip].numpy().ravel()
        scores = []
        for share in shares:
            first = order[: int(np.round(share * 12))]
            taken, put = whole.copy(), np.full(12, fill)
            taken[first], put[first] = fill, whole[first]
            with torch.no_grad():
                scores.append(model(torch.tensor(np.stack([taken, put])))[:, target[clip]].numpy())
        wanted = np.array(scores).T
        assert np.abs(gone.scores[clip].numpy() - wanted[0]).max() < 1e-12
        assert np.abs(back.scores[clip].numpy() - wanted[1]).max() < 1e-12
        assert float(gone.aopc[clip]) == pytest.approx((wanted[0][0] - wanted[0]).mean())
        assert float(gone.area[clip]) == pytest.approx(np.trapezoid(wanted[0], shares))


def test_deletion_takes_relevance_as_an_array_as_well():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)).eval()
    x, target, relevance = torch.randn(2, 6), torch.tensor([0, 1]), torch.randn(2, 6)
    one, other = (deletion_curve(model, x, target, r) for r in (relevance, relevance.numpy()))  # type: ignore[arg-type]
    assert torch.equal(one.scores, other.scores)


@pytest.mark.parametrize("seconds", [0.1, 0.5])
@pytest.mark.parametrize("kind", ["wave", "spectrogram"])
def test_audible_level_edges_and_sum(seconds, kind):
    rate, n = 16000, int(seconds * 16000)
    wave = torch.tensor(librosa.chirp(fmin=100, fmax=3000, sr=rate, length=n) * 0.1)
    relevance = torch.tensor(noise(n) if kind == "wave" else noise(129, 40))
    parts = [audible(relevance, wave, rate, part, match=False) for part in ("positive", "negative", "rest")]
    inside = slice(80, n - 80)  # but for the fades of 5 ms
    assert float((sum(parts) - wave)[inside].abs().max()) < 1e-9
    for part in ("positive", "negative", "rest"):
        heard = audible(relevance, wave, rate, part)
        assert heard.shape == wave.shape and heard.dtype == wave.dtype
        level = 20 * torch.log10(heard.square().mean().sqrt() / wave.square().mean().sqrt())
        assert abs(float(level)) < 0.1
        assert float(heard[[0, -1]].abs().max()) == 0 and float(heard.abs().max()) <= 0.99
    both = audible(torch.stack([relevance, -relevance]), torch.stack([wave, wave]), rate)
    assert torch.allclose(both[0], audible(relevance, wave, rate), atol=1e-12)
    assert torch.allclose(both[1], audible(relevance, wave, rate, "negative"), atol=1e-12)
