"""The ways to explain, by name: one clip never changes another, whatever its length."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from heschl.explanation.lrp import lrp
from heschl.models.kws import KWS
from heschl.models.kws_frames import KWSFrames
from heschl.recipe import Part
from heschl.steps.methods import COMPARED, METHODS, fitting, method_of, quiet, relevance_of
from heschl.types import HeschlError

RATE = 100.0


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return KWS((12, 40), 3, stem=8, width=16, depth=1).eval()


@pytest.mark.parametrize("name", [*METHODS, "lrp:epsilon", "aligned:word"])
def test_a_batch_equals_its_clips(name, network):
    if name in ("deeplift", "gradient_shap"):
        pytest.importorskip("captum")
    way = method_of(name)
    x, target = torch.randn(3, 12, 40), torch.tensor([0, 1, 2])
    x[1] *= 5.0  # whose quiet lies lower than that of the others
    segments = torch.arange(40).div(10, rounding_mode="floor").expand(3, 40)
    both = relevance_of(network, way, x, target, RATE, segments=segments)
    assert both.shape == x.shape and both.flatten(1).any(1).all()
    for k in range(3):
        own = slice(k, k + 1)
        alone = relevance_of(network, way, x[own], target[own], RATE, segments=segments[own])
        assert torch.allclose(both[own], alone, atol=2e-4 * float(alone.abs().max())), k


@pytest.mark.parametrize("name", [*METHODS, "lrp:epsilon_gamma_box", "lrp:epsilon_plus_flat"])
def test_a_clip_in_a_padded_batch_is_explained_as_alone(name):
    if name in ("deeplift", "gradient_shap"):
        pytest.importorskip("captum")
    torch.manual_seed(0)
    network = KWSFrames((12, 60), 3, stem=8, width=16, depth=1).eval()
    way, lengths = method_of(name), torch.tensor([60, 31, 47])
    x = torch.rand(3, 12, 60) + 2.0  # whose quiet lies above the zeros after their ends
    x *= torch.arange(60) < lengths[:, None, None]
    target = torch.where(torch.arange(60) < lengths[:, None], torch.randint(0, 3, (3, 60)), -100)
    segments = torch.arange(60).div(10, rounding_mode="floor").expand(3, 60)
    both = relevance_of(network, way, x, target, RATE, lengths, segments=segments)
    for k, n in enumerate(lengths.tolist()):
        own = slice(k, k + 1)
        alone = relevance_of(
            network, way, x[own, :, :n], target[own, :n], RATE, lengths[own], segments=segments[own, :n]
        )
        assert torch.allclose(both[own, :, :n], alone, atol=5e-4 * float(alone.abs().max())), k
        assert not both[own, :, n:].any()


def test_a_recipe_takes_out_segments_with_settings():
    way = method_of(Part(use="perturb.aligned_occlusion", kind="mel", method="shapley", samples=64))
    assert way.name == "aligned:mel" and way.aligned
    assert way.settings == {"kind": "mel", "method": "shapley", "samples": 64}
    assert method_of("perturb.aligned_occlusion") == method_of("aligned:phone")
    for settings, words in (
        ({"kind": "syllable"}, "no segments 'syllable'"),
        ({"methods": "shapley"}, "did you mean .method."),
        ({"method": "shaply"}, "'shapley'"),
    ):
        with pytest.raises(HeschlError, match=words):
            method_of(Part(use="perturb.aligned_occlusion", **settings))


@pytest.mark.parametrize("name", COMPARED)
def test_what_lies_after_a_clip_s_end_is_nothing_and_changes_nothing(name, network):
    way, lengths = method_of(name), torch.tensor([40, 26])
    x, target = torch.randn(2, 12, 40), torch.tensor([0, 1])
    x[1, :, 26:] = 0.0
    segments = torch.arange(40).div(10, rounding_mode="floor").expand(2, 40).clone()
    segments[1, 26:] = -1
    hidden = torch.zeros_like(x)
    both = relevance_of(network, way, x, target, RATE, lengths, hidden, segments)
    assert not both[1, :, 26:].any()
    cut = (x[1:, :, :26], target[1:], RATE, lengths[1:], hidden[1:, :, :26], segments[1:, :26])
    alone = relevance_of(network, way, *cut)
    assert torch.allclose(both[1:, :, :26], alone, atol=2e-4 * float(alone.abs().max()))


def test_names_are_what_is_called(network):
    x, target = torch.randn(2, 12, 40), torch.tensor([0, 1])
    for preset in ("epsilon", "epsilon_alpha2beta1"):
        assert method_of(f"lrp:{preset}").name == method_of("lrp", preset).name == f"lrp:{preset}"
        found = relevance_of(network, method_of(f"lrp:{preset}"), x, target, RATE)
        assert torch.equal(found, lrp(network, x, target, preset))
    assert method_of("occlusion").name == "occlusion_time" and method_of("lrp").name == "lrp:epsilon_plus"
    ways = [method_of(name) for name in COMPARED]
    assert fitting(ways, x) == ways and len(fitting(ways, torch.randn(2, 1, 400))) == len(ways) - 1
    for name, words in (
        ("lime", "no method 'lime'"),
        ("occlusoin", "did you mean 'occlusion'"),
        ("lrp:epsilon_plsu", "did you mean 'epsilon_plus'"),
        ("aligned:syllable", "no segments 'syllable'"),
    ):
        with pytest.raises(HeschlError, match=words):
            method_of(name)
    with pytest.raises(HeschlError, match="none are known"):
        relevance_of(network, method_of("aligned"), x, target, RATE)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model, x, target: x[:, 0], "gave .3, 40.: relevance has the shape of x"),
        (lambda model, x, target: 1.0, "gave float"),
        (lambda model: None, "failed .TypeError"),
        (lambda model, x, target: x / 0.0, "gave relevance that is not finite"),
    ],
)
def test_a_method_of_ones_own_that_goes_wrong_is_told_in_a_sentence(call, words, network):
    way = method_of("gradient")._replace(name="mine.method", call=call)
    with pytest.raises(HeschlError, match=f"the method mine.method {words}"):
        relevance_of(network, way, torch.randn(3, 12, 40), torch.tensor([0, 1, 2]), RATE)


def test_quiet_is_zero_in_waves_and_each_spectrogram_s_own_lowest():
    x = torch.tensor([[[-80.0, -20.0], [-10.0, -60.0]], [[-30.0, -20.0], [-10.0, -25.0]]])
    assert quiet(x).amax((1, 2)).tolist() == [-80.0, -30.0] and quiet(x).shape == x.shape
    assert not quiet(torch.randn(2, 1, 8)).any()


def test_occlusion_hides_fifty_milliseconds_by_halves_and_a_tenth_of_the_rows():
    asked = {}

    def spy(model: nn.Module, x, target, width: int = 1, step: int | None = None):
        asked.update(width=width, step=step)
        return torch.zeros_like(x)

    for name, wanted in (("occlusion_time", (5, 2)), ("occlusion_frequency", (4, 2))):
        way = method_of(name)._replace(call=spy)
        relevance_of(nn.Identity(), way, torch.randn(1, 40, 60), torch.tensor([0]), RATE)
        assert (asked["width"], asked["step"]) == wanted
