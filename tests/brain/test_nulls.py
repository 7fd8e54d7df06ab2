"""Nulls and gains: against loops, and against brains whose drive is known."""

from __future__ import annotations

import numpy as np
import pytest
from brain_lagged import lagged
from scipy import stats

from heschl.brain import layers, nulls
from heschl.brain.encode import fit_encoding
from heschl.brain.layers import against_others, layer_gain, partition, seeds_needed
from heschl.types import HeschlError

RATE, LAGS = 20, (0.0, 0.15)


def smooth(rng: np.random.Generator, length: int, columns: int) -> np.ndarray:
    x = rng.standard_normal((length, columns))
    for _ in range(2):
        x[1:] += 0.7 * x[:-1]
    return x / x.std(0)


def follows(x: np.ndarray, channels: int, rng: np.random.Generator, noise: float) -> np.ndarray:
    steps = np.arange(4)
    y = lagged(x, steps) @ rng.standard_normal((4 * x.shape[1], channels))
    return y / y.std(0) + noise * smooth(rng, len(x), channels)


def test_the_shift_null_is_the_whole_analysis_done_again() -> None:
    rng = np.random.default_rng(0)
    x = [smooth(rng, n, 2) for n in (300, 260)]
    y = [follows(run, 3, rng, 3.0) for run in x]
    alphas = [1.0, 100.0]
    found = nulls.shift_null(x, y, RATE, LAGS, alphas, folds=3, shifts=19, seed=4)
    moves = nulls.draw_shifts([300, 260], 20, 19, 4)
    assert moves.min() >= 20 and (300 - moves[:, 0]).min() >= 20 and len(set(moves[:, 0])) == 19
    for shift in (0, 7, 18):
        moved = [np.roll(run, by, 0) for run, by in zip(y, moves[shift])]
        np.testing.assert_allclose(
            found.null[shift], fit_encoding(x, moved, RATE, LAGS, alphas, folds=3).r, atol=1e-12
        )
    np.testing.assert_allclose(found.observed, fit_encoding(x, y, RATE, LAGS, alphas, folds=3).r, atol=1e-12)
    for c in range(3):
        assert found.p[c] == (1 + sum(found.null[s, c] >= found.observed[c] for s in range(19))) / 20
        assert found.p_max[c] == (1 + sum(max(found.null[s]) >= found.observed[c] for s in range(19))) / 20


@pytest.mark.slow
def test_memory_bounds_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, y = smooth(rng, 400, 2), smooth(rng, 400, 2)
    whole = nulls.shift_null(x, y, RATE, LAGS, shifts=20)
    monkeypatch.setattr(nulls, "_AT_ONCE", 1)
    np.testing.assert_allclose(nulls.shift_null(x, y, RATE, LAGS, shifts=20).null, whole.null, atol=1e-12)


def test_a_brain_that_follows_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(2)
    x = smooth(rng, 1200, 2)
    y = np.concatenate([follows(x, 2, rng, 2.0), smooth(rng, 1200, 2)], 1)
    found = nulls.shift_null(x, y, RATE, LAGS, shifts=99)
    assert (found.p_max[:2] == 0.01).all() and (found.p_max[2:] > 0.05).all()
    assert (found.p_max >= found.p).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("driver", "expected"), [("trained", True), ("untrained", False), ("acoustics", False)]
)
def test_a_layer_is_claimed_only_where_it_drives(driver: str, expected: bool) -> None:
    rng = np.random.default_rng(3)
    acoustics, layer = smooth(rng, 1500, 2), smooth(rng, 1500, 3)
    common = smooth(rng, 1500, 3)  # what every random network has as well
    untrained = [common + 0.1 * smooth(rng, 1500, 3) for _ in range(19)]
    drives = {"trained": layer, "untrained": common, "acoustics": acoustics}[driver]
    layer = layer + (common if driver == "untrained" else 0)
    y = follows(drives, 2, rng, 1.5)
    found = layer_gain(layer, untrained, acoustics, y, RATE, LAGS, alphas=[10.0, 1000.0], shifts=39)
    assert found.claimed.tolist() == [expected] * 2
    assert (found.p_acoustics == 1 / 40).all() == (driver != "acoustics")
    if driver == "trained":
        assert (found.gain > 0.2).all() and (found.over_untrained > 0.2).all()
        assert (
            (found.rank == 1 / 20).all()
            and (found.p_untrained == 1 / 20).all()
            and (found.interval[0] > 0).all()
        )
    rows = layers.table(found, ["a", "b"])
    assert rows[0]["beyond_both"] is expected and rows[1]["untrained_networks"] == 19


def test_dead_units_are_no_columns_and_few_seeds_are_refused() -> None:
    rng = np.random.default_rng(4)
    acoustics, layer, y = smooth(rng, 600, 1), smooth(rng, 600, 2), smooth(rng, 600, 1)
    others = [smooth(rng, 600, 2) for _ in range(19)]
    options = {"alphas": [100.0], "shifts": 19, "folds": 3}
    plain = layer_gain(layer, others, acoustics, y, RATE, LAGS, **options)
    dead = np.concatenate([layer, np.ones((600, 1))], 1)
    np.testing.assert_allclose(
        layer_gain(dead, others, acoustics, y, RATE, LAGS, **options).gain, plain.gain, atol=1e-12
    )
    for wrong, says in [
        ((layer, others[:9], acoustics, y), "9 untrained networks"),
        ((layer[:-1], others, acoustics, y), "layer has runs of .599. samples"),
        ((np.ones((600, 2)), others, acoustics, y), "no unit of layer ever changes"),
    ]:
        with pytest.raises(HeschlError, match=says):
            layer_gain(*wrong, RATE, LAGS, **options)
    with pytest.warns(UserWarning, match="no channel can be claimed at level 0.05: .* take 19 or more"):
        few = layer_gain(layer, others[:18], acoustics, layer[:, :1], RATE, LAGS, **options)
    assert few.p_untrained[0] == 1 / 19 and few.p_acoustics[0] == 0.05 and not few.claimed[0]
    with pytest.raises(HeschlError, match="19 shifts cannot give a p of 0.04: take 24 or more"):
        layer_gain(layer, others + others, acoustics, y, RATE, LAGS, level=0.04, **options)
    with pytest.raises(HeschlError, match="level is 5"):
        seeds_needed(5)
    with pytest.raises(HeschlError, match="take 19 or more"):
        nulls.shift_null(layer, y, RATE, LAGS, shifts=9)
    with pytest.raises(HeschlError, match="shifts it by 20"):
        nulls.shift_null(layer[:50], y[:50], RATE, LAGS, folds=3)


def test_one_against_the_others_is_the_t_of_two_groups_with_one_in_the_first() -> None:
    gains = np.random.default_rng(5).standard_normal((13, 3))
    found = against_others(gains)
    for k in (0, 7):
        rest = np.delete(gains, k, 0)
        right = [stats.ttest_ind([gains[k, c]], rest[:, c]).statistic for c in range(3)]
        np.testing.assert_allclose(found[k], right, rtol=1e-10)
    one_apart = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert against_others(one_apart)[0].tolist() == [np.inf, 0.0]


@pytest.mark.slow
def test_the_rank_of_exchangeable_networks_is_exact_whatever_their_spread() -> None:
    """Skewed, heavy-tailed gains on scales of their own, together in part: every twentieth is first of twenty."""
    rng = np.random.default_rng(9)
    ranks = []
    for _ in range(1000):
        gains = np.exp(1.5 * rng.standard_normal((20, 1)) + rng.standard_normal((20, 6))) * 10.0 ** np.arange(
            6
        )
        t = against_others(gains)
        ranks.append(nulls.judged(t[0], t[1:]).p_max.min())
    hits = int((np.array(ranks) <= 0.05).sum())
    assert stats.binomtest(hits, 1000, 0.05).pvalue > 0.01
    assert abs(np.mean(ranks) - 0.525) < 0.03  # uniform on 1/20, 2/20, .., 1


def test_partition_finds_what_each_set_explains_alone_and_in_common() -> None:
    rng = np.random.default_rng(6)
    shared, only_a, only_b, unused = (smooth(rng, 4000, 1) for _ in range(4))
    y = shared + only_a + 0.5 * only_b + 0.5 * rng.standard_normal((4000, 1))
    sets = {"a": np.hstack([shared, only_a]), "b": np.hstack([shared, only_b]), "c": unused}
    found = partition(sets, y, RATE, LAGS, alphas=[1.0, 100.0], folds=4)
    total = y.var()
    np.testing.assert_allclose(found["unique"]["a"], 1 / total, atol=0.05)
    np.testing.assert_allclose(found["unique"]["b"], 0.25 / total, atol=0.05)
    np.testing.assert_allclose(found["common"]["a + b"], 1 / total, atol=0.05)
    np.testing.assert_allclose(found["unique"]["c"], 0, atol=0.02)
    parts = sum(found["unique"].values()) + sum(found["common"].values())
    np.testing.assert_allclose(parts, found["r2"]["a + b + c"], atol=1e-12)
    # r2 by loops over blocks, from predictions
    from sklearn.linear_model import Ridge

    alone = partition({"a": sets["a"], "b": sets["b"]}, y, RATE, LAGS, alphas=[50.0], folds=4)["r2"]["a"]
    x = (sets["a"] - sets["a"].mean(0)) / sets["a"].std(0)
    rows, scores = lagged(x, np.arange(4)), []
    for k in range(4):
        test = np.zeros(4000, bool)
        test[1000 * k : 1000 * (k + 1)] = True
        near = np.convolve(test, np.ones(7), "same") > 0
        model = Ridge(50.0).fit(rows[~near], y[~near])
        scores.append(
            1
            - ((y[test] - model.predict(rows[test]).reshape(-1, 1)) ** 2).sum()
            / ((y[test] - y[test].mean()) ** 2).sum()
        )
    np.testing.assert_allclose(alone, np.mean(scores), rtol=1e-9)
    dead = {**sets, "b": np.hstack([sets["b"], np.full((4000, 1), 3.0)])}  # a unit that never answers
    with_dead = partition(dead, y, RATE, LAGS, alphas=[1.0, 100.0], folds=4)
    np.testing.assert_allclose(with_dead["unique"]["b"], found["unique"]["b"], atol=1e-12)
    with pytest.raises(HeschlError, match="no unit of b ever changes"):
        partition({**sets, "b": np.ones((4000, 2))}, y, RATE)
    with pytest.raises(HeschlError, match="1 sets"):
        partition({"a": unused}, y, RATE)


def test_principal_components_are_those_of_the_covariance() -> None:
    rng = np.random.default_rng(7)
    x = smooth(rng, 300, 4) @ rng.standard_normal((4, 6))
    first, second = layers.principal([x[:100], x[100:]], 3)
    z = (x - x.mean(0)) / x.std(0)
    _, _, vt = np.linalg.svd(z, full_matrices=False)
    np.testing.assert_allclose(np.abs(np.concatenate([first, second])), np.abs(z @ vt[:3].T), atol=1e-9)
    with pytest.raises(HeschlError, match="7 components of 6"):
        layers.principal(x, 7)


def test_the_part_put_back_is_that_of_least_error_on_unseen_blocks() -> None:
    """By explicit regressions: the drive where the control drives, next to nothing where there is noise."""
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(8)
    x = layers.standard([smooth(rng, 300, 2) for _ in range(3)])  # whole runs are the folds
    kernel = rng.standard_normal((8, 1))
    rows = [lagged(run, np.arange(4)) for run in x]
    drive = [run @ kernel for run in rows]
    y = [np.concatenate([one + smooth(rng, 300, 1), smooth(rng, 300, 1)], 1) for one in drive]
    found = nulls.control_part(x, y, nulls.Gain(np.arange(4), 3, np.array([1.0])))
    for c in range(2):
        errors, alphas = [], 900 * 10.0 ** np.arange(-6, 3)
        for alpha in alphas:
            shares = []
            for fold in range(3):
                rest = [k for k in range(3) if k != fold]
                model = Ridge(alpha).fit(
                    np.concatenate([rows[k] for k in rest]), np.concatenate([y[k][:, c] for k in rest])
                )
                truth = y[fold][:, c]
                shares.append(((truth - model.predict(rows[fold])) ** 2).mean() / truth.var())
            errors.append(np.mean(shares))
        model = Ridge(alphas[int(np.argmin(errors))]).fit(np.concatenate(rows), np.concatenate(y)[:, c])
        right = np.concatenate(rows) @ model.coef_
        np.testing.assert_allclose(np.concatenate(found)[:, c], right, atol=1e-6 * np.abs(right).max())
    all_found, all_drive = np.concatenate(found), np.concatenate(drive)[:, 0]
    assert ((all_found[:, 0] - all_drive) ** 2).mean() < 0.03 * all_drive.var()
    assert all_found[:, 1].var() < 0.02 * np.concatenate(y)[:, 1].var()
