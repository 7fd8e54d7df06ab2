"""Are the explanations true? Curves of what the network says while the most important parts are taken out or put back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import (
    BLUE,
    GREEN,
    INK,
    LINE,
    ORANGE,
    PURPLE,
    SKY,
    SOFT,
    TEXT,
    VERMILION,
    YELLOW,
    new_figure,
    percent,
    styled,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {
    "random": "random order",
    "energy": "loudest first",
    "lrp": "LRP",
    "lrp:epsilon": "LRP epsilon",
    "lrp:epsilon_plus": "LRP epsilon-plus",
    "lrp:epsilon_plus_flat": "LRP plus, flat",
    "lrp:epsilon_gamma_box": "LRP gamma, box",
    "lrp:epsilon_alpha2beta1": "LRP alpha-beta",
    "gradient": "gradient",
    "gradient_x_input": "gradient × input",
    "integrated_gradients": "integrated gradients",
    "smoothgrad": "SmoothGrad",
    "occlusion_time": "occlusion in time",
    "occlusion_frequency": "occlusion in frequency",
    "deeplift": "DeepLift",
    "gradient_shap": "GradientShap",
}
PIECES = {  # what "aligned" methods take out
    "phone": "phones",
    "word": "words",
    "energy": "stretches of sound",
    "time": "equal stretches",
    "hertz": "bands",
    "mel": "mel bands",
    "harmonic": "harmonics",
    "formant": "formants",
}
CELLS = {
    "time": "moments",
    "frequency": "frequencies",
    "time_frequency": "single values",
    "segments": "phones",
    "stretches": "stretches of sound",
}
TIERS = ("phone", "word")
GUESSING = "guessing"
SAME = 0.012  # of the probability: curves nearer than a line is thick
GAPS: tuple[Any, ...] = ("-", (0, (5, 5)), (0, (2.5, 7.5)), (0, (1, 9)))  # by how many curves lie beneath
_HUES = (BLUE, SKY, ORANGE, VERMILION, GREEN, PURPLE, YELLOW)


def named(method: str, tiers: Collection[str] = TIERS) -> str:
    """A method, in as few words as a figure has room for.

    tiers: what is known of the clips, phones or words; where it is not, stretches of sound stand in for them.
    """
    kind = method.removeprefix("aligned:")
    if kind != method:
        return f"{PIECES['energy' if kind in TIERS and kind not in tiers else kind]} taken out"
    return NAMES.get(method, method)


def faithful_figure(held: Mapping[str, Any], *, width: float = TEXT) -> Figure:
    """Deletion over insertion, one column for each kind of cells; controls are grey.

    held: as `heschl.steps.faithful.faithful` gives it.
    """
    from matplotlib.lines import Line2D

    kinds = list(dict.fromkeys(row["cells"] for row in held["rows"]))
    methods = list(dict.fromkeys(row["method"] for row in held["rows"] if not row["control"]))
    hues = {name: _HUES[k % len(_HUES)] for k, name in enumerate(methods)}
    shares, tiers = held["fractions"], () if "stretches" in kinds else TIERS
    with styled():
        title = _title(held)
        lines = len(wrapped(title, width)) - 1
        figure = new_figure(width, 4.7 + 0.2 * lines + 0.17 * ((len(methods) + 5) // 3), title)
        axes = figure.subplots(2, len(kinds), sharex=True, sharey=True, squeeze=False)
        figure.get_layout_engine().set(wspace=0.1)  # type: ignore[union-attr, call-arg]
        for column, kind in enumerate(kinds):
            for line, side in enumerate(("deletion", "insertion")):
                axis = axes[line, column]
                curves: list[np.ndarray] = []
                for row in held["rows"]:
                    if row["cells"] != kind:
                        continue
                    style: dict[str, Any] = {"color": hues.get(row["method"], SOFT), "zorder": 3}
                    curve = np.asarray(row["curve"][side], float)
                    if not row["control"]:  # gaps, through which those that it covers are seen
                        covered = sum(bool(np.abs(curve - other).max() < SAME) for other in curves)
                        style["linestyle"] = GAPS[min(covered, len(GAPS) - 1)]
                        curves.append(curve)
                    if row["control"]:
                        style |= {"linestyle": "-" if row["method"] == "random" else (0, (4, 2)), "zorder": 2}
                    axis.plot(shares, curve, label=named(row["method"], tiers), **style)
                axis.axhline(
                    held["chance"], color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1, label=GUESSING
                )
                axis.set_ylim(0, 1.02)
                axis.set_xlim(0, 1)
                axis.spines["left"].set_visible(False)
                axis.spines["bottom"].set_color(LINE)
                axis.tick_params(length=0)
                axis.set_xticks([0, 0.5, 1], ["0", "50", "100 %"])
                percent(axis)
                axis.yaxis.grid(True)
                axis.set_axisbelow(True)
            axes[0, column].set_title(CELLS.get(kind, kind))
            axes[1, column].get_xticklabels()[-1].set_horizontalalignment(
                "right"
            )  # apart from the next column's 0
        axes[0, 0].set_ylabel("the answer’s probability,\ncells taken out")
        axes[1, 0].set_ylabel("the answer’s probability,\ncells put back")
        axes[1, 0].set_xlabel("taken out or put back,\nmost important first", loc="left")
        drawn: dict[str, Any] = {}  # not every method says something of every kind of cells
        for axis in axes[0]:
            handles, labels = axis.get_legend_handles_labels()
            drawn |= dict(zip(labels, handles, strict=True))
        last = [label for label in (NAMES["random"], NAMES["energy"], GUESSING) if label in drawn]
        order = [label for label in drawn if label not in last] + last
        plain = [
            drawn[label] if label in last else Line2D([], [], color=drawn[label].get_color())
            for label in order
        ]
        figure.legend(
            plain,
            order,
            loc="outside lower left",
            ncols=3 if width > 5 else 2,
            frameon=False,
            labelcolor=INK,
        )
    return figure


def _title(held: Mapping[str, Any]) -> str:
    """The answer: how many explanations beat chance and loudness, at each kind of cells."""
    told, found = [], False
    for kind in dict.fromkeys(row["cells"] for row in held["rows"]):
        own = [row for row in held["rows"] if row["cells"] == kind and not row["control"]]
        better = [row for row in own if all(_above(row[f"deletion_over_{c}"]) for c in ("random", "energy"))]
        told.append(f"{len(better)} of {len(own)} for {CELLS.get(kind, kind)}".replace(" ", "\u00a0"))
        found = found or bool(better)
    n, group = held.get("speakers") or held.get("clips"), held.get("group", "clip")
    of = f" ({n}\u00a0{group}{'s' * (n != 1)})" if n else ""
    if all(row["deletion_over_random"].get("low") is None for row in held["rows"] if not row["control"]):
        return f"Too few to say whether an explanation finds what matters{of}"
    if not found:
        every = [row for row in held["rows"] if not row["control"]]
        some = sum(_above(row["deletion_over_random"]) for row in every)
        if some:
            return f"Taken out, {some} of {len(every)} explanations cost more than chance, none more than loudness too{of}"
        return f"No explanation finds what matters better than chance and loudness do{of}"
    return "Explanations that find what matters better than chance and loudness: " + ", ".join(told) + of


def _above(score: Mapping[str, Any]) -> bool:
    return score.get("low") is not None and score["low"] > 0
