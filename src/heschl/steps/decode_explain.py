"""What a decoder of brains rests on: relevance of sensors, frequencies and moments; what its class token attends to.

Relevance is by LRP (heschl.explanation.lrp) for the word that was heard, through the whole network down to its maps,
recording by recording, as sensors lie elsewhere in each. Attention is rolled out over all blocks, and the class
token's row is the one that is kept, since the class token is the answer. Neither is a place in the brain: relevance of a
sensor says what the network reads, not where that comes from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from heschl.explanation.lrp import lrp
from heschl.files import replacing, write_csv
from heschl.models.neural_encoder import NeuralEncoder, Placed
from heschl.models.spectral_transformer import rollout
from heschl.steps.decode_linear import Decoded, maps_of
from heschl.steps.decode_spaces import codebook_spaces
from heschl.types import HeschlError

MOST = 96  # trials of a recording that are explained, evenly over the part


def explain_decoding(
    held: Decoded,
    folder: Path,
    preset: str = "epsilon_plus",
    most: int = MOST,
    dictionary: Path | None = None,
    vectors: Path | None = None,
) -> dict[str, Any]:
    """Writes by_frequency.csv, by_time.csv, by_sensor.csv, attention.csv, relevance.npz and explained.svg/.png.

    Relevance is given summed (what speaks for the word, less what speaks against it) and as the share of all |relevance|.

    Returns
    -------
    {"trials", "preset", "frequency": the one with the largest share (Hz), "time": likewise (s), "own_attention": how much of
    the class token's attention stays on itself, "spaces": as `heschl.steps.decode_spaces.codebook_spaces` gives it}

    Raises
    ------
    HeschlError: the network is not a neural encoder.
    """
    from heschl.figures.decode import decode_figure
    from heschl.figures.style import save

    network, model = held.network, held.network.model
    sensors = network.sensors
    if not isinstance(model, NeuralEncoder) or sensors is None:
        raise HeschlError(
            f"{held.run.recipe.model.use} is explained by heschl explain: --explain is for the neural encoder"
        )
    maps: list[torch.Tensor] = []  # |relevance| of a recording, (freq, step)
    signed: list[torch.Tensor] = []
    flows: list[torch.Tensor] = []
    rows: list[dict[str, Any]] = []
    by_sensor: dict[str, np.ndarray] = {}
    chosen = 0
    for number, name in enumerate(sensors.recordings):
        own = [k for k, clip in enumerate(held.trials) if clip.labels["recording"] == name]
        if not own:
            continue
        own = [own[k] for k in np.unique(np.linspace(0, len(own) - 1, min(most, len(own))).astype(int))]
        x = maps_of(held, [held.trials[k] for k in own])
        positions = torch.from_numpy(sensors.positions[number])
        relevance = lrp(Placed(model, positions), x, torch.from_numpy(held.truth[own]), preset)
        share = relevance.abs() / relevance.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-30)
        maps.append(share.sum((0, 1)))
        signed.append(relevance.sum((0, 1)))
        with torch.no_grad():
            flows.append(rollout(model.attention(x, positions))[:, 0])
            mixing = model.merger.weights(positions[None])[0].mean(0)
        by_sensor[name] = share.sum((0, 2, 3)).numpy() / len(own)
        recording = next(one for one in held.corpus.recordings if one.id == name)
        for k, channel in enumerate(recording.channels):
            place = [None if np.isnan(one) else round(float(one), 6) for one in sensors.positions[number, k]]
            rows.append(
                {
                    "recording": name,
                    "channel": channel,
                    **dict(zip("xyz", place)),
                    "share": float(by_sensor[name][k]),
                    "relevance": float(relevance[:, k].sum() / len(own)),
                    "spatial_attention": float(mixing[k]),
                }
            )
        chosen += len(own)
    share_map, sum_map = (torch.stack(one).sum(0).double().numpy() / chosen for one in (maps, signed))
    flow = torch.cat(flows).double()
    attention = flow[:, 1:].mean(0).reshape(model.transformer.grid).numpy()
    frequencies, times = _axes(held, share_map.shape)
    write_csv(folder / "by_sensor.csv", rows, list(rows[0]))
    for file, unit, axis, values in (
        ("by_frequency", "hertz", 1, frequencies),
        ("by_time", "seconds", 0, times),
    ):
        table = [
            {unit: round(float(v), 6), "share": float(a), "relevance": float(b)}
            for v, a, b in zip(values, share_map.sum(axis), sum_map.sum(axis))
        ]
        write_csv(folder / f"{file}.csv", table, [unit, "share", "relevance"])
    patches = _patches(model, frequencies, times, attention)
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
    first = next(iter(by_sensor))
    figure = decode_figure(
        share_map,
        frequencies,
        times,
        attention,
        sensors.positions[sensors.recordings.index(first)],
        by_sensor[first],
        model.codebook.detach().double().numpy(),
        network.labels,
        simulated=held.corpus.synthetic,
    )
    save(figure, folder / "explained")
    return {
        "trials": chosen,
        "preset": preset,
        "frequency": float(frequencies[share_map.sum(1).argmax()]),
        "time": float(times[share_map.sum(0).argmax()]),
        "own_attention": float(flow[:, 0].mean()),
        "spaces": codebook_spaces(held, folder, dictionary, vectors),
    }


def _axes(held: Decoded, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (Hz; numbers of rows where the feature does not know them) and times (s) of the maps."""
    feature: Any = held.network.feature
    known = getattr(feature, "frequencies", None)
    rows = (
        np.arange(shape[0], dtype=float)
        if known is None or len(known) != shape[0]
        else np.asarray(known, float)
    )
    return rows, float(feature.start) + np.arange(shape[1]) / float(feature.rate)


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
