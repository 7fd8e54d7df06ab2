"""Brain maps to and from MNE's objects and files that plain MNE opens, and to HDF5.

to_stc, from_stc      `mne.SourceEstimate` on fsaverage (or one's own subject)
write_stc             NAME-lh.stc and NAME-rh.stc
write_fif             evoked (NAME-ave.fif), epochs (NAME-epo.fif), raw (NAME_raw.fif)
write_map, read_map   HDF5: values, positions, times; unit, space and status as attributes
raw_of                a continuous `mne.io.RawArray` of epochs, with their onsets as annotations
write_bids            simulated raw data as a BIDS folder, by mne-bids
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from heschl.brain.anatomy import Anatomy, need_mne, quiet, template
from heschl.brain.forward import even_rate, source_values
from heschl.files import replacing
from heschl.types import BrainMap, HeschlError

NAME = "Simulated by heschl"  # of the data set that `write_bids` writes
_STATES = ("illustrative", "fitted", "fitted to simulated data")


def to_stc(brain_map: BrainMap, anatomy: Anatomy | None = None) -> Any:
    """An `mne.SourceEstimate` (source, time) in the map's unit, on all sources of the head.

    Raises
    ------
    HeschlError: a place of the map is not on the head's cortex, or its times are not even.
    """
    mne = need_mne("a source estimate")
    anatomy = anatomy or template()
    moments = BrainMap(brain_map.values, brain_map.positions, brain_map.times, "A m", brain_map.space)
    values = source_values(moments, anatomy)  # whatever the unit: places are brought to sources alike
    return mne.SourceEstimate(
        values,
        vertices=[vertices.copy() for vertices in anatomy.vertices],
        tmin=float(brain_map.times[0]),
        tstep=1 / even_rate(brain_map.times),
        subject=anatomy.subject,
    )


def from_stc(
    stc: Any, anatomy: Anatomy | None = None, unit: str = "A m", status: str = "illustrative"
) -> BrainMap:
    """A `BrainMap` of an `mne.SourceEstimate` on a subset of the head's sources.

    Raises
    ------
    HeschlError: the estimate is of another subject, or on vertices that are no sources of this head.
    """
    anatomy = anatomy or template()
    if stc.subject not in (None, anatomy.subject):
        raise HeschlError(
            f"the estimate is of {stc.subject}, and the head is {anatomy.subject}'s: morph it first"
        )
    if status not in _STATES:
        raise HeschlError(f"the status is '{status}': choose {', '.join(_STATES)}")
    rows = []
    before = 0
    for own, given in zip(anatomy.vertices, stc.vertices, strict=True):
        if not np.isin(given, own).all():
            raise HeschlError(
                f"the estimate lies on vertices that are no sources of {anatomy.subject}: use its ico4"
            )
        rows.append(before + np.searchsorted(own, given))
        before += len(own)
    where = np.concatenate(rows).astype(int)
    return BrainMap(
        np.array(stc.data, dtype=float),
        anatomy.positions[where],
        np.array(stc.times, dtype=float),
        unit,
        "MNI305",
        cast("Any", status),
    )


def write_stc(path: Path | str, brain_map: BrainMap, anatomy: Anatomy | None = None) -> tuple[Path, Path]:
    """Writes PATH-lh.stc and PATH-rh.stc; gives their paths."""
    stc = to_stc(brain_map, anatomy)
    path = Path(path)
    stem = path.with_name(path.name.removesuffix(".stc").removesuffix("-lh").removesuffix("-rh"))
    temporary = stem.with_name(f".{stem.name}.tmp")
    written = []
    temporary.parent.mkdir(parents=True, exist_ok=True)
    with quiet():
        stc.save(temporary, ftype="stc", overwrite=True)
    for side in ("lh", "rh"):
        target = stem.with_name(f"{stem.name}-{side}.stc")
        temporary.with_name(f"{temporary.name}-{side}.stc").replace(target)
        written.append(target)
    return written[0], written[1]


def write_fif(path: Path | str, data: Any) -> Path:
    """Writes evoked, epochs or raw data, whole or not at all; the name ends as MNE likes it.

    Raises
    ------
    HeschlError: it is none of these, or the name ends otherwise.
    """
    mne = need_mne("a .fif file")
    path = Path(path)
    ends = {mne.Evoked: "-ave.fif", mne.BaseEpochs: "-epo.fif", mne.io.BaseRaw: "_raw.fif"}
    end = next((end for kind, end in ends.items() if isinstance(data, kind)), None)
    if end is None:
        raise HeschlError(
            f"{type(data).__name__} has no .fif of its own: give evoked, epochs or raw data of mne"
        )
    if not path.name.endswith((end, end.replace("-", "_"))):
        raise HeschlError(f"{path} must end in {end}, so that MNE knows what it holds")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"tmp-{path.name}")
    try:
        with quiet():
            if isinstance(data, mne.Evoked):
                mne.write_evokeds(temporary, data, overwrite=True)
            else:
                data.save(temporary, overwrite=True)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_map(path: Path | str, brain_map: BrainMap) -> None:
    """Writes a map as HDF5."""
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for name in ("values", "positions", "times"):
            file[name] = np.asarray(getattr(brain_map, name))
        file.attrs.update(unit=brain_map.unit, space=brain_map.space, status=brain_map.status)
        file["times"].attrs["unit"] = "s, network time"
        file["positions"].attrs["unit"] = "m"


def read_map(path: Path | str) -> BrainMap:
    """The map that `write_map` wrote."""
    import h5py

    path = Path(path)
    if not path.exists():
        raise HeschlError(f"{path} is not there: check the path")
    try:
        with h5py.File(path) as file:
            values, positions, times = (np.array(file[name]) for name in ("values", "positions", "times"))
            unit, space, status = (str(file.attrs[name]) for name in ("unit", "space", "status"))
    except (OSError, KeyError) as error:
        raise HeschlError(
            f"{path} holds no brain map ({error}): write it with heschl.brain.convert"
        ) from None
    return BrainMap(values, positions, times, unit, space, cast("Any", status))


def raw_of(epochs: Any, gap: float = 0.0) -> Any:
    """One continuous recording of epochs, one after another with ``gap`` seconds of zeros between, each one's zero of
    time annotated as "simulated"."""
    mne = need_mne("continuous data")
    data = epochs.get_data(copy=True)
    rate = float(epochs.info["sfreq"])
    pad = round(gap * rate)
    data = np.pad(data, ((0, 0), (0, 0), (0, pad)))
    each = data.shape[-1]
    with quiet():
        raw = mne.io.RawArray(np.concatenate(list(data), axis=1), epochs.info.copy())
        onsets = np.arange(len(data)) * each / rate + max(0.0, -float(epochs.tmin))
        raw.set_annotations(mne.Annotations(onsets, 0.0, "simulated"))
    return raw


def write_bids(root: Path | str, raw: Any, subject: str = "01", task: str = "listening") -> Path:
    """Simulated raw data as a BIDS folder: fif for MEG, BrainVision for EEG.

    Raises
    ------
    HeschlError: mne-bids is missing, the data are neither, or a name is not of letters and digits.
    """
    need_mne("BIDS")
    try:
        import mne_bids
    except ImportError:
        raise HeschlError("BIDS needs mne-bids: pip install 'heschl[brain]'") from None
    for what, name in (("subject", subject), ("task", task)):
        if not name.isalnum():
            raise HeschlError(f"the {what} '{name}' is not of letters and digits alone: BIDS asks for that")
    kinds = set(raw.get_channel_types(unique=True))
    meg = bool(kinds & {"mag", "grad"})
    if not meg and "eeg" not in kinds:
        raise HeschlError(f"the data hold {', '.join(sorted(kinds))}: BIDS is written for EEG and MEG")
    raw = raw.copy()
    with raw.info._unlock():
        raw.info["line_freq"] = 50.0
    where = mne_bids.BIDSPath(subject=subject, task=task, datatype="meg" if meg else "eeg", root=Path(root))
    with quiet():
        mne_bids.make_dataset_description(
            path=Path(root),
            name=NAME,
            authors=["heschl"],
            data_license="CC0",
            dataset_type="raw",
            overwrite=True,
        )
        if meg:
            raw.del_proj()
        written = mne_bids.write_raw_bids(
            raw,
            where,
            allow_preload=True,
            format="FIF" if meg else "BrainVision",
            overwrite=True,
            event_id={"simulated": 1},
            verbose="error",
        )
    return Path(written.fpath)
