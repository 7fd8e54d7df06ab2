"""When does a step of a layer happen? Receptive fields and centre times, composed layer by layer.

A step of a layer hears a stretch of the input, its field; its time is the centre of what it hears. Composition runs
the network once on a blank input and follows, tensor by tensor, what each layer does to the time axis:

    convolution or pool of kernel k, dilation d, stride s, padding p, over steps with field (start, size), stride S:
        start - p S,   size + (k - 1) d S,   stride s S
    recurrent layer: every step also hears all steps before it (and after it, when bidirectional); its time is
        that of the newest step it hears
    dense layer over everything, flattening, a mean over time: one step that hears the whole
    sum, product or concatenation of branches: each step hears what any of them heard

`measure` asks the gradient instead, layer by layer and step by step: slow, and independent of all of this.
The time of a step is network time, where it listens in the input; it is not a latency in the brain.

A network may say, by class or instance attribute:
    time_axis: which axis of its input is time (default -1); None where it has none.
    timing: {submodule: axis of its output that is time, 0 where time lies in the batch, None for "one step that
        hears the whole"}, for submodules of its own making that hear one step at a time; or a `Timing`, where a
        network knows itself when a submodule's steps happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from heschl.models.timing_rules import Timing, after_layer, axis_of, join, whole
from heschl.types import HeschlError

# Functions by name: those that move axes about, those that make one step of many, and those that must be layers.
_MOVES = {"transpose", "permute", "movedim", "moveaxis", "swapaxes", "unsqueeze"}
_REDUCES = {"mean", "sum", "amax", "amin", "max", "min", "std", "var", "logsumexp", "norm", "prod", "median"}
_SLIDES = ("conv", "max_pool", "avg_pool", "lp_pool", "adaptive", "unfold", "stft", "interpolate")


def times(
    model: nn.Module,
    in_shape: Sequence[int],
    rate: float,
    start: float = 0.0,
    areas: Iterable[str] | None = None,
) -> dict[str, torch.Tensor]:
    """Centre times of each area's steps.

    Parameters
    ----------
    in_shape: of one input, without the batch.
    rate: steps (frames or samples) per second of the input's time axis, Hz.
    start: time of its first step, seconds.
    areas: names out of ``model.areas``; None for all.

    Returns
    -------
    area -> (step,) seconds from the clip's start, float64.

    Raises
    ------
    HeschlError: an area is not one, the input has no time axis, or a layer is unknown to composition.
    """
    return {area: start + timing.centres() / rate for area, timing in compose(model, in_shape, areas).items()}


def compose(
    model: nn.Module, in_shape: Sequence[int], areas: Iterable[str] | None = None
) -> dict[str, Timing]:
    """The `Timing` of each area, by one run on a blank input in eval mode; see the module's text."""
    modules = area_modules(model, areas)
    x = torch.zeros(1, *in_shape).to(_like(model))
    trace = _Trace(model, x)
    found: dict[str, Timing] = {}

    def keep(area: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found[area] = _settled(trace.of(output))

        return hook

    handles = trace.follow(model)
    handles += [module.register_forward_hook(keep(area)) for area, module in modules.items()]
    with trace:
        _run(model, x, handles)
    missing = [area for area in modules if area not in found]
    if missing:
        raise HeschlError(f"{_name(model)} never runs its area {missing[0]}: mend its `areas`")
    return found


def measure(
    model: nn.Module, x: torch.Tensor, area: str, timing: Timing, steps: Iterable[int], seed: int = 0
) -> dict[int, tuple[int, int]]:
    """First and last input step that each of an area's ``steps`` hears, by the gradient.

    Parameters
    ----------
    x: (example, *in_shape) inputs; the fields of all are united, since a maximum hears only its winner.
    timing: tells how many steps the area has and which axis they lie on, and nothing else.
    steps: which of them to measure.

    Returns
    -------
    step -> (first, last); a step that hears nothing is left out.
    """
    outputs, x = _area_output(model, area, x)
    series = as_series(outputs, timing, len(x))
    mix = torch.randn(series.shape[-1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    time_axis = x.ndim + getattr(model, "time_axis", -1)
    others = [axis for axis in range(x.ndim) if axis != time_axis]
    fields = {}
    for step in steps:
        (gradient,) = torch.autograd.grad((series[:, step].double() @ mix).sum(), x, retain_graph=True)
        heard = gradient.abs().amax(others).nonzero().flatten()
        if len(heard):
            fields[step] = (int(heard[0]), int(heard[-1]))
    return fields


def as_series(output: Any, timing: Timing, batch: int) -> torch.Tensor:
    """An area's output as (batch, step, unit), whatever axis its time lies on. A recurrent layer's states are
    its output at each step."""
    value: torch.Tensor = first(output)
    if timing.axis is None:
        return value.reshape(batch, 1, -1)
    if timing.axis == 0:
        return value.reshape(batch, timing.steps, -1)
    return value.movedim(timing.axis, 1).reshape(batch, timing.steps, -1)


def area_modules(model: nn.Module, areas: Iterable[str] | None = None) -> dict[str, nn.Module]:
    """Area -> submodule, by the network's own ``areas``.

    Raises
    ------
    HeschlError: the network has no such area, or an area names a submodule that is not there.
    """
    known: dict[str, str] = getattr(model, "areas", {})
    modules = {}
    for area in known if areas is None else areas:
        if area not in known:
            raise HeschlError(
                f"{_name(model)} has no area {area}: its areas are {', '.join(known) or 'none'}"
            )
        try:
            modules[area] = model.get_submodule(known[area])
        except AttributeError:
            raise HeschlError(f"{_name(model)} has no submodule {known[area]} for its area {area}") from None
    return modules


def _area_output(model: nn.Module, area: str, x: torch.Tensor) -> tuple[Any, torch.Tensor]:
    kept: list[Any] = []
    (module,) = area_modules(model, [area]).values()
    handle = module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    x = x.detach().to(_like(model)).requires_grad_()
    _run(model, x, [handle])
    return kept[-1], x


def _run(model: nn.Module, x: torch.Tensor, handles: list[Any]) -> None:
    training = model.training
    model.eval()
    try:
        # With gradients, or torch takes short cuts (fused transformer layers) that skip the layers inside.
        with torch.enable_grad():
            model(x)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()


class _Trace(TorchFunctionMode):
    """The timing of every tensor of one run: a layer's by its rule, any other by those that it was made from."""

    def __init__(self, model: nn.Module, x: torch.Tensor) -> None:
        super().__init__()
        axis = getattr(model, "time_axis", -1)
        self.network = _name(model)
        if axis is None:
            raise HeschlError(f"the steps of this {self.network} are not moments in time: they have no times")
        steps = x.shape[axis]
        self.inside = 0  # how many layers deep, where functions are the layer's own affair
        # Tensors are kept, so that none takes another's id.
        self.known: dict[int, tuple[torch.Tensor, Timing]] = {id(x): (x, Timing(steps, steps, axis=axis))}

    def of(self, value: Any) -> Timing | None:
        return self.known.get(id(first(value)), (None, None))[1]

    def follow(self, model: nn.Module) -> list[Any]:
        """Hooks on every layer that is followed as a whole."""
        declared: dict[str, int | Timing | None] = getattr(model, "timing", {})
        handles: list[Any] = []
        wholes: list[str] = []
        for name, module in model.named_modules():
            if any(name.startswith(f"{whole}.") for whole in wholes):
                continue
            if (
                name in declared
                or isinstance(module, nn.MultiheadAttention)
                or not any(True for _ in module.children())
            ):
                wholes.append(name)
                handles.append(module.register_forward_pre_hook(self._enter))
                handles.append(module.register_forward_hook(self._leave(name, declared)))
        return handles

    def _enter(self, _module: nn.Module, _inputs: Any) -> None:
        self.inside += 1

    def _leave(self, name: str, declared: dict[str, int | Timing | None]) -> Any:
        def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self.inside -= 1
            before, value = self.of(inputs[0]), first(output)
            said = declared.get(name)
            if isinstance(said, Timing):
                self.known[id(value)] = (value, said)
                return
            if before is None:  # made of weights alone
                return
            if name not in declared:
                after = after_layer(module, before, value, f"{self.network}'s layer {name}")
            elif said is None:
                after = whole(before)
            else:
                after = replace(before, axis=said)
            self.known[id(value)] = (value, after)

        return leave

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self.inside:
            return output
        values = [*args, *(kwargs or {}).values()]
        parts = [part for value in values for part in (value if isinstance(value, tuple | list) else [value])]
        found = [self.of(part) for part in parts if isinstance(part, torch.Tensor)]
        timings = [timing for timing in found if timing is not None]
        results = output if isinstance(output, tuple | list) else [output]
        for result in results:
            if timings and isinstance(result, torch.Tensor):
                self.known[id(result)] = (
                    result,
                    self._made(func.__name__, timings, args, kwargs or {}, result),
                )
        return output

    def _made(
        self, function: str, timings: list[Timing], args: Any, kwargs: Any, result: torch.Tensor
    ) -> Timing:
        if function.startswith(_SLIDES):
            raise HeschlError(
                f"{self.network} calls {function} as a function: make it a layer, so that its times are known"
            )
        before = join(timings, self.network)
        if function in _MOVES and before.axis:
            return replace(before, axis=_moved(function, before.axis, args, kwargs))
        after = replace(before, axis=axis_of(result, before))
        return whole(before) if function in _REDUCES and after.axis is None else after


def first(output: Any) -> Any:
    """A layer's output, without the states or fields that come after it."""
    return output[0] if isinstance(output, tuple) else output


def _moved(function: str, axis: int, args: Any, kwargs: Any) -> int:
    """Where an axis goes: the function is asked, with a tensor each of whose axes has a size of its own."""
    x = args[0]
    probe = torch.empty([2 + k for k in range(x.ndim)], device="meta")
    shape: torch.Size = getattr(torch.Tensor, function)(probe, *args[1:], **kwargs).shape
    return shape.index(2 + axis % x.ndim)


def _settled(timing: Timing | None) -> Timing:
    """The timing of an area: where the time axis is gone, one step that hears the whole."""
    if timing is None:
        raise HeschlError("an area's output is not made from the network's input: mend its `areas`")
    return whole(timing) if timing.axis is None else timing


def _like(model: nn.Module) -> torch.Tensor:
    """Something of the network's own precision, on its device."""
    return next(model.parameters(), torch.zeros(()))


def _name(model: nn.Module) -> str:
    return type(model).__name__
