"""How training went: loss and score, training and validation, over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heschl.figures.style import BLUE, LINE, SOFT, TEXT, apart, new_figure, percent, styled
from heschl.types import HeschlError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = {"validation": BLUE, "train": SOFT}
NAMES = {"train": "training", "validation": "validation"}


def curves(
    rows: Sequence[Mapping[str, Any]], score: str = "balanced_accuracy", width: float = TEXT
) -> Figure:
    """Loss and score over the epochs, in two panels.

    Parameters
    ----------
    rows: history.csv, a row an epoch: ``epoch``, ``train_loss``, ``validation_loss``, ``train_<score>``,
        ``validation_<score>``; text or numbers, missing ones empty.
    score: which score to show; another one that the rows have, where they do not have it.
    """
    if not rows:
        raise HeschlError("there is no history to draw: the run has not finished an epoch yet")
    names = [key.split("_", 1)[1] for key in rows[0] if key.startswith(("train_", "validation_"))]
    scores = [name for name in dict.fromkeys(names) if name != "loss"]
    score = score if score in scores or not scores else scores[0]
    panels = [name for name in ("loss", score) if name in names]
    if not panels:
        raise HeschlError(
            f"the history has no columns train_loss or validation_loss, but {', '.join(rows[0])}"
        )
    stacked = width < 5
    with styled():
        figure = new_figure(width, 2.2 * len(panels) if stacked else 2.6, _title(rows, score, panels))
        shape = (len(panels), 1) if stacked else (1, len(panels))
        axes = figure.subplots(*shape, squeeze=False).ravel()
        for axis, name in zip(axes, panels, strict=True):
            _panel(axis, rows, name, shares=name != "loss")
            if not stacked or name == panels[-1]:
                axis.set_xlabel("epoch")
    return figure


def _panel(axis: Axes, rows: Sequence[Mapping[str, Any]], name: str, shares: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    series = {part: points for part in PARTS if (points := _series(rows, f"{part}_{name}"))}
    for part, points in series.items():
        alone: dict[str, Any] = (
            {"marker": "o", "markersize": 5} if len(points) == 1 else {}
        )  # of one epoch there is no line
        axis.plot(
            *zip(*points, strict=True), color=PARTS[part], zorder=3 if part == "validation" else 2, **alone
        )
    values = [value for points in series.values() for _, value in points]
    if shares and values and min(values) >= 0 and max(values) <= 1:
        axis.set_ylim(0, 1.02)
        percent(axis)
    elif values:
        axis.set_ylim(0, max(values) * 1.05 or 1)
        axis.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.yaxis.grid(True)
    axis.set_axisbelow(True)
    if len(rows) == 1:
        axis.set_xlim(0.4, 1.6)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axis.set_title(name.replace("_", " ").capitalize())
    axis.spines["left"].set_visible(False)
    axis.spines["bottom"].set_color(LINE)
    axis.tick_params(axis="y", length=0)
    best = max(series.get("validation", []), key=lambda p: p[1] if shares else -p[1], default=None)
    if best:
        axis.plot(*best, "o", color=BLUE, markersize=5, zorder=4, clip_on=False)
    top = axis.get_ylim()[1]
    ends = [points[-1] for points in series.values()]
    for part, end, y in zip(series, ends, apart([end[1] for end in ends], top * 0.1), strict=True):
        axis.annotate(
            NAMES[part],
            (end[0], y),
            (5, 0),
            textcoords="offset points",
            color=PARTS[part],
            va="center",
            annotation_clip=False,
        )


def _series(rows: Sequence[Mapping[str, Any]], column: str) -> list[tuple[float, float]]:
    """(epoch, value) of a column, without the rows that have no value."""
    points = []
    for k, row in enumerate(rows):
        value = row.get(column)
        if value not in (None, "", "nan"):
            points.append((float(row.get("epoch") or k + 1), float(value)))
    return points


def _title(rows: Sequence[Mapping[str, Any]], score: str, panels: Sequence[str]) -> str:
    points = _series(rows, f"validation_{score}") if score in panels else []
    if not points:
        return "How the loss fell while the network was trained"
    epoch, value = max(points, key=lambda p: p[1])
    said = score.replace("_", " ")
    return f"On what it was not trained on, {said} peaks at {100 * value:.0f}\u202f% after epoch {epoch:g}"
