"""The public surface: lazily there, and `import heschl` brings nothing heavy with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import heschl

HEAVY = {
    "torch",
    "numpy",
    "scipy",
    "lightning",
    "matplotlib",
    "pandas",
    "mne",
    "soundfile",
    "dask",
    "pydantic",
}


def test_import_brings_nothing_heavy() -> None:
    code = f"import sys, heschl; found = {HEAVY!r} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})


def test_nothing_that_comes_along_counts_this_computer(tmp_path: Path) -> None:
    """Of itself onnxruntime, which lightning imports, writes a device's number into the home folder, and sends counts to its makers."""
    pytest.importorskip("onnxruntime")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_"))}
    subprocess.run(
        [sys.executable, "-c", "import heschl, onnxruntime"],
        check=True,
        env={**kept, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)},
    )
    assert list(tmp_path.rglob("*device*")) == []


@pytest.mark.parametrize("name", heschl.__all__)
def test_every_name_is_there(name: str) -> None:
    assert callable(getattr(heschl, name))


def test_rooms_are_attributes_and_a_wrong_name_says_so() -> None:
    assert heschl.features.__name__ == "heschl.features"
    with pytest.raises(AttributeError, match="trian"):
        _ = heschl.trian
    assert not hasattr(heschl, "__path_of_nothing__")
