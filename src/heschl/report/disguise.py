"""Names that a page may show: as they are, or pseudonyms where the page is to be published."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from markupsafe import escape

from heschl.files import read_json, read_text
from heschl.recipe.plain import read_yaml, yaml_text
from heschl.run import Run

PEOPLE = ("speakers", "subjects")  # options of a corpus that list people


class Names:
    """What speakers and folders are called on a page.

    Parameters
    ----------
    run: whose folders are hidden. pseudonyms: speakers become "speaker 1", "speaker 2", ..., the same one throughout
        the page, folders become RUN and RECORDINGS, and ids of clips and notes of the corpus, which may hold names,
        are left out.
    """

    def __init__(self, run: Run, pseudonyms: bool = False) -> None:
        self.pseudonyms = pseudonyms
        self._by = run.split.by if run.split.by != "clip" else "speaker"
        self._known: dict[str, str] = {}
        self._folders = _folders(run) if pseudonyms else []
        self._parts = _folder_names(run) if pseudonyms else set()

    def speaker(self, name: str) -> str:
        """A speaker, as the page calls them."""
        if not self.pseudonyms or not name:
            return name
        return self._known.setdefault(name, f"{self._by} {len(self._known) + 1}")

    def folder(self, name: str) -> str:
        """A folder of recordings, as it was given."""
        return "RECORDINGS" if self.pseudonyms else name

    def corpus(self, name: str) -> str:
        """A corpus, which may be called as its folder is."""
        return "RECORDINGS" if name in self._parts else name

    def source(self, text: str) -> str:
        """Where a corpus is from; nothing where its folder or table is named."""
        return "" if any(len(name) > 1 and name in text for name in self._parts) else text

    def text(self, text: str) -> str:
        """A text in which folders are hidden."""
        for folder, called in self._folders:
            text = text.replace(folder, called)
        return text

    def recipe(self, path: Path) -> str:
        """A recipe's text, in which folders and lists of people are hidden."""
        if not self.pseudonyms:
            return read_text(path)
        held = read_yaml(path)
        return yaml_text({key: self._hidden(value, key in ("corpus", "also")) for key, value in held.items()})

    def _hidden(self, value: Any, heard: bool) -> Any:
        if isinstance(value, dict):
            made = {key: self._hidden(one, heard) for key, one in value.items()}
            for key in value:
                if heard and key in PEOPLE and isinstance(value[key], list):
                    made[key] = [self.speaker(str(name)) for name in value[key]]
                elif heard and _is_root(key):
                    made[key] = "RECORDINGS"
            return made
        if isinstance(value, list):
            return [self._hidden(one, heard) for one in value]
        if isinstance(value, str) and _is_folder(value, heard):
            return "RECORDINGS" if heard else "FOLDER"
        return value


def _is_root(key: str) -> bool:
    return key == "root" or key.endswith("_root")


def _is_folder(value: str, relative: bool) -> bool:
    """Whether a text names a folder or file: from the root of the disk or, where ``relative`` ones are looked for, from here."""
    if "://" in value or "{" in value:  # an address, or a pattern of names
        return False
    if re.match(r"~[\\/]|[\\/]+[^\\/]+[\\/]\w|[A-Za-z]:[\\/]", value):
        return True
    return relative and re.search(r"[\w.][\\/][\w.]", value) is not None


def _recordings(run: Run) -> set[str]:
    """The paths that the recipe's corpora are read from."""
    given = [item for part in (run.recipe.corpus, *run.recipe.also) for item in part.args.items()]
    return {
        value
        for key, value in given
        if isinstance(value, str) and (_is_root(key) or _is_folder(value, relative=True))
    }


def _folder_names(run: Run) -> set[str]:
    """Names of the folders, of which a corpus may have its own."""
    return {name for one in map(Path, _recordings(run)) for name in (*one.parts, one.stem)}


def _folders(run: Run) -> list[tuple[str, str]]:
    """Every folder that a page could name by its whole path, the longest first; shorter texts may be parts of words."""
    found = {str(run.folder.absolute()): "RUN", str(run.folder.resolve()): "RUN"}
    for value in _recordings(run):
        whole = str(Path(value).expanduser().absolute())
        found |= dict.fromkeys((value, whole) if _is_folder(value, relative=True) else (whole,), "RECORDINGS")
    for path in (run.folder / "evaluate").glob("*/scores.json"):
        if other := read_json(path).get("on"):
            found.setdefault(str(Path(other).absolute()), "RECORDINGS")
    for more in (run.recipe.train.init, run.origin.get("recipe_folder"), str(Path.home())):
        if more and _is_folder(str(more), relative=False):
            found.setdefault(str(more), "FOLDER")
    found |= {
        folder.replace("'", "'\"'\"'"): called for folder, called in found.items()
    }  # as a command quotes it
    found |= {str(escape(folder)): called for folder, called in found.items()}
    return sorted(found.items(), key=lambda pair: -len(pair[0]))
