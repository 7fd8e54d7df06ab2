"""Commands that make a run or read one: demo, train, crossval, evaluate, predict, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from heschl.cli_data import Json, Overrides, RecipeName, Strict
from heschl.cli_talk import border, give, next_line, progress, say, show_table
from heschl.wording import counted

Runs = Annotated[Path, typer.Option("--runs", help="The folder that holds the run folders.")]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, or a model of `heschl models`.")
]
DEMO = "kws-small"
DEMO_CLIPS = 4  # that the demo explains


@border
def demo(
    runs: Runs = Path("runs"),
    recipe: Annotated[str, typer.Option("--recipe", hidden=True)] = DEMO,
    json: Json = False,
) -> None:
    """Trains a small network on the (synthetic) words that come along, scores and explains it, places it, writes a page.

    Example: heschl demo
    """
    from heschl.report.page import write_page
    from heschl.training.fit import train as trained

    say("1 of 5: training a small network on synthetic words that come with heschl", json_wanted=json)
    run = trained(recipe, {}, runs=runs)
    say("2 of 5: scoring it on speakers that it has never heard", json_wanted=json)
    held = _evaluated(run)
    say(_sentence(held), json_wanted=json)
    say("3 of 5: asking what it relied on, in a few of them", json_wanted=json)
    told = _explained(run)
    say("4 of 5: laying its layers in a brain, by a table (illustrative)", json_wanted=json)
    _placed(run, told, json)
    say("5 of 5: writing the page", json_wanted=json)
    page = write_page(run)
    if json:
        give(
            {
                "run": str(run.folder),
                "page": str(page.resolve()),
                "scores": held["scores"],
                "synthetic": held["synthetic"],
            }
        )
        return
    say(f"Open this page in a browser: {page.resolve()}")
    say(next_line("heschl", "recipes"))


@border
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Trains a network. The same recipe goes on where it stopped; a finished one is not trained again.

    Example: heschl train kws-small train.epochs=3 --runs runs
    """
    from heschl.recipe import parse_overrides
    from heschl.training.fit import rank
    from heschl.training.fit import train as trained

    run = trained(recipe, parse_overrides(overrides or []), runs=runs, strict=strict)
    if rank() != 0:  # of several processes, one speaks
        return
    if json:
        give({"run": str(run.folder), "name": run.name, "finished": run.finished, "history": run.history})
        return
    say(f"The run is {run.folder}")
    part = _scored(run)
    if part is None:
        say(next_line("heschl", "report", run.folder))
    else:
        say(next_line("heschl", "evaluate", run.folder, *(["--part", part] if part != "test" else [])))


def _scored(run: Any) -> str | None:
    """The part to score: test or, where it has nobody or no labels (HW1P2's), validation; None where that has none either."""
    clips = {one: len(getattr(run.split, one)) for one in ("test", "validation")}
    clips |= {one: found["clips"] for one, found in run.origin.get("parts", {}).items() if one in clips}
    return next((one for one, number in clips.items() if number), None)


@border
def crossval(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes on this machine.")] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask", help="A dask scheduler (tcp://host:8786), or a YAML file of jobs for a queue."
        ),
    ] = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Trains and scores every fold of a recipe, and tells mean and standard deviation; finished folds are kept.

    Example: heschl crossval phonemes-kws corpus.root=FOLDER --workers 2
    """
    from heschl.recipe import parse_overrides
    from heschl.steps.crossval import crossval as crossed
    from heschl.tasks.scores import told as in_words
    from heschl.training.fit import train as trained

    with progress("folds", "folds") as told:
        result = crossed(
            recipe,
            parse_overrides(overrides or []),
            train=trained,
            runs=runs,
            workers=workers,
            dask=dask,
            strict=strict,
            progress=told,
        )
    if json:
        give(result)
        return
    groups = {} if result["group"] == "clip" else {"n_groups": f"{result['group']}s"}
    scores = {"balanced_accuracy": "balanced", "accuracy": "accuracy"}
    names = {"fold": "fold", "clips": "clips", **groups, **scores}
    show_table(result["folds"], names)
    for name in ("balanced_accuracy", "accuracy", "macro_f1"):
        sd = result[name]["sd"]
        spread = (
            "" if sd is None else f" ± {100 * sd:.1f} (standard deviation over {result[name]['n']} folds)"
        )
        say(f"{name.replace('_', ' ')}: {100 * result[name]['mean']:.1f} %{spread}")
    if "pooled" in result:
        together = result["pooled"]
        over = together["interval_note"] or f"interval over {together['interval_over']}s"
        say(
            f"all folds' answers together: {in_words(together['balanced_accuracy'])} balanced, "
            f"{together['n']} clips, 95 % {over}"
        )
    made_up = " The brains are simulated." if result.get("brains") else " The speech is synthetic."
    say(f"Guessing would reach {100 * result['chance']:.3g} %.{made_up * result['synthetic']}")
    say(f"The result is in {result['folder']}")
    say(next_line("heschl", "report", result["folds"][0]["run"]))


@border
def evaluate(
    run: RunFolder,
    part: Annotated[str, typer.Option("--part", help="test, validation or train.")] = "test",
    on: Annotated[
        Path | None, typer.Option("--on", help="Another folder of the same layout: all of it.")
    ] = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Scores a run on its test part, or on another folder: with intervals over speakers, chance level and tables.

    Example: heschl evaluate runs/kws-small-0123456789 --part validation
    """
    held = _evaluated(run, part, on, strict)
    if json:
        give(held)
        return
    say(_sentence(held))
    for name, n in held["unknown_labels"].items():
        say(f"  not scored, as the network does not know it: {name} ({n})")
    for what, n in held["counts"].items():
        if n:
            say(f"  {counted(n, 'clip')} {what}")
    if held["skipped"]:
        say(f"  {counted(held['skipped'], 'clip')} could not be used: skipped.csv says why")
    say(f"Tables and pictures are in {held['folder']}")
    scored = Path(held["folder"]).name
    say(next_line("heschl", "report", run, *(["--part", scored] if scored != "test" else [])))


def _explained(run: Any) -> str:
    """Explains the few clips that tell most, of a scored run; gives the first of them."""
    from heschl.files import read_csv
    from heschl.steps.explain import explain_run
    from heschl.steps.telling import telling

    rows = read_csv(run.folder / "evaluate" / "test" / "predictions.csv")
    if "said" in rows[0]:
        chosen = [row["id"] for _, group in telling(rows, 2) for row in group][:DEMO_CLIPS]
    else:
        chosen = list(dict.fromkeys(row["id"] for row in rows))[: DEMO_CLIPS // 2]
    with progress("explaining", "clips and pictures") as told:
        explain_run(run, clips=chosen, progress=told)
    return str(chosen[0])


def _placed(run: Any, clip: str, json: bool) -> None:
    """Places one clip; without mne, says so in a line."""
    from heschl.steps.place import place_run
    from heschl.types import HeschlError

    try:
        with progress("placing", "clips") as told:
            place_run(run, [clip], name="demo", progress=told)
    except HeschlError as error:
        say(f"  left out: {error}", json_wanted=json)


def _evaluated(run: Any, part: str = "test", on: Path | None = None, strict: bool = False) -> dict[str, Any]:
    from heschl.steps.evaluate import evaluate as scored

    with progress("scoring", "clips") as told:
        return scored(run, part, on, strict, progress=told)


def _sentence(held: dict[str, Any]) -> str:
    """The scores as lines for a person."""
    from heschl.tasks.scores import loose, told

    main = held["scores"] if held["kind"] == "clips" else held["scores"]["all"]
    speech = " of synthetic speech" if held["synthetic"] else ""
    if held.get("brains"):
        speech = " of simulated brains" if held["synthetic"] else ""
    groups = f", {counted(main['n_groups'], main['group'])}" if main["n_groups"] else ""
    lines = [
        f"{held['corpus']}, {held['part']}: {counted(main['n'], main['unit'])}{speech}{groups}, {main['classes']} classes"
    ]
    if "retrieval" in held:
        return "\n".join([lines[0].removesuffix(" classes") + " stretches of speech", *_matched(held)])
    names = {"balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "macro_f1": "macro F1"}
    lines += [f"  {name:<18} {told(main[key])}" for key, name in names.items()]
    if held["kind"] == "frames":
        if "without_silence" in held["scores"]:
            quiet = held["scores"]["without_silence"]
            lines.append(
                f"  {'without silence':<18} {told(quiet['accuracy'])} (balanced {told(quiet['balanced_accuracy'])})"
            )
        found = held["scores"]["segments"]
        if found["f1"] is not None:
            lines.append(f"  {'segment F1':<18} {found['f1']:.2f} at {1000 * found['tolerance']:.0f} ms")
    lines.append(
        f"  {'guessing':<18} {100 * main['chance']:.3g} %, always the commonest {100 * main['majority']:.3g} %"
    )
    lines.append(_interval(held, main))
    if warning := loose(main):
        lines.append(f"  {warning}")
    return "\n".join(lines)


def _interval(held: dict[str, Any], main: dict[str, Any]) -> str:
    from heschl.tasks.intervals import by_t

    over = held.get("interval", f"over {main['interval_over']}s{by_t(main['n_groups'])}")
    return f"  {main['interval_note'] or f'interval {over}, 95 %'}"


def _matched(held: dict[str, Any]) -> list[str]:
    """Of a run that points at stretches of speech: how often the one that was heard is among its first."""
    from heschl.tasks.scores import told

    found, main = held["retrieval"], held["scores"]
    lines = [
        f"  {f'among its first {k}':<18} {told(found[f'top_{k}'])}, guessing {100 * found[f'top_{k}']['chance']:.2g} %"
        for k in (1, 5, 10)
        if f"top_{k}" in found
    ]
    mrr = found["mrr"]
    lines.append(
        f"  {'reciprocal rank':<18} {mrr['value']:.3f} [{mrr['low']:.3f}, {mrr['high']:.3f}], guessing {mrr['chance']:.3f}; "
        f"permutation p {found['p_mrr']:.2g}"
    )
    return [*lines, _interval(held, main)]


@border
def predict(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|MODEL",
            help="A run folder, a model of `heschl models`, or weights in a run's checkpoints.",
        ),
    ],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE|FOLDER...", help="Recordings, or folders of them.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="A .csv or .json file; by default CSV on stdout.")
    ] = None,
    textgrids: Annotated[
        Path | None, typer.Option("--textgrids", help="Folder for TextGrids (frame networks).")
    ] = None,
    hop: Annotated[
        float | None, typer.Option("--hop", help="Seconds between windows of long recordings.")
    ] = None,
    json: Json = False,
) -> None:
    """Says what a network hears in any recordings: labels with probabilities, as CSV or JSON.

    Example: heschl predict runs/kws-small-0123456789 recordings --out heard.csv
    """
    from heschl.files import write_text
    from heschl.steps.predict import predict as heard

    with progress("listening", "windows") as told:
        table = heard(
            run,
            files,
            hop=hop,
            textgrids=textgrids,
            progress=told,
            say=lambda text: say(text, json_wanted=True),
        )
    as_json = json or (out is not None and out.suffix.lower() == ".json")
    good = table[table["error"] == ""].drop(columns="error")
    bad = table[table["error"] != ""]
    if "id" in good and good["file"].nunique() == 1 and not as_json:
        good = good[["id", "label"]]  # stored frames: the rows that a course asks for
    if as_json:
        text = _json(good, bad)
    else:
        text = good.to_csv(index=False, lineterminator="\n")
    if good.empty and not as_json:
        pass  # a table's head without rows says nothing, and a file of it would pass for an answer
    elif out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
        say(
            f"{out}: {counted(table['file'].nunique() - len(bad), 'file')}, {counted(len(good), 'row')}",
            json_wanted=json,
        )
    for row in bad.itertuples():
        say(f"heschl: {row.error}", json_wanted=True)
    if len(bad):
        raise typer.Exit(1)
    if out is not None and not json:
        folder = run.parent.parent if run.is_file() else run
        if folder.is_dir():
            say(next_line("heschl", "report", folder))
        else:  # a model that comes along has no scores to report
            say(next_line("heschl", "explain", run, "--file", good["file"].iloc[0]))


def _json(good: Any, bad: Any) -> str:
    import json

    rows = good.to_dict("records")
    errors = [{"file": row.file, "error": row.error} for row in bad.itertuples()]
    return json.dumps({"predictions": rows, "errors": errors}, ensure_ascii=False, default=float) + "\n"


@border
def report(
    run: RunFolder,
    part: Annotated[
        str, typer.Option("--part", help="Whose scores: test, validation, train or on-FOLDER.")
    ] = "test",
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="Embed recordings: they are of people's voices.")
    ] = True,
    pseudonyms: Annotated[
        bool, typer.Option("--pseudonyms", help="Call speakers and folders by other names, to publish it.")
    ] = False,
    json: Json = False,
) -> None:
    """Writes a page about a run: what was trained on what, how good it is, what it relies on. One file, offline.

    Example: heschl report runs/kws-small-0123456789
    """
    from heschl.report.page import write_page

    page = write_page(run, part, audio, pseudonyms)
    if json:
        give({"page": str(page.resolve())})
        return
    say(f"Open this page in a browser: {page.resolve()}")
    from heschl.run import open_run

    opened = open_run(page.parent)
    # without a test part there is nothing to score or explain of it
    tested = _scored(opened) == "test"
    if tested and not (page.parent / "evaluate").is_dir():
        say(next_line("heschl", "evaluate", run))
    elif tested and not any((page.parent / name).is_dir() for name in ("explain", "decode")):
        brains = opened.recipe.feature.use.startswith("brain_")
        say(next_line("heschl", "decode" if brains else "explain", run))
    else:
        say(next_line("heschl", "recipes"))
