from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from heschl.contract.finding import broken
from heschl.contract.models import check_model
from heschl.models.frame_lstm import BothWays, Branch, FrameLSTM
from heschl.types import HeschlError

LENGTHS = torch.tensor([23, 22, 9, 2, 1])


def network(seed: int = 0, **options) -> FrameLSTM:
    """A small network in double precision, its norms with statistics of their own."""
    torch.manual_seed(seed)
    model = FrameLSTM((8, 20), 5, stem=3, width=6, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.double().eval()


def clips(time: int = 23) -> torch.Tensor:
    return torch.randn(5, 8, time, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(x: np.ndarray, layer: nn.LSTM) -> np.ndarray:
    """x (time, unit) both ways, step by step from the definition, with torch's order of gates."""
    ways = []
    for way, steps in (("", range(len(x))), ("_reverse", range(len(x) - 1, -1, -1))):
        w, u, b, c = (
            getattr(layer, f"{kind}_l0{way}").detach().numpy()
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h, cell, out = np.zeros(u.shape[1]), np.zeros(u.shape[1]), np.zeros((len(x), u.shape[1]))
        for t in steps:
            i, f, g, o = np.split(w @ x[t] + u @ h + b + c, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            h = out[t] = sigmoid(o) * np.tanh(cell)
        ways.append(out)
    return np.concatenate(ways, 1)


def norm(x: np.ndarray, layer: nn.Module) -> np.ndarray:
    mean, variance, weight, bias = (
        getattr(layer, name).detach().numpy().reshape(-1, *(1,) * (x.ndim - 1))
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(variance + layer.eps) * weight + bias


def convolved(x: np.ndarray, weight: np.ndarray, strides: tuple[int, ...], padding: int) -> np.ndarray:
    """x (channel, *axes) correlated with weight (out, channel, *kernel), by sliding windows."""
    axes = tuple(range(1, x.ndim))
    x = np.pad(x, [(0, 0), *[(padding, padding)] * len(axes)])
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axes)
    windows = windows[(slice(None), *(slice(None, None, stride) for stride in strides))]
    return np.einsum(windows, [0, *(2 + k for k in range(len(axes))), *(8 + k for k in range(len(axes)))],
                     weight, [1, 0, *(8 + k for k in range(len(axes)))],
                     [1, *(2 + k for k in range(len(axes)))])  # fmt: skip


def by_hand(model: Branch, x: np.ndarray) -> np.ndarray:
    """One clip x (mel, time) through one branch -> (time, class), in numpy."""
    time = x.shape[1]
    stem = model.stem
    y = norm(x[None], stem.norm)
    for conv, batch_norm in ((stem.conv1, stem.norm1), (stem.conv2, stem.norm2)):
        y = np.maximum(0, norm(convolved(y, conv.weight.detach().numpy(), (2, 1), 1), batch_norm))
    y = y.reshape(-1, time)
    y = np.maximum(0, norm(convolved(y, model.pair.weight.detach().numpy(), (2,), 1), model.norm))
    for conv, batch_norm in zip(model.context.convs, model.context.norms):
        y = y + np.maximum(0, norm(convolved(y, conv.weight.detach().numpy(), (1,), 2), batch_norm))
    y = lstm(lstm(y.T, model.lstm_1), model.lstm_2)
    y = y @ model.output.weight.detach().numpy().T + model.output.bias.detach().numpy()
    return y.reshape(-1, model.n_outputs)[:time]


@pytest.mark.parametrize("time", [1, 2, 13, 14])
def test_equals_its_definition_written_in_numpy(time: int) -> None:
    model, x = network(), clips(time)[:1]
    with torch.no_grad():
        found = model(x)
    expected = np.stack([by_hand(branch, x[0].numpy()) for branch in model.branches])
    assert found.heads.shape == (2, 1, time, 5)
    assert np.allclose(found.heads[:, 0].numpy(), expected, rtol=0, atol=1e-10)
    assert np.allclose(found.logits[0].numpy(), expected.mean(0), rtol=0, atol=1e-10)


@pytest.mark.parametrize("time", [23, 26])
def test_a_clip_in_a_batch_is_answered_as_alone(time: int) -> None:
    model, x = network(), clips(time)
    with torch.no_grad():
        together = model(x, LENGTHS).logits
        louder = model(torch.where(torch.arange(time) < LENGTHS[:, None, None], x, 1e3), LENGTHS).logits
        for i, n in enumerate(LENGTHS.tolist()):
            alone = model(x[i : i + 1, :, :n]).logits[0]
            assert torch.allclose(together[i, :n], alone, rtol=0, atol=1e-10)
            assert torch.allclose(louder[i, :n], alone, rtol=0, atol=1e-10)
    assert together.shape == (5, time, 5)


def test_both_ways_is_what_packing_gives() -> None:
    torch.manual_seed(2)
    layer = BothWays(4, 3, batch_first=True, bidirectional=True).double()
    plain = nn.LSTM(4, 3, batch_first=True, bidirectional=True).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(5, 23, 4, dtype=torch.float64)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(plain(packed)[0], batch_first=True, total_length=23)
    found = layer(x, LENGTHS)[0]
    valid = (torch.arange(23) < LENGTHS[:, None])[..., None]
    assert torch.allclose(found * valid, expected, rtol=0, atol=1e-12)
    assert torch.allclose(layer(x)[0], plain(x)[0], rtol=0, atol=1e-12)
    full = torch.full((5,), 23)
    assert torch.allclose(layer(x, full)[0], layer(x)[0], rtol=0, atol=1e-12)


def test_every_step_hears_the_whole_clip_and_nothing_beyond() -> None:
    model, x = network(), clips().requires_grad_()
    model(x, LENGTHS).heads[1, 2, 4].square().sum().backward()
    heard = x.grad.abs().amax(1) > 0
    assert heard[2, :9].all() and not heard[2, 9:].any()
    assert not heard[[0, 1, 3, 4]].any()


def test_in_training_padding_teaches_nothing() -> None:
    model, x = network(dropout=0.0).train(), clips()
    grads = []
    for filler in (0.0, 7.0):
        model.zero_grad()
        filled = torch.where(torch.arange(23) < LENGTHS[:, None, None], x, filler)
        # the norm of the input sees the batch as it is; the feature sets padding to zero
        for branch in model.branches:
            branch.stem.norm.eval()
        out = model(filled, LENGTHS).logits
        valid = torch.arange(23) < LENGTHS[:, None]
        out[valid].square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(grads[0], grads[1], rtol=0, atol=1e-10)


def test_keeps_the_contract() -> None:
    findings = check_model(FrameLSTM, (12, 31), 7)
    assert broken(findings) == []


def test_learns_clips_by_heart() -> None:
    torch.manual_seed(0)
    model = FrameLSTM((8, 12), 5, stem=4, width=16, dropout=0.0)
    x, y = torch.randn(3, 8, 12), torch.randint(0, 5, (3, 12))
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(x).logits.flatten(0, 1), y.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (model(x).logits.argmax(-1) == y).float().mean() > 0.95


def test_refuses_what_does_not_fit() -> None:
    model = FrameLSTM((40, 100), 40)
    assert sum(p.numel() for p in model.parameters()) < 2_000_000
    with pytest.raises(HeschlError, match=r"FrameLSTM takes \(batch, 40, time\)"):
        model(torch.zeros(2, 39, 100))
    with pytest.raises(HeschlError, match="lengths"):
        model(torch.zeros(2, 40, 100), torch.tensor([101, 3]))
    with pytest.raises(HeschlError, match="0 branches"):
        FrameLSTM((40, 100), 40, branches=0)
    with pytest.raises(HeschlError, match="FrameLSTM reads"):
        FrameLSTM((40,), 40)
