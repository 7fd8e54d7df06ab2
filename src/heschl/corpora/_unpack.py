"""Unpacking an archive that may be hostile: nothing lands outside its folder, nothing but plain files."""

from __future__ import annotations

import shutil
import stat
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from heschl.files import told
from heschl.types import HeschlError

MAX_BYTES = 50 * 10**9  # of all files together, unpacked
MAX_FILES = 2_000_000
MAX_RATIO = 200  # unpacked bytes for each byte of the archive, above 100 MB: more is a bomb, not a recording
_CHUNK = 1 << 20


def unpack(archive: Path, target: Path, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> None:
    """Unpacks a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip to a folder that is not there yet.

    Everything goes to a temporary folder beside it first, so that the folder is there whole or not at all.
    One folder that holds all the rest (as in GitHub's archives) is left out.

    Raises
    ------
    HeschlError: the archive is damaged or of another kind; a member is a link or a device, has a path
        outside the folder or one that another member has; it unpacks to too much; the disk is full.
    """
    archive, target = Path(archive), Path(target)
    if target.exists():
        raise HeschlError(f"{target} is there already: remove it, or unpack elsewhere")
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    allowed = min(max_bytes, max(100_000_000, MAX_RATIO * archive.stat().st_size))
    try:
        temporary.mkdir(parents=True)
        left, files = allowed, 0
        for name, stream in _members(archive):
            files += 1
            if files > max_files:
                raise HeschlError(
                    f"{archive} holds more than {max_files:,} files: it is not what it should be"
                )
            left -= _write(stream, temporary.joinpath(*_safe(archive, name)), archive, name, left)
        if not files:
            raise HeschlError(f"{archive} holds no files: download it again")
        _without_single_folder(temporary).rename(target)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise HeschlError(f"{archive} is damaged ({str(error)[:80]}): remove it and fetch it again") from None
    except OSError as error:
        raise told(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each plain file, in the archive's order; folders follow from the names."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise _refused(archive, info.filename, "is a link or a device")
                if info.is_dir():
                    _safe(archive, info.filename)
                    continue
                if info.flag_bits & 1:
                    raise _refused(archive, info.filename, "is encrypted")
                with opened.open(info) as stream:
                    yield info.filename, stream
        return
    try:
        tar = tarfile.open(archive, mode="r|*")  # noqa: SIM115 (closed below)
    except tarfile.ReadError:
        raise HeschlError(f"{archive} is neither a tar nor a zip archive: download it again") from None
    with tar:
        for member in tar:
            if member.isdir():
                _safe(archive, member.name)
                continue
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise _refused(archive, member.name, "is a link or a device")
            yield member.name, content


def _safe(archive: Path, name: str) -> tuple[str, ...]:
    """The pieces of a member's path below the folder; refuses any that would leave it, on any system."""
    parts = tuple(piece for piece in PurePosixPath(name).parts if piece != ".")
    outside = name.startswith("/") or "\\" in name or "\0" in name or ".." in parts
    if outside or any(PureWindowsPath(piece).drive or ":" in piece for piece in parts):
        raise _refused(archive, name, "would land outside the folder")
    return parts


def _refused(archive: Path, name: str, why: str) -> HeschlError:
    return HeschlError(
        f"{archive} is not unpacked: its member {name!r} {why}, so it is not the corpus that it says"
    )


def _write(content: IO[bytes], path: Path, archive: Path, name: str, left: int) -> int:
    """Copies one member, counting what really comes out; returns its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with path.open("xb") as file:
            while chunk := content.read(_CHUNK):
                written += len(chunk)
                if written > left:
                    raise HeschlError(
                        f"{archive} is not unpacked: it holds far more than its size allows (at {name!r}), a bomb"
                    )
                file.write(chunk)
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise _refused(archive, name, "is there twice") from None
    return written


def _without_single_folder(folder: Path) -> Path:
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
