"""faithful, manipulate and robust on a small run that is really trained: numbers that can be recomputed from the files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import heschl
from heschl.corpora import frames
from heschl.explanation.gradient import gradient_x_input
from heschl.files import read_csv, read_json, write_json
from heschl.recipe import load
from heschl.run import Run
from heschl.steps.alike import explained_alike
from heschl.steps.faithful import faithful
from heschl.steps.inputs import chosen, explained, heard, inputs
from heschl.steps.manipulate import manipulate
from heschl.steps.methods import relevance_of
from heschl.steps.networks import answers, open_network, read_wave
from heschl.steps.robust import robust
from heschl.tasks.intervals import mean_over
from heschl.training.fit import train
from heschl.types import HeschlError

pytestmark = pytest.mark.slow  # `make check` leaves these to `make test`

SEX = {
    "format": 1,
    "name": "sexes",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 14, "stated": "gender"},
    "split": {"use": "fractions", "validation": 0.2, "test": 0.5, "label": "gender"},
    "clip": {"seconds": 1.2, "short": "centre"},
    "feature": {"use": "mel.LogMel", "normalise": "energy"},
    "model": {"use": "kws.KWS", "width": 16, "stem": 8, "depth": 1},
    "task": {"use": "classify.Classify", "label": "gender"},
    "train": {"epochs": 1, "batch": 16, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}
PHONES = {
    "format": 1,
    "name": "phones",
    "corpus": {"use": "spoken", "kind": "word", "voices": 8},
    "split": {"use": "fractions", "validation": 0.2, "test": 0.4},
    "clip": {"seconds": None},
    "feature": {"use": "context.Context", "context": 2},
    "model": {"use": "frame_mlp.FrameMLP", "widths": [16]},
    "task": {"use": "frames.ClassifyFrames"},
    "train": {"steps": 10, "batch": 256, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}


def _trained(recipe: dict, factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(factory.getbasetemp() / "cache"))
        return train(recipe, runs=factory.mktemp("runs"), quiet=True)


@pytest.fixture(scope="module")
def sexes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _trained(SEX, tmp_path_factory)


@pytest.fixture(scope="module")
def phones(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _trained(PHONES, tmp_path_factory)


# --- faithful ------------------------------------------------------------------------------------------------


def test_the_table_can_be_recomputed_from_the_clips(sexes):
    held = faithful(
        sexes, clips=6, methods=("gradient_x_input", "occlusion_time"), cells=("time", "segments"), points=5
    )
    folder = sexes.folder / "explain" / "faithful" / "test"
    assert held == read_json(folder / "scores.json")
    clips, table = read_csv(folder / "clips.csv"), read_csv(folder / "methods.csv")
    assert {row["method"] for row in table} == {"gradient_x_input", "occlusion_time", "random", "energy"}
    assert held["clips"] == 6 and held["speakers"] >= 2 and held["synthetic"] is True
    mine = {
        key: [r for r in clips if (r["cells"], r["method"]) == key]
        for key in {(r["cells"], r["method"]) for r in clips}
    }
    for row in table:
        own = mine[row["cells"], row["method"]]
        values = np.array([float(one["deletion_aopc"]) for one in own])
        assert float(row["deletion_aopc"]) == pytest.approx(values.mean(), abs=1e-5)
        assert row["clips"] == str(len(own)) and int(row["speakers"]) == len({one["speaker"] for one in own})
        assert (
            float(row["deletion_aopc_low"]) <= float(row["deletion_aopc"]) <= float(row["deletion_aopc_high"])
        )
        if row["method"] not in ("random", "energy"):
            control = [float(one["deletion_aopc"]) for one in mine[row["cells"], "random"]]
            assert float(row["deletion_over_random"]) == pytest.approx((values - control).mean(), abs=1e-5)
    for row in held["rows"]:  # the clip, and the emptied clip, are the same whoever orders
        first, last = row["curve"]["deletion"][0], row["curve"]["deletion"][-1]
        same = [other for other in held["rows"] if other["cells"] == row["cells"]]
        assert all(other["curve"]["deletion"][0] == pytest.approx(first, abs=1e-6) for other in same)
        if row["cells"] == "time":
            assert row["curve"]["insertion"][0] == pytest.approx(last, abs=1e-5)
            assert row["curve"]["insertion"][-1] == pytest.approx(first, abs=1e-5)
    trust = {row["method"]: row for row in held["trust"]}
    assert 0 < trust["gradient_x_input"]["sparseness"]["value"] < 1
    assert trust["gradient_x_input"]["randomised"]["n"] == 6
    assert {row["measure"] for row in held["agreement"]} == {"rank_correlation", "top_overlap"}
    for name in ("curves.csv", "agreement.csv", "skipped.csv", "faithful.svg", "faithful.png"):
        assert (folder / name).stat().st_size > 0


def test_methods_that_say_nothing_of_an_axis_and_ones_that_do_not_exist(sexes):
    held = faithful(sexes, clips=2, methods=("occlusion_time", "gradient"), cells=("frequency",), points=2)
    assert [row["method"] for row in held["rows"]] == ["gradient", "random", "energy"]
    for options, words in (
        ({"methods": ("lime",)}, "no method 'lime'"),
        ({"methods": ("aligned:word",)}, "name aligned instead"),
        ({"cells": ("words",)}, "no cells"),
        ({"target": "best"}, "predicted or true"),
        ({"part": "all"}, "no part"),
    ):
        with pytest.raises(HeschlError, match=words):
            faithful(sexes, clips=2, **options)


def test_clips_are_heard_as_they_are_scored(sexes, phones):
    for run in (sexes, phones):
        network, corpus = open_network(run), run.corpus()
        clips = [corpus.by_id[one] for one in run.split.test[:5]]
        (batch,) = inputs(network, run.task(), clips)
        for k, answer in enumerate(answers(network, clips)):
            if network.frames:
                own = batch.answered[k][batch.answered[k] >= 0]
                assert own.tolist() == answer.logits.argmax(-1).tolist()
                assert np.allclose(batch.times[: len(own)], answer.times)
            else:
                assert int(batch.answered[k]) == int(answer.logits.argmax())
        alone = next(inputs(network, run.task(), clips[:1]))
        steps = alone.x.shape[-1]
        assert torch.allclose(alone.x[0], batch.x[0, ..., :steps], atol=1e-5)
        assert explained(network)(batch.x[:1]).__class__ is not None
        assert bool((batch.segments() >= 0).any()) and batch.energy.shape == batch.x.shape


def test_stored_frames_are_taken_apart_like_sound(tmp_path, tmp_path_factory):
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
    held = faithful(run, "validation", methods=("lrp", "aligned"), points=3)
    assert {row["cells"] for row in held["rows"]} == {"time", "frequency", "time_frequency", "segments"}
    assert held["clips"] == 4 and not held["skipped"] and not held["refused"]
    clip = run.corpus().by_id[run.split.validation[0]]
    found = heschl.explain(run, clip, "aligned")[0]
    for span in clip.spans:  # the values of a phone share its fall by how far they are moved, squared
        part = slice(round(100 * span.start), round(100 * span.stop))
        own, far = found.relevance[:, part], (found.x[:, part] - found.x.min()) ** 2
        assert own.numel() and torch.allclose(own, own.sum() * far / far.sum(), atol=1e-6)
    with pytest.raises(HeschlError, match="found in sound"):
        heschl.explain(run, clip, "aligned:mel")


def test_spans_move_with_the_clip(sexes):
    """A clip in the middle of zeros: its phones lie where its sound lies."""
    network, corpus = open_network(sexes), sexes.corpus()
    clips = [corpus.by_id[one] for one in sexes.split.test[:8]]
    (batch,) = inputs(network, sexes.task(), clips)
    rate = network.sample_rate
    for k, clip in enumerate(clips):
        loud = np.flatnonzero(batch.waves[k].abs().numpy() > 0.02) / rate
        spoken = np.array(
            [(s.start, s.stop) for s in batch.spans[k] if s.tier == "phone" and s.symbol != "SIL"]
        )
        assert spoken[0, 0] - 0.06 < loud[0] and loud[-1] < spoken[-1, 1] + 0.06
        before = clip.spans[0].start - batch.spans[k][0].start
        assert all(
            a.start - b.start == pytest.approx(before)
            for a, b in zip(clip.spans, batch.spans[k])
            if b.start > 0
        )


def test_clips_without_phones_are_taken_apart_by_their_stretches(sexes):
    network, corpus = open_network(sexes), sexes.corpus()
    clips = [replace(corpus.by_id[one], spans=()) for one in sexes.split.test[:3]]
    (batch,) = inputs(network, sexes.task(), clips)
    assert not bool((batch.segments() >= 0).any())
    stretches = batch.stretches()
    assert bool((stretches >= 0).all()) and bool((stretches.amax(1) >= 2).all())
    level = batch.waves.square()
    for k in range(3):  # silence around the word lies in other stretches than the word
        loudest = int(level[k].argmax()) / network.sample_rate
        at = int((batch.times - loudest).abs().argmin())
        assert stretches[k, at] != stretches[k, 0]


def test_a_method_that_refuses_a_later_clip_is_left_out_of_all(sexes, monkeypatch):
    """Else it would stand beside controls on other clips than its own."""
    asked: list[str] = []

    def refusing(model, method, *rest):
        asked.append(method.name)
        if method.name == "gradient" and asked.count("gradient") > 2:
            raise HeschlError("this clip cannot be explained")
        return relevance_of(model, method, *rest)

    for step in ("faithful", "robust"):
        monkeypatch.setattr(f"heschl.steps.{step}.relevance_of", refusing)
    monkeypatch.setattr("heschl.steps.faithful.TOGETHER", 2)
    monkeypatch.setattr("heschl.steps.robust.inputs", partial(inputs, together=2))
    monkeypatch.setattr("heschl.steps.faithful.RANDOMISED", 0)
    held = faithful(sexes, clips=6, methods=("gradient", "gradient_x_input"), cells=("time",), points=2)
    assert held["refused"] == {"gradient": "this clip cannot be explained"}
    assert [row["method"] for row in held["rows"]] == ["gradient_x_input", "random", "energy"]
    assert [row["method"] for row in held["trust"]] == ["gradient_x_input"] and held["agreement"] == []
    asked.clear()
    watched = robust(sexes, clips=6, method="gradient")
    assert watched["method"] == "gradient_x_input" and "gradient was left out" in watched["refused"]
    whole = robust(sexes, clips=6, method="gradient_x_input")
    assert [row["stability"] for row in watched["rows"]] == [row["stability"] for row in whole["rows"]]


ANY_LENGTH = """
import torch
from torch import nn


class AnyLength(nn.Module):
    def __init__(self, in_shape, n_outputs):
        super().__init__()
        self.hear, self.out = nn.Conv1d(1, 8, 160, stride=160), nn.Linear(8, n_outputs)

    def forward(self, x, lengths=None):
        y = self.hear(x).relu()
        if lengths is None:
            return self.out(y.mean(-1))
        inside = torch.arange(y.shape[-1]) < (lengths // 160)[:, None]
        return self.out((y * inside[:, None]).sum(-1) / inside.sum(-1, keepdim=True))
"""


def test_waves_of_several_lengths_are_taken_apart(tmp_path, tmp_path_factory, monkeypatch):
    """They have no frequencies in common, so they are heard one by one."""
    (tmp_path / "any_length.py").write_text(ANY_LENGTH)
    recipe = {
        **SEX,
        "name": "waves",
        "clip": {"seconds": None},
        "feature": {"use": "waveform.Waveform"},
        "model": {"use": "any_length.AnyLength"},
        "train": {**SEX["train"], "epochs": None, "steps": 2},
    }
    write_json(tmp_path / "waves.yaml", recipe)  # JSON is YAML
    run = _trained(load(tmp_path / "waves.yaml"), tmp_path_factory)

    def cut(run: Run, part: str, n: int, seed: int = 0) -> tuple:
        clips, groups, by = chosen(run, part, n, seed)
        return [replace(clip, stop=clip.start + 0.3 + 0.1 * k) for k, clip in enumerate(clips)], groups, by

    monkeypatch.setattr("heschl.steps.faithful.chosen", cut)
    held = faithful(run, clips=3, methods=("gradient_x_input",), points=2)
    assert {row["cells"] for row in held["rows"]} >= {"time", "frequency", "time_frequency"}
    assert all(row["deletion_aopc"]["n"] == 3 for row in held["rows"] if row["cells"] != "segments")


def test_a_method_beside_the_recipe_is_found(sexes, monkeypatch, tmp_path):
    (tmp_path / "my_methods.py").write_text("def loud(model, x, target):\n    return x.square()\n")
    monkeypatch.setattr(Run, "_parts", property(lambda self: tmp_path))
    held = faithful(sexes, clips=2, methods=("my_methods.loud",), cells=("time",), points=2)
    assert "loud" in {row["method"] for row in held["rows"]}
    assert robust(sexes, clips=2, method="my_methods.loud")["method"] == "loud"
    assert explained_alike(sexes, sexes, [], "my_methods.loud")["why_not"] == ""


def test_where_no_clip_can_be_heard_it_is_told(sexes, monkeypatch):
    def gone(run: Run, part: str, n: int | None, seed: int = 0) -> tuple:
        clips, groups, by = chosen(run, part, n, seed)
        return [replace(clip, signal=clip.signal.with_name("gone.wav")) for clip in clips], groups, by

    for step in (faithful, robust, manipulate):
        monkeypatch.setattr(f"heschl.steps.{step.__name__}.chosen", gone)
        with pytest.raises(HeschlError, match="no clip could be heard; the first was skipped because .*gone"):
            step(sexes, clips=2)


def test_of_more_speakers_than_clips_some_are_taken_at_random(sexes):
    people = sorted({chosen(sexes, "test", None)[1][one] for one in sexes.split.test})
    taken = {seed: chosen(sexes, "test", 2, seed) for seed in range(8)}
    heard_of = {seed: {groups[clip.id] for clip in clips} for seed, (clips, groups, _) in taken.items()}
    assert all(len(own) == 2 for own in heard_of.values()) and len(people) > 4
    assert set.union(*heard_of.values()) - set(people[:2]), "the first of the alphabet are not the corpus"
    assert chosen(sexes, "test", 2, 3) == taken[3]


# --- manipulate ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_manipulated_clips_begin_where_the_scores_are(sexes):
    held = manipulate(sexes, clips=8, fractions=(0.0, 0.5))
    (batch,) = inputs(open_network(sexes), sexes.task(), _same_clips(sexes, 8))
    plain = float((batch.said == batch.answered).double().mean())
    for way in ("random", "amplitude", "relevance"):
        assert held["zeroing"][way][0]["value"] == pytest.approx(plain)
    assert {row["voices"] for row in held["scaling"]} == {"male", "female"}
    for row in held["scaling"]:
        assert row["fall"]["value"] == pytest.approx(row["plain"]["value"] - row["accuracy"]["value"])
    folder = sexes.folder / "explain" / "manipulate" / "test"
    assert held == read_json(folder / "scores.json") and len(read_csv(folder / "zeroing.csv")) == 6
    assert (folder / "manipulate.png").stat().st_size > 0
    folds = manipulate([sexes, sexes], clips=8, fractions=(0.0, 0.5))
    cell = folds["zeroing"]["random"][0]
    assert cell["value"] == pytest.approx(plain) and cell["sd"] == 0 and len(folds["runs"]) == 2


def _same_clips(run: Run, n: int) -> list:
    clips, groups, _ = chosen(run, "test", n)
    counts = [groups[clip.id] for clip in clips]
    assert (
        max(counts.count(name) for name in set(counts)) - min(counts.count(name) for name in set(counts)) <= 1
    )
    return clips


def test_a_clip_that_lrp_refuses_sends_all_of_them_to_gradients(sexes, monkeypatch):
    """Not the later ones alone, which would stand under one name with others."""
    calls: list[int] = []

    def refusing(net, x, target, lengths=None):
        calls.append(len(x))
        if len(calls) % 2 == 0:
            raise HeschlError("relevance overflowed on the way")
        return x.square()

    def curve(net, x, target, fractions, by, relevance, **options):
        return relevance.flatten(1).sum(1, keepdim=True).double()

    monkeypatch.setattr("heschl.steps.manipulate.lrp", refusing)
    monkeypatch.setattr("heschl.steps.manipulate.zeroing_curve", curve)
    monkeypatch.setattr("heschl.steps.manipulate.inputs", partial(inputs, together=3))
    held = manipulate(sexes, clips=6, fractions=(0.5,))
    assert calls == [3, 3] and held["relevance_by"] == "gradient x input" and held["clips"] == 6
    monkeypatch.setattr("heschl.steps.manipulate.lrp", gradient_x_input)
    assert manipulate(sexes, clips=6, fractions=(0.5,))["zeroing"] == held["zeroing"]


def test_runs_of_other_classes_are_no_folds(sexes, phones):
    with pytest.raises(HeschlError, match="folds of one recipe"):
        manipulate([sexes, phones], clips=2)


# --- robust --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_disturbances_begin_in_quiet(sexes, phones):
    held = robust(sexes, clips=8)
    quiet = held["rows"][0]
    (batch,) = inputs(open_network(sexes), sexes.task(), _same_clips(sexes, 8))
    assert quiet["accuracy"]["value"] == pytest.approx(float((batch.said == batch.answered).double().mean()))
    assert quiet["stability"]["value"] == 1.0
    assert {row["kind"] for row in held["rows"]} == {"quiet", "noise", "room", "band", "level"}
    noise = {
        (row["name"], row["size"]): row["stability"]["value"]
        for row in held["rows"]
        if row["kind"] == "noise"
    }
    assert noise["white", 20.0] > noise["white", -5.0]
    folder = sexes.folder / "explain" / "robust" / "test"
    assert len(read_csv(folder / "conditions.csv")) == len(held["rows"])
    assert (folder / "robust.png").stat().st_size > 0 and held == read_json(folder / "scores.json")
    over = robust(phones, clips=3, method="gradient_x_input")
    assert over["kind"] == "frames" and over["rows"][0]["stability"]["value"] == 1.0


@pytest.mark.slow
def test_networks_over_frames_are_tested_too(phones):
    held = faithful(phones, clips=3, methods=("gradient_x_input", "lrp:epsilon"), points=3)
    assert held["refused"] == {} and {row["cells"] for row in held["rows"]} == {
        "time",
        "frequency",
        "time_frequency",
        "segments",
    }
    zeroed = manipulate(phones, clips=3, fractions=(0.0, 0.9))
    assert zeroed["scaling"] == [] and "female from male" in zeroed["why_no_scaling"]


@pytest.mark.slow
def test_what_is_said_of_a_clip_does_not_hang_on_the_others_of_its_batch(phones, monkeypatch):
    """Zeros after a clip's end are no part of an explanation: they would make it sparse, and two of them alike."""

    def cut(run: Run, part: str, n: int, seed: int = 0) -> tuple:
        clips, groups, by = chosen(run, part, n, seed)
        return [replace(clip, stop=clip.start + 0.5 + 0.1 * k) for k, clip in enumerate(clips)], groups, by

    for step in ("faithful", "robust"):
        monkeypatch.setattr(f"heschl.steps.{step}.chosen", cut)
    methods = ("gradient_x_input", "occlusion_time", "smoothgrad")
    together = faithful(phones, clips=4, methods=methods, cells=("time",), points=2)
    disturbed = robust(phones, clips=4, method="gradient_x_input")
    monkeypatch.setattr("heschl.steps.faithful.TOGETHER", 1)
    monkeypatch.setattr("heschl.steps.robust.inputs", partial(inputs, together=1))
    alone = faithful(phones, clips=4, methods=methods, cells=("time",), points=2)
    for one, other in zip(together["trust"], alone["trust"], strict=True):
        for name in ("sparseness", "complexity", "in_phones"):
            assert one[name]["value"] == pytest.approx(other[name]["value"], abs=1e-4), (one["method"], name)
    for one, other in zip(together["agreement"], alone["agreement"], strict=True):
        assert one["value"] == pytest.approx(other["value"], abs=2e-3), one
    again = robust(phones, clips=4, method="gradient_x_input")
    for one, other in zip(disturbed["rows"], again["rows"], strict=True):
        for name in ("accuracy", "stability"):
            assert one[name]["value"] == pytest.approx(other[name]["value"], abs=2e-3), one["words"]


@pytest.mark.slow
def test_a_level_of_noise_is_that_of_the_clip_without_the_zeros_around_it(sexes, monkeypatch):
    """The ratio is measured over the clip's own samples, and zeros stay zeros."""
    sounds: list[torch.Tensor] = []

    def noted(feature, waves, samples):
        sounds.append(waves)
        return heard(feature, waves, samples)

    monkeypatch.setattr("heschl.steps.robust.heard", noted)
    clips = _same_clips(sexes, 8)
    held = robust(sexes, clips=8)
    network = open_network(sexes)
    (batch,) = inputs(network, sexes.task(), clips)
    sounds = sounds[-(len(held["rows"]) - 1) :]
    checked = 0
    for row, found in zip(held["rows"][1:], sounds, strict=True):
        for clip, quiet, wave in zip(clips, batch.waves, found, strict=True):
            length = read_wave(clip, network.sample_rate).shape[-1]
            first = (quiet.shape[-1] - length) // 2
            assert first > 100 and quiet[:first].abs().max() == 0
            assert not wave[:first].any() and not wave[first + length :].any()
            if row["kind"] == "noise":
                own = slice(first, first + length)
                noise = (wave - quiet)[own].double()
                snr = 10 * torch.log10(quiet[own].double().square().sum() / noise.square().sum())
                assert float(snr) == pytest.approx(row["size"], abs=0.01)
                quarters = noise.reshape(-1)[: 4 * (length // 4)].reshape(4, -1).square().mean(1)
                assert row["name"] == "babble" or quarters.max() < 3 * quarters.min()
                checked += 1
    assert checked >= 8 * 15


# --- intervals -----------------------------------------------------------------------------------------------


def test_intervals_draw_whole_speakers():
    values, groups = [1.0, 2.0, 3.0, 10.0, np.nan, *range(5)], list("aabcc") + list("defgh")
    found = mean_over(values, groups, draws=400, seed=3)
    random = np.random.default_rng(3)
    means = []
    for row in random.integers(8, size=(400, 8)):
        drawn = [v for k in row for v, g in zip(values, groups) if g == "abcdefgh"[k] and np.isfinite(v)]
        means.append(np.mean(drawn))
    assert found["value"] == pytest.approx(26 / 9) and found["n"] == 9 and found["n_groups"] == 8
    assert np.allclose([found["low"], found["high"]], np.percentile(means, [2.5, 97.5]))
    one = mean_over([1.0, 2.0], ["a", "a"])
    assert one["low"] is None and one["n_groups"] == 1
    few = mean_over([1.0, 2.0], None)  # of two, by t with one degree of freedom
    assert (few["low"], few["high"]) == pytest.approx((1.5 - 12.706205 / 2, 1.5 + 12.706205 / 2))
