"""Clips to be heard on a page: chosen from the predictions, levelled, seen as spectrogram, embedded as sound."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from heschl.files import read_audio
from heschl.report.pictures import seconds_of
from heschl.steps.telling import telling
from heschl.types import HeschlError

SECONDS = 6.0  # longer clips are cut, so that the page stays small
LEVEL = 0.08  # RMS of every sound, full scale = 1
CARD = 224 / 96  # inches
MPEG = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz that MP3 knows


def heard_groups(
    rows: Sequence[Mapping[str, str]],
    labels: Sequence[str],
    each: int = 4,
    *,
    audio: bool = True,
    called: Callable[[str], str] = str,
    without: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Groups of clips: the surest right answers, the surest wrong ones, and the commonest confusion.

    Parameters
    ----------
    rows: predictions.csv: id, file, start, stop, said, answered, probability, and a column `p:LABEL` each.
    audio: embed the sounds. called: a speaker's name -> what the page calls them. without: ids that are left out.
    """
    made: list[dict[str, Any]] = []
    for title, chosen in telling(rows, each):
        kept = [row for row in chosen if row["id"] not in without]
        cards = [card for k, row in enumerate(kept) if (card := _card(row, labels, f"{len(made)}{k}"))]
        for card in cards:
            card["who"] = called(card["who"])
            card["sound"] = card["sound"] if audio else ""
        if cards:
            made.append({"title": title, "clips": cards})
    return made


def _card(row: Mapping[str, str], labels: Sequence[str], name: str) -> dict[str, Any] | None:
    import markupsafe

    from heschl.figures.spectrogram import spectrogram_figure
    from heschl.figures.style import inline

    if not row.get("file"):
        return None
    try:
        stop = float(row["stop"]) if row.get("stop") else None
        wave, rate = read_audio(row["file"], float(row.get("start") or 0.0), stop)
    except HeschlError:
        return None  # the recordings have moved: the page goes without them
    cut = len(wave) > SECONDS * rate
    wave = wave[: round(SECONDS * rate)]
    said, answered = row["said"], row["answered"]
    figure = spectrogram_figure(wave, rate, width=CARD)
    svg = inline(figure, f"clip{name}", f"spectrogram of “{said}”")
    shares = {label: float(row[f"p:{label}"]) for label in labels if row.get(f"p:{label}")}
    best = sorted(shares, key=lambda label: -shares[label])[:3]
    return {
        "said": said,
        "answered": answered,
        "right": said == answered,
        "who": row.get("speaker", ""),
        "svg": markupsafe.Markup(svg),
        "time": seconds_of(figure),
        "sound": sound(wave, rate),
        "cut": f"{SECONDS:g}" if cut else "",
        "answers": [{"label": label, "share": shares[label], "right": label == said} for label in best],
    }


def sound(wave: np.ndarray, rate: int, form: str = "WAV") -> str:
    """A (time,) wave as a data URL at one loudness (RMS), never clipped: 16-bit WAV, or MP3, a fifth of its size."""
    import soundfile

    wave = wave - wave.mean()
    rms, peak = float(np.sqrt(np.mean(wave**2))), float(np.abs(wave).max())
    if peak > 0:
        wave = wave * min(LEVEL / rms, 0.99 / peak)
    file = io.BytesIO()
    if form == "MP3" and rate in MPEG:
        soundfile.write(file, wave, rate, format="MP3")
        return "data:audio/mpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    soundfile.write(file, wave, rate, subtype="PCM_16", format="WAV")
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode("ascii")
