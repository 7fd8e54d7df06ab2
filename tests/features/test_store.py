"""The packed caches: exact, whole or absent, safe against damage, kills and a second builder."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr
import torch

from heschl.features import packing, store
from heschl.features.spectrogram import AudioMnistSpectrogram, LogMel
from heschl.features.store import pack_features, pack_frames, pack_waves
from heschl.features.waveform import fit_length
from heschl.types import Clip, HeschlError


def write(path, wave, rate=16000, subtype="PCM_16"):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype=subtype)
    return Clip(path.stem, path, rate, {})


def tones(folder, count=7, subtype="PCM_16", rate=16000, seed=0):
    rng = np.random.default_rng(seed)
    return [
        write(folder / f"{i}.wav", 0.3 * rng.standard_normal(2000 + 700 * i).clip(-3, 3), rate, subtype)
        for i in range(count)
    ]


def left_over(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("subtype", "dtype"), [("PCM_16", "int16"), ("FLOAT", "float32"), ("PCM_24", "float32")]
)
def test_packed_waves_are_what_soundfile_reads(tmp_path, subtype, dtype):
    clips = tones(tmp_path / "in", subtype=subtype)
    done = []
    packed = pack_waves(clips, 16000, tmp_path / "cache", progress=lambda *so_far: done.append(so_far))
    assert packed.dtype == dtype and packed.ids == tuple("0123456") and packed.rate == 16000
    assert done == [(i + 1, 7) for i in range(7)]
    order = [5, 0, 5, 3]
    wave, lengths = packed.read(order)
    assert wave.dtype == torch.float32 and wave.shape == (4, int(lengths.max()))
    for one, length, i in zip(wave, lengths.tolist(), order):
        original, _ = soundfile.read(clips[i].signal, dtype="float32")
        assert length == len(original) == packed.lengths[i]
        assert np.array_equal(one[:length], original) and (one[length:] == 0).all()
    raw, _ = packed.raw(torch.tensor(order))
    assert raw.dtype == dtype
    assert packed.places["3"] == 3 and not left_over(tmp_path / "cache")


def test_one_fine_clip_makes_all_float_and_loses_nothing(tmp_path):
    fine = write(tmp_path / "in" / "fine.wav", np.linspace(-1, 1, 5000), 16000, "FLOAT")
    clips = [*tones(tmp_path / "in", 3), fine]
    packed = pack_waves(clips, 16000, tmp_path)
    assert packed.dtype == "float32"
    for i, clip in enumerate(clips):
        assert np.array_equal(packed.read([i])[0][0], soundfile.read(clip.signal, dtype="float32")[0])
    assert sorted(path.name for path in packed.folder.iterdir()) == ["index.json", "waves.bin"]


def test_full_scale_of_a_float_file_is_no_16_bit_number(tmp_path):
    loud = write(tmp_path / "in" / "loud.wav", np.array([1.0, -1.0, 0.5] * 1000), 16000, "FLOAT")
    assert pack_waves([loud], 16000, tmp_path).read([0])[0].max() == 1
    low = write(tmp_path / "in" / "low.wav", np.array([-1.0, 0.5] * 1000), 16000, "FLOAT")
    assert pack_waves([low], 16000, tmp_path).dtype == "int16"


def test_parts_of_a_file_and_other_rates(tmp_path):
    whole = write(tmp_path / "in" / "long.wav", 0.5 * np.sin(np.arange(48000) / 20), 48000)
    part = Clip("part", whole.signal, 48000, {}, start=0.25, stop=0.75)
    told = []
    packed = pack_waves([part], 16000, tmp_path, say=told.append)
    original, _ = soundfile.read(whole.signal, start=12000, stop=36000, dtype="float32")
    assert np.array_equal(packed.read([0])[0][0], soxr.resample(original, 48000, 16000, quality="HQ"))
    assert packed.resampled == {48000: 1} and packed.dtype == "float32"
    by_spectrum = pack_waves([part], 16000, tmp_path, by="fft").read([0])[0][0]
    assert np.allclose(by_spectrum, scipy.signal.resample(original, 8000), atol=1e-6)
    assert (
        np.abs(by_spectrum - packed.read([0])[0][0].numpy()).max() > 1e-3
    )  # at its ends, where it wraps round
    assert told == ["clips are resampled to 16000 Hz: 1 from 48000 Hz (of 1)"]
    assert pack_waves([part], 48000, tmp_path).dtype == "int16"
    shorter = Clip("part", whole.signal, 48000, {}, start=0.25, stop=0.5)
    assert pack_waves([shorter], 48000, tmp_path).lengths.tolist() == [12000]


def test_the_cache_is_used_until_a_file_changes(tmp_path, monkeypatch):
    clips = tones(tmp_path / "in", 3)
    first = pack_waves(clips, 16000, tmp_path)
    monkeypatch.setattr(store, "read_audio", None)
    assert pack_waves(clips, 16000, tmp_path).folder == first.folder
    monkeypatch.undo()
    os.utime(clips[1].signal, (1, 1))
    assert pack_waves(clips, 16000, tmp_path).folder != first.folder
    assert pack_waves(clips[:2], 16000, tmp_path).folder != first.folder
    assert pack_waves(clips, 8000, tmp_path).folder != first.folder


def test_bad_clips_are_listed_and_the_good_ones_packed(tmp_path):
    good = tones(tmp_path / "in", 2)
    nan = write(tmp_path / "in" / "nan.wav", np.array([0.1, np.nan] * 4000), 16000, "FLOAT")
    brief = write(tmp_path / "in" / "brief.wav", np.ones(100) / 2)
    cut = write(tmp_path / "in" / "cut.flac", np.random.default_rng(0).uniform(-1, 1, 40000))
    cut.signal.write_bytes(cut.signal.read_bytes()[:30000])
    absent = Clip("absent", tmp_path / "absent.wav", 16000, {})
    packed = pack_waves([nan, good[0], brief, cut, absent, good[1]], 16000, tmp_path)
    assert packed.ids == ("0", "1")
    assert {one.where for one in packed.skipped} == {"nan", "brief", "cut", "absent"}
    reasons = {one.where: one.why for one in packed.skipped}
    assert (
        "not numbers" in reasons["nan"]
        and "less than 10 ms" in reasons["brief"]
        and "not there" in reasons["absent"]
    )
    assert pack_waves([nan, good[0], brief, cut, absent, good[1]], 16000, tmp_path).skipped == packed.skipped
    with pytest.raises(HeschlError, match="none of the 2 clips can be used; the first: .*nan.wav"):
        pack_waves([nan, brief], 16000, tmp_path)
    with pytest.raises(HeschlError, match="no clips to pack"):
        pack_waves([], 16000, tmp_path)
    assert not left_over(tmp_path)


def _truncate(folder):
    data = folder / "waves.bin"
    data.write_bytes(data.read_bytes()[:-2])


def _flip(folder):
    data = folder / "waves.bin"
    data.write_bytes(data.read_bytes()[:-1] + b"?")


def _older(folder):
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    (folder / "index.json").write_text(json.dumps({**index, "format": 0}), encoding="utf-8")


def _unsealed(folder):
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    kept = {key: value for key, value in index.items() if key != "seal"}
    (folder / "index.json").write_text(json.dumps(kept), encoding="utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _flip,
        _older,
        lambda folder: (folder / "index.json").unlink(),
        lambda folder: (folder / "index.json").write_text("{", encoding="utf-8"),
        lambda folder: (folder / "index.json").write_text("[1]", encoding="utf-8"),
        _unsealed,
        lambda folder: (folder / "waves.bin").unlink(),
    ],
)
def test_a_damaged_cache_is_built_again_and_said_once(tmp_path, damage):
    clips = tones(tmp_path / "in", 3)
    packed = pack_waves(clips, 16000, tmp_path / "cache")
    expected = packed.read([0, 1, 2])[0]
    damage(packed.folder)
    told = []
    again = pack_waves(clips, 16000, tmp_path / "cache", say=told.append)
    assert torch.equal(again.read([0, 1, 2])[0], expected)
    assert len(told) == 1 and "built again" in told[0] and str(packed.folder) in told[0]
    pack_waves(clips, 16000, tmp_path / "cache", say=told.append)
    assert len(told) == 1 and not left_over(tmp_path / "cache")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(file, values):
        raise OSError(errno.ENOSPC, "No space left on device")

    clips = tones(tmp_path / "in", 3)
    monkeypatch.setattr(store, "append", full)
    with pytest.raises(HeschlError, match="the disk is full while writing"):
        pack_waves(clips, 16000, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


BUILDER = """
import sys, time
from pathlib import Path
from heschl.features.store import pack_waves
from heschl.types import Clip

folder, cache, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
clips = [Clip(str(i), folder / f"{i}.wav", 16000, {}) for i in range(40)]

def progress(done, total):
    print(done, flush=True)
    time.sleep(pause if done > 20 else 0)

print("ready", flush=True)
sys.stdin.readline()
print(pack_waves(clips, 16000, cache, progress=progress).read([29, 3])[0].double().sum().item())
"""


def builder(folder, cache, pause):
    arguments = [sys.executable, "-c", BUILDER, str(folder), str(cache), str(pause)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_what_a_killed_builder_left_is_never_used_and_is_swept_later(tmp_path):
    clips, cache = tones(tmp_path / "in", 40), tmp_path / "cache"
    with builder(tmp_path / "in", cache, 0.5) as killed:
        killed.stdin.write("go\n")
        killed.stdin.flush()
        while killed.stdout.readline().strip() != "22":
            pass
        killed.kill()
    assert len(left_over(cache)) == 1 and len(list(cache.iterdir())) == 1
    packed = pack_waves(clips, 16000, cache)  # beside a builder that might be alive
    assert len(packed) == 40 and len(left_over(cache)) == 1
    for path in (*left_over(cache)[0].iterdir(), left_over(cache)[0]):
        os.utime(path, (time.time() - 7200,) * 2)
    _truncate(packed.folder)
    assert len(pack_waves(clips, 16000, cache)) == 40 and not left_over(cache)


@pytest.mark.slow
def test_two_processes_may_build_at_once(tmp_path):
    clips, cache = tones(tmp_path / "in", 40), tmp_path / "cache"
    both = [builder(tmp_path / "in", cache, 0.005) for _ in range(2)]
    for one in both:
        assert one.stdout.readline().strip() == "ready"
    outputs = []
    for one in both:
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in both:
        outputs.append(one.communicate(timeout=60)[0].split())
        assert one.returncode == 0
    assert all(output[:40] == [str(i + 1) for i in range(40)] for output in outputs)  # both did build
    expected = pack_waves(clips, 16000, cache).read([29, 3])[0].double().sum().item()
    assert {float(output[-1]) for output in outputs} == {expected}
    assert len(list(cache.iterdir())) == 1


def test_the_slower_of_two_builders_takes_the_other_ones_work(tmp_path):
    clips = tones(tmp_path / "in", 3)
    raced = []

    def race(done, total):
        if done == total and not raced:
            raced.append(True)
            raced.append(pack_waves(clips, 16000, tmp_path / "cache"))

    packed = pack_waves(clips, 16000, tmp_path / "cache", progress=race)
    assert packed.folder == raced[1].folder and torch.equal(packed.read([1])[0], raced[1].read([1])[0])
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_store_travels_to_workers_as_its_path(tmp_path):
    packed = pack_waves(tones(tmp_path / "in", 3), 16000, tmp_path)
    sent = pickle.dumps(packed)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent).read([2])[0], packed.read([2])[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_what_was_read(tmp_path, monkeypatch):
    def resident():
        with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
            return int(next(line for line in file if line.startswith("RssFile")).split()[1]) * 1024

    monkeypatch.setattr(packing, "_RESIDENT", 4 * 2**20)
    clip = write(tmp_path / "in" / "a.wav", np.random.default_rng(0).uniform(-1, 1, 2**19))
    packed = pack_waves([Clip(str(i), clip.signal, 16000, {}) for i in range(64)], 16000, tmp_path)
    before = resident()
    for i in range(64):
        packed.read([i])
    assert resident() - before < 16 * 2**20  # of 64 MB


def test_features_are_packed_once_for_each_setting(tmp_path, monkeypatch):
    waves = pack_waves(tones(tmp_path / "in", 2), 16000, tmp_path)
    folders = {
        pack_features(waves, feature, dtype=dtype).folder
        for feature in (
            LogMel(),
            LogMel(n_mels=30),
            LogMel(floor=1e-5),
            LogMel(f_min=50),
            LogMel(normalise="mean"),
        )
        for dtype in ("float16", "float32")
    }
    assert len(folders) == 10
    monkeypatch.setattr(LogMel, "forward", None)
    assert pack_features(waves, LogMel(n_mels=30)).folder in folders


def test_features_of_one_size_are_fitted_first(tmp_path):
    waves = pack_waves(tones(tmp_path / "in", 3, rate=8000), 8000, tmp_path)
    packed = pack_features(waves, AudioMnistSpectrogram(), dtype="float32", fit=(8000, "start", "centre"))
    fitted, _ = fit_length(*waves.read([1]), 8000, "start", "centre")
    assert torch.equal(packed.read([1])[0], AudioMnistSpectrogram()(fitted))
    placed = [
        pack_features(waves, AudioMnistSpectrogram(), fit=(8000, "start", "random"), seed=k) for k in (0, 1)
    ]
    assert not torch.equal(placed[0].read([1])[0], placed[1].read([1])[0])


def test_clips_that_a_feature_refuses_are_listed(tmp_path):
    clips = [
        *tones(tmp_path / "in", 1, rate=8000),
        write(tmp_path / "in" / "long.wav", np.ones(9000) / 2, 8000),
    ]
    waves = pack_waves(clips, 8000, tmp_path)
    packed = pack_features(waves, AudioMnistSpectrogram(), fit=(8000, "refuse", "end"))
    assert packed.ids == ("0",) and packed.skipped[0].where == "long" and "clip.long" in packed.skipped[0].why


def test_numbers_too_large_for_float16_and_wrong_rates_are_refused(tmp_path):
    waves = pack_waves(tones(tmp_path / "in", 2), 16000, tmp_path)
    with pytest.raises(HeschlError, match="use float32"):
        pack_features(waves, _Loud())
    with pytest.raises(HeschlError, match="takes waves at 8000 Hz"):
        pack_features(waves, AudioMnistSpectrogram())


class _Loud(LogMel):
    def forward(self, wave, lengths=None):
        return super().forward(wave) + 1e6


def test_stored_frames_are_packed_and_bad_ones_listed(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.standard_normal((5, 3)),
        "b": np.full((2, 3), np.nan),
        "c": rng.standard_normal((1, 3)),
    }
    clips = [Clip(name, tmp_path / "f.npy", 100, {}, form="frames", key=name) for name in arrays]
    packed = pack_frames(clips, lambda clip: arrays[clip.key], tmp_path)
    assert packed.ids == ("a", "c") and packed.skipped[0].where == "b" and packed.rate == 100
    assert np.allclose(packed.frames, np.concatenate([arrays["a"], arrays["c"]]))
    arrays["c"] = rng.standard_normal((1, 4))
    with pytest.raises(HeschlError, match="same features"):
        pack_frames(clips[::2], lambda clip: arrays[clip.key], tmp_path)
