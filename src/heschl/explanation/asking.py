"""A network, asked: in one precision with its clips, and in a sentence where it cannot take them or memory runs out."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from heschl.explanation.target import check_input, check_model, logits_of
from heschl.types import HeschlError

_HALF = (torch.float16, torch.bfloat16)
COARSE = "half precision is too coarse for relevance: it is computed in float32"


def prepared(model: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """A network and clips (batch, ...), checked, on one device and in one precision, at least float32.

    The caller's network is not touched: one in half precision is copied, which is said.

    Raises
    ------
    HeschlError: as `check_model` and `check_input`.
    """
    check_model(model)
    check_input(x)
    kinds = [t for t in model.parameters() if t.is_floating_point()]
    if any(t.dtype in _HALF for t in kinds) or x.dtype in _HALF:
        warnings.warn(COARSE, stacklevel=5)
    if any(t.dtype in _HALF for t in kinds):
        model = copy.deepcopy(model).float()
        kinds = [t for t in model.parameters() if t.is_floating_point()]
    if kinds:
        return model, x.to(kinds[0].device, kinds[0].dtype)
    return model, x.float() if x.dtype in _HALF else x


def answers(model: nn.Module, x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Logits of clips (batch, ...); lengths (batch,) go to networks that take them.

    The network gets a copy: one that overwrites its input changes no clip.

    Raises
    ------
    HeschlError: the network cannot take them, or gives no logits.
    """
    try:
        out = model(x.clone()) if lengths is None else model(x.clone(), lengths)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, HeschlError) or out_of_memory(error):
            raise
        raise not_taken(error, x) from error
    return logits_of(out)


def not_taken(error: Exception, x: Tensor) -> HeschlError:
    """What torch says where a network cannot take an input, as a sentence."""
    first = first_line(error)
    sizes = any(word in first.lower() for word in ("size", "shape", "kernel", "length"))
    return HeschlError(
        f"the network cannot take an input of shape {tuple(x.shape)}: {first}"
        + ("; is the clip shorter than the network's receptive field?" if sizes else "")
    )


def first_line(error: Exception) -> str:
    """The first line of what torch says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def in_parts(call: Callable[[slice], Tensor], n: int, size: int) -> list[Tensor]:
    """call(part) for parts of `size` out of n; where memory runs out, of half as many and on, which is said once."""
    found: list[Tensor] = []
    done, most = 0, size
    while done < n:
        try:
            found.append(call(slice(done, min(n, done + most))))
        except RuntimeError as error:
            if not out_of_memory(error) or most == 1:
                raise
            most = max(1, min(most, n - done) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        done += most
    if most < size:
        warnings.warn(f"memory ran out: went on with {most} clip{'s' * (most > 1)} at once", stacklevel=4)
    return found
