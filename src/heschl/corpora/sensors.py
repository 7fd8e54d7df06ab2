"""Where the sensors of trials lie, and whose brain it is: what travels beside the trials of a corpus of brains.

A trial is a clip of stored frames (``form="frames"``) whose label "recording" names one of the corpus' recordings;
its file holds (trial, sensor, time), or (trial, sensor, frequency, time), under the first part of the clip's key.
Recordings of different montages go through one network: trials are padded with silent sensors that have no place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
    scaling: by recording, centre and spread (sensor,) that trials are brought to, or None: see `with_scales`.
    """

    recordings: tuple[str, ...]
    subjects: tuple[str, ...]
    positions: np.ndarray
    subject: np.ndarray
    scaling: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None

    @property
    def count(self) -> int:
        """Sensors of the largest montage."""
        return int(self.positions.shape[1])

    def rows(self, clips: Sequence[Clip]) -> np.ndarray:
        """(clip,) which recording each trial is of."""
        places = {name: k for k, name in enumerate(self.recordings)}
        return np.array([places[clip.labels["recording"]] for clip in clips], np.int64)

    def raw(self, clip: Clip) -> np.ndarray:
        """A trial (time, sensor, ...) as it is stored."""
        values: np.ndarray = load_frames(clip)
        return values

    def load(self, clip: Clip) -> np.ndarray:
        """A trial (time, sensor, ...), scaled, with zeros for the sensors that its montage does not have."""
        values = self.raw(clip)
        if values.shape[1] > self.count:
            raise HeschlError(
                f"trial {clip.id} has {values.shape[1]} sensors and its recording {self.count}: the file was changed"
            )
        if self.scaling is not None:
            centre, spread = self.scaling[clip.labels["recording"]]
            values = (values - centre) / spread
        padding = [(0, 0)] * values.ndim
        padding[1] = (0, self.count - values.shape[1])
        return np.pad(values.astype(np.float32), padding)

    def with_scales(self, scales: Mapping[str, Mapping[str, Sequence[float]]]) -> Sensors:
        """The same, with trials on each recording's scale; ``scales`` as `scales` gives them.

        Raises
        ------
        HeschlError: a recording has no scale.
        """
        missing = [name for name in self.recordings if name not in scales]
        if missing:
            raise HeschlError(
                f"recording {missing[0]} has no scale, as training did not know it: train on it, or with scale: none"
            )
        held = {
            name: (np.asarray(one["centre"], float), np.asarray(one["spread"], float))
            for name, one in scales.items()
        }
        return replace(self, scaling=held)

    def scales(self) -> dict[str, dict[str, list[float]]]:
        """Recording -> its centre and spread, as JSON holds them; empty where trials are left as they are."""
        held = self.scaling or {}
        return {name: {"centre": a.tolist(), "spread": b.tolist()} for name, (a, b) in held.items()}

    def key(self) -> str | None:
        """What names the scaling of a cache; None where there is none."""
        if self.scaling is None:
            return None
        return hashlib.sha256(json.dumps(self.scales(), sort_keys=True).encode()).hexdigest()[:16]


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


def places(channels: Sequence[str], montage: str) -> np.ndarray:
    """Positions by the names of electrodes, (channel, 3) metres in the head's frame, NaN for a name not in it.

    Parameters
    ----------
    montage: one that MNE knows ("fsaverage_1005", "biosemi128", ...).

    Raises
    ------
    HeschlError: MNE is not there, does not know the montage, or the montage knows none of the names.
    """
    try:
        import mne
    except ImportError:
        raise HeschlError("the positions of electrodes need mne: pip install 'heschl[brain]'") from None
    known = mne.channels.get_builtin_montages()
    if montage not in known:
        raise HeschlError(f"montage '{montage}' is not known: choose one of {', '.join(known)}")
    standard = mne.channels.make_standard_montage(montage)
    to_head = mne.channels.compute_native_head_t(standard, on_missing="ignore")
    there = {
        name.lower(): mne.transforms.apply_trans(to_head, place)
        for name, place in standard.get_positions()["ch_pos"].items()
    }
    found = np.array([there.get(name.lower(), np.full(3, np.nan)) for name in channels], float)
    if np.isnan(found).any(1).all():
        raise HeschlError(
            f"montage {montage} has none of the channels {', '.join(channels[:4])}, ...: choose the montage of the cap"
        )
    return found


def flat_sensors(corpus: Corpus, sensors: Sensors, rate: float | None = None, trials: int = 4) -> list[str]:
    """Sentences that name channels which do not change in the first trials of their recording; they carry nothing.

    Parameters
    ----------
    rate: Hz at which a feature takes raw trials, None for one that takes stored maps.

    Raises
    ------
    HeschlError: a recording has another rate.
    """
    told = []
    for recording in corpus.recordings:
        if rate is not None and abs(recording.rate - rate) > 1e-6 * rate:
            raise HeschlError(
                f"recording {recording.id} has {recording.rate:g} samples a second and the feature takes {rate:g}: "
                f"set feature.sample_rate to {recording.rate:g}, or resample the recording"
            )
        own = [clip for clip in corpus.clips if clip.labels.get("recording") == recording.id][:trials]
        still = np.ones(len(recording.channels), bool)
        for clip in own:
            try:
                values = sensors.raw(clip)
            except HeschlError:
                continue  # whoever reads all of them says so
            values = values.reshape(len(values), values.shape[1], -1)
            still &= (np.ptp(values, axis=0) == 0).all(1)
        if own and still.any():
            names = [name for name, flat in zip(recording.channels, still) if flat]
            told.append(
                f"recording {recording.id}: {', '.join(names[:5])}{' and others' * (len(names) > 5)} "
                f"{'is' if len(names) == 1 else 'are'} flat: mark as bad, or leave out"
            )
    return told
