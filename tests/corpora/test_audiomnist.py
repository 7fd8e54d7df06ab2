"""AudioMNIST: the tree, the metadata's real faults, the published folds on the tiny tree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from heschl.corpora import audiomnist, split
from heschl.types import HeschlError


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("audiomnist")
    audiomnist.write_tiny(root)
    return root


def test_read_tiny(tree: Path) -> None:
    corpus = audiomnist.read(tree)
    assert len(corpus.clips) == 90 and not corpus.skipped
    clip = corpus.by_id["07/3_07_0"]
    assert clip.rate == 48000 and clip.stop == pytest.approx(0.3)
    assert dict(clip.labels) == {
        "digit": "3",
        "speaker": "07",
        "repetition": "0",
        "accent": "German",
        "age": "",
        "gender": "male",
        "native speaker": "no",
        "origin": "Europe, Germany, Berlin",
        "recordingdate": "17-06-07-11-04-28",
        "recordingroom": "Kino",
    }
    assert corpus.by_id["58/0_58_0"].labels["recordingroom"] == "vr-room"
    notes = "\n".join(corpus.notes)
    assert "age '1234' of speaker 07 read as ''" in notes and "'vr-romm' of speaker 58" in notes
    assert "spaces around values taken off for 9 speakers" in notes and "51 of the 60 speakers" in notes


def test_the_tiny_tree_fills_every_published_fold(tree: Path) -> None:
    corpus = audiomnist.read(tree)
    for task, folds in (("digit", 5), ("gender", 4)):
        for fold in range(folds):
            found = split.audiomnist_folds(corpus, task=task, fold=fold)
            label = "digit" if task == "digit" else "gender"
            for part in split.PARTS:
                seen = {corpus.by_id[c].labels[label] for c in getattr(found, part)}
                assert len(seen) == (10 if task == "digit" else 2)


def test_with_and_without_the_data_level(tree: Path, tmp_path: Path) -> None:
    """Metadata inside `data`, beside it, and a root that is `data` itself all read alike."""
    whole = audiomnist.read(tree)
    assert audiomnist.read(tree / "data").clips == whole.clips
    shutil.copytree(tree / "data", tmp_path / "data")
    (tmp_path / "data" / audiomnist.META).rename(tmp_path / audiomnist.META)
    for root in (tmp_path, tmp_path / "data"):
        corpus = audiomnist.read(root)
        assert [(c.id, c.labels) for c in corpus.clips] == [(c.id, c.labels) for c in whole.clips]


def test_faults(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree / "data" / "02", tmp_path / "02")
    (tmp_path / "02" / "1_03_0.wav").write_bytes((tmp_path / "02" / "1_02_0.wav").read_bytes())
    (tmp_path / "02" / "2_02_0.wav").write_bytes(b"RIFF")
    (tmp_path / "02" / "notes.txt").write_text("", encoding="utf-8")
    shutil.copytree(tmp_path / "02", tmp_path / "2")
    (tmp_path / "code").mkdir()
    corpus = audiomnist.read(tmp_path)
    why = dict(corpus.skipped)
    assert set(why) == {"02/1_03_0.wav", "02/2_02_0.wav", "02/notes.txt", "2"} and len(corpus.clips) == 9
    assert "not called by two digits" in why["2"]
    assert "is not there: clips have no gender" in corpus.notes[0] and "gender" not in corpus.clips[0].labels
    (tmp_path / audiomnist.META).write_text('{"26": {"gender": "female", "age": 26}}', encoding="utf-8")
    corpus = audiomnist.read(tmp_path)
    assert corpus.clips[0].labels["gender"] == "" and any(
        "says nothing of 1 speaker (02)" in n for n in corpus.notes
    )
    (tmp_path / audiomnist.META).write_text('{"²": {"age": 26}}', encoding="utf-8")
    assert any("says nothing of 1 speaker (02)" in note for note in audiomnist.read(tmp_path).notes)
    for bad, message in (("[]", "not AudioMNIST's metadata"), ("{", "not JSON")):
        (tmp_path / audiomnist.META).write_text(bad, encoding="utf-8")
        with pytest.raises(HeschlError, match=message):
            audiomnist.read(tmp_path)
    with pytest.raises(HeschlError, match="holds no recordings"):
        audiomnist.read(tmp_path / "02")


@pytest.mark.parametrize(
    ("raw", "age"),
    [
        (30, "30"),
        ("27", "27"),
        (" 27 ", "27"),
        (27.0, "27"),
        ("1234", ""),
        (1234, ""),
        (0, ""),
        ("old", ""),
        ("9" * 5000, ""),
        (None, ""),
    ],
)
def test_ages(raw: object, age: str) -> None:
    labels, mends = audiomnist.mended({"age": raw})
    assert labels["age"] == age
    assert bool(mends) == (str("" if raw is None else raw) != age)


def test_real_metadata(shared: Path, tmp_path: Path) -> None:
    real = json.loads(
        (shared / "data/audiomnist_meta/audioMNIST_meta_excerpt.txt").read_text(encoding="utf-8")
    )
    mends = {}
    for speaker, row in real.items():
        labels, found = audiomnist.mended(row)
        mends[speaker] = found
        assert set(labels) == set(audiomnist.COLUMNS) and labels["gender"] in ("male", "female")
    assert mends["45"] == [("age", "1234", "")]
    assert mends["52"] == [("recordingroom", "vr-romm", "vr-room")]
    assert mends["32"] == [("recordingroom", "VR-room", "vr-room")]
    assert mends["01"] == [("accent", "german", "German")]
