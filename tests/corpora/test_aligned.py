from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.corpora import aligned
from heschl.files import read_audio
from heschl.types import HeschlError, Span


def tone(path: Path, seconds: float = 1.0, rate: int = 16000, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(
        path, 0.3 * np.sin(np.arange(round(seconds * rate)) * 0.2), rate, subtype="PCM_16", **options
    )
    return path


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)
    return path


def phones(clip, tier="phone"):
    return [(s.symbol, round(s.start, 6), round(s.stop, 6)) for s in clip.spans if s.tier == tier]


# --- formats, against times counted by hand ----------------------------------------------------------


def timit_tree(root: Path) -> None:
    folder = root / "TRAIN" / "DR1" / "FCJF0"
    tone(folder / "SA1.WAV", 1.0, format="NIST")
    write(
        folder / "SA1.PHN",
        "0 1600 h#\n1600 3200 bcl\n3200 3360 b\n3360 6400 ux\n6400 6560 q\n6560 16000 h#\n",
    )
    write(folder / "SA1.WRD", "1600 6400 boo\n")
    write(folder / "SA1.TXT", "0 16000 Boo to you.\n")
    tone(root / "TEST" / "DR3" / "MABC1" / "SX9.WAV", 0.5)
    write(root / "TEST" / "DR3" / "MABC1" / "SX9.PHN", "0 4000 h#\n4000 8000 aa\n")


def test_timit(tmp_path):
    timit_tree(tmp_path)
    corpus = aligned.read(tmp_path, symbols="timit39")
    assert [clip.id for clip in corpus.clips] == ["TEST/DR3/MABC1/SX9", "TRAIN/DR1/FCJF0/SA1"]
    test, train = corpus.clips
    # bcl folds to silence and joins what is before it; q is left out, so that the silence after it stands alone
    assert phones(train) == [("SIL", 0, 0.2), ("B", 0.2, 0.21), ("UW", 0.21, 0.4), ("SIL", 0.41, 1.0)]
    assert phones(train, "word") == [("boo", 0.1, 0.4)]
    assert dict(train.labels) == {
        "speaker": "FCJF0", "gender": "female", "dialect": "DR1", "sentence": "SA1", "kind": "SA", "split": "train",
        "text": "Boo to you.",
    }  # fmt: skip
    assert test.labels["split"] == "test" and test.labels["gender"] == "male"
    assert phones(aligned.read(tmp_path).clips[1])[1] == ("bcl", 0.1, 0.2)  # unfolded: the symbols stay
    wave, rate = read_audio(train.signal, train.start, train.stop)  # NIST SPHERE
    assert (len(wave), rate) == (16000, 16000)


def test_timit_tells_its_speakers_from_inside_its_folders_too(tmp_path, monkeypatch):
    timit_tree(tmp_path)
    monkeypatch.chdir(tmp_path / "TRAIN" / "DR1")
    (clip,) = aligned.read(Path()).clips
    assert clip.id == "FCJF0/SA1" and clip.labels["speaker"] == "FCJF0" and clip.labels["split"] == "train"


@pytest.mark.parametrize(
    ("name", "text"), [("a.lab", "0 10000000 aa\n"), ("t.csv", "file,start,end,phone\na.wav,0,1,aa\n")]
)
def test_label_files_beside_no_recording_do_not_decide_the_format(tmp_path, name, text):
    tone(tmp_path / "a.wav", 1.0)
    write(tmp_path / name, text)
    for other in ("dataset_description.json", "left.TextGrid", "left.phn"):
        write(tmp_path / other, "{}")
    assert phones(aligned.read(tmp_path).clips[0]) == [("aa", 0, 1)]
    (tmp_path / name).unlink()
    with pytest.raises(HeschlError, match=r"no recording with a \.phn file of its name"):
        aligned.read(tmp_path)


TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 1
            text = "zoë"
    item [2]:
        class = "IntervalTier"
        name = "Phones"
        xmin = 0
        xmax = 1
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 0.5
            text = "z"
        intervals [3]:
            xmin = 0.5
            xmax = 1
            text = "ow1"
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_textgrid(tmp_path, encoding):
    tone(tmp_path / "a" / "one.flac")
    write(tmp_path / "a" / "one.TextGrid", TEXTGRID, encoding)
    (clip,) = aligned.read(tmp_path, symbols="arpabet").clips
    assert phones(clip) == [("SIL", 0, 0.25), ("Z", 0.25, 0.5), ("OW", 0.5, 1)] and clip.id == "a/one"
    assert phones(clip, "word") == [("zoë", 0.25, 1)] and clip.labels["text"] == "zoë"
    with pytest.raises(HeschlError, match=r"no tier 'Phon' \(it has words, Phones\)"):
        aligned.read(tmp_path, tiers={"phone": "Phon"})


def test_lab_of_esps_and_hts(tmp_path):
    tone(tmp_path / "esps.wav")
    write(
        tmp_path / "esps.lab", "signal esps\nnfields 1\n#\n   0.1 125 H#\n   0.35 125 @: ; x\n   1.0 125 n\n"
    )
    tone(tmp_path / "hts.wav")
    write(
        tmp_path / "hts_phone.lab",
        "0 1300000 x^x-sil+hh=iy@1/A:-2\n1300000 2500000 x^sil-hh+iy=t@1\n2500000 9000000 iy\n",
    )
    tone(tmp_path / "states.wav")
    lines = [
        "0 500000 x-pau+b=c[2]",
        "500000 1000000 x-pau+b=c[3]",
        "1000000 1500000 x-pau+b=c[2]",
        "1500000 2000000 a-b+c[2]",
    ]
    write(tmp_path / "states_state.lab", "\n".join(lines))
    corpus = aligned.read(tmp_path)
    esps, hts, states = corpus.clips
    assert phones(esps) == [("SIL", 0, 0.1), ("@:", 0.1, 0.35), ("n", 0.35, 1.0)]
    assert phones(hts) == [("SIL", 0, 0.13), ("hh", 0.13, 0.25), ("iy", 0.25, 0.9)]
    assert phones(states) == [("SIL", 0, 0.15), ("b", 0.15, 0.2)]


def test_a_symbol_may_hold_a_space_and_a_transcript_that_nobody_needs_may_be_of_any_kind(tmp_path):
    tone(tmp_path / "a.wav")
    write(tmp_path / "a.phn", "0 1600 aa\n")
    write(tmp_path / "a.wrd", "0 1600 ice cream\n")
    write(tmp_path / "a.txt", "café", "latin-1")
    corpus = aligned.read(tmp_path)
    assert not corpus.skipped and phones(corpus.clips[0], "word") == [("ice cream", 0.0, 0.1)]


def test_pocketsphinx_json(tmp_path):
    tone(tmp_path / "a.wav")
    word = {
        "b": 0.2,
        "d": 0.3,
        "t": "was(2)",
        "w": [{"b": 0.2, "d": 0.1, "t": "W"}, {"b": 0.3, "d": 0.2, "t": "AH"}],
    }
    silence = {"b": 0.0, "d": 0.2, "t": "<sil>", "w": [{"b": 0.0, "d": 0.2, "t": "SIL"}]}
    write(tmp_path / "a.phone.json", json.dumps({"b": 0, "d": 1, "t": "was", "w": [silence, word]}))
    (clip,) = aligned.read(tmp_path).clips
    assert phones(clip) == [("SIL", 0, 0.2), ("W", 0.2, 0.3), ("AH", 0.3, 0.5)] and phones(clip, "word") == [
        ("was", 0.2, 0.5)
    ]


CSV = """path,t0,t1,p,word,word_index
a/1.wav,0,0.1,sil,,
a/1.wav,0.1,0.2,G,go,0
a/1.wav,0.2,0.3,OW1,go,0
a/1.wav,0.3,0.4,G,go,1
a/1.wav,0.4,0.5,OW0,go,1
a/2.wav,0,0.5,AA,ah,0
"""
NAMED = {"phone": "p", "start": "t0"}


def csv_tree(root: Path) -> None:
    tone(root / "a" / "1.wav", 0.5)
    tone(root / "a" / "2.wav", 0.5)
    write(root / "times.csv", CSV)
    write(root / "people.csv", "file,speaker,gender\na/1.wav,eve,f\na/2.wav,bob,m\na/3.wav,bob,m\n")
    write(root / "good.csv", "file,auc,longest\na/1.wav,0.95,0.2\na/2.wav,,0.9\n")


def test_csv_with_labels_and_quality(tmp_path):
    csv_tree(tmp_path)
    corpus = aligned.read(tmp_path, symbols="arpabet", columns=NAMED, labels="people.csv")
    one, two = corpus.clips
    assert phones(one) == [
        ("SIL", 0, 0.1),
        ("G", 0.1, 0.2),
        ("OW", 0.2, 0.3),
        ("G", 0.3, 0.4),
        ("OW", 0.4, 0.5),
    ]
    assert phones(one, "word") == [("go", 0.1, 0.3), ("go", 0.3, 0.5)]
    assert (
        one.labels["speaker"] == "eve"
        and two.labels["gender"] == "m"
        and "1 of 3 recordings has no" in corpus.notes[0]
    )
    same = aligned.read(tmp_path / "times.csv", columns=NAMED)  # the table itself as root
    assert [clip.id for clip in same.clips] == ["a/1", "a/2"]

    options = {"columns": NAMED, "quality": "good.csv"}
    best = aligned.read(tmp_path, keep={"auc": {"min": 0.9}, "longest": {"max": 0.5}}, **options)
    assert [clip.id for clip in best.clips] == ["a/1"] and "1 of 2 recordings are left out" in best.notes[0]
    assert len(aligned.read(tmp_path, keep={"auc": {"min": 0.9, "or_empty": True}}, **options).clips) == 2
    with pytest.raises(HeschlError, match="has no column aux"):
        aligned.read(tmp_path, keep={"aux": {"min": 1}}, **options)
    with pytest.raises(HeschlError, match="needs limits such as"):
        aligned.read(tmp_path, keep={"auc": {"least": 1}}, **options)
    with pytest.raises(HeschlError, match="without the table"):
        aligned.read(tmp_path, keep={"auc": {"min": 1}})
    with pytest.raises(HeschlError, match="look at `keep`"):
        aligned.read(tmp_path, keep={"auc": {"min": 0.99}}, **options)
    with pytest.raises(HeschlError, match="has no column 'q' for phone"):
        aligned.read(tmp_path / "times.csv", columns={"phone": "q"})


def test_tables_may_name_files_by_whole_paths_and_by_backslashes(tmp_path):
    """As aligners write them, on any system: the labels of such a file are found, and its clip has an id."""
    tone(tmp_path / "elsewhere" / "1.wav")
    tone(tmp_path / "corpus" / "a" / "2.wav")
    whole = (tmp_path / "elsewhere" / "1.wav").as_posix()
    table = write(
        tmp_path / "corpus" / "times.csv",
        f"file,start,end,phone\n{whole},0,0.5,AA\na\\2.wav,0,0.5,IY\n",
    )
    write(tmp_path / "corpus" / "index.csv", f"file,speaker\n{whole},eve\na\\2.wav,bob\n")
    write(tmp_path / "corpus" / "good.csv", f"file,auc\n{whole},0.9\na\\2.wav,0.2\n")
    corpus = aligned.read(table)
    assert {clip.id: clip.labels["speaker"] for clip in corpus.clips} == {
        "../elsewhere/1": "eve",
        "a/2": "bob",
    }
    best = aligned.read(table, quality="good.csv", keep={"auc": {"min": 0.5}})
    assert [clip.id for clip in best.clips] == ["../elsewhere/1"]


def test_a_table_that_says_two_things_of_a_recording_is_refused_and_a_table_of_phones_is_none_of_labels(
    tmp_path,
):
    aligned.write_tiny(tmp_path / "a")
    with (tmp_path / "a" / "index.csv").open("a", encoding="utf-8") as file:
        file.write("s0/0.wav,s0,female\ns0/1.wav,s3,female\n")
    with pytest.raises(
        HeschlError, match=r"two rows for s0/1\.wav, whose speaker is 's0' and 's3': keep one"
    ):
        aligned.read(tmp_path / "a")
    aligned.write_tiny(tmp_path / "b")
    (tmp_path / "b" / "phones.csv").replace(tmp_path / "b" / "index.csv")
    corpus = aligned.read(tmp_path / "b")
    assert len(corpus.clips) == 24 and set(corpus.clips[0].labels) == {"text"}


def test_own_table_of_symbols(tmp_path):
    csv_tree(tmp_path)
    corpus = aligned.read(tmp_path, columns=NAMED, symbols={"G": "K", "OW0": ""})
    assert [symbol for symbol, *_ in phones(corpus.clips[0])] == ["SIL", "K", "OW1", "K"]


def test_tiny_tree(tmp_path):
    aligned.write_tiny(tmp_path / "a", seed=1)
    aligned.write_tiny(tmp_path / "b", seed=1)
    corpus = aligned.read(tmp_path / "a", symbols="arpabet")
    assert (
        len(corpus.clips) == 24
        and len({clip.labels["speaker"] for clip in corpus.clips}) == 4
        and not corpus.skipped
    )
    assert {clip.labels["gender"] for clip in corpus.clips} == {"female", "male"}
    for clip in corpus.clips:
        spans = [span for span in clip.spans if span.tier == "phone"]
        assert [spans[0].symbol, *sorted(s.symbol for s in spans[1:])] == ["SIL", "AA", "IY", "M", "S"]
        assert spans[-1].stop == pytest.approx(clip.stop) and all(
            a.stop == b.start for a, b in pairwise(spans)
        )
    assert (tmp_path / "a" / "s1" / "2.wav").read_bytes() == (tmp_path / "b" / "s1" / "2.wav").read_bytes()


# --- what is wrong -----------------------------------------------------------------------------------


def test_bad_recordings_are_skipped_with_their_sentence(tmp_path):
    aligned.write_tiny(tmp_path)
    (tmp_path / "s0" / "0.wav").write_bytes(b"")
    (tmp_path / "s0" / "1.wav").unlink()
    tone(tmp_path / "s0" / "2.wav", 0.2)  # shorter than its labels
    lines = (tmp_path / "phones.csv").read_text().splitlines()
    lines += ["s0/3.wav,0.0,0.1,AA,x", "s0/4.wav,0.3,0.35,AA,x"]  # begin before the last ends
    write(tmp_path / "phones.csv", "\n".join(lines))
    corpus = aligned.read(tmp_path)
    assert len(corpus.clips) == 19 and len(corpus.skipped) == 5
    said = " ".join(why for _, why in corpus.skipped)
    assert "is empty (0 bytes)" in said and "is not there" in said and "are of another recording" in said
    assert said.count("begins before") == 2


@pytest.mark.parametrize(
    ("make", "options", "sentence"),
    [
        (lambda root: None, {}, "holds no phone times"),
        (lambda root: tone(root / "a.wav"), {"format": "textgrid"}, "no recording with a .textgrid file"),
        (lambda root: tone(root / "a.wav"), {"format": "praat"}, "format: 'praat' is not among timit"),
        (csv_tree, {"symbols": "ipa"}, "symbols: 'ipa' is not known"),
        (csv_tree, {"columns": {"fone": "p"}}, "columns: 'fone' is not among file"),
        (csv_tree, {"columns": NAMED, "labels": "times2.csv"}, "times2.csv is not there"),
        (
            lambda root: (tone(root / "a.wav"), write(root / "a.phn", "0 x aa\n")),
            {},
            "line 1: '0 x aa' is not times",
        ),
        (
            lambda root: (tone(root / "a.wav"), write(root / "a.phn", "9 2 aa\n")),
            {},
            "must be finite, not negative and in",
        ),
        (lambda root: (tone(root / "a.wav"), write(root / "a.phn", "")), {}, "has no phones"),
        (
            lambda root: (tone(root / "a.wav"), write(root / "a.phn", f"0 {'9' * 5000} aa\n")),
            {},
            "must be finite, not negative and in",
        ),
        (
            lambda root: (tone(root / "a.wav"), write(root / "a.phn", "0.0 1600.0 aa\n")),
            {},
            "line 1: '0.0 1600.0 aa' has times that are no whole numbers, and this format counts in samples",
        ),
        (
            lambda root: (tone(root / "a.wav"), write(root / "a.lab", "0.0 0.5 sil\n0.5 1.0 aa\n")),
            {},
            "line 1: .* counts in units of 100 ns",
        ),
        (lambda root: (tone(root / "a.wav"), write(root / "a.TextGrid", "nothing")), {}, "is not a TextGrid"),
        (
            lambda root: (tone(root / "a.wav"), write(root / "a.json", '{"w": [1]}')),
            {},
            "is not an alignment",
        ),
        (lambda root: (tone(root / "a.wav"), write(root / "a.json", '{"w": ')), {}, "is not JSON"),
        (
            lambda root: (tone(root / "a.wav"), write(root / "a.phn", "0 9 xx\n")),
            {"symbols": "timit39"},
            "'xx' is not of timit39",
        ),
        (
            lambda root: (tone(root / "a.wav"), write(root / "a.lab", "#\nzz\n")),
            {},
            "line 2: 'zz' is not times",
        ),
    ],
)
def test_one_sentence(tmp_path, make, options, sentence):
    make(tmp_path)
    with pytest.raises(HeschlError, match=sentence):
        aligned.read(tmp_path, **options)


def test_missing_folder(tmp_path):
    with pytest.raises(HeschlError, match="is not there"):
        aligned.read(tmp_path / "none")


@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.sampled_from(["aa", "sil", "b", "", "h#"])),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=40, deadline=None)
def test_silences_join_and_time_is_kept(parts):
    spans, at = [], 0
    for length, symbol in parts:
        spans.append(Span(symbol, at / 1000, (at + length) / 1000))
        at += length
    out = aligned._renamer(None)(Path("x"), spans)
    assert sum(s.stop - s.start for s in out) == pytest.approx(at / 1000)
    assert not any(a.symbol == b.symbol == "SIL" for a, b in pairwise(out))
    for s in spans:  # every instant has the symbol that it had
        if s.stop > s.start:
            middle = (s.start + s.stop) / 2
            (now,) = [o.symbol for o in out if o.start <= middle < o.stop]
            assert now == (s.symbol if s.symbol in ("aa", "b") else "SIL")


# --- real recordings ---------------------------------------------------------------------------------

KEEP = {
    "speech_vs_sil_energy_auc": {"min": 0.9, "or_empty": True},
    "longest_phone_s": {"max": 0.5},
    "share_phones_30ms_or_less": {"max": 0.3334},
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "left"), [("speechocean762_adults", 271), ("speech_commands", 1273)])
def test_machine_phones_filtered_by_quality(shared, name, left):
    corpus = aligned.read(
        shared / "data" / name, symbols="arpabet", quality="machine_phones_quality.csv", keep=KEEP
    )
    assert len(corpus.clips) == left and not corpus.skipped  # as the data's README counts them
    assert all(clip.labels["speaker"] for clip in corpus.clips)


def test_hand_phones_textgrid_equals_esps(shared):
    folder = shared / "data" / "ae_hand_phones"
    grid = aligned.read(folder, tiers={"phone": "Phonetic", "word": "Text"})
    lab = aligned.read(folder, format="lab")
    assert len(grid.clips) == len(lab.clips) == 5
    for a, b in zip(grid.clips, lab.clips):
        ours, theirs = (phones(a), phones(b))
        if ours[-1][0] == "SIL":  # the .lab ends with the last phone
            ours = ours[:-1]
        assert [s for s, *_ in ours] == [s for s, *_ in theirs]
        assert np.abs(np.array([t for _, *t in ours]) - np.array([t for _, *t in theirs])).max() < 1e-5
    assert grid.clips[0].labels["text"] == "amongst her friends she was considered beautiful"


def test_arctic_phones_equal_merged_states(shared, tmp_path):
    folder = shared / "data" / "arctic_sample"
    (by_phone,) = aligned.read(folder, symbols="arpabet").clips
    for name in ("arctic_a0009.wav", "arctic_a0009_state.lab"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (by_state,) = aligned.read(tmp_path, symbols="arpabet").clips
    assert phones(by_phone) == phones(by_state) and len(phones(by_phone)) > 20


def test_librivox_phones_tile_their_words(shared):
    corpus = aligned.read(shared / "data" / "librivox_machine_phones", symbols="arpabet")
    assert len(corpus.clips) == 4
    for clip in corpus.clips:
        told = clip.signal.with_suffix(".txt").read_text(encoding="utf-8").split()
        assert clip.labels["text"].split() == told
        edges = {round(s.start, 3) for s in clip.spans if s.tier == "phone"}
        assert all(round(s.start, 3) in edges for s in clip.spans if s.tier == "word")
