"""The process that draws beside: what it is asked for is done there, and what goes wrong there is told here."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from heschl.steps.place_pen import drawing
from heschl.types import HeschlError


def _write_pid(path: Path) -> None:
    path.write_text(str(os.getpid()), encoding="utf-8")


def _refuse(sentence: str) -> None:
    raise HeschlError(sentence)


class _Odd(Exception):
    """Pickles, and does not come back."""

    def __init__(self, ink: str, paper: str) -> None:
        super().__init__(f"{ink} on {paper}")


def _fail_oddly() -> None:
    raise _Odd("blue", "black")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_it_draws_elsewhere_tells_its_errors_and_its_end(tmp_path: Path) -> None:
    with drawing() as pen:
        pen(_write_pid, tmp_path / "pid")
        pen.wait()
        assert int((tmp_path / "pid").read_text(encoding="utf-8")) != os.getpid()
        pen(_refuse, "there is no ink")
        with pytest.raises(HeschlError, match="there is no ink"):
            pen.wait()
        pen(_fail_oddly)
        with pytest.raises(RuntimeError, match="_Odd: blue on black"):
            pen.wait()
        pen(_write_pid, tmp_path / "again")  # an error does not end it
        pen.wait()
        pen(_die)
        with pytest.raises(HeschlError, match="was stopped from outside"):
            pen.wait()
    assert (tmp_path / "again").exists()
