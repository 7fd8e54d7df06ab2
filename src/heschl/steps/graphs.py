"""A run's network as one graph, from the wave to the logits, checked against torch clip by clip."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from heschl.corpora import spoken
from heschl.features.waveform import fit_length
from heschl.files import replacing
from heschl.run import Run, hear, open_run
from heschl.steps.networks import Network, Progress, open_network
from heschl.types import Clip, HeschlError

TOLERANCE = 1e-4  # of the logits, relative to the largest of them where that is above one
CLIPS = 100  # that a graph is checked on

Answers = Callable[[Tensor], np.ndarray]  # wave (batch, sample) -> logits


class Whole(nn.Module):
    """From the wave to the logits: (batch, sample) -> (batch, class), or (batch, step, class) over frames."""

    def __init__(self, feature: nn.Module, model: nn.Module) -> None:
        super().__init__()
        self.feature, self.model = feature, model

    def forward(self, wave: Tensor) -> Tensor:
        x = self.feature(wave)
        if getattr(self.feature, "per_frame", False):
            windows = x.movedim(-1, 1)
            logits = _logits(self.model(windows.flatten(0, 1)))
            return logits.reshape(*windows.shape[:2], logits.shape[-1])
        return _logits(self.model(x))


class Takes(NamedTuple):
    """What a graph is given: any number of clips or one at a time, of any length or of ``samples``."""

    many: bool
    samples: int | None

    def __str__(self) -> str:
        length = "any length" if self.samples is None else f"{self.samples:,} samples"
        return f"{'any number of clips' if self.many else 'one clip'} of {length}"


def write_onnx(run: Run, path: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Writes the graph as ONNX, with rate, length and labels in its metadata ("heschl"); see `_first_that_holds`."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError:
        raise HeschlError("export to onnx needs onnx and onnxruntime: pip install 'heschl[export]'") from None
    network = open_network(run)
    about = {
        "run": run.name,
        "labels": list(network.labels),
        "sample_rate": network.sample_rate,
        "seconds": network.seconds,
    }

    def make(program: Any, file: Path) -> Answers:
        names: dict[str, Any] = {"input_names": ["wave"], "output_names": ["logits"]}
        made: Any = torch.onnx.export(program, dynamo=True, verbose=False, **names)
        model = made.model_proto
        onnx.helper.set_model_props(model, {"heschl": json.dumps(about)})
        onnx.save_model(model, str(file))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return lambda wave: np.asarray(session.run(["logits"], {"wave": wave.numpy()})[0])

    return _first_that_holds(run, network, path, make, progress)


def write_torch_export(run: Run, path: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Writes the graph for `torch.export.load`; see `_first_that_holds`."""

    def make(program: Any, file: Path) -> Answers:
        with file.open("wb") as out:
            torch.export.save(program, out)
        with file.open("rb") as back:
            graph = torch.export.load(back).module()
        return lambda wave: np.asarray(graph(wave).detach())

    return _first_that_holds(run, open_network(run), path, make, progress)


def _first_that_holds(
    run: Run,
    network: Network,
    path: Path,
    make: Callable[[Any, Path], Answers],
    progress: Progress | None,
) -> dict[str, Any]:
    """Writes the freest graph that answers as torch does: any number of clips of any length; one clip; one length.

    Recurrent layers, and whatever else fixes a size when it is traced, leave the less free ones alone.
    """
    n = round((network.seconds or 1.0) * network.sample_rate)
    kinds = [Takes(True, None), Takes(True, n), Takes(False, None), Takes(False, n)]
    if network.seconds is not None and not network.frames:
        kinds = [takes for takes in kinds if takes.samples]
    why = ""
    with replacing(path) as temporary:
        for takes in kinds:
            try:
                with _quiet():
                    answer = make(_traced(network, takes, n), temporary)
                    _probe(network, takes, n, answer)
            except Exception as error:  # the tracers have no exception of their own
                why = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
                continue
            return {**_checked(run, network, takes, answer, progress), "takes": str(takes)}
        raise HeschlError(f"{run.recipe.model.use} cannot be written as one graph ({why})")


def _traced(network: Network, takes: Takes, n: int) -> Any:
    wave = torch.randn(3 if takes.many else 1, n, generator=torch.Generator().manual_seed(0)) * 0.1
    free = torch.export.Dim.AUTO
    sizes = {axis: free for axis, is_free in ((0, takes.many), (1, takes.samples is None)) if is_free}
    whole = Whole(network.feature, network.model).eval()
    return torch.export.export(whole, (wave,), dynamic_shapes=(sizes or None,))


def _probe(network: Network, takes: Takes, n: int, answer: Answers) -> None:
    """Fails where the graph does not take what it should."""
    noise = torch.Generator().manual_seed(1)
    for batch in (1, 2, 5) if takes.many else (1,):
        for samples in (n, 2 * n + 7, n // 2) if takes.samples is None else (n,):
            wave = torch.randn(batch, samples, generator=noise) * 0.1
            expected = _said(network, wave)
            if not np.allclose(
                answer(wave), expected, rtol=0, atol=TOLERANCE * max(1.0, abs(expected).max())
            ):
                raise ValueError("its answers differ from torch's")


def _checked(
    run: Run, network: Network, takes: Takes, answer: Answers, progress: Progress | None
) -> dict[str, Any]:
    """The graph's answers beside torch's, on clips of speech.

    Raises
    ------
    HeschlError: they differ by more than `TOLERANCE`.
    """
    clips = clips_of(run, CLIPS)
    largest = scale = 0.0
    for k, clip in enumerate(clips):
        wave = torch.from_numpy(fitted(network, clip))[None]
        if takes.samples is not None:
            wave = torch.nn.functional.pad(wave, (0, takes.samples))[:, : takes.samples]
        expected = _said(network, wave)
        largest = max(largest, float(np.abs(answer(wave) - expected).max()))
        scale = max(scale, float(np.abs(expected).max()))
        if progress:
            progress(k + 1, len(clips))
    if largest > TOLERANCE * max(scale, 1.0):
        raise HeschlError(
            f"the graph of {run.name} answers otherwise than torch (logits differ by up to {largest:.2g}): not kept"
        )
    return {
        "clips": len(clips),
        "synthetic": not any((run.split.test, run.split.validation, run.split.train)),
        "largest_difference": largest,
        "largest_logit": scale,
    }


def _said(network: Network, wave: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(_logits(hear(network.feature, network.model, wave)).float())


def _logits(out: Any) -> Tensor:
    logits: Tensor = out[0] if isinstance(out, tuple) else out
    return logits


@contextmanager
def _quiet() -> Any:
    """The tracers' chatter is for those who write tracers."""
    loud = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch._dynamo")]
    levels = [one.level for one in loud]
    for one in loud:
        one.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loud, levels):
            one.setLevel(level)


def clips_of(run: Run | Path | str, most: int) -> list[Clip]:
    """Recordings of the test part first, then of the others; synthetic ones for a model that comes along without any."""
    run = open_run(run)
    split = run.split
    ids = [*split.test, *split.validation, *split.train]
    if not ids:
        return list(spoken.read().clips[:most])
    corpus = run.corpus()
    found = [corpus.by_id[one] for one in ids if one in corpus.by_id]
    waves = [clip for clip in found if clip.form == "wave"][:most]
    if found and not waves:
        raise HeschlError(
            f"{run} hears no sound but stored frames or brains, which this export does not know: choose huggingface-folder or "
            "archive"
        )
    if not waves:
        raise HeschlError(f"{run}: no recording of its corpus is there: put it back, or give its folder")
    return waves


def fitted(network: Network, clip: Clip) -> np.ndarray:
    """A clip's wave (sample,) at the length that the network takes; whole where it takes any."""
    wave = network.read(clip, counted=False)
    if network.seconds is None or network.frames:
        return np.ascontiguousarray(wave)
    n = round(network.seconds * network.sample_rate)
    long = "centre" if network.long == "random" else network.long
    lengths = torch.tensor([wave.shape[-1]])
    cut, _ = fit_length(torch.from_numpy(wave)[None], lengths, n, long, network.short)  # type: ignore[arg-type]
    return np.ascontiguousarray(cut[0].numpy())
