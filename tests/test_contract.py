"""Every part of the package is found and held to the contract; and each rule of it can be broken."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

import heschl
from heschl.contract import broken, check_corpus, check_feature, check_model, check_task, verbs
from heschl.contract.tasks import made_up_corpus

# Shapes that are tried, in this order, for a network that does not name one as its `example`.
SHAPES = [((40, 101), 12), ((1, 40, 101), 12), ((1, 16000), 12)]
EXTRA = {"hf_audio": "transformers"}  # module -> the package of an extra that it cannot do without


def modules(folder: str) -> list[str]:
    package = importlib.import_module(f"heschl.{folder}")
    return [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]


def classes(folder: str, name: str, has: Callable[[type], bool]) -> Iterator[type]:
    """Public classes of one module that are parts; a module that cannot be imported fails here."""
    module = importlib.import_module(f"heschl.{folder}.{name}")
    for key, item in vars(module).items():
        own = inspect.isclass(item) and item.__module__ == module.__name__ and not key.startswith("_")
        if own and has(item):
            yield item


def is_network(item: type) -> bool:
    return issubclass(item, nn.Module) and hasattr(item, "areas")


def example(network: type) -> tuple[Callable[..., nn.Module], tuple[int, ...], int]:
    """The network, the shape that it is tried with, and how many outputs; its `example` may name options too."""
    if hasattr(network, "example"):
        shape, n_outputs, *options = network.example
        return functools.partial(network, **(options[0] if options else {})), shape, n_outputs
    for shape, n_outputs in SHAPES:
        try:
            network(shape, n_outputs)(torch.zeros(2, *shape))
        except Exception:
            continue
        return network, shape, n_outputs
    raise AssertionError(f"{network.__name__} takes none of {SHAPES}: give it an `example`")


def kept(findings: list[Any]) -> None:
    assert findings
    assert not broken(findings), "\n".join(f"{one.part}: {one.rule}: {one.said}" for one in broken(findings))


# --- the package's parts ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", modules("models"))
def test_networks(name: str) -> None:
    if name in EXTRA:
        pytest.importorskip(
            EXTRA[name], reason=f"{name} needs {EXTRA[name]}, of an extra that is not installed"
        )
    for network in classes("models", name, is_network):
        kept(check_model(*example(network)))


@pytest.mark.slow
@pytest.mark.parametrize("name", modules("models"))
def test_networks_learn_eight_clips(name: str) -> None:
    if name in EXTRA:
        pytest.importorskip(
            EXTRA[name], reason=f"{name} needs {EXTRA[name]}, of an extra that is not installed"
        )
    for network in classes("models", name, is_network):
        kept(check_model(*example(network), overfit_steps=400))


@pytest.mark.parametrize("name", modules("features"))
def test_features(name: str) -> None:
    def is_feature(item: type) -> bool:
        return issubclass(item, nn.Module) and hasattr(item, "steps")

    for feature in classes("features", name, is_feature):
        kept(check_feature(feature))


@pytest.mark.parametrize("name", modules("corpora"))
def test_corpora(name: str) -> None:
    module = importlib.import_module(f"heschl.corpora.{name}")
    if hasattr(module, "write_tiny"):
        kept(check_corpus(module))


@pytest.mark.parametrize("name", modules("tasks"))
def test_tasks(name: str) -> None:
    for task in classes("tasks", name, lambda item: hasattr(item, "bind") and hasattr(item, "target")):
        for label in ("word", "gender") if "label" in inspect.signature(task).parameters else (None,):
            kept(check_task(lambda task=task, label=label: task(label) if label else task()))


def test_every_module_imports() -> None:
    for info in pkgutil.walk_packages(heschl.__path__, "heschl."):
        if not info.name.endswith("__main__"):
            importlib.import_module(info.name)


# --- each rule can be broken -----------------------------------------------------------------------------


class Good(nn.Module):
    """A mean over time and a line: keeps to every rule."""

    areas: ClassVar[dict[str, str]] = {"mean": "line"}

    def __init__(self, in_shape: tuple[int, int], n_outputs: int) -> None:
        super().__init__()
        self.in_shape = in_shape
        self.line = nn.Linear(in_shape[0], n_outputs)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        from heschl.models.inputs import check_input

        check_input("Good", x, self.in_shape, lengths, any_time=True)
        n = torch.full((len(x),), x.shape[-1]) if lengths is None else lengths
        inside = (torch.arange(x.shape[-1]) < n[:, None])[:, None]
        return self.line((x * inside).sum(-1) / n[:, None])


def variant(**changes: Any) -> type:
    return type("Variant", (Good,), changes)


def softmax(self: Any, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    return Good.forward(self, x, lengths).softmax(-1)


def log_softmax(self: Any, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    return Good.forward(self, x, lengths).log_softmax(-1)


def loudest(self: Any, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    return Good.forward(self, x / x.abs().max(), lengths)


def cut(self: Any, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    return Good.forward(self, x.round(), lengths)


def deaf(self: Any, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    return Good.forward(self, x)


def without(self: Any, x: torch.Tensor) -> torch.Tensor:
    return Good.forward(self, x)


def padless(self: Any, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    return self.line(x.mean(-1)) if lengths is None else Good.forward(self, x, lengths)


def wider(self: Any, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    return torch.cat([Good.forward(self, x, lengths)] * 2, -1)


def dead(self: Any, in_shape: tuple[int, int], n_outputs: int) -> None:
    Good.__init__(self, in_shape, n_outputs)
    self.never = nn.Linear(2, 2)


def unseeded(self: Any, in_shape: tuple[int, int], n_outputs: int) -> None:
    Good.__init__(self, in_shape, n_outputs)
    with torch.no_grad():
        self.line.weight.copy_(torch.empty_like(self.line.weight).uniform_(generator=_OWN))


_OWN = torch.Generator()


def sliding(self: Any, in_shape: tuple[int, int], n_outputs: int) -> None:
    Good.__init__(self, in_shape, n_outputs)
    self.conv = nn.Conv1d(in_shape[0], in_shape[0], 3, padding="same")


def slid(self: Any, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    return Good.forward(self, self.conv(x), lengths)


CLAIMS = {"areas": {"conv": "conv"}, "timing": {"conv": -1}}  # that each step is heard alone


def greedy(self: Any, in_shape: Any, n_outputs: Any, a=1, b=1, c=1, d=1, e=1, f=1, g=1, h=1, i=1) -> None:
    Good.__init__(self, in_shape, n_outputs)


def test_a_good_network_keeps_to_every_rule() -> None:
    kept(check_model(Good, (16, 11), 3, overfit_steps=400))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"__init__": greedy}, "at most 8 arguments"),
        ({"forward": wider}, "right shape"),
        ({"forward": softmax}, "without a softmax"),
        ({"forward": log_softmax}, "without a softmax"),
        ({"forward": loudest}, "never changes another"),
        ({"forward": cut}, "reaches the input"),
        ({"__init__": dead}, "every parameter learns"),
        ({"areas": {"mean": "lime"}}, "areas are there"),
        ({"__init__": sliding, "forward": slid, **CLAIMS}, "times that the gradient finds"),
        ({"forward": deaf}, "lengths"),
        ({"forward": without}, "lengths"),
        ({"forward": padless}, "another shape"),
        ({"__init__": unseeded}, "seed"),
    ],
)
def test_each_rule_can_be_broken(changes: dict[str, Any], rule: str) -> None:
    said = [finding.rule for finding in broken(check_model(variant(**changes), (6, 11), 3))]
    assert any(rule in one for one in said), said


def test_a_network_that_learns_nothing_is_told() -> None:
    class Frozen(Good):
        def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
            return super().forward(0 * x, lengths)

    (finding,) = [one for one in check_model(Frozen, (6, 11), 3, overfit_steps=20) if "by heart" in one.rule]
    assert not finding.kept and "after 20 steps" in finding.said


def test_a_network_that_cannot_be_made_is_told_at_once() -> None:
    def broken_factory(in_shape: Any, n_outputs: int) -> nn.Module:
        raise RuntimeError("no such layer")

    (finding,) = check_model(broken_factory, (6, 11), 3)
    assert finding.said == "RuntimeError: no such layer"


def test_verbs_say_why_not() -> None:
    table = {verb.name: verb for verb in verbs(Good, (6, 11), 3)}
    assert all(verb.can for verb in table.values())
    told = {verb.name: verb for verb in verbs(variant(forward=softmax), (6, 11), 3)}
    assert set(told) == set(table)
    for name in set(told) & {"train", "evaluate", "predict"}:
        assert not told[name].can and "give logits" in told[name].why


def test_where_all_clips_have_one_length_no_verb_asks_for_lengths() -> None:
    deaf = variant(forward=lambda self, x: Good.forward(self, x))
    for one_length in (False, True):
        table = {verb.name: verb for verb in verbs(deaf, (6, 11), 3, one_length=one_length)}
        assert [table[name].can for name in ("train", "evaluate", "predict")] == [one_length] * 3


class Plain(nn.Module):
    """The wave as it comes."""

    def __init__(self, sample_rate: int = 8000) -> None:
        super().__init__()
        self.sample_rate, self.rate = sample_rate, float(sample_rate)

    def steps(self, samples: Any) -> Any:
        return samples

    def forward(self, wave: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return wave


class Normalised(Plain):
    def forward(self, wave: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return wave / wave.abs().max()


class Miscounted(Plain):
    def steps(self, samples: Any) -> Any:
        return samples + 1


class Padded(Plain):
    def forward(self, wave: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return wave - wave.mean(1, keepdim=True)


class Ratio(Plain):
    def forward(self, wave: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return wave / wave.square().mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("feature", "rule"),
    [
        (Normalised, "never changes another"),
        (Miscounted, "as many steps"),
        (Padded, "keeps to lengths"),
        (Ratio, "silence"),
    ],
)
def test_each_rule_for_features_can_be_broken(feature: type, rule: str) -> None:
    kept(check_feature(Plain))
    assert any(rule in one.rule for one in broken(check_feature(feature)))


def test_rules_for_tasks_can_be_broken() -> None:
    from dataclasses import dataclass

    from heschl.tasks.classify import Classify

    @dataclass(frozen=True)
    class Backwards(Classify):
        def loss(self, out: Any, batch: Any) -> torch.Tensor:
            return -super().loss(out, batch)

    @dataclass(frozen=True)
    class AsFound(Classify):
        def bind(self, corpus: Any, train: Any = None, allow_missing: bool = False) -> Any:
            return AsFound(self.label, tuple(dict.fromkeys(clip.labels["word"] for clip in corpus.clips)))

    told = [one.rule for one in broken(check_task(lambda: Backwards("word")))]
    assert any("falls towards the truth" in rule for rule in told)
    told = [one.rule for one in broken(check_task(lambda: AsFound("word")))]
    assert any("fixed order" in rule for rule in told)
    kept(check_task(lambda: Classify("word"), made_up_corpus()))
