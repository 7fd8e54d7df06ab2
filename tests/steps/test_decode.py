"""Decoding a run of brains: scores with controls, and what it rests on where the truth was planted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from heschl.corpora import simulated_brain, simulated_listener
from heschl.files import read_csv
from heschl.run import Run
from heschl.steps.decode import decode
from heschl.steps.groups import over_trials
from heschl.tasks.scores import told
from heschl.training.fit import train
from heschl.types import Clip, HeschlError

pytestmark = pytest.mark.slow  # `make check` leaves these to `make test`


def brains(root: Path) -> dict[str, Any]:
    """A small recipe, and the listeners that it asks for."""
    simulated_listener.write_tiny(root / "data")
    return {
        "format": 1,
        "name": "brains",
        "corpus": {"use": "simulated_listener", "root": str(root / "data")},
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
        "task": {"use": "codebook.Codebook", "warm_up": 0},
        "train": {"epochs": 1, "batch": 8, "monitor": "accuracy"},
        "machine": {"device": "cpu", "threads": 1},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("decode")
    return train(brains(root), runs=root / "runs", quiet=True)


def test_scores_stand_beside_a_linear_decoder_and_shuffled_words(run: Run) -> None:
    held = decode(run, permutations=50)
    assert held["simulated"] and held["words"] == 4 and held["trials"] == len(run.split.test)
    for scores in (held["network"], held["linear"], held["shuffled"]["network"], held["shuffled"]["linear"]):
        assert scores["candidates"] == 4 and scores["top_1"]["chance"] == 0.25 and 0 < scores["p"] <= 1
    rows = read_csv(run.folder / "decode" / "per_subject.csv")
    assert {(row["decoder"], row["group"]) for row in rows} == {
        (who, subject) for who in ("network", "linear") for subject in ("sub-01", "sub-02")
    }
    mean = np.mean([float(row["top_1"]) for row in rows if row["decoder"] == "network"])
    assert mean == pytest.approx(held["network"]["top_1"]["value"])  # as many trials of each
    table = read_csv(run.folder / "decode" / "similarity.csv")
    assert [float(row[row["word"]]) for row in table] == pytest.approx([1, 1, 1, 1])
    trials = read_csv(run.folder / "decode" / "trials.csv")
    first = np.mean([float(row["rank_network"]) == 1 for row in trials])
    assert len(trials) == held["trials"] and first == pytest.approx(held["network"]["top_1"]["value"])
    assert held["caveats"][0].startswith("Simulated") and held["caveats"][-1].startswith("2 subjects")
    assert [one["file"] for one in held["pictures"]] == ["ranks.svg", "codebook.svg"]
    with pytest.raises(HeschlError, match="no part 'all'"):
        decode(run, "all")


def test_evaluate_and_decode_tell_one_interval_over_people(tmp_path: Path) -> None:
    from heschl.steps.evaluate import evaluate

    recipe = brains(tmp_path)
    simulated_listener.simulate(tmp_path / "data", words=4, subjects=5, blocks=3, voices=1, snr=30.0)
    run = train(recipe, {"train.epochs": 3}, runs=tmp_path / "runs", quiet=True)
    scored, decoded = evaluate(run), decode(run, permutations=0)
    assert scored["interval"] == decoded["interval"] == "over 5 subjects (few, so by Student's t)"
    assert (scored["scores"]["group"], scored["scores"]["n_groups"]) == ("subject", 5)
    assert scored["apart"] == {"by": "block", "n": 1}  # what the split keeps apart is another matter
    mine, theirs = scored["scores"]["accuracy"], decoded["network"]["top_1"]
    assert [mine[key] for key in ("value", "low", "high")] == pytest.approx(
        [theirs[key] for key in ("value", "low", "high")]
    )
    assert mine["low"] < mine["high"]
    drawn = (run.folder / "evaluate" / "test" / "confusion.svg").read_text()
    assert "asked for" in drawn and ">said<" not in drawn
    rows = read_csv(run.folder / "evaluate" / "test" / "per_speaker.csv")
    assert sorted(row["group"] for row in rows) == [f"sub-0{k}" for k in range(1, 6)]


def test_what_intervals_of_trials_are_over() -> None:
    def over(subjects: int, blocks: int) -> Any:
        held = [{"subject": f"s{k % subjects}", "block": f"b{k // subjects % blocks}"} for k in range(240)]
        return over_trials([Clip(str(k), Path("x"), 1.0, labels) for k, labels in enumerate(held)])

    assert (over(16, 2).told, over(16, 2).by, over(16, 2).names[17]) == ("16 subjects", "subject", "s1")
    assert (over(2, 6).told, over(2, 6).by) == ("6 blocks (few, so by Student's t)", "block")
    assert over(2, 2).told == "4 blocks of 2 subjects (few, so by Student's t)" and over(2, 2).by == "block"
    assert over(1, 2) == (None, "clip", "trials")


def test_what_it_rests_on_is_written(run: Run) -> None:
    held = decode(run, explain=True, permutations=0)
    folder: Path = run.folder / "decode"
    for name in ("by_sensor.csv", "by_frequency.csv", "by_time.csv"):
        rows = read_csv(folder / name)
        total = sum(float(row["share"]) for row in rows)
        assert total == pytest.approx(
            2 if name == "by_sensor.csv" else 1, abs=1e-3
        )  # of each of two recordings
    sensors = read_csv(folder / "by_sensor.csv")
    lost = [row for row in sensors if row["x"] == ""]
    assert len(lost) == 2 and all(float(row["share"]) == 0 == float(row["spatial_attention"]) for row in lost)
    attention = read_csv(folder / "attention.csv")
    assert sum(float(row["attention"]) for row in attention) + held["explained"][
        "own_attention"
    ] == pytest.approx(1, abs=1e-4)
    blocks = [
        key for key in attention[0] if key.startswith("block_")
    ]  # each one's own row, beside the rollout
    assert len(blocks) == len(run.model().transformer.blocks)
    for key in blocks:
        assert 0 < sum(float(row[key]) for row in attention) < 1
    assert float(attention[0]["start"]) == 0 and float(attention[-1]["high"]) == pytest.approx(40)
    assert [one["file"] for one in held["pictures"]][2:] == ["explained.svg", "sensors.svg", "areas.svg"]
    for one in held["pictures"]:
        assert one["title"] and one["alt"] and (folder / one["file"]).stat().st_size > 5_000, one
    assert len(held["explained"]["areas"]["elsewhere"]) == 16
    for row in held["explained"]["areas"]["rows"]:
        above = row["areas"] in held["explained"]["areas"]["above_elsewhere"]
        assert above == (row["lost"] > row["expected_high"] > row["expected_low"] and row["low"] > 0)
    alts = {one["file"]: one["alt"] for one in held["pictures"]}
    top = told(held["network"]["top_1"])
    assert top in alts["ranks.svg"] and any(
        top in one for one in held["caveats"] if "A null" in one or "linear" in one
    )
    assert not any(
        re.search(r"\d %", text) for text in (*alts.values(), *held["caveats"])
    )  # a line would break there
    again = decode(run, permutations=0)  # what was explained before still belongs to these weights
    assert again["explained"] == held["explained"] and again["pictures"] == held["pictures"]
    assert "explained" not in decode(run, "validation", permutations=0)


def test_patterns_by_frequency_are_those_of_lda(run: Run) -> None:
    """Against LDA's own patterns, of all features at once; and chance against words that are drawn anew."""
    from heschl.steps.decode import _answered
    from heschl.steps.decode_linear import _power, linear_by_frequency, maps_of
    from heschl.tasks.linear_decode import fit_lda

    held, _ = _answered(run, "test", None)
    found, chance = linear_by_frequency(held, batch=5)
    random, squares, by_chance = np.random.default_rng(0), [], []
    for subject in ("sub-01", "sub-02"):
        own = [held.corpus.by_id[one] for one in run.split.train if one.startswith(subject)]
        x = _power(maps_of(held, own), None)
        y = np.array([run.task().target(clip) for clip in own])
        there = x[:, :, 0, 0].std(0) > 0
        flat = x[:, there].reshape(len(x), -1)
        shape = (4, int(there.sum()), *x.shape[2:])
        squares.append(np.square(fit_lda(flat, y, 4).patterns.reshape(shape)).mean((0, 1, 3)))
        for _ in range(300):
            z = (flat - flat.mean(0)) / flat.std(0)
            mean = np.stack([z[random.permutation(y) == 0].mean(0)])
            by_chance.append(np.square(mean).mean())
    assert found == pytest.approx(np.sqrt(np.mean(squares, 0)), rel=1e-4)
    assert chance == pytest.approx(np.sqrt(np.mean(by_chance)), rel=0.1)


def test_the_carriers_frequency_is_found(tmp_path: Path) -> None:
    """One source alone hears the word, the others are as loud: words differ at its frequency, and elsewhere as by chance.

    Of 48 trials, which are too few for a weaker carrier; bench/carriers.py asks all four."""
    from heschl.steps.decode import _answered
    from heschl.steps.decode_linear import linear_by_frequency

    recipe = brains(tmp_path)
    root = tmp_path / "alone"
    simulated_listener.simulate(root, 4, 1, 3, 12, snr=30.0, carrier="left frontal")
    recipe["corpus"]["root"] = str(root)
    recipe["feature"] |= {"n_freqs": 10, "order": [1, 2]}  # 4, 8, ... 40 Hz
    held, _ = _answered(train(recipe, runs=tmp_path / "runs", quiet=True), "test", None)
    pattern, chance = linear_by_frequency(held)
    hertz = held.network.feature.frequencies.numpy()
    planted = next(one.frequency for one in simulated_brain.SOURCES if one.name == "left frontal")
    assert hertz[pattern.argmax()] == pytest.approx(planted)
    away = [one.frequency for one in simulated_brain.SOURCES if abs(one.frequency - planted) > 9]
    silent = np.interp(away, hertz, pattern)  # beyond what a wavelet smears
    assert pattern.max() > 1.3 * chance and silent.mean() < 1.15 * chance


def test_the_linear_decoder_points_at_words_that_training_never_heard(tmp_path: Path) -> None:
    """Where power is a linear image of the words' vectors, ridge regression finds the fourth from the other three."""
    from heschl.steps.decode import _answered
    from heschl.steps.decode_linear import linear_patterns, linear_scores, powers

    recipe = brains(tmp_path)
    words = simulated_listener.read(tmp_path / "data").clips
    names = sorted({clip.labels["word"] for clip in words})
    vectors = ("1 0", "0 1", "-1 0", "0 -1")
    (tmp_path / "v.txt").write_text("\n".join(f"{name} {v}" for name, v in zip(names, vectors)))
    recipe["split"] = {"use": "kfold", "group": "word", "folds": 4, "validation": 0.0}
    recipe["task"] |= {"fixed": str(tmp_path / "v.txt")}
    del recipe["train"]["monitor"]
    held, _ = _answered(train(recipe, runs=tmp_path / "runs", quiet=True), "test", None)
    power, _ = powers(held)
    book = held.network.model.codebook.detach().numpy().astype(float)
    image = np.random.default_rng(0).standard_normal((book.shape[1], power[0].x[0].size))
    planted = []
    for one in power:
        x, test = ((book[y] @ image).reshape(-1, *one.x.shape[1:]) for y in (one.y, held.truth[one.rows]))
        planted.append(one._replace(x=x, test=test))
    scores = linear_scores(held, planted)
    said = scores(0, len(held.truth)) if callable(scores) else scores
    assert len(set(held.truth)) == 1 and (said.argmax(1) == held.truth).all()
    assert set(linear_patterns(held, planted)) == {"sub-01", "sub-02"}


def test_controls_are_written_and_at_chance(run: Run) -> None:
    held = decode(run, controls=True, permutations=200)["controls"]
    assert [(row["control"], row["decoder"]) for row in held["rows"]] == [
        ("baseline, first 84 ms", "network"),
        ("baseline, first 84 ms", "linear"),
        ("words shuffled within blocks in training", "linear"),
    ]
    for row in held["rows"]:
        assert row["top_1_chance"] == 0.25 and row["p"] > 0.01, row
    assert not held["above_chance"]
    assert any("eyes, muscles or heart" in note for note in held["notes"])
    assert any("there are 2 subjects" in note for note in held["notes"])
    assert [row["blocks"] for row in held["learning"]] == [1]  # the others are validation and test
    assert held["learning"][0]["hours"] == pytest.approx(8 / 3600)  # four words by two voices, a second each
    rows = read_csv(run.folder / "decode" / "time_resolved.csv")
    assert {row["subject"] for row in rows} == {"sub-01", "sub-02"} and len(rows) == 16
    assert (run.folder / "decode" / "controls.png").stat().st_size > 10_000


def test_frequencies_of_stored_maps_are_those_of_their_file_or_rows(tmp_path: Path) -> None:
    """16 rows are those of BrainMaps' own 4 to 40 Hz by chance, which nobody said of this file."""
    random = np.random.default_rng(0)
    (tmp_path / "maps").mkdir()
    with h5py.File(tmp_path / "maps" / "a.h5", "w") as file:
        file["x_data"], file["y_data"] = random.standard_normal((24, 4, 16, 16)), np.arange(24) % 3
        file["positions"] = random.uniform(-0.1, 0.1, (4, 3))
    recipe = brains(tmp_path)
    recipe["corpus"] = {"use": "imagined", "root": str(tmp_path / "maps"), "blocks": 6}
    recipe["feature"] = {"use": "brain_maps.BrainMaps", "stored": True, "sample_rate": 256.0}
    run = train(recipe, runs=tmp_path / "runs", quiet=True)
    found = decode(run, explain=True, permutations=0)
    rows = read_csv(run.folder / "decode" / "by_frequency.csv")
    assert [float(row["row"]) for row in rows] == list(range(16)) and "hertz" not in rows[0]
    assert found["explained"]["unit"] == "row"
    told = next(one["alt"] for one in found["pictures"] if one["file"] == "explained.svg")
    assert f"most at row {found['explained']['frequency']:.0f}," in told and "Hz" not in told
    with h5py.File(tmp_path / "maps" / "a.h5", "r+") as file:
        file["freqs"] = np.linspace(10, 25, 16)  # as `store_maps` writes them
    found = decode(run, explain=True, permutations=0)
    rows = read_csv(run.folder / "decode" / "by_frequency.csv")
    assert [float(row["hertz"]) for row in rows] == list(range(10, 26))
    assert found["explained"]["unit"] == "Hz" and 10 <= found["explained"]["frequency"] <= 25


def test_hours_of_trials_that_overlap_count_once() -> None:
    """Of two recordings: windows of 3 s round words a second apart, wider by what a filter saw; and trials of unknown times."""
    from types import SimpleNamespace

    from heschl.steps.decode_controls import _hours
    from heschl.types import Clip, Heard

    clips = [Clip(f"{r}/{k}", Path("x"), 10.0, {}, (), 0.0, 3.0, "frames") for r in "abc" for k in range(4)]
    heard = {
        "a": tuple(
            Heard(k - 0.1, k + 3.1, f"a/{k}") for k in (2, 0, 1, 3)
        ),  # 0 to 6 s, and the filter's ends
        "b": tuple(Heard(10 * k - 0.1, 10 * k + 3.1, f"b/{k}") for k in range(4)),
        "c": (Heard(0.0, 3.0, None, "word"),),
    }
    recordings = [SimpleNamespace(heard=one) for one in heard.values()]
    held: Any = SimpleNamespace(corpus=SimpleNamespace(recordings=recordings))
    assert 3600 * _hours(held, clips) == pytest.approx(6.2 + 12 + 12)
    assert 3600 * _hours(held, clips[:1]) == pytest.approx(3)


def test_answers_that_come_in_clusters_are_above_chance_no_more_often_than_p_says() -> None:
    """Each word of each of two subjects is answered by one name in all its trials, drawn at random, as of shuffled training."""
    from heschl.steps.decode_controls import renamed
    from heschl.tasks.retrieval import retrieval_scores

    random, subjects = np.random.default_rng(0), [name for name in "ab" for _ in range(48)]
    truth = np.tile(np.arange(4), 24)
    plain, own = [], []
    for _ in range(300):
        answers = random.integers(4, size=(2, 4))
        said = np.concatenate([answers[k][truth[:48]] for k in range(2)])
        scores = np.eye(4)[said]
        plain.append(retrieval_scores(scores, truth, 4, None, subjects, 99)["p"])
        own.append(renamed(scores, truth, subjects, 99))
    assert np.mean(np.array(plain) <= 0.05) > 0.2  # trials are no draws of their own
    assert 0.01 < np.mean(np.array(own) <= 0.05) <= 0.08
    assert renamed(np.eye(4)[truth], truth, subjects, 999) == pytest.approx(1 / 576, abs=0.003)


def test_a_mirrored_baseline_holds_nothing_of_what_follows() -> None:
    from heschl.steps.decode_controls import mirrored

    x = np.arange(10.0)[None]
    assert mirrored(x, 3)[0].tolist() == [0, 1, 2, 2, 1, 0, 0, 1, 2, 2]
    other = x.copy()
    other[:, 3:] = 7
    assert np.array_equal(mirrored(x, 3), mirrored(other, 3))


def test_controls_find_what_is_planted(run: Run) -> None:
    """A baseline that knows the word, and a channel of an eye that does, are above chance: the controls can fail."""
    from dataclasses import replace

    from heschl.steps.decode import _answered
    from heschl.steps.decode_controls import _body, control_decoding
    from heschl.steps.decode_linear import powers
    from heschl.tasks.retrieval import retrieval_scores

    held, _ = _answered(run, "train", None)
    power, _ = powers(held)
    notes: list[str] = []
    channels = {one.id: ("VEOG", *one.channels[1:]) for one in held.corpus.recordings}
    looked = tuple(replace(one, channels=channels[one.id]) for one in held.corpus.recordings)
    held = held._replace(corpus=replace(held.corpus, recordings=looked))
    for one in power:  # the eye turns by the word
        one.x[:, 0], one.test[:, 0] = one.y[:, None, None], held.truth[one.rows][:, None, None]
        one.x[:, 0] += 0.01 * np.random.default_rng(0).standard_normal(one.x[:, 0].shape)
    ((name, _, scores),) = _body(held, power, notes)
    assert name == "VEOG alone" and not notes
    assert (scores.argmax(1) == held.truth).all()

    def scored(scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        return retrieval_scores(scores, truth, 4, None, None, 200)

    found = control_decoding(held, power, scored, run.folder / "planted", baseline=0.5)
    assert "VEOG alone, linear" in found["above_chance"]
    with pytest.raises(HeschlError, match="a baseline of 2 s"):
        control_decoding(held, power, scored, run.folder / "planted", baseline=2.0)


@pytest.mark.slow
def test_real_eeg_without_speech_is_at_chance(shared: Path, tmp_path: Path) -> None:
    """The whole way on recordings of people who looked at a cross: a claim of more than chance is a fault of ours."""
    changes = {"corpus.root": str(shared / "data" / "feis" / "eeg_fixation"), "machine.threads": 1}
    run = train("feis-fixation", {**changes, "train.epochs": 2}, runs=tmp_path, quiet=True)
    held = decode(run, permutations=200)
    assert not held["simulated"] and held["words"] == 16 and held["subjects"] == 16
    for who in ("network", "linear"):
        top = held[who]["top_1"]
        assert held[who]["p"] > 0.01, f"the {who} claims {top['value']:.3f} on EEG that carries no speech"
        assert top["low"] <= 0.08 and top["value"] < 0.1
