"""Small audible sounds for the test trees of `write_tiny`: a buzz with a pitch by speaker, a timbre by class."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def utterance(speaker: int, label: int, seed: int, seconds: float = 0.5, rate: int = 16000) -> np.ndarray:
    """One made-up "word": (time,) float64 in [-0.6, 0.6].

    A harmonic buzz, whose fundamental belongs to the speaker and whose two resonances and rhythm belong to
    the class, in a little noise: so a network can learn the class from clips that differ.
    """
    random = np.random.default_rng((seed, speaker, label))
    time = np.arange(round(seconds * rate)) / rate
    pitch = 90.0 + 23.0 * (speaker % 8) + random.uniform(-3, 3)
    harmonics = np.arange(1, int(3200.0 / pitch))[:, None]
    resonances = 300.0 + 170.0 * (label % 7), 1100.0 + 260.0 * (label // 7 % 8)
    gain = sum(np.exp(-(((harmonics * pitch - place) / 180.0) ** 2)) for place in resonances) + 0.02
    phase = random.uniform(0, 2 * np.pi, harmonics.shape)
    turn, voice = np.exp(2j * np.pi * pitch * time), np.zeros(len(time), complex)
    for part in (gain * np.exp(1j * phase))[
        ::-1, 0
    ]:  # the sum of gain sin(2 pi harmonic pitch time + phase), by Horner
        voice = (voice + part) * turn
    buzz = voice.imag
    rhythm = np.sin(np.pi * time / seconds) * (1 + 0.6 * np.cos(2 * np.pi * (2 + label % 5) * time))
    wave = buzz * rhythm
    wave = wave / np.abs(wave).max() + 0.01 * random.standard_normal(len(time))
    return np.asarray(0.5 * wave / np.abs(wave).max())


def write(path: Path, wave: np.ndarray, rate: int) -> None:
    """16-bit WAV or FLAC by the suffix; without the flush to disk that `files.write_wav` does for real output."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), wave, rate, subtype="PCM_16")
