"""Ridge regression from moments: weights for one penalty or many, their r on other rows, Haufe's patterns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import scipy.linalg

from heschl.brain.gram import Moments
from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]

_EIGEN_PAYS = (
    25  # penalties: from about here on one eigendecomposition is cheaper than so many Cholesky factors
)
_MOST = 2000


def solve(centred: Moments, penalties: Array) -> Iterator[Array]:
    """Weights (column, channel) for each penalty in turn: ``(X'X + diag(penalty))^-1 X'Y``.

    Parameters
    ----------
    centred: moments about the means.
    penalties: (candidate,) one number for all columns, or (candidate, column). Where the matrix is singular (a
        penalty of zero and columns that depend on each other), the shortest weights of the best fit.
    """
    gram, cross = centred.xx, centred.xy
    if penalties.ndim == 1 and len(penalties) >= _EIGEN_PAYS:
        values, vectors = scipy.linalg.eigh(gram, check_finite=False)
        turned = vectors.T @ cross
        for penalty in penalties.astype(gram.dtype):
            yield vectors @ (_inverse(values + penalty)[:, None] * turned)
        return
    for penalty in penalties.astype(gram.dtype):
        held = np.array(gram.T, order="F")  # symmetric, and so copied straight
        held[np.diag_indices_from(held)] += penalty
        try:
            factor, lower = scipy.linalg.cho_factor(held, overwrite_a=True, check_finite=False)
            pivots = np.diagonal(factor) ** 2
            sound = (
                penalty.min() > 0 or pivots.min() > pivots.max() * len(pivots) * np.finfo(pivots.dtype).eps
            )
        except np.linalg.LinAlgError:
            sound = False
        if sound:
            yield scipy.linalg.cho_solve((factor, lower), cross, check_finite=False)
        else:
            values, vectors = scipy.linalg.eigh(gram + np.diag(np.broadcast_to(penalty, len(gram))))
            yield vectors @ (_inverse(values)[:, None] * (vectors.T @ cross))


def _inverse(values: Array) -> Array:
    """One over the eigenvalues of a covariance, zero for those that are rounding."""
    kept = values > values.max() * len(values) * np.finfo(values.dtype).eps
    return np.where(kept, 1 / np.where(kept, values, 1), 0).astype(values.dtype)


def score(weights: Array, test: Moments) -> Array:
    """r (channel,) of predictions on rows whose moments about their means are ``test``; 0 where a prediction is flat."""
    together = np.einsum("pc,pc->c", weights, test.xy)
    spread = np.einsum("pc,pc->c", weights, test.xx @ weights)
    below = np.sqrt(np.maximum(spread, 0) * test.yy)
    return np.where(below > 0, together / np.where(below > 0, below, 1), 0.0)


def explained(weights: Array, train: Moments, test: Moments) -> Array:
    """R2 (channel,) of predictions on rows with centred moments ``test``: below 0 where they are worse than its mean.

    The intercept comes from ``train``, so that a wrong level on the tested rows counts.
    """
    level = test.y / test.n - train.y / train.n - (test.x / test.n - train.x / train.n) @ weights
    residual = (
        test.yy
        - 2 * np.einsum("pc,pc->c", weights, test.xy)
        + np.einsum("pc,pc->c", weights, test.xx @ weights)
    )
    return np.asarray(1 - (residual + test.n * level**2) / test.yy)


def haufe(xx: Array, weights: Array, sources: Array | None = None) -> Array:
    """Patterns of a backward model: what in its inputs follows each of its outputs.

    ``A = S_x W S_s^-1`` (Haufe et al., NeuroImage 2014, eq. 6), where S_s is the covariance of what the model gives,
    ``W' S_x W``. mTRF's transform and MNE's patterns have that of the true outputs in its place: give it as ``sources``;
    for a single output only the scale differs.

    Parameters
    ----------
    xx: (column, column) covariance, or sums of products, of the inputs; ``sources`` in the same scale.
    weights: (column, output).

    Returns
    -------
    (column, output).
    """
    through = xx @ weights
    return np.asarray(through @ np.linalg.pinv(weights.T @ through if sources is None else sources))


# --- penalties ---------------------------------------------------------------------------------------


def bands(groups: Any, width: int) -> Array:
    """The group of every input (input,), numbered from 0: from labels, one per input, from sizes in order, or from the
    inputs of each group. Ones for all could be either, and are refused.

    >>> bands([1, 3], 4).tolist(), bands(["envelope", "mel", "mel"], 3).tolist(), bands([[0, 2], [1]], 3).tolist()
    ([0, 1, 1, 1], [0, 1, 1], [0, 1, 0])
    """
    if isinstance(groups, list | tuple) and groups and all(np.ndim(one) == 1 for one in groups):
        flat = np.concatenate([np.asarray(one) for one in groups])
        if flat.dtype.kind in "iu" and np.array_equal(np.sort(flat), np.arange(width)):
            band = np.empty(width, dtype=int)
            band[flat] = np.repeat(np.arange(len(groups)), [len(one) for one in groups])
            return band
        given: Array = np.zeros((0, 0))
    else:
        given = np.asarray(groups)
    if given.ndim == 1 and len(given) == width:
        if width > 1 and given.dtype.kind in "iu" and (given == 1).all():
            raise HeschlError(
                f"groups are {groups!r} for {width} inputs, which may be {width} groups of one or one label for all: give "
                f"labels such as {list(range(width))[:4]}, or each group's inputs"
            )
        _, first, index = np.unique(given, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[index]  # in the order in which they first come
    if given.ndim == 1 and given.dtype.kind in "iu" and (given > 0).all() and given.sum() == width:
        return np.repeat(np.arange(len(given)), given)
    raise HeschlError(
        f"groups are {groups!r} for {width} inputs: give one label per input, sizes that add up to {width}, or each "
        "group's inputs"
    )


def candidates(alphas: Any, n_groups: int, scale: float) -> Array:
    """Penalties to choose from: (candidate,) without groups, (candidate, group) with them.

    One row of alphas is combined with itself over the groups; rows (candidate, group) are taken as they are. None
    stands for ten powers of ten about ``scale``, from 1e-4 to 1e5 of it (with groups four, from 1e-2 to 1e4).
    """
    if alphas is None:
        powers = np.arange(-4.0, 6.0) if n_groups == 1 else np.arange(-2.0, 5.0, 2.0)
        alphas = scale * 10.0**powers
    given = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
    if given.size == 0 or not (np.isfinite(given).all() and (given >= 0).all()):
        raise HeschlError(f"alphas are {alphas!r}: give numbers that are finite and not negative")
    if given.ndim == 1:
        if n_groups == 1:
            return given
        if len(given) == 1:
            return np.full((1, n_groups), given[0])
        if len(given) ** n_groups > _MOST:
            raise HeschlError(
                f"{len(given)} alphas over {n_groups} groups make {len(given) ** n_groups} combinations: "
                "give fewer alphas, or rows (candidate, group) such as `random_bands` draws"
            )
        return np.array(list(product(given, repeat=n_groups)))
    if given.ndim != 2 or given.shape[1] != n_groups:
        raise HeschlError(f"alphas are of shape {given.shape}: give (alpha,), or (candidate, {n_groups})")
    return given[:, 0] if n_groups == 1 else given


def random_bands(n: int, groups: int, alphas: Any, seed: int = 0) -> Array:
    """Rows (candidate, group) for many groups: Dirichlet weights gamma, each with every alpha, alpha / gamma.

    Random search over feature spaces (Dupre la Tour et al., NeuroImage 2022, section 2.4); the first draw is even.
    """
    gamma = np.random.default_rng(seed).dirichlet(np.ones(groups), n)
    gamma[:1] = 1 / groups
    return (np.asarray(alphas, dtype=np.float64)[None, :, None] / gamma[:, None, :]).reshape(-1, groups)


def per_column(penalties: Array, band: Array, n_lags: int) -> Array:
    """Candidates as `solve` takes them: the penalty of every column (lag, input)."""
    return penalties if penalties.ndim == 1 else np.tile(penalties[:, band], (1, n_lags))
