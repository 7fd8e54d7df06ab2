"""Can people use it? A blinded page that sets audible beside visual explanations, and the analysis of its results.

In half of the trials a listener gets either the picture or the sound of an explanation, never both, and says what the
network answered: forced choice, with the answer nowhere on the page. In the other half both stand side by side with
the network's answer, and the listener says which tells more about why. Which clip comes as what is drawn by the seed,
and the other way round for every second listener. Becker et al. 2024 (J. Franklin Inst. 361(1) 418-428) found audible
explanations the more interpretable; this lets anyone test it on their own network.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.explanation.summary import LEAST, permutation_p
from heschl.files import read_audio, read_json, read_text, write_csv, write_json, write_text
from heschl.report.explained import points
from heschl.run import Run, open_run
from heschl.tasks.intervals import mean_over
from heschl.types import HeschlError

CHOICES = 4  # names among which a listener chooses
COLUMNS = ("test", "listener", "trial", "clip", "kind", "by", "choice", "right", "seconds", "plays")


def write_test(
    run: Run | Path | str,
    n: int,
    part: str = "test",
    *,
    method: str | None = None,
    preset: str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes RUN/explain/listening/TEST/listen.html, one file that works offline, and the key beside it.

    Parameters
    ----------
    n: trials, each of another clip of the part. method, preset: of the explanation, as `heschl.steps.explain`.
    seed: of clips, choices and order.

    Raises
    ------
    HeschlError: the network answers for frames, or there are not enough clips that can be heard.
    """
    import jinja2

    from heschl.figures.style import css
    from heschl.steps.explain import explain_run
    from heschl.steps.networks import open_network

    run = open_run(run)
    if open_network(run).frames:
        raise HeschlError(
            f"{run} answers for every frame, and a listening test asks for one answer a clip: take another run"
        )
    if n < 2:
        raise HeschlError(f"a listening test of {n} trial cannot compare two things: ask for 2 or more")
    spare = max(2, n // 4)  # of some clips nothing can be heard
    held = explain_run(
        run,
        part,
        method=method,
        preset=preset,
        show=n + spare,
        no_others=True,
        seed=seed,
        progress=progress,
    )
    trials = _trials(run, held, n, np.random.default_rng(seed))
    about = {
        "run": run.name,
        "method": held["method"],
        "weights": held["weights"],
        "seed": seed,
        "part": part,
    }
    name = hashlib.sha256(json.dumps([about, trials], sort_keys=True).encode()).hexdigest()[:10]
    folder = run.folder / "explain" / "listening" / name
    shown = [_shown(Path(held["folder"]), trial) for trial in trials]
    light, dark = css()
    template = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    page = template.from_string(read_text(Path(__file__).parent / "listening.html")).render(
        test=name, trials=shown, light=light, dark=dark, what=_what(run)
    )
    write_json(folder / "key.json", {"test": name, **about, "labels": list(run.labels), "trials": trials})
    write_text(folder / "listen.html", page)
    return folder / "listen.html"


def _what(run: Run) -> str:
    label = str(run.recipe.task.args.get("label") or "answer")
    return {"gender": "voice", "sex": "voice"}.get(label, label)


def _trials(run: Run, held: Mapping[str, Any], n: int, draws: np.random.Generator) -> list[dict[str, Any]]:
    """What each trial is; no more of it than the listener may know goes into the page."""
    rows = {row["clip"]: row for row in held["_rows"]}
    good = [clip for clip in held["shown"] if _hearable(Path(held["folder"]), clip)]
    if len(good) < n:
        raise HeschlError(
            f"{len(good)} clips have an explanation that can be heard, and {n} trials were asked for: ask for fewer"
        )
    trials = []
    for k, place in enumerate(draws.permutation(len(good))[:n]):
        target = rows[good[int(place)]]["target"]
        others = [label for label in run.labels if label != target]
        chosen = [target, *(others[int(j)] for j in draws.permutation(len(others))[: CHOICES - 1])]
        choices = (
            sorted(chosen)
            if len(run.labels) <= CHOICES
            else [chosen[int(j)] for j in draws.permutation(len(chosen))]
        )
        trials.append(
            {
                "clip": good[int(place)],
                "target": target,
                "kind": "name" if k % 2 == 0 else "prefer",
                "choices": choices,
                "first": "sound" if draws.random() < 0.5 else "picture",
            }
        )
    names = [trial for trial in trials if trial["kind"] == "name"]
    for k, j in enumerate(draws.permutation(len(names))):  # as many of one as of the other
        names[int(j)]["first"] = ("sound", "picture")[k % 2]
    return names + [trial for trial in trials if trial["kind"] == "prefer"]


def _hearable(folder: Path, clip: str) -> bool:
    from heschl.steps.explain_show import slug

    path = folder / "clips" / slug(clip) / "answer.json"
    sounds = read_json(path)["sounds"] if path.exists() else {}
    return bool(sounds) and not sounds["positive"]["silent"]


def _shown(folder: Path, trial: Mapping[str, Any]) -> dict[str, Any]:
    """A trial as the page has it: sound, picture, choices, and the answer only where it is no question."""
    from heschl.steps.explain_show import slug

    home = folder / "clips" / slug(trial["clip"])
    sound = base64.b64encode((home / "relied-on.wav").read_bytes()).decode("ascii")
    return {
        "kind": trial["kind"],
        "first": trial["first"],
        "choices": trial["choices"] if trial["kind"] == "name" else [],
        "answer": trial["target"] if trial["kind"] == "prefer" else "",
        "sound": f"data:audio/wav;base64,{sound}",
        "picture": f"data:image/png;base64,{_bare(folder, trial['clip'], home)}",
    }


def _bare(folder: Path, clip: str, home: Path) -> str:
    """The picture without words, phones or figures, which would give the answer away: PNG in base64."""
    import h5py
    import torch

    from heschl.figures.montage import bare
    from heschl.figures.style import styled
    from heschl.steps.explain_show import drawn_of, slug
    from heschl.steps.explaining import Input, picture_of
    from heschl.steps.networks import open_network
    from heschl.types import Clip

    network = open_network(open_run(folder.parent.parent))
    with h5py.File(folder / "relevance.h5", "r") as file:
        group = file[slug(clip)]
        _, rate = read_audio(home / "original.wav")
        one = Input(
            Clip(clip, home / "original.wav", rate, {}),
            torch.from_numpy(group["x"][()]),
            float(group.attrs["rate"]),
            float(group.attrs["start"]),
        )
        seen = picture_of(network, one, torch.from_numpy(group["relevance"][()]))
    file_like = io.BytesIO()
    with styled():
        bare(drawn_of(network, one, seen)).savefig(file_like, format="png", dpi=144)
    return base64.b64encode(file_like.getvalue()).decode("ascii")


# --- what listeners said -----------------------------------------------------------------------------------


def analyse(run: Run | Path | str, files: Sequence[Path | str]) -> dict[str, Any]:
    """Joins result files with the key, and says whether sound or picture serves better.

    Written are answers.csv and result.json beside the page.

    Returns
    -------
    named: for "sound" and "picture" the share of right answers with its 95 % interval over listeners; preferred: the
        share that chose the sound; p over listeners (None with fewer than six); sentences for a person.

    Raises
    ------
    HeschlError: a file is no result of this run's tests, or two are of one listener.
    """
    run = open_run(run)
    if not files:
        raise HeschlError("no result file is named: give those that the listeners saved")
    rows: list[dict[str, Any]] = []
    whose: dict[tuple[str, str], Path] = {}
    for file in map(Path, files):
        told, key = _result(run, file)
        if (told["test"], told["listener"]) in whose:
            raise HeschlError(
                f"{file} and {whose[told['test'], told['listener']]} are both of listener '{told['listener']}': leave one out"
            )
        whose[told["test"], told["listener"]] = file
        rows += _answers(file, told, key)
    tests = {str(row["test"]) for row in rows}
    if len(tests) > 1:
        raise HeschlError(
            f"the files belong to {len(tests)} tests ({', '.join(sorted(tests))}): analyse one at a time"
        )
    key = read_json(_home(run, tests.pop()) / "key.json")
    folder = _home(run, key["test"])
    held = {
        "test": key["test"],
        "run": run.name,
        "method": key["method"],
        "listeners": len(whose),
        **_measured(rows),
    }
    held["chance"] = 1 / min(CHOICES, len(key["labels"]))
    held["sentences"] = _sentences(held)
    held["folder"] = str(folder)
    write_csv(folder / "answers.csv", rows, COLUMNS)
    write_json(folder / "result.json", held)
    return held


def _home(run: Run, test: str) -> Path:
    return run.folder / "explain" / "listening" / test


def _result(run: Run, file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    told = read_json(file)
    if not isinstance(told, dict) or not {"test", "listener", "answers"} <= set(told):
        raise HeschlError(f"{file} is not a result that the listening page saved: name another file")
    test = str(told["test"])
    if not test.isalnum() or not (_home(run, test) / "key.json").exists():
        raise HeschlError(
            f"{file} belongs to the test {test[:20]}, which {run} did not write: name its own run"
        )
    if not isinstance(told["answers"], list) or not isinstance(told["listener"], str):
        raise HeschlError(f"{file} was changed since the listening page saved it: ask for the file again")
    return told, read_json(_home(run, test) / "key.json")


def _answers(file: Path, told: Mapping[str, Any], key: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    done: set[int] = set()
    for answer in told["answers"]:
        try:
            number = int(answer["trial"])
            trial = key["trials"][number]
            choice, by = str(answer["choice"]), str(answer["by"])
            seconds, plays = float(answer.get("seconds", 0)), int(answer.get("plays", 0))
            if number < 0 or by not in (("sound", "picture") if trial["kind"] == "name" else ("both",)):
                raise ValueError
        except (KeyError, IndexError, TypeError, ValueError):
            raise HeschlError(
                f"{file} has an answer that the page does not write ({str(answer)[:60]}): ask for the file again"
            ) from None
        if number in done:  # it would count twice
            raise HeschlError(f"{file} answers trial {number} twice: ask for the file again")
        done.add(number)
        allowed = trial["choices"] if trial["kind"] == "name" else ["sound", "picture"]
        if choice not in allowed:
            raise HeschlError(f"{file}: trial {answer['trial']} cannot be answered by '{choice[:30]}'")
        rows.append(
            {
                "test": told["test"],
                "listener": told["listener"],
                "trial": number,
                "clip": trial["clip"],
                "kind": trial["kind"],
                "by": by,
                "choice": choice,
                "right": int(choice == trial["target"]) if trial["kind"] == "name" else "",
                "seconds": seconds,
                "plays": plays,
            }
        )
    return rows


def _measured(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    named = [row for row in rows if row["kind"] == "name"]
    preferred = [row for row in rows if row["kind"] == "prefer"]
    held: dict[str, Any] = {"named": {}}
    for by in ("sound", "picture"):
        own = [row for row in named if row["by"] == by]
        held["named"][by] = mean_over([row["right"] for row in own], [row["listener"] for row in own])
    chose = [float(row["choice"] == "sound") for row in preferred]
    held["preferred"] = mean_over(chose, [row["listener"] for row in preferred])
    shares: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in named:
        shares[row["listener"]][row["by"]].append(float(row["right"]))
    differences = [
        float(np.mean(own["sound"]) - np.mean(own["picture"])) for own in shares.values() if len(own) == 2
    ]
    by_listener: dict[str, list[float]] = defaultdict(list)
    for row, share in zip(preferred, chose, strict=True):
        by_listener[row["listener"]].append(share)
    leanings = [float(np.mean(own)) - 0.5 for own in by_listener.values()]
    held["difference"] = mean_over(differences, range(len(differences)))
    held["difference"]["p"] = permutation_p(differences) if len(differences) >= LEAST else None
    held["preferred"]["p"] = permutation_p(leanings) if len(leanings) >= LEAST else None
    return held


def _sentences(held: Mapping[str, Any]) -> list[str]:
    n = held["listeners"]
    said = []
    for by, words in (("sound", "From the sound of the explanation"), ("picture", "From its picture")):
        found = held["named"][by]
        if found["n"]:
            said.append(
                f"{words}, {_told(found)} of the network's answers were named right ({found['n']} trials)."
            )
    said.append(f"Guessing would reach {100 * held['chance']:.3g} %.")
    difference = held["difference"]
    if difference["n"]:
        p = difference["p"]
        tested = f", p {p:.2g} over listeners" if p is not None else ""
        said.append(f"Sound less picture: {_told(difference, signed=True)}{tested}.")
    chose = held["preferred"]
    if chose["n"]:
        p = f", p {chose['p']:.2g} over listeners" if chose["p"] is not None else ""
        said.append(
            f"Asked which tells more, listeners chose the sound in {_told(chose)} of {chose['n']} cases{p}."
        )
    if n < LEAST:
        said.append(
            f"{n} listener{'s are' if n != 1 else ' is'} too few for a test: with fewer than {LEAST}, no p can lie "
            "below 0.05."
        )
    else:
        said.append(f"{n} listeners; intervals are 95 %, over listeners.")
    return said


def _told(found: Mapping[str, Any], signed: bool = False) -> str:
    ends = [found["value"] or 0] + ([] if found["low"] is None else [found["low"], found["high"]])
    value, *interval = (points(one) if signed else f"{100 * one:.0f}" for one in ends)
    return f"{value} %" + (f" [{', '.join(interval)}]" if interval else "")
