"""`heschl place` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from heschl.cli import app

HELD: dict[str, Any] = {
    "clips": 3, "synthetic": True, "heard": "“seven”", "shown": "s1/seven", "skipped": 1,
    "caveat": "Illustrative: a table puts this network's layers at these areas; no recording of a brain does.",
    "folder": "runs/r/place/test",
    "areas": {
        "STG": {"hemisphere": "left", "centre_mm": [-60.0, -20.0, 2.0], "space": "MNI152", "radius_mm": 18.0,
                "sources": 41, "kept_in_folds": 0.386, "layers": ["conv1", "conv2"]},
        "own": {"hemisphere": "right", "centre_mm": [0.0, 0.0, 0.0], "space": "MNI152", "radius_mm": 0.0,
                "sources": 9, "kept_in_folds": 0.5, "layers": ["fc6"]},
    },
    "sensors": {
        "biosemi64": {"peak": {"eeg": 4.5e-6}},
        "neuromag": {"peak": {"mag": 9e-14, "grad": 3.2e-12}, "noise_db": 3.0, "trials": 100, "inverse": {
            "method": "dSPM", "status": "fitted to simulated data", "peak_mm": [-55.1, -20.2, 3.0], "peak_in": ["STG"],
            "cross_talk": {"text": "STG and own cannot be told apart: reported as one"}}},
    },
}  # fmt: skip


def test_place_as_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    import heschl.steps.place as step

    asked: dict[str, Any] = {}

    def placed(run: Path, clips: Any, **given: Any) -> dict[str, Any]:
        asked.update(given, clips=clips)
        return HELD

    monkeypatch.setattr(step, "place_run", placed)
    runner = CliRunner()
    made = runner.invoke(
        app,
        [
            "place",
            "runs/r",
            "--clips",
            "3",
            "--sensors",
            "biosemi64",
            "--sensors",
            "neuromag",
            "--noise",
            "-3",
        ],
    )
    assert made.exit_code == 0, made.output
    assert asked["clips"] == 3 and asked["sensors"] == ["biosemi64", "neuromag"] and asked["noise"] == -3
    for words in (
        "3 clips of synthetic speech", "“seven”", "Illustrative: a table", "conv1, conv2", "18 mm round", "a label", "39 %",
        "4.5 µV, without noise", "90 fT, 32 fT/cm, mean of 100 trials at 3 dB", "fitted to simulated data",
        "cannot be told apart", "1 clip could not be read", "next: heschl report runs/r",
    ):  # fmt: skip
        assert words in made.output, words
    runner.invoke(app, ["place", "runs/r", "--file", "a.wav", "--file", "b.wav"])
    assert asked["clips"] == [Path("a.wav"), Path("b.wav")] and asked["sensors"] == "biosemi64"
    assert json.loads(runner.invoke(app, ["place", "runs/r", "--json"]).stdout) == HELD


def test_help_has_an_example_and_bad_input_is_one_sentence(tmp_path: Path) -> None:
    runner = CliRunner()
    assert "Example: heschl place" in runner.invoke(app, ["place", "--help"]).output
    assert runner.invoke(app, ["place", "R", "--clips", "0"]).exit_code == 2
    found = runner.invoke(app, ["place", str(tmp_path)])
    assert found.exit_code == 1 and "is not a run folder" in found.output and "Traceback" not in found.output


def test_without_mne_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import heschl.brain.anatomy as anatomy

    monkeypatch.setattr(anatomy, "find_spec", lambda name: None)
    found = CliRunner().invoke(app, ["place", str(tmp_path)])
    assert found.exit_code == 1 and "placing needs mne: pip install 'heschl[brain]'" in found.output
