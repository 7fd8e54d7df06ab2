"""What was said and what a network heard, moment by moment, under the spectrogram of the sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from heschl.figures.marks import symbols
from heschl.figures.spectrogram import seconds_ticks, spectrum
from heschl.figures.style import INK, TEXT, VERMILION, new_figure, styled
from heschl.types import Span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = (1.1, 0.25, 0.25)  # inches: the spectrogram, what was said, what was heard
TICKS = 0.45  # inches: the seconds, and room between the rows


def frames_figure(
    wave: np.ndarray,
    rate: float,
    said: Sequence[Span],
    heard: Sequence[Span],
    *,
    shown: tuple[float, float] | None = None,
    width: float = TEXT,
) -> Figure:
    """One line of a recording: its spectrogram, the symbols that were said and, under them, those that were heard.

    Where both are known and differ, a bar stands under what was heard.

    Parameters
    ----------
    wave: (time,) samples. rate: Hz. said, heard: spans of one tier each, seconds from the start of the wave.
    shown: the seconds that the line holds (all of the wave); lines of as many seconds have one scale.
    """
    first, last = shown or (0.0, len(wave) / rate)
    with styled():
        figure = new_figure(width, sum(ROWS) + TICKS)
        picture, above, below = figure.subplots(3, 1, sharex=True, height_ratios=ROWS)
        spectrum(picture, np.asarray(wave, float), rate)
        picture.tick_params(axis="x", length=0, labelbottom=False)
        points = (width - 0.55) * 72 / (last - first)
        for axis, name, spans in ((above, "said", said), (below, "heard", heard)):
            symbols(
                axis,
                [span for span in spans if span.stop > first and span.start < last],
                "phone",
                points,
                INK,
            )
            axis.set_yticks([0.45], [name])
            axis.tick_params(length=0, labelbottom=axis is below)
        for start, stop in differing(said, heard):
            below.plot([start, stop], [0.0, 0.0], color=VERMILION, linewidth=3, solid_capstyle="butt")
        seconds_ticks(below, first, min(last, len(wave) / rate))
        below.tick_params(axis="x", length=3)
        below.set_xlim(first, last)
    return figure


def differing(said: Sequence[Span], heard: Sequence[Span]) -> list[tuple[float, float]]:
    """Stretches (start, stop) in which both say something, and not the same."""
    found: list[tuple[float, float]] = []
    for one in said:
        for other in heard:
            start, stop = max(one.start, other.start), min(one.stop, other.stop)
            if start < stop and one.symbol != other.symbol:
                if found and abs(found[-1][1] - start) < 1e-9:
                    found[-1] = (found[-1][0], stop)
                else:
                    found.append((start, stop))
    return found
