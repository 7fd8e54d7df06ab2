"""MATLAB's files, versions 5 to 7.2, read by scipy once they hold what they say: a damaged size would have it ask for all memory."""

from __future__ import annotations

import mmap
import struct
import zlib
from math import prod
from pathlib import Path
from typing import Any

from heschl.types import HeschlError

HEAD = 128  # bytes before the first element
MATRIX, COMPRESSED = 14, 15  # types of elements
CELL, STRUCT, SPARSE, NUMBER = 1, 2, 5, 15  # classes of matrices, the last of them of numbers
DENSEST = 1032  # bytes that one byte of deflate can become
START = 4096  # bytes of what is compressed that are looked at


def read_mat(path: Path, *names: str) -> dict[str, Any]:
    """Variables of a MATLAB file (version 5 to 7.2), structs as dictionaries.

    Raises
    ------
    HeschlError: the file is missing, damaged, of version 7.3, or lacks one of them.
    """
    from scipy.io import loadmat

    try:
        _plausible(path)
        found: dict[str, Any] = loadmat(str(path), squeeze_me=True, simplify_cells=True)
    except FileNotFoundError:
        raise HeschlError(f"{path} is not there: check the folder") from None
    except NotImplementedError:
        raise HeschlError(f"{path} is a MATLAB 7.3 file: save it again with -v7") from None
    except HeschlError:
        raise
    except Exception as error:  # scipy has no one error for damaged files
        said = (str(error).splitlines() or [""])[0][:100]
        raise HeschlError(f"{path} is damaged or no MATLAB file ({said}): download it again") from None
    absent = [name for name in names if name not in found]
    if absent:
        there = ", ".join(name for name in found if not name.startswith("__"))
        raise HeschlError(f"{path} has no variable {absent[0]}: it holds {there or 'nothing'}")
    return found


def _plausible(path: Path) -> None:
    """Raises HeschlError where a matrix is said to have more cells than its bytes can hold; what else is wrong scipy says."""
    if not path.is_file() or path.stat().st_size <= HEAD:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
        if order is None:
            return
        place = HEAD
        while place + 8 <= len(data):
            kind, size = struct.unpack_from(f"{order}II", data, place)
            end = place + 8 + size
            if end > len(data):
                raise _implausible(path)
            if kind == COMPRESSED:
                start = zlib.decompressobj().decompress(data[place + 8 : min(end, place + 8 + START)], START)
                if len(start) >= 8:
                    inner = struct.unpack_from(f"{order}I", start, 4)[0]
                    if inner > DENSEST * size:
                        raise _implausible(path)
                    _matrix(path, start, order, 8, inner + 8, deep=False)
                place = end
            else:
                if kind == MATRIX:
                    _matrix(path, data, order, place + 8, end, deep=True)
                place = end + -size % 8


def _matrix(path: Path, data: Any, order: str, place: int, end: int, deep: bool) -> None:
    """The same of one matrix, whose parts begin at ``place``; ``deep``: and of those in it."""
    if end - place < 16:
        return  # empty
    kind = struct.unpack_from(f"{order}I", data, place + 8)[0] & 255
    if kind == SPARSE or not CELL <= kind <= NUMBER:
        return  # laid out otherwise
    first, last, place = _element(data, order, place + 16)
    if last > min(end, len(data)):
        raise _implausible(path)
    shape = struct.unpack_from(f"{order}{(last - first) // 4}i", data, first)
    count = prod(shape)
    if min(shape, default=0) < 0 or count * (8 if kind == CELL else 1) > end - place:
        raise _implausible(path)
    if not deep or kind not in (CELL, STRUCT):
        return
    _, _, place = _element(data, order, place)  # its name
    fields = 1
    if kind == STRUCT:
        first, last, place = _element(data, order, place)
        length = max(1, struct.unpack_from(f"{order}i", data, first)[0])
        first, last, place = _element(data, order, place)
        fields = (last - first) // length
    for _ in range(count * fields):
        if place + 8 > end:
            raise _implausible(path)
        inner, size = struct.unpack_from(f"{order}II", data, place)
        stop = place + 8 + size
        if stop > end:
            raise _implausible(path)
        if inner == MATRIX:
            _matrix(path, data, order, place + 8, stop, deep)
        place = stop + -size % 8


def _element(data: Any, order: str, place: int) -> tuple[int, int, int]:
    """Where an element's values begin and end, and where the next one begins; small ones lie in their own tag."""
    kind, size = struct.unpack_from(f"{order}II", data, place)
    if kind >> 16:
        return place + 4, place + 4 + (kind >> 16), place + 8
    return place + 8, place + 8 + size, place + 8 + size + -size % 8


def _implausible(path: Path) -> HeschlError:
    return HeschlError(f"{path} is damaged (a size in it is more than it holds): download it again")
