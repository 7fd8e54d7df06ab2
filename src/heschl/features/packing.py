"""Caches that are whole or absent: built under a private name, then renamed, so that two processes may build at
once and a kill halfway leaves nothing in use; checked when opened, and built again where they are damaged."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import mmap
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
from torch import nn

from heschl import signal
from heschl.files import read_json, told, write_json
from heschl.types import Clip, HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
_ABANDONED = 3600.0  # a half-built cache that nobody wrote to for this long (seconds) was killed
_RESIDENT = 256 * 2**20  # bytes of a map that may stay in memory before they are given back
_SEAL = 2**16

Store = TypeVar("Store")


def cached(
    final: Path,
    build: Callable[[Path], None],
    load: Callable[[Path], Store],
    say: Callable[[str], None] | None = None,
) -> Store:
    """Opens the cache at ``final``, building it first where it is absent or damaged.

    Parameters
    ----------
    build: fills the (existing, empty) folder that it is given.
    load: opens a finished folder; raises HeschlError where it is damaged.
    say: is told, once, that a damaged cache is built again.

    Raises
    ------
    HeschlError: the disk is full, or the folder may not be written to.
    """
    if final.exists():
        try:
            return load(final)
        except HeschlError as error:
            if say:
                say(f"{error}; it is built again")
    private = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        private.mkdir(parents=True)
        _sweep(final)
        build(private)
        for file in private.iterdir():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
        return _publish(private, final, load)
    except OSError as error:
        raise told(error, final) from error
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _publish(private: Path, final: Path, load: Callable[[Path], Store]) -> Store:
    """Renames the finished folder into place, unless another process was faster (its work is the same)."""
    for _ in range(5):
        try:
            private.rename(final)
        except OSError:
            if not final.exists():
                raise
            try:
                return load(final)
            except HeschlError:  # the damaged one is still there: put it aside
                aside = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")
                with contextlib.suppress(FileNotFoundError):
                    final.rename(aside)
                shutil.rmtree(aside, ignore_errors=True)
        else:
            return load(final)
    raise HeschlError(
        f"the cache {final} could not be put in place: remove that folder and run the same again"
    )


def _sweep(final: Path) -> None:
    """Removes what killed processes left of this cache."""
    for left in final.parent.glob(f".{final.name}.*.tmp"):
        with contextlib.suppress(OSError):
            newest = max(path.stat().st_mtime for path in (left, *left.iterdir()))
            if time.time() - newest > _ABANDONED:
                shutil.rmtree(left, ignore_errors=True)


# --- the files inside --------------------------------------------------------------------------------


def write_index(folder: Path, data: Path, index: dict[str, Any]) -> None:
    """Writes what the data file holds, with its size and a checksum of its two ends."""
    write_json(
        folder / "index.json", {"format": FORMAT, "bytes": data.stat().st_size, "seal": _seal(data), **index}
    )


def read_index(folder: Path, data: str, fields: tuple[str, ...]) -> dict[str, Any]:
    """The index of a finished cache.

    Raises
    ------
    HeschlError: it is missing, not complete, of another format, or does not fit its data file.
    """
    path = folder / data
    try:
        index = read_json(folder / "index.json")
        whole = (
            isinstance(index, dict)
            and index.get("format") == FORMAT
            and all(field in index for field in fields)
            and path.stat().st_size == index.get("bytes")
            and _seal(path) == index.get("seal")
        )
    except (HeschlError, OSError):
        whole = False
    if not whole:
        raise HeschlError(f"the cache {folder} is damaged or of another version")
    checked: dict[str, Any] = index
    return checked


def _seal(path: Path) -> int:
    with path.open("rb") as file:
        head = zlib.crc32(file.read(_SEAL))
        file.seek(max(0, path.stat().st_size - _SEAL))
        return zlib.crc32(file.read(_SEAL), head)


class Mapped:
    """A flat file of numbers, memory-mapped; pickles as its path, so that workers map it for themselves."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...] = (-1,)) -> None:
        self.path, self.dtype, self.shape = path, dtype, shape
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.values: NDArray[Any] = np.frombuffer(self._map, dtype=dtype).reshape(shape)
        self._touched = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return (Mapped, (self.path, self.dtype, self.shape))

    def touched(self, count: int) -> None:
        """Told how many bytes were read, gives pages back now and then: memory must not grow with the corpus.

        They stay in the system's own file cache, from where they come back fast.
        """
        self._touched += count
        if self._touched > _RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def append(file: BinaryIO, values: NDArray[Any]) -> None:
    file.write(np.ascontiguousarray(values).data)


# --- their names -------------------------------------------------------------------------------------


def hashed(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def fingerprint(clips: Sequence[Clip], extra: Any) -> str:
    """Of the clips' files (path, size, time of change) and parts; a missing file counts as missing."""
    known: dict[Path, tuple[Any, ...]] = {}
    digest = hashlib.sha256(json.dumps([FORMAT, extra]).encode())
    for clip in clips:
        if clip.signal not in known:
            path = clip.signal.absolute()
            try:
                stat = path.stat()
                known[clip.signal] = (path.as_posix(), stat.st_size, stat.st_mtime_ns)
            except OSError:
                known[clip.signal] = (path.as_posix(), None, None)
        digest.update(json.dumps([clip.id, *known[clip.signal], clip.start, clip.stop, clip.key]).encode())
    return digest.hexdigest()[:16]


def described(feature: nn.Module) -> list[Any]:
    """All that decides a feature's values: its code, and the numbers in it and in its parts."""
    own = vars(nn.Module()).keys()
    parts: list[Any] = [_digest(inspect.getsource(signal).encode())]
    for name, part in feature.named_modules():
        code = inspect.getsource(inspect.getmodule(type(part)) or type(part))
        numbers = {
            key: _digest(value.tobytes()) if isinstance(value, np.ndarray) else repr(value)
            for key, value in vars(part).items()
            if key not in own
        }
        parts.append([name, type(part).__qualname__, _digest(code.encode()), sorted(numbers.items())])
    for name, tensor in (*feature.named_parameters(), *feature.named_buffers()):
        parts.append([name, _digest(tensor.detach().cpu().contiguous().numpy().tobytes())])
    return parts


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
