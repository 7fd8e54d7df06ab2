"""Files that were cut off or changed: whatever a reader meets, it reads, leaves out, or says in one sentence."""

from __future__ import annotations

import importlib
import random
import shutil
from pathlib import Path

import pytest

from heschl.corpora import brain, frames, imagined, read_corpus
from heschl.types import HeschlError

TRIES = 12
# readers of MATLAB's and MEG-MASC's files are not among these: scipy and MNE may turn for ever in changed ones
READERS = (
    "aligned",
    "audiomnist",
    "brain",
    "epochs",
    "feis",
    "frames",
    "imagined",
    "libribrain",
    "table",
    "words",
)


def damage(path: Path, chance: random.Random) -> None:
    """Nothing left, an end cut off, bytes changed, or a line doubled, dropped or moved."""
    raw = path.read_bytes()
    kind = chance.choice(("empty", "cut", "bytes", "lines"))
    if kind == "cut" and raw:
        raw = raw[: chance.randrange(len(raw))]
    elif kind == "bytes":
        changed = bytearray(raw)
        for _ in range(5 if raw else 0):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        raw = bytes(changed)
    elif kind == "lines":
        lines = raw.split(b"\n")
        lines.insert(chance.randrange(len(lines)), lines.pop(chance.randrange(len(lines))))
        raw = b"\n".join(lines)
    else:
        raw = b""
    path.write_bytes(raw)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_sentences(reader: str, tmp_path: Path) -> None:
    importlib.import_module(f"heschl.corpora.{reader}").write_tiny(tmp_path / "whole")
    chance = random.Random(0)
    for number in range(TRIES):
        root = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", root)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        tables = [path for path in files if path.suffix not in (".wav", ".flac")]
        damage(chance.choice(tables or files), chance)
        try:
            corpus = read_corpus(reader, root)
        except HeschlError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
        else:
            assert all(0 <= span.start <= span.stop for clip in corpus.clips for span in clip.spans)


def told(reader: str, root: Path) -> str:
    """What a reader says of what it cannot read."""
    try:
        return "\n".join(one.why for one in read_corpus(reader, root).skipped)
    except HeschlError as error:
        return str(error)


def test_damage_inside_a_file_is_told_too(tmp_path: Path) -> None:
    """What opens well, and cannot be made out further in."""
    imagined.write_tiny(tmp_path / "imagined")
    path = sorted((tmp_path / "imagined").glob("*.h5"))[0]
    path.write_bytes(path.read_bytes().replace(b"SNOD", b"snod"))  # the table of what a group holds
    assert f"{path.name} is no HDF5 file, or damaged" in told("imagined", tmp_path / "imagined")

    brain.write_tiny(tmp_path / "brain")
    path = sorted((tmp_path / "brain").glob("*.npz"))[0]
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole.replace(b"PK\x03\x04", b"PK\x03\x05")):
        path.write_bytes(damaged)
        assert f"{path.name} is no .npz file of plain arrays" in told("brain", tmp_path / "brain")

    frames.write_tiny(tmp_path / "frames")
    path = sorted((tmp_path / "frames").rglob("*labels*.npy"))[0]
    path.write_bytes(path.read_bytes().replace(b"}", b"{", 1))  # the header is a dictionary
    assert f"{path.name} is truncated or not a .npy file" in told("frames", tmp_path / "frames")
