"""What lrp does not know is refused by name; what torch can write in two ways is the same; rules of one's own."""

from __future__ import annotations

import pytest
import torch
from lrp_helpers import Calls, calls_like, net_and_clips, refused
from lrp_networks import OTHERS, build
from torch import nn
from torch.nn import functional as F

from heschl.explanation.lrp import Own, Rule, lrp, lrp_report


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
        (torch.rsqrt, "`rsqrt` that nothing is multiplied with"),
        (lambda x: torch.addmm(x.new_ones(4), x, x.new_ones(4, 4), beta=2), "`addmm` with beta"),
        (lambda x: torch.var_mean(x, -1, True, True)[0], "`var_mean` with its options in order"),
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


def standardised_by_rsqrt(x):
    variance, mean = torch.var_mean(x, dim=-1, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + 1e-5)


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
        (lambda x: torch.stack([x, x - x.square()]).amax(0), lambda x: x),
        (lambda x: torch.stack([x, x + x.square()]).amin(0, keepdim=True)[0], lambda x: x),
        (lambda x: torch.cat([x[:, :1], x[:, 1:]], 1), lambda x: x.reshape(-1, 2, 2).flatten(1)),
        (
            lambda x: torch.einsum("bi,ij->bj", x, torch.ones(4, 4).double()),
            lambda x: x @ torch.ones(4, 4).double(),
        ),
        (lambda x: torch.tensordot(x, torch.ones(4, 4).double(), 1), lambda x: x @ torch.ones(4, 4).double()),
        (
            lambda x: torch.stack([torch.mv(torch.ones(4, 4).double(), clip) for clip in x]),
            lambda x: x @ torch.ones(4, 4).double(),
        ),
        (
            lambda x: torch.diff(x, prepend=torch.zeros_like(x[:, :1])),
            lambda x: x - F.pad(x[:, :-1], (1, 0)),
        ),
        (lambda x: F.fold(x[..., None], (2, 2), (2, 2)).flatten(1), lambda x: x),
        (standardised_by_rsqrt, lambda x: (x - x.mean(-1, True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()),
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


@pytest.mark.slow
def test_a_compiled_network_is_followed_as_it_was_written():
    network, x, target = net_and_clips(2)
    wanted = lrp(network, x, target)
    assert torch.equal(lrp(torch.compile(network, backend="eager"), x, target), wanted)
    network.compile(backend="eager")
    network(x)
    assert torch.equal(lrp(network, x, target), wanted)


class OnComplex(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5, dtype=torch.complex128))

    def forward(self, x):
        return F.linear(torch.fft.rfft(x), self.weight).abs()


def test_weights_on_complex_numbers_take_epsilon_only():
    x, target = torch.randn(2, 8).double(), torch.tensor([0, 1])
    given = lrp(OnComplex().eval(), x, target, "epsilon")
    assert given.abs().sum() > 0
    refused("weights on complex numbers under flat", OnComplex().eval(), x, target, "epsilon_plus_flat")


def test_the_meta_device_holds_no_numbers():
    network, x, target = net_and_clips(2)
    refused("x is on the meta device", network, x.to("meta"), target)
    refused("the weights '0.weight' are on the meta device", network.to("meta"), x, target)


def test_lazy_layers_without_weights_are_told_in_a_sentence():
    refused(
        "are not there yet", nn.Sequential(nn.LazyLinear(3)).eval(), torch.randn(2, 4), torch.tensor([0, 1])
    )


def test_constants_in_the_shape_of_a_signal_are_constants():
    scale, mask = nn.Parameter(torch.rand(4).double() + 0.5), torch.tensor([1.0, 0, 1, 1]).double()
    bent = Calls(lambda x: x * mask.expand_as(x) * scale.expand_as(x) + scale.type_as(x).expand_as(x))
    plain = calls_like(bent, lambda x: F.linear(x, torch.diag(mask * scale.detach()), scale.detach()))
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
    wanted = lrp(calls_like(network, lambda x: 2 * x), x, target)
    for rule in ("identity", "gradient", lambda module, x, y, r: x / y * 2 * r, Own(lambda m, x, y, r: r)):
        assert torch.allclose(lrp(network, x, target, rules={Own2: rule}), wanted, rtol=1e-4)
        assert torch.allclose(lrp(network, x, target, rules={"function": rule}), wanted, rtol=1e-4)
    _, layers = lrp_report(network, x, target, rules={Own2: lambda m, x, y, r: r})
    assert ("function", "own") in [layer[:2] for layer in layers]


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
