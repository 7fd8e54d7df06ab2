"""Splits: groups never cross, sizes come near, published sets are exact, files come back."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.corpora import merge, split
from heschl.types import Clip, Corpus, HeschlError


def corpus_of(speakers: list[str], words: list[str] | None = None, name: str = "made") -> Corpus:
    """One clip for each entry; "" is a clip of unknown speaker."""
    clips = []
    for i, speaker in enumerate(speakers):
        labels = {"speaker": speaker} if speaker else {}
        if words:
            labels["word"] = words[i]
        clips.append(Clip(f"c{i:04d}", Path(f"c{i}.wav"), 16000, labels, stop=1.0))
    return Corpus(name, tuple(clips), "", "")


def crossing(corpus: Corpus, found: split.Split) -> set[str]:
    """Speakers in two parts, by brute force over pairs of clips."""
    parts = [set(found.train), set(found.validation), set(found.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    speaker = {clip.id: clip.labels.get("speaker", "") for clip in corpus.clips}
    return {
        speaker[a]
        for i, one in enumerate(parts)
        for other in parts[i + 1 :]
        for a in one
        for b in other
        if speaker[a] and speaker[a] == speaker[b]
    }


SPEAKERS = st.lists(st.sampled_from(["", *"abcdefghij"]), min_size=1, max_size=60)


@settings(deadline=None, max_examples=60)
@given(SPEAKERS, st.integers(0, 99), st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([0.0, 0.1, 0.4]))
def test_fractions_never_cross_and_come_near(
    speakers: list[str], seed: int, validation: float, test: float
) -> None:
    corpus = corpus_of(speakers)
    try:
        found = split.fractions(corpus, seed=seed, validation=validation, test=test)
    except HeschlError as error:
        groups = len(set(speakers) - {""}) + speakers.count("")
        assert "at least" in str(error) and groups < 1 + (validation > 0) + (test > 0)
        return
    assert not crossing(corpus, found)
    assert len(found.train) + len(found.validation) + len(found.test) == len(speakers) and found.train
    largest = max(Counter(found.groups.values()).values())
    for part, share in ((found.validation, validation), (found.test, test)):
        assert bool(part) == bool(share)
        if share and len(found.train) > largest:  # there were groups enough to choose from
            assert abs(len(part) - share * len(speakers)) <= largest


@settings(deadline=None, max_examples=40)
@given(SPEAKERS, st.integers(0, 99), st.integers(3, 5), st.sampled_from([None, 0.0, 0.3]))
def test_kfold_covers_each_clip_once(
    speakers: list[str], seed: int, folds: int, validation: float | None
) -> None:
    corpus = corpus_of(speakers)
    groups = len(set(speakers) - {""}) + speakers.count("")
    if groups < folds:
        with pytest.raises(HeschlError, match="at least"):
            split.kfold(corpus, seed=seed, fold=0, folds=folds)
        return
    tested: list[str] = []
    sizes = []
    for fold in range(folds):
        found = split.kfold(corpus, seed=seed, fold=fold, folds=folds, validation=validation)
        assert not crossing(corpus, found) and found.train and found.test
        assert bool(found.validation) == (validation != 0.0)
        tested += found.test
        sizes.append(len(found.test))
    assert sorted(tested) == sorted(corpus.by_id)
    assert max(sizes) - min(sizes) <= max(Counter(found.groups.values()).values())


def test_leave_one_out_tests_each_speaker_alone() -> None:
    corpus = corpus_of(list("aabbbccd"))
    assert split.n_folds("heschl.corpora.split.leave_one_out", corpus, {}) == 4
    for fold, name in enumerate("abcd"):
        found = split.leave_one_out(corpus, seed=3, fold=fold)
        assert {found.groups[c] for c in found.test} == {name}
        assert len({found.groups[c] for c in found.validation}) == 1
        without = split.leave_one_out(corpus, seed=3, fold=fold, validation=0)
        assert not without.validation and len(without.train) + len(without.test) == 8
    with pytest.raises(HeschlError, match="fold 4 does not exist"):
        split.leave_one_out(corpus, seed=0, fold=4)


def test_a_split_is_a_pure_function_of_seed() -> None:
    corpus = corpus_of([f"s{i % 40}" for i in range(200)])
    other_order = Corpus("made", corpus.clips[::-1], "", "")
    for strategy in (split.fractions, split.kfold):
        one = strategy(corpus, seed=1)
        assert one == strategy(other_order, seed=1) == strategy(corpus, seed=1)
        assert one != strategy(corpus, seed=2)
    # and the same on every machine, by the rule written out: a tenth of forty equal speakers, smallest SHA-256
    found = split.fractions(corpus, seed=0)
    order = sorted(
        (f"s{i}" for i in range(40)), key=lambda s: hashlib.sha256(f"0/0/{s}".encode()).hexdigest()
    )
    assert {found.groups[c] for c in found.test} == set(order[:4]) == {"s13", "s16", "s29", "s4"}
    assert {found.groups[c] for c in found.validation} == set(order[4:8])


def test_each_class_comes_to_training_where_it_can() -> None:
    speakers = [f"s{i}" for i in range(10) for _ in range(3)]
    words = ["yes", "no", "no"] * 10
    words[3] = words[6] = "rare"  # said by s1 and s2 alone
    corpus = corpus_of(speakers, words)
    for seed in range(60):
        found = split.fractions(corpus, seed=seed, validation=0.3, test=0.3, label="word")
        assert {corpus.by_id[c].labels["word"] for c in found.train} == {"yes", "no", "rare"}
        assert not crossing(corpus, found)
    plain = [split.fractions(corpus, seed=s, validation=0.3, test=0.3) for s in range(60)]
    assert any(
        "rare" not in {corpus.by_id[c].labels["word"] for c in f.train} for f in plain
    )  # so it is no accident


def test_a_class_that_cannot_be_trained_is_told() -> None:
    corpus = corpus_of(["a", "b", "c"], ["x", "y", "z"])
    found = split.fractions(corpus, seed=0, validation=0.3, test=0.3, label="word")
    assert any("only outside it" in note for note in found.notes)
    with pytest.raises(HeschlError, match=r"no label 'wrd' \(did you mean word"):
        split.fractions(corpus, seed=0, label="wrd")


def test_limit_is_a_fixed_subset() -> None:
    corpus = corpus_of([f"s{i % 20}" for i in range(400)])
    whole, some, fewer = (split.fractions(corpus, seed=5, limit=n) for n in (None, 20, 10))
    for part in split.PARTS:
        assert len(getattr(some, part)) == 20 and len(getattr(fewer, part)) == 10
        assert set(getattr(fewer, part)) < set(getattr(some, part)) <= set(getattr(whole, part))
    assert set(some.groups) == {*some.train, *some.validation, *some.test}
    with pytest.raises(HeschlError, match="limit is 0"):
        split.fractions(corpus, seed=0, limit=0)


def test_unknown_speakers() -> None:
    nobody = corpus_of([""] * 20)
    found = split.fractions(nobody, seed=0)
    assert found.by == "clip" and any("same speaker may be in two parts" in note for note in found.notes)
    parts = Corpus(
        "parts",
        tuple(
            Clip(f"f{i % 5}#{i}", Path(f"f{i % 5}.wav"), 16000, {}, start=float(i), stop=i + 1.0)
            for i in range(30)
        ),
        "",
        "",
    )
    found = split.fractions(parts, seed=0)
    assert set(found.groups.values()) == {f"f{i}" for i in range(5)}  # the parts of a recording stay together
    some = corpus_of(["a", "a", "", "b", "c", "d"])
    assert any("1 clip has no speaker" in note for note in split.fractions(some, seed=0).notes)
    with pytest.raises(HeschlError, match=r"no label 'speakr' \(did you mean speaker"):
        split.fractions(some, seed=0, group="speakr")
    assert split.fractions(some, seed=0, group="clip").by == "clip"


def given_corpus(rows: list[tuple[str, str]]) -> Corpus:
    clips = (
        Clip(f"c{i}", Path(f"{i}.wav"), 16000, {"speaker": s, "split": p}) for i, (s, p) in enumerate(rows)
    )
    return Corpus("table", tuple(clips), "", "")


def test_given_parts() -> None:
    found = split.given(given_corpus([("a", "train"), ("b", "validation"), ("c", "test"), ("a", "train")]))
    assert (found.train, found.validation, found.test) == (("c0", "c3"), ("c1",), ("c2",))
    assert any("no validation" in n for n in split.given(given_corpus([("a", "train"), ("c", "test")])).notes)
    crossed = given_corpus([("a", "train"), ("anna", "train"), ("anna", "test")])
    with pytest.raises(HeschlError, match=r"speaker anna is in train \(c1\) and in test \(c2\)"):
        split.given(crossed)
    assert split.given(crossed, group="clip").test == ("c2",)
    with pytest.raises(HeschlError, match="'dev' as its split"):
        split.given(given_corpus([("a", "dev")]))
    with pytest.raises(HeschlError, match="no split"):
        split.given(given_corpus([("a", "")]))


PUBLISHED = {
    "A": {28, 56, 7, 19, 35, 1, 6, 16, 23, 34, 46, 53},
    "B": {36, 57, 9, 24, 37, 2, 8, 17, 29, 39, 48, 54},
    "C": {43, 58, 14, 25, 38, 3, 10, 20, 30, 40, 49, 55},
    "D": {12, 47, 59, 15, 27, 41, 4, 11, 21, 31, 44, 50},
    "E": {26, 52, 60, 18, 32, 42, 5, 13, 22, 33, 45, 51},
    "1": {36, 47, 56, 2, 44, 50},
    "2": {26, 12, 57, 25, 37, 45},
    "3": {43, 28, 52, 48, 53, 41},
    "4": {58, 59, 60, 7, 23, 38},
}


@pytest.mark.parametrize(
    ("task", "fold", "parts"),
    [("digit", k, p) for k, p in enumerate(["ABC/D/E", "BCD/E/A", "CDE/A/B", "DEA/B/C", "EAB/C/D"])]
    + [("gender", k, p) for k, p in enumerate(["12/3/4", "23/4/1", "34/1/2", "41/2/3"])],
)
def test_audiomnist_folds_are_the_published_ones(task: str, fold: int, parts: str) -> None:
    corpus = corpus_of([f"{n:02d}" for n in range(1, 61) for _ in range(5)])
    found = split.audiomnist_folds(corpus, task=task, fold=fold)
    for name, letters in zip(split.PARTS, parts.split("/"), strict=True):
        speakers = {int(found.groups[c]) for c in getattr(found, name)}
        assert speakers == set().union(*(PUBLISHED[letter] for letter in letters))
    counts = split.check_disjoint(found)
    assert list(counts.values()) == ([36, 12, 12] if task == "digit" else [12, 6, 6])
    women = {12, 26, 28, 36, 43, 47, 52, 56, 57, 58, 59, 60}
    if task == "gender":
        for name in split.PARTS:
            speakers = {int(found.groups[c]) for c in getattr(found, name)}
            assert len(speakers & women) == len(speakers - women)
    assert split.n_folds("audiomnist_folds", corpus, {"task": task}) == (5 if task == "digit" else 4)


def test_audiomnist_folds_refuse() -> None:
    corpus = corpus_of(["28", "36"])
    with pytest.raises(HeschlError, match="none of the validation speakers"):
        split.audiomnist_folds(corpus, fold=0)
    with pytest.raises(HeschlError, match="numbered 0 to 3"):
        split.audiomnist_folds(corpus, task="gender", fold=4)
    with pytest.raises(HeschlError, match="digit and gender"):
        split.audiomnist_folds(corpus, task="sex")


def test_too_few_groups_is_one_sentence() -> None:
    with pytest.raises(HeschlError, match=r"has 2 speakers, and .* need 3 at least") as error:
        split.fractions(corpus_of(["a", "b"]), seed=0)
    assert "\n" not in str(error.value)
    for strategy in (split.fractions, split.kfold, split.leave_one_out, split.given):
        with pytest.raises(HeschlError, match="no clips"):
            strategy(Corpus("empty", (), "", ""), seed=0)
    for options in ({"validation": 0.5, "test": 0.5}, {"test": -0.1}):
        with pytest.raises(HeschlError, match="must not be negative"):
            split.fractions(corpus_of(["a", "b"]), seed=0, **options)
    with pytest.raises(HeschlError, match="fold 5 of 5"):
        split.kfold(corpus_of(list("abcdef")), seed=0, fold=5)


def test_the_proof_finds_what_crosses() -> None:
    groups = {"c0": "a", "c1": "a", "c2": "b"}
    with pytest.raises(HeschlError, match="speaker a is in train"):
        split.check_disjoint(split.Split(("c0",), (), ("c1",), groups, "speaker"))
    with pytest.raises(HeschlError, match="clip c0 is in train and test"):
        split.check_disjoint(split.Split(("c0",), (), ("c0",), groups, "speaker"))
    with pytest.raises(HeschlError, match="clip c9 has no group"):
        split.check_disjoint(split.Split(("c9",), (), (), groups, "speaker"))
    assert split.check_disjoint(split.Split(("c0", "c1"), (), ("c2",), groups, "speaker")) == {
        "train": 1,
        "validation": 0,
        "test": 1,
    }


def test_write_and_read_again(tmp_path: Path) -> None:
    found = split.fractions(corpus_of([f"s{i % 7}ä" for i in range(50)]), seed=4)
    split.write_split(tmp_path / "split.json", found)
    assert split.read_split(tmp_path / "split.json") == found
    assert pickle.loads(pickle.dumps(found)) == found
    value = json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))
    speaker, clips = next(iter(value["train"].items()))
    value["test"][speaker] = [clips[0]]
    (tmp_path / "split.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(HeschlError, match="is in train and test"):
        split.read_split(tmp_path / "split.json")
    for bad in ('{"format": 1}', "[]", '{"format": 1, "train": 3}'):
        (tmp_path / "bad.json").write_text(bad, encoding="utf-8")
        with pytest.raises(HeschlError, match="not a split"):
            split.read_split(tmp_path / "bad.json")


def test_manifest_hash() -> None:
    corpus = corpus_of(["a", "b", "c"], ["x", "y", "é"])
    found = split.fractions(corpus, seed=0, validation=0.3, test=0.3)
    part = {clip: name for name in split.PARTS for clip in getattr(found, name)}
    text = "".join(
        f'c{i:04d}\t{{"speaker": "{s}", "word": "{w}"}}\t{part[f"c{i:04d}"]}\n'
        for i, (s, w) in enumerate(zip("abc", "xyé", strict=True))
    )
    assert split.manifest_hash(corpus, found) == hashlib.sha256(text.encode()).hexdigest()
    swapped = split.Split(found.test, found.validation, found.train, found.groups, "speaker")
    assert split.manifest_hash(corpus, swapped) != split.manifest_hash(corpus, found)


def test_further_corpora_only_train() -> None:
    main, extra = corpus_of(list("aabbccdd")), corpus_of(["a", "x"], name="other")
    moved = tuple(
        Clip(c.id, Path("elsewhere") / c.signal, c.rate, c.labels, stop=c.stop) for c in extra.clips
    )
    merged = merge(main, [Corpus("other", moved, "", "", synthetic=True)])
    longer = split.extend_training(split.fractions(main, seed=0), merged)
    assert {"other/c0000", "other/c0001"} < set(longer.train)
    assert longer.groups["other/c0000"] == "other/a"  # another corpus' speaker a is another person
    same = merge(main, [Corpus("made", moved, "", "")])
    held = split.leave_one_out(main, seed=0, fold=0)  # tests on a
    with pytest.raises(HeschlError, match="speaker a is in"):
        split.extend_training(held, same)


@pytest.mark.parametrize("strategy", [split.kfold, split.leave_one_out])
def test_without_a_fold_nobody_is_tested_on_and_a_note_says_so(strategy: Callable[..., split.Split]) -> None:
    corpus = corpus_of([f"s{i}" for i in range(10) for _ in range(3)])
    everybody = strategy(corpus, seed=0, fold=None, validation=0)
    assert set(everybody.train) == {clip.id for clip in corpus.clips}
    assert everybody.test == everybody.validation == ()
    assert any("none is tested on" in note for note in everybody.notes)
    some = strategy(corpus, seed=0, fold=None, validation=0.2)
    assert len({some.groups[clip] for clip in some.validation}) == 2
    assert len(some.train) == 24


@pytest.mark.parametrize(
    ("clip", "file", "recording"),
    [
        ("day/a#1", "day/a.wav", "day/a"),
        ("day/a.wav#12", "day/a.wav", "day/a.wav"),
        ("noise#train-3", "noise.wav", "noise"),
        ("day/take #2", "day/take #2.wav", "day/take #2"),
        ("day/take #2#1", "day/take #2.wav", "day/take #2"),
        ("take #2/a", "take #2/a.flac", "take #2/a"),
        ("take #2/7", "features.npy", "take #2/7"),
    ],
)
def test_parts_share_their_recording_and_takes_do_not(clip: str, file: str, recording: str) -> None:
    one = Clip(clip, Path(file), 16000, {})
    assert split.recording_of(one) == recording
