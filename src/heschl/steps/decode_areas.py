"""Which areas of the cortex drive retrieval? What comes from there is exchanged with another trial's, and decoded again.

A minimum-norm estimate over the template's whole cortex (gain G (sensor, source) on its head) gives an area's sources A the
part S_A (S_A + S_B + I / snr^2)^-1 x of a trial x, where S_A = G_A G_A' and S_B, of all other sources, the area's rivals, are
scaled to mean powers of `POWER` and 1, and I is noise. That part is exchanged with another trial's of the recording, so that it is as strong and tells
another word. The network and its word vectors stay as they are; the reciprocal rank that is lost is what the area was worth
to them. Without rivals an area would explain most of what any other sends (tests/steps/test_decode_areas.py).
Beside it stand as many sources elsewhere, drawn at random, which lose as much where nothing is special about the
area, and the cross-talk of dSPM over the whole cortex: areas that read each other above one half cannot be told apart and
are exchanged as one.

It is the template's head, not the subject's; the estimate gives an area some of what its neighbours send; and a fall
says what this network used, not what a brain did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heschl.corpora.sensors import Sensors
from heschl.files import write_csv
from heschl.steps.decode_linear import Decoded, scores_with
from heschl.steps.networks import read_wave
from heschl.tasks.retrieval import Scores, hits, ranks, reciprocal
from heschl.types import Clip, HeschlError, Recording

TRIALS = 192  # that are decoded again for each area, evenly over recordings
SNR = 3.0  # amplitude signal-to-noise ratio that the inverse assumes, as MNE does
POWER = 1.0  # that an area is given, of all its rivals' together, however large it is
EXCHANGES = 2  # other trials for each
ELSEWHERE = 8  # random patches
AWAY = 0.02  # m that they keep from the areas
DRAWS = 1000  # of the bootstrap
FEWEST = 16  # electrodes with a place, below which an inverse says little


class Head(NamedTuple):
    """One montage on the template: rows of its electrodes in a trial, gain (electrode, source) against their mean."""

    rows: np.ndarray
    gain: np.ndarray


def areas_that_drive(held: Decoded, folder: Path, of: str, seed: int = 0) -> dict[str, Any]:
    """Writes areas.csv, cross_talk.csv and areas.svg/.png.

    Returns
    -------
    {"rows": [{"areas", "trials", "lost", "low", "high", "top_1_lost", "signal"}], "elsewhere": likewise of random patches,
    "above_elsewhere": areas that lose more than any of them, "cross_talk": {"names", "matrix"}, "notes", "pictures"};
    without rows, and with a note that says why, where the recordings do not allow it.
    """
    empty: dict[str, Any] = {
        "rows": [],
        "elsewhere": [],
        "above_elsewhere": [],
        "cross_talk": None,
        "pictures": [],
    }
    sensors = held.network.sensors
    recordings = [
        one for one in held.corpus.recordings if any(c.labels["recording"] == one.id for c in held.trials)
    ]
    why = _impossible(held, sensors, recordings)
    if why is not None or sensors is None:
        return empty | {"notes": [f"which areas drive retrieval is left out: {why}"]}
    from heschl.brain.areas import patch, read_areas
    from heschl.brain.inverse import cross_talk, inverse_operator, joined
    from heschl.figures.decode_areas import areas_figure
    from heschl.figures.style import save_both

    patches = [patch(area) for area in read_areas().areas.values()]
    names = tuple(one.area.name for one in patches)
    montages: dict[bytes, tuple[Head, np.ndarray]] = {}
    of_recording: dict[str, bytes] = {}
    for recording in recordings:
        places = sensors.positions[sensors.recordings.index(recording.id)]
        of_recording[recording.id] = key = places.tobytes()
        if key not in montages:
            rows, gain, info = gain_of(places)
            montages[key] = Head(rows, gain), cross_talk(patches, info, inverse_operator(info)).matrix
    heads = {name: montages[key][0] for name, key in of_recording.items()}
    talk = np.mean([montages[key][1] for key in of_recording.values()], axis=0)
    groups = joined(names, talk)
    sources = {name: one.sources for name, one in zip(names, patches)}
    sets = {" + ".join(g): np.unique(np.concatenate([sources[name] for name in g])) for g in groups}
    size = int(np.median([len(one) for one in sets.values()]))
    others = _elsewhere(size, np.unique(np.concatenate(list(sources.values()))), seed)

    some = _spread(held.trials, max(2, TRIALS // len(recordings)))
    random = np.random.default_rng((seed, 2))
    draws = random.multinomial(len(some), np.full(len(some), 1 / len(some)), DRAWS) / len(some)

    def without(name: str, chosen: np.ndarray) -> dict[str, Any]:
        lost, top, signal = exchanged(held, some, heads, chosen, seed)
        low, high = np.percentile(draws @ lost, [2.5, 97.5])
        return {
            "areas": name,
            "trials": len(some),
            "lost": float(lost.mean()),
            "low": float(low),
            "high": float(high),
            "top_1_lost": float(top.mean()),
            "signal": signal,
        }

    told = [without(name, chosen) for name, chosen in sets.items()]
    told.sort(key=lambda row: -row["lost"])
    control = [without(f"elsewhere {k + 1}", chosen) for k, chosen in enumerate(others)]
    write_csv(folder / "areas.csv", [*told, *control], list(told[0]))
    table = [{"read in": name, **dict(zip(names, map(float, row)))} for name, row in zip(names, talk)]
    write_csv(folder / "cross_talk.csv", table, ["read in", *names])
    most = max(row["lost"] for row in control)
    title = f"Which areas drive retrieval, {of}: what is lost where theirs is another trial's"
    save_both(partial(areas_figure, told, control, names, talk, title), folder / "areas")
    alt = "Reciprocal rank lost: " + "; ".join(f"{row['areas']} {row['lost']:+.3f}" for row in told)
    return {
        "rows": told,
        "elsewhere": control,
        "above_elsewhere": [row["areas"] for row in told if row["lost"] > most and row["low"] > 0],
        "cross_talk": {"names": list(names), "matrix": talk.tolist()},
        "notes": [],
        "pictures": [{"file": "areas.svg", "title": title, "alt": f"{alt}; at most {most:+.3f} elsewhere."}],
    }


def _impossible(held: Decoded, sensors: Sensors | None, recordings: Sequence[Recording]) -> str | None:
    from importlib.util import find_spec

    if find_spec("mne") is None or find_spec("nilearn") is None:
        return "it takes mne and nilearn: pip install 'heschl[brain]'"
    if sensors is None or sensors.load(held.trials[0]).ndim != 2:
        return "the trials are stored maps of power, which no longer know the fields' signs"
    if any(one.kind != "eeg" or one.space not in ("head", None) for one in recordings):
        return "it takes EEG with electrodes in the head's frame"
    counts = [
        int(np.isfinite(sensors.positions[sensors.recordings.index(one.id)]).all(1).sum())
        for one in recordings
    ]
    if min(counts) < FEWEST:
        return f"a recording has {min(counts)} electrodes with a place, and an inverse takes {FEWEST}"
    trials = [sum(clip.labels["recording"] == one.id for clip in held.trials) for one in recordings]
    if min(trials) < 2:
        return "a recording has one trial in this part, and none to exchange it with"
    return None


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
            head, (centre, spread) = heads[clip.labels["recording"]], _scale(sensors, clip)
            volts = _volts(wave, head, (centre, spread)) + found[other[clip.id]] - found[clip.id]
            left = wave.copy()
            left[head.rows] = (volts - centre[head.rows, None]) / spread[head.rows, None]
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


def _elsewhere(size: int, areas: np.ndarray, seed: int) -> list[np.ndarray]:
    """Patches of ``size`` neighbouring sources of one hemisphere, drawn at random, none of them twice, all of them `AWAY` from
    the areas, whose neighbours cannot be told from them."""
    from scipy.spatial import cKDTree

    from heschl.brain.anatomy import template

    anatomy = template()
    left = np.arange(len(anatomy.sources)) < len(anatomy.vertices[0])
    free = cKDTree(anatomy.sources[areas]).query(anatomy.sources)[0] > AWAY
    random, found = np.random.default_rng((seed, 1)), []
    for centre in random.permutation(np.flatnonzero(free)):
        if not free[centre]:
            continue
        far = np.linalg.norm(anatomy.sources - anatomy.sources[centre], axis=1)
        far[~free | (left != left[centre])] = np.inf
        near = np.argsort(far, kind="stable")[:size]
        if np.isfinite(far[near]).all():
            found.append(near)
            free[near] = False
        if len(found) == ELSEWHERE:
            return found
    raise HeschlError("the table's areas leave no room for patches elsewhere: make them smaller")


def _spread(trials: Sequence[Clip], most: int) -> list[int]:
    """Numbers of at most so many trials of each recording, evenly over it."""
    of: dict[str, list[int]] = {}
    for k, clip in enumerate(trials):
        of.setdefault(clip.labels["recording"], []).append(k)
    return [
        own[k]
        for own in of.values()
        for k in np.unique(np.linspace(0, len(own) - 1, min(most, len(own))).astype(int))
    ]


def _found(scores: Scores, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top-1 and reciprocal rank of each trial."""
    found = ranks(scores, truth)
    return hits(found, 1), reciprocal(found)
