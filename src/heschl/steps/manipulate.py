"""AudioMNIST's experiments on runs: samples zeroed by chance, amplitude and relevance; the frequency axis scaled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from heschl.explanation.cells import is_wave
from heschl.explanation.gradient import gradient_x_input
from heschl.explanation.lrp import lrp
from heschl.explanation.manipulate import (
    FEMALE_DOWN,
    MALE_UP,
    By,
    right,
    scale_frequency,
    scale_wave,
    zeroing_curve,
)
from heschl.features.stored import Stored
from heschl.files import write_csv, write_json
from heschl.run import Run, open_run
from heschl.steps.inputs import Hearing, Inputs, chosen, explained, inputs
from heschl.steps.networks import Network, Progress, open_network
from heschl.tasks.intervals import mean_over
from heschl.tasks.scores import mean_and_sd
from heschl.types import Clip, HeschlError, Skipped

FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
WAYS: tuple[By, ...] = ("random", "amplitude", "relevance")
DRAWS = 3
LRP = "LRP"


def manipulate(
    runs: Sequence[Run | Path | str] | Run | Path | str,
    part: str = "test",
    clips: int | None = 200,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Zeroes samples and, where a network tells the sexes of voices apart, scales frequencies; writes into the first
    run: RUN/explain/manipulate/PART/ with scores.json, zeroing.csv, scaling.csv, manipulate.svg and manipulate.png.

    Samples are those of the wave: of the network's input where it hears waves, else of the sound before its feature.
    Relevance is LRP's (epsilon_plus) of the network's own answer, or gradient x input where LRP has no rule for the
    feature; ``relevance_by`` says which.

    Parameters
    ----------
    runs: one run, with intervals over speakers; or several folds of one recipe, with mean and standard deviation.
    part, clips, seed, progress: as in `heschl.steps.faithful.faithful`, for each run.
    fractions: of the samples that are not zero already.

    Raises
    ------
    HeschlError: runs of different classes, or of stored frames instead of sound.
    """
    opened = [open_run(one) for one in ([runs] if isinstance(runs, Run | Path | str) else runs)]
    if not opened:
        raise HeschlError("no run is named: give the folder that `heschl train` named")
    for one in opened[1:]:
        if one.labels != opened[0].labels:
            raise HeschlError(
                f"{one.folder} knows other classes than {opened[0].folder}: name folds of one recipe"
            )
    picked = [chosen(one, part, clips, seed) for one in opened]
    of, before = sum(len(p[0]) for p in picked), 0
    found, skipped = [], list[Skipped]()
    for run, (own, groups, _) in zip(opened, picked, strict=True):

        def told(done: int, before: int = before) -> None:
            if progress:
                progress(before + done, of)

        found.append(_one(_Asked(run, own, groups, fractions, seed), skipped, told))
        before += len(own)
    zeroing = {
        way: [_cell([one.zeroing[way][:, k] for one in found], found) for k in range(len(fractions))]
        for way in WAYS
    }
    scaling, why = _scaling(found)
    run = opened[0]
    held: dict[str, Any] = {
        "runs": [one.name for one in opened],
        "part": part,
        "corpus": run.origin["corpus"].get("name", ""),
        "synthetic": bool(run.origin["corpus"].get("synthetic", False)),
        "clips": sum(len(one.ids) for one in found),
        "speakers": None if found[0].groups is None else len({g for one in found for g in one.groups or []}),
        "group": picked[0][2],
        "classes": len(run.labels),
        "chance": 1 / len(run.labels),
        "fractions": list(fractions),
        "zeroing": zeroing,
        "scaling": scaling,
        "why_no_scaling": why,
        "relevance_by": found[0].by,
        "note": f"Relevance is that of {found[0].by}, for the network's own answer; samples are those of the {found[0].what}.",
        "skipped": len(skipped),
    }
    folder = run.folder / "explain" / "manipulate" / part
    _write(folder, held, skipped)
    held["folder"] = str(folder)
    write_json(folder / "scores.json", held)
    return held


class _Asked(NamedTuple):
    """What one run is asked: about which clips, of whom, with which shares of their samples zeroed."""

    run: Run
    clips: Sequence[Clip]
    groups: dict[str, str] | None
    fractions: Sequence[float]
    seed: int


class _Fold:
    """One run's answers: way -> (clip, fraction), and of scaled clips (right before, right after)."""

    def __init__(self, run: Run, by: str) -> None:
        self.run, self.by, self.what = run, by, "wave"
        self.ids: list[str] = []
        self.groups: list[str] | None = None
        self.zeroing: dict[str, np.ndarray] = {}
        self.sexes: list[str] = []
        self.scaled: list[tuple[float, float]] = []


class _NoRule(HeschlError):
    """LRP cannot explain the network, or one of its clips."""


def _one(asked: _Asked, skipped: list[Skipped], told: Callable[[int], None]) -> _Fold:
    """One run's answers, all by LRP, or else all by gradient x input."""
    before = len(skipped)
    try:
        return _by(LRP, asked, skipped, told)
    except _NoRule:
        del skipped[before:]
        return _by("gradient x input", asked, skipped, told)


def _by(by: str, asked: _Asked, skipped: list[Skipped], told: Callable[[int], None]) -> _Fold:
    run, clips, groups, fractions, seed = asked
    network, fold = open_network(run), _Fold(run, by)
    if isinstance(network.feature, Stored):
        raise HeschlError(f"{run} hears stored frames: there are no samples to zero without their sound")
    model, sound = explained(network), Hearing(network).eval()
    kept: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    sexed = _sexes(run.labels) if not network.frames else None
    for batch in inputs(network, run.task(), clips, skipped):
        if is_wave(batch.x):
            net, x, lengths, fold.what = model, batch.x, batch.lengths, "network's input"
        else:
            net, x, lengths, fold.what = sound, batch.waves, batch.samples, "sound"
        relevance = _relevance(by, net, x, batch.answered, lengths)
        for way in WAYS:
            hits = zeroing_curve(
                net, x, batch.said, fractions, way, relevance, seed=seed, draws=DRAWS, lengths=lengths
            )
            kept[way].append(hits.numpy())
        if sexed:
            _scale(fold, network, model, batch, sexed)
        fold.ids += [clip.id for clip in batch.clips]
        told(len(fold.ids))
    if not fold.ids:
        raise HeschlError(f"no clip could be heard; the first was skipped because {skipped[0].why}")
    fold.zeroing = {way: np.concatenate(kept[way]) for way in WAYS}
    fold.groups = None if groups is None else [groups[one] for one in fold.ids]
    return fold


def _relevance(by: str, net: nn.Module, x: Tensor, target: Tensor, lengths: Tensor | None) -> Tensor:
    if by != LRP:
        return gradient_x_input(net, x, target, lengths)
    try:
        return lrp(net, x, target, lengths=lengths)
    except HeschlError as error:  # the feature's own normalisation may have no rule
        raise _NoRule(str(error)) from error


# --- voices --------------------------------------------------------------------------------------------------------


def _sexes(labels: Sequence[str]) -> dict[int, str] | None:
    """Class number -> "female" or "male", where that is what a network tells apart."""
    words = {"f": "female", "female": "female", "woman": "female", "m": "male", "male": "male", "man": "male"}
    named = {k: words.get(label.lower()) for k, label in enumerate(labels)}
    if len(labels) == 2 and set(named.values()) == {"female", "male"}:
        return {k: str(name) for k, name in named.items()}
    return None


def _scale(fold: _Fold, network: Network, model: nn.Module, batch: Inputs, sexed: dict[int, str]) -> None:
    names = [sexed[int(k)] for k in batch.said]
    factors = [MALE_UP if name == "male" else FEMALE_DOWN for name in names]
    if is_wave(batch.x):
        moved = torch.cat([scale_wave(x[None], factor) for x, factor in zip(batch.x, factors, strict=True)])
    else:
        rows = getattr(network.feature, "frequencies", None)
        if rows is not None and len(rows) != batch.x.shape[-2]:
            rows = rows[: batch.x.shape[-2]]
        moved = scale_frequency(batch.x, torch.tensor(factors, dtype=torch.float64), rows)
    plain = right(model, batch.x, batch.said, batch.lengths)
    changed = right(model, moved, batch.said, batch.lengths)
    fold.sexes += names
    fold.scaled += list(zip(plain.tolist(), changed.tolist(), strict=True))


def _scaling(found: Sequence[_Fold]) -> tuple[list[dict[str, Any]], str]:
    if not any(one.scaled for one in found):
        return [], "the network does not tell female from male voices"
    rows = []
    for name, factor in (("male", MALE_UP), ("female", FEMALE_DOWN)):
        own = [np.array([sex == name for sex in one.sexes]) for one in found]
        if not any(mask.any() for mask in own):
            continue
        row: dict[str, Any] = {
            "voices": name,
            "factor": factor,
            "clips": int(sum(mask.sum() for mask in own)),
        }
        for k, key in enumerate(("plain", "accuracy")):
            row[key] = _cell(
                [np.array(one.scaled)[mask, k] for one, mask in zip(found, own, strict=True)], found, own
            )
        fall = [np.subtract(*np.array(one.scaled)[mask].T) for one, mask in zip(found, own, strict=True)]
        row["fall"] = _cell(fall, found, own, (-1.0, 1.0))
        rows.append(row)
    return rows, ""


def _cell(
    values: Sequence[np.ndarray],
    found: Sequence[_Fold],
    masks: Sequence[np.ndarray] | None = None,
    ends: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Any]:
    """One run: mean with its interval over speakers. Several: mean and standard deviation of the folds' means."""
    if len(found) > 1:
        means = [float(own.mean()) for own in values if len(own)]
        mean, sd = mean_and_sd(means)
        return {"value": mean, "sd": sd, "n": len(means)}
    groups = found[0].groups
    if groups is not None and masks is not None:
        groups = [g for g, kept in zip(groups, masks[0], strict=True) if kept]
    return mean_over(values[0], groups, ends=ends)


# --- files ---------------------------------------------------------------------------------------------------------


def _write(folder: Path, held: dict[str, Any], skipped: Sequence[Skipped]) -> None:
    from heschl.figures.manipulate import manipulate_figure
    from heschl.figures.style import save

    columns = ["value", "low", "high", "sd", "n", "n_groups"]
    rows = [
        {"by": way, "fraction": share, **{key: cell.get(key) for key in columns}}
        for way, cells in held["zeroing"].items()
        for share, cell in zip(held["fractions"], cells, strict=True)
    ]
    write_csv(folder / "zeroing.csv", rows, ["by", "fraction", *columns])
    scaled = [
        {
            "voices": row["voices"],
            "factor": row["factor"],
            "what": key,
            **{name: row[key].get(name) for name in columns},
        }
        for row in held["scaling"]
        for key in ("plain", "accuracy", "fall")
    ]
    write_csv(folder / "scaling.csv", scaled, ["voices", "factor", "what", *columns])
    write_csv(folder / "skipped.csv", [item._asdict() for item in skipped], ["where", "why"])
    save(manipulate_figure(held), folder / "manipulate")
