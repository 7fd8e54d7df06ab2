"""Scales of recordings, fitted on the training part: what a feature with ``scale: recording`` asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from heschl.corpora.sensors import Sensors
from heschl.features.neural import fit_recordings
from heschl.types import Clip, HeschlError
from heschl.wording import counted

UNIT = {"centre": [0.0], "spread": [1.0]}  # of a recording of which the split holds nothing


class _Rows:
    """A recording's trials (sensor, time) by number, without the sensors that it does not have."""

    def __init__(self, sensors: Sensors, clips: Sequence[Clip]) -> None:
        self.sensors, self.clips = sensors, clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.sensors.raw(self.clips[row]).T


def scaled(sensors: Sensors, parts: Mapping[str, Sequence[Clip]]) -> tuple[Sensors, list[str]]:
    """The sensors with each recording's median and quartiles, from its training trials, and what must be said.

    A recording without training trials (a subject who is left out) is scaled by its own trials, without their labels.

    Raises
    ------
    HeschlError: a channel is flat or not finite over them, or trials are stored maps.
    """
    own: dict[str, list[Clip]] = {name: [] for name in sensors.recordings}
    training: dict[str, list[int]] = {}
    for part, clips in parts.items():
        for clip in clips:
            name = clip.labels["recording"]
            if part == "train":
                training.setdefault(name, []).append(len(own[name]))
            own[name].append(clip)
    own = {name: clips for name, clips in own.items() if clips}
    for clips in own.values():
        if sensors.raw(clips[0]).ndim != 2:
            raise HeschlError(
                f"feature.scale is recording, and trial {clips[0].id} is a stored map: take BrainMaps with stored: true"
            )
    fitted = fit_recordings({name: _Rows(sensors, clips) for name, clips in own.items()}, training, "own")
    strangers = [name for name in own if name not in training]
    notes = []
    if strangers:
        notes.append(
            f"{counted(len(strangers), 'recording is', 'recordings are')} not in training (such as {strangers[0]}), and scaled by "
            f"{'its' if len(strangers) == 1 else 'their'} own trials, "
            "without labels"
        )
    scales = {
        name: {"centre": one.centre.tolist(), "spread": one.spread.tolist()} for name, one in fitted.items()
    }
    return sensors.with_scales({**dict.fromkeys(sensors.recordings, UNIT), **scales}), notes
