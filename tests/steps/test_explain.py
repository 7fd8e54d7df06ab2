"""Explaining a run: what is written can be recomputed, goes on where it stopped, and bad input is one sentence."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import heschl
from heschl.cli import app
from heschl.explanation.lrp import lrp
from heschl.features.mel import LogMel
from heschl.files import read_csv, read_json
from heschl.models.frame_mlp import FrameMLP
from heschl.run import Run
from heschl.steps.explain import by_default, compare, explain, explain_run
from heschl.steps.explain_clips import find_clips, spread_clips
from heschl.steps.explain_many import _asked
from heschl.steps.explain_show import _words, deletion_curves, slug
from heschl.steps.explaining import (
    Input,
    answers_to,
    explained,
    picture_of,
    read_input,
    relevances,
    segments_in,
)
from heschl.steps.methods import METHODS, method_of
from heschl.steps.networks import logits_of, open_network, read_wave
from heschl.training.fit import train
from heschl.types import Clip, HeschlError

pytestmark = pytest.mark.slow  # `make check` leaves these to `make test`

DIGITS = {
    "format": 1,
    "name": "digits",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 9},
    "split": {"use": "fractions", "validation": 0.12, "test": 0.67, "label": "digit"},
    "clip": {"seconds": 0.8},
    "feature": {"use": "mel.LogMel", "n_mels": 20},
    "model": {"use": "kws.KWS", "width": 16, "depth": 1},
    "task": {"use": "classify.Classify", "label": "digit"},
    "train": {"steps": 12, "batch": 16, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.01}},
}
PHONES = {
    **DIGITS,
    "name": "phones",
    "corpus": {"use": "spoken", "kind": "sentence", "voices": 6},
    "split": {"use": "fractions", "validation": 0.2, "test": 0.3},
    "clip": {"seconds": None},
    "feature": {"use": "context.Context", "context": 2, "n_mels": 20},
    "model": {"use": "frame_mlp.FrameMLP", "widths": [16]},
    "task": {"use": "frames.ClassifyFrames"},
    "train": {"steps": 12, "batch": 128, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.01}},
}
WAVES = {
    **DIGITS,
    "name": "waves",
    "clip": {"seconds": 1.0},
    "feature": {"use": "waveform.Waveform", "sample_rate": 8000, "samples": 8000, "level": "peak"},
    "model": {"use": "audionet.AudioNet"},
    "train": {"steps": 1, "batch": 2},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def unseen(monkeypatch):
    """Figures are made, but not rendered, which takes most of the time."""

    def noted(figure, path, suffixes=(".png", ".svg", ".pdf")):
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix in suffixes:
            path.with_name(path.name + suffix).write_text(f"{len(figure.axes)} axes")

    monkeypatch.setattr("heschl.figures.explanation.save_all", noted)


def _trained(recipe: dict, factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(factory.getbasetemp() / "cache"))
        return train(recipe, runs=factory.mktemp("runs"), quiet=True)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _trained(DIGITS, tmp_path_factory)


@pytest.fixture(scope="module")
def phones(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _trained(PHONES, tmp_path_factory)


# --- heschl.explain ----------------------------------------------------------------------------------------


def test_relevance_is_that_of_the_method_called_by_hand(digits):
    ids = list(digits.split.test[:5])
    found = heschl.explain(digits, ids)
    network = open_network(digits)
    for one, clip in zip(found, ids, strict=True):
        wave = torch.from_numpy(read_wave(digits.corpus().by_id[clip], 16000))
        n, missing = 12800, 12800 - len(wave)
        begin = abs(missing) // 2
        wave = (
            wave[begin : begin + n]
            if missing < 0
            else torch.nn.functional.pad(wave, (begin, missing - begin))
        )
        x = network.feature(wave[None])
        target = network.model(x)[0].argmax(-1)
        assert torch.allclose(one.x, x[0], atol=1e-5)
        assert one.target == digits.labels[int(target)] and one.method == "lrp:epsilon_plus"
        assert one.clip == clip and one.rate == 100
        wanted = lrp(network.model, x, target)[0]
        assert torch.allclose(one.relevance, wanted, atol=1e-4 * float(wanted.abs().max()))
    true = heschl.explain(digits.folder, ids[0], "gradient_x_input", "true")[0]
    assert true.target == digits.corpus().by_id[ids[0]].labels["digit"]
    seven = heschl.explain(digits, [digits.corpus().by_id[ids[0]]], "lrp:epsilon", "7")[0]
    assert (seven.target, seven.method) == ("7", "lrp:epsilon")


@pytest.mark.parametrize("method", ["lrp", "gradient_x_input", "occlusion_time"])
def test_of_windows_every_frame_gets_what_all_its_windows_gave_it(phones, method):
    network = open_network(phones)
    clip = phones.corpus().by_id[phones.split.test[0]]
    one = read_input(network, Clip("short", clip.signal, clip.rate, clip.labels, clip.spans, 0.3, 0.42))
    logits = answers_to(network, one.x[None])[0]
    direct, _ = logits_of(network, [read_wave(one.clip, 16000)])
    assert np.allclose(logits, direct[0], atol=1e-4)
    target = logits.argmax(-1)
    # this stretch is silent; windows of what the feature makes of it are added up all the same
    found = relevances(network, method_of(method), [one._replace(silent=False)], [target])[0]
    if method == "occlusion_time":
        assert found.shape == one.x.shape
        return
    assert isinstance(network.model, FrameMLP)
    windows = network.feature(torch.from_numpy(read_wave(one.clip, 16000))[None])[0].movedim(-1, 0)
    by_hand = torch.zeros(one.x.shape[1] + 4, one.x.shape[0])
    for t, window in enumerate(windows):  # overlap-add, a window at a time
        by_hand[t : t + 5] += heschl_relevance(network.model, window[None], target[t : t + 1], method)[0]
    assert torch.allclose(found.T, by_hand[2:-2], atol=1e-4 * float(by_hand.abs().max()))


def heschl_relevance(model, x, target, method):
    return method_of(method).call(model, x, target)


def test_every_method_runs_on_every_kind_of_network(digits, phones, tmp_path_factory):
    for run in (digits, phones):
        network, clip = open_network(run), run.corpus().by_id[run.split.test[0]]
        one = read_input(network, clip)
        target = answers_to(network, one.x[None])[0].argmax(-1)
        for name in [*METHODS, "aligned:word", "aligned:mel", "lrp:epsilon"]:
            if name == "smoothgrad":
                continue  # the same as gradient, 32 times
            how = method_of(name)
            how.settings.update({"steps": 4} if name == "integrated_gradients" else {})
            found = relevances(network, how, [one], [target])[0]
            assert found.shape == one.x.shape and bool(torch.isfinite(found).all()), name


def test_the_curves_take_out_what_the_method_speaks_of(digits):
    """Of removed segments whole segments, highest first: the first one by hand, and no more heights than segments."""
    network, clip = open_network(digits), digits.split.test[0]
    one = read_input(network, digits.corpus().by_id[clip])
    found = explain(digits, clip, "aligned:phone")[0]
    aim = answers_to(network, one.x[None])[0].argmax()
    curves = deletion_curves(network, one, found.relevance, aim, 0, "aligned:phone")
    ids = segments_in(one, "phone", None)
    each = [float(found.relevance[..., ids == k].sum()) for k in range(int(ids.max()) + 1)]
    shares, scores = curves["most relevant first"]
    assert np.allclose(shares, np.arange(len(each) + 1) / len(each)) and len(each) < 10
    x = one.x.clone()
    x[..., ids == int(np.argmax(each))] = one.x.mean(-1, keepdim=True)
    with torch.no_grad():
        left = float(answers_to(network, x[None])[0].double().softmax(-1)[aim])
    assert scores[1] == pytest.approx(left, abs=1e-6)
    moments = deletion_curves(network, one, found.relevance, aim, 0, "occlusion_time")
    values = deletion_curves(network, one, found.relevance, aim, 0, "lrp:epsilon_plus")
    assert not np.allclose(moments["at random"][1], values["at random"][1])


def test_frames_are_asked_about_what_was_said_or_one_label(phones):
    clip = phones.split.test[0]
    assert explain(phones, clip, target="true")[0].target == "true"
    assert explain(phones, clip, "gradient", target=phones.labels[3])[0].target == phones.labels[3]


def test_silence_rests_on_nothing(digits, tmp_path):
    soundfile.write(tmp_path / "quiet.wav", np.zeros(16000), 16000)
    for method in ("lrp", "lrp:epsilon_gamma_box", "occlusion", "gradient_x_input"):
        found = explain(digits, tmp_path / "quiet.wav", method)[0]
        assert not found.relevance.any() and found.clip == "quiet.wav" and found.x.any()
    own = shutil.copytree(digits.folder, tmp_path / digits.name)
    held = explain_run(own, files=[tmp_path / "quiet.wav"])
    row = read_csv(Path(held["folder"]) / "regions.csv")
    assert held["clips"] == 1 and all(np.isfinite(float(one["relevance"] or 0)) for one in row)


# --- what a run is given -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_is_written_and_can_be_recomputed(unseen, digits):
    done = []
    held = explain_run(digits, show=2, progress=lambda *far: done.append(far))
    folder = Path(held["folder"])
    n = len(digits.split.test)
    assert (n, n) in done and held["clips"] == n and len(held["shown"]) == 2 and held["synthetic"]
    assert done[-1][0] == done[-1][1] > n  # the curves of the montage are waited for, too
    corpus, network = digits.corpus(), open_network(digits)
    with h5py.File(folder / "relevance.h5", "r") as file:
        assert {group.attrs["clip"] for group in file.values()} == set(digits.split.test)
        for clip in digits.split.test[:3]:
            alone = explain(digits, clip)[0]
            stored = file[slug(clip)]["relevance"][()]
            assert np.allclose(stored, alone.relevance, atol=1e-5 * np.abs(stored).max())
    for clip in held["shown"]:
        home = folder / "clips" / slug(clip)
        for name in ("figure", "figure-column"):
            for suffix in (".png", ".svg", ".pdf"):
                assert (home / f"{name}{suffix}").stat().st_size > 0
        told, levels = read_json(home / "answer.json"), []
        for name, sound in told["sounds"].items():
            info = soundfile.info(home / sound["file"])
            assert info.subtype == "PCM_16" and info.samplerate == corpus.by_id[clip].rate
            wave, _ = soundfile.read(home / sound["file"], dtype="float32")
            logits = torch.from_numpy(logits_of(network, [wave])[0][0]).softmax(-1)
            assert sound["probability"] == pytest.approx(
                float(logits[digits.labels.index(told["target"])]), abs=0.01
            )
            assert sound["answered"] == digits.labels[int(logits.argmax())] or name != "original"
            if not sound["silent"]:
                levels.append(20 * np.log10(np.sqrt(np.mean(wave**2.0))))
        assert max(levels) - min(levels) < 0.1
        curve = told["curves"]["most relevant first"]
        assert curve[1][0] == pytest.approx(told["probability"], abs=1e-4) and len(curve[0]) == 11
    rows = read_csv(folder / "clips.csv")
    assert [row["clip"] for row in rows] == list(digits.split.test)
    words = [row for row in read_csv(folder / "regions.csv") if row["kind"] == "phone"]
    totals = {}
    for row in words:
        totals[row["clip"]] = totals.get(row["clip"], 0) + float(row["relevance"])
    assert all(total == pytest.approx(1, abs=1e-6) for total in totals.values())
    summary = read_csv(folder / "summary.csv")
    assert {row["kind"] for row in summary} == {"phone", "word", "band"} and held["speakers"] == 6
    assert (folder / "montage-column.pdf").exists()
    surest = {row["target"]: row for row in sorted(rows, key=lambda row: float(row["probability"]))}
    for row in surest.values():  # the clips of the montage: each has its curves, shown or not
        home = folder / "clips" / slug(row["clip"])
        (kept,) = [home / name for name in ("answer.json", "curves.json") if (home / name).exists()]
        curves = read_json(kept)["curves"]
        for shares, scores in curves.values():
            assert scores[0] == pytest.approx(float(row["probability"]), abs=1e-4) and shares[-1] == 1
        assert len({tuple(scores) for _, scores in curves.values()}) == 3  # of its own order each
    assert len(list(folder.glob("clips/*/curves.json"))) >= len(surest) - 2

    # once more: nothing is computed again; after a kill, only what is missing
    times = {path: path.stat().st_mtime_ns for path in folder.glob("clips/*/*")}
    again = explain_run(digits, show=2)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("clips/*/*")} == times
    assert again["summary"] == held["summary"]
    shutil.rmtree(folder / "clips" / slug(held["shown"][0]))
    explain_run(digits, show=2)
    assert (folder / "clips" / slug(held["shown"][0]) / "answer.json").exists()
    # with another seed of other settings, nothing old is mixed in
    explain_run(digits, clips=[digits.split.test[0]], sound=False, show=0, seed=5)
    with h5py.File(folder / "relevance.h5", "r") as file:
        assert list(file) == [slug(digits.split.test[0])]


@pytest.mark.slow
def test_what_is_explained_is_told_in_words():
    assert _asked("six", frames=False) == "“six”" and _asked("AH", frames=True) == "“AH”"
    assert _asked("predicted", frames=True).startswith("the network’s answers")
    assert _asked("predicted", frames=False) == "“predicted”"  # a word that a network may know


def test_methods_are_compared_on_the_same_clips(unseen, digits):
    ids = list(digits.split.test[:2])
    held = compare(digits, ["lrp", "gradient_x_input"], clips=ids, sound=False)
    row = held["agreement"][0]
    assert held["clips"] == 2 and -1 <= row["rank_correlation"] <= 1 and row["chance_overlap"] == 0.1
    assert (Path(held["folder"]) / f"{slug(ids[0])}-column.svg").exists()
    compare(
        digits, ["lrp", "gradient_x_input"], clips=ids[1:], sound=False
    )  # no picture of before stays beside these
    assert {path.stem for path in Path(held["folder"]).glob("*.svg")} == {
        slug(ids[1]),
        f"{slug(ids[1])}-column",
    }
    with pytest.raises(HeschlError, match="needs two methods"):
        compare(digits, ["lrp"])
    with pytest.raises(HeschlError, match="--compare names occlusion_time twice"):
        compare(digits, ["occlusion", "lrp", "occlusion_time"])


def test_the_whole_list_is_what_explain_does(unseen, digits):
    assert by_default(digits) == ["lrp"]
    path = digits.folder / "recipe.yaml"
    before = path.read_text()
    listed = "explain: [{use: lrp.lrp, preset: epsilon}, {use: gradient.gradient_x_input}]"
    path.write_text(
        "\n".join([*(x for x in before.splitlines() if not x.startswith("explain:")), listed, ""])
    )
    try:
        told = CliRunner().invoke(
            app, ["explain", str(digits.folder), "--clips", digits.split.test[0], "--no-audible"]
        )
        assert told.exit_code == 0, told.output
        for name in ("lrp-epsilon-predicted", "gradient_x_input-predicted", "compare-predicted"):
            assert (digits.folder / "explain" / name).is_dir(), name
        path.write_text(path.read_text().replace("gradient.gradient_x_input", "lrp.lrp, preset: epsilon"))
        with pytest.raises(HeschlError, match="lists lrp:epsilon twice"):
            by_default(digits.folder)
    finally:
        path.write_text(before)


def test_frame_networks_are_explained_with_sound(unseen, phones):
    held = explain_run(phones, show=1)
    told = read_json(Path(held["folder"]) / "clips" / slug(held["shown"][0]) / "answer.json")
    assert told["target"] == "predicted" and set(told["sounds"]) == {
        "original",
        "positive",
        "negative",
        "rest",
    }
    assert "too few" in held["summary_note"]  # two speakers


def test_a_clip_that_fails_is_listed_and_the_others_go_on(unseen, digits, tmp_path):
    good = tmp_path / "good.wav"
    soundfile.write(good, 0.1 * np.random.default_rng(0).normal(size=9000), 16000)
    (tmp_path / "bad.wav").write_text("no sound")
    with pytest.raises(HeschlError, match="not audio"):
        explain_run(digits, files=[good, tmp_path / "bad.wav"])
    held = explain_run(digits, files=[good], target="3", show=0)
    assert held["clips"] == 1 and "nobody knows who speaks" in held["summary_note"]
    assert held["folder"].endswith("lrp-epsilon_plus-3")


def test_recordings_of_one_name_are_two(unseen, digits, tmp_path):
    """What is known of one is never told of the other: not in one call, not in two, not after it was recorded anew."""
    draws = np.random.default_rng(0)
    for home in ("one", "other"):
        (tmp_path / home).mkdir()
        soundfile.write(tmp_path / home / "my.wav", 0.1 * draws.normal(size=9000), 16000)
    one, other = tmp_path / "one" / "my.wav", tmp_path / "other" / "my.wav"
    alone = [explain(digits, path, "gradient_x_input")[0].relevance for path in (one, other)]
    assert not torch.allclose(*alone)

    def told(*files: Path) -> list[torch.Tensor]:
        held = explain_run(digits, files=files, method="gradient_x_input", sound=False)
        assert held["clips"] == len(held["shown"]) == len(set(files))
        with h5py.File(Path(held["folder"]) / "relevance.h5", "r") as file:
            named = {group.attrs["clip"]: group["relevance"][()] for group in file.values()}
        return [torch.from_numpy(named[clip]) for clip in held["explained"]]

    for path, right in ((one, alone[0]), (other, alone[1])):
        assert torch.allclose(told(path)[0], right)
    soundfile.write(one, 0.1 * draws.normal(size=9000), 16000)
    again = explain(digits, one, "gradient_x_input")[0].relevance
    figure = next((digits.folder / "explain").glob("gradient_x_input-predicted/clips/my.wav/figure.png"))
    before = figure.stat().st_mtime_ns
    assert torch.allclose(told(one)[0], again) and figure.stat().st_mtime_ns > before
    assert all(torch.allclose(*pair) for pair in zip(told(one, other, one), (again, alone[1]), strict=True))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"method": "lpr"}, "did you mean 'lrp'"),
        ({"preset": "epsilon_pluss"}, "did you mean 'epsilon_plus'"),
        ({"method": "lrp:epsilon", "preset": "epsilon_plus"}, "choose one"),
        ({"method": "aligned:vowel"}, "no segments 'vowel'"),
        ({"method": "aligned", "preset": "epsilon"}, "belongs to lrp"),
        (
            {"method": "occlusion", "preset": "epsilon"},
            "belongs to lrp: leave it out beside the method occlusion",
        ),
        ({"method": "occlusion:frequency"}, "did you mean 'occlusion_frequency'"),
        ({"method": "gradient.gradeint"}, "nothing is called"),
        ({"target": "12"}, "which the network cannot answer"),
        ({"part": "dev"}, "choose train, validation or test"),
        ({"clips": ["s000/elevenn"]}, "neither a clip of"),
        ({"show": -1}, "cannot be below zero"),
        ({"workers": 0}, "at least one process"),
    ],
)
def test_bad_input_is_one_sentence(unseen, digits, given, says):
    with pytest.raises(HeschlError, match=says):
        explain_run(digits, **given)


def test_a_layer_without_a_rule_is_refused_with_a_method_that_needs_none(unseen, digits, monkeypatch):
    def refuse(*_: object) -> None:
        raise HeschlError("LRP has no rule for `sin` of Odd")

    monkeypatch.setattr("heschl.steps.explain.relevances", refuse)
    with pytest.raises(
        HeschlError, match="no rule for `sin` of Odd; gradients need .*--method gradient_x_input"
    ):
        explain_run(digits, clips=[digits.split.test[0]], method="lrp:epsilon_gamma_box")


def test_clips_that_are_shown_are_of_all_classes(digits):
    clips = find_clips(digits, list(digits.split.test))
    assert len({clip.labels["digit"] for clip in spread_clips(digits, clips, 10, 0)}) == 10
    assert (
        spread_clips(digits, clips, 4, 0)
        == spread_clips(digits, clips, 4, 0)
        != spread_clips(digits, clips, 4, 1)
    )
    with pytest.raises(HeschlError, match="no clip is named"):
        find_clips(digits, [])


def test_a_waves_picture_keeps_its_relevance(digits):
    network = open_network(digits)
    clip = digits.corpus().by_id[digits.split.test[0]]
    x = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    r = torch.randn(1, 8000, generator=torch.Generator().manual_seed(1))
    seen = picture_of(network, Input(clip, x, 8000.0, 0.0), r)
    assert seen.relevance.shape == seen.level.shape == (129, len(seen.times))
    assert seen.frequencies[-1] == 4000 and seen.times[1] == pytest.approx(0.008)


@pytest.mark.slow
def test_waves_are_explained_and_processes_give_what_one_gives(tmp_path_factory):
    run = _trained(WAVES, tmp_path_factory)
    ids = list(run.split.test[:10])
    one = explain_run(run, clips=ids, show=1)
    with h5py.File(Path(one["folder"]) / "relevance.h5", "r") as file:
        first = {name: file[name]["relevance"][()] for name in file}
    shutil.rmtree(one["folder"])
    two = explain_run(run, clips=ids, show=1, workers=2)
    with h5py.File(Path(two["folder"]) / "relevance.h5", "r") as file:
        for name, values in first.items():
            assert np.allclose(values, file[name]["relevance"][()])
    assert explained(open_network(run)) is not None and set(one["sounds"]) == set(two["sounds"])
    home = Path(two["folder"]) / "clips" / slug(two["shown"][0])
    for path in (*home.glob("figure*"), *Path(two["folder"]).glob("montage*")):
        assert path.read_bytes()[:4] in (b"%PDF", b"\x89PNG", b"<?xm") and path.stat().st_size > 2000
    assert len(list(home.glob("figure*"))) == 6
    several = (
        len({row["target"] for row in two["_rows"]}) > 1
    )  # a montage of one class would be the clip's own picture
    assert len(list(Path(two["folder"]).glob("montage*"))) == (6 if several else 0)


@pytest.mark.parametrize("normalise", ["energy", "level", "mean"])
def test_relevance_reaches_the_wave_through_every_normalised_front_end(normalise):
    torch.manual_seed(0)
    front = LogMel(n_mels=12, normalise=normalise).double()
    model = (
        torch.nn.Sequential(front, torch.nn.Flatten(), torch.nn.Linear(12 * 11, 3, bias=False))
        .double()
        .eval()
    )
    waves = 0.1 * torch.randn(2, 1600, dtype=torch.float64)
    found = lrp(model, waves, torch.tensor([0, 2]), "epsilon")
    assert bool(torch.isfinite(found).all()) and bool(found.abs().amax(1).gt(0).all())
    # the weights of the mean are constants: the same network with them written out gets the same relevance
    weights = waves.new_ones(2, 1, 11)
    if normalise != "mean":
        power = (LogMel(n_mels=12).double()(waves).exp().sum(1, keepdim=True) - 12e-6).clamp_min(0)
        weights = (power + 1e-6).sqrt()
    weights = weights / weights.sum(2, keepdim=True)

    class WrittenOut(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.front, self.rest = LogMel(n_mels=12).double(), model[1:]

        def forward(self, wave):
            x = self.front(wave)
            mean = (x * weights).sum(2, keepdim=True)
            if normalise == "level":
                mean = mean.mean(1, keepdim=True)
            return self.rest(x - mean)

    wanted = lrp(WrittenOut().eval(), waves, torch.tensor([0, 2]), "epsilon", chunk=2)
    assert torch.allclose(found, wanted, atol=1e-8 * float(wanted.abs().max()))


# --- on a cluster ------------------------------------------------------------------------------------------


def _stored(folder: Path) -> dict[str, np.ndarray]:
    with h5py.File(folder / "relevance.h5", "r") as file:
        return {name: group["relevance"][()] for name, group in file.items()}


def test_two_dask_workers_give_what_one_process_gives_and_go_on_after_a_kill(digits, tmp_path):
    distributed = pytest.importorskip("distributed")
    run = tmp_path / digits.folder.name
    shutil.copytree(digits.folder, run, ignore=shutil.ignore_patterns("explain"))
    here = Path(explain_run(run, method="gradient", show=0)["folder"])
    alone = _stored(here)
    shutil.rmtree(here)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        order = [
            "-m",
            "heschl.cli",
            "explain",
            str(run),
            "--method",
            "gradient",
            "--show",
            "0",
            "--no-audible",
        ]
        killed = subprocess.Popen(
            [sys.executable, *order, "--dask", cluster.scheduler_address], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while not list(here.glob(".parts/*.h5")) and killed.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        killed.kill()
        killed.wait()
        assert not (here / "explain.json").exists()  # killed before its end
        assert 0 < len(list(here.glob(".parts/*.h5"))) < len(alone)
        again = []
        held = explain_run(
            run,
            method="gradient",
            show=0,
            dask=cluster.scheduler_address,
            progress=lambda *far: again.append(far),
        )
    assert held["clips"] == len(alone) and (len(alone), len(alone)) in again and not held["skipped"]
    there = _stored(here)
    assert there.keys() == alone.keys()
    for name, relevance in alone.items():
        assert np.allclose(there[name], relevance, atol=1e-5 * np.abs(relevance).max()), name


@pytest.mark.parametrize(
    ("target", "said", "title"),
    [
        ("yes", "yes", "The network hears “yes” (80 %): what speaks for it, and what against"),
        ("yes", "", "The network hears “yes” (80 %): what speaks for it, and what against"),
        ("yes", "no", "The network hears “yes” (80 %); it was “no”: what speaks for “yes”, and what against"),
        (
            "no",
            "no",
            "The network hears “yes” (80 %); it was “no”: what speaks for “no” (15 %), and what against",
        ),
        ("no", "yes", "The network hears “yes” (80 %): what speaks for “no” (15 %), and what against"),
    ],
)
def test_a_title_says_what_it_was_where_the_network_is_wrong(target, said, title):
    share = 0.8 if target == "yes" else 0.15
    row = {
        "target": target,
        "answered": "yes",
        "probability": share,
        "answered_probability": 0.8,
        "said": said,
        "method": "lrp:epsilon_plus",
    }
    assert _words(row, ()) == (f"{title}, by LRP epsilon-plus", f"“{target}”")


@pytest.mark.parametrize(
    ("method", "tiers", "said"),
    [
        ("aligned:phone", {"phone"}, "by taking out phones"),
        ("aligned:phone", set(), "by taking out stretches of sound"),
        ("occlusion_time", set(), "by occlusion in time"),
        ("gradient_x_input", set(), "by gradient × input"),
        ("own.method", set(), "by own.method"),
    ],
)
def test_titles_of_networks_over_frames_name_the_method_too(method, tiers, said):
    row = {"target": "predicted", "answered": "", "probability": 0.5, "method": method}
    title = f"What speaks for the network’s answers at every moment, and what against, {said}"
    assert _words(row, tiers) == (title, "its answers")
