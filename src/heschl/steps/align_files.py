"""What `heschl align` writes: tables, what they say in short, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heschl.brain.layers import LayerGain, table
from heschl.files import write_csv
from heschl.steps import align_group as over
from heschl.steps.align_fit import Listener, Response, Settings


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


def write_response(folder: Path, listeners: Sequence[Listener], answers: Sequence[Response]) -> None:
    rows = [
        {
            "subject": who.subject,
            "channel": channel,
            "r_envelope": float(one.r[c]),
            "chance_95": float(one.chance[c]),
            "p": float(one.p[c]),
            "r_acoustics": float(one.acoustics[c]),
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
        {"subject": spots[k].subject, "layer": name, **row}
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
    status: str,
) -> None:
    from heschl.figures.align import layers_figure, response_figure
    from heschl.figures.style import save

    same = [k for k, one in enumerate(listeners) if one.channels == listeners[0].channels]
    first = listeners[0]
    figure = response_figure(
        answers[0].lags,
        np.mean([answers[k].weights for k in same], axis=0),
        np.mean([answers[k].r for k in same], axis=0),
        float(np.mean([answers[k].chance for k in same])),
        first.info,
        len(same),
        status,
    )
    save(figure, folder / "response")
    if not found:
        return
    names = list(dict.fromkeys(name for _, name in found))
    alike = [k for k, one in enumerate(spots) if one.channels == spots[0].channels]
    gain = np.array([[found[k, name].gain for name in names] for k in alike])
    other = np.array([[found[k, name].gain_untrained.mean(0) for name in names] for k in alike])
    figure = layers_figure(gain, other, names, spots[0].channels, spots[0].info, status)
    save(figure, folder / "layers")
