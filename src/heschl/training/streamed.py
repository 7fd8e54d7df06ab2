"""Trials of brains read from their own files batch by batch, where a packed copy would be as large as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from heschl.corpora.sensors import Sensors
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
        """Some trials, in the order asked for: x (batch, sensor, ..., step) float32, zero-padded; lengths (batch,).

        Raises
        ------
        HeschlError: a trial cannot be read, has another length than its corpus said, or holds values that are not finite.
        """
        rows = np.asarray(indices, np.int64)
        lengths = self.lengths[torch.from_numpy(rows)]
        out: np.ndarray | None = None
        for place in np.argsort(rows, kind="stable").tolist():
            clip = self.clips[rows[place]]
            values = self.sensors.load(clip)
            if len(values) != int(lengths[place]):
                raise HeschlError(
                    f"trial {clip.id} of {clip.signal} has {len(values)} steps, and its corpus says {int(lengths[place])}: "
                    "set corpus.rate"
                )
            if not np.isfinite(values).all():
                raise HeschlError(
                    f"trial {clip.id} of {clip.signal} holds values that are not finite: leave it out of the file"
                )
            if out is None:
                out = np.zeros((len(rows), int(lengths.max()), *values.shape[1:]), np.float32)
            out[place, : len(values)] = values
        assert out is not None
        return torch.from_numpy(out).movedim(1, -1), lengths
