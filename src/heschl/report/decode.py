"""The decoding of brains on a run's page: scores beside a linear decoder and shuffled words, and its pictures.

All of it was measured and drawn by `heschl decode`; see `heschl.steps.decode` for the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heschl.files import read_json, read_text
from heschl.run import Run
from heschl.tasks.scores import told

UNITS = {"word": "words", "stretch": "stretches of speech"}


def decoding(run: Run) -> dict[str, Any] | None:
    """What RUN/decode/scores.json holds; None where nothing was decoded by these weights."""
    path = run.folder / "decode" / "scores.json"
    held: dict[str, Any] | None = read_json(path) if path.exists() else None
    return held if held and run.current(held) else None


def decode_score(held: Mapping[str, Any]) -> dict[str, Any]:
    """The network's score, as the page's first section shows one."""
    top, whole = held["network"]["top_1"], told(held["network"]["top_1"])
    brains = "simulated listeners" if held["simulated"] else "subjects"
    p = held["network"].get("p")
    trials = (
        f"{held['trials']:,} trials of {held['subjects']} {brains if held['subjects'] != 1 else brains[:-1]}"
    )
    unit = UNITS[held.get("unit", "word")]
    return {
        "question": f"Which of {held['words']:,} {unit} was it?",
        "value": whole.split(" [", 1)[0],
        "what": f"right at once{' [' + whole.split(' [', 1)[1] if '[' in whole else ''}, {trials}, one out of {held['words']:,}",
        "alt": f"right at once {whole}, chance {100 * top['chance']:.3g}\u202f%",
        "place": 100 * top["value"],
        "low": None if top.get("low") is None else 100 * top["low"],
        "high": None if top.get("high") is None else 100 * top["high"],
        "chance": 100 * top["chance"],
        "sentence": f"Guessing would reach {100 * top['chance']:.3g}\u202f%."
        + (
            f" Against words shuffled within blocks, p = {p:.2g} ({held['network']['permutations']:,} draws)."
            if p is not None
            else ""
        )
        + f" The interval is {held['interval']}.",
        "caveat": "",
        "rows": [],
    }


def decoded_facts(run: Run, held: Mapping[str, Any]) -> dict[str, Any]:
    """The decoders side by side, what must be said of them, and the pictures in their order."""
    import markupsafe

    from heschl.figures.style import on_page

    folder, rows = run.folder / "decode", []
    shuffled = held.get("shuffled", {})
    for name, scores in (
        ("This network", held["network"]),
        ("A linear decoder", held["linear"]),
        ("This network, shuffled", shuffled.get("network")),
        ("A linear decoder, shuffled", shuffled.get("linear")),
    ):
        if scores:
            five = scores.get("top_5")
            rows.append(
                {"name": name, "first": told(scores["top_1"]), "five": told(five) if five else "–", "p": scores.get("p")}
            )  # fmt: skip

    def drawn(name: str, alt: str) -> Any:
        path = folder / f"{name}.svg"
        return markupsafe.Markup(on_page(read_text(path), name, alt)) if path.exists() else ""

    pictures = [
        {"svg": drawn(name, one["alt"]), "phone": drawn(f"{name}-phone", one["alt"]), "caption": one["alt"]}
        for one in held.get("pictures", [])
        if (folder / one["file"]).exists() and (name := Path(one["file"]).stem)
    ]
    return {
        "rows": rows,
        "pictures": pictures,
        "caveats": held.get("caveats", [])[1:],
        "explained": "explained" in held,
        "controlled": "controls" in held,
    }
