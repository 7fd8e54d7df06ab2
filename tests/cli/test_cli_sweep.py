"""`heschl sweep` and `heschl crossval` as they are typed."""

from __future__ import annotations

import json

import numpy as np
from typer.testing import CliRunner

from heschl.cli import app
from heschl.tasks.scores import classification_scores


def test_sweep_as_typed(monkeypatch):
    import heschl.steps.sweep as step

    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    row = {
        "set": {"model.width": 8},
        "run": "runs/a",
        "error": "",
        "balanced_accuracy": score,
        "accuracy": score,
    }
    row |= {
        "n": 90,
        "n_groups": 3,
        "group": "speaker",
        "interval_over": "speaker",
        "chance": 0.1,
        "synthetic": True,
    }
    lost = {"set": {"model.width": 9}, "run": "", "error": "too odd"}
    held = {
        "keys": ["model.width"],
        "variants": [row, lost],
        "best": row,
        "as_good": 2,
        "failed": 1,
        "of": 2,
        "folder": "F",
    }
    asked = {}

    def swept(recipe, choices, overrides, **more):
        asked.update(more, choices=choices, overrides=overrides)
        return held

    monkeypatch.setattr(step, "sweep", swept)
    runner = CliRunner()
    words = ["sweep", "kws-small", "model.width=8,9", "train.epochs=2", "--random", "2", "--seed", "5"]
    found = runner.invoke(app, words)
    assert found.exit_code == 0, found.output
    assert asked["choices"] == {"model.width": [8, 9]} and asked["overrides"] == {"train.epochs": 2}
    assert (asked["random"], asked["seed"]) == (2, 5)
    for text in (
        "50 % [40, 60]",
        "3 speakers",
        "too odd",
        "test part was not looked at",
        "synthetic",
        "next: heschl evaluate runs/a",
    ):
        assert text in found.output
    assert json.loads(runner.invoke(app, [*words, "--json"]).stdout) == held
    row["brains"] = True
    assert "The brains are simulated." in runner.invoke(app, words).output


def test_folds_are_told_of_what_they_are(monkeypatch):
    import heschl.steps.crossval as folds

    fold = {"fold": 0, "run": "runs/a", "clips": 8, "n_groups": 2, "balanced_accuracy": 0.5, "accuracy": 0.5}
    score = {"mean": 0.5, "sd": None, "n": 1}
    held = {"group": "block", "folds": [fold], "chance": 0.1, "synthetic": True, "folder": "F"}
    held |= {"balanced_accuracy": score, "accuracy": score, "macro_f1": score}
    runner = CliRunner()
    for brains, said in ((True, "The brains are simulated."), (False, "The speech is synthetic.")):
        monkeypatch.setattr(folds, "crossval", lambda *_, brains=brains, **__: {**held, "brains": brains})
        assert said in runner.invoke(app, ["crossval", "x"]).output


def test_folds_without_speakers_say_that_they_may_cross(monkeypatch):
    import heschl.steps.crossval as folds

    fold = {
        "fold": 0,
        "run": "runs/a",
        "clips": 8,
        "n_groups": None,
        "balanced_accuracy": 0.5,
        "accuracy": 0.5,
    }
    score = {"mean": 0.5, "sd": None, "n": 1}
    pooled = classification_scores(np.eye(3)[[0, 1, 2, 2]], np.array([0, 1, 2, 1]), None, by="clip")
    held = {
        "group": "clip",
        "folds": [fold],
        "chance": 0.1,
        "synthetic": False,
        "folder": "F",
        "pooled": pooled,
    }
    held |= {"balanced_accuracy": score, "accuracy": score, "macro_f1": score}
    monkeypatch.setattr(folds, "crossval", lambda *_, **__: held)
    output = CliRunner().invoke(app, ["crossval", "x"]).output
    assert "4 clips, 95 % interval over clips; speakers may cross" in output
    assert output.splitlines()[0].split() == ["fold", "clips", "balanced", "accuracy"]


def test_bad_input_is_one_sentence():
    runner = CliRunner()
    assert "Example: heschl sweep" in runner.invoke(app, ["sweep", "--help"]).output
    found = runner.invoke(app, ["sweep", "kws-small", "train.epochs=2"])
    assert found.exit_code == 1 and "nothing to try" in found.output
    assert runner.invoke(app, ["sweep", "kws-small", "a=1,2", "--random", "0"]).exit_code == 2
