"""FEIS: fourteen-channel EEG of people who heard, imagined and spoke 16 phonemes (Wellington and Clayton, 2019).

    experiments/01/thinking.zip         the published tree (chinese-1 and chinese-2: syllables): a table a phase (stimuli, thinking, speaking, resting, ...),
                                        .zip or .csv, columns Time:256Hz, Epoch, F3, ..., F4, Label, Stage, Flag; some 1,280
                                        rows an epoch, of articulators 256 (so its authors' code/merge_trial_csvs.py writes them)
    01.npz                              epochs of one phase: eeg (epoch, 14, sample), label, sfreq, ch_names

Licence: ODC-BY 1.0 (github.com/scottwellington/FEIS, zenodo.org/records/3554128; about 1 GB). Emotiv EPOC+, as recorded:
microvolts on an offset of about 4200, no filter, large artefacts. The phase of fixation, between hearing
and imagining, carries no speech: it is a control that must stay at chance. Epochs 0-63, 64-111 and 112-159 are three sessions;
ten blocks of 160 trials end where they do. The .npz files were seen by us; of the published tree its authors' code alone.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from heschl.corpora.sensors import places
from heschl.corpora.trial_files import Known, kept, write_trials
from heschl.corpora.trials import corpus_parts, left_out, lone_words, runs
from heschl.files import disk_full
from heschl.types import Clip, Corpus, HeschlError, Recording, Skipped
from heschl.wording import counted

CHANNELS = ("F3", "FC5", "AF3", "F7", "T7", "P7", "O1", "O2", "P8", "T8", "F8", "AF4", "FC6", "F4")
RATE = 256.0
UNIT = 1e-6  # volts
PHASES = ("stimuli", "thinking", "speaking", "fixations", "resting", "articulators")


def read(
    root: Path, phase: str = "thinking", blocks: int = 10, language: Literal["english", "chinese"] = "english"
) -> Corpus:
    """Trials as clips, one recording a person; each table is turned into a file of trials in the cache once.

    Labels: word (the phoneme), subject, block (one of ``blocks`` stretches of neighbouring trials), recording. Values are
    volts, less each trial's channel mean, which is the amplifier's offset.

    Parameters
    ----------
    root: a folder of .npz files, or the published tree (or its ``experiments``).
    phase: of the published tree: stimuli (hearing), thinking, speaking, fixations, ...
    language: of it too: "english", 21 people and 16 phonemes, or "chinese", two people and 16 syllables.

    Raises
    ------
    HeschlError: nothing can be read, or there is no such phase.
    """
    root = Path(root)
    sources = [(path, path.stem) for path in sorted(root.glob("*.npz"))]
    if not sources:
        top = root / "experiments" if (root / "experiments").is_dir() else root
        if phase not in PHASES:
            raise HeschlError(f"feis.phase is '{phase}': choose {', '.join(PHASES)}")
        if language not in ("english", "chinese"):
            raise HeschlError(f"feis.language is '{language}': choose english or chinese")
        for suffix in (".zip", ".csv"):
            there = {name for _, name in sources}
            found = sorted(top.glob(f"*/{phase}{suffix}"))
            sources += [(path, path.parent.name) for path in found if path.parent.name not in there]
        sources = [one for one in sources if one[1].lower().startswith("chinese") == (language == "chinese")]
    if not sources:
        raise HeschlError(f"{root} holds neither NN.npz nor experiments/NN/{phase}.zip: check the folder")
    clips: list[Clip] = []
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    for path, subject in sorted(sources, key=lambda one: one[1]):
        try:
            make = partial(_convert, path, subject, blocks)
            recording, own = corpus_parts(kept(path, {"blocks": blocks, "feis": 3}, make), subject, subject)
        except HeschlError as error:
            if disk_full(error):
                raise
            skipped.append(Skipped(path.relative_to(root).as_posix(), str(error)))
            continue
        skipped += left_out(recording.signal, path.relative_to(root).as_posix())
        recordings.append(recording)
        clips += own
    if not clips:
        raise HeschlError(f"nothing in {root} can be read: {skipped[0].why}")
    fixation = "fixation" in f"{root.resolve().name} {'' if sources[0][0].suffix == '.npz' else phase}"
    control = ("trials of fixation carry no speech: a score above chance on them would be a fault",)
    return Corpus(
        name="FEIS",
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        source="FEIS (Wellington and Clayton, 2019)",
        licence="ODC-BY 1.0",
        skipped=tuple(skipped),
        notes=lone_words(clips) + (control if fixation else ()),
        recordings=tuple(recordings),
    )


def _convert(path: Path, subject: str, blocks: int, out: Path) -> None:
    eeg, labels, rate, channels, names, lost = _npz(path) if path.suffix == ".npz" else _table(path)
    if len(labels) != len(eeg):
        raise HeschlError(f"{path}: {len(eeg)} epochs come with {len(labels)} labels: one each")
    with np.errstate(invalid="ignore"):  # what is not finite stays so, and is left out and named
        volts = UNIT * (eeg - eeg.mean(2, keepdims=True))
    write_trials(
        out,
        volts,
        Known(labels, names, runs(len(eeg), min(blocks, len(eeg)))),
        rate,
        channels,
        places(channels, "fsaverage_1005"),
        lost,
        kind="eeg",
        space="head",
        subject=subject,
    )


class _Epochs(NamedTuple):
    """eeg (epoch, channel, sample) in microvolts, the label and the name of each epoch; and what gives no trial, and why."""

    eeg: np.ndarray
    labels: list[str]
    rate: float
    channels: list[str]
    names: list[str]
    lost: list[tuple[str, str]]


def _npz(path: Path) -> _Epochs:
    try:
        with np.load(path, allow_pickle=False) as file:
            eeg, labels = np.asarray(file["eeg"], np.float64), [str(one) for one in file["label"]]
            rate, channels = float(file["sfreq"]), [str(one) for one in file["ch_names"]]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise HeschlError(
            f"{path} is damaged, or not of eeg, label, sfreq and ch_names ({error}): copy it again"
        ) from None
    if eeg.ndim != 3 or eeg.shape[1] != len(channels):
        raise HeschlError(
            f"{path}: eeg is {eeg.shape} and there are {len(channels)} ch_names: it must be (epoch, channel, time)"
        )
    return _Epochs(eeg, labels, rate, channels, [f"epoch {number}" for number in range(len(eeg))], [])


def _table(path: Path) -> _Epochs:
    """Epochs that broke off, and those that say not what they are, are left out; a cell that is no number is NaN."""
    import pandas as pd

    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                (name,) = [
                    one for one in archive.namelist() if one.endswith(".csv") and "__MACOSX" not in one
                ]
                table = pd.read_csv(io.BytesIO(archive.read(name)))
        else:
            table = pd.read_csv(path)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise HeschlError(f"{path} is damaged, or holds no one table ({error}): download it again") from None
    absent = [name for name in ("Epoch", "Label", *CHANNELS) if name not in table]
    if absent:
        raise HeschlError(f"{path} has no column {absent[0]}: it has {', '.join(map(str, table.columns))}")
    groups: list[tuple[str, Any]] = [
        (f"epoch {name:g}" if isinstance(name, float) else f"epoch {name!s}", own)
        for name, own in table.groupby("Epoch", sort=True)
    ]
    wanted = float(np.median([len(own) for _, own in groups] or [0]))
    lost, names, labels, epochs = [], [], [], []
    if nameless := int(table["Epoch"].isna().sum()):
        lost.append((counted(nameless, "row"), "it is not said of which epoch they are"))
    for name, own in groups:
        label = own["Label"].dropna().astype(str).str.strip()
        if len(own) < 0.9 * wanted:
            lost.append((name, f"it broke off after {len(own)} of some {wanted:.0f} samples"))
        elif not len(label) or label.nunique() > 1:
            lost.append((name, f"its label is {', '.join(label.unique()) or 'empty'}: one is needed"))
        else:
            names.append(name)
            labels.append(label.iloc[0])
            epochs.append(own[list(CHANNELS)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64))
    if not epochs:
        raise HeschlError(f"{path} holds no whole epoch with its label: download it again")
    length = min(len(own) for own in epochs)  # some epochs lack a sample or two
    eeg = np.stack([own[:length].T for own in epochs])
    return _Epochs(eeg, labels, RATE, list(CHANNELS), names, lost)


def write_tiny(root: Path, seed: int = 0) -> None:
    """Two people, eight epochs of 0.25 s of four phonemes each, in the layout of .npz files."""
    root.mkdir(parents=True, exist_ok=True)
    for subject in ("01", "02"):
        random = np.random.default_rng((seed, int(subject)))
        np.savez(
            root / f"{subject}.npz",
            eeg=(4200 + 20 * random.standard_normal((8, 14, 64))).astype(np.float32),
            label=np.array(["f", "goose", "k", "zh"] * 2),
            sfreq=np.float64(RATE),
            ch_names=np.array(CHANNELS),
        )
