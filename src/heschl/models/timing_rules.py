"""What each kind of layer does to the time axis: the rules of `heschl.models.timing`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from heschl.types import HeschlError

# These give each value from the value at the same place (BatchNorm: in eval mode).
_POINTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid,
    nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d,
    nn.BatchNorm1d, nn.BatchNorm2d,
)  # fmt: skip
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)
_ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


@dataclass(frozen=True)
class Timing:
    """Where the steps of a layer listen, in steps of the network's input.

    Attributes
    ----------
    steps: how many there are.
    start: first input step of step 0's field; negative where padding comes first.
    size: input steps in a field.
    stride: input steps from one field to the next (0 where there is one step).
    past, future: each step also hears all that lies before, or after, its field.
    axis: the time axis of the layer's output; 0 where time lies in the batch, None where the output has no such axis.
    length: steps of the network's input.
    """

    steps: int
    length: int
    start: float = 0.0
    size: float = 1.0
    stride: float = 1.0
    past: bool = False
    future: bool = False
    axis: int | None = -1

    def field(self, step: int) -> tuple[int, int]:
        """First and last input step that ``step`` can hear. Near the ends it may hear less, where padding inside
        the network lies in its way; padding of the input is not heard."""
        first = self.start + step * self.stride
        last, end = first + self.size - 1, self.length - 1
        return (0 if self.past else max(int(first), 0), end if self.future else min(int(last), end))

    def centres(self) -> torch.Tensor:
        """(step,) centres of the fields in input steps, float64; 0 is the centre of the input's first step."""
        return self.start + (self.size - 1) / 2 + self.stride * torch.arange(self.steps, dtype=torch.float64)


def after_layer(layer: nn.Module, before: Timing, output: torch.Tensor, where: str) -> Timing:
    """The timing of a layer's output."""
    if isinstance(layer, _POINTWISE):
        return before
    if isinstance(layer, _CONVOLUTIONS + _POOLS):
        return _windowed(layer, before, output, where)
    if isinstance(layer, _ADAPTIVE):
        return _adapted(before, output.shape[-1], where)
    if isinstance(layer, _RECURRENT) and layer.batch_first:
        return replace(before, past=True, future=before.future or layer.bidirectional, axis=1)
    if isinstance(layer, nn.Flatten | nn.Linear):
        axis = axis_of(output, before)
        if before.steps == 1 or axis is None or output.ndim == 2:
            return whole(before)
        if isinstance(layer, nn.Linear) and axis % output.ndim == output.ndim - 1:
            raise HeschlError(f"{where} mixes the steps with one another, and their times are not known")
        return replace(before, axis=axis)
    if isinstance(layer, nn.LayerNorm):
        kept = output.ndim - len(layer.normalized_shape)
        alone = before.axis is None or before.axis % output.ndim < kept
        return replace(before, past=before.past or not alone, future=before.future or not alone)
    if isinstance(layer, nn.GroupNorm | nn.InstanceNorm1d | nn.InstanceNorm2d | nn.MultiheadAttention):
        return replace(before, past=True, future=True)
    raise HeschlError(
        f"{where} is of type {type(layer).__name__}, whose times are not known: name it in the network's `timing`"
    )


def axis_of(output: torch.Tensor, before: Timing) -> int | None:
    """Where time lies now: where it lay, if that axis still has its steps; else the last axis that has them."""
    if not before.axis:
        return before.axis
    if -output.ndim <= before.axis < output.ndim and output.shape[before.axis] == before.steps:
        return before.axis
    fitting = [axis for axis in range(1, output.ndim) if output.shape[axis] == before.steps]
    return fitting[-1] if fitting else None


def _windowed(layer: Any, before: Timing, output: torch.Tensor, where: str) -> Timing:
    """After a convolution or a pool along the last axis."""

    def along_time(value: Any) -> Any:
        return value[-1] if isinstance(value, tuple | list) else value

    kernel, stride = along_time(layer.kernel_size), along_time(layer.stride)
    span = (kernel - 1) * along_time(getattr(layer, "dilation", 1)) + 1
    if isinstance(layer.padding, str):
        padding = (span - 1) // 2 if layer.padding == "same" else 0
        exact = before.steps if layer.padding == "same" else (before.steps - span) / stride + 1
    else:
        padding = along_time(layer.padding)
        exact = (before.steps + 2 * padding - span) / stride + 1
    steps = output.shape[-1]
    if before.axis not in (-1, output.ndim - 1) or steps not in (int(exact), -int(-exact // 1)):
        raise HeschlError(
            f"{where} does not slide along time, and its times are not known: name it in the network's `timing`"
        )
    size = before.size + (span - 1) * before.stride
    start = before.start - padding * before.stride
    return replace(before, steps=steps, start=start, size=size, stride=stride * before.stride, axis=-1)


def _adapted(before: Timing, steps: int, where: str) -> Timing:
    """After an adaptive pool along the last axis."""
    if steps == 1:
        return replace(whole(before), axis=-1)
    if before.steps % steps:
        raise HeschlError(
            f"{where} pools {before.steps} steps into {steps} uneven ones, whose times are not known"
        )
    each = before.steps // steps
    return replace(
        before, steps=steps, size=before.size + (each - 1) * before.stride, stride=before.stride * each
    )


def whole(before: Timing) -> Timing:
    """One step that hears what all steps heard, of the input alone."""
    last = before.start + (before.steps - 1) * before.stride + before.size
    start = 0.0 if before.past else max(before.start, 0.0)
    stop = float(before.length) if before.future else min(last, float(before.length))
    return Timing(1, before.length, start, stop - start, stride=0.0, axis=None)


def join(timings: list[Timing], network: str) -> Timing:
    """What is made of several: each step hears what any of them heard. One step (a gate) is heard by all."""
    steps = max(timing.steps for timing in timings)
    main = [timing for timing in timings if timing.steps == steps]
    if (
        any(timing.steps not in (1, steps) for timing in timings)
        or len({timing.stride for timing in main}) > 1
    ):
        raise HeschlError(
            f"{network} joins branches of different length or stride, whose times are not known"
        )
    start = min(timing.start for timing in main)
    stop = max(timing.start + timing.size for timing in main)
    gated = len(main) < len(timings)
    past, future = (gated or any(getattr(timing, way) for timing in main) for way in ("past", "future"))
    return replace(main[0], start=start, size=stop - start, past=past, future=future)
