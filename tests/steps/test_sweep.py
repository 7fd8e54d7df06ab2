"""`heschl sweep`: the variants that are tried, what is kept, and that only validation is looked at."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.files import read_csv, read_json
from heschl.steps.sweep import Between, parse_choices, sweep, variants
from heschl.training.fit import train
from heschl.types import HeschlError

DIGITS = {
    "format": 1,
    "name": "digits",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 8},
    "split": {"use": "fractions", "validation": 0.3, "test": 0.3},
    "clip": {"seconds": 1.0},
    "feature": {"use": "mel.LogMel", "normalise": "energy"},
    "model": {"use": "kws.KWS", "width": 8, "stem": 4, "depth": 1},
    "task": {"use": "classify.Classify", "label": "digit"},
    "train": {"epochs": 1, "batch": 16, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


# --- what is tried -----------------------------------------------------------------------------------------


def test_choices_are_read():
    found = parse_choices(
        [
            "a.b=1,2.5,x",
            "widths=[8, 8],[16]",
            "lr=1e-4..1e-2",
            "n=2..9",
            "m={use: c.D, k: [1, 2]},null",
            "one=7",
            "p=1e-3,2e-3",
            "take='7',01",
            "corpus.root=../data",
            "also.0.root=/x/take #2,/x/take #3",
        ]
    )
    assert found == {
        "a.b": [1, 2.5, "x"],
        "widths": [[8, 8], [16]],
        "lr": Between(1e-4, 1e-2),
        "n": Between(2, 9),
        "m": [{"use": "c.D", "k": [1, 2]}, None],
        "one": [7],
        "p": [1e-3, 2e-3],
        "take": ["7", "01"],
        "corpus.root": ["../data"],
        "also.0.root": ["/x/take #2", "/x/take #3"],
    }
    for text, said in [
        ("a", "nothing to try"),
        ("a=", "nothing to try"),
        ("a=3..1", "no range"),
        ("a=x..y", "no range"),
    ]:
        with pytest.raises(HeschlError, match=said):
            parse_choices([text])
    with pytest.raises(HeschlError, match="twice"):
        parse_choices(["a=1,2", "a=3"])


def test_a_grid_is_all_combinations_once():
    found = variants({"a": [1, 2, 2], "b": ["x", "y"]})
    assert found == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]
    for given_, said in [
        (({},), "nothing to try"),
        (({"a": Between(1, 2)},), "--random 20"),
        (({"a": [1]}, 0), "--random"),
    ]:
        with pytest.raises(HeschlError, match=said):
            variants(*given_)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_random_variants_are_different_and_repeatable(n, seed):
    grid = {"a": [1, 2, 3, 4], "b": ["x", "y", "z"]}
    found = variants(grid, n, seed)
    assert len(found) == min(n, 12) and len({str(one) for one in found}) == len(found)
    assert found == variants(grid, n, seed)
    drawn = variants({"lr": Between(1e-4, 1e-2), "k": Between(2, 5), "a": [1, 2]}, n, seed)
    assert len(drawn) == n and drawn == variants(
        {"lr": Between(1e-4, 1e-2), "k": Between(2, 5), "a": [1, 2]}, n, seed
    )
    assert all(1e-4 <= one["lr"] <= 1e-2 and one["k"] in (2, 3, 4, 5) for one in drawn)


def test_ranges_are_even_on_their_scale():
    generator = np.random.default_rng(0)
    logs = np.log10([Between(1e-4, 1e-2).draw(generator) for _ in range(4000)])
    assert abs(np.mean(logs) + 3) < 0.03 and abs(np.std(logs) - 2 / np.sqrt(12)) < 0.02
    flat = [Between(-1.0, 1.0).draw(generator) for _ in range(4000)]
    assert abs(np.mean(flat)) < 0.04 and abs(np.std(flat) - 2 / np.sqrt(12)) < 0.02
    assert {Between(1, 3).draw(generator) for _ in range(100)} == {1, 2, 3}


# --- the sweep ---------------------------------------------------------------------------------------------


def killed_once():
    """A trainer that is killed, as by a machine that runs out of memory, the first time it meets width 12."""

    def trained(recipe, overrides, *, runs, quiet):  # inside, so that it travels to workers by value
        mark = Path(runs) / "killed"
        if overrides["model.width"] == 12 and not mark.exists():
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return train(recipe, overrides, runs=runs, quiet=quiet)

    return trained


def test_a_misspelt_variant_is_told_before_any_is_trained(tmp_path):
    def never(*_, **__):
        raise AssertionError("trained")

    with pytest.raises(HeschlError, match="widht"):
        sweep(DIGITS, {"model.width": [8], "model.widht": [4, 8]}, train=never, runs=tmp_path)


@pytest.mark.slow
def test_variants_are_ranked_by_validation_and_kept(tmp_path):
    done = []
    choices = {"model.width": [8], "train.optimiser.lr": [0.003, 0.0]}
    held = sweep(DIGITS, choices, train=train, runs=tmp_path, progress=lambda k, n: done.append((k, n)))
    assert done == [(1, 2), (2, 2)]
    assert held == read_json(tmp_path / "sweep-digits" / "sweep.json")
    rows = read_csv(tmp_path / "sweep-digits" / "results.csv")
    scores = [float(row["balanced_accuracy"]) for row in rows]
    assert scores == sorted(scores, reverse=True) and len(rows) == 2
    assert held["best"]["run"] == rows[0]["run"] and held["part"] == "validation"
    for row in rows:
        kept = Path(row["run"]) / "evaluate"
        own = read_json(kept / "validation" / "scores.json")["scores"]["balanced_accuracy"]["value"]
        assert own == float(row["balanced_accuracy"])
        assert not (kept / "test").exists()  # nobody looked
    assert (tmp_path / "sweep-digits" / "sweep.svg").stat().st_size > 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("best.safetensors")}
    again = sweep(DIGITS, choices, train=train, runs=tmp_path)
    assert again["variants"] == held["variants"]
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("best.safetensors")}


@pytest.mark.slow
def test_a_failing_variant_is_listed_and_a_killed_worker_loses_nothing(tmp_path):
    choices = {"model.width": [8, 12]}
    with pytest.raises(HeschlError, match="same command again"):
        sweep(DIGITS, choices, train=killed_once(), runs=tmp_path, workers=2)
    held = sweep(DIGITS, choices, train=killed_once(), runs=tmp_path)
    assert held["failed"] == 0 and held["done"] == 2

    def refuses(recipe, overrides, *, runs, quiet):
        if overrides["model.width"] == 12:
            raise HeschlError("too wide")
        return train(recipe, overrides, runs=runs, quiet=quiet)

    held = sweep(DIGITS, choices, train=refuses, runs=tmp_path)
    assert held["failed"] == 1 and held["variants"][-1]["error"] == "too wide"
    with pytest.raises(HeschlError, match="every variant failed"):
        sweep(DIGITS, {"model.width": [12]}, train=refuses, runs=tmp_path / "none")
