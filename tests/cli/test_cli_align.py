"""`heschl align` and `heschl corpora check` on recordings, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from heschl.brain.acoustics import acoustics
from heschl.cli import app
from heschl.corpora.brain import read, write_tiny
from heschl.files import read_csv, write_text, write_wav
from heschl.report.align import align_section
from heschl.run import open_run
from heschl.steps.align import align
from heschl.steps.align_fit import Settings
from heschl.steps.heard import layers

run = CliRunner().invoke


@pytest.mark.slow
def test_acoustics_on_a_table(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    words = ["align", "acoustics", "--recordings", str(tmp_path / "recordings.csv"), "--shifts", "19"]
    found = run(app, [*words, "--rate", "32", "--band", "1,12", "--runs", str(tmp_path / "runs"), "--json"])
    assert found.exit_code == 1 and "no stretch of 10 s" in found.output  # four seconds each: too short


def test_check_tells_what_was_heard(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    found = run(app, ["corpora", "check", str(tmp_path), "--json"])
    assert found.exit_code == 0
    held = json.loads(found.stdout)
    assert any("min heard" in line for line in held["facts"]) and held["problems"] == []


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    for words, told in (
        (["--band", "wide"], "--band is 'wide'"),
        (["--task", "x"], "belongs to BIDS"),
        (["--kind", "ear"], "kind is 'ear'"),
        (["--components", "0"], "components is 0"),
        (["--rate", "0"], "rate is 0"),
        (["--lags", "long"], "--lags is 'long': give two numbers in seconds"),
    ):
        found = run(app, ["align", "acoustics", "--recordings", str(tmp_path), *words])
        assert found.exit_code == 1 and told in found.output.replace("\n", " ")


@pytest.mark.slow
def test_a_listener_is_aligned_and_the_next_line_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = 1e-6 * rng.standard_normal((2, 64 * 42))
    np.savez(tmp_path / "sub-01.npz", data=data, rate=64, channels=np.array(["A", "B"]), kind="seeg")
    write_wav(tmp_path / "story.wav", 0.1 * rng.standard_normal(40 * 8000).clip(-3, 3), 8000)
    write_text(tmp_path / "heard.csv", "recording,start,stop,audio\nsub-01.npz,1,,story.wav\n")
    words = [
        "align",
        "acoustics",
        "--recordings",
        str(tmp_path / "heard.csv"),
        "--shifts",
        "19",
        "--rate",
        "32",
    ]
    found = run(app, [*words, "--band", "1,12", "--runs", str(tmp_path / "runs"), "--name", "mine"])
    assert found.exit_code == 0, found.output
    assert "The envelope alone is followed in" in found.output and "next: heschl align RUN" in found.output
    assert (tmp_path / "runs" / "acoustics" / "align" / "mine" / "response.csv").exists()


def bids(root: Path, electrodes: str = "biosemi16") -> Path:
    """A BIDS tree written by mne-bids: two subjects, EEG of 16 electrodes or more, a story of 42 s named by `stim_file`; both follow
    its envelope after 100 ms at Cz, above noise."""
    mne = pytest.importorskip("mne")
    mne_bids = pytest.importorskip("mne_bids")
    rng = np.random.default_rng(0)
    loud = np.interp(np.arange(42 * 8000) / 8000, np.arange(421) / 10, rng.random(421)) ** 2
    wave = (0.2 * loud * rng.standard_normal(len(loud)).clip(-3, 3)).astype(np.float32)
    (root / "stimuli").mkdir(parents=True)
    write_wav(root / "stimuli" / "story.wav", wave, 8000)
    envelope = acoustics(torch.from_numpy(wave), 8000, 100)[0][:, 0].numpy().astype(float)
    montage = mne.channels.make_standard_montage(electrodes)
    info = mne.create_info(montage.ch_names, 100.0, "eeg").set_montage(montage)
    for subject in ("01", "02"):
        data = rng.standard_normal((len(montage.ch_names), 50 * 100))
        at = 3 * 100 + 10
        data[montage.ch_names.index("Cz"), at : at + len(envelope)] += 8 * (envelope - envelope.mean())
        raw = mne.io.RawArray(5e-6 * data, info, verbose="error")
        raw.info["line_freq"] = 50
        raw.set_annotations(mne.Annotations([3.0], [42.0], ["story"]))
        path = mne_bids.BIDSPath(subject=subject, task="listening", datatype="eeg", root=root)
        mne_bids.write_raw_bids(
            raw, path, format="BrainVision", allow_preload=True, overwrite=True, verbose="error"
        )
        events = path.copy().update(suffix="events", extension=".tsv").fpath
        write_text(
            events,
            "onset\tduration\ttrial_type\tstim_file\n3.0\t42.0\tstory\tstory.wav\n",
        )
    return root


@pytest.mark.slow
def test_a_bids_tree_end_to_end(tmp_path: Path) -> None:
    root = bids(tmp_path / "bids")
    checked = run(app, ["corpora", "check", str(root), "--json"])
    assert checked.exit_code == 0, checked.output
    held = json.loads(checked.stdout)
    assert held["facts"][0].startswith(
        "bids: 2 recordings of 2 subjects"
    )  # mne-bids names a tree "[Unspecified]"
    assert held["problems"] == [] and "1.4 minutes heard" in held["facts"][0], held
    words = [
        "--recordings",
        str(root),
        "--task",
        "listening",
        "--rate",
        "16",
        "--band",
        "1,6",
        "--shifts",
        "19",
    ]
    words += ["--runs", str(tmp_path / "runs"), "--json"]
    found = run(app, ["align", "acoustics", *words, "--name", "sound"])
    assert found.exit_code == 0, found.output
    held = json.loads(found.stdout)
    assert held["subjects"] == ["01", "02"] and held["status"] == "fitted"
    assert held["envelope"]["subjects_with_a_response"] == 2
    rows = read_csv(tmp_path / "runs" / "acoustics" / "align" / "sound" / "response.csv")
    best = max((row for row in rows if row["subject"] == "01"), key=lambda row: float(row["r_envelope"]))
    assert best["channel"] == "Cz" and float(best["p"]) <= 0.05


@pytest.mark.slow
def test_a_network_on_a_bids_tree_in_areas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way of a network that comes along: recorded over the story, fitted in areas of the template head. One
    untrained network stands for ten, so that it is quick: what is tested is the way, and that nothing is claimed."""
    monkeypatch.chdir(tmp_path)  # models that come along write to runs/ here
    torch.set_num_threads(1)
    corpus = read(bids(tmp_path / "bids", "biosemi64"), task="listening")
    settings = Settings(
        rate=16,
        lags=(0.0, 0.2),
        band=(1.0, 6.0),
        mels=2,
        components=2,
        seeds=10,
        shifts=19,
        folds=3,
        alphas=(10.0,),
    )
    network = open_run("crnn")
    inner = layers(network, corpus.clips, settings.rate, settings.components, 1)
    inner = inner._replace(untrained=inner.untrained * 10)
    held = align(network, corpus, settings, areas="default", name="bids-areas", inner=inner)
    folder = Path(held["folder"])
    assert list(inner.trained) == ["STG", "TP", "IFG"] and held["status"] == "fitted"
    groups = [" and ".join(group) for group in held["areas"]["groups"]]
    assert len(groups) < len(held["areas"]["names"])  # neighbours cannot be told apart
    assert any("read as one" in note for note in held["notes"])
    assert any("template head" in note for note in held["notes"])
    for name, n in (("layers", 2), ("partition", 2), ("group", 1)):
        rows = read_csv(folder / f"{name}.csv")
        assert len(rows) == n * 3 * len(groups), (name, len(rows))
        assert {row["place"] for row in rows} == set(groups)
    for name in ("response", "layers", "partition"):
        assert (folder / f"{name}.png").exists() and (folder / f"{name}.svg").exists()
    assert any("clip" in note for note in held["notes"])  # a network of one second does not hear a story
    assert not any(any(by.values()) for by in held["claims"].values())  # ten seeds cannot claim at .05
    page = str(align_section(network))
    assert "What is read in one area" in page and page.count(">1.00</td>") >= len(held["areas"]["names"])


@pytest.mark.slow
def test_what_a_bids_tree_lacks_is_told(tmp_path: Path) -> None:
    root = bids(tmp_path)
    words = [
        "align",
        "acoustics",
        "--recordings",
        str(root),
        "--rate",
        "16",
        "--band",
        "1,6",
        "--shifts",
        "19",
    ]
    events = root / "sub-01" / "eeg" / "sub-01_task-listening_events.tsv"
    whole = events.read_text()
    for change, told in (
        (lambda: events.write_text(whole.replace("3.0\t42.0", "300.0\t42.0")), "300"),
        (lambda: (root / "stimuli" / "story.wav").unlink(), "put the sound that was heard into stimuli/"),
    ):
        change()
        found = run(app, ["corpora", "check", str(root), "--json"])
        assert told in found.output, found.output
        found = run(app, [*words, "--subjects", "01", "--runs", str(tmp_path / "runs")])
        assert (
            found.exit_code == 1
            and told in found.output.replace("\n", " ")
            and "Traceback" not in found.output
        )
    found = run(app, [*words, "--task", "resting"])
    assert found.exit_code == 1 and "has no recording of task 'resting'" in found.output.replace("\n", " ")
    assert not (tmp_path / "runs").exists()
