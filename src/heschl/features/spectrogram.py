"""Spectrograms: what the CRNN and AudioMNIST's AlexNet look at; the mel ones (`LogMel`, `WaveGradMel`) are here too.

Each is a module from waves (batch, time) to (batch, ..., frame), differentiable, in float32 or float64, that
treats every clip by itself. All of them have

sample_rate: Hz of the wave; rate: frames a second; start: centre of frame 0, seconds from the wave's start;
frequencies: (frequency,) centre of each row, Hz; steps(samples): valid frames of so many samples.

Where a batch is padded to its longest clip, ``lengths`` (batch,) in samples keeps the padding out of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heschl import signal
from heschl.features.mel import Count, LogMel, WaveGradMel, inside
from heschl.types import HeschlError

__all__ = ["AudioMnistSpectrogram", "LogMel", "LogSpectrogram", "WaveGradMel"]


class LogSpectrogram(nn.Module):
    """The CRNN's log power spectrogram: (batch, time) to (batch, frequency, frame); 16000 samples give (129, 71).

    ``scipy.signal.spectrogram`` with all its defaults (Tukey window 0.25, 256 samples, overlap 32, density,
    the mean of each frame removed), zeros replaced by 1, then ``10 log10``.

    Parameters
    ----------
    int16: take the wave as 16-bit numbers (full scale 32768), as the CRNN was trained; else full scale is 1.
    standardise: make each clip mean 0, variance 1 over its valid frames.

    Computed in float64 where the device has it: in float32 the decibels of nearly silent frames are rounding.
    Source: D. Grinwald, Learning_speech_commands.
    """

    length, hop = 256, 224

    def __init__(self, sample_rate: int = 16000, int16: bool = True, standardise: bool = False) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.rate = sample_rate / self.hop
        self.start = self.length / 2 / sample_rate
        self.scale = 32768.0 if int16 else 1.0
        self.standardise = standardise
        bins = torch.fft.rfftfreq(self.length, 1 / sample_rate)
        self.register_buffer("frequencies", bins, persistent=False)

    def steps(self, samples: Count) -> Count:
        """Frames of a wave of so many samples: those that it fills."""
        count = (samples - self.length) // self.hop + 1
        return count.clamp_min(0) if isinstance(count, Tensor) else max(0, count)

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        density = signal.power(self._spectrum(wave.to(_finest(wave)))[0])
        x = (10 * torch.log10(torch.where(density > 0, density, 1.0))).to(wave.dtype)
        if not self.standardise:
            return x
        valid = x.new_ones(1, 1, 1, dtype=torch.bool).expand(len(x), 1, x.shape[2])
        if lengths is not None:
            valid = inside(x, self.steps(lengths.to(x.device)))
        mean, deviation = self._moments(x, valid)
        return torch.where(valid, (x - mean) / deviation, 0.0)

    def invert(self, x: Tensor, wave: Tensor) -> Tensor:
        """The sound whose levels are x and whose phases, frame means and uncovered edges are those of ``wave``.

        ``invert(forward(wave), wave)`` is ``wave``.

        Parameters
        ----------
        x: (batch, frequency, frame). wave: (batch, time).
        """
        spectrum, mean, density = self._spectrum(wave)
        if self.standardise:
            own = signal.power(spectrum)
            own = 10 * torch.log10(torch.where(own > 0, own, 1.0))
            centre, deviation = self._moments(own, torch.ones_like(own[:, :1], dtype=torch.bool))
            x = x * deviation + centre
        window = signal.tukey(self.length, 0.25, wave.dtype, wave.device)
        phasor = torch.sgn(spectrum)  # 0 where the power is 0: the 1 that stands for it stays a zero
        whole = 10 ** (x / 20) * phasor / density[:, None] + torch.fft.rfft(window)[:, None] * mean
        heard = signal.istft(whole, self.length, self.hop, window, wave.shape[1], centre=False) / self.scale
        inside = torch.arange(wave.shape[1], device=wave.device)
        covered = (inside > 0) & (
            inside < self.hop * (x.shape[2] - 1) + self.length
        )  # the window starts at 0
        return torch.where(covered, heard, wave)

    def _spectrum(self, wave: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Root-density spectrum (batch, frequency, frame), frame means (batch, 1, frame), its factor (frequency,)."""
        window = signal.tukey(self.length, 0.25, wave.dtype, wave.device)
        pieces = signal.frames(wave * self.scale, self.length, self.hop)
        mean = pieces.mean(-1, keepdim=True)
        sides = torch.full((self.length // 2 + 1,), 2.0, dtype=wave.dtype, device=wave.device)
        sides[0] = sides[-1] = 1.0  # the two bins without a mirror image
        density = (sides / (self.sample_rate * window.square().sum())).sqrt()
        spectrum = torch.fft.rfft((pieces - mean) * window) * density
        return spectrum.transpose(1, 2), mean.transpose(1, 2), density

    @staticmethod
    def _moments(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        count = valid.sum((1, 2), keepdim=True) * x.shape[1]
        mean = torch.where(valid, x, 0.0).sum((1, 2), keepdim=True) / count
        variance = torch.where(valid, x - mean, 0.0).square().sum((1, 2), keepdim=True) / count
        return mean, (variance + 1e-8).sqrt()  # silence stays silent


def _finest(wave: Tensor) -> torch.dtype:
    return torch.float32 if wave.device.type == "mps" else torch.float64


class AudioMnistSpectrogram(nn.Module):
    """AudioMNIST's input to AlexNet: (batch, 8000) at 8 kHz to (batch, 1, 227, 227), decibels in [-80, 0].

    The magnitude of ``scipy.signal.stft(x, 8000, nperseg=455, noverlap=420, window="hann")`` without its top
    row, first two and last columns, in decibels below the clip's own peak, cut at -80
    (``librosa.amplitude_to_db(ref=np.max)``). Row 0 is 0 Hz.

    Parameters
    ----------
    scale: multiplies the wave first. Only quiet clips notice: magnitudes below 1e-5 are one. The published
        preparation read 16-bit numbers, which is 32768 for a wave of full scale 1.
    unit: ``(x + 80) / 80`` instead of the decibels x, in [0, 1], as audioM (lxj22) feeds its AlexNet.

    Computed in float64 where the device has it: float32 is off by more than 0.01 dB near -80.
    Source: Becker et al., arXiv:1807.03418; preprocess_data.py of AudioMNIST.
    """

    samples, length, hop = 8000, 455, 35
    range = 80.0  # decibels below the clip's peak

    def __init__(self, sample_rate: int = 8000, scale: float = 1.0, unit: bool = False) -> None:
        super().__init__()
        if sample_rate != 8000:
            raise HeschlError(
                f"AudioMnistSpectrogram is defined at 8000 Hz, not {sample_rate}: leave sample_rate out"
            )
        self.sample_rate = sample_rate
        self.scale, self.unit = scale, unit
        self.rate = sample_rate / self.hop
        self.start = 2 / self.rate
        bins = torch.fft.rfftfreq(self.length, 1 / sample_rate)[:-1]
        self.register_buffer("frequencies", bins, persistent=False)

    def steps(self, samples: Count) -> Count:
        """227 frames, always: the picture has one size."""
        return torch.full_like(samples, 227) if isinstance(samples, Tensor) else 227

    def forward(self, wave: Tensor) -> Tensor:
        level = self._level(self._spectrum(wave)[:, :227, 2:-1])[:, None]
        return ((level + self.range) / self.range if self.unit else level).to(wave.dtype)

    def invert(self, x: Tensor, wave: Tensor) -> Tensor:
        """The sound whose levels are x; phases, loudness and the parts that the picture lacks are from ``wave``.

        ``invert(forward(wave), wave)`` is ``wave``: what lies below the picture's floor stays as it was where x
        is the picture's own value.

        Parameters
        ----------
        x: (batch, 1, 227, 227). wave: (batch, 8000).
        """
        spectrum = self._spectrum(wave)
        seen = spectrum[:, :227, 2:-1]
        level = x[:, 0].to(seen.real.dtype)
        level = level * self.range - self.range if self.unit else level
        asked = 10 ** (level / 20) * seen.abs().amax((1, 2), keepdim=True).clamp_min(1e-5) * torch.sgn(seen)
        unchanged = (level - self._level(seen)).abs() < 1e-4
        spectrum = spectrum.clone()
        spectrum[:, :227, 2:-1] = torch.where(unchanged, seen, asked)
        window = signal.hann(self.length, level.dtype, wave.device)
        back = signal.istft(spectrum * window.sum(), self.length, self.hop, window, self.samples)
        return (back / self.scale).to(wave.dtype)

    @staticmethod
    def _level(spectrum: Tensor) -> Tensor:
        power = signal.power(spectrum)
        level = signal.decibels(power, 1e-10) - signal.decibels(power.amax((1, 2), keepdim=True), 1e-10)
        return torch.maximum(level, level.amax((1, 2), keepdim=True) - AudioMnistSpectrogram.range)

    def _spectrum(self, wave: Tensor) -> Tensor:
        """(batch, 228, 230) complex, a sine of amplitude A at A / 2."""
        if wave.ndim != 2 or wave.shape[1] != self.samples:
            raise HeschlError(
                f"AudioMnistSpectrogram takes (batch, {self.samples}) samples at 8 kHz, not {tuple(wave.shape)}: "
                "set `clip.seconds: 1.0` in the recipe"
            )
        dtype = _finest(wave)
        window = signal.hann(self.length, dtype, wave.device)
        # scipy pads the end until the last frame is full: one hop more than enough does the same
        padded = F.pad(wave.to(dtype) * self.scale, (0, self.hop))
        return signal.stft(padded, self.length, self.hop, window) / window.sum()
