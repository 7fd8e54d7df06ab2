"""The control features of every encoding model of sound: envelope, onsets and compressed mel bands."""

from __future__ import annotations

from typing import Any

import torch

from heschl import signal
from heschl.types import HeschlError

COMPRESSION = 0.3  # of power: 0.6 of amplitude, about what the ear does


def acoustics(
    wave: Any, sample_rate: int, rate: int, n_mels: int = 16, f_min: float = 60.0
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Acoustic features of a sound at the rate of a recording.

    Parameters
    ----------
    wave: (time,). sample_rate: Hz.
    rate: features per second; sample i is centred at ``i / rate`` seconds. ``sample_rate / rate`` must be whole.
    n_mels: bands between ``f_min`` and half the sample rate, or 8 kHz where that is lower.

    Returns
    -------
    features (time, 2 + n_mels), and their names: "envelope", the power in all bands to the power of .3; "onsets", its
    rise per second where it rises, else 0; "mel 0" on, each band's power to the power of .3 (periodic Hann window of
    25 ms, or of two steps where that is longer, so that no sample of the sound is missed).

    Raises
    ------
    HeschlError: the rates do not divide, or the wave is not (time,) of finite numbers.
    """
    x = torch.as_tensor(wave)
    if x.ndim != 1 or len(x) < 2 or not bool(torch.isfinite(x).all()):
        raise HeschlError(f"the wave is of shape {tuple(x.shape)}: give (time,) of finite numbers")
    if not x.is_floating_point():
        raise HeschlError(f"the wave is of {x.dtype}: give floating numbers, full scale 1")
    if rate < 1 or sample_rate % rate:
        raise HeschlError(
            f"{sample_rate} Hz divided by {rate} Hz is no whole number of samples: resample the sound first"
        )
    hop = sample_rate // rate
    length = max(round(0.025 * sample_rate), 2 * hop)
    n_fft = 2 ** (length - 1).bit_length()
    bank = signal.mel_filterbank(
        sample_rate, n_fft, n_mels, f_min, min(8000.0, sample_rate / 2), unit_area=False
    )
    if not bank.any(1).all():
        raise HeschlError(f"{n_mels} mel bands are too narrow for {sample_rate} Hz: take fewer")
    spectrum = signal.stft(x, n_fft, hop, signal.hann(length, x.dtype, x.device))
    power = torch.as_tensor(bank).to(x) @ signal.power(spectrum) / length
    power = power[:, : -(-len(x) // hop)].clamp_min(0)
    bands = power**COMPRESSION
    envelope = power.sum(0) ** COMPRESSION
    onsets = torch.diff(envelope, prepend=envelope[:1]).clamp_min(0) * rate
    names = ("envelope", "onsets", *(f"mel {k}" for k in range(n_mels)))
    return torch.cat([envelope[None], onsets[None], bands]).T.contiguous(), names
