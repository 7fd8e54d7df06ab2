"""Which units prefer which phones, and which features of phones? The selectivity indices PSI and FSI.

After Mesgarani et al. 2014 (Science 343:1006, supplement), who counted them for electrodes over auditory cortex, and
EARSHOT (Magnuson et al. 2020, Cognitive Science 44:e12823), which counted them for the units of a network. Exactly:

response    of a unit to one phone token: the mean of its activity over a window after the phone's onset (seconds;
            0 to 0.1 by default); of a unit that has no step in the window, at the step nearest to its middle
PSI(u, p)   the number of other phones q such that unit u responds more to tokens of p than to tokens of q: Wilcoxon's
            rank sum (Mann and Whitney's U, normal approximation with ties and continuity), one-sided, P < 0.01 after
            Holm's correction over all ordered pairs of phones of that unit. 0: no phone is outdone; one less than
            the number of phones: all are
FSI(u, f)   the same for features: the number of other features g such that u responds more to tokens that have f and
            not g than to tokens that have g and not f; pairs of which one side has fewer tokens than ``least`` are
            left out

Mesgarani et al. count a pair when the responses differ; here, as in EARSHOT, when the phone's is the higher one.
Phones with fewer tokens than ``least`` are left out. A unit that goes *down* for a phone has PSI there of 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from heschl.corpora.arpabet import CONSONANTS, PHONES, VOWELS
from heschl.types import HeschlError

ALPHA = 0.01
WINDOW = (0.0, 0.1)
LEAST = 5


def _of(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Feature -> the phones that have it. Manner, place and voice of consonants, height and backness of vowels (of
# diphthongs: where they begin), as in the tables of Ladefoged and Johnson, A Course in Phonetics, for General American.
FEATURES: dict[str, frozenset[str]] = {
    "vowel": frozenset(VOWELS),
    "consonant": frozenset(CONSONANTS),
    "plosive": _of("P B T D K G"),
    "affricate": _of("CH JH"),
    "fricative": _of("F V TH DH S Z SH ZH HH"),
    "nasal": _of("M N NG"),
    "approximant": _of("L R W Y"),
    "sibilant": _of("S Z SH ZH CH JH"),
    "obstruent": _of("P B T D K G CH JH F V TH DH S Z SH ZH HH"),
    "sonorant": frozenset(VOWELS) | _of("M N NG L R W Y"),
    "voiced": frozenset(VOWELS) | _of("B D G JH V DH Z ZH M N NG L R W Y"),
    "voiceless": _of("P T K CH F TH S SH HH"),
    "labial": _of("P B M F V W"),
    "coronal": _of("T D N TH DH S Z SH ZH CH JH L R"),
    "dorsal": _of("K G NG"),
    "high": _of("IY IH UW UH"),
    "mid": _of("EH EY ER AH AO OW OY"),
    "low": _of("AE AA AW AY"),
    "front": _of("IY IH EH EY AE"),
    "central": _of("ER AH AW AY"),
    "back": _of("UW UH AO OW OY AA"),
    "rounded": _of("UW UH AO OW OY W"),
}


def features_of(phone: str) -> tuple[str, ...]:
    """The features of one of ARPABET's 39 phones.

    Raises
    ------
    HeschlError: it is none of them.
    """
    if phone not in PHONES:
        raise HeschlError(f"{phone} is none of ARPABET's phones: {' '.join(PHONES)}")
    return tuple(name for name, having in FEATURES.items() if phone in having)


def response(
    values: npt.ArrayLike, times: npt.ArrayLike, onsets: Sequence[float], window: tuple[float, float] = WINDOW
) -> np.ndarray:
    """Responses (token, unit) of one clip's activity (time, unit) to phones that begin at ``onsets``, seconds."""
    values, times = np.asarray(values, np.float64), np.asarray(times, np.float64)
    if values.ndim != 2 or times.shape != (len(values),):
        raise HeschlError(
            f"activity {values.shape} and times {times.shape} do not fit: give (time, unit) and (time,)"
        )
    if not window[0] < window[1]:
        raise HeschlError(
            f"the window runs from {window[0]} s to {window[1]} s: its end must come after its start"
        )
    return np.stack([mean_between(values, times, on + window[0], on + window[1]) for on in onsets])


def mean_between(values: np.ndarray, times: np.ndarray, start: float, stop: float) -> np.ndarray:
    """(unit,) mean of the steps in [start, stop); where there is none, the step nearest to the middle."""
    inside = (times >= start - 1e-9) & (times < stop - 1e-9)
    if inside.any():
        return np.asarray(values[inside].mean(0))
    return np.asarray(values[int(np.abs(times - (start + stop) / 2).argmin())])


def psi(
    responses: npt.ArrayLike, phones: Sequence[str], *, alpha: float = ALPHA, least: int = LEAST
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Phoneme selectivity: (unit, phone) counts, and the phones; the module's text gives the definition.

    Parameters
    ----------
    responses: (token, unit). phones: (token,) the symbol of each.
    alpha: level of the tests after Holm's correction. least: tokens that a phone needs.

    Raises
    ------
    HeschlError: fewer than two phones have so many tokens.
    """
    values, said = _checked(responses, phones)
    names = tuple(name for name in sorted(set(phones)) if (said == name).sum() >= least)
    if len(names) < 2:
        raise HeschlError(
            f"{len(names)} phones have {least} tokens or more: selectivity compares two at least, so give more clips"
        )
    return _counts(
        {name: {other: (said == name, said == other) for other in names} for name in names}, values, alpha
    ), names


def fsi(
    responses: npt.ArrayLike,
    phones: Sequence[str],
    *,
    features: Mapping[str, frozenset[str]] | None = None,
    alpha: float = ALPHA,
    least: int = LEAST,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Feature selectivity: (unit, feature) counts, and the features; the module's text gives the definition.

    Parameters
    ----------
    features: name -> the phones that have it; None for `FEATURES`. Phones of no feature (silence) take no part.
    """
    values, said = _checked(responses, phones)
    table = FEATURES if features is None else features
    has = {name: np.isin(said, list(having)) for name, having in table.items()}
    names = tuple(name for name, own in has.items() if own.sum() >= least)
    if len(names) < 2:
        raise HeschlError(
            f"{len(names)} features have {least} tokens or more: selectivity compares two at least, so give more clips"
        )
    pairs = {
        one: {
            other: (has[one] & ~has[other], has[other] & ~has[one])
            for other in names
            if min((has[one] & ~has[other]).sum(), (has[other] & ~has[one]).sum()) >= least
        }
        for one in names
    }
    return _counts(pairs, values, alpha), names


def _checked(responses: npt.ArrayLike, phones: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    values, said = np.asarray(responses, np.float64), np.asarray(list(phones), dtype=str)
    if values.ndim != 2 or said.shape != (len(values),):
        raise HeschlError(
            f"responses {values.shape} and {len(said)} phones do not fit: give (token, unit) and one phone a token"
        )
    if not np.isfinite(values).all():
        raise HeschlError("some responses are not finite: look at the network's weights and inputs")
    return values, said


def _counts(
    pairs: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]], values: np.ndarray, alpha: float
) -> np.ndarray:
    """(unit, row) how many pairs of each row are significant; the mirrored pair's P is 1 minus, so each is ranked once."""
    names = list(pairs)
    found: list[tuple[int, np.ndarray]] = []
    for i, one in enumerate(names):
        for other, (left, right) in pairs[one].items():
            j = names.index(other)
            if j > i:
                above, below = rank_sum(values[left], values[right])
                found += [(i, above), (j, below)]
    count = np.zeros((values.shape[1], len(names)), np.int64)
    if found:
        passed = holm(np.stack([p for _, p in found]), alpha)
        np.add.at(count.T, [row for row, _ in found], passed.astype(np.int64))
    return count


def rank_sum(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-sided P of each column that x (n, unit) is above y (m, unit), and below it: Wilcoxon's rank sum.

    Normal approximation with the correction for ties and for continuity; 1 where all values are the same.
    """
    from scipy.special import ndtr
    from scipy.stats import rankdata

    n, m = len(x), len(y)
    both = np.concatenate([x, y])
    ranks = rankdata(both, axis=0)
    u = ranks[:n].sum(0) - n * (n + 1) / 2
    # sum of t³ - t over ties: a group of t shares a rank, so its ranks fall short of t numbers' spread by (t³ - t) / 12
    total = n + m
    spread = (ranks**2).sum(0) - total * (total + 1) ** 2 / 4
    sd = np.sqrt(n * m / (total * (total - 1)) * np.maximum(spread, 0))
    safe = np.where(sd > 1e-12, sd, 1.0)
    above = ndtr(-(u - n * m / 2 - 0.5) / safe)
    below = ndtr((u - n * m / 2 + 0.5) / safe)
    flat = sd <= 1e-12
    return np.where(flat, 1.0, above), np.where(flat, 1.0, below)


def holm(p: np.ndarray, alpha: float) -> np.ndarray:
    """Which of the tests (test, unit) hold at ``alpha`` after Holm's step-down correction over the tests (1979)."""
    n = len(p)
    order = np.argsort(p, axis=0, kind="stable")
    ranked = np.take_along_axis(p, order, 0) <= alpha / (n - np.arange(n))[:, None]
    passed = np.zeros_like(ranked)
    np.put_along_axis(passed, order, np.logical_and.accumulate(ranked, axis=0), 0)
    return passed
