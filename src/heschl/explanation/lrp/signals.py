"""What is known of the tensors on the way from a clip to an answer ("signals"), and how to find them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from heschl.explanation.lrp.rules import Affine, Rule

_MARK = "_heschl_mark"
_LEARNED = "_heschl_learned"
_SPELLINGS = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add_", "__sub__": "sub", "__isub__": "sub_",
    "__rsub__": "rsub", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul_", "__truediv__": "div",
    "__itruediv__": "div_", "__idiv__": "div_", "__rdiv__": "rdiv", "__rtruediv__": "rdiv", "__pow__": "pow",
    "__neg__": "neg", "__abs__": "abs", "__matmul__": "matmul", "__rmatmul__": "rmatmul",
    "__getitem__": "getitem", "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div",
    "negative": "neg", "absolute": "abs", "concat": "cat", "concatenate": "cat",
}  # fmt: skip


@dataclass(slots=True)
class Fusable:
    """A linear layer as it ran: a BatchNorm directly after it is made part of it."""

    layer: Affine
    x: Tensor
    rule: Rule
    where: str


@dataclass(slots=True)
class Memory:
    """What views of one tensor share: how often it was overwritten in place."""

    version: int = 0


@dataclass(slots=True)
class Mark:
    """What a signal knows about itself.

    fresh: no layer with weights lies between the clip and here.
    gate: it comes from a sigmoid or softmax: beside another signal it is a weight, and takes no relevance.
    logits: what went into a softmax or log-softmax of which this is the outcome.
    affine: the linear layer of which this is the very output.
    box: the lowest and highest values that it could have had, for z-box.
    clip: of which clip each value is, counted from 1, and 0 for a constant; for z-box where there is no box.
    outside: true where nothing of the clip is: beyond its length, in the padding, or where a mask has put a constant;
        flat, w2 and z-box, which would share with such places too, leave them out.
    successor: what stands in its place since it was overwritten.
    node: its way back; another one since means that something unseen took hold of it.
    """

    fresh: bool = True
    gate: bool = False
    logits: Tensor | None = None
    affine: Fusable | None = None
    box: tuple[Tensor, Tensor] | None = None
    clip: Tensor | None = None
    outside: Tensor | None = None
    memory: Memory = field(default_factory=Memory)
    version: int = 0
    successor: Tensor | None = None
    node: Any = None


def mark_of(x: Any) -> Mark | None:
    return getattr(x, _MARK, None) if isinstance(x, Tensor) else None


def put_mark(x: Tensor, mark: Mark) -> None:
    mark.node = x.grad_fn
    setattr(x, _MARK, mark)


def whose(clip: Tensor, value: Tensor) -> Tensor | None:
    """Of which clip each value is that was computed from signals of these; None where a row of them mixes several."""
    clip = clip.real if clip.is_complex() else clip
    if clip.shape != value.shape:
        if len(clip) != len(value):
            return None
        row = clip.flatten(1).amax(1, keepdim=True)
        if bool(((clip.flatten(1) != 0) & (clip.flatten(1) != row)).any()):
            return None
        clip = row.reshape(-1, *(1,) * (value.ndim - 1)).expand(value.shape)
    return torch.complex(clip, clip) if value.is_complex() else clip  # both parts tell it


def outside_of(x: Tensor, shape: torch.Size) -> Tensor | None:
    """Where what was computed from x element by element, of this shape, holds nothing of the clip."""
    mark = mark_of(x)
    return None if mark is None or mark.outside is None else mark.outside.expand(shape)


def own_extremes(x: Tensor, clip: Tensor | None, outside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The lowest and the highest value of each clip, the shape of x; of each row where the clips are not known.

    outside: true where values do not count.
    """
    wide = (-1,) + (1,) * (x.ndim - 1)
    if clip is None:
        clip = torch.arange(1, len(x) + 1, device=x.device).reshape(wide).expand(x.shape)
    # other constants count with the row in which they lie
    clip = torch.where(clip == 0, clip.flatten(1).amax(1).reshape(wide), clip).long()
    clip = (clip if outside is None else torch.where(outside, 0, clip)).flatten()
    none = x.new_zeros(int(clip.max()) + 1)
    ends = [none.scatter_reduce(0, clip, x.flatten(), how, include_self=False) for how in ("amin", "amax")]
    return ends[0][clip].reshape(x.shape), ends[1][clip].reshape(x.shape)


def learn(x: Tensor) -> None:
    """Say that a constant was made of parameters."""
    setattr(x, _LEARNED, True)


def is_learned(x: Tensor) -> bool:
    """Whether a constant is a parameter, or was made of one."""
    return isinstance(x, nn.Parameter) or getattr(x, _LEARNED, False)


def plain(x: Any) -> Any:
    """x (also inside lists and tuples) without its way back."""
    return swapped(x, lambda t: t.detach())


def swapped(x: Any, change: Callable[[Tensor], Any]) -> Any:
    """x with every tensor in it changed, inside tuples, lists and dicts too."""
    if isinstance(x, Tensor):
        return change(x)
    if isinstance(x, tuple | list):
        return type(x)([swapped(y, change) for y in x]) if type(x) in (tuple, list) else x
    if type(x) is dict:
        return {key: swapped(y, change) for key, y in x.items()}
    return x


def tensors_in(x: Any) -> list[Tensor]:
    """Every tensor in x, in order."""
    if isinstance(x, Tensor):
        return [x]
    if isinstance(x, dict):
        return [t for y in x.values() for t in tensors_in(y)]
    return [t for y in x for t in tensors_in(y)] if isinstance(x, tuple | list) else []


def spelt(func: Callable[..., Any]) -> str:
    """The name of a torch function, however it was called; "shape" or "T" for attributes."""
    name = getattr(func, "__name__", str(func))
    if name in ("__get__", "__set__", "__delete__"):
        return getattr(getattr(func, "__self__", None), "__name__", name) + (
            "" if name == "__get__" else " ="
        )
    return _SPELLINGS.get(name, name)


def rebuilt(value: Any, replaced: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        return replaced[id(value)]
    if isinstance(value, tuple | list):
        parts = [rebuilt(v, replaced) for v in value]
        return type(value)(parts) if type(value) in (tuple, list) else tuple(parts)
    return value
