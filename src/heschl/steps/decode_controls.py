"""Controls of decoding: what a score could rest on besides speech, and what it takes. Written beside the scores.

- The baseline: each trial's samples before anything was heard, mirrored back and forth to its whole length before the maps
  are made, so that no wavelet sees past it. The linear decoder is fitted on it anew; the network is scored as it is.
- Channels of eyes, muscles and heart alone, where a recording has them, by the linear decoder.
- The linear decoder fitted on words that are shuffled within blocks. (For the network: train it with task.shuffled=block.) A word
  that is told well is answered alike in all its trials, by a name that is right or wrong for all of them: so this p is the
  larger of that of permuted trials and that of words that change names, subject by subject.
- Time by time: a linear decoder on each bin, and a cluster permutation test over subjects. Maps are smeared by their
  wavelets, so bins near an onset see some of what comes after.
- The linear decoder on ever more blocks of training, against their hours.

The first three must be at chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from heschl.files import write_csv
from heschl.steps.decode_linear import Decoded, Powers, linear_scores, powers, scores_with, shuffled
from heschl.steps.groups import block_of
from heschl.tasks.clusters import FEWEST, cluster_test
from heschl.tasks.retrieval import Scores, hits, ranks
from heschl.tasks.scores import told
from heschl.types import Clip, HeschlError
from heschl.wording import counted

Scored = Callable[
    [Scores, np.ndarray], dict[str, Any]
]  # scores (trial, word), truth -> with chance, p and interval

BODY = re.compile(r"EOG|EMG|ECG|EKG", re.IGNORECASE)  # names of channels that record no brain


def control_decoding(
    held: Decoded, power: Sequence[Powers], scored: Scored, folder: Path, baseline: float | None = None
) -> dict[str, Any]:
    """Runs the controls and writes controls.csv, learning_curve.csv, time_resolved.csv and controls.svg/.png.

    Parameters
    ----------
    power: of all subjects, see `heschl.steps.decode_linear.powers`. scored: gives chance, p and interval.
    baseline: seconds at each trial's beginning; None: until the first word of the trials' spans.

    Returns
    -------
    {"rows": [{"control", "decoder", "top_1", ...}], "above_chance": those rows whose p is below .01, "learning": rows,
    "time": {"seconds", "top_1", "clusters"} or None, "notes": what could not be done, and why}
    """
    from heschl.figures.decode_controls import controls_figure
    from heschl.figures.style import save_both

    notes: list[str] = []
    rows: list[dict[str, Any]] = []
    unlearned = linear_scores(held, _shuffled(power))
    for control, decoder, scores in (
        *_baseline(held, baseline, notes),
        *_body(held, power, notes),
        ("words shuffled within blocks in training", "linear", unlearned),
    ):
        found = scored(scores, held.truth)
        top = found["top_1"]
        if scores is unlearned and "p" in found:
            subjects = [clip.labels.get("subject", "") for clip in held.trials]
            found["p"] = max(found["p"], renamed(scores, held.truth, subjects, found["permutations"]))
        rows.append(
            {
                "control": control,
                "decoder": decoder,
                "trials": found["trials"],
                **{f"top_1_{key}" if key != "value" else "top_1": value for key, value in top.items()},
                "p": found.get("p"),
            }
        )
    learning = learning_curve(held, power, scored)
    time = _time(held, power, notes)
    write_csv(folder / "controls.csv", rows, list(rows[0]))
    write_csv(folder / "learning_curve.csv", learning, list(learning[0]))
    if time is not None:
        table = [
            {"seconds": t, "subject": one.subject, "top_1": float(value)}
            for one, course in zip(power, time["each"])
            for t, value in zip(time["seconds"], course)
        ]
        write_csv(folder / "time_resolved.csv", table, ["seconds", "subject", "top_1"])
        time["each"] = [list(map(float, course)) for course in time["each"]]
    chance, made_up = 1 / len(held.network.labels), held.corpus.synthetic
    save_both(partial(controls_figure, rows, learning, time, chance, made_up), folder / "controls")
    wrong = [
        f"{row['control']}, {row['decoder']}" for row in rows if row["p"] is not None and row["p"] < 0.01
    ]
    picture = {
        "file": "controls.svg",
        "title": "What must be at chance, and what more data would give",
        "alt": "Top-1: "
        + "; ".join(f"{row['control']}, {row['decoder']}, {top_1_of(row)}" for row in rows)
        + f"; chance {100 / len(held.network.labels):.3g}\u202f%.",
    }
    return {
        "rows": rows,
        "above_chance": wrong,
        "learning": learning,
        "time": time,
        "notes": notes,
        "picture": picture,
    }


def top_1_of(row: Mapping[str, Any]) -> str:
    """A control's top-1 for a person, with its interval."""
    return told({key: row[f"top_1{end}"] for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))})


def mirrored(wave: np.ndarray, samples: int) -> np.ndarray:
    """A trial (..., time) whose first samples go forth and back to its end: nothing after them is left."""
    return np.pad(
        wave[..., :samples], [(0, 0)] * (wave.ndim - 1) + [(0, wave.shape[-1] - samples)], "symmetric"
    )


def _baseline(held: Decoded, given: float | None, notes: list[str]) -> list[tuple[str, str, Scores]]:
    first = held.trials[0]
    if given is None:
        starts = [span.start for clip in held.trials for span in clip.spans if span.tier == "word"]
        given = min(starts) if starts else None
    if given is None:
        notes.append(
            "no baseline was decoded: the corpus does not say when its words begin, so name it (--baseline SECONDS)"
        )
        return []
    samples = round(given * first.rate)
    wave = held.network.sensors.load(first) if held.network.sensors is not None else np.zeros((1, 1))
    if wave.ndim != 2:
        notes.append("no baseline was decoded: the trials are stored maps, whose wavelets saw past it")
        return []
    if not 2 <= samples < len(wave):
        raise HeschlError(
            f"a baseline of {given:g} s is {samples} of the {len(wave)} samples of a trial: choose another"
        )

    def change(wave: np.ndarray, _: Clip) -> np.ndarray:
        return mirrored(wave, samples)

    own, _ = powers(held, change)
    name = f"baseline, first {1000 * given:.0f} ms"
    return [
        (name, "network", scores_with(held, held.trials, change)),
        (name, "linear", linear_scores(held, own)),
    ]


def _body(held: Decoded, power: Sequence[Powers], notes: list[str]) -> list[tuple[str, str, Scores]]:
    """The linear decoder on channels of eyes, muscles and heart; subjects without them are left to guess."""
    chosen, names = [], set()
    for one in power:
        channels = next(
            r.channels for r in held.corpus.recordings if r.id == one.clips[0].labels["recording"]
        )
        own = [k for k, name in enumerate(channels) if BODY.search(name)]
        names |= {channels[k] for k in own}
        if own:
            chosen.append(one._replace(x=one.x[:, own], test=one.test[:, own]))
    if not chosen:
        notes.append("no channel is named as one of eyes, muscles or heart, so that control is left out")
        return []
    if len(chosen) < len(power):
        without = len(power) - len(chosen)
        notes.append(
            f"{counted(without, 'subject has', 'subjects have')} no such channel and "
            f"{'guesses' if without == 1 else 'guess'} in that control"
        )
    return [(f"{', '.join(sorted(names)[:6])} alone", "linear", linear_scores(held, chosen))]


def renamed(scores: Scores, truth: np.ndarray, subjects: Sequence[str], count: int, seed: int = 0) -> float:
    """p of top-1 against words that change names among those of each subject, ``count`` times."""
    random, names = np.random.default_rng((seed, 5)), np.asarray(subjects)
    many = np.repeat(truth[:, None], count + 1, axis=1)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        words, own = np.unique(truth[rows], return_inverse=True)
        many[rows, 1:] = random.permuted(np.tile(words, (count, 1)), axis=1)[:, own].T
    top = hits(ranks(scores, many), 1).mean(0)
    return float((1 + (top[1:] >= top[0] - 1e-12).sum()) / (count + 1))


def _shuffled(power: Sequence[Powers], seed: int = 0) -> list[Powers]:
    """The same with training words permuted within blocks."""
    return [one._replace(y=shuffled(one.y, [block_of(clip) for clip in one.clips], seed)) for one in power]


def learning_curve(
    held: Decoded, power: Sequence[Powers], scored: Scored, seed: int = 0
) -> list[dict[str, Any]]:
    """The linear decoder on 1, 2, 4, ... blocks of each subject's training, and on all: hours a subject, top-1, interval."""
    orders = []
    for number, one in enumerate(power):
        blocks = np.array([block_of(clip) for clip in one.clips])
        orders.append((blocks, np.random.default_rng((seed, number)).permutation(np.unique(blocks))))
    most = max((len(order) for _, order in orders), default=0)
    rows = []
    for count in sorted({*(2**k for k in range(most.bit_length()) if 2**k < most), most} - {0}):
        some, hours = [], []
        for one, (blocks, order) in zip(power, orders):
            kept = np.isin(blocks, order[:count])
            own = [clip for clip, keep in zip(one.clips, kept) if keep]
            some.append(one._replace(x=one.x[kept], y=one.y[kept], clips=own))
            hours.append(_hours(held, own))
        found = scored(linear_scores(held, some), held.truth)["top_1"]
        rows.append({"blocks": count, "hours": float(np.mean(hours)), **found})
    return rows


def _hours(held: Decoded, clips: Sequence[Clip]) -> float:
    """Of recording in these trials; what lies in several of them, such as windows round words that follow one another, counts once."""
    each = {clip.id: (clip.stop or 0.0) - clip.start for clip in clips}
    total = 0.0
    for recording in held.corpus.recordings:
        own = [one for one in recording.heard if one.clip in each]
        alone = sum(each.pop(str(one.clip)) for one in own)
        union, end = 0.0, -np.inf
        for one in sorted(own, key=lambda one: one.start):
            union += max(0.0, one.stop - max(one.start, end))
            end = max(end, one.stop)
        total += min(alone, union)  # windows hold what a filter saw to either side, too
    return (total + sum(each.values())) / 3600


def _time(held: Decoded, power: Sequence[Powers], notes: list[str]) -> dict[str, Any] | None:
    """A linear decoder on each time bin, and clusters of bins above chance over subjects."""
    if not power or power[0].x.shape[-1] < 3:
        return None
    bins, n = power[0].x.shape[-1], len(held.network.labels)
    each = np.zeros((len(power), bins))
    for k in range(bins):
        scores = linear_scores(held, [one._replace(x=one.x[..., k], test=one.test[..., k]) for one in power])
        right = hits(ranks(scores, held.truth), 1)
        each[:, k] = [right[one.rows].mean() for one in power]
    first = held.trials[0]
    length = (first.stop or 0.0) - first.start
    seconds = [round((k + 0.5) * length / bins, 4) for k in range(bins)]
    clusters: list[dict[str, float]] = []
    if len(power) < FEWEST:
        notes.append(
            f"there {'is' if len(power) == 1 else 'are'} {counted(len(power), 'subject')}, and a cluster test over subjects takes {FEWEST}: times are shown without one"
        )
    else:
        edges = length / bins
        for one in cluster_test(each, 1 / n):
            clusters.append(
                {"start": one.first * edges, "stop": (one.last + 1) * edges, "size": one.size, "p": one.p}
            )
    return {"seconds": seconds, "top_1": each.mean(0).tolist(), "each": each, "clusters": clusters}
