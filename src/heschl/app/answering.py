"""What the page does with a recording: it is accepted or refused, understood, explained, and heard with a part hidden.

Nothing here knows of the web, and nothing is kept between two calls: several people may ask at once.
"""

from __future__ import annotations

import inspect
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from heschl import signal
from heschl.features.stored import Stored
from heschl.files import AUDIO_SUFFIXES, audio_info, read_audio, write_wav
from heschl.run import Run, open_run, packaged_runs
from heschl.steps.explaining import (
    Picture,
    Sound,
    answers_to,
    picture_of,
    read_input,
    relevances,
    share_of,
    sounds_of,
    target_of,
)
from heschl.steps.methods import method_of
from heschl.steps.networks import Network, open_network
from heschl.steps.predict import WHOLE
from heschl.types import Clip, HeschlError

SECONDS, MEGABYTES = 30.0, 20  # of a recording, at most
WINDOW = 0.032  # seconds of the transform in which a part is hidden
OWN = "its own answer"
METHODS = {  # what the page calls them -> `heschl.steps.methods.method_of`
    "relevance propagation": "lrp",
    "gradient × input": "gradient_x_input",
    "integrated gradients": "integrated_gradients",
    "hiding moments": "occlusion_time",
    "hiding stretches of sound": "aligned:energy",
}


@dataclass(frozen=True)
class Model:
    """A network that can be asked. Its lock lets one question in at a time."""

    name: str
    run: Run
    network: Network
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.network.labels


class Understood(NamedTuple):
    """All that is said about one recording.

    Attributes
    ----------
    wave, rate: the recording as it was heard. notes: sentences about what was cut.
    shares: label -> probability, the highest first; of networks over frames, the share of time.
    target, of: what is explained, () or (frame,), and its name. share: its probability.
    """

    wave: np.ndarray
    rate: int
    notes: tuple[str, ...]
    shares: dict[str, float]
    target: torch.Tensor
    of: str
    share: float
    picture: Picture
    sounds: dict[str, Sound]


# --- models ------------------------------------------------------------------------------------------------


def open_models(named: Sequence[str | Path] = ()) -> dict[str, Model]:
    """The networks that can be chosen: those that are named, or all that come with heschl; of heschl's own parts only.

    Raises
    ------
    HeschlError: none is there, or one is no run, of parts that are not heschl's, or hears no sound.
    """
    own = packaged_runs()
    chosen = [str(one) for one in named] or sorted(own, key=lambda name: name != "words")  # words first
    if not chosen:
        raise HeschlError(
            "no model comes along with this heschl: name a run, as `heschl app runs/NAME`, or make one by `heschl demo`"
        )
    opened = [open_model(own.get(one, one), one if one in own else "") for one in chosen]
    return {model.name: model for model in opened}


def open_model(folder: Path | str, name: str = "") -> Model:
    """A run as a network that can be asked, under its own name or another; nothing is written into it."""
    run = open_run(folder, trusted_only=True)
    network = open_network(run)
    brains = "positions" in inspect.signature(network.model.forward).parameters
    if brains or isinstance(network.feature, Stored):
        raise HeschlError(f"{run} hears no sound, so that nobody can speak to it: name another run")
    return Model(name or run.name, run, network)


# --- a recording -------------------------------------------------------------------------------------------


def accept(path: Path | str | None) -> Path:
    """The recording, if it is one that the page takes.

    Raises
    ------
    HeschlError: there is none, it is no sound, too long, too large or empty; one sentence for the person who gave it.
    """
    if not path:
        raise HeschlError("There is no recording yet: speak, or drop a file.")
    path = Path(path)
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        raise HeschlError(
            f"A file of the kind “{path.suffix or 'without suffix'}” is no recording: give WAV, FLAC, OGG or MP3."
        )
    size = path.stat().st_size
    if size > MEGABYTES * 1e6:
        raise HeschlError(f"The file has {size / 1e6:.0f} MB, and at most {MEGABYTES} are taken: cut it.")
    try:
        info = audio_info(path)
    except HeschlError:
        raise HeschlError(
            "This file cannot be read as sound: give a recording as WAV, FLAC, OGG or MP3."
        ) from None
    seconds = info.frames / info.rate
    if seconds > SECONDS:
        raise HeschlError(f"The recording lasts {seconds:.0f} s, and at most {SECONDS:g} are taken: cut it.")
    return path


def loudest(wave: np.ndarray, rate: float, seconds: float) -> float:
    """Where the stretch of so many seconds begins that holds most of a sound (time,), in seconds."""
    n = round(seconds * rate)
    if len(wave) <= n:
        return 0.0
    energy = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    held = energy[n:] - energy[:-n]
    best = np.flatnonzero(held >= held.max() * (1 - 1e-9))
    return float(best[len(best) // 2] / rate)  # in the middle of those that hold as much


def understand(model: Model, path: Path | str, method: str = "lrp", target: str = OWN) -> Understood:
    """What a network answers to a recording, and what that answer relied on.

    Parameters
    ----------
    method: a key of `METHODS`, or what `heschl.steps.methods.method_of` takes. target: a label, or `OWN`.

    Raises
    ------
    HeschlError: in one sentence, what of it cannot be done.
    """
    path = accept(path)
    network, notes = model.network, []
    wave, rate = read_audio(path)
    start, stop = network.heard_part(path, len(wave) / rate)
    if stop - start < len(wave) / rate:
        notes.append(f"Silence is cut, as in training: what is heard goes from {start:.2f} to {stop:.2f} s.")
    if network.seconds is not None and not network.frames and stop - start > WHOLE * network.seconds:
        start += loudest(wave[round(start * rate) : round(stop * rate)], rate, network.seconds)
        notes.append(
            f"This network hears {network.seconds:g} s: the loudest are taken, from {start:.2f} to {start + network.seconds:.2f} s."
        )
        stop = start + network.seconds
    if not np.square(wave).any():
        raise HeschlError("The recording is silent: speak a little louder, or give another.")
    clip = Clip(path.name, path, rate, {}, start=start, stop=stop)
    how = method_of(METHODS.get(method, method), trusted_only=True)
    wanted = "predicted" if target in (OWN, "", None) else target
    with model.lock:
        one = read_input(network, clip)
        logits = answers_to(network, one.x[None])[0]
        aim, name = target_of(network, model.run.task(), one, logits, wanted)
        found = relevances(network, how, [one], [aim])[0]
        picture = picture_of(network, one, found)
        sounds, rate = sounds_of(network, one, picture, aim)
    heard, rate = read_audio(path, start, stop)
    shares = _shares(logits, network)
    return Understood(heard, rate, tuple(notes), shares, aim, name, share_of(logits, aim), picture, sounds)


def _shares(logits: torch.Tensor, network: Network) -> dict[str, float]:
    if network.frames:
        counts = torch.bincount(logits.argmax(-1), minlength=len(network.labels)).double()
        shares = (counts / counts.sum()).tolist()
    else:
        shares = logits.double().softmax(-1).tolist()
    held = dict(zip(network.labels, shares, strict=True))
    return dict(sorted(held.items(), key=lambda item: -item[1]))


# --- a part hidden -----------------------------------------------------------------------------------------


class Hidden(NamedTuple):
    """A part of the picture: from ``start`` to ``stop`` seconds, and from ``low`` to ``high`` Hz."""

    start: float
    stop: float
    low: float
    high: float

    @property
    def empty(self) -> bool:
        return self.stop <= self.start or self.high <= self.low


def without(wave: np.ndarray, rate: float, part: Hidden) -> np.ndarray:
    """The sound (time,) with a part of its short-time spectrum silenced; as it is where the part is empty."""
    if part.empty:
        return wave
    n = max(8, 2 * round(WINDOW * rate / 2))
    hop = n // 4
    x = torch.from_numpy(np.asarray(wave, np.float64))
    window = signal.hann(n, x.dtype)
    spectrum = signal.stft(torch.nn.functional.pad(x, (0, n)), n, hop, window)
    rows = torch.arange(spectrum.shape[-2]) * rate / n
    steps = torch.arange(spectrum.shape[-1]) * hop / rate
    inside = ((rows >= part.low) & (rows <= part.high))[:, None] & (
        (steps >= part.start) & (steps <= part.stop)
    )
    left = signal.istft(spectrum.masked_fill(inside, 0), n, hop, window, len(wave))
    return left.numpy().astype(wave.dtype)


def peek(model: Model, before: Understood, part: Hidden) -> tuple[dict[str, float], float]:
    """What the network answers when a part is hidden, at once: all shares, and that of what was explained before.

    Raises
    ------
    HeschlError: nothing is left to hear.
    """
    network = model.network
    with tempfile.TemporaryDirectory() as folder:
        clip = _written(before, part, Path(folder))
        with model.lock:
            logits = answers_to(network, read_input(network, clip).x[None])[0]
    return _shares(logits, network), share_of(logits, before.target)


def _written(before: Understood, part: Hidden, folder: Path) -> Clip:
    """The recording without a part, as a file."""
    left = without(before.wave, before.rate, part)
    if float(np.abs(left).max()) < 1e-4 * float(np.abs(before.wave).max()):
        raise HeschlError("Nothing is left to hear: hide less.")
    path = folder / "hidden.wav"
    write_wav(path, left / max(1.0, float(np.abs(left).max())), before.rate)
    return Clip(path.name, path, before.rate, {}, start=0.0, stop=len(left) / before.rate)


def hide(model: Model, before: Understood, part: Hidden, method: str = "lrp") -> Understood:
    """What the network answers when a part is hidden, and what the answer to be explained relies on then.

    Raises
    ------
    HeschlError: nothing is left to hear.
    """
    target = before.of if before.of in model.labels else OWN
    with tempfile.TemporaryDirectory() as folder:
        return understand(model, _written(before, part, Path(folder)).signal, method, target)


# --- seen --------------------------------------------------------------------------------------------------


def drawing(found: Understood, width: float, part: Hidden | None = None) -> Any:
    """Waveform and spectrogram with its relevance; a hidden part is blank."""
    from heschl.figures.explanation import Seen, explanation_figure

    picture = found.picture
    if part is not None and not part.empty:
        rows = picture.frequencies
        inside = (picture.times >= part.start) & (picture.times <= part.stop)
        held = np.ones(len(picture.level), bool) if rows is None else (rows >= part.low) & (rows <= part.high)
        cells = held[:, None] & inside
        picture = picture._replace(
            level=np.where(cells, picture.level.min(), picture.level),
            relevance=np.where(cells, 0.0, picture.relevance),
        )
    of = "its answers" if found.of == "predicted" else f"“{found.of}”"
    return explanation_figure(Seen(*picture, found.wave, found.rate), width=width, target=of)


def course(model: Model, found: Understood) -> Any:
    """The network's course through the brain, as a figure: illustrative.

    Raises
    ------
    HeschlError: mne lacks, or the network has no areas.
    """
    from heschl.brain.anatomy import need_mne

    need_mne("placing")
    from heschl.brain.place import clip_courses
    from heschl.figures.brain import brain_course
    from heschl.figures.sensors import moments
    from heschl.steps.place_show import ROWS, UNIT
    from heschl.steps.placement import map_of
    from heschl.steps.placing import recorded
    from heschl.steps.views import drawn_brain

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "heard.wav"
        write_wav(path, found.wave / max(1.0, float(np.abs(found.wave).max())), found.rate)
        clip = Clip("it", path, found.rate, {}, stop=len(found.wave) / found.rate)
        skipped: list[Any] = []
        with model.lock:
            parts = list(recorded(model.network, [clip], skipped))
    if skipped:
        raise HeschlError(skipped[0].why)
    courses = clip_courses(parts[0].activity)
    placed = map_of(courses, 0)
    values = placed.values * 1e9
    at = [int(np.abs(placed.times - time).argmin()) for time in moments(values, placed.times, ROWS)]
    areas = {one.area.name: one.sources for one in courses.patches}
    title = "Where this network’s layers are active while it hears this (illustrative)"
    return brain_course(drawn_brain(), values[:, at], placed.times[at].tolist(), areas, title, UNIT)
