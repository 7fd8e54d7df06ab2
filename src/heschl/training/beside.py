"""What travels beside a brain's trials into a network: where the sensors lie, and whose brain it is."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from heschl.training.survey import Survey
from heschl.types import HeschlError


@dataclass(frozen=True)
class Beside:
    """By a trial's row in the packed store.

    Attributes
    ----------
    row: (trial,) number of its recording. positions: (recording, sensor, 3). subject: (recording,).
    wanted: which of "positions" and "subject" the network's forward takes.
    """

    row: Tensor
    positions: Tensor
    subject: Tensor
    wanted: tuple[str, ...]

    def of(self, clips: Tensor, device: torch.device) -> dict[str, Tensor]:
        """The arguments for a batch of trials, by their rows."""
        rows = self.row[clips.cpu()]
        held = {"positions": self.positions[rows], "subject": self.subject[rows]}
        return {name: held[name].to(device) for name in self.wanted}


def beside(made: Survey, ids: Sequence[str], model: nn.Module) -> Beside:
    """The tables for the trials of a packed store, for the arguments that this network takes."""
    assert made.sensors is not None
    taken = inspect.signature(model.forward).parameters
    wanted = tuple(name for name in ("positions", "subject") if name in taken)
    counts = {len(recording.channels) for recording in made.corpus.recordings}
    if "positions" not in wanted and len(counts) > 1:
        raise HeschlError(
            f"{made.recipe.model.use} takes no positions, and the recordings have {min(counts)} to {max(counts)} sensors: "
            "choose a network that does, such as neural_encoder.NeuralEncoder"
        )
    clips = [made.corpus.by_id[one] for one in ids]
    return Beside(
        torch.from_numpy(made.sensors.rows(clips)),
        torch.from_numpy(made.sensors.positions),
        torch.from_numpy(made.sensors.subject),
        wanted,
    )
