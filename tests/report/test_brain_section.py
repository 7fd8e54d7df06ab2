"""The brain's part of a page: from what `heschl place` wrote, whole, offline, its caveat beside its picture."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from heschl.figures.style import escaped
from heschl.files import read_json, write_json, write_text, write_wav
from heschl.report.brain import brain_section


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """A run folder with a placement of two moments; only the first look moves."""
    from PIL import Image

    folder = tmp_path / "place" / "own"
    (folder / "page").mkdir(parents=True)
    for name in ("0", "1", "2", "3", "0-000", "0-001"):
        Image.new("RGBA", (8, 6), (200, 190, 180, 255)).save(folder / "page" / f"{name}.webp")
    write_text(folder / "page" / "biosemi64.wide.html", "<svg>wide</svg>")
    write_text(folder / "page" / "biosemi64.phone.html", "<svg>phone</svg>")
    write_text(folder / "page" / "surface.html", "<div>turn me</div>")
    write_wav(folder / "sound.wav", 0.1 * np.sin(np.arange(800)), 8000)
    still = {"moments": 0, "box": [0, 0, 0, 0], "shape": [6, 8]}
    area = {
        "centre_mm": [-60, -20, 2],
        "space": "MNI152",
        "radius_mm": 18,
        "source": "A & B 2007",
        "note": "A note.",
    }
    held = {
        "heard": "sofia & co.wav",
        "moment_nAm": 20.0,
        "sound": "sound.wav",
        "areas": {"STG": {**area, "layers": ["conv1"]}, "IFG": {**area, "layers": ["fc6", "fc7"]}},
        "sensors": {"biosemi64": {"inverse": {
            "method": "dSPM", "status": "fitted to simulated data",
            "cross_talk": {"names": ["STG", "IFG"], "matrix": [[1, 0.7], [0.2, 1]], "groups": [["STG", "IFG"]]}}}},
    }  # fmt: skip
    parts = {
        "frames": {
            "times": [0.0, 0.5], "strongest": 1, "limit": 2.512, "unit": "nA m",
            "looks": [{"moments": 2, "box": [0.25, 0.5, 0.5, 0.4], "shape": [6, 8]}, still, still, still]},
        "seen": {"name": "biosemi64", "title": "What 64 electrodes would see"},
    }  # fmt: skip
    write_json(folder / "summary.json", held)
    write_json(folder / "page" / "page.json", parts)
    return SimpleNamespace(folder=tmp_path, current=lambda held: True)  # of its last weights


def test_what_the_section_says_and_holds(run: Any) -> None:
    text = str(brain_section(run))
    assert "<b>Illustrative.</b> A table puts" in text and "conv1 at STG; fc6, fc7 at IFG" in text
    assert text.count("data:image/webp") == 4 + 1 + 2 and text.count('class="part"') == 1
    assert "left:25.0%;top:50.0%;width:50.0%" in text
    assert "data:audio/wav" in text and 'max="1"' in text and 'value="1"' in text
    assert "2.5 nA m" in text and "<svg>wide</svg>" in text and "turn me" in text
    assert "fitted to simulated data" in text and "STG and IFG count as one" in text and "0.70" in text
    assert "A &amp; B 2007" in text and "network time" in text
    assert not re.search('(?:src|href)="(?!data:)', text)  # nothing is fetched
    assert text.index("Illustrative") < text.index("data:image")


def test_without_voices_and_names(run: Any) -> None:
    text = str(brain_section(run, audio=False, pseudonyms=True))
    assert "data:audio" not in text and "sofia" not in text and "a recording" in text


def test_a_name_is_left_out_in_any_spelling(run: Any) -> None:
    """Its apostrophe is written otherwise by each of those who write it; and a name may be a word or a number."""
    path = run.folder / "place" / "own" / "summary.json"
    for name in ('O\'Brien & "Co".wav', "7", "a"):
        write_json(path, {**read_json(path), "heard": name})
        title = f"What 64 electrodes would see while the network hears {name} (illustrative)"
        (path.parent / "page" / "biosemi64.wide.html").write_text(
            f'<svg aria-label="{escaped(title)}"></svg>', encoding="utf-8"
        )
        plain, text = str(brain_section(run)), str(brain_section(run, audio=False, pseudonyms=True))
        assert "Brien" in plain or name in ("7", "a")
        assert (
            "Brien" not in text
            and text.count("hears a recording") >= 2
            and "a recording recording" not in text
        )
        assert "left:25.0%;top:50.0%;width:50.0%" in text and "2.5 nA m" in text


def test_a_run_without_a_placement_has_no_section(tmp_path: Path) -> None:
    assert brain_section(SimpleNamespace(folder=tmp_path)) == ""  # type: ignore[arg-type]


def test_names_given_by_the_author_are_said_to_be_that(run: Any) -> None:
    path = run.folder / "place" / "own" / "summary.json"
    held = read_json(path)
    held["areas"] = {name: {**one, "layers": [name]} for name, one in held["areas"].items()}
    write_json(path, held)
    assert "author named them STG, IFG" in str(brain_section(run))
