"""The stories of `examples/`: each runs on small settings, and its page and notebook hold what the file holds."""

from __future__ import annotations

import importlib.util
import json
import runpy
from pathlib import Path
from types import ModuleType

import pytest

from heschl.recipe.plain import read_yaml

ROOT = Path(__file__).resolve().parents[1]
STORIES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
NEEDS = {"in_the_brain": ("mne", "nilearn")}  # story -> packages of an extra


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stories", ROOT / "tools" / "stories.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", STORIES)
def test_compiles_and_is_in_the_docs(name: str, tool: ModuleType) -> None:
    source = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    compile(source, name, "exec")
    story = tool.cells(source)
    assert story[0].kind == "markdown" and story[0].text.startswith("# ")
    # The cells are all of the file: nothing is lost on the way to the page.
    code = [line for line in source.split("\n") if line and not line.startswith("#")]
    kept = [line for cell in story if cell.kind == "code" for line in cell.text.split("\n")]
    assert [line for line in kept if line and not line.startswith("#")] == code
    page = (ROOT / "docs" / "stories" / f"{name}.md").read_text(encoding="utf-8")
    assert f"stories/{name}.md" in json.dumps(nav())
    for cell in story[1:]:
        assert cell.text in page, f"run tools/stories.py {name}"
    for picture in (ROOT / "docs" / "pictures" / "stories").glob(f"{name}-*.png"):
        assert picture.name in page and picture.stat().st_size < 150_000


@pytest.mark.parametrize("name", STORIES)
def test_the_notebook_holds_the_same(name: str, tool: ModuleType) -> None:
    story = tool.cells((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8"))
    book = json.loads((ROOT / "docs" / "stories" / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 4)
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in book["cells"]] == [
        tuple(c) for c in story
    ]
    assert all(cell["outputs"] == [] for cell in book["cells"] if cell["cell_type"] == "code")


def nav() -> object:
    """The docs' table of contents, without the tags of mkdocs that plain YAML lacks."""
    return read_yaml(ROOT / "mkdocs.yml")["nav"]


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPS", "2")
    monkeypatch.setenv("OUT", "story")
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name=f"story_{name}")
    said = capsys.readouterr().out
    assert len(said.splitlines()) > 3 and "nan" not in said.split()
    assert list(Path("story").glob("*.png"))
