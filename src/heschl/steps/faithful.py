"""Are the explanations of a run true? Deletion and insertion curves of several methods beside random and loudest first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from heschl.explanation.cells import fill, is_wave, look
from heschl.explanation.faithful import Curve, deletion_curve
from heschl.explanation.trust import (
    entropy,
    gini,
    localisation,
    randomised,
    rank_correlation,
    top_overlap,
)
from heschl.features.waveform import Waveform
from heschl.files import write_json
from heschl.run import Run, open_run
from heschl.steps.faithful_files import CONTROLS, Found, summed, write
from heschl.steps.inputs import TOGETHER, Inputs, chosen, each_clip, explained, inputs
from heschl.steps.methods import COMPARED, Method, fitting, method_of, relevance_of
from heschl.steps.networks import Network, Progress, open_network
from heschl.types import HeschlError, Skipped

CELLS = ("time", "frequency", "time_frequency", "segments")
RANDOMISED = 8  # clips whose explanations are compared with those of networks that know nothing
DRAWS = 3  # random orders
# what says nothing of these cells: all of them would be equal
BLIND = {
    ("occlusion_time", "frequency"),
    ("aligned:phone", "frequency"),
    ("occlusion_frequency", "time"),
    ("occlusion_frequency", "segments"),
    ("occlusion_frequency", "stretches"),
}
STEP = 0.01  # seconds of a wave that are taken out at once; its STFT's window is twice as long


class Asked(NamedTuple):
    """Some clips as their network takes them, and what is to be explained of them.

    rate: steps of x a second. hidden: the shape of x, what stands in the place of what is taken out.
    segments: (batch, time), for aligned methods.
    """

    model: nn.Module
    x: Tensor
    target: Tensor
    lengths: Tensor | None
    rate: float
    hidden: Tensor
    segments: Tensor

    def by(self, method: Method) -> Tensor:
        if method.aligned and not bool((self.segments.amax(1) >= 1).all()):
            raise HeschlError("a clip has neither two phones nor two stretches of sound to take out")
        return relevance_of(
            self.model, method, self.x, self.target, self.rate, self.lengths, self.hidden, self.segments
        )


def faithful(
    run: Run | Path | str,
    part: str = "test",
    clips: int | None = 40,
    methods: Sequence[str] = COMPARED,
    cells: Sequence[str] = CELLS,
    target: str = "predicted",
    baseline: str = "auto",
    points: int = 11,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Takes the network's input apart, most important cells first, and writes RUN/explain/faithful/PART/.

    Written are scores.json, methods.csv (a row for each method and kind of cells), clips.csv (a row a clip as well),
    curves.csv (means over clips), agreement.csv (methods with each other), faithful.svg and faithful.png, and
    skipped.csv.

    Parameters
    ----------
    part: "train", "validation" or "test". clips: at most so many, by turns from every speaker; None for all.
    methods: as `heschl.steps.methods.method_of` takes them; "aligned" takes out phones, or where they are not known,
        stretches of sound and pauses. cells: kinds of cells; "segments" are those of "aligned".
    target: the class that is explained, "predicted" or "true".
    baseline: what stands in the place of what is taken out: "mean", "silence", "noise" or "zero"; "auto" is zero for
        waves and each row's mean over the clip for spectrograms.
    points: of each curve. seed: of chosen clips, random orders and random weights.
    progress: told how many clips are done, of how many.

    Returns
    -------
    what scores.json holds.

    Raises
    ------
    HeschlError: nothing to explain, or an unknown name.
    """
    run = open_run(run)
    if target not in ("predicted", "true"):
        raise HeschlError(f"target is {target!r}: choose predicted or true")
    given = [method_of(one, folder=run._parts, trusted_only=run._trusted_only) for one in methods]
    ways = list({way.name: way for way in given}.values())
    for way in ways:
        if way.aligned and way.settings["kind"] != "phone":
            raise HeschlError(
                f"{way.name} is not tested here, whose segments are phones: name aligned instead"
            )
    for name in cells:
        if name not in CELLS:
            raise HeschlError(f"there are no cells '{name}': choose among {', '.join(CELLS)}")
    weights = run.weights_id
    network, skipped = open_network(run), list[Skipped]()
    picked, groups, by = chosen(run, part, clips, seed)
    model = explained(network)
    folder = run.folder / "explain" / "faithful" / part
    found = Found()
    refused: dict[str, str] = {}
    left, done = RANDOMISED, 0
    kind = baseline
    for batch in inputs(network, run.task(), picked, skipped, _together(network)):
        aim = batch.answered if target == "predicted" else batch.said
        kind = ("zero" if is_wave(batch.x) else "mean") if baseline == "auto" else baseline
        rate = float(network.feature.rate)  # type: ignore[arg-type]
        hidden = fill(look(batch.x, lengths=batch.lengths), kind, lengths=batch.lengths)
        asked = Asked(model, batch.x, aim, batch.lengths, rate, hidden, _known_segments(batch))
        relevance = {}
        for way in fitting(ways, batch.x):
            if way.name in refused:
                continue
            try:
                relevance[way.name] = asked.by(way)
            except HeschlError as error:
                refused[way.name] = str(error)
                found.forget(way.name)  # left out of some clips, it could not stand beside the others
        if not relevance:
            first = next(iter(refused.items()), ("no method", "none fits this network"))
            raise HeschlError(f"nothing could be explained: {first[0]} says that {first[1]}")
        _curves(found, batch, asked, relevance, cells, kind, points, seed)
        _trust(found, batch, asked, relevance, {way.name: way for way in ways}, left, seed)
        left = max(0, left - len(batch.clips))
        done += len(batch.clips)
        if progress:
            progress(done, len(picked))
    if not found.ids:
        raise HeschlError(f"no clip could be heard; the first was skipped because {skipped[0].why}")
    held = {
        "run": run.name,
        "weights": weights,
        "part": part,
        "corpus": run.origin["corpus"].get("name", ""),
        "synthetic": bool(run.origin["corpus"].get("synthetic", False)),
        "clips": len(found.ids),
        "speakers": None if groups is None else len({groups[one] for one in found.ids}),
        "group": by,
        "classes": len(run.labels),
        "chance": 1 / len(run.labels),
        "explained": target,
        "baseline": kind,
        "points": points,
        "seed": seed,
        "refused": refused,
        "skipped": len(skipped),
        **summed(found, groups),
    }
    write(folder, held, found, groups, skipped)
    held["folder"] = str(folder)
    write_json(folder / "scores.json", held)
    return held


def _together(network: Network) -> int:
    """How many clips at once: one where waves of several lengths are heard, which have no frequencies in common."""
    any_length = network.seconds is None or network.frames
    return 1 if any_length and isinstance(network.feature, Waveform) else TOGETHER


def _known_segments(batch: Inputs) -> Tensor:
    """The number of the phone of each step, or of the stretch of sound where a clip's phones are not known."""
    phones, stretches = batch.segments(), batch.stretches()
    return torch.where((phones.amax(1) >= 1)[:, None], phones, stretches)


def _curves(
    found: Found,
    batch: Inputs,
    asked: Asked,
    relevance: dict[str, Tensor],
    cells: Sequence[str],
    baseline: str,
    points: int,
    seed: int,
) -> None:
    found.ids += [clip.id for clip in batch.clips]
    wave = is_wave(asked.x)
    for name, rows, asked_cells in _kinds(batch, cells):
        options: dict[str, Any] = {
            "cells": asked_cells,
            "baseline": _of(baseline, wave, name),
            "fractions": points,
            "score": "probability",
            "width": max(1, round(STEP * asked.rate)) if wave and name == "time" else 1,
            "window": max(16, 2 * round(STEP * asked.rate)) if wave else 256,
            "seed": seed,
            "draws": DRAWS,
            "lengths": None if asked.lengths is None else asked.lengths[rows],
        }
        plain = name in ("time", "segments", "stretches") or not wave
        orders: dict[str, tuple[str, Tensor | None]] = {
            key: ("relevance", own) for key, own in relevance.items() if not _blind(key, name, wave)
        }
        orders |= {control: (control, None) for control in CONTROLS}
        for key, (order, own) in orders.items():
            energy = batch.energy[rows].square() if wave else batch.energy[rows]
            both = [
                _curve(
                    asked.model,
                    asked.x[rows],
                    asked.target[rows],
                    own,
                    rows,
                    order,
                    insert,
                    energy if plain else None,
                    options,
                )
                for insert in (False, True)
            ]
            found.fractions = both[0].fractions.tolist()
            found.curves[name, key] += list(torch.stack([one.scores for one in both], 1).double().numpy())
            found.which[name, key] += [batch.clips[k].id for k in rows.tolist()]


def _kinds(batch: Inputs, cells: Sequence[str]) -> list[tuple[str, Tensor, Any]]:
    """What is taken out of which clips: "segments" are phones where they are known, else stretches found by energy."""
    whole = torch.arange(len(batch.x))
    kinds: list[tuple[str, Tensor, Any]] = [(name, whole, name) for name in cells if name != "segments"]
    if "segments" in cells:
        phones, stretches = batch.segments(), batch.stretches()
        known = phones.amax(1) >= 1  # two segments are the least that has an order
        for name, numbers, there in (
            ("segments", phones, known),
            ("stretches", stretches, ~known & (stretches.amax(1) >= 1)),
        ):
            if bool(there.any()):
                kinds.append((name, whole[there], numbers[there]))
    return kinds


def _blind(method: str, cells: str, wave: bool) -> bool:
    """What hides moments of a wave says nothing of its frequencies: it is no share of each sample."""
    hides = method.startswith(("occlusion", "aligned")) and wave and cells in ("frequency", "time_frequency")
    return hides or (method, cells) in BLIND


def _of(baseline: str, wave: bool, cells: str) -> str:
    """A wave has no rows to take the mean of, but in its STFT."""
    return "zero" if baseline == "mean" and wave and cells != "time_frequency" else baseline


def _curve(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    relevance: Tensor | None,
    rows: Tensor,
    order: str,
    insert: bool,
    energy: Tensor | None,
    options: dict[str, Any],
) -> Curve:
    own = None if relevance is None else relevance[rows]
    return deletion_curve(model, x, target, own, order=order, energy=energy, insert=insert, **options)  # type: ignore[arg-type]


def _trust(
    found: Found,
    batch: Inputs,
    asked: Asked,
    relevance: dict[str, Tensor],
    ways: dict[str, Method],
    random_clips: int,
    seed: int,
) -> None:
    inside = batch.spoken()
    said = bool(inside.any()) and not bool(inside.all())
    valid = torch.ones(inside.shape, dtype=torch.bool)
    if asked.lengths is not None:
        valid = torch.arange(inside.shape[1]) < asked.lengths[:, None]
    for key, own in relevance.items():
        found.trust[key, "sparseness"] += each_clip(gini, asked.lengths, own)
        found.trust[key, "complexity"] += each_clip(_complexity, asked.lengths, own)
        if said:
            where = localisation(own, inside, valid)
            found.trust[key, "in_phones"] += where.mass.tolist()
            found.trust[key, "area_of_phones"] += where.area.tolist()
    for one, other in itertools.combinations(relevance, 2):
        for name, measure in (("rank_correlation", rank_correlation), ("top_overlap", top_overlap)):
            found.pairs[one, other, name] += each_clip(
                measure, asked.lengths, relevance[one], relevance[other]
            )
    if random_clips > 0:
        n = min(random_clips, len(asked.x))
        few = asked._replace(
            x=asked.x[:n],
            target=asked.target[:n],
            lengths=None if asked.lengths is None else asked.lengths[:n],
            hidden=asked.hidden[:n],
            segments=asked.segments[:n],
        )
        *_, (_, blank) = randomised(few.model, few.x, few.lengths, seed=seed)
        for key, own in relevance.items():
            blind = few._replace(model=blank).by(ways[key])
            found.random_layers[key] += each_clip(rank_correlation, few.lengths, own[:n], blind)


def _complexity(relevance: Tensor) -> Tensor:
    """Entropy as a share of the most that there could be."""
    most = float(np.log(relevance[0].numel()))
    return entropy(relevance) / most
