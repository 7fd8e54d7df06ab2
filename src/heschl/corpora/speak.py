"""Says words and sentences with espeak-ng, with the times of their phones and words. A machine, not a person, speaks.

espeak-ng comes with the extra ``heschl[speak]``. Its sound is not covered by its licence (GPL-3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

from heschl.corpora.arpabet import SILENCE, espeak_phones
from heschl.corpora.espeak import CAN_FORK, Said, talking
from heschl.corpora.voices import Speaker, speakers
from heschl.types import HeschlError, Span

RATE = 16000
_STOPS = frozenset({"P", "B", "T", "D", "K", "G", "CH", "JH"})
# A closure is at most this long, and quieter than this part of the loudest sound before it.
_LONGEST_CLOSURE, _CLOSED = 0.12, 0.06
_WINDOW = 0.004
_HEADROOM = 0.8


class Utterance(NamedTuple):
    """What one speaker said: wave (time,) float32 at `RATE`, and its spans, silence included among the phones."""

    text: str
    speaker: Speaker
    wave: np.ndarray
    phones: tuple[Span, ...]
    words: tuple[Span, ...]


def espeak_files() -> tuple[Path, Path]:
    """espeak-ng's shared library and its data folder.

    Raises
    ------
    HeschlError: the extra is not installed, or has no wheel for this system.
    """
    try:
        import espeakng_loader

        library, data = Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
    except (ImportError, RuntimeError, OSError):
        library = data = Path("missing")
    if not (library.exists() and data.exists()):
        raise HeschlError(
            "speaking more of the synthetic corpus needs espeak-ng, which is not here: `pip install 'heschl[speak]'` "
            "(where it has no wheel for this system, use the packaged voices and words, which need nothing)"
        )
    return library, data


def draw_speakers(count: int, seed: int = 0) -> list[Speaker]:
    """Speakers as `heschl.corpora.voices.speakers` draws them from the installed espeak-ng."""
    return speakers(espeak_files()[1], count, seed)


def speak(jobs: Iterable[tuple[str, Speaker]], fork: bool = CAN_FORK) -> Iterator[Utterance | HeschlError]:
    """Says texts, each in a fresh process, because what espeak says depends on what it said before.

    The same job gives the same samples, whatever came before it. A text that cannot be said with English phones
    gives a HeschlError in its place, so that one bad word does not stop a thousand.

    Parameters
    ----------
    jobs: (text, speaker).
    fork: False starts an interpreter for each, which is what systems without fork do.
    """
    library, data = espeak_files()
    with talking(library, data, fork) as say:
        for text, speaker in jobs:
            try:
                yield _utterance(say, text, speaker)
            except HeschlError as error:
                yield error


def _utterance(say: Callable[..., Said], text: str, speaker: Speaker) -> Utterance:
    try:
        said = say(text, speaker.voice, speaker.pace, speaker.pitch, speaker.swing)
        wave = np.frombuffer(said.samples, np.int16).astype(np.float32) / 32768
        marks = phone_marks(said, speaker.accent, wave)
    except RuntimeError as error:
        raise HeschlError(f"'{text}' could not be said by {speaker.voice}: {error}") from None
    except KeyError as error:
        raise HeschlError(
            f"'{text}' as {speaker.voice} says it holds the sound {error}, which is not among the English phones"
        ) from None
    if all(mark.symbol == SILENCE for mark in marks):
        raise HeschlError(f"'{text}' holds nothing that can be said: give words")
    phones = tuple(Span(mark.symbol, mark.start / said.rate, mark.stop / said.rate) for mark in marks)
    return Utterance(text, speaker, at_rate(wave, said.rate), phones, word_spans(said, text, marks))


def at_rate(wave: np.ndarray, rate: int) -> np.ndarray:
    """(time,) at ``rate`` as (time,) float32 at `RATE`, with headroom for what resampling and compression add."""
    resampled: np.ndarray = _HEADROOM * soxr.resample(wave.astype(np.float64), rate, RATE, "VHQ")
    return resampled.astype(np.float32)


class _Mark(NamedTuple):
    """One phone in samples: [start, stop), its symbol, and where espeak marked it (a stop: at its burst)."""

    start: int
    stop: int
    symbol: str
    event: int


def phone_marks(said: Said, accent: str, wave: np.ndarray) -> list[_Mark]:
    """The phones from 0 to the end without a gap, neighbouring silences joined.

    espeak marks a stop at its burst; the closure before it belongs to the stop, as in hand-made labels.

    Raises
    ------
    KeyError: a mnemonic of espeak's that is not of English.
    """
    ends = [sample for sample, _ in said.phones[1:]] + [len(wave)]
    events = [(first, stop, name) for (first, name), stop in zip(said.phones, ends) if first < stop]
    marks = [_Mark(0, events[0][0] if events else len(wave), SILENCE, 0)]
    for (first, stop, name), (_, _, following) in zip(events, [*events[1:], (0, 0, "_")]):
        start = first
        phones = espeak_phones(name, accent, following)
        if phones and phones[0] in _STOPS and marks[-1].symbol != SILENCE:
            start = _closure(wave, marks[-1].start, first, said.rate)
            marks[-1] = marks[-1]._replace(stop=start)
        if not phones or phones == (SILENCE,) == (marks[-1].symbol,):
            marks[-1] = marks[-1]._replace(stop=stop)  # a glide mark lengthens what it follows
            continue
        parts = [start + (stop - start) * k // len(phones) for k in range(len(phones) + 1)]
        marks += [_Mark(a, b, symbol, first) for a, b, symbol in zip(parts, parts[1:], phones)]
    return [mark for mark in marks if mark.start < mark.stop]


def _closure(wave: np.ndarray, before: int, burst: int, rate: int) -> int:
    """Where the sound that starts at ``before`` falls silent, looking back from the burst; samples."""
    step = round(_WINDOW * rate)
    earliest = max(before + (burst - before) // 3, burst - round(_LONGEST_CLOSURE * rate))
    limit = _CLOSED * np.abs(wave[before:burst]).max(initial=0.0)
    start = burst
    while start - step >= earliest and np.sqrt(np.mean(wave[start - step : start] ** 2)) < limit:
        start -= step
    return start


def word_spans(said: Said, text: str, marks: list[_Mark]) -> tuple[Span, ...]:
    """Words, each from its first to its last phone; words that espeak runs into one ("of the") are one span."""
    spoken: list[list[_Mark]] = [[] for _ in said.words]
    for mark in marks:
        if mark.symbol != SILENCE:
            spoken[
                max((n for n, (first, _, _) in enumerate(said.words) if first <= mark.event), default=0)
            ].append(mark)
    begun = [number for number, phones in enumerate(spoken) if phones]
    tokens = [(*found.span(), found[0].lower()) for found in re.finditer(r"[\w']+", text.replace("’", "'"))]
    at = [_token(tokens, said.words[number][1]) for number in begun]
    spans: list[Span] = []
    for number, first, end in zip(begun, at, [*at[1:], len(tokens)]):
        name = " ".join(token for _, _, token in tokens[first:end])
        name = name or (
            spans[-1].symbol if spans else text
        )  # a number that is said as several words has one name
        spans.append(
            Span(name, spoken[number][0].start / said.rate, spoken[number][-1].stop / said.rate, "word")
        )
    return tuple(spans)


def _token(tokens: list[tuple[int, int, str]], position: int) -> int:
    """The number of the word (first character, end, text) that a mark of espeak's means.

    A mark inside a word belongs to the next one ("live in": espeak marks "in" at the i of "live"), except in numbers,
    whose parts are marked one by one.
    """
    for number, (start, end, token) in enumerate(tokens):
        if position < end:
            return number + (start < position and not any(sign.isdigit() for sign in token))
    return len(tokens)
