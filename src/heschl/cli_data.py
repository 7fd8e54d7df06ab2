"""Commands before training: corpora, recipes, check, features."""

from __future__ import annotations

import re
from json import dumps as quoted
from pathlib import Path
from typing import Annotated, Any

import typer

from heschl.cli_talk import border, fail, give, next_line, progress, say, show_blocks
from heschl.wording import counted

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for machines.")]
Strict = Annotated[bool, typer.Option("--strict", help="Whatever would be skipped is an error.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe: train.epochs=3 and the like."),
]


def seed_of(what: str) -> Any:
    """The option --seed, in the bounds of a recipe's own."""
    return typer.Option("--seed", min=0, max=2**32 - 1, help=what)


corpora = typer.Typer(
    help="What was heard: lists, fetches, checks, describes and speaks corpora.\n\nExample: heschl corpora list",
    no_args_is_help=True,
)
recipes = typer.Typer()


# --- corpora -----------------------------------------------------------------------------------------------


@corpora.command("list", short_help="List layouts to read, and corpora to fetch.")
@border
def corpora_list(json: Json = False) -> None:
    """Lists the layouts that heschl reads, and the corpora that it can fetch.

    Example: heschl corpora list
    """
    import importlib

    from heschl.corpora import available
    from heschl.corpora.download import SOURCES

    layouts = []
    for name in available():
        text = (importlib.import_module(f"heschl.corpora.{name}").__doc__ or "").strip().split("\n\n")[0]
        layouts.append({"name": name, "what": " ".join(text.split())})
    fetched = [
        {"name": name, "size": source.about, "licence": source.licence, "use": source.reader}
        for name, source in SOURCES.items()
    ]
    if json:
        give({"layouts": layouts, "fetch": fetched})
        return
    say("Layouts that a recipe can use (corpus: {use: NAME, root: FOLDER}):\n")
    show_blocks([(row["name"], "", [row["what"]]) for row in layouts])
    say("\nCorpora that heschl can fetch:\n")
    show_blocks(
        [(row["name"], row["size"], [f"licence {row['licence']}; use: {row['use']}"]) for row in fetched]
    )
    say()
    say(next_line("heschl", "corpora", "fetch", "fsdd"))


@corpora.command("fetch", short_help="Download a corpus, check it and unpack it.")
@border
def corpora_fetch(
    name: Annotated[str, typer.Argument(help="As `heschl corpora list` names it.")],
    to: Annotated[Path, typer.Option("--to", help="Folder that the corpus' own folder goes into.")] = Path(
        "data"
    ),
    from_local: Annotated[
        Path | None, typer.Option("--from-local", help="An archive that is here already.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="Another place that holds the archive.")
    ] = None,
    json: Json = False,
) -> None:
    """Downloads a corpus, checks it and unpacks it; a broken download goes on where it broke.

    Example: heschl corpora fetch speech-commands-v2 --to data
    """
    from heschl.corpora.download import SOURCES, fetch

    with progress(f"fetching {name}", "bytes") as told:
        folder = fetch(
            name,
            to,
            from_local=from_local,
            base_url=base_url,
            tell=lambda text: say(text, json_wanted=json),
            progress=told,
        )
    if json:
        give({"name": name, "folder": str(folder), "use": SOURCES[name].reader})
        return
    say(f"{name} is in {folder}; in a recipe: corpus: {{use: {SOURCES[name].reader}, root: {folder}}}")
    say(next_line("heschl", "corpora", "check", folder, "--use", SOURCES[name].reader))


@corpora.command("check", short_help="Tell what is in a corpus and what is wrong with it.")
@border
def corpora_check(
    path: Annotated[
        Path, typer.Argument(metavar="FILE|FOLDER", help="A table (CSV, Parquet), or a corpus' folder.")
    ],
    use: Annotated[
        str, typer.Option("--use", help="The layout, as `heschl corpora list` names it.")
    ] = "table",
    json: Json = False,
) -> None:
    """Tells what is in a corpus and what is wrong with it, in one screen.

    Example: heschl corpora check mine/table.csv
    """
    from heschl.corpora import brain

    after: tuple[str, ...] = ("recipes",)
    if use in ("table", "brain") and brain.is_recordings(path):
        lines = brain.check(path)
    elif use == "table":
        from heschl.corpora import table

        lines = table.check(path)
        label = table.first_class(lines)
        if label is not None:
            given = f"corpus={{use: table, root: {quoted(str(path), ensure_ascii=False)}}}"
            after = ("check", "kws-small", given, f"task.label={label}", f"split.label={label}")
    else:
        from heschl.corpora import read_corpus

        with progress(f"reading {path}") as told:
            lines = _described(read_corpus(use, path, progress=told))
    wrong = [line.removeprefix("! ") for line in lines if line.startswith("! ")]
    if json:
        give(
            {
                "path": str(path),
                "facts": [line for line in lines if not line.startswith("! ")],
                "problems": wrong,
            }
        )
    else:
        for line in lines:
            say(line)
    if wrong:
        if len(wrong) == 1:
            fail(wrong[0] if str(path) in wrong[0] else f"{path}: {wrong[0]}")
        fail(f"{len(wrong)} things to mend in {path}: they are marked with !")
    if not json:
        say(next_line("heschl", *after))


def _described(corpus: Any) -> list[str]:
    """Facts of any corpus; what its reader left out are the problems."""
    clips = corpus.clips
    seconds = sum(clip.stop - clip.start for clip in clips if clip.stop is not None)
    lines = [
        f"{corpus.name}: {counted(len(clips), 'clip')}, {seconds / 60:.1f} min ({corpus.source}; {corpus.licence})"
    ]
    for label in sorted({key for clip in clips for key in clip.labels}):
        values = {clip.labels[label] for clip in clips if clip.labels.get(label)}
        shown = ", ".join(sorted(values)[:8]) + (" ..." if len(values) > 8 else "")
        lines.append(f"  {label}: {len(values):,} ({shown})")
    lines += [f"  {note}" for note in corpus.notes]
    lines += [f"! {item.where}: {item.why}" for item in corpus.skipped[:15]]
    if len(corpus.skipped) > 15:
        lines.append(f"! and {len(corpus.skipped) - 15} more are left out")
    return lines


@corpora.command("table", short_help="Write a table of your recordings from their names.")
@border
def corpora_table(
    folder: Annotated[Path, typer.Argument(help="The folder that holds your recordings.")],
    pattern: Annotated[
        str, typer.Option("--pattern", help="What the names mean: '{speaker}_{label}_{n}.wav'.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The table; by default FOLDER/table.csv.")] = None,
    json: Json = False,
) -> None:
    """Writes a table of your recordings from their names, so that a recipe can use them.

    Example: heschl corpora table recordings --pattern '{speaker}_{label}_{n}.wav'
    """
    import os

    from heschl.corpora._table_pattern import from_pattern, unmatched
    from heschl.files import write_csv

    rows, left = from_pattern(folder, pattern), unmatched(folder, pattern)
    target = out or folder / "table.csv"
    if target.resolve().parent != folder.resolve():  # paths in a table are relative to the table
        base = os.path.relpath(folder.resolve(), target.resolve().parent)
        rows = [{**row, "path": (Path(base) / row["path"]).as_posix()} for row in rows]
    write_csv(target, rows, list(rows[0]))
    if json:
        give(
            {
                "table": str(target),
                "rows": len(rows),
                "unmatched": [{"path": path, "why": why} for path, why in left],
            }
        )
        return
    say(f"{target}: {counted(len(rows), 'recording')}, columns {', '.join(rows[0])}")
    for path, why in left[:10]:
        say(f"  left out: {path} ({why})")
    if len(left) > 10:
        say(f"  and {len(left) - 10:,} more are left out")
    say(next_line("heschl", "corpora", "check", target))


@corpora.command("speak", short_help="Speak a corpus of your own words by machine.")
@border
def corpora_speak(
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help="The words to be spoken.")],
    voices: Annotated[int, typer.Option("--voices", min=1, help="How many speakers.")] = 40,
    seed: Annotated[int, seed_of("Another seed draws other speakers.")] = 0,
    json: Json = False,
) -> None:
    """Speaks a corpus of your own words by machine (needs the extra heschl[speak]); it is kept in the cache.

    Example: heschl corpora speak left right stop --voices 20
    """
    from heschl.corpora.spoken import PACKAGED, read

    with progress("speaking", "speakers") as told:
        corpus = read(words=words, sentences=[], voices=voices, seed=seed, progress=told)
    root = corpus.clips[0].signal.parent.parent
    speakers = {clip.labels["speaker"] for clip in corpus.clips}
    if json:
        give(
            {
                "root": str(root),
                "clips": len(corpus.clips),
                "speakers": len(speakers),
                "synthetic": True,
                "left_out": [item._asdict() for item in corpus.skipped],
            }
        )
        return
    say(f"{root}: {counted(len(corpus.clips), 'clip')} by {counted(len(speakers), 'synthetic speaker')}")
    for item in corpus.skipped[:10]:
        say(f"  left out: {item.where} ({item.why})")
    if len(corpus.skipped) > 10:
        say(f"  and {len(corpus.skipped) - 10:,} more are left out")
    if root == PACKAGED:
        alone = f"{{use: spoken, words: {quoted(words)}, sentences: [], voices: {voices}}}"
        say(f"they come with heschl, and lie there among other words and speakers; alone: corpus: {alone}")
    for note in corpus.notes:
        say(note)
    say(next_line("heschl", "corpora", "check", root, "--use", "spoken"))


# --- recipes -----------------------------------------------------------------------------------------------


@recipes.callback(invoke_without_command=True)
@border
def recipes_bare(context: typer.Context, json: Json = False) -> None:
    """The recipes that come along: `heschl recipes` lists them, `heschl recipes copy NAME` gives a file to edit.

    Example: heschl recipes copy kws-small
    """
    if context.invoked_subcommand is None:
        _list(json)


@recipes.command("list", short_help="List the recipes that come along.")
@border
def recipes_list(json: Json = False) -> None:
    """Lists every shipped recipe with its data, download and minutes on two cores.

    Example: heschl recipes list
    """
    _list(json)


def _list(json: bool) -> None:
    from heschl.recipe import load, shipped

    rows = []
    for name, path in shipped().items():
        about = load(path, check_parts=False).about
        rows.append(
            {"name": name, **{key: getattr(about, key) for key in ("what", "data", "download", "minutes")}}
        )
    if json:
        give({"recipes": rows})
        return
    show_blocks([(row["name"], _cost(row), [str(row["what"]), str(row["data"])]) for row in rows])
    if rows:
        say("\nMinutes are on two processor cores.")
        say(next_line("heschl", "recipes", "copy", rows[0]["name"]))


def _cost(row: dict[str, Any]) -> str:
    minutes = f"{row['minutes']:g}" if isinstance(row["minutes"], float) else row["minutes"]
    download = "no download" if row["download"] in ("", "none") else f"download: {row['download']}"
    # "110", "about 120 for 4 hours of speech", "days without a GPU"
    minutes = re.sub("^(about )?([0-9.]+)", r"\1\2 min", minutes)
    return f"{minutes}, {download}" if minutes else download


@recipes.command("copy", short_help="Copy a recipe, to change it.")
@border
def recipes_copy(
    name: Annotated[str, typer.Argument(help="As `heschl recipes` names it.")],
    to: Annotated[Path | None, typer.Argument(help="The file to write; by default NAME.yaml here.")] = None,
    json: Json = False,
) -> None:
    """Copies a shipped recipe, to be changed.

    Example: heschl recipes copy kws-small mine.yaml
    """
    from heschl.files import read_text, write_text
    from heschl.recipe import shipped
    from heschl.recipe.plain import nearest
    from heschl.types import HeschlError

    known = shipped()
    if name not in known:
        raise HeschlError(f"no recipe is called {name}{nearest(name, known)}")
    target = to or Path(f"{name}.yaml")
    if target.is_dir():
        target = target / f"{name}.yaml"
    if target.exists():
        raise HeschlError(f"{target} is there already: name another file")
    write_text(target, read_text(known[name]))
    if json:
        give({"recipe": str(target)})
        return
    say(f"{target} is yours to change.")
    say(next_line("heschl", "check", target))


# --- check, features ---------------------------------------------------------------------------------------


@border
def check(
    recipe: RecipeName, overrides: Overrides = None, strict: Strict = False, json: Json = False
) -> None:
    """Checks all of a recipe that can be checked without training: keys, parts, data, and two clips tried.

    Example: heschl check kws-small train.epochs=3
    """
    from heschl.recipe import parse_overrides
    from heschl.training.check import check_recipe

    with progress(f"checking {recipe}") as told:
        findings = check_recipe(recipe, parse_overrides(overrides or []), strict=strict, progress=told)
    wrong = [item for item in findings if item.level == "wrong"]
    if json:
        give({"recipe": recipe, "findings": [item._asdict() for item in findings], "right": not wrong})
    else:
        for item in findings:
            say(("! " if item.level == "wrong" else "  ") + item.text)
    if wrong:
        fail(wrong[0].text if len(wrong) == 1 else f"{recipe} has {len(wrong)} faults, marked with !")
    if not json:
        say(next_line("heschl", "train", recipe, *(overrides or [])))


@border
def features(
    recipe: RecipeName,
    overrides: Overrides = None,
    hdf5: Annotated[Path | None, typer.Option("--hdf5", help="Folder for AudioMNIST's HDF5 layout.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes on this machine.")] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask", help="A dask scheduler (tcp://host:8786), or a YAML file of jobs for a queue."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Writes the network's inputs, one HDF5 file a clip, in AudioMNIST's layout.

    Example: heschl features digits-alexnet corpus.root=data/AudioMNIST --hdf5 preprocessed
    """
    from heschl.recipe import parse_overrides
    from heschl.steps.features import write_features
    from heschl.types import HeschlError

    if hdf5 is None:
        raise HeschlError("say where the features go: add --hdf5 FOLDER")
    with progress("writing features", "clips") as told:
        result = write_features(
            recipe, parse_overrides(overrides or []), hdf5, told, workers=workers, dask=dask
        )
    if json:
        give(result)
        return
    say(
        f"{result['folder']}: {counted(result['clips'], 'file')}, {counted(result['skipped'], 'clip')} skipped"
    )
    for item in result["left_out"][:10]:
        say(f"  left out: {item['where']} ({item['why']})")
    if result["skipped"] > 10:
        say(f"  and {result['skipped'] - 10:,} more are left out")
    say(next_line("heschl", "train", recipe, *(overrides or [])))
