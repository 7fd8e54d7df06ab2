"""The stories of `examples/` as notebooks and as pages of the docs, with what they print and draw.

    python tools/stories.py                 # notebooks and pages of all, with what was last printed and drawn
    python tools/stories.py words_crnn      # runs this one anew

A story is a Python file in percent format: `# %%` begins a cell of code, `# %% [markdown]` one of text. Written are
`docs/stories/NAME.md`, `docs/stories/NAME.ipynb` and, where a story is run, `docs/pictures/stories/NAME-*.png` and
`docs/stories/NAME.json`, what each cell printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES, STORIES, PICTURES = (
    ROOT / "examples",
    ROOT / "docs" / "stories",
    ROOT / "docs" / "pictures" / "stories",
)
WIDEST, LARGEST = 1440, 150_000  # pixels; bytes of a picture


class Cell(NamedTuple):
    """One cell: "code" or "markdown", and its text."""

    kind: str
    text: str


def names() -> list[str]:
    return sorted(path.stem for path in EXAMPLES.glob("*.py"))


def cells(source: str) -> list[Cell]:
    """The cells of a file in percent format; text without its comment signs."""
    found = []
    for head, body in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n?)*)", source, re.MULTILINE):
        text = body.strip("\n")
        if "[markdown]" in head:
            found.append(
                Cell(
                    "markdown",
                    "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.split("\n")),
                )
            )
        elif text:
            found.append(Cell("code", text))
    return found


def notebook(story: Sequence[Cell]) -> str:
    """A Jupyter notebook, format 4.4, without outputs."""
    made: list[dict[str, Any]] = []
    for cell in story:
        one: dict[str, Any] = {
            "cell_type": cell.kind,
            "metadata": {},
            "source": cell.text.splitlines(keepends=True),
        }
        made.append(one | ({"execution_count": None, "outputs": []} if cell.kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def page(name: str, story: Sequence[Cell], shown: Sequence[dict[str, Any]]) -> str:
    """A page of the docs: text, code, and under each cell of code what it printed and drew."""
    parts, printed = [], iter(shown)
    for cell in story:
        if cell.kind == "markdown":
            parts.append(cell.text)
            continue
        parts.append(f"```python\n{cell.text}\n```")
        out = next(printed, {})
        if out.get("text"):
            parts.append(f"```text\n{out['text'].rstrip()}\n```")
        parts += [f"![{alt}](../pictures/stories/{file})" for file, alt in out.get("pictures", {}).items()]
    links = f"[This story as a notebook]({name}.ipynb){{ download }} · `examples/{name}.py`"
    if not shown:
        links += "\n\n*This page shows the code alone: what it prints and draws has not been rendered yet.*"
    title, _, rest = parts[0].partition("\n\n")
    return "\n\n".join([title, links, rest, *parts[1:]]) + "\n"


def run(name: str) -> list[dict[str, Any]]:
    """Runs a story in a folder of its own: for each cell of code, what it printed and the pictures that it left."""
    import torch

    torch.set_num_threads(1)
    shown: list[dict[str, Any]] = []
    told: dict[str, Any] = {"__name__": f"story_{name}"}
    for old in PICTURES.glob(f"{name}-*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out, seen = Path("story"), set[Path]()
        os.environ["OUT"] = str(out)
        for cell in cells((EXAMPLES / f"{name}.py").read_text(encoding="utf-8")):
            if cell.kind == "markdown":
                continue
            with contextlib.redirect_stdout(io.StringIO()) as text:
                exec(compile(cell.text, f"{name}.py", "exec"), told)
            new = sorted(set(out.glob("*.png")) - seen, key=lambda path: path.stat().st_mtime)
            seen |= set(new)
            kept = {keep(name, path): path.stem.replace("-", " ") for path in new}
            shown.append({"text": text.getvalue(), "pictures": kept})
    return shown


def keep(name: str, path: Path) -> str:
    """A picture in the docs' folder, no wider than `WIDEST` and with few colours."""
    from PIL import Image

    PICTURES.mkdir(parents=True, exist_ok=True)
    target, picture = PICTURES / f"{name}-{path.stem}.png", Image.open(path).convert("RGB")
    for width, colours in ((WIDEST, 256), (WIDEST, 128), (WIDEST, 48), (1000, 48), (800, 32), (640, 24)):
        small = picture
        if picture.width > width:
            small = picture.resize(
                (width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS
            )
        small.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            target, optimize=True
        )
        if target.stat().st_size < LARGEST:
            return target.name
    raise SystemExit(f"{target} is larger than {LARGEST} bytes: draw it smaller")


def main(asked: Sequence[str]) -> None:
    STORIES.mkdir(parents=True, exist_ok=True)
    for name in names():
        story = cells((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))
        held = STORIES / f"{name}.json"
        if name in asked:
            held.write_text(json.dumps(run(name), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        shown = json.loads(held.read_text(encoding="utf-8")) if held.exists() else []
        (STORIES / f"{name}.md").write_text(page(name, story, shown), encoding="utf-8")
        (STORIES / f"{name}.ipynb").write_text(notebook(story), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
