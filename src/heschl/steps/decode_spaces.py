"""What the words of a decoder's codebook resemble each other by: sound, phones or meaning, by their distances (RSA).

The codebook's distances (1 - cosine) are correlated by rank with those of other spaces, with p by permutation of words.

- acoustic: 1 - cosine of the words' mean mel spectra, from the sounds that were heard.
- phonological: how many phones to change to make one word of the other, over the phones of the longer, from the sounds' own
  phones or from a pronouncing dictionary.
- semantic: 1 - cosine of word vectors out of a file; without one it is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from heschl.brain.rsa import compare
from heschl.files import write_csv
from heschl.steps.decode_linear import Decoded
from heschl.tasks.spaces import phone_distance, pronunciations, read_vectors, sound_mels
from heschl.types import Clip, HeschlError

FEWEST = 5  # words


def codebook_spaces(
    held: Decoded, folder: Path, dictionary: Path | None = None, vectors: Path | None = None, seed: int = 0
) -> dict[str, Any]:
    """Writes spaces.csv: space, words, Spearman's correlation of distances, p.

    Parameters
    ----------
    dictionary: in cmudict's format, for corpora whose sounds are not at hand. vectors: of words, see `read_vectors`.

    Returns
    -------
    {"rows": as written, "notes": which spaces are left out, and why}
    """
    words, notes = list(held.network.labels), []
    if len(words) < FEWEST:
        return {"rows": [], "notes": [f"{len(words)} words are too few to compare spaces by their distances"]}
    codebook = held.network.model.codebook.detach().double().numpy()  # type: ignore[operator]
    own = angles(codebook)
    others: dict[str, np.ndarray] = {}
    sounds = _sounds(held)
    if sounds:
        others["acoustic"] = angles(sound_mels(sounds, words))
    else:
        notes.append("the sounds that were heard are not at hand, so the acoustic space is left out")
    phones = None
    if dictionary is not None:
        phones = pronunciations(dictionary, words)
    elif sounds and all(_phones(own_clips[0]) for own_clips in sounds.values()):
        phones = {word: _phones(sounds[word][0]) for word in words}
    if phones is None:
        notes.append("no phones of the words are known, so the phonological space is left out: --dictionary")
    else:
        others["phonological"] = phone_distances([phones[word] for word in words])
    if vectors is None:
        notes.append("no word vectors are given, so the semantic space is left out: --vectors")
    else:
        others["semantic"] = angles(np.asarray(read_vectors(vectors, words), float))
    rows: list[dict[str, Any]] = []
    for name, distances in others.items():
        try:
            correlation, p, *_ = compare(own, distances, seed=seed)
        except HeschlError as error:
            notes.append(f"the {name} space is left out: {error}")
            continue
        rows.append({"space": name, "words": len(words), "spearman": float(correlation), "p": float(p)})
    write_csv(folder / "spaces.csv", rows, ["space", "words", "spearman", "p"])
    return {"rows": rows, "notes": notes}


def angles(vectors: np.ndarray) -> np.ndarray:
    """(word, word) 1 - cosine of (word, number)."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    out: np.ndarray = 1 - unit @ unit.T
    np.fill_diagonal(out, 0.0)
    return np.asarray((out + out.T) / 2)


def phone_distances(words: list[tuple[str, ...]]) -> np.ndarray:
    """(word, word) phones to change, as a share of those of the longer word."""
    return np.array([[phone_distance(a, b) / max(len(a), len(b)) for b in words] for a in words], float)


def _sounds(held: Decoded) -> dict[str, list[Clip]]:
    """Word -> the sounds of it that training heard, where the corpus is of simulated listeners; else empty."""
    from heschl.corpora import spoken

    trials = [held.corpus.by_id[one] for one in held.run.split.train if one in held.corpus.by_id]
    if not held.corpus.synthetic or not all("heard" in clip.labels for clip in trials):
        return {}
    heard = spoken.read(sentences=[], voices=spoken.PACKAGED_VOICES).by_id
    label = held.run.task().label
    found: dict[str, dict[str, Clip]] = {}
    for clip in trials:
        if clip.labels["heard"] not in heard:
            return {}
        found.setdefault(clip.labels[label], {})[clip.labels["heard"]] = heard[clip.labels["heard"]]
    return {word: list(clips.values()) for word, clips in found.items()}


def _phones(clip: Clip) -> tuple[str, ...]:
    return tuple(span.symbol for span in clip.spans if span.tier == "phone" and span.symbol != "SIL")
