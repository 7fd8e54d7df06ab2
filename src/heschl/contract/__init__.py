"""What every part must keep to, so that each can be used with each: checked for heschl's own parts and a user's.

A check runs the part on made-up input and tells, rule by rule, what it found. It never guesses: a rule that could
not be tried is not in the list.
"""

from __future__ import annotations

from heschl.contract.corpora import check_corpus
from heschl.contract.features import check_feature
from heschl.contract.finding import Finding, broken
from heschl.contract.models import check_model
from heschl.contract.tasks import check_task
from heschl.contract.verbs import Verb, verbs

__all__ = [
    "Finding",
    "Verb",
    "broken",
    "check_corpus",
    "check_feature",
    "check_model",
    "check_task",
    "verbs",
]
