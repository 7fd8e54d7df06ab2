"""A small network for words, digits, voices and phonemes on a spectrogram: what one would choose today.

A few independent branches, each a whole network: a 2-D stem hears edges in time and frequency, residual
1-D convolutions of growing reach follow them through time, attention decides which moments count. The branches'
logits are averaged: an ensemble in one set of weights, within a million parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heschl.models.inputs import check_input, check_shape
from heschl.types import HeschlError


class Heads(NamedTuple):
    """What `KWS` gives.

    logits: (batch, class), the mean of the branches': softmax gives the geometric mean of their probabilities.
    heads: (branch, batch, class), each branch's own. The loss is the mean over branches, so that each learns
        by itself and they err differently.
    """

    logits: Tensor
    heads: Tensor


class KWS(nn.Module):
    """Spectrogram (batch, mel, time) -> `Heads`.

    Parameters
    ----------
    in_shape: (mel, time).
    n_outputs: classes.
    branches: independent networks inside.
    stem: channels of the 2-D stem, which halves time once and frequency twice.
    width: channels of the 1-D blocks.
    depth: how many residual blocks of two convolutions (kernel 3; dilation 1, 2, 4, 1, ...).
    dropout: in the blocks and before the output.

    Areas, of the first branch (time in steps of two input frames)
    -----
    stem: (batch, 2 * stem, mel / 4, time / 2), edges in time and frequency.
    early, late: (batch, width, time / 2), after the first and the second half of the blocks.
    pool: (batch, 2 * width), attentive mean and deviation over the whole clip.

    Clips of different length are welcome: give ``lengths`` (batch,).
    Sources: squeeze-excitation, Hu et al. 2018; attentive statistics pooling, Okabe et al. 2018.

    Raises
    ------
    HeschlError: the input's shape or its lengths do not fit.
    """

    areas: ClassVar[dict[str, str]] = {
        "stem": "branches.0.stem",
        "early": "branches.0.early",
        "late": "branches.0.late",
        "pool": "branches.0.pool",
    }
    example: ClassVar[tuple[tuple[int, ...], int]] = ((40, 101), 30)

    def __init__(
        self,
        in_shape: Sequence[int],
        n_outputs: int,
        branches: int = 1,
        stem: int = 16,
        width: int = 96,
        depth: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        n_mels, _ = check_shape("KWS", in_shape, ("mel", "time"), n_outputs)
        if branches < 1 or depth < 1:
            raise HeschlError(
                f"KWS was asked for {branches} branches of depth {depth}: it needs one of each at least"
            )
        self.in_shape = tuple(in_shape)
        self.branches = nn.ModuleList(
            Branch(n_mels, n_outputs, stem, width, depth, dropout) for _ in range(branches)
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Heads:
        check_input("KWS", x, self.in_shape, lengths, any_time=True)
        mask = None
        if lengths is not None:
            mask = torch.arange(x.shape[-1], device=x.device) < lengths.to(x.device)[:, None]
        heads = torch.stack([branch(x, mask) for branch in self.branches])
        return Heads(heads.mean(0), heads)


class Branch(nn.Module):
    """One whole network; ``mask`` (batch, time) is true within each clip."""

    def __init__(
        self, n_mels: int, n_outputs: int, stem: int, width: int, depth: int, dropout: float
    ) -> None:
        super().__init__()
        self.stem = Stem(stem)
        self.flat = nn.Conv1d(2 * stem * ((n_mels + 3) // 4), width, 1, bias=False)
        self.norm = nn.BatchNorm1d(width)
        blocks = [Residual(width, 2, 2 ** (i % 3), dropout) for i in range(depth)]
        self.early, self.late = Blocks(blocks[: (depth + 1) // 2]), Blocks(blocks[(depth + 1) // 2 :])
        self.pool = Pool(width)
        self.norm_pool = nn.BatchNorm1d(2 * width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * width, n_outputs)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.stem(x, mask)
        mask = None if mask is None else mask[:, ::2]
        x = masked(F.relu(self.norm(self.flat(x.flatten(1, 2)))), mask)
        x = self.pool(self.late(self.early(x, mask), mask), mask)
        logits: Tensor = self.output(self.dropout(self.norm_pool(x)))
        return logits


class Stem(nn.Module):
    """(batch, mel, time) -> (batch, 2 * channels, mel / 4, time / 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.conv1 = nn.Conv2d(1, channels, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.block = Residual(channels, 3)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 3, stride=(2, 1), padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = masked(self.norm(x[:, None]), mask)
        mask = None if mask is None else mask[:, ::2]
        x = masked(F.relu(self.norm1(self.conv1(x))), mask)
        return masked(F.relu(self.norm2(self.conv2(self.block(x, mask)))), mask)


class Residual(nn.Module):
    """Two convolutions with squeeze-excitation beside a shortcut.

    axes: 2 over (batch, channel, time), 3 over (batch, channel, mel, time).
    """

    def __init__(self, channels: int, axes: int, dilation: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if axes == 2 else (nn.Conv2d, nn.BatchNorm2d)
        self.conv1 = conv(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm2 = norm(channels)
        self.squeeze = nn.Linear(channels, max(8, channels // 8))
        self.excite = nn.Linear(max(8, channels // 8), channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = masked(F.relu(self.norm1(self.conv1(x))), mask)
        y = masked(self.norm2(self.conv2(y)), mask)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(mean_of_clip(y, mask)))))
        return F.relu(x + self.dropout(y * gate.reshape(gate.shape + (1,) * (y.ndim - 2))))


class Blocks(nn.Module):
    """Residual blocks in a row."""

    def __init__(self, blocks: Sequence[Residual]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return x


class Pool(nn.Module):
    """Attentive statistics: (batch, channel, time) -> weighted mean and deviation, (batch, 2 * channel)."""

    def __init__(self, channels: int, hidden: int = 32) -> None:
        super().__init__()
        self.listen = nn.Conv1d(channels, hidden, 1)
        self.score = nn.Conv1d(hidden, channels, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        score = self.score(torch.tanh(self.listen(x)))
        if mask is not None:
            score = score.masked_fill(~mask[:, None], -torch.inf)
        weight = score.softmax(-1)
        mean = (weight * x).sum(-1)
        variance = (weight * (x - mean[..., None]).square()).sum(-1)
        return torch.cat([mean, variance.clamp_min(1e-4).sqrt()], 1)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """x (batch, channel, ..., time) with zeros where mask (batch, time) is false."""
    if mask is None:
        return x
    return x * mask.reshape(mask.shape[0], *(1,) * (x.ndim - 2), mask.shape[1]).to(x.dtype)


def mean_of_clip(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of masked x (batch, channel, ..., time) over all but batch and channel: (batch, channel)."""
    mean = x.flatten(2).mean(2)
    if mask is None:
        return mean
    return mean * (mask.shape[1] / mask.sum(1, keepdim=True).double()).to(x.dtype)
