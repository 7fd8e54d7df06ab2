"""Many explained clips at a glance, and one clip by several methods: pictures, each with its test beside it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from heschl.explanation.trust import rank_correlation, top_overlap
from heschl.files import read_json, write_csv, write_json
from heschl.run import Run
from heschl.steps.explain_show import by_method, deletion_curves, drawn_of, plain, slug
from heschl.steps.explain_store import stored_clip
from heschl.steps.explaining import Input, Picture, picture_of, read_input
from heschl.steps.networks import Network, open_network

FIFTH = 0.2  # of a picture, in a note
MONTAGE = 36  # pictures of a montage
COMPARISON = "compare"
COLOURED = "\u00a0(orange), and what against\u00a0(blue)"  # a line does not begin with a bracket
Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def stored_picture(file: h5py.File, network: Network, one: Input) -> Picture:
    """The picture of a clip out of relevance.h5."""
    group = file[slug(one.clip.id)]
    kept = one._replace(x=torch.from_numpy(group["x"][()]))
    return picture_of(network, kept, torch.from_numpy(group["relevance"][()]))


def draw_montage(
    run: Run,
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    method: str,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """The clip of each class of which the network is surest, where there are two or more; of networks over frames, some
    clips. The curves beside those that are not shown by themselves are kept in clips/ID/curves.json.

    progress: told how many of the pictures have their curves, of how many.
    """
    from heschl.figures.explanation import save_all
    from heschl.figures.montage import montage
    from heschl.figures.style import TEXT, WIDE

    network = open_network(run)
    best: dict[str, Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (-row["probability"], row["clip"])):
        best.setdefault(row["clip"] if network.frames else row["target"], row)
    names = sorted(best, key=lambda name: run.labels.index(name) if name in run.labels else -1)
    every = len(names)
    if every < 2:  # its one picture is the clip's own
        for old in folder.glob("montage*"):
            old.unlink()
        return
    chosen = {name: best[name] for name in names[: MONTAGE if not network.frames else 12]}
    found = _clips(run, [str(row["clip"]) for row in chosen.values()], rows)
    pictures, curves, tiers = {}, {}, set()
    for k, (name, row) in enumerate(chosen.items()):
        one = read_input(network, found[str(row["clip"])])
        wrong = row.get("said", name) not in ("", name)  # a class may be known by mistakes alone
        label = f"{name}, was {row['said']}" if wrong else name
        curves[label] = _curves_of(folder, network, one, seed)
        with h5py.File(folder / "relevance.h5", "r") as file:
            pictures[label] = drawn_of(network, one, stored_picture(file, network, one))
        tiers |= {span.tier for span in one.clip.spans}
        if progress:
            progress(k + 1, len(chosen))
    some = f"{len(pictures)} of {every}" if every > len(pictures) else f"{every}"
    each = f"the answers in {some} recordings" if network.frames else f"each of {some} answers"
    title = f"What speaks for {each}{COLOURED}, {by_method(method, tiers)}"
    for name, width in (("montage", WIDE), ("montage-column", TEXT)):
        save_all(montage(pictures, title, width, curves), folder / name)


def _curves_of(folder: Path, network: Network, one: Input, seed: int) -> Curves:
    """A clip's curves: those that are there already, or new ones, which are kept."""
    home = folder / "clips" / slug(one.clip.id)
    for path in (home / "answer.json", home / "curves.json"):
        if path.exists():
            return _read(read_json(path)["curves"])
    held = stored_clip(folder, one)
    assert held is not None  # every row of a montage is of a clip that was explained
    facts, relevance, aim = held
    curves = deletion_curves(network, one, relevance, aim, seed, facts["method"])
    write_json(home / "curves.json", {"clip": one.clip.id, "curves": plain(curves)})
    return curves


def _read(curves: Mapping[str, Sequence[Sequence[float]]]) -> Curves:
    return {name: (np.array(shares), np.array(scores)) for name, (shares, scores) in curves.items()}


def _clips(run: Run, ids: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The clips themselves: those that were handed on with the rows, or the corpus'."""
    given = {str(row["clip"]): row["_clip"] for row in rows if "_clip" in row}
    if all(one in given for one in ids):
        return given
    return dict(run.corpus().by_id) | given


def draw_comparison(run: Run, held: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """Methods side by side: a picture of each clip that all of them show, and how far they agree."""
    from heschl.figures.explanation import save_all
    from heschl.figures.montage import compared
    from heschl.figures.style import TEXT, WIDE

    network = open_network(run)
    files = {name: h5py.File(Path(one["folder"]) / "relevance.h5", "r") for name, one in held.items()}
    first = next(iter(held.values()))
    try:
        ids = [clip for clip in first["explained"] if all(slug(clip) in file for file in files.values())]
        rows = []
        for one, other in itertools.combinations(files, 2):
            values = [
                [torch.from_numpy(files[name][slug(clip)]["relevance"][()])[None] for name in (one, other)]
                for clip in ids
            ]
            rows.append(
                {
                    "method": one,
                    "other": other,
                    "clips": len(values),
                    "rank_correlation": _mean([float(rank_correlation(a, b)) for a, b in values]),
                    "top_overlap": _mean([float(top_overlap(a, b)) for a, b in values]),
                    "chance_overlap": 0.1,
                }
            )
        write_csv(folder / "agreement.csv", rows, list(rows[0]))
        clips = _clips(run, first["shown"], first["_rows"])
        said = {row["clip"]: row.get("said", "") for row in first["_rows"]}
        shown = [clip for clip in first["shown"] if clip in ids]
        _clear(folder, [slug(clip) for clip in shown])
        for clip in shown:
            one_input = read_input(network, clips[clip])
            pictures, notes, curves = {}, {}, {}
            for name, file in files.items():
                how = by_method(name, {span.tier for span in clips[clip].spans})
                label = f"{how[0].upper()}{how[1:]}"
                pictures[label] = drawn_of(network, one_input, stored_picture(file, network, one_input))
                answer = Path(held[name]["folder"]) / "clips" / slug(clip) / "answer.json"
                if answer.exists():
                    curves[label] = _read(read_json(answer)["curves"])
                    notes[label] = _note(curves[label])
            target = files[name][slug(clip)].attrs["target"]
            of = f" of “{said[clip]}”" if said[clip] not in ("", target) else ""
            title = f"What speaks for {_asked(target, network.frames)}{COLOURED}: "
            title += f"{len(pictures)} methods on one recording{of}"
            for file_name, width in (("", WIDE), ("-column", TEXT)):
                save_all(compared(pictures, notes, title, width, curves), folder / f"{slug(clip)}{file_name}")
    finally:
        for file in files.values():
            file.close()
    result = {"folder": str(folder), "clips": len(ids), "agreement": rows, "methods": list(held)}
    result |= {"tiers": first["tiers"], "weights": first["weights"]}
    write_json(folder / "compare.json", result)
    return result


def _clear(folder: Path, names: Sequence[str]) -> None:
    """Takes away pictures of other clips, which an earlier comparison showed."""
    for name in ("*.png", "*.svg", "*.pdf"):
        for path in folder.glob(name):
            if path.stem.removesuffix("-column") not in names:
                path.unlink()


def _asked(target: str, frames: bool) -> str:
    """What is explained, in words; of a network over frames no one answer."""
    every = {
        "predicted": "the network’s answers at every moment",
        "true": "what was said at every moment",
    }
    return every.get(target, f"“{target}”") if frames else f"“{target}”"


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _note(curves: Curves) -> str:
    """How much of the probability the most relevant fifth takes with it, or part where parts are larger, beside one at random."""
    own, random = curves["most relevant first"], curves["at random"]
    share = max(FIFTH, float(own[0][1]))
    without, with_chance = (100 * float(np.interp(share, *curve)) for curve in (own, random))
    what = "fifth" if share == FIFTH else "part"
    return (
        f"{100 * random[1][0]:.0f} %, strongest {what} out {without:.0f} %, a random one {with_chance:.0f} %"
    )
