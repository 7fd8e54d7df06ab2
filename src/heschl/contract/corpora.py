"""The contract of a corpus."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from heschl.contract.finding import Finding, refused, require, tried
from heschl.files import audio_info
from heschl.types import Corpus


def check_corpus(module: Any) -> list[Finding]:
    """Holds a corpus module to the contract: `read` on the tree that its own `write_tiny` makes."""
    name = module.__name__.rpartition(".")[2]
    with TemporaryDirectory() as scratch:
        root = Path(scratch) / "tiny"
        read: list[Corpus] = []

        def write_and_read() -> None:
            module.write_tiny(root)
            corpus = module.read(root)
            require(isinstance(corpus, Corpus), f"read gives a {type(corpus).__name__}, not a Corpus")
            read.append(corpus)

        findings = tried(name, [("reads the tiny tree that it writes", write_and_read)])
        if not read:
            return findings
        corpus = read[0]
        return findings + tried(
            name,
            [
                ("says where it comes from and under which licence", lambda: _origin(corpus, module)),
                ("has clips of several classes and speakers", lambda: _variety(corpus)),
                ("its clips are in order and lie in their files", lambda: _clips(corpus, root)),
                ("reads the same twice", lambda: _again(module, root, corpus)),
                (
                    "the same seed writes the same tree, another seed another",
                    lambda: _seeds(module, Path(scratch), root),
                ),
                (
                    "refuses a folder that is not there",
                    lambda: refused(lambda: module.read(root / "nowhere"), "a missing folder"),
                ),
                ("refuses an empty folder", lambda: _empty(module, Path(scratch) / "empty")),
            ],
        )


def _origin(corpus: Corpus, module: Any) -> None:
    for field in ("name", "source", "licence"):
        require(bool(getattr(corpus, field)), f"`{field}` is empty")
    text = (module.__doc__ or "").lower()
    require("licence" in text or "license" in text, "its docstring does not name the licence")


def _variety(corpus: Corpus) -> None:
    require(len(corpus.clips) >= 4, f"it has {len(corpus.clips)} clips")
    values: dict[str, set[str]] = {}
    for clip in corpus.clips:
        for key, value in clip.labels.items():
            require(
                isinstance(value, str),
                f"label {key} of {clip.id} is a {type(value).__name__}: labels are text",
            )
            values.setdefault(key, set()).add(value)
        for span in clip.spans:
            values.setdefault(f"spans of tier {span.tier}", set()).add(span.symbol)
    several = [key for key, found in values.items() if len(found) > 1]
    require(any(key != "speaker" for key in several), "no label but the speaker takes two values")
    require(len(values.get("speaker", {"a", "b"})) > 1, "there is one speaker only")


def _clips(corpus: Corpus, root: Path) -> None:
    ids = [clip.id for clip in corpus.clips]
    require(ids == sorted(ids), "clips are not sorted by id")
    for clip in (*corpus.clips, *corpus.noise):
        require(
            "\\" not in clip.id and not Path(clip.id).is_absolute(), f"id {clip.id} differs between machines"
        )
        require(clip.signal.exists(), f"{clip.signal} of clip {clip.id} is not there")
        if clip.form == "wave":
            info = audio_info(clip.signal)
            require(
                clip.stop is not None,
                f"clip {clip.id} has no stop: its length is not known before it is read",
            )
            assert clip.stop is not None
            require(info.rate == clip.rate, f"clip {clip.id} says {clip.rate} Hz and its file {info.rate} Hz")
            require(clip.stop <= info.frames / info.rate + 1e-6, f"clip {clip.id} ends after its file")
        length = None if clip.stop is None else clip.stop - clip.start
        for span in clip.spans:
            require(
                length is None or span.stop <= length + 1e-3,
                f"'{span.symbol}' of clip {clip.id} ends after the clip",
            )


def _again(module: Any, root: Path, corpus: Corpus) -> None:
    again = module.read(root)
    require(
        again.clips == corpus.clips and again.skipped == corpus.skipped,
        "a second reading differs from the first",
    )


def _bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _seeds(module: Any, scratch: Path, root: Path) -> None:
    module.write_tiny(scratch / "same", seed=0)
    module.write_tiny(scratch / "other", seed=1)
    require(_bytes(scratch / "same") == _bytes(root), "seed 0 writes other bytes the second time")
    require(_bytes(scratch / "other") != _bytes(root), "seed 1 writes the same bytes as seed 0")


def _empty(module: Any, folder: Path) -> None:
    folder.mkdir()
    refused(lambda: module.read(folder), "an empty folder")
