"""Every shipped recipe trains for two steps, on the tiny tree that its corpus' reader writes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heschl.files import write_text, write_wav
from heschl.recipe import load, shipped
from heschl.training.fit import train


def tiny_root(use: str, label: str, labels: list[str], folder: Path) -> Path | None:
    """A tree for this corpus; a table has the label that the recipe's task asks for."""
    if use == "spoken":
        return None  # comes with the package
    if use != "table":
        importlib.import_module(f"heschl.corpora.{use}").write_tiny(folder)
        return folder
    random, rows = np.random.default_rng(0), [f"path,speaker,{label}"]
    for speaker in range(5):
        for k, value in enumerate(labels):
            name = f"s{speaker}_{k}.wav"
            write_wav(folder / name, np.clip(0.1 * random.normal(size=16000), -1, 1), 16000)
            rows.append(f'{name},s{speaker},"{value}"')
    write_text(folder / "index.csv", "\n".join(rows) + "\n")
    return folder / "index.csv"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped()))
def test_two_steps(name: str, tmp_path: Path) -> None:
    recipe = load(name)
    label = str(recipe.task.args.get("label", "label"))
    labels = [str(one) for one in recipe.task.args.get("labels") or ("a", "b")]
    changes: dict[str, Any] = {
        "split": {"use": "fractions", "validation": 0.0, "test": 0.2},
        "train.epochs": None,
        "train.steps": 2,
        "train.batch": 4,
        "train.epoch_clips": None,
        "train.init": None,
        "machine": {"device": "cpu", "threads": 1},
    }
    corpora = [("corpus", recipe.corpus), *((f"also.{k}", part) for k, part in enumerate(recipe.also))]
    if recipe.corpus.use == "imagined":  # a tiny tree has four channels and sixteen steps
        changes |= {"corpus.channels": ["Fp1", "Fp2", "O1", "O2"], "corpus.words": ["a", "b", "c"]}
        changes |= {"model.patch": [2, 2], "train.precision": "32-true", "task.labels": None}
    if recipe.model.use == "segment_matcher.SegmentMatcher" and recipe.corpus.use != "simulated_listener":
        changes |= {
            "model.bands": 8,
            "model.steps": 30,
            "model.virtual": 8,
            "model.hidden": 8,
            "model.depth": 4,
        }
        places = {
            "masc": "stimuli",
            "mous": "stimuli",
            "brennan": ".",
            "broderick": "sounds",
            "listening": ".",
        }
        use = "brain" if recipe.corpus.use == "listening" else "words"
        changes["task.sounds"] = {"use": use, "root": str(tmp_path / "data0root" / places[recipe.corpus.use])}
    if recipe.corpus.use == "brennan":  # the tiny tree has 100 Hz
        changes |= {"corpus.rate": 50.0, "feature.sample_rate": 50.0}
    if recipe.corpus.use == "libribrain":  # 50 Hz, and longer trials than of a phoneme
        changes |= {
            "corpus.stop": 2.56,
            "feature.sample_rate": 50.0,
            "feature.high": 20.0,
            "feature.decim": 1,
        }
    for k, (where, part) in enumerate(corpora):
        # what names files and columns of the real data
        named = ("quality", "keep", *(("start", "stop") if part.use == "table" else ()))
        changes |= {f"{where}.{one}": None for one in named if one in part.args}
        if part.use == "table" and "start" in part.args:  # a tiny table has the task's own label
            changes[f"{where}.relabel"] = {}
        if k and recipe.corpus.use == "aligned":  # the tiny tree has few of the further corpus' phones
            changes[f"{where}.share"] = None
        for option in ("root", "test_root"):
            if option in part.args or option == "root":
                root = tiny_root(part.use, label, labels, tmp_path / f"data{k}{option}")
                if root is not None:
                    changes[f"{where}.{option}"] = str(root)
    run = train(name, changes, runs=tmp_path / "runs", quiet=True)
    assert run.finished and run.history[-1]["step"] == 2
    for key, value in run.model().state_dict().items():
        assert not value.is_floating_point() or bool(torch.isfinite(value).all()), key
