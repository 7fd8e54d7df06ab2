"""The page of a run: whole, offline, and true to the files that it is made of."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from heschl.files import read_json
from heschl.report.page import write_page
from heschl.report.sounds import heard_groups, sound
from heschl.run import Run
from heschl.steps.evaluate import evaluate
from heschl.training.fit import train

RECIPE = {
    "format": 1,
    "name": "page",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 12},
    "split": {"use": "fractions", "validation": 0.2, "test": 0.4},
    "clip": {"seconds": 1.0},
    "feature": {"use": "mel.LogMel"},
    "model": {"use": "kws.KWS", "width": 16, "stem": 8, "depth": 1},
    "task": {"use": "classify.Classify", "label": "digit"},
    "train": {"epochs": 2, "batch": 16, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return train(RECIPE, runs=tmp_path_factory.mktemp("runs"), quiet=True)


class Balanced(HTMLParser):
    """Fails where a tag is closed that was not open."""

    VOID = frozenset({"meta", "br", "link", "input", "img", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_run_that_is_not_scored_has_a_page_that_says_so(run):
    text = write_page(run).read_text(encoding="utf-8")
    assert "not scored yet" in text and f"heschl evaluate {run.folder}" in text


def test_the_page_is_whole_offline_and_says_what_the_files_say(run):
    evaluate(run)
    text = write_page(run).read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert all(source.startswith(("data:", "#")) for source in parser.sources)
    assert "<script" not in text and "@import" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    scores = read_json(run.folder / "evaluate" / "test" / "scores.json")["scores"]
    assert f"{100 * scores['balanced_accuracy']['value']:.0f}" in text
    assert "Synthetic speech" in text and "guessing 10" in text
    assert f"{scores['n_groups']} speakers" in text
    assert text.count("<audio") >= 4
    used = set(re.findall(r"var\(--(\w+)\)", text))
    defined = set(re.findall(r"--(\w+):", text))
    assert used <= defined


def test_names_from_the_data_cannot_write_into_the_page(run, tmp_path):
    row = {
        "id": "a",
        "speaker": "<script>x</script>",
        "said": "<b>",
        "answered": "<b>",
        "probability": "0.9",
        "file": "",
    }
    assert heard_groups([row], ["<b>"]) == []  # no file, nothing to hear
    copy = tmp_path / run.folder.name
    shutil.copytree(run.folder, copy)
    folder = copy / "evaluate" / "test"
    for name in ("predictions.csv", "per_speaker.csv"):
        path = folder / name
        path.write_text(
            re.sub(r"\bs0\d\d\b(?!/|\.)", "<script>x</script>", path.read_text("utf-8")), encoding="utf-8"
        )
    assert "<script" not in write_page(copy).read_text(encoding="utf-8")


def test_recordings_that_have_moved_are_left_out(run, tmp_path):
    copy = tmp_path / run.folder.name
    shutil.copytree(run.folder, copy)
    path = copy / "evaluate" / "test" / "predictions.csv"
    path.write_text(path.read_text("utf-8").replace(".ogg", ".gone"), encoding="utf-8")
    text = write_page(copy).read_text(encoding="utf-8")
    assert "<audio" not in text and "How good is it" in text


def test_sounds_are_levelled_and_never_clipped():
    for wave in (np.sin(np.arange(8000) / 9) * 0.001, np.eye(1, 4000)[0] * 0.5, np.zeros(100)):
        url = sound(wave, 8000)
        held, rate = soundfile.read(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))
        assert rate == 8000 and len(held) == len(wave) and np.abs(held).max() <= 0.995
    quiet = soundfile.read(
        io.BytesIO(base64.b64decode(sound(np.sin(np.arange(8000) / 9) * 1e-3, 8000).split(",")[1]))
    )[0]
    assert np.sqrt(np.mean(quiet**2)) == pytest.approx(0.08, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_scrolls_sideways(run, tmp_path, width):
    browser = next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (found := shutil.which(name))
        ),
        None,
    )
    if browser is None:
        pytest.skip("no Chromium here")
    evaluate(run)
    page = write_page(run).read_text(encoding="utf-8")
    # a frame of the wanted width, because a headless window cannot be narrower than 500 px
    probe = (
        "<script>onload=()=>{const d=document.documentElement;"
        "document.title='wide '+d.scrollWidth+' of '+d.clientWidth;}</script>"
    )
    inner = tmp_path / "inner.html"
    inner.write_text(page.replace("</body>", probe + "</body>"), encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(
        f"<iframe id=f src=inner.html style='width:{width}px;height:900px;border:0'></iframe>"
        "<script>onload=()=>{document.title='';setTimeout(()=>{document.body.append("
        "document.getElementById('f').contentDocument.title)},300)}</script>",
        encoding="utf-8",
    )
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-background-networking --allow-file-access-from-files"
    )
    out = subprocess.run(
        [
            browser,
            *flags.split(),
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=3000",
            "--dump-dom",
            outer.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        encoding="utf-8",
        check=False,
    ).stdout
    found = re.search(r"wide (\d+) of (\d+)", out)
    assert found, out[-300:]
    wide, seen = int(found.group(1)), int(found.group(2))
    assert wide <= seen and width - 20 <= seen <= width  # a scroll bar may take some


def test_the_page_lies_in_the_run(run):
    assert write_page(run) == Path(run.folder) / "report.html"
