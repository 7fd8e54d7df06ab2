"""A clip in a padded batch is explained as it is alone: padding gets nothing, and changes nothing."""

from __future__ import annotations

import inspect
import warnings

import pytest
import torch
from lrp_helpers import refused, shipped
from torch import nn
from torch.nn import functional as F

from heschl.explanation.lrp import PRESETS, lrp
from heschl.features.spectrogram import LogMel, WaveGradMel
from heschl.models.frame_lstm import FrameLSTM
from heschl.models.frame_mlp import FrameMLP
from heschl.models.kws import KWS
from heschl.steps.inputs import Windows
from heschl.types import HeschlError

HEAR = [
    one for one in shipped() if "lengths" in inspect.signature(one.values[0].forward).parameters
]  # the others hear clips of one length
WEIGHTS = ["flat", "w2", "zbox"]


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def apart(network, x, lengths, targets, preset="epsilon_plus", **options):
    """The largest difference of a clip in its batch from the same clip alone, relative to the clip's largest relevance.

    targets: (clip,) or (clip, frame).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = lrp(network, x, targets, preset, lengths=lengths, **options)
        worst = 0.0
        for k, n in enumerate(lengths.tolist()):
            one = slice(k, k + 1)
            target = (
                targets[one, : -(-n * targets.shape[1] // x.shape[-1])] if targets.ndim == 2 else targets[one]
            )
            alone = lrp(network, x[one, ..., :n], target, preset, lengths=lengths[one], **options)
            assert float(alone.abs().max()) > 0 and not together[k, ..., n:].any()
            worst = max(worst, float((together[one, ..., :n] - alone).abs().max() / alone.abs().max()))
    return worst


def norms(network, seed=0):
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.double().eval()


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("kind", "example"), HEAR)
def test_every_shipped_network_explains_a_padded_clip_as_it_does_alone(kind, example, preset):
    shape, outputs, *options = example
    torch.manual_seed(0)
    network = norms(kind(shape, outputs, **(options[0] if options else {})))
    whole = shape[-1]
    lengths = torch.tensor([whole, whole // 2 + 1, whole // 2, 2 * whole // 3])
    x = noise(4, *shape)
    for k, n in enumerate(lengths.tolist()):
        x[k, ..., n:] = (-7.0, 0.0, 7.0, 7.0)[k]
    try:
        with torch.no_grad():
            out = network(x, lengths=lengths)
    except HeschlError as error:
        assert "one length" in str(error)  # said, not done wrongly
        return
    if kind.__name__ == "FrameMLP":
        return  # its windows are whole: of lengths it knows nothing
    logits = out if isinstance(out, torch.Tensor) else out[0]
    target = torch.arange(4) % outputs
    if logits.ndim == 3:
        target = target[:, None].expand(logits.shape[:2]).clone()
        target[torch.arange(logits.shape[1]) >= lengths[:, None]] = -100
    assert apart(network, x, lengths, target, preset) < 1e-9


class Masked(nn.Module):
    """Two convolutions; what lies beyond a clip is hidden in one way or another, before each or only after."""

    def __init__(self, hide, first=True):
        super().__init__()
        self.hide, self.first = hide, first
        self.one, self.two = nn.Conv1d(2, 3, 3, padding=1), nn.Conv1d(3, 3, 5, padding=2)
        self.out = nn.Linear(3, 3)

    def forward(self, x, lengths):
        mask = (torch.arange(x.shape[-1]) < lengths[:, None])[:, None]
        if self.first:
            x = self.hide(x, mask)
        x = self.hide(F.relu(self.one(x)), mask)
        x = self.hide(self.two(x), mask)
        return self.out(x.sum(-1) / lengths[:, None])


HIDES = {
    "product": lambda x, mask: x * mask,
    "product of floats": lambda x, mask: mask.to(x.dtype) * x,
    "masked_fill": lambda x, mask: x.masked_fill(~mask, 0.0),
    "masked_fill_": lambda x, mask: x.clone().masked_fill_(~mask, 0.0),
    "where": lambda x, mask: torch.where(mask, x, torch.zeros_like(x)),
    "where, a number": lambda x, mask: torch.where(mask, x, 0.0),
    "moved about": lambda x, mask: (x.transpose(1, 2).unsqueeze(0) * mask.mT)[0].transpose(1, 2).contiguous(),
    "and added": lambda x, mask: (x * mask + x * mask) / 2,
    "and cut": lambda x, mask: torch.cat(torch.split(x * mask, 1, 1), 1),
}


@pytest.mark.parametrize("rule", ["epsilon", *WEIGHTS])
@pytest.mark.parametrize("name", HIDES)
def test_however_a_network_hides_padding(name, rule):
    torch.manual_seed(0)
    network, lengths = Masked(HIDES[name]).double().eval(), torch.tensor([9, 5, 6])
    x = noise(3, 2, 9)
    x[1, :, 5:], x[2, :, 6:] = 4.0, -4.0
    assert apart(network, x, lengths, torch.tensor([0, 1, 2]), rules={nn.Conv1d: rule}) < 1e-12


@pytest.mark.parametrize("rule", WEIGHTS)
def test_zeros_beyond_a_clip_are_no_inputs_where_a_network_hides_nothing_of_x(rule):
    torch.manual_seed(0)
    network, lengths = Masked(HIDES["product"], first=False).double().eval(), torch.tensor([9, 5])
    x = noise(2, 2, 9)
    x[1, :, 5:] = 0
    for low, high in ((None, None), (-5.0, 5.0)):
        ends = {"low": low, "high": high} if rule == "zbox" else {}
        assert apart(network, x, lengths, torch.tensor([0, 1]), rules={"one": rule}, **ends) < 1e-12


@pytest.mark.parametrize("preset", PRESETS)
def test_windows_at_the_end_of_a_clip(preset):
    torch.manual_seed(0)
    network = Windows(norms(FrameMLP((5, 4), 3, widths=(8, 7))), 2).eval()
    x, lengths, target = noise(2, 4, 9) + 3, torch.tensor([9, 6]), torch.full((2, 9), 1)
    x[1, :, 6:], target[1, 6:] = 0, -100
    assert apart(network, x, lengths, target, preset) < 1e-12


def test_lengths_for_other_clips_are_refused():
    network = Masked(HIDES["product"]).double().eval()
    refused("lengths is of shape", network, noise(2, 2, 9), torch.tensor([0, 1]), lengths=torch.tensor([9]))


@pytest.mark.parametrize("rule", ["epsilon", "zplus", *WEIGHTS])
def test_padding_by_a_layer_of_its_own_is_padding(rule):
    """As torch pads by itself: zeros are no inputs, whoever puts them beside the clip."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, stride=2, padding=(1, 2))
    bare = nn.Conv2d(2, 3, 3, stride=2)
    bare.load_state_dict(conv.state_dict())
    x, target, rest = noise(2, 2, 6, 5) + 2, torch.tensor([0, 1]), [nn.Flatten(), nn.Linear(36, 3)]
    one = nn.Sequential(conv, *rest).double().eval()
    other = nn.Sequential(nn.ZeroPad2d((2, 2, 1, 1)), bare, *rest).double().eval()
    given, wanted = (lrp(net, x, target, rules={nn.Conv2d: rule}) for net in (other, one))
    assert torch.allclose(given, wanted, rtol=1e-12, atol=1e-15)


def test_a_window_that_fades_is_no_mask():
    """A product with zeros among other numbers: the places are inputs, as flat counts them."""
    torch.manual_seed(0)
    fade = torch.hann_window(6, dtype=torch.float64)
    dense = nn.Linear(6, 3).double()

    class Faded(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = dense

        def forward(self, x):
            return self.dense(x * fade)

    x, target = noise(1, 6), torch.tensor([1])
    given = lrp(Faded().eval(), x, target, rules={"dense": "flat"}, start="one")
    assert torch.allclose(given, (fade != 0).double() / (6 + 1e-6))


class Heard(nn.Module):
    def __init__(self, front, network):
        super().__init__()
        self.front, self.network = front, network

    def forward(self, wave, lengths=None):
        steps = None if lengths is None else self.front.steps(lengths)
        return self.network(self.front(wave, lengths), steps)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("normalise", ["none", "mean", "energy", "mean_variance", "standard"])
def test_waves_of_different_lengths_through_log_mel(normalise, preset):
    front = LogMel(1000, 8, window=0.020, hop=0.010, floor=1e-2, normalise=normalise)
    torch.manual_seed(0)
    network = Heard(front, norms(FrameLSTM((8, 16), 3, branches=1, stem=4, width=6, depth=1))).eval()
    wave, lengths = noise(3, 150), torch.tensor([150, 77, 90])
    wave *= torch.arange(150) < lengths[:, None]
    one = torch.full((3, 16), -100)
    for k, n in enumerate(front.steps(lengths).tolist()):
        one[k, :n] = k
    together = lrp(network, wave, one, preset, lengths=lengths)
    for k, n in enumerate(lengths.tolist()):
        target = one[k : k + 1, : int(front.steps(n))]
        alone = lrp(network, wave[k : k + 1, :n], target, preset, lengths=lengths[k : k + 1])
        assert (together[k, :n] - alone[0]).abs().max() < 1e-9 * alone.abs().max() > 0
        assert not together[k, n:].any()


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_waves_of_different_lengths_through_wavegrad(preset):
    torch.manual_seed(0)
    network = Heard(WaveGradMel(), norms(KWS((128, 11), 4, stem=2, width=8, depth=1))).eval()
    wave, lengths = 0.1 * noise(2, 3000), torch.tensor([3000, 2050])
    wave[1, 2050:] = 0
    assert apart(network, wave, lengths, torch.tensor([1, 3]), preset) < 1e-9
