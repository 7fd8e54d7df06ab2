from __future__ import annotations

import pytest
import torch
from torch import nn

from heschl.contract.finding import broken
from heschl.contract.models import check_model
from heschl.models.kws import KWS
from heschl.models.kws_frames import KWSFrames
from heschl.types import HeschlError

SIZES = {"branches": 2, "stem": 4, "width": 12, "depth": 3}


def double(model: nn.Module) -> nn.Module:
    """In double precision, its norms with statistics of their own."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return model.double().eval()


def test_is_the_encoder_of_kws_under_the_same_names() -> None:
    torch.manual_seed(0)
    frames, words = double(KWSFrames((8, 20), 5, **SIZES)), double(KWS((8, 20), 3, **SIZES))
    encoder = {name: value for name, value in frames.state_dict().items() if ".answer." not in name}
    left = words.load_state_dict(encoder, strict=False)
    assert not left.unexpected_keys
    assert {name.split(".")[2] for name in left.missing_keys} == {"pool", "norm_pool", "output"}
    kept: list[torch.Tensor] = []
    words.branches[1].late.register_forward_hook(lambda _module, _inputs, out: kept.append(out))
    x = torch.randn(2, 8, 21, dtype=torch.float64)
    words(x)
    answer = frames.branches[1].answer
    # the state of each pair of frames, through a dense layer written out
    expected = torch.einsum("bct,oc->bto", kept[0], answer.weight[..., 0]) + answer.bias
    found = frames(x).heads[1]
    assert found.shape == (2, 21, 5)
    for t in range(21):
        own = expected[:, t // 2, 5 * (t % 2) : 5 * (t % 2) + 5]
        assert torch.allclose(found[:, t], own, rtol=0, atol=1e-12)


@pytest.mark.parametrize("time", [20, 23])
def test_a_clip_in_a_batch_is_answered_as_alone(time: int) -> None:
    torch.manual_seed(1)
    model, lengths = double(KWSFrames((8, 20), 5, **SIZES)), torch.tensor([time, 13, 6, 1])
    x = torch.randn(4, 8, time, dtype=torch.float64)
    with torch.no_grad():
        together = model(x, lengths).logits
        for i, n in enumerate(lengths.tolist()):
            alone = model(x[i : i + 1, :, :n]).logits[0]
            assert torch.allclose(together[i, :n], alone, rtol=0, atol=1e-12)


def test_keeps_the_contract() -> None:
    assert broken(check_model(KWSFrames, (12, 31), 7)) == []


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(HeschlError, match="0 branches"):
        KWSFrames((40, 100), 40, branches=0)
    with pytest.raises(HeschlError, match=r"KWSFrames takes \(batch, 40, time\)"):
        KWSFrames((40, 100), 40)(torch.zeros(2, 39, 100))
