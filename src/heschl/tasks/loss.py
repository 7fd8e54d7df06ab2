"""The cross entropy that all tasks share, and what a network's output is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch.nn import functional as F

from heschl.types import HeschlError
from heschl.wording import counted, quoted

NO_LABEL = -100


def logits_of(out: Any) -> torch.Tensor:
    """A network's logits: its output, or the first field of it."""
    logits: torch.Tensor = out[0] if isinstance(out, tuple) else out
    return logits


def judged(out: Any) -> list[torch.Tensor]:
    """The logits that the loss looks at: those of each branch where the output has a field ``heads``
    (branch, batch, ..., class), so that branches learn independently; else the output's logits."""
    heads = getattr(out, "heads", None)
    return [logits_of(out)] if heads is None else list(heads.unbind(0))


def cross_entropy(
    logits: torch.Tensor,
    y: torch.Tensor,
    weights: torch.Tensor | None = None,
    smoothing: float = 0.0,
    robust: float = 0.0,
) -> torch.Tensor:
    """Weighted cross entropy with label smoothing, for classes or for mixtures of them.

    With targets q over C classes (one-hot, or given), smoothed to q' = (1 - s) q + s / C, and class weights w:

        loss = - sum_n sum_c w_c q'_nc log p_nc  /  sum_n sum_c w_c q_nc

    which for one-hot targets is `torch.nn.functional.cross_entropy`'s weighted mean. With robust r above 0, (1 - p^r) / r takes
    the place of -log p, to which it tends as r falls: an example that the network firmly contradicts pulls less, so that
    a few wrong labels are not learnt by heart (generalised cross entropy, Zhang and Sabuncu 2018, who take r = 0.7).

    Parameters
    ----------
    logits: (example, class).
    y: (example,) classes, -100 where there is none; or (example, class) shares that sum to one.
    weights: (class,), or None for one each.
    smoothing: s, from 0 to below 1. robust: r, from 0 to 1.

    Returns
    -------
    () the loss; 0 where no example has a label.
    """
    classes = logits.shape[-1]
    if y.is_floating_point():
        if y.shape != logits.shape:
            raise HeschlError(
                f"targets {tuple(y.shape)} do not fit the network's output {tuple(logits.shape)}"
            )
        shares = y.to(logits.dtype)
    else:
        if y.shape != logits.shape[:-1]:
            raise HeschlError(
                f"targets {tuple(y.shape)} do not fit the network's output {tuple(logits.shape)}: "
                "a frame network gives one answer for every step of its input"
            )
        known = y != NO_LABEL
        logits, y = logits[known], y[known]
        shares = F.one_hot(y, classes).to(logits.dtype)
    w = logits.new_ones(classes) if weights is None else weights.to(logits)
    smooth = (1 - smoothing) * shares + smoothing / classes
    total = (w * shares).sum()
    log_p = logits.log_softmax(-1)
    cost = -torch.expm1(robust * log_p) / robust if robust else -log_p
    loss = (w * smooth * cost).sum()
    return loss / torch.where(total > 0, total, 1.0)


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """A fixed list of classes, once it names at least two and none twice."""
    twice = sorted(label for label, count in Counter(labels).items() if count > 1)
    if twice:
        raise HeschlError(f"task.labels names '{twice[0]}' twice: each class once")
    if len(labels) < 2:
        raise HeschlError(
            f"there is one class only ({', '.join(labels) or 'none'}), and telling apart takes two: "
            "choose another label or more data"
        )
    return tuple(labels)


def check_known(found: Sequence[str], labels: Sequence[str], where: str, what: str, of: str = "") -> None:
    """Refuses classes that the task's list does not have, by name, with the nearest that it has.

    what: they are in ``where``, one of them ("symbol"); of: what follows it, in one or many (" of tier 'phone'").
    """
    unknown = sorted(set(found) - set(labels))
    if unknown:
        near = get_close_matches(unknown[0], labels, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise HeschlError(
            f"{where} has {counted(len(unknown), what)}{of} that task.labels does not name: {quoted(unknown)}{hint}: "
            f"add {'it' if len(unknown) == 1 else 'them'}, or leave these clips out"
        )


def class_weights(
    weights: str | Mapping[str, float] | None, labels: Sequence[str], amounts: Mapping[str, float]
) -> tuple[float, ...] | None:
    """Weights in the order of ``labels``.

    "balanced" is total / (classes * amount of the class), as scikit-learn has it; a class of which there is
    nothing weighs 1. A mapping's missing classes weigh 1.
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        there = [amounts[label] for label in labels if amounts.get(label, 0) > 0]
        each = sum(there) / max(1, len(there))
        return tuple(each / amounts[label] if amounts.get(label, 0) > 0 else 1.0 for label in labels)
    check_known(list(weights), labels, "task.weights", "label")
    return tuple(float(weights.get(label, 1.0)) for label in labels)


def check_weights(weights: str | Mapping[str, float] | None) -> None:
    if isinstance(weights, str) and weights != "balanced":
        raise HeschlError(f"task.weights is '{weights}': write balanced, or a weight for each class by name")
    if isinstance(weights, Mapping):
        for label, weight in weights.items():
            if not 0 < weight < float("inf"):
                raise HeschlError(f"task.weights gives '{label}' the weight {weight}: it must be above zero")
