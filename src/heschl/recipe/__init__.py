"""The recipe: one YAML file, checked whole before any sound is read, and what names the run that it makes.

`heschl.recipe.schema` has the keys, `heschl.recipe.parts` finds what `use: ...` names and checks its arguments,
`heschl.recipe.plain` reads YAML as plain values.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from heschl.recipe.parts import build, check_part, importable, plain_use
from heschl.recipe.plain import (
    complaint,
    nearest,
    override,
    parse_overrides,
    parse_value,
    read_yaml,
    write_yaml,
)
from heschl.recipe.schema import FORMAT, ClipLength, CorpusPart, Part, Recipe, SpeechPart, Train
from heschl.types import HeschlError

__all__ = [
    "ClipLength",
    "CorpusPart",
    "Part",
    "Recipe",
    "SpeechPart",
    "Train",
    "build",
    "check_part",
    "importable",
    "load",
    "nearest",
    "parse_overrides",
    "run_name",
    "shipped",
    "write_yaml",
]

# What names the run. The corpus takes part by its fingerprint, so that data may move; `init` by its content.
_NAMING = {"format", "seed", "clip", "split", "feature", "augment", "model", "task", "train"}


def run_name(recipe: Recipe, corpus_fingerprint: str, init_fingerprint: str = "") -> str:
    """`<name>-<hash>`: the same for the same experiment, wherever its data lie and whatever machine runs it."""
    kept = recipe.model_dump(mode="json", include=_NAMING, exclude_defaults=True)
    kept.get("train", {}).pop("init", None)
    for where, kind, part in recipe.parts():
        section = kept
        *parents, last = where.split(".")
        for key in parents:
            section = section.get(key, {}) if isinstance(section, dict) else section
        target = section[int(last)] if isinstance(section, list) else section.get(last)
        if isinstance(target, dict) and "use" in target:
            target["use"] = plain_use(part.use, kind)
    shares = [also.share for also in recipe.also]
    if any(share is not None for share in shares):  # of the draws: no fingerprint of a corpus holds them
        kept["also"] = shares
    text = json.dumps([kept, corpus_fingerprint, init_fingerprint], sort_keys=True, ensure_ascii=False)
    return f"{recipe.name}-{hashlib.sha256(text.encode('utf-8')).hexdigest()[:10]}"


# --- reading -----------------------------------------------------------------------------------------


def shipped() -> dict[str, Path]:
    """The recipes that come with the package: name -> file."""
    folder = Path(__file__).parents[1] / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load(
    source: Path | str | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    trusted_only: bool = False,
    check_parts: bool = True,
) -> Recipe:
    """Reads and checks a whole recipe.

    Parameters
    ----------
    source: a file, the name of a shipped recipe, or a mapping of the same form.
    overrides: dotted keys -> values, for example `{"train.epochs": 3, "augment.0.p": 0.5}`.
    trusted_only: accept heschl's own parts alone; for recipes that come from strangers.
    check_parts: also import every part and check its arguments (this loads torch).

    Raises
    ------
    HeschlError: a sentence that names the recipe, the key, what was found and what would be right.
    """
    where, folder, raw = _raw(source)
    for key, value in (overrides or {}).items():
        override(raw, key, value, where)
    found = raw.get("format", FORMAT)
    if isinstance(found, int) and not isinstance(found, bool) and found != FORMAT:
        mend = "update heschl to use it" if found > FORMAT else "write `format: 1`"
        raise HeschlError(f"{where} has recipe format {found}, and this heschl reads format {FORMAT}: {mend}")
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        # a key may hold line breaks, a sentence may not
        raise HeschlError(" ".join(f"{where}: {complaint(error, Recipe)}".split())) from None
    recipe._folder = folder
    if check_parts:
        for at, kind, part in recipe.parts():
            check_part(
                part.use, part.args, kind, at=f"{where}: {at}", folder=folder, trusted_only=trusted_only
            )
    return recipe


def _raw(source: Path | str | Mapping[str, Any]) -> tuple[str, Path | None, dict[str, Any]]:
    if isinstance(source, Mapping):
        raw = parse_value(json.dumps(source, default=_not_plain), "the recipe")
        return "the recipe", None, raw
    path = Path(source)
    if not path.is_file():
        named = shipped()
        if (path / "recipe.yaml").is_file():
            raise HeschlError(f"{source} is a run: name its recipe, {path / 'recipe.yaml'}")
        if str(source) in named:
            path = named[str(source)]
        elif path.suffix or os.sep in str(source) or "/" in str(source):
            raise HeschlError(
                f"the recipe {source} is not there: check the path, or see `heschl recipes list`"
            )
        else:
            raise HeschlError(
                f"no recipe is called {source}{nearest(str(source), named)} (`heschl recipes` lists them)"
            )
    raw = read_yaml(path)
    return str(source), path.resolve().parent, raw


def _not_plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise HeschlError(
        f"the recipe holds a {type(value).__name__}, and takes plain values only: text, numbers, lists"
    )
