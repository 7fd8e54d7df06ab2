"""Object arrays from .npy files without running what a pickle may ask for.

numpy keeps an array of arrays as a pickle, and a pickle can call anything. Here none of the names in it is ever looked
up: the few that numpy writes stand for the stand-ins below, which check what they are given and keep it; every other
name is refused. The stand-ins are made anew for each file, so that a file cannot change them for the next.
"""

from __future__ import annotations

import math
import pickle
import re
import struct
import tokenize
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from heschl.types import HeschlError

# Names that numpy's own pickles hold, by what they stand for here; numpy 1 and 2 call the modules differently.
_NAMES = {
    ("numpy", "ndarray"): "array_type",
    ("numpy", "dtype"): "dtype",
    **{(f"numpy.{core}.multiarray", "_reconstruct"): "reconstruct" for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): "scalar" for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): "frombuffer" for core in ("core", "_core")},
    ("_codecs", "encode"): "encode",  # how protocol 2 writes bytes
}
_DTYPE = re.compile(r"[<>|=]?(?:f[248]|[iu][1248]|b1|O8?|O4)")
_DAMAGED = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError, MemoryError,
    RecursionError, OverflowError, struct.error, UnicodeError, SyntaxError, tokenize.TokenError,
)  # fmt: skip


class _Refused(Exception):
    """A name or a value that is not of an array of numbers."""


def _stand_ins() -> dict[str, Any]:
    class ArrayType:
        """Stands for the type numpy.ndarray, which a pickle names but must not call."""

        def __init__(self, *_: object) -> None:
            raise _Refused("a call of numpy.ndarray")

    class DType:
        def __init__(self, text: object, *_: object) -> None:
            if not isinstance(text, str) or not _DTYPE.fullmatch(text):
                raise _Refused(f"numbers of the type {str(text)[:20]!r}")
            self.text = text.lstrip("<>|=")

        def __setstate__(self, state: tuple[Any, ...]) -> None:
            order = state[1]
            if order not in ("<", ">", "|", "="):
                raise _Refused(f"a byte order {order!r}")
            self.text = order + self.text

        def real(self) -> np.dtype[Any]:
            return np.dtype(self.text)

    class Array:
        """One array as its parts; `real` puts them together after checking that they fit."""

        def __setstate__(self, state: tuple[Any, ...]) -> None:
            _, self.shape, self.dtype, self.fortran, self.data = state

        def real(self) -> np.ndarray:
            if not isinstance(self.dtype, DType) or not _is_shape(self.shape):
                raise _Refused("an array without type and shape")
            count = math.prod(self.shape)
            order: Literal["F", "C"] = "F" if self.fortran else "C"
            if self.dtype.text.strip("<>|=").startswith("O"):
                items = self.data
                if not isinstance(items, list) or len(items) != count:
                    raise ValueError("an object array whose items do not fit its shape")
                if all(isinstance(item, (int, float)) for item in items):
                    return np.array(items).reshape(self.shape, order=order)
                out = np.empty(count, object)
                for number, item in enumerate(items):
                    out[number] = _number_or_array(item)
                return out.reshape(self.shape, order=order)
            data = self.data if isinstance(self.data, (bytes, bytearray)) else b""
            if len(data) != count * self.dtype.real().itemsize:
                raise ValueError("an array whose bytes do not fit its shape")
            return np.frombuffer(data, self.dtype.real()).reshape(self.shape, order=order)

    def _number_or_array(item: object) -> Any:
        if isinstance(item, Array):
            return item.real()
        if isinstance(item, list) and all(isinstance(value, (int, float)) for value in item):
            return np.array(item)
        raise _Refused(f"an item that is no array ({type(item).__name__})")

    def reconstruct(kind: object, *_: object) -> Array:
        if kind is not ArrayType:
            raise _Refused("a kind of array that is not numpy.ndarray")
        return Array()

    def frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
        array = Array()
        array.__setstate__((1, shape, dtype, order == "F", bytes(data)))
        return array

    def scalar(dtype: Any, data: bytes) -> Any:
        if not isinstance(dtype, DType) or not isinstance(data, bytes):
            raise _Refused("a number without a type")
        return np.frombuffer(data, dtype.real())[0].item()

    def encode(text: str, encoding: str = "latin1") -> bytes:
        if encoding != "latin1":
            raise _Refused(f"text in {encoding!r}")
        return text.encode("latin1")

    made = {"array_type": ArrayType, "dtype": DType, "array": Array, "reconstruct": reconstruct}
    return made | {"frombuffer": frombuffer, "scalar": scalar, "encode": encode}


def _is_shape(shape: object) -> bool:
    return isinstance(shape, tuple) and all(isinstance(n, int) and 0 <= n < 2**40 for n in shape)


def load_object_array(file: BinaryIO) -> np.ndarray:
    """The array that numpy pickled, of arrays of numbers, read without calling anything that the pickle names.

    Raises
    ------
    _Refused, or one of `_DAMAGED`: see `load`, which turns them into sentences.
    """
    known = _stand_ins()

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Callable[..., Any]:
            if (module, name) not in _NAMES:
                raise _Refused(f"the name {module}.{name}")
            found: Callable[..., Any] = known[_NAMES[module, name]]
            return found

    value = Reader(file).load()
    if not isinstance(value, known["array"]):
        raise _Refused(f"a {type(value).__name__} in place of an array")
    out: np.ndarray = value.real()
    return out


def load(path: Path) -> np.ndarray:
    """A .npy file: an array of numbers, or an object array of such arrays.

    Raises
    ------
    HeschlError: the file is missing, damaged, or holds more than arrays of numbers: then nothing of it is run.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            reader = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = reader(file)
            if not dtype.hasobject:
                file.seek(0)
                return np.asarray(np.load(file, allow_pickle=False))
            array = load_object_array(file)
    except FileNotFoundError:
        raise HeschlError(f"{path} is not there: check the folder") from None
    except _Refused as error:
        raise HeschlError(
            f"{path} holds more than arrays of numbers ({error}), which could run code: it is not opened; "
            "save plain arrays, or ask for the HDF5"
        ) from None
    except _DAMAGED as error:
        told = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise HeschlError(
            f"{path} is truncated or not a .npy file ({told}): copy or download it again"
        ) from None
    if array.shape[: len(shape)] != shape:
        raise HeschlError(
            f"{path} says that it holds {shape} items and holds {array.shape}: download it again"
        )
    return array
