"""Raw recordings of a brain, matched with speech whose mel spectra go through a network of their own ("deep mel").

`SegmentMatcher` points at mel spectra as they are. Here both sides are learned: the recording goes through `SegmentEncoder`,
the candidates' mel spectra through residual convolutions of the same kind, and they meet in vectors that neither was given
(Defossez et al. 2023, Nature Machine Intelligence 5:1097, "Deep Mel"). A candidate's norms see that candidate alone, so that
none of a test ever touches what is learned of another.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heschl.models.inputs import check_shape
from heschl.models.segment_encoder import DilatedLayer, SegmentEncoder
from heschl.models.segment_matcher import Matched
from heschl.types import HeschlError

BLOCK = 256  # candidates at a time, where no gradient is wanted


class DeepMatcher(nn.Module):
    """Recordings (batch, sensor, time) -> `Matched`, whose candidates are what the second network makes of their mel spectra.

    Parameters
    ----------
    in_shape: (sensor, time). n_outputs: candidates, all of which go through the second network at each step: some thousands.
    bands, steps: of a candidate's mel spectrum; at most as many steps as the input's.
    subjects, virtual, hidden, depth, norm, radius: as for `heschl.models.segment_encoder.SegmentEncoder`; vectors are as wide as
        ``hidden``, and the second network has ``depth`` layers too.

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
        self.in_shape = check_shape("DeepMatcher", in_shape, ("sensor", "time"), n_outputs)
        if not 1 <= steps <= self.in_shape[1] or bands < 1:
            raise HeschlError(
                f"DeepMatcher cannot have {steps} steps of {bands} bands from {self.in_shape[1]} steps of time: "
                "take from one to as many as there are"
            )
        period = max(1, min(5, depth // 2))
        self.encoder = SegmentEncoder(
            (self.in_shape[0], self.in_shape[1]),
            hidden,
            subjects,
            virtual,
            hidden,
            depth,
            period=period,
            norm=norm,
            radius=radius,
        )
        self.pool = nn.AdaptiveAvgPool1d(steps)
        self.heard = nn.Sequential(
            *[
                DilatedLayer(bands if k == 0 else hidden, hidden, 3, 2 ** (k % period), k % 2 == 1, "group")
                for k in range(depth)
            ],
            nn.Conv1d(hidden, hidden, 1),
        )
        self.register_buffer("candidates", torch.randn(n_outputs, steps, bands))
        # one number that the task may set free; until then it is no more than the factor one
        self.log_heat = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.timing: dict[str, int | None] = {f"encoder.{k}": v for k, v in self.encoder.timing.items()}

    def targets(self) -> Tensor:
        """(candidate, step, hidden): what trials are matched with."""
        size = len(self.candidates) if torch.is_grad_enabled() else BLOCK
        parts = [self.heard(part.transpose(1, 2)) for part in torch.split(self.candidates, size)]
        return torch.cat(parts).transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        positions: Tensor | None = None,
        subject: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Matched:
        series = self.encoder(x, positions, subject, lengths)
        embedding = self.pool(series.transpose(1, 2)).transpose(1, 2)
        targets = self.targets()
        logits = F.linear(embedding.flatten(1), F.normalize(targets.flatten(1), dim=1))
        return Matched(logits, embedding, targets, self.log_heat.exp())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """For one optimiser: the weights, and the temperature, where it is learnt, which does not decay."""
        own: list[dict[str, Any]] = [{"params": [*self.encoder.parameters(), *self.heard.parameters()]}]
        return own + (
            [{"params": [self.log_heat], "weight_decay": 0.0}] if self.log_heat.requires_grad else []
        )
