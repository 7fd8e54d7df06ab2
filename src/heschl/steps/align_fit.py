"""The work of `heschl align` on one subject: the envelope's response, and what each layer says beyond both controls."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from heschl.brain.ceiling import Ceiling, noise_ceiling
from heschl.brain.encode import fit_encoding
from heschl.brain.gram import lag_steps
from heschl.brain.layers import LayerGain, layer_gain, partition, standard
from heschl.brain.nulls import fewest_rows, shift_null
from heschl.brain.readout import Readout
from heschl.corpora import _brain_runs
from heschl.corpora.brain import facts_of
from heschl.steps.heard import apart, folding, rows
from heschl.types import Corpus, HeschlError, Recording

Array = np.ndarray[Any, np.dtype[Any]]
BASELINE = 0.1  # seconds before the sound that a response is shown from
MARGIN = 0.06  # seconds more that are fitted on both sides and not shown: the outermost lags take up what lies beyond


@dataclass(frozen=True)
class Settings:
    """How recordings are aligned.

    Attributes
    ----------
    rate: rows a second. lags: seconds by which the brain follows. band: Hz kept of the recording. power: Hz whose
        amplitude is taken first (high gamma: 70 to 150), or None. mels: bands of the acoustic controls.
    components: of each layer. seeds: untrained networks, 10 or more, 19 for a claim at .05. shifts: of each null. folds: held out in turn.
    alphas: penalties, or None. level: of the tests.
    """

    rate: int = 64
    lags: tuple[float, float] = (0.0, 0.4)
    band: tuple[float | None, float | None] = (1.0, 15.0)
    power: tuple[float, float] | None = None
    mels: int = 8
    components: int = 8
    seeds: int = 19
    shifts: int = 99
    folds: int = 5
    alphas: tuple[float, ...] | None = None
    level: float = 0.05

    def __post_init__(self) -> None:
        for name in ("rate", "mels", "components"):
            if getattr(self, name) < 1:
                raise HeschlError(f"{name} is {getattr(self, name)}: give a whole number above zero")

    def plain(self) -> dict[str, Any]:
        return asdict(self)


class Listener(NamedTuple):
    """One subject's recordings, ready to be fitted.

    channels: what columns are called: channels, or areas once `in_areas` was applied.
    stretches: in units of each channel's own deviation in its recording. scale: (channel,) that deviation, root mean
        square over recordings, V or T. minutes: that are used.
    """

    subject: str
    kind: str
    channels: tuple[str, ...]
    positions: Array | None
    space: str | None
    info: Any
    stretches: list[_brain_runs.Stretch]
    reach: int
    minutes: float
    notes: tuple[str, ...]
    syncs: list[dict[str, Any]]
    scale: Array


def listener(recordings: Sequence[Recording], corpus: Corpus, settings: Settings) -> Listener:
    """Reads all recordings of a subject, on the channels that all of them have.

    Raises
    ------
    HeschlError: they have no channel in common, or what `load_runs` refuses.
    """
    first = recordings[0]
    channels = tuple(name for name in first.channels if all(name in one.channels for one in recordings))
    if not channels or len({one.kind for one in recordings}) > 1:
        raise HeschlError(
            f"the recordings of subject {first.subject} have no channel of one kind in common: align them apart"
        )
    stretches: list[_brain_runs.Stretch] = []
    notes: list[str] = []
    syncs: list[dict[str, Any]] = []
    scales: list[Array] = []
    reach = 0
    if len(channels) < len(first.channels):
        notes.append(
            f"subject {first.subject}: {len(first.channels) - len(channels)} channels are not in all recordings: left out"
        )
    for one in recordings:
        loaded = _brain_runs.load_runs(one, corpus, settings.rate, settings.band, power=settings.power)
        keep = [one.channels.index(name) for name in channels]
        scale = np.concatenate([s.x for s in loaded.stretches]).std(0)[keep]
        scales.append(scale)
        stretches += [s._replace(x=(s.x[:, keep] / scale).astype(np.float32)) for s in loaded.stretches]
        notes += loaded.notes
        reach = max(reach, loaded.reach)
        for heard, sync in zip(one.heard, loaded.sync):
            row: dict[str, Any] = {
                "subject": one.subject,
                "recording": one.id,
                "audio": heard.clip,
                "verified": sync is not None,
            }
            if sync is not None:
                row |= {
                    "offset_s": sync.offset,
                    "drift_ppm": 1e6 * sync.drift,
                    "residual_s": sync.residual,
                    "r": sync.r,
                }
            syncs.append(row)
    picked = [first.channels.index(name) for name in channels]
    places = None if first.positions is None else first.positions[picked]
    info = None
    if first.kind in ("eeg", "meg") and places is not None:
        import mne

        whole = facts_of(first)
        info = mne.pick_info(whole, [whole["ch_names"].index(name) for name in channels])
    seconds = sum(len(s.x) for s in stretches) / settings.rate
    return Listener(
        first.subject,
        first.kind,
        channels,
        places,
        first.space,
        info,
        stretches,
        reach,
        seconds / 60,
        tuple(notes),
        syncs,
        np.sqrt(np.square(scales).mean(0)),
    )


def in_areas(one: Listener, read: Readout, groups: Sequence[Sequence[str]]) -> Listener:
    """The same subject with areas in place of sensors; areas that cannot be told apart are one. Sensors are read in the
    relation that they have in volts or tesla: what weights make of them in units of their own is no area."""
    weights = np.stack([read.of(group) for group in groups]) * one.scale
    stretches = [s._replace(x=(s.x @ weights.T).astype(np.float32)) for s in one.stretches]
    scale = np.concatenate([s.x for s in stretches]).std(0)
    stretches = [s._replace(x=s.x / scale) for s in stretches]
    return one._replace(
        channels=tuple(" and ".join(group) for group in groups),
        stretches=stretches,
        positions=None,
        scale=scale,
    )


class Response(NamedTuple):
    """The envelope's response. r, p (corrected over channels), chance (95th percentile of the null, channel by channel):
    (channel,). weights: (lag, channel). lags: seconds. acoustics: (channel,) r of all acoustic features. ceiling: of any
    model's r, where a sound was heard more than once (`heard_again`)."""

    r: Array
    p: Array
    chance: Array
    weights: Array
    lags: Array
    acoustics: Array
    ceiling: Ceiling | None = None


def heard_again(one: Listener, rate: float) -> Ceiling | None:
    """The noise ceiling of a subject, from what it heard several times; None where nothing was.

    A sound counts where all its hearings are free of BAD stretches over a second in common or more; of sounds that were
    heard more often than others, the first hearings count.
    """
    by_clip: dict[str, list[_brain_runs.Stretch]] = {}
    for stretch in one.stretches:
        by_clip.setdefault(stretch.clip, []).append(stretch)
    parts = []
    for own in by_clip.values():
        first, stop = max(s.first for s in own), min(s.first + len(s.x) for s in own)
        if len(own) > 1 and stop - first >= rate:
            parts.append(np.stack([s.x[first - s.first : stop - s.first] for s in own]).astype(np.float64))
    if not parts:
        return None
    least = min(len(part) for part in parts)
    return noise_ceiling(np.concatenate([part[:least] for part in parts], axis=1))


def response_lags(settings: Settings) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds of the envelope's response that are shown, and those that are fitted."""
    shown = (min(settings.lags[0], 0.0) - BASELINE, settings.lags[1])
    return shown, (shown[0] - MARGIN, shown[1] + MARGIN)


def check_length(one: Listener, settings: Settings) -> None:
    """Refuses a subject whose recordings are too short to be folded, and shifted beyond the lags.

    Raises
    ------
    HeschlError: says how long they would have to be.
    """
    cut = folding(one.stretches, settings.folds).cut
    parts = apart([stretch.x for stretch in one.stretches], settings.folds, one.reach, cut)
    shortest = min(len(part) for part in parts)
    needed = fewest_rows(lag_steps(response_lags(settings)[1], settings.rate), settings.rate)
    if shortest < needed:
        raise HeschlError(
            f"the shortest of its {len(parts)} {'parts' if cut else 'stretches'} of sound holds {shortest / settings.rate:.1f} s "
            f"that no filter blurs into another, and {needed / settings.rate:.1f} s are needed: give longer ones, or fewer lags"
        )


def response(one: Listener, sound: Mapping[str, Array], settings: Settings) -> Response:
    """Recording against the sound's envelope alone, and against all acoustic features."""
    x, y = rows(sound, one.stretches)
    folds, cut = folding(one.stretches, settings.folds)
    x, y = (apart(runs, settings.folds, one.reach, cut) for runs in (x, y))
    x = standard(x)
    envelope = [run[:, :1] for run in x]
    shown, lags = response_lags(settings)
    alphas = settings.alphas
    fitted = fit_encoding(envelope, y, settings.rate, lags, alphas, folds=folds)
    null = shift_null(envelope, y, settings.rate, lags, alphas, folds, settings.shifts)
    whole = fit_encoding(x, y, settings.rate, settings.lags, alphas, folds=folds)
    kept = (fitted.lags >= shown[0] - 1e-6) & (fitted.lags <= shown[1] + 1e-6)
    return Response(
        fitted.r,
        null.p_max,
        np.quantile(null.null, 0.95, axis=0),
        fitted.weights[0][kept],
        fitted.lags[kept],
        whole.r,
        heard_again(one, settings.rate),
    )


def layer(
    one: Listener,
    sound: Mapping[str, Array],
    trained: Mapping[str, Array],
    untrained: Sequence[Mapping[str, Array]],
    settings: Settings,
) -> tuple[LayerGain, dict[str, Array]]:
    """A layer as a difference over acoustics and over untrained networks; and whose variance it is (`shares`)."""
    return gains(one, sound, trained, untrained, settings), shares(one, sound, trained, settings)


def shares(
    one: Listener, sound: Mapping[str, Array], trained: Mapping[str, Array], settings: Settings
) -> dict[str, Array]:
    """Variance of the recording (channel,) on unseen blocks: of acoustics, of the layer, of both (R2); and of these what is
    due to acoustics alone, to the layer alone, and what either explains ("shared"; commonality analysis, may be below 0)."""
    (x, y), (z, _) = rows(sound, one.stretches), rows(trained, one.stretches)
    lengths = [min(len(a), len(b)) for a, b in zip(x, z)]
    folds, cut = folding(one.stretches, settings.folds)
    parts = [
        apart([run[:n] for run, n in zip(runs, lengths)], settings.folds, one.reach, cut)
        for runs in (x, z, y)
    ]
    found = partition(
        {"acoustics": parts[0], "layer": parts[1]},
        parts[2],
        settings.rate,
        settings.lags,
        settings.alphas,
        folds,
    )
    return {
        "r2_acoustics": found["r2"]["acoustics"],
        "r2_layer": found["r2"]["layer"],
        "r2_both": found["r2"]["acoustics + layer"],
        "acoustics_alone": found["unique"]["acoustics"],
        "layer_alone": found["unique"]["layer"],
        "shared": found["common"]["acoustics + layer"],
    }


def gains(
    one: Listener,
    sound: Mapping[str, Array],
    trained: Mapping[str, Array],
    untrained: Sequence[Mapping[str, Array]],
    settings: Settings,
) -> LayerGain:
    """A layer as a difference over acoustics and over untrained networks."""

    sets = [rows(features, one.stretches) for features in (sound, trained, *untrained)]
    lengths = [min(len(s[0][k]) for s in sets) for k in range(len(one.stretches))]
    folds, cut = folding(one.stretches, settings.folds)

    def ready(runs: Sequence[Array]) -> list[Array]:
        return apart([run[:n] for run, n in zip(runs, lengths)], settings.folds, one.reach, cut)

    features = [ready(x) for x, _ in sets]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="no channel can be claimed")  # told once, for all
        return layer_gain(
            features[1],
            features[2:],
            features[0],
            ready(sets[0][1]),
            settings.rate,
            settings.lags,
            settings.alphas,
            folds,
            settings.shifts,
            level=settings.level,
        )
