"""LSTM, GRU and plain recurrent layers: the signal takes all, gates nothing (Arras et al. 2017).

Linear maps of input and state together under epsilon, z = W x + b + U h + c, and so is each sum of an old and a
new state. Gates count as constants, tanh passes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from heschl.explanation.lrp.moves import move
from heschl.explanation.lrp.rules import stab, total
from heschl.explanation.lrp.signals import mark_of, plain, spelt
from heschl.explanation.lrp.tape import Tape

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def recurrent(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    """What nn.LSTM, nn.GRU and nn.RNN call: layer by layer, direction by direction."""
    name = spelt(func)
    if kwargs or isinstance(args[3], list | tuple):
        raise tape.refusal(f"`{name}` of a packed sequence", "give clips of one length, unpacked")
    x, hx, params, biased, layers, dropout, training, both, batch_first = args
    tape.only_epsilon("a recurrent layer")
    if training and dropout > 0:
        raise tape.refusal("dropout between recurrent layers in training", "call model.eval() first")
    each = 4 if biased else 2
    h0, c0 = hx if name == "lstm" else (hx, None)
    if h0.shape[-1] != params[1].shape[1] or len(params) != each * layers * (1 + both):
        raise tape.refusal("an LSTM with a projection", "leave proj_size at 0")
    if batch_first:
        x = move(tape, torch.transpose, (x, 0, 1), {})
    states, cells = [], []
    for layer in range(layers):
        outs = []
        for way in range(1 + both):
            k = layer * (1 + both) + way
            ours = [p.detach() for p in params[k * each : (k + 1) * each]]
            begin = [_item(tape, t, k) for t in (h0, c0) if t is not None]
            run = move(tape, torch.flip, (x, [0]), {}) if way else x
            out, *cell = sequence(tape, name, run, begin, ours)
            states.append(_item(tape, out, -1))
            cells += cell
            outs.append(move(tape, torch.flip, (out, [0]), {}) if way else out)
        x = move(tape, torch.cat, (outs, -1), {}) if both else outs[0]
    if batch_first:
        x = move(tape, torch.transpose, (x, 0, 1), {})
    last = move(tape, torch.stack, (states,), {})
    return (x, last, move(tape, torch.stack, (cells,), {})) if name == "lstm" else (x, last)


def _item(tape: Tape, t: Tensor, k: int) -> Tensor:
    return move(tape, torch.select, (t, 0, k), {}) if mark_of(t) else t.detach()[k]


def cell(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    """nn.LSTMCell, nn.GRUCell and nn.RNNCell: one step of a sequence."""
    if kwargs:
        raise tape.refusal(f"`{spelt(func)}` with keywords", "give its arguments in order")
    tape.only_epsilon("a recurrent layer")
    name = spelt(func).removesuffix("_cell")
    x, hx, *params = args
    begin = list(hx) if name == "lstm" else [hx]
    x = move(tape, torch.unsqueeze, (x, 0), {}) if mark_of(x) else x.detach()[None]
    out, *cells = sequence(tape, name, x, begin, [p.detach() for p in params if p is not None])
    out = _item(tape, out, 0)
    return (out, cells[0]) if name == "lstm" else out


def sequence(
    tape: Tape, name: str, x: Tensor, begin: list[Tensor], params: list[Tensor]
) -> tuple[Tensor, ...]:
    """One layer in one direction: x (time, batch, in), begin (batch, hidden) -> states (time, batch, hidden)."""
    w, u = params[:2]
    b, c = params[2:] if len(params) == 4 else (w.new_zeros(len(w)), w.new_zeros(len(w)))
    xs, start = plain(x), [plain(t) for t in begin]
    native = getattr(torch, name)
    hx = tuple(t[None] for t in start)
    with torch.no_grad():
        out, *last = native(
            xs, hx if name == "lstm" else hx[0], params, len(params) == 4, 1, 0.0, False, False, False
        )
    states = out.detach()
    value = (out, last[1][0]) if name == "lstm" else (out,)
    back = {"lstm": _lstm, "gru": _gru}.get(name, _plain)
    where = tape.where()

    def spread(*relevance: Tensor) -> tuple[Tensor, ...]:
        before = torch.cat([start[0][None], states[:-1]])
        given, bias, epsilon = back(xs, before, states, start, (w, u, b, c), relevance)
        passed = [r for r, t in zip(given, (x, *begin)) if mark_of(t)]
        if tape.counted:
            stopped = sum(total(r) for r, t in zip(given, (x, *begin)) if not mark_of(t))
            tape.count(where, "signal takes all", relevance, tuple(passed), bias, epsilon, stopped)
        return tuple(passed)

    signals = [t for t in (x, *begin) if mark_of(t)]
    return tape.emit(value, signals, spread, fresh=False)


Given = tuple[list[Tensor], float, float]


def _lstm(
    x: Tensor, before: Tensor, states: Tensor, start: list[Tensor], params: Args, relevance: Args
) -> Given:
    w, u, b, c = params
    z = x @ w.T + before @ u.T + b + c
    i, f, g, _ = z.chunk(4, -1)
    i, f, new = i.sigmoid(), f.sigmoid(), g.tanh()
    n = u.shape[1]
    w, u, b = w[2 * n : 3 * n], u[2 * n : 3 * n], (b + c)[2 * n : 3 * n]
    cells = [start[1]]
    for t in range(len(x)):
        cells.append(f[t] * cells[-1] + i[t] * new[t])
    carry_h, carry_c = torch.zeros_like(start[0]), relevance[1].clone()
    ratios, epsilon = torch.empty_like(g), x.new_zeros((), dtype=torch.float64)
    for t in reversed(range(len(x))):
        s = (relevance[0][t] + carry_h + carry_c) / stab(cells[t + 1])
        ratios[t] = s * i[t] * new[t] / stab(g[t])
        carry_c = s * f[t] * cells[t]
        carry_h = before[t] * (ratios[t] @ u)
        epsilon += ((stab(cells[t + 1]) - cells[t + 1]) * s).sum()
    epsilon += ((stab(g) - g) * ratios).sum()
    return [x * (ratios @ w), carry_h, carry_c], total(b * ratios), float(epsilon)


def _gru(
    x: Tensor, before: Tensor, states: Tensor, start: list[Tensor], params: Args, relevance: Args
) -> Given:
    w, u, b, c = params
    n = u.shape[1]
    from_x, from_h = x @ w.T + b, before @ u.T + c
    r = (from_x[..., :n] + from_h[..., :n]).sigmoid()
    keep = (from_x[..., n : 2 * n] + from_h[..., n : 2 * n]).sigmoid()
    z = from_x[..., 2 * n :] + r * from_h[..., 2 * n :]
    new = z.tanh()
    w, u, b, c = (p[2 * n :] for p in (w, u, b, c))
    carry = torch.zeros_like(start[0])
    ratios, epsilon = torch.empty_like(z), x.new_zeros((), dtype=torch.float64)
    for t in reversed(range(len(x))):
        s = (relevance[0][t] + carry) / stab(states[t])
        ratios[t] = s * (1 - keep[t]) * new[t] / stab(z[t])
        carry = s * keep[t] * before[t] + before[t] * ((ratios[t] * r[t]) @ u)
        epsilon += ((stab(states[t]) - states[t]) * s).sum()
    epsilon += ((stab(z) - z) * ratios).sum()
    return [x * (ratios @ w), carry], total((b + r * c) * ratios), float(epsilon)


def _plain(
    x: Tensor, before: Tensor, states: Tensor, start: list[Tensor], params: Args, relevance: Args
) -> Given:
    w, u, b, c = params
    z = x @ w.T + before @ u.T + b + c
    carry = torch.zeros_like(start[0])
    ratios = torch.empty_like(z)
    for t in reversed(range(len(x))):
        ratios[t] = (relevance[0][t] + carry) / stab(z[t])
        carry = before[t] * (ratios[t] @ u)
    return [x * (ratios @ w), carry], total((b + c) * ratios), total((stab(z) - z) * ratios)
