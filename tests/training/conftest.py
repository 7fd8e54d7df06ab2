"""Tiny corpora to train on: tones that tell the word, for clips and for frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heschl.files import write_wav

PITCHES = {"no": 300.0, "yes": 500.0, "zero": 800.0}


@pytest.fixture(scope="session")
def words_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three words of six speakers, 8 kHz, 0.2 to 0.4 s; "no" twice as often."""
    root = tmp_path_factory.mktemp("words")
    random = np.random.default_rng(0)
    for word, pitch in PITCHES.items():
        for speaker in range(6):
            for take in range(1 + (word == "no")):
                time = np.arange(int(random.uniform(0.2, 0.4) * 8000)) / 8000
                wave = 0.5 * np.sin(2 * np.pi * pitch * time) + 0.05 * random.normal(size=len(time))
                write_wav(root / word / f"{speaker:08x}_nohash_{take}.wav", np.clip(wave, -1, 1), 8000)
    return root


@pytest.fixture
def recipe(words_root: Path) -> Callable[..., dict[str, Any]]:
    """A small recipe on these words, changed by keyword: `recipe(train={...})`."""

    def made(**changes: Any) -> dict[str, Any]:
        base: dict[str, Any] = {
            "format": 1,
            "name": "small",
            "seed": 3,
            "corpus": {"use": "words", "root": str(words_root)},
            "split": {"use": "fractions", "validation": 0.2, "test": 0.2},
            "clip": {"seconds": 0.25},
            "feature": {"use": "mel.LogMel", "sample_rate": 8000, "n_mels": 20, "normalise": "standard"},
            "model": {"use": "crnn.CRNN", "hidden_1": 8, "hidden_2": 8},
            "task": {"use": "classify.Classify", "label": "word"},
            "train": {"epochs": 2, "batch": 6, "optimiser": {"use": "AdamW", "lr": 0.01}},
            "machine": {"device": "cpu", "threads": 1},
        }
        return {**base, **changes}

    return made
