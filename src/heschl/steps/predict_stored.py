"""Answers to stored frames: one label for each frame of .npy or HDF5 files, in their order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.corpora import frames
from heschl.corpora._frames_unpickle import load
from heschl.steps.networks import Network, Progress, logits_of
from heschl.tasks.scores import softmax
from heschl.types import HeschlError

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".npy", ".h5", ".hdf5")


def predict_stored(
    network: Network, files: Iterable[Path | str], progress: Progress | None = None
) -> pd.DataFrame:
    """Labels of stored frames.

    Parameters
    ----------
    files: arrays (.npy: an object array of (frame, feature) arrays, or one such array), HDF5 files as
        `heschl.corpora.frames.to_hdf5` writes them, or folders of these. Nothing in a pickle is run.

    Returns
    -------
    a row a frame: file, id (running over all frames of the file, from 0), label, probability; a file that
        cannot be read, or of which an utterance cannot, has a sentence under ``error`` alone: ids would be others'.
    """
    import pandas as pd

    paths = _found(files)
    tables: list[pd.DataFrame] = []
    for k, path in enumerate(paths):
        try:
            answered = [_answer(network, path, number, one) for number, one in enumerate(_utterances(path))]
            if not answered:
                raise HeschlError(f"{path} holds no utterance: name another file")
        except HeschlError as error:
            tables.append(pd.DataFrame([{"file": str(path), "error": str(error)}]))
            continue
        label = np.concatenate([labels for labels, _ in answered])
        tables.append(
            pd.DataFrame(
                {
                    "file": str(path),
                    "id": np.arange(len(label)),
                    "label": np.asarray(network.labels, dtype=object)[label],
                    "probability": np.concatenate([shares for _, shares in answered]).round(6),
                    "error": "",
                }
            )
        )
        if progress:
            progress(k + 1, len(paths))
    joined = pd.concat(tables, ignore_index=True)
    return joined.reindex(columns=["file", "id", "label", "probability", "error"])


def _answer(network: Network, path: Path, number: int, one: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class and probability of each frame of one utterance (frame, feature)."""
    wanted = _width(network)
    if one.ndim != 2 or not len(one) or (wanted and one.shape[1] != wanted):
        raise HeschlError(
            f"{path}, utterance {number}: frames of shape {one.shape}, and the network takes (frame, {wanted or 'feature'})"
        )
    if not np.isfinite(np.asarray(one, np.float64)).all():
        raise HeschlError(f"{path}, utterance {number}, holds numbers that are not finite: mend it")
    shares = softmax(logits_of(network, [np.ascontiguousarray(one.T, np.float32)])[0][0])
    return shares.argmax(-1), shares.max(-1)


def _width(network: Network) -> int | None:
    """Features a frame that the network takes, where it says so."""
    shape: Any = getattr(network.model, "in_shape", None)
    if shape is None:
        return None
    return int(shape[-1] if getattr(network.feature, "per_frame", False) else shape[0])


def _utterances(path: Path) -> Iterable[np.ndarray]:
    if path.suffix == ".npy":
        array = load(path)
        return [array] if array.dtype != object and array.ndim == 2 else [np.asarray(one) for one in array]
    corpus = frames.read(path)
    if corpus.skipped:
        raise HeschlError(corpus.skipped[0].why)
    return (frames.load_frames(clip) for clip in corpus.clips)


def _found(files: Iterable[Path | str]) -> list[Path]:
    found: list[Path] = []
    for file in files:
        path = Path(file).expanduser()
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [
            one
            for one in inside
            if one is path or (one.suffix in SUFFIXES and not one.stem.endswith("_labels"))
        ]
    if not found:
        raise HeschlError(f"no stored frames are named: this network takes files of {', '.join(SUFFIXES)}")
    return found
