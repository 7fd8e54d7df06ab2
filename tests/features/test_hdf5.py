"""AudioMNIST's HDF5 layout, there and back, and as others wrote it."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from heschl.features.hdf5 import (
    SHAPES,
    Datum,
    list_path,
    read_datum,
    read_list,
    write_audiomnist,
    write_datum,
)
from heschl.types import HeschlError


def datum(network="AlexNet", digit=7, speaker="01", repetition=12, gender="female", seed=0):
    data = np.random.default_rng(seed).standard_normal(SHAPES[network])
    return Datum(network, data, digit, speaker, repetition, gender)


@pytest.mark.parametrize("network", SHAPES)
def test_a_datum_is_stored_as_the_original_stores_it(tmp_path, network):
    one = datum(network)
    path = write_datum(tmp_path / "digit", one)
    assert path == tmp_path / "digit" / f"{network}_7_01_12.hdf5"
    with h5py.File(path) as file:
        assert set(file) == {"data", "label"} and not file.attrs
        assert file["data"].shape == SHAPES[network] and file["data"].dtype == np.float64
        assert file["label"].shape == (1, 2) and np.issubdtype(file["label"].dtype, np.integer)
        assert file["label"][()].tolist() == [[7, 1]]
        assert np.array_equal(file["data"][()], one.data)
    back = read_datum(path)
    assert np.array_equal(back.data, one.data)
    assert (back.digit, back.speaker, back.repetition, back.gender) == (7, "01", 12, "female")


@pytest.mark.parametrize(
    ("name", "digit", "speaker"),
    [
        ("AlexNet_7_01_12", 7, "01"),
        ("AlexNet_01_7_12", 7, "01"),  # speaker first
        ("AlexNet_1_01_0", 1, "01"),
        ("AlexNet_01_1_0", 1, "01"),
        ("AlexNet_3_60_49", 3, "60"),
        ("AlexNet_60_3_49", 3, "60"),
        ("AlexNet_5_3_1", 5, "03"),  # figures without zeros: the label decides
        ("AlexNet_3_5_1", 5, "03"),
    ],
)
def test_digit_first_and_speaker_first_names_are_read(tmp_path, name, digit, speaker):
    write_datum(tmp_path, datum(digit=digit)).rename(tmp_path / f"{name}.hdf5")
    read = read_datum(tmp_path / f"{name}.hdf5")
    assert (read.digit, read.speaker) == (digit, speaker)


def test_a_task_with_its_lists_there_and_back(tmp_path):
    data = {
        f"{speaker}/{digit}_{speaker}_{take}": datum("AudioNet", digit, speaker, take, "male", seed=take)
        for speaker in ("01", "12")
        for digit in (0, 9)
        for take in (0, 1)
    }
    ids = sorted(data)
    splits = {
        0: {"train": ids[:4], "validation": ids[4:6], "test": ids[6:]},
        1: {"train": ids[4:], "test": ids[:4]},
    }
    files, lists = write_audiomnist(tmp_path, "gender", data.items(), splits)
    assert len(files) == 8 and {path.parent.name for path in files} == {"gender"}
    assert sorted(path.name for path in lists) == [
        "AudioNet_gender_0_test.txt",
        "AudioNet_gender_0_train.txt",
        "AudioNet_gender_0_validate.txt",
        "AudioNet_gender_1_test.txt",
        "AudioNet_gender_1_train.txt",
    ]
    moved = tmp_path.with_name(tmp_path.name + " moved")
    tmp_path.rename(moved)
    for split, parts in splits.items():
        for part, clips in parts.items():
            read = [
                read_datum(path) for path in read_list(list_path(moved, "AudioNet", "gender", split, part))
            ]
            for clip, one in zip(clips, read, strict=True):
                assert np.array_equal(one.data, data[clip].data) and one.name == data[clip].name
    moved.rename(tmp_path)


def test_lists_of_other_machines_are_understood(tmp_path):
    path = tmp_path / "AlexNet_digit_0_train.txt"
    absolute = tmp_path / "elsewhere" / "AlexNet_1_02_3.hdf5"
    path.write_text(f"digit\\AlexNet_7_01_12.hdf5\r\n\n{absolute}\n", encoding="utf-8")
    assert read_list(path) == [tmp_path / "digit" / "AlexNet_7_01_12.hdf5", absolute]
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(HeschlError, match="names no file"):
        read_list(path)


def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(HeschlError, match=r"AudioNet stores \(1, 1, 1, 8000\)"):
        write_datum(tmp_path, Datum("AudioNet", np.zeros(7999), 1, "01", 0, "male"))
    with pytest.raises(HeschlError, match="gender is 'other'"):
        write_datum(tmp_path, datum(gender="other"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(HeschlError, match="would both be"):
        write_audiomnist(tmp_path, "digit", [("a", datum()), ("b", datum())], {})
    with pytest.raises(HeschlError, match="clip c has no datum"):
        write_audiomnist(tmp_path, "digit", [("a", datum())], {0: {"test": ["c"]}})
    with pytest.raises(HeschlError, match="2 networks"):
        write_audiomnist(tmp_path, "digit", [("a", datum()), ("b", datum("AudioNet"))], {})


def test_damaged_and_foreign_files_are_refused_by_name(tmp_path):
    path = write_datum(tmp_path, datum())
    with pytest.raises(HeschlError, match=r"AlexNet_1_01_1.hdf5 is not there"):
        read_datum(tmp_path / "AlexNet_1_01_1.hdf5")
    with pytest.raises(HeschlError, match="rename it"):
        read_datum(path.rename(tmp_path / "AlexNet_3_04_12.hdf5"))
    with pytest.raises(HeschlError, match="is not named"):
        read_datum(tmp_path / "seven.hdf5")
    path.write_bytes(b"not HDF5")
    with pytest.raises(HeschlError, match="not an HDF5 file"):
        read_datum(path)
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((1, 1, 228, 230))
        file["label"] = np.zeros((1, 2), dtype=int)
    with pytest.raises(HeschlError, match=r"\(1, 1, 228, 230\)"):
        read_datum(path)
    shape = (1, 1, 227, 227)
    for data, label, says in (
        (np.zeros(shape), [[7.5, 1]], "`label` must be"),
        (np.zeros(shape), [[np.nan, 1]], "`label` must be"),
        (np.zeros(shape, complex), [[7, 1]], "type complex128, no real numbers"),
        (np.full(shape, b"a"), [[7, 1]], "no real numbers"),
    ):
        path = tmp_path / "AlexNet_7_01_12.hdf5"
        with h5py.File(path, "w") as file:
            file["data"], file["label"] = data, label
        with pytest.raises(HeschlError, match=says):
            read_datum(path)
