"""LRP against messages written out in numpy: every connection of every layer as one entry of a matrix."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from heschl.explanation.lrp import lrp, lrp_report

PRESETS = {  # the rule of the first layer (None: as the others), of convolutions, of dense layers
    "epsilon": (None, "epsilon", "epsilon"),
    "epsilon_plus": (None, "zplus", "epsilon"),
    "epsilon_plus_flat": ("flat", "zplus", "epsilon"),
    "epsilon_gamma_box": ("zbox", "gamma", "epsilon"),
    "epsilon_alpha2beta1": (None, "alpha2beta1", "epsilon"),
}


@pytest.fixture(autouse=True)
def double():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def stab(z: np.ndarray) -> np.ndarray:
    return z + 1e-6 * np.where(z >= 0, 1, -1)


def dense(layer: nn.Module, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """An affine layer as matrix (output, input) and bias (output,), one input at a time."""
    size = int(np.prod(shape))
    with torch.no_grad():
        b = layer(torch.zeros(1, *shape)).numpy().ravel()
        w = layer(torch.eye(size).reshape(size, *shape)).flatten(1).numpy().T - b[:, None]
    return np.where(np.abs(w) < 1e-15, 0, w), b


def connected(layer: nn.Module, shape: tuple[int, ...]) -> np.ndarray:
    """1 where an input reaches an output."""
    bare: Any = copy.deepcopy(layer)
    with torch.no_grad():
        bare.weight.fill_(1.0)
        if bare.bias is not None:
            bare.bias.zero_()
    return dense(bare, shape)[0]


def spread(rule: str, w: np.ndarray, b: np.ndarray, x: np.ndarray, r: np.ndarray, **more: Any) -> np.ndarray:
    parts = w * x  # (output, input): the contributions
    above, below = np.maximum(parts, 0), np.minimum(parts, 0)

    def shared(m: np.ndarray, bias: Any, of: np.ndarray) -> np.ndarray:
        return (m / stab(m.sum(1) + bias)[:, None] * of[:, None]).sum(0)

    if rule == "epsilon":
        return shared(parts, b, r)
    if rule == "gamma":
        return shared((w + 0.25 * np.maximum(w, 0)) * x, b, r)
    if rule == "zplus":
        return shared(above, np.maximum(b, 0), r)
    if rule == "alpha2beta1":
        return shared(above, np.maximum(b, 0), 2 * r) - shared(below, np.minimum(b, 0), r)
    if rule == "flat":
        return shared(more["connected"], 0, r)
    low, high = more["box"]
    return shared(parts - np.maximum(w, 0) * low - np.minimum(w, 0) * high, 0, r)


def first_winners(pool: Any, x: torch.Tensor, r: np.ndarray) -> np.ndarray:
    """Max pooling: the first of the highest in each window takes all."""
    a, axes = x.numpy()[0], x.ndim - 2
    k, s = ((v,) * axes if isinstance(v, int) else v for v in (pool.kernel_size, pool.stride))
    out = np.zeros_like(a)
    r = r.reshape(pool(x).shape[1:])
    for index in np.ndindex(*r.shape):
        places = [
            (index[0], *(p * step + q for p, step, q in zip(index[1:], s, offset)))
            for offset in np.ndindex(*k)
        ]
        places = [p for p in places if all(v < size for v, size in zip(p, a.shape))]
        out[max(places, key=lambda p: a[p])] += r[index]  # `max` keeps the first
    return out.ravel()


def walk(layers: list[nn.Module], x: torch.Tensor, target: int, preset: str, start: str) -> np.ndarray:
    """Relevance of one clip, layer by layer."""
    first, convolution, rest = PRESETS[preset]
    acts = [x]
    for layer in layers:
        acts.append(layer(acts[-1]).detach())
    logits = acts[-1].numpy().ravel()
    r = np.zeros_like(logits)
    r[target] = 1 if start == "one" else logits[target]
    if start == "contrast":
        best = np.where(np.arange(len(logits)) == target, -np.inf, logits).argmax()
        r[best] = -logits[best]
    weighted = (nn.Conv1d, nn.Conv2d, nn.Linear)
    lowest = next(k for k, layer in enumerate(layers) if isinstance(layer, weighted))
    box = float(x.min()), float(x.max())
    k = len(layers) - 1
    while k >= 0:
        layer: Any = layers[k]
        norm = layer if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) else None
        if norm is not None and k and isinstance(layers[k - 1], weighted):
            k -= 1
            layer = layers[k]
        shape, inside = tuple(acts[k].shape[1:]), acts[k].numpy().ravel()
        if isinstance(layer, weighted):
            rule = rest if isinstance(layer, nn.Linear) else convolution
            if k == lowest and first:
                rule = first
            w, b = dense(layer if norm is None else nn.Sequential(layer, norm).eval(), shape)
            r = spread(rule, w, b, inside, r, connected=connected(layer, shape), box=box)
        elif norm is not None:  # alone: a diagonal affine layer
            gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
            shift = (norm.bias - norm.running_mean * gain).detach()
            wide = (1, -1) + (1,) * (acts[k].ndim - 2)
            part = (acts[k] * gain.reshape(wide)).numpy()
            r = (part / stab(part + shift.reshape(wide).numpy())).ravel() * r
        elif isinstance(layer, nn.MaxPool1d | nn.MaxPool2d):
            r = first_winners(layer, acts[k], r)
        elif isinstance(layer, nn.AvgPool1d | nn.AvgPool2d | nn.AdaptiveAvgPool2d):
            r = spread("epsilon", *dense(layer, shape), inside, r)
        k -= 1
    return r.reshape(x.shape[1:])


def norm(channels: int, axes: int = 1) -> nn.Module:
    layer = (nn.BatchNorm1d, nn.BatchNorm2d)[axes - 1](channels)
    with torch.no_grad():
        for tensor in (layer.running_mean, layer.weight, layer.bias):
            tensor.normal_()
        layer.running_var.uniform_(0.5, 2)
    return layer


def networks() -> dict[str, tuple[list[nn.Module], tuple[int, ...]]]:
    torch.manual_seed(0)
    return {
        "wave": (
            [nn.Conv1d(2, 4, 3, 2, 1), nn.ReLU(), nn.MaxPool1d(3, 2), nn.Conv1d(4, 4, 3, 1, 2, 2, groups=2), norm(4),
             nn.ReLU(), nn.AvgPool1d(2, ceil_mode=True), nn.Flatten(), nn.Linear(12, 6), norm(6), nn.ReLU(),
             nn.Linear(6, 4)], (2, 24)),
        "picture": (
            [nn.Conv2d(1, 3, (3, 2), (2, 1), (1, 0)), norm(3, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, 1, 1),
             nn.ReLU(), nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3)], (1, 9, 8)),
        "norms": (
            [norm(2), nn.Conv1d(2, 3, 5, padding="same"), nn.ReLU(), norm(3), nn.Conv1d(3, 2, 1), nn.Tanh(),
             nn.Flatten(), nn.Linear(24, 3)], (2, 12)),
        "strided": (
            [nn.Conv2d(2, 3, 2, 2, bias=False), nn.ReLU(), nn.AvgPool2d(2, padding=1), nn.Conv2d(3, 3, 3, 1, 1),
             nn.ReLU(), nn.Flatten(), nn.Linear(27, 3)], (2, 9, 9)),
    }  # fmt: skip


# which extremes z-box has behind a BatchNorm is not in the definition: that pair is left out
PAIRS = [
    (n, p)
    for n in ("wave", "picture", "norms", "strided")
    for p in PRESETS
    if (n, p[-3:]) != ("norms", "box")
]


@pytest.mark.parametrize(("name", "preset"), PAIRS)
def test_presets_by_explicit_messages(name, preset):
    layers, shape = networks()[name]
    model = nn.Sequential(*layers).eval()
    x, target = torch.randn(2, *shape), torch.tensor([0, 2])
    x = x.relu() if name == "wave" else x  # zeros tie in the pooling
    for start in ("logit", "contrast", "one"):
        found, lines = lrp_report(model, x, target, preset, None, start)
        wanted = np.stack([walk(layers, x[k : k + 1], int(target[k]), preset, start) for k in range(2)])
        assert np.abs(found.numpy() - wanted).max() < 1e-9 * np.abs(wanted).max()
        assert torch.equal(found, lrp(model, x, target, preset, None, start))
        for line in lines:
            gone = line.relevance_out + line.bias + line.epsilon + line.stopped
            assert gone == pytest.approx(line.relevance_in, rel=1e-9, abs=1e-12)
        for above, under in itertools.pairwise(lines):
            assert under.relevance_in == pytest.approx(above.relevance_out, rel=1e-9, abs=1e-12)


def test_shares_of_bias_and_epsilon_in_closed_form():
    model = nn.Sequential(nn.Linear(3, 2))
    x, target = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([1])
    _, (line,) = lrp_report(model.eval(), x, target, "epsilon")
    z = float(model(x)[0, 1].detach())
    s = z / (z + np.copysign(1e-6, z))
    assert line.relevance_in == pytest.approx(z)
    assert line.bias == pytest.approx(float(model[0].bias[1].detach()) * s)
    assert line.epsilon == pytest.approx(np.copysign(1e-6, z) * s)


# --- recurrent layers and attention --------------------------------------------------------------------------


def sigmoid(v: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-v))


def linear(w: np.ndarray, b: Any, x: np.ndarray, r: np.ndarray) -> np.ndarray:
    return x * (w.T @ (r / stab(w @ x + b)))


def run(kind: str, x: np.ndarray, p: list[np.ndarray], r: np.ndarray | None = None) -> np.ndarray:
    """States (time, hidden) of one direction; or, of their relevance r, that of x, one step after the other."""
    w, u, b, c = p
    n = u.shape[1]
    h, cell, steps, states = np.zeros(n), np.zeros(n), [], []
    for v in x:
        if kind == "lstm":
            i, f, g, o = np.split(w @ v + b + u @ h + c, 4)
            new = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            steps.append((v, h, g, sigmoid(i) * np.tanh(g), sigmoid(f) * cell, new, 1.0))
            cell, h = new, sigmoid(o) * np.tanh(new)
        else:
            from_x, from_h = w @ v + b, u @ h + c
            reset, keep = (sigmoid(from_x[k : k + n] + from_h[k : k + n]) for k in (0, n))
            z = from_x[2 * n :] + reset * from_h[2 * n :]
            new = (1 - keep) * np.tanh(z) + keep * h
            steps.append((v, h, z, (1 - keep) * np.tanh(z), keep * h, new, reset))
            h = new
        states.append(h)
    if r is None:
        return np.array(states)
    w, u = w[2 * n : 3 * n], u[2 * n : 3 * n]
    out, by_state, by_cell = np.zeros_like(x), np.zeros(n), np.zeros(n)
    for t in reversed(range(len(x))):
        v, before, z, fresh, old, new, reset = steps[t]
        s = (r[t] + by_state + by_cell) / stab(new)
        ratio = s * fresh / stab(z)
        out[t] = v * (w.T @ ratio)
        by_state = before * (u.T @ (reset * ratio))
        by_cell = s * old
        if kind == "gru":
            by_state, by_cell = by_state + by_cell, np.zeros(n)
    return out


class Recurrent(nn.Module):
    def __init__(self, kind: str, layers: int, both: bool) -> None:
        super().__init__()
        self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](3, 4, layers, bidirectional=both, batch_first=True)
        self.out = nn.Linear(4 * (1 + both), 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.rnn(x)[0].mean(1))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_step_by_step(kind, both):
    torch.manual_seed(1)
    model = Recurrent(kind, 2, both).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(2)
    x, target = torch.randn(2, 6, 3), torch.tensor([1, 2])
    found = lrp(model, x, target, "epsilon").numpy()
    for clip in range(2):
        inputs, params = [x[clip].numpy()], []
        for layer in range(2):
            ends = [f"_l{layer}", f"_l{layer}_reverse"][: 1 + both]
            params.append(
                [
                    [getattr(model.rnn, f"{name}{end}").detach().numpy()
                     for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
                    for end in ends
                ]
            )  # fmt: skip
            ways = [run(kind, inputs[-1][:: 1 - 2 * k], p)[:: 1 - 2 * k] for k, p in enumerate(params[-1])]
            inputs.append(np.concatenate(ways, -1))
        last = inputs[-1].mean(0)
        w, b = model.out.weight.detach().numpy(), model.out.bias.detach().numpy()
        start = np.where(np.arange(3) == int(target[clip]), w @ last + b, 0)
        r = inputs[-1] / len(inputs[-1]) / stab(last) * linear(w, b, last, start)
        for layer in (1, 0):
            r = sum(
                run(kind, inputs[layer][:: 1 - 2 * k], p, r[:: 1 - 2 * k, 4 * k : 4 * k + 4])[:: 1 - 2 * k]
                for k, p in enumerate(params[layer])
            )
        assert np.abs(found[clip] - r).max() < 1e-9 * np.abs(r).max()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.dense, self.out = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        y = y + nn.functional.gelu(self.dense(y))
        return self.out(y.mean(1))


def test_attention_residuals_and_norms_by_hand():
    torch.manual_seed(2)
    model = Attention().eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn_like(tensor) * 0.5)
    x = torch.randn(1, 5, 8)
    held = {name: p.detach().numpy() for name, p in model.named_parameters()}
    a = x[0].numpy()
    w, b = held["attention.in_proj_weight"], held["attention.in_proj_bias"]
    q, k, v = (a @ w[i : i + 8].T + b[i : i + 8] for i in (0, 8, 16))
    heads, mixed = [slice(0, 4), slice(4, 8)], np.zeros((5, 8))
    weights = []
    for s in heads:
        scores = np.exp(q[:, s] @ k[:, s].T / 2)
        weights.append(scores / scores.sum(1, keepdims=True))
        mixed[:, s] = weights[-1] @ v[:, s]
    wo, bo = held["attention.out_proj.weight"], held["attention.out_proj.bias"]
    heard = mixed @ wo.T + bo
    y = a + heard
    deviation = np.sqrt(y.var(1, keepdims=True) + model.norm.eps)
    normed = (y - y.mean(1, keepdims=True)) / deviation * held["norm.weight"] + held["norm.bias"]
    active = nn.functional.gelu(torch.tensor(normed @ held["dense.weight"].T + held["dense.bias"])).numpy()
    both = normed + active
    pooled = both.mean(0)
    z = held["out.weight"] @ pooled + held["out.bias"]
    r = linear(held["out.weight"], held["out.bias"], pooled, np.where(np.arange(3) == 2, z, 0))
    r = both / 5 / stab(pooled) * r
    dense_in = [linear(held["dense.weight"], held["dense.bias"], normed[i], (active / stab(both) * r)[i]) for i in range(5)]  # fmt: skip
    r = normed / stab(both) * r + np.array(dense_in)
    centre = np.eye(8) - 1 / 8
    r = np.array([linear(np.diag(held["norm.weight"] / deviation[i]) @ centre, held["norm.bias"], y[i], r[i]) for i in range(5)])  # fmt: skip
    direct, through = a / stab(y) * r, heard / stab(y) * r
    through = np.array([linear(wo, bo, mixed[i], through[i]) for i in range(5)])
    values = np.zeros((5, 8))
    for head, s in zip(weights, heads):
        for d in range(s.start, s.stop):
            values[:, d] = linear(head, 0, v[:, d], through[:, d])
    wanted = direct + np.array([linear(w[16:], b[16:], a[i], values[i]) for i in range(5)])
    found = lrp(model, x, torch.tensor([2]), "epsilon")[0].numpy()
    assert np.abs(found - wanted).max() < 1e-9 * np.abs(wanted).max()
