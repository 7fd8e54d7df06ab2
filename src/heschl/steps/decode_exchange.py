"""One area's part of a trial is exchanged with another trial's, and the trial is decoded again.

A minimum-norm estimate over the template's whole cortex (gain G (sensor, source) on its head) gives an area's sources A the
part S_A (S_A + S_B + I / snr^2)^-1 x of a trial x, where S_A = G_A G_A' and S_B, of all other sources, the area's rivals, are
scaled to mean powers of `POWER` and 1, and I is noise. That part is exchanged with another trial's of the recording, so that it is as strong and tells
another word. The network and its word vectors stay as they are; the reciprocal rank that is lost is what the area was worth
to them. Without rivals an area would explain most of what any other sends (tests/steps/test_decode_areas.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from heschl.corpora.sensors import Sensors
from heschl.steps.decode_linear import Decoded, scores_with
from heschl.steps.networks import read_wave
from heschl.tasks.retrieval import Scores, hits, ranks, reciprocal
from heschl.types import Clip

SNR = 3.0  # amplitude signal-to-noise ratio that the inverse assumes, as MNE does
POWER = 1.0  # that an area is given, of all its rivals' together, however large it is
EXCHANGES = 2  # other trials for each


class Head(NamedTuple):
    """One montage on the template: rows of its electrodes in a trial, gain (electrode, source) against their mean."""

    rows: np.ndarray
    gain: np.ndarray


def gain_of(places: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
    """Rows of the electrodes that have a place (sensor, 3), NaN for none; their lead field on the template's head
    (electrode, source), against their mean; their mne.Info."""
    import mne

    from heschl.brain.forward import leadfield, signal_info
    from heschl.brain.sensors import sensors_info

    rows = np.flatnonzero(np.isfinite(places).all(1))
    at = {f"e{k}": np.asarray(places[k], float) for k in rows}
    info = signal_info(sensors_info(mne.channels.make_dig_montage(at, coord_frame="head")), 1000.0, "average")
    return rows, leadfield(info, reference="average"), info


def share(gain: np.ndarray, chosen: np.ndarray, power: float = POWER) -> np.ndarray:
    """(sensor, sensor) that takes a trial to the part that the chosen sources have in an estimate over all of gain (sensor,
    source). chosen: their numbers. power: that they are given, of all others' together."""
    mine = np.isin(np.arange(gain.shape[1]), chosen)
    own, rest = (gain[:, one] @ gain[:, one].T for one in (mine, ~mine))
    own, rest = power * len(own) * own / np.trace(own), len(rest) * rest / np.trace(rest)
    return np.asarray(np.linalg.solve(own + rest + np.eye(len(own)) / SNR**2, own).T)


def exchanged(
    held: Decoded,
    some: Sequence[int],
    heads: Mapping[str, Head],
    chosen: np.ndarray,
    seed: int = 0,
    power: float = POWER,
) -> tuple[np.ndarray, np.ndarray, float]:
    """What is lost where the chosen sources' part of a trial is that of another of its recording; means of `EXCHANGES` others.

    Parameters
    ----------
    some: numbers of the trials. heads: by recording. chosen: numbers of sources; power: see `share`.

    Returns
    -------
    reciprocal rank and top-1 lost, (trial,) each, and the part's share of the trials' power
    """
    sensors, clips = held.network.sensors, [held.trials[k] for k in some]
    assert sensors is not None
    different = {id(head): head for head in heads.values()}  # listeners of one cap have one head
    of_head = {key: share(head.gain, chosen, power) for key, head in different.items()}
    parts = {name: of_head[id(head)] for name, head in heads.items()}
    found, whole = {}, 0.0
    for clip in clips:
        name = clip.labels["recording"]
        volts = _volts(
            read_wave(clip, held.network.sample_rate, None, sensors), heads[name], _scale(sensors, clip)
        )
        found[clip.id] = parts[name] @ volts
        whole += float(np.square(volts).sum())
    before = [values[list(some)] for values in _found(held.scores, held.truth)]
    lost, top = np.zeros(len(clips)), np.zeros(len(clips))
    for draw in range(EXCHANGES):
        other = _others(clips, np.random.default_rng((draw, 1 + seed)))

        def change(wave: np.ndarray, clip: Clip, other: dict[str, str] = other) -> np.ndarray:
            rows, (_, spread) = heads[clip.labels["recording"]].rows, _scale(sensors, clip)
            left = wave.copy()  # what the electrodes share, their reference's part, stays as it was recorded
            left[rows] += (found[other[clip.id]] - found[clip.id]) / spread[rows, None]
            return left

        after = _found(scores_with(held, clips, change), held.truth[list(some)])
        top += (before[0] - after[0]) / EXCHANGES
        lost += (before[1] - after[1]) / EXCHANGES
    own = sum(float(np.square(one).sum()) for one in found.values())
    return lost, top, own / whole if whole else 0.0


def _others(clips: Sequence[Clip], random: np.random.Generator) -> dict[str, str]:
    """Id of each trial -> that of another of its recording, each once."""
    of: dict[str, list[str]] = {}
    for clip in clips:
        of.setdefault(clip.labels["recording"], []).append(clip.id)
    other: dict[str, str] = {}
    for own in of.values():
        order = random.permutation(len(own))
        other |= {own[a]: own[b] for a, b in zip(order, np.roll(order, 1), strict=True)}
    return other


def _volts(wave: np.ndarray, head: Head, scale: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(electrode, time) of a trial (sensor, time), less their mean, before its sensors were scaled."""
    centre, spread = scale
    volts = wave[head.rows] * spread[head.rows, None] + centre[head.rows, None]
    return np.asarray(volts - volts.mean(0))


def _scale(sensors: Sensors, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Centre and spread that the trial's sensors were brought to, (sensor,) each; 0 and 1 where they were not."""
    centre, spread = np.zeros(sensors.count), np.ones(sensors.count)
    if sensors.scaling is not None:
        a, b = sensors.scaling[clip.labels["recording"]]
        centre[: len(a)], spread[: len(b)] = a, b
    return centre, spread


def _found(scores: Scores, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top-1 and reciprocal rank of each trial."""
    found = ranks(scores, truth)
    return hits(found, 1), reciprocal(found)
