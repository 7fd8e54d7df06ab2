"""KWS's encoder with an answer for every frame: taught phones, it is what `KWS` begins with on few speakers.

Its submodules have the names that they have in `heschl.models.kws.KWS`, so that `train.init` takes them over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heschl.models.frame_lstm import FrameHeads
from heschl.models.inputs import check_input, check_shape
from heschl.models.kws import Blocks, Residual, Stem, masked
from heschl.types import HeschlError


class KWSFrames(nn.Module):
    """Spectrogram (batch, mel, time) -> `FrameHeads`, from the encoder of `KWS`, without its pooling.

    Parameters
    ----------
    in_shape: (mel, time).
    n_outputs: classes.
    branches, stem, width, depth, dropout: as in `KWS`. The encoder halves time: each state answers for two frames.

    Areas, of the first branch
    -----
    stem: (batch, 2 * stem, mel / 4, time / 2). early, late: (batch, width, time / 2).

    Clips of different length are welcome: give ``lengths`` (batch,).

    Raises
    ------
    HeschlError: the input's shape or its lengths do not fit.
    """

    frames = True
    areas: ClassVar[dict[str, str]] = {
        "stem": "branches.0.stem",
        "early": "branches.0.early",
        "late": "branches.0.late",
    }
    example: ClassVar[tuple[tuple[int, ...], int]] = ((40, 101), 40)

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
        n_mels, _ = check_shape("KWSFrames", in_shape, ("mel", "time"), n_outputs)
        if branches < 1 or depth < 1:
            raise HeschlError(
                f"KWSFrames was asked for {branches} branches of depth {depth}: it needs one of each at least"
            )
        self.in_shape = tuple(in_shape)
        self.branches = nn.ModuleList(
            FrameBranch(n_mels, n_outputs, stem, width, depth, dropout) for _ in range(branches)
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> FrameHeads:
        check_input("KWSFrames", x, self.in_shape, lengths, any_time=True)
        mask = None
        if lengths is not None:
            mask = torch.arange(x.shape[-1], device=x.device) < lengths.to(x.device)[:, None]
        heads = torch.stack([branch(x, mask) for branch in self.branches])
        return FrameHeads(heads.mean(0), heads)


class FrameBranch(nn.Module):
    """One encoder and its answers; ``mask`` (batch, time) is true within each clip."""

    def __init__(
        self, n_mels: int, n_outputs: int, stem: int, width: int, depth: int, dropout: float
    ) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.stem = Stem(stem)
        self.flat = nn.Conv1d(2 * stem * -(-n_mels // 4), width, 1, bias=False)
        self.norm = nn.BatchNorm1d(width)
        blocks = [Residual(width, 2, 2 ** (i % 3), dropout) for i in range(depth)]
        self.early, self.late = Blocks(blocks[: (depth + 1) // 2]), Blocks(blocks[(depth + 1) // 2 :])
        self.answer = nn.Conv1d(width, 2 * n_outputs, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        time = x.shape[-1]
        x = self.stem(x, mask)
        mask = None if mask is None else mask[:, ::2]
        x = masked(F.relu(self.norm(self.flat(x.flatten(1, 2)))), mask)
        x = self.answer(self.late(self.early(x, mask), mask))
        return x.transpose(1, 2).reshape(len(x), -1, self.n_outputs)[:, :time]
