"""How well is speech decoded from a brain, by what, and against which controls? Written to RUN/decode/.

Scores are retrieval: each trial's word among all N words by the network's cosines. Beside them always stands a linear
decoder (shrinkage LDA on the mean power of bands and time bins of the same maps, one a subject, fitted on the training
part alone), and the same linear decoder and network scored against labels permuted within blocks.

What a page needs lies in the folder as plain files (each picture as .svg and .png, and complete in itself):

- scores.json: all of what `decode` returns; its "caveats" are sentences that must stand beside the scores ("simulated"
  first, where it is so), and "pictures" has, in the order of the page, {"file", "title", "alt"} of every picture that was
  drawn.
- ranks.svg: share of trials whose word is among the first k, network and linear decoder, shuffled words, chance;
  trials.csv: each trial's subject, block, word and rank by either. per_subject.csv, per_word.csv: top-1, 5, 10.
- codebook.svg: cosines between words, alike ones side by side; similarity.csv: the same in numbers. triplets.csv,
  triplet_tests.csv where the words hold triplets. (All of a network with a codebook only.)
- with ``explain``: explained.svg (frequencies, moments, attention), sensors.svg (topographies) and areas.svg (what areas of
  the cortex drive retrieval, with their cross-talk), by_frequency.csv, by_time.csv, by_sensor.csv, attention.csv (rolled out, and of
  each block), areas.csv, cross_talk.csv, spaces.csv.
- with ``controls``: controls.svg, controls.csv (what must be at chance), learning_curve.csv, time_resolved.csv.

What an earlier decoding of the same weights and part explained or controlled stays in scores.json until it is done anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from heschl.files import write_csv, write_json
from heschl.run import Run, open_run
from heschl.steps.decode_linear import Decoded, linear_scores, powers, shuffled
from heschl.steps.decode_show import Picture, caveats, show_codebook, show_ranks, with_earlier
from heschl.steps.groups import block_of, over_trials
from heschl.steps.networks import (
    Answer,
    Progress,
    answers,
    open_network,
    pointing,
    scores_among,
    with_sensors,
)
from heschl.tasks.retrieval import Scores, by_group, ranks, retrieval_scores
from heschl.tasks.triplets import triplet_table, triplet_tests
from heschl.types import HeschlError, Skipped
from heschl.wording import counted

PERMUTATIONS = 1000


def decode(
    run: Run | Path | str,
    part: str = "test",
    explain: bool = False,
    controls: bool = False,
    baseline: float | None = None,
    permutations: int = PERMUTATIONS,
    dictionary: Path | None = None,
    vectors: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores a run on trials of brains and writes RUN/decode/.

    The files are listed at the head of this module.

    Parameters
    ----------
    part: "train", "validation" or "test". permutations: of the test of each score.
    baseline: seconds at each trial's beginning in which nothing was heard, for the controls; None: until the first word
        of the trial's spans.
    dictionary, vectors: files of pronunciations and of word vectors, for the spaces that the codebook is compared with.

    Returns
    -------
    what scores.json holds: "network", "linear", and for both "shuffled" (labels permuted within blocks), each as
    `heschl.tasks.retrieval.retrieval_scores` gives it; "skipped"; "notes"; "caveats"; "pictures".

    Raises
    ------
    HeschlError: the run is none of brains, or the part is empty.
    """
    held, skipped = _answered(open_run(run), part, progress)
    folder, words = held.run.folder / "decode", list(held.network.labels)
    n, labels = len(words), [clip.labels for clip in held.trials]
    subjects = [one.get("subject", "") for one in labels]
    blocks = [block_of(clip) for clip in held.trials]
    over = over_trials(held.trials)
    power, told = powers(held)
    linear = linear_scores(held, power)

    def scored(scores: Scores, truth: np.ndarray) -> dict[str, Any]:
        return retrieval_scores(scores, truth, n, over.names, blocks, permutations)

    moved = shuffled(held.truth, blocks)
    result: dict[str, Any] = {
        "run": held.run.name,
        "weights": held.run.weights_id,
        "part": part,
        "corpus": held.corpus.name,
        "simulated": held.corpus.synthetic,
        "words": n,
        "unit": "stretch" if getattr(held.run.task(), "open_set", False) else "word",
        "trials": len(held.trials),
        "subjects": len(set(subjects)),
        "interval": f"over {over.told}",
        "network": scored(held.scores, held.truth),
        "linear": scored(linear, held.truth),
        "shuffled": {"network": scored(held.scores, moved), "linear": scored(linear, moved)},
        "skipped": len(skipped),
        "notes": [*held.corpus.notes, *told, *_designs(held)],
    }
    places = {"network": ranks(held.scores, held.truth), "linear": ranks(linear, held.truth)}
    for name, column in (("per_subject", subjects), ("per_word", [words[k] for k in held.truth])):
        rows = [
            {"decoder": who, **row} for who, found in places.items() for row in by_group(found, column, n)
        ]
        write_csv(folder / f"{name}.csv", rows, list(rows[0]))
    of = f"{'simulated brains' if held.corpus.synthetic else held.corpus.name}, {part} part"
    null = {"network": ranks(held.scores, moved), "linear": ranks(linear, moved)}
    pictures: list[Picture] = [
        *show_ranks(held, result, places, null, folder, of),
        *show_codebook(held, folder, of),
    ]
    result["triplets"] = _triplets(held, folder)
    write_csv(folder / "skipped.csv", [one._asdict() for one in skipped], ["where", "why"])
    if explain:
        from heschl.steps.decode_explain import explain_decoding

        result["explained"] = explain_decoding(
            held, power, folder, of, dictionary=dictionary, vectors=vectors
        )
        pictures += result["explained"].pop("pictures")
    if controls:
        from heschl.steps.decode_controls import control_decoding

        result["controls"] = control_decoding(held, power, scored, folder, baseline)
        pictures.append(result["controls"].pop("picture"))
    result |= {"caveats": caveats(result), "pictures": pictures, "folder": str(folder)}
    result = with_earlier(result, folder)
    write_json(folder / "scores.json", result)
    return result


def _answered(run: Run, part: str, progress: Progress | None) -> tuple[Decoded, list[Skipped]]:
    if part not in ("train", "validation", "test"):
        raise HeschlError(f"there is no part '{part}': choose train, validation or test")
    corpus = run.corpus(progress=progress)
    network = pointing(with_sensors(open_network(run), corpus))
    if network.sensors is None:
        raise HeschlError(f"{run} was trained on sound, and decoding is from brains: use heschl evaluate")
    clips = [corpus.by_id[one] for one in getattr(run.split, part) if one in corpus.by_id]
    if not clips:
        raise HeschlError(f"the {part} part of {run} holds no trial: choose another part")
    skipped: list[Skipped] = []
    found: list[Answer] = list(answers(network, clips, skipped=skipped, progress=progress))
    if not found:
        raise HeschlError(f"no trial could be decoded; the first because {skipped[0].why}")
    task = run.task()
    trials = [answer.clip for answer in found]
    truth = np.array([task.target(clip) for clip in trials])
    scores = scores_among(network, np.stack([one.logits for one in found]))
    return Decoded(run, corpus, network, trials, truth, scores), skipped


def _designs(held: Decoded) -> list[str]:
    """Says so where a word is of one block only: what is decoded may then be the time of day."""
    task, at = held.run.task(), dict[str, set[str]]()
    label = task.label
    if getattr(task, "open_set", False):  # a stretch of speech is of one block, as it must be
        return []
    for clip in held.corpus.clips:
        at.setdefault(clip.labels.get(label, ""), set()).add(clip.labels.get("block", ""))
    lone = sum(len(blocks) == 1 for blocks in at.values())
    if lone and len(set().union(*at.values())) > 1:
        return [
            f"{counted(lone, 'word was', 'words were')} heard in one block only: a decoder may know the block, and not the word"
        ]
    return []


def _triplets(held: Decoded, folder: Path) -> dict[str, Any]:
    """The triplet tests, where there is a codebook whose words hold triplets."""
    codebook = getattr(held.network.model, "codebook", None)
    if not isinstance(codebook, torch.Tensor):
        return {"triplets": 0, "tests": []}
    table = triplet_table(codebook.detach().double().cpu().numpy(), list(held.network.labels))
    if not table:
        return {"triplets": 0, "tests": []}
    write_csv(folder / "triplets.csv", table, list(table[0]))
    tests = triplet_tests(table)
    if tests:
        write_csv(folder / "triplet_tests.csv", tests, list(tests[0]))
    return {"triplets": len(table), "tests": tests}
