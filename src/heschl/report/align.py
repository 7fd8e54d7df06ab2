"""Whether recordings agree with the network, on a run's page: what `heschl align` measured and drew last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heschl.files import read_json, read_text
from heschl.run import Run

_TEXT = """<section id="aligned"><h2>Do recordings agree?</h2>
<p class="caveat"><b>{{ status[0]|upper }}{{ status[1:] }}.</b> {{ meaning }}</p>
<p>{{ envelope }}{% if ceiling %} {{ ceiling }}{% endif %}</p>
{% if rows %}<table><tr><th>Layer</th><th class="n">Acoustics alone</th><th class="n">Shared</th><th class="n">Layer alone</th><th>Beyond acoustics and untrained networks</th></tr>
{% for row in rows %}<tr><td>{{ row.name }}</td>{% for value in row.parts %}<td class="n">{{ ('%.2f' % value).replace('-', '−') }}&#8239;%</td>{% endfor %}<td>{{ row.claimed }}</td></tr>{% endfor %}</table>
<p class="soft small">Share of the variance of stretches that were not used in fitting, mean over subjects and places.</p>{% endif %}
<p class="soft small phone">The pictures are shown on a wider screen.</p>
{% for picture in pictures %}<figure class="wide desk">{{ picture }}</figure>{% endfor %}
{% if notes %}<details><summary>What must be said of it</summary><ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>{% if talk %}
<div class="desk"><p>What is read in one area (a row) while another (a column) is active, as a share of the active one's own:</p>
<table class="small"><tr><th></th>{% for name in talk.names %}<th class="n">{{ name }}</th>{% endfor %}</tr>
{% for name, row in talk.rows %}<tr><th>{{ name }}</th>{% for value in row %}<td class="n">{{ '%.2f' % value }}</td>{% endfor %}</tr>{% endfor %}</table></div>{% endif %}</details>{% endif %}
</section>"""
_KINDS = {"eeg": "EEG", "meg": "MEG", "ecog": "ECoG", "seeg": "sEEG"}
_MEANING = {
    "fitted": "Regression on recordings says where a layer predicts them; that is no proof that a brain computes as it does.",
    "fitted to simulated data": "The recordings were made by a program, so this tells how well the method works, and nothing about brains.",
}


def align_section(run: Run, pseudonyms: bool = False) -> Any:
    """The section as markup, of the alignment that was made last; empty where the run has none.

    pseudonyms: recordings and subjects are not called by their names.
    """
    import jinja2
    import markupsafe

    made = sorted((run.folder / "align").glob("*/align.json"), key=lambda path: path.stat().st_mtime)
    found = [(path.parent, held) for path in made if run.current(held := read_json(path))]
    if not found:
        return ""
    folder, held = found[-1]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    return markupsafe.Markup(
        environment.from_string(_TEXT).render(_facts(folder, _disguised(held, pseudonyms)))
    )


def _disguised(held: dict[str, Any], pseudonyms: bool) -> dict[str, Any]:
    if not pseudonyms:
        return held
    people = {str(name): f"subject {k}" for k, name in enumerate(held["subjects"], 1)}
    names = "|".join(re.escape(name) for name in sorted(people, key=len, reverse=True))

    def hidden(note: str) -> str:  # of one that is left out there is no name to tell it by
        note = re.sub(r"^subject .*? is left out: .*", "a subject is left out", note)
        return re.sub(rf"(?<![\w.])(?:subject )?({names})(?!\w)", lambda found: people[found[1]], note)

    return {**held, "recordings": "The recordings", "notes": [hidden(note) for note in held["notes"]]}


def _facts(folder: Path, held: Mapping[str, Any]) -> dict[str, Any]:
    import markupsafe

    from heschl.figures.style import on_page

    found, n = held["envelope"], len(held["subjects"])
    minutes = sum(held["minutes"].values())
    tops, areas = list(held["ceiling"].values()), held.get("areas", {})
    return {
        "status": held["status"],
        "meaning": _MEANING[held["status"]],
        "envelope": f"{held['recordings']}: {n} {'subject' if n == 1 else 'subjects'}, {minutes:.1f} minutes of {_KINDS[held['kind']]}. "
        f"The sound's envelope alone is followed in {found['subjects_with_a_response']}: r {found['best_r_mean']:.3f} at the "
        f"best channel, chance {found['chance']:.3f}.",
        "ceiling": ""
        if not tops
        else f"All acoustics reach {sum(one['r_acoustics'] for one in tops) / len(tops):.3f} where they predict best, of at "
        f"most {sum(one['r_ceiling'] for one in tops) / len(tops):.3f} that any model could: {tops[0]['repeats']} hearings of "
        "the same sound have no more in common.",
        "rows": [
            {
                "name": name,
                "parts": [100 * parts[what] for what in ("acoustics_alone", "shared", "layer_alone")],
                "claimed": _claimed(sum(held["claims"][name].values()), sum(held.get("places", {}).values())),
            }
            for name, parts in held.get("variance", {}).items()
        ],
        "pictures": [
            markupsafe.Markup(
                on_page(read_text(folder / one["file"]), "align-" + Path(one["file"]).stem, one["alt"])
            )
            for one in held["pictures"]
        ],
        "talk": {"names": areas["names"], "rows": list(zip(areas["names"], areas["cross_talk"]))}
        if "cross_talk" in areas
        else None,
        "notes": [*held["notes"], *held.get("group_notes", [])],
    }


def _claimed(places: int, of: int) -> str:
    """Of all subjects together; an earlier heschl did not write of how many."""
    return f"at {places}{f' of {of}' if of else ''} places" if places else "nowhere"
