"""What was heard: a reader a file, splits by speaker, downloads. A corpus is named by its module here."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from heschl.types import Clip, Corpus, HeschlError
from heschl.wording import counted, listed, nearest

__all__ = ["available", "fingerprint", "merge", "read_corpus", "refuse_skipped", "relabel"]


Progress = Callable[[int, int], None]


@cache
def available() -> list[str]:
    """Names of the corpora that heschl reads: the modules here that have `read` and `write_tiny`."""
    names = (info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))
    return [name for name in names if _is_reader(importlib.import_module(f"{__name__}.{name}"))]


def _is_reader(module: ModuleType) -> bool:
    return callable(getattr(module, "read", None)) and callable(getattr(module, "write_tiny", None))


def read_corpus(
    name: str, root: Path | str | None = None, progress: Progress | None = None, **options: Any
) -> Corpus:
    """Reads a corpus.

    Parameters
    ----------
    name: a module here ("words", "table", see `available`), or the import path of a module of your own with
        a function `read(root, **options) -> Corpus`.
    root: the folder or file that holds it; may be left out where the reader allows it.
    progress: is given how much is done and of how much, by readers that have much to do.
    options: the reader's own.

    Raises
    ------
    HeschlError: no such corpus or option (the nearest is offered), ``root`` is not there, or nothing in it
        can be read.
    """
    read = _reader(name)
    parameters = inspect.signature(read).parameters
    known = [option for option in parameters if option not in ("root", "progress")]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for option in options:
            if option not in known:
                raise HeschlError(
                    f"corpus {name} has no option '{option}'{nearest(option, known)}: it has {', '.join(known) or 'none'}"
                )
    if progress is not None and "progress" in parameters:
        options["progress"] = progress
    if root is None:
        if "root" not in parameters or parameters["root"].default is inspect.Parameter.empty:
            raise HeschlError(f"corpus {name} needs a root: name the folder that holds its recordings")
        corpus = read(**options)
    else:
        root = Path(root).expanduser()
        if not root.exists():
            raise HeschlError(
                f"the corpus' root {root} is not there: check the path, or fetch the corpus first"
            )
        corpus = read(root, **options)
    if not corpus.clips and not getattr(corpus, "recordings", ()):
        raise HeschlError(f"corpus {name} at {root} is empty: check the path and the corpus' name")
    return corpus


def _reader(name: str) -> Callable[..., Corpus]:
    for path in (f"{__name__}.{name}", name):
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            if error.name and (path == error.name or path.startswith(error.name + ".")):
                continue
            raise HeschlError(f"corpus {name} needs the package {error.name}: install it") from None
        except (ValueError, TypeError):
            continue  # a name that is no import path
        read: Callable[..., Corpus] | None = getattr(module, "read", None)
        if callable(read):
            return read
    raise HeschlError(
        f"there is no corpus '{name}'{nearest(name, available())}: use one of {', '.join(available())}"
    )


def refuse_skipped(corpus: Corpus) -> None:
    """For `--strict`: raises HeschlError where the reader left anything out, with the first reason."""
    if corpus.skipped:
        first = corpus.skipped[0]
        raise HeschlError(
            f"corpus {corpus.name}: {counted(len(corpus.skipped), 'recording')} left out, which --strict forbids; "
            f"the first, {first.where}: {first.why}"
        )


def fingerprint(corpus: Corpus) -> str:
    """SHA-256 of what a corpus is: ids, labels, spans, parts of files and file sizes; never where it lies.

    The noise for augmentation belongs to it. Raises HeschlError where a file has gone.
    """
    digest = hashlib.sha256()
    sizes: dict[Path, int] = {}
    for clip in (*sorted(corpus.clips, key=_by_id), *sorted(corpus.noise, key=_by_id)):
        if clip.signal not in sizes:
            sizes[clip.signal] = _size(clip)
        spans = [[span.symbol, span.start, span.stop, span.tier] for span in clip.spans]
        facts = [
            clip.id,
            sorted(clip.labels.items()),
            spans,
            clip.rate,
            clip.start,
            clip.stop,
            clip.form,
            clip.key,
        ]
        digest.update(json.dumps([*facts, sizes[clip.signal]], ensure_ascii=False).encode("utf-8") + b"\n")
    return digest.hexdigest()


def _by_id(clip: Clip) -> str:
    return clip.id


def _size(clip: Clip) -> int:
    try:
        return clip.signal.stat().st_size
    except OSError as error:
        raise HeschlError(
            f"clip {clip.id}: {clip.signal} cannot be found any more ({error.strerror}): put it back"
        ) from None


def relabel(corpus: Corpus, labels: Mapping[str, Mapping[str, Any]]) -> Corpus:
    """Adds labels that are made of others: `{"command": {"from": "word", "map": {"yes": "go"}, "else": "other"}}`.

    Parameters
    ----------
    labels: new label -> "from" (the column), and if wanted "map" (value -> new value; others stay as they are)
        and "else" (what all others become). What becomes "" has no such label, and a task leaves it out.

    Raises
    ------
    HeschlError: an unknown key or column, a mapped value that no clip has, or a key that YAML took for
        something else than text (`yes`, `no`, `on`, `off` need quotes there).
    """
    for name, rule in labels.items():
        source = _checked_rule(corpus, name, rule)
        mapping = {str(old): str(new) for old, new in (rule.get("map") or {}).items()}
        there = {clip.labels[source] for clip in corpus.clips if source in clip.labels}
        if strange := sorted(set(mapping) - there):
            raise HeschlError(
                f"relabel.{name}.map: no clip of corpus {corpus.name} has {listed(strange)} as its {source}"
                f"{nearest(strange[0], there)}: it has {listed(sorted(there))}"
            )
        rest = rule.get("else")

        def new(value: str, mapping: Mapping[str, str] = mapping, rest: object = rest) -> str:
            return mapping.get(value, value if rest is None else str(rest))

        clips = [
            replace(clip, labels={**clip.labels, name: new(clip.labels[source])})
            if source in clip.labels
            else clip
            for clip in corpus.clips
        ]
        corpus = _with(corpus, clips=clips)
    return corpus


def _checked_rule(corpus: Corpus, name: str, rule: Mapping[str, Any]) -> str:
    if not isinstance(rule, Mapping) or "from" not in rule:
        raise HeschlError(f"relabel.{name} needs `from`, the label that it is made of")
    for key in rule:
        if key not in ("from", "map", "else"):
            raise HeschlError(f"relabel.{name} has no key '{key}': it takes from, map and else")
    for key, value in (rule.get("map") or {}).items():
        if isinstance(key, bool) or isinstance(value, bool):
            raise HeschlError(
                f"relabel.{name}.map: YAML reads yes, no, on and off as true and false: put them in quotes"
            )
    columns = {column for clip in corpus.clips for column in clip.labels}
    if rule["from"] not in columns:
        raise HeschlError(
            f"relabel.{name}.from: corpus {corpus.name} has no label '{rule['from']}'"
            f"{nearest(str(rule['from']), columns)}: it has {', '.join(sorted(columns))}"
        )
    return str(rule["from"])


def merge(corpus: Corpus, also: Sequence[Corpus]) -> Corpus:
    """One corpus of a main one and others that only help to train it (a recipe's `also`).

    The others' clips get their corpus' name before id and speaker, and the label "also" with that name; the
    speakers of another part of the same corpus keep their names, so that a crossing is found. Their label
    "split" goes. Split the main corpus first, then `split.extend_training(split, merged)` adds the others to
    the training part.

    Raises
    ------
    HeschlError: a recording is in the main corpus and in another one.
    """
    clips, own = list(corpus.clips), {clip.signal.resolve() for clip in corpus.clips}
    noise, skipped, notes = list(corpus.noise), list(corpus.skipped), list(corpus.notes)
    used = {corpus.name}
    for other in also:
        name, number = other.name, 2
        while name in used:
            name, number = f"{other.name}-{number}", number + 1
        used.add(name)
        for clip in other.clips:
            if clip.signal.resolve() in own:
                raise HeschlError(
                    f"{clip.signal} is in corpus {corpus.name} and in `also` ({other.name}): what is tested must not be "
                    "trained on, so take it out of one"
                )
            clips.append(_guest(clip, name, same=other.name == corpus.name))
        noise += [replace(clip, id=f"{name}/{clip.id}") for clip in other.noise]
        skipped += other.skipped
        notes += [f"{name}: {note}" for note in other.notes]
        notes.append(
            f"{counted(len(other.clips), 'clip')} of {name} for training only{' (synthetic)' * other.synthetic}"
        )
    return _with(corpus, clips=clips, noise=noise, skipped=skipped, notes=notes)


def _guest(clip: Clip, name: str, same: bool) -> Clip:
    labels = {column: value for column, value in clip.labels.items() if column != "split"}
    if labels.get("speaker") and not same:
        labels["speaker"] = f"{name}/{labels['speaker']}"
    return replace(clip, id=f"{name}/{clip.id}", labels={**labels, "also": name})


def _with(corpus: Corpus, **changes: Iterable[Any]) -> Corpus:
    """A corpus with other clips, noise, skipped or notes."""
    given: dict[str, Any] = {key: tuple(values) for key, values in changes.items()}
    return replace(corpus, **given)
