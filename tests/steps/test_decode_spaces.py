"""A codebook that is ordered by sound, by phones or by meaning is found to be, and one that is not, not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from heschl.corpora import simulated_listener as sim
from heschl.steps.decode_spaces import _sounds, angles, codebook_spaces, phone_distances
from heschl.tasks.spaces import sound_mels


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("spaces")
    sim.simulate(root, words=8, subjects=1, blocks=2, voices=1)
    corpus = sim.read(root)
    words = tuple(sorted({clip.labels["word"] for clip in corpus.clips}))
    run = SimpleNamespace(
        split=SimpleNamespace(train=[clip.id for clip in corpus.clips]),
        task=lambda: SimpleNamespace(label="word"),
    )
    network = SimpleNamespace(labels=words, model=SimpleNamespace(codebook=torch.zeros(8, 4)))
    return SimpleNamespace(corpus=corpus, run=run, network=network)


def by_space(held: Any, codebook: np.ndarray, folder: Path, **given: Any) -> dict[str, dict[str, Any]]:
    held.network.model.codebook = torch.from_numpy(codebook)
    return {row["space"]: row for row in codebook_spaces(held, folder, **given)["rows"]}


def test_planted_spaces_are_found(held: Any, tmp_path: Path) -> None:
    words = held.network.labels
    mels = sound_mels(_sounds(held), list(words))
    found = by_space(held, mels, tmp_path)
    assert found["acoustic"]["spearman"] == pytest.approx(1) and found["acoustic"]["p"] < 0.01
    vectors = np.random.default_rng(0).standard_normal((8, 5))
    (tmp_path / "v.txt").write_text(
        "\n".join(f"{word} " + " ".join(map(str, row)) for word, row in zip(words, vectors))
    )
    found = by_space(held, vectors, tmp_path, vectors=tmp_path / "v.txt")
    assert found["semantic"]["spearman"] == pytest.approx(1) and found["semantic"]["p"] < 0.01
    assert found["acoustic"]["p"] > 0.01
    upper = np.triu_indices(8, 1)
    oracle = spearmanr(angles(vectors)[upper], angles(mels)[upper]).statistic
    assert found["acoustic"]["spearman"] == pytest.approx(oracle, abs=1e-9)
    assert (tmp_path / "spaces.csv").read_text().count("\n") == 4


def test_phones_and_what_is_left_out(held: Any, tmp_path: Path) -> None:
    distances = phone_distances([("K", "AE", "T"), ("K", "AE", "B"), ("B", "IY")])
    np.testing.assert_allclose(distances, [[0, 1 / 3, 1], [1 / 3, 0, 1], [1, 1, 0]])
    told = codebook_spaces(held, tmp_path)
    assert {row["space"] for row in told["rows"]} == {"acoustic", "phonological"}
    assert any("--vectors" in note for note in told["notes"])
    few = SimpleNamespace(network=SimpleNamespace(labels=("a", "b")))
    assert "too few" in codebook_spaces(few, tmp_path)["notes"][0]  # type: ignore[arg-type]
