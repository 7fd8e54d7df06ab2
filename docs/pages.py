"""Fills the pages that are made from the code itself: commands, recipe keys, shipped recipes, tables, the README.

A mkdocs hook: `{{ name }}` on a page becomes what the function of that name gives.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heschl.recipe import Recipe, shipped
from heschl.recipe.parts import KINDS, find_part
from heschl.recipe.plain import read_yaml
from heschl.steps.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    for name in ("readme", "recipe_keys", "parts", "recipes", "commands", "results", "faithful"):
        mark = "{{ " + name + " }}"
        if mark in markdown:
            markdown = markdown.replace(mark, globals()[name]())
    return markdown


def readme() -> str:
    """README with its links into docs/ made local, those to tables led to the page that holds them, others as text."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text)
    text = re.sub(
        r"(?m)^( {4}\S.*?) {3,}# ", r"\1  # ", text
    )  # comments stand in a column there, and here beside
    text = re.sub(r"\]\(bench/results[^)]*\)", "](results.md)", text)

    def kept(link: re.Match[str]) -> str:
        target = link[2]
        there = target.startswith(("http", "#")) or (ROOT / "docs" / target.split("#")[0]).is_file()
        return link[0] if there else link[1]

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)]+)\)", kept, text)


def recipe_keys() -> str:
    rows = ["| key | takes | default | what it is |", "|---|---|---|---|"]
    schema = Recipe.model_json_schema(mode="validation")
    rows += [
        f"| `{key}` | {kind} | {default} | {_plain(what)} |"
        for key, kind, default, what in _keys(schema, schema, "")
    ]
    return "\n".join(rows)


def _keys(schema: dict[str, Any], whole: dict[str, Any], before: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in schema.get("properties", {}).items():
        if name == "args":
            continue  # they stand beside `use`
        key = before + name
        given = field.get("default")
        default = "–" if given in (None, "", []) else "see below" if isinstance(given, dict) else f"`{given}`"
        default = "required" if name in schema.get("required", ()) else default
        yield key, _kind(field, whole), default.replace("|", "\\|"), field.get("description", "")
        for inner in _inner(field, whole):
            if {"use", "args"} != set(inner.get("properties", {})):  # a part's own keys are told below
                yield from _keys(inner, whole, key + ("[]." if field.get("type") == "array" else "."))


def _inner(field: dict[str, Any], whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in (field, field.get("items", {}), *field.get("anyOf", ()), *field.get("allOf", ())):
        if "$ref" in one:
            yield whole["$defs"][one["$ref"].rsplit("/", 1)[1]]


def _kind(field: dict[str, Any], whole: dict[str, Any]) -> str:
    if "$ref" in field:
        target = whole["$defs"][field["$ref"].rsplit("/", 1)[1]]
        return "a part" if "use" in target.get("properties", {}) else "keys"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_kind(one, whole) for one in field["anyOf"]))
    if field.get("type") == "array":
        return f"a list: {_kind(field.get('items', {}), whole)}"
    names = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "true or false",
        "null": "null",
    }
    return names.get(field.get("type", ""), "keys" if field.get("type") == "object" else "anything")


def _plain(text: str) -> str:
    """Braces and bars as they are: in a table they would be read as attributes and cells."""
    return text.replace("{", "&#123;").replace("}", "&#125;").replace("|", "&#124;")


def parts() -> str:
    """Every part that a recipe can use, with its own keys, from the signatures that recipes are checked against."""
    blocks = []
    for kind, (_, filled) in KINDS.items():
        if kind == "optimiser":
            continue  # torch's own
        rows = ["| use | its keys | what it is |", "|---|---|---|"]
        for use, part in _parts(kind):
            keys = ", ".join(
                f"`{name}`" if one.default is one.empty else f"`{name}={one.default!r}`".replace("|", "\\|")
                for name, one in inspect.signature(part).parameters.items()
                if name not in filled and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
            )
            what = " ".join((inspect.getdoc(part) or "").split("\n\n")[0].split())
            rows.append(f"| `{use}` | {keys or '–'} | {_plain(what)} |")
        blocks.append(f"### {kind}\n\n" + "\n".join(rows))
    return "\n\n".join(blocks)


# what classes of a kind have
MADE = {"feature": "forward", "model": "areas", "task": "bind", "augment": "__call__"}


def _parts(kind: str) -> Iterator[tuple[str, Any]]:
    """Public parts of a kind: what a recipe writes after `use`, and what it names."""
    home = importlib.import_module(KINDS[kind][0])
    if kind == "explain":
        for use in sorted({use for use, _ in METHODS.values()}):
            yield use, find_part(use, kind)
        return
    if kind == "speech":
        yield from ((use, find_part(use, kind)) for use in ("energy", "Wav2Vec2Speech"))
        return
    if kind in ("split", "schedule"):
        first = ["corpus", "seed"] if kind == "split" else ["step"]
        for name, part in vars(home).items():
            takes = inspect.signature(part).parameters if inspect.isfunction(part) else {}
            if all(one in takes for one in first) and name[0] != "_":
                yield name, part
        return
    for name in sorted(one.name for one in pkgutil.iter_modules(home.__path__)):
        if name.startswith("_") or (kind == "feature" and name.startswith("augment")):
            continue
        if kind == "augment" and name != "augment":  # which gathers those of the other files
            continue
        module = importlib.import_module(f"{home.__name__}.{name}")
        if kind == "corpus" and hasattr(module, "write_tiny"):
            yield name, module.read
        for item, part in vars(module).items():
            if kind not in MADE or item.startswith("_") or not inspect.isclass(part):
                continue
            own = part.__module__.startswith(module.__name__) and not getattr(part, "_is_protocol", False)
            if own and hasattr(part, MADE[kind]):
                yield f"{name}.{item}", part


def recipes() -> str:
    rows = ["| recipe | what | data | download | minutes on two cores |", "|---|---|---|---|---|"]
    for name, path in shipped().items():
        about = read_yaml(path).get("about", {})
        cells = [about.get(key, "") for key in ("what", "data", "download", "minutes")]
        rows.append(f"| `{name}` | " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def commands() -> str:
    """Every command with what it does, its arguments and options, from the command line itself."""
    import typer

    from heschl.cli import app

    root = typer.main.get_command(app)
    return "\n\n".join(_command(f"heschl {name}", one) for name, one in sorted(root.commands.items()))  # type: ignore[attr-defined]


def _command(name: str, command: Any) -> str:
    if getattr(command, "commands", None):
        inner = [_command(f"{name} {key}", one) for key, one in sorted(command.commands.items())]
        return "\n\n".join(inner)
    what = (command.help or command.short_help or "").strip()
    before, _, example = what.partition("Example: ")
    lines = [f"## {name}", "", " ".join(before.split()), ""]
    if example:
        lines += [f"    {example.strip()}", ""]
    rows = [
        (
            ", ".join(one.opts) if one.param_type_name == "option" else (one.metavar or one.name.upper()),
            getattr(one, "help", "") or "",
        )
        for one in command.params
        if one.name != "help" and not getattr(one, "hidden", False)
    ]
    if rows:
        lines += ["| takes | what it is |", "|---|---|"]
        lines += [
            f"| `{key.replace('|', ' or ')}` | {' '.join(text.split()).replace('|', ' or ')} |"
            for key, text in rows
        ]
    return "\n".join(lines)


def results() -> str:
    """The tables of bench/results, each under the first line of the script that wrote it."""
    parts = []
    for path in sorted(
        (ROOT / "bench" / "results").glob("*.md"), key=lambda one: int(one.stem.split("-")[0])
    ):
        name = path.stem.split("-", 1)[1]
        script = ROOT / "bench" / f"{ {'relevance': 'lrp'}.get(name, name) }.py"
        first = script.read_text(encoding="utf-8").split('"""')[1].split("\n")[0] if script.exists() else name
        parts.append(
            f"## {first.rstrip('.')}\n\n`bench/{script.name}`\n\n{path.read_text(encoding='utf-8').strip()}"
        )
    return "\n\n".join(parts)


def faithful() -> str:
    """What the table of faithfulness says in plain words, as the script that wrote it computed them."""
    text = (ROOT / "bench" / "results" / "5-faithful.md").read_text(encoding="utf-8")
    return re.split(r"\n###", text.split("### In plain words")[1])[0].strip()
