"""The network's inputs of a recipe as files: AudioMNIST's HDF5 layout, for programs that read that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from heschl.corpora.split import n_folds
from heschl.features.draws import Draws
from heschl.features.hdf5 import GENDERS, SHAPES, Datum, write_audiomnist
from heschl.features.waveform import fit_length, placement
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
    recipe: for AlexNet's or AudioNet's input on a corpus whose clips have digit, speaker, repetition and gender. Where
        clip.short is random, as AudioMNIST was prepared, its seed draws each clip's place, once.
    folder: where the task's folder and the lists go.
    workers: processes on this machine. dask: address of a dask scheduler, whose workers then compute; they see the
        recordings under the same paths.

    Returns
    -------
    folder, clips, lists, skipped (a count) and ``left_out`` (what was skipped and why).

    Raises
    ------
    HeschlError: another kind of input or corpus, a clip of a length that the recipe refuses (before anything is
        written), or no clip can be used.
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
        if why := _unfit(clip):
            skipped.append(Skipped(clip.id, why))
        else:
            clips.append(clip)
    if not clips:
        raise HeschlError(
            f"no clip of {corpus.name} has digit, speaker, repetition and gender as this layout keeps them "
            f"({skipped[-1].where} {skipped[-1].why}): use AudioMNIST"
        )
    splits = _splits(checked, corpus, {clip.id for clip in clips})
    _check_lengths(checked, clips)
    with backend(workers, dask):
        data = _data(checked, clips, -1 if dask else min(workers, -(-len(clips) // UNIT)), skipped, progress)
        files, lists = write_audiomnist(folder, task, data, splits)
    return {
        "folder": str(folder),
        "clips": len(files),
        "lists": len(lists),
        "skipped": len(skipped),
        "left_out": [item._asdict() for item in skipped],
    }


def _unfit(clip: Clip) -> str:
    """Why the layout cannot hold a clip, or ""."""
    for name in ("digit", "speaker", "repetition", "gender"):
        if not clip.labels.get(name):
            return f"has no {name}"
    for name in ("digit", "repetition"):
        if not clip.labels[name].isdecimal():
            return f"has the {name} '{clip.labels[name]}', which is no number"
    if clip.labels["gender"] not in GENDERS:
        return f"has the gender '{clip.labels['gender']}', and this layout knows {' and '.join(GENDERS)}"
    return ""


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


def _check_lengths(recipe: Recipe, clips: list[Clip]) -> None:
    """Raises HeschlError where the recipe refuses a clip for its length, as its header gives it."""
    if recipe.clip.seconds is None:
        return
    rate = int(build(recipe.feature, "feature", folder=recipe.folder).sample_rate)
    for clip in clips:
        if clip.stop is not None:
            samples = torch.tensor([round((clip.stop - clip.start) * rate)])
            try:
                placement(samples, round(recipe.clip.seconds * rate), _long(recipe), recipe.clip.short)
            except HeschlError as error:
                raise HeschlError(f"clip {clip.id}: {error}") from None


def _long(recipe: Recipe) -> Literal["centre", "start", "refuse"]:
    return "centre" if recipe.clip.long == "random" else recipe.clip.long


def _data(
    recipe: Recipe, clips: list[Clip], jobs: int, skipped: list[Skipped], progress: Progress | None
) -> Iterator[tuple[str, Datum | None]]:
    """One clip's input after another, in their order, computed in units of clips; None and a word in ``skipped`` where
    a clip cannot be read."""
    import joblib

    done = 0
    for unit in joblib.Parallel(n_jobs=jobs, return_as="generator")(
        joblib.delayed(_unit)(recipe, clips[k : k + UNIT], k) for k in range(0, len(clips), UNIT)
    ):
        for clip, made in unit:
            if isinstance(made, str):
                skipped.append(Skipped(clip, made))
            yield clip, None if isinstance(made, str) else made
        done += len(unit)
        if progress:
            progress(done, len(clips))


def _unit(recipe: Recipe, clips: list[Clip], first: int) -> list[tuple[str, Datum | str]]:
    """The inputs of some clips, numbered from ``first``, or why one cannot be read, in whatever process."""
    made: list[tuple[str, Datum | str]] = []
    feature = build(recipe.feature, "feature", folder=recipe.folder).eval().double()
    for place, clip in enumerate(clips, first):
        try:
            wave = torch.from_numpy(read_wave(clip, int(feature.sample_rate), by=recipe.clip.resample))[
                None
            ].double()
        except HeschlError as error:
            made.append((clip.id, str(error)))
            continue
        if recipe.clip.seconds is not None:
            n = round(recipe.clip.seconds * feature.sample_rate)
            draws = Draws(recipe.seed, 0, torch.tensor([place]))
            wave, _ = fit_length(
                wave, torch.tensor([wave.shape[1]]), n, _long(recipe), recipe.clip.short, draws
            )
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
