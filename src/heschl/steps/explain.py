"""What did the network rely on? Relevance of clips, with pictures, sounds, their test, and tables over speakers."""

from __future__ import annotations

import functools
import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h5py
import numpy as np
import torch
from torch import Tensor

from heschl.files import audio_info, read_csv, read_json, replacing, write_csv, write_json
from heschl.recipe import Part
from heschl.run import Run, open_run
from heschl.steps.evaluate import _part
from heschl.steps.explain_show import (
    COMPARISON,
    clip_regions,
    draw_comparison,
    draw_montage,
    show_clip,
    slug,
)
from heschl.steps.explain_tables import write_tables
from heschl.steps.explaining import (
    Input,
    answers_to,
    read_input,
    relevances,
    share_of,
    target_of,
)
from heschl.steps.methods import Method, method_of
from heschl.steps.networks import Network, open_network
from heschl.steps.telling import telling
from heschl.steps.workers import backend
from heschl.types import Clip, Explanation, HeschlError, Skipped

UNIT = 8  # clips that one process explains before it says so
SHOW = 12  # clips that are drawn and heard, of a whole part
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


def find_clips(run: Run, named: Sequence[Clip | str | Path]) -> list[Clip]:
    """Clips, ids of the run's corpus and recordings as clips.

    Raises
    ------
    HeschlError: something is neither (the nearest id is offered).
    """
    from difflib import get_close_matches

    found, corpus = [], None
    for one in named:
        if isinstance(one, Clip):
            found.append(one)
            continue
        if isinstance(one, str):
            try:
                corpus = corpus or run.corpus()
            except HeschlError:  # a recording can be explained where the corpus is not
                if not Path(one).expanduser().is_file():
                    raise
            if corpus and one in corpus.by_id:
                found.append(corpus.by_id[one])
                continue
        path = Path(one).expanduser()
        if path.is_file() or isinstance(one, Path):
            info = audio_info(path)
            found.append(Clip(path.name, path, info.rate, {}, stop=info.frames / info.rate))
            continue
        near = get_close_matches(str(one), list(corpus.by_id) if corpus else [], n=1)
        hint = f": did you mean '{near[0]}'?" if near else ": name clips of its corpus, or recordings"
        raise HeschlError(f"'{one}' is neither a clip of {run.folder} nor a recording{hint}")
    if not found:
        raise HeschlError("no clip is named: name ids of the run's corpus, or recordings")
    return found


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
    seed: int = 0,
    workers: int = 1,
    dask: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Explains a part of a run, or some clips, and writes RUN/explain/METHOD-TARGET/; goes on where it stopped.

    Written are relevance.h5 (all clips), clips/ID/ (for those that are shown: figure and figure-column as PNG, SVG and
    PDF, the sounds as 16-bit WAV at the clip's rate, answer.json), clips.csv, regions.csv (a row for each phone, word
    and band of each clip), summary.csv (over speakers, tested), montage and montage-column, skipped.csv, and
    explain.json.

    Parameters
    ----------
    part: "train", "validation" or "test"; clips: ids, and files: recordings, instead of a part.
    method, preset, target: as `explain`; by default what the recipe's `explain` says first, or LRP.
    sound: also write what was relied on, what spoke against it and the rest as sounds.
    show: how many clips of a part are drawn and heard (None: 12; named clips: all). Where the part was scored, those
        that tell most (`heschl.steps.telling`), else or beyond them clips spread over classes and speakers.
    seed: of the clips that are shown, of chance in tests and curves.
    workers: processes on this machine. dask: address of a dask scheduler, which then does the work.
    progress: told how many clips are done, of how many.

    Returns
    -------
    what explain.json holds.
    """
    run = open_run(run)
    how = chosen_method(run, method, preset)
    picked, skipped = _picked(run, part, clips, files)
    named = bool(clips or files)
    settings = {
        "run": run.name,
        "method": how.name,
        "settings": {key: str(value) for key, value in sorted(how.settings.items())},
        "target": target,
        "weights": _fingerprint(run),
        "seed": seed,
    }
    _check_target(run, target)
    folder = run.folder / "explain" / _folder_name(how.name, target)
    _begin(folder, settings)
    if named:
        shown = {clip.id for clip in (picked if show is None else _spread(run, picked, show, seed))}
    else:
        shown = _shown(run, part, picked, show, seed)
    told = list(skipped)
    rows: list[dict[str, Any]] = []
    groups = [picked[k : k + UNIT] for k in range(0, len(picked), UNIT)]
    request = {"target": target, "sound": sound, "seed": seed, "weights": settings["weights"]}
    import joblib

    jobs = (
        joblib.delayed(explain_unit)(str(run.folder), str(folder), group, how, request, shown)
        for group in groups
    )
    with backend(workers, dask):
        parallel = joblib.Parallel(n_jobs=-1 if dask else workers, return_as="generator_unordered")
        done = 0
        for unit in parallel(jobs):
            rows += unit["rows"]
            told += [Skipped(*one) for one in unit["skipped"]]
            done += unit["clips"]
            if progress:
                progress(done, len(picked))
    if not rows:
        first = told[0] if told else Skipped(str(run.folder), "no clip is there")
        raise HeschlError(f"nothing could be explained; {first.where}: {first.why}")
    _merge(folder)
    order = {clip.id: k for k, clip in enumerate(picked)}
    rows.sort(key=lambda row: order[row["clip"]])
    held: dict[str, Any] = {
        **settings,
        "part": None if named else part,
        "clips": len(rows),
        "shown": sorted(shown & {row["clip"] for row in rows}, key=order.__getitem__),
        "skipped": len(told),
        "synthetic": bool(run.origin["corpus"].get("synthetic", False)),
        "folder": str(folder),
    }
    held |= write_tables(folder, rows, seed)
    held["explained"] = [row["clip"] for row in rows]
    held["sounds"] = _heard(folder, held["shown"])
    draw_montage(run, folder, rows, how.name)
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
    known = [one for one in inputs if _stored(home, one.clip.id) is None]
    for one, aim, name, logits, r in _explained(network, task, known, how, request["target"], out["skipped"]):
        _store(home, opened, one, aim, name, how, logits, r)
    for one in inputs:
        held = _stored(home, one.clip.id)
        if held is None:
            continue
        row, relevance, aim = held
        row["regions"] = clip_regions(network, one, relevance)
        row["_clip"] = one.clip
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


# --- what is stored ----------------------------------------------------------------------------------------


def _store(
    home: Path, run: Run, one: Input, aim: torch.Tensor, name: str, how: Method, logits: Any, r: torch.Tensor
) -> None:
    clip, shares = one.clip, logits.double().softmax(-1)
    frames = logits.ndim == 2
    speaker = run.split.groups.get(clip.id) or clip.labels.get("speaker", "")
    facts = {
        "clip": clip.id,
        "speaker": speaker,
        "target": name,
        "method": how.name,
        "answered": "" if frames else run.labels[int(logits.argmax())],
        "probability": share_of(logits, aim),
        "answered_probability": float(shares.max(-1).values.mean()),
        "total": float(r.double().sum()),
        "rate": one.rate,
        "start": one.start,
    }
    with replacing(home / ".parts" / f"{slug(clip.id)}.h5") as temporary, h5py.File(temporary, "w") as file:
        group = file.create_group(slug(clip.id))
        group.create_dataset("relevance", data=r.numpy(), compression="gzip", shuffle=True)
        group.create_dataset("x", data=one.x.numpy(), compression="gzip", shuffle=True)
        group.create_dataset("target", data=aim.numpy())
        group.create_dataset("logits", data=logits.numpy())
        group.attrs.update(facts)


def _stored(home: Path, clip: str) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor] | None:
    """What is known of a clip already: its facts, relevance and target."""
    name = slug(clip)
    for path in (home / ".parts" / f"{name}.h5", home / "relevance.h5"):
        if not path.exists():
            continue
        try:
            with h5py.File(path, "r") as file:
                if name in file:
                    group = file[name]
                    facts = {
                        key: value.item() if isinstance(value, np.generic) else value
                        for key, value in group.attrs.items()
                    }
                    return (
                        facts,
                        torch.from_numpy(group["relevance"][()]),
                        torch.as_tensor(group["target"][()]),
                    )
        except OSError:
            raise HeschlError(f"{path} is damaged: remove it to explain those clips anew") from None
    return None


def _merge(home: Path) -> None:
    """All parts into relevance.h5, whole or not at all."""
    parts = sorted((home / ".parts").glob("*.h5"))
    if not parts:
        return
    with replacing(home / "relevance.h5") as temporary:
        if (home / "relevance.h5").exists():
            shutil.copyfile(home / "relevance.h5", temporary)
        with h5py.File(temporary, "a") as whole:
            for path in parts:
                with h5py.File(path, "r") as file:
                    for name in file:
                        if name in whole:
                            del whole[name]
                        file.copy(name, whole)
    shutil.rmtree(home / ".parts", ignore_errors=True)


def _begin(folder: Path, settings: dict[str, Any]) -> None:
    """The folder for these settings; what was found with others is removed."""
    path = folder / "settings.json"
    if path.exists() and read_json(path) != settings:
        for name in (".parts", "clips"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("relevance.h5", "explain.json"):
            (folder / name).unlink(missing_ok=True)
    write_json(path, settings)


def _fingerprint(run: Run) -> str:
    path = run.folder / "checkpoints" / "best.safetensors"
    if not path.exists():
        raise HeschlError(f"{path} is not there: train the run first")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _folder_name(method: str, target: str) -> str:
    return quote(f"{method.replace(':', '-')}-{target}", safe="-_")


# --- what is chosen ----------------------------------------------------------------------------------------


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


def _picked(
    run: Run, part: str, clips: Sequence[str], files: Sequence[Path | str]
) -> tuple[list[Clip], list[Skipped]]:
    if clips or files:
        return find_clips(run, [*clips, *map(Path, files)]), []
    found, missing = _part(run, run.corpus(), part)
    if not found:
        raise HeschlError(
            f"the {part} part of {run.folder} holds no clip: choose another part, or name clips"
        )
    return found, missing


def _shown(run: Run, part: str, clips: Sequence[Clip], n: int | None, seed: int) -> set[str]:
    """Ids of n clips: those that tell most of what was scored, by turns of their groups, then others."""
    n = SHOW if n is None else n
    spread = [clip.id for clip in _spread(run, clips, n, seed)]
    scored = run.folder / "evaluate" / part / "predictions.csv"
    rows = read_csv(scored) if scored.exists() else []
    if not rows or "said" not in rows[0]:  # not scored, or an answer for every frame
        return set(spread)
    there = {clip.id for clip in clips}
    turns = itertools.zip_longest(*(group for _, group in telling(rows, -(-n // 3) or 1)))
    first = [row["id"] for turn in turns for row in turn if row is not None and row["id"] in there]
    return set([*dict.fromkeys([*first, *spread])][:n])


def _spread(run: Run, clips: Sequence[Clip], n: int | None, seed: int) -> list[Clip]:
    """n clips: by turns of every class (or, over frames, speaker), drawn by the seed."""
    n = SHOW if n is None else n
    if n < 0:
        raise HeschlError(f"--show is {n}: how many clips are drawn cannot be below zero")
    label = run.recipe.task.args.get("label", "")
    order = np.random.default_rng(seed).permutation(len(clips))
    kinds: dict[str, list[Clip]] = {}
    for k in order:
        clip = clips[int(k)]
        kinds.setdefault(clip.labels.get(label) or run.split.groups.get(clip.id, ""), []).append(clip)
    turns = itertools.zip_longest(*(kinds[kind] for kind in sorted(kinds)))
    mixed = [clip for turn in turns for clip in turn if clip is not None]
    if n < len(kinds):  # not the first of the alphabet
        first = mixed[: len(kinds)]
        mixed = [first[int(k)] for k in np.linspace(0, len(first) - 1, n).round()]
    return mixed[:n]


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
        raise HeschlError(f"{run.folder}: the recipe's explain lists {twice} twice: keep one of them")
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
    held = {
        chosen_method(run, name, None).name: explain_run(run, part, method=name, **options)
        for name in methods
    }
    return draw_comparison(
        run, held, run.folder / "explain" / f"{COMPARISON}-{options.get('target', 'predicted')}"
    )
