"""The command that lays a network's activity in a brain: place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from heschl.cli_data import Json
from heschl.cli_talk import border, give, importing, next_line, progress, say, show_table


@border
def place(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN|MODEL", help="A run folder, or a model that comes along by its name."),
    ],
    file: Annotated[
        list[Path] | None, typer.Option("--file", help="A recording of your own; may be repeated.")
    ] = None,
    part: Annotated[str, typer.Option("--part", help="test, validation or train.")] = "test",
    clips: Annotated[int, typer.Option("--clips", min=1, help="At most so many clips of the part.")] = 40,
    show: Annotated[
        str | None, typer.Option("--show", metavar="ID", help="The clip to draw; else the surest right one.")
    ] = None,
    sensors: Annotated[
        list[str] | None,
        typer.Option(
            "--sensors",
            help="biosemi64 (the default) or another montage of mne, neuromag, ctf275, or INFO.fif; may be repeated.",
        ),
    ] = None,
    areas: Annotated[
        Path | None,
        typer.Option(
            "--areas", help="A YAML table of areas like the shipped one; by default what the recipe names."
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            "--noise", metavar="SNR_DB", help="Also simulate 100 trials at this signal-to-noise ratio."
        ),
    ] = None,
    film: Annotated[bool, typer.Option("--film", help="Also write a film (GIF).")] = False,
    svg: Annotated[bool, typer.Option("--svg", help="Also write each picture as SVG.")] = False,
    json: Json = False,
) -> None:
    """Lays a network's layers in a brain by a table (illustrative), and simulates what EEG or MEG would see of them.

    Example: heschl place runs/words-crnn-0123456789 --sensors biosemi64 --sensors neuromag --film
    """
    from heschl.steps.place_pen import drawing

    with drawing() as pen, progress("recording", "clips") as told:
        with importing():
            from heschl.steps.place import place_run

        held = place_run(
            run,
            list(file) if file else clips,
            part=part,
            show=show,
            sensors=sensors or "biosemi64",
            areas=areas,
            noise=noise,
            film=film,
            svg=svg,
            progress=told,
            pen=pen,
        )
    if json:
        give(held)
        return
    _say(held)
    say(f"All of it is in {held['folder']}; surface.html is a cortex to turn")
    say(next_line("heschl", "report", Path(held["folder"]).parent.parent))


def _say(held: dict[str, Any]) -> None:
    speech = " of synthetic speech" if held["synthetic"] else ""
    say(f"{_count(held['clips'], 'clip')}{speech}; the pictures are of {held['heard']} ({held['shown']})")
    say(f"  {held['caveat']}")
    rows = [
        {
            "area": name,
            "layers": ", ".join(one["layers"]),
            "at": f"{one['hemisphere']}, {_place(one)}",
            "sources": one["sources"],
            "kept": f"{100 * one['kept_in_folds']:.0f} %",
        }
        for name, one in held["areas"].items()
    ]
    show_table(
        rows,
        {
            "area": "area",
            "layers": "layers",
            "at": "place",
            "sources": "sources",
            "kept": "kept in the folds",
        },
    )
    for name, one in held["sensors"].items():
        sees = ", ".join(_peak(kind, value) for kind, value in one["peak"].items())
        noise = (
            f", mean of {one['trials']} trials at {one['noise_db']:g} dB"
            if "trials" in one
            else ", without noise"
        )
        say(f"{name} would see up to {sees}{noise}")
        if "inverse" in one:
            found = one["inverse"]
            at = ", ".join(f"{v:.0f}" for v in found["peak_mm"])
            where = " and ".join(found["peak_in"]) or "none of the areas"
            say(
                f"{found['method']} ({found['status']}) peaks at ({at}) mm MNI305, in {where}; what it can tell apart:"
            )
            say("  " + found["cross_talk"]["text"].replace("\n", "\n  "))
    if held["skipped"]:
        say(f"{_count(held['skipped'], 'clip')} could not be read: skipped.csv says why")


def _place(one: dict[str, Any]) -> str:
    if not any(one["centre_mm"]):
        return "a label"
    x, y, z = one["centre_mm"]
    return f"({x:g}, {y:g}, {z:g}) mm {one['space']}, {one['radius_mm']:g} mm round"


def _peak(kind: str, value: float) -> str:
    from heschl.figures.style import short

    scale, unit = {"eeg": (1e6, "µV"), "mag": (1e15, "fT"), "grad": (1e13, "fT/cm")}[kind]
    return f"{short(scale * value)} {unit}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
