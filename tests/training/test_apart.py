"""No sample of a recording, no stretch of speech and no block is on two sides of a split: by hand, and for every shipped recipe."""

from __future__ import annotations

import importlib
import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heschl.corpora.manifest import Split
from heschl.recipe import load, shipped
from heschl.recipe.parts import build
from heschl.run import read_heard
from heschl.training.apart import kept_apart
from heschl.types import Clip, Corpus, Heard, HeschlError, Recording

PARTS = ("train", "validation", "test")
BRAINS = [name for name in shipped() if load(name).feature.use.startswith("brain_")]


def corpus_of(windows: dict[str, list[tuple[float, float]]]) -> Corpus:
    clips, recordings = [], []
    for name, own in windows.items():
        ids = [f"{name}/{k}" for k in range(len(own))]
        heard = tuple(Heard(a, b, one) for one, (a, b) in zip(ids, own, strict=True))
        recordings.append(Recording(name, name, Path("x.h5"), 100.0, "eeg", ("C3",), None, None, heard))
        clips += [Clip(one, Path("x.h5"), 100.0, {"recording": name}, form="frames") for one in ids]
    return Corpus("made up", tuple(clips), recordings=tuple(recordings), source="", licence="")


def split_of(parts: dict[str, str]) -> Split:
    own = {part: tuple(sorted(one for one, p in parts.items() if p == part)) for part in PARTS}
    return Split(own["train"], own["validation"], own["test"], {one: one for one in parts}, "clip")


def shared(corpus: Corpus, split: Split) -> list[tuple[str, str]]:
    """Pairs of trials of two parts that share a sample, each with each."""
    at = {one.clip: (r.id, one.start, one.stop) for r in corpus.recordings for one in r.heard}
    found = []
    for a, b in itertools.combinations(PARTS, 2):
        for one, other in itertools.product(getattr(split, a), getattr(split, b)):
            if one not in at or other not in at or at[one][0] != at[other][0]:
                continue
            if at[one][1] < at[other][2] and at[other][1] < at[one][2]:
                found.append((one, other))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_what_shares_a_sample_goes_and_nothing_else(seed: int) -> None:
    random = np.random.default_rng(seed)
    windows = {name: [(t, t + 3) for t in sorted(random.uniform(0, 90, 40))] for name in ("a", "b")}
    corpus = corpus_of(windows)
    parts = {clip.id: PARTS[int(random.choice(3, p=[0.8, 0.1, 0.1]))] for clip in corpus.clips}
    before = split_of(parts)
    split, lost = kept_apart(corpus, before)
    assert shared(corpus, before) and not shared(corpus, split) and split.test == before.test
    at = {one.clip: (r.id, one.start, one.stop) for r in corpus.recordings for one in r.heard}
    gone = {one.where for one in lost}
    assert gone == {*before.train, *before.validation} - {*split.train, *split.validation} and set(split.groups) == {
        *split.train, *split.validation, *split.test
    }  # fmt: skip
    for one in gone:  # each of them shares a sample with something that stays, of a part above its own
        above = split.test if one in before.validation else (*split.validation, *split.test)
        assert any(
            at[one][0] == at[o][0] and at[one][1] < at[o][2] and at[o][1] < at[one][2] for o in above
        ), one
    assert f"{len(gone)} trials that share samples" in split.notes[-1]


def test_where_nothing_overlaps_nothing_changes() -> None:
    corpus = corpus_of({"a": [(k, k + 1.0) for k in range(9)]})
    split = split_of({clip.id: PARTS[k % 3] for k, clip in enumerate(corpus.clips)})
    assert kept_apart(corpus, split) == (split, [])


def test_speech_that_others_heard_in_training_is_told() -> None:
    corpus = corpus_of({"a": [(k, k + 1.0) for k in range(3)], "b": [(k, k + 1.0) for k in range(3)]})
    clips = tuple(replace(one, labels={**one.labels, "heard": f"s{one.id[-1]}"}) for one in corpus.clips)
    by_subject = split_of({clip.id: "train" if clip.id[0] == "a" else "test" for clip in clips})
    split, lost = kept_apart(replace(corpus, clips=clips), by_subject)
    assert not lost and "all 3 stretches of speech of the test part were heard in training" in split.notes[-1]


def test_words_of_a_story_at_the_border_of_two_blocks(tmp_path: Path) -> None:
    """A word a second with three seconds around it, in blocks of neighbours: two words on each side of a border overlap."""
    mne = pytest.importorskip("mne")
    from heschl.corpora import epochs

    x = 1e-5 * np.random.default_rng(0).standard_normal((3, 64 * 70))
    info = mne.create_info(["C3", "Cz", "C4"], 64.0, "eeg")
    onsets = np.arange(1.0, 61.0)
    raw = mne.io.RawArray(x, info, verbose="error").set_annotations(
        mne.Annotations(onsets, 0.1, ["once", "upon"] * 30)
    )
    raw.set_montage("fsaverage_1005").save(tmp_path / "a_raw.fif", verbose="error")
    corpus = epochs.read(tmp_path, start=-0.5, stop=2.5, blocks=6)
    (recording,) = corpus.recordings
    assert recording.heard[4] == Heard(4.5, 7.5, corpus.clips[4].id, "once")
    options = {"use": "kfold", "group": "block", "folds": 6}
    recipe = load("simulated-words", {"split": options})
    before = build(recipe.split, "split", fill={"corpus": corpus, "seed": 0})
    split, lost = kept_apart(corpus, before)
    assert shared(corpus, before) and not shared(corpus, split)
    assert len(before.test) == len(split.test) == 10 and 2 <= len(lost) <= 8


@pytest.mark.slow
@pytest.mark.parametrize("name", BRAINS)
def test_every_shipped_recipe_of_brains(name: str, tmp_path: Path) -> None:
    """On a tiny tree of its corpus, by its own split: or by halves, where the tree has fewer blocks than folds."""
    recipe = load(name)
    if recipe.corpus.use != "simulated_listener":
        importlib.import_module(f"heschl.corpora.{recipe.corpus.use}").write_tiny(tmp_path)
        changes = {"corpus.root": str(tmp_path)}
        if recipe.corpus.use == "imagined":
            changes |= {"corpus.channels": ["Fp1", "Fp2", "O1", "O2"], "corpus.words": ["a", "b", "c"]}
        if recipe.corpus.use == "libribrain":  # its tiny tree is one chapter: a second one
            for path in list(tmp_path.rglob("*_ses-1_*")):
                shutil.copyfile(path, path.with_name(path.name.replace("_ses-1_", "_ses-2_")))
        if recipe.corpus.use == "brennan":
            changes |= {"corpus.rate": 50.0}
        recipe = load(name, changes)
    corpus = read_heard(recipe.corpus, recipe.folder)
    try:
        split = build(recipe.split, "split", fill={"corpus": corpus, "seed": 0})
    except HeschlError as error:
        assert "block" in str(error)
        halves = load(
            name, {"split": {"use": "fractions", "group": "block", "validation": 0.0, "test": 0.5}}
        ).split
        split = build(halves, "split", fill={"corpus": corpus, "seed": 0})
    split, _ = kept_apart(corpus, split)
    assert split.by == "block" and not shared(corpus, split)
    for column in ("block", "heard"):
        held = [{corpus.by_id[one].labels.get(column, one) for one in getattr(split, part)} for part in PARTS]
        assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])
