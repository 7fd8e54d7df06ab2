"""Recordings of a brain as maps over time and frequency: the feature of corpora whose clips are trials."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from heschl.features.mel import Count
from heschl.features.superlet import Superlet
from heschl.types import HeschlError

Level = Literal["clip", "none"]
FREQS = 16


class BrainMaps(nn.Module):
    """Superlet log-power of trials (batch, sensor, time) -> (batch, sensor, freq, step); or maps that are stored.

    It takes sensors where other features take waves, so ``steps`` is set on the object, and the contract for features
    of sound does not try it. A sensor of zeros (one that the trial's montage does not have) gives zeros.

    Parameters
    ----------
    sample_rate: Hz of the recordings.
    low, high, n_freqs, base_cycles, order, decim: as for `heschl.features.superlet.Superlet`; of ``n_freqs`` None is 16, and of stored
        maps that nobody says at which frequencies they are, unless their file does.
    level: "clip": each trial's log-power of each frequency less its mean over sensors and time, and by its deviation, so
        that 1/f and the amplifier's gain are gone, and nothing is learnt from other trials; or "none".
    stored: the trials hold log-power already, (batch, sensor, freq, time), and only the level is set. They are read from
        their own files batch by batch, and not copied into the cache.
    """

    def __init__(
        self,
        sample_rate: float = 128.0,
        low: float = 4.0,
        high: float = 40.0,
        n_freqs: int | None = None,
        base_cycles: float = 3,
        order: tuple[float, float] = (1, 3),
        decim: int = 2,
        level: Level = "clip",
        stored: bool = False,
    ) -> None:
        super().__init__()
        if level not in ("clip", "none"):
            raise HeschlError(f"BrainMaps.level is '{level}': choose clip or none")
        self.level, self.sample_rate, self.start, self.stored = level, sample_rate, 0.0, stored
        count = FREQS if n_freqs is None else n_freqs
        self.maps = (
            None
            if stored
            else Superlet(sample_rate, low, high, count, base_cycles, order, decim=decim, output="log-power")
        )
        self.rate = sample_rate if stored else sample_rate / decim
        self.decim = 1 if stored else decim
        self.frequencies = None if stored and n_freqs is None else torch.linspace(low, high, count)
        self.steps = self._steps

    def _steps(self, samples: Count) -> Count:
        return -(-samples // self.decim)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        wanted = 4 if self.maps is None else 3
        if x.ndim != wanted:
            axes = "(batch, sensor, freq, time)" if wanted == 4 else "(batch, sensor, time)"
            raise HeschlError(
                f"BrainMaps takes trials {axes} and was given {tuple(x.shape)}: choose a corpus of brains, and `stored` for one "
                "that holds maps"
            )
        x = x.float()  # maps may come as they are stored, in float16
        silent = (x == 0).flatten(2).all(2)[:, :, None, None]
        maps = x if self.maps is None else self.maps(x)
        if self.level == "none":
            return maps.masked_fill(silent, 0.0)
        heard = (~silent).to(maps.dtype)
        count = (heard.sum(1, keepdim=True) * maps.shape[-1]).clamp_min(1)
        centred = (maps - (maps * heard).sum((1, 3), keepdim=True) / count) * heard
        deviation = (centred.square().sum((1, 3), keepdim=True) / count).sqrt()
        return centred / torch.where(deviation > 0, deviation, 1.0)
