"""Activity over continuous sound: an hour of story, heard window by window, on one true time axis.

    window   |--- left ---|------ hop ------|-- right --|
                           kept: the rest is warm-up and look-ahead

Each window begins `left` seconds before what is kept of it and ends `right` seconds after; before the sound and after
its end there is silence. So every kept step has heard at least `left` seconds before it and `right` after it, a
network's memory is no longer than that says, and windows follow one another without a seam in time.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn

from heschl.brain.activity import eval_mode, run_areas, without_time
from heschl.models.timing import area_modules, compose
from heschl.types import Activity, HeschlError

_BATCH = 8  # windows at once


class Continuous(NamedTuple):
    """What `record_long` gives.

    activity: area -> `Activity` of one long clip, (1, time, unit); an area without a time axis has one step a window,
        at the window's middle.
    window, hop, left, right: seconds, as used.
    seconds: of sound. notes: sentences that a person must know.
    """

    activity: dict[str, Activity]
    window: float
    hop: float
    left: float
    right: float
    seconds: float
    notes: tuple[str, ...]


def record_long(
    model: nn.Module,
    sound: torch.Tensor,
    rate: float,
    feature: Any = None,
    areas: Iterable[str] | None = None,
    window: float = 12.0,
    hop: float | None = None,
    left: float | None = None,
    start: float = 0.0,
    passes: int = 1,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Continuous:
    """What a network does over a long sound.

    Parameters
    ----------
    sound: (time,) a wave for ``feature``; or, without one, (..., time) what the network itself hears.
    rate: of its last axis, Hz.
    feature: wave (batch, time) -> x (batch, ..., step), with ``rate`` and ``start`` (seconds of its first step).
    window: seconds that the network hears at once; the clip's length for a network that takes clips of one length.
    hop: seconds kept of each window, rounded down to whole steps of every area; None: two thirds of the window.
    left: seconds of warm-up that are dropped, rounded down likewise; None: three quarters of what the window has beyond the hop.
    start: time of the first sample, seconds.
    passes: how many such recordings there will be (untrained seeds too), for the time that ``say`` tells.
    progress: told after each batch how many windows are done, of how many.
    say: told the expected time after the first windows.

    Raises
    ------
    HeschlError: the windows do not fit one another or the areas' steps.
    """
    sound = torch.as_tensor(sound)
    if sound.ndim < 1 or not sound.shape[-1] or not bool(sound.isfinite().all()):
        raise HeschlError(f"the sound is of shape {tuple(sound.shape)}: give finite numbers (..., time)")
    modules = area_modules(model, areas)
    hop = window * 2 / 3 if hop is None else hop
    left = (window - hop) * 0.75 if left is None else left
    n = round(window * rate)
    if not (0 < hop <= window and 0 <= left <= window - hop + 1e-9):
        raise HeschlError(
            f"a window of {window:g} s does not hold {left:g} s of warm-up and a hop of {hop:g} s: lengthen it"
        )
    with eval_mode(model):
        hear = _Hearing(model, modules, feature, rate, sound[..., :1].expand(*sound.shape[:-1], n) * 0)
        kept, n_left = hear.whole_steps(hop * rate), hear.whole_steps(left * rate, least=0)
        count = math.ceil(sound.shape[-1] / kept)
        begun, parts = time.perf_counter(), []
        for first in range(0, count, _BATCH):
            windows = [_cut(sound, k * kept - n_left, n) for k in range(first, min(first + _BATCH, count))]
            values = hear(torch.stack(windows))
            parts.append({area: hear.keep(area, one, n_left, kept) for area, one in values.items()})
            if say and not first:
                each = (time.perf_counter() - begun) / len(windows)
                say(f"about {each * count * passes:.0f} s for {count * passes} windows")
            if progress:
                progress(min(first + _BATCH, count), count)
    activity = {}
    seconds = sound.shape[-1] / rate
    for area in modules:
        series = torch.cat([part[area] for part in parts])[None]
        times = hear.times(area, series.shape[1], n_left, kept)
        within = times < seconds
        activity[area] = Activity(area, series[:, within], start + times[within])
    right = (n - n_left - kept) / rate
    return Continuous(
        activity, n / rate, kept / rate, n_left / rate, right, seconds, _notes(model, feature, hear)
    )


class _Hearing:
    """A network on windows of one length: its areas' values, and which of their steps are kept."""

    def __init__(
        self, model: nn.Module, modules: dict[str, nn.Module], feature: Any, rate: float, blank: torch.Tensor
    ) -> None:
        self.model, self.modules, self.feature, self.rate = model, modules, feature, rate
        self.like = next(model.parameters(), torch.zeros(()))
        self.per_frame = bool(getattr(feature, "per_frame", False))
        x = self._input(blank[None])
        self.x_rate = rate if feature is None else float(feature.rate)
        self.x_start = 0.0 if feature is None else float(getattr(feature, "start", 0.0))
        example = x.movedim(-1, 1).flatten(0, 1)[:1] if self.per_frame else x
        self.timings = compose(model, example.shape[1:], modules)
        self.held = [area for area, one in self.timings.items() if without_time(one) and not self.per_frame]
        self.window = blank.shape[-1]
        self.own = {
            area: self.x_start
            + (torch.arange(x.shape[-1], dtype=torch.float64) if self.per_frame else one.centres())
            / self.x_rate
            for area, one in self.timings.items()
        }

    def __call__(self, windows: torch.Tensor) -> dict[str, torch.Tensor]:
        """(window, ..., time) -> (window, step, unit) of each area."""
        x = self._input(windows)
        if not self.per_frame:
            return run_areas(self.model, x, self.modules, self.timings)
        steps = x.movedim(-1, 1)
        found = run_areas(self.model, steps.flatten(0, 1), self.modules, self.timings)
        return {area: one.reshape(*steps.shape[:2], -1) for area, one in found.items()}

    def _input(self, windows: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            x = windows if self.feature is None else self.feature(windows.float())
        return x.to(self.like)

    def stride(self, area: str) -> float:
        """Samples of the sound from one step of an area to the next."""
        steps = self.own[area]
        return float(steps[1] - steps[0]) * self.rate if len(steps) > 1 else float(self.window)

    def whole_steps(self, hop: float, least: int = 1) -> int:
        """Samples, rounded down to whole steps of every area, so that all windows' steps lie on one axis."""
        strides = [self.stride(area) for area in self.timings if area not in self.held]
        if any(abs(one - round(one)) > 1e-3 for one in strides):
            raise HeschlError(
                f"an area's steps are {strides} samples of the sound apart, not a whole number: "
                "resample the sound to the feature's rate"
            )
        each = math.lcm(*(round(one) for one in strides)) if strides else 1
        if least * each > hop + 1e-6:
            raise HeschlError(
                f"a hop of {hop / self.rate:g} s is shorter than a step of {each / self.rate:g} s: lengthen it"
            )
        return int((hop + 1e-6) // each) * each

    def _where(self, area: str, left: int, kept: int) -> torch.Tensor:
        samples = self.own[area] * self.rate
        return (samples >= left - 1e-3) & (samples < left + kept - 1e-3)

    def keep(self, area: str, values: torch.Tensor, left: int, kept: int) -> torch.Tensor:
        """(step, unit): what is kept of consecutive windows."""
        if area in self.held:
            return values[:, 0]
        return values[:, self._where(area, left, kept)].flatten(0, 1)

    def times(self, area: str, n: int, left: int, kept: int) -> torch.Tensor:
        """(step,) seconds from the sound's first sample."""
        if area in self.held:
            middle = (self.window - 1) / 2 - left
            return (torch.arange(n, dtype=torch.float64) * kept + middle) / self.rate
        first = self.own[area][self._where(area, left, kept)][0] - left / self.rate
        return first + torch.arange(n, dtype=torch.float64) * self.stride(area) / self.rate


def _cut(sound: torch.Tensor, first: int, n: int) -> torch.Tensor:
    """n samples from ``first`` on, with silence before and after the sound."""
    begin, end = max(first, 0), min(first + n, sound.shape[-1])
    part = sound[..., begin : max(end, begin)]
    return nn.functional.pad(part, (begin - first, n - (begin - first) - part.shape[-1]))


def _notes(model: nn.Module, feature: Any, hear: _Hearing) -> tuple[str, ...]:
    name = type(model).__name__
    notes = []
    if not getattr(model, "frames", False) and not getattr(feature, "per_frame", False):
        notes.append(
            f"{name} answers for clips: over continuous sound it hears windows such as it was not taught on, and a "
            "network over frames is the safer choice"
        )
        warnings.warn(notes[0], stacklevel=3)
    if hear.held:
        notes.append(
            f"{', '.join(hear.held)} of {name} {'has' if len(hear.held) == 1 else 'have'} no time axis: one answer for each "
            "window, at its middle"
        )
    return tuple(notes)
