"""Following a clip through a network: every torch operation on the way is seen here and given to its handler.

A tensor on the way ("signal") carries a `Mark`. The gradient that autograd sends back along the way *is*
relevance: operations that only move numbers keep their own backward pass, all others get one of ours (`emit`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from heschl.explanation.asking import COARSE
from heschl.explanation.lrp.presets import Preset, choose
from heschl.explanation.lrp.rules import Own, Rule, total
from heschl.explanation.lrp.signals import (
    Mark,
    is_learned,
    learn,
    mark_of,
    own_extremes,
    plain,
    put_mark,
    rebuilt,
    spelt,
    swapped,
    tensors_in,
    whose,
)
from heschl.types import HeschlError

T = TypeVar("T")
# what is made after the shape of a signal, not of its values; and what the network itself calls a constant
_CONSTANTS = frozenset(
    {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "detach"}
) | {
    "new_full",
    "new_empty",
    "new_tensor",
    "rand_like",
    "randn_like",
}


@dataclass(slots=True)
class Entry:
    """One line of the report: a layer, its rule, and where the relevance that came to it went."""

    name: str
    rule: str
    relevance_in: float
    relevance_out: float
    bias: float
    epsilon: float
    stopped: float


@dataclass(slots=True)
class _Parcel:
    value: Any
    spread: Callable[..., tuple[Any, ...]] | None


class _Relevance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parcel: _Parcel, *signals: Tensor) -> Any:
        ctx.spread = parcel.spread
        return parcel.value

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> Any:
        spread, ctx.spread = ctx.spread, None  # each layer's tensors are let go as soon as they are done
        return (None, *spread(*relevance))


class Tape(TorchFunctionMode):
    """One run of a network: which module is at work, which rule it takes, and what the report says."""

    def __init__(
        self,
        model: nn.Module,
        preset: Preset,
        rules: dict[Any, Rule | Own | str],
        attention: str = "cp",
        counted: bool = False,
        bounds_given: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.preset, self.rules = model, preset, rules
        self.attention, self.counted, self.bounds_given = attention, counted, bounds_given
        self.stack: list[tuple[str, nn.Module]] = []
        self.used: set[Any] = set()
        self.kinds: set[str] = set()
        self.entries: list[Entry] = []
        self.words: list[str] = []
        self.bytes = 0
        self.closed = 0  # inside a module with a rule of the user's own: nothing is followed
        self.anchor = torch.zeros(0, requires_grad=True)
        self.boxed_inside = any(isinstance(rule, Rule) and rule.name == "zbox" for rule in rules.values())

    # ---- where we are

    def where(self, detail: str = "") -> str:
        name, module = self.stack[-1] if self.stack else ("", self.model)
        name = name or type(module).__name__
        return f"{name} ({detail})" if detail else name

    def refusal(self, what: str, mend: str) -> HeschlError:
        name, module = self.stack[-1] if self.stack else ("", self.model)
        return HeschlError(
            f"LRP has no rule for {what} in module '{name or 'the network itself'}' ({type(module).__name__}): {mend}"
        )

    def _unseen(self) -> HeschlError:
        return self.refusal(
            "a tensor made of x where torch does not say how (an autograd.Function of one's own, compiled or scripted code)",
            "write it with torch's functions, or give that module's rule in `rules`",
        )

    def own_rule(self, inner_only: bool = False) -> Rule | Own | str | None:
        """The rule that the user gave for the module at work, or for the nearest one around it."""
        for name, module in list(reversed(self.stack))[: 1 if inner_only else None]:
            for key in (name, type(module)):
                if key in self.rules:
                    self.used.add(key)
                    return self.rules[key]
        return None

    def rule(self, kind: str, first: bool) -> Rule:
        own = self.own_rule()
        if isinstance(own, Rule):
            return own
        rule = choose(self.preset, kind, first)
        self.kinds.add("first" if first else kind)
        return rule

    def only_epsilon(self, what: str) -> None:
        own = self.own_rule(inner_only=True)
        if isinstance(own, Rule) and own.name != "epsilon":
            raise HeschlError(
                f"the rule {own} was given for module '{self.where()}', but {what} knows epsilon only: "
                "leave it out of `rules`"
            )

    def box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z-box's bounds at x: those given, else each clip's own extremes there."""
        mark = mark_of(x)
        assert mark is not None
        if mark.box is None and self.bounds_given:
            raise HeschlError(
                f"low and high bound x, but module '{self.where()}', which z-box is for, gets something else made of x: "
                "leave them out, and its own extremes are taken"
            )
        value = plain(x)
        low, high = own_extremes(value, mark.clip, mark.outside) if mark.box is None else mark.box
        if mark.outside is None:
            return low, high
        return torch.where(mark.outside, value, low), torch.where(mark.outside, value, high)

    # ---- signals

    def begin(self, x: Tensor, box: tuple[Tensor, Tensor] | None, outside: Tensor | None) -> Tensor:
        x = x.detach().clone().requires_grad_()
        self.anchor = torch.zeros(0, dtype=x.dtype, device=x.device, requires_grad=True)
        clip = torch.arange(1.0, len(x) + 1, dtype=x.dtype, device=x.device)
        clip = clip.reshape(-1, *(1,) * (x.ndim - 1)).expand(x.shape)
        put_mark(x, Mark(box=box, clip=None if box is None else clip, outside=outside))
        return x

    def mark(self, out: T, signals: list[Tensor], **changes: Any) -> T:
        """Mark every floating tensor in `out` as a signal that comes from `signals`."""
        marks = [m for m in map(mark_of, signals) if m]
        for t in tensors_in(out):
            if mark_of(t) is None and t.requires_grad:
                new = Mark(
                    **{"fresh": all(m.fresh for m in marks), "gate": all(m.gate for m in marks)} | changes
                )
                for signal, old in zip(signals, marks, strict=True):  # views share what they are views of
                    if t.untyped_storage().data_ptr() == signal.untyped_storage().data_ptr() and t.numel():
                        new.memory, new.version = old.memory, old.memory.version
                put_mark(t, new)
        return out

    def emit(self, value: T, signals: list[Tensor], spread: Callable[..., Any], **changes: Any) -> T:
        """`value`, computed from `signals`, such that relevance goes back through `spread`.

        spread: relevance of each tensor of value -> a tuple, the relevance of each signal.
        """
        self.bytes += sum(t.numel() * t.element_size() for t in tensors_in(value))
        with torch.enable_grad():
            out: T = _Relevance.apply(_Parcel(value, spread), *signals)  # type: ignore[no-untyped-call]
        mark = mark_of(signals[0])
        asked = self.boxed_inside or changes.get("fresh", True)
        if asked and isinstance(value, Tensor) and mark is not None and mark.clip is not None:
            changes = {"clip": whose(mark.clip, value)} | changes
        return self.mark(out, signals, **{"gate": False} | changes)

    def refuse_later(self, value: Any, signals: list[Tensor], error: HeschlError, **changes: Any) -> Any:
        """`value`, and an error as soon as relevance arrives at it (weights of attention never get any)."""

        def spread(*relevance: Tensor) -> tuple[Any, ...]:
            raise error

        single = isinstance(value, Tensor)
        parts = tensors_in(value)
        whole = value if single else tuple(parts)
        out = self.emit(whole, signals, spread, **changes)
        if single:
            return out
        replaced = dict(zip(map(id, parts), out, strict=True))
        return rebuilt(value, replaced)

    def constant(self, c: Tensor, detail: str) -> Tensor:
        """A constant that stands among signals; what relevance it takes is counted as stopped."""
        if not self.counted:
            return c
        where = self.where(detail)

        def spread(relevance: Tensor) -> tuple[Tensor]:
            r = total(relevance)
            self.entries.append(Entry(where, "constant", r, 0.0, 0.0, 0.0, r))
            return (torch.zeros_like(self.anchor),)

        with torch.enable_grad():
            out: Tensor = _Relevance.apply(_Parcel(c.detach().clone(), spread), self.anchor)  # type: ignore[no-untyped-call]
        return out

    def count(
        self,
        where: str,
        rule: str,
        came: tuple[Tensor, ...],
        given: tuple[Tensor, ...],
        bias: float = 0.0,
        epsilon: float = 0.0,
        stopped: float = 0.0,
    ) -> None:
        if self.counted:
            entry = Entry(where, rule, sum(map(total, came)), sum(map(total, given)), bias, epsilon, stopped)
            self.entries.append(entry)

    # ---- what torch calls

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_autocast_enabled(self.anchor.device.type):
            self.words.append(COARSE)
            with torch.autocast(self.anchor.device.type, enabled=False):
                return self.__torch_function__(func, types, args, kwargs)
        if self.closed:
            with torch.no_grad():
                return func(*args, **kwargs)
        name = spelt(func)
        inputs = tensors_in((args, kwargs))
        if any(t.grad_fn is not (mark.node if (mark := mark_of(t)) else None) for t in inputs):
            raise self._unseen()
        if not any(mark_of(t) for t in inputs):
            with torch.no_grad():
                out = func(*args, **kwargs)
            # weights of attention, even over places alone, are no layer's weights
            if (
                isinstance(out, Tensor)
                and name not in ("softmax", "sigmoid")
                and any(map(is_learned, inputs))
            ):
                learn(out)
            return out
        args, kwargs = swapped(args, self._current), swapped(kwargs, self._current)
        return self._handle(func, name, args, kwargs)

    def followed(self, logits: Tensor) -> Tensor:
        """logits, or what went into the softmax that made them; an error where they are no signal."""
        mark = mark_of(logits)
        if mark is not None and logits.grad_fn is not mark.node:
            raise self._unseen()
        if mark is not None and mark.logits is not None:
            self.words.append(
                "the network ends in a softmax: it is taken off, relevance begins at the logits before it"
            )
            return self.followed(mark.logits)
        if mark is None:
            if logits.grad_fn is not None:
                raise self._unseen()
            raise HeschlError(
                "the network's answer does not come from x by operations that LRP can see: it may leave torch, or use "
                "inference mode, vmap or nested tensors inside"
            )
        return logits

    def _current(self, t: Tensor) -> Tensor:
        """What stands in the place of t now, where it was overwritten in place."""
        mark = mark_of(t)
        while mark is not None and mark.successor is not None:
            t, mark = mark.successor, mark_of(mark.successor)
        if mark is not None and mark.version != mark.memory.version:
            raise self.refusal(
                "a tensor that was overwritten in place through a view of it",
                "write it without in-place operations",
            )
        return t

    def _handle(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        from heschl.explanation.lrp.handlers import HANDLERS  # they need this file themselves

        target = None
        if name.endswith("_") and not name.startswith("__") and name[:-1] in HANDLERS:
            target, name = args[0], name[:-1]
            owner = next(o for o in (Tensor, torch, nn.functional) if hasattr(o, name))
            func = getattr(owner, name)
        elif kwargs.get("inplace"):
            target, kwargs = args[0], {**kwargs, "inplace": False}
        elif kwargs.get("out") is not None:
            raise self.refusal(f"`{name}(out=...)`", "let it return its outcome")
        if name in HANDLERS:
            out = HANDLERS[name](self, func, args, kwargs)
        else:
            out = self._unknown(func, name, args, kwargs)
        if target is not None and out is not target:
            mark, new = mark_of(target), mark_of(out)
            if mark is None or new is None:
                raise self.refusal(
                    f"`{name}_`, which writes a signal into a constant",
                    "write it without in-place operations",
                )
            mark.memory.version += 1
            mark.successor, new.memory, new.version = out, mark.memory, mark.memory.version
        return out

    def _unknown(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        mend = "use torch's own layers or functions that are known, or give this module's rule in `rules`"
        if name in ("requires_grad_", "retain_grad", "register_hook", "requires_grad ="):
            return args[0]
        if name in ("__setitem__", "numpy", "tolist", "item", "__float__", "__array__", "data") or (
            name.endswith("_") and not name.endswith("__")
        ):
            raise self.refusal(f"`{name}`", mend)
        with torch.no_grad():
            value = func(*plain(args), **plain(kwargs))
        if name in _CONSTANTS or not any(t.is_floating_point() or t.is_complex() for t in tensors_in(value)):
            return value  # a shape, a mask, an index
        signals = [t for t in tensors_in((args, kwargs)) if mark_of(t)]
        return self.refuse_later(value, signals, self.refusal(f"`{name}`", mend))
