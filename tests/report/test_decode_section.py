"""The decoding on a run's page: what the files say, caveats first, nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure

from heschl.figures.style import INK, save
from heschl.files import write_json
from heschl.report.decode import decode_score, decoded_facts, decoding


def score(value: float, p: float | None = 0.005) -> dict[str, Any]:
    low, high = value - 0.02, value + 0.03
    return {
        "top_1": {"value": value, "low": low, "high": high, "chance": 0.05},
        "top_5": {"value": value + 0.2, "low": low + 0.2, "high": high + 0.2, "chance": 0.25},
        "p": p,
        "permutations": 200,
    }


HELD = {
    "words": 20,
    "trials": 320,
    "subjects": 2,
    "simulated": True,
    "interval": "over 4 blocks of 2 subjects",
    "network": score(0.65),
    "linear": score(0.45),
    "shuffled": {"network": score(0.05, 0.42), "linear": score(0.06, 0.3)},
    "caveats": ["Simulated: a formula.", "2 subjects: <few>."],
    "pictures": [
        {"file": "ranks.svg", "title": "How often", "alt": "first in 65 %"},
        {"file": "gone.svg", "title": "Not there", "alt": "nothing"},
    ],
}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    write_json(tmp_path / "decode" / "scores.json", HELD)
    figure = Figure()
    figure.subplots().plot([0, 1], color=INK)
    save(figure, tmp_path / "decode" / "ranks")
    return SimpleNamespace(folder=tmp_path, current=lambda held: True)  # of its last weights


def test_scores_stand_beside_chance_a_linear_decoder_and_shuffled_words(run: Any) -> None:
    held = decoding(run)
    assert held == HELD
    shown = decode_score(held)
    assert shown["value"] == "65.0\u202f%" and (shown["low"], shown["high"]) == pytest.approx((63, 68))
    assert shown["chance"] == 5 and "p = 0.005 (200 draws)" in shown["sentence"]
    assert "320 trials of 2 simulated listeners, one out of 20" in shown["what"]
    facts = decoded_facts(run, held)
    assert [row["first"].split(" [")[0] for row in facts["rows"]] == [
        f"{share}\u202f%" for share in ("65.0", "45.0", "5.0", "6.0")
    ]
    assert facts["caveats"] == ["2 subjects: <few>."] and not facts["explained"] and not facts["controlled"]


def test_pictures_take_the_pages_colours_and_missing_ones_are_left_out(run: Any) -> None:
    (picture,) = decoded_facts(run, HELD)["pictures"]
    assert picture["caption"] == "first in 65 %" and 'aria-label="first in 65 %"' in picture["svg"]
    assert "var(--ink)" in picture["svg"] and INK not in picture["svg"]
    ids = re.findall(r'id="([^"]+)"', picture["svg"])
    assert ids and all(one.startswith("ranks-") for one in ids)


def test_a_run_without_decoding_has_none(tmp_path: Path) -> None:
    assert decoding(SimpleNamespace(folder=tmp_path)) is None  # type: ignore[arg-type]
