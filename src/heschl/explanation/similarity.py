"""Do two layers hold the same? Centred kernel alignment, between layers and between networks.

    CKA(X, Y) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))                    Kornblith et al. 2019, equation 2

where K and L say how alike two samples are to each layer: inner products (linear), or exp(-d² / (2 sigma²)) with sigma
a share of the median distance (rbf). 1: the same up to rotation and scale. The plain estimate is above zero for layers
that share nothing, the more so the fewer samples there are for the units; ``debiased`` takes HSIC_1 of Song et al.
2012 (equation 5) instead, which is zero on average there, and may be a little below. `minibatch_cka` adds HSIC_1 over
batches (Nguyen et al. 2021, equation 3), so that a corpus need not fit into memory: which batches does not matter on
average, and batches of four samples or more are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from heschl.types import HeschlError

Kernel = Literal["linear", "rbf"]


def cka(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    kernel: Kernel = "linear",
    debiased: bool = False,
    sigma: float = 0.5,
) -> float:
    """CKA of two layers.

    Parameters
    ----------
    x, y: (sample, unit), the same samples; units may differ in number.
    sigma: of the rbf kernel, in medians of the distances between samples.

    Returns
    -------
    in [0, 1], or for ``debiased`` up to 1; not a number where a layer is the same for all samples.

    Raises
    ------
    HeschlError: other samples, fewer than two (debiased: four), or numbers that are not finite.
    """
    a, b = _checked(x, "x", 4 if debiased else 2), _checked(y, "y", 4 if debiased else 2)
    if len(a) != len(b):
        raise HeschlError(f"x has {len(a)} samples and y {len(b)}: give the same samples of both")
    if kernel == "linear" and not debiased and max(a.shape[1], b.shape[1]) < len(a):
        a, b = a - a.mean(0), b - b.mean(0)
        return _ratio(_square(a.T @ b), _square(a.T @ a), _square(b.T @ b))
    k, m = _gram(a, kernel, sigma), _gram(b, kernel, sigma)
    hsic = hsic1 if debiased else hsic0
    return _ratio(hsic(k, m), hsic(k, k), hsic(m, m))


def minibatch_cka(
    batches: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]], kernel: Kernel = "linear", sigma: float = 0.5
) -> float:
    """Debiased CKA of two layers out of batches: pairs of (sample, unit) of the same samples, four or more in each.

    One batch gives what `cka(..., debiased=True)` gives.
    """
    total = np.zeros(3)
    for x, y in batches:
        a, b = _checked(x, "x", 4), _checked(y, "y", 4)
        if len(a) != len(b):
            raise HeschlError(
                f"a batch has {len(a)} samples of x and {len(b)} of y: give the same samples of both"
            )
        k, m = _gram(a, kernel, sigma), _gram(b, kernel, sigma)
        total += [hsic1(k, m), hsic1(k, k), hsic1(m, m)]
    return _ratio(*map(float, total))


def cka_table(
    one: Mapping[str, npt.ArrayLike],
    other: Mapping[str, npt.ArrayLike],
    kernel: Kernel = "linear",
    debiased: bool = True,
) -> np.ndarray:
    """(area of one, area of other) CKA of every layer with every layer; each (sample, unit), the same samples."""
    return np.array([[cka(x, y, kernel, debiased) for y in other.values()] for x in one.values()])


def hsic0(k: np.ndarray, m: np.ndarray) -> float:
    """tr(K H M H) / (n - 1)² of two (sample, sample) kernels, H = 1 - 1/n (Gretton et al. 2005, equation 9)."""
    return float((_centred(k) * m).sum() / (len(k) - 1) ** 2)


def hsic1(k: np.ndarray, m: np.ndarray) -> float:
    """The estimate without bias, diagonals left out (Song et al. 2012, equation 5); four samples or more."""
    n = len(k)
    k, m = (one - np.diag(np.diag(one)) for one in (k, m))
    rows_k, rows_m = k.sum(0), m.sum(0)
    inner = (
        (k * m).sum() + rows_k.sum() * rows_m.sum() / ((n - 1) * (n - 2)) - 2 * (rows_k @ rows_m) / (n - 2)
    )
    return float(inner / (n * (n - 3)))


def _centred(k: np.ndarray) -> np.ndarray:
    return np.asarray(k - k.mean(0) - k.mean(1, keepdims=True) + k.mean())


def _gram(x: np.ndarray, kernel: Kernel, sigma: float) -> np.ndarray:
    if kernel == "linear":
        x = x - x.mean(0)  # no change of the value, and of the rounding a lot
        return np.asarray(x @ x.T)
    if kernel != "rbf":
        raise HeschlError(f"the kernel is '{kernel}': choose 'linear' or 'rbf'")
    if not sigma > 0:
        raise HeschlError(f"sigma is {sigma}: it is a share of the median distance, above zero")
    from scipy.spatial.distance import pdist, squareform

    far = squareform(pdist(x, "sqeuclidean"))
    median = float(np.median(far[~np.eye(len(far), dtype=bool)]))
    if median == 0:
        median = float(far.mean()) or 1.0
    return np.asarray(np.exp(-far / (2 * sigma**2 * median)))


def _square(x: np.ndarray) -> float:
    return float((x**2).sum())


def _ratio(both: float, one: float, other: float) -> float:
    return both / float(np.sqrt(one * other)) if one > 0 and other > 0 else float("nan")


def _checked(x: npt.ArrayLike, name: str, least: int) -> np.ndarray:
    array = np.asarray(x, np.float64)
    if array.ndim != 2 or len(array) < least:
        raise HeschlError(
            f"{name} is of shape {array.shape}: give (sample, unit) with {least} samples at least"
        )
    if not np.isfinite(array).all():
        raise HeschlError(f"{name} holds numbers that are not finite: leave those samples out")
    return array
