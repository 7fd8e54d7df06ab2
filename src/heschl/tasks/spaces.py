"""Spaces that words may be compared in, apart from a learned one: vectors from a file, phonology, mean mel.

Each gives an array (word, number). `fitted` brings any of them to the width of a network's codebook without changing
the angles between words where there is room for them.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from heschl.corpora.arpabet import CONSONANTS, VOWELS, arpabet
from heschl.types import Clip, HeschlError

# Phonetic features of the 39 phones, after the International Phonetic Alphabet's charts: what each name holds for.
# A diphthong is described by where it begins; "gliding" says that it moves.
FEATURES: Mapping[str, str] = {
    "vowel": " ".join(VOWELS),
    "voiced": "B D DH G JH L M N NG R V W Y Z ZH " + " ".join(VOWELS),
    "stop": "B D G K P T",
    "affricate": "CH JH",
    "fricative": "DH F HH S SH TH V Z ZH CH JH",
    "nasal": "M N NG",
    "approximant": "L R W Y ER",
    "lateral": "L",
    "labial": "B F M P V W",
    "dental": "DH TH",
    "alveolar": "D L N R S T Z",
    "postalveolar": "CH JH SH ZH",
    "palatal": "Y",
    "velar": "G K NG W",
    "glottal": "HH",
    "sibilant": "CH JH S SH Z ZH",
    "high": "IH IY UH UW",
    "middle": "AH AO EH ER EY OW OY",
    "low": "AA AE AW AY",
    "front": "AE EH EY IH IY",
    "central": "AH ER",
    "back": "AA AO OW OY UH UW",
    "rounded": "AO OW OY UH UW W",
    "tense": "AA AO ER EY IY OW UW",
    "gliding": "AW AY EY OW OY",
    "rhotic": "ER R",
}
RATE = 16000  # Hz, at which mel spectra are computed
SLOTS = 4  # parts of a word, from its beginning to its end, that are described apart


def read_vectors(path: Path | str, words: Sequence[str]) -> np.ndarray:
    """Word vectors (word, number) float32 from a text file: a word and its numbers a line, by blanks or commas
    (GloVe's format; a first line of two whole numbers, as word2vec has it, is passed over).

    Raises
    ------
    HeschlError: the file cannot be read, a word is not in it, or its lines are of different length.
    """
    path, found = Path(path), {}
    wanted = {word.lower() for word in words}
    for line in _lines(path):
        name, *numbers = line.replace(",", " ").split()
        if name.lower() in wanted and numbers and name.lower() not in found:
            try:
                found[name.lower()] = [float(one) for one in numbers]
            except ValueError:
                raise HeschlError(
                    f"{path}: the vector of '{name}' holds something that is no number"
                ) from None
    _all_there(path, words, found)
    widths = {len(vector) for vector in found.values()}
    if len(widths) != 1:
        raise HeschlError(
            f"{path}: the vectors have different lengths ({sorted(widths)[:4]}): they must be alike"
        )
    return np.array([found[word.lower()] for word in words], np.float32)


def pronunciations(path: Path | str, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Word -> its phones (ARPABET without stress), out of a dictionary in cmudict's format, the first one it gives.

    Both layouts are read: "WORD P H O N" and "WORD 1 P H O N"; lines that begin with ";;;" are comments, and so is what
    follows " #".

    Raises
    ------
    HeschlError: the file cannot be read, a word is not in it, or a phone is none of the 39.
    """
    path, found = Path(path), {}
    wanted = {word.lower() for word in words}
    for line in _lines(path):
        if line.startswith(";;;"):
            continue
        name, *phones = line.split(" #", 1)[0].split()
        if name.lower() in wanted and phones and name.lower() not in found:
            try:
                found[name.lower()] = tuple(arpabet(one) for one in phones if not one.isdigit())
            except KeyError as error:
                raise HeschlError(
                    f"{path}: '{name}' has the phone {error}, which is none of ARPABET's"
                ) from None
    _all_there(path, words, found)
    return {word: found[word.lower()] for word in words}


def phonology(path: Path | str, words: Sequence[str]) -> np.ndarray:
    """(word, SLOTS * feature) float32: the phonetic features of each quarter of a word.

    A word of n phones takes n equal steps; each quarter holds the mean of the phones in it, weighted by how much of
    the quarter each one fills, so that words of different length are compared from beginning to end.
    """
    table = {
        phone: np.array([phone in names.split() for names in FEATURES.values()], np.float64)
        for phone in (*VOWELS, *CONSONANTS)
    }
    rows = []
    for phones in pronunciations(path, words).values():
        values = np.stack([table[phone] for phone in phones])
        edges = np.linspace(0, len(phones), SLOTS + 1)
        parts = np.arange(len(phones))
        share = np.clip(np.minimum(edges[1:, None], parts + 1) - np.maximum(edges[:-1, None], parts), 0, None)
        rows.append((share / share.sum(1, keepdims=True) @ values).ravel())
    return np.array(rows, np.float32)


def phone_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Fewest phones to put in, take out or exchange to make one word of the other (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def mean_mel(mels: Mapping[str, Sequence[np.ndarray]], words: Sequence[str], slots: int = 8) -> np.ndarray:
    """(word, slots * mel) float32: each word's mean mel spectrogram, its time cut in ``slots`` equal parts.

    Parameters
    ----------
    mels: word -> spectrograms (mel, time) of it, of any length from ``slots`` frames on.
    """
    missing = [word for word in words if not len(mels.get(word, ()))]
    if missing:
        raise HeschlError(f"there is no sound of '{missing[0]}' ({len(missing)} words): leave them out")
    rows = []
    for word in words:
        parts = [
            np.stack([part.mean(1) for part in np.array_split(np.asarray(mel, np.float64), slots, axis=1)], 1)
            for mel in mels[word]
        ]
        rows.append(np.mean(parts, 0).ravel())
    return np.array(rows, np.float32)


def sound_mels(sounds: Mapping[str, Sequence[Clip]], words: Sequence[str]) -> np.ndarray:
    """(word, number) `mean_mel` of 40 log-mel bands of each word's sounds, from their first word's begin to their last's end,
    less the mean over words: what all share says nothing of what sets them apart.

    Raises
    ------
    HeschlError: a word has no sound, or one cannot be read.
    """
    import torch

    from heschl.features.mel import LogMel
    from heschl.files import read_audio
    from heschl.signal import resample_recording

    mel = LogMel(RATE, 40)
    held: dict[str, list[np.ndarray]] = {}
    for word in words:
        for clip in sounds.get(word, ()):
            wave, rate = read_audio(clip.signal, clip.start, clip.stop)
            wave = wave if rate == RATE else resample_recording(wave, rate, RATE)
            spans = [span for span in clip.spans if span.tier == "word"]
            if spans:
                wave = wave[round(RATE * spans[0].start) : round(RATE * spans[-1].stop)]
            with torch.no_grad():
                given = torch.from_numpy(np.ascontiguousarray(wave, np.float32))[None]
                held.setdefault(word, []).append(mel(given)[0].numpy())
    values = np.asarray(mean_mel(held, words), float)
    return np.asarray(values - values.mean(0))


def fitted(vectors: np.ndarray, dim: int) -> np.ndarray:
    """(word, number) as (word, dim) float32 of length one: the axes along which words differ most in direction.

    Singular vectors of the vectors of length one. With dim >= min(word, number) every cosine stays as it was; with
    fewer, the best approximation of their inner products.
    """
    lengths = np.linalg.norm(np.asarray(vectors, np.float64), axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise HeschlError(f"the vector of word number {int((lengths[:, 0] <= 0).argmax()) + 1} is zero")
    left, size, _ = np.linalg.svd(vectors / lengths, full_matrices=False)
    out = np.zeros((len(vectors), dim))
    keep = min(dim, len(size))
    out[:, :keep] = left[:, :keep] * size[:keep]
    left_of = np.linalg.norm(out, axis=1, keepdims=True)
    if not (left_of > 1e-6).all():
        raise HeschlError(
            f"of the vector of word number {int(left_of.argmin()) + 1} nothing is left in {dim} numbers, which hold "
            f"{keep} of {len(size)} directions: give the codebook more (model.dim)"
        )
    return np.asarray(out / left_of, np.float32)


def _lines(path: Path) -> list[str]:
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
                text = file.read()
        else:
            text = path.read_text(encoding="utf-8", errors="replace")
    except (OSError, EOFError) as error:
        raise HeschlError(f"{path} cannot be read ({error}): check the path") from None
    return [line for line in text.splitlines() if line.strip()]


def _all_there(path: Path, words: Sequence[str], found: Mapping[str, object]) -> None:
    missing = [word for word in words if word.lower() not in found]
    if missing:
        raise HeschlError(
            f"{path} does not have '{missing[0]}'{f' and {len(missing) - 1} more words' * (len(missing) > 1)}: "
            "take another file, or leave these words out in task.labels"
        )
