"""What decoders find in simulated brains as noise falls, and that they find nothing where nothing is: tables for docs.

    python bench/decode.py [--out TABLE.md] [--feis FOLDER] [--seeds 5]

Some fifteen minutes of one core, and ``--whole`` some forty more. Tables: (1) the recipe simulated-words, one listener of
it and 16 epochs, at four noise levels, the codebook network beside shrinkage LDA on band power; with ``--whole`` the recipe
simulated-match as it is shipped, by noise, beside ridge regression to the candidates, and what the sources alone would tell; (2) simulated-words at its own noise
level by five seeds, and trained on words that are shuffled within blocks; with ``--whole`` the recipe as it is shipped, what it rests on,
and its controls; (3) where the truth is linear (evoked answers, known noise): LDA with
the estimated covariance beside LDA with the true one, computed from the simulation's formula, and the deep encoder on the same
trials; (4) FEIS, trials of fixation, whose answer must be chance. Intervals are 95 %, over blocks (1, 2), trials (3) or people (4); p by permutation within blocks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LEVELS = (-12.0, 0.0, 24.0, 36.0)  # dB, besides the recipe's own 12
OWN = 12.0
EVOKED = (-24.0, -18.0, -12.0, -6.0, 0.0, 6.0)
SIZE = {"corpus.subjects": 1, "train.epochs": 16, "machine.threads": 1, "machine.device": "cpu"}
SHIPPED = {"corpus.subjects": 2, "train.epochs": 20}  # what the recipe has in their place
PERMUTATIONS = 2000
MATCH = (-24.0, -12.0, 0.0, 12.0, 24.0, 36.0, 48.0)
BEST = (36.0, 48.0)  # dB, at the shipped size
UNHEARD = 5  # folds of words
DEEP = 15  # epochs of matching with mel spectra that are learned
EPOCHS, EVERY = (
    8,
    2,
)  # of the deep encoder where the truth is linear, and samples that it is given the mean of
BINS, HEARINGS = 8, (300, 32)  # time bins; hearings of each word in training and in test


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the tables here as well")
    parser.add_argument("--feis", type=Path, help="folder of FEIS .npz of fixation; left out where not given")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--whole", action="store_true", help="seeds at the recipe's own size, too: some 12 minutes more"
    )
    parser.add_argument("--work", type=Path, help="keep runs here, so that a broken-off bench goes on")
    given = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded
    folder = given.work or Path(tempfile.mkdtemp(prefix="decode-bench-"))
    os.environ["HESCHL_CACHE"] = str(folder / "cache")
    began = time.process_time()
    try:
        import torch

        torch.set_num_threads(1)
        lines, wrong = tables(given, folder)
    finally:
        if given.work is None:
            shutil.rmtree(folder, ignore_errors=True)
    lines += [
        "",
        f"All together took {time.process_time() - began:.0f} s of one core{' since it was last begun' * bool(given.work)}, torch {torch.__version__}.",
    ]
    lines += [f"**Not as it should be:** {one}." for one in wrong]
    text = "\n".join(lines)
    print(text)
    if given.out:
        from heschl.files import write_text

        write_text(given.out, text + "\n")
    return 1 if wrong else 0


def tables(given: argparse.Namespace, folder: Path) -> tuple[list[str], list[str]]:
    from heschl.training.fit import train

    wrong: list[str] = []
    lines = [
        "Decoding words from simulated brains: every score in tables 1 to 3 is on data that a formula made. Recipe "
        "simulated-words with one listener in place of two and 16 epochs in place of 20 (where it is not said otherwise): 20 "
        "words, 960 trials of 48 synthetic voices, of which blocks, and so voices, are kept apart. Where trials are of two "
        "listeners, intervals are over their four blocks: few, so by Student's t, and never narrower than over trials.",
        "",
        "1. By noise, seed 0. Chance is 5.0 %.",
        "",
        *header("signal to noise"),
    ]
    for level in sorted({*LEVELS, OWN}):
        where = folder if level == OWN else folder / f"{level:g} dB"
        lines += rows(f"{level:g} dB", decoded(where, {"corpus.snr": level, "corpus.seed": 0, "seed": 0}))
    if given.whole:
        for level in BEST:
            best = {"corpus.snr": level, "corpus.seed": 0, "seed": 0, **SHIPPED}
            lines += rows(f"{level:g} dB, as it is shipped", decoded(folder / f"{level:g} dB", best))
        lines += [*ceiling(folder), *matched(folder)]
    for size in ({}, SHIPPED)[: 1 + given.whole]:
        lines += by_seed(folder, given.seeds, size, wrong)
    if given.whole:
        size = {"corpus.snr": OWN, "corpus.seed": 0, "seed": 0, **SHIPPED}
        run = train("simulated-words", {**SIZE, **size}, runs=folder / "runs", quiet=True)
        lines += [*recovered(run), *controls(run, wrong), *unheard(folder)]
    lines += evoked(folder, wrong)
    if given.feis:
        lines += null(given.feis, folder, wrong)
    return lines, wrong


def by_seed(folder: Path, seeds: int, size: dict[str, Any], wrong: list[str]) -> list[str]:
    """Table 2 at one size: every seed, and seed 0 trained on shuffled words. Only the shipped size is held to the aim."""
    what = "the recipe as it is shipped" if size else "half of the trials"
    lines = [
        "",
        f"2{'b' if size else 'a'}. At {OWN:g} dB, by seed, {what}, and trained on words shuffled within blocks.",
        "",
        *header("seed"),
    ]
    for seed in range(seeds):
        found = decoded(folder, {"corpus.snr": OWN, "corpus.seed": seed, "seed": seed, **size})
        lines += rows(str(seed), found)
        top = found["network"]["top_1"]["value"]
        if size and (top < 5 * 0.05 or found["network"]["p"] >= 0.001):
            wrong.append(
                f"seed {seed} decodes {100 * top:.1f} %, p {found['network']['p']:.2g}: less than five times chance at p < .001"
            )
    changes = {"corpus.snr": OWN, "corpus.seed": 0, "seed": 0, "task.shuffled": "block", **size}
    control = decoded(folder, changes)
    lines.append(row("0, words shuffled in training", "codebook network", control["network"]))
    if control["network"]["p"] < 0.01:
        wrong.append("a network trained on shuffled words is above chance")
    return lines


def decoded(folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    from heschl.steps.decode import decode
    from heschl.training.fit import train

    began = time.process_time()
    run = train("simulated-words", {**SIZE, **changes}, runs=folder / "runs", quiet=True)
    found = kept(run) or decode(run, permutations=PERMUTATIONS)
    tell(f"{changes}: {found['network']['top_1']['value']:.3f}, {time.process_time() - began:.0f} s")
    return found


def kept(run: Any, asked: str = "network") -> dict[str, Any] | None:
    """What an earlier call of this bench found of this run, where it is kept by ``--work`` and holds what is asked."""
    from heschl.files import read_json

    path = run.folder / "decode" / "scores.json"
    found: dict[str, Any] | None = read_json(path) if path.is_file() else None
    there = found is not None and asked in found and found["network"]["permutations"] == PERMUTATIONS
    return found if there else None


def ceiling(folder: Path) -> list[str]:
    """What can be told from the sources themselves, before sensors and noise: a network on (source, time), voices apart."""
    import numpy as np

    from heschl.corpora import simulated_brain
    from heschl.corpora import simulated_listener as sim
    from heschl.corpora.split import kfold
    from heschl.files import read_json, write_json

    path = folder / "ceiling.json"
    if not path.exists():
        heard = sim._sounds(20, 48)
        random = np.random.default_rng(0)  # evoked answers draw nothing from it
        x = np.stack([simulated_brain.respond(drive, "evoked", random) for drive, _ in heard])
        words, voices = (sorted({clip.labels[name] for _, clip in heard}) for name in ("word", "speaker"))
        y = np.array([words.index(clip.labels["word"]) for _, clip in heard])
        voice = np.array([voices.index(clip.labels["speaker"]) for _, clip in heard])
        right = np.zeros(len(y))
        for one in range(6):
            test = voice // 4 % 6 == one
            right[test] = _told_apart(x, y, test, one)
        write_json(path, {name: float(right[voice == k].mean()) for k, name in enumerate(voices)})
    share = read_json(path)
    corpus = sim.read(words=20, subjects=2, blocks=12, voices=4, snr=BEST[-1])
    tested = kfold(corpus, seed=0, group="block", folds=6).test
    own = sorted({corpus.by_id[one].labels["heard"].split("/")[0] for one in tested})
    drawn = np.random.default_rng(0).choice(list(share.values()), (2000, len(share))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return [
        "",
        "The ceiling, as far as it is known: a small convolutional network that is given the four sources alone, without sensors "
        f"and without noise, tells {100 * np.mean(list(share.values())):.1f} % [{100 * low:.1f}, {100 * high:.1f}] of the words of {len(share)} "
        f"voices, each unheard in its fold of six, and {100 * np.mean([share[one] for one in own]):.1f} % of the {len(own)} on which "
        "the rows above are tested: four bands of sound do not tell every word of every synthetic voice. Chance is 5.0 %.",
    ]


def _told_apart(x: Any, y: Any, test: Any, seed: int) -> Any:
    """Whether each tested (source, time) is told right by a network that learnt the others; settings were not searched for."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    known = torch.from_numpy((x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), keepdims=True)).float()
    target, learnt = torch.from_numpy(y), torch.from_numpy(~test)
    layers: list[nn.Module] = []
    for before, after, width in ((4, 48, 9), (48, 64, 7), (64, 64, 5)):
        layers += [nn.Conv1d(before, after, width, 2, width // 2), nn.BatchNorm1d(after), nn.GELU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(6), nn.Flatten(), nn.Dropout(0.4), nn.Linear(384, 20))
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.05)
    train, words = known[learnt], target[learnt]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=60 * -(-len(train) // 32))
    for _ in range(60):
        for rows in torch.randperm(len(train)).split(32):
            moved = torch.roll(train[rows], int(torch.randint(-6, 7, (1,))), -1)
            louder = moved * (1 + 0.2 * torch.randn(len(rows), 4, 1))
            loss = nn.functional.cross_entropy(model(louder), words[rows], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
    with torch.inference_mode():
        order = torch.from_numpy(test)
        return (model(known[order]).argmax(1) == target[order]).numpy()


def matched(folder: Path) -> list[str]:
    """Table 1b: segment matching by noise."""
    from heschl.steps.decode import decode
    from heschl.training.fit import train

    lines: list[str] = []
    for level in MATCH:
        changes = {"corpus.snr": level, "machine.threads": 1, "machine.device": "cpu"}
        at = folder / f"match {level:g} dB"
        run = train("simulated-match", changes, runs=at, quiet=True)
        found = kept(run) or decode(run, permutations=PERMUTATIONS)
        told = [("matching network", found["network"]), ("ridge to the candidates", found["linear"])]
        if level == 0:  # learned mel spectra take four times as long: fewer epochs, of both
            fewer = {**changes, "train.epochs": DEEP}
            for name, more in (("", {}), (", deep mel", {"model.use": "deep_matcher.DeepMatcher"})):
                run = train("simulated-match", {**fewer, **more}, runs=at, quiet=True)
                other = kept(run) or decode(run, permutations=PERMUTATIONS)
                told.append((f"matching network{name}, {DEEP} epochs", other["network"]))
        tell(f"match at {level:g} dB: {found['network']['top_10']['value']:.3f}")
        for name, scores in told:
            ten, mrr = scores["top_10"], scores["mrr"]
            lines.append(
                f"| {level:g} dB | {name} | {scores['trials']} | {scores['candidates']} | {100 * ten['value']:.1f} % | "
                f"{100 * ten['low']:.1f} to {100 * ten['high']:.1f} | {100 * ten['chance']:.1f} % | {mrr['value']:.3f} | "
                f"{mrr['chance']:.3f} | {scores['p_mrr']:.2g} |"
            )
    return [
        "",
        "1b. Segment matching by noise: the recipe simulated-match, two listeners, stretches of voices that training never held. p is of "
        "the mean reciprocal rank; intervals are over the listeners' blocks: few, so by Student's t.",
        "",
        "| signal to noise | decoder | trials | candidates | top-10 | 95 % | chance | reciprocal rank | chance | p |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *lines,
    ]


def controls(run: Any, wrong: list[str]) -> list[str]:
    """Table 2d: what must be at chance, and what more data would give."""
    from heschl.steps.decode import decode

    found = (kept(run, "controls") or decode(run, controls=True, permutations=PERMUTATIONS))["controls"]
    wrong += [f"control above chance: {one}" for one in found["above_chance"]]
    lines = [
        "",
        "2d. Controls of the shipped decoder of seed 0, which must be at chance. "
        + " ".join(f"{note[0].upper()}{note[1:]}." for note in found["notes"]),
        "",
        "| control | decoder | trials | top-1 | 95 % | chance | 95 % of permuted words | p |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found["rows"]:
        lines.append(
            f"| {one['control']} | {one['decoder']} | {one['trials']} | {100 * one['top_1']:.1f} % | {100 * one['top_1_low']:.1f} to "
            f"{100 * one['top_1_high']:.1f} | {100 * one['top_1_chance']:.1f} % | {100 * one['top_1_null_low']:.1f} to "
            f"{100 * one['top_1_null_high']:.1f} | {one['p']:.2g} |"
        )
    lines += [
        "",
        "| blocks of training | hours, each listener | linear decoder, top-1 | 95 % | chance |",
        "|---:|---:|---:|---:|---:|",
    ]
    for one in found["learning"]:
        lines.append(
            f"| {one['blocks']} | {one['hours']:.3f} | {100 * one['value']:.1f} % | {100 * one['low']:.1f} to {100 * one['high']:.1f} | "
            f"{100 * one['chance']:.1f} % |"
        )
    return lines


def unheard(folder: Path) -> list[str]:
    """Table 2e: words that training never heard, by a codebook that is fixed at their mean mel spectra."""
    import numpy as np

    from heschl.steps.decode import _answered
    from heschl.steps.decode_linear import linear_scores, powers
    from heschl.steps.groups import block_of
    from heschl.tasks.retrieval import retrieval_scores
    from heschl.training.fit import train

    lines = []
    parts: dict[str, list[Any]] = {"codebook network": [], "ridge to the vectors": []}
    truth, groups, blocks = [], [], []
    for fold in range(UNHEARD):
        changes = {
            **{"corpus.snr": BEST[0], "task.warm_up": 0, "machine.threads": 1, "machine.device": "cpu"},
            "split": {"use": "kfold", "group": "word", "folds": UNHEARD, "fold": fold},
            "task.fixed": {"use": "spoken", "voices": 24},
        }
        run = train("simulated-words", changes, runs=folder / "unheard", quiet=True)
        held, _ = _answered(run, "test", None)
        own = np.unique(held.truth)
        for name, scores in zip(parts, (held.scores, linear_scores(held, powers(held)[0]))):
            every = scores(0, len(held.truth)) if callable(scores) else scores
            parts[name].append((every, every[:, own]))
        truth.append((held.truth, np.searchsorted(own, held.truth)))
        groups += [held.network.labels[k] for k in held.truth]
        blocks += [f"{fold}/{block_of(clip)}" for clip in held.trials]
        tell(f"words unheard, fold {fold}: {np.mean(held.scores.argmax(1) == held.truth):.3f}")
    for name, found in parts.items():
        for k, among in enumerate(("all 20", "the unheard of its fold alone")):
            scores, right = (np.concatenate([one[k] for one in each]) for each in (found, truth))
            got = retrieval_scores(scores, right, scores.shape[1], groups, blocks, PERMUTATIONS)
            lines.append(row(among, name, got))
    return [
        "",
        f"2e. Words that training never heard: the recipe as it is shipped at {BEST[0]:g} dB, its codebook fixed at the words' mean mel spectra "
        f"(`task.fixed`), split by word, {UNHEARD} folds of 4 words to test, 4 to validate and 12 to learn. Every word is tested once, by "
        "trials of two listeners and all 48 voices, which training heard say other words. Intervals are over words, p by permutation "
        "within blocks and folds.",
        "",
        *header("among"),
        *lines,
    ]


def null(root: Path, folder: Path, wrong: list[str]) -> list[str]:
    from heschl.steps.decode import decode
    from heschl.training.fit import train

    changes = {"corpus.root": str(root), "train.epochs": 1, "machine.threads": 1, "machine.device": "cpu"}
    run = train("feis-fixation", changes, runs=folder / "runs", quiet=True)
    found = kept(run) or decode(run, permutations=PERMUTATIONS)
    for who in ("network", "linear"):
        if found[who]["p"] < 0.01:
            wrong.append(f"FEIS: the {who} claims more than chance on EEG without speech")
    return [
        "",
        f"4. Real EEG without speech (FEIS, fixation; {found['subjects']} people, {found['words']} phonemes, one epoch). Chance is "
        f"{100 / found['words']:.1f} %, and so must the answer be.",
        "",
        *header("data"),
        *rows("fixation", found),
    ]


def recovered(run: Any) -> list[str]:
    """Table 2c: do the explanations of a shipped decoder find the sensors, frequencies and areas that were planted?"""
    import numpy as np
    from scipy.stats import spearmanr

    from heschl.corpora import simulated_brain
    from heschl.files import read_csv
    from heschl.steps.decode import decode

    found = (kept(run, "explained") or decode(run, explain=True, permutations=PERMUTATIONS))["explained"]
    rows = [row for row in read_csv(run.folder / "decode" / "by_sensor.csv") if row["x"]]
    lines = [
        "",
        "2c. What the shipped decoder of seed 0 rests on, beside what was planted: rank correlation over a listener's electrodes with "
        "the size of the sources' field there.",
        "",
        "| listener | electrodes | relevance (LRP) | spatial attention | linear decoder's pattern (Haufe) |",
        "|---|---:|---:|---:|---:|",
    ]
    for listener in sorted({row["recording"] for row in rows}):
        own = [row for row in rows if row["recording"] == listener]
        places = np.array([[float(row[axis]) for axis in "xyz"] for row in own])
        field = np.sqrt(np.square(simulated_brain.dipoles(places)).mean(1))
        columns = ("share", "spatial_attention", "linear_pattern")
        told = [float(spearmanr([float(row[c]) for row in own], field).statistic) for c in columns]
        lines.append(f"| {listener} | {len(own)} | {' | '.join(f'{value:+.2f}' for value in told)} |")
    by_frequency = read_csv(run.folder / "decode" / "by_frequency.csv")
    hertz = np.array([float(row["hertz"]) for row in by_frequency])
    share = np.array([float(row["share"]) for row in by_frequency]) * len(hertz)
    near = {one.frequency: share[np.abs(hertz - one.frequency).argmin()] for one in simulated_brain.SOURCES}
    lines += [
        "",
        f"Relevance by frequency, times the mean: {', '.join(f'{value:.2f} at {f:g} Hz' for f, value in near.items())} (where the "
        f"sources oscillate), the least of all is {share.min():.2f}. The weakest source, at 32 Hz, tells words, and this network hardly reads "
        "it; where it alone tells them it is found: see the table of bench/carriers.py.",
        "",
        "| areas exchanged with another trial's | reciprocal rank lost | 95 % | top-1 lost | share of the signal | as much elsewhere would "
        "lose | where 95 % would lie |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    areas = found["areas"]
    for row in [*areas["rows"], *areas["elsewhere"]]:
        expected = "| |"
        if row.get("expected") is not None:
            expected = f"| {row['expected']:.3f} | {row['expected_low']:.3f} to {row['expected_high']:.3f} |"
        lines.append(
            f"| {row['areas']} | {row['lost']:.3f} | {row['low']:.3f} to {row['high']:.3f} | {100 * row['top_1_lost']:.0f} points | "
            f"{100 * row['signal']:.0f} % {expected}"
        )
    above, most = "; ".join(areas["above_elsewhere"]), max(row["lost"] for row in areas["elsewhere"])
    beyond = "; ".join(row["areas"] for row in areas["rows"] if row["lost"] > most)
    lines += [
        "",
        f"More than as much elsewhere: {above}." if above else "No area costs more than as much elsewhere.",
        f"More than any of the {len(areas['elsewhere'])} patches elsewhere, a weaker claim: {beyond or 'none'}.",
    ]
    return lines


# --- where the truth is linear -------------------------------------------------------------------------


def evoked(folder: Path, wrong: list[str]) -> list[str]:
    from heschl.files import read_json, write_json

    learnt, tested = (20 * count for count in HEARINGS)
    lines = [
        "",
        f"3. Linear truth: each of 20 words by one voice, its evoked answer in noise of a known covariance, trials as means of "
        f"{BINS} time bins of each of 28 sensors. Both decoders learn the words' means from {learnt:,} trials and are tested on "
        f"{tested:,}; the oracle is given the noise's covariance. The encoder (NeuralEncoder, small) learns from the same "
        f'trials, means of {EVERY} samples as steps of one "frequency", for {EPOCHS} epochs. Chance is 5.0 %.',
        "",
        *header("signal to noise"),
    ]
    for level in EVOKED:
        path = folder / f"linear {level:g} dB, {EPOCHS} epochs.json"
        if not path.exists():
            write_json(path, {"scores": list(linear_truth(level))})
        estimated, oracle, deep = read_json(path)["scores"]
        lines.append(row(f"{level:g} dB", "LDA, covariance estimated", estimated))
        lines.append(row(f"{level:g} dB", "LDA, the oracle's covariance", oracle))
        lines.append(row(f"{level:g} dB", "deep encoder", deep))
        tell(f"linear truth at {level:g} dB: {estimated['top_1']['value']:.3f}, {deep['top_1']['value']:.3f}")
        lost = oracle["top_1"]["value"] - estimated["top_1"]["value"]
        if lost > 0.02:
            wrong.append(
                f"at {level:g} dB the estimated covariance loses {100 * lost:.1f} points to the oracle"
            )
    return lines


def linear_truth(level: float, seed: int = 0) -> tuple[dict[str, Any], ...]:
    """Scores of LDA with the estimated and with the true covariance, and of the deep encoder, on the same trials."""
    import numpy as np
    from scipy.linalg import toeplitz

    from heschl.corpora import simulated_brain
    from heschl.corpora import simulated_listener as sim
    from heschl.tasks.linear_decode import fit_lda
    from heschl.tasks.retrieval import retrieval_scores

    random = np.random.default_rng((seed, 0))
    positions = simulated_brain.montage(0, random)
    drives = [drive for drive, clip in sim._sounds(20, 1)]
    clean = simulated_brain.dipoles(positions) @ np.stack(
        [simulated_brain.respond(drive, "evoked", random) for drive in drives]
    )
    steps = clean.shape[-1]
    means = np.kron(np.eye(BINS), np.full((1, steps // BINS), BINS / steps))

    # the noise's covariance by the formula of `background`: sensors times time
    apart = np.linalg.norm(positions[:, None] - positions, axis=-1)
    shared = np.exp(-np.square(apart / 0.05))
    shared /= np.linalg.norm(shared, axis=1, keepdims=True)
    between = shared @ shared.T + np.eye(len(positions))
    frequency = np.fft.rfftfreq(4 * steps)
    frequency[0] = frequency[1]
    course = np.fft.irfft(1 / frequency)[:steps]
    size = np.square(clean).mean() / 10 ** (level / 10) / (np.diag(between).mean() * course[0])
    covariance = size * np.kron(between, means @ toeplitz(course) @ means.T)

    def trials(hearings: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.repeat(np.arange(20), hearings)
        return clean[y] + np.sqrt(size) * simulated_brain.background(len(y), positions, steps, random), y

    (whole, y), (unheard, truth) = map(trials, HEARINGS)
    x, test = ((waves @ means.T).reshape(len(waves), -1) for waves in (whole, unheard))
    centres = np.stack([x[y == k].mean(0) for k in range(20)])
    scale = np.sqrt(np.diag(covariance))  # so that it is well conditioned
    weights = np.linalg.solve(covariance / np.outer(scale, scale), (centres / scale).T).T
    oracle = (test / scale) @ weights.T - 0.5 * (weights * centres / scale).sum(1)
    estimated = fit_lda(x, y, 20).scores(test)
    deep = encoded(whole, y, unheard, positions, seed)
    return tuple(
        retrieval_scores(one, truth, 20, permutations=PERMUTATIONS) for one in (estimated, oracle, deep)
    )


def encoded(waves: Any, y: Any, unheard: Any, places: Any, seed: int) -> Any:
    """(trial, word) cosines of a small NeuralEncoder that learns from waves (trial, sensor, time)."""
    import torch

    from heschl.models.neural_encoder import NeuralEncoder
    from heschl.tasks.codebook import Codebook
    from heschl.types import Batch

    slower = (one.reshape(*one.shape[:2], -1, EVERY).mean(-1) for one in (waves, unheard))
    x, test = (torch.from_numpy(one / waves.std()).float()[:, :, None] for one in slower)
    target, positions = torch.from_numpy(y), torch.from_numpy(places).float()
    torch.manual_seed(seed)
    model = NeuralEncoder(
        (x.shape[1], 1, x.shape[3]), 20, 8, 32, 1, 2, (1, 8), norm="pre", dropout=0.1, radius=0.0
    )
    task = Codebook("word", tuple(map(str, range(20))), warm_up=0, temperature=0.1, positive=True)
    optimiser = torch.optim.AdamW(model.parameter_groups(), lr=2e-3, weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            given = Batch(x[rows], target[rows], None, ())
            loss = task.loss(model(given.x, positions.expand(len(rows), -1, -1)), given)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval()
    with torch.inference_mode():
        parts = [model(part, positions.expand(len(part), -1, -1)).logits for part in test.split(64)]
    return torch.cat(parts).numpy()


# --- words -----------------------------------------------------------------------------------------------


def header(first: str) -> list[str]:
    return [
        f"| {first} | decoder | trials | top-1 | 95 % | chance | reciprocal rank | chance | p |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]


def rows(name: str, found: dict[str, Any]) -> list[str]:
    linear = "shrinkage LDA, band power"
    return [row(name, "codebook network", found["network"]), row(name, linear, found["linear"])]


def row(name: str, who: str, scores: dict[str, Any]) -> str:
    top, mrr = scores["top_1"], scores["mrr"]
    return (
        f"| {name} | {who} | {scores['trials']} | {100 * top['value']:.1f} % | {100 * top['low']:.1f} to {100 * top['high']:.1f} "
        f"| {100 * top['chance']:.1f} % | {mrr['value']:.2f} | {mrr['chance']:.2f} | {scores['p']:.2g} |"
    )


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
