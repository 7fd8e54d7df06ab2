"""Published layouts of people who listened to stories, on tiny trees."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from heschl.corpora import brennan, broderick, libribrain
from heschl.corpora.trials import trials
from heschl.types import HeschlError

pytest.importorskip("mne")


def test_broderick(tmp_path: Path) -> None:
    broderick.write_tiny(tmp_path)
    corpus = broderick.read(tmp_path)
    assert [one.id for one in corpus.recordings] == ["01/run-01", "01/run-02", "02/run-01", "02/run-02"]
    x, labels, rate, channels, positions = trials(corpus.recordings[2])
    assert x.shape == (6, 4, 384) and rate == 128.0 and channels == ("A1", "A2", "A3", "A4")
    assert labels["word"] == ("he", "was", "an", "old", "man", "who") and set(labels["block"]) == {"01"}
    eeg = loadmat(tmp_path / "Natural Speech/EEG/Subject2/Subject2_Run1.mat")["eegData"].T
    first = round((3.5 - 0.5) * 128)  # the second word begins at 3.5 s
    assert np.allclose(x[1], 1e-6 * eeg[:, first : first + 384])
    assert positions is not None and np.isfinite(positions).all()
    heard = {one.id: trials(one).labels["heard"] for one in corpus.recordings}
    assert (
        heard["01/run-01"] == heard["02/run-01"] != heard["01/run-02"]
    )  # the same sounds for both listeners


def test_brennan(tmp_path: Path) -> None:
    brennan.write_tiny(tmp_path)
    corpus = brennan.read(tmp_path, start=0.0, stop=1.0)
    x, labels, rate, channels, _ = trials(corpus.recordings[0])
    assert (
        channels == ("1", "2", "3", "4") and x.shape == (8, 4, 100) and rate == 100.0
    )  # the eye's is left out
    assert labels["block"] == ("01",) * 4 + ("02",) * 4 and labels["word"][:3] == (
        "Alice",
        "was",
        "beginning",
    )
    raw = loadmat(tmp_path / "S01.mat", simplify_cells=True)["raw"]["trial"]
    assert np.allclose(x[3], 1e-6 * raw[:4, 850:950])  # MATLAB's sample 851 is at 8.5 s
    assert not corpus.skipped
    (told,) = {one.why for one in brennan.read(tmp_path, start=-2.0, stop=1.0).skipped}
    assert told == "1 words have no -2 to 1 s around them inside the recording"


def test_libribrain(tmp_path: Path) -> None:
    libribrain.write_tiny(tmp_path)
    corpus = libribrain.read(tmp_path)
    x, labels, rate, _, positions = trials(corpus.recordings[0])
    assert (
        x.shape == (6, 4, 150) and rate == 50.0 and positions is None and corpus.recordings[0].kind == "meg"
    )
    assert labels["word"][:3] == ("to", "sherlock", "holmes") and set(labels["block"]) == {"Sherlock1-1"}
    with h5py.File(next(tmp_path.rglob("sub-0*.h5"))) as file:
        assert np.array_equal(x[1], file["data"][:, 150:300])
    phones = trials(libribrain.read(tmp_path, kind="phoneme", start=0.0, stop=0.5).recordings[0])
    assert phones.labels["word"] == ("t", "s", "h") * 2 and phones.x.shape == (6, 4, 25)
    with pytest.raises(HeschlError, match="choose word or phoneme"):
        libribrain.read(tmp_path, kind="letter")


@pytest.mark.parametrize("module", [broderick, brennan, libribrain])
def test_a_damaged_recording_is_skipped_and_named(tmp_path: Path, module: ModuleType) -> None:
    module.write_tiny(tmp_path)
    pattern = {"broderick": "Subject1_Run1.mat", "brennan": "S01.mat", "libribrain": "sub-0*.h5"}
    path = sorted(tmp_path.rglob(pattern[module.__name__.split(".")[-1]]))[0]
    before = len(module.read(tmp_path).recordings)
    path.write_bytes(path.read_bytes()[:300])
    corpus = module.read(tmp_path)
    assert len(corpus.recordings) == before - 1
    assert "damaged" in corpus.skipped[0].why or "truncated" in corpus.skipped[0].why
    assert path.name in corpus.skipped[0].where


def test_words_of_another_recording_and_values_that_are_not_finite(tmp_path: Path) -> None:
    broderick.write_tiny(tmp_path)
    text = tmp_path / "Natural Speech" / "Stimuli" / "Text" / "Run2.mat"
    savemat(text, {"wordVec": np.array(["he", "was"], object), "onset_time": [1.0, 99.0]})
    eeg = np.random.default_rng(0).standard_normal((2560, 4))
    eeg[600, 2] = np.nan
    path = tmp_path / "Natural Speech" / "EEG" / "Subject1" / "Subject1_Run1.mat"
    savemat(path, {"eegData": eeg, "fs": 128.0})
    why = {one.where.split("/")[-1]: one.why for one in broderick.read(tmp_path).skipped}
    assert "'was' is heard at 99.00 s of a recording of 20.00 s" in why["Subject1_Run2.mat"]
    assert "channel A3 holds values that are not finite" in why["Subject1_Run1.mat"]
    savemat(path, {"eeg": eeg})
    assert "no variable eegData: it holds eeg" in broderick.read(tmp_path).skipped[0].why


def test_a_recording_without_all_words_is_told(tmp_path: Path) -> None:
    brennan.write_tiny(tmp_path)
    savemat(tmp_path / "proc" / "S02.mat", {"proc": {"trl": np.ones((3, 4))}})
    (told,) = brennan.read(tmp_path).skipped
    assert "3 words and AliceChapterOne-EEG.csv 8" in told.why or "not complete" in told.why
    (tmp_path / "AliceChapterOne-EEG.csv").unlink()
    with pytest.raises(HeschlError, match="holds no AliceChapterOne"):
        brennan.read(tmp_path)
