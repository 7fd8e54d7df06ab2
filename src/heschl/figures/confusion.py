"""What is taken for what: the confusion matrix, readable up to some fifty classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.figures.style import INK, LINE, PAPER, SOFT, TEXT, new_figure, shade, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERED = 16  # up to so many classes each cell carries its number
SHOWN = 100  # of more classes, so many are drawn: those most often mistaken


def confusion_figure(
    matrix: np.ndarray, labels: Sequence[str], width: float = TEXT, truth: str = "said"
) -> Figure:
    """Rows: what was said; columns: what the network answered; colour: the share of what was said.

    Parameters
    ----------
    matrix: (said, answered) counts. labels: names of the classes, in order. truth: what the rows are, "said" or "asked for".
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    matrix = np.asarray(matrix)
    said = matrix.sum(1, keepdims=True)
    share = np.divide(matrix, said, out=np.zeros(matrix.shape), where=said > 0)
    title = _title(matrix, labels)
    if len(labels) > SHOWN:
        mistakes = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
        kept = np.sort(np.argsort(-mistakes, kind="stable")[:SHOWN])
        title = f"The {SHOWN} of {len(labels):,} classes that are most often mistaken. {title}"
        matrix, share = matrix[np.ix_(kept, kept)], share[np.ix_(kept, kept)]
        labels = [labels[k] for k in kept]
    n = len(labels)
    with styled():
        longest = max(len(label) for label in labels)
        room = 0.075 * longest + 0.35
        cell = min((width - room - 0.2) / n, 0.6)
        upright = longest * 0.08 < cell  # the names above stand upright where they fit over a column
        height = n * cell + (0.5 if upright else room) + 0.95
        figure = new_figure(width, height, title)
        axis = figure.subplots()
        cells = [(i, j) for i in range(n) for j in range(n) if matrix[i, j]]
        patches = PatchCollection(
            [Rectangle((j - 0.5, i - 0.5), 1, 1) for i, j in cells],
            facecolors=[_colour(share[i, j], i == j) for i, j in cells],
            edgecolors=PAPER,
            linewidths=0.8 if n <= NUMBERED else 0.4,
        )
        axis.add_collection(patches)
        seen_through = [Rectangle((k - 0.5, k - 0.5), 1, 1) for k in range(n) if matrix[k, k]]
        axis.add_collection(PatchCollection(seen_through, facecolors=PAPER, linewidths=0, zorder=0.5))
        for k in range(n):  # a hair line through each row and column leads the eye to its label
            axis.plot([-0.5, n - 0.5], [k, k], color=LINE, linewidth=0.4, zorder=0)
            axis.plot([k, k], [-0.5, n - 0.5], color=LINE, linewidth=0.4, zorder=0)
        size = 9 if cell > 0.2 else max(6.0, cell * 45)
        if n <= NUMBERED and cell > 0.2:
            for i, j in cells:
                axis.text(
                    j,
                    i,
                    f"{100 * share[i, j]:.0f}",
                    ha="center",
                    va="center",
                    color=INK if i == j else shade(share[i, j])[1],
                    fontsize=min(9, cell * 30),
                )
        axis.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), aspect="equal", anchor="NW")
        axis.xaxis.tick_top()
        axis.xaxis.set_label_position("top")
        axis.set_xticks(range(n), labels, rotation=0 if upright else 90, fontsize=size, color=INK)
        axis.set_yticks(range(n), labels, fontsize=size, color=INK)
        axis.tick_params(length=0)
        for spine in axis.spines.values():
            spine.set_visible(False)
        axis.set_xlabel("the network answered", labelpad=6)
        axis.set_ylabel(truth, labelpad=6)
        _key(figure, truth)
    return figure


def _colour(share: float, right: bool) -> Any:
    """Mistakes in the map of shares; right answers in grey, the deeper the more, so that the eye goes to the mistakes."""
    from matplotlib.colors import to_rgba

    return to_rgba(INK, 0.06 + 0.26 * float(share)) if right else to_rgba(shade(share)[0])


def _key(figure: Figure, truth: str) -> None:
    """A row of squares under the matrix: which colour is which share."""
    from matplotlib.patches import Patch

    shares = (0.01, 0.05, 0.2, 0.5, 1.0)
    squares = [Patch(facecolor=shade(share)[0], label=f"{100 * share:.0f} %") for share in shares]
    squares.append(Patch(facecolor=_colour(1.0, True), label="right"))
    figure.legend(
        handles=squares,
        loc="outside lower left",
        ncols=len(squares),
        frameon=False,
        title=f"mistakes, as a share of what was {truth}",
        alignment="left",
        title_fontsize=9,
        fontsize=9,
        labelcolor=SOFT,
        handlelength=0.9,
        handleheight=0.9,
        handletextpad=0.4,
        columnspacing=1.0,
        borderpad=0,
    ).get_title().set_color(SOFT)


def _title(matrix: np.ndarray, labels: Sequence[str]) -> str:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    if not wrong.any():
        return "No clip is mistaken for another class"
    said, answered = divmod(int(wrong.argmax()), len(labels))
    count, of = int(wrong[said, answered]), int(matrix[said].sum())
    if count == 1:
        return f"{int(wrong.sum())} mistakes in {int(matrix.sum())}, no two of them alike"
    return f"The commonest mistake: “{labels[said]}” taken for “{labels[answered]}”, {count} times in {of}"
