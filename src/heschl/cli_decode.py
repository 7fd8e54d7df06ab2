"""The command `heschl decode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from heschl.cli_data import Json
from heschl.cli_runs import RunFolder
from heschl.cli_talk import border, give, next_line, progress, say


@border
def decode(
    run: RunFolder,
    part: Annotated[str, typer.Option("--part", help="test, validation or train.")] = "test",
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also what it rests on: sensors, frequencies, moments, attention."),
    ] = False,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Also what must be at chance, words by time, and by hours of data."),
    ] = False,
    baseline: Annotated[
        float | None,
        typer.Option("--baseline", help="Seconds at each trial's beginning before anything was heard."),
    ] = None,
    dictionary: Annotated[
        Path | None, typer.Option("--dictionary", help="Pronunciations, as cmudict has them, for --explain.")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option("--vectors", help="Word vectors, 'word number ...' a line, for --explain.")
    ] = None,
    permutations: Annotated[int, typer.Option("--permutations", help="Of the test of each score.")] = 1000,
    json: Json = False,
) -> None:
    """Scores a decoder of brains beside a linear one and with shuffled labels, and shows what it rests on.

    Example: heschl decode runs/simulated-words-0123456789 --explain
    """
    from heschl.steps.decode import decode as decoded

    with progress("decoding", "trials") as told:
        held = decoded(
            run, part, explain, controls, baseline, permutations, dictionary, vectors, progress=told
        )
    if json:
        give(held)
        return
    who = f"{'simulated ' * held['simulated']}subject{'s' * (held['subjects'] != 1)}"
    say(
        f"{held['corpus']}, {held['part']}: {held['trials']:,} trials of {held['subjects']} {who}, "
        f"{held['words']:,} {'words' if held['unit'] == 'word' else 'stretches of speech'}; intervals {held['interval']}"
    )
    for name, scores in (
        ("network", held["network"]),
        ("linear decoder", held["linear"]),
        ("network, shuffled", held["shuffled"]["network"]),
        ("linear, shuffled", held["shuffled"]["linear"]),
    ):
        say(f"  {name:<24} {_line(scores)}")
    for test in held["triplets"]["tests"]:
        say(
            f"  {test['first']} against {test['second']}: d {test['d_z']:+.2f}, p {test['p_t']:.2g} (t), "
            f"{test['p_wilcoxon']:.2g} (Wilcoxon), {test['triplets']} triplets"
        )
    if explain:
        _say_explained(held["explained"])
    if controls:
        _say_controls(held["controls"])
    for caveat in held["caveats"]:
        say(f"note: {caveat}")
    say(f"Tables and pictures are in {held['folder']}")
    say(
        next_line("heschl", "decode", run, "--explain") if not explain else next_line("heschl", "report", run)
    )


def _say_explained(found: dict[str, Any]) -> None:
    from heschl.steps.decode_explain import at_frequency

    if "frequency" in found:
        say(
            f"  most relevance, of {found['trials']} trials: at {at_frequency(found['frequency'], found.get('unit', 'Hz'))} over all times, at "
            f"{found['time']:.2f} s over all frequencies"
        )
        for row in found["spaces"]["rows"]:
            say(
                f"  codebook and {row['space']} space: rank correlation {row['spearman']:+.2f} over {row['words']} words, "
                f"p {row['p']:.2g}"
            )
    elif "time" in found:
        say(f"  most relevance, of {found['trials']} trials, at {found['time']:.2f} s")
    areas = found["areas"]
    for row in areas["rows"]:
        say(
            f"  with {row['areas']} of another trial ({100 * row['signal']:.0f}\u202f% of the signal): reciprocal rank {-row['lost']:+.3f} "
            f"[{-row['high']:+.3f}, {-row['low']:+.3f}]; with as much of it elsewhere {-row['expected']:+.3f} "
            f"[{-row['expected_high']:+.3f}, {-row['expected_low']:+.3f}]"
        )
    if areas["rows"]:
        above = "; ".join(areas["above_elsewhere"])
        say(
            f"  {'more than as much elsewhere: ' + above if above else 'no area costs more than as much elsewhere'}"
        )
    for note in [*found["notes"], *found.get("spaces", {"notes": []})["notes"]]:
        say(f"note: {note}")


def _say_controls(found: dict[str, Any]) -> None:
    from heschl.steps.decode_controls import top_1_of

    for row in found["rows"]:
        p = "" if row["p"] is None else f"; p {row['p']:.2g}"
        say(
            f"  control: {row['control']}, {row['decoder']}: top-1 {top_1_of(row)}, chance {100 * row['top_1_chance']:.3g}\u202f%{p}"
        )
    for name in found["above_chance"]:
        say(f"warning: {name} is above chance, and should not be: what is decoded may not be speech")
    for cluster in (found["time"] or {"clusters": []})["clusters"]:
        say(
            f"  above chance from {cluster['start']:.2f} to {cluster['stop']:.2f} s over subjects: p {cluster['p']:.2g}"
        )
    for note in found["notes"]:
        say(f"note: {note}")


def _line(scores: dict[str, Any]) -> str:
    """Top-1 and the mean reciprocal rank among N, with interval, chance and p."""
    from heschl.tasks.scores import told

    top, mrr = scores["top_1"], scores["mrr"]
    line = (
        f"top-1 of {scores['candidates']} {told(top)}, chance {100 * top['chance']:.3g}\u202f%; reciprocal rank {mrr['value']:.2f}, "
        f"chance {mrr['chance']:.2f}"
    )
    return line + (f"; p {scores['p']:.2g}" if "p" in scores else "")
