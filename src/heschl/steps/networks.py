"""Clips in, answers out: the loop that every step shares. One clip's answer does not depend on its batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from heschl.corpora.frames import load_frames
from heschl.corpora.sensors import Sensors, sensors_of
from heschl.features.speech import Speech
from heschl.features.store import read_sound
from heschl.features.waveform import fit_length
from heschl.files import read_audio, read_json
from heschl.run import Run, hear, open_run
from heschl.signal import resample_recording
from heschl.tasks.retrieval import Scores, scorer
from heschl.types import Clip, Corpus, HeschlError, Resampler, Skipped

BATCH = 64
Progress = Callable[[int, int], None]  # (done, of)


class Answer(NamedTuple):
    """What a network says to one clip.

    logits: (class,) float32, or (time, class) of a network that answers for every frame; the embedding of a `pointing` one.
    times: (time,) middle of each frame in seconds; empty for one answer a clip.
    seconds: how long the clip is.
    """

    clip: Clip
    logits: np.ndarray
    times: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Network:
    """A trained network with the feature that it hears through.

    Attributes
    ----------
    frames: it answers for every frame.
    pointing: its answers are embeddings, to be scored with the candidates of its model (see `pointing`, `scores_among`).
    sensors: where they lie, for trials of brains (see `with_sensors`).
    scales: of recordings, where training fitted them.
    counts: what was done to clips that were too long or too short, and to other rates ("cropped", "resampled").
    speech: finds speech, where the recipe cuts silence (see `heard_part`).
    resample: how recordings of another rate are brought to the feature's.
    """

    model: nn.Module
    feature: nn.Module
    labels: tuple[str, ...]
    seconds: float | None
    long: str
    short: str
    frames: bool
    counts: dict[str, int] = field(default_factory=dict)
    sensors: Sensors | None = None
    scales: Mapping[str, Any] | None = None
    pointing: bool = False
    speech: Speech | None = None
    resample: Resampler = "soxr"

    def heard_part(self, path: Path, seconds: float) -> tuple[float, float]:
        """What of a recording the network is given, seconds: all of it or, where the recipe cuts silence, from the first speech
        to the last, as in training; all of a recording without speech, which is counted."""
        if self.speech is None:
            return 0.0, seconds
        found = self.speech.whole(*read_audio(path))
        what = "cut to its speech" if found else "without speech, heard whole"
        self.counts[what] = self.counts.get(what, 0) + 1
        return found or (0.0, seconds)

    @property
    def sample_rate(self) -> float:
        return float(self.feature.sample_rate)  # type: ignore[arg-type]

    def read(self, clip: Clip, counted: bool = True) -> np.ndarray:
        """A clip's samples, as `read_wave` gives them. counted: another rate is told of in `counts`."""
        counts = self.counts if counted else None
        return read_wave(clip, self.sample_rate, counts, self.sensors, self.resample)


def open_network(run: Run | Path | str, which: str = "best") -> Network:
    """The network of a run, in eval mode on the CPU."""
    run = open_run(run)
    model, feature = run.model(which).eval(), run.feature().eval()
    clip = run.recipe.clip
    frames = bool(getattr(model, "frames", False)) or bool(getattr(feature, "per_frame", False))
    fitted = run.held / "scaling.json"
    scales = read_json(fitted) if fitted.is_file() else None
    return Network(
        model,
        feature,
        run.labels,
        clip.seconds,
        clip.long,
        clip.short,
        frames,
        scales=scales,
        speech=run.speech(),
        resample=clip.resample,
    )


def with_sensors(network: Network, corpus: Corpus) -> Network:
    """The network, for trials of this corpus of brains; as it is for a corpus of sound."""
    sensors = sensors_of(corpus)
    if sensors is not None and network.scales is not None:
        sensors = sensors.with_scales(network.scales)
    return replace(network, sensors=sensors)


def pointing(network: Network) -> Network:
    """The network, answering with embeddings where its model points at candidates (`heschl.tasks.segments`); else as it is.

    Scores of all trials with all candidates need not be in memory together then."""
    return replace(network, pointing=isinstance(getattr(network.model, "candidates", None), torch.Tensor))


def scores_among(network: Network, said: np.ndarray) -> Scores:
    """Scores of trials with all words or candidates, from what the network said (trial, ...): see `pointing`."""
    if not network.pointing:
        return said
    with torch.inference_mode():
        model: Any = network.model
        targets = model.targets() if hasattr(model, "targets") else model.candidates
    return scorer(said, targets.float().cpu().numpy())


def answers(
    network: Network,
    clips: Iterable[Clip],
    *,
    batch: int = BATCH,
    skipped: list[Skipped] | None = None,
    progress: Progress | None = None,
) -> Iterator[Answer]:
    """The network's answer to each clip, in order.

    Parameters
    ----------
    batch: clips at a time.
    skipped: where given, clips that cannot be read are added to it and left out; else the first one is an error.
    progress: told after each batch how many clips are done, of how many.

    Raises
    ------
    HeschlError: a clip cannot be read or does not fit the network, and ``skipped`` is not given.
    """
    clips = list(clips)
    done = 0
    for chosen in _batches(clips, batch):
        heard: list[tuple[Clip, np.ndarray]] = []
        for clip in chosen:
            try:
                wave = network.read(clip)
                heard.append((clip, wave))
            except HeschlError as error:
                if skipped is None:
                    raise
                skipped.append(Skipped(clip.id, str(error)))
        yield from _answered(network, heard, skipped)
        done += len(chosen)
        if progress:
            progress(done, len(clips))


def _batches(clips: Sequence[Clip], size: int) -> Iterator[Sequence[Clip]]:
    for k in range(0, len(clips), size):
        yield clips[k : k + size]


def _answered(
    network: Network, heard: Sequence[tuple[Clip, np.ndarray]], skipped: list[Skipped] | None
) -> Iterator[Answer]:
    """Answers to one batch; where the whole batch is refused, clip by clip, to find the one that is to blame."""
    if not heard:
        return
    try:
        logits, steps = logits_of(
            network, [wave for _, wave in heard], beside(network, [clip for clip, _ in heard])
        )
    except HeschlError as error:
        if skipped is None:
            raise
        if len(heard) == 1:
            skipped.append(Skipped(heard[0][0].id, str(error)))
            return
        for one in heard:
            yield from _answered(network, [one], skipped)
        return
    for k, (clip, wave) in enumerate(heard):
        own = logits[k] if steps is None else logits[k][: steps[k]]
        yield Answer(
            clip,
            own,
            frame_times(network, len(own)) if network.frames else np.zeros(0),
            wave.shape[-1] / network.sample_rate,
        )


def beside(network: Network, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
    """What travels beside trials of brains: positions and subjects, where the network takes them."""
    if network.sensors is None:
        return {}
    rows = network.sensors.rows(clips)
    held = {"positions": network.sensors.positions[rows], "subject": network.sensors.subject[rows]}
    taken = inspect.signature(network.model.forward).parameters
    return {name: torch.from_numpy(value) for name, value in held.items() if name in taken}


def refuse_brain(clip: Clip) -> None:
    """Raises HeschlError where a clip is a trial of a brain: without its sensors' places a network would hear another montage."""
    if clip.form == "frames" and "recording" in clip.labels:
        raise HeschlError(
            "a trial of a brain cannot be asked as a sound is, without its sensors: what a decoder rests on is said by "
            "heschl decode RUN --explain"
        )


def read_wave(
    clip: Clip,
    rate: float,
    counts: dict[str, int] | None = None,
    sensors: Sensors | None = None,
    by: Resampler = "soxr",
) -> np.ndarray:
    """A clip's samples (time,) at a rate in Hz, or its stored frames (feature, time), as training is given them; of a
    trial of a brain (sensor, ..., time).

    Raises
    ------
    HeschlError: it cannot be read, or is shorter than training takes.
    """
    if clip.form == "frames":
        frames = load_frames(clip) if sensors is None else sensors.load(clip)
        return np.ascontiguousarray(np.moveaxis(frames, 0, -1))
    wave, found = read_sound(clip)
    if found != rate:
        if counts is not None:
            counts[f"resampled from {found} Hz"] = counts.get(f"resampled from {found} Hz", 0) + 1
        wave = resample_recording(wave, found, round(rate), by)
    return wave


def logits_of(
    network: Network, waves: Sequence[np.ndarray], given: Mapping[str, torch.Tensor] | None = None
) -> tuple[np.ndarray, list[int] | None]:
    """Logits (clip, class) or, of frame networks, (clip, time, class) with each clip's number of valid steps; embeddings
    (clip, ...) of a `pointing` network."""
    lengths = torch.tensor([wave.shape[-1] for wave in waves])
    padded = torch.zeros(len(waves), *waves[0].shape[:-1], int(lengths.max()))
    for row, wave in zip(padded, waves, strict=True):
        row[..., : wave.shape[-1]] = torch.from_numpy(np.ascontiguousarray(wave))
    with torch.inference_mode():
        if network.seconds is not None and not network.frames:
            n = round(network.seconds * network.sample_rate)
            long = "centre" if network.long == "random" else network.long
            padded, changed = fit_length(padded, lengths, n, long, network.short)  # type: ignore[arg-type]
            for what, count in changed.items():
                network.counts[what] = network.counts.get(what, 0) + int(count)
            out = hear(network.feature, network.model, padded, None, given)
        else:  # frame networks hear whole clips, whatever part of them a training step was given
            out = hear(network.feature, network.model, padded, lengths, given)
    said = out if isinstance(out, torch.Tensor) else out.embedding if network.pointing else out[0]
    logits = np.asarray(said.float().cpu())
    if not network.frames:
        return logits, None
    return logits, [min(int(network.feature.steps(int(n))), logits.shape[1]) for n in lengths]  # type: ignore[operator]


def frame_times(network: Network, n: int) -> np.ndarray:
    """Middle of each of n frames, seconds from the clip's start."""
    start, rate = getattr(network.feature, "start", 0.0), network.feature.rate
    return np.asarray(float(start) + np.arange(n) / float(rate))  # type: ignore[arg-type]
