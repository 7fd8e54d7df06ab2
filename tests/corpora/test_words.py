"""Trees of words: names, parts, tasks, faults."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.corpora import _word_tasks, words
from heschl.corpora.split import given as given_split
from heschl.corpora.split import manifest_hash
from heschl.types import HeschlError


def oracle(file_name: str) -> str:
    """The published rule, written another way: integers only, of the whole SHA-1 modulo 2^27."""
    match = re.match(r"(?s)(.*?)_nohash_", file_name)
    speaker = match.group(1) if match else file_name
    last_27_bits = int.from_bytes(hashlib.sha1(speaker.encode()).digest()[-4:], "big") & (2**27 - 1)
    tenth = 10 * last_27_bits  # bucket < 10 %  <=>  10 * n < 2^27 - 1
    if tenth < 2**27 - 1:
        return "validation"
    return "test" if tenth < 2 * (2**27 - 1) else "train"


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="0123456789abcdef", min_size=1, max_size=8), st.integers(0, 20))
def test_part_by_name_is_the_published_rule(speaker: str, take: int) -> None:
    name = f"{speaker}_nohash_{take}.wav"
    assert words.part_by_name(name) == oracle(name)
    assert words.part_by_name(f"bed/{name}") == words.part_by_name(f"{speaker}_nohash_0.flac")


@settings(deadline=None, max_examples=50)
@given(st.text(alphabet="abc_.-", min_size=1, max_size=12))
def test_part_by_name_of_any_name(name: str) -> None:
    assert words.part_by_name(name) == oracle(name)


def test_parts_have_the_published_sizes() -> None:
    parts = Counter(words.part_by_name(f"{n:08x}_nohash_0.wav") for n in range(4000))
    assert abs(parts["validation"] - 400) < 4 * math.sqrt(360)
    assert abs(parts["test"] - 400) < 4 * math.sqrt(360)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    words.write_tiny(root)
    return root


def test_read_tiny(tree: Path) -> None:
    corpus = words.read(tree)
    assert len(corpus.clips) == 35 * 6 and len(corpus.noise) == 2 and not corpus.skipped
    assert [clip.id for clip in corpus.clips] == sorted(clip.id for clip in corpus.clips)
    clip = corpus.clips[0]
    assert clip.id == f"backward/{clip.labels['speaker']}_nohash_0"
    assert dict(clip.labels) == {
        "word": "backward",
        "speaker": clip.signal.name.split("_")[0],
        "take": "0",
        "split": oracle(clip.signal.name),
    }
    assert clip.stop == 1.0 and clip.rate == 16000
    assert {clip.labels["word"] for clip in corpus.clips} == set(_word_tasks.WORDS_V2)
    assert Counter(clip.labels["split"] for clip in corpus.clips) == {
        "train": 140,
        "validation": 35,
        "test": 35,
    }


def test_write_tiny_is_the_same_for_a_seed(tree: Path, tmp_path: Path) -> None:
    words.write_tiny(tmp_path)
    for file in sorted(tree.rglob("*.wav"))[::20]:
        assert (tmp_path / file.relative_to(tree)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("task", "classes"), [("v1-30", 30), ("v1-31", 31), ("v1-12", 12), ("v2-12", 12), ("v2-35", 35)]
)
def test_tasks_by_their_rules(tree: Path, task: str, classes: int) -> None:
    corpus = words.read(tree, task=task)
    count: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in corpus.clips:
        count[clip.labels["split"]][clip.labels["word"]] += 1
    speakers = {"train": 4, "validation": 1, "test": 1}
    for part, number in speakers.items():
        assert len(count[part]) == classes
        known = {w: n for w, n in count[part].items() if w not in ("silence", "unknown")}
        assert set(known.values()) == {number}
        if task.endswith("-12"):
            assert set(known) == {"yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"}
            assert count[part]["silence"] == count[part]["unknown"] == math.ceil(number)
        elif task == "v1-31":
            assert count[part]["silence"] == number  # as many as the average word
        else:
            assert not {"silence", "unknown"} & set(count[part])
    if task == "v1-12":
        assert not any(clip.labels.get("spoken") in ("backward", "visual") for clip in corpus.clips)
    split = given_split(corpus)
    assert f"manifest {manifest_hash(corpus, split)}" in corpus.notes[-1]


def test_silence_never_overlaps_across_parts(tree: Path) -> None:
    corpus = words.read(tree, task="v1-12")
    silence = [clip for clip in corpus.clips if clip.labels["word"] == "silence"]
    ranges: dict[str, tuple[float, float]] = {
        "train": (0, 9.6),
        "validation": (9.6, 10.8),
        "test": (10.8, 12),
    }
    for clip in silence:
        first, last = ranges[clip.labels["split"]]
        assert first <= clip.start and clip.stop is not None and clip.stop <= last + 1e-9
        assert clip.stop - clip.start == pytest.approx(1.0, abs=1e-9)
        assert (clip.start * 16000) == pytest.approx(round(clip.start * 16000), abs=1e-6)
    assert len({clip.id for clip in silence}) == len(silence)
    assert all(
        noise.stop == pytest.approx(9.6) for noise in corpus.noise
    )  # augmentation hears train's stretch only


def test_silence_starts_are_spread_evenly(tree: Path) -> None:
    """Against brute force: of every place where a second fits, the (i + 1/2)/n quantiles."""
    noise = words.read(tree).noise
    clips = _word_tasks.silence_clips(tree, noise, {"train": 7})
    rate = 16000
    places = [(n.id, s) for n in noise for s in range(round(9.6 * rate) - rate)]
    for i, clip in enumerate(clips):
        wanted, start = places[math.floor((i + 0.5) / 7 * len(places))]
        assert clip.id.startswith(wanted) and round(clip.start * rate) == start


def test_unknown_takes_the_smallest_hashes(tree: Path) -> None:
    corpus = words.read(tree, task="v2-12")
    others = [
        clip.id
        for clip in words.read(tree).clips
        if clip.labels["word"] not in _word_tasks.COMMANDS and clip.labels["split"] == "train"
    ]
    wanted = sorted(others, key=lambda i: hashlib.sha1(i.encode()).hexdigest())[:4]
    found = [c.id for c in corpus.clips if c.labels["word"] == "unknown" and c.labels["split"] == "train"]
    assert sorted(found) == sorted(wanted)


def tone(path: Path, seconds: float = 0.1, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.1 * np.sin(np.arange(round(16000 * seconds)) / 5)
    soundfile.write(str(path), np.stack([wave] * channels, 1), 16000)


def test_official_lists_win_over_the_hash(tmp_path: Path) -> None:
    for word in ("a", "b"):
        for speaker in ("00aa", "00bb", "00cc"):
            tone(tmp_path / word / f"{speaker}_nohash_0.flac")
    (tmp_path / "validation_list.txt").write_text(
        "a/00aa_nohash_0.wav\nb/00aa_nohash_0.wav\n", encoding="utf-8"
    )
    (tmp_path / "testing_list.txt").write_text(
        "a/00bb_nohash_0.wav\nb/00bb_nohash_0.wav\nb/gone_nohash_1.wav\n", encoding="utf-8"
    )
    corpus = words.read(tmp_path)
    assert {c.labels["speaker"]: c.labels["split"] for c in corpus.clips} == {
        "00aa": "validation",
        "00bb": "test",
        "00cc": "train",
    }
    assert any("1 recording that this copy does not have" in note for note in corpus.notes)
    (tmp_path / "testing_list.txt").write_text("a/00aa_nohash_0.wav\n", encoding="utf-8")
    with pytest.raises(HeschlError, match="both official lists"):
        words.read(tmp_path)
    (tmp_path / "testing_list.txt").unlink()
    with pytest.raises(HeschlError, match=r"put testing_list\.txt there too"):
        words.read(tmp_path)


def test_official_test_archive(tree: Path, tmp_path: Path) -> None:
    for word in _word_tasks.COMMANDS:
        tone(tmp_path / word / "ffee0011_nohash_0.wav", 1.0)
    tone(tmp_path / "_unknown_" / "bed_3ff840aa_nohash_2.wav.wav", 1.0)
    tone(tmp_path / "_silence_" / "1035.wav", 1.0)
    (tmp_path / "README.md").write_text("test", encoding="utf-8")
    alone = words.read(tmp_path)
    by_word = {clip.labels["word"]: clip for clip in alone.clips}
    assert set(by_word) == {*_word_tasks.COMMANDS, "unknown", "silence"}
    assert {clip.labels["split"] for clip in alone.clips} == {"test"}
    unknown = by_word["unknown"]
    assert unknown.id == "_unknown_/bed_3ff840aa_nohash_2"
    assert (
        unknown.labels["speaker"] == "3ff840aa"
        and unknown.labels["spoken"] == "bed"
        and unknown.labels["take"] == "2"
    )

    both = words.read(tree, task="v1-12", test_root=tmp_path)
    test = [clip for clip in both.clips if clip.labels["split"] == "test"]
    assert len(test) == 12 and all(clip.id.startswith("test/") for clip in test)
    given_split(both)  # no speaker on two sides
    with pytest.raises(HeschlError, match="twelve classes"):
        words.read(tree, task="v1-30", test_root=tmp_path)
    with pytest.raises(HeschlError, match="set the task"):
        words.read(tree, test_root=tmp_path)
    with pytest.raises(HeschlError, match="not an official test archive"):
        words.read(tree, task="v1-12", test_root=tree)


def test_bad_files_are_skipped_and_listed(tmp_path: Path) -> None:
    tone(tmp_path / "yes" / "good_nohash_0.wav")
    tone(tmp_path / "yes" / "eight_nohash_0.wav", channels=8)
    tone(tmp_path / "yes" / "cut_nohash_0.wav", 1.0)
    tone(tmp_path / "yes" / "cut_nohash_1.flac", 1.0)
    tone(tmp_path / "loose.wav")
    tone(tmp_path / "_odd_" / "x_nohash_0.wav")
    folder = tmp_path / "yes"
    for name in ("cut_nohash_0.wav", "cut_nohash_1.flac"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    (folder / "empty_nohash_0.wav").write_bytes(b"")
    (folder / "text_nohash_0.wav").write_text("hello", encoding="utf-8")
    (folder / "phone_nohash_0.m4a").write_bytes(b"\0\0\0\x18ftypM4A ")
    soundfile.write(str(folder / "none_nohash_0.wav"), np.zeros(0), 16000)
    (folder / "notes.txt").write_text("x", encoding="utf-8")
    (folder / ".hidden.wav").write_bytes(b"")
    (tmp_path / "empty_word").mkdir()
    corpus = words.read(tmp_path)
    assert [clip.id for clip in corpus.clips] == ["yes/good_nohash_0"]
    why = dict(corpus.skipped)
    assert "8 channels" in why["yes/eight_nohash_0.wav"]
    assert "truncated" in why["yes/cut_nohash_0.wav"] and "truncated" in why["yes/cut_nohash_1.flac"]
    assert "0 bytes" in why["yes/empty_nohash_0.wav"]
    assert "not audio" in why["yes/text_nohash_0.wav"]
    assert "ffmpeg" in why["yes/phone_nohash_0.m4a"]
    assert "no samples" in why["yes/none_nohash_0.wav"]
    assert "loose.wav" in why and "_odd_" in why and "no recordings" in why["empty_word"]
    assert any(".txt is not audio" in note for note in corpus.notes)


def test_refusals(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(HeschlError, match="is not there"):
        words.read(tmp_path / "missing")
    with pytest.raises(HeschlError, match="holds no recordings"):
        words.read(tmp_path)
    with pytest.raises(HeschlError, match=r"no word task 'v1-13' \(did you mean v1-31"):
        words.read(tree, task="v1-13")
    tone(tmp_path / "yes" / "a_nohash_0.wav")
    with pytest.raises(HeschlError, match=r"no recordings of bed, .*which task v1-30 needs"):
        words.read(tmp_path, task="v1-30")
    with pytest.raises(HeschlError, match="a file, not a folder"):
        words.read(tmp_path / "yes" / "a_nohash_0.wav")


def test_task_without_noise_is_refused(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "quiet", ignore=shutil.ignore_patterns(words.NOISE))
    assert len(words.read(tmp_path / "quiet", task="v2-35").clips) == 210
    with pytest.raises(HeschlError, match="to cut silence from"):
        words.read(tmp_path / "quiet", task="v2-12")


def test_kaggle_layout_and_names_without_speaker(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "train" / "audio")
    assert [c.id for c in words.read(tmp_path).clips] == [c.id for c in words.read(tree).clips]
    other = tmp_path / "mine"
    tone(other / "yes" / "one.wav")
    tone(other / "no" / "john_smith_nohash_3.wav")
    corpus = words.read(other)
    assert corpus.by_id["no/john_smith_nohash_3"].labels["speaker"] == "john_smith"
    assert "speaker" not in corpus.by_id["yes/one"].labels
    assert any("1 clip has no speaker" in note for note in corpus.notes)


def test_real_words(shared: Path) -> None:
    corpus = words.read(shared / "data" / "speech_commands", task="v1-30")
    assert len(corpus.clips) == 1618 and not corpus.skipped
    assert len({clip.labels["speaker"] for clip in corpus.clips}) == 1019
    # all were taken from the official training part, so the published rule must say train for each
    assert {clip.labels["split"] for clip in corpus.clips} == {"train"}


def test_tenths_are_rounded_up(tree: Path, tmp_path: Path) -> None:
    """41 known training clips: 5 of silence, 5 unknown; and 121 words: 5 of silence in v1-31."""
    shutil.copytree(tree, tmp_path / "tree")
    train = next(
        c for c in words.read(tree).clips if c.labels["split"] == "train" and c.labels["word"] == "yes"
    )
    tone(tmp_path / "tree" / "yes" / f"{train.labels['speaker']}_nohash_1.wav", 1.0)
    for task, classes in (("v1-12", ("silence", "unknown")), ("v1-31", ("silence",))):
        clips = words.read(tmp_path / "tree", task=task).clips
        count = Counter((clip.labels["word"], clip.labels["split"]) for clip in clips)
        assert all(count[name, "train"] == 5 for name in classes)
        assert all(count[name, "test"] == 1 for name in classes)
