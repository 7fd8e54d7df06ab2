"""What an encoding model takes from a recording: its channels while sound was heard, on the sound's own clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from heschl.corpora._brain_files import facts, open_raw, quiet
from heschl.corpora._brain_sync import REACH, WINDOW, Sync, measure
from heschl.files import read_audio
from heschl.types import Corpus, Heard, HeschlError, Recording


class Stretch(NamedTuple):
    """A stretch without BAD annotations. x: (time, channel); row k stands ``(first + k) / rate`` seconds after the
    beginning of the clip that was heard."""

    x: np.ndarray
    clip: str
    first: int


@dataclass(frozen=True, eq=False)
class Loaded:
    """A recording's stretches at one rate.

    Attributes
    ----------
    stretches: in their order. rate: Hz. reach: rows on which a filter makes one row depend.
    sync: of each heard clip, or None where it could not be verified. left_out: seconds that were heard and are not used.
    notes: sentences that a person must know. broken: those of them on where channels are not finite.
    """

    stretches: tuple[Stretch, ...]
    rate: float
    reach: int
    sync: tuple[Sync | None, ...] = ()
    left_out: float = 0.0
    notes: tuple[str, ...] = field(default=())
    broken: tuple[str, ...] = field(default=())

    @property
    def seconds(self) -> float:
        return sum(len(one.x) for one in self.stretches) / self.rate


def load_runs(
    recording: Recording,
    corpus: Corpus,
    rate: float = 64.0,
    band: tuple[float | None, float | None] = (1.0, 15.0),
    reference: str | None = "average",
    power: tuple[float, float] | None = None,
    least: float = 10.0,
) -> Loaded:
    """Reads what was recorded while sound was heard.

    Every stretch between BAD annotations, and between samples at which a channel is not finite (NaN), is filtered by itself, so
    that nothing passes from one to another.

    Parameters
    ----------
    rate: of the rows that come out, Hz. band: (low, high) Hz of a linear-phase filter; either may be None, and the
        upper edge is at most .4 of the rate. reference: of EEG, "average" or None as it was recorded.
    power: (low, high) Hz: the amplitude in this band (Hilbert) is taken first, as for the high gamma of ECoG.
    least: seconds; shorter stretches are left out, and counted.

    Raises
    ------
    HeschlError: a channel is flat, or not finite for more than half of a sound, something was heard outside the recording,
        or nothing is left.
    """
    raw = open_raw(recording.signal)
    _check_band(recording, rate, band, power)
    picks = [raw.ch_names.index(name) for name in recording.channels]
    bad = bad_stretches(raw)
    notes: list[str] = []
    broken: list[str] = []
    found: list[Stretch] = []
    syncs: list[Sync | None] = []
    heard_for, taps = 0.0, _taps(recording.rate, band)
    filters = [
        one for one in (taps, None if power is None else _taps(recording.rate, power)) if one is not None
    ]
    reach = int(np.ceil(sum(len(one) - 1 for one in filters) / 2 / recording.rate * rate))
    for heard in recording.heard:
        sync, told = _sync(raw, recording, corpus, heard)
        syncs.append(sync)
        notes.append(told)
        heard_for += heard.stop - heard.start
        holes, told = _holes(raw, recording, picks, heard)
        if told:
            broken.append(told)
        for start, stop in _between(heard.start, heard.stop, sorted([*bad, *holes])):
            if stop - start < max(least, 0 if taps is None else 2 * len(taps) / recording.rate):
                continue
            values, begins = _read(raw, recording, picks, start, stop)
            if recording.kind == "eeg" and reference == "average":
                values = values - values.mean(0)
            if power is not None:
                values = _amplitude(values, recording.rate, power)
            if taps is not None:
                with quiet():
                    import mne

                    values = mne.filter.filter_data(
                        values, recording.rate, *band, pad="reflect_limited", fir_design="firwin"
                    )
            found.append(_on_clock(values, begins, recording.rate, rate, heard, sync))
    found = [one for one in found if len(one.x) >= least * rate * 0.9]
    if not found:
        raise HeschlError(
            f"recording {recording.id} has no stretch of {least:g} s or more in which sound was heard and nothing is marked BAD"
            + "".join(f"; {one}" for one in broken[:1])
        )
    notes += broken
    held = sum(len(one.x) for one in found) / rate
    if heard_for - held > 1:
        notes.append(
            f"{heard_for - held:.0f} of {heard_for:.0f} s that were heard are left out (BAD, not finite, or in stretches under "
            f"{least:g} s)"
        )
    return Loaded(tuple(found), rate, reach, tuple(syncs), heard_for - held, tuple(notes), tuple(broken))


def _check_band(
    recording: Recording,
    rate: float,
    band: tuple[float | None, float | None],
    power: tuple[float, float] | None,
) -> None:
    if rate > recording.rate:
        raise HeschlError(
            f"recording {recording.id} has {recording.rate:g} Hz and {rate:g} Hz are asked for: choose a lower --rate"
        )
    low, high = band
    top = min(0.4 * rate, 0.45 * recording.rate)
    if high is None or not (low or 0) < high <= top:
        raise HeschlError(
            f"the band {low} to {high} Hz does not fit {rate:g} rows a second of recording {recording.id}: its upper edge must "
            f"lie above the lower one, at {top:g} Hz at most"
        )
    if power is not None and not 0 < power[0] < power[1] < recording.rate / 2:
        raise HeschlError(
            f"the amplitude of {power[0]:g} to {power[1]:g} Hz cannot be taken from {recording.rate:g} Hz of recording "
            f"{recording.id}: choose a band below half the rate"
        )


def _taps(rate: float, band: tuple[float | None, float | None]) -> np.ndarray | None:
    if band == (None, None):
        return None
    with quiet():
        import mne

        return np.asarray(mne.filter.create_filter(None, rate, *band, fir_design="firwin"))


def bad_stretches(raw: Any) -> list[tuple[float, float]]:
    """Stretches that are marked BAD, or where data were cut, seconds from the recording's first sample. MNE counts onsets
    from the moment at which acquisition began, `first_time` before that sample, whether the date is known or not."""
    shift = raw.first_time
    found = []
    for onset, duration, what in zip(
        raw.annotations.onset, raw.annotations.duration, raw.annotations.description
    ):
        if str(what).lower().startswith(("bad", "edge", "boundary")):
            found.append((float(onset) - shift, float(onset) - shift + max(float(duration), 1e-3)))
    return sorted(found)


def _between(start: float, stop: float, bad: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is left of a stretch."""
    kept, at = [], start
    for a, b in bad:
        if b <= at or a >= stop:
            continue
        if a > at:
            kept.append((at, a))
        at = max(at, b)
    if at < stop:
        kept.append((at, stop))
    return kept


def _holes(
    raw: Any, recording: Recording, picks: list[int], heard: Heard
) -> tuple[list[tuple[float, float]], str]:
    """Stretches of what was heard at which a channel is not finite, each of a sample or more, and a sentence on them.

    Raises
    ------
    HeschlError: a channel is so for more than half of the time at which another is not: it is the channel that is bad.
    """
    values, begins = _samples(raw, recording, picks, heard.start, heard.stop)
    finite = np.isfinite(values)
    if finite.all():
        return [], ""
    some = finite.any(0)
    bad = 2 * (~finite[:, some]).sum(1) > some.sum()
    if bad.any():
        raise HeschlError(
            f"recording {recording.id}: channel {recording.channels[int(bad.argmax())]} is not finite (NaN) for more than half "
            f"of {heard.clip}: mark the channel as bad"
        )
    edges = np.flatnonzero(np.diff(np.pad(~finite.all(0), 1).astype(np.int8))).reshape(-1, 2)
    names = [recording.channels[k] for k in np.flatnonzero(~finite.all(1))]
    holes = [((a - 0.5) / recording.rate + begins, (b - 0.5) / recording.rate + begins) for a, b in edges]
    shown = f"channel {names[0]}" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more channels"
    return holes, (
        f"{recording.id}, {heard.clip}: {shown} {'is' if len(names) == 1 else 'are'} not finite (NaN) for "
        f"{sum(b - a for a, b in holes):.3f} s, first at {holes[0][0]:.2f} s: left out for all channels"
    )


def _samples(
    raw: Any, recording: Recording, picks: list[int], start: float, stop: float
) -> tuple[np.ndarray, float]:
    """(channel, time) and the time of its first sample."""
    a, b = int(np.ceil(start * recording.rate - 1e-6)), int(np.floor(stop * recording.rate + 1e-6))
    if a < 0 or b > raw.n_times + 1:
        raise HeschlError(
            f"recording {recording.id}: something was heard from {start:.2f} to {stop:.2f} s, and it lasts "
            f"{raw.n_times / recording.rate:.2f} s: mend the events"
        )
    with quiet():
        values = np.asarray(raw.get_data(picks=picks, start=a, stop=min(b, raw.n_times)), np.float64)
    return values, a / recording.rate


def _read(
    raw: Any, recording: Recording, picks: list[int], start: float, stop: float
) -> tuple[np.ndarray, float]:
    """The same of a stretch that is finite."""
    values, begins = _samples(raw, recording, picks, start, stop)
    flat = np.ptp(values, axis=1) == 0
    if flat.any():
        raise HeschlError(
            f"recording {recording.id}: channel {recording.channels[int(flat.argmax())]} is flat between {start:.2f} and "
            f"{stop:.2f} s: mark it as bad"
        )
    return values, begins


def _amplitude(values: np.ndarray, rate: float, power: tuple[float, float]) -> np.ndarray:
    from scipy.signal import hilbert

    with quiet():
        import mne

        limited = mne.filter.filter_data(values, rate, *power, pad="reflect_limited", fir_design="firwin")
    return np.asarray(np.abs(hilbert(limited, axis=-1)))


def _on_clock(
    values: np.ndarray, begins: float, recorded: float, rate: float, heard: Heard, sync: Sync | None
) -> Stretch:
    """Rows at whole multiples of 1 / rate of the clip's own time, by cubic splines through a band-limited signal."""
    from scipy.interpolate import CubicSpline

    offset, drift = (0.0, 0.0) if sync is None else (sync.offset, sync.drift)
    own = (begins + np.arange(values.shape[1]) / recorded - heard.start - offset) / (1 + drift)
    first = int(np.ceil(max(own[0], 0.0) * rate - 1e-6))
    last = int(np.floor(own[-1] * rate + 1e-6))
    at = np.arange(first, max(last + 1, first)) / rate
    x = CubicSpline(own, values, axis=1)(at).T if len(at) else np.zeros((0, len(values)))
    return Stretch(np.ascontiguousarray(x), str(heard.clip), first)


def _sync(raw: Any, recording: Recording, corpus: Corpus, heard: Heard) -> tuple[Sync | None, str]:
    """Where a channel recorded the sound: offset and drift, and a sentence."""
    name = facts(raw, recording.signal, recording.kind).audio
    head = f"{recording.id}, {heard.clip}"
    if name is None:
        return None, f"{head}: no audio channel was recorded, so onset and clock are not verified"
    clip = corpus.by_id[str(heard.clip)]
    wave, sample_rate = read_audio(clip.signal, clip.start, clip.stop)
    wave = wave[: round((heard.stop - heard.start) * sample_rate)]
    lead = min(REACH, heard.start)
    a = round((heard.start - lead) * recording.rate)
    b = min(raw.n_times, round((heard.stop + REACH) * recording.rate))
    with quiet():
        recorded = raw.get_data(picks=[raw.ch_names.index(name)], start=a, stop=b)[0]
    recorded = np.where(np.isfinite(recorded), recorded, 0)  # silence, of which envelopes say nothing
    sync = measure(recorded, recording.rate, wave, sample_rate, heard.start - a / recording.rate)
    if sync is None:
        short = len(wave) < 1.5 * WINDOW * sample_rate
        why = f"lasts less than {1.5 * WINDOW:g} s, too short to be found in" if short else "is not found in"
        return None, f"{head}: this sound {why} the channel {name}, so onset and clock are not verified"
    return sync, f"{head}: {sync.sentence()}; corrected for both"
