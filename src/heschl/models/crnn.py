"""A convolutional recurrent network whose three stages are read as STG, TP and IFG.

One small convolution over frequency hears each moment of a spectrogram alone; two LSTMs carry what was heard
onward in time; the last step of the second decides. After D. Grinwald's Learning_speech_commands (2018), which
trained it on Speech Commands. Which stage stands for which area is a name, not a measurement.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import nn

from heschl.models.inputs import check_input, check_shape
from heschl.types import HeschlError


class ChannelMean(nn.Module):
    """(batch, time, channel, frequency) -> (batch, time, frequency): a stage with several channels, as one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=2)


class CRNN(nn.Module):
    """Spectrogram (batch, frequency, time) -> logits (batch, class).

    Parameters
    ----------
    in_shape: (frequency, time); the published network hears (129, 71).
    n_outputs: classes.
    hidden_1, hidden_2: units of the two LSTMs (published: 128, and 64).
    fc1: width of one more dense layer before the output (published: 50), or None for none.
    channels, kernel: of the convolution over frequency.
    sweep: "time" hears one spectrum a step. "frequency" mixes the axes as the published code does
        (`view(batch * time, 1, frequency)` without a transpose): each step then holds `frequency` consecutive
        values of the spectrogram read row by row, so that the LSTMs sweep from low to high frequency, and their
        steps have no time. The published weights need it.

    Areas
    -----
    STG: mean of the convolution's channels, (batch, time, frequency - kernel + 1).
    TP: first LSTM, (batch, time, hidden_1).
    IFG: second LSTM, (batch, time, hidden_2).

    Clips of different length are welcome with ``sweep="time"``: give ``lengths`` (batch,), and the step that
    decides is each clip's own last. Initialisation is torch's own, as published.

    Raises
    ------
    HeschlError: the input's shape or its lengths do not fit.
    """

    areas: ClassVar[dict[str, str]] = {"STG": "stg", "TP": "lstm_1", "IFG": "lstm_2"}
    # For `models.timing`: these hear one step at a time; where their output has its time axis (0: in the batch).
    timing: ClassVar[dict[str, int | None]] = {"conv": 0, "stg": 1}
    example: ClassVar[tuple[tuple[int, ...], int]] = ((129, 71), 31)

    def __init__(
        self,
        in_shape: tuple[int, int],
        n_outputs: int,
        hidden_1: int = 128,
        hidden_2: int = 128,
        fc1: int | None = None,
        channels: int = 3,
        kernel: int = 10,
        sweep: Literal["time", "frequency"] = "time",
    ) -> None:
        super().__init__()
        frequency, _ = check_shape("CRNN", in_shape, ("frequency", "time"), n_outputs)
        if frequency < kernel:
            raise HeschlError(
                f"CRNN's kernel spans {kernel} frequencies and the feature has {frequency}: shorten model.kernel"
            )
        if sweep not in ("time", "frequency"):
            raise HeschlError(f"CRNN's sweep is '{sweep}': choose 'time' or 'frequency'")
        self.in_shape = tuple(in_shape)
        self.sweep = sweep
        # Steps of a sweep over frequency have no time, and `models.timing` says so.
        self.time_axis: int | None = -1 if sweep == "time" else None
        self.conv = nn.Conv1d(1, channels, kernel)
        self.relu = nn.ReLU()
        self.stg = ChannelMean()
        self.lstm_1 = nn.LSTM(channels * (frequency - kernel + 1), hidden_1, batch_first=True)
        self.lstm_2 = nn.LSTM(hidden_1, hidden_2, batch_first=True)
        self.fc1 = nn.Linear(hidden_2, n_outputs if fc1 is None else fc1)
        self.fc2 = None if fc1 is None else nn.Linear(fc1, n_outputs)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        check_input("CRNN", x, self.in_shape, lengths, any_time=self.sweep == "time")
        batch, frequency, time = x.shape
        vectors = x.transpose(1, 2) if self.sweep == "time" else x
        heard = self.relu(self.conv(vectors.reshape(batch * time, 1, frequency)))
        heard = heard.view(batch, time, *heard.shape[1:])  # (batch, time, channel, frequency)
        self.stg(heard)  # computed to be recorded: the LSTM hears every channel
        steps, _ = self.lstm_1(heard.flatten(2))
        steps, _ = self.lstm_2(steps)
        # An LSTM looks back only, so padding after a clip's end changes nothing before it.
        last = steps[:, -1] if lengths is None else steps[torch.arange(batch, device=x.device), lengths - 1]
        logits: torch.Tensor = self.fc1(last)
        return logits if self.fc2 is None else self.fc2(self.relu(logits))
