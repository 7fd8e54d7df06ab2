"""What is known of each explained clip, kept as it is found: one file a clip, at the end relevance.h5."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from heschl.files import read_json, replacing, write_json
from heschl.run import Run
from heschl.steps.explain_show import slug
from heschl.steps.explaining import Input, share_of
from heschl.steps.methods import Method
from heschl.types import HeschlError


def store_clip(
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
    shutil.rmtree(home / "clips" / slug(clip.id), ignore_errors=True)  # drawn of what was known before
    with replacing(home / ".parts" / f"{slug(clip.id)}.h5") as temporary, h5py.File(temporary, "w") as file:
        group = file.create_group(slug(clip.id))
        group.create_dataset("relevance", data=r.numpy(), compression="gzip", shuffle=True)
        group.create_dataset("x", data=one.x.numpy(), compression="gzip", shuffle=True)
        group.create_dataset("target", data=aim.numpy())
        group.create_dataset("logits", data=logits.numpy())
        group.attrs.update(facts)


def stored_clip(home: Path, one: Input) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor] | None:
    """What is known of a clip already: its facts, relevance and target; nothing of another sound of the same name."""
    name = slug(one.clip.id)
    for path in (home / ".parts" / f"{name}.h5", home / "relevance.h5"):
        if not path.exists():
            continue
        try:
            with h5py.File(path, "r") as file:
                if name in file:
                    group = file[name]
                    if not _alike(group["x"][()], one.x.numpy()):
                        continue
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


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two inputs are of one sound: another machine may compute its last digits otherwise."""
    return one.shape == other.shape and np.allclose(
        one, other, rtol=0, atol=1e-3 * np.abs(one).max(initial=0), equal_nan=True
    )


def merge(home: Path) -> None:
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


def withdraw(folder: Path) -> None:
    """Takes back what `begin` made, where nothing was found there."""
    if not (folder / ".parts").exists() and not (folder / "relevance.h5").exists():
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # other explanations lie there
            folder.parent.rmdir()


def begin(folder: Path, settings: dict[str, Any]) -> None:
    """The folder for these settings; what was found with others is removed."""
    path = folder / "settings.json"
    if path.exists() and read_json(path) != settings:
        for name in (".parts", "clips"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("relevance.h5", "explain.json"):
            (folder / name).unlink(missing_ok=True)
    write_json(path, settings)
