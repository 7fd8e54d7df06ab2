"""Fetching from a server on this machine: ranges, breaks, changed files; and hostile archives."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import socket
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heschl.corpora import _unpack, audiomnist, download, read_corpus, words
from heschl.types import HeschlError


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content`` with Range and If-Range; breaks off after ``limits`` bytes, one entry a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag, self.ranges = b"", '"one"', True
        self.limits: list[int] = []
        self.seen: list[tuple[str, str | None]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.seen.append((self.path, wanted))
        if not server.content:
            self.send_error(404)
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") == server.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
            )
        else:
            self.send_response(200)
        self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        limit = server.limits.pop(0) if server.limits else len(server.content)
        self.wfile.write(server.content[start : start + limit])
        self.wfile.flush()
        if start + limit < len(server.content):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def tar_of(root: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.add(root, arcname=".")
    return out.getvalue()


def zip_of(root: Path, top: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, f"{top}/{file.relative_to(root).as_posix()}")
    return out.getvalue()


@pytest.fixture
def fsdd(tmp_path: Path) -> bytes:
    from heschl.corpora import _tiny

    for digit in range(3):
        for speaker, name in enumerate(("ann", "bob")):
            file = tmp_path / "made" / "recordings" / f"{digit}_{name}_0.wav"
            _tiny.write(file, _tiny.utterance(speaker, digit, 0, rate=8000), 8000)
    (tmp_path / "made" / "README.md").write_text("digits", encoding="utf-8")
    return zip_of(tmp_path / "made", "free-spoken-digit-dataset-master")


def test_fetch_and_read(server: Server, fsdd: bytes, tmp_path: Path) -> None:
    server.content = fsdd
    told: list[str] = []
    steps: list[tuple[int, int | None]] = []
    root = download.fetch(
        "fsdd", tmp_path / "data", base_url=server.url, tell=told.append, progress=lambda *s: steps.append(s)
    )
    assert "about 20 MB; licence CC BY-SA 4.0" in told[0] and not server.seen[1:]
    assert hashlib.sha256(fsdd).hexdigest() in told[-1]
    assert steps[-1] == (len(fsdd), len(fsdd)) and server.seen[0][0] == "/data/master.zip"
    corpus = read_corpus("table", root)
    assert len(corpus.clips) == 6
    assert dict(corpus.by_id["recordings/2_bob_0"].labels) == {"digit": "2", "speaker": "bob", "take": "0"}
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["fsdd"]  # nothing else is left
    assert download.fetch("fsdd", tmp_path / "data", base_url=server.url, tell=told.append) == root
    assert "already" in told[-1] and len(server.seen) == 1


def test_licence_and_size_are_told_before_anything_starts(
    server: Server, fsdd: bytes, tmp_path: Path
) -> None:
    server.content = fsdd

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch("fsdd", tmp_path / "data", base_url=server.url, tell=stop)
    assert not server.seen and not (tmp_path / "data").exists()


def test_a_broken_download_goes_on_where_it_broke(server: Server, fsdd: bytes, tmp_path: Path) -> None:
    server.content, server.limits = fsdd, [20_000, 17_000]
    download.fetch("fsdd", tmp_path, base_url=server.url, tell=lambda _: None)
    assert [wanted for _, wanted in server.seen] == [None, "bytes=16384-", "bytes=32768-"]


def test_a_later_call_goes_on_too(server: Server, fsdd: bytes, tmp_path: Path) -> None:
    server.content, server.limits = fsdd, [20_000, *[0] * 20]
    with pytest.raises(HeschlError, match="after 16,384 bytes: run the same command again"):
        download.fetch("fsdd", tmp_path, base_url=server.url, tell=lambda _: None)
    server.limits.clear()
    server.seen.clear()
    root = download.fetch("fsdd", tmp_path, base_url=server.url, tell=lambda _: None)
    assert [wanted for _, wanted in server.seen] == ["bytes=16384-"]
    assert len(read_corpus("table", root).clips) == 6


@pytest.mark.parametrize("how", ["changed", "no ranges", "whole already"])
def test_resume_never_mixes_two_files(server: Server, tmp_path: Path, how: str) -> None:
    part = tmp_path / "x.part"
    old, new = b"old" * 10_000, b"new" * 12_000
    server.content = old
    server.limits = [20_000, *[0] * 20]
    with pytest.raises(HeschlError):
        download.resuming(server.url, part, pause=0.0)
    server.limits.clear()
    if how == "changed":
        server.content, server.tag = new, '"two"'
    elif how == "no ranges":
        server.ranges = False
    else:
        part.write_bytes(old)
    download.resuming(server.url, part, pause=0.0)
    assert part.read_bytes() == server.content
    assert not (tmp_path / "x.part.tag").exists()


def test_refusals_of_the_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(HeschlError, match="answers 404"):
        download.fetch("fsdd", tmp_path, base_url=server.url, tell=lambda _: None)
    with pytest.raises(HeschlError, match=r"cannot fetch 'fsd' \(did you mean fsdd"):
        download.fetch("fsd", tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(HeschlError, match="there is no connection after 0 bytes"):
        download.fetch("fsdd", tmp_path, base_url=f"http://127.0.0.1:{port}", tell=lambda _: None)
    assert not (tmp_path / "fsdd").exists()


@pytest.mark.slow
def test_the_published_checksum_is_held(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words.write_tiny(tmp_path / "made")
    server.content = tar_of(tmp_path / "made")
    quiet: Callable[[str], None] = lambda _: None  # noqa: E731
    source = download.SOURCES["speech-commands-v2"]._replace(size=None)
    monkeypatch.setitem(download.SOURCES, "speech-commands-v2", source)
    with pytest.raises(HeschlError, match="is not the published file"):
        download.fetch("speech-commands-v2", tmp_path / "data", base_url=server.url, tell=quiet)
    assert list((tmp_path / "data").iterdir()) == []
    right = source._replace(sha256=hashlib.sha256(server.content).hexdigest())
    monkeypatch.setitem(download.SOURCES, "speech-commands-v2", right)
    root = download.fetch("speech-commands-v2", tmp_path / "data", base_url=server.url, tell=quiet)
    assert len(read_corpus("words", root, task="v2-12").clips) == 72


def test_from_local(fsdd: bytes, tmp_path: Path) -> None:
    audiomnist.write_tiny(tmp_path / "made2")
    (tmp_path / "a.zip").write_bytes(zip_of(tmp_path / "made2", "AudioMNIST-master"))
    root = download.fetch("audiomnist", tmp_path / "data", from_local=tmp_path / "a.zip", tell=lambda _: None)
    assert len(read_corpus("audiomnist", root).clips) == 90 and (tmp_path / "a.zip").exists()
    with pytest.raises(HeschlError, match="is not the published speech-commands-v1"):
        download.fetch("speech-commands-v1", tmp_path, from_local=tmp_path / "a.zip", tell=lambda _: None)
    with pytest.raises(HeschlError, match="--from-local: .* is not there"):
        download.fetch("fsdd", tmp_path / "new", from_local=tmp_path / "none.zip", tell=lambda _: None)
    assert not (tmp_path / "new").exists()


def test_the_command_fetches_and_names_what_works_next(server: Server, fsdd: bytes, tmp_path: Path) -> None:
    import shlex

    from typer.testing import CliRunner

    from heschl.cli import app

    server.content = fsdd
    asked = ["corpora", "fetch", "fsdd", "--to", str(tmp_path), "--base-url", server.url]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.stderr
    assert "about 20 MB" in said.stdout and "CC BY-SA 4.0" in said.stdout  # before it starts
    following = shlex.split(said.stdout.splitlines()[-1].removeprefix("next: heschl "))
    assert CliRunner().invoke(app, following).exit_code == 0
    again = CliRunner().invoke(app, [*asked, "--json"])
    assert json.loads(again.stdout) == {"name": "fsdd", "folder": str(tmp_path / "fsdd"), "use": "table"}
    assert len(server.seen) == 1  # it is there already
    wrong = CliRunner().invoke(app, ["corpora", "fetch", "fsd"])
    assert wrong.exit_code == 1 and "fsdd" in wrong.stderr and not wrong.stdout


def test_every_source_is_a_known_corpus() -> None:
    from heschl.corpora import available

    for source in download.SOURCES.values():
        assert source.reader in available() and source.url.startswith("https://")
        assert source.sha256 is None or len(source.sha256) == 64


# --- hostile archives ----------------------------------------------------------------------------------


def tar_with(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


NAMES = ["../out.txt", "/out.txt", "a/../../out.txt", "C:/out.txt", "..\\out.txt", "a/b:c"]


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_lands_outside(tmp_path: Path, kind: str, name: str) -> None:
    if kind == "tar":
        data = tar_with((member("good.txt"), b"x"), (member(name), b"evil"))
    else:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("good.txt", "x")
            archive.writestr(zipfile.ZipInfo(name), "evil")
        data = out.getvalue()
    refused(tmp_path, data, "outside the folder")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_no_links_and_devices(tmp_path: Path, kind: bytes) -> None:
    refused(
        tmp_path, tar_with((member("good"), b"x"), (member("odd", kind, "good"), b"")), "a link or a device"
    )


def test_no_links_in_zip(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("odd")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path, out.getvalue(), "a link or a device")


def refused(tmp_path: Path, data: bytes, message: str, **limits: int) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "archive").write_bytes(data)
    with pytest.raises(HeschlError, match=message):
        _unpack.unpack(tmp_path / "in" / "archive", tmp_path / "in" / "target", **limits)
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["archive"]
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_bombs_twins_and_wrecks(tmp_path: Path) -> None:
    def case(name: str, data: bytes, message: str, **limits: int) -> None:
        (tmp_path / name).mkdir()
        refused(tmp_path / name, data, message, **limits)

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2_000_000))
    case("bomb", out.getvalue(), "a bomb", max_bytes=1_000_000)
    case("many", tar_with(*((member(f"f{i}"), b"") for i in range(6))), "more than 5 files", max_files=5)
    case("twins", tar_with((member("a"), b"1"), (member("./a"), b"2")), "is there twice")
    case("under", tar_with((member("a"), b"1"), (member("a/b"), b"2")), "could not be written|is there twice")
    case("none", b"hello", "neither a tar nor a zip")
    case("empty", tar_with(), "holds no files")
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as tar:
        info = member("a")
        info.size = 100_000
        tar.addfile(info, io.BytesIO(bytes(range(256)) * 391))
    case("cut", whole.getvalue()[:300], "damaged|could not be")
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "x").unlink()


def test_a_single_top_folder_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(tar_with((member("top/a/x"), b"1"), (member("top/y"), b"2")))
    _unpack.unpack(tmp_path / "t.tar", tmp_path / "out")
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*")) == [
        "a",
        "a/x",
        "y",
    ]
    with pytest.raises(HeschlError, match="already"):
        _unpack.unpack(tmp_path / "t.tar", tmp_path / "out")
