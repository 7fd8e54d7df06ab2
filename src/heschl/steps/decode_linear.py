"""The linear decoder that stands beside every network of brains, and its parts that the controls use apart.

Shrinkage LDA on the mean power of `BANDS` bands and `BINS` time bins of the network's own maps; of raw trials, on their
means of `COURSE` time bins; where segments are matched, ridge regression from those to the candidates, and where words are tested
that training never heard, to the fixed vectors of the words. One a subject, fitted on the training part alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from heschl.run import Run
from heschl.steps.groups import block_of
from heschl.steps.networks import Network, beside, logits_of, scores_among
from heschl.tasks.linear_decode import band_power, fit_lda, fit_ridge
from heschl.tasks.retrieval import Scores, scorer
from heschl.types import Clip, Corpus

BANDS, BINS = 4, 8
COURSE = 32  # time bins of raw trials
ALPHAS = (1e1, 1e2, 1e3, 1e4, 1e5)
Change = Callable[[np.ndarray, Clip], np.ndarray]  # of one trial (sensor, ..., time), before the feature


class Decoded(NamedTuple):
    """A network on the trials of a part: what `decode`, its controls and its pictures share.

    scores: of trials with all words or candidates."""

    run: Run
    corpus: Corpus
    network: Network
    trials: list[Clip]
    truth: np.ndarray
    scores: Scores


class Powers(NamedTuple):
    """One subject's power: x (trial, sensor, band, bin) and y (trial,) of training, its clips; test likewise, with the
    rows of its trials in the part that is scored."""

    subject: str
    x: np.ndarray
    y: np.ndarray
    clips: list[Clip]
    test: np.ndarray
    rows: np.ndarray


def maps_of(
    held: Decoded, clips: Sequence[Clip], change: Change | None = None, batch: int = 64
) -> torch.Tensor:
    """The network's inputs for trials: (trial, sensor, freq, step), or (trial, sensor, step) of raw ones."""
    parts = []
    for k in range(0, len(clips), batch):
        waves = _waves(held, clips[k : k + batch], change)
        with torch.inference_mode():
            parts.append(held.network.feature(torch.from_numpy(np.stack(waves))))
    return torch.cat(parts)


def scores_with(held: Decoded, clips: Sequence[Clip], change: Change, batch: int = 64) -> Scores:
    """The network's scores of trials that were changed."""
    parts = []
    for k in range(0, len(clips), batch):
        some = clips[k : k + batch]
        parts.append(logits_of(held.network, _waves(held, some, change), beside(held.network, some))[0])
    return scores_among(held.network, np.concatenate(parts))


def _waves(held: Decoded, clips: Sequence[Clip], change: Change | None) -> list[np.ndarray]:
    network = held.network
    waves = [network.read(clip, counted=False) for clip in clips]
    return waves if change is None else [change(wave, clip) for wave, clip in zip(waves, clips)]


def powers(held: Decoded, change: Change | None = None) -> tuple[list[Powers], list[str]]:
    """Every subject's power, and what must be said of those that have no training trials, who are not among them."""
    task, split = held.run.task(), held.run.split
    train = [held.corpus.by_id[one] for one in split.train if one in held.corpus.by_id]
    found, notes = [], []
    for subject in sorted({_subject(clip) for clip in held.trials}):
        own = np.array([k for k, clip in enumerate(held.trials) if _subject(clip) == subject])
        mine = [clip for clip in train if _subject(clip) == subject]
        if not mine:
            notes.append(
                f"subject {subject} is not in training: the linear decoder, one a subject, guesses there"
            )
            continue
        y = np.array([task.target(clip) for clip in mine])
        x, test = (_power(maps_of(held, clips, change)) for clips in (mine, [held.trials[k] for k in own]))
        found.append(Powers(subject, x, y, mine, test, own))
    return found, notes


def linear_scores(held: Decoded, given: Sequence[Powers]) -> Scores:
    """Those of the linear decoder; nothing but ties where a subject has no training trials, or one word of them."""
    candidates = _candidates(held)
    if candidates is not None:
        return _pointed(len(held.trials), given, candidates)
    n = len(held.network.labels)
    scores = np.zeros((len(held.trials), n))
    for one in given:
        x, test = (values.reshape(len(values), -1) for values in (one.x, one.test))
        kept = x.std(0) > 0
        if len(set(one.y.tolist())) < 2 or not kept.any():
            continue
        found = fit_lda(x[:, kept], one.y, n).scores(test[:, kept])
        heard = np.isfinite(found)
        scores[one.rows] = np.where(
            heard, found, found[heard].min() - 1
        )  # a word without training is the last
    return scores


def linear_patterns(held: Decoded, given: Sequence[Powers]) -> dict[str, np.ndarray]:
    """Subject -> (sensor,) how much words differ there for the linear decoder.

    Root mean square, over words, bands and time bins, of Haufe's patterns (see `Discriminants`) about the mean word, in
    deviations of the feature. Of matching: of the ridge regression's, over candidates' numbers.
    """
    found: dict[str, np.ndarray] = {}
    candidates = _candidates(held)
    for one in given:
        x = one.x.reshape(len(one.x), -1)
        deviation = x.std(0)
        kept = deviation > 0
        if len(set(one.y.tolist())) < 2 or not kept.any():
            continue
        patterns = np.zeros(x.shape[1])
        if candidates is not None:
            z = (x[:, kept] - x[:, kept].mean(0)) / deviation[kept]
            own = fit_ridge(z, candidates[one.y].astype(float), ALPHAS[2:3]).patterns
        else:
            own = fit_lda(x[:, kept], one.y, len(held.network.labels)).patterns
            own = own[np.unique(one.y)]
        patterns[kept] = np.square(own - own.mean(0)).mean(0)
        found[one.subject] = np.sqrt(patterns.reshape(one.x.shape[1], -1).mean(1))
    return found


def _candidates(held: Decoded) -> np.ndarray | None:
    """(candidate, number) what a trial is matched with: of segments, or the fixed vectors of words of which some are tested
    that training never heard, as discriminants know nothing of those; None: words are told apart."""
    candidates = getattr(held.network.model, "candidates", None)
    if candidates is None and getattr(held.run.task(), "fixed", None) is not None:
        task, clips = held.run.task(), held.corpus.by_id
        taught = {task.target(clips[one]) for one in held.run.split.train if one in clips}
        if not set(held.truth.tolist()) <= taught:
            candidates = getattr(held.network.model, "codebook", None)
    return candidates.detach().flatten(1).cpu().numpy() if isinstance(candidates, torch.Tensor) else None


def linear_by_frequency(held: Decoded, batch: int = 64) -> tuple[np.ndarray, float]:
    """(freq,) how much words differ at each frequency of the maps for a linear decoder, and how much they do by chance.

    As `linear_patterns`, with every frequency a band of its own: of shrinkage LDA, Haufe's patterns are the words' mean
    features, whatever the shrinkage. Root mean square over words, sensors, time bins and subjects, about the mean trial, in
    deviations of the feature. Means of few trials differ by noise alone: of n of N trials drawn at random the mean's square
    is (N - n) / (n (N - 1)), and the root of its mean over words and subjects is the chance.
    """
    task = held.run.task()
    trained = [held.corpus.by_id[one] for one in held.run.split.train if one in held.corpus.by_id]
    squares, chances = [], []
    for subject in sorted({_subject(clip) for clip in held.trials}):
        own = [clip for clip in trained if _subject(clip) == subject]
        if len(own) < 2:
            continue
        told = [task.target(clip) for clip in own]
        _, rows, counts = np.unique(told, return_inverse=True, return_counts=True)
        sums: Any = 0.0  # (word, sensor, freq, bin)
        moments: Any = np.zeros((2, 1, 1, 1))
        for k in range(0, len(own), batch):
            x = _power(maps_of(held, own[k : k + batch]), None)
            sums = sums + np.stack([x[rows[k : k + batch] == word].sum(0) for word in range(len(counts))])
            moments = moments + np.stack([x.sum(0), np.square(x).sum(0)])
        mean = moments[0] / len(own)
        deviation = np.sqrt(np.maximum(moments[1] / len(own) - np.square(mean), 0.0))
        kept = deviation > 1e-6 * deviation.max()  # a sensor without a place is zero
        patterns = (sums / counts[:, None, None, None] - mean) / np.where(kept, deviation, 1.0)
        squares.append((np.square(patterns).mean(0) * kept).sum((0, 2)) / kept.sum((0, 2)).clip(1))
        chances.append(((len(own) - counts) / (counts * (len(own) - 1))).mean())
    return np.sqrt(np.mean(squares, axis=0)), float(np.sqrt(np.mean(chances)))


def _pointed(trials: int, given: Sequence[Powers], candidates: np.ndarray) -> Scores:
    """Matching: ridge regression from a trial to the candidate that it heard, and cosines with all."""
    found = np.zeros((trials, candidates.shape[1]))
    for one in given:
        x, test = (values.reshape(len(values), -1) for values in (one.x, one.test))
        mean, deviation = x.mean(0), x.std(0)
        kept = deviation > 0
        if len(x) < 2 or not kept.any():
            continue
        x, test = ((values[:, kept] - mean[kept]) / deviation[kept] for values in (x, test))
        groups = [block_of(clip) for clip in one.clips]
        several = len(set(groups)) > 1
        fitted = fit_ridge(
            x,
            candidates[one.y].astype(float),
            ALPHAS if several else ALPHAS[2:3],
            groups if several else None,
        )
        found[one.rows] = fitted.predict(test)
    return scorer(found, candidates)


def shuffled(values: np.ndarray, blocks: Sequence[str], seed: int = 0) -> np.ndarray:
    """(trial,) values permuted within blocks."""
    out, names, random = values.copy(), np.asarray(blocks), np.random.default_rng(seed)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        out[rows] = values[random.permutation(rows)]
    return out


def _subject(clip: Clip) -> str:
    return clip.labels.get("subject", "")


def _power(maps: torch.Tensor, bands: int | None = BANDS) -> np.ndarray:
    """(trial, sensor, band, bin); None: every frequency is a band."""
    values, most = maps.numpy(), BINS
    if values.ndim == 3:  # raw: a trial's own course, one band
        values, most = values[:, :, None], COURSE
    bands = values.shape[2] if bands is None else min(bands, values.shape[2])
    bins = min(most, values.shape[3])
    return band_power(values, bands, bins).reshape(len(values), values.shape[1], bands, bins)
