"""How the page looks: its style, and each thing that it shows as a piece of HTML."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from heschl.app.answering import Model, Understood
from heschl.types import HeschlError

TOP = 5  # labels that are shown
WORDS = {
    "original": "All of it",
    "positive": "What it relied on",
    "negative": "What spoke against",
    "rest": "The rest",
}
DOUBT = (
    "A picture like this is a claim about the network, not about speech, and such claims are often wrong. "
    "Test it: hide what is marked, and see whether the answer changes."
)
STYLE = """
.gradio-container { max-width: 1168px !important; margin: 0 auto !important; }
.bars { display: grid; grid-template-columns: auto 1fr auto; gap: 4px 12px; align-items: center; font-variant-numeric: tabular-nums; font-size: 15px; }
.bars i { display: block; height: 7px; border-radius: 4px; background: var(--line); min-width: 1px; }
.bars i.right { background: var(--blue); }
.note { color: var(--soft); font-size: 14px; margin: 4px 0; }
.doubt, .trouble { border-left: 3px solid var(--orange); padding: 1px 0 1px 14px; margin: 14px 0; }
.trouble { border-color: var(--vermilion); }
#said h2 { font-size: 24px; margin: 4px 0 6px; }
#answers table { border-collapse: collapse; font-size: 15px; width: 100%; }
#answers caption { text-align: left; color: var(--soft); font-size: 14px; padding-bottom: 4px; }
#answers th, #answers td { text-align: left; font-weight: 400; padding: 5px 16px 5px 0; border-bottom: 1px solid var(--line); }
.heat svg { display: block; max-width: 100%; height: auto; overflow: visible; }
.heat svg text { font-family: inherit; }
.dark .heat image { filter: invert(1) hue-rotate(180deg) brightness(1.06); }
#course .heat image { filter: none; }
:focus-visible { outline: 2px solid var(--blue) !important; outline-offset: 2px; }
"""


def style() -> str:
    """The page's style sheet, with the colours of all figures."""
    from heschl.figures.style import css

    light, dark = css()
    return f":root {{ {light} }} .dark {{ {dark} }}\n{STYLE}"


def bars(found: Understood, model: Model) -> str:
    """The answer with its probability, and the next ones."""
    first = next(iter(found.shares))
    kind = "Share of time" if model.network.frames else "Probability"
    rows = "".join(_bar(label, share, label == found.of) for label, share in [*found.shares.items()][:TOP])
    notes = "".join(f"<p class=note>{escape(note)}</p>" for note in found.notes)
    title = f"It hears “{escape(first)}”" if not model.network.frames else "What it hears most"
    return f'<h2 aria-live="polite">{title}</h2>{notes}<p class=note>{kind}</p><div class=bars>{rows}</div>'


def changed(before: Understood, after: Understood) -> str:
    """How a probability changed."""
    difference = 100 * (after.share - before.share)
    of = "its answers" if before.of == "predicted" else f"“{escape(before.of)}”"
    now = next(iter(after.shares))
    sign = "+" if difference >= 0 else "−"
    return (
        f'<p aria-live="polite">{of[0].upper() + of[1:]}: {100 * before.share:.0f}\u202f% before, '
        f"<b>{100 * after.share:.0f}\u202f%</b> now ({sign}{abs(difference):.0f} points). It now hears “{escape(now)}”.</p>"
        f"<div class=bars>{_bar('before', before.share, False)}{_bar('now', after.share, True)}</div>"
    )


def heard(found: Understood) -> str:
    """The network's own answer to each sound."""
    rows = []
    for name, one in found.sounds.items():
        if one.silent:
            text = "silent: nothing of the sound belongs here"
        elif not one.answer or one.answer == found.of:
            text = f"{100 * one.share:.0f}\u202f%" + (f" “{escape(one.answer)}”" if one.answer else "")
        else:
            text = f"“{escape(one.answer)}”; “{escape(found.of)}” gets {100 * one.share:.0f}\u202f%"
        rows.append(f"<tr><th scope=row>{WORDS[name]}</th><td>{text}</td></tr>")
    return (
        "<table><caption>What the network answers when it hears only</caption>"
        + "".join(rows)
        + f'</table><p class="doubt">{DOUBT}</p>'
    )


def trouble(error: HeschlError) -> str:
    """An error as a sentence on the page."""
    return f'<p class="trouble" role="alert">{escape(str(error))}</p>'


def pcm(wave: np.ndarray) -> np.ndarray:
    """Samples (time,) as 16-bit integers, at one loudness, never clipped."""
    wave = wave - wave.mean()
    rms, peak = float(np.sqrt(np.mean(wave**2))), float(np.abs(wave).max())
    if peak > 0:
        wave = wave * min(0.08 / rms, 0.99 / peak)
    return np.round(wave * 32767).astype(np.int16)


def svg(figure: Any, name: str, alt: str) -> str:
    from heschl.figures.style import inline

    return f'<div class="heat">{inline(figure, name, alt)}</div>'


def _bar(label: str, share: float, right: bool) -> str:
    return (
        f"<span>{escape(label)}</span><i class={'right' if right else 'other'} style='width:{100 * share:.1f}%'></i>"
        f"<span>{100 * share:.0f}\u202f%</span>"
    )
