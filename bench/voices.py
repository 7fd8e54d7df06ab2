"""Who is taken for the other sex? The pitch of the speakers that a gender network gets wrong, beside everybody's.

    python bench/real.py DATA --sets gender
    python bench/voices.py DATA/speechocean762_adults/utterances.csv runs/real/gender [--out TABLE.md]

Each speaker was judged by networks that never heard that speaker, one a seed. The network sees no pitch by itself; YIN
(`heschl.features.voice.pitch`) tells it from the recordings alone, so it can say whether a label is unusual.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from heschl.corpora import read_corpus
from heschl.features.voice import pitch
from heschl.files import read_audio, read_csv, write_text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    judged, sexes = defaultdict(list), {}
    found = sorted(given.runs.glob("**/evaluate/test/predictions.csv"))
    for path in found:
        for row in read_csv(path):
            judged[row["speaker"]].append(row["said"] == row["answered"])
            sexes[row["speaker"]] = row["said"]
    voices = pitches(given.table)
    wrong = sum(not one for every in judged.values() for one in every)
    rows = []
    for speaker in sorted(judged, key=lambda one: (np.mean(judged[one]), one)):
        share = np.mean(judged[speaker])
        if share < 1:
            missed = sum(not one for one in judged[speaker])
            rows.append(
                f"| {speaker} | {sexes[speaker]} | {voices[speaker]:.0f} | {missed} of {len(judged[speaker])} |"
            )
    lines = [
        f"Answers on {len(judged)} speakers from {len(found)} networks that did not hear them; {wrong} of "
        f"{sum(map(len, judged.values()))} are wrong. Everybody else is always judged as stated.",
        "",
        *spread(voices, sexes),
        "",
        "| speaker | stated | median pitch, Hz | taken for the other sex |",
        "|---|---|---:|---:|",
        *rows,
    ]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if given.out:
        write_text(given.out, text)


def pitches(table: Path) -> dict[str, float]:
    """Median pitch of each speaker, Hz, over all frames of all recordings that have one."""
    frames = defaultdict(list)
    for clip in read_corpus("table", table).clips:
        wave, rate = read_audio(clip.signal, clip.start, clip.stop)
        f0 = pitch(torch.from_numpy(wave), rate).f0
        frames[clip.labels["speaker"]].append(f0[~f0.isnan()].numpy())
    return {speaker: float(np.median(np.concatenate(every))) for speaker, every in frames.items()}


def spread(voices: dict[str, float], sexes: dict[str, str]) -> list[str]:
    """The middle nine tenths of the speakers' pitch, by stated sex."""
    lines = ["| stated | speakers | 5 % | median pitch, Hz | 95 % |", "|---|---:|---:|---:|---:|"]
    for sex in sorted(set(sexes.values())):
        own = [voices[speaker] for speaker, stated in sexes.items() if stated == sex]
        low, middle, high = np.percentile(own, [5, 50, 95])
        lines.append(f"| {sex} | {len(own)} | {low:.0f} | {middle:.0f} | {high:.0f} |")
    return lines


if __name__ == "__main__":
    main()
