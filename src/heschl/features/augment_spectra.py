"""Augmentation of spectrograms, and of whole batches of them. See `heschl.features.augment`, where these are found as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from heschl.features.augment_shared import Range, checked, column, valid_steps

if TYPE_CHECKING:
    from heschl.features.draws import Draws


# --- on the feature ----------------------------------------------------------------------------------


class VocalTract:
    """Another vocal tract: the frequency axis is scaled by a factor (Jaitly and Hinton 2013).

    frequencies: centre of each bin in Hz, ascending. The value at f comes from f * factor, linearly between
    bins; beyond the ends the end bin repeats.
    """

    on = "feature"

    def __init__(self, frequencies: Sequence[float] | Tensor, factor: Range = (0.84, 1.17)) -> None:
        self.frequencies = torch.as_tensor(frequencies, dtype=torch.float32)
        self.factor = checked(factor, "VocalTract", "factor", positive=True)

    def __call__(self, x: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        centre = self.frequencies.to(x.device)
        wanted = centre * column(draws.uniform("vocal tract", *self.factor), x)
        high = torch.searchsorted(centre, wanted).clamp(1, len(centre) - 1)
        part = ((wanted - centre[high - 1]) / (centre[high] - centre[high - 1])).clamp(0, 1)[..., None]
        steps = x.shape[-1]
        lower, upper = (x.gather(1, k[..., None].expand(-1, -1, steps)) for k in (high - 1, high))
        return lower + part * (upper - lower)


class Tempo:
    """Faster (above 1) or slower about the centre, pitch and formants kept: frames are interpolated.

    The number of frames stays; the end frames repeat where a faster clip ends early.
    """

    on = "feature"
    moves = True

    def __init__(self, factor: Range = (0.85, 1.18)) -> None:
        self.factor = checked(factor, "Tempo", "factor", positive=True)

    def __call__(self, x: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        factor = column(draws.uniform("tempo", *self.factor), x)
        steps = x.shape[-1]
        length = torch.full_like(factor, steps) if lengths is None else lengths[:, None].to(factor)
        middle = (length - 1) / 2
        place = middle + (torch.arange(steps, device=x.device) - middle) * factor
        place = torch.minimum(place.clamp_min(0), length - 1)
        low = place.floor()
        part = (place - low)[:, None].to(x)
        a = x.gather(2, low.long()[:, None].expand(-1, x.shape[1], -1))
        b = x.gather(2, (low.long() + 1).clamp_max(steps - 1)[:, None].expand(-1, x.shape[1], -1))
        return a + part * (b - a)


class SpecAugment:
    """Bands of frequency and stretches of time replaced by the clip's mean (Park et al. 2019, no warping).

    frequency, time: the widest band in bins and stretch in frames; bands, stretches: how many of each.
    """

    on = "feature"

    def __init__(self, frequency: int = 8, time: int = 20, bands: int = 2, stretches: int = 2) -> None:
        self.frequency, self.time, self.bands, self.stretches = frequency, time, bands, stretches

    def __call__(self, x: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        valid = valid_steps(x[:, 0], lengths)
        mean = (x * valid[:, None]).sum((1, 2)) / (valid.sum(1) * x.shape[1])
        steps = torch.full((len(x),), x.shape[-1]) if lengths is None else lengths.cpu()
        hidden = torch.zeros(x.shape, dtype=torch.bool, device=x.device)
        if self.bands:
            bins = torch.full((len(x),), x.shape[1])
            bands = spans(draws, "band", self.bands, self.frequency, bins, x.shape[1])
            hidden |= bands.to(x.device)[:, :, None]
        if self.stretches:
            hidden |= spans(draws, "stretch", self.stretches, self.time, steps, x.shape[-1]).to(x.device)[
                :, None
            ]
        return torch.where(hidden, mean[:, None, None], x)


def spans(draws: Draws, name: str, count: int, widest: int, lengths: Tensor, n: int) -> Tensor:
    """(batch, n) true inside ``count`` spans of 0..widest steps, each at a random place within lengths (batch,)."""
    width = (draws.uniform(f"{name} width", 0.0, widest + 1.0, (count,))).floor()
    width = torch.minimum(width, lengths[:, None].to(width))
    start = (draws.uniform(f"{name} start", 0.0, 1.0, (count,)) * (lengths[:, None] - width + 1)).floor()
    at = torch.arange(n)
    return ((at >= start[..., None]) & (at < (start + width)[..., None])).any(1)


# --- on the batch ------------------------------------------------------------------------------------


class Mixup:
    """Clips mixed in pairs, labels alike (Zhang et al. 2018): share ~ Beta(alpha, alpha), the larger one first.

    A share ``p`` of the clips is mixed.
    """

    on = "batch"

    def __init__(self, alpha: float = 0.3, p: float = 1.0) -> None:
        self.alpha, self.p = alpha, p
        self.quantiles = beta_quantiles(alpha)

    def __call__(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        partner = draws.permutation("mixup partner").to(x.device)
        u = draws.uniform("mixup share", 0.0, 1.0)
        share = self.quantiles[(u * len(self.quantiles)).long()]
        share = torch.where(
            draws.uniform("mixup", 0.0, 1.0) < self.p, share.maximum(1 - share), torch.ones_like(share)
        )
        keep = share.to(x).reshape(-1, *(1,) * (x.ndim - 1))
        return keep * x + (1 - keep) * x[partner], share.to(y)[:, None] * y + (1 - share.to(y))[:, None] * y[
            partner
        ]


class MixStyle:
    """Each bin's level and spread over time are mixed with those of another clip; the label stays.

    Another speaker's or room's long-term spectrum, with this clip's own course: Zhou et al. 2021 (MixStyle), by
    frequency as in Schmid et al. 2022. The clip's own share is drawn from Beta(alpha, alpha), for a share ``p`` of
    the clips. For clips of one length.
    """

    on = "batch"

    def __init__(self, alpha: float = 0.4, p: float = 0.7) -> None:
        self.alpha, self.p = alpha, p
        self.quantiles = beta_quantiles(alpha)

    def __call__(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        partner = draws.permutation("style partner").to(x.device)
        u = draws.uniform("style share", 0.0, 1.0).to(self.quantiles.device)
        share = self.quantiles[(u * len(self.quantiles)).long()]
        take = draws.uniform("style", 0.0, 1.0).to(share.device) < self.p
        keep = torch.where(take, share, torch.ones_like(share)).to(x).reshape(-1, *(1,) * (x.ndim - 1))
        mean, spread = x.mean(-1, keepdim=True), x.std(-1, keepdim=True) + 1e-3
        course = (x - mean) / spread
        mean = keep * mean + (1 - keep) * mean[partner]
        spread = keep * spread + (1 - keep) * spread[partner]
        return course * spread + mean, y


def beta_quantiles(alpha: float, n: int = 1024) -> Tensor:
    """The n middle quantiles of Beta(alpha, alpha): drawing one of them evenly draws from it."""
    from scipy.stats import beta

    return torch.from_numpy(beta.ppf((torch.arange(n).numpy() + 0.5) / n, alpha, alpha)).float()
