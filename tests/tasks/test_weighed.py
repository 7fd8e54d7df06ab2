"""Intervals of probes and of two networks' difference: whole speakers, few of them by t, held against planted truths."""

from __future__ import annotations

import numpy as np
import pytest

from heschl.explanation import probe as pr
from heschl.steps.sides import Answered, Side, paired
from heschl.tasks.intervals import mean_over, weighed

EACH, TIMES = 40, 150


def probed(count: int, shares: tuple[float, float], apart: float, seed: int) -> tuple[pr.Probed, pr.Probed]:
    """Two probes of two classes, asked of one voice after the other: each speaker is read to a degree of its own."""
    random = np.random.default_rng((seed, count))
    size = (1 - apart) / apart
    skill = np.repeat([random.beta(share * size, (1 - share) * size, count) for share in shares], EACH, 1)
    truth, groups = random.integers(2, size=count * EACH), np.repeat(np.arange(count), EACH)
    right = random.random(skill.shape) < skill
    one, other = (
        pr.Probed("class", truth, np.where(own, truth, 1 - truth), 0.0 * truth, groups, ("a", "b"), ())
        for own in right
    )
    return one, other


def numbers(count: int, apart: float, seed: int) -> pr.Probed:
    """A probe of numbers: what it leaves of their variance (1) is 0.4 on average, each speaker's own."""
    random = np.random.default_rng((seed, count))
    spread = np.repeat(0.4 * random.gamma(1 / apart, apart, count), EACH)
    truth = random.normal(size=count * EACH)
    answers = truth + np.sqrt(spread) * random.normal(size=len(truth))
    return pr.Probed("number", truth, answers, 0 * truth, np.repeat(np.arange(count), EACH), (), ())


def percentiles(statistic, groups: np.ndarray, seed: int) -> tuple[float, float]:
    """What a bootstrap of so few would have said."""
    n = groups.max() + 1
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=200)
    low, high = np.percentile([statistic(times[groups].astype(float)) for times in drawn], [2.5, 97.5])
    return low, high


def sides(right: np.ndarray, groups: np.ndarray, truth: np.ndarray) -> list[Side]:
    """right (side, clip)."""
    held = []
    for own in right:
        clips = {
            str(k): Answered(str(truth[k]), str(groups[k]), 1.0, [float(v)], [str(v)])
            for k, v in enumerate(own)
        }
        held.append(Side("a", [], "clips", ("x", "y"), False, clips, []))
    return held


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 7])
@pytest.mark.parametrize("what", ["score", "difference", "numbers", "paired"])
def test_intervals_over_few_speakers_hold_the_truth_as_often_as_they_say(what: str, count: int) -> None:
    inside, narrower = [], []
    for k in range(TIMES):
        one, other = probed(count, (0.55, 0.75), 0.05, k)
        if what == "numbers":
            one, truth = numbers(count, 0.3, k), 0.6
        elif what == "score":
            truth = 0.55
        else:
            truth = -0.2 if what == "difference" else 0.2

        def statistic(w: np.ndarray, one: pr.Probed = one, other: pr.Probed = other) -> float:
            return pr.difference(one, other, w) if what in ("difference", "paired") else pr.score(one, w)

        if what == "paired":
            two = sides(
                np.array([one.truth == one.answers, other.truth == other.answers]), one.groups, one.truth
            )
            found = paired(*two, list(two[0].clips), draws=60)["balanced_difference"]
            narrow = tuple(-v for v in reversed(percentiles(statistic, one.groups, k)))
        else:
            found = weighed(statistic, one.groups, draws=60)
            narrow = percentiles(statistic, one.groups, k)
        inside.append(found["low"] <= truth <= found["high"])
        narrower.append(narrow[0] <= truth <= narrow[1])
    assert 0.91 <= np.mean(inside) <= 0.995
    assert np.mean(narrower) < 0.91  # what a bootstrap of so few would have held
    assert np.mean(narrower) < np.mean(inside)


@pytest.mark.slow
def test_intervals_over_many_speakers_are_a_bootstraps() -> None:
    inside = []
    for k in range(100):
        one, _ = probed(20, (0.65, 0.5), 0.1, k)
        found = weighed(lambda w, one=one: pr.score(one, w), one.groups, draws=300, seed=k)
        inside.append(found["low"] <= 0.65 <= found["high"])
        if k == 0:
            n = np.random.default_rng(0).multinomial(20, np.full(20, 0.05), size=300)
            wanted = np.percentile([pr.score(one, w[one.groups].astype(float)) for w in n], [2.5, 97.5])
            assert (found["low"], found["high"]) == pytest.approx(tuple(wanted))
    assert 0.86 < np.mean(inside) <= 1.0


def test_a_t_interval_written_out_and_what_it_is_never_narrower_than() -> None:
    """Of a mean it is `mean_over`'s; where speakers are alike by luck it is that over clips, whose samples stay together."""
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(4), [30, 40, 50, 40])
    values = random.normal(size=160) + np.array([0.0, 1.0, 3.0, 2.0])[groups]

    def mean(w: np.ndarray) -> float:
        return float(w @ values / w.sum())

    found = weighed(mean, groups)
    without = np.array([values[groups != k].mean() for k in range(4)])
    half = 3.1824463 * np.sqrt(0.75 * np.square(without - without.mean()).sum())
    assert (found["low"], found["high"]) == pytest.approx((values.mean() - half, values.mean() + half))
    other = mean_over(values, groups)
    assert (found["low"], found["high"]) == pytest.approx((other["low"], other["high"]))
    clips = np.arange(160) // 5  # frames of a clip are equal: they are one piece of news, not five
    values = np.tile([0.0, 1.0], 16)[clips]
    groups = np.arange(160) // 40
    alike, of_clips = (weighed(mean, groups, units=units, draws=2000) for units in (None, clips))
    assert alike["high"] - alike["low"] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(160), rel=0.1)
    assert of_clips["high"] - of_clips["low"] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(32), rel=0.1)


def test_one_speaker_has_no_interval_and_none_passes_the_ends() -> None:
    right = np.array([1.0] * 12 + [0.0, 1.0, 1.0, 0.0])
    groups = ["a"] * 4 + ["b"] * 4 + ["c"] * 4 + ["d"] * 4
    assert mean_over(right, groups)["high"] > 1
    assert mean_over(right, groups, ends=(0.0, 1.0))["high"] == 1
    assert weighed(lambda w: float(w @ right / w.sum()), groups, ends=(0.0, 1.0))["high"] == 1
    alone = weighed(lambda w: float(w @ right / w.sum()), ["a"] * 16)
    assert alone == {"value": 0.875, "low": None, "high": None}
