"""The neural-representation encoder: superlet maps of imagined speech, to a vector beside a codebook of words.

Sensors are mixed into virtual channels by where they lie, a bottleneck CNN shortens time, and a Transformer over
overlapping time-frequency patches gathers the whole in its class token. The word whose vector in the codebook
points most nearly the same way is the answer. After the published code of system 5 (Spec_transformer_encoder,
NR_params.yaml), whose numbers are the defaults here: 3,588,944 parameters for 127 sensors, 64 frequencies, 512 steps
and 88 words, codebook included. What it builds and never calls (two norms) is left out.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heschl.models.inputs import check_input, check_shape
from heschl.models.spatial import ChannelDropout, SpatialAttention, checked_positions
from heschl.models.spectral_transformer import Norm, TalkingAttention, TokenTransformer, he_normal, patch_grid
from heschl.types import HeschlError

BLOCKS = 3  # residual blocks before each pooling
PLACES = 128  # numbers that a sensor's place is expanded in


class Encoded(NamedTuple):
    """What the encoder gives.

    logits: (batch, word) cosines between each clip's embedding and every word's vector.
    embedding: (batch, dim) the class token. codebook: (word, dim) the words' vectors, the same for every clip.
    """

    logits: Tensor
    embedding: Tensor
    codebook: Tensor


class Bottleneck(nn.Module):
    """x + 1x1 (3x3 (3x3 (1x1 x))), at half width inside, with one group norm of four groups that three share."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.enter = he_normal(nn.Conv2d(width, half, 1))
        self.first = he_normal(nn.Conv2d(half, half, 3, padding=1))
        self.second = he_normal(nn.Conv2d(half, half, 3, padding=1))
        self.leave = he_normal(nn.Conv2d(half, width, 1))
        self.norm, self.gelu = nn.GroupNorm(4, half), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        inside = self.gelu(self.norm(self.enter(x)))
        inside = self.gelu(self.norm(self.first(inside)))
        inside = self.gelu(self.norm(self.second(inside)))
        out: Tensor = x + self.leave(inside)
        return out


def bottleneck_cnn(width: int) -> nn.Sequential:
    """(batch, width, frequency, time) -> (batch, width, frequency, time / 4): twice three blocks and a mean over
    pairs of steps, the second at twice the width."""
    return nn.Sequential(
        *[Bottleneck(width) for _ in range(BLOCKS)],
        nn.AvgPool2d((1, 2)),
        nn.Conv2d(width, 2 * width, 1, bias=False),
        *[Bottleneck(2 * width) for _ in range(BLOCKS)],
        nn.AvgPool2d((1, 2)),
        nn.Conv2d(2 * width, width, 1, bias=False),
    )


class NeuralEncoder(nn.Module):
    """Superlet maps (batch, sensor, frequency, time) -> `Encoded`: logits, embedding, codebook.

    Parameters
    ----------
    in_shape: (sensor, frequency, time); published: (127, 64, 512). n_outputs: words (published: 88).
    channels: virtual channels, and width of the CNN (32; 64 in its second half). A multiple of 8.
    dim: of tokens and words (256). depth, heads: of the Transformer (3, 4); heads are dim / heads wide (64).
    patch: frequencies and steps, after the CNN, of a patch; patches overlap by half ((8, 16): 15 x 15 of them).
    norm: "post" as published, or "pre", which trains more calmly when deep; the same parameters.
    dropout: of attention in training. radius: in training, sensors within it of a place drawn anew are silent; the
        head is one unit wide.

    The sensors' places travel with the batch: ``positions`` (batch, sensor, 2 or 3), or (sensor, 2 or 3) for all,
    see `heschl.models.spatial`; NaN for a sensor that is missing. Any montage will do. Without positions, channels
    are told apart by a made-up layout (`spatial.made_up_layout`): then they must be those of ``in_shape``.

    Areas
    -----
    sensors: virtual channels, (batch, channel, frequency, time). maps: the CNN's output. patches: (batch, dim,
    frequency, time) before positions. token: the class token, which hears the whole.

    Raises
    ------
    HeschlError: sizes that do not fit one another, or an input or positions of another shape.
    """

    areas: ClassVar[dict[str, str]] = {
        "sensors": "merger",
        "maps": "cnn",
        "patches": "patches",
        "token": "transformer",
    }
    timing: ClassVar[dict[str, int | None]] = {"silence": -1, "merger": -1, "transformer": None}
    example: ClassVar[tuple[Any, ...]] = (
        (6, 8, 32),
        4,
        {"channels": 8, "dim": 16, "depth": 2, "heads": 2, "patch": (4, 4), "dropout": 0.0, "radius": 0.0},
    )

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_outputs: int,
        channels: int = 32,
        dim: int = 256,
        depth: int = 3,
        heads: int = 4,
        patch: tuple[int, int] = (8, 16),
        norm: Norm = "post",
        dropout: float = 0.3,
        radius: float = 0.2,
    ) -> None:
        super().__init__()
        shape = check_shape("NeuralEncoder", in_shape, ("sensor", "frequency", "time"), n_outputs)
        self.in_shape, patch = shape, (int(patch[0]), int(patch[1]))
        grid = patch_grid((shape[1], shape[2] // 4), patch)
        _check_sizes(shape, channels, dim, heads, patch, norm)
        self.silence = ChannelDropout(radius)
        self.merger = SpatialAttention(channels, PLACES, radius)
        self.cnn = bottleneck_cnn(channels)
        stride = (max(1, patch[0] // 2), max(1, patch[1] // 2))
        self.patches = he_normal(nn.Conv2d(channels, dim, patch, stride))
        self.transformer = TokenTransformer(grid, dim, depth, heads, norm, dropout)
        self.codebook = nn.Parameter(nn.init.trunc_normal_(torch.empty(n_outputs, dim), std=0.02))

    def forward(self, x: Tensor, positions: Tensor | None = None, lengths: Tensor | None = None) -> Encoded:
        any_sensors = x.ndim == 4 and positions is not None
        fixed = (x.shape[1], *self.in_shape[1:]) if any_sensors else self.in_shape
        check_input("NeuralEncoder", x, fixed, lengths)
        positions = checked_positions("NeuralEncoder", x, positions, self.in_shape[0])
        mixed = self.merger(self.silence(x, positions), positions)
        embedding = self.transformer(self.patches(self.cnn(mixed)))
        logits = F.linear(F.normalize(embedding, dim=-1), F.normalize(self.codebook, dim=-1))
        return Encoded(logits, embedding, self.codebook)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """For one optimiser: weights and positions, which decay; gains, biases and the token, which do not; the codebook."""
        own = {name: one for name, one in self.named_parameters() if one.requires_grad and name != "codebook"}
        matrices = [one for name, one in own.items() if one.ndim > 1 and name.split(".")[-1] != "token"]
        rest = [one for one in own.values() if not any(one is matrix for matrix in matrices)]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": rest, "weight_decay": 0.0}]
        return groups + ([{"params": [self.codebook]}] if self.codebook.requires_grad else [])

    def attention(self, x: Tensor, positions: Tensor | None = None) -> list[Tensor]:
        """Each block's weights (batch, head, query, key) for x, in eval mode; token 0 is the class token, the others
        are the patches row by row, `transformer.grid` of them."""
        layers = [one for one in self.transformer.modules() if isinstance(one, TalkingAttention)]
        kept: list[Tensor] = []
        training = self.training
        try:
            for layer in layers:
                layer.keep = kept
            with torch.no_grad():
                self.eval()(x, positions)
        finally:
            self.train(training)
            for layer in layers:
                layer.keep = None
        return kept


class Placed(nn.Module):
    """A network whose sensors lie at fixed places, as a network of x alone: for LRP, timing and export.

    positions: (sensor, 2 or 3), one montage for all clips.
    """

    positions: Tensor
    missing: Tensor

    def __init__(self, model: nn.Module, positions: Tensor) -> None:
        super().__init__()
        self.model = model
        # a missing place is kept apart from the numbers, all of which are finite
        self.register_buffer("positions", positions.nan_to_num(0.0))
        self.register_buffer("missing", positions.isnan().any(-1))
        self.train(model.training)

    def forward(self, x: Tensor) -> Any:
        positions = self.positions.masked_fill(self.missing[:, None], torch.nan)
        return self.model(x, positions)


def _check_sizes(
    shape: tuple[int, ...], channels: int, dim: int, heads: int, patch: tuple[int, int], norm: str
) -> None:
    if shape[2] % 4 or shape[1] < patch[0] or shape[2] // 4 < patch[1] or min(patch) < 1:
        raise HeschlError(
            f"NeuralEncoder reads {shape[1]} frequencies and {shape[2]} steps, which its CNN makes a quarter of, and "
            f"patches of {patch[0]} x {patch[1]} do not fit: take a number of steps that 4 divides, or change model.patch"
        )
    if channels % 8 or channels < 8:
        raise HeschlError(f"NeuralEncoder has {channels} channels: its group norms need a multiple of 8")
    if dim % 4 or heads < 1 or dim % heads:
        raise HeschlError(f"NeuralEncoder's model.dim is {dim}: 4 and model.heads ({heads}) must divide it")
    if norm not in ("post", "pre"):
        raise HeschlError(f"NeuralEncoder's norm is '{norm}': choose 'post' or 'pre'")
