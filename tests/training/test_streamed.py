"""Stored maps are read from their files, and give what a packed copy gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heschl.corpora import imagined
from heschl.corpora.sensors import sensors_of
from heschl.features.store import pack_frames
from heschl.training.fit import train
from heschl.training.streamed import StreamedTrials
from heschl.types import HeschlError


def test_as_a_packed_copy(tmp_path: Path) -> None:
    imagined.write_tiny(tmp_path / "data")
    options: dict[str, Any] = {"channels": ["Fp1", "Fp2", "O1", "O2"], "montage": "fsaverage_1005"}
    corpus = imagined.read(tmp_path / "data", **options)
    sensors = sensors_of(corpus)
    assert sensors is not None
    streamed = StreamedTrials(corpus.clips, sensors)
    packed = pack_frames(corpus.clips, sensors.load, folder=tmp_path / "cache")
    rows = np.array([5, 0, 23, 5])
    for one, other in zip(streamed.read(rows), packed.read(rows)):
        assert torch.equal(one, other)
    assert streamed.read(rows)[0].shape == (4, 4, 5, 16) and streamed.ids == packed.ids
    wrong = StreamedTrials(imagined.read(tmp_path / "data", rate=256.0, **options).clips, sensors)
    wrong.lengths = wrong.lengths - 1
    with pytest.raises(HeschlError, match="has 16 steps, and its corpus says 15"):
        wrong.read([0])


def test_a_training_copies_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESCHL_CACHE", str(tmp_path / "cache"))
    imagined.write_tiny(tmp_path / "data")
    recipe: dict[str, Any] = {
        "format": 1,
        "name": "stored",
        "corpus": {
            "use": "imagined",
            "root": str(tmp_path / "data"),
            "channels": ["Fp1", "Fp2", "O1", "O2"],
            "montage": "fsaverage_1005",
            "blocks": 4,
        },
        "split": {"use": "fractions", "validation": 0.25, "test": 0.25},
        "feature": {"use": "brain_maps.BrainMaps", "stored": True, "sample_rate": 256.0},
        "model": {
            "use": "neural_encoder.NeuralEncoder",
            "channels": 8,
            "dim": 8,
            "depth": 1,
            "heads": 2,
            "patch": [2, 2],
        },
        "task": {"use": "codebook.Codebook", "warm_up": 0},
        "train": {"epochs": 1, "batch": 8, "monitor": "accuracy"},
        "machine": {"device": "cpu", "threads": 1},
    }
    run = train(recipe, runs=tmp_path / "runs", quiet=True)
    assert run.finished and not list((tmp_path / "cache").glob("frames-*"))
