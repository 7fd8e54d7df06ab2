"""Tasks over frames: windows of packed frames, whole utterances, stored frames; their labels keep their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heschl.features.context import Context
from heschl.features.mel import LogMel
from heschl.features.store import pack_features, pack_waves
from heschl.files import write_wav
from heschl.recipe import ClipLength
from heschl.run import hear
from heschl.tasks.frames import ClassifyFrames
from heschl.training.data import FrameTargets, FrameWindows, Parts, TrainBatches, Waves
from heschl.training.fit import train
from heschl.training.order import Order
from heschl.types import Clip, Corpus, Span

RATE = 8000
PITCH = {"AA": 300.0, "IY": 700.0, "SIL": 0.0, "UW": 1500.0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Eight utterances of four speakers; each phone is a tone of its own."""
    root, random, clips = tmp_path_factory.mktemp("phones"), np.random.default_rng(0), []
    for number in range(8):
        waves, spans, at = [], [], 0.0
        for phone in random.permutation([*PITCH] * 2):
            seconds = round(random.uniform(0.06, 0.14), 2)
            time = np.arange(round(seconds * RATE)) / RATE
            waves.append(0.4 * np.sin(2 * np.pi * PITCH[phone] * time) + 0.01 * random.normal(size=len(time)))
            if phone != "SIL":
                spans.append(Span(str(phone), round(at, 2), round(at + seconds, 2)))
            at += seconds
        wave = np.concatenate(waves)
        path = root / f"{number}.wav"
        write_wav(path, wave, RATE)
        labels = {"speaker": str(number % 4)}
        clips.append(Clip(str(number), path, RATE, labels, tuple(spans), 0.0, len(wave) / RATE))
    return Corpus("phones", tuple(clips), "made here", "none")


def mel() -> LogMel:
    return LogMel(sample_rate=RATE, n_mels=12)


def test_windows_and_labels_are_those_of_the_frame(corpus: Corpus, tmp_path: Path) -> None:
    """Against each utterance's feature computed alone and its spans asked one by one."""
    task = ClassifyFrames().bind(corpus)
    feature = Context(context=3, sample_rate=RATE, n_mels=12)
    waves = pack_waves(corpus.clips, RATE, tmp_path)
    rows = np.array([waves.places[clip.id] for clip in corpus.clips[1:5]])
    targets = FrameTargets(task, feature, corpus.clips[1:5], rows, waves.lengths)
    source = FrameWindows(pack_features(waves, feature.frame, tmp_path, dtype="float32"), rows, targets, 3)
    place = 0
    for clip, row in zip(corpus.clips[1:5], rows):
        wave, _ = waves.read([row])
        windows = feature(wave)[0]
        for t in range(0, windows.shape[-1], 7):
            x, y, _, _ = source.read(np.array([place + t]))
            torch.testing.assert_close(x[0], windows[..., t], atol=1e-5, rtol=1e-5)
            said = [span.symbol for span in clip.spans if span.start <= t / 100 < span.stop]
            assert task.classes[int(y[0])] == (said[0] if said else "SIL")
        place += windows.shape[-1]
    assert len(targets.held) == place


@pytest.mark.parametrize("long", ["random", "centre", "start"])
def test_a_part_of_an_utterance_keeps_its_labels(corpus: Corpus, long: Any, tmp_path: Path) -> None:
    """Each step's label is that of the same stretch of the whole utterance: found again by its features."""
    task, feature = ClassifyFrames().bind(corpus), mel()
    waves = pack_waves(corpus.clips, RATE, tmp_path)
    rows = np.arange(len(corpus.clips))
    targets = FrameTargets(task, feature, corpus.clips, rows, waves.lengths)
    source = Waves(waves, rows, targets, ClipLength(seconds=0.3, long=long), feature)
    batches = TrainBatches(source, Order(0, 8, 8, 8))
    starts = set()
    for step in range(3):
        item = batches[step]
        x = feature(item.x)
        for i, row in enumerate(item.clips.tolist()):
            whole = feature(waves.read([row])[0])[0]
            inner = x[i, :, 5:20]  # away from the cut's own edges
            errors = [
                float((whole[:, k + 5 : k + 20] - inner).abs().max()) for k in range(whole.shape[1] - 25)
            ]
            start = int(np.argmin(errors))
            assert errors[start] < 1e-3
            starts.add(start)
            torch.testing.assert_close(item.y[i, :30], targets(row)[start : start + 30])
    assert starts == {0} if long == "start" else len(starts) > 1


def test_validation_hears_whole_utterances_alike_in_any_batch(corpus: Corpus, tmp_path: Path) -> None:
    from heschl.models.frame_mlp import FrameMLP

    task = ClassifyFrames().bind(corpus)
    feature = Context(context=2, sample_rate=RATE, n_mels=12)
    model = FrameMLP((5, 12), 4, widths=(8,)).eval()
    waves = pack_waves(corpus.clips, RATE, tmp_path)
    rows = np.arange(8)
    source = Waves(
        waves, rows, FrameTargets(task, feature, corpus.clips, rows, waves.lengths), ClipLength(), feature
    )
    with torch.no_grad():
        for item in (Parts(source, 8, 5)[k] for k in range(2)):
            together = hear(feature, model, item.x, item.lengths)
            for i, row in enumerate(item.clips.tolist()):
                alone = hear(feature, model, *waves.read([row]))[0]
                torch.testing.assert_close(together[i, : len(alone)], alone, atol=1e-5, rtol=1e-5)
                assert (item.y[i, len(alone) :] == -100).all() and (item.y[i, : len(alone)] >= 0).all()


@pytest.fixture
def recipe(corpus: Corpus, tmp_path: Path) -> dict[str, Any]:
    """The same utterances read by a corpus module of the user's own."""
    import heschl.recipe.plain as plain

    lines = [
        f"Clip({clip.id!r}, Path({str(clip.signal)!r}), {clip.rate}, {dict(clip.labels)!r}, "
        f"({', '.join(map(repr, clip.spans))},), 0.0, {clip.stop})"
        for clip in corpus.clips
    ]
    text = "from pathlib import Path\nfrom heschl.types import Clip, Corpus, Span\n"
    text += "def read(root: Path | None = None):\n    return Corpus('phones', ("
    (tmp_path / "phones_of_test.py").write_text(
        text + ",\n".join(lines) + "), 'made', 'none')\n", encoding="utf-8"
    )
    raw = {
        "format": 1,
        "name": "frames",
        "corpus": {"use": "phones_of_test"},
        "split": {"use": "fractions", "validation": 0.25, "test": 0.25},
        "feature": {"use": "context.Context", "context": 3, "sample_rate": RATE, "n_mels": 12},
        "model": {"use": "frame_mlp.FrameMLP", "widths": [32]},
        "task": {"use": "frames.ClassifyFrames"},
        "train": {"epochs": 15, "batch": 32, "optimiser": {"use": "AdamW", "lr": 0.01}},
        "machine": {"device": "cpu", "threads": 1},
    }
    plain.write_yaml(tmp_path / "frames.yaml", raw)
    return {"path": tmp_path / "frames.yaml"}


@pytest.mark.slow
def test_a_perceptron_learns_frames(recipe: dict[str, Any], tmp_path: Path) -> None:
    run = train(recipe["path"], {"train.draws": "balanced"}, runs=tmp_path / "runs", quiet=True)
    assert run.labels[0] == "SIL" and run.in_shape == (7, 12)
    assert run.history[-1]["validation_balanced_accuracy"] > 0.8
    masked = {"augment": [{"use": "augment.SpecAugment", "frequency": 3, "time": 2}], "train.epochs": 1}
    assert train(recipe["path"], masked, runs=tmp_path / "runs", quiet=True).finished
    from heschl.types import HeschlError

    with pytest.raises(HeschlError, match="computed before training"):
        train(recipe["path"], {"augment": [{"use": "augment.Gain"}]}, runs=tmp_path / "runs", quiet=True)


RECURRENT = """\
from torch import nn

class Recurrent(nn.Module):
    areas = {"rnn": "rnn"}
    frames = True
    def __init__(self, in_shape, n_outputs, width: int = 16):
        super().__init__()
        self.rnn = nn.GRU(in_shape[0], width, batch_first=True)
        self.out = nn.Linear(width, n_outputs)
    def forward(self, x, lengths=None):
        return self.out(self.rnn(x.transpose(1, 2))[0])
"""


@pytest.mark.slow
def test_a_recurrent_network_over_whole_utterances(recipe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "recurrent_of_test.py").write_text(RECURRENT, encoding="utf-8")
    changes = {
        "feature": {"use": "mel.LogMel", "sample_rate": RATE, "n_mels": 12, "normalise": "standard"},
        "model": {"use": "recurrent_of_test.Recurrent"},
        "train.batch": 2,
        "train.epochs": 25,
    }
    run = train(recipe["path"], changes, runs=tmp_path / "runs", quiet=True)
    assert run.history[-1]["validation_balanced_accuracy"] > 0.8
    cut = {**changes, "clip": {"seconds": 0.4, "long": "random"}, "train.epochs": 2}
    assert train(recipe["path"], cut, runs=tmp_path / "runs", quiet=True).finished


@pytest.mark.parametrize(
    "part",
    [
        {"use": "augment.Shift", "seconds": 0.1},
        {"use": "augment.Roll"},
        {"use": "augment.Crop", "seconds": 0.3},
        {"use": "augment.Trim"},
        {"use": "augment.Speed"},
        {"use": "augment.Tempo"},
    ],
)
def test_labels_of_frames_are_not_left_behind(
    part: dict[str, Any], recipe: dict[str, Any], tmp_path: Path
) -> None:
    """What moves sounds in time would teach a network other labels than those of what it hears."""
    from heschl.types import HeschlError

    (tmp_path / "recurrent_of_test.py").write_text(RECURRENT, encoding="utf-8")
    changes = {
        "feature": {"use": "mel.LogMel", "sample_rate": RATE, "n_mels": 12},
        "model": {"use": "recurrent_of_test.Recurrent"},
        "augment": [{"use": "augment.Gain"}, part],
    }
    with pytest.raises(HeschlError, match=f"augment: {part['use']} moves sounds in time.*remove it"):
        train(recipe["path"], changes, runs=tmp_path / "runs", quiet=True)


@pytest.mark.slow
def test_stored_frames_train_both_kinds_of_network(tmp_path: Path) -> None:
    from heschl.corpora import frames

    frames.write_tiny(tmp_path / "data")
    (tmp_path / "recurrent_of_test.py").write_text(RECURRENT, encoding="utf-8")
    base = {
        "format": 1,
        "name": "stored",
        "corpus": {"use": "frames", "root": str(tmp_path / "data")},
        "split": {"use": "given"},
        "feature": {"use": "stored.Stored", "context": 2},
        "model": {"use": "frame_mlp.FrameMLP", "widths": [16]},
        "task": {"use": "frames.ClassifyFrames", "silence": None},
        "train": {"epochs": 5, "batch": 32, "optimiser": {"use": "AdamW", "lr": 0.01}},
        "machine": {"device": "cpu", "threads": 1},
    }
    windows = train(base, runs=tmp_path / "runs", quiet=True)
    assert windows.history[-1]["validation_balanced_accuracy"] > 0.7
    from heschl.recipe.plain import write_yaml

    changed = {**base, "feature": {"use": "stored.Stored"}, "model": {"use": "recurrent_of_test.Recurrent"}}
    write_yaml(tmp_path / "stored.yaml", {**changed, "train": {**base["train"], "batch": 2, "epochs": 15}})
    whole = train(tmp_path / "stored.yaml", runs=tmp_path / "runs", quiet=True)
    assert whole.history[-1]["validation_balanced_accuracy"] > 0.7
