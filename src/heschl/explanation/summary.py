"""On what do a network's answers rest, over many clips: which phones, words and bands, tested over speakers.

Each region of a clip has a share of its positive relevance and a share of its area (the cells of the picture). Their
difference is zero where relevance knows nothing of the region. It is averaged within speakers, and a sign-flip
permutation test asks whether its mean over speakers could have come about by chance: speakers, not clips, are what
was drawn. Tests of one kind of region are corrected together, by Holm 1979.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heschl.types import HeschlError, Span

LEAST = 6  # speakers: with five, the smallest two-sided p of a sign-flip test is 2 / 2**5 = 0.0625
EXACT = 14  # speakers up to which every flip is tried
BANDS = (0.0, 300.0, 1000.0, 2500.0, 4000.0, 8000.0)  # Hz: pitch, then about one formant each, then hiss
OUTSIDE = "(none)"  # the name of what lies in no phone or word


class Region(NamedTuple):
    """Share of a clip's positive relevance, and of its area, that lies in one kind of region."""

    kind: str
    name: str
    relevance: float
    area: float


def regions(
    relevance: NDArray[Any],
    times: NDArray[Any],
    spans: Sequence[Span] = (),
    frequencies: NDArray[Any] | None = None,
    bands: Sequence[float] = BANDS,
) -> list[Region]:
    """The regions of one clip: every symbol of every tier, and every band.

    Parameters
    ----------
    relevance: (frequency, frame). times: (frame,) seconds, the middle of each frame, on the spans' clock.
    frequencies: (frequency,) Hz, the middle of each row; None where rows are no frequencies.
    bands: edges, Hz; what lies above the last is a band of its own.

    Returns
    -------
    nothing for a clip without positive relevance. A symbol that is said twice is one region. Frames that lie in no
    span of a tier are its region "(none)".
    """
    relevance = np.asarray(relevance, float)
    if relevance.ndim != 2 or relevance.shape[1] != len(times):
        raise HeschlError(
            f"relevance is {relevance.shape} and there are {len(times)} times: give (frequency, frame)"
        )
    positive = np.maximum(relevance, 0)
    total = positive.sum()
    if not total > 0:
        return []
    by_frame, found = positive.sum(0) / total, []
    for tier in sorted({span.tier for span in spans}):
        inside: dict[str, NDArray[np.bool_]] = {}
        for span in spans:
            if span.tier == tier:
                held = (times >= span.start) & (times < span.stop)
                inside[span.symbol] = inside.get(span.symbol, np.zeros(len(times), bool)) | held
        rest = ~np.any(list(inside.values()), axis=0)
        for name, held in [*sorted(inside.items()), (OUTSIDE, rest)]:
            if held.any():
                found.append(Region(tier, name, float(by_frame[held].sum()), float(held.mean())))
    if frequencies is not None:
        by_row = positive.sum(1) / total
        rows = np.asarray(frequencies)
        for low, high in itertools.pairwise([*bands, np.inf]):
            held = ((rows > low) | ((rows == low) & (low == bands[0]))) & (rows <= high)
            if held.any():
                found.append(
                    Region("band", band_name(low, high), float(by_row[held].sum()), float(held.mean()))
                )
    return found


def band_name(low: float, high: float) -> str:
    return f"{low:g} to {high:g} Hz" if np.isfinite(high) else f"above {low:g} Hz"


def summarise(
    clips: Iterable[tuple[str, Sequence[Region]]], seed: int = 0, flips: int = 9999
) -> tuple[list[dict[str, Any]], str]:
    """A row for each region over all clips, and a sentence where there are too few speakers for tests.

    Parameters
    ----------
    clips: each clip's speaker and `regions`.
    seed, flips: of the permutation test, where there are too many speakers to try every flip.

    Returns
    -------
    rows: kind, name, clips, speakers, relevance (mean over speakers of their mean share), area (likewise),
        difference, p and p_holm (None where there are fewer than six speakers), strongest difference first in each
        kind. A clip in which a region does not occur says nothing about it.
    sentence: "" where every row has its test.
    """
    held: dict[tuple[str, str], dict[str, list[Region]]] = defaultdict(lambda: defaultdict(list))
    speakers = set()
    for speaker, found in clips:
        speakers.add(speaker)
        for region in found:
            held[region.kind, region.name][speaker].append(region)
    rows: list[dict[str, Any]] = []
    for (kind, name), own in held.items():
        share = np.array([np.mean([one.relevance for one in own[who]]) for who in sorted(own)])
        area = np.array([np.mean([one.area for one in own[who]]) for who in sorted(own)])
        rows.append(
            {
                "kind": kind,
                "name": name,
                "clips": sum(map(len, own.values())),
                "speakers": len(own),
                "relevance": float(share.mean()),
                "area": float(area.mean()),
                "difference": float((share - area).mean()),
                "p": permutation_p(share - area, seed, flips) if len(own) >= LEAST else None,
                "p_holm": None,
            }
        )
    tested = [row for row in rows if row["p"] is not None]
    blind = []
    for kind in sorted({row["kind"] for row in tested}):
        those = [row for row in tested if row["kind"] == kind]
        for row, corrected in zip(those, holm([row["p"] for row in those]), strict=True):
            row["p_holm"] = corrected
        least = len(those) * max(2 / 2 ** max(row["speakers"] for row in those), 1 / (flips + 1))
        if least > 0.05:
            blind.append(f"of the {len(those)} {kind}s none can have a corrected p below {least:.2g}")
    rows.sort(key=lambda row: (row["kind"], -row["difference"], row["name"]))
    few = len(rows) - len(tested)
    if len(speakers) < LEAST:
        sentence = _too_few(len(speakers), " in all")
    elif few:
        sentence = (
            f"{few} of {len(rows)} regions {'has' if few == 1 else 'have'} no test: fewer than {LEAST} speakers said "
            f"{'it' if few == 1 else 'them'}, and then no p can lie below 0.05"
        )
    elif blind:
        sentence = f"with {len(speakers)} speakers, {' and '.join(blind)}: explain clips of more speakers"
    else:
        sentence = ""
    return rows, sentence


def _too_few(n: int, of: str = "") -> str:
    return (
        f"{n} speaker{'s' * (n != 1)}{of} {'are' if n != 1 else 'is'} too few for a permutation test: whatever is found, p is at least "
        f"{2 / 2**n:.2g}; explain clips of {LEAST} speakers or more"
    )


def permutation_p(values: Sequence[float] | NDArray[Any], seed: int = 0, flips: int = 9999) -> float:
    """Two-sided p of the mean of one value a speaker, under random signs: (exact for up to 14 speakers).

    Raises
    ------
    HeschlError: fewer than six speakers, with whom no p lies below 0.05.
    """
    values = np.asarray(values, float)
    n = len(values)
    if n < LEAST:
        raise HeschlError(_too_few(n))
    found = abs(values.mean())
    if n <= EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(signs @ values / n) >= found * (1 - 1e-12) - 1e-15).mean())
    signs = 1 - 2 * np.random.default_rng(seed).integers(0, 2, (flips, n))
    as_far = int((np.abs(signs @ values / n) >= found * (1 - 1e-12) - 1e-15).sum())
    return (as_far + 1) / (flips + 1)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: each p as if it were the only one.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order, corrected, highest = np.argsort(p, kind="stable"), [0.0] * len(p), 0.0
    for place, k in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - place) * float(p[k])))
        corrected[int(k)] = highest
    return corrected


def read_rows(rows: Sequence[Mapping[str, Any]]) -> list[Region]:
    """Regions out of a table's rows (text or numbers)."""
    return [
        Region(str(row["kind"]), str(row["name"]), float(row["relevance"]), float(row["area"]))
        for row in rows
    ]
