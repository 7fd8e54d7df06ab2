from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from heschl.tasks.frames import ClassifyFrames, pad_targets
from heschl.tasks.textgrid import spans_of, textgrid, write_textgrid
from heschl.types import Batch, Clip, Corpus, HeschlError, Span


def clip(*spans: tuple[str, float, float], stop: float = 1.0, name: str = "c") -> Clip:
    made = tuple(Span(symbol, start, end) for symbol, start, end in spans)
    return Clip(name, Path("a.wav"), 16000.0, {}, made, stop=stop)


def corpus(*clips: Clip) -> Corpus:
    return Corpus("tiny", clips, "here", "CC0")


def test_a_step_belongs_to_the_span_that_contains_its_centre() -> None:
    data = corpus(clip(("AA", 0.2, 0.4), ("B", 0.4, 0.7)))
    task = ClassifyFrames().bind(data)
    assert task.labels == ("SIL", "AA", "B")
    times = torch.tensor([0.0, 0.19, 0.2, 0.39, 0.4, 0.69, 0.7, 0.9], dtype=torch.float64)
    assert task.target(data.clips[0], times).tolist() == [0, 0, 1, 1, 2, 2, 0, 0]
    silent = ClassifyFrames(silence=None).bind(data)
    assert silent.labels == ("AA", "B")
    assert silent.target(data.clips[0], times).tolist() == [-100, -100, 0, 0, 1, 1, -100, -100]


@given(
    edges=st.lists(st.floats(0, 2), min_size=2, max_size=12),
    times=st.lists(st.floats(0, 2.5), max_size=30),
    silence=st.sampled_from(["SIL", None]),
)
@settings(max_examples=60, deadline=None)
def test_targets_by_brute_force(edges: list[float], times: list[float], silence: str | None) -> None:
    """Also with spans that overlap: of two, the one that starts later."""
    symbols = ["A", "B", "C"]
    spans = [Span(symbols[k % 3], min(pair), max(pair)) for k, pair in enumerate(zip(edges, reversed(edges)))]
    one = Clip("c", Path("a.wav"), 100.0, {}, tuple(spans), stop=2.0)
    labels = ("A", "B", "C") if silence is None else ("SIL", "A", "B", "C")
    task = ClassifyFrames(silence=silence, labels=labels)
    times = sorted(times)
    expected = []
    for time in times:
        inside = [
            (span.start, k, span.symbol) for k, span in enumerate(spans) if span.start <= time < span.stop
        ]
        expected.append(labels.index(max(inside)[2]) if inside else (-100 if silence is None else 0))
    assert task.target(one, torch.tensor(times, dtype=torch.float64)).tolist() == expected


def test_loss_is_torch_s_over_labelled_steps() -> None:
    data = corpus(clip(("A", 0.0, 0.5), ("B", 0.5, 0.6)))
    for weights, smoothing in ((None, 0.1), ("balanced", 0.2), (None, 0.0), ({"B": 4.0}, 0.0)):
        task = ClassifyFrames(weights=weights, smoothing=smoothing).bind(data)  # type: ignore[arg-type]
        logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        y = torch.tensor([[0, 1, 2, -100, -100], [2, 2, 1, 0, -100]])
        w = None if task.resolved is None else torch.tensor(task.resolved, dtype=torch.float64)
        expected = F.cross_entropy(logits.reshape(-1, 3), y.reshape(-1), w, label_smoothing=smoothing)
        found = task.loss(logits, Batch(torch.zeros(2, 1), y, None, ("a", "b")))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    # Windows of one step each.
    found = task.loss(logits[:, 0], Batch(torch.zeros(2, 1), y[:, 0], None, ("a", "b")))
    torch.testing.assert_close(found, F.cross_entropy(logits[:, 0], y[:, 0], w), rtol=1e-12, atol=0)


def test_a_batch_without_labels_moves_nothing() -> None:
    task = ClassifyFrames(labels=("SIL", "A"))
    logits = torch.randn(1, 3, 2, requires_grad=True)
    loss = task.loss(logits, Batch(torch.zeros(1), torch.full((1, 3), -100), None, ("a",)))
    loss.backward()
    assert loss == 0 and logits.grad is not None and not logits.grad.any()


def test_balanced_weights_count_seconds_and_silence() -> None:
    data = corpus(clip(("A", 0.0, 0.5), ("B", 0.5, 0.6), name="a"), clip(("A", 0.0, 1.0), name="b"))
    # SIL 0.4 s, A 0.5 s, B 0.1 s in the training clip: total / (3 * each).
    task = ClassifyFrames(weights="balanced").bind(data, train=["a"])
    assert task.resolved == pytest.approx((1 / 1.2, 1 / 1.5, 1 / 0.3))


def test_scores_with_and_without_silence() -> None:
    task = ClassifyFrames(labels=("SIL", "A", "B"))
    guess = torch.tensor([[0, 1, 1, 2, 0]])
    y = torch.tensor([[0, 1, 2, 2, -100]])
    found = task.scores(F.one_hot(guess, 3).float(), Batch(torch.zeros(1), y, None, ("a",)))
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["accuracy_without_silence"] == pytest.approx(2 / 3)


def test_padding() -> None:
    padded = pad_targets([torch.tensor([1, 2, 3]), torch.tensor([4])])
    assert padded.tolist() == [[1, 2, 3], [4, -100, -100]]


def test_unknown_and_missing_are_named() -> None:
    data = corpus(clip(("A", 0.0, 0.5), ("ZH", 0.5, 0.6)), clip(name="empty"))
    task = ClassifyFrames(labels=("SIL", "A", "B"))
    times = torch.tensor([0.1, 0.55, 0.8])
    assert task.unknown(data) == {"ZH": 1}
    with pytest.raises(HeschlError, match=r"clip c.*'ZH'"):
        task.target(data.clips[0], times)
    assert task.target(data.clips[0], times, strict=False).tolist() == [1, -100, 0]
    with pytest.raises(HeschlError, match="none were given"):
        task.target(data.clips[0])
    with pytest.raises(HeschlError, match="no span of tier 'phone'"):
        task.target(data.clips[1], times)
    kept = task.select(data)
    assert [one.id for one in kept.clips] == ["c"] and kept.skipped[0].where == "empty"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tier": "word"}, "its tiers are 'phone'"),
        ({"labels": ("SIL", "A")}, "'B'"),
        ({"labels": ("SIL", "A", "B", "C")}, "never says: 'C'"),
        ({"labels": ("A", "B")}, "does not name the silence"),
        ({"weights": {"Q": 1.0}}, "'Q'"),
        ({"smoothing": 1.0}, "task.smoothing is 1.0"),
    ],
)
def test_refuses_in_one_sentence(options: dict, said: str) -> None:
    with pytest.raises(HeschlError, match=said):
        ClassifyFrames(**options).bind(corpus(clip(("A", 0.0, 0.5), ("B", 0.5, 0.6))))
    with pytest.raises(HeschlError, match="one class only"):
        ClassifyFrames(silence=None).bind(corpus(clip(("A", 0.0, 0.5))))


def test_answers_become_spans() -> None:
    times = [0.05, 0.15, 0.25, 0.35, 0.45]
    spans = spans_of([0, 1, 1, 2, 0], times, ("SIL", "A", "B"), duration=0.5, silence="SIL")
    assert [(span.symbol, span.start, span.stop) for span in spans] == [
        ("A", pytest.approx(0.1), pytest.approx(0.3)),
        ("B", pytest.approx(0.3), pytest.approx(0.4)),
    ]
    everything = spans_of([0, 0, 1, 1, -100], times, ("SIL", "A"), duration=0.5)
    assert [(span.symbol, span.start) for span in everything] == [("SIL", 0.0), ("A", pytest.approx(0.2))]
    assert spans_of([], [], ("SIL", "A"), duration=0.5) == []
    with pytest.raises(HeschlError, match="2 answers and 1 times"):
        spans_of([0, 1], [0.1], ("SIL", "A"), duration=0.5)


def test_there_and_back() -> None:
    """Steps to spans to steps, at the same times."""
    labels = ("SIL", "A", "B", "C")
    classes = torch.randint(0, 4, (200,), generator=torch.Generator().manual_seed(3))
    times = 0.0125 + 0.01 * torch.arange(200, dtype=torch.float64)
    spans = spans_of(classes.tolist(), times.tolist(), labels, duration=2.1, silence="SIL")
    back = ClassifyFrames(labels=labels).target(
        Clip("c", Path("a.wav"), 100.0, {}, tuple(spans), stop=2.1), times
    )
    assert torch.equal(back, classes)


def test_praat_s_reader_agrees(tmp_path: Path) -> None:
    from praatio import textgrid as praat

    phones = [Span("AH", 0.1, 0.25), Span('"quoted"', 0.25, 0.3), Span("ʃ", 0.5, 1.0)]
    path = tmp_path / "out.TextGrid"
    write_textgrid(path, {"phone": phones, "nothing": []}, 1.0)
    grid = praat.openTextgrid(str(path), includeEmptyIntervals=True)
    assert grid.tierNames == ("phone", "nothing") and grid.maxTimestamp == 1.0
    found = [(entry.start, entry.end, entry.label) for entry in grid.getTier("phone").entries]
    assert found == [
        (0.0, 0.1, ""),
        (0.1, 0.25, "AH"),
        (0.25, 0.3, '"quoted"'),
        (0.3, 0.5, ""),
        (0.5, 1.0, "ʃ"),
    ]
    assert [tuple(entry) for entry in grid.getTier("nothing").entries] == [(0.0, 1.0, "")]
    with pytest.raises(HeschlError, match="one symbol at a time"):
        textgrid({"phone": [Span("A", 0.0, 0.5), Span("B", 0.4, 0.6)]}, 1.0)
    with pytest.raises(HeschlError, match="end at 1"):
        textgrid({"phone": [Span("A", 0.0, 1.5)]}, 1.0)
