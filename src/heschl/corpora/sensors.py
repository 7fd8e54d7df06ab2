"""Where the sensors of trials lie, and whose brain it is: what travels beside the trials of a corpus of brains.

A trial is a clip of stored frames (``form="frames"``) whose label "recording" names one of the corpus' recordings;
its file holds (trial, sensor, time), or (trial, sensor, frequency, time), under the first part of the clip's key.
Recordings of different montages go through one network: trials are padded with silent sensors that have no place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heschl.corpora.frames import load_frames
from heschl.types import Clip, Corpus, HeschlError


@dataclass(frozen=True)
class Sensors:
    """The recordings of a corpus as tables.

    Attributes
    ----------
    recordings: ids. subjects: names, sorted; a subject's number is its place among them.
    positions: (recording, sensor, 3) float32 metres, NaN for a sensor without a place or that is not there.
    subject: (recording,) number of each one's subject.
    """

    recordings: tuple[str, ...]
    subjects: tuple[str, ...]
    positions: np.ndarray
    subject: np.ndarray

    @property
    def count(self) -> int:
        """Sensors of the largest montage."""
        return int(self.positions.shape[1])

    def rows(self, clips: Sequence[Clip]) -> np.ndarray:
        """(clip,) which recording each trial is of."""
        places = {name: k for k, name in enumerate(self.recordings)}
        return np.array([places[clip.labels["recording"]] for clip in clips], np.int64)

    def load(self, clip: Clip) -> np.ndarray:
        """A trial (time, sensor, ...) with zeros for the sensors that its montage does not have."""
        values = load_frames(clip)
        if values.shape[1] > self.count:
            raise HeschlError(
                f"trial {clip.id} has {values.shape[1]} sensors and its recording {self.count}: the file was changed"
            )
        padding = [(0, 0)] * values.ndim
        padding[1] = (0, self.count - values.shape[1])
        return np.pad(values, padding)


def sensors_of(corpus: Corpus) -> Sensors | None:
    """The sensors of a corpus whose clips are trials of recordings; None for a corpus of sound.

    Raises
    ------
    HeschlError: a trial's recording is not in the corpus, or none of a recording's sensors has a place.
    """
    if not corpus.recordings or not any("recording" in clip.labels for clip in corpus.clips):
        return None
    known = {recording.id for recording in corpus.recordings}
    for clip in corpus.clips:
        if clip.labels.get("recording") not in known:
            raise HeschlError(
                f"corpus {corpus.name}: trial {clip.id} is of the recording '{clip.labels.get('recording', '')}', which the "
                "corpus does not have: mend its reader"
            )
    for recording in corpus.recordings:
        if recording.positions is None or np.isnan(recording.positions).any(1).all():
            raise HeschlError(
                f"recording {recording.id} has no sensor with a known place: name its montage, so that subjects can be put "
                "through one network"
            )
    most = max(len(recording.channels) for recording in corpus.recordings)
    positions = np.full((len(corpus.recordings), most, 3), np.nan, np.float32)
    for k, recording in enumerate(corpus.recordings):
        positions[k, : len(recording.channels)] = recording.positions
    subjects = tuple(sorted({recording.subject for recording in corpus.recordings}))
    subject = np.array([subjects.index(recording.subject) for recording in corpus.recordings], np.int64)
    return Sensors(tuple(recording.id for recording in corpus.recordings), subjects, positions, subject)
