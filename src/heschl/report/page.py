"""The page of a run: one HTML file that says what was trained on what, how good it is, and lets one hear it.

Everything comes from the run folder and from the recordings themselves; nothing is computed anew.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heschl.files import read_csv, read_json, read_text, write_text
from heschl.report.align import align_section
from heschl.report.brain import brain_section
from heschl.report.card import card_of
from heschl.report.decode import UNITS, decode_score, decoded_facts, decoding
from heschl.report.disguise import Names
from heschl.report.explained import explained_facts, explanations, outdated
from heschl.report.frames import heard_lines
from heschl.report.methods import methods
from heschl.report.pictures import both
from heschl.report.scores import apart, main_scores, match_depth, score_facts
from heschl.report.sounds import heard_groups
from heschl.run import Run, open_run
from heschl.types import HeschlError
from heschl.wording import counted

NAMED = 12  # labels that the lead names; more are read off the confusion matrix


def write_page(
    run: Run | Path | str, part: str = "test", audio: bool = True, pseudonyms: bool = False
) -> Path:
    """Writes RUN/report.html and gives its path.

    Parameters
    ----------
    part: whose scores are shown, a folder under RUN/evaluate; where the test part was not scored, any that is there.
    audio: embed recordings. pseudonyms: speakers and folders go by other names, see `heschl.report.disguise`.

    Raises
    ------
    HeschlError: not a run folder, a part that was not scored, or a file of it is damaged.
    """
    import jinja2

    run = open_run(run)
    if (
        pseudonyms
    ):  # by its whole path, which can be told from other words: a folder may be called as a word is, or "."
        run = open_run(run.folder.absolute(), trusted_only=run._trusted_only)
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
    known = ", ".join(folder.name for folder in folders) or "none yet"
    if part != "test" and part not in {folder.name for folder in folders}:
        raise HeschlError(
            f"{run} has no scores of the part '{part}' (there are: {known}): score it by heschl evaluate, or name another"
        )
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

    names, decoded, card = names or Names(run), decoding(run), card_of(run)
    corpus = run.origin.get("corpus", {})
    held = read_json(folder / "scores.json") if folder else None
    stale = bool(held) and not run.current(held or {})
    if stale:
        folder, held = None, None
    found = explanations(run)
    facts: dict[str, Any] = {
        "version": version("heschl"),
        "name": run.name,
        "folder": str(run.folder),
        "typed": shlex.quote(str(run.folder)),
        "title": _headline(run, held, decoded, bool(card)),
        "lead": _lead(run, held, decoded is not None, card, names),
        "synthetic": "",
        "carded": card,
        "tested": bool(run.split.test),
        "notes": [card["Limits"]] if card else [] if names.pseudonyms else corpus.get("notes", []),
        "pseudonyms": names.pseudonyms,
        "audio": audio,
        "script": markupsafe.Markup(read_text(Path(__file__).with_name("page.js"))),
        "score": None,
        "others": [],
        "confusion": None,
        "speakers": None,
        "heard": [],
        "lines": heard_lines(folder, names, audio) if folder and (held or {}).get("kind") == "frames" else [],
        "explained": explained_facts(run, folder, names, audio),
        "brain": brain_section(run, audio, names.pseudonyms),
        "aligned": align_section(run, names.pseudonyms),
        "by": run.split.by,
        "unit": "clip",
        "curves": None,
        "skipped": _skipped(run),
        "recipe": names.recipe(run.folder / "recipe.yaml"),
        "versions": _versions(run),
        "methods": methods(run, held, found[0].held if found else None, decoded, names),
        "decoded": None,
        **_repeat(run, names),
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
        facts["curves"] = both("curves", lambda width: curves(run.history, monitor, width))
    if decoded:
        facts["decoded"] = decoded_facts(run, decoded)
        facts["synthetic"], facts["notes"] = "", decoded.get("caveats", [])[:1]
        facts["score"] = decode_score(decoded)
    if stale:
        facts["notes"] = [
            *facts["notes"],
            f"It was scored before its training went on; those scores are of other weights, and heschl evaluate {shlex.quote(str(run.folder))} "
            "makes new ones.",
        ]
    if before := outdated(run):
        facts["notes"] = [
            *facts["notes"],
            f"What {' and '.join(before)} told of it before its training went on is of other weights, and not shown.",
        ]
    if held and folder:
        facts |= score_facts(held, folder, names)
        if held["kind"] == "clips" and "retrieval" not in held:
            facts["heard"] = heard_groups(
                read_csv(folder / "predictions.csv"),
                run.labels,
                audio=audio,
                called=names.speaker,
                without=(facts["explained"] or {}).get("ids", ()),
            )
    return facts


UNEVEN = 0.05  # that far apart, accuracy and balanced accuracy are not one number in words


def _headline(
    run: Run, held: Mapping[str, Any] | None, decoded: Mapping[str, Any] | None, comes_along: bool = False
) -> str:
    n, what = len(run.labels), f"A network that tells {_task_words(run)}"
    if decoded:
        brains = "simulated brains" if decoded["simulated"] else "brain recordings"
        share = 100 * decoded["network"]["top_1"]["value"]
        told = (
            _task_words(run) if decoded.get("unit", "word") == "word" else f"{n:,} {UNITS['stretch']} apart"
        )
        if decoded["network"].get("p", 0.0) >= 0.05:
            return f"A network that cannot tell {told} in {brains}: right in {share:.0f} of 100 cases, as guessing is"
        if not held:
            return f"A network that tells {told} in {brains}, right in {share:.0f} of 100 cases"
    if not held:
        return what if comes_along else f"{what}, not scored yet"
    if "retrieval" in held:
        found = held["retrieval"]
        k = match_depth(found)
        among = "at its first guess" if k == 1 else f"among its first {k}"
        share = 100 * found[f"top_{k}"]["value"]
        return f"A network that finds which of {n:,} stretches of speech was heard, {among} in {share:.0f} of 100 cases"
    scores = main_scores(held)
    value = scores["balanced_accuracy" if held["kind"] == "clips" else "accuracy"]["value"] or 0
    uneven = abs(value - (scores["accuracy"]["value"] or 0)) > UNEVEN
    return (
        f"{what}, right in {100 * value:.0f} of 100 cases{', if each were said as often' if uneven else ''}"
    )


def _task_words(run: Run) -> str:
    """What is told apart: “thirty words apart”, “voices apart by sex”."""
    label = str(run.recipe.task.args.get("label") or run.recipe.task.args.get("tier") or "phone")
    if label in ("gender", "sex"):
        return f"voices apart by {label}"
    return f"{len(run.labels):,} {label if label.endswith('s') else label + 's'} apart"


def _lead(
    run: Run,
    held: Mapping[str, Any] | None,
    trials: bool = False,
    card: Mapping[str, str] | None = None,
    names: Names | None = None,
) -> str:
    corpus, split, names = run.origin.get("corpus", {}), run.split, names or Names(run)
    by = split.by

    def size(ids: Sequence[str]) -> str:
        groups = {split.groups[i] for i in ids if i in split.groups}
        of = "by" if by in ("speaker", "subject") else "in"
        whose = f" {of} {counted(len(groups), by)}" if by != "clip" and groups else ""
        return f"{len(ids):,} {'trials' if trials else 'recordings'}{whose}"

    name = run.recipe.model.use.rsplit(".", 1)[-1]
    parameters = run.origin.get("parameters")
    of = f" of {parameters:,} parameters" if isinstance(parameters, int) else ""
    heard = f"learned from {size(split.train)} of the corpus “{names.corpus(corpus.get('name', run.recipe.corpus.use))}”"
    if card:
        heard = f"comes with heschl. It heard {card['It heard'].removesuffix('.')}"
    elif split.validation:
        heard += f"; {size(split.validation)} more chose the moment to stop"
    sentences = [f"This {name} network{of} {heard}."]
    if len(run.labels) <= NAMED and "retrieval" not in (held or {}):
        sentences.append(f"It answers with one of: {', '.join(run.labels)}.")
    if held:
        main = main_scores(held)
        kept = apart(held, main)
        of = "by" if kept["by"] in ("speaker", "subject") else "in"
        whose = f" {of} {counted(kept['n'], kept['by'])}" if kept["n"] else ""
        strangers = (
            f", {'none of whom it had heard' if of == 'by' else 'none of which it had met'} before"
            if whose and held.get("on") is None and held["part"] != "train"
            else ""
        )
        where = f" in {names.folder(held['on'])}" if held.get("on") else ""
        sentences.append(
            f"What follows was measured on {held['clips']:,} {'trials' if trials else 'recordings'}{where}{whose}{strangers}."
        )
    return " ".join(sentences)


def _skipped(run: Run) -> str:
    path = run.folder / "skipped.csv"
    if not path.exists():
        return ""
    n = len(read_csv(path))
    return (
        f"{n:,} {'thing was' if n == 1 else 'things were'} left out; skipped.csv in the run folder lists each with its reason."
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


def _how_explained(run: Run) -> str:
    """Options of `heschl explain` that make what the page shows first."""
    found = explanations(run)
    if not found:
        return ""
    held = found[0].held
    method = held["method"].replace("lrp:", "lrp --preset ")
    options = [f"--method {method}"]
    if held["target"] not in ("predicted", None):
        options.append(f"--target {shlex.quote(held['target'])}")
    if held.get("part") not in (None, "test"):
        options.append(f"--part {held['part']}")
    return "".join(f" {one}" for one in options)


def _repeat(run: Run, names: Names) -> dict[str, str]:
    corpus, folder = run.origin.get("corpus", {}), shlex.quote(str(run.folder))
    licence, source = corpus.get("licence", ""), names.source(corpus.get("source", ""))
    if licence.startswith("that of"):  # heschl was told none
        licence = f" The recordings are under the licence of their maker{f' ({source})' * (' ' in source)}."
    elif licence:
        licence = f" The recordings: {source} ({licence})." if source else f" The recordings: {licence}."
    done = [name for name in ("evaluate", "explain", "decode") if (run.folder / name).is_dir()] or [
        "evaluate"
    ]
    if not run.split.test:
        done = []  # recordings that came from elsewhere
    scored = run.folder / "decode" / "scores.json"
    asked = read_json(scored) if scored.is_file() else {}
    more = "".join(
        f" --{flag}" for flag, key in (("explain", "explained"), ("controls", "controls")) if key in asked
    )
    asked_of = {"decode": more, "explain": _how_explained(run)}
    steps = "".join(f"\nheschl {name} {folder}{asked_of.get(name, '')}" for name in done)
    recipe = shlex.quote(str(run.folder / "recipe.yaml"))
    return {
        "command": f"heschl train {recipe}{steps}\nheschl report {folder}",
        "repeat": f"Seed {run.recipe.seed}; the same recipe on the same machine gives the same weights, bit for bit.{licence}",
    }
