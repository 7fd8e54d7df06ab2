"""Which stretch of speech was heard? Brain segments matched with candidates, CLIP-style.

Scores are inner products of what a network makes of a brain segment, Z, with candidates Y (Defossez et al. 2023):

    scores_ij = <Z_i, Y_j / |Y_j|> / T,        loss = mean_i -log softmax_j(scores_i)_i

Two candidates that are the same segment (or hold the same word, as ``groups`` says) are no negatives of one another:
they are left out of each other's denominators. The loss is that of the whole batch however it is computed: on one
device, on several (`gathered`), or in pieces that do not fit into memory together (`cached_backward`).
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from heschl.types import HeschlError

Normalise = Literal["candidate", "both", "none"]
COLDEST = 0.01  # below which no temperature is learnt, as in CLIP


def match_scores(
    z: Tensor, y: Tensor, temperature: float | Tensor = 1.0, normalise: Normalise = "candidate"
) -> Tensor:
    """Segments z (n, ...) and candidates y (m, ...) of one shape -> (n, m).

    Parameters
    ----------
    normalise: "candidate" (as published), "both" (cosines, as CLIP), or "none".
    """
    if z.shape[1:] != y.shape[1:]:
        raise HeschlError(
            f"segments of shape {tuple(z.shape[1:])} cannot be matched with candidates of shape {tuple(y.shape[1:])}: "
            "the network's outputs must be those of the candidates"
        )
    z, y = z.flatten(1), y.flatten(1)
    if normalise != "none":
        y = nn.functional.normalize(y, dim=1)
    if normalise == "both":
        z = nn.functional.normalize(z, dim=1)
    return z @ y.T / temperature


def match_loss(
    z: Tensor,
    y: Tensor,
    groups: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    normalise: Normalise = "candidate",
    symmetric: bool = False,
) -> Tensor:
    """The loss of a batch whose segment i heard candidate i.

    Parameters
    ----------
    z, y: (batch, ...) segments and candidates.
    groups: (batch,) whole numbers, the same for candidates that are no negatives of one another; None: all differ.
    symmetric: also tells segments apart for each candidate, and takes the mean.

    Raises
    ------
    HeschlError: shapes differ, or no candidate has a negative (a batch of one, or of one group).
    """
    if len(z) != len(y) or (groups is not None and groups.shape != (len(z),)):
        raise HeschlError(f"{len(z)} segments come with {len(y)} candidates: each needs its own")
    scores = match_scores(z, y, temperature, normalise)
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    same = own if groups is None else groups[:, None] == groups[None]
    if bool(same.all()):
        raise HeschlError(
            f"a batch of {len(z)} segments holds one candidate only, and telling apart takes two: make batches larger"
        )
    loss = _matched(scores, own, same)
    return (loss + _matched(scores.T, own, same)) / 2 if symmetric else loss


def _matched(scores: Tensor, own: Tensor, same: Tensor) -> Tensor:
    kept = scores.masked_fill(same & ~own, -torch.inf)
    return (kept.logsumexp(1) - scores.diagonal()).mean()


class MatchLoss(nn.Module):
    """`match_loss` with its options, and a temperature that is fixed or learnt.

    Parameters
    ----------
    temperature: where it begins, and stays unless ``learnt``: then exp(log_temperature) is a parameter, kept from
        falling below `COLDEST`.
    normalise, symmetric: of `match_loss`.
    across: take the candidates of all processes of torch.distributed's default group as one batch.

    forward(z, y, groups=None) -> the loss of the whole batch, the same on every process. Its gradient is such that the
    mean over processes, as DistributedDataParallel takes it, is the gradient of one process with everything.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        learnt: bool = False,
        normalise: Normalise = "candidate",
        symmetric: bool = False,
        across: bool = True,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise HeschlError(f"the temperature is {temperature}: it must be above zero")
        start = torch.tensor(math.log(temperature))
        if learnt:
            self.log_temperature: Tensor = nn.Parameter(start)
        else:
            self.register_buffer("log_temperature", start)
        self.normalise, self.symmetric, self.across = normalise, symmetric, across

    @property
    def temperature(self) -> Tensor:
        return self.log_temperature.exp().clamp_min(COLDEST)

    def forward(self, z: Tensor, y: Tensor, groups: Tensor | None = None) -> Tensor:
        if self.across:
            z, y, groups = gathered(z), gathered(y), None if groups is None else gathered(groups)
        return match_loss(z, y, groups, self.temperature.to(z), self.normalise, self.symmetric)


# --- several processes -------------------------------------------------------------------------------------


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: Sequence[int]) -> Tensor:
        import torch.distributed as dist

        ctx.sizes = sizes
        room = x.new_zeros(max(sizes), *x.shape[1:])
        room[: len(x)] = x
        parts = [torch.empty_like(room) for _ in sizes]
        dist.all_gather(parts, room)
        return torch.cat([part[:size] for part, size in zip(parts, sizes)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        import torch.distributed as dist

        whole = grads[0].clone(
            memory_format=torch.contiguous_format
        )  # what autograd gives is not ours to change
        dist.all_reduce(whole)
        first = sum(ctx.sizes[: dist.get_rank()])
        return whole[first : first + ctx.sizes[dist.get_rank()]], None


def gathered(x: Tensor) -> Tensor:
    """x (n, ...) of every process, one after the other, with a gradient to each; x itself where there is one process.

    Processes may bring different numbers of rows. The gradient that comes back is the sum over processes.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x
    mine = torch.tensor([len(x)], device=x.device)
    sizes = [torch.zeros_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, mine)
    whole: Tensor = _Gather.apply(x, [int(size) for size in sizes])  # type: ignore[no-untyped-call]
    return whole


# --- a batch in pieces -------------------------------------------------------------------------------------


def cached_backward(
    encode: Callable[[Any], Tensor], pieces: Sequence[Any], loss: Callable[[Tensor], Tensor]
) -> Tensor:
    """Loss of a whole batch and its gradients, with the activations of one piece in memory at a time.

    Two passes (Gao et al. 2021, arXiv:2101.06983): all embeddings without gradients; the loss and its gradient in
    the embeddings; then each piece again, with that gradient put in. torch's generators are put back before a piece
    is encoded again, so that dropout draws the same; what a network keeps of a batch (BatchNorm's means) is of pieces.

    Parameters
    ----------
    encode: a piece -> its embeddings (n, ...). pieces: of the batch. loss: all embeddings (batch, ...) -> ().

    Returns
    -------
    The loss, without a gradient: gradients have been added to the parameters' ``grad``, those of ``loss`` (a learnt
    temperature) too.
    """
    kept, states = [], []
    with torch.no_grad():
        for piece in pieces:
            states.append(_random_state())
            kept.append(encode(piece))
    whole = torch.cat(kept).detach().requires_grad_()
    value = loss(whole)
    value.backward()  # type: ignore[no-untyped-call]
    assert whole.grad is not None
    after, first = _random_state(), 0
    for piece, part, state in zip(pieces, kept, states):
        _set_random_state(state)
        encode(piece).backward(whole.grad[first : first + len(part)])  # type: ignore[no-untyped-call]
        first += len(part)
    _set_random_state(after)
    return value.detach()


def _random_state() -> tuple[Tensor, list[Tensor]]:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])


# --- candidates ---------------------------------------------------------------------------------------------


def read_candidates(path: Path | str) -> tuple[tuple[str, ...], np.ndarray]:
    """Candidates out of a file: their ids and embeddings (candidate, ...) float32.

    .npz or .h5 with ``ids`` (text) and ``embeddings``; a .npz of embeddings alone is numbered.

    Raises
    ------
    HeschlError: the file is not that, holds other numbers of ids than of embeddings, an id twice, or NaN.
    """
    path = Path(path)
    names = candidate_names(path)
    with _candidates(path) as held:
        values = np.asarray(held["embeddings"], np.float32)
    if values.ndim < 2 or len(names) != len(values):
        raise HeschlError(
            f"{path} has {len(names)} ids and embeddings of shape {values.shape}: one id for each"
        )
    if len(set(names)) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise HeschlError(f"{path} holds the candidate '{twice}' twice: each once")
    if not np.isfinite(values).all():
        bad = names[int((~np.isfinite(values)).reshape(len(values), -1).any(1).argmax())]
        raise HeschlError(f"{path}: the embedding of '{bad}' is not finite: mend it, or leave it out")
    return names, values


def candidate_names(path: Path | str) -> tuple[str, ...]:
    """The ids alone of a file of candidates; see `read_candidates`."""
    with _candidates(Path(path)) as held:
        if "ids" not in held:
            return tuple(map(str, range(len(held["embeddings"]))))
        return tuple(str(one, "utf-8") if isinstance(one, bytes) else str(one) for one in held["ids"][:])


@contextmanager
def _candidates(path: Path) -> Iterator[Any]:
    """Such a file, opened: its arrays by name."""
    try:
        if path.suffix in (".h5", ".hdf5"):
            import h5py

            with h5py.File(path, "r") as file:
                yield file
        else:
            with np.load(path, allow_pickle=False) as held:
                yield held
    except (OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise HeschlError(
            f"{path} is no file of candidates ({error}): it needs `embeddings` (candidate, ...) and `ids`"
        ) from None
