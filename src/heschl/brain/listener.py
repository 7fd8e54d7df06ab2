"""Simulated listeners to a continuous story, with the truth known: what drives which area, seen by sensors in noise.

    wave = story(240.0)                                   # sentences, one after another: the embedded ones, or recordings
    write(folder, wave, {"STG": early, "IFG": late})      # (time,) drives at `RATE`, of a network's layers or of acoustics

A drive passes the area's response kernel h(t) = t / d exp(1 - t / d), moves the area's patch (its sources alike, out of
the cortex) and reaches the sensors through the subject's own head. That head is not the one that is used to fit: its
skull conducts half as well, its sources lie on another grid (oct6), and its sensors are shifted and turned. Noise is 1/f
from sources all over the cortex, and of the sensors. Written are a .fif a subject, story.wav, recordings.csv and
truth.json, which `heschl.corpora.brain` reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.brain.anatomy import need_mne, quiet, template
from heschl.brain.areas import read_areas
from heschl.brain.bem import CONDUCTIVITY
from heschl.brain.coregister import moved, scaled_template
from heschl.brain.forward import leadfield, signal_info
from heschl.brain.noise import coloured
from heschl.brain.patch import patch
from heschl.brain.sensors import sensors_info
from heschl.corpora import spoken
from heschl.files import read_audio, write_csv, write_json, write_wav
from heschl.signal import resample_recording
from heschl.types import Clip, HeschlError

RATE = 128.0  # Hz of the recordings
SAMPLE_RATE = 16000
BEFORE = 2.0  # seconds of the recording before the story begins
DELAYS = {"HG": 0.05, "STG": 0.10, "TP": 0.14, "TPJ": 0.14, "IFG": 0.18}  # seconds
SHIFT, TURN = 0.004, np.deg2rad(2.0)  # of the sensors, each subject another way
SOURCES = 200  # of brain noise

Array = np.ndarray[Any, np.dtype[Any]]


def story(
    seconds: float,
    seed: int = 0,
    pause: tuple[float, float] = (0.15, 0.45),
    clips: Sequence[Clip] | None = None,
) -> Array:
    """Sentences by many voices, strung together with pauses: (time,) float32 at `SAMPLE_RATE`.

    clips: recordings, each once; None are the packaged sentences of synthetic speech.

    Raises
    ------
    HeschlError: longer than they are in all.
    """
    rng = np.random.default_rng(seed)
    clips = spoken.read(kind="sentence").clips if clips is None else clips
    parts, held = [], 0
    for k in rng.permutation(len(clips)):
        wave, rate = read_audio(clips[k].signal, clips[k].start, clips[k].stop)
        parts += [
            resample_recording(wave, rate, SAMPLE_RATE),
            np.zeros(round(rng.uniform(*pause) * SAMPLE_RATE), np.float32),
        ]
        held += len(parts[-2]) + len(parts[-1])
        if held >= seconds * SAMPLE_RATE:
            return np.concatenate(parts)[: round(seconds * SAMPLE_RATE)]
    raise HeschlError(
        f"{seconds:g} s were asked for, and the sentences are {held / SAMPLE_RATE:.0f} s: ask for less"
    )


def write(
    folder: Path,
    wave: Array,
    drives: Mapping[str, Array],
    snr: float = -10.0,
    subjects: int = 6,
    sensors: Any = "biosemi64",
    said: Mapping[str, str] | None = None,
    seed: int = 0,
) -> None:
    """Simulates subjects and writes the folder.

    Parameters
    ----------
    wave: (time,) as `story` gives it.
    drives: area of the shipped table -> (time,) at `RATE`, what moves it; all have the same net moment.
    snr: decibels, power of the signal over that of the noise over all sensors and the whole story.
    said: area -> what drives it, for truth.json.
    """
    need_mne("a simulated listener")
    table = read_areas()
    n = int(len(wave) / SAMPLE_RATE * RATE)
    courses = {}
    for name, drive in drives.items():
        one = np.asarray(drive, float).reshape(-1)
        if len(one) < n - RATE or not one[:n].std() > 0:
            raise HeschlError(
                f"the drive of {name} has {len(one)} samples and the story {n}, or it never changes: give {RATE:g} a second"
            )
        one = np.pad(
            one, (0, max(0, n - len(one))), mode="edge"
        )  # a layer's last step may come before the end
        courses[name] = (one[:n] - one[:n].mean()) / one[:n].std()
    skull = (CONDUCTIVITY[0], CONDUCTIVITY[1] / 2, CONDUCTIVITY[2])
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(subjects):
        # the k-th subject has the same head in every simulation: its lead field is computed once and kept
        axis, way = (v / np.linalg.norm(v) for v in np.random.default_rng(k).standard_normal((2, 3)))
        rng = np.random.default_rng((seed, k))
        head = scaled_template(1.0, moved(template().trans, SHIFT * way, TURN * axis), skull, "oct6")
        raw = _subject(courses, head, table, sensors, snr, rng)
        name = f"sub-{k + 1:02d}_raw.fif"
        with quiet():
            raw.save(folder / name, overwrite=True)
        rows.append(
            {
                "recording": name,
                "subject": f"{k + 1:02d}",
                "start": BEFORE,
                "stop": BEFORE + n / RATE,
                "audio": "story.wav",
            }
        )
    loudest = float(np.abs(wave).max())
    write_wav(folder / "story.wav", wave * min(1.0, 0.9 / loudest), SAMPLE_RATE)
    write_csv(folder / "recordings.csv", rows, list(rows[0]))
    write_json(
        folder / "truth.json",
        {
            "areas": {name: (said or {}).get(name, "") for name in drives},
            "snr_db": snr,
            "subjects": subjects,
            "seed": seed,
            "head": "skull of half the conductivity, sources on oct6, sensors shifted by 4 mm and turned by 2 degrees",
        },
    )


def _subject(
    courses: Mapping[str, Array], head: Any, table: Any, sensors: Any, snr: float, rng: np.random.Generator
) -> Any:
    """A continuous `mne.io.RawArray` of one listener."""
    import mne

    info = sensors_info(sensors)
    eeg = "eeg" in info.get_channel_types(unique=True)
    info = signal_info(info, RATE, "average" if eeg else None)
    gain = leadfield(info, head, reference="average" if eeg else None)
    moments = np.zeros((gain.shape[1], len(next(iter(courses.values())))))
    for name, course in courses.items():
        found = patch(table.area(name), head)
        answer = np.convolve(course, kernel(DELAYS.get(name.removesuffix("-R"), 0.1) + rng.normal(0, 0.008)))[
            : len(course)
        ]
        moments[found.sources] += 10e-9 * answer / answer.std() / (len(found.sources) * found.kept)
    active = moments.any(1)
    signal = gain[:, active] @ moments[active]
    total = signal.shape[1] + round(2 * BEFORE * RATE)
    whole = np.zeros((len(signal), total))
    begin = round(BEFORE * RATE)
    whole[:, begin : begin + signal.shape[1]] = signal
    chosen = rng.choice(gain.shape[1], SOURCES, replace=False)
    brain: Array = gain[:, chosen] @ coloured((SOURCES, total), 1.0, rng)
    own = np.asarray(rng.standard_normal(whole.shape))
    if eeg:
        own -= own.mean(0)
    scale = float(np.sqrt(np.mean(brain**2)))
    noise = brain + 0.3 * scale * own if eeg else brain + 0.3 * brain.std(1, keepdims=True) * own
    # in units of each channel's own noise, so that magnetometers and gradiometers count alike
    ratio = np.mean(np.mean(signal**2, 1) / np.mean(noise**2, 1))
    with quiet():
        return mne.io.RawArray(whole + noise * np.sqrt(ratio / 10 ** (snr / 10)), info)


def kernel(delay: float) -> Array:
    """t / d exp(1 - t / d), at `RATE`: highest ``delay`` seconds after the drive."""
    t = np.arange(int(8 * delay * RATE)) / RATE / max(delay, 0.01)
    return np.asarray(t * np.exp(1 - t))


def mixture(values: Array, components: int = 4, seed: int = 0) -> Array:
    """A drive out of a layer: its first principal components, each of unit variance, added with random weights.

    values: (time, unit). (time,)
    """
    centred = values - values.mean(0)
    spread = centred.std(0)
    centred = centred / np.where(spread > 0, spread, 1)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    k = min(components, int((s > 1e-6 * s[0]).sum()))
    weights = np.random.default_rng(seed).standard_normal(k)
    return np.asarray(u[:, :k] @ weights / np.linalg.norm(weights) * len(u) ** 0.5)


def without(drive: Array, control: Sequence[Array] | Array, steps: int = 32) -> Array:
    """What of a drive (time,) lagged control features (time, feature) do not say, by least squares: (time,).

    steps: lags, 0 to steps - 1 samples.
    """
    x = np.asarray(control, float)
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    lagged = np.concatenate(
        [np.vstack([np.zeros((k, x.shape[1])), x[: len(x) - k]]) for k in range(steps)], 1
    )
    gram = lagged.T @ lagged
    weights = np.linalg.solve(gram + 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram)), lagged.T @ drive)
    return np.asarray(drive - lagged @ weights)
