"""One clip, seen: its waveform over its spectrogram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import INK, LINE, PAPER, SOFT, TEXT, new_figure, styled
from heschl.types import HeschlError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOOR = 70.0  # dB under the loudest point at which the map ends
GREY = (
    0.85  # how far towards the ink the loudest point goes: sound is grey in every figure, colour is relevance
)


def spectrogram_figure(
    wave: np.ndarray,
    rate: float,
    *,
    title: str = "",
    width: float = TEXT,
    height: float | None = None,
    top: float = 8000.0,
) -> Figure:
    """Waveform and spectrogram over the same seconds.

    Parameters
    ----------
    wave: (time,) samples. rate: Hz. top: highest frequency shown, Hz.
    """
    wave = np.asarray(wave, float)
    _check(wave)
    seconds = len(wave) / rate
    small = width < 4
    with styled():
        figure = new_figure(width, height or (1.75 if small else 3.0), title)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 3.2))
        time = np.arange(len(wave)) / rate
        _wave(above, time, wave, int(width * 96))
        spectrum(below, wave, rate, top=top)
        below.set(xlim=(0, seconds))
        seconds_ticks(below, 0.0, seconds)
    return figure


def spectrum(axis: Axes, wave: np.ndarray, rate: float, *, top: float = 8000.0) -> None:
    """The grey spectrogram of a (time,) wave, seconds by kHz."""
    from scipy.signal import spectrogram

    _check(wave)
    window = min(len(wave), max(2, round(0.025 * rate)))
    frequencies, times, power = spectrogram(
        wave, rate, "hann", window, window - max(1, window // 5), nfft=max(512, window)
    )
    keep = frequencies <= top
    level = 10 * np.log10(power[keep] + 1e-20)
    level = np.maximum(level, level.max() - FLOOR)
    highest = float(frequencies[keep][-1]) / 1000
    axis.imshow(
        level,
        origin="lower",
        aspect="auto",
        cmap=sound_map(),
        extent=(
            max(0.0, times[0] - window / rate / 2),
            min(len(wave) / rate, times[-1] + window / rate / 2),
            0,
            highest,
        ),
        interpolation="bilinear",
    )
    axis.set(ylim=(0, highest))
    axis.set_yticks([0, round(highest / 2) or highest / 2, round(highest) or highest])
    axis.set_ylabel("kHz")
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.tick_params(color=LINE, labelcolor=SOFT)


def seconds_ticks(axis: Axes, first: float, last: float) -> None:
    """A few ticks over these seconds, the last one with its unit."""
    steps = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 600, 3600)
    step = next((s for s in steps if (last - first) / s <= 5.2), steps[-1])
    ticks = np.arange(np.ceil(first / step), np.floor(last / step + 1e-9) + 1) * step
    axis.set_xticks(ticks, [f"{t:g}" if t < ticks[-1] or len(ticks) == 1 else f"{t:g} s" for t in ticks])


def _check(wave: np.ndarray) -> None:
    if wave.ndim != 1 or len(wave) < 2:
        raise HeschlError(f"a spectrogram needs one channel with samples, not {wave.shape}")


def sound_map() -> Any:
    """From the paper towards the ink: the map of sound levels."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    paper, ink = np.array(to_rgb(PAPER)), np.array(to_rgb(INK))
    return LinearSegmentedColormap.from_list("grey", [paper, paper + GREY * (ink - paper)])


def _wave(axis: Axes, time: np.ndarray, wave: np.ndarray, pixels: int) -> None:
    """The wave as one line, a long one by the lowest and highest sample of each half pixel: no long path.

    A line, since a filled outline without height is drawn twice as bold on pixels as in vector files.
    """
    step = len(wave) // (2 * pixels)
    limit = float(np.abs(wave).max()) or 1.0
    if step > 1:
        whole = len(wave) // step * step
        blocks = wave[:whole].reshape(-1, step)
        time, wave = time[:whole:step].repeat(2), np.stack([blocks.min(1), blocks.max(1)], 1).reshape(-1)
    axis.plot(time, wave, color=INK, linewidth=0.5, solid_joinstyle="round")
    axis.set_ylim(-limit, limit)
    axis.axis("off")
