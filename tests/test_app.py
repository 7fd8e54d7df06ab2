"""The page that anybody speaks to: its logic by hand, and the page itself in a browser."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.browser import Browser

import heschl
from heschl.app import answering
from heschl.app.answering import METHODS, Hidden, Model, Understood, accept, loudest, open_models, understand
from heschl.app.look import bars, changed, heard, trouble
from heschl.files import write_wav
from heschl.run import Run
from heschl.training.fit import train
from heschl.types import HeschlError

RATE = 16000
RECIPE = {
    "format": 1,
    "name": "app",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 9},
    "split": {"use": "fractions", "validation": 0.12, "test": 0.3, "label": "digit"},
    "clip": {"seconds": 0.8},
    "feature": {"use": "mel.LogMel", "n_mels": 20},
    "model": {"use": "kws.KWS", "width": 16, "depth": 1},
    "task": {"use": "classify.Classify", "label": "digit"},
    "train": {"steps": 40, "batch": 16, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.01}},
}


def tone(frequency: float, seconds: float = 1.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)


# --- by hand -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", b"hello", "no recording"),
        ("a.wav", b"hello", "cannot be read as sound"),
        ("recipe.yaml", b"format: 1", "no recording"),
        ("best.safetensors", b"\0" * 64, "no recording"),
    ],
)
def test_what_is_no_sound_is_refused_in_a_sentence(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(HeschlError, match=words):
        accept(tmp_path / name)


def test_too_long_too_large_and_nothing_are_refused(tmp_path):
    write_wav(tmp_path / "long.wav", np.zeros(8000 * 31, np.float32), 8000)
    with pytest.raises(HeschlError, match="31 s, and at most 30"):
        accept(tmp_path / "long.wav")
    with (tmp_path / "large.wav").open("wb") as file:
        file.truncate(21_000_000)
    with pytest.raises(HeschlError, match="21 MB, and at most 20"):
        accept(tmp_path / "large.wav")
    for nothing in (None, ""):
        with pytest.raises(HeschlError, match="no recording yet"):
            accept(nothing)


def test_the_loudest_stretch_is_the_one_that_a_search_finds():
    wave = np.random.default_rng(0).normal(size=400) * np.r_[np.ones(220), 3 * np.ones(90), np.ones(90)]
    n = 100
    best = max(range(len(wave) - n + 1), key=lambda k: np.sum(wave[k : k + n] ** 2))
    assert loudest(wave, 100, 1.0) == pytest.approx(best / 100)
    assert loudest(wave, 100, 9.0) == 0.0


def test_a_hidden_band_takes_its_tone_and_leaves_the_other():
    low, high = tone(500), tone(3000)
    left = answering.without(low + high, RATE, Hidden(0.0, 1.0, 2000.0, 4000.0))
    inner = slice(800, -800)
    assert np.abs(left - low)[inner].max() < 0.003
    assert np.abs(answering.without(low + high, RATE, Hidden(0, 1, 400, 600)) - high)[inner].max() < 0.003


def test_a_hidden_moment_is_silent_and_the_others_as_they_were():
    wave = tone(700) + 0.1 * np.random.default_rng(1).normal(size=RATE)
    left = answering.without(wave, RATE, Hidden(0.3, 0.6, 0, 8000))
    assert np.abs(left[round(0.33 * RATE) : round(0.57 * RATE)]).max() < 1e-9
    assert np.allclose(left[: round(0.26 * RATE)], wave[: round(0.26 * RATE)], atol=1e-6)
    assert np.allclose(left[round(0.64 * RATE) :], wave[round(0.64 * RATE) :], atol=1e-6)
    assert answering.without(wave, RATE, Hidden(0.6, 0.3, 0, 8000)) is wave


def test_nothing_that_is_shown_can_write_into_the_page():
    found = Understood(
        np.ones(800) * 0.1, 8000, ("<b>note",), {"<script>": 1.0}, torch.tensor(0), "<script>", 1.0, None,
        {"positive": answering.Sound(np.sin(np.arange(800.0)), 0.5, "<script>", False)},
    )  # fmt: skip
    shown = heard(found) + changed(found, found._replace(share=0.25)) + trouble(HeschlError("<script>"))
    assert "<script" not in shown and "−75 points" in shown and "&lt;script&gt;" in shown


def test_no_model_and_no_run_are_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(answering, "packaged_runs", dict)
    with pytest.raises(HeschlError, match="name a run"):
        open_models()
    with pytest.raises(HeschlError, match="is not there"):
        open_models([tmp_path / "none"])


# --- with a network ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return train(RECIPE, runs=tmp_path_factory.mktemp("runs"), quiet=True)


@pytest.fixture(scope="module")
def model(run: Run) -> Model:
    return next(iter(open_models([run.folder]).values()))


@pytest.fixture(scope="module")
def files(run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two clips of different digits as files."""
    folder, out = tmp_path_factory.mktemp("files"), []
    clips = {clip.labels["digit"]: clip for clip in run.corpus().clips}
    for name in ("7", "2"):
        wave, rate = heschl.files.read_audio(clips[name].signal, clips[name].start, clips[name].stop)
        out.append(folder / f"{name}.wav")
        write_wav(out[-1], wave, rate)
    return out


@pytest.mark.slow
def test_the_answer_is_what_predict_says_and_each_method_explains_it(run, model, files):
    table = heschl.predict(run, files[:1])
    for method in METHODS:
        found = understand(model, files[0], method)
        said = {label: float(table[f"p:{label}"].iloc[0]) for label in run.labels}
        assert found.shares == pytest.approx(said, abs=1e-5)
        assert found.of == table["label"].iloc[0] and found.picture.relevance.any()
    assert understand(model, files[0], "lrp", "2").of == "2"
    with pytest.raises(HeschlError, match="no answer 'twwo'"):
        understand(model, files[0], "lrp", "twwo")
    assert f"It hears “{found.of}”" in bars(found, model)


@pytest.mark.slow
def test_hiding_all_but_nothing_changes_nothing_and_silence_is_refused(model, files, tmp_path):
    before = understand(model, files[0])
    length = len(before.wave) / before.rate
    same = answering.hide(model, before, Hidden(0.0, 0.0, 0, 8000))
    assert same.share == pytest.approx(before.share, abs=0.01)  # through 16 bits
    other = answering.hide(model, before, Hidden(0.0, 0.4 * length, 0, 8000))
    assert abs(other.share - before.share) > 0.01 and other.of == before.of
    shares, share = answering.peek(model, before, Hidden(0.0, 0.4 * length, 0, 8000))
    assert share == pytest.approx(other.share, abs=1e-6) and shares == pytest.approx(other.shares, abs=1e-6)
    with pytest.raises(HeschlError, match="Nothing is left"):
        answering.hide(model, before, Hidden(0.0, length + 1, 0, 8000))
    write_wav(tmp_path / "quiet.wav", np.zeros(8000, np.float32), 8000)
    with pytest.raises(HeschlError, match="silent"):
        understand(model, tmp_path / "quiet.wav")


@pytest.mark.slow
def test_several_at_once_get_what_each_alone_gets(model, files):
    alone = [understand(model, file) for file in files]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda file: understand(model, file), files * 4))
    for one, other in zip(alone * 4, together, strict=True):
        assert one.shares == pytest.approx(other.shares, abs=1e-6)
        assert np.allclose(one.picture.relevance, other.picture.relevance, atol=1e-6)


@pytest.mark.slow
def test_a_long_recording_is_cut_where_it_is_loudest_and_says_so(model, files, tmp_path):
    wave, rate = heschl.files.read_audio(files[0])
    write_wav(
        tmp_path / "long.wav", np.r_[np.zeros(5 * rate), wave, np.zeros(3 * rate)].astype(np.float32), rate
    )
    found = understand(model, tmp_path / "long.wav")
    assert found.of == understand(model, files[0]).of and "hears 0.8 s" in found.notes[0]
    start = float(re.findall(r"from ([\d.]+)", found.notes[0])[0])
    assert 5 - 0.5 < start < 5 + len(wave) / rate


@pytest.mark.slow
def test_a_run_of_foreign_parts_is_not_opened(run, tmp_path):
    part = run.recipe.model.model_copy(update={"use": "collections.OrderedDict"})
    strange = Run(run.folder, run.recipe.model_copy(update={"model": part}), run.origin, trusted_only=True)
    with pytest.raises(HeschlError, match="heschl's own parts"):
        strange.model()


# --- in a browser ------------------------------------------------------------------------------------------

CHOOSE = """(([id, value]) => {{ const e = document.querySelector(id + ' input[type=number]'); e.value = value;
for (const kind of ['input', 'change', 'blur']) e.dispatchEvent(new Event(kind, {{bubbles: true}})); }})({})"""


@pytest.mark.slow
def test_two_people_upload_see_hide_and_are_refused(model, files, tmp_path):
    pytest.importorskip("gradio")
    from heschl.app.web import launch

    browser = Browser(tmp_path / "profile")
    app, address, _ = launch({model.name: model}, prevent_thread_lock=True, quiet=True)
    try:
        assert address.startswith("http://127.0.0.1:")
        tabs = [browser.tab(), browser.tab()]
        for tab in tabs:
            tab.size(1280)
            tab.go(address)
            tab.until("!!document.querySelector('#given input[type=file]')")
        for tab, file in zip(tabs, files, strict=True):  # both ask before either has its answer
            tab.upload("#given input[type=file]", file)
        for tab, file in zip(tabs, files, strict=True):
            expected = understand(model, file)
            tab.until("document.querySelector('#said').innerText.includes('It hears')", 180)
            assert f"It hears “{expected.of}”" in tab.ask("document.querySelector('#said').innerText")
            share = f"{100 * expected.share:.0f}\u202f%"
            assert share in tab.ask("document.querySelector('#sounds').innerText")
            assert tab.ask("document.querySelectorAll('#sounds audio').length") >= 2
            assert tab.ask("!!document.querySelector('#picture svg image')")
        first, second = tabs
        first.call("Page.bringToFront")
        first.ask("(a => { a.muted = true; a.play(); })(document.querySelector('#sounds audio'))")
        first.until("document.querySelector('#sounds audio').currentTime > 0", 20)  # it plays
        before = second.ask("document.querySelector('#hidden').innerText")
        brushed = "document.querySelector('#picture .brush.desk svg').getBoundingClientRect()"
        first.ask(f"{brushed}, document.querySelector('#picture .brush.desk').scrollIntoView()")
        x, y, wide, high = first.ask(f"(r => [r.x, r.y, r.width, r.height])({brushed})")

        def mouse(kind: str, along: float, down: float) -> None:
            at = {"x": x + along * wide, "y": y + down * high}
            first.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **at)

        mouse("mousePressed", 0.2, 0.3)
        for k in range(1, 7):  # the answer changes while it is still being drawn
            mouse("mouseMoved", 0.2 + 0.06 * k, 0.3 + 0.08 * k)
        first.until("/before.*now/s.test(document.querySelector('#hidden').innerText)", 180)
        mouse("mouseReleased", 0.6, 0.8)
        first.until("!!document.querySelector('#hidden svg')", 180)  # and is explained when it is done
        told = first.ask("document.querySelector('#brush textarea').value").split()
        start, stop, low, high_hz = map(float, told)
        found = understand(model, files[0])
        part = answering.hide(model, found, Hidden(start, stop, low, high_hz))
        assert f"{100 * part.share:.0f}\u202f% now" in first.ask(
            "document.querySelector('#hidden').innerText"
        )
        assert 0 < start < stop < len(found.wave) / found.rate and 0 < low < high_hz < 8000
        mouse("mousePressed", 0.5, 0.5)
        mouse("mouseReleased", 0.5, 0.5)  # a click takes it back
        first.until("document.querySelector('#hidden').innerText.includes('Drag over')", 180)
        first.ask(
            "[...document.querySelectorAll('#hide button')].find(b => /numbers/.test(b.innerText)).click()"
        )
        first.until("!!document.querySelector('#stop input[type=number]')")
        first.ask(CHOOSE.format("['#stop', 0.4]"))
        first.until("/before.*now/s.test(document.querySelector('#hidden').innerText)", 180)
        assert second.ask("document.querySelector('#hidden').innerText") == before  # not touched by the other
        outside = "performance.getEntriesByType('resource').map(e => e.name).filter(n => /^(http|ws)/.test(n) && !n.includes('127.0.0.1'))"
        assert first.ask(outside) == []
        for width in (1280, 390):
            first.size(width, dark=True)
            wide, seen = first.ask(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert wide <= seen
        write_wav(tmp_path / "long.wav", np.full(8000 * 31, 0.1, np.float32), 8000)
        with (tmp_path / "large.wav").open("wb") as large:
            large.truncate(21_000_000)
        (tmp_path / "bad.wav").write_bytes(b"this is no sound")
        (tmp_path / "recipe.yaml").write_text("format: 1")
        third = browser.tab()
        third.size(390)
        third.go(address)
        for name, words in (
            ("recipe.yaml", "is no recording"),
            ("large.wav", "21 MB, and at most 20"),
            ("bad.wav", "cannot be read"),
            ("long.wav", "31 s, and at most 30"),
        ):
            third.until("!!document.querySelector('#given input[type=file]')", 180)
            third.upload("#given input[type=file]", tmp_path / name)
            third.until(
                f"[...document.querySelectorAll('[role=alert]')].some(e => e.innerText.includes('{words}'))",
                180,
            )
            if name == "bad.wav":  # it lies there as if it were a recording: another person brings the next
                third.go(address)
        edges = "[...document.querySelectorAll('#given, #said, #ask')].every(e => e.getBoundingClientRect().right <= innerWidth)"
        third.until(edges, 20)  # gradio lays the page out a moment after it is there
    finally:
        browser.close()
        app_close(app)


def app_close(app) -> None:
    app.blocks.close(verbose=False)
