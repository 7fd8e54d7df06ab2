"""Spatial attention and the Transformer's block against loops over numbers, one at a time, written from the papers' formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from heschl.models.neural_encoder import NeuralEncoder
from heschl.models.spatial import HEAD, SpatialAttention
from heschl.models.spectral_transformer import Block, TokenTransformer
from heschl.tasks.codebook import Codebook
from heschl.types import Batch


@pytest.mark.parametrize("dims", [2, 3])
def test_spatial_attention_by_loops(dims: int) -> None:
    """Defossez et al. 2023: a_j(p) = sum_k z_jk^c cos(2 pi k.(p + m) / (1 + 2 m)) + z_jk^s sin(...), softmax over sensors."""
    torch.manual_seed(0)
    side = 3 if dims == 2 else 2
    count = side**dims
    layer = SpatialAttention(2, 2 * count, radius=0.2).double().eval()
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 4, 3))
    at = random.random((2, 4, dims)) if dims == 2 else 0.2 * random.random((2, 4, dims)) - 0.1
    at[1, 2] = math.nan
    z = layer.heads.detach().numpy()
    expected = np.zeros((2, 2, 3))
    for clip in range(2):
        for virtual in range(2):
            weight = []
            for sensor in range(4):
                if math.isnan(at[clip, sensor, 0]):
                    weight.append(0.0)
                    continue
                place = [p if dims == 2 else (p + HEAD) / (2 * HEAD) for p in at[clip, sensor]]
                total = 0.0
                for number, waves in enumerate(np.ndindex((side,) * dims)):
                    phase = 2 * math.pi * sum(k * (p + 0.2) for k, p in zip(waves, place)) / 1.4
                    total += z[virtual, number] * math.cos(phase) + z[virtual, count + number] * math.sin(
                        phase
                    )
                weight.append(math.exp(total))
            for step in range(3):
                mixed = sum(w * x[clip, s, step] for s, w in enumerate(weight))
                expected[clip, virtual, step] = mixed / sum(weight)
    given = layer(torch.from_numpy(x), torch.from_numpy(at)).detach().numpy()
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_block_by_loops(norm: str) -> None:
    """Talking heads (Shazeer et al. 2020, eq. of section 3), one norm shared by both parts, GELU by the error function."""
    dim, heads, tokens, width = 6, 3, 4, 2
    torch.manual_seed(1)
    block = Block(dim, heads, 0.3, norm).double().eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for one in block.parameters():  # no bias at zero, no gain at one, no mixing that is symmetric
            one.add_(0.3 * torch.randn_like(one))
    held = {name: value.detach().numpy() for name, value in block.named_parameters()}
    x = np.random.default_rng(1).standard_normal((tokens, dim))

    def linear(v: list[float], name: str) -> list[float]:
        weight, bias = held[name + ".weight"], held.get(name + ".bias")
        return [
            sum(weight[o, i] * v[i] for i in range(len(v))) + (0.0 if bias is None else bias[o])
            for o in range(len(weight))
        ]

    def normed(v: list[float]) -> list[float]:
        mean = sum(v) / dim
        size = math.sqrt(sum((one - mean) ** 2 for one in v) / dim + 1e-5)
        gain, bias = held["norm.weight"], held["norm.bias"]
        return [(one - mean) / size * gain[k] + bias[k] for k, one in enumerate(v)]

    def attended(rows: list[list[float]]) -> list[list[float]]:
        qkv = [linear(row, "attention.qkv") for row in rows]
        before, after = held["attention.before"], held["attention.after"]

        def part(token: int, which: int, head: int, k: int) -> float:
            return qkv[token][which * dim + head * width + k]

        out = []
        for query in range(tokens):
            shares = []  # of each head after the softmax, by key
            for g in range(heads):
                e = []
                for key in range(tokens):
                    score = 0.0
                    for h in range(heads):
                        dot = sum(part(query, 0, h, k) * part(key, 1, h, k) for k in range(width))
                        score += before[h, g] * dot / math.sqrt(width)
                    e.append(math.exp(score))
                shares.append([one / sum(e) for one in e])
            heard = []
            for g in range(heads):
                talk = [sum(after[h, g] * shares[h][key] for h in range(heads)) for key in range(tokens)]
                heard += [sum(talk[key] * part(key, 2, g, k) for key in range(tokens)) for k in range(width)]
            out.append(linear(heard, "attention.out"))
        return out

    def forward_part(row: list[float]) -> list[float]:
        wide = [0.5 * one * (1 + math.erf(one / math.sqrt(2))) for one in linear(row, "widen")]
        return linear(wide, "narrow")

    def plus(a: list[list[float]], b: list[list[float]]) -> list[list[float]]:
        return [[p + q for p, q in zip(one, other)] for one, other in zip(a, b)]

    rows = x.tolist()
    if norm == "post":
        rows = [normed(row) for row in plus(rows, attended(rows))]
        rows = [normed(row) for row in plus(rows, [forward_part(row) for row in rows])]
    else:
        rows = plus(rows, attended([normed(row) for row in rows]))
        rows = plus(rows, [forward_part(normed(row)) for row in rows])
    given = block(torch.from_numpy(x)[None])[0].detach().numpy()
    np.testing.assert_allclose(given, np.array(rows), rtol=0, atol=1e-12)


def test_tokens_by_loops() -> None:
    """Patches row by row with their places, the class token before them without one, one norm over all of them."""
    torch.manual_seed(2)
    whole = TokenTransformer((2, 3), 4, 1, 2, "post", 0.0).double().eval()
    seen: list[torch.Tensor] = []
    whole.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    patches = torch.randn(2, 4, 2, 3, dtype=torch.float64)
    out = whole(patches)
    for clip in range(2):
        rows = [whole.token[0, 0]]
        for i in range(2):
            for j in range(3):
                rows.append(patches[clip, :, i, j] + whole.positions[0, 3 * i + j])
        for row, given in zip(rows, seen[0][clip], strict=True):
            mean = row.mean()
            size = ((row - mean).square().mean() + 1e-5).sqrt()
            assert float((given - (row - mean) / size).detach().abs().max()) < 1e-12
    assert torch.equal(out, whole.blocks[0](seen[0])[:, 0])


@pytest.mark.slow
def test_nothing_is_dead_at_the_published_size() -> None:
    """3,588,944 parameters, and one step of training moves every single tensor of them."""
    torch.manual_seed(0)
    model = NeuralEncoder((127, 64, 512), 88)
    assert sum(one.numel() for one in model.parameters()) == 3_588_944
    x, places = torch.randn(2, 127, 64, 512), torch.rand(127, 2)
    task = Codebook("word", tuple(map(str, range(88))))
    task.loss(model(x, places), Batch(x, torch.tensor([3, 5]), None, ())).backward()
    dead = [name for name, one in model.named_parameters() if one.grad is None or not bool(one.grad.any())]
    assert not dead
