"""What sensors outside the head see of sources in it: lead fields, and the sensors' own signals.

A lead field times source moments in A m gives volts (EEG) or tesla (MEG magnetometers; T/m for planar gradiometers).
The conductor is the template's three-layer BEM unless a sphere is asked for. EEG lead fields are potentials against
infinity until they are referenced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heschl.brain.anatomy import Anatomy, need_mne, quiet, template, to_mni305
from heschl.brain.sensors import HEAD_POSITION, sensors_info
from heschl.files import cache_folder, replacing
from heschl.types import BrainMap, HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEAREST = 0.015  # m: a map's place must lie so near to a source
_BLOCK = 2**27  # bytes of a product at once
_EEG = 2  # FIFFV_EEG_CH
_MODEL = 3  # raise it when lead fields change

Conductor = Literal["bem", "sphere"]


def leadfield(
    sensors: Any = "biosemi64",
    anatomy: Anatomy | None = None,
    orientation: Literal["normal", "free"] = "normal",
    conductor: Conductor = "bem",
    head_position: Sequence[float] = HEAD_POSITION,
    reference: str | Sequence[str] | None = None,
) -> NDArray[np.float64]:
    """What each sensor sees of one ampere-metre at each source.

    Parameters
    ----------
    sensors: name of an MNE montage (EEG), "neuromag", "ctf151" or "ctf275" (MEG), an `mne.Info`, or a .fif file.
    anatomy: whose head; None is the template.
    orientation: "normal" has each source point out of the cortex; "free" gives its x, y and z in the head's frame.
    conductor: "bem", or "sphere", onto which electrodes are moved, and which loses the sources outside it and says so.
    head_position: of canonical MEG arrays, shift of the helmet in the head's frame, metres.
    reference: of EEG: None against infinity, "average", or names of channels whose mean is taken off.

    Returns
    -------
    (sensor, source) or, with free orientation, (sensor, source, 3), float64; V per A m for EEG, T per A m for MEG (T/m
    per A m for planar gradiometers). Sources that the conductor does not hold are NaN. Kept in the cache by content.

    Raises
    ------
    HeschlError: the sensors are not known or do not fit the head; mne is missing.
    """
    anatomy = anatomy or template()
    info = sensors_info(sensors, head_position)
    if orientation not in ("normal", "free"):
        raise HeschlError(f"orientation is '{orientation}': choose 'normal' or 'free'")
    gain = _gain(info, anatomy, conductor)
    if reference is not None:
        gain = referenced(gain, info, reference)
    if orientation == "free":
        return gain
    # the gain's axes are the head's, the normals the MRI's
    normals = anatomy.normals @ np.asarray(anatomy.trans["trans"])[:3, :3]
    fixed: NDArray[np.float64] = np.einsum("sik,ik->si", gain, normals)
    return fixed


def project(
    brain_map: BrainMap,
    sensors: Any = "biosemi64",
    reference: str | Sequence[str] | None = "average",
    anatomy: Anatomy | None = None,
    conductor: Conductor = "bem",
    head_position: Sequence[float] = HEAD_POSITION,
) -> Any:
    """What EEG or MEG would see of sources in the cortex, without noise.

    Parameters
    ----------
    brain_map: moments in A m at places of the cortex, as `heschl.place` gives them; each place stands for the nearest
        source (within 15 mm), which points out of the cortex.
    sensors, conductor, head_position: as in `leadfield`.
    reference: of EEG: "average", names of channels, or None for potentials against infinity.

    Returns
    -------
    `mne.EvokedArray` (sensor, time) in V and T; its comment says that it is simulated, and the map's status.

    Raises
    ------
    HeschlError: the map holds no source moments, lies in another space, outside the cortex, or outside the conductor.
    """
    mne = need_mne("projecting")
    anatomy = anatomy or template()
    info = sensors_info(sensors, head_position)
    has_eeg = "eeg" in info.get_channel_types(unique=True)
    gain = leadfield(info, anatomy, "normal", conductor, head_position, reference if has_eeg else None)
    data = gain_product(gain, source_values(brain_map, anatomy))
    info = signal_info(info, even_rate(brain_map.times), reference)
    with quiet():
        evoked = mne.EvokedArray(
            data, info, tmin=float(brain_map.times[0]), comment=f"simulated, {brain_map.status}", nave=1
        )
        # mne begins on a whole sample after 0: up to half a step, 7 ms of a spectrogram, off the map's own times
        evoked.shift_time(float(brain_map.times[0]), relative=False)
    return evoked


def signal_info(info: Any, rate: float, reference: str | Sequence[str] | None) -> Any:
    """The `mne.Info` of simulated signals: their rate in Hz, and how EEG is referenced, so that MNE knows."""
    import mne

    info = info.copy()
    eeg = "eeg" in info.get_channel_types(unique=True)
    with info._unlock():
        info["sfreq"], info["lowpass"], info["highpass"], info["bads"] = rate, rate / 2, 0.0, []
        info["projs"] = []
        info["custom_ref_applied"] = int(
            eeg and reference not in (None, "average")
        )  # FIFFV_MNE_CUSTOM_REF_ON
    if (
        eeg and reference == "average"
    ):  # MNE's inverses ask for the projector, too; on these data it changes nothing
        with quiet():
            blank = mne.EvokedArray(np.zeros((len(info["ch_names"]), 1)), info)
            info = blank.set_eeg_reference("average", projection=True).apply_proj().info
    return info


def source_values(brain_map: BrainMap, anatomy: Anatomy) -> NDArray[np.float64]:
    """A map's values at the anatomy's sources, (source, time); places that share a source are summed."""
    if brain_map.unit not in ("A m", "Am"):
        raise HeschlError(f"the map is in {brain_map.unit}: only source moments in A m reach sensors")
    if brain_map.space not in ("MNI305", "MNI152"):
        raise HeschlError(
            f"the map lies in the space '{brain_map.space}': give its positions in MNI305 or MNI152"
        )
    if not np.isfinite(brain_map.values).all():
        raise HeschlError("the map holds moments that are not finite: mend it before it is projected")
    if brain_map.space == "MNI305" and np.array_equal(brain_map.positions, anatomy.positions):
        return np.asarray(brain_map.values, dtype=float)
    from scipy.spatial import cKDTree

    there = to_mni305(brain_map.positions, brain_map.space)
    distance, where = cKDTree(anatomy.positions).query(there)
    if (distance > NEAREST).any():
        worst = int(distance.argmax())
        raise HeschlError(
            f"place {worst} of the map lies {distance[worst] * 1000:.0f} mm from the nearest source of "
            f"{anatomy.subject}: give positions on its cortex, in metres"
        )
    values = np.zeros((len(anatomy.positions), brain_map.values.shape[1]))
    np.add.at(values, where, brain_map.values)
    return values


def gain_product(gain: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """gain (sensor, source) @ values (source, time), with silent sources left out, a bounded block of time at once.

    Raises
    ------
    HeschlError: a source that is not silent lies outside the conductor.
    """
    active = values.any(axis=1)
    lost = active & ~np.isfinite(gain).all(0)
    if lost.any():
        raise HeschlError(
            f"{int(lost.sum())} active sources lie outside the conductor and would be lost: use conductor='bem', and where "
            "it is used mend the BEM's inner skull or the sources"
        )
    out = np.zeros((len(gain), values.shape[1]))
    if not active.any():
        return out
    gain, values = gain[:, active], values[active]
    step = max(1, _BLOCK // (8 * len(values)))
    for first in range(0, values.shape[1], step):
        out[:, first : first + step] = gain @ values[:, first : first + step]
    return out


def referenced(gain: NDArray[np.float64], info: Any, reference: str | Sequence[str]) -> NDArray[np.float64]:
    """(sensor, ...) with the EEG channels' reference taken off: "average", or the mean of the channels named."""
    kinds = np.array(info.get_channel_types())
    eeg = kinds == "eeg"
    if not eeg.any():
        return gain
    if reference == "average":
        chosen = eeg.copy()
    else:
        names = [reference] if isinstance(reference, str) else list(reference)
        missing = [name for name in names if name not in info["ch_names"]]
        if missing or not names:
            raise HeschlError(
                f"the reference {missing[0] if missing else 'is empty'} is no channel: choose 'average', None, or "
                f"channels such as {', '.join(info['ch_names'][:3])}"
            )
        chosen = np.isin(info["ch_names"], names) & eeg
    gain = gain.copy()
    gain[eeg] -= gain[chosen].mean(0)
    return gain


# --- lead fields -----------------------------------------------------------------------------------------


def _gain(info: Any, anatomy: Anatomy, conductor: Conductor) -> NDArray[np.float64]:
    """(sensor, source, 3) in the head's frame, from the cache or computed."""
    key = _key(info, anatomy, conductor)
    path = cache_folder() / "brain" / f"leadfield-{key}.npy"
    try:
        gain: NDArray[np.float64] = np.load(path)
    except (OSError, ValueError, EOFError):  # not there, or damaged
        gain = _compute(info, anatomy, conductor)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, gain)
    lost = int((~np.isfinite(gain).all((0, 2))).sum())
    if lost:
        holder = "sphere" if conductor == "sphere" else "BEM's inner skull"
        warnings.warn(
            f"the {holder} holds {gain.shape[1] - lost} of {gain.shape[1]} sources: {lost} lie outside it and are lost",
            stacklevel=3,
        )
    return gain


def _compute(info: Any, anatomy: Anatomy, conductor: Conductor) -> NDArray[np.float64]:
    forward = forward_solution(info, anatomy, conductor)
    n = len(anatomy.sources)
    gain = np.full((len(info["ch_names"]), n, 3), np.nan)
    kept: list[int] = []
    before = 0
    for one, vertices in zip(forward["src"], anatomy.vertices):
        kept += [before + int(k) for k in np.searchsorted(vertices, one["vertno"])]
        before += len(vertices)
    order = [forward["sol"]["row_names"].index(name) for name in info["ch_names"]]
    gain[:, kept] = forward["sol"]["data"][order].reshape(len(order), -1, 3)
    return gain


def forward_solution(
    sensors: Any,
    anatomy: Anatomy | None = None,
    conductor: Conductor = "bem",
    head_position: Sequence[float] = HEAD_POSITION,
) -> Any:
    """MNE's own forward solution (`mne.Forward`), free orientation, for MNE's inverses; from the cache or computed."""
    mne = need_mne("a forward solution")
    anatomy = anatomy or template()
    info = sensors_info(sensors, head_position)
    path = cache_folder() / "brain" / f"{_key(info, anatomy, conductor)}-fwd.fif"
    with quiet():
        if path.exists():
            with contextlib.suppress(Exception):  # MNE has no one error for a damaged file: it is made anew
                return mne.read_forward_solution(path)
        try:
            forward = _forward(info, anatomy, conductor)
        except RuntimeError as error:
            raise HeschlError(
                f"the sensors do not fit the head ({str(error).split(', perhaps')[0]}): mend head_position, the info's "
                "dev_head_t, or the anatomy's trans"
            ) from None
        with replacing(path) as temporary:
            mne.write_forward_solution(temporary, forward)
    return forward


def _forward(info: Any, anatomy: Anatomy, conductor: Conductor) -> Any:
    import mne

    kinds = set(info.get_channel_types(unique=True))
    if conductor not in ("bem", "sphere"):
        raise HeschlError(f"conductor is '{conductor}': choose 'bem' or 'sphere'")
    meg, eeg = bool(kinds & {"mag", "grad"}), "eeg" in kinds
    with quiet():
        if conductor == "sphere":
            src, trans = _in_head(anatomy)
            ball = sphere(anatomy)
            return mne.make_forward_solution(_on(ball, info), trans, src, ball, meg=meg, eeg=eeg, n_jobs=1)
        bem = mne.read_bem_solution(anatomy.bem)
        if eeg and len(bem["surfs"]) < 3:
            raise HeschlError(
                f"{anatomy.bem} has {len(bem['surfs'])} layer: EEG needs brain, skull and scalp"
            )
        return mne.make_forward_solution(info, anatomy.trans, anatomy.src, bem, meg=meg, eeg=eeg, n_jobs=1)


def _in_head(anatomy: Anatomy) -> tuple[Any, Any]:
    """The sources in the head's frame, and a transform that does nothing. mne (1.13) asks whether a source lies in a
    sphere with the source in the MRI's frame and the sphere in the head's: one frame for both makes that right."""
    import mne

    back = np.linalg.inv(np.asarray(anatomy.trans["trans"]))
    src = anatomy.src.copy()
    for one in src:
        one["rr"] = one["rr"] @ back[:3, :3].T + back[:3, 3]
        one["nn"] = one["nn"] @ back[:3, :3].T
    return src, mne.Transform("head", "mri", np.eye(4))


def _on(ball: Any, info: Any) -> Any:
    """The info with its electrodes moved straight onto the outermost shell. They lie up to 14 mm off the sphere that stands
    for their head, and mne (1.13) asks its formula, which holds on that shell alone, wherever they are."""
    info = info.copy()
    for channel in info["chs"]:
        for part in (slice(0, 3), slice(3, 6)):  # the electrode, and its own reference where it has one
            place = channel["loc"][part]
            if int(channel["kind"]) == _EEG and np.isfinite(place).all() and place.any():
                away = place - ball["r0"]
                channel["loc"][part] = ball["r0"] + away * (ball.radius / np.linalg.norm(away))
    return info


def sphere(anatomy: Anatomy) -> Any:
    """Four shells round the sphere that fits the upper inner skull best, head frame (an `mne.ConductorModel`)."""
    import mne

    with quiet():
        solution = mne.read_bem_solution(anatomy.bem)
    skull = min(solution["surfs"], key=lambda one: float(np.ptp(one["rr"], axis=0).prod()))
    to_head = np.linalg.inv(np.asarray(anatomy.trans["trans"]))
    points = skull["rr"] @ to_head[:3, :3].T + to_head[:3, 3]
    upper = points[points[:, 2] > 0]  # above the ears
    # |p|^2 = 2 c p + (r^2 - |c|^2) is linear in the centre c and one more number
    fit, *_ = np.linalg.lstsq(np.c_[2 * upper, np.ones(len(upper))], (upper**2).sum(1), rcond=None)
    radius = float(np.sqrt(fit[3] + fit[:3] @ fit[:3]))
    with quiet():
        return mne.make_sphere_model(
            r0=fit[:3], head_radius=radius / 0.90
        )  # the brain is MNE's innermost shell


def _key(info: Any, anatomy: Anatomy, conductor: Conductor) -> str:
    """Hash of all that a lead field is made from."""
    import mne

    digest = hashlib.sha256(json.dumps([_MODEL, mne.__version__, anatomy.key, conductor]).encode())
    for channel in info["chs"]:
        facts = (
            channel["ch_name"],
            int(channel["kind"]),
            int(channel["coil_type"]),
            int(channel["coord_frame"]),
        )
        digest.update(repr(facts).encode() + np.asarray(channel["loc"], dtype=float).tobytes())
    if info["dev_head_t"] is not None:
        digest.update(np.asarray(info["dev_head_t"]["trans"], dtype=float).tobytes())
    digest.update(repr([(comp["kind"],) for comp in info["comps"]]).encode())
    return digest.hexdigest()[:24]


def even_rate(times: NDArray[np.float64]) -> float:
    """Samples per second of an even time axis."""
    times = np.asarray(times, dtype=float)
    if len(times) < 2:
        return 1000.0
    steps = np.diff(times)
    if steps.min() <= 0 or np.ptp(steps) > 1e-3 * steps.mean():
        raise HeschlError("the map's times are not even steps: sensors are sampled evenly")
    return float((len(times) - 1) / (times[-1] - times[0]))
