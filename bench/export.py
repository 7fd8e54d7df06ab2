"""A network outside heschl: size and latency of its ONNX graph, and what it finds where nothing is said.

    python bench/export.py --sentences FOLDER [--out bench/results/11-export.md]

For each model that comes along: one clip at a time on one core, front end included, onnxruntime beside torch in the same
run, and the largest difference of their logits over 100 clips of speech, beside torch's own rounding. Then `heschl listen` over the sentences of FOLDER (utterances.csv with
file and text), put end to end: an event whose word its sentence does not hold is a false alarm.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heschl.corpora import spoken
from heschl.files import read_audio, read_csv, write_text, write_wav
from heschl.run import hear, open_run, packaged_runs
from heschl.signal import resample_recording
from heschl.steps.export import export
from heschl.steps.listen import listen
from heschl.steps.networks import open_network

ROUNDS, CLIPS = 50, 100
GAP = 0.5  # seconds of silence between sentences


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        text = latency(Path(folder))
        if given.sentences:
            text += "\n\n" + alarms(given.sentences, Path(folder))
    print(text)
    if given.out:
        write_text(given.out, text + "\n")


def latency(folder: Path) -> str:
    import onnxruntime

    lines = [
        "One second of sound to an answer, one core, front end included; median of 50, torch and onnxruntime in turns. The "
        f"difference is the largest of all logits over {CLIPS} clips of the embedded speech (asked: 1e-4). "
        "Beside it, how far torch's own answers in float32 lie from its answers in float64.",
        "",
        f"| model | ONNX, MB | torch, ms | onnxruntime, ms | largest difference, {CLIPS} clips | torch's own rounding | largest logit | takes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    clips = speech()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name, source in packaged_runs().items():
        network = open_network(open_run(source))
        path = folder / f"{name}.onnx"
        takes = export(source, "onnx", path)["takes"]
        session = onnxruntime.InferenceSession(str(path), options)
        n = round((network.seconds or 1.0) * network.sample_rate)
        rate = round(network.sample_rate)
        waves = [torch.from_numpy(fitted(clip, rate, n))[None] for clip in clips]

        def torched(wave: torch.Tensor = waves[0], network: Any = network) -> Any:
            with torch.inference_mode():
                out = hear(network.feature, network.model, wave)
            return np.asarray(out[0] if isinstance(out, tuple) else out)

        def onnxed(wave: torch.Tensor = waves[0], session: Any = session) -> Any:
            return session.run(["logits"], {"wave": wave.numpy()})[0]

        torch_ms, onnx_ms = in_turns(torched, onnxed)
        expected = [torched(wave) for wave in waves]
        difference = max(np.abs(onnxed(wave) - one).max() for wave, one in zip(waves, expected, strict=True))
        network.feature.double(), network.model.double()
        rounding = max(
            np.abs(torched(wave.double()) - one).max() for wave, one in zip(waves, expected, strict=True)
        )
        lines.append(
            f"| {name} | {path.stat().st_size / 1e6:.2f} | {torch_ms:.1f} | {onnx_ms:.1f} | {difference:.1e} "
            f"| {rounding:.1e} | {max(np.abs(one).max() for one in expected):.1f} | {takes} |"
        )
    return "\n".join(lines)


def speech() -> list[np.ndarray]:
    """Words of the embedded speech, every voice among them, (time,) at 16 kHz."""
    found = [clip for clip in spoken.read().clips if clip.stop is not None]
    return [
        read_audio(clip.signal, clip.start, clip.stop)[0] for clip in found[:: len(found) // CLIPS][:CLIPS]
    ]


def fitted(wave: np.ndarray, rate: int, n: int) -> np.ndarray:
    """At another rate, of n samples: padded at its end, or its beginning."""
    wave = resample_recording(wave, 16000, rate) if rate != 16000 else wave
    return np.pad(wave, (0, max(0, n - len(wave))))[:n].astype(np.float32)


def in_turns(*functions: Callable[[], Any]) -> list[float]:
    """Median milliseconds of each, taking turns."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for kept, function in zip(times, functions, strict=True):
            start = time.perf_counter()
            function()
            kept.append(1000 * (time.perf_counter() - start))
    return [statistics.median(kept) for kept in times]


def alarms(sentences: Path, folder: Path) -> str:
    """Events of `words` over read sentences, by threshold."""
    rows = read_csv(sentences / "utterances.csv")
    parts, spans, at = [], [], 0.0
    for row in rows:
        wave, rate = read_audio(sentences / row["file"])
        spans.append((at, at + len(wave) / rate + GAP, set(row["text"].lower().split())))
        parts += [wave, np.zeros(round(GAP * rate), np.float32)]
        at += len(wave) / rate + GAP
    write_wav(folder / "long.wav", np.concatenate(parts), rate)
    words = set(open_run(packaged_runs()["words"]).labels)
    said = sum(len(words & text) for _, _, text in spans)
    lines = [
        f"`heschl listen words` over {len(rows)} read sentences by {len({row['speaker'] for row in rows})} speakers, "
        f"{at / 3600:.2f} h. Their texts hold {said} of its words, in running speech, which it was never taught: it learned "
        "words said alone.",
        "",
        "| threshold | false alarms an hour | of the words in the texts, found |",
        "|---|---|---|",
    ]
    for threshold in (0.5, 0.8, 0.9, 0.95):
        events = listen(packaged_runs()["words"], folder / "long.wav", threshold=threshold)
        found, false = set(), 0
        for event in events:
            middle = (event.start + event.stop) / 2
            k = next(
                (k for k, (start, stop, _) in enumerate(spans) if start <= middle < stop), len(spans) - 1
            )
            if event.label in spans[k][2]:
                found.add((k, event.label))
            else:
                false += 1
        lines.append(f"| {threshold} | {3600 * false / at:.0f} | {len(found)} of {said} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
