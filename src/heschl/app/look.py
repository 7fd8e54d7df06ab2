"""How the page looks: its style, and each thing that it shows as a piece of HTML."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from heschl.app.answering import MEGABYTES, Hidden, Model, Understood, drawing
from heschl.files import AUDIO_SUFFIXES
from heschl.report.sounds import sound
from heschl.types import HeschlError

TOP = 5  # labels that are shown
SHORT = 6.0  # seconds up to which sounds are sent as they are
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
SEX = "This is the apparent sex of a voice, as its corpus labels it: it says nothing about a person."
STYLE = """
.gradio-container { max-width: 1168px !important; margin: 0 auto !important; }
.bars { display: grid; grid-template-columns: auto 1fr auto; gap: 4px 12px; align-items: center; font-variant-numeric: tabular-nums; font-size: 15px; }
.bars i { display: block; height: 7px; border-radius: 4px; background: var(--line); min-width: 1px; }
.bars i.right { background: var(--blue); }
.note { color: var(--soft); font-size: 14px; margin: 4px 0; }
.doubt, .trouble { border-left: 3px solid var(--orange); padding: 1px 0 1px 14px; margin: 14px 0; }
.trouble { border-color: var(--vermilion); }
#given time, #given .playback, #given button span { color: var(--soft) !important; }
#said h2 { font-size: 24px; margin: 4px 0 6px; }
.players { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 14px 24px; font-size: 15px; margin: 12px 0; }
.players b { font-weight: 600; } .players audio { width: 100%; height: 34px; display: block; margin: 3px 0; }
.phone { display: none; } @media (max-width: 800px) { .desk { display: none; } .phone { display: block; } }
@media (max-width: 800px) { #both { flex-direction: column; } #both > * { min-width: 0 !important; width: 100%; } }
body, .gradio-container { background: var(--paper) !important; } .dark .players audio { color-scheme: dark; }
.brush { position: relative; cursor: crosshair; touch-action: none; user-select: none; }
.brush .hidden-part { position: absolute; background: repeating-linear-gradient(45deg, var(--paper) 0 6px, color-mix(in srgb, var(--ink) 12%, var(--paper)) 6px 8px); border: 1.5px solid var(--ink); pointer-events: none; }
.heat svg, .brain svg { display: block; max-width: 100%; height: auto; overflow: visible; }
.heat svg text, .brain svg text { font-family: inherit; }
.dark .heat image { filter: invert(1) hue-rotate(180deg) contrast(.84); }
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
    if str(model.run.recipe.task.args.get("label")) in ("gender", "sex"):
        notes += f"<p class=note>{SEX}</p>"
    title = f"It hears “{escape(first)}”" if not model.network.frames else "What it hears most"
    return f'<h2 aria-live="polite">{title}</h2>{notes}<p class=note>{kind}</p><div class=bars>{rows}</div>'


def changed(before: Understood, after: Understood) -> str:
    """How a probability changed, and what is left to be heard."""
    player = f"<div class=players><div><b>What is left</b>{played(after.wave, after.rate, 'What is left')}</div></div>"
    return answers_now(before, (after.shares, after.share)) + player


def answers_now(before: Understood, after: tuple[dict[str, float], float]) -> str:
    """How a probability changed, and what is heard now; after: all shares, and that of what is explained."""
    shares, share = after
    difference, now = 100 * (share - before.share), next(iter(shares))
    of = "its answers" if before.of == "predicted" else f"“{escape(before.of)}”"
    sign = "+" if difference >= 0 else "−"
    return (
        f'<p aria-live="polite">{of[0].upper() + of[1:]}: {100 * before.share:.0f}\u202f% before, '
        f"<b>{100 * share:.0f}\u202f%</b> now ({sign}{abs(difference):.0f} points). It now hears “{escape(now)}”.</p>"
        f"<div class=bars>{_bar('before', before.share, False)}{_bar('now', share, True)}</div>"
    )


def heard(found: Understood) -> str:
    """Players of the sounds, with the network's own answer under each."""
    cards = []
    for name, one in found.sounds.items():
        if one.silent:
            player, text = "", "Silent: nothing of the sound belongs here."
        elif not one.answer:
            player, text = (
                played(one.wave, found.rate, WORDS[name]),
                f"{100 * one.share:.0f}\u202f% for what it answered",
            )
        elif one.answer == found.of:
            player = played(one.wave, found.rate, WORDS[name])
            text = f"answer: “{escape(one.answer)}”, {100 * one.share:.0f}\u202f%"
        else:
            player = played(one.wave, found.rate, WORDS[name])
            text = f"answer: “{escape(one.answer)}”; “{escape(found.of)}” gets {100 * one.share:.0f}\u202f%"
        cards.append(f"<div><b>{WORDS[name]}</b>{player}<p class=note>{text}</p></div>")
    return f'<div class="players">{"".join(cards)}</div><p class="doubt">{DOUBT}</p>'


def played(wave: np.ndarray, rate: int, words: str) -> str:
    """A player of samples (time,)."""
    source = sound(wave, rate, "WAV" if len(wave) < SHORT * rate else "MP3")
    return f'<audio controls src="{source}" aria-label="{escape(words)}"></audio>'


def trouble(error: HeschlError) -> str:
    """An error as a sentence on the page."""
    return f'<p class="trouble" role="alert">{escape(str(error))}</p>'


def seen(found: Understood, name: str, alt: str, part: Hidden | None = None, brush: bool = False) -> str:
    """The picture at two widths, for a desk and for a phone; where a brush hides parts of it, it says what lies where."""
    from heschl.figures.style import PHONE, TEXT

    shown = []
    for kind, width in (("desk", TEXT), ("phone", PHONE)):
        figure = drawing(found, width, part)
        drawn = svg(figure, f"{name}{width:.0f}", alt)
        shown.append(
            f'<div class="{kind}{" brush" if brush else ""}" {_places(figure, found) if brush else ""}>{drawn}</div>'
        )
    return "".join(shown)


def _places(figure: Any, found: Understood) -> str:
    """Where the spectrogram lies on the drawn figure, as shares from the upper left; its seconds, and its rows in Hz."""
    axis = next(one for one in figure.axes if one.images)
    box, rows = axis.get_position(), found.picture.frequencies
    place = (box.x0, 1 - box.y1, box.x1, 1 - box.y0)
    hertz = [] if rows is None else [round(float(one), 1) for one in rows]
    numbers = {"box": place, "time": axis.get_xlim(), "rows": hertz}
    return " ".join(f'data-{key}="{" ".join(f"{v:.6g}" for v in held)}"' for key, held in numbers.items())


def script() -> str:
    """The brush, and what refuses files before they are sent, as elements for the page's head."""
    brush, refuse = (
        Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("brush.js", "refuse.js")
    )
    kinds = "|".join(suffix[1:] for suffix in AUDIO_SUFFIXES)
    refuse = refuse.replace("KINDS)$", f"{kinds})$").replace("MEGABYTES;", f"{MEGABYTES};")
    return f"<script>{brush}</script><script>{refuse}</script>"


def svg(figure: Any, name: str, alt: str, kind: str = "heat") -> str:
    from heschl.figures.style import inline

    return f'<div class="{kind}">{inline(figure, name, alt)}</div>'


def _bar(label: str, share: float, right: bool) -> str:
    return (
        f"<span>{escape(label)}</span><i class={'right' if right else 'other'} style='width:{100 * share:.1f}%'></i>"
        f"<span>{100 * share:.0f}\u202f%</span>"
    )
