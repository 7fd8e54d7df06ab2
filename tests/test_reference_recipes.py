"""The reference systems' recipes: what they say is what was published, and each is taken for two steps."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from heschl.files import read_text
from heschl.recipe import load, shipped
from heschl.training.fit import train
from heschl.training.survey import survey

pytestmark = pytest.mark.slow  # `make check` leaves these to `make test`

SMALL = ("crnn-small", "alexnet-small", "audionet-small", "audionet-v1-small", "frame-mlp-small")
# name -> parameters at the corpus' own classes (31 words and silence; ten digits; two sexes), None where data decide
PUBLISHED = {
    "words-crnn": 387_008,
    "words-audionet-v1": 9_988_895,
    "digits-alexnet": 12_808_906,
    "gender-alexnet": 12_800_706,
    "digits-audionet": 17_107_162,
    "gender-audionet": 17_103_058,
    "digits-audionet-audiom": 17_107_162,
    "gender-audionet-audiom": 17_103_058,
    "digits-alexnet-audiom": 12_808_906 + 384 * 192 * 9,  # its fourth convolution is whole
    "gender-alexnet-audiom": 12_800_706 + 384 * 192 * 9,
    "frames-mlp": None,
}


def tiny(name: str, folder: Path) -> dict[str, object]:
    """Overrides that put a tiny tree of the recipe's corpus in the place of its data."""
    use = load(name, check_parts=False).corpus.use
    if use == "spoken":
        return {"corpus.voices": 12}
    importlib.import_module(f"heschl.corpora.{use}").write_tiny(folder)
    return {"corpus.root": str(folder)}


@pytest.mark.parametrize("name", [*PUBLISHED, *SMALL])
def test_a_recipe_begins_with_its_story(name: str) -> None:
    text = read_text(shipped()[name])
    assert text.startswith("# ")
    recipe = load(name)
    assert recipe.name == name
    about = recipe.about
    assert about.what and about.data and about.download and about.minutes
    if name in SMALL:
        assert about.download == "none" and float(about.minutes) < 5
    else:
        assert about.small in SMALL and about.source


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str, tmp_path: Path) -> None:
    """On a tiny tree, with the number of classes that the real one has."""
    from heschl.recipe.parts import build

    made = survey(load(name, tiny(name, tmp_path / "tree")))
    classes = 31 if "words" in name else 10 if "digits" in name else 2
    if PUBLISHED[name] is None:
        assert made.in_shape == (51, 40)
        return
    if "words" not in name:
        assert len(made.labels) == classes
    model = build(made.recipe.model, "model", fill={"in_shape": made.in_shape, "n_outputs": classes})
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[name]


def test_published_trainings() -> None:
    """The solvers' numbers, from their own files."""
    alexnet = load("digits-alexnet").train
    assert (alexnet.steps, alexnet.batch, alexnet.clip_gradient) == (10_000, 100, 5.0)
    assert alexnet.optimiser.args == {"lr": 0.001, "momentum": 0.9}
    # Halved every 2,500 steps: 25 epochs of 10,000 clips in batches of 100.
    assert alexnet.schedule is not None and alexnet.epoch_clips is not None
    assert alexnet.schedule.args == {"epochs": 2500 * alexnet.batch // alexnet.epoch_clips, "gamma": 0.5}
    audionet = load("gender-audionet").train
    assert (audionet.steps, audionet.batch, audionet.clip_gradient) == (50_000, 100, None)
    assert audionet.optimiser.args["lr"] == 1e-4 and audionet.schedule is None
    crnn = load("words-crnn").train
    assert (crnn.epochs, crnn.batch) == (30, 10) and crnn.clip_gradient is None
    assert crnn.schedule is not None and crnn.schedule.args == {"gamma": 0.95}
    for name in ("digits-alexnet-audiom", "digits-audionet-audiom", "gender-audionet-audiom"):
        audiom = load(name).train
        assert (audiom.epochs, audiom.batch, audiom.epoch_clips) == (150, 256, 2048)
    v1 = load("words-audionet-v1").train
    assert (v1.epochs, v1.batch, v1.optimiser.use) == (10, 128, "torch.optim.NAdam")
    assert load("frames-mlp").train.batch == 512 and load("frames-mlp").train.epochs == 9


def test_the_schedule_halves_where_caffe_does() -> None:
    from heschl.training.schedules import step

    epoch_steps = 10_000 // 100
    factors = [step(k, 10_000, epoch_steps, epochs=25, gamma=0.5) for k in (0, 2499, 2500, 4999, 5000, 9999)]
    assert factors == [0.5 ** (k // 2500) for k in (0, 2499, 2500, 4999, 5000, 9999)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PUBLISHED, *SMALL])
def test_two_steps(name: str, tmp_path: Path) -> None:
    overrides = tiny(name, tmp_path / "tree") | {
        "train.steps": 2,
        "train.epochs": None,
        "train.epoch_clips": None,
        "train.batch": 4,
        "machine.workers": 0,
        "machine.threads": 1,
    }
    run = train(name, overrides, runs=tmp_path / "runs", quiet=True)
    assert run.finished
    weights = run.model().state_dict()
    assert all(value.isfinite().all() for value in weights.values() if torch.is_floating_point(value))
