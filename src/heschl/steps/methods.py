"""The ways to explain, by the names that a person types: what is called, with which settings, and on what."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from heschl.explanation.cells import before_the_end, fill, is_wave, look
from heschl.explanation.perturb import aligned_occlusion
from heschl.explanation.segments import KINDS
from heschl.recipe import Part
from heschl.recipe.parts import check_part, find_part
from heschl.types import HeschlError

TOGETHER = 16  # clips at once
WINDOW = 0.05  # seconds that occlusion hides at a time
BAND = 0.1  # share of the rows that it hides at a time

# What `--method` calls them -> where they are, and settings that are not theirs by default. Any other is named by its
# import path, as in a recipe.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "aligned": ("perturb.aligned_occlusion", {}),
    "lrp": ("lrp.lrp", {}),
    "gradient": ("gradient.gradient", {}),
    "gradient_x_input": ("gradient.gradient_x_input", {}),
    "integrated_gradients": ("gradient.integrated_gradients", {"steps": 32}),
    "smoothgrad": ("gradient.smoothgrad", {"times_input": True}),
    "occlusion": ("gradient.occlusion_time", {}),
    "occlusion_time": ("gradient.occlusion_time", {}),
    "occlusion_frequency": ("gradient.occlusion_frequency", {}),
    "deeplift": ("baselines.deeplift", {}),
    "gradient_shap": ("baselines.gradient_shap", {}),
}
COMPARED = (
    "lrp:epsilon",
    "lrp:epsilon_plus",
    "gradient_x_input",
    "integrated_gradients",
    "occlusion_time",
    "occlusion_frequency",
    "aligned",
)


class Method(NamedTuple):
    """How relevance is found: a name, and what is called with which settings."""

    name: str
    call: Callable[..., Tensor]
    settings: dict[str, Any]

    @property
    def aligned(self) -> bool:
        """Whether it needs to know the clip's segments."""
        return self.call is aligned_occlusion


def method_of(
    named: str | Part, preset: str | None = None, folder: Any = None, trusted_only: bool = False
) -> Method:
    """A method by its name ("lrp", "lrp:epsilon", "occlusion", ...), its import path, or as a recipe's part.

    A recipe's `perturb.aligned_occlusion` takes, beside its own settings such as ``method: shapley``, the ``kind`` of
    segments ("phone"), as `aligned:KIND` does.

    Raises
    ------
    HeschlError: there is none of that name, or it does not take such settings.
    """
    from heschl.explanation.lrp import PRESETS

    if isinstance(named, str):
        name, _, after = named.partition(":")
        if after and preset and after != preset:
            raise HeschlError(f"method {named} names one preset and --preset {preset} another: choose one")
        if name == "aligned":
            return _aligned(after or "phone", preset)
        if preset and name in METHODS and name != "lrp":
            raise HeschlError(f"--preset {preset} belongs to lrp: leave it out beside the method {name}")
        preset = preset or after or None
        if name not in METHODS and "." not in name:
            near = get_close_matches(name, METHODS, n=1)
            hint = f": did you mean '{near[0]}'?" if near else f": choose {', '.join(METHODS)}"
            raise HeschlError(f"there is no method '{name}'{hint}")
        if after and name in METHODS and name != "lrp":
            near = get_close_matches(f"{name}_{after}", METHODS, n=1)
            raise HeschlError(f"there is no method '{named}': did you mean '{(near or [name])[0]}'?")
        use, settings = METHODS.get(name, (name, {}))
        named = Part.model_validate({"use": use, **settings, **({"preset": preset} if preset else {})})
    elif preset:
        named = Part.model_validate({"use": named.use, **named.args, "preset": preset})
    args, how = dict(named.args), {"at": "explain", "folder": folder, "trusted_only": trusted_only}
    aligned = find_part(named.use, "explain", **how) is aligned_occlusion
    kind = args.pop("kind", "phone") if aligned else None
    call, given = check_part(named.use, args, "explain", **how)
    if aligned:
        return _aligned(str(kind), None, given)
    short = named.use.rsplit(".", 1)[-1]
    if short == "lrp":
        given.setdefault("preset", "epsilon_plus")
        if given["preset"] not in PRESETS:
            near = get_close_matches(str(given["preset"]), PRESETS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"choose {', '.join(PRESETS)}"
            raise HeschlError(f"there is no LRP preset '{given['preset']}': {hint}")
        return Method(f"lrp:{given['preset']}", call, given)
    return Method(short, call, given)


def _aligned(kind: str, preset: str | None, settings: Mapping[str, Any] | None = None) -> Method:
    if preset:
        raise HeschlError(f"--preset {preset} belongs to lrp: leave it out beside the method aligned")
    if kind not in KINDS:
        raise HeschlError(f"there are no segments '{kind}': choose aligned: and one of {', '.join(KINDS)}")
    return Method(f"aligned:{kind}", aligned_occlusion, {**(settings or {}), "kind": kind})


def fitting(methods: Sequence[Method], x: Tensor) -> list[Method]:
    """Those that have a meaning for inputs x (batch, ...): a wave has no rows to hide."""
    return [one for one in methods if one.name != "occlusion_frequency" or not is_wave(x)]


def relevance_of(
    model: nn.Module,
    method: Method,
    x: Tensor,
    target: Tensor,
    rate: float,
    lengths: Tensor | None = None,
    baseline: Tensor | None = None,
    segments: Tensor | None = None,
) -> Tensor:
    """Relevance by any method, a chunk at a time: the shape of x (batch, ...), zero after each clip's end.

    rate: steps of x a second. lengths: (batch,) valid steps, for networks that take them. baseline: the shape of x,
    what stands for "nothing" (None: `quiet`). segments: for aligned methods, as `aligned_occlusion` takes them.
    """
    takes, given = inspect.signature(method.call).parameters, dict(method.settings)
    given.pop("kind" if method.aligned else "", None)
    if "width" in takes and "width" not in given:
        rows = method.name.endswith("frequency") and x.ndim > 2
        given["width"] = max(1, round(BAND * x.shape[-2] if rows else WINDOW * rate))
        if "step" in takes and "step" not in given:
            given["step"] = max(1, given["width"] // 2)
    # a set of baselines is drawn from, so one clip's own may not be another's
    together = 1 if method.name == "gradient_shap" else TOGETHER
    out = []
    for first in range(0, len(x), together):
        part = slice(first, first + together)
        if lengths is not None:
            given["lengths"] = lengths[part]
        if "baseline" in takes and "baseline" not in method.settings:
            own = None if lengths is None else lengths[part]
            given["baseline"] = quiet(x[part], own) if baseline is None else baseline[part]
        if method.aligned:
            if segments is None:
                raise HeschlError(f"{method.name} takes out a clip's segments, and none are known")
            given["segments"] = segments[part]
        out.append(_asked(method, model, x[part], target[part], given))
    relevance = torch.cat(out).to(x.dtype)
    if lengths is not None:
        relevance = torch.where(before_the_end(x, lengths), relevance, 0.0)
    if not relevance.isfinite().all():
        raise HeschlError(
            f"the method {method.name} gave relevance that is not finite: mend it, or choose another"
        )
    return relevance


def _asked(method: Method, model: nn.Module, x: Tensor, target: Tensor, given: dict[str, Any]) -> Tensor:
    """What a method gives; one of the user's own that fails, or gives something else, is told in a sentence."""
    own = not str(getattr(method.call, "__module__", "")).startswith("heschl.")
    try:
        found = method.call(model, x, target, **given)
    except HeschlError:
        raise
    except Exception as error:
        if not own:
            raise
        said = (str(error).strip() or "no word").splitlines()[0]
        raise HeschlError(
            f"the method {method.name} failed ({type(error).__name__}: {said}): it is called with (model, x, target)"
        ) from error
    if not isinstance(found, Tensor) or found.shape != x.shape:
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise HeschlError(
            f"the method {method.name} gave {what}: relevance has the shape of x, {tuple(x.shape)}"
        )
    return found.detach()


def quiet(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Silence as each clip would have it, the shape of x: 0 in waves, its own lowest value in spectrograms (before its
    end, at lengths (batch,) steps)."""
    return fill(look(x), "silence", lengths=lengths)
