"""Encoding models against scikit-learn on explicit lagged matrices, and against known weights."""

from __future__ import annotations

import numpy as np
import pytest
from brain_lagged import lagged, simulated
from sklearn.linear_model import Ridge

from heschl.brain import encode, ridge
from heschl.brain.encode import fit_encoding, predict
from heschl.brain.gram import lag_steps
from heschl.types import HeschlError

LAGS = (-0.03, 0.08)
STEPS = lag_steps(LAGS, 100)


def close(ours: np.ndarray, right: np.ndarray, within: float = 1e-9) -> None:
    assert ours.shape == right.shape
    np.testing.assert_allclose(ours, right, rtol=0, atol=within * np.abs(right).max())


def runs(lengths: tuple[int, ...], seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    made = [simulated(n, 3, 2, 5, noise=3.0, seed=seed + i) for i, n in enumerate(lengths)]
    weights = made[0][2].transpose(1, 0, 2).reshape(-1, 2)
    rng = np.random.default_rng(seed)
    ys = [lagged(x, np.arange(5)) @ weights + 7 + 3 * rng.standard_normal((len(x), 2)) for x, _, _ in made]
    return [x + 20 for x, _, _ in made], ys


def cube(coef: np.ndarray, inputs: int) -> np.ndarray:
    return coef.T.reshape(len(STEPS), inputs, -1).transpose(1, 0, 2)


def blockwise(
    xs: list[np.ndarray], ys: list[np.ndarray], steps: np.ndarray, folds: int
) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """(train, test) row masks per run of every fold, written out again."""
    found = []
    for fold in range(folds):
        test = [np.zeros(len(x), bool) for x in xs]
        if len(xs) >= folds:
            for run in np.array_split(np.arange(len(xs)), folds)[fold]:
                test[run][:] = True
        else:
            for run, x in enumerate(xs):
                test[run][round(len(x) * fold / folds) : round(len(x) * (fold + 1) / folds)] = True
        found.append(([purge(mask, steps) for mask in test], test))
    return found


def purge(test: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Rows that share no sample of x with a tested row."""
    used = {t - s for t in np.flatnonzero(test) for s in steps}
    return np.array([not test[t] and not any(t - s in used for s in steps) for t in range(len(test))])


def sklearn_r(
    xs: list, ys: list, alpha: float, keep: list, test: list, steps: np.ndarray = STEPS
) -> np.ndarray:
    rows = [lagged(x, steps) for x in xs]
    model = Ridge(alpha).fit(
        np.concatenate([a[k] for a, k in zip(rows, keep)]), np.concatenate([b[k] for b, k in zip(ys, keep)])
    )
    guess = model.predict(np.concatenate([a[k] for a, k in zip(rows, test)]))
    truth = np.concatenate([b[k] for b, k in zip(ys, test)])
    return np.array([np.corrcoef(guess[:, c], truth[:, c])[0, 1] for c in range(truth.shape[1])])


@pytest.mark.parametrize("lengths", [(900,), (500, 400), (40, 500), (150, 260, 200, 190, 170, 160)])
def test_one_alpha_equals_scikit_learn(lengths: tuple[int, ...]) -> None:
    xs, ys = runs(lengths)
    found = fit_encoding(xs, ys, 100, LAGS, alphas=30.0)
    right = Ridge(30.0).fit(np.concatenate([lagged(x, STEPS) for x in xs]), np.concatenate(ys))
    close(found.weights, cube(right.coef_, 3))
    close(found.intercept, right.intercept_)
    close(found.lags, STEPS / 100)
    assert found.alpha.tolist() == [30.0, 30.0]
    r = [sklearn_r(xs, ys, 30.0, keep, test) for keep, test in blockwise(xs, ys, STEPS, 5)]
    close(found.r_blocks, np.array(r))
    close(found.r, np.mean(r, 0))
    close(predict(found, xs)[0], right.predict(lagged(xs[0], STEPS)))


def test_alpha_is_chosen_within_the_training_blocks() -> None:
    xs, ys = runs((420, 380))
    alphas = [0.1, 100.0, 3000.0]
    found = fit_encoding(xs, ys, 100, LAGS, alphas=alphas, folds=3)
    folds = blockwise(xs, ys, STEPS, 3)
    for outer in range(3):
        scores = []
        for alpha in alphas:
            inner = []
            for fold in {0, 1, 2} - {outer}:
                keep = [a & b for a, b in zip(folds[fold][0], folds[outer][0])]
                inner.append(sklearn_r(xs, ys, alpha, keep, folds[fold][1]))
            scores.append(np.mean(inner, 0))
        chosen = np.argmax(scores, 0)
        assert found.alpha_blocks[outer].tolist() == [alphas[c] for c in chosen]
        r = [sklearn_r(xs, ys, alphas[chosen[c]], *folds[outer])[c] for c in range(2)]
        close(found.r_blocks[outer], np.array(r))


def test_channels_and_their_order_do_not_touch_each_other() -> None:
    xs, ys = runs((600,))
    both = fit_encoding(xs, ys, 100, LAGS)
    alone = fit_encoding(xs[0], ys[0][:, 1], 100, LAGS)
    close(both.weights[..., 1:], alone.weights)
    close(both.r[1:], alone.r)


def test_known_weights_come_back() -> None:
    x, y, weights = simulated(6000, 3, 4, 6, noise=0.5)
    found = fit_encoding(x, y, 100, (0.0, 0.05))
    np.testing.assert_allclose(found.weights, weights, atol=0.05)
    assert (found.r > 0.95).all()
    noise = np.random.default_rng(5).standard_normal((6000, 4))
    assert (np.abs(fit_encoding(x, noise, 100, (0.0, 0.05)).r) < 0.08).all()


def test_banded_ridge_equals_ridge_on_scaled_features() -> None:
    xs, ys = runs((700,))
    penalties = np.array([4.0, 900.0])
    found = fit_encoding(xs, ys, 100, LAGS, alphas=penalties[None], groups=["a", "b", "b"])
    scale = np.sqrt(penalties[[0, 1, 1]])
    right = Ridge(1.0).fit(lagged(xs[0] / scale, STEPS), ys[0])
    close(found.weights, cube(right.coef_, 3) / scale[:, None, None])
    assert found.alpha.shape == (2, 2)
    same = fit_encoding(xs, ys, 100, LAGS, alphas=30.0, groups=[1, 2])
    close(same.weights, fit_encoding(xs, ys, 100, LAGS, alphas=30.0).weights)


def test_banded_ridge_silences_the_group_that_says_nothing() -> None:
    x, y, _ = simulated(1500, 1, 1, 3, noise=2.0)
    x = np.concatenate([x, np.random.default_rng(1).standard_normal((1500, 12))], 1)
    alphas = 10.0 ** np.arange(0, 7, 2)
    banded = fit_encoding(x, y, 100, (0, 0.1), alphas, groups=[1, 12])
    assert banded.alpha[0, 1] >= 100 * banded.alpha[0, 0]
    assert banded.r[0] > fit_encoding(x, y, 100, (0, 0.1), alphas).r[0]


def test_backward_equals_scikit_learn_and_haufe_finds_the_forward_weights() -> None:
    xs, ys = runs((900,))
    found = fit_encoding(xs, ys, 100, (0.0, 0.06), alphas=2.0, direction="backward")
    steps = -np.arange(7)  # the recording that follows
    right = Ridge(2.0).fit(lagged(ys[0], steps), xs[0])
    close(found.weights, right.coef_.reshape(3, 7, 2))
    close(found.intercept, right.intercept_)
    close(predict(found, ys[0]), right.predict(lagged(ys[0], steps)))
    close(found.lags, np.arange(7) / 100)
    r = [sklearn_r(ys, xs, 2.0, k, t, steps) for k, t in blockwise(xs, ys, np.sort(steps), 5)]
    close(found.r, np.mean(r, 0))
    matrix = lagged(ys[0], steps)
    covariance = np.cov(matrix.T)
    guess = right.predict(matrix)
    pattern = covariance @ right.coef_.T @ np.linalg.inv(np.cov(guess.T))
    assert found.patterns is not None
    close(found.patterns, pattern.T.reshape(3, 7, 2))
    # a white source that one channel follows after 30 ms, under noise that both share: weights differ, patterns do not
    rng = np.random.default_rng(0)
    source, shared = rng.standard_normal((2, 20000, 1))
    heard = 2 * np.roll(source, 3, 0)
    back = fit_encoding(source, np.hstack([heard + shared, shared]), 100, (0.0, 0.06), direction="backward")
    assert back.patterns is not None
    assert np.abs(back.weights[0, :, 1]).max() > 0.9 * np.abs(back.weights[0, :, 0]).max()
    np.testing.assert_allclose(back.patterns[0, :, 0], 2 * np.eye(7)[3], atol=0.1)
    np.testing.assert_allclose(back.patterns[0, :, 1], 0, atol=0.1)


def test_many_penalties_go_by_eigenvalues_and_come_out_the_same() -> None:
    xs, ys = runs((500,))
    alphas = np.logspace(-1, 4, 30)
    many = fit_encoding(xs, ys, 100, LAGS, alphas)
    at = np.flatnonzero(alphas == many.alpha[0])[0]
    close(many.weights[..., :1], fit_encoding(xs, ys, 100, LAGS, alphas[at]).weights[..., :1])


def test_no_penalty_on_columns_that_depend_on_each_other_gives_the_shortest_weights() -> None:
    x, y, _ = simulated(400, 1, 1, 3)
    twice = fit_encoding(np.hstack([x, x]), y, 100, (0, 0.02), alphas=0.0)
    once = fit_encoding(x, y, 100, (0, 0.02), alphas=0.0)
    np.testing.assert_allclose(twice.weights[0], once.weights[0] / 2, rtol=1e-6)
    np.testing.assert_allclose(twice.weights[1], once.weights[0] / 2, rtol=1e-6)


def test_float32_is_kept_and_near() -> None:
    xs, ys = runs((900,))
    fine = fit_encoding(xs, ys, 100, LAGS, alphas=10.0)
    coarse = fit_encoding(xs[0].astype("f4"), ys[0].astype("f4"), 100, LAGS, alphas=10.0)
    assert coarse.weights.dtype == coarse.intercept.dtype == np.float32
    close(coarse.weights, fine.weights, 1e-3)
    close(coarse.r, fine.r, 1e-4)


def test_units_of_features_do_not_change_the_default_grid() -> None:
    xs, ys = runs((600,))
    one, milli = fit_encoding(xs, ys, 100, LAGS), fit_encoding(xs[0] * 1e-3, ys, 100, LAGS)
    close(one.weights, milli.weights * 1e-3)
    close(one.r, milli.r)


def bad(kind: str) -> tuple:
    x, y = np.random.default_rng(0).standard_normal((2, 300, 2))
    if kind == "nan":
        y[7, 1] = np.nan
    if kind == "length":
        y = y[:-1]
    if kind == "flat":
        y[:, 1] = 3.0
    if kind == "flat feature":
        x[:, 0] = 0.0
    if kind == "flat block":
        y[:70, 0] = 1.0
    if kind == "short":
        x, y = x[:12], y[:12]
    if kind == "purged":
        x, y = x[:18], y[:18]
    if kind == "complex":
        x = x + 1j
    return ([x, x], y) if kind == "runs" else (x, y)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("nan", "recording holds a number that is not finite at sample 7, column 1"),
        ("length", "300 samples of features and 299"),
        ("flat", "column 1 of recording never changes"),
        ("flat feature", "column 0 of features never changes"),
        ("flat block", "channel 0 never changes within block 0"),
        ("short", "block 0 of 5 has 2 samples"),
        ("purged", "-?[0-2] samples are left to train on, as the lags span 10"),
        ("runs", "2 runs of features and 1"),
        ("complex", "complex128"),
    ],
)
def test_bad_input_is_told_in_one_sentence(kind: str, says: str) -> None:
    with pytest.raises(HeschlError, match=says):
        fit_encoding(*bad(kind), 100, (0.0, 0.1))


def test_bad_options_are_told() -> None:
    x, y = bad("none")
    for options, says in [
        ({"direction": "sideways"}, "direction is 'sideways'"),
        ({"folds": 1}, "folds is 1"),
        ({"folds": 2}, "folds is 2, which leaves one block"),
        ({"groups": [1, 2]}, None),
        ({"groups": [1, 2, 3]}, "groups are"),
        ({"groups": [1, 1]}, "2 groups of one or one label for all"),
        ({"groups": [[0, 1], [1]]}, "groups are"),
        ({"alphas": [-1.0]}, "alphas are"),
        ({"alphas": np.ones((3, 3)), "groups": [0, 1]}, "alphas are of shape"),
        ({"alphas": np.ones(50), "groups": ["a", "b"], "folds": 3}, "2500 combinations"),
    ]:
        if says:
            with pytest.raises(HeschlError, match=says):
                fit_encoding(x, y, 100, (0.0, 0.1), **options)
    with pytest.raises(HeschlError, match="takes 2 inputs and is given 3"):
        predict(fit_encoding(x, y, 100, (0.0, 0.1), alphas=1.0), np.zeros((50, 3)))


def test_runs_may_be_folded_by_name() -> None:
    """Each block's r, of weights by scikit-learn from the runs of all other folds."""
    xs, ys = runs((90, 70, 80, 75, 60))
    own = (0, 1, 0, 2, 1)
    found = fit_encoding(xs, ys, 100, LAGS, 10.0, folds=own)
    wide = [lagged(x, STEPS) for x in xs]
    for fold in range(3):
        train, test = ([k for k in range(5) if (own[k] == fold) == out] for out in (False, True))
        model = Ridge(10.0).fit(*(np.concatenate([part[k] for k in train]) for part in (wide, ys)))
        said, true = (
            model.predict(np.concatenate([wide[k] for k in test])),
            np.concatenate([ys[k] for k in test]),
        )
        r = [np.corrcoef(said[:, c], true[:, c])[0, 1] for c in range(2)]
        np.testing.assert_allclose(found.r_blocks[fold], r, atol=1e-9)
    for wrong in ((0, 1, 0, 3, 1), (0, 1, 2), [0] * 5):
        with pytest.raises(HeschlError, match="for 5 runs: give each run one"):
            fit_encoding(xs, ys, 100, LAGS, 10.0, folds=wrong)


def test_random_bands_hold_every_alpha() -> None:
    rows = ridge.random_bands(4, 3, [1.0, 10.0], seed=1)
    assert rows.shape == (8, 3) and np.allclose(rows[:2], [[3] * 3, [30] * 3])
    np.testing.assert_allclose((1 / rows).sum(1), np.tile([1, 0.1], 4))
    assert encode.best(np.array([[1.0, 2.0], [1.0, 1.0]])).tolist() == [1, 0]


def test_the_lagged_matrix_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    from heschl.brain import gram

    monkeypatch.setattr(gram, "_CHUNK", 2**17)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40000, 4)), rng.standard_normal((40000, 30))
    tracemalloc.start()
    fit_encoding(x, y, 100, (0.0, 0.49), alphas=10.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes * 50 / 4  # a quarter of the lagged matrix
