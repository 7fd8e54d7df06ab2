"""What a decoder of brains rests on, in one picture: frequencies and moments, attention, sensors, and its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import INK, LINE, SOFT, WIDE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAP = "cividis"
MOST_WORDS = 30  # named along the matrix; more would not be read


def decode_figure(
    share: np.ndarray,
    frequencies: np.ndarray,
    times: np.ndarray,
    attention: np.ndarray,
    positions: np.ndarray,
    by_sensor: np.ndarray,
    codebook: np.ndarray,
    words: Sequence[str],
    simulated: bool = False,
) -> Figure:
    """Four panels.

    Parameters
    ----------
    share: (freq, step) share of all |relevance|. frequencies: (freq,) Hz. times: (step,) seconds.
    attention: (row, column) of patches, the class token's, over the same frequencies and times.
    positions: (sensor, 3) metres, NaN for none; by_sensor: (sensor,) share. codebook: (word, dim).
    """
    with styled():
        of = "simulated brains" if simulated else "brains"
        figure = new_figure(WIDE, 5.8, f"What the decoder of these {of} rests on")
        (a, b), (c, d) = figure.subplots(2, 2)
        extent = (float(times[0]), float(times[-1]), float(frequencies[0]), float(frequencies[-1]))
        for axis, values, title in (
            (a, share, "share of relevance"),
            (b, attention, "the class token's attention, all blocks"),
        ):
            axis.imshow(
                values,
                origin="lower",
                aspect="auto",
                cmap=MAP,
                extent=extent,
                vmin=0,
                interpolation="nearest",
            )
            axis.set_title(title, loc="left", fontsize=9, color=INK)
            axis.set_xlabel("seconds")
            axis.set_ylabel("Hz")
            _bare(axis)
        _head(c, positions, by_sensor)
        _matrix(d, codebook, words)
    return figure


def _bare(axis: Any) -> None:
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.tick_params(color=LINE, labelcolor=SOFT)


def _bar(axis: Any, drawn: Any, form: str) -> None:
    """A colour bar beside the panel, which stands at the left of its place."""
    axis.set_anchor("W")
    bar = axis.figure.colorbar(drawn, cax=axis.inset_axes((1.04, 0.15, 0.03, 0.7)), format=form)
    bar.outline.set_visible(False)
    bar.ax.tick_params(color=LINE, labelcolor=SOFT)


def _head(axis: Any, positions: np.ndarray, values: np.ndarray) -> None:
    """Sensors seen from above, the nose up; distance from the middle is the angle from the top of the head."""
    there = ~np.isnan(positions).any(1)
    x, y, z = positions[there].T
    angle = np.arccos(np.clip(z / np.linalg.norm(positions[there], axis=1), -1, 1)) / (np.pi / 2)
    turn = np.arctan2(y, x)
    drawn = axis.scatter(angle * np.cos(turn), angle * np.sin(turn), c=values[there], cmap=MAP, s=70, vmin=0)
    circle = np.linspace(0, 2 * np.pi, 200)
    axis.plot(np.cos(circle), np.sin(circle), color=LINE, linewidth=1.2)
    axis.plot([-0.1, 0, 0.1], [0.995, 1.12, 0.995], color=LINE, linewidth=1.2)
    axis.set_aspect("equal")
    axis.set_title(
        "share of relevance by sensor, first recording, from above", loc="left", fontsize=9, color=INK
    )
    axis.axis("off")
    axis.set(xlim=(-1.3, 1.3), ylim=(-1.25, 1.2))
    _bar(axis, drawn, "%.2g")


def _matrix(axis: Any, codebook: np.ndarray, words: Sequence[str]) -> None:
    unit = codebook / np.linalg.norm(codebook, axis=1, keepdims=True)
    cosines = unit @ unit.T
    off = cosines[~np.eye(len(unit), dtype=bool)]
    limit = float(np.abs(off).max()) or 1.0
    np.fill_diagonal(cosines, np.nan)  # one by definition: it would hide the rest
    drawn = axis.imshow(cosines, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axis.set_title("cosine between words", loc="left", fontsize=9, color=INK)
    named = list(words) if len(words) <= MOST_WORDS else []
    axis.set_xticks(range(len(named)), named, rotation=90, fontsize=8)
    axis.set_yticks(range(len(named)), named, fontsize=8)
    _bare(axis)
    _bar(axis, drawn, "%.1f")
