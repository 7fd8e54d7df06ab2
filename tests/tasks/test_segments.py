"""Matching as a part of recipes: candidates out of sounds or a file, the batch's loss, what is refused, a whole run."""

from __future__ import annotations

import csv
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heschl.contract.tasks import made_up_corpus
from heschl.corpora import simulated_listener, spoken
from heschl.corpora.sensors import sensors_of
from heschl.features.mel import LogMel
from heschl.files import read_json, write_wav
from heschl.models.segment_matcher import SegmentMatcher
from heschl.report.page import write_page
from heschl.run import Run
from heschl.steps.decode import decode
from heschl.steps.evaluate import _score_matches, evaluate
from heschl.steps.explain import explain_run
from heschl.steps.networks import Answer, Network, answers, open_network, pointing, scores_among, with_sensors
from heschl.tasks.match import match_loss
from heschl.tasks.retrieval import middle, ranks
from heschl.tasks.segments import Match, plain, segment_mel, stretch
from heschl.training.fit import train
from heschl.types import Batch, Clip, HeschlError, Span


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("matched")
    simulated_listener.simulate(root, words=4, subjects=2, blocks=3, voices=2, snr=20.0, response="evoked")
    return root


@pytest.fixture(scope="module")
def run(brains: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe: dict[str, Any] = {
        "format": 1,
        "name": "matched",
        "corpus": {"use": "simulated_listener", "root": str(brains)},
        "split": {"use": "kfold", "group": "block", "folds": 3},
        "feature": {"use": "brain_wave.BrainWave"},
        "model": {
            "use": "segment_matcher.SegmentMatcher",
            "bands": 6,
            "steps": 8,
            "subjects": 2,
            "virtual": 6,
            "hidden": 8,
            "depth": 2,
            "norm": "group",
        },
        "task": {"use": "segments.Match", "sounds": {"use": "spoken", "voices": 6}, "before": 0.1},
        "train": {"epochs": 1, "batch": 15, "monitor": "loss"},  # 16 trials: the last batch holds one
        "machine": {"device": "cpu", "threads": 1},
    }
    return train(recipe, runs=tmp_path_factory.mktemp("runs"), quiet=True)


@pytest.mark.slow
def test_controls_of_matching_go_by_blocks_of_training(run: Run, tmp_path: Path) -> None:
    simulated_listener.simulate(tmp_path / "d", words=4, subjects=2, blocks=5, voices=2, response="evoked")
    recipe = run.recipe.model_dump(mode="json", exclude_defaults=True)
    changes = {
        "corpus.root": str(tmp_path / "d"),
        "split.folds": 5,
        "task.sounds": {"use": "spoken", "voices": 10},
    }
    other = train(recipe, changes, runs=tmp_path / "runs", quiet=True)
    held = decode(other, controls=True, permutations=0)["controls"]
    assert [row["blocks"] for row in held["learning"]] == [1, 2, 3]
    assert held["learning"][0]["hours"] == pytest.approx(held["learning"][2]["hours"] / 3)


@pytest.mark.slow
def test_a_run_matches_what_it_never_heard(run: Run, brains: Path) -> None:
    assert len(run.labels) == 24  # four words by six voices, a third of them in training
    held = run.model().candidates
    assert held.shape == (24, 8, 6)
    corpus = simulated_listener.read(brains)
    taught = {corpus.by_id[one].labels["heard"] for one in run.split.train}
    tested = {corpus.by_id[one].labels["heard"] for one in run.split.test}
    assert len(taught) == 8 and not taught & tested
    own = held[[run.labels.index(name) for name in sorted(taught)]]
    assert own.mean((0, 1)).abs().max() < 1e-5 and (own.std((0, 1), correction=0) - 1).abs().max() < 1e-4
    scores = evaluate(run)
    assert scores["candidates"] == 24 and scores["retrieval"]["top_1"]["chance"] == 1 / 24
    assert scores["scores"]["accuracy"]["value"] == pytest.approx(scores["retrieval"]["top_1"]["value"])
    found = decode(run, permutations=50, explain=True)
    assert [one["file"] for one in found["pictures"]] == ["ranks.svg", "sensors.svg", "areas.svg"]
    assert found["explained"]["areas"]["rows"] and found["explained"]["trials"] == len(run.split.test)
    for name, total in (
        ("by_sensor.csv", 2),
        ("by_time.csv", 1),
    ):  # of each of two recordings; of both together
        with (run.folder / "decode" / name).open() as file:
            assert sum(float(row["share"]) for row in csv.DictReader(file)) == pytest.approx(total, abs=1e-3)
    with pytest.raises(HeschlError, match="a trial of a brain cannot be asked as a sound is"):
        explain_run(run)
    assert not (run.folder / "explain").exists()
    dense = np.stack(
        [
            one.logits
            for one in answers(
                with_sensors(open_network(run), corpus), [corpus.by_id[i] for i in run.split.test]
            )
        ]
    )
    names = [corpus.by_id[i].labels["heard"] for i in run.split.test]
    with (run.folder / "evaluate" / "test" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    places = ranks(dense, np.array([run.labels.index(name) for name in names]))
    for row, name, place, own in zip(rows, names, middle(places), dense):
        assert row["heard"] == name and row["answered"] == run.labels[own.argmax()]
        assert float(row["rank"]) == place
    assert found["words"] == 24 and found["network"]["candidates"] == 24 and found["unit"] == "stretch"
    assert not [
        note for note in found["notes"] if "one block only" in note
    ]  # a stretch of speech must be of one
    page = write_page(run).read_text(encoding="utf-8")
    assert "24 stretches of speech" in page[: page.index("</h1>")]
    assert "Which of 24 stretches of speech was it?" in page and "It answers with one of" not in page
    assert found["linear"]["mrr"]["value"] > found["linear"]["mrr"]["chance"]  # ridge, on a signal of 20 dB


def test_scales_are_those_of_training_trials(run: Run, brains: Path) -> None:
    corpus = simulated_listener.read(brains)
    sensors = sensors_of(corpus)
    assert sensors is not None
    scales = read_json(run.folder / "scaling.json")
    for name in sensors.recordings:
        mine = [corpus.by_id[one] for one in run.split.train if corpus.by_id[one].labels["recording"] == name]
        values = np.concatenate([sensors.raw(clip) for clip in mine])
        low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
        np.testing.assert_allclose(scales[name]["centre"], middle, rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(scales[name]["spread"], high - low, rtol=1e-5)
    clip = corpus.by_id[run.split.test[0]]
    name = clip.labels["recording"]
    own = sensors.with_scales(scales).load(clip)[:, : len(scales[name]["centre"])]
    wanted = (sensors.raw(clip) - scales[name]["centre"]) / scales[name]["spread"]
    np.testing.assert_allclose(own, wanted, rtol=1e-4, atol=1e-5)
    assert sensors.key() is None and sensors.with_scales(scales).key()
    with pytest.raises(HeschlError, match="sub-02 has no scale"):
        sensors.with_scales({"sub-01": scales["sub-01"]})


def test_a_left_out_subject_is_scaled_by_its_own_trials(brains: Path) -> None:
    from heschl.training.scaling import scaled

    corpus = simulated_listener.read(brains)
    sensors = sensors_of(corpus)
    assert sensors is not None
    parts = {"train": [], "test": []}
    for clip in corpus.clips:
        parts["train" if clip.labels["subject"] == "sub-01" else "test"].append(clip)
    held, notes = scaled(sensors, parts)
    assert held.scaling is not None and len(notes) == 1 and "sub-02" in notes[0]
    values = np.concatenate([sensors.raw(clip) for clip in parts["test"]])
    np.testing.assert_allclose(held.scaling["sub-02"][0], np.median(values, axis=0), rtol=1e-5, atol=1e-12)


def test_the_loss_is_that_of_the_batch() -> None:
    task = Match("word").bind(made_up_corpus())
    torch.manual_seed(0)
    network = SegmentMatcher((5, 20), 3, bands=4, steps=5, virtual=6, hidden=8, depth=2).double().eval()
    x, y = torch.randn(4, 5, 20).double(), torch.tensor([0, 2, 2, 1])
    out = network(x)
    loss = task.loss(out, Batch(x, y, None, ()))
    unit = torch.nn.functional.normalize(network.candidates.flatten(1), dim=1)
    assert torch.allclose(out.logits, out.embedding.flatten(1) @ unit.T)
    total = 0.0
    for i in range(4):  # the other trial of candidate 2 is left out
        rivals = [out.logits[i, y[j]] for j in range(4) if j == i or y[j] != y[i]]
        total += float(torch.stack(rivals).logsumexp(0) - out.logits[i, y[i]]) / 4
    assert float(loss) == pytest.approx(total, abs=1e-10)
    assert float(loss) == pytest.approx(float(match_loss(out.embedding, network.candidates[y], y)))
    lone = task.loss(network(x[1:3]), Batch(x[1:3], y[1:3], None, ()))
    assert float(lone) == pytest.approx(float(-out.logits[1:3].log_softmax(-1)[:, 2].mean()))


def test_a_temperature_is_learnt_only_where_the_task_says_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", ids=np.array(["left", "right", "stop"]), embeddings=np.ones((3, 5, 4)))
    corpus, y = made_up_corpus(), torch.tensor([0, 2, 1, 1])
    torch.manual_seed(0)
    network = SegmentMatcher((5, 20), 3, bands=4, steps=5, virtual=6, hidden=8, depth=2).double().eval()
    Match("word", candidates=str(tmp_path / "c.npz")).bind(corpus).fill(network)
    assert not network.log_heat.requires_grad and len(network.parameter_groups()) == 1
    task = Match("word", candidates=str(tmp_path / "c.npz"), temperature=0.5, learnt=True).bind(corpus)
    task.fill(network)
    with torch.no_grad():
        network.candidates += torch.randn_like(network.candidates)
        network.log_heat.fill_(np.log(3.0))
    batch = Batch(torch.randn(4, 5, 20).double(), y, None, ())
    out = network(batch.x)
    loss = task.loss(out, batch)
    expected = match_loss(out.embedding, network.candidates[y], y, 1.5)
    assert float(loss) == pytest.approx(float(expected))
    (slope,) = torch.autograd.grad(loss, network.log_heat)
    step = 1e-5
    with torch.no_grad():
        network.log_heat += step
        beyond = task.loss(network(batch.x), batch)
    assert float(slope) == pytest.approx(float(beyond - loss) / step, rel=1e-3)
    assert [len(group["params"]) for group in network.parameter_groups()][1] == 1
    with pytest.raises(HeschlError, match="learnt"):
        other = torch.nn.Module()
        other.register_buffer("candidates", network.candidates)
        task.fill(other)


def test_the_same_word_is_no_negative(brains: Path) -> None:
    corpus = simulated_listener.read(brains)
    task = Match(same="word").bind(corpus)
    assert task.groups is not None and len(set(task.groups)) == 4
    word = {clip.labels["heard"]: clip.labels["word"] for clip in corpus.clips}
    pairs = {(word[name], group) for name, group in zip(task.classes, task.groups)}
    assert len(pairs) == 4


def test_a_segments_mel_begins_before_its_word() -> None:
    clip = spoken.read(words=["yes"], sentences=[], voices=1).clips[0]
    mel = LogMel(16000, 20)
    early, late = (segment_mel(clip, mel, 10, before, 1.0) for before in (0.3, 0.1))
    # two tenths of a second are two of ten steps
    assert np.corrcoef(early[3:9].ravel(), late[1:7].ravel())[0, 1] > 0.98
    assert early.shape == (10, 20)


def test_a_stretch_of_a_long_sound(tmp_path: Path) -> None:
    """Its mel is that of the same second cut out by hand, wherever the table writes the name in other letters."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 16000 * 6).astype(np.float32)
    wave[40000:44000] *= 0.01
    write_wav(tmp_path / "Story_1.wav", wave, 16000)
    clip = Clip("audio/Story_1", tmp_path / "Story_1.wav", 16000.0, {}, stop=6.0)
    known, at, mel = {clip.id: clip}, {"story_1": clip}, LogMel(16000, 12)
    for second, before, seconds in ((2.5, 0.4, 1.0), (0.1, 0.4, 1.0), (5.8, 0.4, 1.0)):
        given = stretch(f"STORY_1.0@{second:.3f}", known, at, before, seconds)
        assert given is not None
        whole = replace(clip, spans=(Span("x", second, second + 0.1, "word"),))
        cut = segment_mel(given, mel, 10, before, seconds)
        assert np.abs(cut - segment_mel(whole, mel, 10, before, seconds)).max() < 1e-4
        assert (given.stop or 0) - given.start <= seconds + 1e-9  # a word of an hour does not read the hour
    assert (
        stretch("Story_2@1.0", known, at, 0.0, 1.0) is None and stretch("word", known, at, 0.0, 1.0) is None
    )
    assert plain("The_Story_0.0") == "the_story_0" and plain("LPF086") == plain("lpf86")
    assert (
        stretch("Story_1@soon", known, at, 0.0, 1.0) is None and stretch(clip.id, known, at, 0.0, 1.0) is clip
    )
    with pytest.raises(HeschlError, match="begins after the end of"):
        stretch("Story_1@7.0", known, at, 0.0, 1.0)


def test_candidates_by_file_and_refusals(tmp_path: Path) -> None:
    words, corpus = ("left", "right", "stop"), made_up_corpus()
    values = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)
    np.savez(tmp_path / "c.npz", ids=np.array(words[::-1]), embeddings=values)
    network = SegmentMatcher((5, 20), 3, bands=4, steps=5, virtual=6, hidden=8, depth=2)
    task = Match("word", candidates=str(tmp_path / "c.npz")).bind(corpus)
    assert "3 candidates of 5 steps and 4 bands" in task.fill(network)
    assert np.array_equal(network.candidates.numpy(), values[::-1])
    np.savez(tmp_path / "few.npz", ids=np.array(words[:2]), embeddings=values[:2])
    for held, wanted in (
        (Match("word"), "neither is named"),
        (Match("word", candidates=str(tmp_path / "few.npz")), "lacks 'stop'"),
        (Match("word", sounds={"use": "spoken", "voices": 1}), "does not have 'left'"),
        (Match("word", sounds={}), "names no corpus"),
    ):
        with pytest.raises(HeschlError, match=wanted):
            held.bind(corpus).fill(network)
    other = SegmentMatcher((5, 20), 3, bands=3, steps=5, virtual=6, hidden=8, depth=2)
    with pytest.raises(HeschlError, match="set model.steps and model.bands"):
        task.fill(other)
    with pytest.raises(HeschlError, match="choose one"):
        Match("word", sounds={"use": "spoken"}, candidates="x.npz")
    with pytest.raises(HeschlError, match="needs a network with candidates"):
        task.fill(torch.nn.Linear(2, 2))


def test_a_file_holds_candidates_that_nobody_heard(tmp_path: Path) -> None:
    names = ("other", "stop", "right", "left", "more")
    values = np.random.default_rng(0).standard_normal((5, 5, 4)).astype(np.float32)
    np.savez(tmp_path / "c.npz", ids=np.array(names), embeddings=values)
    corpus = made_up_corpus()
    task = Match("word", candidates=str(tmp_path / "c.npz")).bind(corpus)
    assert task.classes == tuple(sorted(names)) and task.n_outputs(corpus) == 5
    assert {task.classes[task.target(clip)] for clip in corpus.clips} == {"left", "right", "stop"}
    network = SegmentMatcher((5, 20), 5, bands=4, steps=5, virtual=6, hidden=8, depth=2)
    task.fill(network)
    assert np.array_equal(network.candidates.numpy(), values[np.argsort(names)])


@pytest.mark.slow
def test_scores_of_all_trials_are_never_in_memory_together(tmp_path: Path) -> None:
    """1,000 trials among 40,000 candidates: all scores at once would be 160 MB."""
    random = np.random.default_rng(0)
    names = tuple(f"c{k:05d}" for k in range(40_000))
    model = torch.nn.Module()
    model.register_buffer("candidates", torch.from_numpy(random.standard_normal((40_000, 2, 4), np.float32)))
    network = pointing(Network(model, torch.nn.Identity(), names, None, "crop", "pad", False))
    truth = random.integers(40_000, size=1000)
    z = model.candidates.numpy()[truth] + 0.3 * random.standard_normal((1000, 2, 4), np.float32)
    found = [
        Answer(Clip(f"t{k}", Path("x.wav"), 1.0, {"heard": names[truth[k]]}), z[k], np.zeros(0), 1.0)
        for k in range(1000)
    ]
    task = Match(labels=names)
    tracemalloc.start()
    held = _score_matches(tmp_path, found, task, network, None, "clip")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100e6
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = scores_among(network, z[:3])
    assert callable(scores)
    for k, (row, own) in enumerate(zip(rows, scores(0, 3))):
        assert (
            row["heard"] == names[truth[k]]
            and row["answered"] == names[own.argmax()]
            and row["of"] == "40000"
        )
        assert float(row["rank"]) == (own > own[truth[k]]).sum() + 1
    assert len(rows) == 1000 and held["scores"]["classes"] == 40_000
    right = np.mean([row["answered"] == row["heard"] for row in rows])
    assert held["retrieval"]["top_1"]["value"] == held["scores"]["accuracy"]["value"] == pytest.approx(right)


@pytest.mark.slow
def test_the_recipe_finds_what_was_heard(tmp_path: Path) -> None:
    """An eighth of the epochs of simulated-match: far above chance among 480, on stretches that were never in training."""
    run = train("simulated-match", {"train.epochs": 5, "machine.threads": 1}, runs=tmp_path, quiet=True)
    found = evaluate(run)["retrieval"]
    assert found["candidates"] == 480 and found["p_mrr"] < 0.01
    assert found["top_10"]["value"] > 5 * found["top_10"]["chance"]
