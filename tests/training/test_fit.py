"""From a recipe to a run: what is written, what is refused, what is started from, what is chosen."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import heschl
from heschl.files import read_csv, read_json
from heschl.recipe import load
from heschl.run import open_run
from heschl.training.check import check_recipe
from heschl.training.fit import train
from heschl.training.keeper import Keeper
from heschl.training.start import put_weights, read_start
from heschl.training.survey import survey
from heschl.types import HeschlError

Recipe = Callable[..., dict[str, Any]]
BASE: dict[str, Any] = {
    "name": "small",
    "corpus": "spoken",
    "split": "fractions",
    "feature": "mel.LogMel",
    "model": "kws.KWS",
    "task": {"use": "classify.Classify", "label": "word"},
    "train": {"epochs": 9},
}


def short(**changes: Any) -> dict[str, Any]:
    return {"epochs": 1, "batch": 6, "optimiser": {"use": "AdamW", "lr": 0.01}, **changes}


def test_a_run_holds_what_it_promises(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = heschl.train(recipe(), runs=tmp_path)
    folder = run.folder
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    expected = {
        "recipe.yaml",
        "origin.json",
        "split.json",
        "history.csv",
        "curves.png",
        "skipped.csv",
        "train.log",
    }
    assert names == expected | {"checkpoints/best.safetensors", "checkpoints/last.ckpt"}
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert {"train_loss", "validation_loss", "validation_balanced_accuracy", "learning_rate"} <= set(
        run.history[0]
    )
    origin = read_json(folder / "origin.json")
    assert origin["labels"] == ["no", "yes", "zero"] and origin["parts"]["train"]["clips"] == len(
        run.split.train
    )
    assert origin["stop"] and origin["versions"]["torch"] and origin["corpus"]["fingerprint"]
    assert "epoch 2" in (folder / "train.log").read_text(encoding="utf-8")
    model = run.model()
    assert not model.training and sum(one.numel() for one in model.parameters()) == origin["parameters"]
    assert set(run.split.train) | set(run.split.validation) | set(run.split.test) == set(run.corpus().by_id)
    capsys.readouterr()
    again = heschl.train(recipe(), runs=tmp_path)
    assert again.folder == folder and "is finished" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_the_best_weights_are_those_of_the_best_row(recipe: Recipe, tmp_path: Path) -> None:
    from heschl.checkpoints import about_weights

    run = train(recipe(train=short(epochs=5, checkpoint_every=1, monitor="loss")), runs=tmp_path, quiet=True)
    losses = [row["validation_loss"] for row in run.history]
    best = losses.index(min(losses)) + 1
    assert about_weights(run.folder / "checkpoints" / "best.safetensors")["epoch"] == best
    for name, value in run.weights(f"epoch-{best:04d}").items():
        assert torch.equal(run.weights()[name], value)
    assert all(
        torch.equal(value, run.weights("last")[name]) for name, value in run.weights("epoch-0005").items()
    )
    with pytest.raises(HeschlError, match="epoch-0005"):
        run.weights("epoch-0009")


@pytest.mark.slow
def test_it_learns(recipe: Recipe, tmp_path: Path) -> None:
    run = train(recipe(train=short(epochs=20, draws="balanced", ema=0.9)), runs=tmp_path, quiet=True)
    assert run.history[-1]["train_balanced_accuracy"] > 0.9
    assert max(row["validation_balanced_accuracy"] for row in run.history) > 0.9


def test_validation_scores_are_those_of_the_kept_network(recipe: Recipe, tmp_path: Path) -> None:
    """Recomputed clip by clip, through the run alone, by scikit-learn."""
    from sklearn.metrics import balanced_accuracy_score

    from heschl.features.waveform import fit_length
    from heschl.run import hear
    from heschl.steps.networks import read_wave

    run = train(recipe(train=short(epochs=2, ema=0.5)), runs=tmp_path, quiet=True)
    corpus, feature, model, task = run.corpus(), run.feature(), run.model(), run.task()
    truth, guess, losses = [], [], []
    for one in run.split.validation:
        clip = corpus.by_id[one]
        wave = torch.from_numpy(read_wave(clip, 8000))[None]
        wave, _ = fit_length(wave, torch.tensor([wave.shape[1]]), 2000, "centre", "centre")
        with torch.no_grad():
            logits = hear(feature, model, wave)
        truth.append(task.target(clip))
        guess.append(int(logits.argmax()))
        losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor(truth[-1:]))))
    best = run.origin["best"]
    assert best["validation_balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, guess))
    assert best["validation_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_the_last_weights_are_the_running_mean_as_the_others_are(recipe: Recipe, tmp_path: Path) -> None:
    run = train(recipe(train=short(ema=0.9, checkpoint_every=1)), runs=tmp_path, quiet=True)
    mean, last = run.weights("epoch-0001"), run.weights("last")
    assert mean.keys() == last.keys() and all(torch.equal(mean[name], last[name]) for name in mean)


def test_early_stopping_ends_and_stays_ended(recipe: Recipe, tmp_path: Path) -> None:
    frozen = short(epochs=30, early_stopping=2, optimiser={"use": "SGD", "lr": 0.0}, monitor="accuracy")
    run = train(recipe(train=frozen), runs=tmp_path, quiet=True)
    assert len(run.history) == 3 and run.finished
    assert len(train(recipe(train=frozen), runs=tmp_path, quiet=True).history) == 3


def test_how_much_better_counts_for_patience_alone(tmp_path: Path) -> None:
    """The best weights are those of the best score, however little better; equal scores do not begin patience anew."""
    from types import SimpleNamespace as Plain

    stopping = {"patience": 3, "min_delta": 0.1}
    scores = [0.50, 0.55, 0.59, 0.65, 0.65, 0.70, 0.66]
    made = load(BASE, {"train.early_stopping": stopping, "train.monitor": "accuracy"})
    keeper = Keeper(Plain(folder=tmp_path, recipe=made), 1, 99, lambda *_: {})  # type: ignore[arg-type]
    best, begun = [], []
    for k, score in enumerate(scores):
        row = {"validation_accuracy": score, "validation_loss": 1 - 0.01 * k}
        better = keeper._better(row)
        keeper.best = row if better else keeper.best
        best += [k] * better
        begun += [k] * keeper._moves_on(row, better)
    assert best == [0, 1, 2, 3, 4, 5] and begun == [0, 3]


def test_steps_and_short_epochs(recipe: Recipe, tmp_path: Path) -> None:
    plan = {"steps": 7, "epoch_clips": 12, "batch": 4}
    run = train(recipe(train=plan), runs=tmp_path, quiet=True)
    assert [row["step"] for row in run.history] == [3, 6, 7]


@pytest.mark.slow
def test_without_validation_the_latest_weights_are_kept(recipe: Recipe, tmp_path: Path) -> None:
    run = train(recipe(split={"use": "fractions", "validation": 0.0, "test": 0.2}), runs=tmp_path, quiet=True)
    assert all(torch.equal(value, run.weights()[name]) for name, value in run.weights("last").items())


def test_stopped_by_hand_it_says_how_to_go_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C stays one, for whoever called: no exit of the whole session."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "_end_epoch", stop)
        with pytest.raises(KeyboardInterrupt, match="stopped: the same command goes on from .*small-"):
            train(recipe(), runs=tmp_path)
    assert "stopped" not in capsys.readouterr().err  # the command line says it
    run = train(recipe(), runs=tmp_path, quiet=True)
    assert run.finished and "stopped: the same command" in (run.folder / "train.log").read_text()


# --- weights to start from ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_starting_from_a_run_a_safetensors_and_a_state_dict(recipe: Recipe, tmp_path: Path) -> None:
    first = train(recipe(train=short()), runs=tmp_path, quiet=True)
    save_file(first.weights(), tmp_path / "w.safetensors")
    torch.save({f"module.{name}": value for name, value in first.weights().items()}, tmp_path / "w.pt")
    still = {"optimiser": {"use": "SGD", "lr": 0.0}}
    sources = (first.folder, tmp_path / "w.safetensors", tmp_path / "w.pt")
    runs = [train(recipe(train=short(init=str(one), **still)), runs=tmp_path, quiet=True) for one in sources]
    assert len({run.name for run in runs}) == 1  # the same weights, wherever they lie
    for name, value in dict(runs[0].model().named_parameters()).items():
        assert torch.equal(value, first.weights()[name])


def test_weights_of_any_type_and_names_like_lightnings_are_taken(tmp_path: Path) -> None:
    """bfloat16, which numpy does not know; and a network all of whose parts are its `model`."""
    inner = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    outer = torch.nn.ModuleDict({"model": inner})
    save_file(
        {name: value.bfloat16() for name, value in inner.state_dict().items()}, tmp_path / "b.safetensors"
    )
    save_file(
        {f"model.{name}": value for name, value in inner.state_dict().items()}, tmp_path / "m.safetensors"
    )
    for source, network in (("b", inner), ("m", inner), ("m", outer)):
        start = read_start(str(tmp_path / f"{source}.safetensors"))
        assert start is not None
        assert put_weights(network, start, exact=True) == {"missing": [], "unexpected": [], "replaced": []}


@pytest.mark.slow
def test_a_head_for_other_classes_is_drawn_anew(recipe: Recipe, tmp_path: Path) -> None:
    first = train(recipe(train=short()), runs=tmp_path, quiet=True)
    other = recipe(
        task={"use": "classify.Classify", "label": "speaker"}, split={"use": "fractions", "group": "clip"}
    )
    plan = short(init=str(first.folder), optimiser={"use": "SGD", "lr": 0.0})
    run = train({**other, "train": plan}, runs=tmp_path, quiet=True)
    replaced = run.origin["init"]["replaced"]
    assert replaced and run.origin["init"]["missing"] == []
    same = [name for name, value in run.weights().items() if name in first.weights() and name not in replaced]
    floats = [name for name in same if run.weights()[name].is_floating_point() and "running" not in name]
    assert floats and all(torch.equal(run.weights()[name], first.weights()[name]) for name in floats)


@pytest.mark.slow
def test_a_head_for_as_many_other_classes_is_drawn_anew_too(recipe: Recipe, tmp_path: Path) -> None:
    first = train(recipe(train=short()), runs=tmp_path, quiet=True)
    save_file(first.weights(), tmp_path / "w.safetensors")  # without a word on classes
    animals = {"from": "word", "map": {"no": "cat", "yes": "dog", "zero": "cow"}}
    other = recipe(task={"use": "classify.Classify", "label": "animal"})
    other["corpus"] = {**other["corpus"], "relabel": {"animal": animals}}
    head = {name for name, value in first.weights().items() if value.shape[0] == 3 and "fc" in name}
    plan = short(optimiser={"use": "SGD", "lr": 0.0})
    sources = (first.folder, first.folder / "checkpoints" / "best.safetensors", tmp_path / "w.safetensors")
    runs = [
        train({**other, "train": {**plan, "init": str(one)}}, runs=tmp_path, quiet=True) for one in sources
    ]
    assert head and [set(run.origin["init"]["replaced"]) for run in runs] == [head, head, set()]
    assert runs[0].name == runs[1].name != runs[2].name
    for name, value in first.weights().items():
        assert torch.equal(runs[0].weights()[name], value) == (name not in head)
        assert torch.equal(runs[2].weights()[name], value)


def test_outputs_that_are_not_trained_keep_their_classes(recipe: Recipe, tmp_path: Path) -> None:
    first = train(recipe(train=short()), runs=tmp_path, quiet=True)
    kept = {"epochs": 0, "init": str(first.folder)}
    turned = {"use": "classify.Classify", "label": "word", "labels": ["zero", "no", "yes"]}
    with pytest.raises(HeschlError, match=r"no, yes, zero, .* another order"):
        train(recipe(train=kept, task=turned), runs=tmp_path, quiet=True)
    other = recipe(train=kept, task={"use": "classify.Classify", "label": "animal"})
    animals = {"from": "word", "map": {"no": "cat", "yes": "dog", "zero": "cow"}}
    other["corpus"] = {**other["corpus"], "relabel": {"animal": animals}}
    with pytest.raises(HeschlError, match=r"no, yes, zero, .* cat, cow, dog: .* task\.labels"):
        train(other, runs=tmp_path, quiet=True)
    assert "task.labels" in next(one.text for one in check_recipe(other) if one.level == "wrong")
    named = {**other["task"], "labels": ["cat", "dog", "cow"]}
    assert train({**other, "task": named}, runs=tmp_path, quiet=True).labels == ("cat", "dog", "cow")


def test_weights_of_another_network_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    save_file({"some.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(HeschlError, match=r"some\.weight"):
        train(recipe(train=short(init=str(tmp_path / "w.safetensors"))), runs=tmp_path / "runs", quiet=True)
    assert not (tmp_path / "runs").exists()


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran-code"),)


def test_a_pickle_never_runs(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w.pt").write_bytes(pickle.dumps(Bomb()))
    torch.save({"a": Bomb()}, "v.pt")
    for name in ("w.pt", "v.pt"):
        with pytest.raises(HeschlError, match=r"code|could not be read"):
            train(recipe(train=short(init=name)), runs=tmp_path / "runs", quiet=True)
    run = train(recipe(train=short()), runs=tmp_path / "runs", quiet=True)
    torch.save({"run": run.name, "state_dict": Bomb()}, run.folder / "checkpoints" / "last.ckpt")
    with pytest.raises(HeschlError, match="not opened"):
        run.weights("last")
    assert not Path("ran-code").exists()


def test_a_network_trained_elsewhere_becomes_a_run(recipe: Recipe, tmp_path: Path) -> None:
    first = train(recipe(train=short()), runs=tmp_path, quiet=True)
    save_file(first.weights(), tmp_path / "w.safetensors")
    kept = {"epochs": 0, "init": str(tmp_path / "w.safetensors")}
    labels = ["zero", "no", "yes"]
    task = {"use": "classify.Classify", "label": "word", "labels": labels}
    run = train(recipe(train=kept, task=task), runs=tmp_path, quiet=True)
    assert run.labels == tuple(labels) and run.task().classes == tuple(labels) and run.history == []
    assert all(torch.equal(value, first.weights()[name]) for name, value in run.weights().items())
    assert run.finished
    four = {**task, "labels": [*labels, "seven"]}
    with pytest.raises(HeschlError, match=r"init.*4"):
        train(recipe(train=kept, task=four), runs=tmp_path, quiet=True)
    with pytest.raises(HeschlError, match=r"train\.init"):
        train(recipe(train={"epochs": 0}), runs=tmp_path, quiet=True)
    (told,) = check_recipe(recipe(train={"epochs": 0}))
    assert told.level == "wrong" and "train.init" in told.text


@pytest.mark.slow
def test_frozen_parameters_stay(recipe: Recipe, tmp_path: Path) -> None:
    first = train(recipe(train=short()), runs=tmp_path, quiet=True)
    names = [name for name, _ in first.model().named_parameters()]
    plan = short(init=str(first.folder), freeze=[names[0]])
    run = train(recipe(train=plan), runs=tmp_path, quiet=True)
    assert torch.equal(run.weights()[names[0]], first.weights()[names[0]])
    assert not torch.equal(run.weights()[names[-1]], first.weights()[names[-1]])
    with pytest.raises(HeschlError, match="freeze"):
        train(recipe(train=short(freeze=["nothing"])), runs=tmp_path, quiet=True)


# --- the machine -------------------------------------------------------------------------------------------


def test_what_is_lightnings_is_handed_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heschl.training import trainer as home

    given: dict[str, Any] = {}

    class Stopped(Exception):
        pass

    def trainer(**options: Any) -> None:
        given.update(options)
        raise Stopped

    monkeypatch.setattr(home, "Trainer", trainer)
    machine = {"device": "cuda", "devices": [0, 1], "nodes": 4, "strategy": "ddp"}
    plan = short(precision="bf16-mixed", clip_gradient=0.5)
    with pytest.raises(Stopped):
        train(recipe(machine=machine, train=plan), runs=tmp_path, quiet=True)
    expected = {"accelerator": "cuda", "devices": [0, 1], "num_nodes": 4, "strategy": "ddp"}
    assert expected | {"precision": "bf16-mixed", "gradient_clip_val": 0.5} == {
        key: given[key] for key in (*expected, "precision", "gradient_clip_val")
    }


def test_a_machine_that_is_not_there_is_told_in_a_sentence(recipe: Recipe, tmp_path: Path) -> None:
    for machine in ({"device": "abacus"}, {"device": "tpu"}, {"device": "cpu", "strategy": "telepathy"}):
        assert any(one.text.startswith("machine") for one in check_recipe(load(recipe(machine=machine))))
        with pytest.raises(HeschlError, match="machine"):
            train(recipe(machine=machine), runs=tmp_path, quiet=True)
    if not torch.cuda.is_available():
        with pytest.raises(
            HeschlError, match="machine.device is cuda, and torch finds none here: set it to auto"
        ):
            train(recipe(machine={"device": "cuda"}), runs=tmp_path, quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_train(precision: str, recipe: Recipe, tmp_path: Path) -> None:
    plan = short(precision=precision, clip_gradient=1.0, ema=0.9)
    run = train(recipe(train=plan), runs=tmp_path, quiet=True)
    first = next(iter(run.weights().values()))
    assert first.dtype == (torch.float64 if precision == "64-true" else torch.float32)
    assert run.history[0]["validation_loss"] > 0


def test_channels_last_is_the_same_training_but_for_rounding(recipe: Recipe, tmp_path: Path) -> None:
    def plan(way: bool) -> dict[str, Any]:
        return recipe(
            clip={"seconds": 1.0},
            feature={"use": "spectrogram.AudioMnistSpectrogram", "unit": True},
            model={"use": "alexnet.AlexNet", "width": 0.05, "init": "torch"},
            train=short(steps=3, epochs=None, channels_last=way),
        )

    plain, last = (train(plan(way), runs=tmp_path, quiet=True) for way in (False, True))
    assert plain.name != last.name
    for key, value in plain.weights().items():
        assert torch.allclose(last.weights()[key], value, atol=1e-4), key


@pytest.mark.slow
def test_tensorboard_is_written_where_asked(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = train(
        recipe(train=short(), machine={"device": "cpu", "tensorboard": True}), runs=tmp_path, quiet=True
    )
    assert list(run.folder.rglob("events.out.tfevents*"))


def test_after_twenty_steps_the_time_to_the_end_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import itertools
    from types import SimpleNamespace

    from heschl.training import progress

    clock = itertools.count(0.0, 30.0)  # asked twice, fifteen steps apart: two seconds a step
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    for steps, words in ((50, "about 60 s to the end"), (10_000, "about 5.5 h to the end")):
        pace = progress.Pace(progress.Voice(), steps, 0, "the recipe crnn-small")
        for _ in range(25):
            pace.on_train_batch_end(SimpleNamespace(is_global_zero=True), None, None, None, 0)  # type: ignore[arg-type]
        said = " ".join(capsys.readouterr().err.split())
        assert words in said and said.count("to the end") == 1
        assert ("crnn-small" in said) == (steps == 10_000)


# --- opening -----------------------------------------------------------------------------------------------


def test_what_is_no_run_is_refused_in_a_sentence(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(HeschlError, match="not there"):
        open_run(tmp_path / "none")
    with pytest.raises(HeschlError, match="not a run folder"):
        open_run(tmp_path)
    a = train(recipe(train=short()), runs=tmp_path, quiet=True)
    b = train(recipe(train=short(), seed=9), runs=tmp_path, quiet=True)
    weights = (b.folder / "checkpoints" / "best.safetensors").read_bytes()
    (a.folder / "checkpoints" / "best.safetensors").write_bytes(weights)
    (a.folder / "checkpoints" / "last.ckpt").write_bytes(
        (b.folder / "checkpoints" / "last.ckpt").read_bytes()
    )
    for which in ("best", "last"):
        with pytest.raises(HeschlError, match=b.name):
            open_run(a.folder).weights(which)
    (b.folder / "checkpoints" / "last.ckpt").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(HeschlError, match="damaged"):
        b.weights("last")
    text = (b.folder / "recipe.yaml").read_text(encoding="utf-8")
    (b.folder / "recipe.yaml").write_text(text.replace("batch: 6", "batch: 7"), encoding="utf-8")
    with pytest.raises(HeschlError, match="not the recipe that was trained"):
        open_run(b.folder)
    facts = json.loads((a.folder / "origin.json").read_text(encoding="utf-8"))
    facts["labels"] = "no"
    (a.folder / "origin.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(HeschlError, match="labels are names"):
        open_run(a.folder)
    del facts["labels"]
    (a.folder / "origin.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(HeschlError, match="labels"):
        open_run(a.folder)


def test_an_unfinished_run_of_an_earlier_heschl_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    run = train(recipe(train=short()), runs=tmp_path, quiet=True)
    facts = json.loads((run.folder / "origin.json").read_text(encoding="utf-8"))
    del facts["stop"]
    (run.folder / "origin.json").write_text(json.dumps(facts), encoding="utf-8")
    last = run.folder / "checkpoints" / "last.ckpt"
    held = torch.load(last, weights_only=True)
    del held["learner"]["sums"]
    torch.save(held, last)
    with pytest.raises(HeschlError, match=r"last\.ckpt was written by an earlier heschl.*remove it"):
        train(recipe(train=short()), runs=tmp_path, quiet=True)


# --- what is wrong with data -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": {"use": "classify.Classify", "label": "wrod"}}, "word"),
        ({"clip": {"seconds": 0.3, "long": "refuse"}}, "clip.long"),
        ({"clip": {"seconds": 0.3, "short": "refuse"}}, "clip.short"),
        ({"train": {"epochs": 1, "monitor": "acuracy"}}, "accuracy"),
        ({"augment": [{"use": "augment.Background"}]}, "noise"),
        (
            {"task": {"use": "classify.Classify", "label": "word", "labels": ["no", "yes", "zero", "x"]}},
            "'x'",
        ),
        ({"model": {"use": "alexnet.AlexNet"}}, "AlexNet"),
        ({"clip": {"seconds": 1e30}}, "clip.seconds"),
        ({"feature": {"use": "waveform.Waveform", "sample_rate": -1}}, "feature.sample_rate"),
        (
            {"train": {"epochs": 1, "optimiser": {"use": "SGD", "lr": 1e30, "weight_decay": 1e30}}},
            "train.optimiser.lr",
        ),
    ],
)
def test_refusals_name_the_mend_and_leave_nothing(
    changes: Any, words: str, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(HeschlError) as caught:
        train(recipe(**changes), runs=tmp_path / "runs", quiet=True)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    if "lr" not in words:
        assert not (tmp_path / "runs").exists()


def test_whole_clips_need_a_network_that_asks_for_lengths(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "without_lengths.py").write_text(
        "from torch import nn\n\n"
        "class Mean(nn.Module):\n"
        "    def __init__(self, in_shape, n_outputs):\n"
        "        super().__init__()\n"
        "        self.output = nn.Linear(in_shape[-2], n_outputs)\n\n"
        "    def forward(self, x):\n"
        "        return self.output(x.mean(-1).flatten(1))\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = {"model": {"use": "without_lengths.Mean"}, "train": short()}
    with pytest.raises(HeschlError, match=r"clip\.seconds.* without_lengths\.Mean takes no `lengths`"):
        train(recipe(**own, clip={"seconds": None}), runs=tmp_path / "runs", quiet=True)
    assert not (tmp_path / "runs").exists()
    assert train(recipe(**own), runs=tmp_path / "runs", quiet=True).finished


def test_what_is_left_out_is_listed(recipe: Recipe, words_root: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "data"
    shutil.copytree(words_root, root)
    (root / "yes" / "00000001_nohash_0.wav").write_bytes(b"")
    made = recipe(corpus={"use": "words", "root": str(root)}, train=short())
    run = train(made, runs=tmp_path / "runs", quiet=True)
    (row,) = read_csv(run.folder / "skipped.csv")
    assert "00000001_nohash_0" in row["where"] and "empty" in row["why"]
    (told,) = [line for line in (run.folder / "train.log").read_text().splitlines() if "left out: " in line]
    assert told.endswith(row["why"])
    with pytest.raises(HeschlError, match="strict"):
        train({**made, "seed": 8}, runs=tmp_path / "runs", quiet=True, strict=True)


@pytest.mark.parametrize("place", [0, -1])
def test_a_clip_that_cannot_be_read_stops_no_training_wherever_it_stands(
    place: int, recipe: Recipe, words_root: Path, tmp_path: Path
) -> None:
    """Its header is well, and its samples are no numbers; the network's input is tried on the first and the last clip."""
    import shutil

    import numpy as np
    import soundfile

    root = tmp_path / "data"
    shutil.copytree(words_root, root)
    made = recipe(corpus={"use": "words", "root": str(root)}, train=short())
    first = survey(load(made)).parts["train"][place]
    samples = np.full(round(first.rate * (first.stop or 0)), np.nan, np.float32)
    soundfile.write(str(first.signal), samples, int(first.rate), subtype="FLOAT")
    run = train(made, runs=tmp_path / "runs", quiet=True)
    (row,) = read_csv(run.folder / "skipped.csv")
    assert row["where"] == first.id and "not numbers" in row["why"] and run.finished


def test_a_class_that_is_never_trained_is_refused(recipe: Recipe, words_root: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "data"
    shutil.copytree(words_root, root)
    (root / "rare").mkdir()
    shutil.copy(root / "yes" / "00000000_nohash_0.wav", root / "rare" / "00000000_nohash_0.wav")
    split = {"use": "leave_one_out", "fold": 0}
    with pytest.raises(HeschlError, match=r"training part.*rare.*corpus\.relabel"):
        train(
            recipe(corpus={"use": "words", "root": str(root)}, split=split),
            runs=tmp_path / "runs",
            quiet=True,
        )
    # the mend that it names
    corpus = {"use": "words", "root": str(root), "relabel": {"kept": {"from": "word", "map": {"rare": ""}}}}
    made = survey(
        load(recipe(corpus=corpus, split=split, task={"use": "classify.Classify", "label": "kept"}))
    )
    assert made.labels == ("no", "yes", "zero") and [one.where for one in made.skipped] == [
        "rare/00000000_nohash_0"
    ]


# --- further corpora ---------------------------------------------------------------------------------------


def test_further_corpora_help_in_training_alone(recipe: Recipe, words_root: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "more"
    for path in words_root.rglob("*.wav"):  # the same words from other mouths
        new = (
            root
            / {"yes": "oui", "no": "non", "zero": "chat"}[path.parent.name]
            / path.name.replace("0000000", "1000000")
        )
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, new)
    also = {"use": "words", "root": str(root), "share": 0.5}
    also["relabel"] = {"word": {"from": "word", "map": {"oui": "yes", "non": "no"}}}
    run = train(recipe(train=short(), also=[also]), runs=tmp_path / "runs", quiet=True)
    parts = run.origin["parts"]
    assert parts["train"]["clips"] == len(run.split.train) + 18
    assert parts["validation"]["clips"] == len(run.split.validation)
    assert sum("chat" in row["where"] for row in read_csv(run.folder / "skipped.csv")) == 6
    assert run.labels == ("no", "yes", "zero")
    other = train(recipe(train=short(), also=[{**also, "share": 0.25}]), runs=tmp_path / "runs", quiet=True)
    assert other.name != run.name  # another experiment, and not one that is finished already
    assert open_run(other.folder).recipe.also[0].share == 0.25
    with pytest.raises(HeschlError, match="also"):
        train(
            recipe(train=short(), also=[{"use": "words", "root": str(words_root)}]), runs=tmp_path, quiet=True
        )
