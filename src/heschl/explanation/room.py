"""Rooms: impulse responses by the image-source method, and what they do to a wave.

Allen & Berkley 1979, J. Acoust. Soc. Am. 65(4) 943-950: a rectangular room's echoes are the direct sounds of mirror
images of the source, each weaker by one reflection coefficient a wall. Echoes fall between samples; each is a
windowed sinc at its true time (Peterson 1986), not rounded to the nearest sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heschl.types import HeschlError

SOUND = 343.0  # metres a second, at 20 degrees
_REACH = 20  # samples on each side of an echo that its sinc fills
Point = Sequence[float]


def impulse_response(
    rate: int,
    size: Point = (6.0, 5.0, 2.8),
    source: Point = (2.1, 1.7, 1.5),
    microphone: Point = (4.2, 3.1, 1.4),
    t60: float | None = None,
    reflection: float | Sequence[float] | None = None,
    seconds: float | None = None,
    order: int | None = None,
    high_pass: float = 100.0,
) -> Tensor:
    """What a microphone hears of a click in a rectangular room: (time,), float64.

    A sound at distance d arrives after d / 343 s with the amplitude 1 / (4 pi d) times the reflections on its way.

    Parameters
    ----------
    rate: Hz. size: of the room, metres. source, microphone: places in it, metres from one corner.
    t60: seconds in which sound falls by 60 dB, from which Eyring's formula gives the walls' reflection; or
    reflection: coefficient of pressure of all walls, or of the six (x = 0, x = size, y = 0, ...), from 0 to below 1.
        One of the two is given.
    seconds: length; by default t60 (else what Eyring's formula says), at least twice the direct way.
    order: reflections at most; by default all that arrive in time.
    high_pass: Hz below which the response is weakened (Butterworth, second order), as the authors did: images never
        have a negative sign, and late ones pile up to a rumble that no room has. 0 leaves it.

    A room of images rings longer than Eyring's formula says, by up to a third (Lehmann & Johansson 2008, J. Acoust.
    Soc. Am. 124(1), sec. II): `reverberation_time` measures it.

    Raises
    ------
    HeschlError: a place outside the room, walls that do not absorb, or a reverberation that the room cannot have.
    """
    room, here, there = (np.asarray(p, float) for p in (size, source, microphone))
    if room.shape != (3,) or not (room > 0).all():
        raise HeschlError(f"the room is {size}: give three lengths in metres")
    for name, place in (("source", here), ("microphone", there)):
        if place.shape != (3,) or not ((place > 0) & (place < room)).all():
            raise HeschlError(
                f"the {name} stands at {tuple(place)}, outside the room of {tuple(room)} metres"
            )
    if (t60 is None) == (reflection is None):
        raise HeschlError("a room has walls or a reverberation time: give `reflection` or `t60`, one of them")
    walls = np.broadcast_to(
        np.asarray(reflection_for(t60, room) if t60 is not None else reflection, float), (6,)
    )
    if not ((walls >= 0) & (walls < 1)).all():
        raise HeschlError(f"reflection is {reflection}: it must be at least 0 and below 1")
    direct = float(np.linalg.norm(here - there))
    if seconds is None:
        seconds = max(t60 if t60 is not None else eyring(room, walls), 2 * direct / SOUND + 0.01)
    samples = math.ceil(seconds * rate)
    times, amplitudes = _echoes(room, here, there, walls, seconds, order)
    response = _clicks(times * rate, amplitudes, samples)
    if high_pass:
        from scipy.signal import butter, sosfilt

        response = np.asarray(sosfilt(butter(2, high_pass, "highpass", fs=rate, output="sos"), response))
    return torch.from_numpy(response)


def _echoes(
    room: NDArray[np.float64],
    here: NDArray[np.float64],
    there: NDArray[np.float64],
    walls: NDArray[np.float64],
    seconds: float,
    order: int | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Arrival (seconds) and amplitude of every image (equation 9 of Allen & Berkley)."""
    reach = seconds * SOUND
    # along one axis: the offset of each image, its factor, and how many walls it met
    offsets, factors, bounces = [], [], []
    for axis in range(3):
        n = math.ceil(reach / (2 * room[axis])) + 1
        m = np.arange(-n, n + 1)
        near, far = walls[2 * axis], walls[2 * axis + 1]
        mirrored = np.concatenate([m, m]), np.repeat([0, 1], len(m))
        m, p = mirrored
        offsets.append((1 - 2 * p) * here[axis] + 2 * m * room[axis] - there[axis])
        at_near, at_far = np.abs(m - p), np.abs(m)
        factors.append(near**at_near * far**at_far)
        bounces.append(at_near + at_far)
    flat = offsets[0][:, None] ** 2 + offsets[1][None] ** 2  # one plane of images at a time saves memory
    times, amplitudes = [], []
    for z, factor, met in zip(offsets[2], factors[2], bounces[2]):
        distance = np.sqrt(flat + z**2)
        strength = factors[0][:, None] * factors[1][None] * factor
        keep = (distance < reach) & (strength > 0)
        if order is not None:
            keep &= bounces[0][:, None] + bounces[1][None] + met <= order
        times.append(distance[keep] / SOUND)
        amplitudes.append(strength[keep] / (4 * math.pi * distance[keep]))
    return np.concatenate(times), np.concatenate(amplitudes)


def _clicks(
    places: NDArray[np.float64], amplitudes: NDArray[np.float64], samples: int
) -> NDArray[np.float64]:
    """Clicks between samples, each a Hann-windowed sinc: (samples,)."""
    out = np.zeros(samples + 2 * _REACH + 2)
    around = np.arange(-_REACH, _REACH + 1)
    for first in range(0, len(places), 65536):
        place = places[first : first + 65536]
        whole = np.floor(place).astype(np.int64)
        distance = around[None] - (place - whole)[:, None]
        shape = np.sinc(distance) * np.cos(np.pi * distance / (2 * (_REACH + 1))) ** 2
        index = (whole[:, None] + around[None] + _REACH).ravel()
        values = (amplitudes[first : first + 65536, None] * shape).ravel()
        inside = index < len(out)
        out += np.bincount(index[inside], weights=values[inside], minlength=len(out))
    return out[_REACH : _REACH + samples]


# --- how long a room rings -----------------------------------------------------------------------------------------


def _surfaces(room: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = (float(v) for v in room)
    return np.array([y * z, y * z, x * z, x * z, x * y, x * y])


def _absorption(
    room: Point | NDArray[np.float64], reflection: float | Sequence[float] | NDArray[np.float64]
) -> float:
    """The walls' mean share of energy that does not come back."""
    area = _surfaces(room)
    walls = np.broadcast_to(np.asarray(reflection, float), (6,))
    return float(((1 - walls**2) * area).sum() / area.sum())


def sabine(
    room: Point | NDArray[np.float64], reflection: float | Sequence[float] | NDArray[np.float64]
) -> float:
    """Sabine's reverberation time, seconds: 24 ln(10) / c * volume / (surface * mean absorption)."""
    area = _surfaces(room).sum()
    return float(
        24 * math.log(10) / SOUND * np.prod(np.asarray(room)) / (area * _absorption(room, reflection))
    )


def eyring(
    room: Point | NDArray[np.float64], reflection: float | Sequence[float] | NDArray[np.float64]
) -> float:
    """Eyring's: as Sabine's with -ln(1 - mean absorption), which also holds where walls absorb much; 0 where all is."""
    lost = _absorption(room, reflection)
    if lost >= 1:
        return 0.0
    area = _surfaces(room).sum()
    return float(24 * math.log(10) / SOUND * np.prod(np.asarray(room)) / (-area * math.log1p(-lost)))


def reflection_for(t60: float, room: Point | NDArray[np.float64]) -> float:
    """The reflection coefficient of all walls with which Eyring's formula gives a reverberation time."""
    if not t60 > 0:
        raise HeschlError(f"t60 is {t60} s: a reverberation time is above zero")
    area, volume = _surfaces(room).sum(), float(np.prod(np.asarray(room)))
    return math.exp(-12 * math.log(10) / SOUND * volume / (area * t60))


def reverberation_time(response: Tensor, rate: float, low: float = -25.0, high: float = -5.0) -> float:
    """Seconds in which an impulse response falls by 60 dB, by Schroeder's backward integral (1965).

    A straight line is laid through its decay between ``high`` and ``low`` dB.

    Raises
    ------
    HeschlError: the response does not fall that far.
    """
    energy = np.asarray(response, float) ** 2
    left = energy[::-1].cumsum()[::-1]
    if not left[0] > 0:
        raise HeschlError("the impulse response is silent: it has no reverberation time")
    level = 10 * np.log10(np.maximum(left / left[0], 1e-30))
    between = np.flatnonzero((level <= high) & (level >= low))
    if len(between) < 2:
        raise HeschlError(f"the impulse response does not fall from {high} to {low} dB: make it longer")
    slope = np.polyfit(between / rate, level[between], 1)[0]
    return float(-60 / slope)


def reverberated(wave: Tensor, response: Tensor) -> Tensor:
    """A wave heard in a room: (..., time), its length and level; the direct sound stays where it was.

    response: (time,), as `impulse_response` gives it. Silence stays silent.
    """
    response = response.to(wave)
    n, delay = wave.shape[-1], int(response.abs().argmax())
    size = 1 << (n + len(response) - 1).bit_length()
    heard = torch.fft.irfft(torch.fft.rfft(wave, size) * torch.fft.rfft(response, size), size)
    heard = heard[..., delay : delay + n]
    before, after = (v.square().mean(-1, keepdim=True).sqrt() for v in (wave, heard))
    return torch.where(after > 0, heard * before / torch.where(after > 0, after, 1.0), heard)
