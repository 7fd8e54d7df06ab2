"""How far from the truth inverses put a simulated source, without inverse crime.

    python bench/localise.py [--out TABLE.md] [--sources 100] [--seed 0]

Sources lie on another grid (oct6, 8,196 on the white surface, none nearer than 1 mm to a source of the inverse), in a
head whose skull conducts half as well (0.003 instead of 0.006 S/m), and the inverse's head is shifted by 5 mm and
turned by 2 degrees against it. One source at a time, 10 mm patches of 20 nAm net moment; white sensor noise; SNR is
that of the averaged answer, signal power over noise power in decibels at its strongest moment, mean over channels.
The estimate's place is its highest source. Three minutes on two cores.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mne
import numpy as np
from scipy.spatial import cKDTree

from heschl.brain.anatomy import template
from heschl.brain.bem import CONDUCTIVITY
from heschl.brain.coregister import moved, scaled_template
from heschl.brain.forward import leadfield, signal_info
from heschl.brain.inverse import METHODS, estimate, inverse_operator
from heschl.brain.noise import white_covariance
from heschl.brain.sensors import sensors_info
from heschl.files import write_text

SENSORS = {"neuromag": "MEG, 306 channels", "biosemi64": "EEG, 64 channels"}
SNRS: tuple[float | None, ...] = (None, 20.0, 10.0, 0.0, -10.0)
SHIFT, TURN = 0.005, np.deg2rad(2.0)
PATCH = 0.010  # m, radius of an active patch
NEAR = 0.001  # m: nearer to the inverse's grid than this is not off it


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--sources", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    mne.set_log_level("error")
    warnings.simplefilter("ignore")
    head = template()
    rng = np.random.default_rng(given.seed)
    axis, way = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 3)))
    skull = (CONDUCTIVITY[0], CONDUCTIVITY[1] / 2, CONDUCTIVITY[2])
    truth = scaled_template(1.0, moved(head.trans, SHIFT * way, TURN * axis), skull, "oct6")
    off_grid = cKDTree(head.sources).query(truth.sources)[0] > NEAR
    chosen = rng.choice(np.flatnonzero(off_grid), given.sources, replace=False)
    patches = [grown(truth, int(k)) for k in chosen]
    middles = np.stack([truth.positions[patch].mean(0) for patch in patches])
    guess = spread(np.linalg.norm(rng.permutation(head.positions)[: len(middles)] - middles, axis=1))
    lines = [
        f"{given.sources} patches of 10 mm off the inverse's grid, skull conductivity halved, coregistration wrong by "
        f"{SHIFT * 1000:.0f} mm and {np.rad2deg(TURN):.0f} degrees; inverses with loose 0.2, depth 0.8, lambda2 from the SNR "
        "(1/9 at least). Median / 90th percentile of the distance from the patch's middle to the estimate's peak, mm. "
        f"A random source is at {guess}.",
        "",
        "| sensors | SNR of the average, dB | " + " | ".join(METHODS) + " |",
        "|---|---:|" + "---:|" * len(METHODS),
    ]
    for sensors, words in SENSORS.items():
        info = signal_info(sensors_info(sensors), 1000.0, "average")
        data = signals(truth, patches, info)
        operator = inverse_operator(info, head)
        for snr in SNRS:
            noisy, amplitude = with_noise(data, info, snr, np.random.default_rng(given.seed + 1))
            cells = [errors(noisy, info, operator, method, amplitude, middles) for method in METHODS]
            level = "no noise" if snr is None else f"{snr:.0f}"
            lines.append(f"| {words} | {level} | " + " | ".join(cells) + " |")
    text = "\n".join(lines)
    print(text)
    if given.out:
        write_text(given.out, text + "\n")
    return 0


def grown(anatomy: Any, source: int) -> np.ndarray:
    """Sources within the patch's radius of one, in its hemisphere, that do not face the other way."""
    n = len(anatomy.vertices[0])
    same = (np.arange(len(anatomy.sources)) < n) == (source < n)
    near = np.linalg.norm(anatomy.sources - anatomy.sources[source], axis=1) <= PATCH
    return np.flatnonzero(same & near & (anatomy.normals @ anatomy.normals[source] > 0))


def signals(truth: Any, patches: list[np.ndarray], info: Any) -> np.ndarray:
    """(channel, case) topographies of 20 nAm of net moment."""
    gain = leadfield(info, truth, reference="average" if "eeg" in info.get_channel_types() else None)
    columns = []
    for patch in patches:
        net = np.linalg.norm(truth.normals[patch].sum(0))
        columns.append(gain[:, patch].sum(1) * 20e-9 / net)
    return np.stack(columns, 1)


def with_noise(
    data: np.ndarray, info: Any, snr: float | None, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Each case in noise of its own at the SNR, in units where the noise is one trial's; and the amplitude SNR."""
    deviation = np.sqrt(np.asarray(white_covariance(info).data))[:, None]
    whitened = data / deviation
    whitened /= np.sqrt(np.square(whitened).mean(0))
    if snr is None:
        return whitened * deviation * 1e3, 3.0
    amplitude = 10 ** (snr / 20)
    noise = rng.standard_normal(whitened.shape)
    if "eeg" in set(info.get_channel_types()):
        noise -= noise.mean(0)
    return (amplitude * whitened + noise) * deviation, min(3.0, max(amplitude, 1.0))


def errors(
    data: np.ndarray, info: Any, operator: Any, method: str, amplitude: float, middles: np.ndarray
) -> str:
    evoked = mne.EvokedArray(data, info, comment="simulated", nave=1)
    found = estimate(evoked, operator, method, amplitude)  # type: ignore[arg-type]
    away = np.linalg.norm(found.positions[found.values.argmax(0)] - middles, axis=1)
    return spread(away)


def spread(metres: np.ndarray) -> str:
    return f"{np.median(metres) * 1000:.0f} / {np.percentile(metres, 90) * 1000:.0f}"


if __name__ == "__main__":
    raise SystemExit(main())
