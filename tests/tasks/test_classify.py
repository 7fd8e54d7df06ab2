from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from heschl.tasks.classify import Classify
from heschl.types import Batch, Clip, Corpus, HeschlError


def corpus(words: list[str], label: str = "word") -> Corpus:
    clips = [
        Clip(f"clip{k}", Path("a.wav"), 16000.0, {label: word} if word else {"speaker": "s"}, stop=1.0)
        for k, word in enumerate(words)
    ]
    return Corpus("tiny", tuple(clips), "here", "CC0")


def batch(y: torch.Tensor) -> Batch:
    return Batch(torch.zeros(len(y), 1), y, None, tuple(str(k) for k in range(len(y))))


def test_labels_are_sorted_or_as_asked() -> None:
    data = corpus(["dog", "cat", "dog", "bird"])
    task = Classify("word").bind(data)
    assert task.labels == ("bird", "cat", "dog")
    assert [task.target(clip) for clip in data.clips] == [2, 1, 2, 0]
    assert Classify("word").n_outputs(data) == 3
    fixed = Classify("word", labels=("dog", "cat", "bird")).bind(data)
    assert [fixed.target(clip) for clip in data.clips] == [0, 1, 0, 2]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, "balanced", {"a": 3.0}])
def test_loss_is_torch_s(smoothing: float, weights: object) -> None:
    data = corpus(["a", "b", "b", "c", "c", "c"])
    task = Classify("word", weights=weights, smoothing=smoothing).bind(data)  # type: ignore[arg-type]
    expected_weights = None
    if weights == "balanced":
        counted = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=list("abbccc"))
        expected_weights = torch.tensor(counted)
    elif weights is not None:
        expected_weights = torch.tensor([3.0, 1.0, 1.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 1, 2, 0])
    expected = F.cross_entropy(logits, y, expected_weights, label_smoothing=smoothing)
    torch.testing.assert_close(task.loss(logits, batch(y)), expected, rtol=1e-12, atol=0)
    # A mixture that is all one class is that class; torch's own agrees where there are no weights.
    one_hot = F.one_hot(y, 3).double()
    torch.testing.assert_close(task.loss(logits, batch(one_hot)), expected, rtol=1e-12, atol=0)
    mixed = 0.3 * one_hot + 0.7 * one_hot.roll(1, 0)
    if weights is None:
        expected = F.cross_entropy(logits, mixed, label_smoothing=smoothing)
        torch.testing.assert_close(task.loss(logits, batch(mixed)), expected, rtol=1e-12, atol=0)


def test_robust_loss_is_its_definition_and_lies_between_cross_entropy_and_error() -> None:
    data = corpus(["a", "b", "b", "c", "c", "c"])
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 1, 2, 0])

    def loss(robust: float, smoothing: float = 0.0) -> float:
        task = Classify("word", smoothing=smoothing, robust=robust).bind(data)
        return float(task.loss(logits, batch(y)))

    p = logits.softmax(-1).numpy()
    costs = (1 - p**0.7) / 0.7
    own = costs[range(6), y.tolist()]
    np.testing.assert_allclose(loss(0.7), own.mean(), rtol=1e-12)
    np.testing.assert_allclose(loss(0.7, 0.1), (0.9 * own + 0.1 * costs.mean(1)).mean(), rtol=1e-12)
    np.testing.assert_allclose(loss(1.0), (1 - p[range(6), y.tolist()]).mean(), rtol=1e-12)
    np.testing.assert_allclose(loss(1e-7), loss(0.0), rtol=1e-6)


def test_a_wrong_label_that_the_network_contradicts_pulls_less_on_it() -> None:
    data = corpus(["a", "b"])
    pulls = []
    for robust in (0.0, 0.7):
        logits = torch.tensor([[6.0, 0.0]], dtype=torch.float64, requires_grad=True)
        Classify("word", robust=robust).bind(data).loss(logits, batch(torch.tensor([1]))).backward()
        assert logits.grad is not None
        pulls.append(float(logits.grad.abs().max()))
    assert pulls[1] < 0.05 * pulls[0]


def test_balanced_weights_are_counted_in_training() -> None:
    data = corpus(["a", "a", "a", "b"])
    task = Classify("word", weights="balanced").bind(data, train=["clip0", "clip3"])
    assert task.resolved == (1.0, 1.0)
    assert Classify("word", weights="balanced").bind(data).resolved == (4 / 6, 2.0)


class Branches(NamedTuple):
    logits: torch.Tensor
    heads: torch.Tensor


def test_branches_are_judged_one_by_one() -> None:
    task = Classify("word").bind(corpus(["a", "b"]))
    heads = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 1, 0])
    expected = sum(F.cross_entropy(head, y) for head in heads) / 3
    torch.testing.assert_close(task.loss(Branches(heads.mean(0), heads), batch(y)), expected)


def test_scores() -> None:
    task = Classify("word").bind(corpus(["a", "b"]))
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert task.scores(logits, batch(torch.tensor([0, 1, 1])))["accuracy"] == pytest.approx(2 / 3)
    shares = torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.4, 0.6]])
    assert task.scores(logits, batch(shares))["accuracy"] == pytest.approx(2 / 3)


def test_clips_without_the_label_are_listed() -> None:
    data = corpus(["a", "", "b"])
    kept = Classify("word").select(data)
    assert [clip.id for clip in kept.clips] == ["clip0", "clip2"]
    assert [tuple(one) for one in kept.skipped] == [("clip1", "it has no label 'word'")]
    assert Classify("word").bind(data).labels == ("a", "b")
    assert Classify("word").select(kept) is kept


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        (lambda: Classify("wrod"), ["a", "b"], "did you mean 'word'"),
        (lambda: Classify("colour"), ["a", "b"], "its labels are 'word'"),
        (lambda: Classify("word"), ["a", "a"], "one class only"),
        (lambda: Classify("word", labels=("a", "b")), ["a", "b", "bee"], "'bee'"),
        (lambda: Classify("word", labels=("a", "b", "c")), ["a", "b"], "has no clip: 'c'"),
        (lambda: Classify("word", labels=("a", "a")), ["a"], "names 'a' twice"),
        (lambda: Classify("word", labels=("a",)), ["a"], "one class only"),
        (lambda: Classify("word", weights={"z": 2.0}), ["a", "b"], "'z'"),
        (lambda: Classify("word", weights={"a": 0.0}), ["a", "b"], "above zero"),
        (lambda: Classify("word", smoothing=1.0), ["a", "b"], "smoothing is 1.0"),
        (lambda: Classify("word", robust=1.5), ["a", "b"], "robust is 1.5"),
    ],
)
def test_refuses_in_one_sentence(make, words: list[str], said: str) -> None:
    with pytest.raises(HeschlError, match=said) as caught:
        make().bind(corpus(words))
    assert "\n" not in str(caught.value)


def test_unknown_labels_are_named() -> None:
    task = Classify("word", labels=("left", "right"))
    other = corpus(["left", "rigth", "up", "up"])
    assert task.unknown(other) == {"rigth": 1, "up": 2}
    with pytest.raises(HeschlError, match=r"clip clip1.*'rigth'.*did you mean 'right'"):
        task.target(other.clips[1])
    with pytest.raises(HeschlError, match="has no label 'word'"):
        task.target(corpus([""]).clips[0])
    # A network that was trained elsewhere may know classes that this corpus does not say.
    three = Classify("word", labels=("left", "right", "up")).bind(corpus(["left", "up"]), allow_missing=True)
    assert three.labels == ("left", "right", "up")


def test_what_the_network_gives_must_fit() -> None:
    task = Classify("word").bind(corpus(["a", "b"]))
    with pytest.raises(HeschlError, match="gives 3 classes and the task has 2"):
        task.loss(torch.zeros(1, 3), batch(torch.tensor([0])))
    with pytest.raises(HeschlError, match="do not fit"):
        task.loss(torch.zeros(1, 5, 2), batch(torch.tensor([0])))
    with pytest.raises(HeschlError, match="bind"):
        Classify("word", weights="balanced", labels=("a", "b")).loss(
            torch.zeros(1, 2), batch(torch.tensor([0]))
        )
    with pytest.raises(HeschlError, match="bind"):
        Classify("word").target(corpus(["a"]).clips[0])
