"""A Transformer over overlapping patches of a spectrogram, with a class token and talking heads.

Patches after the Audio Spectrogram Transformer (Gong et al. 2021, arXiv:2104.01778), blocks after Vaswani et al. 2017
(norm after each part; before it by option), heads that talk before and after the softmax after Shazeer et al. 2020
(arXiv:2003.02436).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heschl.types import HeschlError

Norm = Literal["post", "pre"]


def sin_cos_positions(rows: int, columns: int, dim: int) -> Tensor:
    """(row * column, dim): half of the numbers tell the row, half the column; each half sines, then cosines.

    Angles are place / 10,000^(k / (dim / 4)), k = 0 .. dim / 4 - 1.
    """
    quarter = dim // 4
    slow = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    halves = []
    for count in (rows, columns):
        angle = torch.arange(count, dtype=torch.float64)[:, None] * slow
        halves.append(torch.cat([angle.sin(), angle.cos()], -1))
    row = halves[0][:, None].expand(rows, columns, -1)
    column = halves[1][None].expand(rows, columns, -1)
    return torch.cat([row, column], -1).reshape(rows * columns, dim).float()


class TalkingAttention(nn.Module):
    """Self-attention over tokens (batch, token, dim) whose heads are mixed before and after the softmax.

    ``keep`` may be set to a list: each call then appends its weights (batch, head, query, key) after the softmax and
    before the second mixing, where they are still shares of one.
    """

    def __init__(self, dim: int, heads: int = 4, dropout: float = 0.3) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.before = nn.Parameter(torch.eye(heads) + 0.02 * torch.randn(heads, heads))
        self.after = nn.Parameter(torch.eye(heads) + 0.02 * torch.randn(heads, heads))
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(dim, dim)
        self.keep: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        split = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)  # each (batch, head, token, feature)
        scores = torch.matmul(query, key.transpose(-1, -2)) * self.scale
        scores = torch.einsum("bhqk,hg->bgqk", scores, self.before)
        weights = scores.softmax(-1)
        if self.keep is not None:
            self.keep.append(weights.detach())
        mixed = torch.einsum("bhqk,hg->bgqk", self.dropout(weights), self.after)
        heard = torch.matmul(mixed, value)
        out: Tensor = self.out(heard.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention and a feed-forward part of four times the width, each beside what comes in, with one norm for both."""

    def __init__(self, dim: int, heads: int, dropout: float, norm: Norm) -> None:
        super().__init__()
        self.before = norm == "pre"
        self.attention = TalkingAttention(dim, heads, dropout)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        if self.before:
            x = x + self.attention(self.norm(x))
            out: Tensor = x + self._forward_part(self.norm(x))
            return out
        x = self.norm(x + self.attention(x))
        out = self.norm(x + self._forward_part(x))
        return out

    def _forward_part(self, x: Tensor) -> Tensor:
        out: Tensor = self.narrow(F.gelu(self.widen(x)))
        return out


class TokenTransformer(nn.Module):
    """Patches (batch, dim, row, column) -> the class token after ``depth`` blocks (batch, dim).

    Learned positions, which begin as two-dimensional sines and cosines, are added to the patches; the class token
    stands before them without one; one norm goes over all tokens.
    """

    def __init__(
        self, grid: tuple[int, int], dim: int, depth: int, heads: int, norm: Norm, dropout: float
    ) -> None:
        super().__init__()
        self.grid = grid
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.positions = nn.Parameter(sin_cos_positions(*grid, dim)[None])
        self.norm = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout, norm) for _ in range(depth))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, patches: Tensor) -> Tensor:
        tokens = patches.flatten(2).transpose(1, 2) + self.positions
        x = self.norm(torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1))
        for block in self.blocks:
            x = block(x)
        first: Tensor = x[:, 0]
        return first


def patch_grid(size: tuple[int, int], patch: tuple[int, int]) -> tuple[int, int]:
    """(row, column) patches that fit, each half over the next: steps of half a patch."""
    rows, columns = (1 + (n - p) // max(1, p // 2) for n, p in zip(size, patch))
    return rows, columns


def rollout(attention: list[Tensor]) -> Tensor:
    """How much of each token reaches each other through all blocks, (batch, query, key), rows summing to one.

    Attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928, eq. 1): the heads' mean, half of it the token itself,
    multiplied from the first block to the last. Mixing between heads after the softmax is not part of it.

    Parameters
    ----------
    attention: each block's weights (batch, head, query, key).
    """
    total: Tensor | None = None
    for weights in attention:
        mean = weights.mean(1)
        step = 0.5 * (mean + torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device))
        total = step if total is None else step @ total
    if total is None:
        raise HeschlError("there is no attention to roll out: give the weights of one block at least")
    return total / total.sum(-1, keepdim=True)


def he_normal(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution, its weights drawn for a ReLU-like function after it and its bias zero."""
    nn.init.normal_(conv.weight, std=math.sqrt(2.0 / conv.weight[0].numel()))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
