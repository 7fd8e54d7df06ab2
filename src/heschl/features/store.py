"""Packed waves and packed features: one memory-mapped file a corpus, so that small files never starve training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from heschl.features.context import gather_windows
from heschl.features.draws import Draws
from heschl.features.packing import (
    Mapped,
    append,
    cached,
    described,
    fingerprint,
    hashed,
    read_index,
    write_index,
)
from heschl.features.waveform import fit_length
from heschl.files import cache_folder, read_audio
from heschl.signal import resample_recording
from heschl.types import Clip, HeschlError, Resampler, Skipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FeatureStore", "WaveStore", "pack_features", "pack_frames", "pack_waves", "read_sound"]

Progress = Callable[[int, int], None]
Say = Callable[[str], None]
Indices: TypeAlias = "Sequence[int] | Tensor | NDArray[np.int64]"

_SHORTEST = 0.01  # seconds: less is not a recording of anything


class _Packed:
    """What both stores are: items of different length, end to end in one mapped file."""

    def __init__(self, folder: Path, index: dict[str, Any], data: Mapped) -> None:
        self.folder = folder
        self.rate: float = index["rate"]
        self.ids: tuple[str, ...] = tuple(index["ids"])
        self.lengths: Tensor = torch.tensor(index["lengths"], dtype=torch.int64)
        self.skipped: tuple[Skipped, ...] = tuple(Skipped(*each) for each in index["skipped"])
        self.places: dict[str, int] = {clip: place for place, clip in enumerate(self.ids)}
        self.offsets: NDArray[np.int64] = np.concatenate([[0], np.cumsum(self.lengths.numpy())])
        self._data = data
        if len(self.ids) != len(self.lengths) or self.offsets[-1] != len(data.values):
            raise HeschlError(f"the cache {folder} is damaged or of another version")

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[Any, ...]:  # workers are given the folder, not its contents
        return (type(self), (self.folder,))

    def _gather(self, indices: Indices, dtype: str) -> tuple[Any, Tensor]:
        """(batch, longest, ...) zero-padded copies, made in the order of the file, and their lengths."""
        order = np.asarray(indices, dtype=np.int64)
        values, starts = self._data.values, self.offsets[order]
        lengths = self.offsets[order + 1] - starts
        longest = int(lengths.max(initial=0))
        out = np.empty((len(order), longest, *values.shape[1:]), dtype)
        firsts, counts = starts.tolist(), lengths.tolist()
        for place in np.argsort(order, kind="stable").tolist():
            first, count = firsts[place], counts[place]
            out[place, :count] = values[first : first + count]
            if count < longest:
                out[place, count:] = 0
        self._data.touched(sum(counts) * (values.nbytes // len(values)))
        return out, torch.from_numpy(lengths)


class WaveStore(_Packed):
    """Packed waves at one rate.

    Attributes
    ----------
    rate: Hz. ids: of the clips that were packed; places: id to index.
    lengths: (clip,) samples. skipped: the clips that could not be used, and why.
    dtype: "int16" where that loses nothing, else "float32".
    resampled: how many clips came from each other rate.
    """

    def __init__(self, folder: Path) -> None:
        index = read_index(folder, "waves.bin", ("rate", "dtype", "ids", "lengths", "skipped", "resampled"))
        super().__init__(folder, index, Mapped(folder / "waves.bin", index["dtype"]))
        self.dtype: str = index["dtype"]
        self.resampled: dict[int, int] = {int(rate): count for rate, count in index["resampled"].items()}

    def read(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Some clips by index, in the order asked for: wave (batch, time) float32, zero-padded; lengths (batch,)."""
        out, lengths = self._gather(indices, self.dtype)
        wave = torch.from_numpy(out)
        # scaled in one pass, by all of torch's threads
        return (wave * (1 / 32768) if self.dtype == "int16" else wave), lengths

    def raw(self, indices: Indices) -> tuple[NDArray[Any], Tensor]:
        """As `read`, in the store's own numbers."""
        return self._gather(indices, self.dtype)


class FeatureStore(_Packed):
    """Packed features, frame after frame.

    Attributes
    ----------
    rate: frames a second. ids, places, skipped: as in `WaveStore`. lengths: (clip,) frames.
    frames: (total, ...) all frames of all clips, mapped, without their time axis; offsets: where each clip begins.
    """

    def __init__(self, folder: Path) -> None:
        index = read_index(folder, "frames.bin", ("rate", "dtype", "shape", "ids", "lengths", "skipped"))
        shape = (-1, *index["shape"])
        super().__init__(folder, index, Mapped(folder / "frames.bin", index["dtype"], shape))
        self.dtype: str = index["dtype"]
        self.frames = self._data.values

    def read(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Some clips: x (batch, ..., time) float32, zero-padded; lengths (batch,) frames."""
        out, lengths = self._gather(indices, "float32")
        return torch.from_numpy(out).movedim(1, -1), lengths

    def windows(self, indices: Indices, context: int = 25) -> Tensor:
        """Some frames, counted over all clips, with their neighbours in the same clip: (n, 2 * context + 1, ...)."""
        places = np.asarray(indices, dtype=np.int64)
        windows = gather_windows(self.frames, self.offsets, places, context)
        self._data.touched(windows.nbytes)
        return torch.from_numpy(windows.astype(np.float32))


# --- packing -----------------------------------------------------------------------------------------


def read_sound(clip: Clip) -> tuple[NDArray[np.float32], int]:
    """A clip's samples (time,) at the rate of its file, Hz.

    Raises
    ------
    HeschlError: it cannot be read, or is too short to be a recording of anything.
    """
    wave, rate = read_audio(clip.signal, clip.start, clip.stop)
    if len(wave) < _SHORTEST * rate:
        raise HeschlError(
            f"{clip.signal} holds only {len(wave)} samples at {rate} Hz, less than 10 ms: take it out"
        )
    return wave, rate


def pack_waves(
    clips: Sequence[Clip],
    rate: int,
    folder: Path | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
    by: Resampler = "soxr",
) -> WaveStore:
    """Reads every clip once, resamples it where its rate differs, and packs it; or opens what was packed before.

    Parameters
    ----------
    rate: Hz of the store.
    folder: where caches lie (None: `cache_folder`).
    progress: is called with (done, total) after each clip.
    say: is told, once each, that clips are resampled, and that a damaged cache is built again.
    by: how they are resampled (see `resample_recording`).

    The cache is named after the clips (id, path, size, time of change, start, stop) and the rate. Samples are
    kept as int16 where every one of them is a whole 16-bit number, else as float32. Clips that cannot be read,
    hold NaN, break off, or last less than 10 ms are in ``skipped``.

    Raises
    ------
    HeschlError: no clip can be used, the disk is full, or the folder may not be written to.
    """
    key = fingerprint(clips, rate if by == "soxr" else [rate, by])
    final = (folder or cache_folder()) / f"waves-{key}"
    store = cached(final, lambda private: _write_waves(private, clips, rate, progress, by), WaveStore, say)
    if say and store.resampled:
        rates = ", ".join(f"{count} from {source} Hz" for source, count in sorted(store.resampled.items()))
        say(f"clips are resampled to {rate} Hz: {rates} (of {len(store)})")
    return store


def _write_waves(
    folder: Path, clips: Sequence[Clip], rate: int, progress: Progress | None, by: Resampler
) -> None:
    ids, lengths, skipped = [], [], []
    resampled: dict[int, int] = {}
    dtype = "int16"
    path = folder / "waves.bin"
    file = path.open("wb")
    try:
        for done, clip in enumerate(clips, start=1):
            try:
                wave, source = read_sound(clip)
            except HeschlError as error:
                skipped.append((clip.id, str(error)))
                continue
            finally:
                if progress:
                    progress(done, len(clips))
            if source != rate:
                resampled[source] = resampled.get(source, 0) + 1
                wave = resample_recording(wave, source, rate, by)
            if dtype == "int16":
                whole = wave * np.float32(32768)
                if np.array_equal(whole, np.rint(whole)) and whole.min() >= -32768 and whole.max() <= 32767:
                    append(file, whole.astype(np.int16))
                else:
                    dtype = "float32"
                    file.close()
                    file = _widened(path)
            if dtype == "float32":
                append(file, wave)
            ids.append(clip.id)
            lengths.append(len(wave))
    finally:
        file.close()
    if not ids:
        raise HeschlError(_nothing_usable(skipped))
    index = {"rate": rate, "dtype": dtype, "ids": ids, "lengths": lengths, "skipped": skipped}
    write_index(folder, path, {**index, "resampled": resampled})


def _widened(path: Path) -> Any:
    """Rewrites int16 samples as float32, a piece at a time; gives the file, open at its end."""
    narrow = path.with_suffix(".int16")
    path.rename(narrow)
    wide = path.open("wb")
    with narrow.open("rb") as file:
        while piece := file.read(2**22):
            append(wide, np.frombuffer(piece, dtype=np.int16).astype(np.float32) / np.float32(32768))
    narrow.unlink()
    return wide


def pack_features(
    store: WaveStore,
    feature: Any,
    folder: Path | None = None,
    dtype: Literal["float16", "float32"] = "float16",
    fit: tuple[int, Any, Any] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    say: Say | None = None,
) -> FeatureStore:
    """Computes a feature of every packed clip, each by itself, and packs its frames; or opens what was packed.

    Parameters
    ----------
    feature: a module from waves (batch, time) to (batch, ..., frame), at the store's rate.
    fit: (samples, long, short) as in `heschl.features.waveform.fit_length`, for features of one size.
    seed: for ``short="random"``.
    The others are those of `pack_waves`. A clip that the feature or ``fit`` refuses is in ``skipped``.

    Raises
    ------
    HeschlError: the feature's rate is not the store's, values do not fit float16, or as `pack_waves`.
    """
    wanted = getattr(feature, "sample_rate", store.rate)
    if wanted != store.rate:
        raise HeschlError(
            f"the feature takes waves at {wanted} Hz and the packed ones are at {store.rate} Hz: pack them at {wanted}"
        )
    key = [store.folder.name, described(feature), dtype, fit, seed if fit and fit[2] == "random" else None]
    final = (folder or store.folder.parent) / f"features-{hashed(key)}"

    skipped: list[tuple[str, str]] = list(store.skipped)

    def frames() -> Iterable[tuple[str, NDArray[Any]]]:
        for place, clip in enumerate(store.ids):
            wave, lengths = store.read([place])
            try:
                if fit is not None:
                    wave, _ = fit_length(wave, lengths, *fit, draws=Draws(seed, 0, torch.tensor([place])))
                with torch.inference_mode():
                    x = feature(wave)[0]
            except HeschlError as error:
                skipped.append((clip, str(error)))
                continue
            yield clip, x.movedim(-1, 0).numpy()

    def build(private: Path) -> None:
        _write_frames(private, frames(), len(store), feature.rate, dtype, skipped, progress)

    return cached(final, build, FeatureStore, say)


def pack_frames(
    clips: Sequence[Clip],
    read: Callable[[Clip], NDArray[Any]],
    folder: Path | None = None,
    dtype: Literal["float16", "float32"] = "float32",
    progress: Progress | None = None,
    say: Say | None = None,
    key: str | None = None,
) -> FeatureStore:
    """Packs frames that were computed elsewhere: clips of ``form="frames"``.

    Parameters
    ----------
    read: gives a clip's (time, feature) array; where it raises HeschlError, the clip is skipped.
    key: of what ``read`` does to a clip besides reading it: another key is another cache.
    """
    if not clips:
        raise HeschlError("there are no clips to pack: check the corpus")
    skipped: list[tuple[str, str]] = []

    def frames() -> Iterable[tuple[str, NDArray[Any]]]:
        for clip in clips:
            try:
                values = np.asarray(read(clip))
                if len(values) == 0 or not np.isfinite(values).all():
                    raise HeschlError(
                        f"{clip.id} of {clip.signal} has no frames, or some that are not numbers"
                    )
            except HeschlError as error:
                skipped.append((clip.id, str(error)))
                continue
            yield clip.id, values

    def build(private: Path) -> None:
        _write_frames(private, frames(), len(clips), clips[0].rate, dtype, skipped, progress)

    final = (
        folder or cache_folder()
    ) / f"frames-{fingerprint(clips, dtype if key is None else [dtype, key])}"
    return cached(final, build, FeatureStore, say)


def _write_frames(
    folder: Path,
    items: Iterable[tuple[str, NDArray[Any]]],
    total: int,
    rate: float,
    dtype: str,
    skipped: Sequence[tuple[str, str]],
    progress: Progress | None,
) -> None:
    ids, lengths = [], []
    shape: tuple[int, ...] | None = None
    path = folder / "frames.bin"
    with path.open("wb") as file:
        for clip, values in items:
            shape = shape or values.shape[1:]
            if values.shape[1:] != shape:
                raise HeschlError(
                    f"a frame of {clip} has shape {values.shape[1:]} and those before it {shape}: "
                    "all clips must have the same features"
                )
            if dtype == "float16" and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
                raise HeschlError(
                    f"the feature of {clip} exceeds float16 ({np.abs(values).max():g}): use float32"
                )
            append(file, values.astype(dtype))
            ids.append(clip)
            lengths.append(len(values))
            if progress:
                progress(len(ids), total)
    if not ids:
        raise HeschlError(_nothing_usable(skipped))
    index = {"rate": rate, "dtype": dtype, "shape": shape, "ids": ids, "lengths": lengths}
    write_index(folder, path, {**index, "skipped": list(skipped)})


def _nothing_usable(skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return "there are no clips to pack: check the corpus"
    if len(skipped) == 1:
        return f"the only clip cannot be used: {skipped[0][1]}"
    return f"none of the {len(skipped):,} clips can be used; the first: {skipped[0][1]}"
