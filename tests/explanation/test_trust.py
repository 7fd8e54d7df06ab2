"""Whether an explanation can be trusted: numbers against scipy, closed forms and planted truths."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from heschl.explanation.trust import (
    entropy,
    gini,
    localisation,
    randomisation,
    randomised,
    rank_correlation,
    top_overlap,
)
from heschl.types import HeschlError


@pytest.fixture
def relevance() -> torch.Tensor:
    return torch.randn(4, 3, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_gini_is_the_mean_difference_over_twice_the_mean(relevance):
    for row, found in zip(relevance.abs().flatten(1).numpy(), gini(relevance).tolist()):
        assert found == pytest.approx(np.abs(row[:, None] - row).mean() / (2 * row.mean()))
    assert gini(torch.ones(1, 50)).item() == pytest.approx(0, abs=1e-12)
    assert gini(torch.eye(50)[:1]).item() == pytest.approx(1 - 1 / 50)
    assert gini(torch.zeros(1, 5)).isnan().all() and entropy(torch.zeros(1, 5)).isnan().all()


def test_entropy_is_scipys(relevance):
    expected = scipy.stats.entropy(relevance.abs().flatten(1).numpy(), axis=1)
    assert np.allclose(entropy(relevance), expected)
    assert entropy(torch.ones(1, 50)).item() == pytest.approx(np.log(50))


def test_rank_correlation_is_scipys_with_ties(relevance):
    a, b = relevance.round(decimals=0), (relevance.flip(0) + relevance).round(decimals=1)
    expected = [scipy.stats.spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a.numpy(), b.numpy())]
    assert np.allclose(rank_correlation(a, b), expected)
    assert rank_correlation(torch.ones(1, 3), torch.randn(1, 3)).isnan().all()


def test_overlap_of_the_highest_values(relevance):
    shares = [0.1, 0.5, 1.0]
    other = relevance.roll(1, 0)
    for share in shares:
        found = top_overlap(relevance, other, share)
        k = round(share * 30)
        for row in range(4):
            one, two = (set(np.argsort(-v[row].ravel().numpy())[:k]) for v in (relevance, other))
            assert found[row].item() == pytest.approx(len(one & two) / k)
    assert (top_overlap(relevance, relevance.exp()) == 1).all()
    assert top_overlap(relevance, torch.zeros_like(relevance)).isnan().all()
    with pytest.raises(HeschlError, match="above 0"):
        top_overlap(relevance, relevance, 0)


def test_where_relevance_lies(relevance):
    inside = torch.zeros(4, 10, dtype=torch.bool)
    inside[:, 2:5] = True
    valid = torch.arange(10) < torch.tensor([10, 6, 4, 3])[:, None]
    found = localisation(relevance, inside, valid)
    for row in range(4):
        n = int(valid[row].sum())
        own, within = relevance[row, :, :n].numpy(), np.broadcast_to(inside[row, :n].numpy(), (3, n))
        positive = own.clip(0)
        assert found.mass[row].item() == pytest.approx(positive[within].sum() / positive.sum())
        assert found.area[row].item() == pytest.approx(within.mean())
        k = within.sum()
        best = np.argsort(-own, axis=None)[:k]
        assert found.top[row].item() == pytest.approx(within.ravel()[best].mean())
    planted = torch.zeros(1, 3, 10)
    planted[..., 3] = 1.0
    assert localisation(planted, inside[:1]).mass.item() == 1.0


class Net(nn.Module):
    """A normalised linear layer, a shortcut, an answer; registered in another order than it runs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.answer = nn.Linear(8, 2)
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer(torch.relu(self.norm(self.first(x))))


def test_layers_are_randomised_from_the_answer_down():
    model, x = Net().eval(), torch.randn(3, 6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copies = list(randomised(model, x, seed=1))
    assert [name for name, _ in copies] == ["answer", "norm", "first"]
    changed = [
        {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
        for _, net in copies
    ]
    assert changed[0] == {"answer.weight", "answer.bias"}
    assert changed[0] <= changed[1] <= changed[2] == changed[0] | {"first.weight", "first.bias"}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    alone = dict(randomised(model, x, cascading=False, seed=1))
    assert torch.equal(alone["first"].answer.weight, model.answer.weight)
    assert not torch.equal(alone["first"].first.weight, model.first.weight)
    again = dict(randomised(model, x, seed=1))
    assert torch.equal(again["first"].first.weight, copies[2][1].first.weight)


def test_an_explanation_that_ignores_the_weights_is_found_out():
    model, x = Net().eval(), torch.randn(3, 6)

    def slope(net: nn.Module) -> torch.Tensor:
        own = x.clone().requires_grad_()
        (given,) = torch.autograd.grad(net(own)[:, 0].sum(), own)
        return given

    blind = randomisation(lambda net: x.square(), model, x)
    assert all(torch.allclose(found, torch.ones(3, dtype=torch.float64)) for _, found in blind)
    sees = randomisation(slope, model, x)
    assert min(float(found.mean()) for _, found in sees) < 0.9


def test_bad_input_is_one_sentence(relevance):
    with pytest.raises(HeschlError, match="not finite"):
        gini(relevance / 0)
    with pytest.raises(HeschlError, match="cannot be compared"):
        rank_correlation(relevance, relevance[:, :2])
    with pytest.raises(HeschlError, match="inside is of shape"):
        localisation(relevance, torch.ones(4, 3))
