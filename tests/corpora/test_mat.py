"""MATLAB's files are read as scipy reads them, and refused where a size in them is more than they hold."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from heschl.corpora._mat import read_mat
from heschl.types import HeschlError

VALUES = {
    "words": np.array(["he", "was", ""], object),
    "onset": np.arange(3.0),
    "raw": {
        "hdr": {"label": np.array(["A1", "B"], object), "Fs": 500.0},
        "trial": np.arange(6.0).reshape(2, 3),
    },
    "none": np.zeros((0, 4)),
    "said": "a sentence",
    "sure": np.array([True, False]),
    "wide": np.arange(4, dtype=complex),
}


@pytest.mark.parametrize("packed", [False, True])
def test_whole_files_are_read_as_they_were_written(tmp_path: Path, packed: bool) -> None:
    savemat(tmp_path / "a.mat", VALUES, do_compression=packed)
    found = read_mat(tmp_path / "a.mat", *VALUES)
    assert list(found["words"][:2]) == ["he", "was"] and found["raw"]["hdr"]["Fs"] == 500
    np.testing.assert_array_equal(found["raw"]["trial"], VALUES["raw"]["trial"])  # type: ignore[index]
    assert found["said"] == "a sentence" and found["none"].size == 0


@pytest.mark.parametrize("name", ["words", "onset", "raw"])
def test_a_size_that_cannot_be_is_told_before_memory_is_asked_for(tmp_path: Path, name: str) -> None:
    savemat(tmp_path / "a.mat", {name: VALUES[name]})
    data = bytearray((tmp_path / "a.mat").read_bytes())
    shape = 128 + 8 + 16 + 8  # after the header, the matrix' own tag, its flags and its shape's tag
    if name == "raw":  # the shape of the last field, 2 by 3
        shape = data.rindex(struct.pack("<ii", 2, 3))
    data[shape : shape + 8] = struct.pack("<ii", 250_000_000, 3)
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(HeschlError, match="more than it holds"):
        read_mat(tmp_path / "a.mat", name)
