"""Which answer of a network is explained: the logits, the target among them, and where relevance begins."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from heschl.types import HeschlError

Start = Literal["logit", "one", "contrast"]
NO_LABEL = -100


def check_model(model: Any) -> None:
    """The network is a module in eval mode whose numbers are finite."""
    if not isinstance(model, nn.Module):
        raise HeschlError(f"what is to be explained is a {type(model).__name__}: give a torch.nn.Module")
    training = [name or "the network itself" for name, module in model.named_modules() if module.training]
    if training:
        raise HeschlError(f"module '{training[0]}' is in train mode: call model.eval() first")
    for kind, tensors in (("weights", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in tensors:
            if nn.parameter.is_lazy(tensor):
                raise HeschlError(
                    f"the {kind} '{name}' are not there yet: run the network once, so that its lazy layers know their sizes"
                )
            if tensor.is_meta:
                raise HeschlError(
                    f"the {kind} '{name}' are on the meta device, which holds no numbers: load weights onto a real one"
                )
            # the sum tells quickly that all is well; it may overflow where every number is finite
            if not tensor.is_floating_point() or bool(torch.isfinite(tensor.sum())):
                continue
            if not bool(torch.isfinite(tensor).all()):
                raise HeschlError(
                    f"the {kind} '{name}' hold numbers that are not finite: load weights of a run that did not diverge"
                )


def check_input(x: Any) -> None:
    """x is a floating tensor (batch, ...) of finite numbers."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
        found = f"{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise HeschlError(f"x is {found}: give a floating tensor (batch, ...)")
    if x.is_meta:
        raise HeschlError("x is on the meta device, which holds no numbers: give clips on a real one")
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).flatten(1).any(1).nonzero()[0])
        raise HeschlError(f"clip {bad} of x holds numbers that are not finite: leave it out or mend it")


def check_target(target: Any, x: Tensor) -> Tensor:
    """target as a LongTensor (batch,), or (batch, time) for networks over frames."""
    if target is None:
        raise HeschlError(
            "there is no target: give the class to explain for each clip, a LongTensor (batch,)"
        )
    if isinstance(target, int) and not isinstance(target, bool):
        target = torch.full((len(x),), target)
    if not isinstance(target, Tensor) or target.dtype.is_floating_point or target.dtype == torch.bool:
        found = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise HeschlError(f"target is {found}: give class numbers, a LongTensor (batch,)")
    if target.ndim not in (1, 2) or len(target) != len(x):
        raise HeschlError(
            f"target is of shape {tuple(target.shape)} for {len(x)} clips: give one class a clip, a LongTensor (batch,)"
        )
    return target.to(device=x.device, dtype=torch.long)


def logits_of(out: Any) -> Tensor:
    """The logits (batch, n_outputs) or (batch, time, n_outputs) of what a network gave: itself, or its first field."""
    logits = out[0] if isinstance(out, tuple | list) and out else out
    if not isinstance(logits, Tensor) or logits.ndim not in (2, 3):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise HeschlError(
            f"the network gives {found}: logits (batch, n_outputs) or (batch, time, n_outputs) are needed, "
            "as its outcome or the first field of it"
        )
    return logits


def each_target(logits: Tensor, target: Tensor) -> Tensor:
    """target for every logit: (batch,) as it is, or (batch, time), with NO_LABEL where nothing is explained."""
    n = logits.shape[-1]
    bad = target[(target != NO_LABEL) & ((target < 0) | (target >= n))]
    if target.ndim == 1:
        bad = target[(target < 0) | (target >= n)]
    if len(bad):
        raise HeschlError(f"there is no target {int(bad[0])}: the network has {n} outputs, 0 to {n - 1}")
    if logits.ndim == 2 and target.ndim == 2:
        raise HeschlError("target is (batch, time), but the network answers once a clip: give (batch,)")
    if logits.ndim == 3 and target.ndim == 1:
        return target[:, None].expand(logits.shape[:2])
    if target.shape != logits.shape[:-1]:
        raise HeschlError(
            f"target has {target.shape[1]} frames, but the network answers {logits.shape[1]}: give as many"
        )
    return target


def begin(logits: Tensor, target: Tensor, start: Start) -> Tensor:
    """The relevance at the logits, their shape.

    "logit": the target's own logit; "one": 1; "contrast": the target's logit and, taken off, the best other one,
    so that the sum is the margin. A network over frames begins in all its frames.
    """
    target = each_target(logits, target)
    chosen = (
        torch.nn.functional.one_hot(target.clamp(min=0), logits.shape[-1]).bool() & (target >= 0)[..., None]
    )
    if start == "one":
        return chosen.to(logits.dtype)
    relevance = torch.where(chosen, logits, 0)
    if start == "logit":
        return relevance
    if start != "contrast":
        raise HeschlError(f"start is {start!r}: choose 'logit', 'one' or 'contrast'")
    if logits.shape[-1] < 2:
        raise HeschlError("a network with one output has no other class: choose start 'logit' or 'one'")
    others = logits.masked_fill(chosen, -torch.inf)
    best = torch.nn.functional.one_hot(others.argmax(-1), logits.shape[-1]).bool() & (target >= 0)[..., None]
    return relevance - torch.where(best, logits, 0)
