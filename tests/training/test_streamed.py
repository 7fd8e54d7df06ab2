"""Stored maps are read from their files, and give what a packed copy gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from heschl.corpora import imagined
from heschl.corpora.sensors import sensors_of
from heschl.features.brain_maps import BrainMaps
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


def test_maps_come_as_they_are_stored(tmp_path: Path) -> None:
    """float16 stays so until the feature takes it; a file of float32 beside it makes the batch float32; NaN is named."""
    random = np.random.default_rng(0)
    values = {}
    for name, kind, channels in (("a", np.float16, 4), ("b", np.float32, 3)):
        values[name] = random.standard_normal((3, channels, 5, 16)).astype(kind)
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["x_data"], file["y_data"] = values[name], np.arange(3)
            file["positions"] = random.uniform(-0.1, 0.1, (channels, 3))
    corpus = imagined.read(tmp_path, rate=16.0)
    sensors = sensors_of(corpus)
    assert sensors is not None
    streamed = StreamedTrials(corpus.clips, sensors)
    x, lengths = streamed.read([2, 0])
    assert x.dtype == torch.float16 and x.is_contiguous() and lengths.tolist() == [16, 16]
    assert torch.equal(x, torch.from_numpy(values["a"][[2, 0]]))
    assert torch.equal(
        BrainMaps(16.0, stored=True)(x), BrainMaps(16.0, stored=True)(x.float())
    )  # in full precision
    x, _ = streamed.read([1, 5])
    assert x.dtype == torch.float32 and torch.equal(x[0], torch.from_numpy(values["a"][1]).float())
    assert torch.equal(x[1, :3], torch.from_numpy(values["b"][2])) and not x[1, 3].any()
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["x_data"][1, 2, 4, 15] = np.nan
    with pytest.raises(HeschlError, match=r"trial b/00001 of .*b\.h5 holds values that are not finite"):
        streamed.read([4])
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x_data"] = values["b"][:1]
    with pytest.raises(HeschlError, match="does not hold trial b/00002 any more"):
        streamed.read([5])
