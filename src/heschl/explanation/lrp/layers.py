"""Layers that are linear in the signal: dense, convolution, products with constants, averages, transforms, norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from heschl.explanation.lrp.maps import CONVOLUTIONS, TRANSPOSED, Map, by_autograd, convolution, dense
from heschl.explanation.lrp.rules import Affine, Rule, quotient, share, stab, total
from heschl.explanation.lrp.signals import Fusable, is_learned, mark_of, plain, spelt, swapped, tensors_in
from heschl.explanation.lrp.tape import Tape

_EPSILON = Rule("epsilon")
_EMPTY = torch.zeros(())


def bound(args: tuple[Any, ...], kwargs: dict[str, Any], names: str, *defaults: Any) -> list[Any]:
    """Arguments by name; `defaults` belong to the last names."""
    listed = names.split()
    values = dict(zip(listed[len(listed) - len(defaults) :], defaults))
    values.update(zip(listed, args))
    values.update((key, v) for key, v in kwargs.items() if key in listed)
    return [values[name] for name in listed]


def affine(tape: Tape, map_: Map, x: Tensor, w: Tensor, b: Tensor | None, value: Tensor, kind: str) -> Tensor:
    """value = map(x, w) + b under the rule of the module at work.

    kind: "convolution", "linear"; or, under epsilon always, "attention", "product" (with parameters, but no layer)
    and "fixed" (no weights, so that the layer after it may be the first).
    """
    mark = mark_of(x)
    assert mark is not None
    if kind in ("fixed", "product"):
        tape.only_epsilon("an operation without weights of a layer")
        rule = _EPSILON
    elif kind == "attention":
        tape.only_epsilon("attention")
        rule = _EPSILON
    else:
        rule = tape.rule(kind, mark.fresh)
    box = tape.box(x) if rule.name == "zbox" else None
    layer = Affine(map_, plain(x), plain(w), plain(b), value.detach(), box, tape.counted)
    return emit_affine(tape, layer, x, rule, tape.where(), value, fresh=mark.fresh and kind == "fixed")


def emit_affine(
    tape: Tape, layer: Affine, x: Tensor, rule: Rule, where: str, value: Tensor, fresh: bool
) -> Tensor:
    def spread(relevance: Tensor) -> tuple[Tensor]:
        shares = share(rule, layer, relevance)
        tape.count(where, str(rule), (relevance,), shares.given, shares.bias, shares.epsilon)
        return (shares.given[0],)

    return tape.emit(value, [x], spread, fresh=fresh, affine=Fusable(layer, x, rule, where))


def linear(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, w, b = bound(args, kwargs, "input weight bias", None)
    if mark_of(w) or mark_of(b):
        return signals_meet(tape, func, args, kwargs)
    with torch.no_grad():
        value: Tensor = func(plain(x), w, b)
    return affine(tape, dense(), x, w, b, value, "linear" if is_learned(w) else "fixed")


def conv(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = spelt(func)
    if name in TRANSPOSED:
        names = "input weight bias stride padding output_padding groups dilation"
        x, w, b, *rest = bound(args, kwargs, names, None, 1, 0, 0, 1, 1)
    else:
        names = "input weight bias stride padding dilation groups"
        x, w, b, *rest = bound(args, kwargs, names, None, 1, 0, 1, 1)
    if mark_of(w) or mark_of(b):
        return signals_meet(tape, func, args, kwargs)
    if x.ndim != w.ndim:
        raise tape.refusal("a convolution without a batch axis", "give it (batch, channel, ...)")
    options = dict(zip(names.split()[3:], rest))
    if name in CONVOLUTIONS:
        map_ = convolution(name, x.shape, w.shape, options)
    else:
        forward = TRANSPOSED[name]
        bare = by_autograd(lambda x, w: forward(x, w, None, **options), x.shape, x.dtype)
        ones, groups = (1,) * (w.ndim - 2), options["groups"]

        def scale(w: Tensor, a: Tensor) -> Tensor:
            each = a.reshape(groups, 1, -1).expand(groups, w.shape[0] // groups, w.shape[1])
            return w * each.reshape(w.shape[0], w.shape[1], *ones)

        map_ = Map(bare.apply, bare.back, scale, lambda a: a.reshape(-1, *ones))
    with torch.no_grad():
        value: Tensor = func(*plain(args), **plain(kwargs))
    bias = None if b is None else b.detach().reshape(-1, *(1,) * (w.ndim - 2))
    return affine(tape, map_, x, w, bias, value, "convolution" if is_learned(w) else "fixed")


def fixed(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Any map that is linear in its only signal, under epsilon."""
    signals = [t for t in tensors_in((args, kwargs)) if mark_of(t)]
    if len(signals) != 1:
        return signals_meet(tape, func, args, kwargs)
    signal = signals[0]

    kind = "product" if any(map(is_learned, tensors_in((args, kwargs)))) else "fixed"

    def apply(x: Tensor, w: Tensor) -> Tensor:
        put = [swapped(part, lambda t: x if t is signal else t.detach()) for part in (args, kwargs)]
        out: Tensor = func(*put[0], **put[1])
        return out

    with torch.no_grad():
        value: Tensor = func(*plain(args), **plain(kwargs))
    out = affine(tape, by_autograd(apply, signal.shape, signal.dtype), signal, _EMPTY, None, value, kind)
    mark, new = mark_of(signal), mark_of(out)
    assert mark is not None and new is not None
    new.gate = mark.gate
    if (
        mark.logits is not None and spelt(func) == "mean" and not mark.gate
    ):  # over the branches of a log-softmax
        logits = mark.logits
        again = [swapped(part, lambda t: logits if t is signal else t) for part in (args, kwargs)]
        new.logits = fixed(tape, func, *again)
    return out


def matmul(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """x w, w x with a constant w; or weights of attention times a signal: the weights are constant."""
    if spelt(func) == "rmatmul":
        func, args = torch.matmul, (args[1], args[0])
    signals = [t for t in tensors_in((args, kwargs)) if mark_of(t)]
    if len(signals) == 2:
        return signals_meet(tape, func, args, kwargs)
    a, c = bound(args, kwargs, "input other") if "mat2" not in kwargs else (args[0], kwargs["mat2"])
    x, w = (a, c) if mark_of(a) else (c, a)
    if not is_learned(w):
        return fixed(tape, func, args, kwargs)
    bare = (lambda x, w: func(x, w)) if mark_of(a) else (lambda x, w: func(w, x))
    with torch.no_grad():
        value: Tensor = func(plain(a), plain(c))
    return affine(tape, by_autograd(bare, x.shape, x.dtype), x, w, None, value, "linear")


def addmm(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    b, x, w = bound(args, {}, "input mat1 mat2")
    if kwargs or mark_of(b) or mark_of(w) or not mark_of(x):
        return signals_meet(tape, func, args, kwargs)
    with torch.no_grad():
        value: Tensor = func(b, plain(x), w)
    return affine(tape, dense(), x, w.mT, b, value, "linear" if is_learned(w) else "fixed")


def signals_meet(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A product of two signals: the gate among them is a constant; without one it has no rule."""
    from heschl.explanation.lrp.attention import half

    signals = [t for t in tensors_in((args, kwargs)) if mark_of(t)]
    gates = [t for t in signals if mark_of(t).gate]  # type: ignore[union-attr]
    product = spelt(func) in ("matmul", "bmm", "einsum", "mm")
    if tape.attention == "attn" and len(signals) == 2 and product:
        return half(tape, func, args, kwargs, signals)
    others = [t for t in signals if not any(t is g for g in gates)]
    if product and gates and len(others) == 1:
        constant = [
            swapped(part, lambda t: t.detach() if any(t is g for g in gates) else t)
            for part in (args, kwargs)
        ]
        return fixed(tape, func, *constant)
    with torch.no_grad():
        value: Tensor = func(*plain(args), **plain(kwargs))
    error = tape.refusal(
        f"`{spelt(func)}` of two signals",
        "one of them must be a weight (from a sigmoid or softmax), or give this module's rule in `rules`",
    )
    return tape.refuse_later(value, signals, error)


# ---- normalisation


def batch_norm(tape: Tape, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    names = "input running_mean running_var weight bias training momentum eps"
    x, mean, var, weight, bias, training, _, eps = bound(args, kwargs, names, None, None, False, 0.1, 1e-5)
    if training or mean is None:
        raise tape.refusal("a BatchNorm that mixes the clips of a batch", "call model.eval() first")
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
        fused = Affine(layer.map, layer.x, w, b, value.detach(), layer.box, tape.counted)
        tape.only_epsilon("a BatchNorm that is fused into the layer before it")
        return emit_affine(tape, fused, last.x, last.rule, last.where, value, fresh=False)
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
