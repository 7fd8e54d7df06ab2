"""Killed at any instant and run again, a training ends with the weights of one that was never killed, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from heschl.files import write_wav
from heschl.run import open_run

KILL = int(getattr(signal, "SIGKILL", signal.SIGTERM))

RECIPE = """\
format: 1
name: small
seed: 3
corpus: {use: words, root: ROOT}
split: {use: fractions, validation: 0.25, test: 0.25}
clip: {seconds: 0.25, short: random, long: random}
feature: {use: mel.LogMel, sample_rate: 8000, n_mels: 20}
augment:
  - {use: augment.Shift, seconds: 0.05}
  - {use: augment.Noise}
  - {use: augment.SpecAugment, time: 4, frequency: 4}
  - {use: augment.Mixup}
model: {use: own_net.Net}
task: {use: classify.Classify, label: word}
train:
  epochs: 4
  batch: 6
  optimiser: {use: AdamW, lr: 0.01}
  schedule: {use: cosine, warmup: 0.1}
  ema: 0.9
  clip_gradient: 1.0
  draws: sqrt
  checkpoint_every: 2
machine: {save_seconds: 0, threads: 1}
"""

NET = """\
from torch import nn

class Net(nn.Module):
    areas = {"conv": "0"}
    def __init__(self, in_shape, n_outputs, width: int = 8):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(in_shape[0], width, 3), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3),
            nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(4 * width, n_outputs))
    def forward(self, x, lengths=None):
        return self.net(x)
"""

# Runs trainings one after another, each in a process of its own that kills itself before or after the n-th call of
# a named function (or is killed from outside at its first save, or may write no more than 2,000 bytes to a file from the
# n-th step on, as on a full disk), and prints how each ended: 1 is one sentence. The imports are made once where the
# system can fork.
DRIVER = """\
import json, os, signal, subprocess, sys, time
from pathlib import Path
from heschl.training import fit, keeper
from heschl.types import HeschlError

def die():
    os.kill(os.getpid(), KILL)
    os.abort()

def deadly(where, when, count):
    calls = 0
    def due():
        nonlocal calls
        calls += 1
        return calls == count
    if where == "step":
        class Deadly(keeper.Keeper):
            def on_train_batch_end(self, trainer, learner, *rest):
                if when == "before" and learner.step + 1 == count:
                    die()
                super().on_train_batch_end(trainer, learner, *rest)
                if when == "after" and learner.step == count:
                    die()
        fit.Keeper = Deadly
    elif where == "fsync":  # in the middle of a save: the temporary file is there, and not yet in place
        real = os.fsync
        def fsync(file):
            if due():
                if when == "before":
                    os.ftruncate(file, 1000)
                die()
            real(file)
        os.fsync = fsync
    elif where == "best":
        real_save = keeper.save_weights
        def save(path, *rest):
            real_save(path, *rest)
            if due():
                die()
        keeper.save_weights = save
    elif where == "full":
        import resource
        class Full(keeper.Keeper):
            def on_train_batch_end(self, trainer, learner, *rest):
                if learner.step + 1 == count:
                    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, most))
                super().on_train_batch_end(trainer, learner, *rest)
        fit.Keeper = Full
    elif where == "history":
        keeper.write_history = lambda folder, rows, draw=True: die() if len(rows) == count else None

def one(recipe, runs, where, when, count):
    deadly(where, when, int(count))
    try:
        fit.train(recipe, runs=runs, quiet=True)
    except HeschlError as error:
        assert where == "full" and "last.ckpt is larger than may be written here" in str(error), error
        assert not list(Path(runs).rglob("*.tmp"))
        os._exit(1)

def started(*run):
    if not hasattr(os, "fork"):
        return subprocess.Popen([sys.executable, __file__, "one", *map(str, run)])
    pid = os.fork()
    if pid == 0:
        try:
            one(*run)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(3)
    return pid

def ended(process):
    if isinstance(process, int):
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return process.wait()

def kill_at_its_first_save(process, runs):
    (last,) = Path(runs).glob("*/checkpoints/last.ckpt")
    before = last.stat().st_mtime_ns
    while last.stat().st_mtime_ns == before:
        time.sleep(0.0005)
    os.kill(process if isinstance(process, int) else process.pid, KILL)

if sys.argv[1] == "one":
    one(*sys.argv[2:])
else:
    ends = []
    for run in json.loads(sys.argv[1]):
        process = started(*run)
        if run[2] == "outside":
            kill_at_its_first_save(process, run[1])
        ends.append(ended(process))
    print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    random = np.random.default_rng(0)
    for word, pitch in (("no", 300.0), ("yes", 500.0), ("zero", 800.0)):
        for speaker in range(6):
            for take in range(1 + (word == "no")):
                time = np.arange(int(random.uniform(0.2, 0.4) * 8000)) / 8000
                wave = 0.5 * np.sin(2 * np.pi * pitch * time) + 0.05 * random.normal(size=len(time))
                write_wav(
                    folder / "data" / word / f"{speaker:08x}_nohash_{take}.wav", np.clip(wave, -1, 1), 8000
                )
    path = folder / "small.yaml"
    path.write_text(RECIPE.replace("ROOT", (folder / "data").as_posix()), encoding="utf-8")
    (folder / "own_net.py").write_text(NET, encoding="utf-8")
    (folder / "driver.py").write_text(DRIVER.replace("KILL", str(KILL)), encoding="utf-8")
    return path


def run_all(recipe: Path, runs: list[tuple[Path, str, str, int]]) -> list[int]:
    """Trains the recipe in each folder of runs, to the death asked for; gives the exit codes."""
    shm = Path("/dev/shm")  # another file system, where there is one
    env = {**os.environ, "OMP_NUM_THREADS": "1"} | ({"TMPDIR": str(shm)} if shm.is_dir() else {})
    asked = json.dumps([[str(recipe), str(folder), *how] for folder, *how in runs])
    done = subprocess.run(
        [sys.executable, str(recipe.with_name("driver.py")), asked], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ends = json.loads(done.stdout.splitlines()[-1])
    assert 3 not in ends, done.stderr[-3000:]
    return list(ends)


def facts(runs: Path) -> dict[str, object]:
    """All that must be equal: weights, optimiser, history but for its seconds."""
    (folder,) = runs.iterdir()
    run = open_run(folder)
    assert run.finished
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in run.history]
    kept = {path.name: load_file(path) for path in sorted((folder / "checkpoints").glob("*.safetensors"))}
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    return {
        "last": last["state_dict"],
        "optimiser": last["optimizer_states"],
        "step": last["learner"]["step"],
        "kept": kept,
        "history": history,
        "bytes": (folder / "checkpoints" / "best.safetensors").read_bytes(),
        "names": [name for name in names if not name.endswith(".tmp")],
    }


def same(a: object, b: object, where: str = "") -> None:
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b), where
    elif isinstance(a, dict):
        assert isinstance(b, dict) and list(a) == list(b), where
        for key in a:
            same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert isinstance(b, list | tuple) and len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b)):
            same(one, other, f"{where}.{i}")
    else:
        assert a == b, where


@pytest.mark.slow
def test_a_killed_training_ends_as_one_that_was_not(recipe: Path, tmp_path: Path) -> None:
    epoch = 3  # steps
    kills = [
        ("step", "after", 2),  # inside an epoch
        ("step", "before", epoch),  # on an epoch's last batch: taken, and nothing kept of it
        ("best", "after", 1),  # the new best weights are in place, the checkpoint is not
        ("step", "after", epoch),  # an epoch's last batch, all saved
        ("fsync", "before", 3),  # in a save, half-written
        ("fsync", "after", 2),  # in a save, written and not in place
        ("outside", "-", 0),  # at whatever instant it comes
        ("history", "-", 3),  # the checkpoint is in place, the history is not
        ("step", "after", 3 * epoch + 1),
        ("history", "-", 4),  # all is trained, and only the last files are missing
    ]
    if sys.platform != "win32":
        kills.insert(0, ("full", "-", 2))  # the disk is full within an epoch
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    runs = [(whole, "-", "-", 0), *((killed, *how) for how in kills), (killed, "-", "-", 0)]
    ends = run_all(recipe, runs)
    assert ends[0] == 0 and ends[-1] == 0
    for how, end in zip(kills, ends[1:-1]):
        assert end == 1 if how[0] == "full" else end not in (0, 1), f"{how} ended with {end}"
    expected = facts(whole)
    assert [row["step"] for row in expected["history"]] == [3, 6, 9, 12]  # type: ignore[attr-defined]
    same(facts(killed), expected)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL here")
def test_of_two_processes_one_is_killed(recipe: Path, tmp_path: Path) -> None:
    deadly = """
        if self.training and os.environ.get("LOCAL_RANK", "0") == os.environ.get("KILLED"):
            Net.calls = getattr(Net, "calls", 0) + 1
            if Net.calls == 5:
                os.kill(os.getpid(), signal.SIGKILL)
        return"""
    net = "import os, signal\n" + NET.replace("\n        return", deadly)
    (tmp_path / "own_net.py").write_text(net, encoding="utf-8")
    plan = recipe.read_text(encoding="utf-8").replace("epochs: 4", "epochs: 2")
    (tmp_path / "small.yaml").write_text(plan, encoding="utf-8")

    def trained(runs: str, killed: str = "nobody") -> subprocess.CompletedProcess[str]:
        command = ["train", "small.yaml", "--runs", runs, "--json", "machine.device=cpu", "machine.devices=2"]
        return subprocess.run(
            [sys.executable, "-m", "heschl.cli", *command, "machine.strategy=ddp"],
            env={**os.environ, "OMP_NUM_THREADS": "1", "KILLED": killed},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=500,
        )

    whole = trained("whole")
    assert whole.returncode == 0, whole.stderr[-2000:]
    assert json.loads(whole.stdout)["finished"]  # one process speaks
    stopped = trained("killed", killed="1")
    assert stopped.returncode == 1 and not stopped.stdout
    assert "another process of this training was lost" in stopped.stderr and "Traceback" not in stopped.stderr
    assert trained("killed").returncode == 0
    same(facts(tmp_path / "killed"), facts(tmp_path / "whole"))


@pytest.mark.slow
def test_workers_and_frequency_of_saving_change_nothing(recipe: Path, tmp_path: Path) -> None:
    from heschl.training.fit import train

    few = {"train.epochs": 2, "machine.save_seconds": 100.0}
    train(recipe, few, runs=tmp_path / "one", quiet=True)
    train(recipe, {**few, "machine.workers": 2, "machine.save_seconds": 0}, runs=tmp_path / "two", quiet=True)
    same(facts(tmp_path / "one"), facts(tmp_path / "two"))


@pytest.mark.slow
def test_the_seed_changes_the_weights(recipe: Path, tmp_path: Path) -> None:
    from heschl.training.fit import train

    a = train(recipe, {"train.epochs": 1}, runs=tmp_path, quiet=True)
    b = train(recipe, {"train.epochs": 1, "seed": 4}, runs=tmp_path, quiet=True)
    assert a.name != b.name
    assert not torch.equal(a.weights()["net.6.weight"], b.weights()["net.6.weight"])
