"""`heschl compare`: pairing and its interval against loops and simulated truth, and the step on trained networks."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from scipy import stats

from heschl.files import read_csv, read_json
from heschl.run import Run
from heschl.steps import alike
from heschl.steps.compare import compare
from heschl.steps.explaining import Input
from heschl.steps.sides import Answered, Side, find_runs, paired, side, spread
from heschl.training.fit import train
from heschl.types import HeschlError

DIGITS = {
    "format": 1,
    "name": "digits",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 12},
    "split": {"use": "fractions", "validation": 0.2, "test": 0.4},
    "clip": {"seconds": 0.9, "short": "centre"},
    "feature": {"use": "mel.LogMel", "normalise": "energy"},
    "model": {"use": "kws.KWS", "width": 16, "stem": 8, "depth": 1},
    "task": {"use": "classify.Classify", "label": "digit"},
    "train": {"epochs": 2, "batch": 16, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}
OTHER = {**DIGITS, "name": "longer", "train": {**DIGITS["train"], "epochs": 6}}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        folder = tmp_path_factory.mktemp("runs")
        return tuple(train(recipe, runs=folder, quiet=True) for recipe in (DIGITS, OTHER))  # type: ignore[return-value]


def _side(right: np.ndarray, speakers: list[str], truth: list[str], name: str = "a", weight=None) -> Side:
    """right: (run, clip)."""
    weight = np.ones(right.shape[1]) if weight is None else weight
    clips = {
        f"c{k}": Answered(truth[k], speakers[k], weight[k], list(right[:, k]), [str(v) for v in right[:, k]])
        for k in range(right.shape[1])
    }
    return Side(name, [], "clips", ("x", "y"), False, clips, [])


# --- pairing -----------------------------------------------------------------------------------------------


def test_differences_are_those_of_loops():
    rng = np.random.default_rng(0)
    one, other = rng.integers(2, size=(2, 60)).astype(float), rng.integers(2, size=(1, 60)).astype(float)
    speakers, truth = [f"s{k % 6}" for k in range(60)], ["x" if k < 45 else "y" for k in range(60)]
    names = [f"c{k}" for k in range(60)]
    held = paired(_side(one, speakers, truth), _side(other, speakers, truth), names)
    a, b = one.mean(0), other.mean(0)
    assert held["difference"]["value"] == pytest.approx((b - a).mean())
    each = [np.mean([b[k] - a[k] for k in range(60) if truth[k] == name]) for name in "xy"]
    assert held["balanced_difference"]["value"] == pytest.approx(np.mean(each))
    shares = held["agreement"]
    assert shares["both"] + shares["only_one"] + shares["only_other"] + shares["neither"] == pytest.approx(1)
    assert shares["only_other"] - shares["only_one"] == pytest.approx((b - a).mean())
    same = np.mean([np.mean([one[r, k] == other[0, k] for r in range(2)]) for k in range(60)])
    assert shares["same_answer"] == pytest.approx(same)
    for row in held["speakers"]:
        own = [k for k in range(60) if speakers[k] == row["speaker"]]
        assert row["difference"] == pytest.approx((b - a)[own].mean()) and row["clips"] == len(own)
    turned = paired(_side(other, speakers, truth), _side(one, speakers, truth), names)
    assert turned["difference"]["value"] == pytest.approx(-held["difference"]["value"])


@pytest.mark.slow
def test_pairing_takes_what_speakers_share_out_of_the_interval():
    """Speakers differ by far more than the two networks do: the paired interval is narrow, and holds the truth."""
    rng = np.random.default_rng(1)
    inside, widths = 0, []
    for k in range(30):
        easy = rng.uniform(0.1, 0.9, 20)
        speakers = [f"s{i:02}" for i in np.repeat(np.arange(20), 40)]
        a = rng.uniform(size=(1, 800)) < np.repeat(easy, 40)
        b = rng.uniform(size=(1, 800)) < np.repeat(easy + 0.08, 40)
        truth = ["x"] * 800
        held = paired(
            _side(a.astype(float), speakers, truth),
            _side(b.astype(float), speakers, truth),
            [f"c{i}" for i in range(800)],
            draws=400,
            seed=k,
        )["difference"]
        inside += held["low"] <= 0.08 <= held["high"]
        widths.append(held["high"] - held["low"])
    assert 0.8 < inside / 30 <= 1
    assert np.mean(widths) < 0.12  # unpaired over speakers it would be about 0.3


def test_frames_weigh_as_many_as_they_are():
    one, other = np.array([[0.5, 0.5]]), np.array([[1.0, 0.5]])
    sides = [_side(right, ["a", "b"], ["", ""], weight=np.array([30.0, 10.0])) for right in (one, other)]
    for own in sides:
        own.kind = "frames"
    held = paired(*sides, ["c0", "c1"])
    assert held["difference"]["value"] == pytest.approx(0.5 * 30 / 40)
    assert held["balanced_difference"] is None


def test_seeds_and_folds_stay_apart():
    own = _side(np.ones((1, 2)), ["a", "b"], ["x", "y"])
    own.scores = [(0, 0, 0.8), (1, 0, 0.6), (0, 1, 0.9), (1, 1, 0.7)]
    found = spread(own)
    assert found["n_seeds"] == found["n_folds"] == 2 and not found["mixed"]
    assert found["sd_over_seeds"] == pytest.approx(np.std([0.85, 0.65], ddof=1))
    assert found["sd_over_folds"] == pytest.approx(np.std([0.7, 0.8], ddof=1))
    own.scores = [(0, 0, 0.8), (1, 1, 0.6)]
    found = spread(own)
    assert found["mixed"] and found["sd_over_seeds"] is None
    assert found["sd_over_both"] == pytest.approx(np.std([0.8, 0.6], ddof=1))


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(2)
    x, y = rng.integers(5, size=30).astype(float), rng.standard_normal(34)
    expected = stats.spearmanr(x, y[:30]).statistic
    assert alike._rank_correlation(x, y) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(alike._rank_correlation(np.ones(9), y))


@pytest.mark.parametrize("rate", [100.0, 16000 / 224, 40.0, 8000.0])
def test_even_relevance_is_an_even_curve(rate, monkeypatch):
    """However many steps fall into a bin: else two networks of one rate would be alike by their steps alone."""
    n = round(0.7 * rate)
    heard = Input(None, torch.zeros(3, n), rate, 0.5 / rate)
    monkeypatch.setattr(alike, "read_input", lambda *_: heard)
    monkeypatch.setattr(alike, "answers_to", lambda *_: torch.zeros(1, 2))
    monkeypatch.setattr(alike, "explained", lambda network: network)
    monkeypatch.setattr(alike, "relevance_of", lambda model, way, x, *_: torch.ones_like(x))
    curve = alike._curve(None, None, None)
    assert len(curve) == 35 and np.allclose(curve, 3 * rate * alike.BIN, atol=1e-6 * rate)
    late = heard._replace(start=-0.1)  # zeros were put before the clip
    monkeypatch.setattr(alike, "read_input", lambda *_: late)
    assert len(alike._curve(None, None, None)) == round((late.times[-1] + 0.5 / rate) / alike.BIN)


# --- the step ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_runs_side_by_side(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("heschl.steps.compare._draw", lambda *_: None)  # the pictures take seconds
    held = compare(*runs, method="gradient_x_input", clips=8, out=tmp_path)
    assert held == read_json(tmp_path / "compare.json")
    scores = [read_json(run.folder / "evaluate" / "test" / "scores.json")["scores"] for run in runs]
    values = [one["accuracy"]["value"] for one in scores]
    assert held["one"]["accuracy"] == pytest.approx(values[0])
    assert held["difference"]["value"] == pytest.approx(values[1] - values[0])
    assert held["balanced_difference"]["value"] == pytest.approx(
        scores[1]["balanced_accuracy"]["value"] - scores[0]["balanced_accuracy"]["value"]
    )
    rows = read_csv(tmp_path / "clips.csv")
    assert {row["id"] for row in rows} == set(runs[0].split.test)
    assert np.mean([float(row["right_other"]) for row in rows]) == pytest.approx(values[1])
    assert np.shape(held["similarity"]["table"]) == (4, 4)
    assert held["explanations"]["why_not"] == "" and held["explanations"]["clips"] == 8
    assert held["explanations"]["alike"]["value"] > held["explanations"]["control"]["value"]


@pytest.mark.slow
def test_the_seed_reaches_the_intervals_of_explanations(runs, tmp_path, monkeypatch):
    seen: list[int] = []

    def noted(one, other, clips, method, seed=0):
        seen.append(seed)
        return {"method": method, "clips": 0, "why_not": "nobody asked"}

    monkeypatch.setattr("heschl.steps.compare._draw", lambda *_: None)
    monkeypatch.setattr("heschl.steps.compare.explained_alike", noted)
    compare(*runs, method="gradient", clips=4, seed=7, out=tmp_path)
    assert seen == [7]


@pytest.mark.slow
def test_a_run_and_its_copy_cannot_be_told_apart(runs, tmp_path):
    shutil.copytree(runs[0].folder, tmp_path / "copy")
    held = compare(runs[0], tmp_path / "copy", method="gradient", clips=6, out=tmp_path / "out")
    assert held["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert held["agreement"]["same_answer"] == 1.0
    assert held["explanations"]["alike"]["value"] == pytest.approx(1)
    assert np.allclose(np.diag(held["similarity"]["table"]), 1)
    for name in ("speakers.svg", "speakers.png", "similarity.svg", "per_speaker.csv", "similarity.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 0


@pytest.mark.slow
def test_bad_input_is_told(runs, tmp_path):
    with pytest.raises(HeschlError, match="both sides"):
        compare(runs[0], runs[0])
    with pytest.raises(HeschlError, match="several recipes"):
        find_runs(runs[0].folder.parent)
    with pytest.raises(HeschlError, match="holds no runs"):
        find_runs(tmp_path)
    with pytest.raises(HeschlError, match="no part"):
        side([runs[0]], "tset")
    assert len(find_runs([runs[0], runs[0].folder])) == 1
    shown = alike.explained_alike(*runs, [], "no_such_method")
    assert "no_such_method" in shown["why_not"]
