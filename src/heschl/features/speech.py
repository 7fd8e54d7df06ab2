"""Speech as a recipe asks for it, `corpus: {..., speech: energy}`: silence around clips cut, and where windows may lie.

The detectors are those of `heschl.features.vad`. Clips of sound are cut from their first speech to their last, before anything else
happens to them, in training as in every later step; pauses inside stay, so that a clip remains one stretch of its file and
its clock the file's. Readers of brains that take ``speech`` lay their windows by it (`heschl.corpora.listening`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from heschl.features.packing import fingerprint
from heschl.features.vad import Detector, Span, speech
from heschl.files import cache_folder, read_audio, read_json, write_json
from heschl.types import Clip, Corpus, HeschlError


class Found(NamedTuple):
    """Stretches of speech in a clip and its length, seconds; ``why`` there are none, where they could not be looked for."""

    spans: list[Span]
    seconds: float
    why: str = ""


@dataclass(eq=False)
class Speech:
    """`heschl.features.vad.speech` with a detector and thresholds.

    Attributes
    ----------
    part, args: a function of (wave, rate, ...) or a class of such, and its arguments. thresholds: of `speech`.
    """

    part: Callable[..., Any]
    args: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @functools.cached_property
    def detector(self) -> Detector:
        """Made when it is first needed: a wav2vec 2.0 is large."""
        if inspect.isclass(self.part):
            return cast("Detector", self.part(**self.args))
        return functools.partial(self.part, **self.args)

    def __call__(self, wave: Any, rate: float) -> list[Span]:
        found = speech(torch.as_tensor(wave), rate, self.detector, **self.thresholds)
        return [(round(start, 6), round(stop, 6)) for start, stop in found]  # as they are written and read

    def whole(self, wave: Any, rate: float) -> Span | None:
        """From the first speech to the last, seconds; None where there is none."""
        found = self(wave, rate)
        return (found[0][0], found[-1][1]) if found else None

    @functools.cached_property
    def key(self) -> str:
        """Names this in caches: the detector's code, its arguments, and size and time of change of files that they name."""
        told = [self.part.__qualname__, sorted((name, str(value)) for name, value in self.args.items())]
        digest = hashlib.sha256(
            b"".join(Path(inspect.getfile(one)).read_bytes() for one in (speech, self.part))
        )
        digest.update(json.dumps([*told, dict(self.thresholds), _stamps(self.args.values())]).encode())
        return digest.hexdigest()[:16]

    def stretches(self, clips: Sequence[Clip]) -> list[Found]:
        """Of every clip of sound; kept in heschl's cache by the clips' files (path, size, time of change), parts, and `key`."""
        kept = cache_folder() / f"speech-{fingerprint(clips, self.key)}.json"
        with contextlib.suppress(HeschlError):
            found = [Found([(a, b) for a, b in spans], *rest) for spans, *rest in read_json(kept)]
            if len(found) == len(clips):
                return found
        _ = self.detector  # that it cannot be made is no clip's fault
        found = [self._of(clip) for clip in clips]
        write_json(kept, found)
        return found

    def _of(self, clip: Clip) -> Found:
        try:
            wave, rate = read_audio(clip.signal, clip.start, clip.stop)
            return Found(self(wave, rate), len(wave) / rate)
        except HeschlError as error:
            return Found(
                [], 0.0, str(error).replace(str(clip.signal), clip.signal.name)
            )  # a label, the same anywhere


def _stamps(values: Iterable[Any]) -> list[tuple[str, int, int]]:
    found = []
    for value in values:
        path = Path(value) if isinstance(value, str | Path) else None
        inside = [path, *path.rglob("*")] if path is not None and path.exists() else []
        stats = [(one.name, one.stat()) for one in sorted(inside) if one.is_file()]
        found += [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return found


def cut_corpus(corpus: Corpus, find: Speech) -> Corpus:
    """The corpus with each clip from its first speech to its last, its spans on the new clock.

    Each clip's label "silence" says what was cut, or why the clip stays whole: nothing is dropped.

    Raises
    ------
    HeschlError: clips are stored frames, which nobody can hear, or recordings of brains say when they were heard.
    """
    if any(clip.form != "wave" for clip in corpus.clips):
        raise HeschlError(
            f"corpus.speech: silence is cut from sound, and corpus {corpus.name} holds stored frames: leave it out"
        )
    if corpus.recordings:
        raise HeschlError(
            f"corpus.speech: recordings of {corpus.name} say when its sounds were heard, and would no longer fit them: take the "
            "corpus `listening`, whose windows are laid in speech"
        )
    if any("silence" in clip.labels for clip in corpus.clips):
        raise HeschlError(
            f"corpus.speech: what is cut is told in a column `silence`, and corpus {corpus.name} has one of its own: rename it"
        )
    found = find.stretches(corpus.clips)
    clips = tuple(_cut(clip, one) for clip, one in zip(corpus.clips, found, strict=True))
    spoken = [one for one in found if one.spans]
    long = sum(one.seconds for one in spoken) / max(1, len(spoken))
    left = sum(one.spans[-1][1] - one.spans[0][0] for one in spoken) / max(1, len(spoken))
    note = f"silence before and after speech is cut: clips last {left:.2f} s in place of {long:.2f} s, on average"
    if len(spoken) < len(found):
        note += f"; in {len(found) - len(spoken):,} of {len(found):,} no speech was found: they stay whole"
    return replace(corpus, clips=clips, notes=(*corpus.notes, note))


def _cut(clip: Clip, found: Found) -> Clip:
    if not found.spans:
        told = f"stays whole: {found.why or 'no speech was found'}"
        return replace(clip, labels={**clip.labels, "silence": told})
    low, high = found.spans[0][0], found.spans[-1][1]
    spans = tuple(
        replace(span, start=max(0.0, span.start - low), stop=min(span.stop, high) - low)
        for span in clip.spans
        if span.stop > low and span.start < high
    )
    lost = f"; {len(clip.spans) - len(spans)} spans lay there" if len(spans) < len(clip.spans) else ""
    told = f"{low:.3f} s before and {found.seconds - high:.3f} s after are cut{lost}"
    labels = {**clip.labels, "silence": told}
    start, stop = round(clip.start + low, 6), round(clip.start + high, 6)
    return replace(clip, start=start, stop=stop, spans=spans, labels=labels)
