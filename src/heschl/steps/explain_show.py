"""One explained clip, drawn and heard, with the test of its picture."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from torch import Tensor

from heschl.explanation.cells import Kind
from heschl.explanation.faithful import deletion_curve
from heschl.explanation.summary import regions
from heschl.files import read_json, write_json, write_wav
from heschl.steps.explaining import Input, Picture, is_wave, picture_of, segments_in, sounds_of
from heschl.steps.inputs import explained
from heschl.steps.methods import BAND, WINDOW
from heschl.steps.networks import Network
from heschl.types import HeschlError

if TYPE_CHECKING:
    from heschl.figures.explanation import Seen

POINTS = 11  # of a curve
DRAWS, MANY = 3, 10  # random orders; of few segments
HIDDEN = 0.05  # of all relevance, outside of the picture: more is told
SHARED = (
    "within a part, colour follows how far the sound was changed"  # see `heschl.explanation.gradient.moved`
)
CURVES = {"most relevant first": "relevance", "at random": "random", "loudest first": "energy"}
# what a sound is called in its file, and under its player
SOUNDS = {
    "original": ("original", "all of it"),
    "positive": ("relied-on", "what it relied on"),
    "negative": ("against", "what spoke against"),
    "rest": ("rest", "the rest"),
}


def slug(clip: str) -> str:
    """A clip's id as a name of one file or group."""
    name = "~".join(quote(part, safe=" ()+,=@").replace("~", "%7E") for part in clip.split("/"))
    return name.replace(".", "%2E") if set(name) <= {"."} else name


def clip_regions(network: Network, one: Input, relevance: Tensor) -> list[Any]:
    """Shares of a clip's phones, words and bands, as plain lists."""
    seen = picture_of(network, one, relevance)
    return [list(r) for r in regions(seen.relevance, seen.times, one.clip.spans, seen.frequencies)]


def show_clip(
    home: Path,
    network: Network,
    one: Input,
    row: Mapping[str, Any],
    relevance: Tensor,
    aim: Tensor,
    request: Mapping[str, Any],
) -> None:
    """Writes clips/ID/: the sounds with the network's answers, the curves, and the figure; answer.json is last."""
    folder = home / "clips" / slug(one.clip.id)
    if (folder / "answer.json").exists():
        held = read_json(folder / "answer.json")
        if bool(held["sounds"]) or not request["sound"] or held["mute"]:
            return
    seen = picture_of(network, one, relevance)
    sounds, shares, mute = {}, {}, ""
    if request["sound"]:
        try:
            found, rate = sounds_of(network, one, seen, aim)
        except HeschlError as error:
            found, rate, mute = {}, 0, str(error)
        for name, sound in found.items():
            file, words = SOUNDS[name]
            write_wav(folder / f"{file}.wav", sound.wave, rate)
            sounds[name] = {
                "file": f"{file}.wav",
                "words": words,
                "probability": sound.share,
                "answered": sound.answer,
                "silent": sound.silent,
                "rms": float(np.sqrt(np.mean(np.square(sound.wave, dtype=np.float64)))),
            }
            shares[words] = None if sound.silent else sound.share
    curves = deletion_curves(network, one, relevance, aim, int(request["seed"]), row["method"])
    hidden = _draw(folder, network, one, row, seen, curves, shares)
    held = {
        "clip": one.clip.id,
        **{key: row[key] for key in ("target", "answered", "probability", "method")},
        "sounds": sounds,
        "mute": mute,
        "curves": plain(curves),
        "not_drawn": hidden,
    }
    write_json(folder / "answer.json", held)


def deletion_curves(
    network: Network, one: Input, relevance: Tensor, aim: Tensor, seed: int, method: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Probability of what is explained while parts of the picture are taken out, as large as those that the method speaks of."""
    out, wave = {}, is_wave(one.x)
    parts, width = _parts(network, one, method)
    # of a few segments none is taken out in part
    points = POINTS if isinstance(parts, str) else min(POINTS, max(2, int(parts.max()) + 2))
    for name, order in CURVES.items():
        curve = deletion_curve(
            explained(network),
            one.x[None],
            aim[None],
            relevance[None],
            parts,
            order,  # type: ignore[arg-type]
            "zero" if wave else "mean",
            points,
            score="probability",
            width=width,
            seed=seed,
            draws=DRAWS if points == POINTS else MANY,
        )
        out[name] = (curve.fractions.numpy(), curve.scores[0].double().numpy())
    return out


def _parts(network: Network, one: Input, method: str) -> tuple[Kind | Tensor, int]:
    """What is taken out to test a method, and how many steps wide: its own segments, moments or bands, else single values.

    Within a segment its relevance follows the loudness: the order of single values would test that, and not the method.
    """
    if method.startswith("aligned:"):
        frequencies = getattr(network.feature, "frequencies", None)
        return segments_in(one, method.removeprefix("aligned:"), frequencies)[None], 1
    if method == "occlusion_time":
        return "time", max(1, round(WINDOW * one.rate))
    if method == "occlusion_frequency":
        rows = one.x.shape[-1] // 2 + 1 if is_wave(one.x) else one.x.shape[-2]
        return "frequency", max(1, round(BAND * rows))
    return "time_frequency", 1


def parts_called(method: str, tiers: Collection[str]) -> str:
    """The same in a word, for the axis of the curves."""
    from heschl.figures.faithful import CELLS, named

    if method.startswith("aligned:"):
        return named(method, tiers).removesuffix(" taken out")
    return CELLS.get(method.removeprefix("occlusion_"), "picture")


def plain(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, list[list[float]]]:
    """Curves as a file holds them."""
    return {name: [list(map(float, axis)) for axis in curve] for name, curve in curves.items()}


def _draw(
    folder: Path,
    network: Network,
    one: Input,
    row: Mapping[str, Any],
    seen: Picture,
    curves: Mapping[str, Any],
    shares: Mapping[str, float | None],
) -> float:
    from heschl.figures.explanation import explanation_figure, hidden_share, save_all
    from heschl.figures.style import TEXT, WIDE

    drawn, hidden = drawn_of(network, one, seen), hidden_share(_seen(network, one, seen))
    tiers = {span.tier for span in one.clip.spans}
    title, target = _words(row, tiers)
    parts = parts_called(row["method"], tiers)
    note = SHARED if row["method"].startswith(("aligned", "occlusion")) else ""
    note = (
        f"{100 * hidden:.0f} % of the relevance lies beyond what is drawn, in zeros"
        if hidden > HIDDEN
        else note
    )
    for name, width in (("figure", WIDE), ("figure-column", TEXT)):
        figure = explanation_figure(
            drawn,
            title=title,
            curves=curves,
            sounds=shares,
            width=width,
            target=target,
            note=note,
            parts=parts,
        )
        save_all(figure, folder / name)
    return hidden


def drawn_of(network: Network, one: Input, seen: Picture) -> Seen:
    """What a figure shows of a clip: the picture (of waves on a mel axis, as ears have it), its sound, phones and words."""
    from heschl.figures.explanation import on_mel

    drawn = _seen(network, one, seen)
    return on_mel(drawn) if is_wave(one.x) else drawn


def _seen(network: Network, one: Input, seen: Picture) -> Seen:
    from heschl.figures.explanation import Seen

    return Seen(*seen, *_wave(network, one), spans=one.clip.spans)


def _wave(network: Network, one: Input) -> tuple[np.ndarray | None, float]:
    if one.clip.form == "frames":
        return None, 1.0
    return network.read(one.clip, counted=False), network.sample_rate


def _words(row: Mapping[str, Any], tiers: Collection[str]) -> tuple[str, str]:
    """The title of a clip's figure, and what is explained, in words."""
    target, answered, share = row["target"], row["answered"], 100 * row["probability"]
    method = by_method(row["method"], tiers)
    if not answered:
        every = {"predicted": "the network’s answers", "true": "what was said"}.get(target, f"“{target}”")
        it = {"predicted": "its answers"}.get(target, every)
        return f"What speaks for {every} at every moment, and what against, {method}", it
    heard, it = f"The network hears “{answered}” ({100 * row['answered_probability']:.0f} %)", f"“{target}”"
    wrong = row.get("said", answered) not in ("", answered)
    heard += f"; it was “{row['said']}”" if wrong else ""
    spoke = f"{it} ({share:.0f} %)" if target != answered else it if wrong else "it"
    return f"{heard}: what speaks for {spoke}, and what against, {method}", it


def by_method(method: str, tiers: Collection[str]) -> str:
    """How the relevance was found, as the end of a sentence."""
    from heschl.figures.faithful import named

    said = named(method, tiers)
    taken = said.removesuffix(" taken out")
    return f"by taking out {taken}" if taken != said else f"by {said}"
