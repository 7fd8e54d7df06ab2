"""Random numbers that belong to a clip: a pure function of (seed, epoch, clip, name), whatever the batch.

A generator remembers how much was drawn before; these numbers do not, so that training resumed in the middle
of an epoch, with other workers or another batch size, augments every clip as it would have been.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from heschl.types import HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LARGE = 1024  # from here on (noise), torch's generator, seeded by the hash, is several times faster


@dataclass(frozen=True)
class Draws:
    """The random numbers of a batch.

    Attributes
    ----------
    seed, epoch: of the run.
    clips: (batch,) the clips' numbers in the corpus.
    repeats: (batch,) how often each clip came before in this epoch, where sampling is with replacement;
        None where each comes once.
    device: where the drawn tensors are put. They are always computed on the CPU: the same on every machine.
    """

    seed: int
    epoch: int
    clips: Tensor
    repeats: Tensor | None = None
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.clips)

    def uniform(
        self,
        name: str,
        low: float | Tensor = 0.0,
        high: float | Tensor = 1.0,
        size: tuple[int, ...] = (),
    ) -> Tensor:
        """(batch, *size) float32, even in [low, high); the bounds may be one per clip, (batch,)."""
        count = math.prod(size)
        if count >= _LARGE:
            unit = torch.stack([torch.rand(size, generator=one) for one in self._generators(name)])
        else:
            # 24 bits: the largest is below one in float32 too
            unit = torch.from_numpy(
                ((self._bits(name, count) >> np.uint64(40)) * 2.0**-24).astype(np.float32)
            )
        unit = unit.reshape(len(self), *size).to(self.device)
        low, high = self._bound(low, size), self._bound(high, size)
        return low + (high - low) * unit

    def normal(self, name: str, size: tuple[int, ...] = ()) -> Tensor:
        """(batch, *size) float32, mean 0, variance 1."""
        count = math.prod(size)
        if count >= _LARGE:
            values = torch.stack([torch.randn(size, generator=one) for one in self._generators(name)])
        else:  # Box and Muller (1958); the first uniform lies in (0, 1], so that its logarithm is finite
            bits = self._bits(name, 2 * count)
            one = ((bits[:, :count] >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53
            two = (bits[:, count:] >> np.uint64(11)).astype(np.float64) * 2.0**-53
            drawn = np.sqrt(-2 * np.log(one)) * np.cos(2 * np.pi * two)
            values = torch.from_numpy(drawn.astype(np.float32))
        return values.reshape(len(self), *size).to(self.device)

    def integers(
        self, name: str, low: int | Tensor, high: int | Tensor, size: tuple[int, ...] = ()
    ) -> Tensor:
        """(batch, *size) int64, even in [low, high); the bounds may be one per clip, (batch,).

        Raises
        ------
        HeschlError: a range is empty.
        """
        first = torch.as_tensor(low).cpu().expand(len(self)).reshape(-1, *[1] * len(size))
        span = torch.as_tensor(high).cpu().expand(len(self)).reshape(-1, *[1] * len(size)) - first
        if len(self) and int(span.min()) < 1:
            raise HeschlError(
                f"the draw '{name}' has an empty range, [{low}, {high}): mend the recipe's numbers"
            )
        # the upper 32 bits, scaled: exact, and even to one part in 2**32 / span
        bits = torch.from_numpy((self._bits(name, math.prod(size)) >> np.uint64(33)).astype(np.int64))
        return (first + (bits.reshape(len(self), *size) * span >> 31)).to(self.device)

    def permutation(self, name: str) -> Tensor:
        """(batch,) int64: each place of the batch once, in an order that hangs on the clips in it."""
        return torch.from_numpy(np.argsort(self._bits(name, 1)[:, 0], kind="stable")).to(self.device)

    def take(self, places: Tensor) -> Draws:
        """The draws of some of the batch, by place or mask: each clip keeps its numbers."""
        repeats = None if self.repeats is None else self.repeats[places.cpu()]
        return Draws(self.seed, self.epoch, self.clips[places.cpu()], repeats, self.device)

    def _bound(self, value: float | Tensor, size: tuple[int, ...]) -> float | Tensor:
        if not isinstance(value, Tensor):
            return value
        return value.to(device=self.device, dtype=torch.float32).reshape(-1, *[1] * len(size))

    def _generators(self, name: str) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(int(bits) >> 1) for bits in self._bits(name, 1)[:, 0]]

    def _bits(self, name: str, count: int) -> NDArray[np.uint64]:
        """(batch, count) hashed bits."""
        text = f"{self.seed}/{self.epoch}/{name}".encode()
        key = np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))
        clip = self.clips.cpu().numpy().astype(np.uint64)
        repeat = np.uint64(0) if self.repeats is None else self.repeats.cpu().numpy().astype(np.uint64)
        start = _mix(_mix(key + clip * _GOLDEN) + repeat * _GOLDEN)
        return _mix(start[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of splitmix64 (Steele, Lea and Flood, 2014), element by element."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
