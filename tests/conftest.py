"""What every test may ask for: the real recordings beside the checkout, and one thread for torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and references that lies beside the checkout, where there is one."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the real recordings (a folder `shared` beside the checkout) are not here")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def no_flush() -> Iterator[None]:
    """Files need not outlast a power failure here: flushing thousands of them to the disk takes a good part of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never read or fill the user's own cache."""
    monkeypatch.setenv("HESCHL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
