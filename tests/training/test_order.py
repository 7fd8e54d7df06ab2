"""Which examples a step takes: each once, by seed and step alone, at any size, in the shares asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.training.order import Order, key_of, permuted, strata_of
from heschl.types import HeschlError


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 700), key=st.integers(0, 2**64 - 1))
def test_a_permutation_takes_every_number_once(n: int, key: int) -> None:
    assert sorted(permuted(np.arange(n), n, key)) == list(range(n))


@pytest.mark.slow
def test_all_orders_of_four_come_equally_often() -> None:
    draws = [tuple(permuted(np.arange(4), 4, key_of("four", k))) for k in range(12000)]
    counts = [draws.count(order) for order in itertools.permutations(range(4))]
    expected = 12000 / 24
    chi2 = sum((count - expected) ** 2 / expected for count in counts)
    assert chi2 < 49.7  # chi-square of 23 degrees of freedom, p = 0.001


def test_a_permutation_has_no_memory_of_order() -> None:
    """Neighbours land anywhere: no correlation between a number and its place, nor between those of neighbours."""
    n = 20000
    place = permuted(np.arange(n), n, key_of("memory"))
    assert abs(np.corrcoef(np.arange(n), place)[0, 1]) < 4 / np.sqrt(n)
    assert abs(np.corrcoef(place[:-1], place[1:])[0, 1]) < 4 / np.sqrt(n)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 200), batch=st.integers(1, 64), epoch=st.integers(0, 3), seed=st.integers(0, 99))
def test_an_epoch_takes_every_example_once(size: int, batch: int, epoch: int, seed: int) -> None:
    order = Order(seed, size, size, batch)
    steps = range(epoch * order.epoch_steps, (epoch + 1) * order.epoch_steps)
    batches = [order(step) for step in steps]
    assert {found for found, _, _ in batches} == {epoch}
    assert sorted(np.concatenate([numbers for _, numbers, _ in batches])) == list(range(size))
    sizes = [len(numbers) for _, numbers, _ in batches]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= batch
    assert all((repeats == 0).all() for _, _, repeats in batches)


def test_a_batch_is_a_pure_function_of_seed_and_step() -> None:
    for options in ({}, {"lengths": np.arange(500) % 37}, {"strata": strata_of(np.arange(500) % 7, "sqrt")}):
        whole = [Order(5, 500, 300, 32, **options)(step)[1] for step in range(40)]
        backwards = Order(5, 500, 300, 32, **options)
        for step in reversed(range(40)):
            np.testing.assert_array_equal(backwards(step)[1], whole[step])
        assert any(
            not np.array_equal(Order(6, 500, 300, 32, **options)(step)[1], whole[step]) for step in range(3)
        )


def test_epochs_differ() -> None:
    order = Order(0, 100, 100, 100)
    assert not np.array_equal(order(0)[1], order(1)[1])


@pytest.mark.parametrize(("size", "epoch_size"), [(10, 25), (25, 10), (7, 7)])
def test_epochs_of_another_size_take_all_in_turn(size: int, epoch_size: int) -> None:
    order = Order(1, size, epoch_size, 4)
    drawn = [order(step) for step in range(size * order.epoch_steps)]
    numbers = np.concatenate([one for _, one, _ in drawn])
    for k in range(0, len(numbers) - size + 1, size):
        assert sorted(numbers[k : k + size]) == list(range(size))
    for epoch in range(
        size
    ):  # a clip that comes twice in an epoch is told apart, so that it is augmented anew
        seen = [(n, r) for e, ns, rs in drawn if e == epoch for n, r in zip(ns, rs)]
        assert len(set(seen)) == len(seen)


def test_shares_of_classes() -> None:
    classes = np.repeat([0, 1, 2], [900, 90, 10])
    for draws, share in (
        ("balanced", [1 / 3] * 3),
        ("sqrt", np.sqrt([900, 90, 10]) / np.sqrt([900, 90, 10]).sum()),
    ):
        order = Order(0, 1000, 600, 50, strata_of(classes, draws))
        taken = np.concatenate([order(step)[1] for step in range(10 * order.epoch_steps)])
        found = np.bincount(classes[taken]) / len(taken)
        np.testing.assert_allclose(found, share, atol=1e-3)
    assert strata_of(classes, "natural") is None


def test_a_class_is_used_up_before_any_of_it_comes_again() -> None:
    classes = np.repeat([0, 1], [50, 8])
    order = Order(0, 58, 40, 10, strata_of(classes, "balanced"))
    taken = np.concatenate([order(step)[1] for step in range(order.epoch_steps)])
    counts = np.bincount(taken, minlength=58)
    assert counts[:50].max() == 1 and counts[:50].sum() == 20
    assert set(counts[50:]) <= {2, 3} and counts[50:].sum() == 20


def test_shares_of_corpora() -> None:
    classes, origins = np.arange(1000) % 5, np.repeat([0, 1, 2], [100, 600, 300])
    strata = strata_of(classes, "natural", origins, [0.25, None])
    order = Order(0, 1000, 400, 40, strata)
    taken = np.concatenate([order(step)[1] for step in range(5 * order.epoch_steps)])
    share = np.bincount(origins[taken]) / len(taken)
    np.testing.assert_allclose(share, [0.75 * 0.25, 0.25, 0.75 * 0.75], atol=0.02)
    with pytest.raises(HeschlError, match="add up"):
        strata_of(classes, "natural", origins, [0.5, 0.5])
    with pytest.raises(HeschlError, match="no clip"):
        strata_of(classes, "natural", np.zeros(1000, int), [0.5])


def test_batches_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(10, 1000, 2000)
    order = Order(0, 2000, 2000, 20, None, lengths)
    batches = [order(step)[1] for step in range(order.epoch_steps)]
    assert sorted(np.concatenate(batches)) == list(range(2000))
    padded = sum(len(one) * lengths[one].max() for one in batches) / lengths.sum()
    plain = Order(0, 2000, 2000, 20)
    unsorted = sum(lengths[one].max() * len(one) for one in (plain(s)[1] for s in range(100))) / lengths.sum()
    assert padded < 1.15 < unsorted


def test_the_order_of_a_huge_corpus_takes_no_memory() -> None:
    import tracemalloc

    order = Order(0, 10**10, 10**10, 256)
    tracemalloc.start()
    numbers = order(123456)[1]
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert len(set(numbers.tolist())) == len(numbers) and numbers.max() < 10**10
