"""Was the sound where the table says? A recorded audio channel against the file: onset offset and clock drift."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from heschl.types import HeschlError

RATE = 200.0  # Hz of the envelopes that are compared
WINDOW, REACH = 10.0, 1.0  # seconds: of each comparison, and how far the sound is looked for
LEAST = 0.4  # correlation of envelopes below which a window says nothing


class Sync(NamedTuple):
    """offset: seconds that the sound really began after the time given. drift: seconds that the recording's clock gains
    per second of the file. residual: standard deviation of the windows about this line, seconds. r: median correlation
    of the envelopes. windows: that agreed, of ``of``."""

    offset: float
    drift: float
    residual: float
    r: float
    windows: int
    of: int

    def sentence(self) -> str:
        return (
            f"onset {1000 * self.offset:+.1f} ms from what is given, clock drift {1e6 * self.drift:+.0f} ppm, residual "
            f"{1000 * self.residual:.1f} ms, envelopes correlate {self.r:.2f} ({self.windows} of {self.of} windows)"
        )


def measure(
    recorded: np.ndarray, rate: float, wave: np.ndarray, sample_rate: float, lead: float = 0.0
) -> Sync | None:
    """Offset and drift between a recorded channel and the file that was played.

    Parameters
    ----------
    recorded: (time,) the channel, from ``lead`` seconds before the moment at which the file is said to begin.
    wave: (time,) the file. It is looked for within `REACH` seconds of where it is said to be.

    Returns
    -------
    `Sync`; or None where fewer than two windows, or fewer than half of them, find the sound.

    Notes
    -----
    Rectified and smoothed envelopes (a recording at some hundred hertz holds no more), correlated window by window; the
    lag at the highest correlation, refined by a parabola; then a line through lags, refitted without windows that are
    beyond three robust deviations.
    """
    if rate < 50 or sample_rate < 50:
        raise HeschlError(f"rates of {rate} and {sample_rate} Hz are too low to compare envelopes")
    a, b = envelope(recorded, rate), envelope(wave, sample_rate)
    n, reach = round(WINDOW * RATE), round(REACH * RATE)
    starts = np.arange(0, max(1, len(b) - n + 1), n // 2)
    times, lags, rs = [], [], []
    for start in starts:
        found = _lag(a, b[start : start + n], round(start + lead * RATE), reach)
        if found is not None:
            times.append((start + min(n, len(b)) / 2) / RATE)
            lags.append(found[0])
            rs.append(found[1])
    t, lag, r = np.array(times), np.array(lags), np.array(rs)
    lag += round(lead * RATE) / RATE - lead
    good = r >= LEAST
    if good.sum() < 2 or good.sum() < len(starts) / 2:
        return None
    t, lag, r = t[good], lag[good], r[good]
    for _ in range(3):
        slope, offset = np.polyfit(t, lag, 1) if np.ptp(t) >= 2 * WINDOW else (0.0, float(np.median(lag)))
        left = lag - (offset + slope * t)
        spread = max(1.4826 * float(np.median(np.abs(left))), 0.5 / RATE)
        keep = np.abs(left) <= 3 * spread
        if keep.all():
            break
        t, lag, r = t[keep], lag[keep], r[keep]
    return Sync(float(offset), float(slope), float(left.std()), float(np.median(r)), len(t), len(starts))


def envelope(wave: np.ndarray, rate: float) -> np.ndarray:
    """Rectified, averaged over 20 ms, at `RATE`; sample k stands at k / RATE seconds."""
    total = np.concatenate([[0.0], np.cumsum(np.abs(wave - wave.mean()))])
    at = np.arange(int(len(wave) / rate * RATE)) / RATE
    # a sample stands in the middle of what it stands for: half of one before it, half after
    low, high = (np.clip((at + side) * rate + 0.5, 0, len(wave)) for side in (-0.01, 0.01))
    whole = np.arange(len(total))
    return np.asarray(
        (np.interp(high, whole, total) - np.interp(low, whole, total)) / np.maximum(high - low, 1e-9)
    )


def _lag(a: np.ndarray, piece: np.ndarray, start: int, reach: int) -> tuple[float, float] | None:
    """Seconds by which ``piece``, said to begin at sample ``start`` of a, comes later; and its correlation."""
    first = max(0, start - reach)
    part = a[first : start + len(piece) + reach]
    if len(part) < len(piece) or piece.std() == 0:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(part, len(piece))
    centred = piece - piece.mean()
    spread = windows.std(1) * np.linalg.norm(centred) * len(piece) ** 0.5
    r = np.where(spread > 0, windows @ centred / np.where(spread > 0, spread, 1), 0)
    k = int(r.argmax())
    shift = 0.0
    if 0 < k < len(r) - 1:
        bend = r[k - 1] - 2 * r[k] + r[k + 1]
        shift = 0.5 * float(r[k - 1] - r[k + 1]) / float(bend) if bend < 0 else 0.0
    return (first + k + shift - start) / RATE, float(r[k])
