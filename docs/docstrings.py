"""Docstrings of this house as Markdown, for the reference: sections become lists of names with what is said of them.

A griffe extension. Our docstrings say `name: what it is. other: what that is` under numpy's headings, which numpy's own
parser would take for types.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

try:
    from griffe import Extension
except ImportError:  # the tests read what is below without the docs' extra
    Extension = object  # type: ignore[assignment,misc]

SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", re.MULTILINE)
NAME = r"\*{0,2}[A-Za-z_]\w*"
NAMED = re.compile(rf"^({NAME}(?:, {NAME})*): (.*)$", re.DOTALL)
NEXT = re.compile(rf"(?<=[.;)]) (?=(?:{NAME}(?:, {NAME})*): )")


class HouseDocstrings(Extension):
    """Rewrites every docstring before it is rendered as Markdown."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring is None:
            return
        maker = obj.members.get("__init__") if obj.is_class else obj
        names = [one.name for one in getattr(maker, "parameters", ())]
        obj.docstring.value = as_markdown(obj.docstring.value, names)


def as_markdown(text: str, names: Collection[str] = ()) -> str:
    """A docstring, unindented, as Markdown; names: of the arguments, by which a line that tells of several is parted."""
    parts = SECTION.split(text)
    made = [_paragraphs(parts[0])]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        made += [f"**{title}**", "\n\n".join(_listed(body, names if title == "Parameters" else ()))]
    return "\n\n".join(part for part in made if part)


def _listed(body: str, names: Collection[str]) -> Iterator[str]:
    """Blocks of a section: lists of what is named, and paragraphs of what is not."""
    for block in re.split(r"\n\s*\n", body.strip("\n")):
        if ">>>" in block:
            yield _paragraphs(block)
            continue
        items = [" ".join(item.split()) for item in re.split(r"\n(?! )", block)]
        lines: list[str] = []
        for one in (piece for item in items for piece in _pieces(item, names)):
            named = NAMED.match(one)
            if named:
                told = ", ".join(f"`{name}`" for name in named[1].split(", "))
                gap = (
                    "" if not lines or lines[-1].lstrip().startswith("- ") else "\n"
                )  # a list begins after an empty line
                lines.append(f"{gap}- {told}: {_safe(named[2])}")
            elif lines:
                lines[-1] += " " + _safe(one)
            else:
                lines.append(_safe(one))
        yield "\n".join(lines)


def _pieces(item: str, names: Collection[str]) -> Iterator[str]:
    """An item that tells of several names, one by one."""
    first = 0
    for cut in NEXT.finditer(item):
        named = NAMED.match(item[cut.end() :])
        told = [name.lstrip("*") for name in named[1].split(", ")] if named else []
        if NAMED.match(item) and (not names or all(name in names for name in told)):
            yield item[first : cut.start()]
            first = cut.end()
    yield item[first:]


def _paragraphs(text: str) -> str:
    """Text as it is, with its examples as code."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        before, sign, code = block.partition(">>>")
        blocks += [_safe(before.rstrip())] if before.strip() else []
        blocks += [f"```pycon\n>>>{code}\n```"] if sign else []
    return "\n\n".join(blocks)


def _safe(text: str) -> str:
    """Nothing outside of code is taken for HTML or emphasis."""
    parts = re.split(r"(`+[^`]*`+)", text)
    parts[::2] = [re.sub(r"([*_<])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)
