"""A brain made up by a formula: sources that answer to sound, electrodes on a round head, and noise.

The power of four frequency bands of a word, compressed, drives four sources, one band each. A source answers by its response
kernel; electrodes see it as a current dipole in an endless conductor, V = q . (r - s) / (4 pi sigma |r - s|^3); noise is 1/f,
half of it shared between neighbouring electrodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from heschl.files import read_audio
from heschl.types import Clip

RATE = 128.0
SECONDS = 1.0
BEFORE = 0.1  # seconds of a trial before the word begins
WINDOW = 0.032  # seconds of sound that each step of the drive is computed from
AHEAD = WINDOW / 2  # so far ahead a step hears: the brain may know of a word that much before it begins
EDGES = (100.0, 500.0, 1200.0, 2500.0, 7000.0)  # Hz, of the four bands


class Source(NamedTuple):
    """Where a source lies (metres, head frame), where it points, its delay (s) and the frequency of its oscillation (Hz)."""

    name: str
    place: tuple[float, float, float]
    moment: tuple[float, float, float]
    delay: float
    frequency: float


SOURCES = (
    Source("left temporal", (-0.055, 0.005, 0.030), (-1.0, 0.0, 0.6), 0.06, 7.0),
    Source("right temporal", (0.055, 0.000, 0.032), (1.0, 0.0, 0.6), 0.07, 12.0),
    Source("left frontal", (-0.035, 0.050, 0.045), (-0.4, 1.0, 0.5), 0.12, 20.0),
    Source("parietal", (0.010, -0.045, 0.065), (0.0, -0.6, 1.0), 0.16, 32.0),
)


def drive(clip: Clip) -> np.ndarray:
    """(band, time) cube root of the power of four bands of a word, from `BEFORE` its onset on, `SECONDS` at `RATE`."""
    wave, rate = read_audio(clip.signal, clip.start, clip.stop)
    onset = next((span.start for span in clip.spans if span.tier == "word"), 0.0)
    steps, hop = round(SECONDS * RATE), rate / RATE
    size = round(WINDOW * rate)
    first = np.round((onset - BEFORE) * rate + hop * np.arange(steps) - size / 2).astype(int)
    padded = np.concatenate([np.zeros(2 * rate), wave, np.zeros(2 * rate)])
    frames = padded[first[:, None] + 2 * rate + np.arange(size)] * np.hanning(size)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1)))
    frequency = np.fft.rfftfreq(size, 1 / rate)
    bands = [
        power[:, (frequency >= low) & (frequency < high)].sum(1) for low, high in itertools.pairwise(EDGES)
    ]
    return np.asarray(np.cbrt(np.stack(bands)))


def alone(drives: np.ndarray, blocks: Sequence[int], carrier: int, seed: tuple[int, int]) -> np.ndarray:
    """Drives (trial, band, time), of which the bands that the carrier does not hear are permuted, each on its own, within
    blocks."""
    out, names = drives.copy(), np.asarray(blocks)
    # of its own: phases and noise are those of listeners without a carrier
    random = np.random.default_rng((*seed, 11))
    for band in range(drives.shape[1]):
        for block in np.unique(names):
            rows = np.flatnonzero(names == block)
            order = random.permutation(rows)
            if band != carrier:
                out[rows, band] = drives[order, band]
    return out


def kernel(delay: float, rate: float = RATE) -> np.ndarray:
    """Response kernel h(t) = t / d exp(1 - t / d), (time,), of unit sum."""
    t = np.arange(0, 8 * delay, 1 / rate)
    h = t / delay * np.exp(1 - t / delay)
    return np.asarray(h / h.sum())


def respond(drives: np.ndarray, response: str, random: np.random.Generator) -> np.ndarray:
    """(band, time) -> (source, time): what each source does in one trial."""
    steps = drives.shape[1]
    time = np.arange(steps) / RATE
    out = []
    for source, one in zip(SOURCES, drives):
        answer = np.convolve(one, kernel(source.delay))[:steps]
        if response == "induced":
            answer = answer * np.cos(2 * np.pi * (source.frequency * time + random.uniform()))
        out.append(answer)
    return np.array(out)


def montage(subject: int, random: np.random.Generator) -> np.ndarray:
    """(sensor, 3) metres on the upper part of a head of 9 cm, turned differently for each subject; 28 to 32 of them."""
    n = 28 + 2 * (subject % 3)
    k = np.arange(n) + 0.5
    height = 1 - 1.15 * k / n
    angle = np.pi * (1 + np.sqrt(5)) * k + random.uniform(0, 2 * np.pi)
    ring = np.sqrt(np.clip(1 - height**2, 0, None))
    return 0.09 * np.stack([ring * np.cos(angle), ring * np.sin(angle), height], 1)


def dipoles(positions: np.ndarray, sigma: float = 0.33) -> np.ndarray:
    """(sensor, source) volts of sources of one A m in an endless conductor of sigma S/m."""
    offset = positions[:, None] - np.array([source.place for source in SOURCES])
    moment = np.array([np.array(s.moment) / np.linalg.norm(s.moment) for s in SOURCES])
    distance = np.linalg.norm(offset, axis=-1)
    return np.asarray((offset * moment).sum(-1) / (4 * np.pi * sigma * distance**3))


def background(trials: int, positions: np.ndarray, steps: int, random: np.random.Generator) -> np.ndarray:
    """(trial, sensor, time) noise whose power falls with frequency as 1/f: half shared by neighbours, half its own."""
    apart = np.linalg.norm(positions[:, None] - positions, axis=-1)
    shared = np.exp(-np.square(apart / 0.05))
    shared /= np.linalg.norm(shared, axis=1, keepdims=True)
    frequency = np.fft.rfftfreq(4 * steps)
    frequency[0] = frequency[1]
    out = np.empty((trials, len(positions), steps))
    for k in range(trials):
        both = random.standard_normal((2, len(positions), 4 * steps))
        white = np.fft.rfft(shared @ both[0] + both[1], axis=-1)
        out[k] = np.fft.irfft(white / np.sqrt(frequency), axis=-1)[:, :steps]
    return out
