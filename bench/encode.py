"""Single-level cross-validation of an encoding model against mtrf: seconds and error, side by side.

    python bench/encode.py [--out TABLE.md] [--threads 2] [--rounds 1] [--minutes 10]

64 Hz, 128 channels x 10 min, 40 features, 50 lags (2,000 columns), 10 alphas, 5 folds of 2 min, then the weights of
the best alpha on everything: what ``TRF.train`` of mtrf does, with its covariances kept in memory. The error is the
largest difference from mtrf of any r (alpha, channel) and of the final weights relative to the largest. A few minutes;
mtrf needs about 10 GB.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

LIMITS = {"heschl, float64": 4.0, "heschl, float32": 8.0}  # times faster than mtrf
RATE, LAGS = 64, (0.0, 49 / 64)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--features", type=int, default=40)
    given = parser.parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(given.threads)  # before numpy is loaded
    lines, slow = compare(given)
    text = "\n".join(lines)
    print(text)
    if given.out:
        from heschl.files import write_text

        write_text(given.out, text + "\n")
    for line in slow:
        print(line)
    return 1 if slow else 0


def compare(given: argparse.Namespace) -> tuple[list[str], list[str]]:
    import numpy as np

    x, y = data(int(given.minutes * 60 * RATE), given.features)
    lambdas = np.logspace(-3, 6, 10)
    rows = {"mtrf": theirs}
    rows |= {"heschl, float64": ours, "heschl, float32": ours}
    took: dict[str, list[float]] = {name: [] for name in rows}
    found = {}
    for _ in range(given.rounds):
        for name, call in rows.items():
            kind = "float32" if name.endswith("32") else "float64"
            a, b = [run.astype(kind) for run in x], [run.astype(kind) for run in y]
            begin = time.perf_counter()
            found[name] = call(a, b, lambdas)
            took[name].append(time.perf_counter() - begin)
            print(f"{name}: {took[name][-1]:.1f} s", file=sys.stderr, flush=True)
    lines = [
        f"Encoding model, single-level cross-validation: {RATE} Hz, {y[0].shape[1]} channels x {given.minutes:g} min of "
        f"noise and signal drawn by a seed, {given.features} features, 50 lags, 10 alphas, 5 folds, {given.threads} "
        f"threads, {given.rounds} round(s) in turn, numpy {np.__version__}, mtrf {version('mtrf')}.",
        "",
        "| program | seconds | times faster than mtrf | at least | error of r | error of weights, relative |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    slow = []
    for name in rows:
        seconds = min(took[name])
        times = min(took["mtrf"]) / seconds
        r, weights = (
            np.abs(np.asarray(a, float) - np.asarray(b, float)).max()
            for a, b in zip(found[name], found["mtrf"])
        )
        weights /= np.abs(found["mtrf"][1]).max()
        limit = LIMITS.get(name)
        lines.append(
            f"| {name} | {seconds:.1f} | {times:.1f} | {'' if limit is None else f'{limit:.0f}'} | "
            f"{'' if limit is None else f'{r:.0e}'} | {'' if limit is None else f'{weights:.0e}'} |"
        )
        if limit and times < limit:
            slow.append(f"{name} is {times:.1f} times as fast as mtrf; {limit:.0f} are asked for")
    return lines, slow


def data(length: int, features: int):  # type: ignore[no-untyped-def]
    """Five runs of smooth features (time, feature) and of 128 channels that follow them, standard scores."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.standard_normal((length, features))
    for _ in range(2):
        x[1:] += 0.8 * x[:-1]
    y = 0.2 * x @ rng.standard_normal((features, 128)) / features**0.5
    y[10:] += 0.2 * x[:-10] @ rng.standard_normal((features, 128)) / features**0.5
    y += y.std() * 3 * rng.standard_normal(y.shape)
    x, y = x / x.std(0), y / y.std(0)
    return np.array_split(x, 5), np.array_split(y, 5)


def theirs(x, y, lambdas):  # type: ignore[no-untyped-def]
    """r (alpha, channel) and weights, by mtrf with one alpha for all channels, the best on average."""
    from mtrf.model import TRF

    model = TRF()
    r = model.train(x, y, RATE, *LAGS, lambdas, k=5, seed=0, verbose=False)
    return r, model.weights / RATE


def ours(x, y, lambdas):  # type: ignore[no-untyped-def]
    import numpy as np

    from heschl.brain import blocks, encode, gram, ridge

    steps = gram.lag_steps(LAGS, RATE)
    made = blocks.cut(x, y, steps, 5)
    # mtrf's penalty is lambda * rate on the mean of the training runs' matrices, and in the end of all runs'
    r = encode.cross_validate(made, lambdas * RATE * 4, np.zeros(x[0].shape[1], int)).mean((1, 2))
    final = next(ridge.solve(made.all().centred(), lambdas[[int(r.argmax())]] * RATE * 5))
    return r, final.reshape(len(steps), x[0].shape[1], -1).transpose(1, 0, 2)


if __name__ == "__main__":
    sys.exit(main())
