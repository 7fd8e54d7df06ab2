"""Shapley values against the mean over all orders, closed forms, and how fast their error falls."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.explanation.shapley import exact_shapley, kernel_shapley
from heschl.types import HeschlError


def table_game(players, seed=0):
    """A game with a random worth for every coalition."""
    worth = np.random.default_rng(seed).standard_normal(2**players)
    return lambda coalitions: worth[coalitions @ (1 << np.arange(players))]


def by_orders(game, players):
    """The definition, order by order."""
    values = np.zeros(players)
    for order in itertools.permutations(range(players)):
        there, before = np.zeros(players, bool), game(np.zeros((1, players), bool))[0]
        for player in order:
            there[player] = True
            now = game(there[None])[0]
            values[player] += now - before
            before = now
    return values / math.factorial(players)


def test_exact_values_are_the_mean_over_all_orders():
    for players in (1, 2, 5, 6):
        game = table_game(players, players)
        found = exact_shapley(game, players)
        assert np.allclose(found.values, by_orders(game, players), atol=1e-12)
        assert found.asked == 2**players and (found.error == 0).all()


@settings(max_examples=15, deadline=None)
@given(players=st.integers(1, 10), seed=st.integers(0, 999))
def test_kernel_values_are_exact_for_up_to_ten(players, seed):
    game = table_game(players, seed)
    found, exact = kernel_shapley(game, players), exact_shapley(game, players)
    assert np.abs(found.values - exact.values).max() < 1e-8
    assert found.values.sum() == pytest.approx(found.whole - found.nobody, abs=1e-10)
    assert found.asked == 2**players and (found.error == 0).all()


def test_as_many_samples_as_coalitions_ask_all():
    game = table_game(11)
    found = kernel_shapley(game, 11, samples=2**11)
    assert np.abs(found.values - exact_shapley(game, 11).values).max() < 1e-8 and found.asked == 2**11


def test_closed_forms():
    weights = np.array([3.0, -1.0, 0.5, 0.0])
    assert np.allclose(kernel_shapley(lambda z: z @ weights + 7, 4).values, weights)  # each its own
    assert np.allclose(kernel_shapley(lambda z: z.all(1).astype(float), 4).values, 0.25)  # all or nothing
    # gloves: one left, two right; a pair is worth one
    gloves = kernel_shapley(lambda z: np.minimum(z[:, 0], z[:, 1:].any(1)).astype(float), 3)
    assert np.allclose(gloves.values, [4 / 6, 1 / 6, 1 / 6])
    many = kernel_shapley(lambda z: z @ np.arange(30.0), 30, samples=240)  # a sum is found from any sample
    assert np.allclose(many.values, np.arange(30)) and many.error.max() < 1e-9


def test_the_error_of_samples_falls_as_one_over_root_n_and_is_reported():
    players, trials = 12, 25
    game, sizes = table_game(players), np.array([256, 512, 1024])
    exact = exact_shapley(game, players).values
    off, said = [], []
    for n in sizes:
        runs = [kernel_shapley(game, players, int(n), seed) for seed in range(trials)]
        off.append(np.sqrt(np.mean([(run.values - exact) ** 2 for run in runs])))
        said.append(np.sqrt(np.mean([run.error**2 for run in runs])))
        assert all(run.values.sum() == pytest.approx(run.whole - run.nobody) for run in runs)
    slope = np.polyfit(np.log(sizes), np.log(off), 1)[0]
    assert -0.6 < slope < -0.4
    assert np.allclose(np.array(said) / off, 1, atol=0.15)


def test_seeds_decide():
    game = table_game(12)
    first, same, other = (kernel_shapley(game, 12, 200, seed).values for seed in (3, 3, 4))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_no_coalition_is_asked_twice():
    seen = []
    kernel_shapley(lambda z: (seen.extend(map(tuple, z)), z.sum(1))[1], 11, samples=1000)
    assert len(seen) == len(set(seen)) < 1002


def test_bad_input_is_one_sentence():
    with pytest.raises(HeschlError, match="at least one"):
        kernel_shapley(table_game(2), 0)
    with pytest.raises(HeschlError, match="at least 48"):
        kernel_shapley(table_game(12), 12, samples=20)
    with pytest.raises(HeschlError, match="one number each"):
        exact_shapley(lambda z: z, 3)
    with pytest.raises(HeschlError, match="not finite"):
        kernel_shapley(lambda z: np.full(len(z), np.nan), 3)
    with pytest.raises(HeschlError, match="take kernel_shapley"):
        exact_shapley(table_game(2), 25)
