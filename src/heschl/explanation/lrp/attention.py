"""Attention: by default its weights are constants and values take all (CP-LRP, Ali et al. 2022).

With attention="attn" (AttnLRP, Achtibat et al. 2024, eq. 13 and 15) a product of two signals gives each half and
softmax is linearised; relevance then reaches queries and keys too, and is not conserved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from heschl.explanation.lrp.layers import affine, bound, fixed
from heschl.explanation.lrp.maps import dense
from heschl.explanation.lrp.moves import move
from heschl.explanation.lrp.rules import quotient, total
from heschl.explanation.lrp.signals import mark_of, plain, spelt, swapped
from heschl.explanation.lrp.tape import Tape

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def softmax_spread(
    tape: Tape, x: Tensor, weights: Tensor, axis: int = -1
) -> Callable[[Tensor], tuple[Tensor]]:
    """AttnLRP's softmax: R_x = x (R - softmax(x) sum R)."""
    where = tape.where("softmax")

    def spread(relevance: Tensor) -> tuple[Tensor]:
        given = torch.where(weights > 0, x, 0) * (relevance - weights * relevance.sum(axis, keepdim=True))
        stopped = total(relevance) - total(given) if tape.counted else 0.0
        tape.count(where, "AttnLRP", (relevance,), (given,), stopped=stopped)
        return (given,)

    return spread


def half(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs, signals: list[Tensor]) -> Tensor:
    """AttnLRP's product of two signals: R_a = a (R / stab(2 y)) b, and b's likewise."""
    with torch.no_grad():
        value: Tensor = func(*plain(args), **plain(kwargs))
    z, where, held = value.detach(), tape.where(spelt(func)), [plain(t) for t in signals]

    def spread(relevance: Tensor) -> tuple[Tensor, ...]:
        s = quotient(relevance, 2 * z)
        with torch.enable_grad():
            again = [t.clone().requires_grad_() for t in held]
            put = {id(t): a for t, a in zip(signals, again)}
            parts = [swapped(part, lambda t: put.get(id(t), t)) for part in (args, kwargs)]
            slopes = torch.autograd.grad(func(*parts[0], **parts[1]), again, s)
        given = tuple(t * slope for t, slope in zip(held, slopes))
        left = total(relevance) - sum(map(total, given)) if tape.counted else 0.0
        tape.count(where, "AttnLRP", (relevance,), given, epsilon=left)
        return given

    return tape.emit(value, signals, spread)


def scaled_dot_product(tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs) -> Tensor:
    """F.scaled_dot_product_attention of queries, keys, values (..., time, feature)."""
    names = "query key value attn_mask dropout_p is_causal scale"
    q, k, v, mask, _, causal, scale = bound(args, kwargs, names, None, 0.0, False, None)
    if kwargs.get("enable_gqa"):
        raise tape.refusal("attention with grouped queries", "repeat the keys and values yourself")
    if causal:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    return _attend(tape, q, k, v, mask, scale)[0]


def _attend(
    tape: Tape, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """softmax(scale q k^T + mask) v, and the weights; mask true (or 0) where a key may be seen."""
    q0, k0 = plain(q), plain(k)
    with torch.no_grad():
        scores = scale * (q0 @ k0.transpose(-1, -2))
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        weights = scores.softmax(-1)
    if tape.attention == "attn" and (mark_of(q) or mark_of(k)):
        return _attend_by_halves(tape, q, k, v, scores, weights, scale), weights
    if not mark_of(v):
        raise tape.refusal("attention whose values are constants", "give this module's rule in `rules`")
    return fixed(tape, torch.matmul, (weights, v), {}), weights


def _attend_by_halves(
    tape: Tape, q: Tensor, k: Tensor, v: Tensor, scores: Tensor, weights: Tensor, scale: float
) -> Tensor:
    def product(a: Tensor, b: Tensor) -> Tensor:
        signals = [t for t in (a, b) if mark_of(t)]
        if len(signals) == 2:
            return half(tape, torch.matmul, (a, b), {}, signals)
        out: Tensor = fixed(tape, torch.matmul, (a, b), {})
        return out

    k = move(tape, torch.transpose, (k, -1, -2), {}) if mark_of(k) else k.detach().transpose(-1, -2)
    raw = product(q, k)  # scaling and masking pass relevance on
    soft = softmax_spread(tape, scores, weights)
    signal = tape.emit(weights.clone(), [raw], soft, gate=True)
    return product(signal, v)


def multi_head(
    tape: Tape, func: Callable[..., Any], args: Args, kwargs: Kwargs
) -> tuple[Tensor, Tensor | None]:
    """nn.MultiheadAttention: projections under epsilon, values mixed by constant weights, output under epsilon."""
    names = (
        "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias bias_k bias_v add_zero_attn "
        "dropout_p out_proj_weight out_proj_bias training key_padding_mask need_weights attn_mask "
        "use_separate_proj_weight q_proj_weight k_proj_weight v_proj_weight static_k static_v "
        "average_attn_weights is_causal"
    )
    given = dict(
        zip(
            names.split(),
            bound(args, kwargs, names, None, True, None, False, None, None, None, None, None, True, False),
        )
    )
    if given["bias_k"] is not None or given["bias_v"] is not None or given["add_zero_attn"]:
        raise tape.refusal("attention with added keys", "build it without add_bias_kv and add_zero_attn")
    query, key, value, heads = given["query"], given["key"], given["value"], given["num_heads"]
    single = query.ndim == 2
    if given["use_separate_proj_weight"]:
        weights = [given[f"{n}_proj_weight"] for n in "qkv"]
    else:
        weights = list(given["in_proj_weight"].chunk(3))
    biases = [None] * 3 if given["in_proj_bias"] is None else list(given["in_proj_bias"].chunk(3))
    projected = []
    for x, w, b in zip((query, key, value), weights, biases):
        if single:
            x = _do(tape, torch.unsqueeze, x, 1)
        y = _dense(tape, x, w, b)
        y = _do(tape, torch.unflatten, y, -1, (heads, -1))  # (time, batch, head, feature)
        projected.append(_do(tape, torch.permute, y, (1, 2, 0, 3)))
    q, k, v = projected
    mask = _joint_mask(given["attn_mask"], given["key_padding_mask"], q, k)
    mixed, attention = _attend(tape, q, k, v, mask, 1 / math.sqrt(q.shape[-1]))
    mixed = _do(tape, torch.permute, mixed, (2, 0, 1, 3))
    out = _dense(tape, _do(tape, torch.flatten, mixed, 2), given["out_proj_weight"], given["out_proj_bias"])
    if single:
        out, attention = _do(tape, torch.squeeze, out, 1), attention[0]
    if not given["need_weights"]:
        return out, None
    return out, attention.mean(-3) if given["average_attn_weights"] else attention


def _dense(tape: Tape, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    with torch.no_grad():
        value = F.linear(plain(x), w, b)
    return affine(tape, dense(), x, w, b, value, "attention") if mark_of(x) else value


def _do(tape: Tape, func: Callable[..., Any], x: Tensor, *rest: Any) -> Any:
    return move(tape, func, (x, *rest), {}) if mark_of(x) else func(x.detach(), *rest)


def _joint_mask(mask: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """Both masks (true where a key may not be seen, or what is added) as one that is added."""
    whole: Tensor | None = None
    for part, padded in ((mask, False), (padding, True)):
        if part is None:
            continue
        if part.dtype == torch.bool:
            part = torch.zeros_like(part, dtype=q.dtype).masked_fill(part, -torch.inf)
        if padded:
            part = part.reshape(-1, 1, 1, k.shape[-2])
        elif part.ndim == 3:  # (batch * head, query, key)
            part = part.reshape(q.shape[0], q.shape[1], *part.shape[1:])
        whole = part if whole is None else whole + part
    return whole
