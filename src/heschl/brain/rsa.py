"""Representational similarity: do two systems put the same conditions near each other?

A dissimilarity matrix (RDM) is (condition, condition), symmetric with zeros on its diagonal, or its upper triangle row by
row (pair,). The pairs of a matrix are not independent, so that a correlation's textbook p is wrong: p comes from
permuting conditions, intervals from drawing conditions anew.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from scipy import stats

from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]
Method = Literal["spearman", "kendall", "pearson", "cosine"]

METHODS = ("spearman", "kendall", "pearson", "cosine")
ALSO = {"tau-a": "kendall", "kendall tau-a": "kendall", "kendall_tau_a": "kendall", "corr": "pearson"}
LEAST = 5  # conditions: four have 24 orders and six pairs, and no test on them is worth its name


class Comparison(NamedTuple):
    """correlation: by the chosen method. p: one-sided, that a matrix with its conditions permuted agrees as well."""

    correlation: float
    p: float


def compare(
    rdm_a: Any, rdm_b: Any, method: Method = "spearman", permutations: int = 1000, seed: int = 0
) -> Comparison:
    """Compares two dissimilarity matrices over the same conditions, in the same order.

    Parameters
    ----------
    rdm_a, rdm_b: (condition, condition) or (pair,).
    method: "spearman"; "kendall" is tau-a, which alone is fair to models that predict ties (Nili et al., PLoS Comput
        Biol 2014); "pearson"; "cosine", for cross-validated distances, whose zero means something.
    permutations: of the conditions of ``rdm_b``; where there are no more orders than that, every one is tried once.
        p is (1 + those that agree as well) / (1 + permutations), or the plain share of all orders.

    Raises
    ------
    HeschlError: fewer than five conditions, matrices of different sizes, that are not symmetric, whose diagonal is not
        zero (a similarity?), that hold numbers that are not finite, or that never change.
    """
    method = named(method)
    a, b = as_matrix(rdm_a, "rdm_a"), as_matrix(rdm_b, "rdm_b")
    n = len(a)
    if len(b) != n:
        raise HeschlError(f"rdm_a has {n} conditions and rdm_b {len(b)}: both need the same ones, in order")
    if n < LEAST:
        raise HeschlError(
            f"there are {n} conditions: with fewer than {LEAST} no permutation test can tell agreement from chance"
        )
    if permutations < 19:
        raise HeschlError(f"{permutations} permutations cannot give a p of .05: take 19 or more")
    upper = np.triu_indices(n, 1)
    for matrix, name in ((a, "rdm_a"), (b, "rdm_b")):
        if np.ptp(matrix[upper]) == 0 and (method != "cosine" or matrix[upper][0] == 0):
            raise HeschlError(f"all distances of {name} are equal: they agree with everything and nothing")
    first = a[upper]
    observed = similarity(first, b[upper], method)
    every = math.factorial(n) <= permutations if n < 20 else False
    rng = np.random.default_rng(seed)
    orders = itertools.permutations(range(n)) if every else (rng.permutation(n) for _ in range(permutations))
    ranked = stats.rankdata(first), _ranks(b) if method == "spearman" else b
    near = 1e-12  # sums in another order differ in their last digits
    count = total = 0
    for order in orders:
        moved = ranked[1][np.ix_(np.asarray(order), np.asarray(order))][upper]
        value = (
            similarity(ranked[0], moved, "pearson")
            if method == "spearman"
            else similarity(first, moved, method)
        )
        count += value >= observed - near
        total += 1
    p = count / total if every else (1 + count) / (1 + total)
    return Comparison(observed, float(p))


def named(method: str) -> Method:
    """A method by its own name or another toolbox's.

    >>> named("tau-a"), named("cosine")
    ('kendall', 'cosine')
    """
    found = ALSO.get(method, method)
    if found not in METHODS:
        raise HeschlError(f"method is {method!r}: choose {', '.join(METHODS)}")
    return cast(Method, found)


def similarity(a: Array, b: Array, method: Method = "spearman") -> float:
    """Agreement of two vectors of distances (pair,): Spearman's rho, Kendall's tau-a, Pearson's r, or the cosine."""
    method = named(method)
    if method == "kendall":
        # scipy divides by the untied pairs (tau-b): back to all pairs
        n = len(a) * (len(a) - 1) / 2
        tied = [sum(math.comb(int(k), 2) for k in np.unique(v, return_counts=True)[1]) for v in (a, b)]
        if max(tied) == n:
            return 0.0
        return float(stats.kendalltau(a, b).statistic * math.sqrt((n - tied[0]) * (n - tied[1])) / n)
    if method == "spearman":
        a, b = stats.rankdata(a), stats.rankdata(b)
    if method != "cosine":
        a, b = a - a.mean(), b - b.mean()
    below = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / below if below > 0 else 0.0


def bootstrap(
    rdm_a: Any, rdm_b: Any, method: Method = "spearman", draws: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """An interval of the agreement, drawing conditions anew with replacement (percentiles).

    The distance of a condition to its own copy is no datum and is left out. Draws with fewer than `LEAST` different
    conditions are drawn again.
    """
    compare(rdm_a, rdm_b, method, permutations=19)  # refuses what cannot be compared
    a, b = as_matrix(rdm_a, "rdm_a"), as_matrix(rdm_b, "rdm_b")
    if draws < 100 or not 0 < level < 1:
        raise HeschlError(
            f"{draws} draws at a level of {level}: take 100 draws or more, and a level between 0 and 1"
        )
    n, rng = len(a), np.random.default_rng(seed)
    found: list[float] = []
    upper = np.triu_indices(n, 1)
    while len(found) < draws:
        drawn = rng.integers(n, size=n)
        if len(np.unique(drawn)) < LEAST:
            continue
        apart = (drawn[:, None] != drawn[None])[upper]
        one, other = (m[np.ix_(drawn, drawn)][upper][apart] for m in (a, b))
        found.append(similarity(one, other, method))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ceiling(rdms: Any, method: Method = "spearman") -> tuple[float, float]:
    """Noise ceiling over subjects: how well the best model could agree with them, lower and upper bound.

    Parameters
    ----------
    rdms: one matrix or (pair,) for each of three subjects or more.

    Returns
    -------
    The mean agreement of each subject with the mean of all others (lower; left out itself) and of all (upper), after
    ranking, or centring and scaling, each subject as the method does (Nili et al., PLoS Comput Biol 2014). For "kendall"
    the mean of ranks stands in for the best ranking, which makes the upper bound approximate.
    """
    method = named(method)
    upper_of = [as_matrix(rdm, f"rdm {k}") for k, rdm in enumerate(rdms)]
    if len(upper_of) < 3 or len({len(m) for m in upper_of}) > 1:
        raise HeschlError(
            f"there are {len(upper_of)} matrices: give three subjects or more over the same conditions"
        )
    if len(upper_of[0]) < LEAST:
        raise HeschlError(f"there are {len(upper_of[0])} conditions: a noise ceiling needs {LEAST} or more")
    rows = np.stack([m[np.triu_indices(len(m), 1)] for m in upper_of])
    if (np.ptp(rows, 1) == 0).any():
        raise HeschlError(
            f"all distances of rdm {int((np.ptp(rows, 1) == 0).argmax())} are equal: leave it out"
        )
    scaled = rows
    if method in ("spearman", "kendall"):
        scaled = stats.rankdata(rows, axis=1)
    if method == "pearson":
        scaled = scaled - scaled.mean(1, keepdims=True)
    if method in ("pearson", "cosine"):
        scaled = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    k = len(rows)
    whole = scaled.mean(0)
    lower = [similarity((scaled.sum(0) - scaled[s]) / (k - 1), rows[s], method) for s in range(k)]
    return float(np.mean(lower)), float(np.mean([similarity(whole, row, method) for row in rows]))


def as_matrix(rdm: Any, name: str = "rdm") -> Array:
    """A checked matrix (condition, condition) from itself or its upper triangle (pair,)."""
    if hasattr(rdm, "detach"):
        rdm = rdm.detach().cpu().numpy()
    given = np.asarray(rdm, dtype=np.float64)
    if given.ndim == 1:
        n = (1 + math.isqrt(1 + 8 * len(given))) // 2
        if n * (n - 1) // 2 != len(given) or n < 2:
            raise HeschlError(
                f"{name} has {len(given)} pairs, which is no upper triangle: 6, 10, 15, ... are"
            )
        matrix = np.zeros((n, n))
        matrix[np.triu_indices(n, 1)] = given
        matrix += matrix.T
    elif given.ndim == 2 and given.shape[0] == given.shape[1]:
        matrix = given
    else:
        raise HeschlError(f"{name} is of shape {given.shape}: give (condition, condition) or (pair,)")
    if not np.isfinite(matrix).all():
        raise HeschlError(f"{name} holds distances that are not finite: leave those conditions out")
    size = np.abs(matrix).max()
    if np.abs(matrix - matrix.T).max() > 1e-6 * size:
        raise HeschlError(f"{name} is not symmetric: the distance from a to b must be that from b to a")
    if np.abs(np.diagonal(matrix)).max() > 1e-6 * size:
        raise HeschlError(
            f"the diagonal of {name} is not zero: give distances (1 - similarity), zero from a condition to itself"
        )
    return matrix


def _ranks(matrix: Array) -> Array:
    upper = np.triu_indices(len(matrix), 1)
    found = np.zeros_like(matrix)
    found[upper] = stats.rankdata(matrix[upper])
    return found + found.T
