"""Trials of brains through the same training as sounds: positions travel, montages differ, nothing crosses, kills resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heschl.corpora import simulated_listener
from heschl.corpora.sensors import sensors_of
from heschl.corpora.split import check_disjoint
from heschl.files import read_csv
from heschl.models.neural_encoder import NeuralEncoder
from heschl.recipe import load
from heschl.training.fit import train
from heschl.training.survey import survey
from heschl.types import HeschlError


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("brains")
    simulated_listener.write_tiny(root)
    return root


def recipe(root: Path, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "format": 1,
        "name": "brains",
        "corpus": {"use": "simulated_listener", "root": str(root)},
        "split": {"use": "kfold", "group": "block", "folds": 3},
        "feature": {"use": "brain_maps.BrainMaps", "n_freqs": 4, "order": [1, 1], "decim": 4},
        "model": {
            "use": "neural_encoder.NeuralEncoder",
            "channels": 8,
            "dim": 8,
            "depth": 1,
            "heads": 2,
            "patch": [2, 4],
        },
        "task": {"use": "codebook.Codebook", "warm_up": 1, "temperature": 0.2, "positive": True},
        "train": {"epochs": 2, "batch": 6, "optimiser": {"use": "AdamW", "lr": 0.01}, "monitor": "accuracy"},
        "machine": {"device": "cpu", "threads": 1},
    }
    return {**base, **changes}


@pytest.mark.slow
def test_a_brain_recipe_trains_scores_and_opens(
    brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    forward = NeuralEncoder.forward

    def watched(self: Any, x: torch.Tensor, positions: Any = None, lengths: Any = None) -> Any:
        seen.append((x, positions))
        return forward(self, x, positions, lengths)

    monkeypatch.setattr(NeuralEncoder, "forward", watched)
    run = train(recipe(brains), runs=tmp_path, quiet=True)
    x, positions = seen[-1]
    assert positions.shape[:2] == x.shape[:2] == (x.shape[0], 30) and bool(positions.isnan().any())
    # the smaller montage is padded by silent sensors without a place
    padded = positions.isnan().any(-1).sum(1)
    assert set(padded.tolist()) <= {1, 3}
    assert run.finished and len(run.history) == 2 and run.labels == simulated_words()
    seen.clear()
    from heschl.steps.evaluate import evaluate
    from heschl.steps.networks import answers, open_network, with_sensors

    scores = evaluate(run)
    assert scores["synthetic"] and seen[-1][1] is not None and scores["clips"] == len(run.split.test)
    assert scores["scores"]["unit"] == "trial"
    row = read_csv(run.folder / "evaluate" / "test" / "predictions.csv")[0]
    corpus = run.corpus()
    (answer,) = answers(with_sensors(open_network(run), corpus), [corpus.by_id[row["id"]]])
    chances = (
        np.exp(answer.logits / 0.2) / np.exp(answer.logits / 0.2).sum()
    )  # cosines, at the task's temperature
    assert float(row["probability"]) == pytest.approx(float(chances.max()), abs=1e-5)
    again = train(recipe(brains), runs=tmp_path, quiet=True)
    assert again.folder == run.folder


def simulated_words() -> tuple[str, ...]:
    from heschl.corpora.spoken import WORDS

    return tuple(sorted(WORDS[:4]))


def test_no_sound_and_no_block_crosses(brains: Path) -> None:
    made = survey(load(recipe(brains)))
    check_disjoint(made.split)
    for column in ("block", "heard"):
        held = [
            {made.corpus.by_id[one].labels[column] for one in getattr(made.split, part)}
            for part in ("train", "validation", "test")
        ]
        assert all(held) and not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])
    assert {clip.labels["subject"] for clip in made.parts["test"]} == {"sub-01", "sub-02"}


@pytest.mark.slow
def test_a_stopped_training_goes_on_as_it_would_have(
    brains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heschl.training.learner import Learner

    whole = train(recipe(brains), runs=tmp_path / "whole", quiet=True)
    step = Learner.training_step
    counted = 0

    def dies(self: Any, batch: Any, batch_idx: int) -> Any:
        nonlocal counted
        counted += 1
        if counted == 6:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", dies)
    changes = {"machine": {"device": "cpu", "threads": 1, "save_seconds": 0}}
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(recipe(brains, **changes), runs=tmp_path / "cut", quiet=True)
    monkeypatch.setattr(Learner, "training_step", step)
    resumed = train(recipe(brains, **changes), runs=tmp_path / "cut", quiet=True)
    for name, value in whole.weights("last").items():
        assert torch.equal(value, resumed.weights("last")[name]), name


def test_what_a_corpus_of_brains_must_have(brains: Path) -> None:
    from dataclasses import replace

    corpus = simulated_listener.read(brains)
    sensors = sensors_of(corpus)
    assert sensors is not None and sensors.subjects == ("sub-01", "sub-02") and sensors.count == 30
    one, two = (corpus.by_id[f"sub-0{k}/00003"] for k in (1, 2))
    assert (
        sensors.load(one).shape == sensors.load(two).shape == (128, 30)
        and not sensors.load(one)[:, 28:].any()
    )
    assert sensors.rows([two, one]).tolist() == [1, 0]
    lost = replace(corpus.recordings[0], positions=None)
    with pytest.raises(HeschlError, match="name its montage"):
        sensors_of(replace(corpus, recordings=(lost, corpus.recordings[1])))
    with pytest.raises(HeschlError, match="'sub-01', which the"):
        sensors_of(replace(corpus, recordings=corpus.recordings[1:]))
    with pytest.raises(HeschlError, match="takes no positions"):
        from heschl.training.beside import beside

        beside(survey(load(recipe(brains))), [one.id], torch.nn.Linear(2, 2))


def test_a_network_without_positions_is_refused_before_training(brains: Path, tmp_path: Path) -> None:
    alexnet = recipe(brains, model={"use": "kws.KWS"}, task={"use": "classify.Classify", "label": "word"})
    with pytest.raises(HeschlError):
        train(alexnet, runs=tmp_path, quiet=True)


@pytest.mark.slow
def test_a_fixed_codebook_stays(brains: Path, tmp_path: Path) -> None:
    words, lines = simulated_words(), []
    for k, word in enumerate(words):
        lines.append(f"{word} " + " ".join(str(float(k == j)) for j in range(4)))
    (tmp_path / "v.txt").write_text("\n".join(lines))
    task = {"use": "codebook.Codebook", "fixed": str(tmp_path / "v.txt")}
    run = train(recipe(brains, task=task), runs=tmp_path, quiet=True)
    book = run.model().codebook
    assert torch.allclose(book @ book.T, torch.eye(4), atol=1e-6)


@pytest.mark.slow
def test_shuffled_words_are_at_chance(tmp_path: Path) -> None:
    """The control of the recipe `simulated-words`, at a tenth of its length."""
    from heschl.tasks.intervals import wilson

    overrides = {"corpus.shuffled": True, "corpus.words": 5, "train.epochs": 6, "machine.threads": 1}
    run = train("simulated-words", overrides, runs=tmp_path, quiet=True)
    from heschl.steps.evaluate import evaluate

    scores = evaluate(run)["scores"]
    low, high = wilson(round(scores["accuracy"]["value"] * 80), 80)
    assert low < 0.2 < high + 0.05
    assert np.isfinite(scores["accuracy"]["value"])


def test_flat_channels_are_named_and_another_rate_is_refused(brains: Path) -> None:
    from dataclasses import replace

    import h5py

    from heschl.corpora.sensors import flat_sensors

    corpus = simulated_listener.read(brains)
    sensors = sensors_of(corpus)
    assert sensors is not None and flat_sensors(corpus, sensors, 128.0) == []
    with pytest.raises(HeschlError, match="128 samples a second and the feature takes 256"):
        flat_sensors(corpus, sensors, 256.0)
    first = corpus.recordings[0]
    copy = first.signal.with_name("flat.h5")
    copy.write_bytes(first.signal.read_bytes())
    with h5py.File(copy, "r+") as file:
        file["x_data"][:, 2] = 1e-5
    clips = tuple(replace(one, signal=copy) if one.signal == first.signal else one for one in corpus.clips)
    try:
        (told,) = flat_sensors(replace(corpus, clips=clips), sensors)
    finally:
        copy.unlink()
    assert told.startswith(f"recording {first.id}: {first.channels[2]} is flat")
