"""Deletion and insertion curves against closed forms, explicit loops and numpy's transforms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from heschl.explanation.cells import KEPT, fill, look, normal, segments_of, uniform
from heschl.explanation.faithful import deletion_curve, insertion_curve
from heschl.types import HeschlError, Span

BATCH, MEL, TIME = 3, 4, 6


class Sum(nn.Module):
    """Two logits: w . x and its negative."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(torch.randn(shape, generator=draws, dtype=torch.float64))

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        y = (x * self.w[..., : x.shape[-1]]).flatten(1).sum(1)
        return torch.stack([y, -y], 1)


class OverFrames(nn.Module):
    """Two logits a frame, of its own column alone."""

    def __init__(self) -> None:
        super().__init__()
        self.own = Sum((MEL,), 3)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        y = (x * self.own.w[:, None]).sum(1)
        return torch.stack([y, -y], -1)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(BATCH, MEL, TIME, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def model() -> Sum:
    return Sum((MEL, TIME)).eval()


TARGET = torch.tensor([0, 1, 0])
SIGN = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)


def test_a_linear_networks_curves_are_sorted_sums(model, x):
    relevance = SIGN[:, None, None] * model.w * x
    curve = deletion_curve(model, x, TARGET, relevance, fractions=MEL * TIME + 1)
    order = relevance.flatten(1).sort(1, descending=True).values
    gone = torch.cat([torch.zeros(BATCH, 1, dtype=x.dtype), order.cumsum(1)], 1)
    whole = relevance.flatten(1).sum(1, keepdim=True)
    assert torch.allclose(curve.scores, whole - gone, atol=1e-12)
    assert torch.allclose(curve.aopc, gone.mean(1), atol=1e-12)
    assert torch.allclose(
        curve.area, torch.from_numpy(np.trapezoid((whole - gone).detach(), np.linspace(0, 1, 25)))
    )
    back = insertion_curve(model, x, TARGET, relevance, fractions=MEL * TIME + 1)
    assert torch.allclose(back.scores, gone, atol=1e-12)
    assert torch.allclose(back.aopc, curve.aopc) and curve.cells.tolist() == [MEL * TIME] * BATCH
    # no order takes more away than the true one
    for order in ("random", "energy"):
        other = deletion_curve(model, x, TARGET, None, order=order, fractions=25)
        assert bool((other.aopc < curve.aopc).all())
        assert torch.allclose(other.scores[:, [0, -1]], curve.scores[:, [0, -1]], atol=1e-12)


@pytest.mark.parametrize("cells", ["values", "time", "frequency", "time_frequency", "segments"])
@pytest.mark.parametrize("order", ["relevance", "energy", "random"])
@pytest.mark.parametrize("insert", [False, True])
def test_explicit_loops_agree(model, x, cells, order, insert):
    segments = torch.tensor([[0, 0, 1, 1, 1, 2], [-1, 0, 0, 1, 1, -1], [0, 1, 2, 3, 4, 5]])
    relevance, shares = x.flip(2).square() - 0.5, [0.0, 0.3, 0.5, 1.0]
    asked = segments if cells == "segments" else cells
    curve = deletion_curve(
        model, x, TARGET, relevance, asked, order, 0.7, shares, seed=5, draws=2, insert=insert
    )
    for clip in range(BATCH):
        groups: dict[int, list[tuple[int, int]]] = {}
        for t in range(TIME):
            for f in range(MEL):
                name = {"time": t, "frequency": f, "segments": int(segments[clip, t])}.get(cells, t * MEL + f)
                groups.setdefault(name, []).append((f, t))
        stays = groups.pop(-1, [])
        n, scores = len(groups), np.zeros(len(shares))
        for draw in range(2):
            if order == "random":
                keys = np.random.default_rng(5 + draw).random(int(curve.cells.max()))
                worth = {k: keys[k] for k in groups}
            elif order == "relevance":
                worth = {k: sum(relevance[clip, f, t].item() for f, t in v) for k, v in groups.items()}
            else:
                worth = {k: np.mean([x[clip, f, t].item() for f, t in v]) for k, v in groups.items()}
            first = sorted(groups, key=lambda k: -worth[k])
            for place, share in enumerate(shares):
                gone = first[: round(share * n)]
                if insert:
                    gone = [k for k in groups if k not in gone]
                heard = x[clip].clone()
                for k in gone:
                    for f, t in groups[k]:
                        heard[f, t] = 0.7
                assert all(heard[f, t] == x[clip, f, t] for f, t in stays)
                scores[place] += (SIGN[clip] * (heard * model.w).sum()).item() / 2
        assert curve.cells[clip] == n
        assert np.allclose(curve.scores[clip].detach(), scores, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 99),
    st.sampled_from(["values", "time", "frequency"]),
    st.sampled_from(["noise", "mean", "silence"]),
)
def test_a_clip_in_a_padded_batch_is_as_alone(seed, cells, baseline):
    draws = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([6, 3, 5])
    x, relevance = (torch.randn(3, MEL, TIME, generator=draws, dtype=torch.float64) for _ in range(2))
    x *= torch.arange(TIME) < lengths[:, None, None]
    target = torch.randint(0, 2, (3, TIME), generator=draws)
    target[torch.arange(TIME) >= lengths[:, None]] = -100
    model = OverFrames().eval()
    for order in ("relevance", "random", "energy"):
        options = {"order": order, "baseline": baseline, "fractions": 4, "seed": seed, "score": "probability"}
        together = deletion_curve(model, x, target, relevance, cells, lengths=lengths, **options)
        for k, n in enumerate(lengths.tolist()):
            one = slice(k, k + 1)
            alone = deletion_curve(
                model,
                x[one, :, :n],
                target[one, :n],
                relevance[one, :, :n],
                cells,
                lengths=lengths[one],
                **options,
            )
            assert torch.allclose(together.scores[k], alone.scores[0], atol=1e-12)
            assert torch.allclose(together.aopc[k], alone.aopc[0], atol=1e-12)


# --- waves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [64, 65])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_relevance_in_frequency_is_the_transposed_inverse_transform(n, shape):
    draws = torch.Generator().manual_seed(n)
    x, relevance = (torch.randn(*shape, n, generator=draws, dtype=torch.float64) for _ in range(2))
    view = look(x, "frequency")
    assert torch.allclose(view.back(view.values), x, atol=1e-12)
    # dense: x_t = sum over bins of what each bin gives to sample t, and relevance is shared in that proportion
    inverse = (
        np.stack([np.fft.irfft(row, n) for row in np.eye(n // 2 + 1)]),
        np.stack([np.fft.irfft(1j * row, n) for row in np.eye(n // 2 + 1)]),
    )
    flat, expected = x.reshape(-1, n).numpy(), []
    for wave, own in zip(flat, relevance.reshape(-1, n).numpy()):
        spectrum = np.fft.rfft(wave)
        gives = spectrum.real[:, None] * inverse[0] + spectrum.imag[:, None] * inverse[1]
        assert np.allclose(gives.sum(0), wave)
        expected.append((gives / wave * own).sum(1))
    carried = view.carry(relevance)
    assert np.allclose(carried.reshape(len(flat), -1), expected, atol=1e-9)
    assert torch.allclose(carried.sum(-1), relevance.sum(-1), atol=1e-9)


def test_relevance_in_time_and_frequency_is_the_transposed_inverse_transform():
    n, length = 40, 8
    draws = torch.Generator().manual_seed(0)
    x, relevance = (torch.randn(1, n, generator=draws, dtype=torch.float64) for _ in range(2))
    view = look(x, "time_frequency", window=length)
    assert torch.allclose(view.back(view.values), x, atol=1e-12)
    carried, expected = view.carry(relevance)[0], torch.zeros(view.values.shape[1:], dtype=torch.float64)
    for k in range(expected.shape[0]):
        for m in range(expected.shape[1]):
            only = torch.zeros_like(view.values)
            only[0, k, m] = view.values[0, k, m]
            expected[k, m] = (view.back(only) / x * relevance).sum()
    assert torch.allclose(carried, expected, atol=1e-9)
    assert torch.allclose(carried.sum(), relevance.sum(), atol=1e-9)
    _, _, ours = scipy.signal.stft(
        x[0].numpy(), nperseg=length, noverlap=length * 3 // 4, boundary="zeros", padded=False
    )
    assert np.allclose(np.abs(view.values[0, :, : ours.shape[1]]), np.abs(ours) * length / 2, atol=1e-12)


def test_a_tone_that_decides_is_found_among_the_frequencies():
    """The network hears one tone: taking out its bin first silences it at once, and nothing else does."""
    n, tone = 200, 25
    time = torch.arange(n, dtype=torch.float64)
    model = Sum((n,)).eval()
    with torch.no_grad():
        model.w.copy_(torch.cos(2 * torch.pi * tone * time / n))
    noise = torch.randn(1, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = noise + torch.cos(2 * torch.pi * tone * time / n)
    relevance, target = x * model.w, torch.zeros(1, dtype=torch.long)
    bins = n // 2 + 1
    curve = deletion_curve(model, x, target, relevance, "frequency", fractions=bins + 1)
    assert abs(curve.scores[0, 1]) < 1e-9 < curve.scores[0, 0]
    controls = [
        deletion_curve(model, x, target, None, "frequency", order, fractions=bins + 1, draws=9).aopc[0]
        for order in ("random", "energy")
    ]
    assert controls[0] < 0.7 * curve.aopc[0] and controls[1] <= curve.aopc[0] + 1e-9


def test_the_networks_answers_are_counted_as_asked(x):
    model, target = OverFrames().eval(), torch.randint(0, 2, (BATCH, TIME))
    target[0, 2:] = -100
    logits = model(x).detach()
    known = target >= 0
    logit = logits.gather(-1, target.clamp(min=0)[..., None])[..., 0]
    share = logits.softmax(-1).gather(-1, target.clamp(min=0)[..., None])[..., 0]
    right = (logits.argmax(-1) == target).double()
    for score, each in (("logit", logit), ("probability", share), ("right", right)):
        curve = deletion_curve(model, x, target, x, score=score, fractions=2)
        expected = [(row[own]).mean() for row, own in zip(each, known)]
        assert torch.allclose(curve.scores[:, 0], torch.stack(expected))


# --- baselines and segments ----------------------------------------------------------------------------------


def test_what_stands_in_the_place_of_what_was_taken_out(x):
    view = look(x)
    assert not fill(view, "zero").any() and (fill(view, 2.5) == 2.5).all()
    assert torch.equal(fill(view, "silence"), x.amin((1, 2), keepdim=True).expand(x.shape))
    assert torch.allclose(fill(view, "mean"), x.mean(2, keepdim=True).expand(x.shape))
    assert torch.equal(fill(view, x[:1] * 2), (x[:1] * 2).expand(x.shape))
    long = torch.randn(2, MEL, 4000, dtype=torch.float64) * 3 + 1
    noise = fill(look(long), "noise")
    assert torch.allclose(noise.mean(2), long.mean(2), atol=0.2)
    assert torch.allclose(noise.std(2), long.std(2), rtol=0.05)
    wave = torch.randn(2, 500, dtype=torch.float64).cumsum(1)
    assert torch.allclose(
        torch.fft.rfft(fill(look(wave, "time"), "noise")).abs(), torch.fft.rfft(wave).abs(), atol=1e-8
    )
    short = look(wave, "time_frequency", window=64)
    level = short.values.abs().square().mean(-1, keepdim=True)
    for name in ("mean", "noise"):
        assert torch.allclose(fill(short, name).abs().square(), level.expand(short.values.shape))
    assert torch.equal(fill(short, "mean").angle(), short.values.angle()) or torch.allclose(
        torch.sgn(fill(short, "mean")), torch.sgn(short.values)
    )


def test_longer_draws_begin_alike():
    for draw in (uniform, normal):
        assert torch.equal(draw((3, 9), 4)[:, :5], draw((3, 5), 4))
        assert not torch.equal(draw((5,), 4), draw((5,), 5))


def test_spans_become_segments():
    spans = [
        [Span("a", 0.0, 0.2), Span("b", 0.2, 0.3), Span("c", 0.31, 0.32), Span("d", 0.4, 0.5)],
        [Span("e", 0.1, 0.25)],
    ]
    times = torch.arange(6) / 10 + 0.05
    ids = segments_of(spans, times, torch.tensor([6, 2]))
    assert ids.tolist() == [[0, 0, 1, KEPT, 2, KEPT], [KEPT, 0, KEPT, KEPT, KEPT, KEPT]]


# --- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"relevance": None}, "no relevance"),
        ({"relevance": torch.zeros(BATCH, 2)}, "must agree"),
        ({"relevance": torch.full((BATCH, MEL, TIME), torch.nan)}, "not finite"),
        ({"cells": "phones"}, "choose values, time"),
        ({"cells": torch.zeros(BATCH, 2, dtype=torch.long)}, "number of the segment"),
        ({"order": "best"}, "choose relevance"),
        ({"baseline": "quiet"}, "choose zero"),
        ({"baseline": torch.zeros(5)}, "broadcasts"),
        ({"fractions": 1}, "two points"),
        ({"fractions": [0.5, 0.2]}, "ascending"),
        ({"score": "loss"}, "choose logit"),
        ({"width": 0}, "at least one"),
        ({"order": "random", "draws": 0}, "least"),
    ],
)
def test_bad_input_is_one_sentence(model, x, options, words):
    options = {"relevance": x, **options}
    with pytest.raises(HeschlError, match=words) as error:
        deletion_curve(model, x, TARGET, **options)
    assert "\n" not in str(error.value)


def test_a_networks_own_faults_are_named(model, x):
    with pytest.raises(HeschlError, match="train mode"):
        deletion_curve(model.train(), x, TARGET, x)
    with pytest.raises(HeschlError, match="no target 2"):
        deletion_curve(model.eval(), x, 2, x)
    with pytest.raises(HeschlError, match="clips of one length"):
        deletion_curve(
            Sum((9,)).eval(), x[:, 0], TARGET, x[:, 0], "frequency", lengths=torch.tensor([6, 4, 6])
        )
