"""A corpus with a planted shortcut, to put explanations to the test: in every clip a tone gives the digit away.

The clips are the digits of the embedded synthetic speech (`heschl.corpora.spoken`). To each, a tone is added whose
frequency belongs to the digit and whose moment is drawn at random, so what a network should be found to rely on is
known to the cell. Its twin holds the same clips at the same level without the tone. They differ in nothing else, and
their clips have the same ids, so that one split serves both.

Layout on disk: ``index.csv``, one row a clip, and one file a speaker in ``with/`` and in ``without/`` (FLAC, 16 bit);
clips are parts of them. ``spans`` is JSON: [tier, symbol, start, stop] in seconds from the clip's start.

Labels: word, digit, speaker, gender, hertz (the tone's frequency), tone ("yes" or "no"). Where and at what frequency the
tone is stands in a span of the tier "tone"; in the twin, where it would have been, of the tier "no tone".

Licence: as the embedded corpus, public domain (CC0 1.0).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heschl.corpora import spoken
from heschl.files import audio_info, cache_folder, read_audio, read_csv, replacing, write_csv
from heschl.signal import hz_to_mel, mel_to_hz
from heschl.types import Clip, Corpus, HeschlError, Skipped, Span

COLUMNS = ("id", "file", "start", "stop", "word", "digit", "speaker", "gender", "hertz", "spans")
NOTES = (
    *spoken.NOTES,
    "A tone gives the digit away, on purpose: a network that scores well here has learned nothing about speech.",
)
PLAIN_NOTES = (*spoken.NOTES, "The twin without a tone of a corpus in which a tone gives the digit away.")
LOWEST, HIGHEST = 500.0, 6500.0  # Hz, of the ten tones, equally far apart in mel
RAMP = 0.01  # seconds in which a tone comes and goes
DECIBELS, SECONDS = 9.5, 0.3
_LATEST = 0.05  # seconds that every tone keeps from the clip's ends


def read(
    root: Path | None = None,
    *,
    tone: bool = True,
    seed: int = 0,
    decibels: float = DECIBELS,
    seconds: float = SECONDS,
    voices: int | None = None,
) -> Corpus:
    """The corpus, or its twin; made on first use, and kept in the cache.

    Parameters
    ----------
    root: a folder of this layout, read as it is; None makes it in the cache.
    tone: False for the twin.
    seed: of the moments of the tones. decibels: of a tone above its clip's mean level. seconds: how long it is.
    voices: the first so many speakers alone.

    Raises
    ------
    HeschlError: the folder is not of this layout, or is given together with options that it was not made by.
    """
    made = (seed, decibels, seconds) != (0, DECIBELS, SECONDS)
    if root is not None and made:
        raise HeschlError(
            f"{root} is read as it is, so seed, decibels and seconds mean nothing: leave them or the root out"
        )
    if root is None:
        root = cache_folder() / "shortcut" / f"1-{seed}-{decibels:g}-{seconds:g}"
        if not (root / "index.csv").exists():
            write(root, spoken.read(kind="digit").clips, seed, decibels, seconds)
    root = Path(root)
    clips, skipped = _clips(root, "with" if tone else "without", tone)
    if voices is not None:
        kept = sorted({clip.labels["speaker"] for clip in clips})[: max(0, voices)]
        clips = [clip for clip in clips if clip.labels["speaker"] in kept]
    if not clips:
        why = f": {skipped[0].why}" if skipped else ""
        raise HeschlError(f"{root / 'index.csv'} holds no clip that can be read{why}: make the folder anew")
    return Corpus(
        name="shortcut" if tone else "shortcut-without",
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        source="espeak-ng (synthetic speech)" + (" and a tone for each digit" if tone else ""),
        licence="CC0-1.0",
        skipped=tuple(skipped),
        notes=NOTES if tone else PLAIN_NOTES,
        synthetic=True,
    )


def hertz_of(digit: str) -> float:
    """The frequency of a digit's tone."""
    edges = hz_to_mel([LOWEST, HIGHEST])
    return float(mel_to_hz(edges[0] + (edges[1] - edges[0]) * int(digit) / 9))


def place_of(clip: Clip) -> tuple[float, float, float]:
    """Where the tone is, or would be: start and stop in seconds from the clip's start, and Hz."""
    for span in clip.spans:
        if span.tier in ("tone", "no tone"):
            return span.start, span.stop, float(clip.labels["hertz"])
    raise HeschlError(f"clip {clip.id} has no span of the tier tone: it is not of the corpus shortcut")


def cells(
    clip: Clip,
    times: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    window: float,
) -> NDArray[np.bool_]:
    """The cells of a spectrogram that the tone reaches, or would reach: (frequency, time).

    Parameters
    ----------
    times: (time,) seconds, the middle of each frame, from the clip's start.
    low, high: (frequency,) Hz, what each row hears: a filter's edges.
    window: seconds of the Hann window of a frame. It spreads a tone over 2 / window Hz to either side (its main lobe)
        and half its length to either end.
    """
    start, stop, hertz = place_of(clip)
    rows = (low < hertz + 2 / window) & (high > hertz - 2 / window)
    steps = (times > start - window / 2) & (times < stop + window / 2)
    return np.asarray(rows[:, None] & steps)


# --- making it --------------------------------------------------------------------------------------------------


def write(
    root: Path,
    clips: Sequence[Clip],
    seed: int = 0,
    decibels: float = DECIBELS,
    seconds: float = SECONDS,
) -> None:
    """Writes both twins of clips that have the labels digit and speaker; the index last, once all is there."""
    if not seconds >= 2 * RAMP:
        raise HeschlError(f"seconds is {seconds}: a tone lasts at least {2 * RAMP} s")
    root, rows = Path(root), []
    for speaker in sorted({clip.labels["speaker"] for clip in clips}):
        pieces: dict[str, list[NDArray[np.float64]]] = {"with": [], "without": []}
        at = 0
        for clip in sorted((c for c in clips if c.labels["speaker"] == speaker), key=lambda clip: clip.id):
            wave, rate = read_audio(clip.signal, clip.start, clip.stop)
            sound, start = _tone(clip, wave, rate, seed, decibels, seconds)
            # what is too loud with its tone is made softer in both twins
            gain = min(1.0, 0.95 / max(1e-9, float(np.abs(wave + sound).max())))
            pieces["with"].append(gain * (wave + sound))
            pieces["without"].append(gain * wave.astype(np.float64))
            rows.append(_row(clip, at / rate, (at + len(wave)) / rate, start, seconds))
            at += len(wave)
        for part, waves in pieces.items():
            _write(root / part / f"{speaker}.flac", np.concatenate(waves), rate)
    write_csv(root / "index.csv", rows, COLUMNS)


def _tone(
    clip: Clip, wave: NDArray[np.float32], rate: int, seed: int, decibels: float, seconds: float
) -> tuple[NDArray[np.float64], float]:
    """The tone (time,) and its start in seconds; drawn from the seed and the clip's id alone."""
    latest = len(wave) / rate - _LATEST - seconds
    if latest < _LATEST:
        raise HeschlError(
            f"clip {clip.id} is {len(wave) / rate:.2f} s long: no tone of {seconds} s fits in with {_LATEST} s to spare"
        )
    random = np.random.default_rng((seed, zlib.crc32(clip.id.encode("utf-8"))))
    start = round(random.uniform(_LATEST, latest), 4)
    phase, time = random.uniform(0, 2 * np.pi), np.arange(len(wave)) / rate
    ramp = np.clip(np.minimum(time - start, start + seconds - time) / RAMP, 0, 1)
    envelope = 0.5 - 0.5 * np.cos(np.pi * ramp)
    size = np.sqrt(2 * np.mean(wave.astype(np.float64) ** 2)) * 10 ** (decibels / 20)
    return size * envelope * np.sin(2 * np.pi * hertz_of(clip.labels["digit"]) * time + phase), start


def _row(clip: Clip, start: float, stop: float, tone: float, seconds: float) -> dict[str, str]:
    hertz = f"{hertz_of(clip.labels['digit']):.1f}"
    spans = [[span.tier, span.symbol, round(span.start, 7), round(span.stop, 7)] for span in clip.spans]
    spans.append(["tone", f"{float(hertz):.0f} Hz", tone, round(tone + seconds, 7)])
    labels = {name: clip.labels.get(name, "") for name in ("word", "digit", "speaker", "gender")}
    file = f"{clip.labels['speaker']}.flac"
    times = {"start": f"{start:.7f}", "stop": f"{stop:.7f}"}
    return {"id": clip.id, "file": file, **times, **labels, "hertz": hertz, "spans": json.dumps(spans)}


def _write(path: Path, wave: NDArray[np.float64], rate: int) -> None:
    import soundfile

    with replacing(path) as temporary:
        soundfile.write(str(temporary), wave, rate, subtype="PCM_16", format="FLAC")


def write_tiny(root: Path, seed: int = 0) -> None:
    """A small tree of this layout: five digits of four speakers."""
    order = np.random.default_rng(seed)
    clips = spoken.read(kind="digit").clips
    speakers = order.choice(sorted({clip.labels["speaker"] for clip in clips}), 4, replace=False)
    digits = order.choice(10, 5, replace=False).astype(str)
    write(
        root, [c for c in clips if c.labels["speaker"] in speakers and c.labels["digit"] in digits], seed=seed
    )


# --- reading it -------------------------------------------------------------------------------------------------


def _clips(root: Path, part: str, tone: bool) -> tuple[list[Clip], list[Skipped]]:
    index = root / "index.csv"
    rows = read_csv(index)
    if not rows or any(column not in rows[0] for column in COLUMNS):
        raise HeschlError(f"{index} has not the columns {', '.join(COLUMNS)}: it is no index of this corpus")
    rates: dict[str, int | HeschlError] = {}
    for name in sorted({row["file"] for row in rows}):
        try:
            rates[name] = audio_info(root / part / name).rate
        except HeschlError as error:
            rates[name] = error
    skipped = [
        Skipped(f"{part}/{name}", str(rate)) for name, rate in rates.items() if isinstance(rate, HeschlError)
    ]
    clips = []
    for row in rows:
        rate = rates[row["file"]]
        if isinstance(rate, HeschlError):
            continue
        try:
            spans = tuple(
                Span(symbol, start, stop, tier if tone or tier != "tone" else "no tone")
                for tier, symbol, start, stop in json.loads(row["spans"])
            )
            labels = {name: row[name] for name in ("word", "digit", "speaker", "gender", "hertz")}
            labels["tone"] = "yes" if tone else "no"
            times = float(row["start"]), float(row["stop"])
            clips.append(Clip(row["id"], root / part / row["file"], rate, labels, spans, *times))
        except (ValueError, TypeError) as error:
            skipped.append(
                Skipped(row["id"], f"{index}: clip {row['id']} is not readable ({error}): mend that row")
            )
    return clips, skipped
