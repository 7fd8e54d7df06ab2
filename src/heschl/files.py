"""Files in and out: audio, JSON, CSV, YAML, weights. Every write goes to a temporary name, then is renamed."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import shutil
import sys
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from heschl.types import HeschlError

if TYPE_CHECKING:
    import numpy as np
    import torch


def cache_folder() -> Path:
    """Where made things are kept: $HESCHL_CACHE, or the system's folder for caches."""
    if named := os.environ.get("HESCHL_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "heschl" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "heschl"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heschl"


# --- writing -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Gives a temporary path beside ``path``; on leaving, flushes it to disk and moves it into place.

    A reader sees the old file or the whole new one, never half of it. Where writing fails, the temporary
    file is removed and the old one stands.

    Raises
    ------
    HeschlError: the disk is full, or the folder may not be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise told(error, path) from error
    finally:
        with contextlib.suppress(OSError):  # where it could not even be looked for, the error is on its way
            temporary.unlink(missing_ok=True)


ROOM = 1 << 16  # bytes that a file of HDF5 takes besides its large arrays, more than enough


def reserve(path: Path, size: int) -> None:
    """Takes so many bytes of the disk for a file, and leaves no file where there are not as many.

    For files of HDF5, which a disk that is full half-way leaves unable to close: it then ends the process.

    Raises
    ------
    OSError: the disk, or what may be written of it, is too small.
    """
    try:
        with path.open("ab") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            elif shutil.disk_usage(path.parent).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def disk_full(error: HeschlError) -> bool:
    """Whether it was the disk that was full, which is no fault of what was being read."""
    return getattr(error.__cause__, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def told(error: OSError, path: Path | str) -> HeschlError:
    """An operating-system error as a sentence for a person."""
    why = (
        os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
    )  # HDF5's own word takes lines
    if error.errno == errno.ENOSPC:
        return HeschlError(
            f"the disk is full while writing {path}: free some space and run the same command again"
        )
    elsewhere = "choose another folder"
    if Path(path).absolute().is_relative_to(cache_folder().absolute()):
        elsewhere = "set HESCHL_CACHE to a folder that may be written to"
    if error.errno in (errno.EDQUOT, errno.EFBIG):
        return HeschlError(
            f"{path} is larger than may be written here ({why}): free some space, or {elsewhere}"
        )
    if error.errno == errno.ENOTDIR:
        return HeschlError(f"{path} goes through a file as if it were a folder: {elsewhere}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return HeschlError(f"{path} may not be written or read ({why}): change that, or {elsewhere}")
    return HeschlError(f"{path} could not be written or read ({why}): {elsewhere}")


def write_bytes(path: Path | str, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    write_bytes(path, text_of(text).encode("utf-8"))


def text_of(name: object) -> str:
    """Text that can be written: of a file's name that is no UTF-8, the bytes are written out (``\\udcfc``)."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def write_json(path: Path | str, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path | str, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes rows under the named columns; a key outside them is an error, not a silent loss."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


# --- reading -----------------------------------------------------------------------------------------


def read_text(path: Path | str) -> str:
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise HeschlError(f"{path} is not there: check the path") from None
    except UnicodeDecodeError as error:
        raise HeschlError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise told(error, path) from error


def read_json(path: Path | str) -> Any:
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise HeschlError(
            f"{path} is not JSON (line {error.lineno}: {error.msg}): mend or remove it"
        ) from None
    except (RecursionError, ValueError):  # more brackets, or digits of a number, than anybody writes
        raise HeschlError(
            f"{path} is nested too deeply, or holds too long a number: mend or remove it"
        ) from None


def read_csv(path: Path | str) -> list[dict[str, str]]:
    """Rows as text by column name. Refuses rows that are longer or shorter than the header, and a name given twice.

    A column without a name (pandas writes its index so, a spreadsheet a comma too many) is left out.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)))
    rows = []
    try:
        header = reader.fieldnames or ()
        _check_header(path, header)
        for row in reader:
            if None in row or None in row.values():  # more cells than columns, or fewer
                raise HeschlError(
                    f"{path}, line {reader.line_num}: the row does not have the header's {len(header)} columns: mend that line"
                )
            rows.append({name: cell for name, cell in row.items() if name.strip()})
    except csv.Error as error:
        raise HeschlError(f"{path}, line {reader.line_num}, is not CSV ({error}): mend that line") from None
    if not header:
        raise HeschlError(f"{path} is empty: it needs a header line and rows")
    return rows


def _check_header(path: Path | str, header: Sequence[str]) -> None:
    if len(header) == 1:
        for sign, called in ((";", "semicolons"), ("\t", "tabs")):
            if sign in header[0]:
                raise HeschlError(f"{path} is separated by {called}: save it with commas")
    for name in header:
        if name.strip() and header.count(name) > 1:
            raise HeschlError(f"{path} has two columns called '{name}': rename one")


# --- audio -------------------------------------------------------------------------------------------

# Containers that libsndfile does not read, but that people have: the error gives the conversion.
_FOREIGN = {".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr", ".3gp", ".mov", ".mkv"}
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".au", ".opus")
MAX_CHANNELS = 2
_LOUDEST = 2.0**31  # whole numbers of 32 bits kept as floats are the largest scale in use


class AudioInfo(NamedTuple):
    """What an audio file's header says: frames (samples per channel), rate in Hz, channels, sample format."""

    frames: int
    rate: int
    channels: int
    subtype: str


def audio_info(path: Path | str) -> AudioInfo:
    """Reads and checks an audio file's header.

    Raises
    ------
    HeschlError: the file is missing, empty, not audio, of a container that libsndfile does not read,
        or has more than two channels.
    """
    import soundfile

    path = Path(path)
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError):
        raise HeschlError(_why_not_audio(path)) from None
    if info.channels > MAX_CHANNELS:
        raise HeschlError(
            f"{path} has {info.channels} channels, and heschl hears one voice in mono or stereo: "
            f'pick a channel, for example `sox "{path.name}" mono.wav remix 1`'
        )
    if info.frames <= 0:
        raise HeschlError(f"{path} holds no samples: record it again or take it out")
    if lacking := _lacking(path):
        raise HeschlError(
            f"{path} is truncated: {lacking:,} bytes that its header promises are not there: "
            "copy or download it again"
        )
    return AudioInfo(info.frames, info.samplerate, info.channels, info.subtype)


def _lacking(path: Path) -> int:
    """How many bytes of sound a WAV file promises and lacks; libsndfile takes what is there without a word.

    Recorders that write as they go leave the promise open (0 or all ones): then nothing is lacking.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RIFX") or head[8:] != b"WAVE":
            return 0
        order: Literal["little", "big"] = "little" if head[:4] == b"RIFF" else "big"
        while len(chunk := file.read(8)) == 8:
            promised = int.from_bytes(chunk[4:], order)
            if chunk[:4] == b"data":
                there = path.stat().st_size - file.tell()
                return 0 if promised in (0, 0xFFFFFFFF) else max(0, promised - there)
            file.seek(promised + promised % 2, 1)
    return 0


def _why_not_audio(path: Path) -> str:
    if (shown := text_of(path)) != str(path):
        return f"{shown} has a name that is no UTF-8 text: rename it, or set PYTHONUTF8=1 where the system's language is C"
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name that no file can have
        return f"{path} is not there: check the path"
    if path.is_dir():
        return f"{path} is a folder, not a recording: name a file in it"
    if not os.access(path, os.R_OK):
        return f"{path} may not be read: change its permissions"
    if path.stat().st_size == 0:
        return f"{path} is empty (0 bytes): record or download it again"
    if path.suffix.lower() in _FOREIGN:
        return (
            f"{path} is a {path.suffix[1:]} file, which libsndfile does not read: convert it, "
            f'for example `ffmpeg -i "{path.name}" "{path.stem}.wav"`'
        )
    return f"{path} is not audio that libsndfile reads (truncated, or another kind of file): convert it to WAV or FLAC"


def read_audio(path: Path | str, start: float = 0.0, stop: float | None = None) -> tuple[np.ndarray, int]:
    """Samples of one recording, stereo averaged to mono.

    Parameters
    ----------
    start, stop: the part to read, seconds; ``stop=None`` reads to the end.

    Returns
    -------
    wave: (time,) float32, full scale = 1.
    rate: Hz.

    Raises
    ------
    HeschlError: as `audio_info`; or the part lies outside the file, the file ends early, or samples are
        not finite or beyond any scale.
    """
    import numpy as np
    import soundfile

    info = audio_info(path)
    first = round(start * info.rate)
    last = info.frames if stop is None else min(round(stop * info.rate), info.frames)
    if first >= last:
        raise HeschlError(
            f"{path} is {info.frames / info.rate:.3f} s long, and the part from {start} s to {stop} s lies outside it: "
            "mend the times"
        )
    try:
        wave, _ = soundfile.read(str(path), start=first, stop=last, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError):
        raise HeschlError(f"{path} breaks off while it is read: copy or download it again") from None
    if len(wave) < last - first:
        raise HeschlError(
            f"{path} is truncated: its header promises {info.frames} samples, {first + len(wave)} are there: "
            "copy or download it again"
        )
    mono = wave[:, 0] if wave.shape[1] == 1 else wave.mean(axis=1)
    if not np.isfinite(mono).all():
        raise HeschlError(f"{path} holds samples that are not numbers (NaN or infinite): export it again")
    if info.subtype in ("FLOAT", "DOUBLE") and np.abs(mono).max(initial=0.0) > _LOUDEST:
        raise HeschlError(
            f"{path} holds samples of {np.abs(mono).max():.0e}, where full scale is 1: export it again"
        )
    return mono, info.rate


def write_wav(path: Path | str, wave: np.ndarray, rate: int) -> None:
    """Writes (time,) samples in [-1, 1] as 16-bit WAV; louder samples are refused rather than clipped."""
    import numpy as np
    import soundfile

    wave = np.asarray(wave)
    if wave.ndim != 1 or not np.isfinite(wave).all():
        raise HeschlError(f"the sound for {path} must be one channel of finite samples, not {wave.shape}")
    if np.abs(wave).max(initial=0.0) > 1.0:
        raise HeschlError(f"the sound for {path} exceeds full scale: lower its level first")
    with replacing(path) as temporary:
        soundfile.write(str(temporary), wave, rate, subtype="PCM_16", format="WAV")


# --- weights -----------------------------------------------------------------------------------------


def read_weights(path: Path | str) -> dict[str, torch.Tensor]:
    """A state dict from .safetensors, or from a plain torch file that holds tensors and nothing else.

    Raises
    ------
    HeschlError: the file is missing, damaged, or a pickle that would run code: such a file is never opened.
    """
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.exists():
        raise HeschlError(f"{path} is not there: check the path of the weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(str(path))
        with (
            warnings.catch_warnings()
        ):  # torch wonders at pickles that it did not write: refused below, in our words
            warnings.simplefilter("ignore", UserWarning)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise HeschlError(
            f"{path} holds more than weights (a pickle that could run code), so it is not opened: "
            "save `model.state_dict()` instead of the model"
        ) from None
    except (KeyError, UnicodeDecodeError):  # torch takes the first bytes of a strange file for commands
        raise HeschlError(
            f"{path} is no file of weights: give a .safetensors file, or what torch saved"
        ) from None
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise HeschlError(
            f"{path} could not be read as weights ({str(error).splitlines()[0][:80]}): copy it again, or train again"
        ) from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise HeschlError(f"{path} is not a plain state dict (name -> tensor): save `model.state_dict()`")
    return dict(state)


def write_weights(
    path: Path | str, state: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        save_file(
            {name: tensor.contiguous() for name, tensor in state.items()},
            str(temporary),
            dict(metadata or {}),
        )
