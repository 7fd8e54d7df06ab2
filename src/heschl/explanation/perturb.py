"""What a network makes of a clip without one of its parts: phones, words, bands, harmonics, stretches of time.

`aligned_relevance` takes the parts out of the sound (`heschl.explanation.removal`), so it serves every network and
whatever stands before it; `aligned_occlusion` takes them out of a network's own input. Either asks for each part
alone, or for coalitions of parts by Shapley's values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn

from heschl.explanation.asking import answers, in_parts, prepared
from heschl.explanation.cells import KEPT, fill, look
from heschl.explanation.gradient import moved
from heschl.explanation.removal import (
    FADE,
    WINDOW,
    Replacement,
    changes,
    check_wave,
    matched_noise,
    remove,
    remove_bands,
    remove_segments,
)
from heschl.explanation.segments import Segment
from heschl.explanation.shapley import kernel_shapley
from heschl.explanation.target import check_target, each_target
from heschl.types import HeschlError

__all__ = [
    "Aligned",
    "aligned_occlusion",
    "aligned_relevance",
    "changes",
    "matched_noise",
    "remove",
    "remove_bands",
    "remove_segments",
]

Method = Literal["alone", "both", "shapley"]
_AT_ONCE = 64  # copies of a clip that the network hears at once
Answer = Callable[[Tensor], Tensor]  # waves (n, time) -> scores (n,)


class Aligned(NamedTuple):
    """Relevance of a clip's segments.

    values: (segment,) float64. "alone": how far the score falls when this segment is taken out; "both": the mean of that
        and of how far it rises when this segment alone is put back where all are out; "shapley": its mean fall over all
        orders of taking segments out, which add up to whole - without.
    error: (segment,) standard error: over the coalitions that were drawn ("shapley"), or over draws of noise
        ("alone"); 0 where nothing is drawn, NaN where noise was drawn once.
    whole, without: the score of the clip, and of what is left when all segments are taken out.
    names: of the segments. asked: how many different sounds the network heard.
    """

    values: np.ndarray
    error: np.ndarray
    whole: float
    without: float
    names: tuple[str, ...]
    asked: int


def aligned_relevance(
    answer: Answer,
    wave: Tensor,
    segments: Sequence[Segment],
    rate: float,
    method: Method = "alone",
    kind: Replacement = "silence",
    *,
    fade: float = FADE,
    window: float = WINDOW,
    samples: int | None = None,
    draws: int = 1,
    seed: int = 0,
    batch: int = 64,
) -> Aligned:
    """How much each segment of a clip speaks for an answer.

    Parameters
    ----------
    answer: waves (n, time) -> scores (n,), such as a class's logit after the feature and the network.
    wave: (time,). segments: of the wave, as `heschl.explanation.segments.segments_of` finds them. rate: Hz.
    method: "alone" takes out one segment at a time, which finds little where others tell the same; "both" also puts
        back one at a time, and is "shapley" where no more than two segments act together; "shapley" takes out
        coalitions of them, all for up to ten segments, ``samples`` for more (None: 2048 + 2 * segments).
    kind, fade, window: what comes instead, as `remove` and `remove_bands` say.
    draws: how many noises are tried, of which the mean score counts (for kind "noise").
    seed: of the noise and of the coalitions.
    batch: waves that are answered at once.

    Raises
    ------
    HeschlError: no segments, segments that overlap, or an answer that is not one finite number a wave.
    """
    check_wave(wave, rate, kind)
    if wave.ndim != 1:
        raise HeschlError(f"the wave is {tuple(wave.shape)}: segments belong to one clip, so give (time,)")
    if not segments:
        raise HeschlError("there are no segments to take out: give at least one")
    if draws < 1:
        raise HeschlError(f"draws is {draws}: one noise is the least")
    wave, draws = wave.detach(), draws if kind == "noise" else 1
    parts = [changes(wave, segments, rate, kind, fade, seed + k, window) for k in range(draws)]
    names, n = tuple(segment.name for segment in segments), len(segments)

    def scores(present: np.ndarray) -> np.ndarray:
        """(draw, coalition) of the sound in which these segments are left."""
        gone = torch.from_numpy(~present).to(wave)
        out = np.empty((draws, len(gone)))
        for k, part in enumerate(parts):
            for first in range(0, len(gone), batch):
                waves = wave - gone[first : first + batch] @ part
                out[k, first : first + batch] = _answered(answer, waves)
        return out

    if method == "shapley":
        found = kernel_shapley(lambda present: scores(present).mean(0), n, samples, seed)
        return Aligned(found.values, found.error, found.whole, found.nobody, names, found.asked * draws)
    if method not in get_args(Method):
        raise HeschlError(f"method is {method!r}: choose {', '.join(get_args(Method))}")
    heard = scores(_one_by_one(n, method))
    falls = _falls(heard, n)
    if kind != "noise":
        error = np.zeros(n)
    elif draws == 1:
        error = np.full(n, np.nan)
    else:
        error = falls.std(0, ddof=1) / math.sqrt(draws)
    whole, without = heard[:, 0].mean(), heard[:, 1].mean()
    return Aligned(
        falls.mean(0), error, float(whole), float(without), names, draws * (heard.shape[1] - 1) + 1
    )


def _one_by_one(n: int, method: Method) -> np.ndarray:
    """(coalition, segment): all, none, all but each; and each alone for "both"."""
    each = np.eye(n, dtype=bool)
    ends = [np.ones((1, n), bool), np.zeros((1, n), bool), ~each]
    return np.concatenate([*ends, each] if method == "both" else ends)


def _falls(heard: np.ndarray, n: int) -> np.ndarray:
    """(..., segment) out of the scores (..., coalition) of `_one_by_one`."""
    whole, without, less, alone = (
        heard[..., :1],
        heard[..., 1:2],
        heard[..., 2 : n + 2],
        heard[..., n + 2 :],
    )
    return np.asarray((whole - less + alone - without) / 2 if alone.size else whole - less)


def _answered(answer: Answer, waves: Tensor) -> np.ndarray:
    with torch.no_grad():
        given = answer(waves)
    if not isinstance(given, Tensor) or given.shape != (len(waves),):
        found = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise HeschlError(f"the answer to {len(waves)} waves is {found}: one score a wave is needed")
    if not bool(torch.isfinite(given).all()):
        raise HeschlError("the answer holds scores that are not finite: look at the network's weights")
    return np.asarray(given.detach().cpu().double())


# --- segments of a network's input --------------------------------------------------------------------------------


def aligned_occlusion(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    segments: Tensor,
    baseline: float | str | Tensor = "silence",
    method: Method = "alone",
    samples: int | None = None,
    seed: int = 0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Occlusion by aligned segments of the network's own input: how far the target's logit falls without each.

    Parameters
    ----------
    segments: LongTensor (batch, time), or of the shape of x: the number of the segment of each step or value, -1 for
        what stays (`segments.numbers`, `cells.segments_of`).
    baseline: as `heschl.explanation.cells.fill` says: "silence", "mean", "noise", a number, a tensor.
    method, samples, seed: as `aligned_relevance`.

    Returns
    -------
    The shape of x; each segment's relevance is shared among its values as `heschl.explanation.gradient.moved` says; 0
    outside of all segments.

    Raises
    ------
    HeschlError: one sentence for bad input.
    """
    model, x = prepared(model, x)
    target, x = check_target(target, x), x.detach()
    if method not in get_args(Method):
        raise HeschlError(f"method is {method!r}: choose {', '.join(get_args(Method))}")
    if not isinstance(segments, Tensor):
        raise HeschlError("segments are missing: give a LongTensor (batch, time), -1 for what stays")
    view = look(x, segments, lengths=lengths)
    blank = fill(view, baseline, seed, lengths)
    out, far = torch.zeros_like(x), moved(x, blank, lengths)
    for k in range(len(x)):
        n = int(view.n[k])
        if not n:
            continue
        own = slice(k, k + 1)
        length = None if lengths is None else lengths[own]

        def scores(present: np.ndarray, own: slice = own, length: Tensor | None = length) -> np.ndarray:
            kept = torch.from_numpy(np.append(present, np.ones((len(present), 1), bool), 1)).to(x.device)
            ids = view.ids[own][0]

            def answered(part: slice) -> Tensor:
                some = kept[part]
                mixed = torch.where(
                    some[:, torch.where(ids == KEPT, some.shape[1] - 1, ids)], x[own], blank[own]
                )
                many = None if length is None else length.expand(len(some))
                return _logit(model, mixed, target[own].expand(len(some), *target.shape[1:]), many)

            return np.asarray(torch.cat(in_parts(answered, len(kept), _AT_ONCE)).cpu().double())

        if method == "shapley":
            values = kernel_shapley(scores, n, samples, seed).values
        else:
            values = _falls(scores(_one_by_one(n, method)), n)
        ids, kept = view.ids[k].clamp_min(0), view.ids[k] == KEPT
        share = torch.where(kept, 0.0, far[k])
        sums = share.new_zeros(n).scatter_add(0, ids.flatten(), share.flatten())
        each = torch.from_numpy(values).to(x) / torch.where(sums > 0, sums, torch.inf)
        out[k] = each[ids] * share
    return out


def _logit(model: nn.Module, x: Tensor, target: Tensor, lengths: Tensor | None) -> Tensor:
    with torch.no_grad():
        logits = answers(model, x, lengths)
    wanted = each_target(logits, target)
    picked = logits.gather(-1, wanted.clamp(min=0)[..., None])[..., 0] * (wanted >= 0)
    return picked if picked.ndim == 1 else picked.sum(1)
