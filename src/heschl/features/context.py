"""Windows of neighbouring frames, which frame networks look at: by index, without copying, within one utterance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heschl import signal
from heschl.features.mel import Count, LogMel, Normalise, inside
from heschl.types import HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@overload
def context_windows(frames: NDArray[Any], context: int = 25) -> NDArray[Any]: ...
@overload
def context_windows(frames: Tensor, context: int = 25) -> Tensor: ...
def context_windows(frames: Any, context: int = 25) -> Any:
    """Every frame of one utterance with its neighbours on both sides; zeros beyond the utterance's ends.

    Parameters
    ----------
    frames: (..., time, feature), numpy or torch, one utterance (or several of the same length).
    context: neighbours on each side.

    Returns
    -------
    (..., time, 2 * context + 1, feature): a view on the zero-padded frames, no window is copied. Window t holds
    frames t - context to t + context.

    Raises
    ------
    HeschlError: frames without a time and a feature axis or without a frame, or a context that is no whole number.

    >>> context_windows(np.array([[1], [2], [3]]), context=1)[:, :, 0].tolist()
    [[0, 1, 2], [1, 2, 3], [2, 3, 0]]
    """
    if isinstance(context, bool) or context != int(context) or context < 0:
        raise HeschlError(f"context is {context}: it is the number of neighbours on each side, zero or more")
    context = int(context)
    if np.ndim(frames) < 2 or not np.shape(frames)[-2]:
        raise HeschlError(
            f"frames are of shape {tuple(np.shape(frames))}: give (..., time, feature) with one frame at least"
        )
    if isinstance(frames, Tensor):
        padded = F.pad(frames, (0, 0, context, context))
        return padded.unfold(-2, 2 * context + 1, 1).transpose(-1, -2)
    frames = np.asarray(frames)
    padding = [(0, 0)] * (frames.ndim - 2) + [(context, context), (0, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(frames, padding), 2 * context + 1, axis=-2)
    return windows.swapaxes(-1, -2)


def gather_windows(
    frames: NDArray[Any], offsets: NDArray[np.int64], indices: NDArray[np.int64], context: int = 25
) -> NDArray[Any]:
    """The windows of some frames of many utterances that lie end to end; zeros beyond each one's own ends.

    Parameters
    ----------
    frames: (total, ...), in memory or memory-mapped: only what is asked for is read.
    offsets: (utterance + 1,) where each utterance begins, and the total.
    indices: (n,) positions among all frames.

    Returns
    -------
    (n, 2 * context + 1, ...).

    Raises
    ------
    HeschlError: an index lies outside the frames.
    """
    indices = np.asarray(indices, dtype=np.int64)
    if len(indices) and (indices.min() < 0 or indices.max() >= offsets[-1]):
        raise HeschlError(f"frame {indices.max()} is asked for and there are {offsets[-1]}: mend the index")
    utterance = np.searchsorted(offsets, indices, side="right") - 1
    place = indices[:, None] + np.arange(-context, context + 1)
    within = (place >= offsets[utterance][:, None]) & (place < offsets[utterance + 1][:, None])
    windows = np.asarray(frames[np.where(within, place, indices[:, None])])
    windows[~within] = 0
    return windows


class Context(nn.Module):
    """Windows of log-mel frames: (batch, time) to (batch, 2 * context + 1, mel, frame), a window for each frame.

    Parameters
    ----------
    context: neighbouring frames on each side; beyond the clip's own ends are zeros.
    The others are those of `heschl.features.mel.LogMel`.

    Each frame is one example (``per_frame``): what a network sees of it is (2 * context + 1, mel).
    """

    per_frame = True

    def __init__(
        self,
        context: int = 25,
        sample_rate: int = 16000,
        n_mels: int = 40,
        window: float = 0.025,
        hop: float = 0.010,
        n_fft: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        mel: signal.MelScale = "slaney",
        floor: float = 1e-6,
        normalise: Normalise = "none",
    ) -> None:
        super().__init__()
        if context < 0:
            raise HeschlError(f"Context.context is {context}: it must be zero or more frames")
        self.context = context
        self.frame = LogMel(sample_rate, n_mels, window, hop, n_fft, f_min, f_max, mel, floor, normalise)
        self.sample_rate, self.rate, self.start = sample_rate, self.frame.rate, self.frame.start

    @property
    def frequencies(self) -> Tensor:
        return self.frame.get_buffer("frequencies")

    def steps(self, samples: Count) -> Count:
        """Frames, and so windows, of a wave of so many samples."""
        return self.frame.steps(samples)

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        x: Tensor = self.frame(wave, lengths)
        if lengths is not None:  # what lies beyond a clip's end is zeros, as if it were alone
            x = torch.where(inside(x, self.steps(lengths.to(x.device))), x, 0.0)
        return context_windows(x.transpose(1, 2), self.context).permute(0, 2, 3, 1)
