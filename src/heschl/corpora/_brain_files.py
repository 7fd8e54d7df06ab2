"""One brain recording, whatever its format: what MNE reads, NumPy arrays, and tables of electrodes."""

from __future__ import annotations

import contextlib
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heschl.files import read_json, read_text
from heschl.types import HeschlError

KINDS = ("meg", "eeg", "ecog", "seeg")
AUDIO_NAME = re.compile(r"^(audio|sound|speech|mic|wav|stim_?(audio|sound))", re.IGNORECASE)
SUFFIXES = (
    ".fif", ".fif.gz", ".edf", ".bdf", ".gdf", ".vhdr", ".set", ".cnt", ".ds", ".con", ".sqd", ".mff", ".nwb", ".npz",
)  # fmt: skip
_SCALE = {"m": 1.0, "cm": 0.01, "mm": 0.001}


class Facts(NamedTuple):
    """What a file says of itself.

    channels: those of its kind that are not marked bad. positions: (channel, 3) metres, NaN for none. bad: marked so.
    audio: the channel that recorded the sound, or None; sounds: all of them. seconds: how long it is.
    """

    rate: float
    kind: str
    channels: tuple[str, ...]
    positions: np.ndarray | None
    space: str | None
    bad: tuple[str, ...]
    audio: str | None
    seconds: float
    sounds: tuple[str, ...] = ()


def open_raw(path: Path) -> Any:
    """An `mne.io.Raw` of a file, not yet read; of a file of a BIDS tree with its channels, bad ones and events.

    Raises
    ------
    HeschlError: mne is not installed, or the file is missing, damaged, or of a kind that MNE does not read.
    """
    try:
        import mne
    except ImportError:
        raise HeschlError("brain recordings need mne: pip install 'heschl[brain]'") from None
    if not path.exists():
        raise HeschlError(f"{path} is not there: check the path of the recording")
    if path.suffix == ".npz":
        return _arrays(path)
    if path.suffix == ".npy":
        raise HeschlError(
            f"{path} says neither rate nor channels: save it as .npz with data (channel, time), rate, channels and kind"
        )
    try:
        with quiet():
            if (root := bids_root(path)) is not None:
                return _bids(path, root)
            return mne.io.read_raw(path, preload=False)
    except HeschlError:
        raise
    except Exception as error:  # MNE's readers have no one error for what they cannot read
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise HeschlError(f"{path} cannot be read by MNE ({said}): check or convert it") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """mne keeps its log and its warnings to itself: what matters is said by us."""
    import mne

    with mne.utils.use_log_level("error"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _arrays(path: Path) -> Any:
    """data (channel, time) in volts or tesla, rate, channels, kind; if wanted positions (channel, 3) metres, space,
    bads, audio (time,), and bad (stretch, 2) seconds from and to."""
    import mne

    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise HeschlError(
            f"{path} is no .npz file of plain arrays ({str(error)[:80]}): save it again"
        ) from None
    missing = [name for name in ("data", "rate", "channels") if name not in held]
    if missing:
        raise HeschlError(f"{path} has no `{missing[0]}`: give data (channel, time), rate, channels and kind")
    data, names = np.asarray(held["data"], float), [str(name) for name in held["channels"]]
    if data.ndim != 2 or len(data) != len(names):
        raise HeschlError(
            f"{path}: data is of shape {data.shape} for {len(names)} channels: give (channel, time)"
        )
    kind = str(held.get("kind", "eeg"))
    if kind not in KINDS:
        raise HeschlError(f"{path}: kind is '{kind}': choose {', '.join(KINDS)}")
    types = ["mag" if kind == "meg" else kind] * len(names)
    if "audio" in held:
        data, names, types = np.vstack([data, held["audio"]]), [*names, "audio"], [*types, "misc"]
    with quiet():
        raw = mne.io.RawArray(data, mne.create_info(names, float(held["rate"]), types))
        if "positions" in held:
            for channel, place in zip(raw.info["chs"], held["positions"]):
                channel["loc"][:3] = place
        raw.info["bads"] = [str(name) for name in held.get("bads", ())]
        for start, stop in np.asarray(held.get("bad", np.zeros((0, 2)))):
            raw.annotations.append(float(start), float(stop - start), "BAD")
        if "space" in held:
            raw.info["description"] = f"space:{held['space']}"
    return raw


# --- BIDS ------------------------------------------------------------------------------------------------


def bids_root(path: Path) -> Path | None:
    """The folder that holds the subject's folder, of a tree with dataset_description.json: derivatives may have none."""
    if not path.name.startswith("sub-"):
        return None
    described = any((above / "dataset_description.json").is_file() for above in path.parents)
    own = next((above for above in path.parents if above.name.startswith("sub-")), None)
    return own.parent if described and own is not None else None


def _bids(path: Path, root: Path) -> Any:
    try:
        import mne_bids
    except ImportError:
        raise HeschlError("BIDS needs mne-bids: pip install 'heschl[brain]'") from None
    where = mne_bids.get_bids_path_from_fname(path, check=False, verbose="error")
    where.update(root=root)
    return mne_bids.read_raw_bids(where, on_ch_mismatch="reorder", verbose="error")


# --- what it says ----------------------------------------------------------------------------------------


def facts(raw: Any, path: Path, kind: str | None = None, electrodes: Path | None = None) -> Facts:
    """Channels of one kind with their places, and the channel that recorded the sound.

    Parameters
    ----------
    kind: "meg", "eeg", "ecog" or "seeg"; None takes the first of these that the file holds.
    electrodes: a table of places; None looks for one beside the file (BIDS).

    Raises
    ------
    HeschlError: there is no such channel, or none that is not marked bad.
    """
    types = ["meg" if t in ("mag", "grad") else t for t in raw.get_channel_types()]
    named = list(zip(raw.ch_names, types))
    # Some formats call every channel EEG: the name decides. A contact in the brain may be called Mic1.
    sounds = tuple(n for n, t in named if AUDIO_NAME.match(n) and (t == "eeg" or t not in KINDS))
    audio = next(iter(sounds), None)
    there = [one for one in KINDS if any(t == one and n not in sounds for n, t in named)]
    if kind is None and not there:
        raise HeschlError(
            f"{path} holds {', '.join(sorted(set(types)))} channels, and none of {', '.join(KINDS)}"
        )
    kind = kind or there[0]
    if kind not in there:
        raise HeschlError(f"{path} holds no {kind} channel: it holds {', '.join(sorted(set(types)))}")
    all_of = [n for n, t in named if t == kind and n not in sounds]
    bad = tuple(n for n in all_of if n in raw.info["bads"])
    channels = tuple(n for n in all_of if n not in raw.info["bads"])
    if not channels:
        raise HeschlError(
            f"{path}: all {len(all_of)} {kind} channels are marked bad: unmark those that are good"
        )
    positions, space = _places(raw, path, kind, channels, electrodes)
    return Facts(
        float(raw.info["sfreq"]),
        kind,
        channels,
        positions,
        space,
        bad,
        audio,
        raw.n_times / float(raw.info["sfreq"]),
        sounds,
    )


def _places(
    raw: Any, path: Path, kind: str, channels: tuple[str, ...], table: Path | None
) -> tuple[np.ndarray | None, str | None]:
    if table is None and kind in ("ecog", "seeg"):
        table = _table_beside(path)
    if table is not None:
        places, space = electrodes(table)
        found = np.array([places.get(name, (np.nan,) * 3) for name in channels])
        if np.isnan(found).all():
            raise HeschlError(
                f"{table} names none of the channels of {path} (it has {next(iter(places), 'none')}, the recording "
                f"{channels[0]}): give the table of this recording"
            )
        return found, space
    index = [raw.ch_names.index(name) for name in channels]
    found = np.array([raw.info["chs"][k]["loc"][:3] for k in index], float)
    found[~np.isfinite(found).all(1) | ~found.any(1)] = np.nan
    if np.isnan(found).all():
        return None, None
    said = re.match(r"space:(\w+)", str(raw.info["description"] or ""))
    return found, said.group(1) if said else ("device" if kind == "meg" else "head")


def _table_beside(path: Path) -> Path | None:
    """The electrodes.tsv of a BIDS file's folder, one in MNI coordinates before others."""
    stem = "_".join(part for part in path.name.split("_") if part.startswith(("sub-", "ses-")))
    found = sorted(path.parent.glob(f"{stem}*_electrodes.tsv"), key=lambda p: ("MNI" not in p.name, p.name))
    return found[0] if stem and found else None


def electrodes(path: Path) -> tuple[dict[str, tuple[float, float, float]], str]:
    """Places of electrodes from a BIDS table (name, x, y, z) and the coordsystem.json beside it.

    Returns
    -------
    name -> (x, y, z) in metres, NaN for "n/a"; and their space: "MNI152", "MNI305", or as the JSON names it.

    Raises
    ------
    HeschlError: a column or the coordinates' unit is missing.
    """
    rows = tsv(path)
    for column in ("name", "x", "y", "z"):
        if column not in (rows[0] if rows else {}):
            raise HeschlError(f"{path} has no column `{column}`: a table of electrodes has name, x, y and z")
    about = path.with_name(path.name.replace("_electrodes.tsv", "_coordsystem.json"))
    said = read_json(about) if about.is_file() and about != path else {}
    units = {str(v) for k, v in said.items() if k.endswith("CoordinateUnits")}
    systems = [str(v) for k, v in said.items() if k.endswith("CoordinateSystem")]
    unit = units.pop() if len(units) == 1 else ""
    if unit not in _SCALE:
        raise HeschlError(
            f"{about} does not say in which unit the electrodes of {path.name} lie ('{unit or 'nothing'}'): write "
            "iEEGCoordinateUnits m, cm or mm"
        )
    space = systems[0] if systems else "unknown"
    if space.startswith("MNI152"):
        space = "MNI152"
    elif space in ("MNI305", "fsaverage"):
        space = "MNI305"
    scale = _SCALE[unit]

    def metres(text: str) -> float:
        try:
            return float(text) * scale
        except ValueError:
            return float("nan")

    return {row["name"]: (metres(row["x"]), metres(row["y"]), metres(row["z"])) for row in rows}, space


def tsv(path: Path) -> list[dict[str, str]]:
    """Rows of a BIDS table as text by column."""
    lines = read_text(path).splitlines()
    if not lines:
        raise HeschlError(f"{path} is empty: it needs a header line and rows")
    header = lines[0].split("\t")
    return [dict(zip(header, line.split("\t"))) for line in lines[1:] if line.strip()]
