"""YAML as plain values, and nothing more: text, numbers, true and false, null, lists and mappings.

Read as YAML 1.2's core: `yes`, `no`, `on` and `off` are words (they are spoken ones in Speech Commands), `1e-3`
is a number, `01` is text. Anchors, tags, dates and repeated keys are refused, and so are files that are too
large or too deep, before they can fill the memory.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from heschl.files import read_text, write_text
from heschl.types import HeschlError

MAX_CHARACTERS = 200_000
MAX_DEPTH = 20


class _Refused(Exception):
    pass


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with fewer types, no aliases, no repeated keys and a limited depth."""

    yaml_implicit_resolvers = {}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise _Refused(f"line {event.start_mark.line + 1} uses a YAML alias (*): write the value out")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(f"it is nested more than {MAX_DEPTH} levels deep: recipes are flat")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = True) -> dict[Any, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.tag.endswith((":str", ":int")):
                raise _Refused(f"line {line} has a key that is not a name: write text before the colon")
            if key_node.value in mapping:
                raise _Refused(f"line {line} gives `{key_node.value}` a second time: keep one")
            mapping[key_node.value] = self.construct_object(value_node, deep=True)
        return mapping


def _float(loader: Any, node: Any) -> float:
    text = node.value.replace("_", "")
    value = math.inf if text.lower().lstrip("+-") in (".inf", ".nan") else float(text)
    if not math.isfinite(value):
        raise _Refused(
            f"line {node.start_mark.line + 1} holds a number that is not finite: write a finite one"
        )
    return value


_TAG = "tag:yaml.org,2002:"
for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
):
    # A float needs a point or an exponent: `01` stays text, as speakers and takes are written so.
    _regex = re.compile(rf"^(?:{_pattern})$" if _name != "float" else rf"^(?=.*[.eE])(?:{_pattern})$")
    _Loader.add_implicit_resolver(_TAG + _name, _regex, _first)
_Loader.add_constructor(_TAG + "float", _float)
_Loader.add_constructor(_TAG + "int", lambda loader, node: int(node.value.replace("_", "")))
_Loader.add_constructor(_TAG + "map", lambda loader, node: loader.construct_mapping(node))  # type: ignore[arg-type]


def parse_value(text: str, where: str) -> Any:
    """One YAML value from text; ``where`` names it in the error."""
    if len(text) > MAX_CHARACTERS:
        raise HeschlError(
            f"{where} holds {len(text)} characters, and a recipe at most {MAX_CHARACTERS}: shorten it"
        )
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except _Refused as error:
        raise HeschlError(f"{where}: {error}") from None
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise HeschlError(
            f"{where}: line {line} asks for more than a plain value (a YAML tag): remove it"
        ) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise HeschlError(f"{where} is not YAML (line {line}: {error.problem}): mend that line") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise HeschlError(f"{where} is not YAML ({str(error).splitlines()[0][:80]}): mend it") from None
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml(path: Path | str) -> dict[str, Any]:
    """A YAML file whose top level is a mapping.

    Raises
    ------
    HeschlError: missing, too large, not YAML, or not a mapping.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > 4 * MAX_CHARACTERS:
        raise HeschlError(f"{path} is larger than any recipe ({path.stat().st_size} bytes): check the path")
    value = parse_value(read_text(path), str(path))
    if not isinstance(value, dict):
        found = "empty" if value is None else f"a {type(value).__name__}"
        raise HeschlError(f"{path} is {found}, and a recipe is a mapping of keys: begin with `format: 1`")
    return value


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back as the same values: text that looks like a number is quoted."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> Any:
        # unusual line ends and marks are lost unless they are escaped
        return self.represent_scalar(
            _TAG + "str", data, '"' if set(data) & set("\x85\u2028\u2029\ufeff") else None
        )


_Dumper.add_representer(str, _Dumper.represent_str)


def write_yaml(path: Path | str, value: dict[str, Any]) -> None:
    write_text(path, yaml_text(value))


def yaml_text(value: dict[str, Any]) -> str:
    """A mapping as `read_yaml` reads it back."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def nearest(name: str, known: Iterable[str], under: str = "") -> str:
    """`: did you mean ...?` where a known name is near, else what is known, else nothing."""
    before = under + "." if under else ""
    known = [item for item in known if not item.startswith("_")]
    close = difflib.get_close_matches(name, known, 1, 0.6)
    if not close:
        folded = {item.lower(): item for item in known}
        close = [folded[item] for item in difflib.get_close_matches(name.lower(), folded, 1, 0.6)]
    if close:
        return f": did you mean `{before}{close[0]}`?"
    more = f" and {len(known) - 12} more" if len(known) > 12 else ""
    return f": choose among {', '.join(sorted(known)[:12])}{more}" if known else ""


# --- overrides: dotted keys ----------------------------------------------------------------------------


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """`["train.epochs=3", "model.widths=[8, 8]"]` -> dotted keys with YAML values."""
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise HeschlError(f"'{text}' is not an override: write key=value, for example train.epochs=3")
        values[key.strip()] = parse_argument(value, f"the override {key.strip()}")
    return values


def parse_argument(text: str, where: str) -> Any:
    """As `parse_value`, of what was typed: nobody comments an argument, and folders are called "take #2": YAML would end
    such a name at its #."""
    found, whole = parse_value(text, where), text.strip()
    return whole if isinstance(found, str) and re.match(re.escape(found) + r"\s+#", whole) else found


def override(raw: dict[str, Any], key: str, value: Any, where: str) -> None:
    *parents, last = key.split(".")
    section: Any = raw
    for i, name in enumerate([*parents, last]):
        final = i == len(parents)
        if isinstance(section, list):
            if not name.isdigit() or int(name) >= len(section):
                raise HeschlError(
                    f"{where}: the override {key} counts past the list's {len(section)} entries, from 0"
                )
            if final:
                section[int(name)] = value
            else:
                section = section[int(name)]
        elif isinstance(section, dict):
            if final:
                section[name] = value
            else:
                inner = section.get(name)
                if (
                    isinstance(inner, str) and inner and name not in parents[:i]
                ):  # `model: kws.KWS`, a part in short
                    inner = {"use": inner}
                section[name] = {} if inner is None else inner
                section = section[name]
        else:
            raise HeschlError(
                f"{where}: the override {key} goes below {name!r}, which is a plain value: check the key"
            )


# --- what is wrong, for people ---------------------------------------------------------------------------

_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-', beginning with a letter or digit",
}


def complaint(error: ValidationError, model: Any) -> str:
    """The first of a pydantic error's findings, as a sentence that ends with the mend."""
    problems = error.errors(include_url=False)
    problem = min(
        problems, key=lambda item: item["type"] != "extra_forbidden"
    )  # a misspelt key explains the rest
    path = [str(step) for step in problem["loc"] if not (isinstance(step, str) and "[" in step)]
    if path and path[-1] == "args":
        path.pop()
    key, kind, found = ".".join(path), problem["type"], problem["input"]
    if kind == "extra_forbidden":
        known = _fields_at(path[:-1], model)
        return f"`{key}` is not a key of a recipe{nearest(path[-1], known, '.'.join(path[:-1]))}"
    if kind == "missing":
        if path and path[-1] == "use":
            return f"`{'.'.join(path[:-1])}` does not say which part it is: add `use: ...`"
        return f"`{key}` is missing: add it"
    if kind == "value_error":
        return f"`{key}` {str(problem['msg']).removeprefix('Value error, ')}"
    shown = "null" if found is None else repr(found)
    return f"`{key}` is {shown if len(shown) < 60 else shown[:57] + '...'}: it must be {wanted(problem)}"


def wanted(problem: Mapping[str, Any]) -> str:
    """What one of a pydantic error's findings asks for: "a whole number", "text in quotes, '7'"."""
    kind, found = problem["type"], problem["input"]
    if kind == "string_type" and isinstance(found, int | float):
        return f"text in quotes, '{found}'"
    said = str(problem["msg"]).removeprefix("Value error, ").replace("Input should be ", "")
    return _WANTED.get(kind) or said


def _fields_at(path: list[str], model: Any) -> list[str]:
    for step in path:
        if step.isdigit():
            continue
        field = model.model_fields.get(step)
        if field is None:
            return []
        inner = [field.annotation, *get_args(field.annotation)]
        nested = [item for item in inner if isinstance(item, type) and issubclass(item, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return list(model.model_fields)
