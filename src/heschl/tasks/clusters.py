"""When is decoding above chance? A cluster permutation test over subjects (Maris and Oostenveld 2007).

At every time a one-sided t test over subjects; neighbouring times above its critical value are a cluster, whose size is the
sum of their t. Under the null each subject's course may as well be mirrored at chance: signs are flipped, and the largest
cluster of each flip is what a cluster is held against. p says that there is something, not when it begins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from heschl.types import HeschlError

FEWEST = 5  # subjects: of four, no cluster could be rarer than one in sixteen
EXACT = 10  # up to so many, every flip is counted
HAT = (
    1e-3  # share of the largest variance that is added to each, so that subjects who agree give no endless t
)


class Cluster(NamedTuple):
    """Times first to last (both in it), the sum of their t, and p."""

    first: int
    last: int
    size: float
    p: float


def cluster_test(
    values: np.ndarray, chance: float, permutations: int = 1000, seed: int = 0, level: float = 0.05
) -> list[Cluster]:
    """Clusters of times at which subjects score above chance, in order of time.

    Parameters
    ----------
    values: (subject, time) scores. chance: what they are without information.
    permutations: flips of signs; with up to `EXACT` subjects all of them are counted. level: of the t test that makes clusters.

    Raises
    ------
    HeschlError: fewer than `FEWEST` subjects, or a score that is not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or len(values) < FEWEST:
        raise HeschlError(
            f"a cluster test takes {FEWEST} subjects or more, and there are {len(values)}: record more, or test over trials"
        )
    if not np.isfinite(values).all():
        raise HeschlError(
            f"the scores of subject number {int((~np.isfinite(values)).any(1).argmax()) + 1} are not finite"
        )
    from scipy.stats import t

    above, n = values - chance, len(values)
    limit = float(t.ppf(1 - level, n - 1))
    found = _clusters(_t(above), limit)
    if n <= EXACT:
        flips = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:  # the answer itself is one of the flips (Phipson and Smyth 2010)
        flips = np.random.default_rng(seed).choice([-1, 1], (permutations + 1, n))
        flips[0] = 1
    largest = np.array(
        [
            max((size for *_, size in _clusters(_t(flip[:, None] * above), limit)), default=0.0)
            for flip in flips
        ]
    )
    return [
        Cluster(first, last, size, float((largest >= size - 1e-9 * abs(size)).mean()))
        for first, last, size in found
    ]


def _t(above: np.ndarray) -> np.ndarray:
    """(time,) t over subjects; 0 where nobody differs from chance."""
    variance = above.var(0, ddof=1)
    variance = variance + HAT * variance.max()
    mean: np.ndarray = above.mean(0)
    return mean / np.sqrt(np.where(variance > 0, variance, 1e-12) / len(above))


def _clusters(course: np.ndarray, limit: float) -> list[tuple[int, int, float]]:
    """First and last time of each stretch above the limit, and the sum over it."""
    inside = np.concatenate([[False], course > limit, [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
    return [(int(a), int(b) - 1, float(course[a:b].sum())) for a, b in edges]
