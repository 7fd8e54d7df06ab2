"""Samples of a network's activity: one for each phone, each clip, and some moments of each clip."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from heschl.corpora.arpabet import PHONES, SILENCE, plain
from heschl.explanation.selectivity import WINDOW, mean_between
from heschl.features.voice import pitch
from heschl.files import read_audio
from heschl.steps.inside import Inside
from heschl.types import Clip, Span

MOST_UNITS = 512  # of an area that a probe is given; a larger one is projected
LOOKED_AT = 256  # units of an area whose selectivity is counted; of a larger one, so many at random
VOICED = 3  # frames with a pitch that a phone or a clip needs
MOMENTS = (0.3, 0.45, 0.6, 0.75)  # of a clip, as shares of it, at which areas are compared


@dataclass
class Samples:
    """Activity of every area, cut to what is asked about.

    Attributes
    ----------
    clips: the clips, in order. units: area -> how many it has.
    whole: area -> (clip, unit) mean over the clip. moments: area -> (clip * moment, unit).
    spans: (clip number, phone, type) of each phone token; the type is the word and the phone's place in it;
        ``heard`` has their times.
    phones: area -> (token, unit) mean over the phone. responses: area -> (token, unit) mean over `WINDOW` after the
        phone's onset, of at most `LOOKED_AT` units, whose numbers are in ``chosen``.
    """

    clips: list[Clip] = field(default_factory=list)
    units: dict[str, int] = field(default_factory=dict)
    whole: dict[str, np.ndarray] = field(default_factory=dict)
    moments: dict[str, np.ndarray] = field(default_factory=dict)
    spans: list[tuple[int, str, str]] = field(default_factory=list)
    heard: list[Span] = field(default_factory=list)
    phones: dict[str, np.ndarray] = field(default_factory=dict)
    responses: dict[str, np.ndarray] = field(default_factory=dict)
    chosen: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def speakers(self) -> np.ndarray:
        """(clip,) who spoke; the clip itself where that is unknown."""
        return np.array([clip.labels.get("speaker") or clip.id for clip in self.clips])


def gather(found: Iterable[Inside], seed: int = 0) -> Samples:
    """Cuts the activity of clips into samples, one clip at a time, so that no corpus is too large.

    Areas of more than `MOST_UNITS` units are projected on so many random directions, which keeps distances and
    what is linearly there nearly as they were (Johnson and Lindenstrauss 1984); the directions hang on the area's
    name and the seed, so that they are the same for every network of one architecture.
    """
    samples = Samples()
    kept: dict[str, dict[str, list[np.ndarray]]] = {}
    maps: dict[str, np.ndarray | None] = {}
    for one in found:
        number = len(samples.clips)
        samples.clips.append(one.clip)
        tokens = phone_tokens(one.clip, one.seconds)
        samples.spans += [(number, phone, sort) for phone, sort, _ in tokens]
        samples.heard += [span for _, _, span in tokens]
        for area, (times, values) in one.areas.items():
            if area not in maps:
                maps[area], samples.chosen[area] = _fewer(area, values.shape[1], seed)
                samples.units[area] = values.shape[1]
                kept[area] = {"whole": [], "moments": [], "phones": [], "responses": []}
            few = values if maps[area] is None else values @ maps[area]
            own, units = kept[area], samples.chosen[area]
            own["whole"].append(mean_between(few, times, 0.0, one.seconds))
            own["moments"] += [few[int(np.abs(times - m * one.seconds).argmin())] for m in MOMENTS]
            for _, _, span in tokens:
                own["phones"].append(mean_between(few, times, span.start, span.stop))
                onset = (span.start + WINDOW[0], span.start + WINDOW[1])
                own["responses"].append(mean_between(values, times, *onset)[units])
    for area, own in kept.items():
        for name, rows in own.items():
            width = len(samples.chosen[area]) if name == "responses" else min(samples.units[area], MOST_UNITS)
            getattr(samples, name)[area] = np.array(rows, np.float32).reshape(len(rows), width)
    return samples


def _fewer(area: str, units: int, seed: int) -> tuple[np.ndarray | None, np.ndarray]:
    """The projection of an area, where it needs one, and the units that are looked at one by one."""
    generator = np.random.default_rng([seed, zlib.crc32(area.encode())])
    looked_at = np.sort(generator.choice(units, min(units, LOOKED_AT), replace=False))
    if units <= MOST_UNITS:
        return None, looked_at
    directions = generator.standard_normal((units, MOST_UNITS)) / np.sqrt(MOST_UNITS)
    return directions.astype(np.float32), looked_at


def phone_tokens(clip: Clip, seconds: float) -> list[tuple[str, str, Span]]:
    """(phone, type, span) of every phone of a clip but silence.

    The type is what a probe could learn by heart: the word and the phone's place in it, or where no words are marked
    its neighbours.
    """
    spans = sorted((span for span in clip.spans if span.tier == "phone"), key=lambda span: span.start)
    words = [span for span in clip.spans if span.tier == "word"]
    symbols = [plain(span.symbol) for span in spans]
    found = []
    for k, (span, phone) in enumerate(zip(spans, symbols, strict=True)):
        if phone == SILENCE or span.start >= seconds:
            continue
        middle = (span.start + span.stop) / 2
        word = next((word for word in words if word.start <= middle < word.stop), None)
        if word is None:
            around = [symbols[j] if 0 <= j < len(symbols) else SILENCE for j in (k - 1, k, k + 1)]
            sort = " ".join(around)
        else:
            place = sum(1 for other in spans[:k] if other.start >= word.start - 1e-9)
            sort = f"{word.symbol} {place}"
        found.append((phone, sort, span))
    return found


def pitches(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Pitch of the voice in octaves (log2 of Hz, by YIN): (clip,) and (phone token,), the medians of what is voiced.

    Not a number where fewer than `VOICED` frames of 10 ms are, or where a clip is no sound.
    """
    own: dict[int, list[int]] = defaultdict(list)
    for k, (owner, _, _) in enumerate(samples.spans):
        own[owner].append(k)
    whole, tokens = np.full(len(samples.clips), np.nan), np.full(len(samples.spans), np.nan)
    for number, clip in enumerate(samples.clips):
        if clip.form != "wave":
            continue
        wave, rate = read_audio(clip.signal, clip.start, clip.stop)
        found = pitch(torch.from_numpy(wave), rate)
        times, octaves = found.times.numpy(), np.log2(found.f0.numpy())
        whole[number] = _median(octaves)
        for k in own[number]:
            span = samples.heard[k]
            tokens[k] = _median(octaves[(times >= span.start) & (times < span.stop)])
    return whole, tokens


def _median(octaves: np.ndarray) -> float:
    voiced = octaves[np.isfinite(octaves)]
    return float(np.median(voiced)) if len(voiced) >= VOICED else float("nan")


def chosen_clips(clips: Sequence[Clip], limit: int, seed: int) -> list[Clip]:
    """At most ``limit`` clips, as evenly over speakers as there are clips, in the corpus's order."""
    if len(clips) <= limit:
        return list(clips)
    generator = np.random.default_rng(seed)
    turn: Counter[str] = Counter()
    ranked: list[tuple[int, int, int]] = []
    for k in generator.permutation(len(clips)):
        who = clips[k].labels.get("speaker", "")
        ranked.append((turn[who], len(ranked), int(k)))
        turn[who] += 1
    return [clips[k] for k in sorted(k for _, _, k in sorted(ranked)[:limit])]


def is_english(phones: Iterable[str]) -> bool:
    """Whether all phones are ARPABET's, so that the table of features holds for them."""
    return set(phones) <= set(PHONES)
