"""Synthetic speech: the embedded corpus, and as much more of it as is asked for. No person speaks here.

What it is: espeak-ng saying single words and short sentences as many "speakers", each one fixed combination of
voice variant, accent, pace, pitch and melody, with the times of phones (39 of ARPABET and SIL) and words. The
package holds 48 speakers saying the 30 words of Speech Commands v0.01 (ten digits and twenty words) once each, and
three sentences each. Other words, sentences, voices or seeds are spoken on demand (extra ``heschl[speak]``) and kept
in the cache.

Layout on disk: ``index.csv``, one row a clip, and one audio file a speaker in ``audio/``; clips are parts of it.
``phones`` and ``words`` hold edges (samples from the clip's start) and symbols by turns, "." where there is none.
The packaged audio is Ogg Vorbis, 16 kHz mono, a fifth of the size of lossless: it keeps the package small, its parts
are found to the sample, and one decoder gives the same samples every time.

Labels: word, digit ("0" to "9" where the word is one, else ""), kind ("word" or "sentence"), text, speaker, gender
("female" or "male" only where the variant's own file states it, else ""), accent, voice, pace, pitch, swing.

Licence: the packaged recordings are dedicated to the public domain (CC0 1.0). espeak-ng is a program under the GNU GPL
version 3, which does not cover the sound that it makes. Cite: espeak-ng, https://github.com/espeak-ng/espeak-ng.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from heschl.corpora._headers import headers
from heschl.files import read_audio, read_csv, read_text, write_csv
from heschl.types import Clip, Corpus, HeschlError, Skipped, Span

PACKAGED = Path(__file__).parent / "data" / "spoken"
PACKAGED_VOICES, PACKAGED_EACH = 48, 3
DIGITS = tuple("zero one two three four five six seven eight nine".split())  # noqa: SIM905
_WORDS = """
bed bird cat dog down eight five four go happy house left marvin nine no off on one right seven sheila six stop three
tree two up wow yes zero
"""
WORDS = tuple(_WORDS.split())
KINDS = ("word", "sentence", "digit")
COLUMNS = (
    "id", "file", "start", "stop", "kind", "word", "digit", "text", "speaker", "gender", "accent", "voice", "pace",
    "pitch", "swing", "phones", "words",
)  # fmt: skip
NOTES = (
    "A machine speaks here (espeak-ng): this is not human speech, and a score on it says nothing about people.",
)
GAP = "."

Progress = Callable[[int, int], None]


def sentences_shipped() -> list[str]:
    """The sentences of the packaged corpus."""
    return read_text(PACKAGED / "sentences.txt").splitlines()


def read(
    root: Path | None = None,
    *,
    words: Sequence[str] | None = None,
    sentences: Sequence[str] | None = None,
    each: int = PACKAGED_EACH,
    voices: int | None = None,
    seed: int = 0,
    kind: str | None = None,
    stated: str | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """The packaged corpus, or one that is spoken now.

    Parameters
    ----------
    root: a folder of this layout; None takes the package's, or the cache's where more is asked for.
    words: None for the 30 packaged words; [] for none.
    sentences: said by every speaker; None for the packaged ones, of which each speaker says ``each``; [] for none.
    voices: the number of speakers (None: all that are packaged, or 40 where the corpus is spoken now).
    seed: another seed draws other speakers.
    kind: "word", "sentence" or "digit" keeps these clips alone.
    stated: a label, such as "gender": clips where it is not stated are left out, and counted.
    progress: called with (speakers done, of how many) while speaking.

    Raises
    ------
    HeschlError: an option is not as above, nothing is left, or more is asked for and espeak-ng is not installed.
    """
    if kind is not None and kind not in KINDS:
        raise HeschlError(f"kind: '{kind}' is not among {', '.join(KINDS)}")
    if root is None:
        asked = {"words": words, "sentences": sentences, "each": each, "voices": voices, "seed": seed}
        root = PACKAGED if _packaged(asked) else _made(asked, progress)
    root = Path(root)
    clips, skipped = _clips(root)
    if voices is not None:
        speakers = sorted({clip.labels["speaker"] for clip in clips})[:voices]
        clips = [clip for clip in clips if clip.labels["speaker"] in speakers]
    if words is not None:
        wanted = {tidy(word) for word in words}
        clips = [clip for clip in clips if clip.labels["kind"] != "word" or clip.labels["word"] in wanted]
    if sentences is not None:
        wanted = {tidy(text) for text in sentences}
        clips = [clip for clip in clips if clip.labels["kind"] != "sentence" or clip.labels["text"] in wanted]
    if kind is not None:
        clips = [
            clip
            for clip in clips
            if (clip.labels["digit"] if kind == "digit" else clip.labels["kind"] == kind)
        ]
    notes: tuple[str, ...] = NOTES
    if stated is not None:
        kept = [clip for clip in clips if clip.labels.get(stated)]
        silent = len(clips) - len(kept)
        notes = (
            *NOTES,
            f"{silent} of {len(clips)} clips {'does not state its' if silent == 1 else 'do not state their'} {stated}: left out.",
        )
        clips = kept
    if not clips:
        raise HeschlError(f"{root / 'index.csv'} holds no clip of the kind that is asked for: ask for less")
    return Corpus(
        name="spoken",
        clips=tuple(sorted(clips, key=lambda clip: clip.id)),
        source="espeak-ng (synthetic speech)",
        licence="CC0-1.0",
        skipped=tuple(skipped),
        notes=notes,
        synthetic=True,
    )


def _made(asked: dict[str, Any], progress: Progress | None) -> Path:
    from heschl.corpora.spoken_make import made

    return made(asked, progress=progress)


def _packaged(asked: dict[str, Any]) -> bool:
    """Whether the package holds all that is asked for."""
    return (
        asked["seed"] == 0
        and (asked["voices"] is None or asked["voices"] <= PACKAGED_VOICES)
        and (asked["words"] is None or {tidy(word) for word in asked["words"]} <= set(WORDS))
        and (asked["sentences"] == [] or (asked["sentences"] is None and asked["each"] == PACKAGED_EACH))
    )


def tidy(text: str) -> str:
    return " ".join(str(text).replace("’", "'").split())


# --- the layout --------------------------------------------------------------------------------------


def _clips(root: Path) -> tuple[list[Clip], list[Skipped]]:
    """Clips of a folder of this layout, and what was left out."""
    index = root / "index.csv"
    rows = read_csv(index)
    if missing := [column for column in COLUMNS if not rows or column not in rows[0]]:
        raise HeschlError(
            f"{index} has no column {', '.join(missing)}: it is not an index of synthetic speech"
        )
    names = sorted({row["file"] for row in rows})
    infos = dict(zip(names, headers([root / name for name in names])))
    skipped = [Skipped(name, str(info)) for name, info in infos.items() if isinstance(info, HeschlError)]
    if (root / "skipped.csv").exists():
        skipped += [Skipped(row["where"], row["why"]) for row in read_csv(root / "skipped.csv")]
    clips = []
    for row in rows:
        info = infos[row["file"]]
        if isinstance(info, HeschlError):
            continue
        try:
            start, stop = float(row["start"]), float(row["stop"])
            if stop > info.frames / info.rate + 1e-6:
                raise HeschlError(
                    f"it ends at {stop} s, and {row['file']} is {info.frames / info.rate:.3f} s long"
                )
            spans = (*_spans(row["phones"], info.rate, "phone"), *_spans(row["words"], info.rate, "word"))
            labels = {key: value for key, value in row.items() if key not in _NOT_LABELS}
            clips.append(Clip(row["id"], root / row["file"], info.rate, labels, spans, start, stop))
        except ValueError as error:
            skipped.append(
                Skipped(row["id"], f"{index}: clip {row['id']} is not readable ({error}): mend that row")
            )
    if not clips:
        raise HeschlError(
            f"{index} holds no clip that can be read" + (f": {skipped[0].why}" if skipped else "")
        )
    return clips, skipped


_NOT_LABELS = ("id", "file", "start", "stop", "phones", "words")


def _spans(text: str, rate: float, tier: str) -> Iterator[Span]:
    """Spans from "edge symbol edge symbol edge"."""
    items = text.split()
    edges = [int(item) / rate for item in items[::2]]
    for symbol, start, stop in zip(items[1::2], edges, edges[1:]):
        if symbol != GAP:
            yield Span(symbol.replace("+", " "), start, stop, tier)


def write_tiny(root: Path, seed: int = 0) -> None:
    """A small tree of this layout, from the package: 6 speakers, 6 words and 1 sentence each, with their times."""
    import soundfile

    root = Path(root)
    rows = read_csv(PACKAGED / "index.csv")
    draw = random.Random(seed)
    by_gender = {g: sorted({r["speaker"] for r in rows if r["gender"] == g}) for g in ("female", "male")}
    speakers = sorted(draw.sample(by_gender["female"], 3) + draw.sample(by_gender["male"], 3))
    words = [*draw.sample(DIGITS, 3), *draw.sample([w for w in WORDS if w not in DIGITS], 3)]
    (root / "audio").mkdir(parents=True, exist_ok=True)
    kept = []
    for speaker in speakers:
        theirs = [row for row in rows if row["speaker"] == speaker]
        chosen = [row for row in theirs if row["word"] in words] + [
            r for r in theirs if r["kind"] == "sentence"
        ][:1]
        at, file = 0.0, f"audio/{speaker}.flac"
        with soundfile.SoundFile(str(root / file), "w", 16000, 1, "PCM_16") as out:
            for row in chosen:
                wave, rate = read_audio(PACKAGED / row["file"], float(row["start"]), float(row["stop"]))
                out.write(wave)
                kept.append(
                    row | {"file": file, "start": f"{at:.7f}", "stop": f"{at + len(wave) / rate:.7f}"}
                )
                at += len(wave) / rate
    write_csv(root / "index.csv", kept, COLUMNS)
