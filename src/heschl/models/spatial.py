"""From any set of sensors to a fixed set of virtual channels, by where the sensors lie.

Spatial attention of Defossez et al. 2023 (Nature Machine Intelligence 5:1097, Methods, "Spatial attention
module"): a sensor's place p is expanded in sines and cosines, each virtual channel j has learned weights z_j on
them, and mixes the sensors i by softmax over what it makes of their places:

    a_j(p) = sum_k  z_jk^c cos(2 pi k.(p + m) / (1 + 2 m)) + z_jk^s sin(2 pi k.(p + m) / (1 + 2 m))
    out_j  = sum_i  softmax_i(a_j(p_i)) x_i

with m = 0.2, so that the expansion, which is periodic, does not join opposite ends of the head. Nothing depends on
how many sensors there are or in which order; a sensor without a place (NaN) takes no part, whatever it recorded.

Places are (sensor, 2), a flat layout within [0, 1] as MNE's `find_layout` gives it, or (sensor, 3) in metres in the
head's frame, which are mapped to [0, 1] by one fixed cube for all heads (`HEAD`), so that a place means the same in
every montage and a missing sensor moves no other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from heschl.types import HeschlError

MARGIN = 0.2
HEAD = 0.15  # metres: the cube from -HEAD to HEAD holds every head, its electrodes and MEG helmets


def made_up_layout(
    sensors: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> Tensor:
    """(sensor, 2) places in [0, 1] for sensors of which none is known: a sunflower's spiral, in the order of channels.

    Channel k of n lies at radius sqrt((k + 1/2) / n) / 2 from the middle and at k golden angles around it. It is
    a fixed way to tell channels apart, no claim about where they lie.
    """
    k = torch.arange(sensors, dtype=torch.float64)
    radius, angle = ((k + 0.5) / sensors).sqrt() / 2, k * math.pi * (3 - math.sqrt(5))
    places = torch.stack([0.5 + radius * angle.cos(), 0.5 + radius * angle.sin()], -1)
    return places.to(device, dtype)


def unit_places(positions: Tensor) -> Tensor:
    """Positions (..., sensor, 2 or 3) as places in [0, 1]: flat ones as they are, metres by the fixed cube."""
    return positions if positions.shape[-1] == 2 else (positions + HEAD) / (2 * HEAD)


def fourier(places: Tensor, size: int) -> Tensor:
    """Places (..., d) in [0, 1]^d, d = 2 or 3 -> (..., size): cosines, then sines, of size / 2 spatial frequencies.

    The frequencies are whole numbers of waves in each direction over [-m, 1 + m]: the size / 2 lowest of the
    smallest full square or cube of them, by their largest component. 128 numbers are the published 8 x 8 in two
    dimensions and 4 x 4 x 4 in three.
    """
    waves = _waves(size // 2, places.shape[-1]).to(places)
    phase = (places + MARGIN) @ waves.T * (2 * math.pi / (1 + 2 * MARGIN))
    return torch.cat([phase.cos(), phase.sin()], -1)


def _waves(count: int, dimensions: int) -> Tensor:
    """(count, dimension) whole numbers, float64."""
    side = 1
    while side**dimensions < count:
        side += 1
    grid = torch.cartesian_prod(*[torch.arange(side)] * dimensions)
    order = torch.argsort(grid.amax(-1) * side**dimensions + torch.arange(len(grid)))
    return grid[order[:count].sort().values].double()


def checked_positions(network: str, x: Tensor, positions: Tensor | None, sensors: int) -> Tensor:
    """Positions for x (batch, sensor, ...): (batch, sensor, 2 or 3), the made-up layout where there are none.

    Raises
    ------
    HeschlError: the positions do not fit x, a recording has no sensor with a place, or there are no positions
        and other channels than the network was made for.
    """
    if positions is None:
        if x.shape[1] != sensors:
            raise HeschlError(
                f"{network} was made for {sensors} sensors and was given {x.shape[1]}: give their positions too, "
                "so that any montage will do"
            )
        return made_up_layout(sensors, x.dtype, x.device).expand(len(x), -1, -1)
    if positions.ndim == 2:  # one montage for all
        positions = positions.expand(len(x), -1, -1)
    if positions.shape[:-1] != x.shape[:2] or positions.shape[-1] not in (2, 3):
        raise HeschlError(
            f"{network} was given positions {tuple(positions.shape)} for an input of shape {tuple(x.shape)}: "
            "they must be (batch, sensor, 2 or 3), NaN for a sensor without a place"
        )
    if bool(positions.isnan().any(-1).all(-1).any()):
        raise HeschlError(
            f"{network} was given a recording in which no sensor has a place: name its montage, or leave it out"
        )
    return positions.to(x)


class ChannelDropout(nn.Module):
    """In training, silences the sensors within ``radius`` of a place drawn anew for each clip, and makes up for it.

    x (batch, sensor, ...) and positions (batch, sensor, 2 or 3) -> x with zeros at the silenced sensors, the others
    scaled by sensors there / sensors left. A clip that would lose all of them keeps all.
    """

    def __init__(self, radius: float = 0.2) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        if not self.training or self.radius == 0:
            return x
        there = ~positions.isnan().any(-1)
        kept = there & ~near_drawn(positions, self.radius)
        left = kept.sum(1, keepdim=True)
        scale = torch.where(left > 0, kept * there.sum(1, keepdim=True) / left.clamp_min(1), 1.0)
        return x * scale.to(x.dtype).reshape(*scale.shape, *(1,) * (x.ndim - 2))


class SpatialAttention(nn.Module):
    """x (batch, sensor, ...), positions (batch, sensor, 2 or 3) -> (batch, virtual, ...).

    Parameters
    ----------
    virtual: channels to make. size: numbers that a place is expanded in (published: 128 for maps, 2,048 for
        recordings). radius: in training, sensors this near to a place drawn for each clip get no weight.
    """

    def __init__(self, virtual: int, size: int = 128, radius: float = 0.2) -> None:
        super().__init__()
        if size % 2:
            raise HeschlError(f"spatial attention expands places in {size} numbers: make it even")
        self.size, self.radius = size, radius
        self.heads = nn.Parameter(torch.randn(virtual, size) / math.sqrt(size))

    def weights(self, positions: Tensor) -> Tensor:
        """(batch, virtual, sensor), each row summing to one over the sensors that have a place."""
        missing = positions.isnan().any(-1)
        # A missing place is put in the middle before anything is computed, so that no NaN reaches a gradient.
        places = unit_places(torch.where(missing[..., None], 0.0, positions))
        banned = missing
        if self.training and self.radius > 0:
            near = missing | near_drawn(positions, self.radius)
            banned = torch.where(near.all(-1, keepdim=True), missing, near)
        scores = torch.einsum("vk,bsk->bvs", self.heads, fourier(places, self.size).to(self.heads))
        return scores.masked_fill(banned[:, None], -torch.inf).softmax(-1)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        missing = positions.isnan().any(-1)
        if bool(missing.any()):  # what a sensor without a place recorded may be NaN, and 0 * NaN is not 0
            x = x.masked_fill(missing.reshape(*missing.shape, *(1,) * (x.ndim - 2)), 0.0)
        mixed: Tensor = torch.einsum("bvs,bs...->bv...", self.weights(positions).to(x.dtype), x)
        return mixed


def near_drawn(positions: Tensor, radius: float) -> Tensor:
    """(batch, sensor) bool: within ``radius`` of a place drawn uniformly for each clip from torch's generator."""
    places = unit_places(positions)
    centre = torch.rand(len(places), 1, places.shape[-1], device=places.device, dtype=places.dtype)
    near: Tensor = (places - centre).norm(dim=-1) <= radius
    return near
