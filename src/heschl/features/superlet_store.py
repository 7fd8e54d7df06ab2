"""Superlet maps of many trials on disk: computed and read back a batch at a time, taken up again after a kill.

The file, HDF5, one chunk a trial:

    x_data        (trial, channel, freq, step) float16: (log-power - offset) / scale
    offset        (freq,) float32: the mean log-power of the first batch, and attribute scale, its deviation
    done          (trial,) 1 where x_data has been written
    attributes    rate (steps a second), order, base_cycles, ...; and what is named ``beside`` (words, channels, ...)

Power of volts (1e-10) is zero in float16, its logarithm is not: stored, it is near zero with a deviation of one, and
comes back within 0.1 % of the deviation. While it is written the file is called NAME.part; its room on the disk is taken first.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from heschl.features._superlet_kernels import frequencies, wavelets
from heschl.features.superlet import superlet
from heschl.files import ROOM, reserve, told
from heschl.types import HeschlError


class Rows(Protocol):
    """Trials that are read when asked for: an array, a memory map, an HDF5 dataset, `heschl.corpora.trials`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Any: ...


@dataclass(frozen=True)
class Maps:
    """Stored maps, read when they are asked for; small, and pickles for workers.

    shape: (trial, channel, freq, step). rate: steps a second. freqs: Hz. maps[rows] is log-power, float32.
    """

    path: Path
    shape: tuple[int, ...]
    rate: float
    freqs: tuple[float, ...]
    offset: np.ndarray
    scale: float

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        import h5py

        rows = np.arange(len(self))[index]
        order, back = np.unique(rows, return_inverse=True)
        try:
            with h5py.File(self.path, "r") as file:
                values = np.asarray(file["x_data"][order], np.float32)
        except (OSError, KeyError) as error:
            raise HeschlError(
                f"{self.path} cannot be read ({error}): remove it and compute it again"
            ) from None
        maps = values[back.reshape(-1)].reshape(*rows.shape, *self.shape[1:])
        return np.asarray(maps * np.float32(self.scale) + self.offset[:, None], np.float32)

    def batches(self, size: int = 32) -> Iterator[np.ndarray]:
        """All trials in order, at most ``size`` at a time."""
        for first in range(0, len(self), size):
            yield self[first : first + size]


def store_maps(
    path: Path | str,
    trials: Rows,
    rate: float,
    freqs: Any,
    decim: int = 1,
    batch: int = 8,
    jobs: int = 1,
    beside: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Maps:
    """Computes superlet log-power of trials into a file, or goes on where it was broken off.

    Parameters
    ----------
    trials: of (channel, time), read one batch at a time.
    rate: Hz. freqs, decim, options: of `heschl.features.superlet.superlet` (base_cycles, order, kind, order_axis, kernel).
    batch: trials that are in memory together. jobs: processes (joblib; its dask backend takes them to a cluster).
    beside: arrays or lists of text that are written along (words, channels, positions, ...).
    say: is told what is begun anew.

    Raises
    ------
    HeschlError: the file holds maps of something else, a trial is not finite or of another shape, the disk is full.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    given = frequencies(freqs, rate)
    wavelets(
        given, **{key: value for key, value in options.items() if key != "kernel"}
    )  # refused before anything is written
    if not len(trials) or batch < 1:
        raise HeschlError(f"{path}: {len(trials)} trials in batches of {batch}: give at least one of each")
    first = np.asarray(trials[0])
    if first.ndim != 2:
        raise HeschlError(f"{path}: a trial has shape {first.shape}: it must be (channel, time)")
    identity = json.dumps(
        [len(trials), first.shape, float(rate), given, int(decim), sorted(options.items()), _digest(first)],
        default=str,
    )
    try:
        if path.exists():
            return open_maps(path, identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        work = _Work(trials, float(rate), given, int(decim), options, first.shape, batch, jobs)
        if not _whole(partial, identity):
            if partial.exists() and say:
                say(f"{partial} is of something else or damaged: it is begun anew")
            _create(partial, work, identity, beside or {})
        _fill(partial, work)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise told(error, path) from error
    return open_maps(path, identity)


def open_maps(path: Path | str, identity: str | None = None) -> Maps:
    """Finished maps, for reading.

    Raises
    ------
    HeschlError: the file is missing, damaged, not finished, or (with ``identity``) holds maps of something else.
    """
    import h5py

    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            made_of, whole = file.attrs["made_of"], bool(np.all(file["done"][:]))
            shape = tuple(int(one) for one in file["x_data"].shape)
            offset = np.asarray(file["offset"][:], np.float32)
            freqs = tuple(float(one) for one in file["freqs"][:])
            rate, scale = float(file.attrs["rate"]), float(file.attrs["scale"])
    except FileNotFoundError:
        raise HeschlError(f"{path} is not there: compute the maps first") from None
    except (OSError, KeyError) as error:
        raise HeschlError(
            f"{path} is no file of maps, or damaged ({error}): remove it and compute it again"
        ) from None
    if not whole:
        raise HeschlError(f"{path} is not finished: run the same again")
    if identity is not None and made_of != identity:
        raise HeschlError(f"{path} holds maps of other trials or options: name another file, or remove it")
    return Maps(path, shape, rate, freqs, offset, scale)


# --- how ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    trials: Rows
    rate: float
    freqs: list[float]
    decim: int
    options: Mapping[str, Any]
    one: tuple[int, ...]
    batch: int
    jobs: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.trials), self.one[0], len(self.freqs), math.ceil(self.one[1] / self.decim)

    def maps(self, rows: np.ndarray) -> np.ndarray:
        """Log-power (trial, channel, freq, step) of these trials."""
        values = [np.asarray(self.trials[int(row)], np.float32) for row in rows]
        for row, value in zip(rows, values, strict=True):
            if value.shape != self.one:
                raise HeschlError(
                    f"trial {row} has shape {value.shape} and the first {self.one}: cut them to one length"
                )
        given = (self.rate, self.freqs, self.decim, dict(self.options))
        if self.jobs == 1:
            return np.stack(
                [_log_power(value, int(row), *given) for row, value in zip(rows, values, strict=True)]
            )
        from joblib import Parallel, delayed

        # In a tuple a trial travels with its task. Bare, joblib would lay it on one dask worker for the task to find,
        # and if that worker is killed nobody has it: the task would be waited for without end.
        tasks = (
            delayed(_log_power_of)((value, int(row), *given)) for row, value in zip(rows, values, strict=True)
        )
        return np.stack(Parallel(n_jobs=self.jobs)(tasks))


def _log_power_of(task: tuple[Any, ...]) -> np.ndarray:
    return _log_power(*task)


def _log_power(
    trial: np.ndarray, row: int, rate: float, freqs: list[float], decim: int, options: dict[str, Any]
) -> np.ndarray:
    try:
        with torch.no_grad():
            maps = superlet(torch.from_numpy(trial), rate, freqs, decim=decim, output="log-power", **options)
    except HeschlError as error:
        raise HeschlError(f"trial {row}: {error}") from None
    return np.asarray(maps.numpy())


def _digest(values: np.ndarray) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(values, np.float32).tobytes()).hexdigest()[:16]


def _whole(partial: Path, identity: str) -> bool:
    """Whether a broken-off file can be gone on with."""
    import h5py

    try:
        with h5py.File(partial, "r") as file:
            return bool(file.attrs["made_of"] == identity and "x_data" in file and file["done"].ndim == 1)
    except (OSError, KeyError):
        return False


def _create(partial: Path, work: _Work, identity: str, beside: Mapping[str, Any]) -> None:
    """Lays the file out, all its chunks at their places: what is written later moves nothing, so a kill harms nothing."""
    import h5py

    partial.unlink(missing_ok=True)
    reserve(
        partial, 2 * math.prod(work.shape) + sum(np.asarray(one).nbytes for one in beside.values()) + ROOM
    )
    maps = work.maps(np.arange(min(work.batch, len(work.trials))))
    heard = maps[maps > -140]  # silent channels say nothing about the level
    deviation = float(heard.std()) if heard.size else 1.0
    level = np.where(maps > -140, maps, np.nan).transpose(2, 0, 1, 3).reshape(len(work.freqs), -1)
    offset = np.array(
        [row[~np.isnan(row)].mean() if (~np.isnan(row)).any() else 0.0 for row in level], np.float32
    )
    with h5py.File(partial, "w") as file:
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk((1, *work.shape[1:]))
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple(work.shape)
        h5py.h5d.create(file.id, b"x_data", h5py.h5t.IEEE_F16LE, space, layout)
        file["done"] = np.zeros(len(work.trials), np.uint8)
        file["offset"], file["freqs"] = offset, np.asarray(work.freqs)
        for name, values in beside.items():
            text = np.asarray(values).dtype.kind in "UO"
            kind = h5py.string_dtype() if text else None
            file.create_dataset(
                name, data=[str(one) for one in values] if text else np.asarray(values), dtype=kind
            )
        file.attrs["scale"] = deviation if deviation > 1e-6 else 1.0
        file.attrs["rate"] = work.rate / work.decim
        for name, value in work.options.items():
            file.attrs[name] = value
        file.attrs["made_of"] = identity
    reserve(partial, partial.stat().st_size)


def _fill(partial: Path, work: _Work) -> None:
    import h5py

    with h5py.File(partial, "r+") as file:
        data, done = file["x_data"], file["done"]
        offset, scale = file["offset"][:][:, None], float(file.attrs["scale"])
        left = np.flatnonzero(done[:] == 0)
        for first in range(0, len(left), work.batch):
            rows = left[first : first + work.batch]
            data[rows] = ((work.maps(rows) - offset) / scale).astype(np.float16)
            file.flush()  # before it is called done
            done[rows] = 1
            file.flush()
