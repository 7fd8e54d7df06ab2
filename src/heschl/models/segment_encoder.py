"""Raw recordings of a brain to a series of vectors, to be matched with what was heard.

Spatial attention, a 1x1 convolution, a matrix for each subject, ten residual convolutions with growing dilation, gated
every second layer, and two 1x1 convolutions. After Defossez et al. 2023 (Nature Machine Intelligence 5:1097) and the
configuration `clip_conv` of its code; the numbers are its defaults.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from heschl.models.inputs import check_input, check_shape
from heschl.models.spatial import SpatialAttention, checked_positions
from heschl.types import HeschlError

PLACES = 2048  # numbers that a sensor's place is expanded in


class SubjectLayer(nn.Module):
    """x (batch, channel, time) times the matrix of each clip's subject; an unknown subject (or -1) gets their mean."""

    def __init__(self, subjects: int, channels: int) -> None:
        super().__init__()
        self.matrices = nn.Parameter(torch.randn(subjects, channels, channels) / channels**0.5)

    def forward(self, x: Tensor, subject: Tensor | None = None) -> Tensor:
        mean = self.matrices.mean(0)
        if subject is None:
            out: Tensor = torch.einsum("ij,bjt->bit", mean, x)
            return out
        if subject.shape != (len(x),) or bool((subject >= len(self.matrices)).any()):
            raise HeschlError(
                f"SegmentEncoder knows {len(self.matrices)} subjects and was given {subject.tolist()[:8]}: "
                "set model.subjects, or -1 for one that it does not know"
            )
        own = torch.where((subject < 0)[:, None, None], mean, self.matrices[subject.clamp_min(0)])
        return torch.einsum("bij,bjt->bit", own, x)


class DilatedLayer(nn.Module):
    """x + GELU(norm(convolution x)), then, where gated, a 1x1 convolution to twice the channels and a GLU."""

    def __init__(self, before: int, after: int, kernel: int, dilation: int, gated: bool, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv1d(before, after, kernel, padding=dilation * (kernel // 2), dilation=dilation)
        self.norm: nn.Module = nn.BatchNorm1d(after) if norm == "batch" else nn.GroupNorm(1, after)
        self.gelu = nn.GELU()
        self.skip = before == after
        self.widen = nn.Conv1d(after, 2 * after, 1) if gated else None
        self.glu = nn.GLU(1) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.gelu(self.norm(self.conv(x)))
        y = x + y if self.skip else y
        if self.widen is not None and self.glu is not None:
            y = self.glu(self.widen(y))
        return y


class SegmentEncoder(nn.Module):
    """Recordings (batch, sensor, time) -> (batch, time, n_outputs), a vector for every step.

    Parameters
    ----------
    in_shape: (sensor, time). n_outputs: numbers in a vector: those of the candidates (mel bands, wav2vec 2.0's 1,024).
    subjects: how many subjects have a matrix of their own.
    virtual: channels after spatial attention (270). hidden: of the convolutions (320). depth: how many (10).
    kernel: their width (3), odd. period: dilations are 1, 2, 4, ..., and begin again after so many layers (5).
    norm: "batch" as published, or "group" (of one group), which does not mix the clips of a batch in training.
    radius: in training, sensors within it of a place drawn for each clip get no weight.

    forward(x, positions=None, subject=None, lengths=None): positions as for `neural_encoder.NeuralEncoder`; subject
    (batch,) as numbers from 0, -1 or None for the mean of the known ones.

    Areas
    -----
    sensors: virtual channels, (batch, channel, time). subject: after the subject's matrix. early, late: the layers
    of the first and of the last period of dilations.

    Raises
    ------
    HeschlError: sizes out of range, an input, positions or subjects that do not fit.
    """

    areas: ClassVar[dict[str, str]] = {
        "sensors": "merger",
        "subject": "personal",
        "early": "early",
        "late": "late",
    }
    frames: ClassVar[bool] = True
    example: ClassVar[tuple[Any, ...]] = (
        (6, 40),
        5,
        {"subjects": 2, "virtual": 8, "hidden": 12, "depth": 4, "period": 2, "radius": 0.0},
    )

    def __init__(
        self,
        in_shape: tuple[int, int],
        n_outputs: int,
        subjects: int = 1,
        virtual: int = 270,
        hidden: int = 320,
        depth: int = 10,
        kernel: int = 3,
        period: int = 5,
        norm: Literal["batch", "group"] = "batch",
        radius: float = 0.2,
    ) -> None:
        super().__init__()
        self.in_shape = check_shape("SegmentEncoder", in_shape, ("sensor", "time"), n_outputs)
        if kernel % 2 == 0 or depth < 2 or not 1 <= period < depth or subjects < 1:
            raise HeschlError(
                f"SegmentEncoder cannot have kernel {kernel}, depth {depth}, period {period} and {subjects} subjects: "
                "the kernel is odd, the depth above the period, and there is a subject"
            )
        if norm not in ("batch", "group"):
            raise HeschlError(f"SegmentEncoder's norm is '{norm}': choose 'batch' or 'group'")
        self.merger = SpatialAttention(virtual, PLACES, radius)
        self.mix = nn.Conv1d(virtual, virtual, 1)
        self.personal = SubjectLayer(subjects, virtual)
        layers = [
            DilatedLayer(virtual if k == 0 else hidden, hidden, kernel, 2 ** (k % period), k % 2 == 1, norm)
            for k in range(depth)
        ]
        self.early, self.late = nn.Sequential(*layers[:period]), nn.Sequential(*layers[period:])
        self.widen, self.gelu = nn.Conv1d(hidden, 2 * hidden, 1), nn.GELU()
        self.out = nn.Conv1d(2 * hidden, n_outputs, 1)
        gates = [name for name, one in self.named_modules() if isinstance(one, nn.GLU)]
        self.timing: dict[str, int | None] = {"merger": -1, "personal": -1, **dict.fromkeys(gates, -1)}

    def forward(
        self,
        x: Tensor,
        positions: Tensor | None = None,
        subject: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        any_sensors = x.ndim == 3 and positions is not None
        fixed = (x.shape[1], self.in_shape[1]) if any_sensors else self.in_shape
        check_input("SegmentEncoder", x, fixed, lengths)
        positions = checked_positions("SegmentEncoder", x, positions, self.in_shape[0])
        heard = self.personal(self.mix(self.merger(x, positions)), subject)
        out: Tensor = self.out(self.gelu(self.widen(self.late(self.early(heard)))))
        return out.transpose(1, 2)
