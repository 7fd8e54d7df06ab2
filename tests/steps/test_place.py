"""`heschl place`: files that others open, the reference's matrices, one clip alone as among many, networks refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from heschl.brain.areas import read_areas
from heschl.brain.inverse import estimate, inverse_operator
from heschl.brain.patch import patch
from heschl.brain.place import place
from heschl.files import read_audio, read_json, write_text, write_wav
from heschl.recipe.plain import read_yaml, write_yaml
from heschl.run import Run
from heschl.steps.networks import open_network
from heschl.steps.place import place_run
from heschl.steps.placement import CAVEAT, map_of
from heschl.steps.placing import check_placeable, recorded
from heschl.training.fit import train
from heschl.types import Clip, HeschlError

pytest.importorskip("mne")

RECIPE = {
    "format": 1,
    "name": "placed",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 4},
    "split": {"use": "fractions", "validation": 0.25, "test": 0.25},
    "clip": {"seconds": 1.0, "short": "end"},
    "feature": {"use": "spectrogram.LogSpectrogram", "standardise": True},
    "model": {"use": "crnn.CRNN", "hidden_1": 24, "hidden_2": 16},
    "task": {"use": "classify.Classify", "label": "digit"},
    "train": {"epochs": 1, "batch": 16, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.002}},
}
FRAMES = {
    **RECIPE,
    "name": "frames",
    "corpus": {"use": "spoken", "kind": "sentence", "voices": 4},
    "clip": {"seconds": None},
    "feature": {"use": "context.Context", "context": 2, "n_mels": 20},
    "model": {"use": "frame_mlp.FrameMLP", "widths": [16, 8], "norm": "layer", "dropout": 0.0},
    "task": {"use": "frames.ClassifyFrames", "tier": "phone"},
    "train": {"epochs": 1, "batch": 256, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.001}},
}
WHOLE = {
    **RECIPE,
    "name": "whole",
    "clip": {"seconds": None},
    "feature": {"use": "spectrogram.LogMel", "n_mels": 12},
    "model": {"use": "kws.KWS", "stem": 4, "width": 8, "depth": 2},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(RECIPE, tmp_path_factory)


def made(recipe: dict, tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return train(recipe, runs=tmp_path_factory.mktemp("runs"), quiet=True)


@pytest.mark.slow
def test_what_is_written_opens_in_plain_h5py_and_mne(run: Run) -> None:
    import h5py
    import mne

    told = place_run(run, 5, sensors=["biosemi64"], noise=5.0, film=True, svg=True)
    folder = run.folder / "place" / "test"
    assert told == read_json(folder / "summary.json")
    assert told["status"] == "illustrative" and told["caveat"] == CAVEAT and told["synthetic"]
    for area, units in (("STG", 120), ("TP", 24), ("IFG", 16)):
        matrix = h5py.File(folder / "activity.h5")[area][:]
        assert matrix.shape == (5, 71, units) and told["layers"][area]["units"] == units
    with h5py.File(folder / "courses.h5") as file:
        clips = [one.decode() for one in file["clips"]]
        moments, gain = file["moments"][:], file["biosemi64/gain"][:]
    k = clips.index(told["shown"])
    stc = mne.read_source_estimate(str(folder / "map"), subject="fsaverage")
    assert stc.data.shape[0] == 5124 and stc.data.max() > 0
    evoked = mne.read_evokeds(folder / "biosemi64-ave.fif", condition=0, verbose="error")
    assert "simulated, illustrative" in evoked.comment and evoked.nave == 100
    epochs = mne.read_epochs(folder / "biosemi64-epo.fif", verbose="error")
    assert len(epochs) == 100
    # the mean of noisy trials lies round what gains and moments say
    silent = gain @ moments[k]
    error = evoked.data - silent[:, : evoked.data.shape[1]]
    assert np.corrcoef(evoked.data.ravel(), silent[:, : evoked.data.shape[1]].ravel())[0, 1] > 0.8
    assert 0 < error.std() < silent.std()
    inverse = told["sensors"]["biosemi64"]["inverse"]
    assert inverse["status"] == "fitted to simulated data"
    np.testing.assert_allclose(np.diag(inverse["cross_talk"]["matrix"]), 1)
    # dSPM is in units of the noise that the trials really hold
    rest = epochs.get_data(copy=True)
    rest -= rest.mean(0)
    level = rest.var() * 100 / 99 * 64 / 63  # of each trial, before its mean and the reference were taken off
    own = mne.Covariance(np.full(64, level), evoked.ch_names, [], [], 1)
    by_hand = estimate(evoked, inverse_operator(evoked.info, covariance=own))
    at = int(np.abs(by_hand.times - inverse["time_s"]).argmin())
    for name, said in inverse["read"].items():
        sources = patch(read_areas().area(name)).sources
        assert said == pytest.approx(by_hand.values[sources, at].mean(), rel=0.02)
    for name in ("areas", "course", "story", "biosemi64"):
        assert (folder / f"{name}.png").stat().st_size > 10_000 and (folder / f"{name}.svg").exists()
    assert (folder / "film.gif").read_bytes()[:4] == b"GIF8"
    page = (folder / "surface.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "") and len(page) < 1_500_000


@pytest.mark.slow
def test_one_clip_alone_is_as_among_many(run: Run) -> None:
    network = open_network(run)
    clips = list(run.corpus().clips[:5])
    many = {area: one.values for area, one in next(recorded(network, clips, [])).activity.items()}
    for k, clip in enumerate(clips):
        for area, one in next(recorded(network, [clip], [])).activity.items():
            np.testing.assert_allclose(one.values[0], many[area][k], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_file_of_ones_own_equals_the_functions(run: Run, tmp_path: Path) -> None:
    """The whole step against `heschl.record` and `heschl.place` called by hand; and its map is scaled as theirs."""
    network = open_network(run)
    wave = 0.1 * np.sin(np.arange(16_000) / 5).astype(np.float32) * np.linspace(0, 1, 16_000)
    write_wav(tmp_path / "my own.wav", wave, 16_000)
    told = place_run(run, [tmp_path / "my own.wav"], noise=None)
    assert Path(told["folder"]).name == "my-own" and not told["synthetic"] and told["heard"] == "my own.wav"
    from heschl.brain.activity_file import read_activity
    from heschl.brain.convert import read_map

    activity = read_activity(Path(told["folder"]) / "activity.h5")
    with torch.no_grad():  # the file's 16-bit samples
        x = network.feature(torch.from_numpy(read_audio(tmp_path / "my own.wav")[0])[None])
    import heschl

    by_hand = heschl.record(network.model, x, float(network.feature.rate), start=network.feature.start)
    for area, one in by_hand.items():
        np.testing.assert_allclose(activity[area].values, one.values, atol=1e-6)
    expected = place(activity)
    np.testing.assert_allclose(read_map(Path(told["folder"]) / "map.h5").values, expected.values, rtol=1e-9)


@pytest.mark.slow
def test_a_clip_that_cannot_be_read_is_not_the_one_that_is_shown(run: Run, tmp_path: Path) -> None:
    from heschl.files import read_csv

    wave = 0.1 * np.sin(np.arange(16_000) / 5).astype(np.float32)
    write_text(tmp_path / "broken.wav", "RIFF")
    (tmp_path / "more").mkdir()
    for name in ("whole.wav", "more/whole.wav"):
        write_wav(tmp_path / name, wave, 16_000)
    clips = [
        Clip(path, tmp_path / path, 16_000, {}) for path in ("broken.wav", "whole.wav", "more/whole.wav")
    ]
    told = place_run(run, clips, name="broken")
    assert told["shown"] == "whole.wav" and told["clips"] == 2 and told["skipped"] == 1
    (row,) = read_csv(Path(told["folder"]) / "skipped.csv")
    assert row["where"] == "broken.wav"
    with pytest.raises(HeschlError, match=r"broken.wav cannot be shown: .*broken.wav"):
        place_run(run, clips, name="broken", show="broken.wav")
    # recordings by their paths: of one name, and the one that is shown
    both = [tmp_path / "whole.wav", tmp_path / "more" / "whole.wav"]
    told = place_run(run, both, name="both", show=str(both[1]))
    assert told["shown"] == str(both[1]) and told["clips"] == 2
    told = place_run(run, both[:1], name="both", show=str(both[1]))
    assert told["shown"] == str(both[1]) and told["clips"] == 2


@pytest.mark.slow
def test_clips_of_different_length_end_in_silence(tmp_path_factory: pytest.TempPathFactory) -> None:
    import h5py

    run = made(FRAMES, tmp_path_factory)
    told = place_run(run, 3)
    with h5py.File(Path(told["folder"]) / "activity.h5") as file:
        seconds, first = file["seconds"][:], next(iter(told["layers"]))
        values, times = file[first][:], file[f"times/{first}"][:]
    assert len(set(seconds)) > 1 and values.shape[:2] == (3, len(times))
    for own, end in zip(values, seconds):
        assert not own[times > end + 0.05].any() and own[times < end - 0.05].any(1).all()


@pytest.mark.slow
def test_words_of_different_length_are_each_as_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A network for whole words, no frames: neither a longer neighbour nor its end is seen in a clip."""
    import h5py

    run = made(WHOLE, tmp_path_factory)
    network = open_network(run)
    lengths = (0.6, 1.0, 0.4, 0.4, 0.8)
    clips = [replace(clip, stop=clip.start + end) for clip, end in zip(run.corpus().clips, lengths)]
    told = place_run(run, clips, name="words")
    with h5py.File(Path(told["folder"]) / "activity.h5") as file:
        values = {area: file[area][:] for area in told["layers"]}
        times = {area: file[f"times/{area}"][:] for area in told["layers"]}
        seconds = file["seconds"][:]
    with h5py.File(Path(told["folder"]) / "courses.h5") as file:
        moments, at = file["moments"][:], file["times"][:]
        ifg = [name.decode() for name in file["areas"]].index("IFG")
    assert len(set(seconds)) > 2
    for k, clip in enumerate(clips):
        wave, rate = read_audio(clip.signal, clip.start, clip.stop)
        assert seconds[k] == pytest.approx(len(wave) / rate)
        for area, one in next(recorded(network, [clip], [])).activity.items():
            alone = one.values[0].numpy()
            np.testing.assert_allclose(values[area][k, : len(alone)], alone, rtol=1e-4, atol=1e-5)
            assert not values[area][k, len(alone) :].any()
        # what has no time axis is held for the clip's own length
        assert moments[k, ifg, at < seconds[k] - 0.1].all()
        assert not moments[k, ifg, at > seconds[k] + 0.1].any()
    assert times["pool"][-1] == pytest.approx(max(one[-1] for one in times.values()), abs=0.03)


def test_networks_without_areas_times_or_sound_are_refused() -> None:
    class Bare(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    class Brain(Bare):
        areas = {"a": "b"}  # noqa: RUF012

        def forward(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return x

    class Timeless(Bare):
        areas = {"a": "b"}  # noqa: RUF012
        time_axis = None

    from heschl.steps.networks import Network

    network = Network(Bare(), nn.Identity(), (), None, "refuse", "refuse", False)
    for model, words in (
        (Bare(), "names no areas"),
        (Brain(), "hears sensors of a brain"),
        (Timeless(), "not moments"),
    ):
        with pytest.raises(HeschlError, match=words):
            check_placeable(replace(network, model=model))


@pytest.mark.slow
def test_slips_are_told_before_anything_is_heard(run: Run, tmp_path: Path) -> None:
    write_text(tmp_path / "broken.fif", "nonsense")
    for given, words in (
        ({"sensors": "biosemi65"}, "did you mean 'biosemi64'"),
        ({"areas": tmp_path / "none.yaml"}, "is not there"),
        ({"rate": "median"}, "'norm' or 'mean'"),
        ({"clips": 0}, "one is the least"),
        ({"part": "tset"}, "there is no part 'tset'"),
        ({"noise": float("nan")}, "noise is nan dB"),
        ({"noise": float("inf")}, "noise is inf dB"),
        ({"sensors": tmp_path / "broken.fif"}, "broken.fif holds no sensors"),
        ({"clips": ["nobody/said"]}, "neither a clip"),
        ({"sensors": ["a/x.fif", "biosemi16", "b/x.fif"]}, "two of the sensors are called x"),
        ({"sensors": ["biosemi16", "biosemi16", "c.fif"]}, "c.fif is not there"),
    ):
        with pytest.raises(HeschlError, match=words):
            place_run(run, **given)
    assert not (run.folder / "place" / "none").exists()


@pytest.mark.slow
def test_the_recipe_says_where_layers_lie_where_nobody_says_otherwise(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / run.name)
    recipe = read_yaml(run.folder / "recipe.yaml")
    write_yaml(tmp_path / run.name / "recipe.yaml", {**recipe, "brain": {"areas": "my-areas.yaml"}})
    with pytest.raises(HeschlError, match=r"my-areas\.yaml is not there"):
        place_run(tmp_path / run.name)


@pytest.mark.slow
def test_the_map_of_one_clip_has_its_net_moment() -> None:
    """Sources of a patch, summed as vectors, point along it with the course's moment."""
    from heschl.brain.anatomy import template
    from heschl.brain.place import ClipCourses

    own = patch(read_areas().area("STG"))
    course = np.array([[[1e-9, 5e-9, 20e-9]], [[2e-9, 0, 1e-9]]])
    found = map_of(ClipCourses(course, ("STG",), (own,), np.arange(3) / 10), 1, end=2)
    total = template().normals.T @ found.values
    np.testing.assert_allclose(np.linalg.norm(total, axis=0), [2e-9, 0], rtol=1e-5, atol=1e-18)
    assert found.status == "illustrative"


@pytest.mark.slow
@pytest.mark.parametrize("fault", [b"", b"rubbish"])
def test_a_damaged_picture_in_the_cache_is_drawn_anew(
    run: Run, tmp_path: Path, fault: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heschl.steps import place_show

    monkeypatch.setattr(place_show, "cache_folder", lambda: tmp_path / "cache")
    clip = run.corpus().clips[0]

    def areas() -> dict[str, bytes]:
        place_run(run, [clip], name="twice", svg=True)
        return {
            kind: (run.folder / "place" / "twice" / f"areas{kind}").read_bytes() for kind in (".png", ".svg")
        }

    first = areas()
    for path in (tmp_path / "cache" / "brain").iterdir():
        path.write_bytes(path.read_bytes()[:2000] + fault)
    assert areas() == first
