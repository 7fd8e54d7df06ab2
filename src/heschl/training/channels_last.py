"""Channels last: the order in memory that half precision on processors and graphics cards is made for.

Torch keeps it for images alone: it lays a 1-D convolution's maps out anew with the time last, so that the pools and
rectifiers after it run in the slow order too. A 1-D convolution is a 2-D one of height one: written so, it gives the
same numbers in the fast order, and what follows keeps that order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


def channels_last(network: nn.Module) -> nn.Module:
    """The same network, changed in place: same weights under the same names, its maps (batch, channel, ...) kept with
    the channels next to each other in memory. Answers differ by rounding alone."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has it
    for layer in network.modules():
        if type(layer) is nn.Conv1d and layer.padding_mode == "zeros":
            layer.__class__ = _Conv1d
    return network


class _Conv1d(nn.Conv1d):
    """A 1-D convolution computed as a 2-D one of height one."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.ndim != 3:  # one clip without a batch
            alone: Tensor = super()._conv_forward(input, weight, bias)
            return alone
        padding = self.padding if isinstance(self.padding, str) else (0, *self.padding)
        n, channels, time = input.shape
        maps = input.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        if channels == 1:  # both orders at once: torch believes the strides
            maps = maps.as_strided((n, 1, 1, time), (time, 1, time, 1))
        stride, dilation = (1, *self.stride), (1, *self.dilation)
        made: Tensor = conv2d(maps, weight.unsqueeze(2), bias, stride, padding, dilation, self.groups)
        return made.squeeze(2)
