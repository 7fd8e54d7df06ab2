"""Raw recordings of brains made fit for networks: robust scale, baseline, clipping; and what a filter sees too much of.

All that is fitted (each channel's median and quartiles) comes from training trials, a recording at a time. What a filter
or wavelet computes for a trial reaches beyond it, into its neighbours: `purged` leaves out the training trials that share
a sample with a tested one.

Source of the order and the numbers (baseline 0.5 s, robust scale, clip at 20): Defossez et al., Nature Machine
Intelligence 5, 1097 (2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from heschl.types import HeschlError


class Scaling(NamedTuple):
    """Of one recording: centre (channel,), the median, and spread (channel,), the distance of its quartiles."""

    centre: np.ndarray
    spread: np.ndarray


def fit_scaling(trials: Any, rows: Sequence[int], values: int = 4_000_000, seed: int = 0) -> Scaling:
    """Median and interquartile range of each channel over the named trials.

    Parameters
    ----------
    trials: (trial, channel, time), an array or anything that gives a trial by its number.
    rows: of the training trials of this recording.
    values: of a channel at most; where there are more, so many are drawn evenly over trials, by ``seed``.

    Raises
    ------
    HeschlError: no trial is named, a value is not finite, or a channel is flat.
    """
    if not len(rows):
        raise HeschlError(
            "scaling needs training trials of each recording, and none is named: see `fit_recordings`"
        )
    random = np.random.default_rng(seed)
    each = max(1, values // len(rows))
    parts = []
    for row in rows:
        trial = np.asarray(trials[int(row)], np.float32)
        if trial.ndim != 2:
            raise HeschlError(f"trial {row} has shape {trial.shape}: raw trials are (channel, time)")
        if trial.shape[1] > each:
            trial = trial[:, random.choice(trial.shape[1], each, replace=False)]
        parts.append(trial)
    drawn = np.concatenate(parts, 1)
    bad = np.flatnonzero(~np.isfinite(drawn).all(1))
    if len(bad):
        raise HeschlError(
            f"channel {bad[0] + 1} holds values that are not finite (NaN): leave it out, or interpolate it"
        )
    low, centre, high = np.quantile(drawn.astype(np.float64), (0.25, 0.5, 0.75), axis=1)
    flat = np.flatnonzero(high <= low)
    if len(flat):
        raise HeschlError(
            f"channel {flat[0] + 1} is flat over the training trials ({len(flat)} such): leave flat channels out"
        )
    return Scaling(centre, high - low)


def fit_recordings(
    trials: Mapping[str, Any], training: Mapping[str, Sequence[int]], strangers: str = "refuse"
) -> dict[str, Scaling]:
    """A scaling for each recording, from its training trials.

    Parameters
    ----------
    trials: by recording. training: rows of the training part, by recording.
    strangers: what becomes of a recording that has none (a subject left out): "refuse", or "own": its own trials, without
        their labels, as one would scale a new person's recording; say so beside the score.

    Raises
    ------
    HeschlError: a recording has no training trials and strangers are refused; or as `fit_scaling`, naming the recording.
    """
    if strangers not in ("refuse", "own"):
        raise HeschlError(f"strangers is '{strangers}': choose refuse or own")
    fitted = {}
    for name, own in trials.items():
        rows: Sequence[int] = training.get(name, ())
        if not len(rows):
            if strangers == "refuse":
                raise HeschlError(
                    f"recording {name} has no training trials to fit its scale: choose strangers='own' to scale it by its own "
                    "trials, without their labels"
                )
            rows = range(len(own))
        try:
            fitted[name] = fit_scaling(own, rows)
        except HeschlError as error:
            raise HeschlError(f"recording {name}: {error}") from None
    return fitted


def prepare(
    x: Tensor,
    rate: float,
    scaling: Scaling | None = None,
    baseline: tuple[float, float] | None = (0.0, 0.5),
    clip: float | None = 20.0,
) -> Tensor:
    """Trials with their baseline taken off, on the recording's scale, clipped; differentiable inside the clip.

    Parameters
    ----------
    x: (..., channel, time). rate: Hz.
    scaling: of the recording; None leaves the scale.
    baseline: seconds of the trial whose mean is taken off each channel; None leaves it, and the recording's median is
        taken off instead.
    clip: in units of the spread.

    Raises
    ------
    HeschlError: the baseline lies outside the trial, or channels differ from those of the scaling.
    """
    if baseline is not None:
        first, last = round(baseline[0] * rate), round(baseline[1] * rate)
        if not 0 <= first < last <= x.shape[-1]:
            raise HeschlError(
                f"a baseline from {baseline[0]:g} to {baseline[1]:g} s is not inside trials of {x.shape[-1] / rate:g} s: move it"
            )
        x = x - x[..., first:last].mean(-1, keepdim=True)
    if scaling is not None:
        if x.shape[-2] != len(scaling.spread):
            raise HeschlError(
                f"trials have {x.shape[-2]} channels and their scaling {len(scaling.spread)}: fit it anew"
            )
        if baseline is None:
            x = x - torch.as_tensor(scaling.centre).to(x)[:, None]
        x = x / torch.as_tensor(scaling.spread).to(x)[:, None]
    return x if clip is None else x.clamp(-clip, clip)


# --- what a kernel sees across a boundary ------------------------------------------------------------------


def filter_reach(taps: np.ndarray, rate: float, zero_phase: bool = True, left: float = 1e-3) -> float:
    """How far a filter sees, in seconds.

    Parameters
    ----------
    taps: (tap,) of a FIR filter, or (section, 6) second-order sections of an IIR filter.
    zero_phase: it runs forward and backward (filtfilt), or its delay is taken out: it sees both ways; of two runs of a FIR
        filter the reach is its whole length.
    left: an IIR filter's response never ends; it counts until what is left of its sum of magnitudes is less than this.

    Raises
    ------
    HeschlError: the filter's response does not fade within an hour.
    """
    taps = np.asarray(taps, np.float64)
    if taps.ndim == 1:
        return (len(taps) - 1) / rate
    if taps.ndim != 2 or taps.shape[1] != 6:
        raise HeschlError(
            f"taps are {taps.shape}: give (tap,) of a FIR filter or second-order sections (section, 6)"
        )
    from scipy.signal import sosfilt

    size = 1024
    while size <= 3600 * rate:
        impulse = np.zeros(size)
        impulse[0] = 1.0
        response = np.abs(sosfilt(taps, impulse))
        rest = np.cumsum(response[::-1])[::-1] / response.sum()
        if rest[size // 2] < left / 100:  # the part that is not computed matters less still
            end = int(np.argmax(rest < left))
            return (2 if zero_phase else 1) * end / rate
        size *= 2
    raise HeschlError(
        "the filter's response does not fade within an hour: is it stable, and its lowest frequency above zero?"
    )


def purged(
    start: np.ndarray, stop: np.ndarray, training: np.ndarray, tested: np.ndarray, reach: float
) -> np.ndarray:
    """The training trials of one recording that share no sample with a tested one, whatever sees ``reach`` beyond a trial.

    Parameters
    ----------
    start, stop: (trial,) seconds in the recording. training, tested: (trial,) truth values.
    reach: seconds to either side that went into a trial's values (`filter_reach`, `heschl.features.superlet.reach`; they
        add up where one follows the other); windows before it must not be cut, else there is nothing to see.

    Returns
    -------
    (trial,) truth values: training trials to keep. A training trial closer than twice the reach to a tested one goes.
    """
    if not (math.isfinite(reach) and reach >= 0):
        raise HeschlError(f"the reach is {reach} s: it must not be below zero")
    start, stop = np.asarray(start, float), np.asarray(stop, float)
    kept = np.array(training, bool)
    order = np.argsort(start[tested], kind="stable")
    first = start[tested][order] - reach
    last = np.maximum.accumulate(stop[tested][order] + reach) if len(order) else first
    for row in np.flatnonzero(kept):
        begun = np.searchsorted(
            first, stop[row] + reach, side="left"
        )  # tested trials that begin before this one ends
        if begun and last[begun - 1] > start[row] - reach:
            kept[row] = False
    return kept
