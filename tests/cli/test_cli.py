"""The command line: help without weight, one sentence where input is wrong, and next lines that work as typed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from heschl.cli import app
from heschl.files import read_csv

RECIPE = """\
format: 1
name: tiny
corpus: {use: spoken, kind: digit, voices: 12}
split: {use: fractions, validation: 0.2, test: 0.4}
clip: {seconds: 1.0}
feature: {use: mel.LogMel}
model: {use: kws.KWS, width: 16, stem: 8, depth: 1}
task: {use: classify.Classify, label: digit}
train: {epochs: 2, batch: 16, optimiser: {use: torch.optim.AdamW, lr: 0.003}}
"""


def commands(group: Any, before: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Every command that there is, and every group of them."""
    for name, one in group.commands.items():
        yield [*before, name]
        if getattr(one, "commands", None):
            yield from commands(one, (*before, name))


COMMANDS = list(commands(typer.main.get_command(app)))
TALKS_ONLY = (
    ["corpora"],
    ["app"],
    ["models", "card"],
)  # nothing for a machine: a list of commands, a server, a text


def heschl(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The real command line, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "heschl.cli", *map(str, words)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        timeout=300,
    )


def called(*words: object) -> tuple[int, str, str]:
    """Status, stdout and stderr of a command, called here."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


# --- help --------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "sys.argv = ['heschl', '--help']\n"
        "from heschl.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pandas', 'matplotlib', 'lightning', 'pydantic', 'yaml', 'soundfile', 'joblib'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "heavy: []" in out and "Usage" in out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(words):
    status, out, _ = called(*words, "--help")
    assert status == 0 and "Example: heschl " in " ".join(out.split())
    if words not in TALKS_ONLY:
        assert "--json" in out


def test_wrong_usage_is_status_2():
    for words in (
        ["nonsense"],
        ["train"],
        ["train", "--nonsense"],
        ["evaluate"],
        ["crossval", "x", "--workers", "none"],
    ):
        assert called(*words)[0] == 2


def test_version():
    assert called("--version")[1].startswith("heschl ")


# --- data --------------------------------------------------------------------------------------------------


def test_corpora_and_recipes_are_listed():
    status, out, _ = called("corpora", "list", "--json")
    held = json.loads(out)
    assert status == 0 and {"words", "spoken", "table"} <= {row["name"] for row in held["layouts"]}
    assert "fsdd" in {row["name"] for row in held["fetch"]}
    assert "fsdd" in called("corpora", "list")[1]
    assert called("recipes")[1] == called("recipes", "list")[1]
    assert "recipes" in json.loads(called("recipes", "list", "--json")[1])


def test_a_strangers_recordings_become_a_table_that_is_checked(tmp_path):
    for speaker in ("ann", "bob", "cem"):
        for label in ("yes", "no"):
            soundfile.write(tmp_path / f"{speaker}_{label}_1.wav", np.sin(np.arange(8000) / 7) * 0.3, 16000)
    soundfile.write(tmp_path / "noise.wav", np.zeros(800), 16000)
    status, out, _ = called("corpora", "table", tmp_path, "--pattern", "{speaker}_{label}_{n}.wav")
    assert status == 0 and "noise.wav" in out
    rows = read_csv(tmp_path / "table.csv")
    assert len(rows) == 6 and rows[0]["speaker"] == "ann"
    words = shlex.split(next(line for line in out.splitlines() if line.startswith("next: "))[6:])
    status, out, _ = called(*words[1:])
    assert status in (0, 1) and "6" in out
    elsewhere = tmp_path / "tables" / "mine.csv"
    assert (
        called("corpora", "table", tmp_path, "--pattern", "{speaker}_{label}_{n}.wav", "--out", elsewhere)[0]
        == 0
    )
    assert (elsewhere.parent / read_csv(elsewhere)[0]["path"]).exists()


def test_a_broken_table_is_told_and_status_1(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("path,label\nnowhere.wav,yes\n", encoding="utf-8")
    status, out, err = called("corpora", "check", table)
    assert status == 1 and "! " in out and "nowhere.wav" in out and "is not there: check the path" in err
    for encoding in ("utf-16", "latin-1"):  # as some spreadsheets save it
        table.write_bytes("path,label\nnowhere.wav,jä\n".encode(encoding))
        status, _, err = called("corpora", "check", table)
        assert status == 1 and "save it as UTF-8" in err and "Traceback" not in err


def test_features_need_a_folder(recipe):
    status, _, err = called("features", recipe)
    assert status == 1 and "--hdf5" in err


@pytest.mark.slow
def test_features_are_written_in_audiomnists_layout(tmp_path):
    from heschl.corpora import audiomnist
    from heschl.features.hdf5 import read_datum, read_list

    audiomnist.write_tiny(tmp_path / "data")
    recipe = tmp_path / "alexnet.yaml"
    recipe.write_text(
        RECIPE.replace(
            "use: spoken, kind: digit, voices: 12", f"use: audiomnist, root: {(tmp_path / 'data').as_posix()}"
        )
        .replace("fractions, validation: 0.2, test: 0.4", "kfold, folds: 3")
        .replace("mel.LogMel", "spectrogram.AudioMnistSpectrogram"),
        encoding="utf-8",
    )
    status, out, err = called("features", recipe, "--hdf5", tmp_path / "out", "--json")
    assert status == 0, err
    held = json.loads(out)
    files = sorted((tmp_path / "out" / "digit").iterdir())
    assert held["clips"] == len(files) > 0 and held["lists"] == 9
    datum = read_datum(files[0])
    assert datum.data.shape == (1, 1, 227, 227) and datum.data.max() == 0
    tested = [read_list(tmp_path / "out" / f"AlexNet_digit_{fold}_test.txt") for fold in range(3)]
    assert sorted(path.name for one in tested for path in one) == [path.name for path in files]


@pytest.mark.slow
def test_features_leave_out_what_cannot_be_read_and_refuse_lengths_before_they_write(tmp_path):
    from heschl.corpora import audiomnist
    from heschl.features.hdf5 import read_list

    audiomnist.write_tiny(tmp_path / "data")
    bad = tmp_path / "data" / "data" / "02" / "3_02_0.wav"
    words = ("features", "digits-alexnet", f"corpus.root={tmp_path / 'data'}", "--hdf5", tmp_path / "out")
    soundfile.write(bad, np.where(np.arange(9600) == 5, np.nan, 0.1), 48000, subtype="FLOAT")
    status, out, err = called(*words)
    assert status == 0, err
    assert "1 clip skipped" in out and "left out: 02/3_02_0" in out and "NaN" in out
    names = {path.name for path in (tmp_path / "out" / "digit").iterdir()}
    assert len(names) == 89 and "AlexNet_3_02_0.hdf5" not in names
    for text in (tmp_path / "out").glob("*.txt"):
        assert {path.name for path in read_list(text)} <= names
    soundfile.write(bad, np.full(48000 + 9600, 0.1), 48000)
    status, _, err = called(*words[:-1], tmp_path / "other")
    one_sentence(status, err, "02/3_02_0", "clip.long")
    assert not (tmp_path / "other").exists()


def test_features_say_which_label_the_layout_does_not_hold(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(4000, 0.1), 8000)
    (tmp_path / "t.csv").write_text(
        "path,digit,speaker,repetition,gender\na.wav,seven,01,0,male\n", encoding="utf-8"
    )
    table = f"corpus={{use: table, root: {(tmp_path / 't.csv').as_posix()}}}"
    status, _, err = called("features", "digits-alexnet", table, "--hdf5", tmp_path / "out")
    one_sentence(status, err, "digit 'seven', which is no number")


# --- bad input: one sentence on stderr, status 1, no traceback, nothing written ------------------------------


def one_sentence(status: int, err: str, *words: str) -> None:
    lines = [line for line in err.splitlines() if line.strip()]
    assert status == 1 and len(lines) == 1 and lines[0].startswith("heschl: "), err
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0], err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("corpus.kind=numbers", ["numbers"]),
        ("corpus.root=/nowhere/at/all", ["/nowhere/at/all", "check the path"]),
        ("train.epoch=3", ["did you mean `train.epochs`"]),
        ("train.epochs=many", ["whole number"]),
        ("train.epochs", ["key=value"]),
        ("model.use=kws.KSW", ["kws.KWS"]),
        ("task.label=digitt", ["digit"]),
        ("corpus.voices=1", ["speaker"]),
        ("task.labels=['0','1','2']", ["digit"]),
        ("format=2", ["format 2"]),
    ],
)
def test_a_wrong_recipe_is_one_sentence(recipe, tmp_path, change, words):
    status, out, err = called("train", recipe, change, "--runs", tmp_path / "runs")
    one_sentence(status, err, *words)
    assert out == "" and not (tmp_path / "runs").exists()


def test_files_that_are_no_recipe_are_one_sentence(tmp_path):
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", encoding="utf-8")
    one_sentence(*called("train", bomb)[::2], "bomb.yaml", "alias")
    one_sentence(*called("train", tmp_path / "no.yaml")[::2], "no.yaml", "not there")
    one_sentence(*called("train", "kws-smal")[::2], "kws-smal")
    one_sentence(*called("recipes", "copy", "nonsense")[::2], "nonsense")
    empty = tmp_path / "empty.yaml"
    empty.write_text("", encoding="utf-8")
    one_sentence(*called("train", empty)[::2], "empty")


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_a_folder_that_is_no_run_is_one_sentence(command, tmp_path):
    one_sentence(*called(command, tmp_path)[::2], "not a run folder")
    one_sentence(*called(command, tmp_path / "gone")[::2], "not there")


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    import errno

    from heschl import files

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    soundfile.write(tmp_path / "a_yes.wav", np.zeros(800), 16000)
    status, _, err = called("corpora", "table", tmp_path, "--pattern", "{speaker}_{label}.wav")
    one_sentence(status, err, "disk is full")
    assert [path.name for path in tmp_path.iterdir()] == ["a_yes.wav"]


def test_an_interruption_that_python_swallows_is_heard_all_the_same():
    """In what is called when an object goes, an exception is told and dropped."""
    from heschl.cli_talk import border

    class Gone:
        def __del__(self):
            raise KeyboardInterrupt

    @border
    def command():
        gone = Gone()
        del gone
        time.sleep(20)

    begun = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(typer.Exit) as ended:
            command()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.exit_code == 130 and time.monotonic() - begun < 10


def test_an_interruption_is_130(recipe, tmp_path, monkeypatch):
    import heschl.training.fit

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(heschl.training.fit, "train", stopped)
    status, _, err = called("train", recipe, "--runs", tmp_path / "runs")
    assert status == 130 and "Traceback" not in err


# --- the whole way, through the real command line ------------------------------------------------------------


@pytest.mark.slow
def test_from_recipe_to_page_through_next_lines(recipe, tmp_path):
    made = heschl("train", recipe, "train.epochs=1", "--runs", "runs", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    seen = []
    for _ in range(3):  # each next line works as typed
        line = made.stdout.strip().splitlines()[-1]
        words = shlex.split(line.removeprefix("next: "))
        assert line.startswith("next: heschl ") and words[0] == "heschl", made.stdout
        seen.append(words[1])
        made = heschl(*words[1:], cwd=tmp_path)
        assert made.returncode == 0, made.stderr
    assert seen == ["evaluate", "report", "explain"]
    run = next((tmp_path / "runs").iterdir())
    assert (run / "report.html").exists() and (run / "evaluate" / "test" / "scores.json").exists()
    again = heschl("train", recipe, "train.epochs=1", "--runs", "runs", cwd=tmp_path)
    assert again.returncode == 0 and "finished" in again.stderr

    held = json.loads(heschl("evaluate", run, "--part", "validation", "--json").stdout)
    assert held["part"] == "validation" and held["synthetic"] is True

    soundfile.write(tmp_path / "good.wav", np.sin(np.arange(16000) / 7) * 0.3, 16000)
    (tmp_path / "bad.m4a").write_bytes(b"\0" * 100)
    heard = heschl("predict", run, tmp_path / "good.wav", tmp_path / "bad.m4a")
    assert heard.returncode == 1 and "ffmpeg" in heard.stderr and "Traceback" not in heard.stderr
    lines = heard.stdout.strip().splitlines()
    assert len(lines) == 2 and re.match(r"file,start,stop,label,probability,p:0,", lines[0])
    rows = json.loads(heschl("predict", run, tmp_path / "good.wav", "--json").stdout)
    assert rows["errors"] == [] and rows["predictions"][0]["label"] in "0123456789"


@pytest.mark.slow
def test_next_lines_work_where_the_test_part_has_no_labels(tmp_path):
    from heschl.corpora import frames

    frames.write_tiny(tmp_path / "data")
    words: list[object] = ["train", "hw1p2-mlp", f"corpus.root={tmp_path / 'data'}", "train.epochs=1"]
    words += ["model.widths=[16]", "--runs", tmp_path / "runs"]
    seen = []
    for _ in range(3):
        status, out, err = called(*words)
        assert status == 0, err
        words = [*shlex.split(out.strip().splitlines()[-1].removeprefix("next: heschl "))]
        seen.append(words[0])
        assert seen != ["evaluate"] or words[2:] == ["--part", "validation"]
    assert seen == ["evaluate", "report", "recipes"]
    status, _, err = called("evaluate", next((tmp_path / "runs").iterdir()))
    one_sentence(status, err, "score another part")


def test_what_is_left_goes_by_the_pace_of_the_work_not_of_what_lay_before_it(monkeypatch, capsys):
    from heschl import cli_talk, waiting

    clock = iter([0.0, 100.0, 111.0])
    monkeypatch.setattr(waiting.time, "monotonic", lambda: next(clock))
    with cli_talk.progress("work", "clips") as told:
        told(1, 101)  # after 100 s of preparing
        told(11, 101)
    assert capsys.readouterr().err == "work: 1 of 101 clips\nwork: 11 of 101 clips, about 2 min left\n"


def test_a_warning_is_one_sentence_said_once(capsys):
    from heschl.cli_talk import warned

    was = warnings.showwarning
    with warned(), warnings.catch_warnings():
        warnings.simplefilter("always")
        for file in ("/anywhere/heschl/steps/methods.py", "/anywhere/heschl/steps/explain.py"):
            warnings.warn_explicit("memory ran out", UserWarning, file, 1)
    assert capsys.readouterr().err == "heschl: memory ran out\n"
    assert warnings.showwarning is was


def test_lists_fold_at_the_terminals_width(monkeypatch, capsys):
    from heschl.cli_talk import show_blocks

    for columns, most in (("50", 50), ("300", 96)):
        monkeypatch.setenv("COLUMNS", columns)
        show_blocks([("name", "2 min", ["a word and another " * 20])])
        lines = capsys.readouterr().out.splitlines()
        assert most - 10 < max(map(len, lines)) <= most
