"""What `heschl check` says of a network of the user's own, and that training bears it out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from heschl.files import write_json
from heschl.recipe import load
from heschl.training.check import check_recipe
from heschl.training.fit import train

Recipe = Callable[..., dict[str, Any]]
BARE = '''
import torch
from torch import nn


class Bare(nn.Module):
    """As people write them: no areas, nothing said of lengths."""

    def __init__(self, in_shape, n_outputs):
        super().__init__()
        self.rnn = nn.GRU(in_shape[0], 8, batch_first=True)
        self.out = nn.Linear(8, n_outputs)

    def forward(self, x):
        return self.out(self.rnn(x.mT)[0].mean(1))
'''


@pytest.fixture
def bare(recipe: Recipe, tmp_path: Path) -> Callable[..., Any]:
    (tmp_path / "bare.py").write_text(BARE, encoding="utf-8")

    def made(**changes: Any) -> Any:
        write_json(tmp_path / "bare.yaml", recipe(model={"use": "bare.Bare"}, **changes))  # JSON is YAML
        return load(tmp_path / "bare.yaml")

    return made


def told(loaded: Any) -> tuple[list[str], dict[str, str]]:
    """The texts of what is wrong, and for each verb that the network cannot be taken to, why."""
    findings = check_recipe(loaded)
    wrong = [one.text for one in findings if one.level == "wrong"]
    refused = [one.text.split("cannot be taken to ")[1] for one in findings if "cannot be taken" in one.text]
    return wrong, dict(one.split(": ", 1) for one in refused)


def test_clips_of_one_length_ask_nothing_of_lengths(bare: Callable[..., Any], tmp_path: Path) -> None:
    wrong, refused = told(bare())
    assert wrong == []
    assert set(refused) == {"probe", "place", "align"}
    assert all("areas" in why for why in refused.values())
    run = train(bare(train={"epochs": 1, "batch": 6}), runs=tmp_path / "runs", quiet=True)
    assert run.finished and all(torch.isfinite(one).all() for one in run.weights().values())


def test_clips_of_their_own_length_stop_it_at_once(bare: Callable[..., Any]) -> None:
    wrong, refused = told(bare(clip={"seconds": None}))
    assert len(wrong) == 1 and "takes no `lengths`" in wrong[0] and not refused


def test_methods_that_are_not_there_or_not_so_are_wrong(bare: Callable[..., Any], tmp_path: Path) -> None:
    mine = "def energy(model, x, target, power=2.0):\n    return x.abs() ** power\n"
    (tmp_path / "ways_of_mine.py").write_text(mine, encoding="utf-8")
    right = {"use": "ways_of_mine.energy", "power": 1.5}
    wrong, _ = told(
        bare(explain=[right, {"use": "ways_of_mine.enregy"}, {"use": "ways_of_mine.energy", "powr": 1}])
    )
    assert len(wrong) == 2, wrong
    assert "explain.1" in wrong[0] and "enregy" in wrong[0]
    assert "explain.2" in wrong[1] and "power" in wrong[1]


def test_a_network_that_lrp_has_no_rule_for_is_told_of(bare: Callable[..., Any], tmp_path: Path) -> None:
    """It can be explained, but not as `heschl explain` does by itself."""
    assert not any("LRP" in one.text for one in check_recipe(bare()))
    (tmp_path / "bare.py").write_text(BARE.replace(".mean(1)", ".sin().mean(1)"), encoding="utf-8")
    sys.modules.pop("bare", None)
    told_of = [one for one in check_recipe(bare()) if "LRP" in one.text]
    assert [one.level for one in told_of] == ["note"]
    assert "`sin`" in told_of[0].text and "--method gradient_x_input" in told_of[0].text
    listed = bare(explain=[{"use": "gradient.gradient_x_input"}])
    assert not any("LRP" in one.text for one in check_recipe(listed))


def test_the_segments_that_explain_takes_out_may_be_named(bare: Callable[..., Any]) -> None:
    shapley = {"use": "perturb.aligned_occlusion", "kind": "mel", "method": "shapley"}
    assert told(bare(explain=[shapley]))[0] == []
    (wrong,) = told(bare(explain=[{**shapley, "segments": [0, 1]}]))[0]
    assert "may not be given" in wrong
