"""The page of a run: whole, offline, and true to the files that it is made of."""

from __future__ import annotations

import base64
import io
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tests.browser import Browser

from heschl.files import read_json, write_json
from heschl.report.explained import _faded, _taken
from heschl.report.page import write_page
from heschl.report.sounds import heard_groups, sound
from heschl.run import Run, open_run
from heschl.steps.evaluate import evaluate
from heschl.steps.explain import explain_run
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


@pytest.fixture(scope="module")
def explained(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heschl.figures.explanation.save_all", lambda *_: [])  # rendered anew by the page
        patch.setattr("heschl.figures.style.save", lambda *_: [])
        evaluate(run)
        held = explain_run(run, show=3)
    yield run, held
    shutil.rmtree(run.folder / "explain")


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


def test_scores_of_other_weights_are_not_shown_as_these(run, tmp_path):
    """Scored halfway, then trained on: the page shows no number that is not this network's."""
    own = open_run(shutil.copytree(run.folder, tmp_path / run.name))
    evaluate(own)
    path = next(own.folder.glob("evaluate/*/scores.json"))
    held = read_json(path)
    assert "right in" in write_page(own).read_text(encoding="utf-8")
    write_json(path, {**held, "finished": False})
    halfway = write_page(own).read_text(encoding="utf-8")
    assert "right in" in halfway and "It was scored before its training had ended." in halfway
    write_json(path, {**held, "weights": "of another epoch"})
    stale = write_page(own).read_text(encoding="utf-8")
    assert (
        "right in" not in stale and "not scored yet" in stale and "those scores are of other weights" in stale
    )


@pytest.mark.parametrize("told", ["lrp:epsilon_plus", "lrp:epsilon", "aligned:phone", "occlusion_time"])
def test_the_explanation_is_repeated_by_its_own_method(run, told):
    """The options that the page tells lead to the same method, under the name that the folder has."""
    from heschl.report.page import _how_explained
    from heschl.steps.explain import chosen_method

    folder = run.folder / "explain" / told.replace(":", "-")
    held = {"method": told, "target": "the one", "part": "validation", "clips": 2}
    write_json(folder / "explain.json", held)
    try:
        given = shlex.split(_how_explained(run))
    finally:
        shutil.rmtree(run.folder / "explain")
    options = dict(zip(given[::2], given[1::2], strict=True))
    assert options.pop("--part") == "validation" and options.pop("--target") == "the one"
    method = chosen_method(run, options.pop("--method"), options.pop("--preset", None))
    assert not options and method.name == told


@pytest.mark.slow
def test_the_page_is_whole_offline_and_says_what_the_files_say(run):
    evaluate(run)
    text = write_page(run).read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert all(source.startswith(("data:", "#")) for source in parser.sources)
    assert text.count("<script") == 1 and "@import" not in text
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


@pytest.mark.slow
def test_names_from_the_data_cannot_write_into_the_page(run, tmp_path):
    evaluate(run)
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
    assert write_page(copy).read_text(encoding="utf-8").count("<script") == 1  # the page's own


@pytest.mark.slow
def test_recordings_that_have_moved_are_left_out(run, tmp_path):
    evaluate(run)
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
def test_nothing_scrolls_sideways_and_a_line_runs_with_the_sound(run, tmp_path):
    evaluate(run)
    browser = Browser(tmp_path / "profile")
    try:
        tab = browser.tab()
        tab.size(1280)
        tab.go(write_page(run).as_uri())
        for width in (1280, 390):
            tab.size(width)
            wide, seen = tab.ask(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert wide <= seen and width - 20 <= seen <= width  # a scroll bar may take some
        tab.call("Page.bringToFront")
        buttons = "document.querySelectorAll('button.play')"
        assert tab.ask(f"{buttons}.length") == tab.ask("document.querySelectorAll('audio').length") >= 4
        tab.ask(f"document.querySelectorAll('audio').forEach(a => a.muted = true), {buttons}[0].click()")
        left = "parseFloat(document.querySelector('.now:not([hidden])')?.style.left)"
        first = tab.until(left, 20)
        assert tab.until(f"{left} > {first}", 20) and first > 5  # percent; the axis begins right of its names
        assert tab.ask(f"{buttons}[0].getAttribute('aria-label')").startswith("Stop: ")
        tab.ask(f"{buttons}[1].click()")
        tab.until(f"{buttons}[0].getAttribute('aria-label').startsWith('Play: ')", 20)  # one at a time
    finally:
        browser.close()


def test_the_page_lies_in_the_run(run):
    assert write_page(run) == Path(run.folder) / "report.html"


@pytest.mark.slow
def test_what_it_relied_on_is_on_the_page_with_its_answers_and_its_test(explained):
    run, held = explained
    text = write_page(run).read_text(encoding="utf-8")
    assert text.count('class="seen"') == len(held["shown"]) == 3
    answer = read_json(next((run.folder / "explain").glob("*/clips/*/answer.json")))
    positive = answer["sounds"]["positive"]
    assert f"{100 * positive['probability']:.0f}\u202f%" in text
    whole = answer["curves"]["most relevant first"]
    assert f"{100 * np.interp(0.2, *whole):.0f}&#8239;%" in text
    assert "Bach S" in text and "How was it done?" in text and "such claims are often wrong" in text
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#(\w+)"', text)) <= set(ids)
    assert len(text) < 15e6 and write_page(run).read_text(encoding="utf-8") == text
    assert re.findall(r'<audio[^>]*aria-label="[^"]+', text) and "<audio controls>" not in text


@pytest.mark.slow
def test_a_page_without_voices_and_names_holds_neither(explained):
    run, _ = explained
    plain = write_page(run).read_text(encoding="utf-8")
    text = write_page(run, audio=False, pseudonyms=True).read_text(encoding="utf-8")
    speakers = set(run.split.groups.values())
    assert "<audio" in plain and str(run.folder) in plain
    assert any(re.search(rf"\b{speaker}\b", plain) for speaker in speakers)
    assert "<audio" not in text and "base64,UklG" not in text
    said = re.sub(r"data:[^\"']+", "", text)
    assert not [speaker for speaker in speakers if re.search(rf"(?<![\w.#-]){speaker}(?![\w])", said)]
    assert str(run.folder) not in text and str(Path.home()) not in text and "speaker 1" in text


@pytest.mark.slow
def test_pseudonyms_change_no_other_word(run, tmp_path, monkeypatch):
    """Folders may be called as a word of the page is; those of a recipe are hidden however they are written."""
    evaluate(run)
    own = Path(shutil.copytree(run.folder, tmp_path / "O'Brien's speech and hearing laboratory" / "data"))
    path = own / "evaluate" / "test" / "scores.json"
    write_json(path, {**read_json(path), "on": "data"})
    plain = write_page(own, audio=False).read_text(encoding="utf-8")
    monkeypatch.chdir(own)
    for named in (".", own):
        text = write_page(named, audio=False, pseudonyms=True).read_text(encoding="utf-8")
        assert "Brien" in plain and "Brien" not in text and " in RECORDINGS by" in text
        assert "heschl evaluate RUN" in re.sub("['&#39;]*RUN['&#39;]*", "RUN", text)
        for same in ("<style>", "<svg", 'class="card"', "data-time="):
            assert text.count(same) == plain.count(same)
        assert re.search("<style>.*?</style>", text, re.DOTALL)[0] in plain


def test_a_recipe_hides_folders_and_people(tmp_path):
    from types import SimpleNamespace

    from heschl.recipe.plain import read_yaml, write_yaml
    from heschl.report.disguise import Names

    folder = "/home/o'brien/a very long name of a folder " + "that goes on and on " * 8 + "/anna"
    corpus = {
        "use": "brain",
        "root": folder,
        "subjects": ["anna", "ben"],
        "relabel": {"a": {"map": {"/iy/": "iy"}}},
    }
    held = {
        "format": 1,
        "corpus": {**corpus, "pattern": "{speaker}/{label}.wav"},
        "also": [{"use": "table", "root": "anna.csv"}],
        "augment": [{"use": "augment.Noise", "folder": "~/anna/noise"}],
        "train": {"init": "phones-8k"},
    }
    part = SimpleNamespace(args={"root": folder})
    run = SimpleNamespace(
        split=SimpleNamespace(by="subject"), folder=Path("/runs/x"), origin={},
        recipe=SimpleNamespace(corpus=part, also=[], train=SimpleNamespace(init="phones-8k")),
    )  # fmt: skip
    names = Names(run, pseudonyms=True)
    path = tmp_path / "recipe.yaml"
    write_yaml(path, held)
    assert Names(run).recipe(path) == path.read_text(encoding="utf-8")
    text = names.recipe(path)
    path.write_text(text, encoding="utf-8")
    shown = read_yaml(path)
    assert "anna" not in text and "brien" not in text
    assert shown["corpus"]["subjects"] == ["subject 1", "subject 2"] and names.speaker("ben") == "subject 2"
    assert (
        shown["corpus"]["pattern"] == "{speaker}/{label}.wav"
        and shown["corpus"]["relabel"] == corpus["relabel"]
    )
    assert shown["train"] == held["train"] and names.text("init: phones-8k") == "init: phones-8k"
    assert names.corpus("anna") == "RECORDINGS" and names.corpus("spoken") == "spoken"
    assert names.source("the table anna.csv") == "" and names.source("a tree of words") == "a tree of words"


def test_an_alignment_calls_nobody_by_name():
    from heschl.report.align import _disguised

    notes = [
        "subject anna: 3 channels are not in all recordings: left out",
        "r 0.01 of 01",
        "subject joe is left out: x",
    ]
    held = {"subjects": ["anna", "01"], "recordings": "annas_folder", "notes": notes}
    assert _disguised(held, False) is held
    told = _disguised(held, True)
    assert told["recordings"] == "The recordings"
    assert told["notes"][0].startswith("subject 1: 3 channels") and told["notes"][1] == "r 0.01 of subject 2"
    assert told["notes"][2] == "a subject is left out"


def test_a_part_that_was_not_scored_is_not_taken_for_another(run, tmp_path):
    from heschl.types import HeschlError

    own = open_run(shutil.copytree(run.folder, tmp_path / run.name))
    with pytest.raises(HeschlError, match="no scores of the part 'validatoin'"):
        write_page(own, "validatoin")
    assert (
        not (own.folder / "report.html").exists()
        or "validatoin" not in (own.folder / "report.html").read_text()
    )


def test_explanations_of_other_weights_are_not_shown_as_these(run, tmp_path):
    from heschl.report.explained import explanations, outdated

    own = open_run(shutil.copytree(run.folder, tmp_path / run.name))
    shutil.rmtree(own.folder / "explain", ignore_errors=True)
    held = {"method": "lrp:epsilon", "target": "predicted", "clips": 2, "shown": []}
    for name, weights in (("a", own.weights_id), ("b", "of another epoch")):
        write_json(own.folder / "explain" / name / "explain.json", {**held, "weights": weights})
    assert [one.folder.name for one in explanations(own)] == ["a"] and outdated(own) == ["heschl explain"]
    assert "told of it before its training went on is of other weights" in write_page(own).read_text("utf-8")
    (own.folder / "explain" / "b" / "explain.json").unlink()
    assert not outdated(own)
    for verb, file in (
        ("faithful", "explain/faithful/test/scores.json"),
        ("place", "place/a/summary.json"),
        ("align", "align/a/align.json"),
    ):  # what they hold beyond it is not read
        write_json(own.folder / file, {"weights": "of another epoch"})
        assert outdated(own) == [f"heschl {verb}"]
        assert f"What heschl {verb} told of it before" in write_page(own).read_text("utf-8")
        (own.folder / file).unlink()


def test_the_methods_tell_what_it_began_with_and_what_joined_it(tmp_path, monkeypatch):
    from heschl.report.methods import methods

    monkeypatch.chdir(tmp_path)
    said = methods(open_run("digits"), None)["sentences"]
    for words in (
        "Recordings of further corpora (words, spoken) joined the training part.",
        "beginning with the weights of phones-8k",
        "the running mean of its weights (decay 0.995) of the last step was kept",
        "gradients clipped at a norm of 2",
        "classes drawn equally often",
    ):
        assert words in said


def test_a_picture_that_fails_its_test_says_so():
    shares = [0.0, 0.2, 1.0]
    curves = {"most relevant first": [shares, [0.9, 0.8, 0]], "at random": [shares, [0.9, 0.7, 0]]}
    assert "does not show" in _taken(curves)["doubt"]
    curves["most relevant first"] = [shares, [0.9, 0.1, 0]]
    held = _taken(curves)
    assert held["doubt"] == "" and [round(row["share"], 9) for row in held["taken"]] == [0.1, 0.7]
    assert held["whole"] == "90\u202f%"
    for loudest, said in ((0.5, ""), (0.11, "matters as much"), (0.05, "matters more")):
        whole = {**curves, "loudest first": [shares, [0.9, loudest, 0]]}
        whole["most relevant first"] = [shares, [0.9, 0.1, 0]] if loudest > 0.05 else [shares, [0.9, 0.2, 0]]
        assert said in _taken(whole)["beside"] and bool(said) == bool(_taken(whole)["beside"])


def test_a_sound_that_is_answered_otherwise_than_its_recording_says_so():
    curves = {"most relevant first": [[0.0, 1.0], [0.27, 0.05]]}
    played = {"probability": 0.43, "silent": False}
    assert _faded({"sounds": {"original": played}, "curves": curves}) == "27\u202f%"
    assert _faded({"sounds": {"original": {**played, "probability": 0.272}}, "curves": curves}) == ""
    assert _faded({"sounds": {}, "curves": curves}) == ""


@pytest.mark.parametrize(("accuracy", "said"), [(0.62, True), (0.09, False)])
def test_a_balanced_accuracy_is_not_told_as_the_share_of_right_answers(accuracy, said):
    from types import SimpleNamespace

    from heschl.report.page import _headline

    task = SimpleNamespace(args={"label": "word"})
    run = SimpleNamespace(labels=["a", "b"], recipe=SimpleNamespace(task=task), origin={"corpus": {}})
    scores = {"accuracy": {"value": accuracy}, "balanced_accuracy": {"value": 0.07}}
    words = _headline(run, {"kind": "clips", "scores": scores}, None)
    assert "right in 7 of 100 cases" in words and words.endswith("if each were said as often") is said


def test_a_difference_that_rounds_to_nothing_keeps_its_sign():
    from heschl.report.explained import points

    shares = (0.05, -0.049, 0.003, -0.0026, -0.0004, 0.0)
    assert [points(one) for one in shares] == ["+5", "−5", "+0.3", "−0.3", "0", "0"]
