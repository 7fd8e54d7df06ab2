"""What `heschl align` writes: tables, what they say in short, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.brain.layers import LayerGain, table
from heschl.files import write_csv
from heschl.steps import align_group as over
from heschl.steps.align_fit import Listener, Response, Settings

ENDED = 0.5  # of a response's highest: what is left of it at the last lag that is fitted


def envelope(listeners: Sequence[Listener], answers: Sequence[Response], level: float) -> dict[str, Any]:
    best = [float(one.r.max()) for one in answers]
    return {
        "subjects_with_a_response": sum(bool((one.p <= level).any()) for one in answers),
        "channels_with_a_response": {
            who.subject: int((one.p <= level).sum()) for who, one in zip(listeners, answers)
        },
        "best_r": {who.subject: round(r, 4) for who, r in zip(listeners, best)},
        "best_r_mean": float(np.mean(best)),
        "chance": float(np.mean([one.chance.mean() for one in answers])),
        "acoustics_best_r_mean": float(np.mean([one.acoustics.max() for one in answers])),
    }


def sentence(found: dict[str, Any], n: int) -> str:
    return (
        f"The envelope alone is followed in {found['subjects_with_a_response']} of {n} subjects: r {found['best_r_mean']:.3f} "
        f"at the best channel, chance {found['chance']:.3f} (95th percentile of shifts)"
    )


def unfinished(answers: Sequence[Response], lags: tuple[float, float]) -> list[str]:
    """A note where the envelope's response, at each subject's best channel, goes on at the last lag that is fitted."""
    best = [np.abs(one.weights[:, int(one.r.argmax())]) for one in answers]
    left = float(np.mean([course[-1] / course.max() for course in best]))
    if left <= ENDED:
        return []
    return [
        f"the response to the envelope still stands at {100 * left:.0f} % of its highest at {lags[1]:g} s, the last lag: fit "
        "longer lags, or layers with a memory gain by what acoustics could not say"
    ]


def ceilings(listeners: Sequence[Listener], answers: Sequence[Response]) -> dict[str, Any]:
    """Subject by subject, at the channel that acoustics predict best: its r, and the highest that any model could reach."""
    found = {}
    for who, one in zip(listeners, answers):
        if one.ceiling is not None:
            best = int(one.acoustics.argmax())
            found[who.subject] = {
                "repeats": one.ceiling.repeats,
                "channel": who.channels[best],
                "r_acoustics": float(one.acoustics[best]),
                "r_ceiling": float(one.ceiling.r_single[best]),
            }
    return found


def write_partition(
    folder: Path, spots: Sequence[Listener], parts: Mapping[tuple[int, str], Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """partition.csv; gives each layer's means over subjects and places."""
    rows = [
        {
            "subject": spots[k].subject,
            "layer": name,
            "place": place,
            **{what: float(values[c]) for what, values in own.items()},
        }
        for (k, name), own in sorted(parts.items(), key=lambda item: item[0][0])
        for c, place in enumerate(spots[k].channels)
    ]
    write_csv(folder / "partition.csv", rows, list(rows[0]))
    names = dict.fromkeys(name for _, name in parts)
    measures = list(next(iter(parts.values())))
    return {
        name: {
            what: float(np.mean([own[what].mean() for (_, of), own in parts.items() if of == name]))
            for what in measures
        }
        for name in names
    }


def write_response(folder: Path, listeners: Sequence[Listener], answers: Sequence[Response]) -> None:
    rows = [
        {
            "subject": who.subject,
            "channel": channel,
            "r_envelope": float(one.r[c]),
            "chance_95": float(one.chance[c]),
            "p": float(one.p[c]),
            "r_acoustics": float(one.acoustics[c]),
            "r_ceiling": None if one.ceiling is None else float(one.ceiling.r_single[c]),
            "repeats": 1 if one.ceiling is None else one.ceiling.repeats,
        }
        for who, one in zip(listeners, answers)
        for c, channel in enumerate(who.channels)
    ]
    write_csv(folder / "response.csv", rows, list(rows[0]))
    lags = [
        {"subject": who.subject, "lag_s": float(lag), **{c: float(v) for c, v in zip(who.channels, weights)}}
        for who, one in zip(listeners, answers)
        for lag, weights in zip(one.lags, one.weights)
    ]
    columns = list(dict.fromkeys(key for row in lags for key in row))
    write_csv(folder / "trf.csv", lags, columns)


def write_layers(
    folder: Path,
    spots: Sequence[Listener],
    found: dict[tuple[int, str], LayerGain],
    names: Sequence[str],
    settings: Settings,
) -> dict[str, Any]:
    rows = [
        {"subject": spots[k].subject, "layer": name, "place": row.pop("channel"), **row}
        for (k, name), gain in sorted(
            found.items(), key=lambda item: (item[0][0], list(names).index(item[0][1]))
        )
        for row in table(gain, spots[k].channels)
    ]
    write_csv(folder / "layers.csv", rows, list(rows[0]))
    group = over.group(spots, found, names, settings)
    if group.rows:
        write_csv(folder / "group.csv", group.rows, list(group.rows[0]))
    if group.clusters:
        write_csv(folder / "clusters.csv", group.clusters, list(group.clusters[0]))
    claims = {
        name: {spots[k].subject: int(g.claimed.sum()) for (k, n), g in found.items() if n == name}
        for name in names
    }
    return {
        "layers": list(names),
        "claims": claims,
        "places": {one.subject: len(one.channels) for one in spots},
        "group": group.rows
        if len(spots[0].channels) <= 12
        else [row for row in group.rows if row["beyond_both"]],
        "clusters": group.clusters,
        "strongest": group.strongest,
        "group_notes": group.notes,
    }


def draw(
    folder: Path,
    listeners: Sequence[Listener],
    answers: Sequence[Response],
    spots: Sequence[Listener],
    found: dict[tuple[int, str], LayerGain],
    parts: Mapping[tuple[int, str], Mapping[str, Any]],
    status: str,
    group: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, str]]:
    """Gives each picture's file and what it says, in order. group: rows over subjects, where these can be tested."""
    from heschl.figures.align import layers_figure, partition_figure, response_figure
    from heschl.figures.style import save

    same = over.alike(listeners)
    first = listeners[same[0]]
    figure = response_figure(
        answers[0].lags,
        np.mean([answers[k].weights for k in same], axis=0),
        np.mean([answers[k].r for k in same], axis=0),
        float(np.mean([answers[k].chance for k in same])),
        first.info,
        len(same),
        status,
        np.mean([answers[k].ceiling.r_single for k in same], axis=0)  # type: ignore[union-attr]
        if all(answers[k].ceiling is not None for k in same)
        else None,
    )
    save(figure, folder / "response")
    told = [{"file": "response.svg", "alt": title_of(figure)}]
    if not found:
        return told
    names = list(dict.fromkeys(name for _, name in found))
    alike = over.alike(spots)
    channels, info = spots[alike[0]].channels, spots[alike[0]].info
    gain = np.array([[found[k, name].gain for name in names] for k in alike])
    other = np.array([[found[k, name].gain_untrained.mean(0) for name in names] for k in alike])
    shown = None
    if len(spots) == 1:
        shown = [name for name in names if found[0, name].claimed.any()]
    elif group:
        beyond = {row["layer"] for row in group if row["beyond_both"]}
        shown = [name for name in names if name in beyond]
    figure = layers_figure(gain, other, names, channels, info, status, shown)
    save(figure, folder / "layers")
    told.append({"file": "layers.svg", "alt": title_of(figure)})
    whole = {
        what: np.array([[parts[k, name][what] for name in names] for k in alike])
        for what in ("acoustics_alone", "shared", "layer_alone")
    }
    figure = partition_figure(whole, names, channels, status)
    save(figure, folder / "partition")
    return [*told, {"file": "partition.svg", "alt": title_of(figure)}]


def title_of(figure: Any) -> str:
    return " ".join(figure.get_suptitle().split())
