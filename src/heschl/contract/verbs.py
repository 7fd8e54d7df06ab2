"""Which of heschl's verbs a network can take, and why not the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import NamedTuple

from torch import nn

from heschl.contract.finding import Finding, broken
from heschl.contract.models import check_model

# verb -> (where it lives, the rules of the contract that it stands on). A verb that is not built is not offered.
_ANSWERS = ("is made from in_shape and n_outputs", "gives logits of the right shape")
_LENGTHS = "keeps to lengths, or refuses them"
_HONEST = ("one clip never changes another", "ends without a softmax", _LENGTHS)
_TIMES = ("its areas are there", "its areas have the times that the gradient finds")
_VERBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train": (
        "heschl.training.fit",
        (*_ANSWERS, *_HONEST, "every parameter learns", "weights can be saved and loaded"),
    ),
    "evaluate": ("heschl.steps.evaluate", (*_ANSWERS, *_HONEST)),
    "predict": ("heschl.steps.predict", (*_ANSWERS, *_HONEST)),
    "crossval": ("heschl.steps.crossval", (*_ANSWERS, *_HONEST)),
    "explain": ("heschl.steps.explain", (*_ANSWERS, "the gradient reaches the input")),
    "probe": ("heschl.steps.probe", (*_ANSWERS, *_TIMES)),
    "place": ("heschl.steps.place", (*_ANSWERS, *_TIMES)),
    "align": ("heschl.steps.align", (*_ANSWERS, *_TIMES)),
    "export": ("heschl.steps.export", _ANSWERS),
}


class Verb(NamedTuple):
    """Whether a network can be taken through a verb, and if not, why."""

    name: str
    can: bool
    why: str = ""


def verbs(
    factory: Callable[..., nn.Module],
    in_shape: Sequence[int],
    n_outputs: int,
    findings: Sequence[Finding] | None = None,
    one_length: bool = False,
) -> list[Verb]:
    """The verbs that this installation has, and whether this network can take them.

    Parameters
    ----------
    factory, in_shape, n_outputs: as in `check_model`.
    findings: of `check_model`, where it has been run already.
    one_length: all clips are brought to one length, so that nobody tells the network of lengths.
    """
    if findings is None:
        findings = check_model(factory, in_shape, n_outputs)
    wrong = {finding.rule: finding.said for finding in broken(findings)}
    table = []
    for name, (home, _) in _VERBS.items():
        if find_spec(home) is None:
            continue
        rules = needed(name, one_length)
        why = next((f"{rule}: {wrong[rule]}" for rule in rules if rule in wrong), "")
        if not why and rules[-len(_TIMES) :] == _TIMES:
            why = _without_times(factory, in_shape, n_outputs)
        table.append(Verb(name, not why, why))
    return table


def needed(verb: str, one_length: bool = False) -> tuple[str, ...]:
    """The rules of the contract that a verb stands on. one_length: as `verbs` has it."""
    return tuple(rule for rule in _VERBS[verb][1] if not (one_length and rule == _LENGTHS))


def _without_times(factory: Callable[..., nn.Module], in_shape: Sequence[int], n_outputs: int) -> str:
    """Why the network's areas cannot be laid out in time though the contract is kept, or ""."""
    model = factory(tuple(in_shape), n_outputs)
    if not getattr(model, "areas", {}):
        return "it names no areas"
    if getattr(model, "time_axis", -1) is None:
        return "its steps are not moments in time, and it says so"
    return ""
