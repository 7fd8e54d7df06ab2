"""lrp against explicit messages: every layer, every rule, alone and stacked; and wrong rules are caught."""

from __future__ import annotations

import lrp_oracle as oracle
import numpy as np
import pytest
import torch
from lrp_networks import OTHERS, STACKED, WEIGHTED, build
from torch import nn

from heschl.explanation.lrp import PRESETS, lrp, lrp_report, rules
from heschl.explanation.lrp import norms as lrp_norms
from heschl.explanation.lrp import recurrent as lrp_recurrent

RULES = {
    "epsilon": "epsilon",
    ("gamma", 0.25): ("gamma", 0.25),
    ("gamma", 2.0): ("gamma", 2.0),
    "zplus": "zplus",
    "alpha2beta1": ("alphabeta", 2.0, 1.0),
    "flat": "flat",
    "w2": "w2",
    "zbox": "zbox",
}
TARGET = torch.tensor([2, 0])


def error(network, x, target=TARGET, ours=None, theirs=None, **options):
    """The largest difference, relative to the largest relevance, over clips."""
    given = lrp(network, x, target, **options, **(ours or {})).numpy()
    worst = 0.0
    for k in range(len(x)):
        wanted = oracle.explain(network, x[k].numpy(), int(target[k]), **options, **(theirs or {}))
        assert np.abs(wanted).max() > 1e-9
        worst = max(worst, np.abs(given[k] - wanted).max() / np.abs(wanted).max())
    return worst


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", WEIGHTED)
def test_every_rule_on_every_layer_with_weights(name, rule):
    network, x = build(WEIGHTED[name])
    assert (
        error(network, x, preset="epsilon", ours={"rules": {"0": rule}}, theirs={"rules": {0: RULES[rule]}})
        < 1e-9
    )


@pytest.mark.filterwarnings("ignore:the first layer is recurrent")
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", [*OTHERS, *STACKED])
def test_every_preset_on_every_network(name, preset):
    network, x = build((OTHERS | STACKED)[name])
    assert error(network, x, preset=preset) < 1e-8


@pytest.mark.parametrize("seed", [0, 1, 3, 4, 5, 6])  # in 2 all units of one layer are shut
@pytest.mark.parametrize("name", [*STACKED, "separable 2d", "transposed 2d, BatchNorm"])
def test_any_rule_on_any_layer_of_a_stack(name, seed):
    """A rule drawn for each layer with weights, z-box and flat in the middle too."""
    network, x = build((STACKED | OTHERS | WEIGHTED)[name], seed)
    drawn, names = np.random.default_rng(seed), list(RULES)
    ours = {
        str(k): names[drawn.integers(len(names))]
        for k, layer in enumerate(network)
        if isinstance(layer, oracle.WEIGHTED)
    }
    theirs = {int(k): RULES[rule] for k, rule in ours.items()}
    assert error(network, x, preset="epsilon", ours={"rules": ours}, theirs={"rules": theirs}) < 1e-8


@pytest.mark.parametrize("start", ["logit", "one", "contrast"])
def test_where_relevance_begins(start):
    network, x = build(STACKED["spectrogram network"])
    assert error(network, x, preset="epsilon_plus", start=start) < 1e-9


def test_bounds_of_the_box_by_hand():
    network, x = build(WEIGHTED["conv2d strided, padded"])
    assert error(network, x, preset="epsilon_gamma_box", low=-4.0, high=5.0) < 1e-9
    own = {"low": torch.tensor([-4.0, -5.0]), "high": torch.tensor([6.0, 7.0])}
    both = lrp(network, x, TARGET, "epsilon_gamma_box", **own).numpy()
    for k in range(2):
        ends = {"low": float(own["low"][k]), "high": float(own["high"][k])}
        wanted = oracle.explain(network, x[k].numpy(), int(TARGET[k]), "epsilon_gamma_box", **ends)
        assert np.abs(both[k] - wanted).max() < 1e-9 * np.abs(wanted).max()


def test_single_precision_is_close():
    network, x = build(STACKED["waveform network"])
    wanted = lrp(network, x, TARGET, "epsilon_plus")
    given = lrp(network.float(), x.float(), TARGET, "epsilon_plus")
    assert given.dtype == torch.float32
    assert (given - wanted).abs().max() < 1e-3 * wanted.abs().max()


def test_first_of_equal_values_wins_a_pool():
    network = nn.Sequential(nn.MaxPool1d(4), nn.Flatten(), nn.Linear(1, 2)).eval()
    given = lrp(network, torch.tensor([[[1.0, 3.0, 3.0, 3.0]]]), torch.tensor([0]), start="one")
    assert (given[0, 0] != 0).tolist() == [False, True, False, False]


# ---- the same comparison catches rules that are wrong


def wrong(monkeypatch, fault):
    """Break heschl in one way."""
    right = dict(rules._RULES)
    if fault == "epsilon without bias":

        def broken(rule, layer, relevance):
            layer.z = layer.map.apply(layer.x, layer.w)
            return right["epsilon"](rule, layer, relevance)

        monkeypatch.setitem(rules._RULES, "epsilon", broken)
    elif fault == "z+ of weights, not of contributions":

        def broken(rule, layer, relevance):
            w = layer.w.clamp(min=0)
            z = layer.map.apply(layer.x, w) + (0 if layer.b is None else layer.b.clamp(min=0))
            return right["epsilon"](rule, rules.Affine(layer.map, layer.x, w, None, z), relevance)

        monkeypatch.setitem(rules._RULES, "zplus", broken)
    elif fault == "z+ with the whole bias":

        def broken(rule, layer, relevance):
            layer.b = None
            return right["zplus"](rule, layer, relevance)

        monkeypatch.setitem(rules._RULES, "zplus", broken)
    elif fault == "alpha and beta exchanged":

        def broken(rule, layer, relevance):
            return right["alphabeta"](rules.Rule("alphabeta", alpha=1.0, beta=0.0), layer, relevance)

        monkeypatch.setitem(rules._RULES, "alphabeta", broken)
    elif fault == "flat counts the padding":
        monkeypatch.setitem(rules._RULES, "flat", right["w2"])
    elif fault == "w2 without the square":
        monkeypatch.setitem(rules._RULES, "w2", right["flat"])
    elif fault == "box of one side":

        def broken(rule, layer, relevance):
            layer.box = (torch.zeros_like(layer.x), torch.zeros_like(layer.x))
            return right["zbox"](rule, layer, relevance)

        monkeypatch.setitem(rules._RULES, "zbox", broken)
    elif fault == "gamma forgotten":
        monkeypatch.setitem(rules._RULES, "gamma", right["epsilon"])
    elif fault == "a larger epsilon":
        monkeypatch.setattr(rules, "EPSILON", 1e-4)
    elif fault == "sign of zero":
        monkeypatch.setattr(rules, "stab", lambda z: torch.where(z > 0, z + 1e-6, z - 1e-6))
    elif fault == "BatchNorm is not fused":
        monkeypatch.setattr(lrp_norms, "_channels_lead", lambda layer, a: False)
    elif fault == "LSTM without its input gate":
        monkeypatch.setattr(lrp_recurrent, "stab", lambda z: 2 * z)


@pytest.mark.parametrize(
    ("fault", "name", "rule"),
    [
        ("epsilon without bias", "conv1d", "epsilon"),
        ("z+ of weights, not of contributions", "conv1d", "zplus"),
        ("z+ with the whole bias", "conv1d", "zplus"),
        ("alpha and beta exchanged", "conv2d", "alpha2beta1"),
        ("flat counts the padding", "conv1d strided, padded", "flat"),
        ("w2 without the square", "conv1d strided, padded", "w2"),
        ("box of one side", "conv2d", "zbox"),
        ("gamma forgotten", "dense", ("gamma", 0.25)),
        ("a larger epsilon", "dense", "epsilon"),
        ("BatchNorm is not fused", "conv1d, BatchNorm", "zplus"),
    ],
)
def test_a_wrong_rule_is_caught(monkeypatch, fault, name, rule):
    network, x = build(WEIGHTED[name])
    options = {"preset": "epsilon", "ours": {"rules": {"0": rule}}, "theirs": {"rules": {0: RULES[rule]}}}
    assert error(network, x, **options) < 1e-9
    wrong(monkeypatch, fault)
    assert error(network, x, **options) > 1e-6


def test_a_wrong_recurrence_is_caught(monkeypatch):
    network, x = build(OTHERS["LSTM"])
    wrong(monkeypatch, "LSTM without its input gate")
    assert error(network, x, preset="epsilon") > 1e-3


@pytest.mark.parametrize(
    "name", ["plain recurrence", "GRU without bias", "LSTM that begins where another ended", "plain cells"]
)
def test_another_wrong_recurrence_is_caught(monkeypatch, name):
    network, x = build(OTHERS[name])
    monkeypatch.setattr(lrp_recurrent, "stab", lambda z: 2 * z)
    assert error(network, x, preset="epsilon") > 1e-3


def test_a_mask_that_is_forgotten_is_caught(monkeypatch):
    from heschl.explanation.lrp import attention as lrp_attention

    monkeypatch.setattr(lrp_attention, "_joint_mask", lambda *given: None)
    for name in ("attention that sees no later step", "attention across, padded, without bias"):
        network, x = build(OTHERS[name])
        assert error(network, x, preset="epsilon") > 1e-3


def test_a_wrong_sign_of_zero_is_caught(monkeypatch):
    network = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 2)).double().eval()
    nn.init.ones_(network[0].weight)
    x = torch.tensor([[1e-7, -1e-7]], dtype=torch.float64)  # a sum of exactly zero
    given = lrp(network, x, torch.tensor([0]), start="one", rules={"1": "flat"})
    assert given[0, 0] > 0 > given[0, 1]
    wrong(monkeypatch, "sign of zero")
    assert lrp(network, x, torch.tensor([0]), start="one", rules={"1": "flat"})[0, 0] < 0


def test_conservation_alone_would_not_have_caught_a_missing_fusion(monkeypatch):
    network, x = build(WEIGHTED["conv1d, BatchNorm"])
    right = lrp(network, x, TARGET, "epsilon_plus")
    monkeypatch.setattr(lrp_norms, "_channels_lead", lambda layer, a: False)
    assert (lrp(network, x, TARGET, "epsilon_plus") - right).abs().max() > 0.05 * right.abs().max()


# ---- the report


@pytest.mark.filterwarnings("ignore:the first layer is recurrent")
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", [*OTHERS, *STACKED, *WEIGHTED])
def test_the_report_adds_up(name, preset):
    network, x = build((OTHERS | STACKED | WEIGHTED)[name])
    relevance, layers = lrp_report(network, x, TARGET, preset)
    assert torch.allclose(relevance, lrp(network, x, TARGET, preset), rtol=1e-9, atol=1e-12)
    begin = float(network(x).gather(1, TARGET[:, None]).sum())
    assert layers[0].relevance_in == pytest.approx(begin)
    lost = 0.0
    for layer in layers:
        gone = layer.bias + layer.epsilon + layer.stopped
        scale = max(1.0, abs(layer.relevance_in), abs(layer.relevance_out))
        assert layer.relevance_in == pytest.approx(layer.relevance_out + gone, abs=1e-9 * scale)
        lost += gone
    assert float(relevance.sum()) + lost == pytest.approx(begin, abs=1e-6)
