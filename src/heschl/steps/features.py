"""The network's inputs of a recipe as files: AudioMNIST's HDF5 layout, for programs that read that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from heschl.corpora.split import n_folds
from heschl.features.hdf5 import SHAPES, Datum, write_audiomnist
from heschl.features.waveform import fit_length
from heschl.recipe import Recipe, load
from heschl.recipe.parts import build
from heschl.run import read_heard
from heschl.steps.networks import Progress, read_wave
from heschl.steps.workers import backend
from heschl.types import Clip, Corpus, HeschlError, Skipped

UNIT = 64  # clips that one process computes at a time


def write_features(
    recipe: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None,
    folder: Path,
    progress: Progress | None = None,
    workers: int = 1,
    dask: str | None = None,
) -> dict[str, Any]:
    """Writes every clip's input and the lists of all folds.

    Parameters
    ----------
    recipe: for AlexNet's or AudioNet's input on a corpus whose clips have digit, speaker, repetition and gender.
    folder: where the task's folder and the lists go.
    workers: processes on this machine. dask: address of a dask scheduler, whose workers then compute; they see the
        recordings under the same paths.

    Returns
    -------
    folder, clips, lists, skipped (a count) and ``left_out`` (what was skipped and why).

    Raises
    ------
    HeschlError: another kind of input or corpus, or no clip can be used.
    """
    checked = load(recipe, overrides)
    corpus: Corpus = read_heard(checked.corpus, checked.folder)
    task = checked.task.args.get("label")
    if task not in ("digit", "gender"):
        raise HeschlError(
            f"AudioMNIST's layout is for the tasks digit and gender, and this recipe's task.label is {task}: "
            "use a recipe of AudioMNIST's, such as digits-alexnet"
        )
    skipped = list(corpus.skipped)
    clips = []
    for clip in corpus.clips:
        lacking = [name for name in ("digit", "speaker", "repetition", "gender") if not clip.labels.get(name)]
        if lacking:
            skipped.append(Skipped(clip.id, f"has no {lacking[0]}"))
        else:
            clips.append(clip)
    if not clips:
        raise HeschlError(
            f"no clip of {corpus.name} has digit, speaker, repetition and gender: use AudioMNIST"
        )
    splits = _splits(checked, corpus, {clip.id for clip in clips})
    with backend(workers, dask):
        data = _data(checked, clips, -1 if dask else min(workers, -(-len(clips) // UNIT)), progress)
        files, lists = write_audiomnist(folder, task, data, splits)
    return {
        "folder": str(folder),
        "clips": len(files),
        "lists": len(lists),
        "skipped": len(skipped),
        "left_out": [item._asdict() for item in skipped],
    }


def _splits(recipe: Recipe, corpus: Corpus, ids: set[str]) -> dict[int, dict[str, list[str]]]:
    """Every fold of the recipe's split; a split without folds is number 0."""
    folds = n_folds(recipe.split.use, corpus, recipe.split.args)
    made = {}
    for fold in range(max(1, folds)):
        args = {**recipe.split.args, **({"fold": fold} if folds > 1 else {})}
        part = recipe.split.model_copy(update={"args": args})
        split = build(part, "split", fill={"corpus": corpus, "seed": recipe.seed}, folder=recipe.folder)
        made[fold] = {
            part: [one for one in getattr(split, part) if one in ids]
            for part in ("train", "validation", "test")
        }
    return made


def _data(
    recipe: Recipe, clips: list[Clip], jobs: int, progress: Progress | None
) -> Iterator[tuple[str, Datum]]:
    """One clip's input after another, in their order, computed in units of clips."""
    import joblib

    units = [clips[k : k + UNIT] for k in range(0, len(clips), UNIT)]
    done = 0
    for unit in joblib.Parallel(n_jobs=jobs, return_as="generator")(
        joblib.delayed(_unit)(recipe, own) for own in units
    ):
        yield from unit
        done += len(unit)
        if progress:
            progress(done, len(clips))


def _unit(recipe: Recipe, clips: list[Clip]) -> list[tuple[str, Datum]]:
    """The inputs of some clips, in whatever process."""
    made = []
    feature = build(recipe.feature, "feature", folder=recipe.folder).eval().double()
    for clip in clips:
        wave = torch.from_numpy(read_wave(clip, int(feature.sample_rate)))[None].double()
        if recipe.clip.seconds is not None:
            n = round(recipe.clip.seconds * feature.sample_rate)
            long = "centre" if recipe.clip.long == "random" else recipe.clip.long
            wave, _ = fit_length(wave, torch.tensor([wave.shape[1]]), n, long, recipe.clip.short)
        with torch.inference_mode():
            x = feature(wave)[0]
        network = next(
            (name for name, shape in SHAPES.items() if tuple(x.shape) == shape[1:] or x.shape == shape[2:]),
            None,
        )
        if network is None:
            raise HeschlError(
                f"{recipe.feature.use} gives {tuple(x.shape)}, and AudioMNIST's layout holds (1, 227, 227) for AlexNet "
                "or (1, 8000) for AudioNet: choose such a feature"
            )
        labels = clip.labels
        datum = Datum(
            network,  # type: ignore[arg-type]
            x.numpy().reshape(SHAPES[network]),
            int(labels["digit"]),
            labels["speaker"],
            int(labels["repetition"]),
            labels["gender"],
        )
        made.append((clip.id, datum))
    return made
