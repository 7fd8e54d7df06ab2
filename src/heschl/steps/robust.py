"""How do a network's accuracy and its explanations hold in noise, rooms, narrow bands and at other levels?"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from heschl.explanation.disturb import band_limited, louder, noise_like, with_noise
from heschl.explanation.manipulate import right
from heschl.explanation.room import impulse_response, reverberated, reverberation_time
from heschl.explanation.target import NO_LABEL
from heschl.explanation.trust import rank_correlation
from heschl.features.stored import Stored
from heschl.files import write_csv, write_json
from heschl.run import Run, open_run
from heschl.steps.inputs import Inputs, chosen, each_clip, explained, heard, inputs
from heschl.steps.methods import Method, method_of, relevance_of
from heschl.steps.networks import Progress, open_network
from heschl.tasks.intervals import mean_over
from heschl.types import HeschlError, Skipped

SNRS = (20.0, 10.0, 5.0, 0.0, -5.0)
ROOMS = (0.15, 0.3, 0.5)  # seconds asked for; the one that the room has stands in the results
LOW_PASS, HIGH_PASS = (4000.0, 2000.0, 1000.0, 500.0), (300.0, 600.0, 1000.0)
LEVELS = (-40.0, -20.0, 10.0, 20.0)
BABBLE = 4  # voices that talk at once


class Disturbance(NamedTuple):
    """kind: "noise", "room", "band", "level". name: the line that it belongs to. size: where on the line.

    change: (wave (1, time), which of the chosen clips it is) -> wave.
    """

    kind: str
    name: str
    size: float
    words: str
    change: Callable[[Tensor, int], Tensor]


def robust(
    run: Run | Path | str,
    part: str = "test",
    clips: int | None = 60,
    method: str = "lrp:epsilon_plus",
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Disturbs clips in known ways and writes RUN/explain/robust/PART/: scores.json, conditions.csv, robust.svg and
    robust.png, skipped.csv.

    The stability of an explanation is Spearman's correlation of its values with those in quiet, both of the answer in
    quiet; 1 is the same order of values, 0 none.

    Parameters
    ----------
    method: as `heschl.steps.methods.method_of` takes it; where it refuses the network, gradient x input.
    The others are those of `heschl.steps.faithful.faithful`.

    Raises
    ------
    HeschlError: a run of stored frames instead of sound, or nothing to hear.
    """
    run = open_run(run)
    way = method_of(method, folder=run._parts, trusted_only=run._trusted_only)
    weights = run.weights_id
    network, skipped = open_network(run), list[Skipped]()
    if isinstance(network.feature, Stored):
        raise HeschlError(f"{run} hears stored frames: they cannot be disturbed without their sound")
    picked, groups, by = chosen(run, part, clips, seed)
    batches = list(inputs(network, run.task(), picked, skipped))
    if not batches:
        raise HeschlError(f"no clip could be heard; the first was skipped because {skipped[0].why}")
    speakers = [groups[clip.id] if groups else clip.id for batch in batches for clip in batch.clips]
    plans = disturbances(network.sample_rate, _Voices(batches, speakers, seed), seed)
    model, rate = explained(network), float(network.feature.rate)  # type: ignore[arg-type]
    hits: list[list[float]] = [[] for _ in range(len(plans) + 1)]
    alike: list[list[float]] = [[] for _ in range(len(plans) + 1)]
    quiets, way, refused = _in_quiet(model, way, batches, rate)
    done = 0
    for batch, quiet in zip(batches, quiets, strict=True):
        own = list(range(done, done + len(batch.clips)))
        hits[0] += _right(model, batch, batch.x)
        alike[0] += [1.0] * len(own)
        for k, plan in enumerate(plans, 1):
            x, _ = heard(network.feature, disturbed(plan, batch, own), batch.samples)
            hits[k] += _right(model, batch, x)
            other = relevance_of(model, way, x, batch.answered, rate, batch.lengths)
            alike[k] += each_clip(rank_correlation, batch.lengths, quiet, other)
        done += len(own)
        if progress:
            progress(done, len(picked))
    whose = None if groups is None else speakers
    quiet_row = {"kind": "quiet", "name": "quiet", "size": None, "words": "as recorded"}
    rows = [quiet_row, *({**plan._asdict()} for plan in plans)]
    for row, right_ones, stable in zip(rows, hits, alike, strict=True):
        row.pop("change", None)
        row["accuracy"] = mean_over(right_ones, whose, ends=(0.0, 1.0))
        row["stability"] = mean_over(stable, whose, ends=(-1.0, 1.0))
    folder = run.folder / "explain" / "robust" / part
    held: dict[str, Any] = {
        "run": run.name,
        "weights": weights,
        "part": part,
        "corpus": run.origin["corpus"].get("name", ""),
        "synthetic": bool(run.origin["corpus"].get("synthetic", False)),
        "clips": done,
        "speakers": None if groups is None else len(set(speakers)),
        "group": by,
        "classes": len(run.labels),
        "chance": 1 / len(run.labels),
        "method": way.name,
        "refused": refused,
        "kind": "frames" if network.frames else "clips",
        "seed": seed,
        "skipped": len(skipped),
        "rows": rows,
    }
    _write(folder, held, skipped)
    held["folder"] = str(folder)
    write_json(folder / "scores.json", held)
    return held


def _in_quiet(
    model: Any, way: Method, batches: Sequence[Inputs], rate: float
) -> tuple[list[Tensor], Method, str]:
    """The explanations of the clips as they are, by one method for all: the one that is asked for, or gradient x input
    where it refuses one of them, with what it says."""

    def by(method: Method) -> list[Tensor]:
        return [relevance_of(model, method, one.x, one.answered, rate, one.lengths) for one in batches]

    try:
        return by(way), way, ""
    except HeschlError as error:
        other = method_of("gradient_x_input")
        return by(other), other, f"{way.name} was left out: {error}"


def _right(model: Any, batch: Inputs, x: Tensor) -> list[float]:
    known = batch.said != NO_LABEL
    found: list[float] = right(model, x, batch.said, batch.lengths).tolist()
    if batch.said.ndim == 1:
        return found
    return [value if bool(own.any()) else float("nan") for value, own in zip(found, known, strict=True)]


def disturbed(plan: Disturbance, batch: Inputs, which: Sequence[int]) -> Tensor:
    """The batch's waves (batch, time), each changed over its own samples: the zeros that make a clip long enough stay
    zeros, and a level is that of the clip, not of the clip and zeros."""
    out = torch.zeros_like(batch.waves)
    for row, wave, (first, end), k in zip(out, batch.waves, batch.own, which, strict=True):
        row[first:end] = plan.change(wave[None, first:end], k)[0]
    return out


class _Voices:
    """The chosen clips' waves, for babble: other speakers that talk at once, the same for a clip in every batch."""

    def __init__(self, batches: Sequence[Inputs], speakers: Sequence[str], seed: int) -> None:
        self.waves: list[Tensor] = []
        self.ids = [clip.id for batch in batches for clip in batch.clips]
        self.speakers, self.seed = list(speakers), seed
        for batch in batches:
            self.waves += [wave[slice(*own)] for wave, own in zip(batch.waves, batch.own, strict=True)]

    @property
    def enough(self) -> bool:
        return len(set(self.speakers)) > BABBLE

    def babble(self, like: Tensor, k: int) -> Tensor:
        """For the k-th clip, the shape of ``like`` (..., time)."""
        out, length = torch.zeros_like(like), like.shape[-1]
        random = np.random.default_rng([self.seed, zlib.crc32(self.ids[k].encode())])
        others = [n for n, speaker in enumerate(self.speakers) if speaker != self.speakers[k]]
        for n in random.choice(others, BABBLE, replace=False):
            voice = self.waves[int(n)]
            level = voice.square().mean().sqrt()
            times = -(-length // len(voice))
            out += voice.repeat(times)[:length] / (level if level > 0 else 1.0)
        return out


def disturbances(rate: float, voices: _Voices, seed: int = 0) -> list[Disturbance]:
    """All that is done to clips at a rate in Hz; babble only where enough speakers were chosen."""
    plans = []
    kinds = ["white", "pink", "speech", *(["babble"] if voices.enough else [])]
    said = {"speech": "noise shaped like the clip", "babble": f"{BABBLE} other voices"}
    for kind in kinds:
        for snr in SNRS:

            def noisy(wave: Tensor, k: int, kind: Any = kind, snr: float = snr) -> Tensor:
                noise = voices.babble(wave, k) if kind == "babble" else noise_like(wave, kind, seed)
                return with_noise(wave, noise, snr)

            plans.append(
                Disturbance("noise", kind, snr, f"{said.get(kind, kind + ' noise')}, {snr:g} dB", noisy)
            )
    for asked in ROOMS:
        response = impulse_response(round(rate), t60=asked)
        t60 = reverberation_time(response, round(rate))

        def in_room(wave: Tensor, k: int, response: Tensor = response) -> Tensor:
            return reverberated(wave, response)

        plans.append(Disturbance("room", "room", round(t60, 3), f"a room that rings {t60:.2g} s", in_room))
    bands = [("lowpass", 0.0, top) for top in LOW_PASS if top < rate / 2]
    bands += [("highpass", low, rate / 2) for low in HIGH_PASS]
    for name, low, high in bands:

        def narrow(wave: Tensor, k: int, low: float = low, high: float = high) -> Tensor:
            return band_limited(wave, rate, low, high)

        edge = high if name == "lowpass" else low
        word = "below" if name == "lowpass" else "above"
        plans.append(Disturbance("band", name, edge, f"only {word} {edge:g} Hz", narrow))
    for decibels in LEVELS:

        def at_level(wave: Tensor, k: int, decibels: float = decibels) -> Tensor:
            return louder(wave, decibels)

        plans.append(Disturbance("level", "level", decibels, f"level {decibels:+g} dB", at_level))
    return plans


def _write(folder: Path, held: dict[str, Any], skipped: Sequence[Skipped]) -> None:
    from heschl.figures.robust import robust_figure
    from heschl.figures.style import save

    ends = ["value", "low", "high", "n", "n_groups"]
    columns = [
        "kind",
        "name",
        "size",
        "words",
        *(f"{what}_{end}" for what in ("accuracy", "stability") for end in ends),
    ]
    rows = [
        {
            **{key: row[key] for key in columns[:4]},
            **{f"{what}_{end}": row[what].get(end) for what in ("accuracy", "stability") for end in ends},
        }
        for row in held["rows"]
    ]
    write_csv(folder / "conditions.csv", rows, columns)
    write_csv(folder / "skipped.csv", [item._asdict() for item in skipped], ["where", "why"])
    save(robust_figure(held), folder / "robust")
