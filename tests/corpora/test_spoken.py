from __future__ import annotations

import gzip
import hashlib
import random
import shutil
import sys
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.corpora import arpabet, espeak, speak, spoken, spoken_make, voices
from heschl.files import read_audio, read_csv
from heschl.types import HeschlError, Span

needs_espeak = pytest.mark.skipif(
    __import__("importlib.util", fromlist=["util"]).find_spec("espeakng_loader") is None,
    reason="no extra heschl[speak]",
)


@pytest.fixture(scope="module")
def packaged():
    return spoken.read()


# --- the packaged corpus -----------------------------------------------------------------------------


def test_package_holds_what_it_promises(packaged):
    kinds = Counter(clip.labels["kind"] for clip in packaged.clips)
    assert kinds == {"word": 48 * 30, "sentence": 48 * 3}
    assert packaged.synthetic and not packaged.skipped and "not human speech" in packaged.notes[0]
    said = {(clip.labels["speaker"], clip.labels["word"]) for clip in packaged.clips if clip.labels["word"]}
    assert len(said) == 48 * 30 and {word for _, word in said} == set(spoken.WORDS)
    genders = {clip.labels["speaker"]: clip.labels["gender"] for clip in packaged.clips}
    assert Counter(genders.values()) == {"female": 16, "male": 16, "": 16}
    assert len({clip.labels["voice"] for clip in packaged.clips}) == 48  # nobody is two speakers
    assert sum(path.stat().st_size for path in spoken.PACKAGED.rglob("*")) < 6e6
    for clip in packaged.clips:
        if clip.labels["kind"] == "word":
            assert clip.stop - clip.start == pytest.approx(1.0, abs=1e-9)
        assert clip.labels["digit"] == {word: str(n) for n, word in enumerate(spoken.DIGITS)}.get(
            clip.labels["word"], ""
        )


def test_packaged_files_are_those_that_were_made():
    sums = dict(line.split("  ")[::-1] for line in (spoken.PACKAGED / "SHA256SUMS").read_text().splitlines())
    assert len(sums) == 48
    for name, digest in sums.items():
        assert hashlib.sha256((spoken.PACKAGED / name).read_bytes()).hexdigest() == digest


def test_phones_tile_every_clip_and_words_lie_on_phones(packaged):
    symbols = {*arpabet.PHONES, arpabet.SILENCE}
    for clip in packaged.clips:
        phones = [span for span in clip.spans if span.tier == "phone"]
        words = [span for span in clip.spans if span.tier == "word"]
        assert phones[0].start == 0 and phones[-1].stop == pytest.approx(clip.stop - clip.start, abs=1e-6)
        assert all(a.stop == b.start for a, b in pairwise(phones))
        assert all(a.symbol != b.symbol or a.symbol != "SIL" for a, b in pairwise(phones))
        assert {span.symbol for span in phones} <= symbols
        edges = {span.start for span in phones} | {span.stop for span in phones}
        assert all(word.start in edges and word.stop in edges for word in words)
        text = clip.labels["text"].lower().strip("?.")
        assert " ".join(word.symbol for word in words) == text


def test_sound_lies_where_the_words_are(packaged):
    draw = random.Random(1)
    for clip in draw.sample([clip for clip in packaged.clips if clip.labels["kind"] == "word"], 60):
        wave, rate = read_audio(clip.signal, clip.start, clip.stop)
        assert (len(wave), rate) == (16000, 16000)
        word = next(span for span in clip.spans if span.tier == "word")
        inside = wave[int(word.start * rate) : int(word.stop * rate)]
        assert np.sum(inside**2) > 0.99 * np.sum(wave**2) > 0
        # and not cut at the edges: the outermost 5 ms are quiet
        assert max(np.abs(wave[:80]).max(), np.abs(wave[-80:]).max()) < 0.05 * np.abs(wave).max()


def test_american_words_agree_with_the_pronouncing_dictionary(packaged, shared):
    known: dict[str, set[tuple[str, ...]]] = {}
    with gzip.open(shared / "data" / "lexicon" / "cmudict.gz", "rt", encoding="latin1") as lines:
        for line in lines:
            word, _, *phones = line.split()
            if word.lower() in spoken.WORDS:
                known.setdefault(word.lower(), set()).add(tuple(p.rstrip("012") for p in phones))
    said = {
        clip.labels["word"]: tuple(s.symbol for s in clip.spans if s.tier == "phone" and s.symbol != "SIL")
        for clip in packaged.clips
        if clip.labels["accent"] == "en-us" and clip.labels["kind"] == "word"
    }
    differing = {word: phones for word, phones in said.items() if phones not in known[word]}
    assert set(said) == set(spoken.WORDS) and len(differing) <= 2, differing


def test_parts_of_the_package(packaged, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # nothing below needs it
    digits = spoken.read(kind="digit", voices=5, stated="gender")
    assert {clip.labels["digit"] for clip in digits.clips} == set("0123456789")
    assert len({clip.labels["speaker"] for clip in digits.clips}) == 4 and "10 of 50" in digits.notes[1]
    assert {clip.labels["word"] for clip in spoken.read(words=["bed", "cat"], kind="word").clips} == {
        "bed",
        "cat",
    }
    assert all(clip.labels["kind"] == "sentence" for clip in spoken.read(kind="sentence").clips)
    with pytest.raises(HeschlError, match="kind: 'wrd' is not among word"):
        spoken.read(kind="wrd")
    with pytest.raises(HeschlError, match=r"pip install 'heschl\[speak\]'"):
        spoken.read(words=["banana"])


def test_tiny_tree(tmp_path):
    spoken.write_tiny(tmp_path / "a", seed=3)
    spoken.write_tiny(tmp_path / "b", seed=3)
    corpus = spoken.read(tmp_path / "a")
    assert len(corpus.clips) == 6 * 7 and len({clip.labels["speaker"] for clip in corpus.clips}) == 6
    whole = spoken.read()
    for clip in corpus.clips:
        twin = whole.by_id[clip.id]
        assert clip.spans == twin.spans and clip.labels == twin.labels
        wave, _ = read_audio(clip.signal, clip.start, clip.stop)
        original, _ = read_audio(twin.signal, twin.start, twin.stop)
        assert np.abs(wave - original).max() < 1 / 32000
    assert (tmp_path / "a" / "index.csv").read_bytes() == (tmp_path / "b" / "index.csv").read_bytes()


def test_damaged_tree_is_told(tmp_path):
    spoken.write_tiny(tmp_path)
    index, audio = tmp_path / "index.csv", sorted((tmp_path / "audio").iterdir())
    audio[0].write_bytes(b"")
    lines = index.read_text(encoding="utf-8").splitlines()
    index.write_text("\n".join([*lines[:-1], lines[-1].replace(" SIL ", " SIL x")]) + "\n", encoding="utf-8")
    corpus = spoken.read(tmp_path)
    assert len(corpus.clips) == 5 * 7 - 1
    assert {skip.why for skip in corpus.skipped if "is empty (0 bytes)" in skip.why}
    assert any("is not readable" in skip.why for skip in corpus.skipped)
    index.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(HeschlError, match="has no column id, file, start"):
        spoken.read(tmp_path)


@given(
    st.lists(
        st.tuples(st.integers(1, 900), st.sampled_from(["AA", "of the", "SIL"]), st.integers(0, 1)),
        max_size=8,
    )
)
@settings(max_examples=30, deadline=None)
def test_edges_and_spans_are_inverse(parts):
    spans, at = [], 7
    for length, symbol, gap in parts:
        at += 50 * gap
        spans.append(Span(symbol, at / 16000, (at + length) / 16000, "word"))
        at += length
    assert list(spoken._spans(spoken_make._edges(spans, 0.0, 16000), 16000, "word")) == spans


# --- phones ------------------------------------------------------------------------------------------


def test_tables_lead_to_the_39_phones():
    assert len(arpabet.PHONES) == 39
    for table in (arpabet.ESPEAK, arpabet.ESPEAK_RHOTIC):
        assert {phone for phones in table.values() for phone in phones} <= set(arpabet.PHONES)
    assert arpabet.espeak_phones("'o@", "en-us") == ("AO", "R") and arpabet.espeak_phones("o@", "en") == (
        "AO",
    )
    assert arpabet.espeak_phones("e@", "en-us", "r") == ("EH",)  # "daring": the r follows by itself
    assert arpabet.espeak_phones("_:", "en") == ("SIL",)
    with pytest.raises(KeyError):
        arpabet.espeak_phones("Y:", "en")


def test_timit_folds_to_39():
    assert len(arpabet.TIMIT_61) == 61
    folded = {arpabet.timit39(symbol) for symbol in arpabet.TIMIT_61}
    assert len(folded - {None}) == 39 and arpabet.timit39("q") is None and arpabet.timit39("bcl") == "SIL"
    with pytest.raises(KeyError):
        arpabet.timit39("xx")
    assert [arpabet.plain(s) for s in ("ah0", "AA1", "h#", "", "Sp", "b")] == [
        "AH",
        "AA",
        "SIL",
        "SIL",
        "SIL",
        "B",
    ]


def test_closure_belongs_to_the_stop():
    rate = 22050
    wave = np.zeros(rate, np.float32)
    wave[:5000] = 0.5 * np.sin(np.arange(5000) / 20)  # a vowel, silence, a burst
    wave[6500:7500] = 0.3 * np.sin(np.arange(1000) / 3)
    said = espeak.Said(b"", rate, [(0, "'a"), (6500, "t"), (7500, "_:"), (7600, "_")], [(0, 0, 2)])
    marks = speak.phone_marks(said, "en", wave)
    assert [mark.symbol for mark in marks] == ["AE", "T", "SIL"]
    assert abs(marks[1].start - 5000) < 0.006 * rate and marks[1].stop == 7500 and marks[-1].stop == rate


# --- speaking ----------------------------------------------------------------------------------------

ANNA = voices.Speaker("s1", "f2", "female", "en-us", 160, 50, 50)
BEN = voices.Speaker("s2", "m3", "male", "en", 150, 45, 50)


def said(jobs, **options):
    return [item.wave for item in speak.speak(jobs, **options)]


@pytest.mark.slow
@needs_espeak
def test_what_was_said_before_changes_nothing():
    alone = said([("seven", ANNA)])[0]
    time.sleep(1.05)  # the noise of this breathy voice is not seeded by the clock
    after = said([("the quick brown fox", BEN), ("eight", ANNA), ("seven", ANNA), ("seven", ANNA)])
    assert alone.tobytes() == after[2].tobytes() == after[3].tobytes()
    assert 0.3 < len(alone) / speak.RATE < 0.9 and np.abs(alone).max() > 0.1


@needs_espeak
def test_with_and_without_fork_the_same_bytes():
    jobs = [("seven", ANNA), ("a red bird", BEN)]
    for one, other in zip(said(jobs), said(jobs, fork=False)):
        assert one.tobytes() == other.tobytes()


@needs_espeak
def test_data_at_a_long_path_is_found(tmp_path):
    library, data = speak.espeak_files()
    deep = tmp_path / ("long" * 40) / "espeak-ng-data"
    deep.mkdir(parents=True)
    for name in ("en_dict", "intonations", "phondata", "phonindex", "phontab"):
        shutil.copy(data / name, deep / name)
    shutil.copytree(data / "lang" / "gmw", deep / "lang" / "gmw")
    shutil.copytree(data / "voices", deep / "voices")
    with espeak.talking(library, data) as here, espeak.talking(library, deep) as there:
        assert here("seven", "en-us+f2") == there("seven", "en-us+f2")


@needs_espeak
def test_bad_jobs_are_told_and_stop_nobody():
    no_such = ANNA._replace(variant="nobody", accent="xx-yy")
    answers = list(speak.speak([("seven", no_such), ("...", ANNA), ("seven", ANNA)]))
    assert isinstance(answers[0], HeschlError) and "espeak has no voice 'xx-yy+nobody'" in str(answers[0])
    assert isinstance(answers[1], HeschlError) and "nothing that can be said" in str(answers[1])
    assert isinstance(answers[2], speak.Utterance)


@needs_espeak
def test_speakers_are_drawn_by_turns_and_none_twice():
    drawn = speak.draw_speakers(70, seed=4)
    assert [speaker.gender for speaker in drawn[:6]] == ["female", "male", "", "female", "male", ""]
    assert len({speaker.variant for speaker in drawn}) == 70
    assert drawn[:20] == speak.draw_speakers(20, seed=4) != speak.draw_speakers(20, seed=5)
    assert len({speaker.voice for speaker in speak.draw_speakers(200)}) > 150
    shipped = sorted(
        {(row["speaker"], row["voice"], row["pitch"]) for row in read_csv(spoken.PACKAGED / "index.csv")}
    )
    assert shipped == [(s.id, s.variant, str(s.pitch)) for s in speak.draw_speakers(spoken.PACKAGED_VOICES)]
    assert (
        voices.stated_gender("name x\ngender Male 30\n") == "male"
        and voices.stated_gender("pitch 80 110") == ""
    )


@needs_espeak
def test_made_on_demand_cached_and_mended(monkeypatch, tmp_path):
    monkeypatch.setenv("HESCHL_CACHE", str(tmp_path))
    asked = {"words": ["banana", "7", "co-op"], "sentences": ["A new day, isn't it?"], "voices": 2, "seed": 1}
    seen = []
    corpus = spoken.read(**asked, progress=lambda done, count: seen.append((done, count)))
    assert seen == [(0, 2), (1, 2), (2, 2)] and len(corpus.clips) == 8
    assert [s.symbol for s in corpus.by_id["s000/banana"].spans if s.tier == "phone"][1:3] == ["B", "AH"]
    waves = {clip.id: read_audio(clip.signal, clip.start, clip.stop)[0] for clip in corpus.clips}
    folder = corpus.clips[0].signal.parents[1]

    calls = []
    speaking = spoken_make.speak
    monkeypatch.setattr(spoken_make, "speak", lambda jobs: (calls.append(1), speaking(jobs))[1])
    assert spoken.read(**asked) == corpus and not calls  # from the cache
    whole = (folder / "audio" / "s001.flac").read_bytes()
    (folder / "audio" / "s001.flac").write_bytes(whole[:3000])  # damaged: spoken again, the other not
    assert spoken.read(**asked) == corpus and len(calls) == 1
    assert (folder / "audio" / "s001.flac").read_bytes() == whole
    for clip in corpus.clips:
        assert np.array_equal(waves[clip.id], read_audio(clip.signal, clip.start, clip.stop)[0])


@needs_espeak
def test_package_is_what_the_seed_speaks():
    """The first speaker, spoken anew: same labels and times as shipped, and the sound but for its compression."""
    row = next(r for r in read_csv(spoken.PACKAGED / "index.csv") if r["id"] == "s000/happy")
    speaker = speak.draw_speakers(1)[0]
    (again,) = speak.speak([("happy", speaker)])
    wave, before = spoken_make.placed(again.wave, "word", random.Random("place 0 s000 happy"), speak.RATE)
    made = spoken_make._row(again, "word", "s000.ogg", round(float(row["start"]) * 16000), len(wave), before)
    assert made == row
    shipped, _ = read_audio(spoken.PACKAGED / row["file"], float(row["start"]), float(row["stop"]))
    assert np.corrcoef(wave, shipped)[0, 1] > 0.95


def test_without_the_extra_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(HeschlError, match=r"pip install 'heschl\[speak\]'"):
        speak.draw_speakers(3)


@pytest.mark.slow
@needs_espeak
def test_the_command_speaks_words_and_names_what_works_next() -> None:
    import json
    import shlex

    from typer.testing import CliRunner

    from heschl.cli import app

    asked = ["corpora", "speak", "left", "right", "--voices", "2"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0 and "4 clips by 2 synthetic speakers" in said.stdout, said.stderr
    following = shlex.split(said.stdout.splitlines()[-1].removeprefix("next: heschl "))
    assert CliRunner().invoke(app, following).exit_code == 0
    again = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert (again["clips"], again["speakers"], again["synthetic"]) == (4, 2, True)


@needs_espeak
def test_the_command_tells_what_it_left_out_and_what_lies_among_others() -> None:
    import json

    import yaml
    from typer.testing import CliRunner

    from heschl.cli import app

    asked = ["corpora", "speak", "banana", "...", "--voices", "1"]
    said = CliRunner().invoke(app, asked)
    assert "1 clip by 1 synthetic speaker" in said.stdout
    assert "  left out: s000/... ('...' holds nothing that can be said: give words)" in said.stdout
    told = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert [item["where"] for item in told["left_out"]] == ["s000/..."]

    shipped = CliRunner().invoke(app, ["corpora", "speak", "yes", "no", "--voices", "2"]).stdout
    assert f"{spoken.PACKAGED}: 4 clips" in shipped and "left out" not in shipped
    options = yaml.safe_load(shipped.split("alone: corpus: ")[1].splitlines()[0])
    assert options.pop("use") == "spoken" and len(spoken.read(**options).clips) == 4
