"""Rules that the user gives: read, held against the network, and applied to modules of the user's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from heschl.explanation.lrp.rules import Own, Rule, nearest, quotient, read_rule, stab, total
from heschl.explanation.lrp.signals import mark_of, plain, swapped, tensors_in
from heschl.explanation.lrp.tape import Tape
from heschl.types import HeschlError

_MAY_LOSE = 0.01  # share of a clip's relevance that a rule of the user's own may lose before it is refused


class Add(nn.Module):
    """The sum of its terms, as a module with a name; a `+` is treated alike: terms share in proportion."""

    def forward(self, *terms: Tensor) -> Tensor:
        return sum(terms[1:], terms[0])


def read_rules(model: nn.Module, rules: Mapping[Any, Any] | None) -> dict[Any, Rule | Own | str]:
    """`rules` with every key found in the model and every rule read."""
    names = [name for name, _ in model.named_modules() if name]
    types = {type(module) for module in model.modules()}
    read: dict[Any, Rule | Own | str] = {}
    for key, value in (rules or {}).items():
        if isinstance(key, str) and key not in names:
            raise HeschlError(f"`rules` names layer '{key}', which is not there: {nearest(key, names)}")
        if isinstance(key, type) and key not in types:
            near = nearest(key.__name__, sorted(t.__name__ for t in types))
            raise HeschlError(
                f"`rules` names the type {key.__name__}, of which the network has no module: {near}"
            )
        if not isinstance(key, str | type):
            raise HeschlError(f"`rules` has the key {key!r}: give a layer's name or its type")
        read[key] = read_rule(value, key if isinstance(key, str) else key.__name__)
    return read


@contextlib.contextmanager
def attached(tape: Tape) -> Iterator[None]:
    """The tape knows which module is at work; modules with a rule of their own run unseen and get it after."""
    handles = []

    def own(name: str, module: nn.Module) -> tuple[Any, Own | str] | None:
        for key in (name, type(module)):
            rule = tape.rules.get(key)
            if isinstance(rule, Own | str):
                return key, rule
        return None

    def enter(name: str, module: nn.Module, args: Any) -> None:
        tape.stack.append((name, module))
        tape.closed += own(name, module) is not None

    def leave(name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
        rule = own(name, module)
        try:
            if rule is not None:
                tape.closed -= 1
                if not tape.closed and out is not None:
                    tape.used.add(rule[0])
                    tape.closed += 1  # torch is torch again for what follows
                    try:
                        return _applied(tape, name, module, rule[1], args, kwargs, out)
                    finally:
                        tape.closed -= 1
        finally:
            tape.stack.pop()
        return None

    try:
        for name, module in tape.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):  # takes no hooks; what it makes is refused
                continue
            handles.append(module.register_forward_pre_hook(lambda m, a, n=name: enter(n, m, a)))
            handles.append(
                module.register_forward_hook(
                    lambda m, a, k, o, n=name: leave(n, m, a, k, o), with_kwargs=True, always_call=True
                )
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


def _applied(
    tape: Tape, name: str, module: nn.Module, rule: Own | str, args: Any, kwargs: Any, y: Any
) -> Any:
    signals = [t for t in tensors_in((args, kwargs)) if mark_of(t)]
    if not signals:
        return None
    if not isinstance(y, Tensor) or len(signals) != 1:
        raise HeschlError(
            f"module '{name}' has a rule of your own, but takes {len(signals)} signals and gives a {type(y).__name__}: "
            "such a rule is for one tensor in and one tensor out"
        )
    x, value = plain(signals[0]), y.detach().clone()
    if rule == "identity" and x.shape != value.shape:
        raise HeschlError(
            f"module '{name}' turns {tuple(x.shape)} into {tuple(value.shape)}: the identity rule needs equal shapes"
        )

    def spread(relevance: Tensor) -> tuple[Tensor]:
        epsilon = 0.0
        if rule == "identity":
            given = relevance
        elif rule == "gradient":
            s = quotient(relevance, value)
            with torch.enable_grad():
                again = x.clone().requires_grad_()
                parts = [
                    swapped(p, lambda t: again if t is signals[0] else t.detach()) for p in (args, kwargs)
                ]
                out = module.forward(*parts[0], **parts[1])
                given = x * torch.autograd.grad(out, again, s)[0]
            epsilon = total((stab(value) - value) * s) if tape.counted else 0.0
        else:
            assert isinstance(rule, Own)
            given = rule.spread(module, x, value, relevance)
            _check(name, rule, x, given, relevance)
        lost = total(relevance) - total(given) - epsilon if tape.counted else 0.0
        tape.count(
            name, "own" if isinstance(rule, Own) else str(rule), (relevance,), (given,), 0.0, epsilon, lost
        )
        return (given,)

    return tape.emit(value, signals, spread, fresh=False)


def _check(name: str, rule: Own, x: Tensor, given: Any, relevance: Tensor) -> None:
    if not isinstance(given, Tensor) or given.shape != x.shape or not bool(torch.isfinite(given).all()):
        found = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise HeschlError(
            f"the rule for module '{name}' gave {found}: it must give finite relevance of the shape of its input, {tuple(x.shape)}"
        )
    came, went = (t.double().flatten(1) for t in (relevance, given))
    lost = (came.sum(1) - went.sum(1)).abs()
    if rule.conserves and bool((lost > _MAY_LOSE * came.abs().sum(1)).any()):
        k = int((lost - _MAY_LOSE * came.abs().sum(1)).argmax())
        raise HeschlError(
            f"the rule for module '{name}' turned relevance {float(came[k].sum()):.4g} into {float(went[k].sum()):.4g}: "
            "mend it, or say that it need not conserve with heschl.explanation.lrp.Own(rule, conserves=False)"
        )
