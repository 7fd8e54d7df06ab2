"""The commands faithful, manipulate and robust: tables for a person, JSON for a machine, one sentence where input is wrong."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import torch
from typer.testing import CliRunner

from heschl.cli import app
from heschl.run import Run
from heschl.training.fit import train

pytestmark = pytest.mark.slow  # they train, and hold a network to tests

RECIPE = {
    "format": 1,
    "name": "tiny",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 12, "stated": "gender"},
    "split": {"use": "fractions", "validation": 0.2, "test": 0.4, "label": "gender"},
    "clip": {"seconds": 1.0},
    "feature": {"use": "mel.LogMel"},
    "model": {"use": "kws.KWS", "width": 8, "stem": 4, "depth": 1},
    "task": {"use": "classify.Classify", "label": "gender"},
    "train": {"steps": 3, "batch": 16, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return train(RECIPE, runs=tmp_path_factory.mktemp("runs"), quiet=True)


def called(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def next_words(text: str) -> list[str]:
    (line,) = re.findall(r"^next: heschl (.*)$", text, re.MULTILINE)
    return shlex.split(line)


FEW = {
    "faithful": ("--clips", "2", "--compare", "gradient_x_input", "--cells", "time"),
    "manipulate": ("--clips", "4"),
    "robust": ("--clips", "3", "--method", "gradient_x_input"),
}


@pytest.mark.parametrize(
    "command",
    ["faithful", "manipulate"],
)
def test_a_command_tells_a_person_and_a_machine(run, command):
    status, out, err = called(command, run.folder, *FEW[command])
    assert status == 0 and not err
    assert "synthetic speech" in out and "speakers" in out and "Tables and the picture are in" in out
    follow = next_words(out)
    assert follow[0] in FEW and follow[1] == str(run.folder)
    assert called(follow[0], "--help")[0] == 0
    if command == "manipulate":
        assert "by chance" in out and "male voices, frequencies x 1.5" in out and "Guessing" in out
    assert (run.folder / "explain" / command / "test" / f"{command}.svg").exists()


def test_words_for_a_person_and_json_for_a_machine(run):
    status, out, _ = called("faithful", run.folder, *FEW["faithful"], "--json")
    held = json.loads(out)
    assert status == 0 and held["part"] == "test" and held["speakers"] >= 2
    out = called("faithful", run.folder, *FEW["faithful"])[1]
    assert "gradient × input" in out and "loudest first" in out and "moments" in out
    out = called("robust", run.folder, *FEW["robust"])[1]
    assert next_words(out)[0] == "faithful"
    assert "as recorded" in out and "white noise, 20 dB" in out and "guessing 50 %" in out


def test_bad_input_is_one_sentence(run, tmp_path):
    for words, told in (
        (("faithful", tmp_path / "none"), "is not there"),
        (("faithful", run.folder, "--compare", "lime"), "no method 'lime'"),
        (("faithful", run.folder, "--cells", "words"), "no cells 'words'"),
        (("manipulate", run.folder, "--part", "all"), "no part 'all'"),
        (("robust", run.folder, "--method", "lime"), "no method 'lime'"),
    ):
        status, out, err = called(*words)
        assert status == 1 and told in err and err.count("\n") == 1 and not out
    assert called("manipulate")[0] == 2
