"""Evaluate, predict and crossval, on small networks that are really trained (a few steps) on the packaged corpus."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
from sklearn import metrics

from heschl.checkpoints import save_weights
from heschl.corpora import spoken
from heschl.files import read_csv, read_json, write_csv, write_json
from heschl.report.scores import read_confusion
from heschl.run import Run, open_run
from heschl.steps.crossval import _pooled, crossval
from heschl.steps.evaluate import _write_matrix, evaluate, scores_of, segment_rows
from heschl.steps.networks import Answer, answers, open_network
from heschl.steps.predict import LONGEST, find_recordings, grid_names, predict
from heschl.training.fit import train
from heschl.types import Clip, Corpus, HeschlError, Skipped

DIGITS = {
    "format": 1,
    "name": "digits",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 14},
    "split": {"use": "fractions", "validation": 0.2, "test": 0.4},
    "clip": {"seconds": 1.0},
    "feature": {"use": "mel.LogMel", "normalise": "energy"},
    "model": {"use": "kws.KWS", "width": 16, "stem": 8, "depth": 1},
    "task": {"use": "classify.Classify", "label": "digit"},
    "train": {"epochs": 2, "batch": 16, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}
PHONES = {
    **DIGITS,
    "name": "phones",
    "corpus": {"use": "spoken", "kind": "sentence", "voices": 8},
    "clip": {"seconds": None},
    "feature": {"use": "context.Context", "context": 3},
    "model": {"use": "frame_mlp.FrameMLP", "widths": [32]},
    "task": {"use": "frames.ClassifyFrames"},
    "train": {"steps": 30, "batch": 256, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _trained(DIGITS, tmp_path_factory)


@pytest.fixture(scope="module")
def phones(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _trained(PHONES, tmp_path_factory)


def _trained(recipe: dict, factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(factory.getbasetemp() / "cache"))
        return train(recipe, runs=factory.mktemp("runs"), quiet=True)


# --- evaluate ----------------------------------------------------------------------------------------------


def test_scores_can_be_recomputed_from_the_predictions(digits):
    held = evaluate(digits)
    folder = digits.folder / "evaluate" / "test"
    assert held == read_json(folder / "scores.json")
    rows = read_csv(folder / "predictions.csv")
    said, answered = [row["said"] for row in rows], [row["answered"] for row in rows]
    assert {row["id"] for row in rows} == set(digits.split.test)
    scores = held["scores"]
    assert scores["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(said, answered))
    assert scores["balanced_accuracy"]["value"] == pytest.approx(
        metrics.balanced_accuracy_score(said, answered)
    )
    assert scores["n_groups"] == len({row["speaker"] for row in rows})
    assert scores["interval_over"] == "speaker" and held["synthetic"] is True
    shares = np.array([[float(row[f"p:{label}"]) for label in digits.labels] for row in rows])
    assert np.allclose(shares.sum(1), 1, atol=1e-4)
    assert [digits.labels[k] for k in shares.argmax(1)] == answered
    for name in (
        "per_class.csv",
        "per_speaker.csv",
        "confusion.csv",
        "confusion.svg",
        "confusion.png",
        "skipped.csv",
    ):
        assert (folder / name).stat().st_size > 0
    matrix = metrics.confusion_matrix(said, answered, labels=list(digits.labels))
    with (folder / "confusion.csv").open(encoding="utf-8", newline="") as file:
        assert [[int(v) for v in row[1:]] for row in list(csv.reader(file))[1:]] == matrix.tolist()


def test_one_clips_answer_does_not_depend_on_its_batch(digits, phones):
    for run in (digits, phones):
        network, corpus = open_network(run), run.corpus()
        clips = [corpus.by_id[one] for one in run.split.test[:7]]
        together = list(answers(network, clips, batch=7))
        alone = list(answers(network, clips, batch=1))
        for one, other in zip(together, alone, strict=True):
            assert one.logits.shape == other.logits.shape
            assert np.allclose(one.logits, other.logits, atol=2e-5)


def test_another_folder_is_scored_whole_and_unknown_labels_are_listed(digits, tmp_path):
    root = tmp_path / "other"
    spoken.write_tiny(root)
    held = evaluate(digits, on=root)
    corpus = digits.corpus(root)
    known = [clip for clip in corpus.clips if clip.labels["digit"] in digits.labels]
    assert held["clips"] == len(known) and held["on"] == str(root)
    assert (digits.folder / "evaluate" / "on-other" / "scores.json").exists()
    assert set(held["unknown_labels"]).isdisjoint(digits.labels)
    shutil.copytree(root, tmp_path / "else" / "other")  # called the same: neither takes the other's place
    for _ in range(2):
        second = evaluate(digits, on=tmp_path / "else" / "other")
    assert Path(second["folder"]).name == "on-else-other"
    assert evaluate(digits, on=root)["folder"] == held["folder"]


def test_a_clip_that_has_gone_is_listed_and_strict_refuses_it(digits, tmp_path):
    network, skipped = open_network(digits), []
    good = digits.corpus().clips[0]
    bad = Clip("gone", tmp_path / "gone.wav", 16000, {})
    found = list(answers(network, [good, bad, good], skipped=skipped))
    assert (
        len(found) == 2 and skipped == [Skipped("gone", skipped[0].why)] and "is not there" in skipped[0].why
    )
    with pytest.raises(HeschlError, match="is not there"):
        list(answers(network, [good, bad]))


def test_scores_of_a_run_that_is_not_finished_say_so_and_of_which_weights_they_are(digits, tmp_path):
    folder = tmp_path / digits.folder.name
    shutil.copytree(digits.folder, folder)
    run = open_run(folder)
    run.note(stop=None)
    with pytest.warns(UserWarning, match=r"not been trained to its end \(\d+ epochs so far\)"):
        halfway = evaluate(run)
    assert not halfway["finished"]
    other = {name: value + 0.5 for name, value in digits.weights().items()}
    save_weights(folder / "checkpoints" / "best.safetensors", other, {"run": run.name})
    run.note(stop="2026-01-01T00:00:00+00:00")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = evaluate(run)
    assert whole["finished"] and whole["weights"] != halfway["weights"] == evaluate(digits)["weights"]


def test_kept_scores_are_taken_only_of_the_weights_that_are_there(digits, tmp_path):
    folder = tmp_path / digits.folder.name
    shutil.copytree(digits.folder, folder)
    run, path = open_run(folder), folder / "evaluate" / "validation" / "scores.json"
    made = scores_of(run, "validation")
    write_json(path, {**made, "clips": -1})
    assert scores_of(run, "validation")["clips"] == -1
    write_json(path, {**made, "clips": -1, "weights": "of another epoch"})
    assert scores_of(run, "validation")["clips"] == made["clips"]


def test_wrong_parts_are_refused(digits):
    with pytest.raises(HeschlError, match="choose train, validation or test"):
        evaluate(digits, "dev")


@pytest.mark.slow
def test_frames_with_and_without_silence(phones):
    held = evaluate(phones)
    scores = held["scores"]
    assert held["kind"] == "frames" and scores["all"]["unit"] == "frame"
    assert scores["without_silence"]["n"] < scores["all"]["n"]
    assert 0 <= scores["segments"]["f1"] <= scores["boundaries"]["f1"] <= 1
    rows = read_csv(phones.folder / "evaluate" / "test" / "predictions.csv")
    for one in phones.split.test:  # segments cover each clip without a gap
        own = [row for row in rows if row["id"] == one]
        assert float(own[0]["start"]) == 0
        assert all(a["stop"] == b["start"] for a, b in itertools.pairwise(own))


@pytest.mark.slow
def test_what_was_said_lies_beside_what_was_heard(phones):
    folder = phones.folder / "evaluate" / "test"
    evaluate(phones)
    tables = {name: read_csv(folder / f"{name}.csv") for name in ("said", "predictions", "per_clip")}
    corpus = phones.corpus()
    for row in tables["per_clip"]:
        spans = {
            name: [(float(one["start"]), float(one["stop"]), one[key]) for one in tables[name] if one["id"] == row["id"]]
            for name, key in (("said", "said"), ("predictions", "answered"))
        }  # fmt: skip
        whole = sum(stop - start for start, stop, _ in spans["said"])
        same = sum(
            max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
            for a in spans["said"]
            for b in spans["predictions"]
            if a[2] == b[2]
        )
        assert same / whole == pytest.approx(float(row["accuracy"]), abs=0.02)  # the ends count half a frame
        words = [span.symbol for span in corpus.by_id[row["id"]].spans if span.tier == "word"]
        assert row["words"].split() == " ".join(words).split() and Path(row["file"]).exists()


def test_segments_are_cut_halfway_between_frames():
    logits = np.eye(2)[[0, 0, 1]] * 5
    rows = segment_rows(Answer(None, logits, np.array([0.0, 0.01, 0.02]), 0.03), ["a", "b"])
    assert [(row["start"], row["stop"], row["answered"]) for row in rows] == [
        (0, 0.015, "a"),
        (0.015, 0.03, "b"),
    ]


# --- predict -----------------------------------------------------------------------------------------------


def sound(path: Path, seconds: float, rate: int = 16000, channels: int = 1) -> Path:
    random = np.random.default_rng(0)
    wave = 0.2 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    wave = wave[:, None] * np.ones(channels) + 0.01 * random.normal(size=(len(wave), channels))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate)
    return path


def test_a_recording_is_answered_as_the_same_clip_is_in_a_corpus(digits, tmp_path):
    evaluate(digits)
    row = read_csv(digits.folder / "evaluate" / "test" / "predictions.csv")[0]
    wave, rate = soundfile.read(row["file"], dtype="float32")
    part = wave[round(float(row["start"]) * rate) : round(float(row["stop"]) * rate)]
    soundfile.write(tmp_path / "one.wav", part, rate, subtype="FLOAT")
    table = predict(digits, [tmp_path / "one.wav"])
    assert table["label"].tolist() == [row["answered"]]
    assert table["probability"][0] == pytest.approx(float(row["probability"]), abs=1e-4)


def test_long_recordings_are_heard_in_windows_and_bad_ones_named(digits, tmp_path):
    sound(tmp_path / "a" / "short.wav", 0.4)
    sound(tmp_path / "a" / "b" / "long.flac", 3.2, 44100, 2)
    (tmp_path / "a" / "bad.wav").write_text("no sound", encoding="utf-8")
    table = predict(digits, [tmp_path / "a"])
    long = table[table["file"].str.endswith("long.flac")]
    assert long["start"].tolist() == pytest.approx([0, 0.5, 1.0, 1.5, 2.0, 2.2])
    assert long["stop"].tolist()[-1] == pytest.approx(3.2)
    assert len(table[table["file"].str.endswith("short.wav")]) == 1
    bad = table[table["error"] != ""]
    assert len(bad) == 1 and "not audio" in bad["error"].iloc[0]
    shares = table[table["error"] == ""][[f"p:{label}" for label in digits.labels]].to_numpy()
    assert np.allclose(shares.sum(1), 1, atol=1e-4)


def test_whatever_cannot_be_heard_is_named(digits, tmp_path):
    """Names with a number sign, links that lead nowhere, names that are no text, clicks that training would leave out."""
    sound(tmp_path / "take #1.wav", 0.4)
    (tmp_path / "take #2.wav").write_text("no sound", encoding="utf-8")
    sound(tmp_path / "brief.wav", 0.005)
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    if sys.platform == "linux":
        sound(tmp_path / "x.wav", 0.4).rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
        (told,) = predict(digits, [next(tmp_path.glob("caf*"))])["error"]
        assert "caf\\udce9.wav has a name that is no UTF-8 text" in told
        next(tmp_path.glob("caf*")).unlink()
    table = predict(digits, [tmp_path]).set_index("file")["error"]
    assert len(table) == 4 and table[str(tmp_path / "take #1.wav")] == ""
    assert "less than 10 ms: take it out" in table[str(tmp_path / "brief.wav")]
    assert "not audio" in table[str(tmp_path / "take #2.wav")]
    assert "gone.wav is not there" in table[str(tmp_path / "gone.wav")]


def test_what_cannot_be_read_is_not_passed_over_in_a_folder_and_what_is_hidden_is(digits, tmp_path):
    sound(tmp_path / "a.wav", 0.4)
    sound(tmp_path / "._a.wav", 0.4)
    sound(tmp_path / ".old" / "a.wav", 0.4)
    (tmp_path / "memo.M4A").write_bytes(b"\0\0\0\x18ftypM4A ")
    table = predict(digits, [tmp_path]).set_index("file")["error"]
    assert table.index.tolist() == [str(tmp_path / "a.wav"), str(tmp_path / "memo.M4A")]
    assert "ffmpeg -i" in table[str(tmp_path / "memo.M4A")]


def test_another_rate_is_said_once(digits, tmp_path):
    said: list[str] = []
    predict(digits, [sound(tmp_path / "own.wav", 0.4)], say=said.append)
    assert said == []
    sound(tmp_path / "long.wav", 3.0, 44100)
    sound(tmp_path / "short.wav", 0.4, 8000)
    predict(digits, [tmp_path], say=said.append)
    assert said == ["recordings are resampled to 16000 Hz: 1 from 8000 Hz, 1 from 44100 Hz (of 3)"]


def test_options_of_other_networks_are_refused(phones, tmp_path):
    with pytest.raises(HeschlError, match="leave --hop out"):
        predict(phones, [sound(tmp_path / "x.wav", 1.0)], hop=0.5)


def test_every_recording_has_a_textgrid_of_its_own():
    files = [
        "a/x/1/r.wav",
        "b/x/1/r.wav",
        "c/s.wav",
        "c/s.flac",
        "a-b/t.wav",
        "a/b-t.wav",
        "d/a-b-t.wav",
        "alone.wav",
    ]
    names = grid_names([Path(file) for file in files])
    assert len(set(names.values())) == len(files)
    assert names[Path("alone.wav")] == "alone" and names[Path("a/x/1/r.wav")] == "a-x-1-r"
    assert names[Path("c/s.flac")] == "c-s.flac"
    short = grid_names([Path("p/q/r.wav"), Path("p/s/r.wav")])
    assert list(short.values()) == ["p-q-r", "p-s-r"]


def test_nothing_to_hear_is_said(digits, tmp_path):
    with pytest.raises(HeschlError, match="no recordings"):
        find_recordings([])
    with pytest.raises(HeschlError, match="has no recordings"):
        predict(digits, [tmp_path])
    with pytest.raises(HeschlError, match="neither a run folder, nor weights"):
        predict(tmp_path / "x.pt", [tmp_path])
    with pytest.raises(HeschlError, match="TextGrid"):
        predict(digits, [sound(tmp_path / "x.wav", 1.0)], textgrids=tmp_path)


def test_weights_in_a_run_can_be_named(digits, tmp_path):
    file = sound(tmp_path / "x.wav", 1.0)
    best = predict(digits.folder / "checkpoints" / "best.safetensors", [file])
    assert best.equals(predict(digits, [file]))


def test_textgrids_open_in_another_reader_and_long_recordings_are_joined_exactly(phones, tmp_path):
    from praatio import textgrid

    file = sound(tmp_path / "long.wav", 2 * LONGEST + 3.3)
    table = predict(phones, [file], textgrids=tmp_path / "grids")
    grid = textgrid.openTextgrid(str(tmp_path / "grids" / "long.TextGrid"), includeEmptyIntervals=True)
    entries = grid.getTier("phone").entries
    assert [entry.label for entry in entries] == table["label"].tolist()
    assert grid.maxTimestamp == pytest.approx(2 * LONGEST + 3.3)
    network = open_network(phones)
    clip = Clip("x", file, 16000, {}, stop=2 * LONGEST + 3.3)
    whole = segment_rows(next(answers(network, [clip])), network.labels)
    assert [row["answered"] for row in whole] == table["label"].tolist()
    assert [row["start"] for row in whole] == pytest.approx(table["start"].tolist())


@pytest.mark.slow
def test_stored_frames_get_an_id_and_a_label_each(tmp_path, tmp_path_factory):
    from heschl.corpora import frames

    frames.write_tiny(tmp_path / "data")
    recipe = {
        **PHONES,
        "name": "stored",
        "corpus": {"use": "frames", "root": str(tmp_path / "data")},
        "split": {"use": "given"},
        "feature": {"use": "stored.Stored", "context": 2},
        "task": {"use": "frames.ClassifyFrames", "silence": None},
    }
    run = _trained(recipe, tmp_path_factory)
    held = evaluate(run, "validation")
    assert held["scores"]["all"]["accuracy"]["value"] > 0.5
    table = predict(run, [tmp_path / "data" / "test.npy"])
    total = sum(len(one) for one in np.load(tmp_path / "data" / "test.npy", allow_pickle=True))
    assert table["id"].tolist() == list(range(total)) and set(table["label"]) <= set(run.labels)
    validation = predict(run, [tmp_path / "data" / "dev.npy"])
    truth = np.concatenate(np.load(tmp_path / "data" / "dev_labels.npy", allow_pickle=True))
    right = (validation["label"].to_numpy() == truth.astype(str)).mean()
    assert right == pytest.approx(held["scores"]["all"]["accuracy"]["value"])
    assert predict(run, [frames.to_hdf5(tmp_path / "data")])["id"].max() > total
    (tmp_path / "bad.npy").write_bytes(b"no array")
    assert "bad.npy" in predict(run, [tmp_path / "bad.npy"])["error"][0]
    with pytest.raises(HeschlError, match="leave --textgrids out"):
        predict(run, [tmp_path / "data" / "test.npy"], textgrids=tmp_path / "grids")
    one, none = np.empty(1, object), np.empty(0, object)
    one[0] = np.full((4, 13), np.nan, np.float32)
    np.save(tmp_path / "nan.npy", one, allow_pickle=True)
    np.save(tmp_path / "none.npy", none, allow_pickle=True)
    with h5py.File(tmp_path / "data" / "frames.h5", "r+") as file:
        file["dev"]["features"][3] = np.nan
    for path, said in (
        (tmp_path / "nan.npy", "not finite"),
        (tmp_path / "none.npy", "no utterance"),
        (
            tmp_path / "data" / "frames.h5",
            "dev/0 holds numbers that are not finite",
        ),  # no id is another frame's
    ):
        table = predict(run, [path])
        assert len(table) == 1 and said in table["error"][0]


def test_a_class_may_be_called_as_a_column_is(tmp_path):
    matrix = np.array([[3, 1], [0, 2]])
    _write_matrix(tmp_path, matrix, ("go", "said"))
    labels, found = read_confusion(tmp_path / "confusion.csv")
    assert labels == ["go", "said"] and (found == matrix).all()


# --- crossval ----------------------------------------------------------------------------------------------

FOLDS = {
    **DIGITS,
    "name": "folds",
    "split": {"use": "kfold", "folds": 3},
    "train": {**DIGITS["train"], "epochs": 1},
}


@pytest.mark.slow
def test_every_fold_is_trained_scored_and_kept(tmp_path):
    done: list[tuple[int, int]] = []
    result = crossval(FOLDS, train=train, runs=tmp_path, progress=lambda *far: done.append(far))
    assert done == [(1, 3), (2, 3), (3, 3)] and result["n_folds"] == 3
    values = [row["accuracy"] for row in result["folds"]]
    assert result["accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert result["accuracy"]["sd"] == pytest.approx(np.std(values, ddof=1))
    weights = [Path(row["run"]) / "checkpoints" / "best.safetensors" for row in result["folds"]]
    times = [path.stat().st_mtime_ns for path in weights]
    tested = [set(open_run(row["run"]).split.test) for row in result["folds"]]
    assert sum(map(len, tested)) == len(set.union(*tested)) == 140
    answers = [
        row for row in result["folds"] for row in read_csv(Path(row["run"]) / "evaluate/test/predictions.csv")
    ]
    said, answered = ([row[key] for row in answers] for key in ("said", "answered"))
    assert result["pooled"]["n"] == 140
    assert result["pooled"]["balanced_accuracy"]["value"] == pytest.approx(
        metrics.balanced_accuracy_score(said, answered)
    )
    assert crossval(FOLDS, train=train, runs=tmp_path) == result
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert read_json(tmp_path / "crossval-folds" / "scores.json") == result


def written(folder: Path, held: dict, answers: list[dict]) -> dict:
    """A fold's scores and answers, as `evaluate` writes them; gives its row."""
    write_json(folder / "evaluate" / "test" / "scores.json", {"kind": "clips", **held})
    if answers:
        write_csv(folder / "evaluate" / "test" / "predictions.csv", answers, list(answers[0]))
    return {"run": str(folder), "group": "speaker"}


def test_answers_that_look_alike_in_print_are_pooled_as_they_were_given(tmp_path):
    rows = []
    for fold in range(2):
        answers = [
            {
                "id": f"{fold}/{k}",
                "speaker": f"s{fold}",
                "said": "b",
                "answered": "b",
                "p:a": "0.500000",
                "p:b": "0.500000",
            }
            for k in range(3)
        ]
        rows.append(written(tmp_path / str(fold), {"labels": ["a", "b"]}, answers))
    pooled = _pooled(Corpus("none", (), "", ""), rows)
    assert pooled is not None and pooled["accuracy"]["value"] == 1.0 and pooled["n"] == 6


def test_candidates_are_not_pooled(tmp_path):
    """Networks that point at stretches of speech have no table of labels."""
    rows = [written(tmp_path / str(fold), {"candidates": 9}, []) for fold in range(2)]
    assert _pooled(Corpus("none", (), "", ""), rows) is None


def test_pooled_trials_of_brains_are_drawn_by_subject(tmp_path):
    """One subject a fold: within a fold the interval is over its blocks, over all of them it is over subjects."""
    rows, clips = [], []
    for fold in range(6):
        answers = []
        for k in range(10):
            name = f"{fold}/{k}"
            clips.append(
                Clip(name, Path("none"), 100.0, {"subject": f"s{fold}", "block": str(k), "recording": "r"})
            )
            right = {"id": name, "speaker": str(k), "said": "ab"[k % 2], "answered": "ab"[k % 2]}
            answers.append(
                right | {"p:a": "0.9" if k % 2 == 0 else "0.1", "p:b": "0.1" if k % 2 == 0 else "0.9"}
            )
        rows.append(
            written(tmp_path / str(fold), {"labels": ["a", "b"], "brains": True}, answers)
            | {"group": "block"}
        )
    pooled = _pooled(Corpus("brains", tuple(clips), "", ""), rows)
    assert pooled is not None and (pooled["group"], pooled["n_groups"]) == ("subject", 6)


@pytest.mark.slow
def test_a_run_that_tests_on_nobody_says_what_to_do(tmp_path):
    split = {"use": "kfold", "folds": 3, "fold": None}
    run = train({**FOLDS, "name": "everybody", "split": split}, runs=tmp_path, quiet=True)
    assert len(run.split.train) == 140
    with pytest.raises(HeschlError, match="keeps nobody for its test part.*heschl crossval everybody"):
        evaluate(run)


@pytest.mark.slow
def test_a_split_without_folds_is_refused(tmp_path):
    with pytest.raises(HeschlError, match="has no folds"):
        crossval(DIGITS, train=train, runs=tmp_path)


def test_crossval_goes_through_every_fold_and_says_so_where_one_is_named(tmp_path):
    with pytest.raises(HeschlError, match=r"split\.fold: crossval goes through every fold: leave it out"):
        crossval(FOLDS, {"split.fold": 2}, train=train, runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_where_every_fold_fails_none_is_said_to_be_kept(tmp_path):
    def never(*_: object, **__: object) -> None:
        raise HeschlError("it cannot be trained")

    with pytest.raises(HeschlError, match=r"^3 of 3 folds failed; fold 0: it cannot be trained$"):
        crossval({**FOLDS, "split": {"use": "kfold", "folds": 3}}, train=never, runs=tmp_path)  # type: ignore[arg-type]


@pytest.mark.slow
def test_folds_on_a_dask_cluster_of_two_local_workers_are_those_of_one_process(tmp_path):
    distributed = pytest.importorskip("distributed")
    here = crossval(FOLDS, train=train, runs=tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        there = crossval(FOLDS, train=train, runs=tmp_path / "there", dask=cluster.scheduler_address)
    assert [row["accuracy"] for row in there["folds"]] == [row["accuracy"] for row in here["folds"]]


@pytest.mark.slow
def test_no_cluster_is_one_sentence(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(HeschlError, match="no dask scheduler answers"):
        crossval(FOLDS, train=train, runs=tmp_path, dask="tcp://127.0.0.1:9")
