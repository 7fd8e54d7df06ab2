"""Fetching public corpora: size and licence told first, broken downloads resumed, archives unpacked safely.

Checksums are those that others published: for Speech Commands the SHA-256 that torchaudio and TensorFlow
Datasets check. GitHub makes its archives on demand and publishes none, so there the checksum is None; what
arrived is hashed all the same, and the hash written beside it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

from heschl.corpora._unpack import unpack
from heschl.files import told, write_csv, write_json
from heschl.types import HeschlError
from heschl.wording import nearest

_GOOGLE = "https://storage.googleapis.com/download.tensorflow.org/data"
_CC_BY = "CC BY 4.0 (Google)"
TRIES = 5  # times that a broken connection is taken up again before giving up
PAUSE = 1.0  # seconds before the second try, doubled before each one after
TIMEOUT = 30  # seconds without a byte, after which a connection counts as broken
_CHUNK = 1 << 14  # bytes; what has come of the last chunk is lost when a connection breaks


class Source(NamedTuple):
    """Where a corpus lies.

    url: the archive. sha256: as published, or None. size: bytes, where published, else None.
    about: the size in words, for people. licence, citation: told before it starts.
    reader: the corpus name that reads it. pattern: for a table to be written of its file names, or "".
    """

    url: str
    sha256: str | None
    size: int | None
    about: str
    licence: str
    citation: str
    reader: str
    pattern: str = ""


_WARDEN = "P. Warden, Speech Commands, arXiv:1804.03209"
SOURCES = {
    "speech-commands-v1": Source(
        f"{_GOOGLE}/speech_commands_v0.01.tar.gz",
        "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
        None,
        "about 1.5 GB, 2 GB more once unpacked",
        _CC_BY,
        _WARDEN,
        "words",
    ),
    "speech-commands-v2": Source(
        f"{_GOOGLE}/speech_commands_v0.02.tar.gz",
        "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        2_428_923_189,
        "about 2.4 GB, 3.3 GB more once unpacked",
        _CC_BY,
        _WARDEN,
        "words",
    ),
    "speech-commands-v1-test": Source(
        f"{_GOOGLE}/speech_commands_test_set_v0.01.tar.gz",
        None,
        None,
        "about 0.1 GB",
        _CC_BY,
        _WARDEN,
        "words",
    ),
    "speech-commands-v2-test": Source(
        f"{_GOOGLE}/speech_commands_test_set_v0.02.tar.gz",
        None,
        None,
        "about 0.1 GB",
        _CC_BY,
        _WARDEN,
        "words",
    ),
    "audiomnist": Source(
        "https://github.com/soerenab/AudioMNIST/archive/refs/heads/master.zip",
        None,
        None,
        "about 1 GB, 3 GB more once unpacked",
        "MIT",
        "S. Becker et al., AudioMNIST, J. Franklin Inst. 361 (2024) 418-428, arXiv:1807.03418",
        "audiomnist",
    ),
    "fsdd": Source(
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/heads/master.zip",
        None,
        None,
        "about 20 MB",
        "CC BY-SA 4.0",
        "Z. Jackson et al., Free Spoken Digit Dataset, doi:10.5281/zenodo.1342401",
        "table",
        "recordings/{digit}_{speaker}_{take}.wav",
    ),
}

Tell = Callable[[str], None]
Progress = Callable[[int, int | None], None]  # bytes done, bytes in all or None


def fetch(
    name: str,
    folder: Path | str,
    *,
    from_local: Path | str | None = None,
    base_url: str | None = None,
    tell: Tell = print,
    progress: Progress | None = None,
) -> Path:
    """Downloads a corpus, checks it and unpacks it.

    Parameters
    ----------
    name: one of `SOURCES`.
    folder: the corpus goes to ``folder/name``; the archive stays beside it, until it is unpacked.
    from_local: this archive instead of a download.
    base_url: another place to take the archive from (a mirror), without its file name.
    tell: is given sentences for a person, the size and the licence before anything starts.
    progress: is given bytes done and bytes in all.

    Returns
    -------
    The corpus' folder, for `read_corpus` as root. Where it is there already, nothing is done.

    Raises
    ------
    HeschlError: unknown name, no connection, a file that is not the published one, an archive that reaches
        outside its folder, a full disk.
    """
    if name not in SOURCES:
        raise HeschlError(
            f"heschl cannot fetch '{name}'{nearest(name, SOURCES)}: it knows {', '.join(SOURCES)}"
        )
    source, folder = SOURCES[name], Path(folder)
    target = folder / name
    if target.exists():
        tell(f"{target} is there already: nothing to do (remove the folder to fetch it again)")
        return target
    tell(f"{name}: {source.about}; licence {source.licence}; cite {source.citation}")
    if from_local is not None and not Path(from_local).is_file():
        raise HeschlError(f"--from-local: {from_local} is not there: name the archive that you downloaded")
    folder.mkdir(parents=True, exist_ok=True)
    file_name = f"{name}-{source.url.rpartition('/')[2]}"
    if from_local is not None:
        archive, where = Path(from_local), str(from_local)
        found = _checked(archive, source, name)
    else:
        where = source.url if base_url is None else f"{base_url.rstrip('/')}/{source.url.rpartition('/')[2]}"
        _enough_room(folder, source)
        archive = _download(where, source.sha256, folder, file_name, progress)
        found = _checked(archive, source, name)
    tell(f"unpacking {archive.name} to {target}")
    stage = folder / f".{name}.unpacking"
    shutil.rmtree(stage, ignore_errors=True)  # of an earlier time that was killed
    try:
        unpack(archive, stage)
        facts = {"name": name, "from": where, "sha256": found, "licence": source.licence}
        write_json(stage / "fetched.json", facts)
        if source.pattern:
            _write_table(stage, source.pattern)
        stage.rename(target)
    except OSError as error:
        raise told(error, target) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    if from_local is None:
        archive.unlink(missing_ok=True)
    if source.sha256 is None:
        tell(f"no checksum is published for {name}: what arrived has SHA-256 {found}")
    return target


def _write_table(target: Path, pattern: str) -> None:
    from heschl.corpora._table_pattern import from_pattern

    rows = from_pattern(target, pattern)
    write_csv(target / "index.csv", rows, list(rows[0]))


def _enough_room(folder: Path, source: Source) -> None:
    free = shutil.disk_usage(folder).free
    if source.size is not None and free < 2.5 * source.size:
        raise HeschlError(
            f"{folder} has {free / 1e9:.1f} GB free, and {source.about} are needed: free some space, or choose another folder"
        )


def _checked(archive: Path, source: Source, name: str) -> str:
    """The archive's SHA-256; refuses one that is not the published file."""
    import pooch

    found = str(pooch.file_hash(str(archive), alg="sha256"))
    if source.sha256 is not None and found != source.sha256:
        raise HeschlError(
            f"{archive} is not the published {name}: its SHA-256 is {found}, published is {source.sha256}: "
            "remove it and fetch it again"
        )
    return found


# --- the download --------------------------------------------------------------------------------------


def _download(url: str, sha256: str | None, folder: Path, file_name: str, progress: Progress | None) -> Path:
    """The file at a URL, through pooch, which checks it; what a broken download left is taken up again."""
    import pooch

    part = folder / f"{file_name}.part"

    def resume(url: str, output: str | IO[bytes], _: Any) -> None:
        resuming(url, part, progress, PAUSE)
        shutil.move(str(part), str(output))

    pooch.get_logger().setLevel("WARNING")
    try:
        found = pooch.retrieve(url, known_hash=sha256, fname=file_name, path=folder, downloader=resume)
    except ValueError as error:
        if isinstance(error, HeschlError):
            raise
        raise HeschlError(
            f"what {url} gave is not the published file (its SHA-256 differs from {sha256}): try again, or take a mirror"
        ) from None
    except OSError as error:
        raise told(error, folder / file_name) from error
    return Path(found)


def resuming(url: str, part: Path, progress: Progress | None = None, pause: float = PAUSE) -> None:
    """Downloads to ``part``, from where an earlier download broke off, by HTTP Range.

    Beside it lies `<part>.tag`, the server's name (ETag or date) of the version that was begun: if the file
    has changed since, or the server does not know ranges, it starts anew.

    Raises
    ------
    HeschlError: the server refuses, or the connection broke `TRIES` times without a byte more; what has come
        stays for the next time.
    """
    import requests

    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _one_try(url, part, progress):
                part.with_name(part.name + ".tag").unlink(missing_ok=True)
                return
            broke = "the connection broke off"
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status < 500:
                raise HeschlError(f"{url} answers {status}: check the address") from None
            broke = f"the server answers {status}"
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
            broke = "there is no connection"
        except requests.RequestException as error:
            raise HeschlError(
                f"{url} cannot be fetched ({type(error).__name__}): check the address"
            ) from None
        except OSError as error:
            raise told(error, part) from error
        after = part.stat().st_size if part.exists() else 0
        failures = 0 if after > before else failures + 1
        if failures >= TRIES:
            raise HeschlError(
                f"{url}: {broke} after {after:,} bytes: run the same command again and it goes on from there"
            )
        time.sleep(pause * 2**failures)


def _one_try(url: str, part: Path, progress: Progress | None) -> bool:
    """One connection; True where the file is whole."""
    import requests

    tag_file = part.with_name(part.name + ".tag")
    done = part.stat().st_size if part.exists() else 0
    tag = tag_file.read_text(encoding="utf-8") if tag_file.exists() else ""
    headers = {"Accept-Encoding": "identity"}
    if done and tag:
        headers |= {"Range": f"bytes={done}-", "If-Range": tag}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # beyond the end: whole already, or another file
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if total == str(done):
                return True
            part.unlink(missing_ok=True)
            return False
        answer.raise_for_status()
        if answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(
            f"bytes {done}-"
        ):
            part.unlink(missing_ok=True)  # the server sent another range than asked for
            return False
        if answer.status_code != 206:
            done = 0
            strong = answer.headers.get("ETag", "")
            name = (
                strong if strong and not strong.startswith("W/") else answer.headers.get("Last-Modified", "")
            )
            tag_file.write_text(name, encoding="utf-8")
        length = answer.headers.get("Content-Length")
        total_bytes = done + int(length) if length is not None else None
        with part.open("ab" if done else "wb") as file:
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total_bytes)
    return total_bytes is None or done == total_bytes
