"""The models that come along: small, carded, free of places and people, and opened by name."""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from heschl.files import read_json, read_text
from heschl.run import open_run, packaged_runs
from heschl.steps.evaluate import evaluate
from heschl.steps.explain import explain, explain_run
from heschl.steps.listen import listen
from heschl.steps.place import place_run
from heschl.steps.predict import predict
from heschl.types import HeschlError

MODELS = sorted(packaged_runs())


@pytest.mark.parametrize("name", MODELS)
def test_small_and_carded_and_without_places_or_people(name: str) -> None:
    folder = packaged_runs()[name]
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 8e6
    card = read_text(folder / "README.md")
    for word in ("It heard", "Licence", "How good", "Limits", "Not for", "speakers"):
        assert word in card
    assert "GPL" not in card
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".yaml", ".md"):
            assert not re.search(r"(^|[\s\"'])/(work|home|root|tmp|Users)/", read_text(path)), path
    split = read_json(folder / "split.json")
    assert not split["train"] and not split["test"]


def test_cards_tell_the_scores_that_were_measured_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "tools"))
    card = importlib.import_module("models").card
    for name, folder in packaged_runs().items():
        assert read_text(folder / "README.md") == card(name, open_run(folder)), (
            "run `python tools/models.py DATA --cards`"
        )


@pytest.mark.parametrize("name", MODELS)
def test_opened_by_name_and_asked(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wave = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    soundfile.write("noise.wav", wave, 16000)
    run = open_run(name)
    assert run.folder == Path("runs") / name and (run.folder / "checkpoints" / "best.safetensors").is_file()
    table = predict(name, ["noise.wav"])
    assert len(table) and set(table["label"]) <= set(run.labels)
    again = open_run(name)
    assert again.name == run.name


@pytest.mark.parametrize("ask", [
    lambda: explain_run("words", files=["missing.wav"]),
    lambda: explain_run("words", files=["text.wav"]),
    lambda: explain_run("words", files=["noise.wav"], target="nonsense"),
    lambda: explain_run("words"),
    lambda: explain("words", ["missing.wav"]),
    lambda: place_run("crnn", [Path("missing.wav")]),
    lambda: listen("words", "missing.wav"),
    lambda: listen("phones", "noise.wav"),
    lambda: evaluate("words"),
    lambda: predict("words", ["noise.wav"], textgrids="out"),
])  # fmt: skip
def test_a_question_that_is_refused_leaves_nothing_behind(
    ask: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("noise.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    Path("text.wav").write_text("no sound", encoding="utf-8")
    there = sorted(Path().rglob("*"))
    with pytest.raises(HeschlError):
        ask()
    assert sorted(Path().rglob("*")) == there


def test_predicting_writes_nothing_and_explaining_in_vain_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("noise.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    assert len(predict("words", ["noise.wav"])) == 1 and not Path("runs").exists()
    soundfile.write("none.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(HeschlError, match="not numbers"):
        explain_run("words", files=["none.wav"])
    assert not list(Path("runs").glob("words/explain/*"))


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [*MODELS, "no-such-model"]:
        Path(name).mkdir()
        with pytest.raises(HeschlError, match="not a run folder"):
            open_run(name)


def test_the_wheel_takes_every_file_that_is_not_code() -> None:
    house = Path(__file__).parents[1]
    told = tomllib.loads(read_text(house / "pyproject.toml"))["tool"]["setuptools"]["package-data"]["heschl"]
    package = house / "src" / "heschl"
    taken = {path for pattern in told for path in package.glob(pattern)}
    there = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert len(there) > 50 and there <= taken, sorted(there - taken)
