"""What a check found, and how rules are tried one by one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from heschl.types import HeschlError


class Finding(NamedTuple):
    """One rule and whether a part keeps to it.

    part: its name. rule: in a few words. kept: whether it does. said: what was found instead, else "".
    """

    part: str
    rule: str
    kept: bool
    said: str = ""


def broken(findings: Iterable[Finding]) -> list[Finding]:
    """The rules that are not kept."""
    return [finding for finding in findings if not finding.kept]


class Broken(Exception):
    """A rule is not kept; the text says how."""


def require(kept: bool, said: str) -> None:
    if not kept:
        raise Broken(said)


def tried(part: str, rules: Iterable[tuple[str, Callable[[], None]]]) -> list[Finding]:
    """Each rule's finding; an error of the part's own is a rule broken, and the others are still tried."""
    findings = []
    for rule, check in rules:
        try:
            check()
        except Broken as said:
            findings.append(Finding(part, rule, False, str(said)))
        except HeschlError as said:
            findings.append(Finding(part, rule, False, f"refused: {said}"))
        except Exception as error:  # whatever a stranger's part may raise
            text = (str(error).splitlines() or [""])[0]
            findings.append(Finding(part, rule, False, f"{type(error).__name__}: {text}"[:300]))
        else:
            findings.append(Finding(part, rule, True))
    return findings


def refused(check: Callable[[], Any], what: str) -> None:
    """Requires a HeschlError of one line."""
    try:
        check()
    except HeschlError as error:
        require("\n" not in str(error), f"{what} is refused in more than one line")
    except Exception as error:
        raise Broken(f"{what} ends in {type(error).__name__} instead of a sentence (HeschlError)") from error
    else:
        raise Broken(f"{what} is taken without a word")


def own_arguments(factory: Callable[..., Any], given: Iterable[str] = ()) -> list[str]:
    """The names of a part's own arguments: those that heschl does not fill in."""
    names = inspect.signature(factory).parameters
    return [name for name in names if name not in given and name != "self"]


def name_of(part: Any) -> str:
    part = getattr(part, "func", part)  # a partial is named after what it fills in
    module = getattr(part, "__module__", "") or ""
    name = getattr(part, "__qualname__", type(part).__qualname__)
    return f"{module.rpartition('.')[2]}.{name}"
