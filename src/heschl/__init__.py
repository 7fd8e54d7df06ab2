"""heschl: a workbench for interpretable speech networks.

    run = heschl.train("kws-small")          # a recipe becomes a run folder; again, and it goes on or says it is done
    heschl.evaluate(run)                     # scores, on speakers that it has never heard
    heschl.predict(run, ["hello.wav"])
    heschl.explain(run, ["hello.wav"])       # what its answer rested on: relevance of the network's input
    heschl.record(model, x, rate=100)        # what every named area of a network does, with true times

Everything is imported when it is first asked for, so that `import heschl` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heschl.brain.activity import record
    from heschl.brain.forward import project
    from heschl.brain.place import place
    from heschl.corpora import read_corpus
    from heschl.run import Run, open_run
    from heschl.steps.evaluate import evaluate
    from heschl.steps.explain import explain
    from heschl.steps.predict import predict
    from heschl.training.fit import train
    from heschl.types import HeschlError

# onnxruntime, which lightning imports through torch.onnx wherever it is installed, keeps a number of this computer and
# sends what it counts to its makers, unless this is set before; so does the hub of Hugging Face. Who wants that sets them to 0.
for _counts in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_counts, "1")

_HOMES = {
    "HeschlError": "heschl.types",
    "Run": "heschl.run",
    "evaluate": "heschl.steps.evaluate",
    "explain": "heschl.steps.explain",
    "open_run": "heschl.run",
    "place": "heschl.brain.place",
    "predict": "heschl.steps.predict",
    "project": "heschl.brain.forward",
    "read_corpus": "heschl.corpora",
    "record": "heschl.brain.activity",
    "train": "heschl.training.fit",
}

__all__ = [
    "HeschlError",
    "Run",
    "evaluate",
    "explain",
    "open_run",
    "place",
    "predict",
    "project",
    "read_corpus",
    "record",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    try:  # heschl.features, heschl.models, ... as attributes
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name == f"{__name__}.{name}":
            raise AttributeError(f"heschl has no {name}: it has {', '.join(__all__)}") from None
        raise


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
