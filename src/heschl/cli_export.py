"""Commands that take a network out of heschl, or set it to listen: export, listen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heschl.cli_data import Json
from heschl.cli_runs import RunFolder
from heschl.cli_talk import border, give, next_line, progress, say, show_table
from heschl.wording import counted


@border
def export(
    run: RunFolder,
    to: Annotated[
        str, typer.Option("--to", help="onnx, torch-export, hdf5, mne, bids, huggingface-folder or archive.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The file or folder to write; else under RUN/export.")
    ] = None,
    json: Json = False,
) -> None:
    """Writes a run in a form that other tools read; graphs hold the front end, and are checked against torch.

    Example: heschl export runs/kws-small-f44bb9fd5c --to onnx
    """
    from heschl.steps.export import export as exported
    from heschl.steps.placement import CAVEAT

    with progress("exporting", "clips") as told:
        held = exported(run, to, out, progress=told)
    if json:
        give(held)
        return
    say(f"{held['file']}: {held['bytes'] / 1e6:.2f} MB")
    if "largest_difference" in held:
        say(
            f"It takes {held['takes']}; on {counted(held['clips'], 'clip')}{' of synthetic speech' * held['synthetic']} its logits "
            "differ from torch's by at most "
            f"{held['largest_difference']:.1e} (the largest is {held['largest_logit']:.1f})"
        )
    if held.get("sounds"):
        say(
            "It holds sounds made of the recordings: publish it only where their licence and speakers allow it."
        )
    if held["to"] in ("mne", "bids"):
        say(f"{CAVEAT} {counted(held['clips'], 'clip')}, simulated without noise.")


@border
def listen(
    run: RunFolder,
    file: Annotated[Path, typer.Option("--file", help="A recording of any length.")],
    threshold: Annotated[
        float, typer.Option("--threshold", help="Mean probability that counts as heard.")
    ] = 0.8,
    hop: Annotated[float, typer.Option("--hop", help="Seconds from one window to the next.")] = 0.1,
    word: Annotated[
        list[str] | None, typer.Option("--word", help="Listen for this one; may be repeated.")
    ] = None,
    none_said: Annotated[
        bool, typer.Option("--none-said", help="The file holds none of the words: count false alarms.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the events to this CSV.")] = None,
    json: Json = False,
) -> None:
    """Finds words in a long recording: what, when, and how sure.

    Example: heschl listen runs/words-kws-0123456789 --file long.wav --threshold 0.9
    """
    from heschl.files import audio_info, write_csv
    from heschl.steps.listen import Event, false_alarms
    from heschl.steps.listen import listen as heard

    with progress("listening", "seconds") as told:
        events = heard(run, file, threshold=threshold, hop=hop, labels=word, progress=told)
    info = audio_info(file)
    seconds = info.frames / info.rate
    rate = false_alarms(events, seconds) if none_said else None
    rows = [event._asdict() for event in events]
    if out is not None:
        write_csv(out, rows, Event._fields)
    if json:
        give({"file": str(file), "seconds": seconds, "events": rows, "false_alarms_per_hour": rate})
        return
    if rows:
        show_table(rows, {"label": "word", "start": "from s", "stop": "to s", "score": "score"})
    say(f"{len(rows)} event{'s' * (len(rows) != 1)} in {seconds:.1f} s at threshold {threshold:g}")
    if rate is not None:
        say(f"{rate:.1f} false alarms an hour, as the file holds none of the words")
    elif not rows:
        say(next_line("heschl", "listen", run, "--file", file, "--threshold", f"{threshold / 2:g}"))
