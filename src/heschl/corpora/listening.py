"""Windows of a brain that listened, laid where there was speech: trials for matching without a table of words.

    the layouts of `brain`      recordings.csv, or a BIDS tree whose events name what was heard

A trial is the stretch of a recording that begins ``delay`` after a window of the sound. Where the recipe says what speech
is (`corpus.speech`), windows lie wholly in it, the first at its onset, and silence is left out; else they fill the sound. Windows are
laid in the sound, so that they are the same for all who heard it. Recordings are filtered, and brought on the sound's own
clock, as `heschl align` does it (`_brain_runs.load_runs`); what is marked BAD is left out.

Licence: that of the recordings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from heschl.corpora import _tiny, brain
from heschl.corpora._brain_runs import load_runs
from heschl.corpora.trial_files import Known, kept, write_trials
from heschl.corpora.trials import corpus_parts, left_out
from heschl.files import disk_full, write_csv
from heschl.types import Clip, Corpus, HeschlError, Recording, Skipped
from heschl.wording import counted


def read(
    root: Path,
    seconds: float = 3.0,
    hop: float | None = None,
    delay: float = 0.15,
    rate: float = 120.0,
    band: tuple[float, float] = (0.5, 40.0),
    block: float = 30.0,
    speech: Any = None,
) -> Corpus:
    """Trials as clips, one recording a listener's; each is cut once, into heschl's cache.

    Labels: word and heard (SOUND@SECOND, the same for all who heard it), block (a stretch of its sound), subject,
    recording. Values are volts or tesla.

    Parameters
    ----------
    seconds: of a window. hop: from one window to the next, None: as long as a window, so that none overlap.
    delay: seconds by which the brain's window is later than the sound's.
    rate: Hz of the trials. band: Hz of the filter.
    block: seconds, about, of the stretches into which each sound is divided for splits; no window lies in two.
    speech: `heschl.features.speech.Speech`; the recipe's `corpus.speech` fills it in.

    Raises
    ------
    HeschlError: mne is not there, nothing can be read, or no window fits.
    """
    root, hop = Path(root), seconds if hop is None else hop
    if not (seconds > 0 and hop > 0 and rate > 0 and block > 0):
        raise HeschlError(
            f"listening: seconds {seconds:g}, hop {hop:g}, rate {rate:g} and block {block:g} must be above zero"
        )
    heard = brain.read(root)
    skipped: list[Skipped] = [*heard.skipped]
    starts, told = _laid(heard, (seconds, hop, block), speech, skipped)
    options = {
        "seconds": seconds,
        "delay": delay,
        "rate": rate,
        "band": band,
        "block": block,
        "listening": 4,
    }
    clips: list[Clip] = []
    recordings: list[Recording] = []
    for recording in heard.recordings:
        own = {str(one.clip): starts[str(one.clip)] for one in recording.heard}
        told_by: list[Any] = [recording.id, own, [(one.start, one.stop) for one in recording.heard]]
        told_by += [
            heard.by_id[name].signal.stat().st_mtime_ns for name in own
        ]  # a clock may be that of the sound
        try:
            make = partial(_write, recording, heard, own, options)
            made = kept(recording.signal, {**options, "told_by": told_by}, make)
            cut, found = corpus_parts(made, recording.id, recording.subject)
        except HeschlError as error:
            if disk_full(error):
                raise
            skipped.append(Skipped(recording.id, str(error)))
            continue
        skipped += left_out(made, recording.id)
        recordings.append(cut)
        clips += found
    if not clips:
        raise HeschlError(f"nothing in {root} can be read: {skipped[0].why if skipped else told}")
    return replace(
        heard,
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        recordings=tuple(recordings),
        skipped=tuple(skipped),
        notes=(*heard.notes, told),
    )


def windows(spans: Sequence[tuple[float, float]], seconds: float, hop: float) -> list[float]:
    """Where windows that lie wholly in the spans begin, the first of each at its onset; seconds in the uncut sound."""
    starts = []
    for start, stop in spans:
        count = math.floor((stop - start - seconds) / hop + 1e-9) + 1
        starts += [start + k * hop for k in range(max(0, count))]
    return starts


def _blocks(clip: Clip, block: float) -> np.ndarray:
    """Edges of a sound's blocks, seconds, as even as they can be."""
    length = float(clip.stop or 0.0) - clip.start
    return np.linspace(0.0, length, max(1, round(length / block)) + 1)


def _laid(
    corpus: Corpus, sizes: tuple[float, float, float], speech: Any, skipped: list[Skipped]
) -> tuple[dict[str, list[float]], str]:
    """Sound -> where its windows begin, and a sentence on what they hold and leave out; ``sizes``: seconds, hop, block."""
    seconds, hop, block = sizes
    if twice := [path for path, n in Counter(clip.signal for clip in corpus.clips).items() if n > 1]:
        raise HeschlError(
            f"{twice[0]} was heard from several of its seconds on, and blocks could not tell them apart: give each start a file"
        )
    lengths = [float(clip.stop or 0.0) - clip.start for clip in corpus.clips]
    spans = [[(0.0, one)] for one in lengths]
    if speech is not None:
        found = speech.stretches(corpus.clips)
        spans = [one.spans for one in found]
        skipped += [
            Skipped(clip.id, one.why) for clip, one in zip(corpus.clips, found, strict=True) if one.why
        ]
    starts = {}
    for clip, own in zip(corpus.clips, spans, strict=True):
        parts = [(max(a, c), min(b, d)) for c, d in pairwise(_blocks(clip, block)) for a, b in own]
        starts[clip.id] = [round(float(one), 4) for one in windows(parts, seconds, hop)]
    count = sum(len(one) for one in starts.values())
    if not count:
        raise HeschlError(
            f"listening.seconds is {seconds:g}, and no stretch{' of speech' * (speech is not None)} lasts so long: set it lower"
        )
    told = f"{counted(count, 'window')} of {seconds:g} s are laid in {sum(lengths):.0f} s of sound"
    if speech is None:
        return starts, told
    spoken = sum(stop - start for own in spans for start, stop in own)
    told += f", of which {spoken:.0f} s are speech; silence is left out"
    none = sum(not one for one in starts.values())
    return starts, told + (f", and so {counted(none, 'sound has', 'sounds have')} no window" if none else "")


def _write(
    recording: Recording,
    corpus: Corpus,
    starts: Mapping[str, Sequence[float]],
    options: Mapping[str, Any],
    out: Path,
) -> None:
    seconds, delay, rate = (options[key] for key in ("seconds", "delay", "rate"))
    first = {str(one.clip): one for one in reversed(recording.heard)}  # of a sound that was heard twice
    again = [one for one in recording.heard if one is not first[str(one.clip)]]
    recording = replace(recording, heard=tuple(sorted(first.values(), key=lambda one: one.start)))
    loaded = load_runs(recording, corpus, rate, options["band"], least=seconds)
    size, reach = round(seconds * rate), loaded.reach / rate
    found: list[tuple[np.ndarray, str, str, float]] = []  # values, name, block, begin in the recording
    lost = [("channels that are not finite", told) for told in loaded.broken]
    lost += [
        (str(one.clip), f"it was heard again at {one.start:.2f} s: trials are of the first time alone")
        for one in again
    ]
    for sound, own in starts.items():
        held = [one for one in loaded.stretches if one.clip == sound]
        edges, missing = _blocks(corpus.by_id[sound], options["block"]), 0
        for start in own:
            row = round((start + delay) * rate)
            inside = [one for one in held if one.first <= row and row + size <= one.first + len(one.x)]
            missing += not inside
            for one in inside:
                block = f"{sound}#{np.searchsorted(edges, start + seconds / 2) - 1:02d}"
                at = first[sound].start + row / rate
                found.append((one.x[row - one.first :][:size].T, f"{sound}@{start:.4f}", block, at))
        if missing:
            why = f"{counted(missing, 'window reaches', 'windows reach')} outside the recording, or into what is marked BAD or not finite"
            lost.append((sound, why))
    if not found:
        raise HeschlError(f"recording {recording.id}: no window lies inside it: shorten listening.seconds")

    names = [name for _, name, *_ in found]
    windows = [(at - reach, at + seconds + reach) for *_, at in found]
    write_trials(
        out,
        (values for values, *_ in found),
        Known(names, names, [block for _, _, block, _ in found], names, windows),
        rate,
        recording.channels,
        recording.positions,
        lost,
        kind=recording.kind,
        subject=recording.subject,
        **({} if recording.space is None else {"space": recording.space}),
    )


def write_tiny(root: Path, seed: int = 0) -> None:
    """Two listeners, four sensors at 128 Hz, hear two sounds of 17 s: utterances of four seconds with pauses."""
    (root / "audio").mkdir(parents=True, exist_ok=True)
    random, rows, length = np.random.default_rng(seed), [], 17
    waves = []
    for k in range(2):
        wave = 1e-4 * random.standard_normal(length * 16000)
        for place in (1, 6, 11):
            wave[place * 16000 : (place + 4) * 16000] += _tiny.utterance(k, place, seed, 4.0)
        waves.append(wave)
        _tiny.write(root / "audio" / f"story-{k}.wav", wave, 16000)
    places = np.array([[-0.07, 0, 0.04], [0.07, 0, 0.04], [0, 0.08, 0.05], [0, -0.08, 0.05]])
    for subject in ("01", "02"):
        data = 1e-6 * random.standard_normal((4, 128 * 40))
        for k, wave in enumerate(waves):
            start, name = 2 + 19 * k, f"sub-{subject}.npz"
            loud = np.abs(wave).reshape(128 * length, -1).mean(1)
            data[:, start * 128 : (start + length) * 128] += 5e-6 * np.outer([1, 0.5, 0.2, 0], loud)
            rows.append(
                dict(zip(brain.COLUMNS, (name, start, start + length, f"audio/story-{k}.wav"), strict=True))
            )
        kept: dict[str, Any] = {"rate": 128, "channels": np.array(["L", "R", "F", "O"]), "kind": "eeg"}
        np.savez(root / name, data=data, positions=places, space="head", **kept)
    write_csv(root / brain.TABLE, rows, brain.COLUMNS)
