"""activity.h5: each area's matrix (batch, time, neuron), read by one line of h5py.

h5py.File("activity.h5")["STG"][:]
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heschl.files import replacing
from heschl.types import Activity, HeschlError

_ABOUT = (
    "What the units of each area of a network do. Axes (batch, time, neuron), in the network's own units; times/AREA in "
    "seconds from the start of the sound: network time, not a brain's latency."
)
_OWN = {"times", "clips", "seconds"}  # the file's own names

Add = Callable[[Mapping[str, Activity], Sequence[str], Sequence[float]], None]


def write_activity(path: Path | str, activity: Mapping[str, Activity], clips: Sequence[str] = ()) -> None:
    """Writes a dataset for each area, its times under ``times/``, and the clips' ids; whole or not at all.

    Raises
    ------
    HeschlError: there are not as many ids as clips, or an area is called as one of the file's own groups.
    """
    if not activity:
        raise HeschlError(f"there is no activity for {path}: record a network's areas first")
    with growing_activity(path) as add:
        add(activity, clips, ())


@contextlib.contextmanager
def growing_activity(path: Path | str) -> Iterator[Add]:
    """Gives a function that adds clips to the file: (area -> activity, ids, seconds that each clip lasts). The file
    stands when all are in, or not at all; no more than one batch is ever in memory.

    Clips of different length share one axis of time, the longest clip's: what lies beyond a clip's end is zero, and
    ``seconds`` says where that is.
    """
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["about"] = _ABOUT

        def add(
            activity: Mapping[str, Activity], clips: Sequence[str] = (), seconds: Sequence[float] = ()
        ) -> None:
            reserved = sorted(_OWN & set(activity))
            if reserved:
                raise HeschlError(f"an area is called {reserved[0]}, as a part of {path} is: rename it")
            for area, one in activity.items():
                for name, given in (("named", clips), ("of known length", seconds)):
                    if len(given) and len(given) != len(one.values):
                        raise HeschlError(
                            f"{len(given)} clips are {name} and {area} holds {len(one.values)}: name each"
                        )
                _append(file, area, one.values.detach().cpu().numpy())
                times = one.times.detach().cpu().double().numpy()
                if f"times/{area}" not in file or times[-1] > file[f"times/{area}"][-1]:
                    if f"times/{area}" in file:
                        del file[f"times/{area}"]
                    file[f"times/{area}"] = times
            file.attrs["areas"] = list(activity)
            for name, column in (("clips", [str(clip) for clip in clips]), ("seconds", list(seconds))):
                if column:
                    _append(file, name, np.array(column, dtype=object if name == "clips" else float))

        yield add


def _append(file: Any, name: str, rows: np.ndarray) -> None:
    """Adds rows (clip, ...) to a dataset that grows along its clips and its time."""
    import h5py

    if name not in file:
        kind = h5py.string_dtype() if rows.dtype == object else rows.dtype
        free = (None, None, *rows.shape[2:])[: rows.ndim]
        file.create_dataset(name, data=rows, dtype=kind, maxshape=free, chunks=_chunk(rows))
        return
    held = file[name]
    before = len(held)
    held.resize((before + len(rows), *map(max, held.shape[1:], rows.shape[1:])))
    held[(slice(before, None), *(slice(0, n) for n in rows.shape[1:]))] = rows


def _chunk(rows: np.ndarray) -> tuple[int, ...]:
    """One clip a chunk, where that is not tiny: whole clips are written and read."""
    return (max(1, min(len(rows), 4096)), *rows.shape[1:]) if rows.ndim == 1 else (1, *rows.shape[1:])


def read_activity(path: Path | str) -> dict[str, Activity]:
    """What `write_activity` wrote, from early to late.

    Raises
    ------
    HeschlError: the file is missing, or holds something else.
    """
    import h5py

    path = Path(path)
    if not path.exists():
        raise HeschlError(f"{path} is not there: check the path")
    try:
        with h5py.File(path) as file:
            return {
                str(area): Activity(
                    str(area),
                    torch.from_numpy(file[area][:]),
                    torch.from_numpy(np.asarray(file["times"][area])),
                )
                for area in file.attrs["areas"]
            }
    except (OSError, KeyError, TypeError) as error:
        raise HeschlError(
            f"{path} holds no activity ({error}): write it with heschl.brain.activity_file"
        ) from None
