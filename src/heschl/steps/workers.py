"""Where units of work run: in this process, in several, or on a dask cluster."""

from __future__ import annotations

from typing import Any

from heschl.types import HeschlError


def backend(workers: int = 1, dask: str | None = None) -> Any:
    """A context in which `joblib.Parallel` has its units done: ``workers`` processes, or a dask scheduler's workers.

    A worker that dies loses only the unit that it was at, and dask gives that to another.

    Raises
    ------
    HeschlError: no process at all, dask is not installed, or no scheduler answers.
    """
    import joblib

    if workers < 1:
        raise HeschlError(f"--workers is {workers}: give at least one process")
    if dask is None:
        return (
            joblib.parallel_config("loky", inner_max_num_threads=1)
            if workers > 1
            else joblib.parallel_config("sequential")
        )
    try:
        from distributed import Client
    except ImportError:
        raise HeschlError("a dask cluster needs the extra `cluster`: pip install 'heschl[cluster]'") from None
    try:
        client = Client(dask, timeout=10)
    except (OSError, ValueError) as error:
        raise HeschlError(
            f"no dask scheduler answers at {dask} ({str(error).splitlines()[0][:80]}): start one with `dask scheduler`"
        ) from None
    return joblib.parallel_config("dask", client=client)
