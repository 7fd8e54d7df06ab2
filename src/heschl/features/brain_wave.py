"""Raw recordings of a brain as they are, on each recording's own scale: the feature of networks that take no maps."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from heschl.features.mel import Count
from heschl.features.neural import prepare
from heschl.types import HeschlError


class BrainWave(nn.Module):
    """Trials (batch, sensor, time) with their baseline taken off, clipped; see `heschl.features.neural.prepare`.

    Like `BrainMaps` it takes sensors, so ``steps`` is set on the object. A sensor of zeros stays zero.

    Parameters
    ----------
    sample_rate: Hz of the recordings.
    scale: "recording": each channel less its median and by its quartiles' distance, over the training trials of its recording,
        before they come here (training fits it, and the run keeps it); or "none".
    baseline: seconds whose mean is taken off each channel, or None.
    clip: in units of the scale, or None.
    """

    def __init__(
        self,
        sample_rate: float = 128.0,
        scale: Literal["recording", "none"] = "recording",
        baseline: tuple[float, float] | None = None,
        clip: float | None = 20.0,
    ) -> None:
        super().__init__()
        if scale not in ("recording", "none"):
            raise HeschlError(f"BrainWave.scale is '{scale}': choose recording or none")
        self.sample_rate, self.rate = sample_rate, sample_rate
        self.start, self.scale, self.baseline, self.clip = 0.0, scale, baseline, clip
        self.steps = _same

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if x.ndim != 3:
            raise HeschlError(
                f"BrainWave takes trials (batch, sensor, time) and was given {tuple(x.shape)}: choose a corpus of raw brains"
            )
        return prepare(x, self.sample_rate, None, self.baseline, self.clip)


def _same(samples: Count) -> Count:
    return samples
