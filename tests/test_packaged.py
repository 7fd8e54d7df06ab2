"""The models that come along: small, carded, free of places and people, and opened by name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from heschl.files import read_json, read_text
from heschl.run import open_run, packaged_runs
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
