"""Broderick et al. 2018: EEG of people who listened to The Old Man and the Sea.

    Natural Speech/EEG/Subject1/Subject1_Run1.mat     eegData (time, 128) and mastoids (time, 2), microvolts, fs (128 Hz)
    Natural Speech/Stimuli/Text/Run1.mat              wordVec, onset_time, offset_time of the run's words, seconds;
                                                      sentence_boundaries

19 people, 20 runs of about three minutes, BioSemi 128; about 5 GB. Licence: CC0 1.0. Where from:
datadryad.org/stash/dataset/doi:10.5061/dryad.070jc ("Natural Speech.zip"). Every listener hears the same runs: a split by the
label "block", the run, keeps every sound in one part. The collection has the sounds' envelopes alone; who has the sounds, as
audio1.wav, audio2.wav, ... of the runs, can match with them.

Folders and variables were checked against four public readers of these files, three of which read the words from Text/RunN.mat. No file
says its unit: one reader takes microvolts as here, another multiplies by a million where it should divide. The files themselves
were not seen by us: where one is otherwise, the reader says what it found.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from heschl.corpora._listening import Heard, Long, Source, gathered
from heschl.corpora._mat import read_mat
from heschl.corpora.sensors import places
from heschl.files import write_wav
from heschl.types import Corpus, HeschlError

_NAME = re.compile(r"Subject(\d+)_Run(\d+)\.mat")


def read(root: Path, start: float = -0.5, stop: float = 2.5) -> Corpus:
    """A trial a word. Labels: word, subject, block (the run), heard (sound and second), recording.

    Parameters
    ----------
    root: the folder "Natural Speech", or one above it. start, stop: seconds around a word's onset.

    Raises
    ------
    HeschlError: no recording is there, or none can be read.
    """
    root = Path(root)
    top = root / "Natural Speech" if (root / "Natural Speech").is_dir() else root
    sources = []
    for path in sorted((top / "EEG").glob("Subject*/*.mat")):
        named = _NAME.fullmatch(path.name)
        if named:
            subject, run = f"{int(named[1]):02d}", int(named[2])
            text = top / "Stimuli" / "Text" / f"Run{run}.mat"
            sources.append(
                Source(f"{subject}/run-{run:02d}", subject, path, partial(_load, path, text, run), (text,))
            )
    if not sources:
        raise HeschlError(f"{root} holds no EEG/SubjectN/SubjectN_RunN.mat: give the folder 'Natural Speech'")
    return gathered(
        root,
        sources,
        "eeg",
        (start, stop),
        {"broderick": 2},
        "Broderick",
        "Broderick et al. 2018, Current Biology 28:803",
        "CC0 1.0",
    )


def _load(path: Path, text: Path, run: int) -> Long:
    eeg = read_mat(path, "eegData", "fs")
    told = read_mat(text, "wordVec", "onset_time")
    words, onsets = np.atleast_1d(told["wordVec"]), np.atleast_1d(told["onset_time"]).astype(float)
    x = np.asarray(eeg["eegData"], float).T
    if x.ndim != 2 or len(words) != len(onsets):
        raise HeschlError(
            f"{path}: eegData is {x.T.shape}, and {text.name} has {len(words)} words with {len(onsets)} onsets"
        )
    channels = [f"{letter}{number}" for letter in "ABCD" for number in range(1, 33)][: len(x)]
    if len(channels) != len(x):
        raise HeschlError(f"{path}: eegData has {len(x)} channels and the cap 128: is it (time, channel)?")
    heard = [
        Heard(float(onset), str(word), f"{run:02d}", f"audio{run}@{onset:.3f}")
        for word, onset in zip(words, onsets, strict=True)
    ]
    return Long(x, float(eeg["fs"]), channels, places(channels, "biosemi128"), heard, 1e-6)


def write_tiny(root: Path, seed: int = 0) -> None:
    """Two people, two runs of 20 s with six words, 4 channels; noise for the runs' sounds, in sounds/audio."""
    from scipy.io import savemat

    words = ["he", "was", "an", "old", "man", "who"]
    for run in (1, 2):
        wave = 0.1 * np.random.default_rng((seed, 7, run)).standard_normal(8000 * 20).clip(-3, 3)
        write_wav(root / "sounds" / "audio" / f"audio{run}.wav", wave, 8000)
        text = root / "Natural Speech" / "Stimuli" / "Text" / f"Run{run}.mat"
        text.parent.mkdir(parents=True, exist_ok=True)
        onsets = np.arange(6) * 2.5 + 1
        _save(
            savemat,
            text,
            {"wordVec": np.array(words, object), "onset_time": onsets, "offset_time": onsets + 0.3},
        )
        for subject in (1, 2):
            random = np.random.default_rng((seed, subject, run))
            path = root / "Natural Speech" / "EEG" / f"Subject{subject}" / f"Subject{subject}_Run{run}.mat"
            path.parent.mkdir(parents=True, exist_ok=True)
            eeg = {
                "eegData": random.standard_normal((2560, 4)),
                "mastoids": random.standard_normal((2560, 2)),
                "fs": 128.0,
            }
            _save(savemat, path, eeg)


def _save(savemat: object, path: Path, values: dict[str, object]) -> None:
    """A MATLAB file without the date in its header."""
    assert callable(savemat)
    savemat(str(path), values)
    data = bytearray(path.read_bytes())
    data[:116] = b"MATLAB 5.0 MAT-file".ljust(116)
    path.write_bytes(bytes(data))
