"""What the card of a model that comes along says, for its page: it has neither recordings nor a split to tell of."""

from __future__ import annotations

import re

from heschl.files import read_text
from heschl.run import Run


def card_of(run: Run) -> dict[str, str]:
    """The card's lines, "It heard" -> what it heard; empty for a run that was trained here."""
    path, split = run.held / "README.md", run.split
    if split.train or split.validation or split.test or not path.exists():
        return {}
    lines = re.findall(r"^- ([^:\n]+): (.+(?:\n  .+)*)", read_text(path), re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in lines}
