"""What the network relied on, for the page: clips with picture, sounds and their test, and what holds over many.

Everything comes from RUN/explain/*: `heschl explain` writes it, nothing is explained anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heschl.explanation.summary import LEAST, OUTSIDE
from heschl.figures.faithful import TIERS, named
from heschl.files import read_audio, read_csv, read_json
from heschl.report.disguise import Names
from heschl.report.methods import called
from heschl.report.pictures import seconds_of
from heschl.report.sounds import SECONDS, sound
from heschl.run import Run
from heschl.steps.explain_show import slug
from heschl.steps.explaining import Input, is_wave, picture_of
from heschl.steps.networks import Network, open_network
from heschl.steps.telling import telling
from heschl.types import Clip, HeschlError

FIFTH = 0.2  # of the picture taken out, in the sentence under it
MOST = 12  # clips with all their sounds on one page
REGIONS = 8  # rows of one kind in the summary
WAVES = 60.0  # seconds of sound on a page, beyond which it is embedded compressed
TAKEN = {  # curves of answer.json, as the page calls them
    "most relevant first": "the fifth that counted most",
    "at random": "a fifth at random",
    "loudest first": "the loudest fifth",
}
KINDS = {"phone": "Phones", "word": "Words", "band": "Bands of frequency"}


class Found(NamedTuple):
    """A folder of explanations and what its explain.json holds."""

    folder: Path
    held: Mapping[str, Any]


class _Page(NamedTuple):
    """What every clip's card is made with. sounds: the form they are embedded in, "" for none."""

    run: Run
    network: Network
    found: Found
    clips: Mapping[str, Clip]
    names: Names
    sounds: str


# where each command leaves what the page shows of it
_TOLD = {
    "explain": "explain/*/explain.json",
    "faithful": "explain/faithful/*/scores.json",
    "place": "place/*/summary.json",
    "align": "align/*/align.json",
    "decode": "decode/scores.json",
}


def explanations(run: Run) -> list[Found]:
    """All that was explained of these weights, what the page shows first: the network's own answers, and most clips."""
    found = _found(run)
    return sorted(
        (one for one in found if run.current(one.held)),
        key=lambda one: (one.held["target"] != "predicted", -one.held["clips"], str(one.folder)),
    )


def _found(run: Run) -> list[Found]:
    return [Found(path.parent, read_json(path)) for path in run.folder.glob(_TOLD["explain"])]


def outdated(run: Run) -> list[str]:
    """The commands that asked about other weights than the run has now: its training went on."""
    return [
        f"heschl {name}"
        for name, files in _TOLD.items()
        if not all(run.current(read_json(path)) for path in run.folder.glob(files))
    ]


def explained_facts(run: Run, scored: Path | None, names: Names, audio: bool = True) -> dict[str, Any] | None:
    """What the template's section of explanations asks for; None where nothing was explained."""
    found = explanations(run)
    if not found:
        return None
    first, *others = found
    groups = list(_groups(first, scored))
    seconds = sum(_seconds(first.folder / "clips" / slug(clip)) for _, clips in groups for clip in clips)
    form = ("WAV" if 4 * seconds <= WAVES else "MP3") if audio else ""
    page, made = _Page(run, open_network(run), first, _clips(run), names, form), []
    for k, (title, ids) in enumerate(groups):
        cards = [_card(page, clip, f"x{k}{place}") for place, clip in enumerate(ids)]
        made.append({"title": title, "clips": cards})
    return {
        "sentence": _sentence(first.held),
        "groups": made,
        "several": first.held["clips"] > 1,
        "ids": {clip for _, clips in groups for clip in clips},
        "over": _over(first.held),
        "summary": _summary(first.held),
        "summary_note": _sentence_of(first.held.get("summary_note", "")),
        "others": [_also(one) for one in others],
        "agreement": _agreement(run),
        "faithful": _faithful(run),
    }


# --- clips -------------------------------------------------------------------------------------------------


def _groups(found: Found, scored: Path | None) -> Iterator[tuple[str, list[str]]]:
    """The clips that tell most of those that are drawn; where none is known, some of those that are drawn."""
    drawn = [
        clip for clip in found.held["shown"] if (found.folder / "clips" / slug(clip) / "answer.json").exists()
    ]
    rows = read_csv(scored / "predictions.csv") if scored and (scored / "predictions.csv").exists() else []
    any_told = False
    if rows and "said" in rows[0] and scored and found.held.get("part") in (None, scored.name):
        for title, chosen in telling(rows, MOST // 3):
            ids = [row["id"] for row in chosen if row["id"] in drawn]
            if ids:
                any_told = True
                yield title, ids
    if not any_told and drawn:
        yield "" if len(drawn) == 1 else "Some recordings", drawn[: MOST // 2]


def _clips(run: Run) -> dict[str, Clip]:
    """The corpus' clips, for their phones and words; none where it has moved."""
    try:
        return dict(run.corpus().by_id)
    except HeschlError:
        return {}


def _seconds(folder: Path) -> float:
    import soundfile

    path = folder / "original.wav"
    return min(SECONDS, soundfile.info(str(path)).duration) if path.exists() else 0.0


def _card(page: _Page, clip: str, name: str) -> dict[str, Any]:
    folder = page.found.folder / "clips" / slug(clip)
    held, known = read_json(folder / "answer.json"), page.clips.get(clip)
    target, answered = held["target"], held["answered"]
    labels = known.labels if known else {}
    said = labels.get(str(page.run.recipe.task.args.get("label", "")))
    speaker = page.names.speaker(page.run.split.groups.get(clip) or labels.get("speaker", ""))
    title = f"“{said}”" if said else "A recording" if page.names.pseudonyms else clip
    if said and answered:
        title += ", understood" if said == answered else f", taken for “{answered}”"
    elif answered:
        title += f", heard as “{answered}”"
    sounds = [_sound(folder, one, target, page.sounds) for one in held["sounds"].values()]
    mute = held.get("mute", "")
    return {
        "title": title,
        "who": speaker,
        "of": f"“{target}”" if answered else "its answers",
        "figure": _figure(page, clip, folder, f"“{target}”" if answered else "its answers", name),
        "sounds": sounds,
        "cut": f"{SECONDS:g}" if any(one["cut"] for one in sounds) else "",
        "mute": "" if page.names.pseudonyms else mute,
        "faded": _faded(held),
        **_taken(held["curves"]),
    }


def _faded(held: Mapping[str, Any]) -> str:
    """The probability that the recording itself has, where it is not that of its sound as it is played."""
    played, whole = held["sounds"].get("original"), held["curves"].get("most relevant first")
    if not played or not whole or played["silent"]:
        return ""
    if round(100 * played["probability"]) == round(100 * whole[1][0]):  # as it is told
        return ""
    return f"{100 * whole[1][0]:.0f}\u202f%"


def _sound(folder: Path, one: Mapping[str, Any], target: str, form: str) -> dict[str, Any]:
    source, cut = "", False
    if form and not one["silent"] and (folder / one["file"]).exists():
        wave, rate = read_audio(folder / one["file"])
        cut = len(wave) > SECONDS * rate
        source = sound(wave[: round(SECONDS * rate)], rate, form)
    share = f"{100 * one['probability']:.0f}\u202f%"
    if one["silent"]:
        answer = "inaudible: what belongs here lies 35 dB or more under the sound"
    elif not one["answered"]:
        answer = f"{share} for what it answered to all of it"
    elif one["answered"] == target:
        answer = f"answer: “{target}”, {share}"
    else:
        answer = f"answer: “{one['answered']}”; “{target}” gets {share}"
    return {
        "label": one["words"][0].upper() + one["words"][1:],
        "source": source,
        "answer": answer,
        "cut": cut,
    }


def _taken(curves: Mapping[str, Any]) -> dict[str, Any]:
    """How much of the probability is left when a fifth of the picture is taken out, and whether that speaks for it."""
    left = {name: float(np.interp(FIFTH, *curves[name])) for name in TAKEN if curves.get(name)}
    if "most relevant first" not in left:
        return {"taken": [], "whole": "", "doubt": "", "beside": ""}
    whole = float(curves["most relevant first"][1][0])
    doubt = beside = ""
    if left["most relevant first"] >= left.get("at random", np.inf) - 0.02:
        doubt = (
            "Taking out what is marked here changes the answer no more than taking out as much at random: "
            "this picture does not show what the answer rests on."
        )
    elif left["most relevant first"] > left.get("loudest first", np.inf) + 0.02:
        beside = "The loudest fifth matters more: loudness alone says more of what the answer rests on."
    elif left["most relevant first"] >= left.get("loudest first", np.inf) - 0.02:
        beside = "The loudest fifth matters as much: this test cannot tell the two apart."
    rows = [{"name": TAKEN[name], "share": max(0.0, min(1.0, value))} for name, value in left.items()]
    return {"taken": rows, "whole": f"{100 * whole:.0f}\u202f%", "doubt": doubt, "beside": beside}


def _figure(page: _Page, clip: str, folder: Path, target: str, name: str) -> dict[str, Any]:
    """The clip's picture at two widths, out of relevance.h5."""
    import h5py
    import markupsafe
    import torch

    from heschl.figures.explanation import Seen, explanation_figure, on_mel
    from heschl.figures.style import PHONE, TEXT, inline

    wave, rate = read_audio(folder / "original.wav") if (folder / "original.wav").exists() else (None, 1.0)
    known = page.clips.get(clip) or Clip(clip, folder / "original.wav", 1, {})
    with h5py.File(page.found.folder / "relevance.h5", "r") as file:
        group = file[slug(clip)]
        x, relevance = (torch.from_numpy(group[key][()]) for key in ("x", "relevance"))
        silent = wave is not None and not wave.any()
        one = Input(known, x, float(group.attrs["rate"]), float(group.attrs["start"]), silent)
    seen = Seen(*picture_of(page.network, one, relevance), wave, rate, known.spans)
    seen = on_mel(seen) if is_wave(x) else seen
    alt = f"what speaks for {target} in the spectrogram, and what against"
    drawn: dict[str, Any] = {"time": {}}
    for key, width in (("wide", TEXT), ("phone", PHONE)):
        figure = explanation_figure(seen, width=width, target=target)
        drawn[key] = markupsafe.Markup(inline(figure, f"{name}{key[0]}", alt))
        drawn["time"][key] = seconds_of(figure)
    return drawn


def _sentence_of(text: str) -> str:
    return text and f"{text[0].upper()}{text[1:]}."


# --- over many clips ---------------------------------------------------------------------------------------


def _sentence(held: Mapping[str, Any]) -> str:
    what = {"predicted": "its own answer", "true": "what was said"}.get(held["target"], f"“{held['target']}”")
    speech = " of synthetic speech" if held.get("synthetic") else ""
    n = held["clips"]
    return (
        f"Each point of a picture has a share in {what}: warm where it spoke for it, cool where it spoke against it, grey where "
        f"it did not matter. {n:,} recording{'s' * (n != 1)}{speech} {'were' if n != 1 else 'was'} explained so, by "
        f"{called(held)}."
    )


def _over(held: Mapping[str, Any]) -> str:
    sounds = held.get("sounds") or {}
    if "positive" not in sounds or sounds["original"]["n"] == 1:
        return ""  # of one recording it stands beside its picture
    n = sounds["original"]["n"]
    share = {name: f"{100 * one['mean']:.0f}\u202f%" for name, one in sounds.items()}
    return (
        f"Hearing all of a recording, the network gives what is explained {share['original']}; hearing only what it relied on, "
        f"{share['positive']}; only the rest, {share['rest']}. That is a mean over {n} recordings, which were chosen: it is no "
        "estimate for others."
    )


def _summary(held: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Shares of relevance beside shares of the picture: every band, and the phones and words that stand out."""
    out = []
    for kind in ("band", "phone", "word"):
        rows = [row for row in held.get("summary", []) if row["kind"] == kind]
        if kind == "band":
            rows = sorted(rows, key=lambda row: float(re.findall(r"\d+", row["name"])[0]))
        elif held.get("speakers", 0) < LEAST:
            continue  # what stands out in a few speakers' clips is chance
        else:
            rows = sorted(rows, key=lambda row: -row["difference"])[:REGIONS]
        if rows:
            tested, known = (any(row[key] is not None for row in rows) for key in ("p_holm", "speakers"))
            named = [{**row, "name": row["name"].replace(OUTSIDE, "outside of all")} for row in rows]
            out.append(
                {
                    "title": KINDS[kind],
                    "some": kind != "band",
                    "tested": tested,
                    "known": known,
                    "rows": named,
                }
            )
    return out


def _also(one: Found) -> str:
    what = {"predicted": "its own answers", "true": "what was said"}.get(
        one.held["target"], f"“{one.held['target']}”"
    )
    n = one.held["clips"]
    return f"{called(one.held)}, {n:,} recording{'s' * (n != 1)}, {what}"


def _agreement(run: Run) -> list[dict[str, Any]]:
    found = map(read_json, sorted((run.folder / "explain").glob("compare-*/compare.json")))
    held: dict[str, Any] = next((one for one in found if run.current(one)), {})
    tiers = held.get("tiers", TIERS)
    return [
        {**row, "method": named(row["method"], tiers), "other": named(row["other"], tiers)}
        for row in held.get("agreement", [])
        if row.get("top_overlap") is not None
    ]


def _faithful(run: Run) -> dict[str, Any] | None:
    """How true the methods are over speakers, as `heschl faithful` measured it."""
    paths = [one for one in sorted(run.folder.glob(_TOLD["faithful"])) if run.current(read_json(one))]
    path = next((one for one in paths if one.parent.name == "test"), paths[0] if paths else None)
    if path is None:
        return None
    held = read_json(path)
    cells = "time_frequency" if any(row["cells"] == "time_frequency" for row in held["rows"]) else "time"
    tiers = () if any(row["cells"] == "stretches" for row in held["rows"]) else TIERS
    rows = [
        {"method": named(row["method"], tiers), **{key: _signed(row[key]) for key in ("deletion_over_random", "deletion_over_energy")}}
        for row in held["rows"]
        if row["cells"] == cells and not row.get("control") and "deletion_over_random" in row
    ]  # fmt: skip
    return {
        "rows": rows,
        "clips": held["clips"],
        "speakers": held.get("speakers"),
        "group": held.get("group", "speaker"),
        "cells": "moments" if cells == "time" else "cells of the picture",
        "synthetic": held.get("synthetic", False),
    }


def _signed(score: Mapping[str, Any]) -> str:
    low, high = score["low"], score["high"]
    text = points(score["value"])
    return text if low is None else f"{text} [{points(low)}, {points(high)}]"


def points(share: float) -> str:
    """A difference in percentage points with its sign, finer where it would round to nothing: "+5", "−0.3", "0"."""
    text = f"{100 * share:+.0f}"
    text = f"{100 * share:+.1f}" if float(text) == 0 else text
    return "0" if float(text) == 0 else text.replace("-", "−")
