"""`heschl align`: rows on one clock, folds that no filter crosses, groups by signs, and the truth of made-up listeners."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from heschl.brain.acoustics import acoustics
from heschl.brain.encode import fit_encoding
from heschl.brain.layers import LayerGain
from heschl.brain.readout import Readout
from heschl.corpora._brain_runs import Stretch, load_runs
from heschl.corpora.brain import read
from heschl.files import read_csv, read_json, write_csv, write_json, write_wav
from heschl.report.align import align_section
from heschl.steps.align import align
from heschl.steps.align_files import unfinished
from heschl.steps.align_fit import Response, Settings, check_length, heard_again, in_areas, listener
from heschl.steps.align_group import alike, group, max_sign
from heschl.steps.heard import Folding, apart, folding, on_grid, rows, sounds
from heschl.types import HeschlError

RATE = 64
QUICK = Settings(
    rate=RATE, lags=(0.0, 0.2), band=(1.0, 20.0), mels=2, shifts=19, folds=3, alphas=(1.0, 100.0)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects of three channels; the first follows the envelope by 78 ms, the others are noise."""
    root = tmp_path_factory.mktemp("listeners")
    rng = np.random.default_rng(0)
    loud = np.interp(np.arange(60 * 16000) / 16000, np.arange(601) / 10, rng.random(601)) ** 2
    wave = (0.2 * loud * rng.standard_normal(len(loud)).clip(-3, 3)).astype(np.float32)
    write_wav(root / "story.wav", wave, 16000)
    envelope = acoustics(torch.from_numpy(wave), 16000, 128)[0][:, 0].numpy().astype(float)
    table = []
    for subject in ("01", "02"):
        data = rng.standard_normal((3, 70 * 128))
        at = 5 * 128 + 10
        data[0, at : at + len(envelope)] += 4 * (envelope - envelope.mean()) / envelope.std()
        np.savez(
            root / f"sub-{subject}.npz",
            data=data * 1e-6,
            rate=128,
            channels=np.array(["A", "B", "C"]),
            kind="ecog",
        )
        table.append({"recording": f"sub-{subject}.npz", "start": 5, "stop": 65, "audio": "story.wav"})
    write_csv(root / "recordings.csv", table, list(table[0]))
    return root


def test_a_layer_faster_than_the_grid_is_averaged() -> None:
    values = np.random.default_rng(0).standard_normal((1000, 2))
    found = on_grid(
        values, (np.arange(1000) + 0.5) / 200, 50
    )  # four steps to a row, their edges on the grid's middles
    assert len(found) == 250
    for row in (3, 77, 200):
        np.testing.assert_allclose(found[row], values[4 * row - 2 : 4 * row + 2].mean(0), atol=1e-12)


def test_a_slower_layer_is_joined_by_lines() -> None:
    values = np.array([[0.0], [1.0], [3.0]])
    found = on_grid(values, np.array([0.0, 0.1, 0.2]), 20)
    np.testing.assert_allclose(found[:, 0], [0, 0.5, 1, 2, 3], atol=1e-12)


def test_folds_share_no_row_within_the_filters_reach() -> None:
    run = np.arange(300)[:, None]
    parts = apart([run, run + 1000], 3, 10)
    assert [len(part) for part in parts] == [90, 90, 80, 80, 90, 90]
    assert parts[0][-1, 0] + 20 < parts[2][0, 0] and parts[2][-1, 0] + 20 < parts[4][0, 0]
    assert apart([run] * 3, 3, 10) == [run] * 3


def test_all_hearings_of_a_sound_are_in_one_fold() -> None:
    """Features without meaning, and an answer that is each sound's own: one hearing foretells the other, and nothing else."""
    rng = np.random.default_rng(0)
    answers = {name: rng.standard_normal((400, 1)) for name in "abcdef"}
    features = {name: rng.standard_normal((400, 40)) for name in answers}
    heard = [Stretch(answers[name] + 0.1 * rng.standard_normal((400, 1)), name, 0) for name in "abcdefabcdef"]
    x, y = rows(features, heard)
    made = folding(heard, 5)
    assert (
        made == Folding((0, 0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 4), False) and len(apart(x, 5, 10, made.cut)) == 12
    )
    known, new = (
        float(fit_encoding(x, y, 64, (0.0, 0.2), 1.0, folds=folds).r[0]) for folds in (5, made.folds)
    )
    assert known > 0.25 and abs(new) < 0.1
    # fewer sounds than folds: parts of them, the k-th of all hearings in the k-th fold
    made = folding(heard[:1] * 6, 5)
    assert made == Folding(5, True)
    parts = apart([one.x for one in heard[:1] * 6], 5, 10, made.cut)
    assert len(parts) == 30 and all(np.array_equal(parts[0], one) for one in parts[:6])
    # a hole in one hearing is no second hearing
    holed = [one._replace(x=one.x[:100], first=first) for one in heard[:5] for first in (0, 100)]
    assert folding(holed, 5) == Folding(5, False) and folding(holed[:4], 5) == Folding(5, True)


def test_max_sign_by_explicit_loops() -> None:
    from itertools import product

    values = np.random.default_rng(2).standard_normal((5, 3)) + 0.7

    def t(x: np.ndarray) -> np.ndarray:
        return x.mean(0) / (x.std(0, ddof=1) / 5**0.5)

    largest = np.array([t(values * np.array(s)[:, None]).max() for s in product([1, -1], repeat=5)])
    expected = [(largest >= one - 1e-9).mean() for one in t(values)]
    np.testing.assert_allclose(max_sign(values), expected)


def test_the_group_is_of_the_channels_that_most_subjects_have() -> None:
    """The first subject lacks a channel that was bad; the group is that of the other three."""
    rng = np.random.default_rng(4)
    spots: list[Any] = [
        SimpleNamespace(channels=tuple(own), info=None) for own in ("AC", "ABC", "ABC", "ABC")
    ]
    found = {}
    for k, one in enumerate(spots):
        gain, random = rng.random(len(one.channels)), rng.random((10, len(one.channels)))
        zero = np.zeros(len(gain))
        found[k, "late"] = LayerGain(
            zero, zero, gain, np.zeros((2, len(gain))), zero, random, gain - random.mean(0), zero, zero,
            np.zeros(len(gain), bool), 0.05,
        )  # fmt: skip
    assert alike(spots) == [1, 2, 3] and alike(spots[:2]) == [0]
    told = group(spots, found, ["late"], Settings(seeds=10))
    assert [(row["place"], row["subjects"]) for row in told.rows] == [("A", 3), ("B", 3), ("C", 3)]
    gains = np.array([found[k, "late"].gain for k in (1, 2, 3)])
    np.testing.assert_allclose([row["over_acoustics"] for row in told.rows], gains.mean(0))
    np.testing.assert_allclose([row["over_acoustics_sd"] for row in told.rows], gains.std(0, ddof=1))
    assert told.notes[0].startswith("3 of 4 subjects have the same channels")


def test_a_response_that_goes_on_is_told() -> None:
    lags, r = np.arange(5) / 10, np.array([0.1, 0.4])
    ended, goes_on = np.array([0.0, 1.0, -0.9, 0.3, 0.1]), np.array([0.0, 0.2, 0.5, 0.9, -0.8])
    for course, n in ((ended, 0), (goes_on, 1)):
        weights = np.stack([goes_on, course], 1)  # the second channel is the best
        notes = unfinished([Response(r, r, r, weights, lags, r)], (0.0, 0.4))
        assert len(notes) == n and all("89 % of its highest at 0.4 s" in note for note in notes)


def test_rows_belong_together(folder: Path) -> None:
    corpus = read(folder)
    held = listener([corpus.recordings[0]], corpus, QUICK)
    sound, names = sounds(corpus.clips, RATE, 2)
    assert names == ("envelope", "onsets", "mel 0", "mel 1")
    x, y = rows(sound, held.stretches)
    assert len(x[0]) == len(y[0]) == 60 * RATE
    r = [np.corrcoef(x[0][:3000, 0], y[0][k : 3000 + k, 0])[0, 1] for k in range(12)]
    assert int(np.argmax(r)) == 5  # 78 ms


def test_areas_are_read_from_sensors_in_volts(tmp_path: Path) -> None:
    """Channels of very different size: an area is its weights times what was recorded, not times what is left of it in
    units of each channel's own."""
    rng = np.random.default_rng(3)
    write_wav(tmp_path / "story.wav", (0.1 * rng.standard_normal(60 * 16000)).astype(np.float32), 16000)
    data = 1e-6 * np.array([[1.0], [20.0], [5.0]]) * rng.standard_normal((3, 64 * 128))
    np.savez(tmp_path / "sub-1.npz", data=data, rate=128, channels=np.array(["A", "B", "C"]), kind="ecog")
    rows_ = [{"recording": "sub-1.npz", "start": 2, "stop": 62, "audio": "story.wav"}]
    write_csv(tmp_path / "recordings.csv", rows_, list(rows_[0]))
    corpus = read(tmp_path)
    one = listener(corpus.recordings, corpus, QUICK)
    weights = rng.standard_normal((2, 3))
    read_in = Readout(("STG", "IFG"), weights, np.eye(2), (("STG",), ("IFG",)), np.eye(2))
    (found,) = in_areas(one, read_in, read_in.groups).stretches
    (volts,) = load_runs(corpus.recordings[0], corpus, 64, QUICK.band).stretches
    right = volts.x @ weights.T
    np.testing.assert_allclose(np.abs(found.x), np.abs(right / right.std(0)), rtol=1e-3, atol=1e-4)


def test_a_subject_that_heard_too_little_is_left_out_by_name(folder: Path, tmp_path: Path) -> None:
    for name in ("story.wav", "sub-01.npz", "sub-02.npz"):
        (tmp_path / name).symlink_to(folder / name)
    table = read_csv(folder / "recordings.csv")
    table[1]["stop"] = "17"
    write_csv(tmp_path / "recordings.csv", table, list(table[0]))
    held = align("acoustics", tmp_path, QUICK, runs=tmp_path)
    assert held["subjects"] == ["01"]
    (told,) = (note for note in held["notes"] if "left out" in note)
    assert told.startswith("subject 02 is left out: the shortest of its 3 parts of sound holds ")
    write_csv(tmp_path / "recordings.csv", table[1:], list(table[0]))
    with pytest.raises(HeschlError, match="no subject can be aligned; .* s are needed"):
        align("acoustics", tmp_path, QUICK, runs=tmp_path)
    # so long as it may be, and no shorter
    one = listener([read(folder).recordings[0]], read(folder), QUICK)
    needed = 2 * 64 + 19
    for rows_of, fits in ((needed, True), (needed - 1, False)):
        short = one._replace(stretches=[Stretch(np.zeros((rows_of, 3)), name, 0) for name in "abc"])
        if fits:
            check_length(short, QUICK)
            continue
        with pytest.raises(HeschlError, match=f"{needed / 64:.1f} s are needed"):
            check_length(short, QUICK)


def test_acoustics_find_the_channel_that_follows(folder: Path, tmp_path: Path) -> None:
    told: list[str] = []
    held = align("acoustics", folder, QUICK, runs=tmp_path, say=told.append)
    assert held["status"] == "fitted" and held["envelope"]["channels_with_a_response"] == {"01": 1, "02": 1}
    assert "in 2 of 2 subjects" in told[0] and "chance" in told[0]
    out = Path(held["folder"])
    assert out == tmp_path / "acoustics" / "align" / out.name
    table = read_csv(out / "response.csv")
    assert [row["channel"] for row in table] == ["A", "B", "C"] * 2
    assert float(table[0]["r_envelope"]) > 0.6 and abs(float(table[1]["r_envelope"])) < 0.2
    trf = [row for row in read_csv(out / "trf.csv") if row["subject"] == "01"]
    peak = max(trf, key=lambda row: float(row["A"]))
    assert float(peak["lag_s"]) == pytest.approx(0.078, abs=0.01)
    assert read_json(out / "align.json")["verified"] == 0
    assert held["ceiling"] == {} and any("no noise ceiling" in note for note in held["notes"])
    for name in ("response.png", "response.svg", "sync.csv"):
        assert (out / name).stat().st_size > 0


@pytest.mark.slow
def test_a_sound_heard_again_gives_the_ceiling(tmp_path: Path) -> None:
    """The same story twice, signal and noise of equal power: r of one hearing is at most sqrt(1/2)."""
    rng = np.random.default_rng(1)
    wave = (0.1 * np.repeat(rng.random(400), 2400) * rng.standard_normal(960_000)).astype(np.float32)
    write_wav(tmp_path / "story.wav", wave, 16000)
    signal = rng.standard_normal(60 * 128)
    data = rng.standard_normal((2, 2 * 64 * 128))
    for start in (2, 66):
        data[0, start * 128 : start * 128 + len(signal)] += signal
    np.savez(tmp_path / "sub-1.npz", data=data * 1e-6, rate=128, channels=np.array(["A", "B"]), kind="ecog")
    table = [
        {"recording": "sub-1.npz", "start": start, "stop": start + 60, "audio": "story.wav"}
        for start in (2, 66)
    ]
    write_csv(tmp_path / "recordings.csv", table, list(table[0]))
    corpus = read(tmp_path)
    made = heard_again(listener(list(corpus.recordings), corpus, QUICK), RATE)
    assert made is not None and made.repeats == 2
    assert made.r_single[0] == pytest.approx(0.5**0.5, abs=0.03) and made.r_single[1] < 0.3
    held = align("acoustics", tmp_path, QUICK, runs=tmp_path / "runs")
    assert held["ceiling"]["1"]["repeats"] == 2 and not any(
        "no noise ceiling" in note for note in held["notes"]
    )
    first = read_csv(Path(held["folder"]) / "response.csv")[0]
    assert float(first["r_ceiling"]) == pytest.approx(made.r_single[0], abs=1e-6)


def test_what_cannot_be_aligned_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HeschlError, match="has no subject '09'"):
        align("acoustics", folder, QUICK, runs=tmp_path, subjects=["09"])
    with pytest.raises(HeschlError, match="lie in the space"):
        align("acoustics", folder, QUICK, runs=tmp_path, areas="default")
    assert not list(tmp_path.iterdir())  # nothing half-written


def test_simulated_recordings_are_said_to_be(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "made")
    write_json(tmp_path / "made" / "truth.json", {})
    held = align("acoustics", tmp_path / "made", QUICK, runs=tmp_path, subjects=["01"])
    assert held["status"] == "fitted to simulated data"


@pytest.mark.slow
def test_the_layer_that_drove_a_channel_is_found(tmp_path: Path) -> None:
    from heschl.brain.continuous import record_long
    from heschl.brain.listener import mixture, story
    from heschl.steps.heard import grid_of
    from heschl.steps.networks import open_network
    from heschl.training.fit import train

    torch.set_num_threads(1)
    run = train(
        {
            "format": 1,
            "name": "phones",
            "corpus": {"use": "spoken", "kind": "sentence", "voices": 12},
            "split": {"use": "fractions", "validation": 0.2, "test": 0.2},
            "clip": {"seconds": None},
            "feature": {"use": "mel.LogMel", "normalise": "energy"},
            "model": {"use": "frame_lstm.FrameLSTM", "stem": 4, "width": 16, "depth": 1},
            "task": {"use": "frames.ClassifyFrames"},
            "train": {"epochs": 3, "batch": 8, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
        },
        {},
        runs=tmp_path / "runs",
        quiet=True,
    )
    network = open_network(run)
    wave = story(66.0)
    found = record_long(network.model, torch.from_numpy(wave), network.sample_rate, network.feature)
    drives = [mixture(grid_of(found.activity[name], 128), 4, k) for k, name in enumerate(("context", "late"))]
    rng = np.random.default_rng(0)
    table = []
    for subject in range(2):
        data = 2.0 * rng.standard_normal((3, 72 * 128))
        for channel, drive in enumerate(drives):
            data[channel, 128 + 12 : 128 + 12 + len(drive)] += drive
        np.savez(
            tmp_path / f"sub-{subject}.npz",
            data=data * 1e-6,
            rate=128,
            channels=np.array(list("ABC")),
            kind="seeg",
        )
        table.append({"recording": f"sub-{subject}.npz", "start": 1, "stop": 67, "audio": "story.wav"})
    write_wav(tmp_path / "story.wav", wave * 0.9 / np.abs(wave).max(), 16000)
    write_csv(tmp_path / "recordings.csv", table, list(table[0]))
    told: list[str] = []
    settings = Settings(
        rate=32,
        lags=(0.0, 0.2),
        band=(1.0, 12.0),
        mels=2,
        components=4,
        seeds=10,
        shifts=19,
        folds=3,
        alphas=(100.0, 1000.0),
    )
    held = align(run, tmp_path, settings, say=told.append)
    assert held["strongest"]["A"]["layer"] == "context" and held["strongest"]["B"]["layer"] == "late"
    assert held["strongest"]["A"]["gain"] > 0.05 and abs(held["strongest"]["C"]["gain"]) < 0.05
    assert any("fits, each with 10 untrained networks" in line for line in told)
    out = Path(held["folder"])
    assert out.parent == run.folder / "align"
    parts = read_csv(out / "partition.csv")
    assert len(parts) == 2 * 4 * 3
    for row in parts:  # what is added up is what both explain
        whole = sum(float(row[name]) for name in ("acoustics_alone", "shared", "layer_alone"))
        assert whole == pytest.approx(float(row["r2_both"]), abs=1e-9)
    own = {(row["layer"], row["place"]): float(row["layer_alone"]) for row in parts if row["subject"] == "0"}
    assert own["context", "A"] > 0.02 and abs(own["context", "C"]) < 0.02
    page = str(align_section(run))
    assert "<b>Fitted.</b>" in page and page.count("<svg") == 3 and "Layer alone" in page
    table = read_csv(out / "layers.csv")
    assert len(table) == 2 * 4 * 3 and table[0]["untrained_networks"] == "10"
    assert (
        (out / "group.csv").exists()
        and any("nothing is claimed" in n for n in held["group_notes"])
        and (out / "layers.png").stat().st_size > 0
    )
    with pytest.raises(HeschlError, match="needs 10 seeds"):
        align(run, tmp_path, Settings(rate=32, band=(1.0, 12.0), seeds=2, shifts=19, folds=3))


@pytest.mark.slow
def test_the_envelope_is_told_by_area_of_sensors_outside_the_head(tmp_path: Path) -> None:
    """A made-up listener whose left inferior frontal gyrus follows the envelope, in a head unlike the one that reads it."""
    from heschl.brain.listener import story, write

    wave = story(40.0)
    loud = acoustics(torch.from_numpy(wave), 16000, 128)[0][:, 0].numpy()
    write(tmp_path / "heard", wave, {"IFG": loud}, snr=0.0, subjects=1)
    held = align("acoustics", tmp_path / "heard", QUICK, areas="default", runs=tmp_path / "runs")
    assert held["status"] == "fitted to simulated data"
    rows = read_csv(Path(held["folder"]) / "areas.csv")
    assert {row["measure"] for row in rows} == {"r of the envelope", "r of acoustics"}
    r = {row["area"]: float(row["mean"]) for row in rows if row["measure"] == "r of the envelope"}
    assert len(r) == len(held["areas"]["groups"]) and r["IFG"] > 0.5
    assert all(r[area] < 0.6 * r["IFG"] for area in r if area not in ("IFG", "TP"))  # TP sees its neighbour
    assert all(row["subjects"] == "1" and "electrodes" not in row for row in rows)
    assert "active" in held["areas"]["text"] and "cannot be told apart" in held["areas"]["text"]


@pytest.mark.slow
def test_electrodes_by_area_on_a_real_table(shared: Path, folder: Path, tmp_path: Path) -> None:
    """Real places of electrodes, made-up signals: the one in the superior temporal gyrus follows the envelope."""
    import shutil

    from heschl.brain.anatomy import to_mni305
    from heschl.brain.areas import read_areas
    from heschl.corpora._brain_files import electrodes

    root = tmp_path / "ecog"
    shutil.copytree(folder, root)
    names = {}
    source = shared / "data/podcast_ecog_meta"
    for subject in ("03", "09"):
        for file in (source / f"sub-{subject}/ieeg").glob("*MNI*"):
            shutil.copy(file, root)
        places, _ = electrodes(root / f"sub-{subject}_space-MNI152NLin2009aSym_electrodes.tsv")
        keys = list(places)
        points = to_mni305(np.array([places[key] for key in keys]), "MNI152")
        area = read_areas().area("STG")
        far = np.linalg.norm(points - to_mni305(np.array(area.centre), area.space), axis=1)
        names[subject] = (keys[int(far.argmin())], keys[int(far.argmax())])
        assert far.min() < area.radius  # both have electrodes there
    table = []
    for old, subject in (("01", "03"), ("02", "09")):
        with np.load(folder / f"sub-{old}.npz") as held:
            data = held["data"][:2]
        np.savez(
            root / f"sub-{subject}.npz", data=data, rate=128, channels=np.array(names[subject]), kind="ecog"
        )
        table.append(
            {
                "recording": f"sub-{subject}.npz",
                "start": 5,
                "stop": 65,
                "audio": "story.wav",
                "electrodes": f"sub-{subject}_space-MNI152NLin2009aSym_electrodes.tsv",
            }
        )
    write_csv(root / "recordings.csv", table, list(table[0]))
    held = align("acoustics", root, QUICK, runs=tmp_path, areas="default")
    rows = {(row["area"], row["measure"]): row for row in held["by_area"]}
    found = rows["STG", "r of the envelope"]
    assert (found["subjects"], found["electrodes"]) == (2, 2) and found["mean"] > 0.6
    assert (Path(held["folder"]) / "areas.csv").exists()
