"""KWS: its branches, its padding, and its pooling against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heschl.models.kws import KWS, Pool, Residual, mean_of_clip
from heschl.types import HeschlError


def network(**options) -> KWS:
    torch.manual_seed(0)
    model = KWS((40, 100), 30, **options).eval()
    with torch.no_grad():  # statistics other than those of a fresh network
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
    return model.double()


@pytest.mark.parametrize("options", [{}, {"branches": 3, "stem": 12, "width": 64, "depth": 3}])
def test_it_is_small(options) -> None:
    assert sum(value.numel() for value in network(**options).parameters()) < 1_000_000


def test_branches_learn_by_themselves_and_answer_together() -> None:
    model = network(branches=3, width=32, depth=2)
    out = model(torch.randn(2, 40, 60).double())
    assert out.logits.shape == (2, 30) and out.heads.shape == (3, 2, 30)
    probability = out.heads.softmax(-1).log().mean(0).exp()  # geometric mean
    expected = probability / probability.sum(-1, keepdim=True)
    torch.testing.assert_close(out.logits.softmax(-1), expected)
    assert (out.heads[0] - out.heads[1]).abs().max() > 1e-3
    out.heads[1].square().sum().backward()
    reached = {name.split(".")[1] for name, value in model.named_parameters() if value.grad.any()}
    assert reached == {"1"}


def test_a_padded_clip_is_answered_as_if_it_were_alone() -> None:
    model, x = network(), torch.randn(4, 40, 90).double()
    lengths = torch.tensor([90, 61, 30, 1])
    together = model(x, lengths).logits
    for one, clip, length in zip(together, x, lengths.tolist()):
        torch.testing.assert_close(one, model(clip[None, :, :length]).logits[0], rtol=0, atol=1e-8)


def test_pool_is_an_attentive_mean_and_deviation() -> None:
    torch.manual_seed(1)
    pool, x = Pool(6, 4).double(), torch.randn(2, 6, 9).double()
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    with torch.no_grad():
        given = pool(x, mask).numpy()
        listen = np.einsum("hc,bct->bht", pool.listen.weight[..., 0].numpy(), x.numpy())
        listen = np.tanh(listen + pool.listen.bias.numpy()[:, None])
        score = np.einsum("ch,bht->bct", pool.score.weight[..., 0].numpy(), listen)
        score = score + pool.score.bias.numpy()[:, None]
    for k, length in enumerate((9, 5)):
        for c in range(6):
            weight = np.exp(score[k, c, :length]) / np.exp(score[k, c, :length]).sum()
            values = x[k, c, :length].numpy()
            mean = np.average(values, weights=weight)
            deviation = np.sqrt(np.average((values - mean) ** 2, weights=weight))
            assert abs(given[k, c] - mean) < 1e-12
            assert abs(given[k, 6 + c] - max(deviation, 0.01)) < 1e-9


def test_the_gate_hears_the_mean_of_the_clip() -> None:
    x = torch.randn(2, 5, 4, 8).double()
    mask = torch.arange(8) < torch.tensor([[8], [3]])
    x = x * mask[:, None, None]
    given = mean_of_clip(x, mask)
    torch.testing.assert_close(given[0], x[0].mean((1, 2)))
    torch.testing.assert_close(given[1], x[1, :, :, :3].mean((1, 2)))


def test_a_residual_block_with_a_closed_gate_is_its_shortcut() -> None:
    block = Residual(8, 2).eval()
    torch.nn.init.constant_(block.excite.bias, -100.0)
    x = torch.rand(2, 8, 12)
    torch.testing.assert_close(block(x, None), x)


def test_what_it_refuses() -> None:
    with pytest.raises(HeschlError, match="0 branches"):
        KWS((40, 100), 30, branches=0)
    with pytest.raises(HeschlError, match=r"\(mel, time\)"):
        KWS((1, 40, 100), 30)
    with pytest.raises(HeschlError, match="KWS takes"):
        KWS((40, 100), 30)(torch.zeros(2, 41, 100))
