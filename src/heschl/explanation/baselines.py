"""Two attributions of other people's, by the interface of our own, to compare with (extra `baselines`: captum).

DeepLift (Shrikumar et al. 2017) and GradientShap (Lundberg & Lee 2017), as captum has them. DeepLift holds for networks
whose activations are modules, each used once; a functional activation or a product of two signals is, to captum,
a plain gradient, and it says nothing of it. Networks here have such: compare, and do not rely on it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heschl.explanation.asking import answers, prepared
from heschl.explanation.target import check_target, each_target
from heschl.types import HeschlError


def deeplift(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    baseline: float | Tensor = 0.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """How the target's logit differs from the baseline's, carried back by DeepLift's rescale rule.

    baseline: a number, or a tensor that broadcasts to x; silence is 0 on a waveform.

    Raises
    ------
    HeschlError: captum is not installed or cannot explain this network, or bad input.
    """
    attr = _captum()
    model, x = prepared(model, x)
    target, x = check_target(target, x), x.detach()
    begin = _like(baseline, x)

    def one(k: slice) -> Tensor:
        wrapped = _Explained(model, target[k], None if lengths is None else lengths[k])
        given: Tensor = attr.DeepLift(wrapped).attribute(x[k].clone(), begin[k])
        return given

    return _clip_by_clip(one, x, "DeepLift")


def gradient_shap(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    baseline: float | Tensor = 0.0,
    samples: int = 32,
    noise: float = 0.0,
    seed: int = 0,
    lengths: Tensor | None = None,
) -> Tensor:
    """The mean of integrated gradients' slopes at random points between baselines and x.

    Parameters
    ----------
    baseline: a number, or a tensor (baseline, *the shape of one clip), from which one is drawn for each sample.
    samples: points a clip. noise: standard deviation of Gaussian noise on x, in its own units.
    seed: the draws are the same for every clip, so a clip never changes another.

    Raises
    ------
    HeschlError: captum is not installed or cannot explain this network, or bad input.
    """
    attr = _captum()
    model, x = prepared(model, x)
    if samples < 1:
        raise HeschlError(f"samples is {samples}: it must be at least 1")
    if noise < 0:
        raise HeschlError(f"noise is {noise}: a standard deviation must not be negative")
    target, x = check_target(target, x), x.detach()
    begins = torch.as_tensor(baseline, dtype=x.dtype, device=x.device)
    if begins.ndim == 0:
        begins = begins.expand(1, *x.shape[1:])
    if begins.shape[1:] != x.shape[1:]:
        raise HeschlError(
            f"baseline is of shape {tuple(begins.shape)}: give a number, or baselines (n, {', '.join(map(str, x.shape[1:]))})"
        )

    def one(k: slice) -> Tensor:
        wrapped = _Explained(model, target[k], None if lengths is None else lengths[k])
        with _seeded(seed, x.device):
            given: Tensor = attr.GradientShap(wrapped).attribute(
                x[k].clone(), begins, n_samples=samples, stdevs=noise
            )
        return given

    return _clip_by_clip(one, x, "GradientShap")


class _Explained(nn.Module):
    """The target's logit of each clip (clip,); frames summed. A clip that captum repeats keeps its own target."""

    def __init__(self, model: nn.Module, target: Tensor, lengths: Tensor | None) -> None:
        super().__init__()
        self.model, self.target, self.lengths = model, target, lengths

    def forward(self, x: Tensor) -> Tensor:
        target = self.target.expand(len(x), *self.target.shape[1:])  # one clip at a time, so all are its own
        logits = answers(self.model, x, None if self.lengths is None else self.lengths.expand(len(x)))
        wanted = each_target(logits, target)
        picked: Tensor = logits.gather(-1, wanted.clamp(min=0)[..., None])[..., 0] * (wanted >= 0)
        return picked if picked.ndim == 1 else picked.sum(1)


def _clip_by_clip(one: Callable[[slice], Tensor], x: Tensor, name: str) -> Tensor:
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # that it sets hooks, and that x needs gradients
            parts = [one(slice(k, k + 1)).detach() for k in range(len(x))]
    except HeschlError:
        raise
    except (RuntimeError, AssertionError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise HeschlError(
            f"captum's {name} cannot explain this network ({said}): use another method"
        ) from error
    return torch.cat(parts).to(x.dtype) if parts else torch.zeros_like(x)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Captum draws from the global generators of torch and numpy: they are set for it, and put back."""
    before = np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        np.random.set_state(before)


def _like(baseline: float | Tensor, x: Tensor) -> Tensor:
    begin = torch.as_tensor(baseline, dtype=x.dtype, device=x.device)
    try:
        return begin.expand(x.shape)
    except RuntimeError as error:
        raise HeschlError(
            f"baseline is of shape {tuple(begin.shape)}: give a number, or a tensor that broadcasts to {tuple(x.shape)}"
        ) from error


def _captum() -> Any:
    try:
        import captum.attr
    except ImportError:
        raise HeschlError("DeepLift and GradientShap need captum: pip install 'heschl[baselines]'") from None
    return captum.attr
