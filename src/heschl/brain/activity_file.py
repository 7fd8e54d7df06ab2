"""activity.h5: each area's matrix (batch, time, neuron), read by one line of h5py.

h5py.File("activity.h5")["STG"][:]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from heschl.files import replacing
from heschl.types import Activity, HeschlError

_ABOUT = (
    "What the units of each area of a network do. Axes (batch, time, neuron), in the network's own units; times/AREA in "
    "seconds from the start of the sound: network time, not a brain's latency."
)


def write_activity(path: Path | str, activity: Mapping[str, Activity], clips: Sequence[str] = ()) -> None:
    """Writes a dataset for each area, its times under ``times/``, and the clips' ids; whole or not at all.

    Raises
    ------
    HeschlError: there are not as many ids as clips, or an area is called as one of the file's own groups.
    """
    import h5py

    if not activity:
        raise HeschlError(f"there is no activity for {path}: record a network's areas first")
    reserved = sorted({"times", "clips"} & set(activity))
    if reserved:
        raise HeschlError(f"an area is called {reserved[0]}, as a part of {path} is: rename it")
    for area, one in activity.items():
        if clips and len(clips) != len(one.values):
            raise HeschlError(f"{len(clips)} clips are named and {area} holds {len(one.values)}: name each")
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["about"] = _ABOUT
        file.attrs["areas"] = list(activity)
        for area, one in activity.items():
            file[area] = one.values.detach().cpu().numpy()
            file[f"times/{area}"] = one.times.detach().cpu().double().numpy()
        if clips:
            file["clips"] = [str(clip) for clip in clips]


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
