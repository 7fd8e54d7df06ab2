"""A dask worker that is killed halfway: every unit is done, none is finished twice, and the answer is that of one process."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from heschl.corpora import audiomnist
from heschl.features.superlet_store import store_maps
from heschl.files import read_csv
from heschl.run import Run
from heschl.steps.crossval import crossval
from heschl.steps.explain import explain_run
from heschl.steps.features import write_features
from heschl.steps.sweep import sweep
from heschl.steps.workers import backend
from heschl.training.fit import train

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

DIGITS: dict[str, Any] = {
    "format": 1,
    "name": "killed",
    "corpus": {"use": "spoken", "kind": "digit", "voices": 9},
    "split": {"use": "kfold", "folds": 3, "fold": 0},
    "clip": {"seconds": 1.0},
    "feature": {"use": "mel.LogMel"},
    "model": {"use": "kws.KWS", "width": 8, "stem": 4, "depth": 1},
    "task": {"use": "classify.Classify", "label": "digit"},
    "train": {"epochs": 1, "batch": 16, "optimiser": {"use": "torch.optim.AdamW", "lr": 0.003}},
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HESCHL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="module")
def cluster(cache: None) -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.fixture
def kill(cluster: Any) -> Iterator[Callable[..., None]]:
    """A progress function that kills one of the workers, once, when it first hears of something done."""
    told: list[int] = []
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        pids = list(client.run(os.getpid).values())

    def progress(*_: int) -> None:
        if not told:
            told.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    yield progress
    assert told, "no worker was killed: the test shows nothing"


def counting(log: Path) -> Callable[..., Run]:
    """A trainer that writes down each training that it carries to its end (not: finds finished)."""

    def trained(recipe: Any, overrides: Any, *, runs: Any, quiet: bool, **more: Any) -> Run:
        before = {path.parent.parent for path in Path(runs).glob("*/checkpoints/best.safetensors")}
        run = train(recipe, overrides, runs=runs, quiet=quiet, **more)
        if run.folder not in before:
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{run.folder.name}\n")
        return run

    return trained


def test_a_sweep(cluster: Any, kill: Any, tmp_path: Path) -> None:
    choices = {"model.width": [8, 12, 16]}
    here = sweep(DIGITS, choices, train=train, runs=tmp_path / "here")
    there = sweep(
        DIGITS, choices, train=counting(tmp_path / "log"), runs=tmp_path / "there",
        dask=cluster.scheduler_address, progress=kill,
    )  # fmt: skip
    assert there["done"] == 3 and there["failed"] == 0
    assert [(one["set"], one["accuracy"]) for one in there["variants"]] == [
        (one["set"], one["accuracy"]) for one in here["variants"]
    ]
    done = Counter((tmp_path / "log").read_text().split())
    assert len(done) >= 2 and set(done.values()) == {
        1
    }  # the killed one may have had its weights, and not its line


def test_folds(cluster: Any, kill: Any, tmp_path: Path) -> None:
    there = crossval(
        DIGITS, train=counting(tmp_path / "log"), runs=tmp_path / "there",
        dask=cluster.scheduler_address, progress=kill,
    )  # fmt: skip
    assert [row["fold"] for row in there["folds"]] == [0, 1, 2]
    assert sum(row["clips"] for row in there["folds"]) == 90  # every clip of nine voices is asked about once
    done = Counter((tmp_path / "log").read_text().split())
    assert len(done) >= 2 and set(done.values()) == {
        1
    }  # the killed one may have had its weights, and not its line


def test_explanations(cluster: Any, kill: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(DIGITS, runs=tmp_path / "runs", quiet=True)
    ids = list(run.split.test[:12])
    here = explain_run(run, clips=ids, show=0, sound=False)
    with h5py.File(Path(here["folder"]) / "relevance.h5", "r") as file:
        expected = {name: file[name]["relevance"][()] for name in file}
    for path in sorted(Path(here["folder"]).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    monkeypatch.setattr("heschl.steps.explain.UNIT", 4)
    there = explain_run(run, clips=ids, show=0, sound=False, dask=cluster.scheduler_address, progress=kill)
    with h5py.File(Path(there["folder"]) / "relevance.h5", "r") as file:
        assert set(file) == set(expected)
        for name in file:
            np.testing.assert_allclose(file[name]["relevance"][()], expected[name], atol=1e-6)
    told = [row["clip"] for row in read_csv(Path(there["folder"]) / "clips.csv")]
    assert len(told) == len(set(told)) == here["clips"] == there["clips"] == 12


def test_features(cluster: Any, kill: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audiomnist.write_tiny(tmp_path / "data")
    recipe = {
        **DIGITS,
        "corpus": {"use": "audiomnist", "root": str(tmp_path / "data")},
        "split": {"use": "kfold", "folds": 3, "fold": 0},
        "clip": {"seconds": None},
        "feature": {"use": "waveform.Waveform", "sample_rate": 8000, "samples": 8000, "scale": 32768.0},
        "model": {"use": "audionet.AudioNet"},
    }
    monkeypatch.setattr("heschl.steps.features.UNIT", 3)
    here = write_features(recipe, None, tmp_path / "here")
    there = write_features(recipe, None, tmp_path / "there", kill, dask=cluster.scheduler_address)
    assert here["clips"] == there["clips"] > 9
    for path in (tmp_path / "here").rglob("*.hdf5"):
        other = tmp_path / "there" / path.relative_to(tmp_path / "here")
        with h5py.File(path) as one, h5py.File(other) as two:
            assert np.array_equal(one["data"][()], two["data"][()])


def test_the_superlet_store(cluster: Any, kill: Any, tmp_path: Path) -> None:
    asked: Counter[int] = Counter()

    class Trials:
        """Noise, and a kill once half of it has been asked for."""

        x = np.random.default_rng(0).normal(size=(12, 2, 256)).astype(np.float32)

        def __len__(self) -> int:
            return len(self.x)

        def __getitem__(self, row: int) -> np.ndarray:
            asked[row] += 1
            if row == 6:
                kill()
            return self.x[row]

    plain = store_maps(tmp_path / "here.h5", Trials.x, 128.0, np.arange(4.0, 30.0, 4.0), batch=3)
    with backend(dask=cluster.scheduler_address):
        there = store_maps(
            tmp_path / "there.h5", Trials(), 128.0, np.arange(4.0, 30.0, 4.0), batch=3, jobs=-1
        )
    assert len(there) == 12 and not list(tmp_path.glob("*.part"))
    np.testing.assert_array_equal(there[:], plain[:])
    assert all(asked[row] == 1 for row in range(3, 12))  # those of the first batch set the scale, too
