"""The pictures and tables of a decoding's scores, and what must be said beside them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heschl.files import read_json, write_csv
from heschl.steps.decode_linear import Decoded
from heschl.tasks.retrieval import Ranks, curve, middle
from heschl.tasks.scores import told

Picture = dict[str, str]  # file, title, alt


def caveats(result: dict[str, Any]) -> list[str]:
    """Sentences that belong beside the scores, the weightiest first."""
    found = []
    if result["simulated"]:
        found.append(
            "Simulated: these brains are made by a formula. The scores say what a decoder can find where something is "
            "known to be there, and nothing about brains."
        )
    top, linear = result["network"]["top_1"], result["linear"]["top_1"]
    if result["network"].get("p", 0.0) >= 0.05:
        found.append(
            f"A null: {told(top)} is not told from chance, {100 * top['chance']:.3g}\u202f% "
            f"(permutation p {result['network']['p']:.2g}). Pictures of what the network reads then show no speech."
        )
    elif linear["value"] >= top["value"]:
        found.append(
            f"A linear decoder on the same trials does as well or better: {told(linear)} against {told(top)}."
        )
    if result["subjects"] < 5:
        count = result["subjects"]
        found.append(f"{count} subject{'s' * (count != 1)}: nothing here speaks of people in general.")
    notes = [note for note in result["notes"] if not note.startswith("these brains are simulated")]
    return found + [f"{note[0].upper()}{note[1:]}." for note in notes]


def show_ranks(
    held: Decoded,
    result: Mapping[str, Any],
    found: Mapping[str, Ranks],
    null: Mapping[str, Ranks],
    folder: Path,
    of: str,
) -> list[Picture]:
    """Writes trials.csv and ranks.svg/.png; ``found`` and ``null`` (words shuffled) of "network" and "linear".

    result: what `heschl.steps.decode.decode` has found so far: scores, and "unit", what a trial is told from others."""
    from heschl.figures.decode_scores import ranks_figure
    from heschl.figures.style import TEXT, save_both

    n, words, unit = len(held.network.labels), list(held.network.labels), result["unit"]
    places = {name: middle(one) for name, one in found.items()}
    rows = [
        {
            "trial": clip.id,
            "subject": clip.labels.get("subject", ""),
            "block": clip.labels.get("block", ""),
            unit: words[truth],
            "rank_network": float(places["network"][k]),
            "rank_linear": float(places["linear"][k]),
        }
        for k, (clip, truth) in enumerate(zip(held.trials, held.truth))
    ]
    write_csv(folder / "trials.csv", rows, list(rows[0]))
    named = {"network": found["network"], "linear decoder": found["linear"]}
    named |= {f"{name}, shuffled": one for name, one in null.items()}
    curves = {name: curve(one, n) for name, one in named.items()}
    title = f"How often the {unit} is among the first k, {of}"
    save_both(partial(ranks_figure, curves, title), folder / "ranks", TEXT)
    network, linear = (told(result[who]["top_1"]) for who in ("network", "linear"))
    alt = (
        f"Share of {len(rows):,} trials whose {unit} is among the first k of {n:,}: the network finds it first in {network}, the linear "
        f"decoder in {linear}, chance is {100 / n:.3g}\u202f%."
    )
    return [{"file": "ranks.svg", "title": title, "alt": alt}]


def show_codebook(held: Decoded, folder: Path, of: str) -> list[Picture]:
    """Writes similarity.csv and codebook.svg/.png; nothing where the network has no codebook."""
    from heschl.figures.decode_scores import codebook_figure
    from heschl.figures.style import save_both

    codebook = getattr(held.network.model, "codebook", None)
    if not isinstance(codebook, torch.Tensor):
        return []
    book, words = codebook.detach().double().cpu().numpy(), list(held.network.labels)
    unit = book / np.maximum(np.linalg.norm(book, axis=1, keepdims=True), 1e-30)
    cosines = unit @ unit.T
    rows = [{"word": w, **dict(zip(words, row))} for w, row in zip(words, cosines.round(6).tolist())]
    write_csv(folder / "similarity.csv", rows, ["word", *words])
    title = f"Which words the codebook holds to be alike, {of}"
    save_both(partial(codebook_figure, cosines, words, title), folder / "codebook")
    np.fill_diagonal(cosines, -np.inf)
    a, b = np.unravel_index(int(cosines.argmax()), cosines.shape)
    alt = f"Cosines between the vectors of {len(words)} words; the most alike are {words[a]} and {words[b]} ({minus(cosines[a, b])})."
    return [{"file": "codebook.svg", "title": title, "alt": alt}]


def minus(value: float) -> str:
    """A signed number of two digits as a person writes it."""
    return f"{value:+.2f}".replace("-", "\u2212")


def with_earlier(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The result with what an earlier decoding of the same weights and part found and this one did not ask for."""
    path = folder / "scores.json"
    if not path.is_file():
        return result
    earlier = read_json(path)
    if any(earlier.get(key) != result[key] for key in ("part", "weights", "trials")):
        return result
    kept = {key: earlier[key] for key in ("explained", "controls") if key in earlier and key not in result}
    drawn = {one["file"] for one in result["pictures"]}
    pictures = [
        one
        for one in earlier.get("pictures", [])
        if one["file"] not in drawn and (folder / one["file"]).is_file()
    ]
    return result | kept | {"pictures": [*result["pictures"], *pictures]}
