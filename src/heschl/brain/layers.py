"""What a layer of a network says about a recording beyond acoustics and beyond the same network untrained."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from heschl.brain import series
from heschl.brain.blocks import cut
from heschl.brain.encode import grid, nested
from heschl.brain.gram import lag_steps
from heschl.brain.nulls import Gain, draw_shifts, gain_null, judged, least_shift
from heschl.types import HeschlError

Array = np.ndarray[Any, np.dtype[Any]]

LEAST_SEEDS = 10


@dataclass(frozen=True, eq=False)
class LayerGain:
    """A layer's two differences, per channel. A claim needs both: over acoustics, and over untrained networks.

    Attributes
    ----------
    r_acoustics, r_both: (channel,) r on unseen blocks of acoustics alone, and of acoustics with the layer.
    gain: (channel,) their difference. interval: (2, channel) its 95 % t interval over blocks.
    p_acoustics: (channel,) of the gain against circular shifts of what acoustics leave, corrected over channels by the
        largest.
    gain_untrained: (seed, channel) the gain of the same architecture with random weights.
    over_untrained: (channel,) the gain less their mean.
    p_untrained: (channel,) share of networks, the trained one among them, whose largest t over channels is as large;
        t is a network's gain against those of all others (`against_others`). Exact where the trained network is one
        more draw of the random ones, whatever their spread; 1 / (seeds + 1) at best.
    rank: (channel,) the same by gain, for each channel by itself: not corrected.
    claimed: (channel,) both p at ``level`` or below; nowhere with fewer than `seeds_needed` untrained networks.
    """

    r_acoustics: Array
    r_both: Array
    gain: Array
    interval: Array
    p_acoustics: Array
    gain_untrained: Array
    over_untrained: Array
    p_untrained: Array
    rank: Array
    claimed: Array
    level: float


def layer_gain(
    layer: Any,
    untrained: Sequence[Any],
    acoustics: Any,
    recording: Any,
    rate: float,
    lags: tuple[float, float] = (0.0, 0.4),
    alphas: Any = None,
    folds: int | Sequence[int] = 5,
    shifts: int = 199,
    seed: int = 0,
    level: float = 0.05,
) -> LayerGain:
    """Tests a layer as a difference over acoustics **and** over the same architecture untrained.

    Columns of all features are brought to mean 0 and variance 1; acoustics and layer have penalties of their own
    (banded ridge), chosen per channel within the training blocks.

    Parameters
    ----------
    layer: (time, unit), or runs of such, at the recording's rate. Some tens of units: take `principal` of wide layers.
    untrained: the same layer of networks with random weights, ten seeds or more, each shaped as ``layer``. A claim needs
        `seeds_needed` of ``level``, 19 at .05; with fewer there is a warning, the differences, and no claim.
    acoustics: (time, feature), or runs: envelope, onsets and compressed mel (`heschl.brain.acoustics`).
    alphas: penalties for each group; None: five powers of ten about the number of samples.
    shifts: circular shifts of the null. level: of both tests.

    Raises
    ------
    HeschlError: fewer than ten untrained networks, fewer shifts than ``level`` needs, or what `fit_encoding` refuses.

    Notes
    -----
    A brain that follows a *nonlinear* function of acoustics that is not in the control set makes any rich layer gain,
    random ones as well: that is why the second difference is there. It guards against what random networks have, not
    against a trained one that is nonlinear in another way.
    """
    if len(untrained) < LEAST_SEEDS:
        raise HeschlError(
            f"there are {len(untrained)} untrained networks: a claim about a layer needs {LEAST_SEEDS} seeds or more"
        )
    needed = seeds_needed(level)
    if len(untrained) < needed:
        warnings.warn(
            f"no channel can be claimed at level {level:g}: a rank among {len(untrained)} untrained networks is never below "
            f"{1 / (len(untrained) + 1):.3f}; take {needed} or more",
            stacklevel=2,
        )
    if (shifts + 1) * level < 1 - 1e-9:
        raise HeschlError(
            f"{shifts} shifts cannot give a p of {level:g}: take {math.ceil(1 / level - 1e-9) - 1} or more"
        )
    control, y = series.paired(acoustics, recording)
    trained = _beside(layer, control, "layer")
    random = [_beside(one, control, f"untrained network {k}") for k, one in enumerate(untrained)]
    control = standard(control)
    n = sum(len(run) for run in y)
    made = Gain(
        lag_steps(lags, rate), folds, np.asarray(n * 10.0 ** np.arange(-3, 2) if alphas is None else alphas)
    )
    gain, full, alone = made(control, trained, y)
    moves = draw_shifts([len(run) for run in y], least_shift(made.steps, rate), shifts, seed)
    null = gain_null(control, trained, y, made, moves)
    others = np.stack([made(control, one, y)[0] for one in random])
    t = against_others(np.concatenate([gain[None], others]))
    p_untrained = judged(t[0], t[1:]).p_max
    n_folds = len(full)
    half = stats.t.ppf(0.975, n_folds - 1) * (full - alone).std(0, ddof=1) / n_folds**0.5
    return LayerGain(
        r_acoustics=alone.mean(0),
        r_both=full.mean(0),
        gain=gain,
        interval=np.stack([gain - half, gain + half]),
        p_acoustics=null.p_max,
        gain_untrained=others,
        over_untrained=gain - others.mean(0),
        p_untrained=p_untrained,
        rank=(1 + (others >= gain).sum(0)) / (len(others) + 1),
        claimed=(null.p_max <= level) & (p_untrained <= level),
        level=level,
    )


def table(found: LayerGain, channels: Sequence[str]) -> list[dict[str, Any]]:
    """One row per channel, as it is written and read."""
    if len(channels) != len(found.gain):
        raise HeschlError(f"there are {len(channels)} names for {len(found.gain)} channels: give as many")
    return [
        {
            "channel": name,
            "r_acoustics": float(found.r_acoustics[c]),
            "r_acoustics_and_layer": float(found.r_both[c]),
            "over_acoustics": float(found.gain[c]),
            "over_acoustics_low": float(found.interval[0, c]),
            "over_acoustics_high": float(found.interval[1, c]),
            "p_over_acoustics": float(found.p_acoustics[c]),
            "over_untrained": float(found.over_untrained[c]),
            "p_over_untrained": float(found.p_untrained[c]),
            "rank_among_untrained": float(found.rank[c]),
            "untrained_networks": len(found.gain_untrained),
            "beyond_both": bool(found.claimed[c]),
        }
        for c, name in enumerate(channels)
    ]


def seeds_needed(level: float = 0.05) -> int:
    """How many untrained networks a claim at ``level`` needs: the best rank of n + 1 networks is 1 / (n + 1).

    >>> seeds_needed(), seeds_needed(0.01), seeds_needed(0.2)
    (19, 99, 10)
    """
    if not 0 < level < 1:
        raise HeschlError(f"level is {level}: give a share between 0 and 1, such as 0.05")
    return max(LEAST_SEEDS, math.ceil(1 / level - 1e-9) - 1)


def against_others(gains: Array) -> Array:
    """t (network, channel) of each network's gain against the gains (network, channel) of all the others.

    ``t = (one - mean) / (sd sqrt(1 + 1/n))`` of the n others (Crawford and Howell, Clin. Neuropsychol. 1998, eq. 1).
    It brings channels to one scale and treats networks alike, so that the rank of a network's largest t is as likely
    as any other where networks are exchangeable: no normal spread is assumed, as there would be for a p from t itself.
    """
    n = len(gains) - 1
    found = np.empty_like(gains)
    for one in range(n + 1):
        others = np.delete(gains, one, 0)
        difference, spread = gains[one] - others.mean(0), others.std(0, ddof=1) * (1 + 1 / n) ** 0.5
        flat = np.where(difference == 0, 0.0, np.copysign(np.inf, difference))
        found[one] = np.where(spread > 0, difference / np.where(spread > 0, spread, 1), flat)
    return found


def partition(
    sets: Mapping[str, Any],
    recording: Any,
    rate: float,
    lags: tuple[float, float] = (0.0, 0.4),
    alphas: Any = None,
    folds: int | Sequence[int] = 5,
) -> dict[str, dict[str, Array]]:
    """Variance partitioning: what sets of features explain together, alone, and only in common.

    Parameters
    ----------
    sets: name -> (time, feature) or runs; two to four of them. A feature that never changes is no column. Others: as in `heschl.brain.encode.fit_encoding`.

    Returns
    -------
    "r2": name or "a + b" -> (channel,) R2 on unseen blocks of every combination (below zero where it predicts
    worse than the mean); "unique": name -> R2 of all less R2 of all the others; "common": "a + b" -> the part that any
    of those sets explains and no other does (commonality analysis). The unique and common parts add up to all of R2.
    """
    if not 2 <= len(sets) <= 4:
        raise HeschlError(f"there are {len(sets)} sets of features: give two to four")
    names = list(sets)
    alive = {name: _alive(series.as_runs(features, name), name) for name, features in sets.items()}
    joined = [series.paired(features, recording)[0] for features in alive.values()]
    y = series.paired(alive[names[0]], recording)[1]
    joined = [standard(runs) for runs in joined]
    x = [np.concatenate(parts, 1) for parts in zip(*joined)]
    of = np.repeat(np.arange(len(names)), [runs[0].shape[1] for runs in joined])
    blocks = cut(x, [run.astype(x[0].dtype, copy=False) for run in y], lag_steps(lags, rate), folds)
    r2: dict[frozenset[str], Array] = {frozenset(): np.zeros(y[0].shape[1])}
    for size in range(1, len(names) + 1):
        for chosen in combinations(range(len(names)), size):
            inputs = np.flatnonzero(np.isin(of, chosen))
            band = np.searchsorted(chosen, of[inputs])
            some = blocks.take(inputs)
            r2[frozenset(names[k] for k in chosen)] = nested(
                some, grid(some, alphas, band), band, measure="r2"
            ).r.mean(0)
    everything = frozenset(names)
    parts: dict[frozenset[str], Array] = {}
    for some_names in sorted((s for s in r2 if s), key=len):
        # explained by none but these, less what smaller sets have of it
        only = r2[everything] - r2[everything - some_names]
        parts[some_names] = only - sum(part for smaller, part in parts.items() if smaller < some_names)

    def named(values: Mapping[frozenset[str], Array]) -> dict[str, Array]:
        return {" + ".join(n for n in names if n in key): value for key, value in values.items()}

    return {
        "r2": named({k: v for k, v in r2.items() if k}),
        "unique": named({k: v for k, v in parts.items() if len(k) == 1}),
        "common": named({k: v for k, v in parts.items() if len(k) > 1}),
    }


def principal(runs: Any, components: int) -> list[Array]:
    """The first principal components of a wide layer, standard columns first: runs (time, component).

    They are found in the features alone, over all blocks; the recording is not looked at.
    """
    arrays = standard(series.as_runs(runs, "layer"))
    width = arrays[0].shape[1]
    if not 1 <= components <= width:
        raise HeschlError(f"{components} components of {width} units: give 1 to {width}")
    gram = sum(run.T @ run for run in arrays)
    _, vectors = np.linalg.eigh(gram)
    return [run @ vectors[:, ::-1][:, :components] for run in arrays]


def standard(runs: Sequence[Array]) -> list[Array]:
    """Columns with mean 0 and variance 1 over all runs; one that never changes becomes 0."""
    mean = series.column_means(runs)
    variance = sum(((run - mean) ** 2).sum(0) for run in runs) / sum(len(run) for run in runs)
    scale = np.sqrt(variance)
    return [((run - mean) / np.where(scale > 0, scale, 1)).astype(run.dtype) for run in runs]


def _beside(features: Any, control: Sequence[Array], name: str) -> list[Array]:
    """Runs of a layer, as many and as long as the control's; units that never change (dead ones) are no columns."""
    runs = series.as_runs(features, name)
    if [len(run) for run in runs] != [len(run) for run in control]:
        raise HeschlError(
            f"{name} has runs of {[len(run) for run in runs]} samples and acoustics of {[len(run) for run in control]}: "
            "bring both to one rate and one length"
        )
    return standard([run.astype(control[0].dtype) for run in _alive(runs, name)])


def _alive(runs: Sequence[Array], name: str) -> list[Array]:
    """Without the columns that never change."""
    alive = np.any([(run != runs[0][:1]).any(0) for run in runs], 0)
    if not alive.any():
        raise HeschlError(f"no unit of {name} ever changes: nothing can be said about it")
    return [run[:, alive] for run in runs]
