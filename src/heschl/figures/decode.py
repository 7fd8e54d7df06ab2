"""What a decoder of brains rests on: frequencies and moments, attention, and sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.brain import sequential
from heschl.figures.style import BLUE, LINE, ORANGE, SOFT, WIDE, legible, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP = "cividis"


def decode_figure(
    share: np.ndarray,
    frequencies: np.ndarray,
    times: np.ndarray,
    patches: Sequence[Mapping[str, float]],
    linear: np.ndarray,
    title: str,
    width: float = WIDE,
    unit: str = "Hz",
) -> Figure:
    """Relevance and attention side by side (one under the other on a phone), over the same frequencies and moments; and by
    frequency alone, with the linear decoder's pattern.

    Parameters
    ----------
    share: (freq, step) share of all |relevance|. frequencies: (freq,) in ``unit``. times: (step,) seconds.
    patches: {"low", "high" (in ``unit``), "start", "stop" (s), "attention"} of each, overlapping: a cell shows the mean of those
        that it lies in.
    linear: (freq,) how much words differ there for the linear decoder, over what they do by chance.
    """
    with styled():
        stacked = width < WIDE
        figure = new_figure(width, 7.6 if stacked else 3.4, title)
        grid = {"height_ratios": (1, 1, 0.9)} if stacked else {"width_ratios": (1, 1, 0.55)}
        axes = figure.subplots(*((3, 1) if stacked else (1, 3)), sharey=True, gridspec_kw=grid)
        *axes, profile = axes
        uniform = share.size
        spread = _spread(patches, frequencies, times)
        named = (
            (share * uniform, "relevance (LRP)"),
            (spread * uniform / (spread.sum() or 1.0), "the class token’s attention"),
        )
        limit = max(float(values.max()) for values, _ in named)
        across, up = (_edges(values) for values in (times, frequencies))
        for axis, (values, what) in zip(axes, named):
            drawn = axis.pcolormesh(
                across, up, values, cmap=MAP, vmin=0, vmax=limit, rasterized=True, linewidth=0
            )
            axis.set_title(what, loc="left")
            if stacked and axis is axes[0]:
                axis.tick_params(labelbottom=False)
            else:
                axis.set_xlabel("seconds in the trial")
            if stacked or axis is axes[0]:
                axis.set_ylabel(unit)
            _bare(axis)
        bar = figure.colorbar(drawn, ax=list(axes), fraction=0.03, aspect=26 if stacked else 18, pad=0.015)
        bar.outline.set_visible(False)
        bar.set_label("times the mean")
        bar.ax.tick_params(color=LINE)
        _profile(profile, frequencies, share.sum(1) * len(share), linear)
        if stacked:
            profile.set_ylabel(unit)
    return figure


def _profile(axis: Axes, frequencies: np.ndarray, share: np.ndarray, linear: np.ndarray) -> None:
    """Over frequencies upward: the network's relevance over its mean, and the linear decoder's pattern over chance."""
    for values, name, colour, high in (
        (share, "relevance, times the mean", BLUE, 15),
        (linear, "linear decoder, times chance", ORANGE, 3),
    ):
        axis.plot(values, frequencies, "o-", color=colour, markersize=3, linewidth=1.2)
        axis.annotate(
            name,
            (0, 1),
            (0, high),
            xycoords="axes fraction",
            textcoords="offset points",
            color=legible(colour),
            fontsize=9,
        )
    axis.axvline(1, color=SOFT, linestyle="--", linewidth=1)
    axis.set_xlim(0, 1.1 * max(1.0, float(share.max()), float(linear.max())))
    axis.set_xlabel("at 1, nothing stands out")
    _bare(axis)


def heads_figure(
    heads: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, width: float = WIDE
) -> Figure:
    """Topographies in a row (one under the other on a phone) on one bar: name -> positions (sensor, 3) in metres, head frame, and values (sensor,) whose mean is
    one. Without mne, sensors are drawn as dots."""
    limit = max(float(values.max()) for _, values in heads.values())
    with styled():
        if width < WIDE:
            figure = new_figure(width, 0.7 + 2.7 * len(heads), title)
            grid = figure.subplots(len(heads), 2, width_ratios=[1.0, 0.05], squeeze=False)
            for empty in grid[1:, 1]:
                empty.axis("off")
            axes = [*grid[:, 0], grid[0, 1]]
        else:
            figure = new_figure(width, 3.6, title)
            axes = list(figure.subplots(1, len(heads) + 1, width_ratios=[1.0] * len(heads) + [0.05]))
        for axis, (name, (positions, values)) in zip(axes, heads.items()):
            _head(axis, positions, values, limit)
            axis.set_title(name, loc="center")
        import matplotlib as mpl

        scaled = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, limit), sequential())
        bar = figure.colorbar(scaled, cax=axes[-1].inset_axes((0, 0.12, 1, 0.7)))
        axes[-1].axis("off")
        bar.outline.set_visible(False)
        bar.set_ticks([0, 1, limit] if limit > 1.2 else [0, 1])
        bar.ax.yaxis.set_major_formatter("{x:.2g}")
        bar.ax.set_title("times the\nmean sensor", loc="left", color=SOFT)
    return figure


def _head(axis: Axes, positions: np.ndarray, values: np.ndarray, limit: float) -> None:
    """Sensors seen from above, the nose up."""
    try:
        import mne
    except ImportError:
        _dots(axis, positions, values, limit)
        return
    at = {f"e{k}": place for k, place in enumerate(positions)}
    info = mne.create_info(list(at), 1.0, "eeg", verbose="error")
    info.set_montage(mne.channels.make_dig_montage(at, coord_frame="head"), verbose="error")
    with mne.utils.use_log_level("error"):
        mne.viz.plot_topomap(
            values,
            info,
            axes=axis,
            show=False,
            cmap=sequential(),
            vlim=(0, limit),
            contours=0,
            res=96,
            sphere=(0.0, 0.0, 0.0, float(np.median(np.linalg.norm(positions, axis=1)))),
        )
    for line in axis.lines:
        line.set(color=SOFT, linewidth=0.9)


def _dots(axis: Axes, positions: np.ndarray, values: np.ndarray, limit: float) -> None:
    """Distance from the middle is the angle from the top of the head."""
    x, y, z = positions.T
    angle = np.arccos(np.clip(z / np.linalg.norm(positions, axis=1), -1, 1)) / (np.pi / 2)
    turn = np.arctan2(y, x)
    axis.scatter(
        angle * np.cos(turn), angle * np.sin(turn), c=values, cmap=sequential(), s=50, vmin=0, vmax=limit
    )
    circle = np.linspace(0, 2 * np.pi, 200)
    axis.plot(np.cos(circle), np.sin(circle), color=LINE, linewidth=1.2)
    axis.plot([-0.1, 0, 0.1], [0.995, 1.12, 0.995], color=LINE, linewidth=1.2)
    axis.set_aspect("equal")
    axis.axis("off")
    axis.set(xlim=(-1.3, 1.3), ylim=(-1.25, 1.2))


def _spread(patches: Sequence[Mapping[str, float]], frequencies: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(freq, step) mean attention of the patches that a cell lies in, 0 where in none."""
    total, count = (np.zeros((len(frequencies), len(times))) for _ in range(2))
    for one in patches:
        rows = (frequencies >= one["low"] - 1e-3) & (frequencies <= one["high"] + 1e-3)
        columns = (times >= one["start"] - 1e-5) & (times <= one["stop"] + 1e-5)
        total[np.ix_(rows, columns)] += one["attention"]
        count[np.ix_(rows, columns)] += 1
    return np.asarray(total / np.maximum(count, 1))


def _edges(values: np.ndarray) -> np.ndarray:
    """Borders of cells around rising values."""
    if len(values) < 2:
        return np.array([values[0] - 0.5, values[0] + 0.5])
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])


def _bare(axis: Any) -> None:
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.tick_params(color=LINE, labelcolor=SOFT)
