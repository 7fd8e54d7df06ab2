"""`heschl align` and `heschl corpora check` on recordings, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from heschl.cli import app
from heschl.corpora.brain import write_tiny
from heschl.files import write_text, write_wav

run = CliRunner().invoke


def test_acoustics_on_a_table(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    words = ["align", "acoustics", "--recordings", str(tmp_path / "recordings.csv"), "--shifts", "19"]
    found = run(app, [*words, "--rate", "32", "--band", "1,12", "--runs", str(tmp_path / "runs"), "--json"])
    assert found.exit_code == 1 and "no stretch of 10 s" in found.output  # four seconds each: too short


def test_check_tells_what_was_heard(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    found = run(app, ["corpora", "check", str(tmp_path), "--json"])
    assert found.exit_code == 0
    held = json.loads(found.stdout)
    assert any("min heard" in line for line in held["facts"]) and held["problems"] == []


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    for words, told in (
        (["--band", "wide"], "--band is 'wide'"),
        (["--task", "x"], "belongs to BIDS"),
        (["--kind", "ear"], "kind is 'ear'"),
    ):
        found = run(app, ["align", "acoustics", "--recordings", str(tmp_path), *words])
        assert found.exit_code == 1 and told in found.output.replace("\n", " ")


def test_a_listener_is_aligned_and_the_next_line_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = 1e-6 * rng.standard_normal((2, 64 * 42))
    np.savez(tmp_path / "sub-01.npz", data=data, rate=64, channels=np.array(["A", "B"]), kind="seeg")
    write_wav(tmp_path / "story.wav", 0.1 * rng.standard_normal(40 * 8000).clip(-3, 3), 8000)
    write_text(tmp_path / "heard.csv", "recording,start,stop,audio\nsub-01.npz,1,,story.wav\n")
    words = [
        "align",
        "acoustics",
        "--recordings",
        str(tmp_path / "heard.csv"),
        "--shifts",
        "19",
        "--rate",
        "32",
    ]
    found = run(app, [*words, "--band", "1,12", "--runs", str(tmp_path / "runs"), "--name", "mine"])
    assert found.exit_code == 0, found.output
    assert "The envelope alone is followed in" in found.output and "next: heschl align RUN" in found.output
    assert (tmp_path / "runs" / "acoustics" / "align" / "mine" / "response.csv").exists()
