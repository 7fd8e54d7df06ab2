"""Representational similarity against rsatoolbox, loops, and distances that are known."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from heschl.brain import distances, rsa
from heschl.brain.rsa import METHODS, compare, similarity
from heschl.types import HeschlError

THEIRS = {"spearman": "spearman", "kendall": "tau-a", "pearson": "corr", "cosine": "cosine"}


def rdm(n: int, seed: int, levels: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pairs = rng.random(n * (n - 1) // 2)
    return squareform(np.floor(pairs * levels) if levels else pairs)


def loops(a: np.ndarray, b: np.ndarray, method: str) -> float:
    """By the definition, pair of pairs by pair of pairs."""
    x, y = ([m[i, j] for i in range(len(m)) for j in range(i + 1, len(m))] for m in (a, b))
    if method == "kendall":
        signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i in range(len(x)) for j in range(i)]
        return float(np.mean(signs))
    if method == "spearman":
        x, y = ([sum(w < v for w in z) + (1 + sum(w == v for w in z)) / 2 for v in z] for z in (x, y))
    shift = [0, 0] if method == "cosine" else [np.mean(x), np.mean(y)]
    top = sum((p - shift[0]) * (q - shift[1]) for p, q in zip(x, y))
    return top / np.sqrt(sum((p - shift[0]) ** 2 for p in x) * sum((q - shift[1]) ** 2 for q in y))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("levels", [0, 4])
def test_agreement_equals_rsatoolbox_and_loops(method: str, levels: int) -> None:
    from rsatoolbox.rdm import RDMs
    from rsatoolbox.rdm import compare as theirs

    a, b = rdm(9, 0, levels), rdm(9, 1, levels) + rdm(9, 0)
    found = compare(a, b, method, permutations=19)
    one, other = (RDMs(squareform(m, checks=False)[None]) for m in (a, b))
    assert found.correlation == pytest.approx(theirs(one, other, method=THEIRS[method])[0, 0], rel=1e-9)
    assert found.correlation == pytest.approx(loops(a, b, method), rel=1e-9)
    assert compare(squareform(a), squareform(b), method, permutations=19) == found
    assert compare(b, a, method, permutations=19).correlation == pytest.approx(found.correlation)


@pytest.mark.parametrize("method", METHODS)
def test_every_order_is_tried_where_there_are_few(method: str) -> None:
    a, b = rdm(5, 2), rdm(5, 3) + rdm(5, 2)
    upper = np.triu_indices(5, 1)
    observed = similarity(a[upper], b[upper], method)
    values = [similarity(a[upper], b[np.ix_(o, o)][upper], method) for o in itertools.permutations(range(5))]
    assert compare(a, b, method, permutations=200).p == np.mean(np.array(values) >= observed - 1e-12)


@pytest.mark.slow
def test_p_is_low_for_one_geometry_and_even_for_two() -> None:
    points = np.random.default_rng(0).standard_normal((12, 3))
    same = squareform(np.linalg.norm(points[:, None] - points[None], axis=-1), checks=False)
    assert compare(same, same * 2 + squareform(rdm(12, 5)) * 0.3, permutations=199).p == 1 / 200
    assert compare(same, same, "kendall", permutations=99) == (1.0, 0.01)
    p = [compare(rdm(8, 2 * k), rdm(8, 2 * k + 1), permutations=39, seed=k).p for k in range(150)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.11 and 0.4 < np.mean(p) < 0.6
    assert compare(rdm(8, 0), rdm(8, 1), seed=3) == compare(rdm(8, 0), rdm(8, 1), seed=3)


def test_bootstrap_and_ceiling() -> None:
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
    from rsatoolbox.rdm import RDMs

    truth = rdm(14, 0)
    noisy = [truth + 0.5 * rdm(14, k) for k in range(1, 6)]
    for method in ("spearman", "cosine", "pearson"):
        low, high = rsa.bootstrap(truth, noisy[0], method, draws=200)
        assert low < compare(truth, noisy[0], method, permutations=19).correlation < high
        rows = np.stack([squareform(m, checks=False) for m in noisy])
        theirs = boot_noise_ceiling(RDMs(rows), method=THEIRS[method])
        np.testing.assert_allclose(rsa.ceiling(noisy, method), theirs, rtol=1e-9)
    low, high = rsa.ceiling(noisy, "kendall")
    assert 0 < low < high < 1
    low, high = rsa.bootstrap(rdm(14, 8), rdm(14, 9), draws=200)
    assert low < 0 < high


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (rdm(4, 0), rdm(4, 1), "there are 4 conditions"),
        (rdm(6, 0), rdm(7, 1), "rdm_a has 6 conditions and rdm_b 7"),
        (rdm(6, 0) + np.triu(rdm(6, 3)), rdm(6, 1), "rdm_a is not symmetric"),
        (rdm(6, 0), 1 - rdm(6, 1), "the diagonal of rdm_b is not zero"),
        (rdm(6, 0), rdm(6, 1) * np.nan, "rdm_b holds distances that are not finite"),
        (rdm(6, 0), 1 - np.eye(6), "all distances of rdm_b are equal"),
        (np.ones(7), rdm(6, 1), "7 pairs, which is no upper triangle"),
        (np.ones((2, 3)), rdm(6, 1), "of shape .2, 3."),
    ],
)
def test_invalid_designs_are_refused_with_the_reason(a: Any, b: Any, says: str) -> None:
    with pytest.raises(HeschlError, match=says):
        compare(a, b)


def test_a_method_by_another_toolbox_s_name_is_the_same_method_everywhere() -> None:
    """Ranks of ties tell Kendall's tau-a from Pearson's r."""
    tied = [np.round(2 * rdm(9, k)) for k in range(3)]
    for name, own in (("tau-a", "kendall"), ("corr", "pearson")):
        assert rsa.bootstrap(tied[0], tied[1], name, draws=100) == rsa.bootstrap(
            tied[0], tied[1], own, draws=100
        )
        assert rsa.ceiling(tied, name) == rsa.ceiling(tied, own)
        assert similarity(tied[0][0], tied[1][0], name) == similarity(tied[0][0], tied[1][0], own)
    for asked in (
        lambda: rsa.ceiling(tied, "euclid"),
        lambda: rsa.bootstrap(tied[0], tied[1], "euclid"),
        lambda: similarity(tied[0][0], tied[1][0], "euclid"),
    ):
        with pytest.raises(HeschlError, match="method is 'euclid'"):
            asked()


def test_other_refusals() -> None:
    with pytest.raises(HeschlError, match="method is 'euclid'"):
        compare(rdm(6, 0), rdm(6, 1), "euclid")
    with pytest.raises(HeschlError, match="take 19 or more"):
        compare(rdm(6, 0), rdm(6, 1), permutations=5)
    with pytest.raises(HeschlError, match="three subjects or more"):
        rsa.ceiling([rdm(6, 0), rdm(6, 1)])


# --- cross-validated distances -------------------------------------------------------------------------------------


def design(seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((4, 6))
    conditions, folds = np.tile(np.repeat(np.arange(4), 2), 3), np.repeat(np.arange(3), 8)
    mix = rng.standard_normal((6, 6))
    return patterns[conditions] + noise * rng.standard_normal((24, 6)) @ mix, conditions, folds, patterns


def test_crossnobis_equals_rsatoolbox_and_a_double_loop() -> None:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    trials, conditions, folds, _ = design(0)
    white = distances.whitener(distances.residuals(trials, conditions), shrinkage=0.3)
    found, names = distances.crossnobis(trials, conditions, folds, white)
    assert names == [0, 1, 2, 3] and white.rank == 6
    precision = white.matrix @ white.matrix.T
    dataset = Dataset(trials, obs_descriptors={"condition": conditions, "fold": folds})
    theirs = calc_rdm(dataset, "crossnobis", "condition", noise=precision, cv_descriptor="fold")
    np.testing.assert_allclose(found, theirs.get_matrices()[0], atol=1e-9 * np.abs(found).max())
    for a in range(4):
        for b in range(4):
            value = 0.0
            for fold in range(3):
                here, there = ([t for t in range(24) if (folds[t] == fold) == side] for side in (True, False))

                def mean(c: int, rows: list[int]) -> np.ndarray:
                    return np.mean([trials[t] for t in rows if conditions[t] == c], 0)

                value += (
                    (mean(a, here) - mean(b, here)) @ precision @ (mean(a, there) - mean(b, there)) / 6 / 3
                )
            assert found[a, b] == pytest.approx(value, abs=1e-9 * np.abs(found).max())


def test_crossnobis_has_no_bias_where_nothing_differs() -> None:
    values = []
    for seed in range(200):
        trials, conditions, folds, _ = design(seed)
        noise = trials - design(seed, 0.0)[0]
        values.append(distances.crossnobis(noise, conditions, folds)[0][0, 1])
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)


def test_whitening_equals_ledoit_and_wolf() -> None:
    from sklearn.covariance import ledoit_wolf

    x = np.random.default_rng(0).standard_normal((40, 7)) @ np.random.default_rng(1).standard_normal((7, 7))
    covariance, shrinkage = ledoit_wolf(x)
    white = distances.whitener(x)
    assert white.shrinkage == pytest.approx(shrinkage, rel=1e-9)
    np.testing.assert_allclose(white.matrix @ white.matrix.T, np.linalg.inv(covariance), rtol=1e-8)
    plain = distances.whitener(x, shrinkage=0.0)
    np.testing.assert_allclose(np.cov((x @ plain.matrix).T, bias=True), np.eye(7), atol=1e-9)


def test_an_average_reference_changes_no_distance() -> None:
    """Whitened in its true rank, data with an average reference gives what its independent channels give."""
    trials, conditions, folds, _ = design(3)
    referenced = trials - trials.mean(1, keepdims=True)
    free = referenced @ np.linalg.svd(referenced)[2][:5].T
    found = []
    for x in (referenced, free):
        white = distances.whitener(distances.residuals(x, conditions))
        assert white.rank == 5
        found.append(distances.crossnobis(x, conditions, folds, white)[0])
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)


def test_designs_that_are_not_independent_are_refused() -> None:
    trials, conditions, folds, _ = design(0)
    spans = np.stack([np.arange(24.0), np.arange(24.0) + 0.9], 1)
    distances.crossnobis(trials, conditions, folds, spans=spans)
    late = spans.copy()
    late[7, 1] = 8.5  # the last of fold 0 runs into the first of fold 1
    twin = trials.copy()
    twin[9] = twin[1]
    lone = conditions.copy()
    lone[(folds == 2) & (conditions == 3)] = 1
    for arguments, says in [
        ((trials, conditions, np.zeros(24)), "all trials are in one fold"),
        ((trials, conditions, folds, None, late), "trials 7 and 8 overlap in time and lie in folds 0 and 1"),
        ((twin, conditions, folds), "trials 1 and 9 are the same numbers"),
        ((trials, lone, folds), "fold 2 has no trial of 3"),
        ((trials, conditions[:-1], folds), "24 folds"),
        ((trials * np.nan, conditions, folds), "trial 0 holds numbers that are not finite"),
    ]:
        with pytest.raises(HeschlError, match=says):
            distances.crossnobis(*arguments)
    for arguments, says in [
        ((np.ones((5, 3)),), "never change"),
        ((trials, 2.0), "shrinkage is 2.0"),
        ((trials, None, 9), "6 independent directions"),
    ]:
        with pytest.raises(HeschlError, match=says):
            distances.whitener(*arguments)
