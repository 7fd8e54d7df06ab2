"""Which areas of the cortex drive retrieval? What comes from there is exchanged with another trial's, and decoded again.

How it is exchanged: `heschl.steps.decode_exchange`. What an area holds of the signal goes with it, whatever it tells, and an estimate
gives a large area much of what others send. So as much is asked of other places: patches elsewhere, drawn at random, are exchanged
likewise, and a line through what they lose by the share of the signal that they hold says what places with the areas' shares
would lose where nothing is special about them, with the intervals that all of them keep to in 95 of 100 cases (`as_elsewhere`). An
area that loses more drives retrieval by more than its share. Where the patches' shares end before an area's, the line is drawn out,
and the interval widens. Areas whose cross-talk by dSPM over the whole cortex is above one half cannot be told apart and are exchanged as one.

It is the template's head, not the subject's; the estimate gives an area some of what its neighbours send; and a fall
says what this network used, not what a brain did.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from heschl.corpora.sensors import Sensors
from heschl.files import write_csv
from heschl.steps.decode_exchange import Head, exchanged, gain_of
from heschl.steps.decode_linear import Decoded
from heschl.steps.decode_show import minus
from heschl.steps.groups import over_trials
from heschl.tasks.intervals import mean_over
from heschl.types import Clip, HeschlError, Recording

TRIALS = 192  # that are decoded again for each area, evenly over recordings
ELSEWHERE = 16  # random patches, where there is room for so many
ENOUGH = 6  # of them, for a line
AWAY = 0.02  # m that they keep from the areas
FEWEST = 16  # electrodes with a place, below which an inverse says little


def areas_that_drive(held: Decoded, folder: Path, of: str, seed: int = 0) -> dict[str, Any]:
    """Writes areas.csv, cross_talk.csv and areas.svg/.png.

    Returns
    -------
    {"rows": [{"areas", "trials", "lost", "low", "high" (95 % over subjects or blocks, where there are several), "top_1_lost",
    "signal": the share of the trials' power that was exchanged, "expected", "expected_low", "expected_high": what as much
    elsewhere would lose}], "elsewhere": of random patches, where nothing is expected, "above_elsewhere": areas that lose more
    than is expected, "over": what the intervals are over, "cross_talk": {"names", "matrix"}, "notes", "pictures"};
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
    from heschl.brain.areas import read_areas
    from heschl.brain.inverse import cross_talk, inverse_operator, joined
    from heschl.brain.patch import patch
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
    over = over_trials([held.trials[k] for k in some])

    def without(name: str, chosen: np.ndarray) -> dict[str, Any]:
        lost, top, signal = exchanged(held, some, heads, chosen, seed)
        mean = mean_over(lost, over.names, seed=seed)
        return {
            "areas": name,
            "trials": len(some),
            "lost": mean["value"],
            "low": mean["low"],
            "high": mean["high"],
            "top_1_lost": float(top.mean()),
            "signal": signal,
            "expected": None,
            "expected_low": None,
            "expected_high": None,
        }

    told = [without(name, chosen) for name, chosen in sets.items()]
    told.sort(key=lambda row: -row["lost"])
    control = [without(f"elsewhere {k + 1}", chosen) for k, chosen in enumerate(others)]
    shares, lost = (np.array([row[key] for row in control]) for key in ("signal", "lost"))
    for row in told:
        found = as_elsewhere(shares, lost, row["signal"], 1 - 0.05 / len(told))
        row |= dict(zip(("expected", "expected_low", "expected_high"), found))
    above = [row["areas"] for row in told if row["lost"] > row["expected_high"] and row["low"] > 0]
    write_csv(folder / "areas.csv", [*told, *control], list(told[0]))
    table = [{"read in": name, **dict(zip(names, map(float, row)))} for name, row in zip(names, talk)]
    write_csv(folder / "cross_talk.csv", table, ["read in", *names])
    title = f"Which areas drive retrieval, {of}: what is lost where theirs is another trial's"
    what = "trials" if over.names is None else f"{over.by}s"
    save_both(partial(areas_figure, told, names, talk, title, over=what), folder / "areas")
    return {
        "rows": told,
        "elsewhere": control,
        "above_elsewhere": above,
        "over": over.told,
        "cross_talk": {"names": list(names), "matrix": talk.tolist()},
        "notes": [],
        "pictures": [{"file": "areas.svg", "title": title, "alt": _alt(told, above)}],
    }


def as_elsewhere(
    shares: np.ndarray, lost: np.ndarray, share: float, level: float = 0.95
) -> tuple[float, float, float]:
    """What one more place with this share of the signal would lose, and the interval that it lies in with probability ``level``.

    By least squares of ``lost`` on ``shares`` (place,), lost = a + b share, with Student's t of n - 2 degrees of freedom; the
    interval is of a new place and not of the mean: s sqrt(1 + 1 / n + (share - mean)^2 / sum (shares - mean)^2) on either side. A
    larger share is never taken to cost less: where b would be negative it is 0, and the mean stands for the line.
    """
    from scipy.stats import t

    n, away = len(shares), shares - shares.mean()
    size = float(away @ away)
    slope = max(0.0, float(away @ lost) / size) if size > 1e-12 else 0.0
    free = n - 1 - (slope > 0)
    error = lost - lost.mean() - slope * away
    far = (share - shares.mean()) ** 2 / size if slope > 0 else 0.0
    half = t.ppf((1 + level) / 2, free) * np.sqrt(error @ error / free * (1 + 1 / n + far))
    middle = float(lost.mean() + slope * (share - shares.mean()))
    return middle, float(middle - half), float(middle + half)


def _alt(told: Sequence[dict[str, Any]], above: Sequence[str]) -> str:
    """The figure in words."""
    rows = "; ".join(
        f"{row['areas']}: {_plain(row['lost'])} with {100 * row['signal']:.0f}\u202f% of the signal, where as much of it elsewhere would "
        f"cost {_plain(row['expected'])} [{_plain(row['expected_low'])}, {_plain(row['expected_high'])}]"
        for row in told
    )
    more = (
        "More than as much elsewhere: " + "; ".join(above)
        if above
        else "No area costs more than as much elsewhere"
    )
    return f"Reciprocal rank lost: {rows}. {more}."


def _plain(value: float) -> str:
    """Without a plus, which would be read as one more area."""
    return minus(value).removeprefix("+")


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


def _elsewhere(size: int, areas: np.ndarray, seed: int) -> list[np.ndarray]:
    """Patches of ``size`` neighbouring sources of one hemisphere, drawn at random, none of them twice, all of them `AWAY` from
    the areas, whose neighbours cannot be told from them; `ELSEWHERE`, or as many as there is room for."""
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
            break
    if len(found) < ENOUGH:
        raise HeschlError("the table's areas leave no room for patches elsewhere: make them smaller")
    return found


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
