"""The way out: a run's network, numbers or whole folder, in the forms that other tools read.

onnx, torch-export: one graph from the wave to the logits, the front end included, and checked against torch.
hdf5: what the network was given, what it said and what its areas did, clip by clip.
huggingface-folder: weights, config and card, laid out as the hub lays them out.
mne, bids: what EEG would see of its layers where a table puts them (illustrative), see `heschl.steps.export_brain`.
archive: everything that a paper's deposit needs in one zip, with checksums.
"""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heschl.brain.activity import record
from heschl.checkpoints import save_weights
from heschl.files import read_json, read_text, replacing, write_json, write_text
from heschl.recipe.parts import find_part
from heschl.run import Run, open_run
from heschl.steps.export_brain import export_bids, export_mne
from heschl.steps.graphs import clips_of, fitted, write_onnx, write_torch_export
from heschl.steps.networks import Network, Progress, answers, open_network
from heschl.types import Activity, Clip, HeschlError
from heschl.wording import counted

_BATCH = 32  # clips at once


def export(
    run: Run | Path | str, to: str, out: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Writes a run in another form, under RUN/export/ or at ``out``.

    Parameters
    ----------
    to: one of `FORMS`.
    out: the file or folder to write; None names it after the run.
    progress: told how many clips are done, of how many.

    Returns
    -------
    "file", "bytes", and what was measured of it ("largest_difference" from torch on "clips").

    Raises
    ------
    HeschlError: no such form, a missing extra, or a graph that does not answer as torch does (nothing is kept).
    """
    run = open_run(run)
    if to not in FORMS:
        raise HeschlError(f"there is no export to '{to}': choose {', '.join(FORMS)}")
    suffix, write = FORMS[to]
    path = out or run.folder / "export" / f"{run.name}{suffix}"
    told = write(run, path, progress)
    size = path.stat().st_size if path.is_file() else sum(one.stat().st_size for one in path.rglob("*"))
    return {"to": to, "file": str(path), "bytes": size, **told}


# --- numbers -------------------------------------------------------------------------------------------------


def _hdf5(run: Run, path: Path, progress: Progress | None) -> dict[str, Any]:
    """What the network is given, says and does, clip by clip of the test part (of all, where nobody is tested on).

    ids (clip,), truth (clip,), logits (clip, class), x (clip, *in_shape) and activity/AREA (clip, time, unit) with its
    attribute "times" in seconds. Networks over frames have a group a clip, as clips differ in length: clips/ID/logits
    (frame, class) and times (frame,). So have those that hear clips at full length: clips/ID/logits (class,), x and
    activity/AREA (time, unit), and truth as an attribute.
    """
    import h5py

    network, task = open_network(run), run.task()
    tested = set(run.split.test)
    clips = [clip for clip in clips_of(run, 10**9) if not tested or clip.id in tested]
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["run"], file.attrs["labels"] = run.name, list(network.labels)
        if network.frames:
            for answer in answers(network, clips, progress=progress):
                group = file.create_group(f"clips/{answer.clip.id.replace('/', '|')}")
                group["logits"], group["times"] = answer.logits, answer.times
            return {"clips": len(clips)}
        if network.seconds is None:
            for k, clip in enumerate(clips):
                group = file.create_group(f"clips/{clip.id.replace('/', '|')}")
                group.attrs["truth"] = clip.labels.get(task.label, "")
                for name, values in _heard(network, [clip]).items():
                    group[name] = values[0]
                for area, times in _times(network, clip).items():
                    group[f"activity/{area}"].attrs["times"] = times
                if progress:
                    progress(k + 1, len(clips))
            return {"clips": len(clips)}
        file["ids"] = [clip.id for clip in clips]
        file["truth"] = [clip.labels.get(task.label, "") for clip in clips]
        for k in range(0, len(clips), _BATCH):
            for name, values in _heard(network, clips[k : k + _BATCH]).items():
                _append(file, name, values, len(clips), k)
            if progress:
                progress(min(k + _BATCH, len(clips)), len(clips))
        for area, times in _times(network, clips[0]).items():
            file[f"activity/{area}"].attrs["times"] = times
    return {"clips": len(clips)}


def _heard(network: Network, clips: list[Clip]) -> dict[str, np.ndarray]:
    """Name of a dataset -> its rows for these clips; activity only where all clips are of one length."""
    waves = torch.stack([torch.from_numpy(fitted(network, clip)) for clip in clips])
    with torch.inference_mode():
        x = network.feature(waves)
        out = network.model(x)
    rows = {"x": x.numpy(), "logits": (out[0] if isinstance(out, tuple) else out).numpy()}
    return rows | {
        f"activity/{area}": one.values.numpy() for area, one in _activity(network, x.clone()).items()
    }


def _activity(network: Network, x: torch.Tensor) -> dict[str, Activity]:
    if not getattr(network.model, "areas", {}) or getattr(network.model, "time_axis", -1) is None:
        return {}
    with warnings.catch_warnings():  # an area held for the clip has two times, and its attribute tells them
        warnings.simplefilter("ignore")
        return record(network.model, x, float(network.feature.rate))  # type: ignore[arg-type]


def _times(network: Network, clip: Clip) -> dict[str, np.ndarray]:
    x = network.feature(torch.from_numpy(fitted(network, clip))[None])
    return {area: one.times.numpy() for area, one in _activity(network, x.detach()).items()}


def _append(file: Any, name: str, rows: np.ndarray, n: int, at: int) -> None:
    if name not in file:
        file.create_dataset(name, (n, *rows.shape[1:]), rows.dtype, compression="gzip", compression_opts=1)
    file[name][at : at + len(rows)] = rows


# --- folders -------------------------------------------------------------------------------------------------


def _hub(run: Run, path: Path, progress: Progress | None) -> dict[str, Any]:
    """model.safetensors, config.json, recipe.yaml and README.md, as the hub lays a model out."""
    state = run.weights()
    save_weights(path / "model.safetensors", state, {"run": run.name, "labels": list(run.labels)})
    recipe = run.recipe
    config = {
        "library_name": "heschl",
        "model": {"use": recipe.model.use, **recipe.model.args},
        "feature": {"use": recipe.feature.use, **recipe.feature.args},
        "in_shape": list(run.in_shape),
        "sampling_rate": float(run.feature().sample_rate),  # type: ignore[arg-type]
        "clip_seconds": recipe.clip.seconds,
        "speech": recipe.corpus.speech and recipe.corpus.speech.model_dump(),
        "id2label": {str(k): label for k, label in enumerate(run.labels)},
        "label2id": {label: k for k, label in enumerate(run.labels)},
    }
    write_json(path / "config.json", config)
    write_text(path / "recipe.yaml", read_text(run.folder / "recipe.yaml"))
    write_text(path / "README.md", card(run))
    parameters = sum(one.numel() for one in run.model().parameters())  # running means in the state are none
    return {"parameters": parameters}


def card(run: Run) -> str:
    """A model card: what it is, what it heard, how good it is, and what it must not be used for."""
    corpus, what = run.origin.get("corpus", {}), run.recipe.about.what
    lines = [
        "---",
        "library_name: heschl",
        "tags: [audio-classification, speech, interpretability]",
        "---",
        f"# {run.recipe.name}",
        "",
        *([what[:1].upper() + what[1:] + ".", ""] if what else []),
        f"- Network: `{run.recipe.model.use}`; answers: {', '.join(run.labels)}.",
        f"- It heard: {corpus.get('name')} ({corpus.get('licence')})"
        + (
            "; a machine speaks there, so its scores are of synthetic speech."
            if corpus.get("synthetic")
            else "."
        ),
    ]
    for scores in sorted((run.folder / "evaluate").glob("*/scores.json")):
        held = read_json(scores)
        if not run.current(held):
            continue  # scored before its training went on
        lines.append(f"- {scores.parent.name}: {_told(held)}")
    lines += ["- It must not be used to identify people, or to decide anything about them.", ""]
    return "\n".join(lines)


def _told(held: dict[str, Any]) -> str:
    scores = held.get("scores", {})
    scores = scores.get("all", scores)
    best = scores.get("balanced_accuracy", {})
    if "value" not in best:
        return "scored; see evaluate/"
    low, high = best.get("low"), best.get("high")
    between = f" [{100 * low:.1f}, {100 * high:.1f}]" if low is not None and high is not None else ""
    groups, group = scores.get("n_groups"), scores.get("group", "speaker")
    whose = counted(groups, group) if groups else "an unknown number of speakers"
    return (
        f"balanced accuracy {100 * best['value']:.1f} %{between}, {whose}, chance {100 * scores.get('chance', 0):.1f} %"
        + (" (synthetic speech)" if held.get("synthetic") else "")
    )


def _archive(run: Run, path: Path, progress: Progress | None) -> dict[str, Any]:
    """The run folder without what can be made again (last.ckpt, earlier exports), with the user's own parts, a card, the
    versions of what it was made with, and SHA256SUMS of all of it: `sha256sum -c SHA256SUMS` checks what was unpacked."""
    left_out = {run.folder / "checkpoints" / "last.ckpt"}
    files = [
        one
        for one in sorted(run.folder.rglob("*"))
        if one.is_file()
        and one not in left_out
        and "export" not in one.relative_to(run.folder).parts[:1]
        and one.absolute() != path.absolute()
    ]
    named = {one.relative_to(run.folder).as_posix(): one for one in files}
    named = {**_own_parts(run), **named}
    made = {"CARD.md": card(run), "requirements.txt": _versions(run), "HOW.md": _how(run)}
    sums = []
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for k, (name, one) in enumerate(named.items()):
            data = one.read_bytes()
            sums.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n")
            _put(archive, name, data)
            if progress:
                progress(k + 1, len(named))
        for name, text in made.items():
            sums.append(f"{hashlib.sha256(text.encode('utf-8')).hexdigest()}  {name}\n")
            _put(archive, name, text.encode("utf-8"))
        _put(archive, "SHA256SUMS", "".join(sums).encode("utf-8"))
    return {"files": len(named) + len(made), "sounds": sum(one.suffix in (".wav", ".html") for one in files)}


def _own_parts(run: Run) -> dict[str, Path]:
    """The files of the recipe's own networks and other parts, which lie beside it: name -> file."""
    home, found = run._parts, dict[str, Path]()
    if home is None:
        return found
    for at, kind, part in run.recipe.parts():
        module = str(getattr(find_part(part.use, kind, at=at, folder=home), "__module__", ""))
        for name in (f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py"):
            if not module.startswith("heschl.") and (home / name).is_file():
                found[name] = home / name
    return found


def _versions(run: Run) -> str:
    held = {k: v.split("+", 1)[0] for k, v in run.origin.get("versions", {}).items() if k != "python"}
    return "".join(f"{name}=={version}\n" for name, version in held.items())


def _how(run: Run) -> str:
    """How to check what was unpacked, use it, and make it again."""
    corpus, versions = run.origin.get("corpus", {}), run.origin.get("versions", {})
    return (
        f"# {run.name}\n\n"
        "    sha256sum -c SHA256SUMS                   # whole?\n"
        f"    pip install -r requirements.txt           # with Python {versions.get('python', '3.11')}\n"
        "    heschl predict . FILE.wav                 # use it\n"
        "    heschl evaluate . --on FOLDER             # score it on recordings that lie as its own did\n"
        "    heschl train recipe.yaml corpus.root=FOLDER   # make it again\n\n"
        f"The recordings are not in here: {corpus.get('name')}, {corpus.get('source') or 'no source is told'}, "
        f"{corpus.get('licence') or 'no licence is told'}; fingerprint {corpus.get('fingerprint')}. split.json says which of "
        "them it was trained, chosen and tested on. Sounds under explain/ and in report.html are made of those recordings: "
        "publish them only where their licence and their speakers allow it.\n"
    )


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """With a fixed date: the same run gives the same bytes."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


FORMS: dict[str, tuple[str, Callable[[Run, Path, Progress | None], dict[str, Any]]]] = {
    "onnx": (".onnx", write_onnx),
    "torch-export": (".pt2", write_torch_export),
    "hdf5": (".h5", _hdf5),
    "mne": ("-mne", export_mne),
    "bids": ("-bids", export_bids),
    "huggingface-folder": ("-hub", _hub),
    "archive": (".zip", _archive),
}
