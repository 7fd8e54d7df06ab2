"""Figures as a page shows them: at two widths, in its own colours, with where time lies on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def both(name: str, draw: Callable[[float], Any]) -> dict[str, Any]:
    """A figure at two widths, for a desk and for a phone, with its title apart."""
    import markupsafe

    from heschl.figures.style import PHONE, TEXT, inline

    figure, narrow = draw(TEXT), draw(PHONE)
    title = getattr(figure, "_suptitle", None)
    said = title.get_text().replace("\n", " ") if title is not None else name
    return {
        "title": said,
        "wide": markupsafe.Markup(inline(figure, f"{name}-w", said)),
        "phone": markupsafe.Markup(inline(narrow, f"{name}-p", said)),
    }


def seconds_of(figure: Any) -> str:
    """Where time lies on a drawn figure: left and right end as shares of its width, and the seconds there."""
    axis = figure.axes[0]
    box = axis.get_position()
    return " ".join(f"{v:.5g}" for v in (box.x0, box.x1, *axis.get_xlim()))
