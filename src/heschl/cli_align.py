"""The command `heschl align`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from heschl.cli_data import Json
from heschl.cli_talk import border, give, importing, next_line, progress, say


@border
def align(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN|MODEL|acoustics", help="A run folder, a model's name, or: acoustics."),
    ],
    recordings: Annotated[
        Path,
        typer.Option("--recordings", help="A BIDS folder, or a table: recording, start, stop, audio."),
    ],
    task: Annotated[str | None, typer.Option("--task", help="Of BIDS.")] = None,
    derivative: Annotated[
        str | None, typer.Option("--derivative", help="Take the recordings of derivatives/NAME.")
    ] = None,
    subjects: Annotated[str | None, typer.Option("--subjects", help="These alone: 01,02.")] = None,
    areas: Annotated[
        str | None, typer.Option("--areas", help="Per area: default, or a table like the shipped one.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="meg, eeg, ecog or seeg, of several.")] = None,
    rate: Annotated[int, typer.Option("--rate", help="Rows a second.")] = 64,
    band: Annotated[str, typer.Option("--band", help="Hz kept of the recording: low,high.")] = "1,15",
    power: Annotated[
        str | None, typer.Option("--power", help="Amplitude of these Hz first: 70,150 for high gamma.")
    ] = None,
    lags: Annotated[
        str, typer.Option("--lags", help="Seconds by which the brain follows: as long as its response is.")
    ] = "0,0.4",
    components: Annotated[int, typer.Option("--components", help="Of each layer.")] = 8,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Untrained networks, 10 or more; a claim at .05 needs 19.")
    ] = 19,
    shifts: Annotated[int, typer.Option("--shifts", help="Of each null, 19 or more.")] = 99,
    name: Annotated[str | None, typer.Option("--name", help="Of the folder under RUN/align.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    runs: Annotated[Path, typer.Option("--runs", help="Where `acoustics` writes.")] = Path("runs"),
    json: Json = False,
) -> None:
    """Asks whether recordings follow the sound, and then whether a network's layers say more than acoustics do.

    Example: heschl align acoustics --recordings mine/recordings.csv
    """
    with importing():
        from heschl.steps.align import align as aligned
        from heschl.steps.align_fit import Settings

    low, high = _pair(band, "--band")
    amplitude = None
    if power is not None:
        first, last = _pair(power, "--power")
        amplitude = (first, last)
    settings = Settings(
        rate=rate,
        lags=_pair(lags, "--lags", "seconds, as 0,0.4"),
        band=(low or None, high),
        power=amplitude,
        components=components,
        seeds=seeds,
        shifts=shifts,
    )
    options: dict[str, Any] = {"task": task, "derivative": derivative, "kind": kind}
    if subjects:
        options["subjects"] = [one.strip() for one in subjects.split(",")]
    with progress("fitting layers", "fits") as told:
        held = aligned(
            run,
            recordings,
            settings,
            areas=areas,
            name=name,
            workers=workers,
            runs=runs,
            say=lambda text: say(text, json_wanted=json),
            progress=told,
            **options,
        )
    if json:
        give(held)
        return
    _told(held)
    if run == "acoustics":
        say(next_line("heschl", "align", "RUN", "--recordings", recordings))
    else:
        say(next_line("heschl", "report", run))


def _told(held: dict[str, Any]) -> None:
    from heschl.steps.align_group import can_tell as enough

    minutes = sum(held["minutes"].values())
    n = len(held["subjects"])
    say(
        f"{held['recordings']}: {n} subject{'s' * (n != 1)}, {minutes:.1f} min of {held['kind']}; {held['status']}"
    )
    can_tell = n == 1 or enough(n, held["settings"]["level"])
    for row in held.get("by_area", []):
        if row["measure"] == "r of the envelope":
            n = row["subjects"]
            say(
                f"  {row['area']}: r {row['mean']:+.3f} of the envelope"
                + (f", mean of {n} subjects" if n > 1 else "")
            )
    for place, one in held.get("strongest", {}).items():
        told = (
            "not shown to be beyond both controls"
            if can_tell
            else f"{n} subjects are too few to test over them"
        )
        said = ", and over untrained networks" if one["beyond_both"] else f"; {told}"
        say(f"  {place}: {one['layer']} gains most, {one['gain']:+.4f} r over acoustics{said}")
    for layer, by in held.get("claims", {}).items():
        where, all_of = sum(by.values()), sum(held["places"].values())
        who = "" if len(by) == 1 else f" of {len(by)} subjects"
        say(
            f"  {layer}: beyond acoustics and untrained networks at {where} of {all_of} places{who}, each by itself"
        )
    if "text" in held.get("areas", {}):
        say("  what these sensors can tell apart, worst of all subjects:")
        say("  " + held["areas"]["text"].replace("\n", "\n  "))
    for note in [*held["notes"][:12], *held.get("group_notes", [])]:
        say(f"note: {note}")
    if len(held["notes"]) > 12:
        say(f"note: and {len(held['notes']) - 12} more, in align.json")
    say(f"Tables and pictures are in {held['folder']}")


def _pair(text: str, what: str, of: str = "Hz, as 1,15") -> tuple[float, float]:
    from heschl.types import HeschlError

    try:
        low, high = (float(one) for one in text.split(","))
    except ValueError:
        raise HeschlError(f"{what} is '{text}': give two numbers in {of}") from None
    return low, high
