"""How well is speech decoded from a brain, by what, and against which controls? Written to RUN/decode/.

Scores are retrieval: each trial's word among all N words by the network's cosines. Beside them always stands a linear
decoder (shrinkage LDA on the mean power of bands and time bins of the same maps, one a subject, fitted on the training
part alone), and the same linear decoder and network scored against labels permuted within blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from heschl.files import write_csv, write_json
from heschl.run import Run, open_run
from heschl.steps.networks import Answer, Network, Progress, answers, open_network, read_wave, with_sensors
from heschl.tasks.linear_decode import band_power, fit_lda
from heschl.tasks.retrieval import by_group, retrieval_scores
from heschl.tasks.triplets import triplet_table, triplet_tests
from heschl.types import Clip, Corpus, HeschlError, Skipped

BANDS, BINS = 4, 8  # of the linear decoder
PERMUTATIONS = 1000


class Decoded(NamedTuple):
    """A network on the trials of a part: what `decode` and its pictures share."""

    run: Run
    corpus: Corpus
    network: Network
    trials: list[Clip]
    truth: np.ndarray
    logits: np.ndarray


def decode(
    run: Run | Path | str,
    part: str = "test",
    explain: bool = False,
    permutations: int = PERMUTATIONS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores a run on trials of brains and writes RUN/decode/.

    Written are scores.json, per_subject.csv, per_word.csv, similarity.csv (cosines between words), and triplets.csv and
    triplet_tests.csv where the words hold triplets; with ``explain`` also what `heschl.steps.decode_explain` writes.

    Parameters
    ----------
    part: "train", "validation" or "test". permutations: of the test of each score.

    Returns
    -------
    what scores.json holds: "network", "linear", and for both "shuffled" (labels permuted within blocks), each as
    `heschl.tasks.retrieval.retrieval_scores` gives it; "skipped"; "notes".

    Raises
    ------
    HeschlError: the run is none of brains, or the part is empty.
    """
    held, skipped = _answered(open_run(run), part, progress)
    folder, words = held.run.folder / "decode", list(held.network.labels)
    n, labels = len(words), [clip.labels for clip in held.trials]
    subjects = [one.get("subject", "") for one in labels]
    blocks = [f"{one.get('subject', '')}/{one.get('block', '')}" for one in labels]
    groups, over = _groups(held)
    linear, told = _linear(held)

    def scored(scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        return retrieval_scores(scores, truth, n, groups, blocks, permutations)

    moved = _shuffled(held.truth, blocks)
    result: dict[str, Any] = {
        "run": held.run.name,
        "part": part,
        "corpus": held.corpus.name,
        "simulated": held.corpus.synthetic,
        "words": n,
        "trials": len(held.trials),
        "subjects": len(set(subjects)),
        "interval": f"over {over}",
        "network": scored(held.logits, held.truth),
        "linear": scored(linear, held.truth),
        "shuffled": {"network": scored(held.logits, moved), "linear": scored(linear, moved)},
        "skipped": len(skipped),
        "notes": [*held.corpus.notes, *told, *_designs(held)],
    }
    for name, column in (("per_subject", subjects), ("per_word", [words[k] for k in held.truth])):
        rows = [
            {"decoder": who, **row}
            for who, scores in (("network", held.logits), ("linear", linear))
            for row in by_group(scores, held.truth, column, n)
        ]
        write_csv(folder / f"{name}.csv", rows, list(rows[0]))
    result["triplets"] = _codebook(held, folder)
    write_csv(folder / "skipped.csv", [one._asdict() for one in skipped], ["where", "why"])
    if explain:
        from heschl.steps.decode_explain import explain_decoding

        result["explained"] = explain_decoding(held, folder)
    result["folder"] = str(folder)
    write_json(folder / "scores.json", result)
    return result


def _answered(run: Run, part: str, progress: Progress | None) -> tuple[Decoded, list[Skipped]]:
    if part not in ("train", "validation", "test"):
        raise HeschlError(f"there is no part '{part}': choose train, validation or test")
    corpus = run.corpus()
    network = with_sensors(open_network(run), corpus)
    if network.sensors is None:
        raise HeschlError(
            f"{run.folder} was trained on sound, and decoding is from brains: use heschl evaluate"
        )
    clips = [corpus.by_id[one] for one in getattr(run.split, part) if one in corpus.by_id]
    if not clips:
        raise HeschlError(f"the {part} part of {run.folder} holds no trial: choose another part")
    skipped: list[Skipped] = []
    found: list[Answer] = list(answers(network, clips, skipped=skipped, progress=progress))
    if not found:
        raise HeschlError(f"no trial could be decoded; the first because {skipped[0].why}")
    task = run.task()
    trials = [answer.clip for answer in found]
    truth = np.array([task.target(clip) for clip in trials])
    return Decoded(run, corpus, network, trials, truth, np.stack([one.logits for one in found])), skipped


def _groups(held: Decoded) -> tuple[list[str] | None, str]:
    """What intervals are over: subjects where there are several, else blocks, else trials."""
    for column in ("subject", "block"):
        names = [clip.labels.get(column, "") for clip in held.trials]
        if len(set(names)) > 4:
            return names, f"{len(set(names))} {column}s"
    names = [f"{clip.labels.get('subject', '')}/{clip.labels.get('block', '')}" for clip in held.trials]
    if len(set(names)) > 2:
        return (
            names,
            f"{len(set(names))} blocks of {len({c.labels.get('subject', '') for c in held.trials})} subjects",
        )
    return None, "trials"


def maps_of(held: Decoded, clips: Sequence[Clip], batch: int = 64) -> torch.Tensor:
    """The network's inputs for trials: (trial, sensor, freq, step)."""
    network, parts = held.network, []
    for k in range(0, len(clips), batch):
        waves = [read_wave(clip, network.sample_rate, None, network.sensors) for clip in clips[k : k + batch]]
        with torch.inference_mode():
            parts.append(network.feature(torch.from_numpy(np.stack(waves))))
    return torch.cat(parts)


def _linear(held: Decoded) -> tuple[np.ndarray, list[str]]:
    """(trial, word) scores of the linear decoder, one a subject, and what must be said of it."""
    task, n = held.run.task(), len(held.network.labels)
    train = [held.corpus.by_id[one] for one in held.run.split.train if one in held.corpus.by_id]
    scores, notes = np.zeros((len(held.trials), n)), []
    for subject in sorted({clip.labels.get("subject", "") for clip in held.trials}):
        own = [k for k, clip in enumerate(held.trials) if clip.labels.get("subject", "") == subject]
        mine = [clip for clip in train if clip.labels.get("subject", "") == subject]
        if not mine:
            notes.append(
                f"subject {subject} is not in training: the linear decoder, one a subject, guesses there"
            )
            continue
        x = band_power(maps_of(held, mine).numpy(), BANDS, BINS)
        kept = x.std(0) > 0
        lda = fit_lda(x[:, kept], np.array([task.target(clip) for clip in mine]), n)
        test = band_power(maps_of(held, [held.trials[k] for k in own]).numpy(), BANDS, BINS)
        found = lda.scores(test[:, kept])
        scores[own] = np.where(
            np.isfinite(found), found, np.nanmin(np.where(np.isfinite(found), found, np.nan)) - 1
        )
    return scores, notes


def _shuffled(truth: np.ndarray, blocks: Sequence[str], seed: int = 0) -> np.ndarray:
    """The words permuted within blocks."""
    out, names, random = truth.copy(), np.asarray(blocks), np.random.default_rng(seed)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        out[rows] = truth[random.permutation(rows)]
    return out


def _designs(held: Decoded) -> list[str]:
    """Says so where a word is of one block only: what is decoded may then be the time of day."""
    label, at = held.run.task().label, dict[str, set[str]]()
    for clip in held.corpus.clips:
        at.setdefault(clip.labels.get(label, ""), set()).add(clip.labels.get("block", ""))
    lone = sum(len(blocks) == 1 for blocks in at.values())
    if lone and len(set().union(*at.values())) > 1:
        return [f"{lone} words were heard in one block only: a decoder may know the block, and not the word"]
    return []


def _codebook(held: Decoded, folder: Path) -> dict[str, Any]:
    """Cosines between words as a table, and the triplet tests where there are triplets."""
    codebook = getattr(held.network.model, "codebook", None)
    if not isinstance(codebook, torch.Tensor):
        return {"triplets": 0, "tests": []}
    book, words = codebook.detach().double().numpy(), list(held.network.labels)
    unit = book / np.linalg.norm(book, axis=1, keepdims=True)
    rows = [{"word": w, **dict(zip(words, row))} for w, row in zip(words, (unit @ unit.T).round(6).tolist())]
    write_csv(folder / "similarity.csv", rows, ["word", *words])
    table = triplet_table(book, words)
    if not table:
        return {"triplets": 0, "tests": []}
    write_csv(folder / "triplets.csv", table, list(table[0]))
    tests = triplet_tests(table)
    if tests:
        write_csv(folder / "triplet_tests.csv", tests, list(tests[0]))
    return {"triplets": len(table), "tests": tests}
