"""Nulls and gains: against loops, and against brains whose drive is known."""

from __future__ import annotations

import numpy as np
import pytest
from brain_lagged import lagged
from scipy import stats

from heschl.brain import layers, nulls
from heschl.brain.encode import fit_encoding
from heschl.brain.layers import crawford_howell, holm, layer_gain, partition
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


@pytest.mark.parametrize(
    ("driver", "expected"), [("trained", True), ("untrained", False), ("acoustics", False)]
)
def test_a_layer_is_claimed_only_where_it_drives(driver: str, expected: bool) -> None:
    rng = np.random.default_rng(3)
    acoustics, layer = smooth(rng, 1500, 2), smooth(rng, 1500, 3)
    common = smooth(rng, 1500, 3)  # what every random network has as well
    untrained = [common + 0.1 * smooth(rng, 1500, 3) for _ in range(10)]
    drives = {"trained": layer, "untrained": common, "acoustics": acoustics}[driver]
    layer = layer + (common if driver == "untrained" else 0)
    y = follows(drives, 2, rng, 1.5)
    found = layer_gain(layer, untrained, acoustics, y, RATE, LAGS, alphas=[10.0, 1000.0], shifts=39)
    assert found.claimed.tolist() == [expected] * 2
    assert (found.p_acoustics == 1 / 40).all() == (driver != "acoustics")
    if driver == "trained":
        assert (found.gain > 0.2).all() and (found.over_untrained > 0.2).all()
        assert (found.rank == 1 / 11).all() and (found.interval[0] > 0).all()
    rows = layers.table(found, ["a", "b"])
    assert rows[0]["beyond_both"] is expected and rows[1]["untrained_networks"] == 10


def test_dead_units_are_no_columns_and_few_seeds_are_refused() -> None:
    rng = np.random.default_rng(4)
    acoustics, layer, y = smooth(rng, 600, 1), smooth(rng, 600, 2), smooth(rng, 600, 1)
    others = [smooth(rng, 600, 2) for _ in range(10)]
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
    with pytest.raises(HeschlError, match="take 19 or more"):
        nulls.shift_null(layer, y, RATE, LAGS, shifts=9)
    with pytest.raises(HeschlError, match="shifts it by 20"):
        nulls.shift_null(layer[:50], y[:50], RATE, LAGS, folds=3)


def test_one_against_a_sample_is_the_t_test_of_two_groups_with_one_in_the_first() -> None:
    rng = np.random.default_rng(5)
    others, one = rng.standard_normal((12, 3)), np.array([0.5, 3.0, -1.0])
    right = [stats.ttest_ind([one[c]], others[:, c], alternative="greater").pvalue for c in range(3)]
    np.testing.assert_allclose(crawford_howell(one, others), right, rtol=1e-10)
    assert holm(np.array([0.02, 0.5, 0.01])).tolist() == [0.04, 0.5, 0.03]


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


def test_the_slope_is_that_on_unseen_blocks() -> None:
    """By explicit regressions: about 1 where the control drives, 0 where a fit is noise."""
    from sklearn.linear_model import Ridge

    from heschl.brain.blocks import cut

    rng = np.random.default_rng(8)
    x = [smooth(rng, 300, 2) for _ in range(3)]  # whole runs are the folds
    y = [
        np.concatenate([follows(run, 1, np.random.default_rng(1), 0.3), smooth(rng, 300, 1)], 1) for run in x
    ]
    blocks = cut(x, y, np.arange(4), 3)
    found = nulls.slope(blocks, np.array([5.0]), np.zeros(2, dtype=int), np.zeros(2, dtype=int))
    above, below = np.zeros(2), np.zeros(2)
    for fold in range(3):
        rest = [k for k in range(3) if k != fold]
        rows = [lagged(run, np.arange(4)) for run in x]
        model = Ridge(5.0).fit(np.concatenate([rows[k] for k in rest]), np.concatenate([y[k] for k in rest]))
        guess = model.predict(rows[fold])
        guess, truth = guess - guess.mean(0), y[fold] - y[fold].mean(0)
        above, below = above + (guess * truth).sum(0), below + (guess**2).sum(0)
    np.testing.assert_allclose(found, np.clip(above / below, 0, 1), atol=1e-9)
    assert found[0] > 0.9 and found[1] < 0.6
