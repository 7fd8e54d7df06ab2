"""The house's rows: a file imports only from rows before its own, absolutely, and heavy things stay in their room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "heschl"

ROWS = [
    {"types", "signal", "files", "wording"},
    {"corpora", "features", "models"},
    {"tasks", "explanation", "brain"},
    {"recipe"},
    {"contract"},
    {"figures"},
    {"provenance", "checkpoints", "waiting"},
    {"run"},
    {"training", "steps"},
    {"report"},
    {"app"},
    {"cli"},
]
ROW = {name: row for row, names in enumerate(ROWS) for name in names}
ONLY_HOME = {"lightning": "training", "matplotlib": "figures", "typer": "cli"}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def place(path: Path) -> str:
    """The room of a file: its folder, or its own name at the top; ``cli_*.py`` belongs to cli."""
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "cli" if first.startswith("cli") else first


def imports(text: str) -> list[str]:
    """Every module that the text imports, anywhere; relative imports begin with a dot."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" if not node.level else "." for alias in node.names]
    return found


def faults(room: str, text: str) -> list[str]:
    found = []
    for name in imports(text):
        head, *rest = name.split(".")
        if head == "":
            found.append("imports relatively")
        elif head == "heschl" and rest:
            other = "cli" if rest[0].startswith("cli") else rest[0]
            if other not in ROW:
                if other[:1].islower() and (SOURCE / other).exists():
                    found.append(f"imports {name}, which stands in no row")
            elif other != room and ROW[other] >= ROW[room] and not (ROW[room] == ROW[other] == 0):
                found.append(f"imports {name}, which is not in a row before {room}")
        elif ONLY_HOME.get(head, room) != room:
            found.append(f"imports {head}, whose only home is {ONLY_HOME[head]}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_imports_only_from_rows_before_its_own(path: Path) -> None:
    assert place(path) in ROW, f"{path.name} stands in no row: add it to ROWS, or move it"
    assert faults(place(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ("models", "from heschl.tasks import classify"),
        ("models", "import heschl.corpora.words"),
        ("types", "from heschl.run import Run"),
        ("tasks", "from . import classify"),
        ("steps", "import matplotlib.pyplot as plt"),
        ("corpora", "def f():\n    from heschl.features import store"),
    ],
)
def test_the_rows_are_really_enforced(room: str, text: str) -> None:
    assert len(faults(room, text)) == 1
