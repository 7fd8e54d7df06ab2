"""`heschl align` and `heschl corpora check` on recordings, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from heschl.cli import app
from heschl.corpora.brain import write_tiny

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
