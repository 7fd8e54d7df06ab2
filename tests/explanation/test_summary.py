"""Regions, speakers and tests: against scipy's permutation test, loops, and regions that were planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from heschl.explanation.summary import Region, holm, permutation_p, regions, summarise
from heschl.types import HeschlError, Span

TIMES = np.arange(10) / 10 + 0.05
SPANS = [Span("s", 0.0, 0.3), Span("ih", 0.3, 0.6), Span("s", 0.8, 0.9), Span("six", 0.0, 0.9, "word")]


def test_regions_are_those_that_loops_find():
    random = np.random.default_rng(0)
    relevance, frequencies = random.normal(size=(6, 10)), np.array([100, 200, 600, 1500, 3000, 9000])
    found = {(one.kind, one.name): one for one in regions(relevance, TIMES, SPANS, frequencies)}
    total = sum(max(v, 0) for v in relevance.ravel())
    for name, frames in {"s": [0, 1, 2, 8], "ih": [3, 4, 5], "(none)": [6, 7, 9]}.items():
        own = sum(max(relevance[k, t], 0) for k in range(6) for t in frames)
        assert found["phone", name].relevance == pytest.approx(own / total)
        assert found["phone", name].area == pytest.approx(len(frames) / 10)
    for name, rows in {"0 to 300 Hz": [0, 1], "300 to 1000 Hz": [2], "above 8000 Hz": [5]}.items():
        own = sum(max(relevance[k, t], 0) for k in rows for t in range(10))
        assert found["band", name].relevance == pytest.approx(own / total)
        assert found["band", name].area == pytest.approx(len(rows) / 6)
    assert ("band", "4000 to 8000 Hz") not in found  # no row lies there
    for kind in ("phone", "word", "band"):
        assert sum(one.relevance for key, one in found.items() if key[0] == kind) == pytest.approx(1)
    assert regions(-np.ones((6, 10)), TIMES, SPANS) == []


@pytest.mark.parametrize("n", [6, 9, 13])
def test_p_is_that_of_scipys_exact_test(n):
    values = np.random.default_rng(n).normal(0.4, 1, n)
    wanted = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    ).pvalue
    assert permutation_p(values) == pytest.approx(wanted)


def test_many_speakers_are_flipped_at_random_near_the_t_test():
    values = np.random.default_rng(0).normal(0.3, 1, 60)
    assert permutation_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)
    assert permutation_p(values, seed=1) == permutation_p(values, seed=1)


def test_chance_is_called_chance_as_often_as_it_should():
    random = np.random.default_rng(0)
    found = [permutation_p(random.normal(size=8)) for _ in range(400)]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_holm_by_its_definition():
    p = np.random.default_rng(0).uniform(0, 0.2, 12)
    for k, found in enumerate(holm(p)):
        # the corrected p: the highest, over all p not above it, of p times the number of p not below
        wanted = max(min(1, q * sum(p >= q)) for q in p if q <= p[k])
        assert found == pytest.approx(wanted)
    assert holm([]) == []


def _clips(speakers: int, planted: float):
    random = np.random.default_rng(1)
    for who in range(speakers):
        for _ in range(3):
            relevance = random.uniform(size=(4, 10))
            relevance[:, :3] += planted
            yield f"v{who}", regions(relevance, TIMES, SPANS[:2])


def test_a_planted_phone_is_found_and_nothing_where_nothing_is():
    rows, sentence = summarise(_clips(12, 0.5))
    assert sentence == "" and rows[0]["name"] == "s" and rows[0]["difference"] > 0.1
    assert rows[0]["p_holm"] < 0.01 and rows[0]["clips"] == 36 and rows[0]["speakers"] == 12
    rows, _ = summarise(_clips(12, 0.0))
    assert all(row["p_holm"] > 0.05 for row in rows)


def test_a_mean_is_over_speakers_not_clips():
    one, other = Region("phone", "s", 0.2, 0.1), Region("phone", "s", 0.8, 0.1)
    rows, _ = summarise([("a", [one]), ("a", [one]), ("a", [one]), ("b", [other])])
    assert rows[0]["relevance"] == pytest.approx(0.5) and rows[0]["clips"] == 4


def test_too_few_speakers_are_refused_in_a_sentence():
    with pytest.raises(HeschlError, match="5 speakers are too few for a permutation test"):
        permutation_p(np.ones(5))
    rows, sentence = summarise(_clips(3, 1.0))
    assert all(row["p"] is None and row["p_holm"] is None for row in rows) and "too few" in sentence
    clips = [*_clips(8, 0.5), ("v0", [Region("phone", "zh", 0.9, 0.1)])]
    rows, sentence = summarise(clips)
    assert "1 of 4 regions has no test" in sentence
    assert [row["name"] for row in rows if row["p"] is None] == ["zh"]


def test_where_no_corrected_p_can_be_small_it_is_said():
    clips = [(f"v{k}", [Region("phone", f"p{j}", 0.5, 0.1) for j in range(30)]) for k in range(8)]
    rows, sentence = summarise(clips)
    assert min(row["p_holm"] for row in rows) == pytest.approx(30 * 2 / 2**8)
    assert "with 8 speakers, of the 30 phones none can have a corrected p below 0.23" in sentence
