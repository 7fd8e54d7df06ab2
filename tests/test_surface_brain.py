"""The brain's public functions against scikit-learn, rsatoolbox, MNE and loops, as a user would call them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Ridge

import heschl
from heschl.brain.encode import fit_encoding, predict
from heschl.brain.rsa import compare
from heschl.models.crnn import CRNN
from heschl.types import HeschlError

pytestmark = pytest.mark.slow  # `make check` leaves these to `make test`


def lagged(x: np.ndarray, steps: Any) -> np.ndarray:
    """(time, feature * lag), zeros outside."""
    out = np.zeros((len(x), x.shape[1], len(steps)))
    for k, step in enumerate(steps):
        for t in range(max(0, step), min(len(x), len(x) + step)):
            out[t, :, k] = x[t - step]
    return out.reshape(len(x), -1)


def data(lengths: tuple[int, ...]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((18, 4))
    x = [rng.standard_normal((n, 3)) + 2 for n in lengths]
    return x, [lagged(one, range(6)) @ w + 3 * rng.standard_normal((len(one), 4)) + 5 for one in x]


@pytest.mark.parametrize("lengths", [(400,), (90, 70, 100, 80, 75)])
def test_forward_weights_and_r_on_purged_blocks_are_scikit_learns(lengths):
    x, y = data(lengths)
    one = len(lengths) == 1
    found = fit_encoding(x[0] if one else x, y[0] if one else y, 50.0, (0.0, 0.1), 100.0)
    rows, values = np.concatenate([lagged(run, range(6)) for run in x]), np.concatenate(y)
    model = Ridge(alpha=100.0).fit(rows, values)
    assert found.weights.shape == (3, 6, 4) and found.alpha.tolist() == [100.0] * 4
    assert np.allclose(found.lags, np.arange(6) / 50, atol=1e-15)
    assert np.allclose(found.weights.reshape(18, 4), model.coef_.T, atol=1e-11)
    assert np.allclose(found.intercept, model.intercept_, atol=1e-10)
    ends = np.concatenate([[0], np.cumsum(lengths if not one else [80] * 5)])
    span = 5 if one else 0  # whole runs share no samples
    r = []
    for a, b in itertools.pairwise(ends):
        near = np.zeros(len(rows), dtype=bool)
        near[max(0, a - span) : b + span] = True
        fit = Ridge(alpha=100.0).fit(rows[~near], values[~near]).predict(rows[a:b])
        r.append([np.corrcoef(fit[:, c], values[a:b, c])[0, 1] for c in range(4)])
    assert np.allclose(np.sort(found.r_blocks, 0), np.sort(r, 0), atol=1e-10)
    assert np.allclose(found.r, np.mean(r, 0), atol=1e-10)


def test_backward_weights_and_haufes_patterns():
    (x,), (y,) = data((400,))
    found = fit_encoding(x, y, 50.0, (0.0, 0.1), 10.0, direction="backward")
    rows = lagged(y, range(-5, 1))  # the recording that follows
    model = Ridge(alpha=10.0).fit(rows, x)
    order = model.coef_.T.reshape(4, 6, 3)[:, ::-1].transpose(2, 1, 0)  # (feature, lag, channel)
    assert found.weights.shape == (3, 6, 4) and np.allclose(found.weights, order, atol=1e-11)
    w = model.coef_.T
    patterns = np.cov(rows.T) @ w @ np.linalg.inv(np.cov((rows @ w).T))
    assert np.allclose(found.patterns, patterns.reshape(4, 6, 3)[:, ::-1].transpose(2, 1, 0), atol=1e-10)
    assert np.allclose(predict(found, y), rows @ w + model.intercept_, atol=1e-10)
    assert found.r.shape == found.alpha.shape == (3,)


def test_banded_ridge_is_ridge_on_scaled_features():
    (x,), (y,) = data((400,))
    found = fit_encoding(x, y, 50.0, (0.0, 0.1), [[1.0, 100.0]], ["envelope", "mel", "mel"])
    scale = np.repeat([1.0, 10.0, 10.0], 6)
    wanted = Ridge(alpha=1.0).fit(lagged(x, range(6)) / scale, y).coef_.T / scale[:, None]
    assert np.allclose(found.weights.reshape(18, 4), wanted, atol=1e-11)


@pytest.mark.parametrize(("method", "oracle"), [("spearman", "spearman"), ("pearson", "corr"), ("cosine", "cosine"), ("kendall", "tau-a")])  # fmt: skip
def test_rsa_is_rsatoolboxs_and_p_counts_every_order(method, oracle):
    toolbox = pytest.importorskip("rsatoolbox.rdm")
    rng = np.random.default_rng(1)
    a = rng.random(10).round(1)  # with ties
    b = (a + 0.4 * rng.random(10)).round(1)

    def agreement(u: np.ndarray, v: np.ndarray) -> float:
        return float(toolbox.compare(toolbox.RDMs(u[None]), toolbox.RDMs(v[None]), method=oracle)[0, 0])

    found = compare(a, b, method)
    assert found.correlation == pytest.approx(agreement(a, b), abs=1e-12)
    matrix = np.zeros((5, 5))
    matrix[np.triu_indices(5, 1)] = b
    matrix += matrix.T
    orders = [matrix[np.ix_(o, o)][np.triu_indices(5, 1)] for o in itertools.permutations(range(5))]
    measure = {"spearman": lambda v: stats.spearmanr(a, v)[0]}.get(method, lambda v: agreement(a, v))
    assert found.p == pytest.approx(np.mean([measure(v) >= found.correlation - 1e-12 for v in orders]))
    if method != "kendall":  # tau-a of ties stays below one
        assert compare(torch.tensor(matrix), matrix, method).correlation == pytest.approx(1)


# --- from a network to sensors -------------------------------------------------------------------------------


def test_recorded_times_are_the_middles_of_what_a_step_hears():
    found = heschl.record(
        CRNN((129, 71), 31), torch.randn(2, 129, 71, dtype=torch.float64), 16000 / 224, start=0.008
    )
    assert list(found) == ["STG", "TP", "IFG"] and found["STG"].values.shape == (2, 71, 120)
    for one in found.values():
        assert np.allclose(one.times, 0.008 + np.arange(71) * 0.014, atol=1e-12)
    with pytest.raises(HeschlError, match="names no areas"):
        heschl.record(torch.nn.Linear(4, 2), torch.randn(1, 4), 100)


@pytest.mark.slow
def test_sensors_see_what_mnes_own_forward_says_at_the_maps_own_times():
    mne = pytest.importorskip("mne")
    from heschl.brain.anatomy import template
    from heschl.brain.areas import read_areas
    from heschl.brain.forward import leadfield
    from heschl.brain.patch import patch

    torch.manual_seed(0)
    activity = heschl.record(CRNN((129, 71), 31), torch.randn(1, 129, 71), 16000 / 224, start=0.008)
    held = heschl.place(activity)
    assert held.values.shape == (5124, 71) and (held.unit, held.space) == ("A m", "MNI305")
    anatomy = template()
    normals = np.concatenate([one["nn"][one["vertno"]] for one in anatomy.src])
    moments = normals[:, :, None] * held.values[:, None]
    for area in ("STG", "TP", "IFG"):  # places apart: the net moment of each peaks at 20 nA m
        net = moments[patch(read_areas().area(area), anatomy).sources].sum(0)
        assert np.linalg.norm(net, axis=0).max() == pytest.approx(20e-9, rel=1e-6)
    info = mne.create_info(mne.channels.make_standard_montage("biosemi64").ch_names, 1000.0, "eeg")
    info.set_montage("biosemi64")
    forward = mne.make_forward_solution(
        info,
        anatomy.trans,
        anatomy.src,
        mne.read_bem_solution(anatomy.bem, verbose="error"),
        meg=False,
        verbose="error",
    )
    forward = mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=True, use_cps=False, verbose="error"
    )
    gain = forward["sol"]["data"]
    found = leadfield("biosemi64")
    assert found.shape == (64, 5124) and np.abs(found - gain).max() < 1e-5 * np.abs(gain).max()
    evoked = heschl.project(held)
    wanted = gain @ held.values
    wanted -= wanted.mean(0)
    assert np.abs(evoked.data - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert np.allclose(evoked.times, held.times, atol=1e-9)  # not up to half a step late
