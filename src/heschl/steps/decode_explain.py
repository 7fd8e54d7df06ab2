"""What a decoder of brains rests on: relevance of sensors, frequencies and moments; what its class token attends to.

Relevance is by LRP (heschl.explanation.lrp) for the word that was heard, through the whole network down to its maps,
recording by recording, as sensors lie elsewhere in each. Attention is rolled out over all blocks, and the class
token's row is the one that is kept, since the class token is the answer. Neither is a place in the brain: relevance of a
sensor says what the network reads, not where that comes from.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heschl.corpora.trials import opened
from heschl.explanation.lrp import lrp
from heschl.files import replacing, write_csv
from heschl.models.deep_matcher import DeepMatcher
from heschl.models.neural_encoder import NeuralEncoder, Placed
from heschl.models.segment_matcher import SegmentMatcher
from heschl.models.spectral_transformer import rollout
from heschl.steps.decode_areas import areas_that_drive
from heschl.steps.decode_linear import Decoded, Powers, linear_by_frequency, linear_patterns, maps_of
from heschl.steps.decode_spaces import codebook_spaces

MOST = 96  # trials of a recording that are explained, evenly over the part


def explain_decoding(
    held: Decoded,
    power: Sequence[Powers],
    folder: Path,
    of: str,
    preset: str = "epsilon_plus",
    dictionary: Path | None = None,
    vectors: Path | None = None,
) -> dict[str, Any]:
    """Writes what `heschl.steps.decode` lists under ``explain``.

    Relevance is given summed (what speaks for the word, less what speaks against it) and as the share of all |relevance|.
    by_frequency.csv has the linear decoder's pattern too, and what it is by chance: the network may do without a frequency that
    tells words as well as another. Of a segment matcher, by sensor and by moment; of another network, areas and the linear decoder's pattern are given alone.

    Parameters
    ----------
    power: of all subjects, see `heschl.steps.decode_linear.powers`. of: whose trials, for the titles.

    Returns
    -------
    {"areas": as `heschl.steps.decode_areas.areas_that_drive` gives it, "notes", "pictures"} and, of a neural encoder,
    {"trials", "preset", "frequency": the one with the largest share (Hz, or "row" of the maps, as "unit" says), "time": likewise (s), "own_attention": how much of
    the class token's attention stays on itself, "spaces": as `heschl.steps.decode_spaces.codebook_spaces` gives it}
    """
    rows = _sensors(held, power)
    found: dict[str, Any] = {"notes": [], "pictures": []}
    if isinstance(held.network.model, NeuralEncoder):
        found |= _encoder(held, held.network.model, rows, folder, of, preset)
        found["spaces"] = codebook_spaces(held, folder, dictionary, vectors)
    elif isinstance(held.network.model, SegmentMatcher | DeepMatcher):
        found |= _matcher(held, held.network.model, rows, folder, preset)
    else:
        found["notes"].append(
            f"what {held.run.recipe.model.use} reads is not known to this step: areas alone are asked"
        )
    write_csv(folder / "by_sensor.csv", rows, list(rows[0]))
    found["pictures"] += _topographies(rows, folder, of, held)
    found["areas"] = areas_that_drive(held, folder, of)
    found["pictures"] += found["areas"].pop("pictures")
    found["notes"] += found["areas"].pop("notes")
    return found


def _sensors(held: Decoded, power: Sequence[Powers]) -> list[dict[str, Any]]:
    """A row for each sensor of each recording that has trials here: its place, and the linear decoder's pattern there."""
    sensors = held.network.sensors
    assert sensors is not None
    there = {clip.labels["recording"] for clip in held.trials}
    patterns = linear_patterns(held, power)
    rows = []
    for number, name in enumerate(sensors.recordings):
        if name not in there:
            continue
        recording = next(one for one in held.corpus.recordings if one.id == name)
        pattern = patterns.get(recording.subject)
        for k, channel in enumerate(recording.channels):
            place = [None if np.isnan(one) else round(float(one), 6) for one in sensors.positions[number, k]]
            row = {"recording": name, "channel": channel, **dict(zip("xyz", place))}
            rows.append(row | {"linear_pattern": None if pattern is None else float(pattern[k])})
    return rows


def _encoder(
    held: Decoded, model: NeuralEncoder, rows: list[dict[str, Any]], folder: Path, of: str, preset: str
) -> dict[str, Any]:
    """Relevance and attention of a neural encoder; adds a sensor's share, relevance and spatial attention to its row."""
    from heschl.figures.decode import decode_figure
    from heschl.figures.style import save_both

    sensors = held.network.sensors
    assert sensors is not None
    maps: list[torch.Tensor] = []  # |relevance| of a recording, (freq, step)
    signed: list[torch.Tensor] = []
    flows: list[torch.Tensor] = []
    blocks: list[torch.Tensor] = []  # the class token's row of each block, (trial, block, patch), heads' mean
    chosen = 0
    for name in dict.fromkeys(row["recording"] for row in rows):
        own = _some(held, name)
        x = maps_of(held, [held.trials[k] for k in own])
        positions = torch.from_numpy(sensors.positions[sensors.recordings.index(name)])
        relevance = lrp(Placed(model, positions), x, torch.from_numpy(held.truth[own]), preset)
        share = relevance.abs() / relevance.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-30)
        maps.append(share.sum((0, 1)))
        signed.append(relevance.sum((0, 1)))
        with torch.no_grad():
            weights = model.attention(x, positions)
            flows.append(rollout(weights)[:, 0])
            blocks.append(torch.stack([one.mean(1)[:, 0, 1:] for one in weights], 1))
            mixing = model.merger.weights(positions[None])[0].mean(0)
        each = (share.sum((0, 2, 3)) / len(own), relevance.sum((0, 2, 3)) / len(own), mixing)
        _fill(rows, name, each)
        chosen += len(own)
    share_map, sum_map = (torch.stack(one).sum(0).double().numpy() / chosen for one in (maps, signed))
    flow = torch.cat(flows).double()
    attention = flow[:, 1:].mean(0).reshape(model.transformer.grid).numpy()
    (frequencies, unit), times = _frequencies(held, len(share_map)), _times(held, share_map.shape[1])
    by_frequency, by_time = (
        [
            {column: round(float(v), 6), "share": float(a), "relevance": float(b)}
            for v, a, b in zip(values, share_map.sum(axis), sum_map.sum(axis))
        ]
        for column, axis, values in (
            ("hertz" if unit == "Hz" else unit, 1, frequencies),
            ("seconds", 0, times),
        )
    )
    pattern, chance = linear_by_frequency(held)
    for row, value in zip(by_frequency, pattern):
        row |= {"linear_pattern": float(value), "linear_chance": chance}
    write_csv(folder / "by_frequency.csv", by_frequency, list(by_frequency[0]))
    write_csv(folder / "by_time.csv", by_time, list(by_time[0]))
    patches = _patches(model, frequencies, times, attention)
    by_block = torch.cat(blocks).double().mean(0).numpy()
    for k, patch in enumerate(patches):
        patch |= {f"block_{number + 1}": float(own[k]) for number, own in enumerate(by_block)}
    write_csv(folder / "attention.csv", patches, list(patches[0]))
    with replacing(folder / "relevance.npz") as temporary, temporary.open("wb") as held_open:
        np.savez(
            held_open,
            share=share_map,
            relevance=sum_map,
            frequencies=frequencies,
            times=times,
            attention=attention,
        )
    linear = float(frequencies[pattern.argmax()])
    frequency, time = float(frequencies[share_map.sum(1).argmax()]), float(times[share_map.sum(0).argmax()])
    title = f"What the network reads, by frequency and moment, {of}"
    drawn = partial(decode_figure, share_map, frequencies, times, patches, pattern / chance, title, unit=unit)
    save_both(drawn, folder / "explained")
    alt = (
        f"Share of relevance by frequency and time: over all times most at {at_frequency(frequency, unit)}, over all frequencies most at "
        f"{time:.2f} s; and what the class token attends to. Words differ most for the linear decoder at {at_frequency(linear, unit)}."
    )
    return {
        "trials": chosen,
        "preset": preset,
        "frequency": frequency,
        "unit": unit,
        "time": time,
        "own_attention": float(flow[:, 0].mean()),
        "pictures": [{"file": "explained.svg", "title": title, "alt": alt}],
    }


def _matcher(
    held: Decoded, model: SegmentMatcher | DeepMatcher, rows: list[dict[str, Any]], folder: Path, preset: str
) -> dict[str, Any]:
    """Relevance of a segment matcher by moment; adds a sensor's share, relevance and spatial attention to its row."""
    sensors = held.network.sensors
    assert sensors is not None
    courses: list[torch.Tensor] = []  # of a recording, (share or relevance, step)
    chosen = 0
    for name in dict.fromkeys(row["recording"] for row in rows):
        number = sensors.recordings.index(name)
        positions = torch.from_numpy(sensors.positions[number])
        own = copy.deepcopy(model)
        layer = own.encoder.personal  # the subject's own matrix alone, whose mean is itself
        layer.matrices = torch.nn.Parameter(layer.matrices[int(sensors.subject[number])][None].detach())
        some = _some(held, name)
        x = maps_of(held, [held.trials[k] for k in some])
        relevance = lrp(Placed(own, positions), x, torch.from_numpy(held.truth[some]), preset)
        share = relevance.abs() / relevance.abs().sum((1, 2), keepdim=True).clamp_min(1e-30)
        with torch.no_grad():
            mixing = own.encoder.merger.weights(positions[None])[0].mean(0)
        each = (share.sum((0, 2)) / len(some), relevance.sum((0, 2)) / len(some), mixing)
        _fill(rows, name, each)
        courses.append(torch.stack([share.sum((0, 1)), relevance.sum((0, 1))]))
        chosen += len(some)
    course = torch.stack(courses).sum(0).double().numpy() / chosen
    times = _times(held, course.shape[1])
    table = [
        {"seconds": round(float(t), 6), "share": float(a), "relevance": float(b)}
        for t, a, b in zip(times, *course)
    ]
    write_csv(folder / "by_time.csv", table, ["seconds", "share", "relevance"])
    return {"trials": chosen, "preset": preset, "time": float(times[course[0].argmax()])}


def _fill(rows: Sequence[dict[str, Any]], recording: str, each: Sequence[torch.Tensor]) -> None:
    """Adds share, relevance and spatial attention, each (sensor,), to a recording's rows."""
    for k, row in enumerate(row for row in rows if row["recording"] == recording):
        row |= dict(zip(("share", "relevance", "spatial_attention"), (float(one[k]) for one in each)))


def _some(held: Decoded, recording: str) -> list[int]:
    """Numbers of a recording's trials, `MOST` at most, evenly over the part."""
    own = [k for k, clip in enumerate(held.trials) if clip.labels["recording"] == recording]
    return [own[k] for k in np.unique(np.linspace(0, len(own) - 1, min(MOST, len(own))).astype(int))]


HEADS = {  # column of by_sensor.csv -> how its topography is called
    "share": "relevance (LRP)",
    "spatial_attention": "spatial attention",
    "linear_pattern": "linear decoder's pattern (Haufe)",
}


def _topographies(rows: list[dict[str, Any]], folder: Path, of: str, held: Decoded) -> list[dict[str, str]]:
    """Writes sensors.svg/.png: all recordings on one head, each scaled so that its mean sensor is one."""
    from heschl.figures.decode import heads_figure
    from heschl.figures.style import save_both

    if any(one.space not in ("head", None) for one in held.corpus.recordings):
        return []  # electrodes in the brain lie on no head
    heads: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for column, name in HEADS.items():
        at: dict[tuple[float, ...], list[float]] = {}
        for recording in dict.fromkeys(row["recording"] for row in rows):
            own = [row for row in rows if row["recording"] == recording and row["x"] is not None]
            own = [row for row in own if row.get(column) is not None]
            mean = float(np.mean([row[column] for row in own])) if own else 0.0
            for row in own if mean else []:
                key = tuple(round(row[axis], 3) for axis in "xyz")
                at.setdefault(key, []).append(row[column] / mean)
        if len(at) > 3:
            heads[name] = (np.array(list(at)), np.array([np.mean(one) for one in at.values()]))
    if not heads:
        return []
    title = f"Which sensors the decoders read, {of}"
    save_both(partial(heads_figure, heads, title), folder / "sensors")
    alt = "Topographies, one is the mean sensor: " + "; ".join(
        f"{name} up to {values.max():.2g}" for name, (_, values) in heads.items()
    )
    return [{"file": "sensors.svg", "title": title, "alt": alt + "."}]


def at_frequency(value: float, unit: str) -> str:
    """A frequency for a person: "12 Hz", or "row 12"."""
    return f"{value:.3g} Hz" if unit == "Hz" else f"{unit} {value:.0f}"


def _frequencies(held: Decoded, count: int) -> tuple[np.ndarray, str]:
    """Of the maps' rows in "Hz": as the feature has them, or the file that keeps the maps (`freqs`); where neither says them, numbers
    of rows, and "row"."""
    known = getattr(held.network.feature, "frequencies", None)
    if known is None and getattr(held.network.feature, "stored", False):
        with opened(held.trials[0].signal) as file:
            known = file["freqs"][:] if "freqs" in file else None
    if known is None or len(known) != count:
        return np.arange(count, dtype=float), "row"
    return np.asarray(known, float), "Hz"


def _times(held: Decoded, count: int) -> np.ndarray:
    """Seconds of the maps' steps."""
    feature: Any = held.network.feature
    return np.asarray(float(feature.start) + np.arange(count) / float(feature.rate))


def _patches(
    model: NeuralEncoder, frequencies: np.ndarray, times: np.ndarray, attention: np.ndarray
) -> list[dict[str, Any]]:
    """A row for each patch: the frequencies and times that it begins and ends at, and the class token's attention."""
    height, width = model.patches.kernel_size
    down, along = model.patches.stride
    rows = []
    for (i, j), weight in np.ndenumerate(attention):
        first, last = 4 * j * along, min(4 * (j * along + width), len(times)) - 1
        rows.append(
            {
                "low": round(float(frequencies[i * down]), 4),
                "high": round(float(frequencies[i * down + height - 1]), 4),
                "start": round(float(times[first]), 6),
                "stop": round(float(times[last]), 6),
                "attention": float(weight),
            }
        )
    return rows
