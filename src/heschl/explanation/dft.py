"""Relevance of a wave's samples, carried to its frequencies and to its times and frequencies, by FFT.

A sample's relevance swings with the wave, so that it can hardly be read; what it says of each frequency can. The wave
is taken as the outcome of an inverse transform, a linear layer of its own, and relevance is handed through that layer
by the epsilon rule's limit (each coefficient by its share in each sample), so that the sum stays.

Source: Vielhaben et al. 2024, "Explainable AI for time series via virtual inspection layers", eq. 7 to 12; the dense
matrices there are never made here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from heschl.explanation.cells import look
from heschl.types import HeschlError


def frequency_relevance(wave: Tensor, relevance: Tensor) -> Tensor:
    """Relevance of each frequency of a wave.

    Parameters
    ----------
    wave, relevance: (..., time), floating. Relevance of samples that are zero has nowhere to go and is left out.

    Returns
    -------
    (..., time // 2 + 1): bin k stands for k / time cycles a sample, on both sides of zero together.

    Raises
    ------
    HeschlError: the two differ in shape.
    """
    return _carried(wave, relevance, "frequency", 2)


def time_frequency_relevance(wave: Tensor, relevance: Tensor, window: int) -> Tensor:
    """Relevance of each cell of a wave's short-time Fourier transform (Hann window, hop of a quarter).

    Parameters
    ----------
    wave, relevance: as in `frequency_relevance`. window: samples.

    Returns
    -------
    (..., window // 2 + 1, frame): frame i is centred on sample ``i * (window // 4)``.
    """
    return _carried(wave, relevance, "time_frequency", window)


def _carried(wave: Tensor, relevance: Tensor, cells: str, window: int) -> Tensor:
    if wave.shape != relevance.shape or not wave.is_floating_point():
        raise HeschlError(
            f"the wave is {tuple(wave.shape)} of {wave.dtype} and its relevance {tuple(relevance.shape)}: "
            "they must be floating and of one shape"
        )
    *leading, time = wave.shape
    flat = wave.detach().reshape(-1, time)
    view = look(flat, cells, window=window)  # type: ignore[arg-type]
    out = view.carry(relevance.detach().to(flat).reshape(-1, time))
    return out.reshape(*leading, *out.shape[1:]) if len(flat) else torch.zeros(*leading, *out.shape[1:])
