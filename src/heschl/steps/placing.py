"""Recording the areas of a run's network for placing: some clips at a time, in the seconds that the network hears."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from heschl.brain.activity import record
from heschl.steps.inputs import fitted
from heschl.steps.inside import check_areas
from heschl.steps.networks import Network, Progress, refuse_brain
from heschl.types import Activity, Clip, HeschlError, Skipped

_BATCH = 16
_VALUES = 2**26  # of one area at once: 256 MB in single precision


class Part(NamedTuple):
    """Some clips' activity.

    waves: (clip, sample), as the network hears them, cut or padded; of stored frames (clip, feature, frame).
    seconds: that each lasts. activity: area -> (clip, time, unit), seconds from the beginning of the wave.
    """

    clips: list[Clip]
    waves: np.ndarray
    seconds: list[float]
    activity: dict[str, Activity]


def check_placeable(network: Network) -> None:
    """Refuses, in a sentence, a network that cannot be placed in a brain that hears."""
    check_areas(network.model)
    if "positions" in inspect.signature(network.model.forward).parameters:
        raise HeschlError(
            f"this {type(network.model).__name__} hears sensors of a brain, not sound: only what hears sound is placed"
        )


def recorded(
    network: Network, clips: Sequence[Clip], skipped: list[Skipped], progress: Progress | None = None
) -> Iterator[Part]:
    """The activity of every area, in the clips' order; clips of other lengths come apart, so that none changes another.

    skipped: clips that cannot be read are added to it and left out.
    """
    check_placeable(network)
    of_any_length = network.frames or network.seconds is None
    for first in range(0, len(clips), _BATCH):
        same: list[tuple[Clip, np.ndarray]] = []
        for clip in clips[first : first + _BATCH]:
            try:
                refuse_brain(clip)
                wave = network.read(clip)
            except HeschlError as error:
                skipped.append(Skipped(clip.id, str(error)))
                continue
            if same and of_any_length and wave.shape[-1] != same[-1][1].shape[-1]:
                yield _part(network, same)
                same = []
            same.append((clip, wave))
        if same:
            yield _part(network, same)
        if progress:
            progress(min(first + _BATCH, len(clips)), len(clips))


def padded(
    values: Mapping[str, Sequence[np.ndarray]], times: Mapping[str, torch.Tensor], seconds: Sequence[float]
) -> dict[str, Activity]:
    """Every area's values of all clips, zero after each one's end.

    One answer for a clip comes as two equal steps, at its beginning and its end: where clips differ in length, it is held
    for each one's own, at the times of the area with the most steps.

    Parameters
    ----------
    values: area -> (step, unit) of each clip. times: area -> (step,) of its longest. seconds: that each clip lasts.
    """
    dense = max(times.values(), key=len)
    if len(dense) == 2:  # no area has a time axis
        dense = torch.arange(0, max(seconds), 0.01, dtype=torch.float64)
    found = {}
    for area, rows in values.items():
        own = times[area]
        if len(set(seconds)) > 1 and all(len(row) == 2 and (row[0] == row[1]).all() for row in rows):
            own = dense
            rows = [row[:1] * (own.numpy() < end)[:, None] for row, end in zip(rows, seconds, strict=True)]
        table = np.zeros((len(rows), len(own), rows[0].shape[1]), dtype=rows[0].dtype)
        for held, row in zip(table, rows, strict=True):
            held[: len(row)] = row
        found[area] = Activity(area, torch.from_numpy(table), own)
    return found


def _part(network: Network, heard: Sequence[tuple[Clip, np.ndarray]]) -> Part:
    waves, _, _ = fitted(network, [wave for _, wave in heard])
    with torch.no_grad():
        x = network.feature(waves)
    rate = float(network.feature.rate)  # type: ignore[arg-type]
    start = float(getattr(network.feature, "start", 0.0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*has no time axis.*")
        if getattr(network.feature, "per_frame", False):
            activity = _windows(network, x, rate, start)
        else:
            activity = record(network.model, x, rate, start=start)
    seconds = waves.shape[-1] / network.sample_rate
    return Part([clip for clip, _ in heard], waves.numpy(), [seconds] * len(heard), activity)


def _windows(network: Network, x: torch.Tensor, rate: float, start: float) -> dict[str, Activity]:
    """Of a network to which every frame with its neighbours is an example: x (clip, ..., frame)."""
    windows = x.movedim(-1, 1)
    clips, frames = windows.shape[:2]
    times = start + torch.arange(frames, dtype=torch.float64) / rate
    found = {}
    for area, one in record(network.model, windows.flatten(0, 1), rate).items():
        middle = one.values[
            :, one.values.shape[1] // 2
        ]  # of what happens in a window, the moment it is about
        found[area] = Activity(area, middle.reshape(clips, frames, -1), times)
    return found
