"""Where speech is in a sound: detectors behind one interface, silence cut out, and a brain's recording cut alike.

A detector is anything that is called with (wave (time,), rate) and gives a `Detected`: the probability of speech of each
frame, and frames a second. `energy` is built in; `Wav2Vec2Speech` runs a wav2vec 2.0 of transformers (extra ``vad``).

    spans = speech(wave, 16000)                              # [(0.31, 1.02), ...] seconds
    wave = cut_silence(wave, 16000, spans)                   # speech alone
    brain = cut_silence(brain, 120, spans, delay=0.15)       # the same stretches, as the brain answers them
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from heschl import signal
from heschl.types import HeschlError

Span = tuple[float, float]  # seconds, half-open


class Detected(NamedTuple):
    """probability (frame,) of speech, frames a second, and the time of frame 0's centre, seconds."""

    probability: np.ndarray
    rate: float
    start: float


Detector = Callable[[Tensor, float], Detected]


def energy(
    wave: Tensor, rate: float, range_db: float = 30.0, window: float = 0.025, hop: float = 0.010
) -> Detected:
    """Speech by its level: a logistic function of decibels between the clip's quiet and loud frames.

    The threshold lies half-way between the 10th and the 95th percentile of frame levels, and no further than ``range_db``
    under the 95th; the probability is a half there, and 0.88 six decibels above. A clip whose levels hardly differ (less
    than 6 dB) has no silence to be told from: it is speech throughout, unless it is silent throughout (zeros).
    """
    length, step = round(window * rate), max(1, round(hop * rate))
    padded = torch.nn.functional.pad(wave, (length // 2, length - length // 2))
    power = signal.frames(padded.double(), length, step).square().mean(-1)
    level = signal.decibels(power, 1e-12).numpy()
    quiet, loud = np.quantile(level, (0.10, 0.95))
    if loud <= -110:
        probability = np.zeros(len(level))
    elif loud - quiet < 6:
        probability = np.ones(len(level))
    else:
        threshold = max((quiet + loud) / 2, loud - range_db)
        probability = 1 / (1 + np.exp(-(level - threshold) / 3))
    return Detected(probability, rate / step, 0.0)


class Wav2Vec2Speech:
    """A detector that runs wav2vec 2.0.

    A model for audio frames (Wav2Vec2ForAudioFrameClassification) says 1 - p(label 0), label 0 being silence; one for
    letters (CTC) is asked whether it writes a letter nearby: the largest p(letter), neither the blank nor the word's end,
    within ``spread`` seconds, since its letters are peaks between blanks.

    Parameters
    ----------
    model: a folder with such a model, or its name on the hub of Hugging Face.
    silence: label 0's place, for a model whose labels are in another order.
    offline: never looks on the hub.
    seconds: how much is heard at once; longer sounds are heard in such pieces, with a second of overlap on each side.

    Raises
    ------
    HeschlError: transformers is missing, or the model cannot be loaded (weights as safetensors) or is of another kind.
    """

    def __init__(
        self,
        model: str | Path,
        silence: int = 0,
        spread: float = 0.2,
        offline: bool = False,
        seconds: float = 30.0,
    ) -> None:
        try:
            import transformers
        except ImportError:
            raise HeschlError("wav2vec 2.0 needs transformers: pip install 'heschl[vad]'") from None
        try:
            config = transformers.AutoConfig.from_pretrained(str(model), local_files_only=offline)
            kinds = " ".join(config.architectures or ())
            if config.model_type != "wav2vec2" or not ("CTC" in kinds or "FrameClassification" in kinds):
                raise HeschlError(
                    f"{model} is a {config.model_type} ({kinds or 'no head'}): detection takes a wav2vec2 with letters (CTC) or "
                    "audio frames (Wav2Vec2ForAudioFrameClassification)"
                )
            kind = "Wav2Vec2ForCTC" if "CTC" in kinds else "Wav2Vec2ForAudioFrameClassification"
            loaded = getattr(transformers, kind).from_pretrained(
                str(model), local_files_only=offline, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            if isinstance(error, HeschlError):
                raise
            said = (str(error).splitlines() or [""])[0][:120]
            raise HeschlError(
                f"the wav2vec 2.0 model {model} could not be loaded ({said}): check its name or folder"
            ) from None
        self.model = loaded.eval()
        self.letters = kind == "Wav2Vec2ForCTC"
        self.silence, self.spread, self.seconds = silence, spread, seconds
        self.hop = math.prod(config.conv_stride)
        span = 1
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            span = (span - 1) * stride + kernel
        self.field = span  # samples that a frame sees before the transformer

    def __call__(self, wave: Tensor, rate: float) -> Detected:
        heard = wave if rate == 16000 else signal.resample(wave, round(rate), 16000)
        total = max(0, (len(heard) - self.field) // self.hop + 1)
        if not total:
            raise HeschlError(
                f"a sound of {len(wave) / rate:.3f} s is too short for wav2vec 2.0: give at least {self.field / 16000} s"
            )
        piece, margin = max(1, round(self.seconds * 16000 / self.hop)), round(16000 / self.hop)
        found = []
        for first in range(0, total, piece):
            last = min(total, first + piece)
            low, high = max(0, first - margin), min(total, last + margin)
            end = len(heard) if high == total else (high - 1) * self.hop + self.field
            part = heard[low * self.hop : end].float()
            part = (part - part.mean()) / (
                part.var(unbiased=False) + 1e-7
            ).sqrt()  # as its feature extractor does
            with torch.no_grad():
                logits = self.model(part[None]).logits[0]
            found.append(self._speech(logits.softmax(-1))[first - low : last - low])
        return Detected(torch.cat(found).double().numpy(), 16000 / self.hop, self.field / 2 / 16000)

    def _speech(self, probability: Tensor) -> Tensor:
        if not self.letters:
            return 1 - probability[:, self.silence]
        special = {
            self.model.config.pad_token_id,
            self.model.config.bos_token_id,
            self.model.config.eos_token_id,
        }
        kept = [
            k for k in range(probability.shape[1]) if k not in special and k > 4
        ]  # 0-3 special, 4 the word's end
        letters = probability[:, kept or list(range(1, probability.shape[1]))].sum(1)
        reach = round(self.spread * 16000 / self.hop / 2)
        return torch.nn.functional.max_pool1d(letters[None], 2 * reach + 1, 1, reach)[0]


# --- from probabilities to stretches ---------------------------------------------------------------------


def speech(
    wave: Any,
    rate: float,
    detector: Detector = energy,
    on: float = 0.6,
    off: float = 0.4,
    least: float = 0.10,
    gap: float = 0.20,
    pad: float = 0.03,
) -> list[Span]:
    """Stretches of speech, in order, apart, seconds.

    Parameters
    ----------
    wave: (time,). rate: Hz.
    on, off: speech begins where the probability rises to ``on`` and ends where it falls below ``off``.
    gap: silences shorter than this do not part speech. least: shorter speech is none. pad: added to both ends. Seconds.

    Raises
    ------
    HeschlError: the wave is not (time,) of finite samples, or a number is out of order.
    """
    wave = torch.as_tensor(wave)
    if wave.ndim != 1 or not len(wave) or not bool(wave.isfinite().all()):
        raise HeschlError(
            f"speech is looked for in one channel (time,) of finite samples, not in {tuple(wave.shape)}"
        )
    if not (0 < off <= on < 1 and min(least, gap, pad) >= 0):
        raise HeschlError(
            f"speech: off ({off}) must lie above 0 and not above on ({on}), and times must not be negative"
        )
    found = detector(wave.to(torch.get_default_dtype()) if not wave.is_floating_point() else wave, rate)
    spans: list[list[float]] = []
    began = None
    half = 0.5 / found.rate
    for frame, probability in enumerate([*found.probability, 0.0]):
        time = found.start + frame / found.rate - half
        if began is None and probability >= on:
            began = time
        elif began is not None and probability < off:
            if spans and began - spans[-1][1] < gap:
                spans[-1][1] = time
            else:
                spans.append([began, time])
            began = None
    end = len(wave) / rate
    padded: list[list[float]] = []
    for start, stop in ((a, b) for a, b in spans if b - a >= least):
        low, high = max(0.0, start - pad), min(end, stop + pad)
        if padded and low <= padded[-1][1]:
            padded[-1][1] = high
        else:
            padded.append([low, high])
    return [(low, high) for low, high in padded]


def cut_silence(x: Tensor, rate: float, spans: Sequence[Span], delay: float = 0.0) -> Tensor:
    """The stretches of x (..., time) alone, one after the other.

    Sound and brain cut by the same spans stay aligned, each at its own rate: after k spans both have as many samples as the
    time kept until then asks for, to within half a sample, so that nothing drifts.

    Parameters
    ----------
    spans: seconds, in order, apart. delay: seconds by which x comes after the sound (0.15 for a brain).

    Raises
    ------
    HeschlError: spans that overlap, or that x does not hold.
    """
    pieces, kept, before = [], 0.0, 0.0
    for start, stop in spans:
        if not before <= start < stop:
            raise HeschlError(
                f"speech from {start} s to {stop} s comes after {before} s: spans must be in order and apart"
            )
        first = round((start + delay) * rate)
        count = round((kept + stop - start) * rate) - round(kept * rate)
        if first < 0 or first + count > x.shape[-1] + 1:
            raise HeschlError(
                f"speech from {start:.3f} s to {stop:.3f} s, {delay:g} s later, is outside a recording of "
                f"{x.shape[-1] / rate:.3f} s: cut the sound to what was recorded"
            )
        first = min(first, x.shape[-1] - count)  # rounding at the very end
        pieces.append(x[..., first : first + count])
        kept, before = kept + stop - start, stop
    return torch.cat(pieces, -1) if pieces else x[..., :0]
