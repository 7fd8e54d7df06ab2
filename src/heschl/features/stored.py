"""Frames that were computed elsewhere: the feature of corpora whose clips hold frames instead of sound."""

from __future__ import annotations

from torch import Tensor, nn

from heschl.features.context import context_windows
from heschl.features.mel import Count
from heschl.types import HeschlError


class Stored(nn.Module):
    """Stored frames as they are, or with their neighbours.

    It takes (batch, feature, frame), where other features take waves: the clips of its corpus hold frames. So
    ``steps`` is set on the object, and the contract for features of sound does not try it.

    Parameters
    ----------
    rate: frames a second, Hz; that of the corpus.
    context: neighbouring frames on each side, zeros beyond the clip's own ends: gives (batch, 2 * context + 1,
        feature, frame), and each frame is one example (``per_frame``). None gives the frames themselves, for
        networks over (batch, feature, frame).

    Source of the layout: CMU's 11-785 homework HW1P2.
    """

    def __init__(self, rate: float = 100.0, context: int | None = None) -> None:
        super().__init__()
        if not rate > 0:
            raise HeschlError(f"Stored.rate is {rate}: frames a second must be above zero")
        if context is not None and context < 0:
            raise HeschlError(f"Stored.context is {context}: it must be zero or more frames")
        self.rate = self.sample_rate = rate
        self.start = 0.5 / rate  # frame n lasts from n / rate to (n + 1) / rate
        self.per_frame = context is not None
        self.context = context or 0
        self.steps = _same

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        if frames.ndim != 3:
            raise HeschlError(
                "Stored takes frames, and was given sound: choose a feature of waves, such as mel.LogMel"
            )
        if not self.per_frame:
            return frames
        return context_windows(frames.transpose(1, 2), self.context).permute(0, 2, 3, 1)


def _same(count: Count) -> Count:
    return count
