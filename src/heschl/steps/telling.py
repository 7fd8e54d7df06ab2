"""Which clips of a scored run tell most: the surest right answers, the surest wrong ones, the commonest confusion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

Row = Mapping[str, str]


def telling(rows: Sequence[Row], each: int = 4) -> list[tuple[str, list[Row]]]:
    """Groups of clips with a title each; no clip is in two of them.

    Parameters
    ----------
    rows: predictions.csv: id, said, answered, probability.
    each: clips of a group, of different labels where there are such.
    """
    order = sorted(rows, key=lambda row: (-float(row["probability"]), row["id"]))
    right = _spread([row for row in order if row["said"] == row["answered"]], each)
    wrong = [row for row in order if row["said"] != row["answered"]]
    surest = _spread(wrong, each)
    groups = [("Understood, and surest of it", right), ("Misunderstood, though sure", surest)]
    pairs = Counter((row["said"], row["answered"]) for row in wrong)
    if pairs:
        (said, answered), n = pairs.most_common(1)[0]
        chosen = [
            row for row in wrong if (row["said"], row["answered"]) == (said, answered) and row not in surest
        ]
        if n > 1 and chosen:
            groups.append(
                (f"The commonest confusion: “{said}” taken for “{answered}”, {n} times", chosen[:each])
            )
    return [(title, chosen) for title, chosen in groups if chosen]


def _spread(rows: Sequence[Row], n: int) -> list[Row]:
    """The first n rows that differ in what was said, then the first others."""
    chosen: list[Row] = []
    for distinct in (True, False):
        for row in rows:
            known = {other["said"] for other in chosen}
            if len(chosen) < n and row not in chosen and (not distinct or row["said"] not in known):
                chosen.append(row)
    return chosen
