"""Names that a page may show: as they are, or pseudonyms where the page is to be published."""

from __future__ import annotations

from pathlib import Path

from markupsafe import escape

from heschl.files import read_json
from heschl.run import Run


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

    def speaker(self, name: str) -> str:
        """A speaker, as the page calls them."""
        if not self.pseudonyms or not name:
            return name
        return self._known.setdefault(name, f"{self._by} {len(self._known) + 1}")

    def text(self, text: str) -> str:
        """A text in which folders are hidden."""
        for folder, called in self._folders:
            text = text.replace(folder, called)
        return text


def _folders(run: Run) -> list[tuple[str, str]]:
    """Every folder that a page could name, the longest first."""
    found = {str(run.folder): "RUN", str(run.folder.resolve()): "RUN"}
    for part in (run.recipe.corpus, *run.recipe.also):
        for value in part.args.values():
            if isinstance(value, str) and ("/" in value or "\\" in value):
                found |= dict.fromkeys((value, str(Path(value).expanduser().absolute())), "RECORDINGS")
    for more in (run.recipe.train.init, run.origin.get("recipe_folder"), str(Path.home())):
        if more and len(str(more)) > 1:
            found.setdefault(str(more), "FOLDER")
    for path in (run.folder / "evaluate").glob("*/scores.json"):
        if other := read_json(path).get("on"):
            found.setdefault(str(other), "RECORDINGS")
    found |= {str(escape(folder)): called for folder, called in found.items()}
    return sorted(found.items(), key=lambda pair: -len(pair[0]))
