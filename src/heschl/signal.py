"""Small pieces of signal processing, in pure torch: resampling, frames, Fourier and mel transforms, levels.

Every function works on the last axes and leaves the ones before them alone, keeps the dtype (float32 or
float64) and the device, and lets gradients through. Rates are in hertz, lengths in samples.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from heschl.types import HeschlError, Resampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

MelScale = Literal["slaney", "htk"]

# --- windows -----------------------------------------------------------------------------------------


def hann(length: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
    """Periodic Hann window, (length,).

    >>> hann(4).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    return torch.hann_window(length, periodic=True, dtype=torch.float64).to(device=device, dtype=dtype)


def tukey(
    length: int, taper: float = 0.25, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Tensor:
    """Periodic Tukey window, (length,): flat, with cosine slopes that take up the share ``taper`` of it."""
    n = torch.arange(length, dtype=torch.float64)
    slope = taper * length / 2
    from_edge = torch.minimum(n, length - n)
    window = torch.where(from_edge < slope, 0.5 - 0.5 * torch.cos(math.pi * from_edge / slope), 1.0)
    return window.to(device=device, dtype=dtype)


# --- frames ------------------------------------------------------------------------------------------


def n_frames(samples: int, length: int, hop: int, centre: bool = False) -> int:
    """How many frames `frames` (``centre=False``) or `stft` (``centre=True``) cut from that many samples.

    >>> n_frames(16000, 256, 224), n_frames(16000, 512, 160, centre=True)
    (71, 101)
    """
    if centre:
        samples += 2 * (length // 2)
    return max(0, (samples - length) // hop + 1)


def frames(wave: Tensor, length: int, hop: int) -> Tensor:
    """Overlapping pieces of a wave, as a view: no sample is copied, what does not fill a frame is left out.

    Parameters
    ----------
    wave: (..., time).

    Returns
    -------
    (..., frame, length), where ``[..., i, j]`` is ``wave[..., i * hop + j]``.

    Raises
    ------
    HeschlError: the wave is shorter than one frame.

    >>> frames(torch.arange(7), length=3, hop=2).tolist()
    [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    """
    if wave.shape[-1] < length:
        raise HeschlError(
            f"the wave has {wave.shape[-1]} samples and one frame needs {length}: pad it or take a longer one"
        )
    return wave.unfold(-1, length, hop)


def overlap_add(pieces: Tensor, hop: int) -> Tensor:
    """Adds up frames where they overlap: the adjoint of `frames`.

    Parameters
    ----------
    pieces: (..., frame, length).

    Returns
    -------
    (..., (frame - 1) * hop + length).

    >>> overlap_add(torch.ones(3, 3), hop=2).tolist()
    [1.0, 1.0, 2.0, 1.0, 2.0, 1.0, 1.0]
    """
    *leading, count, length = pieces.shape
    total = (count - 1) * hop + length
    columns = pieces.reshape(-1, count, length).transpose(1, 2)
    added = F.fold(columns, output_size=(1, total), kernel_size=(1, length), stride=(1, hop))
    return added.reshape(*leading, total)


# --- Fourier -----------------------------------------------------------------------------------------


def stft(wave: Tensor, n_fft: int, hop: int, window: Tensor, centre: bool = True) -> Tensor:
    """Short-time Fourier transform, unscaled.

    Parameters
    ----------
    wave: (..., time).
    window: (length,), at most ``n_fft`` long; a shorter one is centred in the frame.
    centre: frame i is centred on sample ``i * hop``, with zeros outside the wave (never reflections,
        so that the padding of a batch changes nothing); else frame i starts there.

    Returns
    -------
    (..., n_fft // 2 + 1, frame), complex.
    """
    *leading, time = wave.shape
    # The padding is done here: torch's own is an option with a default (reflection) that we never want.
    padded = F.pad(wave, (n_fft // 2, n_fft // 2)) if centre else wave
    if padded.shape[-1] < n_fft:
        raise HeschlError(
            f"the wave has {time} samples and one frame needs {n_fft}: pad it or take a longer one"
        )
    spectrum = torch.stft(
        padded.reshape(-1, padded.shape[-1]),
        n_fft,
        hop_length=hop,
        win_length=window.shape[0],
        window=window.to(device=wave.device, dtype=wave.dtype),
        center=False,
        return_complex=True,
    )
    return spectrum.reshape(*leading, *spectrum.shape[1:])


def istft(
    spectrum: Tensor, n_fft: int, hop: int, window: Tensor, samples: int, centre: bool = True
) -> Tensor:
    """The wave whose `stft` is nearest to ``spectrum`` (least squares; exact for an unchanged one).

    Parameters
    ----------
    spectrum: (..., n_fft // 2 + 1, frame), complex.
    samples: length of the wave.

    Returns
    -------
    (..., samples); zero where no frame says anything.
    """
    pieces = torch.fft.irfft(spectrum.transpose(-1, -2), n=n_fft)
    before = (n_fft - window.shape[0]) // 2
    whole = F.pad(window.to(pieces), (before, n_fft - window.shape[0] - before))
    weight = overlap_add((whole**2).expand(pieces.shape[-2], n_fft), hop)
    heard = weight > 1e-10 * float((whole**2).max())
    wave = torch.where(heard, overlap_add(pieces * whole, hop) / torch.where(heard, weight, 1.0), 0.0)
    wave = wave[..., n_fft // 2 if centre else 0 :]
    return F.pad(wave, (0, max(0, samples - wave.shape[-1])))[..., :samples]


def power(spectrum: Tensor) -> Tensor:
    """Squared magnitude of a complex tensor, with a finite gradient at zero."""
    squares = torch.view_as_real(spectrum).square()
    return squares[..., 0] + squares[..., 1]  # six times faster than a sum over an axis of two


# --- mel ---------------------------------------------------------------------------------------------

_SLANEY_STEP = 200 / 3  # Hz a mel below 1 kHz (Slaney, Auditory Toolbox, 1998)
_SLANEY_LOG = math.log(6.4) / 27  # log-Hz a mel above


def hz_to_mel(hertz: Any, scale: MelScale = "slaney") -> NDArray[np.float64]:
    """Frequency in mel, float64.

    >>> float(hz_to_mel(1000.0)), round(float(hz_to_mel(1000.0, "htk")), 2)
    (15.0, 999.99)
    """
    hertz = np.asarray(hertz, dtype=np.float64)
    if scale == "htk":
        return np.asarray(2595 * np.log10(1 + hertz / 700))
    above = 15 + np.log(np.maximum(hertz, 1000) / 1000) / _SLANEY_LOG
    return np.asarray(np.where(hertz < 1000, hertz / _SLANEY_STEP, above))


def mel_to_hz(mel: Any, scale: MelScale = "slaney") -> NDArray[np.float64]:
    """The inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return np.asarray(700 * (10 ** (mel / 2595) - 1))
    return np.asarray(
        np.where(mel < 15, mel * _SLANEY_STEP, 1000 * np.exp(_SLANEY_LOG * (np.maximum(mel, 15) - 15)))
    )


def mel_filterbank(
    rate: float,
    n_fft: int,
    n_mels: int,
    f_min: float = 0.0,
    f_max: float | None = None,
    scale: MelScale = "slaney",
    unit_area: bool = True,
) -> NDArray[np.float64]:
    """Triangular filters, evenly spaced in mel.

    Parameters
    ----------
    f_min, f_max: lower edge of the first and upper edge of the last filter, Hz (None: half the rate).
    scale: "slaney" or "htk".
    unit_area: scale each triangle to area one over frequency in Hz; else each has height one.

    Returns
    -------
    (mel, n_fft // 2 + 1), float64; a row of zeros for a filter so narrow that it holds no bin.

    Raises
    ------
    HeschlError: the band is not inside [0, rate / 2].
    """
    top = rate / 2 if f_max is None else f_max
    if not 0 <= f_min < top <= rate / 2:
        raise HeschlError(
            f"mel band of {f_min} to {top} Hz: it must lie within 0 and {rate / 2} Hz, in order"
        )
    edges = mel_to_hz(np.linspace(hz_to_mel(f_min, scale), hz_to_mel(top, scale), n_mels + 2), scale)
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bank = np.maximum(0, np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)))
    if unit_area:
        bank *= 2 / (high - low)
    return np.asarray(bank)


# --- levels ------------------------------------------------------------------------------------------


def decibels(value: Tensor, floor: float) -> Tensor:
    """``10 log10(max(value, floor))`` of a power.

    >>> decibels(torch.tensor([0.0, 1.0, 100.0]), floor=1e-10).tolist()
    [-100.0, 0.0, 20.0]
    """
    return 10 * torch.log10(value.clamp_min(floor))


def rms(wave: Tensor) -> Tensor:
    """Root of the mean square over the last axis, kept: (..., time) to (..., 1)."""
    return wave.square().mean(-1, keepdim=True).sqrt()


# --- resampling --------------------------------------------------------------------------------------


def resample(wave: Tensor, rate_in: int, rate_out: int, zeros: int = 48, rolloff: float = 0.945) -> Tensor:
    """Band-limited resampling by a polyphase windowed sinc (Kaiser, beta 9), zeros outside the wave.

    Parameters
    ----------
    wave: (..., time).
    zeros: zero crossings on each side of the filter's centre: more are steeper and slower.
    rolloff: cut-off as a share of the lower of the two Nyquist frequencies.

    Returns
    -------
    (..., ceil(time * rate_out / rate_in)).
    """
    divisor = math.gcd(rate_in, rate_out)
    old, new = rate_in // divisor, rate_out // divisor
    if old == new:
        return wave
    *leading, time = wave.shape
    band = rolloff * min(old, new)  # twice the cut-off, in units of the common divisor
    reach = zeros / band
    width = math.ceil(reach * old)
    # Filter i interpolates at i / new, for every i below new, from input samples at j / old.
    distance = np.arange(new)[:, None] / new - np.arange(-width, width + old)[None] / old
    shape = np.i0(9 * np.sqrt(np.maximum(0, 1 - (distance / reach) ** 2))) * (np.abs(distance) < reach)
    filters = np.sinc(band * distance) * shape
    filters /= filters.sum(1, keepdims=True)  # a constant stays what it is
    padded = F.pad(wave.reshape(-1, 1, time), (width, width + old))
    phases = F.conv1d(padded, torch.as_tensor(filters[:, None]).to(wave), stride=old)
    out = phases.transpose(1, 2).reshape(phases.shape[0], -1)[:, : math.ceil(time * new / old)]
    return out.reshape(*leading, -1)


def resample_fft(wave: Tensor, samples: int) -> Tensor:
    """Resampling to ``samples`` points by cutting or padding the spectrum of the whole (periodic) wave.

    The same as ``scipy.signal.resample``; AudioMNIST was prepared by it.

    >>> resample_fft(torch.tensor([1.0, 2.0, 1.0, 0.0]), 2).tolist()
    [1.0, 1.0]
    """
    time = wave.shape[-1]
    if time == samples:
        return wave
    spectrum = torch.fft.rfft(wave)
    shorter = min(time, samples)
    kept = spectrum[..., : shorter // 2 + 1]
    if shorter % 2 == 0:  # the bin at half the lower rate stands for two frequencies on one side only
        factor = 2.0 if samples < time else 0.5
        kept = torch.cat([kept[..., :-1], kept[..., -1:] * factor], -1)
    resampled: Tensor = torch.fft.irfft(kept, n=samples) * (samples / time)
    return resampled


def resample_recording(
    wave: NDArray[np.float32], rate_in: int, rate_out: int, by: Resampler = "soxr"
) -> NDArray[np.float32]:
    """Resamples a (time,) array read from a file (no gradient): by soxr's high-quality filter, or by the spectrum of the
    whole wave (see `resample_fft`), ceil(time * rate_out / rate_in) samples either way."""
    if rate_in == rate_out:
        return wave
    if by == "fft":
        samples = -(-wave.shape[-1] * rate_out // rate_in)
        return np.asarray(resample_fft(torch.from_numpy(wave), samples), dtype=np.float32)
    import soxr

    return np.asarray(soxr.resample(wave, rate_in, rate_out, quality="HQ"), dtype=np.float32)
