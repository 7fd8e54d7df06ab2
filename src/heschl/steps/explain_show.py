"""One explained clip, drawn and heard; many of them at a glance; one clip by several methods."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h5py
import numpy as np
import torch
from torch import Tensor

from heschl.explanation.faithful import deletion_curve
from heschl.explanation.summary import regions
from heschl.explanation.trust import rank_correlation, top_overlap
from heschl.files import read_json, write_csv, write_json, write_wav
from heschl.run import Run
from heschl.steps.explaining import Input, Picture, is_wave, picture_of, read_input, sounds_of
from heschl.steps.inputs import explained
from heschl.steps.networks import Network, open_network, read_wave
from heschl.types import HeschlError

POINTS = 11  # of a curve
DRAWS = 3  # random orders
MONTAGE = 36  # pictures of a montage
COMPARISON = "compare"
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
    curves = _curves(network, one, relevance, aim, int(request["seed"]))
    hidden = _draw(folder, network, one, row, seen, curves, shares)
    held = {
        "clip": one.clip.id,
        **{key: row[key] for key in ("target", "answered", "probability", "method")},
        "sounds": sounds,
        "mute": mute,
        "curves": {name: [list(map(float, axis)) for axis in curve] for name, curve in curves.items()},
        "not_drawn": hidden,
    }
    write_json(folder / "answer.json", held)


def _curves(
    network: Network, one: Input, relevance: Tensor, aim: Tensor, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Probability of what is explained while cells of the picture are taken out: in the clip, not in its padding."""
    out, wave = {}, is_wave(one.x)
    for name, order in CURVES.items():
        curve = deletion_curve(
            explained(network),
            one.x[None],
            aim[None],
            relevance[None],
            "time_frequency",
            order,  # type: ignore[arg-type]
            "zero" if wave else "mean",
            POINTS,
            score="probability",
            seed=seed,
            draws=DRAWS,
        )
        out[name] = (curve.fractions.numpy(), curve.scores[0].double().numpy())
    return out


def _draw(
    folder: Path,
    network: Network,
    one: Input,
    row: Mapping[str, Any],
    seen: Picture,
    curves: Mapping[str, Any],
    shares: Mapping[str, float | None],
) -> float:
    from heschl.figures.explanation import Seen, explanation_figure, hidden_share, save_all
    from heschl.figures.style import TEXT, WIDE

    drawn = Seen(*seen, *_wave(network, one), spans=one.clip.spans)
    title, target = _words(row)
    for name, width in (("figure", WIDE), ("figure-column", TEXT)):
        figure = explanation_figure(
            drawn, title=title, curves=curves, sounds=shares, width=width, target=target
        )
        save_all(figure, folder / name)
    return hidden_share(drawn)


def _wave(network: Network, one: Input) -> tuple[np.ndarray | None, float]:
    if one.clip.form == "frames":
        return None, 1.0
    return read_wave(one.clip, network.sample_rate), network.sample_rate


def _words(row: Mapping[str, Any]) -> tuple[str, str]:
    """The title of a clip's figure, and what is explained, in words."""
    target, answered, share = row["target"], row["answered"], 100 * row["probability"]
    if not answered:
        if target == "predicted":
            return "What the network’s answers rest on, moment by moment", "its answers"
        if target == "true":
            return "What speaks for what was said, moment by moment", "what was said"
        return f"What speaks for “{target}”, moment by moment", f"“{target}”"
    heard, it = f"The network hears “{answered}” ({100 * row['answered_probability']:.0f} %)", f"“{target}”"
    wrong = row.get("said", answered) not in ("", answered)
    heard += f"; it was “{row['said']}”" if wrong else ""
    spoke = f"{it} ({share:.0f} %)" if target != answered else it if wrong else "it"
    return f"{heard}: what spoke for {spoke}, and what against", it


# --- many at a glance --------------------------------------------------------------------------------------


def stored_picture(file: h5py.File, network: Network, one: Input) -> Picture:
    """The picture of a clip out of relevance.h5."""
    group = file[slug(one.clip.id)]
    kept = one._replace(x=torch.from_numpy(group["x"][()]))
    return picture_of(network, kept, torch.from_numpy(group["relevance"][()]))


def draw_montage(run: Run, folder: Path, rows: Sequence[Mapping[str, Any]], method: str) -> None:
    """The clip of each class of which the network is surest, where there are two or more; of networks over frames, some
    clips."""
    from heschl.figures.explanation import Seen, save_all
    from heschl.figures.montage import montage
    from heschl.figures.style import TEXT, WIDE

    network = open_network(run)
    best: dict[str, Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (-row["probability"], row["clip"])):
        best.setdefault(row["clip"] if network.frames else row["target"], row)
    names = sorted(best, key=lambda name: run.labels.index(name) if name in run.labels else -1)
    every = len(names)
    if every < 2:  # its one picture is the clip's own
        for old in folder.glob("montage*"):
            old.unlink()
        return
    chosen = {name: best[name] for name in names[: MONTAGE if not network.frames else 12]}
    pictures = {}
    found = _clips(run, [str(row["clip"]) for row in chosen.values()], rows)
    with h5py.File(folder / "relevance.h5", "r") as file:
        for name, row in chosen.items():
            one = read_input(network, found[str(row["clip"])])
            wrong = row.get("said", name) not in ("", name)  # a class may be known by mistakes alone
            pictures[f"{name}, was {row['said']}" if wrong else name] = Seen(
                *stored_picture(file, network, one), *_wave(network, one), spans=one.clip.spans
            )
    what, asked = ("recording", "answers") if network.frames else ("class", "answer")
    some = f"{len(pictures)} of {every}" if every > len(pictures) else f"{every}"
    title = f"What speaks for the {asked} (orange), and what against (blue), in {some} {what}{'es' if what == 'class' else 's'}"
    for name, width in (("montage", WIDE), ("montage-column", TEXT)):
        save_all(montage(pictures, title, width), folder / name)


def _clips(run: Run, ids: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The clips themselves: those that were handed on with the rows, or the corpus'."""
    given = {str(row["clip"]): row["_clip"] for row in rows if "_clip" in row}
    if all(one in given for one in ids):
        return given
    return dict(run.corpus().by_id) | given


def draw_comparison(run: Run, held: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """Methods side by side: a picture of each clip that all of them show, and how far they agree."""
    from heschl.figures.explanation import Seen, save_all
    from heschl.figures.faithful import named
    from heschl.figures.montage import compared
    from heschl.figures.style import TEXT, WIDE

    network = open_network(run)
    files = {name: h5py.File(Path(one["folder"]) / "relevance.h5", "r") for name, one in held.items()}
    first = next(iter(held.values()))
    try:
        ids = [clip for clip in first["explained"] if all(slug(clip) in file for file in files.values())]
        rows = []
        for one, other in itertools.combinations(files, 2):
            values = [
                [torch.from_numpy(files[name][slug(clip)]["relevance"][()])[None] for name in (one, other)]
                for clip in ids
            ]
            rows.append(
                {
                    "method": one,
                    "other": other,
                    "clips": len(values),
                    "rank_correlation": _mean([float(rank_correlation(a, b)) for a, b in values]),
                    "top_overlap": _mean([float(top_overlap(a, b)) for a, b in values]),
                    "chance_overlap": 0.1,
                }
            )
        write_csv(folder / "agreement.csv", rows, list(rows[0]))
        clips = _clips(run, first["shown"], first["_rows"])
        said = {row["clip"]: row.get("said", "") for row in first["_rows"]}
        for clip in first["shown"]:
            if clip not in ids:
                continue
            one_input = read_input(network, clips[clip])
            pictures, notes = {}, {}
            for name, file in files.items():
                seen, label = (
                    stored_picture(file, network, one_input),
                    named(name, {span.tier for span in clips[clip].spans}),
                )
                pictures[label] = Seen(*seen, *_wave(network, one_input), spans=clips[clip].spans)
                home = Path(held[name]["folder"])
                notes[label] = _note(home / "clips" / slug(clip) / "answer.json")
            target = files[name][slug(clip)].attrs["target"]
            of = f" of “{said[clip]}”" if said[clip] not in ("", target) else ""
            title = f"What speaks for {_asked(target, network.frames)} (orange), and what against (blue): "
            title += f"{len(pictures)} methods on one recording{of}"
            for file_name, width in (("", WIDE), ("-column", TEXT)):
                save_all(compared(pictures, notes, title, width), folder / f"{slug(clip)}{file_name}")
    finally:
        for file in files.values():
            file.close()
    result = {"folder": str(folder), "clips": len(ids), "agreement": rows, "methods": list(held)}
    result["tiers"] = first["tiers"]
    write_json(folder / "compare.json", result)
    return result


def _asked(target: str, frames: bool) -> str:
    """What is explained, in words; of a network over frames no one answer."""
    every = {
        "predicted": "the network’s answers, moment by moment",
        "true": "what was said, moment by moment",
    }
    return every.get(target, f"“{target}”") if frames else f"“{target}”"


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _note(path: Path) -> str:
    """How much of the probability the most relevant fifth takes with it, beside as much at random."""
    if not path.exists():
        return ""
    curves = read_json(path)["curves"]

    def left(name: str) -> float:
        shares, scores = curves[name]
        return float(np.interp(0.2, shares, scores))

    return (
        f"probability {100 * curves['at random'][1][0]:.0f} %, without the strongest fifth "
        f"{100 * left('most relevant first'):.0f} %, without a random one {100 * left('at random'):.0f} %"
    )
