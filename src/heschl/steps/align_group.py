"""Layers over subjects: beyond acoustics by signs of subjects, beyond untrained networks by rank among them.

Both are corrected over layers and places by the largest; clusters of sensors come from permutations of signs as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from heschl.brain.group import LEAST_SUBJECTS, cluster_test
from heschl.brain.layers import LayerGain, against_others, seeds_needed
from heschl.brain.nulls import judged
from heschl.steps.align_fit import Listener, Response, Settings

Array = np.ndarray[Any, np.dtype[Any]]
PERMUTATIONS = 5000


class Group(NamedTuple):
    """rows: layer and place. clusters: of sensors. strongest: place -> the layer with the highest gain. notes."""

    rows: list[dict[str, Any]]
    clusters: list[dict[str, Any]]
    strongest: dict[str, dict[str, Any]]
    notes: list[str]


def group(
    spots: Sequence[Listener],
    found: Mapping[tuple[int, str], LayerGain],
    names: Sequence[str],
    settings: Settings,
) -> Group:
    """Over the subjects that have the same places, as many as there are."""
    same = alike(spots)
    first, notes = spots[same[0]], []
    if len(same) < len(spots):
        notes.append(f"{len(same)} of {len(spots)} subjects have the same channels: the group is theirs")
    if len(same) < 2:
        return Group([], [], _strongest(spots[:1], found, names, {}), [*notes, "one subject is no group"])
    over = np.array([[found[k, name].gain for name in names] for k in same])  # (subject, layer, place)
    beyond = np.array([[found[k, name].over_untrained for name in names] for k in same])
    p_over, p_beyond = max_sign(over), among_networks([[found[k, name] for name in names] for k in same])
    if len(same) < LEAST_SUBJECTS:
        notes.append(
            f"{len(same)} subjects have {2 ** len(same)} patterns of signs: no p below {1 / 2 ** len(same):.3f} is possible"
        )
    if settings.seeds < (needed := seeds_needed(settings.level)):
        notes.append(
            f"a rank among {settings.seeds} untrained networks is never below {1 / (settings.seeds + 1):.3f}: nothing is claimed; "
            f"take {needed} or more"
        )
    claimed = (p_over <= settings.level) & (p_beyond <= settings.level)
    rows = [
        {
            "layer": name,
            "place": place,
            "subjects": len(same),
            "over_acoustics": float(over[:, i, c].mean()),
            "over_acoustics_sd": float(over[:, i, c].std(ddof=1)),
            "p_over_acoustics": float(p_over[i, c]),
            "over_untrained": float(beyond[:, i, c].mean()),
            "over_untrained_sd": float(beyond[:, i, c].std(ddof=1)),
            "p_over_untrained": float(p_beyond[i, c]),
            "beyond_both": bool(claimed[i, c]),
        }
        for i, name in enumerate(names)
        for c, place in enumerate(first.channels)
    ]
    marks = {
        (name, place): bool(claimed[i, c])
        for i, name in enumerate(names)
        for c, place in enumerate(first.channels)
    }
    return Group(
        rows,
        _clusters(first, np.minimum(over, beyond), names, settings),
        _strongest(
            [spots[k] for k in same],
            {(n, name): found[k, name] for n, k in enumerate(same) for name in names},
            names,
            marks,
        ),
        notes,
    )


def alike(listeners: Sequence[Listener]) -> list[int]:
    """Which subjects have the same channels: the most that do; of equals, the first one's."""
    by_channels: dict[tuple[str, ...], list[int]] = {}
    for k, one in enumerate(listeners):
        by_channels.setdefault(one.channels, []).append(k)
    return max(by_channels.values(), key=len)


def can_tell(subjects: int, level: float) -> bool:
    """Whether so many subjects have patterns of signs enough for a p at ``level``.

    >>> can_tell(4, 0.05), can_tell(5, 0.05)
    (False, True)
    """
    return 0.5**subjects <= level


def among_networks(gains: Sequence[Sequence[LayerGain]]) -> Array:
    """p (layer, place) that the trained network gains more, mean over subjects, than untrained ones: its rank.

    All subjects are compared with the same random networks, and one of these that happens to suit brains suits all of
    them: so networks are ranked, and not subjects counted. Corrected by the largest t over layers and places.

    Parameters
    ----------
    gains: subject by subject, layer by layer.
    """
    trained = np.mean([[one.gain for one in own] for own in gains], 0)[None]  # (1, layer, place)
    random = np.mean([[one.gain_untrained for one in own] for own in gains], 0).swapaxes(
        0, 1
    )  # (seed, layer, place)
    both = np.concatenate([trained, random])
    t = against_others(both.reshape(len(both), -1))
    return np.asarray(judged(t[0], t[1:]).p_max).reshape(both.shape[1:])


def by_area(
    spots: Sequence[Listener],
    answers: Sequence[Response],
    found: Mapping[tuple[int, str], LayerGain],
    names: Sequence[str],
    where: Mapping[str, Mapping[str, str]],
) -> list[dict[str, Any]]:
    """Electrodes by area: their mean, and over the subjects who have some there, p that the mean is above zero.

    where: subject -> electrode -> area, "" for none. One row for the envelope, one for acoustics, two for every layer.
    """
    areas = sorted({area for one in where.values() for area in one.values() if area})
    measures = [
        ("r of the envelope", [one.r for one in answers]),
        ("r of acoustics", [one.acoustics for one in answers]),
        *((f"{name} over acoustics", [found[k, name].gain for k in range(len(spots))]) for name in names),
        *(
            (f"{name} over untrained", [found[k, name].over_untrained for k in range(len(spots))])
            for name in names
        ),
    ]
    rows = []
    for area in areas:
        picks = [[k for k, c in enumerate(one.channels) if where[one.subject][c] == area] for one in spots]
        people = [k for k, own in enumerate(picks) if own]
        for what, values in measures:
            means = np.array([values[k][picks[k]].mean() for k in people])
            rows.append(
                {
                    "area": area,
                    "measure": what,
                    "subjects": len(people),
                    "electrodes": sum(len(own) for own in picks),
                    "mean": float(means.mean()),
                    "p_over_subjects": float(max_sign(means[:, None])[0]) if len(people) > 1 else None,
                }
            )
    return rows


def max_sign(values: Array, seed: int = 0) -> Array:
    """One-sided p that values (subject, ...) are above zero, by signs, against the largest t over all the rest.

    All patterns of signs where they are few (Nichols and Holmes 2002); the observed one counts.
    """
    n = len(values)
    flat = values.reshape(n, -1)
    if 2**n <= PERMUTATIONS:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (PERMUTATIONS, n))
        signs[0] = 1.0
    squares = (flat**2).sum(0)
    mean = signs @ flat / n
    spread = np.sqrt(np.maximum(squares - n * mean**2, 1e-30 + 1e-12 * squares) / (n - 1) / n)
    t = mean / spread
    largest = t.max(1)
    return np.asarray((largest[:, None] >= t[0] - 1e-9).mean(0)).reshape(values.shape[1:])


def _clusters(first: Listener, both: Array, names: Sequence[str], settings: Settings) -> list[dict[str, Any]]:
    """Clusters of neighbouring sensors in which the smaller of both differences is above zero."""
    if len(both) < LEAST_SUBJECTS or first.info is None or first.positions is None:
        return []
    import mne

    rows = []
    for kind in ("eeg", "mag", "grad"):
        picks = mne.pick_types(
            first.info, meg=False if kind == "eeg" else kind, eeg=kind == "eeg", exclude=[]
        )
        if len(picks) < 4:
            continue
        with mne.utils.use_log_level("error"):
            adjacency, channels = mne.channels.find_ch_adjacency(mne.pick_info(first.info, picks), kind)
        order = [first.channels.index(name) for name in channels]
        for i, name in enumerate(names):
            found = cluster_test(both[:, i][:, order], adjacency)
            for mask, p in zip(found.clusters, found.p):
                if p <= settings.level:
                    where = [channels[k] for k in np.flatnonzero(mask)]
                    rows.append(
                        {
                            "layer": name,
                            "kind": kind,
                            "p": float(p),
                            "sensors": len(where),
                            "which": " ".join(where),
                        }
                    )
    return rows


def _strongest(
    spots: Sequence[Listener],
    found: Mapping[tuple[int, str], LayerGain],
    names: Sequence[str],
    claimed: Mapping[tuple[str, str], bool],
) -> dict[str, dict[str, Any]]:
    """The layer with the highest mean gain at every place, and by how much it leads the next."""
    result = {}
    if len(spots[0].channels) > 12:
        return {}
    for c, place in enumerate(spots[0].channels):
        means = [float(np.mean([found[k, name].gain[c] for k in range(len(spots))])) for name in names]
        order = np.argsort(means)[::-1]
        best = names[int(order[0])]
        lead = means[order[0]] - means[order[1]] if len(names) > 1 else means[order[0]]
        result[place] = {
            "layer": best,
            "gain": means[order[0]],
            "ahead_of_the_next": lead,
            "beyond_both": claimed.get((best, place), bool(found[0, best].claimed[c])),
        }
    return result
