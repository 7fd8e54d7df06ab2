"""From 48 kHz files to HDF5 and to a network's input, against the authors' own preparation by scipy and librosa."""

from __future__ import annotations

from pathlib import Path

import h5py
import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile

from heschl.corpora import audiomnist
from heschl.features.store import pack_waves
from heschl.steps.explaining import read_input
from heschl.steps.features import write_features
from heschl.steps.networks import open_network
from heschl.training.fit import train


def prepared(file: Path) -> np.ndarray:
    """As preprocess_data.py prepares a file, but for the place within the second: its end is padded here."""
    wave, rate = soundfile.read(file, dtype="int16")
    wave = librosa.resample(wave.astype(np.float32), orig_sr=rate, target_sr=8000, res_type="scipy")
    return np.pad(wave, (0, 8000 - len(wave)))


def spectrogram(x: np.ndarray) -> np.ndarray:
    _, _, z = scipy.signal.stft(x, 8000, nperseg=455, noverlap=420, window="hann")
    return librosa.amplitude_to_db(np.abs(z[0:227, 2:-1]), ref=np.max)


def level(x: np.ndarray) -> np.ndarray:
    return x / (np.percentile(x, 95) + 0.001)


@pytest.mark.parametrize(
    ("recipe", "name", "expected", "within"),
    [
        ("digits-alexnet", "AlexNet", spectrogram, 1e-2),  # dB
        ("gender-audionet", "AudioNet", level, 1e-4),  # of values up to some tens
    ],
)
def test_the_shipped_recipes_prepare_a_clip_as_the_authors_did(recipe, name, expected, within, tmp_path):
    audiomnist.write_tiny(tmp_path / "data")
    overrides = {"corpus.root": str(tmp_path / "data"), "clip.short": "end"}
    write_features(recipe, overrides, tmp_path / "out")
    for file in sorted((tmp_path / "data" / "data").glob("*/*.wav"))[::17]:
        (made,) = (tmp_path / "out").rglob(f"{name}_{file.stem}.hdf5")
        with h5py.File(made) as held:
            found = np.squeeze(held["data"][()])
        assert np.abs(found - expected(prepared(file))).max() < within


def test_the_other_resampler_prepares_another_one(tmp_path):
    """Or the test above could not fail."""
    audiomnist.write_tiny(tmp_path / "data")
    overrides = {"corpus.root": str(tmp_path / "data"), "clip.short": "end", "clip.resample": "soxr"}
    write_features("digits-alexnet", overrides, tmp_path / "out")
    (file,) = (tmp_path / "data" / "data").glob("07/3_07_0.wav")
    with h5py.File(next((tmp_path / "out").rglob("AlexNet_3_07_0.hdf5"))) as held:
        assert np.abs(np.squeeze(held["data"][()]) - spectrogram(prepared(file))).max() > 1


def test_a_clip_lies_where_the_seed_draws_its_place(tmp_path):
    """clip.short of the shipped recipes is random: AudioMNIST's authors put a word anywhere in its second."""
    audiomnist.write_tiny(tmp_path / "data")

    def begins(name: str, **given: int) -> list[int]:
        overrides = {"corpus.root": str(tmp_path / "data"), **given}
        write_features("digits-audionet", overrides, tmp_path / name)
        found = []
        for file in sorted((tmp_path / name / "digit").glob("*.hdf5")):
            with h5py.File(file) as held:
                found.append(int(np.flatnonzero(held["data"][()])[0]))
        return found

    first = begins("first")
    assert len(set(first)) > 80 and min(first) < 600 and 5000 < max(first) < 8000 - 2400
    assert begins("again") == first and begins("other", seed=1) != first


def test_a_trained_network_hears_what_training_gave_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HESCHL_CACHE", str(tmp_path / "cache"))
    audiomnist.write_tiny(tmp_path / "data")
    overrides = {
        "corpus.root": str(tmp_path / "data"),
        "clip.short": "end",
        "model.width": 0.05,
        "train": {"steps": 1, "batch": 4, "epoch_clips": 4, "optimiser": {"use": "torch.optim.SGD"}},
    }
    run = train("digits-audionet", overrides, runs=tmp_path / "runs", quiet=True)
    network, clips = open_network(run), run.corpus().clips
    packed = pack_waves(clips, 8000, tmp_path / "other", by=run.recipe.clip.resample)
    clip = clips[3]
    given, lengths = packed.read([packed.places[clip.id]])
    assert np.array_equal(network.read(clip), given[0, : int(lengths[0])])
    assert np.abs(np.squeeze(read_input(network, clip).x.numpy()) - level(prepared(clip.signal))).max() < 1e-4
