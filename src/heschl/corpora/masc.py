"""MEG-MASC: MEG of people who listened to four stories (Gwilliams et al. 2023, Scientific Data 10:862).

    sub-01/ses-0/meg/sub-01_ses-0_task-0_meg.con        KIT, 208 sensors, 1000 Hz; a task a story
    sub-01/ses-0/meg/sub-01_ses-0_task-0_events.tsv     onset, and trial_type: a dictionary, {'kind': 'word', 'word': 'Tara',
                                                        'sound': 'stimuli/audio/lw1_0.0.wav', 'start': 0.5, ...}
    stimuli/audio/lw1_0.wav                             what was heard, where matching wants sounds: the tables write its
                                                        number as 0.0, and letters of The_Black_Willow large

27 people, 56 hours; about 100 GB. Licence: CC0 1.0. Where from: osf.io/ag3kj (and h2tzn, u5327, dr4wy). A split by
"block", the sound, keeps every sound in one part, whoever heard it. Names and columns were checked against its authors'
check_decoding.py and five other public readers; the recordings themselves were not seen by us.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from heschl.corpora import epochs
from heschl.files import write_text, write_wav
from heschl.types import Corpus, HeschlError


def read(
    root: Path, kind: str = "word", start: float = -0.5, stop: float = 2.5, rate: float | None = 120.0
) -> Corpus:
    """A trial a word or phoneme. Labels: word, subject, block (the sound), heard (sound and second), recording.

    Parameters
    ----------
    kind: "word" or "phoneme" (with its place in the word: "t_B").
    start, stop: seconds around an onset. rate: Hz to which recordings are brought, None keeps theirs.

    Raises
    ------
    HeschlError: mne is not there, no recording can be read, or no event has such a kind.
    """
    if kind not in ("word", "phoneme"):
        raise HeschlError(f"masc.kind is '{kind}': choose word or phoneme")
    found = epochs.read(Path(root), kind=kind, start=start, stop=stop, rate=rate, licence="CC0 1.0")
    return replace(found, name="MEG-MASC", source="MEG-MASC (Gwilliams et al. 2023, Scientific Data 10:862)")


def write_tiny(root: Path, seed: int = 0) -> None:
    """Two people, two stories of 20 s with six words each, 3 sensors at 240 Hz; the sounds are noise."""
    import mne

    for task in ("0", "1"):
        wave = 0.1 * np.random.default_rng((seed, 7, int(task))).standard_normal(8000 * 18).clip(-3, 3)
        write_wav(root / "stimuli" / "audio" / f"story_{task}.wav", wave, 8000)
        for subject in ("01", "02"):
            folder = root / f"sub-{subject}" / "ses-0" / "meg"
            folder.mkdir(parents=True, exist_ok=True)
            name = f"sub-{subject}_ses-0_task-{task}"
            info = mne.create_info(["M1", "M2", "M3"], 240.0, "mag")
            for k, channel in enumerate(info["chs"]):
                channel["loc"][:3] = (0.05 * k, 0.02, 0.1)
            x = np.random.default_rng((seed, int(subject), int(task))).standard_normal((3, 240 * 20))
            with mne.utils.use_log_level("error"):
                mne.io.RawArray(1e-13 * x, info).save(folder / f"{name}_meg.fif", overwrite=True)
            lines = ["onset\tduration\ttrial_type"]
            for k, word in enumerate(["once", "upon", "a"] * 2):
                at = 2.5 * k
                cell = {
                    "kind": "word",
                    "word": word,
                    "sound": f"stimuli/audio/Story_{task}.0.wav",
                    "start": at,
                }
                lines.append(f"{1 + at}\t0.3\t{cell}")
                lines.append(f"{1 + at}\t0.1\t{ {**cell, 'kind': 'phoneme', 'phoneme': word[0] + '_B'} }")
            write_text(folder / f"{name}_events.tsv", "\n".join(lines) + "\n")
