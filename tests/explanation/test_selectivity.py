"""PSI and FSI against scipy's rank sum, statsmodels-like Holm by loops, and planted units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from heschl.corpora.arpabet import CONSONANTS, PHONES, VOWELS
from heschl.explanation import selectivity as sel
from heschl.types import HeschlError


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 12), st.integers(1, 6))
def test_rank_sum_is_scipys_with_ties(seed, n, m, levels):
    rng = np.random.default_rng(seed)
    x, y = (
        rng.integers(levels + 1, size=(n, 3)).astype(float),
        rng.integers(levels, size=(m, 3)).astype(float),
    )
    above, below = sel.rank_sum(x, y)
    for unit in range(3):
        if np.ptp(np.r_[x[:, unit], y[:, unit]]) == 0:
            assert above[unit] == below[unit] == 1
            continue
        for found, side in ((above, "greater"), (below, "less")):
            oracle = stats.mannwhitneyu(x[:, unit], y[:, unit], alternative=side, method="asymptotic")
            assert found[unit] == pytest.approx(oracle.pvalue, abs=1e-12)


def _holm(p: list[float], alpha: float) -> list[bool]:
    passed = [False] * len(p)
    for k, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[place] > alpha / (len(p) - k):
            break
        passed[place] = True
    return passed


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.01, 0.5))
def test_holm_is_that_of_a_loop(p, alpha):
    assert sel.holm(np.array(p)[:, None], alpha)[:, 0].tolist() == _holm(p, alpha)


def test_psi_is_counted_as_the_text_says():
    rng = np.random.default_rng(0)
    phones = np.repeat(["AA", "B", "S", "T"], 12).tolist()
    responses = rng.standard_normal((48, 5))
    responses[:12, 1] += 6
    responses[24:36, 2] += 3
    found, names = sel.psi(responses, phones)
    said = np.array(phones)
    for unit in range(5):
        pairs = [(p, q) for p in names for q in names if p != q]
        values = [
            stats.mannwhitneyu(
                responses[said == p, unit],
                responses[said == q, unit],
                alternative="greater",
                method="asymptotic",
            ).pvalue
            for p, q in pairs
        ]
        passed = _holm(values, 0.01)
        for k, name in enumerate(names):
            expected = sum(one for one, (p, _) in zip(passed, pairs, strict=True) if p == name)
            assert found[unit, k] == expected
    assert found[1].tolist() == [3, 0, 0, 0]
    assert found[0].sum() == 0


@pytest.mark.slow
def test_planted_units_are_found_and_noise_is_not():
    rng = np.random.default_rng(1)
    phones = rng.choice(PHONES, size=39 * 25).tolist()
    has = {name: np.isin(phones, list(sel.FEATURES[name])) for name in ("vowel", "sibilant")}
    responses = rng.standard_normal((len(phones), 60))
    responses[:, 0] += 4 * has["vowel"]
    responses[:, 1] += 4 * has["sibilant"]
    responses[:, 2] += 6 * (np.array(phones) == "S")
    by_phone, names = sel.psi(responses, phones)
    by_feature, features = sel.fsi(responses, phones)
    vowels = np.isin(names, VOWELS)
    assert by_phone[0, vowels].min() >= 20 and by_phone[0, ~vowels].max() == 0
    assert names[by_phone[2].argmax()] == "S" and by_phone[2].max() == len(names) - 1
    own = dict(zip(features, by_feature[1].tolist(), strict=True))
    assert own["sibilant"] > 12 and own["nasal"] == own["vowel"] == own["plosive"] == 0
    assert by_feature[0, features.index("vowel")] > 10
    assert by_phone[3:].sum() <= 2 and by_feature[3:].sum() <= 2  # 1 % a unit, for all of its tests together


def test_fsi_counts_tokens_with_one_feature_and_without_the_other():
    table = {"a": frozenset({"P", "B"}), "b": frozenset({"B", "S"}), "c": frozenset({"P", "B", "S"})}
    phones = np.repeat(["P", "B", "S", "SIL"], 15).tolist()
    responses = np.r_[np.arange(15) + 100, np.arange(15) - 900, np.arange(15), np.arange(15) + 1e6][:, None]
    found, names = sel.fsi(responses, phones, features=table)
    # a against b is P against S: higher. Against c no token has a alone, so that pair is left out.
    assert dict(zip(names, found[0].tolist(), strict=True)) == {"a": 1, "b": 0, "c": 0}


def test_the_table_of_features_is_consistent():
    for phone in PHONES:
        held = set(sel.features_of(phone))
        assert len(held & {"vowel", "consonant"}) == 1
        assert len(held & {"voiced", "voiceless"}) == 1
        assert len(held & {"obstruent", "sonorant"}) == 1
        if phone in VOWELS:
            assert len(held & {"high", "mid", "low"}) == 1 and len(held & {"front", "central", "back"}) == 1
        else:
            assert len(held & {"plosive", "affricate", "fricative", "nasal", "approximant"}) == 1
            assert phone == "HH" or len(held & {"labial", "coronal", "dorsal"}) == 1 or phone == "Y"
    assert len({sel.features_of(phone) for phone in CONSONANTS}) > 15
    with pytest.raises(HeschlError, match="none of"):
        sel.features_of("XX")


def test_response_is_the_mean_over_the_window_or_the_nearest_step():
    times = np.array([0.05, 0.15, 0.25, 0.35])
    values = np.array([[1.0, 10], [2, 20], [4, 40], [8, 80]])
    found = sel.response(values, times, [0.1, 0.9], window=(0.0, 0.2))
    assert found.tolist() == [[3.0, 30.0], [8.0, 80.0]]
    with pytest.raises(HeschlError, match="window"):
        sel.response(values, times, [0.1], window=(0.1, 0.1))
    with pytest.raises(HeschlError, match="do not fit"):
        sel.response(values, times[:2], [0.1])


def test_bad_input_is_told():
    values = np.zeros((10, 2))
    for call, said in [
        (lambda: sel.psi(values, ["A"] * 9), "do not fit"),
        (lambda: sel.psi(values, ["A"] * 10), "compares two"),
        (lambda: sel.psi(values + np.nan, ["A"] * 10), "finite"),
        (lambda: sel.fsi(values, ["SIL"] * 10), "compares two"),
    ]:
        with pytest.raises(HeschlError, match=said):
            call()
    assert sel.psi(values, ["A"] * 5 + ["B"] * 5)[0].sum() == 0  # silent units prefer nothing
