"""The way out: every form is written, read by its own tool, and answers as the run does."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import torch

from heschl.files import read_json, write_json
from heschl.recipe.plain import write_yaml
from heschl.run import Run, hear, open_run
from heschl.steps import graphs
from heschl.steps.export import _told, card, export
from heschl.steps.export_brain import _add_columns, _row
from heschl.steps.graphs import clips_of, fitted
from heschl.steps.listen import Event, _events, _mean, false_alarms, listen
from heschl.steps.networks import answers, open_network
from heschl.tasks.scores import softmax
from heschl.training.fit import train
from heschl.types import Clip, HeschlError

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


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return train(DIGITS, runs=tmp_path_factory.mktemp("runs"), quiet=True)


@pytest.mark.slow
def test_onnx_hears_waves_and_answers_as_torch_does(digits: Run) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    held = export(digits, "onnx")
    assert held["clips"] == 100 and held["largest_difference"] < 1e-4
    assert held["takes"] == "any number of clips of 16,000 samples"
    session = onnxruntime.InferenceSession(held["file"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["heschl"])
    assert about["labels"] == list(digits.labels) and about["sample_rate"] == 16000
    network = open_network(digits)
    clips = clips_of(digits, 5)
    waves = np.stack([fitted(network, clip) for clip in clips])
    found = session.run(["logits"], {"wave": waves})[0]
    expected = np.stack([answer.logits for answer in answers(network, clips)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_torch_export_is_read_without_heschl(digits: Run) -> None:
    held = export(digits, "torch-export")
    graph = torch.export.load(held["file"]).module()
    wave = torch.randn(4, 16000) * 0.1
    network = open_network(digits)
    expected = network.model(network.feature(wave))[0].detach().numpy()
    np.testing.assert_allclose(graph(wave).detach().numpy(), expected, atol=1e-5)


@pytest.mark.slow
def test_a_graph_that_answers_otherwise_is_not_kept(digits: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    right = graphs.Whole.forward
    monkeypatch.setattr(graphs.Whole, "forward", lambda self, wave: right(self, wave) + 0.01)
    monkeypatch.setattr(graphs, "_probe", lambda *_: None)  # so that the clips have to find it
    with pytest.raises(HeschlError, match="differ by up to 0.01"):
        export(digits, "torch-export", digits.folder / "export" / "wrong.pt2")
    assert not (digits.folder / "export" / "wrong.pt2").exists()


@pytest.mark.slow
def test_hdf5_holds_what_it_was_given_said_and_did(digits: Run) -> None:
    held = export(digits, "hdf5")
    with h5py.File(held["file"]) as file:
        ids = [one.decode() for one in file["ids"][:]]
        assert set(ids) == set(digits.split.test)
        network, corpus = open_network(digits), digits.corpus()
        first = next(iter(answers(network, [corpus.by_id[ids[3]]])))
        np.testing.assert_allclose(file["logits"][3], first.logits, atol=1e-5)
        assert file["truth"][3].decode() == corpus.by_id[ids[3]].labels["digit"]
        assert set(file["activity"]) == set(network.model.areas)
        for area in file["activity"].values():
            assert len(area) == len(ids) and len(area.attrs["times"]) == area.shape[1]


def test_a_folder_for_the_hub(digits: Run, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    held = export(digits, "huggingface-folder", tmp_path / "hub")
    config = json.loads((tmp_path / "hub" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"]["3"] == digits.labels[3] and held["file"] == str(tmp_path / "hub")
    for name, value in load_file(tmp_path / "hub" / "model.safetensors").items():
        assert torch.equal(value, digits.weights()[name])
    told = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    assert "synthetic speech" in told and "\n.\n" not in told  # nobody wrote what this recipe is about
    assert held["parameters"] == digits.origin["parameters"]


def test_a_card_knows_nobody_where_speakers_are_unknown() -> None:
    scores = {"balanced_accuracy": {"value": 0.5}, "group": "clip", "n_groups": None, "chance": 0.25}
    assert (
        _told({"scores": scores}) == "balanced accuracy 50.0 %, an unknown number of speakers, chance 25.0 %"
    )


def test_an_archive_holds_the_run_and_its_checksums(digits: Run, tmp_path: Path) -> None:
    first = export(digits, "archive", tmp_path / "a.zip")
    export(digits, "archive", tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(first["file"]) as archive:
        names = set(archive.namelist())
        assert {
            "recipe.yaml",
            "origin.json",
            "split.json",
            "checkpoints/best.safetensors",
            "CARD.md",
        } <= names
        assert not any(name.startswith("export") or name.endswith("last.ckpt") for name in names)
        summed = set()
        for line in archive.read("SHA256SUMS").decode().splitlines():
            wanted, name = line.split("  ", 1)
            assert hashlib.sha256(archive.read(name)).hexdigest() == wanted
            summed.add(name)
        assert summed == names - {"SHA256SUMS"}
        assert f"torch=={torch.__version__.split('+')[0]}" in archive.read("requirements.txt").decode()
        assert "CC0-1.0" in archive.read("HOW.md").decode()


@pytest.mark.slow
def test_brain_files_open_in_plain_mne_and_hold_what_place_gives(digits: Run, tmp_path: Path) -> None:
    mne = pytest.importorskip("mne")
    pytest.importorskip("mne_bids")
    import heschl
    from heschl.brain.place import clip_courses
    from heschl.files import read_csv
    from heschl.steps.placement import map_of

    held = export(digits, "mne", tmp_path / "mne")
    seen = mne.read_evokeds(tmp_path / "mne" / "biosemi64-ave.fif", verbose="error")
    rows = read_csv(tmp_path / "mne" / "clips.csv")
    assert len(seen) == len(rows) == held["clips"] == 16
    network, corpus = open_network(digits), digits.corpus()
    clips = [corpus.by_id[row["clip"]] for row in rows]
    x = network.feature(torch.stack([torch.from_numpy(fitted(network, clip)) for clip in clips]))
    with pytest.warns(UserWarning, match="no time axis"):
        activity = heschl.record(network.model, x, network.feature.rate)
    placed, clip = map_of(clip_courses(activity), 5), clips[5]
    expected = heschl.project(placed)
    assert seen[5].comment.startswith(clip.id) and "illustrative" in seen[5].comment
    n = len(seen[5].times)
    np.testing.assert_allclose(seen[5].data, expected.data[:, :n], atol=1e-4 * np.abs(expected.data).max())
    stc = mne.read_source_estimate(tmp_path / "mne" / "005")
    np.testing.assert_allclose(stc.data.sum(), placed.values[:, :n].sum(), rtol=1e-3)
    told = export(digits, "bids", tmp_path / "bids")
    header = next((tmp_path / "bids").rglob("*.vhdr"))
    raw = mne.io.read_raw_brainvision(header, verbose="error")
    events = [
        line.split("\t")
        for line in header.with_name("sub-01_task-listening_events.tsv").read_text().split("\n")
    ]
    column = dict(zip(events[0], events[6], strict=True))
    assert told["clips"] == 16 and column["clip"] == clip.id and column["digit"] == clip.labels["digit"]
    start = int(column["sample"])
    found = raw.get_data(start=start, stop=start + n)
    # BrainVision keeps 0.1 microvolt steps
    np.testing.assert_allclose(found, seen[5].data, atol=1.1e-7)
    assert not list(tmp_path.glob(".*tmp")) and (tmp_path / "bids" / "README").exists()


def test_an_export_does_not_replace_what_is_not_its_own(
    digits: Run, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    monkeypatch.chdir(tmp_path)
    for out in (tmp_path, Path(), tmp_path / "mine.txt"):
        with pytest.raises(HeschlError, match="was not written by this export"):
            export(digits, "bids", out)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_labels_named_as_columns_are_kept_beside_them(tmp_path: Path) -> None:
    events = tmp_path / "sub-01_events.tsv"
    events.write_text("onset\tduration\tvalue\n0.0\t0.0\t1\n")
    clip = Clip("a/1", tmp_path / "a.wav", 16000, {"clip": "x", "value": "loud", "one\ttwo": "y"})
    _add_columns(events, [_row(clip)])
    names, values = (line.split("\t") for line in events.read_text().splitlines())
    row = dict(zip(names, values, strict=True))
    assert row["clip"] == "a/1" and row["clip_"] == "x" and row["value"] == "1" and row["value_"] == "loud"
    assert row["one two"] == "y" and set(names[3:]) == set(read_json(events.with_suffix(".json")))


def test_clips_at_full_length_are_kept_each_in_its_own(digits: Run, tmp_path: Path, monkeypatch: Any) -> None:
    whole = replace(open_network(digits), seconds=None)
    monkeypatch.setattr("heschl.steps.export.open_network", lambda run: whole)
    held = export(digits, "hdf5", tmp_path / "whole.h5")
    corpus = digits.corpus()
    with h5py.File(held["file"]) as file:
        assert set(file["clips"]) == {one.replace("/", "|") for one in digits.split.test}
        for one in digits.split.test[:3]:
            group, clip = file["clips"][one.replace("/", "|")], corpus.by_id[one]
            np.testing.assert_allclose(group["logits"], next(iter(answers(whole, [clip]))).logits, atol=1e-4)
            assert group.attrs["truth"] == clip.labels["digit"]
            for area in group["activity"].values():
                assert len(area.attrs["times"]) == len(area)


def test_frames_are_no_waves(digits: Run, monkeypatch: Any) -> None:
    corpus = digits.corpus()
    frames = replace(corpus, clips=tuple(replace(clip, form="frames") for clip in corpus.clips))
    monkeypatch.setattr(Run, "corpus", lambda self: frames)
    with pytest.raises(HeschlError, match="hears no sound but stored frames or brains"):
        clips_of(digits, 3)


def test_a_card_has_no_scores_of_other_weights(digits: Run) -> None:
    scores = {"balanced_accuracy": {"value": 0.5}, "group": "speaker", "n_groups": 3, "chance": 0.1}
    path = digits.folder / "evaluate" / "test" / "scores.json"
    for weights, told in ((digits.weights_id, True), ("of another epoch", False)):
        write_json(path, {"scores": scores, "weights": weights})
        assert ("balanced accuracy 50.0 %" in card(digits)) is told
    shutil.rmtree(path.parent.parent)


OWN_NETWORK = """
from torch import nn
class Mine(nn.Module):
    areas = {}
    def __init__(self, in_shape, n_outputs):
        super().__init__()
        self.out = nn.Linear(in_shape[0], n_outputs)
    def forward(self, x, lengths=None):
        return self.out(x.mean(-1))
"""


def test_an_archive_of_a_network_of_ones_own_can_be_used_elsewhere(tmp_path: Path, monkeypatch: Any) -> None:
    home = tmp_path / "mine"
    home.mkdir()
    (home / "archived_networks.py").write_text(OWN_NETWORK)
    (home / "secret.py").write_text("password = 1")
    write_yaml(home / "own.yaml", {**DIGITS, "model": {"use": "archived_networks.Mine"}})
    run = train(home / "own.yaml", runs=tmp_path / "runs", quiet=True)
    wave = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    expected = hear(run.feature(), run.model(), wave)
    held = export(run, "archive", tmp_path / "own.zip")
    shutil.rmtree(home)
    shutil.rmtree(run.folder)
    monkeypatch.delitem(sys.modules, "archived_networks")
    with zipfile.ZipFile(held["file"]) as archive:
        assert "secret.py" not in archive.namelist()
        archive.extractall(tmp_path / "elsewhere")
    there = open_run(tmp_path / "elsewhere")
    assert torch.equal(hear(there.feature(), there.model(), wave), expected)


def test_an_archive_in_the_run_does_not_hold_the_one_before(digits: Run) -> None:
    sizes = {export(digits, "archive", digits.folder / "mine.zip")["bytes"] for _ in range(2)}
    (digits.folder / "mine.zip").unlink()
    assert len(sizes) == 1


def test_an_unknown_form_is_refused(digits: Run) -> None:
    with pytest.raises(HeschlError, match="no export to 'tflite': choose onnx"):
        export(digits, "tflite")


# --- listen ----------------------------------------------------------------------------------------------------


def test_windows_of_a_long_file_are_answered_as_clips_are(
    digits: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks are a matter of memory: cut in any way, the same events; and each score is the clip's own."""
    rng = np.random.default_rng(0)
    wave = rng.normal(0, 0.1, 16000 * 7).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", wave, 16000, subtype="FLOAT")
    given = {"threshold": 0.05, "hop": 0.25, "smooth": 1, "gap": 0.1}
    whole = listen(digits, tmp_path / "long.wav", **given)  # type: ignore[arg-type]
    assert whole
    monkeypatch.setattr("heschl.steps.listen.BLOCK", 2.0)
    again = listen(digits, tmp_path / "long.wav", **given)  # type: ignore[arg-type]
    assert [event[:3] for event in again] == [event[:3] for event in whole]
    np.testing.assert_allclose([event.score for event in again], [event.score for event in whole], atol=1e-5)
    network = open_network(digits)
    with torch.inference_mode():
        starts = range(0, 16000 * 6 + 1, 4000)
        logits = network.model(
            network.feature(torch.stack([torch.from_numpy(wave[k : k + 16000]) for k in starts]))
        )[0]
    best = softmax(logits.numpy()).max()
    assert max(event.score for event in whole) == pytest.approx(best, abs=1e-4)


def test_events_are_where_the_network_is_surest(digits: Run) -> None:
    network = open_network(digits)
    times = np.arange(30) * 0.1
    shares = np.zeros((30, len(network.labels)))
    shares[8:11, 2] = [0.85, 0.95, 0.9]
    shares[25, 2] = 0.9
    shares[15, 4] = 0.7
    found = _events(times, shares, network, [2, 4], 0.8, 0.5)
    assert [(event.label, round(event.start, 3), event.score) for event in found] == [
        (network.labels[2], 0.9, 0.95),
        (network.labels[2], 2.5, 0.9),
    ]
    assert false_alarms(found, 60.0) == 120.0
    assert false_alarms([Event("a", 0, 1, 1.0)], 3600.0) == 1.0


def test_the_running_mean_against_a_loop() -> None:
    for n in (1, 2, 9):  # a short recording has fewer windows than are averaged
        shares = np.random.default_rng(1).random((n, 3))
        for smooth in (1, 3, 4):
            found = _mean(shares, smooth)
            assert found.shape == shares.shape
            for t in range(n):
                low = t - smooth // 2
                window = [shares[k] for k in range(low, low + smooth) if 0 <= k < n]
                np.testing.assert_allclose(found[t], np.mean(window, 0))


@pytest.mark.parametrize(("seconds", "hop"), [(0.6, 0.1), (1.0, 0.1), (1.1, 0.1), (2.0, 2.0), (4.2, 2.0)])
def test_a_recording_may_be_short_and_windows_far_apart(
    digits: Run, tmp_path: Path, seconds: float, hop: float
) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, round(16000 * seconds)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, 16000)
    found = listen(digits, tmp_path / "a.wav", threshold=0.01, hop=hop)
    assert found and all(0 <= event.start < event.stop <= seconds for event in found)


def test_silence_says_nothing(digits: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "quiet.wav", np.zeros(16000 * 3, np.float32), 16000)
    assert listen(digits, tmp_path / "quiet.wav", threshold=0.01) == []


def test_listen_refuses(digits: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000, np.float32), 16000)
    with pytest.raises(HeschlError, match="does not know 'cat'"):
        listen(digits, tmp_path / "a.wav", labels=["cat"])
    with pytest.raises(HeschlError, match="probability between 0 and 1"):
        listen(digits, tmp_path / "a.wav", threshold=1.5)
