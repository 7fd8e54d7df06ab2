"""Files: writing is all or nothing; reading names the fault and the mend."""

from __future__ import annotations

import errno
import os
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl import files
from heschl.corpora._headers import header
from heschl.corpora._table_pattern import from_pattern, unmatched
from heschl.types import HeschlError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(HeschlError, match=r"disk is full while writing .*a\.txt"),
        files.replacing(tmp_path / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="a name that is no text cannot be given")
def test_a_name_that_is_no_text_is_told_in_a_sentence(tmp_path: Path) -> None:
    """An archive of another age: latin-1 in a name. What is told of it can be written down."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    soundfile.write(str(tmp_path / "x.wav"), np.zeros(100), 8000)
    (tmp_path / "x.wav").rename(path)
    for read in (files.audio_info, header):
        with pytest.raises(HeschlError, match="has a name that is no UTF-8 text: rename it") as caught:
            read(path)
    files.write_csv(tmp_path / "skipped.csv", [{"why": str(caught.value)}], ["why"])
    assert "caf\\udce9.wav has a name" in files.read_csv(tmp_path / "skipped.csv")[0]["why"]
    files.write_json(tmp_path / "a.json", {"file": str(path)})
    assert files.read_json(tmp_path / "a.json") == {"file": str(path)}
    soundfile.write(str(tmp_path / "y.wav"), np.zeros(100), 8000)
    assert [row["path"] for row in from_pattern(tmp_path, "{name}.wav")] == ["y.wav"]
    assert unmatched(tmp_path, "{name}.wav") == [("caf\\udce9.wav", "its name is no UTF-8 text: rename it")]


def test_what_cannot_be_written_says_where_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for inside, mend in ((False, "choose another folder"), (True, "set HESCHL_CACHE to a folder")):
        monkeypatch.setenv("HESCHL_CACHE", str(tmp_path / ("file" if inside else "cache")))
        with pytest.raises(HeschlError, match=mend):
            files.write_text(tmp_path / "file" / "a.txt", "x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_for_real() -> None:
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
    assert "disk is full" in str(files.told(caught.value, "x"))


def test_json_refuses_nan_since_nobody_else_can_read_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


CELL = st.text(st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"left": CELL, "right": CELL}), max_size=4))
def test_csv_round_trip(rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    files.write_csv(path, rows, ["left", "right"])
    assert files.read_csv(path) == rows


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("a,b\n1\n", "line 2"),
        ("a,b\n1,2,3\n", "line 2"),
        ("a;b\n0,5;2\n", "semicolons"),
        ("a\tb\n1\t2\n", "tabs"),
        ("a,b,a\n1,2,3\n", "two columns called 'a'"),
        ("a,b\n1," + "x" * 200_000 + "\n", "is not CSV"),
    ],
)
def test_a_csv_that_is_none_is_refused_with_its_mend(text: str, word: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HeschlError, match=word):
        files.read_csv(path)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "PCM_U8"])
def test_every_sample_format_reads_as_the_same_wave(subtype: str, tmp_path: Path) -> None:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(800) / 16000)
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype=subtype)
    read, rate = files.read_audio(tmp_path / "a.wav")
    assert rate == 16000
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, wave, atol=1 / 128 if subtype == "PCM_U8" else 1 / 32768)


def test_int16_equals_scipy(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32767, 1000).astype(np.int16)
    scipy.io.wavfile.write(tmp_path / "a.wav", 8000, samples)
    read, rate = files.read_audio(tmp_path / "a.wav", start=0.01, stop=0.05)
    assert rate == 8000
    np.testing.assert_array_equal(read * 32768, samples[80:400])


def test_stereo_is_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([[0.5, 0.0], [0.0, -0.5]] * 50), 8000, subtype="FLOAT")
    np.testing.assert_array_equal(files.read_audio(tmp_path / "a.wav")[0], [0.25, -0.25] * 50)


def bad_audio(kind: str, folder: Path) -> Path:
    path = folder / "a.wav"
    tone = 0.1 * np.ones(1600)
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is not audio", encoding="utf-8")
    elif kind == "zero":
        soundfile.write(path, np.zeros(0), 16000)
    elif kind == "eight":
        soundfile.write(path, np.zeros((100, 8)), 16000)
    elif kind == "nan":
        soundfile.write(path, np.where(np.arange(100) == 50, np.nan, 0.0), 16000, subtype="FLOAT")
    elif kind == "huge":
        soundfile.write(path, np.full(100, 1e30), 16000, subtype="FLOAT")
    elif kind == "name":
        path = folder / ("a" * 300)
    elif kind == "flac":
        path = folder / "a.flac"
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "m4a":
        path = folder / "a.m4a"
        path.write_bytes(b"\x00\x00\x00 ftypM4A " + tone.tobytes())
    elif kind == "wav":
        soundfile.write(path, np.zeros(8000), 16000, subtype="PCM_16")
        path.write_bytes(path.read_bytes()[:-13000])
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("missing", "is not there"),
        ("empty", "0 bytes"),
        ("text", "not audio"),
        ("zero", "no samples"),
        ("eight", "8 channels"),
        ("nan", "not numbers"),
        ("huge", "samples of 1e\\+30"),
        ("name", "is not there"),
        ("flac", "breaks off|truncated"),
        ("wav", "truncated: 13,000 bytes"),
        ("m4a", "ffmpeg -i"),
        ("folder", "is a folder"),
    ],
)
def test_bad_audio_is_refused_in_one_sentence(kind: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(HeschlError, match=word) as caught:
        files.read_audio(bad_audio(kind, tmp_path))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_recording_that_may_not_be_read_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(HeschlError, match="a.wav may not be read: change its permissions"):
        files.audio_info(path)


def test_the_real_files_are_read_as_scipy_reads_them(shared: Path) -> None:
    seen = 0
    for path in sorted((shared / "data" / "native_wav").glob("*.wav")):
        wave, rate = files.read_audio(path)
        expected_rate, expected = scipy.io.wavfile.read(path)
        scale = np.iinfo(expected.dtype).max + 1 if expected.dtype.kind == "i" else 1
        assert rate == expected_rate
        np.testing.assert_allclose(wave, expected / scale, atol=1e-7)
        seen += 1
    assert seen >= 10


def test_wav_out_and_in(tmp_path: Path) -> None:
    wave = np.linspace(-1, 1, 999)
    files.write_wav(tmp_path / "a.wav", wave, 22050)
    np.testing.assert_allclose(files.read_audio(tmp_path / "a.wav")[0], wave, atol=1 / 32768)
    with pytest.raises(HeschlError, match="full scale"):
        files.write_wav(tmp_path / "b.wav", 2 * wave, 22050)
    assert not (tmp_path / "b.wav").exists()


class Malice:
    """Pickles into a call that makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"weight": Malice(tmp_path / "ran")}, tmp_path / "model.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malice(tmp_path / "ran")))
    for name in ("model.pt", "plain.pt"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # one sentence says it all
            with pytest.raises(HeschlError, match="could run code|could not be read"):
                files.read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_weights_round_trip_and_plain_state_dicts(tmp_path: Path) -> None:
    state = {"a.weight": torch.randn(3, 4).T, "b": torch.arange(3)}
    files.write_weights(tmp_path / "w.safetensors", state)
    torch.save(state, tmp_path / "w.pt")
    torch.save({"state_dict": state}, tmp_path / "l.pt")
    for name in ("w.safetensors", "w.pt", "l.pt"):
        read = files.read_weights(tmp_path / name)
        assert all(torch.equal(read[key], state[key]) for key in state)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:40])
    with pytest.raises(HeschlError, match=r"cut\.safetensors could not be read"):
        files.read_weights(tmp_path / "cut.safetensors")


def test_the_cache_lies_where_it_is_told_or_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HESCHL_CACHE", str(tmp_path))
    assert files.cache_folder() == tmp_path
    monkeypatch.delenv("HESCHL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(files.sys, "platform", "linux")
    assert files.cache_folder() == tmp_path / "xdg" / "heschl"
    monkeypatch.setattr(files.sys, "platform", "darwin")
    assert files.cache_folder().parts[-3:] == ("Library", "Caches", "heschl")


def test_text_is_no_file_of_weights(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_text("hello this is text")
    with pytest.raises(HeschlError, match=r"a\.pt is no file of weights: give"):
        files.read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("text", ["[" * 200_000, "9" * 5000])
def test_json_beyond_all_bounds_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(HeschlError, match=r"a\.json is nested too deeply, or holds too long a number"):
        files.read_json(tmp_path / "a.json")
