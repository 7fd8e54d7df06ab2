"""The two experiments of AudioMNIST: samples taken out of waves, and spectra stretched.

Becker et al. 2024, J. Franklin Inst. 361(1) 418-428 (arXiv:1807.03418): a fraction of the non-zero samples is set to
zero, chosen at random, by amplitude or by relevance, and accuracy is watched; the frequency axis of the input of a
network that tells sexes apart is scaled, as if men had the pitch of women and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor, nn

from heschl import signal
from heschl.explanation.asking import answers, in_parts, prepared
from heschl.explanation.cells import uniform
from heschl.explanation.target import check_target, each_target
from heschl.types import HeschlError

By = Literal["random", "amplitude", "relevance"]
MALE_UP, FEMALE_DOWN = 1.5, 0.66  # the published factors: a man's frequencies raised, a woman's lowered
_CHUNK = 32  # clips at once


def zeroed(
    x: Tensor, fraction: float, by: By = "random", relevance: Tensor | None = None, seed: int = 0
) -> Tensor:
    """x with a fraction of each clip's non-zero values set to zero.

    Parameters
    ----------
    x: (batch, ...), such as waves (batch, time). fraction: of the values that are not zero already, rounded to a
        whole number of them.
    by: "random"; "amplitude", largest magnitude first; "relevance", highest first.
    relevance: the shape of x, for "relevance". seed: of the random choice, the same for every clip.

    Raises
    ------
    HeschlError: a fraction outside 0 to 1, or no relevance to choose by.
    """
    if not 0 <= fraction <= 1:
        raise HeschlError(f"fraction is {fraction}: it is a share from 0 to 1")
    flat = x.flatten(1)
    if by == "random":
        worth = uniform(x.shape[1:], seed).to(flat.device).flatten().expand(flat.shape)
    elif by == "amplitude":
        worth = flat.abs().double()
    elif by == "relevance":
        if relevance is None or relevance.shape != x.shape:
            found = "none" if relevance is None else f"of shape {tuple(relevance.shape)}"
            raise HeschlError(f"relevance is {found}: to choose by it, give the shape of x, {tuple(x.shape)}")
        worth = relevance.flatten(1).double()
    else:
        raise HeschlError(f"by is {by!r}: choose random, amplitude or relevance")
    there = flat != 0
    order = worth.masked_fill(~there, -torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(flat.shape[1], device=flat.device).expand_as(order))
    gone = torch.round(fraction * there.sum(1, keepdim=True).double())
    return torch.where((rank < gone) & there, 0.0, flat).reshape(x.shape)


def zeroing_curve(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    fractions: Sequence[float],
    by: By = "random",
    relevance: Tensor | None = None,
    *,
    seed: int = 0,
    draws: int = 3,
    lengths: Tensor | None = None,
) -> Tensor:
    """Whether the network is right with each fraction of samples zeroed: (batch, k), 0 or 1; the mean is accuracy.

    ``draws`` random choices are averaged. Of a network over frames, the share of frames that are right.

    Raises
    ------
    HeschlError: no fraction, or no draw, is asked for; else as `zeroed` does.
    """
    if not fractions:
        raise HeschlError("fractions are none: give shares from 0 to 1")
    if draws < 1:
        raise HeschlError(f"draws is {draws}: one random choice is the least")
    model, x = prepared(model, x)
    target = check_target(target, x)
    seeds = range(seed, seed + draws) if by == "random" else (seed,)
    runs = [
        torch.stack(
            [right(model, zeroed(x, one, by, relevance, own), target, lengths) for one in fractions], 1
        )
        for own in seeds
    ]
    return torch.stack(runs).mean(0)


def right(model: nn.Module, x: Tensor, target: Tensor, lengths: Tensor | None = None) -> Tensor:
    """1 where the network gives the target, else 0, (batch,); over frames, the share of those with a target."""

    def some(part: slice) -> Tensor:
        logits = answers(model, x[part], None if lengths is None else lengths[part])
        aim = each_target(logits, target[part])
        hit = ((logits.argmax(-1) == aim) & (aim >= 0)).double()
        known = (aim >= 0).double()
        return hit if hit.ndim == 1 else hit.sum(1) / known.sum(1).clamp_min(1)

    with torch.no_grad():
        out = in_parts(some, len(x), _CHUNK)
    return torch.cat(out) if out else torch.zeros(0, dtype=torch.float64)


def scale_frequency(
    x: Tensor, factor: float | Tensor, frequencies: Tensor | None = None, fill: float | None = None
) -> Tensor:
    """A spectrogram whose frequency axis is scaled: what lay at f lies at factor * f.

    Parameters
    ----------
    x: (batch, ..., frequency, time). factor: a number, or (batch,).
    frequencies: (frequency,) of the rows, Hz, ascending; by default evenly spaced from 0. Between rows it is
        interpolated on a straight line.
    fill: what stands above the highest frequency that was there (factor < 1); by default the clip's lowest value.
        Below the lowest row is the lowest row.

    Raises
    ------
    HeschlError: a factor that is not above zero, frequencies that do not fit, or fewer than two of them.
    """
    if x.ndim < 3 or x.shape[-2] < 2:
        raise HeschlError(
            f"x is {tuple(x.shape)}: give (batch, ..., frequency, time) of two frequencies or more"
        )
    factors = torch.as_tensor(factor, dtype=torch.float64, device=x.device).expand(len(x))
    if not bool((factors > 0).all()) or not bool(torch.isfinite(factors).all()):
        raise HeschlError(f"factor is {factor}: frequencies are multiplied by a number above zero")
    rows = x.shape[-2]
    at = torch.arange(rows, dtype=torch.float64) if frequencies is None else frequencies.double().cpu()
    if at.shape != (rows,) or bool((at.diff() <= 0).any()):
        raise HeschlError(f"frequencies are {tuple(at.shape)}: give one for each of {rows} rows, ascending")
    at = at.to(x.device)
    source = at / factors[:, None]  # (batch, row): where each row's new value comes from
    above = torch.searchsorted(at, source.contiguous()).clamp(1, rows - 1)
    low, high = at[above - 1], at[above]
    share = ((source - low) / (high - low)).clamp(0, 1)
    wide = (len(x), *(1,) * (x.ndim - 3), rows, 1)
    index = above.reshape(wide).expand(x.shape)
    weight = share.reshape(wide).to(x.dtype)
    moved = x.gather(-2, index - 1) * (1 - weight) + x.gather(-2, index) * weight
    floor = x.flatten(1).amin(1) if fill is None else x.new_full((len(x),), fill)
    beyond = (source > at[-1] + 1e-9 * at[-1].abs()).reshape(wide)
    return torch.where(beyond, floor.reshape(-1, *(1,) * (x.ndim - 1)), moved)


def scale_wave(wave: Tensor, factor: float) -> Tensor:
    """A wave whose frequencies are multiplied by a factor, played faster or slower for it; its length stays.

    (batch, ..., time), resampled band-limited, then cut or followed by zeros. For networks that hear waves; the
    tempo changes with the pitch.
    """
    if not factor > 0:
        raise HeschlError(f"factor is {factor}: frequencies are multiplied by a number above zero")
    share = Fraction(factor).limit_denominator(50)
    faster = signal.resample(wave, share.numerator, share.denominator)
    missing = wave.shape[-1] - faster.shape[-1]
    if missing > 0:
        return torch.nn.functional.pad(faster, (0, missing))
    return faster[..., : wave.shape[-1]]
