"""Operations that only move numbers: autograd's own backward pass moves relevance the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from heschl.explanation.lrp.signals import (
    is_learned,
    learn,
    mark_of,
    outside_of,
    plain,
    spelt,
    swapped,
    tensors_in,
)
from heschl.explanation.lrp.tape import Tape

# Each value of the outcome is one value of the input (or a constant), so its gradient is its relevance: a value
# that is used twice collects both. Max pooling is among them: the first winner takes all.
_NAMES = (
    "reshape view view_as flatten unflatten ravel squeeze unsqueeze transpose transpose_ swapaxes swapdims permute "
    "movedim moveaxis t T mT contiguous clone alias chunk split split_with_sizes tensor_split hsplit vsplit unbind "
    "select narrow index_select getitem gather take_along_dim masked_select cat stack hstack vstack dstack "
    "expand expand_as broadcast_to repeat repeat_interleave tile pad unfold as_strided flip fliplr flipud roll "
    "rot90 masked_fill where to type type_as float double real imag view_as_real view_as_complex "
    "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d_with_indices "
    "adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices sort topk cummax diagonal tril triu "
    "pixel_shuffle pixel_unshuffle channel_shuffle zero_pad1d zero_pad2d"
)
MOVES = frozenset(_NAMES.split())
_JOINS = frozenset({"cat", "stack", "hstack", "vstack", "dstack", "where"})
_HIDE = frozenset(
    {"where", "masked_fill", "pad", "zero_pad1d", "zero_pad2d"}
)  # constants in a clip's place, or beside it
_SHUFFLE = frozenset({"sort", "topk", "cummax"})  # by their values: of other places nothing can be told


def move(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The operation itself; what it tells of signals (bounds, logits, gates) goes along."""
    name = spelt(func)
    signals = [t for t in tensors_in((args, kwargs)) if mark_of(t)]
    marks = [m for m in map(mark_of, signals) if m]
    # constants among the arguments have no way back, so that only what is made of a signal gets a mark
    held = swapped((args, kwargs), lambda t: t if mark_of(t) or not t.requires_grad else t.detach())
    if name in _JOINS and tape.counted:
        held = swapped(held, lambda t: _constant(tape, t, name))
    with torch.enable_grad():
        out = func(*held[0], **held[1])
    if any(out is t for t in signals):
        return out
    tape.mark(out, signals)
    if isinstance(out, Tensor) and not mark_of(out) and any(map(is_learned, tensors_in((args, kwargs)))):
        learn(out)  # `parameter.expand_as(x)`
    if name not in _SHUFFLE and (name in _HIDE or any(m.outside is not None for m in marks)):
        _leave_out(func, name, args, kwargs, signals, out)
    if isinstance(out, Tensor) and mark_of(out):
        new = mark_of(out)
        assert new is not None
        boxes = [m.box for m in marks if m.box is not None]
        if len(boxes) == len(marks):
            ends = [_at(func, args, kwargs, signals, [box[end] for box in boxes]) for end in (0, 1)]
            new.box = (ends[0], ends[1])
        clips = [m.clip for m in marks if m.clip is not None]
        if len(clips) == len(marks):
            blank = _blank(args, kwargs)
            new.clip = _at(func, blank[0], blank[1], signals, clips)
        if len(signals) == 1 and marks[0].logits is not None:
            logits = marks[0].logits
            with_logits = [swapped(p, lambda t: logits if t is signals[0] else t) for p in (args, kwargs)]
            new.logits = move(tape, func, *with_logits)
    return out


def _at(
    func: Callable[..., Any], args: Any, kwargs: Any, signals: list[Tensor], ends: list[Tensor]
) -> Tensor:
    """What the operation makes of the bounds of its signals."""
    bounds = {id(t): end for t, end in zip(signals, ends)}
    args, kwargs = swapped((args, kwargs), lambda t: bounds.get(id(t), t))
    with torch.no_grad():
        out: Tensor = func(*args, **kwargs)
    return out


def _leave_out(
    func: Callable[..., Any], name: str, args: Any, kwargs: Any, signals: list[Tensor], out: Any
) -> None:
    """Marks where `out` holds nothing of the clip: what was so before, and the constants that a mask or padding puts."""
    if any(t.is_complex() for t in (*signals, *tensors_in(out))):
        return
    held = []
    for t in signals:
        gone = outside_of(t, t.shape)
        held.append(torch.ones((), device=t.device).expand(t.shape) if gone is None else (~gone).float())
    args, kwargs = _blank(args, kwargs) if name in _HIDE else (args, kwargs)
    for t, inside in zip(tensors_in(out), tensors_in(_at(func, args, kwargs, signals, held))):
        if (mark := mark_of(t)) is not None:
            gone = inside != 1
            mark.outside = gone if bool(gone.any()) else None


def _blank(args: Any, kwargs: Any) -> Any:
    """The arguments with zeros for the constants that may come to stand among the signals."""

    def nothing(t: Tensor) -> Tensor:
        return torch.zeros_like(t) if t.is_floating_point() and mark_of(t) is None else t

    def number(v: Any) -> Any:
        return 0.0 if isinstance(v, float) else v

    args, kwargs = swapped((args, kwargs), nothing)
    return tuple(map(number, args)), {key: number(v) for key, v in kwargs.items()}


def _constant(tape: Tape, t: Tensor, name: str) -> Tensor:
    return tape.constant(t, name) if mark_of(t) is None and t.is_floating_point() else t


def pick(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """max, min, amax, amin over axes, maximum and minimum of two: the first winner takes all."""
    name, x = spelt(func), args[0]
    other = args[1] if len(args) > 1 else kwargs.get("other")
    if isinstance(other, Tensor):
        wins = plain(x) >= plain(other) if name in ("max", "maximum") else plain(x) <= plain(other)
        return move(tape, torch.where, (wins, x, other), {})
    if name in ("max", "min") and (other is not None or "dim" in kwargs):
        return move(tape, func, args, kwargs)
    dims = other if other is not None else kwargs.get("dim")
    dims = tuple(range(x.ndim)) if dims is None or dims == () else dims
    dims = sorted(d % x.ndim for d in ((dims,) if isinstance(dims, int) else dims))
    keep = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
    rest = [d for d in range(x.ndim) if d not in dims]
    best = torch.max if name in ("max", "amax") else torch.min
    x = move(tape, torch.permute, (x, (*rest, *dims)), {})
    x = move(tape, torch.flatten, (x, len(rest)), {})
    out = move(tape, best, (x, -1), {})[0]
    for d in dims if keep else ():
        out = move(tape, torch.unsqueeze, (out, d), {})
    return out
