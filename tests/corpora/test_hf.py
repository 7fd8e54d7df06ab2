"""Data sets of Hugging Face: the same sounds and labels from every form in which they lie on a disk."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from heschl.corpora import hf
from heschl.files import read_audio
from heschl.types import Corpus, HeschlError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hf") / "tiny"
    hf.write_tiny(root)
    return root


def rows_of(tiny: Path) -> list[dict[str, str]]:
    with (tiny / "metadata.csv").open() as file:
        return list(csv.DictReader(file))


def words(corpus: Corpus) -> dict[bytes, tuple[str, str]]:
    """Word and speaker by what is heard."""
    return {
        read_audio(clip.signal)[0].tobytes(): (clip.labels["word"], clip.labels["speaker"])
        for clip in corpus.clips
    }


def table_of(tiny: Path, embedded: bool = True) -> Any:
    """The tiny tree as a table of `datasets`, its words as classes."""
    datasets = pytest.importorskip("datasets", reason="datasets (extra hf) is not installed")
    rows, names = rows_of(tiny), ["four", "one", "three", "two"]
    sounds = [{"bytes": (tiny / row["file_name"]).read_bytes(), "path": row["file_name"]} for row in rows]
    paths = [{"bytes": None, "path": str(tiny / row["file_name"])} for row in rows]
    kinds = datasets.Features({"bytes": datasets.Value("binary"), "path": datasets.Value("string")})
    table = datasets.Dataset.from_dict(
        {
            "audio": sounds if embedded else paths,
            "word": [names.index(row["word"]) for row in rows],
            "speaker_id": [row["speaker_id"] for row in rows],
            "notes": [["a", "b"] for _ in rows],
        },
        features=datasets.Features(
            {
                "audio": dict(kinds),
                "word": datasets.ClassLabel(names=names),
                "speaker_id": datasets.Value("string"),
                "notes": datasets.Sequence(datasets.Value("string")),
            }
        ),
    )
    return table.cast_column("audio", datasets.Audio(decode=False))


def test_an_audiofolder_with_a_table(tiny: Path) -> None:
    corpus = hf.read(tiny)
    assert len(corpus.clips) == 24 and not corpus.skipped and not corpus.notes
    clip = corpus.by_id["s2/three"]
    assert dict(clip.labels) == {"word": "three", "speaker_id": "s2", "speaker": "s2"}
    assert clip.signal == tiny / "s2" / "three.flac" and clip.stop == 0.5


def test_an_audiofolder_of_classes_and_parts(tmp_path: Path) -> None:
    for place in ("train/yes/a.wav", "train/no/b.wav", "test/yes/c.wav"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / place, np.zeros(160), 16000)
    corpus = hf.read(tmp_path)
    found = {clip.id: (clip.labels["split"], clip.labels["label"]) for clip in corpus.clips}
    assert found == {
        "test/yes/c": ("test", "yes"),
        "train/no/b": ("train", "no"),
        "train/yes/a": ("train", "yes"),
    }
    assert "no column of speakers" in corpus.notes[0]


def test_lines_of_json_and_what_they_miss(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.zeros(160), 16000)
    lines = [{"file_name": "a.wav", "age": 31, "word": "yes"}, {"file_name": "gone.wav", "word": "no"}]
    lines[0]["times"] = [0.1, 0.2]
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    corpus = hf.read(tmp_path)
    assert [dict(clip.labels) for clip in corpus.clips] == [{"age": "31", "word": "yes"}]
    assert {one.where for one in corpus.skipped} == {"b", "gone"}
    assert "were left out: times" in corpus.notes[1]
    lines = [lines[0], {**lines[0], "word": "no"}]  # the last row would win
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(
        HeschlError, match=r"metadata.jsonl, row 2: a.wav is listed before, with other labels"
    ):
        hf.read(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"word": "yes"}')
    with pytest.raises(HeschlError, match="no file_name"):
        hf.read(tmp_path)
    (tmp_path / "metadata.jsonl").write_text("[" * 200_000)
    with pytest.raises(HeschlError, match="no JSON, line by line"):
        hf.read(tmp_path)


@pytest.mark.parametrize("embedded", [True, False])
def test_saved_to_disk(tiny: Path, tmp_path: Path, embedded: bool) -> None:
    table_of(tiny, embedded).save_to_disk(str(tmp_path / "saved"))
    corpus = hf.read(tmp_path / "saved")
    assert words(corpus) == words(hf.read(tiny))
    assert corpus.clips[0].id == "000000" and "notes" in corpus.notes[0]
    again = hf.read(tmp_path / "saved")
    assert again.clips == corpus.clips


def test_parts_saved_to_disk_and_in_parquet(tiny: Path, tmp_path: Path) -> None:
    table = table_of(tiny)
    datasets = pytest.importorskip("datasets")
    parts = {"train": table.select(range(16)), "test": table.select(range(16, 24))}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    for part, own in parts.items():
        own.to_parquet(str(tmp_path / "hub" / "data" / f"{part}-00000-of-00001.parquet"))
    saved, stored = hf.read(tmp_path / "saved"), hf.read(tmp_path / "hub")
    assert words(saved) == words(stored) == words(hf.read(tiny))
    assert [c.id for c in saved.clips] == [c.id for c in stored.clips]
    assert {c.labels["split"] for c in saved.clips if c.id.startswith("test/")} == {"test"}
    assert sum(c.labels["split"] == "train" for c in stored.clips) == 16


@pytest.mark.parametrize(
    "layout",
    [
        ("data/train-00000-of-00002", "data/train-00001-of-00002", "data/test-00000-of-00001"),
        ("default/train/0000", "default/train/0001", "default/test/0000"),
        ("clean [1]/train.100-00000-of-00001", "clean [1]/train.360-00000-of-00001", "clean [1]/test"),
    ],
)
def test_parts_of_parquet_in_each_layout_of_the_hub(
    tiny: Path, tmp_path: Path, layout: tuple[str, ...]
) -> None:
    table = table_of(tiny)
    for k, place in enumerate(layout):
        table.select(range(8 * k, 8 * k + 8)).to_parquet(str(tmp_path / f"{place}.parquet"))
    corpus = hf.read(tmp_path)
    assert words(corpus) == words(hf.read(tiny))
    held = [clip.labels["split"] for clip in corpus.clips]
    assert (held.count("train"), held.count("test")) == (16, 8)
    assert [clip.id for clip in corpus.clips][7:9] == ["test/000007", "train/000000"]


def test_files_of_parquet_that_are_of_two_tables(tiny: Path, tmp_path: Path) -> None:
    table = table_of(tiny)
    table.to_parquet(str(tmp_path / "a.parquet"))
    table.rename_column("word", "said").to_parquet(str(tmp_path / "b.parquet"))
    with pytest.raises(
        HeschlError, match=r"b.parquet and .*a.parquet are not of one table \(said, word in one"
    ):
        hf.read(tmp_path)
    (tmp_path / "b.parquet").write_bytes(b"not a table")
    with pytest.raises(HeschlError, match=r"b.parquet is not a Parquet file"):
        hf.read(tmp_path)


def test_no_decoder_is_asked_of_any_column_and_no_format_hides_one(tiny: Path, tmp_path: Path) -> None:
    """A translated sound and a picture beside the recording, saved as tensors, with some of the columns shown."""
    datasets = pytest.importorskip("datasets")
    table = table_of(tiny)
    other = table.rename_columns({"audio": "translated"}).select_columns("translated")
    picture = datasets.Dataset.from_dict(
        {"picture": [{"bytes": b"no picture", "path": "a.png"}] * len(table)}
    )
    table = datasets.concatenate_datasets([table, other, picture], axis=1)
    for name, kind in (
        ("audio", datasets.Audio()),
        ("translated", datasets.Audio()),
        ("picture", datasets.Image()),
    ):
        table = table.cast_column(name, kind)
    table.with_format("numpy", columns=["audio", "word"]).save_to_disk(str(tmp_path / "saved"))
    corpus = hf.read(tmp_path / "saved")
    assert words(corpus) == words(hf.read(tiny))
    assert "notes, picture, translated" in corpus.notes[0]


def test_what_is_no_sound_is_told(tiny: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    sound = (tiny / "s0" / "one.flac").read_bytes()
    held = [
        {"bytes": sound, "path": None},
        {"bytes": b"no sound", "path": None},
        {"bytes": None, "path": None},
    ]
    datasets.Dataset.from_dict({"audio": held, "word": ["a", "b", "c"]}).to_parquet(
        str(tmp_path / "x.parquet")
    )
    corpus = hf.read(tmp_path / "x.parquet")
    assert len(corpus.clips) == 1 and [one.where for one in corpus.skipped] == ["000001", "000002"]
    with pytest.raises(HeschlError, match="did you mean word"):
        hf.read(tmp_path / "x.parquet", speaker="wort")
    with pytest.raises(HeschlError, match="no column 'sound'"):
        hf.read(tmp_path / "x.parquet", audio="sound")


def test_bad_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(HeschlError, match="is no data set"):
        hf.read(tmp_path / "a.txt")
    (tmp_path / "x.parquet").write_bytes(b"not a table")
    with pytest.raises(HeschlError):
        hf.read(tmp_path / "x.parquet")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_dict.json").write_text("[]")
    with pytest.raises(HeschlError, match="save the data set again"):
        hf.read(tmp_path / "saved")
    import builtins

    there = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return there(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(HeschlError, match=r"heschl\[hf\]"):
        hf.read(tmp_path / "x.parquet")
