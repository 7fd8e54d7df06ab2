"""What the units of a network do over time: every named area of it as (batch, time, unit), with true times.

A step's time is the middle of what it hears (`heschl.models.timing`). It is network time: where in the sound the step
listens, not when a brain would answer.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from heschl.models.timing import area_modules, as_series, compose, first
from heschl.models.timing_rules import Timing
from heschl.types import Activity, HeschlError

_CHUNK = 64  # clips at once: what lies between the areas is not kept


def record(
    model: nn.Module,
    x: torch.Tensor,
    rate: float,
    areas: Iterable[str] | str | None = None,
    start: float = 0.0,
    lengths: torch.Tensor | None = None,
) -> dict[str, Activity]:
    """What each named area of a network does while it hears x.

    Parameters
    ----------
    model: any network with ``areas``; it is run in eval mode and left as it was found.
    x: (batch, *in_shape), what the network hears; moved to its device and precision.
    rate: frames or samples per second of x's time axis, Hz.
    areas: names out of ``model.areas``, or one of them; None for all.
    start: time of x's first step, seconds.
    lengths: (batch,) valid steps of x, for networks that take clips of different length. Steps beyond a clip's end
        are there, and mean nothing.

    Returns
    -------
    area -> `Activity` with values (batch, time, unit) on the CPU and times (time,) float64, seconds. An area without a
    time axis (a dense layer over the whole clip) says so in a warning, and its one answer is held for the clip: it
    stands at the times of x's first and of its last step.

    Raises
    ------
    HeschlError: the network has no such area, or none at all, or its steps are not moments in time; x or rate is not fit.
    """
    x = _checked(model, x, rate)
    modules = area_modules(model, [areas] if isinstance(areas, str) else areas)
    if areas is None and not modules:
        raise HeschlError(
            f"{type(model).__name__} names no areas: give its class `areas`, a public name for each submodule to record"
        )
    with eval_mode(model):
        timings = compose(model, x.shape[1:], modules)
        parts = [
            run_areas(
                model,
                x[k : k + _CHUNK],
                modules,
                timings,
                None if lengths is None else lengths[k : k + _CHUNK],
            )
            for k in range(0, len(x), _CHUNK)
        ]
    steps = x.shape[getattr(model, "time_axis", -1)]
    found = {}
    for area, timing in timings.items():
        values = torch.cat([part[area] for part in parts])
        times = start + timing.centres() / rate
        if without_time(timing):
            warnings.warn(
                f"{type(model).__name__}'s area {area} has no time axis: its one answer is held for the clip",
                stacklevel=2,
            )
            values = values.expand(-1, 2, -1).contiguous()
            times = start + torch.tensor([0, steps - 1], dtype=torch.float64) / rate
        found[area] = Activity(area, values, times)
    return found


def without_time(timing: Timing) -> bool:
    """Whether an area gives one answer for the whole clip."""
    return timing.axis is None or (timing.steps == 1 and timing.stride == 0)


def _checked(model: nn.Module, given: Any, rate: float) -> torch.Tensor:
    if not isinstance(model, nn.Module):
        raise HeschlError(f"what is to be recorded is a {type(model).__name__}: give a torch.nn.Module")
    x: torch.Tensor = torch.as_tensor(given)
    if x.ndim < 2 or len(x) < 1:
        raise HeschlError(f"x is of shape {tuple(x.shape)}: give (batch, *in_shape) with one clip at least")
    like = next(model.parameters(), torch.zeros(()))
    x = x.detach().to(like)
    finite = x.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        bad = int((~finite).nonzero()[0])
        raise HeschlError(f"clip {bad} of x holds numbers that are not finite: leave it out or mend it")
    if not (rate > 0 and rate < float("inf")):
        raise HeschlError(f"rate is {rate} Hz: give the steps per second of x's time axis, above zero")
    return x


def run_areas(
    model: nn.Module,
    x: torch.Tensor,
    modules: Mapping[str, nn.Module],
    timings: Mapping[str, Timing],
    lengths: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """(batch, time, unit) of each area, of a network in eval mode."""
    kept: dict[str, torch.Tensor] = {}

    def keep(area: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            series = as_series(first(output), timings[area], len(x))
            kept[area] = series.detach().cpu().clone()  # a copy: what comes next may work in place

        return hook

    handles = [module.register_forward_hook(keep(area)) for area, module in modules.items()]
    try:
        with torch.no_grad():
            if lengths is None:
                model(x)
            else:
                model(x, lengths=lengths)
    finally:
        for handle in handles:
            handle.remove()
    return kept


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode; each one's own mode comes back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
