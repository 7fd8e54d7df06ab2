"""Simulated listeners: brains made up by a formula, that hear synthetic words, with the truth known.

What it is: for each subject, trials of one word each, recorded by a made-up EEG. Sound comes from the embedded
synthetic speech (`spoken`): the power of four frequency bands of each word, compressed, drives four sources, one band
each. A source answers by its response kernel, h(t) = t / d exp(1 - t / d), and its answer a(t) is seen either as an
oscillation of its own frequency, a(t) cos(2 pi f t + random phase) (``induced``: the phase differs from trial to
trial, so that only power tells), or as it is (``evoked``). Sensors see sources as current dipoles in an endless
conductor, V = q . (r - s) / (4 pi sigma |r - s|^3), or by a lead field that is given. Noise is 1/f, shared between
neighbouring sensors and their own, at ``snr`` decibels: ten times the logarithm of signal over noise power, over all sensors
and trials of a subject. Subjects differ in montage: other sensors, another number of them, one without a place.

The four tell much the same of a word, so a decoder may do without one. With a ``carrier`` one source alone hears the trial's
word; each other hears the words of its block in an order of its own. All are as strong as before, and nothing but the carrier
tells the word: what a decoder rests on is then known.

Layout: ``truth.json``, and for each subject ``sub-NN.h5`` with x_data (trial, sensor, time) in volts, float32; words,
blocks, clips (trial); positions (sensor, 3) metres in the head's frame, NaN for none; channels; the attribute rate.
A block holds voices of its own, the same for all subjects: splits by block keep every sound in one part.

Licence: CC0-1.0. No brain was recorded; every score on it is a score on simulated data.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from heschl.corpora import spoken
from heschl.corpora.simulated_brain import (
    AHEAD,
    BEFORE,
    RATE,
    SOURCES,
    alone,
    background,
    dipoles,
    drive,
    montage,
    respond,
)
from heschl.files import ROOM, cache_folder, read_json, reserve, told, write_json
from heschl.types import Clip, Corpus, HeschlError, Recording, Skipped, Span

FORMAT = 1
NOTE = (
    "these brains are simulated: scores on them say what a decoder can find where something is known to be there, "
    "and nothing about brains"
)


def read(
    root: Path | None = None,
    *,
    words: int = 20,
    subjects: int = 3,
    blocks: int = 12,
    voices: int = 2,
    snr: float = 0.0,
    response: Literal["induced", "evoked"] = "induced",
    carrier: str | None = None,
    shuffled: bool = False,
    seed: int = 0,
) -> Corpus:
    """Trials as clips of stored frames, with their recordings; simulated now and kept in the cache where no root is given.

    Labels of a clip: word, subject, block, heard (the clip of synthetic speech), recording, simulated (how).

    Parameters
    ----------
    root: a folder of this layout; the options on what is simulated are then its own.
    words: how many of the 30 embedded words. subjects, blocks: how many. voices: of each block, all words by each.
    snr: decibels. response: see above. carrier: the name of a source ("parietal"), or None: all four hear the word.
    shuffled: words are permuted among the trials of each subject's block, after they were heard: a decoder must then be
        at chance.
    seed: of everything random.

    Raises
    ------
    HeschlError: an option out of range, or a folder without this layout.
    """
    _refuse_seed(seed)
    if root is None:
        options: dict[str, Any] = {
            "words": words,
            "subjects": subjects,
            "blocks": blocks,
            "voices": voices,
            "snr": float(snr),
        }
        options |= {"response": response, "seed": seed}
        if carrier is not None:  # else the folder is that of times when there were no carriers
            options["carrier"] = carrier
        root = _kept(options)
    root = Path(root)
    if not (root / "truth.json").is_file():
        raise HeschlError(f"{root} has no truth.json: it is no folder of simulated listeners")
    truth = read_json(root / "truth.json")
    try:
        made = truth["options"]
        told = f"{made['response']} responses at {made['snr']:g} dB, seed {made['seed']}"
        if made.get("carrier"):
            told += f", words heard by the {made['carrier']} source alone"
    except (KeyError, TypeError, ValueError):
        raise HeschlError(
            f"{root / 'truth.json'} does not tell how these were simulated (options: response, snr, seed): "
            "simulate them again"
        ) from None
    clips: list[Clip] = []
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    for path in sorted(root.glob("sub-*.h5")):
        try:
            recording, own = _subject(path, told)
        except (OSError, KeyError, ValueError) as error:
            skipped.append(Skipped(path.name, f"{path} cannot be read ({error}): simulate it again"))
            continue
        recordings.append(recording)
        clips += _shuffled(own, seed) if shuffled else own
    if not clips:
        raise HeschlError(f"{root} holds no subject that can be read: simulate it again")
    notes: tuple[str, ...] = (NOTE,)
    if shuffled:
        notes += ("the words are shuffled within blocks: a decoder that is above chance here is wrong",)
    return Corpus(
        name="simulated listeners",
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        source=f"simulated by heschl ({told})",
        licence="CC0-1.0",
        skipped=tuple(skipped),
        notes=notes,
        synthetic=True,
        recordings=tuple(recordings),
    )


def _refuse_seed(seed: int) -> None:
    if seed < 0:
        raise HeschlError(f"seed is {seed}: give a whole number that is not negative")


def _subject(path: Path, told: str) -> tuple[Recording, list[Clip]]:
    import h5py

    name = path.stem
    with h5py.File(path, "r") as file:
        rate = float(file.attrs["rate"])
        channels = tuple(str(one) for one in file["channels"].asstr()[:])
        positions = np.asarray(file["positions"], float)
        trials, _, time = file["x_data"].shape
        columns = {key: file[key].asstr()[:] for key in ("words", "blocks", "clips")}
    recording = Recording(name, name, path, rate, "eeg", channels, positions, "head")
    found = []
    for k in range(trials):
        labels = {
            "word": str(columns["words"][k]),
            "subject": name,
            "block": str(columns["blocks"][k]),
            "heard": str(columns["clips"][k]),
            "recording": name,
            "simulated": told,  # a corpus is known by its labels: other noise is another corpus, and another run
        }
        word = Span(labels["word"], BEFORE - AHEAD, time / rate, "word")
        found.append(
            Clip(f"{name}/{k:05d}", path, rate, labels, (word,), 0.0, time / rate, "frames", f"x_data/{k}")
        )
    return recording, found


def _shuffled(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """The same trials, their words permuted within each block."""
    out = list(clips)
    for number, block in enumerate(sorted({clip.labels["block"] for clip in clips})):
        rows = [k for k, clip in enumerate(clips) if clip.labels["block"] == block]
        order = np.random.default_rng((seed, 7, number)).permutation(len(rows))
        for row, other in zip(rows, order):
            word = clips[rows[other]].labels["word"]
            held = clips[row]
            out[row] = Clip(
                held.id,
                held.signal,
                held.rate,
                {**held.labels, "word": word},
                held.spans,
                held.start,
                held.stop,
                "frames",
                held.key,
            )
    return out


# --- making them -----------------------------------------------------------------------------------------


def _kept(options: dict[str, Any]) -> Path:
    """The folder in the cache that holds what these options simulate, made where it is absent."""
    digest = hashlib.sha256(json.dumps([FORMAT, options], sort_keys=True).encode()).hexdigest()[:16]
    final = cache_folder() / f"simulated-listeners-{digest}"
    if (final / "truth.json").is_file():
        return final
    private = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        simulate(private, **options)
        try:
            private.rename(final)
        except OSError:
            if not (final / "truth.json").is_file():  # else another process was faster: its work is the same
                raise
    except OSError as error:
        raise HeschlError(f"{final} cannot be written ({error}): make room, or set HESCHL_CACHE") from None
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return final


def simulate(
    folder: Path,
    words: int = 20,
    subjects: int = 3,
    blocks: int = 12,
    voices: int = 2,
    snr: float = 0.0,
    response: Literal["induced", "evoked"] = "induced",
    seed: int = 0,
    carrier: str | None = None,
    leadfields: Sequence[np.ndarray] | None = None,
) -> None:
    """Writes simulated listeners to a folder; the options are those of `read`.

    leadfields: (sensor, source) for each subject, volts, in the place of the endless conductor: as many sensors as
        `montage` gives that subject, and `SOURCES` in order.
    """
    import h5py

    _refuse_seed(seed)
    if not math.isfinite(snr):
        raise HeschlError(f"snr is {snr} dB: give a finite number")
    if response not in ("induced", "evoked"):
        raise HeschlError(f"response is '{response}': choose induced or evoked")
    if not 2 <= words <= len(spoken.WORDS) or min(subjects, blocks, voices) < 1:
        raise HeschlError(
            f"{words} words, {subjects} subjects, {blocks} blocks and {voices} voices cannot be: there are 2 to "
            f"{len(spoken.WORDS)} words, and one at least of the others"
        )
    names = [one.name for one in SOURCES]
    if carrier is not None and carrier not in names:
        raise HeschlError(f"carrier is '{carrier}': choose one of {', '.join(names)}, or null for all four")
    heard = _sounds(words, blocks * voices)
    drives = {clip.id: drive for drive, clip in heard}
    folder.mkdir(parents=True, exist_ok=True)
    for subject in range(subjects):
        random = np.random.default_rng((seed, subject))
        positions = montage(subject, random)
        given = None if leadfields is None else np.asarray(leadfields[subject], float)
        pattern = dipoles(positions) if given is None else given
        if pattern.shape != (len(positions), len(SOURCES)):
            raise HeschlError(
                f"the lead field of subject {subject + 1} is {pattern.shape}, and there are {len(positions)} sensors and "
                f"{len(SOURCES)} sources: give (sensor, source)"
            )
        order = _order(heard, blocks, voices, random)
        drawn = np.stack([drives[clip.id] for _, clip in order])
        if carrier is not None:
            drawn = alone(drawn, [block for block, _ in order], names.index(carrier), (seed, subject))
        answers = np.stack([respond(one, response, random) for one in drawn])
        signal = np.einsum("cs,nst->nct", pattern, answers)
        noise = background(len(order), positions, signal.shape[-1], random)
        size = np.sqrt(np.square(signal).mean() / np.square(noise).mean() / 10 ** (snr / 10))
        x = signal + size * noise
        x *= 1e-5 / x.std()  # ten microvolts
        unknown = int(random.integers(len(positions)))
        positions[unknown] = np.nan
        text = h5py.string_dtype()
        path = folder / f"sub-{subject + 1:02d}.h5"
        try:
            reserve(path, 4 * x.size + ROOM)
        except OSError as error:
            raise told(error, path) from error
        with h5py.File(path, "w") as file:
            file["x_data"] = x.astype(np.float32)
            file.create_dataset("words", data=[clip.labels["word"] for _, clip in order], dtype=text)
            file.create_dataset("blocks", data=[f"{block:02d}" for block, _ in order], dtype=text)
            file.create_dataset("clips", data=[clip.id for _, clip in order], dtype=text)
            file.create_dataset("channels", data=[f"E{k + 1}" for k in range(len(positions))], dtype=text)
            file["positions"] = positions
            file.attrs["rate"] = RATE
    options: dict[str, Any] = {"words": words, "subjects": subjects, "blocks": blocks, "voices": voices}
    options |= {"snr": snr, "response": response, "seed": seed, "carrier": carrier}
    write_json(folder / "truth.json", {"options": options, "sources": [one._asdict() for one in SOURCES]})


def _sounds(words: int, voices: int) -> list[tuple[np.ndarray, Clip]]:
    """Each word by each voice, with its drive, (band, time) at `RATE`."""
    if voices > spoken.PACKAGED_VOICES:
        raise HeschlError(
            f"{voices} voices are asked for and {spoken.PACKAGED_VOICES} are embedded: take fewer blocks, or voices of each"
        )
    corpus = spoken.read(words=list(spoken.WORDS[:words]), sentences=[], voices=voices)
    return [(drive(clip), clip) for clip in corpus.clips]


def _order(
    heard: Sequence[tuple[np.ndarray, Clip]], blocks: int, voices: int, random: np.random.Generator
) -> list[tuple[int, Clip]]:
    """(block, clip) of each trial: every block has its own voices, and a new order of their words."""
    speakers = sorted({clip.labels["speaker"] for _, clip in heard})
    out = []
    for block in range(blocks):
        own = set(speakers[block * voices : (block + 1) * voices])
        chosen = [clip for _, clip in heard if clip.labels["speaker"] in own]
        out += [(block, chosen[k]) for k in random.permutation(len(chosen))]
    return out


def write_tiny(root: Path, seed: int = 0) -> None:
    """Two simulated listeners who hear four words by six voices."""
    simulate(Path(root), words=4, subjects=2, blocks=3, voices=2, snr=10.0, seed=seed)
