"""Attributions from derivatives and from hiding: method(model, x, target, **options) -> relevance, the shape of x.

All explain the target's logit (for a network over frames, the sum of its targets' logits over the frames).
Sources: Simonyan et al. 2014 (gradient), Shrikumar et al. 2016 (gradient x input), Sundararajan et al. 2017
(integrated gradients, eq. 3), Smilkov et al. 2017 (SmoothGrad), Zeiler & Fergus 2014 (occlusion).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from heschl.explanation.asking import answers, first_line, in_parts, out_of_memory, prepared
from heschl.explanation.cells import before_the_end, normal
from heschl.explanation.target import check_target, each_target
from heschl.types import HeschlError

_CHUNK = 32  # clips, or copies of clips, at once


def gradient(model: nn.Module, x: Tensor, target: Tensor, lengths: Tensor | None = None) -> Tensor:
    """d logit / d x. Here and below, lengths (batch,) goes to networks that take it as a second argument."""
    model, x = prepared(model, x)
    target = check_target(target, x)
    return _by_chunks(_slope, model, x, target, lengths)


def gradient_x_input(model: nn.Module, x: Tensor, target: Tensor, lengths: Tensor | None = None) -> Tensor:
    """x d logit / d x."""
    model, x = prepared(model, x)
    return x.detach() * gradient(model, x, target, lengths)


def integrated_gradients(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    steps: int = 64,
    baseline: float | Tensor = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """(x - baseline) times the mean slope on the straight way from baseline to x.

    steps: points of a Gauss-Legendre rule; the sum is logit(x) - logit(baseline) up to its error.
    baseline: a number, or a tensor that broadcasts to x; silence is 0 on a waveform, the lowest decibels on a
        spectrogram.
    """
    _at_least("steps", steps, 1)
    model, x = prepared(model, x)
    target = check_target(target, x)
    x = x.detach()
    begin = _baseline(baseline, x)
    roots, weights = _gauss_legendre(steps)
    mean = torch.zeros_like(x)
    for at, weight in zip(roots, weights):  # clip by clip the same, however many there are
        mean += weight * _by_chunks(_slope, model, begin + at * (x - begin), target, lengths)
    return (x - begin) * mean


def smoothgrad(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    samples: int = 32,
    noise: float = 0.15,
    seed: int = 0,
    times_input: bool = False,
    lengths: Tensor | None = None,
) -> Tensor:
    """The mean gradient at x with Gaussian noise of `noise` times the clip's range (highest - lowest value).

    The noise of a sample is the same for every clip, drawn time first, and the range is that of the valid steps: a clip
    never changes another, in a padded batch either.
    """
    _at_least("samples", samples, 1)
    if noise < 0:
        raise HeschlError(f"noise is {noise}: it is a share of the clip's range and must not be negative")
    model, x = prepared(model, x)
    target = check_target(target, x)
    x = x.detach()
    wide = (-1,) + (1,) * (x.ndim - 1)
    outside = torch.zeros_like(x, dtype=torch.bool) if lengths is None else ~before_the_end(x, lengths)
    low, high = (x.masked_fill(outside, end).flatten(1) for end in (torch.inf, -torch.inf))
    scale = noise * (high.amax(1) - low.amin(1)).reshape(wide)
    mean = torch.zeros_like(x)
    for k in range(samples):
        draw = normal(x.shape[1:], (seed, k)).to(x)
        mean += _by_chunks(_slope, model, x + scale * draw, target, lengths) / samples
    return mean * x if times_input else mean


def occlusion(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    axis: int = -1,
    width: int = 1,
    step: int | None = None,
    baseline: float | Tensor = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """How much the logit falls when a window of `width` along `axis` is set to `baseline`.

    The fall is shared among the values of the window as `moved` says; where windows overlap (step < width) their means
    are taken. By default windows lie side by side; the last one may be narrower. With lengths, windows end with each
    clip, and what lies after its end gets nothing.
    """
    _at_least("width", width, 1)
    step = width if step is None else step
    _at_least("step", step, 1)
    if step > width:
        raise HeschlError(f"step {step} is wider than the window {width}: it would leave values unexplained")
    model, x = prepared(model, x)
    target = check_target(target, x)
    x = x.detach()
    if not -x.ndim < axis < x.ndim or axis % x.ndim == 0:
        raise HeschlError(f"axis is {axis}: x has the axes 1 to {x.ndim - 1} (or -1 down to {1 - x.ndim})")
    if not len(x):
        return torch.zeros_like(x)
    length = x.shape[axis]
    fill = _baseline(baseline, x)
    wide = (-1,) + (1,) * (x.ndim - 1)
    whole = _scores(model, x, target, lengths)
    fall = torch.zeros_like(x)
    seen = torch.zeros(len(x), length, dtype=x.dtype, device=x.device)
    far = moved(x, fill, lengths)
    ends = torch.full((len(x),), length, device=x.device)
    if lengths is not None and axis % x.ndim == x.ndim - 1:
        ends = lengths.to(x.device)
    for first in range(0, max(1, length - width + step), step):
        n = min(width, length - first)
        # each clip has the windows that it would have by itself, and the last one ends with it
        own = first < torch.clamp_min(ends - width + step, 1)
        hidden = x.clone()
        hidden.narrow(axis, first, n).copy_(fill.narrow(axis, first, n))
        lost = whole - _scores(model, hidden, target, lengths)
        part = far.narrow(axis, first, n)
        sums = part.flatten(1).sum(1)
        each = torch.where(own & (sums > 0), lost / torch.where(sums > 0, sums, 1.0), 0.0)
        fall.narrow(axis, first, n).add_(each.reshape(wide) * part)
        seen[:, first : first + n] += own[:, None]
    return fall / seen.clamp_min(1).reshape(
        [len(x) if k == 0 else length if k == axis % x.ndim else 1 for k in range(x.ndim)]
    )


def occlusion_time(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    width: int = 1,
    step: int | None = None,
    baseline: float = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """`occlusion` along the last axis, time; width and step in samples or frames."""
    return occlusion(model, x, target, -1, width, step, baseline, lengths)


def occlusion_frequency(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    width: int = 1,
    step: int | None = None,
    baseline: float = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """`occlusion` along the axis before the last, frequency; width and step in bins."""
    if x.ndim < 3:
        raise HeschlError(f"x is of shape {tuple(x.shape)}: it has no frequency axis; use occlusion_time")
    return occlusion(model, x, target, -2, width, step, baseline, lengths)


def moved(x: Tensor, fill: Tensor, lengths: Tensor | None = None) -> Tensor:
    """By what the fall of an answer is shared among values that were replaced together: the shape of x, 0 to 1.

    The square of how far each value is moved, in units of the clip's farthest. So shared, relevance is that of the least
    linear change (least sum of squared slopes) that accounts for the fall, and a value that is not moved gets nothing.
    Equal shares would give as much to every silent cell of a window as to the one sound in it.
    """
    far = (x - fill).abs()
    if lengths is not None:
        far = torch.where(before_the_end(x, lengths), far, 0.0)
    most = far.flatten(1).amax(1).reshape(-1, *(1,) * (x.ndim - 1))
    return (far / torch.where(most > 0, most, 1.0)).square()


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise HeschlError(f"{name} is {value}: it must be at least {least}")


def _baseline(baseline: float | Tensor, x: Tensor) -> Tensor:
    begin = torch.as_tensor(baseline, dtype=x.dtype, device=x.device)
    try:
        return begin.expand(x.shape)
    except RuntimeError as error:
        raise HeschlError(
            f"baseline is of shape {tuple(begin.shape)}: give a number, or a tensor that broadcasts to {tuple(x.shape)}"
        ) from error


def _gauss_legendre(n: int) -> tuple[list[float], list[float]]:
    """Points and weights of the n-point rule on [0, 1] (Golub & Welsch 1969: eigenvalues of the Jacobi matrix)."""
    k = torch.arange(1, n, dtype=torch.float64)
    beside = k / (4 * k**2 - 1).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return ((values + 1) / 2).tolist(), vectors[0].square().tolist()


@contextlib.contextmanager
def _differentiable(x: Tensor) -> Iterator[None]:
    """cuDNN's recurrent layers have no backward pass in eval mode; torch's own have."""
    before = torch.backends.cudnn.enabled
    if x.is_cuda:
        torch.backends.cudnn.enabled = False
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.backends.cudnn.enabled = before


def _explained(logits: Tensor, target: Tensor) -> Tensor:
    """The explained number of each clip (batch,)."""
    target = each_target(logits, target)
    picked = logits.gather(-1, target.clamp(min=0)[..., None])[..., 0] * (target >= 0)
    return picked if picked.ndim == 1 else picked.sum(1)


def _answer(model: nn.Module, x: Tensor, target: Tensor, lengths: Tensor | None) -> Tensor:
    return _explained(answers(model, x, lengths), target)


def _slope(model: nn.Module, x: Tensor, target: Tensor, lengths: Tensor | None) -> Tensor:
    with _differentiable(x):
        x = x.detach().clone().requires_grad_()
        score = _answer(model, x, target, lengths).sum()
        if not score.requires_grad:
            raise HeschlError(
                "the network's answer does not depend on x by torch operations: it has no gradient"
            )
        try:
            (slope,) = torch.autograd.grad(score, x, allow_unused=True)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise HeschlError(f"the network cannot be differentiated: {first_line(error)}") from error
    return torch.zeros_like(x.detach()) if slope is None else slope


def _scores(model: nn.Module, x: Tensor, target: Tensor, lengths: Tensor | None) -> Tensor:
    with torch.no_grad():
        return _by_chunks(_answer, model, x, target, lengths)


def _by_chunks(
    call: Callable[[nn.Module, Tensor, Tensor, Tensor | None], Tensor],
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    lengths: Tensor | None,
) -> Tensor:
    def one(part: slice) -> Tensor:
        return call(model, x[part], target[part], None if lengths is None else lengths[part])

    parts = in_parts(one, len(x), _CHUNK)
    return torch.cat(parts) if parts else torch.zeros_like(x)
