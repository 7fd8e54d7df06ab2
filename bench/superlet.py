"""Superlets against the plain algorithm, in one run: speed and error side by side.

    python bench/superlet.py [--out TABLE.md] [--threads 2] [--reference superlet.npz]

The plain algorithm convolves each channel with each wavelet by FFT (scipy.signal.fftconvolve) and multiplies powers of
the results, with the published kernels; where the published arrays are given it is first checked against them. 16 channels
of 10 s at 512 Hz, 100 frequencies from 2 to 150 Hz, orders 1 to 30. Rounds alternate; times are the best of them.
Under a minute on two cores.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.signal import fftconvolve
from threadpoolctl import threadpool_limits

from heschl.features._superlet_kernels import deviation, reference_kernel, wavelets
from heschl.features.superlet import superlet
from heschl.files import write_text

CHANNELS, SECONDS, RATE = 16, 10, 512
FREQS = np.linspace(2, 150, 100)
TARGETS = {("gaussian", 1): 8, ("gaussian", 8): 20}
PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "reference" / "superlet.npz"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--reference", type=Path, default=PUBLISHED, help="the published arrays, where they are"
    )
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    checked = check(chosen.reference) if chosen.reference.exists() else None
    with threadpool_limits(chosen.threads):
        lines, missed = measure(chosen.rounds)
    said = (
        "not checked: the published arrays are not here" if checked is None else f"{checked:.1g} of the peak"
    )
    heading = (
        f"{CHANNELS} channels x {SECONDS} s x {RATE} Hz, {len(FREQS)} frequencies {FREQS[0]:g}-{FREQS[-1]:g} Hz, orders 1-30, "
        f"multiplicative; torch {torch.__version__}, {chosen.threads} thread(s) for everybody, {platform.machine()} "
        f"{sys.platform}, {time.strftime('%Y-%m-%d')}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores. "
        "Differences are the largest, of the peak, on white noise; one's own kernel is convolved in float64. "
        f"The plain algorithm differs from the published arrays by at most {said}."
    )
    text = "\n".join([heading, "", *lines]) + "\n"
    print(text, end="")
    if chosen.out:
        write_text(chosen.out, text)
    return int(missed)


def plain(
    x: np.ndarray,
    rate: float,
    freqs: Sequence[float],
    cycles: float,
    order: tuple[float, float],
    kernel: Callable[[float, float, float], np.ndarray] = reference_kernel,
) -> np.ndarray:
    """(channel, time) to (channel, freq, time): one wavelet after the other."""
    power = np.empty((len(x), len(freqs), x.shape[1]))
    for row, one in enumerate(wavelets(list(freqs), cycles, order)):
        kernels = [kernel(one.freq, number, rate) for number in one.cycles]
        for channel, wave in enumerate(x):
            product = np.ones(len(wave))
            for shape, weight in zip(kernels, one.weights, strict=True):
                whole = fftconvolve(wave, shape, mode="full")[len(shape) // 2 :][: len(wave)]
                product *= (2 * (whole.real**2 + whole.imag**2)) ** weight
            power[channel, row] = product
    return power


def whole_gaussian(freq: float, cycles: float, rate: float) -> np.ndarray:
    """The wavelet of the definition, cut at seven standard deviations."""
    t = (
        np.arange(
            -math.ceil(7 * deviation(freq, cycles) * rate), math.ceil(7 * deviation(freq, cycles) * rate) + 1
        )
        / rate
    )
    shape = np.exp(-0.5 * (t / deviation(freq, cycles)) ** 2)
    return shape / shape.sum() * np.exp(2j * np.pi * freq * t)


def check(path: Path) -> float:
    """The plain algorithm's largest difference from the published arrays, relative to their peaks."""
    arrays = np.load(path)
    worst = 0.0
    for name in sorted({key.split("/")[0] for key in arrays}):
        rate, cycles, first, last = (float(value) for value in arrays[f"{name}/params"])
        expected = arrays[f"{name}/power"]
        found = plain(arrays[f"{name}/x"][None], rate, arrays[f"{name}/freqs"], cycles, (first, last))[0]
        worst = max(worst, float(np.abs(found - expected).max() / expected.max()))
    if worst > 1e-6:
        raise SystemExit(
            f"the plain algorithm is {worst:.2g} of the peak off the published arrays: it is no peer"
        )
    return worst


def measure(rounds: int) -> tuple[list[str], bool]:
    """The table's lines, and whether a target was missed."""
    x = np.random.default_rng(0).standard_normal((CHANNELS, SECONDS * RATE))
    given = torch.as_tensor(x, dtype=torch.float32)
    kinds = [("gaussian", 1), ("gaussian", 8), ("gaussian", 16), ("reference", 1), ("reference", 8)]
    best = dict.fromkeys(kinds, np.inf)
    peer, errors = np.inf, {}
    exact = plain(x[:1], RATE, FREQS, 3, (1, 30), whole_gaussian)
    for _ in range(rounds):
        start = time.perf_counter()
        expected = plain(x, RATE, FREQS, 3, (1, 30))
        peer = min(peer, time.perf_counter() - start)
        for kernel, decim in kinds:
            start = time.perf_counter()
            found = superlet(given, RATE, FREQS, 3, (1, 30), kernel=kernel, decim=decim)
            best[kernel, decim] = min(best[kernel, decim], time.perf_counter() - start)
            far = np.abs(found.numpy() - expected[..., ::decim]).max() / expected.max()
            own = exact if kernel == "gaussian" else expected[:1]
            errors[kernel, decim] = far, np.abs(found[:1].numpy() - own[..., ::decim]).max() / own.max()
    lines = [
        "| what | decim | seconds | times the plain algorithm | difference from it | error against its own kernel | target |",
        "|---|---:|---:|---:|---:|---:|---|",
        f"| plain FFT convolution, float64 | 1 | {peer:.2f} | 1 | 0 | 0 | |",
    ]
    missed = False
    for (kernel, decim), seconds in best.items():
        target = TARGETS.get((kernel, decim))
        verdict = ""
        if target:
            met = peer / seconds >= target
            missed |= not met
            verdict = f"at least {target}: {'met' if met else 'MISSED'}"
        far, own = errors[kernel, decim]
        lines.append(
            f'| heschl, kernel="{kernel}", float32 | {decim} | {seconds:.3f} | {peer / seconds:.1f} | {far:.1g} | {own:.1g} | {verdict} |'
        )
    return lines, missed


if __name__ == "__main__":
    sys.exit(main())
