"""From a clip to what a run's network rests on: its input, the class that is explained, relevance, a picture, sounds.

Every kind of network is explained on the input that it looks at. One that looks at windows of frames is explained on
the clip's frames: what a frame gets is the sum of what it gets in all windows that hold it.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from heschl import signal
from heschl.explanation import cells
from heschl.explanation.audible import WINDOW, audible_parts, smoothed
from heschl.explanation.dft import time_frequency_relevance
from heschl.explanation.segments import numbers, segments_of
from heschl.explanation.target import NO_LABEL, logits_of
from heschl.features.waveform import fit_length, placement
from heschl.files import read_audio
from heschl.signal import resample_recording
from heschl.steps import networks
from heschl.steps.inputs import explained
from heschl.steps.methods import Method, relevance_of
from heschl.steps.networks import Network, frame_times, refuse_brain
from heschl.types import Clip, HeschlError

FLOOR = 60.0  # dB under a wave's loudest cell, below which its picture is blank


class Input(NamedTuple):
    """A clip as its network is given it.

    x: the network's input, without the batch axis. rate: steps of its last axis a second, Hz.
    start: middle of its first step, seconds from the clip's start; below zero where zeros were put before the clip.
    silent: every sample is zero. Its input need not be: what a feature makes of silence is rounding, or its floor.
    """

    clip: Clip
    x: Tensor
    rate: float
    start: float
    silent: bool = False

    @property
    def times(self) -> np.ndarray:
        """(step,) seconds from the clip's start."""
        return np.asarray(self.start + np.arange(self.x.shape[-1]) / self.rate)


def read_input(network: Network, clip: Clip) -> Input:
    """A clip, cut or padded as the network takes it, through its feature.

    Raises
    ------
    HeschlError: it cannot be read, or is shorter than one frame.
    """
    refuse_brain(clip)
    wave = torch.from_numpy(network.read(clip))[None]
    start = 0.0
    if network.seconds is not None and not network.frames:
        n, lengths = round(network.seconds * network.sample_rate), torch.tensor([wave.shape[-1]])
        long: Any = "centre" if network.long == "random" else network.long
        start = float(placement(lengths, n, long, network.short)[0]) / network.sample_rate  # type: ignore[arg-type]
        wave, _ = fit_length(wave, lengths, n, long, network.short)  # type: ignore[arg-type]
    feature = network.feature
    with torch.inference_mode():
        if clip.form == "frames":
            x = wave
        else:
            x = (feature.frame if getattr(feature, "per_frame", False) else feature)(wave)  # type: ignore[operator]
    start += float(getattr(feature, "start", 0.0))
    silent = clip.form != "frames" and not bool(wave.any())
    return Input(clip, x[0].clone(), float(feature.rate), start, silent)  # type: ignore[arg-type]


def answers_to(network: Network, x: Tensor) -> Tensor:
    """Logits of inputs x (batch, ...)."""
    with torch.no_grad():
        return logits_of(explained(network)(x)).float()


# --- what is explained -------------------------------------------------------------------------------------


def target_of(
    network: Network, task: Any, one: Input, logits: Tensor, wanted: str | int
) -> tuple[Tensor, str]:
    """The class that is explained, () or (frame,), and its name.

    wanted: "predicted", the network's own answer; "true", what was said; a label, or its index. A network over frames is asked
        about its answer at every frame; of one label, about the frames where it gives it, or all if it never does.

    Raises
    ------
    HeschlError: there is no such label, or the clip does not say what is true of it.
    """
    if not isinstance(wanted, str):
        wanted = _label(network, wanted)
    if wanted == "predicted":
        best = logits.argmax(-1)
        return best, "predicted" if network.frames else network.labels[int(best)]
    if wanted == "true":
        if not network.frames:
            k = int(task.target(one.clip))
            return torch.tensor(k), network.labels[k]
        times = torch.from_numpy(frame_times(network, len(logits)))
        return task.target(one.clip, times, strict=False).long(), "true"
    if wanted not in network.labels:
        near = get_close_matches(wanted, network.labels, n=1)
        hint = f": did you mean '{near[0]}'?" if near else f": it knows {', '.join(network.labels[:30])}"
        raise HeschlError(f"the network has no answer '{wanted}' that could be a target{hint}")
    k = network.labels.index(wanted)
    if not network.frames:
        return torch.tensor(k), wanted
    mine = logits.argmax(-1) == k
    return torch.where(mine | ~mine.any(), k, NO_LABEL), wanted


def _label(network: Network, index: Any) -> str:
    """The label of a class number."""
    try:
        k = operator.index(index)
    except TypeError:
        raise HeschlError(f"the target is {index!r}: give a label, or its index") from None
    if not 0 <= k < len(network.labels):
        raise HeschlError(
            f"there is no target {k}: the network has {len(network.labels)} answers, 0 to {len(network.labels) - 1}"
        )
    return network.labels[k]


def share_of(logits: Tensor, target: Tensor) -> float:
    """The target's probability; of frames, the mean over those that have a target."""
    shares = logits.double().softmax(-1).gather(-1, target.clamp(min=0)[..., None])[..., 0]
    known = target >= 0
    return float((shares * known).sum() / known.sum().clamp_min(1))


# --- relevance ---------------------------------------------------------------------------------------------


def segments_in(one: Input, kind: str, frequencies: Tensor | None) -> Tensor:
    """The number of the segment of each step or cell of a clip's input; phones, where none are known, by energy."""
    clip = one.clip
    if clip.form == "frames":  # what is known of them needs no sound
        known = [span for span in clip.spans if span.tier == kind]
        if not known:
            raise HeschlError(
                f"{clip.id} holds frames, and segments '{kind}' are found in sound: choose another method"
            )
        return cells.segments_of([known], torch.from_numpy(one.times))[0]
    if kind in ("phone", "word") and not any(span.tier == kind for span in clip.spans):
        kind = "energy"
    timed = kind in ("phone", "word", "energy", "time")
    if not timed and frequencies is None:
        raise HeschlError(
            f"segments '{kind}' are bands of a spectrogram, and this network hears waves: choose aligned:phone"
        )
    wave, rate = read_audio(clip.signal, clip.start, clip.stop)
    found = segments_of(kind, torch.from_numpy(wave), rate, clip.spans)  # type: ignore[arg-type]
    times = torch.from_numpy(one.times)
    ids = numbers(found, times, None if timed else frequencies, seconds=len(wave) / rate)
    return ids if timed else ids.reshape(one.x.shape)


def relevances(
    network: Network, method: Method, inputs: Sequence[Input], targets: Sequence[Tensor]
) -> list[Tensor]:
    """Relevance of each clip, zeros of a silent one; those of one shape are computed together."""
    model, out = explained(network), [torch.zeros(0)] * len(inputs)
    shapes: dict[Any, list[int]] = {}
    for k, (one, target) in enumerate(zip(inputs, targets, strict=True)):
        shapes.setdefault((one.x.shape, target.shape), []).append(k)
    frequencies = getattr(network.feature, "frequencies", None)
    for places in shapes.values():
        x = torch.stack([inputs[k].x for k in places])
        target = torch.stack([targets[k] for k in places])
        segments = None
        if method.aligned:
            kind = method.settings["kind"]
            segments = torch.stack([segments_in(inputs[k], kind, frequencies) for k in places])
        found = relevance_of(model, method, x, target, inputs[0].rate, segments=segments)
        for k, r in zip(places, found, strict=True):
            out[k] = torch.zeros_like(r) if inputs[k].silent else r
    return out


# --- seen and heard ----------------------------------------------------------------------------------------


def is_wave(x: Tensor) -> bool:
    """Whether an input without its batch axis is a wave, (1, time)."""
    return x.ndim == 2 and x.shape[0] == 1


class Picture(NamedTuple):
    """An input and its relevance as (row, frame); frequencies (row,) in Hz, or None; times (frame,) of the clip."""

    level: np.ndarray
    relevance: np.ndarray
    frequencies: np.ndarray | None
    times: np.ndarray


def picture_of(network: Network, one: Input, relevance: Tensor) -> Picture:
    """Relevance over time and frequency; that of waves is carried there by FFT and smoothed by a cell."""
    if is_wave(one.x):
        n = 2 * max(4, round(WINDOW * one.rate / 2))
        hop = n // 4
        smooth = smoothed(time_frequency_relevance(one.x, relevance, n), 1.0)[0]
        spectrum = signal.stft(torch.nn.functional.pad(one.x[0], (0, n)), n, hop, signal.hann(n, one.x.dtype))
        level = signal.decibels(signal.power(spectrum), 1e-12)[:, : smooth.shape[-1]]
        return Picture(
            level.clamp_min(level.max() - FLOOR).numpy(),
            smooth.numpy(),
            np.arange(n // 2 + 1) * one.rate / n,
            one.start + np.arange(smooth.shape[-1]) * hop / one.rate,
        )
    rows = one.x.reshape(-1, *one.x.shape[-2:])
    if len(rows) != 1:
        raise HeschlError(f"an input of shape {tuple(one.x.shape)} cannot be seen as one spectrogram")
    frequencies = getattr(network.feature, "frequencies", None)
    known = isinstance(frequencies, Tensor) and len(frequencies) == rows.shape[1]
    return Picture(
        (torch.zeros_like(rows[0]) if one.silent else rows[0]).numpy(),
        relevance.reshape(rows.shape)[0].numpy(),
        frequencies.double().numpy() if known and isinstance(frequencies, Tensor) else None,
        one.times,
    )


class Sound(NamedTuple):
    """A sound that a network was made to hear, and what it said.

    share: the probability of what is explained. answer: what it said instead or as well ("" for frames).
    """

    wave: np.ndarray
    share: float
    answer: str
    silent: bool


def sounds_of(network: Network, one: Input, picture: Picture, target: Tensor) -> tuple[dict[str, Sound], int]:
    """The original, what was relied on, what spoke against it and the rest, each with the network's own answer.

    Raises
    ------
    HeschlError: the clip is no sound, or its network knows no frequencies.
    """
    if one.clip.form == "frames" or picture.frequencies is None:
        raise HeschlError(f"{one.clip.id} holds frames that nobody can hear: explain it without sound")
    wave, rate = read_audio(one.clip.signal, one.clip.start, one.clip.stop)
    parts = audible_parts(
        torch.from_numpy(picture.relevance),
        torch.from_numpy(wave),
        rate,
        frequencies=torch.from_numpy(picture.frequencies),
        times=torch.from_numpy(picture.times),
    )
    given: dict[str, Sound] = {}
    for name, part in parts.items():
        heard = resample_recording(part.numpy(), rate, round(network.sample_rate), network.resample)
        logits = torch.from_numpy(networks.logits_of(network, [heard])[0][0])
        logits = logits[: len(target)] if network.frames else logits
        best = "" if network.frames else network.labels[int(logits.argmax())]
        given[name] = Sound(part.numpy(), share_of(logits, target), best, not bool(part.any()))
    return given, rate
