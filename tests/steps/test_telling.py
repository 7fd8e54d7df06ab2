"""The clips that tell most: by hand."""

from __future__ import annotations

from heschl.steps.telling import telling


def row(name: str, said: str, answered: str, share: float) -> dict[str, str]:
    return {"id": name, "said": said, "answered": answered, "probability": str(share)}


def test_the_surest_right_the_surest_wrong_and_the_commonest_confusion():
    rows = [
        row("a", "one", "one", 0.99),
        row("b", "one", "one", 0.98),
        row("c", "two", "two", 0.60),
        row("d", "two", "six", 0.90),
        row("e", "two", "six", 0.50),
        row("f", "two", "six", 0.40),
        row("g", "one", "two", 0.95),
    ]
    right, wrong, confusion = telling(rows, 2)
    assert [one["id"] for one in right[1]] == ["a", "c"]  # two labels before the second of one
    assert [one["id"] for one in wrong[1]] == ["g", "d"]
    assert [one["id"] for one in confusion[1]] == [
        "e",
        "f",
    ] and "“two” taken for “six”, 3 times" in confusion[0]


def test_nothing_to_tell_is_no_group():
    assert telling([]) == []
    assert [len(group) for _, group in telling([row("a", "one", "one", 0.9)])] == [1]
