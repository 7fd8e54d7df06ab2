"""Trains the models that come with heschl, by shipped recipes, on openly licensed recordings, and writes their cards.

    python tools/models.py DATA --models words digits

DATA holds the recordings as bench/real.yaml names them. Everybody trains; how good a model is comes from bench/real.py,
which trains the same recipe on folds of speakers and scores each speaker with a network that never heard them.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from heschl.checkpoints import save_weights
from heschl.corpora.split import Split, write_split
from heschl.files import read_json, write_json, write_text
from heschl.recipe.plain import read_yaml, write_yaml
from heschl.run import Run, open_run
from heschl.training.fit import train

HERE = Path(__file__).resolve().parents[1]
WEIGHTS = HERE / "src" / "heschl" / "weights"
SC = "Speech Commands v0.01, a part of 1,618 clips by 1,019 speakers (CC BY 4.0)"
OCEAN = "speechocean762, 67 adults who read English sentences (free for commercial and non-commercial use)"
SPOKEN = "heschl's own synthetic speech (CC0)"


class Model(NamedTuple):
    """What is trained: a recipe, where its data lie under DATA, what it heard, and what must be known of it."""

    recipe: str
    keys: dict[str, Any]
    heard: tuple[str, ...]
    licence: str
    what: str
    limits: str


MODELS = {
    "words": Model(
        "words-kws",
        {"corpus.root": "speech_commands", "corpus.task": None},
        (SC, SPOKEN),
        "CC BY 4.0",
        "Which of thirty English words is said in a second of sound.",
        "Bed, cat and happy have 480 clips, the others ten or fewer: rare words are known less well.",
    ),
    "crnn": Model(
        "words-crnn-adamw",
        {"corpus.root": "speech_commands", "corpus.task": None},
        (SC, SPOKEN),
        "CC BY 4.0",
        "The convolutional recurrent network whose layers are read as STG, TP and IFG, on thirty words.",
        "It is here for its layers; `words` answers better. That its layers stand for areas is a reading, not a finding.",
    ),
    "digits": Model(
        "digits-kws",
        {"corpus.root": "fsdd/index.csv", "also.0.root": "speech_commands"},
        ("the Free Spoken Digit Dataset, 2,000 clips by 4 men (CC BY-SA 4.0)", SC, SPOKEN, OCEAN),
        "CC BY-SA 4.0",
        "Which digit is said.",
        "Its real digits are nearly all by four men at 8 kHz.",
    ),
    "gender": Model(
        "gender-kws",
        {"corpus.root": "speechocean762_adults/utterances.csv"},
        (OCEAN,),
        "as speechocean762",
        "The apparent sex of an adult voice, as the corpus labels it: f or m. It says nothing about gender identity.",
        "It heard adults with Mandarin as their first language, in quiet. Children, and voices of other kinds, it never heard.",
    ),
    "phones": Model(
        "phones-lstm",
        {"corpus.root": "speechocean762_adults"},
        (OCEAN, SPOKEN),
        "as speechocean762",
        "Which of 39 ARPABET phones, or silence, is said at every 10 ms.",
        "Its phone times were made by a machine, from what should have been said, and a third of the frames are silence. "
        "The adults have Mandarin as their first language, and read in quiet.",
    ),
}

CARD = """# {name}

{what}

- Recipe: `{recipe}`, seed {seed}; {parameters:,} parameters; answers: {labels}.
- It heard: {heard}.
- Licence, the strictest of what it heard: {licence}.
- How good: {good}.
- Limits: {limits}
- Not for: identifying people, or deciding anything about them.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--cards", action="store_true", help="train nothing: the cards after new results")
    parser.add_argument("--runs", type=Path, default=Path("runs/models"))
    given = parser.parse_args()
    for name in given.models:
        if given.cards:
            write_text(WEIGHTS / name / "README.md", card(name, open_run(WEIGHTS / name)))
            continue
        model = MODELS[name]
        keys = {
            key: str(given.data / value) if key.endswith(".root") else value
            for key, value in model.keys.items()
        }
        run = train(model.recipe, {**keys, "machine.threads": 1}, runs=given.runs)
        pack(name, run)
        print(f"{name}: {sum(one.stat().st_size for one in (WEIGHTS / name).rglob('*')) / 1e6:.2f} MB")


def pack(name: str, run: Run) -> None:
    """The run without recordings, places and people: recipe, origin, an empty split, weights, card."""
    folder = WEIGHTS / name
    shutil.rmtree(folder, ignore_errors=True)
    shipped = read_yaml(HERE / "src" / "heschl" / "recipes" / f"{run.recipe.name}.yaml")
    recipe = read_yaml(run.folder / "recipe.yaml")
    recipe["corpus"]["root"] = shipped["corpus"]["root"]
    for own, as_shipped in zip(recipe.get("also", []), shipped.get("also", []), strict=True):
        if "root" in own:
            own["root"] = as_shipped["root"]
    write_yaml(folder / "recipe.yaml", recipe)
    write_split(folder / "split.json", Split((), (), (), {}, "speaker", ()))
    about = {"run": run.name, "labels": list(run.labels)}
    save_weights(folder / "checkpoints" / "best.safetensors", run.weights(), about)
    write_text(folder / "README.md", card(name, run))
    kept = ("run", "labels", "in_shape", "parameters", "init_fingerprint", "versions", "start", "stop")
    origin = {key: run.origin[key] for key in kept if key in run.origin}
    origin["corpus"] = {key: value for key, value in run.origin["corpus"].items() if key != "root"}
    write_json(folder / "origin.json", origin)


def card(name: str, run: Run) -> str:
    model = MODELS[name]
    rows = [
        row for row in read_json(HERE / "bench" / "results" / "real.json") if row["network"] == model.recipe
    ]
    rows = [row for row in rows if row["set"] == rows[0]["set"]]  # not those of another fold alone
    return CARD.format(
        name=name,
        what=model.what,
        recipe=model.recipe,
        seed=run.recipe.seed,
        parameters=run.origin["parameters"],
        labels=", ".join(run.labels),
        heard="; ".join(model.heard),
        licence=model.licence,
        limits=model.limits,
        good=_good(rows),
    )


def _good(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "not measured by us yet on speakers that it never heard"
    seeds = f"{len(rows)} seed{'s' * (len(rows) != 1)}"
    folds = rows[0]["folds"]
    which = (
        "folds of speakers" if isinstance(folds, int) else f"{folds.count(',') + 1} of the folds of speakers"
    )
    return (
        f"on real speakers that the scored network never heard ({rows[0]['scores']['n_groups']} speakers, {which}, "
        f"{seeds}):\n  {_scores(rows)}. Chance is {100 * rows[0]['chance']:.1f} %"
    )


def _scores(rows: list[dict[str, Any]]) -> str:
    """Means over seeds, of values and of their intervals over speakers, as README has them."""
    told = []
    words = ("balanced accuracy", "accuracy", "accuracy without silence")
    for word in words:
        key = word.replace(" ", "_")
        found = [row["scores"][key] for row in rows if key in row["scores"]]
        if not found:
            continue  # of frames alone
        value, low, high = (
            [100 * one[name] for one in found if one.get(name) is not None]
            for name in ("value", "low", "high")
        )
        between = f" [{mean(low):.1f}, {mean(high):.1f}]" if low else ""
        told.append(f"{word} {mean(value):.1f} %{between}")
    return ", ".join(told)


if __name__ == "__main__":
    main()
