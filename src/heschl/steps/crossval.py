"""All folds of a recipe: train and score each, here or on a cluster, and say how much the score varies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heschl.corpora.split import n_folds
from heschl.files import read_csv, read_json, write_csv, write_json
from heschl.recipe import Recipe, load
from heschl.run import Run, read_heard
from heschl.steps.evaluate import TRIALS_NOTE, scores_of
from heschl.steps.groups import over_trials
from heschl.steps.workers import backend
from heschl.tasks.counts import STATISTICS
from heschl.tasks.scores import classification_scores, mean_and_sd
from heschl.types import Corpus, HeschlError

Train = Callable[..., Run]


def crossval(
    recipe: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    train: Train,
    runs: Path | str = "runs",
    workers: int = 1,
    dask: str | None = None,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Trains and scores every fold; folds that are finished are kept, so that the same command goes on.

    Parameters
    ----------
    recipe: as for training; its split must be one of folds (``kfold``, ``leave_one_out``, ``audiomnist_folds``).
    train: `heschl.training.fit.train`.
    runs: folder of the runs; the result is written to RUNS/crossval-NAME/ (folds.csv, scores.json).
    workers: processes on this machine. dask: address of a dask scheduler, which then does the work, or a
        YAML file of jobs for a queue (`heschl.steps.workers.backend`).
    progress: told after each fold how many are done, of how many.

    Returns
    -------
    name, n_folds, ``folds`` (a row a fold), for each score {"mean", "sd", "n"} over folds, and of networks over
    clips ``pooled``: the scores of all folds' answers together, in which each clip is judged once, by a network
    that never heard its speaker, with the interval over speakers (of brains over what `over_trials` finds in all folds).

    Raises
    ------
    HeschlError: the recipe's split has no folds, one of them is named in ``overrides``, a fold fails (the others are finished first), or a worker is lost.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    overrides = dict(overrides or {})
    if "split.fold" in overrides:
        raise HeschlError(
            "split.fold: crossval goes through every fold: leave it out, or train that fold alone"
        )
    checked = load(recipe, overrides)
    source = recipe if isinstance(recipe, Mapping) else str(recipe)
    corpus = read_heard(checked.corpus, checked.folder)
    total = n_folds(checked.split.use, corpus, checked.split.args)
    if total < 2:
        raise HeschlError(
            f"the split {checked.split.use} has no folds: choose kfold, leave_one_out or another split of folds"
        )
    quiet = bool(dask) or workers > 1  # the voices of several trainings at once help nobody
    jobs = (
        joblib.delayed(one_fold)(
            train, source, {**overrides, "split.fold": k}, str(Path(runs).absolute()), k, strict, quiet
        )
        for k in range(total)
    )
    rows: list[dict[str, Any]] = []
    try:
        with backend(workers, dask, total) as parallel:
            for row in parallel(jobs):
                rows.append(row)
                if progress:
                    progress(len(rows), total)
    except TerminatedWorkerError:
        raise HeschlError(
            f"a process was killed after {len(rows)} of {total} folds (too little memory?): the finished ones are kept, "
            "run the same command again, with fewer --workers"
        ) from None
    rows.sort(key=lambda row: row["fold"])
    failed = [row for row in rows if row["error"]]
    if failed:
        others = " (the others are kept: mend it and run the same command again)" * (len(failed) < total)
        raise HeschlError(
            f"{len(failed)} of {total} folds failed; fold {failed[0]['fold']}: {failed[0]['error']}{others}"
        )
    return _summary(checked, corpus, rows, Path(runs))


def one_fold(
    train: Train,
    recipe: str | Mapping[str, Any],
    overrides: Mapping[str, Any],
    runs: str,
    fold: int,
    strict: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Trains and scores one fold, in whatever process; an error becomes a row, so that the other folds go on."""
    try:
        run = train(recipe, overrides, runs=runs, strict=strict, quiet=quiet)
        held = scores_of(run, "test", strict=strict)
    except HeschlError as error:
        return {"fold": fold, "run": "", "clips": 0, "error": str(error)}
    main = held["scores"] if held["kind"] == "clips" else held["scores"]["all"]
    row: dict[str, Any] = {
        "fold": fold,
        "run": str(run.folder),
        "clips": held["clips"],
        "n_groups": main["n_groups"],
        "error": "",
    }
    row |= {name: main[name]["value"] for name in STATISTICS}
    if "without_silence" in held["scores"]:
        said = held["scores"]["without_silence"]
        row |= {f"{name}_without_silence": said[name]["value"] for name in STATISTICS}
    facts = {"chance": main["chance"], "synthetic": held["synthetic"], "group": main["group"]}
    return {**row, **facts, "brains": held.get("brains", False)}


def _summary(recipe: Recipe, corpus: Corpus, rows: list[dict[str, Any]], runs: Path) -> dict[str, Any]:
    folder = runs / f"crossval-{recipe.name}"
    names = [name for name in rows[0] if name.startswith(tuple(STATISTICS))]
    result: dict[str, Any] = {
        "name": recipe.name,
        "folder": str(folder),
        "n_folds": len(rows),
        "group": rows[0]["group"],
        "chance": rows[0]["chance"],
        "synthetic": rows[0]["synthetic"],
        "brains": rows[0]["brains"],
        "folds": rows,
    }
    for name in names:
        values = [row[name] for row in rows if row.get(name) is not None]
        mean, sd = mean_and_sd(values)
        result[name] = {"mean": mean, "sd": sd, "n": len(values)}
    pooled = _pooled(corpus, rows)
    if pooled is not None:
        result["pooled"] = pooled
    columns = ["fold", "run", "clips", "n_groups", *names]
    write_csv(folder / "folds.csv", [{key: row.get(key) for key in columns} for row in rows], columns)
    write_json(folder / "scores.json", result)
    return result


def _pooled(corpus: Corpus, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Scores of all folds' answers together; None for networks over frames or candidates, or where folds know other classes."""
    folders = [Path(row["run"]) / "evaluate" / "test" for row in rows]
    held = [read_json(folder / "scores.json") for folder in folders]
    labels = held[0].get("labels")
    if labels is None or any(one["kind"] != "clips" or one["labels"] != labels for one in held):
        return None
    answers = [row for folder in folders for row in read_csv(folder / "predictions.csv")]
    logits = np.log(np.array([[float(row[f"p:{label}"]) for label in labels] for row in answers]).clip(1e-9))
    truth, answered = (np.array([labels.index(row[key]) for row in answers]) for key in ("said", "answered"))
    first = np.arange(len(answers)), answered
    logits[first] = logits.max(1) + 1e-9  # shares are written with six digits, and some are alike
    by = str(rows[0]["group"])
    if not held[0].get("brains"):
        whose = None if by == "clip" else [row["speaker"] for row in answers]
        return classification_scores(logits, truth, whose, by=by)
    over = over_trials(
        [corpus.by_id[row["id"]] for row in answers]
    )  # a fold may hold one subject, all of them several
    scores = classification_scores(logits, truth, over.names, by=over.by)
    return scores if over.names is not None else {**scores, "interval_note": TRIALS_NOTE}
