"""What is inside: how well labels are read off each layer, how alike layers are, what their units prefer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import (
    BLUE,
    INK,
    LINE,
    ORANGE,
    PAPER,
    SHADES,
    SOFT,
    TEXT,
    apart,
    legible,
    new_figure,
    numbered,
    shades,
    styled,
)
from heschl.tasks.intervals import by_t

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# series -> (what it is called, colour, line)
SERIES: dict[str, tuple[str, str, Any]] = {
    "score": ("trained", BLUE, "-"),
    "untrained": ("untrained", SOFT, "-"),
    "control": ("control labels", ORANGE, (0, (4, 2))),
}
CROWDED = 26  # symbols of two letters that stand side by side under a figure as wide as the text
LOWEST = -0.5  # of R² that is drawn
# phones in the order of a table: vowels from front to back, then consonants by manner
ORDER = tuple(
    "IY IH EH EY AE AH ER AW AY AA AO OW OY UH UW W Y R L M N NG B P D T G K JH CH V F DH TH Z S ZH SH HH".split()  # noqa: SIM905
)


def probes_figure(
    rows: Sequence[Mapping[str, Any]],
    areas: Sequence[str],
    *,
    synthetic: bool = False,
    known: bool = True,
    width: float = TEXT,
) -> Figure:
    """One panel a target: what a probe reads off each area, with its interval, beside untrained and control.

    Parameters
    ----------
    rows: as `heschl.steps.probe.probe` makes them. areas: in the order of the network. known: whether it is known who
        speaks; else intervals are over clips.
    """
    targets = list(dict.fromkeys(row["target"] for row in rows))
    columns = 1 if width < 5 else min(len(targets), 2 if width < 9 else 3)
    lines = -(-len(targets) // columns)
    with styled():
        figure = new_figure(width, 0.55 + 2.35 * lines, _title(rows, synthetic, known))
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for k, axis in enumerate(axes):
            if k >= len(targets):
                axis.axis("off")
                continue
            own = {row["area"]: row for row in rows if row["target"] == targets[k]}
            _panel(axis, [own[area] for area in areas if area in own])
    return figure


def _panel(axis: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    first = rows[0]
    numbers = first["measure"] == "R²"
    ends: list[tuple[float, str, str]] = []
    under = False
    for k, (key, (name, colour, line)) in enumerate(SERIES.items()):
        places = np.arange(len(rows)) + (0.05 if len(rows) > 1 else 0.006) * (
            k - 1
        )  # side by side, so that no interval hides another
        value = np.array([float(row[key]["value"]) for row in rows])
        below = value < LOWEST  # R² has no floor: what lies under the panel's stands on it as a triangle
        value, under = np.maximum(value, LOWEST), under or bool(below.any())
        lows = np.array([_bound(row[key], "low") for row in rows])
        highs = np.array([_bound(row[key], "high") for row in rows])
        front = 4 if key == "score" else 3
        axis.vlines(places, lows, highs, color=colour, linewidth=2.6, alpha=0.35, zorder=front - 1)
        axis.plot(places, value, color=colour, linestyle=line, zorder=front)
        for mark, those in (("o", ~below), ("v", below)):
            if those.any():
                axis.plot(
                    places[those],
                    value[those],
                    mark,
                    color=colour,
                    markersize=4.5 if mark == "o" else 6,
                    markeredgecolor=PAPER,
                    zorder=front,
                    clip_on=False,
                )
        ends.append((float(value[-1]), name, colour))
    axis.axhline(first["chance"], color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    ends.append((float(first["chance"]), "guessing", SOFT))
    low = min(0.0, *(float(row[key]["value"]) for row in rows for key in SERIES)) if numbers else 0.0
    axis.set_ylim(max(low, LOWEST) - (0.05 if low < 0 else 0), 1.02)
    ticks = [0, 0.5, 1]
    axis.set_yticks(ticks, ["0", "0.5", "R² = 1"] if numbers else ["0", "50", "100\u202f%"])
    if under:  # says what a triangle is
        axis.set_yticks([LOWEST, *ticks], [f"< {LOWEST:g}".replace("-", "−"), "0", "0.5", "R² = 1"])
    axis.set_xlim(-0.25, len(rows) - 0.75)
    names = [row["area"] for row in rows]
    slanted = sum(map(len, names)) > 22
    axis.set_xticks(
        np.arange(len(rows)), names, rotation=35 if slanted else 0, ha="right" if slanted else "center"
    )
    axis.tick_params(axis="x", labelcolor=INK, length=0)
    axis.tick_params(axis="y", length=0)
    axis.yaxis.grid(True)
    axis.set_axisbelow(True)
    axis.spines["left"].set_visible(False)
    axis.spines["bottom"].set_color(LINE)
    what = "" if numbers else f", {first['classes']} classes"
    axis.set_title(f"{first['target']}{what}; {first['n']:,} {first['samples_are']}")
    bottom, top = axis.get_ylim()
    least = 0.11 * (top - bottom)  # a line of words
    heights = apart([end[0] for end in ends], least)
    lowest = bottom + least / 2  # none lies beside the names of the areas
    for k in sorted(range(len(ends)), key=lambda k: heights[k]):
        heights[k] = max(heights[k], lowest)
        lowest = heights[k] + least
    for (_, name, colour), y in zip(ends, heights, strict=True):
        axis.annotate(
            name,
            (1, y),
            (5, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=legible(colour),
            va="center",
            annotation_clip=False,
        )


def _bound(score: Mapping[str, Any], side: str) -> float:
    return float(score["value"] if score[side] is None else score[side])


# what a score must be better than -> whether it is, by its interval
BETTER: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "guessing": lambda row: _bound(row["score"], "low") > row["chance"],
    "from an untrained network": lambda row: _bound(row["gain"], "low") > 0,
    "control labels": lambda row: _bound(row["selectivity"], "low") > 0,
}


def _title(rows: Sequence[Mapping[str, Any]], synthetic: bool, known: bool) -> str:
    """Which area each target is read off best, where the intervals of its score, of what training added and of what it has
    over control labels lie above guessing and above nothing; else where they do, and over what the highest has nothing."""
    several = len({row["area"] for row in rows}) > 1
    told: list[str] = []
    no_better: dict[str, list[str]] = {}
    for target in dict.fromkeys(row["target"] for row in rows):
        left = [row for row in rows if row["target"] == target]
        for what, is_better in BETTER.items():
            kept = [row for row in left if is_better(row)]
            if not kept:
                no_better.setdefault(what, []).append(target)
                break
            left = kept
        else:
            own = [row for row in rows if row["target"] == target]
            best = max(own, key=lambda row: float(row["score"]["value"]))
            if best in left:
                told.append(f"{target} {'best ' * several}from {best['area']}")
            else:
                lacking = next(what for what, is_better in BETTER.items() if not is_better(best))
                some = " and ".join(row["area"] for row in left)
                some = some if len(left) < 3 else f"{len(left)} of {len(own)} areas"
                told.append(f"{target} better than {lacking} only from {some}")
    told += [f"{' and '.join(no_better[what])} no better than {what}" for what in BETTER if what in no_better]
    said = ", ".join(told)
    least, most = (end(row["n_speakers"] for row in rows) for end in (min, max))
    n = f"{most}" if least == most else f"{least} to {most}"
    speech = ("synthetic speakers" if synthetic else "speakers") if known else "clips; speakers not known"
    return f"A straight line reads {said} ({n} {speech}, 95\u202f% intervals{by_t(least if known else None)})"


def similarity_figure(
    tables: Mapping[str, Sequence[Sequence[float | None]]],
    areas: Sequence[str],
    others: Sequence[str] | None = None,
    *,
    title: str = "",
    width: float = TEXT,
) -> Figure:
    """CKA of areas (rows) with areas (columns), one map a table.

    Parameters
    ----------
    tables: heading -> (area, other area). others: the columns' names; ``areas`` where they are not given.
    """
    names = list(tables)
    across = 1 if width < 5 else len(names)
    heading = title or _alike(tables, areas)
    columns = list(others or areas)
    with styled():
        side = min(width / across - 0.9, 0.62 * max(len(columns), 3))
        tall = side * len(areas) / len(columns) + 0.9
        figure = new_figure(width, 0.5 + tall * (len(names) if across == 1 else 1), heading)
        axes = figure.subplots(-(-len(names) // across), across, squeeze=False).ravel()
        for axis, name in zip(axes, names, strict=True):
            table = np.array([[np.nan if v is None else v for v in row] for row in tables[name]], float)
            _map(axis, table, numbers=len(columns) <= 9)
            axis.set_title(name.replace(" with ", " (rows) with ") if " with untrained" in name else name)
            axis.set_aspect("equal")
            axis.set_yticks(np.arange(len(areas)), areas)
            slanted = max(map(len, columns)) > 13 * side / len(columns)
            axis.set_xticks(
                np.arange(len(columns)),
                columns,
                rotation=35 if slanted else 0,
                ha="right" if slanted else "center",
            )
        for _ in range(2):  # square maps find their place only when they are drawn again
            figure.draw_without_rendering()
    return figure


def _alike(tables: Mapping[str, Sequence[Sequence[float | None]]], areas: Sequence[str]) -> str:
    if "trained with untrained" not in tables or len(areas) < 2:
        return "How alike the layers are (CKA without bias; 1: the same up to rotation)"
    same = [
        (row[k], area)
        for k, (row, area) in enumerate(zip(tables["trained with untrained"], areas, strict=True))
    ]
    least = min(((value, area) for value, area in same if value is not None), default=(None, ""))
    if least[0] is None:
        return "How alike the layers are (CKA without bias; 1: the same up to rotation)"
    if round(least[0], 2) == 1:
        return (
            "Training changed no layer: CKA 1.00 of each with itself untrained (1: the same up to rotation)"
        )
    return f"Training changed the layers in {least[1]} most: CKA {least[0]:.2f} with itself untrained (1: the same up to rotation)"


def _map(axis: Axes, table: np.ndarray, numbers: bool, top: float = 1.0) -> None:
    """Cells coloured by their share of ``top``; the value inside, where there is room."""
    from matplotlib.patches import Rectangle

    rows, columns = table.shape
    for (i, j), value in np.ndenumerate(table):
        share = 0.0 if np.isnan(value) else float(np.clip(value / top, 0, 1))
        step = round(share * (SHADES - 1))
        ground, ink = numbered(step) if numbers else (shades()[step], INK)
        axis.add_patch(Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, facecolor=ground, linewidth=0))
        if numbers:
            text = "–" if np.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
            text = text.replace("0.", ".", 1) if columns > 6 and not text.startswith("1") else text
            axis.text(j, i, text, ha="center", va="center", color=ink, fontsize=8.5)
    axis.set_xlim(-0.5, columns - 0.5)
    axis.set_ylim(rows - 0.5, -0.5)
    axis.tick_params(length=0, labelcolor=INK)
    for spine in axis.spines.values():
        spine.set_visible(False)


def selectivity_figure(
    areas: Mapping[str, Mapping[str, Any]], which: str = "psi", *, width: float = TEXT
) -> Figure:
    """Mean PSI of each area's units for each phone, or FSI for each feature; and how many units are selective at all.

    Parameters
    ----------
    areas: area -> {"psi": {"names", "most", "mean", "selective_units", ...}, ...}, as probe.json has it.
    which: "psi" or "fsi".
    """
    names = next(iter(areas.values()))[which]["names"]
    order = sorted(range(len(names)), key=lambda k: ORDER.index(names[k]) if names[k] in ORDER else k)
    most = next(iter(areas.values()))[which]["most"]
    table = np.array([[own[which]["mean"][k] for k in order] for own in areas.values()])
    what = "phone" if which == "psi" else "feature"
    best = max(areas, key=lambda area: areas[area][which]["median_of_best"])
    outdone = {area: f"{own[which]['median_of_best']:.0f}" for area, own in areas.items()}
    with styled():
        title = f"Half of {best}’s units set their favourite {what} apart from {outdone[best]} of {most} others or more"
        if not areas[best][which]["median_of_best"]:  # half of the units, or more, prefer nothing anywhere
            share = {area: own[which]["selective_units"] for area, own in areas.items()}
            best = max(share, key=lambda area: share[area])
            title = f"Few units prefer a {what} to any other: {100 * share[best]:.0f} % of {best}’s, the most of all"
            title = title if share[best] else f"No unit prefers a {what} to any other"
        turned = width < 5
        figure = new_figure(
            width, (0.19 * len(names) if turned else 0.32 * len(areas)) + (1.2 if turned else 1.75), title
        )
        axis = figure.subplots()
        top = float(table.max()) or 1.0
        _map(axis, table.T if turned else table, numbers=False, top=top)
        labels = [f"{area}\u00a0\u00a0{outdone[area]}" for area in areas]  # an SVG sets plain spaces as one
        symbols = [names[k] for k in order]
        places = (np.arange(len(symbols)), np.arange(len(labels)))
        if turned:
            axis.set_yticks(places[0], symbols, fontsize=8)
            axis.set_xticks(places[1], labels, rotation=35, ha="right")
        else:
            long = which == "fsi"
            if not long and len(symbols) > CROWDED:  # every second one a line lower
                symbols = ["\n" * (k % 2) + name for k, name in enumerate(symbols)]
            axis.set_xticks(
                places[0], symbols, rotation=60 if long else 0, ha="right" if long else "center", fontsize=8
            )
            axis.set_yticks(places[1], labels)
        about = f"Darkest: {top:.1f} of {most} others outdone, mean over units"
        axis.set_title(
            about if turned else f"{about}; beside each area, what its units’ favourites outdo (median)",
            color=SOFT,
        )
    return figure
