"""Segments of a clip lie where they should and add up to one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.explanation.segments import (
    KINDS,
    Segment,
    Tile,
    bands,
    energy_segments,
    formant_bands,
    from_spans,
    harmonic_bands,
    membership,
    numbers,
    overlap,
    segments_of,
    time_segments,
)
from heschl.signal import hz_to_mel
from heschl.types import HeschlError, Span

RATE = 16000
TIMES = torch.arange(RATE, dtype=torch.float64) / RATE


def buzz(f0=150.0, seconds=1.0, top=20):
    time = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    return sum(torch.sin(2 * math.pi * k * f0 * time) / k for k in range(1, top)) * 0.3


def tiles(segment):
    return [tuple(tile) for tile in segment.tiles]


def test_spans_become_segments_by_tier_with_names_apart():
    spans = (Span("AH", 0.2, 0.3), Span("T", 0.1, 0.2), Span("AH", 0.5, 1.4), Span("cat", 0.1, 0.6, "word"))
    found = from_spans(spans, "phone", seconds=1.0)
    assert [s.name for s in found] == ["T", "AH", "AH (2)"] and tiles(found[2])[0][:2] == (0.5, 1.0)
    assert [s.name for s in from_spans(spans, "word")] == ["cat"] and len(from_spans(spans, None)) == 4
    moved = from_spans(spans, "phone", seconds=0.9, shift=-0.25)
    assert [s.name for s in moved] == ["AH", "AH (2)"] and tiles(moved[0])[0][:2] == (
        0.0,
        pytest.approx(0.05),
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 998), max_size=12, unique=True), st.sampled_from([0.0, 0.005, 0.08]))
def test_pieces_that_touch_add_up_to_one(cuts, fade):
    edges = [0.0, *(cut / 1000 for cut in sorted(cuts)), 1.0]
    pieces = [Segment(str(k), "time", (Tile(a, b),)) for k, (a, b) in enumerate(itertools.pairwise(edges))]
    weights = membership(pieces, TIMES[::10], seconds=1.0, fade=fade)
    assert torch.allclose(weights.sum(0), torch.ones(1600, dtype=torch.float64), atol=1e-12)
    assert weights.min() >= 0 and overlap(weights) < 1e-9
    if not fade:
        assert torch.equal(numbers(pieces, TIMES[::10], seconds=1.0), weights.argmax(0))


def test_an_edge_is_half_a_cosine():
    (weights,) = membership([Segment("a", "time", (Tile(0.3, 0.6),))], TIMES, fade=0.1)
    expected = 0.5 - 0.5 * torch.cos(math.pi * (TIMES - 0.25) / 0.1)
    rising, flat = (TIMES >= 0.25) & (TIMES < 0.35), (TIMES >= 0.35) & (TIMES < 0.55)
    assert torch.allclose(weights[rising], expected[rising]) and (weights[flat] == 1).all()
    assert (weights[(TIMES < 0.25) | (TIMES > 0.65)] == 0).all()


def test_tiles_lie_in_time_and_frequency_by_loops():
    segments = [
        Segment("a", "x", (Tile(0.1, 0.2, 100, 300), Tile(0.5, 0.7, 200, math.inf))),
        Segment("b", "x", (Tile(0.0, 0.1),)),
    ]
    times, hertz = torch.arange(100) / 100, torch.arange(0, 500, 25.0)
    found, ids = membership(segments, times, hertz), numbers(segments, times, hertz)
    for i, f in enumerate(hertz.tolist()):
        for j, t in enumerate(times.double().tolist()):
            inside = [
                any(tile.start <= t < tile.stop and tile.low <= f < tile.high for tile in segment.tiles)
                for segment in segments
            ]
            assert found[:, i, j].tolist() == inside
            assert int(ids[i, j]) == (inside.index(True) if any(inside) else -1)


def test_equal_stretches_and_bands():
    found = time_segments(0.9, 3)
    assert [s.name for s in found] == ["0-300 ms", "300-600 ms", "600-900 ms"]
    for scale, map_ in (("mel", hz_to_mel), ("hertz", np.asarray)):
        found = bands(RATE, 5, scale)
        edges = [tile.low for s in found for tile in s.tiles] + [8000.0]
        assert np.allclose(np.diff(map_(edges)), map_(8000.0) / 5) and found[-1].tiles[0].high == math.inf
        weights = membership(found, TIMES[:5], torch.arange(0, 8001, 31.25), slope=31.25)
        assert torch.allclose(weights.sum(0), torch.ones(257, 5, dtype=torch.float64))
    assert bands(RATE, 4, "hertz")[1].name == "2000-4000 Hz"


def test_energy_finds_sounds_pauses_and_dips():
    wave, time = torch.zeros(RATE, dtype=torch.float64), TIMES
    for start, stop, size in ((0.2, 0.4, 0.5), (0.4, 0.45, 0.05), (0.45, 0.6, 0.4), (0.8, 0.9, 0.3)):
        inside = (time >= start) & (time < stop)
        wave[inside] = size * torch.sin(2 * math.pi * 300 * time[inside])
    found = energy_segments(wave, RATE)
    assert [s.name for s in found] == ["pause 1", "sound 1", "sound 2", "pause 2", "sound 3", "pause 3"]
    edges = [tile[0] for s in found for tile in tiles(s)][1:]
    assert np.allclose(edges, [0.2, 0.425, 0.6, 0.8, 0.9], atol=0.04)
    assert torch.allclose(membership(found, time, seconds=1.0).sum(0), torch.ones_like(time))
    (silent,) = energy_segments(torch.zeros(1000), RATE)
    assert silent.kind == "pause" and [s.kind for s in energy_segments(buzz(), RATE)] == ["sound"]
    louder = energy_segments(100 * wave, RATE)  # levels are relative
    assert louder == found


def test_harmonics_follow_the_pitch():
    found = harmonic_bands(buzz(150.0), RATE, 4)
    assert [s.name for s in found] == [f"harmonic {k}" for k in (1, 2, 3, 4)]
    for k, segment in enumerate(found, 1):
        low, high = (np.median([tile[side] for tile in tiles(segment)]) for side in (2, 3))
        assert (low, high) == (
            pytest.approx((k - 0.5) * 150, rel=0.01),
            pytest.approx((k + 0.5) * 150, rel=0.01),
        )
    weights = membership(found, TIMES[::160], torch.arange(0, 8000, 10.0), seconds=1.0, fade=0.01, slope=30)
    assert overlap(weights) < 1e-6
    with pytest.raises(HeschlError, match="no pitch"):
        harmonic_bands(torch.zeros(RATE), RATE)


def test_formants_do_not_overlap_and_hold_the_resonances():
    from scipy.signal import lfilter

    wave = buzz(110.0, top=72).numpy()
    for centre in (500, 1500, 2500, 3500, 4500):
        r = math.exp(-math.pi * 80 / RATE)
        wave = lfilter([1.0], [1.0, -2 * r * math.cos(2 * math.pi * centre / RATE), r * r], wave)
    found = formant_bands(torch.from_numpy(wave), RATE, 2)
    assert [s.name for s in found] == ["F1", "F2"]
    for segment, centre in zip(found, (500, 1500)):
        holds = np.mean([low < centre < high and high - low < 300.001 for _, _, low, high in segment.tiles])
        assert holds > 0.9
    weights = membership(found, TIMES[::160], torch.arange(0, 8000, 10.0), seconds=1.0)
    assert overlap(weights) == 0
    wide = formant_bands(torch.from_numpy(wave), RATE, 3, width=900)  # up to the middle between two
    assert overlap(membership(wide, TIMES[::160], torch.arange(0, 8000, 10.0), seconds=1.0)) == 0
    assert np.median([tile.high for tile in wide[0].tiles]) == pytest.approx(1000, abs=40)
    with pytest.raises(HeschlError, match="no voice"):
        formant_bands(torch.zeros(RATE), RATE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_a_voice(kind):
    spans = (Span("AH", 0.1, 0.5), Span("a", 0.1, 0.5, "word"))
    found = segments_of(kind, buzz(), RATE, spans)
    names = [segment.name for segment in found]
    assert names and len(names) == len(set(names))
    if kind in ("phone", "word"):
        assert len(found) == 1 and segments_of(kind, buzz(), RATE)[0].kind == "sound"  # none: by energy
    if kind in ("time", "hertz", "mel", "harmonic"):
        assert len(segments_of(kind, buzz(), RATE, n=5)) == 5


def test_bad_input_is_one_sentence():
    with pytest.raises(HeschlError, match="choose phone, word"):
        segments_of("syllable", buzz(), RATE)
    with pytest.raises(HeschlError, match="one clip"):
        segments_of("energy", torch.zeros(2, 100), RATE)
    with pytest.raises(HeschlError, match="at least one"):
        segments_of("time", buzz(), RATE, n=0)
    with pytest.raises(HeschlError, match="does not lie in time alone"):
        membership(bands(RATE, 3), TIMES)
    with pytest.raises(HeschlError, match="must lie above"):
        Segment("a", "time", (Tile(0.3, 0.3),))
    with pytest.raises(HeschlError, match="is empty"):
        Segment("a", "time", ())
    with pytest.raises(HeschlError, match="hertz or mel"):
        bands(RATE, 3, "bark")
