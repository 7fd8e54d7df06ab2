"""How good is the network of a run, on a part of its own corpus or on another folder of the same layout?"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heschl.files import read_json, write_csv, write_json
from heschl.run import Run, open_run
from heschl.steps.groups import block_of, over_trials
from heschl.steps.networks import (
    Answer,
    Network,
    Progress,
    answers,
    open_network,
    pointing,
    scores_among,
    with_sensors,
)
from heschl.tasks import scores as sc
from heschl.tasks.counts import confusion
from heschl.tasks.frame_scores import frame_scores
from heschl.tasks.retrieval import best, hits, middle, ranks, retrieval_scores
from heschl.tasks.textgrid import spans_of
from heschl.types import Clip, Corpus, HeschlError, Skipped

PARTS = ("train", "validation", "test")
TRIALS_NOTE = "interval over trials: there are too few blocks and subjects to draw from"


def evaluate(
    run: Run | Path | str,
    part: str = "test",
    on: Path | str | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores a run and writes RUN/evaluate/NAME/, where NAME is the part, or the folder ``on``.

    Written are scores.json, predictions.csv, per_class.csv, per_speaker.csv (where speakers are known),
    confusion.csv, confusion.svg, confusion.png and skipped.csv; of networks over frames, predictions.csv holds
    segments, said.csv those that are known, and per_clip.csv each clip's share of right frames.

    Parameters
    ----------
    part: "train", "validation" or "test" of the run's own corpus.
    on: another folder of the same layout; all of it is scored, and labels that the run does not know are
        listed under ``unknown_labels``, not guessed.
    strict: a clip that cannot be used is an error, not a line in skipped.csv.
    progress: told how many clips are done, of how many.

    Returns
    -------
    what scores.json holds.

    Raises
    ------
    HeschlError: no such part, no clips in it, or nothing in it that the network knows.
    """
    run = open_run(run)
    corpus = run.corpus(on)
    skipped = list(corpus.skipped) if on is not None else []
    clips, missing = part_of(run, corpus, part) if on is None else (list(corpus.clips), [])
    skipped += missing
    if on is None and not getattr(run.split, part):
        raise HeschlError(
            f"{run} keeps nobody for its {part} part: score it on other recordings with --on FOLDER, "
            f"or learn how good its recipe is with `heschl crossval {run.recipe.name}`"
        )
    if not clips:
        where = f"the {part} part of {run}" if on is None else str(on)
        raise HeschlError(f"{where} holds no clip that is there: choose another part, or check the corpus")
    weights = run.weights_id
    network, task = with_sensors(open_network(run), corpus), run.task()
    matched = getattr(task, "open_set", False)
    network = pointing(network) if matched else network
    folder = run.folder / "evaluate" / part if on is None else _folder_on(run, Path(on))
    known, unknown = _known(task, corpus, clips, network.frames)
    if not known:
        names = ", ".join(list(unknown)[:8])
        raise HeschlError(
            f"{corpus.name} has no clip with a label that the run knows: it has {names or 'none'}, and the run "
            f"knows {', '.join(network.labels[:12])}: score another part, or recordings that have some (--on FOLDER)"
        )
    groups, by = _groups(run, known, own=on is None)
    found = list(answers(network, known, skipped=None if strict else skipped, progress=progress))
    if strict and skipped:
        raise HeschlError(
            f"{skipped[0].where} was skipped ({skipped[0].why}): mend it, or go without --strict"
        )
    if not found:
        raise HeschlError(f"no clip could be scored; the first was skipped because {skipped[0].why}")
    whose = [groups[answer.clip.id] for answer in found] if groups is not None else None
    apart = {"by": by, "n": None if whose is None else len(set(whose))}
    over = None
    if (
        network.sensors is not None
    ):  # of brains the interval is over people where there are some, as `decode` has it
        over = over_trials([answer.clip for answer in found])
        whose, by = over.names, over.by
    held: dict[str, Any] = {
        "run": run.name,
        "weights": weights,
        "finished": run.finished,
        "part": part if on is None else "all",
        "on": None if on is None else str(on),
        "corpus": corpus.name,
        "synthetic": corpus.synthetic,
        "brains": network.sensors is not None,
        "clips": len(found),
        "skipped": len(skipped),
        "unknown_labels": unknown,
        "counts": dict(network.counts),
        "kind": "frames" if network.frames else "clips",
        "apart": apart,  # what the split keeps apart, and how many of it this part has
    }
    if matched:
        held |= _score_matches(folder, found, task, network, whose, by)
    else:
        score = _score_frames if network.frames else _score_clips
        held |= score(folder, found, task, network.labels, whose, by)
    if over is not None:
        held["scores"]["unit"] = "trial"
        held["interval"] = f"over {over.told}"
        if over.names is None:
            held["scores"]["interval_note"] = TRIALS_NOTE
    write_csv(folder / "skipped.csv", [item._asdict() for item in skipped], ["where", "why"])
    held["folder"] = str(folder)
    write_json(folder / "scores.json", held)
    return held


def scores_of(run: Run, part: str, strict: bool = False) -> dict[str, Any]:
    """What `evaluate` told of these very weights, or tells now: a run may have been scored before its training ended."""
    path = run.folder / "evaluate" / part / "scores.json"
    kept = read_json(path) if path.exists() else None
    if kept is not None and run.current(kept):
        return dict(kept)
    return evaluate(run, part, strict=strict)


def part_of(run: Run, corpus: Corpus, part: str) -> tuple[list[Clip], list[Skipped]]:
    if part not in PARTS:
        raise HeschlError(f"there is no part '{part}': choose train, validation or test")
    ids = getattr(run.split, part)
    gone = [
        Skipped(one, "is in the run's split, and no longer in the corpus")
        for one in ids
        if one not in corpus.by_id
    ]
    return [corpus.by_id[one] for one in ids if one in corpus.by_id], gone


def _folder_on(run: Run, on: Path) -> Path:
    """Where the scores on another folder go: named after it and, where another one of its name was scored, after the
    folders above too."""
    parts = [part for part in on.resolve().parts if part.strip("/\\:")] or ["root"]
    for k in range(1, len(parts) + 1):
        name = "on-" + re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts[-k:]))
        folder = run.folder / "evaluate" / name
        kept = folder / "scores.json"
        if not kept.exists() or Path(read_json(kept).get("on") or on).resolve() == on.resolve():
            break
    return folder


def _known(
    task: Any, corpus: Corpus, clips: Sequence[Clip], frames: bool
) -> tuple[list[Clip], dict[str, int]]:
    """Clips that the network can be asked about, and how often each label occurs that it does not know."""
    asked = replace(corpus, clips=tuple(clips))
    chosen, unknown = task.select(asked), task.unknown(asked)
    if frames:  # unknown symbols are frames without a label
        return list(chosen.clips), unknown
    classes = set(task.classes)
    known = [clip for clip in chosen.clips if clip.labels[task.label] in classes]
    without = len(clips) - len(chosen.clips)
    return known, {**unknown, **({f"(no {task.label})": without} if without else {})}


def _groups(run: Run, clips: Sequence[Clip], own: bool) -> tuple[dict[str, str] | None, str]:
    """Clip id -> speaker (or whatever the split keeps apart), or None where it is unknown."""
    by = run.split.by
    if by == "clip":
        return None, "clip"
    if own:
        return {clip.id: run.split.groups[clip.id] for clip in clips}, by
    if any(clip.labels.get(by, "") for clip in clips):
        return {clip.id: clip.labels.get(by) or clip.id for clip in clips}, by
    return None, "clip"


# --- one answer a clip -------------------------------------------------------------------------------------


def _score_clips(
    folder: Path,
    found: Sequence[Answer],
    task: Any,
    labels: tuple[str, ...],
    whose: list[str] | None,
    by: str,
) -> dict[str, Any]:
    # a codebook's logits are cosines, and were told apart at a temperature: so are their probabilities
    logits = np.stack([answer.logits for answer in found]) / getattr(task, "temperature", 1.0)
    truth = np.array([labels.index(answer.clip.labels[task.label]) for answer in found])
    guess, probability = logits.argmax(1), sc.softmax(logits)
    matrix = confusion(truth, guess, len(labels))
    held = {
        "labels": list(labels),
        "scores": sc.classification_scores(logits, truth, whose, by=by),
        "confusions": sc.top_confusions(matrix, labels),
    }
    rows = []
    for k, answer in enumerate(found):
        clip = answer.clip
        rows.append(
            {
                "id": clip.id,
                "speaker": whose[k] if whose else "",
                "said": labels[truth[k]],
                "answered": labels[guess[k]],
                "right": int(truth[k] == guess[k]),
                "probability": f"{probability[k].max():.6f}",
                **{f"p:{label}": f"{p:.6f}" for label, p in zip(labels, probability[k], strict=True)},
                "file": str(clip.signal.resolve()),
                "start": clip.start,
                "stop": "" if clip.stop is None else clip.stop,
            }
        )
    write_csv(folder / "predictions.csv", rows, list(rows[0]))
    if whose:
        _write_table(folder / "per_speaker.csv", sc.group_table(truth, guess, whose, len(labels)))
    of_trials = bool(found[0].clip.labels.get("recording"))  # of a trial nobody may have said it aloud
    _write_matrix(folder, matrix, labels, "asked for" if of_trials else "said")
    return held


def _score_matches(
    folder: Path,
    found: Sequence[Answer],
    task: Any,
    network: Network,
    whose: list[str] | None,
    by: str,
) -> dict[str, Any]:
    """By retrieval among all candidates, a block of trials at a time; there is no table of confusions, which would be a row for
    each candidate."""
    labels, n = network.labels, len(network.labels)
    scores = scores_among(network, np.stack([answer.logits for answer in found]))
    truth = np.array([task.target(answer.clip) for answer in found])
    guess, places = best(scores, len(truth)), ranks(scores, truth)
    held = {
        "candidates": n,
        "scores": {
            **sc.counted_scores(truth, guess, whose, n, by=by),
            "top_k": {str(k): float(hits(places, k).mean()) for k in (3, 5) if k < n},
        },
        "retrieval": retrieval_scores(scores, truth, n, whose, [block_of(answer.clip) for answer in found]),
    }
    rows = [
        {
            "id": answer.clip.id,
            "heard": labels[truth[k]],
            "answered": labels[guess[k]],
            "rank": float(rank),
            "of": n,
        }
        for k, (answer, rank) in enumerate(zip(found, middle(places), strict=True))
    ]
    write_csv(folder / "predictions.csv", rows, list(rows[0]))
    return held


# --- an answer for every frame -----------------------------------------------------------------------------


def _score_frames(
    folder: Path,
    found: Sequence[Answer],
    task: Any,
    labels: tuple[str, ...],
    whose: list[str] | None,
    by: str,
) -> dict[str, Any]:
    truth = [
        np.asarray(task.target(answer.clip, torch.from_numpy(answer.times), strict=False)) for answer in found
    ]
    guess = [answer.logits.argmax(-1) for answer in found]
    rates = [_rate(answer.times) for answer in found]
    silence = getattr(task, "silence", None)
    flat = np.concatenate(truth)
    keep = flat >= 0
    matrix = confusion(flat[keep], np.concatenate(guess)[keep], len(labels))
    held = {
        "labels": list(labels),
        "silence": silence,
        "scores": frame_scores(truth, guess, labels, rate=rates, silence=silence, groups=whose, by=by),
        "confusions": sc.top_confusions(matrix, labels),
    }
    rows, said, per_clip = [], [], []
    for k, answer in enumerate(found):
        known, clip = truth[k] >= 0, answer.clip
        per_clip.append(
            {
                "id": clip.id,
                "speaker": whose[k] if whose else "",
                "frames": int(known.sum()),
                "accuracy": f"{(truth[k] == guess[k])[known].mean():.6f}" if known.any() else "",
                "words": " ".join(span.symbol for span in clip.spans if span.tier == "word"),
                "file": str(clip.signal.resolve()) if clip.form == "wave" else "",
                "start": clip.start,
                "stop": "" if clip.stop is None else clip.stop,
            }
        )
        rows += [{"id": clip.id, **row} for row in segment_rows(answer, labels)]
        times = np.minimum(answer.times, answer.seconds).tolist()
        said += [
            {"id": clip.id, "start": round(one.start, 6), "stop": round(one.stop, 6), "said": one.symbol}
            for one in spans_of(truth[k].tolist(), times, labels, answer.seconds)
        ]
    write_csv(folder / "predictions.csv", rows, ["id", "start", "stop", "answered", "probability"])
    write_csv(folder / "said.csv", said, ["id", "start", "stop", "said"])
    write_csv(folder / "per_clip.csv", per_clip, list(per_clip[0]))
    if whose:
        group = np.concatenate([np.full(len(t), w, dtype=object) for t, w in zip(truth, whose, strict=True)])
        _write_table(
            folder / "per_speaker.csv",
            sc.group_table(flat[keep], np.concatenate(guess)[keep], list(group[keep]), len(labels)),
        )
    _write_matrix(folder, matrix, labels)
    return held


def segment_rows(answer: Answer, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Runs of one answer as rows: start, stop (seconds), answered, mean probability; they cover the whole clip."""
    guess = answer.logits.argmax(-1)
    share = sc.softmax(answer.logits).max(-1)
    cuts = np.r_[0, np.flatnonzero(np.diff(guess)) + 1, len(guess)]
    times = np.minimum(answer.times, answer.seconds)
    return [
        {
            "start": round(span.start, 6),
            "stop": round(span.stop, 6),
            "answered": span.symbol,
            "probability": f"{share[a:b].mean():.6f}",
        }
        for span, (a, b) in zip(
            spans_of(guess.tolist(), times.tolist(), labels, answer.seconds),
            itertools.pairwise(cuts),
            strict=True,
        )
    ]


def _rate(times: np.ndarray) -> float:
    return float((len(times) - 1) / (times[-1] - times[0])) if len(times) > 1 else 100.0


# --- tables ------------------------------------------------------------------------------------------------


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_csv(path, rows, list(rows[0]))


def _write_matrix(folder: Path, matrix: np.ndarray, labels: Sequence[str], truth: str = "said") -> None:
    from heschl.figures.confusion import confusion_figure
    from heschl.figures.style import save

    name = "said"
    while name in labels:  # a word like any other
        name += "_"
    rows = [
        {name: said, **dict(zip(labels, map(int, row), strict=True))}
        for said, row in zip(labels, matrix, strict=True)
    ]
    write_csv(folder / "confusion.csv", rows, [name, *labels])
    _write_table(folder / "per_class.csv", sc.class_table(matrix, labels))
    save(confusion_figure(matrix, labels, truth=truth), folder / "confusion")
