"""Layers that are linear in the signal: dense, convolution, products with constants, averages, transforms, norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from heschl.explanation.lrp.maps import CONVOLUTIONS, TRANSPOSED, Map, by_autograd, convolution, dense
from heschl.explanation.lrp.rules import Affine, Rule, share
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
        if value.is_complex() and rule.name != "epsilon":
            raise tape.refusal(
                f"weights on complex numbers under {rule}, which asks for their signs",
                "take preset 'epsilon', or write real and imaginary parts",
            )
    box = tape.box(x) if rule.name == "zbox" else None
    outside = mark.outside if rule.name in ("flat", "w2", "zbox") else None
    layer = Affine(map_, plain(x), plain(w), plain(b), value.detach(), box, outside, tape.counted)
    return emit_affine(tape, layer, x, rule, tape.where(), value, fresh=mark.fresh and kind == "fixed")


def emit_affine(
    tape: Tape,
    layer: Affine,
    x: Tensor,
    rule: Rule,
    where: str,
    value: Tensor,
    fresh: bool,
    fusable: bool = True,
) -> Tensor:
    """value = layer(x) under `rule`; fusable: a BatchNorm directly after it becomes part of it."""

    def spread(relevance: Tensor) -> tuple[Tensor]:
        shares = share(rule, layer, relevance)
        tape.count(where, str(rule), (relevance,), shares.given, shares.bias, shares.epsilon)
        return (shares.given[0],)

    affine = Fusable(layer, x, rule, where) if fusable else None
    return tape.emit(value, [x], spread, fresh=fresh, affine=affine)


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
    if kwargs:
        raise tape.refusal("`addmm` with beta, alpha or out", "scale the weights before it")
    if mark_of(b) or mark_of(w) or not mark_of(x):
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
