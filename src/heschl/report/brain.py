"""The brain's part of a run's page: where a table puts the layers, what they do while a clip plays, what sensors see.

Drawn from what `heschl place` wrote (`heschl.steps.place_page`); here it is put together.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heschl.files import read_audio, read_json, read_text
from heschl.report.sounds import sound
from heschl.run import Run


def brain_section(run: Run, audio: bool = True, pseudonyms: bool = False) -> Any:
    """The section as markup, of the placement that was made last; empty where the run has none.

    audio: embed the recording. pseudonyms: a recording that is called by its file's name is not.
    """
    import jinja2
    import markupsafe

    from heschl.figures.style import escaped

    made = sorted((run.folder / "place").glob("*/summary.json"), key=lambda path: path.stat().st_mtime)
    found = [(path.parent, held) for path in made if run.current(held := read_json(path))]
    if not found:
        return ""
    folder, held = found[-1]
    template = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    text = read_text(Path(__file__).with_name("brain.html"))
    facts = brain_facts(folder, held)
    if not audio:
        facts["sound"] = ""
    made_text = template.from_string(text).render(facts)
    if pseudonyms and not held["heard"].startswith("“"):
        forms = {held["heard"], str(markupsafe.escape(held["heard"])), escaped(held["heard"])}
        any_form = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        made_text = re.sub(f"hears(:?) (?:{any_form})", r"hears\1 a recording", made_text)
    return markupsafe.Markup(made_text)


def brain_facts(folder: Path, held: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the template asks for."""
    import markupsafe

    from heschl.figures.brain import NAMES, area_hues, stops
    from heschl.figures.style import COLOURS, short
    from heschl.steps.place_page import page_parts

    parts = page_parts(folder)
    frames, seen = parts["frames"], parts["seen"]
    looks = [_look(folder / "page", k, one, NAMES[k]) for k, one in enumerate(frames["looks"])]
    hues = {light: name for name, (light, _) in COLOURS.items()}
    own = area_hues(held["areas"])
    return {
        "typed": shlex.quote(str(folder.parent.parent)),
        "caveat": f"A table puts this network's layers at these areas; no recording of a brain does. {_which(held)}",
        "lead": f"What the layers do while the network hears {held['heard']}: play it, or move the slider.",
        "heard": held["heard"],
        "looks": looks,
        "first": frames["strongest"],
        "times": frames["times"],
        "times_json": markupsafe.Markup(json.dumps(frames["times"])),
        "parts_json": markupsafe.Markup(json.dumps([look["moments"] for look in looks if look["moments"]])),
        "limit": short(frames["limit"]),
        "unit": frames["unit"],
        "colours": markupsafe.Markup(", ".join(stops())),
        "sound": _sound(folder, held),
        "seen": None
        if seen is None
        else {
            "title": seen["title"],
            "wide": _markup(folder / "page" / f"{seen['name']}.wide.html"),
            "phone": _markup(folder / "page" / f"{seen['name']}.phone.html"),
        },
        "inverse": _inverse(held),
        "surface": _markup(folder / "page" / "surface.html"),
        "moment": f"{held['moment_nAm']:g}",
        "areas": [
            {
                "name": name,
                "hue": hues[own[name]],
                "layers": ", ".join(one["layers"]),
                "centre": ", ".join(f"{v:g}" for v in one["centre_mm"]) + f" ({one['space']})",
                "radius": f"{one['radius_mm']:g} mm",
                "note": one["note"],
                "source": one["source"],
            }
            for name, one in held["areas"].items()
        ],
    }


def _which(held: Mapping[str, Any]) -> str:
    """Where the layers stand, in a sentence."""
    parts = [f"{', '.join(one['layers'])} at {name}" for name, one in held["areas"].items()]
    if all(one["layers"] == [name] for name, one in held["areas"].items()):
        return f"The network's author named them {', '.join(held['areas'])}, and that is all that puts them there."
    return f"Depth alone decides: {'; '.join(parts)}."


def _look(folder: Path, k: int, one: Mapping[str, Any], name: str) -> dict[str, Any]:
    left, top, wide, _ = one["box"]
    return {
        "name": name,
        "still": _picture(folder / f"{k}.webp"),
        "height": one["shape"][0],
        "width": one["shape"][1],
        "left": round(100 * left, 3),
        "top": round(100 * top, 3),
        "wide": round(100 * wide, 3),
        "moments": [_picture(folder / f"{k}-{n:03d}.webp") for n in range(one["moments"])],
    }


def _picture(path: Path) -> str:
    return "data:image/webp;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _sound(folder: Path, held: Mapping[str, Any]) -> str:
    return sound(*read_audio(folder / held["sound"])) if held["sound"] else ""


def _markup(path: Path) -> Any:
    import markupsafe

    return markupsafe.Markup(read_text(path)) if path.exists() else ""


def _inverse(held: Mapping[str, Any]) -> dict[str, Any] | None:
    for one in held["sensors"].values():
        if "inverse" in one:
            found = one["inverse"]
            talk = found["cross_talk"]
            joined = [" and ".join(group) for group in talk["groups"] if len(group) > 1]
            return {
                "method": found["method"],
                "status": found["status"],
                "names": talk["names"],
                "rows": [{"name": name, "read": row} for name, row in zip(talk["names"], talk["matrix"])],
                "joined": "; ".join(joined),
            }
    return None
