"""Rooms and disturbances against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from heschl.explanation.disturb import band_limited, louder, noise_like, with_noise
from heschl.explanation.room import (
    SOUND,
    eyring,
    impulse_response,
    reflection_for,
    reverberated,
    reverberation_time,
    sabine,
)
from heschl.types import HeschlError

RATE = 16000
SIZE, SOURCE, MIC = (6.0, 5.0, 3.0), (2.0, 1.5, 1.2), (4.5, 3.0, 1.7)


def clicks(places: list[tuple[float, float]], n: int) -> np.ndarray:
    """Band-limited clicks at (seconds, amplitude), written apart from the implementation: by their spectrum."""
    size = 4 * n
    f = np.fft.rfftfreq(size, 1 / RATE)
    spectrum = sum(a * np.exp(-2j * np.pi * f * t) for t, a in places)
    return np.fft.irfft(spectrum, size)[:n]


def test_the_direct_sound_has_its_time_and_strength():
    found = impulse_response(RATE, SIZE, SOURCE, MIC, reflection=0.0, seconds=0.05, high_pass=0).numpy()
    d = math.dist(SOURCE, MIC)
    expected = clicks([(d / SOUND, 1 / (4 * math.pi * d))], len(found))
    low = np.fft.rfft(found)[: len(found) // 4], np.fft.rfft(expected)[: len(found) // 4]
    assert np.abs(low[0] - low[1]).max() < 0.01 * np.abs(low[1]).max()
    assert abs(np.abs(found).argmax() - d / SOUND * RATE) <= 1
    assert np.abs(low[0][5]) == pytest.approx(1 / (4 * math.pi * d), rel=0.01)


def test_the_first_reflections_come_from_the_six_mirror_images():
    walls = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    found = impulse_response(
        RATE, SIZE, SOURCE, MIC, reflection=walls, seconds=0.06, order=1, high_pass=0
    ).numpy()
    images = [(SOURCE, 1.0)]
    for axis in range(3):
        for side in range(2):
            image = list(SOURCE)
            image[axis] = (2 * SIZE[axis] if side else 0) - image[axis]
            images.append((tuple(image), walls[2 * axis + side]))
    echoes = [(math.dist(p, MIC) / SOUND, b / (4 * math.pi * math.dist(p, MIC))) for p, b in images]
    low = [np.fft.rfft(v)[: len(found) // 4] for v in (found, clicks(echoes, len(found)))]
    assert np.abs(low[0] - low[1]).max() < 0.01 * np.abs(low[1]).max()


def test_a_second_reflection_meets_two_walls():
    both = impulse_response(
        RATE, SIZE, SOURCE, MIC, reflection=(0.9, 0.8, 0, 0, 0, 0), seconds=0.1, high_pass=0
    ).numpy()
    along = []
    for m in range(-4, 5):
        for mirrored in (False, True):
            x = 2 * m * SIZE[0] + (-SOURCE[0] if mirrored else SOURCE[0])
            near, far = abs(m - mirrored), abs(m)
            d = math.dist((x, *SOURCE[1:]), MIC)
            if d < 0.1 * SOUND:
                along.append((d / SOUND, 0.9**near * 0.8**far / (4 * math.pi * d)))
    low = [np.fft.rfft(v)[: len(both) // 4] for v in (both, clicks(along, len(both)))]
    assert np.abs(low[0] - low[1]).max() < 0.01 * np.abs(low[1]).max()


@pytest.mark.parametrize("t60", [0.15, 0.3])
def test_a_room_rings_as_long_as_it_should(t60):
    """Images ring longer than Eyring's formula, by less than a third; never shorter."""
    response = impulse_response(8000, SIZE, SOURCE, MIC, t60=t60, seconds=1.2 * t60)
    assert eyring(SIZE, reflection_for(t60, SIZE)) == pytest.approx(t60)
    assert t60 < reverberation_time(response, 8000) < 1.34 * t60


def test_sabine_and_eyring():
    room, b = (6.0, 5.0, 3.0), 0.95
    surface, volume = 2 * (30 + 18 + 15), 90.0
    assert sabine(room, b) == pytest.approx(0.161 * volume / (surface * (1 - b**2)), rel=0.01)
    assert eyring(room, b) == pytest.approx(0.161 * volume / (-surface * math.log(b**2)), rel=0.01)
    assert eyring(room, 0.0) == 0 and sabine(room, 0.999) == pytest.approx(eyring(room, 0.999), rel=0.01)
    decay = torch.from_numpy(10 ** (-3 * np.arange(8000) / 8000 / 0.5))
    assert reverberation_time(decay, 8000) == pytest.approx(0.5, rel=0.01)


def test_a_wave_in_a_room_keeps_its_place_level_and_silence():
    wave = torch.zeros(2, 4000, dtype=torch.float64)
    wave[0, 500:600] = torch.sin(torch.arange(100) * 0.6)
    dry = impulse_response(RATE, SIZE, SOURCE, MIC, reflection=0.0, seconds=0.05, high_pass=0)
    same = reverberated(wave, dry)
    assert not same[1].any() and torch.isfinite(same).all()
    assert torch.corrcoef(torch.stack([same[0], wave[0]]))[0, 1] > 0.95
    wet = reverberated(wave, impulse_response(RATE, SIZE, SOURCE, MIC, t60=0.4))
    assert wet[0].square().mean() == pytest.approx(wave[0].square().mean().item())
    assert wet[0, 1500:].abs().max() > 1e-3
    response = torch.zeros(30, dtype=torch.float64)
    response[[3, 10]] = torch.tensor([1.0, 0.5], dtype=torch.float64)
    echo = reverberated(wave[:1], response)[0]
    plain = wave[0] + 0.5 * torch.cat([torch.zeros(7), wave[0, :-7]])
    assert torch.allclose(echo / echo.norm(), plain / plain.norm(), atol=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": (7, 1, 1), "t60": 0.3}, "outside the room"),
        ({}, "one of them"),
        ({"t60": 0.3, "reflection": 0.5}, "one of them"),
        ({"reflection": 1.0}, "below 1"),
        ({"t60": -1.0}, "above zero"),
        ({"size": (0, 1, 1), "t60": 0.3}, "three lengths"),
    ],
)
def test_rooms_that_cannot_be(options, words):
    with pytest.raises(HeschlError, match=words):
        impulse_response(8000, **options)


# --- disturbances --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["white", "pink", "speech"])
def test_noise_has_its_level_and_spectrum_and_leaves_the_padding_alone(kind):
    draws = torch.Generator().manual_seed(0)
    wave = torch.randn(2, 4000, generator=draws, dtype=torch.float64).cumsum(1)
    lengths = torch.tensor([4000, 3000])
    wave[1, 3000:] = 0
    noise = noise_like(wave, kind, 3, lengths)
    for snr in (20.0, -5.0):
        noisy = with_noise(wave, noise, snr, lengths)
        added = noisy - wave
        ratio = 10 * torch.log10(wave.square().sum(1) / added.square().sum(1))
        assert torch.allclose(ratio, torch.full_like(ratio, snr), atol=1e-6)
        assert not added[1, 3000:].any()
    alone = noise_like(wave[1:, :3000], kind, 3)
    assert torch.allclose(noise[1, :3000], alone[0])
    power = np.abs(np.fft.rfft(noise[0].numpy())) ** 2
    low, high = power[20:40].mean(), power[1000:1020].mean()
    if kind == "white":
        assert 0.2 < low / high < 5
    elif kind == "pink":
        assert 10 < low / high < 160
    else:
        assert np.allclose(power[1:-1], (np.abs(np.fft.rfft(wave[0].numpy())) ** 2)[1:-1])
    assert torch.equal(with_noise(wave * 0, noise, 0.0), wave * 0)


def test_a_band_keeps_what_lies_in_it():
    n = torch.arange(8000) / 8000
    low, high = torch.sin(2 * torch.pi * 300 * n), torch.sin(2 * torch.pi * 2000 * n)
    inner = slice(500, -500)
    for band, kept in (((0.0, 1000.0), low), ((1000.0, None), high), ((200.0, 400.0), low)):
        found = band_limited((low + high)[None], 8000, *band)[0]
        assert torch.allclose(found[inner], kept[inner], atol=0.01)
    with pytest.raises(HeschlError, match="in order"):
        band_limited(low[None], 8000, 3000, 1000)
    assert louder(torch.tensor([[0.1, -0.9]]), 20.0).tolist() == [[1.0, -1.0]]
