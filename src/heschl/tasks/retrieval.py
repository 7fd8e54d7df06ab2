"""How often is the right candidate among the first? Ranks, scores with chance and interval, and a permutation test.

A trial's rank is that of its true candidate by score, 1 for the best. Candidates that score alike share their places:
the scores are means over all orders of them, so that a decoder that says the same of everything scores chance, not
all or nothing. Memory holds a block of trials times all candidates, never all trials.

The null is that answers have nothing to do with what was heard: true candidates are permuted among trials (within
their block where ``blocks`` are given) and everything is counted again. p = (1 + permutations at least as good) /
(1 + permutations) (Phipson and Smyth 2010). Intervals are 95 % percentiles by bootstrap over whole groups (subjects
or blocks), since trials of one group resemble each other; without groups over trials, and then it says so. Over few groups
they are by t, as in `heschl.tasks.intervals`. "null_low" to "null_high" is where 95 in 100 of the
permuted scores lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from heschl.tasks.intervals import DRAWS, FEW, few_groups
from heschl.types import HeschlError

TOPS = (1, 5, 10)
BLOCK = 64  # trials at a time

Scorer = Callable[[int, int], np.ndarray]
Scores = np.ndarray | Scorer  # (trial, candidate), or (first, last) -> those of trials first to last - 1


class Ranks(NamedTuple):
    """Of each trial's true candidate: how many candidates score better, and how many alike (itself among them)."""

    better: np.ndarray
    alike: np.ndarray


def hits(ranks: Ranks, k: int) -> np.ndarray:
    """(trial, ...) chance that the true candidate is among the first k, over the orders of candidates that score alike."""
    return np.asarray(np.clip((k - ranks.better) / ranks.alike, 0.0, 1.0))


def reciprocal(ranks: Ranks) -> np.ndarray:
    """(trial, ...) mean of 1 / rank over the orders of candidates that score alike."""
    most = int((ranks.better + ranks.alike).max(initial=1))
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, most + 1))])
    return np.asarray((harmonic[ranks.better + ranks.alike] - harmonic[ranks.better]) / ranks.alike)


def middle(ranks: Ranks) -> np.ndarray:
    """(trial, ...) mean rank over the orders of candidates that score alike, 1 for the best."""
    return np.asarray(ranks.better + (ranks.alike + 1) / 2)


def scorer(z: np.ndarray, candidates: np.ndarray, cosine: bool = True) -> Scorer:
    """Scores of trials z (trial, ...) with candidates (candidate, ...), block by block: cosines or inner products.

    Raises
    ------
    HeschlError: their shapes differ.
    """
    if z.shape[1:] != candidates.shape[1:]:
        raise HeschlError(
            f"trials of shape {z.shape[1:]} cannot be scored with candidates of shape {candidates.shape[1:]}"
        )
    a, b = z.reshape(len(z), -1).astype(candidates.dtype), candidates.reshape(len(candidates), -1)
    if cosine:
        a = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
    lengths = (
        np.maximum(np.sqrt(np.einsum("ij,ij->i", b, b)), 1e-12) if cosine else None
    )  # no second copy of b

    def part(first: int, last: int) -> np.ndarray:
        products = a[first:last] @ b.T
        if lengths is not None:
            products /= lengths
        return np.asarray(products)

    return part


def _blocks(scores: Scores, trials: int, block: int) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, trials, block):
        last = min(first + block, trials)
        part = np.asarray(scores(first, last) if callable(scores) else scores[first:last])
        if not np.isfinite(part).all():
            raise HeschlError(
                f"the scores of trials from number {first} on hold NaN: mend them, or leave these out"
            )
        yield first, part


def best(scores: Scores, trials: int, block: int = BLOCK) -> np.ndarray:
    """(trial,) the candidate that scores best, the first of those that score alike."""
    found = np.zeros(trials, np.int64)
    for first, part in _blocks(scores, trials, block):
        found[first : first + len(part)] = part.argmax(1)
    return found


def ranks(scores: Scores, truth: np.ndarray, block: int = BLOCK) -> Ranks:
    """The place of each trial's true candidate.

    Parameters
    ----------
    scores: (trial, candidate), or a function (first, last) -> those of trials first to last - 1.
    truth: (trial,) numbers of candidates; or (trial, m), m numbers for each trial, as for permutations.
    """
    truth = np.asarray(truth, np.int64)
    better, alike = np.zeros(truth.shape, np.int64), np.zeros(truth.shape, np.int64)
    for first, part in _blocks(scores, len(truth), block):
        if truth.ndim == 1:
            rows = slice(first, first + len(part))
            wanted = part[np.arange(len(part)), truth[rows], None]
            better[rows], alike[rows] = (part > wanted).sum(1), (part == wanted).sum(1)
            continue
        ordered = np.sort(part, axis=1)
        for i, (row, own) in enumerate(zip(part, ordered)):
            wanted = row[truth[first + i]]
            above = np.searchsorted(own, wanted, side="right")
            better[first + i] = len(row) - above
            alike[first + i] = above - np.searchsorted(own, wanted, side="left")
    return Ranks(better, alike)


def curve(found: Ranks, n_candidates: int) -> np.ndarray:
    """(k,) share of trials whose true candidate is among the first k, for k from 1 to N."""
    first = np.zeros(
        n_candidates + 1
    )  # a trial's one part, spread evenly over the places of those that score alike
    np.add.at(first, found.better, 1 / found.alike)
    np.add.at(first, found.better + found.alike, -1 / found.alike)
    return np.asarray(np.minimum(first[:-1].cumsum().cumsum() / len(found.better), 1.0))


def retrieval_scores(
    scores: Scores,
    truth: Sequence[int] | np.ndarray,
    n_candidates: int,
    groups: Sequence[str] | None = None,
    blocks: Sequence[str] | None = None,
    permutations: int = 1000,
    seed: int = 0,
    block: int = BLOCK,
) -> dict[str, Any]:
    """Top-1, 5 and 10 among N, mean reciprocal rank and median rank, each with chance; p by permutation of top-1 and of the mean
    reciprocal rank; intervals.

    Parameters
    ----------
    scores: (trial, candidate), or a function (first, last) -> them. truth: (trial,) the true candidates' numbers.
    n_candidates: N, stated with every score.
    groups: (trial,) subjects (or blocks) over which intervals are; None: over trials.
    blocks: (trial,) within which the null permutes; None: over all.
    permutations: 0 leaves the test out.

    Returns
    -------
    {"trials", "candidates", "groups", "top_1": {"value", "low", "high", "chance", "null_low", "null_high"}, ..., "mrr":
    ..., "median_rank", "p": of top-1, "p_mrr", "permutations", "interval": over what}

    Raises
    ------
    HeschlError: no trials, a truth that is no candidate, one candidate only.
    """
    truth = np.asarray(truth, np.int64)
    _check(truth, n_candidates, groups, blocks)
    # one pass: scores that are computed block by block are computed once
    every = truth[:, None]
    if permutations:
        every = np.hstack([every, _permuted(truth, blocks, permutations, seed)])
    better, alike = ranks(scores, every if permutations else truth, block)
    better, alike = better.reshape(every.shape), alike.reshape(every.shape)
    found, null = Ranks(better[:, 0], alike[:, 0]), Ranks(better[:, 1:], alike[:, 1:])
    chance_mrr = float((1.0 / np.arange(1, n_candidates + 1)).mean())
    held: dict[str, Any] = {
        "trials": len(truth),
        "candidates": n_candidates,
        "groups": len(set(groups)) if groups is not None else None,
        "interval": "over groups" if groups is not None and len(set(groups)) > 1 else "over trials",
    }
    each = {f"top_{k}": partial(hits, k=k) for k in TOPS if k < n_candidates} | {"mrr": reciprocal}
    ps = {"top_1": "p", "mrr": "p_mrr"}
    bounds = _intervals(len(truth), groups, seed)
    for name, measure in each.items():
        chance = chance_mrr if name == "mrr" else int(name[4:]) / n_candidates
        values, permuted = measure(found), measure(null).mean(0)
        low, high = bounds(values)
        held[name] = {"value": float(values.mean()), "low": low, "high": high, "chance": chance}
        held[name] |= {"null_low": None, "null_high": None}
        if permutations:
            held[name] |= zip(
                ("null_low", "null_high"), np.percentile(permuted, [2.5, 97.5]).tolist(), strict=True
            )
            as_good = int((permuted >= values.mean() - 1e-12).sum())
            if name in ps:
                held[ps[name]] = (1 + as_good) / (1 + permutations)
    held["median_rank"] = float(np.median(middle(found)))
    held["permutations"] = permutations
    return held


def by_group(found: Ranks, groups: Sequence[str], n_candidates: int) -> list[dict[str, Any]]:
    """A row for each group (subject, or word): trials, top-1, 5 and 10, mean reciprocal rank, chance of top-1."""
    each = {f"top_{k}": hits(found, k) for k in TOPS if k < n_candidates} | {"mrr": reciprocal(found)}
    names = np.asarray(groups)
    rows = []
    for name in sorted(set(groups)):
        mine = names == name
        scored = {key: float(values[mine].mean()) for key, values in each.items()}
        rows.append({"group": name, "trials": int(mine.sum()), **scored, "chance_top_1": 1 / n_candidates})
    return rows


def _check(truth: np.ndarray, n: int, groups: Sequence[str] | None, blocks: Sequence[str] | None) -> None:
    if n < 2 or not len(truth):
        raise HeschlError(
            f"there are {len(truth)} trials and {n} candidates: retrieval needs a trial and two of them"
        )
    if truth.ndim != 1 or truth.min() < 0 or truth.max() >= n:
        raise HeschlError(
            f"a trial's true candidate is number {int(truth.max())}, and there are {n}, counted from 0"
        )
    for what, names in (("groups", groups), ("blocks", blocks)):
        if names is not None and len(names) != len(truth):
            raise HeschlError(f"{len(truth)} trials come with {len(names)} {what}: one for each")


def _intervals(
    trials: int, groups: Sequence[str] | None, seed: int
) -> Callable[[np.ndarray], tuple[float, float]]:
    """Gives the interval of the mean of values (trial,): over groups, or trials; over few groups as `few_groups` has it."""
    draws = _draws(trials, groups, seed)

    def percentiles(values: np.ndarray, draws: np.ndarray = draws) -> tuple[float, float]:
        low, high = np.percentile(draws @ values / draws.sum(1), [2.5, 97.5])
        return float(low), float(high)

    if groups is None or not 2 <= len(set(groups)) < FEW:
        return percentiles
    of_trials = _draws(trials, None, seed)
    _, own = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(own)

    def by_t(values: np.ndarray) -> tuple[float, float]:
        without = (values.sum() - np.bincount(own, values)) / (trials - sizes)
        return few_groups(values.mean(), without, percentiles(values, of_trials), (0.0, 1.0))

    return by_t


def _draws(trials: int, groups: Sequence[str] | None, seed: int) -> np.ndarray:
    """(draw, trial) how often each bootstrap sample holds each trial: the samples of `heschl.tasks.intervals.intervals`, so that
    `evaluate` and `decode` tell one interval of one accuracy."""
    random = np.random.default_rng(seed)
    of_trials = groups is None or len(set(groups)) < 2
    names, place = np.unique(np.arange(trials) if of_trials else np.asarray(groups), return_inverse=True)
    count = len(names)
    drawn = [np.bincount(random.integers(count, size=count), minlength=count) for _ in range(DRAWS)]
    return np.asarray(np.stack(drawn)[:, place], float)


def _permuted(truth: np.ndarray, blocks: Sequence[str] | None, count: int, seed: int) -> np.ndarray:
    """(trial, permutation) true candidates, permuted within blocks."""
    random = np.random.default_rng((seed, 1))
    out = np.repeat(truth[:, None], count, axis=1)
    names = np.asarray(blocks) if blocks is not None else np.zeros(len(truth), np.int64)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        out[rows] = random.permuted(out[rows], axis=0)
    return out
