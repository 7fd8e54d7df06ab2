from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as scipy_signal

from heschl.features.neural import Scaling, filter_reach, fit_recordings, fit_scaling, prepare, purged
from heschl.features.superlet import reach, superlet
from heschl.types import HeschlError


def recording(trials: int = 12, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_t(3, (trials, 4, 50)) * np.array([1, 5, 1e-3, 2])[:, None] + 7
    return x.astype(np.float32)


def test_scikit_learn_scales_the_same() -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x, rows = recording(), [0, 2, 3, 7]
    theirs = preprocessing.RobustScaler().fit(x[rows].transpose(0, 2, 1).reshape(-1, 4).astype(np.float64))
    mine = fit_scaling(x, rows)
    assert np.allclose(mine.centre, theirs.center_) and np.allclose(mine.spread, theirs.scale_)
    expected = theirs.transform(x[5].T.astype(np.float64)).T
    found = prepare(torch.from_numpy(x[5]).double(), 50, mine, baseline=None, clip=None)
    assert np.allclose(found, expected)
    some = fit_scaling(x, rows, values=120)
    assert np.allclose(some.spread, mine.spread, rtol=0.5) and not np.array_equal(some.spread, mine.spread)


def test_only_training_trials_count() -> None:
    x = {"a": recording(), "b": recording(seed=1)}
    training = {"a": [0, 1, 2], "b": [4, 5]}
    before = fit_recordings(x, training)
    x["a"][3:] *= 1000
    x["b"][:4] = np.nan
    after = fit_recordings(x, training)
    for name in x:
        assert np.array_equal(before[name].spread, after[name].spread)
    with pytest.raises(HeschlError, match="recording c has no training trials"):
        fit_recordings({**x, "c": recording()}, training)
    with_own = fit_recordings({**x, "c": recording()}, training, strangers="own")
    assert np.array_equal(with_own["c"].centre, fit_scaling(recording(), range(12)).centre)


def test_baseline_scale_and_clip() -> None:
    x = torch.tensor([[1.0, 3.0, 5.0, 100.0], [0.0, 0.0, -4.0, 2.0]])
    found = prepare(x, 2.0, Scaling(np.zeros(2), np.array([2.0, 0.5])), (0.0, 1.0), 20.0)
    assert found.tolist() == [[-0.5, 0.5, 1.5, 20.0], [0.0, 0.0, -8.0, 4.0]]
    batch = torch.stack([x, 2 * x])
    assert torch.equal(prepare(batch, 2.0, baseline=(0.0, 1.0))[0], prepare(x, 2.0, baseline=(0.0, 1.0)))
    shifted = x.clone().requires_grad_()
    prepare(shifted, 2.0, None, None, 20.0).sum().backward()
    assert shifted.grad is not None and shifted.grad[0].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("sos", [scipy_signal.butter(4, [1, 20], "band", fs=100, output="sos")])
def test_beyond_its_reach_a_filter_sees_nothing(sos: Any) -> None:
    seconds = filter_reach(sos, 100.0)
    x = np.random.default_rng(0).standard_normal(6000)
    moved = x.copy()
    moved[3000:3100] += 5
    difference = np.abs(scipy_signal.sosfiltfilt(sos, x) - scipy_signal.sosfiltfilt(sos, moved))
    far = round(seconds * 100)
    assert max(difference[: 3000 - far].max(), difference[3100 + far :].max()) < 5 * 2e-3
    assert difference[3100 : 3100 + far // 4].max() > 0.05
    taps = scipy_signal.firwin(101, 10, fs=100)
    assert filter_reach(taps, 100.0) == 1.0
    with pytest.raises(HeschlError, match="does not fade"):
        filter_reach(np.array([[1.0, 0, 0, 1, -1, 0]]), 10.0)


def test_purged_trials_do_not_hear_of_tested_ones() -> None:
    """A superlet of a whole recording, cut into trials: what a tested trial holds must not reach a kept one."""
    rate, freqs, order = 100.0, [6.0, 15.0], (1, 4)
    seen = float(reach(freqs, 3, order).max())
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.standard_normal(4000))
    start = np.arange(0, 40, 0.5)
    stop = start + 0.5
    tested = (start >= 18) & (start < 22)
    kept = purged(start, stop, ~tested, tested, seen)
    moved = x.clone()
    moved[1800:2200] = torch.from_numpy(100 * random.standard_normal(400))
    scale = superlet(x, rate, freqs, 3, order).mean()
    difference = (superlet(x, rate, freqs, 3, order) - superlet(moved, rate, freqs, 3, order)).abs() / (
        scale * 1e4
    )
    per_trial = difference.amax(0).reshape(-1, 50).amax(1).numpy()
    assert per_trial[kept].max() < 1e-3 < per_trial[~tested].max()
    assert 0 < (~kept & ~tested).sum() <= 4 * np.ceil(seen / 0.5) + 2


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6), st.booleans()), max_size=14), st.integers(0, 5)
)
@settings(max_examples=60, deadline=None)
def test_purging_by_looking_at_every_pair(drawn: list[tuple[int, int, bool]], seen: int) -> None:
    start = np.array([one[0] for one in drawn], float)
    stop = start + np.array([one[1] for one in drawn], float)
    tested = np.array([one[2] for one in drawn], bool)
    kept = purged(start, stop, ~tested, tested, float(seen))
    for row in range(len(drawn)):
        near = any(
            start[row] - seen < stop[k] + seen and start[k] - seen < stop[row] + seen
            for k in np.flatnonzero(tested)
        )
        assert kept[row] == (not tested[row] and not near)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: fit_scaling(recording(), []), "none is named"),
        (lambda: fit_scaling(np.zeros((2, 3, 10)), [0]), "channel 1 is flat .*3 such"),
        (lambda: fit_scaling(np.full((2, 3, 10), np.nan), [0]), "channel 1 holds values"),
        (lambda: fit_scaling(np.zeros((2, 3, 4, 10)), [0]), "raw trials are"),
        (lambda: prepare(torch.zeros(2, 10), 10, baseline=(0, 2)), "not inside trials of 1 s"),
        (lambda: prepare(torch.zeros(2, 10), 10, Scaling(np.ones(3), np.ones(3)), None), "2 channels"),
        (lambda: purged(np.zeros(1), np.ones(1), np.ones(1, bool), np.zeros(1, bool), -1), "reach is -1"),
        (lambda: filter_reach(np.zeros((2, 2)), 10), "second-order"),
    ],
)
def test_refusals(call: Any, said: str) -> None:
    with pytest.raises(HeschlError, match=said) as told:
        call()
    assert "\n" not in str(told.value)
