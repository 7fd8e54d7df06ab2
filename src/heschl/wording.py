"""Pieces of the sentences that people are told: a number with its noun, a list that ends, the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun, in the plural where it is not 1.

    >>> counted(1, "clip"), counted(2000, "clip"), counted(2, "clip has", "clips have")
    ('1 clip', '2,000 clips', '2 clips have')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def nearest(word: str, names: Iterable[str]) -> str:
    """What to put behind a name that is unknown; nothing where none is near.

    >>> nearest("digts", ["digits", "words"]), nearest("x", ["digits", "words"])
    (' (did you mean digits?)', '')
    """
    close = difflib.get_close_matches(word, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def listed(names: Iterable[str], most: int = 8) -> str:
    """The first few names, and how many more there are.

    >>> listed("abc"), listed("abc", most=2)
    ('a, b, c', 'a, b and 1 more')
    """
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def quoted(names: Iterable[str], most: int = 8) -> str:
    """As `listed`, of names that may be words of the sentence too.

    >>> quoted(["and", "the"])
    "'and', 'the'"
    """
    return listed([f"'{name}'" for name in names], most)
