"""Parts by import path: found under heschl.<kind> or as written, and checked against their signature."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import pkgutil
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from heschl.recipe.plain import nearest, wanted
from heschl.types import HeschlError

# kind -> (where it is looked for first, what heschl fills in and a recipe may not give)
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "corpus": ("heschl.corpora", ("speech",)),
    "speech": ("heschl.features.vad", ("wave", "rate")),
    "split": ("heschl.corpora.split", ("corpus", "seed")),
    "feature": ("heschl.features", ()),
    "augment": ("heschl.features", ("sample_rate", "frequencies")),
    "model": ("heschl.models", ("in_shape", "n_outputs")),
    "task": ("heschl.tasks", ()),
    "explain": ("heschl.explanation", ("model", "x", "target", "segments")),
    "optimiser": ("torch.optim", ("params",)),
    "schedule": ("heschl.training.schedules", ("step", "steps", "epoch_steps")),
}


@contextlib.contextmanager
def importable(folder: Path | None) -> Iterator[None]:
    """The recipe's own folder is on the import path inside."""
    if folder is None:
        yield
        return
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def plain_use(use: str, kind: str) -> str:
    """The same part always by the same name: without heschl.<kind> before it."""
    return use.removeprefix(KINDS[kind][0] + ".")


def find_part(
    use: str, kind: str, *, at: str = "", folder: Path | None = None, trusted_only: bool = False
) -> Callable[..., Any]:
    """What an import path names, for one of `KINDS`.

    Raises
    ------
    HeschlError: nothing is called so (the nearest right name is offered), importing it fails, or it is not
        heschl's own where only such parts are accepted.
    """
    home, _ = KINDS[kind]
    at = at or kind
    if not all(piece.isidentifier() for piece in use.split(".")):
        raise HeschlError(f"{at}: `{use}` is not an import path: write it as module.Name")
    candidates = [f"{home}.{use}"]
    if not trusted_only or use.startswith(home + "."):
        candidates.append(use)
    with importable(None if trusted_only else folder):
        for candidate in candidates:
            found = _imported(candidate, kind, at)
            if found is None or not callable(found):
                continue
            if trusted_only and not str(getattr(found, "__module__", "")).startswith(home):
                continue
            return typing.cast("Callable[..., Any]", found)
    only = ", and only heschl's own parts are accepted here" if trusted_only else ""
    hint = nearest(plain_use(use, kind), _known(kind, use))
    raise HeschlError(f"{at}: nothing is called `{use}`{only}{hint}")


def _imported(path: str, kind: str, at: str) -> Any:
    """The object at a dotted path, or None where there is none."""
    module_name, _, name = path.rpartition(".")
    if kind == "corpus":  # a corpus is named by its module, and read by the module's `read`
        module = _module(path, at)
        if module is not None and callable(getattr(module, "read", None)):
            return module.read
    module = _module(module_name, at) if module_name else None
    return getattr(module, name, None)


def _module(name: str, at: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            return None
        raise HeschlError(f"{at}: importing {name} needs the package {error.name}: install it") from None
    except HeschlError:
        raise
    except Exception as error:
        raise HeschlError(
            f"{at}: {name} could not be imported ({type(error).__name__}: {error}): mend it"
        ) from error


def _known(kind: str, use: str) -> list[str]:
    """Names that could have been meant, for suggestions."""
    home, _ = KINDS[kind]
    package = _module(home, kind)
    if package is None:
        return []
    if kind == "speech":  # what else is in its file is no detector
        return ["energy", "Wav2Vec2Speech"]
    if not hasattr(package, "__path__"):
        return [
            name for name, item in vars(package).items() if _own(item, package) and inspect.isfunction(item)
        ]
    if kind == "optimiser":
        return [name for name, item in vars(package).items() if inspect.isclass(item)]
    modules = [info.name for info in pkgutil.iter_modules(package.__path__)]
    if kind == "corpus":
        return [name for name in modules if name not in ("split", "download")]
    names = []
    for name in modules:
        with contextlib.suppress(HeschlError):
            module = _module(f"{home}.{name}", kind)
            names += [
                f"{name}.{item}"
                for item, value in vars(module).items()
                if _own(value, module) and inspect.isclass(value)
            ]
    return names


def _own(item: Any, module: ModuleType | None) -> bool:
    return callable(item) and getattr(item, "__module__", None) == getattr(module, "__name__", "")


def check_part(
    use: str,
    args: Mapping[str, Any],
    kind: str,
    *,
    at: str = "",
    folder: Path | None = None,
    trusted_only: bool = False,
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The part and its arguments, as it takes them (lists become tuples where it says so, text a Path).

    Raises
    ------
    HeschlError: an argument is unknown (the nearest is offered), missing, of the wrong type, or one that
        heschl fills in itself.
    """
    at = at or kind
    part = find_part(use, kind, at=at, folder=folder, trusted_only=trusted_only)
    _, filled = KINDS[kind]
    signature = inspect.signature(part)
    takes = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    hints = _hints(part)
    given: dict[str, Any] = {}
    for name, value in args.items():
        if name in filled:
            raise HeschlError(f"{at}: `{name}` of {use} comes from the data and may not be given: remove it")
        if name not in takes and not anything:
            others = [item for item in takes if item not in filled]
            hint = nearest(name, others) or ": it takes none"
            raise HeschlError(f"{at}: {use} has no argument `{name}`{hint}")
        given[name] = _typed(value, hints.get(name), f"{at}: `{name}` of {use}")
    missing = [
        name
        for name, parameter in takes.items()
        if parameter.default is parameter.empty and name not in given and name not in filled
    ]
    if missing:
        raise HeschlError(f"{at}: {use} needs `{missing[0]}`: add it")
    return part, given


def _hints(part: Callable[..., Any]) -> dict[str, Any]:
    target = part.__init__ if inspect.isclass(part) else part
    try:
        return typing.get_type_hints(target)
    except Exception:  # hints that only a type checker can read: nothing to check against
        return {}


def _typed(value: Any, hint: Any, what: str) -> Any:
    if hint is None or hint is Any:
        return value
    try:
        # In JSON terms a list may be a tuple and text a path, but text is never a number.
        adapter: TypeAdapter[Any] = _adapter(hint)
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        inner = f" ({problem['input']!r} in it)" if problem["input"] != value else ""
        raise HeschlError(f"{what} is {value!r}{inner}: it must be {wanted(problem)}") from None
    except (PydanticSchemaGenerationError, PydanticUserError, TypeError):
        return value  # a type that is no plain value: the part itself will say


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:
        return TypeAdapter(hint)


def build(
    part: Any,
    kind: str,
    *,
    fill: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    trusted_only: bool = False,
) -> Any:
    """Makes a recipe's part (anything with `use` and `args`), with what heschl fills in where its signature asks.

    Raises
    ------
    HeschlError: as `check_part`; what the part itself says; or one of heschl's or torch's own parts cannot be made with
        these values.
    """
    made, given = check_part(part.use, part.args, kind, folder=folder, trusted_only=trusted_only)
    parameters = inspect.signature(made).parameters
    filled = {name: value for name, value in (fill or {}).items() if name in parameters and name not in given}
    try:
        return made(**filled, **given)
    except HeschlError as error:  # a sentence already, whole, which need not name the field
        said = str(error)
        raise HeschlError(said if said.startswith((kind, part.use)) else f"{kind}: {said}") from error
    except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
        if made.__module__.split(".")[0] not in ("heschl", "torch"):
            raise  # its author wants to know where
        values = ", ".join(f"{name} {value!r}" for name, value in given.items()) or "its defaults"
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise HeschlError(
            f"{kind}: {part.use} cannot be made with {values} ({why}): change one of them"
        ) from error
