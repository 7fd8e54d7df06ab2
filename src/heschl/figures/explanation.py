"""What a network relied on in one clip: relevance as colour over a grey spectrogram, with its test beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heschl.figures.deletion import curves_with_names
from heschl.figures.marks import frequency_ticks, seconds_below, symbols, words_width
from heschl.figures.spectrogram import _wave
from heschl.figures.style import (
    BLUE,
    INK,
    LINE,
    PAPER,
    SOFT,
    VERMILION,
    WIDE,
    legible,
    new_figure,
    styled,
    wrapped,
)
from heschl.files import replacing
from heschl.types import HeschlError, Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WARM, COOL = VERMILION, BLUE  # for the answer, and against it
GREY = 0.42  # how far towards the ink the loudest cell goes: colour must stay readable over it
MARGIN = 0.04  # seconds shown before and after the clip, of the zeros that a network may be given around it
NARROW = 5.0  # inches: below it, all stands in one column
FADED = "each brought to one level, faded over 5 ms"  # why all of it is answered otherwise than the clip
KEY_WIDE = 2.6  # inches that the words of the key may take
# inches, of the parts of the figure
RIGHT, CURVE, SAID, BAR, NAMES, SOUNDS, KEY, GAP = 3.75, 1.45, 0.16, 0.24, 1.55, 1.75, 0.22, 0.05


class Seen(NamedTuple):
    """What is drawn of one clip.

    level, relevance: (row, frame). frequencies: (row,) Hz, or None. times: (frame,) seconds from the clip's start.
    wave: (time,) at ``rate`` Hz, or None. spans: phones and words.
    """

    level: np.ndarray
    relevance: np.ndarray
    frequencies: np.ndarray | None
    times: np.ndarray
    wave: np.ndarray | None = None
    rate: float = 1.0
    spans: Sequence[Span] = ()


def explanation_figure(
    seen: Seen,
    *,
    title: str = "",
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    sounds: Mapping[str, float | None] | None = None,
    width: float = WIDE,
    target: str = "the answer",
    note: str = "",
    parts: str = "picture",
) -> Figure:
    """Waveform, grey spectrogram with relevance, phones; beside them, the faithfulness curve and the answers to sounds.

    Parameters
    ----------
    curves: name -> (shares taken out, probability of what is explained); the first is the explanation's own.
    sounds: name -> probability of what is explained when the network hears that sound; None for silence.
    target: what is explained, in a few words. note: how the relevance is to be read, above the picture where there is
        room. parts: what was taken out, in a word.
    """
    _check(seen)
    phone, wide = width < NARROW, width > 9
    tiers = _tiers(seen)
    rows = ([0.5] if seen.wave is not None else []) + [2.0 if phone else 2.5] + [0.24] * len(tiers)
    tall = sum(rows) + KEY + GAP * len(rows) + 0.3
    faded = _faded(curves, sounds)
    bars = BAR * len(sounds or ()) + (0.3 if faded else 0.1)
    small = [size for size, there in ((CURVE + SAID, curves), (bars, sounds)) if there]
    head = 0.34 + 0.2 * (len(wrapped(title, width)) - 1) if title else 0.06
    if wide:
        height = head + max(tall, 0.32 + sum(small) + 0.75 * len(small) - (0.65 if sounds else 0.25))
    elif phone:
        height = head + tall + sum(small) + 0.75 * len(small)
    else:
        height = head + tall + (max(small) + 0.85 if small else 0)
    with styled():
        figure = titled(width, height, title)
        column = width - 0.55 - 0.12 - (RIGHT if wide and small else 0)
        axis = _left(figure, seen, tiers, target, (0.55, head, column), rows)
        if words_width(note, 9) / 72 < column - KEY_WIDE:
            axis.annotate(
                note, (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points", color=SOFT
            )
        left, top = (width - RIGHT + 0.5, head + 0.32) if wide else (0.55, head + tall + 0.4)
        if curves:
            room = width - left - NAMES if phone or wide else width / 2 - 0.7 - NAMES
            top += SAID  # its title has two lines
            curves_with_names(place(figure, left, top, room, CURVE), curves, target, parts)
            top, left = (top + CURVE + 0.75, left) if phone or wide else (top, width / 2 + 0.1)
        if sounds:
            room = width - left - SOUNDS - 0.34
            _bars(place(figure, left + SOUNDS - 0.4, top, room, BAR * len(sounds)), sounds)
            at = (left / width, 1 - (top - 6 / 72) / height)  # as far above as the title of the curves
            figure.text(*at, f"Probability of {target}, hearing only", fontsize=9, va="baseline")
            if faded:
                under = 1 - (top + BAR * len(sounds) + 0.02) / height
                figure.text(left / width, under, FADED, fontsize=9, va="top", color=SOFT)
    return figure


def _faded(curves: Mapping[str, Any] | None, sounds: Mapping[str, float | None] | None) -> bool:
    """Whether the whole sound, as it is played, is answered otherwise than the clip in the numbers that are told."""
    if not curves or not sounds:
        return False
    clip, played = float(next(iter(curves.values()))[1][0]), next(iter(sounds.values()))
    return played is not None and round(100 * played) != round(100 * clip)


def titled(width: float, height: float, title: str) -> Figure:
    """A figure in which everything is placed by hand."""
    figure = new_figure(width, height, title)
    figure.set_layout_engine("none")
    if title:
        figure.suptitle(
            "\n".join(wrapped(title, width)),
            x=0.04 / width,
            y=1 - 0.05 / height,
            ha="left",
            va="top",
            fontsize=10.5,
            fontweight="bold",
        )
    return figure


def place(figure: Figure, left: float, top: float, width: float, height: float, **options: Any) -> Axes:
    """An axis at inches from the upper left."""
    whole, tall = figure.get_size_inches()
    box = (left / whole, 1 - (top + height) / tall, width / whole, height / tall)
    axis: Axes = figure.add_axes(box, **options)
    return axis


def _check(seen: Seen) -> None:
    level, r = np.asarray(seen.level), np.asarray(seen.relevance)
    if level.ndim != 2 or level.shape != r.shape or level.shape[1] != len(seen.times):
        raise HeschlError(
            f"the picture has levels {level.shape}, relevance {r.shape} and {len(seen.times)} times: "
            "they must be (row, frame) and (frame,)"
        )


# --- colour ------------------------------------------------------------------------------------------------


def overlaid(level: np.ndarray, relevance: np.ndarray, limit: float | None = None) -> np.ndarray:
    """Levels in grey and relevance in colour over them, (row, frame, 3) in [0, 1]; zero is the grey itself.

    limit: the magnitude of full colour, the same on both sides (by default the highest but a few in a thousand).
    """
    from matplotlib.colors import to_rgb

    paper, ink, warm, cool = (np.array(to_rgb(c)) for c in (PAPER, INK, WARM, COOL))
    level = np.asarray(level, float)
    low, high = np.quantile(level, (0.25, 0.998))
    loud = np.clip((level - low) / (high - low), 0, 1) if high > low else np.zeros_like(level)
    grey = paper + GREY * loud[..., None] ** 1.3 * (ink - paper)
    limit = limit or limit_of(relevance)
    share = np.clip(np.asarray(relevance, float) / limit, -1, 1)[..., None]
    hue = np.where(share > 0, warm, cool)
    depth = np.abs(share) ** 0.6
    dark = 1 - 0.35 * loud[..., None]  # what is loud stays a little darker under its colour
    return np.asarray(np.clip(grey * (1 - depth) + hue * dark * depth, 0, 1))


def limit_of(relevance: np.ndarray) -> float:
    """The magnitude that gets full colour."""
    size = np.abs(np.asarray(relevance, float))
    return float(np.quantile(size, 0.997)) or float(size.max()) or 1.0


def picture(axis: Axes, seen: Seen, limit: float | None = None) -> None:
    """Relevance over the grey spectrogram, in an axis of seconds and rows."""
    step, first, last = _edges(seen)
    colours = overlaid(seen.level, seen.relevance, limit)
    axis.imshow(
        np.pad(colours, ((0, 0), (1, 1), (0, 0)), "edge"),  # a clip may begin and end between two frames
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        extent=(first - step, last + step, -0.5, len(seen.level) - 0.5),
    )
    axis.set_xlim(*shown(seen))
    axis.set_ylim(-0.5, len(seen.level) - 0.5)
    for spine in axis.spines.values():
        spine.set_visible(False)


def on_mel(seen: Seen, rows: int = 96) -> Seen:
    """The same on a mel axis, for the eye: what lies between two rows of the spectrum is interpolated."""
    from heschl.signal import hz_to_mel, mel_to_hz

    known = np.asarray(seen.frequencies)
    lowest, highest = hz_to_mel(known[[0, -1]])
    wanted = mel_to_hz(np.linspace(float(lowest), float(highest), rows))
    at = np.interp(wanted, known, np.arange(len(known)))
    low = np.minimum(at.astype(int), len(known) - 2)
    share = (at - low)[:, None]
    level, relevance = (
        (1 - share) * values[low] + share * values[low + 1] for values in (seen.level, seen.relevance)
    )
    return seen._replace(level=level, relevance=relevance, frequencies=wanted)


def shown(seen: Seen) -> tuple[float, float]:
    """The seconds that are drawn: the clip with a margin, as far as the network hears it."""
    step, first, last = _edges(seen)
    if seen.wave is None:
        return first, last
    seconds = len(seen.wave) / seen.rate
    first = (
        0.0 if 0 < first <= 2 * step else max(first, -MARGIN)
    )  # AudioMNIST's spectrogram leaves out two frames
    last = seconds if 0 < seconds - last <= 2 * step else min(last, seconds + MARGIN)
    return first, last


def _edges(seen: Seen) -> tuple[float, float, float]:
    """Seconds of one frame, and where the first begins and the last ends."""
    step = float(np.diff(seen.times).mean()) if len(seen.times) > 1 else 0.01
    return step, float(seen.times[0]) - step / 2, float(seen.times[-1]) + step / 2


def heard(seen: Seen) -> tuple[float, float]:
    """The clip itself, as far as the network hears it, seconds: without the margin."""
    first, last = shown(seen)
    return (first, last) if seen.wave is None else (max(first, 0.0), min(last, len(seen.wave) / seen.rate))


def hidden_share(seen: Seen) -> float:
    """The share of all relevance that lies outside of the seconds that are drawn, in the zeros around the clip."""
    first, last = shown(seen)
    size = np.abs(seen.relevance).sum(0)
    out = (seen.times < first) | (seen.times > last)
    return float(size[out].sum() / size.sum()) if size.any() else 0.0


# --- the left: what was heard ------------------------------------------------------------------------------


def _tiers(seen: Seen) -> list[str]:
    there = {span.tier for span in seen.spans}
    return [tier for tier in ("phone", "word") if tier in there]


def _left(
    figure: Figure,
    seen: Seen,
    tiers: list[str],
    target: str,
    box: tuple[float, float, float],
    rows: list[float],
) -> Axes:
    """box: left, top and width, rows: heights, all in inches; gives the axis of the picture."""
    left, top, width = box
    heights, first_axis = list(rows), None
    first, last = shown(seen)
    if seen.wave is not None:
        high = heights.pop(0)
        axis = first_axis = place(figure, left, top, width, high)
        _wave(axis, np.arange(len(seen.wave)) / seen.rate, np.asarray(seen.wave, float), int(width * 96))
        top += high + GAP
    top, high = top + KEY, heights.pop(0)
    seen_axis = lowest = place(figure, left, top, width, high, sharex=first_axis)
    picture(seen_axis, seen)
    frequency_ticks(seen_axis, seen)
    _key(seen_axis, target)
    top += high + GAP
    for tier, high in zip(tiers, heights, strict=True):
        lowest.tick_params(axis="x", length=0, labelbottom=False)
        lowest = place(figure, left, top, width, high, sharex=seen_axis)
        own = [span for span in seen.spans if span.tier == tier]
        symbols(lowest, own, tier, width * 72 / max(1e-9, last - first), INK if tier == "word" else SOFT)
        top += high + GAP
    seconds_below(lowest, first, last, heard(seen)[1])
    lowest.tick_params(axis="x", length=3, labelbottom=True)
    lowest.set_xlim(first, last)
    return seen_axis


def _key(axis: Axes, target: str) -> None:
    """What the colours mean, above the picture's right end."""
    from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea

    words = [(f"■ for {target}", WARM), ("■ against", COOL)]
    areas: list[Any] = [
        TextArea(text, textprops={"color": legible(colour), "fontsize": 9}) for text, colour in words
    ]
    box = AnchoredOffsetbox(
        "lower right",
        child=HPacker(children=areas, pad=0, sep=10),
        pad=0.15,
        borderpad=0,
        frameon=False,
        bbox_to_anchor=(1.0, 1.0),
        bbox_transform=axis.transAxes,
    )
    axis.add_artist(box)


# --- the right: is it true ---------------------------------------------------------------------------------


def _bars(axis: Axes, sounds: Mapping[str, float | None]) -> None:
    names = list(sounds)
    for k, name in enumerate(names):
        share = sounds[name]
        colour = WARM if "relied" in name else COOL if "against" in name else SOFT
        axis.plot([0, 1], [k, k], color=LINE, linewidth=0.8, zorder=0)
        if share is not None and share >= 0.005:  # a sliver would be no number
            axis.barh(k, share, height=0.42, color=colour)
        text = "inaudible" if share is None else f"{100 * share:.0f} %"
        axis.annotate(
            text,
            (1, k),
            xytext=(5, 0),
            textcoords="offset points",
            va="center_baseline",  # on one line with the name
            color=INK,
            fontsize=9,
        )
    axis.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.6))
    axis.set_yticks(range(len(names)), names)
    axis.set_xticks([])
    axis.tick_params(axis="y", length=0, labelcolor=INK)
    for spine in axis.spines.values():
        spine.set_visible(False)


# --- out ---------------------------------------------------------------------------------------------------


def save_all(figure: Figure, path: Path, suffixes: Sequence[str] = (".png", ".svg", ".pdf")) -> list[Path]:
    """Writes PATH.png, PATH.svg and PATH.pdf in the light colours, text as text."""
    import matplotlib as mpl

    written = []
    with styled(), mpl.rc_context({"pdf.fonttype": 42}):
        for suffix in suffixes:
            target = path.with_name(path.name + suffix)
            stamp: Any = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix)
            with replacing(target) as temporary:
                figure.savefig(temporary, format=suffix[1:], dpi=192, metadata=stamp)
            written.append(target)
    return written
