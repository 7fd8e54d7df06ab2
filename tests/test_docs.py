"""The docs are true: every command that they name is one, every block of code runs, every recipe key is a key."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "stories").glob("*.md")),
]
ELSEWHERE = {"docs/slurm.md"}  # its Python needs a cluster of machines: it is compiled, not run


def commands(text: str) -> list[str]:
    """Lines of a page that begin with `heschl`, in code of any kind; comments and continued lines put right."""
    text = re.sub(r"\\\n\s*", " ", text)
    lines = re.findall(r"^(?: {4}|srun | {4}\.venv/bin/)(heschl [^\n`]+)$", text, re.MULTILINE)
    return [*lines, *re.findall(r"`(heschl [a-z][^`]*)`", text)]


def parsed(command: str) -> None:
    """Fails where the command line would not understand the words; nothing is run."""
    from heschl.cli import app

    words = shlex.split(command, comments=True)[1:]
    one: Any = typer.main.get_command(app)
    name = "heschl"
    while getattr(one, "commands", None) and words and words[0] in one.commands:
        name = words.pop(0)
        one = one.commands[name]
    assert not getattr(one, "commands", None) or not words, f"{command}: there is no command {words[0]}"
    if not words or getattr(one, "commands", None) or words == ["--help"]:
        return  # named, not called
    one.make_context(name, words)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_command_is_one(page: Path) -> None:
    wrong = []
    for command in commands(page.read_text(encoding="utf-8")):
        if "..." in command or "NAME ..." in command:
            continue
        try:
            parsed(command)
        except (Exception, SystemExit) as error:
            wrong.append(f"{command}: {getattr(error, 'message', None) or error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "page", [path for path in PAGES if path.parent.name != "stories"], ids=lambda path: path.stem
)
def test_every_block_of_python_runs(page: Path) -> None:
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        made = compile(code, page.name, "exec")
        if page.relative_to(ROOT).as_posix() not in ELSEWHERE:
            exec(made, {"__name__": "docs"})


def test_the_network_of_the_docs_keeps_the_contract() -> None:
    from heschl.contract.models import check_model

    text = (ROOT / "docs" / "own-network.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    told: dict[str, Any] = {"__name__": "docs"}
    exec(compile(code, "own-network.md", "exec"), told)
    check_model(told["Mine"], (40, 100), 3)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_block_of_yaml_is_of_keys_that_a_recipe_has(page: Path) -> None:
    from heschl.recipe import Recipe

    keys = set(Recipe.model_fields)
    for code in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        if not code.startswith("# slurm.yaml"):
            assert set(yaml.safe_load(code)) <= keys


def test_the_file_of_a_queue_makes_the_jobs_that_it_says() -> None:
    if find_spec("dask_jobqueue") is None:
        pytest.skip("dask_jobqueue is not there (extra cluster)")
    from heschl.steps.workers import jobqueue

    slurm = jobqueue().slurm
    text = (ROOT / "docs" / "slurm.md").read_text(encoding="utf-8")
    keys = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    assert keys.pop("jobs") == 8
    script = slurm.SLURMJob("tcp://127.0.0.1:8786", "one", config_name="slurm", **keys).job_script()
    assert "#SBATCH -p normal" in script and "#SBATCH -t 02:00:00" in script
    assert all(line in script for line in keys["job_script_prologue"])


def test_links_lead_to_pages_and_headings_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import pages

    texts = {path: path.read_text(encoding="utf-8") for path in PAGES}
    texts[ROOT / "docs" / "index.md"] = pages.readme()
    for path, text in texts.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)):
            if target.startswith("http"):
                continue
            name, _, anchor = target.partition("#")
            where = (path.parent / name).resolve() if name else path
            assert where.exists(), f"{path.name} links to {target}"
            heads = re.findall(r"^#+ (.+)$", texts.get(where, ""), re.MULTILINE)
            slugs = {re.sub(r"[^\w]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}
            assert not anchor or anchor in slugs, f"{path.name} links to {target}"


def test_docstrings_of_the_house_become_lists_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from docstrings import as_markdown

    text = (
        "What it does, a * b.\n\nParameters\n----------\nwave: (time,) samples. rate: Hz; never zero, see x: y.\n"
        "    More of it.\nlow, high: <two>.\n\nFree words.\n\nRaises\n------\nHeschlError: bad.\n\n>>> f(1)\n2\n"
    )
    assert as_markdown(text, ["wave", "rate", "low", "high"]) == (
        "What it does, a \\* b.\n\n**Parameters**\n\n- `wave`: (time,) samples.\n- `rate`: Hz; never zero, see x: y. More of "
        "it.\n- `low`, `high`: \\<two>.\n\nFree words.\n\n**Raises**\n\n- `HeschlError`: bad.\n\n```pycon\n>>> f(1)\n2\n```"
    )


def test_every_part_of_the_shipped_recipes_is_among_those_that_are_described(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from heschl.recipe import load, shipped

    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import pages

    told = {kind: {use for use, _ in pages._parts(kind)} for kind in pages.KINDS if kind != "optimiser"}
    for path in shipped().values():
        recipe = load(path)
        used = {
            "corpus": [recipe.corpus, *recipe.also],
            "split": [recipe.split],
            "feature": [recipe.feature],
            "augment": recipe.augment,
            "model": [recipe.model],
            "task": [recipe.task],
            "explain": recipe.explain,
            "schedule": [recipe.train.schedule] if recipe.train.schedule else [],
        }
        for kind, parts in used.items():
            # a name as written in `features`, `spectrogram.LogMel`, may come from another module, `mel.LogMel`
            ends = {use.rsplit(".", 1)[-1] for use in told[kind]}
            assert {part.use.rsplit(".", 1)[-1] for part in parts} <= ends, (path.stem, kind)
