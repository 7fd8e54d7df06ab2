"""Presets: which rule each kind of layer takes, as data.

A preset is a list of (kind, rule), read from the top; kinds are "first" (the first layer with weights on the way
from the clip, except recurrent and attention layers, whose maps are always under epsilon), "convolution" and
"any".
"""

from __future__ import annotations

from heschl.explanation.lrp.rules import Rule

Preset = tuple[tuple[str, Rule], ...]

PRESETS: dict[str, Preset] = {
    "epsilon": (("any", Rule("epsilon")),),
    "epsilon_plus": (("convolution", Rule("zplus")), ("any", Rule("epsilon"))),
    "epsilon_plus_flat": (("first", Rule("flat")), ("convolution", Rule("zplus")), ("any", Rule("epsilon"))),
    "epsilon_gamma_box": (
        ("first", Rule("zbox")),
        ("convolution", Rule("gamma", gamma=0.25)),
        ("any", Rule("epsilon")),
    ),
    "epsilon_alpha2beta1": (
        ("convolution", Rule("alphabeta", alpha=2.0, beta=1.0)),
        ("any", Rule("epsilon")),
    ),
}


def choose(preset: Preset, kind: str, first: bool) -> Rule:
    """The rule that `preset` gives to a layer of `kind` ("convolution", "linear", ...)."""
    for wanted, rule in preset:
        if wanted in (kind, "any") or (wanted == "first" and first):
            return rule
    raise LookupError(kind)
