"""Where a run comes from: what was installed, which code, which machine, which command, when."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heschl.recipe import Recipe

_PACKAGES = ("torch", "lightning", "numpy", "scipy", "soundfile", "soxr", "safetensors")


def origin(recipe: Recipe, **facts: Any) -> dict[str, Any]:
    """Where a run comes from: versions, git state, command line, machine, and the facts given."""
    versions = {"python": platform.python_version(), "heschl": _version("heschl")}
    versions.update({name: _version(name) for name in _PACKAGES})
    return {
        "versions": versions,
        "git": _git(recipe.folder or Path.cwd()),
        "command": sys.argv,
        "machine": {"system": platform.platform(), "processors": os.cpu_count()},
        "recipe_folder": None if recipe.folder is None else str(recipe.folder),
        "start": now(),
        "stop": None,
        **facts,
    }


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit and whether anything differs from it, of the folder that the recipe lies in; None outside git."""
    try:
        asked = functools.partial(
            subprocess.run,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
            encoding="utf-8",
        )
        commit = asked(["git", "rev-parse", "HEAD"]).stdout.strip()
        return {"commit": commit, "changed": bool(asked(["git", "status", "--porcelain"]).stdout.strip())}
    except (OSError, subprocess.SubprocessError):
        return None
