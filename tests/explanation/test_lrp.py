"""lrp at its borders: batches, chunks, silence, bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lrp_helpers import NETWORKS, net_and_clips, refused
from lrp_networks import STACKED, build
from torch import nn

from heschl.explanation.lrp import PRESETS, lrp, lrp_report, relevance


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
    for chunk, word in ((3, "1 clip at once"), (None, "1 clip at once"), (4, "2 clips at once")):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert torch.allclose(lrp(network, x, target, chunk=chunk), wanted)
        assert [str(one.message) for one in said] == [f"memory ran out: went on with {word}"]  # said once


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


class Halved(nn.Module):
    """A network that computes in bfloat16 by itself."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.network(x)


@pytest.mark.filterwarnings("ignore:the first layer is recurrent")
@pytest.mark.parametrize(
    "name", ["waveform network", "spectrogram network", "GRU deep, both ways", "attention"]
)
def test_a_network_that_halves_its_own_precision_is_followed_in_full(name):
    network, x = build(NETWORKS[name], clips=2)
    network, x, target = network.float(), x.float(), torch.tensor([0, 1])
    assert Halved(network)(x).dtype == torch.bfloat16
    with pytest.warns(UserWarning, match="half precision is too coarse") as told:
        found = lrp(Halved(network).eval(), x, target)
    assert torch.equal(found, lrp(network, x, target))
    assert len([one for one in told if "half precision" in str(one.message)]) == 1


@pytest.mark.parametrize("preset", ["epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box"])
def test_what_a_clip_of_zeros_would_get_has_a_line(preset):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).double().eval()
    x, target = torch.randn(3, 1, 6).double(), torch.tensor([0, 1, 0])
    x[1] = 0
    given, layers = lrp_report(network, x, target, preset, low=-1.0, high=2.0, chunk=1)
    lost = sum(layer.bias + layer.epsilon + layer.stopped for layer in layers)
    assert float(given.sum()) + lost == pytest.approx(layers[0].relevance_in, abs=1e-9)
    assert float(given.sum()) == pytest.approx(layers[-1].relevance_out, abs=1e-9)
    assert (layers[-1].name == "x") == (preset != "epsilon_plus") and not given[1].any()
    assert all(layer.name != "x" for layer in lrp_report(network, x[::2], target[::2], preset)[1])
