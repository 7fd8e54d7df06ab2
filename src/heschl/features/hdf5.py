"""AudioMNIST's HDF5 layout, written and read: one datum a file, a folder a task, text lists of the splits.

    DIR/digit/AlexNet_7_01_12.hdf5            network, digit, speaker, repetition
        data   float64 (1, 1, 227, 227) for AlexNet, (1, 1, 1, 8000) for AudioNet
        label  int (1, 2): digit, gender (male 0, female 1)
    DIR/AlexNet_digit_0_train.txt             network, task, split, part; one path a line

The original writes names with the digit first, and its description says speaker first: both are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Literal

import numpy as np

from heschl.files import read_text, replacing, write_text
from heschl.types import HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Network = Literal["AlexNet", "AudioNet"]
SHAPES: dict[str, tuple[int, ...]] = {"AlexNet": (1, 1, 227, 227), "AudioNet": (1, 1, 1, 8000)}
GENDERS = ("male", "female")  # their numbers in the label
PARTS = {"train": "train", "validation": "validate", "test": "test"}  # ours, and theirs in the lists' names
_NAME = re.compile(r"(AlexNet|AudioNet)_(\d+)_(\d+)_(\d+)\.hdf5")


@dataclass(frozen=True)
class Datum:
    """One recording as AudioMNIST stores it.

    Attributes
    ----------
    network: whose input the data are.
    data: float64, `SHAPES` of the network.
    digit, repetition: numbers. speaker: two digits, "01" to "60". gender: "male" or "female".
    """

    network: Network
    data: NDArray[np.float64]
    digit: int
    speaker: str
    repetition: int
    gender: str

    @property
    def name(self) -> str:
        return f"{self.network}_{self.digit}_{self.speaker}_{self.repetition}.hdf5"


def write_datum(folder: Path, datum: Datum) -> Path:
    """Writes one file into a task's folder; gives its path.

    Raises
    ------
    HeschlError: data of another shape, or an unknown gender.
    """
    import h5py

    path = folder / datum.name
    shape = SHAPES[datum.network]
    if datum.data.size != np.prod(shape):
        raise HeschlError(
            f"{path}: {datum.network} stores {shape} and the data are {datum.data.shape}: "
            "use the recipe's own feature (AudioMnistSpectrogram for AlexNet, 8000 samples for AudioNet)"
        )
    if datum.gender not in GENDERS:
        raise HeschlError(f"{path}: the gender is '{datum.gender}', and this layout knows male and female")
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file["data"] = np.asarray(datum.data, dtype=np.float64).reshape(shape)
        file["label"] = np.array([[datum.digit, GENDERS.index(datum.gender)]], dtype=np.int64)
    return path


def read_datum(path: Path | str) -> Datum:
    """Reads one file; whether digit or speaker comes first in its name is decided by its label.

    Raises
    ------
    HeschlError: it is missing, damaged, named otherwise, or not of this layout.
    """
    import h5py

    path = Path(path)
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise HeschlError(
            f"{path} is not named NETWORK_digit_speaker_repetition.hdf5 (AlexNet or AudioNet): rename it"
        )
    try:
        with h5py.File(path, "r") as file:
            data, label = np.asarray(file["data"][()]), np.asarray(file["label"][()]).reshape(-1)
    except FileNotFoundError:
        raise HeschlError(f"{path} is not there: check the path, or the list that names it") from None
    except (OSError, KeyError, TypeError, AttributeError, ValueError):
        raise HeschlError(f"{path} is not an HDF5 file with `data` and `label`: write it again") from None
    network: Network = "AlexNet" if named[1] == "AlexNet" else "AudioNet"
    if data.shape != SHAPES[network]:
        raise HeschlError(
            f"{path}: `data` has shape {data.shape} and {network} stores {SHAPES[network]}: write it again"
        )
    if data.dtype.kind not in "iuf":
        raise HeschlError(f"{path}: `data` are of type {data.dtype}, no real numbers: write it again")
    if label.shape != (2,) or label.dtype.kind not in "iuf" or label[0] % 1 or label[1] not in (0, 1):
        raise HeschlError(
            f"{path}: `label` must be (1, 2), digit and gender (0 or 1), and is {label.tolist()}"
        )
    digit, gender = int(label[0]), GENDERS[int(label[1])]
    first, second = named[2], named[3]
    # "7_01" or "01_7"; where both are the digit, either is the speaker
    if int(first) == digit:
        speaker = second
    elif int(second) == digit:
        speaker = first
    else:
        raise HeschlError(
            f"{path}: its name says {first} and {second} and its label says digit {digit}: rename it"
        )
    return Datum(network, data.astype(np.float64), digit, speaker.zfill(2), int(named[4]), gender)


def list_path(folder: Path, network: str, task: str, split: int, part: str) -> Path:
    """Where a split's list lies; part is "train", "validation" or "test"."""
    return folder / f"{network}_{task}_{split}_{PARTS[part]}.txt"


def write_list(folder: Path, network: str, task: str, split: int, part: str, paths: Sequence[Path]) -> Path:
    """Writes one split's list, the paths relative to ``folder``, so that it may be moved."""
    out = list_path(folder, network, task, split, part)
    write_text(out, "".join(f"{path.relative_to(folder).as_posix()}\n" for path in paths))
    return out


def read_list(path: Path | str) -> list[Path]:
    """The files of a split's list: absolute, or relative to the list; Windows' separators are understood.

    Raises
    ------
    HeschlError: the list is missing or empty.
    """
    path = Path(path)
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise HeschlError(f"{path} names no file: write the list again")
    return [_resolved(path.parent, line) for line in lines]


def _resolved(folder: Path, line: str) -> Path:
    whole = Path(line)
    if whole.is_absolute():
        return whole
    parts = PureWindowsPath(line).parts if "\\" in line else PurePosixPath(line).parts
    return folder.joinpath(*parts)


def write_audiomnist(
    folder: Path,
    task: Literal["digit", "gender"],
    data: Iterable[tuple[str, Datum | None]],
    splits: Mapping[int, Mapping[str, Sequence[str]]],
) -> tuple[list[Path], list[Path]]:
    """Writes a task's folder and its lists.

    Parameters
    ----------
    data: (clip id, datum), one at a time, all of one network: they are never held together. None in place of a datum
        is a clip that could not be used: it is in no list.
    splits: split number to {"train" | "validation" | "test": clip ids}.

    Returns
    -------
    The data files and the lists.

    Raises
    ------
    HeschlError: a split names a clip that was not given, two clips have one name, networks are mixed, or no clip could
        be used.
    """
    paths: dict[str, Path] = {}
    networks: set[str] = set()
    taken: dict[str, str] = {}
    unused: set[str] = set()
    for clip, datum in data:
        if datum is None:
            unused.add(clip)
            continue
        if datum.name in taken:
            raise HeschlError(
                f"clips {taken[datum.name]} and {clip} would both be {datum.name}: "
                "each needs its own digit, speaker and repetition"
            )
        taken[datum.name] = clip
        networks.add(datum.network)
        paths[clip] = write_datum(folder / task, datum)
    if unused and not networks:
        raise HeschlError(
            f"none of the {len(unused):,} clips can be read: look at them with `heschl corpora check`"
        )
    if len(networks) != 1:
        raise HeschlError(
            f"the data are for {len(networks)} networks ({', '.join(sorted(networks))}): give those of one"
        )
    network = networks.pop()
    lists = []
    for split, parts in splits.items():
        for part, ids in parts.items():
            ids = [clip for clip in ids if clip not in unused]
            absent = [clip for clip in ids if clip not in paths]
            if absent:
                raise HeschlError(
                    f"split {split}, {part}: clip {absent[0]} has no datum: give the data of every clip"
                )
            lists.append(write_list(folder, network, task, split, part, [paths[clip] for clip in ids]))
    return list(paths.values()), lists
