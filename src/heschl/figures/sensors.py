"""What sensors outside the head see: a strip of topographies on one bar, all channels over time, areas beneath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heschl.figures import heads
from heschl.figures.brain import area_hues, sequential
from heschl.figures.explanation import place, titled
from heschl.figures.style import INK, LINE, SOFT, TEXT, apart, short, styled, to_hex, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[Any]]
NETWORK_TIME = "network time, s (no brain’s latency)"
MOMENTS = 5  # topographies in a row
NARROW = 5.0  # inches: below it, three

# kind of channel -> what one is called, unit, units in one of MNE's
KINDS = {
    "eeg": ("electrode", "µV", 1e6),
    "mag": ("magnetometer", "fT", 1e15),
    "grad": ("gradiometer", "fT/cm", 1e13),
}


AXIAL = {
    4002,
    5001,
    6001,
}  # coils of 4-D, CTF and KIT, which MNE files under "mag": their unit is a magnetometer's


class Seen(NamedTuple):
    """Channels of one kind.

    kind: "eeg", "mag" or "grad". data: (channel, time), V, T or T/m. times: (time,) seconds. info: `mne.Info` of
    these channels.
    """

    kind: str
    data: Array
    times: Array
    info: Any


def called(kind: str, info: Any) -> str:
    """What channels of a kind are called: "magnetometer", "axial gradiometer", ..."""
    axial = kind == "mag" and any(int(one["coil_type"]) in AXIAL for one in info["chs"])
    return "axial gradiometer" if axial else KINDS[kind][0]


@lru_cache(maxsize=1)
def diverging() -> Any:
    """The one map of signed signals: purple below zero, the paper itself at zero, green above; even steps of lightness
    (OKLab) on both sides. It is not relevance's map, as it says another thing."""
    from matplotlib.colors import LinearSegmentedColormap

    steps = np.linspace(0, 1, 33)
    sides = []
    for hue in (305, 150):
        lightness, chroma = (
            np.interp(steps, [0, 1], [0.995, 0.40]),
            np.interp(steps, [0, 0.6, 1], [0, 0.13, 0.11]),
        )
        angle = np.radians(hue)
        sides.append(
            [
                to_hex(np.array([light, c * np.cos(angle), c * np.sin(angle)]))
                for light, c in zip(lightness, chroma)
            ]
        )
    return LinearSegmentedColormap.from_list("signal", sides[0][::-1] + sides[1][1:])


def moments(data: Array, times: Array, n: int = MOMENTS) -> list[float]:
    """Times of n pictures: the strongest moment in each of n equal stretches, no two closer than half a stretch."""
    strength = np.asarray(data).std(0)
    parts = np.array_split(np.arange(len(times)), min(n, len(times)))
    found: list[int] = []
    for part in sorted(parts, key=lambda part: -strength[part].max()):
        near = [np.abs(part - k) < len(part) / 2 for k in found]
        free = part[~np.any(near, axis=0)] if near else part
        free = free if len(free) else part
        found.append(int(free[strength[free].argmax()]))
    found.sort()
    return [float(times[k]) for k in found]


def sensors_figure(
    seen: Seen,
    courses: Mapping[str, Array],
    title: str,
    at: Sequence[float] = (),
    width: float = TEXT,
) -> Figure:
    """Topographies at some moments, every channel over time, and beneath them the areas that make it.

    Parameters
    ----------
    courses: area -> (time,) net moment, A m.
    at: network times of the topographies, seconds; empty takes the signal's own (`moments`).
    """
    _, unit, scale = KINDS[seen.kind]
    narrow = width < NARROW
    at = list(at) or moments(seen.data, seen.times, 3 if narrow else MOMENTS)
    left, right = (0.6, 0.56) if narrow else (0.62, 0.66)
    inner = width - left - right
    head = 0.34 + 0.19 * (len(wrapped(title, width)) - 1) if title else 0.04
    each = (width - 0.04 - right) / len(at)
    with styled():
        figure = titled(width, head + each + 3.62, title)
        top = place(figure, 0.04, head + 0.22, width - 0.04 - right, each)
        bar = place(figure, width - right + 0.08, head + 0.22 + 0.16 * each, 0.1, 0.68 * each)
        draw_heads(top, bar, seen, at)
        channels = place(figure, left, head + each + 0.56, inner, 1.3)
        _butterfly(channels, seen.times, seen.data * scale, at, unit)
        areas = place(figure, left, head + each + 2.12, inner, 1.0, sharex=channels)
        channels.tick_params(labelbottom=False)
        draw_areas(areas, seen.times, courses, at)
        areas.set_xlabel("network time, s" if narrow else NETWORK_TIME)
        align_labels(channels, areas)
    return figure


def align_labels(*axes: Axes, x: float = -0.44) -> None:
    """The names of vertical axes under one another, ``x`` inches from them."""
    for one in axes:
        wide = one.get_position().width * one.figure.get_size_inches()[0]  # type: ignore[union-attr]
        one.yaxis.set_label_coords(x / wide, 0.5)


def draw_heads(
    axes: Axes, bar: Axes, seen: Seen, at: Sequence[float], timed: bool = True, side: float = 2 * heads.ROOM
) -> None:
    """Topographies at some moments, side by side (``side`` as in `heschl.figures.heads.draw`), and their bar."""
    _, unit, scale = KINDS[seen.kind]
    data = seen.data * scale
    places = np.array([channel["loc"][:3] for channel in seen.info["chs"]])
    pairs = seen.kind == "grad"  # what is shown is the root mean square of each pair
    if pairs:  # by where they lie: an Info of one's own may lack one of a pair
        places, of, count = np.unique(places.round(4), axis=0, return_inverse=True, return_counts=True)
        squares = np.zeros((len(places), data.shape[1]))
        np.add.at(squares, of.reshape(-1), np.square(data))
        data = np.sqrt(squares / count[:, None])
    limit = float(np.abs(data).max()) or 1.0
    steps = [int(np.abs(seen.times - time).argmin()) for time in at]
    low, colours = (0.0, sequential()) if pairs else (-limit, diverging())
    lines = [limit * step / 4 for step in range(-3, 4) if step > 0 or (step < 0 and not pairs)]
    heads.draw(axes, data[:, steps].T, places, colours, (low, limit), lines, side)
    if timed:
        for k, step in enumerate(steps):
            axes.text(
                side * k,
                heads.ROOM + 0.04,
                f"{1000 * seen.times[step]:.0f}\u202fms",
                ha="center",
                va="bottom",
                color=INK,
            )
    _bar(axes.figure, bar, limit, unit, pairs)


def _bar(figure: Any, axes: Axes, limit: float, unit: str, sizes: bool) -> None:
    import matplotlib as mpl

    low, colours = (0.0, sequential()) if sizes else (-limit, diverging())
    bar = figure.colorbar(mpl.cm.ScalarMappable(mpl.colors.Normalize(low, limit), colours), cax=axes)
    bar.outline.set_visible(False)
    bar.set_ticks([0, limit] if sizes else [low, 0, limit])
    bar.set_ticklabels(["0", short(limit)] if sizes else [f"\u2212{short(limit)}", "0", f"+{short(limit)}"])
    bar.ax.set_title(unit, loc="left", color=SOFT)


def _butterfly(axes: Axes, times: Array, data: Array, at: Sequence[float], unit: str) -> None:
    axes.plot(times, data.T, color=SOFT, linewidth=0.5, alpha=0.55)
    _marks(axes, at)
    largest = float(np.abs(data).max()) or 1.0
    axes.set_ylim(-1.12 * largest, 1.12 * largest)
    axes.set_yticks([-largest, 0, largest], [f"\u2212{short(largest)}", "0", short(largest)])
    axes.set_ylabel(unit)
    axes.text(
        0.0, 1.01, f"all {len(data)} channels", transform=axes.transAxes, color=INK, va="bottom", fontsize=9
    )


def draw_areas(axes: Axes, times: Array, courses: Mapping[str, Array], at: Sequence[float]) -> None:
    hues = area_hues(courses)
    tops = [1e9 * course for course in courses.values()]
    largest = max(float(np.abs(one).max()) for one in tops) or 1.0
    lowest = min(0.0, *(float(one.min()) for one in tops))
    heights = apart([float(one[-1]) for one in tops], 0.17 * (largest - lowest))
    for (name, course), height in zip(courses.items(), heights):
        axes.plot(times, 1e9 * course, color=hues[name], linewidth=1.5)
        end: dict[str, Any] = {
            "xy": (float(times[-1]), height),
            "textcoords": "offset points",
            "va": "center",
            "annotation_clip": False,
        }
        axes.annotate("●", xytext=(4, 0), color=hues[name], fontsize=8, **end)
        axes.annotate(name, xytext=(14, 0), color=INK, fontweight="bold", **end)
    _marks(axes, at)
    axes.set_ylim(lowest - 0.05 * largest, 1.12 * largest)
    axes.set_yticks([0, largest], ["0", short(largest)])
    axes.set_ylabel("nA\u202fm")
    axes.set_xlim(float(times[0]), float(times[-1]) or 1.0)
    axes.text(
        0.0,
        1.01,
        "net moment of each area",
        transform=axes.transAxes,
        color=INK,
        va="bottom",
        fontsize=9,
    )


def _marks(axes: Axes, at: Sequence[float]) -> None:
    for time in at:
        axes.axvline(time, color=LINE, linewidth=0.8, zorder=0)
