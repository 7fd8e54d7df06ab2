"""bench/sounds.py: what it calls a click of an explanation, and what of the recording's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from heschl.explanation.audible import audible_parts
from heschl.files import write_json, write_wav
from heschl.types import Clip

RATE, PLACE = 16000, 7000
_spec = importlib.util.spec_from_file_location(
    "sounds_bench", Path(__file__).resolve().parents[2] / "bench" / "sounds.py"
)
assert _spec is not None and _spec.loader is not None
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)

FILES = {
    "original": "original.wav",
    "positive": "relied-on.wav",
    "negative": "against.wav",
    "rest": "rest.wav",
}


def voice() -> np.ndarray:
    """A second of a vowel at 120 Hz that comes and goes, and a little noise, (time,)."""
    t = np.arange(RATE) / RATE
    vowel = sum(np.sin(2 * np.pi * 120 * k * t + k * k) / k**1.7 for k in range(1, 40))
    noise = np.random.default_rng(0).standard_normal(RATE)
    return 0.1 * vowel * np.sin(np.pi * t) ** 2 + 5e-4 * noise


def explained(
    folder: Path, recording: np.ndarray, change=lambda name, wave: wave
) -> dict[str, bench.Measured]:
    """The sounds of a made-up explanation of a recording, changed before they are written, as the bench measures them."""
    write_wav(folder / "recording.wav", recording, RATE)
    relevance = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    parts = audible_parts(relevance, torch.from_numpy(recording), RATE)
    for name, wave in parts.items():
        write_wav(folder / FILES[name], change(name, wave.numpy().copy()), RATE)
    sounds = {name: {"file": file} for name, file in FILES.items()}
    write_json(folder / "answer.json", {"clip": "one", "sounds": sounds})
    clip = Clip("one", folder / "recording.wav", RATE, {})
    return dict(zip(FILES, bench.measured(folder / "answer.json", {"one": clip})))


def clicked(size: float, at: int = PLACE, part: str = "positive"):
    """Plants a click of one sample, so much of a sound's highest sample, into one part."""

    def change(name: str, wave: np.ndarray) -> np.ndarray:
        wave[at] += size * np.abs(wave).max() * (name == part)
        return wave

    return change


def with_click(size: float) -> np.ndarray:
    """The voice, recorded with a click of its own."""
    wave = voice()
    wave[PLACE] += size
    return wave


def test_sounds_as_they_are_made_are_fit(tmp_path):
    found = explained(tmp_path, voice())
    assert all(one.fit and not one.silent for one in found.values())


@pytest.mark.parametrize("size", [0.5, -0.5])
def test_a_planted_click_is_found(tmp_path, size):
    found = explained(tmp_path, voice(), clicked(size))
    assert not found["positive"].fit and found["positive"].click > bench.CLICK
    assert all(one.fit for name, one in found.items() if name != "positive")


def test_a_quiet_click_in_silence_is_found(tmp_path):
    wave = voice()
    wave[2000:6000] = 0
    assert explained(tmp_path, wave, clicked(0.02, 4000))["positive"].click > bench.CLICK


@pytest.mark.parametrize("size", [0.1, 0.3])
def test_the_recordings_own_click_is_not_charged_to_its_parts(tmp_path, size):
    found = explained(tmp_path, with_click(size))
    assert found["original"].step > bench.CLICK and found["positive"].step > 2 * bench.CLICK
    assert all(one.fit for one in found.values())


@pytest.mark.parametrize("at", [PLACE - 40, PLACE - 16, PLACE + 16, PLACE + 40])  # 1 and 2.5 ms
def test_a_click_planted_beside_the_recordings_own_is_found(tmp_path, at):
    """Though it is no larger than that."""
    found = explained(tmp_path, with_click(0.1), clicked(0.7, at))
    assert found["positive"].click > bench.CLICK and found["rest"].fit


def test_a_click_planted_on_the_recordings_own_is_found_where_it_is_larger(tmp_path):
    own, planted = with_click(0.05), clicked(1.5, part="negative")
    assert all(one.fit for one in explained(tmp_path, own).values())
    assert explained(tmp_path, own, planted)["negative"].click > bench.CLICK


def test_the_flank_of_a_recording_that_was_clipped_is_its_own():
    """From full scale to full scale in a millisecond and a half, with a corner inside."""
    flank = np.concatenate(
        [[0.002, 0.041, 0.075], np.linspace(0.06, 0.048, 6), np.linspace(0.055, 0.118, 15)]
    )
    steps = np.concatenate([np.tile([6e-4, -6e-4], 500), -flank, np.zeros(1000)])
    recording = 0.86 + np.cumsum(steps)
    own = bench.own_clicks(recording, RATE)
    assert bench.clicks(recording, RATE)[500:1500].max() > bench.CLICK
    assert bench.clicks(recording, RATE, own)[500:1500].max() <= 1


def test_a_sound_that_begins_at_once_is_found(tmp_path):
    """Also where the recording begins so."""
    wave = voice() + 0.2

    def cut(name: str, wave: np.ndarray) -> np.ndarray:
        return np.where(np.arange(RATE) < 200, 0.2, wave) if name == "positive" else wave

    found = explained(tmp_path, wave, cut)
    assert not found["positive"].fit and found["rest"].fit
