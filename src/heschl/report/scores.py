"""How good the network is, for the page: its score on a scale, what it confuses, and every speaker's own score."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heschl.files import read_csv
from heschl.report.disguise import Names
from heschl.report.pictures import both
from heschl.tasks.intervals import by_t
from heschl.tasks.scores import loose, told
from heschl.types import HeschlError
from heschl.wording import counted

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
FULL_ON_PHONE = 16  # a larger confusion matrix is shown on wide screens only


def main_scores(held: Mapping[str, Any]) -> Mapping[str, Any]:
    main: Mapping[str, Any] = held["scores"] if held["kind"] == "clips" else held["scores"]["all"]
    return main


def score_facts(held: Mapping[str, Any], folder: Path, names: Names) -> dict[str, Any]:
    if "retrieval" in held:
        return _match_facts(held)
    from heschl.figures.confusion import confusion_figure
    from heschl.figures.speakers import speakers

    main, frames = main_scores(held), held["kind"] == "frames"
    first = "accuracy" if frames else "balanced_accuracy"
    facts: dict[str, Any] = {
        "score": _score(held, main, first),
        "unit": main["unit"],
        "by": main["group"],
        "others": [],
    }
    labels, matrix = read_confusion(folder / "confusion.csv")
    truth = "asked for" if main["unit"] == "trial" else "said"  # of a trial nobody may have said it aloud
    wide = both("confusion", lambda width: confusion_figure(matrix, labels, width, truth))
    if len(labels) > FULL_ON_PHONE:
        wide["phone"] = ""
    facts["confusion"] = {
        **wide,
        "truth": truth,
        "top": [row for row in held.get("confusions", [])[:8] if row["n"] > 1],
    }
    rows = read_csv(folder / "per_speaker.csv") if (folder / "per_speaker.csv").exists() else []
    rows = [{**row, "group": names.speaker(row["group"])} for row in rows]
    if len(rows) > 1:
        overall, chance = main["accuracy"]["value"], main["chance"]
        facts["speakers"] = both(
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


def _match_facts(held: Mapping[str, Any]) -> dict[str, Any]:
    """Of a network that points at stretches of speech: how often the one that was heard is among its first."""
    main, found, n = held["scores"], held["retrieval"], held["candidates"]
    k = match_depth(found)
    first, whole = found[f"top_{k}"], told(found[f"top_{k}"])
    among = "at its first guess" if k == 1 else f"among its first {k}"
    note, mrr = main["interval_note"], found["mrr"]
    simulated = " of simulated brains" if held.get("synthetic") else ""
    rows = [
        {"name": f"Among its first {other}" if other > 1 else "At its first guess", "value": told(found[f"top_{other}"]),
         "says": f"guessing would reach {100 * other / n:.2g}\u202f%"}
        for other in (1, 5, 10) if other != k and f"top_{other}" in found
    ]  # fmt: skip
    rows += [
        {"name": "Mean reciprocal rank", "value": f"{mrr['value']:.3f} [{mrr['low']:.3f}, {mrr['high']:.3f}]",
         "says": f"one where it is always the first; guessing would reach {mrr['chance']:.3f}"},
        {"name": "Median rank", "value": f"{found['median_rank']:.3g} of {n:,}", "says": "half of the trials have a better one"},
    ]  # fmt: skip
    score = {
        "question": f"Which of {n:,} stretches of speech was it?",
        "value": whole.split(" [", 1)[0],
        "what": f"{among} [{whole.split(' [', 1)[1]}, {main['n']:,} trials{simulated}",
        "alt": f"{among} {whole}, chance {100 * first['chance']:.2g} %",
        "place": 100 * first["value"],
        "low": 100 * first["low"],
        "high": 100 * first["high"],
        "chance": 100 * first["chance"],
        "sentence": f"Guessing would reach {100 * first['chance']:.2g}\u202f%."
        + (f" The interval is {held['interval']}." if "interval" in held else ""),
        "caveat": f"{note[0].upper()}{note[1:]}." if note else "",
        "rows": rows,
    }
    return {"score": score, "unit": "trial", "by": main["group"], "others": []}


def match_depth(found: Mapping[str, Any]) -> int:
    """Of how many first candidates a match run's headline speaks: ten, or as many as there are scores for."""
    return max(k for k in (1, 5, 10) if f"top_{k}" in found)


def _score(held: Mapping[str, Any], main: Mapping[str, Any], first: str) -> dict[str, Any]:
    score = main[first]
    value, whole = 100 * (score["value"] or 0.0), told(score)
    bound = score["low"] is not None
    groups = (
        counted(main["n_groups"], main["group"]) if main.get("n_groups") else "an unknown number of speakers"
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
        kept = apart(held, main)["by"]
        if kept == main["group"]:
            sentence += (
                f" The interval{by_t(main['n_groups'])} says where the score would lie for other {kept}s like these, 95 times "
                "in 100."
            )
        else:
            learned = f", whose other {kept}s it learned from" if kept != "clip" else ""
            sentence += f" The interval is {held['interval']}{learned}."
    if warning := loose(main):
        sentence += f" {warning[0].upper()}{warning[1:]}."
    notes = [main["interval_note"]]
    if held.get("finished") is False:
        notes.append("it was scored before its training had ended")
    synthetic = (
        f" of {'simulated brains' if held.get('brains') else 'synthetic speech'}"
        if held.get("synthetic")
        else ""
    )
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
        "caveat": " ".join(f"{note[0].upper()}{note[1:]}." for note in notes if note),
        "rows": rows,
    }


def _question(held: Mapping[str, Any], main: Mapping[str, Any]) -> str:
    if held.get("on"):
        return "How good is it, on other recordings?"
    if held["part"] == "train":
        return "How well does it know what it was trained on?"
    kept = apart(held, main)
    return (
        f"How good is it, on {kept['by']}s it has never {'met' if held.get('brains') else 'heard'}?"
        if kept["n"]
        else "How good is it?"
    )


def apart(held: Mapping[str, Any], main: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the split keeps apart ("by"), and how many of it were scored ("n"): of brains not what the interval is over."""
    kept: Mapping[str, Any] = held.get("apart") or {"by": main["group"], "n": main.get("n_groups")}
    return kept


def read_confusion(path: Path) -> tuple[list[str], np.ndarray]:
    """Labels and counts (said, answered) of a confusion.csv."""
    import numpy as np

    rows = read_csv(path)
    labels = list(rows[0])[1:] if rows else []  # the first column names what was said
    try:
        return labels, np.array([[int(row[label]) for label in labels] for row in rows])
    except (KeyError, ValueError):
        raise HeschlError(f"{path} is not a table of counts: run `heschl evaluate` again") from None
