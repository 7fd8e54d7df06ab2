"""Normalisation: BatchNorm is fused or diagonal; by a clip's own mean and deviation, the deviation is a constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from heschl.explanation.lrp.layers import bound, emit_affine, fixed
from heschl.explanation.lrp.rules import Affine, quotient, stab, total
from heschl.explanation.lrp.signals import mark_of, plain, spelt
from heschl.explanation.lrp.tape import Tape


def batch_norm(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    names = "input running_mean running_var weight bias training momentum eps"
    x, mean, var, weight, bias, training, _, eps = bound(args, kwargs, names, None, None, False, 0.1, 1e-5)
    if training or mean is None:
        raise tape.refusal(
            "a BatchNorm that mixes the clips of a batch",
            "let it use running statistics (track_running_stats=True, and training=False where it is called)",
        )
    with torch.no_grad():
        value: Tensor = func(*plain(args), **plain(kwargs))
        a = (var + eps).rsqrt()
        a = a if weight is None else a * weight
        c = -mean * a
        c = c if bias is None else c + bias
    mark = mark_of(x)
    assert mark is not None
    last = mark.affine
    if last is not None and _channels_lead(last.layer, a):
        layer, along, scale = last.layer, last.layer.map.along, last.layer.map.scale
        assert along is not None and scale is not None
        with torch.no_grad():
            b = along(c) if layer.b is None else along(a) * layer.b + along(c)
            w = scale(layer.w, a)
        fused = Affine(layer.map, layer.x, w, b, value.detach(), layer.box, layer.outside, tape.counted)
        tape.only_epsilon("a BatchNorm that is fused into the layer before it")
        return emit_affine(tape, fused, last.x, last.rule, last.where, value, fresh=False, fusable=False)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return diagonal(tape, x, value, a.reshape(shape), c.reshape(shape))


def _channels_lead(layer: Affine, a: Tensor) -> bool:
    """Whether BatchNorm's channels (axis 1) are the outputs of the layer."""
    if layer.map.scale is None or layer.map.along is None:
        return False
    return layer.z.shape[1] == len(a) and (layer.z.ndim == 2 or layer.w.ndim == layer.z.ndim > 2)


def diagonal(tape: Tape, x: Tensor, value: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """value = a x + c element by element, under epsilon."""
    tape.only_epsilon("a channel-wise product")
    where, z, signal = tape.where(), value.detach(), plain(x)

    def spread(relevance: Tensor) -> tuple[Tensor]:
        s = relevance / stab(z)
        given = signal * a * s
        if tape.counted:
            share_b, share_e = total(c.expand_as(s) * s), total((stab(z) - z) * s)
            tape.count(where, "epsilon", (relevance,), (given,), share_b, share_e)
        return (given,)

    mark = mark_of(x)
    box = None
    if tape.bounds_given and mark is not None and mark.box is not None:
        ends = [a * end + c for end in mark.box]
        box = (torch.minimum(*ends), torch.maximum(*ends))
    return tape.emit(value, [x], spread, box=box)


def layer_norm(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, shape, weight, bias, eps = bound(
        args, kwargs, "input normalized_shape weight bias eps", None, None, 1e-5
    )
    n = len(tuple(shape))
    return _standardised(tape, func, args, kwargs, x, x.shape[: x.ndim - n], weight, bias, eps)


def group_norm(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, groups, weight, bias, eps = bound(args, kwargs, "input num_groups weight bias eps", None, None, 1e-5)
    wide = (-1,) + (1,) * (x.ndim - 2)
    weight, bias = (None if t is None else t.reshape(wide) for t in (weight, bias))
    return _standardised(tape, func, args, kwargs, x, (x.shape[0], groups), weight, bias, eps)


def instance_norm(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    names = "input running_mean running_var weight bias use_input_stats momentum eps"
    x, mean, var, weight, bias, by_clip, _, eps = bound(
        args, kwargs, names, None, None, None, None, True, 0.1, 1e-5
    )
    if not by_clip:
        return batch_norm(
            tape, torch.nn.functional.batch_norm, (x, mean, var, weight, bias, False, 0.1, eps), {}
        )
    wide = (-1,) + (1,) * (x.ndim - 2)
    weight, bias = (None if t is None else t.reshape(wide) for t in (weight, bias))
    return _standardised(tape, func, args, kwargs, x, x.shape[:2], weight, bias, eps)


def _standardised(
    tape: Tape,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    x: Tensor,
    lead: Any,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """y = weight (x - mean) / deviation + bias; the deviation is a constant: a linear layer under epsilon."""
    tape.only_epsilon("a normalisation")
    with torch.no_grad():
        value: Tensor = func(*plain(args), **plain(kwargs))
        deviation = (x.detach().reshape(*lead, -1).var(-1, unbiased=False, keepdim=True) + eps).sqrt()
    where, signal, z = tape.where(), plain(x), value.detach()

    def spread(relevance: Tensor) -> tuple[Tensor]:
        s = quotient(relevance, z)
        g = (s if weight is None else s * weight.detach()).reshape(*lead, -1) / deviation
        given = signal * (g - g.mean(-1, keepdim=True)).reshape(signal.shape)
        if tape.counted:
            share_b = 0.0 if bias is None else total(bias.detach().expand_as(s) * s)
            tape.count(where, "epsilon", (relevance,), (given,), share_b, total((stab(z) - z) * s))
        return (given,)

    return tape.emit(value, [x], spread)


def variance(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Variance and deviation along axes: each value takes its part x (x - mean) of the sum of squares."""
    x, rest = args[0], args[1:]
    with torch.no_grad():
        value: Tensor = func(plain(x), *rest, **kwargs)
    z = value.square() if spelt(func) == "std" else value
    where, signal = tape.where(spelt(func)), plain(x)

    def spread(relevance: Tensor) -> tuple[Tensor]:
        s = relevance / stab(z)
        with torch.enable_grad():
            again = signal.clone().requires_grad_()
            slope = torch.autograd.grad(torch.var(again, *rest, **kwargs), again, s)[0]
        given = signal * slope / 2
        tape.count(
            where,
            "epsilon",
            (relevance,),
            (given,),
            epsilon=total((stab(z) - z) * s) if tape.counted else 0.0,
        )
        return (given,)

    return tape.emit(value, [x], spread)


def with_mean(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """var_mean and std_mean: the two one by one."""
    name = spelt(func)
    if len(args) > 2 or isinstance(args[-1], bool):
        raise tape.refusal(f"`{name}` with its options in order", "give them by name")
    of_mean = {key: value for key, value in kwargs.items() if key in ("dim", "keepdim")}
    spread = torch.var if name == "var_mean" else torch.std
    return variance(tape, spread, args, kwargs), fixed(tape, torch.mean, args, of_mean)
