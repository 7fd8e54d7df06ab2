"""What each player brings to a game: Shapley values, over all coalitions or over some of them.

A game gives a number to every coalition; here the players are segments of a clip, and the number is what a network
says when it hears these alone. Sources: Shapley 1953; Lundberg & Lee 2017, NeurIPS (kernel SHAP: Shapley values are the
solution of a least-squares problem, theorem 2); Covert & Lee 2021, AISTATS (paired sampling).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from heschl.types import HeschlError

ENUMERATED = 10  # players up to which every coalition is asked
Game = Callable[[NDArray[np.bool_]], NDArray[np.float64]]  # (coalition, player) -> (coalition,)


class Shapley(NamedTuple):
    """Shapley values.

    values: (player,); they add up to what all get together less what nobody gets.
    error: (player,) standard error, 0 where every coalition was asked.
    whole, nobody: the game's number for all players and for none.
    asked: how many different coalitions were.
    """

    values: NDArray[np.float64]
    error: NDArray[np.float64]
    whole: float
    nobody: float
    asked: int


def exact_shapley(game: Game, players: int) -> Shapley:
    """By the definition: the mean over all orders of what a player adds to those before it. For up to 20 players."""
    _check(players)
    if players > 20:
        raise HeschlError(f"{players} players have {2**players} coalitions: take kernel_shapley")
    coalitions = _all(players)
    worth = _asked(game, coalitions)
    sizes = coalitions.sum(1)
    weight = np.array(
        [
            math.factorial(s) * math.factorial(players - s - 1) / math.factorial(players)
            for s in range(players)
        ]
    )
    values = np.empty(players)
    for k in range(players):
        without = np.flatnonzero(~coalitions[:, k])
        values[k] = weight[sizes[without]] @ (worth[without + (1 << k)] - worth[without])
    return Shapley(values, np.zeros(players), float(worth[-1]), float(worth[0]), len(worth))


def kernel_shapley(game: Game, players: int, samples: int | None = None, seed: int = 0) -> Shapley:
    """By weighted least squares (Lundberg & Lee 2017), over all coalitions or over a sample of them.

    For up to ten players every coalition is asked, and the values are the exact ones. Beyond, ``samples`` coalitions
    are drawn with the kernel's own probability, each with its complement, and the standard error is that of the
    regression, robust over the pairs; it falls as 1 / sqrt(samples).

    Parameters
    ----------
    game: coalitions (coalition, player), True for who takes part, to their worth (coalition,).
    samples: drawn coalitions (None: 2048 + 2 * players). Where that is as many as there are, all are asked.

    Raises
    ------
    HeschlError: too few samples to tell the players apart, or worth that is not finite.
    """
    _check(players)
    if samples is None:
        samples = 2048 + 2 * players
    if players <= ENUMERATED or samples >= 2**players - 2:
        coalitions = _all(players)
        worth = _asked(game, coalitions)
        whole, nobody = float(worth[-1]), float(worth[0])
        if players == 1:
            return Shapley(np.array([whole - nobody]), np.zeros(1), whole, nobody, 2)
        inner, worth = coalitions[1:-1], worth[1:-1]
        sizes = inner.sum(1)
        binomial = np.array([math.comb(players, s) for s in range(players + 1)], dtype=np.float64)
        weight = (players - 1) / (binomial[sizes] * sizes * (players - sizes))
        values, _ = _regression(inner, worth, weight, whole, nobody)
        return Shapley(values, np.zeros(players), whole, nobody, 2**players)
    if samples < 4 * players:
        raise HeschlError(
            f"samples is {samples}: for {players} players take at least {4 * players} coalitions"
        )
    drawn = _drawn(players, samples // 2, np.random.default_rng(seed))
    ends = np.stack([np.zeros(players, bool), np.ones(players, bool)])
    unique, place = np.unique(np.concatenate([ends, drawn, ~drawn]), axis=0, return_inverse=True)
    worth = _asked(game, unique)[place.reshape(-1)]
    nobody, whole = float(worth[0]), float(worth[1])
    values, error = _regression(
        np.concatenate([drawn, ~drawn]), worth[2:], np.ones(2 * len(drawn)), whole, nobody, pairs=len(drawn)
    )
    return Shapley(values, error, whole, nobody, len(unique))


def _regression(
    coalitions: NDArray[np.bool_],
    worth: NDArray[np.float64],
    weight: NDArray[np.float64],
    whole: float,
    nobody: float,
    pairs: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values that add up to whole - nobody and fit the worth of coalitions best; their standard errors over pairs.

    The last player's value is what the others leave, which takes one unknown out of the least-squares problem.
    """
    total, z = whole - nobody, coalitions.astype(np.float64)
    x, y = z[:, :-1] - z[:, -1:], worth - nobody - z[:, -1] * total
    root = np.sqrt(weight)
    first, _, rank, _ = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)
    if rank < x.shape[1]:
        raise HeschlError(
            f"{len(coalitions)} coalitions cannot tell {z.shape[1]} players apart: take more samples"
        )
    values = np.append(first, total - first.sum())
    if not pairs:
        return values, np.zeros(len(values))
    scores = (x * (y - x @ first)[:, None]).reshape(2, pairs, -1).sum(0)
    bread = np.linalg.inv(x.T @ x)
    covariance = bread @ (scores.T @ scores) @ bread * pairs / max(1, pairs - x.shape[1])
    last = covariance.sum()
    return values, np.sqrt(np.maximum(0, np.append(np.diag(covariance), last)))


def _drawn(players: int, n: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """n coalitions, by the probability that the kernel gives them."""
    sizes = np.arange(1, players)
    p = 1 / (sizes * (players - sizes))
    chosen = random.choice(sizes, n, p=p / p.sum())
    ranks = random.random((n, players)).argsort(1).argsort(1)
    return np.asarray(ranks < chosen[:, None])


def _all(players: int) -> NDArray[np.bool_]:
    """Coalition c holds player k where bit k of c is set."""
    return np.asarray((np.arange(2**players)[:, None] >> np.arange(players)) & 1, dtype=bool)


def _asked(game: Game, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
    worth = np.asarray(game(coalitions), dtype=np.float64)
    if worth.shape != (len(coalitions),):
        raise HeschlError(f"the game gives {worth.shape} for {len(coalitions)} coalitions: one number each")
    if not np.isfinite(worth).all():
        raise HeschlError("the game gives numbers that are not finite: look at what it is played with")
    return worth


def _check(players: int) -> None:
    if players < 1:
        raise HeschlError(f"there are {players} players: at least one is needed")
