"""How the learning rate moves: pure functions of the step, so that a resumed training needs no state for it.

Each takes ``step`` (counted from 0), ``steps`` (of the whole training), ``epoch_steps`` (of one epoch) and its
own options, and gives the factor on the optimiser's learning rate. ``warmup`` is the share of the training
over which the factor climbs evenly from 0.
"""

from __future__ import annotations

import math

from heschl.types import HeschlError


def constant(step: int, steps: int, epoch_steps: int, warmup: float = 0.0) -> float:
    """1, after the warm-up."""
    return _warm(step, steps, warmup)


def cosine(step: int, steps: int, epoch_steps: int, warmup: float = 0.0, floor: float = 0.0) -> float:
    """Half a cosine from 1 down to ``floor`` (Loshchilov and Hutter 2017, eq. 5, without restarts)."""
    first = warmup * steps
    if step < first:
        return _warm(step, steps, warmup)
    part = (step - first) / max(1.0, steps - first)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * part))


def linear(step: int, steps: int, epoch_steps: int, warmup: float = 0.0, floor: float = 0.0) -> float:
    """A straight line from 1 down to ``floor``."""
    first = warmup * steps
    if step < first:
        return _warm(step, steps, warmup)
    return 1 - (1 - floor) * (step - first) / max(1.0, steps - first)


def step(
    step: int,
    steps: int,
    epoch_steps: int,
    epochs: int | list[int] = 30,
    gamma: float = 0.1,
    warmup: float = 0.0,
) -> float:
    """Times ``gamma`` every so many epochs, or after each of the epochs listed."""
    epoch = step // epoch_steps
    falls = (
        sum(epoch >= one for one in epochs)
        if isinstance(epochs, list)
        else epoch // _positive(epochs, "epochs")
    )
    return float(_warm(step, steps, warmup) * gamma**falls)


def exponential(step: int, steps: int, epoch_steps: int, gamma: float = 0.95, warmup: float = 0.0) -> float:
    """Times ``gamma`` after every epoch."""
    return float(_warm(step, steps, warmup) * gamma ** (step // epoch_steps))


def one_cycle(
    step: int, steps: int, epoch_steps: int, rise: float = 0.3, start: float = 0.04, floor: float = 4e-6
) -> float:
    """Up from ``start`` to 1 over the share ``rise``, then down to ``floor``, each half a cosine.

    Torch's OneCycleLR (Smith and Topin 2018), of the learning rate alone; the optimiser's ``lr`` is the top.
    """
    top = rise * steps - 1
    if step <= top:
        return start + (1 - start) * 0.5 * (1 - math.cos(math.pi * step / max(top, 1e-9)))
    part = (step - top) / max(1.0, steps - 1 - top)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * part))


def _warm(step: int, steps: int, warmup: float) -> float:
    if not 0 <= warmup < 1:
        raise HeschlError(
            f"schedule: warmup is {warmup}: it is a share of the training, at least 0 and below 1"
        )
    first = warmup * steps
    return 1.0 if step >= first else (step + 1) / (first + 1)


def _positive(value: int, name: str) -> int:
    if value < 1:
        raise HeschlError(f"schedule: {name} is {value}: it must be 1 or more")
    return value
