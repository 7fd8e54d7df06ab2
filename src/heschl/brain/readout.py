"""From sensors or electrodes to areas: one signed time course for each, and what it mixes with.

EEG and MEG: the mean over a patch of the inverse operator's rows, out of the cortex, on the template head; beside it
stands the cross-talk, and areas that read each other above one half are one. Electrodes in the brain: those within a
stated distance of a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from heschl.brain.anatomy import quiet, template, to_mni305
from heschl.brain.forward import signal_info
from heschl.brain.inverse import inverse_operator, joined
from heschl.brain.patch import Patch
from heschl.brain.place import topographies
from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]

NEAR = 0.010  # m: an electrode so near to a patch belongs to it


class Readout(NamedTuple):
    """weights: (area, channel), each row for unit signal of its own area. talk: (read in, active) relative to the active
    one's own. groups: areas that cannot be told apart, the others alone. signed: (read in, active) what each row of the
    weights reads of each area, with its sign: neighbours that face each other read one another upside down."""

    names: tuple[str, ...]
    weights: Array
    talk: Array
    groups: tuple[tuple[str, ...], ...]
    signed: Array

    def of(self, group: Sequence[str]) -> Array:
        """Weights (channel,) that read a group of areas as one: the sum of theirs, up to signs and sizes, that sees most of
        all of them (the first singular vector). Their mean would be blind to two that face each other."""
        where = [self.names.index(name) for name in group]
        among = self.signed[np.ix_(where, where)]
        shares = np.linalg.svd(among)[0][:, 0]
        return np.asarray(shares * np.sign(shares @ among[:, 0]) @ self.weights[where])


def readout(patches: Sequence[Patch], info: Any, snr: float = 3.0) -> Readout:
    """What to multiply sensors' signals with to read areas.

    Parameters
    ----------
    info: an `mne.Info` of the channels alone, in their order, with positions. EEG is taken as average-referenced.
    snr: amplitude signal-to-noise ratio that regularisation assumes.

    Raises
    ------
    HeschlError: the channels have no positions.
    """
    import mne

    places = np.array([channel["loc"][:3] for channel in info["chs"]])
    if not (np.isfinite(places).all(1) & places.any(1)).all():
        raise HeschlError("areas need the position of every sensor: set a montage, or mark the others as bad")
    eeg = "eeg" in info.get_channel_types(unique=True)
    about = signal_info(info, float(info["sfreq"]), "average" if eeg else None)
    operator = inverse_operator(about, template())
    with quiet():
        units = mne.EvokedArray(np.eye(len(places)), about, nave=1)
        found = mne.minimum_norm.apply_inverse(
            units, operator, lambda2=1 / snr**2, method="dSPM", pick_ori="normal", verbose="error"
        )
    rows = np.full((len(template().positions), len(places)), np.nan)
    left, right = template().vertices
    where = np.concatenate(
        [np.searchsorted(left, found.vertices[0]), len(left) + np.searchsorted(right, found.vertices[1])]
    )
    rows[where] = found.data
    weights = np.stack([np.nanmean(rows[one.sources], axis=0) for one in patches])
    seen = weights @ topographies(patches, about)
    own = np.diag(seen)
    talk = np.abs(seen / own)
    names = tuple(one.area.name for one in patches)
    return Readout(names, weights / own[:, None], talk, joined(names, talk), seen / own[:, None])


def electrodes_by_area(
    positions: Array, space: str, patches: Sequence[Patch], within: float = NEAR
) -> tuple[str, ...]:
    """The area of each electrode, "" for none: the patch with the nearest source, within so many metres.

    Parameters
    ----------
    positions: (electrode, 3) metres in ``space``, "MNI152" or "MNI305"; NaN for none.
    """
    there = to_mni305(np.asarray(positions, float), space)
    sources = template().positions
    far = np.stack(
        [np.linalg.norm(there[:, None] - sources[one.sources][None], axis=2).min(1) for one in patches], 1
    )
    far = np.where(np.isnan(far), np.inf, far)
    middles = np.stack([sources[one.sources].mean(0) for one in patches])
    to_middle = np.nan_to_num(np.linalg.norm(there[:, None] - middles[None], axis=2), nan=0.0)
    nearest = (far + 1e-6 * to_middle).argmin(1)  # patches overlap: of equals, the one with the nearer middle
    return tuple(patches[k].area.name if row[k] <= within else "" for k, row in zip(nearest, far))
