"""Trials of brains read from their own files batch by batch, where a packed copy would be as large as they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heschl.corpora.sensors import Sensors
from heschl.corpora.trials import opened
from heschl.types import Clip, HeschlError, Skipped


class StreamedTrials:
    """What `heschl.features.store.FeatureStore` is for whole clips, without a copy: stored maps are some 17 MB a trial.

    Attributes
    ----------
    rate: steps a second. ids: of the trials; places: id to index. lengths: (trial,) steps. skipped: nothing, as a trial is
    first seen when a batch asks for it.
    """

    def __init__(self, clips: Sequence[Clip], sensors: Sensors) -> None:
        self.clips, self.sensors, self.rate = tuple(clips), sensors, clips[0].rate
        self.ids = tuple(clip.id for clip in clips)
        self.places = {name: k for k, name in enumerate(self.ids)}
        self.skipped: tuple[Skipped, ...] = ()
        steps = [round(((clip.stop or 0.0) - clip.start) * clip.rate) for clip in clips]
        self.lengths = torch.tensor(steps, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Some trials, in the order asked for: x (batch, sensor, ..., step), zero-padded; lengths (batch,).

        Each trial goes from the file's chunk to its place in the batch and is copied nowhere else: maps stored as float16
        stay so until the feature takes them.

        Raises
        ------
        HeschlError: a trial cannot be read, has another shape than its corpus said, or holds values that are not finite.
        """
        rows = np.asarray(indices, np.int64)
        lengths = self.lengths[torch.from_numpy(rows)]
        order = sorted(range(len(rows)), key=lambda place: (self.clips[rows[place]].signal, rows[place]))
        x: Tensor | None = None
        for path, places in groupby(order, lambda place: self.clips[rows[place]].signal):
            with opened(path) as file:
                for place in places:
                    clip = self.clips[rows[place]]
                    data, row = self._found(clip, file, int(lengths[place]))
                    if x is None:
                        dtype = torch.float16 if data.dtype == np.float16 else torch.float32
                        shape = (len(rows), self.sensors.count, *data.shape[2:-1], int(lengths.max()))
                        x = torch.zeros(shape, dtype=dtype)
                    elif x.dtype == torch.float16 and data.dtype != np.float16:
                        x = x.float()
                    _fill(x[place, : data.shape[1], ..., : data.shape[-1]], data, row, clip)
        assert x is not None
        return x, lengths

    def _found(self, clip: Clip, file: Any, steps: int) -> tuple[Any, int]:
        """The dataset that holds a trial, and the trial's row in it."""
        name, _, row = clip.key.partition("/")
        data = file.get(name)
        if data is None or int(row) >= len(data) or data.shape[1] > self.sensors.count:
            raise HeschlError(f"{clip.signal} does not hold trial {clip.id} any more: read the corpus again")
        if data.shape[-1] != steps:
            raise HeschlError(
                f"trial {clip.id} of {clip.signal} has {data.shape[-1]} steps, and its corpus says {steps}: set corpus.rate"
            )
        return data, int(row)


def _fill(x: Tensor, data: Any, row: int, clip: Clip) -> None:
    """Reads a trial (sensor, ..., step) into its place."""
    try:
        if x.is_contiguous():
            data.read_direct(x.numpy(), np.s_[row])
        else:  # of fewer sensors or steps than others of its batch
            x.copy_(torch.from_numpy(data[row]))
    except (OSError, TypeError) as error:
        raise HeschlError(
            f"{clip.signal} cannot be read at trial {clip.id} ({error}): copy it again"
        ) from None
    if not all(bool(one.isfinite()) for one in x.aminmax()):  # NaN is the least and the most of its trial
        raise HeschlError(
            f"trial {clip.id} of {clip.signal} holds values that are not finite: leave it out of the file"
        )
