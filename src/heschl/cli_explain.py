"""The command that shows and plays what a network relied on: explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from heschl.cli_data import Json, seed_of
from heschl.cli_talk import border, give, next_line, progress, say, show_table
from heschl.wording import counted

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, or a model of `heschl models`.")
]
TOP = 8  # rows of the summary that are said


@border
def explain(
    context: typer.Context,
    run: RunFolder,
    part: Annotated[str, typer.Option("--part", help="test, validation or train.")] = "test",
    clips: Annotated[
        list[str] | None, typer.Option("--clips", metavar="ID ...", help="Only these clips.")
    ] = None,
    file: Annotated[
        list[Path] | None, typer.Option("--file", metavar="PATH ...", help="Recordings of your own.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="lrp, gradient_x_input, integrated_gradients, occlusion, aligned, aligned:word, ...; by default all that the recipe lists.",
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="Of lrp: epsilon, epsilon_plus, epsilon_gamma_box, ...")
    ] = None,
    compare: Annotated[
        str | None, typer.Option("--compare", help="Several methods, with commas: lrp,occlusion,aligned")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", help="What is explained: predicted, true, or a label.")
    ] = "predicted",
    faithful: Annotated[
        bool, typer.Option("--faithful", help="Also test the methods over speakers, as `heschl faithful`.")
    ] = False,
    audible: Annotated[
        bool, typer.Option("--audible/--no-audible", help="Write what was relied on as sounds.")
    ] = True,
    show: Annotated[
        int | None, typer.Option("--show", min=0, help="Clips of the part to draw and hear; by default 12.")
    ] = None,
    listening_test: Annotated[
        int | None, typer.Option("--listening-test", min=2, help="Write a blinded page of so many trials.")
    ] = None,
    listening_results: Annotated[
        list[Path] | None,
        typer.Option("--listening-results", metavar="PATH ...", help="Result files of listeners to analyse."),
    ] = None,
    seed: Annotated[int, seed_of("Of chosen clips and of chance.")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes on this machine.")] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask", help="A dask scheduler (tcp://host:8786), or a YAML file of jobs for a queue."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Shows and plays what a network relied on, clip by clip, and tests it over speakers; goes on where it stopped.

    Example: heschl explain runs/kws-small-0123456789 --show 6
    """
    from heschl.steps.explain import by_default, explain_run
    from heschl.steps.explain import compare as compared

    clips, file, listening_results = _several(context.args, clips, file, listening_results)
    beside = {
        "--clips": clips,
        "--file": file,
        "--compare": compare is not None,
        "--target": target != "predicted",
        "--faithful": faithful,
        "--no-audible": not audible,
        "--show": show is not None,
        "--workers": workers > 1,
        "--dask": dask,
    }
    if listening_results:
        _alone(
            "--listening-results",
            {"--listening-test": listening_test, "--method": method, "--preset": preset} | beside,
        )
        from heschl.report.listening import analyse

        _say_listening(analyse(run, listening_results), json)
        return
    if listening_test is not None:
        _alone("--listening-test", beside)
        from heschl.report.listening import write_test

        with progress("preparing trials", "clips") as told:
            page = write_test(
                run, listening_test, part, method=method, preset=preset, seed=seed, progress=told
            )
        if json:
            give({"page": str(page.resolve())})
            return
        say(f"Give listeners this page: {page.resolve()}")
        say(next_line("heschl", "explain", run, "--listening-results", "RESULT.json"))
        return
    options: dict[str, Any] = {
        "clips": clips or [],
        "files": file or [],
        "target": target,
        "sound": audible,
        "show": show,
        "seed": seed,
        "workers": workers,
        "dask": dask,
    }
    if compare is not None and (method or preset):
        typer.echo("heschl: --compare names the methods: leave --method and --preset out", err=True)
        raise typer.Exit(2)
    names: list[Any] = []
    if compare is not None:
        names = [name.strip() for name in compare.split(",") if name.strip()]
    elif not method and not preset:
        names = by_default(run)
    several = compare is not None or len(names) > 1
    with progress("explaining", "clips and pictures") as told:
        if several:
            held = compared(run, names, part, progress=told, **options)
        else:
            held = explain_run(run, part, method=method, preset=preset, progress=told, **options)
            rows = held.pop("_rows")
    if faithful:
        from heschl.steps.faithful import faithful as tested

        with progress("taking clips apart", "clips") as told:
            held["faithful"] = tested(run, part, seed=seed, progress=told)
    if json:
        give(held)
        return
    if several:
        _say_comparison(held)
    else:
        _say(held)
        if clips or file:
            _say_answers(rows)
    if faithful:
        say(f"How true the methods are, over speakers, is in {held['faithful']['folder']}")
    say(f"All of it is in {held['folder']}")
    tested_next = not faithful and not file  # a model that came along has no test part to take apart
    say(next_line("heschl", "faithful" if tested_next else "report", run))


def _several(
    more: Sequence[str],
    clips: list[str] | None,
    file: list[Path] | None,
    results: list[Path] | None,
) -> tuple[list[str] | None, list[Path] | None, list[Path] | None]:
    """The three options that take several values, with those that follow the first: ``--file a.wav b.wav``.

    They may also be repeated. Where two of the options are given, nobody can say whose the others are.
    """
    from heschl.types import HeschlError

    if more and sum(map(bool, (clips, file, results))) != 1:
        raise HeschlError(
            f"{more[0]} is behind no option: name one run, recordings behind --file and clips behind --clips; where two "
            "of these options are given, repeat each before every value"
        )
    if clips:
        return [*clips, *more], file, results
    paths = [Path(one) for one in more]
    return clips, [*(file or []), *paths] if file else file, [*results, *paths] if results else results


def _alone(option: str, beside: dict[str, Any]) -> None:
    """Ends where an option that chooses for itself stands beside others, of which nothing would come."""
    if given := [name for name, value in beside.items() if value]:
        typer.echo(
            f"heschl: {option} does not take {', '.join(given)}: leave {'it' if len(given) == 1 else 'them'} out",
            err=True,
        )
        raise typer.Exit(2)


def _say(held: dict[str, Any]) -> None:
    speech = " of synthetic speech" if held["synthetic"] else ""
    what = {"predicted": "its own answers", "true": "what was said"}.get(
        held["target"], f"“{held['target']}”"
    )
    say(
        f"{held['clips']:,} clip{'s' * (held['clips'] != 1)}{speech}, explained by {held['method']}: what speaks for {what}"
    )
    drawn = len(held["shown"])
    if drawn < held["clips"]:
        some = "none of them is" if not drawn else "1 of them is" if drawn == 1 else f"{drawn:,} of them are"
        say(f"  {some} drawn and heard; --show N for more, --clips ID for one")
    sounds = held["sounds"]
    if sounds:
        words = {
            "original": "all of it",
            "positive": "only what it relied on",
            "negative": "only what spoke against",
            "rest": "only the rest",
        }
        n = sounds["original"]["n"]
        of = "" if n == 1 else f" (mean of {n} clips)"
        said = ", ".join(f"{100 * sounds[name]['mean']:.0f} % hearing {words[name]}" for name in words)
        say(f"  the network gives what is explained {said}{of}")
    rows = [row for row in held["summary"] if row["kind"] != "word"]
    top = sorted(rows, key=lambda row: -row["difference"])[:TOP]
    if top:
        say("  share of what speaks for the answer, beside the share of the picture that it takes up:")
        told = [{**row, "relevance": f"{100 * row['relevance']:.0f} %", "area": f"{100 * row['area']:.0f} %",
                 "speakers": row["speakers"] or "",
                 "p_holm": "" if row["p_holm"] is None else f"{row['p_holm']:.2g}"} for row in top]  # fmt: skip
        columns = {"kind": "", "name": "", "relevance": "relevance", "area": "area"}
        columns |= {"speakers": "speakers"} if any(row["speakers"] for row in told) else {}
        columns |= {"p_holm": "p (Holm)"} if any(row["p_holm"] for row in told) else {}
        show_table(told, columns)
    if held["summary_note"]:
        say(f"  {held['summary_note'][0].upper()}{held['summary_note'][1:]}.")
    if held["skipped"]:
        say(
            f"  {held['skipped']:,} clip{'s' * (held['skipped'] != 1)} could not be explained: skipped.csv says why"
        )


def _say_answers(rows: Sequence[Mapping[str, Any]]) -> None:
    """What the network answered to the clips that were named; one over frames has no one answer."""
    for row in rows[:TOP]:
        if row["answered"]:
            was = f", it was “{row['said']}”" if row["said"] not in ("", row["answered"]) else ""
            say(
                f"  {row['clip']}: it hears “{row['answered']}” ({100 * row['answered_probability']:.0f} %{was})"
            )
    if len(rows) > TOP:
        say("  and so on, in clips.csv")


def _say_comparison(held: dict[str, Any]) -> None:
    say(f"{counted(held['clips'], 'clip')} by {counted(len(held['methods']), 'method')}")
    columns = {
        "method": "method",
        "other": "and",
        "rank_correlation": "rank correlation",
        "top_overlap": "same highest tenth",
        "chance_overlap": "by chance",
    }
    show_table(held["agreement"], columns)


def _say_listening(held: dict[str, Any], json: bool) -> None:
    if json:
        give(held)
        return
    for sentence in held["sentences"]:
        say(sentence)
    say(f"The answers, one by one, are in {held['folder']}")
