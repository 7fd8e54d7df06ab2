"""Looking a corpus up by name, its fingerprint, new labels, merging, strictness."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from heschl import corpora
from heschl.corpora import split, table, words
from heschl.types import Clip, Corpus, HeschlError, Skipped, Span


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    table.write_tiny(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_read_corpus(tiny: Path) -> None:
    assert {"words", "audiomnist", "table"} <= set(corpora.available())
    assert not {"split", "download", "manifest"} & set(corpora.available())
    assert corpora.read_corpus("table", tiny).clips == table.read(tiny).clips
    assert corpora.read_corpus("table", str(tiny), title="mine").name == "mine"


def test_refusals(tiny: Path) -> None:
    with pytest.raises(HeschlError, match=r"no corpus 'wrds' \(did you mean words\?\)"):
        corpora.read_corpus("wrds", tiny)
    with pytest.raises(HeschlError, match="no corpus 'split'"):
        corpora.read_corpus("split", tiny)
    with pytest.raises(HeschlError, match=r"no option 'speakr' \(did you mean speaker\?\)"):
        corpora.read_corpus("table", tiny, speakr="x")
    with pytest.raises(HeschlError, match="is not there: check the path"):
        corpora.read_corpus("words", tiny / "none")
    with pytest.raises(HeschlError, match="needs a root"):
        corpora.read_corpus("words")


def test_a_corpus_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_corpus_for_test.py").write_text(
        "from heschl.types import Corpus\ndef read(root):\n    return Corpus('mine', (), '', '')\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(HeschlError, match="corpus my_corpus_for_test at .* is empty"):
        corpora.read_corpus("my_corpus_for_test", tmp_path)
    sys.modules.pop("my_corpus_for_test", None)


def test_fingerprint_knows_what_and_not_where(tiny: Path, tmp_path: Path) -> None:
    corpus = table.read(tiny)
    print_ = corpora.fingerprint(corpus)
    shutil.copytree(tiny, tmp_path / "moved")
    assert corpora.fingerprint(table.read(tmp_path / "moved")) == print_
    assert corpora.fingerprint(Corpus("x", corpus.clips[::-1], "", "")) == print_
    first = corpus.clips[0]
    changes = [
        replace(first, id="other"),
        replace(first, labels={**first.labels, "word": "zero"}),
        replace(first, spans=(Span("AH", 0.0, 0.1),)),
        replace(first, start=0.1),
    ]
    prints = {corpora.fingerprint(Corpus("x", (c, *corpus.clips[1:]), "", "")) for c in changes}
    assert len(prints | {print_}) == 5
    assert corpora.fingerprint(Corpus("x", corpus.clips, "", "", noise=(first,))) != print_
    with first.signal.open("ab") as file:
        file.write(b"\0")
    assert corpora.fingerprint(corpus) != print_
    first.signal.unlink()
    with pytest.raises(HeschlError, match="cannot be found any more"):
        corpora.fingerprint(corpus)


def test_relabel(tiny: Path) -> None:
    corpus = table.read(tiny)
    new = corpora.relabel(
        corpus,
        {
            "odd": {"from": "word", "map": {"one": "odd", "three": "odd"}, "else": "even"},
            "renamed": {"from": "word", "map": {"one": "1"}},
            "copy": {"from": "room"},
        },
    )
    for old, clip in zip(corpus.clips, new.clips, strict=True):
        word = old.labels["word"]
        assert clip.labels["odd"] == ("odd" if word in ("one", "three") else "even")
        assert clip.labels["renamed"] == ("1" if word == "one" else word)
        assert clip.labels["copy"] == old.labels["room"] and clip.labels["word"] == word
    for rule, message in (
        ({"map": {}}, "needs `from`"),
        ({"from": "wrd"}, r"no label 'wrd' \(did you mean word"),
        ({"from": "word", "mapp": {}}, "no key 'mapp'"),
        ({"from": "word", "map": {True: "a"}}, "quotes"),
        ({"from": "word", "map": {"five": "a"}}, "has five as its word.*: it has four, one, three, two"),
    ):
        with pytest.raises(HeschlError, match=message):
            corpora.relabel(corpus, {"x": rule})


def test_merge(tiny: Path, tmp_path: Path) -> None:
    main = table.read(tiny)
    words.write_tiny(tmp_path / "words")
    other = words.read(tmp_path / "words", task="v1-31")
    merged = corpora.merge(main, [other, other])
    assert len(merged.clips) == len(main.clips) + 2 * len(other.clips)
    guests = [clip for clip in merged.clips if clip.labels.get("also")]
    assert {clip.labels["also"] for clip in guests} == {"words-v1-31", "words-v1-31-2"}
    assert not any("split" in clip.labels for clip in guests)
    assert all(clip.labels["speaker"].startswith(clip.labels["also"] + "/") for clip in guests)
    assert {clip.id for clip in merged.noise} >= {"words-v1-31/_background_noise_/hiss"}
    assert any("186 clips of words-v1-31 for training only" in note for note in merged.notes)
    held = split.fractions(main, seed=0)
    longer = split.extend_training(held, merged)
    assert longer.validation == held.validation and longer.test == held.test
    assert len(longer.train) == len(held.train) + len(guests)
    with pytest.raises(HeschlError, match="is in corpus tiny and in `also`"):
        corpora.merge(main, [Corpus("again", main.clips[:1], "", "")])


def test_refuse_skipped(tiny: Path) -> None:
    corpus = table.read(tiny)
    corpora.refuse_skipped(corpus)
    with pytest.raises(
        HeschlError, match="1 recording left out, which --strict forbids; the first, x.wav: it is empty"
    ):
        corpora.refuse_skipped(Corpus("c", corpus.clips, "", "", skipped=(Skipped("x.wav", "it is empty"),)))


@pytest.mark.slow
def test_a_large_corpus_shares_the_text_of_its_labels(tmp_path: Path) -> None:
    """20,000 clips (links to one file) of thirty words hold thirty texts, not 20,000."""
    import os

    words.write_tiny(tmp_path / "one")
    source = next((tmp_path / "one" / "yes").iterdir())
    for i in range(20_000):
        folder = tmp_path / "many" / f"w{i % 30}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(source, folder / f"{i % 997:08x}_nohash_{i}.wav")
    corpus = words.read(tmp_path / "many")
    assert len(corpus.clips) == 20_000
    assert len({id(clip.labels["word"]) for clip in corpus.clips}) == 30


def test_ids_of_clips_do_not_tell_the_machine(tiny: Path) -> None:
    assert all(str(tiny) not in clip.id and isinstance(clip, Clip) for clip in table.read(tiny).clips)
