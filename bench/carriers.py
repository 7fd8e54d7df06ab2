"""Does explaining a decoder find which of four sources carries the words? Its frequency, its sensors, its place.

    python bench/carriers.py [--out TABLE.md] [--seeds 1] [--work FOLDER]

Some twelve minutes of one core a seed. The four sources of the simulated listeners tell much the same of a word, and a decoder may do
without one; relevance then says what the network does, and not what was planted. Here one source alone hears the trial's
word, and the other three, as strong as before, hear others of the block: nothing but the carrier tells the word. The recipe
simulated-words as it is shipped, but at 24 dB, where the weakest carrier is learnt better than at 12 (seen on validation); a network
a carrier and seed. Relevance is by LRP, patterns are the linear decoder's (Haufe), as `heschl decode --explain` gives them, of each listener.
With ``--work`` of bench/decode.py, its runs are found again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SNR = 24.0  # dB
PERMUTATIONS = 2000
NEAR = 0.025  # m round a source's place, within which the template's sources are its own
POWER = 0.1  # that they are given, of all others' together: they are fewer than an area's
Found = dict[str, np.ndarray]  # of one network: what is measured -> (listener, source), see `measured`
WHAT = {
    "relevance": "relevance (LRP)",
    "pattern": "linear decoder's pattern (Haufe)",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the tables here as well")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", type=Path, help="keep runs here, so that a broken-off bench goes on")
    given = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded
    folder = given.work or Path(tempfile.mkdtemp(prefix="carriers-bench-"))
    os.environ["HESCHL_CACHE"] = str(folder / "cache")
    try:
        import torch

        torch.set_num_threads(1)
        text = "\n".join(tables(given.seeds, folder))
    finally:
        if given.work is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(text)
    if given.out:
        from heschl.files import write_text

        write_text(given.out, text + "\n")
    return 0


def tables(seeds: int, folder: Path) -> list[str]:
    from heschl.corpora.simulated_brain import SOURCES

    found = [[measured(folder, k, seed) for k in range(len(SOURCES))] for seed in range(seeds)]
    names = [f"{one.name}, {one.frequency:g} Hz" for one in SOURCES]
    taken = selectivity()
    lines = [
        "Simulated listeners of whose four sources one alone hears the word; the other three, as strong, hear other words of the "
        f"block. Recipe simulated-words as it is shipped, at {SNR:g} dB; for each carrier {'one network' if seeds == 1 else f'{seeds} networks'} of two "
        "listeners, each with a montage, noise and trials of its own; 320 trials of 20 words by eight unheard voices. Intervals are the "
        "least and the most over listeners and seeds.",
        "",
        "1. How many words are told where one source carries them. Chance is 5.0 %.",
        "",
        "| carrier | codebook network, top-1 | over listeners | largest p | shrinkage LDA, top-1 | over listeners | largest p |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for k, name in enumerate(names):
        cells = []
        for who in ("network", "linear"):
            top = np.array([one[k][f"{who}/top-1"] for one in found])
            p = max(float(one[k][f"{who}/p"]) for one in found)
            cells.append(
                f"{100 * top.mean():.1f} % | {100 * top.min():.1f} to {100 * top.max():.1f} | {p:.2g}"
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "2. Frequencies: at the frequency of each source, over the mean of the three networks of the same seed that have another "
        "carrier. There the source is as loud and tells nothing; 1 is chance.",
        *_contrasts(found, names, "frequency", lambda one, rest: one / rest, "{:.2f}"),
        "",
        "3. Sensors: rank correlation over a listener's electrodes with the size of each source's field there, "
        "less that of the three networks that have another carrier; 0 is chance.",
        *_contrasts(found, names, "sensors", lambda one, rest: one - rest, "{:+.2f}"),
        "",
        f"4. Places: reciprocal rank of the network lost when what a minimum-norm estimate over the template's cortex finds within "
        f"{1000 * NEAR:.0f} mm of each source is that of another trial, less that of the three networks that have another carrier; 0 is "
        "chance. How the estimate was chosen: by what it takes of the planted sources' own fields, before a network was asked. Of its own "
        f"source it takes {100 * np.diag(taken).min():.0f} to {100 * np.diag(taken).max():.0f} % of the power, of another's "
        f"{100 * (taken - np.diag(np.full(len(taken), np.inf))).max():.0f} % at most.",
        *_contrasts(found, names, "place", lambda one, rest: one - rest, "{:+.3f}"),
    ]
    return lines + shipped(folder)


def _contrasts(
    found: list[list[Found]],
    names: list[str],
    kind: str,
    against: Callable[[np.ndarray, np.ndarray], np.ndarray],
    form: str,
) -> list[str]:
    """A row for each carrier and what is measured: each source's contrast with the networks of other carriers."""
    from scipy.stats import binomtest

    lines = [
        "",
        f"| carrier | measured | {' | '.join('at ' + name for name in names)} |",
        "|---|---|" + "---:|" * len(names),
    ]
    hits: dict[
        str, tuple[int, int]
    ] = {}  # networks in which the carrier stands out most; in which it does with every listener
    chance = float(against(np.ones(1), np.ones(1))[0])
    for what in [one for one in found[0][0] if one.startswith(f"{kind}/")]:
        called = what.split("/")[1]
        every = np.array(
            [[one[what] for one in of_seed] for of_seed in found]
        )  # seed, carrier, listener, source
        rest = (every.sum(1, keepdims=True) - every) / (every.shape[1] - 1)
        told = against(every, rest)
        own = np.einsum("sklk->skl", told)
        first = told.mean(2).argmax(2) == np.arange(len(names))
        hits[called] = int(first.sum()), int((own > chance).all(2).sum())
        told = told.transpose(0, 2, 1, 3).reshape(-1, len(names), len(names))
        for k, name in enumerate(names):
            cells = [
                f"{'**' * (j == k)}{form.format(told[:, k, j].mean())}{'**' * (j == k)} ({form.format(told[:, k, j].min())} to "
                f"{form.format(told[:, k, j].max())})"
                for j in range(len(names))
            ]
            lines.append(f"| {name} | {called} | {' | '.join(cells)} |")
    tries = len(found) * len(names)
    lines.append("")
    lines += [
        f"The source that stands out most is the carrier in {count} of {tries} networks by {called} (chance a quarter; binomial p "
        f"{binomtest(count, tries, 1 / len(names), 'greater').pvalue:.1g}), and above chance with each listener in {sure}."
        for called, (count, sure) in hits.items()
    ]
    return lines


def measured(folder: Path, carrier: int, seed: int) -> Found:
    """What one network and the linear decoder beside it say of each source; kept, as it takes minutes."""
    from heschl.corpora import simulated_brain
    from heschl.files import read_csv, read_json, write_json
    from heschl.steps.decode import _answered, decode
    from heschl.steps.decode_linear import linear_by_frequency
    from heschl.training.fit import train

    path = folder / f"carrier {carrier}, seed {seed}.json"
    if path.is_file():
        return {name: np.array(values) for name, values in read_json(path).items()}
    changes = {
        "corpus.carrier": simulated_brain.SOURCES[carrier].name,
        "corpus.snr": SNR,
        "corpus.seed": seed,
        "seed": seed,
    }
    machine = {"machine.threads": 1, "machine.device": "cpu"}
    run = train("simulated-words", {**changes, **machine}, runs=folder / "carriers", quiet=True)
    scores = run.folder / "decode" / "scores.json"
    told = read_json(scores) if scores.is_file() else {}
    if "explained" not in told:
        told = decode(run, explain=True, permutations=PERMUTATIONS)
    held: dict[str, Any] = {}
    rows = read_csv(run.folder / "decode" / "per_subject.csv")
    for who in ("network", "linear"):
        held[f"{who}/top-1"] = [float(row["top_1"]) for row in rows if row["decoder"] == who]
        held[f"{who}/p"] = told[who]["p"]
    rows = [row for row in read_csv(run.folder / "decode" / "by_sensor.csv") if row["x"]]
    for column, called in (("share", "relevance"), ("linear_pattern", "pattern")):
        held[f"sensors/{WHAT[called]}"] = _alike(rows, column)
    decoded, _ = _answered(run, "test", None)
    planted, hertz = (
        [one.frequency for one in simulated_brain.SOURCES],
        decoded.network.feature.frequencies.numpy(),
    )
    for name in decoded.network.sensors.recordings:
        own = [k for k, clip in enumerate(decoded.trials) if clip.labels["recording"] == name]
        of_one = decoded._replace(trials=[decoded.trials[k] for k in own], truth=decoded.truth[own])
        for called, values in (
            ("relevance", _relevance(of_one)),
            ("pattern", linear_by_frequency(of_one)[0]),
        ):
            held.setdefault(f"frequency/{WHAT[called]}", []).append(np.interp(planted, hertz, values))
    held["place/reciprocal rank lost"] = _places(decoded)
    write_json(path, {name: np.asarray(values).tolist() for name, values in held.items()})
    print(path.stem, held, file=sys.stderr, flush=True)
    return {name: np.asarray(values) for name, values in held.items()}


def _relevance(held: Any) -> np.ndarray:
    """(freq,) share of all |relevance| of one listener's trials."""
    import torch

    from heschl.explanation.lrp import lrp
    from heschl.models.neural_encoder import Placed
    from heschl.steps.decode_linear import maps_of

    sensors, name = held.network.sensors, held.trials[0].labels["recording"]
    network = Placed(held.network.model, torch.from_numpy(sensors.positions[sensors.recordings.index(name)]))
    found = lrp(network, maps_of(held, held.trials), torch.from_numpy(held.truth), "epsilon_plus").abs()
    return np.asarray((found / found.sum((1, 2, 3), keepdim=True)).sum((1, 3)).mean(0))


def _alike(rows: list[dict[str, str]], column: str) -> np.ndarray:
    """(listener, source) rank correlation of a column of by_sensor.csv with the size of each source's field."""
    from scipy.stats import spearmanr

    from heschl.corpora import simulated_brain

    found = []
    for listener in sorted({row["recording"] for row in rows}):
        own = [row for row in rows if row["recording"] == listener]
        field = np.abs(
            simulated_brain.dipoles(np.array([[float(row[axis]) for axis in "xyz"] for row in own]))
        )
        values = [float(row[column]) for row in own]
        found.append([spearmanr(values, one).statistic for one in field.T])
    return np.array(found)


def _places(held: Any) -> np.ndarray:
    """(listener, source) reciprocal rank that the network loses where what lies near a source's place is another trial's.

    What lies there is the part of a minimum-norm estimate over the template's whole cortex: with all of it as rivals, it leaves
    the fields of the other three sources alone, which `selectivity` shows without a network; a patch that knows no rivals takes
    up to two thirds of a neighbour's. Another trial's is put in its place, as a weaker source tells no less.
    """
    from heschl.steps.decode_exchange import Head, exchanged, gain_of

    sensors, found = held.network.sensors, []
    for name, place in zip(sensors.recordings, sensors.positions, strict=True):
        heads = {name: Head(*gain_of(place)[:2])}
        own = [k for k, clip in enumerate(held.trials) if clip.labels["recording"] == name]
        found.append(
            [
                exchanged(held, own, heads, np.flatnonzero(chosen), power=POWER)[0].mean()
                for chosen in _near().T
            ]
        )
    return np.array(found)


def _near() -> np.ndarray:
    """(cortex source, planted source) which of the template's lie within `NEAR` of each."""
    import mne

    from heschl.brain.anatomy import template
    from heschl.corpora import simulated_brain

    anatomy = template()
    where = mne.transforms.apply_trans(
        anatomy.trans, np.array([one.place for one in simulated_brain.SOURCES])
    )
    return np.asarray(np.linalg.norm(anatomy.sources[:, None] - where, axis=2) < NEAR)


def selectivity() -> np.ndarray:
    """(planted source, place) share of a planted source's field that goes where what `share` finds at a place is taken out, mean
    of two listeners; below zero it becomes larger. No network is asked."""
    from heschl.corpora import simulated_brain
    from heschl.steps.decode_exchange import gain_of, share

    found = []
    for subject in range(2):
        positions = simulated_brain.montage(subject, np.random.default_rng((0, subject)))
        rows, gain, _ = gain_of(positions)
        field = simulated_brain.dipoles(positions)[rows]
        field = field - field.mean(0)
        left = [
            np.square(field - share(gain, np.flatnonzero(chosen), POWER) @ field).sum(0)
            for chosen in _near().T
        ]
        found.append(1 - np.array(left).T / np.square(field).sum(0)[:, None])
    return np.mean(found, axis=0)


# --- where all four carry --------------------------------------------------------------------------------


def shipped(folder: Path) -> list[str]:
    """Table 5: the decoder of simulated-words as it is shipped, frequency by frequency."""
    from heschl.corpora.simulated_brain import SOURCES
    from heschl.files import read_csv
    from heschl.steps.decode import _answered, decode
    from heschl.training.fit import train

    machine = {"machine.threads": 1, "machine.device": "cpu"}
    columns = []
    for changes in ({}, {"task.shuffled": "block"}):
        run = train("simulated-words", {**changes, **machine}, runs=folder / "runs", quiet=True)
        path = run.folder / "decode" / "by_frequency.csv"
        if not path.is_file() or "linear_pattern" not in read_csv(path)[0]:
            decode(run, explain=True, permutations=PERMUTATIONS)
        columns.append(read_csv(path))
        if not changes:
            lost = _exchanged(_answered(run, "test", None)[0])
    hertz = np.array([float(row["hertz"]) for row in columns[0]])
    planted = {int(np.abs(hertz - one.frequency).argmin()): one for one in SOURCES}
    lines = [
        "",
        "5. The decoder of simulated-words as it is shipped, seed 0, 12 dB, where all four sources tell the word: relevance and, beside it, "
        "that of the same network trained on words shuffled within blocks, whose course is that of the patches alone; the linear "
        "decoder's pattern over what it is by chance; and what the network loses of its top-1 where the maps of this row and "
        "its two neighbours are those of another trial.",
        "",
        "| Hz | nearest to the source at | relevance, times the mean | words shuffled in training | pattern (Haufe), times chance | top-1 lost |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for k, (own, null) in enumerate(zip(*columns, strict=True)):
        share, by_chance = (len(hertz) * float(row["share"]) for row in (own, null))
        pattern = float(own["linear_pattern"]) / float(own["linear_chance"])
        near = f"{planted[k].frequency:g} Hz" if k in planted else ""
        lines.append(
            f"| {hertz[k]:.1f} | {near} | {share:.2f} | {by_chance:.2f} | {pattern:.2f} | {100 * lost[k]:+.1f} points |"
        )
    return lines


def _exchanged(held: Any, draws: int = 3) -> np.ndarray:
    """(freq,) top-1 that the network loses where maps near a frequency are those of another trial of the recording."""
    import torch

    from heschl.models.neural_encoder import Placed
    from heschl.steps.decode_linear import maps_of

    right: list[np.ndarray] = []
    random, sensors = np.random.default_rng(0), held.network.sensors
    for name, place in zip(sensors.recordings, sensors.positions, strict=True):
        own = [k for k, clip in enumerate(held.trials) if clip.labels["recording"] == name]
        x, truth = maps_of(held, [held.trials[k] for k in own]), held.truth[own]
        network = Placed(held.network.model, torch.from_numpy(place))

        def top(maps: Any, network: Any = network, truth: Any = truth) -> float:
            with torch.inference_mode():
                said = np.concatenate([network(part).logits.argmax(1).numpy() for part in maps.split(64)])
            return float((said == truth).mean())

        whole, lost = top(x), np.zeros(x.shape[2])
        for k in range(len(lost)):
            rows = slice(max(0, k - 1), k + 2)
            for _ in range(draws):
                other = x.clone()
                other[:, :, rows] = x[torch.from_numpy(random.permutation(len(x)))][:, :, rows]
                lost[k] += (whole - top(other)) / draws
        right.append(lost)
    return np.asarray(np.mean(right, 0))


if __name__ == "__main__":
    sys.exit(main())
