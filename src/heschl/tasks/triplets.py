"""Is a codebook ordered by meaning or by sound? Triplets of a word, a synonym and a phonological neighbour.

For each control word: the cosines with its synonym, with its phonological neighbour, and the mean cosine with the words
of all other triplets. Three paired comparisons over triplets, each by Student's t and by Wilcoxon's signed ranks, with
Cohen's d_z (mean difference over its deviation). The twelve triplets are those of the published system's word list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heschl.types import HeschlError

Triplet = tuple[str, str, str]  # control, semantic neighbour, phonological neighbour
_PUBLISHED = """
wall barrier war | store shop score | boat ship coat | dad father dead | lamb sheep lab | sea ocean key |
trousers pants browsers | present gift presence | cash money cat | street road stream | car automobile card |
test exam taste
"""
TRIPLETS: tuple[Triplet, ...] = tuple((a, b, c) for a, b, c in map(str.split, _PUBLISHED.split("|")))
FEWEST = 3  # triplets, below which nothing is tested


def triplet_table(
    codebook: np.ndarray, words: Sequence[str], triplets: Sequence[Triplet] = TRIPLETS
) -> list[dict[str, Any]]:
    """A row for each triplet whose words are all there: control, semantic, phonological, and the three cosines.

    Parameters
    ----------
    codebook: (word, dim) vectors. words: their names.
    """
    codebook = np.asarray(codebook, np.float64)
    if codebook.ndim != 2 or len(codebook) != len(words):
        raise HeschlError(
            f"a codebook of shape {codebook.shape} comes with {len(words)} words: one vector each"
        )
    size = np.linalg.norm(codebook, axis=1, keepdims=True)
    if not (size > 0).all():
        raise HeschlError(
            f"the vector of '{words[int((size[:, 0] <= 0).argmax())]}' is zero: it has no direction"
        )
    place = {word: k for k, word in enumerate(words)}
    whole = [one for one in triplets if all(word in place for word in one)]
    between = (codebook / size) @ (codebook / size).T
    rows = []
    for one in whole:
        control, semantic, phonological = (place[word] for word in one)
        others = [place[word] for other in whole if other is not one for word in other]
        rows.append(
            {
                "control": one[0],
                "semantic": one[1],
                "phonological": one[2],
                "cosine_semantic": float(between[control, semantic]),
                "cosine_phonological": float(between[control, phonological]),
                "cosine_others": float(between[control, others].mean()) if others else float("nan"),
            }
        )
    return rows


def triplet_tests(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The three comparisons: first, second, triplets, mean difference, t, its p, Wilcoxon's p, d_z; empty for fewer than
    `FEWEST` triplets, and without those in which all triplets differ by the same cosine: there is nothing to test."""
    from scipy import stats

    if len(rows) < FEWEST:
        return []
    found = []
    for first, second in (("semantic", "phonological"), ("semantic", "others"), ("phonological", "others")):
        a, b = (np.array([row[f"cosine_{name}"] for row in rows]) for name in (first, second))
        difference = a - b
        deviation = float(difference.std(ddof=1))
        if deviation == 0:
            continue  # as of a codebook in which every two words are equally alike
        t = stats.ttest_rel(a, b)
        found.append(
            {
                "first": first,
                "second": second,
                "triplets": len(rows),
                "difference": float(difference.mean()),
                "t": float(t.statistic),
                "p_t": float(t.pvalue),
                "p_wilcoxon": float(stats.wilcoxon(a, b).pvalue),
                "d_z": float(difference.mean()) / deviation,
            }
        )
    return found
