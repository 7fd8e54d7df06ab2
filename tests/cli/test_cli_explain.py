"""heschl explain: what it says, and what it refuses."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from heschl.cli import app
from heschl.types import HeschlError

RUNNER = CliRunner()
HELD = {
    "clips": 300,
    "shown": ["a", "b"],
    "method": "lrp:epsilon_plus",
    "target": "predicted",
    "synthetic": True,
    "sounds": {
        name: {"mean": mean, "n": 2}
        for name, mean in (("original", 0.9), ("positive", 0.95), ("negative", 0.0), ("rest", 0.2))
    },
    "summary": [
        {"kind": "phone", "name": "S", "relevance": 0.4, "area": 0.1, "difference": 0.3, "speakers": 7, "p_holm": 0.02},
        {"kind": "band", "name": "0 to 300 Hz", "relevance": 0.1, "area": 0.2, "difference": -0.1, "speakers": 7,
         "p_holm": None},
    ],
    "summary_note": "1 of 2 regions has no test",
    "skipped": 3,
    "folder": "runs/x/explain/lrp-epsilon_plus-predicted",
}  # fmt: skip

ROWS = [
    {"clip": "a", "answered": "yes", "answered_probability": 0.8, "said": ""},
    {"clip": "b", "answered": "yes", "answered_probability": 0.6, "said": "no"},
]


@pytest.fixture
def asked(monkeypatch):
    calls = []

    def explain_run(run, part, **options):
        calls.append({"run": run, "part": part, **options})
        return {**HELD, "_rows": ROWS}

    monkeypatch.setattr("heschl.steps.explain.explain_run", explain_run)
    monkeypatch.setattr("heschl.steps.explain.by_default", lambda run: ["lrp"])
    return calls


def test_a_person_reads_sentences_and_a_machine_json(asked):
    told = RUNNER.invoke(app, ["explain", "runs/x", "--clips", "a", "--clips", "b", "--target", "true"])
    assert told.exit_code == 0, told.output
    for words in (
        "300 clips of synthetic speech, explained by lrp:epsilon_plus",
        "2 of them are drawn and heard; --show N for more",
        "90 % hearing all of it, 95 % hearing only what it relied on",
        "S",
        "40 %",
        "0.02",
        "1 of 2 regions has no test.",
        "3 clips could not be explained: skipped.csv says why",
        "a: it hears “yes” (80 %)",
        "b: it hears “yes” (60 %, it was “no”)",
        "All of it is in runs/x/explain/lrp-epsilon_plus-predicted",
        "next: heschl faithful runs/x",
    ):
        assert words in told.output, words
    assert asked[0]["clips"] == ["a", "b"] and asked[0]["target"] == "true" and asked[0]["sound"] is True
    told = RUNNER.invoke(
        app, ["explain", "runs/x", "--json", "--no-audible", "--show", "4", "--workers", "2"]
    )
    assert json.loads(told.stdout)["clips"] == 300 and "_rows" not in told.stdout
    assert (
        "it hears" not in RUNNER.invoke(app, ["explain", "runs/x"]).output
    )  # of a whole part, clips.csv does
    assert asked[1] | {"sound": False, "show": 4, "workers": 2} == asked[1]


def test_methods_are_compared(monkeypatch):
    named = []

    def compare(run, methods, part, **options):
        named.extend(methods)
        row = {
            "method": "lrp",
            "other": "occlusion",
            "rank_correlation": 0.5,
            "top_overlap": 0.3,
            "chance_overlap": 0.1,
        }
        return {"clips": 2, "methods": methods, "agreement": [row], "folder": "there"}

    monkeypatch.setattr("heschl.steps.explain.compare", compare)
    told = RUNNER.invoke(app, ["explain", "runs/x", "--compare", "lrp, occlusion"])
    assert named == ["lrp", "occlusion"] and "0.500" in told.output and "there" in told.output
    told = RUNNER.invoke(app, ["explain", "runs/x", "--compare", "lrp,occlusion", "--method", "lrp"])
    assert told.exit_code == 2 and "--compare names the methods" in told.output


def test_listening_results_are_told(monkeypatch):
    held = {"sentences": ["From the sound, 80 %."], "folder": "there"}
    monkeypatch.setattr("heschl.report.listening.analyse", lambda run, files: held)
    told = RUNNER.invoke(app, ["explain", "runs/x", "--listening-results", "a.json"])
    assert told.exit_code == 0 and "From the sound, 80 %." in told.output


def test_bad_input_is_one_sentence_and_status_one(monkeypatch):
    told = RUNNER.invoke(app, ["explain", "no/such/run"])
    assert told.exit_code == 1 and told.output.count("\n") == 1 and "is not there" in told.output

    def refused(*args, **options):
        raise HeschlError("--target is '12', which the network cannot answer: it knows 0, 1")

    monkeypatch.setattr("heschl.steps.explain.explain_run", refused)
    monkeypatch.setattr("heschl.steps.explain.by_default", lambda run: ["lrp"])
    told = RUNNER.invoke(app, ["explain", "runs/x", "--target", "12"])
    assert told.exit_code == 1 and told.output.startswith("heschl: --target is '12'")


@pytest.mark.parametrize(
    ("option", "beside"),
    [
        (["--listening-test", "4"], ["--file", "my.wav", "--target", "3"]),
        (["--listening-test", "4"], ["--workers", "2"]),
        (["--listening-results", "a.json"], ["--listening-test", "4"]),
        (["--listening-results", "a.json"], ["--no-audible"]),
    ],
)
def test_what_chooses_for_itself_takes_nothing_in_silence(option, beside):
    told = RUNNER.invoke(app, ["explain", "runs/x", *option, *beside])
    named = ", ".join(one for one in beside if one.startswith("--"))
    assert told.exit_code == 2 and f"{option[0]} does not take {named}: leave" in told.output, told.output


@pytest.mark.parametrize(
    "given",
    [
        ["runs/x", "--clips", "a", "b", "c", "--no-audible"],
        ["--clips", "a", "runs/x", "--clips", "b", "c", "--no-audible"],
        ["runs/x", "--no-audible", "--clips", "a", "--clips", "b", "--clips", "c"],
    ],
)
def test_an_option_takes_all_values_that_follow_as_a_shell_spreads_them(asked, given):
    told = RUNNER.invoke(app, ["explain", *given])
    assert told.exit_code == 0, told.output
    assert asked[0]["clips"] == ["a", "b", "c"] and str(asked[0]["run"]) == "runs/x"
    assert RUNNER.invoke(app, ["explain", "runs/x", "--file", "a.wav", "b.wav"]).exit_code == 0
    assert [str(one) for one in asked[1]["files"]] == ["a.wav", "b.wav"]


@pytest.mark.parametrize("given", [["b"], ["--clips", "a", "b", "--file", "c.wav"]])
def test_a_value_that_belongs_to_no_option_is_refused(asked, given):
    told = RUNNER.invoke(app, ["explain", "runs/x", *given])
    assert told.exit_code == 1 and "b is behind no option" in told.output and not asked
