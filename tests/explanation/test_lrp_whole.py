"""lrp of whole networks, and through front ends to the wave, against explicit messages of the whole way."""

from __future__ import annotations

import lrp_oracle as oracle
import lrp_whole as whole
import numpy as np
import pytest
import torch
from torch import nn

from heschl.explanation.lrp import PRESETS, lrp, rules
from heschl.explanation.lrp import norms as lrp_norms
from heschl.explanation.lrp import pointwise as lrp_pointwise
from heschl.explanation.lrp import recurrent as lrp_recurrent
from heschl.explanation.lrp import signals as lrp_signals
from heschl.explanation.lrp import tape as lrp_tape
from heschl.explanation.lrp.handlers import HANDLERS
from heschl.features.spectrogram import AudioMnistSpectrogram, LogMel, LogSpectrogram, WaveGradMel
from heschl.models.crnn import CRNN
from heschl.models.frame_lstm import FrameLSTM

NEAR = 1e-6  # of the largest relevance of the clip (design.md)


def error(model, x, target, wholes, **options):
    """The largest difference over clips, relative to the largest relevance of each; each clip has its own oracle."""
    given = lrp(model, x, target, **options).numpy()
    worst = 0.0
    for k, one in enumerate(wholes):
        wanted = whole.relevance(one, x[k].numpy(), target[k].numpy())
        assert np.abs(wanted).max() > 1e-6
        worst = max(worst, np.abs(given[k] - wanted).max() / np.abs(wanted).max())
    return worst


def ready(model, seed=0):
    """In double precision and eval mode, its norms with statistics of their own, weights large enough to tell rules apart."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
    return model.double().eval().requires_grad_(False)


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- networks


def crnn(**options):
    torch.manual_seed(0)
    return ready(CRNN((9, 7), 4, hidden_1=5, hidden_2=4, kernel=4, **options)), noise(2, 9, 7)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("options", [{}, {"fc1": 6}, {"sweep": "frequency"}], ids=["", "fc1", "frequency"])
def test_the_whole_crnn(preset, options):
    model, x = crnn(**options)
    y = [whole.crnn(model, preset)(clip)[0] for clip in x.numpy()]
    assert np.allclose(model(x).numpy(), y, atol=1e-12)
    assert error(model, x, torch.tensor([2, 0]), [whole.crnn(model, preset)] * 2, preset=preset) < NEAR


@pytest.mark.parametrize("preset", PRESETS)
def test_the_crnn_hears_each_clip_to_its_own_end(preset):
    model, x = crnn()
    lengths = torch.tensor([7, 4])
    x[1, :, 4:] = -9.0
    wholes = [whole.cut(whole.crnn(model, preset), n) for n in (7, 4)]
    assert error(model, x, torch.tensor([2, 0]), wholes, preset=preset, lengths=lengths) < NEAR


def frames(time, **options):
    torch.manual_seed(0)
    model = ready(FrameLSTM((6, 9), 3, stem=2, width=3, depth=1, **options))
    x = noise(2, 6, time)
    target = torch.randint(0, 3, (2, time), generator=torch.Generator().manual_seed(2))
    target[0, 2] = target[1, 0] = -100
    return model, x, target


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("time", [5, 6])
def test_the_whole_frame_lstm(preset, time):
    model, x, target = frames(time)
    y = [whole.frame_lstm(model, preset)(clip)[0] for clip in x.numpy()]
    assert np.allclose(model(x).logits.numpy(), y, atol=1e-12)
    assert error(model, x, target, [whole.frame_lstm(model, preset)] * 2, preset=preset) < NEAR


@pytest.mark.parametrize("preset", PRESETS)
def test_the_frame_lstm_hears_each_clip_to_its_own_end(preset):
    model, x, target = frames(7, branches=1)
    lengths = torch.tensor([7, 4])
    x[1, :, 4:], target[1, 4:] = 2.0, -100  # what lies beyond is not heard, whatever it is
    wholes = [whole.cut(whole.frame_lstm(model, preset), n) for n in (7, 4)]
    assert error(model, x, target, wholes, preset=preset, lengths=lengths) < NEAR


# ---- front ends, and networks that hear through them


class Heard(nn.Module):
    """A network that hears a wave (batch, time) through a front end."""

    def __init__(self, front, network):
        super().__init__()
        self.front, self.network = front, network
        self.eval()

    def forward(self, wave, lengths=None):
        return self.network(self.front(wave) if lengths is None else self.front(wave, lengths))


def dense(shape, outputs=3):
    """Flatten and a dense layer, and their oracle."""
    torch.manual_seed(3)
    network = ready(nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), outputs)))
    return network, lambda x: oracle.chain(list(network), x, lambda k, m: ("epsilon",))


MEL = {"sample_rate": 1000, "n_mels": 3, "window": 0.020, "hop": 0.010, "floor": 1e-2}
MODES = ["none", "mean", "energy", "level", "mean_variance", "standard"]


def mel(normalise, valid=None):
    return whole.log_mel(1000, 3, 20, 10, 32, 1e-2, normalise, valid)


@pytest.mark.parametrize("normalise", MODES)
def test_log_mel(normalise):
    front, x = LogMel(**MEL, normalise=normalise), noise(6, 52)  # six: the spectra are made in two parts
    assert np.allclose(front(x)[5].numpy(), mel(normalise)(x[5].numpy())[0], atol=1e-9)
    network, theirs = dense(front(x).shape[1:])
    target = torch.arange(6) % 3
    assert (
        error(Heard(front, network), x, target, [whole.both(mel(normalise), theirs)] * 6, preset="epsilon")
        < NEAR
    )


@pytest.mark.parametrize("normalise", ["energy", "standard"])
def test_log_mel_of_clips_of_different_lengths(normalise):
    front, x, lengths = LogMel(**MEL, normalise=normalise), noise(2, 52), torch.tensor([52, 27])
    x[1, 27:] = 0
    network, theirs = dense((3, 6))
    wholes = [whole.both(mel(normalise, n), theirs) for n in (6, 3)]
    options = {"preset": "epsilon", "lengths": lengths}
    assert error(Heard(front, network), x, torch.tensor([1, 2]), wholes, **options) < NEAR


def over_wavegrad(preset):
    """A small network over WaveGrad's picture of 1,100 samples, (128, 4), and its oracle."""
    torch.manual_seed(0)
    network = ready(nn.Sequential(nn.Conv1d(128, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(9, 3)))
    first, _ = whole.rules(preset)

    def theirs(x):
        return oracle.chain(
            list(network),
            x,
            lambda k, m: (first, *(whole.box(x) if first == "zbox" else ())) if k == 0 else ("epsilon",),
        )

    return Heard(WaveGradMel(), network), whole.both(whole.wavegrad(), theirs)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_from_the_wave_through_wavegrads_mel(preset):
    network, theirs = over_wavegrad(preset)
    x = 0.4 * noise(1, 1100)  # some samples lie beyond 1, some cells at the floor
    x[:, 290:] *= 1e-9
    shown = network.front(x)[0].numpy()
    assert np.allclose(shown, whole.wavegrad()(x[0].numpy())[0], atol=1e-9)
    assert float(x.abs().max()) > 1 and (shown == 0).any() and (shown > 0).any()
    assert error(network, x, torch.tensor([1]), [theirs], preset=preset) < NEAR


@pytest.mark.parametrize("preset", PRESETS)
def test_from_the_wave_through_log_mel_and_crnn(preset):
    front, x = LogMel(**MEL, normalise="mean"), noise(2, 52)
    torch.manual_seed(0)
    network = ready(CRNN((3, 6), 4, hidden_1=3, hidden_2=3, kernel=2, channels=2))
    wholes = [whole.both(mel("mean"), whole.crnn(network, preset))] * 2
    assert error(Heard(front, network), x, torch.tensor([3, 1]), wholes, preset=preset) < NEAR


@pytest.mark.parametrize("preset", PRESETS)
def test_from_the_wave_through_log_mel_and_frame_lstm(preset):
    front, x = LogMel(**MEL), noise(1, 42)
    torch.manual_seed(0)
    network = ready(FrameLSTM((3, 5), 3, stem=1, width=2, depth=1))
    wholes = [whole.both(mel("none"), whole.frame_lstm(network, preset))]
    assert error(Heard(front, network), x, torch.tensor([[0, 1, 2, -100, 1]]), wholes, preset=preset) < NEAR


@pytest.mark.parametrize(("scale", "unit"), [(1.0, False), (30.0, True)])
def test_from_the_wave_through_audiomnists_spectrogram(scale, unit):
    front, x = AudioMnistSpectrogram(scale=scale, unit=unit), 0.1 * noise(2, 8000)
    x[0, 3000:5000] *= 1e-5  # far below the peak: cut at -80 dB
    x[1, 4000:] = 0
    ours = front(x)
    theirs = whole.audiomnist(scale, unit)
    assert (ours[0] == ours[0].min()).sum() > 1000
    assert np.allclose(ours[0].numpy(), theirs(x[0].numpy())[0], atol=1e-8)
    torch.manual_seed(0)
    network = ready(
        nn.Sequential(nn.AvgPool2d(25), nn.Conv2d(1, 2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3))
    )
    layers = list(network)
    wholes = [whole.both(theirs, lambda x: oracle.chain(layers, x, lambda k, m: ("epsilon",)))] * 2
    assert error(Heard(front, network), x, torch.tensor([2, 1]), wholes, preset="epsilon") < NEAR


@pytest.mark.parametrize("standardise", [False, True])
def test_from_the_wave_through_the_crnns_own_spectrogram(standardise):
    front, x = LogSpectrogram(1000, standardise=standardise), 0.1 * noise(2, 256 + 2 * 224)
    theirs = whole.log_spectrogram(1000, 32768, standardise)
    assert np.allclose(front(x)[0].numpy(), theirs(x[0].numpy())[0], atol=1e-8)
    torch.manual_seed(0)
    network = ready(CRNN((129, 3), 4, hidden_1=3, hidden_2=3, kernel=10, channels=1))
    wholes = [whole.both(theirs, whole.crnn(network, "epsilon_plus"))] * 2
    assert error(Heard(front, network), x, torch.tensor([3, 1]), wholes, preset="epsilon_plus") < NEAR


# ---- z-box behind a front end: the extremes are the clip's, however a network folds time into its batch


class Folded(nn.Module):
    """One convolution over each step of x (batch, frequency, time), the steps first or second in the batch."""

    def __init__(self, steps_first):
        super().__init__()
        self.conv, self.out, self.steps_first = nn.Conv1d(1, 2, 3), nn.Linear(48, 3), steps_first

    def forward(self, x):
        x = torch.where(x > -1, 2 * x + 1, 1.0)  # 1.0 is no clip's number
        batch, frequency, time = x.shape
        steps = x.permute(2, 0, 1) if self.steps_first else x.transpose(1, 2)
        y = torch.tanh(self.conv(steps.reshape(-1, 1, frequency)))
        y = (
            y.unflatten(0, (time, batch)).transpose(0, 1)
            if self.steps_first
            else y.unflatten(0, (batch, time))
        )
        return self.out(y.flatten(1))


def test_the_box_is_the_clips_however_a_network_folds_its_steps():
    torch.manual_seed(0)
    first, x, target = ready(Folded(True)), noise(2, 6, 6), torch.tensor([2, 0])
    x[1] *= 3
    second = Folded(False)
    second.load_state_dict(first.state_dict())
    one = lrp(first, x, target, "epsilon_gamma_box")
    other = lrp(second.double().eval(), x, target, "epsilon_gamma_box")
    assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)
    alone = torch.cat([lrp(first, x[k : k + 1], target[k : k + 1], "epsilon_gamma_box") for k in range(2)])
    assert torch.allclose(one, alone, rtol=1e-9, atol=1e-12)


# ---- the comparison catches what is wrong


def fault(monkeypatch, name):
    """Break heschl in one way."""
    right = dict(rules._RULES)
    if name == "z+ as epsilon":
        monkeypatch.setitem(rules._RULES, "zplus", right["epsilon"])
    elif name == "extremes of each step":
        own = lrp_signals.own_extremes
        monkeypatch.setattr(lrp_tape, "own_extremes", lambda x, *_: own(x, None))
    elif name == "a recurrence that forgets":
        monkeypatch.setattr(lrp_recurrent, "stab", lambda z: 2 * z)
    elif name == "BatchNorm apart":
        monkeypatch.setattr(lrp_norms, "_channels_lead", lambda layer, a: False)
    elif name == "terms share alike":
        monkeypatch.setattr(
            lrp_pointwise, "product", lambda t, s: torch.ones_like(t) * s / 2 if t.ndim > 1 else t * s
        )
    elif name == "the peak is a constant":
        monkeypatch.setitem(
            HANDLERS, "amax", lambda tape, func, args, kwargs: func(args[0].detach(), *args[1:], **kwargs)
        )
    elif name == "the floor takes nothing":
        right_add = HANDLERS["add"]

        def broken(tape, func, args, kwargs):
            if lrp_pointwise.mark_of(args[1]) is None:
                return HANDLERS["clamp"](tape, lambda x: x + args[1], args[:1], {})
            return right_add(tape, func, args, kwargs)

        monkeypatch.setitem(HANDLERS, "add", broken)
    elif name == "what is mirrored gets nothing":

        def middle_only(tape, func, args, kwargs):
            x, (before, after) = args[0], args[1]
            give = lambda r: (r[..., before : r.shape[-1] - after],)  # noqa: E731
            return tape.emit(func(x.detach(), *args[1:], **kwargs), [x], give)

        monkeypatch.setitem(HANDLERS, "pad", middle_only)
    elif name == "magnitude by its real part":

        def real_part(tape, func, args, kwargs):
            give = lambda r: (torch.complex(r, torch.zeros_like(r)),)  # noqa: E731
            return tape.emit(func(args[0].detach()), [args[0]], give)

        monkeypatch.setitem(HANDLERS, "abs", real_part)


@pytest.mark.parametrize("name", ["z+ as epsilon", "a recurrence that forgets"])
def test_a_wrong_crnn_is_caught(monkeypatch, name):
    model, x = crnn()
    fault(monkeypatch, name)
    wholes = [whole.crnn(model, "epsilon_plus")] * 2
    assert error(model, x, torch.tensor([2, 0]), wholes, preset="epsilon_plus") > 1e-3


@pytest.mark.parametrize("name", ["BatchNorm apart", "a recurrence that forgets", "terms share alike"])
def test_a_wrong_frame_lstm_is_caught(monkeypatch, name):
    model, x, target = frames(6)
    fault(monkeypatch, name)
    wholes = [whole.frame_lstm(model, "epsilon_plus")] * 2
    assert error(model, x, target, wholes, preset="epsilon_plus") > 1e-3


@pytest.mark.parametrize("name", ["extremes of each step", "the floor takes nothing", "terms share alike"])
def test_a_wrong_log_mel_is_caught(monkeypatch, name):
    front, x = LogMel(**MEL), noise(2, 52)
    torch.manual_seed(0)
    network = ready(CRNN((3, 6), 4, hidden_1=3, hidden_2=3, kernel=2, channels=2))
    fault(monkeypatch, name)
    wholes = [whole.both(mel("none"), whole.crnn(network, "epsilon_gamma_box"))] * 2
    assert error(Heard(front, network), x, torch.tensor([3, 1]), wholes, preset="epsilon_gamma_box") > 1e-3


@pytest.mark.parametrize("name", ["the peak is a constant", "terms share alike"])
def test_a_wrong_audiomnist_spectrogram_is_caught(monkeypatch, name):
    front, x = AudioMnistSpectrogram(), 0.1 * noise(1, 8000)
    network = ready(nn.Sequential(nn.AvgPool2d(25), nn.Flatten(), nn.Linear(81, 3)))
    chain = lambda x: oracle.chain(list(network), x, lambda k, m: ("epsilon",))  # noqa: E731
    wholes = [whole.both(whole.audiomnist(1.0, False), chain)]
    assert error(Heard(front, network), x, torch.tensor([2]), wholes, preset="epsilon") < NEAR
    fault(monkeypatch, name)
    assert error(Heard(front, network), x, torch.tensor([2]), wholes, preset="epsilon") > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["magnitude by its real part", "the floor takes nothing", "what is mirrored gets nothing"]
)
def test_a_wrong_wavegrad_is_caught(monkeypatch, name):
    network, theirs = over_wavegrad("epsilon")
    fault(monkeypatch, name)
    x = 0.1 * noise(1, 1100)
    assert error(network, x, torch.tensor([1]), [theirs], preset="epsilon") > 1e-3
