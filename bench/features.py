"""Reading and features against their peers, in one run: speed and error side by side.

    python bench/features.py [--out TABLE.md] [--clips 3000] [--threads 1]

Peers: soundfile and scipy file by file, librosa clip by clip. Each time is the best of three rounds over all
clips, one second each at 16 kHz (files in the system's cache). Under a minute on two cores.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from scipy.io import wavfile
from threadpoolctl import threadpool_limits

from heschl.features.spectrogram import LogMel
from heschl.features.store import pack_waves
from heschl.files import write_text
from heschl.types import Clip

RATE = 16000
BATCH = 256
ROUNDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=1, help="of torch, BLAS and FFT")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(chosen.threads):
        clips = make_clips(Path(folder), chosen.clips)
        rows = reading(clips, Path(folder)) + log_mel(clips)
    text = "\n".join([*heading(chosen.clips), *rows]) + "\n"
    print(text, end="")
    if chosen.out:
        write_text(chosen.out, text)
    return 0


def heading(clips: int) -> list[str]:
    return [
        f"{clips} clips of 1 s at 16 kHz, 16 bit; torch {torch.__version__}, {torch.get_num_threads()} thread(s) for everybody, "
        f"{platform.machine()} {sys.platform}, {time.strftime('%Y-%m-%d')}.",
        "",
        "| what | clips/s | microseconds a clip | largest error | times the peer | target |",
        "|---|---:|---:|---:|---:|---|",
    ]


def make_clips(folder: Path, count: int) -> list[Clip]:
    """Coloured noise with an onset and an end, as WAV files."""
    rng = np.random.default_rng(0)
    shape = np.hanning(RATE) * 0.2
    clips = []
    for i in range(count):
        path = folder / f"{i:06d}.wav"
        noise = rng.standard_normal(RATE + 7).cumsum()
        soundfile.write(path, shape * (noise[7:] - noise[:-7]) / 7**0.5 / 4, RATE, subtype="PCM_16")
        clips.append(Clip(path.stem, path, RATE, {}))
    return clips


def best(work: Callable[[], object], clips: int) -> float:
    """Seconds a clip."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) / clips


def row(what: str, seconds: float, error: float | None, peer: float | None, target: str = "") -> str:
    shown = "" if error is None else f"{error:.1g}"
    times = "" if peer is None else f"{peer / seconds:.1f}"
    return f"| {what} | {1 / seconds:,.0f} | {seconds * 1e6:.1f} | {shown} | {times} | {target} |"


def reading(clips: list[Clip], folder: Path) -> list[str]:
    start = time.perf_counter()
    store = pack_waves(clips, RATE, folder / "cache")
    packing = (time.perf_counter() - start) / len(clips)
    shuffled = np.random.default_rng(1).permutation(len(clips))
    batches = [np.sort(shuffled[i : i + BATCH]) for i in range(0, len(clips), BATCH)]

    def files() -> None:
        for clip in clips:
            soundfile.read(clip.signal, dtype="float32")

    def scipys() -> None:
        for clip in clips:
            wavfile.read(clip.signal)[1].astype(np.float32) / np.float32(32768)

    def raw() -> None:
        for batch in batches:
            store.raw(batch)

    def read() -> None:
        for batch in batches:
            store.read(batch)

    originals = np.stack([soundfile.read(clips[i].signal, dtype="float32")[0] for i in batches[0]])
    error = float(np.abs(store.read(batches[0])[0].numpy() - originals).max())
    peer = best(files, len(clips))
    return [
        row(
            "packed, sorted batches of 256, as stored (int16)",
            best(raw, len(clips)),
            0.0,
            peer,
            ">= 100,000 clips/s",
        ),
        row(
            "packed, sorted batches of 256, as float32",
            best(read, len(clips)),
            error,
            peer,
            ">= 5 times soundfile",
        ),
        row("soundfile, file by file, as float32 (peer)", peer, None, None),
        row("scipy.io.wavfile, file by file, as float32", best(scipys, len(clips)), None, peer),
        row("packing, once", packing, None, None),
    ]


def log_mel(clips: list[Clip]) -> list[str]:
    few = clips[:BATCH]
    waves = np.stack([soundfile.read(clip.signal, dtype="float32")[0] for clip in few])
    batch = torch.from_numpy(waves)
    feature = LogMel(sample_rate=RATE, n_mels=40)

    def librosas() -> np.ndarray:
        return np.stack([librosa_log_mel(wave, feature) for wave in waves])

    def heschls() -> torch.Tensor:
        with torch.inference_mode():
            return feature(batch)

    def one_by_one() -> None:
        with torch.inference_mode():
            for wave in batch:
                feature(wave[None])

    theirs = librosas()  # also compiles what numba compiles
    error = float(np.abs(heschls().numpy() - theirs).max())
    peer = best(librosas, len(few))
    return [
        row(
            "LogMel, batch of 256", best(heschls, len(few)), error, peer, ">= 10 times librosa, error <= 1e-4"
        ),
        row("LogMel, clip by clip", best(one_by_one, len(few)), error, peer),
        row("librosa, clip by clip (peer)", peer, None, None),
    ]


def librosa_log_mel(wave: np.ndarray, feature: LogMel) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=wave,
        sr=RATE,
        n_fft=feature.n_fft,
        win_length=feature.window_length,
        hop_length=feature.hop_length,
        n_mels=feature.n_mels,
        pad_mode="constant",
    )
    return np.log(mel + feature.floor)


if __name__ == "__main__":
    raise SystemExit(main())
