"""The neural encoder against its own arithmetic written out from the state dict, and LRP through it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from heschl.explanation.lrp import lrp, lrp_report
from heschl.models.neural_encoder import NeuralEncoder, Placed
from heschl.models.spatial import ChannelDropout, SpatialAttention, fourier, made_up_layout
from heschl.models.spectral_transformer import rollout, sin_cos_positions
from heschl.types import HeschlError

SHAPE, WORDS = (6, 8, 32), 4
SMALL: dict[str, Any] = {"channels": 8, "dim": 16, "depth": 2, "heads": 2, "patch": (4, 4)}


def encoder(**changes: Any) -> NeuralEncoder:
    torch.manual_seed(0)
    model = NeuralEncoder(SHAPE, WORDS, **{**SMALL, **changes}).double().eval()
    with torch.no_grad():  # away from zero, so that a forgotten bias is seen
        for one in model.parameters():
            one.add_(0.05 * torch.randn_like(one))
    return model


def clips(batch: int = 3, sensors: int = 6, dims: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, sensors, *SHAPE[1:], generator=generator, dtype=torch.float64)
    places = torch.rand(batch, sensors, dims, generator=generator, dtype=torch.float64)
    return x, places if dims == 2 else (places - 0.5) * 0.2


def written_out(
    state: dict[str, torch.Tensor], x: torch.Tensor, places: torch.Tensor, norm: str, constant: bool = False
) -> torch.Tensor:
    """The network in plain arithmetic. With ``constant``, gates, deviations and attention are constants: x times the
    gradient of what is left is LRP-epsilon as epsilon goes to zero."""
    hold = (lambda t: t.detach()) if constant else (lambda t: t)

    def gelu(z: torch.Tensor) -> torch.Tensor:
        return z * hold(0.5 * (1 + torch.erf(z / math.sqrt(2))))

    def normed(z: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        mean = z.mean(axes, keepdim=True)
        return (z - mean) / hold((z - mean).square().mean(axes, keepdim=True).add(1e-5).sqrt())

    def group_norm(z: torch.Tensor, name: str) -> torch.Tensor:
        split = normed(z.unflatten(1, (4, -1)), (2, 3, 4)).flatten(1, 2)
        return split * state[name + ".weight"][:, None, None] + state[name + ".bias"][:, None, None]

    def layer_norm(z: torch.Tensor, name: str) -> torch.Tensor:
        return normed(z, (-1,)) * state[name + ".weight"] + state[name + ".bias"]

    def conv(z: torch.Tensor, name: str, **options: Any) -> torch.Tensor:
        return F.conv2d(z, state[name + ".weight"], state.get(name + ".bias"), **options)

    rows = []
    for k in range(8):
        for m in range(8):
            rows.append(2 * math.pi / 1.4 * (k * (places[..., 0] + 0.2) + m * (places[..., 1] + 0.2)))
    phase = torch.stack(rows, -1)
    embedded = torch.cat([phase.cos(), phase.sin()], -1)
    weights = (embedded @ state["merger.heads"].T).softmax(1)  # over sensors
    z = torch.einsum("bsv,bsft->bvft", weights, x)
    for number in range(10):
        name = f"cnn.{number}"
        if number in (3, 8):
            z = (z[..., 0::2] + z[..., 1::2]) / 2
        elif number in (4, 9):
            z = conv(z, name)
        else:
            inside = gelu(group_norm(conv(z, name + ".enter"), name + ".norm"))
            inside = gelu(group_norm(conv(inside, name + ".first", padding=1), name + ".norm"))
            inside = gelu(group_norm(conv(inside, name + ".second", padding=1), name + ".norm"))
            z = z + conv(inside, name + ".leave")
    z = conv(z, "patches", stride=2).flatten(2).mT + state["transformer.positions"]
    z = torch.cat([state["transformer.token"].expand(len(z), -1, -1), z], 1)
    z = layer_norm(z, "transformer.norm")
    for k in range(2):
        name = f"transformer.blocks.{k}."

        def attended(y: torch.Tensor, name: str = name) -> torch.Tensor:
            q, k_, v = (y @ part.T for part in state[name + "attention.qkv.weight"].chunk(3))
            scores = [
                q[..., h * 8 : h * 8 + 8] @ k_[..., h * 8 : h * 8 + 8].mT / math.sqrt(8) for h in (0, 1)
            ]
            before, after = state[name + "attention.before"], state[name + "attention.after"]
            soft = [hold((scores[0] * before[0, g] + scores[1] * before[1, g]).softmax(-1)) for g in (0, 1)]
            talk = [soft[0] * after[0, g] + soft[1] * after[1, g] for g in (0, 1)]
            heard = torch.cat([talk[h] @ v[..., h * 8 : h * 8 + 8] for h in (0, 1)], -1)
            return heard @ state[name + "attention.out.weight"].T + state[name + "attention.out.bias"]

        def forward_part(y: torch.Tensor, name: str = name) -> torch.Tensor:
            wide = gelu(y @ state[name + "widen.weight"].T + state[name + "widen.bias"])
            return wide @ state[name + "narrow.weight"].T + state[name + "narrow.bias"]

        if norm == "post":
            z = layer_norm(z + attended(z), name + "norm")
            z = layer_norm(z + forward_part(z), name + "norm")
        else:
            z = z + attended(layer_norm(z, name + "norm"))
            z = z + forward_part(layer_norm(z, name + "norm"))
    r, words = z[:, 0], state["codebook"]
    return (r / hold(r.norm(dim=-1, keepdim=True))) @ (words / words.norm(dim=-1, keepdim=True)).T


def test_published_size_and_nothing_dead() -> None:
    model = NeuralEncoder((127, 64, 512), 88)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count["cnn"] == 89_584 and count["merger"] == 4_096 and model.codebook.numel() == 22_528
    assert sum(p.numel() for p in model.parameters()) == 3_588_944
    assert model.transformer.grid == (15, 15)
    grouped = [id(p) for group in model.parameter_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_it_is_what_it_says(norm: str) -> None:
    model, (x, places) = encoder(norm=norm), clips()
    out = model(x, places)
    expected = written_out(dict(model.state_dict()), x, places, norm)
    torch.testing.assert_close(out.logits, expected, rtol=0, atol=1e-10)
    assert out.embedding.shape == (3, 16) and out.codebook is model.codebook


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_lrp_agrees_with_constant_gates(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heschl.explanation.lrp.rules.EPSILON", 1e-13)  # the oracle is the limit at zero
    model, (x, places) = encoder(norm=norm), clips(2)
    target = torch.tensor([1, 3])
    for k in range(2):
        given = lrp(Placed(model, places[k]), x[k : k + 1], target[k : k + 1], preset="epsilon")
        again = x[k : k + 1].clone().requires_grad_()
        out = written_out(dict(model.state_dict()), again, places[k : k + 1], norm, constant=True)
        (slope,) = torch.autograd.grad(out[0, target[k]], again)
        expected = (again * slope).detach()
        assert float((given - expected).abs().max()) < 1e-6 * float(expected.abs().max())


def test_lrp_accounts_for_all_relevance() -> None:
    model, (x, places) = encoder(), clips(1)
    places[0, 4] = math.nan
    relevance, layers = lrp_report(Placed(model, places[0]), x, torch.tensor([2]))
    for layer in layers:
        took = layer.relevance_out + layer.bias + layer.epsilon + layer.stopped
        assert took == pytest.approx(layer.relevance_in, abs=1e-6 * max(1.0, abs(layer.relevance_in))), layer
    reached = relevance.abs().sum((0, 2, 3)) > 0
    assert reached.tolist() == [True, True, True, True, False, True]  # every sensor that has a place


@pytest.mark.parametrize("dims", [2, 3])
def test_any_montage_in_any_order_with_sensors_missing(dims: int) -> None:
    model, (x, places) = encoder(), clips(sensors=9, dims=dims)
    out = model(x, places).logits
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x[:, order], places[:, order]).logits, out, atol=1e-12, rtol=0)
    without = model(x[:, 1:], places[:, 1:]).logits
    gone_x, gone = x.clone(), places.clone()
    gone_x[:, 0], gone[:, 0] = math.nan, math.nan
    torch.testing.assert_close(model(gone_x, gone).logits, without, atol=1e-12, rtol=0)
    assert not torch.allclose(without, out, atol=1e-6)
    gone_x[:, 0] = 0.0
    leaf = gone_x.clone().requires_grad_()
    model(leaf, gone).logits.sum().backward()
    assert bool(leaf.grad.isfinite().all()) and not leaf.grad[:, 0].any()


def test_without_positions_channels_have_a_made_up_layout() -> None:
    model, (x, _) = encoder(), clips()
    layout = made_up_layout(6, torch.float64)
    assert float(layout.min()) >= 0 and float(layout.max()) <= 1
    assert float(torch.cdist(layout, layout).fill_diagonal_(1).min()) > 0.05
    torch.testing.assert_close(model(x).logits, model(x, layout).logits)


def test_bad_input_is_told_in_a_sentence() -> None:
    model, (x, places) = encoder(), clips()
    for args, words in [
        ((x[:, :5],), "made for 6 sensors|takes"),
        ((x, places[:, :5]), "positions"),
        ((x, places.new_full(places.shape, math.nan)), "no sensor has a place"),
        ((x[..., :31], places), "NeuralEncoder takes"),
        ((x, places, torch.tensor([32, 31, 32])), "one length only"),
    ]:
        with pytest.raises(HeschlError, match=words) as caught:
            model(*args)
        assert "\n" not in str(caught.value)
    for shape, options in [
        ((6, 8, 30), {}),
        ((6, 8, 32), {"dim": 18}),
        ((6, 3, 32), {}),
        (SHAPE, {"norm": "no"}),
    ]:
        with pytest.raises(HeschlError):
            NeuralEncoder(shape, 4, **{**SMALL, **options})


def test_channel_dropout_silences_a_disc_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop, x = ChannelDropout(0.3).train(), torch.ones(200, 40, 1)
    places = torch.rand(40, 2).expand(200, -1, -1)
    out = drop(x, places)
    assert bool((out == 0).any()) and torch.allclose(out.sum(1), torch.full((200, 1), 40.0))
    dead = out[0, :, 0] == 0
    if dead.any():  # silent sensors lie together
        assert float(torch.cdist(places[0][dead], places[0][dead]).max()) <= 0.6 + 1e-6
    assert torch.equal(drop.eval()(x, places), x)
    everywhere = ChannelDropout(2.0).train()
    assert torch.equal(everywhere(x, places), x)


def test_spatial_weights_in_training_leave_someone() -> None:
    torch.manual_seed(0)
    attention = SpatialAttention(4, 128, 0.4).train()
    weights = attention.weights(torch.rand(50, 3, 2))
    assert torch.allclose(weights.sum(-1), torch.ones(50, 4)) and bool((weights == 0).any())


def test_fourier_in_two_and_three_dimensions() -> None:
    place = torch.tensor([0.3, 0.6], dtype=torch.float64)
    found = fourier(place, 128)
    expected = [math.cos(2 * math.pi / 1.4 * (k * 0.5 + m * 0.8)) for k in range(8) for m in range(8)]
    assert torch.allclose(found[:64], torch.tensor(expected, dtype=torch.float64))
    assert fourier(torch.rand(5, 3), 128).shape == (5, 128) and fourier(torch.rand(5, 3), 2048).shape == (
        5,
        2048,
    )


def test_positions_and_rollout() -> None:
    table = sin_cos_positions(3, 4, 8).reshape(3, 4, 8)
    assert float(table[2, 1, 1]) == pytest.approx(math.sin(2 / 100)) and float(
        table[2, 1, 6]
    ) == pytest.approx(math.cos(1))
    model, (x, places) = encoder(), clips()
    held = model.attention(x, places)
    assert len(held) == 2 and torch.allclose(held[0].sum(-1), torch.ones(1, dtype=torch.float64))
    flow = rollout(held)
    one = 0.5 * (held[0].mean(1) + torch.eye(held[0].shape[-1], dtype=torch.float64))
    two = 0.5 * (held[1].mean(1) + torch.eye(held[0].shape[-1], dtype=torch.float64))
    torch.testing.assert_close(flow, torch.stack([b @ a for a, b in zip(one, two)]))
    assert all(layer.keep is None for layer in model.modules() if hasattr(layer, "keep"))
