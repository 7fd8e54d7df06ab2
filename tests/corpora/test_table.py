"""Tables of recordings: columns found or named, parts, faults, patterns, the one-screen check."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.corpora import _table_pattern, split, table
from heschl.types import HeschlError


def tone(path: Path, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), 0.1 * np.sin(np.arange(round(8000 * seconds)) / 5), 8000)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.wav", "a/2.wav", "b/1.flac", "long.wav"):
        tone(tmp_path / name, 10.0 if name == "long.wav" else 1.0)
    return tmp_path


def test_read_tiny(tmp_path: Path) -> None:
    table.write_tiny(tmp_path)
    corpus = table.read(tmp_path)
    assert len(corpus.clips) == 24 and not corpus.skipped and not corpus.notes
    clip = corpus.by_id["s1/two"]
    assert dict(clip.labels) == {"word": "two", "speaker": "s1", "room": "b"}
    assert (clip.rate, clip.stop) == (16000, 0.5)
    assert table.read(tmp_path / "index.csv").clips == corpus.clips


def test_columns_named_and_found(folder: Path) -> None:
    write(
        folder / "t.csv",
        "Path,who,spk,set",
        "a/1.wav,x,ann,training",
        "a/2.wav,y,bob,Dev",
        "b/1.flac,x,cy,TEST",
    )
    corpus = table.read(folder / "t.csv", speaker="spk", split="set", title="mine", licence="CC0")
    assert [dict(c.labels) for c in corpus.clips] == [
        {"who": "x", "spk": "ann", "set": "training", "speaker": "ann", "split": "train"},
        {"who": "y", "spk": "bob", "set": "Dev", "speaker": "bob", "split": "validation"},
        {"who": "x", "spk": "cy", "set": "TEST", "speaker": "cy", "split": "test"},
    ]
    assert (corpus.name, corpus.licence) == ("mine", "CC0")
    found = split.given(corpus)
    assert (found.train, found.validation, found.test) == (("a/1",), ("a/2",), ("b/1",))
    with pytest.raises(
        HeschlError, match=r"no column 'spkr' for speaker \(did you mean spk\?\): it has Path, who"
    ):
        table.read(folder / "t.csv", speaker="spkr")
    write(folder / "u.csv", "sound,who", "a/1.wav,x")
    with pytest.raises(HeschlError, match="no column of paths"):
        table.read(folder / "u.csv")
    assert table.read(folder / "u.csv", path="sound").clips[0].id == "a/1"


def test_speaker_in_two_parts_is_refused_by_name(folder: Path) -> None:
    write(
        folder / "t.csv", "path,speaker,split", "a/1.wav,ann,train", "a/2.wav,bob,train", "b/1.flac,bob,test"
    )
    corpus = table.read(folder / "t.csv")
    with pytest.raises(HeschlError, match=r"speaker bob is in train \(a/2\) and in test \(b/1\)"):
        split.given(corpus)
    assert any("1 speaker in two parts" in line for line in table.check(folder / "t.csv"))


def test_without_speakers_it_says_so_once(folder: Path) -> None:
    write(folder / "t.csv", "file,word", "a/1.wav,x", "a/2.wav,y")
    assert table.read(folder / "t.csv").notes == (table.NO_SPEAKER,)
    write(folder / "t.csv", "file,word,subject", "a/1.wav,x,s", "a/2.wav,y,")
    assert table.read(folder / "t.csv").notes == ("1 row has no speaker",)


def test_parts_of_recordings(folder: Path) -> None:
    write(
        folder / "t.csv",
        "path,word,start,stop",
        "long.wav,one,0,1.5",
        "long.wav,two,1.5,3",
        "long.wav,three,9,",
        "long.wav,four,9.5,10.01",
        "long.wav,late,9,11",
        "long.wav,back,3,2",
        "long.wav,one,0,1.5",
        "a/1.wav,all,,",
    )
    corpus = table.read(folder / "t.csv")
    assert [(c.id, c.labels["word"], c.start, c.stop) for c in corpus.clips] == [
        ("a/1", "all", 0.0, 1.0),
        ("long#1", "one", 0.0, 1.5),
        ("long#2", "two", 1.5, 3.0),
        ("long#3", "three", 9.0, 10.0),
        ("long#4", "four", 9.5, 10.0),
    ]
    assert [where for where, _ in corpus.skipped] == ["t.csv, line 6", "t.csv, line 7", "t.csv, line 8"]
    assert "which is 10.000 s long" in corpus.skipped[0].why and "line 2 already" in corpus.skipped[2].why
    write(folder / "t.csv", "path,start", "long.wav,soon")
    with pytest.raises(HeschlError, match=r"line 2: start is 'soon', not a number"):
        table.read(folder / "t.csv")


def test_bad_rows_are_skipped_and_listed(folder: Path) -> None:
    (folder / "empty.wav").write_bytes(b"")
    tone(folder / "a/1.flac")
    write(
        folder / "t.csv", "path,w", "a/1.wav,x", "a/1.flac,x", "empty.wav,x", "gone.wav,x", ",x", r"a\2.wav,y"
    )
    corpus = table.read(folder / "t.csv")
    assert [c.id for c in corpus.clips] == [
        "a/1.flac",
        "a/1.wav",
        "a/2",
    ]  # suffixes stay where they alone differ
    assert [
        next(word for word in ("0 bytes", "is not there", "path is empty") if word in why)
        for _, why in corpus.skipped
    ] == ["0 bytes", "is not there", "path is empty"]
    write(folder / "t.csv", "path", "gone.wav")
    with pytest.raises(
        HeschlError, match=r"no recording that can be read .* 1 left out, the first because .*gone"
    ):
        table.read(folder / "t.csv")


def test_a_column_without_a_name_is_no_label_and_names_differ_in_more_than_spaces(folder: Path) -> None:
    """pandas writes its index under no name, a spreadsheet a comma too many."""
    write(folder / "t.csv", ",path,w, ", "0,a/1.wav,x,", "1,a/2.wav,y,")
    assert [dict(clip.labels) for clip in table.read(folder / "t.csv").clips] == [{"w": "x"}, {"w": "y"}]
    assert not any(line.startswith("! ") for line in table.check(folder / "t.csv"))
    write(folder / "t.csv", "path,w, w", "a/1.wav,x,y")
    with pytest.raises(HeschlError, match="two columns called 'w'"):
        table.read(folder / "t.csv")


def test_one_recording_by_two_names_is_one(folder: Path) -> None:
    write(
        folder / "t.csv", "path,w", "a/1.wav,x", "b/../a/1.wav,y", f"../{folder.name}/a/1.wav,y", "a/2.wav,y"
    )
    corpus = table.read(folder / "t.csv")
    assert [clip.id for clip in corpus.clips] == ["a/1", "a/2"] and len(corpus.skipped) == 2
    assert all("is in line 2 already" in why for _, why in corpus.skipped)


def test_finding_the_table(tmp_path: Path) -> None:
    with pytest.raises(HeschlError, match="is not there"):
        table.read(tmp_path / "x")
    with pytest.raises(HeschlError, match="holds no table"):
        table.read(tmp_path)
    tone(tmp_path / "a.wav")
    write(tmp_path / "one.csv", "path", "a.wav")
    assert len(table.read(tmp_path).clips) == 1
    write(tmp_path / "two.csv", "path", "a.wav")
    with pytest.raises(HeschlError, match=r"holds 2 tables \(one\.csv, two\.csv\)"):
        table.read(tmp_path)
    write(tmp_path / "index.csv", "path,w", "a.wav,x")
    assert table.read(tmp_path).clips[0].labels["w"] == "x"
    write(tmp_path / "s.csv", "path;word", "a.wav;x")
    with pytest.raises(HeschlError, match="separated by semicolons"):
        table.read(tmp_path / "s.csv")
    write(tmp_path / "e.csv", "path,word")
    with pytest.raises(HeschlError, match="no rows"):
        table.read(tmp_path / "e.csv")
    with pytest.raises(HeschlError, match="save it as CSV"):
        table.read(tmp_path / "a.wav")


def test_parquet_reads_as_the_csv(folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(
        {"path": ["a/1.wav", "a/2.wav"], "age": [21, None], "speaker": ["ann", None], "score": [0.5, 1.25]}
    )
    frame.to_parquet(folder / "t.parquet")
    frame.assign(age=["21", ""]).to_csv(folder / "t.csv", index=False)
    one, other = table.read(folder / "t.parquet"), table.read(folder / "t.csv")
    assert (
        one.clips == other.clips and one.clips[0].labels["age"] == "21" and one.clips[1].labels["age"] == ""
    )
    (folder / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(HeschlError, match="not a Parquet file .*: write it again"):
        table.read(folder / "bad.parquet")


def test_from_pattern(tmp_path: Path) -> None:
    for name in (
        "x/ann_yes_1.wav",
        "x/bob_no_22.wav",
        "y/bob_how_are_you_3.wav",
        "y/odd.wav",
        ".hid_a_1.wav",
    ):
        tone(tmp_path / name, 0.1)
    rows = table.from_pattern(tmp_path, "{speaker}_{label}_{n}.wav")
    assert rows == [
        {"path": "x/ann_yes_1.wav", "speaker": "ann", "label": "yes", "n": "1"},
        {"path": "x/bob_no_22.wav", "speaker": "bob", "label": "no", "n": "22"},
    ]
    others = dict(table.unmatched(tmp_path, "{speaker}_{label}_{n}.wav"))
    assert "two ways" in others["y/bob_how_are_you_3.wav"] and "does not fit" in others["y/odd.wav"]
    assert table.from_pattern(tmp_path, "{room}/{speaker}_{}_{}")[0] == {
        "path": "x/ann_yes_1.wav",
        "room": "x",
        "speaker": "ann",
    }
    with pytest.raises(HeschlError, match="two ways"):
        table.from_pattern(tmp_path, "{speaker}_{}")
    for pattern, message in (
        ("*.wav", "no field"),
        ("{a b}.wav", "must be a word"),
        ("{path}.wav", "not `path`"),
        ("{a_{b}.wav", "brace"),
        ("{a}-{b}.flac", "no recording in .* fits"),
    ):
        with pytest.raises(HeschlError, match=message):
            table.from_pattern(tmp_path, pattern)
    with pytest.raises(HeschlError, match="is not there"):
        table.from_pattern(tmp_path / "none", "{a}.wav")


@settings(deadline=None, max_examples=100)
@given(
    st.text("ab0", min_size=1, max_size=4),
    st.text("ab0", min_size=1, max_size=4),
    st.text("ab0.", min_size=1, max_size=4),
)
def test_a_pattern_takes_back_what_it_made(one: str, two: str, three: str) -> None:
    pattern = "{one}_{two}-{one}+{three}.wav"
    match = _table_pattern._compiled(pattern, "+?").fullmatch(f"{one}_{two}-{one}+{three}.wav")
    assert match is not None and match.groupdict() == {"one": one, "two": two, "three": three}
    assert _table_pattern._compiled(pattern, "+?").fullmatch(f"{one}_{two}-{one}c+{three}.wav") is None


@given(
    st.binary(max_size=60)
    | st.lists(st.lists(st.text(max_size=5), max_size=4), max_size=4).map(
        lambda rows: "\n".join(",".join(row) for row in [["path", "label", "start", "stop"], *rows]).encode()
    )
)
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_a_table_or_a_sentence(data: bytes) -> None:
    from heschl.corpora import brain

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(data)
        assert isinstance(brain.is_recordings(path), bool)
        assert all(isinstance(line, str) for line in table.check(path))


def test_check_finds_samples_that_are_no_numbers(folder: Path) -> None:
    wave = np.zeros(800)
    wave[5] = np.nan
    soundfile.write(folder / "nan.wav", wave, 8000, subtype="DOUBLE")
    write(folder / "t.csv", "path,word", "a/1.wav,yes", "a/2.wav,no", "nan.wav,no")
    lines = table.check(folder / "t.csv")
    assert lines[0].endswith("3 rows, 2 clips, 1 left out")
    assert any(line.startswith("! clip nan") and "not numbers" in line for line in lines)


def test_check_says_what_is_wrong(folder: Path) -> None:
    tone(folder / "tick.wav", 0.01)
    write(
        folder / "t.csv",
        "path,word,speaker,seconds",
        "a/1.wav,Yes,ann,1.25",
        "a/2.wav,yes,bob,1.5",
        "b/1.flac,no,ann,1.75",
        "long.wav,no,bob,10.25",
        "tick.wav,,ann,0.01",
        "gone.wav,no,ann,0.1",
    )
    lines = table.check(folder / "t.csv")
    text = "\n".join(lines)
    assert lines[0].endswith("6 rows, 5 clips, 1 left out")
    for piece in (
        "path is `path`, speaker is `speaker`",
        "at 8000 Hz",
        "speakers: 2, 2 to 3 clips each",
        "! t.csv, line 7: ",
        "? `word` is empty in 1 row",
        "? `word` holds Yes and yes: one class, or two?",
        "? 1 clip under 0.05 s: tick",
        "one speaker each",
        "in a recipe: corpus: {use: table, root: ",
    ):
        assert piece in text, piece
    assert "label `seconds`" not in text
    assert table.check(folder / "none.csv") == [
        f"! the file {folder / 'none.csv'} is not there: check the path of the corpus"
    ]
    assert table.first_class(lines) == "word"


def test_clips_that_are_all_alike_are_not_told_as_from_one_to_another(folder: Path) -> None:
    write(folder / "t.csv", "path,word,speaker", "a/1.wav,yes,ann", "a/2.wav,no,bob")
    text = "\n".join(table.check(folder / "t.csv"))
    assert "clips of 1.00 s, at 8000 Hz" in text and "speakers: 2, 1 clip each" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("root", "clips", "speakers"),
    [
        ("fsdd/index.csv", 2000, 4),
        ("feis/audio", 240, 15),
        ("speechocean762_adults/utterances.csv", 402, 67),
        ("speech_commands/index.csv", 1618, 1019),
        ("wake_words", 400, 0),
    ],
)
def test_real_tables(shared: Path, root: str, clips: int, speakers: int) -> None:
    corpus = table.read(shared / "data" / root)
    assert len(corpus.clips) == clips and not corpus.skipped
    assert len({c.labels["speaker"] for c in corpus.clips if "speaker" in c.labels}) == speakers
    assert bool(corpus.notes) == (speakers == 0)
    lines = table.check(shared / "data" / root)
    assert not any(line.startswith("! ") for line in lines)
    assert len(lines) < 24 and not any("left out" in line for line in lines[1:])


def test_real_pattern_gives_the_real_table(shared: Path) -> None:
    rows = table.from_pattern(shared / "data" / "fsdd", "{digit}_{speaker}_{take}.flac")
    known = {c.id: c.labels for c in table.read(shared / "data" / "fsdd").clips}
    assert len(rows) == 2000
    for row in rows:
        labels = known[row["path"].removesuffix(".flac")]
        assert all(row[column] == labels[column] for column in ("digit", "speaker", "take"))
