"""Silence cut as a recipe asks: the same stretch of each file in training, scores, answers and explanations."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from heschl.app.answering import open_model, understand
from heschl.corpora import _tiny
from heschl.features.speech import Speech, cut_corpus
from heschl.features.vad import energy
from heschl.files import read_csv, write_csv
from heschl.run import Run, open_run
from heschl.steps.evaluate import evaluate
from heschl.steps.explain_clips import find_clips
from heschl.steps.networks import answers, open_network
from heschl.steps.predict import predict
from heschl.training.check import check_recipe
from heschl.training.fit import train
from heschl.types import Clip, Corpus, HeschlError, Recording, Span

RATE = 16000
BEFORE, SAID, AFTER = 0.6, 0.5, 0.4  # seconds


def word(speaker: int, label: int, before: float = BEFORE) -> np.ndarray:
    noise = np.random.default_rng((speaker, label)).standard_normal(round((before + SAID + AFTER) * RATE))
    wave = 1e-4 * noise
    wave[round(before * RATE) :][: round(SAID * RATE)] += _tiny.utterance(speaker, label, 0, SAID)
    return wave


def corpus(*clips: Clip, **more: Any) -> Corpus:
    return Corpus("sounds", clips, "made here", "CC0", **more)


def test_clips_are_cut_to_their_speech_and_spans_follow(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([np.zeros(RATE), word(0, 0)]), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    said = (Span("sil", 0.0, 0.55), Span("a", 0.6, 0.9), Span("b", 0.9, 1.1), Span("sil", 1.25, 1.5))
    given = corpus(
        Clip("one", path, RATE, {"word": "ab"}, said, start=1.0, stop=2.5),
        Clip("none", tmp_path / "silent.wav", RATE, {"word": "no"}, stop=1.0),
        Clip("gone", tmp_path / "gone.wav", RATE, {"word": "no"}, stop=1.0),
    )
    cut = cut_corpus(given, Speech(energy, {}, {"pad": 0.1}))
    one, none, gone = cut.clips
    assert one.start == pytest.approx(1.5, abs=0.04) and one.stop == pytest.approx(2.2, abs=0.04)
    at = {span.symbol: (one.start + span.start, one.start + span.stop) for span in one.spans[1:3]}
    assert np.allclose([at["a"], at["b"]], [(1.6, 1.9), (1.9, 2.1)])  # where they were in the file
    assert (
        one.spans[0].start == 0 and len(one.spans) == 3
    )  # what is left of the first silence; the last is gone
    assert "1 spans lay there" in one.labels["silence"] and one.labels["word"] == "ab"
    assert (none.start, none.stop, none.labels["silence"]) == (0.0, 1.0, "stays whole: no speech was found")
    assert gone.stop == 1.0 and str(tmp_path) not in gone.labels["silence"]
    assert "gone.wav" in gone.labels["silence"]  # whoever reads it says so again
    assert "clips last 0.7" in cut.notes[-1] and "in 2 of 3 no speech" in cut.notes[-1]


def test_what_was_found_is_kept_and_never_stale(tmp_path: Path) -> None:
    path, calls = tmp_path / "a.wav", []

    def counted(wave: torch.Tensor, rate: float, range_db: float = 30.0) -> Any:
        calls.append(range_db)
        return energy(wave, rate, range_db)

    def begin(**args: Any) -> float:
        return cut_corpus(given, Speech(counted, args.pop("args", {}), args)).clips[0].start

    soundfile.write(path, word(0, 0), RATE)
    given = corpus(Clip("a", path, RATE, {}, stop=1.5))
    first = begin()
    assert begin() == first and len(calls) == 1
    assert begin(pad=0.2) == pytest.approx(first - 0.17) and len(calls) == 2
    begin(args={"range_db": 10.0})
    assert calls == [30.0, 30.0, 10.0]
    soundfile.write(path, word(0, 0, BEFORE - 0.3), RATE)  # another recording under the same name
    os.utime(path, ns=(1, 1))
    assert begin() == pytest.approx(first - 0.3, abs=0.02)


def test_a_detectors_own_files_name_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    held = tmp_path / "weights" / "model.bin"
    held.write_text("1")
    key = Speech(energy, {"model": str(tmp_path / "weights")}).key
    held.write_text("22")
    assert Speech(energy, {"model": str(tmp_path / "weights")}).key != key


class Broken:
    def __init__(self) -> None:
        raise HeschlError("the model is not there")


def test_a_detector_that_cannot_be_made_is_no_silence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", word(0, 0), RATE)
    with pytest.raises(HeschlError, match="the model is not there"):
        cut_corpus(corpus(Clip("a", tmp_path / "a.wav", RATE, {})), Speech(Broken))


def test_what_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    frames = corpus(Clip("a", tmp_path / "a.npy", 100.0, {}, form="frames"))
    with pytest.raises(HeschlError, match="holds stored frames: leave it out"):
        cut_corpus(frames, Speech(energy))
    named = Clip("a", tmp_path / "a.wav", RATE, {"silence": "long"})
    with pytest.raises(HeschlError, match="has one of its own: rename it"):
        cut_corpus(corpus(named), Speech(energy))
    brain = Recording("r", "01", tmp_path / "r.npz", 64.0, "eeg", ("C",))
    with pytest.raises(HeschlError, match="take the corpus `listening`"):
        cut_corpus(corpus(Clip("a", tmp_path / "a.wav", 100.0, {}), recordings=(brain,)), Speech(energy))


# --- in a recipe -----------------------------------------------------------------------------------------


RECIPE: dict[str, Any] = {
    "format": 1,
    "name": "cut",
    "split": {"use": "fractions", "validation": 0.2, "test": 0.4},
    "clip": {"seconds": 0.6},
    "feature": {"use": "mel.LogMel", "normalise": "energy"},
    "model": {"use": "kws.KWS", "width": 16, "stem": 8, "depth": 1},
    "task": {"use": "classify.Classify", "label": "label"},
    "train": {"steps": 4, "batch": 8, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
    "machine": {"device": "cpu", "threads": 1},
}


def table(folder: Path) -> Path:
    rows = []
    for speaker in range(5):
        for label in range(2):
            soundfile.write(folder / f"{speaker}-{label}.wav", word(speaker, label), RATE)
            rows.append({"path": f"{speaker}-{label}.wav", "speaker": f"s{speaker}", "label": f"w{label}"})
    write_csv(folder / "index.csv", rows, list(rows[0]))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("speech")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        source = {"use": "table", "root": str(table(folder)), "speech": "energy"}
        return train({**RECIPE, "corpus": source}, runs=folder / "runs", quiet=True)


def test_a_run_says_what_was_cut(run: Run) -> None:
    rows = read_csv(run.folder / "silence.csv")
    assert len(rows) == 10
    for row in rows:
        assert float(row["start"]) == pytest.approx(BEFORE, abs=0.08) and "before" in row["silence"]
        assert float(row["stop"]) == pytest.approx(BEFORE + SAID, abs=0.08)
    assert "silence before and after speech is cut" in " ".join(run.origin["corpus"]["notes"])
    again = open_run(run.folder)  # from disk
    assert {clip.start for clip in again.corpus().clips} == {float(row["start"]) for row in rows}
    whole = {**RECIPE, "corpus": {"use": "table", "root": run.recipe.corpus.args["root"]}}
    other = train(whole, runs=run.folder.parent, quiet=True)
    assert other.name != run.name and not (other.folder / "silence.csv").exists()


@pytest.mark.slow
def test_every_step_hears_the_same_stretch(run: Run, tmp_path: Path) -> None:
    evaluate(run)
    scored = read_csv(run.folder / "evaluate" / "test" / "predictions.csv")
    found = predict(run, [row["file"] for row in scored])
    for row, (_, answer) in zip(scored, found.iterrows(), strict=True):
        assert answer["label"] == row["answered"]
        assert answer["probability"] == pytest.approx(float(row["probability"]), abs=1e-5)
        assert answer["start"] == pytest.approx(float(row["start"]))  # in the file's own seconds
        assert answer["stop"] == pytest.approx(float(row["stop"]))
    (clip,) = find_clips(run, [Path(scored[0]["file"])])
    assert (clip.start, clip.stop) == pytest.approx((float(scored[0]["start"]), float(scored[0]["stop"])))
    understood = understand(open_model(run.folder), scored[0]["file"])
    assert len(understood.wave) / RATE == pytest.approx(clip.stop - clip.start)  # type: ignore[operator]
    assert understood.shares[scored[0]["answered"]] == pytest.approx(
        float(scored[0]["probability"]), abs=1e-4
    )
    assert understood.notes[0].startswith(
        f"Silence is cut, as in training: what is heard goes from {clip.start:.2f} to"
    )
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    found = predict(run, [tmp_path / "nan.wav", tmp_path / "silent.wav"])
    assert found["start"].tolist()[0] == 0.0 and "not numbers" in found["error"].iloc[-1]
    network = open_network(run)
    assert network.heard_part(tmp_path / "silent.wav", 1.0) == (0.0, 1.0)
    assert network.counts == {"without speech, heard whole": 1}


def test_check_tells_it_and_refuses_what_cannot_be(run: Run) -> None:
    root = run.recipe.corpus.args["root"]

    def said(**speech: Any) -> str:
        found = check_recipe({**RECIPE, "corpus": {"use": "table", "root": root, "speech": speech}})
        return " ".join(one.text for one in found)

    assert "clips last 0.5" in said(use="energy")
    assert "has no argument `rnge_db`: did you mean `range_db`?" in said(use="energy", rnge_db=3)
    assert "nothing is called `enrgy`" in said(use="enrgy")
    assert "`wave` of energy comes from the data" in said(use="energy", wave=3)


@pytest.mark.slow
def test_answers_for_frames_stand_where_they_are_in_the_file(tmp_path: Path) -> None:
    source = {"use": "spoken", "kind": "sentence", "voices": 4, "speech": {"use": "energy", "pad": 0.05}}
    recipe = {
        **RECIPE,
        "corpus": source,
        "clip": {"seconds": None},
        "feature": {"use": "context.Context", "context": 3},
        "model": {"use": "frame_mlp.FrameMLP", "widths": [16]},
        "task": {"use": "frames.ClassifyFrames"},
    }
    run = train(recipe, runs=tmp_path / "runs", quiet=True)
    network = open_network(run)
    said, rate = np.concatenate([_tiny.utterance(k, k, 0) for k in range(3)]), RATE
    path = tmp_path / "late.wav"
    soundfile.write(path, np.concatenate([np.zeros(2 * rate), said, np.zeros(rate)]), rate)
    low, high = network.heard_part(path, 4.5)
    assert (low, high) == pytest.approx((1.95, 3.55), abs=0.06)
    found = predict(run, [path], textgrids=tmp_path / "grids")
    assert found["start"].iloc[0] == pytest.approx(low) and found["stop"].iloc[-1] == pytest.approx(high)
    assert "xmax = 4.5" in (tmp_path / "grids" / "late.TextGrid").read_text(encoding="utf-8")
    (one,) = answers(network, [Clip("x", path, rate, {}, start=low, stop=high)])
    changes = low + one.times[np.flatnonzero(np.diff(one.logits.argmax(-1)))] + 0.5 / network.feature.rate
    assert np.allclose(found["start"].to_numpy()[1:], changes, atol=1e-4)


@pytest.mark.slow
def test_wav2vec_cuts_a_recipes_clips(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "conv_dim": (8, 8),
        "conv_kernel": (10, 8),
        "conv_stride": (20, 16),
        "num_feat_extract_layers": 2,
    }
    small |= {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    small |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    config = transformers.Wav2Vec2Config(**small, num_labels=2)
    model = transformers.Wav2Vec2ForAudioFrameClassification(config)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "data").mkdir()
    speech = {
        "use": "Wav2Vec2Speech",
        "model": str(tmp_path / "model"),
        "offline": True,
        "on": 0.5,
        "off": 0.4,
    }
    source = {"use": "table", "root": str(table(tmp_path / "data")), "speech": speech}
    run = train({**RECIPE, "corpus": source}, runs=tmp_path / "runs", quiet=True)
    rows = read_csv(run.folder / "silence.csv")
    find = run.speech()
    assert find is not None
    for row, clip in zip(rows, run.corpus().clips, strict=False):
        wave, rate = soundfile.read(clip.signal, dtype="float32")
        found = find.whole(torch.from_numpy(wave), rate)
        own = next(one for one in rows if one["id"] == clip.id)
        assert (float(own["start"]), float(own["stop"])) == pytest.approx(found or (0.0, len(wave) / rate)), (
            row
        )
    held = json.loads(json.dumps(run.recipe.corpus.model_dump()))["speech"]
    assert held["use"] == "Wav2Vec2Speech" and Path(held["model"]).is_absolute()
