"""lrp at its borders: batches, chunks, silence, bad input, refusals by name, rules of one's own, whole networks."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from typing import NamedTuple

import lrp_oracle as oracle
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lrp_networks import OTHERS, STACKED, WEIGHTED, build
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import heschl.models
from heschl.explanation.lrp import PRESETS, Own, Rule, lrp, lrp_report, relevance, rules
from heschl.types import HeschlError

NETWORKS = WEIGHTED | OTHERS | STACKED


def net_and_clips(clips=4, name="waveform network", **options):
    network, x = build(STACKED[name], clips=clips, **options)
    return network, x, torch.arange(clips) % 3


class Calls(nn.Module):
    """A network of one function between two dense layers."""

    def __init__(self, function):
        super().__init__()
        self.into, self.out, self.function = nn.Linear(4, 4), nn.Linear(4, 3), function
        self.double().eval()

    def forward(self, x):
        return self.out(self.function(self.into(x)))


# ---- batches


@pytest.mark.filterwarnings("ignore:the first layer is recurrent")
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["GRU deep, both ways", "attention", "log-mel", *STACKED])
def test_a_batch_equals_its_clips(name, preset):
    network, x = build(NETWORKS[name], clips=3)
    x[1] *= 100  # a loud clip never changes a quiet one
    target = torch.tensor([0, 1, 2])
    both = lrp(network, x, target, preset)
    for k in range(3):
        one = lrp(network, x[k : k + 1], target[k : k + 1], preset)[0]
        assert torch.allclose(both[k], one, rtol=1e-9, atol=1e-12 * float(one.abs().max()))


@settings(max_examples=8, deadline=None)
@given(chunk=st.integers(1, 9), clips=st.integers(1, 7))
def test_chunks_change_nothing(chunk, clips):
    network, x, target = net_and_clips(clips)
    whole, lines = lrp_report(network, x, target, chunk=clips)
    parts, lines_of_parts = lrp_report(network, x, target, chunk=chunk)
    assert torch.allclose(whole, parts, rtol=1e-9, atol=1e-13)
    for a, b in zip(lines, lines_of_parts, strict=True):
        assert a[:2] == b[:2] and np.allclose(a[2:], b[2:], atol=1e-9)


def test_memory_that_runs_out_makes_chunks_smaller(monkeypatch):
    network, x, target = net_and_clips(6)
    wanted, run = lrp(network, x, target), relevance._run

    def short(tape, inputs, *rest):
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(tape, inputs, *rest)

    monkeypatch.setattr(relevance, "_run", short)
    with pytest.warns(UserWarning, match="memory ran out: going on with 1 clips at once"):
        assert torch.allclose(lrp(network, x, target, chunk=3), wanted)


def test_no_clips_no_relevance():
    network, x, _ = net_and_clips()
    assert lrp(network, x[:0], torch.zeros(0, dtype=torch.long)).shape == (0, *x.shape[1:])


def test_the_network_and_the_clips_are_left_as_they_were():
    network, x, target = net_and_clips()
    for p in network.parameters():
        p.requires_grad_(True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    clip, wanted = x.clone(), network(x)
    first = lrp(network, x, target)
    with torch.inference_mode():
        assert torch.equal(lrp(network, x, target), first)
    assert torch.equal(x, clip) and torch.equal(network(x), wanted)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


# ---- silence, bad input


@pytest.mark.filterwarnings("ignore:the first layer is recurrent")
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["LSTM", "GRU", "attention", "log-mel", "LayerNorm", *STACKED])
def test_silence_gives_zeros(name, preset):
    network, x = build(NETWORKS[name])
    x[0] = 0
    given = lrp(network, x, torch.tensor([0, 1]), preset)
    assert torch.equal(given[0], torch.zeros_like(x[0]))
    assert given[1].abs().max() > 0 and torch.isfinite(given).all()


def test_constant_logits_give_zeros():
    network = nn.Sequential(nn.Linear(3, 2)).eval()
    nn.init.zeros_(network[0].weight)
    assert not lrp(network, torch.randn(2, 3), torch.tensor([0, 1]), "epsilon").any()


def refused(match, *args, **options):
    with pytest.raises(HeschlError, match=match) as caught:
        lrp(*args, **options)
    assert "\n" not in str(caught.value)


def test_bad_input_is_refused_in_a_sentence():
    network, x, target = net_and_clips(2)
    refused("there is no target", network, x, None)
    refused("there is no target 3: the network has 3 outputs", network, x, torch.tensor([0, 3]))
    refused("start is 'log'", network, x, target, start="log")
    refused("low lies above high", network, x, target, "epsilon_gamma_box", low=2.0, high=1.0)
    refused("low is of shape", network, x, target, "epsilon_gamma_box", low=torch.zeros(7))
    refused("give a torch.nn.Module", lambda x: x, x, target)
    refused(
        "clip 1 of x holds numbers that are not finite",
        network,
        x.index_fill(0, torch.tensor([1]), torch.nan),
        target,
    )
    refused("x is .* of torch.int64", network, x.long(), target)
    refused("is the clip shorter than the network's receptive field", network, x[..., :3], target)
    network[3].weight[0, 0, 0] = torch.nan
    refused("the weights '3.weight' hold numbers that are not finite", network, x, target)


@pytest.mark.parametrize("name", ["waveform network", "spectrogram network"])
def test_train_mode_is_refused(name):
    network, x, target = net_and_clips(2, name)
    network[1].train()
    refused("module '1' is in train mode: call model.eval", network, x, target)


def test_norms_that_mix_clips_are_refused():
    network = nn.Sequential(
        nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 2)
    ).eval()
    refused(
        "a BatchNorm that mixes the clips of a batch in module '1'",
        network,
        torch.randn(4, 3),
        torch.zeros(4).long(),
    )


def test_half_precision_is_raised_with_a_word():
    network, x, target = net_and_clips(2)
    wanted = lrp(network.float(), x.float(), target)
    for kind in (torch.float16, torch.bfloat16):
        with pytest.warns(UserWarning, match="half precision"):
            given = lrp(network.to(kind), x.to(kind), target)
        assert given.dtype == torch.float32 and next(network.parameters()).dtype == kind
        assert (given - wanted).abs().max() < 0.2 * wanted.abs().max()
        network.float()


# ---- operations that have no rule


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.a(x) * self.b(x)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (torch.sin, "`sin` in module"),
        (lambda x: torch.logsumexp(x, -1, keepdim=True).expand(-1, 4), "`logsumexp`"),
        (lambda x: x.softmax(-1), "a softmax between layers"),
        (lambda x: F.log_softmax(x, -1), "a log_softmax between layers"),
        (lambda x: torch.linalg.norm(x, dim=-1, keepdim=True) + x, "norm"),
        (lambda x: x * x.flip(-1), "`mul` of two signals"),
        (lambda x: torch.einsum("bi,bj->bi", x, x + 1), "`einsum` of two signals"),
        (lambda x: 1 / x, "`rdiv`|`__rdiv__`"),
        (lambda x: torch.tensor(x.numpy()), "`numpy`"),
        (lambda x: x * x.sum().item(), "`item`"),
        (lambda x: torch.add(x, 1, out=torch.empty(2, 4).double()), r"`add\(out=...\)`"),
        (lambda x: F.dropout(x, 0.5), "dropout in training"),
        (nn.Sequential(nn.Identity(), Product()), r"module 'function.1' \(Product\)"),
    ],
)
def test_what_has_no_rule_is_refused_by_the_name_of_its_module(function, match):
    refused(match, Calls(function), torch.randn(2, 4).double(), torch.tensor([0, 1]))


def overwrite_a_view(x):
    part = x[:, :2]
    part.mul_(2)
    return x


def write_into(x):
    x[:, 0] = 0
    return x


@pytest.mark.parametrize(
    ("function", "match"), [(overwrite_a_view, "overwritten in place"), (write_into, "`__setitem__`")]
)
def test_writing_in_place_is_followed_or_refused(function, match):
    refused(match, Calls(function), torch.randn(2, 4).double(), torch.tensor([0, 1]))


class Unseen(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


@pytest.mark.parametrize(
    "function", [Unseen.apply, lambda x: x + Unseen.apply(x), torch.jit.script(nn.Softsign())]
)
def test_what_torch_does_not_show_is_refused_and_not_passed_in_silence(function):
    refused("where torch does not say how", Calls(function), torch.randn(2, 4).double(), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("function", "same"),
    [
        (lambda x: x.relu_(), torch.relu),
        (lambda x: (x.mul_(2), x)[1], lambda x: 2 * x),
        (lambda x: (x.add_(1.5), F.relu(x, inplace=True), x)[2], lambda x: F.relu(x + 1.5)),
        (lambda x: x.clone().clamp_(min=0) if (x.shape[0] > 0 and bool((x == x).all())) else x, torch.relu),
        (lambda x: torch.where(x > 0, x, torch.zeros_like(x)), torch.relu),
        (lambda x: x * (x > 0), torch.relu),
        (lambda x: torch.maximum(x, torch.zeros_like(x)), torch.relu),
        (lambda x: x * torch.sigmoid(x), F.silu),
        (lambda x: torch.stack([x, x]).amax(0), lambda x: x),
        (lambda x: torch.cat([x[:, :1], x[:, 1:]], 1), lambda x: x.reshape(-1, 2, 2).flatten(1)),
        (
            lambda x: torch.einsum("bi,ij->bj", x, torch.ones(4, 4).double()),
            lambda x: x @ torch.ones(4, 4).double(),
        ),
    ],
)
def test_two_ways_to_write_the_same(function, same):
    torch.manual_seed(0)
    a = Calls(function)
    b = Calls(same)
    b.load_state_dict(a.state_dict())
    x, target = torch.randn(2, 4).double(), torch.tensor([0, 1])
    assert torch.allclose(a(x), b(x))
    given, wanted = (lrp(m, x, target, "epsilon") for m in (a, b))
    # where nothing passes, the order of zeros decides who is asked; no value there takes relevance
    assert torch.allclose(given, wanted, atol=1e-5 * float(wanted.abs().max()))


def test_constants_in_the_shape_of_a_signal_are_constants():
    scale, mask = nn.Parameter(torch.rand(4).double() + 0.5), torch.tensor([1.0, 0, 1, 1]).double()
    bent = Calls(lambda x: x * mask.expand_as(x) * scale.expand_as(x) + scale.type_as(x).expand_as(x))
    plain = Calls_like(bent, lambda x: F.linear(x, torch.diag(mask * scale.detach()), scale.detach()))
    x, target = torch.randn(2, 4).double(), torch.tensor([0, 1])
    assert torch.allclose(lrp(bent, x, target, "epsilon"), lrp(plain, x, target, "epsilon"), rtol=1e-4)


def test_a_weight_that_takes_no_relevance_may_be_anything():
    network = Calls(lambda x: x * torch.sigmoid(torch.sin(x).logsumexp(-1, keepdim=True)))
    assert lrp(network, torch.randn(2, 4).double(), torch.tensor([0, 1])).abs().sum() > 0


def test_a_rule_where_there_is_none_to_have_is_refused():
    network, x, target = net_and_clips(2)
    refused("'1', but an activation knows epsilon only", network, x, target, rules={"1": "flat"})
    refused("'2', which holds nothing that a rule could be for", network, x, target, rules={"2": "zplus"})
    recurrent, x = build(OTHERS["LSTM"])
    refused(
        "a recurrent layer knows epsilon only", recurrent, x, torch.tensor([0, 1]), rules={nn.LSTM: "zplus"}
    )
    assert lrp(recurrent, x, torch.tensor([0, 1]), rules={nn.LSTM: "epsilon"}).any()


# ---- rules by module


def test_rules_by_name_type_and_container():
    network, x, target = net_and_clips(2)
    base = lrp(network, x, target, "epsilon")
    named = lrp(network, x, target, "epsilon", rules={"0": "zplus", "3": Rule("zplus")})
    assert torch.allclose(named, lrp(network, x, target, "epsilon_plus"))
    assert torch.allclose(named, lrp(network, x, target, "epsilon", rules={nn.Conv1d: "z+"}))
    held = nn.Sequential(network[:6], *network[6:]).eval()
    assert torch.allclose(lrp(held, x, target, "epsilon", rules={"0": "zplus"}), named)
    assert not torch.allclose(named, base)


class Own2(nn.Module):
    """y_i = 2 x_i, by an operation that lrp does not know."""

    def forward(self, x):
        return torch.asinh(torch.sinh(x)) * 2


def test_a_module_of_ones_own_is_taught():
    network = Calls(Own2())
    x, target = torch.randn(2, 4).double(), torch.tensor([0, 1])
    refused(r"`asinh` in module 'function' \(Own2\)", network, x, target)
    wanted = lrp(Calls_like(network, lambda x: 2 * x), x, target)
    for rule in ("identity", "gradient", lambda module, x, y, r: x / y * 2 * r, Own(lambda m, x, y, r: r)):
        assert torch.allclose(lrp(network, x, target, rules={Own2: rule}), wanted, rtol=1e-4)
        assert torch.allclose(lrp(network, x, target, rules={"function": rule}), wanted, rtol=1e-4)
    _, layers = lrp_report(network, x, target, rules={Own2: lambda m, x, y, r: r})
    assert ("function", "own") in [layer[:2] for layer in layers]


def Calls_like(network, function):
    other = Calls(function)
    other.load_state_dict(network.state_dict())
    return other


def test_a_rule_of_ones_own_that_does_not_conserve_is_caught():
    network = Calls(Own2())
    x, target = torch.randn(2, 4).double(), torch.tensor([0, 1])
    refused(
        "turned relevance .* into .*conserves=False",
        network,
        x,
        target,
        rules={Own2: lambda m, x, y, r: 2 * r},
    )
    free = lrp(network, x, target, rules={Own2: Own(lambda m, x, y, r: 2 * r, conserves=False)})
    assert torch.allclose(free, 2 * lrp(network, x, target, rules={Own2: "identity"}))
    refused("it must give finite relevance", network, x, target, rules={Own2: lambda m, x, y, r: r[:, :1]})
    refused("give a rule's name", network, x, target, rules={Own2: 3})


# ---- ends of networks


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


# ---- shipped networks


def shipped():
    for info in pkgutil.iter_modules(heschl.models.__path__):
        module = importlib.import_module(f"heschl.models.{info.name}")
        for name, kind in vars(module).items():
            if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == module.__name__:
                if hasattr(kind, "example"):
                    yield pytest.param(kind, kind.example, id=name)
                elif name in ("KWS", "FrameGRU"):
                    yield pytest.param(kind, ((40, 60), 12), id=name)


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
    (slope,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), x)
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
