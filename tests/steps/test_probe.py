"""`heschl probe` on small networks that are really trained (a few steps) on the packaged corpus."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from heschl.files import read_csv, read_json, write_wav
from heschl.recipe import load
from heschl.run import Run
from heschl.steps import inside as inner
from heschl.steps import samples as cut
from heschl.steps.inside import check_areas, inside, untrained
from heschl.steps.networks import open_network
from heschl.steps.probe import probe
from heschl.training.fit import train
from heschl.types import Clip, HeschlError, Span

DIGITS = {
    "format": 1,
    "name": "digits",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 12},
    "split": {"use": "fractions", "validation": 0.3, "test": 0.4},
    "clip": {"seconds": 0.9, "short": "centre"},
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
    "train": {"steps": 20, "batch": 256, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}
RECURRENT = {
    **PHONES,
    "name": "recurrent",
    "feature": {"use": "mel.LogMel", "normalise": "energy"},
    "model": {"use": "frame_lstm.FrameLSTM", "stem": 4, "width": 16, "depth": 1},
    "train": {"epochs": 1, "batch": 8, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
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


# --- what goes on inside -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("which", ["digits", "phones"])
def test_one_clips_activity_does_not_depend_on_its_batch(which, request):
    run = request.getfixturevalue(which)
    network, corpus = open_network(run), run.corpus()
    clips = [corpus.by_id[one] for one in run.split.test[:7]]
    together = list(inside(network, clips, []))
    assert [one.clip for one in together] == clips
    for one in together:
        (alone,) = inside(network, [one.clip], [])
        for area, (times, values) in one.areas.items():
            assert np.array_equal(times, alone.areas[area][0])
            assert np.allclose(values, alone.areas[area][1], atol=1e-4)
            assert (np.diff(times) > 0).all() and len(times) == len(values)


def test_times_are_the_clips_own_where_the_network_hears_a_part_of_it(digits):
    """The network hears 0.9 s out of the middle of each clip of 1 s: a click is seen where it lies in the clip."""
    network, clip = open_network(digits), digits.corpus().clips[0]
    rate = network.sample_rate
    assert network.seconds == 0.9
    with pytest.MonkeyPatch.context() as patch:
        for at in (0.3, 0.6):
            wave = np.float32(1e-3) * np.random.default_rng(0).standard_normal(round(rate)).astype(np.float32)
            wave[round(at * rate)] = 1.0
            patch.setattr(type(network), "read", lambda *_, wave=wave: wave)
            (one,) = inside(network, [clip], [])
            times, values = one.areas["stem"]
            moving = np.abs(values - np.median(values, 0)).sum(1) * ((times > 0.15) & (times < 0.85))
            assert times[moving.argmax()] == pytest.approx(at, abs=0.03)


def test_an_untrained_network_is_the_same_for_its_seed_and_leaves_the_generator_alone(digits):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, same, other = untrained(digits, 0), untrained(digits, 0), untrained(digits, 1)
    assert torch.equal(before, torch.random.get_rng_state())
    weights = [torch.cat([p.flatten() for p in net.parameters()]) for net in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert len(weights[0]) == sum(p.numel() for p in digits.model().parameters())


def test_networks_without_areas_or_times_are_refused():
    class Timeless(nn.Module):
        areas: ClassVar[dict[str, str]] = {"a": "x"}
        time_axis = None

    with pytest.raises(HeschlError, match="names no areas"):
        check_areas(nn.Linear(2, 2))
    with pytest.raises(HeschlError, match="not moments in time"):
        check_areas(Timeless())


# --- samples -----------------------------------------------------------------------------------------------


def test_phone_tokens_know_their_word_and_place(tmp_path):
    spans = [
        Span("SIL", 0, 0.1),
        Span("n", 0.1, 0.2),
        Span("OW1", 0.2, 0.3),
        Span("B", 0.3, 0.4),
        Span("X", 2.0, 2.1),
        Span("no", 0.1, 0.3, "word"),
        Span("be", 0.3, 0.4, "word"),
    ]
    clip = Clip("c", tmp_path, 16000, {}, tuple(spans))
    assert [token[:2] for token in cut.phone_tokens(clip, 1.0)] == [
        ("N", "no 0"),
        ("OW", "no 1"),
        ("B", "be 0"),
    ]
    bare = Clip("c", tmp_path, 16000, {}, tuple(spans[:4]))
    assert [token[1] for token in cut.phone_tokens(bare, 1.0)] == ["SIL N OW", "N OW B", "OW B SIL"]


def test_clips_are_chosen_evenly_over_speakers(tmp_path):
    clips = [Clip(f"{k:02}", tmp_path, 1, {"speaker": "a" if k < 20 else "b"}) for k in range(24)]
    chosen = cut.chosen_clips(clips, 8, seed=0)
    assert [clip.labels["speaker"] for clip in chosen].count("b") == 4 and len(chosen) == 8
    assert chosen == sorted(chosen, key=lambda clip: clip.id)
    assert cut.chosen_clips(clips, 8, seed=0) == chosen != cut.chosen_clips(clips, 8, seed=1)
    assert cut.chosen_clips(clips, 99, seed=0) == clips


def test_large_areas_are_projected_and_distances_stay(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((12, 6000)).astype(np.float32)
    found = [
        inner.Inside(Clip(str(k), tmp_path, 1, {}), 1.0, {"big": (np.array([0.5]), values[k : k + 1])})
        for k in range(12)
    ]
    whole = cut.gather(found, seed=0).whole["big"]
    assert whole.shape == (12, cut.MOST_UNITS)
    far = np.linalg.norm(values[0] - values[1:], axis=1)
    assert np.allclose(np.linalg.norm(whole[0] - whole[1:], axis=1), far, rtol=0.15)


# --- the step ----------------------------------------------------------------------------------------------


def _checked(run: Run, held: dict, drawn: bool = True) -> None:
    folder = run.folder / "probe"
    assert held == read_json(folder / "probe.json")
    rows = read_csv(folder / "probes.csv")
    assert [(row["area"], row["target"]) for row in rows] == [
        (r["area"], r["target"]) for r in held["probes"]
    ]
    for row, made in zip(rows, held["probes"], strict=True):
        assert float(row["score"]) == pytest.approx(made["score"]["value"], abs=1e-6)
        assert made["selectivity"]["value"] == pytest.approx(
            made["score"]["value"] - made["control"]["value"]
        )
        assert made["gain"]["value"] == pytest.approx(made["score"]["value"] - made["untrained"]["value"])
        assert made["n_speakers"] >= 3 and made["chance"] == pytest.approx(1 / made["classes"])
    for name in ("probes", "similarity", "psi", "fsi"):
        for suffix in ("csv", "svg", "png") if drawn else ("csv",):
            assert (folder / f"{name}.{suffix}").stat().st_size > 0
    for table in held["similarity"].values():
        assert np.shape(table) == (len(held["areas"]),) * 2
    assert np.allclose(np.diag(held["similarity"]["trained with itself"]), 1)


@pytest.mark.slow
def test_probe_of_a_network_over_clips(digits, monkeypatch):
    monkeypatch.setattr("heschl.steps.probe._draw", lambda *_: None)  # the pictures take seconds
    held = probe(digits, targets=["digit", "speaker"])
    _checked(digits, held, drawn=False)
    assert set(held["areas"]) == set(digits.model().areas)
    asked = {*digits.split.validation, *digits.split.test}
    assert held["clips"] == len(asked) and held["synthetic"] is True
    by = {(row["target"], row["area"]): row for row in held["probes"]}
    first = held["areas"][0]
    assert by["digit", first]["score"]["low"] > 0.1  # a log-mel stem holds digits, and voices
    assert by["speaker", first]["score"]["value"] > 3 * by["speaker", first]["chance"]
    assert by["speaker", first]["kept_apart"] == "what is said"
    assert by["digit", first]["control"]["value"] < 0.3


@pytest.mark.slow
def test_probe_of_a_network_over_frames(phones):
    held = probe(phones, "all", targets=["phone"], clips=16, nets=2)
    _checked(phones, held)
    row = held["probes"][0]
    assert row["score"]["value"] > 5 * row["chance"] and row["samples_are"] == "phones"
    assert held["untrained_networks"] == 2 and held["clips"] == 16


@pytest.mark.slow
def test_bad_questions_are_told(digits, phones):
    with pytest.raises(HeschlError, match="no part 'tset'"):
        probe(digits, "tset")
    with pytest.raises(HeschlError, match="cannot be asked about 'mood'"):
        probe(digits, targets=["mood"])
    with pytest.raises(HeschlError, match="--part all"):
        probe(phones, "validation")
    with pytest.raises(HeschlError, match="untrained networks"):
        probe(digits, nets=0)


@pytest.mark.slow
def test_probe_of_a_recurrent_network(tmp_path):
    load(RECURRENT)
    run = train(RECURRENT, runs=tmp_path, quiet=True)
    held = probe(run, "all", targets=["phone"], clips=10)
    _checked(run, held)


def test_pitch_is_that_of_the_tone_under_each_phone(tmp_path):
    rate, seconds = 16000, np.arange(16000) / 16000
    tone = np.where(seconds < 0.5, np.sin(2 * np.pi * 110 * seconds), np.sin(2 * np.pi * 220 * seconds))
    write_wav(tmp_path / "a.wav", 0.5 * tone, rate)
    spans = (Span("AA", 0.1, 0.4), Span("IY", 0.6, 0.9))
    clip = Clip("a", tmp_path / "a.wav", rate, {"speaker": "s"}, spans)
    silent = Clip("b", tmp_path / "b.wav", rate, {"speaker": "s"}, ())
    write_wav(tmp_path / "b.wav", np.zeros(8000), rate)
    area = {"a": (np.array([0.5]), np.ones((1, 2), np.float32))}
    samples = cut.gather([inner.Inside(clip, 1.0, area), inner.Inside(silent, 0.5, area)])
    whole, tokens = cut.pitches(samples)
    assert np.allclose(2**tokens, [110, 220], rtol=0.01)
    assert 110 <= 2 ** whole[0] <= 221 and np.isnan(whole[1])
