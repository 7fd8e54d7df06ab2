"""The public functions on a run, and every command: what a user sensibly passes, and what is rubbish."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import torch
import typer
import yaml
from typer.testing import CliRunner

import heschl
from heschl.cli import app
from heschl.recipe import shipped

RECIPE: dict[str, Any] = {
    "format": 1,
    "name": "tiny",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 12},
    "split": {"use": "fractions", "validation": 0.2, "test": 0.4},
    "clip": {"seconds": 1.0},
    "feature": {"use": "mel.LogMel"},
    "model": {"use": "kws.KWS", "width": 16, "stem": 8, "depth": 1},
    "task": {"use": "classify.Classify", "label": "digit"},
    "train": {"steps": 2, "batch": 16, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if path:
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help_an_example_and_json(path):
    command = ALL[path]
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0 and "Example: heschl" in result.stdout
    asked = re.search(rf"Example: heschl {' '.join(path)} ([a-z0-9-]+)", result.stdout)
    if command.params and command.params[0].name == "recipe":
        assert asked is not None and asked[1] in shipped()
    if path not in (("corpora",), ("app",)):  # a group that does nothing of its own; a server
        assert any("--json" in option.opts for option in command.params)
    assert all(option.help for option in command.params if not getattr(option, "hidden", False))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> heschl.Run:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return heschl.train(RECIPE, runs=tmp_path_factory.mktemp("runs"), quiet=True)


def fails(*words: object) -> str:
    """The one sentence that a command ends with, of status 1."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    lines = result.stderr.strip().splitlines()
    assert result.exit_code == 1 and len(lines) == 1 and lines[0].startswith("heschl: "), result.output
    return lines[0]


@pytest.fixture
def wave() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(16000) * 0.05


@pytest.mark.slow
def test_targets_by_label_index_and_clip(run, tmp_path, wave):
    soundfile.write(tmp_path / "a.wav", wave, 16000)
    file = tmp_path / "a.wav"
    first, second = run.split.test[:2]
    assert [one.target for one in heschl.explain(run, [first, second], "lrp", 0)] == ["0", "0"]
    assert [one.target for one in heschl.explain(run, [first, file], "lrp", torch.tensor([3, 2]))] == [
        "3",
        "2",
    ]
    assert heschl.explain(run.folder, str(file), "lrp", "7")[0].target == "7"
    for target, says in ((10, "10 answers"), (2.5, "label, or its index"), ([1, 2], "2 targets for 1 clip")):
        with pytest.raises(heschl.HeschlError, match=says):
            heschl.explain(run, [first], "lrp", target)  # type: ignore[arg-type]
    one, same = heschl.predict(run, file), heschl.predict(run, [file])
    assert len(one) == 1 and one.equals(same)
    assert len(heschl.predict(run, str(file))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"),
    [("nan", "NaN"), ("eight", "8 channels"), ("none", "no samples"), ("text", "not audio"), ("empty", "0 bytes"),
     ("pickle", "not audio"), ("header", "not audio"), ("missing", "not there")],
)  # fmt: skip
def test_rubbish_that_is_called_a_recording(run, tmp_path, wave, name, says):
    path = tmp_path / f"{name}.wav"
    held = {
        "text": b"hello, I am text\n",
        "empty": b"",
        "pickle": pickle.dumps({"a": 1}),
        "header": b"RIFF\x00\x01",
    }
    if name in held:
        path.write_bytes(held[name])
    elif name != "missing":
        sound = {
            "nan": np.where(np.arange(16000) == 5, np.nan, wave),
            "eight": np.stack([wave] * 8, 1),
            "none": wave[:0],
        }
        soundfile.write(path, sound[name], 16000, subtype="FLOAT")
    told = fails("predict", run.folder, path)
    assert says in told and path.name in told


BOMB = "a: &a [x,x,x]\n" + "".join(
    f"{c}: &{c} [*{b},*{b},*{b}]\n" for b, c in zip("abcde", "bcdef", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [(BOMB, "alias"), ("- 1\n", "a mapping of keys"), ("", "is empty"), ("!!python/object/apply:os.getcwd []\n", "tag"),
     ("format: 1\nformat: 1\n", "a second time"), ("format: 9\nname: x\n", "update heschl"), ("a:\n\t- b\n", "line 2"),
     (yaml.safe_dump(RECIPE | {"model": {"use": "kws.KSW"}}), "did you mean `kws.KWS`"),
     (yaml.safe_dump(RECIPE | {"model": {"use": "kws.KWS", "n_outputs": 3}}), "n_outputs"),
     (yaml.safe_dump(RECIPE | {"feature": {"use": "mel.LogMel", "windw": 0.02}}), "window"),
     (yaml.safe_dump(RECIPE | {"corpus": {"use": "words", "root": "/nowhere/at/all"}}), "/nowhere/at/all")],
    ids=["bomb", "list", "empty", "tag", "twice", "newer", "tab", "misspelt", "given", "argument", "root"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["check", pytest.param("train", marks=pytest.mark.slow)])
def test_rubbish_that_is_called_a_recipe(tmp_path, text, says, command):
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    assert says in fails(command, path)


@pytest.mark.slow
def test_runs_that_were_damaged(run, tmp_path):
    import shutil

    damage = {
        "recipe.yaml": (b"format: 1\n", "recipe.yaml: `name` is missing"),
        "split.json": (b"{", "split.json is not JSON"),
        "checkpoints/best.safetensors": (pickle.dumps({"a": 1}), "copy it again"),
        "origin.json": (None, "it has no origin.json"),
    }
    for name, (content, says) in damage.items():
        folder = tmp_path / Path(name).stem
        shutil.copytree(run.folder, folder)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        assert says in fails("evaluate", folder)
    (tmp_path / "best" / "checkpoints" / "best.safetensors").unlink()
    assert "is not there (kept weights" in fails("evaluate", tmp_path / "best")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("run-by-a-pickle",)


def test_rubbish_that_is_called_stored_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    maps = tmp_path / "maps"
    maps.mkdir()
    file = maps / "a.h5"
    for held in ({"x": np.zeros((6, 4, 16))}, {"x_data/inner": np.zeros((6, 4, 16)), "y_data": np.arange(6)}):
        with h5py.File(file, "w") as out:
            for name, value in held.items():
                out[name] = value
        with pytest.raises(heschl.HeschlError, match=r"needs x_data .* and holds x"):
            heschl.read_corpus("imagined", maps)
    with h5py.File(file, "w") as out:
        out["x_data"], out["y_data"] = np.random.default_rng(0).random((60, 4, 8, 64)), np.arange(60) % 3
    whole = file.read_bytes()
    for rest, says in ((whole[: len(whole) // 2], "truncated"), (b"text", "no HDF5"), (b"", "no HDF5")):
        file.write_bytes(rest)
        with pytest.raises(heschl.HeschlError, match=says):
            heschl.read_corpus("imagined", maps)
    for name in ("train.npy", "train_labels.npy"):
        np.save(maps / name, np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(heschl.HeschlError, match="could run code"):
        heschl.read_corpus("frames", maps)
    assert not (tmp_path / "run-by-a-pickle").exists()
