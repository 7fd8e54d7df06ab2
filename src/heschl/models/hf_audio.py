"""Speech networks of Hugging Face as the body of a network here: wav2vec 2.0, HuBERT, Audio Spectrogram Transformer.

Baevski et al. 2020 (arXiv:2006.11477), Hsu et al. 2021 (arXiv:2106.07447), Gong et al. 2021 (arXiv:2104.01778), through
transformers (extra ``heschl[hf]``). The body's layers are the areas; a mean over time and one dense layer answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from heschl.models.inputs import check_input, check_shape
from heschl.models.timing_rules import Timing
from heschl.types import HeschlError

WAVES = ("wav2vec2", "hubert")
SPECTROGRAMS = ("audio-spectrogram-transformer",)
# Chance in training comes from dropout alone, which is seeded: no masked steps, no dropped layers.
PLAIN = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}


class Steps(nn.Module):
    """What a layer gives, as (batch, step, unit): of a spectrogram's patches the mean over frequency, without tokens.

    rows: of patches; None where each token is a step.
    """

    def __init__(self, rows: int | None) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, tokens: Tensor) -> Tensor:
        if self.rows is None:
            return tokens
        patches = tokens[:, 2:]  # two tokens stand before them
        mean: Tensor = patches.reshape(len(patches), self.rows, -1, patches.shape[-1]).mean(1)
        return mean


class HFAudio(nn.Module):
    """Waves (batch, 1, time) or, for the spectrogram transformer, (batch, mel, time) -> logits (batch, class).

    Parameters
    ----------
    in_shape: (1, time) samples at 16 kHz, best by `waveform.Waveform` with ``level: standardise``; (mel, time) for the
        spectrogram transformer, with the mel bands and frames of the checkpoint.
    n_outputs: classes. The checkpoint's own head is not taken over.
    checkpoint: a folder that `save_pretrained` wrote, or a name on the hub, which is fetched (weights as safetensors); or
        a mapping, a configuration with its ``model_type``, whose weights are drawn.
    layer: use the first so many transformer layers and build no more; None for all.
    pooling: over time, "mean" or "max".
    freeze: what does not learn: "none", "features" (convolutions before the first transformer layer), or "all" but the
        last dense layer.
    frames: an answer for each step of the input, (batch, time, class): that of the nearest step of the body.

    Areas
    -----
    embedding: what the first transformer layer is given, (batch, step, unit). layer1, layer2, ...: each layer's output.
    Every step hears the whole clip, through attention; its time is the middle of its own window of the input.

    Clips have one length: set ``clip.seconds``.

    Raises
    ------
    HeschlError: transformers is missing, the checkpoint is not there or of another kind, or the input does not fit.
    """

    areas: ClassVar[dict[str, str]] = {}
    example: ClassVar[tuple[Any, ...]] = (
        (1, 400),
        5,
        {
            "checkpoint": {
                "model_type": "wav2vec2",
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 32,
                "conv_dim": [8, 8],
                "conv_kernel": [10, 3],
                "conv_stride": [5, 2],
                "num_conv_pos_embeddings": 8,
                "num_conv_pos_embedding_groups": 2,
            }
        },
    )

    def __init__(
        self,
        in_shape: Sequence[int],
        n_outputs: int,
        checkpoint: str | Mapping[str, Any],
        layer: int | None = None,
        pooling: Literal["mean", "max"] = "mean",
        freeze: Literal["none", "features", "all"] = "none",
        frames: bool = False,
    ) -> None:
        super().__init__()
        if pooling not in ("mean", "max") or freeze not in ("none", "features", "all"):
            raise HeschlError(
                f"HFAudio's pooling is '{pooling}' and its freeze '{freeze}': "
                "choose mean or max, and none, features or all"
            )
        self.waves = _config(checkpoint).model_type in WAVES
        axes = ("channel", "sample") if self.waves else ("mel", "frame")
        self.in_shape = check_shape("HFAudio", in_shape, axes, n_outputs)
        if self.waves and self.in_shape[0] != 1:
            raise HeschlError(
                f"HFAudio hears one channel and in_shape is {self.in_shape}: choose the feature Waveform"
            )
        self.body = _body(checkpoint, self.in_shape, layer)
        self.pooling, self.frames = pooling, frames
        config, timing, rows = self.body.config, *_timing(self.body, self.in_shape)
        self.steps = timing
        taps = ["embedding", *(f"layer{k + 1}" for k in range(config.num_hidden_layers))]
        self.taps = nn.ModuleList(Steps(rows) for _ in taps)
        self.areas = {name: f"taps.{k}" for k, name in enumerate(taps)}  # type: ignore[misc]
        self.timing = {"body": None, **dict.fromkeys(self.areas.values(), timing)}
        self.out = nn.Linear(config.hidden_size, n_outputs)
        frozen = (
            {"none": [], "all": [self.body]}.get(freeze) if freeze != "features" else [_features(self.body)]
        )
        for part in frozen or ():
            part.requires_grad_(False)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        check_input("HFAudio", x, self.in_shape, lengths)
        given = x[:, 0] if self.waves else x.transpose(1, 2)
        found = self.body(given, output_hidden_states=True)
        layers = [
            *found.hidden_states[:-1],
            found.last_hidden_state,
        ]  # the last one with the norm that follows it
        heard = [tap(tokens) for tap, tokens in zip(self.taps, layers, strict=True)][-1]
        if self.frames:
            middles = self.steps.centres()
            near = ((torch.arange(x.shape[-1]) - middles[0]) / max(self.steps.stride, 1.0)).round().long()
            logits: Tensor = self.out(heard)
            return logits[:, near.clamp(0, self.steps.steps - 1).to(x.device)]
        pooled = heard.mean(1) if self.pooling == "mean" else heard.amax(1)
        answer: Tensor = self.out(pooled)
        return answer

    def untrained(self) -> None:
        """Draws all weights anew, the body's too: what stands beside a trained network as one that has learned nothing."""
        self.body = type(self.body)(self.body.config).train(self.training)
        self.out.reset_parameters()


# --- the body ----------------------------------------------------------------------------------------------


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise HeschlError("HFAudio needs transformers: pip install 'heschl[hf]'") from None
    return transformers


def _config(checkpoint: str | Mapping[str, Any]) -> Any:
    auto = _transformers().AutoConfig
    try:
        if isinstance(checkpoint, Mapping):
            kinds = dict(checkpoint)
            config = auto.for_model(str(kinds.pop("model_type", "")), **kinds)
        else:
            config = auto.from_pretrained(_place(checkpoint))
    except (OSError, ValueError, KeyError) as error:
        raise _refused(checkpoint, error) from None
    if config.model_type not in WAVES + SPECTROGRAMS:
        raise HeschlError(
            f"{checkpoint} is a {config.model_type}: HFAudio takes {', '.join(WAVES + SPECTROGRAMS)}"
        )
    for name, value in PLAIN.items():
        if hasattr(config, name):
            setattr(config, name, value)
    return config


def _body(checkpoint: str | Mapping[str, Any], in_shape: tuple[int, ...], layer: int | None) -> Any:
    """The body in the length of the input and with so many layers, its weights drawn or the checkpoint's."""
    config = _config(checkpoint)
    if layer is not None:
        if not 1 <= layer <= config.num_hidden_layers:
            raise HeschlError(
                f"{checkpoint} has {config.num_hidden_layers} layers and model.layer is {layer}"
            )
        config.num_hidden_layers = layer
    if config.model_type in SPECTROGRAMS:
        held = (config.num_mel_bins, config.max_length)
        if isinstance(checkpoint, Mapping):
            config.num_mel_bins, config.max_length = in_shape
        elif held != tuple(in_shape):
            raise HeschlError(
                f"{checkpoint} reads {held[0]} mel bands and {held[1]} frames, and the input is {tuple(in_shape)}: "
                "set the feature's n_mels and clip.seconds to match"
            )
    transformers = _transformers()
    if isinstance(checkpoint, Mapping):
        return transformers.AutoModel.from_config(config)
    log = transformers.logging
    loud, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()  # heads that are left behind are no news
    log.disable_progress_bar()
    try:
        body, told = transformers.AutoModel.from_pretrained(
            _place(checkpoint),
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _refused(checkpoint, error) from None
    finally:
        log.set_verbosity(loud)
        if bars:
            log.enable_progress_bar()
    if told["missing_keys"]:
        raise HeschlError(
            f"the checkpoint {checkpoint} lacks the weights {min(told['missing_keys'])}: fetch it anew"
        )
    return body


def _place(checkpoint: str) -> str:
    folder = Path(checkpoint).expanduser()
    return str(folder) if folder.exists() else checkpoint


def _refused(checkpoint: Any, error: Exception) -> HeschlError:
    said = (str(error).splitlines() or [""])[0][:120]
    return HeschlError(f"the checkpoint {checkpoint} could not be loaded ({said}): check its folder or name")


def _features(body: Any) -> nn.Module:
    part: nn.Module = getattr(body, "feature_extractor", None) or body.embeddings
    return part


def _timing(body: Any, in_shape: tuple[int, ...]) -> tuple[Timing, int | None]:
    """When the body's steps happen, in steps of the input; and rows of patches, None for waves."""
    config, length = body.config, in_shape[-1]
    if config.model_type in WAVES:
        start, size, stride, steps, rows = 0.0, 1, 1, length, None
        for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
            steps = (steps - kernel) // step + 1
            size, stride = size + (kernel - 1) * stride, stride * step
    else:
        start, size, stride = 0.0, config.patch_size, config.time_stride
        steps = (length - size) // stride + 1
        rows = (in_shape[0] - size) // config.frequency_stride + 1
    if steps < 1 or (rows is not None and rows < 1):
        raise HeschlError(
            f"an input of {in_shape} is too short for {config.model_type}: set a longer clip.seconds"
        )
    return Timing(steps, length, start, size, stride, past=True, future=True, axis=1), rows
