"""Where units of work run: in this process, in several, or on a dask cluster."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from heschl.recipe.plain import read_yaml
from heschl.types import HeschlError

PATIENCE = (
    30  # seconds that a scheduler is given to show a worker; jobs of a queue are waited for without end
)
PULSE = 1.0  # seconds between two looks at whether the process that gives work is there


@contextmanager
def backend(workers: int = 1, dask: str | None = None, units: int | None = None) -> Iterator[Any]:
    """A context in which joblib has its units done by ``workers`` processes, or by the workers of a dask cluster.

    No more processes are started than there are units, where their number is given: loky starts all that it is asked for.

    A worker that dies loses only the unit that it was at, and dask gives that to another. Processes end with this one, even
    where it is killed.

    Parameters
    ----------
    dask: address of a scheduler; or a YAML file after which dask-jobqueue starts a cluster that lives as long as the
        context: `use` (by default SLURMCluster), `jobs`, and whatever else that class takes.

    Yields
    ------
    A `joblib.Parallel` that hands results back as they come. Any other within the context works there, too.

    Raises
    ------
    HeschlError: no process at all, dask is not installed, no scheduler or no worker answers, or the file makes no
        cluster.
    """
    import joblib

    if workers < 1:
        raise HeschlError(f"--workers is {workers}: give at least one process")
    if units is not None:
        workers = min(workers, max(1, units))
    if dask is not None:
        with _client(dask) as client, joblib.parallel_config(_on(client)):
            # the scheduler counts the workers; all units are handed over at once, since more workers may come
            yield joblib.Parallel(n_jobs=-1, pre_dispatch="all", return_as="generator_unordered")
        return
    with (
        joblib.parallel_config("loky", inner_max_num_threads=1, initializer=_tied_to, initargs=(os.getpid(),))
        if workers > 1
        else joblib.parallel_config("sequential")
    ):
        yield joblib.Parallel(n_jobs=workers, return_as="generator_unordered")


def _tied_to(parent: int) -> None:
    """Ends this process when the one that gives it work is gone, however that ended: its unit would go on unseen."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PULSE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _client(dask: str) -> Iterator[Any]:
    """A client of a cluster that has a worker."""
    try:
        from distributed import Client
    except ImportError:
        raise HeschlError("a dask cluster needs the extra `cluster`: pip install 'heschl[cluster]'") from None
    queued = dask.endswith((".yaml", ".yml"))
    with queue(Path(dask)) if queued else nullcontext(dask) as cluster:
        try:
            client = Client(cluster, timeout=10)
        except (OSError, ValueError) as error:
            raise HeschlError(
                f"no dask scheduler answers at {dask} ({str(error).splitlines()[0][:80]}): start one with `dask scheduler`"
            ) from None
        with client:
            try:
                client.wait_for_workers(1, timeout=None if queued else PATIENCE)
            except TimeoutError:
                raise HeschlError(
                    f"the dask scheduler at {dask} has no worker: start one with `dask worker {dask}`"
                ) from None
            yield client


def _on(client: Any) -> Any:
    """joblib's backend for dask, which would do the units of a cluster of one thread in this process."""
    from joblib._dask import DaskDistributedBackend

    class Cluster(DaskDistributedBackend):  # type: ignore[misc]
        def effective_n_jobs(self, n_jobs: int) -> int:
            threads: int = super().effective_n_jobs(n_jobs)
            return max(2, threads)

    return Cluster(client=client)


def jobqueue() -> Any:
    """dask_jobqueue. On import it takes Ctrl-C for itself, to end in silence with status 0: it is given back."""
    before = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module("dask_jobqueue")
    finally:
        signal.signal(signal.SIGINT, before)


def queue(path: Path) -> Any:
    """The cluster that a file describes, with its jobs asked for.

    Raises
    ------
    HeschlError: a key is missing, or dask-jobqueue does not take one.
    """
    dask_jobqueue = jobqueue()
    keys = dict(read_yaml(path))
    use, jobs = keys.pop("use", "SLURMCluster"), keys.pop("jobs", None)
    known = [name for name in dir(dask_jobqueue) if name.endswith("Cluster") and name != "JobQueueCluster"]
    if use not in known:
        raise HeschlError(f"{path}: use is {use}: give one of {', '.join(known)}")
    if type(jobs) is not int or jobs < 1:
        raise HeschlError(f"{path}: jobs is {jobs}: give how many are to be started, such as jobs: 8")
    try:
        cluster = getattr(dask_jobqueue, use)(**keys)
    except (TypeError, ValueError) as error:
        why = str(error).splitlines()[0].split(". ")[0]
        raise HeschlError(f"{path}: {use} does not take these keys ({why}): mend them") from None
    cluster.scale(jobs=jobs)
    return cluster
