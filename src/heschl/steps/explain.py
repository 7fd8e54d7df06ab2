"""What did the network rely on? Relevance of clips, with pictures, sounds, their test, and tables over speakers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from torch import Tensor

from heschl.files import read_json, write_csv, write_json
from heschl.recipe import Part
from heschl.run import Run, open_run
from heschl.steps.explain_clips import find_clips, picked_clips, shown_clips, spread_clips
from heschl.steps.explain_many import COMPARISON, draw_comparison, draw_montage
from heschl.steps.explain_show import clip_regions, show_clip, slug
from heschl.steps.explain_store import begin, merge, store_clip, stored_clip, withdraw
from heschl.steps.explain_tables import write_tables
from heschl.steps.explaining import (
    Input,
    answers_to,
    read_input,
    relevances,
    target_of,
)
from heschl.steps.methods import Method, method_of
from heschl.steps.networks import Network, open_network, refuse_brain
from heschl.steps.workers import backend
from heschl.types import Clip, Explanation, HeschlError, Skipped

UNIT = 8  # clips that one process explains before it says so
Progress = Callable[[int, int], None]


def explain(
    run: Run | Path | str,
    clips: Iterable[Clip | str | Path] | Clip | str | Path,
    method: str | Part = "lrp",
    target: str | int | Sequence[str | int] | Tensor | None = None,
) -> list[Explanation]:
    """What a run's network relied on in some clips.

    Parameters
    ----------
    run: a run or its folder.
    clips: clips, ids of the run's corpus, or recordings.
    method: "lrp" or "lrp:PRESET", "gradient", "gradient_x_input", "integrated_gradients", "smoothgrad",
        "occlusion_time", "occlusion_frequency", "aligned" (by phones) or "aligned:KIND", or the import path of a
        function (model, x, target) -> relevance.
    target: a label or its index; "true", what was said; or "predicted" (None is the same), the network's own answer;
        or one of these for each clip. Networks over frames are asked about every frame.

    Returns
    -------
    one for each clip, in order; their relevance is for the network's input, whose last axis is time.

    Raises
    ------
    HeschlError: a clip cannot be found or read, or there is no such method or target.
    """
    run = open_run(run)
    network = open_network(run)
    chosen = find_clips(run, [clips] if isinstance(clips, Clip | str | Path) else list(clips))
    how = method_of(method, folder=run._parts, trusted_only=run._trusted_only)
    inputs = [read_input(network, clip) for clip in chosen]
    aims = [
        target_of(network, run.task(), one, answers_to(network, one.x[None])[0], wanted)
        for one, wanted in zip(inputs, _wanted(target, len(inputs)), strict=True)
    ]
    found = relevances(network, how, inputs, [aim for aim, _ in aims])
    return [
        Explanation(one.clip.id, name, how.name, r, one.x, one.rate)
        for one, (_, name), r in zip(inputs, aims, found, strict=True)
    ]


def _wanted(target: Any, clips: int) -> list[Any]:
    """What is explained of each clip."""
    if np.ndim(target) == 0:
        return ["predicted" if target is None else target] * clips
    each = list(target)
    if len(each) != clips:
        raise HeschlError(f"there are {len(each)} targets for {clips} clips: give one, or one for each clip")
    return each


def explain_run(
    run: Run | Path | str,
    part: str = "test",
    *,
    clips: Sequence[str] = (),
    files: Sequence[Path | str] = (),
    method: str | Part | None = None,
    preset: str | None = None,
    target: str = "predicted",
    sound: bool = True,
    show: int | None = None,
    no_others: bool = False,
    seed: int = 0,
    workers: int = 1,
    dask: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Explains a part of a run, or some clips, and writes RUN/explain/METHOD-TARGET/; goes on where it stopped.

    Written are relevance.h5 (all clips), clips/ID/ (for those that are shown: figure and figure-column as PNG, SVG and
    PDF, the sounds as 16-bit WAV at the clip's rate, answer.json), clips.csv, regions.csv (a row for each phone, word
    and band of each clip), summary.csv (over speakers, tested), montage and montage-column (the curves of clips
    that are not shown in clips/ID/curves.json), skipped.csv, and explain.json.

    Parameters
    ----------
    part: "train", "validation" or "test"; clips: ids, and files: recordings, instead of a part.
    method, preset, target: as `explain`; by default what the recipe's `explain` says first, or LRP.
    sound: also write what was relied on, what spoke against it and the rest as sounds.
    show: how many clips of a part are drawn and heard (None: 12; named clips: all). Where the part was scored, those
        that tell most (`heschl.steps.telling`), else or beyond them clips spread over classes and speakers.
    no_others: explain only those that are shown, unless all of the part is explained already.
    seed: of the clips that are shown, of chance in tests and curves.
    workers: processes on this machine. dask: address of a dask scheduler, which then does the work.
    progress: told how many clips are done, of how many; then, beyond them, how many pictures of the montage have their curves.

    Returns
    -------
    what explain.json holds.
    """
    run = open_run(run)
    how = chosen_method(run, method, preset)
    picked, skipped = picked_clips(run, part, clips, files)
    for clip in picked[:1]:  # all of a corpus are of one kind
        refuse_brain(clip)
    named = bool(clips or files)
    settings = {
        "run": run.name,
        "method": how.name,
        "settings": {key: str(value) for key, value in sorted(how.settings.items())},
        "target": target,
        "weights": run.weights_id,
        "seed": seed,
    }
    _check_target(run, target)
    folder = run.folder / "explain" / _folder_name(how.name, target)
    begin(folder, settings)
    if named:
        shown = {clip.id for clip in (picked if show is None else spread_clips(run, picked, show, seed))}
    else:
        shown = shown_clips(run, part, picked, show, seed)
        if no_others and not _all_of(folder, part):
            named, picked = True, [clip for clip in picked if clip.id in shown]
    told = list(skipped)
    rows: list[dict[str, Any]] = []
    groups = [picked[k : k + UNIT] for k in range(0, len(picked), UNIT)]
    request = {"target": target, "sound": sound, "seed": seed, "weights": settings["weights"]}
    import joblib

    jobs = (
        joblib.delayed(explain_unit)(str(run.folder), str(folder), group, how, request, shown)
        for group in groups
    )
    with backend(workers, dask, len(groups)) as parallel:
        done = 0
        for unit in parallel(jobs):
            rows += unit["rows"]
            told += [Skipped(*one) for one in unit["skipped"]]
            done += unit["clips"]
            if progress:
                progress(done, len(picked))

    def after(curves: int, pictures: int) -> None:
        if progress:
            progress(len(picked) + curves, len(picked) + pictures)

    if not rows:
        withdraw(folder)
        first = told[0] if told else Skipped(str(run), "no clip is there")
        other = (
            "; gradients need no rule for a layer: --method gradient_x_input"
            if "LRP has no rule" in first.why
            else ""
        )
        raise HeschlError(f"nothing could be explained; {first.where}: {first.why}{other}")
    merge(folder)
    order = {clip.id: k for k, clip in enumerate(picked)}
    rows.sort(key=lambda row: order[row["clip"]])
    held: dict[str, Any] = {
        **settings,
        "part": None if named else part,
        "clips": len(rows),
        "shown": sorted(shown & {row["clip"] for row in rows}, key=order.__getitem__),
        "skipped": len(told),
        "tiers": sorted({span.tier for clip in picked for span in clip.spans}),
        "synthetic": bool(run.origin["corpus"].get("synthetic", False)),
        "folder": str(folder),
    }
    held |= write_tables(folder, rows, seed)
    held["explained"] = [row["clip"] for row in rows]
    held["sounds"] = _heard(folder, held["shown"])
    draw_montage(run, folder, rows, how.name, seed, after)
    write_csv(folder / "skipped.csv", [one._asdict() for one in told], ["where", "why"])
    write_json(folder / "explain.json", held)
    return {**held, "_rows": rows}


def explain_unit(
    run: str, folder: str, clips: Sequence[Clip], how: Method, request: dict[str, Any], shown: set[str]
) -> dict[str, Any]:
    """Explains a few clips, in whatever process; what is there already is read, what fails becomes a line."""
    home = Path(folder)
    opened, network, task = _opened(run, request["weights"])
    out: dict[str, Any] = {"rows": [], "skipped": [], "clips": len(clips)}
    inputs: list[Input] = []
    for clip in clips:
        try:
            inputs.append(read_input(network, clip))
        except HeschlError as error:
            out["skipped"].append((clip.id, str(error)))
    known = [one for one in inputs if stored_clip(home, one) is None]
    for one, aim, name, logits, r in _explained(network, task, known, how, request["target"], out["skipped"]):
        store_clip(home, opened, one, aim, name, how, logits, r)
    for one in inputs:
        held = stored_clip(home, one)
        if held is None:
            continue
        row, relevance, aim = held
        row["regions"] = clip_regions(network, one, relevance)
        row["_clip"], row["said"] = one.clip, _said(network, task, one)
        if one.clip.id in shown:
            try:
                show_clip(home, network, one, row, relevance, aim, request)
            except HeschlError as error:
                out["skipped"].append((one.clip.id, f"is explained, but not shown: {error}"))
        out["rows"].append(row)
    return out


@functools.lru_cache(maxsize=2)
def _opened(run: str, weights: str) -> tuple[Run, Network, Any]:
    """A run with its network and task, once a process; other weights are another network."""
    opened = open_run(run)
    return opened, open_network(opened), opened.task()


def _said(network: Network, task: Any, one: Input) -> str:
    """What is true of a clip; nothing where that is not known, or changes from frame to frame."""
    if network.frames:
        return ""
    try:
        return network.labels[int(task.target(one.clip))]
    except HeschlError:
        return ""


def _explained(
    network: Network, task: Any, inputs: Sequence[Input], how: Method, target: str, skipped: list[Any]
) -> Iterable[Any]:
    """Each input with its target, the target's name, its logits and its relevance; failures clip by clip."""
    aims = []
    for one in inputs:
        try:
            logits = answers_to(network, one.x[None])[0]
            aims.append((one, *target_of(network, task, one, logits, target), logits))
        except HeschlError as error:
            skipped.append((one.clip.id, str(error)))
    try:
        found = relevances(network, how, [aim[0] for aim in aims], [aim[1] for aim in aims])
    except HeschlError as error:
        if len(aims) == 1:
            skipped.append((aims[0][0].clip.id, str(error)))
            return
        for aim in aims:  # one of them is to blame
            yield from _explained(network, task, [aim[0]], how, target, skipped)
        return
    for own, r in zip(aims, found, strict=True):
        yield *own, r


def chosen_method(run: Run, method: str | Part | None, preset: str | None) -> Method:
    """The method asked for, by default the first of the recipe's `explain`, or LRP."""
    named = method or (run.recipe.explain[0] if run.recipe.explain else "lrp")
    return method_of(named, preset, folder=run._parts, trusted_only=run._trusted_only)


def _check_target(run: Run, target: str) -> None:
    from difflib import get_close_matches

    known = ("predicted", "true", *run.labels)
    if target not in known:
        near = get_close_matches(target, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"it knows {', '.join(run.labels[:30])}"
        raise HeschlError(f"--target is '{target}', which the network cannot answer: {hint}")


def _all_of(folder: Path, part: str) -> bool:
    """Whether the tables in the folder are of all of a part."""
    path = folder / "explain.json"
    return path.exists() and read_json(path)["part"] == part


def _folder_name(method: str, target: str) -> str:
    return quote(f"{method.replace(':', '-')}-{target}", safe="-_")


def _heard(folder: Path, shown: Sequence[str]) -> dict[str, Any]:
    """Mean probability of what is explained, over the clips that were heard, for each sound."""
    shares: dict[str, list[float]] = {}
    for clip in shown:
        path = folder / "clips" / slug(clip) / "answer.json"
        if path.exists():
            for name, sound in read_json(path).get("sounds", {}).items():
                shares.setdefault(name, []).append(sound["probability"])
    return {name: {"mean": float(np.mean(own)), "n": len(own)} for name, own in shares.items()}


def by_default(run: Run | Path | str) -> list[str | Part]:
    """What the recipe's `explain` lists; LRP where it lists nothing.

    Raises
    ------
    HeschlError: two of them would write into one folder.
    """
    run = open_run(run)
    listed: list[str | Part] = [*run.recipe.explain] or ["lrp"]
    names = [chosen_method(run, one, None).name for one in listed]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise HeschlError(f"{run}: the recipe's explain lists {twice} twice: keep one of them")
    return listed


def compare(
    run: Run | Path | str,
    methods: Sequence[str | Part],
    part: str = "test",
    **options: Any,
) -> dict[str, Any]:
    """The same clips by several methods: each as `explain_run`, and RUN/explain/compare-TARGET/ with them side by side.

    Written there are one picture a shown clip, agreement.csv (mean rank correlation and overlap of the highest tenth,
    for each pair) and compare.json.
    """
    run = open_run(run)
    if len(methods) < 2:
        raise HeschlError("--compare needs two methods or more, with commas between: lrp,occlusion")
    names = [chosen_method(run, method, None).name for method in methods]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise HeschlError(f"--compare names {twice} twice: name methods that differ")
    held = {
        name: explain_run(run, part, method=method, **options)
        for name, method in zip(names, methods, strict=True)
    }
    return draw_comparison(
        run, held, run.folder / "explain" / f"{COMPARISON}-{options.get('target', 'predicted')}"
    )
