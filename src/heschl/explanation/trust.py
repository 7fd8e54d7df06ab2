"""Can an explanation be trusted? Does it depend on what was learned, lie where it should, say little, agree with others?

Pure functions of relevance (batch, ...): one number a clip.

Sources: Adebayo et al. 2018, NeurIPS (randomisation of parameters, cascading and layer by layer); Hurley & Rickard
2009, IEEE Trans. Inf. Theory 55(10) (Gini index); Bhatt et al. 2020, IJCAI (complexity as entropy); Arras et al. 2022,
Information Fusion 81 (relevance mass and rank accuracy).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from heschl.types import HeschlError

Method = Callable[[nn.Module], Tensor]


# --- how much of it is there -----------------------------------------------------------------------------------


def gini(relevance: Tensor) -> Tensor:
    """Sparseness: the Gini index of the magnitudes, (batch,); 0 where all are equal, near 1 where one has all.

    1 - 2 sum_k |R|_(k) / sum|R| * (n - k + 1/2) / n, the k-th smallest first. Not a number for zeros.
    """
    size = _flat("relevance", relevance).abs().sort(1).values
    n = size.shape[1]
    weight = (n - torch.arange(1, n + 1, dtype=size.dtype, device=size.device) + 0.5) / n
    total = size.sum(1)
    return torch.where(total > 0, 1 - 2 * (size @ weight) / total, torch.nan)


def entropy(relevance: Tensor) -> Tensor:
    """Complexity: the entropy of the shares of the magnitudes, in nats, (batch,); log n where all are equal."""
    size = _flat("relevance", relevance).abs()
    total = size.sum(1, keepdim=True)
    return torch.where(total[:, 0] > 0, torch.special.entr(size / total).sum(1), torch.nan)


# --- does it lie where it should -------------------------------------------------------------------------------


class Localisation(NamedTuple):
    """Where relevance lies, one number a clip.

    mass: share of the positive relevance that lies inside. top: of the highest values, as many as there are inside,
    the share that lies inside. area: share of all values that is inside, which is what `mass` and `top` would be
    if relevance knew nothing.
    """

    mass: Tensor
    top: Tensor
    area: Tensor


def localisation(relevance: Tensor, inside: Tensor, valid: Tensor | None = None) -> Localisation:
    """How much of the relevance lies inside.

    Parameters
    ----------
    relevance: (batch, ...). inside: the same shape, or (batch, time) for its last axis; true where it should lie.
    valid: as inside; what counts at all (not padding).
    """
    flat = _flat("relevance", relevance)
    within = _mask("inside", inside, relevance)
    counts = torch.ones_like(within) if valid is None else _mask("valid", valid, relevance)
    within &= counts
    positive = flat.clamp_min(0) * counts
    total = positive.sum(1)
    mass = torch.where(total > 0, (positive * within).sum(1) / total, torch.nan)
    order = flat.masked_fill(~counts, -torch.inf).argsort(dim=1, descending=True, stable=True)
    k = within.sum(1)
    first = torch.arange(flat.shape[1], device=flat.device) < k[:, None]
    hits = (within.gather(1, order) & first).sum(1)
    top = torch.where(k > 0, hits / k, torch.nan)
    return Localisation(mass, top.to(flat.dtype), (k / counts.sum(1)).to(flat.dtype))


# --- do two agree ----------------------------------------------------------------------------------------------


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's correlation of the values of two explanations of the same clips, (batch,).

    Ties share their mean rank. Not a number where one of them is constant.
    """
    one, other = _ranks(_flat("a", a)), _ranks(_flat("b", b))
    if one.shape != other.shape:
        raise HeschlError(f"relevance of shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be compared")
    one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    below = (one.square().sum(1) * other.square().sum(1)).sqrt()
    return torch.where(below > 0, (one * other).sum(1) / below, torch.nan)


def top_overlap(a: Tensor, b: Tensor, share: float = 0.1) -> Tensor:
    """Of the highest values of one explanation, the share that is also among the highest of the other, (batch,).

    share: of all values that are the highest; two that know nothing of each other overlap by it. Not a number where
    one of them is constant: it has no highest values.
    """
    one, other = _flat("a", a), _flat("b", b)
    if one.shape != other.shape:
        raise HeschlError(f"relevance of shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be compared")
    if not 0 < share <= 1:
        raise HeschlError(f"share is {share}: it must be above 0 and at most 1")
    k = max(1, round(share * one.shape[1]))
    chosen = []
    for values in (one, other):
        first = values.argsort(dim=1, descending=True, stable=True)[:, :k]
        chosen.append(torch.zeros_like(values, dtype=torch.bool).scatter_(1, first, True))
    flat = (one.amax(1) == one.amin(1)) | (other.amax(1) == other.amin(1))
    return ((chosen[0] & chosen[1]).sum(1).to(one.dtype) / k).masked_fill(flat, torch.nan)


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0, ties sharing their mean rank: (batch, n), float64."""
    out = torch.empty(values.shape, dtype=torch.float64, device=values.device)
    for row, own in zip(values, out):
        _, place, count = row.unique(return_inverse=True, return_counts=True)
        last = count.cumsum(0).double()
        own.copy_((last - (count.double() + 1) / 2)[place])
    return out


# --- does it depend on what was learned --------------------------------------------------------------------------


def randomised(
    model: nn.Module, x: Tensor, lengths: Tensor | None = None, cascading: bool = True, seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network with layers whose weights know nothing, from the answer down to the clip.

    Each parameter is drawn anew from the normal distribution with its own mean and standard deviation (one that has
    one value only, or equal ones, stays), so that the size of what flows through the network stays alike.

    Parameters
    ----------
    x: (batch, ...), a clip or more, to learn in which order the layers run.
    cascading: every layer above is random as well; else one layer at a time.
    seed: of the draws.

    Yields
    ------
    name of the layer, and the network. Each network is a new copy.
    """
    layers = _in_order(model, x, lengths)
    current = copy.deepcopy(model)
    for number, name in enumerate(reversed(layers)):
        changed = current if cascading else copy.deepcopy(model)
        draws = torch.Generator().manual_seed(seed * 100_003 + number)
        for parameter in changed.get_submodule(name).parameters(recurse=False):
            if parameter.numel() > 1:
                drawn = torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
                fresh = parameter.double().mean() + parameter.double().std() * drawn.to(parameter.device)
                parameter.data = fresh.detach().to(parameter.dtype)
        yield name, copy.deepcopy(changed) if cascading else changed


def randomisation(
    method: Method,
    model: nn.Module,
    x: Tensor,
    lengths: Tensor | None = None,
    cascading: bool = True,
    seed: int = 0,
    absolute: bool = False,
) -> list[tuple[str, Tensor]]:
    """How alike explanations stay when what was learned is taken away: (layer, rank correlation (batch,)) downwards.

    An explanation that looks the same with random weights shows the clip, not what the network learned.

    Parameters
    ----------
    method: model -> relevance of x. absolute: compare magnitudes.
    """
    before = method(model)
    out = []
    for name, changed in randomised(model, x, lengths, cascading, seed):
        after = method(changed)
        one, other = (before.abs(), after.abs()) if absolute else (before, after)
        out.append((name, rank_correlation(one, other)))
    return out


def _in_order(model: nn.Module, x: Tensor, lengths: Tensor | None) -> list[str]:
    """Names of the modules that hold parameters of their own, as they first run; others run with what holds them."""
    ran: dict[str, int] = {}

    def noted(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, _inputs: object) -> None:
            ran.setdefault(name, len(ran))

        return note

    hooks = [module.register_forward_pre_hook(noted(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            model(x[:1].clone()) if lengths is None else model(x[:1].clone(), lengths[:1])
    finally:
        for hook in hooks:
            hook.remove()
    owners = [name for name, module in model.named_modules() if any(True for _ in module.parameters(False))]

    def place(name: str) -> tuple[int, int]:
        held = name
        while held not in ran and held:
            held = held.rpartition(".")[0]
        return ran.get(held, -1), owners.index(name)

    return sorted(owners, key=place)


# --- shapes ------------------------------------------------------------------------------------------------------


def _flat(name: str, values: Tensor) -> Tensor:
    if values.ndim < 2 or not values.is_floating_point():
        raise HeschlError(f"{name} is {tuple(values.shape)} of {values.dtype}: give relevance (batch, ...)")
    if not bool(torch.isfinite(values).all()):
        raise HeschlError(f"{name} holds numbers that are not finite: it cannot be judged")
    return values.detach().flatten(1).double()


def _mask(name: str, mask: Tensor, like: Tensor) -> Tensor:
    if mask.shape != like.shape:
        if mask.shape != (len(like), like.shape[-1]):
            raise HeschlError(
                f"{name} is of shape {tuple(mask.shape)}: give {tuple(like.shape)}, or {(len(like), like.shape[-1])}"
            )
        mask = mask.reshape(len(like), *(1,) * (like.ndim - 2), -1).expand(like.shape)
    return mask.to(like.device).bool().flatten(1).clone()
