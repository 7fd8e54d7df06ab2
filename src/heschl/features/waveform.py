"""Waves as a network's input: cut or padded to one length, brought to one level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heschl.features.draws import Draws
from heschl.features.mel import Count
from heschl.types import HeschlError

Long = Literal["centre", "start", "refuse"]
Short = Literal["centre", "end", "random", "refuse"]
Level = Literal["none", "peak", "rms", "percentile95", "standardise"]


def placement(lengths: Tensor, n: int, long: Long, short: Short, draws: Draws | None = None) -> Tensor:
    """Where each clip's piece of n samples begins, (batch,) in samples of the clip; negative is padding before it.

    Parameters
    ----------
    lengths: (batch,) samples.
    long: which part of a longer clip is kept: its "centre", or from its "start".
    short: where a shorter clip lies in the zeros: "centre"; zeros at the "end"; or "random", even over
        [0, n - length) as AudioMNIST was prepared (without draws: in the centre).

    Raises
    ------
    HeschlError: an unknown policy, or "refuse" and a clip that does not fit.
    """
    if long not in ("centre", "start", "refuse") or short not in ("centre", "end", "random", "refuse"):
        raise HeschlError(
            f"clip.long is '{long}' and clip.short is '{short}': "
            "long is centre, start or refuse; short is centre, end, random or refuse"
        )
    lengths = lengths.cpu()
    over = lengths - n
    if long == "refuse" and bool((over > 0).any()):
        raise HeschlError(
            f"a clip has {int(lengths.max())} samples and {n} are asked for: set clip.long to centre or start, "
            "or raise clip.seconds"
        )
    if short == "refuse" and bool((over < 0).any()):
        raise HeschlError(
            f"a clip has {int(lengths.min())} samples and {n} are asked for: set clip.short to centre, end or "
            "random, or lower clip.seconds"
        )
    cut = over.clamp_min(0) // 2 if long == "centre" else torch.zeros_like(over)
    missing = (-over).clamp_min(0)
    if short == "end":
        before = torch.zeros_like(over)
    elif short == "random" and draws is not None:
        before = draws.integers("place in the zeros", 0, missing.clamp_min(1)).cpu()
    else:
        before = missing // 2
    return cut - before


def fit_length(
    wave: Tensor,
    lengths: Tensor,
    n: int,
    long: Long = "centre",
    short: Short = "end",
    draws: Draws | None = None,
) -> tuple[Tensor, dict[str, int]]:
    """Cuts or pads each clip of a batch to n samples.

    Parameters
    ----------
    wave: (batch, ..., time), zero-padded. lengths: (batch,) valid samples.
    long, short, draws: as in `placement`.

    Returns
    -------
    wave: (batch, ..., n).
    counts: how many clips were "cropped" and how many "padded".
    """
    if wave.shape[-1] == n == int(lengths.min()):
        return wave, {"cropped": 0, "padded": 0}
    start = placement(lengths, n, long, short, draws)
    counts = {"cropped": int((lengths > n).sum()), "padded": int((lengths < n).sum())}
    if not bool(start.any()):  # all begin at the beginning, and there are zeros after their ends
        return (wave if wave.shape[-1] == n else F.pad(wave, (0, n - wave.shape[-1]))), counts
    out = wave.new_zeros(*wave.shape[:-1], n)
    for place, clip, first, length in zip(out, wave, start.tolist(), lengths.tolist(), strict=True):
        skipped, before = max(0, first), max(0, -first)
        count = min(length - skipped, n - before)
        place[..., before : before + count] = clip[..., skipped : skipped + count]
    return out, counts


class Waveform(nn.Module):
    """The wave itself, brought to a level: (batch, time) to (batch, 1, time).

    Parameters
    ----------
    samples: cut or zero-pad the end to so many (None: as it comes).
    read: take only the first so many samples, before that.
    level: per clip, over its valid samples (all of them where ``samples`` is set):
        "peak" largest magnitude 1; "rms" root mean square 1; "percentile95" AudioMNIST's
        ``x / (percentile(x, 95) + 0.001)`` of the signed, padded wave; "standardise" mean 0, variance 1.
        A silent clip stays silent.
    scale: multiplies the wave first; 32768 makes full scale 1 the 16-bit numbers that AudioMNIST used.

    AudioNet-V1 reads ``Waveform(16000, read=15500, samples=16000, level="standardise")``; AudioMNIST's AudioNet
    ``Waveform(8000, samples=8000, level="percentile95", scale=32768)``.
    """

    start = 0.0

    def __init__(
        self,
        sample_rate: int = 16000,
        samples: int | None = None,
        read: int | None = None,
        level: Level = "none",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if level not in ("none", "peak", "rms", "percentile95", "standardise"):
            raise HeschlError(
                f"Waveform.level is '{level}': choose none, peak, rms, percentile95 or standardise"
            )
        for name, count in (("samples", samples), ("read", read)):
            if count is not None and count < 1:
                raise HeschlError(f"Waveform.{name} is {count}: it must be above zero, or left out")
        self.sample_rate = sample_rate
        self.rate = float(sample_rate)
        self.samples = samples
        self.read = read
        self.level = level
        self.scale = scale

    def steps(self, samples: Count) -> Count:
        """Samples that come out of so many."""
        if isinstance(samples, Tensor):
            if self.samples is not None:
                return torch.full_like(samples, self.samples)
            return samples if self.read is None else samples.clamp_max(self.read)
        return self.samples or min(samples, self.read or samples)

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self._cut(wave)
        valid = self._valid(x, lengths)
        centre, size = self._centre_and_size(x, valid)
        x = (x - centre) / size
        return (x if valid is None else torch.where(valid, x, 0.0))[:, None]

    def invert(self, x: Tensor, wave: Tensor) -> Tensor:
        """The sound whose levelled form is x (batch, 1, time), at the level of ``wave`` (batch, time)."""
        centre, size = self._centre_and_size(self._cut(wave), None)
        return (x[:, 0] * size + centre) / self.scale

    def _cut(self, wave: Tensor) -> Tensor:
        wave = wave[:, : self.read] * self.scale
        if self.samples is None:
            return wave
        return F.pad(wave, (0, max(0, self.samples - wave.shape[1])))[:, : self.samples]

    def _valid(self, x: Tensor, lengths: Tensor | None) -> Tensor | None:
        if lengths is None or self.samples is not None:
            return None
        return torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]

    def _centre_and_size(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is taken off each clip, and by what it is divided: (batch, 1) each."""
        zero = x.new_zeros(len(x), 1)
        if self.level == "none":
            return zero, zero + 1
        if self.level == "percentile95":
            return zero, _percentile(x, valid, 0.95) + 0.001
        count = x.shape[1] if valid is None else valid.sum(1, keepdim=True)
        heard = x if valid is None else torch.where(valid, x, 0.0)
        if self.level == "peak":
            return zero, _or_one(heard.abs().amax(1, keepdim=True))
        centre = heard.sum(1, keepdim=True) / count if self.level == "standardise" else zero
        spread = x - centre if valid is None else torch.where(valid, x - centre, 0.0)
        power = spread.square().sum(1, keepdim=True) / count
        # of a constant, rounding leaves a little: it is nothing beside the constant itself
        heard_at_all = power > (10 * torch.finfo(x.dtype).eps * centre).square()
        return centre, torch.where(heard_at_all, power, 1.0).sqrt()


def _or_one(size: Tensor) -> Tensor:
    return torch.where(size > 0, size, 1.0)


def _percentile(x: Tensor, valid: Tensor | None, share: float) -> Tensor:
    """The signed quantile of each clip, linear between samples as in numpy: (batch, 1)."""
    ordered = (x if valid is None else torch.where(valid, x, torch.inf)).sort(1).values
    count = torch.full_like(x[:, :1], x.shape[1]) if valid is None else valid.sum(1, keepdim=True)
    place = share * (count.double().cpu() - 1)
    below = place.floor().long()
    part = (place - below).to(x)
    above = torch.minimum(below + 1, count.cpu().long() - 1).to(x.device)
    low, high = ordered.gather(1, below.to(x.device)), ordered.gather(1, above)
    return low + part * (high - low)


def batch_lengths(waves: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Waves of different length, each (time,), as one zero-padded batch: (batch, time) and lengths (batch,)."""
    return nn.utils.rnn.pad_sequence(list(waves), batch_first=True), torch.tensor(
        [len(wave) for wave in waves]
    )
