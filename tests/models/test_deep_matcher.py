"""Matching with mel spectra that are learned too: what its candidates are, whose gradient reaches them, and blocks."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from heschl.contract.tasks import made_up_corpus
from heschl.models import deep_matcher
from heschl.models.deep_matcher import DeepMatcher
from heschl.steps.networks import Network, pointing, scores_among
from heschl.tasks.segments import Match
from heschl.types import Batch, HeschlError


def network(candidates: int = 3) -> DeepMatcher:
    torch.manual_seed(0)
    sizes = {"bands": 4, "steps": 5, "virtual": 6, "hidden": 8, "depth": 2}
    return DeepMatcher((5, 20), candidates, **sizes).double()  # type: ignore[arg-type]


def test_candidates_by_hand() -> None:
    """Two layers, the second gated: GELU of a norm over channel and time, each step with its neighbours."""
    model = network().eval()
    x = model.candidates[1].T  # (band, step)
    for layer in model.heard[:2]:
        padded = F.pad(x, (1, 1))
        y = torch.stack([(layer.conv.weight * padded[:, t : t + 3]).sum((1, 2)) for t in range(5)], 1)
        y = y + layer.conv.bias[:, None]
        y = (y - y.mean()) / (y.var(correction=0) + 1e-5).sqrt() * layer.norm.weight[:, None]
        y = F.gelu(y + layer.norm.bias[:, None])
        x = x + y if len(x) == len(y) else y
        if layer.widen is not None:
            wide = layer.widen.weight[:, :, 0] @ x + layer.widen.bias[:, None]
            x = wide[:8] * wide[8:].sigmoid()
    expected = model.heard[2].weight[:, :, 0] @ x + model.heard[2].bias[:, None]
    assert float((model.targets()[1] - expected.T).abs().max()) < 1e-12


def test_a_candidate_never_changes_another_and_blocks_change_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(7)  # in training
    before = model.targets().detach()
    with torch.no_grad():
        model.candidates[3] *= 100.0
    after = model.targets().detach()
    kept = [0, 1, 2, 4, 5, 6]
    assert torch.equal(before[kept], after[kept]) and not torch.equal(before[3], after[3])
    monkeypatch.setattr(deep_matcher, "BLOCK", 2)
    with torch.no_grad():
        assert float((model.targets() - after).abs().max()) < 1e-12


def test_the_loss_is_that_of_the_batch_and_teaches_both_sides() -> None:
    task, model = Match("word", temperature=0.5).bind(made_up_corpus()), network()
    x, y = torch.randn(4, 5, 20).double(), torch.tensor([0, 2, 2, 1])
    out = model.eval()(x)
    loss = task.loss(out, Batch(x, y, None, ()))
    total = 0.0
    for i in range(4):  # the other trial of candidate 2 is left out
        score = [
            out.embedding[i].flatten() @ F.normalize(model.targets()[k].flatten(), dim=0) / 0.5 for k in y
        ]
        rivals = [score[j] for j in range(4) if j == i or y[j] != y[i]]
        total += float(torch.stack(rivals).logsumexp(0) - score[i]) / 4
    assert float(loss) == pytest.approx(total, abs=1e-10)
    loss.backward()
    learned = [
        name for name, one in model.named_parameters() if one.grad is not None and bool(one.grad.any())
    ]
    assert {name.split(".")[0] for name in learned} == {"encoder", "heard"}
    grouped = [id(one) for group in model.parameter_groups() for one in group["params"]]
    assert sorted(grouped) == sorted(id(one) for name, one in model.named_parameters() if name != "log_heat")


def test_answers_are_scored_with_what_was_learned() -> None:
    model = network().eval()
    x = torch.randn(4, 5, 20).double()
    out = model(x)
    held = pointing(Network(model, torch.nn.Identity(), ("a", "b", "c"), None, "crop", "pad", False))
    scores = scores_among(held, out.embedding.detach().numpy())
    assert callable(scores) and scores(0, 4).argmax(1).tolist() == out.logits.argmax(1).tolist()


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(HeschlError, match="cannot have 30 steps"):
        DeepMatcher((5, 20), 3, bands=4, steps=30)
