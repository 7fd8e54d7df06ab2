"""From sensors back to the cortex, and how well that can tell areas apart.

Beside every inverse result stands the cross-talk of its areas: what is read in one while another is active. Areas
that read each other above one half cannot be told apart, and are reported as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from heschl.brain.anatomy import Anatomy, need_mne, quiet, template
from heschl.brain.forward import forward_solution, leadfield, signal_info
from heschl.brain.noise import white_covariance
from heschl.brain.patch import Patch
from heschl.types import BrainMap, HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Method = Literal["MNE", "dSPM", "sLORETA", "eLORETA"]
METHODS = ("MNE", "dSPM", "sLORETA", "eLORETA")
APART = 0.5  # areas with more cross-talk than this are one


class CrossTalk(NamedTuple):
    """What inverse results can tell apart.

    names: of the areas. matrix: (read in, active) mean estimate in one area while another is active, relative to the
        active one's own. groups: areas that are reported as one, the others alone.
    """

    names: tuple[str, ...]
    matrix: NDArray[np.float64]
    groups: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        """The matrix as text, a row for each area that is read."""
        wide = max(map(len, self.names)) + 2
        lines = ["read in \\ active".ljust(17) + "".join(name.rjust(max(wide, 7)) for name in self.names)]
        for name, row in zip(self.names, self.matrix, strict=True):
            lines.append(name.ljust(17) + "".join(f"{value:.2f}".rjust(max(wide, 7)) for value in row))
        for group in self.groups:
            if len(group) > 1:
                lines.append(f"{' and '.join(group)} cannot be told apart: reported as one")
        return "\n".join(lines)


def inverse_operator(
    info: Any,
    anatomy: Anatomy | None = None,
    covariance: Any = None,
    loose: float = 0.2,
    depth: float | None = 0.8,
    forward: Any = None,
) -> Any:
    """MNE's inverse operator for these sensors.

    Parameters
    ----------
    info: an `mne.Info` of signals (`heschl.project(...).info`): rate, projections and positions.
    covariance: of the noise; None is one trial's white noise.
    loose: how far sources may lean out of the normal, 0 fixed to 1 free. depth: weighting of deep sources, or None.
    forward: an `mne.Forward`; None computes the head's.
    """
    mne = need_mne("an inverse")
    forward = forward or forward_solution(info, anatomy or template())
    covariance = white_covariance(info) if covariance is None else covariance
    with quiet():
        return mne.minimum_norm.make_inverse_operator(
            info, forward, covariance, loose=loose, depth=depth, fixed=loose == 0, verbose="error"
        )


def estimate(
    evoked: Any,
    operator: Any,
    method: Method = "dSPM",
    snr: float = 3.0,
    anatomy: Anatomy | None = None,
) -> BrainMap:
    """Where the sources of an evoked answer lie, by a minimum-norm inverse.

    Parameters
    ----------
    method: "MNE" (A m), "dSPM" (Dale et al. 2000), "sLORETA", "eLORETA" (Pascual-Marqui 2002, 2011): statistics
        without a unit, but eLORETA, in A m.
    snr: amplitude signal-to-noise ratio that regularisation assumes: lambda2 = 1 / snr ** 2.

    Returns
    -------
    `BrainMap` (source, time) of magnitudes on all sources of the head, its status "fitted", or "fitted to simulated
    data" where the answer's comment says so.
    """
    mne = need_mne("an inverse")
    anatomy = anatomy or template()
    if method not in METHODS:
        raise HeschlError(f"the inverse '{method}' is not known: choose {', '.join(METHODS)}")
    with quiet():
        stc = mne.minimum_norm.apply_inverse(
            evoked, operator, lambda2=1 / snr**2, method=method, verbose="error"
        )
    values = np.zeros((len(anatomy.positions), stc.data.shape[1]))
    values[_rows(stc.vertices, anatomy)] = np.abs(stc.data)
    status: Any = "fitted to simulated data" if "simulated" in str(evoked.comment) else "fitted"
    unit = "A m" if method in ("MNE", "eLORETA") else method
    return BrainMap(values, anatomy.positions, np.asarray(stc.times), unit, "MNI305", status)


def cross_talk(
    patches: Sequence[Patch],
    info: Any,
    operator: Any = None,
    method: Method = "dSPM",
    snr: float = 3.0,
    anatomy: Anatomy | None = None,
    gain: NDArray[np.float64] | None = None,
) -> CrossTalk:
    """What is read in each area while each is active.

    Parameters
    ----------
    patches: of `heschl.brain.patch.patch`; every source of a patch is active alike, out of the cortex.
    info: of signals, as in `inverse_operator`, which ``operator`` is from; None makes one.
    gain: (sensor, source) that makes the signals; None is the head's own lead field.
    """
    anatomy = anatomy or template()
    operator = inverse_operator(info, anatomy) if operator is None else operator
    spread = point_spread([p.sources for p in patches], info, operator, method, snr, anatomy, gain)
    read = np.array([spread[p.sources].mean(0) for p in patches])
    names = tuple(p.area.name for p in patches)
    matrix = read / np.diag(read)
    return CrossTalk(names, matrix, joined(names, matrix))


def point_spread(
    sources: Sequence[NDArray[np.int64]],
    info: Any,
    operator: Any,
    method: Method = "dSPM",
    snr: float = 3.0,
    anatomy: Anatomy | None = None,
    gain: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """What an inverse makes of sources that are really active: (source, case), one case for each set of sources,
    each with 10 nAm of moment in all, without noise."""
    mne = need_mne("a point spread")
    anatomy = anatomy or template()
    gain = leadfield(info, anatomy) if gain is None else gain
    data = np.stack([gain[:, np.atleast_1d(one)].mean(1) for one in sources], axis=1) * 10e-9
    average = any(str(one["desc"]).startswith("Average EEG") for one in info["projs"])
    with quiet():
        evoked = mne.EvokedArray(
            data, signal_info(info, info["sfreq"], "average" if average else None), nave=1
        )
        evoked.apply_proj()
    return np.asarray(estimate(evoked, operator, method, snr, anatomy).values)


def joined(
    names: Sequence[str], matrix: NDArray[np.float64], limit: float = APART
) -> tuple[tuple[str, ...], ...]:
    """Areas in groups: two are in one group where either reads the other above the limit, and so are their groups."""
    group = list(range(len(names)))
    for i in range(len(names)):
        for j in range(len(names)):
            if i != j and matrix[i, j] > limit:
                group = [group[i] if one == group[j] else one for one in group]
    found: dict[int, list[str]] = {}
    for name, one in zip(names, group, strict=True):
        found.setdefault(one, []).append(name)
    return tuple(tuple(one) for one in found.values())


def peak(
    brain_map: BrainMap, start: float | None = None, stop: float | None = None
) -> tuple[int, NDArray[np.float64]]:
    """The place with the highest root mean square from ``start`` to ``stop`` seconds: its index and its position."""
    times = brain_map.times
    within = (times >= (times[0] if start is None else start) - 1e-9) & (
        times <= (times[-1] if stop is None else stop) + 1e-9
    )
    if not within.any():
        raise HeschlError(
            f"the map holds no time from {start} to {stop} s: it runs from {times[0]:g} to {times[-1]:g} s"
        )
    best = int(np.square(brain_map.values[:, within]).mean(1).argmax())
    return best, np.asarray(brain_map.positions[best])


def _rows(vertices: Any, anatomy: Anatomy) -> NDArray[np.int64]:
    """Indices into the head's sources of an estimate's vertices, left and right."""
    left, right = anatomy.vertices
    return np.concatenate(
        [np.searchsorted(left, vertices[0]), len(left) + np.searchsorted(right, vertices[1])]
    )
