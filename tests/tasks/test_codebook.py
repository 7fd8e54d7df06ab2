"""The codebook's loss against the published definition written in loops, its options, and fixed codebooks."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from heschl.contract.tasks import made_up_corpus
from heschl.corpora import spoken
from heschl.models.neural_encoder import Encoded, NeuralEncoder
from heschl.tasks import spaces
from heschl.tasks.codebook import Codebook, balanced, cosines, representation_loss, spread
from heschl.tasks.spaces import sound_mels
from heschl.types import Batch, Clip, Corpus, HeschlError


def published(r: torch.Tensor, book: torch.Tensor, y: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """Clip by clip, word by word, as the reference defines it: no weights of 0, a detached maximum not added back."""
    raw = [(1 - 0.999) / (1 - 0.999**n) for n in counts]
    weight = [w / sum(raw) * len(counts) for w in raw]
    losses = []
    for b in range(len(y)):
        own = int(y[b])
        others = [j for j in range(len(book)) if j != own]

        def cosine(a: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
            return (a * c).sum() / (a.square().sum().sqrt() * c.square().sum().sqrt())

        align = -cosine(r[b], book[own])
        near = torch.stack([cosine(r[b], book[j]) for j in others])
        uniform = (near - near.max().detach()).exp().sum().log() + near.max().detach()
        words = torch.stack([cosine(book[own], book[j]) for j in others])
        term = (words - words.max().detach()).exp().sum().log()
        losses.append(weight[own] * (align + uniform + term))
    return torch.stack(losses).mean()


def made(words: int = 7, batch: int = 9, dim: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    r = torch.randn(batch, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    book = torch.randn(words, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    return r, book, torch.randint(0, words, (batch,), generator=generator)


def task(words: int = 7, counts: list[int] | None = None, **options: object) -> Codebook:
    one = Codebook("word", tuple(f"w{k}" for k in range(words)), **options)  # type: ignore[arg-type]
    object.__setattr__(one, "resolved", balanced(counts or [1] * words, one.beta))
    return one


def batch(y: torch.Tensor) -> Batch:
    return Batch(torch.zeros(len(y), 1), y, None, ())


def encoded(r: torch.Tensor, book: torch.Tensor) -> Encoded:
    return Encoded(cosines(r, book), r, book)


def test_gradient_is_the_published_one_and_the_value_up_to_a_constant() -> None:
    counts = [3, 50, 1, 400, 7, 20, 2000]
    r, book, y = made()
    mine = task(counts=counts).loss(encoded(r, book), batch(y))
    theirs = published(r, book, y, counts)
    for one, other in zip(torch.autograd.grad(mine, (r, book)), torch.autograd.grad(theirs, (r, book))):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    held = cosines(book, book).detach().fill_diagonal_(-2)
    weights = torch.tensor(balanced(counts), dtype=torch.float64)
    constant = (weights[y] * held[y].max(1).values).mean()
    assert float(mine) == pytest.approx(float(theirs + constant), abs=1e-12)


def test_warm_up_moves_words_by_their_spread_alone() -> None:
    r, book, y = made()
    one = task(warm_up=2)
    assert one.in_epoch(2) is one and one.in_epoch(1).warm and one.in_epoch(1).in_epoch(2) == one
    early = one.in_epoch(0)
    to_r, to_book = torch.autograd.grad(early.loss(encoded(r, book), batch(y)), (r, book))
    alone = book.detach().clone().requires_grad_()
    normal = alone / alone.norm(dim=1, keepdim=True)
    between = sum((normal[a] @ normal[b]).abs() for a in range(7) for b in range(7) if a != b) / 49
    (expected,) = torch.autograd.grad(between, alone)
    torch.testing.assert_close(to_book, expected, rtol=0, atol=1e-12)
    assert float(spread(book).detach()) == pytest.approx(float(between.detach()), abs=1e-12)
    late = torch.autograd.grad(one.loss(encoded(r, book), batch(y)), r)[0]
    torch.testing.assert_close(to_r, late, rtol=0, atol=1e-12)


def test_class_balanced_weights() -> None:
    weights = balanced([1, 10, 1000])
    assert sum(weights) == pytest.approx(3) and weights[0] / weights[1] == pytest.approx(
        (1 - 0.999**10) / (1 - 0.999)
    )
    assert balanced([5, 9], 0) == (1, 1) and balanced([4, 4, 4]) == pytest.approx((1, 1, 1))
    with pytest.raises(HeschlError):
        balanced([1], 1.0)


def test_corrected_options_against_cross_entropy() -> None:
    r, book, y = made()
    s = cosines(r, book)
    with_positive = representation_loss(s, y, temperature=0.1, positive=True)
    assert float(with_positive) == pytest.approx(float(F.cross_entropy(s / 0.1, y)))
    y = torch.arange(7)  # each word once: the symmetric loss is CLIP's
    both = representation_loss(s[:7], y, temperature=0.1, positive=True, symmetric=True)
    clip = (F.cross_entropy(s[:7] / 0.1, y) + F.cross_entropy(s[:7].T / 0.1, y)) / 2
    assert float(both) == pytest.approx(float(clip))


def test_a_clip_of_the_same_word_is_no_negative() -> None:
    s = torch.tensor([[0.9, 0.1], [0.8, 0.3], [0.2, 0.7]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1])
    found = float(representation_loss(s, y, positive=True, symmetric=True))
    rows = [math.log(sum(math.exp(v) for v in row)) - row[k] for row, k in zip(s.tolist(), [0, 0, 1])]
    columns = [
        -0.9 + math.log(math.exp(0.9) + math.exp(0.2)),
        -0.8 + math.log(math.exp(0.8) + math.exp(0.2)),
        -0.7 + math.log(math.exp(0.7) + math.exp(0.1) + math.exp(0.3)),
    ]
    assert found == pytest.approx(sum(rows + columns) / 6)


def test_a_batch_of_one_word_has_a_finite_loss_and_gradient() -> None:
    r, book, _ = made()
    s = cosines(r, book)
    loss = representation_loss(s, torch.zeros(9, dtype=torch.long), symmetric=True)
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(loss, (r, book)))


def test_bad_options_and_batches() -> None:
    for options in ({"temperature": 0.0}, {"beta": 1.0}, {"warm_up": -1}, {"labels": ("a",)}):
        with pytest.raises(HeschlError):
            Codebook("word", **options)  # type: ignore[arg-type]
    r, book, y = made()
    with pytest.raises(HeschlError, match="gives 7 classes and the task has 6"):
        task(6).loss(encoded(r, book), batch(y))
    with pytest.raises(HeschlError, match="mix"):
        task().loss(encoded(r, book), batch(torch.rand(9, 7)))


def test_weights_come_from_the_training_part() -> None:
    corpus = made_up_corpus()
    bound = Codebook("word").bind(corpus, train=[clip.id for clip in corpus.clips][:4])
    assert bound.labels == ("left", "right", "stop") and bound.resolved == balanced([3, 1, 0])
    assert bound.in_epoch(0).resolved == bound.resolved


# --- fixed codebooks ---------------------------------------------------------------------------------------


LEXICON = ";;; a comment\nCAT  K AE1 T\nCASH 1 K AE1 SH\nMONEY 1 M AH1 N IY0\nCAT 2 K AA1 T\n"


def test_mean_mels_of_sounds_are_a_codebook() -> None:
    """Their angles are kept; two words of the same sounds coincide."""
    task = Codebook("word", ("bed", "bird", "cat"), fixed={"use": "spoken", "voices": 2})
    model = NeuralEncoder((6, 8, 32), 3, channels=8, dim=16, depth=1, heads=2, patch=(4, 4))
    said = task.fill(model)
    assert said is not None and said.startswith(
        "the codebook is fixed: 320 numbers of mean mel spectra a word"
    )
    sounds: dict[str, list[Clip]] = {}
    for clip in spoken.read(words=["bed", "bird", "cat"], sentences=[], voices=2).clips:
        sounds.setdefault(clip.labels["word"], []).append(clip)
    mels = sound_mels(sounds, task.classes)
    unit = mels / np.linalg.norm(mels, axis=1, keepdims=True)
    book = model.codebook.detach().double().numpy()
    np.testing.assert_allclose(book @ book.T, unit @ unit.T, atol=1e-6)
    assert not model.codebook.requires_grad and abs(mels.mean(0)).max() < 1e-5
    same = sound_mels({"a": sounds["bed"], "b": sounds["bed"], "c": sounds["cat"]}, ("a", "b", "c"))
    np.testing.assert_allclose(same[0], same[1])
    with pytest.raises(HeschlError, match="no sound of 'dog'"):
        sound_mels(sounds, ("bed", "dog"))
    with pytest.raises(HeschlError, match="names no corpus"):
        Codebook("word", ("bed", "bird"), fixed={"voices": 2}).fill(model)


def test_fixed_codebooks_keep_their_angles_and_stay(tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text("3 3\ncash 1 0 0\nmoney 1 1 0\ncat 0 0 2\n")
    model = NeuralEncoder((6, 8, 32), 3, channels=8, dim=16, depth=1, heads=2, patch=(4, 4))
    one = Codebook("word", ("cash", "cat", "money"), fixed=str(tmp_path / "vectors.txt"))
    said = one.fill(model)
    assert said is not None and "3 vectors" in said and not model.codebook.requires_grad
    found = cosines(model.codebook, model.codebook).numpy()
    assert np.allclose(found, [[1, 0, 0.5**0.5], [0, 1, 0], [0.5**0.5, 0, 1]], atol=1e-6)
    assert not one.in_epoch(0).warm
    with pytest.raises(HeschlError, match="does not have 'dog'"):
        Codebook("word", ("cash", "dog"), fixed=str(tmp_path / "vectors.txt")).fill(model)


def test_words_that_training_never_hears_are_no_candidates_in_it(tmp_path: Path) -> None:
    clips = [Clip(f"c{k}", Path("x"), 100.0, {"word": "abcd"[k % 4]}, form="frames") for k in range(8)]
    corpus = Corpus("made up", tuple(clips), source="", licence="")
    (tmp_path / "v.txt").write_text("a 1 0 0\nb 0 1 0\nc 0 0 1\nd 1 1 1\n")
    taught = [clip.id for clip in clips if clip.labels["word"] in "ac"]
    one = Codebook("word", beta=0.0, fixed=str(tmp_path / "v.txt"), positive=True).bind(corpus, taught)
    r, book, _ = made(4, 6, 3)
    y = torch.tensor([0, 2, 2, 0, 0, 2])
    loss = one.loss(encoded(r, book.detach()), batch(y))
    own = cosines(r, book.detach())[:, [0, 2]]
    torch.testing.assert_close(loss, F.cross_entropy(own, y // 2))
    with torch.no_grad():  # in validation every word is asked for
        heard = torch.tensor([0, 1, 2, 3, 0, 1])
        whole = one.loss(encoded(r.detach(), book), batch(heard))
        torch.testing.assert_close(whole, F.cross_entropy(cosines(r, book), heard))


def test_phonological_neighbours_are_near(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.dict"
    path.write_text(LEXICON)
    assert spaces.pronunciations(path, ["Cat"]) == {"Cat": ("K", "AE", "T")}
    (tmp_path / "told.dict").write_text("gdp G IY1 D IY1 P IY1 # abbrev\n")  # as cmudict.dict has it
    assert spaces.pronunciations(tmp_path / "told.dict", ["gdp"])["gdp"][-2:] == ("P", "IY")
    (tmp_path / "empty.dict").write_text("gdp\n")
    with pytest.raises(HeschlError, match="does not have 'gdp'"):
        spaces.phonology(tmp_path / "empty.dict", ["gdp"])
    table = spaces.phonology(path, ["cash", "cat", "money"])
    near = np.corrcoef(table)
    assert near[0, 1] > near[0, 2] + 0.2
    k, sh = table[0, : len(spaces.FEATURES)], table[0, -len(spaces.FEATURES) :]
    names = list(spaces.FEATURES)
    assert k[names.index("stop")] == 1 and sh[names.index("sibilant")] == 1 and k[names.index("voiced")] == 0
    assert spaces.phone_distance(("K", "AE", "T"), ("K", "AE", "SH")) == 1
    assert spaces.phone_distance((), ("K", "AE")) == 2 and spaces.phone_distance("abcd", "bd") == 2


def test_phonology_of_the_whole_dictionary(shared: Path) -> None:
    path = shared / "data" / "lexicon" / "cmudict.gz"
    words = ["wall", "barrier", "war", "store", "shop", "score", "boat", "ship", "coat"]
    near = np.corrcoef(spaces.phonology(path, words))
    for k in range(0, 9, 3):  # control, semantic, phonological neighbour
        assert near[k, k + 2] > near[k, k + 1]


def test_mean_mel_and_fewer_dimensions() -> None:
    random = np.random.default_rng(0)
    mels = {"a": [random.random((4, 20)), random.random((4, 31))], "b": [random.random((4, 9))]}
    table = spaces.mean_mel(mels, ["b", "a"], slots=3)
    assert table.shape == (2, 12) and table[0].reshape(4, 3)[1, 0] == pytest.approx(
        mels["b"][0][1, :3].mean()
    )
    vectors = random.normal(size=(6, 10))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.allclose(spaces.fitted(vectors, 6) @ spaces.fitted(vectors, 6).T, unit @ unit.T, atol=1e-6)
    assert spaces.fitted(vectors, 2).shape == (6, 2)
    with pytest.raises(HeschlError, match="no sound of 'c'"):
        spaces.mean_mel(mels, ["c"])
    with pytest.raises(HeschlError, match="nothing is left in 4 numbers, which hold 4 of 5 directions"):
        spaces.fitted(np.eye(5), 4)


def test_shuffled_words_stay_in_their_block_and_subject() -> None:
    from collections import Counter

    from heschl.tasks.codebook import moved_labels

    clips = [
        Clip(f"{s}{b}{k}", Path("x"), 1.0, {"word": f"w{k % 3}{b}", "subject": s, "block": b})
        for s in "xy"
        for b in "ab"
        for k in range(9)
    ]
    corpus = Corpus("made up", tuple(clips), "the test", "CC0")
    moved = moved_labels(corpus, "word", "block")
    for s in "xy":
        for b in "ab":
            own = [clip for clip in clips if clip.labels["subject"] == s and clip.labels["block"] == b]
            assert Counter(moved[clip.id] for clip in own) == Counter(clip.labels["word"] for clip in own)
    assert sum(moved[clip.id] != clip.labels["word"] for clip in clips) > 12
    task = Codebook(shuffled="block").bind(corpus)
    assert [task.classes[task.target(clip)] for clip in clips] == [moved[clip.id] for clip in clips]
    assert task.in_epoch(0).target(clips[0]) == task.target(clips[0])
    with pytest.raises(HeschlError, match="'run', and clip xa0 has no such label"):
        Codebook(shuffled="run").bind(corpus)


def test_shuffled_words_of_training_are_words_of_training(tmp_path: Path) -> None:
    """Where words are tested that training never hears, a moved one of these would be taken for another."""
    labels = [{"word": "abcd"[k % 4], "subject": "x", "block": "01"[k // 12]} for k in range(24)]
    clips = tuple(Clip(f"c{k:02d}", Path("x"), 100.0, one, form="frames") for k, one in enumerate(labels))
    corpus = Corpus("made up", clips, source="", licence="")
    (tmp_path / "v.txt").write_text("a 1 0 0\nb 0 1 0\nc 0 0 1\nd 1 1 1\n")
    train = [clip.id for clip in clips if clip.labels["word"] in "ac"]
    task = Codebook("word", fixed=str(tmp_path / "v.txt"), shuffled="block").bind(corpus, train)
    taught = [clip for clip in clips if clip.id in train]
    assert {task.target(clip) for clip in taught} == {0, 2}
    assert any(task.classes[task.target(clip)] != clip.labels["word"] for clip in taught)
    # a block that lies in one part is permuted as ever
    whole = {clip.id for clip in clips if clip.labels["block"] == "0"}
    assert permuted(corpus, whole) == permuted(corpus, set())


def permuted(corpus: Corpus, train: set[str]) -> dict[str, str]:
    from heschl.tasks.codebook import moved_labels

    return moved_labels(corpus, "word", "block", train=train)


def trained_by(rank: int, devices: int, positive: bool) -> tuple[float, list[torch.Tensor]]:
    """One step's loss and gradients on a share of eight trials, as a training on several devices takes it."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"channels": 8, "dim": 8, "depth": 1, "heads": 2, "patch": (4, 4)}
    model = NeuralEncoder((3, 8, 16), 3, dropout=0.0, radius=0.0, **sizes).double()
    x, places = torch.randn(8, 3, 8, 16).double(), torch.randn(8, 3, 3).double()
    y = torch.tensor([0, 1, 2, 2, 1, 0, 0, 2])
    task = Codebook("word", ("left", "right", "stop"), warm_up=0, positive=positive, symmetric=positive)
    mine = slice(None) if devices == 1 else (slice(0, 5), slice(5, 8))[rank]  # shares of different size
    network = model if devices == 1 else torch.nn.parallel.DistributedDataParallel(model)
    loss = task.loss(network(x[mine], places[mine]), Batch(x[mine], y[mine], None, ()))
    loss.backward()
    return float(loss.detach()), [p.grad for p in model.parameters() if p.grad is not None]


def on_one_of_two(rank: int, store: str, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.save([trained_by(rank, 2, positive) for positive in (False, True)], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    """Loss and gradients of the whole batch, whoever holds which part of it; with clips as candidates, too."""
    command = [sys.executable, __file__, str(tmp_path / "store"), str(tmp_path)]
    both = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    assert [one.wait(timeout=180) for one in both] == [0, 0]
    for rank in range(2):
        for found, positive in zip(torch.load(tmp_path / f"{rank}.pt", weights_only=True), (False, True)):
            value, grads = trained_by(0, 1, positive)
            assert found[0] == pytest.approx(value, abs=1e-10)
            for one, other in zip(found[1], grads, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


if __name__ == "__main__":
    on_one_of_two(int(sys.argv[3]), sys.argv[1], sys.argv[2])
