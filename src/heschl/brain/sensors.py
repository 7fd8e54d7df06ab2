"""The sensors outside: electrodes and coils by name, of a file, or as given, in the head's frame."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heschl.brain.anatomy import Anatomy, need_mne, quiet
from heschl.types import HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEG_ARRAYS = ("neuromag", "ctf151", "ctf275")
HEAD_POSITION = (0.0, 0.0, 0.045)  # m: where the middle of a canonical MEG helmet lies in the head's frame


def sensors_info(sensors: Any, head_position: Sequence[float] = HEAD_POSITION, rate: float = 1000.0) -> Any:
    """The `mne.Info` of sensors by name, of a file, or as given; channels that see no sources are left out."""
    mne = need_mne("a lead field")
    if isinstance(sensors, mne.Info):
        info = sensors
    elif isinstance(sensors, mne.channels.DigMontage):
        return _eeg(sensors, rate)
    elif isinstance(sensors, str | Path) and Path(sensors).suffix in (".fif", ".gz"):
        if not Path(sensors).is_file():
            raise HeschlError(f"{sensors} is not there: check the path of the sensors' file")
        try:
            with quiet():
                info = mne.io.read_info(sensors)
        except Exception as error:  # of a damaged file MNE raises whatever it meets
            said = (str(error).strip().splitlines() or [""])[0][:120]
            raise HeschlError(
                f"{sensors} holds no sensors that MNE reads ({said}): give a .fif file of M/EEG"
            ) from None
    elif sensors in MEG_ARRAYS:
        return _helmet(str(sensors), tuple(float(v) for v in head_position), rate).copy()
    elif (montage := _montage(sensors)) is not None:
        return _eeg(montage, rate)
    else:
        from difflib import get_close_matches

        known = [*MEG_ARRAYS, *mne.channels.get_builtin_montages()]
        near = get_close_matches(str(sensors), known, 1) or ["biosemi64"]
        raise HeschlError(
            f"the sensors '{sensors}' are not known: give a montage of mne (did you mean '{near[0]}'?), 'neuromag', "
            "'ctf275', an mne.Info, or a .fif file"
        )
    picks = mne.pick_types(info, meg=True, eeg=True, ref_meg=False, exclude=[])
    if not len(picks):
        raise HeschlError("the sensors hold no EEG or MEG channel: nothing would see the sources")
    info = mne.pick_info(info, picks)
    if info["dev_head_t"] is None and set(info.get_channel_types(unique=True)) & {"mag", "grad"}:
        raise HeschlError("the MEG sensors come without the head's position (dev_head_t): set it in the info")
    bare = [
        c["ch_name"] for c in info["chs"] if not np.isfinite(c["loc"][:3]).all() or not c["loc"][:3].any()
    ]
    if bare:
        raise HeschlError(
            f"channel {bare[0]} has no position ({len(bare)} in all): set a montage or leave it out"
        )
    return info


def _montage(name: Any) -> Any:
    """MNE's montage of that name, older names such as standard_1020 among them; None where there is none."""
    import mne

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the older name will go one day
        try:
            return mne.channels.make_standard_montage(str(name))
        except ValueError:
            return None


def _eeg(montage: Any, rate: float) -> Any:
    import mne

    with quiet():
        info = mne.create_info(montage.ch_names, rate, "eeg")
        info.set_montage(montage)
    return info


@functools.lru_cache(maxsize=8)
def _helmet(name: str, position: tuple[float, ...], rate: float) -> Any:
    import mne

    if len(position) != 3 or not np.isfinite(position).all():
        raise HeschlError(f"head_position is {position}: give x, y and z in metres")
    with quiet():
        info = mne.channels.read_meg_canonical_info(name)
    info = mne.pick_info(info, mne.pick_types(info, meg=True, ref_meg=False))
    shift = np.eye(4)
    shift[:3, 3] = position
    with info._unlock():
        info["dev_head_t"] = mne.Transform("meg", "head", shift)
        info["sfreq"] = rate
    return info


def sensor_distances(info: Any, anatomy: Anatomy) -> NDArray[np.float64]:
    """(sensor,) metres from each EEG electrode or MEG coil to the head's surface."""
    import mne
    from scipy.spatial import cKDTree

    scalp, faces = _scalp(anatomy)
    points = []
    to_mri = np.asarray(anatomy.trans["trans"])
    for channel in info["chs"]:
        place = np.r_[channel["loc"][:3], 1.0]
        if channel["coord_frame"] == mne.io.constants.FIFF.FIFFV_COORD_DEVICE:
            place = np.asarray(info["dev_head_t"]["trans"]) @ place
        points.append((to_mri @ place)[:3])
    # the surface's corners and the middles of its triangles and edges stand for it
    middles = [scalp, scalp[faces].mean(1)] + [
        (scalp[faces[:, k]] + scalp[faces[:, k - 1]]) / 2 for k in range(3)
    ]
    return np.asarray(cKDTree(np.concatenate(middles)).query(np.array(points))[0])


def _scalp(anatomy: Anatomy) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    with quiet():
        import mne

        solution = mne.read_bem_solution(anatomy.bem)
    surface = max(solution["surfs"], key=lambda one: float(np.ptp(one["rr"], axis=0).prod()))
    return surface["rr"], surface["tris"]
