from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heschl.features.vad import (
    Detected,
    Wav2Vec2Speech,
    cut_silence,
    energy,
    speech,
)
from heschl.types import HeschlError

RATE = 16000


def talk(spans: list[tuple[float, float]], seconds: float = 4.0, floor: float = 1e-3) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    time = torch.arange(round(seconds * RATE)) / RATE
    voice = 0.2 * torch.sin(2 * torch.pi * 150 * time) * (1 + torch.randn(len(time), generator=random))
    on = torch.zeros_like(time)
    for start, stop in spans:
        on[(time >= start) & (time < stop)] = 1
    return on * voice + floor * torch.randn(len(time), generator=random)


def scripted(values: list[float], rate: float = 10.0) -> Any:
    return lambda wave, _: Detected(np.array(values), rate, 0.05)


@pytest.mark.parametrize("gain", [1.0, 1e-2])
def test_speech_is_found_where_it_is(gain: float) -> None:
    truth = [(0.5, 1.2), (1.8, 3.1)]
    found = speech(gain * talk(truth), RATE, pad=0.0)
    assert len(found) == 2
    for (start, stop), (low, high) in zip(truth, found, strict=True):
        assert abs(start - low) < 0.03 and abs(stop - high) < 0.03


def test_clips_without_contrast() -> None:
    assert speech(torch.zeros(RATE), RATE) == []
    (whole,) = speech(0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(0)), RATE)
    assert whole == (0.0, 1.0)
    assert energy(torch.ones(3), RATE).probability.shape == (1,)
    assert speech(np.zeros(10, np.int16), RATE) == []


def test_real_words(shared: Path) -> None:
    import soundfile

    path = sorted((shared / "data" / "ae_hand_phones").glob("*.wav"))[0]
    wave, rate = soundfile.read(path, dtype="float32")
    spans = speech(wave, rate)
    assert 0.3 < sum(stop - start for start, stop in spans) / (len(wave) / rate) < 1.0


def test_hysteresis_gaps_and_lengths() -> None:
    wave = torch.ones(RATE * 2)
    values = [0.1, 0.7, 0.5, 0.5, 0.3, 0.9, 0.1, 0.1, 0.1, 0.5, 0.7, 0.1, 0, 0, 0, 0, 0.9, 0.9, 0.9, 0.9]

    def at(**options: float) -> list[tuple[float, float]]:
        found = speech(wave, RATE, scripted(values), **{"least": 0.0, "gap": 0.0, "pad": 0.0, **options})
        return [(round(start, 6), round(stop, 6)) for start, stop in found]

    assert at() == [(0.1, 0.4), (0.5, 0.6), (1.0, 1.1), (1.6, 2.0)]
    assert at(gap=0.15) == [(0.1, 0.6), (1.0, 1.1), (1.6, 2.0)]
    assert at(least=0.25) == [(0.1, 0.4), (1.6, 2.0)]
    assert at(pad=0.06) == [(0.04, 0.66), (0.94, 1.16), (1.54, 2.0)]


@given(
    bounds=st.lists(st.integers(1, 40), min_size=2, max_size=10),
    rates=st.sampled_from([(16000, 120.0), (1000, 64.0), (300, 128.0)]),
)
@settings(max_examples=40, deadline=None)
def test_sound_and_brain_stay_aligned(bounds: list[int], rates: tuple[int, float]) -> None:
    """Each carries its own time; after the cut, times agree to within a sample of the slower one."""
    edges = np.cumsum(bounds) * 0.0271
    spans = list(zip(edges[0::2], edges[1::2], strict=False))
    total = edges[-1] + 1.0
    sound = torch.arange(round(total * rates[0])) / rates[0]
    brain = torch.arange(round(total * rates[1])) / rates[1]
    sound_cut = cut_silence(sound, rates[0], spans)
    brain_cut = cut_silence(torch.stack([brain, brain]), rates[1], spans, delay=0.15)
    kept = sum(stop - start for start, stop in spans)
    assert abs(len(sound_cut) - kept * rates[0]) <= 0.51 and abs(brain_cut.shape[1] - kept * rates[1]) <= 0.51
    for k in range(brain_cut.shape[1]):
        here = min(round(k * rates[0] / rates[1]), len(sound_cut) - 1)
        near = sound_cut[max(0, here - 1 - rates[0] // int(rates[1])) : here + 2 + rates[0] // int(rates[1])]
        assert (near - (brain_cut[0, k] - 0.15)).abs().min() <= 1.6 / rates[1]


# --- wav2vec 2.0 -----------------------------------------------------------------------------------------


SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 8),
    "conv_stride": (20, 16),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 12,
}


def checkpoint(folder: Path, kind: str) -> Any:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(**SMALL, num_labels=2)
    model = getattr(transformers, kind)(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Wav2Vec2ForAudioFrameClassification", "Wav2Vec2ForCTC"])
def test_a_tiny_wav2vec2(tmp_path: Path, kind: str) -> None:
    model = checkpoint(tmp_path, kind)
    detector = Wav2Vec2Speech(tmp_path, offline=True)
    wave = talk([(0.3, 0.8)], 1.5)
    found = detector(wave, RATE)
    scaled = (wave - wave.mean()) / wave.var(unbiased=False).sqrt()
    with torch.no_grad():
        expected = model(scaled[None]).logits[0].softmax(-1)
    assert found.rate == 50.0 and len(found.probability) == len(expected)
    if kind.endswith("FrameClassification"):
        assert np.abs(found.probability - expected[:, 1].numpy()).max() < 1e-4
    else:
        letters = expected[:, 5:].sum(1).numpy()
        assert np.allclose(found.probability[20], letters[15:26].max(), atol=1e-4)
    spans = speech(wave, RATE, detector, on=0.5, off=0.1)
    assert all(0 <= start < stop <= 1.5 for start, stop in spans)
    short = Wav2Vec2Speech(tmp_path, offline=True, seconds=0.5)(wave, RATE)
    assert short.probability.shape == found.probability.shape
    with pytest.raises(HeschlError, match="too short"):
        detector(wave[:50], RATE)


@pytest.mark.slow
def test_models_that_are_none(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(HeschlError, match="could not be loaded"):
        Wav2Vec2Speech(tmp_path / "nowhere", offline=True)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    with pytest.raises(HeschlError, match="is a bert"):
        Wav2Vec2Speech(tmp_path, offline=True)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: speech(torch.zeros(2, 5), RATE), "one channel"),
        (lambda: speech(torch.tensor([float("nan")]), RATE), "finite"),
        (lambda: speech(torch.zeros(5), RATE, on=0.2, off=0.5), "off"),
        (lambda: cut_silence(torch.zeros(100), 100, [(0.1, 0.5), (0.4, 0.6)]), "in order and apart"),
        (
            lambda: cut_silence(torch.zeros(100), 100, [(0.1, 0.9)], delay=0.2),
            "outside a recording of 1.000 s",
        ),
    ],
)
def test_refusals(call: Any, said: str) -> None:
    with pytest.raises(HeschlError, match=said) as told:
        call()
    assert "\n" not in str(told.value)
