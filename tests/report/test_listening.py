"""The listening test: blinded, balanced, and its analysis against numbers counted by hand."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter

import numpy as np
import pytest
from tests.browser import Browser

from heschl.files import read_csv, read_json, write_json
from heschl.report.listening import _measured, _trials, analyse, write_test
from heschl.steps.explain import explain_run
from heschl.types import HeschlError

LABELS = [f"w{k}" for k in range(8)]


class FakeRun:
    def __init__(self, folder):
        self.folder, self.name, self.labels = folder, "fake", tuple(LABELS)


@pytest.fixture
def run(tmp_path, monkeypatch):
    trials = [
        {"clip": f"c{k}", "target": LABELS[k], "kind": "name", "choices": LABELS[k : k + 2], "first": "sound"}
        for k in range(4)
    ] + [
        {"clip": f"c{k}", "target": LABELS[k], "kind": "prefer", "choices": [], "first": "picture"}
        for k in range(4, 8)
    ]
    key = {"test": "abc123", "method": "lrp", "labels": LABELS, "trials": trials}
    write_json(tmp_path / "explain" / "listening" / "abc123" / "key.json", key)
    monkeypatch.setattr("heschl.report.listening.open_run", lambda run: run)
    return FakeRun(tmp_path)


def listener(folder, name, sound=True, picture=False, prefers=("sound",) * 4, test="abc123"):
    """Half of the words come as sound and half as picture; right where it is said so."""
    answers = []
    for k in range(4):
        by = "sound" if k < 2 else "picture"
        right = sound if by == "sound" else picture
        answers.append(
            {"trial": k, "by": by, "choice": LABELS[k] if right else LABELS[k + 1], "seconds": 1.5}
        )
    answers += [
        {"trial": 4 + k, "by": "both", "choice": choice, "plays": 2} for k, choice in enumerate(prefers)
    ]
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"test": test, "listener": name, "answers": answers}))
    return path


def test_shares_are_those_counted_by_hand(run, tmp_path):
    files = [listener(tmp_path, f"l{k}", prefers=["sound"] * 3 + ["picture"]) for k in range(7)]
    files.append(listener(tmp_path, "l7", sound=False, picture=True, prefers=["picture"] * 4))
    held = analyse(run, files)
    assert held["named"]["sound"]["value"] == pytest.approx(7 / 8)
    assert held["named"]["picture"]["value"] == pytest.approx(1 / 8)
    assert held["named"]["sound"]["n"] == 16 and held["listeners"] == 8
    assert held["preferred"]["value"] == pytest.approx(7 * 0.75 / 8)
    # all signs of seven differences of 1 and one of -1: as far out as found are 0 or 1 of another sign
    assert held["difference"]["p"] == pytest.approx(2 * (1 + 8) / 2**8)
    assert held["difference"]["low"] <= 0.75 <= held["difference"]["high"]
    assert "88 %" in held["sentences"][0] and any("p 0.07 over listeners" in s for s in held["sentences"])
    rows = read_csv(tmp_path / "explain" / "listening" / "abc123" / "answers.csv")
    assert len(rows) == 64 and rows[0]["seconds"] == "1.5"
    assert read_json(tmp_path / "explain" / "listening" / "abc123" / "result.json")["sentences"]


def test_few_listeners_are_not_tested(run, tmp_path):
    held = analyse(run, [listener(tmp_path, "a")])
    assert held["difference"]["p"] is None and held["preferred"]["p"] is None
    assert "1 listener is too few for a test" in held["sentences"][-1]
    assert _measured([])["named"]["sound"]["value"] is None


def test_results_that_are_not_are_refused(run, tmp_path):
    good = listener(tmp_path, "a")
    for text, says in (
        ("[]", "not a result"),
        ('{"test": "zzz", "listener": "a", "answers": []}', "belongs to the test zzz"),
        ('{"test": "../..", "listener": "a", "answers": []}', "did not write"),
        ('{"test": "abc123", "listener": "a", "answers": 3}', "was changed"),
        ('{"test": "abc123", "listener": "a", "answers": [{"trial": 99}]}', "that the page does not write"),
        (
            '{"test": "abc123", "listener": "a", "answers": [{"trial": 0, "by": "sound", "choice": "x"}]}',
            "cannot be answered by 'x'",
        ),
        (
            '{"test": "abc123", "listener": "a", "answers": [{"trial": -1, "by": "both", "choice": "sound"}]}',
            "that the page does not write",
        ),
        (
            '{"test": "abc123", "listener": "a", "answers": [{"trial": 0, "by": "both", "choice": "w0"}]}',
            "that the page does not write",
        ),
        (
            '{"test": "abc123", "listener": "a", "answers": ['
            + '{"trial": 4, "by": "both", "choice": "sound"},' * 2
            + '{"trial": 5, "by": "both", "choice": "sound"}]}',
            "answers trial 4 twice",
        ),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(HeschlError, match=says):
            analyse(run, [tmp_path / "bad.json"])
    (tmp_path / "b").mkdir()
    with pytest.raises(HeschlError, match="both of listener 'a'"):
        analyse(run, [good, listener(tmp_path / "b", "a")])
    with pytest.raises(HeschlError, match="no result file"):
        analyse(run, [])


def test_trials_are_balanced_and_every_choice_holds_the_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("heschl.report.listening._hearable", lambda folder, clip: clip != "c9")
    rows = [{"clip": f"c{k}", "target": LABELS[k % 8]} for k in range(13)]
    held = {"_rows": rows, "shown": [row["clip"] for row in rows], "folder": str(tmp_path)}
    trials = _trials(FakeRun(tmp_path), held, 12, np.random.default_rng(0))
    names = [trial for trial in trials if trial["kind"] == "name"]
    assert Counter(trial["first"] for trial in names) == {"sound": 3, "picture": 3}
    assert len({trial["clip"] for trial in trials}) == 12 and "c9" not in {trial["clip"] for trial in trials}
    for trial in trials:
        assert trial["target"] in trial["choices"] and len(set(trial["choices"])) == 4
    assert len({trial["choices"].index(trial["target"]) for trial in names}) > 1
    assert trials == _trials(FakeRun(tmp_path), held, 12, np.random.default_rng(0))
    with pytest.raises(HeschlError, match="12 clips have an explanation"):
        _trials(FakeRun(tmp_path), held, 13, np.random.default_rng(0))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network that has learned little."""
    import torch

    from heschl.training.fit import train

    torch.set_num_threads(1)
    recipe = {
        "format": 1,
        "name": "digits",
        "corpus": {"use": "spoken", "kind": "digit", "voices": 9},
        "split": {"use": "fractions", "validation": 0.12, "test": 0.3, "label": "digit"},
        "clip": {"seconds": 0.8},
        "feature": {"use": "mel.LogMel", "n_mels": 20},
        "model": {"use": "kws.KWS", "width": 16, "depth": 1},
        "task": {"use": "classify.Classify", "label": "digit"},
        "train": {"steps": 12, "batch": 16},
    }
    return train(recipe, runs=tmp_path_factory.mktemp("runs"), quiet=True)


@pytest.mark.slow
def test_the_page_does_not_give_the_answers_away(trained):
    page = write_test(trained, 4)
    text, key = page.read_text(encoding="utf-8"), read_json(page.parent / "key.json")
    shown = json.loads(text.split("TRIALS = ", 1)[1].split(";\nconst page", 1)[0])
    assert [trial["answer"] for trial in shown[:2]] == ["", ""] and shown[2]["answer"] == key["trials"][2][
        "target"
    ]
    assert all(trial["clip"] not in text for trial in key["trials"])
    assert "http://" not in text and "https://" not in text
    assert shown[0]["sound"].startswith("data:audio/wav;base64,UklGR") and write_test(trained, 4) == page


@pytest.mark.slow
def test_no_more_clips_are_explained_than_a_page_needs(trained, tmp_path):
    """The same page as where all of the part is explained, whose tables stay whole."""
    shutil.copytree(trained.folder, tmp_path / "run", ignore=shutil.ignore_patterns("explain"))
    page = write_test(tmp_path / "run", 4)
    folder = tmp_path / "run" / "explain" / "lrp-epsilon_plus-predicted"
    held = read_json(folder / "explain.json")
    assert held["clips"] == len(held["shown"]) == 6 < len(trained.split.test) and held["part"] is None
    whole = explain_run(tmp_path / "run", show=6, sound=False)
    assert whole["clips"] == len(trained.split.test) and whole["shown"] == held["shown"]
    assert write_test(tmp_path / "run", 4) == page
    assert read_json(folder / "explain.json")["clips"] == whole["clips"]


@pytest.mark.slow
def test_a_listener_goes_through_the_page_by_clicks(trained, tmp_path):
    """Every trial, in both halves of the listeners; the saved files are analysed, and the numbers counted by hand."""
    page = write_test(trained, 4)
    key = read_json(page.parent / "key.json")["trials"]
    browser = Browser(tmp_path / "profile")
    try:
        files = [walk(browser.tab(), page, key, who, tmp_path / who) for who in ("a", "b")]
    finally:
        browser.close()
    saved = [read_json(file) for file in files]
    assert [one["turned"] for one in saved] == [True, False]  # a is 97, b is 98
    for k in range(2):
        assert {one["answers"][k]["by"] for one in saved} == {"sound", "picture"}
        assert all(one["answers"][k]["plays"] == (one["answers"][k]["by"] == "sound") for one in saved)
    held = analyse(trained, files)
    # each names the sound right and the picture wrong, and takes the sound in the first of two
    assert held["named"]["sound"]["value"] == 1 and held["named"]["picture"]["value"] == 0
    assert held["preferred"]["value"] == 0.5 and held["difference"]["value"] == 1
    assert held["sentences"][0].startswith("From the sound of the explanation, 100 %")


def walk(tab, page, key, who, downloads):
    """One listener by clicks: right by sound, wrong by picture, then the sound and the picture in turn; the saved file."""
    downloads.mkdir()
    tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    tab.size(1280)
    tab.go(page.as_uri())
    assert tab.ask("document.getElementById('start').disabled")
    tab.ask(f"field.value = {json.dumps(who)}, field.dispatchEvent(new Event('input'))")
    click(tab, "Begin")
    for k, trial in enumerate(key):
        tab.until(f"document.body.innerText.includes('Question {k + 1} of {len(key)}')")
        click(tab, "The sound" if trial["kind"] == "prefer" else trial["target"])  # as fast as a double click
        assert f"Question {k + 1} of" in tab.ask("document.body.innerText")
        tab.until("performance.now() - began > 300")
        source = tab.ask("document.querySelector('main').outerHTML.replace(/base64,[^\"]*/g, '')")
        assert trial["clip"] not in source
        if trial["kind"] == "prefer":
            assert f"“{trial['target']}”" in source
            click(tab, "The sound" if k % 2 == 0 else "The picture")
            continue
        assert tab.ask("document.querySelectorAll('audio, main img').length") == 1
        sound = tab.ask("!!document.querySelector('audio')")
        if sound:
            tab.ask("(a => { a.muted = true; return a.play(); })(document.querySelector('audio'))")
            tab.until("document.querySelector('audio').currentTime > 0")
        wrong = next(name for name in trial["choices"] if name != trial["target"])
        click(tab, trial["target"] if sound else wrong)
    tab.until("document.body.innerText.includes('Thank you')")
    click(tab, "Save the result")
    end = time.monotonic() + 20
    while not (files := list(downloads.glob("*.json"))) and time.monotonic() < end:
        time.sleep(0.1)
    return files[0]


def click(tab, text):
    """A real press of the mouse on the button that says so."""
    at = tab.ask(
        f"(b => {{ b.scrollIntoView(); const r = b.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})"
        f"([...document.querySelectorAll('button')].find(b => b.textContent === {json.dumps(text)}))"
    )
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)
