"""Small networks, one for each kind of layer; those that torch has no module for say how the oracle sees them."""

from __future__ import annotations

import lrp_oracle as oracle
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from heschl.explanation.lrp.own import Add
from heschl.models.spatial import SpatialAttention


class Swap(nn.Module):
    """(batch, a, b) -> (batch, b, a)."""

    def forward(self, x):
        return x.transpose(1, 2)

    def oracle(self, x):
        return x.T, lambda r, *_: r.T


class Recurrent(nn.Module):
    """nn.LSTM or nn.GRU over x (batch, time, in): all its states."""

    recurs = True

    def __init__(self, kind, *args, **options):
        super().__init__()
        self.rnn = kind(*args, batch_first=True, **options)

    def forward(self, x):
        return self.rnn(x)[0]

    def oracle(self, x):
        return oracle.recurrent(self.rnn, x)


class LastState(Recurrent):
    """The same, but the last hidden states that torch gives apart: (batch, layer * direction * hidden)."""

    def forward(self, x):
        return (
            self.rnn(x)[1].transpose(0, 1).flatten(1)
            if isinstance(self.rnn, nn.GRU)
            else self.rnn(x)[1][0][-1]
        )

    def oracle(self, x):
        y, back = oracle.recurrent(self.rnn, x)

        def last(r, *_):
            whole = np.zeros_like(y)
            whole[-1] = r
            return back(whole)

        return y[-1], last


class Cells(nn.Module):
    """nn.LSTMCell or nn.GRUCell in a loop of the network's own, over x (batch, time, in)."""

    recurs = True

    def __init__(self, kind, inputs, hidden):
        super().__init__()
        self.cell = kind(inputs, hidden)

    def forward(self, x):
        state, outs = None, []
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
            outs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outs, 1)

    def oracle(self, x):
        w = [
            oracle.numpy(p)
            for p in (self.cell.weight_ih, self.cell.weight_hh, self.cell.bias_ih, self.cell.bias_hh)
        ]
        return oracle.cells_of(self.cell)(x, *w)


class Handed(nn.Module):
    """The first steps of x (batch, time, in) make the state and cell with which a second LSTM begins the rest."""

    recurs = True

    def __init__(self, inputs, hidden):
        super().__init__()
        self.first, self.second = (nn.LSTM(inputs, hidden, batch_first=True) for _ in range(2))

    def forward(self, x):
        return self.second(x[:, 3:], self.first(x[:, :3])[1])[0]

    def oracle(self, x):
        (w, v) = ([oracle.numpy(p) for p in rnn.parameters()] for rnn in (self.first, self.second))
        ys, back_first = oracle.lstm(x[:3], *w)
        y, back = oracle.lstm(x[3:], *v, begin=(ys[-1], back_first.cell))

        def whole(r, *_):
            later = back(r)
            on_state, on_cell = back.begun
            on_first = np.zeros_like(ys)
            on_first[-1] = on_state
            return np.concatenate([back_first(on_first, on_cell), later])

        return y, whole


class Attention(nn.Module):
    """Self-attention over x (batch, time, feature)."""

    recurs = True

    def __init__(self, width, heads):
        super().__init__()
        self.mha = nn.MultiheadAttention(width, heads, batch_first=True)
        nn.init.normal_(self.mha.in_proj_bias, std=0.3)
        nn.init.normal_(self.mha.out_proj.bias, std=0.3)

    def forward(self, x):
        return self.mha(x, x, x)[0]

    def oracle(self, x):
        return oracle.attention(self.mha, x)


class CausalAttention(Attention):
    """No step sees a later one."""

    def forward(self, x):
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.mha(x, x, x, attn_mask=later, need_weights=False)[0]

    def oracle(self, x):
        y, back = oracle.attend(self.mha, x, x, x, np.triu(np.ones((len(x), len(x)), bool), 1))
        return y, lambda r, *_: sum(back(r))


class CrossAttention(nn.Module):
    """The first two steps ask, the others answer, save the last, which is padding; keys and values are cut narrower."""

    recurs = True

    def __init__(self, width, heads):
        super().__init__()
        self.mha = nn.MultiheadAttention(
            width, heads, bias=False, kdim=width - 1, vdim=width - 2, batch_first=True
        )

    def forward(self, x):
        rest = x[:, 2:]
        padding = torch.zeros(rest.shape[:2], dtype=torch.bool)
        padding[:, -1] = True
        return self.mha(x[:, :2], rest[..., 1:], rest[..., 2:], key_padding_mask=padding)[0]

    def oracle(self, x):
        hidden = np.zeros((2, len(x) - 2), bool)
        hidden[:, -1] = True
        y, back = oracle.attend(self.mha, x[:2], x[2:, 1:], x[2:, 2:], hidden)

        def whole(r, *_):
            given = np.zeros_like(x)
            given[:2], given[2:, 1:] = back(r)[0], back(r)[1]
            given[2:, 2:] += back(r)[2]
            return given

        return y, whole


class AttentionByHand(Attention):
    """The same weights, written with linear, matmul and softmax; fused: with torch's own function."""

    fused = False

    def forward(self, x):
        heads = self.mha.num_heads
        w, b = self.mha.in_proj_weight.chunk(3), self.mha.in_proj_bias.chunk(3)
        q, k, v = (F.linear(x, w_, b_).unflatten(-1, (heads, -1)).transpose(1, 2) for w_, b_ in zip(w, b))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v
        return self.mha.out_proj(y.transpose(1, 2).flatten(2))


class FusedAttention(AttentionByHand):
    fused = True


class Residual(nn.Module):
    """relu(x + body(x)); in place: `y += x` and an in-place ReLU."""

    def __init__(self, *body, in_place=False):
        super().__init__()
        self.body, self.in_place = nn.Sequential(*body), in_place

    def forward(self, x):
        y = self.body(x)
        if self.in_place:
            y += x
            return F.relu(y, inplace=True)
        return F.relu(x + y)

    def oracle(self, x):
        y, back_y = oracle.chain(list(self.body), x, lambda k, m: ("epsilon",))
        z = x + y

        def back(r, *_):
            on_x, on_y = np.zeros_like(z), np.zeros_like(z)
            for j in np.ndindex(z.shape):
                on_x[j] = x[j] / oracle.stab(z[j]) * r[j]
                on_y[j] = y[j] / oracle.stab(z[j]) * r[j]
            return on_x + back_y(on_y)

        return np.maximum(z, 0), back


class Squeeze(nn.Module):
    """x sigmoid(W relu(V mean(x))) for x (batch, channel, time)."""

    def __init__(self, channels):
        super().__init__()
        self.squeeze, self.excite = nn.Linear(channels, 2), nn.Linear(2, channels)

    def forward(self, x):
        level = self.excite(F.relu(self.squeeze(x.mean(-1))))
        return x * torch.sigmoid(level)[..., None]

    def oracle(self, x):
        w, v = (oracle.numpy(m.weight) for m in (self.excite, self.squeeze))
        b, c = (oracle.numpy(m.bias) for m in (self.excite, self.squeeze))
        level = oracle.sigmoid(w @ np.maximum(v @ x.mean(1) + c, 0) + b)
        return x * level[:, None], lambda r, *_: r


class AttentivePool(nn.Module):
    """sum_t softmax_t(score(x)) x for x (batch, channel, time): weights are constants."""

    def __init__(self, channels):
        super().__init__()
        self.score = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        return (torch.softmax(torch.tanh(self.score(x)), -1) * x).sum(-1)

    def oracle(self, x):
        score = np.tanh(oracle.numpy(self.score.weight)[:, :, 0] @ x + oracle.numpy(self.score.bias)[:, None])
        weight = np.exp(score) / np.exp(score).sum(1, keepdims=True)
        terms = weight * x
        y = terms.sum(1)

        def back(r, *_):
            given = np.zeros_like(x)
            for c, t in np.ndindex(x.shape):
                given[c, t] = terms[c, t] / oracle.stab(y[c]) * r[c]
            return given

        return y, back


class Power(nn.Module):
    """|STFT|^2 of x (batch, 1, time); by: torch.stft, frames and rfft, or two convolutions with fixed sines."""

    def __init__(self, n, hop, by="stft"):
        super().__init__()
        self.n, self.hop, self.by = n, hop, by
        self.register_buffer("window", torch.hann_window(n, dtype=torch.float64))
        places = torch.arange(n, dtype=torch.float64)
        phase = 2 * torch.pi * places[: n // 2 + 1, None] * places / n
        self.register_buffer("sines", (torch.cat([phase.cos(), -phase.sin()]) * self.window)[:, None])

    def forward(self, x):
        if self.by == "stft":
            z = torch.stft(x[:, 0], self.n, self.hop, window=self.window, center=False, return_complex=True)
            return z.abs() ** 2
        if self.by == "rfft":
            z = torch.fft.rfft(x[:, 0].unfold(-1, self.n, self.hop) * self.window).transpose(1, 2)
            return z.real**2 + z.imag.square()
        z = F.conv1d(x, self.sines, stride=self.hop)
        re, im = z.chunk(2, 1)
        return re * re + im * im

    def oracle(self, x):
        return oracle.power_spectrum(x, self.n, self.hop, oracle.numpy(self.window))


class Magnitude(Power):
    """|STFT| of x (batch, 1, time), frames centred, with the reflected ends that torch puts there."""

    def forward(self, x):
        return torch.stft(
            x[:, 0], self.n, self.hop, window=self.window, center=True, return_complex=True
        ).abs()

    def oracle(self, x):
        size, half = x.shape[1], self.n // 2
        places = [oracle.inside(t, size, "reflect") for t in range(-half, size + half)]
        p, back = super().oracle(x[:, places])

        def folded(r, *_):
            given, wide = np.zeros_like(x), back(r)
            for k, place in enumerate(places):
                given[0, place] += wide[0, k]
            return given

        return np.sqrt(p), folded


class Decibels(nn.Module):
    def forward(self, p):
        return 20 * torch.log10(p.clamp_min(1e-3))

    def oracle(self, p):
        return 20 * np.log10(np.maximum(p, 1e-3)), lambda r, *_: r


class Places(nn.Module):
    """heschl's spatial attention of x (batch, sensor, time) at places of its own, one sensor without any."""

    def __init__(self, virtual, sensors):
        super().__init__()
        self.mix = SpatialAttention(virtual, 8)
        self.register_buffer("places", torch.rand(sensors, 2))

    @property
    def at(self):
        return torch.cat([self.places[:1], torch.full_like(self.places[:1], torch.nan), self.places[2:]])

    def forward(self, x):
        return self.mix(x, self.at.expand(len(x), -1, -1))

    def oracle(self, x):
        heads, at = oracle.numpy(self.mix.heads), oracle.numpy(self.at)
        edges = {}
        for v in range(len(heads)):
            score = {}
            for s, place in enumerate(at):
                if np.isnan(place).any():
                    continue
                waves = [
                    2 * np.pi * (k @ (place + 0.2)) / 1.4 for k in np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
                ]
                score[s] = heads[v] @ np.concatenate([np.cos(waves), np.sin(waves)])
            whole = sum(np.exp(value) for value in score.values())
            for t in range(x.shape[1]):
                edges[v, t] = [((s, t), np.exp(value) / whole) for s, value in score.items()]
        y, back = oracle.by_edges(x, edges, {}, (len(heads), x.shape[1]))
        return y, lambda r, *_: back(r)


class Three(nn.Module):
    """a + b - c of three layers, by heschl's module for sums, with a weight before it."""

    def __init__(self, *layers):
        super().__init__()
        self.layers, self.add = nn.ModuleList(layers), Add()

    def forward(self, x):
        a, b, c = (layer(x) for layer in self.layers)
        return self.add(a, 0.5 * b, -c)

    def oracle(self, x):
        (a, on_a), (b, on_b), (c, on_c) = (oracle.layer(layer, x) for layer in self.layers)
        first = a + 0.5 * b  # two by two, in the order in which they are added
        z = first - c

        def back(r, *_):
            left, right = (np.vectorize(oracle.stab)(t) for t in (z, first))
            on_first = first / left * r
            return on_a(a / right * on_first) + on_b(0.5 * b / right * on_first) + on_c(-c / left * r)

        return z, back


class LogMel(nn.Module):
    """log(M p + 0.01) of a power spectrum p (batch, frequency, frame)."""

    def __init__(self, bins, bands):
        super().__init__()
        self.register_buffer(
            "mel", torch.rand(bands, bins, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        )

    def forward(self, p):
        return torch.log(self.mel @ p + 0.01)

    def oracle(self, p):
        m = oracle.numpy(self.mel)
        z, back = oracle.dense(p.T, m, np.zeros(len(m)))
        y = z.T + 0.01
        return np.log(y), lambda r, *_: back((r * z.T / np.vectorize(oracle.stab)(y)).T).T


class Glu(nn.Module):
    """Gated linear unit over channels."""

    def forward(self, x):
        return F.glu(x, 1)

    def oracle(self, x):
        a, b = np.split(x, 2)
        return a * oracle.sigmoid(b), lambda r, *_: np.concatenate([r, np.zeros_like(r)])


def head(n, outputs=3):
    return [nn.Flatten(), nn.Linear(n, outputs)]


def bn(kind, channels):
    """A BatchNorm that has seen something."""
    norm = kind(channels)
    nn.init.uniform_(norm.weight, -1.5, 1.5)
    nn.init.normal_(norm.bias)
    return bn_of(norm)


def bn_of(norm):
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.3, 2)
    return norm


def norm_of(module):
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    return module


# name: (layers, shape of a clip)
WEIGHTED = {
    "dense": lambda: ([nn.Linear(6, 5), *head(5)], (6,)),
    "dense without bias": lambda: ([nn.Linear(6, 5, bias=False), *head(5)], (6,)),
    "dense over steps": lambda: ([nn.Linear(3, 4), *head(16)], (4, 3)),
    "dense, BatchNorm": lambda: ([nn.Linear(6, 5), bn(nn.BatchNorm1d, 5), *head(5)], (6,)),
    "conv1d": lambda: ([nn.Conv1d(2, 3, 3), *head(18)], (2, 8)),
    "conv1d strided, padded": lambda: ([nn.Conv1d(2, 4, 3, 2, 1), *head(20)], (2, 9)),
    "conv1d grouped, dilated": lambda: (
        [nn.Conv1d(4, 6, 2, dilation=3, groups=2, padding=1), *head(36)],
        (4, 7),
    ),
    "conv1d, one input": lambda: ([nn.Conv1d(1, 5, 4, stride=3, padding=2, dilation=2), *head(20)], (1, 12)),
    "conv1d same": lambda: ([nn.Conv1d(2, 4, 4, padding="same"), *head(28)], (2, 7)),
    "conv1d same, odd": lambda: ([nn.Conv1d(2, 4, 3, padding="same", dilation=2), *head(28)], (2, 7)),
    "conv1d, BatchNorm": lambda: ([nn.Conv1d(2, 3, 3, padding=1), bn(nn.BatchNorm1d, 3), *head(24)], (2, 8)),
    "depthwise": lambda: ([nn.Conv1d(3, 3, 3, padding=1, groups=3), nn.Conv1d(3, 4, 1), *head(20)], (3, 5)),
    "conv2d": lambda: ([nn.Conv2d(2, 3, (2, 3)), *head(24)], (2, 3, 6)),
    "conv2d strided, padded": lambda: ([nn.Conv2d(1, 4, 3, (2, 1), (1, 2), (1, 2)), *head(40)], (1, 4, 5)),
    "conv2d grouped": lambda: ([nn.Conv2d(4, 4, 2, groups=2, bias=False), *head(24)], (4, 3, 4)),
    "conv2d, BatchNorm": lambda: (
        [nn.Conv2d(1, 2, 3, padding=1), bn(nn.BatchNorm2d, 2), *head(24)],
        (1, 3, 4),
    ),
    "conv1d reflected": lambda: (
        [nn.Conv1d(2, 3, 3, 2, padding=2, padding_mode="reflect"), *head(15)],
        (2, 7),
    ),
    "conv1d repeated, dilated": lambda: (
        [nn.Conv1d(2, 3, 3, padding=2, dilation=2, padding_mode="replicate"), *head(15)],
        (2, 5),
    ),
    "conv2d round": lambda: ([nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), *head(24)], (1, 3, 4)),
    "conv2d same, dilated": lambda: (
        [nn.Conv2d(1, 2, (2, 3), padding="same", dilation=(1, 2)), *head(40)],
        (1, 4, 5),
    ),
    "conv2d grouped, BatchNorm": lambda: (
        [nn.Conv2d(2, 4, 2, groups=2, bias=False), bn(nn.BatchNorm2d, 4), *head(24)],
        (2, 3, 4),
    ),
    "conv3d": lambda: ([nn.Conv3d(1, 2, 2, (1, 2, 1), (0, 1, 0)), *head(24)], (1, 3, 3, 4)),
    "transposed 2d": lambda: (
        [nn.ConvTranspose2d(2, 4, (2, 3), (2, 1), (1, 0), (1, 0), 2), *head(48)],
        (2, 2, 2),
    ),
    "transposed 2d, BatchNorm": lambda: (
        [nn.ConvTranspose2d(2, 2, 2, 2), bn(nn.BatchNorm2d, 2), *head(32)],
        (2, 2, 2),
    ),
    "transposed": lambda: ([nn.ConvTranspose1d(3, 2, 3, stride=2, padding=1), *head(14)], (3, 4)),
    "transposed, BatchNorm": lambda: (
        [nn.ConvTranspose1d(3, 2, 2), bn(nn.BatchNorm1d, 2), *head(10)],
        (3, 4),
    ),
}
OTHERS = {
    "BatchNorm first": lambda: ([bn(nn.BatchNorm1d, 2), nn.Conv1d(2, 3, 3, padding=1), *head(18)], (2, 6)),
    "BatchNorm after ReLU": lambda: (
        [nn.Conv1d(2, 3, 3), nn.ReLU(), bn(nn.BatchNorm1d, 3), nn.Conv1d(3, 2, 2), *head(6)],
        (2, 6),
    ),
    "BatchNorm after BatchNorm": lambda: (
        [
            nn.Conv1d(2, 3, 3),
            bn(nn.BatchNorm1d, 3),
            bn(nn.BatchNorm1d, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(12, 4),
            bn(nn.BatchNorm1d, 4),
            bn(nn.BatchNorm1d, 4),
            nn.Linear(4, 3),
        ],
        (2, 6),
    ),
    "max pool": lambda: (
        [nn.Conv1d(1, 2, 2), nn.ReLU(), nn.MaxPool1d(3, 2, 1, ceil_mode=True), *head(8)],
        (1, 8),
    ),
    "max pool 2d": lambda: ([nn.Conv2d(1, 2, 2), nn.MaxPool2d(3, 2, ceil_mode=True), *head(12)], (1, 6, 7)),
    "average pool": lambda: ([nn.AvgPool1d(3, 2, 1, ceil_mode=True), nn.Conv1d(1, 2, 2), *head(8)], (1, 8)),
    "average pool 2d": lambda: (
        [nn.Conv2d(1, 2, 2), nn.AvgPool2d((2, 3), 2, ceil_mode=True), *head(12)],
        (1, 5, 7),
    ),
    "adaptive": lambda: (
        [nn.Conv1d(1, 2, 2), nn.AdaptiveAvgPool1d(3), nn.AdaptiveMaxPool1d(2), *head(4)],
        (1, 9),
    ),
    "adaptive 2d": lambda: (
        [nn.Conv2d(1, 2, 2), nn.AdaptiveAvgPool2d((2, 3)), nn.AdaptiveMaxPool2d(2), *head(8)],
        (1, 5, 8),
    ),
    "activations": lambda: (
        [
            nn.Linear(5, 5),
            nn.GELU(),
            nn.Linear(5, 5),
            nn.SiLU(),
            nn.Dropout(),
            nn.Linear(5, 5),
            nn.Tanh(),
            nn.Linear(5, 5),
            nn.Sigmoid(),
            nn.Linear(5, 5),
            nn.LeakyReLU(),
            nn.Identity(),
            nn.Linear(5, 3),
        ],
        (5,),
    ),
    "average pool that counts no padding": lambda: (
        [nn.Conv1d(1, 2, 2), nn.AvgPool1d(3, 2, 1, count_include_pad=False), *head(8)],
        (1, 8),
    ),
    "average pool by a number of one's own": lambda: (
        [nn.Conv2d(1, 2, 2), nn.AvgPool2d(2, padding=1, divisor_override=3), *head(18)],
        (1, 5, 6),
    ),
    "max pool dilated": lambda: (
        [nn.Conv2d(1, 2, 2), nn.MaxPool2d(2, 1, 1, dilation=2), *head(48)],
        (1, 5, 7),
    ),
    "BatchNorm 2d after a pool": lambda: (
        [nn.Conv2d(1, 2, 2), nn.MaxPool2d(2), bn(nn.BatchNorm2d, 2), nn.ReLU(), *head(8)],
        (1, 5, 5),
    ),
    "BatchNorm without weights": lambda: (
        [nn.ReLU(), bn_of(nn.BatchNorm1d(2, affine=False)), nn.Conv1d(2, 3, 3, padding=1), *head(18)],
        (2, 6),
    ),
    "InstanceNorm": lambda: (
        [nn.Conv1d(2, 3, 2), norm_of(nn.InstanceNorm1d(3, affine=True)), nn.SiLU(), *head(12)],
        (2, 5),
    ),
    "RMSNorm": lambda: ([nn.Linear(4, 5), nn.RMSNorm(5, eps=1e-5), nn.GELU(), *head(15)], (3, 4)),
    "LayerNorm without weights": lambda: (
        [nn.Linear(4, 5), nn.LayerNorm(5, elementwise_affine=False), *head(15)],
        (3, 4),
    ),
    "separable 2d": lambda: (
        [
            nn.Conv2d(2, 4, 3, padding=1, groups=2, bias=False),
            bn(nn.BatchNorm2d, 4),
            nn.SiLU(),
            nn.Conv2d(4, 5, 1, bias=False),
            bn(nn.BatchNorm2d, 5),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            *head(5),
        ],
        (2, 3, 4),
    ),
    "three terms": lambda: (
        [
            nn.Linear(5, 5),
            nn.ReLU(),
            Three(nn.Linear(5, 4), nn.Linear(5, 4, bias=False), nn.Linear(5, 4)),
            *head(4),
        ],
        (5,),
    ),
    "spatial attention": lambda: ([Places(3, 5), nn.Conv1d(3, 2, 2), *head(6)], (5, 4)),
    "STFT in decibels, centred": lambda: ([Magnitude(8, 4), Decibels(), *head(30)], (1, 20)),
    "LayerNorm": lambda: ([nn.Linear(4, 5), norm_of(nn.LayerNorm(5)), nn.GELU(), *head(15)], (3, 4)),
    "LayerNorm over two": lambda: ([norm_of(nn.LayerNorm([3, 4])), *head(12)], (3, 4)),
    "GroupNorm": lambda: ([nn.Conv1d(2, 4, 2), norm_of(nn.GroupNorm(2, 4)), nn.SiLU(), *head(16)], (2, 5)),
    "LSTM": lambda: ([Recurrent(nn.LSTM, 3, 4), *head(20)], (5, 3)),
    "LSTM deep, both ways": lambda: ([Recurrent(nn.LSTM, 3, 2, 2, bidirectional=True), *head(16)], (4, 3)),
    "LSTM without bias": lambda: ([Recurrent(nn.LSTM, 3, 4, bias=False), *head(20)], (5, 3)),
    "LSTM's last state": lambda: ([LastState(nn.LSTM, 3, 4, 2), nn.Linear(4, 3)], (5, 3)),
    "GRU": lambda: ([Recurrent(nn.GRU, 3, 4), *head(20)], (5, 3)),
    "GRU deep, both ways": lambda: ([Recurrent(nn.GRU, 3, 2, 2, bidirectional=True), *head(16)], (4, 3)),
    "GRU without bias": lambda: ([Recurrent(nn.GRU, 3, 4, bias=False), *head(20)], (5, 3)),
    "plain recurrence": lambda: ([Recurrent(nn.RNN, 3, 4), *head(20)], (5, 3)),
    "plain recurrence with ReLU, deep, both ways": lambda: (
        [Recurrent(nn.RNN, 3, 2, 2, nonlinearity="relu", bidirectional=True), *head(16)],
        (4, 3),
    ),
    "plain cells": lambda: ([Cells(nn.RNNCell, 3, 4), *head(20)], (5, 3)),
    "LSTM that begins where another ended": lambda: ([Handed(3, 4), *head(8)], (5, 3)),
    "GRU's last state": lambda: ([LastState(nn.GRU, 3, 4), nn.Linear(4, 3)], (5, 3)),
    "LSTM cells": lambda: ([Cells(nn.LSTMCell, 3, 4), *head(20)], (5, 3)),
    "GRU cells": lambda: ([Cells(nn.GRUCell, 3, 4), *head(20)], (5, 3)),
    "attention": lambda: ([Attention(4, 2), *head(12)], (3, 4)),
    "attention that sees no later step": lambda: (
        [nn.Linear(4, 4), CausalAttention(4, 2), *head(16)],
        (4, 4),
    ),
    "attention across, padded, without bias": lambda: (
        [nn.Linear(4, 4), CrossAttention(4, 2), *head(8)],
        (6, 4),
    ),
    "attention by hand": lambda: ([nn.Linear(4, 4), AttentionByHand(4, 2), *head(12)], (3, 4)),
    "attention fused": lambda: ([nn.Linear(4, 4), FusedAttention(4, 2), *head(12)], (3, 4)),
    "residual": lambda: ([nn.Linear(5, 5), Residual(nn.Linear(5, 5), nn.Tanh()), *head(5)], (5,)),
    "residual in place": lambda: (
        [nn.Linear(5, 5), Residual(nn.Linear(5, 5), nn.Tanh(), in_place=True), *head(5)],
        (5,),
    ),
    "squeeze and excite": lambda: ([Squeeze(3), *head(12)], (3, 4)),
    "attentive pool": lambda: ([AttentivePool(3), nn.Linear(3, 3)], (3, 5)),
    "gated linear unit": lambda: ([nn.Conv1d(2, 4, 1), Glu(), *head(10)], (2, 5)),
    "STFT": lambda: ([Power(8, 4), *head(20)], (1, 20)),
    "STFT by rfft": lambda: ([Power(8, 4, "rfft"), *head(20)], (1, 20)),
    "STFT by convolution": lambda: ([Power(8, 4, "conv"), *head(20)], (1, 20)),
    "log-mel": lambda: ([Power(8, 4), LogMel(5, 3), *head(12)], (1, 20)),
}
STACKED = {
    "spectrogram network": lambda: (
        [
            nn.Conv2d(1, 4, 3, 2),
            bn(nn.BatchNorm2d, 4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 2, groups=2),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            *head(8, 6),
            nn.ReLU(),
            nn.Linear(6, 3),
        ],
        (1, 8, 9),
    ),
    "waveform network": lambda: (
        [
            nn.Conv1d(1, 3, 4, 2),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(3, 4, 3, padding=2, dilation=2),
            nn.GELU(),
            nn.AvgPool1d(2, ceil_mode=True),
            bn(nn.BatchNorm1d, 4),
            *head(16),
        ],
        (1, 30),
    ),
    "convolution, recurrence, attention": lambda: (
        [
            nn.Conv1d(3, 4, 3, padding=1),
            bn(nn.BatchNorm1d, 4),
            nn.ReLU(),
            Swap(),
            Recurrent(nn.GRU, 4, 2, bidirectional=True),
            Recurrent(nn.LSTM, 4, 4),
            norm_of(nn.LayerNorm(4)),
            Attention(4, 2),
            Residual(nn.Linear(4, 4)),
            *head(20),
        ],
        (3, 5),
    ),
    "from the waveform": lambda: (
        [
            Power(8, 4),
            LogMel(5, 4),
            nn.Conv1d(4, 3, 2),
            bn(nn.BatchNorm1d, 3),
            nn.ReLU(),
            Squeeze(3),
            AttentivePool(3),
            nn.Linear(3, 3),
        ],
        (1, 24),
    ),
}


def build(make, seed=0, clips=2):
    """The network in double precision and eval mode, and clips for it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers, shape = make()
        network = nn.Sequential(*layers).double().eval()
        for p in network.parameters():
            p.requires_grad_(False)
        x = torch.randn(clips, *shape, dtype=torch.float64)
    return network, x
