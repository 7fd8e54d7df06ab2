"""The same models as mtrf (Python) and the MATLAB mTRF toolbox; what differs in convention is converted here."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from brain_lagged import lagged, simulated
from scipy.io import loadmat

from heschl.brain import blocks, encode, gram, ridge
from heschl.brain.encode import Encoding, fit_encoding, predict


def close(ours: np.ndarray, right: np.ndarray, within: float = 1e-9) -> None:
    assert ours.shape == right.shape
    np.testing.assert_allclose(ours, right, rtol=0, atol=within * np.abs(right).max())


# --- mtrf: penalty lambda * rate on the mean over trials of X'X, weights times the rate -----------------------------


@pytest.fixture(scope="module")
def trials() -> tuple[list[np.ndarray], list[np.ndarray]]:
    x, y, _ = simulated(1500, 3, 2, 6, noise=4.0)
    return np.array_split(x, 5), np.array_split(y + 1, 5)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_weights_and_predictions_equal_mtrf(trials: tuple, direction: str) -> None:
    from mtrf.model import TRF

    x, y = trials
    rate, penalty = 64, 0.7
    theirs = TRF(direction=1 if direction == "forward" else -1)
    theirs.train(list(x), list(y), rate, -0.05, 0.2, penalty)
    ours = fit_encoding(x, y, rate, (-0.05, 0.2), alphas=penalty * rate * len(x), direction=direction)
    if direction == "forward":
        close(ours.weights, theirs.weights / rate)
        close(ours.lags, np.asarray(theirs.times))
    else:  # theirs (channel, lag, feature), lags of the recording from late to early
        close(ours.weights, theirs.weights[:, ::-1].transpose(2, 1, 0) / rate)
        close(ours.lags, -np.asarray(theirs.times)[::-1])
    close(ours.intercept, theirs.bias.squeeze() / rate)
    if direction == "forward":
        guess = theirs.predict(list(x))
        # their prediction takes weights times the rate off again
        close(predict(ours, x)[2], guess[2])


def test_cross_validation_equals_mtrf(trials: tuple) -> None:
    from mtrf.model import TRF
    from mtrf.stats import crossval

    x, y = trials
    rate = 64
    steps = gram.lag_steps((0.0, 0.2), rate)
    made = blocks.cut(list(x), list(y), steps, 5)
    lambdas = np.array([0.01, 1.0, 100.0])
    ours = encode.cross_validate(made, lambdas * rate * 4, np.zeros(3, int)).mean(1)
    theirs = [
        crossval(TRF(), list(x), list(y), rate, 0.0, 0.2, penalty, k=5, average=False, verbose=False)
        for penalty in lambdas
    ]
    close(ours, np.array(theirs))


# --- MATLAB mTRF 1.x: F columns of ones before the lags, all penalised by lambda ----------------------------------


def matlab_sums(x: np.ndarray, y: np.ndarray, steps: np.ndarray) -> gram.Moments:
    """Our sums, with F columns of ones put before the lags."""
    width = x.shape[1]
    sums = gram.moments(x, y, steps, (0, len(x)), np.zeros(width), np.zeros(y.shape[1]))
    ones = np.ones((width, 1))
    gram_matrix = np.block(
        [[sums.n * ones @ ones.T, ones @ sums.x[None]], [sums.x[:, None] @ ones.T, sums.xx]]
    )
    cross = np.concatenate([ones @ sums.y[None], sums.xy])
    return gram.Moments(sums.n, gram_matrix[0], sums.y, gram_matrix, cross, sums.yy)


def matlab_train(
    x: np.ndarray, y: np.ndarray, steps: np.ndarray, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (lag * input, output) and the F equal constants (input, output)."""
    weights = next(ridge.solve(matlab_sums(x, y, steps), np.array([penalty])))
    return weights[x.shape[1] :], weights[: x.shape[1]]


def matlab_model(weights: np.ndarray, constants: np.ndarray, steps: np.ndarray, rate: float) -> Encoding:
    width = len(constants)
    cube = weights.reshape(len(steps), width, -1).transpose(1, 0, 2)
    none = np.zeros(0)
    return Encoding(cube, constants.sum(0), steps / rate, none, none, none, none, None, "forward", rate)


def data(shared: Path, name: str) -> dict:
    return loadmat(shared / "data" / "trf_reference" / f"{name}.mat", squeeze_me=True)


STEPS = np.arange(-4, 5)


@pytest.mark.parametrize(("name", "source", "target"), [("fwd", "x", "y_sim"), ("bwd", "y_sim", "x")])
def test_training_equals_matlab(shared: Path, name: str, source: str, target: str) -> None:
    made, right = data(shared, "gendata"), data(shared, f"mtrf_train_{name}")
    x, y = made[source][:, :3], made[target][:, :3]
    weights, constants = matlab_train(x, y, STEPS, 1.0)  # -4..4 stays -4..4 when time is turned round
    close(weights.reshape(9, 3, 3).transpose(1, 0, 2), right["w"])
    close(constants, right["i"])


def test_prediction_equals_matlab(shared: Path) -> None:
    made, right = data(shared, "gendata"), data(shared, "mtrf_predict_fwd")
    x, y = np.array_split(made["x"], 4), np.array_split(made["y_sim"][:, :4], 4)
    steps = np.arange(0, 5)
    model = matlab_model(*matlab_train(x[0], y[0], steps, 1.0), steps, 64)
    guess = predict(model, x[1])
    close(guess, right["rec"])
    r = [np.corrcoef(guess[:, c], y[1][:, c])[0, 1] for c in range(4)]
    close(np.array(r), right["r"])
    close(((guess - y[1]) ** 2).mean(0), right["mse"])


@pytest.mark.parametrize("name", ["fwd", "bwd"])
def test_cross_validation_equals_matlab(shared: Path, name: str) -> None:
    """Theirs predicts every trial by the mean of the other trials' own models."""
    made, right = data(shared, "gendata"), data(shared, f"cross_val_equal_{name}")
    sides = np.array_split(made["x"], 4), np.array_split(made["y_sim"][:, :4], 4)
    x, y = sides if name == "fwd" else sides[::-1]
    for at, penalty in enumerate((0.1, 1.0, 10.0)):
        models = [matlab_train(a, b, STEPS, penalty) for a, b in zip(x, y)]
        for trial in range(4):
            close(np.concatenate(models[trial][::-1]), right["model"][trial, at])
            others = [models[k] for k in range(4) if k != trial]
            mean = np.mean([m[0] for m in others], 0), np.mean([m[1] for m in others], 0)
            guess = predict(matlab_model(*mean, STEPS, 64), x[trial])
            close(guess, right["pred"][trial][at])
            r = [np.corrcoef(guess[:, c], y[trial][:, c])[0, 1] for c in range(guess.shape[1])]
            close(np.array(r), right["r"][trial, at])


def exactly(matrix: np.ndarray) -> tuple[np.ndarray, int]:
    """(whole numbers, power): matrix is whole * 2^-power, without any rounding."""
    smallest = np.frexp(matrix[matrix != 0])[1].min()
    power = 53 - int(smallest)
    whole = [int(Fraction(float(v)) * 2**power) for v in matrix.ravel()]
    return np.array(whole, dtype=object).reshape(matrix.shape), power


def exact_transform(x: np.ndarray, weights: np.ndarray, y: np.ndarray) -> np.ndarray:
    """X'X W (Y'Y)^-1 in whole numbers and fractions: the answer before any rounding."""
    (wx, px), (ww, pw), (wy, py) = map(exactly, (x, weights, y))
    above = wx.T.dot(wx.dot(ww)) * Fraction(1, 2 ** (2 * px + pw))
    rows = np.concatenate([wy.T.dot(wy) * Fraction(1, 2 ** (2 * py)), above.T], 1)
    n = len(rows)
    for k in range(n):  # Gauss and Jordan; pivots of a positive definite matrix are positive
        rows[k] = rows[k] / rows[k, k]
        for other in set(range(n)) - {k}:
            rows[other] = rows[other] - rows[k] * rows[other, k]
    return rows[:, n:].T.astype(float)


def test_transform_equals_matlab(shared: Path) -> None:
    """Their transform X'X W (Y'Y)^-1 has the true outputs' products where Haufe's formula has the predictions'.

    The stored example has a Y'Y of condition number 3e11, so that rounding alone moves an answer by up to 3e11 times
    1e-16: MATLAB's own lies 3.8e-6 from the exact one (fractions, no rounding), ours 1e-5, nearly all of it along
    Y'Y's weakest direction. Where the data have digits, along the four others above 1e-7 of the largest, the two agree
    to 1e-9; in all six, no two programs could.
    """
    made, right = data(shared, "gendata"), data(shared, "mtrf_transform_fwd")
    x, y = made["x"], made["y_sim"]
    sums = matlab_sums(x, y, STEPS)
    weights = np.concatenate([np.zeros((5, 6)), made["model"].transpose(1, 0, 2).reshape(-1, 6)])
    theirs = np.concatenate([right["c_t"], right["model_t"].transpose(1, 0, 2).reshape(-1, 6)])
    products = y.T @ y
    ours = ridge.haufe(sums.xx, weights, products)
    values, vectors = np.linalg.eigh(products)
    firm = vectors[:, values > 1e-7 * values.max()]
    assert firm.shape[1] == 4
    largest = np.abs(theirs).max()
    np.testing.assert_allclose(ours @ firm, theirs @ firm, rtol=0, atol=1e-9 * largest)

    exact = exact_transform(np.concatenate([np.ones((len(x), 5)), lagged(x, STEPS)], 1), weights, y)
    reach = np.linalg.cond(products) * np.finfo(float).eps
    assert 1e-6 < np.abs(theirs - exact).max() / largest < reach
    assert np.abs(ours - exact).max() / largest < reach


def test_transform_is_exact_where_the_outputs_are_no_copies_of_each_other() -> None:
    x, y, weights = simulated(300, 2, 3, 4, noise=1.0)
    rows, flat = lagged(x, np.arange(4)), weights.transpose(1, 0, 2).reshape(-1, 3)
    close(ridge.haufe(rows.T @ rows, flat, y.T @ y), exact_transform(rows, flat, y))
