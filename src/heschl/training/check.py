"""All that can be said of a recipe without training it: `heschl check`."""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from heschl.contract import broken, check_feature, check_model, check_task, verbs
from heschl.contract.verbs import needed
from heschl.corpora import Progress
from heschl.explanation.lrp import lrp
from heschl.recipe import CorpusPart, Part, Recipe, load
from heschl.recipe.parts import check_part
from heschl.recipe.schema import Machine
from heschl.training.start import describe, for_classes, put_weights, read_start
from heschl.training.survey import Survey, survey
from heschl.types import HeschlError
from heschl.wording import counted


class Finding(NamedTuple):
    """What was found of a recipe: a fact, something to know, or what stops it."""

    level: Literal["fact", "note", "wrong"]
    text: str


def check_recipe(
    recipe: Recipe | Path | str | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    strict: bool = False,
    progress: Progress | None = None,
) -> list[Finding]:
    """Reads recipe and corpus, counts, tries two clips through feature and network, and asks what the network can take.

    Parameters
    ----------
    recipe, overrides: as `heschl.training.fit.train` takes them.
    strict: anything left out is wrong. progress: of reading the corpus.

    Returns
    -------
    Findings in order; the last is the only "wrong" one where the recipe cannot be trained at all.
    """
    try:
        loaded = recipe if isinstance(recipe, Recipe) and not overrides else load(_raw(recipe), overrides)
        made = survey(loaded, strict=strict, progress=progress)
        model = made.model()
        start = read_start(loaded.train.init)
        start = for_classes(start, made) if start else None
        exact = loaded.train.epochs == 0
        taken = [Finding("fact", describe(start, put_weights(model, start, exact)))] if start else []
    except HeschlError as error:
        return [Finding("wrong", str(error))]
    return [*_facts(made, model), *taken, *_machine(made), *own_parts(made), *_methods(loaded), *_verbs(made)]


def _raw(recipe: Recipe | Path | str | Mapping[str, Any]) -> Any:
    return recipe.model_dump(mode="json", exclude_defaults=True) if isinstance(recipe, Recipe) else recipe


def _facts(made: Survey, model: nn.Module) -> list[Finding]:
    corpus, by = made.corpus, made.split.by
    kind = "synthetic, " if corpus.synthetic else ""
    found = [
        Finding(
            "fact", f"corpus {corpus.name}: {counted(len(corpus.clips), 'clip')} ({kind}{corpus.licence})"
        )
    ]
    for part, clips in made.parts.items():
        if not clips:
            found.append(Finding("note", f"{part}: no clips{_without(part)}"))
            continue
        own = [clip for clip in clips if clip.id not in made.origins]
        groups = len({made.speaker(clip) for clip in own})
        more = f" and {len(clips) - len(own):,} of `also`" if len(own) < len(clips) else ""
        whose = f" of {counted(groups, by)}" if by != "clip" else ""
        found.append(
            Finding("fact", f"{part}: {counted(len(own), 'clip')}{whose}{more}{_classes(made, part)}")
        )
    found += [Finding("note", note) for note in made.notes]
    if made.skipped:
        first = made.skipped[0]
        found.append(
            Finding("note", f"left out: {len(made.skipped):,}, the first {first.where}: {first.why}")
        )
    shape = " x ".join(str(size) for size in made.in_shape)
    count = sum(one.numel() for one in model.parameters())
    found.append(
        Finding("fact", f"{made.recipe.feature.use} gives {shape}, {made.feature.rate:g} steps a second")
    )
    found.append(
        Finding("fact", f"{made.recipe.model.use}: {count:,} parameters, {len(made.labels)} classes")
    )
    return found + _lengths(made)


def _machine(made: Survey) -> list[Finding]:
    """What training on this computer would refuse; it may be meant for another."""
    machine, usual = made.recipe.machine, Machine()
    keys = ("device", "devices", "nodes", "strategy")
    if all(getattr(machine, key) == getattr(usual, key) for key in keys):
        return []  # without importing lightning
    from heschl.training.trainer import hushed, machine_lacks

    with hushed():
        lacks = machine_lacks(machine)
    return [Finding("note", lacks)] if lacks else []


def _without(part: str) -> str:
    return ": the last weights are kept, as nothing tells which are best" if part == "validation" else ""


def _classes(made: Survey, part: str) -> str:
    if made.frames:
        return ""
    counts = Counter(made.task.target(clip) for clip in made.parts[part])
    (most, n), (fewest, m) = counts.most_common()[0], counts.most_common()[-1]
    told = f", {counted(len(counts), 'class', 'classes')}"
    return told + (
        f" ({made.labels[most]} {n:,}, {made.labels[fewest]} {m:,})" if n != m else f" ({n:,} each)"
    )


def _lengths(made: Survey) -> list[Finding]:
    """What happens to clips that are longer or shorter than the network's input."""
    wanted = made.recipe.clip.seconds
    if wanted is None or made.frames:
        return []
    spans = [
        clip.stop - clip.start for clips in made.parts.values() for clip in clips if clip.stop is not None
    ]
    found = []
    for count, what, policy in (
        (sum(one > wanted + 1e-3 for one in spans), "longer", made.recipe.clip.long),
        (sum(one < wanted - 1e-3 for one in spans), "shorter", made.recipe.clip.short),
    ):
        if count:
            level: Literal["wrong", "note"] = "wrong" if policy == "refuse" else "note"
            found.append(
                Finding(
                    level,
                    f"{counted(count, 'clip is', 'clips are')} {what} than clip.seconds {wanted:g}: clip.{'long' if what == 'longer' else 'short'} is {policy}"
                    + (": set it to another policy, or leave them out" if policy == "refuse" else ""),
                )
            )
    return found


def own_parts(made: Survey) -> list[Finding]:
    """Rules of the contract that parts from the user's own package break; of a network, those alone are wrong that
    training stands on: the others cost it verbs, which `_verbs` tells."""
    recipe, found = made.recipe, []
    checks: list[tuple[Part | CorpusPart, str, Callable[[Any], Any]]] = [
        (recipe.feature, "feature", check_feature),
        (recipe.model, "model", lambda part: check_model(part, made.in_shape, len(made.labels))),
        (recipe.task, "task", check_task),
    ]
    for part, kind, check in checks:
        factory = _factory(part, kind, recipe)
        if not factory.func.__module__.startswith("heschl."):
            for one in broken(check(factory)):
                stops = kind != "model" or one.rule in needed("train", _one_length(made))
                found.append(Finding("wrong" if stops else "note", f"{part.use}: {one.rule}: {one.said}"))
    return found


def _methods(recipe: Recipe) -> list[Finding]:
    """Which of the methods in `explain` are not there, or not with such settings; `load` leaves them, for training does
    without."""
    found = []
    for i, part in enumerate(recipe.explain):
        args = dict(part.args)
        if part.use.endswith("perturb.aligned_occlusion"):
            args.pop("kind", None)  # of segments, which `heschl explain` finds and hands over
        try:
            check_part(part.use, args, "explain", at=f"explain.{i}", folder=recipe.folder)
        except HeschlError as error:
            found.append(Finding("wrong", str(error)))
    return found


def _one_length(made: Survey) -> bool:
    """All clips are cut or filled to one length, so that the network is told of none."""
    return made.recipe.clip.seconds is not None and not made.frames


def _verbs(made: Survey) -> list[Finding]:
    """What can be done with this network, and what cannot."""
    if made.per_frame or made.frames:
        return []
    factory = _factory(made.recipe.model, "model", made.recipe)
    table = verbs(factory, made.in_shape, len(made.labels), one_length=_one_length(made))
    can = ", ".join(verb.name for verb in table if verb.can)
    cannot = [
        Finding("note", f"{made.recipe.model.use} cannot be taken to {one.name}: {one.why}")
        for one in table
        if not one.can
    ]
    explained = any(verb.can for verb in table if verb.name == "explain")
    by_lrp = _by_lrp(made, factory) if explained and not made.recipe.explain else []
    return [Finding("fact", f"{made.recipe.model.use} can be taken to: {can}"), *cannot, *by_lrp]


def _by_lrp(made: Survey, factory: Callable[..., nn.Module]) -> list[Finding]:
    """Whether LRP, by which is explained where a recipe names no method, has rules for this network."""
    x = torch.randn(1, *made.in_shape, generator=torch.Generator().manual_seed(0))
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            lrp(factory(tuple(made.in_shape), len(made.labels)).eval(), x, torch.tensor([0]))
    except HeschlError as error:
        told = "explain it by heschl explain RUN --method gradient_x_input, which needs no rule for a layer"
        return [Finding("note", f"{error}; {told}")]
    return []


def _factory(part: Part | CorpusPart, kind: str, recipe: Recipe) -> functools.partial[Any]:
    made, given = check_part(part.use, part.args, kind, folder=recipe.folder)
    return functools.partial(made, **given)
