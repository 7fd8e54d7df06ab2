"""AlexNet, both AudioNets and the frame MLP: published sizes, shapes, initialisation, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from heschl.models.alexnet import AlexNet
from heschl.models.audionet import AudioNet
from heschl.models.audionet_v1 import AudioNetV1
from heschl.models.frame_mlp import FrameMLP
from heschl.types import HeschlError


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def shapes(model: nn.Module, x: torch.Tensor) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda _module, _inputs, out, name=name: found.update({name: tuple(out.shape[1:])})
            )
    model.eval()
    with torch.no_grad():
        model(x)
    return found


def test_alexnet_is_the_published_one() -> None:
    model = AlexNet((1, 227, 227), 10)
    assert count(model) == 12_808_906
    assert count(AlexNet((1, 227, 227), 2)) == 12_800_706
    # audioM's fourth convolution has one group: it sees all 384 channels instead of 192.
    assert count(AlexNet((1, 227, 227), 10, groups=(2, 1, 2))) == 12_808_906 + 384 * 192 * 9
    found = shapes(model, torch.zeros(1, 1, 227, 227))
    by_hand = {
        "features.conv1": (96, 55, 55),
        "features.pool1": (96, 27, 27),
        "features.conv2": (256, 27, 27),
        "features.pool2": (256, 13, 13),
        "features.conv3": (384, 13, 13),
        "features.conv4": (384, 13, 13),
        "features.conv5": (256, 13, 13),
        "features.pool5": (256, 6, 6),
        "flatten": (9216,),
        "classifier.fc6": (1024,),
        "classifier.fc7": (1024,),
        "classifier.fc8": (10,),
    }
    assert {name: found[name] for name in by_hand} == by_hand
    groups = {name: layer.groups for name, layer in model.features.named_children() if "conv" in name}
    assert groups == {"conv1": 1, "conv2": 2, "conv3": 1, "conv4": 2, "conv5": 2}


def test_alexnet_begins_as_caffe_does() -> None:
    torch.manual_seed(0)
    model = AlexNet((1, 227, 227), 10)
    layers = dict([*model.features.named_children(), *model.classifier.named_children()])
    deviations = dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "conv5", "fc8"), 0.01)
    for name, deviation in (deviations | {"fc6": 0.005, "fc7": 0.005}).items():
        weight = layers[name].weight.detach().numpy().ravel()[:200_000]
        assert stats.kstest(weight, "norm", args=(0, deviation)).pvalue > 1e-3, name
        bias = 0.1 if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0
        assert set(layers[name].bias.tolist()) == {np.float32(bias).item()}, name


def test_alexnet_takes_a_spectrogram_without_channels_and_any_width() -> None:
    model = AlexNet((80, 101), 4, width=0.125, init="he").eval()
    x = torch.randn(2, 80, 101)
    assert model(x).shape == (2, 4)
    assert count(model) < 300_000
    with pytest.raises(HeschlError, match="at least 67 x 67"):
        AlexNet((66, 101), 4)
    AlexNet((67, 67), 4, width=0.125)
    with pytest.raises(HeschlError, match=r"takes \(batch, 80, 101\)"):
        model(torch.zeros(2, 80, 100))
    with pytest.raises(HeschlError, match="set `clip.seconds`"):
        model(x, torch.tensor([101, 90]))


@pytest.mark.parametrize(("n_outputs", "parameters"), [(10, 17_107_162), (2, 17_103_058)])
def test_audionet_is_the_published_one(n_outputs: int, parameters: int) -> None:
    model = AudioNet((1, 8000), n_outputs)
    assert count(model) == parameters
    found = shapes(model, torch.zeros(1, 1, 8000))
    for k, (channels, steps) in enumerate(
        zip((100, 64, 128, 128, 128, 128), (4000, 2000, 1000, 500, 250, 125)), 1
    ):
        assert found[f"features.conv{k}"] == (channels, 2 * steps)
        assert found[f"features.pool{k}"] == (channels, steps)
    assert found["classifier.fc7"] == (1024,) and found["classifier.fc9"] == (n_outputs,)
    assert not any("relu" in name for name in found if name.startswith("classifier"))
    weight = model.classifier.fc7.weight.detach().numpy().ravel()[:200_000]
    assert stats.kstest(weight, "norm", args=(0, 0.1)).pvalue > 1e-3
    assert not model.features.conv3.bias.any()


@pytest.mark.parametrize("samples", [64, 65, 127, 128, 999, 1000])
@pytest.mark.parametrize("pool1", [2, 3])
def test_audionet_of_any_length(samples: int, pool1: int) -> None:
    """The dense layer's size is foreseen as the pools really leave it, also where the first hangs over the end."""
    model = AudioNet((1, samples), 3, pool1=pool1, width=0.05, dense_relu=True, init="he").eval()
    assert model(torch.randn(2, 1, samples)).shape == (2, 3)
    assert hasattr(model.classifier, "relu7")


def test_audionet_may_keep_the_weights_that_torch_draws() -> None:
    """Uniform within the inverse root of the inputs, biases too (https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html)."""
    model = AudioNet((1, 1000), 3, width=0.25, init="torch")
    for layer, inputs in ((model.features.conv4, 3 * 32), (model.classifier.fc8, 256)):
        assert (
            stats.kstest(layer.weight.detach().numpy().ravel() * inputs**0.5, "uniform", (-1, 2)).pvalue
            > 1e-3
        )
        assert 0 < layer.bias.abs().max() <= inputs**-0.5


def test_audionets_refuse() -> None:
    with pytest.raises(HeschlError, match="at least 64"):
        AudioNet((1, 62), 3)
    with pytest.raises(HeschlError, match="choose 'caffe', 'he' or 'torch'"):
        AudioNet((1, 64), 3, init="zeros")  # type: ignore[arg-type]
    with pytest.raises(HeschlError, match=r"\(batch, 1, 640\)"):
        AudioNet((1, 640), 3, width=0.01)(torch.zeros(2, 640))
    with pytest.raises(HeschlError, match="at least 10572 samples"):
        AudioNetV1((1, 10571), 3, channels=2)
    assert AudioNetV1((1, 10572), 3, channels=2)(torch.zeros(1, 1, 10572)).shape == (1, 3)


def test_audionet_v1_is_the_published_one() -> None:
    torch.manual_seed(0)
    model = AudioNetV1((1, 16000), 31)
    assert count(model) == 9_988_895
    found = shapes(model, torch.zeros(1, 1, 16000))
    steps = [found[f"features.conv{k}"] for k in (1, 2, 3, 4, 5)]
    assert steps == [(256, 3993), (256, 991), (256, 240), (256, 53), (256, 6)]
    assert found["flatten"] == (1536,)
    dropouts = [name for name in found if "drop" in name]
    assert dropouts == [f"classifier.drop{k}" for k in (6, 7, 8)]
    # Keras's Glorot: limits sqrt(6 / (fan in + fan out)); normals of variance 2 / the same, none beyond two of them.
    for layer, fans in ((model.features.conv1, 32 + 32 * 256), (model.classifier.fc6, 1536 + 512)):
        limit = (6 / fans) ** 0.5
        weight = layer.weight.detach().numpy().ravel()
        assert stats.kstest(weight, "uniform", args=(-limit, 2 * limit)).pvalue > 1e-3
    weight = model.features.conv3.weight.detach().numpy().ravel()[:200_000]
    assert stats.kstest(weight / (2 / (2 * 32 * 256)) ** 0.5, "truncnorm", args=(-2, 2)).pvalue > 1e-3
    assert not any(layer.bias.any() for layer in model.modules() if hasattr(layer, "bias"))


def test_frame_mlp_is_the_published_one() -> None:
    model = FrameMLP((51, 40), 71, widths=(1024, 1024, 1024, 512))
    assert count(model) == 4_757_575
    kinds = [type(layer).__name__ for layer in model.hidden[0]]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert list(model.areas) == ["hidden1", "hidden2", "hidden3", "hidden4"]


def test_frame_mlp_equals_matrices_multiplied() -> None:
    torch.manual_seed(0)
    model = FrameMLP((3, 4), 5, widths=(7,), norm="none").double().eval()
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    w, b, v, c = (parameter.detach().numpy() for parameter in model.parameters())
    expected = np.maximum(x.reshape(6, 12).numpy() @ w.T + b, 0) @ v.T + c
    np.testing.assert_allclose(model(x).detach(), expected, atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("widths", [(), (8,), (9, 4, 6)])
def test_frame_mlp_of_any_widths(norm: str, widths: tuple[int, ...]) -> None:
    model = FrameMLP((5, 3), 4, widths=widths, norm=norm, dropout=0.0)
    assert model(torch.randn(2, 5, 3)).shape == (2, 4)
    assert len(model.areas) == len(widths)
    assert FrameMLP.areas == {}
    for path in model.areas.values():
        assert isinstance(model.get_submodule(path), nn.ReLU)


def test_frame_mlp_refuses() -> None:
    with pytest.raises(HeschlError, match="widths"):
        FrameMLP((5, 3), 4, widths=(0,))
    with pytest.raises(HeschlError, match="'batch', 'layer' or 'none'"):
        FrameMLP((5, 3), 4, norm="group")  # type: ignore[arg-type]
    with pytest.raises(HeschlError, match=r"\(batch, 5, 3\)"):
        FrameMLP((5, 3), 4)(torch.zeros(2, 3, 5))
    with pytest.raises(HeschlError, match="0 outputs"):
        FrameMLP((5, 3), 0)
