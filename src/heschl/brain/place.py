"""From what units do to what a piece of cortex would do: the documented, illustrative rule.

    1  population rate of a layer: the norm, the mean or the first component of its units, at each step
    2  laid on one even time axis of network time, held for a step round each of its times, silent outside them;
       faster layers are averaged. Clips are averaged after that, so that rates and not units are averaged
    3  band limits, where given
    4  an area's time course is the mean of its layers' rates, each divided by its highest absolute value
    5  scaled so that the *net* moment of the area's patch peaks at ``moment``, put later by the area's delay, and given
       to all its sources alike, pointing out of the cortex. What cancels in the folds is made up for

The norm is never negative, so that sources point outwards: their sign is a convention. Nothing here is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from heschl.brain.anatomy import Anatomy, template
from heschl.brain.areas import AreaTable, assign
from heschl.brain.forward import Conductor, leadfield
from heschl.brain.patch import Patch, patch
from heschl.types import Activity, BrainMap, HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOMENT = 20e-9  # A m: of the size that evoked answers of the auditory cortex are given in
MOST_RATE = 500.0  # Hz: faster layers are averaged down to this
Rate = Literal["norm", "mean", "component"]


class Placed(NamedTuple):
    """An area's part of a placement.

    layers: that stand there. course: (time,) net moment, A m. kept: share of the moment that its folds leave.
    """

    patch: Patch
    layers: tuple[str, ...]
    course: NDArray[np.float64]

    @property
    def kept(self) -> float:
        return self.patch.kept


def place(
    activity: Mapping[str, Activity] | Activity,
    areas: Any = None,
    rate: Rate = "norm",
    moment: float = MOMENT,
    band: tuple[float | None, float | None] | None = None,
    clip: int | None = None,
    anatomy: Anatomy | None = None,
) -> BrainMap:
    """Puts a network's layers at places of the cortex. Illustrative: a table says where, and no recording.

    Parameters
    ----------
    activity: layer -> `Activity`, from early to late, as `heschl.record` gives it; or one of them.
    areas: None for the shipped table; a YAML file like it; or layer -> area (see `heschl.brain.areas.assign`).
    rate: of a layer's units: "norm" (root of their mean square), "mean", or "component" (their first principal
        component over clips and time, its sign such that it goes with the mean).
    moment: highest net moment of each area's patch, A m.
    band: (low, high) Hz kept of the rates, either may be None; no phase shift.
    clip: one of the batch; None averages the rates over all clips.
    anatomy: whose head; None is the template.

    Returns
    -------
    `BrainMap` of moments in A m at every source of the head (template: 5,124), (place, time), MNI305. Its times are
    network time, not a brain's latency. Its status is "illustrative".

    Raises
    ------
    HeschlError: an area is not known or holds no source; an activity is silent or not finite.
    """
    anatomy = anatomy or template()
    placed, times = courses(activity, areas, rate, moment, band, clip, anatomy)
    values = np.zeros((len(anatomy.positions), len(times)))
    for one in placed:
        # n sources of moment m that point together leave n m kept of net moment
        values[one.patch.sources] += one.course / (len(one.patch.sources) * one.kept)
    return BrainMap(values, anatomy.positions, times, "A m", "MNI305", "illustrative")


def courses(
    activity: Mapping[str, Activity] | Activity,
    areas: Any = None,
    rate: Rate = "norm",
    moment: float = MOMENT,
    band: tuple[float | None, float | None] | None = None,
    clip: int | None = None,
    anatomy: Anatomy | None = None,
) -> tuple[list[Placed], NDArray[np.float64]]:
    """What `place` puts where: each area's patch, layers and net moment over time; and the times."""
    activity = {activity.area: activity} if isinstance(activity, Activity) else activity
    if not activity:
        raise HeschlError("there is no activity to place: record a network's areas first")
    table, chosen = assign(list(activity), areas)
    used = {name: tuple(layer for layer in activity if name in chosen[layer]) for name in table.areas}
    used = {name: layers for name, layers in used.items() if layers}
    times = time_axis(activity, table, chosen)
    rates = {
        layer: _on_axis(population_rate(one, rate, clip).mean(0), np.asarray(one.times), times)
        for layer, one in activity.items()
    }
    placed = []
    for name, layers in used.items():
        area = table.area(name)
        course = np.zeros(len(times))
        for layer in layers:
            one = _limited(rates[layer], times, band) if band else rates[layer]
            one = _later(one, times, area.delay)
            if not one.any():
                raise HeschlError(f"the layer {layer} is silent in these clips: nothing of it can be placed")
            course += one / np.abs(one).max() / len(layers)
        placed.append(Placed(patch(area, anatomy), layers, course * (moment / np.abs(course).max())))
    return placed, times


class ClipCourses(NamedTuple):
    """Net moments of every clip: values (clip, area, time) in A m, areas' names and patches, times in seconds."""

    values: NDArray[np.float64]
    names: tuple[str, ...]
    patches: tuple[Patch, ...]
    times: NDArray[np.float64]


def clip_courses(
    activity: Mapping[str, Activity],
    areas: Any = None,
    rate: Rate = "norm",
    moment: float = MOMENT,
    band: tuple[float | None, float | None] | None = None,
    anatomy: Anatomy | None = None,
) -> ClipCourses:
    """As `courses`, clip by clip: the loudest clip of each area peaks at ``moment``, the others keep their relation.

    ``topographies(found.patches, sensors) @ found.values`` is what sensors see of every clip, (clip, sensor, time).
    """
    anatomy = anatomy or template()
    placed, times = courses(activity, areas, rate, moment, band, None, anatomy)
    rates = {}
    for layer in {layer for one in placed for layer in one.layers}:
        own = np.asarray(activity[layer].times)
        laid = [_on_axis(one, own, times) for one in population_rate(activity[layer], rate)]
        rates[layer] = [_limited(one, times, band) for one in laid] if band else laid
    values = []
    for one in placed:
        sums = np.zeros((len(rates[one.layers[0]]), len(times)))
        for layer in one.layers:
            late = np.stack([_later(clip, times, one.patch.area.delay) for clip in rates[layer]])
            sums += late / np.abs(late.mean(0)).max()
        values.append(sums * (moment / np.abs(sums).max()))
    return ClipCourses(
        np.stack(values, 1),
        tuple(one.patch.area.name for one in placed),
        tuple(one.patch for one in placed),
        times,
    )


def topographies(
    patches: Sequence[Patch],
    sensors: Any = "biosemi64",
    anatomy: Anatomy | None = None,
    reference: str | Sequence[str] | None = "average",
    conductor: Conductor = "bem",
) -> NDArray[np.float64]:
    """What sensors see of each patch's net moment: (sensor, area), V or T per A m."""
    gain = leadfield(sensors, anatomy, "normal", conductor, reference=reference)
    return np.stack([gain[:, one.sources].mean(1) / one.kept for one in patches], axis=1)


def population_rate(activity: Activity, rate: Rate = "norm", clip: int | None = None) -> NDArray[np.float64]:
    """(clip, time): one number for all units of a layer, in the network's own units."""
    values = activity.values.detach().cpu().double().numpy()
    if clip is not None:
        if not -len(values) <= clip < len(values):
            raise HeschlError(f"there is no clip {clip}: the activity holds {len(values)}")
        values = values[clip][None]
    if not np.isfinite(values).all():
        raise HeschlError(
            f"the activity of {activity.area} holds numbers that are not finite: mend the network"
        )
    if rate == "norm":
        return np.asarray(np.sqrt(np.square(values).mean(-1)))
    mean = values.mean(-1)
    if rate == "mean":
        return np.asarray(mean)
    if rate != "component":
        raise HeschlError(f"rate is '{rate}': choose 'norm', 'mean' or 'component'")
    flat = values.reshape(-1, values.shape[-1])
    centred = flat - flat.mean(0)
    gram = centred.T @ centred if len(flat) >= flat.shape[1] else None
    if gram is not None:
        axis = np.linalg.eigh(gram)[1][:, -1]
    else:
        axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    score: NDArray[np.float64] = (centred @ axis).reshape(values.shape[:2])
    return score if float((score * (mean - mean.mean())).sum()) >= 0 else -score


def time_axis(
    activity: Mapping[str, Activity], table: AreaTable, chosen: Mapping[str, Sequence[str]]
) -> NDArray[np.float64]:
    """Even times from the first step of any layer to the last, as late or early as their areas are, as dense as the
    densest layer."""
    steps = [_step(np.asarray(one.times)) for one in activity.values()]
    timed = [step for layer, step in zip(activity, steps) if len(activity[layer].times) > 2] or steps
    step = max(min(timed), 1 / MOST_RATE)
    delays = {layer: [table.area(name).delay for name in chosen[layer]] for layer in activity}
    begin = min(float(one.times[0]) + min(0.0, *delays[layer]) for layer, one in activity.items())
    end = max(float(one.times[-1]) + max(0.0, *delays[layer]) for layer, one in activity.items())
    n = int((end - begin) / step + 1e-6) + 1
    return np.asarray(begin + step * np.arange(n))


def _step(times: NDArray[np.float64]) -> float:
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return step if step > 0 else 0.01


def _on_axis(
    rate: NDArray[np.float64], own: NDArray[np.float64], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A layer's rate on the common axis."""
    own_step, step = _step(own), _step(times)
    if own_step < 0.75 * step:  # faster than the axis: the mean of the steps round each time
        where = np.round((own - times[0]) / step).astype(int)
        count = np.bincount(where, minlength=len(times))[: len(times)]
        total = np.bincount(where, rate, minlength=len(times))[: len(times)]
        return np.where(count > 0, total / np.maximum(count, 1), 0.0)
    held: NDArray[np.float64] = np.interp(times, own, rate)
    half = (own_step if len(own) > 2 else step) / 2 * (1 + 1e-9)
    held[(times < own[0] - half) | (times > own[-1] + half)] = 0.0
    return held


def _later(rate: NDArray[np.float64], times: NDArray[np.float64], delay: float) -> NDArray[np.float64]:
    if not delay:
        return rate
    return np.asarray(np.interp(times - delay, times, rate, left=0.0, right=0.0))


def _limited(
    rate: NDArray[np.float64], times: NDArray[np.float64], band: tuple[float | None, float | None]
) -> NDArray[np.float64]:
    """Second-order Butterworth, forwards and backwards."""
    from scipy.signal import butter, sosfiltfilt

    low, high = band
    nyquist = 0.5 / _step(times)
    edges = [edge for edge in (low, high) if edge is not None]
    if (
        any(not 0 < edge < nyquist for edge in edges)
        or sorted(edges) != edges
        or len(set(edges)) < len(edges)
    ):
        raise HeschlError(f"the band {band} Hz is not within 0 and {nyquist:g} Hz, low before high: mend it")
    if not edges:
        return rate
    kind = "bandpass" if len(edges) == 2 else ("highpass" if low is not None else "lowpass")
    sos = butter(2, edges if len(edges) == 2 else edges[0], kind, fs=2 * nyquist, output="sos")
    pad = min(len(rate) - 1, 3 * (2 * len(sos) + 1))
    return np.asarray(sosfiltfilt(sos, rate, padlen=pad))
