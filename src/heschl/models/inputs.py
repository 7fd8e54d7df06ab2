"""What every network asks of its input, refused in one sentence where it does not hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from heschl.types import HeschlError


def check_shape(
    network: str, in_shape: Sequence[int], axes: Sequence[str], n_outputs: int
) -> tuple[int, ...]:
    """``in_shape`` as a tuple, once it has one positive size for each of ``axes`` and there are classes to tell apart."""
    shape = tuple(int(size) for size in in_shape)
    if len(shape) != len(axes) or any(size < 1 for size in shape):
        raise HeschlError(
            f"{network} reads ({', '.join(axes)}), and its in_shape is {shape}: choose a feature with these axes"
        )
    if n_outputs < 1:
        raise HeschlError(f"{network} was asked for {n_outputs} outputs: it needs at least one")
    return shape


def check_input(
    network: str,
    x: torch.Tensor,
    in_shape: Sequence[int],
    lengths: torch.Tensor | None = None,
    any_time: bool = False,
) -> None:
    """Refuses an input of another shape than (batch, *in_shape), and lengths that do not fit it.

    Parameters
    ----------
    lengths: (batch,) valid steps of the last axis, or None.
    any_time: the last axis may have any size and clips may end early; else every clip must fill ``in_shape``.

    Raises
    ------
    HeschlError: one sentence with the shape that was expected and the one that was found.
    """
    fixed = tuple(in_shape[:-1] if any_time else in_shape)
    found = tuple(x.shape[1 : 1 + len(fixed)])
    if x.ndim != 1 + len(in_shape) or found != fixed or x.shape[-1] < 1:
        expected = ", ".join(str(size) for size in (*fixed, *(["time"] if any_time else [])))
        raise HeschlError(
            f"{network} takes (batch, {expected}) and was given {tuple(x.shape)}: "
            "fit the clips' length (`clip.seconds` in the recipe) or the feature"
        )
    if lengths is None:
        return
    if lengths.shape != (len(x),) or bool((lengths < 1).any()) or bool((lengths > x.shape[-1]).any()):
        raise HeschlError(
            f"{network} was given lengths {lengths.tolist()} for an input of shape {tuple(x.shape)}: "
            "each clip needs one between 1 and the size of the last axis"
        )
    if not any_time and bool((lengths != x.shape[-1]).any()):
        raise HeschlError(
            f"{network} reads clips of one length only and cannot leave out padding "
            f"(lengths {sorted(set(lengths.tolist()))} of {x.shape[-1]}): set `clip.seconds` in the recipe"
        )
