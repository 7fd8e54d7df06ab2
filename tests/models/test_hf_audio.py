"""Networks of Hugging Face as a network here, from tiny checkpoints with random weights, without a network connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import heschl
from heschl.models.timing import compose, measure
from heschl.types import HeschlError

transformers = pytest.importorskip("transformers", reason="transformers (extra hf) is not installed")

from heschl.models.hf_audio import HFAudio  # noqa: E402

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
WAVE = {
    "conv_dim": [8, 8],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    **SMALL,
}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "num_feat_extract_layers": 2}
PATCHES = {"num_mel_bins": 32, "max_length": 40, "patch_size": 16, **SMALL}


def saved(folder: Path, kind: str, head: str = "AutoModelForAudioClassification", **options: Any) -> str:
    """A checkpoint of an audio classification, as `save_pretrained` writes it."""
    sizes = PATCHES if kind.startswith("audio") else WAVE
    config = transformers.AutoConfig.for_model(kind, **{**sizes, **options})
    torch.manual_seed(3)
    getattr(transformers, head).from_config(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(("kind", "options"), [("wav2vec2", {}), ("wav2vec2", STABLE), ("hubert", {})])
def test_layers_are_the_checkpoints(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    """Against the checkpoint's own network, opened by transformers."""
    own = HFAudio((1, 400), 4, saved(tmp_path, kind, **options)).eval()
    theirs = transformers.AutoModel.from_pretrained(tmp_path, apply_spec_augment=False).eval()
    x = torch.randn(2, 1, 400)
    activity = heschl.record(own, x, 16000)
    with torch.no_grad():
        found = theirs(x[:, 0], output_hidden_states=True)
        torch.testing.assert_close(own(x), own.out(found.last_hidden_state.mean(1)))
    assert list(activity) == ["embedding", "layer1", "layer2", "layer3"]
    torch.testing.assert_close(activity["layer3"].values, found.last_hidden_state)
    torch.testing.assert_close(activity["layer1"].values, found.hidden_states[1])


def test_times_are_those_of_the_windows() -> None:
    """By hand: windows of 10 + 2 * 5 = 20 samples, 10 apart; 0 is the middle of the first sample."""
    own = HFAudio((1, 400), 4, {"model_type": "wav2vec2", **WAVE})
    times = heschl.record(own, torch.zeros(1, 1, 400), 1.0)["layer2"].times
    torch.testing.assert_close(times, 9.5 + 10.0 * torch.arange(39, dtype=torch.float64))
    assert times[-1] + 9.5 <= 399


def test_a_spectrogram_transformer(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, "audio-spectrogram-transformer")
    own = HFAudio((32, 40), 4, checkpoint).eval()
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    x = torch.randn(2, 32, 40)
    with torch.no_grad():
        tokens = theirs(x.transpose(1, 2)).last_hidden_state[
            :, 2:
        ]  # frequency by frequency: 2 rows of 3 patches
        expected = torch.stack([(tokens[:, k] + tokens[:, 3 + k]) / 2 for k in range(3)], 1)
    activity = heschl.record(own, x, 100.0)
    torch.testing.assert_close(activity["layer3"].values, expected)
    torch.testing.assert_close(
        activity["layer3"].times, torch.tensor([0.075, 0.175, 0.275], dtype=torch.float64)
    )
    for area, timing in compose(own, (32, 40)).items():
        for step, (first, last) in measure(own.double(), x.double(), area, timing, [0, 2]).items():
            assert timing.field(step)[0] <= first and last <= timing.field(step)[1]
    with pytest.raises(HeschlError, match="32 mel bands and 40 frames"):
        HFAudio((32, 50), 4, checkpoint)


def test_patches_are_placed_in_time() -> None:
    """Without transformer mixing: the embedding's step k moves with its own frames alone."""
    own = HFAudio((32, 40), 4, {"model_type": "audio-spectrogram-transformer", **PATCHES}).eval()
    x = torch.zeros(1, 32, 40)
    other = x.clone()
    other[..., 36:] = 1.0  # heard by the last patch (frames 20 to 35)? no: by none
    one, two = (heschl.record(own, given, 1.0)["embedding"].values for given in (x, other))
    assert torch.equal(one, two)
    other[..., 30:36] = 1.0
    moved = (heschl.record(own, other, 1.0)["embedding"].values - one).abs().amax((0, 2)) > 0
    assert moved.tolist() == [False, False, True]


def test_fewer_layers_frozen_and_over_frames(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, "wav2vec2")
    own = HFAudio((1, 400), 4, checkpoint, layer=2, freeze="all", pooling="max", frames=True).eval()
    assert list(own.areas) == ["embedding", "layer1", "layer2"] and len(own.body.encoder.layers) == 2
    assert {name for name, one in own.named_parameters() if one.requires_grad} == {"out.weight", "out.bias"}
    logits = own(torch.randn(2, 1, 400))
    assert logits.shape == (2, 400, 4)
    # Steps answer for the samples nearest to their middles, 9.5, 19.5, ...: 15 samples the first, then ten each.
    changes = (logits[0, 1:] != logits[0, :-1]).any(-1).nonzero().flatten() + 1
    assert changes.tolist()[:3] == [15, 25, 35] and len(changes) == 38
    features = HFAudio((1, 400), 4, checkpoint, freeze="features")
    assert not any(one.requires_grad for one in features.body.feature_extractor.parameters())
    assert all(one.requires_grad for one in features.body.encoder.parameters())


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "audio-spectrogram-transformer"])
def test_relevance_is_neither_made_nor_lost(kind: str) -> None:
    """From the logit to the input: what biases and stabilisers take is all that is missing, layer by layer."""
    from heschl.explanation.lrp import lrp_report

    shape, sizes = ((32, 40), PATCHES) if kind.startswith("audio") else ((1, 400), WAVE)
    torch.manual_seed(0)
    own = HFAudio(shape, 4, {"model_type": kind, **sizes}).double().eval()
    x, target = torch.randn(2, *shape, dtype=torch.float64), torch.tensor([1, 2])
    relevance, layers = lrp_report(own, x, target, preset="epsilon")
    taken = sum(layer.bias + layer.epsilon + layer.stopped for layer in layers)
    logits = own(x).detach()[torch.arange(2), target]
    torch.testing.assert_close(
        relevance.sum().item() + float(torch.as_tensor(taken).sum()), logits.sum().item()
    )
    assert "body.encoder" in str(layers) or "body.layers" in str(layers)


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HeschlError, match="check its folder or name"):
        HFAudio((1, 400), 4, str(tmp_path / "nowhere"))
    with pytest.raises(HeschlError, match="is a bert"):
        HFAudio((1, 400), 4, {"model_type": "bert"})
    with pytest.raises(HeschlError, match="could not be loaded"):
        HFAudio((1, 400), 4, {"model_type": "wav2vec3"})
    given = {"model_type": "wav2vec2", **WAVE}
    for shape, options, said in (
        ((1, 12), {}, "too short"),
        ((2, 400), {}, "one channel"),
        ((1, 400), {"layer": 4}, "3 layers"),
        ((1, 400), {"freeze": "half"}, "freeze"),
    ):
        with pytest.raises(HeschlError, match=said):
            HFAudio(shape, 4, given, **options)
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(HeschlError, match=r"heschl\[hf\]"):
        HFAudio((1, 400), 4, given)


@pytest.mark.slow
def test_trained_evaluated_explained_probed_and_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like a network of ours, from recipe to brain."""
    from heschl.corpora import hf
    from heschl.steps.inside import untrained

    hf.write_tiny(tmp_path / "data")
    recipe = {
        "format": 1,
        "name": "words-wav2vec2",
        "corpus": {"use": "hf", "root": str(tmp_path / "data")},
        "split": {"use": "fractions", "validation": 0.2, "test": 0.2, "label": "word"},
        "clip": {"seconds": 0.25, "long": "start", "short": "end"},
        "feature": {"use": "waveform.Waveform", "sample_rate": 16000, "level": "standardise"},
        "model": {"use": "hf_audio.HFAudio", "checkpoint": saved(tmp_path / "checkpoint", "wav2vec2")},
        "task": {"use": "classify.Classify", "label": "word"},
        "train": {"steps": 2, "batch": 4, "optimiser": {"use": "AdamW", "lr": 0.001}},
        "machine": {"workers": 0},
    }
    run = heschl.train(recipe, runs=tmp_path / "runs", quiet=True)
    assert heschl.evaluate(run)["scores"]["n"] == 4
    clip = run.split.test[0]
    for method in ("lrp", "gradient_x_input", "integrated_gradients", "occlusion_time"):
        (one,) = heschl.explain(run, clip, method)
        assert one.relevance.shape == (1, 4000) and one.relevance.any() and one.relevance.isfinite().all()
    activity = heschl.record(run.model(), one.x[None], one.rate)
    assert activity["layer3"].values.shape == (1, 399, 16)
    blank = untrained(run, 0).state_dict()
    learned = run.model().state_dict()
    name = "body.encoder.layers.0.attention.q_proj.weight"
    assert not torch.allclose(blank[name], learned[name], atol=0.02)
    pytest.importorskip("mne")
    placed = heschl.place(activity)
    assert placed.status == "illustrative" and placed.values.any()
