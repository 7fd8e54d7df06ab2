"""Brennan and Hale 2019: EEG of people who listened to the first chapter of Alice in Wonderland.

    S01.mat                    FieldTrip's `raw`: hdr.Fs (500 Hz), hdr.label, trial (channel, time) in microvolts
    proc/S01.mat               `proc`: trl (word, column), FieldTrip's: first and last sample of an epoch, and how many samples
                               its first is after the word's onset (-150: 0.3 s before); impedence.bads and
                               rejections.badchans, the channels that were marked bad
    AliceChapterOne-EEG.csv    the words in order: Word, Segment (the sound file), onset, offset in it
    audio/                     DownTheRabbitHoleFinal_SoundFile1.wav, ... (audio.zip, unpacked), where matching wants sounds

49 people, 60 electrodes (easycap-M10), 12.4 minutes; about 3 GB. Licence: CC BY 4.0. Where from:
deepblue.lib.umich.edu/data/concern/data_sets/bg257f92t. A split by "block", the sound file, keeps every sound in one part.

The columns of trl and the marks of channels were checked against the authors' own analysis code, the columns against another public
reader too, units and channels against a third; the files themselves were not seen by us. Of recordings that lack words (the first,
in some) it is not certain which: they are left out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from heschl.corpora._listening import FIR, Heard, Long, Source, gathered, slower
from heschl.corpora._mat import read_mat
from heschl.corpora.broderick import _save
from heschl.corpora.sensors import places
from heschl.files import read_csv, write_wav
from heschl.types import Corpus, HeschlError

_TABLE = "AliceChapterOne-EEG.csv"
SOUND = "DownTheRabbitHoleFinal_SoundFile"  # and its number
_OTHER = {"VEOG", "AUD", "Aux5", "OPTO"}  # channels that are no scalp electrodes


def read(root: Path, start: float = -0.5, stop: float = 2.5, rate: float | None = None) -> Corpus:
    """A trial a word. Labels: word, subject, block (the sound file), heard (sound file and second), recording.

    Parameters
    ----------
    start, stop: seconds around a word's onset. rate: Hz to which recordings are brought; it must divide theirs. None keeps it.

    Raises
    ------
    HeschlError: the table of words or the recordings are missing, or none can be read.
    """
    root = Path(root)
    if not (root / _TABLE).exists():
        raise HeschlError(f"{root} holds no {_TABLE}: download it with the recordings")
    words = read_csv(root / _TABLE)
    if not words or not {"Word", "Segment", "onset"} <= set(words[0]):
        raise HeschlError(f"{root / _TABLE} needs columns Word, Segment and onset: download it again")
    paths = sorted((root / "proc").glob("S*.mat"))
    sources = [
        Source(
            path.stem,
            path.stem,
            root / path.name,
            partial(_load, root / path.name, path, words, rate),
            (path, root / _TABLE),
        )
        for path in paths
    ]
    there = [one for one in sources if one.path.exists()]
    if not there:
        raise HeschlError(
            f"{root} holds no SNN.mat with its proc/SNN.mat: unpack proc.zip beside the recordings"
        )
    return gathered(
        root,
        there,
        "eeg",
        (start, stop),
        {"brennan": 4, "rate": rate},
        "Brennan",
        "Brennan and Hale 2019, PLoS ONE 14:e0207741",
        "CC BY 4.0",
    )


def _load(path: Path, proc: Path, words: list[dict[str, str]], wanted: float | None) -> Long:
    raw = read_mat(path, "raw")["raw"]
    told = read_mat(proc, "proc")["proc"]
    try:
        names, rate = [str(one) for one in raw["hdr"]["label"]], float(raw["hdr"]["Fs"])
        x, table = np.asarray(raw["trial"], float), np.atleast_2d(np.asarray(told["trl"], float))
    except (KeyError, TypeError, ValueError) as error:
        raise HeschlError(
            f"{path} or {proc} is not of FieldTrip's layout ({error}): download it again"
        ) from None
    if x.ndim != 2 or len(x) != len(names):
        raise HeschlError(
            f"{path}: trial is {x.shape} and there are {len(names)} labels: it must be (channel, time)"
        )
    if table.shape[1] < 3:
        raise HeschlError(
            f"{proc}: trl has {table.shape[1]} columns and needs first, last and offset: download it again"
        )
    if len(table) != len(words):
        raise HeschlError(
            f"{proc} has {len(table)} words and {_TABLE} {len(words)}: this recording is not complete, leave it out"
        )
    heard = []
    for number, (row, word) in enumerate(zip(table, words, strict=True)):
        try:
            sound, second = int(float(word["Segment"])), float(word["onset"])
        except ValueError:
            raise HeschlError(
                f"{_TABLE}, line {number + 2}: Segment '{word['Segment']}' and onset '{word['onset']}' must be numbers: "
                "download it again"
            ) from None
        onset = (row[0] - row[2] - 1) / rate  # MATLAB counts from 1
        heard.append(Heard(onset, word["Word"], f"{sound:02d}", f"{SOUND}{sound}@{second:.3f}"))
    marked = _marked(told)
    kept = [k for k, name in enumerate(names) if name not in _OTHER | marked]
    if not kept:
        raise HeschlError(f"{proc} marks every channel bad: leave this recording out")
    channels = [names[k] for k in kept]
    x, reach = x[kept], 0.0
    if wanted is not None:
        every = round(rate / wanted)
        if every < 1 or abs(every * wanted - rate) > 1e-6 * rate:
            raise HeschlError(
                f"{path} has {rate:g} samples a second, and brennan.rate {wanted:g} does not divide them"
            )
        reach = FIR / wanted if every > 1 else 0.0
        x, rate = slower(x, every), wanted
    bad = [name for name in names if name in marked - _OTHER]
    return Long(x, rate, channels, places(channels, "easycap-M10"), heard, 1e-6, reach=reach, marked=bad)


def _marked(proc: Any) -> set[str]:
    """The channels that the authors marked: of high impedance, or rejected by eye; recordings without either have none."""
    found: set[str] = set()
    for group, field in (("impedence", "bads"), ("rejections", "badchans")):
        held = proc.get(group)
        if isinstance(held, dict):
            found |= {str(name).strip() for name in np.ravel(held.get(field, []))}
    return found


def write_tiny(root: Path, seed: int = 0) -> None:
    """Two people, eight words in two sound files, which are noise; 4 electrodes and the eye's, 100 Hz."""
    from scipy.io import savemat

    (root / "proc").mkdir(parents=True, exist_ok=True)
    words = ["Alice", "was", "beginning", "to"] * 2
    rows = [
        f"{word},{1 + k // 4},{2.5 * (k % 4):.1f},{2.5 * (k % 4) + 0.3:.1f}" for k, word in enumerate(words)
    ]
    for sound in (1, 2):
        wave = 0.1 * np.random.default_rng((seed, 10 + sound)).standard_normal(8000 * 12).clip(-3, 3)
        write_wav(root / "audio" / f"{SOUND}{sound}.wav", wave, 8000)
    (root / _TABLE).write_text("\n".join(["Word,Segment,onset,offset", *rows]) + "\n")
    for subject in (1, 2):
        random = np.random.default_rng((seed, subject))
        labels = np.array(["1", "2", "3", "4", "VEOG"], object)
        hdr = {"Fs": 100.0, "label": labels, "nChans": 5.0}
        _save(
            savemat,
            root / f"S{subject:02d}.mat",
            {"raw": {"hdr": hdr, "trial": random.standard_normal((5, 2500))}},
        )
        first = 101.0 + 250 * np.arange(8)
        trl = np.stack([first - 30, first + 100, np.full(8, -30.0), 1.0 + np.arange(8) // 4], 1)
        _save(savemat, root / "proc" / f"S{subject:02d}.mat", {"proc": {"trl": trl, "tot_trials": 8.0}})
