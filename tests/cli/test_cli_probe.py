"""`heschl probe` as it is typed."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from heschl.cli import app
from heschl.cli_probe import _signed


def test_help_has_an_example_and_bad_input_is_one_sentence(tmp_path):
    runner = CliRunner()
    assert "Example: heschl probe" in runner.invoke(app, ["probe", "--help"]).output
    found = runner.invoke(app, ["probe", str(tmp_path)])
    assert found.exit_code == 1 and "is not a run folder" in found.output
    found = runner.invoke(app, ["probe", str(tmp_path), "--method", "forest"])
    assert found.exit_code == 1 and "no method 'forest'" in found.output


def test_differences_show_their_sign():
    assert _signed({"value": 0.123, "low": -0.01, "high": 0.2}, True) == "+12 [-1, +20]"
    assert _signed({"value": -0.123, "low": None, "high": None}, False) == "-0.12"


def test_probe_as_typed(tmp_path, monkeypatch):
    import heschl.steps.probe as step

    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    names = ("score", "control", "selectivity", "untrained", "gain")
    row = {"target": "phone", "area": "stem", "measure": "balanced accuracy", "chance": 0.1, "n_speakers": 5}
    held = {
        "corpus": "c", "part": "unheard", "synthetic": True, "clips": 3, "speakers": 5, "speakers_known": True,
        "phones": 9, "left_out": {"phone": {"OY": 2}}, "skipped": 1, "folder": "F",
        "probes": [{**row, **dict.fromkeys(names, score)}],
    }  # fmt: skip
    asked = {}
    monkeypatch.setattr(step, "probe", lambda run, part, **given: asked.update(given) or held)
    runner = CliRunner()
    found = runner.invoke(app, ["probe", "R", "--targets", "phone, speaker"])
    assert found.exit_code == 0, found.output
    assert asked["targets"] == ["phone", "speaker"]
    for text in ("synthetic", "5 speakers", "50 % [40, 60]", "OY", "next: heschl report R"):
        assert text in found.output
    made = runner.invoke(app, ["probe", "R", "--json"])
    assert json.loads(made.stdout) == held
    assert asked["targets"] is None


@pytest.mark.parametrize(
    "command",
    ["probe R", "explain R", "faithful R", "manipulate R", "robust R", "compare R S", "sweep R seed=1,2"],
)
@pytest.mark.parametrize("seed", ["-1", str(2**32), "one"])
def test_no_command_takes_a_seed_that_no_generator_takes(command, seed):
    found = CliRunner().invoke(app, [*command.split(), "--seed", seed])
    assert found.exit_code == 2 and "--seed" in found.output, found.output


@pytest.mark.parametrize("options", [["--nets", "0"], ["--clips", "0"]])
def test_usage_errors_end_with_status_two(options):
    assert CliRunner().invoke(app, ["probe", "R", *options]).exit_code == 2


def test_compare_as_typed(monkeypatch, tmp_path):
    import heschl.steps.compare as step

    about = {"accuracy": 0.8, "runs": ["R", "S"], "n_seeds": 2, "n_folds": 1, "mixed": False}
    about |= {"sd_over_seeds": 0.02, "sd_over_folds": None, "sd_over_both": None}
    score = {"value": 0.012, "low": -0.01, "high": 0.03}
    held = {
        "one": {"name": "small", **about}, "other": {"name": "large", **about, "mixed": True, "sd_over_both": 0.1},
        "part": "test", "synthetic": True, "clips": 9, "n_speakers": 4, "only_one": 3, "only_other": 0, "folder": "F",
        "difference": score, "agreement": {"same_answer": 0.5}, "similarity": {"why_not": "no areas"},
        "explanations": {"method": "lrp", "why_not": "", "alike": score, "control": score},
    }  # fmt: skip
    monkeypatch.setattr(step, "compare", lambda *given, **more: held)
    runner = CliRunner()
    found = runner.invoke(app, ["compare", "R", "S"])
    assert found.exit_code == 0, found.output
    for text in (
        "9 shared clips of synthetic speech, 4 speakers",
        "3 clips were asked of small alone",
        "± 2.0 over 2 seeds",
        "each with a seed and a test part of its own",
        "+1.2 [-1.0, +3.0] points",
        "no areas",
        "next: heschl report R",
    ):
        assert text in found.output
    assert json.loads(runner.invoke(app, ["compare", "R", "S", "--json"]).stdout) == held
    monkeypatch.undo()
    found = runner.invoke(app, ["compare", str(tmp_path), str(tmp_path)])
    assert found.exit_code == 1 and "holds no runs" in found.output
    assert "Example: heschl compare" in runner.invoke(app, ["compare", "--help"]).output
