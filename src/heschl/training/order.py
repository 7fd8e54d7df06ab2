"""Which examples each batch holds: a pure function of (seed, step), computed for a few batches at a time.

Nothing of the size of the corpus is shuffled or remembered: a permutation is a keyed bijection of the numbers
below n, evaluated where it is asked. So a training that is resumed at any step goes on as it would have gone,
and memory does not grow with the corpus.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from heschl.types import HeschlError

Integers = NDArray[np.int64]
_ROUNDS = 8  # with fewer, the orders of a handful of examples are not equally likely
POOL = 16  # batches that are drawn together; where clips differ in length, they are sorted among these


def permuted(i: Integers, n: int | Integers, key: int | NDArray[np.uint64]) -> Integers:
    """Where each i goes in a pseudo-random permutation of 0..n-1 that belongs to ``key``.

    A balanced Feistel network over the next even power of two, walked until the value falls below n (Black and
    Rogaway 2002, the generalised-Feistel and cycle-walking ciphers). Elementwise; n and key may differ by element.
    """
    x = np.array(i, np.uint64)
    n = np.broadcast_to(np.asarray(n, np.uint64), x.shape)
    key = np.broadcast_to(np.asarray(key, np.uint64), x.shape)
    half = np.maximum(1, np.ceil(np.log2(np.maximum(n, 2).astype(np.float64)) / 2)).astype(np.uint64)
    walking = np.arange(len(x))
    while len(walking):
        x[walking] = _feistel(x[walking], half[walking], key[walking])
        walking = walking[x[walking] >= n[walking]]
    return x.astype(np.int64)


def _feistel(x: NDArray[np.uint64], half: NDArray[np.uint64], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = x >> half, x & mask
    with np.errstate(over="ignore"):
        for k in range(_ROUNDS):
            mixed = (right + key + np.uint64(k + 1) * np.uint64(0x9E3779B97F4A7C15)) * np.uint64(
                0xBF58476D1CE4E5B9
            )
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0x94D049BB133111EB)
            left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(32))) & mask)
    return (left << half) | right


def key_of(*parts: object) -> int:
    """64 bits that belong to these parts, the same on every machine."""
    text = "/".join(str(part) for part in parts).encode("utf-8")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


class Stratum(NamedTuple):
    """Examples that are drawn alike: their numbers, and their share of all draws."""

    members: Integers
    share: float


@dataclass(frozen=True)
class Order:
    """The examples of every batch.

    Attributes
    ----------
    seed: of the run.
    size: how many examples there are, numbered from 0.
    epoch_size: how many make an epoch.
    batch: the largest batch; an epoch's batches are of equal size, but for one example.
    strata: None takes all examples in turn, each once before any comes again; else each stratum gets its share
        of every epoch, and within it each example comes once before any comes again.
    lengths: (size,) where given, batches hold examples of similar length.
    """

    seed: int
    size: int
    epoch_size: int
    batch: int
    strata: tuple[Stratum, ...] | None = None
    lengths: Integers | None = None
    _held: dict[tuple[int, int], list[tuple[Integers, Integers]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def epoch_steps(self) -> int:
        """Batches in an epoch."""
        return -(-self.epoch_size // self.batch)

    def __call__(self, step: int) -> tuple[int, Integers, Integers]:
        """Epoch of this step, its examples (batch,), and how often each came before in the epoch (batch,)."""
        epoch, j = divmod(step, self.epoch_steps)
        pool = (epoch, j - j % POOL)
        if pool not in self._held:  # steps come one after another: one pool is kept, and serves them all
            self._held.clear()
            self._held[pool] = self._batches(*pool)
        return epoch, *self._held[pool][j % POOL]

    def _batches(self, epoch: int, first: int) -> list[tuple[Integers, Integers]]:
        """Examples and repeats of every batch of the pool that begins with batch ``first`` of an epoch."""
        pool = range(first, min(first + POOL, self.epoch_steps))
        begin, end = self._range(pool[0])[0], self._range(pool[-1])[1]
        numbers, repeats = self._drawn(epoch, begin, end)
        order = np.arange(len(pool))
        if self.lengths is not None:  # a batch holds neighbours in length, and batches come in any order
            by_length = np.argsort(self.lengths[numbers], kind="stable")
            numbers, repeats = numbers[by_length], repeats[by_length]
            order = permuted(order, len(pool), key_of(self.seed, "pool", epoch, first))
        ends = np.array([self._range(k) for k in pool])[order] - begin
        cuts = [slice(*pair) for pair in ends.tolist()]
        return [(numbers[cut], repeats[cut]) for cut in cuts]

    def _range(self, j: int) -> tuple[int, int]:
        n, m = self.epoch_size, self.epoch_steps
        return n * j // m, n * (j + 1) // m

    def _drawn(self, epoch: int, start: int, stop: int) -> tuple[Integers, Integers]:
        place = np.arange(start, stop, dtype=np.int64)
        if self.strata is None:
            place += epoch * self.epoch_size
            turn = place // self.size
            number = permuted(place % self.size, self.size, _keys(key_of(self.seed), turn))
            return number, turn - epoch * self.epoch_size // self.size
        key = key_of(self.seed, "epoch", epoch)
        place = permuted(place, self.epoch_size, key)
        bounds = self._bounds(epoch)
        which = np.searchsorted(bounds, place, side="right")
        rank = place - np.concatenate([[0], bounds])[which]
        sizes = np.diff(self._starts)[which]
        turn, rank = rank // sizes, rank % sizes
        inside = permuted(rank, sizes, _keys(key, which, turn))
        return self._members[self._starts[which] + inside], turn

    @cached_property
    def _members(self) -> Integers:
        return np.concatenate([stratum.members for stratum in self.strata or ()])

    @cached_property
    def _starts(self) -> Integers:
        return np.cumsum([0, *(len(stratum.members) for stratum in self.strata or ())])

    def _bounds(self, epoch: int) -> Integers:
        """Where each stratum's part of an epoch ends; rounded differently from epoch to epoch, exact on average."""
        assert self.strata is not None
        total = np.cumsum([stratum.share for stratum in self.strata])
        offset = key_of(self.seed, "offset", epoch) / 2.0**64
        bounds: Integers = np.floor(total / total[-1] * self.epoch_size + offset).astype(np.int64)
        bounds[-1] = self.epoch_size
        return bounds


def _keys(key: int, *numbers: Integers) -> NDArray[np.uint64]:
    """A key for each element, from one key and the element's numbers."""
    mixed = np.array(key, np.uint64)
    with np.errstate(over="ignore"):
        for one in numbers:
            mixed = (mixed + np.asarray(one, np.uint64) + np.uint64(1)) * np.uint64(0xD1342543DE82EF95)
            mixed ^= mixed >> np.uint64(32)
    return mixed


def strata_of(
    classes: Sequence[int] | Integers,
    draws: str,
    origins: Integers | None = None,
    shares: Sequence[float | None] = (),
) -> tuple[Stratum, ...] | None:
    """Groups of examples and their shares for ``train.draws``, and for corpora that get a fixed share.

    Parameters
    ----------
    classes: (example,) class of each; negative for none.
    draws: "natural", "sqrt" (shares by the root of the class's size) or "balanced" (equal shares).
    origins: (example,) 0 for the corpus itself, i for the i-th further one; shares: of each further one, or None
        where it is drawn together with the corpus itself.

    Raises
    ------
    HeschlError: the shares leave nothing for the corpus itself, or a corpus with a share has no examples.
    """
    classes = np.asarray(classes)
    power = {"natural": 1.0, "sqrt": 0.5, "balanced": 0.0}[draws]
    fixed = {place: share for place, share in enumerate(shares, start=1) if share is not None}
    if power == 1.0 and not fixed:
        return None
    if sum(fixed.values()) >= 1:
        raise HeschlError(
            f"also: the shares add up to {sum(fixed.values()):g}: leave some for the corpus itself"
        )
    side = np.zeros(len(classes), np.int64)
    if origins is not None:
        side = np.where(np.isin(origins, list(fixed)), origins, 0)
    strata = []
    for place, weight in {0: 1 - sum(fixed.values()), **fixed}.items():
        mine = np.flatnonzero(side == place)
        if not len(mine):
            raise HeschlError(
                f"also: corpus {place} has a share of the draws and no clip of a known class: remove it"
            )
        groups = [mine] if power == 1.0 else [mine[classes[mine] == one] for one in np.unique(classes[mine])]
        total = math.fsum(len(group) ** power for group in groups)
        strata += [Stratum(group, weight * len(group) ** power / total) for group in groups]
    return tuple(strata)
