"""What is taken out is gone, the rest is untouched, and relevance of segments is what removing them shows."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from heschl.explanation.gradient import occlusion_time
from heschl.explanation.perturb import (
    aligned_occlusion,
    aligned_relevance,
    changes,
    matched_noise,
    remove,
    remove_bands,
    remove_segments,
)
from heschl.explanation.segments import Segment, Tile, bands, from_spans, time_segments
from heschl.types import HeschlError, Span

RATE = 8000
N = 8000
TIME = torch.arange(N, dtype=torch.float64) / RATE
KINDS = ["silence", "noise", "mean"]


def noise(seed=0, n=N):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.1


def tone(hertz, size=0.2):
    return size * torch.sin(2 * math.pi * hertz * TIME)


def level(x):
    return float(10 * torch.log10(x.square().mean()))


# --- the sound without a part ------------------------------------------------------------------------------------


def test_silence_by_loops():
    wave, out = noise(), remove(noise(), [(0.3, 0.5)], RATE, fade=0.01)
    for k in range(0, N, 7):
        t = k / RATE
        up = 0.5 - 0.5 * math.cos(math.pi * min(1, max(0, (t - 0.3) / 0.01 + 0.5)))
        down = 0.5 - 0.5 * math.cos(math.pi * min(1, max(0, (t - 0.5) / 0.01 + 0.5)))
        assert float(out[k]) == pytest.approx(float(wave[k]) * (1 - up + down), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_outside_nothing_changes_and_edges_do_not_click(kind):
    wave = tone(200) + tone(900, 0.05)
    out = remove(wave, [(0.3, 0.5), Span("x", 0.45, 0.6)], RATE, kind)
    outside = (TIME < 0.2974) | (TIME > 0.6026)
    assert torch.equal(out[outside], wave[outside]) and not torch.allclose(out, wave)
    if kind == "silence":
        assert (out[(TIME > 0.303) & (TIME < 0.597)] == 0).all()
        hard = remove(wave, [(0.3013, 0.6)], RATE, fade=0.0)
        assert out.diff().abs().max() <= 1.5 * wave.diff().abs().max() < hard.diff().abs().max() * 1.5


def test_matched_noise_has_the_level_and_the_spectrum():
    shaped = torch.fft.irfft(torch.fft.rfft(noise(3)) / (1 + torch.arange(N // 2 + 1) / 300))
    wave = shaped * torch.where(TIME < 0.5, 1.0, 0.2)
    out = remove(wave, [(0.1, 0.3), (0.6, 0.9)], RATE, "noise", seed=5)
    for start, stop in ((0.1, 0.3), (0.6, 0.9)):  # each stretch its own level
        inside = (start <= TIME) & (stop > TIME)
        assert level(out[inside]) == pytest.approx(level(wave[inside]), abs=0.2)
        assert abs(np.corrcoef(out[inside], wave[inside])[0, 1]) < 0.15
    other = matched_noise(wave, RATE, seed=1)
    for low in (0, 500, 1000, 2000, 3000):
        band = slice(low, low + 500)  # bins are 1 Hz apart
        power = [torch.fft.rfft(x)[band].abs().square().sum() for x in (wave, other)]
        assert float(10 * torch.log10(power[1] / power[0])) == pytest.approx(0, abs=0.7)
    assert level(other) == pytest.approx(level(wave), abs=0.1)
    assert not torch.equal(other, matched_noise(wave, RATE, seed=2))


def test_noise_keeps_no_pitch():
    buzz = sum(tone(150 * k, 0.1) for k in range(1, 20))
    spectrum = torch.fft.rfft(matched_noise(buzz, RATE)).abs()
    inside = spectrum[300:2500]
    assert inside[(torch.arange(300, 2500) % 150) == 0].mean() < 1.3 * inside.mean()


def test_mean_has_the_mean_spectrum_of_the_clip():
    wave = torch.where(TIME < 0.5, tone(500), tone(2000))
    out = remove(wave, [(0.1, 0.4)], RATE, "mean")
    inside = (TIME > 0.15) & (TIME < 0.35)
    # both tones, each half as large as it is in its own half of the clip
    assert level(out[inside]) == pytest.approx(level(wave[inside]) - 10 * math.log10(2), abs=1.0)
    power = torch.fft.rfft(out[inside] * torch.hann_window(int(inside.sum()))).abs().square()
    hertz = torch.fft.rfftfreq(int(inside.sum()), 1 / RATE)
    one, other = (power[(hertz - centre).abs() < 50].sum() for centre in (500, 2000))
    assert one + other > 0.95 * power.sum() and 0.4 < one / other < 2.5


def test_bands_go_and_the_others_stay():
    parts = {hertz: tone(hertz) for hertz in (300, 1000, 2500)}
    wave = sum(parts.values())
    out = remove_bands(wave, RATE, [(800, 1200)])
    inner = slice(600, -600)
    assert level((out - parts[300] - parts[2500])[inner]) < level(parts[1000]) - 45
    short = remove_bands(wave, RATE, [(0, 500), (2000, math.inf)], spans=[(0.4, 0.7)])
    early, middle = (TIME < 0.36), (TIME > 0.45) & (TIME < 0.65)
    assert torch.allclose(short[early], wave[early], atol=1e-9)
    assert level((short - parts[1000])[middle]) < level(wave) - 45
    same = remove_bands(wave, RATE, [(900, 1200), (800, 1000)])  # they overlap
    assert torch.allclose(same, out)


def test_bands_end_where_they_should():
    """Bins are 31 Hz apart: three of them from an edge, a tone is in or out."""
    for hertz, gone in ((700, False), (900, True), (1100, True), (1300, False)):
        left = remove_bands(tone(hertz), RATE, [(800, 1200)])[600:-600]
        if gone:
            assert level(left) < level(tone(hertz)) - 35
        else:
            assert level(left - tone(hertz)[600:-600]) < level(tone(hertz)) - 35


def test_all_bands_leave_nothing_and_all_stretches_too():
    wave = noise()
    assert torch.allclose(remove_segments(wave, bands(RATE, 6), RATE), torch.zeros_like(wave), atol=1e-9)
    assert torch.equal(remove(wave, [(0.0, 1.0)], RATE), torch.zeros_like(wave))
    assert torch.allclose(
        remove_segments(wave, time_segments(1.0, 7), RATE), torch.zeros_like(wave), atol=1e-12
    )


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(20, 980), min_size=2, max_size=6, unique=True),
    st.sampled_from(KINDS),
    st.sampled_from([0.0, 0.005, 0.03]),
)
def test_what_several_take_away_is_the_sum(cuts, kind, fade):
    edges = [cut / 1000 for cut in sorted(cuts)]
    parts = [Segment(str(k), "time", (Tile(a, b),)) for k, (a, b) in enumerate(itertools.pairwise(edges))]
    wave = noise()
    together = remove_segments(wave, parts, RATE, kind, fade)
    if kind == "noise":  # each part at its own level
        assert torch.equal(together, wave - changes(wave, parts, RATE, kind, fade).sum(0))
    else:
        assert torch.allclose(together, remove(wave, [(edges[0], edges[-1])], RATE, kind, fade), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_equals_single(kind):
    waves = torch.stack([noise(1), tone(440), torch.zeros(N, dtype=torch.float64)]).float()
    for call in (
        lambda x: remove(x, [(0.2, 0.4)], RATE, kind),
        lambda x: remove_bands(x, RATE, [(300, 900)], [(0.2, 0.4)], kind),
    ):
        whole = call(waves)
        assert whole.dtype == torch.float32 and whole.shape == waves.shape and whole.isfinite().all()
        for k, wave in enumerate(waves):
            assert torch.allclose(call(wave), whole[k], atol=1e-7)
        assert (whole[2] == 0).all()


def test_segments_that_overlap_are_refused_but_for_their_edges():
    far = [Segment("a", "x", (Tile(0.1, 0.5),)), Segment("b", "x", (Tile(0.3, 0.6),))]
    with pytest.raises(HeschlError, match="lies in two of them"):
        changes(noise(), far, RATE)
    near = [Segment("a", "x", (Tile(0.1, 0.5),)), Segment("b", "x", (Tile(0.49, 0.9),))]
    assert torch.allclose(
        remove_segments(noise(), near, RATE), remove(noise(), [(0.1, 0.9)], RATE), atol=1e-12
    )


def test_bad_input_is_one_sentence():
    for call, said in (
        (lambda: remove(noise(), [(0.5, 0.5)], RATE), "is empty"),
        (lambda: remove(noise(), [(0.1, 0.5)], RATE, "mute"), "choose silence, noise, mean"),
        (lambda: remove(noise().long(), [(0.1, 0.5)], RATE), "floating tensor"),
        (lambda: remove(noise(), [(0.1, 0.5)], 0), "rate is 0"),
        (lambda: remove(torch.zeros(2, 3, 50), [(0.1, 0.5)], RATE), "give"),
        (lambda: remove_bands(noise(), RATE, [(500, 400)]), "its top must lie above"),
    ):
        with pytest.raises(HeschlError, match=said):
            call()
    assert torch.equal(remove(noise(), [], RATE), noise())


# --- relevance of segments ----------------------------------------------------------------------------------------


def test_alone_and_shapley_of_an_additive_answer():
    """Energy is additive over stretches of time that do not overlap, but for the soft edges."""
    wave, parts = noise(), time_segments(1.0, 5)
    energy = [float(part.square().sum()) for part in wave.reshape(5, -1)]
    for method in ("alone", "both", "shapley"):
        found = aligned_relevance(lambda w: w.square().sum(-1), wave, parts, RATE, method, fade=0.0)
        assert np.allclose(found.values, energy) and (found.error == 0).all() and found.names[0] == "0-200 ms"
        assert found.whole == pytest.approx(sum(energy)) and found.without == pytest.approx(0)


def test_shapley_of_a_word_that_needs_both_parts():
    """Score 1 where both are heard: each alone takes all, and by Shapley's values they share it."""
    wave = torch.where(TIME < 0.5, tone(300), tone(700))
    parts = from_spans([Span("a", 0.0, 0.5), Span("b", 0.5, 1.0)])

    def both(waves):
        first, second = (waves[:, k : k + 3000].square().mean(-1) > 1e-3 for k in (500, 4500))
        return (first & second).double()

    assert np.allclose(aligned_relevance(both, wave, parts, RATE).values, [1, 1])
    assert np.allclose(aligned_relevance(both, wave, parts, RATE, "shapley").values, [0.5, 0.5])


def test_both_is_shapley_where_no_more_than_two_act_together():
    parts, wave = time_segments(1.0, 4), noise(3)
    pairs = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def heard(waves):  # how much of each stretch is there
        return waves.reshape(-1, 4, N // 4).square().sum(-1)

    def two(waves):
        return torch.einsum("ni,ij,nj->n", heard(waves), pairs, heard(waves)) + heard(waves).sum(1)

    def values(answer, method):
        return aligned_relevance(answer, wave, parts, RATE, method, fade=0.0)

    assert np.allclose(values(two, "both").values, values(two, "shapley").values)
    assert not np.allclose(values(two, "alone").values, values(two, "shapley").values, rtol=0.1)
    assert values(two, "both").asked == 10  # all, none, each taken out and each put back

    def three(waves):
        return heard(waves)[:, :3].prod(1)

    assert not np.allclose(values(three, "both").values, values(three, "shapley").values, rtol=0.1)


def test_many_segments_are_sampled_with_an_error():
    wave, parts = noise(), time_segments(1.0, 14)

    def answer(waves):
        energy = waves[:, :7994].reshape(len(waves), 14, 571).square().sum(-1)
        return energy.sum(-1) + 3 * energy[:, 0] * energy[:, 5] - energy[:, 2] * energy[:, 9]

    found = aligned_relevance(answer, wave, parts, RATE, "shapley", samples=400, batch=33)
    again = aligned_relevance(answer, wave, parts, RATE, "shapley", samples=400, seed=1)
    assert (found.error > 0).all() and found.values.sum() == pytest.approx(found.whole - found.without)
    assert (np.abs(found.values - again.values) < 5 * np.hypot(found.error, again.error)).all()


def test_noise_has_an_error_over_draws():
    wave, parts = noise(), time_segments(1.0, 4)
    once = aligned_relevance(lambda w: w.sum(-1), wave, parts, RATE, kind="noise")
    assert np.isnan(once.error).all()
    often = aligned_relevance(lambda w: w.sum(-1), wave, parts, RATE, kind="noise", draws=5)
    singles = [
        aligned_relevance(lambda w: w.sum(-1), wave, parts, RATE, kind="noise", seed=k).values
        for k in range(5)
    ]
    assert np.allclose(often.values, np.mean(singles, 0))
    assert np.allclose(often.error, np.std(singles, 0, ddof=1) / math.sqrt(5)) and often.asked == 5 * 5 + 1


def test_bands_of_an_answer_that_listens_to_one():
    wave = tone(500) + tone(2500) + 0.01 * noise()

    def answer(waves):
        return torch.fft.rfft(waves)[:, 2400:2600].abs().square().sum(-1)

    for method in ("alone", "both", "shapley"):
        found = aligned_relevance(answer, wave, bands(RATE, 4, "hertz"), RATE, method)
        assert found.values.argmax() == 2 and found.values[2] > 0.99 * found.whole


def test_bad_answers_are_one_sentence():
    parts = time_segments(1.0, 3)
    for call, said in (
        (lambda: aligned_relevance(lambda w: w, noise(), parts, RATE), "one score a wave"),
        (lambda: aligned_relevance(lambda w: w.sum(-1) * math.nan, noise(), parts, RATE), "not finite"),
        (lambda: aligned_relevance(lambda w: w.sum(-1), noise(), [], RATE), "no segments"),
        (
            lambda: aligned_relevance(lambda w: w.sum(-1), noise(), parts, RATE, "owen"),
            "choose alone, both, shapley",
        ),
        (lambda: aligned_relevance(lambda w: w.sum(-1), noise()[None], parts, RATE), "belong to one clip"),
        (lambda: aligned_relevance(lambda w: w.sum(-1), noise(), parts, RATE, draws=0), "draws is 0"),
    ):
        with pytest.raises(HeschlError, match=said):
            call()


# --- segments of a network's input ----------------------------------------------------------------------------------


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(4, 6, 3), nn.GELU(), nn.Flatten(), nn.Linear(6 * 10, 3)).double().eval()


X = torch.randn(3, 4, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
TARGET = torch.tensor([0, 2, 1])


def test_aligned_occlusion_of_equal_stretches_is_occlusion(network):
    numbers = (torch.arange(12) // 3).expand(3, 12)
    found = aligned_occlusion(network, X, TARGET, numbers, baseline=0.4)
    assert torch.allclose(found, occlusion_time(network, X, TARGET, width=3, baseline=0.4))


def test_aligned_occlusion_by_hand(network):
    numbers = torch.full((3, 4, 12), -1)
    numbers[0, 1:3, 2:5], numbers[0, 0, 6:] = 0, 1
    numbers[2, :, :4] = 0
    found = aligned_occlusion(network, X, TARGET, numbers, baseline="mean")
    assert (found[1] == 0).all() and (found[numbers < 0] == 0).all()
    for clip, number in ((0, 0), (0, 1), (2, 0)):
        inside = numbers[clip] == number
        hidden = torch.where(inside, X[clip].mean(-1, keepdim=True), X[clip])
        with torch.no_grad():
            fall = (network(X[clip : clip + 1]) - network(hidden[None]))[0, TARGET[clip]]
        far = (hidden - X[clip])[inside] ** 2
        assert torch.allclose(found[clip][inside], fall * far / far.sum())


def test_aligned_occlusion_by_shapley_adds_up(network):
    numbers = (torch.arange(12) // 2).expand(3, 12)
    found = aligned_occlusion(network, X, TARGET, numbers, baseline=0.0, method="shapley")
    with torch.no_grad():
        fall = (network(X) - network(torch.zeros_like(X))).gather(1, TARGET[:, None])[:, 0]
    assert torch.allclose(found.sum((1, 2)), fall)
    assert torch.equal(
        found[1:2], aligned_occlusion(network, X[1:2], TARGET[1:2], numbers[:1], 0.0, "shapley")
    )


def test_aligned_occlusion_of_both_ends_by_hand(network):
    numbers = (torch.arange(12) // 4).expand(3, 12)
    found = aligned_occlusion(network, X, TARGET, numbers, baseline=0.0, method="both")

    def logit(x):
        with torch.no_grad():
            return network(x).gather(1, TARGET[:, None])[:, 0]

    for k in range(3):
        inside = (numbers[0] == k).double()
        ends = logit(X) - logit(X * (1 - inside)) + logit(X * inside) - logit(0 * X)
        assert torch.allclose((found * inside).sum((1, 2)), ends / 2)


def test_aligned_occlusion_refuses(network):
    with pytest.raises(HeschlError, match="segments are"):
        aligned_occlusion(network, X, TARGET, torch.zeros(3, 5, dtype=torch.long))
    with pytest.raises(HeschlError, match="segments are missing"):
        aligned_occlusion(network, X, TARGET, None)
    with pytest.raises(HeschlError, match="method is 'owen'"):
        aligned_occlusion(network, X, TARGET, torch.zeros(3, 12, dtype=torch.long), method="owen")


# --- the planted shortcut -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_lrp_and_occlusion_find_the_planted_shortcut(tmp_path):
    """The bench's own measurement, over fewer clips: at least 80 % with the tone, near the area's share without."""
    path = Path(__file__).resolve().parents[2] / "bench" / "shortcut.py"
    spec = importlib.util.spec_from_file_location("shortcut_bench", path)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    names = bench.HELD_TO_IT
    every = bench.methods
    bench.methods = lambda quiet: {name: every(quiet)[name] for name in names}
    found = [bench.measured(tone, tmp_path, 24) for tone in (True, False)]
    assert bench.missed(found[:1], found[1:]) == []
    assert all(found[0]["shares"][name] > 10 * found[1]["shares"][name] for name in names)
