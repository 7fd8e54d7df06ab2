"""Raw recordings of a brain, matched with stretches of speech: `SegmentEncoder` and the candidates that it points at.

The encoder's series of vectors is averaged to the steps of the candidates, and each candidate's score is the inner product
with it at unit length (Defossez et al. 2023). Candidates are no parameters: the task fills them in before training
(`heschl.tasks.segments.Match`), and they are kept with the weights, so that a run can be asked without the sounds.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heschl.models.inputs import check_shape
from heschl.models.segment_encoder import SegmentEncoder
from heschl.types import HeschlError


class Matched(NamedTuple):
    """logits: (batch, candidate) inner products with each candidate at unit length. embedding: (batch, step, band).
    candidates: (candidate, step, band), the same for every trial. heat: () factor on the task's temperature, one unless the
    task has it learnt."""

    logits: Tensor
    embedding: Tensor
    candidates: Tensor
    heat: Tensor


class SegmentMatcher(nn.Module):
    """Recordings (batch, sensor, time) -> `Matched`.

    Parameters
    ----------
    in_shape: (sensor, time). n_outputs: candidates.
    bands, steps: of a candidate, such as mel bands and their steps in time; at most as many steps as the input's.
    subjects, virtual, hidden, depth, norm, radius: as for `SegmentEncoder`; its dilations begin again half way, after at
        most five layers.

    forward(x, positions=None, subject=None, lengths=None): as `SegmentEncoder`'s.

    Areas
    -----
    Those of `SegmentEncoder`.
    """

    areas: ClassVar[dict[str, str]] = {name: f"encoder.{path}" for name, path in SegmentEncoder.areas.items()}
    example: ClassVar[tuple[Any, ...]] = (
        (6, 40),
        5,
        {"bands": 3, "steps": 8, "subjects": 2, "virtual": 8, "hidden": 12, "depth": 4, "radius": 0.0},
    )
    candidates: Tensor

    def __init__(
        self,
        in_shape: tuple[int, int],
        n_outputs: int,
        bands: int = 40,
        steps: int = 32,
        subjects: int = 1,
        virtual: int = 270,
        hidden: int = 320,
        depth: int = 10,
        norm: Literal["batch", "group"] = "batch",
        radius: float = 0.2,
    ) -> None:
        super().__init__()
        self.in_shape = check_shape("SegmentMatcher", in_shape, ("sensor", "time"), n_outputs)
        if not 1 <= steps <= self.in_shape[1] or bands < 1:
            raise HeschlError(
                f"SegmentMatcher cannot have {steps} steps of {bands} bands from {self.in_shape[1]} steps of time: "
                "take from one to as many as there are"
            )
        period = max(1, min(5, depth // 2))
        self.encoder = SegmentEncoder(
            (self.in_shape[0], self.in_shape[1]),
            bands,
            subjects,
            virtual,
            hidden,
            depth,
            period=period,
            norm=norm,
            radius=radius,
        )
        self.pool = nn.AdaptiveAvgPool1d(steps)
        self.register_buffer("candidates", torch.randn(n_outputs, steps, bands))
        # one number that the task may set free; until then it is no more than the factor one
        self.log_heat = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.timing: dict[str, int | None] = {f"encoder.{k}": v for k, v in self.encoder.timing.items()}

    def forward(
        self,
        x: Tensor,
        positions: Tensor | None = None,
        subject: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Matched:
        series = self.encoder(x, positions, subject, lengths)
        embedding = self.pool(series.transpose(1, 2)).transpose(1, 2)
        unit = F.normalize(self.candidates.flatten(1), dim=1)
        logits = F.linear(embedding.flatten(1), unit)
        return Matched(logits, embedding, self.candidates, self.log_heat.exp())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """For one optimiser: the encoder's weights, and the temperature, where it is learnt, which does not decay."""
        own: list[dict[str, Any]] = [{"params": list(self.encoder.parameters())}]
        return own + (
            [{"params": [self.log_heat], "weight_decay": 0.0}] if self.log_heat.requires_grad else []
        )
