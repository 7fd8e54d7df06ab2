"""The pieces of sentences, by the examples beside them."""

from __future__ import annotations

import doctest

from heschl import wording


def test_examples_in_docstrings():
    assert doctest.testmod(wording) == (0, 4)
