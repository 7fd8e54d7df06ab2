"""Over subjects: where a difference is above zero, by permutation of signs and the mass of clusters."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]

LEAST_SUBJECTS = 6  # five have 32 patterns of signs: a one-sided p of .031 at best, and little power


@dataclass(frozen=True, eq=False)
class Clusters:
    """t: (...,) of each place. clusters: masks, each the shape of t, by rising p. p: (cluster,), corrected."""

    t: Array
    clusters: list[Array]
    p: Array


def cluster_test(
    values: Any,
    adjacency: Any = None,
    threshold: float | None = None,
    permutations: int = 1000,
    seed: int = 0,
) -> Clusters:
    """One-sided cluster permutation test that values over subjects are above zero (Maris and Oostenveld 2007).

    Parameters
    ----------
    values: (subject, place) or (subject, time, place): differences, such as the gain of a layer.
    adjacency: sparse (place, place) which places are neighbours (``mne.channels.find_ch_adjacency``,
        ``mne.spatial_src_adjacency``); None: neighbours on the grid.
    threshold: of t, to form clusters; None: p of .05, one-sided.

    Notes
    -----
    A cluster's p says that there is an effect; not that it begins or ends where the cluster does.

    Raises
    ------
    HeschlError: fewer than six subjects, numbers that are not finite, or mne is not installed.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim not in (2, 3):
        raise HeschlError(f"values are of shape {x.shape}: give (subject, place) or (subject, time, place)")
    if len(x) < LEAST_SUBJECTS:
        raise HeschlError(
            f"there are {len(x)} subjects: a permutation of signs over fewer than {LEAST_SUBJECTS} cannot tell much"
        )
    if not np.isfinite(x).all():
        raise HeschlError("values hold numbers that are not finite: leave those subjects or places out")
    try:
        from mne.stats import combine_adjacency, permutation_cluster_1samp_test
    except ImportError:
        raise HeschlError("cluster tests need mne: pip install 'heschl[brain]'") from None
    if adjacency is not None and x.ndim == 3:
        adjacency = combine_adjacency(x.shape[1], adjacency)
    test: Any = permutation_cluster_1samp_test
    by = "rng" if "rng" in inspect.signature(test).parameters else "seed"  # its name before mne 1.13
    t, clusters, p, _ = test(
        x,
        threshold=threshold,
        n_permutations=permutations,
        tail=1,
        adjacency=adjacency,
        out_type="mask",
        verbose="error",
        **{by: seed},
    )
    order = np.argsort(p, kind="stable")
    return Clusters(t, [_mask(clusters[k], t.shape) for k in order], np.asarray(p)[order])


def _mask(cluster: Any, shape: tuple[int, ...]) -> Array:
    """mne gives slices where places lie in a row, and masks otherwise."""
    found = np.zeros(shape, dtype=bool)
    if isinstance(cluster, tuple):
        found[cluster] = True
    else:
        found[:] = np.asarray(cluster).reshape(shape)
    return found
