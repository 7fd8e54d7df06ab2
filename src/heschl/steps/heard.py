"""What was heard, as encoding models take it: acoustics and a network's layers, at the recording's rate."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from heschl.brain.acoustics import acoustics
from heschl.brain.continuous import record_long
from heschl.brain.layers import principal
from heschl.files import read_audio
from heschl.run import Run
from heschl.signal import resample_recording
from heschl.steps.inside import check_areas, untrained
from heschl.steps.networks import open_network
from heschl.types import Activity, Clip

Array = np.ndarray[Any, np.dtype[Any]]
WINDOW = 12.0  # seconds that a frame network hears at once


class Layers(NamedTuple):
    """A network's layers over what was heard.

    trained: layer -> clip -> (time, component) at the rate. untrained: seed by seed the same. notes: to be told.
    """

    trained: dict[str, dict[str, Array]]
    untrained: list[dict[str, dict[str, Array]]]
    notes: tuple[str, ...]
    seconds: float


def sounds(clips: Sequence[Clip], rate: int, mels: int = 8) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Acoustic features of every clip, (time, feature) float32, and their names."""
    names: tuple[str, ...] = ()
    found = {}
    for clip in clips:
        wave, sample_rate = read_audio(clip.signal, clip.start, clip.stop)
        whole = rate * max(1, round(16000 / rate))  # a multiple of the rate, so that steps are whole
        made, names = acoustics(
            torch.from_numpy(resample_recording(wave, sample_rate, whole)), whole, rate, n_mels=mels
        )
        found[clip.id] = made.float().numpy()
    return found, names


def layers(
    run: Run,
    clips: Sequence[Clip],
    rate: int,
    components: int,
    seeds: int,
    say: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Layers:
    """The first principal components of every layer, of the trained network and of untrained ones.

    Components are found in each network's own activity over all sounds; no recording is looked at.
    """
    network = open_network(run)
    check_areas(network.model)
    clip_network = network.seconds is not None and not network.frames
    window = float(network.seconds) if clip_network and network.seconds else WINDOW
    notes: dict[str, None] = {}
    told = [say]

    def hear(model: nn.Module) -> dict[str, dict[str, Array]]:
        by_layer: dict[str, list[Array]] = {}
        times: dict[str, list[Array]] = {}
        for clip in clips:
            wave, sample_rate = read_audio(clip.signal, clip.start, clip.stop)
            wave = resample_recording(wave, sample_rate, round(network.sample_rate), network.resample)
            with warnings.catch_warnings():  # what it warns of is among its notes, which are told in order
                warnings.filterwarnings("ignore", message=".* answers for clips")
                found = record_long(
                    model,
                    torch.from_numpy(wave),
                    network.sample_rate,
                    network.feature,
                    window=window,
                    passes=seeds + 1,
                    say=told[0],
                )
            told[0] = None
            notes.update(dict.fromkeys(found.notes))
            for layer, one in found.activity.items():
                by_layer.setdefault(layer, []).append(one.values[0].numpy())  # an hour of it is gigabytes
                times.setdefault(layer, []).append(np.asarray(one.times))
        return {
            layer: {
                clip.id: on_grid(x.astype(float), t, rate).astype(np.float32)
                for clip, x, t in zip(clips, principal(runs, min(components, runs[0].shape[1])), times[layer])
            }
            for layer, runs in by_layer.items()
        }

    begun = time.perf_counter()
    trained = hear(network.model)
    others = []
    for seed in range(seeds):
        others.append(hear(untrained(run, seed)))
        if progress:
            progress(seed + 1, seeds)
    return Layers(trained, others, tuple(notes), time.perf_counter() - begun)


def on_grid(values: Array, times: Array, rate: float) -> Array:
    """(time, column) at times k / rate, from 0 to the last step: averaged over a step of the grid where the layer is
    faster, linear between its steps where it is slower.

    A row depends on what lies within one step of either axis, so that blocks stay apart.

    Parameters
    ----------
    values: (step, column). times: (step,) seconds, even.
    """
    at = np.arange(int(np.floor(times[-1] * rate + 1e-6)) + 1) / rate
    step = float(times[1] - times[0]) if len(times) > 1 else 1 / rate
    if step >= 1 / rate:
        return np.stack([np.interp(at, times, column) for column in values.T], 1)
    # the integral of a piecewise constant signal, read at both edges of each step of the grid
    edges = np.concatenate([[times[0] - step / 2], times + step / 2])
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, 0)]) * step
    low, high = np.clip(at - 0.5 / rate, edges[0], edges[-1]), np.clip(at + 0.5 / rate, edges[0], edges[-1])
    width = np.maximum(high - low, 1e-9)
    return np.stack(
        [(np.interp(high, edges, column) - np.interp(low, edges, column)) / width for column in total.T], 1
    )


def grid_of(activity: Activity, rate: float) -> Array:
    """One clip's activity on the grid, (time, unit)."""
    return on_grid(activity.values[0].double().numpy(), np.asarray(activity.times), rate)


def rows(features: Mapping[str, Array], stretches: Sequence[Any]) -> tuple[list[Array], list[Array]]:
    """Runs of features and of the recording that belong together, cut to one length."""
    x, y = [], []
    for one in stretches:
        part = features[one.clip][one.first : one.first + len(one.x)]
        x.append(part)
        y.append(one.x[: len(part)])
    return x, y


class Folding(NamedTuple):
    """folds: how many, or the fold of every stretch. cut: whether stretches are cut into as many parts (see `apart`)."""

    folds: int | tuple[int, ...]
    cut: bool


def folding(stretches: Sequence[Any], folds: int) -> Folding:
    """How stretches are folded: whole ones where there are as many as folds, else their parts.

    Where a sound was heard again, sounds are counted and not stretches, and all hearings of one are in one fold: a model
    that has learned what follows a sound would find it in the second hearing, whatever its features mean.
    """
    by_sound: dict[str, list[Any]] = {}
    for one in sorted(stretches, key=lambda one: one.first):
        by_sound.setdefault(one.clip, []).append(one)
    again = any(
        later.first < earlier.first + len(earlier.x)
        for own in by_sound.values()
        for earlier, later in pairwise(own)
    )
    if not again:
        return Folding(folds, len(stretches) < folds)
    if len(by_sound) < folds:
        return Folding(folds, True)
    sounds = list(dict.fromkeys(one.clip for one in stretches))
    of = {str(name): k for k, part in enumerate(np.array_split(sounds, folds)) for name in part}
    return Folding(tuple(of[one.clip] for one in stretches), False)


def apart(runs: Sequence[Array], folds: int, reach: int, cut: bool | None = None) -> list[Array]:
    """Runs as folds are cut from: whole ones where there are as many (or ``cut`` is false); else the k-th parts of all,
    with ``reach`` rows dropped on both sides of every cut, so that no filter saw both."""
    if not (len(runs) < folds if cut is None else cut):
        return list(runs)
    found = []
    for k in range(folds):
        for run in runs:
            cuts = np.linspace(0, len(run), folds + 1).round().astype(int)
            low = cuts[k] + (reach if k else 0)
            high = cuts[k + 1] - (reach if k < folds - 1 else 0)
            found.append(run[low:high])
    return found
