"""Element by element: activations, sums, products, and the softmax at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from heschl.explanation.lrp.layers import bound, fixed, signals_meet
from heschl.explanation.lrp.rules import product, quotient, stab, total
from heschl.explanation.lrp.signals import (
    is_learned,
    mark_of,
    outside_of,
    plain,
    spelt,
    swapped,
    tensors_in,
)
from heschl.explanation.lrp.tape import Tape

# y = f(x) of one signal: y's relevance is x's (the identity rule)
_NAMES = (
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus hardswish hardtanh hardshrink "
    "softshrink tanhshrink softsign threshold logsigmoid tanh sigmoid hardsigmoid log log2 log10 log1p exp expm1 "
    "sqrt square clamp clamp_min clamp_max clip nan_to_num rms_norm neg positive normalize"
)
ACTIVATIONS = frozenset(_NAMES.split())
_GATES = frozenset({"sigmoid", "hardsigmoid"})

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def pass_on(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    """The identity rule."""
    signals = [t for t in tensors_in((args, kwargs)) if mark_of(t)]
    with torch.no_grad():
        value: Tensor = func(*plain(args), **plain(kwargs))
    if len(signals) != 1 or signals[0] is not args[0] or value.shape != args[0].shape or value.is_complex():
        return signals_meet(tape, func, args, kwargs)
    return _passed(tape, args[0], value, gate=spelt(func) in _GATES)


def _passed(tape: Tape, x: Tensor, value: Tensor, **changes: Any) -> Tensor:
    """All relevance of `value` is that of x, where x was broadcast too."""
    tape.only_epsilon("an activation")
    where, shape = tape.where(), x.shape

    def spread(relevance: Tensor) -> tuple[Tensor]:
        given = relevance.sum_to_size(shape)
        tape.count(where, "identity", (relevance,), (given,))
        return (given,)

    return tape.emit(value, [x], spread, outside=outside_of(x, value.shape), **changes)


def magnitude(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    """|x|; of complex numbers, real and imaginary part share by their squares."""
    x = args[0]
    if not x.is_complex():
        return pass_on(tape, func, args, kwargs)
    with torch.no_grad():
        value: Tensor = func(plain(x))
    parts, where = torch.view_as_real(plain(x)), tape.where("power")

    def spread(relevance: Tensor) -> tuple[Tensor]:
        power = parts.square()
        s = relevance / stab(power.sum(-1))
        given = torch.view_as_complex((power * s[..., None]).contiguous())
        left = total(relevance) - total(given) if tape.counted else 0.0
        tape.count(where, "epsilon", (relevance,), (given,), epsilon=left)
        return (given,)

    return tape.emit(value, [x], spread)


def add(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    """Terms share in proportion, under epsilon; a constant is a bias."""
    name = spelt(func)
    a, b, alpha = bound(args, kwargs, "input other alpha", 1)
    with torch.no_grad():
        value: Tensor = func(*plain(args), **plain(kwargs))
    signs = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[name]
    terms = [(t, sign) for t, sign in zip((a, b), signs)]
    signals = [(t, sign) for t, sign in terms if mark_of(t)]
    constants = [(t, sign) for t, sign in terms if not mark_of(t)]
    z, where = value.detach(), tape.where(name)
    held = [(plain(t), sign) for t, sign in signals]
    box = None
    if tape.bounds_given and len(signals) == 1 and (mark := mark_of(signals[0][0])) and mark.box is not None:
        ends = [signals[0][1] * end + constants[0][1] * constants[0][0] for end in mark.box]
        box = (ends[0], ends[1]) if signals[0][1] > 0 else (ends[1], ends[0])

    def spread(relevance: Tensor) -> tuple[Tensor, ...]:
        s = quotient(relevance, z)
        given = tuple(product(sign * t.expand(z.shape), s).sum_to_size(t.shape) for t, sign in held)
        if tape.counted:
            bias = sum(total(sign * t * torch.ones_like(s) * s) for t, sign in plain(constants))
            tape.count(where, "epsilon", (relevance,), given, bias, total(product(stab(z) - z, s)))
        return given

    gate, gone = all(_is_gate(t) for t, _ in signals), [outside_of(t, z.shape) for t, _ in signals]
    outside = None if any(each is None for each in gone) else torch.stack(gone).all(0)  # type: ignore[arg-type]
    return tape.emit(value, [t for t, _ in signals], spread, gate=gate, box=box, outside=outside)


def _is_gate(t: Any) -> bool:
    mark = mark_of(t)
    return mark is not None and mark.gate


def multiply(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    """A gate or a constant beside a signal: the signal takes all, save where the constant is zero."""
    a, b = bound(args, kwargs, "input other")
    if mark_of(a) and mark_of(b) and a is not b:
        if _is_gate(a) == _is_gate(b):
            return signals_meet(tape, func, args, kwargs)
        x, gate = (b, a) if _is_gate(a) else (a, b)
        if x.is_complex():
            return fixed(tape, func, *swapped((args, kwargs), lambda t: t.detach() if t is gate else t))
        with torch.no_grad():
            value: Tensor = func(*plain(args), **plain(kwargs))
        return _passed(tape, x, value)
    if a is b:
        if a.is_complex():
            return signals_meet(tape, func, args, kwargs)
        return _passed(tape, a, plain(a) * plain(a))
    x, c = (a, b) if mark_of(a) else (b, a)
    if x.is_complex() or (isinstance(c, Tensor) and c.is_complex()) or isinstance(c, complex):
        return fixed(tape, func, args, kwargs)
    return _scaled(tape, func, args, kwargs, x, c)


def _scaled(
    tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs, x: Tensor, c: Tensor | float
) -> Any:
    with torch.no_grad():
        value: Tensor = func(*plain(args), **plain(kwargs))
    mark, where, shape = mark_of(x), tape.where(spelt(func)), x.shape
    assert mark is not None
    c = plain(c)

    def spread(relevance: Tensor) -> tuple[Tensor]:
        given = relevance
        if isinstance(c, Tensor):
            given = relevance * (c != 0)
        elif c == 0:
            given = torch.zeros_like(relevance)
        stopped = total(relevance) - total(given) if tape.counted else 0.0
        tape.count(where, "identity", (relevance,), (given,), stopped=stopped)
        return (given.sum_to_size(shape),)

    box = None
    if tape.bounds_given and mark.box is not None:
        ends = [func(*[end if t is x else t for t in args], **kwargs) for end in mark.box]
        box = (torch.minimum(*ends), torch.maximum(*ends))
    return tape.emit(value, [x], spread, gate=mark.gate, box=box, outside=_hidden(x, c, value.shape))


def _hidden(x: Tensor, c: Tensor | float, shape: torch.Size) -> Tensor | None:
    """Where x c holds nothing of the clip: where x does not, or c is a mask, of zeros and ones, and zero."""
    outside = outside_of(x, shape)
    if not isinstance(c, Tensor) or is_learned(c):
        return outside
    hides = c == 0
    if not bool(hides.any()) or not bool((hides | (c == 1)).all()):
        return outside
    return hides.expand(shape) if outside is None else hides | outside


def divide(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    """The numerator takes all: what a clip is divided by (its own deviation, say) is a constant."""
    a, b = bound(args, kwargs, "input other")
    if spelt(func) == "rdiv" or not mark_of(a) or kwargs.get("rounding_mode"):
        return signals_meet(tape, func, args, kwargs)
    if not mark_of(b):
        if a.is_complex():
            return fixed(tape, func, args, kwargs)
        return _scaled(tape, func, args, kwargs, a, b if not isinstance(b, Tensor) else torch.ones_like(b))
    if a.is_complex():
        return signals_meet(tape, func, args, kwargs)
    with torch.no_grad():
        value: Tensor = func(*plain(args), **plain(kwargs))
    return _passed(tape, a, value, gate=_is_gate(a) and _is_gate(b))


def power(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    x, n = bound(args, kwargs, "input exponent")
    if not mark_of(x) or x.is_complex() or mark_of(n):
        return signals_meet(tape, func, args, kwargs)
    with torch.no_grad():
        value: Tensor = func(plain(x), n)
    return _passed(tape, x, value)


def inverse(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    """1 / x and 1 / sqrt(x): beside a signal it is a constant, as what a clip is divided by is (`divide`)."""
    with torch.no_grad():
        value: Tensor = func(*plain(args), **plain(kwargs))
    name = spelt(func)
    error = tape.refusal(f"`{name}` that nothing is multiplied with", "give this module's rule in `rules`")
    return tape.refuse_later(value, [args[0]], error, gate=True)


def glu(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    """a sigmoid(b): the signal a takes all, the gate b nothing."""
    x, axis = bound(args, kwargs, "input dim", -1)
    with torch.no_grad():
        value: Tensor = func(plain(x), axis)
    where = tape.where()

    def spread(relevance: Tensor) -> tuple[Tensor]:
        tape.count(where, "signal takes all", (relevance,), (relevance,))
        return (torch.cat([relevance, torch.zeros_like(relevance)], axis),)

    return tape.emit(value, [x], spread)


def dropout(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    (training,) = bound(args[:0], kwargs, "training", True)
    if training and kwargs.get("p", 0.5) > 0:
        raise tape.refusal(
            "dropout in training", "call model.eval() first, or tell F.dropout that it is not training"
        )
    return args[0]


def softmax(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    """Weights of attention (no relevance), or the end of the network (taken off); elsewhere it has no rule."""
    x = args[0]
    with torch.no_grad():
        value: Tensor = func(plain(x), *args[1:], **kwargs)
    gate = spelt(func) == "softmax"
    if gate and tape.attention == "attn":
        from heschl.explanation.lrp.attention import softmax_spread

        return tape.emit(value, [x], softmax_spread(tape, plain(x), value.detach()), gate=True, logits=x)
    error = tape.refusal(
        f"a {spelt(func)} between layers", "only the end of a network and weights of attention may have one"
    )
    return tape.refuse_later(value, [x], error, gate=gate, logits=x)
