"""Scores over frames, against scikit-learn and a matching that tries every pairing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from sklearn import metrics

from heschl.tasks import frame_scores as frames
from heschl.types import HeschlError

LABELS = ["SIL", "AA", "B", "K"]


def utterances(n: int = 8, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    random = np.random.default_rng(seed)
    truth = [np.repeat(random.integers(4, size=9), random.integers(3, 12, size=9)) for _ in range(n)]
    guess = [np.where(random.random(len(t)) < 0.3, random.integers(4, size=len(t)), t) for t in truth]
    truth[0][:4] = -100
    return truth, guess


def test_frames_with_and_without_silence_agree_with_scikit_learn():
    truth, guess = utterances()
    result = frames.frame_scores(truth, guess, LABELS, rate=100.0, silence="SIL", groups=list("aabbccdd"))
    flat_truth, flat_guess = np.concatenate(truth), np.concatenate(guess)
    known = flat_truth >= 0
    spoken = flat_truth > 0
    for part, keep in (("all", known), ("without_silence", spoken)):
        assert result[part]["n"] == keep.sum()
        assert result[part]["accuracy"]["value"] == pytest.approx((flat_truth == flat_guess)[keep].mean())
        expected = metrics.balanced_accuracy_score(flat_truth[keep], flat_guess[keep])
        assert result[part]["balanced_accuracy"]["value"] == pytest.approx(expected)
    assert result["all"]["interval_over"] == "speaker" and result["all"]["n_groups"] == 4


def test_without_speakers_the_interval_is_over_clips_not_frames():
    truth, guess = utterances(20)
    over_clips = frames.frame_scores(truth, guess, LABELS, rate=100.0)["all"]
    assert over_clips["interval_over"] == "clip"
    width = over_clips["accuracy"]["high"] - over_clips["accuracy"]["low"]
    one_clip_a_frame = (
        [np.array([t]) for t in np.concatenate(truth)],
        [np.array([g]) for g in np.concatenate(guess)],
    )
    per_frame = frames.frame_scores(*one_clip_a_frame, LABELS, rate=100.0)["all"]["accuracy"]
    assert width > 0.7 * (
        per_frame["high"] - per_frame["low"]
    )  # never pretends to more independence than clips


def test_segments_are_runs():
    assert frames.segments(np.array([0, 0, 1, 1, 1, -100, 1, 2]), 10.0, silence=0) == [
        (1, 0.2, 0.5),
        (1, 0.6, 0.7),
        (2, 0.7, 0.8),
    ]
    assert frames.segments(np.array([], int), 10.0) == []


def test_perfect_answers_find_everything_and_late_ones_nothing():
    truth, _ = utterances()
    perfect = frames.frame_scores(truth, truth, LABELS, rate=100.0, silence="SIL")
    assert perfect["segments"]["f1"] == perfect["boundaries"]["f1"] == 1.0
    steady = [np.repeat([1, 2, 3, 1, 2, 3], 10)]
    for shift, expected in ((2, True), (3, False)):
        late = frames.frame_scores(steady, [np.roll(steady[0], shift)], LABELS, rate=100.0)
        assert (late["segments"]["f1"] > 0.5) is expected  # 20 ms late is found, 30 ms is not


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=40), st.lists(st.integers(0, 2), min_size=1, max_size=40)
)
def test_found_segments_are_the_largest_possible_matching(said, answered):
    a = frames.segments(np.array(said), 100.0)
    b = frames.segments(np.array(answered), 100.0)
    near = np.array(
        [[x[0] == y[0] and abs(x[1] - y[1]) < 0.0201 and abs(x[2] - y[2]) < 0.0201 for y in b] for x in a]
    )
    best = (maximum_bipartite_matching(csr_matrix(near), perm_type="column") >= 0).sum()
    assert frames.segments_found(a, b) == best
    left, right = frames._edges(a), frames._edges(b)
    near = np.array([[abs(x - y) < 0.0201 for y in right] for x in left])
    best = (maximum_bipartite_matching(csr_matrix(near), perm_type="column") >= 0).sum()
    assert frames.edges_found(left, right) == best


def test_nothing_labelled_is_refused():
    with pytest.raises(HeschlError, match="nothing to score"):
        frames.frame_scores([np.full(5, -100)], [np.zeros(5, int)], LABELS, rate=100.0)
