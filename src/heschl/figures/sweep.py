"""Which variant of a recipe does best on its validation part? One dot a variant, best first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import BLUE, INK, LINE, PAPER, SOFT, TEXT, new_figure, percent, styled
from heschl.tasks.intervals import by_t

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 40  # the best so many


def sweep_figure(held: Mapping[str, Any], *, width: float = TEXT) -> Figure:
    """Validation scores with their intervals over speakers.

    Parameters
    ----------
    held: as `heschl.steps.sweep.sweep` makes it.
    """
    rows = [row for row in held["variants"] if not row["error"]][:SHOWN]
    value, low, high = (
        np.array([_number(row["balanced_accuracy"], side) for row in rows])
        for side in ("value", "low", "high")
    )
    with styled():
        figure = new_figure(width, 0.24 * len(rows) + 1.2, _title(held, rows))
        axis = figure.subplots()
        place = np.arange(len(rows))
        axis.hlines(place, low, high, color=LINE, linewidth=3.0)
        axis.plot(
            value, place, "o", color=BLUE, markersize=5.5, markeredgecolor=PAPER, clip_on=False, zorder=4
        )
        axis.set_yticks(place, [_said(row["set"]) for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlim(0, 1)
        percent(axis, "x")
        chance = rows[0]["chance"]
        axis.axvline(chance, color=SOFT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axis.annotate(
            f"guessing {100 * chance:.3g}\u202f%",
            (chance, 1),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if chance > 0.5 else "left",
            color=SOFT,
        )
        made_up = " of simulated brains" if rows[0].get("brains") else " of synthetic speech"
        axis.set_xlabel(
            f"balanced accuracy on validation{made_up * rows[0]['synthetic']}, 95\u202f% interval over "
            f"{rows[0]['interval_over']}s{by_t(rows[0]['n_groups'])}"
        )
        axis.tick_params(length=0)
        axis.tick_params(axis="y", labelcolor=INK)
        axis.spines["left"].set_visible(False)
        axis.spines["bottom"].set_color(LINE)
    return figure


def _number(score: Mapping[str, Any], side: str) -> float:
    number = score[side] if score[side] is not None else score["value"]
    return float("nan") if number is None else float(number)


def _said(changed: Mapping[str, Any]) -> str:
    """What was set, by the last word of each key: "lr 0.003, width 32"."""
    return ", ".join(f"{key.rsplit('.', 1)[-1]} {value}" for key, value in changed.items())


def _title(held: Mapping[str, Any], rows: list[Any]) -> str:
    n = len(held["variants"])
    shown = f", the best {len(rows)} shown" if len(rows) < n - held["failed"] else ""
    others = held["as_good"]
    alike = f"; {others} more lie{'s' * (others == 1)} within its interval" if others else ""
    return f"Of {n} variants{shown}, {_said(rows[0]['set'])} does best on validation{alike}"
