"""The contract of a network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from heschl.contract.finding import Broken, Finding, name_of, own_arguments, refused, require, tried
from heschl.models.timing import compose, measure
from heschl.types import HeschlError

CLIPS = 8
MOST_ARGUMENTS = 8


def check_model(
    factory: Callable[..., nn.Module],
    in_shape: Sequence[int],
    n_outputs: int,
    overfit_steps: int = 0,
    seed: int = 0,
) -> list[Finding]:
    """Holds a network to the contract, on random input.

    Parameters
    ----------
    factory: ``factory(in_shape, n_outputs)`` gives the network: its class, or a function that fills in options.
    in_shape: of one input, without the batch.
    overfit_steps: so many steps of training may be taken to learn 8 clips by heart; 0 leaves that rule out.
    """
    shape = tuple(in_shape)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, *shape, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: list[nn.Module] = []
        findings = tried(
            name_of(factory),
            [("is made from in_shape and n_outputs", lambda: made.append(factory(shape, n_outputs)))],
        )
        if not made:
            return findings
        model = made[0].eval()
        rules: list[tuple[str, Callable[[], None]]] = [
            (f"has at most {MOST_ARGUMENTS} arguments of its own", lambda: _arguments(factory)),
            ("gives logits of the right shape", lambda: _shape(model, x, n_outputs)),
            ("ends without a softmax", lambda: _no_softmax(model, x)),
            ("one clip never changes another", lambda: _alone(model, x)),
            ("the gradient reaches the input", lambda: _gradient(model, x)),
            ("every parameter learns", lambda: _all_learn(model, x)),
            ("weights can be saved and loaded", lambda: _state(model, factory, x, n_outputs)),
            ("its areas are there", lambda: _areas(model, x)),
            ("its areas have the times that the gradient finds", lambda: _times(model, x)),
            ("keeps to lengths, or refuses them", lambda: _lengths(model, x)),
            ("refuses another shape in one sentence", lambda: _other_shape(model, x)),
            ("draws its weights from torch's seed alone", lambda: _seeded(factory, shape, n_outputs)),
        ]
        if overfit_steps:
            rules.append(
                (
                    f"learns {CLIPS} clips by heart",
                    lambda: _overfits(factory, shape, n_outputs, overfit_steps),
                )
            )
        return findings + tried(name_of(factory), rules)


def _logits(model: nn.Module, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    out: Any = model(x) if lengths is None else model(x, lengths=lengths)
    logits: torch.Tensor = out[0] if isinstance(out, tuple) else out
    return logits


def _arguments(factory: Any) -> None:
    own = own_arguments(factory, ("in_shape", "n_outputs"))
    require(len(own) <= MOST_ARGUMENTS, f"it has {len(own)}: {', '.join(own)}")


def _shape(model: nn.Module, x: torch.Tensor, n_outputs: int) -> None:
    with torch.no_grad():
        logits = _logits(model, x)
    frames = getattr(model, "frames", False)
    expected = (len(x), x.shape[-1], n_outputs) if frames else (len(x), n_outputs)
    require(
        tuple(logits.shape) == expected,
        f"{tuple(logits.shape)} for an input of {tuple(x.shape)}, not {expected}",
    )
    require(bool(logits.isfinite().all()), "some logits are not finite")


def _no_softmax(model: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        logits = _logits(model, torch.cat([x, 5 * x]))
    ones = torch.ones(logits.shape[:-1])
    require(
        not torch.allclose(logits.sum(-1), ones, atol=1e-4),
        "every row sums to one: give logits, not probabilities",
    )
    require(
        not torch.allclose(logits.exp().sum(-1), ones, atol=1e-4),
        "the exponentials of every row sum to one: give logits, not log-probabilities",
    )


def _alone(model: nn.Module, x: torch.Tensor) -> None:
    model, x = model.double(), x.double()
    try:
        with torch.no_grad():
            together = _logits(model, x)
            single = torch.cat([_logits(model, clip[None]) for clip in x])
            loud = _logits(model, torch.cat([x[:1], 1000 * x[1:]]))[:1]
    finally:
        model.float()
    difference = float(max((together - single).abs().max(), (together[:1] - loud).abs().max()))
    require(
        difference <= 1e-8 * max(1.0, float(single.abs().max())),
        f"its answer moves by {difference:.2g} with its neighbours",
    )


def _gradient(model: nn.Module, x: torch.Tensor) -> None:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_logits(model, x)[0].square().sum(), x)
    require(bool(gradient.isfinite().all()), "the gradient is not finite")
    require(bool(gradient[0].any()), "no gradient arrives at the input")
    require(not gradient[1:].any(), "the gradient of one clip's answer reaches another clip")


def _all_learn(model: nn.Module, x: torch.Tensor) -> None:
    model.zero_grad()
    out: Any = model(torch.cat([x, -x, 10 * x]))
    heads: Any = getattr(out, "heads", out[0] if isinstance(out, tuple) else out)
    torch.autograd.backward(heads.square().sum())
    dead = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    model.zero_grad()
    require(not dead, f"no gradient for {', '.join(dead[:4])}: parameters that are never used are not built")


def _state(model: nn.Module, factory: Any, x: torch.Tensor, n_outputs: int) -> None:
    other = factory(tuple(x.shape[1:]), n_outputs).eval()
    other.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, strict=True)
    with torch.no_grad():
        require(
            torch.equal(_logits(model, x), _logits(other, x)),
            "a copy with the same weights answers otherwise",
        )


def _areas(model: nn.Module, x: torch.Tensor) -> None:
    areas = getattr(model, "areas", None)
    require(isinstance(areas, dict), "it has no `areas`: a dict of public name -> submodule")
    assert areas is not None
    for area, path in areas.items():
        try:
            model.get_submodule(path)
        except AttributeError:
            raise Broken(f"area {area} names {path}, which is no submodule") from None


def _times(model: nn.Module, x: torch.Tensor) -> None:
    if getattr(model, "time_axis", -1) is None:  # it says itself that its steps have no time
        refused(lambda: compose(model, x.shape[1:]), "asking a network without a time axis for times")
        return
    model = model.double()
    try:
        for area, timing in compose(model, x.shape[1:]).items():
            steps = sorted({0, timing.steps // 2, timing.steps - 1})
            for step, (first, last) in measure(model, x.double(), area, timing, steps).items():
                claimed = timing.field(step)
                require(
                    claimed[0] <= first and last <= claimed[1],
                    f"step {step} of {area} hears input steps {first} to {last}, not {claimed[0]} to {claimed[1]}",
                )
    finally:
        model.float()


def _lengths(model: nn.Module, x: torch.Tensor) -> None:
    require("lengths" in inspect.signature(model.forward).parameters, "forward has no argument `lengths`")
    length = x.shape[-1]
    full = torch.full((len(x),), length)
    short = full.clone()
    short[1] = max(1, length * 2 // 3)
    model, x = model.double(), x.double()
    other = x.clone()
    other[1, ..., int(short[1]) :] = 100.0
    try:
        with torch.no_grad():
            require(
                torch.allclose(_logits(model, x, full), _logits(model, x), atol=1e-8),
                "full lengths change the answer",
            )
            if getattr(model, "time_axis", -1) != -1:
                return  # its last axis is not time, so that lengths say nothing of it
            try:
                one, two = _logits(model, x, short), _logits(model, other, short)
            except HeschlError:
                return
            keep = int(short[1]) if getattr(model, "frames", False) else None
            difference = float((one[1, :keep] - two[1, :keep]).abs().max())
            require(difference <= 1e-8, f"what lies beyond a clip's end moves its answer by {difference:.2g}")
            require(
                torch.allclose(one[0], _logits(model, x)[0], atol=1e-8),
                "one clip's length changes another's answer",
            )
    finally:
        model.float()


def _other_shape(model: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        refused(lambda: model(torch.zeros(2, x[0].numel() + 1)), "an input of another shape")


def _seeded(factory: Any, shape: tuple[int, ...], n_outputs: int) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(factory(shape, n_outputs).state_dict())
    one, same, other = states
    require(all(torch.equal(one[name], same[name]) for name in one), "the same seed gives other weights")
    require(
        any(not torch.equal(one[name], other[name]) for name in one), "another seed gives the same weights"
    )


def _overfits(factory: Any, shape: tuple[int, ...], n_outputs: int, steps: int) -> None:
    torch.manual_seed(0)
    model = factory(shape, n_outputs)
    x = torch.randn(CLIPS, *shape)
    frames = getattr(model, "frames", False)
    y = torch.arange(CLIPS) % n_outputs
    y = y[:, None].expand(CLIPS, x.shape[-1]) if frames else y
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(steps):
        out: Any = model.train()(x)
        heads = getattr(out, "heads", None)
        answers = list(heads) if heads is not None else [out[0] if isinstance(out, tuple) else out]
        losses = [nn.functional.cross_entropy(one.flatten(0, -2), y.flatten()) for one in answers]
        optimiser.zero_grad()
        torch.autograd.backward(torch.stack(losses).mean())
        optimiser.step()
        if step % 10 == 9:
            with torch.no_grad():
                right = float((_logits(model.eval(), x).argmax(-1) == y).double().mean())
            if right == 1.0:
                return
    raise Broken(f"after {steps} steps it knows {right:.0%} of them")
