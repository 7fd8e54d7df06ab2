"""LRP by explicit messages, in numpy and double precision, one clip at a time, written apart from heschl's.

Every layer is a list of connections (input i, output j, weight w): each message from j to i is computed alone, in a
loop, and summed. Nothing here imports heschl; forward passes are numpy's too.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from torch import nn

EPS = 1e-6


def stab(z: float) -> float:
    return z + EPS if z >= 0 else z - EPS


def numpy(t) -> np.ndarray:
    return t.detach().double().numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# ---- rules: messages of one output j among its inputs


def messages(rule, xs, ws, b, r, lows, highs):
    """R_{i<-j} for one j: inputs xs, weights ws (equally long lists), bias b, relevance r."""
    name, *numbers = rule if isinstance(rule, tuple) else (rule,)
    if name == "epsilon":
        z = b + sum(x * w for x, w in zip(xs, ws))
        return [x * w / stab(z) * r for x, w in zip(xs, ws)]
    if name == "gamma":
        ws = [w + numbers[0] * max(w, 0) for w in ws]
        z = b + sum(x * w for x, w in zip(xs, ws))
        return [x * w / stab(z) * r for x, w in zip(xs, ws)]
    if name == "zplus":
        return messages(("alphabeta", 1.0, 0.0), xs, ws, b, r, lows, highs)
    if name == "alphabeta":
        alpha, beta = numbers
        z_plus = max(b, 0) + sum(max(x * w, 0) for x, w in zip(xs, ws))
        z_minus = min(b, 0) + sum(min(x * w, 0) for x, w in zip(xs, ws))
        return [
            (alpha * max(x * w, 0) / stab(z_plus) - beta * min(x * w, 0) / stab(z_minus)) * r
            for x, w in zip(xs, ws)
        ]
    if name == "flat":
        return [1 / stab(len(xs)) * r for _ in xs]
    if name == "w2":
        return [w * w / stab(sum(v * v for v in ws)) * r for w in ws]
    assert name == "zbox"
    ms = [x * w - lo * max(w, 0) - hi * min(w, 0) for x, w, lo, hi in zip(xs, ws, lows, highs)]
    return [m / stab(sum(ms)) * r for m in ms]


def spread(x, edges, bias, relevance, rule="epsilon", low=None, high=None):
    """Relevance of x (any shape) of a layer with edges {j: [(i, w), ...]} and bias {j: b}; indices are tuples."""
    low = np.full_like(x, x.min()) if low is None else low
    high = np.full_like(x, x.max()) if high is None else high
    given = np.zeros_like(x)
    for j, links in edges.items():
        xs, ws = [x[i] for i, _ in links], [w for _, w in links]
        lows, highs = [low[i] for i, _ in links], [high[i] for i, _ in links]
        for (i, _), m in zip(links, messages(rule, xs, ws, bias.get(j, 0.0), relevance[j], lows, highs)):
            given[i] += m
    return given


def run(x, edges, bias, shape):
    y = np.zeros(shape)
    for j, links in edges.items():
        y[j] = bias.get(j, 0.0) + sum(x[i] * w for i, w in links)
    return y


# ---- layers: each gives (y, back) for x; back(relevance, rule, low, high) -> relevance of x


def by_edges(x, edges, bias, shape):
    y = run(x, edges, bias, shape)
    return y, lambda r, rule="epsilon", low=None, high=None: spread(x, edges, bias, r, rule, low, high)


def dense(x, w, b):
    edges, bias = {}, {}
    for lead in itertools.product(*map(range, x.shape[:-1])):
        for j in range(len(w)):
            edges[(*lead, j)] = [((*lead, i), w[j, i]) for i in range(w.shape[1])]
            bias[(*lead, j)] = b[j]
    return by_edges(x, edges, bias, (*x.shape[:-1], len(w)))


def inside(at, size, mode):
    """Which true place a padded place copies; None where it is a zero."""
    if 0 <= at < size:
        return at
    if mode == "reflect":
        return -at if at < 0 else 2 * (size - 1) - at
    return {"zeros": None, "replicate": min(max(at, 0), size - 1), "circular": at % size}[mode]


def conv(x, w, b, stride, padding, dilation, groups, mode="zeros"):
    """x (in, *size), w (out, in / groups, *kernel)."""
    size, kernel = x.shape[1:], w.shape[2:]
    n = len(size)
    if padding == "same":
        left = [d * (k - 1) // 2 for d, k in zip(dilation, kernel)]
        out_size = size
    else:
        left = padding
        out_size = tuple(
            (s + 2 * p - d * (k - 1) - 1) // t + 1
            for s, p, d, k, t in zip(size, padding, dilation, kernel, stride)
        )
    per_in, per_out = w.shape[1], w.shape[0] // groups
    edges, bias = {}, {}
    for o in range(w.shape[0]):
        for place in itertools.product(*map(range, out_size)):
            links = []
            for c in range(per_in):
                for tap in itertools.product(*map(range, kernel)):
                    at = tuple(place[k] * stride[k] - left[k] + tap[k] * dilation[k] for k in range(n))
                    at = tuple(inside(a, s, mode) for a, s in zip(at, size))
                    if None not in at:
                        links.append(((o // per_out * per_in + c, *at), w[(o, c, *tap)]))
            edges[(o, *place)] = links
            bias[(o, *place)] = b[o]
    return by_edges(x, edges, bias, (w.shape[0], *out_size))


def conv_transposed(x, w, b, stride, padding, output_padding, dilation, groups):
    """x (in, *size), w (in, out / groups, *kernel)."""
    per_out, per_in, n = w.shape[1], w.shape[0] // groups, x.ndim - 1
    size = tuple(
        (s - 1) * t - 2 * p + d * (k - 1) + o + 1
        for s, t, p, d, k, o in zip(x.shape[1:], stride, padding, dilation, w.shape[2:], output_padding)
    )
    edges = {(o, *at): [] for o in range(per_out * groups) for at in np.ndindex(size)}
    for c, o in itertools.product(range(w.shape[0]), range(per_out)):
        for place in np.ndindex(x.shape[1:]):
            for tap in np.ndindex(w.shape[2:]):
                at = tuple(place[k] * stride[k] - padding[k] + tap[k] * dilation[k] for k in range(n))
                if all(0 <= t < s for t, s in zip(at, size)):
                    edges[(c // per_in * per_out + o, *at)].append(((c, *place), w[(c, o, *tap)]))
    return by_edges(x, edges, {j: b[j[0]] for j in edges}, (per_out * groups, *size))


def pool_windows(size, kernel, stride, padding, ceil, dilation=1):
    """The true places of each window along one axis, and how many it counts with its padding."""
    kernel = dilation * (kernel - 1) + 1
    up = -(-(size + 2 * padding - kernel) // stride) if ceil else (size + 2 * padding - kernel) // stride
    count = up + 1
    if ceil and (count - 1) * stride >= size + padding:
        count -= 1
    out = []
    for j in range(count):
        first = j * stride - padding
        places = [a for a in range(first, first + kernel, dilation) if 0 <= a < size]
        out.append((places, min(first + kernel, size + padding) - first))
    return out


def windows_2(x, kernel, stride, padding, ceil, dilation):
    axes = [pool_windows(*axis, ceil, d) for *axis, d in zip(x.shape[1:], kernel, stride, padding, dilation)]
    for c in range(x.shape[0]):
        for place in itertools.product(*(range(len(a)) for a in axes)):
            picked = [axes[k][place[k]] for k in range(len(axes))]
            yield (
                (c, *place),
                [(c, *at) for at in itertools.product(*(p for p, _ in picked))],
                math.prod(n for _, n in picked),
            )


def max_pool(x, kernel, stride, padding, ceil, dilation):
    winners = {}
    for j, places, _ in windows_2(x, kernel, stride, padding, ceil, dilation):
        best = places[0]
        for i in places:  # the first winner: a later equal one does not take it
            if x[i] > x[best]:
                best = i
        winners[j] = best
    shape = tuple(np.max(list(winners), axis=0) + 1)
    return by_edges(x, {j: [(i, 1.0)] for j, i in winners.items()}, {}, shape)[0], lambda r, *_: winner(
        x, winners, r
    )


def winner(x, winners, r):
    given = np.zeros_like(x)
    for j, i in winners.items():
        given[i] += r[j]
    return given


def avg_pool(x, kernel, stride, padding, ceil, padded=True, divisor=None):
    edges = {}
    for j, places, count in windows_2(x, kernel, stride, padding, ceil, (1,) * len(kernel)):
        edges[j] = [(i, 1 / (divisor or (count if padded else len(places)))) for i in places]
    y, back = by_edges(x, edges, {}, tuple(np.max(list(edges), axis=0) + 1))
    return y, lambda r, *_: back(r)


def adaptive(x, sizes, kind):
    edges = {}
    for c in range(x.shape[0]):
        for place in itertools.product(*map(range, sizes)):
            spans = [range(p * n // s, -(-(p + 1) * n // s)) for p, n, s in zip(place, x.shape[1:], sizes)]
            edges[(c, *place)] = [(c, *at) for at in itertools.product(*spans)]
    if kind == "mean":
        y, back = by_edges(
            x, {j: [(i, 1 / len(v)) for i in v] for j, v in edges.items()}, {}, (x.shape[0], *sizes)
        )
        return y, lambda r, *_: back(r)
    winners = {j: max(v, key=lambda i: x[i]) for j, v in edges.items()}
    y, _ = by_edges(x, {j: [(i, 1.0)] for j, i in winners.items()}, {}, (x.shape[0], *sizes))
    return y, lambda r, *_: winner(x, winners, r)


def diagonal(x, a, c):
    """Channel-wise a x + c, channels first."""
    edges = {j: [(j, a[j[0]])] for j in np.ndindex(x.shape)}
    y, back = by_edges(x, edges, {j: c[j[0]] for j in edges}, x.shape)
    return y, lambda r, *_: back(r)


def standardise(x, groups, weight, bias, eps):
    """groups: list of lists of indices that share mean and deviation; weight, bias functions of the index."""
    edges, offset = {}, {}
    for group in groups:
        values = np.array([x[i] for i in group])
        deviation = math.sqrt(((values - values.mean()) ** 2).mean() + eps)
        for j in group:
            edges[j] = [(i, weight(j) / deviation * ((i == j) - 1 / len(group))) for i in group]
            offset[j] = bias(j)
    y, back = by_edges(x, edges, offset, x.shape)
    return y, lambda r, *_: back(r)


def activation(x, f):
    return f(x), lambda r, *_: r


def recurrent(module, x):
    """x (time, in) through an nn.LSTM or nn.GRU, layer by layer, direction by direction, step by step."""
    backs = []
    ways = 2 if module.bidirectional else 1
    for layer in range(module.num_layers):
        outs, layer_backs = [], []
        for way in range(ways):
            end = f"l{layer}" + ("_reverse" if way else "")
            w, u = numpy(getattr(module, f"weight_ih_{end}")), numpy(getattr(module, f"weight_hh_{end}"))
            b = c = np.zeros(len(w))
            if module.bias:
                b, c = numpy(getattr(module, f"bias_ih_{end}")), numpy(getattr(module, f"bias_hh_{end}"))
            y, back = cells_of(module)(x[::-1] if way else x, w, u, b, c)
            outs.append(y[::-1] if way else y)
            layer_backs.append(back)
        x = np.concatenate(outs, 1)
        backs.append(layer_backs)

    def back(r, *_):
        for layer_backs in reversed(backs):
            parts = np.split(r, len(layer_backs), 1)
            given = 0
            for way, one in enumerate(layer_backs):
                part = one(parts[way][::-1] if way else parts[way])
                given = given + (part[::-1] if way else part)
            r = given
        return r

    return x, back


def cells_of(module):
    """The loop over time of a module or cell of torch."""
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        return lstm
    if isinstance(module, nn.GRU | nn.GRUCell):
        return gru
    bend = np.tanh if module.nonlinearity == "tanh" else lambda z: np.maximum(z, 0)
    return lambda *given: plain_rnn(*given, bend)


def plain_rnn(x, w, u, b, c, bend):
    h, kept, ys = np.zeros(len(u)), [], []
    for step in x:
        z = w @ step + b + u @ h + c
        kept.append((h, z))
        h = bend(z)
        ys.append(h)

    def back(r):
        given, to_h = np.zeros_like(x), np.zeros(len(u))
        for t in reversed(range(len(x))):
            h, z = kept[t]
            next_h = np.zeros(len(u))
            for j in range(len(u)):
                on_z = r[t, j] + to_h[j]
                for k in range(x.shape[1]):
                    given[t, k] += x[t, k] * w[j, k] / stab(z[j]) * on_z
                for k in range(len(u)):
                    next_h[k] += h[k] * u[j, k] / stab(z[j]) * on_z
            to_h = next_h
        return given

    return np.array(ys), back


def lstm(x, w, u, b, c, begin=None):
    """begin: (state, cell) before the first step. back(r, on_cell) also takes relevance of the last cell, and leaves that of
    the first state and cell in `back.begun`."""
    n, steps = u.shape[1], len(x)
    h, cell = (np.zeros(n), np.zeros(n)) if begin is None else begin
    kept, ys = [], []
    for t in range(steps):
        z = w @ x[t] + b + u @ h + c
        i, f, o = sigmoid(z[:n]), sigmoid(z[n : 2 * n]), sigmoid(z[3 * n :])
        g = z[2 * n : 3 * n]
        new = f * cell + i * np.tanh(g)
        kept.append((h, cell, i, f, g, new))
        cell, h = new, o * np.tanh(new)
        ys.append(h)

    def back(r, on_last_cell=None):
        given, to_h, to_c = np.zeros_like(x), np.zeros(n), np.zeros(n)
        to_c = to_c if on_last_cell is None else on_last_cell
        for t in reversed(range(steps)):
            h, cell, i, f, g, new = kept[t]
            next_h, next_c = np.zeros(n), np.zeros(n)
            for j in range(n):
                on_cell = r[t, j] + to_h[j] + to_c[j]  # the output gate takes nothing
                next_c[j] = f[j] * cell[j] / stab(new[j]) * on_cell
                on_g = i[j] * np.tanh(g[j]) / stab(new[j]) * on_cell
                for k in range(x.shape[1]):
                    given[t, k] += x[t, k] * w[2 * n + j, k] / stab(g[j]) * on_g
                for k in range(n):
                    next_h[k] += h[k] * u[2 * n + j, k] / stab(g[j]) * on_g
            to_h, to_c = next_h, next_c
        back.begun = to_h, to_c
        return given

    back.cell = cell

    return np.array(ys), back


def gru(x, w, u, b, c):
    n, steps = u.shape[1], len(x)
    h, kept, ys = np.zeros(n), [], []
    for t in range(steps):
        a, m = w @ x[t] + b, u @ h + c
        reset, keep = sigmoid(a[:n] + m[:n]), sigmoid(a[n : 2 * n] + m[n : 2 * n])
        z = a[2 * n :] + reset * m[2 * n :]
        y = (1 - keep) * np.tanh(z) + keep * h
        kept.append((h, reset, keep, z, y))
        h = y
        ys.append(y)

    def back(r):
        given, to_h = np.zeros_like(x), np.zeros(n)
        for t in reversed(range(steps)):
            h, reset, keep, z, y = kept[t]
            next_h = np.zeros(n)
            for j in range(n):
                on_y = r[t, j] + to_h[j]
                next_h[j] += keep[j] * h[j] / stab(y[j]) * on_y
                on_z = (1 - keep[j]) * np.tanh(z[j]) / stab(y[j]) * on_y
                for k in range(x.shape[1]):
                    given[t, k] += x[t, k] * w[2 * n + j, k] / stab(z[j]) * on_z
                for k in range(n):
                    next_h[k] += reset[j] * u[2 * n + j, k] * h[k] / stab(z[j]) * on_z
            to_h = next_h
        return given

    return np.array(ys), back


def attention(module, x):
    """Self-attention of x (time, feature), weights constant."""
    y, back = attend(module, x, x, x)
    return y, lambda r, *_: sum(back(r))


def attend(module, query, key, value, hidden=None, halves=False):
    """Attention head by head; back gives relevance of query, key and value (time, feature).

    hidden: (query, key) true where a key may not be seen. halves: AttnLRP (Achtibat et al. 2024, eq. 13 and 15), else weights
    are constants.
    """
    heads, width = module.num_heads, module.embed_dim // module.num_heads
    if module.in_proj_weight is None:
        ws = [numpy(getattr(module, f"{n}_proj_weight")) for n in "qkv"]
    else:
        ws = np.split(numpy(module.in_proj_weight), 3)
    bs = (
        np.zeros((3, module.embed_dim))
        if module.in_proj_bias is None
        else np.split(numpy(module.in_proj_bias), 3)
    )
    (q, back_q), (k, back_k), (v, back_v) = (dense(*given) for given in zip((query, key, value), ws, bs))
    mixed, kept = np.zeros_like(q), []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        raw = np.array([[q[t, part] @ k[s, part] for s in range(len(k))] for t in range(len(q))])
        scores = raw / math.sqrt(width)
        if hidden is not None:
            scores[hidden] = -np.inf
        weights = np.exp(scores - scores.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        kept.append((raw, scores, weights))
        mixed[:, part] = weights @ v[:, part]
    b = np.zeros(len(mixed[0])) if module.out_proj.bias is None else numpy(module.out_proj.bias)
    y, back_out = dense(mixed, numpy(module.out_proj.weight), b)

    def back(r):
        r_mixed, share = back_out(r), 2 if halves else 1
        on_q, on_k, on_v = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
        for head, (raw, scores, weights) in enumerate(kept):
            on_weight = np.zeros_like(weights)
            dims = range(head * width, (head + 1) * width)
            for d, t, s in itertools.product(dims, range(len(q)), range(len(k))):
                message = weights[t, s] * v[s, d] / stab(share * mixed[t, d]) * r_mixed[t, d]
                on_v[s, d] += message
                on_weight[t, s] += message
            for t, s in np.ndindex(weights.shape):
                if not halves or weights[t, s] == 0:
                    continue
                on_score = scores[t, s] * (on_weight[t, s] - weights[t, s] * on_weight[t].sum())
                for d in dims:
                    message = q[t, d] * k[s, d] / stab(2 * raw[t, s]) * on_score
                    on_q[t, d] += message
                    on_k[s, d] += message
        return [back_one(on) for back_one, on in ((back_q, on_q), (back_k, on_k), (back_v, on_v))]

    return y, back


def power_spectrum(x, n, hop, window):
    """x (1, time) -> (frequency, frame) |STFT|^2 without padding, frame by frame."""
    frames, bins = (x.shape[1] - n) // hop + 1, n // 2 + 1
    y = np.zeros((bins, frames))
    parts = {}
    for t in range(frames):
        for f in range(bins):
            for name, wave in (("re", math.cos), ("im", lambda a: -math.sin(a))):
                taps = [window[m] * wave(2 * math.pi * f * m / n) for m in range(n)]
                value = sum(x[0, t * hop + m] * taps[m] for m in range(n))
                parts[f, t, name] = (taps, value)
                y[f, t] += value**2

    def back(r, *_):
        given = np.zeros_like(x)
        for (f, t, _), (taps, value) in parts.items():
            on_part = value**2 / stab(y[f, t]) * r[f, t]
            for m, tap in enumerate(taps):
                given[0, t * hop + m] += x[0, t * hop + m] * tap / stab(value) * on_part
        return given

    return y, back


# ---- whole networks


PRESETS = {
    "epsilon": {"convolution": "epsilon"},
    "epsilon_plus": {"convolution": "zplus"},
    "epsilon_plus_flat": {"first": "flat", "convolution": "zplus"},
    "epsilon_gamma_box": {"first": "zbox", "convolution": ("gamma", 0.25)},
    "epsilon_alpha2beta1": {"convolution": ("alphabeta", 2.0, 1.0)},
}
SHAPE = {
    nn.ReLU: lambda x: np.maximum(x, 0),
    nn.Tanh: np.tanh,
    nn.Sigmoid: sigmoid,
    nn.SiLU: lambda x: x * sigmoid(x),
    nn.GELU: lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    nn.LeakyReLU: lambda x: np.where(x > 0, x, 0.01 * x),
}


WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def pair(v, n):
    return (v,) * n if isinstance(v, int) else tuple(v)


def layer(module, x, norm=None):
    """(y, back) of a torch module for one clip x, with the BatchNorm that follows it directly fused."""
    own = getattr(module, "oracle", None)
    if own is not None:
        return own(x)
    if isinstance(module, WEIGHTED):
        w = numpy(module.weight)
        outs = module.out_features if isinstance(module, nn.Linear) else module.out_channels
        b = np.zeros(outs) if module.bias is None else numpy(module.bias)
        if norm is not None:
            a, c = scale_and_shift(norm)
            if module.__class__.__name__.startswith("ConvTranspose"):
                assert module.groups == 1
                w = w * a.reshape(1, -1, *(1,) * (w.ndim - 2))
            else:
                w = w * a.reshape(-1, *(1,) * (w.ndim - 1))
            b = a * b + c
        if isinstance(module, nn.Linear):
            return dense(x, w, b)
        at = module.stride, module.padding
        if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d):
            return conv_transposed(x, w, b, *at, module.output_padding, module.dilation, module.groups)
        return conv(x, w, b, *at, module.dilation, module.groups, module.padding_mode)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return diagonal(x, *scale_and_shift(module))
    if isinstance(module, nn.LayerNorm):
        axes = len(module.normalized_shape)
        groups = [
            [(*lead, *rest) for rest in np.ndindex(x.shape[x.ndim - axes :])]
            for lead in np.ndindex(x.shape[: x.ndim - axes])
        ]
        if not module.elementwise_affine:
            return standardise(x, groups, lambda j: 1.0, lambda j: 0.0, module.eps)
        w, b = numpy(module.weight), numpy(module.bias)
        return standardise(x, groups, lambda j: w[j[-axes:]], lambda j: b[j[-axes:]], module.eps)
    if isinstance(module, nn.InstanceNorm1d):
        groups = [[(c, t) for t in range(x.shape[1])] for c in range(len(x))]
        w, b = numpy(module.weight), numpy(module.bias)
        return standardise(x, groups, lambda j: w[j[0]], lambda j: b[j[0]], module.eps)
    if isinstance(module, nn.RMSNorm):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + module.eps) * numpy(
            module.weight
        ), lambda r, *_: r
    if isinstance(module, nn.GroupNorm):
        each = x.shape[0] // module.num_groups
        groups = [[j for j in np.ndindex(x.shape) if j[0] // each == g] for g in range(module.num_groups)]
        w, b = numpy(module.weight), numpy(module.bias)
        return standardise(x, groups, lambda j: w[j[0]], lambda j: b[j[0]], module.eps)
    n = x.ndim - 1
    if isinstance(module, nn.MaxPool1d | nn.MaxPool2d):
        window = (pair(v, n) for v in (module.kernel_size, module.stride, module.padding))
        return max_pool(x, *window, module.ceil_mode, pair(module.dilation, n))
    if isinstance(module, nn.AvgPool1d | nn.AvgPool2d):
        window = (pair(v, n) for v in (module.kernel_size, module.stride, module.padding))
        divisor = getattr(module, "divisor_override", None)
        return avg_pool(x, *window, module.ceil_mode, module.count_include_pad, divisor)
    if isinstance(module, nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d):
        return adaptive(x, pair(module.output_size, n), "mean")
    if isinstance(module, nn.AdaptiveMaxPool1d | nn.AdaptiveMaxPool2d):
        return adaptive(x, pair(module.output_size, n), "max")
    if isinstance(module, nn.Flatten):
        return x.reshape(-1), lambda r, *_: r.reshape(x.shape)
    if isinstance(module, nn.Dropout | nn.Identity):
        return x, lambda r, *_: r
    return activation(x, SHAPE[type(module)])


def scale_and_shift(norm):
    a = 1 / np.sqrt(numpy(norm.running_var) + norm.eps)
    if norm.affine:
        a = a * numpy(norm.weight)
        return a, numpy(norm.bias) - numpy(norm.running_mean) * a
    return a, -numpy(norm.running_mean) * a


def chain(modules, x, rule_of, fuse=True):
    """Forward through a list of modules: (y, back)."""
    backs, k = [], 0
    while k < len(modules):
        module, norm, rule = modules[k], None, ()
        if isinstance(module, WEIGHTED):
            rule = rule_of(k, module)
            after = modules[k + 1] if k + 1 < len(modules) else None
            if fuse and isinstance(after, nn.BatchNorm1d | nn.BatchNorm2d):
                norm = after
        y, back = layer(module, x, norm)
        backs.append((back, rule, x))
        x = y
        k += 1 if norm is None else 2

    def whole(r):
        for back, rule, before in reversed(backs):
            r = back(r, *rule) if rule else back(r)
            assert r.shape == before.shape
        return r

    return x, whole


def explain(network, x, target, preset="epsilon", rules=None, start="logit", low=None, high=None, fuse=True):
    """Relevance of x (one clip) of an nn.Sequential; rules {index: rule} over the preset."""
    modules, chosen = list(network), PRESETS[preset]
    first = next(
        (k for k, m in enumerate(modules) if isinstance(m, WEIGHTED) or getattr(m, "recurs", False)), None
    )

    def rule_of(k, module):
        rule = "epsilon"
        if not isinstance(module, nn.Linear):
            rule = chosen["convolution"]
        if k == first:
            rule = chosen.get("first", rule)
        rule = (rules or {}).get(k, rule)
        if rule == "zbox":
            before = layer_input(
                modules[:k], x
            )  # a mere rearrangement of the clip has the clip's own extremes
            lo = before.min() if low is None else low
            hi = before.max() if high is None else high
            return rule, np.full_like(before, lo), np.full_like(before, hi)
        return (rule,)

    y, back = chain(modules, x, rule_of, fuse)
    r = np.zeros_like(y)
    r[target] = 1.0 if start == "one" else y[target]
    if start == "contrast":
        other = max((v, k) for k, v in enumerate(y) if k != target)[1]
        r[other] = -y[other]
    return back(r)


def layer_input(modules, x):
    for module in modules:
        x = layer(module, x)[0]
    return x
