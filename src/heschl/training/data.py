"""What a step is given: clips read from the packed cache, or windows of packed frames, with their targets.

Item k is a pure function of (seed, k): the loader is a plain torch DataLoader over the numbers of the steps
that are still to be taken, so that it has no state besides the step at which it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from heschl.features.draws import Draws
from heschl.features.waveform import fit_length
from heschl.recipe import ClipLength
from heschl.training.order import Integers, Order
from heschl.types import Clip, HeschlError


class Item(NamedTuple):
    """A batch before augmentation.

    x: waves (batch, time), or the network's input where ``featured``.
    y: targets. lengths: valid samples (batch,), or None where all are. clips, repeats: (batch,) for draws.
    """

    x: Tensor
    y: Tensor
    lengths: Tensor | None
    clips: Tensor
    repeats: Tensor | None
    epoch: int
    featured: bool = False

    def to(self, device: torch.device) -> Item:
        if device.type == "cpu":
            return self
        lengths = None if self.lengths is None else self.lengths.to(device, non_blocking=True)
        x, y = (one.to(device, non_blocking=True) for one in (self.x, self.y))
        return self._replace(x=x, y=y, lengths=lengths)


class Source(Protocol):
    """Examples numbered from 0, read many at once."""

    def read(
        self, places: Integers, draws: Callable[[Tensor], Draws] | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """x, y, lengths and clip numbers; ``draws`` (clips -> draws) where a random part is wanted."""
        ...


class Waves:
    """Whole clips, or parts of ``clip.seconds``, out of a packed store.

    Parameters
    ----------
    store: `heschl.features.store.WaveStore`.
    rows: (example,) each clip's row in it.
    target: row -> class, or (time,) classes of each step where ``feature`` is given.
    length: the recipe's `clip`.
    feature: given for tasks over frames: targets are cut together with the sound.
    """

    def __init__(
        self, store: Any, rows: Integers, targets: Any, length: ClipLength, feature: Any | None = None
    ) -> None:
        self.store, self.rows, self.targets, self.length, self.feature = store, rows, targets, length, feature
        self.samples = None if length.seconds is None else round(length.seconds * store.rate)

    def read(
        self, places: Integers, draws: Callable[[Tensor], Draws] | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        rows = self.rows[places]
        clips = torch.from_numpy(rows)
        wave, lengths = self.store.read(rows)
        drawn = None if draws is None else draws(clips)
        if self.feature is not None:
            return *self._with_frames(wave, lengths, rows, drawn), clips
        y = torch.from_numpy(self.targets[rows])
        if self.samples is None:
            return wave, y, lengths, clips
        long = self.length.long
        if long == "random":
            long = "centre"
            if drawn is not None:
                wave, lengths = part(
                    wave,
                    lengths,
                    drawn.integers("cut", 0, (lengths - self.samples).clamp_min(0) + 1),
                    self.samples,
                )
        wave, _ = fit_length(wave, lengths, self.samples, long, self.length.short, drawn)
        return wave, y, None, clips

    def _with_frames(
        self, wave: Tensor, lengths: Tensor, rows: Integers, drawn: Draws | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Cuts waves and the targets of their steps alike: parts begin on a step."""
        feature = self.feature
        assert feature is not None
        targets = [self.targets(int(row)) for row in rows]
        if self.samples is not None and wave.shape[-1] > self.samples:
            hop = self.store.rate / feature.rate
            spare = ((lengths - self.samples).clamp_min(0) / hop).floor().long()
            if self.length.long == "random" and drawn is not None:
                first = drawn.integers("cut", 0, spare + 1)
            else:
                first = spare // 2 if self.length.long != "start" else torch.zeros_like(spare)
            wave, lengths = part(wave, lengths, (first * hop).round().long(), self.samples)
            targets = [one[int(k) :] for one, k in zip(targets, first)]
        steps = int(feature.steps(wave.shape[-1]))
        y = torch.full((len(rows), steps), -100, dtype=torch.long)
        for i, one in enumerate(targets):
            count = min(len(one), int(feature.steps(int(lengths[i]))))
            y[i, :count] = one[:count]
        return wave, y, lengths


def part(wave: Tensor, lengths: Tensor, start: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The n samples from ``start`` (batch,) on of each clip (batch, ..., time), zeros beyond its end, and how many
    are valid."""
    index = start[:, None] + torch.arange(min(n, wave.shape[-1]))
    lengths = (lengths - start).clamp(0, n)
    inside = torch.arange(index.shape[1]) < lengths[:, None]
    if wave.ndim == 3:
        index, inside = index[:, None].expand(-1, wave.shape[1], -1), inside[:, None]
    return torch.where(inside, wave.gather(-1, index.clamp_max(wave.shape[-1] - 1)), 0.0), lengths


class FrameTargets:
    """The classes of every feature step of clips, computed once: row -> (time,) int64, -100 for none.

    ``held``: (step,) int16, those of all clips end to end, in the order of ``rows``.
    """

    def __init__(
        self, task: Any, feature: Any, clips: Sequence[Clip], rows: Integers, samples: Tensor
    ) -> None:
        steps = [int(feature.steps(int(samples[row]))) for row in rows]
        self.first = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
        self.place = {int(row): k for k, row in enumerate(rows)}
        self.held = np.full(int(self.first[-1]), -100, np.int16)
        for k, clip in enumerate(clips):
            times = torch.arange(steps[k], dtype=torch.float64) / feature.rate + getattr(
                feature, "start", 0.0
            )
            self.held[self.first[k] : self.first[k + 1]] = task.target(clip, times).numpy()

    def __call__(self, row: int) -> Tensor:
        k = self.place[row]
        return torch.from_numpy(self.held[self.first[k] : self.first[k + 1]].astype(np.int64))


class FrameWindows:
    """Every frame of packed features is an example: its window, and its class.

    Parameters
    ----------
    store: `heschl.features.store.FeatureStore`. rows: (clip,) the clips' rows in it.
    targets: of these rows. context: neighbouring frames on each side.
    """

    def __init__(self, store: Any, rows: Integers, targets: FrameTargets, context: int) -> None:
        self.store, self.rows, self.targets, self.context = store, rows, targets, context
        counts = store.lengths[torch.from_numpy(rows)].numpy()
        if not np.array_equal(counts, np.diff(targets.first)):
            raise HeschlError(
                "the packed frames and their labels differ in number: remove the cache, and train again"
            )

    def read(
        self, places: Integers, draws: Callable[[Tensor], Draws] | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        clip = np.searchsorted(self.targets.first, places, side="right") - 1
        frames = self.store.offsets[self.rows[clip]] + places - self.targets.first[clip]
        y = torch.from_numpy(self.targets.held[places].astype(np.int64))
        return self.store.windows(frames, self.context), y, None, torch.from_numpy(frames)


class TrainBatches(Dataset[Item]):
    """Item number k is the batch of step k: this device's share of it.

    Parameters
    ----------
    source: examples. order: which of them each step takes. rank, world: this device among all.
    """

    def __init__(
        self, source: Source, order: Order, rank: int = 0, world: int = 1, featured: bool = False
    ) -> None:
        self.source, self.order, self.rank, self.world, self.featured = source, order, rank, world, featured

    def __getitem__(self, step: int) -> Item:
        epoch, places, repeats = self.order(step)
        # by place, so that the disk is read forwards; a device gets every world-th, and at least one
        by_place = np.argsort(places, kind="stable")
        by_place = by_place[self.rank % len(by_place) :: self.world]
        again = torch.from_numpy(repeats[by_place])

        def draws(clips: Tensor) -> Draws:
            return Draws(self.order.seed, epoch, clips, again)

        x, y, lengths, clips = self.source.read(places[by_place], draws)
        return Item(x, y, lengths, clips, again, epoch, self.featured)


class Parts(Dataset[Item]):
    """The examples of a part in order, in batches: for validation. Each device takes its share of the batches."""

    def __init__(self, source: Source, size: int, batch: int, rank: int = 0, world: int = 1) -> None:
        self.source, self.batches = (
            source,
            [np.arange(at, min(at + batch, size)) for at in range(0, size, batch)][rank::world],
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, k: int) -> Item:
        x, y, lengths, clips = self.source.read(self.batches[k])
        return Item(x, y, lengths, clips, None, 0)


def loader(data: Dataset[Item], numbers: range, workers: int, pinned: bool) -> DataLoader[Item]:
    """The items of these numbers, in order; read ahead by ``workers`` processes where there are any."""
    return DataLoader(
        data,
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        generator=torch.Generator(),  # of its own: it touches no global randomness
        pin_memory=pinned,
        persistent_workers=False,
        prefetch_factor=4 if workers else None,
    )


def check_lengths(length: ClipLength, samples: Integers, rate: int, ids: Sequence[str]) -> dict[str, int]:
    """How many clips are cut and padded to `clip.seconds`.

    Raises
    ------
    HeschlError: a clip is longer or shorter, and the recipe refuses that.
    """
    if length.seconds is None:
        return {"cut": 0, "padded": 0}
    wanted = round(length.seconds * rate)
    long: NDArray[np.int64] = np.flatnonzero(samples > wanted)
    short: NDArray[np.int64] = np.flatnonzero(samples < wanted)
    for found, policy, what in ((long, length.long, "longer"), (short, length.short, "shorter")):
        if policy == "refuse" and len(found):
            seconds = samples[found[0]] / rate
            raise HeschlError(
                f"clip {ids[found[0]]} is {seconds:.3f} s long, {what} than clip.seconds {length.seconds} "
                f"({len(found):,} of {len(samples):,} clips): set clip.{'long' if what == 'longer' else 'short'} to another policy, or leave them out"
            )
    return {"cut": len(long), "padded": len(short)}
