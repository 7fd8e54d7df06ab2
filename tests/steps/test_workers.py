"""Units of work on a cluster that a small file describes, through a stand-in for SLURM's own two commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import joblib
import pytest

from heschl.steps.workers import backend
from heschl.types import HeschlError

if find_spec("dask_jobqueue") is None:
    pytest.skip("dask_jobqueue is not there (extra cluster)", allow_module_level=True)

FILE = """\
jobs: 2
cores: 1
memory: 1GiB
queue: normal
interface: lo
job_extra_directives: [--exclusive]
job_script_prologue: [export HESCHL_SEEN=yes]
"""


def test_ctrl_c_stays_with_whom_it_was() -> None:
    """dask_jobqueue takes it on import."""
    text = """
import signal
from heschl.steps.workers import jobqueue
own = signal.default_int_handler
signal.signal(signal.SIGINT, own)
jobqueue()
assert signal.getsignal(signal.SIGINT) is own
"""
    subprocess.run([sys.executable, "-c", text], check=True)


@pytest.mark.parametrize(
    ("workers", "units", "started"), [(99, 3, 3), (2, 3, 2), (4, 1, 1), (2, 0, 1), (3, None, 3)]
)
def test_no_more_processes_are_started_than_there_are_units(
    workers: int, units: int | None, started: int
) -> None:
    with backend(workers, units=units) as parallel:
        assert parallel.n_jobs == started


BEATING = """\
import os, sys, time
from pathlib import Path
import joblib
from heschl.steps.workers import backend

def beat(folder):
    for k in range(600):
        Path(folder, str(os.getpid())).write_text(str(k))
        time.sleep(0.1)

if __name__ == "__main__":
    with backend(2) as parallel:
        list(parallel(joblib.delayed(beat)(sys.argv[1]) for _ in range(2)))
"""


@pytest.mark.slow
def test_processes_end_with_the_one_that_gives_them_work(tmp_path: Path) -> None:
    (tmp_path / "beating.py").write_text(BEATING, encoding="utf-8")
    beats = tmp_path / "beats"
    beats.mkdir()
    one = subprocess.Popen([sys.executable, tmp_path / "beating.py", beats])
    try:
        for _ in range(600):
            if len(list(beats.iterdir())) == 2:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("no process began")
    finally:
        one.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        one.wait()

    def told() -> list[str]:
        time.sleep(1.5)
        return [path.read_text(encoding="utf-8") for path in sorted(beats.iterdir())]

    told()
    assert told() == told()


@pytest.mark.slow
def test_jobs_of_a_queue_do_the_units_and_are_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sbatch` here starts the job at once as a process of its own; `scancel` ends it. The scripts are kept to be read."""
    monkeypatch.chdir(tmp_path)
    Path("sbatch").write_text(
        f"#!/bin/sh\ncp $1 {tmp_path}/$$.sh\nsetsid sh {tmp_path}/$$.sh >/dev/null 2>&1 &\necho Submitted batch job $!\n",
        encoding="utf-8",
    )
    Path("scancel").write_text(f'#!/bin/sh\necho $1 >> {tmp_path}/ended\nkill -- "-$1"\n', encoding="utf-8")
    for name in ("sbatch", "scancel"):
        Path(name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    Path("slurm.yaml").write_text(FILE, encoding="utf-8")

    def squared(number: int) -> tuple[int, str | None]:
        return number**2, os.environ.get("HESCHL_SEEN")

    with backend(dask="slurm.yaml") as parallel:
        found = list(parallel(joblib.delayed(squared)(k) for k in range(40)))
    assert sorted(value for value, _ in found) == [k**2 for k in range(40)]
    assert {seen for _, seen in found} == {"yes"}
    scripts = [path.read_text() for path in tmp_path.glob("*.sh")]
    assert len(scripts) == 2 and all("#SBATCH -p normal" in one and "--exclusive" in one for one in scripts)
    assert len(Path("ended").read_text(encoding="utf-8").split()) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cores: 1\nmemory: 1GB\n", "slurm.yaml: jobs is None: give how many"),
        ("jobs: 2\nuse: CloudCluster\n", "slurm.yaml: use is CloudCluster: give one of HTCondorCluster"),
        ("jobs: 2\nmemory: 1GB\n", "slurm.yaml: SLURMCluster does not take these keys"),
        (
            "jobs: 2\ncores: 1\nmemory: 1GB\npartition: x\n",
            "slurm.yaml: SLURMCluster does not take these keys",
        ),
    ],
)
def test_a_file_that_makes_no_cluster_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "slurm.yaml").write_text(text)
    with pytest.raises(HeschlError, match=said), backend(dask=str(tmp_path / "slurm.yaml")):
        pass


@pytest.mark.slow
def test_a_scheduler_without_workers_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr("heschl.steps.workers.PATIENCE", 1)
    with (
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        pytest.raises(HeschlError, match="has no worker: start one with `dask worker tcp"),
        backend(dask=cluster.scheduler_address),
    ):
        pass
