"""Mel spectrograms: `LogMel`, which today's small networks look at, and WaveGrad's.

What all spectrograms have in common is said in `heschl.features.spectrogram`, where these are found as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heschl import signal
from heschl.types import HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Normalise = Literal["none", "mean", "energy", "level", "mean_variance", "standard"]
Count = TypeVar("Count", int, Tensor)  # of samples or frames: of one clip, or of each of a batch

_CPU_BATCH = 4  # a CPU is fastest when a few clips' spectra stay in its cache


class LogMel(nn.Module):
    """Natural logarithm of the mel power spectrogram: (batch, time) to (batch, mel, frame).

    ``log(librosa.feature.melspectrogram(..., pad_mode="constant") + floor)``: frame i is centred on sample
    ``i * hop``, outside the wave is silence, power 2, periodic Hann window.

    Parameters
    ----------
    window, hop: seconds; both must be whole numbers of samples.
    n_fft: None takes the next power of two.
    f_min, f_max: band of the filters, Hz (None: half the rate).
    mel: "slaney" (librosa's default, triangles of unit area) or "htk" (also of unit area).
    floor: added to the power before the logarithm; full scale of the wave is 1.
    normalise: per clip, over its valid frames; padded frames become 0.
        "none"; "mean" subtracts each row's mean; "energy" the mean weighted by the frame's magnitude, so
        that silence does not count; "level" one number, the average of those over the rows, so that the
        clip's mean spectrum stays; "mean_variance" makes each row mean 0, variance 1; "standard" the
        whole clip.

    Raises
    ------
    HeschlError: a window or hop that is no whole number of samples, or more filters than the bins can fill.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mels: int = 40,
        window: float = 0.025,
        hop: float = 0.010,
        n_fft: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        mel: signal.MelScale = "slaney",
        floor: float = 1e-6,
        normalise: Normalise = "none",
    ) -> None:
        super().__init__()
        if normalise not in get_args(Normalise):
            raise HeschlError(f"LogMel.normalise is '{normalise}': choose {', '.join(get_args(Normalise))}")
        if n_mels < 1:
            raise HeschlError(f"LogMel.n_mels is {n_mels}: it needs one filter or more")
        if floor <= 0:
            raise HeschlError(
                f"LogMel.floor is {floor}: the logarithm needs a floor above zero, such as 1e-6"
            )
        self.sample_rate = sample_rate
        self.n_mels = n_mels
        self.window_length = whole_samples(window, sample_rate, "LogMel.window")
        self.hop_length = whole_samples(hop, sample_rate, "LogMel.hop")
        self.n_fft = n_fft or 2 ** math.ceil(math.log2(self.window_length))
        if self.n_fft < self.window_length:
            raise HeschlError(
                f"LogMel.n_fft is {self.n_fft} and the window has {self.window_length} samples: raise n_fft"
            )
        self.floor = floor
        self.normalise = normalise
        self.rate = sample_rate / self.hop_length
        self.start = 0.0
        self._bank = signal.mel_filterbank(sample_rate, self.n_fft, n_mels, f_min, f_max, mel)
        if not self._bank.any(axis=1).all():
            empty = int((~self._bank.any(axis=1)).sum())
            raise HeschlError(
                f"LogMel: {empty} of {n_mels} mel filters fall between the bins of a {self.n_fft}-point "
                "transform: take fewer n_mels, a larger n_fft or a higher f_min"
            )
        self.register_buffer(
            "frequencies", _mel_centres(sample_rate, n_mels, f_min, f_max, mel), persistent=False
        )

    def steps(self, samples: Count) -> Count:
        """Frames of a wave of so many samples (or of each of several)."""
        return 1 + (samples - self.n_fft % 2) // self.hop_length

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        window = signal.hann(self.window_length, wave.dtype, wave.device)
        blocks = _blocks(self._bank, wave)

        def log_mel(part: Tensor) -> Tensor:
            spectrum = signal.stft(part, self.n_fft, self.hop_length, window)
            return torch.log(_filtered(signal.power(spectrum), blocks) + self.floor)

        x = _in_parts(log_mel, wave)
        if self.normalise == "none":
            return x
        valid = None if lengths is None else inside(x, self.steps(lengths.to(x.device)))
        return _normalised(x, self.normalise, valid, self.floor)


def _normalised(x: Tensor, how: Normalise, valid: Tensor | None, floor: float) -> Tensor:
    """Per-clip normalisation of log power (batch, mel, frame), over the valid frames (batch, 1, frame)."""
    share = x.new_ones(x.shape[0], 1, x.shape[2]) if valid is None else valid.to(x.dtype)
    if how in (
        "energy",
        "level",
    ):  # the frame's magnitude; the floor was added to each row and is taken off again
        energy = (x.exp().sum(1, keepdim=True) - floor * x.shape[1]).clamp_min(0)
        share = share * (energy + floor).sqrt()
    # a weight of the mean, not a signal: neither gradients nor relevance go through it
    share = (share / share.sum(2, keepdim=True)).detach()
    mean = (x * share).sum(2, keepdim=True)
    if how in ("level", "standard"):
        mean = mean.mean(1, keepdim=True)
    x = x - mean
    if how in ("mean_variance", "standard"):
        variance = (x.square() * share).sum(2, keepdim=True)
        if how == "standard":
            variance = variance.mean(1, keepdim=True)
        x = x / (variance + 1e-5).sqrt()  # a constant row stays near zero
    return x if valid is None else torch.where(valid, x, 0.0)


class WaveGradMel(nn.Module):
    """WaveGrad's mel spectrogram: (batch, time) at 22,050 Hz to (batch, 128, frame), in [0, 1].

    Magnitude spectra (window 1200, hop 300, 2048 points, divided by the window's norm; the wave is reflected at
    its ends), 128 HTK triangles of height one from 20 Hz, ``20 log10`` above 1e-5, less 20 dB, and
    ``clamp((x + 100) / 100, 0, 1)``. The wave is cut to [-1, 1] first.

    Source: Chen et al., arXiv:2009.00713, in lmnt-com's implementation.
    """

    n_fft, length, hop = 2048, 1200, 300

    def __init__(self, sample_rate: int = 22050) -> None:
        super().__init__()
        if sample_rate != 22050:
            raise HeschlError(f"WaveGradMel is defined at 22050 Hz, not {sample_rate}: leave sample_rate out")
        self.sample_rate = sample_rate
        self.rate = sample_rate / self.hop
        self.start = 0.0
        self._bank = signal.mel_filterbank(sample_rate, self.n_fft, 128, 20.0, None, "htk", unit_area=False)
        self.register_buffer(
            "frequencies", _mel_centres(sample_rate, 128, 20.0, None, "htk"), persistent=False
        )

    def steps(self, samples: Count) -> Count:
        """Frames of a wave of so many samples (or of each of several)."""
        return 1 + samples // self.hop

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        window = signal.hann(self.length, wave.dtype, wave.device)
        blocks = _blocks(self._bank, wave)
        mirrored = _reflected(wave.clamp(-1, 1), self.n_fft // 2, lengths)

        def mel(part: Tensor) -> Tensor:
            spectrum = signal.stft(part, self.n_fft, self.hop, window / window.norm(), centre=False)
            return _filtered(spectrum.abs(), blocks)

        level = 20 * torch.log10(_in_parts(mel, mirrored).clamp_min(1e-5)) - 20
        return ((level + 100) / 100).clamp(0, 1)


def whole_samples(seconds: float, sample_rate: int, name: str) -> int:
    """Seconds as samples.

    Raises
    ------
    HeschlError: it is no whole number of samples, or none at all.
    """
    samples = round(seconds * sample_rate)
    if samples < 1 or abs(samples - seconds * sample_rate) > 1e-6 * samples:
        raise HeschlError(
            f"{name} of {seconds} s is {seconds * sample_rate:g} samples at {sample_rate} Hz: "
            f"it must be a whole number, such as {max(1, samples) / sample_rate:g} s"
        )
    return samples


def _mel_centres(rate: int, n_mels: int, f_min: float, f_max: float | None, mel: signal.MelScale) -> Tensor:
    edges = np.linspace(signal.hz_to_mel(f_min, mel), signal.hz_to_mel(f_max or rate / 2, mel), n_mels + 2)
    return torch.as_tensor(signal.mel_to_hz(edges, mel)[1:-1], dtype=torch.float32)


_Block = tuple[slice, Tensor]


def _blocks(bank: NDArray[np.float64], like: Tensor) -> list[_Block]:
    """A filterbank (mel, frequency) as a few dense blocks along its diagonal: most of it is zeros."""
    blocks = []
    for rows in np.array_split(bank, max(1, len(bank) // 20)):
        filled = np.flatnonzero(rows.any(axis=0))
        columns = slice(int(filled[0]), int(filled[-1]) + 1)
        blocks.append((columns, torch.as_tensor(rows[:, columns].T, dtype=like.dtype, device=like.device)))
    return blocks


def _filtered(spectrum: Tensor, blocks: list[_Block]) -> Tensor:
    """(batch, frequency, frame) to (batch, mel, frame)."""
    by_frame = spectrum.transpose(1, 2)  # as the transform laid it out
    mel = torch.cat([by_frame[..., columns] @ block for columns, block in blocks], -1)
    return mel.transpose(1, 2)


def _in_parts(function: Callable[[Tensor], Tensor], wave: Tensor) -> Tensor:
    if torch.compiler.is_exporting() or wave.device.type != "cpu" or len(wave) <= _CPU_BATCH:
        return function(wave)  # an exported graph takes any number of waves
    return torch.cat([function(part) for part in torch.split(wave, _CPU_BATCH)])


def inside(x: Tensor, steps: Tensor) -> Tensor:
    """(batch, 1, frame): which frames lie inside the clip."""
    return (torch.arange(x.shape[2], device=x.device) < steps[:, None])[:, None]


def _reflected(wave: Tensor, reach: int, lengths: Tensor | None) -> Tensor:
    """Each clip of (batch, time), continued by ``reach`` mirrored samples at its own two ends; zeros after that."""
    shortest = wave.shape[1] if lengths is None else int(lengths.min())
    if shortest <= reach:
        raise HeschlError(
            f"a clip has {shortest} samples and WaveGradMel needs more than {reach}: pad it first"
        )
    if lengths is None:
        return F.pad(wave[:, None], (reach, reach), mode="reflect")[:, 0]
    last = lengths.to(wave.device)[:, None] - 1
    place = torch.arange(-reach, wave.shape[1] + reach, device=wave.device).expand(len(wave), -1)
    source = torch.where(place > last, 2 * last - place, place.abs())
    return torch.where(place <= last + reach, wave.gather(1, source.clamp(0, wave.shape[1] - 1)), 0.0)
