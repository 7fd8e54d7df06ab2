"""Do recordings follow the sound, and which layers go beyond it? The response to the envelope; layers by place."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures import heads
from heschl.figures.style import AREAS, INK, LINE, SOFT, TEXT, WIDE, legible, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[Any]]
MAP = "cividis"
FEW = 8  # places that have a panel each


def response_figure(
    lags: Array,
    weights: Array,
    r: Array,
    chance: float,
    info: Any,
    subjects: int,
    status: str,
    ceiling: Array | None = None,
) -> Figure:
    """The envelope's response over lags, all channels, and r by sensor.

    Parameters
    ----------
    lags: (lag,) seconds. weights: (lag, channel), mean over subjects. r: (channel,) on unseen blocks, likewise.
    info: `mne.Info` of the channels, or None. status: "fitted" or "fitted to simulated data". ceiling: (channel,) the
        highest r that any model could reach, where sounds were heard more than once.
    """
    with styled():
        who = "one subject" if subjects == 1 else f"mean of {subjects}"
        answer = "Recordings follow" if r.max() > chance else "Recordings do not follow"
        figure = new_figure(TEXT, 2.9, f"{answer} the sound’s envelope ({status}; {who})")
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        left.plot(1000 * lags, weights, color=SOFT, linewidth=0.5, alpha=0.55)
        best = int(r.argmax())
        left.plot(1000 * lags, weights[:, best], color=AREAS[0], linewidth=1.6)
        left.axhline(0, color=LINE, linewidth=0.8, zorder=0)
        left.axvline(0, color=LINE, linewidth=0.8, zorder=0)
        left.set_xlabel("ms by which the brain follows")
        left.set_ylabel("response (sd per sd)")
        most = "" if ceiling is None else f", r {r[best]:.2f} of at most {ceiling[best]:.2f}"
        left.set_title(f"all {len(r)} channels; the best in blue{most}", color=INK)
        _sensors(right, r, info, f"r on unseen blocks, chance {chance:.3f}")
    return figure


def _sensors(
    axes: Axes, values: Array, info: Any, title: str, limit: float | None = None, bar_too: bool = True
) -> None:
    """Values by sensor: a map of the head where positions are known, else sorted points."""
    kinds = [] if info is None else info.get_channel_types(unique=True)
    top = float(values.max()) if limit is None else limit
    top = top if top > 0 else 0.01
    if len(kinds) == 1 and kinds[0] in ("eeg", "mag") and len(values) > 3:
        import matplotlib as mpl

        places = np.array([channel["loc"][:3] for channel in info["chs"]])
        colours = mpl.colormaps[MAP]
        heads.draw(axes, np.clip(values, 0, None)[None], places, colours, (0.0, top), [])
        axes.set_aspect("equal")
        if bar_too:
            scaled = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, top), colours)
            bar = axes.figure.colorbar(scaled, ax=axes, shrink=0.75)
            bar.outline.set_visible(False)
            bar.set_ticks([0, top], labels=["0", f"{top:.2g}"])
            bar.ax.set_title("r", loc="left", color=SOFT)
    else:
        axes.plot(np.sort(values)[::-1], ".", color=AREAS[0], markersize=4)
        axes.axhline(0, color=LINE, linewidth=0.8, zorder=0)
        axes.set_xlabel("channels, from the highest")
        axes.set_ylabel("r")
    axes.set_title(title, color=INK, loc="left")


def layers_figure(
    gain: Array,
    untrained: Array,
    layers: Sequence[str],
    places: Sequence[str],
    info: Any,
    status: str,
    shown: Sequence[str] | None = None,
) -> Figure:
    """What each layer says beyond acoustics, beside the same layer of untrained networks.

    Parameters
    ----------
    gain: (subject, layer, place) r with the layer less r of acoustics alone, on unseen blocks. untrained: likewise, mean
        over seeds. info: `mne.Info` of the places where these are sensors. shown: those layers that were shown to say more
        than acoustics and untrained networks, where that was tested.
    """
    n = len(gain)
    who = "one subject" if n == 1 else f"{n} subjects" if len(places) <= FEW else f"mean of {n} subjects"
    title = f"What layers say beyond acoustics ({status}; {who})"
    if shown is not None:
        those = " and ".join(shown)
        said = f"{'say' if len(shown) > 1 else 'says'} more" if shown else "is shown to say more"
        title = f"{those or 'No layer'} {said} than acoustics and untrained networks ({status}; {who})"
    with styled():
        if len(places) <= FEW:
            return _panels(gain, untrained, layers, places, title)
        return _maps(gain, untrained, layers, info, title)


def _panels(
    gain: Array, untrained: Array, layers: Sequence[str], places: Sequence[str], title: str
) -> Figure:
    """A panel for each place: subjects as dots, their mean with its interval, untrained networks in grey."""
    from scipy import stats

    columns = min(5, len(places))
    lines = -(-len(places) // columns)
    figure = new_figure(WIDE if columns > 2 else TEXT, 0.5 + 2.5 * lines, title)
    grid = np.atleast_1d(figure.subplots(lines, columns, sharey=True, squeeze=False)).reshape(-1)
    n, x = len(gain), np.arange(len(layers))
    for c, place in enumerate(places):
        axes = grid[c]
        for i in x:
            axes.plot(np.full(n, i - 0.12), gain[:, i, c], ".", color=AREAS[0], alpha=0.5, markersize=4)
            axes.plot(np.full(n, i + 0.16), untrained[:, i, c], ".", color=SOFT, alpha=0.5, markersize=4)
            for values, at, colour in ((gain, -0.12, AREAS[0]), (untrained, 0.16, SOFT)):
                mean = values[:, i, c].mean()
                half = stats.t.ppf(0.975, n - 1) * values[:, i, c].std(ddof=1) / n**0.5 if n > 1 else 0.0
                axes.errorbar(i + at, mean, half, color=colour, marker="_", markersize=9, linewidth=1.4)
        axes.axhline(0, color=LINE, linewidth=0.8, zorder=0)
        axes.set_xticks(x, layers, rotation=0 if len(layers) < 5 else 30)
        axes.set_title(textwrap.fill(place.replace(" and ", ", "), 22), color=INK, fontweight="bold")
        axes.set_xlim(-0.5, len(layers) - 0.5)
        if c % columns == 0:
            axes.set_ylabel("gain in r over acoustics")
    low, high = grid[0].get_ylim()
    grid[0].set_ylim(low, high + 0.25 * (high - low))  # room for the two names
    grid[0].text(
        0.02, 0.97, "trained", color=AREAS[0], transform=grid[0].transAxes, va="top", fontweight="bold"
    )
    grid[0].text(0.02, 0.87, "untrained, mean of seeds", color=SOFT, transform=grid[0].transAxes, va="top")
    for axes in grid[len(places) :]:
        axes.set_visible(False)
    return figure


def _maps(gain: Array, untrained: Array, layers: Sequence[str], info: Any, title: str) -> Figure:
    """Two rows of sensors: over acoustics, and over untrained networks; one scale."""
    rows = (gain.mean(0), (gain - untrained).mean(0))
    limit = max(float(one.max()) for one in rows)
    figure = new_figure(WIDE if len(layers) > 3 else TEXT, 5.0, title)
    grid = figure.subplots(2, len(layers), squeeze=False)
    for line, (values, what) in enumerate(zip(rows, ("over acoustics", "and over untrained"))):
        for i, name in enumerate(layers):
            _sensors(grid[line, i], values[i], info, f"{name}, {what}", limit, i == len(layers) - 1)
    return figure


# what is due to acoustics alone, to either, to the layer alone
PARTS = (("acoustics_alone", "acoustics alone", SOFT), ("shared", "shared", AREAS[1]), ("layer_alone", "layer alone", AREAS[0]))  # fmt: skip


def partition_figure(
    parts: Mapping[str, Array], layers: Sequence[str], places: Sequence[str], status: str
) -> Figure:
    """Whose variance a layer explains: acoustics' alone, what either explains, its own.

    Parameters
    ----------
    parts: "acoustics_alone", "shared", "layer_alone" -> (subject, layer, place) share of the variance of unseen blocks; mean
        over places where these are more than a few. Any of them may lie below zero.
    """
    n = next(iter(parts.values())).shape[0]
    who = "one subject" if n == 1 else f"{n} subjects"
    few = len(places) <= FEW
    shown = list(places) if few else [f"mean of {len(places)} places"]
    held = {what: 100 * (values if few else values.mean(2, keepdims=True)) for what, values in parts.items()}
    with styled():
        columns = min(5, len(shown))
        lines = -(-len(shown) // columns)
        title = f"What layers share with acoustics, and what is their own ({status}; {who})"
        figure = new_figure(WIDE if columns > 2 else TEXT, 0.5 + 2.3 * lines, title)
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False).reshape(-1)
        for c, place in enumerate(shown):
            axes = grid[c]
            axes.axhline(0, color=LINE, linewidth=0.8, zorder=0)
            for k, (what, _, colour) in enumerate(PARTS):
                at = np.arange(len(layers)) + 0.22 * (k - 1)
                axes.bar(at, held[what][:, :, c].mean(0), 0.2, color=colour)
                if n > 1:
                    axes.plot(
                        np.tile(at, (n, 1)), held[what][:, :, c], ".", color=INK, markersize=2.5, alpha=0.6
                    )
            axes.set_xticks(np.arange(len(layers)), layers, rotation=0 if len(layers) < 5 else 30)
            axes.set_title(textwrap.fill(place.replace(" and ", ", "), 22), color=INK, fontweight="bold")
            if c % columns == 0:
                axes.set_ylabel("% of variance, unseen")
        low, high = grid[0].get_ylim()
        grid[0].set_ylim(low, high + 0.3 * (high - low))  # room for the names
        for k, (_, name, colour) in enumerate(PARTS):
            grid[0].text(
                0.02,
                0.99 - 0.09 * k,
                name,
                color=legible(colour),
                transform=grid[0].transAxes,
                va="top",
                fontweight="bold",
            )
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
    return figure
