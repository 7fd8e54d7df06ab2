"""A match recipe trained on two processes (gloo) learns what it learns on one: the batch, its negatives, its temperature."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from heschl.corpora import simulated_listener
from heschl.files import read_weights
from heschl.run import open_run

pytestmark = pytest.mark.slow


def trained(folder: Path, root: Path, devices: int) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    recipe: dict[str, Any] = {
        "format": 1,
        "name": "matched",
        "corpus": {"use": "simulated_listener", "root": str(root)},
        "split": {"use": "kfold", "group": "block", "folds": 3},
        "feature": {"use": "brain_wave.BrainWave"},
        "model": {
            "use": "segment_matcher.SegmentMatcher",
            "bands": 6,
            "steps": 8,
            "subjects": 2,
            "virtual": 6,
        }
        | {"hidden": 8, "depth": 2, "norm": "group", "radius": 0.0},
        "task": {"use": "segments.Match", "sounds": {"use": "spoken", "voices": 6}, "before": 0.1}
        | {"same": "word", "temperature": 0.5, "learnt": True},
        # 16 trials in batches of 5: shares of 3 and 2, and a last batch of one trial, which both processes hold
        "train": {"epochs": 2, "batch": 5, "monitor": "loss", "optimiser": {"use": "SGD", "lr": 0.01}},
        "machine": {"device": "cpu", "threads": 1, "devices": devices}
        | ({"strategy": "ddp"} if devices > 1 else {}),
    }
    folder.mkdir()
    (folder / "matched.yaml").write_text(yaml.safe_dump(recipe))
    done = subprocess.run(
        [sys.executable, "-m", "heschl.cli", "train", "matched.yaml", "--runs", "runs"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (folder / "runs").iterdir()
    return read_weights(run / "checkpoints" / "best.safetensors"), open_run(run).history


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    root = tmp_path / "brains"
    simulated_listener.simulate(root, words=4, subjects=2, blocks=3, voices=2, snr=20.0, response="evoked")
    (one, history), (two, other) = (trained(tmp_path / f"on-{n}", root, n) for n in (1, 2))
    assert float(one["log_heat"]) != 0  # it was learnt
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)
    assert other[-1]["validation_loss"] == pytest.approx(history[-1]["validation_loss"], rel=1e-4)
