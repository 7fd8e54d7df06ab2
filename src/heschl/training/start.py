"""Weights to start from: another run, a .safetensors file, a plain state dict, or weights that come with heschl."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from heschl.checkpoints import about_weights
from heschl.files import read_weights
from heschl.run import open_run
from heschl.training.survey import Survey
from heschl.types import HeschlError
from heschl.wording import listed

_NAMED = 3  # names of parameters in a sentence; the whole list is in the run's origin.json


class Start(NamedTuple):
    """What `train.init` names.

    fingerprint: a hash of the weights, and of what of them is used.
    labels: the classes of its outputs, in their order; empty where it does not say.
    redrawn: names of weights that are not used, see `for_classes`.
    """

    source: str
    weights: dict[str, Tensor]
    fingerprint: str
    labels: tuple[str, ...] = ()
    redrawn: frozenset[str] = frozenset()


def packaged_weights() -> dict[str, Path]:
    """The weights that come with the package: name -> file; a card of the same name (.md) lies beside each."""
    folder = Path(__file__).parents[1] / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def read_start(init: str | None) -> Start | None:
    """The weights that `train.init` names: a run folder, a file, or a name out of `packaged_weights`.

    Raises
    ------
    HeschlError: they are not there, damaged, or a pickle that would run code.
    """
    if init is None:
        return None
    path = Path(init).expanduser()
    ours = packaged_weights()
    if not path.exists() and init in ours:
        path = ours[init]
    elif not path.exists() and path.name == init and not path.suffix:
        raise HeschlError(
            f"train.init: no weights are called {init}: name a run folder, a file, or one of {', '.join(ours)}"
        )
    if path.is_dir():
        run = open_run(path)
        weights, labels = run.weights("best"), run.labels
    else:
        weights = read_weights(path)
        about = about_weights(path) if path.suffix == ".safetensors" else {}
        labels = tuple(about.get("labels", ()))
    digest = hashlib.sha256()
    for name, value in sorted(_unwrapped(weights).items()):
        digest.update(name.encode("utf-8"))
        flat = value.detach().cpu().contiguous().view(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())  # numpy has no bfloat16
    return Start(init, weights, digest.hexdigest()[:16], labels)


def for_classes(start: Start, made: Survey) -> Start:
    """The same weights, without a head that was trained for other classes: as many of them would fit it.

    Raises
    ------
    HeschlError: the classes are the recipe's in another order; or they are others, no training is asked for, and the
        recipe does not name them.
    """
    theirs, ours = start.labels, made.labels
    if len(theirs) != len(ours) or theirs == ours or getattr(made.task, "open_set", False):
        return start  # of another number: the shapes tell
    if set(theirs) == set(ours):
        raise HeschlError(
            f"train.init: the outputs of {start.source} are {listed(theirs)}, and this recipe has them in another order: "
            "give theirs as task.labels"
        )
    if made.recipe.train.epochs != 0:
        return start._replace(redrawn=made.head(), fingerprint=f"{start.fingerprint} without its head")
    if "labels" in made.recipe.task.args:  # other names for them
        return start
    raise HeschlError(
        f"train.init: the outputs of {start.source} are {listed(theirs)}, and the classes of {made.corpus.name} are "
        f"{listed(ours)}: name each of the outputs, in their order, in task.labels"
    )


def _unwrapped(weights: Mapping[str, Tensor], own: Collection[str] = ()) -> dict[str, Tensor]:
    """The weights without what DataParallel and lightning put before every name; a network may call its ``own`` so."""
    for prefix in ("module.", "model."):
        named = bool(own) and all(name.startswith(prefix) for name in own)
        if weights and not named and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return dict(weights)


def put_weights(model: nn.Module, start: Start, exact: bool = False) -> dict[str, list[str]]:
    """Loads what fits, and says what does not.

    Parameters
    ----------
    exact: refuse anything that does not fit: a network that is not trained further must be whole.

    Returns
    -------
    "missing", "unexpected" and "replaced" names: the last are of another shape or for other classes (a head), and
    stay as they were drawn.

    Raises
    ------
    HeschlError: nothing fits, or with ``exact`` anything does not.
    """
    own: Mapping[str, Tensor] = model.state_dict()
    weights = _unwrapped(start.weights, own)
    replaced = sorted(
        name
        for name in own
        if name in weights and (own[name].shape != weights[name].shape or name in start.redrawn)
    )
    found = {
        "missing": sorted(set(own) - set(weights)),
        "unexpected": sorted(set(weights) - set(own)),
        "replaced": replaced,
    }
    fits = {name: value for name, value in weights.items() if name in own and name not in replaced}
    told = "; ".join(f"{what}: {', '.join(names[:6])}" for what, names in found.items() if names)
    if exact and told:
        shapes = [
            f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}" for name in replaced[:3]
        ]
        more = f" ({'; '.join(shapes)})" if shapes else ""
        raise HeschlError(
            f"train.init: {start.source} is not a whole {type(model).__name__} ({told}){more}: check both"
        )
    if not any(name in dict(model.named_parameters()) for name in fits):
        raise HeschlError(
            f"train.init: nothing in {start.source} fits {type(model).__name__} ({told}): check both"
        )
    model.load_state_dict({**own, **fits})
    return found


def describe(start: Start, found: Mapping[str, list[str]]) -> str:
    """What was taken over, as a sentence."""
    parts = [f"begins with the weights of {start.source}"]
    words = {
        "missing": "it lacks",
        "unexpected": "not used:",
        "replaced": "newly drawn, as their shapes or classes differ:",
    }
    for what, names in found.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        if names:
            parts.append(f"{words[what]} {', '.join(names[:_NAMED])}{more}")
    return "; ".join(parts)
