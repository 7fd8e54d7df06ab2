"""One look for every figure: Okabe-Ito colours, no boxes, few ticks, text as text, light and dark.

Figures are drawn in the light colours below. `save` writes them so; `inline` replaces each of these colours by the
CSS variable of the same name, so that a page that defines the variables (`css`) shows the figure in its own
colours and type, dark or light.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, TEXT, PHONE = 1120 / 96, 720 / 96, 342 / 96  # widths in inches: pixels of a page at 96 to the inch
DPI = 192  # of what is saved: two pixels for one of a page

# name -> (light, dark). The hues are Okabe and Ito's (2008); dark grounds take them a little lighter.
COLOURS = {
    "paper": ("#fefefd", "#141517"),
    "ink": ("#1b1c1e", "#e9e8e4"),
    "soft": ("#66686c", "#a3a5a8"),
    "line": ("#cfd0d2", "#3b3d41"),
    "blue": ("#0072b2", "#4aa9e0"),
    "orange": ("#e69f00", "#f0b43c"),
    "green": ("#009e73", "#35c299"),
    "vermilion": ("#d55e00", "#f0813a"),
    "purple": ("#cc79a7", "#dc98bd"),
    "sky": ("#56b4e9", "#7cc7f0"),
    "yellow": ("#f0e442", "#f0e442"),
}
PAPER, INK, SOFT, LINE, BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    light for light, _ in COLOURS.values()
)
AREAS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW)  # one hue an area, in this order, everywhere

SHADES = 24  # steps of the map of shares, from the ground itself towards the ink
READ = 4.5  # contrast that text asks for (WCAG 2, AA)
DEEPEST = 0.75  # how far towards the ink: short of it, so that right answers do not shout


@cache
def shades(dark: bool = False) -> tuple[str, ...]:
    """The map of shares: even steps of lightness (OKLab) from the ground through blue to the ink."""
    side = 1 if dark else 0
    low, middle, ink = (_to_oklab(COLOURS[name][side]) for name in ("paper", "blue", "ink"))
    high = low + DEEPEST * (ink - low)
    high[1:] = 0.6 * middle[1:]
    steps = np.linspace(low[0], high[0], SHADES)
    hue = [
        np.interp(steps, *_rising([low[0], middle[0], high[0]], [low[k], middle[k], high[k]])) for k in (1, 2)
    ]
    return tuple(to_hex(np.array([L, a, b])) for L, a, b in zip(steps, *hue, strict=True))


def shade(share: float) -> tuple[str, str]:
    """Ground and ink of a share in [0, 1]; the square root spreads small shares, which are the mistakes."""
    step = round(float(np.sqrt(np.clip(share, 0.0, 1.0))) * (SHADES - 1))
    return numbered(max(step, 3) if share > 0 else 0)  # a single mistake is still seen


def contrast(one: str, other: str) -> float:
    """How far two colours stand apart, from 1 to 21, by the relative luminance of WCAG 2."""
    low, high = sorted(_luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = _linear(colour)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


@cache
def legible(hue: str) -> str:
    """A hue for words in it: darkened until it stands out from the paper; on dark paper the hues do as they are."""
    lab = _to_oklab(hue)
    while contrast(to_hex(lab), PAPER) < READ:
        lab *= 0.99
    return to_hex(lab)


@cache
def numbered(step: int) -> tuple[str, str]:
    """Ground and ink of a cell with a number in it: the step of the map of shares, or the next on which one can be read."""
    grounds = shades(), shades(dark=True)
    read = [
        (abs(k - step), k, ink)
        for k in range(SHADES)
        for ink in ("ink", "paper")
        if all(contrast(grounds[side][k], COLOURS[ink][side]) >= READ for side in (0, 1))
    ]
    _, k, ink = min(read)
    return grounds[0][k], COLOURS[ink][0]


def _rising(x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
    return (x, y) if x[0] < x[-1] else (x[::-1], y[::-1])


# OKLab (Ottosson 2020): the matrices are part of its definition.
_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _to_oklab(colour: str) -> np.ndarray:
    return np.asarray(_LAB @ np.cbrt(_LMS @ _linear(colour)))


def _linear(colour: str) -> np.ndarray:
    srgb = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_hex(lab: np.ndarray) -> str:
    """A colour of OKLab (lightness, a, b) as #rrggbb, cut to what a screen has."""
    linear = np.clip(np.linalg.solve(_LMS, np.linalg.solve(_LAB, lab) ** 3), 0, 1)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(float(v) * 255):02x}" for v in srgb)


# --- drawing -----------------------------------------------------------------------------------------------


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib in heschl's look, for what is drawn inside; the caller's own settings stay as they were."""
    import matplotlib as mpl

    rules: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "heschl",
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": INK,
        "text.parse_math": False,  # a label may hold dollars
        "figure.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "figure.dpi": 96,
        "axes.facecolor": "none",
        "axes.edgecolor": SOFT,
        "axes.labelcolor": SOFT,
        "axes.labelsize": 9,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.titlecolor": INK,
        "axes.xmargin": 0.02,
        "xtick.direction": "out",
        "ytick.direction": "out",
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "xtick.labelcolor": SOFT,
        "ytick.labelcolor": SOFT,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "lines.linewidth": 1.2,
        "lines.solid_capstyle": "round",
        "grid.color": LINE,
        "grid.linewidth": 0.6,
    }
    with mpl.rc_context(rules):
        yield


def wrapped(title: str, width: float) -> list[str]:
    """A bold title in as few lines as a figure so many inches wide allows, no last word alone."""
    import textwrap

    most = max(20, int(width * 10.8))
    lines = textwrap.wrap(title, most, break_on_hyphens=False) or [""]
    for letters in range(most, 19, -1):
        narrower = textwrap.wrap(title, letters, break_on_hyphens=False) or [""]
        if len(narrower) > len(lines):
            break
        lines = narrower
    return lines


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """An empty figure, inches; the title, a sentence, stands bold at the upper left."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.03, h_pad=0.04)  # type: ignore[call-arg]
    if title:
        lines = "\n".join(wrapped(title, width))
        figure.suptitle(lines, x=0.005, ha="left", fontsize=10.5, fontweight="bold", color=INK)
    return figure


def short(value: float) -> str:
    """A number on a bar or an axis: two digits, and all that stand before the point.

    >>> [short(v) for v in (0.0312, 4.84, 26.8, 99.7, 187.2)]
    ['0.031', '4.8', '27', '100', '187']
    """
    return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:.2g}"


def percent(axis: Axes, which: str = "y") -> None:
    """Ticks at 0, 25 ... 100 %, for an axis of shares."""
    ticks = [0, 0.25, 0.5, 0.75, 1]
    names = ["0", "25", "50", "75", "100 %"]
    if which == "y":
        axis.set_yticks(ticks, names)
    else:
        axis.set_xticks(ticks, names)


def apart(values: Sequence[float], least: float) -> list[float]:
    """Moves label positions so that neighbours lie at least so far apart, keeping their order and their middle."""
    order = np.argsort(values, kind="stable")
    placed = np.asarray(values, float)[order]
    for _ in range(200):
        gaps = np.diff(placed)
        if (gaps >= least - 1e-9).all():
            break
        for k in np.flatnonzero(gaps < least):
            push = (least - (placed[k + 1] - placed[k])) / 2
            placed[k], placed[k + 1] = placed[k] - push, placed[k + 1] + push
    result = np.empty_like(placed)
    result[order] = placed
    return [float(v) for v in result]


# --- out ---------------------------------------------------------------------------------------------------


def save_both(draw: Callable[[float], Figure], path: Path, width: float = WIDE) -> None:
    """Writes PATH.svg and PATH.png of ``draw(width)`` (inches), and PATH-phone.svg of a phone's width."""
    save(draw(width), path)
    save(draw(PHONE), path.with_name(path.name + "-phone"), png=False)


def save(figure: Figure, path: Path, svg: bool = True, png: bool = True) -> list[Path]:
    """Writes PATH.png and PATH.svg in the light colours, where they are wanted; gives the paths.

    By the canvases themselves: `Figure.savefig` draws twice, and moves every pixel of a picture both times.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from PIL import Image

    vector, pixels = path.with_suffix(".svg"), path.with_suffix(".png")
    with styled():
        if svg:
            with replacing(vector) as temporary:
                vectors: Any = FigureCanvasSVG(figure)
                vectors.print_svg(temporary, metadata={"Date": None})
        if not png:
            return [vector]
        before = figure.dpi
        figure.set_dpi(DPI)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        figure.set_dpi(before)
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        with replacing(pixels) as temporary:
            picture.save(temporary, "PNG", compress_level=1, dpi=(DPI, DPI))
    return [vector, pixels] if svg else [pixels]


def inline(figure: Figure, name: str, alt: str) -> str:
    """The figure as an <svg> element for a page: variables for colours, the page's type, ids of its own.

    Parameters
    ----------
    name: distinguishes the ids of several figures on one page.
    alt: what the figure shows, for a reader who does not see it.
    """
    title = getattr(figure, "_suptitle", None)
    if title is not None:  # the page writes the title itself, as text above the figure
        title.set_visible(False)
        title.set_in_layout(False)
    text = io.StringIO()
    with styled():
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return on_page(text.getvalue(), name, alt)


def on_page(svg: str, name: str, alt: str) -> str:
    """A saved figure's SVG as an element for a page, see `inline`."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', svg)
    size = [float(v) for v in (box.group(1) if box else "0 0 540 300").split()]
    head = (
        f'<svg role="img" aria-label="{escaped(alt)}" viewBox="{size[0]:g} {size[1]:g} {size[2]:g} {size[3]:g}" '
        f'width="{size[2] * 96 / 72:.0f}" height="{size[3] * 96 / 72:.0f}" xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    svg = re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1)
    svg = re.sub(r"font(-family)?: ([^;\"]*?)'DejaVu Sans'[^;\"]*", _font, svg)
    svg = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'xlink:href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    for colour, variable in _variables().items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def _font(found: re.Match[str]) -> str:
    size = re.search(r"([\d.]+px)", found.group(2))
    bold = "font-weight: 600; " if "bold" in found.group(2) or " 700" in found.group(2) else ""
    return f"{bold}font-size: {size.group(1)}" if size else "font-family: inherit"


def escaped(text: str) -> str:
    """A text as the value of an attribute in double quotes."""
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


@cache
def _variables() -> dict[str, str]:
    names = {legible(light): f"{name}_text" for name, (light, _) in COLOURS.items() if light in AREAS}
    names |= {light: name for name, (light, _) in COLOURS.items()}
    return names | {colour: f"s{k}" for k, colour in enumerate(shades()) if colour not in names}


def css() -> tuple[str, str]:
    """Declarations of every variable, light and dark, for a page's style sheet."""
    dark_shades = shades(dark=True)
    light = [f"--{name}: {pair[0]};" for name, pair in COLOURS.items()]
    dark = [f"--{name}: {pair[1]};" for name, pair in COLOURS.items()]
    for colour, variable in _variables().items():
        if variable.endswith("_text"):
            light.append(f"--{variable}: {colour};")
            dark.append(f"--{variable}: {COLOURS[variable.removesuffix('_text')][1]};")
    for k, colour in enumerate(shades()):
        if (name := _variables().get(colour)) == f"s{k}":
            light.append(f"--{name}: {colour};")
            dark.append(f"--{name}: {dark_shades[k]};")
    return " ".join(light), " ".join(dark)
