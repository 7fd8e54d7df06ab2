"""Whole networks: how they end, frames, attention by halves, and those that heschl ships."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import lrp_oracle as oracle
import numpy as np
import pytest
import torch
from lrp_helpers import refused, shipped
from lrp_networks import OTHERS, build
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from heschl.explanation.lrp import PRESETS, lrp, lrp_report, rules


class Answers(NamedTuple):
    logits: torch.Tensor
    rest: torch.Tensor


class Ends(nn.Module):
    def __init__(self, end):
        super().__init__()
        torch.manual_seed(1)
        self.body, self.end = nn.Linear(4, 3), end
        self.double().eval()

    def forward(self, x):
        return self.end(self.body(x))


@pytest.mark.parametrize(
    "end",
    [
        nn.Softmax(-1),
        nn.LogSoftmax(-1),
        lambda z: F.log_softmax(z[:, None], -1)[:, 0],
        lambda z: torch.stack([z, z]).log_softmax(-1).mean(0),
        lambda z: Answers(z.softmax(-1), z),
    ],
)
def test_a_softmax_at_the_end_is_taken_off_with_a_word(end):
    x, target = torch.randn(2, 4).double(), torch.tensor([0, 2])
    wanted = lrp(Ends(nn.Identity()), x, target)
    with pytest.warns(UserWarning, match="ends in a softmax: it is taken off"):
        given = lrp(Ends(end), x, target)
    assert torch.allclose(given, wanted, atol=1e-5 * float(wanted.abs().max()))


def test_the_first_field_of_a_tuple_is_explained():
    x, target = torch.randn(2, 4).double(), torch.tensor([0, 2])
    given = lrp(Ends(lambda z: Answers(z, z.square())), x, target)
    assert torch.equal(given, lrp(Ends(nn.Identity()), x, target))


class Frames(nn.Module):
    """x (batch, mel, time) -> logits (batch, time, class)."""

    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 5)
        self.double().eval()

    def forward(self, x):
        return self.out(self.gru(x.transpose(1, 2))[0])


def test_clips_of_different_lengths():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out = nn.Conv1d(2, 3, 3, padding=1), nn.Linear(3, 3)
            self.double().eval()

        def forward(self, x, lengths):
            mask = torch.arange(x.shape[-1]) < lengths[:, None]
            y = F.relu(self.conv(x)) * mask[:, None]
            return self.out(y.sum(-1) / lengths[:, None])

    network, x, lengths = Masked(), torch.randn(2, 2, 9).double(), torch.tensor([9, 5])
    x[1, :, 5:] = 0
    both = lrp(network, x, torch.tensor([0, 1]), lengths=lengths, chunk=1)
    alone = lrp(network, x[1:, :, :5], torch.tensor([1]), lengths=lengths[1:])
    assert torch.allclose(both[1, :, :5], alone[0]) and not both[1, :, 5:].any()


def test_weights_normed_as_torch_does_it():
    conv = nn.Conv1d(2, 3, 3)
    network = nn.Sequential(nn.utils.parametrizations.weight_norm(conv), nn.Flatten(), nn.Linear(12, 3))
    network = network.double().eval()
    bare = nn.Conv1d(2, 3, 3).double()
    bare.weight, bare.bias = nn.Parameter(conv.weight.detach()), conv.bias
    x, target = torch.randn(2, 2, 6).double(), torch.tensor([0, 1])
    for preset in PRESETS:
        wanted = lrp(nn.Sequential(bare, *network[1:]).eval(), x, target, preset)
        assert torch.allclose(lrp(network, x, target, preset), wanted)


def test_transformers_of_torch():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    network = nn.Sequential(encoder, nn.Flatten(), nn.Linear(12, 3)).double().eval()
    x, target = torch.randn(2, 3, 4).double(), torch.tensor([0, 2])
    relevance, layers = lrp_report(network, x, target, "epsilon")
    lost = sum(layer.bias + layer.epsilon + layer.stopped for layer in layers)
    assert float(relevance.sum()) + lost == pytest.approx(layers[0].relevance_in)


def test_networks_over_frames():
    network, x = Frames(), torch.randn(2, 3, 6).double()
    one = torch.full((2, 6), -100)
    one[0, 2], one[1, 4] = 1, 3
    given = lrp(network, x, one)
    assert given[0, :, :3].any() and not given[0, :, 3:].any()  # a GRU does not hear what comes after
    whole = lrp(network, x, torch.tensor([1, 3]))
    every = sum(
        lrp(network, x, torch.where(torch.arange(6) == t, torch.tensor([[1], [3]]), -100)) for t in range(6)
    )
    assert torch.allclose(whole, every)
    refused("target has 5 frames, but the network answers 6", network, x, one[:, :5])


def test_attention_by_halves_reaches_queries_and_keys():
    network, x = build(OTHERS["attention"])
    target = torch.tensor([0, 1])
    values_only = lrp(network, x, target, "epsilon")
    halves = lrp(network, x, target, "epsilon", attention="attn")
    assert torch.isfinite(halves).all() and not torch.allclose(values_only, halves)
    by_hand, same = build(OTHERS["attention by hand"])
    fused, _ = build(OTHERS["attention fused"])
    assert torch.allclose(
        lrp(by_hand, same, target, "epsilon", attention="attn"),
        lrp(fused, same, target, "epsilon", attention="attn"),
        rtol=1e-4,
        atol=1e-6,
    )
    refused("attention is 'half'", network, x, target, attention="half")


def test_attention_by_halves_by_explicit_messages():
    """One head, one step of the way: AttnLRP's rules written out (Achtibat et al. 2024, eq. 13 and 15)."""

    class Core(nn.Module):
        def forward(self, x):
            q, k, v = x.chunk(3, -1)
            return (torch.softmax(q @ k.mT, -1) @ v).flatten(1)

    torch.manual_seed(0)
    x = torch.randn(1, 3, 6).double()
    given = lrp(Core().eval(), x, torch.tensor([4]), attention="attn")[0].numpy()
    q, k, v = np.split(x[0].numpy(), 3, 1)
    scores = q @ k.T
    a = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    y = a @ v
    r = np.zeros_like(y)
    r[2, 0] = y[2, 0]
    on_a, on_s, on_q, on_k, on_v = (np.zeros_like(t) for t in (a, a, q, k, v))
    for t, s, d in np.ndindex(3, 3, 2):
        message = a[t, s] * v[s, d] / oracle.stab(2 * y[t, d]) * r[t, d]
        on_a[t, s] += message
        on_v[s, d] += message
    for t, s in np.ndindex(3, 3):
        on_s[t, s] = scores[t, s] * (on_a[t, s] - a[t, s] * on_a[t].sum())
    for t, s, d in np.ndindex(3, 3, 2):
        message = q[t, d] * k[s, d] / oracle.stab(2 * scores[t, s]) * on_s[t, s]
        on_q[t, d] += message
        on_k[s, d] += message
    wanted = np.concatenate([on_q, on_k, on_v], 1)
    assert np.abs(given - wanted).max() < 1e-9 * np.abs(wanted).max()


@pytest.mark.parametrize("hidden", [False, True])
def test_attention_by_halves_of_many_heads_by_explicit_messages(hidden):
    """All of nn.MultiheadAttention, three signals of their own, projections under epsilon, a mask or none."""

    class Apart(nn.Module):
        def __init__(self):
            super().__init__()
            self.mha = nn.MultiheadAttention(4, 2, batch_first=True)
            nn.init.normal_(self.mha.in_proj_bias)
            nn.init.normal_(self.mha.out_proj.bias)

        def forward(self, x):
            q, k, v = x.chunk(3, -1)
            mask = torch.ones(3, 3, dtype=torch.bool).triu(1) if hidden else None
            return self.mha(q, k, v, attn_mask=mask)[0].flatten(1)

    torch.manual_seed(0)
    network, x = Apart().double().eval(), torch.randn(2, 3, 12).double()
    target = torch.tensor([4, 9])
    given = lrp(network, x, target, attention="attn").numpy()
    for k in range(2):
        parts = np.split(x[k].numpy(), 3, 1)
        mask = np.triu(np.ones((3, 3), bool), 1) if hidden else None
        y, back = oracle.attend(network.mha, *parts, mask, halves=True)
        r = np.zeros(y.size)
        r[target[k]] = y.reshape(-1)[target[k]]
        wanted = np.concatenate(back(r.reshape(y.shape)), 1)
        assert all(np.abs(part).max() > 1e-6 for part in np.split(wanted, 3, 1))
        assert np.abs(given[k] - wanted).max() < 1e-9 * np.abs(wanted).max()


def test_deviation_shares_by_distance_from_the_mean():
    network = nn.Sequential(nn.Identity()).eval()
    network.forward = lambda x: x.std(-1)  # type: ignore[method-assign]
    x = torch.randn(1, 2, 7).double()
    given = lrp(network, x, torch.tensor([0]), start="one")[0, 0]
    z = x[0, 0]
    assert torch.allclose(given, z * (z - z.mean()) / 6 / (z.var() + 1e-6))


def test_a_learned_token_is_counted_as_stopped():
    class Token(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.out = nn.Parameter(torch.randn(1, 1, 4)), nn.Linear(4, 2)

        def forward(self, x):
            return self.out(torch.cat([self.token.expand(len(x), 1, 4), x], 1).mean(1))

    torch.manual_seed(0)
    network, x = Token().double().eval(), torch.randn(2, 3, 4).double()
    given, layers = lrp_report(network, x, torch.tensor([0, 1]))
    stopped = sum(layer.stopped for layer in layers)
    lost = sum(layer.bias + layer.epsilon for layer in layers)
    assert abs(stopped) > 1e-3
    assert float(given.sum()) + stopped + lost == pytest.approx(layers[0].relevance_in)


def test_the_box_follows_the_clip_through_a_fixed_scale():
    torch.manual_seed(0)
    conv = nn.Conv1d(1, 2, 3)
    scaled = nn.Sequential(Own_scale(), conv, nn.Flatten(), nn.Linear(8, 2)).double().eval()
    bare = scaled[1:].eval()
    x, target = torch.randn(2, 1, 6).double(), torch.tensor([0, 1])
    a = lrp(scaled, x, target, "epsilon_gamma_box", low=-4.0, high=5.0)
    b = lrp(bare, -2 * x + 1, target, "epsilon_gamma_box", low=-9.0, high=9.0)
    # the constant 1 is a bias of the front end, so relevance is shared by x's part of it
    assert torch.allclose(a, b * (-2 * x) / (-2 * x + 1), rtol=1e-3, atol=1e-5)


class Own_scale(nn.Module):
    def forward(self, x):
        return -2 * x + 1


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "example"), shipped())
def test_every_shipped_network_at_every_preset(kind, example):
    shape, outputs, *options = example
    torch.manual_seed(0)
    network = kind(shape, outputs, **(options[0] if options else {})).double().eval()
    x = torch.randn(2, *shape).double()
    target = torch.tensor([1, 0])
    for preset in PRESETS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given, layers = lrp_report(network, x, target, preset)
            alone = lrp(network, x[1:], target[1:], preset)
        assert given.shape == x.shape and torch.isfinite(given).all() and given[0].any() and given[1].any()
        assert torch.allclose(given[1:], alone, rtol=1e-6, atol=1e-9 * float(alone.abs().max()))
        lost = sum(layer.bias + layer.epsilon + layer.stopped for layer in layers)
        scale = max(abs(layer.relevance_in) for layer in layers)
        assert float(given.sum()) + lost == pytest.approx(layers[0].relevance_in, abs=1e-6 * scale)


class Straightened(TorchFunctionMode):
    """The network with every bend made straight: f(z) becomes z (f(z) / z) with the ratio held constant, weights of
    gates and softmax too. Its gradient times x is LRP with an epsilon of zero (Ali et al. 2022, eq. 5): another way
    to the same numbers, by torch's own backward pass."""

    bends = (
        "relu",
        "silu",
        "gelu",
        "tanh",
        "sqrt",
        "clamp",
        "clamp_min",
        "square",
        "leaky_relu",
        "hardswish",
    )

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.__name__.rstrip("_"), dict(kwargs or {})
        if name in self.bends:
            kwargs.pop("inplace", None)
            y = getattr(F, name, None) or getattr(torch, name)
            z = args[0]
            slope = (y(z, *args[1:], **kwargs) / z).detach()
            return z * torch.where(z == 0, 0, slope)
        if name in ("sigmoid", "softmax"):
            return func(*args, **kwargs).detach()
        if name == "glu":  # the signal takes all and its gate nothing, as in recurrent cells
            signal, gate = args[0].chunk(2, *args[1:], **kwargs)
            return signal * gate.sigmoid().detach()
        if name == "log_softmax":
            return args[0]
        if name in ("lstm", "gru", "layer_norm", "group_norm"):
            raise NotImplementedError(name)
        return func(*args, **kwargs)


@pytest.mark.parametrize(("kind", "example"), shipped())
def test_shipped_networks_against_straightened_ones(kind, example, monkeypatch):
    shape, outputs, *options = example
    torch.manual_seed(0)
    network = kind(shape, outputs, **(options[0] if options else {})).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    x, target = torch.randn(2, *shape).double().requires_grad_(), torch.tensor([1, 0])
    try:
        with Straightened():
            out = network(x)
    except NotImplementedError as recurrent:
        pytest.skip(f"{recurrent} is not straightened here; see the oracle's loops over time")
    logits = out[0] if isinstance(out, tuple) else out
    if logits.ndim == 3:  # an answer for every frame
        target = target[:, None].expand(logits.shape[:2])
    (slope,) = torch.autograd.grad(logits.gather(-1, target[..., None]).sum(), x)
    monkeypatch.setattr(rules, "EPSILON", 1e-13)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = lrp(network, x, target, "epsilon")
    assert (given - x * slope).abs().max() < 1e-6 * given.abs().max()


def flat_list(module):
    """The layers of nested nn.Sequentials, in order."""
    parts = []
    for child in module.children():
        parts += flat_list(child) if isinstance(child, nn.Sequential) else [child]
    return parts


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["FrameMLP", "AudioNet", "AlexNet"])
def test_shipped_networks_against_explicit_messages(name, preset):
    from heschl.models.alexnet import AlexNet
    from heschl.models.audionet import AudioNet
    from heschl.models.frame_mlp import FrameMLP

    torch.manual_seed(0)
    network, shape = {
        "FrameMLP": lambda: (FrameMLP((5, 4), 6, widths=(8, 7)), (5, 4)),
        "AudioNet": lambda: (AudioNet((1, 70), 3, width=0.03, init="he"), (1, 70)),
        "AlexNet": lambda: (AlexNet((1, 67, 67), 3, width=0.01, init="he"), (1, 67, 67)),
    }[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    network = network.double().eval()
    x = torch.randn(1, *shape).double()
    layers = nn.Sequential(*flat_list(network))
    assert torch.allclose(layers(x), network(x))
    given = lrp(network, x, torch.tensor([1]), preset)[0].numpy()
    wanted = oracle.explain(layers, x[0].detach().numpy(), 1, preset)
    assert np.abs(given - wanted).max() < 1e-6 * np.abs(wanted).max()


def test_captums_epsilon_is_the_same_where_it_is_right():
    attribution = pytest.importorskip("captum.attr")
    rules = pytest.importorskip("captum.attr._utils.lrp_rules")
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    network = network.double().eval()
    x, target = torch.randn(3, 1, 8, 8).double(), torch.tensor([0, 1, 2])
    for layer in network:
        layer.rule = rules.EpsilonRule(epsilon=1e-6)
    theirs = attribution.LRP(network).attribute(x.clone().requires_grad_(), target=target).detach()
    ours = lrp(network, x, target, "epsilon")
    # captum divides under epsilon at each ReLU and pool too, so the two differ by some epsilon / z
    assert (ours - theirs).abs().max() < 1e-4 * ours.abs().max()
