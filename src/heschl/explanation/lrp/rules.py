"""The rules: how a layer z = w x + b shares the relevance of its outputs among its inputs.

With stab(z) = z + EPSILON sign(z), sign(0) = +1, and (w x)+ the positive, (w x)- the negative contributions:

    epsilon       R_i = sum_j  x_i w_ij / stab(z_j)  R_j
    gamma         w + gamma w+ for w in every place of epsilon's, the bias as it is
    z+            R_i = sum_j  (x_i w_ij)+ / stab(sum_i (x_i w_ij)+ + b_j+)  R_j
    alpha-beta    alpha times that, minus beta times the same with - for +
    flat          R_i = sum_j  1 / stab(number of inputs of j)  R_j
    w2            R_i = sum_j  w_ij^2 / stab(sum_i w_ij^2)  R_j
    z-box         R_i = sum_j  m_ij / stab(sum_i m_ij)  R_j,   m_ij = x_i w_ij - low_i w_ij+ - high_i w_ij-

Sources: Bach et al. 2015 (epsilon, alpha-beta), Montavon et al. 2017 (w2, z-box), Lapuschkin et al. 2019 (flat),
Montavon et al. 2019 (gamma, z+). Inputs may have either sign in every rule. Where a padded clip has ended there are
no inputs: flat and w2 count none there, and z-box's bounds there are the value itself, as if the clip stood alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from heschl.explanation.lrp.maps import Map
from heschl.types import HeschlError

EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule by name ("epsilon", "gamma", "zplus", "alphabeta", "flat", "w2", "zbox") and its numbers."""

    name: str
    gamma: float = 0.25
    alpha: float = 2.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in _RULES:
            raise HeschlError(
                f"there is no LRP rule '{self.name}': {_nearest(self.name, [*_RULES, *_ALIASES])}"
            )
        if self.name == "gamma" and not self.gamma >= 0:
            raise HeschlError(f"gamma is {self.gamma}: it must not be negative")
        if self.name == "alphabeta" and not (abs(self.alpha - self.beta - 1) < 1e-9 and self.beta >= 0):
            raise HeschlError(
                f"alpha {self.alpha} and beta {self.beta} lose relevance: alpha - beta must be 1 and beta not below 0"
            )

    def __str__(self) -> str:
        if self.name == "gamma":
            return f"gamma {self.gamma:g}"
        return f"alpha {self.alpha:g} beta {self.beta:g}" if self.name == "alphabeta" else self.name


@dataclass(frozen=True, slots=True)
class Own:
    """A rule of the user's own for a module of the user's own.

    Attributes
    ----------
    spread: f(module, x, y, relevance of y) -> relevance of x, the shape of x.
    conserves: the sum of relevance is checked, clip by clip, unless this is False.
    """

    spread: Callable[[torch.nn.Module, Tensor, Tensor, Tensor], Tensor]
    conserves: bool = True


@dataclass(slots=True)
class Shares:
    """Where the relevance that came to a layer went: to its inputs, its bias, the stabiliser, nowhere."""

    given: tuple[Tensor, ...]
    bias: float = 0.0
    epsilon: float = 0.0
    stopped: float = 0.0


@dataclass(slots=True)
class Affine:
    """z = map(x, w) + b, as met in the network.

    box: the lowest and highest value that x could have. outside: true where x holds nothing of the clip.
    """

    map: Map
    x: Tensor
    w: Tensor
    b: Tensor | None
    z: Tensor
    box: tuple[Tensor, Tensor] | None = None
    outside: Tensor | None = None
    counted: bool = field(default=False)  # whether the shares of bias and epsilon are asked for


def stab(z: Tensor) -> Tensor:
    """z + EPSILON sign(z) with sign(0) = +1; real and imaginary part each on its own."""
    if z.is_complex():
        return torch.view_as_complex(stab(torch.view_as_real(z)))
    epsilon = torch.full((), EPSILON, dtype=z.dtype, device=z.device)
    return torch.where(z < 0, -epsilon, epsilon).add_(z)


def quotient(relevance: Tensor, z: Tensor) -> Tensor:
    """relevance / stab(z); the parts of complex numbers apart."""
    if relevance.is_complex():
        return torch.view_as_complex(quotient(torch.view_as_real(relevance), torch.view_as_real(z)))
    below = stab(z)
    return torch.div(relevance, below, out=below)


def product(x: Tensor, s: Tensor) -> Tensor:
    """x s element by element; the parts of complex numbers apart."""
    if s.is_complex():
        return torch.view_as_complex(product(torch.view_as_real(x), torch.view_as_real(s)))
    return x * s


def total(x: Tensor) -> float:
    """The sum of x, both parts of complex numbers, in double precision."""
    x = torch.view_as_real(x) if x.is_complex() else x
    return float(x.double().sum())


def share(rule: Rule, layer: Affine, relevance: Tensor) -> Shares:
    """The relevance that `rule` gives to the inputs of `layer`, and the shares of its bias and of epsilon."""
    return _RULES[rule.name](rule, layer, relevance)


def _divide(layer: Affine, relevance: Tensor, z: Tensor, b: Tensor | None, shares: Shares) -> Tensor:
    s = quotient(relevance, z)
    if layer.counted:
        shares.epsilon += total(product(stab(z) - z, s))
        if b is not None:
            shares.bias += total(product(b.expand_as(s), s))
    return s


def _epsilon(rule: Rule, layer: Affine, relevance: Tensor) -> Shares:
    shares = Shares(())
    s = _divide(layer, relevance, layer.z, layer.b, shares)
    shares.given = (_times(layer, layer.x, layer.map.back(s, layer.w)),)
    return shares


def _gamma(rule: Rule, layer: Affine, relevance: Tensor) -> Shares:
    w = layer.w + rule.gamma * layer.w.clamp(min=0)
    z = layer.map.apply(layer.x, w)
    z = z if layer.b is None else z + layer.b
    return _epsilon(rule, Affine(layer.map, layer.x, w, layer.b, z, counted=layer.counted), relevance)


def _zplus(rule: Rule, layer: Affine, relevance: Tensor) -> Shares:
    shares = Shares(())
    shares.given = (_one_sign(layer, relevance, 1, shares),)
    return shares


def _alphabeta(rule: Rule, layer: Affine, relevance: Tensor) -> Shares:
    shares = Shares(())
    given = _one_sign(layer, rule.alpha * relevance, 1, shares)
    if rule.beta:
        given = given + _one_sign(layer, -rule.beta * relevance, -1, shares)
    shares.given = (given,)
    return shares


def _one_sign(layer: Affine, relevance: Tensor, sign: int, shares: Shares) -> Tensor:
    """Relevance by the contributions w x of one sign only."""
    positive, negative = layer.w.clamp(min=0), layer.w.clamp(max=0)
    # inputs of one sign only (after a ReLU, or decibels below zero) need half the work; what is left out is zero
    pairs = []
    if bool((layer.x > 0).any()):
        pairs.append((layer.x.clamp(min=0), positive if sign > 0 else negative))
    if bool((layer.x < 0).any()):
        pairs.append((layer.x.clamp(max=0), negative if sign > 0 else positive))
    z = torch.zeros_like(layer.z)
    for x, w in pairs:
        z = z + layer.map.apply(x, w)
    b = None
    if layer.b is not None:
        b = layer.b.clamp(min=0) if sign > 0 else layer.b.clamp(max=0)
        z = z + b
    s = _divide(layer, relevance, z, b, shares)
    given = [_times(layer, x, layer.map.back(s, w)) for x, w in pairs]
    return sum(given[1:], given[0]) if given else torch.zeros_like(layer.x)


def _times(layer: Affine, x: Tensor, slope: Tensor) -> Tensor:
    """x slope; the slope of a dense layer or convolution is nobody else's, so its memory is taken."""
    return slope.mul_(x) if layer.map.scale else product(x, slope)


def _flat(rule: Rule, layer: Affine, relevance: Tensor) -> Shares:
    return _by_weight(layer, relevance, torch.ones_like(layer.w))


def _w2(rule: Rule, layer: Affine, relevance: Tensor) -> Shares:
    return _by_weight(layer, relevance, layer.w.square())


def _by_weight(layer: Affine, relevance: Tensor, w: Tensor) -> Shares:
    shares = Shares(())
    if layer.outside is not None:
        one = (~layer.outside).to(layer.x.dtype)
    else:  # dense and convolution: the same for every clip
        one = torch.ones_like(layer.x[:1] if layer.map.scale else layer.x)
    s = _divide(layer, relevance, layer.map.apply(one, w).expand_as(layer.z), None, shares)
    given = layer.map.back(s, w)
    shares.given = (_inside(layer, given),)
    return shares


def _inside(layer: Affine, given: Tensor) -> Tensor:
    return given if layer.outside is None else given.masked_fill(layer.outside, 0)


def _zbox(rule: Rule, layer: Affine, relevance: Tensor) -> Shares:
    assert layer.box is not None
    low, high = layer.box
    positive, negative = layer.w.clamp(min=0), layer.w.clamp(max=0)
    apply, back = layer.map.apply, layer.map.back
    z = apply(layer.x, layer.w) - apply(low, positive) - apply(high, negative)
    shares = Shares(())
    s = _divide(layer, relevance, z, None, shares)
    given = layer.x * back(s, layer.w) - low * back(s, positive) - high * back(s, negative)
    shares.given = (_inside(layer, given),)
    return shares


_RULES: dict[str, Callable[[Rule, Affine, Tensor], Shares]] = {
    "epsilon": _epsilon,
    "gamma": _gamma,
    "zplus": _zplus,
    "alphabeta": _alphabeta,
    "flat": _flat,
    "w2": _w2,
    "zbox": _zbox,
}
_ALIASES = {
    "z+": Rule("zplus"),
    "z-plus": Rule("zplus"),
    "z_plus": Rule("zplus"),
    "alpha1beta0": Rule("alphabeta", alpha=1.0, beta=0.0),
    "alpha2beta1": Rule("alphabeta"),
    "alpha-beta": Rule("alphabeta"),
    "alpha_beta": Rule("alphabeta"),
    "z-box": Rule("zbox"),
    "z_box": Rule("zbox"),
}


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, 1, 0.4)
    return f"did you mean '{near[0]}'" if near else f"choose one of {', '.join(names)}"


def nearest(name: str, names: list[str]) -> str:
    """The end of a sentence about a name that is not there."""
    return _nearest(name, names)


def read_rule(value: Any, where: str) -> Rule | Own | str:
    """A rule as a person writes it: a Rule, its name, ("gamma", 0.1), a function, "identity" or "gradient"."""
    if isinstance(value, Rule | Own):
        return value
    if isinstance(value, str):
        if value in ("identity", "gradient"):
            return value
        return _ALIASES.get(value) or Rule(value)
    if isinstance(value, tuple | list) and len(value) == 2 and value[0] == "gamma":
        return Rule("gamma", gamma=float(value[1]))
    if (
        isinstance(value, tuple | list)
        and len(value) == 3
        and value[0] in ("alphabeta", "alpha-beta", "alpha_beta")
    ):
        return Rule("alphabeta", alpha=float(value[1]), beta=float(value[2]))
    if callable(value):
        return Own(value)
    raise HeschlError(
        f"the rule for {where} is {value!r}: give a rule's name, ('gamma', 0.1), a heschl.explanation.lrp.Rule, "
        "or a function (module, x, y, relevance) -> relevance of x"
    )
