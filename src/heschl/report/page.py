"""The page of a run: one HTML file that says what was trained on what, how good it is, and lets one hear it.

Everything comes from the run folder and from the recordings themselves; nothing is computed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heschl.files import read_csv, read_json, read_text, write_text
from heschl.report.align import align_section
from heschl.report.brain import brain_section
from heschl.report.decode import decode_score, decoded_facts, decoding
from heschl.report.disguise import Names
from heschl.report.explained import explained_facts, explanations
from heschl.report.methods import methods
from heschl.report.sounds import heard_groups
from heschl.run import Run, open_run
from heschl.tasks.scores import told
from heschl.types import HeschlError

if TYPE_CHECKING:
    import numpy as np

WORDS = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
}
SAYS = {
    "balanced_accuracy": "the mean over the classes, each counting the same",
    "accuracy": "the share of all {unit}s",
    "macro_f1": "as balanced accuracy, false alarms counted too",
}
NAMED = 12  # labels that the lead names; more are read off the confusion matrix
FULL_ON_PHONE = 16  # a larger confusion matrix is shown on wide screens only


def write_page(
    run: Run | Path | str, part: str = "test", audio: bool = True, pseudonyms: bool = False
) -> Path:
    """Writes RUN/report.html and gives its path.

    Parameters
    ----------
    part: whose scores are shown, a folder under RUN/evaluate; where it is not there, any that is.
    audio: embed recordings. pseudonyms: speakers and folders go by other names, see `heschl.report.disguise`.

    Raises
    ------
    HeschlError: not a run folder, or a file of it is damaged.
    """
    import jinja2

    run = open_run(run)
    template = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    home = Path(__file__).parent
    names = Names(run, pseudonyms)
    facts = page_facts(run, _scored(run, part), names, audio)
    text = names.text(template.from_string(read_text(home / "page.html")).render(facts, css=_css(home)))
    path = run.folder / "report.html"
    write_text(path, text)
    return path


def _scored(run: Run, part: str) -> Path | None:
    folders = sorted(path.parent for path in (run.folder / "evaluate").glob("*/scores.json"))
    return next((folder for folder in folders if folder.name == part), folders[0] if folders else None)


def _css(home: Path) -> Any:
    import markupsafe

    from heschl.figures.style import css

    light, dark = css()
    sheet = read_text(home / "page.css").replace("{{ light }}", light).replace("{{ dark }}", dark)
    return markupsafe.Markup(sheet)


# --- what the page says ------------------------------------------------------------------------------------


def page_facts(
    run: Run, folder: Path | None, names: Names | None = None, audio: bool = True
) -> dict[str, Any]:
    """Everything that the template asks for."""
    from importlib.metadata import version

    import markupsafe

    names, decoded = names or Names(run), decoding(run)
    corpus = run.origin.get("corpus", {})
    held = read_json(folder / "scores.json") if folder else None
    found = explanations(run)
    facts: dict[str, Any] = {
        "version": version("heschl"),
        "name": run.name,
        "folder": str(run.folder),
        "title": _headline(run, held, decoded),
        "lead": _lead(run, held, decoded is not None),
        "synthetic": "",
        "notes": [] if names.pseudonyms else corpus.get("notes", []),
        "pseudonyms": names.pseudonyms,
        "audio": audio,
        "script": markupsafe.Markup(read_text(Path(__file__).with_name("page.js"))),
        "score": None,
        "others": [],
        "confusion": None,
        "speakers": None,
        "heard": [],
        "explained": explained_facts(run, folder, names, audio),
        "brain": brain_section(run, audio, names.pseudonyms),
        "aligned": align_section(run),
        "by": run.split.by,
        "unit": "clip",
        "curves": None,
        "skipped": _skipped(run),
        "recipe": read_text(run.folder / "recipe.yaml"),
        "versions": _versions(run),
        "methods": methods(run, held, found[0].held if found else None, decoded),
        "decoded": None,
        **_repeat(run),
    }
    if (held or {}).get("synthetic") or corpus.get("synthetic"):
        own = [note for note in corpus.get("notes", []) if "machine" in note or "ynthetic" in note]
        facts["synthetic"] = (
            " ".join(own) or "A machine spoke every recording: no score here says anything about people."
        )
        facts["notes"] = [note for note in facts["notes"] if note not in own]
    if str(run.recipe.task.args.get("label")) in ("gender", "sex"):
        facts["notes"] = [
            *facts["notes"],
            "What it names is the apparent sex of a voice, as its corpus labels it: it says nothing about a person.",
        ]
    if run.history and run.recipe.train.epochs != 0:
        from heschl.figures.curves import curves

        monitor = run.recipe.train.monitor
        facts["curves"] = _both("curves", lambda width: curves(run.history, monitor, width))
    if decoded:
        facts["decoded"] = decoded_facts(run, decoded)
        facts["synthetic"], facts["notes"] = "", decoded.get("caveats", [])[:1]
        facts["score"] = decode_score(decoded)
    if held and folder:
        facts |= _score_facts(run, held, folder, names)
        if held["kind"] == "clips":
            facts["heard"] = heard_groups(
                read_csv(folder / "predictions.csv"),
                run.labels,
                audio=audio,
                called=names.speaker,
                without=(facts["explained"] or {}).get("ids", ()),
            )
    return facts


def _headline(run: Run, held: Mapping[str, Any] | None, decoded: Mapping[str, Any] | None) -> str:
    n, task = len(run.labels), _task_words(run)
    if decoded and not held:
        brains = "simulated brains" if decoded["simulated"] else "brain recordings"
        share = 100 * decoded["network"]["top_1"]["value"]
        return f"A network that tells {n} {task} apart in {brains}, right in {share:.0f} of 100 cases"
    if not held:
        return f"A network that tells {n} {task} apart, not scored yet"
    value = _main(held)["balanced_accuracy" if held["kind"] == "clips" else "accuracy"]["value"]
    share = 100 * (value or 0)
    return f"A network that tells {n} {task} apart, right in {share:.0f} of 100 cases"


def _task_words(run: Run) -> str:
    label = str(run.recipe.task.args.get("label") or run.recipe.task.args.get("tier") or "phone")
    return {"gender": "voices by gender", "sex": "voices by sex", "phone": "phones"}.get(
        label, label if label.endswith("s") else label + "s"
    )


def _main(held: Mapping[str, Any]) -> Mapping[str, Any]:
    main: Mapping[str, Any] = held["scores"] if held["kind"] == "clips" else held["scores"]["all"]
    return main


def _lead(run: Run, held: Mapping[str, Any] | None, trials: bool = False) -> str:
    corpus, split = run.origin.get("corpus", {}), run.split
    by = split.by

    def size(ids: Sequence[str]) -> str:
        groups = {split.groups[i] for i in ids if i in split.groups}
        of = "by" if by in ("speaker", "subject") else "in"
        whose = f" {of} {_count(len(groups), by)}" if by != "clip" and groups else ""
        return f"{len(ids):,} {'trials' if trials else 'recordings'}{whose}"

    name = run.recipe.model.use.rsplit(".", 1)[-1]
    parameters = run.origin.get("parameters")
    of = f" of {parameters:,} parameters" if isinstance(parameters, int) else ""
    sentences = [
        f"This {name} network{of} learned from {size(split.train)} of the corpus “{corpus.get('name', run.recipe.corpus.use)}”;"
        f" {size(split.validation)} more chose the moment to stop."
    ]
    if len(run.labels) <= NAMED:
        sentences.append(f"It answers with one of: {', '.join(run.labels)}.")
    if held:
        main = _main(held)
        whose = f" by {_count(main['n_groups'], main['group'])}" if main.get("n_groups") else ""
        strangers = (
            ", none of whom it had heard before"
            if whose and held.get("on") is None and held["part"] != "train"
            else ""
        )
        where = f" in {held['on']}" if held.get("on") else ""
        sentences.append(
            f"What follows was measured on {held['clips']:,} recordings{where}{whose}{strangers}."
        )
    return " ".join(sentences)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def _skipped(run: Run) -> str:
    path = run.folder / "skipped.csv"
    if not path.exists():
        return ""
    n = len(read_csv(path))
    return (
        f"{_count(n, 'recording')} could not be used; skipped.csv in the run folder lists each with its reason."
        if n
        else ""
    )


def _versions(run: Run) -> list[tuple[str, str]]:
    held = run.origin
    rows = [(key, str(value)) for key, value in held.get("versions", {}).items()]
    machine = held.get("machine", {})
    rows += [(key, str(machine[key])) for key in ("system", "processors") if key in machine]
    if held.get("device"):
        rows.append(("device", str(held["device"])))
    rows += [("corpus", str(held.get("corpus", {}).get("fingerprint", "")))] if held.get("corpus") else []
    return [*rows, *((key, str(held[key])) for key in ("start", "stop") if held.get(key))]


def _repeat(run: Run) -> dict[str, str]:
    corpus = run.origin.get("corpus", {})
    licence = (
        f" The recordings: {corpus.get('source', '')} ({corpus['licence']})." if corpus.get("licence") else ""
    )
    done = [name for name in ("evaluate", "explain", "decode") if (run.folder / name).is_dir()] or [
        "evaluate"
    ]
    steps = "".join(f"\nheschl {name} {run.folder}" for name in done)
    return {
        "command": f"heschl train {run.folder / 'recipe.yaml'}{steps}\nheschl report {run.folder}",
        "repeat": f"Seed {run.recipe.seed}; the same recipe on the same machine gives the same weights, bit for bit.{licence}",
    }


# --- the scores --------------------------------------------------------------------------------------------


def _score_facts(run: Run, held: Mapping[str, Any], folder: Path, names: Names) -> dict[str, Any]:
    from heschl.figures.confusion import confusion_figure
    from heschl.figures.speakers import speakers

    main, frames = _main(held), held["kind"] == "frames"
    first = "accuracy" if frames else "balanced_accuracy"
    facts: dict[str, Any] = {
        "score": _score(held, main, first),
        "unit": main["unit"],
        "by": main["group"],
        "others": [],
    }
    labels, matrix = read_confusion(folder / "confusion.csv")
    wide = _both("confusion", lambda width: confusion_figure(matrix, labels, width))
    if len(labels) > FULL_ON_PHONE:
        wide["phone"] = ""
    facts["confusion"] = {**wide, "top": [row for row in held.get("confusions", [])[:8] if row["n"] > 1]}
    rows = read_csv(folder / "per_speaker.csv") if (folder / "per_speaker.csv").exists() else []
    rows = [{**row, "group": names.speaker(row["group"])} for row in rows]
    if len(rows) > 1:
        overall, chance = main["accuracy"]["value"], main["chance"]
        facts["speakers"] = _both(
            "speakers",
            lambda width: speakers(
                rows, overall=overall, chance=chance, by=main["group"], unit=main["unit"], width=width
            ),
        )
    if held.get("unknown_labels"):
        unknown = ", ".join(f"{name} ({n})" for name, n in held["unknown_labels"].items())
        facts["others"].append(f"Not scored, as the network does not know these labels: {unknown}.")
    if frames:
        if "without_silence" in held["scores"]:
            quiet = held["scores"]["without_silence"]
            facts["others"].append(
                f"Without silence: accuracy {told(quiet['accuracy'])}, balanced {told(quiet['balanced_accuracy'])}."
            )
        for name, what in (("segments", "Whole segments, both ends"), ("boundaries", "Boundaries")):
            found = held["scores"][name]
            if found["f1"] is not None:
                facts["others"].append(
                    f"{what} within {1000 * found['tolerance']:.0f} ms: F1 {found['f1']:.2f} "
                    f"(precision {found['precision'] or 0:.2f}, recall {found['recall'] or 0:.2f})."
                )
    return facts


def _score(held: Mapping[str, Any], main: Mapping[str, Any], first: str) -> dict[str, Any]:
    score = main[first]
    value, whole = 100 * (score["value"] or 0.0), told(score)
    bound = score["low"] is not None
    groups = (
        _count(main["n_groups"], main["group"]) if main.get("n_groups") else "an unknown number of speakers"
    )
    rows = [
        {
            "name": name[0].upper() + name[1:],
            "value": told(main[key]),
            "says": SAYS[key].format(unit=main["unit"]),
        }
        for key, name in WORDS.items()
        if key != first  # it stands large above
    ]
    for k, share in main.get("top_k", {}).items():
        rows.append(
            {
                "name": f"Among its first {k} answers",
                "value": told({"value": share}),
                "says": "the right one is there",
            }
        )
    if main.get("calibration_error") is not None:
        error = told({"value": main["calibration_error"]})
        rows.append(
            {
                "name": "Calibration error",
                "value": error,
                "says": "how far its confidence lies from its accuracy",
            }
        )
    sentence = f"Guessing would reach {100 * main['chance']:.3g}\u202f%"
    if main["majority"] > main["chance"] + 0.01:
        sentence += f", and always giving the commonest answer {100 * main['majority']:.3g}\u202f% accuracy"
    sentence += "."
    if bound and not main["interval_note"]:
        sentence += f" The interval says where the score would lie for other {main['group']}s like these, 95 times in 100."
    note = main["interval_note"]
    synthetic = " of synthetic speech" if held.get("synthetic") else ""
    return {
        "question": _question(held, main),
        "value": whole.split(" [", 1)[0],
        "what": f"{WORDS[first]}{' [' + whole.split(' [', 1)[1] if bound else ''}, {main['n']:,} {main['unit']}s{synthetic}, {groups}",
        "alt": f"{WORDS[first]} {whole}, chance {100 * main['chance']:.3g} %",
        "place": value,
        "low": 100 * score["low"] if bound else None,
        "high": 100 * score["high"] if bound else None,
        "chance": 100 * main["chance"],
        "sentence": sentence,
        "caveat": f"{note[0].upper()}{note[1:]}." if note else "",
        "rows": rows,
    }


def _question(held: Mapping[str, Any], main: Mapping[str, Any]) -> str:
    if held.get("on"):
        return "How good is it, on other recordings?"
    if held["part"] == "train":
        return "How well does it know what it was trained on?"
    return (
        f"How good is it, on {main['group']}s it has never heard?"
        if main.get("n_groups")
        else "How good is it?"
    )


def read_confusion(path: Path) -> tuple[list[str], np.ndarray]:
    """Labels and counts (said, answered) of a confusion.csv."""
    import numpy as np

    rows = read_csv(path)
    labels = [key for key in rows[0] if key != "said"] if rows else []
    try:
        return labels, np.array([[int(row[label]) for label in labels] for row in rows])
    except (KeyError, ValueError):
        raise HeschlError(f"{path} is not a table of counts: run `heschl evaluate` again") from None


def _both(name: str, draw: Callable[[float], Any]) -> dict[str, Any]:
    """A figure at two widths, for a desk and for a phone, with its title apart."""
    import markupsafe

    from heschl.figures.style import PHONE, TEXT, inline

    figure, narrow = draw(TEXT), draw(PHONE)
    title = getattr(figure, "_suptitle", None)
    said = title.get_text().replace("\n", " ") if title is not None else name
    return {
        "title": said,
        "wide": markupsafe.Markup(inline(figure, f"{name}-w", said)),
        "phone": markupsafe.Markup(inline(narrow, f"{name}-p", said)),
    }
