"""The contract of a feature."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from heschl.contract.finding import Finding, name_of, require, tried


def check_feature(factory: Callable[[], nn.Module], seconds: float = 1.0, seed: int = 0) -> list[Finding]:
    """Holds a feature to the contract, on made-up sound.

    Parameters
    ----------
    factory: gives the feature: its class, or a function that fills in options.
    seconds: how long the sound is.
    """
    made: list[Any] = []
    findings = tried(name_of(factory), [("is made with its defaults", lambda: made.append(factory().eval()))])
    if not made:
        return findings
    feature = made[0]

    def sound() -> torch.Tensor:
        samples = round(seconds * feature.sample_rate)
        generator = torch.Generator().manual_seed(seed)
        time = torch.arange(samples) / feature.sample_rate
        tones = torch.sin(2 * torch.pi * torch.tensor([[300.0], [700.0], [1100.0]]) * time)
        return 0.2 * tones + 0.02 * torch.randn(3, samples, generator=generator)

    return findings + tried(
        name_of(factory),
        [
            ("says its rates", lambda: _rates(feature)),
            ("gives as many steps as it says", lambda: _steps(feature, sound())),
            ("one clip never changes another", lambda: _alone(feature, sound())),
            ("keeps to lengths", lambda: _lengths(feature, sound())),
            ("the gradient reaches the sound", lambda: _gradient(feature, sound())),
            ("hears silence without a fault", lambda: _silence(feature, sound())),
            ("gives the same twice, and in another process", lambda: _again(feature, sound())),
        ],
    )


def _rates(feature: Any) -> None:
    for name in ("sample_rate", "rate"):
        value = getattr(feature, name, None)
        require(
            isinstance(value, int | float) and value > 0,
            f"`{name}` is {value!r}: a number of hertz above zero",
        )
    start = getattr(feature, "start", 0.0)
    require(
        isinstance(start, int | float) and start >= 0,
        f"`start` is {start!r}: the first step's time in seconds",
    )


def _steps(feature: Any, wave: torch.Tensor) -> None:
    x = feature(wave)
    require(x.shape[0] == len(wave) and x.ndim >= 2, f"{tuple(x.shape)} for a batch of {len(wave)}")
    require(bool(x.isfinite().all()), "some values are not finite")
    said = int(feature.steps(wave.shape[1]))
    require(said == x.shape[-1], f"steps({wave.shape[1]}) is {said}, and it gives {x.shape[-1]}")
    several = feature.steps(torch.tensor([wave.shape[1], wave.shape[1]]))
    require(
        several.tolist() == [said, said], "steps() of a tensor of lengths disagrees with steps() of a number"
    )


def _alone(feature: Any, wave: torch.Tensor) -> None:
    wave = wave.double()
    together = feature(wave)
    single = torch.cat([feature(clip[None]) for clip in wave])
    beside_loud = feature(torch.cat([wave[:1], 0.9 * torch.sign(wave[1:])]))[:1]
    scale = max(1.0, float(single.abs().max()))
    difference = float(max((together - single).abs().max(), (together[:1] - beside_loud).abs().max()))
    require(difference <= 1e-7 * scale, f"a clip moves by {difference:.2g} with its neighbours")


def _lengths(feature: Any, wave: torch.Tensor) -> None:
    """A shorter clip, padded with zeros: its own steps are as when it is alone."""
    if "lengths" not in inspect.signature(feature.forward).parameters:
        return  # it takes clips of one length, or every step hears a fixed stretch
    wave = wave.double()
    samples = wave.shape[1] * 2 // 3
    wave[1, samples:] = 0
    x = feature(wave, torch.tensor([wave.shape[1], samples, wave.shape[1]]))
    alone = feature(wave[1:2, :samples])
    steps = alone.shape[-1]
    require(steps == int(feature.steps(samples)), f"steps({samples}) is not {steps}")
    # Steps near the end of a clip hear beyond it, zeros in both cases.
    difference = float((x[1, ..., :steps] - alone[0]).abs().max())
    require(
        difference <= 1e-6 * max(1.0, float(alone.abs().max())),
        f"padding moves a clip's own steps by {difference:.2g}",
    )


def _gradient(feature: Any, wave: torch.Tensor) -> None:
    wave = wave.double().requires_grad_()
    (gradient,) = torch.autograd.grad(feature(wave)[0].square().sum(), wave)
    require(bool(gradient.isfinite().all()), "the gradient is not finite")
    require(bool(gradient[0].any()), "no gradient arrives at the sound")
    require(not gradient[1:].any(), "the gradient of one clip reaches another")


def _silence(feature: Any, wave: torch.Tensor) -> None:
    silence = torch.zeros_like(wave).requires_grad_()
    x = feature(silence)
    require(bool(x.isfinite().all()), "silence gives values that are not finite")


def _again(feature: Any, wave: torch.Tensor) -> None:
    copy = pickle.loads(pickle.dumps(feature))
    require(torch.equal(feature(wave), feature(wave)), "the same sound gives other values the second time")
    require(torch.equal(feature(wave), copy(wave)), "a pickled copy, as a worker gets it, gives other values")
