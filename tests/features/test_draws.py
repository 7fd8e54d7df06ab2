"""Draws: a clip's numbers are its own, whatever the batch; and they are random enough."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from heschl.features.draws import Draws
from heschl.types import HeschlError


def draws(clips, seed=1, epoch=2, **options):
    return Draws(seed, epoch, torch.as_tensor(clips), **options)


KINDS = {
    "uniform": lambda d: d.uniform("a", -1, 2, size=(3,)),
    "many uniform": lambda d: d.uniform("a", size=(2000,)),
    "normal": lambda d: d.normal("a", size=(2, 3)),
    "many normal": lambda d: d.normal("a", size=(40, 50)),
    "integers": lambda d: d.integers("a", -200, 200, size=(5,)),
    "one": lambda d: d.uniform("a"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_draws_the_same_in_every_batch_and_other_numbers_elsewhere(kind):
    draw = KINDS[kind]
    together = draw(draws([5, 9, 2**40, 0]))
    for place, clip in enumerate([5, 9, 2**40, 0]):
        assert torch.equal(draw(draws([clip]))[0], together[place])
    assert torch.equal(draw(draws([5, 9, 2**40, 0]).take(torch.tensor([2, 1]))), together[[2, 1]])
    for other in (draws([5], seed=2), draws([5], epoch=3), draws([6]), draws([5], repeats=torch.tensor([1]))):
        assert not torch.equal(draw(other)[0], together[0])
    assert torch.equal(draw(draws([5], repeats=torch.tensor([0])))[0], together[0])


def test_names_give_independent_numbers():
    a, b = draws(range(4000)).uniform("a"), draws(range(4000)).uniform("b")
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.06


def test_the_distributions_are_what_they_say():
    one = draws(range(3000))
    for size in ((), (5,)):
        assert scipy.stats.kstest(one.uniform("u", -2, 4, size).ravel(), "uniform", (-2, 6)).pvalue > 0.001
        assert scipy.stats.kstest(one.normal("n", size).ravel(), "norm").pvalue > 0.001
    large = draws(range(3)).normal("n", (2000,))
    assert scipy.stats.kstest(large.ravel(), "norm").pvalue > 0.001
    counts = np.bincount(one.integers("i", 0, 7, (4,)).ravel(), minlength=7)
    assert scipy.stats.chisquare(counts).pvalue > 0.001
    neighbours = one.uniform("u").numpy()
    assert abs(np.corrcoef(neighbours[1:], neighbours[:-1])[0, 1]) < 0.06


def test_bounds_may_be_one_per_clip():
    high = torch.tensor([1, 2, 1000])
    drawn = draws([1, 2, 3]).integers("i", 0, high, size=(50,))
    assert (
        (drawn >= 0).all() and (drawn < high[:, None]).all() and drawn[0].sum() == 0 and drawn[2].max() > 500
    )
    levels = draws([1, 2, 3]).uniform("u", torch.tensor([0.0, 10.0, 20.0]), torch.tensor([1.0, 11.0, 21.0]))
    assert levels.floor().tolist() == [0, 10, 20]
    with pytest.raises(HeschlError, match="empty range"):
        draws([1, 2]).integers("i", 0, torch.tensor([3, 0]))


def test_a_permutation_is_one_and_hangs_on_the_epoch():
    one = draws(range(64)).permutation("mix")
    assert sorted(one.tolist()) == list(range(64))
    assert not torch.equal(one, draws(range(64), epoch=3).permutation("mix"))


def test_numbers_never_change_between_versions():
    """Written down once: a run must be resumable by a later version."""
    assert draws([7]).integers("i", 0, 1000, (4,)).tolist() == EXPECTED


EXPECTED = [[756, 996, 860, 210]]
