"""What goes on inside a run's network while it hears clips: every area over time, in each clip's own seconds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from heschl.brain.activity import record, without_time
from heschl.features.waveform import fit_length, placement
from heschl.models.timing import compose
from heschl.recipe.parts import build
from heschl.run import Run
from heschl.steps.networks import Network, Progress, refuse_brain
from heschl.types import Activity, Clip, HeschlError, Skipped

_BATCH = 16


class Inside(NamedTuple):
    """One clip's activity.

    seconds: how long the clip is.
    areas: area -> (times (step,) seconds from the clip's start, values (step, unit) float32); an area that gives
        one answer for the clip has one step.
    """

    clip: Clip
    seconds: float
    areas: dict[str, tuple[np.ndarray, np.ndarray]]


def check_areas(model: nn.Module) -> None:
    """Refuses, in a sentence, a network whose insides cannot be laid out in time."""
    name = type(model).__name__
    if not getattr(model, "areas", {}):
        raise HeschlError(f"{name} names no areas: give its class `areas`, public name -> submodule")
    if getattr(model, "time_axis", -1) is None:
        raise HeschlError(
            f"the steps of this {name} are not moments in time: its areas cannot be looked into"
        )


def untrained(run: Run, seed: int) -> nn.Module:
    """The run's architecture before training, in eval mode; the global generator stays as it was."""
    fill = {"in_shape": run.in_shape, "n_outputs": len(run.labels)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: nn.Module = build(
            run.recipe.model, "model", fill=fill, folder=run._parts, trusted_only=run._trusted_only
        )
        if hasattr(made, "untrained"):  # a network that begins with weights from elsewhere draws them anew
            made.untrained()  # type: ignore[operator]
    return made.eval()


def inside(
    network: Network,
    clips: Sequence[Clip],
    skipped: list[Skipped],
    model: nn.Module | None = None,
    progress: Progress | None = None,
) -> Iterator[Inside]:
    """The activity of every area, clip by clip, in order.

    Parameters
    ----------
    skipped: clips that cannot be read are added to it and left out.
    model: another network that hears through the same feature; None for the run's own.
    progress: told how many clips are done, of how many.
    """
    model = network.model if model is None else model
    check_areas(model)
    for k in range(0, len(clips), _BATCH):
        heard = []
        for clip in clips[k : k + _BATCH]:
            try:
                refuse_brain(clip)
                heard.append((clip, network.read(clip)))
            except HeschlError as error:
                skipped.append(Skipped(clip.id, str(error)))
        # clips of one length at a time: where lengths differ, what lies beyond a clip's end must not reach it
        made: dict[str, Inside] = {}
        for length in sorted({wave.shape[-1] for _, wave in heard}):
            same = [(clip, wave) for clip, wave in heard if wave.shape[-1] == length]
            made |= {one.clip.id: one for one in _of_one_length(network, model, same)}
        yield from (made[clip.id] for clip, _ in heard)
        if progress:
            progress(min(k + _BATCH, len(clips)), len(clips))


def _of_one_length(
    network: Network, model: nn.Module, heard: Sequence[tuple[Clip, np.ndarray]]
) -> Iterator[Inside]:
    wave = torch.from_numpy(np.stack([np.ascontiguousarray(one) for _, one in heard]))
    seconds = wave.shape[-1] / network.sample_rate
    lengths = torch.full((len(wave),), wave.shape[-1])
    begin = 0.0  # where in the clip the network begins to hear, seconds
    with torch.no_grad():
        if network.seconds is not None and not network.frames:
            n = round(network.seconds * network.sample_rate)
            long = "centre" if network.long == "random" else network.long
            begin = float(placement(lengths, n, long, network.short)[0]) / network.sample_rate  # type: ignore[arg-type]
            wave, _ = fit_length(wave, lengths, n, long, network.short)  # type: ignore[arg-type]
        x = network.feature(wave)
    rate = float(network.feature.rate)  # type: ignore[arg-type]
    start = begin + float(getattr(network.feature, "start", 0.0))
    found = _windows(model, x, rate, start) if _per_frame(network) else _series(model, x, rate, start)
    for k, (clip, _) in enumerate(heard):
        areas = {area: (times, values[k]) for area, (times, values) in found.items()}
        yield Inside(clip, seconds, areas)


def _per_frame(network: Network) -> bool:
    return bool(getattr(network.feature, "per_frame", False))


def _series(
    model: nn.Module, x: torch.Tensor, rate: float, start: float
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """area -> times (step,), values (clip, step, unit)."""
    one = {area for area, timing in compose(model, x.shape[1:]).items() if without_time(timing)}
    found = {}
    for area, activity in _recorded(model, x, rate, start).items():
        times, values = activity.times.numpy(), activity.values.float().numpy()
        if area in one:
            times, values = times.mean(keepdims=True), values[:, :1]
        found[area] = (times, values)
    return found


def _windows(
    model: nn.Module, x: torch.Tensor, rate: float, start: float
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The same of a network to which every frame, with its neighbours, is an example: x (clip, ..., frame)."""
    windows = x.movedim(-1, 1)
    clips, frames = windows.shape[:2]
    found = {}
    for area, activity in _recorded(model, windows.flatten(0, 1), rate, 0.0).items():
        middle = activity.values.shape[1] // 2  # of what happens within a window, the moment that it is about
        values = activity.values[:, middle].float().numpy().reshape(clips, frames, -1)
        found[area] = (start + np.arange(frames) / rate, values)
    return found


def _recorded(model: nn.Module, x: torch.Tensor, rate: float, start: float) -> dict[str, Activity]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*has no time axis.*")
        return record(model, x, rate, start=start)
