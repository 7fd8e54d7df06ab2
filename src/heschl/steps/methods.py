"""The ways to explain that are compared, by the names that a person types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from heschl.explanation.cells import fill, is_wave, look
from heschl.explanation.gradient import (
    gradient,
    gradient_x_input,
    integrated_gradients,
    occlusion,
    smoothgrad,
)
from heschl.explanation.lrp import PRESETS, lrp
from heschl.types import HeschlError

Baseline = float | str
WINDOW = 0.05  # seconds that occlusion hides at once
BAND = 0.1  # share of the rows that it hides at once


class Asked(NamedTuple):
    """A network, its input and what is to be explained; ``rate`` in steps of x a second."""

    model: nn.Module
    x: Tensor
    target: Tensor
    lengths: Tensor | None
    rate: float
    baseline: Baseline


def _hidden(asked: Asked) -> Tensor:
    return fill(look(asked.x, lengths=asked.lengths), asked.baseline, lengths=asked.lengths)


def _integrated(asked: Asked) -> Tensor:
    return integrated_gradients(asked.model, asked.x, asked.target, 32, _hidden(asked), asked.lengths)


def _time(asked: Asked) -> Tensor:
    return _occluded(asked, -1, max(1, round(WINDOW * asked.rate)))


def _frequency(asked: Asked) -> Tensor:
    return _occluded(asked, -2, max(1, round(BAND * asked.x.shape[-2])))


def _occluded(asked: Asked, axis: int, width: int) -> Tensor:
    return occlusion(
        asked.model, asked.x, asked.target, axis, width, baseline=_hidden(asked), lengths=asked.lengths
    )


def _plain(method: Callable[..., Tensor], asked: Asked) -> Tensor:
    return method(asked.model, asked.x, asked.target, lengths=asked.lengths)


METHODS: dict[str, Callable[[Asked], Tensor]] = {
    "lrp": partial(_plain, lrp),
    **{f"lrp:{preset}": partial(_plain, partial(lrp, preset=preset)) for preset in PRESETS},
    "gradient": partial(_plain, gradient),
    "gradient_x_input": partial(_plain, gradient_x_input),
    "integrated_gradients": _integrated,
    "smoothgrad": partial(_plain, partial(smoothgrad, times_input=True)),
    "occlusion_time": _time,
    "occlusion_frequency": _frequency,
}
COMPARED = (
    "lrp:epsilon",
    "lrp:epsilon_plus",
    "gradient_x_input",
    "integrated_gradients",
    "occlusion_time",
    "occlusion_frequency",
)


def check_methods(names: Sequence[str]) -> None:
    """Every name is one of `METHODS`."""
    for name in names:
        if name not in METHODS:
            raise HeschlError(f"there is no method '{name}': choose among {', '.join(METHODS)}")


def explain_by(name: str, asked: Asked) -> Tensor:
    """Relevance, the shape of x, zero after each clip's end."""
    check_methods([name])
    relevance = METHODS[name](asked).detach()
    if asked.lengths is None:
        return relevance
    inside = torch.arange(asked.x.shape[-1]) < asked.lengths[:, None]
    return torch.where(inside.reshape(len(relevance), *(1,) * (relevance.ndim - 2), -1), relevance, 0.0)


def fitting(names: Sequence[str], x: Tensor) -> list[str]:
    """The methods that have a meaning for this input: a wave has no rows to hide."""
    check_methods(names)
    return [name for name in names if name != "occlusion_frequency" or not is_wave(x)]
