"""Noise as sensors have it: spatially from a covariance, in time white or 1/f; trials and their average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heschl.brain.anatomy import need_mne, quiet
from heschl.types import HeschlError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Deviation of one trial's background, brain and sensor together, by kind of channel: V, T, T/m.
TRIAL = {"eeg": 10e-6, "mag": 200e-15, "grad": 5e-12}


def white_covariance(info: Any, deviation: dict[str, float] | None = None) -> Any:
    """An `mne.Covariance` of independent channels.

    deviation: by kind ("eeg" V, "mag" T, "grad" T/m); None takes `TRIAL`.
    """
    mne = need_mne("a covariance")
    kinds = info.get_channel_types()
    levels = {**TRIAL, **(deviation or {})}
    missing = sorted(set(kinds) - set(levels))
    if missing:
        raise HeschlError(f"channels of kind {missing[0]} have no level of noise: leave them out")
    variance = np.array([levels[kind] ** 2 for kind in kinds])
    return mne.Covariance(variance, info["ch_names"], bads=[], projs=[], nfree=1)


def covariance_at(evoked: Any, snr: float, covariance: Any = None) -> Any:
    """The `mne.Covariance` of one trial's noise so loud that a trial has this signal-to-noise ratio.

    Parameters
    ----------
    evoked: without noise. snr: decibels, as for `trials`.
    covariance: of noise of any loudness; None: independent channels of `TRIAL`'s levels.

    Raises
    ------
    HeschlError: the covariance lacks a channel, or the signal is silent.
    """
    given = white_covariance(evoked.info) if covariance is None else covariance
    found = given.copy()
    found["data"] = given["data"] * (_snr(evoked.data, _matrix(given, evoked.ch_names)) / 10 ** (snr / 10))
    return found


def coloured(shape: tuple[int, ...], exponent: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Gaussian noise (..., time) of unit variance whose power falls with frequency as 1 / f ** exponent.

    exponent: 0 white, 1 pink, 2 brown. There is no power at 0 Hz unless it is white.
    """
    time = shape[-1]
    if not exponent:
        return generator.standard_normal(shape)
    n = 2 * time  # twice as long, or the end would run into the beginning
    bins = np.arange(n // 2 + 1, dtype=float)
    amplitude = np.zeros(len(bins))
    amplitude[1:] = bins[1:] ** (-exponent / 2)
    weight = np.full(len(bins), 2.0)
    weight[[0, -1]] = 1.0
    amplitude *= n / np.sqrt((weight * amplitude**2).sum())
    draws = generator.standard_normal((*shape[:-1], len(bins), 2)) / np.sqrt(2)
    draws[..., -1, :] = [1.0, 0.0] * draws[..., -1, :] * np.sqrt(2)
    spectrum = amplitude * (draws[..., 0] + 1j * draws[..., 1])
    return np.asarray(np.fft.irfft(spectrum, n, axis=-1)[..., :time])


def trials(
    evoked: Any,
    n: int = 100,
    covariance: Any = None,
    colour: Literal["white", "pink"] | float = "white",
    snr: float | None = None,
    seed: int = 0,
) -> Any:
    """Trials of a simulated answer in noise; ``.average()`` is the evoked answer of their mean.

    Parameters
    ----------
    evoked: without noise, as `heschl.project` gives it.
    n: trials.
    covariance: an `mne.Covariance` of one trial's noise; None: independent channels of `TRIAL`'s levels.
    colour: "white", "pink" (1/f power), or the exponent of 1/f.
    snr: of one trial, in decibels: noise is scaled so that at the signal's strongest moment, over the channels in
        units of their noise, signal power to noise power is this. None leaves the covariance as it is.
    seed: of the draws.

    Returns
    -------
    `mne.EpochsArray` (trial, channel, time). Where the EEG is average-referenced, so is its noise.

    Raises
    ------
    HeschlError: the covariance lacks a channel, the signal is silent and ``snr`` is given, or n is not above zero.
    """
    mne = need_mne("simulated trials")
    if n < 1:
        raise HeschlError(f"{n} trials were asked for: one is the least")
    exponent = {"white": 0.0, "pink": 1.0}.get(colour, colour) if isinstance(colour, str) else float(colour)
    if isinstance(exponent, str) or not 0 <= exponent <= 4:
        raise HeschlError(
            f"the colour of noise is '{colour}': choose 'white', 'pink' or an exponent from 0 to 4"
        )
    covariance = white_covariance(evoked.info) if covariance is None else covariance
    if snr is not None:
        covariance = covariance_at(evoked, snr, covariance)
    matrix = _matrix(covariance, evoked.ch_names)
    values, vectors = np.linalg.eigh(matrix)
    root = vectors * np.sqrt(np.maximum(values, 0))
    generator = np.random.default_rng(seed)
    data = np.empty((n, *evoked.data.shape))
    for one in data:  # trial by trial: the same trials, however many there are
        one[:] = evoked.data + root @ coloured(evoked.data.shape, exponent, generator)
    if evoked.info["projs"]:
        data = _projector(evoked.info) @ data
    with quiet():
        epochs = mne.EpochsArray(
            data, evoked.info.copy(), tmin=float(evoked.times[0]), baseline=None, proj=True
        )
        return epochs.shift_time(
            float(evoked.times[0]), relative=False
        )  # as in `heschl.brain.forward.project`


def _projector(info: Any) -> NDArray[np.float64]:
    """What the active projections of an info do, (channel, channel)."""
    import mne

    names = info["ch_names"]
    with quiet():
        info = info.copy()
        with info._unlock():
            info["projs"] = [one.copy() for one in info["projs"]]
            for one in info["projs"]:
                one["active"] = False
        return np.asarray(mne.EvokedArray(np.eye(len(names)), info).apply_proj().data)


def _matrix(covariance: Any, names: list[str]) -> NDArray[np.float64]:
    missing = [name for name in names if name not in covariance.ch_names]
    if missing:
        raise HeschlError(
            f"the covariance lacks channel {missing[0]} ({len(missing)} in all): give one of these sensors"
        )
    rows = [covariance.ch_names.index(name) for name in names]
    data = np.asarray(covariance.data)
    return np.diag(data[rows]) if data.ndim == 1 else data[np.ix_(rows, rows)]


def _snr(data: NDArray[np.float64], matrix: NDArray[np.float64]) -> float:
    """Signal power over noise power at the strongest moment, mean over channels in units of their own noise."""
    power = float((np.square(data) / np.diag(matrix)[:, None]).mean(0).max())
    if not power > 0:
        raise HeschlError("the signal is silent: it has no signal-to-noise ratio")
    return power
