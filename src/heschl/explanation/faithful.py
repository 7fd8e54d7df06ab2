"""Is an explanation true? Take out what it calls important, and see whether the network notices.

Deletion begins with the clip and takes out the most relevant cells first; insertion begins with the emptied clip and
puts the most relevant ones back first. They differ only in where they begin. The same is done in a random order and
loudest first: an explanation that does no better than these has explained nothing.

Sources: Samek et al. 2017, IEEE TNNLS 28(11) (area over the perturbation curve, eq. 12); Petsiuk et al. 2018, BMVC
(deletion and insertion).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from heschl.explanation.asking import answers, in_parts, prepared
from heschl.explanation.cells import KEPT, WINDOW, Kind, View, fill, look, uniform
from heschl.explanation.target import check_target, each_target
from heschl.types import HeschlError

Order = Literal["relevance", "random", "energy"]
Score = Literal["logit", "probability", "right"]
_AT_ONCE = 64  # changed clips that the network hears at once


@dataclass(frozen=True, eq=False, slots=True)
class Curve:
    """What a network says while a clip is taken apart.

    Attributes
    ----------
    fractions: (k,) share of the cells that were taken out (deletion) or put back (insertion).
    scores: (batch, k) of the target.
    aopc: (batch,) deletion: mean over the points of the score at the beginning less the score there (the area over
        the perturbation curve); insertion: mean over the points of the score there less the one at the beginning.
        Of a faithful explanation both are high.
    area: (batch,) the area under the curve (trapezoids over `fractions`). Of a faithful explanation it is low for
        deletion and high for insertion.
    cells: (batch,) how many there were.
    """

    fractions: Tensor
    scores: Tensor
    aopc: Tensor
    area: Tensor
    cells: Tensor


def deletion_curve(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    relevance: Tensor | None = None,
    cells: Kind | Tensor = "values",
    order: Order = "relevance",
    baseline: float | str | Tensor = "zero",
    fractions: int | Sequence[float] | Tensor = 21,
    *,
    score: Score = "logit",
    width: int = 1,
    window: int = WINDOW,
    energy: Tensor | None = None,
    seed: int = 0,
    draws: int = 5,
    lengths: Tensor | None = None,
    insert: bool = False,
) -> Curve:
    """The target's score while the cells of x are replaced by a baseline, most important first.

    Parameters
    ----------
    model: in eval mode; gives logits (batch, n_outputs) or (batch, time, n_outputs).
    x: (batch, ...). target: LongTensor (batch,), or (batch, time) with -100 for frames left out.
    relevance: the shape of x; not needed for the other orders. Of a cell of several values the sum counts.
    cells: "values", "time", "frequency", "time_frequency", or segments (batch, time), as `heschl.explanation.cells.look`
        says; waves are looked at by FFT and STFT.
    order: "relevance", highest first (equal cells in the order of their number); "random", the mean of ``draws`` orders; "energy", loudest first.
    baseline: "zero", "silence", "mean", "noise", a number or a tensor, as `heschl.explanation.cells.fill` says.
    fractions: how many points from 0 to 1, or the shares themselves, ascending. At share f, round(f * cells) are gone.
    score: "logit" or "probability" of the target, or "right", 1 where it is the answer and 0 where it is not; the
        mean over the frames that have a target.
    width, window: of the cells.
    energy: the shape of x, for the order of energy (by default x itself: its square in waves, its values in
        spectrograms, which grow with energy).
    seed: of random orders (seed, seed + 1, ...) and noise; they are the same for every clip.
    lengths: (batch,) valid steps, handed to the network.
    insert: begin with the emptied clip and put the cells back, in the same order.

    Raises
    ------
    HeschlError: one sentence for bad input.
    """
    model, x = prepared(model, x)
    target, x = check_target(target, x), x.detach()
    if not len(x):
        raise HeschlError("there are no clips to take apart: give one at least")
    if order not in ("relevance", "random", "energy"):
        raise HeschlError(f"order is {order!r}: choose relevance, random or energy")
    if score not in ("logit", "probability", "right"):
        raise HeschlError(f"score is {score!r}: choose logit, probability or right")
    if draws < 1:
        raise HeschlError(f"draws is {draws}: one random order is the least")
    shares = _shares(fractions).to(x.device)
    view = look(x, cells, width, window, lengths)
    blank = fill(view, baseline, seed, lengths)
    if order == "relevance":
        ranks = [_ranks(view, _sums(view, view.carry(_like("relevance", relevance, x))))]
    elif order == "energy":
        ranks = [_ranks(view, _energy(view, energy, x))]
    else:
        keys = [uniform((int(view.n.max()),), seed + k).to(x.device) for k in range(draws)]
        ranks = [_ranks(view, key.expand(len(x), -1)) for key in keys]
    runs = [_scored(model, view, blank, rank, shares, target, lengths, score, insert) for rank in ranks]
    scores = torch.stack(runs).mean(0)
    gain = scores - scores[:, :1] if insert else scores[:, :1] - scores
    return Curve(shares, scores, gain.mean(1), torch.trapezoid(scores, shares.to(scores), dim=1), view.n)


def insertion_curve(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    relevance: Tensor | None = None,
    cells: Kind | Tensor = "values",
    order: Order = "relevance",
    baseline: float | str | Tensor = "zero",
    fractions: int | Sequence[float] | Tensor = 21,
    *,
    score: Score = "logit",
    width: int = 1,
    window: int = WINDOW,
    energy: Tensor | None = None,
    seed: int = 0,
    draws: int = 5,
    lengths: Tensor | None = None,
) -> Curve:
    """`deletion_curve` that begins with the emptied clip: the most important cells are put back first."""
    return deletion_curve(
        model,
        x,
        target,
        relevance,
        cells,
        order,
        baseline,
        fractions,
        score=score,
        width=width,
        window=window,
        energy=energy,
        seed=seed,
        draws=draws,
        lengths=lengths,
        insert=True,
    )


def _shares(fractions: int | Sequence[float] | Tensor) -> Tensor:
    if isinstance(fractions, int):
        if fractions < 2:
            raise HeschlError(f"fractions is {fractions}: a curve has at least two points")
        return torch.linspace(0, 1, fractions, dtype=torch.float64)
    shares = torch.as_tensor(fractions, dtype=torch.float64)
    good = shares.ndim == 1 and len(shares) and bool(((shares >= 0) & (shares <= 1)).all())
    if not good or bool((shares.diff() <= 0).any()):
        raise HeschlError(f"fractions are {shares.tolist()}: give shares from 0 to 1, ascending")
    return shares


def _like(name: str, given: Tensor | None, x: Tensor) -> Tensor:
    if given is None:
        raise HeschlError(
            f"there is no {name} to order by: give a tensor of the shape of x, {tuple(x.shape)}"
        )
    given = torch.as_tensor(given)
    if given.shape != x.shape:
        raise HeschlError(
            f"{name} is of shape {tuple(given.shape)} and x of {tuple(x.shape)}: they must agree"
        )
    if not bool(torch.isfinite(given).all()):
        raise HeschlError(f"{name} holds numbers that are not finite: nothing can be ordered by it")
    return given.detach().to(x)


def _sums(view: View, values: Tensor) -> Tensor:
    """Of each cell: (batch, cell). Cells that a clip does not have get 0."""
    ids = view.ids.flatten(1)
    own = torch.where(ids == KEPT, 0.0, values.flatten(1).double())
    sums = own.new_zeros(len(ids), max(1, int(view.n.max())))
    return sums.scatter_add(1, ids.clamp_min(0), own)


def _energy(view: View, energy: Tensor | None, x: Tensor) -> Tensor:
    if energy is not None:
        if view.values.shape != x.shape:
            raise HeschlError(
                "energy is given for x, and the cells are the wave's frequencies, whose own energy counts"
            )
        return _means(view, _like("energy", energy, x))
    v = view.values
    return _sums(view, v.abs().square()) if view.wave else _means(view, v)


def _means(view: View, values: Tensor) -> Tensor:
    count = _sums(view, torch.ones(view.ids.shape, device=values.device))
    return _sums(view, values) / count.clamp_min(1)


def _ranks(view: View, importance: Tensor) -> Tensor:
    """How many cells go before each value's own: the shape of the values; KEPT where it never goes."""
    importance = importance.double()
    missing = torch.arange(importance.shape[1], device=importance.device) >= view.n[:, None]
    importance = importance.masked_fill(missing, -torch.inf)
    places = importance.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(places)
    rank.scatter_(1, places, torch.arange(places.shape[1], device=places.device).expand_as(places))
    ids = view.ids.flatten(1)
    own = rank.gather(1, ids.clamp_min(0))
    return torch.where(ids == KEPT, KEPT, own).reshape(view.ids.shape)


def _scored(
    model: nn.Module,
    view: View,
    blank: Tensor,
    rank: Tensor,
    shares: Tensor,
    target: Tensor,
    lengths: Tensor | None,
    score: Score,
    insert: bool,
) -> Tensor:
    """(batch, k): the network hears every clip at every share."""
    clips, points = len(view.values), len(shares)
    gone = torch.round(shares[None] * view.n[:, None].double()).long()  # (batch, k) cells
    pairs = torch.cartesian_prod(torch.arange(clips), torch.arange(points)).reshape(-1, 2)
    wide = (-1,) + (1,) * (view.values.ndim - 1)

    def some(part: slice) -> Tensor:
        clip, point = (one.to(view.values.device) for one in pairs[part].unbind(1))
        moved = rank[clip] < gone[clip, point].reshape(wide)
        if insert:
            moved = ~moved
        moved &= rank[clip] != KEPT
        heard = view.back(torch.where(moved, blank[clip], view.values[clip]))
        logits = answers(model, heard, None if lengths is None else lengths[clip.to(lengths.device)])
        return _score(logits, target[clip], score)

    with torch.no_grad():
        return torch.cat(in_parts(some, len(pairs), _AT_ONCE)).reshape(clips, points)


def _score(logits: Tensor, target: Tensor, score: Score) -> Tensor:
    target = each_target(logits, target)
    picked = logits.gather(-1, target.clamp(min=0)[..., None])[..., 0]
    if score == "probability":
        picked = (picked - logits.logsumexp(-1)).exp()
    elif score == "right":
        picked = (logits.argmax(-1) == target).to(logits.dtype)
    if picked.ndim == 1:
        return picked
    known = target >= 0
    return (picked * known).sum(1) / known.sum(1).clamp_min(1)
