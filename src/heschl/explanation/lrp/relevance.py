"""The way in: `lrp` and `lrp_report`."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from heschl.explanation.asking import not_taken, out_of_memory, prepared
from heschl.explanation.lrp.own import attached, read_rules
from heschl.explanation.lrp.presets import PRESETS
from heschl.explanation.lrp.rules import nearest, total
from heschl.explanation.lrp.tape import Tape
from heschl.explanation.target import Start, begin, check_target, logits_of
from heschl.types import HeschlError

_FIRST_CHUNK, _LARGEST_CHUNK = 16, 256  # clips
_SILENT = "clip of zeros"
_MEMORY = 1 << 30  # bytes of activations that a later chunk may fill


class Layer(NamedTuple):
    """Where the relevance that came to a layer went, summed over the clips.

    relevance_in = relevance_out + bias + epsilon + stopped: what came from above, what was handed down towards the
    clip, and what the layer's biases, the stabiliser, and constants (zeroed places, states, learned tokens) took. Where a
    clip of zeros would get relevance (by flat, w2 or z-box), a last line, "x", says how much was left out there.
    """

    name: str
    rule: str
    relevance_in: float
    relevance_out: float
    bias: float
    epsilon: float
    stopped: float


def lrp(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    preset: str = "epsilon_plus",
    rules: Mapping[Any, Any] | None = None,
    start: Start = "logit",
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
    *,
    attention: Literal["cp", "attn"] = "cp",
    chunk: int | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """How much each value of x gave to the target's logit.

    model: in eval mode; gives logits (batch, n_outputs) or (batch, time, n_outputs), or a tuple that begins with them.
    x: (batch, ...), floating. target: LongTensor (batch,), or (batch, time) with -100 for frames left out.
    preset: "epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box", "epsilon_alpha2beta1".
    rules: {module's name or type: rule}, over the preset, for a module and what it holds. A rule is a name
        ("epsilon", "gamma", "zplus", "alpha2beta1", "alpha1beta0", "flat", "w2", "zbox"), ("gamma", 0.1), a `Rule`;
        for a module of your own also "identity", "gradient" (epsilon on its derivative), or a function
        (module, x, y, relevance of y) -> relevance of x, whose sum is checked.
    start: "logit" (the target's), "one", or "contrast" (minus the best other).
    low, high: z-box's bounds of x, a number, (batch,) or the shape of x; each clip's own extremes by default (where a
        front end lies before the first layer, the extremes of what that layer gets of the clip).
    attention: "cp", weights are constants, or "attn", AttnLRP, which does not conserve.
    chunk: clips at once; by default as many as a GiB of activations allows. Results do not depend on it.
    lengths: steps of each clip (batch,), for networks that take them as a second argument.

    Returns relevance, the shape of x. A clip of zeros gets zeros.
    Raises HeschlError, one sentence, for an unsupported operation (by its module's name) and for bad input.
    """
    options = Options(preset, rules, start, low, high, attention, chunk, lengths, counted=False)
    return _explain(model, x, target, options)[0]


def lrp_report(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    preset: str = "epsilon_plus",
    rules: Mapping[Any, Any] | None = None,
    start: Start = "logit",
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
    *,
    attention: Literal["cp", "attn"] = "cp",
    chunk: int | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, list[Layer]]:
    """`lrp`, and for each layer, from the answer down to the clip, where its relevance went."""
    options = Options(preset, rules, start, low, high, attention, chunk, lengths, counted=True)
    return _explain(model, x, target, options)


class Options(NamedTuple):
    """What `lrp` was asked for."""

    preset: str
    rules: Mapping[Any, Any] | None
    start: Start
    low: Any
    high: Any
    attention: str
    chunk: int | None
    lengths: Tensor | None
    counted: bool


def _check_options(options: Options) -> None:
    if options.preset not in PRESETS:
        near = nearest(str(options.preset), list(PRESETS))
        raise HeschlError(f"there is no LRP preset {options.preset!r}: {near}")
    if options.attention not in ("cp", "attn"):
        raise HeschlError(f"attention is {options.attention!r}: choose 'cp' or 'attn'")
    if options.start not in ("logit", "one", "contrast"):
        raise HeschlError(f"start is {options.start!r}: choose 'logit', 'one' or 'contrast'")
    if options.chunk is not None and options.chunk < 1:
        raise HeschlError(f"chunk is {options.chunk}: it must be at least one clip")


def _explain(model: nn.Module, x: Tensor, target: Any, options: Options) -> tuple[Tensor, list[Layer]]:
    _check_options(options)
    model, x = prepared(model, x)
    target, lengths = check_target(target, x), options.lengths
    if lengths is not None and lengths.shape != x.shape[:1]:
        raise HeschlError(
            f"lengths is of shape {tuple(lengths.shape)} for {len(x)} clips: give the steps of each, ({len(x)},)"
        )
    own = read_rules(model, options.rules)
    if len(x) == 0:
        return torch.zeros_like(x), []
    rules = (*dict(PRESETS[options.preset]).values(), *own.values())
    box = None
    if any(getattr(r, "name", "") == "zbox" for r in rules):
        box = _box(x, options.low, options.high, lengths)
    bounds_given = options.low is not None or options.high is not None
    given, lines, words = [], [], []
    done, size, most = 0, options.chunk or _FIRST_CHUNK, _LARGEST_CHUNK
    while done < len(x):
        part = slice(done, done + size)
        tape = Tape(model, PRESETS[options.preset], own, options.attention, options.counted, bounds_given)
        part_box = None if box is None else (box[0][part], box[1][part])
        inputs = (x[part].detach(),) if lengths is None else (x[part].detach(), lengths[part])
        try:
            given.append(_run(tape, inputs, target[part], options.start, part_box))
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error) or size == 1:
                raise
            size = most = max(1, min(size, len(x) - done) // 2)
            if x.is_cuda:
                torch.cuda.empty_cache()
            continue
        lines.append(tape.entries)
        words += tape.words
        done += size
        if options.chunk is None and tape.bytes:
            size = int(max(1, min(most, _MEMORY * len(inputs[0]) // tape.bytes)))
    if most < _LARGEST_CHUNK:
        words.append(f"memory ran out: went on with {most} clip{'s' * (most > 1)} at once")
    for word in dict.fromkeys(words):
        warnings.warn(word, stacklevel=3)
    return torch.cat(given), _summed(lines)


def _run(
    tape: Tape, inputs: tuple[Tensor, ...], target: Tensor, start: Start, box: tuple[Tensor, Tensor] | None
) -> Tensor:
    x, *lengths = inputs
    with _as_written(), torch.inference_mode(False), torch.enable_grad(), _exact(x), attached(tape):
        signal = tape.begin(x, box, _outside(x, *lengths))
        try:
            with tape:
                out = tape.model(signal, *lengths)
        except (RuntimeError, ValueError) as error:
            if isinstance(error, HeschlError) or out_of_memory(error):
                raise
            raise not_taken(error, x) from error
        logits = tape.followed(logits_of(out))
        unused = [key for key in tape.rules if key not in tape.used]
        if unused:
            name = unused[0] if isinstance(unused[0], str) else unused[0].__name__
            raise HeschlError(
                f"`rules` names '{name}', which holds nothing that a rule could be for: leave it out"
            )
        wanted = {kind for kind, _ in tape.preset if kind == "first"}
        if wanted - tape.kinds and not tape.rules:
            tape.words.append(
                "the first layer is recurrent, attention or a product by hand, which are always under epsilon: "
                "the preset's rule for the first layer was not used"
            )
        relevance = begin(logits.detach(), target, start)
        outcome, _ = torch.autograd.grad(logits, [signal, tape.anchor], relevance, allow_unused=True)
    if outcome is None:
        raise HeschlError("the network's answer does not depend on x: LRP has nothing to follow")
    if not bool(torch.isfinite(outcome).all()):
        raise HeschlError(
            "relevance overflowed on the way: the network's values are too large for "
            f"{str(x.dtype).removeprefix('torch.')}; use double precision"
        )
    # flat and w2 share without regard to x: where there is no sound, nothing was relied on
    kept = outcome * (x != 0).flatten(1).any(1).reshape(-1, *(1,) * (x.ndim - 1))
    tape.count("x", _SILENT, (outcome,), (kept,), stopped=total(outcome) - total(kept))
    return kept


def _outside(x: Tensor, lengths: Tensor | None = None) -> Tensor | None:
    """True where a clip has ended, the shape of x (batch, ..., time); None where all fill it."""
    if lengths is None or bool((lengths >= x.shape[-1]).all()):
        return None
    after = torch.arange(x.shape[-1], device=x.device) >= lengths.to(x.device)[:, None]
    return after.reshape(len(x), *(1,) * (x.ndim - 2), -1).expand(x.shape)


def _box(x: Tensor, low: Any, high: Any, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    ends = []
    wide = (-1,) + (1,) * (x.ndim - 1)
    gone = _outside(x, lengths)
    lowest, highest = (x if gone is None else x.masked_fill(gone, end) for end in (torch.inf, -torch.inf))
    for name, given, own in (
        ("low", low, lowest.flatten(1).amin(1)),
        ("high", high, highest.flatten(1).amax(1)),
    ):
        end = own if given is None else torch.as_tensor(given, dtype=x.dtype, device=x.device)
        if end.ndim == 1 and len(end) == len(x):
            end = end.reshape(wide)
        try:
            ends.append(end.expand(x.shape))
        except RuntimeError as error:
            raise HeschlError(
                f"{name} is of shape {tuple(end.shape)}: give a number, one a clip ({len(x)},), or {tuple(x.shape)}"
            ) from error
    if bool((ends[0] > ends[1]).any()):
        raise HeschlError("low lies above high: z-box needs the lowest and the highest value that x can have")
    return ends[0], ends[1]


def _as_written() -> contextlib.AbstractContextManager[Any]:
    """What was compiled runs as it was written: compiled code shows none of its operations."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing the compiler takes seconds
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextlib.contextmanager
def _exact(x: Tensor) -> Iterator[None]:
    """No TF32 on GPUs: its ten bits are too few for relevance."""
    if not x.is_cuda:
        yield
        return
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def _summed(chunks: list[list[Any]]) -> list[Layer]:
    """The chunks' lines, added up; every chunk went the same way. Where clips of zeros took nothing, none is of them."""
    out = []
    for same in zip(*chunks):
        sums = [sum(getattr(e, field) for e in same) for field in Layer._fields[2:]]
        out.append(Layer(same[0].name, same[0].rule, *sums))
    return [line for line in out if line.rule != _SILENT or line.stopped]
